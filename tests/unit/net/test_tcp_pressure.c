/* Memory pressure by script: peers that acknowledge nothing and the pool; what is answered when it is empty; out-of-order data first;
 * shut windows and their opening; connections that stand still; caps. */
#include <errno.h>
#include <string.h>

#include <rte_mempool.h>

#include "dataplane/net/tcp_internal.h"
#include "tests/unit/net/check.h"
#include "tests/unit/net/peer.h"

#define POOL 255

struct party { /* many connections of one peer */
    struct peer p;
    unsigned n;
    struct {
        uint32_t seq, ack;
        uint16_t port;
    } of[600];
};

static void tune_small(struct net_config *c)
{
    c->pool = wire_pool(POOL, 2048 + 128);
    c->max_conns = 1024;
    c->backlog = 1024;
}

static void join(struct party *a, unsigned i)
{
    a->p.port = a->of[i].port;
    a->p.seq = a->of[i].seq;
    a->p.ack = a->of[i].ack;
    a->p.s = &a->p.app->stream[i];
    a->p.got_at = a->p.got_len = 0;
}

static void part(struct party *a, unsigned i)
{
    a->of[i].seq = a->p.seq;
    a->of[i].ack = a->p.ack;
}

static void meet(struct party *a, unsigned n, peer_tune tune)
{
    peer_up(&a->p, tune);
    for (a->n = 0; a->n < n; a->n++) {
        a->of[a->n].port = (uint16_t)(20000 + a->n);
        a->of[a->n].seq = 7000000;
        join(a, a->n);
        peer_syn(&a->p, 1460, -1, false);
        a->p.ack = peer_get(&a->p)->seq + 1;
        a->p.seq++;
        peer_ack(&a->p);
        part(a, a->n);
    }
    assert_int_equal(a->p.app->accepted, n);
}

static void leave(struct party *a)
{
    peer_down(&a->p);
}

/* Has the application of connection i something to say. */
static void speak(struct party *a, unsigned i, uint64_t n)
{
    a->p.app->stream[i].tx_total += n;
}

static unsigned in_use(const struct party *a)
{
    return rte_mempool_in_use_count(a->p.pool);
}

static struct stats_worker *stats(struct party *a)
{
    return &a->p.stack->stats;
}

/* Takes and acknowledges all that is sent to connection i, in as many steps as it asks for; every octet is looked at. */
static uint64_t take_all(struct party *a, unsigned i, uint64_t seen, uint64_t total)
{
    join(a, i);
    for (int turns = 0; seen < total; turns++) {
        assert_true(turns < 100000);
        bool any = false;
        while (a->p.got_at < a->p.got_len) {
            struct pkt *k = &a->p.got[a->p.got_at++];
            if (k->dport != a->p.port || k->seq != a->p.ack)
                continue;
            for (uint32_t b = 0; b < k->len; b++)
                assert_int_equal(k->data[b], stream_octet(a->p.s->tx_seed, seen + b));
            seen += k->len;
            a->p.ack += k->len;
            any = true;
        }
        a->p.got_at = a->p.got_len = 0;
        if (any)
            peer_ack(&a->p);
        else
            peer_wait(&a->p, 10 * WIRE_MS);
    }
    part(a, i);
    return seen;
}

/* 400 peers that acknowledge nothing, two segments each, and a pool of 255: who does acknowledge is served all the same, and when they take what
 * they were sent after all it is what was written. */
