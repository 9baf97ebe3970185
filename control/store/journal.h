/* journal: the thread that takes the workers' records out of the link's rings, puts them in one order and writes them.
 *
 *   rings -> merge: a record whose numbers are the next of all its shards -> group -> write -> (fsync) -> numbers written, numbers durable -> rings given back
 *
 * A record leaves its ring only after the kernel has its bytes, so either process may die at any point. A write that fails leaves no half group: the file is
 * cut to where it was, the records stay, and it is tried again until it succeeds; meanwhile workers refuse writes (link_journal.error).
 * journal_open to journal_close: the main thread; the rest is the writer's. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "engine/link/link.h"

enum journal_fsync { FSYNC_NO, FSYNC_EVERYSEC, FSYNC_ALWAYS };

struct journal;

struct journal_status {
    uint64_t file_bytes; /* of the increment that is being written */
    uint64_t groups;     /* the last one */
    int error;           /* errno; 0: fine */
    uint64_t fsyncs, delayed, failures;
    bool drained;
};

/* NULL: no memory or thread. Nothing is taken until journal_file and journal_attach. */
struct journal *journal_open(enum journal_fsync policy);
/* What is in the rings is written and fsynced, and the file is closed as whole (`clean`), if the disk lets it within a second. */
void journal_close_file(struct journal *j, bool clean);
void journal_free(struct journal *j);

/* From here on into that file, which is new: 0 or -errno. `first_group`: number of its first group. `seq`: of the file among the increments. */
int journal_file(struct journal *j, const char *path, uint64_t seq, uint64_t first_group);
/* The rings of a dataplane. `written`: by shard, numbers that are in the log already (a control before this one wrote them), or NULL. */
int journal_attach(struct journal *j, struct link *l, const uint64_t *written);
/* The dataplane is dead: take what it left, then fsync, then let go of the rings; journal_status.drained tells. */
void journal_drain(struct journal *j);
void journal_policy(struct journal *j, enum journal_fsync policy);
struct journal_status journal_status(struct journal *j);
