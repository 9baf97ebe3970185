/* Streams grow and shrink: XADD, XTRIM, XDEL, XSETID, XLEN.
 *
 * Where in the flow: cmd_call -> here -> engine/ds/stream.c, on the lease holder's thread. Orders of checks and texts are those of Redis 7.0.15. A
 * stream without entries stays under its key, as in Redis. */
#include "engine/base/num.h"
#include "engine/cmd/command_table.h"
#include "engine/cmd/effect.h"
#include "engine/cmd/stream_cmd.h"

#define TRIM_NODES      100 /* of a trim by nodes without LIMIT */
#define TRIM_LIMIT      10000
#define TRIM_LIMIT_MOST 1000000

/* ---- arguments of XADD and XTRIM ---- */

enum trim_by { TRIM_NONE, TRIM_MAXLEN, TRIM_MINID };

struct add_args {
    struct stream_trim trim;
    enum trim_by by;
    bool no_make, id_given, auto_seq, limit_given;
    struct stream_id id;
    uint32_t id_at; /* argument of the id; fields follow */
};

static bool error(struct cmd *c, const char *text)
{
    reply_error(c->out, text);
    return false;
}

/* MAXLEN or MINID at argument *i, which moves to the last one taken. */
static bool arg_strategy(struct cmd *c, uint32_t *i, enum trim_by by, struct add_args *a)
{
    int64_t keep;
    if (a->by)
        return error(c, "ERR syntax error, MAXLEN and MINID options at the same time are not "
                        "compatible");
    a->trim.nodes = false;
    if (c->argc - *i - 1 >= 2 && stream_arg_is(c->argv[*i + 1], '~')) {
        a->trim.nodes = true;
        ++*i;
    } else if (c->argc - *i - 1 >= 2 && stream_arg_is(c->argv[*i + 1], '=')) {
        ++*i;
    }
    ++*i;
    a->by = by;
    a->trim.by_id = by == TRIM_MINID;
    if (by == TRIM_MINID)
        return stream_arg_id(c, *i, &a->trim.least);
    if (!cmd_arg_i64(c, *i, &keep))
        return false;
    if (keep < 0)
        return error(c, "ERR The MAXLEN argument must be >= 0.");
    a->trim.keep = (uint64_t)keep;
    return true;
}

static bool arg_limit(struct cmd *c, uint32_t i, struct add_args *a)
{
    if (!cmd_arg_i64(c, i, &a->trim.limit))
        return false;
    if (a->trim.limit < 0)
        return error(c, "ERR The LIMIT argument must be >= 0.");
    a->limit_given = true;
    return true;
}

/* What the options mean together. */
static bool settle_args(struct cmd *c, bool add, struct add_args *a)
{
    if (a->trim.limit && !a->by)
        return error(c, "ERR syntax error, LIMIT cannot be used without specifying a trimming "
                        "strategy");
    if (!add && !a->by)
        return error(c, "ERR syntax error, XTRIM must be called with a trimming strategy");
    if (a->limit_given && !a->trim.nodes)
        return error(c, "ERR syntax error, LIMIT cannot be used without the special ~ option");
    if (!a->limit_given && a->trim.nodes) {
        int64_t limit;
        if (__builtin_mul_overflow(c->host->config->stream_node_max_entries, TRIM_NODES, &limit) ||
            limit <= 0)
            limit = TRIM_LIMIT;
        a->trim.limit = limit < TRIM_LIMIT_MOST ? limit : TRIM_LIMIT_MOST;
    }
    return true;
}

/* False: the error was written. */
static bool add_or_trim_args(struct cmd *c, bool add, struct add_args *a)
{
    *a = (struct add_args){0};
    uint32_t i = 2;
    for (; i < c->argc; i++) {
        struct span o = c->argv[i];
        bool more = i + 1 < c->argc;
        if (add && stream_arg_is(o, '*'))
            break;
        if (more && span_is(o, "maxlen")) {
            if (!arg_strategy(c, &i, TRIM_MAXLEN, a))
                return false;
        } else if (more && span_is(o, "minid")) {
            if (!arg_strategy(c, &i, TRIM_MINID, a))
                return false;
        } else if (more && span_is(o, "limit")) {
            if (!arg_limit(c, ++i, a))
                return false;
        } else if (add && span_is(o, "nomkstream")) {
            a->no_make = true;
        } else if (add) {
            a->id_given = true;
            if (!stream_id_parse(o, 0, &a->id, &a->auto_seq))
                return error(c, "ERR Invalid stream ID specified as stream command argument");
            break;
        } else {
            cmd_reply_syntax(c);
            return false;
        }
    }
    a->id_at = i;
    return settle_args(c, add, a);
}

