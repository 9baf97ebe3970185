/* barewire-bench, as `barewire bench`: the load generator.
 *
 *   options -> transport (our stack over any port, or kernel sockets) -> [keys are written] -> runs -> report
 *
 * Exit: 0 it ran, 1 it could not, 2 the command line is wrong. */
#include <ctype.h>
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "dataplane/bench/report.h"
#include "dataplane/bench/transports.h"
#include "dataplane/options.h"
#include "engine/base/assert.h"
#include "engine/base/bytes.h"

#define LOAD_PIPELINE 64
#define SEARCH_STEPS  12

struct bench {
    struct load_config cfg;
    struct report_head head;
    struct workload work;
    struct options net;
    const char *host, *path, *json, *csv, *hgrm;
    const char *command[OPS_MOST];
    const char *tests, *sizes, *law, *search;
    uint32_t commands, get_share, set_share;
    uint64_t port, keys;
    bool sockets, list, load, quiet;
    char *net_argv[64];
    int net_argc, cpu;
    char target[128], line[1024];
};

enum opt {
    OPT_SECONDS = 256,
    OPT_WARMUP,
    OPT_RATE,
    OPT_ARRIVALS,
    OPT_KEYS,
    OPT_RATIO,
    OPT_COMMAND,
    OPT_LOAD,
    OPT_CHURN,
    OPT_SOCKET,
    OPT_USER,
    OPT_DB,
    OPT_JSON,
    OPT_CSV,
    OPT_HGRM,
    OPT_SEARCH,
    OPT_SEED,
    OPT_LIST,
    OPT_TIMEOUT,
    OPT_HELP,
    OPT_CPU,
    OPT_NET /* and what follows: as barewire-dataplane has them */
};

