/* See harness.h. The router here is the plain reading of enum cmd_route and enum cmd_split: a model of what dataplane/conn/route.c
 * does with mail and leases. */
#include "tests/unit/cmd/harness.h"

#include <stdio.h>
#include <stdlib.h>

#include "engine/cmd/scan.h"
#include "tests/unit/unit.h"

#define WORDS_MAX 4096

/* ---- the host ---- */

static struct harness *harness_of(struct host *h)
{
    return (struct harness *)((char *)h - offsetof(struct harness, host));
}

static struct session *host_next(struct host *host, struct session *after)
{
    struct harness *h = harness_of(host);
    for (size_t i = after ? (size_t)(after - h->sessions) + 1 : 0; i < HARNESS_SESSIONS; i++)
        if (h->open[i] && !h->sessions[i].close_asap)
            return &h->sessions[i];
    return NULL;
}

static void host_info(struct host *host, struct session *s, struct session_info *ret)
{
    *ret = (struct session_info){
        .qbuf = 26, .qbuf_free = 20448, .argv_mem = 10, .tot_mem = 22298, .tcp = ""};
}

static void host_kill(struct host *host, struct session *s)
{
    s->close_asap = true;
}

static void host_sleep(struct host *host, uint64_t ms)
{
    harness_of(host)->slept_ms += ms;
}

static void host_reset(struct host *host)
{
    struct harness *h = harness_of(host);
    memset(h->calls, 0, sizeof(h->calls));
}

static void host_deliver(void *ctx, struct session *s, struct span pattern)
{
    (void)s, (void)pattern;
    ((struct harness *)ctx)->published++;
}

static int64_t host_publish(struct host *host, int kind, struct span channel, struct span message)
{
    struct harness *h = harness_of(host);
    (void)message;
    return (int64_t)pubsub_deliver(&h->pubsub, (enum pubsub_kind)kind, channel,
                                   pubsub_hash(&h->pubsub, (enum pubsub_kind)kind, channel),
                                   host_deliver, h);
}

static bool host_client_known(struct host *host, struct session *asker, uint64_t id)
{
    struct harness *h = harness_of(host);
    (void)asker;
    for (size_t i = 0; i < HARNESS_SESSIONS; i++)
        if (h->open[i] && h->sessions[i].id == id)
            return true;
    return false;
}

/* Nobody waits here: commands answer as where a client may not. */
static bool host_unblock(struct host *host, uint64_t client, bool error)
{
    (void)host, (void)client, (void)error;
    return false;
}

static void host_pause(struct host *host, int64_t until_ms, bool all)
{
    (void)host, (void)until_ms, (void)all;
}

static void host_unpause(struct host *host)
{
    (void)host;
}

static const struct host_ops host_ops = {
    .session_next = host_next,
    .session_info = host_info,
    .session_kill = host_kill,
    .sleep_ms = host_sleep,
    .reset_stats = host_reset,
    .publish = host_publish,
    .client_known = host_client_known,
    .unblock = host_unblock,
    .pause = host_pause,
    .unpause = host_unpause,
};

/* ---- life ---- */

void harness_init(struct harness *h, uint32_t shards)
{
    memset(h, 0, sizeof(*h));
    engine_config_defaults(&h->config);
    h->config.protected_mode = false;
    h->count = shards;
    h->now_us = 1700000000000000;
    struct siphash_key key = {0x0706050403020100, 0x0f0e0d0c0b0a0908};
    for (uint32_t i = 0; i < shards; i++)
        assert_int_equal(shard_init(&h->shards[i], i, shards, &key, &h->config, 42 + i), 0);
    pubsub_init(&h->pubsub, &key);
    tracking_init(&h->tracking);
    h->host = (struct host){.ops = &host_ops,
                            .pubsub = &h->pubsub,
                            .tracking = &h->tracking,
                            .config = &h->config,
                            .workers = 1,
                            .calls = h->calls,
                            .usec = h->usec,
                            .rejected = h->rejected,
                            .failed = h->failed};
    harness_connect(h);
    harness_advance_ms(h, 0);
}

struct session *harness_connect(struct harness *h)
{
    for (uint32_t i = 0; i < HARNESS_SESSIONS; i++) {
        if (h->open[i])
            continue;
        struct session *s = &h->sessions[i];
        session_init(s, i + 1, SESSION_NETWORK, h->now_us / 1000);
        s->authenticated = !h->config.requirepass_len;
        s->ip[SESSION_PEER] = ip_from_v4(0x0a010002 + i); /* 10.1.0.2:50000, 10.1.0.3:50001 ... */
        s->port[SESSION_PEER] = (uint16_t)(50000 + i);
        s->ip[SESSION_LOCAL] = ip_from_v4(0x0a010001);
        s->port[SESSION_LOCAL] = 6379;
        h->open[i] = true;
        return h->session = s;
    }
    fail_msg("more than %d clients", HARNESS_SESSIONS);
    return NULL;
}