/* ---- XADD ---- */

static const char too_large_text[] = "ERR Elements are too large to be stored";

/* The id of the new entry. False: the error was written. */
static bool next_id(struct cmd *c, const struct add_args *a, struct stream_id last,
                    struct stream_id *ret)
{
    uint64_t now = (uint64_t)stream_now_ms(c);
    if (last.ms == UINT64_MAX && last.seq == UINT64_MAX)
        return error(c, "ERR The stream has exhausted the last possible ID, unable to add more "
                        "items");
    if (likely_(!a->id_given)) {
        *ret = (struct stream_id){now, 0};
        if (now <= last.ms) {
            *ret = last;
            stream_id_incr(ret);
        }
        return true;
    }
    *ret = a->id;
    if (a->auto_seq && a->id.ms == last.ms) {
        ret->seq = last.seq + 1;
        if (last.seq < UINT64_MAX)
            return true;
        return error(c, too_large_text); /* what Redis says here */
    }
    if (stream_id_less(last, *ret))
        return true;
    return error(c, "ERR The ID specified in XADD is equal or smaller than the target stream top "
                    "item");
}

/* Puts the entry into a stream of its own, under the key. False: no memory. */
static bool add_first(struct stream_key *sk, const struct stream_limits *limits,
                      struct stream_id id, const struct span *texts, uint32_t n)
{
    size_t freed;
    struct stream *st = stream_create(&sk->k.shard->mem);
    if (!st)
        return false;
    if (stream_append(st, limits, id, texts, n) && stream_put(sk, st))
        return true;
    stream_free_slice(st, SIZE_MAX, &freed);
    return false;
}

static struct stream_limits limits_of(const struct cmd *c)
{
    const struct engine_config *cfg = c->host->config;
    return (struct stream_limits){cfg->stream_node_max_bytes, cfg->stream_node_max_entries};
}

static bool too_large(const struct span *texts, uint32_t n)
{
    size_t sum = 0;
    for (uint32_t i = 0; i < n; i++)
        sum += texts[i].n;
    return sum > STREAM_ENTRY_MAX_BYTES;
}

/* The entry with the id that it got, and what a trim has really left: nodes may lie otherwise where this is done again. */
static void say_trimmed(struct cmd *c, const struct stream_key *sk)
{
    char number[NUM_I64_CHARS];
    CMD_SAY(c, SPAN("XTRIM"), sk->k.key, SPAN("MAXLEN"), SPAN("="),
            effect_number(number, (int64_t)sk->st->length));
}

static void say_added(struct cmd *c, const struct add_args *a, struct stream_id id)
{
    char text[STREAM_ID_CHARS];
    if (!cmd_journals(c))
        return;
    struct span *argv = c->argv + a->id_at - 2; /* XADD and the key, or options behind them */
    struct span kept[3] = {argv[0], argv[1], argv[2]}, key = c->argv[1];
    argv[0] = SPAN("XADD");
    argv[1] = key;
    argv[2] = stream_id_text(text, id);
    cmd_say(c, argv, c->argc - a->id_at + 2);
    memcpy(argv, kept, sizeof(kept));
}

void cmd_xadd(struct cmd *c)
{
    struct add_args a;
    struct stream_key sk;
    struct stream_id id;
    if (!add_or_trim_args(c, true, &a))
        return;
    int64_t texts = (int64_t)c->argc - a.id_at - 1;
    if (texts < 2 || texts % 2) {
        reply_errorf(c->out, "ERR wrong number of arguments for '%s' command", c->desc->full);
        return;
    }
    if (a.id_given && !a.auto_seq && stream_id_is_zero(a.id)) {
        reply_error(c->out, "ERR The ID specified in XADD must be greater than 0-0");
        return;
    }
    if (!stream_open_write(c, 1, &sk))
        return;
    if (!sk.e && a.no_make) {
        reply_null(c->out);
        return;
    }
    if (!next_id(c, &a, sk.e ? sk.st->last : STREAM_ID_MIN, &id))
        return;
    struct span *text = c->argv + a.id_at + 1;
    uint32_t n = (uint32_t)texts / 2;
    if (too_large(text, n * 2)) {
        reply_error(c->out, too_large_text);
        return;
    }
    struct stream_limits limits = limits_of(c);
    if (!(likely_(sk.e != NULL) ? stream_append(sk.st, &limits, id, text, n)
                                : add_first(&sk, &limits, id, text, n))) {
        cmd_reply_oom(c);
        return;
    }
    stream_reply_id(c->out, id);
    stream_changed(&sk, KS_STREAM, "xadd");
    say_added(c, &a, id);
    if (a.by && stream_trim(sk.st, &a.trim)) {
        stream_changed(&sk, KS_STREAM, "xtrim");
        say_trimmed(c, &sk);
    }
}

