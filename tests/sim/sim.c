/* sim: see sim.h. Clock, frames in flight, impairments, nodes and their turns. */
#include "tests/sim/sim.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <rte_mempool.h>

#include "dataplane/conn/conn_internal.h"
#include "tests/sim/eal.h"
#include "tests/sim/tap.h"

#define SHELLS     64
#define BLOCK_HEAD sizeof(struct rte_mbuf_ext_shared_info)

static struct rte_mempool *shells, *pools[SIM_NODES], *reserves[SIM_NODES];

/* ---- randomness, report ---- */

uint64_t sim_random(struct sim *s)
{
    uint64_t z = (s->rng += 0x9e3779b97f4a7c15ull);
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9ull;
    z = (z ^ z >> 27) * 0x94d049bb133111ebull;
    return z ^ z >> 31;
}

uint64_t sim_between(struct sim *s, uint64_t from, uint64_t to)
{
    return from + sim_random(s) % (to - from + 1);
}

bool sim_chance(struct sim *s, uint32_t ppm)
{
    return ppm && sim_random(s) % SIM_PPM < ppm;
}

void sim_mix(struct sim *s, uint64_t v)
{
    s->hash = (s->hash ^ v) * 0x9e3779b97f4a7c15ull;
    s->hash ^= s->hash >> 29;
}

