/* stream_bench: instructions of stream commands through cmd_call, and bytes of an entry in a long stream and in short ones, and of one that waits.
 *
 *   stream_bench xadd|xadd_maxlen|xrange_10|xrange_100|xrevrange_10|xread_10|xreadgroup_10|xack|xlen [REQUESTS]
 *   stream_bench memory                          used bytes, to be held against used_memory of redis-server
 *
 * An entry is "sensor" "s-%07d" "temperature" "%d". The instructions of one request are those of
 *
 *   valgrind --tool=callgrind --toggle-collect=run_requests stream_bench xadd 100000
 *
 * divided by the number of requests. */
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "engine/base/assert.h"
#include "engine/cmd/command_table.h"

#define LONG_STREAM 1000000
#define KEY         SPAN("the:stream:of:all")

static struct shard s;
static struct engine_config config;
static struct host host;
static struct session session;
static struct shard_set set = {.count = 1};
static uint8_t replies[1 << 16];
static int64_t now_us = 1700000000000000;

static void no_more(struct reply *r, size_t hint)
{
    r->failed = true;
}
static const struct reply_sink sink = {no_more};

static void run(struct span *argv, uint32_t argc)
{
    struct reply out = {.cur = replies, .end = replies + sizeof(replies), .sink = &sink, .resp = 2};
    struct cmd c = {.argv = argv,
                    .argc = argc,
                    .desc = cmd_lookup(argv, argc, &out),
                    .session = &session,
                    .out = &out,
                    .shards = &set,
                    .shard = &s,
                    .hash = shard_hash(&s, argv[span_is(argv[0], "xgroup") ? 2 : 1]),
                    .host = &host,
                    .now_us = now_us};
    cmd_call(&c);
    CHECK(!out.failed && out.errors == 0);
}

/* What callgrind counts. */
__attribute__((noinline)) void run_requests(struct span *argv, uint32_t argc, size_t n);
__attribute__((noinline)) void run_requests(struct span *argv, uint32_t argc, size_t n)
{
    for (size_t i = 0; i < n; i++)
        run(argv, argc);
}

/* One entry each millisecond. */
static void fill(struct span key, size_t n, size_t from)
{
    char sensor[16], temperature[24];
    for (size_t i = from; i < from + n; i++, now_us += 1000) {
        struct span argv[] = {SPAN("XADD"),        key,      SPAN("*"), SPAN("sensor"), {NULL, 0},
                              SPAN("temperature"), {NULL, 0}};
        argv[4] = span_of(sensor, (size_t)snprintf(sensor, sizeof(sensor), "s-%07zu", i % 1000000));
        argv[6] = span_of(temperature, (size_t)snprintf(temperature, sizeof(temperature), "%zu",
                                                        i * 7919 % 4000));
        run(argv, 7);
    }
}

static void make_group(struct span key, size_t reads)
{
    struct span create[] = {SPAN("XGROUP"), SPAN("CREATE"), key,
                            SPAN("g"),      SPAN("0"),      SPAN("MKSTREAM")};
    struct span read[] = {SPAN("XREADGROUP"), SPAN("GROUP"), SPAN("g"),
                          SPAN("worker"),     SPAN("COUNT"), SPAN("100"),
                          SPAN("STREAMS"),    key,           SPAN(">")};
    run(create, 6);
    for (size_t i = 0; i < reads; i++)
        run(read, 9);
}

static void memory(void)
{
    char key[32];
    size_t before = s.mem.used_bytes;
    fill(KEY, LONG_STREAM, 0);
    printf("one stream of %d: %.2f bytes an entry\n", LONG_STREAM,
           (double)(s.mem.used_bytes - before) / LONG_STREAM);
    before = s.mem.used_bytes;
    make_group(KEY, LONG_STREAM / 100);
    printf("%d entries that wait: %.2f bytes each\n", LONG_STREAM,
           (double)(s.mem.used_bytes - before) / LONG_STREAM);
    before = s.mem.used_bytes;
    for (size_t i = 0; i < LONG_STREAM / 10; i++) {
        size_t n = (size_t)snprintf(key, sizeof(key), "stream:%012zu", i);
        fill(span_of(key, n), 3, i);
    }
    printf("%d streams of 3: %.2f bytes a stream\n", LONG_STREAM / 10,
           (double)(s.mem.used_bytes - before) / (LONG_STREAM / 10));
}

