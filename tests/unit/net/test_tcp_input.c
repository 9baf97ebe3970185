/* Receiving, by script: handshake and options, order and overlap, windows, blind attacks. Each script
 * says the segments in and checks the segments out; peer.c checks every frame's lengths and sums. */
#include <errno.h>
#include <stdio.h>
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

/* RFC 9293 3.7.1, RFC 7323 2.2 and 3.2: what a SYN offers is answered in kind. */
static void test_syn_options(void **state)
{
    (void)state;
    struct peer p;
    peer_up(&p, NULL);
    peer_handshake(&p, 1400, 7, true);
    struct tcp_info ti;
    tcp_info(p.s->tc, &ti);
    assert_int_equal(ti.mss, 1400 - 12);
    assert_int_equal(ti.snd_wnd, 0xffffu << 7);
    assert_int_equal(p.got[0].mss, 1460);
    assert_int_equal(p.got[0].tsecr, 5000);
    peer_app_write(&p, 3000);
    struct pkt *k = peer_get(&p);
    assert_int_equal(k->len, 1388);
    assert_true(k->has_ts);
    peer_down(&p);

    peer_up(&p, NULL);
    peer_handshake(&p, 0, -1, false); /* no MSS; no scale: none */
    tcp_info(p.s->tc, &ti);
    assert_int_equal(ti.mss, p.v6 ? 1220 : 536); /* RFC 9293 3.7.1, RFC 8200 5 */
    assert_int_equal(ti.snd_wnd, 0xffff);
    peer_down(&p);

    peer_up(&p, NULL);
    peer_handshake(&p, 1, -1, false); /* an MSS of 1 does not make a packet of each byte */
    tcp_info(p.s->tc, &ti);
    assert_int_equal(ti.mss, LIMIT_TCP_MSS_MIN);
    peer_down(&p);
}

static void test_syn_retransmitted_both_ways(void **state)
{
    (void)state;
    struct peer p;
    peer_up(&p, NULL);
    peer_syn(&p, 1460, -1, false);
    struct pkt *k = peer_get(&p);
    uint32_t iss = k->seq;
    peer_syn(&p, 1460, -1, false); /* theirs again: the same SYN-ACK */
    k = peer_get(&p);
    assert_int_equal(k->flags, PEER_SYN | PEER_ACK);
    assert_int_equal(k->seq, iss);
    peer_none(&p);
    peer_wait(&p, 1100 * WIRE_MS); /* ours again after the initial RTO of 1 s */
    k = peer_get(&p);
    assert_int_equal(k->seq, iss);
    peer_none(&p);
    peer_wait(&p, 300 * WIRE_SEC); /* given up: the record is free */
    assert_int_equal(p.got_len - p.got_at, LIMIT_TCP_SYNACK_RETRIES - 1);
    assert_int_equal(p.stack->stats.tcp_conns, 0);
    assert_int_equal(p.stack->stats.tcp_attempt_fails, 1);
    assert_int_equal(p.app->accepted, 0);
    peer_down(&p);
}

static void test_handshake_bad_ack(void **state)
{
    (void)state;
    struct peer p;
    peer_up(&p, NULL);
    peer_syn(&p, 1460, -1, false);
    struct pkt *k = peer_get(&p);
    peer_seg(&p, PEER_ACK, p.seq + 1, k->seq + 2, NULL, 0);
    k = peer_get(&p);
    assert_int_equal(k->flags, PEER_RST);
    assert_int_equal(p.app->accepted, 0);
    peer_down(&p);
}

static void test_refused_by_application(void **state)
{
    (void)state;
    struct peer p;
    peer_up(&p, NULL);
    p.app->refuse = true;
    peer_syn(&p, 1460, -1, false);
    struct pkt *k = peer_get(&p);
    peer_seg(&p, PEER_ACK, p.seq + 1, k->seq + 1, NULL, 0);
    k = peer_get(&p);
    assert_true(k->flags & PEER_RST);
    assert_int_equal(p.stack->stats.tcp_conns, 0);
    assert_int_equal(p.stack->stats.connections_rejected, 1);
    peer_down(&p);
}

