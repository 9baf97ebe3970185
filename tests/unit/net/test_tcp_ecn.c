/* Explicit congestion notification, by script: RFC 3168 6.1 and the exact echo of RFC 8257. */
#include <stdlib.h>
#include <string.h>

#include "dataplane/net/tcp_internal.h"
#include "tests/unit/net/check.h"
#include "tests/unit/net/peer.h"

#define ECT0 2
#define CE   3

static void open_ecn(struct peer *p, peer_tune tune)
{
    peer_up(p, tune);
    p->sack = true;
    p->syn_flags = PEER_ECE | PEER_CWR;
    peer_handshake(p, 1460, 7, true);
}

static void tune_dctcp(struct net_config *c)
{
    c->congestion = TCP_CC_DCTCP;
}

static void tune_off(struct net_config *c)
{
    c->no_ecn = true;
}

static struct tcp_info info(const struct peer *p)
{
    struct tcp_info ti;
    tcp_info(p->s->tc, &ti);
    return ti;
}

static void data_with(struct peer *p, uint8_t tos, uint8_t flags, uint32_t at)
{
    p->tos = tos;
    peer_seg(p, PEER_ACK | flags, p->seq, p->ack, peer_octets(at), 100);
    p->seq += 100;
    p->tos = 0;
}

/* 6.1.1: ECE and CWR in the SYN, ECE alone in the answer; neither when not asked or not wanted. */
static void test_negotiation(void **state)
{
    (void)state;
    struct peer p;
    open_ecn(&p, NULL);
    assert_int_equal(p.got[0].flags, PEER_SYN | PEER_ACK | PEER_ECE);
    assert_int_equal(p.got[0].tos, 0); /* 6.1.1: no ECT on SYN or SYN-ACK */
    peer_down(&p);
    open_ecn(&p, tune_off);
    assert_int_equal(p.got[0].flags, PEER_SYN | PEER_ACK);
    peer_down(&p);
    peer_up(&p, NULL);
    p.syn_flags = PEER_ECE; /* a broken echo of flags is no wish */
    peer_handshake(&p, 1460, 7, true);
    assert_int_equal(p.got[0].flags, PEER_SYN | PEER_ACK);
    peer_app_write(&p, 100);
    assert_int_equal(peer_get(&p)->tos, 0);
    peer_down(&p);
}

/* 6.1.4 to 6.1.6: new text is ECT(0); bare ACKs, retransmissions and window probes are not. */
static void test_ect_only_on_new_text(void **state)
{
    (void)state;
    struct peer p;
    open_ecn(&p, NULL);
    peer_app_write(&p, 100);
    struct pkt *k = peer_get(&p);
    assert_int_equal(k->tos, ECT0);
    while (p.got_at == p.got_len)
        peer_wait(&p, WIRE_MS);
    k = peer_get(&p);
    assert_int_equal(k->len, 100);
    assert_int_equal(k->tos, 0);
    peer_ack(&p);
    data_with(&p, 0, 0, 0);
    peer_wait(&p, 20 * WIRE_MS);
    k = peer_get(&p);
    assert_int_equal(k->len, 0);
    assert_int_equal(k->tos, 0);
    p.wnd = 0;
    peer_ack(&p);
    peer_app_write(&p, 50);
    peer_wait(&p, 200 * WIRE_MS);
    k = peer_get(&p);
    assert_int_equal(k->len, 1);
    assert_int_equal(k->tos, 0);
    peer_down(&p);
}

/* 6.1.3: every segment says ECE from the mark on until CWR comes. */
static void test_ece_until_cwr(void **state)
{
    (void)state;
    struct peer p;
    open_ecn(&p, NULL);
    data_with(&p, ECT0, 0, 0);
    peer_wait(&p, 20 * WIRE_MS);
    assert_int_equal(peer_get(&p)->flags & PEER_ECE, 0);
    data_with(&p, CE, 0, 100);
    assert_int_equal(peer_get(&p)->flags & PEER_ECE, PEER_ECE); /* at once */
    assert_int_equal(p.stack->stats.tcp_ecn_ce_in, 1);
    data_with(&p, ECT0, 0, 200);
    peer_app_write(&p, 10);
    assert_int_equal(peer_get(&p)->flags & PEER_ECE, PEER_ECE);
    peer_ack(&p);
    data_with(&p, ECT0, PEER_CWR, 300);
    peer_wait(&p, 20 * WIRE_MS);
    assert_int_equal(peer_get(&p)->flags & PEER_ECE, 0);
    data_with(&p, CE, PEER_CWR, 400); /* both: a new mark */
    assert_int_equal(peer_get(&p)->flags & PEER_ECE, PEER_ECE);
    peer_down(&p);
}

