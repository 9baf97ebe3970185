/* shard: the part of the keyspace that one worker owns: 16 databases over one mem, with expiry, memory limit and
 * statistics. Everything here is single-threaded code run by the holder of the shard's lease. Time comes as an
 * argument (unix ms); randomness from the shard's own seeded generator, so that a run can be replayed. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "engine/base/keyhash.h"
#include "engine/base/list.h"
#include "engine/base/mem.h"
#include "engine/ds/dict.h"
#include "engine/shard/config.h"
#include "engine/shard/entry.h"
#include "engine/shard/evict.h"
#include "engine/shard/notify.h"
#include "engine/shard/track.h"
#include "engine/shard/watch.h"

struct shard_db {
    struct dict *keys; /* all entries; created on first use */
    struct dict
        *expires; /* the same entries, those with a TTL: active expiry and volatile-* sampling */
    uint64_t avg_ttl_ms;
    uint8_t id; /* which of the sixteen it was at first; SWAPDB takes it along */
};

/* Counters of the shard; writer: the lease holder. The worker copies them to its statistics page. */
struct shard_stats {
    uint64_t hits, misses, expired_keys, evicted_keys, expired_time_cap_reached, oom_refused;
    uint64_t lazyfreed;            /* values freed in slices */
    uint64_t load_refused;         /* writes of the log that is replayed */
    uint64_t over_ms, over_now_ms; /* over maxmemory: all times before, and this time until now */
    uint64_t dirty; /* changes since start (rdb_changes_since_last_save once snapshots land) */
};

/* Bits of an event, as notify-keyspace-events has them; commands name the class, listeners come later. */
enum ks_class {
    KS_NONE = 0, /* a change that no listener hears of, but the journal */
    KS_GENERIC = 1 << 2,
    KS_STRING = 1 << 3,
    KS_LIST = 1 << 4,
    KS_SET = 1 << 5,
    KS_HASH = 1 << 6,
    KS_ZSET = 1 << 7,
    KS_EXPIRED = 1 << 8,
    KS_EVICTED = 1 << 9,
    KS_STREAM = 1 << 10,
    KS_MISS = 1 << 11,   /* no change: a read that found nothing */
    KS_UNSEEN = 1 << 15, /* with another: who watches the key or caches it does not hear of it */
    KS_NEW = 1 << 14     /* a key that was not there; told before what the command did to it */
};
/* notify-keyspace-events: all classes that there are events of; those of the letter A. */
#define NOTIFY_CLASSES                                                                         \
    (KS_GENERIC | KS_STRING | KS_LIST | KS_SET | KS_HASH | KS_ZSET | KS_EXPIRED | KS_EVICTED | \
     KS_STREAM | KS_MISS | KS_NEW)
#define NOTIFY_ALL ((NOTIFY_CLASSES & ~(KS_MISS | KS_NEW)) | NOTIFY_MODULE)

/* Who hears of a shard's changes: bits of struct shard.listen. While none is set a change costs one test. */
enum ks_listen {
    LISTEN_HOOK = 1 << 0,      /* on_change */
    LISTEN_WATCH = 1 << 1,     /* watch */
    LISTEN_JOURNAL = 1 << 8,   /* effects */
    LISTEN_NOTIFY = 1 << 2,    /* notices */
    LISTEN_TRACK = 1 << 3,     /* track: some key was read by a client that caches it */
    LISTEN_BROADCAST = 1 << 4, /* track: clients want to hear of every key of some prefix */
    LISTEN_WAIT = 1 << 5,      /* waits */
};

/* What a change has left to be done once the command is over: bits of struct shard.after, looked at after every command by whoever runs
 * it (dataplane/conn/after.c). */
enum ks_after {
    AFTER_NONE = 0,
    AFTER_HELD = 1 << 0,   /* held_new */
    AFTER_NOTIFY = 1 << 2, /* notices */
    AFTER_TRACK = 1 << 3,  /* track */
    AFTER_WAIT = 1 << 5,   /* keys that are waited for have changed */
    AFTER_STEPS =
        1 << 6, /* notices and track are told key by key, in the order of the command's steps */
};

