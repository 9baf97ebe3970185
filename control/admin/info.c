/* info: INFO. Each section is a table of fields in the order of Redis 7.0.15; a field is a metric of the workers, a constant (what Redis
 * shows while the feature is off) or a function.
 *
 * Ours come last: # Dataplane, # Drops, # TCP. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/utsname.h>
#include <unistd.h>

#ifndef BAREWIRE_SANITIZE
#include <jemalloc/jemalloc.h>
#endif

#include "control/admin/admin_internal.h"
#include "control/config/text.h"

typedef void info_fn(const struct gathered *g, struct config_text *t);

struct field {
    const char *name;
    const char *text; /* constant */
    info_fn *fn;
    int metric; /* when neither text nor fn */
};
#define TEXT(name, value)    \
    {                        \
        name, value, NULL, 0 \
    }
#define CALC(name, fn)    \
    {                     \
        name, NULL, fn, 0 \
    }
#define STAT(name, m)           \
    {                           \
        name, NULL, NULL, M_##m \
    }

struct section {
    const char *word, *word2; /* as asked for */
    const char *title;
    const struct field *fields;
    info_fn *fn; /* further lines */
    bool by_default;
};

#define CALC_U64(name, expr)                                          \
    static void name(const struct gathered *g, struct config_text *t) \
    {                                                                 \
        text_addf(t, "%" PRIu64, (uint64_t)(expr));                   \
    }
#define CALC_STR(name, expr)                                          \
    static void name(const struct gathered *g, struct config_text *t) \
    {                                                                 \
        text_str(t, expr);                                            \
    }
#define CALC_BYTES(name, expr)                                        \
    static void name(const struct gathered *g, struct config_text *t) \
    {                                                                 \
        text_bytes(t, (uint64_t)(expr));                              \
    }
#define CALC_F(name, format, expr)                                    \
    static void name(const struct gathered *g, struct config_text *t) \
    {                                                                 \
        text_addf(t, format, (double)(expr));                         \
    }

static void text_bytes(struct config_text *t, uint64_t n)
{
    static const char units[] = "BKMGTP";
    double v = (double)n;
    unsigned u = 0;
    while (u < 5 && v >= 1024) {
        v /= 1024;
        u++;
    }
    if (u == 0)
        text_addf(t, "%" PRIu64 "B", n);
    else
        text_addf(t, "%.2f%c", v, units[u]);
}

static double ratio(uint64_t a, uint64_t b)
{
    return b ? (double)a / (double)b : 0;
}

static const struct engine_config *engine(const struct gathered *g)
{
    return &g->a->env.config->engine;
}

/* ---- Server ---- */

static void server_os(const struct gathered *g, struct config_text *t)
{
    struct utsname u;
    if (uname(&u) == 0)
        text_addf(t, "%s %s %s", u.sysname, u.release, u.machine);
}
static void server_gcc(const struct gathered *g, struct config_text *t)
{
    text_addf(t, "%d.%d.%d", __GNUC__, __GNUC_MINOR__, __GNUC_PATCHLEVEL__);
}
static uint64_t uptime(const struct gathered *g)
{
    int64_t ms = g->now_ms - g->a->env.start_ms;
    return ms > 0 ? (uint64_t)ms / 1000 : 0;
}
CALC_STR(server_version, g->a->env.version)
CALC_U64(server_arch, sizeof(void *) * 8)
CALC_U64(server_pid, getpid())
CALC_STR(server_run_id, g->a->run_id)
CALC_U64(server_port, g->a->env.config->dataplane.port)
CALC_U64(server_time, g->now_ms * 1000)
CALC_U64(server_uptime, uptime(g))
CALC_U64(server_days, uptime(g) / 86400)
CALC_U64(server_hz, engine(g)->hz)
CALC_U64(server_lru_clock, g->now_ms / 1000 & 0xffffff)
CALC_STR(server_executable, g->a->env.executable ? g->a->env.executable : "")
CALC_STR(server_config_file, g->a->env.config->file)

