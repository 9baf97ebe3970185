/* The end of connections, by script: who closes first, both at once, half-close, TIME_WAIT, resets,
 * and the application closing from inside its callbacks. In each the pools return to empty. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <rte_mempool.h>

#include "dataplane/net/tcp_internal.h"
#include "tests/unit/net/check.h"
#include "tests/unit/net/peer.h"

static void open_plain(struct peer *p, peer_tune tune)
{
    peer_up(p, tune);
    peer_handshake(p, 1460, -1, false);
}

static const char *state_of(const struct peer *p)
{
    struct tcp_info ti;
    tcp_info(p->s->tc, &ti);
    return tcp_state_name(ti.state);
}

static void gone(struct peer *p)
{
    assert_true(p->s->closed);
    assert_int_equal(p->stack->stats.tcp_conns, 0);
    assert_int_equal(p->stack->stats.tcp_curr_estab, 0);
    assert_int_equal(p->stack->net->flow.count, 0);
    assert_int_equal(p->stack->net->wheel.count, 0);
    assert_int_equal(rte_mempool_in_use_count(p->pool), 0);
    peer_down(p);
}

/* CLOSE_WAIT, LAST_ACK. */
static void test_peer_closes_first(void **state)
{
    (void)state;
    struct peer p;
    open_plain(&p, NULL);
    peer_seg(&p, PEER_FIN | PEER_ACK, p.seq, p.ack, peer_octets(0), 10);
    p.seq += 11;
    assert_true(p.s->peer_closed);
    assert_int_equal(p.s->rx_seen, 10);
    assert_string_equal(state_of(&p), "CLOSE_WAIT");
    assert_int_equal(peer_get(&p)->ack, p.seq);
    peer_app_write(&p, 50); /* half-close: we may still send */
    assert_int_equal(peer_get(&p)->len, 50);
    peer_ack(&p);
    tcp_close(p.s->tc);
    wire_turn(&p.w);
    assert_string_equal(state_of(&p), "LAST_ACK");
    struct pkt *k = peer_get(&p);
    assert_int_equal(k->flags, PEER_FIN | PEER_ACK);
    assert_false(p.s->closed);
    peer_ack(&p);
    assert_int_equal(p.s->err, 0);
    gone(&p);
}

/* FIN_WAIT_1, FIN_WAIT_2, TIME_WAIT. */
static void test_we_close_first(void **state)
{
    (void)state;
    struct peer p;
    open_plain(&p, NULL);
    tcp_close(p.s->tc);
    wire_turn(&p.w);
    assert_string_equal(state_of(&p), "FIN_WAIT_1");
    assert_int_equal(peer_get(&p)->flags, PEER_FIN | PEER_ACK);
    peer_ack(&p);
    assert_string_equal(state_of(&p), "FIN_WAIT_2");
    assert_false(p.s->closed);
    peer_seg(&p, PEER_FIN | PEER_ACK, p.seq, p.ack, NULL, 0);
    assert_int_equal(peer_get(&p)->ack, p.seq + 1);
    assert_true(p.s->closed);
    assert_int_equal(p.s->err, 0);
    assert_int_equal(p.stack->stats.tcp_time_wait, 1);
    peer_seg(&p, PEER_FIN | PEER_ACK, p.seq, p.ack, NULL, 0); /* our last ACK was lost */
    assert_int_equal(peer_get(&p)->ack, p.seq + 1);
    peer_wait(&p, 59 * WIRE_SEC); /* the wait starts anew with that FIN */
    assert_int_equal(p.stack->stats.tcp_time_wait, 1);
    peer_wait(&p, 2 * WIRE_SEC);
    assert_int_equal(p.stack->stats.tcp_time_wait, 0);
    gone(&p);
}

/* RFC 9293 figure 13: both FINs cross; CLOSING, then TIME_WAIT. */
static void test_simultaneous_close(void **state)
{
    (void)state;
    struct peer p;
    open_plain(&p, NULL);
    tcp_close(p.s->tc);
    wire_turn(&p.w);
    struct pkt *k = peer_get(&p);
    peer_seg(&p, PEER_FIN | PEER_ACK, p.seq, k->seq, NULL, 0); /* does not know of our FIN */
    p.seq++;
    assert_string_equal(state_of(&p), "CLOSING");
    assert_int_equal(peer_get(&p)->ack, p.seq);
    peer_ack(&p);
    assert_true(p.s->closed);
    assert_int_equal(p.stack->stats.tcp_time_wait, 1);
    peer_wait(&p, 61 * WIRE_SEC);
    gone(&p);
}