/* It stays where it was initialised: dicts point at its hash key. */
struct shard {
    uint32_t id, count; /* this shard of how many */
    struct mem mem;
    struct siphash_key hash_key; /* the same in all shards */
    struct dict_type key_type;
    uint64_t rng[4];
    const struct engine_config *config; /* the worker's copy */
    int64_t now_ms; /* set by the caller before each batch: all commands of a batch see one time */
    int64_t touch_ms;    /* access_inline.h: the now_ms that touch_word was made for; -1: none */
    uint32_t touch_word; /* entry_flags_clock of what is touched now and has no flag */
    struct shard_db db[LIMIT_DATABASES];
    struct shard_stats stats;
    /* active expiry */
    uint32_t expire_db;
    uint64_t expire_cursor;
    int64_t expire_last_ms;
    bool expire_paused;     /* DEBUG SET-ACTIVE-EXPIRE 0 */
    int64_t still_until_ms; /* CLIENT PAUSE: shard_stands_still */
    bool expire_hot; /* the last slice met more than a tenth of stale entries: go on at once */
    uint32_t listen, after;   /* enum ks_listen, enum ks_after */
    struct wait_table *waits; /* clients that wait for keys (wait.h); NULL: none */
    /* shard_hook: told of every change, after it. The key may point into an entry that is freed after the call. */
    void (*on_change)(void *ctx, struct shard *s, uint32_t db, struct span key, enum ks_class cls,
                      const char *event);
    void *on_change_ctx;
    /* values and whole dicts that are being freed in slices */
    struct list_lazy *lazy_head;
    size_t lazy_pending;
    uint64_t lazy_bytes; /* of them: what memory they will give back; an estimate for databases */
    struct field_timers
        *field_timers; /* hashes with fields that expire (field_timer.h); NULL: none */
    struct evict evict;
    struct watch_table watch;
    /* journal: where what happens to this shard is written down by whoever holds it (LISTEN_JOURNAL); records of it made so far */
    struct effects *effects;
    uint64_t journal_seq;
    bool loading;                     /* the log is being replayed: nothing expires by itself */
    struct track_table track;         /* who caches what (track.h) */
    struct notices notices;           /* events of the command that runs (notify.h) */
    struct snapshot *snapshot;        /* that is being made (snapshot.h); NULL: none */
    struct list held_all;             /* values whose replies are not whole yet (held.h) */
    uint32_t held_count, held_wanted; /* of them, those whose change somebody waits for */
    uint64_t held_answered;           /* that have been wanted and are written down */
    int64_t held_pass_ms;             /* until then a change waits for none of them */
    struct held *held_new;            /* begun by the command that runs; its caller takes it */
    /* Writes over several shards that are written down as a whole, and have keys here that they have not changed yet: these do not leave by themselves,
     * since nobody could tell whether before or after it. How many; NULL where there are none ever. */
    uint32_t claims;
    bool (*claimed)(const struct shard *s, uint64_t hash);
};

int shard_init(struct shard *s, uint32_t id, uint32_t count, const struct siphash_key *key,
               const struct engine_config *config, uint64_t seed);
void shard_fini(struct shard *s);

/* Sets on_change; NULL: nobody. */
static inline void shard_hook(struct shard *s,
                              void (*fn)(void *ctx, struct shard *s, uint32_t db, struct span key,
                                         enum ks_class cls, const char *event),
                              void *ctx)
{
    s->on_change = fn;
    s->on_change_ctx = ctx;
    s->listen = fn ? s->listen | LISTEN_HOOK : s->listen & ~(uint32_t)LISTEN_HOOK;
}

