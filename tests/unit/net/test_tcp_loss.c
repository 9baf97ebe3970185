/* Loss recovery with SACK, by script: the scoreboard, RACK, tail loss probes, PRR, undo, and what a peer
 * that lies can do. */
#include <stdlib.h>
#include <string.h>

#include <rte_mempool.h>

#include "dataplane/net/tcp_internal.h"
#include "tests/unit/net/check.h"
#include "tests/unit/net/peer.h"

#define MSS 1448u

static void open_sack(struct peer *p, peer_tune tune)
{
    peer_up(p, tune);
    p->sack = true;
    peer_handshake(p, 1460, 7, true);
}

static struct tcp_info info(const struct peer *p)
{
    struct tcp_info ti;
    tcp_info(p->s->tc, &ti);
    return ti;
}

static void octets_are(const struct pkt *k, uint64_t from)
{
    for (uint32_t i = 0; i < k->len; i++)
        assert_int_equal(k->data[i], stream_octet(3, from + i));
}

/* The application writes n segments, the stack sends them; returns the number of the first octet. */
static uint32_t send_segs(struct peer *p, unsigned n)
{
    uint32_t base = p->ack;
    peer_app_write(p, n * MSS);
    for (unsigned i = 0; i < n; i++)
        assert_int_equal(peer_get(p)->len, MSS);
    peer_none(p);
    return base;
}

/* An RTT of 1 ms is learned. */
static void learn_rtt(struct peer *p)
{
    for (int i = 0; i < 20; i++) {
        peer_app_write(p, 10);
        peer_get(p);
        peer_wait(p, WIRE_MS);
        p->tsval++;
        peer_ack(p);
    }
    assert_true(info(p).srtt_us > 800 && info(p).srtt_us < 1600);
}

/* ACKs `ack` with segments [from, to) of those behind base. */
static void sack_segs(struct peer *p, uint32_t base, uint32_t ack, uint32_t from, uint32_t to)
{
    const uint32_t b[1][2] = {{base + from * MSS, base + to * MSS}};
    peer_sack(p, base + ack * MSS, 1, b);
}

/* RFC 2018 2: permitted only if both say so; no blocks from who did not. */
static void test_sack_permitted(void **state)
{
    (void)state;
    struct peer p;
    open_sack(&p, NULL);
    peer_seg(&p, PEER_ACK, p.seq + 100, p.ack, peer_octets(100), 100);
    assert_int_equal(peer_get(&p)->sack_n, 1);
    peer_down(&p);
    peer_up(&p, NULL);
    peer_handshake(&p, 1460, 7, true);
    peer_seg(&p, PEER_ACK, p.seq + 100, p.ack, peer_octets(100), 100);
    assert_int_equal(peer_get(&p)->sack_n, 0);
    peer_down(&p);
}

/* RFC 8985 6.2: three segments behind a hole: it is lost at once, and only it. */
static void test_hole_is_repaired_at_once(void **state)
{
    (void)state;
    struct peer p;
    open_sack(&p, NULL);
    learn_rtt(&p);
    uint32_t base = send_segs(&p, 10);
    peer_wait(&p, WIRE_MS);
    sack_segs(&p, base, 0, 1, 4);
    struct pkt *k = peer_get(&p);
    assert_int_equal(k->seq, base);
    assert_int_equal(k->len, MSS);
    octets_are(k, 200);
    peer_none(&p);
    assert_int_equal(p.stack->stats.tcp_sack_recovery, 1);
    assert_int_equal(info(&p).sacked_bytes, 3 * MSS);
    peer_seg(&p, PEER_ACK, p.seq, base + 10 * MSS, NULL, 0);
    peer_none(&p);
    assert_int_equal(info(&p).sacked_bytes, 0);
    assert_int_equal(p.stack->stats.tcp_retrans_segs, 1);
    assert_int_equal(p.stack->stats.tcp_timeouts, 0);
    assert_int_equal(rte_mempool_in_use_count(p.pool), 0);
    assert_int_equal(p.s->tc->flags & (TF_CARE | TF_RECOVERY | TF_LOSS), 0);
    peer_down(&p);
}

