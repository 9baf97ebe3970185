/* The command table as data, and the index over its names.
 *
 * Where in the flow: resp_parse -> cmd_lookup (dispatch.c) -> cmd_find here. Read-only after start, so every thread may use it.
 * Names are folded to lower case eight bytes at a time and compared as two words: no name is longer than 16 bytes at the top
 * level, so one multiplication, one probe and two compares find GET. Subcommands are few and are searched one by one. */
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

/* ---- the index over the names ---- */

/* Longest name at the top level, and slots of the index: at most a quarter full, so probes are short. */
#define NAME_BYTES  16
#define INDEX_SLOTS 512
static_assert(CMD_COUNT < INDEX_SLOTS / 2, "grow the index");

struct name_words {
    uint64_t lo, hi;
};
static struct name_slot {
    struct name_words words;
    const struct cmd_desc *desc;
    size_t len;
} name_index[INDEX_SLOTS];

/* Lower case for the eight ASCII bytes of a word at once: bit 7 of a byte marks 'A'..'Z', and a quarter of it is 0x20. */
static inline uint64_t fold(uint64_t w)
{
    const uint64_t ones = 0x0101010101010101, seven = w & (0x7f * ones);
    uint64_t from_a = seven + (0x80 - 'A') * ones, past_z = seven + (0x7f - 'Z') * ones;
    return w | ((((from_a ^ past_z) & ~w) & (0x80 * ones)) >> 2);
}

/* Up to eight bytes, zero-filled, with fixed-size loads only. */
static inline uint64_t load_upto8(const uint8_t *p, size_t n)
{
    uint32_t a = 0, b = 0;
    if (n >= 4) {
        memcpy(&a, p, 4);
        memcpy(&b, p + n - 4, 4);
        return a | (uint64_t)b << (8 * (n - 4));
    }
    if (n == 0)
        return 0;
    return p[0] | (uint64_t)p[n / 2] << (8 * (n / 2)) | (uint64_t)p[n - 1] << (8 * (n - 1));
}

static inline struct name_words name_words_of(struct span name)
{
    struct name_words w = {0, 0};
    if (name.n <= 8) {
        w.lo = fold(load_upto8(name.p, name.n));
    } else {
        memcpy(&w.lo, name.p, 8);
        w.lo = fold(w.lo);
        w.hi = fold(load_upto8(name.p + 8, name.n - 8));
    }
    return w;
}

static inline uint32_t name_hash(struct name_words w)
{
    return (uint32_t)(((w.lo ^ (w.hi << 7 | w.hi >> 57)) * 0x9e3779b97f4a7c15) >> 55);
}
static_assert(INDEX_SLOTS == 1 << (64 - 55), "name_hash gives an index");

const struct cmd_desc *cmd_find(struct span name)
{
    if (name.n > NAME_BYTES)
        return NULL;
    struct name_words w = name_words_of(name);
    for (uint32_t i = name_hash(w);; i++) {
        const struct name_slot *s = &name_index[i % INDEX_SLOTS];
        if (s->words.lo == w.lo && s->words.hi == w.hi && s->len == name.n)
            return s->desc; /* an empty name meets an empty slot: NULL */
        if (!s->desc)
            return NULL;
    }
}

/* Runs before main, so that no thread can see a half-made index. */
__attribute__((constructor)) static void name_index_build(void)
{
    for (const struct cmd_desc *d = cmd_table; d < cmd_table + CMD_COUNT; d += 1 + d->nsubs) {
        struct span name = span_str(d->name);
        CHECK(name.n <= NAME_BYTES && !cmd_find(name));
        struct name_words w = name_words_of(name);
        uint32_t i = name_hash(w);
        while (name_index[i % INDEX_SLOTS].desc)
            i++;
        name_index[i % INDEX_SLOTS] = (struct name_slot){w, d, name.n};
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

bool cmd_arity_ok(const struct cmd_desc *d, uint32_t argc)
{
    return d->arity >= 0 ? argc == (uint32_t)d->arity : argc >= (uint32_t)-d->arity;
}
