/* block_serve.c: what clients that wait for a key are given when it has changed.
 *
 * Where in the flow: a command has changed keys that are waited for (wait.c) -> it is over -> dataplane/conn/after.c -> here -> the cores of
 * LPOP, LMOVE, ZPOPMIN, XREAD. Order as in Redis 7.0.15 (handleClientsBlockedOnKeys): keys in the order in which they changed, the clients of
 * a key first come first served, until the key has nothing more; what is moved makes its destination change, and so on to the end.
 * Thread: the holder's of the leases. */
#include "engine/cmd/block.h"
#include "engine/cmd/command_table.h"
#include "engine/cmd/effect.h"
#include "engine/cmd/list_cmd.h"
#include "engine/cmd/stream_read.h"
#include "engine/cmd/zset_pop.h"
#include "engine/shard/snapshot.h"

struct serving {
    struct cmd c; /* the client's reply, and what commands have of their worker */
    struct reply out;
    struct shard *s;
    struct wait_key *key;
    struct keyref ref;
};

/* From here on it is this thread's. */
static bool claim(struct serving *v, struct wait_node *n, struct block_wait **ret)
{
    if (!wait_claim(n->waiter, WAIT_OVER)) {
        wait_remove(v->s, n); /* another shard, or its home, was faster */
        return false;
    }
    *ret = list_entry(n->waiter, struct block_wait, w);
    return true;
}

static void reply_begin(struct serving *v, struct block_wait *b)
{
    reply_heap_init(&v->out, &b->reply, b->resp);
    v->c.out = &v->out;
    v->c.desc = b->desc;
}

static void reply_end(struct serving *v, struct block_wait *b)
{
    reply_heap_finish(&v->out, &b->reply);
    b->errors = v->out.errors;
    memcpy(b->error_code, v->out.error_code, sizeof(b->error_code));
}

/* It leaves the tables of all shards held here and goes home. */
static void over(struct serving *v, struct block_wait *b)
{
    struct shard_set *set = v->c.shards;
    reply_end(v, b);
    b->served_by = v->s->id;
    if (shard_journals(v->s))
        effects_command_end(v->s->effects, v->c.db, NULL, 0);
    wait_remove_held(set->v, &b->w, false);
    for (uint64_t m = b->w.shards; m; m &= m - 1) {
        if (set->v[__builtin_ctzll(m)])
            b->w.shards &= ~(m & -m);
    }
    v->c.host->ops->wait_over(v->c.host, b);
}

static void over_with_error(struct serving *v, struct block_wait *b, const char *text)
{
    reply_begin(v, b);
    reply_error(v->c.out, text);
    over(v, b);
}

static struct entry *peek(struct serving *v, enum obj_type type)
{
    struct entry *e = ks_peek(v->s, v->c.db, v->ref.key, v->ref.hash);
    return e && entry_type_fast(e) == type ? e : NULL;
}

/* ---- lists ---- */

static struct shard *shard_of(struct serving *v, struct span key)
{
    struct shard_set *set = v->c.shards;
    return set->v[set->count == 1 ? 0 : shard_of_key(key, set->count)];
}

static void move(struct serving *v, struct block_wait *b, struct list_key *from)
{
    struct keyref k = {shard_of(v, b->to), b->to, shard_hash(v->s, b->to)};
    struct list_key to;
    if (!list_open(&to, &k, b->db, ks_write(k.shard, b->db, k.key, k.hash)))
        cmd_reply_wrongtype(&v->c);
    else if (list_move(from, b->tail, &to, b->to_tail, v->c.out))
        block_say_move(&v->c, from->key, to.key, b->tail, b->to_tail);
    else
        cmd_reply_oom(&v->c);
}

static void give_list(struct serving *v, struct block_wait *b, struct list_key *lk)
{
    reply_begin(v, b);
    if (b->form == BLOCK_MOVE) {
        move(v, b, lk);
    } else {
        bool done = b->form == BLOCK_MPOP ? list_pop_many(lk, b->tail, b->count, &lk->key, v->c.out)
                                          : list_pop_one(lk, b->tail, &lk->key, v->c.out);
        if (done)
            block_say_pop(&v->c, lk->key, b->tail, b->count);
        else
            cmd_reply_oom(&v->c);
    }
    over(v, b);
}

