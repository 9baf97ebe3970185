/* COMMAND DOCS and the HELP of every container, from the docs columns of the table.
 *
 * Where in the flow: ROUTE_LOCAL; reads only the constant table. The shapes of COMMAND DOCS are those of Redis 7.0.15 (redis-cli builds
 * its hints from them); the texts are ours. */
#include <ctype.h>
#include <stdio.h>

#include "engine/base/assert.h"
#include "engine/cmd/cmd_internal.h"

static const char *const arg_types[] = {
    [ARG_STRING] = "string",    [ARG_INTEGER] = "integer", [ARG_DOUBLE] = "double",
    [ARG_KEY] = "key",          [ARG_PATTERN] = "pattern", [ARG_UNIX_TIME] = "unix-time",
    [ARG_TOKEN] = "pure-token", [ARG_ONEOF] = "oneof",     [ARG_BLOCK] = "block",
};

/* ---- DOCS ---- */

static void docs_field(struct reply *r, const char *name, const char *value)
{
    if (!value)
        return;
    reply_bulk_str(r, name);
    reply_bulk_str(r, value);
}

static void docs_args(struct reply *r, const struct cmd_arg *args)
{
    static const char *const flag_names[] = {"optional", "multiple", "multiple_token"};
    size_t n = 0;
    while (args[n].name)
        n++;
    reply_array(r, n);
    for (const struct cmd_arg *a = args; a->name; a++) {
        bool names_keys = a->type == ARG_KEY || (a->type == ARG_PATTERN && a->key_spec);
        reply_map(r, 2u + names_keys + (a->token != NULL) + (a->since != NULL) +
                         (a->deprecated_since != NULL) + (a->flags != 0) + (a->sub != NULL));
        docs_field(r, "name", a->name);
        docs_field(r, "type", arg_types[a->type]);
        if (names_keys) {
            reply_bulk_str(r, "key_spec_index");
            reply_int(r, a->key_spec);
        }
        docs_field(r, "token", a->token);
        docs_field(r, "since", a->since);
        docs_field(r, "deprecated_since", a->deprecated_since);
        if (a->flags) {
            reply_bulk_str(r, "flags");
            reply_set(r, (size_t)__builtin_popcount(a->flags));
            for (size_t i = 0; i < ARRAY_LEN(flag_names); i++)
                if (a->flags & 1u << i)
                    reply_simple(r, flag_names[i]);
        }
        if (a->sub) {
            reply_bulk_str(r, "arguments");
            docs_args(r, a->sub);
        }
    }
}

/* One pair of the outer map: the full name and what is known of it. */
static void docs_reply(struct reply *r, const struct cmd_desc *d)
{
    const struct cmd_detail *detail = d->detail;
    const struct cmd_doc *doc = &detail->doc;
    reply_bulk_str(r, d->full);
    reply_map(r, 4u + (doc->flags != 0) + (doc->deprecated_since != NULL) +
                     (doc->replaced_by != NULL) + (detail->args != NULL) +
                     (cmd_shown_subs(d) != 0));
    docs_field(r, "summary", doc->summary);
    docs_field(r, "since", doc->since);
    docs_field(r, "group", doc->group);
    docs_field(r, "complexity", doc->complexity);
    if (doc->flags) {
        reply_bulk_str(r, "doc_flags");
        reply_set(r, (size_t)__builtin_popcount(doc->flags));
        if (doc->flags & DOC_DEPRECATED)
            reply_simple(r, "deprecated");
        if (doc->flags & DOC_SYSCMD)
            reply_simple(r, "syscmd");
    }
    docs_field(r, "deprecated_since", doc->deprecated_since);
    docs_field(r, "replaced_by", doc->replaced_by);
    if (detail->args) {
        reply_bulk_str(r, "arguments");
        docs_args(r, detail->args);
    }
    if (cmd_shown_subs(d)) {
        reply_bulk_str(r, "subcommands");
        reply_map(r, d->nsubs);
        for (uint16_t i = 0; i < d->nsubs; i++)
            docs_reply(r, &d->subs[i]);
    }
}

void cmd_command_docs(struct cmd *c)
{
    size_t n = 0;
    if (c->argc == 2) {
        for (const struct cmd_desc *d = cmd_next(NULL); d; d = cmd_next(d))
            n++;
        reply_map(c->out, n);
        for (const struct cmd_desc *d = cmd_next(NULL); d; d = cmd_next(d))
            docs_reply(c->out, d);
        return;
    }
    for (uint32_t i = 2; i < c->argc; i++)
        n += cmd_find_full(c->argv[i]) != NULL;
    reply_map(c->out, n);
    for (uint32_t i = 2; i < c->argc; i++) {
        const struct cmd_desc *d = cmd_find_full(c->argv[i]);
        if (d)
            docs_reply(c->out, d);
    }
}

/* ---- HELP ---- */

struct text {
    char s[512];
    size_t n;
};

static void put(struct text *t, const char *s)
{
    size_t n = strlen(s), left = sizeof(t->s) - 1 - t->n;
    n = n < left ? n : left;
    memcpy(t->s + t->n, s, n);
    t->n += n;
    t->s[t->n] = 0;
}

static void put_upper(struct text *t, const char *s)
{
    size_t from = t->n;
    put(t, s);
    for (; from < t->n; from++)
        t->s[from] = (char)toupper((unsigned char)t->s[from]);
}

static void put_args(struct text *t, const struct cmd_arg *args, const char *between);

/* TOKEN <name>, (ONE|OF|THESE), [optional], and so on ... */
static void put_arg(struct text *t, const struct cmd_arg *a)
{
    if (a->flags & ARG_OPTIONAL)
        put(t, "[");
    if (a->token)
        put(t, a->token);
    if (a->token && a->type != ARG_TOKEN)
        put(t, " ");
    if (a->sub) {
        bool oneof = a->type == ARG_ONEOF;
        put(t, oneof ? "(" : "");
        put_args(t, a->sub, oneof ? "|" : " ");
        put(t, oneof ? ")" : "");
    } else if (a->type != ARG_TOKEN) {
        put(t, "<");
        put(t, a->name);
        put(t, ">");
    }
    if (a->flags & ARG_MULTIPLE)
        put(t, " ...");
    if (a->flags & ARG_OPTIONAL)
        put(t, "]");
}

static void put_args(struct text *t, const struct cmd_arg *args, const char *between)
{
    for (const struct cmd_arg *a = args; a->name; a++) {
        put(t, a == args ? "" : between);
        put_arg(t, a);
    }
}

/* Two lines a subcommand, as simple strings: how it is called, what it does. */
void cmd_help(struct cmd *c)
{
    const struct cmd_desc *box = c->desc->parent;
    struct text t = {.n = 0};
    put_upper(&t, box->name);
    put(&t, " <subcommand> [<argument> ...], where the subcommand is one of:");
    reply_array(c->out, 1 + 2u * box->nsubs);
    reply_simple(c->out, t.s);
    for (uint16_t i = 0; i < box->nsubs; i++) {
        const struct cmd_detail *detail = box->subs[i].detail;
        t.n = 0;
        put_upper(&t, box->subs[i].name);
        if (detail->args) {
            put(&t, " ");
            put_args(&t, detail->args, " ");
        }
        reply_simple(c->out, t.s);
        t.n = 0;
        put(&t, "    ");
        put(&t, detail->doc.summary);
        reply_simple(c->out, t.s);
    }
}
