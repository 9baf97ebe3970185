/* offload: what the port does for us, as long as it is seen to do it. A capability flag is a promise: each one begins in trial, and what
 * segments and frames show of it decides.
 *
 *   sent      a first copy whose sum or cutting is the port's is noted (TXS_NOTED). Acknowledged: good. Acknowledged only after it was sent
 *             again, which software does: bad, unless the ACK's timestamp tells that it was the first copy that came. Four rounds in a row with half of them bad end it.
 *   received  the first frames, then one of 4096, are summed here too, and all that the port calls wrong. The first lie ends it.
 *
 * A round counts only segments that were first sent since the one before: an outage that loses whatever is in flight is one bad round,
 * whatever was in flight. Thread: the worker's; each net judges for itself. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include <rte_mbuf.h>

#include "engine/link/stats.h"

struct net;
struct tcp_conn;
struct tcp_seg;
struct tx_seg;

#define OFFLOAD_MIN \
    256 /* octets of text: less is summed here in the time that telling the port takes */

enum { OFFLOAD_SUM, OFFLOAD_CUT, OFFLOAD_TX }; /* of what is sent */

struct offload_class {
    uint8_t state; /* enum stats_offload_state */
    uint8_t round, bad_rounds, good_rounds;
    uint32_t good, bad; /* of this round */
};

struct offload {
    struct offload_class tx[OFFLOAD_TX][2]; /* IPv4, IPv6 */
    uint8_t rx_sum, rx_vlan;                /* enum stats_offload_state */
    uint16_t max_segs;                      /* of a packet that the port cuts */
    uint32_t rx_seen, vlan_seen;
    uint32_t rx_trust;  /* so many frames more are not looked at */
    uint32_t note_next; /* of so many segments that the port sums one is noted */
};

void offload_init(struct net *net);
/* The port sums a segment whose headers stand at l3: flags, lengths, the pseudo header's sum. */
void offload_sum(const struct net *net, struct rte_mbuf *m, uint8_t *l3, uint32_t l3_len,
                 uint32_t l4_len, uint32_t text_len);
/* Is this kind done by the port for the family? */
bool offload_on(const struct net *net, unsigned kind, bool v6);
/* s goes out for the first time, summed (or cut, TXS_TSO) by the port. */
void offload_note(struct net *net, struct tx_seg *s, bool v6);
/* A segment that was noted is acknowledged, or SACKed (ack: NULL). */
void offload_outcome(struct tcp_conn *tc, struct tx_seg *s, const struct tcp_seg *ack);
/* Is the TCP text of `len` octets at p what was sent? pseudo: the pseudo header's sum. */
bool offload_rx_sum(struct net *net, uint64_t ol_flags, const uint8_t *p, uint32_t len,
                    uint64_t pseudo);
/* The same of a plain segment: 1: whole as the port says; 0: it must be looked at; -1: the port says nothing. */
int offload_rx_told(struct net *net, uint64_t ol_flags);
/* A tag was taken out by the port, or (lie) left although the port says or promised that it was not. */
void offload_vlan_seen(struct net *net, bool lie);