/* 6.1.2: cwnd goes back once for a window, and the next new segment says CWR. */
static void test_reaction(void **state)
{
    (void)state;
    struct peer p;
    open_ecn(&p, NULL);
    peer_app_write(&p, 10 * 1448);
    uint32_t base = p.ack;
    for (int i = 0; i < 10; i++)
        assert_int_equal(peer_get(&p)->flags & PEER_CWR, 0);
    uint32_t cwnd = info(&p).cwnd;
    peer_seg(&p, PEER_ACK | PEER_ECE, p.seq, base + 2 * 1448, NULL, 0);
    uint32_t after = info(&p).cwnd;
    assert_true(after < cwnd && after >= cwnd * 6 / 10);
    assert_int_equal(p.stack->stats.tcp_ecn_reduced, 1);
    for (uint32_t i = 4; i <= 8; i += 2) {
        peer_seg(&p, PEER_ACK | PEER_ECE, p.seq, base + i * 1448, NULL, 0);
        assert_int_equal(p.stack->stats.tcp_ecn_reduced, 1);
    }
    peer_app_write(&p, 3 * 1448);
    assert_int_equal(peer_get(&p)->flags & PEER_CWR, PEER_CWR);
    assert_int_equal(peer_get(&p)->flags & PEER_CWR, 0);
    peer_get(&p);
    assert_int_equal(info(&p).retrans, 0);
    peer_ack(&p);
    peer_app_write(&p, 2 * 1448);
    peer_get(&p);
    peer_get(&p);
    peer_seg(&p, PEER_ACK | PEER_ECE, p.seq, p.ack, NULL, 0); /* another window */
    assert_int_equal(p.stack->stats.tcp_ecn_reduced, 2);
    peer_down(&p);
}

/* A peer that never agreed says nothing with ECE. */
static void test_ece_without_agreement(void **state)
{
    (void)state;
    struct peer p;
    peer_up(&p, NULL);
    peer_handshake(&p, 1460, 7, true);
    peer_app_write(&p, 4 * 1448);
    uint32_t cwnd = info(&p).cwnd;
    for (int i = 0; i < 4; i++)
        peer_get(&p);
    peer_seg(&p, PEER_ACK | PEER_ECE, p.seq, p.ack, NULL, 0);
    assert_true(info(&p).cwnd >= cwnd);
    assert_int_equal(p.stack->stats.tcp_ecn_ece_in, 0);
    data_with(&p, CE, 0, 0);
    peer_wait(&p, 20 * WIRE_MS);
    assert_int_equal(peer_get(&p)->flags & PEER_ECE, 0);
    peer_down(&p);
}

/* RFC 8257 3.2: the echo is the mark of the text that it acknowledges; a change is told at once, with what
 * came before under its own mark. */
static void test_exact_echo(void **state)
{
    (void)state;
    struct peer p;
    open_ecn(&p, tune_dctcp);
    data_with(&p, ECT0, 0, 0); /* its ACK is delayed */
    peer_none(&p);
    data_with(&p, CE, 0, 100);
    struct pkt *k = peer_get(&p);
    assert_int_equal(k->ack, p.seq - 100);
    assert_int_equal(k->flags & PEER_ECE, 0);
    k = peer_get(&p);
    assert_int_equal(k->ack, p.seq);
    assert_int_equal(k->flags & PEER_ECE, PEER_ECE);
    data_with(&p, CE, 0, 200);
    peer_none(&p);
    data_with(&p, ECT0, 0, 300);
    k = peer_get(&p);
    assert_int_equal(k->ack, p.seq - 100);
    assert_int_equal(k->flags & PEER_ECE, PEER_ECE);
    k = peer_get(&p);
    assert_int_equal(k->ack, p.seq);
    assert_int_equal(k->flags & PEER_ECE, 0);
    peer_down(&p);
}

/* Our own SYN asks once; sent again it does not (6.1.1.1), and what the answer says is obeyed. */
static void test_active_open(void **state)
{
    (void)state;
    struct peer p;
    peer_up(&p, NULL);
    net_neigh_learn(p.stack->net, peer_addr(&p), p.mac, p.w.now_ns);
    p.s = &p.app->stream[p.app->used++];
    *p.s = (struct stream){.tx_seed = 3, .rx_seed = 5, .host = p.stack};
    p.stack_port = 5555;
    p.s->tc = tcp_connect_to(p.stack->net, peer_addr(&p), p.port, 5555, p.s, p.w.now_ns);
    wire_turn(&p.w);
    assert_int_equal(peer_get(&p)->flags, PEER_SYN | PEER_ECE | PEER_CWR);
    peer_wait(&p, 1100 * WIRE_MS);
    struct pkt *k = peer_get(&p);
    assert_int_equal(k->flags, PEER_SYN);
    p.ack = k->seq + 1;
    peer_seg(&p, PEER_SYN | PEER_ACK | PEER_ECE, p.seq++, p.ack, NULL, 0);
    peer_get(&p);
    assert_true(p.s->connected);
    peer_app_write(&p, 100);
    assert_int_equal(peer_get(&p)->tos, ECT0);
    peer_down(&p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_negotiation),   cmocka_unit_test(test_ect_only_on_new_text),
        cmocka_unit_test(test_ece_until_cwr), cmocka_unit_test(test_reaction),
        cmocka_unit_test(test_exact_echo),    cmocka_unit_test(test_ece_without_agreement),
        cmocka_unit_test(test_active_open),
    };
    if (wire_eal_init())
        return 1;
    return cmocka_run_group_tests(tests, NULL, NULL);
}
