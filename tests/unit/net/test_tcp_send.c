/* Sending, by script: windows, retransmission and back-off, fast retransmit and NewReno, probes,
 * keepalive, the transmit queue under a wire or a pool that refuses. */
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

static void tune_newreno(struct net_config *c)
{
    c->congestion = TCP_CC_NEWRENO;
}

static void octets_are(const struct pkt *k, uint64_t from)
{
    for (uint32_t i = 0; i < k->len; i++)
        assert_int_equal(k->data[i], stream_octet(3, from + i));
}

static struct tcp_info info(const struct peer *p)
{
    struct tcp_info ti;
    tcp_info(p->s->tc, &ti);
    return ti;
}

/* RFC 6928: ten segments, then as ACKs come. Small writes share one segment. */
static void test_initial_window(void **state)
{
    (void)state;
    struct peer p;
    open_plain(&p, NULL);
    peer_app_write(&p, 60000);
    for (unsigned i = 0; i < 10; i++) {
        struct pkt *k = peer_get(&p);
        assert_int_equal(k->len, 1460);
        octets_are(k, i * 1460);
    }
    peer_none(&p);
    peer_ack(&p);
    assert_true(p.got_len - p.got_at >= 20); /* slow start: each acknowledged byte lets two go */
    peer_down(&p);
}

static void test_small_writes_share_a_segment(void **state)
{
    (void)state;
    struct peer p;
    open_plain(&p, NULL);
    for (int i = 0; i < 64; i++) {
        p.s->tx_total += 5;
        stream_push(p.s);
    }
    wire_turn(&p.w);
    struct pkt *k = peer_get(&p);
    assert_int_equal(k->len, 320);
    assert_true(k->flags & PEER_PSH);
    peer_none(&p);
    /* A segment that was sent is not appended to. */
    peer_app_write(&p, 5);
    k = peer_get(&p);
    assert_int_equal(k->len, 5);
    octets_are(k, 320);
    peer_down(&p);
}

/* RFC 6298 5.5 and 5.7: the timer doubles; 3 (Karn): no sample from what was sent twice. */
static void test_rto_backoff(void **state)
{
    (void)state;
    struct peer p;
    open_plain(&p, NULL);
    peer_app_write(&p, 100);
    uint32_t first = peer_get(&p)->seq;
    uint64_t last = p.w.now_ns, gap = 0;
    for (int i = 0; i < 6; i++) {
        while (p.got_at == p.got_len)
            peer_wait(&p, WIRE_MS / 4);
        struct pkt *k = peer_get(&p);
        assert_int_equal(k->seq, first);
        assert_int_equal(k->len, 100);
        octets_are(k, 0);
        uint64_t now_gap = p.w.now_ns - last;
        if (i == 0)
            assert_true(now_gap >= 20 * WIRE_MS && now_gap < 22 * WIRE_MS);
        else
            assert_true(now_gap > gap * 2 - 2 * WIRE_MS && now_gap < gap * 2 + 2 * WIRE_MS);
        gap = now_gap;
        last = p.w.now_ns;
    }
    assert_int_equal(p.stack->stats.tcp_timeouts, 6);
    assert_int_equal(info(&p).retrans, 6);
    uint32_t srtt = info(&p).srtt_us;
    peer_ack(&p);
    assert_int_equal(info(&p).srtt_us, srtt);
    assert_int_equal(info(&p).unacked_bytes, 0);
    assert_int_equal(rte_mempool_in_use_count(p.pool), 0);
    peer_down(&p);
}

static void give_up_after(uint32_t seconds, void (*tune)(struct net_config *))
{
    struct peer p;
    open_plain(&p, tune);
    peer_app_write(&p, 100);
    uint64_t start = p.w.now_ns;
    while (!p.s->closed && p.w.now_ns - start < 1000 * WIRE_SEC)
        peer_wait(&p, WIRE_SEC);
    assert_true(p.s->closed);
    assert_int_equal(p.s->err, -ETIMEDOUT);
    uint64_t took = p.w.now_ns - start;
    assert_true(took >= seconds * WIRE_SEC && took < (seconds + 61) * WIRE_SEC);
    assert_int_equal(p.stack->stats.tcp_abort_timeout, 1);
    assert_int_equal(p.stack->stats.tcp_conns, 0);
    assert_true(p.got[p.got_len - 1].flags & PEER_RST);
    peer_down(&p);
}

