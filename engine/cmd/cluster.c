/* CLUSTER and its kin for core-addressed: each worker is told of as a master that owns the slots of its shard.
 *
 * Nothing here changes: no gossip, no epochs that move, no slots that migrate. Without core-addressed every one of these answers that cluster
 * support is disabled, as redis-server without cluster-enabled. COUNTKEYSINSLOT and GETKEYSINSLOT walk the whole shard: keys are kept by hash,
 * not by slot. */
#include <sha1.h>
#include <stdio.h>
#include <stdlib.h>

#include "engine/base/crc.h"
#include "engine/base/num.h"
#include "engine/cmd/cmd_internal.h"
#include "engine/cmd/found.h"
#include "engine/cmd/keyref.h"

#define NODE_ID_CHARS 40

static bool cluster_on(struct cmd *c)
{
    if (c->host->node_port)
        return true;
    reply_error(c->out, "ERR This instance has cluster support disabled");
    return false;
}

struct node {
    char id[NODE_ID_CHARS + 1];
    uint32_t port, first, last; /* slots first .. last */
};

/* The name of a worker: the same after a restart at the same address. */
static struct node node_of(const struct cmd *c, uint32_t worker)
{
    char text[IP_TEXT_BYTES + 32], ip[IP_TEXT_BYTES];
    uint8_t digest[SHA1_DIGEST_LENGTH];
    SHA1_CTX ctx;
    struct node n = {.port = c->host->node_port + worker};
    ip_format(ip, c->host->node_ip);
    int len = snprintf(text, sizeof(text), "barewire %s %u", ip, n.port);
    SHA1Init(&ctx);
    SHA1Update(&ctx, (const uint8_t *)text, (size_t)len);
    SHA1Final(digest, &ctx);
    for (size_t i = 0; i < sizeof(digest); i++)
        snprintf(n.id + 2 * i, 3, "%02x", digest[i]);
    uint32_t slot = 0, count = c->host->workers;
    while (shard_of_slot(slot, count) != worker)
        slot++;
    n.first = slot;
    while (slot + 1 < LIMIT_CLUSTER_SLOTS && shard_of_slot(slot + 1, count) == worker)
        slot++;
    n.last = slot;
    return n;
}

/* The node that the client speaks to; of the main port its home. */
static uint32_t myself(const struct cmd *c)
{
    return c->session->node ? c->session->node - 1u : c->session->worker;
}

/* The address by which this client reaches us. */
static void endpoint(const struct cmd *c, char to[IP_TEXT_BYTES])
{
    const struct session *s = c->session;
    ip_format(to, s->source == SESSION_NETWORK ? s->ip[SESSION_LOCAL] : c->host->node_ip);
}

void cmd_cluster_myid(struct cmd *c)
{
    if (!cluster_on(c))
        return;
    struct node n = node_of(c, myself(c));
    reply_bulk_str(c->out, n.id);
}

void cmd_cluster_keyslot(struct cmd *c)
{
    if (cluster_on(c))
        reply_int(c->out, key_slot(c->argv[2].p, c->argv[2].n));
}

void cmd_cluster_slots(struct cmd *c)
{
    char ip[IP_TEXT_BYTES];
    if (!cluster_on(c))
        return;
    endpoint(c, ip);
    reply_array(c->out, c->host->workers);
    for (uint32_t i = 0; i < c->host->workers; i++) {
        struct node n = node_of(c, i);
        reply_array(c->out, 3);
        reply_int(c->out, n.first);
        reply_int(c->out, n.last);
        reply_array(c->out, 4);
        reply_bulk_str(c->out, ip);
        reply_int(c->out, n.port);
        reply_bulk_str(c->out, n.id);
        reply_array(c->out, 0);
    }
}

void cmd_cluster_shards(struct cmd *c)
{
    char ip[IP_TEXT_BYTES];
    struct reply *r = c->out;
    if (!cluster_on(c))
        return;
    endpoint(c, ip);
    reply_array(r, c->host->workers);
    for (uint32_t i = 0; i < c->host->workers; i++) {
        struct node n = node_of(c, i);
        reply_map(r, 2);
        reply_bulk_str(r, "slots");
        reply_array(r, 2);
        reply_int(r, n.first);
        reply_int(r, n.last);
        reply_bulk_str(r, "nodes");
        reply_array(r, 1);
        reply_map(r, 7);
        reply_bulk_str(r, "id");
        reply_bulk_str(r, n.id);
        reply_bulk_str(r, "port");
        reply_int(r, n.port);
        reply_bulk_str(r, "ip");
        reply_bulk_str(r, ip);
        reply_bulk_str(r, "endpoint");
        reply_bulk_str(r, ip);
        reply_bulk_str(r, "role");
        reply_bulk_str(r, "master");
        reply_bulk_str(r, "replication-offset");
        reply_int(r, 0);
        reply_bulk_str(r, "health");
        reply_bulk_str(r, "online");
    }
}

