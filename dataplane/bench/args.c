/* The command line of barewire bench: see bench.h. */
#include <ctype.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "dataplane/bench/bench.h"
#include "engine/base/assert.h"
#include "engine/base/bytes.h"

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
    OPT_THREADS,
    OPT_CLUSTER,
    OPT_PROTOCOL,
    OPT_SUBSCRIBERS,
    OPT_CHANNELS,
    OPT_REPLAY,
    OPT_SPEED,
    OPT_PLOT,
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
     "__key__ __data__ __seq__ __score__ __channel__ __stamp__; ';' joins requests"},
    {{"data", required_argument, NULL, 'd'}, "SIZE", "of values: 64, 64-1024, 64:90,4096:10 (3)"},
    {{"keyspace", required_argument, NULL, 'r'}, "N", "number of keys (1)"},
    {{"keys", required_argument, NULL, OPT_KEYS},
     "LAW",
     "uniform, zipf, zipf:0.99, sequential, gaussian"},
    {{"load", no_argument, NULL, OPT_LOAD}, "", "first SET every key"},
    {{"replay", required_argument, NULL, OPT_REPLAY},
     "FILE",
     "what MONITOR printed, an append-only file or a trace of time,key,size,op lines, instead of "
     "tests"},
    {{"replay-speed", required_argument, NULL, OPT_SPEED},
     "X",
     "open loop: at the recorded times, X times as fast; without it as fast as the answers come"},
    {{"subscribers", required_argument, NULL, OPT_SUBSCRIBERS},
     "N",
     "connections that listen, as in -t publish --subscribers 100; latency of delivery is told"},
    {{"channels", required_argument, NULL, OPT_CHANNELS},
     "N",
     "subscriber i hears channel i mod N (1)"},
    {{"cluster", no_argument, NULL, OPT_CLUSTER},
     "",
     "each request to the node that owns its key, by CLUSTER SLOTS and MOVED"},
    {{"threads", required_argument, NULL, OPT_THREADS},
     "N",
     "share clients, requests and rate (1; more over kernel sockets only)"},
    {{"protocol", required_argument, NULL, OPT_PROTOCOL},
     "NAME",
     "resp or memcached (resp); memcached has set and get"},
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
    {{"plot", required_argument, NULL, OPT_PLOT},
     "FILE",
     "with --search: latency against rate, as .svg or .png (by gnuplot; its input stays beside it "
     "as .gp)"},
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

void bench_bad(const char *fmt, ...)
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
        bench_bad("--%s: a number from %llu to %llu, not '%s'", name, (unsigned long long)least,
                  (unsigned long long)most, text);
    return v;
}

static double real(const char *name, const char *text, double least)
{
    char *end;
    double v = strtod(text, &end);
    if (end == text || *end || !(v >= least) || v > 1e12)
        bench_bad("--%s: a number of at least %g, not '%s'", name, least, text);
    return v;
}

static void take_ratio(struct bench *b, const char *text)
{
    char *end;
    unsigned long set = strtoul(text, &end, 10), get = 0;
    if (end != text && *end == ':')
        get = strtoul(end + 1, &end, 10);
    if (*end || set > 1000000 || get > 1000000 || set + get == 0)
        bench_bad("--ratio: SET:GET, as in 1:10, not '%s'", text);
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
            bench_bad("--arrivals: even or poisson, not '%s'", arg);
        c->poisson = *arg == 'p';
        break;
    case OPT_SEARCH: b->search = arg; break;
    case 't': b->tests = arg; break;
    case OPT_RATIO: take_ratio(b, arg); break;
    case OPT_COMMAND:
        if (b->commands == OPS_MOST)
            bench_bad("more than %d times --command", OPS_MOST);
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
    case OPT_THREADS: b->threads = (uint32_t)number(name, arg, 1, BENCH_THREADS_MOST); break;
    case OPT_CLUSTER: c->cluster = true; break;
    case OPT_PROTOCOL:
        if (strcmp(arg, "resp") != 0 && strcmp(arg, "memcached") != 0)
            bench_bad("--protocol: resp or memcached, not '%s'", arg);
        c->memcached = *arg == 'm';
        break;
    case OPT_SUBSCRIBERS: c->subscribers = (uint32_t)number(name, arg, 1, 1000000); break;
    case OPT_CHANNELS: b->channels = (uint32_t)number(name, arg, 1, 1000000); break;
    case OPT_REPLAY: b->replay_path = arg; break;
    case OPT_SPEED: c->replay_speed = real(name, arg, 1e-6); break;
    case OPT_PLOT: b->plot = arg; break;
    case OPT_CPU: b->cpu = (int)number(name, arg, 0, 1023); break;
    case OPT_HELP: usage(); exit(0);
    default: exit(2); /* getopt has said it */
    }
}