static const struct field server_fields[] = {
    TEXT("redis_version", "7.0.15"),
    TEXT("redis_git_sha1", "00000000"),
    TEXT("redis_git_dirty", "0"),
    TEXT("redis_build_id", "0"),
    TEXT("redis_mode", "standalone"),
    CALC("os", server_os),
    CALC("arch_bits", server_arch),
    TEXT("monotonic_clock", "POSIX clock_gettime"),
    TEXT("multiplexing_api", "dpdk"),
    TEXT("atomicvar_api", "c11-builtin"),
    CALC("gcc_version", server_gcc),
    CALC("process_id", server_pid),
    TEXT("process_supervised", "no"),
    CALC("run_id", server_run_id),
    CALC("tcp_port", server_port),
    CALC("server_time_usec", server_time),
    CALC("uptime_in_seconds", server_uptime),
    CALC("uptime_in_days", server_days),
    CALC("hz", server_hz),
    CALC("configured_hz", server_hz),
    CALC("lru_clock", server_lru_clock),
    CALC("executable", server_executable),
    CALC("config_file", server_config_file),
    TEXT("io_threads_active", "0"),
    CALC("barewire_version", server_version),
    {0},
};

/* ---- Clients ---- */

CALC_U64(clients_max, engine(g)->maxclients)

static const struct field clients_fields[] = {
    STAT("connected_clients", clients),
    TEXT("cluster_connections", "0"),
    CALC("maxclients", clients_max),
    STAT("client_recent_max_input_buffer", client_recent_max_input),
    STAT("client_recent_max_output_buffer", client_recent_max_output),
    STAT("blocked_clients", clients_blocked),
    STAT("tracking_clients", tracking_clients),
    STAT("clients_in_timeout_table", clients_in_timeout_table),
    {0},
};

/* ---- Memory. The allocator's own account is not in the pages: used_memory stands for it, and its ratios are 1. ---- */

static uint64_t used(const struct gathered *g)
{
    return g->total[M_used_memory];
}
static uint64_t peak(const struct gathered *g)
{
    return g->total[M_peak_memory] > used(g) ? g->total[M_peak_memory] : used(g);
}
static uint64_t dataset(const struct gathered *g)
{
    return g->total[M_dataset_memory];
}
static uint64_t minus(uint64_t a, uint64_t b)
{
    return a > b ? a - b : 0;
}
static void memory_frag_bytes(const struct gathered *g, struct config_text *t)
{
    text_addf(t, "%" PRId64, (int64_t)(g->dp_rss - used(g)));
}
static void memory_policy(const struct gathered *g, struct config_text *t)
{
    char *s = config_get(g->a->env.config, config_find(SPAN("maxmemory-policy")), NULL);
    text_str(t, s ? s : "");
    free(s);
}
static void memory_allocator(const struct gathered *g, struct config_text *t)
{
#ifdef BAREWIRE_SANITIZE
    text_str(t, "libc");
#else
    text_addf(t, "jemalloc-%d.%d.%d", JEMALLOC_VERSION_MAJOR, JEMALLOC_VERSION_MINOR,
              JEMALLOC_VERSION_BUGFIX);
#endif
}
CALC_U64(memory_used, used(g))
CALC_BYTES(memory_used_human, used(g))
CALC_U64(memory_rss, g->dp_rss)
CALC_BYTES(memory_rss_human, g->dp_rss)
CALC_U64(memory_peak, peak(g))
CALC_BYTES(memory_peak_human, peak(g))
CALC_F(memory_peak_perc, "%.2f%%", ratio(used(g), peak(g)) * 100)
CALC_U64(memory_overhead, minus(used(g), dataset(g)))
CALC_U64(memory_startup, g->a->startup_memory)
CALC_U64(memory_dataset, dataset(g))
CALC_F(memory_dataset_perc, "%.2f%%", ratio(dataset(g), minus(used(g), g->a->startup_memory)) * 100)
CALC_U64(memory_system, host_memory_bytes())
CALC_BYTES(memory_system_human, host_memory_bytes())
CALC_U64(memory_max, engine(g)->maxmemory_bytes)
CALC_BYTES(memory_max_human, engine(g)->maxmemory_bytes)
CALC_F(memory_rss_ratio, "%.2f", ratio(g->dp_rss, used(g)))