/* RFC 8985 7: the last of several is lost: a probe after two RTTs brings the SACK that NewReno lacks. */
static void test_tail_loss_probe(void **state)
{
    (void)state;
    struct peer p;
    open_sack(&p, NULL);
    learn_rtt(&p);
    uint32_t base = send_segs(&p, 4);
    uint64_t start = p.w.now_ns;
    while (p.got_at == p.got_len)
        peer_wait(&p, WIRE_MS / 4);
    assert_true(p.w.now_ns - start < 6 * WIRE_MS); /* not the timeout's 20 */
    struct pkt *k = peer_get(&p);
    assert_int_equal(k->seq, base + 3 * MSS);
    peer_none(&p);
    assert_int_equal(p.stack->stats.tcp_loss_probes, 1);
    sack_segs(&p, base, 0, 3, 4); /* the other three were lost too */
    for (unsigned i = 0; i < 3; i++) {
        if (p.got_at == p.got_len)
            peer_wait(&p, WIRE_MS);
        assert_int_equal(peer_get(&p)->seq, base + i * MSS);
        peer_seg(&p, PEER_ACK, p.seq, base + (i + 1) * MSS, NULL, 0);
    }
    peer_seg(&p, PEER_ACK, p.seq, base + 4 * MSS, NULL, 0);
    assert_int_equal(p.stack->stats.tcp_timeouts, 0);
    assert_int_equal(info(&p).unacked_bytes, 0);
    peer_down(&p);
}

/* The probe of a lone segment takes the timeout's place: cwnd stays. */
static void test_lone_segment_is_probed_not_timed_out(void **state)
{
    (void)state;
    struct peer p;
    open_sack(&p, NULL);
    learn_rtt(&p);
    peer_app_write(&p, 100);
    uint32_t cwnd = info(&p).cwnd, seq = peer_get(&p)->seq;
    peer_wait(&p, 22 * WIRE_MS);
    assert_int_equal(peer_get(&p)->seq, seq);
    peer_none(&p);
    assert_int_equal(p.stack->stats.tcp_loss_probes, 1);
    assert_int_equal(p.stack->stats.tcp_timeouts, 0);
    assert_int_equal(info(&p).cwnd, cwnd);
    peer_wait(&p, 25 * WIRE_MS); /* lost again: now it is a timeout (7.3) */
    assert_int_equal(peer_get(&p)->seq, seq);
    assert_int_equal(p.stack->stats.tcp_timeouts, 1);
    peer_down(&p);
}

/* The same, of a peer that only delayed its ACK: the D-SACK of the probe takes nothing, and teaches. */
static void test_peer_that_delays_is_learned(void **state)
{
    (void)state;
    struct peer p;
    open_sack(&p, NULL);
    learn_rtt(&p);
    uint32_t cwnd = info(&p).cwnd;
    peer_app_write(&p, 100);
    uint32_t seq = peer_get(&p)->seq;
    peer_wait(&p, 22 * WIRE_MS);
    peer_get(&p);
    const uint32_t dup[1][2] = {{seq, seq + 100}};
    peer_sack(&p, seq + 100, 1, dup);
    assert_int_equal(p.stack->stats.tcp_dsack_recv, 1);
    assert_int_equal(info(&p).cwnd, cwnd);
    peer_app_write(&p, 100);
    peer_get(&p);
    peer_wait(&p, 35 * WIRE_MS);
    peer_none(&p);
    peer_ack(&p);
    assert_int_equal(p.stack->stats.tcp_loss_probes, 1);
    assert_int_equal(p.stack->stats.tcp_timeouts, 0);
    assert_int_equal(info(&p).retrans, 1);
    peer_down(&p);
}

/* RFC 8985 7.4.2: a probe that repaired a loss: cwnd answers for it once new data is acknowledged. */
static void test_probe_that_repaired_a_loss(void **state)
{
    (void)state;
    struct peer p;
    open_sack(&p, NULL);
    learn_rtt(&p);
    uint32_t base = send_segs(&p, 4), cwnd = info(&p).cwnd;
    peer_seg(&p, PEER_ACK, p.seq, base + 3 * MSS, NULL, 0);
    peer_wait(&p, 22 * WIRE_MS);
    assert_int_equal(peer_get(&p)->seq, base + 3 * MSS);
    peer_seg(&p, PEER_ACK, p.seq, base + 4 * MSS, NULL, 0); /* the original, or the probe? */
    assert_int_equal(info(&p).cwnd, cwnd);
    peer_app_write(&p, 10);
    peer_get(&p);
    peer_ack(&p); /* no D-SACK came: the probe it was */
    assert_int_equal(p.stack->stats.tcp_loss_probe_recovery, 1);
    assert_true(info(&p).cwnd < cwnd);
    peer_down(&p);
}

