/* CLIENT: what is known of connections, and the power over them.
 *
 * Where in the flow: most subcommands are ROUTE_LOCAL. LIST and KILL are ROUTE_WORKERS: each worker runs them over its own clients and
 * the home worker aggregates (agg.c); elsewhere c->session is NULL, so "me" is simply not there. Replies are those of Redis 7.0.15;
 * SETINFO and NO-TOUCH are those of 7.2, which clients of today send. */
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>

#include "engine/base/num.h"
#include "engine/cmd/cmd_internal.h"
#include "engine/cmd/keyref.h"
#include "engine/cmd/multi.h"
#include "engine/cmd/pubsub.h"
#include "engine/cmd/tracking.h"

/* ---- names ---- */

/* Names go into the lines of CLIENT LIST, so they are printable and without blanks. */
static bool printable(struct span s)
{
    for (size_t i = 0; i < s.n; i++)
        if (s.p[i] < '!' || s.p[i] > '~')
            return false;
    return true;
}

bool cmd_set_name(struct cmd *c, struct span name)
{
    if (!printable(name)) {
        reply_error(c->out, "ERR Client names cannot contain spaces, newlines or special "
                            "characters.");
        return false;
    }
    if (!session_set_text(&c->session->name, name)) {
        cmd_reply_oom(c);
        return false;
    }
    return true;
}

void cmd_client_setname(struct cmd *c)
{
    if (cmd_set_name(c, c->argv[2]))
        reply_ok(c->out);
}

void cmd_client_getname(struct cmd *c)
{
    if (c->session->name)
        reply_bulk_str(c->out, c->session->name);
    else
        reply_null(c->out);
}

void cmd_client_setinfo(struct cmd *c)
{
    struct span attr = c->argv[2];
    char **field = span_is(attr, "lib-name")  ? &c->session->lib_name
                   : span_is(attr, "lib-ver") ? &c->session->lib_ver
                                              : NULL;
    if (!field)
        reply_errorf(c->out, "ERR Unrecognized option '%.*s'", span_shown(attr, INT_MAX),
                     (const char *)attr.p);
    else if (!printable(c->argv[3]))
        reply_errorf(c->out, "ERR %.*s cannot contain spaces, newlines or special characters.",
                     span_shown(attr, INT_MAX), (const char *)attr.p);
    else if (!session_set_text(field, c->argv[3]))
        cmd_reply_oom(c);
    else
        reply_ok(c->out);
}

void cmd_client_id(struct cmd *c)
{
    reply_int(c->out, (int64_t)c->session->id);
}

/* ---- switches ---- */

/* ON or OFF in argument 2. False: the error was written. */
static bool on_off(struct cmd *c, bool *ret)
{
    if (span_is(c->argv[2], "on"))
        *ret = true;
    else if (span_is(c->argv[2], "off"))
        *ret = false;
    else {
        cmd_reply_syntax(c);
        return false;
    }
    reply_ok(c->out);
    return true;
}

void cmd_client_no_evict(struct cmd *c)
{
    on_off(c, &c->session->no_evict);
}

void cmd_client_no_touch(struct cmd *c)
{
    on_off(c, &c->session->no_touch);
}

/* For a subscriber that falls behind only the newest message of each channel is kept. */
void cmd_client_conflate(struct cmd *c)
{
    on_off(c, &c->session->conflate);
}

void cmd_client_durability(struct cmd *c)
{
    struct session *s = c->session;
    if (span_is(c->argv[2], "default")) {
        s->durability = DURABILITY_DEFAULT;
    } else if (span_is(c->argv[2], "everysec")) {
        s->durability = DURABILITY_EVERYSEC;
    } else if (!span_is(c->argv[2], "always")) {
        cmd_reply_syntax(c);
        return;
    } else if (c->host->config->journal == JOURNAL_OFF) {
        reply_error(c->out,
                    "ERR CLIENT DURABILITY ALWAYS cannot be used when appendonly is disabled.");
        return;
    } else {
        s->durability = DURABILITY_ALWAYS;
    }
    s->mode &= (uint8_t)~SESSION_DURABLE;
    if (s->durability == DURABILITY_ALWAYS)
        s->mode |= SESSION_DURABLE;
    reply_ok(c->out);
}

/* Only ON answers. SKIP leaves out the next reply; the caller turns SKIP_NEXT into SKIP after this command and SKIP into ON after the
 * next one. */