static const struct {
    struct option o;
    const char *arguments, *help;
} table[] = {
    {{"host", required_argument, NULL, 'h'}, "ADDRESS", "the server (127.0.0.1)"},
    {{"port", required_argument, NULL, 'p'}, "PORT", "its port (6379)"},
    {{"unix", required_argument, NULL, 's'}, "PATH", "its unix socket; means --socket"},
    {{"socket", no_argument, NULL, OPT_SOCKET},
     "",
     "over kernel sockets; default without --net-port"},
    {{"clients", required_argument, NULL, 'c'}, "N", "connections (50)"},
    {{"pipeline", required_argument, NULL, 'P'}, "N", "operations a client has under way (1)"},
    {{"requests", required_argument, NULL, 'n'},
     "N",
     "operations in all (100000, without --seconds)"},
    {{"seconds", required_argument, NULL, OPT_SECONDS}, "S", "length of the run"},
    {{"warmup", required_argument, NULL, OPT_WARMUP}, "S", "before it, not counted (0)"},
    {{"rate", required_argument, NULL, OPT_RATE},
     "N",
     "open loop: operations a second of all clients; latency counts from the time each was due"},
    {{"arrivals", required_argument, NULL, OPT_ARRIVALS}, "LAW", "even or poisson (poisson)"},
    {{"search", required_argument, NULL, OPT_SEARCH},
     "GOAL",
     "the highest rate that holds, as in p99<200us (with --seconds for each step)"},
    {{"tests", required_argument, NULL, 't'}, "LIST", "set,get ...; ycsb-a to ycsb-f (--list)"},
    {{"ratio", required_argument, NULL, OPT_RATIO},
     "S:G",
     "a mix of SET and GET with these weights"},
    {{"command", required_argument, NULL, OPT_COMMAND},
     "WORDS",
     "a request of your own, more than once for a mix: \"ZADD k __rand__ __rand_int__\"; also "
     "__key__ __data__ __seq__ __score__; ';' joins requests"},
    {{"data", required_argument, NULL, 'd'}, "SIZE", "of values: 64, 64-1024, 64:90,4096:10 (3)"},
    {{"keyspace", required_argument, NULL, 'r'}, "N", "number of keys (1)"},
    {{"keys", required_argument, NULL, OPT_KEYS},
     "LAW",
     "uniform, zipf, zipf:0.99, sequential, gaussian"},
    {{"load", no_argument, NULL, OPT_LOAD}, "", "first SET every key"},
    {{"churn", no_argument, NULL, OPT_CHURN},
     "",
     "a new connection for every batch; latency counts from its opening"},
    {{"resp3", no_argument, NULL, '3'}, "", "HELLO 3"},
    {{"auth", required_argument, NULL, 'a'}, "PASSWORD", "also from REDISCLI_AUTH"},
    {{"user", required_argument, NULL, OPT_USER}, "NAME", ""},
    {{"db", required_argument, NULL, OPT_DB}, "N", "SELECT it"},
    {{"json", required_argument, NULL, OPT_JSON}, "FILE", "the result"},
    {{"csv", required_argument, NULL, OPT_CSV}, "FILE", "a line a second"},
    {{"hgrm", required_argument, NULL, OPT_HGRM},
     "FILE",
     "percentiles as HdrHistogram prints them"},
    {{"seed", required_argument, NULL, OPT_SEED}, "N", "the same requests again"},
    {{"timeout", required_argument, NULL, OPT_TIMEOUT},
     "S",
     "for an answer, at the beginning and at the end (5)"},
    {{"quiet", no_argument, NULL, 'q'}, "", "only: test, operations a second, p50, p99"},
    {{"list", no_argument, NULL, OPT_LIST}, "", "the tests by name"},
    {{"help", no_argument, NULL, OPT_HELP}, "", ""},
    {{"net-port", required_argument, NULL, OPT_NET},
     "PORT",
     "our own stack over af_xdp:IFACE, tap:NAME, af_packet:IFACE, pci:ADDRESS or an EAL vdev "
     "string (net_memif0,role=client,socket=PATH)"},
    {{"cpu", required_argument, NULL, OPT_CPU}, "N", "poll on this processor (the last)"},
    {{"net-address", required_argument, NULL, OPT_NET},
     "LIST",
     "our address with prefix length there"},
    {{"net-gateway", required_argument, NULL, OPT_NET}, "LIST", ""},
    {{"net-mtu", required_argument, NULL, OPT_NET}, "N", ""},
    {{"net-vlan", required_argument, NULL, OPT_NET}, "N", ""},
    {{"hugepages", required_argument, NULL, OPT_NET}, "WORD", "auto, yes or no"},
    {{"eal-args", required_argument, NULL, OPT_NET}, "TEXT", ""},
    {{"mbufs", required_argument, NULL, OPT_NET}, "N", ""},
    {{"tcp-congestion", required_argument, NULL, OPT_NET}, "NAME", ""},
};
#define TABLE (sizeof(table) / sizeof(table[0]))

static void usage(void)
{
    printf("usage: barewire bench [options]\n       barewire bench compare A.json B.json\n\n");
    for (size_t i = 0; i < TABLE; i++) {
        char name[64];
        bool letter = table[i].o.val < 256;
        snprintf(name, sizeof(name), "%s%c%s--%s %s", letter ? "-" : "",
                 letter ? table[i].o.val : ' ', letter ? ", " : "   ", table[i].o.name,
                 table[i].arguments);
        printf("  %-28s %s\n", name, table[i].help);
    }
}

__attribute__((noreturn, format(printf, 1, 2))) static void bad(const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    fprintf(stderr, "barewire bench: ");
    vfprintf(stderr, fmt, ap);
    fprintf(stderr, "\n");
    va_end(ap);
    exit(2);
}

static uint64_t number(const char *name, const char *text, uint64_t least, uint64_t most)
{
    char *end;
    unsigned long long v = strtoull(text, &end, 10);
    if (!isdigit((unsigned char)*text) || *end || v < least || v > most)
        bad("--%s: a number from %llu to %llu, not '%s'", name, (unsigned long long)least,
            (unsigned long long)most, text);
    return v;
}

static double real(const char *name, const char *text, double least)
{
    char *end;
    double v = strtod(text, &end);
    if (end == text || *end || !(v >= least) || v > 1e12)
        bad("--%s: a number of at least %g, not '%s'", name, least, text);
    return v;
}

static void take_ratio(struct bench *b, const char *text)
{
    char *end;
    unsigned long set = strtoul(text, &end, 10), get = 0;
    if (end != text && *end == ':')
        get = strtoul(end + 1, &end, 10);
    if (*end || set > 1000000 || get > 1000000 || set + get == 0)
        bad("--ratio: SET:GET, as in 1:10, not '%s'", text);
    b->set_share = (uint32_t)set;
    b->get_share = (uint32_t)get;
}

