/* What the port does for the stack (offload.h): a card that keeps its word, and cards that do not. Whatever it does, every octet arrives, no
 * connection ends, and every buffer comes back (wire_fini); what it was seen to do stands in the state. */
#include <stdlib.h>
#include <string.h>

#include "dataplane/net/tcp_internal.h"
#include "tests/unit/net/check.h"
#include "tests/unit/net/pair.h"

static const struct nic full = {
    .ip_sum = true, .tcp_sum = true, .tso = true, .rx_sum = true, .max_segs = 64};

static bool transferred(void *ctx)
{
    struct pair *p = ctx;
    if (p->server->used < p->client->used)
        return false;
    for (unsigned i = 0; i < p->client->used; i++) {
        const struct stream *c = &p->client->stream[i], *s = &p->server->stream[i];
        if (c->rx_seen < c->rx_total || s->rx_seen < s->rx_total)
            return false;
    }
    return true;
}

static bool all_closed(void *ctx)
{
    struct pair *p = ctx;
    for (unsigned i = 0; i < p->client->used; i++)
        if (!p->client->stream[i].closed || !p->server->stream[i].closed)
            return false;
    return true;
}

/* All of it, as it was sent; then an orderly end. */
static void finish(struct pair *p, uint64_t within_ns)
{
    assert_true(wire_run(&p->w, p->w.now_ns + within_ns, transferred, p));
    for (unsigned i = 0; i < p->client->used; i++) {
        assert_false(p->client->stream[i].mismatch);
        assert_false(p->server->stream[i].mismatch);
        p->client->stream[i].want_close = true;
    }
    assert_true(wire_run(&p->w, p->w.now_ns + within_ns, all_closed, p));
    for (unsigned i = 0; i < p->client->used; i++) {
        assert_int_equal(p->client->stream[i].err, 0);
        assert_int_equal(p->server->stream[i].err, 0);
    }
}

static uint64_t state_of(const struct wire_host *h, enum stats_offload kind)
{
    return h->stats.offload[kind];
}

static void test_honest_card_sums_and_cuts(void **state)
{
    (void)state;
    for (uint32_t hold = 0; hold < 3; hold++) { /* buffers that the card keeps for a while */
        struct pair p;
        pair_up(&p, 1 + hold, NULL, &full, NULL);
        p.hs->nic_hold = hold * 40;
        pair_connect(&p, 100, 8 << 20);
        finish(&p, 60 * WIRE_SEC);
        assert_int_equal(p.hs->stats.tcp_retrans_segs, 0);
        assert_int_equal(state_of(p.hs, STATS_OFFLOAD_TSO), OFFLOAD_ON);
        assert_int_equal(state_of(p.hc, STATS_OFFLOAD_TSO), OFFLOAD_NONE);
        assert_int_equal(p.hs->nic.packets_cut, p.hs->stats.tso_packets);
        assert_int_equal(p.hs->nic.pieces, p.hs->stats.tso_segs);
        assert_true(p.hs->stats.tso_segs > 5000); /* of 5,793 */
        assert_true(p.hs->stats.tso_segs / p.hs->stats.tso_packets > 10);
        assert_true(p.hs->stats.tcp_out_segs > p.hs->stats.tso_segs);
        assert_int_equal(p.hs->stats.offload_lost, 0);
        pair_down(&p);
    }
}

/* Several hundred small answers: summed here. Larger ones by the card, which is trusted in the end. */
static void test_card_without_cutting(void **state)
{
    (void)state;
    struct nic sums = {.tcp_sum = true, .max_segs = 1};
    struct pair p;
    pair_up(&p, 7, NULL, &sums, NULL);
    pair_connect(&p, 0, 200);
    finish(&p, 10 * WIRE_SEC);
    assert_int_equal(p.hs->nic.summed, 0);
    pair_connect(&p, 0, 1 << 20);
    finish(&p, 10 * WIRE_SEC);
    assert_true(p.hs->nic.summed > 700);
    assert_int_equal(p.hs->stats.tso_packets, 0);
    assert_int_equal(state_of(p.hs, STATS_OFFLOAD_TX_SUM), OFFLOAD_ON);
    assert_int_equal(state_of(p.hs, STATS_OFFLOAD_TSO), OFFLOAD_NONE);
    pair_down(&p);
}