void harness_fini(struct harness *h)
{
    for (uint32_t i = 0; i < HARNESS_SESSIONS; i++)
        if (h->open[i]) {
            pubsub_leave(&h->pubsub, &h->sessions[i]);
            tracking_free(&h->tracking, &h->sessions[i]);
            session_fini(&h->sessions[i]);
        }
    pubsub_fini(&h->pubsub);
    reply_heap_free(&h->reply);
    for (uint32_t i = 0; i < h->count; i++)
        shard_fini(&h->shards[i]);
}

void harness_advance_ms(struct harness *h, int64_t ms)
{
    h->now_us += ms * 1000;
    for (uint32_t i = 0; i < h->count; i++)
        h->shards[i].now_ms = h->now_us / 1000;
}

/* ---- routing ---- */

static void call(struct harness *h, struct cmd *c, struct reply *out, struct shard_set *set,
                 struct shard *shard, bool part)
{
    c->out = out;
    c->shards = set;
    c->shard = shard;
    c->part = part;
    cmd_call(c);
}

/* One shard's part of a split command, written apart and then added. */
static void call_part(struct harness *h, struct cmd *c, struct agg *a, uint32_t shard)
{
    struct shard_set set = {.count = h->count};
    set.v[shard] = &h->shards[shard];
    struct reply r;
    struct reply_heap heap = {0};
    reply_heap_init(&r, &heap, h->session->resp);
    struct cmd part = *c;
    call(h, &part, &r, &set, &h->shards[shard], true);
    reply_heap_finish(&r, &heap);
    agg_part(a, span_of(heap.p, heap.len), shard_random(&h->shards[0]));
    reply_heap_free(&heap);
}

static void split_all(struct harness *h, struct cmd *c, struct reply *out)
{
    struct agg a;
    agg_begin(&a, c->desc, c->argv, c->argc, h->session->resp);
    for (uint32_t i = 0; i < h->count; i++)
        call_part(h, c, &a, i);
    agg_finish(&a, out);
}

/* DEL a b c on three shards: each gets "DEL" and its own keys. */
static void split_keys(struct harness *h, struct cmd *c, struct reply *out, const uint32_t *pos,
                       int n)
{
    struct agg a;
    agg_begin(&a, c->desc, c->argv, c->argc, h->session->resp);
    struct span *argv = calloc(c->argc, sizeof(*argv));
    assert_non_null(argv);
    for (uint32_t s = 0; s < h->count; s++) {
        struct cmd part = *c;
        part.argv = argv;
        part.argc = 1;
        argv[0] = c->argv[0];
        for (int i = 0; i < n; i++)
            if (shard_of_key(c->argv[pos[i]], h->count) == s)
                argv[part.argc++] = c->argv[pos[i]];
        if (part.argc == 1)
            continue;
        part.hash = shard_hash(&h->shards[s], argv[1]);
        call_part(h, &part, &a, s);
    }
    free(argv);
    agg_finish(&a, out);
}

/* Every other request knows its entry beforehand, as a batch does. */
static struct entry *candidate(struct harness *h, const struct cmd *c, uint32_t shard)
{
    struct dict *keys = h->shards[shard].db[c->db].keys;
    if (!keys || !(h->requests++ & 1) || c->desc->first_key <= 0)
        return NULL;
    return dict_find(keys, c->hash, c->argv[c->desc->first_key]);
}

static void route_keys(struct harness *h, struct cmd *c, struct reply *out)
{
    static uint32_t pos[WORDS_MAX];
    int n = cmd_keys(c->desc, c->argv, c->argc, pos, WORDS_MAX);
    struct shard_set set = {.count = h->count};
    if (n <= 0 || cmd_keys_open(c->desc, c->argv, c->argc)) {
        for (uint32_t i = 0; i < h->count; i++)
            set.v[i] = &h->shards[i];
        uint32_t at = n > 0 ? shard_of_key(c->argv[pos[0]], h->count) : 0;
        c->hash = n > 0 ? shard_hash(&h->shards[at], c->argv[pos[0]]) : 0;
        call(h, c, out, &set, &h->shards[at], false);
        return;
    }
    uint32_t first = shard_of_key(c->argv[pos[0]], h->count), owners = 0;
    for (int i = 0; i < n; i++) {
        uint32_t s = shard_of_key(c->argv[pos[i]], h->count);
        owners += !set.v[s];
        set.v[s] = &h->shards[s];
    }
    c->hash = shard_hash(&h->shards[first], c->argv[pos[0]]);
    /* MGET and MSET run whole, as under leases: how their parts go is dataplane/conn/scatter.c's. */
    if (owners > 1 && c->desc->split == SPLIT_SUM)
        split_keys(h, c, out, pos, n);
    else {
        c->candidate = candidate(h, c, first);
        call(h, c, out, &set, &h->shards[first], false);
    }
}