static void tune_user_timeout(struct net_config *c)
{
    c->user_timeout_s = 600;
}

static void test_user_timeout(void **state)
{
    (void)state;
    give_up_after(LIMIT_TCP_USER_TIMEOUT_S, NULL);
    give_up_after(600, tune_user_timeout);
}

/* RFC 6298 2: SRTT from the clock; with timestamps also from what was sent twice. */
static void test_rtt(void **state)
{
    (void)state;
    struct peer p;
    peer_up(&p, NULL);
    peer_handshake(&p, 1460, 7, true);
    for (int i = 0; i < 30; i++) {
        peer_app_write(&p, 10);
        peer_get(&p);
        peer_wait(&p, 5 * WIRE_MS);
        p.tsval += 5;
        peer_ack(&p);
    }
    assert_true(info(&p).srtt_us > 4500 && info(&p).srtt_us < 5500);
    assert_int_equal(info(&p).rto_us, 20000);
    peer_app_write(&p, 10);
    peer_get(&p);
    peer_wait(&p, 21 * WIRE_MS);
    peer_get(&p); /* again */
    peer_wait(&p, 5 * WIRE_MS);
    uint32_t before = info(&p).srtt_us;
    peer_ack(&p);
    assert_int_not_equal(info(&p).srtt_us, 0);
    assert_true(info(&p).srtt_us < before + 1000); /* not 26 ms: the copy that was echoed counts */
    peer_down(&p);
}

/* Loss of everything: after the timeout go back and slow start through it (RFC 5681 3.1). */
static void test_timeout_resends_all(void **state)
{
    (void)state;
    struct peer p;
    open_plain(&p, tune_newreno);
    peer_app_write(&p, 14600);
    uint32_t base = p.ack;
    for (int i = 0; i < 10; i++)
        peer_get(&p);
    peer_none(&p);
    peer_wait(&p, 25 * WIRE_MS);
    struct pkt *k = peer_get(&p);
    assert_int_equal(k->seq, base);
    peer_none(&p); /* cwnd is one segment */
    assert_int_equal(info(&p).cwnd, 1460);
    assert_int_equal(info(&p).ssthresh, 7300);
    peer_seg(&p, PEER_ACK, p.seq, base + 1460, NULL, 0);
    assert_int_equal(peer_get(&p)->seq, base + 1460);
    assert_int_equal(peer_get(&p)->seq, base + 2920);
    peer_none(&p);
    peer_seg(&p, PEER_ACK, p.seq, base + 14600, NULL, 0);
    peer_none(&p);
    assert_int_equal(info(&p).unacked_bytes, 0);
    assert_int_equal(rte_mempool_in_use_count(p.pool), 0);
    peer_down(&p);
}

/* RFC 5681 3.2, RFC 6582: third duplicate, partial ACKs, full ACK. */
static void test_fast_retransmit_and_newreno(void **state)
{
    (void)state;
    struct peer p;
    open_plain(&p, tune_newreno);
    peer_app_write(&p, 14600);
    uint32_t base = p.ack;
    for (int i = 0; i < 10; i++)
        peer_get(&p);
    for (int i = 0; i < 2; i++) {
        peer_seg(&p, PEER_ACK, p.seq, base, NULL, 0);
        peer_none(&p);
    }
    peer_seg(&p, PEER_ACK, p.seq, base, NULL, 0);
    struct pkt *k = peer_get(&p);
    assert_int_equal(k->seq, base);
    assert_int_equal(k->len, 1460);
    octets_are(k, 0);
    peer_none(&p);
    assert_int_equal(p.stack->stats.tcp_fast_retrans, 1);
    assert_int_equal(info(&p).ssthresh, 7300);
    assert_int_equal(info(&p).cwnd, 7300 + 3 * 1460);
    /* Partial: segments 0-3 arrived, 4 is missing too: sent at once, one per round trip. */
    peer_seg(&p, PEER_ACK, p.seq, base + 4 * 1460, NULL, 0);
    k = peer_get(&p);
    assert_int_equal(k->seq, base + 4 * 1460);
    octets_are(k, 4 * 1460);
    peer_none(&p);
    peer_seg(&p, PEER_ACK, p.seq, base + 7 * 1460, NULL, 0);
    assert_int_equal(peer_get(&p)->seq, base + 7 * 1460);
    /* Full: recovery ends, cwnd is at most ssthresh. */
    peer_seg(&p, PEER_ACK, p.seq, base + 14600, NULL, 0);
    peer_none(&p);
    assert_true(info(&p).cwnd <= 7300);
    assert_int_equal(p.stack->stats.tcp_timeouts, 0);
    assert_int_equal(rte_mempool_in_use_count(p.pool), 0);
    peer_down(&p);
}