void bench_net_option(struct bench *b, const char *name, const char *arg)
{
    char *text;
    if (b->net_argc + 2 >= (int)ARRAY_LEN(b->net_argv))
        bench_bad("too many options of the network");
    CHECK(asprintf(&text, "--%s", name) > 0);
    b->net_argv[b->net_argc++] = text;
    CHECK((b->net_argv[b->net_argc++] = strdup(arg)) != NULL);
}

/* What cannot be had at once. */
static void refuse_together(const struct bench *b)
{
    const struct load_config *c = &b->cfg;
    if (c->churn && (c->cluster || c->subscribers))
        bench_bad("--churn goes neither with --cluster nor with --subscribers");
    if (c->memcached && (c->cluster || c->subscribers || c->resp == 3 || c->password || c->db ||
                         b->commands || b->replay_path))
        bench_bad(
            "--protocol memcached has neither databases nor passwords, clusters, subscribers, "
            "commands of your own or logs");
    if (c->cluster && c->db)
        bench_bad("a cluster has one database: --cluster goes without --db");
    if (c->replay_speed > 0 && (!b->replay_path || c->rate > 0))
        bench_bad("--replay-speed goes with --replay, and without --rate");
    if (b->replay_path && (b->search || b->commands || b->set_share || b->get_share))
        bench_bad("--replay asks what the log says: neither --search, --command nor --ratio");
    if (b->plot && !b->search)
        bench_bad("--plot goes with --search");
    if (b->threads > 1 && (b->csv || b->net_argc > 1))
        bench_bad("--threads goes over kernel sockets only, and without --csv (a line of it is of "
                  "one thread)");
    if (b->threads > c->clients)
        bench_bad("more threads than clients");
}

void bench_parse(struct bench *b, int argc, char **argv)
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
            bench_net_option(b, option[at].name, optarg);
        else
            take(b, val, name, optarg);
    }
    if (optind < argc)
        bench_bad("'%s' is no option; --help tells them", argv[optind]);
    refuse_together(b);
}

/* The operations of one run: a test by name, the ratio, or the user's own. */
void bench_workload(struct bench *b, const char *test)
{
    char err[256] = "";
    struct workload *w = &b->work;
    workload_init(w);
    w->channels = b->channels;
    w->memcached = b->cfg.memcached;
    if (!size_draw_parse(&w->sizes, b->sizes))
        bench_bad("--data: 64, 64-1024 or 64:90,4096:10, not '%s'", b->sizes);
    if (!key_draw_parse(&w->keys, b->law))
        bench_bad("--keys: uniform, zipf, zipf:0.99, sequential or gaussian, not '%s'", b->law);
    bool ok = true;
    if (test) {
        ok = workload_add_named(w, test, 1, err, sizeof(err));
    } else if (b->replay_path) {
        w->replay = &b->replay;
        snprintf(w->op[0].name, sizeof(w->op[0].name), "replay");
        w->ops = 1;
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
        bench_bad("%s", err);
    if (!workload_ready(w, b->keys))
        bench_bad("no memory for values of %u bytes", size_draw_most(&w->sizes));
}
