/* engine_bench: instructions of the engine for one request, from RESP bytes to reply bytes.
 *
 *   engine_bench get|set 16|64 [REQUESTS]    batches of 16 pipelined requests over 100,000 keys of 16 bytes
 *
 * Run it as scripts would the whole server, in stages: parse and look up each command, hash its key, prefetch buckets,
 * prefetch entries, execute. Without callgrind it prints nanoseconds; the instructions of one request are
 *
 *   valgrind --tool=callgrind --toggle-collect=run_requests engine_bench get 64
 *
 * divided by the number of requests. The network path around it is measured by frame_bench. */
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "engine/base/assert.h"
#include "engine/cmd/command_table.h"
#include "engine/resp/parse.h"

#define KEYS      100000
#define BATCH     16
#define TEXT_ROOM 160 /* bytes of one request */

static struct shard s;
static struct engine_config config;
static struct host host;
static struct session session;
static struct shard_set set = {.count = 1};
static struct resp_parser parser;
static uint8_t replies[BATCH * TEXT_ROOM];

struct staged {
    const struct cmd_desc *desc;
    struct span *argv;
    uint32_t argc;
    uint64_t hash;
};

static void no_more(struct reply *r, size_t hint)
{
    r->failed = true;
}
static const struct reply_sink sink = {no_more};

static size_t request_text(char *to, bool is_get, size_t key, const char *value, size_t value_n)
{
    if (is_get)
        return (size_t)sprintf(to, "*2\r\n$3\r\nGET\r\n$16\r\nkey:%012zu\r\n", key);
    return (size_t)sprintf(to, "*3\r\n$3\r\nSET\r\n$16\r\nkey:%012zu\r\n$%zu\r\n%.*s\r\n", key,
                           value_n, (int)value_n, value);
}

static void stage(struct staged *st, const struct resp_cmd *cmd, struct reply *out)
{
    st->argv = cmd->argv;
    st->argc = cmd->argc;
    st->desc = cmd_lookup(st->argv, st->argc, out);
    if (st->desc && cmd_admit(st->desc, &session, &config, out) && st->desc->first_key > 0)
        st->hash = shard_hash(&s, st->argv[st->desc->first_key]);
}

static void execute(const struct staged *st, struct reply *out)
{
    struct cmd c = {.argv = st->argv,
                    .argc = st->argc,
                    .desc = st->desc,
                    .session = &session,
                    .out = out,
                    .shards = &set,
                    .shard = &s,
                    .hash = st->hash,
                    .host = &host,
                    .now_us = 1};
    cmd_call(&c);
}

/* One batch from [p, end); returns how many requests it held. */
static size_t run_batch(const uint8_t **p, const uint8_t *end)
{
    static struct span args[BATCH * 8];
    static struct staged staged[BATCH];
    struct reply out = {.cur = replies, .end = replies + sizeof(replies), .sink = &sink, .resp = 2};
    struct resp_limits lim = {512 << 20, 1 << 30, true};
    size_t n = 0, nargs = 0;
    struct resp_cmd cmd;
    while (n < BATCH &&
           resp_parse(&parser, &lim, p, end, args + nargs, BATCH * 8 - nargs, &cmd) == RESP_DONE) {
        nargs += cmd.argc;
        stage(&staged[n++], &cmd, &out);
    }
    const struct dict *keys = s.db[0].keys;
    for (size_t i = 0; keys && i < n; i++)
        dict_prefetch_bucket(keys, staged[i].hash);
    for (size_t i = 0; keys && i < n; i++)
        dict_prefetch_entry(keys, staged[i].hash);
    for (size_t i = 0; i < n; i++)
        execute(&staged[i], &out);
    CHECK(!out.failed && out.errors == 0);
    return n;
}

static inline size_t run_all(const uint8_t *p, const uint8_t *end)
{
    size_t done = 0, n;
    while ((n = run_batch(&p, end)))
        done += n;
    return done;
}

/* What callgrind counts: not the loading. */
__attribute__((noinline)) size_t run_requests(const uint8_t *p, const uint8_t *end);
__attribute__((noinline)) size_t run_requests(const uint8_t *p, const uint8_t *end)
{
    return run_all(p, end);
}

static size_t run_text(bool is_get, size_t value_n, size_t n, bool load, double *ret_ns)
{
    char value[64];
    memset(value, 'v', sizeof(value));
    char *text = malloc(n * TEXT_ROOM), *to = text;
    CHECK(text);
    uint64_t rnd = 1;
    for (size_t i = 0; i < n; i++) {
        rnd = rnd * 6364136223846793005 + 1442695040888963407;
        to += request_text(to, is_get, load ? i : (rnd >> 33) % KEYS, value, value_n);
    }
    struct timespec a, b;
    clock_gettime(CLOCK_MONOTONIC, &a);
    const uint8_t *p = (const uint8_t *)text, *end = (const uint8_t *)to;
    size_t done = load ? run_all(p, end) : run_requests(p, end);
    clock_gettime(CLOCK_MONOTONIC, &b);
    *ret_ns = (double)(b.tv_sec - a.tv_sec) * 1e9 + (double)(b.tv_nsec - a.tv_nsec);
    free(text);
    return done;
}

int main(int argc, char **argv)
{
    if (argc < 3) {
        fprintf(stderr, "usage: engine_bench get|set 16|64 [REQUESTS]\n");
        return 2;
    }
    size_t value_n = strtoul(argv[2], NULL, 10), n = argc > 3 ? strtoul(argv[3], NULL, 10) : KEYS;
    CHECK(value_n > 0 && value_n <= 64);
    engine_config_defaults(&config);
    config.protected_mode = false;
    host = (struct host){.config = &config, .workers = 1};
    const struct siphash_key key = {5, 6};
    CHECK(shard_init(&s, 0, 1, &key, &config, 1) == 0);
    s.now_ms = 1700000000000;
    set.v[0] = &s;
    session_init(&session, 1, SESSION_NETWORK, s.now_ms);
    session.authenticated = true;
    resp_parser_init(&parser, &s.mem);
    double load_ns, ns;
    size_t loaded = run_text(false, value_n, KEYS, true, &load_ns);
    CHECK(loaded == KEYS && ks_count(&s, 0) == KEYS);
    size_t done = run_text(strcmp(argv[1], "get") == 0, value_n, n, false, &ns);
    CHECK(done == n);
    printf("%zu keys loaded in %.0f ns each; %zu requests in %.1f ns each\n", loaded,
           load_ns / (double)loaded, done, ns / (double)done);
    session_fini(&session);
    shard_fini(&s);
    return 0;
}
