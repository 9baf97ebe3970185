/* Effects: what a generated stream of commands has said, done again by a second engine at another time, gives the same keys, values and expiry. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/log/aof.h"
#include "engine/log/effect.h"
#include "tests/unit/cmd/harness.h"
#include "tests/unit/unit.h"

/* '@' and a letter: s string, h hash, l list, z sorted set, e set, x stream, a any key; f field, v value, n small number, m number that may be
 * negative, d float, t seconds, p milliseconds, T P the same as unix times (some of them past), i id of a stream entry, g group, c consumer. */
static const char *const templates[] = {
    "SET @s @v",
    "SET @s @v EX @t",
    "SET @s @v PX @p",
    "SET @s @v EXAT @T",
    "SET @s @v PXAT @P",
    "SET @s @v KEEPTTL",
    "SET @s @v NX",
    "SET @s @v XX GET",
    "SET @s @v GET EX @t",
    "SET @s @v IFEQ @v",
    "SET @s @v IFEQ @v EX @t",
    "SETEX @s @t @v",
    "PSETEX @s @p @v",
    "SETNX @s @v",
    "GETSET @s @v",
    "GETDEL @s",
    "GETEX @s",
    "GETEX @s EX @t",
    "GETEX @s PXAT @P",
    "GETEX @s PERSIST",
    "DELIFEQ @s @v",
    "APPEND @s @v",
    "SETRANGE @s @n @v",
    "SETBIT @s @n 1",
    "BITOP XOR @s @s @s",
    "BITFIELD @s INCRBY u8 @n @n SET i16 @n @m",
    "INCR @s",
    "INCRBY @s @m",
    "INCRBYFLOAT @s @d",
    "MSET @s @v @s @v",
    "MSETNX @s @v @s @v",
    "GET @a",
    "STRLEN @s",
    "MGET @s @s @s",
    "EXPIRE @a @t",
    "EXPIRE @a @m",
    "PEXPIRE @a @p NX",
    "EXPIREAT @a @T",
    "PEXPIREAT @a @P",
    "EXPIRE @a @t GT",
    "PERSIST @a",
    "DEL @a",
    "UNLINK @a @a",
    "RENAME @a @a",
    "RENAMENX @a @a",
    "COPY @a @a REPLACE",
    "COPY @a @a DB 1 REPLACE",
    "MOVE @a 1",
    "SELECT 1",
    "SELECT 0",
    "HSET @h @f @v @f @v",
    "HSETNX @h @f @v",
    "HINCRBY @h @f @m",
    "HINCRBYFLOAT @h @f @d",
    "HDEL @h @f @f",
    "HEXPIRE @h @t FIELDS 2 @f @f",
    "HPEXPIRE @h @p FIELDS 1 @f",
    "HPEXPIREAT @h @P FIELDS 2 @f @f",
    "HEXPIRE @h @t GT FIELDS 1 @f",
    "HPERSIST @h FIELDS 2 @f @f",
    "HGETEX @h EX @t FIELDS 2 @f @f",
    "HGETEX @h PERSIST FIELDS 1 @f",
    "HGETEX @h PXAT @P FIELDS 1 @f",
    "HSETEX @h EX @t FIELDS 2 @f @v @f @v",
    "HSETEX @h KEEPTTL FIELDS 1 @f @v",
    "HSETEX @h FNX PX @p FIELDS 1 @f @v",
    "HGETDEL @h FIELDS 2 @f @f",
    "HGETALL @h",
    "HGET @h @f",
    "HLEN @h",
    "HRANDFIELD @h 2",
    "LPUSH @l @v @v",
    "RPUSH @l @v @m @v",
    "LPOP @l",
    "RPOP @l @n",
    "LMOVE @l @l LEFT RIGHT",
    "RPOPLPUSH @l @l",
    "LSET @l 0 @v",
    "LINSERT @l BEFORE @v @v",
    "LREM @l 1 @v",
    "LTRIM @l 0 @n",
    "LMPOP 2 @l @l LEFT COUNT 2",
    "SORT @l ALPHA STORE @l",
    "SORT @e BY nosort ALPHA STORE @l",
    "SADD @e @f @f @m",
    "SREM @e @f",
    "SPOP @e",
    "SPOP @e @n",
    "SMOVE @e @e @f",
    "SUNIONSTORE @e @e @e",
    "SINTERSTORE @e @e @e",
    "SDIFFSTORE @e @e @e",
    "SRANDMEMBER @e",
    "ZADD @z @m @f @d @f",
    "ZADD @z GT CH @m @f",
    "ZADD @z INCR @d @f",
    "ZINCRBY @z @d @f",
    "ZREM @z @f",
    "ZPOPMIN @z",
    "ZPOPMAX @z 2",
    "ZREMRANGEBYRANK @z 0 1",
    "ZRANGESTORE @z @z 0 3",
    "ZUNIONSTORE @z 2 @z @z",
    "ZINTERSTORE @z 2 @z @z WEIGHTS 2 3",
    "ZDIFFSTORE @z 2 @z @z",
    "ZMPOP 1 @z MIN",
    "GEOADD @z 13.3 38.1 @f 15.0 37.5 @f",
    "GEOSEARCHSTORE @z @z FROMLONLAT 14 37 BYRADIUS 300 km",
    "GEORADIUS @z 14 37 300 km STORE @z",
    "PFADD @s @f @f",
    "PFCOUNT @s",
    "PFMERGE @s @s @s",
    "XADD @x * a @v",
    "XADD @x * a @v b @m",
    "XADD @x MAXLEN ~ 20 * a @v",
    "XADD @x MAXLEN 10 * a 1",
    "XADD @x MINID ~ @i * b 1",
    "XADD @x NOMKSTREAM @i c @v",
    "XTRIM @x MAXLEN ~ 5",
    "XTRIM @x MINID @i",
    "XDEL @x @i",
    "XSETID @x @i",
    "XGROUP CREATE @x @g $ MKSTREAM",
    "XGROUP CREATE @x @g 0 MKSTREAM",
    "XGROUP SETID @x @g 0",
    "XGROUP CREATECONSUMER @x @g @c",
    "XGROUP DELCONSUMER @x @g @c",
    "XGROUP DESTROY @x @g",
    "XREADGROUP GROUP @g @c COUNT 3 STREAMS @x >",
    "XREADGROUP GROUP @g @c NOACK COUNT 2 STREAMS @x >",
    "XREADGROUP GROUP @g @c COUNT 3 STREAMS @x 0",
    "XREADGROUP GROUP @g @c COUNT 2 STREAMS @x @x > >",
    "XACK @x @g @i @i",
    "XCLAIM @x @g @c 0 @i @i",
    "XCLAIM @x @g @c 0 @i IDLE @p RETRYCOUNT 7 FORCE",
    "XCLAIM @x @g @c 0 @i LASTID @i JUSTID",
    "XAUTOCLAIM @x @g @c 0 0 COUNT 3",
};