/* RFC 3042: the first two duplicates let new data out. */
static void test_limited_transmit(void **state)
{
    (void)state;
    struct peer p;
    open_plain(&p, NULL);
    peer_app_write(&p, 20 * 1460);
    uint32_t base = p.ack;
    for (int i = 0; i < 10; i++)
        peer_get(&p);
    peer_none(&p);
    peer_seg(&p, PEER_ACK, p.seq, base, NULL, 0);
    assert_int_equal(peer_get(&p)->seq, base + 14600);
    peer_none(&p);
    peer_seg(&p, PEER_ACK, p.seq, base, NULL, 0);
    assert_int_equal(peer_get(&p)->seq, base + 14600 + 1460);
    peer_none(&p);
    peer_seg(&p, PEER_ACK, p.seq, base, NULL, 0);
    assert_int_equal(peer_get(&p)->seq, base);
    peer_down(&p);
}

/* Segments with data, with a new window, or with nothing in flight are not duplicate ACKs. */
static void test_what_is_no_duplicate(void **state)
{
    (void)state;
    struct peer p;
    open_plain(&p, NULL);
    for (int i = 0; i < 5; i++)
        peer_ack(&p);
    assert_int_equal(p.stack->stats.tcp_dup_acks_in, 0);
    peer_app_write(&p, 5000);
    uint32_t base = p.ack;
    for (int i = 0; i < 4; i++)
        peer_get(&p);
    for (uint32_t i = 0; i < 5; i++) {
        p.wnd = 60000 + i;
        peer_seg(&p, PEER_ACK, p.seq, base, NULL, 0);
    }
    assert_int_equal(p.stack->stats.tcp_dup_acks_in, 0);
    for (uint32_t i = 0; i < 5; i++) {
        peer_seg(&p, PEER_ACK, p.seq, base, peer_octets(i), 1);
        p.seq++;
    }
    assert_int_equal(p.stack->stats.tcp_dup_acks_in, 0);
    assert_int_equal(p.stack->stats.tcp_fast_retrans, 0);
    peer_down(&p);
}

/* An ACK into the middle of a segment: what is left is sent again, and only that. */
static void test_partial_segment_ack(void **state)
{
    (void)state;
    struct peer p;
    open_plain(&p, NULL);
    peer_app_write(&p, 1000);
    uint32_t base = p.ack;
    peer_get(&p);
    peer_seg(&p, PEER_ACK, p.seq, base + 300, NULL, 0);
    assert_int_equal(info(&p).unacked_bytes, 700);
    peer_wait(&p, 25 * WIRE_MS);
    struct pkt *k = peer_get(&p);
    assert_int_equal(k->seq, base + 300);
    assert_int_equal(k->len, 700);
    octets_are(k, 300);
    peer_seg(&p, PEER_ACK, p.seq, base + 999, NULL, 0);
    peer_wait(&p, 60 * WIRE_MS);
    k = peer_get(&p);
    assert_int_equal(k->len, 1);
    octets_are(k, 999);
    peer_ack(&p);
    assert_int_equal(rte_mempool_in_use_count(p.pool), 0);
    peer_down(&p);
}

