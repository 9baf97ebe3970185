/* From argv to a running command: lookup, admission at the client's home, key positions, call.
 *
 * Where in the flow: the batch stage calls cmd_lookup and cmd_admit on the home worker and cmd_keys for routing; cmd_call runs on the
 * worker that holds the shards. Order and texts of refusals are those of processCommand in Redis 7.0.15. No clock is read here: who
 * wants times per command measures around cmd_call. */
#include <ctype.h>
#include <stdio.h>
#include <strings.h>

#include "engine/base/assert.h"
#include "engine/base/num.h"
#include "engine/cmd/cmd_internal.h"
#include "engine/cmd/effect.h"

/* Redis shows at most this many bytes of what it did not understand. */
#define SHOWN_BYTES 128

/* Refusals are kept out of line, so that cmd_lookup needs no stack. */
__attribute__((noinline, cold)) static void unknown_command(const struct span *argv, uint32_t argc,
                                                            struct reply *out)
{
    char args[2 * SHOWN_BYTES];
    size_t n = 0;
    for (uint32_t i = 1; i < argc && n < SHOWN_BYTES; i++)
        n += (size_t)sprintf(args + n, "'%.*s' ", span_shown(argv[i], SHOWN_BYTES - n),
                             (const char *)argv[i].p);
    reply_errorf(out, "ERR unknown command '%.*s', with args beginning with: %.*s",
                 span_shown(argv[0], SHOWN_BYTES), (const char *)argv[0].p, (int)n, args);
}

__attribute__((noinline, cold)) static void unknown_subcommand(const struct cmd_desc *d,
                                                               struct span word, struct reply *out)
{
    char upper[32];
    size_t n = 0;
    for (; d->name[n] && n < sizeof(upper) - 1; n++)
        upper[n] = (char)toupper((unsigned char)d->name[n]);
    upper[n] = 0;
    reply_errorf(out, "ERR unknown subcommand '%.*s'. Try %s HELP.", span_shown(word, SHOWN_BYTES),
                 (const char *)word.p, upper);
}

/* Out of line: the way of almost every command does not come here. */
__attribute__((noinline)) static const struct cmd_desc *
lookup_sub(const struct cmd_desc *d, const struct span *argv, uint32_t argc, struct reply *out)
{
    const struct cmd_desc *sub = cmd_find_sub(d, argv[1]);
    if (d->subs[0].flags &
        CMD_HIDDEN) /* Redis knows no subcommands here: the command itself complains */
        return sub && cmd_arity_ok(sub, argc) ? sub : d;
    if (!sub)
        unknown_subcommand(d, argv[1], out);
    return sub;
}

__attribute__((noinline, cold)) static const struct cmd_desc *wrong_arity(const struct cmd_desc *d,
                                                                          struct reply *out)
{
    reply_errorf(out, "ERR wrong number of arguments for '%s' command", d->full);
    return NULL;
}

const struct cmd_desc *cmd_lookup(struct span *argv, uint32_t argc, struct reply *out)
{
    const struct cmd_desc *d = cmd_find(argv[0]);
    if (unlikely_(!d)) {
        unknown_command(argv, argc, out);
        return NULL;
    }
    if (unlikely_(d->nsubs) && argc > 1) {
        d = lookup_sub(d, argv, argc, out);
        if (!d)
            return NULL;
    }
    return likely_(cmd_arity_ok(d, argc)) ? d : wrong_arity(d, out);
}

/* Redis drops a connection from elsewhere at accept. Here clients from the network are the rule, so the connection stands and its
 * commands are refused, but for those that only concern the connection itself (AUTH, HELLO, QUIT, RESET, all CMD_NO_AUTH; PING and
 * ECHO): a health check can tell a protected server from a dead one, and a client library gets through its handshake to the text. */
static bool works_when_protected(const struct cmd_desc *d)
{
    return (d->flags & CMD_NO_AUTH) || d == &cmd_table[CMD_ping] || d == &cmd_table[CMD_echo];
}

