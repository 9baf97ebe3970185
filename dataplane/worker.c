/* worker: the loop of one lcore, its set-up, its idle manners, its statistics.
 *
 * In the loop: no system call of our own (but the bell to a sleeping control, and idle sleep), no lock, no log line. */
#include "dataplane/worker.h"

#include <errno.h>
#include <poll.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/prctl.h>
#include <time.h>
#include <unistd.h>

#include <rte_cycles.h>
#include <rte_mempool.h>
#include <rte_pause.h>

#include "dataplane/conn/conn_internal.h"
#include "engine/base/assert.h"

#define SPIN_NS          100000ull /* adaptive: polls hard for so long after the last work */
/* The longest sleep: frames and mail end it early, the door's and control's messages wait for it. */
#define SLEEP_NS         5000000ull
#define SLEEP_BULK_NS    200000ull /* control writes or reads a file: nobody wakes us when it has */
#define SLEEP_DURABLE_NS 50000ull  /* replies wait for the disk: nobody wakes us when it has them */
#define SLEEP_DOOR_NS    1000000ull /* while the door has clients */
/* A port without a descriptor to sleep on: growing steps that bound the wake latency. */
#define SLEEP_FIRST_NS   20000ull
#define SLEEP_LAST_NS    160000ull
#define HOUSEKEEPING_NS  1000000ull
#define TICK_BUDGET      64 /* entries per turn for expiry and lazy freeing */
#define STAGE_SAMPLE \
    7 /* of so many turns one has its stages timed: reading the clock costs as much as some stages */

/* ---- time ---- */

/* Cycles to nanoseconds by one multiplication. */
struct cycles {
    uint64_t ns_q32; /* ns a cycle, 32 bits behind the point */
};

static uint64_t cycles_ns(struct cycles c, uint64_t tsc)
{
    return (uint64_t)((unsigned __int128)tsc * c.ns_q32 >> 32);
}

/* Unix time from the vDSO once a millisecond, from the cycle counter in between. */
struct clock {
    struct cycles cycles;
    uint64_t base_tsc, base_ns;
    int64_t base_unix_us;
};

static uint64_t monotonic_ns(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (uint64_t)ts.tv_sec * 1000000000ull + (uint64_t)ts.tv_nsec;
}

static int64_t unix_us(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_REALTIME, &ts);
    return (int64_t)ts.tv_sec * 1000000 + ts.tv_nsec / 1000;
}

static void clock_set(struct clock *c)
{
    c->base_tsc = rte_rdtsc();
    c->base_ns = monotonic_ns();
    c->base_unix_us = unix_us();
}

static uint64_t clock_elapsed_ns(const struct clock *c, uint64_t tsc)
{
    return cycles_ns(c->cycles, tsc - c->base_tsc);
}

/* ---- wire: what net sends, with the driver's time told apart ---- */

static uint16_t wire_tx(void *ctx, struct rte_mbuf **pkts, uint16_t n)
{
    struct worker *w = ctx;
    if (likely_(!w->staging))
        return w->cfg.wire.tx(w->cfg.wire.ctx, pkts, n);
    uint64_t start = rte_rdtsc();
    uint16_t sent = w->cfg.wire.tx(w->cfg.wire.ctx, pkts, n);
    w->tx_tsc += rte_rdtsc() - start;
    return sent;
}

/* ---- set-up ---- */

static int init_memory(struct worker *w, const struct worker_config *c)
{
    struct siphash_key key = {c->hash_seed[0], c->hash_seed[1]};
    int err = mem_init(&w->conn_mem);
    if (err)
        return err;
    err = shard_init(&w->shard, w->id, w->count, &key, &w->config, c->seed);
    if (err)
        goto undo_mem;
    w->shard.claimed = part_claims;
    err = -ENOMEM;
    w->batch = calloc(1, sizeof(*w->batch));
    w->outbox = calloc(w->count, sizeof(*w->outbox));
    w->in = aligned_alloc(64, w->count * sizeof(*w->in));
    if (!w->batch || !w->outbox || !w->in)
        goto undo_shard;
    batch_init(w->batch);
    memset(w->in, 0, w->count * sizeof(*w->in));
    w->wake_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    if (w->wake_fd < 0) {
        err = -errno;
        goto undo_shard;
    }
    return 0;
undo_shard:
    free(w->batch);
    free(w->outbox);
    free(w->in);
    shard_fini(&w->shard);
undo_mem:
    mem_fini(&w->conn_mem);
    return err;
}