static void route_cursor(struct harness *h, struct cmd *c, struct reply *out)
{
    uint64_t cursor;
    uint32_t shard = 0;
    if (scan_cursor_parse(c->argv[1], &cursor))
        shard = scan_cursor_shard(cursor, h->count);
    struct shard_set set = {.count = h->count};
    set.v[shard] = &h->shards[shard];
    call(h, c, out, &set, &h->shards[shard], false);
}

static void route(struct harness *h, struct cmd *c, struct reply *out)
{
    struct shard_set all = {.count = h->count};
    for (uint32_t i = 0; i < h->count; i++)
        all.v[i] = &h->shards[i];
    switch (c->desc->route) {
    case ROUTE_KEY:
    case ROUTE_KEYS: route_keys(h, c, out); break;
    case ROUTE_ALL:
        if (h->count > 1 && c->desc->split != SPLIT_LEASE)
            split_all(h, c, out);
        else
            call(h, c, out, &all, &h->shards[0], false);
        break;
    case ROUTE_CURSOR: route_cursor(h, c, out); break;
    default: call(h, c, out, &all, &h->shards[0], false);
    }
}

struct span harness_runv(struct harness *h, struct span *argv, uint32_t argc)
{
    reply_heap_free(&h->reply);
    memset(&h->reply, 0, sizeof(h->reply));
    struct reply out;
    reply_heap_init(&out, &h->reply, h->session->resp);
    struct cmd c = {.argv = argv,
                    .argc = argc,
                    .db = h->session->db,
                    .session = h->session,
                    .may_hold = h->may_hold,
                    .host = &h->host,
                    .now_us = h->now_us};
    c.desc = cmd_lookup(argv, argc, &out);
    if (c.desc && cmd_admit(c.desc, h->session, &h->config, &out)) {
        if (c.desc->route == ROUTE_KEY || c.desc->route == ROUTE_KEYS ||
            c.desc->route == ROUTE_ALL || c.desc->route == ROUTE_CURSOR)
            c.session = h->count > 1 ? NULL : h->session; /* another worker's client */
        h->session->last_cmd = c.desc;
        route(h, &c, &out);
    }
    h->errors = out.errors;
    out.muted = false;
    reply_raw(&out, "", 1); /* so that the reply reads as a string */
    reply_heap_finish(&out, &h->reply);
    return span_of(h->reply.p, h->reply.len - 1);
}

/* ---- request lines ---- */

static int hex(char c)
{
    return c >= '0' && c <= '9'   ? c - '0'
           : c >= 'a' && c <= 'f' ? c - 'a' + 10
           : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                  : -1;
}

/* One character of a "quoted" word. */
static char unescape(const char **p)
{
    char c = *(*p)++;
    if (c != '\\')
        return c;
    c = *(*p)++;
    if (c == 'x' && hex((*p)[0]) >= 0 && hex((*p)[1]) >= 0) {
        c = (char)(hex((*p)[0]) * 16 + hex((*p)[1]));
        *p += 2;
        return c;
    }
    return c == 'n'   ? '\n'
           : c == 'r' ? '\r'
           : c == 't' ? '\t'
           : c == 'a' ? '\a'
           : c == 'b' ? '\b'
                      : c;
}

const char *harness_run(struct harness *h, const char *line)
{
    char *text = malloc(strlen(line) + 1);
    struct span *argv = calloc(WORDS_MAX, sizeof(*argv));
    assert_true(text && argv);
    char *to = text;
    uint32_t argc = 0;
    for (const char *p = line; *p;) {
        if (*p == ' ') {
            p++;
            continue;
        }
        assert_true(argc < WORDS_MAX);
        char *start = to;
        char quote = *p == '"' || *p == '\'' ? *p++ : ' ';
        while (*p && *p != quote)
            *to++ = quote == '"' ? unescape(&p) : *p++;
        p += *p != 0;
        argv[argc++] = span_of(start, (size_t)(to - start));
    }
    harness_runv(h, argv, argc);
    free(argv);
    free(text);
    return (const char *)h->reply.p;
}

static void print_bytes(const char *label, struct span s)
{
    print_message("%s", label);
    for (size_t i = 0; i < s.n && i < 2000; i++) {
        if (s.p[i] >= ' ' && s.p[i] < 127)
            print_message("%c", s.p[i]);
        else
            print_message(s.p[i] == '\r' ? "\\r" : s.p[i] == '\n' ? "\\n" : "\\x%02x", s.p[i]);
    }
    print_message("\n");
}

void harness_expect(struct harness *h, const char *line, struct span want, const char *file, int at)
{
    harness_run(h, line);
    struct span got = span_of(h->reply.p, h->reply.len - 1);
    if (span_eq(got, want))
        return;
    print_message("%s\n", line);
    print_bytes("  want ", want);
    print_bytes("  got  ", got);
    _fail(file, at);
}