static void test_lies_about_sending_are_found_out(void **state)
{
    (void)state;
    for (int lie = NIC_HONEST + 1; lie < NIC_TX_LIES; lie++) {
        bool of_cutting = lie >= NIC_NO_CUT;
        struct nic nic = full;
        struct pair p;
        nic.lie = (enum nic_lie)lie;
        pair_up(&p, 10, NULL, &nic, NULL);
        pair_connect(&p, 0, 2 << 20);
        pair_connect(&p, 0, 2 << 20);
        finish(&p, 300 * WIRE_SEC);
        assert_int_equal(state_of(p.hs, STATS_OFFLOAD_TSO) == OFFLOAD_FAILED,
                         lie != NIC_LEAVES_SUM); /* it does sum what it cuts */
        if (!of_cutting) { /* in a bulk every segment is cut: one alone is needed to tell */
            nic.tso = false;
            pair_down(&p);
            pair_up(&p, 10, NULL, &nic, NULL);
            pair_connect(&p, 0, 3 << 20);
            finish(&p, 300 * WIRE_SEC);
        }
        uint64_t sum = state_of(p.hs, STATS_OFFLOAD_TX_SUM);
        assert_int_equal(sum == OFFLOAD_FAILED, !of_cutting);
        assert_true(p.hs->stats.offload_lost >= 16);
        assert_true(p.hs->stats.tcp_retrans_segs < 3000);
        /* From now on as if it had never been. */
        uint64_t again = p.hs->stats.tcp_retrans_segs, cut = p.hs->stats.tso_packets;
        pair_connect(&p, 0, 1 << 20);
        finish(&p, 10 * WIRE_SEC);
        assert_int_equal(p.hs->stats.tso_packets, cut);
        if (sum == OFFLOAD_FAILED)
            assert_int_equal(p.hs->stats.tcp_retrans_segs, again);
        print_message("lie %d: %lu lost, %lu sent again\n", lie, p.hs->stats.offload_lost, again);
        pair_down(&p);
    }
}

/* A card that sums wrongly cannot keep a client waiting that only sends: what answers it has no sum of the card's. */
static void test_lying_card_and_a_client_that_sends(void **state)
{
    (void)state;
    struct nic nic = full;
    struct pair p;
    nic.lie = NIC_LOSES_SUMMED;
    pair_up(&p, 11, NULL, &nic, NULL);
    pair_connect(&p, 4 << 20, 10);
    finish(&p, 10 * WIRE_SEC);
    assert_int_equal(p.hc->stats.tcp_retrans_segs, 0);
    pair_down(&p);
}

static void test_bad_line_is_not_the_cards_fault(void **state)
{
    (void)state;
    uint64_t lost = 0;
    for (uint64_t seed = 1; seed <= 12; seed++) {
        struct pair p;
        pair_up(&p, seed, &full, &full, NULL);
        p.hs->nic_hold = seed % 3 * 50;
        p.hc->nic_hold = seed % 2 * 20;
        p.hs->impair.loss_ppm = p.hc->impair.loss_ppm = (uint32_t)(seed % 5 * 50000);
        p.hs->impair.reorder_ppm = seed % 2 ? 20000 : 0;
        p.hs->impair.corrupt_ppm = seed % 3 ? 0 : 10000;
        pair_connect(&p, 1 << 20, 1 << 20);
        pair_connect(&p, 1 << 20, 1 << 20);
        finish(&p, 600 * WIRE_SEC);
        assert_int_not_equal(state_of(p.hs, STATS_OFFLOAD_TX_SUM), OFFLOAD_FAILED);
        assert_int_not_equal(state_of(p.hs, STATS_OFFLOAD_TSO), OFFLOAD_FAILED);
        assert_int_not_equal(state_of(p.hs, STATS_OFFLOAD_RX_SUM), OFFLOAD_FAILED);
        assert_true(p.hs->stats.tso_packets > 0);
        lost += p.hs->lost_frames;
        pair_down(&p);
    }
    assert_true(lost > 500);
}

