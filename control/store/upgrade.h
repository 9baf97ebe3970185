/* upgrade: what a start finds of a log beside, or without, a manifest.
 *
 *   dir/appendonly.aof                  a single file of before Redis 7: 1 manifest (base: that name)   2 it moves into appenddirname     as Redis 7 does it
 *   appenddirname/temp-PREFIX.begun     a log that was begun, and whose manifest is not there yet: its files are no part of anything
 *   appenddirname/PREFIX.N.*            without a manifest: parts of a log that lost it: refused
 *   temp-*                              of snapshots and rewrites that were interrupted: removed by who gets the lock of the directory
 *
 * Thread: the main thread; upgrade_begin and upgrade_begun: whoever writes the first manifest. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "control/store/manifest.h"

/* `m` as manifest_read has left it, `named`: there is one. 0: it names a log; -ENOENT: there is none, and nothing is in its way; else `err` says what is wrong. */
int upgrade_finish(struct manifest *m, const char *dir, bool named, char *err, size_t n);

/* Around the making of a log's first files, up to its first manifest. 0 or -errno. */
int upgrade_begin(const struct manifest *m);
void upgrade_begun(const struct manifest *m);

/* Temporary files that nobody writes any more. */
void upgrade_tidy(const char *dir, const char *dirname, const char *prefix);
