/* net: one worker's stack from frame in to frame out; what net_input keeps of a burst, the one
 * transmit pass of net_output, and the array of frames between the stack and the wire.
 *
 *   net_input: net_burst (tcp_fast.c); what that declines: net_frame_general: classify and validate ->
 *              find the record -> tcp_input
 *   net_output: tcp_output for each connection with something to say -> wire
 * Thread: the worker's. */
#include <errno.h>
#include <stdlib.h>
#include <sys/mman.h>

#include <rte_mempool.h>
#include <rte_prefetch.h>

#include "dataplane/net/checksum.h"
#include "dataplane/net/tcp_internal.h"
#include "engine/shard/config.h"

struct rte_mempool_cache net_no_cache;

void *net_map(size_t bytes)
{
    void *p = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    return p == MAP_FAILED ? NULL : p;
}

void net_unmap(void *p, size_t bytes)
{
    if (p)
        munmap(p, bytes);
}

void net_config_defaults(struct net_config *c)
{
    *c = (struct net_config){
        .netmask = 0xffffff00,
        .mtu = 1500,
        .max_conns = 16384,
        .backlog = 511,
        .rcv_buf_bytes = 256 * 1024,
        .snd_buf_bytes = 512 * 1024,
        .ooo_bytes = 256 * 1024,
        .ooo_segs = 256,
        .rto_min_ms =
            20, /* docs/tcp.md: what probes and undo make of a peer that delays its ACKs */
        .rto_max_ms = 60000,
        .delayed_ack_ms = 10, /* well under any peer's rto_min */
        .time_wait_ms = 60000,
        .keepalive_s = 300,
        .keepalive_interval_s = 100,
        .keepalive_probes = 3,
        .stall_timeout_s = 300,
        .user_timeout_s = LIMIT_TCP_USER_TIMEOUT_S,
        .initial_window_segs = 10, /* RFC 6928 */
        .dad_probes = 1,           /* RFC 4862 5.1 */
        .trace = TCP_TRACE_ERRORS,
        .trace_events = 16384,
        .socket = -1,
    };
}

static int config_check(const struct net_config *c)
{
    if (!c->pool || !c->max_conns || c->max_conns > 1u << 26 || c->mtu < 576 ||
        c->mtu > LIMIT_FRAME_BYTES - 18 || !mac_is_unicast(c->mac) || c->vlan > 4094)
        return -EINVAL;
    if (!c->rcv_buf_bytes || !c->snd_buf_bytes || c->rcv_buf_bytes > 1u << 30 ||
        c->snd_buf_bytes > 1u << 30 || !c->rto_min_ms || c->rto_max_ms < c->rto_min_ms ||
        !c->initial_window_segs || !tcp_cc_get(c->congestion))
        return -EINVAL;
    if (c->ip6_count > LIMIT_NET_ADDRESSES6 || (c->ip6_count && c->mtu < 1280)) /* RFC 8200 5 */
        return -EINVAL;
    for (uint32_t i = 0; i < c->ip6_count; i++)
        if (ip_is_v4(c->ip6[i].addr) || !ip_is_host(c->ip6[i].addr) || c->ip6[i].bits > 128)
            return -EINVAL;
    if (rte_pktmbuf_data_room_size(c->pool) < TX_PAYLOAD_OFF + 256)
        return -EINVAL;
    if (c->reserve && rte_pktmbuf_data_room_size(c->reserve) < TX_PAYLOAD_OFF + 64)
        return -EINVAL;
    return 0;
}

/* Keys for every use out of the one secret, which is forgotten. False: no memory. */
static bool keys_init(struct net *net, struct siphash_key *ret_flow)
{
    const struct siphash_key secret = {net->cfg.secret[0], net->cfg.secret[1]};
    net->ephemeral_port = (uint16_t)siphash24(&secret, "port", 4);
    net->keys = net_map(sizeof(*net->keys));
    if (!net->keys)
        return false;
    madvise(net->keys, sizeof(*net->keys), MADV_DONTDUMP); /* an old kernel: it would be dumped */
    struct siphash_key *const key[] = {&net->keys->isn, &net->keys->cookie, &net->keys->rate,
                                       &net->keys->neigh, ret_flow};
    for (uint64_t i = 0; i < ARRAY_LEN(key); i++) {
        uint64_t of[2] = {2 * i, 2 * i + 1};
        key[i]->k0 = siphash24(&secret, &of[0], sizeof(of[0]));
        key[i]->k1 = siphash24(&secret, &of[1], sizeof(of[1]));
    }
    explicit_bzero(net->cfg.secret, sizeof(net->cfg.secret));
    return true;
}

