/* COMMAND: what the table says, in the shapes of Redis 7.0.15: COUNT, LIST, INFO, GETKEYS, GETKEYSANDFLAGS. DOCS and HELP are in
 * command_docs.c.
 *
 * Where in the flow: ROUTE_LOCAL; reads only the constant table. Hidden rows are left out everywhere. */
#include "engine/base/assert.h"
#include "engine/base/num.h"
#include "engine/cmd/cmd_internal.h"
#include "engine/cmd/keyref.h"

struct bit_name {
    uint32_t bit;
    const char *name;
};

/* In the order in which Redis lists them. It tells nobody of CMD_MAY_REPLICATE. */
static const struct bit_name command_flags[] = {
    {CMD_WRITE, "write"},
    {CMD_READONLY, "readonly"},
    {CMD_DENYOOM, "denyoom"},
    {CMD_ADMIN, "admin"},
    {CMD_PUBSUB, "pubsub"},
    {CMD_NOSCRIPT, "noscript"},
    {CMD_BLOCKING, "blocking"},
    {CMD_LOADING, "loading"},
    {CMD_STALE, "stale"},
    {CMD_SKIP_MONITOR, "skip_monitor"},
    {CMD_SKIP_SLOWLOG, "skip_slowlog"},
    {CMD_ASKING, "asking"},
    {CMD_FAST, "fast"},
    {CMD_NO_AUTH, "no_auth"},
    {CMD_NO_MANDATORY_KEYS, "no_mandatory_keys"},
    {CMD_NO_ASYNC_LOADING, "no_async_loading"},
    {CMD_NO_MULTI, "no_multi"},
    {CMD_MOVABLE_KEYS, "movablekeys"},
    {CMD_ALLOW_BUSY, "allow_busy"},
};
static const struct bit_name acl_names[] = {
    {ACL_KEYSPACE, "@keyspace"},
    {ACL_READ, "@read"},
    {ACL_WRITE, "@write"},
    {ACL_SET, "@set"},
    {ACL_SORTEDSET, "@sortedset"},
    {ACL_LIST, "@list"},
    {ACL_HASH, "@hash"},
    {ACL_STRING, "@string"},
    {ACL_BITMAP, "@bitmap"},
    {ACL_HYPERLOGLOG, "@hyperloglog"},
    {ACL_GEO, "@geo"},
    {ACL_STREAM, "@stream"},
    {ACL_PUBSUB, "@pubsub"},
    {ACL_ADMIN, "@admin"},
    {ACL_FAST, "@fast"},
    {ACL_SLOW, "@slow"},
    {ACL_BLOCKING, "@blocking"},
    {ACL_DANGEROUS, "@dangerous"},
    {ACL_CONNECTION, "@connection"},
    {ACL_TRANSACTION, "@transaction"},
    {ACL_SCRIPTING, "@scripting"},
};
static const struct bit_name key_flags[] = {
    {KEY_RO, "RO"},
    {KEY_RW, "RW"},
    {KEY_OW, "OW"},
    {KEY_RM, "RM"},
    {KEY_ACCESS, "access"},
    {KEY_UPDATE, "update"},
    {KEY_INSERT, "insert"},
    {KEY_DELETE, "delete"},
    {KEY_NOT_KEY, "not_key"},
    {KEY_INCOMPLETE, "incomplete"},
    {KEY_VARIABLE, "variable_flags"},
};

uint32_t cmd_acl_bit(struct span name)
{
    for (size_t i = 0; i < ARRAY_LEN(acl_names); i++)
        if (span_is(name, acl_names[i].name + 1))
            return acl_names[i].bit;
    return 0;
}

static void reply_bits(struct reply *r, uint32_t bits, const struct bit_name *names, size_t n)
{
    size_t count = 0;
    for (size_t i = 0; i < n; i++)
        count += (bits & names[i].bit) != 0;
    reply_set(r, count);
    for (size_t i = 0; i < n; i++)
        if (bits & names[i].bit)
            reply_simple(r, names[i].name);
}

static uint32_t top_count(void)
{
    uint32_t n = 0;
    for (const struct cmd_desc *d = cmd_next(NULL); d; d = cmd_next(d))
        n++;
    return n;
}

/* ---- INFO ---- */

static void reply_pair(struct reply *r, const char *name, int64_t v)
{
    reply_bulk_str(r, name);
    reply_int(r, v);
}