static void tune_backlog(struct net_config *c)
{
    c->backlog = 4;
}

static void test_backlog(void **state)
{
    (void)state;
    struct peer p;
    peer_up(&p, tune_backlog);
    for (int i = 0; i < 10; i++) {
        p.port++;
        peer_syn(&p, 1460, -1, false);
    }
    assert_int_equal(p.got_len, 10); /* those over it got a cookie: test_tcp_cookie.c */
    assert_int_equal(p.stack->stats.tcp_syncookies_sent, 6);
    assert_int_equal(p.stack->stats.tcp_conns, 4);
    p.port = 40001;
    peer_seg(&p, PEER_ACK, p.seq + 1, p.got[0].seq + 1, NULL, 0); /* one leaves the backlog */
    assert_int_equal(p.app->accepted, 1);
    p.port = 41000;
    peer_syn(&p, 1460, -1, false);
    assert_int_equal(p.got_len, 11);
    assert_int_equal(p.stack->stats.tcp_syncookies_sent, 6);
    assert_int_equal(p.stack->stats.tcp_conns, 5);
    peer_down(&p);
}

static void tune_few_conns(struct net_config *c)
{
    c->max_conns = 3;
}

static void test_records_run_out(void **state)
{
    (void)state;
    struct peer p;
    peer_up(&p, tune_few_conns);
    for (int i = 0; i < 5; i++) {
        p.port++;
        peer_syn(&p, 1460, -1, false);
    }
    assert_int_equal(p.got_len, 3);
    assert_int_equal(p.stack->stats.drop_tcp_nomem, 2);
    peer_down(&p);
}

static void test_isn_differs_and_moves(void **state)
{
    (void)state;
    struct peer p;
    peer_up(&p, NULL);
    peer_syn(&p, 1460, -1, false);
    p.port++;
    peer_syn(&p, 1460, -1, false);
    uint32_t a = p.got[0].seq, b = p.got[1].seq;
    assert_int_not_equal(a, b);
    struct flow_key k = {p.ip, p.stack_ip, 40000, 6379};
    struct ip_addr peer = peer_addr(&p);
    if (p.v6) { /* our address by its index */
        k.peer_ip = flow_peer6(&p.stack->net->flow, peer);
        k.local_ip = 1;
    }
    p.stack->net->now_ns = p.w.now_ns;
    uint32_t one = tcp_isn(p.stack->net, &k, peer);
    assert_int_equal(one, a);
    p.stack->net->now_ns += WIRE_SEC;
    uint32_t two = tcp_isn(p.stack->net, &k, peer); /* RFC 6528: 4 us a tick */
    assert_true(two - one > 240000 && two - one < 250000);
    peer_down(&p);
}

/* Flags of the mapping that holds p, as /proc/self/smaps tells them. */
static bool not_dumped(const void *p)
{
    char line[512];
    uintptr_t from, to, at = (uintptr_t)p;
    bool here = false, ret = false;
    FILE *f = fopen("/proc/self/smaps", "r");
    assert_non_null(f);
    while (fgets(line, sizeof(line), f)) {
        if (sscanf(line, "%lx-%lx ", &from, &to) == 2)
            here = at >= from && at < to;
        else if (here && strncmp(line, "VmFlags:", 8) == 0)
            ret = strstr(line, " dd") != NULL;
    }
    fclose(f);
    return ret;
}

