/* See gather.h. Where in the flow: cmd_call on each worker, agg_finish at home. */
#include "engine/cmd/gather.h"

#include "engine/cmd/command_table.h"
#include "engine/cmd/gather_internal.h"
#include "engine/cmd/keyref.h"

void gather_begin(struct gather *g)
{
    reply_heap_init(&g->to, &g->heap, 2);
}

void gather_put(struct gather *g, const void *p, size_t n)
{
    reply_raw(&g->to, p, n);
}

void gather_put_u64(struct gather *g, uint64_t v)
{
    gather_put(g, &v, sizeof(v));
}

void gather_put_text(struct gather *g, struct span text)
{
    gather_put_u64(g, text.n);
    gather_put(g, text.p, text.n);
}

void gather_get(struct gather_part *p, void *to, size_t n)
{
    if ((size_t)(p->end - p->p) < n) {
        p->bad = true;
        p->p = p->end;
        memset(to, 0, n);
        return;
    }
    memcpy(to, p->p, n);
    p->p += n;
}

uint64_t gather_get_u64(struct gather_part *p)
{
    uint64_t v;
    gather_get(p, &v, sizeof(v));
    return v;
}

struct span gather_get_text(struct gather_part *p)
{
    uint64_t n = gather_get_u64(p);
    if ((uint64_t)(p->end - p->p) < n) {
        p->bad = true;
        return SPAN("");
    }
    struct span text = span_of(p->p, n);
    p->p += n;
    return text;
}

static gather_fn *finisher(const struct cmd_desc *d)
{
    static const struct {
        uint16_t row;
        gather_fn *fn;
    } rows[] = {
        {CMD_debug_digest, digest_finish},
        {CMD_memory_stats, memory_stats_finish},
        {CMD_memory_doctor, memory_doctor_finish},
        {CMD_slowlog_get, slowlog_get_finish},
        {CMD_slowlog_len, slowlog_len_finish},
        {CMD_latency_latest, latency_latest_finish},
        {CMD_latency_history, latency_history_finish},
        {CMD_latency_reset, latency_reset_finish},
        {CMD_latency_graph, latency_graph_finish},
        {CMD_latency_doctor, latency_doctor_finish},
        {CMD_latency_histogram, latency_histogram_finish},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
        if (d == &cmd_table[rows[i].row])
            return rows[i].fn;
    return NULL;
}

bool gather_finish(const struct cmd_desc *d, struct span parts, struct reply *out)
{
    struct gather_part all = {parts.p, parts.p + parts.n, false}, part[LIMIT_WORKERS];
    gather_fn *fn = finisher(d);
    uint32_t n = 0;
    while (all.p != all.end && n < LIMIT_WORKERS) {
        struct span one = gather_get_text(&all);
        if (all.bad)
            return false;
        part[n++] = (struct gather_part){one.p, one.p + one.n, false};
    }
    if (!fn)
        return false;
    fn(out, part, n);
    return true;
}

void gather_end(struct cmd *c, struct gather *g)
{
    reply_heap_finish(&g->to, &g->heap);
    struct span bytes = span_of(g->heap.p, g->heap.len);
    if (g->to.failed) {
        cmd_reply_oom(c);
    } else if (c->part) {
        reply_bulk(c->out, bytes);
    } else {
        struct gather_part one = {bytes.p, bytes.p + bytes.n, false};
        finisher(c->desc)(c->out, &one, 1);
    }
    reply_heap_free(&g->heap);
}