/* 7.3, but with data to send too the probe is the last segment again, whatever cwnd says: new data would
 * be acknowledged late. */
static void test_probe_is_the_last_segment(void **state)
{
    (void)state;
    struct peer p;
    open_sack(&p, NULL);
    learn_rtt(&p);
    uint32_t base = p.ack, segs = info(&p).cwnd / MSS;
    peer_app_write(&p, 40 * MSS);
    for (uint32_t i = 0; i < segs; i++)
        peer_get(&p);
    peer_none(&p);
    peer_wait(&p, 6 * WIRE_MS);
    assert_int_equal(peer_get(&p)->seq, base + (segs - 1) * MSS);
    peer_none(&p);
    assert_int_equal(info(&p).retrans, 1);
    assert_int_equal(p.stack->stats.tcp_loss_probes, 1);
    peer_down(&p);
}

/* RFC 8985 6.2: one segment overtaken by another is waited for a quarter of the RTT; when it comes in time nothing is
 * sent again, when it does not the timer says so. */
static void test_reordering_window(void **state)
{
    (void)state;
    struct peer p;
    open_sack(&p, NULL);
    learn_rtt(&p);
    uint32_t base = send_segs(&p, 4);
    peer_wait(&p, WIRE_MS);
    sack_segs(&p, base, 0, 1, 2);
    peer_none(&p);
    peer_seg(&p, PEER_ACK, p.seq, base + 4 * MSS, NULL, 0);
    assert_int_equal(info(&p).retrans, 0);
    assert_true(p.s->tc->cold->loss->reordering_seen);
    assert_int_equal(p.stack->stats.tcp_sack_reorder, 1);
    base = send_segs(&p, 8);
    peer_wait(&p, WIRE_MS);
    sack_segs(&p, base, 0, 1, 6); /* as many as DupThresh: yet this path reorders */
    peer_none(&p);
    peer_wait(&p, 2 * WIRE_MS);
    assert_int_equal(peer_get(&p)->seq, base);
    assert_int_equal(p.stack->stats.tcp_timeouts, 0);
    peer_down(&p);
}

/* 6.2 step 4: each round with a D-SACK widens the window by a quarter; 16 recoveries later it is narrow again. */
static void test_dsack_widens_the_window(void **state)
{
    (void)state;
    struct peer p;
    open_sack(&p, NULL);
    learn_rtt(&p);
    uint8_t last = 1;
    uint32_t first = send_segs(&p, 3); /* reordering is seen: D-SACKs alone may come of lost ACKs */
    peer_wait(&p, WIRE_MS);
    sack_segs(&p, first, 0, 1, 2);
    peer_seg(&p, PEER_ACK, p.seq, first + 3 * MSS, NULL, 0);
    peer_none(&p);
    for (int i = 0; i < 3; i++) {
        uint32_t base = send_segs(&p, 8);
        peer_wait(&p, WIRE_MS);
        sack_segs(&p, base, 0, 1, 6);
        peer_wait(&p, 5 * WIRE_MS);
        assert_int_equal(peer_get(&p)->seq, base); /* in vain */
        const uint32_t dup[1][2] = {{base, base + MSS}};
        peer_sack(&p, base + 8 * MSS, 1, dup);
        assert_int_equal(p.s->tc->cold->loss->reo_wnd_mult, last + 1);
        last++;
    }
    assert_int_equal(p.stack->stats.tcp_dsack_undo, 3);
    for (int i = 0; i < 16; i++) {
        uint32_t base = send_segs(&p, 2);
        peer_wait(&p, WIRE_MS);
        sack_segs(&p, base, 0, 1, 2);
        peer_wait(&p, 5 * WIRE_MS);
        assert_int_equal(peer_get(&p)->seq, base);
        peer_seg(&p, PEER_ACK, p.seq, base + 2 * MSS, NULL, 0);
    }
    assert_int_equal(p.s->tc->cold->loss->reo_wnd_mult, 1);
    peer_down(&p);
}