static const struct field memory_fields[] = {
    CALC("used_memory", memory_used),
    CALC("used_memory_human", memory_used_human),
    CALC("used_memory_rss", memory_rss),
    CALC("used_memory_rss_human", memory_rss_human),
    CALC("used_memory_peak", memory_peak),
    CALC("used_memory_peak_human", memory_peak_human),
    CALC("used_memory_peak_perc", memory_peak_perc),
    CALC("used_memory_overhead", memory_overhead),
    CALC("used_memory_startup", memory_startup),
    CALC("used_memory_dataset", memory_dataset),
    CALC("used_memory_dataset_perc", memory_dataset_perc),
    CALC("allocator_allocated", memory_used),
    CALC("allocator_active", memory_used),
    CALC("allocator_resident", memory_used),
    CALC("total_system_memory", memory_system),
    CALC("total_system_memory_human", memory_system_human),
    TEXT("used_memory_lua", "0"),
    TEXT("used_memory_vm_eval", "0"),
    TEXT("used_memory_lua_human", "0B"),
    TEXT("used_memory_scripts_eval", "0"),
    TEXT("number_of_cached_scripts", "0"),
    TEXT("number_of_functions", "0"),
    TEXT("number_of_libraries", "0"),
    TEXT("used_memory_vm_functions", "0"),
    TEXT("used_memory_vm_total", "0"),
    TEXT("used_memory_vm_total_human", "0B"),
    TEXT("used_memory_functions", "0"),
    TEXT("used_memory_scripts", "0"),
    TEXT("used_memory_scripts_human", "0B"),
    CALC("maxmemory", memory_max),
    CALC("maxmemory_human", memory_max_human),
    CALC("maxmemory_policy", memory_policy),
    TEXT("allocator_frag_ratio", "1.00"),
    TEXT("allocator_frag_bytes", "0"),
    TEXT("allocator_rss_ratio", "1.00"),
    TEXT("allocator_rss_bytes", "0"),
    CALC("rss_overhead_ratio", memory_rss_ratio),
    CALC("rss_overhead_bytes", memory_frag_bytes),
    CALC("mem_fragmentation_ratio", memory_rss_ratio),
    CALC("mem_fragmentation_bytes", memory_frag_bytes),
    STAT("mem_not_counted_for_evict", not_counted_memory),
    TEXT("mem_replication_backlog", "0"),
    TEXT("mem_total_replication_buffers", "0"),
    TEXT("mem_clients_slaves", "0"),
    STAT("mem_clients_normal", conn_memory),
    TEXT("mem_cluster_links", "0"),
    TEXT("mem_aof_buffer", "0"),
    CALC("mem_allocator", memory_allocator),
    TEXT("active_defrag_running", "0"),
    STAT("lazyfree_pending_objects", lazyfree_pending),
    STAT("lazyfreed_objects", lazyfreed),
    {0},
};

/* ---- Persistence ---- */

#define STORE_U64(name, field) CALC_U64(store_##name, g->store.field)
#define STORE_I64(name, field)                                                \
    static void store_##name(const struct gathered *g, struct config_text *t) \
    {                                                                         \
        text_addf(t, "%" PRId64, (int64_t)(g->store.field));                  \
    }
STORE_U64(loading, loading)
STORE_U64(save_keys, save_keys)
STORE_U64(save_keys_total, save_keys_total)
STORE_U64(saving, saving)
STORE_I64(last_save, last_save_s)
STORE_I64(last_took, last_save_took_s)
STORE_I64(current_took, current_save_took_s)
STORE_U64(saves, saves)
STORE_U64(load_expired, load_keys_expired)
STORE_U64(load_keys, load_keys_loaded)
STORE_U64(aof_on, aof_on)
STORE_U64(aof_rewriting, aof_rewriting)
STORE_U64(aof_scheduled, aof_rewrite_scheduled)
STORE_U64(aof_rewrites, aof_rewrites)
STORE_U64(aof_rewrite_failures, aof_rewrite_failures)
STORE_I64(aof_rewrite_took, aof_rewrite_took_s)
STORE_I64(aof_rewrite_takes, aof_current_rewrite_took_s)
CALC_STR(store_aof_rewrite_status, g->store.aof_rewrite_ok ? "ok" : "err")
CALC_STR(store_aof_status, g->store.aof_failing ? "err" : "ok")
CALC_STR(store_status, g->store.last_save_ok ? "ok" : "err")
CALC_U64(store_changes,
         g->total[M_dirty] > g->store.saved_dirty ? g->total[M_dirty] - g->store.saved_dirty : 0)