static void init_lists(struct worker *w)
{
    list_init(&w->conns);
    list_init(&w->spare_slots);
    list_init(&w->spare_rows);
    list_init(&w->spare_mails);
    list_init(&w->dirty);
    list_init(&w->dead);
    list_init(&w->leaving);
    list_init(&w->admin);
    list_init(&w->events);
    w->rings_closed = 1ull << w->id;
    list_init(&w->longs);
    list_init(&w->lease_jobs);
    list_init(&w->hold.mails);
    list_init(&w->hold.jobs);
    journal_init(w);
    list_init(&w->monitors);
    list_init(&w->blocks);
    list_init(&w->block_drops);
    wheel_node_init(&w->pause.timer.node);
    list_init(&w->lease.queue);
    list_init(&w->scatters);
    w->lease.holder = LEASE_FREE;
    wheel_init(&w->timers, monotonic_ns());
}

int worker_create(struct worker **ret, const struct worker_config *c)
{
    struct worker *w = aligned_alloc(64, (sizeof(*w) + 63) & ~(size_t)63);
    if (!w)
        return -ENOMEM;
    memset(w, 0, sizeof(*w));
    w->cfg = *c;
    w->id = c->id;
    w->count = c->count;
    w->all = c->all;
    w->link = c->link;
    w->stats = c->link ? link_stats(c->link, c->id) : &w->own_stats;
    w->config = *c->config;
    w->control_generation = c->link ? link_control_generation(c->link) : 0;
    w->rng = c->seed | 1;
    init_lists(w);
    struct siphash_key key = {c->hash_seed[0], c->hash_seed[1]};
    pubsub_init(&w->pubsub, &key);
    tracking_init(&w->tracking);
    w->tracking.gauge_clients = &w->stats->tracking_clients;
    w->tracking.gauge_prefixes = &w->stats->tracking_prefixes;
    w->tracking.gauge_broadcast = &w->stats->tracking_broadcast;
    STAT_SET(w->stats->tracking_clients, 0); /* they are counted up and down */
    STAT_SET(w->stats->tracking_prefixes, 0);
    STAT_SET(w->stats->tracking_broadcast, 0);
    w->pubsub.gauge[PUBSUB_CHANNEL] = &w->stats->pubsub_channels;
    w->pubsub.gauge[PUBSUB_PATTERN] = &w->stats->pubsub_patterns;
    w->pubsub.gauge[PUBSUB_SHARD] = &w->stats->pubsubshard_channels;
    int err = c->link ? link_snapshot_ring(c->link, c->id, &w->snapshot_ring) : 0;
    if (!err)
        err = c->link ? link_load_ring(c->link, c->id, &w->load_ring) : 0;
    if (!err)
        err = init_memory(w, c);
    if (err)
        goto undo_worker;
    w->set.count = w->lease_set.count = w->count;
    w->set.v[w->id] = &w->shard;
    err = times_init(w);
    if (err)
        goto undo_memory;
    host_init(w);
    batch_prepare(w);
    notify_configure(&w->shard);
    if (c->loading)
        load_set(w, true);
    w->nowhere = (struct reply){.muted = true, .resp = 2};
    w->cmd = route_cmd(w, NULL, NULL, 0, &w->out);
    w->out.sink = &conn_sink;
    w->cmd.may_hold = true;
    w->part_cmd = w->cmd;
    w->part_cmd.part = true;
    w->part_cmd.may_hold = false;
    struct net_wire wire = c->wire;
    wire.tx = wire_tx;
    wire.ctx = w;
    struct tcp_app app = *conn_tcp_app();
    app.ctx = w;
    w->cfg.net.engine = &w->config;
    err = net_create(&w->net, &w->cfg.net, &wire, &app, w->stats, monotonic_ns());
    explicit_bzero(w->cfg.net.secret, sizeof(w->cfg.net.secret)); /* net has its keys */
    if (err)
        goto undo_memory;
    if (w->count > 1) {
        net_set_neigh_listener(w->net, remote_neigh, w);
        net_set_stray_taker(w->net, astray_taken, w);
    }
    if (c->net.shared)
        net_set_neigh_resolver(w->net, door_ask_neigh, w);
    *ret = w;
    return 0;
undo_memory:
    times_fini(w);
    close(w->wake_fd);
    free(w->batch);
    free(w->outbox);
    free(w->in);
    shard_fini(&w->shard);
    mem_fini(&w->conn_mem);
undo_worker:
    free(w);
    return err;
}