static void take(struct bench *b, int val, const char *name, const char *arg)
{
    struct load_config *c = &b->cfg;
    switch (val) {
    case 'h': b->host = arg; break;
    case 'p': b->port = number(name, arg, 1, 65535); break;
    case 's':
        b->path = arg;
        b->sockets = true;
        break;
    case OPT_SOCKET: b->sockets = true; break;
    case 'c': c->clients = (uint32_t)number(name, arg, 1, 1000000); break;
    case 'P': c->pipeline = (uint32_t)number(name, arg, 1, 100000); break;
    case 'n': c->requests = number(name, arg, 1, UINT64_MAX / 2); break;
    case OPT_SECONDS: c->seconds = real(name, arg, 0.01); break;
    case OPT_WARMUP: c->warmup_s = real(name, arg, 0); break;
    case OPT_RATE: c->rate = real(name, arg, 0.001); break;
    case OPT_ARRIVALS:
        if (strcmp(arg, "even") != 0 && strcmp(arg, "poisson") != 0)
            bad("--arrivals: even or poisson, not '%s'", arg);
        c->poisson = *arg == 'p';
        break;
    case OPT_SEARCH: b->search = arg; break;
    case 't': b->tests = arg; break;
    case OPT_RATIO: take_ratio(b, arg); break;
    case OPT_COMMAND:
        if (b->commands == OPS_MOST)
            bad("more than %d times --command", OPS_MOST);
        b->command[b->commands++] = arg;
        break;
    case 'd': b->sizes = arg; break;
    case 'r': b->keys = number(name, arg, 1, 999999999999); break;
    case OPT_KEYS: b->law = arg; break;
    case OPT_LOAD: b->load = true; break;
    case OPT_CHURN: c->churn = true; break;
    case '3': c->resp = 3; break;
    case 'a': c->password = arg; break;
    case OPT_USER: c->user = arg; break;
    case OPT_DB: c->db = (uint32_t)number(name, arg, 0, 1000000); break;
    case OPT_JSON: b->json = arg; break;
    case OPT_CSV: b->csv = arg; break;
    case OPT_HGRM: b->hgrm = arg; break;
    case OPT_SEED: c->seed = number(name, arg, 0, UINT64_MAX / 2); break;
    case OPT_TIMEOUT: c->answer_timeout_s = real(name, arg, 0.01); break;
    case 'q': b->quiet = true; break;
    case OPT_LIST: b->list = true; break;
    case OPT_CPU: b->cpu = (int)number(name, arg, 0, 1023); break;
    case OPT_HELP: usage(); exit(0);
    default: exit(2); /* getopt has said it */
    }
}

static void take_net(struct bench *b, const char *name, const char *arg)
{
    char *text;
    if (b->net_argc + 2 >= (int)ARRAY_LEN(b->net_argv))
        bad("too many options of the network");
    CHECK(asprintf(&text, "--%s", name) > 0);
    b->net_argv[b->net_argc++] = text;
    CHECK((b->net_argv[b->net_argc++] = strdup(arg)) != NULL);
}

static void parse(struct bench *b, int argc, char **argv)
{
    struct option option[TABLE + 1];
    char letters[3 * TABLE + 1] = "";
    memset(option, 0, sizeof(option));
    for (size_t i = 0; i < TABLE; i++) {
        option[i] = table[i].o;
        if (option[i].val < 256) {
            char one[3] = {(char)option[i].val, option[i].has_arg ? ':' : 0, 0};
            strcat(letters, one);
        }
    }
    int at;
    for (int val; (val = getopt_long(argc, argv, letters, option, &at)) != -1;) {
        const char *name = "";
        for (size_t i = 0; i < TABLE; i++)
            name = table[i].o.val == val ? table[i].o.name : name;
        if (val == OPT_NET)
            take_net(b, option[at].name, optarg);
        else
            take(b, val, name, optarg);
    }
    if (optind < argc)
        bad("'%s' is no option; --help tells them", argv[optind]);
}