/* RFC 6528 3: the secret stays secret. Every key is in pages that no core dump has, and what the keys were made of is gone. */
static void test_keys_stay_out_of_dumps(void **state)
{
    (void)state;
    struct peer p;
    struct net_config c;
    wire_config(&c, 0x0a000002);
    peer_up(&p, NULL);
    const struct net *net = p.stack->net;
    assert_true(not_dumped(net->keys));
    assert_false(not_dumped(net));
    for (size_t i = 0; i + 8 <= sizeof(*net); i++) {
        assert_int_not_equal(memcmp((const uint8_t *)net + i, &c.secret[0], 8), 0);
        assert_int_not_equal(memcmp((const uint8_t *)net + i, &c.secret[1], 8), 0);
        if (i % 8 == 0)
            assert_int_not_equal(memcmp((const uint8_t *)net + i, &net->keys->isn, 8), 0);
    }
    peer_down(&p);
}

static void test_in_order_and_delayed_ack(void **state)
{
    (void)state;
    struct peer p;
    open_plain(&p, NULL);
    peer_data(&p, peer_octets(0), 100);
    assert_int_equal(p.s->rx_seen, 100);
    peer_none(&p); /* waits for data to ride on */
    peer_app_write(&p, 10);
    struct pkt *k = peer_get(&p);
    assert_int_equal(k->len, 10);
    assert_int_equal(k->ack, p.seq);
    peer_ack(&p);
    peer_wait(&p, 50 * WIRE_MS);
    peer_none(&p); /* paid: no ACK of its own follows */
    peer_data(&p, peer_octets(100), 100);
    peer_none(&p);
    peer_wait(&p, 12 * WIRE_MS);
    k = peer_get(&p);
    assert_int_equal(k->len, 0);
    assert_int_equal(k->ack, p.seq);
    assert_int_equal(p.stack->stats.tcp_delayed_acks, 1);
    assert_false(p.s->mismatch);
    peer_down(&p);
}

/* RFC 9293 3.8.6.3: an ACK for at least every second full segment. */
static void test_ack_every_second_segment(void **state)
{
    (void)state;
    struct peer p;
    open_plain(&p, NULL);
    for (int i = 0; i < 10; i++) {
        unsigned before = p.got_len;
        peer_data(&p, peer_octets((uint64_t)i * 1460), 1460);
        assert_int_equal(p.got_len - before, i & 1);
    }
    assert_int_equal(p.s->rx_seen, 14600);
    assert_false(p.s->mismatch);
    peer_down(&p);
}

static void test_out_of_order(void **state)
{
    (void)state;
    struct peer p;
    open_plain(&p, NULL);
    uint32_t s = p.seq;
    peer_seg(&p, PEER_ACK, s + 200, p.ack, peer_octets(200), 100);
    struct pkt *k = peer_get(&p); /* RFC 5681 4.2: at once */
    assert_int_equal(k->ack, s);
    assert_int_equal(p.s->rx_seen, 0);
    peer_seg(&p, PEER_ACK, s + 100, p.ack, peer_octets(100), 100);
    assert_int_equal(peer_get(&p)->ack, s);
    struct tcp_info ti;
    tcp_info(p.s->tc, &ti);
    assert_int_equal(ti.ooo_bytes, 200);
    peer_seg(&p, PEER_ACK, s, p.ack, peer_octets(0), 100);
    assert_int_equal(peer_get(&p)->ack, s + 300); /* the gap is filled: at once */
    assert_int_equal(p.s->rx_seen, 300);
    assert_false(p.s->mismatch);
    tcp_info(p.s->tc, &ti);
    assert_int_equal(ti.ooo_bytes, 0);
    peer_down(&p);
}

/* Text ahead of order that also reaches beyond the window: one duplicate ACK, not two. */
static void test_text_ahead_cut_by_the_window_is_one_ack(void **state)
{
    (void)state;
    struct peer p;
    open_plain(&p, NULL);
    uint32_t edge = p.seq + p.got[0].wnd;
    peer_seg(&p, PEER_ACK, edge - 50, p.ack, peer_octets(0), 100);
    assert_int_equal(peer_get(&p)->ack, p.seq);
    peer_none(&p);
    peer_down(&p);
}

/* A forged segment at RCV.NXT with a timestamp of the far future and no ACK that holds: what it says of time is not
 * believed either, or PAWS would drop all that the true peer sends from then on. */
