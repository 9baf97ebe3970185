/* The command table: what commands.def says, as constant data.
 *
 *   cmd_table[CMD_get]            the row a lookup answers (routing, arity, flags): hot
 *   cmd_details[CMD_get]          key specifications and docs of the same row: COMMAND INFO, COMMAND DOCS, cmd_keys
 *   cmd_table[CMD_client + 1 ..]  the subcommands of a container follow it
 *
 * Everything is built by the compiler from commands.def; only the hash index over the names is made at start. */
#pragma once

#include <stdint.h>

#include "engine/cmd/cmd.h"

/* ACL categories, in the order in which Redis lists them. */
enum cmd_acl {
    ACL_KEYSPACE = 1 << 0,
    ACL_READ = 1 << 1,
    ACL_WRITE = 1 << 2,
    ACL_SET = 1 << 3,
    ACL_SORTEDSET = 1 << 4,
    ACL_LIST = 1 << 5,
    ACL_HASH = 1 << 6,
    ACL_STRING = 1 << 7,
    ACL_BITMAP = 1 << 8,
    ACL_HYPERLOGLOG = 1 << 9,
    ACL_GEO = 1 << 10,
    ACL_STREAM = 1 << 11,
    ACL_PUBSUB = 1 << 12,
    ACL_ADMIN = 1 << 13,
    ACL_FAST = 1 << 14,
    ACL_SLOW = 1 << 15,
    ACL_BLOCKING = 1 << 16,
    ACL_DANGEROUS = 1 << 17,
    ACL_CONNECTION = 1 << 18,
    ACL_TRANSACTION = 1 << 19,
    ACL_SCRIPTING = 1 << 20,
};

/* What a command does to the keys of one specification. */
enum cmd_key_flags {
    KEY_RO = 1 << 0,
    KEY_RW = 1 << 1,
    KEY_OW = 1 << 2,
    KEY_RM = 1 << 3,
    KEY_ACCESS = 1 << 4,
    KEY_UPDATE = 1 << 5,
    KEY_INSERT = 1 << 6,
    KEY_DELETE = 1 << 7,
    KEY_NOT_KEY = 1 << 8,
    KEY_INCOMPLETE = 1 << 9,
    KEY_VARIABLE = 1 << 10,
};

enum cmd_keyspec_kind { SPEC_RANGE, SPEC_COUNTED, SPEC_UNKNOWN };

/* SPEC_RANGE: keys from argument `begin` to begin + last (last < 0: counted from the end of the arguments), every `step` arguments. With
 * a `word`, `begin` is the argument behind its first appearance from argument `from` on (from < 0: from the end backwards), and with
 * a limit of n > 1 the keys are the first n-th of what follows. SPEC_COUNTED: argument begin + at is their number, begin + first the first of them. SPEC_UNKNOWN: by
 * rules of the command (cmd_spec_keys). */
struct cmd_keyspec {
    uint16_t flags; /* 0 ends the list */
    int16_t begin, last, step;
    uint8_t kind, limit;
    int16_t from, at, first;
    const char *word;
    const char *note;
};

/* The arguments that a specification names: first, first + step .. last; last < first: none. */
struct cmd_key_range {
    int64_t first, last, step;
};
/* False: the arguments make no sense. Every argument of the range exists. */
bool cmd_spec_keys(const struct cmd_desc *d, const struct cmd_keyspec *k, const struct span *argv,
                   uint32_t argc, struct cmd_key_range *ret);

enum cmd_arg_type {
    ARG_STRING,
    ARG_INTEGER,
    ARG_DOUBLE,
    ARG_KEY,
    ARG_PATTERN,
    ARG_UNIX_TIME,
    ARG_TOKEN,
    ARG_ONEOF,
    ARG_BLOCK,
};
enum cmd_arg_flags { ARG_OPTIONAL = 1, ARG_MULTIPLE = 2, ARG_MULTIPLE_TOKEN = 4 };

struct cmd_arg {
    const char *name; /* NULL ends the list */
    const char *token, *since, *deprecated_since;
    uint8_t type, flags;
    uint8_t key_spec;          /* of ARG_KEY, and of ARG_PATTERN when not 0 */
    const struct cmd_arg *sub; /* of ARG_ONEOF and ARG_BLOCK */
};

enum cmd_doc_flags { DOC_DEPRECATED = 1, DOC_SYSCMD = 2 };

struct cmd_doc {
    const char *since, *group, *complexity, *summary;
    const char *deprecated_since, *replaced_by;
    uint8_t flags;
};

struct cmd_detail {
    const struct cmd_keyspec *keys; /* NULL: none */
    const char *const *tips;        /* NULL-ended, or NULL */
    struct cmd_doc doc;
    const struct cmd_arg *args; /* NULL: none */
};

/* One index a row; a container's subcommands follow it and CMD_x_end closes them. */
enum cmd_index {
#define CMD(id, ...)         CMD_##id,
#define BOX(id, ...)         CMD_##id,
#define SUB(parent, id, ...) CMD_##id,
#define END(parent)          CMD_##parent##_end, CMD_##parent##_rewind = CMD_##parent##_end - 1,
#include "engine/cmd/commands.def"
#undef CMD
#undef BOX
#undef SUB
#undef END
    CMD_COUNT
};

extern const struct cmd_desc cmd_table[CMD_COUNT];
extern const struct cmd_detail cmd_details[CMD_COUNT];

/* The top-level command of that name (any case), or NULL. */
const struct cmd_desc *cmd_find(struct span name);
/* The subcommand of that name (any case), or NULL. */
const struct cmd_desc *cmd_find_sub(const struct cmd_desc *parent, struct span name);
/* "get" or "client|list" (any case); hidden rows are not found. */
const struct cmd_desc *cmd_find_full(struct span full);
/* True when argc fits d's arity. */
static inline bool cmd_arity_ok(const struct cmd_desc *d, uint32_t argc)
{
    return d->arity >= 0 ? argc == (uint32_t)d->arity : argc >= (uint32_t)-d->arity;
}
/* Bit of an ACL category by its name without '@' (any case), 0: no such category. */
uint32_t cmd_acl_bit(struct span name);

/* The n-th row after `after` (NULL: the first) of the top level, without subcommands and hidden rows; NULL at the end. */
const struct cmd_desc *cmd_next(const struct cmd_desc *after);

/* Every function that the table names. One that is missing is a link error. */
#define CMD_PROTO_RUN(id) void cmd_##id(struct cmd *c);
#define CMD_PROTO_HELP(id)
#define CMD_PROTO_CONTROL(id)
#define CMD_PROTO_GROUP(id)
#define CMD(id, name, run, ...)         CMD_PROTO_##run(id)
#define BOX(id, name, run, ...)         CMD_PROTO_##run(id)
#define SUB(parent, id, name, run, ...) CMD_PROTO_##run(id)
#define END(parent)
#include "engine/cmd/commands.def"
#undef CMD
#undef BOX
#undef SUB
#undef END

/* HELP of every container: made from the rows of its subcommands. */
void cmd_help(struct cmd *c);
