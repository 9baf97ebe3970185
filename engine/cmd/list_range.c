/* Lists are read: LLEN, LINDEX, LRANGE, LPOS.
 *
 * Where in the flow: cmd_call -> here, on the lease holder's thread. LRANGE writes elements from the blocks straight into the reply. */
#include "engine/base/num.h"
#include "engine/cmd/command_table.h"
#include "engine/cmd/list_cmd.h"
#include "engine/cmd/long_reply.h"

void cmd_llen(struct cmd *c)
{
    struct list_key lk;
    if (list_open_read(c, &lk))
        reply_int(c->out, lk.e ? (int64_t)lv_count(&lk.l) : 0);
}

void cmd_lindex(struct cmd *c)
{
    struct list_key lk;
    struct ql_view w;
    struct ql_at at;
    int64_t index;
    if (!list_open_read(c, &lk))
        return;
    if (!lk.e) {
        reply_null(c->out);
        return;
    }
    if (!cmd_arg_i64(c, 2, &index))
        return;
    lv_view(&lk.l, &w);
    if (ql_seek(&w, index, &at))
        list_reply_value(c->out, ql_get(&w, at));
    else
        reply_null(c->out);
}

/* n elements of a packed block from `at` on, or fewer when it ends. Returns how many. Strings below 64 bytes are most of what lists hold:
 * head, text and end are written without a call for any of them. */
static uint64_t reply_block(struct reply *out, const uint8_t *at, uint64_t n)
{
    uint64_t left = n;
    uint8_t *to = out->cur;
    size_t need = out->muted ? SIZE_MAX : REPLY_BULK_ROOM;
    for (; left && *at != LP_END; left--) {
        size_t len = *at & 63u;
        if (likely_((*at & 0xc0) == LP_STR6) && likely_((size_t)(out->end - to) >= need)) {
            memcpy(to, &reply_bulk_head[len], 8);
            to += 4 + (len >= 10);
            bytes_copy_64(to, at + 1, len);
            memcpy(to + len, "\r\n", 2);
            to += len + 2;
            at += len + 2;
            continue;
        }
        out->cur = to;
        list_reply_value(out, lp_read(at));
        to = out->cur;
        at = lp_skip(at);
    }
    out->cur = to;
    return n - left;
}

void list_reply_range(struct reply *out, const struct list_value *l, uint64_t start, uint64_t n,
                      bool back)
{
    struct ql_view w;
    struct ql_at at;
    lv_view(l, &w);
    if (!n || !ql_seek(&w, (int64_t)start, &at))
        return;
    if (back) {
        do {
            list_reply_value(out, ql_get(&w, at));
        } while (--n && ql_prev(&w, &at));
        return;
    }
    for (;;) {
        if (unlikely_(w.v[at.block].plain)) {
            list_reply_value(out, ql_get(&w, at));
            n--;
        } else {
            n -= reply_block(out, at.at, n);
        }
        if (!n || ++at.block == w.n)
            return;
        at.at = ql_enter(&w.v[at.block]);
    }
}

static bool more_range(struct held *h, struct reply *out, size_t budget)
{
    struct long_reply *r = long_reply_of(h);
    struct ql_view w = ql_view(r->list);
    r->at.at = ql_enter(&w.v[r->at.block]) + r->at_off; /* the window may show another block now */
    for (size_t done = 0; done < budget;) {
        struct lp_value v = ql_get(&w, r->at);
        list_reply_value(out, v);
        done += v.text.n + REPLY_ELEMENT_BYTES;
        if (--r->left == 0)
            return true;
        ql_next(&w, &r->at);
    }
    r->at_off = (size_t)(r->at.at - ql_block_first(&w.v[r->at.block]));
    return false;
}

/* What n elements from `start` on take in their blocks, which may be compressed. */
static double range_bytes(const struct ql_view *w, uint64_t start, uint64_t n)
{
    double bytes = 0;
    uint64_t at = 0;
    for (uint32_t i = ql_block_of(w, &start); at < start + n; i++) {
        bytes += w->v[i].len;
        at += w->v[i].count;
    }
    return bytes;
}

/* A long list, and much of it is asked for. */
static bool range_held(struct cmd *c, const struct list_key *lk, uint64_t start, uint64_t n)
{
    if (likely_(!lk->l.quick))
        return false;
    struct quicklist *q = (struct quicklist *)object_ptr(lk->e);
    struct ql_view w = ql_view(q);
    struct long_reply *r =
        likely_(q->depth == 0)
            ? long_reply_begin(c, lk->s, lk->e, n, q->count, more_range)
            : long_reply_begin_bytes(c, lk->s, lk->e, range_bytes(&w, start, n), more_range);
    if (likely_(!r))
        return false;
    r->list = q;
    r->left = n;
    ql_seek(&w, (int64_t)start, &r->at);
    r->at_off = (size_t)(r->at.at - ql_block_first(&w.v[r->at.block]));
    return true;
}