/* Only with a log that is written. */
static void lines_aof(const struct store_info *s, struct config_text *t)
{
    if (!s->aof_on)
        return;
    text_addf(t, "aof_current_size:%" PRIu64 "\r\n", s->aof_current_bytes);
    text_addf(t, "aof_base_size:%" PRIu64 "\r\n", s->aof_base_bytes);
    text_addf(t, "aof_pending_rewrite:%d\r\n", s->aof_rewrite_scheduled);
    text_addf(t, "aof_buffer_length:0\r\naof_pending_bio_fsync:0\r\n");
    text_addf(t, "aof_delayed_fsync:%" PRIu64 "\r\n", s->aof_delayed_fsync);
    text_addf(t, "aof_fsyncs:%" PRIu64 "\r\n", s->aof_fsyncs);
    text_addf(t, "aof_groups:%" PRIu64 "\r\n", s->aof_groups);
}

/* Only while the dataset is being loaded. */
static void lines_loading(const struct gathered *g, struct config_text *t)
{
    const struct store_info *s = &g->store;
    lines_aof(s, t);
    if (!s->loading)
        return;
    int64_t took = g->now_ms / 1000 - s->loading_start_s;
    double perc = s->loading_total_bytes
                      ? (double)s->loading_loaded_bytes * 100 / (double)s->loading_total_bytes
                      : 0;
    int64_t eta = perc > 0 ? (int64_t)((double)took * (100 - perc) / perc) : 1;
    text_addf(t, "loading_start_time:%" PRId64 "\r\n", s->loading_start_s);
    text_addf(t, "loading_total_bytes:%" PRIu64 "\r\n", s->loading_total_bytes);
    text_addf(t, "loading_rdb_used_mem:%" PRIu64 "\r\n", s->loading_rdb_used_mem);
    text_addf(t, "loading_loaded_bytes:%" PRIu64 "\r\n", s->loading_loaded_bytes);
    text_addf(t, "loading_loaded_perc:%.2f\r\n", perc);
    text_addf(t, "loading_eta_seconds:%" PRId64 "\r\n", eta);
}

static const struct field persistence_fields[] = {
    CALC("loading", store_loading),
    TEXT("async_loading", "0"),
    TEXT("current_cow_peak", "0"),
    TEXT("current_cow_size", "0"),
    TEXT("current_cow_size_age", "0"),
    TEXT("current_fork_perc", "0.00"),
    CALC("current_save_keys_processed", store_save_keys),
    CALC("current_save_keys_total", store_save_keys_total),
    CALC("rdb_changes_since_last_save", store_changes),
    CALC("rdb_bgsave_in_progress", store_saving),
    CALC("rdb_last_save_time", store_last_save),
    CALC("rdb_last_bgsave_status", store_status),
    CALC("rdb_last_bgsave_time_sec", store_last_took),
    CALC("rdb_current_bgsave_time_sec", store_current_took),
    CALC("rdb_saves", store_saves),
    TEXT("rdb_last_cow_size", "0"),
    CALC("rdb_last_load_keys_expired", store_load_expired),
    CALC("rdb_last_load_keys_loaded", store_load_keys),
    CALC("aof_enabled", store_aof_on),
    CALC("aof_rewrite_in_progress", store_aof_rewriting),
    CALC("aof_rewrite_scheduled", store_aof_scheduled),
    CALC("aof_last_rewrite_time_sec", store_aof_rewrite_took),
    CALC("aof_current_rewrite_time_sec", store_aof_rewrite_takes),
    CALC("aof_last_bgrewrite_status", store_aof_rewrite_status),
    CALC("aof_rewrites", store_aof_rewrites),
    CALC("aof_rewrites_consecutive_failures", store_aof_rewrite_failures),
    CALC("aof_last_write_status", store_aof_status),
    TEXT("aof_last_cow_size", "0"),
    TEXT("module_fork_in_progress", "0"),
    TEXT("module_fork_last_cow_size", "0"),
    {0},
};

