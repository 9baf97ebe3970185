/* link, the pages: statistics, rings, config page, life signs, the bell. Layout in layout.h, opening in link.c.
 * Each function says in link.h which process calls it; workers may call the readers at any time. */
#include <errno.h>
#include <limits.h>
#include <linux/futex.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "engine/link/link_internal.h"

static uint8_t *at(const struct link *l, size_t offset)
{
    ASSERT(offset < l->total);
    return (uint8_t *)l->h + offset;
}

static uint8_t *worker_at(const struct link *l, uint32_t worker, size_t offset)
{
    ASSERT(worker < l->workers);
    return at(l, LINK_WORKERS_OFFSET + (size_t)worker * LINK_WORKER_SPAN + offset);
}

uint32_t link_workers(const struct link *l)
{
    return l->workers;
}

uint32_t link_generation(const struct link *l)
{
    return __atomic_load_n(&l->h->generation, __ATOMIC_ACQUIRE);
}

uint32_t link_control_generation(const struct link *l)
{
    return __atomic_load_n(&l->h->control_generation, __ATOMIC_ACQUIRE);
}

struct stats_worker *link_stats(struct link *l, uint32_t worker)
{
    return (struct stats_worker *)worker_at(l, worker, 0);
}

struct link_cmdstat *link_cmdstats(struct link *l, uint32_t worker)
{
    return (struct link_cmdstat *)worker_at(l, worker, LINK_CMDSTATS_OFFSET);
}

struct time_hist *link_times(struct link *l, uint32_t worker)
{
    return (struct time_hist *)worker_at(l, worker, LINK_TIMES_OFFSET);
}

struct link_control *link_control_stats(struct link *l)
{
    return (struct link_control *)at(l, LINK_CONTROL_OFFSET);
}

/* ---- rings ---- */

static struct ring_shm *ring_to(struct link *l, uint32_t worker)
{
    return (struct ring_shm *)worker_at(l, worker, LINK_RING_TO_OFFSET);
}

static struct ring_shm *ring_from(struct link *l, uint32_t worker)
{
    return (struct ring_shm *)worker_at(l, worker, LINK_RING_FROM_OFFSET);
}

static struct ring_shm *ring_snapshot(struct link *l, uint32_t worker)
{
    return (struct ring_shm *)worker_at(l, worker, LINK_SNAPSHOT_OFFSET);
}

static struct ring_shm *ring_load(struct link *l, uint32_t worker)
{
    return (struct ring_shm *)worker_at(l, worker, LINK_LOAD_OFFSET);
}

static struct ring_shm *ring_journal(struct link *l, uint32_t worker)
{
    return (struct ring_shm *)worker_at(l, worker, LINK_JOURNAL_OFFSET);
}

void link_rings_format(struct link *l, uint32_t generation)
{
    for (uint32_t i = 0; i < l->workers; i++) {
        ring_format(ring_to(l, i), LIMIT_LINK_RING_BYTES, generation);
        ring_format(ring_from(l, i), LIMIT_LINK_RING_BYTES, generation);
        ring_format(ring_snapshot(l, i), LIMIT_LINK_BULK_BYTES, generation);
        ring_format(ring_load(l, i), LIMIT_LINK_BULK_BYTES, generation);
        ring_format(ring_journal(l, i), LIMIT_LINK_JOURNAL_BYTES, generation);
    }
}

int link_views(struct link *l)
{
    int rc = 0;
    for (uint32_t i = 0; i < l->workers && !rc; i++) {
        struct ring_shm *to = ring_to(l, i), *from = ring_from(l, i);
        rc = l->control ? ring_attach_producer(&l->to[i], to, LIMIT_LINK_RING_BYTES)
                        : ring_attach_consumer(&l->to[i], to, LIMIT_LINK_RING_BYTES);
        if (!rc)
            rc = l->control ? ring_attach_consumer(&l->from[i], from, LIMIT_LINK_RING_BYTES)
                            : ring_attach_producer(&l->from[i], from, LIMIT_LINK_RING_BYTES);
    }
    return rc;
}

struct ring *link_to_worker(struct link *l, uint32_t worker)
{
    ASSERT(worker < l->workers);
    return &l->to[worker];
}

struct ring *link_from_worker(struct link *l, uint32_t worker)
{
    ASSERT(worker < l->workers);
    return &l->from[worker];
}