/* A retransmission that is lost too is seen by what was sent after it: no timeout. */
static void test_lost_retransmission(void **state)
{
    (void)state;
    struct peer p;
    open_sack(&p, NULL);
    learn_rtt(&p);
    peer_app_write(&p, 30 * MSS);
    uint32_t base = p.ack;
    unsigned sent = p.got_len - p.got_at;
    for (unsigned i = 0; i < sent; i++)
        peer_get(&p);
    peer_wait(&p, WIRE_MS);
    sack_segs(&p, base, 0, 1, 8);
    assert_int_equal(peer_get(&p)->seq, base); /* lost again */
    uint32_t end = 8;
    for (unsigned again = 0; !again; end++) {
        assert_true(end < 30);
        peer_wait(&p, WIRE_MS);
        sack_segs(&p, base, 0, 1, end + 1);
        for (; p.got_at < p.got_len; again += peer_get(&p)->seq == base)
            ;
    }
    assert_true(p.stack->stats.tcp_lost_retransmit >= 1);
    assert_int_equal(p.stack->stats.tcp_timeouts, 0);
    peer_down(&p);
}

/* RFC 8985 6.2 step 2: with a hole at SND.UNA every echo is from before it, and says nothing of what is SACKed behind: two of three
 * retransmissions arrive, so the one that went before them is lost again. */
static void test_retransmission_lost_at_the_head_of_others(void **state)
{
    (void)state;
    struct peer p;
    open_sack(&p, NULL);
    learn_rtt(&p);
    uint32_t base = send_segs(&p, 10), echo = p.tsecr;
    peer_wait(&p, WIRE_MS);
    sack_segs(&p, base, 0, 3, 6);
    for (unsigned i = 0; i < 3; i++)
        assert_int_equal(peer_get(&p)->seq, base + i * MSS);
    peer_wait(&p, 2 * WIRE_MS);
    p.tsecr = echo;
    sack_segs(&p, base, 0, 1, 6);
    assert_int_equal(peer_get(&p)->seq, base);
    assert_int_equal(p.stack->stats.tcp_lost_retransmit, 1);
    assert_int_equal(p.stack->stats.tcp_timeouts, 0);
    peer_down(&p);
}

/* RFC 7323 appendix E: all ACKs of a flight are lost, the head goes again and again, and the answer echoes the first copy: the sample
 * is the time since the copy that the D-SACK tells of, not the sum of all timeouts. Without a D-SACK it is the first copy's: it may be
 * the path that takes so long. */
static void test_lost_acks_are_no_round_trip(void **state)
{
    (void)state;
    for (int told = 0; told < 2; told++) {
        struct peer p;
        open_sack(&p, NULL);
        learn_rtt(&p);
        uint32_t base = send_segs(&p, 3), echo = p.tsecr;
        const uint32_t dup[1][2] = {{base, base + MSS}};
        for (int i = 0; i < 4000 && p.stack->stats.tcp_timeouts < 5; i++)
            peer_wait(&p, WIRE_MS);
        assert_int_equal(p.stack->stats.tcp_timeouts, 5);
        while (p.got_at < p.got_len)
            peer_get(&p);
        peer_wait(&p, 2 * WIRE_MS);
        p.tsecr = echo;
        if (told)
            peer_sack(&p, base + 3 * MSS, 1, dup);
        else
            peer_seg(&p, PEER_ACK, p.seq, base + 3 * MSS, NULL, 0);
        if (told)
            assert_true(info(&p).srtt_us < 2000);
        else
            assert_true(info(&p).srtt_us > 50000);
        peer_down(&p);
    }
}

/* RFC 5681 4.3: a retransmission that is lost lowers ssthresh a second time: by a second beta of the window, not of the few segments
 * that PRR had let out when the timer ran out. */
static void test_timeout_in_recovery(void **state)
{
    (void)state;
    struct peer p;
    open_sack(&p, NULL);
    learn_rtt(&p);
    uint32_t base = send_segs(&p, 10);
    peer_wait(&p, WIRE_MS);
    sack_segs(&p, base, 0, 7, 10); /* seven of ten */
    assert_int_equal(info(&p).ssthresh, 7 * MSS);
    assert_true(info(&p).cwnd <= 4 * MSS);
    for (int i = 0; i < 400 && !p.stack->stats.tcp_timeouts; i++)
        peer_wait(&p, WIRE_MS);
    assert_int_equal(p.stack->stats.tcp_timeouts, 1);
    assert_in_range(info(&p).ssthresh, 4 * MSS, 5 * MSS);
    peer_down(&p);
}

