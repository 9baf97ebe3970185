/* SSCAN key cursor [MATCH pattern] [COUNT n], and what HSCAN has in common with it.
 *
 *   small values (intset, listpack)   all at once, whatever the cursor: 0 is the next one, as in Redis
 *   fieldmap                          the cursor is a position in the order of hashes (fieldmap.h), below 2^48
 *
 * Where in the flow: cmd_call -> here, on the lease holder's thread. */
#include "engine/cmd/field_scan.h"

#include "engine/cmd/command_table.h"
#include "engine/cmd/scan.h"
#include "engine/cmd/set.h"

#define DEFAULT_COUNT 10

bool field_scan_begin(struct cmd *c, struct field_scan *scan)
{
    *scan = (struct field_scan){
        .count = DEFAULT_COUNT, .mem = &c->shard->mem, .now_ms = c->shard->now_ms};
    if (scan_cursor_parse(c->argv[2], &scan->cursor))
        return true;
    reply_error(c->out, "ERR invalid cursor");
    return false;
}

bool field_scan_options(struct cmd *c, struct field_scan *scan)
{
    int64_t count;
    for (uint32_t i = 3; i < c->argc; i += 2) {
        struct span o = c->argv[i];
        bool value = i + 1 < c->argc;
        if (value && span_is(o, "count")) {
            if (!cmd_arg_i64(c, i + 1, &count))
                return false;
            if (count < 1) {
                cmd_reply_syntax(c);
                return false;
            }
            scan->count = (size_t)count;
        } else if (value && span_is(o, "match")) {
            scan->pattern = c->argv[i + 1];
            scan->has_pattern = !span_eq(scan->pattern, SPAN("*"));
        } else {
            cmd_reply_syntax(c);
            return false;
        }
    }
    return true;
}

static void push(struct field_scan *scan, struct span s)
{
    if (scan->n == scan->cap) {
        size_t cap = scan->cap ? scan->cap * 2 : 32;
        void *v = scan->failed ? NULL
                               : mem_realloc(scan->mem, scan->v, scan->cap * sizeof(*scan->v),
                                             cap * sizeof(*scan->v));
        if (!v) {
            scan->failed = true;
            return;
        }
        scan->v = v;
        scan->cap = cap;
    }
    scan->v[scan->n++] = s;
}

void field_scan_add(struct field_scan *scan, struct span field, struct span value)
{
    if (scan->has_pattern && !glob_match(scan->pattern, field, false))
        return;
    push(scan, field);
    if (scan->values)
        push(scan, value);
}

static void add_item(void *ctx, const struct fieldmap_item *item)
{
    struct field_scan *scan = ctx;
    if (item->expire_ms < 0 || item->expire_ms >= scan->now_ms)
        field_scan_add(scan, item->field, item->value);
}

void field_scan_map(struct field_scan *scan, const struct fieldmap *fm)
{
    scan->cursor = fieldmap_scan(fm, scan->cursor, scan->count, add_item, scan);
}

static void reply_cursor(struct cmd *c, uint64_t cursor)
{
    char text[NUM_I64_CHARS];
    reply_array(c->out, 2);
    reply_bulk(c->out, span_of(text, num_format_u64(text, cursor)));
}

void field_scan_reply(struct cmd *c, struct field_scan *scan)
{
    if (scan->failed) {
        cmd_reply_oom(c);
    } else {
        reply_cursor(c, scan->cursor);
        reply_array(c->out, scan->n);
        for (size_t i = 0; i < scan->n; i++)
            reply_bulk(c->out, scan->v[i]);
    }
    if (scan->v)
        mem_free(scan->mem, scan->v, scan->cap * sizeof(*scan->v));
}

void field_scan_nothing(struct cmd *c)
{
    reply_cursor(c, 0);
    reply_array(c->out, 0);
}

/* Texts of numbers have no place to stay: counted first, then written. */
static void scan_ints(struct cmd *c, const struct field_scan *scan, const struct set *s)
{
    for (int pass = 0; pass < 2; pass++) {
        size_t n = 0;
        for (size_t i = 0; i < set_count(s); i++) {
            char text[NUM_I64_CHARS];
            struct span t = span_of(text, num_format_i64(text, intset_get(&s->b, i)));
            if (scan->has_pattern && !glob_match(scan->pattern, t, false))
                continue;
            n++;
            if (pass)
                reply_bulk(c->out, t);
        }
        if (!pass) {
            reply_cursor(c, 0);
            reply_array(c->out, n);
        }
    }
}

void cmd_sscan(struct cmd *c)
{
    struct field_scan scan;
    if (!field_scan_begin(c, &scan))
        return;
    struct keyref k = keyref_first(c, 1);
    const struct entry *e = keyref_read(c, &k);
    if (!e) {
        field_scan_nothing(c);
        return;
    }
    if (!set_check(c, e) || !field_scan_options(c, &scan))
        return;
    struct set s = set_open(c, k.shard, e);
    if (set_is_ints(&s)) {
        scan_ints(c, &scan, &s);
        return;
    }
    field_scan_map(&scan, set_map(&s));
    field_scan_reply(c, &scan);
}
