/* rx_join: a received frame that lies in several buffers, or is a packet that the far side left to be cut (a virtual port hands it over as it
 * is), becomes one piece: a copy in a buffer of ours, or on the heap up to the 64 KiB that IP can say. All that follows reads one range of
 * bytes. Cold: no port of ours is asked for such frames; a virtual one sends them. And frames whose connection another worker may have leave
 * here and come in again there (struct net_stray). Thread: the worker's. */
#include <stdlib.h>

#include "dataplane/net/net_internal.h"

/* What the port said of the frame, and we listen to. */
#define KEPT_FLAGS (RTE_MBUF_F_RX_L4_CKSUM_MASK | RTE_MBUF_F_RX_VLAN | RTE_MBUF_F_RX_VLAN_STRIPPED)

struct heap_frame {
    struct rte_mbuf_ext_shared_info info;
    uint8_t bytes[];
};

static void heap_frame_free(void *addr, void *opaque)
{
    (void)addr;
    free(opaque);
}

/* Are the lengths of the chain those that its head tells? */
static bool chain_ok(const struct rte_mbuf *m)
{
    uint64_t sum = m->data_len;
    uint32_t n = 1;
    for (const struct rte_mbuf *s = m->next; s; s = s->next, n++)
        sum += s->data_len;
    return n == m->nb_segs && sum == m->pkt_len && sum <= UINT16_MAX;
}

/* Room for len bytes in `to`. */
static bool make_room(struct rte_mbuf *to, uint32_t len)
{
    rte_pktmbuf_reset(to);
    if (len <= rte_pktmbuf_tailroom(to))
        return true;
    struct heap_frame *h = malloc(sizeof(*h) + len);
    if (!h)
        return false;
    h->info.free_cb = heap_frame_free;
    h->info.fcb_opaque = h;
    rte_mbuf_ext_refcnt_set(&h->info, 1);
    rte_pktmbuf_attach_extbuf(to, h->bytes, 0, (uint16_t)len, &h->info);
    return true;
}

void net_set_stray_taker(struct net *net, net_stray_fn fn, void *ctx)
{
    net->stray_fn = fn;
    net->stray_ctx = ctx;
}

bool net_stray_allow(struct net *net, struct ip_addr from)
{
    return rate_allow(net, RATE_STRAY, from);
}

bool net_stray(struct net *net, uint64_t flow, struct ip_addr from)
{
    const struct rte_mbuf *m = net->general;
    if (likely_(!net->stray_fn))
        return false;
    struct net_stray s = {.frame = rte_pktmbuf_mtod(m, const void *),
                          .len = m->data_len,
                          .vlan_tci = m->vlan_tci,
                          .ol_flags = m->ol_flags & KEPT_FLAGS,
                          .flow = flow,
                          .from = from};
    return net->stray_fn(net->stray_ctx, &s);
}

bool net_stray_input(struct net *net, const struct net_stray *s, uint64_t now_ns)
{
    struct rte_mbuf *m = net_alloc_data(net);
    if (m && !make_room(m, s->len)) {
        rte_pktmbuf_free(m);
        m = NULL;
    }
    if (!m)
        return false;
    memcpy(rte_pktmbuf_mtod(m, void *), s->frame, s->len);
    m->data_len = (uint16_t)s->len;
    m->pkt_len = s->len;
    m->vlan_tci = s->vlan_tci;
    m->ol_flags |= s->ol_flags;
    net_input(net, &m, 1, now_ns);
    return true;
}

struct rte_mbuf *net_join(struct net *net, const struct rte_mbuf *m)
{
    struct rte_mbuf *to = NULL;
    if (chain_ok(m) && net->held_count < NET_HELD_SLOTS)
        to = net_alloc_data(net);
    if (to && !make_room(to, m->pkt_len)) {
        rte_pktmbuf_free(to);
        to = NULL;
    }
    if (!to) {
        STAT_INC(net->stats->drop_multi_seg);
        return NULL;
    }
    uint8_t *at = rte_pktmbuf_mtod(to, uint8_t *);
    for (const struct rte_mbuf *s = m; s; s = s->next) {
        memcpy(at, rte_pktmbuf_mtod(s, const uint8_t *), s->data_len);
        at += s->data_len;
    }
    to->data_len = (uint16_t)m->pkt_len;
    to->pkt_len = m->pkt_len;
    to->vlan_tci = m->vlan_tci;
    to->ol_flags |= m->ol_flags & KEPT_FLAGS;
    net->held[net->held_count++] = to;
    STAT_INC(net->stats->rx_joined);
    return to;
}
