/* Lists lose elements: LPOP, RPOP, LMPOP, LMOVE, RPOPLPUSH, LTRIM, LREM.
 *
 * Where in the flow: cmd_call -> here -> list_value, on the thread that holds the leases. LMOVE, RPOPLPUSH and LMPOP may find their keys on
 * several shards. A list that becomes empty leaves with its key. */
#include "engine/base/num.h"
#include "engine/cmd/command_table.h"
#include "engine/cmd/list_cmd.h"

void list_removed(struct list_key *lk, const char *event)
{
    if (likely_(lv_count(&lk->l) != 0)) {
        lv_settle(&lk->l);
        list_store(lk);
        ks_changed(lk->s, lk->db, lk->key, KS_LIST, event);
        return;
    }
    list_store(lk);
    ks_changed(lk->s, lk->db, lk->key, KS_LIST, event);
    ks_delete(lk->s, lk->db, lk->e, lk->hash, false);
    lk->e = NULL;
    ks_changed(lk->s, lk->db, lk->key, KS_GENERIC, "del");
}

bool list_arg_where(struct cmd *c, uint32_t i, bool *tail)
{
    *tail = span_is(c->argv[i], "right");
    if (*tail || span_is(c->argv[i], "left"))
        return true;
    cmd_reply_syntax(c);
    return false;
}

/* ---- popping ---- */

static void reply_head(struct reply *out, const struct span *head)
{
    if (!head)
        return;
    reply_array(out, 2);
    reply_bulk(out, *head);
}

/* n elements from `start` on, for which the list is ready; many blocks of them are freed in slices. */
static void drop(struct list_key *lk, uint64_t start, uint64_t n)
{
    struct quicklist *cut = lk->l.quick ? ql_cut(lv_ql(&lk->l), &start, &n) : NULL;
    if (cut)
        object_drop(lk->s, OBJ_LIST, ENC_QUICKLIST, &(struct mem_block){.p = (uint8_t *)cut});
    lv_delete(&lk->l, start, n);
}

static const char *pop_event(bool tail)
{
    return tail ? "rpop" : "lpop";
}

bool list_pop_one(struct list_key *lk, bool tail, const struct span *head, struct reply *out)
{
    if (unlikely_(!lv_ready_to_pop(&lk->l, tail, 1)))
        return false;
    reply_head(out, head);
    list_reply_value(out, lv_end(&lk->l, tail));
    lv_pop(&lk->l, tail, 1);
    if (likely_(lk->l.quick) && likely_(lv_ql(&lk->l)->n > 1)) { /* nothing to be stored */
        ql_shape(lv_ql(&lk->l));
        ks_changed(lk->s, lk->db, lk->key, KS_LIST, pop_event(tail));
        return true;
    }
    list_removed(lk, pop_event(tail));
    return true;
}

bool list_pop_many(struct list_key *lk, bool tail, uint64_t n, const struct span *head,
                   struct reply *out)
{
    uint64_t count = lv_count(&lk->l);
    n = n < count ? n : count;
    if (!lv_ready_to_pop(&lk->l, tail, n))
        return false;
    reply_head(out, head);
    reply_array(out, n);
    list_reply_range(out, &lk->l, tail ? count - 1 : 0, n, tail);
    drop(lk, tail ? count - n : 0, n);
    list_removed(lk, pop_event(tail));
    return true;
}

/* A count of 0 or more. False: the error was written. */
static bool arg_count(struct cmd *c, uint32_t i, int64_t least, const char *error, int64_t *ret)
{
    if (num_parse_i64(c->argv[i], ret) && *ret >= least)
        return true;
    reply_error(c->out, error);
    return false;
}

static inline void pop(struct cmd *c, bool tail)
{
    struct list_key lk;
    int64_t n = -1;
    if (unlikely_(c->argc > 3)) {
        reply_errorf(c->out, "ERR wrong number of arguments for '%s' command", c->desc->full);
        return;
    }
    if (c->argc == 3 && !arg_count(c, 2, 0, "ERR value is out of range, must be positive", &n))
        return;
    if (!list_open_write(c, &lk))
        return;
    bool done = true;
    if (lk.e && n < 0)
        done = list_pop_one(&lk, tail, NULL, c->out);
    else if (lk.e && n > 0)
        done = list_pop_many(&lk, tail, (uint64_t)n, NULL, c->out);
    else if (lk.e)
        reply_array(c->out, 0);
    else if (n < 0)
        reply_null(c->out);
    else
        reply_null_array(c->out);
    if (unlikely_(!done))
        cmd_reply_oom(c);
}

void cmd_lpop(struct cmd *c)
{
    pop(c, false);
}
void cmd_rpop(struct cmd *c)
{
    pop(c, true);
}

bool list_mpop_args(struct cmd *c, uint32_t first, uint32_t *keys, bool *tail, int64_t *count)
{
    int64_t n;
    *count = -1;
    if (!arg_count(c, first, 1, "ERR numkeys should be greater than 0", &n))
        return false;
    if (n >= (int64_t)c->argc - first - 1) {
        cmd_reply_syntax(c);
        return false;
    }
    *keys = (uint32_t)n;
    uint32_t i = first + 1 + *keys;
    if (!list_arg_where(c, i, tail))
        return false;
    while (++i < c->argc) {
        if (*count >= 0 || !span_is(c->argv[i], "count") || i + 1 == c->argc) {
            cmd_reply_syntax(c);
            return false;
        }
        if (!arg_count(c, ++i, 1, "ERR count should be greater than 0", count))
            return false;
    }
    if (*count < 0)
        *count = 1;
    return true;
}