/* RFC 6937: recovery sends about beta of what it hears of, ends at ssthresh. */
static void test_prr(void **state)
{
    (void)state;
    struct peer p;
    open_sack(&p, NULL);
    learn_rtt(&p);
    peer_app_write(&p, 200 * MSS);
    uint32_t base = p.ack;
    while (p.got_at < p.got_len)
        peer_get(&p);
    for (int i = 0; i < 2; i++) { /* a window to speak of */
        peer_ack(&p);
        base = p.ack;
        while (p.got_at < p.got_len)
            peer_get(&p);
    }
    uint32_t flight = info(&p).unacked_bytes / MSS, heard = 0, sent = 0, ssthresh;
    assert_true(flight >= 30);
    peer_wait(&p, WIRE_MS);
    for (uint32_t end = 4; end <= flight; end += 2, heard += 2) {
        sack_segs(&p, base, 0, 1, end);
        for (; p.got_at < p.got_len; sent++)
            peer_get(&p);
        assert_true(tcp_pipe(p.s->tc) <= p.s->tc->cwnd);
    }
    ssthresh = info(&p).ssthresh;
    assert_true(ssthresh >= flight * MSS * 69 / 100 && ssthresh <= flight * MSS * 71 / 100);
    assert_true(sent * 10 >= heard * 6 && sent * 10 <= heard * 8 + 20);
    peer_seg(&p, PEER_ACK, p.seq, base + (flight)*MSS, NULL, 0);
    peer_seg(&p, PEER_ACK, p.seq, p.ack, NULL, 0);
    assert_true(info(&p).cwnd >= ssthresh && info(&p).cwnd < ssthresh + 8 * MSS);
    assert_int_equal(p.stack->stats.tcp_sack_recovery, 1);
    peer_down(&p);
}

/* RFC 8985 6.3, RFC 6675 5.1: a timeout keeps what was SACKed. */
static void test_timeout_keeps_the_scoreboard(void **state)
{
    (void)state;
    struct peer p;
    open_sack(&p, NULL);
    learn_rtt(&p);
    uint32_t base = send_segs(&p, 6);
    peer_wait(&p, WIRE_MS);
    sack_segs(&p, base, 0, 2, 5);
    while (p.got_at < p.got_len)
        peer_get(&p);
    unsigned seen[6] = {0};
    for (int i = 0; i < 400 && !p.stack->stats.tcp_timeouts; i++)
        peer_wait(&p, WIRE_MS);
    assert_int_equal(p.stack->stats.tcp_timeouts, 1);
    for (int i = 0; i < 10; i++) {
        while (p.got_at < p.got_len) {
            struct pkt *k = peer_get(&p);
            seen[(k->seq - base) / MSS]++;
        }
        peer_wait(&p, 10 * WIRE_MS);
    }
    assert_true(seen[0] && !seen[2] && !seen[3] && !seen[4]);
    peer_down(&p);
}

/* RFC 3522, 4015: the ACK after a timeout echoes a timestamp of the first copy: nothing was lost. */
static void test_spurious_timeout_by_timestamp(void **state)
{
    (void)state;
    struct peer p;
    open_sack(&p, NULL);
    learn_rtt(&p);
    uint32_t base = send_segs(&p, 10), cwnd = info(&p).cwnd, ssthresh = info(&p).ssthresh;
    uint32_t first_ts = p.tsecr;
    for (int i = 0; i < 400 && !p.stack->stats.tcp_timeouts; i++)
        peer_wait(&p, WIRE_MS);
    assert_true(info(&p).cwnd < cwnd);
    while (p.got_at < p.got_len)
        peer_get(&p);
    p.tsecr = first_ts;
    peer_seg(&p, PEER_ACK, p.seq, base + 2 * MSS, NULL, 0);
    assert_int_equal(p.stack->stats.tcp_spurious_rtos, 1);
    assert_int_equal(info(&p).ssthresh, ssthresh);
    assert_true(info(&p).cwnd >= cwnd - 2 * MSS);
    assert_int_equal(info(&p).lost_bytes, 0);
    peer_none(&p); /* the other eight are not sent again */
    peer_down(&p);
}

