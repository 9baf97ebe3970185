/* offload: see offload.h. */
#include "dataplane/net/offload.h"

#include "dataplane/net/checksum.h"
#include "dataplane/net/tcp_internal.h"

#define ROUND_BAD \
    4 /* outcomes that end a round, and half of all: of a pair that is cut wrongly the first arrives */
#define ROUND_GOOD   16 /* or more than half */
#define ROUNDS       4  /* in a row of one kind that settle it */
#define NOTE_EVERY   64 /* segments with a sum of the port's, once it is trusted */
#define RX_TRIAL     64
#define RX_EVERY     4096
#define TSO_MAX_SEGS 44 /* 64 KiB of Ethernet's usual segments */

/* What is published, and the tests in the way of each segment. */
static void settle(struct net *net)
{
    const struct offload *o = &net->off;
    uint8_t most[OFFLOAD_TX] = {0};
    bool any[OFFLOAD_TX] = {false};
    for (unsigned k = 0; k < OFFLOAD_TX; k++) {
        for (unsigned v6 = 0; v6 < 2; v6++) {
            uint8_t state = o->tx[k][v6].state;
            most[k] = state > most[k] ? state : most[k];
            any[k] |= offload_on(net, k, v6);
        }
    }
    net->tx_offload = any[OFFLOAD_SUM] || any[OFFLOAD_CUT];
    net->tso = any[OFFLOAD_CUT];
    STAT_SET(net->stats->offload[STATS_OFFLOAD_TX_SUM], most[OFFLOAD_SUM]);
    STAT_SET(net->stats->offload[STATS_OFFLOAD_TSO], most[OFFLOAD_CUT]);
    STAT_SET(net->stats->offload[STATS_OFFLOAD_RX_SUM], o->rx_sum);
    STAT_SET(net->stats->offload[STATS_OFFLOAD_VLAN_STRIP], o->rx_vlan);
}

void offload_init(struct net *net)
{
    struct offload *o = &net->off;
    struct net_wire *w = &net->wire;
    w->tx_tso &= w->tx_tcp_checksum && w->tx_multi_seg; /* a cut segment is summed there too */
    bool v6 = ip6_on(net);
    for (unsigned f = 0; f < 2; f++) {
        bool spoken = f ? v6 : net->cfg.ip != 0;
        o->tx[OFFLOAD_SUM][f].state = spoken && w->tx_tcp_checksum ? OFFLOAD_TRIAL : OFFLOAD_NONE;
        o->tx[OFFLOAD_CUT][f].state = spoken && w->tx_tso ? OFFLOAD_TRIAL : OFFLOAD_NONE;
    }
    o->max_segs = w->tx_max_segs && w->tx_max_segs < TSO_MAX_SEGS ? w->tx_max_segs : TSO_MAX_SEGS;
    o->rx_sum = w->rx_checksum ? OFFLOAD_TRIAL : OFFLOAD_NONE;
    w->rx_vlan_strip &= net->cfg.vlan != 0;
    o->rx_vlan = w->rx_vlan_strip ? OFFLOAD_TRIAL : OFFLOAD_NONE;
    net->rx_l2_len = w->rx_vlan_strip ? sizeof(struct eth_hdr) : net->l2_len;
    settle(net);
}

bool offload_on(const struct net *net, unsigned kind, bool v6)
{
    uint8_t state = net->off.tx[kind][v6].state;
    return state == OFFLOAD_TRIAL || state == OFFLOAD_ON;
}

/* ---- what is sent ---- */

void offload_sum(const struct net *net, struct rte_mbuf *m, uint8_t *l3, uint32_t l3_len,
                 uint32_t l4_len, uint32_t text_len)
{
    struct tcp_hdr *th = (struct tcp_hdr *)(void *)(l3 + l3_len);
    bool v6 = l3_len == sizeof(struct ip6_hdr);
    /* The IPv4 header's own sum costs three additions: it is ours, but where the port cuts. */
    m->ol_flags = RTE_MBUF_F_TX_TCP_CKSUM | (v6 ? RTE_MBUF_F_TX_IPV6 : RTE_MBUF_F_TX_IPV4);
    th->csum = csum_fold(v6 ? ip6_pseudo_sum((const void *)l3, l4_len, IP_PROTO_TCP)
                            : ip4_pseudo_sum((const void *)l3, (uint16_t)l4_len));
    m->tx_offload = 0;
    m->l2_len = net->l2_len & 0x7f;
    m->l3_len = l3_len & 0x1ff;
    m->l4_len = (l4_len - text_len) & 0xff;
}

void offload_note(struct net *net, struct tx_seg *s, bool v6)
{
    struct offload *o = &net->off;
    struct offload_class *c = &o->tx[s->flags & TXS_TSO ? OFFLOAD_CUT : OFFLOAD_SUM][v6];
    if (c->state == OFFLOAD_ON && !(s->flags & TXS_TSO) && ++o->note_next % NOTE_EVERY)
        return;
    s->flags |= TXS_NOTED;
    s->round = c->round;
}