static bool dead_line(void *ctx, struct wire_host *from, const uint8_t *p, uint32_t len)
{
    (void)from;
    (void)p;
    (void)len;
    return !*(bool *)ctx;
}

static void run_for(struct pair *p, uint64_t ns)
{
    wire_run(&p->w, p->w.now_ns + ns, NULL, NULL);
}

/* A line that dies now and then loses hundreds of segments each time: that is one bad round, not many. */
static void test_outages_are_not_the_cards_fault(void **state)
{
    (void)state;
    bool dead = false;
    struct pair p;
    pair_up(&p, 20, NULL, &full, NULL);
    p.w.filter = dead_line;
    p.w.filter_ctx = &dead;
    p.hs->impair.bytes_per_s = 20000000;
    for (int i = 0; i < 20; i++)
        pair_connect(&p, 0, 4 << 20);
    for (int i = 0; i < 10; i++) {
        run_for(&p, 100 * WIRE_MS);
        dead = true;
        run_for(&p, 300 * WIRE_MS);
        dead = false;
    }
    finish(&p, 600 * WIRE_SEC);
    assert_true(p.hs->stats.offload_lost > 10);
    assert_int_equal(state_of(p.hs, STATS_OFFLOAD_TSO), OFFLOAD_ON);
    pair_down(&p);
}

/* Connections that end in the middle, with chains in the card's hands: wire_fini counts the buffers. */
static void test_aborts_with_chains_in_the_card(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 8; seed++) {
        struct pair p;
        pair_up(&p, seed, NULL, &full, NULL);
        p.hs->nic_hold = 200;
        for (int i = 0; i < 10; i++)
            pair_connect(&p, 0, 1 << 20);
        run_for(&p, seed * 2 * WIRE_MS);
        for (unsigned i = 0; i < 10; i += 2) {
            tcp_abort(p.client->stream[i].tc);
            p.client->stream[i].tc = NULL;
            p.client->stream[i].rx_total = 0;
        }
        run_for(&p, seed * WIRE_MS);
        if (seed % 2) { /* and the others end by themselves */
            for (unsigned i = 1; i < 10; i += 2)
                p.client->stream[i].want_close = true;
            run_for(&p, 5 * WIRE_SEC);
        }
        assert_true(p.hs->stats.tso_packets > 0);
        pair_down(&p);
    }
}

static void tune_traced(struct net_config *c, bool server)
{
    c->trace = TCP_TRACE_YES;
}

static void tune_jumbo(struct net_config *c, bool server)
{
    c->mtu = 9000;
}

static void tune_vlan(struct net_config *c, bool server)
{
    c->vlan = 42;
}

static void tune_pressed(struct net_config *c, bool server)
{
    c->pool = wire_pool(511, 2048 + RTE_PKTMBUF_HEADROOM);
}

static void (*const tunes[])(struct net_config *c, bool server) = {tune_traced, tune_vlan,
                                                                   tune_pressed};

static void test_other_ways_to_send(void **state)
{
    (void)state;
    for (unsigned i = 0; i < ARRAY_LEN(tunes); i++) {
        struct pair p;
        pair_up(&p, 30 + i, NULL, &full, tunes[i]);
        p.hs->nic_hold = i * 10;
        for (unsigned k = 0; k < 1 + 9 * i; k++)
            pair_connect(&p, 1000, 500000);
        finish(&p, 60 * WIRE_SEC);
        assert_true(p.hs->stats.tso_packets > 0);
        pair_down(&p);
    }
}

static void tune_wide(struct net_config *c, bool server)
{
    tune_jumbo(c, server);
    c->pool = wire_pool(2047, 10240);
}

