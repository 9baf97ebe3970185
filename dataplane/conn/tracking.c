/* Client-side caching over workers: from a shard that has changed to the clients that have read it.
 *
 *     holder of the shard                     home of the client                   home of the client it redirects to
 *     after.c: track_take
 *     ids of one worker, key  ------------->  RESP3: a push
 *                                             REDIRECT  ------------------------>  a push, or a message of __redis__:invalidate
 *                                             tracking-redir-broken  <-----------  it is gone
 *     name of a changed key   ------------->  under a prefix (BCAST): gathered, told at the end of the turn
 *
 * Events come after what was sent before them on the same ring, and a push goes behind the replies that its client awaits: who is told to forget
 * a key has its value by then. Thread: the worker's. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "dataplane/conn/conn_internal.h"
#include "engine/base/num.h"

/* ---- to one client ---- */

/* An invalidation for a client here; `redirected`: of another one's keys. */
static void push_keys(struct conn *c, struct span keys, bool redirected)
{
    struct reply_heap h = {0};
    struct reply r;
    reply_heap_init(&r, &h, c->ses.resp);
    if (c->ses.resp > 2) {
        reply_push(&r, 2);
        reply_bulk_str(&r, "invalidate");
    } else if (redirected && (c->ses.mode & SESSION_SUBSCRIBED)) {
        reply_push(&r, 3);
        reply_bulk_str(&r, "message");
        reply_bulk_str(&r, "__redis__:invalidate");
    } else {
        return; /* RESP2 has no way to say it */
    }
    reply_raw(&r, keys.p, keys.n);
    reply_heap_finish(&r, &h);
    if (!r.failed)
        conn_push(c, span_of(h.p, h.len));
    reply_heap_free(&h);
}

/* Its REDIRECT leads nowhere. */
static void push_broken(struct conn *c)
{
    char text[64];
    struct tracking *who = c->ses.mode & SESSION_TRACKING ? c->ses.tracking : NULL;
    if (!who)
        return;
    who->flags |= TRACKING_BROKEN;
    if (c->ses.resp <= 2)
        return;
    int n = snprintf(text, sizeof(text), ">2\r\n$21\r\ntracking-redir-broken\r\n:%llu\r\n",
                     (unsigned long long)who->redirect);
    conn_push(c, span_of(text, (size_t)n));
}

struct redirect_event {
    struct mail_event ev; /* there, and back when nobody is there */
    uint64_t from, to;    /* clients */
    size_t n;
    uint8_t keys[];
};

static void on_broken(struct worker *w, struct mail_event *ev)
{
    struct redirect_event *e = (struct redirect_event *)ev;
    struct conn *c = conn_find(w, e->from);
    out_close(w);
    if (c && (c->ses.mode & SESSION_TRACKING) && c->ses.tracking->redirect == e->to)
        push_broken(c);
    free(e);
}

static void on_redirect(struct worker *w, struct mail_event *ev)
{
    struct redirect_event *e = (struct redirect_event *)ev;
    struct conn *c = conn_find(w, e->to);
    out_close(w);
    if (c) {
        push_keys(c, span_of(e->keys, e->n), true);
        free(e);
        return;
    }
    e->ev.run = on_broken;
    event_send(w, e->ev.from, &e->ev);
}

/* Tells a client here, or whom it redirects to. */
static void tell(void *ctx, struct session *s, struct span keys)
{
    struct worker *w = ctx;
    struct conn *c = (struct conn *)s;
    uint64_t to = s->tracking->redirect;
    if (!to) {
        push_keys(c, keys, false);
        return;
    }
    uint32_t home = client_home(w, to);
    if (home == w->id) {
        struct conn *r = conn_find(w, to);
        if (r)
            push_keys(r, keys, true);
        else
            push_broken(c);
        return;
    }
    struct redirect_event *e = malloc(sizeof(*e) + keys.n);
    if (!e)
        return;
    conn_name(c); /* the answer names it */
    *e = (struct redirect_event){.ev.run = on_redirect, .from = s->id, .to = to, .n = keys.n};
    memcpy(e->keys, keys.p, keys.n);
    event_send(w, home, &e->ev);
}

/* ---- what has changed ---- */

struct changed_event {
    struct mail_event ev;
    uint64_t by;    /* client whose command it was */
    uint32_t n;     /* ids */
    bool broadcast; /* for prefixes; no ids */
    uint32_t len;
    uint64_t id[]; /* then the key */
};

static void tell_id(struct worker *w, uint64_t id, uint64_t by, struct span keys)
{
    struct conn *c = conn_find(w, id);
    if (!c || !(c->ses.mode & SESSION_TRACKING))
        return;
    uint32_t flags = c->ses.tracking->flags;
    if ((flags & TRACKING_BCAST) || ((flags & TRACKING_NOLOOP) && id == by))
        return;
    tell(w, &c->ses, keys);
}