static void test_who_stands_still_gives_the_pool_back(void **state)
{
    (void)state;
    static struct party a;
    meet(&a, 401, tune_small);
    for (unsigned i = 0; i < 400; i++) {
        speak(&a, i, 2 * 1460);
        if (i % 50 == 0)
            wire_turn(&a.p.w);
        a.p.got_at = a.p.got_len = 0;
    }
    for (int ms = 0; ms < 400; ms++) {
        peer_wait(&a.p, WIRE_MS);
        a.p.got_at = a.p.got_len = 0;
    }
    assert_int_equal(stats(&a)->tcp_memory_pressures > 0, 1);
    assert_true(stats(&a)->tcp_parked_segs >= 800 - POOL);
    assert_true(in_use(&a) < POOL * 3 / 4 + 1);
    for (unsigned i = 0; i < 400; i++)
        assert_int_equal(a.p.app->stream[i].tx_done, 2 * 1460); /* all of them were written */
    speak(&a, 400, 100000);
    wire_turn(&a.p.w);
    uint64_t start_ns = a.p.w.now_ns;
    take_all(&a, 400, 0, 100000);
    assert_true(a.p.w.now_ns - start_ns < 200 * WIRE_MS);
    assert_int_equal(stats(&a)->tcp_abort_memory, 0);
    for (unsigned i = 0; i < 400; i += 133)
        take_all(&a, i, 0, 2 * 1460);
    for (unsigned i = 0; i < 400; i++) { /* resets free the rest */
        join(&a, i);
        peer_seg(&a.p, PEER_RST, a.p.seq, 0, NULL, 0);
    }
    assert_int_equal(stats(&a)->tcp_parked_bytes, 0);
    assert_int_equal(a.p.stack->net->parked_bytes, 0);
    peer_wait(&a.p, 10 * WIRE_MS);
    assert_int_equal(in_use(&a), 0);
    assert_false(a.p.stack->net->pressure);
    leave(&a);
}

static void tune_middling(struct net_config *c)
{
    tune_small(c);
    c->pool = wire_pool(1023, 2048 + 128);
}

/* A hundred peers that read nothing and are owed all that can be queued: half of what is free, again and again, left nothing for the one
 * who reads, and it heard nothing for seconds. */
static void test_who_reads_is_answered_at_once(void **state)
{
    (void)state;
    static struct party a;
    meet(&a, 101, tune_middling);
    for (unsigned i = 0; i < 100; i++)
        speak(&a, i, 400 * 1460);
    for (int turn = 0; turn < 3; turn++)
        wire_turn(&a.p.w);
    assert_true(in_use(&a) > 1023 * 3 / 4);
    a.p.got_at = a.p.got_len = 0;
    speak(&a, 100, 100);
    wire_turn(&a.p.w);
    assert_int_equal(a.p.app->stream[100].tx_done, 100);
    bool told = false;
    while (a.p.got_at < a.p.got_len) {
        struct pkt *k = &a.p.got[a.p.got_at++];
        told |= k->dport == a.of[100].port && k->len == 100;
    }
    assert_true(told);
    assert_int_equal(stats(&a)->pool_exhausted, 0);
    for (unsigned i = 0; i < 101; i++) {
        join(&a, i);
        peer_seg(&a.p, PEER_RST, a.p.seq, 0, NULL, 0);
    }
    peer_wait(&a.p, 10 * WIRE_MS);
    assert_int_equal(in_use(&a), 0);
    leave(&a);
}

/* A parked segment is acknowledged in part, sent again, and followed by others. */
static void test_parked_queue_works(void **state)
{
    (void)state;
    static struct party a;
    meet(&a, 200, tune_small);
    for (unsigned i = 0; i < 200; i++)
        speak(&a, i, 2000);
    wire_turn(&a.p.w);
    peer_wait(&a.p, 100 * WIRE_MS);
    struct tcp_conn *tc = a.p.app->stream[3].tc;
    assert_int_equal(tc->cold->q_parked, tc->cold->q_segs);
    assert_true(tc->flags & TF_PARKED);
    uint32_t una = tc->snd_una;
    join(&a, 3);
    peer_seg(&a.p, PEER_ACK, a.p.seq, una + 100, NULL, 0);
    assert_int_equal(tc->snd_una, una + 100);
    a.p.ack = una + 100;
    part(&a, 3);
    speak(&a, 3, 5000);
    wire_turn(&a.p.w);
    take_all(&a, 3, 100, 7000);
    assert_int_equal(tc->flags & TF_PARKED, 0);
    assert_int_equal(tc->cold->q_parked, 0);
    assert_int_equal(tc->cold->q_segs, 0);
    leave(&a);
}

