/* SYN cookies by script (RFC 4987 3.6): what a connection opened by one knows, what opens none, and that a flood of SYNs takes
 * nothing from anyone. */
#include <errno.h>
#include <string.h>

#include <rte_mempool.h>

#include "dataplane/net/tcp_internal.h"
#include "tests/unit/net/check.h"
#include "tests/unit/net/peer.h"

static void tune_one(struct net_config *c)
{
    c->backlog = 1;
    c->max_conns = 64;
}

/* One half-open connection fills the backlog. */
static void up_full(struct peer *p, peer_tune tune)
{
    peer_up(p, tune);
    p->port = 30000;
    peer_syn(p, 1460, -1, false);
    assert_int_equal(peer_get(p)->flags, PEER_SYN | PEER_ACK);
    assert_int_equal(p->stack->stats.tcp_conns, 1);
    p->port = 40000;
    p->ack = 0;
}

/* The answer to a SYN that nothing is kept of. */
static struct pkt *cookie_for(struct peer *p, uint16_t mss, int wscale, bool ts)
{
    uint64_t sent = p->stack->stats.tcp_syncookies_sent, conns = p->stack->stats.tcp_conns;
    uint32_t timers = p->stack->net->wheel.count;
    peer_syn(p, mss, wscale, ts);
    assert_int_equal(p->stack->stats.tcp_syncookies_sent, sent + 1);
    assert_int_equal(p->stack->stats.tcp_conns, conns);
    assert_int_equal(p->stack->net->wheel.count, timers);
    assert_int_equal(rte_mempool_in_use_count(p->pool), 0);
    struct pkt *k = peer_get(p);
    assert_int_equal(k->flags & ~PEER_ECE, PEER_SYN | PEER_ACK);
    assert_int_equal(k->ack, p->seq + 1);
    p->seq++;
    p->ack = k->seq + 1;
    p->ts = ts;
    return k;
}

static void echo_works(struct peer *p)
{
    peer_data(p, peer_octets(p->s->rx_seen), 100);
    assert_false(p->s->mismatch);
    peer_app_write(p, 50);
    struct pkt *k = peer_get(p);
    while (!k->len)
        k = peer_get(p);
    assert_int_equal(k->len, 50);
    peer_ack(p);
    assert_int_equal(tcp_flight(p->s->tc), 0);
}

static void test_options_come_back(void **state)
{
    (void)state;
    struct peer p;
    up_full(&p, tune_one);
    p.sack = true;
    p.syn_flags = PEER_ECE | PEER_CWR;
    peer_wait(&p, 123 * WIRE_MS); /* the clock's lower bits are not always 0 */
    struct pkt *k = cookie_for(&p, 1400, 9, true);
    assert_true(k->has_ts && k->has_wscale && k->sack_ok);
    assert_int_equal(k->flags, PEER_SYN | PEER_ACK | PEER_ECE);
    assert_int_equal(k->tsecr, p.tsval);
    p.wnd = 1000;
    peer_ack(&p);
    peer_none(&p);
    assert_int_equal(p.stack->stats.tcp_syncookies_recv, 1);
    assert_int_equal(p.stack->stats.tcp_curr_estab, 1);
    assert_int_equal(p.app->accepted, 1);
    struct tcp_conn *tc = p.s->tc;
    assert_int_equal(tc->snd_wnd, 1000 << 9);
    assert_int_equal(tc->rcv_wscale, tcp_opt_wscale(p.stack->cfg.rcv_buf_bytes));
    assert_int_equal(tc->mss, 1400 - 12);
    assert_true((tc->flags & TF_TS) && (tc->flags & TF_SACK) && (tc->flags & TF_ECN));
    assert_int_equal(tc->cold->srtt_x8, 0); /* nothing was timed */
    assert_int_equal(tc->cwnd, p.stack->cfg.initial_window_segs * tc->mss);
    echo_works(&p);
    peer_down(&p);
}