static const char denied[] =
    "DENIED Redis is running in protected mode because protected mode is enabled and no "
    "password is set for the default user. In this mode connections are only accepted from "
    "the loopback interface. If you want to connect from external computers to Redis you may "
    "adopt one of the following solutions: 1) Just disable protected mode sending the command"
    " 'CONFIG SET protected-mode no' from the loopback interface by connecting to Redis from "
    "the same host the server is running, however MAKE SURE Redis is not publicly accessible "
    "from internet if you do so. Use CONFIG REWRITE to make this change permanent. 2) "
    "Alternatively you can just disable the protected mode by editing the Redis configuration"
    " file, and setting the protected mode option to 'no', and then restarting the server. 3)"
    " If you started the server manually just for testing, restart it with the '--protected-"
    "mode no' option. 4) Setup a an authentication password for the default user. NOTE: You "
    "only need to do one of the above things in order for the server to start accepting "
    "connections from the outside.";

bool cmd_admit(const struct cmd_desc *d, const struct session *s, const struct engine_config *cfg,
               struct reply *out)
{
    if (unlikely_(d->flags & CMD_PROTECTED) && cfg->enable_debug_command != DEBUG_CMD_YES &&
        !(cfg->enable_debug_command == DEBUG_CMD_LOCAL && s->source != SESSION_NETWORK)) {
        reply_error(out, "ERR DEBUG command not allowed. If the enable-debug-command option is set "
                         "to \"local\", you can run it from a local connection, otherwise you need "
                         "to set this option in the configuration file, and then restart the "
                         "server.");
        return false;
    }
    if (cfg->requirepass_len) {
        if (likely_(s->authenticated) || (d->flags & CMD_NO_AUTH))
            return true;
        reply_error(out, "NOAUTH Authentication required.");
        return false;
    }
    if (unlikely_(cfg->protected_mode) && s->source == SESSION_NETWORK &&
        !works_when_protected(d)) {
        reply_error(out, denied);
        return false;
    }
    return true;
}

/* ---- key positions ---- */

/* A word of a specification, which is in upper case as COMMAND INFO shows it. */
static bool word_is(struct span s, const char *word)
{
    return s.n == strlen(word) && strncasecmp((const char *)s.p, word, s.n) == 0;
}

/* Of several STORE of GEORADIUS the last one counts. */
static int64_t last_store(const struct cmd_keyspec *k, const struct span *argv, int64_t argc)
{
    for (int64_t i = argc - 2; i >= k->from; i--)
        if (word_is(argv[i], k->word))
            return i + 1;
    return 0;
}

/* The argument behind the word that begins a specification; 0: it is not there. The last argument is no candidate: nothing follows it. */
static int64_t behind_word(const struct cmd_keyspec *k, const struct span *argv, int64_t argc)
{
    int64_t by = k->from > 0 ? 1 : -1, end = k->from > 0 ? argc - 1 : 0;
    if (k->from > 0 && (k->flags & KEY_OW))
        return last_store(k, argv, argc);
    for (int64_t i = k->from > 0 ? k->from : argc + k->from; i > 0 && i < argc && i != end; i += by)
        if (word_is(argv[i], k->word))
            return i + 1;
    return 0;
}

/* XREAD, XREADGROUP: STREAMS is the first of these words that is an option; a group and a consumer may be called so as well. 0: not found before
 * the first thing that is no option. */
static int64_t behind_streams(const struct span *argv, int64_t argc)
{
    for (int64_t i = 1; i < argc - 1; i++) {
        if (span_is(argv[i], "streams"))
            return i + 1;
        if (span_is(argv[i], "block") || span_is(argv[i], "count"))
            i++;
        else if (span_is(argv[i], "group"))
            i += 2;
        else if (!span_is(argv[i], "noack"))
            break;
    }
    return 0;
}

/* SORT key [...] STORE destination: the last STORE counts; what follows the other options is not looked at. */
static int64_t sort_store(const struct span *argv, int64_t argc)
{
    int64_t store = 0;
    for (int64_t i = 2; i < argc; i++) {
        if (span_is(argv[i], "limit"))
            i += 2;
        else if (span_is(argv[i], "get") || span_is(argv[i], "by"))
            i++;
        else if (span_is(argv[i], "store") && i + 1 < argc)
            store = ++i;
    }
    return store;
}