/* No heap for it either: out-of-order data goes, then who has stood still for a second, and nobody else. */
static void test_heap_is_bounded(void **state)
{
    (void)state;
    static struct party a;
    meet(&a, 201, tune_small);
    join(&a, 200);
    peer_seg(&a.p, PEER_ACK, a.p.seq + 1000, a.p.ack, peer_octets(1000), 500);
    assert_int_equal(a.p.stack->net->ooo_total_bytes > 500, 1);
    a.p.stack->net->parked_bytes = LIMIT_NET_HEAP_BYTES - 700; /* as if others had so much */
    for (unsigned i = 0; i < 200; i++)
        speak(&a, i, 2000);
    wire_turn(&a.p.w);
    for (int ms = 0; ms < 500; ms++) {
        peer_wait(&a.p, WIRE_MS);
        a.p.got_at = a.p.got_len = 0;
    }
    assert_int_equal(stats(&a)->tcp_ofo_pruned, 1);
    assert_int_equal(a.p.stack->net->ooo_total_bytes, 0);
    assert_int_equal(stats(&a)->tcp_abort_memory, 0);
    for (int ms = 0; ms < 1500; ms++) {
        peer_wait(&a.p, WIRE_MS);
        a.p.got_at = a.p.got_len = 0;
    }
    assert_true(stats(&a)->tcp_abort_memory > 20);
    assert_false(a.p.stack->net->pressure);
    assert_true(in_use(&a) < POOL * 3 / 4 + 1);
    assert_int_equal(a.p.app->stream[0].err, -ENOBUFS);
    assert_false(a.p.app->stream[200].closed);
    join(&a, 200); /* it sends again what we threw away */
    peer_data(&a.p, peer_octets(0), 1400);
    peer_data(&a.p, peer_octets(1400), 600);
    assert_int_equal(a.p.s->rx_seen, 2000);
    assert_false(a.p.s->mismatch);
    a.p.stack->net->parked_bytes -= LIMIT_NET_HEAP_BYTES - 700;
    leave(&a);
}

/* The pool is empty: ARP, echo, ACKs, resets and window probes are answered all the same; when it is not, all goes on within a second. */
static void test_empty_pool_answers(void **state)
{
    (void)state;
    static struct party a;
    static struct rte_mbuf *hog[POOL];
    unsigned n = 0;
    meet(&a, 2, tune_small);
    while (n < POOL && (hog[n] = rte_pktmbuf_alloc(a.p.pool)) != NULL)
        n++;
    assert_int_equal(n, POOL);
    speak(&a, 0, 5000);
    wire_turn(&a.p.w);
    join(&a, 1);
    for (int i = 0; i < 2; i++)
        peer_data(&a.p, peer_octets((uint64_t)i * 1000), 1000);
    assert_int_equal(peer_get(&a.p)->ack, a.p.seq);
    peer_seg(&a.p, PEER_ACK, a.p.seq - 1, a.p.ack, NULL, 0); /* keepalive */
    assert_int_equal(peer_get(&a.p)->ack, a.p.seq);
    a.p.port = 50000;
    peer_seg(&a.p, PEER_ACK, 1, 2, NULL, 0);
    assert_int_equal(peer_get(&a.p)->flags, PEER_RST);
    peer_syn(&a.p, 1460, -1, false);
    peer_none(&a.p);
    assert_int_equal(stats(&a)->drop_tcp_nomem, 1);
    if (!a.p.v6) {
        uint8_t arp[60] = {0}, ping[60] = {0};
        struct arp_pkt *r = (struct arp_pkt *)(void *)(arp + 14);
        memset(arp, 0xff, 6);
        memcpy(arp + 6, a.p.mac, 6);
        memcpy(arp + 12, "\x08\x06", 2);
        *r = (struct arp_pkt){be16(1), be16(0x800),       6, 4, be16(1), {0}, be32(a.p.ip),
                              {0},     be32(a.p.stack_ip)};
        memcpy(r->sha, a.p.mac, 6);
        unsigned before = a.p.arps;
        peer_inject(&a.p, arp, 60);
        assert_int_equal(a.p.arps, before + 1);
        memcpy(ping, a.p.stack->mac, 6);
        memcpy(ping + 6, a.p.mac, 6);
        memcpy(ping + 12, "\x08\x00", 2);
        struct ip4_hdr *ip = (struct ip4_hdr *)(void *)(ping + 14);
        *ip = (struct ip4_hdr){.ver_ihl = 0x45,
                               .total_len = be16(28),
                               .ttl = 64,
                               .proto = 1,
                               .src = be32(a.p.ip),
                               .dst = be32(a.p.stack_ip)};
        ping[34] = 8;
        memcpy(ping + 36, "\xf7\xff", 2); /* checksum of an echo request of zeros */
        peer_fix_checksums(ping, 14);
        before = a.p.icmps;
        peer_inject(&a.p, ping, 60);
        assert_int_equal(a.p.icmps, before + 1);
    }
    assert_int_equal(a.p.app->stream[0].tx_done, 0);
    rte_pktmbuf_free_bulk(hog, n);
    uint64_t end_ns = a.p.w.now_ns;
    take_all(&a, 0, 0, 5000);
    assert_true(a.p.w.now_ns - end_ns < WIRE_SEC);
    leave(&a);
}