void cmd_lrange(struct cmd *c)
{
    struct list_key lk;
    int64_t start, end;
    if (!cmd_arg_i64(c, 2, &start) || !cmd_arg_i64(c, 3, &end) || !list_open_read(c, &lk))
        return;
    int64_t n = lk.e ? (int64_t)lv_count(&lk.l) : 0;
    start = start >= 0 ? start : start + n < 0 ? 0 : start + n;
    end = end >= n ? n - 1 : end >= 0 ? end : end + n;
    if (start > end || start >= n) {
        reply_array(c->out, 0);
        return;
    }
    reply_array(c->out, (uint64_t)(end - start) + 1);
    if (!range_held(c, &lk, (uint64_t)start, (uint64_t)(end - start) + 1))
        list_reply_range(c->out, &lk.l, (uint64_t)start, (uint64_t)(end - start) + 1, false);
}

/* ---- LPOS ---- */

#define LPOS_KEPT 64 /* positions of one walk; when there are more, a second walk answers them */

struct lpos {
    int64_t rank;   /* the first match to be told, from 1 on */
    bool back;      /* from the tail */
    bool endless;   /* whatever count says */
    int64_t count;  /* matches wanted at most, 0: all; -1: one, not as an array */
    int64_t maxlen; /* elements to look at, 0: all */
};

static bool lpos_number(struct cmd *c, uint32_t i, const char *error, int64_t *ret)
{
    if (num_parse_i64(c->argv[i], ret) && *ret >= 0)
        return true;
    reply_error(c->out, error);
    return false;
}

static bool lpos_rank(struct cmd *c, uint32_t i, struct lpos *p)
{
    if (!cmd_arg_i64(c, i, &p->rank))
        return false;
    if (p->rank == 0) {
        reply_error(c->out, "ERR RANK can't be zero: use 1 to start from the first match, 2 from "
                            "the second ... or use negative to start from the end of the list");
        return false;
    }
    p->back = p->rank < 0;
    /* Redis cannot negate the lowest one: every match counts then, and COUNT stops at none. */
    p->endless = p->rank == INT64_MIN;
    p->rank = p->endless ? 1 : p->back ? -p->rank : p->rank;
    return true;
}

static bool lpos_args(struct cmd *c, struct lpos *p)
{
    *p = (struct lpos){.rank = 1, .count = -1};
    for (uint32_t i = 3; i < c->argc; i += 2) {
        bool more = i + 1 < c->argc, fine;
        if (more && span_is(c->argv[i], "rank")) {
            fine = lpos_rank(c, i + 1, p);
        } else if (more && span_is(c->argv[i], "count")) {
            fine = lpos_number(c, i + 1, "ERR COUNT can't be negative", &p->count);
        } else if (more && span_is(c->argv[i], "maxlen")) {
            fine = lpos_number(c, i + 1, "ERR MAXLEN can't be negative", &p->maxlen);
        } else {
            cmd_reply_syntax(c);
            fine = false;
        }
        if (!fine)
            return false;
    }
    return true;
}

/* Walks the list. Returns the matches it came by; their positions go to `out` (NULL: nowhere), or the first ones to kept. */
static uint64_t lpos_walk(const struct list_value *l, const struct lpos *p, struct span text,
                          int64_t *kept, struct reply *out)
{
    struct lp_needle needle = lp_needle_of(text);
    struct ql_view w;
    struct ql_at at;
    uint64_t found = 0, wanted = p->count < 0              ? 1
                                 : p->count && !p->endless ? (uint64_t)p->count
                                                           : UINT64_MAX;
    int64_t rank = p->rank, left = p->maxlen ? p->maxlen : INT64_MAX;
    lv_view(l, &w);
    int64_t i = p->back ? (int64_t)w.count - 1 : 0, step = p->back ? -1 : 1;
    bool more = ql_seek(&w, i, &at);
    for (; more && left; left--, i += step) {
        if (unlikely_(ql_matches(&w, at, &needle)) && --rank < 1) {
            if (out)
                reply_int(out, i);
            else if (found < LPOS_KEPT)
                kept[found] = i;
            if (++found == wanted)
                break;
        }
        more = p->back ? ql_prev(&w, &at) : ql_next(&w, &at);
    }
    return found;
}

void cmd_lpos(struct cmd *c)
{
    struct list_key lk;
    struct lpos p;
    int64_t kept[LPOS_KEPT];
    if (!lpos_args(c, &p) || !list_open_read(c, &lk))
        return;
    uint64_t n = lk.e ? lpos_walk(&lk.l, &p, c->argv[2], kept, NULL) : 0;
    if (p.count < 0) {
        if (n)
            reply_int(c->out, kept[0]);
        else
            reply_null(c->out);
        return;
    }
    reply_array(c->out, n);
    if (n > LPOS_KEPT) {
        lpos_walk(&lk.l, &p, c->argv[2], NULL, c->out);
        return;
    }
    for (uint64_t i = 0; i < n; i++)
        reply_int(c->out, kept[i]);
}
