/* merge: the workers' journal rings put in one order: bytes of the log, in a batch that its owner writes down.
 *
 *   rings -> of the records whose numbers are the next of all their shards the oldest -> batch -> (written by the owner) -> merge_give_back
 *
 * The record that says where a snapshot was cut ends the batch (at_cut): what follows it is taken when the owner is done with that.
 *
 * A record of several parts may be longer than ring and batch: it begins a group of its own, which is written as it comes (merge_is_open), its #BS line in front,
 * so that whoever goes on after the death of this process finds in the file what is no longer in the ring (merge_resume). Thread: the journal's writer. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "engine/link/link.h"

#define MERGE_BATCH_BYTES (1024 * 1024) /* is not made longer than it is then */
#define MERGE_NO_DB       UINT32_MAX

struct merge {
    struct link *link; /* NULL: none */
    uint32_t workers, generation;
    struct ring ring[LIMIT_WORKERS];
    uint64_t next[LIMIT_WORKERS];  /* number of the next record of each shard */
    uint64_t taken[LIMIT_WORKERS]; /* last number in the group; 0: none */
    int64_t rest_worker;           /* whose record is not whole yet; -1: none */
    uint64_t rest_bytes, rest_at;  /* what is missing; bytes of the record taken so far */
    bool rest_skips;               /* it is in the log already */
    bool blocked;                  /* a record waits for another worker's */
    bool alone;                    /* a record wants to begin a group */
    bool starved;                  /* there was no memory for what could have been taken */
    bool corrupt;                  /* a ring makes no sense: what is in it cannot be had */
    bool marked;                   /* the group has numbers of records without bytes */
    const uint64_t *cut; /* id of the one that is waited for, as another thread says; 0: none */
    bool at_cut;         /* it was the last record taken */
    bool discards;       /* nothing is put in the batch: there is no log yet */
    bool stamps;         /* #TS lines */
    int64_t stamp_s;     /* of the last one */
    bool open;           /* a part of the group is in the file */
    uint32_t db;         /* that the log is in */
    uint8_t *p;          /* the batch */
    size_t len, cap;
};

void merge_init(struct merge *m);
void merge_fini(struct merge *m);
/* The rings of a dataplane; `cut` is as nobody waits for one. `written`: by shard, numbers that are in the log already; NULL: none. */
int merge_attach(struct merge *m, struct link *l, const uint64_t *written);
/* Whether a ring begins in the middle of a record, whose begin somebody has taken. */
bool merge_is_cut(struct link *l);
/* `tail`: what the file held behind its last whole group. Its record goes on with what is in the ring. False: it is not the one. With `discards` it needs none. */
bool merge_resume(struct merge *m, struct span tail);

/* Fills the batch, as far as it is the records' turn. True: something was taken. */
bool merge_take(struct merge *m);
/* What the group holds of each shard. False: no memory. */
bool merge_put_shards(struct merge *m);
bool merge_put(struct merge *m, const void *p, size_t n);
/* The batch is written: empty again. `ends`: and the group with it. */
void merge_written(struct merge *m, bool ends);
/* What was taken is in the log. */
void merge_give_back(struct merge *m);

/* The dataplane is dead. A record without an end is none: nobody was told of it. */
void merge_drop_rest(struct merge *m);
/* Records that wait for numbers which nobody has published take their turn. Returns how many numbers are missing. */
uint64_t merge_skip_missing(struct merge *m);
/* Bytes in all rings that were not taken, or not given back. */
uint64_t merge_backlog(const struct merge *m);