/* Under pressure windows are offered out of a sixteenth of the buffer, never taken back; at its end a shut one opens unasked. */
static void test_windows_close_and_open(void **state)
{
    (void)state;
    static struct party a;
    meet(&a, 201, tune_small);
    struct tcp_conn *tc = a.p.app->stream[200].tc;
    uint32_t edge = tc->rcv_edge;
    for (unsigned i = 0; i < 200; i++)
        speak(&a, i, 2000);
    a.p.stack->net->parked_bytes = LIMIT_NET_HEAP_BYTES; /* nothing can be parked */
    wire_turn(&a.p.w);
    assert_true(a.p.stack->net->pressure);
    uint32_t small = a.p.stack->net->rcv_buf;
    assert_int_equal(small, a.p.stack->cfg.rcv_buf_bytes / 16);
    join(&a, 200);
    a.p.s->hold_all = true; /* and the application takes none of it */
    while (tc->rcv_edge - tc->rcv_nxt >= 1400) {
        peer_data(&a.p, peer_octets(a.p.s->rx_seen), 1400);
        assert_true(seq_le(edge, tc->rcv_edge));
        edge = tc->rcv_edge;
        a.p.got_at = a.p.got_len = 0;
    }
    assert_true(a.p.s->rx_seen < 70000);
    part(&a, 200);
    for (unsigned i = 0; i < 200; i++) {
        join(&a, i);
        peer_seg(&a.p, PEER_RST, a.p.seq, 0, NULL, 0);
    }
    a.p.app->stream[200].hold_all = false;
    tcp_rx_hold(tc, 0);
    join(&a, 200);
    peer_wait(&a.p, 5 * WIRE_MS);
    assert_false(a.p.stack->net->pressure);
    struct pkt *k = NULL;
    while (a.p.got_at < a.p.got_len)
        k = &a.p.got[a.p.got_at++];
    assert_non_null(k);
    assert_true(k->wnd > 40000);
    a.p.stack->net->parked_bytes -= LIMIT_NET_HEAP_BYTES;
    leave(&a);
}