static void test_no_scale_no_sack(void **state)
{
    (void)state;
    struct peer p;
    up_full(&p, tune_one);
    struct pkt *k = cookie_for(&p, 1460, -1, true);
    assert_true(k->has_ts && !k->has_wscale && !k->sack_ok);
    peer_ack(&p);
    assert_int_equal(p.app->accepted, 1);
    assert_int_equal(p.s->tc->flags & (TF_TS | TF_SACK | TF_WSCALE | TF_ECN), TF_TS);
    assert_int_equal(p.s->tc->snd_wnd, 0xffff);
    echo_works(&p);
    peer_down(&p);
}

/* A SYN goes again before the cookie that answers it has come, and finds room: the peer goes by the answer that came first. */
static void test_bug_syn_sent_again_after_a_cookie(void **state)
{
    (void)state;
    struct peer p;
    up_full(&p, tune_one);
    p.sack = true;
    uint32_t echo = cookie_for(&p, 1460, 7, true)->tsval, first = p.ack, seq = p.seq;
    p.port = 30000;
    peer_seg(&p, PEER_RST, p.seq, 0, NULL, 0);
    assert_int_equal(p.stack->stats.tcp_conns, 0);
    p.port = 40000;
    p.seq--;
    p.ack = 0;
    p.ts = false; /* peer_syn writes its own */
    peer_syn(&p, 1460, 7, true);
    struct pkt *k = peer_get(&p);
    assert_int_equal(k->flags, PEER_SYN | PEER_ACK);
    assert_int_not_equal(k->seq + 1, first);
    p.seq = seq;
    p.ack = first;
    p.ts = true;
    p.tsecr = echo;
    peer_ack(&p);
    peer_none(&p);
    assert_int_equal(p.app->accepted, 1);
    assert_int_equal(p.stack->stats.tcp_conns, 1);
    assert_int_equal(p.stack->net->half_open, 0);
    assert_true((p.s->tc->flags & TF_TS) && (p.s->tc->flags & TF_SACK));
    echo_works(&p);
    peer_down(&p);
}

/* Nothing carries options where there are no timestamps: so none are agreed to. */
static void test_without_timestamps(void **state)
{
    (void)state;
    struct peer p;
    up_full(&p, tune_one);
    p.sack = true;
    p.syn_flags = PEER_ECE | PEER_CWR;
    struct pkt *k = cookie_for(&p, 1300, 7, false);
    assert_true(!k->has_ts && !k->has_wscale && !k->sack_ok);
    assert_int_equal(k->flags, PEER_SYN | PEER_ACK);
    peer_ack(&p);
    assert_int_equal(p.app->accepted, 1);
    assert_int_equal(p.s->tc->flags & (TF_TS | TF_SACK | TF_WSCALE | TF_ECN), 0);
    assert_int_equal(p.s->tc->mss, 1220); /* the class below */
    echo_works(&p);
    peer_down(&p);
}

static void test_mss_classes(void **state)
{
    static const uint16_t said[][2] = {{1, 64},      {0, 536},     {535, 64},    {536, 536},
                                       {1459, 1440}, {1460, 1460}, {8900, 1460}, {65535, 1460}};
    (void)state;
    for (unsigned i = 0; i < sizeof(said) / sizeof(said[0]); i++) {
        struct peer p;
        up_full(&p, tune_one);
        cookie_for(&p, said[i][0], -1, false);
        peer_ack(&p);
        assert_int_equal(p.app->accepted, 1);
        uint16_t want = said[i][1];
        if (p.v6 && !said[i][0])
            want = 1220; /* RFC 8200 5 */
        assert_int_equal(p.s->tc->mss, want);
        peer_down(&p);
    }
}

/* The ACK was lost: the first text brings the cookie again. */
static void test_text_opens(void **state)
{
    (void)state;
    struct peer p;
    up_full(&p, tune_one);
    cookie_for(&p, 1460, 7, true);
    peer_data(&p, peer_octets(0), 300);
    assert_int_equal(p.app->accepted, 1);
    assert_int_equal(p.s->rx_seen, 300);
    assert_false(p.s->mismatch);
    peer_down(&p);
}

