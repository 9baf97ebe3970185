/* Staging: whatever way the bytes of a stream come, the replies are the same. One server gets every stream a byte at a time, so that each
 * request is gathered by the parser and runs in a batch of its own; others get it whole, in segments of every length, and beside other
 * clients' streams, so that requests are recognised by their beginnings, cut by segments and run beside entries that their batch has
 * prefetched and that an earlier request may have changed, moved or freed. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "dataplane/conn/conn_internal.h"
#include "tests/unit/conn/fake_net.h"
#include "tests/unit/unit.h"

#define MAX_WORKERS 3
#define STREAM      16384

struct server {
    uint32_t count;
    struct worker *w[MAX_WORKERS];
    struct net *net[MAX_WORKERS];
    struct engine_config config;
    uint64_t now_ns;
};

static uint16_t rx_one(void *ctx, struct rte_mbuf **pkts, uint16_t n)
{
    (void)ctx, (void)pkts, (void)n;
    return 1;
}

static void server_up(struct server *s, uint32_t count, uint64_t maxmemory)
{
    memset(s, 0, sizeof(*s));
    s->count = count;
    s->now_ns = 1000000000;
    engine_config_defaults(&s->config);
    s->config.protected_mode = 0;
    s->config.maxmemory_bytes = maxmemory;
    for (uint32_t i = 0; i < count; i++) {
        struct worker_config c = {.id = i,
                                  .count = count,
                                  .all = s->w,
                                  .config = &s->config,
                                  .rx = rx_one,
                                  .hash_seed = {1, 2},
                                  .seed = 7};
        assert_int_equal(worker_create(&s->w[i], &c), 0);
        s->net[i] = fake_last_net();
    }
}

static void turn(struct server *s)
{
    for (uint32_t i = 0; i < s->count; i++)
        worker_turn(s->w[i], s->now_ns, 1700000000000000ll);
}

static void settle(struct server *s)
{
    for (int k = 0; k < (s->count == 1 ? 12 : 400); k++)
        turn(s);
}

static void server_down(struct server *s)
{
    settle(s);
    for (uint32_t i = 0; i < s->count; i++)
        worker_destroy(s->w[i]);
}

/* ---- streams ---- */

struct stream {
    size_t n;
    uint8_t p[STREAM];
    uint64_t rng;
};

static uint32_t draw(struct stream *s, uint32_t below)
{
    s->rng = s->rng * 6364136223846793005ull + 1442695040888963407ull;
    return (uint32_t)(s->rng >> 33) % below;
}

static void put(struct stream *s, const void *p, size_t n)
{
    assert_true(s->n + n <= STREAM);
    memcpy(s->p + s->n, p, n);
    s->n += n;
}

static void put_arg(struct stream *s, const void *p, size_t n)
{
    char head[32];
    put(s, head, (size_t)snprintf(head, sizeof(head), "$%zu\r\n", n));
    put(s, p, n);
    put(s, "\r\n", 2);
}

static void put_key(struct stream *s)
{
    static const char *const key[] = {"k",
                                      "a",
                                      "key:000000000001",
                                      "key:000000000002",
                                      "\r\n$3\r\n",
                                      "",
                                      "bb",
                                      "a key that is longer than sixteen bytes",
                                      "zz",
                                      "key:000000000003"};
    const char *k = key[draw(s, ARRAY_LEN(key))];
    put_arg(s, k, strlen(k));
}

static void put_value(struct stream *s)
{
    static const uint16_t lengths[] = {0,  1,  3,  9,   10,  20,  44,   45,  63,
                                       64, 65, 99, 100, 120, 999, 1000, 1100};
    char v[1200];
    size_t n = lengths[draw(s, draw(s, 4) ? 12 : ARRAY_LEN(lengths))];
    memset(v, 'a' + (int)draw(s, 26), n);
    if (draw(s, 5) == 0) {
        n = (size_t)snprintf(v, sizeof(v), "%d", (int)draw(s, 1000) - 500);
    }
    put_arg(s, v, n);
}