struct dice {
    uint64_t state;
};

static uint32_t roll(struct dice *d, uint32_t n)
{
    d->state = d->state * 6364136223846793005ull + 1442695040888963407ull;
    return (uint32_t)(d->state >> 33) % n;
}

static char *expand(struct dice *d, struct harness *h, char letter, char *to)
{
    static const char types[] = "shlzex";
    static const char *const values[] = {
        "a", "42", "-7", "hello", "3.25", "a-longer-value-that-is-no-embstr-any-more-at-all"};
    int64_t now_ms = h->now_us / 1000, late = (int64_t)roll(d, 20000) - 4000;
    switch (letter) {
    case 'a': return to + sprintf(to, "%c%u", types[roll(d, 6)], roll(d, 4));
    case 'f': return to + sprintf(to, "f%u", roll(d, 8));
    case 'v': return to + sprintf(to, "%s", values[roll(d, 6)]);
    case 'n': return to + sprintf(to, "%u", roll(d, 12));
    case 'm': return to + sprintf(to, "%d", (int)roll(d, 200) - 60);
    case 'd': return to + sprintf(to, "%d.%u", (int)roll(d, 20) - 10, roll(d, 1000));
    case 't': return to + sprintf(to, "%u", roll(d, 12) + 1);
    case 'p': return to + sprintf(to, "%u", roll(d, 9000) + 1);
    case 'T': return to + sprintf(to, "%lld", (long long)(now_ms + late) / 1000);
    case 'P': return to + sprintf(to, "%lld", (long long)(now_ms + late));
    case 'i': return to + sprintf(to, "%lld-%u", (long long)(now_ms - roll(d, 3000)), roll(d, 2));
    case 'g': return to + sprintf(to, "g%u", roll(d, 2));
    case 'c': return to + sprintf(to, "c%u", roll(d, 3));
    default: return to + sprintf(to, "%c%u", letter, roll(d, 4));
    }
}

static void generate(struct dice *d, struct harness *h, char *line)
{
    const char *t = templates[roll(d, sizeof(templates) / sizeof(templates[0]))];
    for (; *t; t++) {
        if (*t == '@')
            line = expand(d, h, *++t, line);
        else
            *line++ = *t;
    }
    *line = 0;
}

/* ---- the two engines ---- */

static void journal(struct harness *h, struct effects *f)
{
    effects_init(f);
    for (uint32_t i = 0; i < h->count; i++) {
        h->shards[i].effects = f;
        h->shards[i].listen |= LISTEN_JOURNAL;
    }
}

