/* hold.c: requests that would change a large value which a snapshot has not written yet wait until it is (engine/shard/snapshot.h); or one of which a long reply
 * has not left, until the rest of that is written down (engine/shard/held.h).
 *
 *   here, in place     put back, its client is paused                    hold_staged; hold_batch keeps such from the short ways
 *   by mail, at owner  taken out of its mail into one of its own         hold_mail
 *   under leases       not run in this round; asks for the leases again  hold_job
 *   in parts           under leases, when it comes behind such a command of its client
 *
 * Only its own client waits: reads of the value and everybody else go on. What a client has asked behind a command that waits at an owner waits
 * there as well, so its order holds. When a value is written all that wait for the shard come again and look anew; a value waits once a snapshot. What
 * changes a value without having been seen here has it written at once. Thread: the worker's. */
#include <stdlib.h>
#include <string.h>

#include "dataplane/conn/conn_internal.h"
#include "engine/cmd/command_table.h"
#include "engine/cmd/multi.h"
#include "engine/ds/dict_inline.h"
#include "engine/shard/entry_inline.h"
#include "engine/shard/snapshot.h"

/* ---- does a request wait? ---- */

/* They replace or remove whole values: the snapshot takes what was there. */
static bool replaces(const struct cmd_desc *d)
{
    return d == &cmd_table[CMD_del] || d == &cmd_table[CMD_unlink] || d == &cmd_table[CMD_set] ||
           d == &cmd_table[CMD_setex] || d == &cmd_table[CMD_psetex] || d == &cmd_table[CMD_mset];
}

static bool key_waits(struct worker *w, const struct shard_set *set, uint32_t db, struct span key,
                      enum snapshot_change change)
{
    struct shard *s = set->v[set->count == 1 ? 0 : shard_of_key(key, w->count)];
    return s && snapshot_watches(s) && snapshot_wants_key(s, db, key, shard_hash(s, key), change);
}

/* One of its keys, in the shards of the set that are there. All of them are asked: they are written one after the other. */
static bool keys_wait(struct worker *w, const struct shard_set *set, uint32_t db,
                      const struct cmd_desc *d, const struct span *argv, uint32_t argc)
{
    uint32_t some[16], *pos = some;
    enum snapshot_change change = !(d->flags & CMD_WRITE) ? CHANGE_READS
                                  : replaces(d)           ? CHANGE_REPLACES
                                                          : CHANGE_WRITES;
    bool waits = false;
    if (!(d->flags & (CMD_WRITE | CMD_READONLY)))
        return false;
    int n = cmd_keys(d, argv, argc, NULL, 0);
    if (n <= 0)
        return false;
    if (n > (int)ARRAY_LEN(some) && !(pos = malloc((size_t)n * sizeof(*pos))))
        return false;
    cmd_keys(d, argv, argc, pos, (uint32_t)n);
    for (int i = 0; i < n; i++)
        waits |= key_waits(w, set, db, argv[pos[i]], change);
    if (pos != some)
        free(pos);
    return waits;
}

bool hold_keys(struct worker *w, uint32_t db, const struct cmd_desc *d, const struct span *argv,
               uint32_t argc)
{
    return keys_wait(w, &w->lease_set, db, d, argv, argc);
}

bool hold_key(struct worker *w, uint32_t db, struct span key)
{
    return key_waits(w, &w->lease_set, db, key, CHANGE_WRITES);
}

static bool queue_waits(struct worker *w, const struct shard_set *set, uint32_t db,
                        const struct multi *m)
{
    bool waits = false;
    int64_t other;
    for (const struct multi_cmd *mc = m->first; mc; mc = mc->next) {
        if (mc->desc == &cmd_table[CMD_select] && num_parse_i64(mc->argv[1], &other) &&
            other >= 0 && other < LIMIT_DATABASES)
            db = (uint32_t)other;
        waits |= keys_wait(w, set, db, mc->desc, mc->argv, mc->argc);
    }
    return waits;
}

bool hold_queue(struct worker *w, uint32_t db, const struct multi *m)
{
    return queue_waits(w, &w->lease_set, db, m);
}

bool hold_client(const struct worker *owner, uint64_t client)
{
    list_for_each (n, &owner->hold.mails) {
        const struct mail *m = list_entry(n, struct mail, q.node);
        if (m->first->client == client)
            return true;
    }
    return false;
}

/* ---- in place ---- */

static bool staged_waits(struct worker *w, const struct staged *s)
{
    const struct session *ses = &s->conn->ses;
    const struct multi *m = ses->multi;
    if (hold_client(w, ses->id))
        return true;
    if (!(ses->mode & SESSION_MULTI))
        return keys_wait(w, &w->set, ses->db, s->desc, s->argv, s->argc);
    return s->desc == &cmd_table[CMD_exec] && m && !m->failed &&
           queue_waits(w, &w->set, ses->db, m);
}

bool hold_staged(struct worker *w, struct staged *s)
{
    struct conn *c = s->conn;
    if (w->lease.holder != LEASE_FREE || !snapshot_watches(&w->shard) || !staged_waits(w, s))
        return false;
    batch_put_back(w, s);
    c->paused = c->hold_waits = true;
    conn_mark(c); /* what waits now is not offered as window */
    STAT_INC(w->stats->snapshot_held);
    return true;
}