/* "type" and the head of "spec" with so many fields. */
static void reply_spec(struct reply *r, const char *type, size_t fields)
{
    reply_map(r, 2);
    reply_bulk_str(r, "type");
    reply_bulk_str(r, type);
    reply_bulk_str(r, "spec");
    reply_map(r, fields);
}

static void info_search(struct reply *r, const struct cmd_keyspec *k)
{
    reply_bulk_str(r, "begin_search");
    if (k->word) {
        reply_spec(r, "keyword", 2);
        reply_bulk_str(r, "keyword");
        reply_bulk_str(r, k->word);
        reply_pair(r, "startfrom", k->from);
    } else if (k->kind == SPEC_UNKNOWN) {
        reply_spec(r, "unknown", 0);
    } else {
        reply_spec(r, "index", 1);
        reply_pair(r, "index", k->begin);
    }
}

static void info_find(struct reply *r, const struct cmd_keyspec *k)
{
    reply_bulk_str(r, "find_keys");
    switch (k->kind) {
    case SPEC_COUNTED:
        reply_spec(r, "keynum", 3);
        reply_pair(r, "keynumidx", k->at);
        reply_pair(r, "firstkey", k->first);
        reply_pair(r, "keystep", k->step);
        break;
    case SPEC_UNKNOWN: reply_spec(r, "unknown", 0); break;
    default:
        reply_spec(r, "range", 3);
        reply_pair(r, "lastkey", k->last);
        reply_pair(r, "keystep", k->step);
        reply_pair(r, "limit", k->limit);
    }
}

static void info_keyspec(struct reply *r, const struct cmd_keyspec *k)
{
    reply_map(r, k->note ? 4 : 3);
    if (k->note) {
        reply_bulk_str(r, "notes");
        reply_bulk_str(r, k->note);
    }
    reply_bulk_str(r, "flags");
    reply_bits(r, k->flags, key_flags, ARRAY_LEN(key_flags));
    info_search(r, k);
    info_find(r, k);
}

static void info_reply(struct reply *r, const struct cmd_desc *d)
{
    const struct cmd_detail *detail = d->detail;
    size_t tips = 0, specs = 0;
    while (detail->tips && detail->tips[tips])
        tips++;
    while (detail->keys && detail->keys[specs].flags)
        specs++;
    reply_array(r, 10);
    reply_bulk_str(r, d->full);
    reply_int(r, d->arity);
    reply_bits(r, d->flags, command_flags, ARRAY_LEN(command_flags));
    reply_int(r, d->first_key);
    reply_int(r, d->last_key);
    reply_int(r, d->key_step);
    reply_bits(r, d->acl, acl_names, ARRAY_LEN(acl_names));
    reply_set(r, tips);
    for (size_t i = 0; i < tips; i++)
        reply_bulk_str(r, detail->tips[i]);
    reply_set(r, specs);
    for (size_t i = 0; i < specs; i++)
        info_keyspec(r, &detail->keys[i]);
    if (!cmd_shown_subs(d)) {
        reply_set(r, 0);
        return;
    }
    reply_array(r, d->nsubs);
    for (uint16_t i = 0; i < d->nsubs; i++)
        info_reply(r, &d->subs[i]);
}

static void info_all(struct reply *r)
{
    reply_array(r, top_count());
    for (const struct cmd_desc *d = cmd_next(NULL); d; d = cmd_next(d))
        info_reply(r, d);
}

void cmd_command(struct cmd *c)
{
    info_all(c->out);
}

void cmd_command_info(struct cmd *c)
{
    if (c->argc == 2) {
        info_all(c->out);
        return;
    }
    reply_array(c->out, c->argc - 2);
    for (uint32_t i = 2; i < c->argc; i++) {
        const struct cmd_desc *d = cmd_find_full(c->argv[i]);
        if (d)
            info_reply(c->out, d);
        else
            reply_null(c->out);
    }
}

void cmd_command_count(struct cmd *c)
{
    reply_int(c->out, top_count());
}

/* ---- LIST ---- */

struct list_filter {
    uint32_t acl;        /* rows that have this bit */
    struct span pattern; /* rows whose full name matches */
    bool by_pattern, nothing;
};

static bool list_matches(const struct list_filter *f, const struct cmd_desc *d)
{
    if (f->nothing || (d->flags & CMD_HIDDEN) || (f->acl && !(d->acl & f->acl)))
        return false;
    return !f->by_pattern || glob_match(f->pattern, span_str(d->full), true);
}

