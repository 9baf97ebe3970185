/* s3fifo.c: the policy allkeys-s3fifo, after Yang et al., "FIFO queues are all you need for cache eviction" (SOSP 2023).
 *
 *   new key -> [ small, 10 % ] -- used twice -> [ main, 90 % ] -- not used -> out
 *                    |                           ^   |   ^
 *                    out, leaves a ghost         |   +-- used: once more round
 *   new key with a ghost ------------------------+
 *
 * A queue is a chain of blocks of records; an access only counts in the entry (to 3), so reads write nothing but that.
 *
 *   record  | hash: 40 | ... | number: 12 | db: 4 | tag: 8 |        clock of an entry  | number: 12 | queue: 2 | uses: 2 |
 *
 * A record belongs to the entry of that hash which has its number and queue; where there is none, the record is stale (deleted, renamed,
 * flushed, put into the other queue) and is dropped when it comes out. When more than half must be stale, inserts and the tick sweep.
 * `db` is the id of a database, which SWAPDB takes along. Ghosts are 16 bits of a hash and 16 of time in a table of buckets of a
 * cache line, the oldest of a bucket making room: 4 bytes for each key. Blocks are of one size, made when needed; with another policy
 * there are none. Where memory is out, an entry stays without a record; the tick sees that there are fewer records than keys and adopts again.
 * Thread: the lease holder's. */
#include "engine/base/assert.h"
#include "engine/shard/evict.h"
#include "engine/shard/shard_internal.h"

#define BLOCK_BYTES   4096
#define BLOCK_RECORDS (BLOCK_BYTES / 8 - 1)
#define GHOST_WAYS    16 /* of a bucket, a cache line */
#define GHOST_BUCKETS (BLOCK_BYTES / 64 - 1)
#define GHOST_AGES    256 /* steps of time in which a ghost grows too old */
#define STEPS         64  /* records that are looked at for a victim, before uses no longer count */
#define SWEEP         4   /* records looked at with each insert, when most are stale */

struct s3_block {
    struct s3_block *next;
    uint64_t record[BLOCK_RECORDS];
};
_Static_assert(sizeof(struct s3_block) == BLOCK_BYTES, "a block is of the size that is asked for");

enum queue { QUEUE_NONE, QUEUE_SMALL, QUEUE_MAIN };

#define RECORD_HASH   (~0ull << 24 | 0xff)
#define NUMBER_MASK   0xfffu
#define PROMOTE_USES  2
#define USES_MAX      3
#define CLOCK_USES    3u
#define ADOPT_DIVISOR 4 /* an entry adopted costs so much more than one looked at */

/* ---- blocks ---- */

static struct s3_block *block_get(struct shard *s)
{
    struct s3fifo *f = &s->evict.s3;
    struct s3_block *b = f->spare;
    f->spare = NULL;
    return b ? b : mem_alloc_aligned(&s->mem, BLOCK_BYTES, 64);
}

static void block_free(struct shard *s, struct s3_block *b)
{
    mem_free_aligned(&s->mem, b, BLOCK_BYTES, 64);
}

static void block_put(struct shard *s, struct s3_block *b)
{
    struct s3fifo *f = &s->evict.s3;
    if (f->spare)
        block_free(s, b);
    else
        f->spare = b;
}

/* Puts a chain to what is freed in slices. */
static void trash_chain(struct s3fifo *f, struct s3_block *first, struct s3_block *last)
{
    if (!first)
        return;
    last->next = f->trash;
    f->trash = first;
}

/* ---- queues ---- */

static bool queue_push(struct shard *s, struct s3_queue *q, uint64_t record)
{
    if (!q->head || q->head_n == BLOCK_RECORDS) {
        struct s3_block *b = block_get(s);
        if (!b)
            return false;
        b->next = NULL;
        if (q->head) {
            q->head->next = b;
        } else {
            q->tail = b;
            q->tail_at = 0;
        }
        q->head = b;
        q->head_n = 0;
    }
    q->head->record[q->head_n++] = record;
    q->count++;
    return true;
}

