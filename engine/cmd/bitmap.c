/* Bitmaps: GETBIT, SETBIT, BITCOUNT, BITPOS, BITOP. (BITFIELD: bitfield.c.)
 *
 * Where in the flow: cmd_call -> here -> keyspace and engine/ds/bits, on the lease holder's thread. BITOP may find its keys on several
 * shards. A string that is written stays "raw", whatever it was before. */
#include "engine/cmd/bitmap.h"

#include "engine/base/num.h"
#include "engine/cmd/command_table.h"

#define NOT_A_BIT "ERR bit is not an integer or out of range"

bool bitmap_offset(struct cmd *c, uint32_t i, unsigned hash_width, uint64_t *ret)
{
    struct span text = c->argv[i];
    bool times = hash_width && text.n && text.p[0] == '#';
    int64_t v;
    if (num_parse_i64(span_of(text.p + times, text.n - times), &v)) {
        if (times)
            v = (int64_t)((uint64_t)v * hash_width);
        if (v >= 0 && (uint64_t)v >> 3 < c->host->config->proto_max_bulk_bytes) {
            *ret = (uint64_t)v;
            return true;
        }
    }
    reply_error(c->out, "ERR bit offset is not an integer or out of range");
    return false;
}

uint8_t *bitmap_for_write(struct cmd *c, const struct keyref *k, uint64_t last_bit, bool *grown)
{
    size_t need = (size_t)(last_bit >> 3) + 1;
    struct entry *e = keyref_write(c, k);
    *grown = !e;
    if (e) {
        if (!cmd_is_string(c, e))
            return NULL;
        size_t have = entry_string_len(e);
        *grown = need > have;
        return cmd_string_bytes(c, k, &e, *grown ? need : have);
    }
    uint8_t *block = mem_calloc(&k->shard->mem, need);
    if (block && ks_set_block(k->shard, c->db, k->key, k->hash, block, need, need, KS_NO_TTL))
        return block;
    if (block)
        mem_free(&k->shard->mem, block, need);
    cmd_reply_oom(c);
    return NULL;
}

void cmd_getbit(struct cmd *c)
{
    struct keyref k = keyref_first(c, 1);
    uint64_t at;
    char scratch[NUM_I64_CHARS];
    if (!bitmap_offset(c, 2, 0, &at))
        return;
    struct entry *e = keyref_read(c, &k);
    if (!e) {
        reply_int(c->out, 0);
    } else if (cmd_is_string(c, e)) {
        struct span v = entry_string(e, scratch);
        reply_int(c->out, bits_test(v.p, v.n, at));
    }
}

void cmd_setbit(struct cmd *c)
{
    struct keyref k = keyref_first(c, 1);
    uint64_t at;
    int64_t bit;
    bool grown;
    if (!bitmap_offset(c, 2, 0, &at))
        return;
    if (!num_parse_i64(c->argv[3], &bit) || (bit & ~INT64_C(1))) {
        reply_error(c->out, NOT_A_BIT);
        return;
    }
    uint8_t *p = bitmap_for_write(c, &k, at, &grown);
    if (!p)
        return;
    bool old = bits_test(p, SIZE_MAX, at);
    if (grown || old != bit) {
        bits_put(p, at, bit);
        keyref_changed(c, &k, KS_STRING, "setbit");
    }
    reply_int(c->out, old);
}

/* ---- ranges ---- */

/* The range as Redis reads it: negative ends count from the end, then both are clamped. In bits when `bits`. */
struct bit_range {
    int64_t start, end;
    bool bits;
};

/* False: the error was written. */
static bool unit_arg(struct cmd *c, uint32_t i, bool *bits)
{
    *bits = span_is(c->argv[i], "bit");
    if (*bits || span_is(c->argv[i], "byte"))
        return true;
    cmd_reply_syntax(c);
    return false;
}

/* To bit positions inside n bytes, both inclusive. False: nothing is in it. */
static bool range_to_bits(const struct bit_range *r, size_t n, uint64_t *from, uint64_t *to)
{
    int64_t total = (int64_t)n * (r->bits ? 8 : 1), start = r->start, end = r->end;
    if (start < 0)
        start += total;
    if (end < 0)
        end += total;
    start = start < 0 ? 0 : start;
    end = end < 0 ? 0 : end;
    if (end >= total)
        end = total - 1;
    if (start > end)
        return false;
    *from = (uint64_t)start << (r->bits ? 0 : 3);
    *to = r->bits ? (uint64_t)end : (uint64_t)end << 3 | 7;
    return true;
}