/* The same where the second copy is what is told of. */
static void test_spurious_timeout_by_dsack(void **state)
{
    (void)state;
    struct peer p;
    open_sack(&p, NULL);
    learn_rtt(&p);
    uint32_t base = send_segs(&p, 10), ssthresh = info(&p).ssthresh;
    for (int i = 0; i < 400 && !p.stack->stats.tcp_timeouts; i++)
        peer_wait(&p, WIRE_MS);
    uint32_t dup_seq = 0;
    while (p.got_at < p.got_len)
        dup_seq = peer_get(&p)->seq;
    assert_int_equal(dup_seq, base);
    const uint32_t dup[1][2] = {{base, base + MSS}};
    peer_sack(&p, base + 10 * MSS, 1, dup);
    assert_int_equal(p.stack->stats.tcp_spurious_rtos, 1);
    assert_int_equal(info(&p).ssthresh, ssthresh);
    peer_down(&p);
}

/* Blocks of what was never sent, upside down, below or beyond: counted, without effect. */
static void test_lies_are_counted(void **state)
{
    (void)state;
    struct peer p;
    open_sack(&p, NULL);
    learn_rtt(&p);
    uint32_t base = send_segs(&p, 8);
    const uint32_t lies[4][2] = {{base + 9 * MSS, base + 10 * MSS},
                                 {base + 4 * MSS, base + 2 * MSS},
                                 {base + 4 * MSS, base + 900 * MSS},
                                 {base - 2 * MSS, base + 3 * MSS}};
    for (unsigned i = 0; i < 4; i++) {
        uint64_t before = p.stack->stats.tcp_sack_discard;
        peer_sack(&p, base, 1, &lies[i]);
        assert_int_equal(p.stack->stats.tcp_sack_discard, before + 1);
        assert_int_equal(info(&p).sacked_bytes, 0);
    }
    /* Parts of segments say nothing. */
    for (uint32_t i = 1; i < 2000; i += 2) {
        const uint32_t bit[1][2] = {{base + i, base + i + 1}};
        peer_sack(&p, base, 1, bit);
    }
    assert_int_equal(info(&p).sacked_bytes, 0);
    assert_int_equal(info(&p).retrans, 0);
    peer_down(&p);
}

static void tune_small(struct net_config *c)
{
    c->initial_window_segs = 1000;
    c->snd_buf_bytes = 64 * 900;
}

/* A thousand segments, a thousand ACKs of one turn with blocks that keep changing: the walk has a bound. */
static void test_walk_is_bounded(void **state)
{
    (void)state;
    struct peer p;
    peer_up(&p, tune_small);
    p.sack = true;
    p.wnd = 0xffff;
    peer_handshake(&p, 76, 7, true); /* 64 octets a segment */
    uint32_t base = p.ack;
    peer_app_write(&p, 64 * 900);
    while (p.got_at < p.got_len)
        peer_get(&p);
    uint8_t buf[2048];
    for (uint32_t i = 0; i < 100; i++) {
        p.blocks[0][0] = base + 64 * (880 - 3 * i); /* each further down: no hint helps */
        p.blocks[0][1] = base + 64 * 890 + 1;
        p.blocks_n = 1;
        wire_inject(&p.w, p.stack->id, buf, peer_frame(&p, buf, PEER_ACK, p.seq, base, NULL, 0), 0);
    }
    p.blocks_n = 0;
    wire_turn(&p.w);
    assert_true(p.stack->stats.tcp_sack_discard > 0);
    peer_seg(&p, PEER_ACK, p.seq, base + 64 * 900, NULL, 0);
    assert_int_equal(info(&p).unacked_bytes, 0);
    assert_int_equal(info(&p).sacked_bytes, 0);
    assert_int_equal(rte_mempool_in_use_count(p.pool), 0);
    peer_down(&p);
}

/* RFC 2018 8: the peer throws away what it had SACKed: all is sent again, nothing is stuck. */
static void test_reneging(void **state)
{
    (void)state;
    struct peer p;
    open_sack(&p, NULL);
    learn_rtt(&p);
    uint32_t base = send_segs(&p, 6);
    peer_wait(&p, WIRE_MS);
    sack_segs(&p, base, 0, 1, 6);
    assert_int_equal(peer_get(&p)->seq, base);
    peer_seg(&p, PEER_ACK, p.seq, base + MSS, NULL, 0); /* and not six */
    assert_int_equal(p.stack->stats.tcp_sack_reneging, 1);
    assert_int_equal(info(&p).sacked_bytes, 0);
    uint32_t next = base + MSS;
    for (int i = 0; i < 4000 && next != base + 6 * MSS; i++) {
        while (p.got_at < p.got_len) {
            struct pkt *k = peer_get(&p);
            if (k->seq == next)
                next += k->len;
        }
        peer_seg(&p, PEER_ACK, p.seq, next, NULL, 0);
        peer_wait(&p, WIRE_MS);
    }
    assert_int_equal(next, base + 6 * MSS);
    assert_int_equal(info(&p).unacked_bytes, 0);
    peer_down(&p);
}

