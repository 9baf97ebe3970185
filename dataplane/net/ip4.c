/* ip4: RFC 791 with the host requirements of RFC 1122 3.2. Second stage of net_input: whatever is
 * not a whole, plain, unicast datagram from a believable source to us is dropped by its own reason. */
#include "dataplane/net/checksum.h"
#include "dataplane/net/net_internal.h"
#include "engine/shard/config.h"

/* RFC 791 3.1 options. Source routes are refused (RFC 6274 3.13.2); others are skipped. */
static bool ip4_options_ok(struct net *net, const uint8_t *p, uint32_t n)
{
    for (uint32_t i = 0; i < n;) {
        uint8_t kind = p[i];
        if (kind == 0)
            return true;
        if (kind == 1) {
            i++;
            continue;
        }
        if (i + 1 >= n || p[i + 1] < 2 || p[i + 1] > n - i) {
            STAT_INC(net->stats->drop_ip_header);
            return false;
        }
        if (kind == 131 || kind == 137) {
            STAT_INC(net->stats->drop_ip_options);
            return false;
        }
        i += p[i + 1];
    }
    return true;
}

bool ip4_allowed(const struct net *net, uint32_t src)
{
    const struct engine_config *e = net->cfg.engine;
    if (!e || !(e->net_allow_count | e->net_allow6_count))
        return true;
    for (uint32_t i = 0; i < e->net_allow_count && i < LIMIT_NET_ALLOW; i++) {
        if ((src & e->net_allow[i].mask) == (e->net_allow[i].addr & e->net_allow[i].mask))
            return true;
    }
    return false;
}

/* Three additions: what a port says of it is not asked. */
static bool ip4_checksum_ok(const struct ip4_hdr *ip, uint32_t hl)
{
    uint64_t sum = hl == 20 ? csum_ip4_20(ip) : csum_add(ip, hl, 0);
    return csum_fold(sum) == 0xffff;
}

/* Why a source is refused (RFC 1122 3.2.1.3). */
static void count_source(const struct net *net, uint32_t src)
{
    struct stats_worker *st = net->stats;
    if (src == net->cfg.ip)
        STAT_INC(st->drop_ip_land);
    else if (src == net->broadcast || src == UINT32_MAX || src >> 28 == 14)
        STAT_INC(st->drop_ip_source_group);
    else
        STAT_INC(st->drop_ip_source);
}

static const uint8_t *src_mac(const struct rte_mbuf *m)
{
    return rte_pktmbuf_mtod(m, const struct eth_hdr *)->src;
}

const uint8_t *ip4_check(struct net *net, const struct rte_mbuf *m, const uint8_t *p, uint32_t len,
                         uint32_t *l4_len)
{
    struct stats_worker *st = net->stats;
    const struct ip4_hdr *ip = (const void *)p;
    if (unlikely_(len < sizeof(*ip))) {
        STAT_INC(st->drop_short);
        return NULL;
    }
    uint32_t hl = (ip->ver_ihl & 15u) * 4, total = from_be16(ip->total_len);
    if (unlikely_(ip->ver_ihl >> 4 != 4 || hl < sizeof(*ip))) {
        STAT_INC(st->drop_ip_header);
        return NULL;
    }
    if (unlikely_(hl > total || total > len)) {
        STAT_INC(st->drop_ip_length);
        return NULL;
    }
    if (unlikely_(!ip4_checksum_ok(ip, hl))) {
        STAT_INC(st->drop_ip_checksum);
        return NULL;
    }
    if (unlikely_(from_be32(ip->dst) != net->cfg.ip || !net->cfg.ip)) {
        STAT_INC(st->drop_ip_destination);
        return NULL;
    }
    if (unlikely_(!ip4_source_ok(net, from_be32(ip->src)))) {
        count_source(net, from_be32(ip->src));
        return NULL;
    }
    if (unlikely_(from_be16(ip->frag) & IP_FRAG_MASK)) {
        STAT_INC(st->drop_ip_fragment);
        return NULL;
    }
    if (unlikely_(hl > sizeof(*ip)) && !ip4_options_ok(net, p + sizeof(*ip), hl - sizeof(*ip)))
        return NULL;
    if (ip->proto == IP_PROTO_ICMP) /* a router's errors count whoever may connect; icmp.c judges */
        goto taken;
    if (unlikely_(!ip4_allowed(net, from_be32(ip->src)))) {
        STAT_INC(st->drop_not_allowed);
        return NULL;
    }
    if (unlikely_(ip->proto != IP_PROTO_TCP)) {
        STAT_INC(st->drop_ip_protocol);
        icmp_send_unreachable(net, ip, total, ip->proto == IP_PROTO_UDP ? 3 : 2, src_mac(m));
        return NULL;
    }
taken:
    *l4_len = total - hl;
    return p + hl;
}

void ip4_write(struct ip4_hdr *ip, uint32_t src, uint32_t dst, uint8_t proto, uint16_t l4_len)
{
    *ip = (struct ip4_hdr){.ver_ihl = 0x45,
                           .total_len = be16((uint16_t)(sizeof(*ip) + l4_len)),
                           .frag = be16(0x4000), /* DF: id may be 0 (RFC 6864 4.1) */
                           .ttl = 64,
                           .proto = proto,
                           .src = be32(src),
                           .dst = be32(dst)};
    ip->csum = csum_finish(csum_ip4_20(ip));
}
