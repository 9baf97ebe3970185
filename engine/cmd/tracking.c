/* CLIENT TRACKING, CACHING, TRACKINGINFO, GETREDIR; and what a tracking client's reads leave in the shards.
 *
 * Where in the flow: on the client's home worker; TRACKING ON BCAST under the leases of all shards, which have to tell of every change from then on.
 * Texts and their order are those of Redis 7.0.15. */
#include "engine/cmd/tracking.h"

#include <stdlib.h>

#include "engine/base/num.h"
#include "engine/cmd/cmd_internal.h"
#include "engine/cmd/keyref.h"
#include "engine/cmd/tracking_internal.h"

struct options {
    uint32_t flags, prefixes;
    int64_t redirect;
};

/* False: the error was written. */
static bool parse(struct cmd *c, struct options *o)
{
    for (uint32_t i = 3; i < c->argc; i++) {
        struct span word = c->argv[i];
        bool more = i + 1 < c->argc;
        if (span_is(word, "redirect") && more) {
            if (o->redirect) {
                reply_error(c->out, "ERR A client can only redirect to a single other client");
                return false;
            }
            if (!cmd_arg_i64(c, ++i, &o->redirect))
                return false;
            if (!c->host->ops->client_known(c->host, c->session, (uint64_t)o->redirect)) {
                reply_error(c->out, "ERR The client ID you want redirect to does not exist");
                return false;
            }
        } else if (span_is(word, "bcast")) {
            o->flags |= TRACKING_BCAST;
        } else if (span_is(word, "optin")) {
            o->flags |= TRACKING_OPTIN;
        } else if (span_is(word, "optout")) {
            o->flags |= TRACKING_OPTOUT;
        } else if (span_is(word, "noloop")) {
            o->flags |= TRACKING_NOLOOP;
        } else if (span_is(word, "prefix") && more) {
            i++;
            o->prefixes++;
        } else {
            cmd_reply_syntax(c);
            return false;
        }
    }
    return true;
}

/* The next PREFIX behind argument *i, whose place it becomes. False: there is none. */
static bool next_prefix(const struct cmd *c, uint32_t *i, struct span *ret)
{
    for (uint32_t k = *i + 1; k < c->argc; k++) {
        if (span_is(c->argv[k], "redirect")) {
            k++;
        } else if (span_is(c->argv[k], "prefix")) {
            *i = k + 1;
            *ret = c->argv[k + 1];
            return true;
        }
    }
    return false;
}

static bool overlap(struct span a, struct span b)
{
    size_t n = a.n < b.n ? a.n : b.n;
    return n == 0 || memcmp(a.p, b.p, n) == 0;
}

/* Prefixes must not overlap, neither with those there are nor with each other. False: the error was written. */
static bool prefixes_apart(struct cmd *c)
{
    struct span a, b;
    for (uint32_t i = 2; next_prefix(c, &i, &a);) {
        if (c->session->tracking) {
            list_for_each (n, &c->session->tracking->prefixes) {
                const struct tracking_prefix *p =
                    list_entry(n, struct prefix_client, by_client)->prefix;
                if (!overlap(span_of(p->bytes, p->len), a))
                    continue;
                reply_errorf(c->out,
                             "ERR Prefix '%.*s' overlaps with an existing prefix '%.*s'. Prefixes "
                             "for a single client must not overlap.",
                             span_shown(a, INT32_MAX), (const char *)a.p, (int)p->len, p->bytes);
                return false;
            }
        }
        for (uint32_t k = i; next_prefix(c, &k, &b);) {
            if (!overlap(a, b))
                continue;
            reply_errorf(c->out,
                         "ERR Prefix '%.*s' overlaps with another provided prefix '%.*s'. Prefixes "
                         "for a single client must not overlap.",
                         span_shown(a, INT32_MAX), (const char *)a.p, span_shown(b, INT32_MAX),
                         (const char *)b.p);
            return false;
        }
    }
    return true;
}

/* May it be switched on so? False: the error was written. */
static bool may_be(struct cmd *c, const struct options *o)
{
    const struct session *s = c->session;
    bool on = s->mode & SESSION_TRACKING, optin = o->flags & TRACKING_OPTIN,
         optout = o->flags & TRACKING_OPTOUT, bcast = o->flags & TRACKING_BCAST;
    uint32_t was = on ? s->tracking->flags : 0;
    const char *why = NULL;
    if (!bcast && o->prefixes)
        why = "ERR PREFIX option requires BCAST mode to be enabled";
    else if (on && bcast != !!(was & TRACKING_BCAST))
        why = "ERR You can't switch BCAST mode on/off before disabling tracking for this client, "
              "and then re-enabling it with a different mode.";
    else if (bcast && (optin || optout))
        why = "ERR OPTIN and OPTOUT are not compatible with BCAST";
    else if (optin && optout)
        why = "ERR You can't specify both OPTIN mode and OPTOUT mode";
    else if ((optin && (was & TRACKING_OPTOUT)) || (optout && (was & TRACKING_OPTIN)))
        why = "ERR You can't switch OPTIN/OPTOUT mode before disabling tracking for this client, "
              "and then re-enabling it with a different mode.";
    if (why)
        reply_error(c->out, why);
    return !why && (!bcast || prefixes_apart(c));
}