/* The same without a word: the timeout finds it. */
static void test_silent_reneging(void **state)
{
    (void)state;
    struct peer p;
    open_sack(&p, NULL);
    learn_rtt(&p);
    uint32_t base = send_segs(&p, 3);
    peer_wait(&p, WIRE_MS);
    sack_segs(&p, base, 0, 1, 3);
    peer_seg(&p, PEER_ACK, p.seq, base + MSS, NULL, 0);
    bool again = false;
    for (int i = 0; i < 500 && !again; i++) {
        peer_wait(&p, WIRE_MS);
        while (p.got_at < p.got_len)
            again |= peer_get(&p)->seq == base + MSS;
    }
    assert_true(again);
    assert_int_equal(p.stack->stats.tcp_sack_reneging, 1);
    peer_down(&p);
}

/* ---- what we report ---- */

static struct pkt *early(struct peer *p, uint32_t at, uint32_t len)
{
    peer_seg(p, PEER_ACK, p->seq + at, p->ack, peer_octets(at), len);
    return peer_get(p);
}

/* RFC 2018 4: the island that the newest segment belongs to first, then those reported before. */
static void test_newest_island_first(void **state)
{
    (void)state;
    struct peer p;
    open_sack(&p, NULL);
    uint32_t at[] = {5000, 1000, 3000, 7000};
    struct pkt *k = NULL;
    for (unsigned i = 0; i < 4; i++) {
        k = early(&p, at[i], 100);
        assert_int_equal(k->ack, p.seq);
        assert_int_equal(k->sack_n, i < 3 ? i + 1 : 3);
        for (unsigned b = 0; b < k->sack_n; b++)
            assert_int_equal(k->sack[b][0], p.seq + at[i - b]);
    }
    k = early(&p, 1100, 100); /* an old island grows: it leads */
    assert_int_equal(k->sack[0][0], p.seq + 1000);
    assert_int_equal(k->sack[0][1], p.seq + 1200);
    assert_int_equal(k->sack[1][0], p.seq + 7000);
    assert_int_equal(k->sack[2][0], p.seq + 3000);
    k = early(&p, 1200, 1800); /* two islands become one */
    assert_int_equal(k->sack[0][0], p.seq + 1000);
    assert_int_equal(k->sack[0][1], p.seq + 3100);
    assert_int_equal(k->sack[1][0], p.seq + 7000);
    assert_int_equal(k->sack[2][0], p.seq + 5000);
    peer_seg(&p, PEER_ACK, p.seq, p.ack, peer_octets(0), 1000); /* the first hole is filled */
    k = peer_get(&p);
    assert_int_equal(k->ack, p.seq + 3100);
    assert_int_equal(k->sack_n, 2);
    peer_down(&p);
}

/* More new islands in one burst than an ACK holds: several ACKs, the newest last, none left out. */
static void test_burst_of_islands(void **state)
{
    (void)state;
    struct peer p;
    uint8_t buf[2048];
    open_sack(&p, NULL);
    for (uint32_t i = 0; i < 5; i++)
        wire_inject(&p.w, p.stack->id, buf,
                    peer_frame(&p, buf, PEER_ACK, p.seq + 1000 * (i + 1), p.ack,
                               peer_octets(1000 * (i + 1)), 100),
                    0);
    wire_turn(&p.w);
    bool told[5] = {false};
    struct pkt *k = NULL;
    while (p.got_at < p.got_len) {
        k = peer_get(&p);
        for (unsigned b = 0; b < k->sack_n; b++)
            told[(k->sack[b][0] - p.seq) / 1000 - 1] = true;
    }
    assert_int_equal(p.got_len, 5); /* SYN-ACK, three one by one, and one for the others */
    for (unsigned i = 0; i < 5; i++)
        assert_true(told[i]);
    assert_int_equal(k->sack[0][0], p.seq + 5000);
    peer_down(&p);
}