static void test_blind_segment_leaves_ts_recent(void **state)
{
    (void)state;
    struct peer p;
    peer_up(&p, NULL);
    peer_handshake(&p, 1460, 7, true);
    uint32_t tsval = p.tsval;
    p.tsval += 1u << 30;
    peer_seg(&p, PEER_ACK, p.seq, p.ack + 5000000, "forged", 6);
    assert_int_equal(peer_get(&p)->flags, PEER_ACK);
    peer_seg(&p, PEER_SYN, p.seq, 0, NULL, 0);
    assert_int_equal(peer_get(&p)->flags, PEER_ACK);
    p.tsval = tsval + 1;
    peer_data(&p, peer_octets(0), 100);
    assert_int_equal(p.s->rx_seen, 100);
    assert_int_equal(p.stack->stats.drop_tcp_paws, 0);
    peer_down(&p);
}

/* A burst with a gap: a duplicate ACK per segment behind it, so that a peer without SACK repairs it at the third. */
static void test_duplicate_acks_of_a_burst(void **state)
{
    (void)state;
    struct peer p;
    uint8_t f[2048];
    open_plain(&p, NULL);
    uint32_t s = p.seq;
    const uint32_t from[] = {0, 200, 300, 400, 500};
    for (int i = 0; i < 5; i++) {
        uint32_t n = peer_frame(&p, f, PEER_ACK, s + from[i], p.ack, peer_octets(from[i]), 100);
        wire_inject(&p.w, p.stack->id, f, n, 0);
    }
    wire_turn(&p.w);
    for (int i = 0; i < 5; i++) { /* one of new data, four duplicates */
        struct pkt *k = peer_get(&p);
        assert_int_equal(k->ack, s + 100);
        assert_int_equal(k->len, 0);
    }
    peer_none(&p);
    /* More of them and what fills the gap in one burst: nothing is missing, nothing to repeat. */
    for (int i = 0; i < 2; i++) {
        uint32_t at = i ? 100 : 600;
        uint32_t n = peer_frame(&p, f, PEER_ACK, s + at, p.ack, peer_octets(at), 100);
        wire_inject(&p.w, p.stack->id, f, n, 0);
    }
    wire_turn(&p.w);
    assert_int_equal(peer_get(&p)->ack, s + 700);
    peer_none(&p);
    assert_int_equal(p.s->rx_seen, 700);
    assert_false(p.s->mismatch);
    peer_down(&p);
}

/* Every way in which two segments can overlap, in every order, against a byte map. */
static void test_overlap_model(void **state)
{
    (void)state;
    uint64_t rng = 99;
    for (int round = 0; round < 150; round++) {
        struct peer p;
        enum { SPAN = 600 };
        bool have[SPAN] = {false};
        open_plain(&p, NULL);
        uint32_t s = p.seq;
        for (int i = 0; i < 40; i++) {
            rng = rng * 6364136223846793005ull + 1442695040888963407ull;
            uint32_t from = (uint32_t)(rng >> 40) % SPAN, len = 1 + (uint32_t)(rng >> 20) % 90;
            if (from + len > SPAN)
                len = SPAN - from;
            peer_seg(&p, PEER_ACK, s + from, p.ack, peer_octets(from), len);
            memset(have + from, 1, len);
            uint32_t edge = 0, above = 0;
            while (edge < SPAN && have[edge])
                edge++;
            for (uint32_t b = edge; b < SPAN; b++)
                above += have[b];
            struct tcp_info ti;
            tcp_info(p.s->tc, &ti);
            assert_int_equal(p.s->rx_seen, edge);
            assert_int_equal(ti.ooo_bytes, above);
            assert_false(p.s->mismatch);
        }
        peer_down(&p);
    }
}