static void put_name(struct stream *s, uint32_t argc, const char *name)
{
    char head[32], word[16];
    size_t n = strlen(name);
    for (size_t i = 0; i < n; i++) {
        bool upper = name[i] >= 'a' && name[i] <= 'z' && draw(s, 8) != 0;
        word[i] = upper ? (char)(name[i] - 32) : name[i];
    }
    put(s, head, (size_t)snprintf(head, sizeof(head), "*%u\r\n", argc));
    put_arg(s, word, n);
}

static void put_request(struct stream *s)
{
    switch (draw(s, 30)) {
    default: put_name(s, 2, "get"), put_key(s); break;
    case 8 ... 14: put_name(s, 3, "set"), put_key(s), put_value(s); break;
    case 15: put_name(s, 2, "del"), put_key(s); break;
    case 16: put_name(s, 2, "incr"), put_key(s); break;
    case 17: put_name(s, 3, "append"), put_key(s), put_value(s); break;
    case 18: put_name(s, 3, "rename"), put_key(s), put_key(s); break;
    case 19: put_name(s, 3, "mget"), put_key(s), put_key(s); break;
    case 20: put_name(s, 3, "expire"), put_key(s), put_arg(s, "100", 3); break;
    case 21:
        put_name(s, 5, "set"), put_key(s), put_value(s), put_arg(s, "px", 2), put_arg(s, "9999", 4);
        break;
    case 22: put_name(s, 1, draw(s, 3) ? "ping" : "flushall"); break;
    case 23: put_name(s, 2, "select"), put_arg(s, draw(s, 2) ? "1" : "0", 1); break;
    case 24: put_name(s, 3, "swapdb"), put_arg(s, "0", 1), put_arg(s, "1", 1); break;
    case 25: put(s, "GET k\r\n", 7); break;
    case 26: put_name(s, 1, "get"); break;
    case 27: put_name(s, 3, "getrange"), put_key(s), put_arg(s, "1", 1); break;
    case 28: put_name(s, 4, "setrange"), put_key(s), put_arg(s, "3", 1), put_value(s); break;
    case 29: put_name(s, 2, "nosuch"), put_key(s); break;
    }
}

/* An end that is refused, or none. */
static void put_end(struct stream *s)
{
    static const char *const end[] = {"*2\r\n$3\r\nGET\r\n$05\r\nabcde\r\n",
                                      "*2\r\n$3\r\nGET\r\n$1x\r\nk\r\n",
                                      "*2\r\n$3\r\nGET\r\n$-1\r\n",
                                      "*2\r\n$3\r\nGET\r\n$99999999999\r\n",
                                      "*3\r\n$3\r\nSET\r\n$1\r\nk\r\nv\r\n",
                                      "*2\r\n$3\r\nGET\r\n:1\r\n",
                                      "*2\r\n$3\rXGET\r\n$1\rXkXX*1\r\n$4\r\nPING\r\n",
                                      "*2\r\n$3\r\nGETxx$1\r\nkxx*1\r\n$4\r\nPING\r\n",
                                      "*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$100\r\nhalf",
                                      "*2\r\n$3\r\nGET\r\n$16\r\nkey:0000"};
    uint32_t i = draw(s, 2 * ARRAY_LEN(end));
    if (i < ARRAY_LEN(end))
        put(s, end[i], strlen(end[i]));
}

static void make(struct stream *s, uint64_t seed)
{
    s->n = 0;
    s->rng = seed * 7919 + 1;
    for (uint32_t i = 0, n = 1 + draw(s, 90); i < n && s->n < STREAM - 4000; i++)
        put_request(s);
    put_end(s);
}

/* ---- comparison ---- */

static void feed(struct server *s, struct tcp_conn *tc, struct stream *st, uint32_t longest)
{
    for (size_t at = 0, n; at < st->n && !tc->closed_by_app; at += n) {
        n = longest == 1 ? 1 : 1 + draw(st, longest);
        if (n > st->n - at)
            n = st->n - at;
        fake_send(tc, st->p + at, n);
        turn(s);
        if (draw(st, 3) == 0)
            turn(s);
    }
    settle(s);
}