/* A retransmission while the NIC still has the mbuf is a copy: what it holds does not change. */
static void test_retransmit_copies_when_the_nic_holds(void **state)
{
    (void)state;
    struct peer p;
    open_plain(&p, NULL);
    p.stack->nic_hold = 8;
    peer_app_write(&p, 1000);
    peer_get(&p);
    assert_int_equal(p.stack->held_count, 1);
    struct rte_mbuf *first = p.stack->held[0];
    uint8_t was[2048];
    memcpy(was, rte_pktmbuf_mtod(first, void *), first->pkt_len);
    peer_seg(&p, PEER_ACK, p.seq, p.ack - 500, NULL, 0);
    /* Data of ours: the header of a retransmission would differ. */
    peer_seg(&p, PEER_ACK, p.seq, p.ack - 500, peer_octets(0), 10);
    peer_wait(&p, 25 * WIRE_MS);
    assert_int_equal(p.stack->stats.tcp_retrans_segs, 1);
    assert_true(p.stack->held_count >= 2);
    assert_ptr_not_equal(p.stack->held[p.stack->held_count - 1], first);
    assert_memory_equal(was, rte_pktmbuf_mtod(first, void *), first->pkt_len);
    peer_down(&p);
}

static void test_peer_window_is_obeyed(void **state)
{
    (void)state;
    struct peer p;
    peer_up(&p, NULL);
    p.wnd = 3000;
    peer_handshake(&p, 1460, -1, false);
    peer_app_write(&p, 10000);
    assert_int_equal(peer_get(&p)->len, 1460);
    assert_int_equal(peer_get(&p)->len, 1460);
    peer_none(&p); /* 80 octets of room are not worth a segment (RFC 9293 3.8.6.2.1) */
    peer_ack(&p);
    peer_get(&p);
    peer_get(&p);
    peer_none(&p);
    peer_down(&p);
}

/* A new acknowledgment brings its window though it comes in a segment with an old SEQ: the window of
 * before, counted from the new SND.UNA, would reach beyond the edge that the peer has offered. */
static void test_window_of_a_retransmission(void **state)
{
    (void)state;
    struct peer p;
    peer_up(&p, NULL);
    p.wnd = 3000;
    peer_handshake(&p, 1460, -1, false);
    peer_app_write(&p, 10000);
    uint32_t start = peer_get(&p)->seq;
    assert_int_equal(peer_get(&p)->len, 1460);
    peer_none(&p);
    peer_seg(&p, PEER_ACK, p.seq + 100, start, peer_octets(100),
             100); /* early: SND.WL1 is its SEQ */
    assert_int_equal(peer_get(&p)->len, 0);
    peer_none(&p);
    p.wnd = 80; /* the right edge stays where it was */
    peer_seg(&p, PEER_ACK, p.seq, start + 2920, peer_octets(0), 100);
    assert_int_equal(peer_get(&p)->len, 0);
    peer_none(&p);
    assert_int_equal(info(&p).snd_wnd, 80);
    peer_down(&p);
}

/* A window smaller than a segment for good: pieces of at least half of it. */
static void test_tiny_window(void **state)
{
    (void)state;
    struct peer p;
    peer_up(&p, NULL);
    p.wnd = 500;
    peer_handshake(&p, 1460, -1, false);
    peer_app_write(&p, 1600);
    uint64_t at = 0;
    while (at < 1600) {
        struct pkt *k = peer_get(&p);
        assert_true(k->len <= 500 && k->len > 0);
        octets_are(k, at);
        at += k->len;
        peer_none(&p);
        peer_ack(&p);
    }
    assert_int_equal(rte_mempool_in_use_count(p.pool), 0);
    peer_down(&p);
}

/* RFC 9293 3.8.6.1: the persist timer probes with one octet, backs off, never gives up while the
 * peer answers, and sending resumes when the window opens. */
