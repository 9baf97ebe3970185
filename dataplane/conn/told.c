/* What a request over several shards leaves to be told: keyspace notifications and invalidations, in the order in which it names its keys.
 *
 *     owner, when its part has run                    home, when all have
 *     told_take: events, clients that cached  ------> told_all: key by key; then the parts let go of their keys
 *
 * Where nobody listens to a shard its part lets go as soon as it has run. A listener that comes or goes in the middle hears of all of a write or of nothing:
 * events are told of the classes that all its shards were to tell. Thread: the owner's while its shard is its own; home's. */
#include <stdlib.h>

#include "dataplane/conn/conn_internal.h"
#include "dataplane/conn/scatter.h"

struct told {
    struct notices notices;
    struct track_key *changed; /* oldest first */
    struct track_key *next;    /* of those: its clients have not been told yet */
    uint32_t events;           /* notify-keyspace-events, when it ran; 0: nobody listened */
};

bool told_take(struct worker *w, struct part *p)
{
    struct shard *s = &w->shard;
    bool gone, write = p->of->write;
    if (s->after & AFTER_WAIT)
        after_waiters(w, &w->set);
    uint32_t take = s->after & (write ? AFTER_NOTIFY | AFTER_TRACK : AFTER_NOTIFY);
    struct told *t = NULL;
    if (take || (write && (s->listen & LISTEN_NOTIFY)))
        t = malloc(sizeof(*t));
    if (t) { /* without memory it is told at once, in no order */
        *t = (struct told){.notices = s->notices,
                           .events = s->listen & LISTEN_NOTIFY ? s->config->notify_events : 0};
        s->notices = (struct notices){.lost = t->notices.lost};
        if (take & AFTER_TRACK)
            t->changed = t->next = track_take(s, &gone);
        s->after &= ~take;
        p->told = t;
    }
    tracking_still(w);
    after_command(w, s);
    return t != NULL;
}

static void free_told(struct told *t)
{
    for (struct track_key *next; t->changed; t->changed = next) {
        next = t->changed->next;
        track_free(t->changed);
    }
    notices_fini(&t->notices);
    free(t);
}

static void tell_changed(struct worker *w, struct told *t)
{
    tracking_tell(w, t->next);
    t->next = t->next->next;
}

/* The next event, if it is of that key. */
static bool event_of(const struct told *t, struct span key, struct notice_seen *ret)
{
    return notices_first(&t->notices, ret) && span_eq(ret->key, key);
}

/* As Redis: that it expired, or is new; who has cached it; what was done to it. One that is named twice has its events twice. */
static void tell_key(struct worker *w, struct told *t, struct span key, uint32_t flags)
{
    struct notice_seen n;
    for (; event_of(t, key, &n) && (n.cls & (KS_EXPIRED | KS_NEW)); notices_pass(&t->notices))
        notify_tell(w, flags, &n);
    while (t->next && span_eq(span_of(t->next->bytes, t->next->len), key))
        tell_changed(w, t);
    while (event_of(t, key, &n)) {
        notify_tell(w, flags, &n);
        notices_pass(&t->notices);
        if (n.cls & (KS_STRING | KS_MISS))
            break;
    }
}

/* What is left in it, which is of none of its keys. */
static void tell_rest(struct worker *w, struct told *t, uint32_t flags)
{
    struct notice_seen n;
    for (; notices_first(&t->notices, &n); notices_pass(&t->notices))
        notify_tell(w, flags, &n);
    while (t->next)
        tell_changed(w, t);
}

/* Who wants a prefix is told at the end of a turn, of all that one request changed: nothing comes in between. */
static void tell_prefixes(struct worker *w, const struct told *t)
{
    for (const struct track_key *k = t->changed; k; k = k->next)
        tracking_tell_prefixes(w, k);
}

/* A read is told of as each of its shards listens, a write as all of them do. */
static uint32_t flags_of(const struct scatter *sc, uint32_t part)
{
    uint32_t flags = UINT32_MAX;
    if (!sc->write)
        return sc->part[part].told->events;
    for (uint32_t i = 0; i < sc->parts; i++)
        flags &= sc->told >> i & 1 ? sc->part[i].told->events : 0;
    return flags;
}

void told_all(struct worker *w, struct scatter *sc, const struct span *argv)
{
    uint32_t first = (uint32_t)sc->desc->first_key, each = (uint32_t)sc->desc->key_step;
    uint32_t flags[LIMIT_WORKERS];
    out_close(w);
    w->host.asker = sc->client;
    for (uint64_t m = sc->told; m; m &= m - 1)
        flags[__builtin_ctzll(m)] = flags_of(sc, (uint32_t)__builtin_ctzll(m));
    for (uint32_t i = 0; i < sc->keys; i++) {
        uint32_t k = sc->part_of[i];
        if (sc->told >> k & 1)
            tell_key(w, sc->part[k].told, argv[first + (size_t)i * each], flags[k]);
    }
    for (uint64_t m = sc->told; m; m &= m - 1)
        tell_rest(w, sc->part[__builtin_ctzll(m)].told, flags[__builtin_ctzll(m)]);
    for (; sc->told; sc->told &= sc->told - 1) {
        uint32_t k = (uint32_t)__builtin_ctzll(sc->told);
        tell_prefixes(w, sc->part[k].told);
        free_told(sc->part[k].told);
    }
}

void told_undone(struct worker *w, struct scatter *sc)
{
    out_close(w);
    for (; sc->told; sc->told &= sc->told - 1) {
        struct told *t = sc->part[__builtin_ctzll(sc->told)].told;
        tell_rest(w, t, t->events & ~(uint32_t)KS_MISS);
        free_told(t);
    }
}

void told_free(struct scatter *sc)
{
    for (uint32_t i = 0; i < sc->parts; i++) {
        struct part *p = &sc->part[i];
        if ((sc->told >> i & 1) || p->step == PART_RAN || p->step == PART_NOTED)
            free_told(p->told);
    }
}