/* FIN and its ACK in one segment: FIN_WAIT_1 straight to TIME_WAIT. */
static void test_fin_with_ack_of_fin(void **state)
{
    (void)state;
    struct peer p;
    open_plain(&p, NULL);
    tcp_close(p.s->tc);
    wire_turn(&p.w);
    peer_get(&p);
    peer_seg(&p, PEER_FIN | PEER_ACK, p.seq, p.ack, NULL, 0);
    assert_int_equal(p.stack->stats.tcp_time_wait, 1);
    assert_true(p.s->closed);
    peer_wait(&p, 61 * WIRE_SEC);
    gone(&p);
}

/* Queued data goes first, FIN rides on its last segment; a lost FIN is sent again with it. */
static void test_close_sends_queue_first(void **state)
{
    (void)state;
    struct peer p;
    open_plain(&p, NULL);
    p.s->tx_total = 3000;
    stream_push(p.s);
    tcp_close(p.s->tc);
    wire_turn(&p.w);
    assert_int_equal(peer_get(&p)->len, 1460);
    assert_int_equal(peer_get(&p)->len, 1460);
    struct pkt *k = peer_get(&p);
    assert_int_equal(k->len, 80);
    assert_true(k->flags & PEER_FIN);
    peer_none(&p);
    peer_seg(&p, PEER_ACK, p.seq, k->seq, NULL, 0); /* the last one was lost */
    peer_wait(&p, 25 * WIRE_MS);
    uint32_t last = k->seq;
    k = peer_get(&p);
    assert_int_equal(k->seq, last);
    assert_int_equal(k->len, 80);
    assert_true(k->flags & PEER_FIN);
    peer_seg(&p, PEER_ACK, p.seq, last + 80, NULL, 0); /* data arrived, FIN did not */
    peer_wait(&p, 90 * WIRE_MS);
    k = peer_get(&p);
    assert_int_equal(k->seq, last + 80);
    assert_int_equal(k->len, 0);
    assert_true(k->flags & PEER_FIN);
    peer_seg(&p, PEER_FIN | PEER_ACK, p.seq, last + 81, NULL, 0);
    peer_wait(&p, 61 * WIRE_SEC);
    gone(&p);
}

/* RFC 9293 3.6.1: data for an application that has left is answered with RST. */
static void test_data_after_close(void **state)
{
    (void)state;
    struct peer p;
    open_plain(&p, NULL);
    tcp_close(p.s->tc);
    wire_turn(&p.w);
    peer_get(&p);
    peer_ack(&p);
    peer_data(&p, peer_octets(0), 10);
    assert_true(peer_get(&p)->flags & PEER_RST);
    assert_int_equal(p.s->rx_seen, 0);
    assert_int_equal(p.s->err, -ECONNRESET);
    gone(&p);
}

/* RFC 2525 2.17: closing with bytes that were never digested resets. */
static void test_close_with_unread_data(void **state)
{
    (void)state;
    struct peer p;
    open_plain(&p, NULL);
    p.s->hold_all = true;
    peer_data(&p, peer_octets(0), 10);
    tcp_close(p.s->tc);
    wire_turn(&p.w);
    assert_true(peer_get(&p)->flags & PEER_RST);
    gone(&p);
}

static void test_abort(void **state)
{
    (void)state;
    struct peer p;
    open_plain(&p, NULL);
    peer_app_write(&p, 5000);
    struct tcp_conn *tc = p.s->tc;
    p.s->tc = NULL;
    tcp_abort(tc);
    wire_turn(&p.w);
    struct pkt *k = &p.got[p.got_len - 1];
    assert_true(k->flags & PEER_RST);
    assert_false(p.s->closed); /* the caller knows */
    p.s->closed = true;
    gone(&p);
}

