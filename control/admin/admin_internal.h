/* Private to control/admin: what INFO knows, gathered once per request, and the tables it prints from. */
#pragma once

#include "control/admin/admin.h"
#include "engine/cmd/command_table.h"

enum metric_kind { METRIC_COUNTER, METRIC_GAUGE };
enum metric_section {
    METRIC_NONE,
    METRIC_CLIENTS,
    METRIC_CLIENTS_MAX, /* the largest of the workers, not the sum */
    METRIC_MEMORY,
    METRIC_PERSISTENCE,
    METRIC_STATS,
    METRIC_DATAPLANE,
    METRIC_DATAPLANE_MAX,
    METRIC_DROPS,
    METRIC_TCP,
};

enum metric_id {
#define METRIC(name, kind, section, field, help) M_##name,
#include "engine/link/metrics.def"
#undef METRIC
    M_COUNT
};

struct metric {
    const char *field, *help;
    uint8_t kind, section;
};
extern const struct metric admin_metrics[M_COUNT];

#define ADMIN_SAMPLES 16 /* of 100 ms, as Redis */
#define ADMIN_TICK_MS 100
#define ADMIN_ERRORS  128 /* distinct error codes over all workers */

struct error_row {
    char code[17];
    uint64_t count;
};

/* instantaneous_*: the mean of the last samples. */
struct rate {
    uint64_t last;
    uint64_t per_s[ADMIN_SAMPLES];
};

struct turn_sample { /* one worker's account of time */
    uint64_t busy_ns, all_ns;
};

struct base_worker { /* what RESETSTAT subtracts */
    uint64_t metric[M_COUNT];
    struct link_cmdstat cmd[LINK_COMMANDS];
    uint64_t error[STATS_ERRORS];
};

struct admin {
    struct admin_env env;
    struct link *link;
    uint32_t generation;      /* of the link, when the baselines were taken */
    struct base_worker *base; /* LIMIT_WORKERS of them */
    struct rate ops, input, output;
    struct turn_sample turns[LIMIT_WORKERS][ADMIN_SAMPLES];
    uint32_t sample;
    int64_t sampled_ms;
    uint64_t startup_memory;
    bool startup_known;
    uint8_t offload[STATS_OFFLOADS]; /* as admin_offload_failed has told */
    char run_id[41], replid[41];
    struct link_cmdstat own_cmd[LINK_COMMANDS]; /* commands that control ran itself */
    struct error_row own_errors[STATS_ERRORS];
    uint64_t own_error_replies;
};

/* Everything one INFO needs, after baselines. */
struct gathered {
    struct admin *a;
    int64_t now_ms;
    uint32_t workers;
    uint64_t total[M_COUNT];
    uint64_t worker[LIMIT_WORKERS][M_COUNT];
    uint64_t db_keys[LIMIT_DATABASES], db_expires[LIMIT_DATABASES], db_ttl_sum[LIMIT_DATABASES];
    struct link_cmdstat cmd[LINK_COMMANDS];
    struct error_row errors[ADMIN_ERRORS];
    uint32_t errors_count;
    int dp_pid;
    enum link_dp_state dp_state;
    uint64_t dp_rss;
    struct store_info store;
    double cpu_user, cpu_sys, cpu_user_main, cpu_sys_main;
};

/* gather.c */
void admin_gather(struct gathered *g, struct admin *a, int64_t now_ms);
void admin_forget_baselines(struct admin *a);
/* Another dataplane in the same link: its counters begin at zero. */
void admin_follow_generation(struct admin *a);
uint64_t admin_rate(const struct rate *r);
/* enum stats_offload_state: the largest of the workers. */
unsigned admin_offload_state(const struct admin *a, int kind);
double admin_busy_pct(const struct admin *a, uint32_t worker);

/* host.c */
uint64_t host_rss_bytes(int pid);
uint64_t host_memory_bytes(void);
/* Seconds of CPU of a process, or of its first thread. */
void host_cpu(int pid, bool main_thread, double *ret_user, double *ret_sys);

/* info.c */
void admin_info(struct admin *a, const struct span *argv, uint32_t argc, struct reply *out,
                int64_t now_ms);