bool cmd_spec_keys(const struct cmd_desc *d, const struct cmd_keyspec *k, const struct span *argv,
                   uint32_t argc, struct cmd_key_range *ret)
{
    static const struct cmd_key_range none = {0, -1, 1};
    *ret = none;
    int64_t first = k->word ? behind_word(k, argv, argc) : k->begin, last, n;
    if (k->kind == SPEC_UNKNOWN) {
        int64_t at =
            (k->flags & KEY_OW) && span_is(span_str(d->name), "sort") ? sort_store(argv, argc) : 0;
        if (at)
            *ret = (struct cmd_key_range){at, at, 1};
        return true;
    }
    if (first == 0)
        return true;
    if (k->limit > 1) {
        int64_t at = behind_streams(argv, argc);
        first = at ? at : first;
    }
    if (k->kind == SPEC_COUNTED) {
        if (first + k->at >= argc || !num_parse_i64(argv[first + k->at], &n) || n < 0 || n > argc)
            return false;
        first += k->first;
        last = first + (n - 1) * k->step;
    } else if (k->last >= 0) {
        last = first + k->last;
    } else {
        last = k->limit > 1 ? first + ((int64_t)argc - first) / k->limit + k->last
                            : (int64_t)argc + k->last;
    }
    *ret = (struct cmd_key_range){first, last, k->step};
    /* the last one that is really looked at must exist */
    return last < first || first + (last - first) / k->step * k->step < argc;
}

int cmd_keys(const struct cmd_desc *d, const struct span *argv, uint32_t argc, uint32_t *pos,
             uint32_t cap)
{
    const struct cmd_detail *detail = d->detail;
    int64_t count = 0;
    for (const struct cmd_keyspec *k = detail->keys; k && k->flags; k++) {
        struct cmd_key_range r;
        if (!cmd_spec_keys(d, k, argv, argc, &r))
            return -1;
        for (int64_t i = r.first; i <= r.last; i += r.step, count++)
            if (pos && count < cap)
                pos[count] = (uint32_t)i;
    }
    return count <= INT32_MAX ? (int)count : -1;
}

bool cmd_keys_open(const struct cmd_desc *d, const struct span *argv, uint32_t argc)
{
    if (!(d->flags & CMD_MOVABLE_KEYS))
        return false;
    const struct cmd_detail *detail = d->detail;
    for (const struct cmd_keyspec *k = detail->keys; k && k->flags; k++) {
        if (k->kind != SPEC_UNKNOWN || (k->flags & KEY_OW))
            continue;
        for (uint32_t i = 2; i < argc; i++)
            if (span_is(argv[i], "by") || span_is(argv[i], "get"))
                return true;
    }
    return false;
}

/* What a log says was there when there was room for it. */
static bool has_room(struct shard *s)
{
    return !s || s->loading || !shard_full(s) || shard_make_room(s);
}

/* A command under leases may grow any shard it holds: each of them makes room, and one that cannot refuses it. */
bool cmd_has_room(struct cmd *c)
{
    if (!c->host->config->maxmemory_bytes)
        return true;
    bool room = true;
    if (c->part || c->desc->route == ROUTE_KEY || c->shards->count == 1)
        room = has_room(c->shard);
    else
        for (uint32_t i = 0; i < c->shards->count; i++)
            room &= has_room(c->shards->v[i]);
    c->candidate = NULL; /* it may have been evicted */
    if (room)
        return true;
    reply_error(c->out, "OOM command not allowed when used memory > 'maxmemory'.");
    if (c->shard)
        c->shard->stats.oom_refused++;
    if (c->host->rejected)
        c->host->rejected[c->desc->index]++;
    return false;
}

void cmd_call(struct cmd *c)
{
    const struct cmd_desc *d = c->desc;
    struct host *h = c->host;
    if (unlikely_(!d->fn)) { /* the router sends these to the control process */
        reply_errorf(c->out, "ERR command '%s' is not served here", d->full);
        return;
    }
    if ((d->flags & CMD_DENYOOM) && !c->in_exec && !cmd_has_room(c))
        return;
    uint32_t errors = c->out->errors;
    h->asker = cmd_client(c);
    d->fn(c);
    if (unlikely_(c->tracks))
        tracking_read(c);
    cmd_ended(c);
    if (h->calls)
        h->calls[d->index]++;
    if (likely_(c->out->errors == errors))
        return;
    if (h->failed)
        h->failed[d->index]++;
    if (c->shard && c->shard->loading && (d->flags & CMD_WRITE)) /* clients may not write now */
        c->shard->stats.load_refused++;
}
