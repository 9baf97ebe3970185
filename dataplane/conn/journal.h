/* journal: a worker's part in making writes durable; part of struct worker. See journal.c. */
#pragma once

#include "engine/base/list.h"
#include "engine/cmd/session.h"
#include "engine/link/link.h"
#include "engine/log/effect.h"

struct worker;
struct slot;
struct conn;
struct staged;

struct journal_out {
    bool on;              /* effects of my shard are written down */
    bool busy;            /* the turn's end has something to do: on, or not all of it is over yet */
    bool always;          /* replies wait until their writes are safe */
    bool begins;          /* JOURNAL_BEGINS */
    bool full;            /* no room: writes wait. Read by other workers (relaxed) */
    bool any_full;        /* mine, or another worker's */
    bool still;           /* my shard stands still until there is room */
    bool heaped;          /* counted among those with records on the heap */
    uint8_t error;        /* what the writer told last (errno) */
    struct effects fx;    /* of this turn on my shard, or of the round of leases that runs */
    struct effects aside; /* nobody's: of what is an effect of something else */
    uint64_t behind;      /* shards whose records the next of mine is to be behind, a bit each */
    uint64_t behind_seq[LIMIT_WORKERS]; /* up to that number */
    struct ring ring;
    /* records that found no room in the ring: {type, len, bytes} each */
    uint8_t *queue;
    size_t queue_at, queue_len, queue_cap;
    struct list waits;   /* struct journal_wait */
    struct list callers; /* of WAITAOF (block.c) */
    uint32_t asks;       /* of both, for the disk whatever appendfsync says */
    uint64_t seen;       /* sum of what was safe when they were looked through last; 0: look */
    uint32_t held;       /* clients whose writes wait for room */
};

void journal_init(struct worker *w);
void journal_fini(struct worker *w);
/* The configuration has changed; my shard is in my hands. */
void journal_config(struct worker *w);
/* What was done to my shard so far becomes a record: before the shard goes to another worker, when it has become much, and at the end of a turn. */
void journal_close(struct worker *w);
#define JOURNAL_CLOSE_BYTES (256 * 1024)
/* The next record is to be behind that of another shard. */
void journal_behind(struct worker *w, uint32_t shard, uint64_t seq);
/* Around what is no effect by itself. */
void journal_aside_begin(struct worker *w);
void journal_aside_end(struct worker *w);
/* Around what may be more than there is room for, so that it is a record of its own and nothing behind it goes unheld. */
void journal_much_begin(struct worker *w);
void journal_much_end(struct worker *w);
/* Something came from another worker: if records lie on the heap, what is done from now on may depend on them, and is held. */
void journal_look_at_others(struct worker *w);
/* Records and held clients; before replies leave. */
void journal_turn_end_now(struct worker *w);
void journal_lease_begin(struct worker *w, uint64_t shards);
void journal_lease_next(struct worker *w, uint64_t shards); /* another job under the same leases */
void journal_lease_end(struct worker *w, uint64_t shards);
/* The same for whichever of both holds: another worker is told of it at once. */
void journal_publish(struct worker *w);
/* All shards are in my hands: here a snapshot is cut, and the journal says so, behind what was done before. */
void journal_cut(struct worker *w, uint64_t id);

/* ---- replies that wait ---- */

/* With appendfsync always, or CLIENT DURABILITY ALWAYS, until the disk has what they tell of; else until the writer has it, and only where this
 * process's death would take it along: what was written has found no room in the ring. */
struct journal_need {
    uint8_t who; /* the client's enum session_durability */
    bool wrote;
};
static inline struct journal_need journal_need(uint8_t who, bool wrote)
{
    return (struct journal_need){who, wrote};
}

/* What must have come true before what was just read or written in shard s may be told, a gate; 0: nothing to wait for. */
uint64_t journal_gate(struct worker *w, uint32_t shard, struct journal_need need);
/* Whether it has not yet. */
bool journal_pending(const struct worker *w, uint32_t shard, uint64_t gate);
/* One of slot->parts is done when it has. */
void journal_wait(struct worker *w, struct slot *slot, uint32_t shard, uint64_t gate);

/* The reply in the slot is whole: it leaves when what was done to those shards is safe. */
void journal_ready(struct worker *w, struct slot *slot, uint64_t shards, struct journal_need need);

/* Numbers, by shard, of all that this worker's clients have been answered; and whether the disk has that. */
void journal_note(const struct worker *w, uint64_t seq[]);
bool journal_on_disk(const struct worker *w, const uint64_t seq[]);

/* The request must wait until there is room in the journal: its client is paused. False: it may run. */
bool journal_holds(struct worker *w, struct conn *c, const struct staged *s);
