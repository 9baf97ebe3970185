/* list_bench: instructions of list commands through cmd_call, and bytes of an element in a long list and in short ones.
 *
 *   list_bench lpush|rpush|lpop|rpop|lindex|lrange_100|lrange_600|llen [REQUESTS]     on lists of "element:%012d"
 *   list_bench memory                                                                 used bytes, to be held against used_memory of redis-server
 *
 * The instructions of one request are those of
 *
 *   valgrind --tool=callgrind --toggle-collect=run_requests list_bench lpush 100000
 *
 * divided by the number of requests. */
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "engine/base/assert.h"
#include "engine/cmd/command_table.h"

#define ELEMENT_CHARS 20
#define LONG_LIST     1000000

static struct shard s;
static struct engine_config config;
static struct host host;
static struct session session;
static struct shard_set set = {.count = 1};
static uint8_t replies[1 << 16];

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
                    .hash = shard_hash(&s, argv[1]),
                    .host = &host,
                    .now_us = 1};
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

static void fill(const char *key, size_t n, size_t from)
{
    char text[32];
    for (size_t i = 0; i < n; i++) {
        struct span argv[] = {SPAN("RPUSH"), span_str(key), {(uint8_t *)text, 0}};
        argv[2].n = (size_t)snprintf(text, sizeof(text), "element:%012zu", from + i);
        run(argv, 3);
    }
}

static void memory(void)
{
    char key[32];
    size_t before = s.mem.used_bytes;
    fill("long", LONG_LIST, 0);
    printf("one list of %d: %.2f bytes an element of %d\n", LONG_LIST,
           (double)(s.mem.used_bytes - before) / LONG_LIST, ELEMENT_CHARS);
    before = s.mem.used_bytes;
    for (size_t i = 0; i < LONG_LIST; i++) {
        snprintf(key, sizeof(key), "list:%012zu", i);
        fill(key, 3, i);
    }
    printf("%d lists of 3: %.2f bytes a list\n", LONG_LIST,
           (double)(s.mem.used_bytes - before) / LONG_LIST);
}

int main(int argc, char **argv)
{
    static const struct {
        const char *name;
        struct span argv[4];
        uint32_t argc;
        size_t filled; /* 0: as many as there are requests */
    } what[] = {
        {"lpush", {SPAN("LPUSH"), SPAN("the:list:of:them"), SPAN("element:000000000000")}, 3, 1},
        {"rpush", {SPAN("RPUSH"), SPAN("the:list:of:them"), SPAN("element:000000000000")}, 3, 1},
        {"lpop", {SPAN("LPOP"), SPAN("the:list:of:them")}, 2, 0},
        {"rpop", {SPAN("RPOP"), SPAN("the:list:of:them")}, 2, 0},
        {"llen", {SPAN("LLEN"), SPAN("the:list:of:them")}, 2, 1000},
        {"lindex", {SPAN("LINDEX"), SPAN("the:list:of:them"), SPAN("500000")}, 3, LONG_LIST},
        {"lrange_100", {SPAN("LRANGE"), SPAN("the:list:of:them"), SPAN("0"), SPAN("99")}, 4, 1000},
        {"lrange_600", {SPAN("LRANGE"), SPAN("the:list:of:them"), SPAN("0"), SPAN("599")}, 4, 1000},
    };
    if (argc < 2) {
        fprintf(stderr, "usage: list_bench memory | COMMAND [REQUESTS]\n");
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
        struct span args[4];
        size_t n = argc > 2 ? strtoul(argv[2], NULL, 10) : 100000;
        if (strcmp(argv[1], what[i].name) != 0)
            continue;
        memcpy(args, what[i].argv, sizeof(args));
        fill("the:list:of:them", what[i].filled ? what[i].filled : n + 1, 0);
        clock_gettime(CLOCK_MONOTONIC, &a);
        run_requests(args, what[i].argc, n);
        clock_gettime(CLOCK_MONOTONIC, &b);
        printf("%s: %.1f ns\n", argv[1],
               ((double)(b.tv_sec - a.tv_sec) * 1e9 + (double)(b.tv_nsec - a.tv_nsec)) / (double)n);
    }
    session_fini(&session);
    shard_fini(&s);
    return 0;
}
