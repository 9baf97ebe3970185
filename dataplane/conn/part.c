/* What one shard does of a request over several (scatter.c): the owner's side.
 *
 *   PART_ASK   all keys of the part are free: they are its own now (intents), and what only reads is run; otherwise refused
 *   PART_RUN   what writes is run; the keys are free again
 *   PART_DROP  the keys are free again
 *
 * What writes where somebody listens keeps its keys, when it has run, until home has told of it (told.c) and drops it.
 *
 * Where there is a journal one owner writes the whole request down, and runs its part, before the others run theirs: that record is behind what each shard had done
 * when it granted, and each shard's next one is behind that.
 *
 * While a part has keys, a command that meets them waits at the head of the line for the shard (lease.c), with all behind it; so does a lease.
 * Others run on. Nobody waits while he has keys, but in shard order: docs/threads.md. Thread: the owner's, while its shard is its own. */
#include <rte_cycles.h>

#include "dataplane/conn/conn_internal.h"
#include "dataplane/conn/scatter.h"
#include "engine/cmd/effect.h"
#include "engine/shard/entry_inline.h"

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

/* Where its keys are looked up: their lines are asked for, then their entries. What reads is given these (cmd_key.candidate) unless anything was
 * served, written or taken out of the dict meanwhile. */
static inline struct dict *dict_of(struct worker *w, const struct part *p)
{
    return w->shard.db[p->of->db].keys;
}

static inline void find_buckets(struct worker *w, struct part *p)
{
    const struct dict *dict = dict_of(w, p);
    p->dict = dict;
    for (struct cmd_key *k = p->key, *end = k + p->keys; k != end; k++) {
        k->bucket = dict ? dict_bucket_of(dict, k->hash) : NULL;
        __builtin_prefetch(k->bucket);
    }
}

static inline void find_entries(struct worker *w, struct part *p)
{
    p->served = w->lease.served;
    if (unlikely_(!p->dict))
        return; /* no bucket is no candidate */
    p->departed = p->dict->departed;
    for (struct cmd_key *k = p->key, *end = k + p->keys; k != end; k++) {
        k->candidate = dict_candidate(k->bucket, k->hash);
        entry_prefetch(k->candidate);
    }
}

static inline bool found_good(struct worker *w, const struct part *p)
{
    return p->served == w->lease.served && p->dict == dict_of(w, p) &&
           (!p->dict || p->departed == p->dict->departed);
}

/* It has run aside. */
static void write_down(struct worker *w, struct part *p)
{
    const struct scatter *of = p->of;
    journal_aside_end(w);
    if (!w->journal.on || !of->teller)
        return;
    if (p != of->teller) {
        journal_behind(w, of->teller->shard, of->teller->seq);
        return;
    }
    journal_close(w);
    for (uint32_t i = 0; i < of->parts; i++)
        if (of->part[i].journals && &of->part[i] != p)
            journal_behind(w, of->part[i].shard, of->part[i].seq);
    effects_append(&w->journal.fx, of->db, of->argv, of->argc);
    journal_close(w);
    p->seq = w->shard.journal_seq;
}