/* ---- Stats ---- */

CALC_U64(stats_expire_cycle_ms, g->total[M_expire_cycle_ns] / 1000000)
CALC_U64(stats_ops, admin_rate(&g->a->ops))
CALC_F(stats_input_kbps, "%.2f", (double)admin_rate(&g->a->input) / 1024)
CALC_F(stats_output_kbps, "%.2f", (double)admin_rate(&g->a->output) / 1024)

static const struct field stats_fields[] = {
    STAT("total_connections_received", connections_received),
    STAT("total_commands_processed", commands),
    CALC("instantaneous_ops_per_sec", stats_ops),
    STAT("total_net_input_bytes", net_input_bytes),
    STAT("total_net_output_bytes", net_output_bytes),
    TEXT("total_net_repl_input_bytes", "0"),
    TEXT("total_net_repl_output_bytes", "0"),
    CALC("instantaneous_input_kbps", stats_input_kbps),
    CALC("instantaneous_output_kbps", stats_output_kbps),
    TEXT("instantaneous_input_repl_kbps", "0.00"),
    TEXT("instantaneous_output_repl_kbps", "0.00"),
    STAT("rejected_connections", connections_rejected),
    TEXT("sync_full", "0"),
    TEXT("sync_partial_ok", "0"),
    TEXT("sync_partial_err", "0"),
    STAT("expired_keys", expired_keys),
    TEXT("expired_stale_perc", "0.00"),
    STAT("expired_time_cap_reached_count", expired_time_cap),
    CALC("expire_cycle_cpu_milliseconds", stats_expire_cycle_ms),
    STAT("evicted_keys", evicted_keys),
    STAT("evicted_clients", evicted_clients),
    STAT("total_eviction_exceeded_time", eviction_exceeded_ms),
    STAT("current_eviction_exceeded_time", eviction_exceeding_ms),
    STAT("keyspace_hits", keyspace_hits),
    STAT("keyspace_misses", keyspace_misses),
    STAT("pubsub_channels", pubsub_channels),
    STAT("pubsub_patterns", pubsub_patterns),
    STAT("pubsubshard_channels", pubsubshard_channels),
    TEXT("latest_fork_usec", "0"),
    TEXT("total_forks", "0"),
    TEXT("migrate_cached_sockets", "0"),
    TEXT("slave_expires_tracked_keys", "0"),
    TEXT("active_defrag_hits", "0"),
    TEXT("active_defrag_misses", "0"),
    TEXT("active_defrag_key_hits", "0"),
    TEXT("active_defrag_key_misses", "0"),
    TEXT("total_active_defrag_time", "0"),
    TEXT("current_active_defrag_time", "0"),
    STAT("tracking_total_keys", tracking_keys),
    STAT("tracking_total_items", tracking_items),
    STAT("tracking_total_prefixes", tracking_prefixes),
    STAT("unexpected_error_replies", load_refused),
    STAT("total_error_replies", error_replies),
    TEXT("dump_payload_sanitizations", "0"),
    STAT("total_reads_processed", reads),
    STAT("total_writes_processed", writes),
    TEXT("io_threaded_reads_processed", "0"),
    TEXT("io_threaded_writes_processed", "0"),
    TEXT("reply_buffer_shrinks", "0"),
    TEXT("reply_buffer_expands", "0"),
    STAT("client_query_buffer_limit_disconnections", query_buffer_limit_closed),
    STAT("client_output_buffer_limit_disconnections", output_buffer_limit_closed),
    {0},
};

/* ---- Replication, CPU, Cluster ---- */

CALC_STR(repl_id, g->a->replid)