static void replay(struct harness *h, const struct effects *f)
{
    static struct span argv[1024];
    struct span bytes = span_of(f->p, f->len);
    uint32_t argc;
    h->session->db = f->first_db == EFFECTS_NO_DB ? 0 : f->first_db;
    for (uint64_t at = 0, n; (n = aof_next(bytes, at, argv, 1024, &argc)); at += n) {
        if (span_is(argv[0], "multi") || span_is(argv[0], "exec"))
            continue;
        struct span reply = harness_runv(h, argv, argc);
        if (reply.n && reply.p[0] == '-')
            fail_msg("%.*s\n%.*s", (int)n, (const char *)f->p + at, (int)reply.n,
                     (const char *)reply.p);
    }
}

/* Everything that a key is but when a consumer was last seen, as text on the heap. */
static char *picture(struct harness *h, const char *key)
{
    static const char *const forms[] = {"TYPE %s", "PEXPIRETIME %s", "DUMP %s"};
    char line[200], *text = NULL;
    size_t n = 0;
    bool stream = false;
    for (int i = 0; i < 3; i++) {
        snprintf(line, sizeof(line), i == 2 && stream ? "XINFO STREAM %s FULL COUNT 0" : forms[i],
                 key);
        const char *reply = harness_run(h, line);
        size_t len = h->reply.len - 1;
        stream |= i == 0 && strstr(reply, "stream");
        text = realloc(text, n + len * 4 + 1);
        for (size_t k = 0; k < len; k++) {
            if (stream && len - k > 9 && memcmp(reply + k, "seen-time", 9) == 0)
                for (k += 12; k < len && reply[k] != '\n'; k++)
                    ;
            n += (size_t)sprintf(text + n, reply[k] >= ' ' && reply[k] < 127 ? "%c" : "\\x%02x",
                                 (uint8_t)reply[k]);
        }
    }
    text[n] = 0;
    return text;
}