static void round_over(struct net *net, struct offload_class *c, bool good)
{
    c->round++;
    c->good = c->bad = 0;
    c->bad_rounds = good ? 0 : c->bad_rounds + 1;
    if (good && c->good_rounds < ROUNDS && ++c->good_rounds == ROUNDS)
        c->state = OFFLOAD_ON;
    if (c->bad_rounds == ROUNDS) {
        c->state = OFFLOAD_FAILED;
        unsigned v6 = (unsigned)(c - net->off.tx[OFFLOAD_SUM]);
        if (v6 < 2 && net->off.tx[OFFLOAD_CUT][v6].state != OFFLOAD_NONE) /* it sums those too */
            net->off.tx[OFFLOAD_CUT][v6].state = OFFLOAD_FAILED;
    }
    settle(net);
}

/* The ACK answers what was sent before the first retransmission (RFC 3522, by timestamps). */
static bool first_copy_came(const struct tcp_conn *tc, const struct tcp_seg *ack)
{
    const struct tcp_loss *l = tc->cold->loss;
    return ack && ack->has_ts && ack->tsecr && l->retrans_ts_set &&
           seq_lt(ack->tsecr, l->retrans_ts);
}

void offload_outcome(struct tcp_conn *tc, struct tx_seg *s, const struct tcp_seg *ack)
{
    struct net *net = tc->net;
    struct offload_class *c =
        &net->off.tx[s->flags & TXS_TSO ? OFFLOAD_CUT : OFFLOAD_SUM][tcp_is6(tc)];
    bool bad = (s->flags & TXS_RETX) && !first_copy_came(tc, ack);
    s->flags &= (uint8_t)~TXS_NOTED;
    if (bad)
        STAT_INC(net->stats->offload_lost);
    if (s->round != c->round || c->state == OFFLOAD_FAILED)
        return;
    c->bad += bad;
    c->good += !bad;
    if (c->bad >= ROUND_BAD && c->bad >= c->good)
        round_over(net, c, false);
    else if (c->good >= ROUND_GOOD && c->good > c->bad)
        round_over(net, c, true);
}

/* ---- what is received ---- */

static void rx_distrust(struct net *net)
{
    STAT_INC(net->stats->offload_wrong);
    net->wire.rx_checksum = false;
    net->off.rx_sum = OFFLOAD_FAILED;
    settle(net);
}

/* Looked at and as the port said. */
static void rx_confirmed(struct net *net)
{
    struct offload *o = &net->off;
    if (o->rx_sum == OFFLOAD_TRIAL && ++o->rx_seen == RX_TRIAL) {
        o->rx_sum = OFFLOAD_ON;
        settle(net);
    }
    if (o->rx_sum == OFFLOAD_ON)
        o->rx_trust = RX_EVERY - 1;
}

/* A sum that nobody has made: the sender left the pseudo header's in the field (virtio), with or without its length. */
static bool left_undone(const uint8_t *p, uint32_t len, uint64_t pseudo)
{
    uint16_t field, full = csum_fold(pseudo);
    uint16_t bare = csum_fold(pseudo + (uint16_t)~be16((uint16_t)len).raw);
    memcpy(&field, p + offsetof(struct tcp_hdr, csum), sizeof(field));
    return field == full || field == bare || (!field && (full == 0xffff || bare == 0xffff));
}

bool offload_rx_sum(struct net *net, uint64_t ol_flags, const uint8_t *p, uint32_t len,
                    uint64_t pseudo)
{
    uint64_t said = ol_flags & RTE_MBUF_F_RX_L4_CKSUM_MASK;
    bool fine = said == RTE_MBUF_F_RX_L4_CKSUM_GOOD || said == RTE_MBUF_F_RX_L4_CKSUM_NONE;
    if (fine && net->off.rx_trust) {
        net->off.rx_trust--;
        return true;
    }
    bool whole = csum_fold(csum_add(p, len, pseudo)) == 0xffff;
    if (said == RTE_MBUF_F_RX_L4_CKSUM_UNKNOWN)
        return whole;
    if (said == RTE_MBUF_F_RX_L4_CKSUM_NONE)
        whole = whole || left_undone(p, len, pseudo);
    if (whole != fine)
        rx_distrust(net);
    else if (fine)
        rx_confirmed(net);
    return whole;
}

__attribute__((noinline)) int offload_rx_told(struct net *net, uint64_t ol_flags)
{
    uint64_t said = ol_flags & RTE_MBUF_F_RX_L4_CKSUM_MASK;
    if (said == RTE_MBUF_F_RX_L4_CKSUM_UNKNOWN)
        return -1;
    if (said == RTE_MBUF_F_RX_L4_CKSUM_BAD || !net->off.rx_trust)
        return 0;
    net->off.rx_trust--;
    return 1;
}

void offload_vlan_seen(struct net *net, bool lie)
{
    struct offload *o = &net->off;
    if (o->rx_vlan != OFFLOAD_TRIAL && o->rx_vlan != OFFLOAD_ON)
        return;
    if (lie) { /* what still comes without its tag is taken all the same, on the long way */
        STAT_INC(net->stats->offload_wrong);
        o->rx_vlan = OFFLOAD_FAILED;
        net->wire.rx_vlan_strip = false;
        net->rx_l2_len = net->l2_len;
        settle(net);
    } else if (o->rx_vlan == OFFLOAD_TRIAL && ++o->vlan_seen == RX_TRIAL) {
        o->rx_vlan = OFFLOAD_ON;
        settle(net);
    }
}