/* Conflicting copies: what came first stays. */
static void test_conflicting_overlap(void **state)
{
    (void)state;
    struct peer p;
    uint8_t evil[100];
    memset(evil, 0x5a, sizeof(evil));
    open_plain(&p, NULL);
    peer_seg(&p, PEER_ACK, p.seq + 50, p.ack, peer_octets(50), 50);
    peer_seg(&p, PEER_ACK, p.seq + 50, p.ack, evil, 50);
    peer_seg(&p, PEER_ACK, p.seq, p.ack, peer_octets(0), 50);
    peer_seg(&p, PEER_ACK, p.seq, p.ack, evil, 100);
    assert_int_equal(p.s->rx_seen, 100);
    assert_false(p.s->mismatch);
    peer_down(&p);
}

static void tune_ooo(struct net_config *c)
{
    c->ooo_segs = 5;
    c->ooo_bytes = 4000;
}

static void test_out_of_order_bounds(void **state)
{
    (void)state;
    struct peer p;
    struct tcp_info ti;
    open_plain(&p, tune_ooo);
    for (uint32_t i = 0; i < 20; i++)
        peer_seg(&p, PEER_ACK, p.seq + 10 + 2 * i, p.ack, "x", 1);
    tcp_info(p.s->tc, &ti);
    assert_int_equal(ti.ooo_bytes, 5);
    assert_int_equal(p.stack->stats.drop_tcp_ooo, 15);
    peer_down(&p);
    open_plain(&p, tune_ooo);
    for (uint32_t i = 0; i < 5; i++)
        peer_seg(&p, PEER_ACK, p.seq + 10 + 1500 * i, p.ack, peer_octets(0), 1400);
    tcp_info(p.s->tc, &ti);
    assert_int_equal(ti.ooo_bytes, 2800);
    peer_down(&p);
}

/* Old data is acknowledged again and not delivered again. */
static void test_duplicate_data(void **state)
{
    (void)state;
    struct peer p;
    open_plain(&p, NULL);
    peer_data(&p, peer_octets(0), 100);
    peer_seg(&p, PEER_ACK, p.seq - 100, p.ack, peer_octets(0), 100);
    assert_int_equal(peer_get(&p)->ack, p.seq);
    peer_seg(&p, PEER_ACK, p.seq - 50, p.ack, peer_octets(50), 100); /* half old, half new */
    assert_int_equal(p.s->rx_seen, 150);
    assert_false(p.s->mismatch);
    peer_down(&p);
}

static void tune_small_window(struct net_config *c)
{
    c->rcv_buf_bytes = 4000;
}

/* Window: closes as the application holds bytes, never shrinks, opens by a useful step. */
static void test_receive_window(void **state)
{
    (void)state;
    struct peer p;
    open_plain(&p, tune_small_window);
    p.s->hold_all = true;
    uint32_t edge = p.seq + 4000;
    for (uint32_t i = 0; i < 4; i++) {
        peer_data(&p, peer_octets(1000 * i), 1000);
        peer_wait(&p, 20 * WIRE_MS);
        struct pkt *k = NULL;
        while (p.got_at < p.got_len) {
            k = peer_get(&p);
            assert_int_equal(k->ack + k->wnd, edge); /* the right edge stands still */
        }
        assert_non_null(k);
    }
    assert_int_equal(p.s->rx_seen, 4000);
    /* Window shut: a probe is answered, its octet not taken (RFC 9293 3.8.6.1). */
    peer_seg(&p, PEER_ACK, p.seq, p.ack, "q", 1);
    struct pkt *k = peer_get(&p);
    assert_int_equal(k->wnd, 0);
    assert_int_equal(k->ack, p.seq);
    assert_int_equal(p.s->rx_seen, 4000);
    /* A few bytes of room are not told (silly window); much room is, at once. */
    p.s->hold_all = false;
    tcp_rx_hold(p.s->tc, 3900);
    wire_turn(&p.w);
    peer_none(&p);
    tcp_rx_hold(p.s->tc, 0);
    wire_turn(&p.w);
    k = peer_get(&p);
    assert_int_equal(k->wnd, 4000);
    peer_none(&p);
    peer_down(&p);
}