static void test_zero_window_probe(void **state)
{
    (void)state;
    struct peer p;
    open_plain(&p, NULL);
    peer_app_write(&p, 1460);
    peer_get(&p);
    p.wnd = 0;
    peer_ack(&p);
    peer_app_write(&p, 5000);
    uint32_t base = p.ack;
    peer_none(&p);
    uint64_t last = p.w.now_ns, gap = 0;
    for (int i = 0; i < 8; i++) {
        while (p.got_at == p.got_len)
            peer_wait(&p, WIRE_MS);
        struct pkt *k = &p.got[p.got_at++];
        assert_int_equal(k->seq, base);
        assert_int_equal(k->len, 1);
        octets_are(k, 1460);
        peer_none(&p);
        assert_true(p.w.now_ns - last + 3 * WIRE_MS >= gap);
        gap = p.w.now_ns - last;
        last = p.w.now_ns;
        peer_seg(&p, PEER_ACK, p.seq, base, NULL, 0); /* still shut */
        peer_none(&p);
    }
    assert_true(gap > 1000 * WIRE_MS);
    assert_true(p.stack->stats.tcp_zero_window_probes >= 8);
    assert_int_equal(p.stack->stats.tcp_timeouts, 0);
    for (int i = 0; i < 6; i++) { /* minutes later, still there */
        peer_wait(&p, 60 * WIRE_SEC);
        peer_seg(&p, PEER_ACK, p.seq, base, NULL, 0);
    }
    assert_false(p.s->closed);
    p.got_at = p.got_len;
    p.wnd = 0xffff;
    peer_seg(&p, PEER_ACK, p.seq, base, NULL, 0); /* open: at once, from the probe's octet on */
    uint64_t at = 1460;
    while (p.got_at < p.got_len) {
        struct pkt *k = peer_get(&p);
        octets_are(k, at);
        at += k->len;
    }
    assert_int_equal(at, 6460);
    peer_ack(&p);
    assert_int_equal(rte_mempool_in_use_count(p.pool), 0);
    peer_down(&p);
}

/* The window update was lost: the probe finds out. */
static void test_probe_is_taken(void **state)
{
    (void)state;
    struct peer p;
    open_plain(&p, NULL);
    p.wnd = 0;
    peer_ack(&p);
    peer_app_write(&p, 100);
    peer_none(&p);
    peer_wait(&p, 50 * WIRE_MS);
    struct pkt *k = peer_get(&p);
    assert_int_equal(k->len, 1);
    p.wnd = 0xffff;
    peer_ack(&p);
    k = peer_get(&p);
    assert_int_equal(k->len, 99);
    octets_are(k, 1);
    peer_down(&p);
}

/* RFC 1122 4.2.3.6. */
static void test_keepalive(void **state)
{
    (void)state;
    struct peer p;
    open_plain(&p, NULL);
    peer_wait(&p, 290 * WIRE_SEC);
    peer_none(&p);
    peer_wait(&p, 20 * WIRE_SEC);
    struct pkt *k = peer_get(&p);
    assert_int_equal(k->seq, p.ack - 1);
    assert_int_equal(k->len, 0);
    peer_none(&p);
    peer_ack(&p); /* alive: the clock starts anew */
    peer_wait(&p, 290 * WIRE_SEC);
    peer_none(&p);
    peer_wait(&p, 400 * WIRE_SEC); /* dead: three probes, then RST and the end */
    for (int i = 0; i < 3; i++)
        assert_int_equal(peer_get(&p)->seq, p.ack - 1);
    assert_true(peer_get(&p)->flags & PEER_RST);
    assert_true(p.s->closed);
    assert_int_equal(p.s->err, -ETIMEDOUT);
    assert_int_equal(p.stack->stats.tcp_keepalive_drops, 1);
    assert_int_equal(p.stack->stats.tcp_keepalives, 4);
    peer_down(&p);
}

static void tune_snd_buf(struct net_config *c)
{
    c->snd_buf_bytes = 10000;
}

static void test_send_buffer_and_writable(void **state)
{
    (void)state;
    struct peer p;
    open_plain(&p, tune_snd_buf);
    peer_app_write(&p, 50000);
    assert_int_equal(tcp_tx_queued(p.s->tc), 10000);
    assert_int_equal(p.s->writable_calls, 0);
    for (int i = 0; i < 50 && p.s->tx_done < 50000; i++) {
        while (p.got_at < p.got_len)
            peer_get(&p);
        peer_ack(&p);
        assert_true(tcp_tx_queued(p.s->tc) <= 10000);
    }
    assert_int_equal(p.s->tx_done, 50000);
    assert_true(p.s->writable_calls >= 4);
    peer_down(&p);
}

