/* SLOWLOG: see slowlog.h. Entries are cut as Redis cuts them: 32 arguments, 128 bytes of each. */
#include "engine/cmd/slowlog.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "engine/base/num.h"
#include "engine/cmd/cmd_internal.h"
#include "engine/cmd/gather_internal.h"
#include "engine/cmd/keyref.h"

struct slow_entry {
    struct list node;
    uint64_t
        n; /* bytes of a part: id, time, took, queued, argc as u64, then argv, peer, name as texts */
    uint8_t p[];
};

void slowlog_init(struct slowlog *s, uint64_t *next_id)
{
    *s = (struct slowlog){.next_id = next_id};
    list_init(&s->entries);
}

static void drop(struct slowlog *s, struct list *n)
{
    struct slow_entry *e = list_entry(n, struct slow_entry, node);
    list_remove(n);
    s->count--;
    s->bytes -= sizeof(*e) + e->n;
    free(e);
}

void slowlog_reset(struct slowlog *s)
{
    list_for_each_safe(n, next, &s->entries)
    {
        drop(s, n);
    }
}

bool cmd_arg_secret(const struct cmd_desc *d, const struct span *argv, uint32_t argc, uint32_t i)
{
    if (d == &cmd_table[CMD_auth])
        return i > 0;
    if (d != &cmd_table[CMD_hello])
        return false;
    for (uint32_t k = 2; k < argc; k++) {
        if (span_is(argv[k], "auth") && k + 2 < argc) {
            if (i == k + 1 || i == k + 2)
                return true;
            k += 2;
        } else if (span_is(argv[k], "setname")) {
            k++;
        } else {
            return false;
        }
    }
    return false;
}

static void put_arg(struct gather *g, struct span arg)
{
    char more[64];
    if (arg.n <= SLOWLOG_ARG_BYTES) {
        gather_put_text(g, arg);
        return;
    }
    int n = snprintf(more, sizeof(more), "... (%zu more bytes)", arg.n - SLOWLOG_ARG_BYTES);
    gather_put_u64(g, SLOWLOG_ARG_BYTES + (uint64_t)n);
    gather_put(g, arg.p, SLOWLOG_ARG_BYTES);
    gather_put(g, more, (size_t)n);
}

static void put_args(struct gather *g, const struct slow_command *c)
{
    char more[64];
    uint32_t shown = c->argc > SLOWLOG_ARGS ? SLOWLOG_ARGS - 1 : c->argc;
    gather_put_u64(g, c->argc > SLOWLOG_ARGS ? SLOWLOG_ARGS : c->argc);
    for (uint32_t i = 0; i < shown; i++)
        put_arg(g, cmd_arg_secret(c->desc, c->argv, c->argc, i) ? SPAN("(redacted)") : c->argv[i]);
    if (shown == c->argc)
        return;
    int n = snprintf(more, sizeof(more), "... (%u more arguments)", c->argc - shown);
    gather_put_text(g, span_of(more, (size_t)n));
}

void slowlog_add(struct slowlog *s, const struct slow_command *c, uint64_t most)
{
    struct gather g;
    gather_begin(&g);
    gather_put_u64(&g, __atomic_fetch_add(s->next_id, 1, __ATOMIC_RELAXED));
    gather_put_u64(&g, (uint64_t)(c->now_us / 1000000));
    gather_put_u64(&g, c->took_us);
    gather_put_u64(&g, c->queued_us);
    put_args(&g, c);
    gather_put_text(&g, span_str(c->peer));
    gather_put_text(&g, span_str(c->name ? c->name : ""));
    reply_heap_finish(&g.to, &g.heap);
    struct slow_entry *e = g.to.failed ? NULL : malloc(sizeof(*e) + g.heap.len);
    if (e) {
        e->n = g.heap.len;
        memcpy(e->p, g.heap.p, g.heap.len);
        list_push_front(&s->entries, &e->node);
        s->count++;
        s->bytes += sizeof(*e) + e->n;
    }
    reply_heap_free(&g.heap);
    for (struct list *n = s->entries.prev, *prev; s->count > most; n = prev) {
        prev = n->prev;
        drop(s, n);
    }
}

/* ---- the commands ---- */

static void bad_arguments(struct cmd *c)
{
    struct span word = c->argv[1];
    reply_errorf(c->out,
                 "ERR unknown subcommand or wrong number of arguments for '%.*s'. Try SLOWLOG "
                 "HELP.",
                 span_shown(word, 128), (const char *)word.p);
}

