/* journal: the threads that write the workers' records down.
 *
 *   rings -> merge -> group -> write -> (fsync) -> numbers written, numbers durable -> rings given back
 *
 * Writer thread: all but the fsyncs of everysec, which a thread of their own makes while writing goes on, one at a time. With always the writer makes them
 * itself: what comes meanwhile is the next group (docs/decisions/0008-fsync-thread.md).
 * A rewrite of the log cuts the stream: behind the record that says so (msg_journal.cut) everything goes into the next file, which the writer opens there
 * (journal_cut). A journal without a file throws away what it takes, up to such a cut: a log that begins while the server runs.
 * A record leaves its ring only after the kernel has its bytes, so either process may die at any point. A write that fails leaves no half group: the file is
 * cut to where it was, the records stay, and it is tried again until it succeeds; meanwhile workers refuse writes (link_journal.error).
 * All functions here: the main thread. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "control/store/log_file.h"
#include "engine/base/bytes.h"
#include "engine/link/link.h"

enum journal_fsync { FSYNC_NO, FSYNC_EVERYSEC, FSYNC_ALWAYS };

struct journal;

struct journal_file {
    struct log_file file;
    uint64_t seq;   /* among the increments; 0: none yet */
    uint64_t group; /* its first one */
};

struct journal_status {
    uint64_t file_bytes; /* of the increment that is being written */
    uint64_t groups;     /* the last one */
    int error;           /* errno; 0: fine */
    uint64_t fsyncs, failures;
    uint64_t
        delayed; /* fsyncs that went on for more than two seconds while there was more to write */
    uint64_t missing; /* numbers that a dead dataplane had given out and not published */
    bool drained;
};

/* NULL: no memory or thread. Nothing is taken until journal_file and journal_attach. */
struct journal *journal_open(enum journal_fsync policy);
/* What is in the rings is written and fsynced, and the file is closed; `clean`: as whole. 0, or -errno: something stays in the rings, and is lost with them. */
int journal_close_file(struct journal *j, bool clean);
void journal_free(struct journal *j);

/* From here on into that file, which is new: 0 or -errno; -EBUSY: a group has been begun, try again. `first_group`: number of its first group. `seq`: of the file among the increments. */
int journal_file(struct journal *j, const char *path, uint64_t seq, uint64_t first_group);

struct journal_cut {
    uint64_t id; /* of the snapshot */
    /* On the writer's thread, when all before the cut is on disk: the file of what comes next, made by journal_new_file. 0 or -errno: the old one is
     * gone on with, and the cut has failed. */
    int (*open)(void *ctx, uint64_t first_group, struct journal_file *ret);
    void *ctx;
};
enum journal_cut_state { CUT_NONE, CUT_ARMED, CUT_PENDING, CUT_OPENING, CUT_DONE, CUT_FAILED };
/* The cut with that id is waited for. Not while another one is. */
void journal_cut_arm(struct journal *j, const struct journal_cut *c);
enum journal_cut_state journal_cut_state(const struct journal *j);
/* It is waited for no longer: `open` is not called any more. Waits while it is in it: not for the main thread. */
void journal_cut_disarm(struct journal *j);
/* A new file with its first line, on the disk, for journal_cut.open. 0 or -errno. */
int journal_new_file(struct journal_file *ret, const char *path, uint64_t seq,
                     uint64_t first_group);
/* The file that is written has a place in the manifest now. `unsynced_dir`: whose fsync has failed behind that, where a power cut may take the name away: until
 * it succeeds all is as behind an fsync of the file that has failed; NULL: none. It outlives the journal. Not for the main thread. */
void journal_named(struct journal *j, uint64_t seq, const char *path, const char *unsynced_dir);

/* The rings of a dataplane. `written`: by shard, numbers that are in the log already (a control before this one wrote them), or NULL. `tail`: what that
 * one's file held behind its last whole group. -ENODATA: a ring begins in the middle of a record that is not there. */
int journal_attach(struct journal *j, struct link *l, const uint64_t *written, struct span tail);
/* The same into no file: what comes is thrown away until a cut opens one, also the end of a record whose begin another control has taken. 0 or -errno. */
int journal_attach_late(struct journal *j, struct link *l, const uint64_t *written);
/* Nobody journals any more: take what is left, then fsync, then let go of the rings; journal_status.drained tells. `close`: the file is closed as whole too. */
void journal_drain(struct journal *j, bool close);
/* "#TS:<unix time>" lines, as aof-timestamp-enabled. */
void journal_stamps(struct journal *j, bool on);
/* appendfsync everysec rests while a snapshot is written (no-appendfsync-on-rewrite). */
void journal_rest_fsync(struct journal *j, bool on);
void journal_policy(struct journal *j, enum journal_fsync policy);
struct journal_status journal_status(struct journal *j);