/* May the element be put there now? Not where others have the key in their hands, or a snapshot. */
static bool reaches(struct serving *v, struct span to)
{
    struct shard *s = shard_of(v, to);
    uint64_t hash = shard_hash(v->s, to);
    return s && !v->c.host->ops->key_taken(v->c.host, hash) &&
           !(snapshot_watches(s) && snapshot_wants_key(s, v->c.db, to, hash, CHANGE_WRITES));
}

/* The destination is not held here, or others have it in their hands: its home moves the element, and nobody behind it is served before. True:
 * so it is. */
static bool serve_elsewhere(struct serving *v, struct wait_node *n)
{
    struct block_wait *b = list_entry(n->waiter, struct block_wait, w);
    if (wait_claimed(&b->w) == WAIT_SERVED)
        return true;
    if (b->form != BLOCK_MOVE || reaches(v, b->to) || !wait_claim(&b->w, WAIT_SERVED))
        return false;
    v->c.host->ops->wait_move(v->c.host, b);
    return true;
}

static void serve_lists(struct serving *v)
{
    struct wait_node *n;
    struct block_wait *b;
    struct entry *e;
    while ((n = wait_first(&v->key->queue[WAIT_LIST])) != NULL && (e = peek(v, OBJ_LIST)) != NULL) {
        struct list_key lk;
        if (serve_elsewhere(v, n))
            return;
        if (claim(v, n, &b) && list_open(&lk, &v->ref, v->c.db, e))
            give_list(v, b, &lk);
    }
}

/* ---- sorted sets ---- */

static void serve_zsets(struct serving *v)
{
    struct wait_node *n;
    struct block_wait *b;
    struct zval z;
    while ((n = wait_first(&v->key->queue[WAIT_ZSET])) != NULL && peek(v, OBJ_ZSET)) {
        if (!claim(v, n, &b))
            continue;
        reply_begin(v, b);
        if (zval_write(&v->c, &v->ref, &z)) {
            zset_pop(&v->c, &v->ref, &z, b->tail, b->count,
                     b->form == BLOCK_ZMPOP ? ZPOP_MULTI : ZPOP_KEYED);
            block_say_zpop(&v->c, v->ref.key, b->tail, b->form == BLOCK_ZMPOP ? b->count : 0);
        }
        over(v, b);
    }
}

/* ---- streams ---- */

/* How many entries a client that waited gets when it said no number, as in Redis. */
#define STREAM_MOST 1000

static uint64_t most_of(const struct block_wait *b)
{
    return b->count ? b->count : STREAM_MOST;
}

static void begin_map(struct reply *out)
{
    if (out->resp == 2)
        reply_array(out, 1);
    else
        reply_map(out, 1);
}

/* One that waits for what is further ahead stays where it is. */
static void serve_readers(struct serving *v, struct stream_source *src)
{
    struct list *queue = &v->key->queue[WAIT_STREAM];
    for (struct list *at = queue->next, *next; at != queue; at = next) {
        struct wait_node *n = list_entry(at, struct wait_node, node);
        struct block_wait *b;
        next = at->next;
        if (!stream_id_less(n->after, src->key.st->last) || !claim(v, n, &b))
            continue;
        reply_begin(v, b);
        begin_map(v->c.out);
        src->after = n->after;
        stream_serve(v->c.out, src, most_of(b));
        over(v, b);
    }
}

static void give_group(struct serving *v, struct stream_source *src, struct block_wait *b)
{
    struct stream_given given;
    struct stream_reader r = {.consumer = b->consumer,
                              .most = most_of(b),
                              .noack = b->noack,
                              .now_ms = v->c.now_us / 1000};
    reply_begin(v, b);
    switch (stream_take(src, &r, &given)) {
    case STREAM_SERVED:
        begin_map(v->c.out);
        stream_give(v->c.out, &given, &r);
        break;
    case STREAM_NOTHING: /* the entries are gone: as in Redis the consumer is told of the stream and of no entry */
        begin_map(v->c.out);
        stream_give_none(v->c.out, src, &r);
        break;
    case STREAM_OUT_OF_MEMORY: cmd_reply_oom(&v->c);
    }
    over(v, b);
}