static void reply_text(struct cmd *c, struct reply *text, struct reply_heap *heap)
{
    reply_heap_finish(text, heap);
    if (text->failed)
        cmd_reply_oom(c);
    else
        reply_verbatim(c->out, "txt", span_of(heap->p, heap->len));
    reply_heap_free(heap);
}

/* There is no bus: its port is the one by Redis's rule, and nobody listens there. */
void cmd_cluster_nodes(struct cmd *c)
{
    char ip[IP_TEXT_BYTES], line[256];
    struct reply text;
    struct reply_heap heap;
    if (!cluster_on(c))
        return;
    endpoint(c, ip);
    reply_heap_init(&text, &heap, 2);
    for (uint32_t i = 0; i < c->host->workers; i++) {
        struct node n = node_of(c, i);
        int len = snprintf(line, sizeof(line), "%s %s:%u@%u %smaster - 0 0 %u connected %u-%u\n",
                           n.id, ip, n.port, (n.port + 10000) & 0xffff,
                           i == myself(c) ? "myself," : "", i + 1, n.first, n.last);
        reply_raw(&text, line, (size_t)len);
    }
    reply_text(c, &text, &heap);
}

void cmd_cluster_info(struct cmd *c)
{
    char info[768];
    uint32_t nodes = c->host->workers;
    if (!cluster_on(c))
        return;
    int n = snprintf(info, sizeof(info),
                     "cluster_state:ok\r\ncluster_slots_assigned:%u\r\ncluster_slots_ok:%u\r\n"
                     "cluster_slots_pfail:0\r\ncluster_slots_fail:0\r\ncluster_known_nodes:%u\r\n"
                     "cluster_size:%u\r\ncluster_current_epoch:%u\r\ncluster_my_epoch:%u\r\n"
                     "cluster_stats_messages_sent:0\r\ncluster_stats_messages_received:0\r\n"
                     "total_cluster_links_buffer_limit_exceeded:0\r\n",
                     LIMIT_CLUSTER_SLOTS, LIMIT_CLUSTER_SLOTS, nodes, nodes, nodes, myself(c) + 1);
    reply_verbatim(c->out, "txt", span_of(info, (size_t)n));
}

void cmd_cluster_links(struct cmd *c)
{
    if (cluster_on(c))
        reply_array(c->out, 0);
}

static void cluster_ok(struct cmd *c)
{
    if (cluster_on(c))
        reply_ok(c->out);
}
/* Nothing migrates and there are no replicas: each of them is always so. */
void cmd_asking(struct cmd *c)
{
    cluster_ok(c);
}
void cmd_readonly(struct cmd *c)
{
    cluster_ok(c);
}
void cmd_readwrite(struct cmd *c)
{
    cluster_ok(c);
}

/* ---- keys of a slot ---- */

struct slot_walk {
    uint32_t slot;
    uint64_t count, most;
    struct found found;
};

static void slot_visit(void *ctx, struct entry *e)
{
    struct slot_walk *w = ctx;
    struct span key = entry_key(e);
    if (key_slot(key.p, key.n) != w->slot)
        return;
    if (w->count < w->most)
        found_add(&w->found, e);
    w->count++;
}

static void walk_slot(struct cmd *c, struct slot_walk *w)
{
    for (uint32_t i = 0; i < cmd_shards_count(c); i++) {
        struct shard *s = cmd_shards_nth(c, i);
        uint64_t cursor = 0;
        if (shard_of_slot(w->slot, s->count) != s->id)
            continue;
        w->found.mem = &s->mem;
        do {
            cursor = ks_scan(s, 0, cursor, slot_visit, w);
        } while (cursor && !w->found.failed);
    }
}

void cmd_cluster_countkeysinslot(struct cmd *c)
{
    int64_t slot;
    if (!cluster_on(c) || !cmd_arg_i64(c, 2, &slot))
        return;
    if (slot < 0 || slot >= LIMIT_CLUSTER_SLOTS) {
        reply_error(c->out, "ERR Invalid slot");
        return;
    }
    struct slot_walk w = {.slot = (uint32_t)slot};
    walk_slot(c, &w);
    reply_int(c->out, (int64_t)w.count);
}

void cmd_cluster_getkeysinslot(struct cmd *c)
{
    int64_t slot, most;
    if (!cluster_on(c) || !cmd_arg_i64(c, 2, &slot) || !cmd_arg_i64(c, 3, &most))
        return;
    if (slot < 0 || slot >= LIMIT_CLUSTER_SLOTS || most < 0) {
        reply_error(c->out, "ERR Invalid slot or number of keys");
        return;
    }
    struct slot_walk w = {.slot = (uint32_t)slot, .most = (uint64_t)most};
    walk_slot(c, &w);
    if (w.found.failed) {
        cmd_reply_oom(c);
    } else {
        reply_array(c->out, w.found.n);
        for (size_t i = 0; i < w.found.n; i++)
            reply_bulk(c->out, entry_key(w.found.v[i]));
    }
    if (w.found.mem)
        found_free(&w.found);
}
