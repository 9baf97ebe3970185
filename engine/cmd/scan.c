/* SCAN cursor [MATCH pattern] [COUNT n] [TYPE name]: the keyspace in steps, one shard after the other.
 *
 * Where in the flow: router (scan_cursor_shard) -> cmd_call -> here, on the thread that holds the shard's lease. Every key that is
 * there from the first call to the last is answered at least once, whatever the dicts do in between: see scan.h for the cursor and
 * engine/ds/dict.h for the promise it rests on. */
#include "engine/cmd/scan.h"

#include <assert.h>

#include "engine/base/assert.h"
#include "engine/base/num.h"
#include "engine/cmd/command_table.h"
#include "engine/cmd/found.h"
#include "engine/cmd/keyref.h"

#define CURSOR_SHARD_BITS 6
#define CURSOR_SHARD_MASK ((UINT64_C(1) << CURSOR_SHARD_BITS) - 1)
static_assert(LIMIT_WORKERS <= 1 << CURSOR_SHARD_BITS, "a shard's number must fit the cursor");

#define SCAN_DEFAULT_COUNT 10
#define SCAN_STEPS_PER_COUNT \
    10 /* steps over empty buckets before a call gives up: bounds a call on a sparse dict */

bool scan_cursor_parse(struct span text, uint64_t *ret)
{
    size_t i = 0, digits;
    uint64_t v = 0;
    bool minus = false;
    if (i < text.n && (text.p[i] == '-' || text.p[i] == '+'))
        minus = text.p[i++] == '-';
    for (digits = i; i < text.n && text.p[i] >= '0' && text.p[i] <= '9'; i++) {
        if (__builtin_mul_overflow(v, 10, &v) || __builtin_add_overflow(v, text.p[i] - '0', &v))
            return false;
    }
    if (i == digits)
        i = 0;
    if (i < text.n && text.p[i] != 0)
        return false;
    *ret = minus ? 0 - v : v;
    return true;
}

uint32_t scan_cursor_shard(uint64_t cursor, uint32_t count)
{
    return count == 1 ? 0 : (uint32_t)(cursor & CURSOR_SHARD_MASK) % count;
}

struct scan_args {
    uint64_t cursor;
    int64_t count;
    struct span pattern, type;
    bool has_pattern, has_type;
};

/* False: the error was written. */
static bool scan_args_parse(struct cmd *c, struct scan_args *a)
{
    if (!scan_cursor_parse(c->argv[1], &a->cursor)) {
        reply_error(c->out, "ERR invalid cursor");
        return false;
    }
    for (uint32_t i = 2; i < c->argc; i += 2) {
        struct span o = c->argv[i];
        bool value = i + 1 < c->argc;
        if (value && span_is(o, "count")) {
            if (!cmd_arg_i64(c, i + 1, &a->count))
                return false;
            if (a->count < 1) {
                cmd_reply_syntax(c);
                return false;
            }
        } else if (value && span_is(o, "match")) {
            a->pattern = c->argv[i + 1];
            a->has_pattern = !span_eq(a->pattern, SPAN("*"));
        } else if (value && span_is(o, "type")) {
            a->type = c->argv[i + 1];
            a->has_type = true;
        } else {
            cmd_reply_syntax(c);
            return false;
        }
    }
    return true;
}

struct scan_walk {
    const struct scan_args *args;
    uint64_t seen; /* before filters: what COUNT counts */
    struct found found;
};

static void scan_visit(void *ctx, struct entry *e)
{
    struct scan_walk *w = ctx;
    const struct scan_args *a = w->args;
    w->seen++;
    if ((a->has_type && !span_is(a->type, obj_type_name(entry_type(e)))) ||
        (a->has_pattern && !glob_match(a->pattern, entry_key(e), false)))
        return;
    found_add(&w->found, e);
}

/* Walks one shard from the dict's cursor on; returns the dict's next cursor, 0 at the shard's end. */
static uint64_t scan_shard(struct cmd *c, struct shard *s, struct scan_walk *w, uint64_t cursor)
{
    uint64_t want = (uint64_t)w->args->count;
    uint64_t steps =
        want > UINT64_MAX / SCAN_STEPS_PER_COUNT ? UINT64_MAX : want * SCAN_STEPS_PER_COUNT;
    do {
        cursor = ks_scan(s, c->db, cursor, scan_visit, w);
    } while (cursor && !w->found.failed && w->seen < want && steps--);
    return cursor;
}

void cmd_scan(struct cmd *c)
{
    struct scan_args a = {.count = SCAN_DEFAULT_COUNT};
    if (!scan_args_parse(c, &a))
        return;
    uint32_t shards = c->shards->count, shard = scan_cursor_shard(a.cursor, shards);
    struct shard *s = c->shards->v[shard];
    struct scan_walk w = {.args = &a, .found = {.mem = &s->mem}};
    uint64_t next;
    if (c->part && shards > 1) { /* a core-addressed client: this shard is all there is */
        s = c->shard;
        w.found.mem = &s->mem;
    }
    if (c->part || shards == 1) {
        next = scan_shard(c, s, &w, a.cursor);
    } else {
        next = scan_shard(c, s, &w, a.cursor >> CURSOR_SHARD_BITS);
        ASSERT(next >> (64 - CURSOR_SHARD_BITS) == 0);
        if (next)
            next = next << CURSOR_SHARD_BITS | shard;
        else if (shard + 1 < shards)
            next = shard + 1;
    }
    if (w.found.failed) {
        cmd_reply_oom(c);
    } else {
        char text[NUM_I64_CHARS];
        reply_array(c->out, 2);
        reply_bulk(c->out, span_of(text, num_format_u64(text, next)));
        reply_array(c->out, w.found.n);
        for (size_t i = 0; i < w.found.n; i++)
            reply_bulk(c->out, entry_key(w.found.v[i]));
    }
    found_free(&w.found);
}