static inline uint64_t shard_hash(const struct shard *s, struct span key)
{
    return key_hash(&s->hash_key, key.p, key.n);
}
uint64_t shard_random(struct shard *s);
/* Which shard of `count` owns the key: cluster slot ranges, so that a cluster client can be told. */
uint32_t shard_of_key(struct span key, uint32_t count);
/* Slots s with s * count / 16384 == i belong to shard i: contiguous ranges that differ by one slot at most. */
static inline uint32_t shard_of_slot(uint32_t slot, uint32_t count)
{
    return slot * count / LIMIT_CLUSTER_SLOTS;
}

/* CLIENT PAUSE: nothing expires by itself and nothing is evicted; a key whose time has passed is not seen. */
static inline bool shard_stands_still(const struct shard *s)
{
    return s->now_ms < s->still_until_ms;
}

/* Nor does that key, for the moment. */
static inline bool shard_claims(const struct shard *s, uint64_t hash)
{
    return __builtin_expect(s->claims != 0, 0) && s->claimed(s, hash);
}

/* shard_tick will look for keys that have expired: once a millisecond, or each time while there are many. */
static inline bool shard_expiry_due(const struct shard *s)
{
    return s->now_ms != s->expire_last_ms || s->expire_hot;
}

/* Bounded background work, called once per loop: active expiry, lazy free, eviction. `budget` in entries. Returns work done. */
size_t shard_tick(struct shard *s, size_t budget);
/* Over its share of maxmemory, without what is being freed in slices. */
bool shard_over_memory(struct shard *s);
/* Asked before each command flagged DENYOOM: is there something to do? Then shard_make_room evicts, bounded; false: the command is refused.
 * Entries leave: nobody may hold one across it. */
static inline bool shard_full(const struct shard *s)
{
    uint64_t limit = s->config->maxmemory_bytes;
    return __builtin_expect(limit != 0, 0) && s->mem.used_bytes * s->count > limit;
}
bool shard_make_room(struct shard *s);

/* ---- keyspace: what commands use (engine/shard/keyspace.c) ---- */

#define KS_NO_TTL   (-1)
#define KS_KEEP_TTL (-2)

/* The one choke point of every change: WATCH, notifications, tracking and the journal hang here. Call it once per key and effect,
 * after the change. Counts stats.dirty, but for expired and evicted keys, which are nobody's write. */
void ks_changed(struct shard *s, uint32_t db, struct span key, enum ks_class cls,
                const char *event);
/* A key was replaced by a command that Redis deletes it for: the event of a new one. */
static inline void ks_renewed(struct shard *s, uint32_t db, struct span key)
{
    if (__builtin_expect(s->listen & LISTEN_NOTIFY, 0))
        notify_note(s, db, key, KS_NEW, "new");
}
/* A read has found nothing. Counts it. */
static inline void ks_missed(struct shard *s, uint32_t db, struct span key)
{
    s->stats.misses++;
    if (__builtin_expect(s->listen & LISTEN_NOTIFY, 0))
        notify_note(s, db, key, KS_MISS, "keymiss");
}

/* Expiry is exact: an expired entry is removed and not seen. peek: no statistics, no access clock. read: counts a hit or a
 * miss and touches the access clock. write: touches the clock, no hit/miss. */
struct entry *ks_peek(struct shard *s, uint32_t db, struct span key, uint64_t hash);
struct entry *ks_read(struct shard *s, uint32_t db, struct span key, uint64_t hash);
struct entry *ks_write(struct shard *s, uint32_t db, struct span key, uint64_t hash);

/* Sets a string, replacing whatever was there. The value is encoded as Redis does (int if it reads as one, embstr up to 44 bytes, raw).
 * `expire_ms`: absolute unix ms, KS_NO_TTL or KS_KEEP_TTL. The value must not point into the entry that is replaced.
 * Returns the entry; NULL: no memory, the old value stands. Does not call ks_changed. */
struct entry *ks_set(struct shard *s, uint32_t db, struct span key, uint64_t hash,
                     struct span value, int64_t expire_ms);
struct entry *ks_set_int(struct shard *s, uint32_t db, struct span key, uint64_t hash,
                         int64_t value, int64_t expire_ms);
