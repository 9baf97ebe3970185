/* mld: multicast listener reports (RFC 3810) for the solicited-node groups of our addresses. Without them a switch that watches
 * group membership (RFC 4541) would not pass neighbour solicitations on to us. We are a listener only.
 * Sent twice at start (ndp.c) and, at most once a second, when a querier asks. Thread: the worker's. */
#include "dataplane/net/checksum.h"
#include "dataplane/net/net_internal.h"

#define MLD2_REPORT       143
#define RECORD_IS_EXCLUDE 2 /* of no source: all of the group, RFC 3810 5.2.12 */
#define RECORD_BYTES      20
#define HOP_BY_HOP_BYTES  8
#define ANSWER_NS         (10 * NSEC_PER_MS) /* a fraction of any maximum response delay */

void mld_report(struct net *net)
{
    static const uint8_t mld2_routers[16] = {0xff, 0x02, [15] = 0x16};
    static const uint8_t router_alert[HOP_BY_HOP_BYTES] = {IP_PROTO_ICMP6, 0, 5, 2, 0, 0, 1, 0};
    const struct ip6 *v6 = &net->ip6;
    /* RFC 3590: from nobody while the link-local address is tentative */
    struct ip_addr src = {{0, 0}};
    if (v6->local[0].state == IP6_VALID)
        src = v6->local[0].addr;
    uint32_t n = 8 + v6->count * RECORD_BYTES;
    uint8_t *b;
    struct rte_mbuf *m = icmp6_new(net, src, ip_load(mld2_routers), 1, HOP_BY_HOP_BYTES + n, &b);
    if (!m)
        return;
    struct ip6_hdr *ip = (struct ip6_hdr *)(void *)(b - sizeof(struct ip6_hdr));
    ip->next = 0;
    memcpy(b, router_alert, HOP_BY_HOP_BYTES);
    b += HOP_BY_HOP_BYTES;
    memset(b, 0, n);
    b[0] = MLD2_REPORT;
    b[7] = (uint8_t)v6->count;
    for (uint32_t i = 0; i < v6->count; i++) {
        b[8 + i * RECORD_BYTES] = RECORD_IS_EXCLUDE;
        ip_store(b + 12 + i * RECORD_BYTES, ip6_solicited_node(v6->local[i].addr));
    }
    uint16_t csum = csum_finish(csum_add(b, n, ip6_pseudo_sum(ip, n, IP_PROTO_ICMP6)));
    memcpy(b + 2, &csum, 2);
    STAT_INC(net->stats->ndp_out);
    icmp6_finish(net, m, HOP_BY_HOP_BYTES + n, NULL);
}

void mld_input(struct net *net, const struct ip6_hdr *ip, const uint8_t *p, uint32_t len)
{
    struct ip6 *v6 = &net->ip6;
    (void)p;
    if (len < 24 || ip->hops != 1 || !ip_is_link_local(ip_load(ip->src))) { /* RFC 3810 6.2 */
        STAT_INC(net->stats->drop_icmp);
        return;
    }
    if (!v6->announced || v6->report_ns != UINT64_MAX)
        return;
    uint64_t soonest = v6->reported_ns + NSEC_PER_S, at = net->now_ns + ANSWER_NS;
    v6->report_ns = at > soonest ? at : soonest;
    if (v6->report_ns < v6->next_ns)
        v6->next_ns = v6->report_ns;
}