/* RFC 2883 4: text below RCV.NXT, text of an island, and across both ends. */
static void test_dsack_sent(void **state)
{
    (void)state;
    struct peer p;
    open_sack(&p, NULL);
    peer_data(&p, peer_octets(0), 500);
    peer_wait(&p, 20 * WIRE_MS);
    peer_get(&p);
    peer_seg(&p, PEER_ACK, p.seq - 400, p.ack, peer_octets(100), 300); /* old */
    struct pkt *k = peer_get(&p);
    assert_int_equal(k->sack_n, 1);
    assert_int_equal(k->sack[0][0], p.seq - 400);
    assert_int_equal(k->sack[0][1], p.seq - 100);
    peer_none(&p);
    peer_seg(&p, PEER_ACK, p.seq + 500, p.ack, peer_octets(1000), 500);
    peer_get(&p);
    peer_seg(&p, PEER_ACK, p.seq + 600, p.ack, peer_octets(1100), 100); /* early, twice */
    k = peer_get(&p);
    assert_int_equal(k->sack_n, 2);
    assert_int_equal(k->sack[0][0], p.seq + 600);
    assert_int_equal(k->sack[0][1], p.seq + 700);
    assert_int_equal(k->sack[1][0], p.seq + 500);
    assert_int_equal(k->sack[1][1], p.seq + 1000);
    peer_ack(&p);
    assert_int_equal(p.stack->stats.tcp_dsack_sent, 2);
    peer_seg(&p, PEER_ACK, p.seq + 2000, p.ack, peer_octets(2500), 10); /* the D-SACK was once */
    k = peer_get(&p);
    assert_int_equal(k->sack[0][0], p.seq + 2000);
    assert_int_equal(k->sack[1][0], p.seq + 500);
    peer_down(&p);
}

/* A D-SACK that a lost ACK explains makes no later repair wait (seen on the relay at 1 % loss). */
static void test_dsack_without_reordering_costs_no_time(void **state)
{
    (void)state;
    struct peer p;
    open_sack(&p, NULL);
    learn_rtt(&p);
    uint32_t base = send_segs(&p, 8);
    peer_wait(&p, WIRE_MS);
    sack_segs(&p, base, 0, 1, 6);
    assert_int_equal(peer_get(&p)->seq, base);
    const uint32_t dup[1][2] = {{base, base + MSS}};
    peer_sack(&p, base + 8 * MSS, 1, dup);
    base = send_segs(&p, 8);
    peer_wait(&p, WIRE_MS);
    sack_segs(&p, base, 0, 1, 6);
    assert_int_equal(peer_get(&p)->seq, base); /* at once */
    peer_down(&p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_sack_permitted),
        cmocka_unit_test(test_hole_is_repaired_at_once),
        cmocka_unit_test(test_tail_loss_probe),
        cmocka_unit_test(test_lone_segment_is_probed_not_timed_out),
        cmocka_unit_test(test_peer_that_delays_is_learned),
        cmocka_unit_test(test_probe_that_repaired_a_loss),
        cmocka_unit_test(test_probe_is_the_last_segment),
        cmocka_unit_test(test_reordering_window),
        cmocka_unit_test(test_dsack_widens_the_window),
        cmocka_unit_test(test_dsack_without_reordering_costs_no_time),
        cmocka_unit_test(test_lost_retransmission),
        cmocka_unit_test(test_retransmission_lost_at_the_head_of_others),
        cmocka_unit_test(test_lost_acks_are_no_round_trip),
        cmocka_unit_test(test_timeout_in_recovery),
        cmocka_unit_test(test_prr),
        cmocka_unit_test(test_timeout_keeps_the_scoreboard),
        cmocka_unit_test(test_spurious_timeout_by_timestamp),
        cmocka_unit_test(test_spurious_timeout_by_dsack),
        cmocka_unit_test(test_lies_are_counted),
        cmocka_unit_test(test_walk_is_bounded),
        cmocka_unit_test(test_reneging),
        cmocka_unit_test(test_silent_reneging),
        cmocka_unit_test(test_newest_island_first),
        cmocka_unit_test(test_burst_of_islands),
        cmocka_unit_test(test_dsack_sent),
    };
    if (wire_eal_init())
        return 1;
    return cmocka_run_group_tests(tests, NULL, NULL);
}
