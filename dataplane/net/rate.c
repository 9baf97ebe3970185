/* rate: how often answers leave that anyone can provoke (echo, RST without connection, ICMP errors, advertisements). A bucket for each
 * class of sources: a /24 or a /64, told apart by a secret hash. What one source is granted says nothing about what another one got.
 * The sum is bounded by the number of classes. Thread: the worker's. */
#include "dataplane/net/net_internal.h"

static const struct {
    uint32_t per_s, burst;
} limits[RATE_KINDS] = {
    [RATE_ECHO] = {LIMIT_NET_ECHO_PER_S, 128},   [RATE_RST] = {LIMIT_NET_RST_PER_S, 256},
    [RATE_ERROR] = {LIMIT_NET_ERRORS_PER_S, 16}, [RATE_NDP] = {LIMIT_NET_NDP_PER_S, 64},
    [RATE_STRAY] = {LIMIT_NET_RST_PER_S, 256},
};

static unsigned class_of(const struct net *net, enum rate_kind kind, struct ip_addr a)
{
    /* The last byte of an IPv4 address, the lower half of an IPv6 address, are the owner's to choose. Neighbours share a prefix, so
     * there a class is a station. */
    if (!net_on_link_ip(net, a)) {
        if (ip_is_v4(a))
            a.w[1] &= 0x00ffffffffffffffull;
        else
            a.w[1] = 0;
    }
    struct siphash_key key = {net->keys->rate.k0, net->keys->rate.k1 + (uint64_t)kind};
    return (unsigned)(siphash13(&key, &a, sizeof(a)) % LIMIT_NET_RATE_CLASSES);
}

/* Token bucket kept as a time: each answer moves it by 1/rate, and it may lead by a burst. */
bool rate_allow(struct net *net, enum rate_kind kind, struct ip_addr to)
{
    uint64_t *t = &net->rate_ns[kind][class_of(net, kind, to)];
    uint64_t step = NSEC_PER_S / limits[kind].per_s;
    if (*t < net->now_ns)
        *t = net->now_ns;
    if (*t - net->now_ns > step * limits[kind].burst)
        return false;
    *t += step;
    return true;
}
