/* link: the shared memory in which control and dataplane meet: /dev/shm/barewire-<instance>.
 *
 *   header | config page | control statistics | worker 0: statistics, command statistics, ring to worker, ring from worker | worker 1 ...
 *
 * Created by control, or by whoever comes first; either may die at any time and attach again. Offsets only. Sizes are asserted in layout.h,
 * the layout version and the size are checked at attach: a mismatch is -EPROTO with a message that names both versions. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include <time.h>

#include "engine/base/time_hist.h"
#include "engine/link/ring.h"
#include "engine/link/stats.h"
#include "engine/shard/config.h"

#define LINK_MAGIC          0x4b4e494c57524142ull /* "BARWLINK" */
#define LINK_LAYOUT_VERSION 10
#define LINK_COMMANDS       512 /* command statistics slots per worker, by cmd_desc.index */

enum link_dp_state { LINK_DP_NONE, LINK_DP_STARTING, LINK_DP_RUNNING, LINK_DP_STOPPED };

struct link_cmdstat { /* writer: the worker */
    uint64_t calls, usec, rejected, failed;
    uint64_t hops; /* to other workers, by mail or for their leases */
    uint64_t pad[3];
};

struct link_control { /* writer: control */
    uint64_t door_clients, door_accepted, door_refused, door_input_bytes, door_output_bytes;
    uint64_t admin_requests, bad_messages, dataplane_starts;
    uint64_t neighbours_asked, neighbours_told; /* net-share kernel: by workers, to them */
};

struct link; /* one process's mapping */

/* Control: creates the region, or attaches to a living one of the same layout (its worker count may then differ from `workers`: ask
 * link_workers). `ret_fresh`: it was created, so no dataplane knows it. A region whose dataplane is dead is replaced by a fresh one;
 * -EAGAIN: but not as long as its journal rings hold something (link_open_leftover).
 * Every call counts link_control_generation up. -EBUSY: another control has it; -EPROTO: a living dataplane of another layout;
 * -EINVAL: the name; err is filled in every case. */
int link_open_control(struct link **ret, const char *instance, uint32_t workers, bool *ret_fresh,
                      char *err, size_t err_len);
/* Dataplane: attaches. -ENOENT, -EPROTO, -EBUSY (another dataplane has it) with err filled. */
int link_open_dataplane(struct link **ret, const char *instance, char *err, size_t err_len);
void link_close(struct link *l);
void link_unlink(const char *instance);

uint32_t link_workers(const struct link *l);
uint32_t link_generation(const struct link *l); /* counts dataplane starts */
struct stats_worker *link_stats(struct link *l, uint32_t worker);
struct link_cmdstat *link_cmdstats(struct link *l, uint32_t worker); /* LINK_COMMANDS of them */
struct time_hist *link_times(struct link *l, uint32_t worker);       /* LINK_COMMANDS of them */

struct link_control *link_control_stats(struct link *l);

/* Rings; each process gets its own views, made at open (dataplane: again by link_dp_begin, control: again by link_refresh). */
struct ring *link_to_worker(struct link *l, uint32_t worker);
struct ring *link_from_worker(struct link *l, uint32_t worker);

/* This side's view of a ring for much at once, in the caller's own record, since other threads than the main one use it: control's writer of
 * files takes snapshots, its reader of files gives keys to load. Void when the generation moves. -EINVAL: not a sane ring. */
int link_snapshot_ring(struct link *l, uint32_t worker, struct ring *ret);
int link_load_ring(struct link *l, uint32_t worker, struct ring *ret);
/* The journal ring of a worker. Control's side belongs to its journal's writer thread and is void when the generation moves; what it holds outlives
 * both processes. */
int link_journal_ring(struct link *l, uint32_t worker, struct ring *ret);

/* What the journal's writer tells the workers. Writer: that thread of control; reset by link_dp_begin. */
struct link_journal {
    uint64_t durable[LIMIT_WORKERS]; /* by shard: the last sequence that appendfsync calls safe */
    uint64_t written[LIMIT_WORKERS]; /* by shard: the last one given to the kernel */
    uint32_t error;                  /* errno of the write that fails now; 0: none */
    uint32_t asleep;                 /* 1: the writer waits; also cleared by who rings */
    uint32_t bell;                   /* futex word. Writers: workers (atomic add) */
    uint32_t
        asked; /* 1: a client waits for what is written to be durable. Writers: workers; cleared by the writer */
    uint64_t file; /* sequence of the increment that is being written; 0: none */
    uint32_t pad[10];
};
struct link_journal *link_journal(struct link *l);
/* Nanoseconds of a clock that all processes of the machine share and that never goes back, on no processor either. */
static inline uint64_t link_journal_clock_ns(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (uint64_t)ts.tv_sec * 1000000000ull + (uint64_t)ts.tv_nsec;
}
/* As link_bell_*, for the journal's writer. */
void link_journal_wake(struct link *l);
/* Blocks until somebody wakes, or the time is over; `idle`: looked at once more after `asleep` is set, true to really wait. */
void link_journal_sleep(struct link *l, uint32_t timeout_us, bool (*idle)(void *ctx), void *ctx);

/* The region that a server left whose both processes are gone: attached as control does, without replacing it; its rings can be drained. -ENOENT:
 * there is none, or of another layout; -EBUSY: somebody is alive. */
int link_open_leftover(struct link **ret, const char *instance);

/* Config page: written by control under a sequence lock; a worker copies it when the version moved. */
void link_config_publish(struct link *l, const struct engine_config *c);
uint64_t
link_config_version(const struct link *l); /* one relaxed load: cheap enough for every loop */
bool link_config_read(struct link *l, struct engine_config *ret,
                      uint64_t *ret_version); /* false: torn, try next loop */

/* Life signs. */
void link_dp_set_state(struct link *l, enum link_dp_state state, pid_t pid);
enum link_dp_state link_dp_state(struct link *l, pid_t *ret_pid);
void link_dp_set_banner(
    struct link *l,
    const char *text); /* plain words on port, offloads, hugepages, what is degraded */
void link_dp_banner(struct link *l, char *to, size_t n);
bool link_dp_alive(struct link *l); /* control: by the lock; a system call */
void link_control_set_pid(struct link *l, pid_t pid);
bool link_control_alive(struct link *l); /* by the lock; a system call, so off the hot path */
/* Dataplane start: counts the generation up, formats the rings, resets the worker pages. */
void link_dp_begin(struct link *l, pid_t pid);
/* Control: true when the dataplane began anew since the last look; the ring views are then made again. */
bool link_refresh(struct link *l);
/* Counts attaches of control. When it moves, a worker drops its door conns and gives up its pending admin requests. The upper half
 * of every door id is the control generation that made it: door messages of another one are leftovers of a dead control. */
uint32_t link_control_generation(const struct link *l);

/* The bell. Control sleeps when there is nothing to do; a worker that published something for control calls link_bell_ring once per
 * loop. It costs one atomic exchange, and a system call (FUTEX_WAKE) only when control sleeps. */
void link_bell_ring(struct link *l);
/* Control: arm before blocking, then look at the rings once more; disarm after. link_bell_wait blocks (a thread of its own) until
 * the bell's count is not `seen` or the time is over, and returns the count. */
void link_bell_arm(struct link *l);
void link_bell_disarm(struct link *l);
uint32_t link_bell_wait(struct link *l, uint32_t seen, uint32_t timeout_ms);
