/* What one shard does of a request over several (scatter.c): the owner's side.
 *
 *   PART_ASK   all keys of the part are free: they are its own now (intents), and what only reads is run; otherwise refused
 *   PART_RUN   what writes is run; the keys are free again
 *   PART_DROP  the keys are free again
 *
 * While a part has keys, a command that meets them waits at the head of the line for the shard (lease.c), with all behind it; so does a lease.
 * Others run on. Nobody waits while he has keys, but in shard order: docs/threads.md. Thread: the owner's, while its shard is its own. */
#include <rte_cycles.h>

#include "dataplane/conn/conn_internal.h"
#include "dataplane/conn/scatter.h"
#include "engine/cmd/effect.h"

#define REPLY_BYTES 512 /* of a part, to begin with */

/* ---- commands that meet keys of parts ---- */

static bool keys_meet(struct worker *w, const struct cmd_desc *d, const struct span *argv,
                      uint32_t argc, bool write)
{
    const struct intents *t = &w->lease.intents;
    uint32_t some[16], *pos = some;
    int n = cmd_keys(d, argv, argc, NULL, 0);
    if (n <= 0 || cmd_keys_open(d, argv, argc))
        return true;
    if (n > (int)ARRAY_LEN(some))
        pos = malloc((size_t)n * sizeof(*pos));
    CHECK(pos);
    cmd_keys(d, argv, argc, pos, (uint32_t)n);
    bool meet = false;
    for (int i = 0; i < n && !meet; i++)
        meet = intents_meet(t, shard_hash(&w->shard, argv[pos[i]]), write);
    if (pos != some)
        free(pos);
    return meet;
}

bool part_meets(struct worker *w, const struct cmd_desc *d, const struct span *argv, uint32_t argc,
                uint64_t hash)
{
    bool write = !(d->flags & CMD_READONLY);
    if (!w->lease.intents.writers && !write)
        return false;
    if (d->route == ROUTE_KEY && argc > (uint32_t)d->first_key && d->first_key > 0 &&
        !(d->flags & CMD_MOVABLE_KEYS))
        return intents_meet(&w->lease.intents, hash, write);
    if (d->route == ROUTE_KEY || d->route == ROUTE_KEYS)
        return keys_meet(w, d, argv, argc, write);
    return d->flags & CMD_WRITE; /* over the whole shard */
}

/* ---- running ---- */

static void run(struct worker *w, struct part *p)
{
    const struct scatter *of = p->of;
    struct reply r;
    uint64_t start = times_each(w, of->desc) ? rte_rdtsc() : 0;
    if (!p->reply.p && (p->reply.p = malloc(REPLY_BYTES)) != NULL)
        p->reply.cap = REPLY_BYTES;
    reply_heap_append(&r, &p->reply, of->resp);
    struct cmd cmd = route_cmd(w, of->desc, p->argv, p->argc, &r);
    cmd.db = of->db;
    cmd.hash = p->intent[0].hash;
    cmd.part = true;
    cmd.client = of->client;
    cmd.tracks = of->tracks;
    w->host.asker = of->client;
    of->desc->fn(&cmd);
    if (unlikely_(cmd.tracks))
        tracking_read(&cmd);
    cmd_ended(&cmd);
    if (start) {
        p->took = rte_rdtsc() - start;
        p->queued = start - of->born;
        times_took(w, of->desc, p->took);
    }
    reply_heap_finish(&r, &p->reply);
    p->lost = r.failed;
    if (unlikely_(r.errors)) {
        STAT_ADD(w->stats->error_replies, r.errors);
        stats_count_error(w->stats, r.error_code);
    }
    p->gate = journal_gate(w, w->id, journal_need(of->durability, of->write));
    after_command(w, &w->shard);
}

/* ---- keys ---- */

/* Must listeners hear of all its shards at once, in its order? Or is there no room: then eviction is for whoever has all shards. */
static bool needs_leases(struct worker *w, const struct part *p)
{
    return p->of->write && ((w->shard.listen &
                             (LISTEN_JOURNAL | LISTEN_NOTIFY | LISTEN_TRACK | LISTEN_BROADCAST)) ||
                            ((p->of->desc->flags & CMD_DENYOOM) && shard_full(&w->shard)));
}

/* False: it meets another. */
static bool take_keys(struct worker *w, struct part *p)
{
    struct intents *t = &w->lease.intents;
    bool write = p->of->write;
    if (t->writers || (write && t->readers)) {
        for (uint32_t i = 0; i < p->keys; i++)
            if (intents_meet(t, p->intent[i].hash, write))
                return false;
    }
    for (uint32_t i = 0; i < p->keys; i++)
        intent_add(t, &p->intent[i], write);
    if (write)
        t->writers++;
    else
        t->readers++;
    return true;
}

static void let_go(struct worker *w, struct part *p)
{
    struct intents *t = &w->lease.intents;
    for (uint32_t i = 0; i < p->keys; i++)
        intent_drop(&p->intent[i]);
    if (p->of->write)
        t->writers--;
    else
        t->readers--;
    p->step = PART_HOME;
    part_send(w, p->of->home, p);
    lease_pump(w); /* who waited for them */
}

/* False: not now. */
static bool grant(struct worker *w, struct part *p)
{
    if (unlikely_(needs_leases(w, p))) {
        p->step = PART_LEASE;
        return true;
    }
    if (unlikely_(!take_keys(w, p)))
        return false;
    p->step = PART_GRANTED;
    STAT_INC(w->stats->mail_served);
    if (!p->of->write)
        run(w, p);
    return true;
}

bool part_turn(struct worker *w, struct part *p)
{
    if (!grant(w, p))
        return false;
    part_send(w, p->of->home, p);
    return true;
}

static void ask(struct worker *w, struct part *p)
{
    if (unlikely_(p->step == PART_WAIT)) {
        list_push_back(&w->lease.queue, &p->q.node);
        lease_pump(w);
        return;
    }
    if (!remote_shard_free(w) || !grant(w, p))
        p->step = PART_REFUSED;
    part_send(w, p->of->home, p);
}

void part_take(struct worker *w, struct part *p)
{
    switch ((enum part_step)p->step) {
    case PART_ASK:
    case PART_WAIT: ask(w, p); break;
    case PART_RUN:
        run(w, p);
        let_go(w, p);
        break;
    case PART_DROP: let_go(w, p); break;
    case PART_GRANTED:
    case PART_REFUSED:
    case PART_LEASE:
    case PART_HOME: scatter_take(w, p); break;
    }
}

/* The keys of all parts of a message are asked for before the first one runs. */
static void prefetch(struct worker *w, struct part *first, bool entries)
{
    for (struct part *p = first; p; p = p->next) {
        struct dict *dict = w->shard.db[p->of->db].keys;
        if (p->step > PART_WAIT && p->step != PART_RUN)
            continue;
        for (uint32_t i = 0; dict && i < p->keys; i++) {
            if (entries)
                dict_prefetch_entry(dict, p->intent[i].hash);
            else
                dict_prefetch_bucket(dict, p->intent[i].hash);
        }
    }
}

void part_receive(struct worker *w, struct part *first)
{
    if (w->lease.holder == LEASE_FREE) {
        prefetch(w, first, false);
        prefetch(w, first, true);
    }
    for (struct part *p = first, *next; p; p = next) {
        next = p->next;
        part_take(w, p);
    }
}
