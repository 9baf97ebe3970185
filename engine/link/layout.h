/* The bytes of the link: what lies where in /dev/shm/barewire-<instance>, who writes it, who reads it.
 *
 *   0        struct link_header     identity line, dataplane line, control line, banner
 *   +        struct link_config     config page (sequence lock)
 *   +        struct link_control    counters of the control process
 *   +        worker 0: stats_worker | link_cmdstat[LINK_COMMANDS] | time_hist[LINK_COMMANDS] | ring to worker | ring from worker |
 *                      snapshot ring (from) | load ring (to)
 *   +        worker 1 ...           every block starts on a page
 *
 * Offsets only; both sides compute them with the functions below from (workers), after they agreed on version and sizes.
 *
 * Locks. Open file description locks (F_OFD_SETLK) on single bytes of the region's file, held as long as the process
 * has it open, given back by the kernel however the process ends:
 *   byte LINK_LOCK_CONTROL    the one control process
 *   byte LINK_LOCK_DATAPLANE  the one dataplane
 * They also say who is alive: a process id can be used again, a lock can not be forgotten. Whoever took a lock looks whether the
 * path still names the same file, and starts over if it does not: a stale region is replaced by a new file, never truncated
 * under a mapping.
 *
 * Reading from the other process: each field is loaded once into a local, checked, then used. */
#pragma once

#include <assert.h>
#include <stddef.h>
#include <stdint.h>

#include "engine/base/limits.h"
#include "engine/link/link.h"
#include "engine/link/stats.h"
#include "engine/shard/config.h"

#define LINK_LOCK_CONTROL   0
#define LINK_LOCK_DATAPLANE 1
#define LINK_PAGE           4096
#define LINK_BANNER_BYTES   3072
#define RING_MAGIC          0x474e495257524142ull /* "BARWRING" */

/* ---- ring ---- */

struct ring_shm {
    /* Written by ring_format only, before anyone attaches. */
    uint64_t magic;
    uint64_t data_bytes;
    uint32_t generation;
    uint32_t pad0[11];
    /* Writer: producer. The release-store of head publishes. */
    uint64_t head;
    uint64_t pad1[7];
    /* Writer: consumer. The release-store of tail gives the bytes back. */
    uint64_t tail;
    uint64_t pad2[7];
};
static_assert(sizeof(struct ring_shm) == 192, "three cache lines");
static_assert(offsetof(struct ring_shm, head) == 64, "the producer's line");
static_assert(offsetof(struct ring_shm, tail) == 128, "the consumer's line");

/* In front of each payload. A record never wraps: where it would, a marker (len == RING_WRAP, crc over position and generation)
 * fills the rest of the lap. `seq` is the position of the record in the stream of bytes, so it needs no counter that
 * would have to be published together with head, and a record of an earlier lap can not be taken for a new one. */
struct ring_head {
    uint32_t len; /* of the payload */
    uint32_t crc; /* crc32c of len, then everything after this field, padding included */
    uint64_t seq;
    uint32_t type;
    uint32_t generation;
};
static_assert(sizeof(struct ring_head) == 24, "record header");
#define RING_WRAP 0xffffffffu

/* ---- region ---- */

struct link_header {
    /* Identity. Writer: the control process that creates the region, magic last. The first four fields keep their place in
     * every layout version, so that two versions can name each other. */
    uint64_t magic;
    uint32_t layout_version;
    uint32_t workers;
    uint64_t total_bytes;
    uint32_t header_bytes, config_bytes, control_bytes, stats_bytes, cmdstats_bytes, ring_bytes;
    uint64_t created_pid;
    uint8_t pad0[8];
    /* Writer: dataplane. */
    uint32_t generation; /* counts dataplane starts; moved last in link_dp_begin (release) */
    uint32_t dp_state;   /* enum link_dp_state */
    int32_t dp_pid;
    uint32_t banner_len; /* release-stored after the banner's text */
    uint8_t pad1[48];
    /* Writer: control. */
    uint32_t control_generation; /* counts attaches of control */
    int32_t control_pid;
    uint32_t
        control_asleep; /* 1: control blocks and wants the bell. Also cleared by the worker that rings */
    uint8_t pad2[52];
    /* Writers: workers (atomic add). Futex word of the bell, on a line of its own. */
    uint32_t bell;
    uint8_t pad3[60];
    /* Writer: dataplane, before it says RUNNING. */
    char banner[LINK_BANNER_BYTES];
    uint8_t pad4[LINK_PAGE - 4 * 64 - LINK_BANNER_BYTES];
};
static_assert(sizeof(struct link_header) == LINK_PAGE, "header page");
static_assert(offsetof(struct link_header, layout_version) == 8, "the same in every version");
static_assert(offsetof(struct link_header, total_bytes) == 16, "the same in every version");
static_assert(offsetof(struct link_header, generation) == 64, "dataplane line");
static_assert(offsetof(struct link_header, control_generation) == 128, "control line");
static_assert(offsetof(struct link_header, bell) == 192, "bell line");

