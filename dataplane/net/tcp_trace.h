/* tcp_trace: what happened to connections lately, for those who ask why one of them ended or crawls.
 *
 * One ring of events per worker, each tagged with its connection: an idle connection takes no memory for it. What one connection
 * has left in the ring, at most TCP_TRACE_EVENTS, is read by walking it backwards to the event that made the record. Of a connection
 * that an error ends a copy is kept, the last TCP_TRACE_KEPT of them.
 * Mode "errors": segments that the short ways take (tcp_fast.c, output_replies) leave nothing and pay nothing. "yes": TF_TRACE
 * keeps all connections off the short ways. */
#pragma once

#include <assert.h>
#include <stdbool.h>
#include <stdint.h>

#include "dataplane/net/net.h"

#define TCP_TRACE_EVENTS 256
#define TCP_TRACE_KEPT   16

enum tcp_event_kind {
    TR_OPEN,     /* the record was made */
    TR_STATE,    /* what: the state before */
    TR_IN,       /* a segment came */
    TR_OUT,      /* a segment went */
    TR_AGAIN,    /* and went again */
    TR_DROP,     /* what: enum tcp_drop */
    TR_TIMER,    /* what: enum tcp_timer; len: RTO in ms */
    TR_LOST,     /* wnd: bytes taken for lost */
    TR_RECOVERY, /* fast recovery begins */
    TR_UNDO,     /* the retransmissions were in vain */
    TR_WINDOW,   /* the peer's window was shut (wnd 0) or opened */
    TR_CLOSED,   /* wnd: errno, 0: orderly */
};

enum tcp_drop {
    DROP_PAWS,
    DROP_NO_TIMESTAMP,
    DROP_WINDOW,
    DROP_ACK,
    DROP_FLAGS,
    DROP_OPTIONS,
    DROP_OOO,
    DROP_RST,
    DROP_SYN,
};

struct tcp_event {
    uint64_t at_ns;
    uint32_t conn; /* index of the record */
    uint32_t seq, ack, wnd;
    uint16_t len;
    uint8_t kind, flags, state, what, sack_n, unused;
};
static_assert(sizeof(struct tcp_event) == 32, "two a cache line");

struct tcp_trace_kept {
    uint64_t id, at_ns;
    struct tcp_addr addr;
    int err;
    uint32_t n;
    struct tcp_event event[TCP_TRACE_EVENTS]; /* oldest first */
};

struct tcp_trace {
    struct tcp_event *ring; /* NULL: nothing is recorded */
    uint32_t mask;
    bool all;      /* mode "yes" */
    uint64_t next; /* events ever; the ring has the last of them */
    uint64_t
        keep_next_ns; /* no copy before: a copy walks the ring, and anybody can end a connection */
    uint64_t kept_count; /* copies ever */
    struct tcp_trace_kept *kept;
};

/* False: no memory. */
bool tcp_trace_init(struct tcp_trace *t, enum tcp_trace_mode mode, uint32_t events);
void tcp_trace_fini(struct tcp_trace *t);