/* The same of a key that is not there, as who asks has made sure. */
struct entry *ks_add(struct shard *s, uint32_t db, struct span key, uint64_t hash,
                     struct span value, int64_t expire_ms);
/* For many keys that come: room in an empty database; the line that a key will be looked for in. */
void ks_reserve(struct shard *s, uint32_t db, size_t keys, size_t expires);
static inline void ks_prefetch(const struct shard *s, uint32_t db, uint64_t hash)
{
    if (s->db[db].keys)
        dict_prefetch_bucket(s->db[db].keys, hash);
}
/* As ks_set, but never int-encoded, even when it reads as one (results of INCRBYFLOAT). */
struct entry *ks_set_text(struct shard *s, uint32_t db, struct span key, uint64_t hash,
                          struct span value, int64_t expire_ms);
/* As ks_set, but always raw encoding (results of APPEND, SETRANGE) and takes over `block` (a mem block of `cap` bytes, the first
 * `len` the value), saving the copy of a streamed argument. On NULL the block still belongs to the caller. */
struct entry *ks_set_block(struct shard *s, uint32_t db, struct span key, uint64_t hash,
                           uint8_t *block, size_t len, size_t cap, int64_t expire_ms);
/* Makes the string `new_len` bytes long and raw, zero-filling growth (with room to grow further), and returns its bytes for writing.
 * `*e` follows the entry if it moves. NULL: no memory, unchanged. */
uint8_t *ks_string_resize(struct shard *s, uint32_t db, struct entry **e, uint64_t hash,
                          size_t new_len);

/* True when the key was there. Large values are freed in slices when `lazy`. */
bool ks_delete(struct shard *s, uint32_t db, struct entry *e, uint64_t hash, bool lazy);
/* Sets, changes (absolute ms) or removes (KS_NO_TTL) the expiry. `*e` follows the entry. False: no memory. */
bool ks_set_expire(struct shard *s, uint32_t db, struct entry **e, uint64_t hash,
                   int64_t expire_ms);
/* A deep copy of e's value under (to, db, key), replacing; `to` may be another leased shard. NULL: no memory. */
struct entry *ks_copy(struct shard *to, uint32_t db, struct span key, uint64_t hash,
                      const struct entry *e, int64_t expire_ms);

/* Takes e away from (from, from_db) and puts its value, with its expiry, under (to, db, key), replacing; another place than e's own. A large
 * value changes hands without a copy. NULL: no memory, nothing changed. */
struct entry *ks_move(struct shard *from, uint32_t from_db, struct entry *e, uint64_t from_hash,
                      struct shard *to, uint32_t db, struct span key, uint64_t hash);

size_t ks_count(const struct shard *s, uint32_t db);
size_t ks_count_expires(const struct shard *s, uint32_t db);
/* Removes all keys of the database; lazy: they are freed in slices by shard_tick. Adds their count to stats.dirty. */
void ks_flush(struct shard *s, uint32_t db, bool lazy);
void ks_swap(struct shard *s, uint32_t a, uint32_t b);
struct entry *
ks_random(struct shard *s,
          uint32_t db); /* no expired one, but where shard_stands_still; NULL when empty */
/* dict_scan over the database; expired entries are removed and not shown. A cursor is below 2^40, so a shard number and it fit the
 * 53 bits that every client library can carry. fn may ks_delete the entry it is given. */
uint64_t ks_scan(struct shard *s, uint32_t db, uint64_t cursor,
                 void (*fn)(void *ctx, struct entry *e), void *ctx);
/* Seconds since last access (OBJECT IDLETIME) and the LFU counter (OBJECT FREQ). */
uint64_t ks_idle_s(const struct shard *s, const struct entry *e);
uint32_t ks_freq(const struct shard *s, const struct entry *e);
void ks_touch(struct shard *s, struct entry *e);
/* Sets what the policy keeps of the two; -1: not given (RESTORE, recovery). */
void ks_set_clock(struct shard *s, struct entry *e, int64_t idle_s, int64_t freq);