static const struct field replication_fields[] = {
    TEXT("role", "master"),
    TEXT("connected_slaves", "0"),
    TEXT("master_failover_state", "no-failover"),
    CALC("master_replid", repl_id),
    TEXT("master_replid2", "0000000000000000000000000000000000000000"),
    TEXT("master_repl_offset", "0"),
    TEXT("second_repl_offset", "-1"),
    TEXT("repl_backlog_active", "0"),
    TEXT("repl_backlog_size", "0"),
    TEXT("repl_backlog_first_byte_offset", "0"),
    TEXT("repl_backlog_histlen", "0"),
    {0},
};

CALC_F(cpu_sys, "%.6f", g->cpu_sys)
CALC_F(cpu_user, "%.6f", g->cpu_user)
CALC_F(cpu_sys_main, "%.6f", g->cpu_sys_main)
CALC_F(cpu_user_main, "%.6f", g->cpu_user_main)

static const struct field cpu_fields[] = {
    CALC("used_cpu_sys", cpu_sys),
    CALC("used_cpu_user", cpu_user),
    TEXT("used_cpu_sys_children", "0.000000"),
    TEXT("used_cpu_user_children", "0.000000"),
    CALC("used_cpu_sys_main_thread", cpu_sys_main),
    CALC("used_cpu_user_main_thread", cpu_user_main),
    {0},
};

static const struct field no_fields[] = {{0}};
CALC_U64(cluster_enabled, g->a->env.config->dataplane.core_addressed)
static const struct field cluster_fields[] = {CALC("cluster_enabled", cluster_enabled), {0}};

/* ---- lists ---- */

static void lines_commandstats(const struct gathered *g, struct config_text *t)
{
    for (uint32_t i = 0; i < CMD_COUNT && i < LINK_COMMANDS; i++) {
        const struct link_cmdstat *s = &g->cmd[i];
        if (!s->calls && !s->rejected && !s->failed)
            continue;
        text_addf(t,
                  "cmdstat_%s:calls=%" PRIu64 ",usec=%" PRIu64
                  ",usec_per_call=%.2f,rejected_calls=%" PRIu64 ",failed_calls=%" PRIu64 "\r\n",
                  cmd_table[i].full, s->calls, s->usec, ratio(s->usec, s->calls), s->rejected,
                  s->failed);
    }
}

/* How far requests went: to how many other workers, by mail or for their leases. */
static void lines_commandhops(const struct gathered *g, struct config_text *t)
{
    for (uint32_t i = 0; i < CMD_COUNT && i < LINK_COMMANDS; i++) {
        const struct link_cmdstat *s = &g->cmd[i];
        if (s->calls || s->hops)
            text_addf(t, "cmdhops_%s:calls=%" PRIu64 ",hops=%" PRIu64 ",hops_per_call=%.4f\r\n",
                      cmd_table[i].full, s->calls, s->hops, ratio(s->hops, s->calls));
    }
}

static void lines_latencystats(const struct gathered *g, struct config_text *t)
{
    const struct config_control *c = &g->a->env.config->control;
    if (!engine(g)->latency_tracking)
        return;
    for (uint32_t i = 0; i < CMD_COUNT && i < LINK_COMMANDS; i++) {
        struct time_hist h = {{0}};
        if (cmd_table[i].flags & CMD_HIDDEN)
            continue;
        for (uint32_t w = 0; w < g->workers; w++)
            time_hist_add_all(&h, &link_times(g->a->link, w)[i]);
        if (!time_hist_count(&h))
            continue;
        text_addf(t, "latency_percentiles_usec_%s:", cmd_table[i].full);
        for (uint32_t p = 0; p < c->percentiles_count; p++)
            text_addf(t, "%sp%.10g=%.3f", p ? "," : "", c->percentiles[p],
                      (double)time_hist_percentile(&h, c->percentiles[p]) / 1000);
        text_str(t, "\r\n");
    }
}

static void lines_errorstats(const struct gathered *g, struct config_text *t)
{
    for (uint32_t i = 0; i < g->errors_count; i++)
        text_addf(t, "errorstat_%s:count=%" PRIu64 "\r\n", g->errors[i].code, g->errors[i].count);
}