static int by_bytes(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

/* The members of a set, in order: an intset that SPOP has made again may be a table here. */
static char *members(struct harness *h, const char *key)
{
    char line[200], *word[512], *copy;
    size_t n = 0, len = 0;
    snprintf(line, sizeof(line), "SMEMBERS %s", key);
    copy = strdup(harness_run(h, line));
    for (char *w = strtok(copy, "\r\n"); w && n < 512; w = strtok(NULL, "\r\n"))
        if (*w != '$' && *w != '*')
            word[n++] = w;
    qsort(word, n, sizeof(*word), by_bytes);
    char *text = malloc(512 * 64);
    *text = 0;
    for (size_t i = 0; i < n; i++)
        len += (size_t)sprintf(text + len, "%s ", word[i]);
    free(copy);
    return text;
}

static void compare_key(struct harness *a, struct harness *b, const char *key, uint64_t seed)
{
    char *want = picture(a, key), *got = picture(b, key);
    if (strcmp(want, got) && want[1] == 's' && want[2] == 'e') {
        free(want);
        free(got);
        want = members(a, key);
        got = members(b, key);
    }
    if (strcmp(want, got))
        fail_msg("seed %llu, key %s\nwant %s\ngot  %s", (unsigned long long)seed, key, want, got);
    free(want);
    free(got);
}

static void compare(struct harness *a, struct harness *b, uint64_t seed)
{
    for (uint32_t db = 0; db < 2; db++) {
        a->session->db = b->session->db = db;
        for (const char *t = "shlzex"; *t; t++)
            for (int i = 0; i < 4; i++) {
                char key[8];
                snprintf(key, sizeof(key), "%c%d", *t, i);
                compare_key(a, b, key, seed);
            }
        char size[64]; /* every key was looked at: none is there whose time has passed */
        snprintf(size, sizeof(size), "%s", harness_run(a, "DBSIZE"));
        assert_string_equal(harness_run(b, "DBSIZE"), size);
    }
}

/* What has run out of time leaves both before they are compared. */
static void settle(struct harness *h)
{
    for (uint32_t i = 0; i < h->count; i++)
        for (int k = 0; k < 200; k++)
            shard_tick(&h->shards[i], 1000);
}

static uint64_t said[3];

static void run(uint64_t seed, uint32_t shards, unsigned commands)
{
    struct harness a, b;
    struct effects f;
    struct dice d = {seed * 0x9e3779b97f4a7c15ull + 1};
    char line[512];
    harness_init(&a, shards);
    harness_init(&b, 1);
    a.config.hash_max_listpack_entries = b.config.hash_max_listpack_entries = 6;
    a.config.stream_node_max_entries = b.config.stream_node_max_entries = 5;
    journal(&a, &f);
    for (unsigned i = 0; i < commands; i++) {
        if (roll(&d, 4) == 0)
            harness_advance_ms(&a, roll(&d, 2000));
        if (roll(&d, 100) == 0)
            settle(&a);
        generate(&d, &a, line);
        harness_run(&a, line);
    }
    settle(&a);
    harness_advance_ms(&b, a.now_us / 1000 - b.now_us / 1000 + 3600000);
    b.shards[0].loading = true;
    replay(&b, &f);
    harness_advance_ms(&b, a.now_us / 1000 - b.now_us / 1000);
    b.shards[0].loading = false;
    for (uint32_t i = 0; i < shards; i++)
        a.shards[i].listen &= ~(uint32_t)LISTEN_JOURNAL;
    compare(&a, &b, seed);
    said[0] += commands;
    said[1] += f.commands;
    said[2] += f.len;
    effects_fini(&f);
    harness_fini(&a);
    harness_fini(&b);
}

static void test_replay_gives_the_same_dataset(void **state)
{
    const char *longer = getenv("BAREWIRE_LONG");
    uint64_t seeds = longer ? 3000 : 60;
    for (uint64_t seed = 1; seed <= seeds; seed++)
        run(seed, 1 + (uint32_t)seed % 4, 600);
    print_message("%llu commands, %llu effects, %llu bytes\n", (unsigned long long)said[0],
                  (unsigned long long)said[1], (unsigned long long)said[2]);
    assert_true(said[1] > said[0] / 4);
}

/* ---- word for word ---- */

static void expect_effect(struct harness *h, struct effects *f, const char *line, const char *want)
{
    effects_reset(f);
    harness_run(h, line);
    char got[2000];
    size_t n = 0;
    struct span argv[32];
    uint32_t argc;
    got[0] = 0;
    for (uint64_t at = 0, len; (len = aof_next(span_of(f->p, f->len), at, argv, 32, &argc));
         at += len) {
        n += (size_t)sprintf(got + n, "%s", n ? "; " : "");
        for (uint32_t i = 0; i < argc; i++)
            n += (size_t)sprintf(got + n, "%s%.*s", i ? " " : "", (int)argv[i].n,
                                 (const char *)argv[i].p);
    }
    if (strcmp(got, want))
        fail_msg("%s\nwant %s\ngot  %s", line, want, got);
}

static void test_words_of_effects(void **state)
{
    struct harness h;
    struct effects f;
    harness_init(&h, 1); /* the clock stands at 1700000000000 */
    journal(&h, &f);
    expect_effect(&h, &f, "SET k v", "SET k v");
    expect_effect(&h, &f, "set k v nx", "");
    expect_effect(&h, &f, "GET k", "");
    expect_effect(&h, &f, "SET k v EX 10", "SET k v PXAT 1700000010000");
    expect_effect(&h, &f, "INCRBYFLOAT n 1.5", "SET n 1.5 KEEPTTL");
    expect_effect(&h, &f, "EXPIRE k 100", "PEXPIREAT k 1700000100000");
    expect_effect(&h, &f, "EXPIRE k -1", "DEL k");
    expect_effect(&h, &f, "SADD s a", "SADD s a");
    expect_effect(&h, &f, "SPOP s", "SREM s a");
    expect_effect(&h, &f, "XADD x * a 1", "XADD x 1700000000000-0 a 1");
    expect_effect(&h, &f, "XADD x MAXLEN = 1 * a 1",
                  "MULTI; XADD x 1700000000000-1 a 1; XTRIM x MAXLEN = 1; EXEC");
    expect_effect(&h, &f, "XADD x NOMKSTREAM MAXLEN ~ 100 * b 2", "XADD x 1700000000000-2 b 2");
    expect_effect(&h, &f, "HSET h f v", "HSET h f v");
    expect_effect(&h, &f, "HEXPIRE h 5 FIELDS 1 f", "HPEXPIREAT h 1700000005000 FIELDS 1 f");
    expect_effect(&h, &f, "SET k v PX 5", "SET k v PXAT 1700000000005");
    harness_advance_ms(&h, 6000);
    expect_effect(&h, &f, "GET k", "DEL k");
    expect_effect(&h, &f, "HGET h f", "HDEL h f");
    expect_effect(&h, &f, "FLUSHALL", "FLUSHALL");
    h.session->db = 3;
    expect_effect(&h, &f, "SET k v", "SET k v");
    assert_int_equal(f.first_db, 3);
    effects_reset(&f);
    effects_multi_begin(&f);
    harness_run(&h, "SET a 1");
    h.session->db = 4;
    harness_run(&h, "SET b 1");
    effects_multi_end(&f);
    assert_memory_equal(f.p, "*1\r\n$5\r\nMULTI\r\n*3", 17);
    assert_memory_equal(f.p + f.len - 14, "*1\r\n$4\r\nEXEC\r\n", 14);
    assert_int_equal(f.db, 4);
    effects_fini(&f);
    harness_fini(&h);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_words_of_effects),
        cmocka_unit_test(test_replay_gives_the_same_dataset),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
