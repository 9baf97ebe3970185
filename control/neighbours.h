/* neighbours: with net-share kernel Linux does ARP and NDP on the interface, and workers learn from here.
 *
 *   worker: MSG_NEIGH_ASK -> Linux is given a packet for the neighbour (it resolves it, or makes sure), and asked for what it knows
 *   Linux: rtnetlink, an answer or a notification -> MSG_NEIGH to every worker
 *   a dataplane that comes up: the whole table
 *
 * A message that finds no room in a worker's ring makes the table be read again later; nothing is queued here. Thread: the main thread. */
#pragma once

#include <stdint.h>
#include <uv.h>

#include "control/bridge.h"

struct neighbours;

/* `port`: net-port, as af_xdp:IFACE. NULL: err says why. */
struct neighbours *neighbours_new(uv_loop_t *loop, struct bridge *b, const char *port, char *err,
                                  size_t err_len);
/* A dataplane is there, which may know nothing. */
void neighbours_up(struct neighbours *n);
void neighbours_message(struct neighbours *n, uint32_t worker, struct span payload);
void neighbours_room(struct neighbours *n, uint32_t worker);
/* Handle; then run the loop once, then neighbours_free. Both take NULL. */
void neighbours_close(struct neighbours *n);
void neighbours_free(struct neighbours *n);
