/* LCS key1 key2 [LEN] [IDX] [MINMATCHLEN n] [WITHMATCHLEN]: the longest common subsequence of two strings.
 *
 * The classic table of lengths of common subsequences of all prefixes, (n + 1) x (m + 1) cells of 4 bytes, filled row by row; the
 * subsequence is read off by walking back from the last cell. Time and memory are the product of both lengths, and
 * proto-max-bulk-len bounds the memory.
 *
 * Where in the flow: cmd_call -> here, on the lease holder's thread; the keys may lie on two shards. */
#include "engine/base/assert.h"
#include "engine/base/num.h"
#include "engine/cmd/command_table.h"
#include "engine/cmd/keyref.h"

struct lcs {
    struct span a, b;
    uint32_t *cells; /* row i (bytes of a), column j (bytes of b) */
    size_t bytes, width;
    bool len, idx, with_match_len;
    int64_t min_match_len;
};

/* A run of equal bytes: a[a_from .. a_from + n) is b[b_from .. b_from + n). */
struct lcs_match {
    uint32_t a_from, b_from, n;
};

static inline uint32_t cell(const struct lcs *l, uint32_t i, uint32_t j)
{
    return l->cells[i * l->width + j];
}

static bool lcs_options(struct cmd *c, struct lcs *l)
{
    for (uint32_t i = 3; i < c->argc; i++) {
        struct span o = c->argv[i];
        if (span_is(o, "idx")) {
            l->idx = true;
        } else if (span_is(o, "len")) {
            l->len = true;
        } else if (span_is(o, "withmatchlen")) {
            l->with_match_len = true;
        } else if (span_is(o, "minmatchlen") && i + 1 < c->argc) {
            if (!cmd_arg_i64(c, ++i, &l->min_match_len))
                return false;
        } else {
            cmd_reply_syntax(c);
            return false;
        }
    }
    if (l->idx && l->len) {
        reply_error(c->out, "ERR If you want both the length and indexes, please just use IDX.");
        return false;
    }
    return true;
}

/* The table's memory. False: the error was written. */
static bool lcs_alloc(struct cmd *c, struct lcs *l)
{
    if (l->a.n >= UINT32_MAX - 1 || l->b.n >= UINT32_MAX - 1) {
        reply_error(c->out, "ERR String too long for LCS");
        return false;
    }
    l->width = l->b.n + 1;
    if (!__builtin_mul_overflow((l->a.n + 1) * sizeof(uint32_t), l->width, &l->bytes)) {
        if (l->bytes > c->host->config->proto_max_bulk_bytes) {
            reply_error(c->out, "ERR Insufficient memory, transient memory for LCS exceeds "
                                "proto-max-bulk-len");
            return false;
        }
        l->cells = mem_alloc(&c->shard->mem, l->bytes);
    }
    if (!l->cells)
        reply_error(c->out, "ERR Insufficient memory, failed allocating transient memory for LCS");
    return l->cells != NULL;
}

static void lcs_fill(struct lcs *l)
{
    memset(l->cells, 0, l->width * sizeof(uint32_t));
    for (size_t i = 1; i <= l->a.n; i++) {
        uint32_t *above = l->cells + (i - 1) * l->width, *row = above + l->width;
        uint8_t byte = l->a.p[i - 1];
        row[0] = 0;
        for (size_t j = 1; j <= l->b.n; j++) {
            if (byte == l->b.p[j - 1])
                row[j] = above[j - 1] + 1;
            else
                row[j] = above[j] > row[j - 1] ? above[j] : row[j - 1];
        }
    }
}

/* Walks back from (*i, *j) to the next run of equal bytes, the last one first. False: there is none. Where both ways are as long
 * the walk goes left in b: which of several subsequences is found is part of the reply. */
static bool lcs_walk(const struct lcs *l, uint32_t *i, uint32_t *j, struct lcs_match *ret)
{
    uint32_t n = 0, a = *i, b = *j;
    while (a > 0 && b > 0) {
        if (l->a.p[a - 1] == l->b.p[b - 1]) {
            a--;
            b--;
            n++;
        } else if (n) {
            break;
        } else if (cell(l, a - 1, b) > cell(l, a, b - 1)) {
            a--;
        } else {
            b--;
        }
    }
    *i = a;
    *j = b;
    *ret = (struct lcs_match){a, b, n};
    return n > 0;
}

static void reply_range(struct reply *out, uint32_t from, uint32_t n)
{
    reply_array(out, 2);
    reply_int(out, from);
    reply_int(out, (int64_t)from + n - 1);
}

static void lcs_reply_idx(struct cmd *c, const struct lcs *l, uint32_t total)
{
    struct lcs_match m;
    size_t matches = 0;
    for (uint32_t i = (uint32_t)l->a.n, j = (uint32_t)l->b.n; lcs_walk(l, &i, &j, &m);)
        matches += m.n >= l->min_match_len;
    reply_map(c->out, 2);
    reply_bulk(c->out, SPAN("matches"));
    reply_array(c->out, matches);
    for (uint32_t i = (uint32_t)l->a.n, j = (uint32_t)l->b.n; lcs_walk(l, &i, &j, &m);) {
        if (m.n < l->min_match_len)
            continue;
        reply_array(c->out, l->with_match_len ? 3 : 2);
        reply_range(c->out, m.a_from, m.n);
        reply_range(c->out, m.b_from, m.n);
        if (l->with_match_len)
            reply_int(c->out, m.n);
    }
    reply_bulk(c->out, SPAN("len"));
    reply_int(c->out, total);
}

static void lcs_reply_text(struct cmd *c, const struct lcs *l, uint32_t total)
{
    if (total == 0) {
        reply_bulk(c->out, span_of(NULL, 0));
        return;
    }
    uint8_t *text = mem_alloc(&c->shard->mem, total);
    if (!text) {
        reply_error(c->out, "ERR Insufficient memory, failed allocating transient memory for LCS");
        return;
    }
    struct lcs_match m;
    size_t at = total;
    for (uint32_t i = (uint32_t)l->a.n, j = (uint32_t)l->b.n; lcs_walk(l, &i, &j, &m);) {
        at -= m.n;
        memcpy(text + at, l->a.p + m.a_from, m.n);
    }
    ASSERT(at == 0);
    reply_bulk(c->out, span_of(text, total));
    mem_free(&c->shard->mem, text, total);
}

void cmd_lcs(struct cmd *c)
{
    struct keyref ka = keyref_first(c, 1), kb = keyref_at(c, 2);
    struct entry *ea = keyref_read(c, &ka), *eb = keyref_read(c, &kb);
    char scratch_a[NUM_I64_CHARS], scratch_b[NUM_I64_CHARS];
    struct lcs l = {0};
    if ((ea && entry_type(ea) != OBJ_STRING) || (eb && entry_type(eb) != OBJ_STRING)) {
        reply_error(c->out, "ERR The specified keys must contain string values");
        return;
    }
    l.a = ea ? entry_string(ea, scratch_a) : SPAN("");
    l.b = eb ? entry_string(eb, scratch_b) : SPAN("");
    if (!lcs_options(c, &l) || !lcs_alloc(c, &l))
        return;
    lcs_fill(&l);
    uint32_t total = cell(&l, (uint32_t)l.a.n, (uint32_t)l.b.n);
    if (l.idx)
        lcs_reply_idx(c, &l, total);
    else if (l.len)
        reply_int(c->out, total);
    else
        lcs_reply_text(c, &l, total);
    mem_free(&c->shard->mem, l.cells, l.bytes);
}