static void switch_on(struct cmd *c, const struct options *o)
{
    struct tracking *who = tracking_of(c->session);
    bool kept = who != NULL;
    struct span prefix;
    if (kept && (o->flags & TRACKING_BCAST)) {
        for (uint32_t i = 0; i < c->shards->count; i++)
            if (c->shards->v[i])
                c->shards->v[i]->listen |= LISTEN_BROADCAST;
        if (!o->prefixes)
            kept = tracking_add_prefix(c->host->tracking, who, SPAN(""));
        for (uint32_t i = 2; kept && next_prefix(c, &i, &prefix);)
            kept = tracking_add_prefix(c->host->tracking, who, prefix);
    }
    if (!kept) {
        cmd_reply_oom(c);
        return;
    }
    who->redirect = (uint64_t)o->redirect;
    tracking_on(c->host->tracking, c->session, o->flags);
    reply_ok(c->out);
}

static void switch_tracking(struct cmd *c)
{
    struct options o = {0};
    if (!parse(c, &o))
        return;
    if (span_is(c->argv[2], "on")) {
        if (may_be(c, &o))
            switch_on(c, &o);
    } else if (span_is(c->argv[2], "off")) {
        tracking_off(c->host->tracking, c->session);
        reply_ok(c->out);
    } else {
        cmd_reply_syntax(c);
    }
}

void cmd_client_tracking(struct cmd *c)
{
    if (!c->session) /* gone while it waited for the shards */
        return;
    switch_tracking(c);
}

void cmd_client_caching(struct cmd *c)
{
    struct session *s = c->session;
    struct tracking *who = s->mode & SESSION_TRACKING ? s->tracking : NULL;
    const char *why = NULL;
    if (!who) {
        why = "ERR CLIENT CACHING can be called only when the client is in tracking mode with "
              "OPTIN or OPTOUT mode enabled";
    } else if (span_is(c->argv[2], "yes")) {
        if (!(who->flags & TRACKING_OPTIN))
            why = "ERR CLIENT CACHING YES is only valid when tracking is enabled in OPTIN mode.";
    } else if (span_is(c->argv[2], "no")) {
        if (!(who->flags & TRACKING_OPTOUT))
            why = "ERR CLIENT CACHING NO is only valid when tracking is enabled in OPTOUT mode.";
    } else {
        cmd_reply_syntax(c);
        return;
    }
    if (why) {
        reply_error(c->out, why);
        return;
    }
    who->flags |= TRACKING_CACHING;
    reply_ok(c->out);
}

void cmd_client_getredir(struct cmd *c)
{
    reply_int(c->out, tracking_redirect(c->session));
}

void cmd_client_trackinginfo(struct cmd *c)
{
    const struct session *s = c->session;
    const struct tracking *who = s->mode & SESSION_TRACKING ? s->tracking : NULL;
    uint32_t f = who ? who->flags : 0;
    const char *words[7];
    size_t n = 0, prefixes = 0;
    words[n++] = who ? "on" : "off";
    if (f & TRACKING_BCAST)
        words[n++] = "bcast";
    if (f & TRACKING_OPTIN)
        words[n++] = "optin";
    if ((f & TRACKING_OPTIN) && (f & TRACKING_CACHING))
        words[n++] = "caching-yes";
    if (f & TRACKING_OPTOUT)
        words[n++] = "optout";
    if ((f & TRACKING_OPTOUT) && (f & TRACKING_CACHING))
        words[n++] = "caching-no";
    if (f & TRACKING_NOLOOP)
        words[n++] = "noloop";
    if (f & TRACKING_BROKEN)
        words[n++] = "broken_redirect";
    reply_map(c->out, 3);
    reply_bulk_str(c->out, "flags");
    reply_set(c->out, n);
    for (size_t i = 0; i < n; i++)
        reply_bulk_str(c->out, words[i]);
    reply_bulk_str(c->out, "redirect");
    reply_int(c->out, tracking_redirect(s));
    reply_bulk_str(c->out, "prefixes");
    if (who)
        list_for_each (it, &who->prefixes)
            prefixes++;
    reply_array(c->out, prefixes);
    if (!prefixes)
        return;
    list_for_each (it, &who->prefixes) {
        const struct tracking_prefix *p = list_entry(it, struct prefix_client, by_client)->prefix;
        reply_bulk(c->out, span_of(p->bytes, p->len));
    }
}

/* ---- reads ---- */

void tracking_read(struct cmd *c)
{
    const struct cmd_desc *d = c->desc;
    uint32_t few[16], *pos = few;
    if (!(d->flags & CMD_READONLY) || (d->flags & CMD_PUBSUB))
        return;
    int n = cmd_keys(d, c->argv, c->argc, NULL, 0);
    if (n <= 0)
        return;
    if ((size_t)n > sizeof(few) / sizeof(few[0]) && !(pos = malloc((size_t)n * sizeof(*pos))))
        return;
    cmd_keys(d, c->argv, c->argc, pos, (uint32_t)n);
    for (int i = 0; i < n; i++) {
        struct shard *s = c->part ? c->shard : cmd_shard(c, c->argv[pos[i]]);
        if (s)
            track_remember(s, c->argv[pos[i]], cmd_client(c));
    }
    if (pos != few)
        free(pos);
}