int net_create(struct net **ret, const struct net_config *cfg, const struct net_wire *wire,
               const struct tcp_app *app, struct stats_worker *stats, uint64_t now_ns)
{
    int rc = config_check(cfg);
    if (rc)
        return rc;
    struct net *net = net_map(sizeof(*net));
    if (!net)
        return -ENOMEM;
    uint32_t n = cfg->max_conns;
    net->cfg = *cfg;
    if (net->cfg.snd_buf_bytes < cfg->mtu) /* room for a segment, always */
        net->cfg.snd_buf_bytes = cfg->mtu;
    net->pool_mbufs = cfg->pool->size;
    net->cache = &net_no_cache;
    net->wire = *wire;
    net->app = *app;
    net_set_now(net, now_ns);
    memcpy((uint8_t *)&net->mac_wide + 2, cfg->mac, 6);
    uint32_t half = cfg->rcv_buf_bytes / 2, mss = cfg->mtu - 40u;
    net->window_step = half < mss ? half : mss;
    uint32_t rounding = (1u << tcp_opt_wscale(cfg->rcv_buf_bytes)) - 1;
    net->window_rest = net->window_step > rounding ? net->window_step - rounding : 0;
    net->l2_len = eth_len(net);
    net->delack_ns = cfg->delayed_ack_ms * NSEC_PER_MS;
    net->rto_min_ns = cfg->rto_min_ms * NSEC_PER_MS;
    net->rto_min_u = (uint32_t)(net->rto_min_ns >> 10);
    net->rto_max_ns = cfg->rto_max_ms * NSEC_PER_MS;
    net->broadcast = cfg->ip | ~cfg->netmask;
    net->admission_mark = cfg->pool->size / 16;
    net->pressure_on = net->pool_mbufs / 4 * 3;
    net->pressure_off = net->pool_mbufs / 8 * 5;
    net->rcv_buf = cfg->rcv_buf_bytes;
    net->walk_ns = UINT64_MAX;
    list_init(&net->ooo_conns);
    net->neigh_next_ns = UINT64_MAX;
    ip6_init(net);
    list_init(&net->time_wait);
    wheel_init(&net->wheel, now_ns);
    net->stats = stats;
    if (!stats)
        net->stats = net->own_stats = calloc(1, sizeof(*stats));
    if (net->stats)
        offload_init(net);
    net->conns_bytes = sizeof(struct tcp_conn) * (size_t)n;
    net->cold_bytes = sizeof(struct tcp_cold) * (size_t)n;
    net->conns = net_map(net->conns_bytes);
    net->cold = net_map(net->cold_bytes);
    if (net->conns &&
        net->cold) { /* touched at random: fewer misses of the TLB; low records first */
        madvise(net->conns, net->conns_bytes, MADV_HUGEPAGE);
        madvise(net->cold, net->cold_bytes, MADV_HUGEPAGE);
    }
    net->loss_bytes = sizeof(struct tcp_loss) * (size_t)n;
    net->loss = net_map(net->loss_bytes);
    if (net->loss) /* few pages of it are ever written */
        madvise(net->loss, net->loss_bytes, MADV_NOHUGEPAGE);
    net->dirty = net_map(sizeof(net->dirty[0]) * (size_t)n);
    /* Two index arrays: free stack, reap list. */
    net->free_conns = net_map(2 * sizeof(uint32_t) * (size_t)n);
    struct siphash_key key;
    if (!keys_init(net, &key) || !tcp_trace_init(&net->trace, cfg->trace, cfg->trace_events) ||
        !net->stats || !net->conns || !net->cold || !net->loss || !net->free_conns || !net->dirty ||
        flow_init(&net->flow, n, net->conns, sizeof(struct tcp_conn), &key) != 0) {
        net_destroy(net);
        return -ENOMEM;
    }
    net->flow.peers6 = (const uint8_t *)&net->cold[0].peer6;
    net->flow.stride6 = sizeof(struct tcp_cold);
    net->reap = net->free_conns + n;
    net->free_count = n; /* the stack below is read from the top: low indexes first */
    for (uint32_t i = 0; i < n; i++)
        net->free_conns[i] = n - 1 - i;
    *ret = net;
    return 0;
}

