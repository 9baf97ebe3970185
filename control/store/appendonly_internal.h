/* What appendonly.c, recover.c and rewrite.c share: the log of a server. Thread: the main thread, but for what struct rewrite says. */
#pragma once

#include "control/store/appendonly.h"
#include "control/store/dir_lock.h"
#include "control/store/journal.h"
#include "control/store/manifest.h"
#include "control/store/replay.h"

/* A rewrite on its way. Made by the main thread, then in the hands of the journal's writer until the cut is done, then of the save's thread, then of the
 * main thread again: never of two. */
struct rewrite {
    struct manifest m;
    bool fresh;   /* the log begins with it: its increment is named together with its base */
    bool alone;   /* there is no log: only a base is made */
    bool named;   /* the manifest says so */
    bool dropped; /* rewrite_drop */
    bool cut_failed;
    int cut_error;
    int64_t start_ms;
    char temp[4096 + 300]; /* of the increment, when fresh */
    uint64_t old_bytes;    /* of the increment that was closed at the cut; atomic */
};

struct appendonly {
    uv_loop_t *loop;
    struct bridge *bridge;
    struct config *config;
    const struct appendonly_ops *ops;
    void *ctx;
    struct manifest m;
    bool has_manifest;
    struct dir_locks locks;
    struct journal *journal;
    bool file_open, running, beginning;
    bool
        opening; /* workers journal, and there is no base yet: `appendonly yes` while the server ran */
    bool unfinished; /* so it was when the dataplane died, or is: the log on disk is an older one */
    bool closing;    /* `appendonly no`: what is in the rings still goes into the file */
    uint64_t rdb_bytes; /* of a base that is not in total_bytes */
    uint64_t last_group, base_bytes,
        grown_from; /* grown_from: size after the last rewrite, or at start */
    struct replay *replay;
    struct replay_file *files;
    uint32_t nfiles;
    uint64_t total_bytes;
    bool adopts;   /* what the files lack is in the rings of a dataplane */
    uint8_t *tail; /* what the last file held behind its last whole group, then */
    size_t tail_bytes;
    char torn[8192]; /* the file that still has it; it is cut when the next one has it all */
    uint64_t torn_at, torn_group;
    bool torn_before, empty_before; /* the file looked at last was */
    uv_timer_t poll;
    int gone_on_failed; /* -errno: what the rings hold is in no file, and there is nobody to put it there */
    bool told_full;
    int64_t full_ms; /* when it was told last */
    uint64_t told_refused;
    int told_error; /* of the journal, in the log */
    uint64_t told_missing;
    /* rewrite.c */
    struct rewrite *rewrite; /* the one that runs */
    bool rewrite_wanted;
    bool
        rewrite_again; /* it was begun and told, and what a snapshot of before left is tidied up first */
    bool rewrite_ok;
    uint32_t rewrite_failures; /* since the last that succeeded */
    uint64_t rewrites;
    int64_t rewrite_took_ms, rewrite_next_ms; /* took: -1: none yet */
};

/* recover.c: the files that were looked at are let go of; the end of one that the next has whole is cut off. */
void appendonly_unmap(struct appendonly *a);
void appendonly_cut_torn(struct appendonly *a);
bool appendonly_all_journal(struct appendonly *a);
void appendonly_publish(struct appendonly *a);