/* The edge moves by useful steps only, and early data, which narrows the room, never moves it back. */
static void test_window_edge_steps(void **state)
{
    (void)state;
    struct peer p;
    open_plain(&p, tune_small_window);
    uint32_t edge = p.seq + 4000;
    for (uint32_t i = 0; i < 20; i++) {
        peer_data(&p, peer_octets(100ull * i), 100);
        peer_wait(&p, 12 * WIRE_MS);
        struct pkt *k = peer_get(&p);
        uint32_t now = k->ack + k->wnd;
        assert_true(now == edge || now - edge >= 1460);
        assert_true(k->wnd <= 4000);
        edge = now;
    }
    assert_true(edge != p.seq + 2000); /* it did move */
    peer_seg(&p, PEER_ACK, p.seq + 500, p.ack, peer_octets(2500), 1400);
    struct pkt *k = peer_get(&p);
    assert_int_equal(k->ack + k->wnd, edge);
    peer_down(&p);
}

static void test_outside_window(void **state)
{
    (void)state;
    struct peer p;
    open_plain(&p, tune_small_window);
    peer_seg(&p, PEER_ACK, p.seq + 4000, p.ack, "x", 1); /* first octet beyond */
    assert_int_equal(peer_get(&p)->ack, p.seq);
    assert_int_equal(p.stack->stats.drop_tcp_window, 1);
    peer_seg(&p, PEER_ACK, p.seq + 3990, p.ack, peer_octets(3990), 20); /* half beyond: trimmed */
    struct tcp_info ti;
    tcp_info(p.s->tc, &ti);
    assert_int_equal(ti.ooo_bytes, 10);
    peer_seg(&p, PEER_ACK, p.seq - 5000, p.ack, "old", 3);
    peer_down(&p);
}

/* RFC 7323 5: an old timestamp is not from now. */
static void test_paws(void **state)
{
    (void)state;
    struct peer p;
    peer_up(&p, NULL);
    peer_handshake(&p, 1460, 7, true);
    p.tsval = 6000;
    peer_data(&p, peer_octets(0), 10);
    p.tsval = 5998;
    peer_seg(&p, PEER_ACK, p.seq, p.ack, peer_octets(10), 10);
    assert_int_equal(p.stack->stats.drop_tcp_paws, 1);
    assert_int_equal(p.s->rx_seen, 10);
    assert_int_equal(peer_get(&p)->ack, p.seq);
    p.ts = false; /* 3.2: a segment without the option is dropped */
    peer_seg(&p, PEER_ACK, p.seq, p.ack, peer_octets(10), 10);
    assert_int_equal(p.stack->stats.drop_tcp_no_timestamp, 1);
    p.ts = true;
    p.tsval = 6000;
    peer_data(&p, peer_octets(10), 10);
    assert_int_equal(p.s->rx_seen, 20);
    /* 5.5: after 24 days of silence the timestamp clock may have wrapped */
    p.w.now_ns += 25ull * 86400 * WIRE_SEC;
    p.stack->net->cold[tcp_index(p.s->tc)].last_rx_ns = p.w.now_ns;
    p.tsval = 100;
    peer_data(&p, peer_octets(20), 10);
    assert_int_equal(p.s->rx_seen, 30);
    peer_down(&p);
}

/* RFC 7323 4.3: the echo is of the segment that the ACK is for, not of the latest. */
static void test_timestamp_echo(void **state)
{
    (void)state;
    struct peer p;
    peer_up(&p, NULL);
    peer_handshake(&p, 1460, 7, true);
    p.tsval = 6000;
    peer_data(&p, peer_octets(0), 10);
    p.tsval = 6100;
    peer_data(&p, peer_octets(10), 10); /* delayed ACK pending: TS.Recent stays */
    peer_wait(&p, 15 * WIRE_MS);
    struct pkt *k = peer_get(&p);
    assert_int_equal(k->tsecr, 6000);
    p.tsval = 6200;
    peer_seg(&p, PEER_ACK, p.seq + 10, p.ack, peer_octets(30), 10); /* early: not echoed */
    assert_int_equal(peer_get(&p)->tsecr, 6000);
    peer_down(&p);
}