void net_destroy(struct net *net)
{
    if (!net)
        return;
    net->cache = &net_no_cache; /* it was perhaps another thread's */
    if (net->conns && net->cold && net->free_conns && net->flow.bucket)
        tcp_conns_free(net);
    neigh_free_all(net);
    for (uint32_t i = 0; i < net->tx_count; i++)
        rte_pktmbuf_free(net->tx[i]);
    for (uint32_t i = 0; i < net->held_count; i++)
        rte_pktmbuf_free(net->held[i]);
    tcp_ooo_done_free(net);
    flow_fini(&net->flow);
    tcp_trace_fini(&net->trace);
    net_unmap(net->keys, sizeof(*net->keys));
    net_unmap(net->free_conns, 2 * sizeof(uint32_t) * (size_t)net->cfg.max_conns);
    net_unmap(net->dirty, sizeof(net->dirty[0]) * (size_t)net->cfg.max_conns);
    net_unmap(net->cold, net->cold_bytes);
    net_unmap(net->loss, net->loss_bytes);
    net_unmap(net->conns, net->conns_bytes);
    free(net->own_stats);
    net_unmap(net, sizeof(*net));
}

/* ---- frames ---- */

struct rte_mbuf *net_alloc_uncached(struct net *net)
{
    struct rte_mbuf *m = rte_mbuf_raw_alloc(net->cfg.pool);
    if (unlikely_(!m))
        STAT_INC(net->stats->pool_exhausted);
    return m;
}

struct rte_mbuf *net_alloc_control(struct net *net)
{
    struct rte_mbuf *m = net_alloc_data(net);
    if (unlikely_(!m) && net->cfg.reserve)
        m = rte_mbuf_raw_alloc(net->cfg.reserve);
    if (likely_(m)) {
        m->data_off = RTE_PKTMBUF_HEADROOM;
        m->data_len = 0;
        m->pkt_len = 0;
        m->ol_flags = 0;
    }
    return m;
}

bool net_admits(const struct net *net)
{
    /* rte_mempool_avail_count less the caches of lcores that are not ours, a line each */
    const struct rte_mempool *pool = net->cfg.pool;
    const struct rte_mempool_cache *cache = net->cache;
    return rte_mempool_get_ops(pool->ops_index)->get_count(pool) + (cache ? cache->len : 0) >
           net->admission_mark;
}

void net_send_or_drop(struct net *net, struct rte_mbuf *m)
{
    if (net_send(net, m))
        return;
    STAT_INC(net->stats->drop_tx_full);
    rte_pktmbuf_free(m);
}

/* More than a burst, or the wire is busy. */
static __attribute__((noinline)) unsigned flush_any(struct net *net)
{
    struct stats_worker *st = net->stats;
    struct rte_mbuf **tx = net->tx;
    uint32_t sent = 0, count = net->tx_count;
    uint64_t bytes = 0;
    while (sent < count) {
        uint16_t n = (uint16_t)RTE_MIN(count - sent, (uint32_t)LIMIT_BURST_PKTS);
        for (uint16_t i = 0; i < n; i++) /* the wire owns what it takes: count before */
            bytes += tx[sent + i]->pkt_len;
        uint16_t took = net->wire.tx(net->wire.ctx, tx + sent, n);
        sent += took;
        if (unlikely_(took < n)) {
            for (uint16_t i = 0; i < n - took; i++)
                bytes -= tx[sent + i]->pkt_len;
            break;
        }
    }
    STAT_ADD(st->tx_pkts, sent);
    STAT_ADD(st->tx_bytes, bytes);
    if (unlikely_(net->tx_refused))
        STAT_ADD(st->tx_retried, RTE_MIN(sent, net->tx_refused));
    net->tx_count = net->tx_refused = count - sent;
    if (unlikely_(net->tx_count))
        memmove(tx, tx + sent, net->tx_count * sizeof(tx[0]));
    return sent;
}