static void drop_mail(struct worker *w)
{
    struct list *n;
    while ((n = list_pop_front(&w->lease.queue)) != NULL)
        if (list_entry(n, struct in_line, node)->kind == LINE_MAIL)
            mail_delete((struct mail *)list_entry(n, struct in_line, node));
    while ((n = list_pop_front(&w->events)) != NULL)
        free(list_entry(n, struct mail_event, node));
    for (uint32_t i = 0; i < w->count; i++) {
        if (w->outbox[i].cur)
            mail_delete(w->outbox[i].cur);
        free(w->outbox[i].queue);
    }
}

void worker_destroy(struct worker *w)
{
    block_fini(w);
    pause_fini(w);
    list_for_each_safe(n, next, &w->conns)
    {
        conn_gone(list_entry(n, struct conn, node));
    }
    list_for_each_safe(n, next, &w->leaving)
    {
        conn_gone(list_entry(n, struct conn, leaving_node));
    }
    net_destroy(w->net);
    conns_turn_end(w);
    journal_fini(w);
    drop_mail(w);
    astray_fini(w);
    hold_fini(w);
    scatters_free(w);
    list_for_each_safe(n, next, &w->admin)
    {
        struct admin_wait *a = list_entry(n, struct admin_wait, node);
        free(a->msg);
        slot_free(a->slot);
        free(a);
    }
    hop_fini(w);
    free(w->load.part);
    longs_free(w);
    shard_fini(&w->shard);
    pubsub_fini(&w->pubsub);
    reply_heap_free(&w->message);
    reply_heap_free(&w->monitor_lines);
    times_fini(w);
    free(w->named);
    free(w->spare_part); /* at rest: its parser holds nothing */
    mem_fini(&w->conn_mem);
    close(w->wake_fd);
    free(w->batch);
    free(w->outbox);
    free(w->in);
    free(w);
}

struct stats_worker *worker_stats(struct worker *w)
{
    return w->stats;
}

void worker_stop_all(struct worker **all, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++)
        __atomic_store_n(&all[i]->stop, true, __ATOMIC_RELAXED);
}

/* ---- what is done now and then ---- */

static void copy_stats(struct worker *w)
{
    struct stats_worker *s = w->stats;
    const struct shard_stats *ss = &w->shard.stats;
    STAT_SET(s->keyspace_hits, ss->hits);
    STAT_SET(s->keyspace_misses, ss->misses);
    STAT_SET(s->expired_keys, ss->expired_keys);
    STAT_SET(s->evicted_keys, ss->evicted_keys);
    STAT_SET(s->expired_time_cap, ss->expired_time_cap_reached);
    STAT_SET(s->expire_cycle_ns, times_ns(w, w->expire_tsc));
    STAT_SET(s->eviction_exceeded_ms, ss->over_ms + ss->over_now_ms);
    STAT_SET(s->eviction_exceeding_ms, ss->over_now_ms);
    STAT_SET(s->not_counted_memory, w->shard.lazy_bytes);
    STAT_SET(s->oom_refused, ss->oom_refused);
    STAT_SET(s->load_refused, ss->load_refused);
    STAT_SET(s->dirty, ss->dirty);
    STAT_SET(s->used_memory, w->shard.mem.used_bytes);
    STAT_SET(s->peak_memory, w->shard.mem.peak_bytes);
    STAT_SET(s->dataset_memory, w->shard.mem.used_bytes);
    STAT_SET(s->notifications_lost, w->shard.notices.lost);
    STAT_SET(s->tracking_keys, w->shard.track.count);
    STAT_SET(s->tracking_items, w->shard.track.items);
    STAT_SET(s->lazyfree_pending, w->shard.lazy_pending);
    STAT_SET(s->lazyfreed, ss->lazyfreed);
    STAT_SET(s->conn_memory,
             w->conn_mem.used_bytes + w->clients * sizeof(struct conn) + w->out_total);
    for (uint32_t i = 0; i < LIMIT_DATABASES; i++) {
        STAT_SET(s->db_keys[i], ks_count(&w->shard, i));
        STAT_SET(s->db_expires[i], ks_count_expires(&w->shard, i));
        STAT_SET(s->db_avg_ttl_ms[i], w->shard.db[i].avg_ttl_ms);
    }
}

