/* dict_bench: what the dict and the keyspace cost, in bytes and in time.
 *
 *   dict_bench              a table: bytes per key of the dict over 1e5 to 4e6 keys, and times
 *   dict_bench keyspace     bytes per key beyond key and value of a shard, 16-byte keys, 64-byte values
 *   dict_bench find N       N look-ups of one present key: run it under callgrind with two Ns and divide
 *                           the difference; `get N` and `set N` do the same through the keyspace */
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "engine/base/assert.h"
#include "engine/shard/shard.h"

struct node {
    uint64_t hash, key;
};

static uint64_t mix(uint64_t z)
{
    z += 0x9e3779b97f4a7c15;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9;
    z = (z ^ z >> 27) * 0x94d049bb133111eb;
    return z ^ z >> 31;
}
static uint64_t node_hash(const void *entry, const void *ctx)
{
    return mix(((const struct node *)entry)->key); /* computed, as a keyspace must */
}
static bool node_equal(const void *entry, struct span key)
{
    return memcmp(&((const struct node *)entry)->key, key.p, 8) == 0;
}
static const struct dict_type type = {node_hash, node_equal, NULL};

static uint64_t now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec;
}

static void dict_table(void)
{
    struct mem mem;
    CHECK(mem_init(&mem) == 0);
    size_t most = 4000000;
    struct node *nodes = calloc(most, sizeof(*nodes));
    CHECK(nodes);
    struct dict *d = dict_create(&mem, &type);
    CHECK(d);
    double lowest = 1e9, highest = 0, sum = 0, points = 0;
    size_t next = 100000, from = 0;
    uint64_t start = now_ns(), worst = 0;
    printf("%10s %10s %12s %14s %10s\n", "keys", "B/key", "insert ns", "worst insert us",
           "find ns");
    for (size_t i = 0; i < most; i++) {
        nodes[i] = (struct node){mix(i), i};
        uint64_t t = i % 64 ? 0 : now_ns();
        CHECK(dict_insert(d, nodes[i].hash, &nodes[i]));
        if (t && now_ns() - t > worst)
            worst = now_ns() - t;
        if (i >= 100000 && i % 10007 == 0) {
            double per_key = (double)dict_bytes(d) / (double)(i + 1);
            lowest = per_key < lowest ? per_key : lowest;
            highest = per_key > highest ? per_key : highest;
            sum += per_key;
            points++;
        }
        if (i + 1 != next)
            continue;
        uint64_t inserted = now_ns(), found = 0;
        for (size_t k = 0; k < 200000; k++) {
            struct node *n = &nodes[mix(k) % (i + 1)];
            found += dict_find(d, n->hash, span_of(&n->key, 8)) == n;
        }
        CHECK(found == 200000);
        printf("%10zu %10.2f %12.0f %14.1f %10.0f\n", i + 1,
               (double)dict_bytes(d) / (double)(i + 1),
               (double)(inserted - start) / (double)(i + 1 - from), (double)worst / 1000,
               (double)(now_ns() - inserted) / 200000);
        next = next * 5 / 4;
        from = i + 1;
        worst = 0;
        start = now_ns();
    }
    printf("bytes per key over all sizes: least %.2f, mean %.2f, most %.2f\n", lowest, sum / points,
           highest);
    dict_destroy(d);
    free(nodes);
    mem_fini(&mem);
}

static struct shard s;
static struct engine_config config;
static const struct siphash_key hash_key = {5, 6};

static struct span key_text(char *to, size_t i)
{
    snprintf(to, 17, "key:%012zu", i);
    return span_of(to, 16);
}

static void open_shard(void)
{
    engine_config_defaults(&config);
    CHECK(shard_init(&s, 0, 1, &hash_key, &config, 1) == 0);
    s.now_ms = 1;
}

static void keyspace_table(void)
{
    char text[32];
    uint8_t data[64];
    memset(data, 'v', sizeof(data));
    open_shard();
    double lowest = 1e9, highest = 0;
    printf("%10s %24s\n", "keys", "B/key beyond key+value");
    for (size_t i = 0, next = 100000; i < 4000000; i++) {
        struct span k = key_text(text, i);
        CHECK(ks_set(&s, 0, k, shard_hash(&s, k), span_of(data, 64), KS_NO_TTL));
        double per_key = (double)s.mem.used_bytes / (double)(i + 1) - 80;
        if (i >= 100000 && per_key < lowest)
            lowest = per_key;
        if (i >= 100000 && per_key > highest)
            highest = per_key;
        if (i + 1 == next || i + 1 == 1000000)
            printf("%10zu %24.2f\n", i + 1, per_key);
        if (i + 1 == next)
            next *= 2;
    }
    printf("over all sizes from 1e5 to 4e6: least %.2f, most %.2f\n", lowest, highest);
    shard_fini(&s);
}

/* One key among a thousand, so that the segment is an ordinary one. */
static void repeat(const char *what, size_t n)
{
    char text[32];
    uint8_t data[64];
    memset(data, 'v', sizeof(data));
    open_shard();
    for (size_t i = 0; i < 1000; i++) {
        struct span k = key_text(text, i);
        CHECK(ks_set(&s, 0, k, shard_hash(&s, k), span_of(data, 64), KS_NO_TTL));
    }
    size_t done = 0;
    for (size_t i = 0; i < n; i++) {
        struct span k = key_text(text, 500); /* costs the same in all modes; subtract mode `none` */
        uint64_t hash = *what == 'n' || *what == 'h' ? 0 : shard_hash(&s, k);
        if (*what == 'f')
            done += dict_find(s.db[0].keys, hash, k) != NULL;
        else if (*what == 'g')
            done += ks_read(&s, 0, k, hash) != NULL;
        else if (*what == 's')
            done += ks_set(&s, 0, k, hash, span_of(data, 64), KS_NO_TTL) != NULL;
        else if (*what == 'h')
            done += shard_hash(&s, k) != 0;
        else
            done++;
    }
    CHECK(done == n);
    shard_fini(&s);
}

int main(int argc, char **argv)
{
    if (argc == 3)
        repeat(argv[1], strtoul(argv[2], NULL, 10));
    else if (argc == 2)
        keyspace_table();
    else
        dict_table();
    return 0;
}