static uint64_t queue_pop(struct shard *s, struct s3_queue *q)
{
    ASSERT(q->count > 0);
    struct s3_block *b = q->tail;
    uint64_t record = b->record[q->tail_at++];
    q->count--;
    if (q->tail_at == (b == q->head ? q->head_n : BLOCK_RECORDS)) {
        q->tail = b->next;
        q->tail_at = 0;
        if (!q->tail)
            *q = (struct s3_queue){0};
        block_put(s, b);
    }
    return record;
}

static uint64_t total_keys(const struct shard *s)
{
    uint64_t n = 0;
    for (uint32_t i = 0; i < LIMIT_DATABASES; i++)
        n += ks_count(s, i);
    return n;
}

static uint64_t records(const struct s3fifo *f)
{
    return f->small.count + f->main.count;
}

/* Puts a record of the entry at the head of a queue. False: no memory, and e has no record any more. */
static bool enqueue(struct shard *s, enum queue to, uint32_t db_id, uint64_t hash, struct entry *e,
                    uint32_t uses)
{
    struct s3fifo *f = &s->evict.s3;
    uint32_t number = ++f->number & NUMBER_MASK;
    bool done = queue_push(s, to == QUEUE_SMALL ? &f->small : &f->main,
                           (hash & RECORD_HASH) | (uint64_t)db_id << 8 | (uint64_t)number << 12);
    entry_set_clock(e, number << 4 | (done ? to : QUEUE_NONE) << 2 | uses);
    return done;
}

/* ---- from a record to its entry ---- */

struct wanted {
    const struct shard *s;
    uint32_t clock; /* without uses */
    uint64_t hash;
};

static bool is_wanted(const void *entry, const void *ctx)
{
    const struct entry *e = entry;
    const struct wanted *w = ctx;
    return (entry_clock(e) & ~CLOCK_USES) == w->clock &&
           (shard_hash(w->s, entry_key_fast(e)) & RECORD_HASH) == w->hash;
}

/* NULL: the record is stale. */
static struct entry *find_record(struct shard *s, enum queue q, uint64_t record, uint32_t *ret_db)
{
    struct wanted w = {s, ((uint32_t)(record >> 12) & NUMBER_MASK) << 4 | (uint32_t)q << 2,
                       record & RECORD_HASH};
    uint32_t db = db_by_id(s, (uint32_t)(record >> 8) & 15);
    *ret_db = db;
    return s->db[db].keys ? dict_find_if(s->db[db].keys, record, is_wanted, &w) : NULL;
}

/* ---- ghosts ---- */

static uint32_t *ghost_bucket(struct s3fifo *f, uint64_t hash, bool make, struct shard *s)
{
    uint32_t i = (uint32_t)((hash >> 32) * f->ghost_buckets >> 32);
    struct s3_block **b = &f->ghost[i / GHOST_BUCKETS];
    if (!*b) {
        if (!make || !(*b = block_get(s)))
            return NULL;
        memset(*b, 0, BLOCK_BYTES);
        (*b)->next = f->ghost_first;
        f->ghost_first = *b;
        if (!f->ghost_last)
            f->ghost_last = *b;
    }
    return (uint32_t *)(void *)((uint8_t *)*b + 64 * (1 + i % GHOST_BUCKETS));
}

static size_t ghost_blocks(const struct s3fifo *f)
{
    return (f->ghost_buckets + GHOST_BUCKETS - 1) / GHOST_BUCKETS;
}

static void ghosts_drop(struct shard *s)
{
    struct s3fifo *f = &s->evict.s3;
    trash_chain(f, f->ghost_first, f->ghost_last);
    if (f->ghost)
        mem_free(&s->mem, f->ghost, ghost_blocks(f) * sizeof(*f->ghost));
    f->ghost = NULL;
    f->ghost_first = f->ghost_last = NULL;
    f->ghost_buckets = 0;
}