static void refused(struct peer *p, uint32_t seq, uint32_t ack)
{
    uint64_t failed = p->stack->stats.tcp_syncookies_failed;
    peer_seg(p, PEER_ACK, seq, ack, NULL, 0);
    assert_int_equal(p->stack->stats.tcp_syncookies_failed, failed + 1);
    assert_int_equal(p->app->accepted, 0);
    struct pkt *k = peer_get(p);
    assert_int_equal(k->flags, PEER_RST);
    assert_int_equal(k->seq, ack);
}

static void test_forged(void **state)
{
    (void)state;
    struct peer p;
    up_full(&p, tune_one);
    cookie_for(&p, 1460, -1, false);
    uint32_t seq = p.seq, ack = p.ack;
    for (int bit = 0; bit < 32; bit++)
        refused(&p, seq, ack ^ 1u << bit);
    refused(&p, seq + 1, ack);
    refused(&p, seq - 1, ack);
    p.port++;
    refused(&p, seq, ack);
    p.port--;
    p.ip += 4;
    refused(&p, seq, ack);
    p.ip -= 4;
    p.ack = ack;
    peer_seg(&p, PEER_ACK, seq, ack, NULL, 0); /* and the right one is still good */
    assert_int_equal(p.app->accepted, 1);
    peer_down(&p);
}

static void test_guesses(void **state)
{
    (void)state;
    struct peer p;
    up_full(&p, tune_one);
    cookie_for(&p, 1460, -1, false);
    uint64_t opens = p.stack->stats.tcp_passive_opens;
    for (int i = 0; i < 3000; i++) { /* the RSTs end at their rate */
        peer_seg(&p, PEER_ACK, p.seq, (uint32_t)wire_random(&p.w), NULL, 0);
        p.got_at = p.got_len = 0;
    }
    assert_int_equal(p.stack->stats.tcp_passive_opens, opens);
    assert_int_equal(p.stack->stats.tcp_syncookies_failed, 3000);
    peer_down(&p);
}

/* Two epochs of 68.7 s, and no more. */
static void test_age(void **state)
{
    (void)state;
    struct peer p;
    for (int late = 0; late < 2; late++) {
        up_full(&p, tune_one);
        cookie_for(&p, 1460, -1, false);
        peer_wait(&p, (late ? 138 : 60) * WIRE_SEC);
        p.got_at = p.got_len;
        uint32_t seq = p.seq, ack = p.ack;
        p.port = 31000; /* cookies are in use still */
        for (int i = 0; i < 2; i++, p.port++)
            peer_syn(&p, 1460, -1, false);
        p.got_at = p.got_len;
        p.port = 40000;
        if (late)
            refused(&p, seq, ack);
        else
            peer_seg(&p, PEER_ACK, seq, ack, NULL, 0);
        assert_int_equal(p.app->accepted, !late);
        peer_down(&p);
    }
}

/* An echo that is older than any cookie is none of ours. */
static void test_old_echo(void **state)
{
    (void)state;
    struct peer p;
    up_full(&p, tune_one);
    cookie_for(&p, 1460, 7, true);
    p.tsecr -= 200000;
    refused(&p, p.seq, p.ack);
    peer_down(&p);
}

/* Without a cookie sent lately an ACK is not even looked at. */
static void test_not_in_use(void **state)
{
    (void)state;
    struct peer p;
    peer_up(&p, tune_one);
    peer_seg(&p, PEER_ACK, 5, 6, NULL, 0);
    assert_int_equal(peer_get(&p)->flags, PEER_RST);
    assert_int_equal(p.stack->stats.tcp_syncookies_failed, 0);
    assert_int_equal(p.stack->stats.drop_tcp_flags, 1);
    peer_down(&p);
}

static void tune_few(struct net_config *c)
{
    c->backlog = 1;
    c->max_conns = 1;
}