/* Clients of this worker have read the key. */
static void tell_ids(struct worker *w, const uint64_t *id, uint32_t n, uint64_t by, struct span key)
{
    struct reply_heap h = {0};
    struct reply r;
    reply_heap_init(&r, &h, 2);
    reply_array(&r, 1);
    reply_bulk(&r, key);
    reply_heap_finish(&r, &h);
    if (!r.failed)
        for (uint32_t i = 0; i < n; i++)
            tell_id(w, id[i], by, span_of(h.p, h.len));
    reply_heap_free(&h);
}

static void on_changed(struct worker *w, struct mail_event *ev)
{
    struct changed_event *e = (struct changed_event *)ev;
    struct span key = span_of(e->id + e->n, e->len);
    out_close(w);
    if (e->broadcast)
        tracking_note(&w->tracking, key, e->by);
    else
        tell_ids(w, e->id, e->n, e->by, key);
    free(e);
}

static void send_changed(struct worker *w, uint32_t to, const struct track_key *k, bool broadcast,
                         const uint64_t *id, uint32_t n)
{
    struct span key = span_of(k->bytes, k->len);
    uint64_t by = w->host.asker;
    if (to == w->id) {
        if (broadcast)
            tracking_note(&w->tracking, key, by);
        else
            tell_ids(w, id, n, by, key);
        return;
    }
    struct changed_event *e = malloc(sizeof(*e) + n * sizeof(*id) + key.n);
    if (!e)
        return;
    *e = (struct changed_event){
        .ev.run = on_changed, .by = by, .n = n, .broadcast = broadcast, .len = (uint32_t)key.n};
    if (n)
        memcpy(e->id, id, n * sizeof(*id));
    memcpy(e->id + n, key.p, key.n);
    event_send(w, to, &e->ev);
}

/* Ids of one home behind each other; the key's memory is ours. */
void tracking_tell(struct worker *w, struct track_key *k)
{
    for (uint32_t from = 0; from < k->n;) {
        uint32_t home = client_home(w, k->id[from]), end = from + 1;
        for (uint32_t i = end; i < k->n; i++) {
            if (client_home(w, k->id[i]) != home)
                continue;
            uint64_t id = k->id[i];
            k->id[i] = k->id[end];
            k->id[end++] = id;
        }
        send_changed(w, home, k, false, k->id + from, end - from);
        from = end;
    }
}

static uint64_t clients_of(const struct worker *w, bool broadcast)
{
    uint64_t *n = broadcast ? &w->stats->tracking_broadcast : &w->stats->tracking_clients;
    return STAT_GET(*n);
}

/* False: no client of any worker is in broadcast mode. */
static bool send_broadcast(struct worker *w, const struct track_key *k)
{
    bool any = false;
    for (uint32_t i = 0; i < w->count; i++) {
        if (!clients_of(w->all[i], true))
            continue;
        any = true;
        send_changed(w, i, k, true, NULL, 0);
    }
    return any;
}

bool tracking_tell_prefixes(struct worker *w, const struct track_key *k)
{
    return !k->broadcast || send_broadcast(w, k);
}

void tracking_still(struct worker *w)
{
    bool any = false;
    for (uint32_t i = 0; i < w->count && !any; i++)
        any = clients_of(w->all[i], true) != 0;
    if (!any)
        w->shard.listen &= ~(uint32_t)LISTEN_BROADCAST;
}

/* ---- FLUSHALL, FLUSHDB ---- */

static void tell_flushed(void *ctx, struct session *s)
{
    tell(ctx, s, s->resp > 2 ? SPAN("_\r\n") : SPAN("$-1\r\n"));
}

static void on_flushed(struct worker *w, struct mail_event *ev)
{
    out_close(w);
    tracking_each(&w->tracking, tell_flushed, w);
    free(ev);
}

static void send_flushed(struct worker *w)
{
    for (uint32_t i = 0; i < w->count; i++) {
        if (!clients_of(w->all[i], false))
            continue;
        if (i == w->id) {
            tracking_each(&w->tracking, tell_flushed, w);
            continue;
        }
        struct mail_event *ev = malloc(sizeof(*ev));
        if (!ev)
            continue;
        *ev = (struct mail_event){.run = on_flushed};
        event_send(w, i, ev);
    }
}

bool tracking_anybody(const struct worker *w)
{
    for (uint32_t i = 0; i < w->count; i++)
        if (clients_of(w->all[i], false))
            return true;
    return false;
}