/* RFC 7323 appendix H: text sent again because our ACK was lost. Echoed is the copy that asks: the first one's timestamp would be
 * a round trip of seconds to the peer. Only where an ACK as good as new text's came along. */
static void test_echo_of_a_copy(void **state)
{
    (void)state;
    struct peer p;
    peer_up(&p, NULL);
    peer_handshake(&p, 1460, 7, true);
    p.tsval = 6000;
    peer_data(&p, peer_octets(0), 10);
    peer_wait(&p, 50 * WIRE_MS);
    assert_int_equal(peer_get(&p)->tsecr, 6000);
    p.tsval = 6300;
    peer_seg(&p, PEER_ACK, p.seq - 10, p.ack, peer_octets(0), 10);
    assert_int_equal(peer_get(&p)->tsecr, 6300);
    p.tsval = 9000;
    peer_seg(&p, PEER_ACK, p.seq - 10, p.ack + 1, peer_octets(0), 10); /* never sent */
    assert_int_equal(peer_get(&p)->tsecr, 6300);
    peer_seg(&p, PEER_ACK, p.seq - 0x10000000, p.ack, peer_octets(0), 10); /* no text of now */
    assert_int_equal(peer_get(&p)->tsecr, 6300);
    p.tsval = 6200; /* older than the last */
    peer_seg(&p, PEER_ACK, p.seq - 10, p.ack, peer_octets(0), 10);
    assert_int_equal(peer_get(&p)->tsecr, 6300);
    peer_down(&p);
}

/* RFC 5961 3: only a RST at exactly RCV.NXT resets. */
static void test_blind_rst(void **state)
{
    (void)state;
    struct peer p;
    open_plain(&p, NULL);
    peer_seg(&p, PEER_RST, p.seq + 1, 0, NULL, 0);
    struct pkt *k = peer_get(&p);
    assert_int_equal(k->flags, PEER_ACK);
    assert_int_equal(k->ack, p.seq);
    assert_int_equal(k->seq, p.ack);
    peer_seg(&p, PEER_RST, p.seq - 1, 0, NULL, 0); /* outside: nothing at all */
    peer_seg(&p, PEER_RST, p.seq + 0x10000000, 0, NULL, 0);
    peer_none(&p);
    assert_false(p.s->closed);
    peer_seg(&p, PEER_RST, p.seq, 0, NULL, 0);
    assert_true(p.s->closed);
    assert_int_equal(p.s->err, -ECONNRESET);
    peer_none(&p);
    assert_int_equal(p.stack->stats.tcp_conns, 0);
    assert_int_equal(p.stack->stats.tcp_estab_resets, 1);
    peer_down(&p);
}

/* RFC 5961 4: a SYN never resets; 7: challenge ACKs are throttled per connection. */
static void test_blind_syn_and_throttle(void **state)
{
    (void)state;
    struct peer p;
    open_plain(&p, NULL);
    for (uint32_t i = 0; i < 100; i++)
        peer_seg(&p, PEER_SYN, p.seq + i * 50, 0, NULL, 0);
    assert_false(p.s->closed);
    assert_int_equal(p.got_len - p.got_at, LIMIT_TCP_CHALLENGE_PER_S);
    assert_int_equal(p.stack->stats.tcp_challenge_acks, LIMIT_TCP_CHALLENGE_PER_S);
    p.got_at = p.got_len;
    peer_wait(&p, WIRE_SEC);
    peer_seg(&p, PEER_SYN, p.seq, 0, NULL, 0);
    assert_int_equal(peer_get(&p)->flags, PEER_ACK);
    peer_down(&p);
}