static void compare(uint64_t seed, uint32_t count, uint32_t longest, uint64_t maxmemory)
{
    static struct stream st;
    struct server slow, fast;
    make(&st, seed);
    server_up(&slow, 1, maxmemory);
    server_up(&fast, count, maxmemory);
    struct tcp_conn *a = fake_connect(slow.net[0]), *b = fake_connect(fast.net[seed % count]);
    feed(&slow, a, &st, 1);
    st.rng = seed;
    feed(&fast, b, &st, longest);
    size_t same = 0;
    while (same < a->out_len && same < b->out_len && a->out[same] == b->out[same])
        same++;
    if (same != a->out_len || same != b->out_len)
        fail_msg("seed %llu, %u workers, segments up to %u: from byte %zu of %zu and "
                 "%zu\n%.99s\n----\n%.99s",
                 (unsigned long long)seed, count, longest, same, a->out_len, b->out_len,
                 (char *)a->out + same, (char *)b->out + same);
    assert_int_equal(a->closed_by_app, b->closed_by_app);
    server_down(&slow);
    server_down(&fast);
    fake_free(a);
    fake_free(b);
}

static void test_replies_do_not_depend_on_segments(void **state)
{
    static const uint32_t longest[] = {STREAM, 1460, 300, 64, 17, 5};
    (void)state;
    for (uint64_t seed = 1; seed <= 240; seed++)
        compare(seed, seed % 4 == 0 ? 3 : 1, longest[seed % ARRAY_LEN(longest)],
                seed % 5 == 0 ? 1ull << 30 : 0);
}

/* Plain SETs obey maxmemory: refused where nothing may be taken, and what they evict was found before by others of the batch. */
static size_t put_pairs(char *to, uint32_t from, uint32_t n)
{
    size_t len = 0;
    for (uint32_t i = from; i < from + n; i++)
        len += (size_t)sprintf(to + len,
                               "*3\r\n$3\r\nSET\r\n$8\r\nkey:%04u\r\n$64\r\n%064u\r\n"
                               "*2\r\n$3\r\nGET\r\n$8\r\nkey:%04u\r\n",
                               i % 400, i % 400, (i + 7) % 400);
    return len;
}

static void test_maxmemory_in_a_batch(void **state)
{
    static const char oom[] = "-OOM command not allowed when used memory > 'maxmemory'.\r\n";
    static char text[16384];
    (void)state;
    struct server s;
    server_up(&s, 1, 1 << 20);
    struct tcp_conn *tc = fake_connect(s.net[0]);
    for (uint32_t i = 0; i < 400; i += 50) {
        fake_send(tc, text, put_pairs(text, i, 50));
        settle(&s);
    }
    struct shard *shard = &s.w[0]->shard;
    assert_int_equal(ks_count(shard, 0), 400);
    s.w[0]->config.maxmemory_bytes = shard->mem.used_bytes - 1;
    tc->out_len = 0;
    fake_send(tc, text, put_pairs(text, 0, 20));
    settle(&s);
    for (size_t i = 0, at = 0; i < 20; i++) { /* in place, yet refused; reads go on */
        assert_memory_equal(tc->out + at, oom, sizeof(oom) - 1);
        assert_memory_equal(tc->out + at + sizeof(oom) - 1, "$64\r\n", 5);
        at += sizeof(oom) - 1 + 71;
    }
    assert_int_equal(shard->stats.oom_refused, 20);
    assert_int_equal(shard->stats.evicted_keys, 0);
    s.w[0]->config.maxmemory_policy = POLICY_ALLKEYS_RANDOM;
    for (uint32_t round = 0; round < 50; round++) {
        s.w[0]->config.maxmemory_bytes = shard->mem.used_bytes - 2000;
        tc->out_len = 0;
        fake_send(tc, text, put_pairs(text, 37 * round, 30));
        settle(&s);
        const char *p = (const char *)tc->out;
        for (uint32_t i = 0; i < 30; i++) {
            char want[80];
            snprintf(want, sizeof(want), "$64\r\n%064u\r\n", (37 * round + i + 7) % 400);
            assert_memory_equal(p, "+OK\r\n", 5);
            p += 5;
            bool gone = memcmp(p, "$-1\r\n", 5) == 0;
            assert_true(gone || memcmp(p, want, 71) == 0);
            p += gone ? 5 : 71;
        }
        assert_int_equal(p - (const char *)tc->out, tc->out_len);
        assert_true(shard->mem.used_bytes < s.w[0]->config.maxmemory_bytes + 300); /* a write */
        fake_send(tc, text, put_pairs(text, 53 * round, 60)); /* some come back */
        s.w[0]->config.maxmemory_bytes = 1 << 20;
        settle(&s);
    }
    assert_true(shard->stats.evicted_keys > 100);
    server_down(&s);
    fake_free(tc);
}

