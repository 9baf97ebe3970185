/* SUBSCRIBE, PUBLISH and what is asked about them: the commands over the tables of pubsub.h.
 *
 * Where in the flow: subscribing is ROUTE_LOCAL, on the client's home worker. PUBLISH is ROUTE_CHANNEL: with several workers the router does
 * it (dataplane/conn/pubsub.c), with one it runs here. PUBSUB is asked of every worker and joined (agg.c). Replies are those of
 * Redis 7.0.15: confirmations are pushes, so CLIENT REPLY does not mute them. */
#include "engine/cmd/pubsub.h"

#include <stdlib.h>

#include "engine/base/num.h"
#include "engine/cmd/cmd_internal.h"
#include "engine/cmd/keyref.h"
#include "engine/cmd/tracking.h"

/* ["subscribe", name, subscriptions]. Channels and patterns are counted together. */
static void confirm(struct cmd *c, enum pubsub_kind kind, const char *word, const struct span *name)
{
    const struct session *s = c->session;
    struct reply *r = c->out;
    bool muted = r->muted;
    int64_t n = kind == PUBSUB_SHARD
                    ? pubsub_count(s, PUBSUB_SHARD)
                    : (int64_t)pubsub_count(s, PUBSUB_CHANNEL) + pubsub_count(s, PUBSUB_PATTERN);
    r->muted = false;
    reply_push(r, 3);
    reply_bulk_str(r, word);
    if (name)
        reply_bulk(r, *name);
    else
        reply_null(r);
    reply_int(r, n);
    r->muted = muted;
}

static void set_mode(struct session *s)
{
    if (s->subs)
        s->mode |= SESSION_SUBSCRIBED;
    else
        s->mode &= (uint8_t)~SESSION_SUBSCRIBED;
}

static void subscribe(struct cmd *c, enum pubsub_kind kind, const char *word)
{
    for (uint32_t i = 1; i < c->argc; i++) {
        if (pubsub_subscribe(c->host->pubsub, c->session, kind, c->argv[i]) == PUBSUB_NO_MEMORY)
            cmd_reply_oom(c);
        else
            confirm(c, kind, word, &c->argv[i]);
    }
    set_mode(c->session);
}

/* Without names: from all, the first one first. The name is told before it is forgotten, with the count that is then. */
static void unsubscribe_all(struct cmd *c, enum pubsub_kind kind, const char *word)
{
    struct span first;
    if (!pubsub_first(c->session, kind, &first)) {
        confirm(c, kind, word, NULL);
        return;
    }
    do {
        uint8_t name[256], *copy = first.n <= sizeof(name) ? name : malloc(first.n);
        if (!copy) {
            cmd_reply_oom(c);
            return;
        }
        memcpy(copy, first.p, first.n);
        struct span told = span_of(copy, first.n);
        pubsub_unsubscribe(c->host->pubsub, c->session, kind, told);
        confirm(c, kind, word, &told);
        if (copy != name)
            free(copy);
    } while (pubsub_first(c->session, kind, &first));
}

static void unsubscribe(struct cmd *c, enum pubsub_kind kind, const char *word)
{
    if (c->argc == 1)
        unsubscribe_all(c, kind, word);
    for (uint32_t i = 1; i < c->argc; i++) {
        pubsub_unsubscribe(c->host->pubsub, c->session, kind, c->argv[i]);
        confirm(c, kind, word, &c->argv[i]);
    }
    set_mode(c->session);
}

void cmd_subscribe(struct cmd *c)
{
    subscribe(c, PUBSUB_CHANNEL, "subscribe");
}

void cmd_psubscribe(struct cmd *c)
{
    subscribe(c, PUBSUB_PATTERN, "psubscribe");
}

void cmd_ssubscribe(struct cmd *c)
{
    subscribe(c, PUBSUB_SHARD, "ssubscribe");
}

void cmd_unsubscribe(struct cmd *c)
{
    unsubscribe(c, PUBSUB_CHANNEL, "unsubscribe");
}

void cmd_punsubscribe(struct cmd *c)
{
    unsubscribe(c, PUBSUB_PATTERN, "punsubscribe");
}

void cmd_sunsubscribe(struct cmd *c)
{
    unsubscribe(c, PUBSUB_SHARD, "sunsubscribe");
}

void pubsub_reset(struct host *h, struct session *s)
{
    pubsub_leave(h->pubsub, s);
    s->mode &= (uint8_t)~SESSION_SUBSCRIBED;
    s->conflate = false;
    tracking_off(h->tracking, s);
}

/* ---- PUBLISH ---- */

void cmd_publish(struct cmd *c)
{
    reply_int(c->out, c->host->ops->publish(c->host, PUBSUB_CHANNEL, c->argv[1], c->argv[2]));
}

void cmd_spublish(struct cmd *c)
{
    reply_int(c->out, c->host->ops->publish(c->host, PUBSUB_SHARD, c->argv[1], c->argv[2]));
}

/* ---- PUBSUB ---- */

struct names {
    struct reply *to;
    struct span pattern; /* p NULL: all */
    uint64_t n;
};

static bool name_shown(const struct names *l, struct span name)
{
    return !l->pattern.p || glob_match(l->pattern, name, false);
}

static void name_count(void *ctx, struct span name)
{
    struct names *l = ctx;
    l->n += name_shown(l, name);
}

static void name_write(void *ctx, struct span name)
{
    struct names *l = ctx;
    if (name_shown(l, name))
        reply_bulk(l->to, name);
}

static void list_names(struct cmd *c, enum pubsub_kind kind, struct span pattern)
{
    struct names l = {.to = c->out, .pattern = pattern};
    pubsub_each(c->host->pubsub, kind, name_count, &l);
    reply_array(c->out, l.n);
    pubsub_each(c->host->pubsub, kind, name_write, &l);
}

static void list_channels(struct cmd *c, enum pubsub_kind kind)
{
    if (c->argc > 3)
        reply_errorf(c->out,
                     "ERR unknown subcommand or wrong number of arguments for '%.*s'. Try PUBSUB "
                     "HELP.",
                     span_shown(c->argv[1], 128), (const char *)c->argv[1].p);
    else
        list_names(c, kind, c->argc == 3 ? c->argv[2] : span_of(NULL, 0));
}

void cmd_pubsub_channels(struct cmd *c)
{
    list_channels(c, PUBSUB_CHANNEL);
}

void cmd_pubsub_shardchannels(struct cmd *c)
{
    list_channels(c, PUBSUB_SHARD);
}

/* Different patterns: a part names its own, so that one of two workers counts once. */
void cmd_pubsub_numpat(struct cmd *c)
{
    if (c->part)
        list_names(c, PUBSUB_PATTERN, span_of(NULL, 0));
    else
        reply_int(c->out, (int64_t)c->host->pubsub->count[PUBSUB_PATTERN]);
}

static void count_subscribers(struct cmd *c, enum pubsub_kind kind)
{
    reply_array(c->out, 2 * (size_t)(c->argc - 2));
    for (uint32_t i = 2; i < c->argc; i++) {
        reply_bulk(c->out, c->argv[i]);
        reply_int(c->out, (int64_t)pubsub_subscribers(c->host->pubsub, kind, c->argv[i]));
    }
}

void cmd_pubsub_numsub(struct cmd *c)
{
    count_subscribers(c, PUBSUB_CHANNEL);
}

void cmd_pubsub_shardnumsub(struct cmd *c)
{
    count_subscribers(c, PUBSUB_SHARD);
}
