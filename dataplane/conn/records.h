/* Private to dataplane/conn and dataplane/worker.c: the records that its files share. A client (struct conn), replies that wait for their turn
 * (struct slot), and the worker with all that is under way on it. conn_internal.h has the functions.
 * Everything belongs to one worker's thread unless a line says otherwise. */
#pragma once

#include "dataplane/conn/batch.h"
#include "dataplane/conn/journal.h"
#include "dataplane/conn/mail.h"
#include "dataplane/conn/scatter.h"
#include "dataplane/net/net.h"
#include "dataplane/net/wheel.h"
#include "dataplane/worker.h"
#include "engine/base/assert.h"
#include "engine/base/limits.h"
#include "engine/base/list.h"
#include "engine/base/time_hist.h"
#include "engine/cmd/cmd.h"
#include "engine/cmd/latency.h"
#include "engine/cmd/pubsub.h"
#include "engine/cmd/slowlog.h"
#include "engine/cmd/tracking.h"
#include "engine/ds/dict_inline.h"
#include "engine/link/msg.h"
#include "engine/resp/parse.h"
#include "engine/shard/mail.h"

/* ---- replies that wait for their turn ---- */

/* One request whose reply could not be written when it was executed: posted elsewhere, or behind one that was. */
struct slot {
    struct list node;  /* conn->slots, in request order */
    struct conn *conn; /* NULL: the client is gone; the slot is freed with its last part */
    uint32_t parts;    /* replies still to come; 0: ready */
    bool resumes;      /* the client was paused for this one */
    bool muted;        /* CLIENT REPLY OFF/SKIP at the time of the request */
    bool publishes;    /* a PUBLISH: other messages need not wait for its answers */
    bool row;          /* first member of a struct row: replies of several requests */
    struct agg *agg;   /* split commands; NULL: one plain reply */
    /* Takes the reply bytes of a part that shard `from` has answered; NULL: they are the reply. */
    void (*take)(struct worker *w, struct slot *s, struct span bytes, uint32_t from);
    uint64_t took, queued; /* cycles, of the part that took longest */
    struct worker *home;
    struct block_wait *wait; /* of a client that may wait for a key (block.c) */
    struct scatter *scatter; /* a request over several shards that is under way */
    struct reply_heap bytes;
    struct held *held; /* behind them the reply goes on in parts (long.c), made at worker held_at */
    uint32_t held_at;
};

#define ROW_MOST 32

/* Where one reply of a row lies: in the replies of a mail that is pinned for it. */
struct row_piece {
    struct mail *mail; /* NULL: it is not there yet */
    size_t off, len;
    struct held
        *held; /* behind it the reply goes on in parts, made at mail->to; NULL: that is all */
};

/* One slot for plain requests of a client that follow each other (row.c). Its parts are replies that are awaited. */
struct row {
    struct slot slot;
    uint32_t n, at; /* requests; replies that were written: one after the other */
    bool gated;     /* some may not be told yet: none is before all are there */
    struct row_piece piece[ROW_MOST];
};

struct out_block {
    struct out_block *next;
    uint32_t len, cap, sent;
    uint8_t data[];
};

struct inq { /* heap bytes that wait to be parsed */
    uint8_t *p;
    size_t len, cap, off;
};

#define TAIL_BYTES 240

/* What is kept of a request that is not whole. Not there while a client is at rest: conns_sweep takes it back. */
struct partial {
    struct resp_parser parser;
    uint8_t tail
        [TAIL_BYTES]; /* the start of a known request that a segment's end has cut (stage.c); before it, all was staged */
};

enum conn_kind { CONN_TCP, CONN_DOOR };

struct conn {
    struct session ses; /* first: host.c converts */
    struct worker *w;
    struct tcp_conn *tc; /* CONN_TCP; NULL once the transport is gone */
    union {
        struct {
            bool paused;      /* waits for a lease or for control: requests behind it wait */
            bool throttled;   /* too much output: requests wait */
            bool closing;     /* no more requests; the transport is being closed */
            bool peer_fin;    /* the peer has ended its direction */
            uint8_t tail_len; /* of part->tail */
        };
        uint32_t state;          /* the first four at once; 0: goes on as always */
        uint64_t state_and_tail; /* all of it; 0: nothing is left of what came before */
    };
    uint8_t kind;
    bool fin_said;          /* tcp_close was called */
    bool dead;              /* on w->dead, freed at the end of the turn */
    bool dirty;             /* on w->dirty */
    bool named;             /* in w->named */
    bool journal_waits : 1; /* paused because the journal is full */
    bool hold_waits : 1;    /* paused until a snapshot has written a value */
    bool loader;            /* control replays a log */
    bool postponed;         /* paused by CLIENT PAUSE */
    bool room_heap;
    bool at_node;    /* core-addressed, and this is its node's worker */
    bool door_retry; /* the ring was full */
    uint32_t nslots;
    uint16_t writes_pending, reads_pending; /* requests over several shards that are under way */
    struct partial *part;                   /* NULL: nothing is kept */
    struct out_block *out_first;
    uint8_t *room;      /* start of the open writer's room */
    struct inq inq;     /* input behind the backlog */
    struct inq backlog; /* requests staged and put back, parsed first */
    /* what a request on its usual way looks at ends here */
    struct monitor *monitor;  /* NULL: it does not watch */
    struct conn_long *longer; /* a reply that is being written in parts; NULL: none */
    struct block
        *block; /* it waits for a key, or its command has not been run yet; NULL: neither */
    struct list slots;
    size_t slot_bytes;        /* held in slots behind one that is not ready */
    struct list node;         /* w->conns */
    struct list dirty_node;   /* w->dirty: looked at by conn_turn_end */
    struct list leaving_node; /* w->leaving: closed by us, the transport has not ended yet */
    /* output */
    struct out_block *out_last;
    size_t out_bytes;
    uint64_t out_soft_since_ms;
    struct conflate *conflate; /* messages that wait; NULL: none */
    /* door */
    uint64_t door;         /* CONN_DOOR: its number */
    uint64_t door_unacked; /* bytes received and not yet given back as credit */
};