/* A table that fits the number of keys; the old one's ghosts are lost when it has doubled or fallen to a quarter. */
static bool ghosts_ready(struct shard *s)
{
    struct s3fifo *f = &s->evict.s3;
    uint64_t keys = records(f);
    if (f->ghost && keys <= 2 * f->ghost_for && (keys >= f->ghost_for / 4 || keys < 1024))
        return true;
    ghosts_drop(s);
    f->ghost_for = keys < 64 ? 64 : keys;
    uint64_t buckets = f->ghost_for / GHOST_WAYS + f->ghost_for / GHOST_WAYS / 4 + 4;
    if (buckets > UINT32_MAX)
        return false;
    f->ghost_buckets = (uint32_t)buckets;
    f->ghost = mem_calloc(&s->mem, ghost_blocks(f) * sizeof(*f->ghost));
    return f->ghost != NULL;
}

static uint32_t ghost_now(const struct s3fifo *f)
{
    return (uint32_t)(f->ghost_time / (f->ghost_for / GHOST_AGES + 1)) & 0xffff;
}
static uint32_t ghost_print(uint64_t hash)
{
    uint32_t print = (uint32_t)(hash >> 8) & 0xffff;
    return print ? print : 1;
}
static uint32_t ghost_age(const struct s3fifo *f, uint32_t way)
{
    return (ghost_now(f) - (way & 0xffff)) & 0xffff;
}

static void ghost_add(struct shard *s, uint64_t hash)
{
    struct s3fifo *f = &s->evict.s3;
    uint32_t *way = ghosts_ready(s) ? ghost_bucket(f, hash, true, s) : NULL, *at = way;
    if (!way)
        return;
    for (uint32_t i = 0; i < GHOST_WAYS && *at; i++)
        if (!way[i] || ghost_age(f, way[i]) > ghost_age(f, *at))
            at = way + i;
    f->ghost_time++;
    *at = ghost_print(hash) << 16 | ghost_now(f);
}

/* Was it thrown out lately? It is forgotten with the answer. */
static bool ghost_take(struct shard *s, uint64_t hash)
{
    struct s3fifo *f = &s->evict.s3;
    uint32_t *way = f->ghost ? ghost_bucket(f, hash, false, s) : NULL;
    for (uint32_t i = 0; way && i < GHOST_WAYS; i++) {
        if (way[i] >> 16 == ghost_print(hash) && ghost_age(f, way[i]) <= GHOST_AGES) {
            way[i] = 0;
            return true;
        }
    }
    return false;
}

/* ---- stale records ---- */

/* Looks at some of the longer queue: what is stale goes, what is not begins anew at the head. Returns those it looked at. */
static size_t sweep(struct shard *s, size_t budget)
{
    struct s3fifo *f = &s->evict.s3;
    size_t n = 0;
    for (; n < budget && records(f) > f->sweep_at; n++) {
        bool small = f->small.count > f->main.count;
        enum queue q = small ? QUEUE_SMALL : QUEUE_MAIN;
        uint64_t record = queue_pop(s, small ? &f->small : &f->main);
        uint32_t db;
        struct entry *e = find_record(s, q, record, &db);
        if (e)
            enqueue(s, q, (uint32_t)(record >> 8) & 15, record, e, entry_clock(e) & CLOCK_USES);
    }
    return n;
}

static size_t sweep_if_needed(struct shard *s, size_t budget)
{
    struct s3fifo *f = &s->evict.s3;
    if (likely_(records(f) <= f->sweep_at))
        return 0;
    f->sweep_at = 2 * total_keys(s) + BLOCK_RECORDS;
    return sweep(s, budget);
}

/* ---- what the shard calls ---- */

void s3_insert(struct shard *s, uint32_t db, uint64_t hash, struct entry *e)
{
    struct s3fifo *f = &s->evict.s3;
    if (unlikely_(!f->on))
        s3_switch(s, true);
    enqueue(s, ghost_take(s, hash) ? QUEUE_MAIN : QUEUE_SMALL, s->db[db].id, hash, e, 0);
    sweep_if_needed(s, SWEEP);
}

void s3_switch(struct shard *s, bool on)
{
    struct s3fifo *f = &s->evict.s3;
    trash_chain(f, f->small.tail, f->small.head);
    trash_chain(f, f->main.tail, f->main.head);
    trash_chain(f, f->spare, f->spare);
    ghosts_drop(s);
    *f = (struct s3fifo){.on = on, .adopting = on, .trash = f->trash, .sweep_at = BLOCK_RECORDS};
}