static void copy_pools(struct worker *w)
{
    struct rte_mempool *pool[] = {w->cfg.net.pool, w->cfg.net.reserve};
    uint64_t used = 0, total = 0;
    for (unsigned i = 0; i < ARRAY_LEN(pool); i++) {
        if (!pool[i])
            continue;
        used += rte_mempool_in_use_count(pool[i]);
        total += pool[i]->size;
    }
    STAT_SET(w->stats->rx_queues, w->stats->rx_pkts != 0);
    STAT_SET(w->stats->mbufs_in_use, used);
    STAT_SET(w->stats->mbufs_total, total);
}

static void copy_cmdstats(struct worker *w)
{
    struct link_cmdstat *cs = link_cmdstats(w->link, w->id);
    uint64_t hz = rte_get_tsc_hz(), mhz = hz >= 1000000 ? hz / 1000000 : 1; /* 0: no EAL, a test */
    for (uint32_t i = 0; i < LINK_COMMANDS; i++) {
        STAT_SET(cs[i].calls, w->cmd_calls[i]);
        STAT_SET(cs[i].usec, w->cmd_usec[i] / mhz);
        STAT_SET(cs[i].rejected, w->cmd_rejected[i]);
        STAT_SET(cs[i].failed, w->cmd_failed[i]);
        STAT_SET(cs[i].hops, w->cmd_hops[i]);
    }
}

static void take_config(struct worker *w)
{
    struct engine_config fresh;
    uint64_t version;
    if (link_config_read(w->link, &fresh, &version)) {
        w->config = fresh;
        w->config_version = version;
        batch_prepare(w);
        notify_configure(&w->shard);
        careful_set(w, CAREFUL_MISCONF, w->config.misconf);
        journal_config(w);
    }
}

static __attribute__((noinline)) void housekeeping_now(struct worker *w)
{
    w->housekeeping_ns = w->now_ns;
    w->housekeepings++;
    conns_sweep(w);
    if (unlikely_(w->config.client_memory_bytes | w->config.client_memory_percent) &&
        (w->housekeepings & 15) == 0)
        conns_evict(w);
    if (w->lease.holder == LEASE_FREE && (w->housekeepings & 15) == 0)
        copy_stats(w);
    if (w->link && (w->housekeepings & 7) == 0)
        door_check_control(w);
    if (w->link && (w->housekeepings & 63) == 0) {
        copy_cmdstats(w);
        copy_pools(w);
    }
}

static inline void housekeeping(struct worker *w)
{
    if (unlikely_(w->now_ns - w->housekeeping_ns >= HOUSEKEEPING_NS))
        housekeeping_now(w);
}

/* ---- the loop ---- */

/* The end of a stage, in a turn that tells them apart. */
static inline void lap(struct worker *w, uint64_t *tsc, enum stage stage)
{
    if (likely_(!w->staging))
        return;
    uint64_t now = rte_rdtsc();
    w->stage_tsc[stage] += now - *tsc;
    *tsc = now;
}

static inline uint64_t lap_first(struct worker *w)
{
    w->staging = false;
    if (likely_(w->stage_wait-- != 0))
        return 0;
    w->staging = true;
    w->stage_wait = STAGE_SAMPLE - 1;
    w->tx_tsc = 0;
    return rte_rdtsc();
}

static inline void lap_last(struct worker *w, uint64_t *tsc)
{
    lap(w, tsc, STAGE_TX);
    if (unlikely_(w->staging)) {
        w->stage_tsc[STAGE_TX] -= w->tx_tsc;
        w->stage_tsc[STAGE_TXBURST] += w->tx_tsc;
    }
}

