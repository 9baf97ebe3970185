/* tcp_cc: congestion control algorithms behind one small table, one file each.
 *
 *   tcp_ack.c (an ACK in the open state) -> acked       grows cwnd
 *   tcp_recovery.c (loss, timeout, ECE)  -> ssthresh    how far to go back; undo if that was wrong
 * What an algorithm must not know: which segments are lost and how recovery is paced (tcp_rack.c,
 * tcp_recovery.c). All arithmetic is in integers; cwnd and ssthresh are bytes. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

struct tcp_conn;

enum tcp_cc_event { TCP_CC_LOSS, TCP_CC_TIMEOUT, TCP_CC_ECN };

struct tcp_cc {
    const char *name;
    bool exact_ecn; /* the peer echoes each CE mark as RFC 8257 3.2 says; `marked` is called */
    /* The connection is open: cwnd and ssthresh are set already. */
    void (*init)(struct tcp_conn *tc);
    /* `bytes` were acknowledged outside fast recovery. May be left out while cwnd is not what limits
     * the connection (TF_CWND_FULL). */
    void (*acked)(struct tcp_conn *tc, uint32_t bytes);
    /* The new slow start threshold, with `flight` bytes outstanding. The caller sets cwnd. */
    uint32_t (*ssthresh)(struct tcp_conn *tc, uint32_t flight, enum tcp_cc_event event);
    /* The last ssthresh was asked for in error: the algorithm's own state of before. May be NULL. */
    void (*undo)(struct tcp_conn *tc);
    /* exact_ecn: each ACK, with the bytes it acknowledges and whether it carried ECE. False: nothing
     * was marked for so long that it need not be told of ACKs without ECE. */
    bool (*marked)(struct tcp_conn *tc, uint32_t bytes, bool ece);
};

extern const struct tcp_cc tcp_cc_newreno, tcp_cc_cubic, tcp_cc_dctcp;

/* congestion: enum tcp_congestion (net.h); NULL: no such number. */
const struct tcp_cc *tcp_cc_get(unsigned congestion);

#define TCP_CWND_MAX (1u << 30)

/* State of the algorithms, in the cold record. */
struct tcp_cubic { /* RFC 9438 4.1.2; windows in bytes, times in ms of net->now_ns */
    uint32_t w_max, cwnd_prior, w_est;
    uint32_t est_acked;         /* bytes acknowledged since w_est last moved */
    uint32_t origin;            /* the plateau of the current epoch */
    uint32_t k_ms;              /* time from the epoch's start to it */
    uint64_t epoch_ms, last_ms; /* epoch_ms 0: none yet; last_ms: the last ACK that counted */
    uint32_t before_w_max;      /* for undo */
};
struct tcp_dctcp {  /* RFC 8257 3.3 */
    uint32_t alpha; /* of DCTCP_ONE */
    uint32_t acked, marked;
    uint32_t window_end;
    uint32_t before_alpha;
};
union tcp_cc_state {
    struct tcp_cubic cubic;
    struct tcp_dctcp dctcp;
};

/* Slow start of RFC 5681 3.1, shared: true when bytes were all used up by it. */
bool tcp_cc_slow_start(struct tcp_conn *tc, uint32_t *bytes);
