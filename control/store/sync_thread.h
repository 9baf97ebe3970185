/* sync_thread: a thread that makes fsyncs for another one, which goes on meanwhile. One at a time.
 * sync_thread_begin to sync_thread_end: one thread, the owner. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "control/store/log_file.h"

struct sync_thread;

/* `wake`: called on the thread when one is over. NULL: no memory or thread. */
struct sync_thread *sync_thread_new(void (*wake)(void *ctx), void *ctx);
/* Waits for what is under way. Takes NULL. */
void sync_thread_free(struct sync_thread *s);
/* None is under way. The file is neither closed nor another one until it is over. */
void sync_thread_begin(struct sync_thread *s, const struct log_file *f);
bool sync_thread_busy(const struct sync_thread *s); /* begun, and sync_thread_end not called yet */
/* True: it is over, *ret_rc is its end; `wait`: when it is. False: none, or not yet. */
bool sync_thread_end(struct sync_thread *s, bool wait, int *ret_rc);