/* What the shard does by itself: keys that expire and are evicted are nobody's command. */
static bool tick(struct worker *w)
{
    bool expiry = shard_expiry_due(&w->shard);
    bool watched = expiry || unlikely_(w->latency_cycles != UINT64_MAX);
    uint64_t start = watched ? rte_rdtsc() : 0;
    w->host.asker = 0;
    bool worked = shard_tick(&w->shard, TICK_BUDGET) > 0;
    uint64_t took = watched ? rte_rdtsc() - start : 0;
    if (watched && took >= w->latency_cycles)
        times_event(w, LATENCY_EXPIRE_CYCLE, took);
    if (expiry)
        w->expire_tsc += took;
    after_command(w, &w->shard);
    return worked;
}

bool worker_turn(struct worker *w, uint64_t now_ns, int64_t now_unix_us)
{
    struct rte_mbuf *pkts[LIMIT_BURST_PKTS];
    uint64_t tsc = lap_first(w);
    w->now_ns = now_ns;
    w->unix_us = now_unix_us;
    w->now_ms = (int64_t)((uint64_t)now_unix_us / 1000);
    bool mine = w->lease.holder == LEASE_FREE, many = w->count > 1;
    if (likely_(mine)) {
        w->shard.now_ms = w->now_ms;
        if (w->link && link_config_version(w->link) != w->config_version)
            take_config(w);
    }
    uint16_t n = w->cfg.rx(w->cfg.rx_ctx, pkts, LIMIT_BURST_PKTS);
    bool worked = n > 0;
    lap(w, &tsc, STAGE_RX);
    if (n) {
        net_input(w->net, pkts, n, now_ns); /* TCP hands bytes to conn_input: parsed and staged */
        lap(w, &tsc, STAGE_NET);
        batch_run(w);
        net_input_done(w->net);
    }
    if (many)
        worked |= remote_receive(w);
    if (w->link)
        worked |= door_receive(w);
    net_timers(w->net, now_ns);
    if (unlikely_(!list_empty(&w->events)))
        worked |= events_run(w);
    if (unlikely_(w->timers.count))
        worked |= client_timers_run(w);
    if (unlikely_(!list_empty(&w->block_drops)))
        block_drops(w);
    if (mine && w->lease.holder == LEASE_FREE && (!worked || (++w->loops & 7) == 0))
        worked |= tick(w);
    if (unlikely_(w->load.on))
        worked |= load_receive(w);
    else if (w->lease.holder == LEASE_FREE)
        worked |= snapshot_turn(w);
    if (many)
        lease_rounds(w);
    if (unlikely_(w->journal.busy))
        journal_turn_end_now(w);
    if (unlikely_(w->tracking.changed))
        tracking_turn_end(w);
    monitor_flush(w);
    worked |= !list_empty(&w->dirty);
    conns_turn_end(w);
    if (unlikely_(w->journal.busy))
        journal_turn_end_now(w);
    if (many)
        remote_flush(w);
    worked |= w->tracking.changed; /* by what was deferred until now */
    if (w->link)
        door_turn_end(w);
    lap(w, &tsc, STAGE_EXEC);
    if (worked || net_output_pending(w->net))
        worked |= net_output(w->net, now_ns) > 0;
    lap_last(w, &tsc);
    housekeeping(w);
    return worked;
}

/* ---- idle ---- */

static bool mail_waits(struct worker *w)
{
    for (uint32_t i = 0; i < w->count; i++) {
        if (__atomic_load_n(&w->in[i].head, __ATOMIC_SEQ_CST) != w->in[i].tail)
            return true;
    }
    return false;
}

static void sleep_until_woken(struct worker *w, uint64_t ns)
{
    struct timespec ts = {.tv_sec = (time_t)(ns / 1000000000ull),
                          .tv_nsec = (long)(ns % 1000000000ull)};
    struct pollfd fds[2] = {{.fd = w->wake_fd, .events = POLLIN},
                            {.fd = w->cfg.wait_fd, .events = POLLIN}};
    uint64_t count;
    __atomic_store_n(&w->sleeping, 1, __ATOMIC_SEQ_CST);
    if (!mail_waits(w)) /* else it came before the flag was up */
        ppoll(fds, w->cfg.wait_fd > 0 ? 2 : 1, &ts, NULL);
    __atomic_store_n(&w->sleeping, 0, __ATOMIC_RELAXED);
    if (fds[0].revents && read(w->wake_fd, &count, sizeof(count)) < 0)
        return; /* another look found it empty: nothing to do */
}