/* The operations of one run: a test by name, the ratio, or the user's own. */
static void fill_workload(struct bench *b, const char *test)
{
    char err[256] = "";
    struct workload *w = &b->work;
    workload_init(w);
    if (!size_draw_parse(&w->sizes, b->sizes))
        bad("--data: 64, 64-1024 or 64:90,4096:10, not '%s'", b->sizes);
    if (!key_draw_parse(&w->keys, b->law))
        bad("--keys: uniform, zipf, zipf:0.99, sequential or gaussian, not '%s'", b->law);
    bool ok = true;
    if (test) {
        ok = workload_add_named(w, test, 1, err, sizeof(err));
    } else if (b->commands) {
        for (uint32_t i = 0; ok && i < b->commands; i++)
            ok = workload_add(w, NULL, 1, b->command[i], err, sizeof(err));
    } else {
        if (b->set_share)
            ok = workload_add_named(w, "set", b->set_share, err, sizeof(err));
        if (ok && b->get_share)
            ok = workload_add_named(w, "get", b->get_share, err, sizeof(err));
    }
    if (!ok)
        bad("%s", err);
    if (!workload_ready(w, b->keys))
        bad("no memory for values of %u bytes", size_draw_most(&w->sizes));
}

static bool run_once(struct bench *b, struct transport *t, const struct load_config *cfg,
                     struct load_result *r)
{
    char err[256];
    if (load_run(t, &b->work, cfg, r, err, sizeof(err)))
        return true;
    fprintf(stderr, "barewire bench: %s\n", err);
    load_result_free(r);
    return false;
}

/* Every key, once, before anything is measured. */
static bool write_keys(struct bench *b, struct transport *t)
{
    static struct load_result r;
    struct load_config cfg = b->cfg;
    const char *law = b->law;
    cfg.rate = cfg.seconds = cfg.warmup_s = 0;
    cfg.churn = false;
    cfg.requests = b->keys;
    cfg.pipeline = LOAD_PIPELINE;
    b->law = "sequential";
    fill_workload(b, "set");
    b->law = law;
    bool ok = run_once(b, t, &cfg, &r);
    workload_fini(&b->work);
    if (ok && r.errors) {
        fprintf(stderr, "barewire bench: keys could not be written: %s\n", r.first_error);
        ok = false;
    }
    load_result_free(&r);
    return ok;
}

static bool write_files(struct bench *b, const struct load_result *r)
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

static bool run_test(struct bench *b, struct transport *t, const char *test)
{
    static struct load_result r;
    fill_workload(b, test);
    b->head.test = test ? test : b->commands ? b->command[0] : "set and get";
    bool ok = run_once(b, t, &b->cfg, &r);
    if (ok) {
        if (b->quiet)
            printf("%s: %.0f operations a second, p50 %.1f us, p99 %.1f us%s\n", b->head.test,
                   r.rate, (double)percentile_at(&r.all, 0.5) / 1000,
                   (double)percentile_at(&r.all, 0.99) / 1000,
                   r.busy_share > REPORT_BUSY_LIMIT ? " (the client's limit)" : "");
        else
            report_print(stdout, &b->head, &b->cfg, &b->work, &r);
        fflush(stdout);
        ok = write_files(b, &r);
        load_result_free(&r);
    }
    workload_fini(&b->work);
    return ok;
}

/* ---- the highest rate that holds ---- */

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
        bad("--search: a percentile and a time, as in p99<200us, not '%s'", text);
    g.share = percent / 100;
    double v = strtod(end + 1, &end);
    double unit = !strcmp(end, "us") ? 1e3 : !strcmp(end, "ms") ? 1e6 : !strcmp(end, "s") ? 1e9 : 0;
    if (!(v > 0) || unit == 0)
        bad("--search: a time in us, ms or s, not '%s'", text);
    g.ns = (uint64_t)(v * unit);
    return g;
}

