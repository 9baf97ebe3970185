/* dir_lock: who writes into a directory holds its lock: the file barewire.lock there, locked with flock, which ends with its process however that dies.
 *
 *   "<pid> <instance>\n"      of the one that holds it, or held it last and did not end in order
 *
 * A server whose control died leaves its dataplane behind, with writes for that directory in its rings: nobody but the same instance gets the lock then.
 * Thread: the main thread. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#define DIR_LOCK_NAME  "barewire.lock"
#define DIR_LOCK_FILES 8

/* Those a process holds: CONFIG SET dir may add to the first one. */
struct dir_locks {
    int count;
    int fd[DIR_LOCK_FILES];
    char *dir[DIR_LOCK_FILES];
};

/* 1: it is held from now on; 0: it was already; -errno: `err` says why, with the holder's pid for -EWOULDBLOCK. `patience_ms`: for a holder that is just dying. */
int dir_locks_hold(struct dir_locks *l, const char *dir, const char *instance, int patience_ms,
                   char *err, size_t n);
/* Lets go of all. `over`: no dataplane is left behind. */
void dir_locks_free(struct dir_locks *l, bool over);