/* One record of a queue; NULL: no victim in it. `ruthless`: used or not. */
static struct entry *step(struct shard *s, enum queue from, bool ruthless, uint32_t *ret_db,
                          uint64_t *ret_hash)
{
    struct s3fifo *f = &s->evict.s3;
    uint64_t record = queue_pop(s, from == QUEUE_SMALL ? &f->small : &f->main);
    struct entry *e = find_record(s, from, record, ret_db);
    if (!e)
        return NULL;
    uint32_t uses = entry_clock(e) & CLOCK_USES, db_id = (uint32_t)(record >> 8) & 15;
    bool stays = from == QUEUE_SMALL ? uses >= PROMOTE_USES : uses > 0;
    *ret_hash = shard_hash(s, entry_key_fast(e));
    bool claimed = shard_claims(s, *ret_hash);
    if (((stays && !ruthless && !shard_expired(s, e)) || claimed) &&
        enqueue(s, QUEUE_MAIN, db_id, *ret_hash, e, from == QUEUE_SMALL || !uses ? 0 : uses - 1))
        return NULL;
    if (from == QUEUE_SMALL)
        ghost_add(s, *ret_hash);
    return e;
}

enum evict_found s3_victim(struct shard *s, uint32_t *ret_db, uint64_t *ret_hash,
                           struct entry **ret)
{
    struct s3fifo *f = &s->evict.s3;
    for (uint32_t steps = 0; steps < 2 * STEPS; steps++) {
        uint64_t n = records(f);
        if (!n)
            return EVICT_NOTHING;
        bool small = f->small.count && (f->small.count >= n / 10 || !f->main.count);
        *ret = step(s, small ? QUEUE_SMALL : QUEUE_MAIN, steps >= STEPS, ret_db, ret_hash);
        if (*ret)
            return EVICT_FOUND;
    }
    return EVICT_LATER;
}

/* ---- the tick ---- */

struct adoption {
    struct shard *s;
    uint32_t db_id;
    size_t n;
};

static void adopt(void *ctx, void *entry)
{
    struct adoption *a = ctx;
    struct entry *e = entry;
    a->n++;
    enqueue(a->s, QUEUE_MAIN, a->db_id, shard_hash(a->s, entry_key_fast(e)), e, 0);
}

static size_t adopt_some(struct shard *s, size_t budget)
{
    struct s3fifo *f = &s->evict.s3;
    struct adoption a = {s, f->adopt_db, 0}; /* by id, so that SWAPDB hides none */
    struct dict *keys = s->db[db_by_id(s, f->adopt_db)].keys;
    while (keys && a.n < budget) {
        f->adopt_cursor = dict_scan(keys, f->adopt_cursor, adopt, &a);
        if (!f->adopt_cursor)
            break;
    }
    if ((!keys || !f->adopt_cursor) && ++f->adopt_db == LIMIT_DATABASES) {
        f->adopt_db = 0;
        f->adopting = false;
    }
    return a.n + 1;
}

size_t s3_tick(struct shard *s, size_t budget)
{
    struct s3fifo *f = &s->evict.s3;
    size_t work = 0;
    for (; f->trash && work < budget / 4 + 1; work++) {
        struct s3_block *b = f->trash;
        f->trash = b->next;
        block_free(s, b);
    }
    if (!f->on)
        return work;
    if (f->adopting)
        return work + adopt_some(s, budget / ADOPT_DIVISOR + 1);
    uint64_t keys = total_keys(s);
    if (unlikely_(records(f) <
                  keys)) /* some have none: memory was out, or the policy went to and fro */
        f->adopting = true;
    else if (f->sweep_at > 2 * keys + BLOCK_RECORDS)
        f->sweep_at = 2 * keys + BLOCK_RECORDS;
    return work + sweep_if_needed(s, budget);
}

void s3_fini(struct shard *s)
{
    s3_switch(s, false);
    while (s->evict.s3.trash)
        s3_tick(s, SIZE_MAX);
}