unsigned net_flush(struct net *net)
{
    struct stats_worker *st = net->stats;
    struct rte_mbuf **tx = net->tx;
    uint32_t n = net->tx_count;
    uint64_t bytes = 0;
    if (unlikely_(n > LIMIT_BURST_PKTS || net->tx_refused))
        return flush_any(net);
    for (uint32_t i = 0; i < n; i++) /* the wire owns what it takes: count before */
        bytes += tx[i]->pkt_len;
    uint16_t took = net->wire.tx(net->wire.ctx, tx, (uint16_t)n);
    for (uint32_t i = took; unlikely_(i < n); i++)
        bytes -= tx[i]->pkt_len;
    STAT_ADD(st->tx_pkts, took);
    STAT_ADD(st->tx_bytes, bytes);
    net->tx_count = net->tx_refused = n - took;
    if (unlikely_(took < n))
        memmove(tx, tx + took, (n - took) * sizeof(tx[0]));
    return took;
}

unsigned net_output(struct net *net, uint64_t now_ns)
{
    net_set_now(net, now_ns);
    if (unlikely_(net->q_segs > net->pressure_on || net->walk_ns <= now_ns))
        tcp_pressure_pass(net);
    unsigned sent = net->tx_refused ? net_flush(net) : 0;
    sent += tcp_output_dirty(net);
    if (net->tx_count > net->tx_refused)
        sent += net_flush(net);
    if (net->reap_count)
        tcp_reap(net);
    return sent;
}

bool net_output_pending(const struct net *net)
{
    return net->tx_count || net->dirty_count || unlikely_(net->walk_ns <= net->now_ns);
}

/* ---- input ---- */

static bool net_classify6(struct net *net, struct rte_mbuf *m, const uint8_t *l3, uint32_t len,
                          const struct eth_hdr *eh, struct tcp_seg *seg)
{
    uint8_t proto;
    uint32_t l4_len;
    const uint8_t *l4 = ip6_check(net, l3, len, eh, &l4_len, &proto);
    if (unlikely_(!l4))
        return false;
    if (unlikely_(proto == IP_PROTO_ICMP6)) {
        icmp6_input(net, (const void *)l3, l4, l4_len, eh);
        return false;
    }
    return tcp_seg_check(net, m, l3, l4, l4_len, seg);
}

/* Classifies and validates one frame; ARP and ICMP are done with at once, TCP fills a segment. */
static bool net_classify(struct net *net, struct rte_mbuf *m, struct tcp_seg *seg)
{
    uint16_t type;
    uint32_t len, l4_len;
    const uint8_t *l3 = eth_classify(net, m, &type, &len);
    if (unlikely_(!l3))
        return false;
    const struct eth_hdr *eh = rte_pktmbuf_mtod(m, const struct eth_hdr *);
    if (unlikely_(type == ETH_TYPE_ARP)) {
        arp_input(net, l3, len, eh->src);
        return false;
    }
    seg->mac = eh->src;
    if (unlikely_(type == ETH_TYPE_IP6))
        return net_classify6(net, m, l3, len, eh, seg);
    const uint8_t *l4 = ip4_check(net, m, l3, len, &l4_len);
    if (unlikely_(!l4))
        return false;
    const struct ip4_hdr *ip = (const void *)l3;
    if (unlikely_(ip->proto == IP_PROTO_ICMP)) {
        icmp_input(net, ip, l4, l4_len, eh->src);
        return false;
    }
    return tcp_seg_check(net, m, l3, l4, l4_len, seg);
}

void net_frame_general(struct net *net, struct rte_mbuf *m)
{
    struct tcp_seg seg;
    if (unlikely_(m->nb_segs != 1) && !(m = net_join(net, m)))
        return;
    net->general = m;
    if (!net_classify(net, m, &seg))
        return;
    STAT_INC(net->stats->tcp_in_segs);
    seg.hash = flow_hash(&net->flow, &seg.key);
    uint32_t index = seg.v6 ? flow_find6(&net->flow, &seg.key, seg.hash, seg.peer6)
                            : flow_find(&net->flow, &seg.key, seg.hash);
    seg.tc = index != FLOW_NONE ? &net->conns[index] : NULL;
    seg.reuses = false;
    tcp_input(net, &seg);
}