static void test_jumbo_frames(void **state)
{
    (void)state;
    for (int tso = 0; tso < 2; tso++) {
        struct nic nic = full;
        struct pair p;
        struct tcp_info ti;
        nic.tso = tso;
        pair_up(&p, 40, &full, &nic, tune_wide);
        struct stream *s = pair_connect(&p, 1 << 20, 2 << 20);
        assert_true(wire_run(&p.w, p.w.now_ns + WIRE_SEC, transferred, &p));
        tcp_info(s->tc, &ti);
        assert_int_equal(ti.mss, wire_v6() ? 8928 : 8948);
        finish(&p, 10 * WIRE_SEC);
        assert_int_equal(p.hs->stats.tcp_retrans_segs + p.hc->stats.tcp_retrans_segs, 0);
        assert_int_equal(p.hs->stats.tso_packets > 0, tso);
        pair_down(&p);
    }
}

/* What virtio does between two processes: nobody sums, nobody cuts; packets of 64 KiB come in many buffers. */
static void test_virtual_port_hands_whole_packets_over(void **state)
{
    (void)state;
    static const uint32_t pieces[] = {0, 2048, 1000, 200};
    for (unsigned i = 0; i < ARRAY_LEN(pieces); i++) {
        struct nic nic = full;
        struct pair p;
        nic.whole = nic.rx_none = true;
        nic.ip_sum = false;
        pair_up(&p, 50 + i, &nic, &nic, NULL);
        p.hc->rx_piece = p.hs->rx_piece = pieces[i];
        if (pieces[i] == 200) /* the wire has 1024 buffers to receive with */
            p.hs->net->off.max_segs = 2;
        pair_connect(&p, 50000, 1 << 20);
        finish(&p, 10 * WIRE_SEC);
        assert_int_equal(p.hs->stats.tcp_retrans_segs + p.hc->stats.tcp_retrans_segs, 0);
        assert_true(p.hs->stats.tso_packets > 0);
        assert_int_equal(p.hc->stats.rx_joined > 0, pieces[i] > 0);
        assert_int_equal(p.hc->stats.drop_multi_seg, 0);
        assert_int_not_equal(state_of(p.hc, STATS_OFFLOAD_RX_SUM), OFFLOAD_FAILED);
        /* A packet of many segments says nothing of their size. */
        assert_true(p.client->stream[0].host->net->conns[0].rcv_mss <= 1500);
        pair_down(&p);
    }
}

static void test_rx_sum_is_looked_at(void **state)
{
    (void)state;
    struct nic nic = {.rx_sum = true};
    struct pair p;
    pair_up(&p, 60, NULL, &nic, NULL);
    pair_connect(&p, 8 << 20, 10);
    finish(&p, 10 * WIRE_SEC);
    assert_int_equal(state_of(p.hs, STATS_OFFLOAD_RX_SUM), OFFLOAD_ON);
    assert_int_equal(p.hs->stats.offload_wrong, 0);
    pair_down(&p);

    nic.lie = NIC_ALL_BAD; /* of good frames: none is lost by it */
    pair_up(&p, 61, NULL, &nic, NULL);
    pair_connect(&p, 1 << 20, 10);
    finish(&p, 10 * WIRE_SEC);
    assert_int_equal(state_of(p.hs, STATS_OFFLOAD_RX_SUM), OFFLOAD_FAILED);
    assert_int_equal(p.hs->stats.offload_wrong, 1);
    assert_int_equal(p.hs->stats.drop_tcp_checksum, 0);
    assert_int_equal(p.hc->stats.tcp_retrans_segs, 0);
    pair_down(&p);

    nic.lie = NIC_ALL_GOOD; /* of corrupted ones: found in the trial, before an octet is taken */
    pair_up(&p, 62, NULL, &nic, NULL);
    p.hc->impair.corrupt_ppm = 100000;
    pair_connect(&p, 1 << 20, 10);
    finish(&p, 100 * WIRE_SEC);
    assert_int_equal(state_of(p.hs, STATS_OFFLOAD_RX_SUM), OFFLOAD_FAILED);
    assert_int_equal(p.hs->stats.offload_wrong, 1);
    assert_true(p.hs->stats.drop_tcp_checksum > 1);
    pair_down(&p);
}