void cmd_client_reply(struct cmd *c)
{
    struct session *s = c->session;
    if (span_is(c->argv[2], "on")) {
        s->reply_mode = SESSION_REPLY_ON;
        c->out->muted = false;
        reply_ok(c->out);
    } else if (span_is(c->argv[2], "off")) {
        s->reply_mode = SESSION_REPLY_OFF;
    } else if (span_is(c->argv[2], "skip")) {
        if (s->reply_mode != SESSION_REPLY_OFF)
            s->reply_mode = SESSION_REPLY_SKIP_NEXT;
    } else {
        cmd_reply_syntax(c);
    }
}

/* ---- INFO and LIST ---- */

/* Letters of Redis's flags field that have a meaning here, in its order. */
static const char *flag_letters(const struct session *s, const struct session_info *info,
                                char ret[16])
{
    char *p = ret;
    if (s->mode & SESSION_SUBSCRIBED)
        *p++ = 'P';
    if (s->mode & SESSION_MULTI)
        *p++ = 'x';
    if (s->mode & SESSION_MONITOR)
        *p++ = 'O';
    if (info->blocked)
        *p++ = 'b';
    if (s->mode & SESSION_TRACKING) {
        *p++ = 't';
        if (s->tracking->flags & TRACKING_BROKEN)
            *p++ = 'R';
        if (s->tracking->flags & TRACKING_BCAST)
            *p++ = 'B';
    }
    if (s->close_after_reply)
        *p++ = 'c';
    if (s->close_asap)
        *p++ = 'A';
    if (s->source == SESSION_DOOR_UNIX)
        *p++ = 'U';
    if (s->no_evict)
        *p++ = 'e';
    if (s->no_touch)
        *p++ = 'T';
    if (p == ret)
        *p++ = 'N';
    *p = 0;
    return ret;
}

static const char *last_command(const struct session *s)
{
    const struct cmd_desc *d = s->last_cmd;
    if (!d)
        return "NULL";
    return d->flags & CMD_HIDDEN ? d->parent->full : d->full;
}

static const char *text_or_empty(const char *s)
{
    return s ? s : "";
}

/* All fields of Redis 7.0.15 in its order, then those of 7.2 and our own. There is no file descriptor: fd=-1; reply buffers are the
 * transport's: rbs, rbp 0. Names may be long, so they are written apart from the formatted pieces. */
static void client_line(struct cmd *c, struct session *s, struct reply *to)
{
    struct session_info info = {.tcp = ""};
    c->host->ops->session_info(c->host, s, &info);
    char text[512], flags[16], peer[SESSION_END_BYTES], local[SESSION_END_BYTES];
    int64_t now_ms = c->now_us / 1000;
    int n = snprintf(
        text, sizeof(text), "id=%llu addr=%.63s laddr=%.63s fd=-1 name=", (unsigned long long)s->id,
        session_end_text(s, SESSION_PEER, peer), session_end_text(s, SESSION_LOCAL, local));
    reply_raw(to, text, (size_t)n);
    reply_raw(to, text_or_empty(s->name), strlen(text_or_empty(s->name)));
    n = snprintf(
        text, sizeof(text),
        " age=%lld idle=%lld flags=%s db=%u sub=%u psub=%u ssub=%u multi=%d qbuf=%llu "
        "qbuf-free=%llu "
        "argv-mem=%llu multi-mem=%llu rbs=0 rbp=0 obl=%llu oll=%llu omem=%llu tot-mem=%llu "
        "events=%s "
        "cmd=%s user=default redir=%lld resp=%u",
        (long long)(now_ms - s->created_ms) / 1000, (long long)(now_ms - s->last_ms) / 1000,
        flag_letters(s, &info, flags), s->db, pubsub_count(s, PUBSUB_CHANNEL),
        pubsub_count(s, PUBSUB_PATTERN), pubsub_count(s, PUBSUB_SHARD),
        s->mode & SESSION_MULTI ? (int)s->multi->n : -1, (unsigned long long)info.qbuf,
        (unsigned long long)info.qbuf_free, (unsigned long long)info.argv_mem,
        s->multi ? (unsigned long long)s->multi->bytes : 0ull, (unsigned long long)info.obl,
        (unsigned long long)info.oll, (unsigned long long)info.omem,
        (unsigned long long)info.tot_mem, info.obl || info.oll ? "rw" : "r", last_command(s),
        (long long)tracking_redirect(s), s->resp);
    reply_raw(to, text, (size_t)n);
    const char *words[] = {" lib-name=", text_or_empty(s->lib_name),
                           " lib-ver=", text_or_empty(s->lib_ver)};
    for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++)
        reply_raw(to, words[i], strlen(words[i]));
    n = snprintf(text, sizeof(text), " worker=%u", s->worker);
    reply_raw(to, text, (size_t)n);
    if (s->conflate || s->conflated) {
        n = snprintf(text, sizeof(text), " conflated=%llu", (unsigned long long)s->conflated);
        reply_raw(to, text, (size_t)n);
    }
    if (s->durability != DURABILITY_DEFAULT) {
        const char *text_of =
            s->durability == DURABILITY_ALWAYS ? " durability=always" : " durability=everysec";
        reply_raw(to, text_of, strlen(text_of));
    }
    reply_raw(to, info.tcp, strlen(info.tcp));
    reply_raw(to, "\n", 1);
}

