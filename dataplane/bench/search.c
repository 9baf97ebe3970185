/* The highest rate that holds: see bench.h. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "dataplane/bench/bench.h"
#include "engine/base/bytes.h"

#define SEARCH_STEPS 12

struct step {
    double rate, p50_us, p99_us, p999_us;
    bool holds, bound;
};

struct goal {
    double share;
    uint64_t ns;
};

/* "p99<200us", "p99.9<1ms". */
static struct goal goal_parse(const char *text)
{
    char *end = (char *)"";
    struct goal g = {0};
    double percent = *text == 'p' ? strtod(text + 1, &end) : -1;
    if (percent <= 0 || percent >= 100 || *end != '<')
        bench_bad("--search: a percentile and a time, as in p99<200us, not '%s'", text);
    g.share = percent / 100;
    double v = strtod(end + 1, &end);
    double unit = !strcmp(end, "us") ? 1e3 : !strcmp(end, "ms") ? 1e6 : !strcmp(end, "s") ? 1e9 : 0;
    if (!(v > 0) || unit == 0)
        bench_bad("--search: a time in us, ms or s, not '%s'", text);
    g.ns = (uint64_t)(v * unit);
    return g;
}

/* It holds when the percentile does and the server kept up. The client's own limit ends the search too. */
static bool search_step(struct bench *b, const struct goal *g, double rate, struct step *ret)
{
    static struct load_result r;
    struct load_config cfg = b->cfg;
    cfg.rate = rate;
    cfg.requests = 0;
    if (!bench_run(b, &cfg, &r))
        return false;
    uint64_t at = percentile_at(&r.all, g->share);
    *ret = (struct step){.rate = r.rate,
                         .p50_us = (double)percentile_at(&r.all, 0.5) / 1000,
                         .p99_us = (double)percentile_at(&r.all, 0.99) / 1000,
                         .p999_us = (double)percentile_at(&r.all, 0.999) / 1000,
                         .bound = r.busy_share > REPORT_BUSY_LIMIT,
                         .holds = at <= g->ns && r.rate > rate * 0.98 && r.unanswered == 0};
    printf("%12.0f/s asked %12.0f/s answered  p50 %9.1f us  p%g %9.1f us  client %3.0f %%  %s\n",
           rate, r.rate, (double)percentile_at(&r.all, 0.5) / 1000, g->share * 100,
           (double)at / 1000, r.busy_share * 100,
           ret->holds   ? "holds"
           : ret->bound ? "does not, the client is at its limit"
                        : "does not hold");
    fflush(stdout);
    if (ret->holds)
        bench_files(b, &r);
    load_result_free(&r);
    return true;
}

/* ---- latency against rate, by gnuplot ---- */

static int by_rate(const void *a, const void *b)
{
    double x = ((const struct step *)a)->rate, y = ((const struct step *)b)->rate;
    return x < y ? -1 : x > y;
}

static void write_script(FILE *f, const struct bench *b, const struct goal *g,
                         const struct step *step, int steps, double good)
{
    const char *dot = strrchr(b->plot, '.');
    fprintf(f, "set terminal %s\nset output \"%s\"\n",
            dot && strcmp(dot, ".png") == 0 ? "png size 900,600" : "svg size 900,600", b->plot);
    fprintf(f,
            "set logscale y\nset grid\nset key left top\nset xlabel \"answered a second\"\n"
            "set ylabel \"us\"\nset title \"%s to %s over %s\" noenhanced\n",
            b->head.test, b->head.target, b->head.transport);
    if (good > 0)
        fprintf(f,
                "set arrow from %.0f, graph 0 to %.0f, graph 1 nohead dt 2\n"
                "set label \"  %.0f/s: p%g < %.0f us\" at %.0f, graph 0.9\n",
                good, good, good, g->share * 100, (double)g->ns / 1000, good);
    fprintf(f, "$steps << end\n");
    for (int i = 0; i < steps; i++)
        fprintf(f, "%.1f %.3f %.3f %.3f\n", step[i].rate, step[i].p50_us, step[i].p99_us,
                step[i].p999_us);
    fprintf(f, "end\nplot $steps using 1:2 with linespoints title \"p50\", "
               "$steps using 1:3 with linespoints title \"p99\", "
               "$steps using 1:4 with linespoints title \"p99.9\"\n");
}

static bool plot(const struct bench *b, const struct goal *g, struct step *step, int steps,
                 double good)
{
    char script[4096];
    if ((size_t)snprintf(script, sizeof(script), "%s.gp", b->plot) >= sizeof(script))
        return false;
    FILE *f = fopen(script, "w");
    if (!f) {
        fprintf(stderr, "barewire bench: %s: %s\n", script, strerror(errno));
        return false;
    }
    qsort(step, (size_t)steps, sizeof(*step), by_rate);
    write_script(f, b, g, step, steps, good);
    bool bad = ferror(f) != 0;
    if (fclose(f) != 0 || bad) {
        fprintf(stderr, "barewire bench: %s: %s\n", script, strerror(errno));
        return false;
    }
    pid_t pid = fork();
    int status = -1;
    if (pid == 0) {
        execlp("gnuplot", "gnuplot", script, (char *)NULL);
        _exit(127);
    }
    if (pid < 0 || waitpid(pid, &status, 0) < 0 || status != 0) {
        fprintf(stderr, "barewire bench: %s; its input is %s\n",
                pid > 0 && WIFEXITED(status) && WEXITSTATUS(status) == 127
                    ? "gnuplot is not installed"
                    : "gnuplot failed",
                script);
        return false;
    }
    return true;
}

bool bench_search(struct bench *b, const char *test)
{
    struct goal g = goal_parse(b->search);
    struct step step[SEARCH_STEPS];
    double rate = b->cfg.rate > 0 ? b->cfg.rate : 10000, good = 0, poor = 0;
    bool bound = false, ok = true;
    int n = 0;
    if (b->cfg.seconds <= 0)
        b->cfg.seconds = 2;
    bench_workload(b, test);
    b->head.test = test ? test : "mix";
    for (; ok && n < SEARCH_STEPS && (poor == 0 || good == 0 || poor / good > 1.03); n += ok) {
        ok = search_step(b, &g, rate, &step[n]);
        if (!ok)
            break;
        bound = step[n].holds ? bound : step[n].bound;
        if (step[n].holds)
            good = rate;
        else
            poor = rate;
        rate = poor == 0 ? rate * 2 : good == 0 ? poor / 4 : (good + poor) / 2;
    }
    if (ok && good > 0)
        printf("the highest rate that holds %s: %.0f/s%s\n", b->search, good,
               bound ? " (THE CLIENT WAS THE BOTTLENECK beyond it)" : "");
    else if (ok)
        printf("no rate was found that holds %s\n", b->search);
    if (ok && b->plot)
        ok = plot(b, &g, step, n, good);
    workload_fini(&b->work);
    return ok;
}