void net_input(struct net *net, struct rte_mbuf **pkts, uint16_t n, uint64_t now_ns)
{
    net_set_now(net, now_ns);
    if (!n)
        return;
    net_find_cache(net);
    uint32_t room = NET_HELD_SLOTS - net->held_count;
    if (unlikely_(n > room)) {
        STAT_ADD(net->stats->drop_burst, n - room);
        rte_pktmbuf_free_bulk(pkts + room, n - room);
        n = (uint16_t)room;
    }
    for (; unlikely_(n > LIMIT_BURST_PKTS); n -= LIMIT_BURST_PKTS, pkts += LIMIT_BURST_PKTS)
        net_burst(net, pkts, LIMIT_BURST_PKTS);
    net_burst(net, pkts, n);
}

/* A frame in one direct mbuf of that pool which nobody else holds: refcnt and nb_segs are both 1. */
static inline bool frame_is_plain(const struct rte_mbuf *m, const struct rte_mempool *pool)
{
    uint32_t counts;
    static_assert(offsetof(struct rte_mbuf, nb_segs) == offsetof(struct rte_mbuf, refcnt) + 2,
                  "one word");
    memcpy(&counts, (const uint8_t *)m + offsetof(struct rte_mbuf, refcnt), sizeof(counts));
    return counts == 0x00010001 && m->pool == pool && RTE_MBUF_DIRECT(m);
}

/* Gives the burst's mbufs back: straight into the pool's cache while they are plain and of one pool. */
static inline void free_held(struct net *net)
{
    uint32_t i = 0, n = net->held_count;
    if (!n)
        return;
    struct rte_mempool *pool = net->held[0]->pool;
    struct rte_mempool_cache *cache = net->cache;
    if (pool != net->cfg.pool)
        cache = rte_mempool_default_cache(pool, rte_lcore_id());
    if (likely_(cache && n <= cache->flushthresh)) {
        if (unlikely_(cache->len + n > cache->flushthresh))
            rte_mempool_cache_flush(cache, pool);
        void **to = &cache->objs[cache->len];
        for (; i < n && likely_(frame_is_plain(net->held[i], pool)); i++)
            to[i] = net->held[i];
        cache->len += i;
    }
    for (; i < n; i++)
        rte_pktmbuf_free(net->held[i]);
    net->held_count = 0;
}

void net_input_done(struct net *net)
{
    free_held(net);
    if (net->ooo_done)
        tcp_ooo_done_free(net);
    if (net->reap_count)
        tcp_reap(net);
}

void net_timers(struct net *net, uint64_t now_ns)
{
    net_set_now(net, now_ns);
    if (unlikely_(now_ns >= net->neigh_next_ns))
        neigh_timers(net);
    if (unlikely_(now_ns >= net->ip6.next_ns))
        ndp_timers(net);
    if (unlikely_(wheel_due(&net->wheel, now_ns)))
        tcp_timers_run(net);
    if (net->reap_count)
        tcp_reap(net);
}

uint64_t net_next_timer_ns(const struct net *net)
{
    uint64_t below = RTE_MIN(net->neigh_next_ns, net->ip6.next_ns);
    uint64_t tcp = RTE_MIN(wheel_next_ns(&net->wheel), net->walk_ns);
    return RTE_MIN(below, tcp);
}

void net_neigh_learn(struct net *net, struct ip_addr ip, const uint8_t mac[6], uint64_t now_ns)
{
    net_set_now(net, now_ns);
    int own = ip_is_v4(ip) ? -1 : ip6_local_find(net, ip);
    if (own >= 0)
        ndp_conflict(net, own);
    else if (net_on_link_ip(net, ip) && mac_is_unicast(mac))
        neigh_set(net, neigh_get(net, ip), mac, false);
}

void net_set_neigh_listener(struct net *net, net_neigh_fn fn, void *ctx)
{
    net->neigh_fn = fn;
    net->neigh_ctx = ctx;
}

void net_set_neigh_resolver(struct net *net, void (*fn)(void *ctx, struct ip_addr ip), void *ctx)
{
    net->resolve_fn = fn;
    net->resolve_ctx = ctx;
}

void net_neigh_lost(struct net *net, struct ip_addr ip, uint64_t now_ns)
{
    net_set_now(net, now_ns);
    struct neigh *n = neigh_find(net, ip);
    if (n)
        neigh_release(net, n);
}

void net_announce(struct net *net, uint64_t now_ns)
{
    net_set_now(net, now_ns);
    if (net->cfg.shared)
        return; /* Linux has done so */
    if (net->cfg.ip)
        arp_request(net, net->cfg.ip, NULL);
    ndp_start(net);
}