/* RFC 5961 5: data with an ACK outside [SND.UNA - MAX.SND.WND, SND.NXT] is not taken. */
static void test_blind_data(void **state)
{
    (void)state;
    struct peer p;
    open_plain(&p, NULL);
    peer_seg(&p, PEER_ACK, p.seq, p.ack + 1, peer_octets(0), 10);
    assert_int_equal(peer_get(&p)->ack, p.seq);
    peer_seg(&p, PEER_ACK, p.seq, p.ack - 0x20000, peer_octets(0), 10);
    assert_int_equal(peer_get(&p)->ack, p.seq);
    peer_seg(&p, PEER_PSH, p.seq, 0, peer_octets(0), 10); /* no ACK bit */
    peer_none(&p);
    assert_int_equal(p.s->rx_seen, 0);
    assert_int_equal(p.stack->stats.drop_tcp_ack, 2);
    assert_int_equal(p.stack->stats.drop_tcp_flags, 1);
    peer_seg(&p, PEER_ACK, p.seq, p.ack - 100, peer_octets(0), 10); /* old but possible */
    assert_int_equal(p.s->rx_seen, 10);
    peer_down(&p);
}

static void test_urgent_is_in_line(void **state)
{
    (void)state;
    struct peer p;
    open_plain(&p, NULL);
    peer_seg(&p, PEER_ACK | 0x20, p.seq, p.ack, peer_octets(0), 10);
    assert_int_equal(p.s->rx_seen, 10);
    assert_false(p.s->mismatch);
    peer_down(&p);
}

/* A burst with two SYNs of one flow makes one connection. */
static void test_same_flow_twice_in_a_burst(void **state)
{
    (void)state;
    struct peer p;
    uint8_t f[256];
    peer_up(&p, NULL);
    uint32_t n = peer_frame(&p, f, PEER_SYN, p.seq, 0, NULL, 0);
    for (int i = 0; i < 5; i++)
        wire_inject(&p.w, p.stack->id, f, n, 0);
    wire_turn(&p.w);
    assert_int_equal(p.stack->stats.tcp_conns, 1);
    assert_int_equal(p.got_len, 1);
    peer_down(&p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_syn_options),
        cmocka_unit_test(test_syn_retransmitted_both_ways),
        cmocka_unit_test(test_handshake_bad_ack),
        cmocka_unit_test(test_refused_by_application),
        cmocka_unit_test(test_backlog),
        cmocka_unit_test(test_records_run_out),
        cmocka_unit_test(test_isn_differs_and_moves),
        cmocka_unit_test(test_keys_stay_out_of_dumps),
        cmocka_unit_test(test_in_order_and_delayed_ack),
        cmocka_unit_test(test_ack_every_second_segment),
        cmocka_unit_test(test_out_of_order),
        cmocka_unit_test(test_blind_segment_leaves_ts_recent),
        cmocka_unit_test(test_text_ahead_cut_by_the_window_is_one_ack),
        cmocka_unit_test(test_duplicate_acks_of_a_burst),
        cmocka_unit_test(test_overlap_model),
        cmocka_unit_test(test_conflicting_overlap),
        cmocka_unit_test(test_out_of_order_bounds),
        cmocka_unit_test(test_duplicate_data),
        cmocka_unit_test(test_receive_window),
        cmocka_unit_test(test_window_edge_steps),
        cmocka_unit_test(test_outside_window),
        cmocka_unit_test(test_paws),
        cmocka_unit_test(test_timestamp_echo),
        cmocka_unit_test(test_echo_of_a_copy),
        cmocka_unit_test(test_blind_rst),
        cmocka_unit_test(test_blind_syn_and_throttle),
        cmocka_unit_test(test_blind_data),
        cmocka_unit_test(test_urgent_is_in_line),
        cmocka_unit_test(test_same_flow_twice_in_a_burst),
    };
    if (wire_eal_init())
        return 1;
    return cmocka_run_group_tests(tests, NULL, NULL);
}
