/* See report.h. */
#include "dataplane/bench/report.h"

#include <errno.h>
#include <jansson.h>
#include <string.h>
#include <unistd.h>

static const struct {
    const char *name;
    double share;
} points[] = {{"p50", 0.5},  {"p90", 0.9},    {"p95", 0.95},
              {"p99", 0.99}, {"p999", 0.999}, {"p9999", 0.9999}};
#define POINTS (sizeof(points) / sizeof(points[0]))

static double us(uint64_t ns)
{
    return (double)ns / 1000;
}

void report_progress(void *to, const struct load *l, bool last)
{
    const struct load_second *s = &l->result->second[l->result->seconds_used - 1];
    bool terminal = isatty(fileno(to));
    if (!terminal)
        return;
    fprintf(to, "\r\033[K%7.1f s  %10llu/s  p50 %.1f us  p99 %.1f us  max %.1f us%s%s", s->at_s,
            (unsigned long long)s->operations, us(s->p50_ns), us(s->p99_ns), us(s->max_ns),
            s->errors ? "  errors" : "", last ? "\r\033[K" : "");
    fflush(to);
}

static bool client_bound(const struct load_result *r)
{
    return r->busy_share > REPORT_BUSY_LIMIT;
}

static void print_row(FILE *to, const char *name, const struct percentile *p, double seconds)
{
    fprintf(to, "%-18s %12llu %12.0f %9.1f", name, (unsigned long long)p->count,
            seconds > 0 ? (double)p->count / seconds : 0, percentile_mean(p) / 1000);
    for (size_t i = 0; i < POINTS; i++)
        fprintf(to, " %9.1f", us(percentile_at(p, points[i].share)));
    fprintf(to, " %9.1f\n", us(p->max));
}

void report_print(FILE *to, const struct report_head *h, const struct load_config *cfg,
                  const struct workload *w, const struct load_result *r)
{
    fprintf(to, "%s to %s over %s; %u clients, %u a batch, %llu keys", h->test, h->target,
            h->transport, cfg->clients, cfg->pipeline, (unsigned long long)h->keys);
    if (cfg->rate > 0)
        fprintf(to, "; open loop, %.0f/s (%s)", cfg->rate, cfg->poisson ? "Poisson" : "even");
    fprintf(to, "%s\n", cfg->churn ? "; a connection for each batch" : "");
    if (*h->server)
        fprintf(to, "server: %s\n", h->server);
    fprintf(to, "%-18s %12s %12s %9s", "operation", "count", "per second", "mean us");
    for (size_t i = 0; i < POINTS; i++)
        fprintf(to, " %9s", points[i].name);
    fprintf(to, " %9s\n", "max us");
    print_row(to, w->ops == 1 ? w->op[0].name : "all", &r->all, r->seconds);
    for (uint32_t i = 0; w->ops > 1 && i < w->ops; i++)
        print_row(to, w->op[i].name, &r->op[i], r->seconds);
    if (cfg->churn)
        print_row(to, "connect", &r->connect, r->seconds);
    if (cfg->subscribers) {
        print_row(to, "delivery", &r->delivery, r->seconds);
        fprintf(to, "%u subscribers received %llu messages, %llu were announced\n",
                cfg->subscribers, (unsigned long long)r->messages,
                (unsigned long long)r->published);
    }
    if (r->redirected)
        fprintf(to, "%llu requests were redirected (MOVED, ASK)\n",
                (unsigned long long)r->redirected);
    fprintf(to, "%.2f s; %.1f MB in, %.1f MB out; the client was busy %.0f %% of the time\n",
            r->seconds, (double)r->bytes_in / 1e6, (double)r->bytes_out / 1e6, r->busy_share * 100);
    if (r->errors)
        fprintf(to, "%llu error replies; the first: %s\n", (unsigned long long)r->errors,
                r->first_error);
    if (r->unanswered || r->late)
        fprintf(to, "%llu operations were not answered, %llu fell due and were never sent\n",
                (unsigned long long)r->unanswered, (unsigned long long)r->late);
    if (client_bound(r))
        fprintf(to, "THE CLIENT WAS THE BOTTLENECK: this is its limit, not the server's\n");
}

/* ---- files ---- */

static json_t *json_of(const struct percentile *p, double seconds)
{
    json_t *o = json_object();
    json_object_set_new(o, "count", json_integer((json_int_t)p->count));
    json_object_set_new(o, "per_second", json_real(seconds > 0 ? (double)p->count / seconds : 0));
    json_object_set_new(o, "mean_us", json_real(percentile_mean(p) / 1000));
    for (size_t i = 0; i < POINTS; i++) {
        char name[16];
        snprintf(name, sizeof(name), "%s_us", points[i].name);
        json_object_set_new(o, name, json_real(us(percentile_at(p, points[i].share))));
    }
    json_object_set_new(o, "max_us", json_real(us(p->max)));
    return o;
}

static json_t *json_config(const struct report_head *h, const struct load_config *cfg)
{
    return json_pack("{s:s, s:s, s:s, s:s, s:s, s:I, s:i, s:i, s:f, s:b, s:b, s:i, s:I}", "test",
                     h->test, "target", h->target, "transport", h->transport, "server", h->server,
                     "command", h->command_line, "keys", (json_int_t)h->keys, "clients",
                     (int)cfg->clients, "pipeline", (int)cfg->pipeline, "rate", cfg->rate,
                     "poisson", (int)cfg->poisson, "churn", (int)cfg->churn, "resp", (int)cfg->resp,
                     "seed", (json_int_t)cfg->seed);
}