/* SLOWLOG GET [count] [WITHQUEUE]: the part begins with what was asked for. */
void cmd_slowlog_get(struct cmd *c)
{
    const struct slowlog *s = c->host->slowlog;
    uint32_t argc = c->argc;
    bool queue = argc > 2 && span_is(c->argv[argc - 1], "withqueue");
    int64_t most = 10;
    argc -= queue;
    if (argc > 3) {
        bad_arguments(c);
        return;
    }
    if ((argc == 3 && !num_parse_i64(c->argv[2], &most)) || most < -1) {
        reply_error(c->out, "ERR count should be greater than or equal to -1");
        return;
    }
    uint64_t kept = c->host->config->slowlog_max_len;
    if (c->part && (most < 0 || (uint64_t)most > kept))
        most = (int64_t)(kept < INT64_MAX ? kept : INT64_MAX);
    struct gather g;
    gather_begin(&g);
    gather_put_u64(&g, (uint64_t)most);
    gather_put_u64(&g, queue);
    if (s) {
        uint64_t left = (uint64_t)most;
        list_for_each (n, &s->entries) {
            const struct slow_entry *e = list_entry(n, struct slow_entry, node);
            if (left-- == 0)
                break;
            gather_put_text(&g, span_of(e->p, e->n));
        }
    }
    gather_end(c, &g);
}

static int newest_first(const void *a, const void *b)
{
    uint64_t x, y;
    memcpy(&x, ((const struct span *)a)->p, sizeof(x));
    memcpy(&y, ((const struct span *)b)->p, sizeof(y));
    return x < y ? 1 : x > y ? -1 : 0;
}

static void reply_entry(struct reply *out, struct span entry, bool queue)
{
    struct gather_part p = {entry.p, entry.p + entry.n, false};
    reply_array(out, queue ? 7 : 6);
    for (int i = 0; i < 3; i++)
        reply_int(out, (int64_t)gather_get_u64(&p));
    uint64_t queued = gather_get_u64(&p), argc = gather_get_u64(&p);
    reply_array(out, argc);
    for (uint64_t i = 0; i < argc; i++)
        reply_bulk(out, gather_get_text(&p));
    reply_bulk(out, gather_get_text(&p));
    reply_bulk(out, gather_get_text(&p));
    if (queue)
        reply_int(out, (int64_t)queued);
}

void slowlog_get_finish(struct reply *out, struct gather_part *part, uint32_t n)
{
    struct span *v = NULL;
    size_t count = 0, room = 0;
    uint64_t most = 0;
    bool queue = false;
    for (uint32_t i = 0; i < n; i++) {
        most = gather_get_u64(&part[i]);
        queue = gather_get_u64(&part[i]);
        while (part[i].p != part[i].end) {
            if (count == room) {
                room = room ? room * 2 : 64;
                struct span *more = realloc(v, room * sizeof(*v));
                if (!more) {
                    free(v);
                    reply_error(out, "ERR out of memory");
                    return;
                }
                v = more;
            }
            v[count] = gather_get_text(&part[i]);
            count += v[count].n >= sizeof(uint64_t);
        }
    }
    if (count > 1)
        qsort(v, count, sizeof(*v), newest_first);
    if (count > most)
        count = most;
    reply_array(out, count);
    for (size_t i = 0; i < count; i++)
        reply_entry(out, v[i], queue);
    free(v);
}

void cmd_slowlog_len(struct cmd *c)
{
    struct gather g;
    gather_begin(&g);
    gather_put_u64(&g, c->host->slowlog ? c->host->slowlog->count : 0);
    gather_put_u64(&g, c->host->config->slowlog_max_len);
    gather_end(c, &g);
}

/* Each worker keeps as many as the whole server may show. */
void slowlog_len_finish(struct reply *out, struct gather_part *part, uint32_t n)
{
    uint64_t count = 0, most = UINT64_MAX;
    for (uint32_t i = 0; i < n; i++) {
        count += gather_get_u64(&part[i]);
        most = gather_get_u64(&part[i]);
    }
    reply_int(out, (int64_t)(n > 1 && count > most ? most : count));
}

void cmd_slowlog_reset(struct cmd *c)
{
    if (c->host->slowlog)
        slowlog_reset(c->host->slowlog);
    reply_ok(c->out);
}