void cmd_bitcount(struct cmd *c)
{
    struct keyref k = keyref_first(c, 1);
    struct bit_range r = {0, -1, false};
    char scratch[NUM_I64_CHARS];
    struct entry *e = keyref_read(c, &k);
    if (!e) {
        reply_int(c->out, 0);
        return;
    }
    if (!cmd_is_string(c, e))
        return;
    if (c->argc != 2 && c->argc != 4 && c->argc != 5) {
        cmd_reply_syntax(c);
        return;
    }
    if (c->argc > 2) {
        if (!cmd_arg_i64(c, 2, &r.start) || !cmd_arg_i64(c, 3, &r.end))
            return;
        if (r.start < 0 && r.end < 0 && r.start > r.end) {
            reply_int(c->out, 0);
            return;
        }
        if (c->argc == 5 && !unit_arg(c, 4, &r.bits))
            return;
    }
    struct span v = entry_string(e, scratch);
    uint64_t from, to;
    reply_int(c->out,
              range_to_bits(&r, v.n, &from, &to) ? (int64_t)bits_count_range(v.p, from, to) : 0);
}

void cmd_bitpos(struct cmd *c)
{
    struct keyref k = keyref_first(c, 1);
    struct bit_range r = {0, -1, false};
    int64_t bit;
    char scratch[NUM_I64_CHARS];
    if (!cmd_arg_i64(c, 2, &bit))
        return;
    if (bit != 0 && bit != 1) {
        reply_error(c->out, "ERR The bit argument must be 1 or 0.");
        return;
    }
    struct entry *e = keyref_read(c, &k);
    if (!e) {
        reply_int(c->out, bit ? -1 : 0);
        return;
    }
    if (!cmd_is_string(c, e))
        return;
    if (c->argc > 6) {
        cmd_reply_syntax(c);
        return;
    }
    if (c->argc > 3 && !cmd_arg_i64(c, 3, &r.start))
        return;
    if (c->argc == 6 && !unit_arg(c, 5, &r.bits))
        return;
    if (c->argc > 4 && !cmd_arg_i64(c, 4, &r.end))
        return;
    struct span v = entry_string(e, scratch);
    uint64_t from, to;
    if (!range_to_bits(&r, v.n, &from, &to)) {
        reply_int(c->out, -1);
        return;
    }
    int64_t found = bits_find(v.p, from, to, bit);
    /* Without an end the string goes on for ever with zeros. */
    if (found < 0 && bit == 0 && c->argc < 5)
        found = (int64_t)to + 1;
    reply_int(c->out, found);
}

/* ---- BITOP ---- */

/* result = op over all sources, zero-filled to the longest; `n` of its length, not 0. */
static void bitop_fold(struct cmd *c, enum bits_op op, uint8_t *result, size_t n)
{
    char scratch[NUM_I64_CHARS];
    for (uint32_t i = 3; i < c->argc; i++) {
        struct keyref k = keyref_at(c, i);
        struct entry *e = keyref_peek(c, &k);
        struct span v = e ? entry_string(e, scratch) : span_of("", 0);
        if (i == 3) {
            memcpy(result, v.p, v.n);
            memset(result + v.n, 0, n - v.n);
            continue;
        }
        bits_combine(result, v.p, v.n, op);
        if (op == BITS_AND)
            memset(result + v.n, 0, n - v.n);
    }
}

/* The bytes of the longest source. False: one is no string, and the error was written. */
static bool bitop_length(struct cmd *c, size_t *ret)
{
    *ret = 0;
    for (uint32_t i = 3; i < c->argc; i++) {
        struct keyref k = keyref_at(c, i);
        struct entry *e = keyref_read(c, &k);
        if (!e)
            continue;
        if (!cmd_is_string(c, e))
            return false;
        size_t n = entry_string_len(e);
        *ret = n > *ret ? n : *ret;
    }
    return true;
}

static void bitop_store(struct cmd *c, bool invert, enum bits_op op, size_t n)
{
    struct keyref to = keyref_at(c, 2);
    if (n == 0) {
        struct entry *old = keyref_peek(c, &to);
        if (old) {
            ks_delete(to.shard, c->db, old, to.hash, false);
            keyref_changed(c, &to, KS_GENERIC, "del");
        }
        reply_int(c->out, 0);
        return;
    }
    uint8_t *result = mem_alloc(&to.shard->mem, n);
    if (result) {
        bitop_fold(c, op, result, n);
        if (invert)
            bits_invert_in_place(result, n);
    }
    if (!result || !ks_set_block(to.shard, c->db, to.key, to.hash, result, n, n, KS_NO_TTL)) {
        if (result)
            mem_free(&to.shard->mem, result, n);
        cmd_reply_oom(c);
        return;
    }
    keyref_changed(c, &to, KS_STRING, "set");
    reply_int(c->out, (int64_t)n);
}

void cmd_bitop(struct cmd *c)
{
    struct span word = c->argv[1];
    enum bits_op op = BITS_OR;
    bool invert = span_is(word, "not");
    size_t n;
    if (span_is(word, "and")) {
        op = BITS_AND;
    } else if (span_is(word, "xor")) {
        op = BITS_XOR;
    } else if (!invert && !span_is(word, "or")) {
        cmd_reply_syntax(c);
        return;
    }
    if (invert && c->argc != 4) {
        reply_error(c->out, "ERR BITOP NOT must be called with a single source key.");
        return;
    }
    if (bitop_length(c, &n))
        bitop_store(c, invert, op, n);
}