static void lines_keyspace(const struct gathered *g, struct config_text *t)
{
    for (int d = 0; d < LIMIT_DATABASES; d++)
        if (g->db_keys[d])
            text_addf(t, "db%d:keys=%" PRIu64 ",expires=%" PRIu64 ",avg_ttl=%" PRIu64 "\r\n", d,
                      g->db_keys[d], g->db_expires[d],
                      g->db_expires[d] ? g->db_ttl_sum[d] / g->db_expires[d] : 0);
}

/* ---- ours ---- */

static void lines_metrics(const struct gathered *g, struct config_text *t, int section)
{
    for (int m = 0; m < M_COUNT; m++)
        if (admin_metrics[m].section == section)
            text_addf(t, "%s:%" PRIu64 "\r\n", admin_metrics[m].field, g->total[m]);
}
static void lines_drops(const struct gathered *g, struct config_text *t)
{
    lines_metrics(g, t, METRIC_DROPS);
}
static void lines_tcp(const struct gathered *g, struct config_text *t)
{
    lines_metrics(g, t, METRIC_TCP);
}

static void lines_worker(const struct gathered *g, struct config_text *t, uint32_t w)
{
    const uint64_t *v = g->worker[w];
    const struct hist *h = &link_stats(g->a->link, w)->loop_busy_ns;
    uint64_t keys = 0;
    for (int d = 0; d < LIMIT_DATABASES; d++)
        keys += STAT_GET(link_stats(g->a->link, w)->db_keys[d]);
    text_addf(t,
              "worker%u:busy_ns=%" PRIu64 ",poll_ns=%" PRIu64 ",sleep_ns=%" PRIu64
              ",busy_pct=%.2f,loops=%" PRIu64 ",loop_busy_p50_ns=%" PRIu64
              ",loop_busy_p99_ns=%" PRIu64 ",loop_busy_p999_ns=%" PRIu64
              ",loop_busy_max_ns=%" PRIu64 ",loop_own_max_ns=%" PRIu64 ",clients=%" PRIu64
              ",commands=%" PRIu64 ",keys=%" PRIu64 ",used_memory=%" PRIu64 ",rx_packets=%" PRIu64
              ",tx_packets=%" PRIu64 "\r\n",
              w, v[M_busy_ns], v[M_poll_ns], v[M_sleep_ns], admin_busy_pct(g->a, w), v[M_loops],
              hist_quantile(h, 500), hist_quantile(h, 990), hist_quantile(h, 999),
              hist_quantile(h, 1000), STAT_GET(link_stats(g->a->link, w)->loop_own_max_ns),
              v[M_clients], v[M_commands], keys, v[M_used_memory], v[M_rx_pkts], v[M_tx_pkts]);
}

static void lines_offloads(const struct gathered *g, struct config_text *t)
{
    for (int k = 0; k < STATS_OFFLOADS; k++)
        text_addf(t, "net_offload_%s:%s\r\n", stats_offload_names[k],
                  stats_offload_states[admin_offload_state(g->a, k)]);
}

static void lines_dataplane(const struct gathered *g, struct config_text *t)
{
    static const char *const states[] = {"none", "starting", "running", "stopped"};
    const struct link_control *c = link_control_stats(g->a->link);
    text_addf(t, "dataplane_state:%s\r\n",
              (unsigned)g->dp_state < 4 ? states[g->dp_state] : "unknown");
    text_addf(t, "dataplane_pid:%d\r\n", g->dp_pid);
    text_addf(t, "dataplane_generation:%u\r\n", g->a->generation);
    text_addf(t, "dataplane_starts:%" PRIu64 "\r\n", c->dataplane_starts);
    text_addf(t, "workers:%u\r\n", g->workers);
    text_addf(t, "hops_per_command:%.4f\r\n", ratio(g->total[M_mail_sent], g->total[M_commands]));
    for (uint32_t w = 0; w < g->workers; w++)
        lines_worker(g, t, w);
    lines_offloads(g, t);
    lines_metrics(g, t, METRIC_NONE);
    lines_metrics(g, t, METRIC_DATAPLANE);
    lines_metrics(g, t, METRIC_DATAPLANE_MAX);
    text_addf(t, "door_accepted:%" PRIu64 "\r\n", c->door_accepted);
    text_addf(t, "door_refused:%" PRIu64 "\r\n", c->door_refused);
    text_addf(t, "door_input_bytes:%" PRIu64 "\r\n", c->door_input_bytes);
    text_addf(t, "door_output_bytes:%" PRIu64 "\r\n", c->door_output_bytes);
    text_addf(t, "admin_requests:%" PRIu64 "\r\n", c->admin_requests);
    text_addf(t, "control_bad_messages:%" PRIu64 "\r\n", c->bad_messages);
    text_addf(t, "neighbours_asked:%" PRIu64 "\r\n", c->neighbours_asked);
    text_addf(t, "neighbours_told:%" PRIu64 "\r\n", c->neighbours_told);
}

