/* The command table as data, and the index over its names.
 *
 * Where in the flow: resp_parse -> cmd_lookup (dispatch.c) -> cmd_find here. Read-only after start, so every thread may use it.
 * Names are compared as two words whatever their case: no name at the top level is longer than 15 bytes, so one multiplication, one
 * cache line and two compares find GET. Subcommands are few and are searched one by one. */
#include "engine/cmd/command_table.h"

#include <assert.h>
#include <string.h>

#include "engine/base/assert.h"

/* ---- rows ---- */

/* Redis derives these categories from the flags; so do we, at compile time. */
#define ACL_OF(flags, acl)                                                                     \
    ((acl) | (((flags)&CMD_WRITE) ? ACL_WRITE : 0) | (((flags)&CMD_READONLY) ? ACL_READ : 0) | \
     (((flags)&CMD_ADMIN) ? ACL_ADMIN | ACL_DANGEROUS : 0) |                                   \
     (((flags)&CMD_PUBSUB) ? ACL_PUBSUB : 0) | (((flags)&CMD_FAST) ? ACL_FAST : ACL_SLOW) |    \
     (((flags)&CMD_BLOCKING) ? ACL_BLOCKING : 0))

#define FN_RUN(id)                 cmd_##id
#define FN_HELP(id)                cmd_help
#define FN_CONTROL(id)             NULL
#define FN_GROUP(id)               NULL