void worker_wake(struct worker *w)
{
#pragma GCC diagnostic push
#if defined(__SANITIZE_THREAD__) && !defined(__clang__)
#pragma GCC diagnostic ignored "-Wtsan" /* both sides are atomics: nothing for it to miss */
#endif
    __atomic_thread_fence(__ATOMIC_SEQ_CST); /* the mail is visible before the flag is looked at */
#pragma GCC diagnostic pop
    uint64_t one = 1;
    if (__atomic_load_n(&w->sleeping, __ATOMIC_RELAXED) &&
        __atomic_exchange_n(&w->sleeping, 0, __ATOMIC_SEQ_CST) &&
        write(w->wake_fd, &one, sizeof(one)) < 0)
        return; /* the counter is full: it is awake */
}

/* Nothing to do: poll on, yield, or sleep until frames, mail or a timer. Returns true when it slept. */
static bool idle(struct worker *w, uint64_t now_ns, bool crowded)
{
    uint64_t since = now_ns - w->last_work_ns;
    uint32_t mode = w->config.idle;
    /* While it is loaded control has more use for a processor than a worker that looks for more. */
    if (mode == IDLE_SPIN || (mode == IDLE_ADAPTIVE && since < SPIN_NS && !w->load.on)) {
        if (crowded && mode == IDLE_ADAPTIVE)
            sched_yield(); /* as many workers as processors: a client may want this one */
        else
            rte_pause();
        return false;
    }
    if (w->cfg.wait_fd > 0) {
        w->sleep_ns = w->doors ? SLEEP_DOOR_NS : SLEEP_NS;
    } else {
        w->sleep_ns = w->sleep_ns == 0 ? SLEEP_FIRST_NS : w->sleep_ns * 2;
        if (w->sleep_ns > SLEEP_LAST_NS)
            w->sleep_ns = SLEEP_LAST_NS;
    }
    uint64_t ns = w->sleep_ns, timer = net_next_timer_ns(w->net);
    if (w->timers.count && wheel_next_ns(&w->timers) < timer)
        timer = wheel_next_ns(&w->timers);
    if ((!list_empty(&w->journal.waits) || w->journal.asks) && ns > SLEEP_DURABLE_NS)
        ns = SLEEP_DURABLE_NS;
    if (timer <= now_ns)
        return false;
    if (timer - now_ns < ns)
        ns = timer - now_ns;
    if ((w->load.on || w->snapshot.state != SNAPSHOT_NONE) && ns > SLEEP_BULK_NS)
        ns = SLEEP_BULK_NS;
    sleep_until_woken(w, ns);
    return true;
}

/* How much of the time since `tsc` the thread had a processor for: reading that is a system call, so it is done once a millisecond, and after a turn
 * that took long by the clock. */
struct on_cpu {
    uint64_t tsc, cpu_ns;
    uint64_t away_tsc; /* asleep since then, or given away */
};

#define TURN_LONG_NS 50000

static void on_cpu_begin(struct on_cpu *o, uint64_t tsc)
{
    struct timespec ts;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &ts);
    *o = (struct on_cpu){.tsc = tsc,
                         .cpu_ns = (uint64_t)ts.tv_sec * 1000000000ull + (uint64_t)ts.tv_nsec};
}

/* The turn that has just ended was long: what of it was the worker's own doing, and not a neighbour's on its processor. */
static __attribute__((noinline)) void note_long(struct worker *w, struct on_cpu *o, uint64_t tsc,
                                                uint64_t turn_ns, struct cycles cycles)
{
    uint64_t there_ns = cycles_ns(cycles, tsc - o->tsc - o->away_tsc), before = o->cpu_ns;
    on_cpu_begin(o, tsc);
    uint64_t had_ns = o->cpu_ns - before, lost_ns = there_ns > had_ns ? there_ns - had_ns : 0;
    uint64_t own_ns = turn_ns > lost_ns ? turn_ns - lost_ns : 0;
    if (own_ns > STAT_GET(w->stats->loop_own_max_ns))
        STAT_SET(w->stats->loop_own_max_ns, own_ns);
}

