/* Statistics page of one worker, made from metrics.def. The worker writes (STAT_ADD/STAT_SET), control reads (STAT_GET).
 * Relaxed is enough: each field stands alone, has one writer, and a reader needs no order between fields. */
#pragma once

#include <stdint.h>

#include "engine/base/hist.h"

#define STATS_ERRORS 32

/* What ports do for the stack (dataplane/net/offload.h); of several families or workers the largest state counts. */
enum stats_offload {
    STATS_OFFLOAD_TX_SUM,
    STATS_OFFLOAD_TSO,
    STATS_OFFLOAD_RX_SUM,
    STATS_OFFLOAD_VLAN_STRIP,
    STATS_OFFLOADS
};
enum stats_offload_state { OFFLOAD_NONE, OFFLOAD_TRIAL, OFFLOAD_ON, OFFLOAD_FAILED };

extern const char *const stats_offload_names[STATS_OFFLOADS],
    *const stats_offload_words[STATS_OFFLOADS];
extern const char *const stats_offload_states[OFFLOAD_FAILED + 1];

/* Error replies by their first word ("ERR", "WRONGTYPE"). A slot is taken when its code is first seen (code before count); the last slot
 * collects what finds no room. Writer: the worker. */
struct stats_error {
    char code[16]; /* NUL-terminated; "" free */
    uint64_t count;
};

struct stats_worker {
#define METRIC(name, kind, section, field, help) uint64_t name;
#include "engine/link/metrics.def"
#undef METRIC
    uint64_t db_keys[16], db_expires[16], db_avg_ttl_ms[16];
    struct stats_error errors[STATS_ERRORS];
    uint64_t offload[STATS_OFFLOADS]; /* enum stats_offload_state */
    struct hist loop_busy_ns;         /* length of a turn that did work */
    uint64_t loop_own_max_ns; /* the longest, without what others had of its processor meanwhile */
};

#define STAT_GET(f)    __atomic_load_n(&(f), __ATOMIC_RELAXED)
#define STAT_SET(f, v) __atomic_store_n(&(f), (v), __ATOMIC_RELAXED)
#define STAT_ADD(f, v) stat_add(&(f), (v))
#define STAT_INC(f)    STAT_ADD(f, 1)
/* A load, an addition and a store, none of which tears; compilers do not make one instruction of the relaxed builtins. */
static inline __attribute__((always_inline)) void stat_add(uint64_t *f, uint64_t v)
{
#if defined(__x86_64__) && !defined(BAREWIRE_SANITIZE)
    __asm__("addq %1, %0" : "+m"(*f) : "er"(v) : "cc");
#else
    __atomic_store_n(f, __atomic_load_n(f, __ATOMIC_RELAXED) + v, __ATOMIC_RELAXED);
#endif
}
/* Counts one error reply under its code. */
void stats_count_error(struct stats_worker *s, const char *code);
