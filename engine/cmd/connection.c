/* Commands about the connection that asks: PING, ECHO, SELECT, AUTH, HELLO, QUIT, RESET.
 *
 * Where in the flow: ROUTE_LOCAL, so always on the client's home worker with c->session set. Texts are those of Redis 7.0.15. There is
 * one user, "default", and its password is requirepass. */
#include <limits.h>

#include "engine/base/num.h"
#include "engine/cmd/cmd_internal.h"
#include "engine/cmd/keyref.h"

/* What HELLO tells: clients choose their dialect by it. */
#define SERVER_NAME   "redis"
#define REDIS_VERSION "7.0.15"

void cmd_ping(struct cmd *c)
{
    if (c->argc > 2) {
        reply_errorf(c->out, "ERR wrong number of arguments for '%s' command", c->desc->full);
    } else if ((c->session->mode & SESSION_SUBSCRIBED) && c->session->resp == 2) {
        reply_array(c->out, 2); /* what a subscriber reads are arrays */
        reply_bulk_str(c->out, "pong");
        reply_bulk(c->out, c->argc == 2 ? c->argv[1] : SPAN(""));
    } else if (c->argc == 2) {
        reply_bulk(c->out, c->argv[1]);
    } else {
        reply_simple(c->out, "PONG");
    }
}

void cmd_echo(struct cmd *c)
{
    reply_bulk(c->out, c->argv[1]);
}

void cmd_select(struct cmd *c)
{
    int db;
    if (!cmd_arg_int(c, 1, &db, NULL))
        return;
    if (db < 0 || (uint32_t)db >= c->host->config->databases || db >= LIMIT_DATABASES) {
        reply_error(c->out, "ERR DB index is out of range");
        return;
    }
    c->session->db = (uint32_t)db;
    reply_ok(c->out);
}

void cmd_quit(struct cmd *c)
{
    reply_ok(c->out);
    c->session->close_after_reply = true;
}

void cmd_reset(struct cmd *c)
{
    pubsub_reset(c->host, c->session);
    cmd_multi_reset(c);
    session_reset(c->session, !c->host->config->requirepass_len);
    c->out->resp = 2;
    c->out->muted = c->session->reply_mode != SESSION_REPLY_ON;
    reply_simple(c->out, "RESET");
}

/* "POST / HTTP/1.1" or "Host: ..." as a request: a browser was lured into speaking to us. Closed without a word, as in Redis, so that
 * what the page put behind it is not executed; what was answered before still leaves. */
void cmd_http_post(struct cmd *c)
{
    c->session->close_after_reply = true;
}

void cmd_http_host(struct cmd *c)
{
    c->session->close_after_reply = true;
}

/* Compares all of both, however early they differ: the time tells nothing but the length of the guess. */
static bool password_is(const struct engine_config *cfg, struct span guess)
{
    uint32_t diff = (uint32_t)(guess.n != cfg->requirepass_len);
    for (size_t i = 0; i < guess.n && i < sizeof(cfg->requirepass); i++)
        diff |= (uint32_t)(guess.p[i] ^ cfg->requirepass[i]);
    return diff == 0;
}

/* False: the error was written. Without a password the user "default" takes any. */
static bool authenticate(struct cmd *c, struct span user, struct span password)
{
    const struct engine_config *cfg = c->host->config;
    bool known = span_eq(user, SPAN("default"));
    bool right = !cfg->requirepass_len || password_is(cfg, password);
    if (!(known & right)) {
        reply_error(c->out, "WRONGPASS invalid username-password pair or user is disabled.");
        return false;
    }
    c->session->authenticated = true;
    return true;
}

void cmd_auth(struct cmd *c)
{
    if (c->argc > 3) {
        cmd_reply_syntax(c);
        return;
    }
    if (c->argc == 2 && !c->host->config->requirepass_len) {
        reply_error(c->out, "ERR AUTH <password> called without any password configured for the "
                            "default user. Are you sure your configuration is correct?");
        return;
    }
    if (authenticate(c, c->argc == 3 ? c->argv[1] : SPAN("default"), c->argv[c->argc - 1]))
        reply_ok(c->out);
}

static void hello_reply(struct cmd *c)
{
    struct reply *r = c->out;
    reply_map(r, 7);
    reply_bulk_str(r, "server");
    reply_bulk_str(r, SERVER_NAME);
    reply_bulk_str(r, "version");
    reply_bulk_str(r, REDIS_VERSION);
    reply_bulk_str(r, "proto");
    reply_int(r, c->session->resp);
    reply_bulk_str(r, "id");
    reply_int(r, (int64_t)c->session->id);
    reply_bulk_str(r, "mode");
    reply_bulk_str(r, "standalone");
    reply_bulk_str(r, "role");
    reply_bulk_str(r, "master");
    reply_bulk_str(r, "modules");
    reply_array(r, 0);
}

/* [AUTH user password] [SETNAME name] ... from argument 2 on. What came before an error stays done, as in Redis. */
static bool hello_options(struct cmd *c)
{
    for (uint32_t i = 2; i < c->argc; i++) {
        uint32_t more = c->argc - 1 - i;
        struct span opt = c->argv[i];
        if (span_is(opt, "auth") && more >= 2) {
            if (!authenticate(c, c->argv[i + 1], c->argv[i + 2]))
                return false;
            i += 2;
        } else if (span_is(opt, "setname") && more >= 1) {
            if (!cmd_set_name(c, c->argv[++i]))
                return false;
        } else {
            reply_errorf(c->out, "ERR Syntax error in HELLO option '%.*s'",
                         span_shown(opt, INT_MAX), (const char *)opt.p);
            return false;
        }
    }
    return true;
}

void cmd_hello(struct cmd *c)
{
    int64_t version = 0;
    if (c->argc > 1) {
        if (!num_parse_i64(c->argv[1], &version)) {
            reply_error(c->out, "ERR Protocol version is not an integer or out of range");
            return;
        }
        if (version < 2 || version > 3) {
            reply_error(c->out, "NOPROTO unsupported protocol version");
            return;
        }
    }
    if (!hello_options(c))
        return;
    if (c->host->config->requirepass_len && !c->session->authenticated) {
        reply_error(c->out,
                    "NOAUTH HELLO must be called with the client already authenticated, otherwise "
                    "the HELLO AUTH <user> <pass> option can be used to authenticate the client "
                    "and select the RESP protocol version at the same time");
        return;
    }
    if (version)
        c->session->resp = c->out->resp = (uint8_t)version;
    hello_reply(c);
}
