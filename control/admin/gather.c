/* gather: the workers' pages into one struct for INFO: sums, maxima, baselines of RESETSTAT, rates.
 *
 * A page has one writer, the worker; all that is read here is read once, relaxed, and belongs to a process that may be of any mind: a value
 * below its baseline is taken as it is, names are cut at their field's end and cleaned. */
#include <ctype.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#include "control/admin/admin_internal.h"

#define METRIC(name, kind, section, field, help) \
    [M_##name] = {field, help, METRIC_##kind, METRIC_##section},
const struct metric admin_metrics[M_COUNT] = {
#include "engine/link/metrics.def"
};
#undef METRIC

static void read_metrics(const struct stats_worker *s, uint64_t to[M_COUNT])
{
#define METRIC(name, kind, section, field, help) to[M_##name] = STAT_GET(s->name);
#include "engine/link/metrics.def"
#undef METRIC
}

static uint64_t since(uint64_t value, uint64_t base)
{
    return value >= base ? value - base : value;
}

/* `dirty` tells about the dataset, not about traffic: RESETSTAT leaves it, as Redis does. */
static bool is_reset(int metric)
{
    return admin_metrics[metric].kind == METRIC_COUNTER && metric != M_dirty;
}

static void add_error(struct gathered *g, const char *code, uint64_t count)
{
    uint32_t i = 0;
    if (!count || !code[0])
        return;
    while (i < g->errors_count && strcmp(g->errors[i].code, code) != 0)
        i++;
    if (i == ADMIN_ERRORS)
        return;
    if (i == g->errors_count) {
        g->errors_count++;
        strcpy(g->errors[i].code, code);
        g->errors[i].count = 0;
    }
    g->errors[i].count += count;
}

/* The code as text that can stand in INFO: its field may hold anything. */
static void clean_code(const char from[16], char to[17])
{
    size_t i = 0;
    for (; i < 16; i++) {
        char c = __atomic_load_n(&from[i], __ATOMIC_RELAXED);
        if (!c)
            break;
        to[i] = isgraph((unsigned char)c) && c != ':' && c != ',' && c != '=' ? c : '_';
    }
    to[i] = 0;
}

static void gather_errors(struct gathered *g, const struct stats_worker *s,
                          const struct base_worker *b)
{
    char code[17];
    for (int i = 0; i < STATS_ERRORS; i++) {
        clean_code(s->errors[i].code, code);
        add_error(g, code, since(STAT_GET(s->errors[i].count), b->error[i]));
    }
}

static void gather_commands(struct gathered *g, const struct link_cmdstat *s,
                            const struct base_worker *b)
{
    for (int i = 0; i < LINK_COMMANDS; i++) {
        g->cmd[i].calls += since(STAT_GET(s[i].calls), b->cmd[i].calls);
        g->cmd[i].usec += since(STAT_GET(s[i].usec), b->cmd[i].usec);
        g->cmd[i].rejected += since(STAT_GET(s[i].rejected), b->cmd[i].rejected);
        g->cmd[i].failed += since(STAT_GET(s[i].failed), b->cmd[i].failed);
        g->cmd[i].hops += since(STAT_GET(s[i].hops), b->cmd[i].hops);
    }
}

static void gather_keyspace(struct gathered *g, const struct stats_worker *s)
{
    for (int d = 0; d < LIMIT_DATABASES; d++) {
        uint64_t expires = STAT_GET(s->db_expires[d]);
        g->db_keys[d] += STAT_GET(s->db_keys[d]);
        g->db_expires[d] += expires;
        g->db_ttl_sum[d] += STAT_GET(s->db_avg_ttl_ms[d]) * expires;
    }
}

static void gather_worker(struct gathered *g, uint32_t w)
{
    const struct stats_worker *s = link_stats(g->a->link, w);
    const struct base_worker *b = &g->a->base[w];
    uint64_t *v = g->worker[w];

    read_metrics(s, v);
    for (int m = 0; m < M_COUNT; m++) {
        if (is_reset(m))
            v[m] = since(v[m], b->metric[m]);
        if (admin_metrics[m].section == METRIC_CLIENTS_MAX ||
            admin_metrics[m].section == METRIC_DATAPLANE_MAX)
            g->total[m] = v[m] > g->total[m] ? v[m] : g->total[m];
        else
            g->total[m] += v[m];
    }
    gather_keyspace(g, s);
    gather_commands(g, link_cmdstats(g->a->link, w), b);
    gather_errors(g, s, b);
}

static void gather_own(struct gathered *g)
{
    const struct admin *a = g->a;
    for (int i = 0; i < LINK_COMMANDS; i++) {
        g->cmd[i].calls += a->own_cmd[i].calls;
        g->cmd[i].usec += a->own_cmd[i].usec;
        g->cmd[i].failed += a->own_cmd[i].failed;
    }
    for (int i = 0; i < STATS_ERRORS; i++)
        add_error(g, a->own_errors[i].code, a->own_errors[i].count);
    g->total[M_error_replies] += a->own_error_replies;
}

static int by_code(const void *x, const void *y)
{
    return strcmp(((const struct error_row *)x)->code, ((const struct error_row *)y)->code);
}

void admin_gather(struct gathered *g, struct admin *a, int64_t now_ms)
{
    double user, sys;
    pid_t pid = 0;

    memset(g, 0, sizeof(*g));
    admin_follow_generation(a);
    g->a = a;
    g->now_ms = now_ms;
    g->workers = link_workers(a->link);
    if (g->workers > LIMIT_WORKERS)
        g->workers = LIMIT_WORKERS;
    for (uint32_t w = 0; w < g->workers; w++)
        gather_worker(g, w);
    gather_own(g);
    qsort(g->errors, g->errors_count, sizeof(g->errors[0]), by_code);

    g->dp_state = link_dp_state(a->link, &pid);
    g->dp_pid = g->dp_state == LINK_DP_RUNNING || g->dp_state == LINK_DP_STARTING ? pid : 0;
    if (a->env.store)
        a->env.store(a->env.ctx, &g->store, now_ms);
    host_cpu(0, false, &g->cpu_user, &g->cpu_sys);
    if (g->dp_pid > 0) {
        g->dp_rss = host_rss_bytes(g->dp_pid);
        host_cpu(g->dp_pid, false, &user, &sys);
        g->cpu_user += user;
        g->cpu_sys += sys;
        host_cpu(g->dp_pid, true, &g->cpu_user_main, &g->cpu_sys_main);
    }
}

void admin_forget_baselines(struct admin *a)
{
    memset(a->base, 0, LIMIT_WORKERS * sizeof(*a->base));
    memset(a->turns, 0, sizeof(a->turns));
    a->generation = link_generation(a->link);
    a->startup_known = false;
}

void admin_follow_generation(struct admin *a)
{
    if (link_generation(a->link) != a->generation)
        admin_forget_baselines(a);
}

void admin_reset_stats(struct admin *a)
{
    uint32_t n = link_workers(a->link);
    admin_follow_generation(a);
    for (uint32_t w = 0; w < n && w < LIMIT_WORKERS; w++) {
        const struct stats_worker *s = link_stats(a->link, w);
        const struct link_cmdstat *c = link_cmdstats(a->link, w);
        struct base_worker *b = &a->base[w];
        read_metrics(s, b->metric);
        for (int i = 0; i < STATS_ERRORS; i++)
            b->error[i] = STAT_GET(s->errors[i].count);
        for (int i = 0; i < LINK_COMMANDS; i++)
            b->cmd[i] = (struct link_cmdstat){.calls = STAT_GET(c[i].calls),
                                              .usec = STAT_GET(c[i].usec),
                                              .rejected = STAT_GET(c[i].rejected),
                                              .failed = STAT_GET(c[i].failed),
                                              .hops = STAT_GET(c[i].hops)};
    }
    memset(a->own_cmd, 0, sizeof(a->own_cmd));
    memset(a->own_errors, 0, sizeof(a->own_errors));
    a->own_error_replies = 0;
    memset(a->ops.per_s, 0, sizeof(a->ops.per_s));
    memset(a->input.per_s, 0, sizeof(a->input.per_s));
    memset(a->output.per_s, 0, sizeof(a->output.per_s));
}

/* ---- samples every 100 ms ---- */

static void rate_sample(struct rate *r, uint64_t now, int64_t elapsed_ms, uint32_t at)
{
    uint64_t grown = now >= r->last ? now - r->last : 0; /* less: another dataplane */
    r->per_s[at] = elapsed_ms > 0 ? grown * 1000 / (uint64_t)elapsed_ms : 0;
    r->last = now;
}

uint64_t admin_rate(const struct rate *r)
{
    uint64_t sum = 0;
    for (int i = 0; i < ADMIN_SAMPLES; i++)
        sum += r->per_s[i];
    return sum / ADMIN_SAMPLES;
}

unsigned admin_offload_state(const struct admin *a, int kind)
{
    unsigned most = OFFLOAD_NONE;
    for (uint32_t w = 0; w < link_workers(a->link) && w < LIMIT_WORKERS; w++) {
        uint64_t state = STAT_GET(link_stats(a->link, w)->offload[kind]);
        if (state > most && state <= OFFLOAD_FAILED)
            most = (unsigned)state;
    }
    return most;
}

const char *admin_offload_failed(struct admin *a)
{
    for (int k = 0; k < STATS_OFFLOADS; k++) {
        unsigned was = a->offload[k];
        a->offload[k] = (uint8_t)admin_offload_state(a, k);
        if (a->offload[k] == OFFLOAD_FAILED && was != OFFLOAD_FAILED)
            return stats_offload_words[k];
    }
    return NULL;
}

void admin_tick(struct admin *a, int64_t now_ms)
{
    uint64_t commands = 0, in = 0, out = 0, used = 0, keys = 0;
    uint32_t n = link_workers(a->link), at = (a->sample + 1) % ADMIN_SAMPLES;
    int64_t elapsed = now_ms - a->sampled_ms;

    if (elapsed >= 0 && elapsed < ADMIN_TICK_MS * 9 / 10)
        return;
    admin_follow_generation(a);
    for (uint32_t w = 0; w < n && w < LIMIT_WORKERS; w++) {
        const struct stats_worker *s = link_stats(a->link, w);
        uint64_t busy = STAT_GET(s->busy_ns);
        commands += STAT_GET(s->commands);
        in += STAT_GET(s->net_input_bytes);
        out += STAT_GET(s->net_output_bytes);
        used += STAT_GET(s->used_memory);
        for (int d = 0; d < LIMIT_DATABASES; d++)
            keys += STAT_GET(s->db_keys[d]);
        a->turns[w][at] =
            (struct turn_sample){busy, busy + STAT_GET(s->poll_ns) + STAT_GET(s->sleep_ns)};
    }
    rate_sample(&a->ops, commands, elapsed, at);
    rate_sample(&a->input, in, elapsed, at);
    rate_sample(&a->output, out, elapsed, at);
    if (!a->startup_known && link_dp_state(a->link, NULL) == LINK_DP_RUNNING) {
        a->startup_known = true;
        a->startup_memory =
            keys ? 0 : used; /* keys: control came back to a server at work, nobody knows */
    }
    a->sample = at;
    a->sampled_ms = now_ms;
}

/* Share of busy time over the samples at hand (1.6 s). */
double admin_busy_pct(const struct admin *a, uint32_t worker)
{
    const struct turn_sample *now = &a->turns[worker][a->sample];
    const struct turn_sample *then = &a->turns[worker][(a->sample + 1) % ADMIN_SAMPLES];
    if (now->all_ns <= then->all_ns || now->busy_ns < then->busy_ns)
        return 0;
    return 100.0 * (double)(now->busy_ns - then->busy_ns) / (double)(now->all_ns - then->all_ns);
}