/* The wire takes two frames a call: nothing is lost, order is kept, the rest follows. */
static void test_wire_refuses(void **state)
{
    (void)state;
    struct peer p;
    open_plain(&p, NULL);
    p.stack->tx_refuse_after = 2;
    peer_app_write(&p, 14600);
    unsigned rounds = 0;
    while (net_output_pending(p.stack->net) && rounds++ < 20)
        wire_turn(&p.w);
    wire_turn(&p.w);
    for (unsigned i = 0; i < 10; i++)
        octets_are(peer_get(&p), i * 1460);
    peer_none(&p);
    assert_true(rounds >= 2);
    assert_true(p.stack->stats.tx_retried > 0);
    peer_down(&p);
}

static void tune_tiny_pool(struct net_config *c)
{
    c->pool = wire_pool(31, 2048 + 128);
}

/* The pool is empty: writing stops, ACKs still go (reserve), SYNs are refused, all resumes. */
static void test_pool_runs_dry(void **state)
{
    (void)state;
    struct peer p;
    open_plain(&p, tune_tiny_pool);
    struct rte_mbuf *hog[31];
    unsigned n = 0;
    while (n < 31 && (hog[n] = rte_pktmbuf_alloc(p.pool)) != NULL)
        n++;
    assert_int_equal(n, 31);
    peer_app_write(&p, 100);
    peer_none(&p);
    peer_seg(&p, PEER_ACK, p.seq + 5, p.ack, "x", 1); /* owes an ACK at once */
    assert_int_equal(peer_get(&p)->ack, p.seq);
    assert_true(p.stack->stats.pool_exhausted > 0);
    uint16_t port = p.port;
    p.port = 45000;
    peer_syn(&p, 1460, -1, false);
    peer_none(&p);
    assert_int_equal(p.stack->stats.drop_tcp_nomem, 1);
    p.port = port;
    rte_pktmbuf_free_bulk(hog, n);
    peer_wait(&p, 5 * WIRE_MS); /* no ACK and no input needed */
    assert_int_equal(peer_get(&p)->len, 100);
    peer_down(&p);
}

/* RFC 5681 4.1: after idling longer than an RTO cwnd starts from the initial window. */
static void test_restart_after_idle(void **state)
{
    (void)state;
    struct peer p;
    open_plain(&p, NULL);
    for (int i = 0; i < 6; i++) {
        peer_app_write(&p, 40000);
        while (p.got_at < p.got_len) {
            while (p.got_at < p.got_len)
                peer_get(&p);
            peer_ack(&p);
        }
    }
    assert_true(info(&p).cwnd > 20 * 1460);
    peer_wait(&p, WIRE_SEC);
    peer_app_write(&p, 40000);
    assert_int_equal(p.got_len - p.got_at, 10);
    peer_down(&p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_initial_window),
        cmocka_unit_test(test_small_writes_share_a_segment),
        cmocka_unit_test(test_rto_backoff),
        cmocka_unit_test(test_user_timeout),
        cmocka_unit_test(test_rtt),
        cmocka_unit_test(test_timeout_resends_all),
        cmocka_unit_test(test_fast_retransmit_and_newreno),
        cmocka_unit_test(test_limited_transmit),
        cmocka_unit_test(test_what_is_no_duplicate),
        cmocka_unit_test(test_partial_segment_ack),
        cmocka_unit_test(test_retransmit_copies_when_the_nic_holds),
        cmocka_unit_test(test_peer_window_is_obeyed),
        cmocka_unit_test(test_window_of_a_retransmission),
        cmocka_unit_test(test_tiny_window),
        cmocka_unit_test(test_zero_window_probe),
        cmocka_unit_test(test_probe_is_taken),
        cmocka_unit_test(test_keepalive),
        cmocka_unit_test(test_send_buffer_and_writable),
        cmocka_unit_test(test_wire_refuses),
        cmocka_unit_test(test_pool_runs_dry),
        cmocka_unit_test(test_restart_after_idle),
    };
    if (wire_eal_init())
        return 1;
    return cmocka_run_group_tests(tests, NULL, NULL);
}