static const struct section sections[] = {
    {"server", NULL, "Server", server_fields, NULL, true},
    {"clients", NULL, "Clients", clients_fields, NULL, true},
    {"memory", NULL, "Memory", memory_fields, NULL, true},
    {"persistence", NULL, "Persistence", persistence_fields, lines_loading, true},
    {"stats", NULL, "Stats", stats_fields, NULL, true},
    {"replication", NULL, "Replication", replication_fields, NULL, true},
    {"cpu", NULL, "CPU", cpu_fields, NULL, true},
    {"modules", "module_list", "Modules", no_fields, NULL, true},
    {"commandstats", NULL, "Commandstats", no_fields, lines_commandstats, false},
    {"commandhops", NULL, "Commandhops", no_fields, lines_commandhops, false},
    {"errorstats", NULL, "Errorstats", no_fields, lines_errorstats, true},
    {"latencystats", NULL, "Latencystats", no_fields, lines_latencystats, false},
    {"cluster", NULL, "Cluster", cluster_fields, NULL, true},
    {"keyspace", NULL, "Keyspace", no_fields, lines_keyspace, true},
    {"dataplane", NULL, "Dataplane", no_fields, lines_dataplane, true},
    {"drops", NULL, "Drops", no_fields, lines_drops, false},
    {"tcp", NULL, "TCP", no_fields, lines_tcp, false},
};

static bool asked_for(const struct section *s, const struct span *argv, uint32_t argc)
{
    if (argc == 1)
        return s->by_default;
    for (uint32_t i = 1; i < argc; i++)
        if (span_is(argv[i], s->word) || (s->word2 && span_is(argv[i], s->word2)) ||
            span_is(argv[i], "all") || span_is(argv[i], "everything") ||
            (s->by_default && span_is(argv[i], "default")))
            return true;
    return false;
}

static void section_text(const struct gathered *g, const struct section *s, struct config_text *t)
{
    text_addf(t, "%s# %s\r\n", t->n ? "\r\n" : "", s->title);
    for (const struct field *f = s->fields; f->name; f++) {
        text_addf(t, "%s:", f->name);
        if (f->fn)
            f->fn(g, t);
        else if (f->text)
            text_str(t, f->text);
        else
            text_addf(t, "%" PRIu64, g->total[f->metric]);
        text_str(t, "\r\n");
    }
    if (s->fn)
        s->fn(g, t);
}

void admin_info(struct admin *a, const struct span *argv, uint32_t argc, struct reply *out,
                int64_t now_ms)
{
    struct gathered *g = malloc(sizeof(*g));
    struct config_text t = {0};
    size_t n = 0;

    if (!g) {
        reply_error(out, "ERR out of memory");
        return;
    }
    admin_gather(g, a, now_ms);
    for (size_t i = 0; i < sizeof(sections) / sizeof(sections[0]); i++)
        if (asked_for(&sections[i], argv, argc))
            section_text(g, &sections[i], &t);
    free(g);
    char *text = text_take(&t, &n);
    if (text)
        reply_verbatim(out, "txt", span_of(text, n));
    else
        reply_error(out, "ERR out of memory");
    free(text);
}