/* FILTERBY kind value. False: not understood. */
static bool list_parse(const struct cmd *c, struct list_filter *f)
{
    if (c->argc == 2)
        return true;
    if (c->argc != 5 || !span_is(c->argv[2], "filterby"))
        return false;
    if (span_is(c->argv[3], "module")) {
        f->nothing = true; /* no modules */
    } else if (span_is(c->argv[3], "aclcat")) {
        f->acl = cmd_acl_bit(c->argv[4]);
        f->nothing = !f->acl;
    } else if (span_is(c->argv[3], "pattern")) {
        f->pattern = c->argv[4];
        f->by_pattern = true;
    } else {
        return false;
    }
    return true;
}

void cmd_command_list(struct cmd *c)
{
    struct list_filter f = {0};
    if (!list_parse(c, &f)) {
        cmd_reply_syntax(c);
        return;
    }
    size_t n = 0;
    bool matches[CMD_COUNT];
    for (size_t i = 0; i < CMD_COUNT; i++)
        n += matches[i] = list_matches(&f, &cmd_table[i]);
    reply_array(c->out, n);
    for (size_t i = 0; i < CMD_COUNT; i++)
        if (matches[i])
            reply_bulk_str(c->out, cmd_table[i].full);
}

/* ---- GETKEYS ---- */

/* The command that argv[2..] would be. NULL: the error was written. */
static const struct cmd_desc *getkeys_command(struct cmd *c)
{
    uint32_t argc = c->argc - 2;
    const struct cmd_desc *d = cmd_find_full(c->argv[2]);
    if (d && d->parent) /* "object|encoding" is no command word */
        d = NULL;
    if (d && cmd_shown_subs(d) && argc > 1)
        d = cmd_find_sub(d, c->argv[3]);
    if (!d)
        reply_error(c->out, "ERR Invalid command specified");
    else if (!((const struct cmd_detail *)d->detail)->keys)
        reply_error(c->out, "ERR The command has no key arguments");
    else if (!cmd_arity_ok(d, argc))
        reply_error(c->out, "ERR Invalid number of arguments specified for command");
    else
        return d;
    return NULL;
}

/* What really happens to the keys of a specification that depends on the options: SET reads the old value only with GET, BITFIELD writes
 * only with SET or INCRBY. */
static uint32_t real_key_flags(const struct cmd_keyspec *k, const struct span *argv, uint32_t argc)
{
    if (!(k->flags & KEY_VARIABLE))
        return k->flags;
    if (span_is(argv[0], "bitfield")) {
        for (uint32_t i = 2; i < argc; i++)
            if (span_is(argv[i], "set") || span_is(argv[i], "incrby"))
                return KEY_RW | KEY_ACCESS | KEY_UPDATE;
        return KEY_RO | KEY_ACCESS;
    }
    for (uint32_t i = 3; i < argc; i++)
        if (span_is(argv[i], "get"))
            return KEY_RW | KEY_ACCESS | KEY_UPDATE;
    return KEY_OW | KEY_UPDATE;
}

static void getkeys(struct cmd *c, bool with_flags)
{
    const struct cmd_desc *d = getkeys_command(c);
    if (!d)
        return;
    const struct span *argv = c->argv + 2;
    uint32_t argc = c->argc - 2;
    int n = cmd_keys(d, argv, argc, NULL, 0);
    if (n < 0) {
        reply_error(c->out, "ERR Invalid arguments specified for command");
        return;
    }
    reply_array(c->out, (size_t)n);
    for (const struct cmd_keyspec *k = ((const struct cmd_detail *)d->detail)->keys; k->flags;
         k++) {
        struct cmd_key_range range;
        cmd_spec_keys(d, k, argv, argc, &range); /* cmd_keys has found no fault */
        for (int64_t i = range.first; i <= range.last; i += range.step) {
            if (with_flags)
                reply_array(c->out, 2);
            reply_bulk(c->out, argv[i]);
            if (with_flags)
                reply_bits(c->out, real_key_flags(k, argv, argc), key_flags, ARRAY_LEN(key_flags));
        }
    }
}

void cmd_command_getkeys(struct cmd *c)
{
    getkeys(c, false);
}

void cmd_command_getkeysandflags(struct cmd *c)
{
    getkeys(c, true);
}
