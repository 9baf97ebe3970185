/* Commands: one table (commands.def) is the source of arity, flags, ACL categories, key positions, routing and docs.
 *
 * A command is single-threaded code over the shards it was given: with a lease it sees several, otherwise one. It is written once and
 * is atomic. It finds the shard of a key with cmd_shard(). */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "engine/base/bytes.h"
#include "engine/cmd/session.h"
#include "engine/resp/reply.h"
#include "engine/shard/shard.h"

struct cmd;
struct block_wait;
struct resp_parser;
typedef void cmd_fn(struct cmd *c);

/* Where it runs. */
enum cmd_route {
    ROUTE_LOCAL,   /* on the client's home worker; touches the session only */
    ROUTE_KEY,     /* one key: on its owner */
    ROUTE_KEYS,    /* several keys: on their owner if it is one shard, else as `split` says */
    ROUTE_ALL,     /* every shard, as `split` says */
    ROUTE_CURSOR,  /* SCAN: on the shard that the cursor names */
    ROUTE_WORKERS, /* every worker's clients (CLIENT LIST, CLIENT KILL), parts as `split` says */
    ROUTE_CONTROL, /* by the control process */
    ROUTE_CHANNEL, /* PUBLISH: to clients here, and to the workers whose clients may want it */
};

/* How the parts of a command over several shards become one reply. */
enum cmd_split {
    SPLIT_LEASE,  /* not split: one core runs it under the leases of all shards involved */
    SPLIT_SUM,    /* each shard gets its keys (or all of it); integers are added */
    SPLIT_OK,     /* each shard its keys (or all of it); +OK unless one part is an error */
    SPLIT_VALUES, /* each shard its keys; a value for each of them, in the order of the request */
    SPLIT_CONCAT, /* arrays are joined */
    SPLIT_TEXT,   /* bulk strings are joined */
    SPLIT_RANDOM, /* RANDOMKEY: part = [count, key]; one is drawn by weight */
    SPLIT_UNION,  /* arrays of names are joined, each name once */
    SPLIT_COUNT,  /* the same, and the reply is how many */
    SPLIT_PAIRS,  /* arrays of [name, count ...], the same names in each: counts are added */
    SPLIT_GATHER, /* bulk strings: the command makes the reply of all of them (gather.h) */
};

/* Flags, as COMMAND INFO names them. */
enum cmd_flags {
    CMD_WRITE = 1 << 0,
    CMD_READONLY = 1 << 1,
    CMD_DENYOOM = 1 << 2,
    CMD_ADMIN = 1 << 3,
    CMD_PUBSUB = 1 << 4,
    CMD_NOSCRIPT = 1 << 5,
    CMD_BLOCKING = 1 << 6,
    CMD_LOADING = 1 << 7,
    CMD_STALE = 1 << 8,
    CMD_SKIP_MONITOR = 1 << 9,
    CMD_SKIP_SLOWLOG = 1 << 10,
    CMD_ASKING = 1 << 11,
    CMD_FAST = 1 << 12,
    CMD_NO_AUTH = 1 << 13,
    CMD_MAY_REPLICATE = 1 << 14,
    CMD_NO_ASYNC_LOADING = 1 << 15,
    CMD_NO_MULTI = 1 << 16,
    CMD_MOVABLE_KEYS = 1 << 17,
    CMD_ALLOW_BUSY = 1 << 18,
    CMD_PROTECTED = 1 << 19 /* enable-debug-command */,
    CMD_NO_MANDATORY_KEYS = 1 << 20,
    CMD_ONLY_SENTINEL = 1 << 21,
    CMD_NO_KEYS_ROUTE = 1 << 22,
    CMD_HIDDEN =
        1
        << 23, /* a row for routing only: COMMAND does not tell of it; of a subcommand (DEBUG) the parent stands for it */
};

struct cmd_desc {
    const char *name; /* lower case; a subcommand's own word */
    const char *full; /* "client|list" */
    cmd_fn *fn;       /* NULL: a container with subcommands only, or run by control */
    int16_t arity;    /* as Redis: negative = at least */
    uint8_t route, split;
    uint32_t flags;
    uint32_t acl;                          /* bits of enum cmd_acl in command_table.h */
    int16_t first_key, last_key, key_step; /* legacy triple of COMMAND INFO, 0 0 0 for none */
    uint16_t index;                        /* dense; statistics are kept by it */
    const struct cmd_desc *parent;
    const struct cmd_desc *subs;
    uint16_t nsubs;
    const void *detail; /* key specs, docs: command_table.h */
};