/* May it wait? The entries of the batch have been asked for. */
static bool may_wait(const struct worker *w, const struct batch *b, const struct staged *s)
{
    const struct cmd_desc *d = s->desc;
    if (!d || !s->conn || !(s->way & ~(uint32_t)WAY_ERROR))
        return false;
    if (!list_empty(&w->hold.mails) && hold_client(w, s->conn->ses.id))
        return true;
    if (!s->keyed || (w->count > 1 && s->owner != w->id) ||
        !(d->flags & (CMD_WRITE | CMD_READONLY)))
        return false;
    if ((d->flags & CMD_WRITE) && (!s->dict || s->dict != b->dict || d->route == ROUTE_KEYS))
        return !replaces(d) || w->shard.held_count; /* the long way finds out */
    const struct entry *e = s->dict && s->dict == b->dict ? s->candidate : NULL;
    if (!e || !(e->flags & ENTRY_BLOCK))
        return false;
    return d->flags & CMD_WRITE ? !replaces(d) || w->shard.held_count
                                : entry_type_fast(e) == OBJ_HASH;
}

void hold_batch(struct worker *w, struct batch *b)
{
    if (w->lease.holder != LEASE_FREE)
        return; /* all for my shard goes by mail */
    for (struct staged *s = b->cmd; s != b->end; s++)
        if (may_wait(w, b, s))
            s->way &= WAY_ERROR;
}

/* ---- by mail ---- */

static void take_out(struct mail *m, struct mail_cmd *mc, struct mail_cmd *before)
{
    if (before)
        before->next = mc->next;
    else
        m->first = mc->next;
    if (m->last == mc)
        m->last = before;
    if (m->at == mc)
        m->at = mc->next;
    m->n--;
}

/* A mail of its own. False: there is no memory, it is run. */
static bool park(struct worker *w, const struct mail *m, const struct mail_cmd *mc)
{
    struct mail *own = mail_new(w, w->id);
    size_t bytes = 0;
    for (uint32_t i = 0; i < mc->argc; i++)
        bytes += mc->argv[i].n;
    struct mail_cmd *copy = mail_bytes(own, sizeof(*copy) + mc->argc * sizeof(struct span) + bytes);
    if (!copy) {
        mail_delete(own);
        return false;
    }
    *copy = *mc;
    copy->next = NULL;
    copy->plain = false;
    copy->candidate = NULL;
    copy->argv = (struct span *)(copy + 1);
    uint8_t *to = (uint8_t *)(copy->argv + mc->argc);
    for (uint32_t i = 0; i < mc->argc; i++) {
        memcpy(to, mc->argv[i].p, mc->argv[i].n);
        copy->argv[i] = span_of(to, mc->argv[i].n);
        to += mc->argv[i].n;
    }
    own->from = m->from;
    own->born = m->born;
    mail_append(own, copy);
    list_push_back(&w->hold.mails, &own->q.node);
    STAT_INC(w->stats->snapshot_held);
    return true;
}

void hold_mail(struct worker *w, struct mail *m)
{
    struct mail_cmd *before = NULL, *next;
    for (struct mail_cmd *mc = m->first; mc && mc != m->at; mc = mc->next)
        before = mc;
    for (struct mail_cmd *mc = m->at; mc; mc = next) {
        next = mc->next;
        if (mc->slot && mc->client &&
            (hold_client(w, mc->client) ||
             keys_wait(w, &w->set, mc->db, mc->desc, mc->argv, mc->argc)) &&
            park(w, m, mc))
            take_out(m, mc, before);
        else
            before = mc;
    }
}

/* ---- under leases ---- */

bool hold_job(struct worker *w, struct lease_job *j)
{
    bool watched = false, behind = false;
    for (uint64_t m = j->want; m; m &= m - 1) {
        const struct worker *owner = w->all[__builtin_ctzll(m)];
        watched |= snapshot_watches(&owner->shard);
        behind |= hold_client(owner, j->client);
    }
    if (!behind && (!watched || !j->waits(w, j)))
        return false;
    for (uint64_t m = j->want; m; m &= m - 1)
        w->all[__builtin_ctzll(m)]->hold.asked |= 1ull << w->id;
    list_push_back(&w->hold.jobs, &j->node);
    STAT_INC(w->stats->snapshot_held);
    return true;
}

/* ---- a value is written ---- */

static void clients_go_on(struct worker *w)
{
    list_for_each (n, &w->conns) {
        struct conn *c = list_entry(n, struct conn, node);
        if (!c->hold_waits)
            continue;
        c->hold_waits = c->paused = false;
        conn_mark(c);
    }
}

static void jobs_go_on(struct worker *w)
{
    struct list jobs;
    list_init(&jobs);
    for (struct list *n; (n = list_pop_front(&w->hold.jobs)) != NULL;)
        list_push_back(&jobs, n);
    for (struct list *n; (n = list_pop_front(&jobs)) != NULL;)
        lease_submit(w, list_entry(n, struct lease_job, node));
}

static void on_written(struct worker *w, struct mail_event *ev)
{
    free(ev);
    jobs_go_on(w);
}

void hold_written(struct worker *w)
{
    uint64_t asked = w->hold.asked;
    for (struct list *n; (n = list_pop_front(&w->hold.mails)) != NULL;)
        lease_defer(w, list_entry(n, struct mail, q.node));
    clients_go_on(w);
    w->hold.asked = 0;
    for (; asked; asked &= asked - 1) {
        uint32_t to = (uint32_t)__builtin_ctzll(asked);
        struct mail_event *ev = calloc(1, sizeof(*ev));
        CHECK(ev);
        ev->run = on_written;
        event_send(w, to, ev);
    }
}

void hold_fini(struct worker *w)
{
    for (struct list *n; (n = list_pop_front(&w->hold.mails)) != NULL;)
        mail_delete(list_entry(n, struct mail, q.node));
}