int link_snapshot_ring(struct link *l, uint32_t worker, struct ring *ret)
{
    struct ring_shm *shm = ring_snapshot(l, worker);
    return l->control ? ring_attach_consumer(ret, shm, LIMIT_LINK_BULK_BYTES)
                      : ring_attach_producer(ret, shm, LIMIT_LINK_BULK_BYTES);
}

int link_load_ring(struct link *l, uint32_t worker, struct ring *ret)
{
    struct ring_shm *shm = ring_load(l, worker);
    return l->control ? ring_attach_producer(ret, shm, LIMIT_LINK_BULK_BYTES)
                      : ring_attach_consumer(ret, shm, LIMIT_LINK_BULK_BYTES);
}

int link_journal_ring(struct link *l, uint32_t worker, struct ring *ret)
{
    struct ring_shm *shm = ring_journal(l, worker);
    return l->control ? ring_attach_consumer(ret, shm, LIMIT_LINK_JOURNAL_BYTES)
                      : ring_attach_producer(ret, shm, LIMIT_LINK_JOURNAL_BYTES);
}

struct link_journal *link_journal(struct link *l)
{
    return (struct link_journal *)at(l, LINK_DURABLE_OFFSET);
}

bool link_refresh(struct link *l)
{
    uint32_t generation = link_generation(l);
    if (generation == l->seen_generation || link_views(l))
        return false;
    l->seen_generation = generation;
    return true;
}

/* ---- config page ---- */

static struct link_config *config_page(const struct link *l)
{
    return (struct link_config *)at(l, LINK_CONFIG_OFFSET);
}

/* Word by word: the sequence number around it says whether the words belong together. Acquire on each load and release on each store
 * keep the words between the two looks at (or writes of) that number; on x86 they cost nothing. */
static void copy_words(void *to, const void *from, size_t n)
{
    uint64_t *t = to;
    const uint64_t *f = from;
    for (size_t i = 0; i < n / 8; i++)
        __atomic_store_n(&t[i], __atomic_load_n(&f[i], __ATOMIC_ACQUIRE), __ATOMIC_RELEASE);
}

void link_config_publish(struct link *l, const struct engine_config *c)
{
    struct link_config *page = config_page(l);
    /* Odd already: a control process died in the middle; this write mends it. */
    uint64_t odd = __atomic_load_n(&page->sequence, __ATOMIC_RELAXED) | 1;
    __atomic_store_n(&page->sequence, odd, __ATOMIC_RELAXED);
    copy_words(&page->value, c, sizeof *c);
    __atomic_store_n(&page->sequence, odd + 1, __ATOMIC_RELEASE);
}

uint64_t link_config_version(const struct link *l)
{
    return __atomic_load_n(&config_page(l)->sequence, __ATOMIC_RELAXED);
}

bool link_config_read(struct link *l, struct engine_config *ret, uint64_t *ret_version)
{
    const struct link_config *page = config_page(l);
    struct engine_config c;
    uint64_t before = __atomic_load_n(&page->sequence, __ATOMIC_ACQUIRE);
    if (before & 1)
        return false;
    copy_words(&c, &page->value, sizeof c);
    if (__atomic_load_n(&page->sequence, __ATOMIC_RELAXED) != before)
        return false;
    if (c.net_allow_count > LIMIT_NET_ALLOW || c.net_allow6_count > LIMIT_NET_ALLOW ||
        c.requirepass_len > LIMIT_PASSWORD_BYTES)
        return false;
    *ret = c;
    *ret_version = before;
    return true;
}

/* ---- life signs ---- */

void link_dp_set_state(struct link *l, enum link_dp_state state, pid_t pid)
{
    __atomic_store_n(&l->h->dp_pid, pid, __ATOMIC_RELAXED);
    __atomic_store_n(&l->h->dp_state, (uint32_t)state, __ATOMIC_RELEASE);
}

enum link_dp_state link_dp_state(struct link *l, pid_t *ret_pid)
{
    uint32_t state = __atomic_load_n(&l->h->dp_state, __ATOMIC_ACQUIRE);
    if (ret_pid)
        *ret_pid = __atomic_load_n(&l->h->dp_pid, __ATOMIC_RELAXED);
    return state <= LINK_DP_STOPPED ? (enum link_dp_state)state : LINK_DP_NONE;
}

bool link_dp_alive(struct link *l)
{
    return link_lock_held_elsewhere(l->fd, LINK_LOCK_DATAPLANE);
}

void link_dp_set_banner(struct link *l, const char *text)
{
    size_t n = strnlen(text, LINK_BANNER_BYTES);
    __atomic_store_n(&l->h->banner_len, 0, __ATOMIC_RELEASE);
    memcpy(l->h->banner, text, n);
    __atomic_store_n(&l->h->banner_len, (uint32_t)n, __ATOMIC_RELEASE);
}