static void test_fin_out_of_order(void **state)
{
    (void)state;
    struct peer p;
    open_plain(&p, NULL);
    peer_seg(&p, PEER_FIN | PEER_ACK, p.seq + 100, p.ack, peer_octets(100), 50);
    assert_false(p.s->peer_closed);
    peer_get(&p);
    peer_seg(&p, PEER_ACK, p.seq, p.ack, peer_octets(0), 100);
    assert_true(p.s->peer_closed);
    assert_int_equal(p.s->rx_seen, 150);
    assert_false(p.s->mismatch);
    p.seq += 151;
    assert_int_equal(peer_get(&p)->ack, p.seq);
    /* Nothing after the FIN is text. */
    peer_seg(&p, PEER_ACK, p.seq, p.ack, "zzz", 3);
    assert_int_equal(p.s->rx_seen, 150);
    tcp_close(p.s->tc);
    wire_turn(&p.w);
    while (p.got_at < p.got_len)
        peer_get(&p);
    peer_ack(&p);
    gone(&p);
}

/* A peer that acknowledges our FIN and never sends its own. */
static void test_fin_wait_2_ends(void **state)
{
    (void)state;
    struct peer p;
    open_plain(&p, NULL);
    tcp_close(p.s->tc);
    wire_turn(&p.w);
    peer_get(&p);
    peer_ack(&p);
    peer_wait(&p, (LIMIT_TCP_FIN_WAIT2_S + 1) * WIRE_SEC);
    assert_int_equal(p.s->err, -ETIMEDOUT);
    gone(&p);
}

/* A peer that shuts its window and keeps answering cannot hold a closed connection for ever. */
static void test_orphan_with_shut_window(void **state)
{
    (void)state;
    struct peer p;
    open_plain(&p, NULL);
    p.wnd = 0;
    peer_ack(&p);
    peer_app_write(&p, 1000);
    tcp_close(p.s->tc);
    for (int i = 0; i < 600 && !p.s->closed; i++) {
        peer_wait(&p, WIRE_SEC);
        p.got_at = p.got_len;
        peer_seg(&p, PEER_ACK, p.seq, p.ack, NULL, 0);
    }
    assert_int_equal(p.s->err, -ETIMEDOUT);
    gone(&p);
}

/* RFC 6191, RFC 9293 MAY-2: TIME_WAIT gives way to a SYN that is surely new, not to an old one. */
static void test_time_wait_reuse(void **state)
{
    (void)state;
    struct peer p;
    open_plain(&p, NULL);
    tcp_close(p.s->tc);
    wire_turn(&p.w);
    peer_get(&p);
    peer_seg(&p, PEER_FIN | PEER_ACK, p.seq, p.ack, NULL, 0);
    peer_get(&p);
    p.seq -= 1000; /* an old SYN: answered with an ACK, nothing changes */
    peer_syn(&p, 1460, -1, false);
    assert_int_equal(peer_get(&p)->flags, PEER_ACK);
    assert_int_equal(p.stack->stats.tcp_time_wait, 1);
    p.seq += 5000;
    peer_syn(&p, 1460, -1, false);
    struct pkt *k = peer_get(&p);
    assert_int_equal(k->flags, PEER_SYN | PEER_ACK);
    assert_int_equal(p.stack->stats.tcp_time_wait, 0);
    peer_seg(&p, PEER_ACK, p.seq + 1, k->seq + 1, NULL, 0);
    assert_int_equal(p.app->accepted, 2);
    peer_down(&p);
}

/* RFC 9293 3.6.1 MAY-2 (1): our new numbers lie beyond all of the old connection's, though it sent faster than
 * the clock of RFC 6528 ticks (an octet in 4 us). */
static void test_time_wait_reuse_keeps_numbers_apart(void **state)
{
    (void)state;
    struct peer p;
    open_plain(&p, NULL);
    for (int i = 0; i < 100; i++) {
        peer_app_write(&p, 10000);
        while (p.got_at < p.got_len)
            peer_get(&p);
        p.got_at = p.got_len = 0;
        peer_ack(&p);
    }
    tcp_close(p.s->tc);
    wire_turn(&p.w);
    peer_get(&p);
    peer_seg(&p, PEER_FIN | PEER_ACK, p.seq, p.ack, NULL, 0);
    peer_get(&p);
    uint32_t used = p.ack;
    p.seq += 5000;
    peer_syn(&p, 1460, -1, false);
    struct pkt *k = peer_get(&p);
    assert_int_equal(k->flags, PEER_SYN | PEER_ACK);
    assert_true((int32_t)(k->seq - used) >= 0);
    peer_down(&p);
}

static void tune_few_conns(struct net_config *c)
{
    c->max_conns = 4;
}