/* Takes the key over. */
static void tell_changed(struct worker *w, struct shard *s, struct track_key *k)
{
    tracking_tell(w, k);
    if (!tracking_tell_prefixes(w, k))
        s->listen &= ~(uint32_t)LISTEN_BROADCAST; /* the last of them is gone */
    track_free(k);
}

void tracking_before(struct worker *w, struct shard_set *set, uint64_t step)
{
    struct shard *s;
    do {
        s = NULL;
        for (uint32_t i = 0; i < set->count; i++) {
            const struct track_key *k = set->v[i] ? set->v[i]->track.changed : NULL;
            if (k && k->at < step && (!s || k->at < s->track.changed->at))
                s = set->v[i];
        }
        if (s)
            tell_changed(w, s, track_take_first(s));
    } while (s);
}

void tracking_after(struct worker *w, struct shard_set *set)
{
    bool flushed = false, gone;
    for (uint32_t i = 0; i < set->count; i++) {
        struct shard *s = set->v[i];
        if (!s)
            continue;
        for (struct track_key *k = track_take(s, &gone), *next; k; k = next) {
            next = k->next;
            tell_changed(w, s, k);
        }
        flushed |= gone;
    }
    if (flushed)
        send_flushed(w);
}

void tracking_turn_end(struct worker *w)
{
    out_close(w);
    tracking_broadcast(&w->tracking, tell, w);
}

/* ---- REDIRECT: is there such a client? ---- */

struct ask_event {
    struct mail_event ev; /* there and back */
    uint64_t from, about;
    bool found;
};

/* Among all clients here, named or not; from now on it is. */
static bool client_here(struct worker *w, uint64_t id)
{
    if (conn_find(w, id))
        return true;
    list_for_each (n, &w->conns) {
        struct conn *c = list_entry(n, struct conn, node);
        if (c->ses.id != id || c->closing)
            continue;
        conn_name(c);
        return true;
    }
    return false;
}

/* What it has asked last about that client, for its request number asked_at; NULL: nothing. */
static struct tracking_asked *asked(const struct session *s, uint64_t id)
{
    struct tracking *who = s->tracking;
    for (uint32_t i = 0; who && i < who->asked_n; i++)
        if (who->asked[i].id == id)
            return &who->asked[i];
    return NULL;
}

static void on_answer(struct worker *w, struct mail_event *ev)
{
    struct ask_event *e = (struct ask_event *)ev;
    struct conn *c = conn_find(w, e->from);
    struct tracking_asked *a = c ? asked(&c->ses, e->about) : NULL;
    if (a) {
        a->found = e->found;
        c->paused = false; /* the end of the turn parses the request again */
        conn_mark(c);
    }
    free(e);
}

static void on_ask(struct worker *w, struct mail_event *ev)
{
    struct ask_event *e = (struct ask_event *)ev;
    e->found = client_here(w, e->about);
    e->ev.run = on_answer;
    event_send(w, e->ev.from, &e->ev);
}

bool host_client_known(struct host *h, struct session *asker, uint64_t id)
{
    struct worker *w = (struct worker *)((char *)h - offsetof(struct worker, host));
    if (id == 0)
        return false;
    if (client_home(w, id) == w->id)
        return client_here(w, id);
    const struct tracking_asked *a = asked(asker, id);
    return a && a->found && asker->tracking->asked_at == asker->commands;
}

bool tracking_asks(struct worker *w, struct staged *s, const struct span *argv, uint32_t argc)
{
    struct conn *c = s->conn;
    int64_t id = 0;
    for (uint32_t i = 3; i + 1 < argc; i++)
        if (span_is(argv[i], "redirect") && !num_parse_i64(argv[i + 1], &id))
            id = 0;
    if (id <= 0 || client_home(w, (uint64_t)id) == w->id || !tracking_of(&c->ses))
        return false;
    struct tracking *who = c->ses.tracking;
    if (who->asked_at != c->ses.commands)
        who->asked_n = 0; /* by an earlier request; one that is put back is not counted */
    who->asked_at = c->ses.commands;
    if (asked(&c->ses, (uint64_t)id) || who->asked_n == TRACKING_ASKED)
        return false; /* the answer is there */
    struct ask_event *e = malloc(sizeof(*e));
    if (!e)
        return false;
    *e = (struct ask_event){.ev.run = on_ask, .from = c->ses.id, .about = (uint64_t)id};
    who->asked[who->asked_n++] = (struct tracking_asked){.id = (uint64_t)id};
    conn_name(c);
    event_send(w, client_home(w, (uint64_t)id), &e->ev);
    batch_put_back(w, s);
    c->paused = true;
    return true;
}

bool tracking_leases(const struct span *argv, uint32_t argc)
{
    for (uint32_t i = 3; i < argc; i++)
        if (span_is(argv[i], "bcast"))
            return true;
    return false;
}
