/* Lists get elements: LPUSH, RPUSH, LPUSHX, RPUSHX, LINSERT, LSET.
 *
 * Where in the flow: cmd_call -> here -> list_value, on the lease holder's thread. */
#include "engine/base/num.h"
#include "engine/cmd/command_table.h"
#include "engine/cmd/list_cmd.h"

/* A key for a list that is not under one yet. */
static bool push_new(struct list_key *lk, bool tail, const struct span *elements, uint32_t n)
{
    struct list_value *l = &lk->l;
    struct ql_limits limits = list_limits(lk->s);
    if (!lv_init(l, &lk->s->mem, &limits, elements, n))
        return false;
    for (uint32_t i = 0; i < n; i++)
        if (!lv_push(l, tail, elements[i]))
            goto no_memory;
    lv_shape(l);
    lk->e = ks_set_object(lk->s, lk->db, lk->key, lk->hash, OBJ_LIST,
                          l->quick ? ENC_QUICKLIST : ENC_LISTPACK, &l->b, KS_NO_TTL);
    if (lk->e)
        return true;
no_memory:
    lv_free(l);
    return false;
}

bool list_push_all(struct list_key *lk, bool tail, const struct span *elements, uint32_t n)
{
    if (unlikely_(!lk->e))
        return push_new(lk, tail, elements, n);
    uint32_t done = 0;
    while (done < n && likely_(lv_push(&lk->l, tail, elements[done])))
        done++;
    if (unlikely_(done < n))
        lv_pop(&lk->l, tail, done);
    list_store(lk);
    return done == n;
}

static inline void push(struct cmd *c, bool tail, bool only_existing)
{
    struct list_key lk;
    if (!list_open_write(c, &lk))
        return;
    if (!lk.e && only_existing) {
        reply_int(c->out, 0);
        return;
    }
    if (lk.e && likely_(lk.l.quick) &&
        likely_(c->argc == 3)) { /* nothing to be stored or taken back */
        if (unlikely_(!ql_push(lv_ql(&lk.l), tail, c->argv[2]))) {
            cmd_reply_oom(c);
            return;
        }
        lv_shape(&lk.l);
    } else if (unlikely_(!list_push_all(&lk, tail, c->argv + 2, c->argc - 2))) {
        cmd_reply_oom(c);
        return;
    }
    ks_changed(lk.s, c->db, lk.key, KS_LIST, tail ? "rpush" : "lpush");
    reply_int(c->out, (int64_t)lv_count(&lk.l));
}

void cmd_lpush(struct cmd *c)
{
    push(c, false, false);
}
void cmd_rpush(struct cmd *c)
{
    push(c, true, false);
}
void cmd_lpushx(struct cmd *c)
{
    push(c, false, true);
}
void cmd_rpushx(struct cmd *c)
{
    push(c, true, true);
}

/* The first element that equals the text. */
static bool find(const struct list_value *l, struct span text, struct ql_at *ret)
{
    struct ql_view w;
    struct lp_needle needle = lp_needle_of(text);
    lv_view(l, &w);
    if (!ql_seek(&w, 0, ret))
        return false;
    do {
        if (ql_matches(&w, *ret, &needle))
            return true;
    } while (ql_next(&w, ret));
    return false;
}

void cmd_linsert(struct cmd *c)
{
    struct list_key lk;
    struct ql_at at;
    bool after = span_is(c->argv[2], "after");
    if (!after && !span_is(c->argv[2], "before")) {
        cmd_reply_syntax(c);
        return;
    }
    if (!list_open_write(c, &lk))
        return;
    if (!lk.e) {
        reply_int(c->out, 0);
        return;
    }
    if (!find(&lk.l, c->argv[3], &at)) {
        reply_int(c->out, -1);
        return;
    }
    bool done = lv_insert(&lk.l, at, after, c->argv[4]);
    list_store(&lk);
    if (!done) {
        cmd_reply_oom(c);
        return;
    }
    ks_changed(lk.s, c->db, lk.key, KS_LIST, "linsert");
    reply_int(c->out, (int64_t)lv_count(&lk.l));
}

void cmd_lset(struct cmd *c)
{
    struct list_key lk;
    struct ql_view w;
    struct ql_at at;
    int64_t index;
    if (!list_open_write(c, &lk))
        return;
    if (!lk.e) {
        reply_error(c->out, "ERR no such key");
        return;
    }
    if (!cmd_arg_i64(c, 2, &index))
        return;
    lv_view(&lk.l, &w);
    if (!ql_seek(&w, index, &at)) {
        reply_error(c->out, "ERR index out of range");
        return;
    }
    bool done = lv_replace(&lk.l, at, c->argv[3]);
    list_store(&lk);
    if (!done) {
        cmd_reply_oom(c);
        return;
    }
    ks_changed(lk.s, c->db, lk.key, KS_LIST, "lset");
    reply_ok(c->out);
}
