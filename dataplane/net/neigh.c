/* neigh: which MAC an on-link address has, IPv4 by ARP, IPv6 by neighbour discovery. A set-associative table (the address picks a set of
 * eight, the one unused for longest gives way), a bounded queue of frames per unresolved entry.
 *
 * Connections carry their peer's MAC in their own header template, so this table is asked only for
 * active opens and after timeouts. RFC 1122 2.3.2: at most one request a second per address, the
 * first frames are kept while it is resolved, entries age. */
#include "dataplane/net/net_internal.h"

#define NEIGH_TRIES 3 /* RFC 4861 10 MAX_MULTICAST_SOLICIT */
#define LEARN_BURST 64

static struct neigh *neigh_set_of(struct net *net, struct ip_addr ip)
{
    return net->neigh[siphash13(&net->keys->neigh, &ip, sizeof(ip)) & (NEIGH_SETS - 1)];
}

struct neigh *neigh_find(struct net *net, struct ip_addr ip)
{
    struct neigh *set = neigh_set_of(net, ip);
    for (int i = 0; i < NEIGH_WAYS; i++) {
        if (set[i].state != NEIGH_FREE && ip_equal(set[i].ip, ip))
            return &set[i];
    }
    return NULL;
}

void neigh_release(struct net *net, struct neigh *n)
{
    if (n->state == NEIGH_PENDING)
        net->neigh_pending--;
    for (int i = 0; i < n->queued; i++) {
        STAT_INC(net->stats->drop_neigh_queue);
        rte_pktmbuf_free(n->queue[i]);
    }
    *n = (struct neigh){0};
}

static struct neigh *neigh_take(struct net *net, struct neigh *n, struct ip_addr ip)
{
    neigh_release(net, n);
    n->ip = ip;
    n->used_ns = net->now_ns;
    return n;
}

struct neigh *neigh_get(struct net *net, struct ip_addr ip)
{
    struct neigh *n = neigh_find(net, ip);
    if (n)
        return n;
    struct neigh *set = neigh_set_of(net, ip);
    n = &set[0];
    for (int i = 0; i < NEIGH_WAYS; i++) {
        if (set[i].state == NEIGH_FREE) {
            n = &set[i];
            break;
        }
        if (set[i].used_ns < n->used_ns)
            n = &set[i];
    }
    return neigh_take(net, n, ip);
}

/* RFC 6583: a station that makes up neighbours must not push the real ones out, nor keep us busy. */
struct neigh *neigh_get_unasked(struct net *net, struct ip_addr ip)
{
    struct neigh *n = neigh_find(net, ip);
    if (n)
        return n;
    const uint64_t step = NSEC_PER_S / LIMIT_NET_LEARN_PER_S;
    if (net->learn_ns < net->now_ns)
        net->learn_ns = net->now_ns;
    struct neigh *set = neigh_set_of(net, ip);
    for (int i = 0; i < NEIGH_WAYS && net->learn_ns - net->now_ns <= step * LEARN_BURST; i++) {
        if (set[i].state == NEIGH_FREE ||
            (set[i].state == NEIGH_KNOWN && !neigh_fresh(net, &set[i]))) {
            net->learn_ns += step;
            return neigh_take(net, &set[i], ip);
        }
    }
    STAT_INC(net->stats->drop_neigh_learn);
    return NULL;
}

bool neigh_fresh(const struct net *net, const struct neigh *n)
{
    return n->state == NEIGH_KNOWN &&
           net->now_ns - n->updated_ns < LIMIT_NET_NEIGH_FRESH_S * NSEC_PER_S;
}

void neigh_set(struct net *net, struct neigh *n, const uint8_t mac[6], bool tell)
{
    if (n->state == NEIGH_PENDING)
        net->neigh_pending--;
    memcpy(n->mac, mac, 6);
    n->state = NEIGH_KNOWN;
    n->asked = false;
    n->tries = 0;
    n->updated_ns = net->now_ns;
    int queued = n->queued;
    n->queued = 0;
    for (int i = 0; i < queued; i++) {
        memcpy(rte_pktmbuf_mtod(n->queue[i], struct eth_hdr *)->dst, mac, 6);
        net_send_or_drop(net, n->queue[i]);
    }
    if (tell && net->neigh_fn)
        net->neigh_fn(net->neigh_ctx, n->ip, mac);
}