struct shard_set {
    struct shard *v[LIMIT_WORKERS]; /* v[i] is set when shard i's lease is held */
    uint32_t count;                 /* shards in the server */
};

/* What the embedding process (worker, or a test) does for commands. One per worker. */
struct host;
struct session_info { /* for CLIENT LIST */
    uint64_t qbuf, qbuf_free, argv_mem, obl, oll, omem, tot_mem;
    bool blocked;
    const char *tcp; /* extra " k=v" fields of the transport, may be "" */
};
enum host_log { HOST_LOG_OFF, HOST_LOG_BEHIND, HOST_LOG_SAFE };

struct host_ops {
    struct session *(*session_next)(struct host *h, struct session *after); /* NULL: the first */
    void (*session_info)(struct host *h, struct session *s, struct session_info *ret);
    void (*session_kill)(struct host *h, struct session *s);
    void (*sleep_ms)(struct host *h, uint64_t ms); /* DEBUG SLEEP */
    void (*reset_stats)(struct host *h);
    void (*unwatch)(struct host *h,
                    struct session *s); /* gives its watched keys back to their shards */
    /* cmd_call for one request of a transaction, measured; may be NULL */
    void (*call)(struct host *h, struct cmd *c);
    void (*watched)(struct host *h, struct session *s); /* it watches more; may be NULL */
    uint64_t (*client_memory)(struct host *h);          /* of this worker's clients; may be NULL */
    void (*monitor)(struct host *h, uint64_t client);   /* MONITOR, on every worker; may be NULL */
    /* To this worker's clients (enum pubsub_kind); how many. With several workers the router does it for PUBLISH itself. */
    /* Is there a client of that id? Makes it one that is found by it. */
    bool (*client_known)(struct host *h, struct session *asker, uint64_t id);
    int64_t (*publish)(struct host *h, int kind, struct span channel, struct span message);
    /* DEBUG TCPTRACE: what is left of a client's connection in this worker's trace, as bulk strings; returns their number. May be NULL. */
    uint32_t (*tcp_trace)(struct host *h, uint64_t client, struct reply *to);
    /* block.h: one that waited has got b->reply and has left the tables of the shards held here; its home takes it over. */
    void (*wait_over)(struct host *h, struct block_wait *b);
    /* Its element is to go to another shard: block_move_desc shall run under the leases of both. */
    void (*wait_move)(struct host *h, struct block_wait *b);
    /* A request over several shards has a key of this hash in its hands, on this worker's shard: nobody else may change it now. */
    bool (*key_taken)(struct host *h, uint64_t hash);
    /* CLIENT UNBLOCK of a client of this worker. False: it does not wait. */
    bool (*unblock)(struct host *h, uint64_t client, bool error);
    /* WAITAOF: whether all that was written before it is on the disk. May be NULL: there is no log. */
    enum host_log (*log)(struct host *h, const struct session *s);
    /* CLIENT PAUSE and UNPAUSE for this worker. */
    void (*pause)(struct host *h, int64_t until_ms, bool all);
    void (*unpause)(struct host *h);
};
struct host {
    const struct host_ops *ops;
    struct pubsub *pubsub;           /* subscriptions of this worker's clients */
    struct tracking_table *tracking; /* those that cache what they read */
    uint64_t asker; /* client of the command that runs here, or ran last; 0: nobody's */
    const struct engine_config *config;
    uint32_t worker, workers;
    uint64_t *calls, *usec, *rejected, *failed; /* per command index; may be NULL */
    uint16_t
        node_port; /* core-addressed: of worker 0, the others follow; 0: there are no such ports */
    struct ip_addr node_ip;
    struct slowlog
        *slowlog; /* of this worker; these three may be NULL: then there is nothing in them */
    struct latency *latency;
    const struct time_hist *times; /* per command index */
};

/* A key that was hashed, and perhaps looked up, before its command runs: of a request over several shards (conn/scatter.h). */
struct cmd_key {
    uint64_t hash;
    union {
        const struct dict_bucket *bucket; /* until the entries are looked at */
        struct entry *candidate;          /* as in struct cmd */
    };
    struct cmd_key *next, **at; /* in a chain of who has made it */
};