/* Keys that several clients change in one batch. */
static void test_clients_share_a_batch(void **state)
{
    (void)state;
    struct server s;
    server_up(&s, 1, 0);
    struct tcp_conn *a = fake_connect(s.net[0]), *b = fake_connect(s.net[0]);
    static const char set[] =
        "*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$3\r\nold\r\n*2\r\n$3\r\nGET\r\n$1\r\nk\r\n";
    static const char change[] =
        "*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$40\r\nnew4567890123456789012345678901234567890\r\n"
        "*2\r\n$3\r\nGET\r\n$1\r\nk\r\n*2\r\n$3\r\nDEL\r\n$1\r\nk\r\n";
    static const char get[] = "*2\r\n$3\r\nGET\r\n$1\r\nk\r\n";
    fake_send(a, set, sizeof(set) - 1);
    settle(&s);
    fake_send(a, change, sizeof(change) - 1);
    fake_send(b, get, sizeof(get) - 1);
    turn(&s);
    static const char want[] =
        "+OK\r\n$3\r\nold\r\n+OK\r\n$40\r\nnew4567890123456789012345678901234567890\r\n:1\r\n";
    assert_int_equal(a->out_len, sizeof(want) - 1);
    assert_memory_equal(a->out, want, sizeof(want) - 1);
    assert_int_equal(b->out_len, 5);
    assert_memory_equal(b->out, "$-1\r\n", 5);
    server_down(&s);
    fake_free(a);
    fake_free(b);
}

/* The databases change under a batch whose entries were found in the old one. */
static void test_bug_flush_behind_prefetched_entries(void **state)
{
    (void)state;
    static const char text[] =
        "*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$3\r\nabc\r\n*2\r\n$3\r\nGET\r\n$1\r\nk\r\n";
    static const char flush[] =
        "*2\r\n$3\r\nGET\r\n$1\r\nk\r\n*1\r\n$8\r\nFLUSHALL\r\n*2\r\n$3\r\nGET\r\n$1\r\nk\r\n"
        "*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$3\r\nabd\r\n*2\r\n$3\r\nGET\r\n$1\r\nk\r\n";
    static const char want[] =
        "+OK\r\n$3\r\nabc\r\n$3\r\nabc\r\n+OK\r\n$-1\r\n+OK\r\n$3\r\nabd\r\n";
    struct server s;
    server_up(&s, 1, 0);
    struct tcp_conn *a = fake_connect(s.net[0]);
    fake_send(a, text, sizeof(text) - 1);
    settle(&s);
    fake_send(a, flush, sizeof(flush) - 1);
    settle(&s);
    assert_int_equal(a->out_len, sizeof(want) - 1);
    assert_memory_equal(a->out, want, sizeof(want) - 1);
    server_down(&s);
    fake_free(a);
}

/* What can become no request is refused at the byte that shows it, not when more bytes come. */
static void test_bug_bad_length_at_the_end_of_a_segment(void **state)
{
    static const char *const bad[] = {"$-1\r\n", "$x", "$05\r\n", "$1x\r\n", "x"};
    static const char get[] = "*2\r\n$3\r\nGET\r\n";
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        struct server s;
        server_up(&s, 1, 0);
        struct tcp_conn *tc = fake_connect(s.net[0]);
        fake_send(tc, get, sizeof(get) - 1);
        fake_send(tc, bad[i], strlen(bad[i]));
        if (bad[i][strlen(bad[i]) - 1] != '\n')
            fake_send(tc, "\r\n", 2);
        settle(&s);
        assert_true(tc->out_len > 20 && memcmp(tc->out, "-ERR Protocol error: ", 21) == 0);
        server_down(&s);
        fake_free(tc);
    }
}