static void account(struct worker *w, uint64_t turn_tsc, uint64_t sleep_tsc, bool worked,
                    struct cycles cycles)
{
    struct stats_worker *s = w->stats;
    uint64_t turn_ns = cycles_ns(cycles, turn_tsc);
    STAT_INC(s->loops);
    if (worked) {
        STAT_ADD(s->busy_ns, turn_ns);
        hist_add(&s->loop_busy_ns, turn_ns);
    } else {
        STAT_ADD(s->poll_ns, turn_ns);
    }
    if (unlikely_(w->staging)) {
        uint64_t *const to[STAGES] = {&s->stage_rx_ns, &s->stage_net_ns, &s->stage_exec_ns,
                                      &s->stage_tx_ns, &s->stage_txburst_ns};
        for (int i = 0; worked && i < STAGES; i++)
            STAT_ADD(*to[i], cycles_ns(cycles, w->stage_tsc[i] * STAGE_SAMPLE));
        memset(w->stage_tsc, 0, sizeof(w->stage_tsc));
    }
    if (sleep_tsc) {
        STAT_INC(s->sleeps);
        STAT_ADD(s->sleep_ns, cycles_ns(cycles, sleep_tsc));
    }
}

/* The server stops: clients hear it now, not from their own timeouts. */
static void say_goodbye(struct worker *w)
{
    list_for_each_safe(n, next, &w->conns)
    {
        struct conn *c = list_entry(n, struct conn, node);
        if (c->kind != CONN_TCP || !c->tc || c->fin_said)
            continue;
        c->fin_said = true;
        tcp_rx_hold(c->tc, 0);
        tcp_close(c->tc);
    }
    for (int i = 0; i < 64 && net_output(w->net, w->now_ns) > 0; i++) {
    }
}

int worker_run(void *worker)
{
    struct worker *w = worker;
    struct clock clock = {.cycles.ns_q32 =
                              (uint64_t)(((unsigned __int128)1000000000 << 32) / rte_get_tsc_hz())};
    bool crowded = w->count >= (uint32_t)sysconf(_SC_NPROCESSORS_ONLN);
    prctl(PR_SET_TIMERSLACK, 1);
    struct on_cpu on_cpu;
    clock_set(&clock);
    w->last_work_ns = clock.base_ns;
    net_announce(w->net, clock.base_ns);
    uint64_t tsc = rte_rdtsc();
    on_cpu_begin(&on_cpu, tsc);
    while (!__atomic_load_n(&w->stop, __ATOMIC_RELAXED)) {
        uint64_t ns = clock_elapsed_ns(&clock, tsc);
        if (ns > 1000000) {
            clock_set(&clock);
            on_cpu_begin(&on_cpu, rte_rdtsc());
            ns = 0;
        }
        uint64_t now_ns = clock.base_ns + ns;
        w->turn_tsc = tsc;
        uint64_t rung = w->link ? link_from_worker(w->link, w->id)->pos : 0;
        bool worked = worker_turn(w, now_ns, clock.base_unix_us + (int64_t)(ns / 1000));
        if (w->link && link_from_worker(w->link, w->id)->pos != rung)
            link_bell_ring(w->link);
        uint64_t after = rte_rdtsc(), slept = 0, turn = after - tsc;
        tsc = after;
        if (worked) {
            uint64_t turn_ns = cycles_ns(clock.cycles, turn);
            if (unlikely_(turn_ns > TURN_LONG_NS))
                note_long(w, &on_cpu, after, turn_ns, clock.cycles);
            w->last_work_ns = now_ns;
            w->sleep_ns = 0;
        } else if (idle(w, now_ns, crowded)) {
            tsc = rte_rdtsc();
            slept = tsc - after;
            on_cpu.away_tsc += slept;
        } else if (crowded) { /* what others did with the processor is not the next turn's */
            tsc = rte_rdtsc();
            turn += tsc - after;
            on_cpu.away_tsc += tsc - after;
        }
        account(w, turn, slept, worked, clock.cycles);
    }
    say_goodbye(w);
    return 0;
}