/* All of one group wait for the same: what it was not given yet. With its last waiter the group leaves the table. */
static void serve_group(struct serving *v, struct stream_source *src, struct wait_group *g)
{
    for (bool more = true; more;) {
        struct wait_node *n = wait_first(&g->queue);
        struct block_wait *b;
        src->group = stream_group_find(src->key.st, g->name);
        if (src->group && !stream_id_less(src->group->last, src->key.st->last))
            return;
        more = n->node.next != &g->queue;
        if (!claim(v, n, &b))
            continue;
        if (src->group)
            give_group(v, src, b);
        else
            over_with_error(v, b,
                            "NOGROUP the consumer group this client was blocked on no longer "
                            "exists");
    }
}

/* The key is no stream any more. */
static void serve_orphans(struct serving *v)
{
    while (!list_empty(&v->key->groups)) {
        struct wait_group *g = list_entry(v->key->groups.next, struct wait_group, node);
        struct block_wait *b;
        if (claim(v, wait_first(&g->queue), &b))
            over_with_error(v, b, "UNBLOCKED the stream key no longer exists");
    }
}

static void serve_streams(struct serving *v, struct entry *e)
{
    struct stream_source src = {
        .key = {.k = v->ref, .db = v->c.db, .e = e, .st = (struct stream *)object_ptr(e)}};
    serve_readers(v, &src);
    src.fresh = true;
    list_for_each_safe(at, next, &v->key->groups)
    {
        serve_group(v, &src, list_entry(at, struct wait_group, node));
    }
}

/* ---- a key ---- */

static void serve_key(struct serving *v)
{
    struct wait_key *k = v->key;
    v->ref = (struct keyref){v->s, k->name, k->hash};
    v->c.db = k->db;
    v->c.shard = v->s;
    v->c.hash = k->hash;
    struct entry *e = ks_peek(v->s, k->db, k->name, k->hash);
    enum obj_type type = e ? (enum obj_type)entry_type_fast(e) : OBJ_STRING;
    if (type == OBJ_LIST)
        serve_lists(v);
    else if (type == OBJ_ZSET)
        serve_zsets(v);
    else if (type == OBJ_STREAM)
        serve_streams(v, e);
    if (type != OBJ_STREAM)
        serve_orphans(v);
}

void block_serve(struct cmd *c)
{
    struct serving v = {.c = *c};
    v.c.session = NULL;
    v.c.client = 0;
    v.c.candidate = NULL;
    v.c.parser = NULL;
    v.c.part = false;
    while ((v.key = wait_ready(c->shards->v, c->shards->count, &v.s)) != NULL) {
        wait_take(v.key);
        serve_key(&v);
        wait_done(v.s, v.key);
    }
}

/* ---- an element that goes to another shard ---- */

static void cmd_block_move(struct cmd *c)
{
    struct block_wait *b = c->wait;
    struct keyref k = keyref_first(c, 1);
    struct serving v = {.c = *c, .s = k.shard, .ref = k};
    struct list_key from;
    struct entry *e = b->gone ? NULL : peek(&v, OBJ_LIST);
    if (!e && !b->gone) {
        wait_set_claim(&b->w, WAIT_OPEN); /* somebody has taken it; it keeps its place */
        c->waits = true;
        return;
    }
    if (e && list_open(&from, &k, c->db, e))
        move(&v, b, &from);
    wait_set_claim(&b->w, WAIT_OVER);
    wait_remove_held(c->shards->v, &b->w, true);
    b->w.shards = 0;
}

const struct cmd_desc block_move_desc = {.name = "blmove",
                                         .full = "blmove",
                                         .fn = cmd_block_move,
                                         .arity = 3,
                                         .route = ROUTE_KEYS,
                                         .split = SPLIT_LEASE,
                                         .flags = CMD_WRITE | CMD_HIDDEN,
                                         .index = CMD_blmove,
                                         .first_key = 1,
                                         .last_key = 2,
                                         .key_step = 1};