/* More output than a client may hold, in the middle of a batch and before the end of a request that a segment has cut. */
static void test_output_is_full_before_a_cut_request(void **state)
{
    static const char big[] = "*4\r\n$8\r\nSETRANGE\r\n$1\r\nk\r\n$6\r\n199999\r\n$1\r\nx\r\n";
    static const char get[] = "*2\r\n$3\r\nGET\r\n$1\r\nk\r\n";
    (void)state;
    for (size_t cut = 1; cut < sizeof(get) - 1; cut++) {
        struct server s;
        server_up(&s, 1, 0);
        struct tcp_conn *tc = fake_connect(s.net[0]);
        fake_send(tc, big, sizeof(big) - 1);
        settle(&s);
        assert_int_equal(tc->out_len, 9);
        fake_open_window(tc, 9);
        for (int i = 0; i < 20; i++)
            fake_send(tc, get, sizeof(get) - 1);
        fake_send(tc, get, cut);
        settle(&s);
        fake_send(tc, get + cut, sizeof(get) - 1 - cut);
        fake_send(tc, "PING\r\n", 6);
        settle(&s);
        assert_true(((struct conn *)tc->cookie)->throttled);
        for (int i = 1; i <= 60; i++) {
            fake_open_window(tc, (size_t)i * 100000);
            turn(&s);
        }
        settle(&s);
        assert_int_equal(tc->out_len, 9 + 21 * (9 + 200000 + 2) + 7);
        assert_memory_equal(tc->out + tc->out_len - 7, "+PONG\r\n", 7);
        server_down(&s);
        fake_free(tc);
    }
}

/* One client fills the batch to its last place; whoever comes next in the same turn finds it full, whatever it says. */
static void test_full_batch_is_found_by_the_next_client(void **state)
{
    static const char get[] = "*2\r\n$3\r\nGET\r\n$16\r\nkey:000000000001\r\n";
    static const struct {
        const char *text, *more, *want;
    } next[] = {
        {get, "", "$-1\r\n"},
        {"*2\r\n$3\r\nGET\r\n$1\r\nk\r\n", "", "$-1\r\n"},
        {"*2\r\n$3\r\nGET\r\n$16\r\nkey:0000", "00000001\r\n", "$-1\r\n"},
        {"*2\r\n$3\r\nGE", "T\r\n$1\r\nk\r\n", "$-1\r\n"},
        {"PING\r\n", "", "+PONG\r\n"},
        {"*1\r\n$4\r\nPING\r\n", "", "+PONG\r\n"},
        {"*x\r\n", "", "-ERR Protocol error: invalid multibulk length\r\n"},
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(next); i++) {
        for (uint32_t requests = LIMIT_BATCH_CMDS - 1; requests <= LIMIT_BATCH_CMDS + 1;
             requests++) {
            struct server s;
            server_up(&s, 1, 0);
            struct tcp_conn *a = fake_connect(s.net[0]), *b = fake_connect(s.net[0]);
            uint8_t row[(LIMIT_BATCH_CMDS + 1) * sizeof(get)];
            for (uint32_t k = 0; k < requests; k++)
                memcpy(row + k * (sizeof(get) - 1), get, sizeof(get) - 1);
            fake_send(a, row, requests * (sizeof(get) - 1));
            fake_send(b, next[i].text, strlen(next[i].text));
            settle(&s);
            if (*next[i].more)
                fake_send(b, next[i].more, strlen(next[i].more));
            settle(&s);
            assert_int_equal(a->out_len, requests * 5);
            assert_int_equal(b->out_len, strlen(next[i].want));
            assert_memory_equal(b->out, next[i].want, b->out_len);
            server_down(&s);
            fake_free(a);
            fake_free(b);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_full_batch_is_found_by_the_next_client),
        cmocka_unit_test(test_replies_do_not_depend_on_segments),
        cmocka_unit_test(test_maxmemory_in_a_batch),
        cmocka_unit_test(test_clients_share_a_batch),
        cmocka_unit_test(test_bug_bad_length_at_the_end_of_a_segment),
        cmocka_unit_test(test_output_is_full_before_a_cut_request),
        cmocka_unit_test(test_bug_flush_behind_prefetched_entries),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