struct cmd {
    const struct cmd_desc *desc;
    struct span *argv;
    uint32_t argc;
    uint32_t db;
    struct session *
        session; /* the client's; on another worker than home: NULL (commands with a key never need it) */
    uint64_t client; /* its id, where session is NULL; cmd_client */
    struct reply *out;
    struct shard_set *shards;
    struct shard *shard; /* the shard of the first key, or the part's shard */
    uint64_t hash;       /* of the first key, when there is one */
    struct entry
        *candidate; /* of that key: perhaps its entry (engine/shard/access_inline.h), or NULL */
    struct host *host;
    int64_t now_us; /* unix time */
    struct resp_parser
        *parser;   /* the request was gathered by it: big arguments may be taken over; else NULL */
    bool may_hold; /* the reply may be left to be written in parts (long_reply.h) */
    bool tracks;   /* the client caches what this reads */
    struct block_wait
        *wait;    /* of a client that may wait for its reply (block.h); NULL: it may not */
    bool waits;   /* set by the command: it does, and there is no reply */
    bool part;    /* one part of a split: write the part's form, the aggregator makes the reply */
    bool in_exec; /* one of a transaction's: it must not wait, and memory was asked for before */
    const struct cmd_key *keys; /* of a part: all its keys, every key_step-th argument; or NULL */
};

/* Finds the command and subcommand of argv and checks arity. NULL: the error was written. */
const struct cmd_desc *cmd_lookup(struct span *argv, uint32_t argc, struct reply *out);
/* All that may refuse it at its home before it is routed: protected, NOAUTH, protected mode. False: the error was written. */
bool cmd_admit(const struct cmd_desc *d, const struct session *s, const struct engine_config *cfg,
               struct reply *out);
/* Positions of keys. Returns their count, or -1 when the arguments make no sense. `pos` may be NULL to count only. */
int cmd_keys(const struct cmd_desc *d, const struct span *argv, uint32_t argc, uint32_t *pos,
             uint32_t cap);
/* True when the request may touch keys that only its data tell (BY and GET of SORT): it needs every shard. */
bool cmd_keys_open(const struct cmd_desc *d, const struct span *argv, uint32_t argc);
/* The memory check of a command flagged DENYOOM: may evict. False: the error was written and counted. */
bool cmd_has_room(struct cmd *c);
/* Runs it on c->shard(s): memory check, call, account. */
void cmd_call(struct cmd *c);

/* Remembers what the command has read, for its client's cache (tracking.c). */
void tracking_read(struct cmd *c);

/* CLIENT ID of who asked; 0: nobody. */
static inline uint64_t cmd_client(const struct cmd *c)
{
    return c->session ? c->session->id : c->client;
}

/* Whether it is about the whole keyspace and its client that of a node: then it means the node's shard, and sees no other. */
static inline bool cmd_of_node(const struct cmd_desc *d, const struct session *s)
{
    return s->node != 0 &&
           (d->route == ROUTE_CURSOR || (d->route == ROUTE_ALL && d->split != SPLIT_LEASE));
}

static inline struct shard *cmd_shard(struct cmd *c, struct span key)
{
    return c->shards->count == 1 ? c->shards->v[0]
                                 : c->shards->v[shard_of_key(key, c->shards->count)];
}

/* ---- aggregation of split commands (engine/cmd/agg.c) ---- */
struct agg {
    const struct cmd_desc *desc;
    uint8_t split;
    uint8_t resp;
    int64_t sum;
    uint64_t elements;
    struct reply to;        /* writes into body: an agg stays where it was begun */
    struct reply_heap body; /* joined elements, or the first error */
    bool failed;
    uint64_t weight;
    bool kill_one; /* CLIENT KILL addr: the sum becomes +OK or an error */
    bool pairs;    /* SPLIT_PAIRS: there was a part */
    bool lost;     /* a part was malformed or there was no memory for it: the reply is an error */
};
/* For one request; what the router calls. */
void agg_begin(struct agg *a, const struct cmd_desc *d, const struct span *argv, uint32_t argc,
               uint8_t resp);
void agg_init(struct agg *a, enum cmd_split split, uint8_t resp);
/* One part's reply bytes (always written in the session's RESP version). */
void agg_part(struct agg *a, struct span reply, uint64_t random);
/* Writes the reply and frees what the parts left. */
void agg_finish(struct agg *a, struct reply *out);
/* For a request whose client is gone before all parts are there. */
void agg_free(struct agg *a);