/* Records run out: the oldest TIME_WAIT gives its own. */
static void test_time_wait_recycled(void **state)
{
    (void)state;
    struct peer p;
    peer_up(&p, tune_few_conns);
    for (unsigned i = 0; i < 40; i++) {
        p.port = (uint16_t)(40000 + i);
        p.seq = 1000000;
        p.got_at = p.got_len;
        peer_syn(&p, 1460, -1, false);
        struct pkt *k = peer_get(&p);
        assert_int_equal(k->flags, PEER_SYN | PEER_ACK);
        p.seq++;
        p.ack = k->seq + 1;
        peer_ack(&p);
        p.s = &p.app->stream[i];
        tcp_close(p.s->tc);
        wire_turn(&p.w);
        peer_get(&p);
        peer_seg(&p, PEER_FIN | PEER_ACK, p.seq, p.ack, NULL, 0);
        assert_true(p.s->closed);
    }
    assert_true(p.stack->stats.tcp_time_wait_recycled >= 36);
    assert_int_equal(p.stack->stats.drop_tcp_nomem, 0);
    peer_wait(&p, 61 * WIRE_SEC);
    gone(&p);
}

/* Passive side gets a RST in SYN_RCVD: back to listening, the application never knew. */
static void test_rst_in_syn_rcvd(void **state)
{
    (void)state;
    struct peer p;
    peer_up(&p, NULL);
    peer_syn(&p, 1460, -1, false);
    peer_get(&p);
    peer_seg(&p, PEER_RST, p.seq + 1, 0, NULL, 0);
    assert_int_equal(p.app->accepted + p.app->closed, 0);
    p.s->closed = true;
    gone(&p);
}

/* ---- active open ---- */

static void learn(struct peer *p)
{
    net_neigh_learn(p->stack->net, peer_addr(p), p->mac, p->w.now_ns);
}

static void connect_to_peer(struct peer *p)
{
    peer_up(p, NULL);
    learn(p);
    p->s = &p->app->stream[p->app->used++];
    *p->s = (struct stream){.tx_seed = 3, .rx_seed = 5, .host = p->stack};
    p->stack_port = 5555;
    p->s->tc = tcp_connect_to(p->stack->net, peer_addr(p), p->port, 5555, p->s, p->w.now_ns);
    wire_turn(&p->w);
    struct pkt *k = peer_get(p);
    assert_int_equal(k->flags, PEER_SYN | PEER_ECE | PEER_CWR);
    assert_true(k->mss == 1460 && k->has_ts && k->has_wscale && k->sack_ok);
    p->ack = k->seq + 1;
}

static void test_connection_refused(void **state)
{
    (void)state;
    struct peer p;
    connect_to_peer(&p);
    peer_seg(&p, PEER_RST | PEER_ACK, 0, p.ack + 1, NULL, 0); /* not an ACK of our SYN */
    assert_false(p.s->closed);
    peer_seg(&p, PEER_RST | PEER_ACK, 0, p.ack, NULL, 0);
    assert_int_equal(p.s->connect_err, -ECONNREFUSED);
    gone(&p);
}

static void test_connection_times_out(void **state)
{
    (void)state;
    struct peer p;
    connect_to_peer(&p);
    peer_wait(&p, 300 * WIRE_SEC);
    assert_int_equal(p.got_len - p.got_at, LIMIT_TCP_SYN_RETRIES);
    assert_int_equal(p.s->connect_err, -ETIMEDOUT);
    gone(&p);
}

static void test_close_while_connecting(void **state)
{
    (void)state;
    struct peer p;
    connect_to_peer(&p);
    tcp_close(p.s->tc);
    wire_turn(&p.w);
    assert_true(p.s->closed);
    assert_false(p.s->connected);
    gone(&p);
}

/* RFC 9293 figure 8: SYNs cross. */
/* RFC 9293 3.9.2.3 MUST-46: nobody opens a connection to a group, to everybody, or to himself. */
static void test_no_connection_to_a_group(void **state)
{
    (void)state;
    struct peer p;
    static const uint32_t nobody[] = {0xe0000001, 0xffffffff, 0x0a0000ff,
                                      0x7f000001, 0,          0x0a000002};
    peer_up(&p, NULL);
    for (size_t i = 0; i < sizeof(nobody) / sizeof(nobody[0]); i++)
        assert_null(tcp_connect(p.stack->net, nobody[i], 80, 0, p.app, p.w.now_ns));
    struct ip_addr group = {{0}};
    assert_null(tcp_connect_to(p.stack->net, group, 80, 0, p.app, p.w.now_ns));
    group.w[0] = 0x02ff;
    assert_null(tcp_connect_to(p.stack->net, group, 80, 0, p.app, p.w.now_ns));
    assert_int_equal(p.stack->stats.tcp_conns, 0);
    peer_down(&p);
}

