/* BITFIELD and BITFIELD_RO: integers of 1 to 64 bits at any bit of a string.
 *
 * Where in the flow: cmd_call -> here -> keyspace and engine/ds/bits, on the lease holder's thread. The arguments are read twice: first all of
 * them are checked and the farthest bit that is written is found, so that a request with a fault in it changes nothing; then they are carried out. */
#include "engine/base/num.h"
#include "engine/cmd/bitmap.h"
#include "engine/cmd/command_table.h"

enum overflow { WRAP, SAT, FAIL };
enum field_op { OP_GET, OP_SET, OP_INCRBY };

struct field {
    enum field_op op;
    enum overflow overflow;
    bool is_signed;
    unsigned width;
    uint64_t at;
    int64_t operand;
};

/* u1..u63, i1..i64, as far as a C string goes. */
static bool field_type(struct cmd *c, uint32_t i, struct field *f)
{
    struct span t = c->argv[i];
    int64_t width;
    if (t.n && (t.p[0] == 'i' || t.p[0] == 'u') &&
        num_parse_i64(span_of(t.p + 1, strnlen((const char *)t.p + 1, t.n - 1)), &width) &&
        width >= 1 && width <= (t.p[0] == 'i' ? 64 : 63)) {
        f->is_signed = t.p[0] == 'i';
        f->width = (unsigned)width;
        return true;
    }
    reply_error(c->out, "ERR Invalid bitfield type. Use something like i16 u8. Note that u64 is "
                        "not supported but i64 is.");
    return false;
}

static bool overflow_type(struct cmd *c, uint32_t i, enum overflow *ret)
{
    static const char *const names[] = {"wrap", "sat", "fail"};
    for (int k = 0; k < 3; k++)
        if (span_is(c->argv[i], names[k])) {
            *ret = (enum overflow)k;
            return true;
        }
    reply_error(c->out, "ERR Invalid OVERFLOW type specified");
    return false;
}

enum step { STEP_FIELD, STEP_END, STEP_ERROR };

/* The next operation from argument *i on; `f` keeps the overflow rule from one to the next. */
static enum step next_field(struct cmd *c, uint32_t *i, struct field *f)
{
    while (*i < c->argc) {
        uint32_t left = c->argc - *i - 1;
        struct span word = c->argv[*i];
        if (span_is(word, "overflow") && left >= 1) {
            if (!overflow_type(c, *i + 1, &f->overflow))
                return STEP_ERROR;
            *i += 2;
            continue;
        }
        if (span_is(word, "get") && left >= 2) {
            f->op = OP_GET;
        } else if (span_is(word, "set") && left >= 3) {
            f->op = OP_SET;
        } else if (span_is(word, "incrby") && left >= 3) {
            f->op = OP_INCRBY;
        } else {
            cmd_reply_syntax(c);
            return STEP_ERROR;
        }
        if (!field_type(c, *i + 1, f) || !bitmap_offset(c, *i + 2, f->width, &f->at) ||
            (f->op != OP_GET && !cmd_arg_i64(c, *i + 3, &f->operand)))
            return STEP_ERROR;
        *i += f->op == OP_GET ? 3 : 4;
        return STEP_FIELD;
    }
    return STEP_END;
}

/* What all operations together ask for. */
struct plan {
    uint32_t count;
    bool writes;
    uint64_t last_bit;
};

static bool read_plan(struct cmd *c, struct plan *ret)
{
    struct plan p = {0};
    struct field f = {.overflow = WRAP};
    enum step s;
    for (uint32_t i = 2; (s = next_field(c, &i, &f)) == STEP_FIELD; p.count++) {
        if (f.op == OP_GET)
            continue;
        p.writes = true;
        if (f.at + f.width - 1 > p.last_bit)
            p.last_bit = f.at + f.width - 1;
    }
    *ret = p;
    return s == STEP_END;
}

/* ---- arithmetic ---- */

static int64_t sign_extend(uint64_t v, unsigned width)
{
    return (int64_t)(v << (64 - width)) >> (64 - width);
}

/* `v` as a field of that width holds it by the overflow rule. False: it does not fit and the rule is FAIL. */
static bool fit(const struct field *f, __int128 v, int64_t *ret)
{
    __int128 max =
        f->is_signed ? ((__int128)1 << (f->width - 1)) - 1 : ((__int128)1 << f->width) - 1;
    __int128 min = f->is_signed ? -max - 1 : 0;
    if (v > max || v < min) {
        if (f->overflow == FAIL)
            return false;
        if (f->overflow == SAT)
            v = v > max ? max : min;
    }
    uint64_t low = (uint64_t)v;
    if (f->is_signed)
        *ret = sign_extend(low, f->width);
    else
        *ret = (int64_t)(low & (UINT64_MAX >> (64 - f->width)));
    return true;
}

static int64_t field_read(const struct field *f, const uint8_t *p, size_t n)
{
    uint64_t v = bits_get(p, n, f->at, f->width);
    return f->is_signed ? sign_extend(v, f->width) : (int64_t)v;
}

/* Carries out a SET or INCRBY and answers it. True: it has written, and the bits have changed or the string was `grown` for it. */
static bool field_write(struct cmd *c, const struct field *f, uint8_t *p, size_t n, bool grown)
{
    int64_t old = field_read(f, p, n), now;
    __int128 v = f->operand;
    if (f->op == OP_INCRBY)
        v += old;
    else if (!f->is_signed)
        v = (uint64_t)f->operand; /* SET u8 -1 is a number far above 255 */
    if (!fit(f, v, &now)) {
        reply_null(c->out);
        return false;
    }
    reply_int(c->out, f->op == OP_INCRBY ? now : old);
    bits_set(p, f->at, f->width, (uint64_t)now);
    return now != old || grown;
}

/* ---- the commands ---- */

static void carry_out(struct cmd *c, const struct plan *plan, const struct keyref *k, uint8_t *p,
                      struct span value, bool grown)
{
    struct field f = {.overflow = WRAP};
    bool changed = false;
    reply_array(c->out, plan->count);
    for (uint32_t i = 2; next_field(c, &i, &f) == STEP_FIELD;) {
        if (f.op != OP_GET)
            changed |= field_write(c, &f, p, value.n, grown);
        else
            reply_int(c->out, field_read(&f, value.p, value.n));
    }
    if (changed)
        keyref_changed(c, k, KS_STRING, "setbit");
    else if (grown) /* and every write refused: Redis tells nobody, but the log must know */
        keyref_changed(c, k, KS_NONE, "bitfield");
}

static void bitfield(struct cmd *c, bool readonly)
{
    struct keyref k = keyref_first(c, 1);
    struct plan plan;
    char scratch[NUM_I64_CHARS];
    if (!read_plan(c, &plan))
        return;
    if (!plan.writes) {
        struct entry *e = keyref_read(c, &k);
        if (!e || cmd_is_string(c, e))
            carry_out(c, &plan, &k, NULL, e ? entry_string(e, scratch) : span_of("", 0), false);
        return;
    }
    if (readonly) {
        reply_error(c->out, "ERR BITFIELD_RO only supports the GET subcommand");
        return;
    }
    bool grown;
    uint8_t *p = bitmap_for_write(c, &k, plan.last_bit, &grown);
    if (!p)
        return;
    const struct entry *e = keyref_peek(c, &k);
    carry_out(c, &plan, &k, p, span_of(p, entry_string_len(e)), grown);
}

void cmd_bitfield(struct cmd *c)
{
    bitfield(c, false);
}

void cmd_bitfield_ro(struct cmd *c)
{
    bitfield(c, true);
}
