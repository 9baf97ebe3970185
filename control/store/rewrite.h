/* rewrite: the log anew: a base that is a snapshot, and the increment that begins where it was cut. In the order of the disk:
 *
 *   1  the snapshot's cut reaches the journal's writer: all before it is synced; the next increment is made and named in the manifest      [base0, ..., incr, next]
 *   2  the snapshot is whole: temporary file, fsync, rename to the next base's name                                                        [base0, ..., incr, next]
 *   3  the manifest names the new base and the next increment, everything older is history                                                 [base1, next] + history
 *   4  history is deleted, then named no more                                                                                              [base1, next]
 *
 * Whoever dies between two of these leaves a manifest that says everything. `appendonly yes` while the server runs is the same, but for 1: the increment has a
 * temporary name until 3, since nothing on disk is what comes before it. Without a log only the base is made, as in Redis. Thread: the main thread. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "control/store/appendonly.h"
#include "control/store/save.h"

/* There is a reason to begin one: it was asked for, the log has grown, or it has no base yet. */
bool rewrite_due(struct appendonly *a, int64_t now_ms);
/* Asked for: as soon as it can be. */
void rewrite_want(struct appendonly *a);
/* Fills what the snapshot `id` is to be: save_start and the cut follow, or rewrite_end. False: it cannot begin; why was logged. */
bool rewrite_begin(struct appendonly *a, uint64_t id, struct save_config *ret, int64_t now_ms);
/* Whether the cut must be told in the journal: msg_snapshot.log. */
bool rewrite_cuts_journal(const struct appendonly *a);
/* The log that it is to be is switched off: that it ends, or does not begin, is no failure. */
void rewrite_drop(struct appendonly *a);
/* The snapshot is over; NULL: it never began. */
void rewrite_end(struct appendonly *a, const struct save_result *r, int64_t now_ms);