static void print_counters(const struct sim_node *n)
{
#define METRIC(name, kind, section, field, help)                                       \
    if (n->stats->name && (!strncmp(#name, "drop_", 5) || !strncmp(#name, "tcp_", 4))) \
        fprintf(stderr, " %s %llu", #name, (unsigned long long)n->stats->name);
    fprintf(stderr, "node %u:", n->id);
#include "engine/link/metrics.def"
#undef METRIC
    fprintf(stderr, "\n");
}

void sim_fail(struct sim *s, const char *fmt, ...)
{
    va_list ap;
    for (unsigned i = 0; i < ARRAY_LEN(s->log) && !s->verbose; i++) {
        char line[160];
        tap_describe(&s->log[(s->log_at + i) % ARRAY_LEN(s->log)], line, sizeof(line));
        fprintf(stderr, "%s\n", line);
    }
    for (unsigned i = 0; i < s->nodes; i++) {
        if (s->node[i].stats)
            print_counters(&s->node[i]);
    }
    fprintf(stderr, "seed %llu, %.6f s: ", (unsigned long long)s->seed,
            (double)(s->now_ns - SIM_START) / 1e9);
    va_start(ap, fmt);
    vfprintf(stderr, fmt, ap);
    va_end(ap);
    fprintf(stderr, "\nreplay with --seeds %llu..%llu --trace\n", (unsigned long long)s->seed,
            (unsigned long long)s->seed);
    fflush(stderr);
    exit(1);
}

/* ---- pools ---- */

void sim_eal_init(void)
{
    test_eal_init("sim");
    shells = rte_pktmbuf_pool_create("sim-shells", SHELLS * SIM_NODES - 1, 0, 0, 0, SOCKET_ID_ANY);
    CHECK(shells);
}

static struct rte_mempool *pool_get(struct rte_mempool **p, const char *kind, unsigned node,
                                    unsigned n, uint16_t room)
{
    char name[32];
    snprintf(name, sizeof(name), "sim-%s%u", kind, node);
    if (!*p)
        *p = rte_pktmbuf_pool_create(name, n, 32, 0, room, SOCKET_ID_ANY);
    CHECK(*p);
    return *p;
}

struct rte_mempool *sim_pool(unsigned node)
{
    return pool_get(&pools[node], "data", node, 8191, 2048 + RTE_PKTMBUF_HEADROOM);
}

struct rte_mempool *sim_reserve(unsigned node)
{
    return pool_get(&reserves[node], "reserve", node, 511, 512);
}

/* ---- frames in flight: a binary heap by arrival ---- */

static bool earlier(const struct sim_frame *a, const struct sim_frame *b)
{
    return a->at_ns < b->at_ns || (a->at_ns == b->at_ns && a->order < b->order);
}

static void heap_push(struct sim *s, struct sim_frame f)
{
    if (s->heap_len == s->heap_cap) {
        s->heap_cap = s->heap_cap ? 2 * s->heap_cap : 256;
        s->heap = realloc(s->heap, s->heap_cap * sizeof(*s->heap));
        CHECK(s->heap);
    }
    size_t i = s->heap_len++;
    for (; i && earlier(&f, &s->heap[(i - 1) / 2]); i = (i - 1) / 2)
        s->heap[i] = s->heap[(i - 1) / 2];
    s->heap[i] = f;
}

static struct sim_frame heap_pop(struct sim *s)
{
    struct sim_frame top = s->heap[0], last = s->heap[--s->heap_len];
    size_t i = 0;
    for (size_t c; (c = 2 * i + 1) < s->heap_len; i = c) {
        if (c + 1 < s->heap_len && earlier(&s->heap[c + 1], &s->heap[c]))
            c++;
        if (!earlier(&s->heap[c], &last))
            break;
        s->heap[i] = s->heap[c];
    }
    if (s->heap_len)
        s->heap[i] = last;
    return top;
}

/* ---- the wire ---- */

static unsigned l2_bytes(const struct sim_node *n)
{
    return n->cfg.vlan ? 18 : 14;
}

static bool is_ip6(const struct sim_node *n, const uint8_t *p)
{
    unsigned l2 = l2_bytes(n);
    return p[l2 - 2] == 0x86 && p[l2 - 1] == 0xdd;
}

static bool is_tcp(const struct sim_node *n, const uint8_t *p, uint32_t len)
{
    unsigned l2 = l2_bytes(n);
    if (len >= l2 + 60 && is_ip6(n, p))
        return p[l2 + 6] == 6;
    return len >= l2 + 40 && p[l2 - 2] == 8 && p[l2 - 1] == 0 && p[l2 + 9] == 6;
}

const uint8_t *sim_tcp(const struct sim_node *n, const uint8_t *p, uint32_t len)
{
    const uint8_t *ip = p + l2_bytes(n);
    return is_tcp(n, p, len) ? ip + sim_ip_bytes(ip) : NULL;
}

/* Changes that the checksums of IP and TCP must catch: any change within one octet moves the sum
 * (RFC 1071), and so does a lost tail, by the IP length. */
static void corrupt(struct sim *s, const struct sim_node *n, struct sim_frame *f)
{
    uint32_t l2 = l2_bytes(n);
    uint8_t *p = f->block + BLOCK_HEAD;
    bool v6 = is_ip6(n, p);
    if (!v6 && (p[l2 - 2] != 8 || p[l2 - 1] != 0))
        return; /* ARP has no checksum but the Ethernet FCS, which is not here */
    uint32_t ip_len =
        v6 ? 40 + ((uint32_t)p[l2 + 4] << 8 | p[l2 + 5]) : (uint32_t)p[l2 + 2] << 8 | p[l2 + 3];
    f->bad = true;
    if (sim_chance(s, 125000)) { /* cut: a shorter block, so that overreads are seen */
        uint32_t len = (uint32_t)sim_between(s, 1, l2 + ip_len - 1);
        uint8_t *b = malloc(BLOCK_HEAD + len);
        CHECK(b);
        memcpy(b, f->block, BLOCK_HEAD + len);
        free(f->block);
        f->block = b;
        f->len = len;
        return;
    }
    uint32_t at = (uint32_t)(sim_random(s) % ip_len);
    if (v6 && (at < 4 || at == 7)) /* no sum covers traffic class, flow label and hop limit */
        at = 8 + at;
    p[l2 + at] ^= (uint8_t)sim_between(s, 1, 255);
}

static bool lost(struct sim *s, struct sim_node *n)
{
    if (s->now_ns < n->burst_until_ns)
        return true;
    if (sim_chance(s, n->impair.burst_ppm)) {
        n->burst_until_ns = s->now_ns + sim_between(s, 0, n->impair.burst_ns);
        return true;
    }
    return sim_chance(s, n->impair.loss_ppm);
}

/* When a frame that leaves now arrives; 0: the queue is full. */
static uint64_t arrival(struct sim *s, struct sim_node *n, uint32_t len)
{
    const struct sim_impair *im = &n->impair;
    uint64_t at = s->now_ns;
    if (im->bytes_per_s) {
        if (n->busy_until_ns < s->now_ns)
            n->busy_until_ns = s->now_ns;
        if (im->queue_ns && n->busy_until_ns - s->now_ns > im->queue_ns)
            return 0;
        n->busy_until_ns += (uint64_t)len * SIM_SEC / im->bytes_per_s;
        at = n->busy_until_ns;
    }
    at += im->delay_ns + (im->jitter_ns ? sim_random(s) % im->jitter_ns : 0);
    if (sim_chance(s, im->reorder_ppm))
        return at + (im->delay_ns ? im->delay_ns : SIM_MS) * sim_between(s, 1, 4);
    if (at < n->last_at_ns)
        at = n->last_at_ns;
    n->last_at_ns = at;
    return at;
}

static void mend_checksums(uint8_t *ip, uint32_t ip_len)
{
    uint32_t hl = sim_ip_bytes(ip);
    uint32_t pseudo = (6u << 8) + __builtin_bswap16((uint16_t)(ip_len - hl));
    uint16_t w;
    if (hl == 20) {
        memset(ip + 10, 0, 2);
        w = tap_checksum(ip, 20, 0);
        memcpy(ip + 10, &w, 2);
    }
    for (unsigned i = hl == 20 ? 12 : 8; i < hl; i += 2) {
        memcpy(&w, ip + i, 2);
        pseudo += w;
    }
    memset(ip + hl + 16, 0, 2);
    w = tap_checksum(ip + hl, ip_len - hl, pseudo);
    memcpy(ip + hl + 16, &w, 2);
}

/* A switch on the way says that its queue is long (RFC 3168 5). */
static void mark(struct sim *s, struct sim_node *n, uint8_t *p, uint32_t len)
{
    uint8_t *ip = p + l2_bytes(n);
    bool v6 = is_ip6(n, p);
    if (!is_tcp(n, p, len) || !(ip[1] & (v6 ? 0x30 : 3)) || !sim_chance(s, n->impair.mark_ppm))
        return;
    ip[1] |= v6 ? 0x30 : 3;
    n->marked++;
    if (v6)
        return;
    memset(ip + 10, 0, 2);
    uint16_t w = tap_checksum(ip, 20, 0);
    memcpy(ip + 10, &w, 2);
}

static void carry(struct sim *s, struct sim_node *n, unsigned to, const uint8_t *p, uint32_t len)
{
    uint64_t at = lost(s, n) ? 0 : arrival(s, n, len);
    if (!at) {
        n->lost++;
        return;
    }
    struct sim_frame f = {.at_ns = at, .order = s->order++, .len = len, .to = (uint8_t)to};
    f.block = malloc(BLOCK_HEAD + len);
    CHECK(f.block);
    memcpy(f.block + BLOCK_HEAD, p, len);
    mark(s, n, f.block + BLOCK_HEAD, len);
    if (sim_chance(s, n->impair.corrupt_ppm)) {
        corrupt(s, n, &f);
        n->corrupted += f.bad;
    }
    heap_push(s, f);
}

/* One part of a segment: `n` octets from `off` on; returns the frame's length. */
static uint32_t part_of(uint8_t *to, const uint8_t *p, uint32_t l2, uint32_t head, uint32_t off,
                        uint32_t n)
{
    uint8_t *ip = to + l2, *th = ip + sim_ip_bytes(p + l2);
    uint32_t ip_len = head - l2 + n, seq;
    memcpy(to, p, head);
    memcpy(to + head, p + head + off, n);
    bool v6 = sim_ip_bytes(ip) == 40;
    uint32_t field = v6 ? ip_len - 40 : ip_len;
    ip[v6 ? 4 : 2] = (uint8_t)(field >> 8);
    ip[v6 ? 5 : 3] = (uint8_t)field;
    memcpy(&seq, th + 4, 4);
    seq = __builtin_bswap32(__builtin_bswap32(seq) + off);
    memcpy(th + 4, &seq, 4);
    return head + n;
}

/* Carries a segment, whole or as two: the peer may then take and acknowledge a part of it. */
static void carry_parts(struct sim *s, struct sim_node *n, unsigned to, const uint8_t *p,
                        uint32_t len)
{
    uint32_t l2 = l2_bytes(n), th = l2 + sim_ip_bytes(p + l2);
    uint32_t head = is_tcp(n, p, len) ? th + (p[th + 12] >> 4) * 4u : len;
    if (len < head + 2 || len > LIMIT_FRAME_BYTES || !sim_chance(s, n->impair.split_ppm)) {
        carry(s, n, to, p, len);
        return;
    }
    uint8_t part[LIMIT_FRAME_BYTES];
    uint32_t cut = (uint32_t)sim_between(s, 1, len - head - 1);
    uint32_t first = part_of(part, p, l2, head, 0, cut);
    part[th + 13] &= (uint8_t) ~(TH_FIN | TH_PSH);
    mend_checksums(part + l2, first - l2);
    carry(s, n, to, part, first);
    uint32_t rest = part_of(part, p, l2, head, cut, len - head - cut);
    mend_checksums(part + l2, rest - l2);
    carry(s, n, to, part, rest);
}

/* The queue of a host that a frame goes to. */
static unsigned steer(struct sim *s, unsigned first, const uint8_t *p, uint32_t len)
{
    unsigned queues = 1;
    while (first + queues < s->nodes &&
           memcmp(s->node[first + queues].mac, s->node[first].mac, 6) == 0)
        queues++;
    if (queues == 1 || !is_tcp(&s->node[first], p, len))
        return first;
    uint32_t w[3];
    const uint8_t *ip = p + l2_bytes(&s->node[first]);
    if (sim_ip_bytes(ip) == 40) { /* what differs of the addresses, and the ports */
        memcpy(w, ip + 20, 4);
        memcpy(w + 1, ip + 36, 8);
    } else {
        memcpy(w, ip + 12, sizeof(w));
    }
    uint64_t h = (w[0] ^ w[1] ^ w[2] ^ w[2] << 16 ^ s->seed) * 0x9e3779b97f4a7c15ull;
    return first + (unsigned)(h >> 33) % queues;
}

static void transmit(struct sim *s, struct sim_node *n, const uint8_t *p, uint32_t len)
{
    s->frames++;
    n->sent++;
    sim_mix(s, s->now_ns ^ (uint64_t)n->id << 56 ^ len);
    for (uint32_t i = 0; i < len; i += 8) {
        uint64_t v = 0;
        memcpy(&v, p + i, len - i < 8 ? len - i : 8);
        sim_mix(s, v);
    }
    struct sim_log *log = &s->log[s->log_at++ % ARRAY_LEN(s->log)];
    *log = (struct sim_log){.at_ns = s->now_ns, .from = n, .len = len};
    memcpy(log->head, p, len < sizeof(log->head) ? len : sizeof(log->head));
    if (s->verbose) {
        char line[160];
        tap_describe(log, line, sizeof(line));
        printf("%s\n", line);
    }
    if (s->alive && !s->alive(s->alive_ctx, n, p, len))
        return;
    for (unsigned i = 0; i < s->nodes; i++) {
        const uint8_t *mac = s->node[i].mac;
        bool first = i == 0 || memcmp(mac, s->node[i - 1].mac, 6) != 0;
        if (!first || memcmp(mac, n->mac, 6) == 0 || (!(p[0] & 1) && memcmp(p, mac, 6) != 0))
            continue;
        unsigned to = steer(s, i, p, len);
        carry_parts(s, n, to, p, len);
        if (sim_chance(s, n->impair.dup_ppm)) {
            n->duplicated++;
            carry_parts(s, n, to, p, len);
        }
    }
}

/* A frame as the node's card puts it on the wire. */
static void put_out(void *ctx, const uint8_t *p, uint32_t len)
{
    struct sim_node *node = ctx;
    struct sim *s = node->sim;
    SIM_CHECK(s, len <= node->cfg.mtu + l2_bytes(node), "node %u sends %u bytes over a MTU of %u",
              node->id, len, node->cfg.mtu);
    tap_sent(s, node, p, len);
    transmit(s, node, p, len);
}

static uint16_t sim_tx(void *ctx, struct rte_mbuf **pkts, uint16_t n)
{
    struct sim_node *node = ctx;
    struct sim *s = node->sim;
    uint16_t take = n;
    if (sim_chance(s, node->refuse_ppm))
        take = (uint16_t)sim_between(s, 0, n - 1u);
    for (uint16_t i = 0; i < take; i++) {
        struct rte_mbuf *m = pkts[i];
        const char *bad = nic_send(&node->nic, m, l2_bytes(node), put_out, node);
        SIM_CHECK(s, !bad, "node %u asks its card for what it cannot do: %s", node->id, bad);
        node->stale -= node->stale > 0;
        if (!node->nic_hold) {
            rte_pktmbuf_free(m);
            continue;
        }
        if (node->held_count == node->nic_hold) {
            rte_pktmbuf_free(node->held[0]);
            memmove(node->held, node->held + 1, (node->nic_hold - 1) * sizeof(node->held[0]));
            node->held_count--;
        }
        node->held[node->held_count++] = m;
    }
    return take;
}

static uint16_t sim_rx(void *ctx, struct rte_mbuf **pkts, uint16_t n)
{
    struct sim_node *node = ctx;
    uint16_t take = node->inbox_len < n ? node->inbox_len : n;
    memcpy(pkts, node->inbox, take * sizeof(*pkts));
    node->inbox_len = 0;
    return take;
}

/* ---- nodes ---- */

void sim_init(struct sim *s, uint64_t seed)
{
    memset(s, 0, sizeof(*s));
    s->seed = seed;
    s->rng = seed * 0xd1342543de82ef95ull + 1;
    s->now_ns = SIM_START;
}

struct ip_addr sim_address(const struct sim *s, uint32_t ip)
{
    uint8_t b[16] = {0xfd, [12] = (uint8_t)(ip >> 24), (uint8_t)(ip >> 16), (uint8_t)(ip >> 8),
                     (uint8_t)ip};
    return s->seed % 4 == 3 ? ip_load(b) : ip_from_v4(ip);
}

struct sim_node *sim_node(struct sim *s, uint32_t ip, const struct sim_node *mac_of)
{
    CHECK(s->nodes < SIM_NODES);
    struct sim_node *n = &s->node[s->nodes];
    *n = (struct sim_node){.sim = s, .id = s->nodes++, .step_next_ns = UINT64_MAX};
    uint8_t mac[6] = {2, 0, 0, 0, 0, (uint8_t)(n->id + 1)};
    memcpy(n->mac, mac_of ? mac_of->mac : mac, 6);
    net_config_defaults(&n->cfg);
    memcpy(n->cfg.mac, n->mac, 6);
    n->cfg.ip = ip;
    if (!ip_is_v4(sim_address(s, ip))) {
        n->cfg.ip6[0] = (struct net_prefix){sim_address(s, ip), 64};
        n->cfg.ip6_count = 1;
        n->cfg.dad_probes = 0;
    }
    n->cfg.max_conns = 256;
    n->cfg.secret[0] = sim_random(s);
    n->cfg.secret[1] = sim_random(s);
    n->cfg.pool = sim_pool(n->id);
    n->cfg.reserve = sim_reserve(n->id);
    n->wire.tx = sim_tx;
    n->wire.ctx = n;
    return n;
}

void sim_node_card(struct sim_node *n)
{
    struct sim *s = n->sim;
    n->nic = (struct nic){.ip_sum = true,
                          .tcp_sum = sim_random(s) % 2 == 0,
                          .rx_sum = sim_random(s) % 4 == 0,
                          .strip = sim_random(s) % 2 == 0,
                          .max_segs = (uint16_t)sim_between(s, 2, 64)};
    n->nic.tso = n->nic.tcp_sum && sim_random(s) % 4 != 0;
    n->wire.tx_ip_checksum = n->nic.ip_sum;
    n->wire.tx_tcp_checksum = n->nic.tcp_sum;
    n->wire.tx_multi_seg = n->wire.tx_tso = n->nic.tso;
    n->wire.tx_max_segs = n->nic.max_segs;
    n->wire.rx_checksum = n->nic.rx_sum;
    n->wire.rx_vlan_strip = n->nic.strip;
}

void sim_node_net(struct sim_node *n, const struct tcp_app *app)
{
    if (n->cfg.ip6_count && n->cfg.mtu < 1280)
        n->cfg.mtu = 1280;
    CHECK(net_create(&n->net, &n->cfg, &n->wire, app, NULL, n->sim->now_ns) == 0);
    n->stats = n->net->stats;
}

void sim_node_workers(struct sim_node *first, uint32_t count, const struct engine_config *cfg,
                      struct worker **all)
{
    struct sim *s = first->sim;
    uint64_t seed[2] = {sim_random(s), sim_random(s)};
    for (uint32_t i = 0; i < count; i++) {
        struct sim_node *n = &first[i];
        struct worker_config c = {.id = i,
                                  .count = count,
                                  .all = all,
                                  .config = cfg,
                                  .rx = sim_rx,
                                  .rx_ctx = n,
                                  .wire = n->wire,
                                  .net = n->cfg,
                                  .hash_seed = {seed[0], seed[1]},
                                  .seed = sim_random(s)};
        CHECK(worker_create(&all[i], &c) == 0);
        n->worker = all[i];
        n->net = all[i]->net;
        n->stats = worker_stats(all[i]);
    }
}

void sim_fini(struct sim *s)
{
    while (s->heap_len)
        free(heap_pop(s).block);
    free(s->heap);
    for (unsigned i = 0; i < s->nodes; i++) {
        struct sim_node *n = &s->node[i];
        if (n->worker)
            worker_destroy(n->worker);
        else
            net_destroy(n->net);
        for (uint32_t k = 0; k < n->held_count; k++)
            rte_pktmbuf_free(n->held[k]);
        SIM_CHECK(s, rte_mempool_in_use_count(n->cfg.pool) == 0, "node %u leaks %u mbufs", i,
                  rte_mempool_in_use_count(n->cfg.pool));
        SIM_CHECK(s, rte_mempool_in_use_count(n->cfg.reserve) == 0,
                  "node %u leaks %u mbufs of the reserve", i,
                  rte_mempool_in_use_count(n->cfg.reserve));
    }
    SIM_CHECK(s, rte_mempool_in_use_count(shells) == 0, "%u received mbufs are leaked",
              rte_mempool_in_use_count(shells));
}

void sim_check_idle(struct sim *s)
{
    for (unsigned i = 0; i < s->nodes; i++) {
        struct sim_node *n = &s->node[i];
        const struct net *net = n->net;
        for (; n->held_count; n->held_count--)
            rte_pktmbuf_free(n->held[n->held_count - 1]);
        SIM_CHECK(s, net->free_count == net->cfg.max_conns && net->stats->tcp_conns == 0,
                  "node %u: %u of %u records are free, %llu counted", i, net->free_count,
                  net->cfg.max_conns, (unsigned long long)net->stats->tcp_conns);
        SIM_CHECK(s, net->wheel.count == 0 && net_next_timer_ns(net) == UINT64_MAX,
                  "node %u: %u timers are set", i, net->wheel.count);
        SIM_CHECK(s,
                  net->flow.count == 0 && net->half_open == 0 && net->time_wait_count == 0 &&
                      list_empty(&net->time_wait) && net->stats->tcp_curr_estab == 0 &&
                      net->stats->tcp_time_wait == 0,
                  "node %u: flows %u, half open %u, time wait %u, established %llu", i,
                  net->flow.count, net->half_open, net->time_wait_count,
                  (unsigned long long)net->stats->tcp_curr_estab);
        for (uint32_t b = 0; b <= net->flow.mask; b++)
            SIM_CHECK(s, net->flow.bucket[b].overflow == 0, "node %u: flow bucket %u overflow %u",
                      i, b, net->flow.bucket[b].overflow);
        SIM_CHECK(s,
                  net->ooo_total_bytes == 0 && !net->ooo_done && net->held_count == 0 &&
                      net->tx_count == 0 && net->dirty_count == 0 && net->reap_count == 0,
                  "node %u: %llu bytes out of order, %u held, %u to send, %u dirty, %u to reap", i,
                  (unsigned long long)net->ooo_total_bytes, net->held_count, net->tx_count,
                  net->dirty_count, net->reap_count);
        SIM_CHECK(s,
                  rte_mempool_in_use_count(n->cfg.pool) == 0 &&
                      rte_mempool_in_use_count(n->cfg.reserve) == 0,
                  "node %u: %u mbufs and %u of the reserve in use", i,
                  rte_mempool_in_use_count(n->cfg.pool), rte_mempool_in_use_count(n->cfg.reserve));
    }
}

/* ---- turns ---- */

static void block_free(void *addr, void *opaque)
{
    (void)addr;
    free(opaque);
}

static struct rte_mbuf *frame_mbuf(struct sim_node *n, struct sim_frame *f)
{
    struct rte_mbuf *m = rte_pktmbuf_alloc(shells);
    CHECK(m);
    struct rte_mbuf_ext_shared_info *info = (void *)f->block;
    info->free_cb = block_free;
    info->fcb_opaque = f->block;
    rte_mbuf_ext_refcnt_set(info, 1);
    rte_pktmbuf_attach_extbuf(m, f->block + BLOCK_HEAD, 0, (uint16_t)f->len, info);
    m->data_len = (uint16_t)f->len;
    m->pkt_len = f->len;
    nic_receive(&n->nic, m);
    return m;
}

/* Frames that are due for this node, as far as they are next in order of time. */
static uint16_t take_due(struct sim *s, struct sim_node *n, struct rte_mbuf **pkts)
{
    uint16_t got = 0;
    while (got < LIMIT_BURST_PKTS && s->heap_len && s->heap[0].at_ns <= s->now_ns &&
           s->heap[0].to == n->id) {
        struct sim_frame f = heap_pop(s);
        if (!f.bad)
            tap_heard(s, n, f.block + BLOCK_HEAD, f.len);
        pkts[got++] = frame_mbuf(n, &f);
    }
    return got;
}

static void net_turn(struct sim_node *n, struct rte_mbuf **pkts, uint16_t count)
{
    uint64_t now = n->sim->now_ns;
    if (count)
        net_input(n->net, pkts, count, now);
    net_input_done(n->net);
    net_timers(n->net, now);
    if (n->step) {
        n->step_next_ns = UINT64_MAX;
        n->step(n->step_ctx, now);
    }
    n->stale = n->net->tx_refused;
    net_output(n->net, now);
}

/* A worker may send mail to others, which may send mail back: all turn, in an order by seed, until
 * nobody has anything to do. */
static void workers_turn(struct sim *s)
{
    int64_t unix_us = 1700000000000000ll + (int64_t)((s->now_ns - SIM_START) / 1000);
    for (unsigned round = 0;; round++) {
        bool worked = false;
        unsigned start = (unsigned)(sim_random(s) % s->nodes);
        for (unsigned i = 0; i < s->nodes; i++) {
            struct sim_node *n = &s->node[(start + i) % s->nodes];
            if (!n->worker)
                continue;
            n->stale = n->net->tx_refused;
            worked |= worker_turn(n->worker, s->now_ns, unix_us);
        }
        if (!worked)
            return;
        SIM_CHECK(s, round < 100000, "the workers never come to rest");
    }
}

static void node_turn(struct sim *s, struct sim_node *n)
{
    struct rte_mbuf *pkts[LIMIT_BURST_PKTS];
    uint16_t count = take_due(s, n, pkts);
    if (!n->worker) {
        net_turn(n, pkts, count);
        return;
    }
    memcpy(n->inbox, pkts, count * sizeof(*pkts));
    n->inbox_len = count;
    workers_turn(s);
}

static uint64_t node_next_ns(const struct sim *s, const struct sim_node *n)
{
    uint64_t t = net_next_timer_ns(n->net);
    if (net_output_pending(n->net) && s->now_ns + 10 * SIM_US < t)
        t = s->now_ns + 10 * SIM_US; /* the wire refused frames: the next loop tries again */
    return n->step_next_ns < t ? n->step_next_ns : t;
}

bool sim_run(struct sim *s, uint64_t until_ns, bool (*done)(void *ctx), void *ctx)
{
    bool due[SIM_NODES] = {false};
    for (unsigned i = 0; i < s->nodes; i++)
        due[i] = true;
    for (;;) {
        for (unsigned i = 0; i < s->nodes; i++) {
            if (due[i])
                node_turn(s, &s->node[i]);
        }
        while (s->heap_len && s->heap[0].at_ns <= s->now_ns)
            node_turn(s, &s->node[s->heap[0].to]);
        if (done && done(ctx))
            return true;
        uint64_t next = s->heap_len ? s->heap[0].at_ns : UINT64_MAX, at[SIM_NODES];
        for (unsigned i = 0; i < s->nodes; i++) {
            at[i] = node_next_ns(s, &s->node[i]);
            next = at[i] < next ? at[i] : next;
        }
        if (next > until_ns || next == UINT64_MAX) {
            if (until_ns != UINT64_MAX && until_ns > s->now_ns)
                s->now_ns = until_ns;
            return false;
        }
        if (next > s->now_ns)
            s->now_ns = next;
        for (unsigned i = 0; i < s->nodes; i++)
            due[i] = at[i] <= s->now_ns;
    }
}

/* ---- profiles ---- */

void sim_profile(struct sim *s, struct sim_impair *im)
{
    *im = (struct sim_impair){.delay_ns = sim_between(s, 5, 200) * SIM_US};
    im->mark_ppm = sim_random(s) % 3 ? 0 : (uint32_t)sim_between(s, 1000, 300000);
    im->split_ppm = sim_random(s) % 3 ? 0 : (uint32_t)sim_between(s, 1000, 500000);
    switch (sim_random(s) % 9) {
    case 0: return; /* clean */
    case 1: im->loss_ppm = (uint32_t)sim_between(s, 1000, 100000); return;
    case 2:
        im->reorder_ppm = (uint32_t)sim_between(s, 1000, 300000);
        im->jitter_ns = im->delay_ns;
        return;
    case 3: im->dup_ppm = (uint32_t)sim_between(s, 1000, 300000); return;
    case 4: im->corrupt_ppm = (uint32_t)sim_between(s, 1000, 80000); return;
    case 5: /* a slow line with a short queue */
        im->bytes_per_s = sim_between(s, 2, 50) * 1000000;
        im->queue_ns = sim_between(s, 1, 20) * SIM_MS;
        return;
    case 6: /* far away */
        im->delay_ns = sim_between(s, 1, 60) * SIM_MS;
        im->jitter_ns = im->delay_ns / 2;
        im->loss_ppm = (uint32_t)sim_between(s, 0, 10000);
        return;
    case 7: /* losses in a row */
        im->burst_ppm = (uint32_t)sim_between(s, 200, 4000);
        im->burst_ns = sim_between(s, 10, 100000) * SIM_US;
        return;
    default: /* all at once */
        im->loss_ppm = (uint32_t)sim_between(s, 0, 40000);
        im->dup_ppm = (uint32_t)sim_between(s, 0, 40000);
        im->corrupt_ppm = (uint32_t)sim_between(s, 0, 40000);
        im->reorder_ppm = (uint32_t)sim_between(s, 0, 100000);
        im->jitter_ns = im->delay_ns;
        return;
    }
}

/* ---- main ---- */

int sim_main(int argc, char **argv, uint64_t (*run)(uint64_t seed, bool verbose),
             void (*summary)(void))
{
    unsigned long long from = 1, to = 20;
    bool verbose = false, once = false;
    for (int i = 1; i < argc; i++) {
        if (!strcmp(argv[i], "--trace")) {
            verbose = once = true;
        } else if (!strcmp(argv[i], "--once")) {
            once = true;
        } else if (strcmp(argv[i], "--seeds") || ++i == argc ||
                   sscanf(argv[i], "%llu..%llu", &from, &to) != 2 || to < from) {
            fprintf(stderr, "usage: %s [--seeds FROM..TO] [--trace] [--once]\n", argv[0]);
            return 2;
        }
    }
    sim_eal_init();
    for (uint64_t seed = from; seed <= to; seed++) {
        uint64_t hash = run(seed, verbose);
        if (verbose)
            printf("seed %llu: trace %016llx\n", (unsigned long long)seed,
                   (unsigned long long)hash);
        if (!once && run(seed, false) != hash) {
            fprintf(stderr, "seed %llu: a second run gave another trace\n",
                    (unsigned long long)seed);
            return 1;
        }
    }
    printf("%llu seeds", to - from + 1);
    summary();
    return 0;
}