/* The same, and the application holds nothing: the end of the pressure alone opens the window. */
static void test_end_of_pressure_opens_windows(void **state)
{
    (void)state;
    static struct party a;
    meet(&a, 2, tune_small);
    struct net *net = a.p.stack->net;
    struct tcp_conn *tc = a.p.app->stream[1].tc;
    net->pressure = true;
    net->rcv_buf = 3000;
    join(&a, 1);
    while (tc->rcv_edge - tc->rcv_nxt > 3000)
        peer_data(&a.p, peer_octets(a.p.s->rx_seen), 1000);
    a.p.got_at = a.p.got_len = 0;
    peer_wait(&a.p, 50 * WIRE_MS);
    net->walk_ns = a.p.w.now_ns; /* as while it lasts */
    peer_wait(&a.p, 5 * WIRE_MS);
    assert_false(net->pressure);
    assert_int_equal(net->rcv_buf, a.p.stack->cfg.rcv_buf_bytes);
    struct pkt *k = NULL;
    while (a.p.got_at < a.p.got_len)
        k = &a.p.got[a.p.got_at++];
    assert_non_null(k);
    assert_int_equal(k->len, 0);
    assert_int_equal(k->wnd, 0xffff);
    assert_int_equal(net->walk_ns, UINT64_MAX);
    leave(&a);
}

/* Over the worker's bound for out-of-order data what was kept for longest goes, not what comes. */
static void test_oldest_out_of_order_goes(void **state)
{
    (void)state;
    static struct party a;
    meet(&a, 3, NULL);
    struct net *net = a.p.stack->net;
    for (unsigned i = 0; i < 2; i++) {
        join(&a, i);
        peer_seg(&a.p, PEER_ACK, a.p.seq + 100, a.p.ack, peer_octets(100), 50);
    }
    uint64_t two = net->ooo_total_bytes;
    net->ooo_total_bytes = LIMIT_NET_OOO_TOTAL_BYTES;
    join(&a, 2);
    peer_seg(&a.p, PEER_ACK, a.p.seq + 100, a.p.ack, peer_octets(100), 50);
    assert_int_equal(a.p.app->stream[0].tc->ooo_bytes, 0);
    assert_int_equal(a.p.app->stream[1].tc->ooo_bytes, 50);
    assert_int_equal(a.p.app->stream[2].tc->ooo_bytes, 50);
    assert_int_equal(stats(&a)->tcp_ofo_pruned, 1);
    assert_int_equal(stats(&a)->drop_tcp_ooo, 0);
    net->ooo_total_bytes -= LIMIT_NET_OOO_TOTAL_BYTES - two;
    join(&a, 0); /* the hole and the rest again */
    peer_data(&a.p, peer_octets(0), 150);
    assert_int_equal(a.p.s->rx_seen, 150);
    join(&a, 2);
    peer_data(&a.p, peer_octets(0), 100);
    assert_int_equal(a.p.s->rx_seen, 150);
    join(&a, 1);
    peer_data(&a.p, peer_octets(0), 100);
    assert_int_equal(net->ooo_total_bytes, 0);
    assert_true(list_empty(&net->ooo_conns));
    leave(&a);
}

static void tune_stall(struct net_config *c)
{
    c->stall_timeout_s = 10;
    c->snd_buf_bytes = 8192;
}

/* tcp-stall-timeout: the window is shut, the output full. One that is shut over an output with room waits for ever. */
static void test_stall_timeout(void **state)
{
    (void)state;
    for (int full = 0; full < 2; full++) {
        struct peer p;
        peer_up(&p, tune_stall);
        p.wnd = 2000;
        peer_handshake(&p, 1460, -1, false);
        p.s->tx_total = full ? 50000 : 5000;
        wire_turn(&p.w);
        while (p.got_at < p.got_len)
            peer_get(&p);
        p.wnd = 0;
        peer_ack(&p);
        for (int s = 0; s < 30 && !p.s->closed; s++) { /* every probe is answered */
            peer_wait(&p, WIRE_SEC);
            while (p.got_at < p.got_len)
                p.got_at++;
            if (!p.s->closed)
                peer_ack(&p);
        }
        assert_int_equal(p.s->closed, full);
        assert_int_equal(p.stack->stats.tcp_abort_stalled, full);
        if (full)
            assert_int_equal(p.s->err, -ETIMEDOUT);
        peer_down(&p);
    }
}