/* Long after the trial one of 4096 frames is still looked at. */
static void test_rx_sum_is_looked_at_for_ever(void **state)
{
    (void)state;
    struct nic nic = {.rx_sum = true};
    struct pair p;
    pair_up(&p, 63, NULL, &nic, NULL);
    pair_connect(&p, 1 << 20, 10);
    assert_true(wire_run(&p.w, p.w.now_ns + WIRE_SEC, transferred, &p));
    assert_int_equal(state_of(p.hs, STATS_OFFLOAD_RX_SUM), OFFLOAD_ON);
    assert_true(p.hs->net->off.rx_trust > 1000);
    p.hs->net->off.rx_trust = 0;
    uint8_t bad[128] = {0};
    uint64_t pseudo = 12345;
    assert_false(offload_rx_sum(p.hs->net, RTE_MBUF_F_RX_L4_CKSUM_GOOD, bad, 100, pseudo));
    assert_int_equal(state_of(p.hs, STATS_OFFLOAD_RX_SUM), OFFLOAD_FAILED);
    assert_false(p.hs->net->wire.rx_checksum);
    p.client->stream[0].tx_total += 1 << 20;
    p.server->stream[0].rx_total += 1 << 20;
    finish(&p, 10 * WIRE_SEC);
    pair_down(&p);
}

static void test_vlan_tags_are_taken_out(void **state)
{
    (void)state;
    static const enum nic_lie lies[] = {NIC_HONEST, NIC_TAG_STAYS, NIC_NO_STRIP};
    for (unsigned i = 0; i < ARRAY_LEN(lies); i++) {
        struct nic nic = {.strip = true, .lie = lies[i]};
        struct pair p;
        pair_up(&p, 70, NULL, &nic, tune_vlan);
        pair_connect(&p, 1 << 20, 1 << 20);
        finish(&p, 10 * WIRE_SEC);
        assert_int_equal(p.hs->stats.drop_ethertype, 0);
        assert_int_equal(p.hc->stats.tcp_retrans_segs + p.hs->stats.tcp_retrans_segs, 0);
        assert_int_equal(p.hs->stats.offload_wrong, i ? 1 : 0);
        assert_int_equal(state_of(p.hs, STATS_OFFLOAD_VLAN_STRIP), i ? OFFLOAD_FAILED : OFFLOAD_ON);
        assert_int_equal(p.hs->net->rx_l2_len, i ? 18 : 14);
        pair_down(&p);
    }
    /* Another VLAN's frame, its tag taken out, is nobody's. */
    struct nic nic = {.strip = true};
    struct pair p;
    pair_up(&p, 71, NULL, &nic, tune_vlan);
    uint8_t f[64] = {2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1, 0x81, 0, 0, 43, 8, 6};
    wire_inject(&p.w, p.hs->id, f, sizeof(f), 0);
    wire_turn(&p.w);
    assert_int_equal(p.hs->stats.drop_ethertype, 1);
    pair_down(&p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_honest_card_sums_and_cuts),
        cmocka_unit_test(test_card_without_cutting),
        cmocka_unit_test(test_lies_about_sending_are_found_out),
        cmocka_unit_test(test_lying_card_and_a_client_that_sends),
        cmocka_unit_test(test_bad_line_is_not_the_cards_fault),
        cmocka_unit_test(test_outages_are_not_the_cards_fault),
        cmocka_unit_test(test_aborts_with_chains_in_the_card),
        cmocka_unit_test(test_other_ways_to_send),
        cmocka_unit_test(test_jumbo_frames),
        cmocka_unit_test(test_virtual_port_hands_whole_packets_over),
        cmocka_unit_test(test_rx_sum_is_looked_at),
        cmocka_unit_test(test_rx_sum_is_looked_at_for_ever),
        cmocka_unit_test(test_vlan_tags_are_taken_out),
    };
    if (wire_eal_init())
        return 1;
    return cmocka_run_group_tests(tests, NULL, NULL);
}