/* It holds when the percentile does and the server kept up. The client's own limit ends the search too. */
static bool search_step(struct bench *b, struct transport *t, const struct goal *g, double rate,
                        bool *ret_holds, bool *ret_bound)
{
    static struct load_result r;
    struct load_config cfg = b->cfg;
    cfg.rate = rate;
    cfg.requests = 0;
    if (!run_once(b, t, &cfg, &r))
        return false;
    uint64_t at = percentile_at(&r.all, g->share);
    *ret_bound = r.busy_share > REPORT_BUSY_LIMIT;
    *ret_holds = at <= g->ns && r.rate > rate * 0.98 && r.unanswered == 0;
    printf("%12.0f/s asked %12.0f/s answered  p50 %9.1f us  p%g %9.1f us  client %3.0f %%  %s\n",
           rate, r.rate, (double)percentile_at(&r.all, 0.5) / 1000, g->share * 100,
           (double)at / 1000, r.busy_share * 100,
           *ret_holds   ? "holds"
           : *ret_bound ? "does not, the client is at its limit"
                        : "does not hold");
    fflush(stdout);
    if (*ret_holds)
        write_files(b, &r);
    load_result_free(&r);
    return true;
}

static bool search(struct bench *b, struct transport *t, const char *test)
{
    struct goal g = goal_parse(b->search);
    double rate = b->cfg.rate > 0 ? b->cfg.rate : 10000, good = 0, poor = 0;
    bool holds, bound = false;
    if (b->cfg.seconds <= 0)
        b->cfg.seconds = 2;
    fill_workload(b, test);
    b->head.test = test ? test : "mix";
    for (int i = 0; i < SEARCH_STEPS && (poor == 0 || poor / good > 1.03 || good == 0); i++) {
        bool step_bound;
        if (!search_step(b, t, &g, rate, &holds, &step_bound))
            return false;
        bound = holds ? bound : step_bound;
        if (holds)
            good = rate;
        else
            poor = rate;
        rate = poor == 0 ? rate * 2 : good == 0 ? poor / 4 : (good + poor) / 2;
    }
    if (good > 0)
        printf("the highest rate that holds %s: %.0f/s%s\n", b->search, good,
               bound ? " (THE CLIENT WAS THE BOTTLENECK beyond it)" : "");
    else
        printf("no rate was found that holds %s\n", b->search);
    workload_fini(&b->work);
    return true;
}

/* ---- */

static struct transport *transport_up(struct bench *b)
{
    char err[1024] = "";
    struct transport *t = NULL;
    if (b->net_argc > 1 && !b->sockets) {
        char instance[32];
        snprintf(instance, sizeof(instance), "bench-%d", (int)getpid());
        take_net(b, "instance", instance);
        optind = 1;
        if (options_parse(&b->net, b->net_argc, b->net_argv, err, sizeof(err)) != OPTIONS_RUN)
            bad("%s", err);
        if (!*b->net.net_port)
            bad("--net-port is missing");
        t = transport_stack(&b->net, b->host, (uint16_t)b->port, b->cpu, err, sizeof(err));
    } else {
        t = transport_socket(b->host, (uint16_t)b->port, b->path, err, sizeof(err));
    }
    if (!t)
        fprintf(stderr, "barewire bench: %s\n", err);
    return t;
}

static bool run_all(struct bench *b, struct transport *t)
{
    bool mix = b->commands || b->set_share || b->get_share, ok = true;
    if (b->load && !write_keys(b, t))
        return false;
    if (mix)
        return b->search ? search(b, t, NULL) : run_test(b, t, NULL);
    char *list = strdup(b->tests), *save = NULL;
    CHECK(list);
    for (char *test = strtok_r(list, ",", &save); ok && test; test = strtok_r(NULL, ",", &save))
        ok = b->search ? search(b, t, test) : run_test(b, t, test);
    free(list);
    return ok;
}

int main(int argc, char **argv)
{
    static struct bench b = {.host = "127.0.0.1",
                             .port = 6379,
                             .cpu = -1,
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
    parse(&b, argc, argv);
    if (b.list) {
        workload_list();
        return 0;
    }
    if (b.cfg.requests == 0 && b.cfg.seconds <= 0)
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
    struct transport *t = transport_up(&b);
    if (!t)
        return 1;
    b.head.transport = t->name;
    b.head.target = b.target;
    b.head.command_line = b.line;
    b.head.keys = b.keys;
    bool ok = run_all(&b, t);
    t->ops->destroy(t);
    for (int i = 0; i < b.net_argc; i++)
        free(b.net_argv[i]);
    return ok ? 0 : 1;
}