struct admin_wait {
    struct list node;
    uint64_t id;
    struct slot *slot;
    uint64_t asked_ns;
    uint32_t generation; /* of the control process it was put to */
    uint8_t *msg;        /* not sent yet: the ring was full */
    uint32_t msg_len;
};

/* Reasons to look at every request before it runs: while one is set no request takes the short path. */
enum careful {
    CAREFUL_NONE = 0,
    CAREFUL_TIMES = 1 << 0,    /* every command is timed by itself */
    CAREFUL_MONITOR = 1 << 1,  /* somebody watches */
    CAREFUL_PAUSE = 1 << 4,    /* CLIENT PAUSE */
    CAREFUL_LOADING = 1 << 8,  /* the dataset is not whole yet */
    CAREFUL_JOURNAL = 1 << 10, /* the journal is full, or cannot be written */
    CAREFUL_DURABLE = 1 << 11, /* replies wait for the disk */
    CAREFUL_MISCONF = 1 << 9,  /* the last snapshot failed: writes are refused */
};

/* A snapshot of my shard; belongs to the shard: the holder of its lease writes it. */
enum snapshot_state {
    SNAPSHOT_NONE,
    SNAPSHOT_BEGUN, /* control has not been told yet */
    SNAPSHOT_WALKS,
    SNAPSHOT_TIDIES, /* nobody wants it any more */
};
struct snapshot_job {
    enum snapshot_state state;
    struct msg_snapshot_begin begin;
};

/* What waits until a snapshot has written large values of my shard (hold.c). */
struct hold {
    bool
        on; /* one is being made, or a long reply is under way; turns of it are made (snapshot_turn) */
    struct list mails; /* struct mail of one command each; belongs to the shard */
    struct list jobs;  /* struct lease_job of this worker's: for values of any shard */
    uint64_t asked;    /* workers that have such jobs for my shard; belongs to the shard */
    uint64_t answered,
        held_answered; /* of its snapshot_answered and held_answered, by when they were last told */
};

struct load_job {
    uint64_t id;
    bool on; /* clients wait for the dataset */
    bool tell_due;
    struct msg_load_state state;
    uint8_t *part; /* of a key longer than a record; kept for the next one */
    size_t part_n, part_cap;
};

/* What the slow log shows of a request whose arguments the command may take over. */
struct times_kept {
    struct span argv[SLOWLOG_ARGS];
    uint8_t bytes[SLOWLOG_ARGS][SLOWLOG_ARG_BYTES];
};

/* CLIENT PAUSE */
struct pause {
    int64_t until_ms; /* unix time; 0: none */
    bool all;         /* not only what writes */
    uint32_t n, cap;
    uint64_t *held; /* ids of clients, in the order in which they began to wait */
    struct client_timer timer;
};

enum stage { STAGE_RX, STAGE_NET, STAGE_EXEC, STAGE_TX, STAGE_TXBURST, STAGES };