bool report_json(const char *path, const struct report_head *h, const struct load_config *cfg,
                 const struct workload *w, const struct load_result *r)
{
    json_t *o = json_object(), *ops = json_object();
    json_object_set_new(o, "config", json_config(h, cfg));
    json_object_set_new(o, "seconds", json_real(r->seconds));
    json_object_set_new(o, "all", json_of(&r->all, r->seconds));
    for (uint32_t i = 0; i < w->ops; i++)
        json_object_set_new(ops, w->op[i].name,
                            json_of(w->ops > 1 ? &r->op[i] : &r->all, r->seconds));
    json_object_set_new(o, "operations", ops);
    if (cfg->churn)
        json_object_set_new(o, "connect", json_of(&r->connect, r->seconds));
    if (cfg->subscribers) {
        json_object_set_new(o, "delivery", json_of(&r->delivery, r->seconds));
        json_object_set_new(o, "messages", json_integer((json_int_t)r->messages));
        json_object_set_new(o, "published", json_integer((json_int_t)r->published));
    }
    if (cfg->cluster)
        json_object_set_new(o, "redirected", json_integer((json_int_t)r->redirected));
    json_object_set_new(o, "errors", json_integer((json_int_t)r->errors));
    json_object_set_new(o, "unanswered", json_integer((json_int_t)r->unanswered));
    json_object_set_new(o, "late", json_integer((json_int_t)r->late));
    json_object_set_new(o, "bytes_in", json_integer((json_int_t)r->bytes_in));
    json_object_set_new(o, "bytes_out", json_integer((json_int_t)r->bytes_out));
    json_object_set_new(o, "client_busy", json_real(r->busy_share));
    json_object_set_new(o, "client_bound", json_boolean(client_bound(r)));
    int err = json_dump_file(o, path, JSON_INDENT(2) | JSON_REAL_PRECISION(9));
    json_decref(o);
    if (err)
        fprintf(stderr, "barewire bench: %s: %s\n", path, strerror(errno));
    return !err;
}

static FILE *file_open(const char *path)
{
    FILE *f = fopen(path, "w");
    if (!f)
        fprintf(stderr, "barewire bench: %s: %s\n", path, strerror(errno));
    return f;
}

static bool file_close(FILE *f, const char *path)
{
    bool bad = ferror(f) != 0;
    if (fclose(f) != 0 || bad) {
        fprintf(stderr, "barewire bench: %s: %s\n", path, strerror(errno));
        return false;
    }
    return true;
}

bool report_csv(const char *path, const struct load_result *r)
{
    FILE *f = file_open(path);
    if (!f)
        return false;
    fprintf(f, "second,operations,errors,p50_us,p99_us,max_us\n");
    for (uint32_t i = 0; i < r->seconds_used; i++) {
        const struct load_second *s = &r->second[i];
        fprintf(f, "%.3f,%llu,%llu,%.3f,%.3f,%.3f\n", s->at_s, (unsigned long long)s->operations,
                (unsigned long long)s->errors, us(s->p50_ns), us(s->p99_ns), us(s->max_ns));
    }
    return file_close(f, path);
}

bool report_hgrm(const char *path, const struct load_result *r)
{
    FILE *f = file_open(path);
    if (!f)
        return false;
    percentile_print(&r->all, f);
    return file_close(f, path);
}

/* ---- comparing ---- */

static json_t *load_json(const char *path)
{
    json_error_t e;
    json_t *o = json_load_file(path, 0, &e);
    if (!o || !json_is_object(json_object_get(o, "all"))) {
        fprintf(stderr, "barewire bench: %s: %s\n", path, o ? "not a report" : e.text);
        json_decref(o);
        return NULL;
    }
    return o;
}

static const char *text_of(const json_t *o, const char *name)
{
    const char *s = json_string_value(json_object_get(json_object_get(o, "config"), name));
    return s ? s : "?";
}

static void compare_rows(const json_t *a, const json_t *b)
{
    const char *name;
    json_t *was;
    json_object_foreach((json_t *)a, name, was)
    {
        const json_t *is = json_object_get(b, name);
        if (!json_is_number(was) || !json_is_number(is))
            continue;
        double x = json_number_value(was), y = json_number_value(is);
        printf("  %-12s %14.1f %14.1f %8.3f\n", name, x, y, x != 0 ? y / x : 0);
    }
}

int report_compare(const char *a_path, const char *b_path)
{
    json_t *a = load_json(a_path), *b = a ? load_json(b_path) : NULL, *was;
    const char *name;
    if (!b) {
        json_decref(a);
        return 1;
    }
    printf("A: %s: %s\nB: %s: %s\n%-14s %14s %14s %8s\n", a_path, text_of(a, "command"), b_path,
           text_of(b, "command"), "", "A", "B", "B/A");
    printf("all\n");
    compare_rows(json_object_get(a, "all"), json_object_get(b, "all"));
    json_t *ops = json_object_get(a, "operations");
    json_object_foreach(ops, name, was)
    {
        const json_t *is = json_object_get(json_object_get(b, "operations"), name);
        if (json_object_size(ops) > 1 && is) {
            printf("%s\n", name);
            compare_rows(was, is);
        }
    }
    bool bound = json_is_true(json_object_get(a, "client_bound")) ||
                 json_is_true(json_object_get(b, "client_bound"));
    if (bound)
        printf("A CLIENT WAS THE BOTTLENECK of at least one of them: no comparison of servers\n");
    json_decref(a);
    json_decref(b);
    return 0;
}