/* No record for it: nothing is said, and the next segment finds one. */
static void test_no_record(void **state)
{
    (void)state;
    struct peer p;
    up_full(&p, tune_few);
    cookie_for(&p, 1460, -1, false);
    peer_ack(&p);
    peer_none(&p);
    assert_int_equal(p.app->accepted, 0);
    assert_int_equal(p.stack->stats.drop_tcp_nomem, 1);
    uint32_t seq = p.seq, ack = p.ack;
    p.port = 30000; /* the half-open one goes */
    peer_seg(&p, PEER_RST, seq, 0, NULL, 0);
    assert_int_equal(p.stack->stats.tcp_conns, 0);
    p.port = 40000;
    p.seq = seq;
    p.ack = ack;
    peer_data(&p, peer_octets(0), 10);
    assert_int_equal(p.app->accepted, 1);
    assert_int_equal(p.s->rx_seen, 10);
    peer_down(&p);
}

/* 20,000 SYNs from everywhere: no record, no timer, no buffer; and who means it gets in. */
static void test_flood(void **state)
{
    (void)state;
    struct peer p;
    up_full(&p, tune_one);
    uint32_t ip = p.ip;
    uint16_t port = p.port;
    unsigned opened = 0;
    for (uint32_t i = 0; i < 20000; i++) {
        p.ip = 0x0a000003 + (uint32_t)wire_random(&p.w) % 200;
        p.port = (uint16_t)(1024 + wire_random(&p.w) % 60000);
        p.seq = (uint32_t)wire_random(&p.w);
        p.ts = false;
        peer_syn(&p, 1460, 7, i & 1);
        p.got_at = p.got_len = 0;
        if (i % 1000)
            continue;
        p.ip = ip;
        p.port = ++port;
        cookie_for(&p, 1460, 7, true);
        peer_ack(&p);
        opened++;
        assert_int_equal(p.app->accepted, opened);
    }
    assert_int_equal(p.stack->stats.tcp_conns, 1 + opened);
    assert_int_equal(rte_mempool_in_use_count(p.pool), 0);
    peer_down(&p);
}

/* A new incarnation needs a number beyond the old one's, which no cookie has: it takes a record, over the backlog. */
static void test_time_wait_gets_no_cookie(void **state)
{
    (void)state;
    struct peer p;
    peer_up(&p, tune_one);
    peer_handshake(&p, 1460, -1, false);
    tcp_close(p.s->tc);
    wire_turn(&p.w);
    peer_get(&p);
    peer_seg(&p, PEER_FIN | PEER_ACK, p.seq, p.ack, NULL, 0);
    uint32_t seq = p.seq + 1, nxt = peer_get(&p)->seq;
    assert_int_equal(p.stack->stats.tcp_time_wait, 1);
    p.port = 30000; /* fills the backlog */
    peer_syn(&p, 1460, -1, false);
    peer_get(&p);
    p.port = 40000;
    p.seq = seq + 1000;
    peer_syn(&p, 1460, -1, false);
    struct pkt *k = peer_get(&p);
    assert_int_equal(k->flags, PEER_SYN | PEER_ACK);
    assert_true(seq_le(nxt, k->seq));
    assert_int_equal(p.stack->stats.tcp_syncookies_sent, 0);
    peer_down(&p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_options_come_back),
        cmocka_unit_test(test_bug_syn_sent_again_after_a_cookie),
        cmocka_unit_test(test_no_scale_no_sack),
        cmocka_unit_test(test_without_timestamps),
        cmocka_unit_test(test_mss_classes),
        cmocka_unit_test(test_text_opens),
        cmocka_unit_test(test_forged),
        cmocka_unit_test(test_guesses),
        cmocka_unit_test(test_age),
        cmocka_unit_test(test_old_echo),
        cmocka_unit_test(test_not_in_use),
        cmocka_unit_test(test_no_record),
        cmocka_unit_test(test_flood),
        cmocka_unit_test(test_time_wait_gets_no_cookie),
    };
    if (wire_eal_init() != 0)
        return 1;
    return cmocka_run_group_tests(tests, NULL, NULL);
}