/* A window was shut for minutes and opens; one lost segment after that is no reason to give up. */
static void test_loss_after_long_persist(void **state)
{
    (void)state;
    struct peer p;
    peer_up(&p, NULL);
    p.wnd = 2000;
    peer_handshake(&p, 1460, -1, false);
    peer_app_write(&p, 5000);
    while (p.got_at < p.got_len)
        peer_get(&p);
    p.wnd = 0;
    peer_ack(&p);
    for (int s = 0; s < 200; s++) {
        peer_wait(&p, WIRE_SEC);
        p.got_at = p.got_len = 0;
        peer_ack(&p);
    }
    p.got_at = p.got_len = 0;
    p.wnd = 60000;
    peer_ack(&p);
    p.got_at = p.got_len = 0; /* lost */
    peer_wait(&p, 5 * WIRE_SEC);
    assert_false(p.s->closed);
    assert_int_equal(p.stack->stats.tcp_abort_timeout, 0);
    peer_down(&p);
}

static void tune_time_wait(struct net_config *c)
{
    c->time_wait_max = 5;
}

static void test_time_wait_cap(void **state)
{
    (void)state;
    static struct party a;
    meet(&a, 20, tune_time_wait);
    for (unsigned i = 0; i < 20; i++) {
        join(&a, i);
        tcp_close(a.p.s->tc);
        wire_turn(&a.p.w);
        peer_get(&a.p);
        peer_seg(&a.p, PEER_FIN | PEER_ACK, a.p.seq, a.p.ack, NULL, 0);
        assert_true(a.p.s->closed);
    }
    assert_int_equal(stats(&a)->tcp_time_wait, 5);
    assert_int_equal(stats(&a)->tcp_conns, 5);
    assert_int_equal(stats(&a)->tcp_time_wait_recycled, 15);
    join(&a, 19); /* the latest are there */
    peer_seg(&a.p, PEER_FIN | PEER_ACK, a.p.seq, a.p.ack, NULL, 0);
    assert_int_equal(peer_get(&a.p)->flags, PEER_ACK);
    leave(&a);
}

/* A SACK attack: a peer that acknowledges nothing and says other blocks with each segment makes us walk a bounded way, and its queue is
 * what its buffer holds. A tiny MSS: no more segments than of the usual size. */
static void test_tiny_mss_is_bounded(void **state)
{
    (void)state;
    struct peer p;
    peer_up(&p, NULL);
    p.sack = true;
    peer_handshake(&p, 1, 14, false);
    struct tcp_conn *tc = p.s->tc;
    assert_int_equal(tc->mss, LIMIT_TCP_MSS_MIN);
    p.s->tx_total = 10000000;
    wire_turn(&p.w);
    for (int i = 0; i < 3000; i++) {
        uint32_t at = tc->snd_una + 64 + (uint32_t)(wire_random(&p.w) % 4000) * 64;
        const uint32_t block[1][2] = {{at, at + 64}};
        peer_sack(&p, tc->snd_una, 1, block);
        p.got_at = p.got_len = 0;
        assert_true(rte_mempool_in_use_count(p.pool) <= p.pool->size * 3 / 4);
        assert_true(tc->tx_queued <= p.stack->cfg.snd_buf_bytes);
        if (p.s->closed)
            break;
    }
    peer_down(&p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_who_stands_still_gives_the_pool_back),
        cmocka_unit_test(test_who_reads_is_answered_at_once),
        cmocka_unit_test(test_parked_queue_works),
        cmocka_unit_test(test_heap_is_bounded),
        cmocka_unit_test(test_empty_pool_answers),
        cmocka_unit_test(test_windows_close_and_open),
        cmocka_unit_test(test_end_of_pressure_opens_windows),
        cmocka_unit_test(test_oldest_out_of_order_goes),
        cmocka_unit_test(test_stall_timeout),
        cmocka_unit_test(test_loss_after_long_persist),
        cmocka_unit_test(test_time_wait_cap),
        cmocka_unit_test(test_tiny_mss_is_bounded),
    };
    if (wire_eal_init() != 0)
        return 1;
    return cmocka_run_group_tests(tests, NULL, NULL);
}