/* First pass: the hot rows. Of the key column only the legacy triple is kept. */
#define NO_KEYS                    0, 0, 0
#define KEYS(first, last, st, ...) first, last, st
#define ROW(id_, run_, arity_, route_, split_, flags_, acl_, first_, last_, step_, ...) \
    [CMD_##id_] = {.fn = FN_##run_(id_),                                                \
                   .arity = (arity_),                                                   \
                   .route = ROUTE_##route_,                                             \
                   .split = SPLIT_##split_,                                             \
                   .flags = (flags_),                                                   \
                   .acl = ACL_OF(flags_, acl_),                                         \
                   .first_key = (first_),                                               \
                   .last_key = (last_),                                                 \
                   .key_step = (step_),                                                 \
                   .detail = &cmd_details[CMD_##id_],                                   \
                   __VA_ARGS__},
#define CMD(id_, name_, run, arity, route, split, flags, acl, keys, tips, doc, args)       \
    ROW(id_, run, arity, route, split, flags, acl, keys, .name = (name_), .full = (name_), \
        .index = CMD_##id_)
#define BOX(id_, name_, run, arity, route, split, flags, acl, keys, tips, doc, args)       \
    ROW(id_, run, arity, route, split, flags, acl, keys, .name = (name_), .full = (name_), \
        .index = CMD_##id_, .subs = &cmd_table[CMD_##id_ + 1],                             \
        .nsubs = CMD_##id_##_end - CMD_##id_ - 1)
#define SUB(box, id_, name_, run, arity, route, split, flags, acl, keys, tips, doc, args)         \
    ROW(id_, run, arity, route, split, flags, acl, keys, .name = (name_), .full = #box "|" name_, \
        .index = ((flags)&CMD_HIDDEN) ? CMD_##box : CMD_##id_, .parent = &cmd_table[CMD_##box])
#define END(box)
const struct cmd_desc cmd_table[CMD_COUNT] = {
#include "engine/cmd/commands.def"
};
#undef CMD
#undef BOX
#undef SUB
#undef END
#undef NO_KEYS
#undef KEYS

/* Second pass: key specifications and docs. Lists end with an empty element. No ## before __VA_ARGS__: it would keep nested ARGs from
 * being expanded. */
// clang-format off
#define NO_KEYS       NULL
#define KEYS(first, last, st, ...) (const struct cmd_keyspec[]){__VA_ARGS__, {0}}
#define KEY(flags_, begin_, last_, step_, ...)                                                     \
    {.flags = (flags_), .begin = (begin_), .last = (last_), .step = (step_), __VA_ARGS__}
#define KEY_COUNTED(flags_, begin_, at_, first_, step_, ...)                                       \
    {.kind = SPEC_COUNTED, .flags = (flags_), .begin = (begin_), .at = (at_), .first = (first_),   \
     .step = (step_), __VA_ARGS__}
#define KEY_WORD(flags_, word_, from_, last_, step_, limit_, ...)                                  \
    {.flags = (flags_), .word = (word_), .from = (from_), .last = (last_), .step = (step_),        \
     .limit = (limit_), __VA_ARGS__}
#define KEY_UNKNOWN(flags_, ...) {.kind = SPEC_UNKNOWN, .flags = (flags_), __VA_ARGS__}
#define NO_TIPS       NULL
#define TIPS(...)     (const char *const[]){__VA_ARGS__, NULL}
#define NO_ARGS       NULL
#define ARGS(...)     (const struct cmd_arg[]){__VA_ARGS__, {0}}
#define ARG_SUBS(...) .sub = (const struct cmd_arg[]){__VA_ARGS__, {0}}
#define ARG(type_, name_, ...) {.type = ARG_##type_, .name = (name_), __VA_ARGS__}
/* What EXPIRE, PEXPIRE, EXPIREAT and PEXPIREAT share. */
#define EXPIRE_ARGS(type_, name_)                                                                  \
    ARGS(ARG(KEY, "key"), ARG(type_, name_),                                                       \
         ARG(ONEOF, "condition", .since = "7.0.0", .flags = ARG_OPTIONAL,                          \
             ARG_SUBS(ARG(TOKEN, "nx", .token = "NX"), ARG(TOKEN, "xx", .token = "XX"),            \
                      ARG(TOKEN, "gt", .token = "GT"), ARG(TOKEN, "lt", .token = "LT"))))
#define DOC(since_, group_, complexity_, summary_, ...)                                            \
    {.since = (since_), .group = (group_), .complexity = (complexity_), .summary = (summary_), __VA_ARGS__}
#define CMD(id, name, run, arity, route, split, flags, acl, keys_, tips_, doc_, args_)             \
    [CMD_##id] = {.keys = keys_, .tips = tips_, .doc = doc_, .args = args_},
#define BOX CMD
#define SUB(box, id, name, run, arity, route, split, flags, acl, keys_, tips_, doc_, args_)        \
    [CMD_##id] = {.keys = keys_, .tips = tips_, .doc = doc_, .args = args_},
#define END(box)
// clang-format on
const struct cmd_detail cmd_details[CMD_COUNT] = {
#include "engine/cmd/commands.def"
};
#undef CMD
#undef BOX
#undef SUB
#undef END

/* ---- the index over the names ----
 *
 * A name is two words: | bytes 0..7 | bytes 8..14, length |, unused bytes zero. A slot keeps the lower-case words and, for each, the
 * bits that must agree: all but 0x20 of the bytes that are letters. So no byte of the request is folded, and "GET", "get" and "gEt"
 * fit while "\x47ET\0" and "GE4" do not. The hash leaves that bit out of every byte. */
#define NAME_BYTES     15
#define INDEX_SLOTS    512 /* for about 230 names at the top level: see name_index_build */
#define LONG_NAMES_MAX 8
#define CASE_BITS      0x2020202020202020ull

struct name_words {
    uint64_t lo, hi;
};
static struct name_slot {
    _Alignas(64) struct name_words words; /* one line a slot */
    struct name_words must;
    const struct cmd_desc *desc;
} name_index[INDEX_SLOTS];
static_assert(sizeof(struct name_slot) == 64, "one probe, one line");

/* Up to eight bytes, zero-filled, with fixed-size loads only. */
static inline uint64_t load_upto8(const uint8_t *p, size_t n)
{
    uint32_t a, b;
    if (n >= 4) {
        memcpy(&a, p, 4);
        memcpy(&b, p + n - 4, 4);
        return a | (uint64_t)b << (8 * (n - 4));
    }
    if (likely_(n == 3)) { /* GET, SET, DEL, TTL */
        uint16_t w;
        memcpy(&w, p, 2);
        return w | (uint64_t)p[2] << 16;
    }
    if (n == 0)
        return 0;
    return p[0] | (uint64_t)p[n / 2] << (8 * (n / 2)) | (uint64_t)p[n - 1] << (8 * (n - 1));
}

static inline struct name_words name_words_of(struct span name)
{
    struct name_words w = {0, (uint64_t)name.n << 56};
    if (likely_(name.n <= 8)) {
        w.lo = load_upto8(name.p, name.n);
    } else {
        memcpy(&w.lo, name.p, 8);
        w.hi |= load_upto8(name.p + 8, name.n - 8);
    }
    return w;
}

static inline uint32_t name_hash(struct name_words w)
{
    uint64_t x = (w.lo & ~CASE_BITS) + (w.hi & ~CASE_BITS) * 31;
    return (uint32_t)((x * 0x9e3779b97f4a7c15) >> 55);
}
static_assert(INDEX_SLOTS == 1 << (64 - 55), "name_hash gives an index");

/* Names of more than NAME_BYTES (GEORADIUSBYMEMBER and its like) are few and are searched one by one. */
static const struct cmd_desc *long_names[LONG_NAMES_MAX];

static __attribute__((noinline, cold)) const struct cmd_desc *find_long(struct span name)
{
    for (int i = 0; i < LONG_NAMES_MAX && long_names[i]; i++)
        if (span_is(name, long_names[i]->name))
            return long_names[i];
    return NULL;
}

const struct cmd_desc *cmd_find(struct span name)
{
    if (unlikely_(name.n > NAME_BYTES))
        return find_long(name);
    struct name_words w = name_words_of(name);
    for (uint32_t i = name_hash(w);; i++) {
        const struct name_slot *s = &name_index[i % INDEX_SLOTS];
        if (likely_((((s->words.lo ^ w.lo) & s->must.lo) | ((s->words.hi ^ w.hi) & s->must.hi)) ==
                    0))
            return s->desc; /* an empty slot fits everything: NULL */
    }
}

/* 0x20 in every byte of a name's word that is a lower-case letter. */
static uint64_t letter_bits(uint64_t w)
{
    uint64_t bits = 0;
    for (int i = 0; i < 64; i += 8) {
        uint8_t c = (uint8_t)(w >> i);
        if (c >= 'a' && c <= 'z')
            bits |= 0x20ull << i;
    }
    return bits;
}

/* Runs before main, so that no thread can see a half-made index. */
__attribute__((constructor)) static void name_index_build(void)
{
    uint32_t count = 0, long_count = 0;
    for (const struct cmd_desc *d = cmd_table; d < cmd_table + CMD_COUNT; d += 1 + d->nsubs) {
        struct span name = span_str(d->name);
        CHECK(!cmd_find(name));
        if (name.n > NAME_BYTES) {
            CHECK(long_count < LONG_NAMES_MAX);
            long_names[long_count++] = d;
            continue;
        }
        CHECK(++count <= INDEX_SLOTS / 2);
        struct name_words w = name_words_of(name);
        uint32_t i = name_hash(w);
        while (name_index[i % INDEX_SLOTS].desc)
            i++;
        struct name_words must = {~letter_bits(w.lo), ~letter_bits(w.hi)};
        name_index[i % INDEX_SLOTS] = (struct name_slot){w, must, d};
    }
}

const struct cmd_desc *cmd_next(const struct cmd_desc *after)
{
    const struct cmd_desc *d = after ? after + 1 + after->nsubs : cmd_table,
                          *end = cmd_table + CMD_COUNT;
    while (d < end && (d->flags & CMD_HIDDEN))
        d += 1 + d->nsubs;
    return d < end ? d : NULL;
}

const struct cmd_desc *cmd_find_sub(const struct cmd_desc *parent, struct span name)
{
    for (uint16_t i = 0; i < parent->nsubs; i++)
        if (span_is(name, parent->subs[i].name))
            return &parent->subs[i];
    return NULL;
}

const struct cmd_desc *cmd_find_full(struct span full)
{
    const uint8_t *bar = full.n ? memchr(full.p, '|', full.n) : NULL;
    const struct cmd_desc *d = cmd_find(bar ? span_of(full.p, (size_t)(bar - full.p)) : full);
    if (d && bar)
        d = cmd_find_sub(d, span_of(bar + 1, (size_t)(full.p + full.n - bar - 1)));
    return d && !(d->flags & CMD_HIDDEN) ? d : NULL;
}