void link_dp_banner(struct link *l, char *to, size_t n)
{
    size_t len = __atomic_load_n(&l->h->banner_len, __ATOMIC_ACQUIRE);
    if (!n)
        return;
    if (len > LINK_BANNER_BYTES)
        len = LINK_BANNER_BYTES;
    if (len > n - 1)
        len = n - 1;
    memcpy(to, l->h->banner, len);
    to[len] = 0;
}

void link_control_set_pid(struct link *l, pid_t pid)
{
    __atomic_store_n(&l->h->control_pid, pid, __ATOMIC_RELAXED);
}

bool link_control_alive(struct link *l)
{
    return link_lock_held_elsewhere(l->fd, LINK_LOCK_CONTROL);
}

void link_dp_begin(struct link *l, pid_t pid)
{
    uint32_t generation = l->h->generation + 1;
    link_dp_set_state(l, LINK_DP_STARTING, pid);
    link_dp_set_banner(l, "");
    for (uint32_t i = 0; i < l->workers; i++) {
        memset(link_stats(l, i), 0, sizeof(struct stats_worker));
        memset(link_cmdstats(l, i), 0, sizeof(struct link_cmdstat) * LINK_COMMANDS);
        for (uint32_t k = 0; k < LINK_COMMANDS; k++)
            if (time_hist_count(&link_times(l, i)[k])) /* what was never written takes no memory */
                memset(&link_times(l, i)[k], 0, sizeof(struct time_hist));
    }
    memset(link_journal(l), 0, sizeof(struct link_journal));
    link_rings_format(l, generation);
    CHECK(link_views(l) == 0); /* just formatted; the other side only moves its own index */
    l->seen_generation = generation;
    __atomic_store_n(&l->h->generation, generation, __ATOMIC_RELEASE);
}

/* ---- the bell ---- */

static long futex(uint32_t *word, int op, uint32_t val, const struct timespec *timeout)
{
    return syscall(SYS_futex, word, op, val, timeout, NULL, 0);
}

void link_bell_ring(struct link *l)
{
    /* Our publish came before this exchange, control's exchange comes before its last look at the rings: whichever is first, one sees. */
    if (!__atomic_exchange_n(&l->h->control_asleep, 0, __ATOMIC_SEQ_CST))
        return;
    __atomic_add_fetch(&l->h->bell, 1, __ATOMIC_RELEASE);
    futex(&l->h->bell, FUTEX_WAKE, INT_MAX, NULL);
}

void link_bell_arm(struct link *l)
{
    __atomic_exchange_n(&l->h->control_asleep, 1, __ATOMIC_SEQ_CST);
}

void link_bell_disarm(struct link *l)
{
    __atomic_store_n(&l->h->control_asleep, 0, __ATOMIC_RELAXED);
}

uint32_t link_bell_wait(struct link *l, uint32_t seen, uint32_t timeout_ms)
{
    struct timespec ts = {timeout_ms / 1000, (long)(timeout_ms % 1000) * 1000000};
    if (__atomic_load_n(&l->h->bell, __ATOMIC_ACQUIRE) == seen)
        futex(&l->h->bell, FUTEX_WAIT, seen, &ts);
    return __atomic_load_n(&l->h->bell, __ATOMIC_ACQUIRE);
}

/* ---- the journal's bell ---- */

void link_journal_wake(struct link *l)
{
    struct link_journal *j = link_journal(l);
    if (!__atomic_exchange_n(&j->asleep, 0, __ATOMIC_SEQ_CST))
        return;
    __atomic_add_fetch(&j->bell, 1, __ATOMIC_RELEASE);
    futex(&j->bell, FUTEX_WAKE, INT_MAX, NULL);
}

void link_journal_sleep(struct link *l, uint32_t timeout_us, bool (*idle)(void *ctx), void *ctx)
{
    struct link_journal *j = link_journal(l);
    struct timespec ts = {timeout_us / 1000000, (long)(timeout_us % 1000000) * 1000};
    uint32_t seen = __atomic_load_n(&j->bell, __ATOMIC_ACQUIRE);
    __atomic_exchange_n(&j->asleep, 1, __ATOMIC_SEQ_CST);
    if (idle(ctx))
        futex(&j->bell, FUTEX_WAIT, seen, &ts);
    __atomic_store_n(&j->asleep, 0, __ATOMIC_RELAXED);
}