static void test_simultaneous_open(void **state)
{
    (void)state;
    struct peer p;
    connect_to_peer(&p);
    peer_syn(&p, 1460, -1, false);
    struct pkt *k = peer_get(&p);
    assert_int_equal(k->flags, PEER_SYN | PEER_ACK);
    assert_int_equal(k->ack, p.seq + 1);
    assert_false(p.s->connected);
    peer_seg(&p, PEER_SYN | PEER_ACK, p.seq, k->seq + 1, NULL, 0); /* theirs */
    assert_int_equal(peer_get(&p)->flags, PEER_ACK);
    p.seq++;
    p.ack = k->seq + 1;
    peer_ack(&p);
    assert_true(p.s->connected);
    assert_string_equal(state_of(&p), "ESTABLISHED");
    peer_data(&p, peer_octets(0), 10);
    assert_int_equal(p.s->rx_seen, 10);
    peer_seg(&p, PEER_RST, p.seq, 0, NULL, 0);
    gone(&p);
}

/* ---- closing from inside callbacks ---- */

struct reenter {
    struct peer *p;
    int mode;
    unsigned received, closed;
    struct tcp_conn *tc;
};

static void *re_accepted(void *ctx, struct tcp_conn *tc)
{
    struct reenter *r = ctx;
    r->tc = tc;
    if (r->mode == 3)
        tcp_abort(tc);
    return r;
}
static void re_received(void *cookie, const uint8_t *p, size_t n)
{
    struct reenter *r = cookie;
    size_t room;
    r->received += (unsigned)n;
    switch (r->mode) {
    case 0: tcp_abort(r->tc); break;
    case 1: {
        uint8_t *w = tcp_tx_reserve(r->tc, &room);
        assert_non_null(w);
        memcpy(w, p, n);
        tcp_tx_commit(r->tc, n);
        tcp_close(r->tc);
        break;
    }
    default: tcp_close(r->tc); break;
    }
    /* A connection that has ended takes calls and does nothing. */
    if (r->mode == 0) {
        assert_null(tcp_tx_reserve(r->tc, &room));
        tcp_close(r->tc);
        tcp_rx_hold(r->tc, 5);
        tcp_rx_hold(r->tc, 0);
    }
}
static void re_peer_closed(void *cookie)
{
    struct reenter *r = cookie;
    if (r->mode == 2)
        tcp_abort(r->tc);
}
static void re_writable(void *cookie)
{
    (void)cookie;
}
static void re_closed(void *cookie, int err)
{
    (void)err;
    ((struct reenter *)cookie)->closed++;
}

static void test_closing_inside_callbacks(void **state)
{
    (void)state;
    for (int mode = 0; mode < 4; mode++) {
        struct peer p;
        struct reenter r = {.p = &p, .mode = mode};
        uint8_t a[256], b[256];
        peer_up(&p, NULL);
        p.stack->step = NULL;
        p.stack->net->app = (struct tcp_app){.ctx = &r,
                                             .accepted = re_accepted,
                                             .received = re_received,
                                             .peer_closed = re_peer_closed,
                                             .writable = re_writable,
                                             .closed = re_closed};
        peer_syn(&p, 1460, -1, false);
        struct pkt *k = peer_get(&p);
        p.seq++;
        p.ack = k->seq + 1;
        /* One burst: early data, the gap's data, more data, FIN. */
        uint32_t n = peer_frame(&p, a, PEER_ACK, p.seq + 10, p.ack, "0123456789", 10);
        wire_inject(&p.w, p.stack->id, a, n, 0);
        n = peer_frame(&p, b, PEER_ACK, p.seq, p.ack, "0123456789", 10);
        wire_inject(&p.w, p.stack->id, b, n, 0);
        n = peer_frame(&p, b, PEER_ACK | PEER_FIN, p.seq + 20, p.ack, "0123456789", 10);
        wire_inject(&p.w, p.stack->id, b, n, 0);
        wire_turn(&p.w);
        assert_int_equal(r.received, mode == 3 ? 0 : 10);
        peer_wait(&p, 400 * WIRE_SEC);
        assert_int_equal(p.stack->stats.tcp_conns, 0);
        assert_int_equal(r.closed, mode == 1 || mode == 2 ? 1 : 0);
        assert_int_equal(rte_mempool_in_use_count(p.pool), 0);
        peer_down(&p);
    }
}