/* Acknowledges one after the other. */
static void ack(size_t n)
{
    char id[40];
    for (size_t i = 0; i < n; i++) {
        struct span argv[] = {SPAN("XACK"), KEY, SPAN("g"), {(uint8_t *)id, 0}};
        argv[3].n = (size_t)snprintf(id, sizeof(id), "%zu-0", 1700000000000 + i);
        run_requests(argv, 4, 1);
    }
}

int main(int argc, char **argv)
{
    static const struct {
        const char *name;
        struct span argv[10];
        uint32_t argc;
        size_t filled, waiting; /* 0: none; 1: as many as there are requests */
    } what[] = {
        {"xadd",
         {SPAN("XADD"), KEY, SPAN("*"), SPAN("sensor"), SPAN("s-0001234"), SPAN("temperature"),
          SPAN("215")},
         7,
         1000,
         0},
        {"xadd_maxlen",
         {SPAN("XADD"), KEY, SPAN("MAXLEN"), SPAN("~"), SPAN("1000"), SPAN("*"), SPAN("sensor"),
          SPAN("s-0001234")},
         8,
         1000,
         0},
        {"xlen", {SPAN("XLEN"), KEY}, 2, 1000, 0},
        {"xrange_10",
         {SPAN("XRANGE"), KEY, SPAN("1700000050000"), SPAN("+"), SPAN("COUNT"), SPAN("10")},
         6,
         100000,
         0},
        {"xrange_100",
         {SPAN("XRANGE"), KEY, SPAN("-"), SPAN("+"), SPAN("COUNT"), SPAN("100")},
         6,
         100000,
         0},
        {"xrevrange_10",
         {SPAN("XREVRANGE"), KEY, SPAN("+"), SPAN("-"), SPAN("COUNT"), SPAN("10")},
         6,
         100000,
         0},
        {"xread_10",
         {SPAN("XREAD"), SPAN("COUNT"), SPAN("10"), SPAN("STREAMS"), KEY, SPAN("1700000050000-0")},
         6,
         100000,
         0},
        {"xreadgroup_10",
         {SPAN("XREADGROUP"), SPAN("GROUP"), SPAN("g"), SPAN("worker"), SPAN("COUNT"), SPAN("10"),
          SPAN("STREAMS"), KEY, SPAN(">")},
         9,
         1000000,
         0},
        {"xack", {SPAN("XACK")}, 0, 100000, 1},
    };
    if (argc < 2) {
        fprintf(stderr, "usage: stream_bench memory | COMMAND [REQUESTS]\n");
        return 2;
    }
    engine_config_defaults(&config);
    config.protected_mode = false;
    host = (struct host){.config = &config, .workers = 1};
    const struct siphash_key key = {5, 6};
    CHECK(shard_init(&s, 0, 1, &key, &config, 1) == 0);
    s.now_ms = 1700000000000;
    set.v[0] = &s;
    session_init(&session, 1, SESSION_NETWORK, s.now_ms);
    session.authenticated = true;
    if (strcmp(argv[1], "memory") == 0)
        memory();
    for (size_t i = 0; i < ARRAY_LEN(what); i++) {
        struct timespec a, b;
        struct span args[10];
        size_t n = argc > 2 ? strtoul(argv[2], NULL, 10) : 100000;
        if (strcmp(argv[1], what[i].name) != 0)
            continue;
        memcpy(args, what[i].argv, sizeof(args));
        fill(KEY, what[i].filled, 0);
        make_group(KEY, what[i].waiting ? n / 100 : 0);
        clock_gettime(CLOCK_MONOTONIC, &a);
        if (what[i].argc)
            run_requests(args, what[i].argc, n);
        else
            ack(n);
        clock_gettime(CLOCK_MONOTONIC, &b);
        printf("%s: %.1f ns\n", argv[1],
               ((double)(b.tv_sec - a.tv_sec) * 1e9 + (double)(b.tv_nsec - a.tv_nsec)) / (double)n);
    }
    session_fini(&session);
    shard_fini(&s);
    return 0;
}