struct lines {
    struct reply to;
    struct reply_heap heap;
};

static void lines_reply(struct lines *l, struct cmd *c)
{
    reply_heap_finish(&l->to, &l->heap);
    if (l->to.failed)
        cmd_reply_oom(c);
    else
        reply_verbatim(c->out, "txt", span_of(l->heap.p, l->heap.len));
    reply_heap_free(&l->heap);
}

void cmd_client_info(struct cmd *c)
{
    struct lines l;
    reply_heap_init(&l.to, &l.heap, 2);
    client_line(c, c->session, &l.to);
    lines_reply(&l, c);
}

enum client_type { CLIENT_NORMAL, CLIENT_REPLICA, CLIENT_PUBSUB, CLIENT_MASTER };

/* False: the error was written. */
static bool client_type(struct cmd *c, struct span name, enum client_type *ret)
{
    if (span_is(name, "normal"))
        *ret = CLIENT_NORMAL;
    else if (span_is(name, "slave") || span_is(name, "replica"))
        *ret = CLIENT_REPLICA;
    else if (span_is(name, "pubsub"))
        *ret = CLIENT_PUBSUB;
    else if (span_is(name, "master"))
        *ret = CLIENT_MASTER;
    else {
        reply_errorf(c->out, "ERR Unknown client type '%.*s'", span_shown(name, INT_MAX),
                     (const char *)name.p);
        return false;
    }
    return true;
}

/* As in Redis a subscriber in RESP3 too; one that monitors is a normal client. */
static enum client_type type_of(const struct session *s)
{
    return s->mode & SESSION_SUBSCRIBED ? CLIENT_PUBSUB : CLIENT_NORMAL;
}

static struct session *session_next(struct cmd *c, struct session *after)
{
    return c->host->ops->session_next(c->host, after);
}

struct listed {
    uint64_t id;
    struct session *session; /* NULL: not here */
};

static int by_id(const void *a, const void *b)
{
    const struct listed *x = a, *y = b;
    return x->id < y->id ? -1 : x->id > y->id;
}

static struct listed *find_listed(struct listed *v, uint32_t n, uint64_t id)
{
    struct listed key = {.id = id};
    return bsearch(&key, v, n, sizeof(*v), by_id);
}

/* Sorted, each once. Returns how many; 0: the error was written. */
static uint32_t parse_ids(struct cmd *c, struct listed *v)
{
    uint32_t n = 0, once = 0;
    int64_t id;
    for (uint32_t i = 3; i < c->argc; i++) {
        if (!num_parse_i64(c->argv[i], &id)) {
            reply_error(c->out, "ERR Invalid client ID");
            return 0;
        }
        v[n++] = (struct listed){.id = (uint64_t)id};
    }
    qsort(v, n, sizeof(*v), by_id);
    for (uint32_t i = 0; i < n; i++)
        if (i == 0 || v[i].id != v[once - 1].id)
            v[once++] = v[i];
    return once;
}

/* CLIENT LIST ID a b ...: in the order asked for, those that are here. */
static void list_ids(struct cmd *c)
{
    struct listed *v = malloc((c->argc - 3) * sizeof(*v)), *one;
    struct lines l;
    int64_t id;
    if (!v) {
        cmd_reply_oom(c);
        return;
    }
    uint32_t n = parse_ids(c, v);
    if (n) {
        for (struct session *s = session_next(c, NULL); s; s = session_next(c, s))
            if ((one = find_listed(v, n, s->id)) != NULL)
                one->session = s;
        reply_heap_init(&l.to, &l.heap, 2);
        for (uint32_t i = 3; i < c->argc; i++) {
            num_parse_i64(c->argv[i], &id);
            one = find_listed(v, n, (uint64_t)id);
            if (one->session)
                client_line(c, one->session, &l.to);
        }
        lines_reply(&l, c);
    }
    free(v);
}