static void leave_at_ten(void *cookie, const uint8_t *p, size_t n)
{
    struct stream *s = cookie;
    (void)p;
    s->rx_seen += n;
    if (s->rx_seen >= 10)
        tcp_close(s->tc);
}

/* The last octets came early, then all of them at once, and the application leaves at that: what was kept
 * is in order by then and must go, not be told of as SACKed (RFC 2018 3: blocks lie beyond the ACK). */
static void test_close_while_early_text_is_kept(void **state)
{
    (void)state;
    struct peer p;
    peer_up(&p, NULL);
    p.sack = true;
    peer_handshake(&p, 1460, -1, false);
    p.stack->net->app.received = leave_at_ten;
    struct tcp_conn *tc = p.s->tc;
    peer_seg(&p, PEER_ACK, p.seq + 7, p.ack, peer_octets(7), 3);
    assert_int_equal(peer_get(&p)->sack_n, 1);
    peer_seg(&p, PEER_ACK, p.seq, p.ack, peer_octets(0), 10);
    struct pkt *k = peer_get(&p);
    assert_int_equal(k->flags, PEER_FIN | PEER_ACK);
    assert_int_equal(k->ack, p.seq + 10);
    assert_null(tc->cold->ooo);
    peer_seg(&p, PEER_ACK, p.seq, p.ack - 1, peer_octets(0), 10);
    k = peer_get(&p);
    assert_int_equal(k->sack_n, 1);
    assert_int_equal(k->sack[0][0], p.seq);
    assert_int_equal(k->sack[0][1], p.seq + 10);
    p.seq += 10;
    peer_seg(&p, PEER_FIN | PEER_ACK, p.seq, p.ack, NULL, 0);
    peer_get(&p);
    peer_wait(&p, 61 * WIRE_SEC);
    assert_int_equal(p.s->err, 0);
    gone(&p);
}

/* More was kept than the application stayed for: lost, and said so, as for data that comes later. */
static void test_close_before_early_text(void **state)
{
    (void)state;
    struct peer p;
    open_plain(&p, NULL);
    p.stack->net->app.received = leave_at_ten;
    peer_seg(&p, PEER_ACK, p.seq + 10, p.ack, peer_octets(10), 5);
    peer_get(&p);
    peer_seg(&p, PEER_ACK, p.seq, p.ack, peer_octets(0), 10);
    assert_true(peer_get(&p)->flags & PEER_RST);
    assert_int_equal(p.s->rx_seen, 10);
    assert_int_equal(p.s->err, -ECONNRESET);
    gone(&p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_peer_closes_first),
        cmocka_unit_test(test_we_close_first),
        cmocka_unit_test(test_simultaneous_close),
        cmocka_unit_test(test_fin_with_ack_of_fin),
        cmocka_unit_test(test_close_sends_queue_first),
        cmocka_unit_test(test_data_after_close),
        cmocka_unit_test(test_close_with_unread_data),
        cmocka_unit_test(test_close_while_early_text_is_kept),
        cmocka_unit_test(test_close_before_early_text),
        cmocka_unit_test(test_abort),
        cmocka_unit_test(test_fin_out_of_order),
        cmocka_unit_test(test_fin_wait_2_ends),
        cmocka_unit_test(test_orphan_with_shut_window),
        cmocka_unit_test(test_time_wait_reuse),
        cmocka_unit_test(test_time_wait_reuse_keeps_numbers_apart),
        cmocka_unit_test(test_time_wait_recycled),
        cmocka_unit_test(test_rst_in_syn_rcvd),
        cmocka_unit_test(test_connection_refused),
        cmocka_unit_test(test_connection_times_out),
        cmocka_unit_test(test_close_while_connecting),
        cmocka_unit_test(test_no_connection_to_a_group),
        cmocka_unit_test(test_simultaneous_open),
        cmocka_unit_test(test_closing_inside_callbacks),
    };
    if (wire_eal_init())
        return 1;
    return cmocka_run_group_tests(tests, NULL, NULL);
}