static void neigh_ask(struct net *net, struct neigh *n, const uint8_t *dst)
{
    n->asked = true;
    n->asked_ns = net->now_ns;
    n->tries++;
    if (net->cfg.shared) {
        if (net->resolve_fn)
            net->resolve_fn(net->resolve_ctx, n->ip);
    } else if (ip_is_v4(n->ip)) {
        arp_request(net, ip_v4(n->ip), dst);
    } else {
        ndp_solicit(net, n->ip, dst);
    }
}

const uint8_t *neigh_lookup(struct net *net, struct ip_addr next_hop)
{
    struct neigh *n = neigh_get(net, next_hop);
    uint64_t age = net->now_ns - n->updated_ns;
    n->used_ns = net->now_ns;
    if (n->state == NEIGH_KNOWN && age < LIMIT_NET_NEIGH_EXPIRE_S * NSEC_PER_S) {
        /* Old but usable: ask the holder, keep using it meanwhile. */
        if (!neigh_fresh(net, n) && (!n->asked || net->now_ns - n->asked_ns >= NSEC_PER_S))
            neigh_ask(net, n, n->mac);
        return n->mac;
    }
    if (n->state != NEIGH_PENDING) {
        n->state = NEIGH_PENDING;
        n->tries = 0;
        net->neigh_pending++;
        neigh_ask(net, n, NULL);
        if (net->neigh_next_ns > net->now_ns + NSEC_PER_S)
            net->neigh_next_ns = net->now_ns + NSEC_PER_S;
    }
    return NULL;
}

void neigh_confirm(struct net *net, struct ip_addr ip)
{
    struct neigh *n = neigh_find(net, ip);
    if (!n || n->state != NEIGH_KNOWN)
        (void)neigh_lookup(net, ip);
    else if (!n->asked || net->now_ns - n->asked_ns >= NSEC_PER_S)
        neigh_ask(net, n, NULL);
}

void neigh_send(struct net *net, struct rte_mbuf *m, struct ip_addr next_hop)
{
    const uint8_t *mac = neigh_lookup(net, next_hop);
    if (mac) {
        memcpy(rte_pktmbuf_mtod(m, struct eth_hdr *)->dst, mac, 6);
        net_send_or_drop(net, m);
        return;
    }
    struct neigh *n = neigh_get(net, next_hop);
    if (n->queued == LIMIT_NET_NEIGH_QUEUE) { /* RFC 1122 2.3.2.2: keep the latest */
        STAT_INC(net->stats->drop_neigh_queue);
        rte_pktmbuf_free(n->queue[0]);
        memmove(&n->queue[0], &n->queue[1], (LIMIT_NET_NEIGH_QUEUE - 1) * sizeof(n->queue[0]));
        n->queued--;
    }
    n->queue[n->queued++] = m;
}

void neigh_timers(struct net *net)
{
    if (net->now_ns < net->neigh_next_ns)
        return;
    net->neigh_next_ns = UINT64_MAX;
    if (!net->neigh_pending)
        return;
    for (int s = 0; s < NEIGH_SETS; s++) {
        for (int i = 0; i < NEIGH_WAYS; i++) {
            struct neigh *n = &net->neigh[s][i];
            if (n->state != NEIGH_PENDING)
                continue;
            uint64_t due = n->asked_ns + NSEC_PER_S;
            if (due <= net->now_ns) {
                if (n->tries >= NEIGH_TRIES) {
                    neigh_release(net, n);
                    continue;
                }
                neigh_ask(net, n, NULL);
                due = net->now_ns + NSEC_PER_S;
            }
            if (due < net->neigh_next_ns)
                net->neigh_next_ns = due;
        }
    }
}

void neigh_free_all(struct net *net)
{
    for (int s = 0; s < NEIGH_SETS; s++) {
        for (int i = 0; i < NEIGH_WAYS; i++)
            neigh_release(net, &net->neigh[s][i]);
    }
}