void cmd_client_list(struct cmd *c)
{
    enum client_type type = CLIENT_NORMAL;
    bool by_type = c->argc == 4 && span_is(c->argv[2], "type");
    if (c->argc > 3 && span_is(c->argv[2], "id")) {
        list_ids(c);
        return;
    }
    if (by_type) {
        if (!client_type(c, c->argv[3], &type))
            return;
    } else if (c->argc != 2) {
        cmd_reply_syntax(c);
        return;
    }
    struct lines l;
    reply_heap_init(&l.to, &l.heap, 2);
    for (struct session *s = session_next(c, NULL); s; s = session_next(c, s))
        if (!by_type || type_of(s) == type)
            client_line(c, s, &l.to);
    lines_reply(&l, c);
}

/* ---- KILL ---- */

struct kill_filter {
    int64_t id; /* 0: any */
    struct span peer, local;
    enum client_type type;
    bool by_peer, by_local, by_type, skip_me;
};

/* CLIENT KILL option value ...; false: the error was written. */
static bool kill_parse(struct cmd *c, struct kill_filter *f)
{
    for (uint32_t i = 2; i < c->argc; i += 2) {
        struct span opt = c->argv[i], value = i + 1 < c->argc ? c->argv[i + 1] : SPAN("");
        bool more = i + 1 < c->argc;
        if (span_is(opt, "id") && more) {
            if (!num_parse_i64(value, &f->id) || f->id < 1) {
                reply_error(c->out, "ERR client-id should be greater than 0");
                return false;
            }
        } else if (span_is(opt, "type") && more) {
            if (!client_type(c, value, &f->type))
                return false;
            f->by_type = true; /* as in Redis the last TYPE counts */
        } else if (span_is(opt, "addr") && more) {
            f->peer = value;
            f->by_peer = true;
        } else if (span_is(opt, "laddr") && more) {
            f->local = value;
            f->by_local = true;
        } else if (span_is(opt, "user") && more) {
            if (!span_eq(value, SPAN("default"))) {
                reply_errorf(c->out, "ERR No such user '%.*s'", span_shown(value, INT_MAX),
                             (const char *)value.p);
                return false;
            }
        } else if (span_is(opt, "skipme") && more &&
                   (span_is(value, "yes") || span_is(value, "no"))) {
            f->skip_me = span_is(value, "yes");
        } else {
            cmd_reply_syntax(c);
            return false;
        }
    }
    return true;
}

static bool end_is(const struct session *s, enum session_end end, struct span text)
{
    char is[SESSION_END_BYTES];
    return span_eq(text, span_str(session_end_text(s, end, is)));
}

static bool kill_matches(const struct cmd *c, const struct kill_filter *f, const struct session *s)
{
    return !(f->by_type && type_of(s) != f->type) && !(f->id && s->id != (uint64_t)f->id) &&
           !(f->by_peer && !end_is(s, SESSION_PEER, f->peer)) &&
           !(f->by_local && !end_is(s, SESSION_LOCAL, f->local)) &&
           !(f->skip_me && s == c->session);
}

/* The next client is looked up before one is closed: the host may forget the closed one at once. The asker itself gets its reply
 * first. */
static int64_t kill_all(struct cmd *c, const struct kill_filter *f)
{
    int64_t killed = 0;
    for (struct session *s = session_next(c, NULL), *next; s; s = next) {
        next = session_next(c, s);
        if (!kill_matches(c, f, s))
            continue;
        if (s == c->session)
            s->close_after_reply = true;
        else
            c->host->ops->session_kill(c->host, s);
        killed++;
    }
    return killed;
}

void cmd_client_kill(struct cmd *c)
{
    struct kill_filter f = {.skip_me = true};
    bool one = c->argc == 3; /* the old form: an address, and it may be one's own */
    if (one) {
        f.peer = c->argv[2];
        f.by_peer = true;
        f.skip_me = false;
    } else if (!kill_parse(c, &f)) {
        return;
    }
    int64_t killed = kill_all(c, &f);
    if (c->part || !one)
        reply_int(c->out, killed);
    else if (killed)
        reply_ok(c->out);
    else
        reply_error(c->out, "ERR No such client");
}
