/* door: clients on the host itself. A unix socket and a TCP listener on 127.0.0.1; their bytes go to workers as messages of the
 * link (engine/link/msg.h), round robin, and the workers treat them as clients like any other.
 *
 *   socket --read--> [credit, ring] --MSG_DOOR_DATA--> worker --MSG_DOOR_REPLY--> [heap] --write--> socket
 *
 * Backpressure: at most LINK_DOOR_WINDOW bytes of a client are on their way to its worker (it acknowledges what it has taken), and
 * when the ring has no room the socket is not read. Replies of a client that does not read them are kept up to
 * LIMIT_DOOR_OUTPUT_BYTES (all clients: LIMIT_DOOR_OUTPUT_TOTAL_BYTES); over it that client is closed.
 * Without a dataplane a client gets "-LOADING ..." to its first request and is closed; clients that were connected when the
 * dataplane died are closed, as a died server's are. -LOADING and not -ERR: clients know it and try again.
 * Half-close: after end of input the replies to what was sent still leave.
 * Thread: the main thread. */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <uv.h>

#include "control/bridge.h"

struct door;

struct door_config {
    const char *unixsocket;  /* "": none */
    uint32_t unixsocketperm; /* 0: as the umask gives */
    int tcp_port;            /* -1: none; 0: any free one */
    uint64_t output_bytes;   /* unread replies of a client; 0: LIMIT_DOOR_OUTPUT_BYTES */
};

/* 0 or -errno with `err` filled. */
int door_open(struct door **ret, uv_loop_t *loop, struct bridge *b, const struct door_config *c,
              char *err, size_t err_len);
/* Closes listeners and clients and removes the socket. Handles end in the next turns of the loop; then door_free. */
void door_close(struct door *d);
void door_free(struct door *d);

int door_tcp_port(const struct door *d); /* 0: none */
uint32_t door_clients(const struct door *d);
/* Where clients go: `up` false until a dataplane runs; `why` (static) completes the -LOADING reply. */
void door_set_up(struct door *d, bool up, const char *why);
/* The dataplane that knew our clients is gone: all are closed. */
void door_drop_all(struct door *d);

/* Messages of this worker were lost: its clients, who would wait for ever or get half a reply, are closed. */
void door_damaged(struct door *d, uint32_t worker);

/* From the bridge. */
void door_message(struct door *d, uint32_t worker, uint32_t type, struct span payload);
void door_room(struct door *d, uint32_t worker);
