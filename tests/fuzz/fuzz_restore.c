/* RESTORE payloads under libFuzzer: the input is a type byte and a value; the footer is made for it, so that every mutation gets past the
 * checksum. What is accepted must be a value that all commands can work with, and that dumps and restores to the same again. No
 * memory may be left. */
#include <stdlib.h>

#include "engine/base/assert.h"
#include "engine/log/rdb.h"
#include "tests/fuzz/fuzz.h"
#include "tests/unit/cmd/harness.h"

static struct harness h;

static const char *const any[] = {"OBJECT ENCODING k", "MEMORY USAGE k", "COPY k copy",
                                  "RENAME copy moved", NULL};
static const char *const lists[] = {"LLEN k",        "LRANGE k 0 -1", "LINDEX k -2",
                                    "LPOS k a",      "LSET k 0 b",    "LINSERT k BEFORE b c",
                                    "LPUSH k x y z", "RPUSH k 1 2 3", "LREM k 0 x",
                                    "RPOP k 2",      "LTRIM k 1 -2",  NULL};
static const char *const sets[] = {
    "SCARD k",         "SMEMBERS k",         "SISMEMBER k a",        "SADD k 5 a b", "SREM k a",
    "SRANDMEMBER k 3", "SSCAN k 0 COUNT 10", "SINTERCARD 2 k moved", "SPOP k",       NULL};
static const char *const zsets[] = {"ZCARD k",
                                    "ZRANGE k 0 -1 WITHSCORES",
                                    "ZADD k 1 a -inf b",
                                    "ZRANK k a",
                                    "ZRANGEBYSCORE k -inf 5",
                                    "ZINCRBY k 2 a",
                                    "ZREMRANGEBYRANK k 0 0",
                                    "ZRANGEBYLEX k - +",
                                    "ZPOPMAX k",
                                    NULL};
static const char *const hashes[] = {
    "HLEN k",         "HGETALL k",          "HSET k f v",    "HGET k f", "HDEL k f",
    "HRANDFIELD k 3", "HSCAN k 0 COUNT 10", "HINCRBY k n 5", "HDEL k n", NULL};
static const char *const strings[] = {"GET k",     "APPEND k x",     "SETBIT k 100 1",
                                      "PFCOUNT k", "GETRANGE k 1 2", NULL};
static const char *const streams[] = {"XLEN k",
                                      "XRANGE k - +",
                                      "XREVRANGE k + 1 COUNT 3",
                                      "XREAD STREAMS k 0",
                                      "XINFO STREAM k",
                                      "XINFO STREAM k FULL COUNT 0",
                                      "XINFO GROUPS k",
                                      "XADD k MAXLEN ~ 10 * f v",
                                      "XREADGROUP GROUP g c STREAMS k >",
                                      "XREADGROUP GROUP g a STREAMS k 0",
                                      "XPENDING k g",
                                      "XPENDING k g - + 10",
                                      "XCLAIM k g c 0 1-1 5-1 FORCE",
                                      "XAUTOCLAIM k g b 0 -",
                                      "XDEL k 1-1 5-1",
                                      "XAUTOCLAIM k g c 0 -",
                                      "XACK k g 9-0",
                                      "XGROUP DELCONSUMER k g a",
                                      "XTRIM k MINID 6",
                                      "XTRIM k MAXLEN 1",
                                      "XADD k * f v g w",
                                      NULL};

static void run_all(const char *const *lines)
{
    for (; *lines; lines++)
        harness_run(&h, *lines);
}

static bool restore(const char *key, struct span payload)
{
    struct span argv[] = {SPAN("RESTORE"), span_str(key), SPAN("0"), payload, SPAN("REPLACE")};
    return span_eq(harness_runv(&h, argv, 5), SPAN("+OK\r\n"));
}

/* The bytes of DUMP k, on the heap; NULL: no such key. */
static uint8_t *dump(size_t *n)
{
    struct span argv[] = {SPAN("DUMP"), SPAN("k")};
    struct span r = harness_runv(&h, argv, 2);
    const uint8_t *lf = memchr(r.p, '\n', r.n);
    CHECK(lf && r.p[0] == '$');
    if (r.p[1] == '-')
        return NULL;
    *n = (size_t)(r.p + r.n - lf - 3);
    uint8_t *p = malloc(*n);
    CHECK(p);
    memcpy(p, lf + 1, *n);
    return p;
}

/* Of the bytes before the footer in any order: members of a set that share a place may change theirs. */
static uint64_t histogram(const uint8_t *p, size_t n)
{
    uint64_t sum = 0;
    for (size_t i = 0; i + RDB_FOOTER_BYTES < n; i++)
        sum += crc64(1, p + i, 1);
    return sum;
}

/* A value may be laid out anew once (a list that was changed has other nodes); from then on it stays the same. */
static void dumps_to_itself(void)
{
    size_t n, again;
    uint8_t *first = dump(&n);
    if (!first)
        return;
    CHECK(restore("k", span_of(first, n)));
    free(first);
    first = dump(&n);
    CHECK(first && restore("k", span_of(first, n)));
    uint8_t *second = dump(&again);
    CHECK(second && n == again && histogram(first, n) == histogram(second, n));
    free(first);
    free(second);
}

static void use(void)
{
    static const struct {
        const char *type;
        const char *const *lines;
    } types[] = {{"+list", lists},  {"+set", sets},       {"+zset", zsets},
                 {"+hash", hashes}, {"+string", strings}, {"+stream", streams}};
    char type[16] = "";
    run_all(any);
    strncpy(type, harness_run(&h, "TYPE k"), sizeof(type) - 1);
    for (size_t i = 0; i < sizeof(types) / sizeof(types[0]); i++)
        if (strncmp(type, types[i].type, strlen(types[i].type)) == 0)
            run_all(types[i].lines);
    dumps_to_itself();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    if (n < 2 || n > 1 << 16)
        return 0;
    harness_init(&h, 1);
    uint8_t *payload = malloc(n + RDB_FOOTER_BYTES);
    CHECK(payload);
    memcpy(payload, data, n);
    memcpy(payload + n, (uint8_t[]){RDB_VERSION_READ, 0}, 2);
    uint64_t crc = crc64(0, payload, n + 2);
    memcpy(payload + n + 2, &crc, 8);
    if (restore("k", span_of(payload, n + RDB_FOOTER_BYTES)))
        use();
    free(payload);
    harness_run(&h, "FLUSHALL SYNC");
    harness_fini(&h); /* fails when a shard still holds memory */
    return 0;
}