void cmd_lmpop(struct cmd *c)
{
    uint32_t keys;
    int64_t count;
    bool tail;
    if (!list_mpop_args(c, 1, &keys, &tail, &count))
        return;
    for (uint32_t i = 2; i < 2 + keys; i++) {
        struct list_key lk;
        if (!list_open_at(c, i, &lk))
            return;
        if (!lk.e)
            continue;
        if (!list_pop_many(&lk, tail, (uint64_t)count, &lk.key, c->out))
            cmd_reply_oom(c);
        return;
    }
    reply_null_array(c->out);
}

/* ---- moving ---- */

#define MOVE_SMALL 256 /* texts up to here are set aside on the stack */

/* From one end of a list to its other end; the text must not lie in the list while it is added. */
static bool rotate(struct list_key *lk, bool from_tail, bool to_tail, struct reply *out)
{
    uint8_t small[MOVE_SMALL], *aside = small;
    struct lp_value v = lv_end(&lk->l, from_tail);
    struct span text = v.text;
    if (from_tail == to_tail || lv_count(&lk->l) == 1) {
        list_reply_value(out, v);
        return true;
    }
    if (!v.text.p) {
        text.n = num_format_i64((char *)small, v.number);
    } else {
        if (text.n > MOVE_SMALL && !(aside = mem_alloc(&lk->s->mem, text.n)))
            return false;
        memcpy(aside, text.p, text.n);
    }
    text.p = aside;
    bool done = lv_push(&lk->l, to_tail, text);
    if (done) {
        reply_bulk(out, text);
        lv_pop(&lk->l, from_tail, 1);
    }
    list_store(lk);
    if (aside != small)
        mem_free(&lk->s->mem, aside, text.n);
    return done;
}

bool list_move(struct list_key *from, bool from_tail, struct list_key *to, bool to_tail,
               struct reply *out)
{
    const char *event = to_tail ? "rpush" : "lpush";
    char digits[NUM_I64_CHARS];
    if (!lv_ready_to_pop(&from->l, from_tail, 1))
        return false;
    if (from->e == to->e) {
        if (!rotate(from, from_tail, to_tail, out))
            return false;
        ks_changed(to->s, to->db, to->key, KS_LIST, event);
        ks_changed(from->s, from->db, from->key, KS_LIST, pop_event(from_tail));
        return true;
    }
    struct lp_value v = lv_end(&from->l, from_tail);
    struct span text = v.text.p ? v.text : span_of(digits, num_format_i64(digits, v.number));
    if (!list_push_all(to, to_tail, &text, 1))
        return false;
    reply_bulk(out, text);
    ks_changed(to->s, to->db, to->key, KS_LIST, event);
    lv_pop(&from->l, from_tail, 1);
    list_removed(from, pop_event(from_tail));
    return true;
}

static void move(struct cmd *c, bool from_tail, bool to_tail)
{
    struct list_key from, to;
    if (!list_open_write(c, &from))
        return;
    if (!from.e) {
        reply_null(c->out);
        return;
    }
    if (list_open_at(c, 2, &to) && !list_move(&from, from_tail, &to, to_tail, c->out))
        cmd_reply_oom(c);
}

void cmd_lmove(struct cmd *c)
{
    bool from_tail, to_tail;
    if (list_arg_where(c, 3, &from_tail) && list_arg_where(c, 4, &to_tail))
        move(c, from_tail, to_tail);
}
void cmd_rpoplpush(struct cmd *c)
{
    move(c, true, false);
}

/* ---- removing ---- */

void cmd_ltrim(struct cmd *c)
{
    struct list_key lk;
    int64_t start, end;
    if (!cmd_arg_i64(c, 2, &start) || !cmd_arg_i64(c, 3, &end) || !list_open_write(c, &lk))
        return;
    if (!lk.e) {
        reply_ok(c->out);
        return;
    }
    int64_t n = (int64_t)lv_count(&lk.l);
    start = start >= 0 ? start : start + n < 0 ? 0 : start + n;
    end = end >= n ? n - 1 : end >= 0 ? end : end + n;
    if (start > end || start >= n) {
        start = n;
        end = n - 1;
    }
    if (!lv_ready(&lk.l, (uint64_t)end + 1, (uint64_t)(n - 1 - end)) ||
        !lv_ready(&lk.l, 0, (uint64_t)start)) {
        cmd_reply_oom(c);
        return;
    }
    drop(&lk, (uint64_t)end + 1, (uint64_t)(n - 1 - end));
    drop(&lk, 0, (uint64_t)start);
    list_removed(&lk, "ltrim");
    reply_ok(c->out);
}

void cmd_lrem(struct cmd *c)
{
    struct list_key lk;
    int64_t count;
    if (!cmd_arg_i64(c, 2, &count))
        return;
    if (!list_open_write(c, &lk))
        return;
    if (!lk.e) {
        reply_int(c->out, 0);
        return;
    }
    uint64_t limit = count == 0 ? UINT64_MAX : count < 0 ? 0 - (uint64_t)count : (uint64_t)count;
    struct quicklist *gone;
    uint64_t n;
    if (!lv_remove(&lk.l, c->argv[3], count < 0, limit, &n, &gone)) {
        cmd_reply_oom(c);
        return;
    }
    if (gone)
        object_drop(lk.s, OBJ_LIST, ENC_QUICKLIST, &(struct mem_block){.p = (uint8_t *)gone});
    if (n)
        list_removed(&lk, "lrem");
    reply_int(c->out, (int64_t)n);
}