struct worker {
    uint32_t id, count;
    struct worker **all;
    bool stop; /* writer: worker_stop_all (relaxed; seen within a turn) */
    struct worker_config cfg;
    /* time of this turn */
    uint64_t now_ns;
    int64_t unix_us, now_ms; /* unix time */
    uint64_t loops;
    struct net *net;
    struct shard shard;
    struct shard_set set, lease_set;
    struct engine_config config;
    uint64_t config_version;
    bool open;                                                   /* protected mode refuses nobody */
    void (*receive)(struct conn *c, const uint8_t *p, size_t n); /* conn_receive */
    bool known_ready;           /* open, and proto-max-bulk-len is no less than RESP_ARG_KNOWN */
    uint8_t how[LINK_COMMANDS]; /* by cmd_desc.index: enum how */
    struct partial *spare_part; /* at rest; NULL: to be made */
    struct mem conn_mem; /* query buffers: the shard's mem may be in another worker's hands */
    struct stats_worker *stats, own_stats;
    struct link *link;
    uint32_t control_generation;
    struct host host;
    struct cmd
        cmd; /* of the request that runs here; the parts that never change are filled in once */
    struct reply nowhere; /* swallows what is written */
    uint64_t cmd_calls[LINK_COMMANDS], cmd_usec[LINK_COMMANDS], cmd_rejected[LINK_COMMANDS],
        cmd_failed[LINK_COMMANDS], cmd_hops[LINK_COMMANDS];
    uint64_t rng;
    /* clients */
    struct list conns, dirty, dead, leaving;
    struct list *sweep; /* idle-timeout sweep position */
    uint64_t next_client, clients, doors, out_total;
    struct conn *out_conn; /* whose writer is open */
    struct reply out;
    struct tx_seg *
        out_seg; /* the client's queue begins with it, and its writer stands on it; NULL: anywhere else */
    struct batch *batch;
    /* other workers */
    struct mail_ring *in;  /* count rings: in[i] is written by worker i */
    struct outbox *outbox; /* count */
    struct lease_state lease;
    struct list scatters; /* struct scatter */
    struct scatter_pool scatter_pool;
    struct cmd part_cmd;    /* of the part that runs here */
    struct list lease_jobs; /* struct lease_job: for the next round */
    struct lease lease_round;
    bool lease_asking;                                /* lease_round is under way */
    uint32_t posted;                                  /* commands whose replies are awaited */
    struct list spare_slots, spare_rows, spare_mails; /* for the next ones */
    uint32_t spare_slot_count, spare_row_count, spare_mail_count;
    struct mail *aside; /* replies of this worker's own shard that wait behind others' (hop.c) */
    struct list longs;  /* struct conn_long */
    struct list events; /* struct mail_event of this worker to itself */
    /* clients that others name by their id (event.c): open addressing, a power of two */
    struct conn **named;
    uint32_t named_cap, named_count;
    struct wheel timers;  /* struct client_timer */
    uint32_t careful;     /* enum careful */
    struct pubsub pubsub; /* of this worker's clients; pubsub.filter is read by all */
    uint64_t tickets_run; /* publications to me, in the order of their tickets */
    uint64_t
        rings_closed; /* senders, a bit each, whose next publication waits for its turn; and myself */
    uint32_t told_later;            /* of my own to my clients that wait for theirs */
    struct reply_heap message;      /* the one being delivered, encoded */
    struct tracking_table tracking; /* of this worker's clients */
    struct list blocks;             /* struct block of this worker's clients */
    struct list block_drops;        /* of others, until my shard is mine */
    uint64_t blocked;               /* clients that wait for a key */
    struct pause pause;
    struct ring snapshot_ring, load_ring;
    struct snapshot_job snapshot;
    struct hold hold;
    uint64_t snapshot_unwanted; /* id: given up as soon as the shard is mine */
    struct load_job load;
    struct journal_out journal;
    struct {
        struct astray_table *table; /* where flows were found; NULL: none was looked for */
        struct astray *now;         /* the one that is put in */
        uint32_t sent, asked;       /* of mine, under way */
    } astray;
    /* control */
    struct list admin;
    uint64_t next_admin;
    bool admin_unsent, door_retry;
    /* times of commands (times.c), in cycles; UINT64_MAX: no threshold */
    uint64_t slow_cycles, latency_cycles, look_cycles;
    uint64_t own_cycles, own_timed; /* of this batch, measured one by one */
    uint64_t ns_q32;                /* ns a cycle, 32 bits behind the point */
    uint64_t turn_tsc;              /* this turn began; 0: not known */
    uint64_t stats_epoch;
    bool tracks_times;
    struct time_hist *times; /* by cmd_desc.index; in the link, for INFO */
    struct slowlog slowlog;
    uint64_t slow_next_id; /* worker 0's is the server's: others add to it (relaxed) */
    struct latency *latency;
    struct times_kept times_kept;
    /* MONITOR (monitor.c) */
    uint64_t monitored;              /* workers with watchers, a bit each */
    struct list monitors;            /* struct monitor: watchers here */
    struct reply_heap monitor_lines; /* of this turn */
    uint64_t monitor_count, monitor_dropped;
    /* idle */
    uint32_t sleeping; /* 1 while asleep; writers: me, and a waker */
    int wake_fd;       /* eventfd: mail has come */
    uint64_t tickets; /* taken by publications to me; writers: who sends them (relaxed; pubsub.c) */
    uint64_t last_work_ns, sleep_ns;
    /* account of this turn, in cycles; one turn in STAGE_SAMPLE has its stages told apart */
    uint64_t stage_tsc[STAGES], tx_tsc;
    uint64_t expire_tsc; /* of turns that looked for expired keys: what the shard does by itself */
    uint32_t stage_wait; /* turns until the next such turn */
    bool staging;        /* this is one */
    uint64_t housekeeping_ns, housekeepings;
};