static void run(struct worker *w, struct part *p)
{
    const struct scatter *of = p->of;
    struct reply r;
    struct cmd *cmd = &w->part_cmd; /* what never changes was filled in by worker_create */
    uint64_t start = unlikely_(times_each(w, of->desc)) ? rte_rdtsc() : 0;
    if (!of->write && unlikely_(!found_good(w, p))) {
        find_buckets(w, p);
        find_entries(w, p);
    }
    p->runs = false;
    reply_heap_append(&r, &p->reply, of->resp);
    cmd->argv = p->argv;
    cmd->argc = p->argc;
    cmd->desc = of->desc;
    cmd->out = &r;
    cmd->now_us = w->unix_us;
    cmd->db = of->db;
    cmd->hash = p->key[0].hash;
    cmd->keys = p->key;
    cmd->client = of->client;
    cmd->tracks = of->tracks;
    w->host.asker = of->client;
    if (unlikely_(p->journals))
        journal_aside_begin(w);
    of->desc->fn(cmd);
    if (unlikely_(cmd->tracks))
        tracking_read(cmd);
    cmd_ended(cmd);
    if (unlikely_(p->journals))
        write_down(w, p);
    if (unlikely_(start != 0)) {
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
    if (unlikely_(w->journal.on) && (!of->write || !of->teller || of->teller == p))
        p->gate = journal_gate(w, w->id, journal_need(of->durability, of->write));
    w->lease.served += of->write;
}

/* ---- keys ---- */

/* There is no room: eviction is for whoever has all shards. */
static bool needs_leases(struct worker *w, const struct part *p)
{
    return p->of->write && (p->of->desc->flags & CMD_DENYOOM) && shard_full(&w->shard);
}

/* False: it meets another. */
static bool take_keys(struct worker *w, struct part *p)
{
    struct intents *t = &w->lease.intents;
    bool write = p->of->write;
    if (t->writers || (write && t->readers)) {
        for (uint32_t i = 0; i < p->keys; i++)
            if (intents_meet(t, p->key[i].hash, write))
                return false;
    }
    struct cmd_key **chains = write ? t->write : t->read;
    for (uint32_t i = 0; i < p->keys; i++)
        intent_add(chains, &p->key[i]);
    if (write)
        t->writers++;
    else
        t->readers++;
    return true;
}

/* A journal is on, and the part writes: what of it the record must be behind, and whether there is anything to write down. */
static void note_journal(struct worker *w, struct part *p)
{
    const struct scatter *of = p->of;
    p->journals = p->claims = true;
    w->shard.claims++;
    p->changes = of->desc->key_step == 2;
    for (uint32_t i = 0; i < p->keys && !p->changes; i++)
        p->changes = ks_peek(&w->shard, of->db, p->argv[i + 1], p->key[i].hash) != NULL;
    journal_close(w);
    p->seq = w->shard.journal_seq;
}

bool part_claims(const struct shard *s, uint64_t hash)
{
    const struct worker *w = list_entry(s, struct worker, shard);
    return intents_in(w->lease.intents.write, hash);
}

static void let_go(struct worker *w, struct part *p)
{
    struct intents *t = &w->lease.intents;
    w->shard.claims -= p->claims;
    p->journals = p->claims = false;
    for (uint32_t i = 0; i < p->keys; i++)
        intent_drop(&p->key[i]);
    if (p->of->write)
        t->writers--;
    else
        t->readers--;
    p->step = PART_HOME;
    part_send(w, p->of->home, p);
    if (unlikely_(!list_empty(&w->lease.queue)))
        lease_pump(w); /* who waited for them */
}

/* False: not now. */
static bool grant(struct worker *w, struct part *p)
{
    if (unlikely_(needs_leases(w, p)) || unlikely_(w->hold.on && hold_client(w, p->of->client))) {
        p->step = PART_LEASE;
        p->runs = false;
        return true;
    }
    if (unlikely_(!take_keys(w, p)))
        return false;
    p->step = PART_GRANTED;
    STAT_INC(w->stats->mail_served);
    if (p->of->write) {
        if (unlikely_(w->journal.on))
            note_journal(w, p);
        return true;
    }
    run(w, p);
    if (unlikely_(w->shard.after) && told_take(w, p))
        p->step = PART_NOTED;
    return true;
}

bool part_turn(struct worker *w, struct part *p)
{
    if (!grant(w, p))
        return false;
    part_send(w, p->of->home, p);
    return true;
}

static __attribute__((noinline)) void ask(struct worker *w, struct part *p)
{
    if (unlikely_(p->step == PART_WAIT)) {
        list_push_back(&w->lease.queue, &p->q.node);
        lease_pump(w);
        return;
    }
    if (!remote_shard_free(w) || !grant(w, p)) {
        p->step = PART_REFUSED;
        p->runs = false;
    }
    part_send(w, p->of->home, p);
}

/* It has run. Until home has told of it nobody changes its keys, and they do not leave by themselves. */
static void keep_until_told(struct worker *w, struct part *p)
{
    w->shard.claims += !p->claims;
    p->claims = true;
    p->step = PART_RAN;
    part_send(w, p->of->home, p);
}

static __attribute__((noinline)) void run_and_go(struct worker *w, struct part *p)
{
    run(w, p);
    if (unlikely_((w->shard.after | (w->shard.listen & LISTEN_NOTIFY)) != 0) && told_take(w, p))
        keep_until_told(w, p);
    else
        let_go(w, p);
}

void part_take(struct worker *w, struct part *p)
{
    if (p->step == PART_DROP)
        let_go(w, p);
    else if (p->step == PART_RUN)
        run_and_go(w, p);
    else if (p->step >= PART_GRANTED)
        scatter_take(w, p);
    else
        ask(w, p);
}

void part_receive(struct worker *w, struct part *first)
{
    if (likely_(w->lease.holder == LEASE_FREE)) { /* of all parts before the first one runs */
        for (struct part *p = first; p; p = p->next)
            if (p->runs)
                find_buckets(w, p);
        for (struct part *p = first; p; p = p->next)
            if (p->runs)
                find_entries(w, p);
    }
    for (struct part *p = first, *next; p; p = next) {
        next = p->next;
        if (p->step >= PART_GRANTED)
            scatter_take(w, p);
        else
            part_take(w, p);
    }
}
