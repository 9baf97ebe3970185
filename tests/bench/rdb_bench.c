/* rdb_bench: a file loaded in one process, as control and one worker do it together: what each kind of value takes.
 *
 *   rdb_bench FILE [TYPE] [RUNS]      CPU nanoseconds a key of each RDB type (only TYPE, a number, if one is given), the least of RUNS (3)
 *
 * "walk": the file is cut into keys and its checksum made; then the keys of each type are made into a shard of their own. The instructions
 * of it are those of valgrind --tool=callgrind --toggle-collect=make_all. */
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "engine/base/assert.h"
#include "engine/cmd/command_table.h"
#include "engine/cmd/rdb_object.h"
#include "engine/log/rdb_file.h"
#include "engine/shard/shard.h"

#define TYPES         32
#define SCRATCH_BYTES 4096

struct body {
    struct span s;
    uint8_t type;
};

static struct body *bodies;
static size_t count[TYPES], bodies_n;
static struct engine_config config;

static double now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (double)t.tv_sec * 1e9 + (double)t.tv_nsec;
}

static struct span read_file(const char *path)
{
    FILE *f = fopen(path, "rb");
    CHECK(f && fseek(f, 0, SEEK_END) == 0);
    size_t n = (size_t)ftell(f);
    uint8_t *p = malloc(n);
    rewind(f);
    CHECK(p && fread(p, 1, n, f) == n);
    fclose(f);
    return span_of(p, n);
}

static double walk(struct span file)
{
    struct rdb_file f;
    struct rdb_item item;
    enum rdb_file_status status = RDB_FILE_ITEM;
    size_t at = 0;
    double begun = now_ns();
    bodies_n = 0;
    memset(count, 0, sizeof count);
    rdb_file_init(&f, file.n, true);
    f.gathers = true;
    while ((status = rdb_file_next(&f, file.p + at, file.n - at, &item)) == RDB_FILE_ITEM) {
        at += item.bytes;
        if (item.kind != RDB_ITEM_KEY)
            continue;
        bodies[bodies_n++] = (struct body){item.body, item.type};
        count[item.type % TYPES]++;
    }
    CHECK(status == RDB_FILE_END);
    return now_ns() - begun;
}

static void make(struct shard *s, const struct body *b)
{
    struct rdb_reader r;
    struct rdb_text key;
    struct rdb_object o;
    uint8_t scratch[SCRATCH_BYTES];
    CHECK(rdb_body_key(&r, b->s, &s->mem, &key));
    r.scratch = scratch;
    r.scratch_n = sizeof scratch;
    CHECK(rdb_load_object(&r, s, b->type, &o));
    CHECK(rdb_object_add(&r, s, 0, key.s, shard_hash(s, key.s), &o, KS_NO_TTL));
    rdb_text_free(&r, &key);
}

/* What callgrind counts. */
__attribute__((noinline)) void make_all(struct shard *s, uint8_t type);
__attribute__((noinline)) void make_all(struct shard *s, uint8_t type)
{
    for (size_t i = 0; i < bodies_n; i++)
        if (bodies[i].type == type)
            make(s, &bodies[i]);
}

static double make_type(uint8_t type, size_t *bytes)
{
    static const struct siphash_key key = {1, 2};
    static struct shard s;
    CHECK(shard_init(&s, 0, 1, &key, &config, 1) == 0);
    ks_reserve(&s, 0, count[type], 0);
    double begun = now_ns();
    make_all(&s, type);
    double took = now_ns() - begun;
    *bytes = s.mem.used_bytes;
    shard_fini(&s);
    return took;
}

int main(int argc, char **argv)
{
    CHECK(argc > 1);
    int only = argc > 2 ? atoi(argv[2]) : -1, runs = argc > 3 ? atoi(argv[3]) : 3;
    struct span file = read_file(argv[1]);
    engine_config_defaults(&config);
    bodies = malloc((file.n / 4 + 1) * sizeof *bodies);
    CHECK(bodies);
    double best = walk(file);
    for (int i = 1; i < runs; i++) {
        double took = walk(file);
        best = took < best ? took : best;
    }
    printf("walk      %8zu keys %8.0f ns a key %8.1f ms\n", bodies_n, best / (double)(bodies_n + 1),
           best / 1e6);
    for (uint8_t t = 0; t < TYPES; t++) {
        size_t bytes = 0;
        if (!count[t] || (only >= 0 && only != t))
            continue;
        best = make_type(t, &bytes);
        for (int i = 1; i < runs; i++) {
            double took = make_type(t, &bytes);
            best = took < best ? took : best;
        }
        printf("type %2u   %8zu keys %8.0f ns a key %8.1f ms %8.1f MB\n", t, count[t],
               best / (double)count[t], best / 1e6, (double)bytes / 1e6);
    }
    return 0;
}
