/* MEMORY STATS, DOCTOR, PURGE, MALLOC-STATS, and LOLWUT. MEMORY USAGE is in server.c.
 *
 * STATS has the fields of Redis 7.0; what has no counterpart here is 0. Each worker tells of its shard and its clients, home adds them up
 * (gather.h). The process as a whole, its resident memory above all, is known to the control process: INFO memory. */
#include <stdio.h>

#include "engine/base/num.h"
#include "engine/cmd/cmd_internal.h"
#include "engine/cmd/gather_internal.h"
#include "engine/cmd/keyref.h"

struct memory_part {
    uint64_t used, peak, clients, lazy, keys;
    uint64_t db_keys[LIMIT_DATABASES];
};

static void memory_send(struct cmd *c)
{
    struct memory_part m = {0};
    struct gather g;
    for (uint32_t i = 0; i < cmd_shards_count(c); i++) {
        const struct shard *s = cmd_shards_nth(c, i);
        m.used += s->mem.used_bytes;
        m.peak += s->mem.peak_bytes;
        m.lazy += s->lazy_bytes;
        for (uint32_t db = 0; db < LIMIT_DATABASES; db++) {
            m.db_keys[db] += ks_count(s, db);
            m.keys += ks_count(s, db);
        }
    }
    if (c->host->ops->client_memory)
        m.clients = c->host->ops->client_memory(c->host);
    gather_begin(&g);
    gather_put(&g, &m, sizeof(m));
    gather_end(c, &g);
}

static void memory_sum(struct memory_part *all, struct gather_part *part, uint32_t n)
{
    *all = (struct memory_part){0};
    for (uint32_t i = 0; i < n; i++) {
        struct memory_part m;
        gather_get(&part[i], &m, sizeof(m));
        all->used += m.used;
        all->peak += m.peak;
        all->clients += m.clients;
        all->lazy += m.lazy;
        all->keys += m.keys;
        for (uint32_t db = 0; db < LIMIT_DATABASES; db++)
            all->db_keys[db] += m.db_keys[db];
    }
}

void cmd_memory_stats(struct cmd *c)
{
    memory_send(c);
}

static void put_int(struct reply *r, const char *name, uint64_t v)
{
    reply_bulk_str(r, name);
    reply_int(r, (int64_t)v);
}

static void put_double(struct reply *r, const char *name, double v)
{
    reply_bulk_str(r, name);
    reply_double(r, v);
}

void memory_stats_finish(struct reply *out, struct gather_part *part, uint32_t n)
{
    struct memory_part m;
    uint32_t dbs = 0;
    memory_sum(&m, part, n);
    for (uint32_t db = 0; db < LIMIT_DATABASES; db++)
        dbs += m.db_keys[db] != 0;
    uint64_t total = m.used + m.clients, peak = m.peak > m.used ? m.peak + m.clients : total;
    reply_map(out, 27 + dbs);
    put_int(out, "peak.allocated", peak);
    put_int(out, "total.allocated", total);
    put_int(out, "startup.allocated", 0);
    put_int(out, "replication.backlog", 0);
    put_int(out, "clients.slaves", 0);
    put_int(out, "clients.normal", m.clients);
    put_int(out, "cluster.links", 0);
    put_int(out, "aof.buffer", 0);
    put_int(out, "lua.caches", 0);
    put_int(out, "functions.caches", 0);
    for (uint32_t db = 0; db < LIMIT_DATABASES; db++) {
        char name[16];
        if (!m.db_keys[db])
            continue;
        snprintf(name, sizeof(name), "db.%u", db);
        reply_bulk_str(out, name);
        reply_map(out, 3);
        put_int(out, "overhead.hashtable.main", 0);
        put_int(out, "overhead.hashtable.expires", 0);
        put_int(out, "overhead.hashtable.slot-to-keys", 0);
    }
    put_int(out, "overhead.total", m.clients);
    put_int(out, "keys.count", m.keys);
    put_int(out, "keys.bytes-per-key", m.keys ? m.used / m.keys : 0);
    put_int(out, "dataset.bytes", m.used);
    put_double(out, "dataset.percentage", total ? 100.0 * (double)m.used / (double)total : 0);
    put_double(out, "peak.percentage", peak ? 100.0 * (double)total / (double)peak : 0);
    put_int(out, "allocator.allocated", total);
    put_int(out, "allocator.active", total);
    put_int(out, "allocator.resident", total);
    put_double(out, "allocator-fragmentation.ratio", 1);
    put_int(out, "allocator-fragmentation.bytes", 0);
    put_double(out, "allocator-rss.ratio", 1);
    put_int(out, "allocator-rss.bytes", 0);
    put_double(out, "rss-overhead.ratio", 1);
    put_int(out, "rss-overhead.bytes", 0);
    put_double(out, "fragmentation", 1);
    put_int(out, "fragmentation.bytes", 0);
}

void cmd_memory_doctor(struct cmd *c)
{
    memory_send(c);
}

void memory_doctor_finish(struct reply *out, struct gather_part *part, uint32_t n)
{
    struct memory_part m;
    char text[512];
    memory_sum(&m, part, n);
    int len;
    if (m.used + m.clients < 5u << 20)
        len = snprintf(text, sizeof(text), "There is too little here to say anything about.\n");
    else if (m.peak > m.used + m.used / 2)
        len = snprintf(text, sizeof(text),
                       "The dataset was %.1f times as large once. What it has given back is used "
                       "again before more is asked of the system.\n",
                       (double)m.peak / (double)m.used);
    else if (m.clients > m.used)
        len = snprintf(text, sizeof(text),
                       "Clients take more memory than the dataset. CLIENT LIST tells who "
                       "(tot-mem); maxmemory-clients bounds them.\n");
    else
        len = snprintf(text, sizeof(text), "Nothing to complain about.\n");
    reply_verbatim(out, "txt", span_of(text, (size_t)len));
}

/* jemalloc gives dirty pages back by its own clock; nothing waits to be purged. */
void cmd_memory_purge(struct cmd *c)
{
    reply_ok(c->out);
}

void cmd_memory_malloc_stats(struct cmd *c)
{
    reply_verbatim(c->out, "txt", SPAN("Stats not supported for the current allocator"));
}

/* LOLWUT [VERSION version] */
void cmd_lolwut(struct cmd *c)
{
    int version;
    if (c->argc == 3 && span_is(c->argv[1], "version") &&
        !cmd_arg_int(c, 2, &version, "ERR value is not an integer or out of range"))
        return;
    reply_verbatim(c->out, "txt", SPAN("Redis ver. 7.0.15\n"));
}