void cmd_xtrim(struct cmd *c)
{
    struct add_args a;
    struct stream_key sk;
    if (!add_or_trim_args(c, false, &a) || !stream_open_write(c, 1, &sk))
        return;
    uint64_t n = sk.e ? stream_trim(sk.st, &a.trim) : 0;
    if (n) {
        stream_changed(&sk, KS_STREAM, "xtrim");
        say_trimmed(c, &sk);
    }
    reply_int(c->out, (int64_t)n);
}

/* ---- XDEL key id [id ...] ---- */

void cmd_xdel(struct cmd *c)
{
    struct stream_key sk;
    struct stream_ids ids;
    int64_t deleted = 0;
    bool first = false;
    enum stream_deleted did = STREAM_NOT_THERE;
    if (!stream_open_write(c, 1, &sk))
        return;
    if (!sk.e) {
        reply_int(c->out, 0);
        return;
    }
    if (!stream_args_ids(c, 2, &ids))
        return;
    for (size_t i = 0; i < ids.n && did != STREAM_NO_MEMORY; i++) {
        did = stream_delete(sk.st, ids.v[i]);
        if (did != STREAM_GONE)
            continue;
        deleted++;
        first |= stream_id_cmp(ids.v[i], sk.st->first) == 0;
        if (stream_id_less(sk.st->max_deleted, ids.v[i]))
            sk.st->max_deleted = ids.v[i];
    }
    stream_ids_free(c, &ids);
    if (!deleted && did == STREAM_NO_MEMORY) {
        cmd_reply_oom(c);
        return;
    }
    if (first || !sk.st->length)
        stream_find_first(sk.st);
    if (deleted)
        stream_changed(&sk, KS_STREAM, "xdel");
    reply_int(c->out, deleted);
}

/* ---- XSETID key id [ENTRIESADDED n] [MAXDELETEDID id] ---- */

struct setid_args {
    struct stream_id id, max_deleted;
    int64_t added; /* -1: not given */
};

static bool setid_args(struct cmd *c, struct setid_args *a)
{
    *a = (struct setid_args){.added = -1};
    if (!stream_arg_id(c, 2, &a->id))
        return false;
    for (uint32_t i = 3; i < c->argc; i += 2) {
        bool more = i + 1 < c->argc;
        if (more && span_is(c->argv[i], "entriesadded")) {
            if (!cmd_arg_i64(c, i + 1, &a->added))
                return false;
            if (a->added < 0)
                return error(c, "ERR entries_added must be positive");
        } else if (more && span_is(c->argv[i], "maxdeletedid")) {
            if (!stream_arg_id(c, i + 1, &a->max_deleted))
                return false;
            if (stream_id_less(a->id, a->max_deleted))
                return error(c, "ERR The ID specified in XSETID is smaller than the provided "
                                "max_deleted_entry_id");
        } else {
            cmd_reply_syntax(c);
            return false;
        }
    }
    return true;
}

void cmd_xsetid(struct cmd *c)
{
    struct setid_args a;
    struct stream_key sk;
    if (!setid_args(c, &a) || !stream_open_write(c, 1, &sk))
        return;
    struct stream *st = sk.st;
    if (!sk.e) {
        reply_error(c->out, "ERR no such key");
        return;
    }
    if (st->length && stream_id_less(a.id, stream_last_there(st))) {
        reply_error(c->out,
                    "ERR The ID specified in XSETID is smaller than the target stream top item");
        return;
    }
    if (st->length && a.added != -1 && st->length > (uint64_t)a.added) {
        reply_error(c->out, "ERR The entries_added specified in XSETID is smaller than the target "
                            "stream length");
        return;
    }
    st->last = a.id;
    if (a.added != -1)
        st->entries_added = (uint64_t)a.added;
    if (!stream_id_is_zero(a.max_deleted))
        st->max_deleted = a.max_deleted;
    reply_ok(c->out);
    stream_group_changed(&sk, "xsetid");
}

void cmd_xlen(struct cmd *c)
{
    struct stream_key sk;
    if (stream_open_read(c, 1, &sk))
        reply_int(c->out, sk.e ? (int64_t)sk.st->length : 0);
}
