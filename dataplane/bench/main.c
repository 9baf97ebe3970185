/* barewire-bench, as `barewire bench`: the load generator.
 *
 *   options (args.c) -> transport (our stack over any port, or kernel sockets) -> [keys are written] -> runs (threads.c, load.c) -> report
 *
 * Exit: 0 it ran, 1 it could not, 2 the command line is wrong. */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "dataplane/bench/bench.h"
#include "engine/base/assert.h"

#define LOAD_PIPELINE 64

/* Every key, once, before anything is measured. */
static bool write_keys(struct bench *b)
{
    static struct load_result r;
    struct load_config cfg = b->cfg;
    const char *law = b->law;
    cfg.rate = cfg.seconds = cfg.warmup_s = 0;
    cfg.churn = false;
    cfg.requests = b->keys;
    cfg.pipeline = LOAD_PIPELINE;
    b->law = "sequential";
    bench_workload(b, "set");
    b->law = law;
    bool ok = bench_run(b, &cfg, &r);
    workload_fini(&b->work);
    if (ok && r.errors) {
        fprintf(stderr, "barewire bench: keys could not be written: %s\n", r.first_error);
        ok = false;
    }
    load_result_free(&r);
    return ok;
}

bool bench_files(struct bench *b, const struct load_result *r)
{
    bool ok = true;
    if (b->json)
        ok &= report_json(b->json, &b->head, &b->cfg, &b->work, r);
    if (b->csv)
        ok &= report_csv(b->csv, r);
    if (b->hgrm)
        ok &= report_hgrm(b->hgrm, r);
    return ok;
}

static bool run_test(struct bench *b, const char *test)
{
    static struct load_result r;
    bench_workload(b, test);
    b->head.test = test             ? test
                   : b->replay_path ? b->replay_path
                   : b->commands    ? b->command[0]
                                    : "set and get";
    bool ok = bench_run(b, &b->cfg, &r);
    if (ok) {
        if (b->quiet)
            printf("%s: %.0f operations a second, p50 %.1f us, p99 %.1f us%s\n", b->head.test,
                   r.rate, (double)percentile_at(&r.all, 0.5) / 1000,
                   (double)percentile_at(&r.all, 0.99) / 1000,
                   r.busy_share > REPORT_BUSY_LIMIT ? " (the client's limit)" : "");
        else
            report_print(stdout, &b->head, &b->cfg, &b->work, &r);
        fflush(stdout);
        ok = bench_files(b, &r);
        load_result_free(&r);
    }
    workload_fini(&b->work);
    return ok;
}

static bool transports_up(struct bench *b)
{
    char err[1024] = "";
    struct transport *t = NULL;
    if (b->net_argc > 1 && !b->sockets) {
        char instance[32];
        snprintf(instance, sizeof(instance), "bench-%d", (int)getpid());
        bench_net_option(b, "instance", instance);
        optind = 1;
        if (options_parse(&b->net, b->net_argc, b->net_argv, err, sizeof(err)) != OPTIONS_RUN)
            bench_bad("%s", err);
        if (!*b->net.net_port)
            bench_bad("--net-port is missing");
        t = b->t[0] =
            transport_stack(&b->net, b->host, (uint16_t)b->port, b->cpu, err, sizeof(err));
    } else {
        for (uint32_t i = 0; i < b->threads && (i == 0 || t); i++)
            t = b->t[i] = transport_socket(b->host, (uint16_t)b->port, b->path, err, sizeof(err));
    }
    if (!t)
        fprintf(stderr, "barewire bench: %s\n", err);
    return t != NULL;
}

/* The log; without a number of requests it is asked once. */
static bool replay_up(struct bench *b)
{
    char err[512];
    if (!replay_load(&b->replay, b->replay_path, err, sizeof(err))) {
        fprintf(stderr, "barewire bench: %s\n", err);
        replay_free(&b->replay);
        return false;
    }
    if (b->replay.left_out)
        fprintf(stderr,
                "barewire bench: %llu commands that belong to one connection are left out\n",
                (unsigned long long)b->replay.left_out);
    if (b->cfg.replay_speed > 0 && !b->replay.timed) {
        fprintf(stderr, "barewire bench: %s has no times\n", b->replay_path);
        return false;
    }
    if (b->cfg.requests == 0 && b->cfg.seconds <= 0)
        b->cfg.requests = b->replay.lines;
    return true;
}

static bool run_all(struct bench *b)
{
    bool mix = b->commands || b->set_share || b->get_share || b->replay_path, ok = true;
    if (b->load && !write_keys(b))
        return false;
    if (mix)
        return b->search ? bench_search(b, NULL) : run_test(b, NULL);
    char *list = strdup(b->tests), *save = NULL;
    CHECK(list);
    for (char *test = strtok_r(list, ",", &save); ok && test; test = strtok_r(NULL, ",", &save))
        ok = b->search ? bench_search(b, test) : run_test(b, test);
    free(list);
    return ok;
}

int main(int argc, char **argv)
{
    static struct bench b = {.host = "127.0.0.1",
                             .port = 6379,
                             .cpu = -1,
                             .threads = 1,
                             .channels = 1,
                             .keys = 1,
                             .tests = "set,get",
                             .sizes = "3",
                             .law = "uniform",
                             .cfg = {.clients = 50,
                                     .pipeline = 1,
                                     .poisson = true,
                                     .resp = 2,
                                     .seed = 1,
                                     .answer_timeout_s = 5}};
    if (argc == 4 && strcmp(argv[1], "compare") == 0)
        return report_compare(argv[2], argv[3]);
    b.net_argv[b.net_argc++] = strdup("barewire bench");
    b.cfg.password = getenv("REDISCLI_AUTH");
    for (int i = 1; i < argc; i++) {
        size_t n = strlen(b.line);
        bool secret = strcmp(argv[i - 1], "-a") == 0 || strcmp(argv[i - 1], "--auth") == 0;
        snprintf(b.line + n, sizeof(b.line) - n, "%s%s", n ? " " : "", secret ? "***" : argv[i]);
    }
    bench_parse(&b, argc, argv);
    if (b.list) {
        workload_list();
        return 0;
    }
    if (b.cfg.requests == 0 && b.cfg.seconds <= 0 && !b.replay_path)
        b.cfg.requests = 100000;
    if (b.path)
        snprintf(b.target, sizeof(b.target), "%s", b.path);
    else
        snprintf(b.target, sizeof(b.target), "%s port %u", b.host, (unsigned)b.port);
    signal(SIGPIPE, SIG_IGN);
    if (!b.quiet) {
        b.cfg.progress = report_progress;
        b.cfg.progress_ctx = stderr;
    }
    if (b.replay_path && !replay_up(&b))
        return 1;
    bool up = transports_up(&b), ok = false;
    if (up) {
        b.head.transport = b.t[0]->name;
        b.head.target = b.target;
        b.head.command_line = b.line;
        b.head.keys = b.keys;
        ok = run_all(&b);
    }
    for (uint32_t i = 0; i < b.threads; i++)
        if (b.t[i])
            b.t[i]->ops->destroy(b.t[i]);
    for (int i = 0; i < b.net_argc; i++)
        free(b.net_argv[i]);
    replay_free(&b.replay);
    return ok ? 0 : 1;
}