/* Writer: control. Sequence lock: odd while the value is being written; the version readers see is this number. */
struct link_config {
    uint64_t sequence;
    uint64_t pad0[7];
    struct engine_config value;
};
static_assert(sizeof(struct engine_config) % 8 == 0, "copied by words");
static_assert(offsetof(struct link_config, value) == 64, "sequence has its own line");

static_assert(sizeof(struct stats_worker) % 8 == 0, "counters of 64 bits");
static_assert(sizeof(struct link_cmdstat) == 64, "a line each");
static_assert((LIMIT_LINK_RING_BYTES & (LIMIT_LINK_RING_BYTES - 1)) == 0, "power of two");
static_assert(LIMIT_LINK_MSG_BYTES * 2 < LIMIT_LINK_RING_BYTES,
              "the longest record fits with a wrap before it");

static_assert((LIMIT_LINK_BULK_BYTES & (LIMIT_LINK_BULK_BYTES - 1)) == 0 &&
                  LIMIT_LINK_MSG_BYTES * 2 < LIMIT_LINK_BULK_BYTES,
              "as the other rings");

static_assert((LIMIT_LINK_JOURNAL_BYTES & (LIMIT_LINK_JOURNAL_BYTES - 1)) == 0 &&
                  LIMIT_LINK_MSG_BYTES * 2 < LIMIT_LINK_JOURNAL_BYTES,
              "as the other rings");
static_assert(sizeof(struct link_journal) == 17 * 64, "whole lines");

static inline size_t link_pages(size_t n)
{
    return (n + LINK_PAGE - 1) & ~(size_t)(LINK_PAGE - 1);
}

/* Offsets inside a worker's block, and of the blocks. */
#define LINK_CONFIG_OFFSET   sizeof(struct link_header)
#define LINK_CONTROL_OFFSET  (LINK_CONFIG_OFFSET + link_pages(sizeof(struct link_config)))
#define LINK_DURABLE_OFFSET  (LINK_CONTROL_OFFSET + link_pages(sizeof(struct link_control)))
#define LINK_WORKERS_OFFSET  (LINK_DURABLE_OFFSET + link_pages(sizeof(struct link_journal)))
#define LINK_CMDSTATS_OFFSET link_pages(sizeof(struct stats_worker))
#define LINK_TIMES_OFFSET \
    (LINK_CMDSTATS_OFFSET + link_pages(sizeof(struct link_cmdstat) * LINK_COMMANDS))
#define LINK_RING_TO_OFFSET \
    (LINK_TIMES_OFFSET + link_pages(sizeof(struct time_hist) * LINK_COMMANDS))
#define LINK_RING_SPAN        link_pages(sizeof(struct ring_shm) + LIMIT_LINK_RING_BYTES)
#define LINK_RING_FROM_OFFSET (LINK_RING_TO_OFFSET + LINK_RING_SPAN)
#define LINK_BULK_SPAN        link_pages(sizeof(struct ring_shm) + LIMIT_LINK_BULK_BYTES)
#define LINK_SNAPSHOT_OFFSET  (LINK_RING_FROM_OFFSET + LINK_RING_SPAN)
#define LINK_LOAD_OFFSET      (LINK_SNAPSHOT_OFFSET + LINK_BULK_SPAN)
#define LINK_JOURNAL_OFFSET   (LINK_LOAD_OFFSET + LINK_BULK_SPAN)
#define LINK_JOURNAL_SPAN     link_pages(sizeof(struct ring_shm) + LIMIT_LINK_JOURNAL_BYTES)
#define LINK_WORKER_SPAN      (LINK_JOURNAL_OFFSET + LINK_JOURNAL_SPAN)

static inline size_t link_total_bytes(uint32_t workers)
{
    return LINK_WORKERS_OFFSET + (size_t)workers * LINK_WORKER_SPAN;
}
