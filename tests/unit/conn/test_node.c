/* Clients of core-addressed ports in pipelines: what is theirs runs in place, what is not is told with MOVED or CROSSSLOT, in order. */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/base/crc.h"
#include "engine/cmd/command_table.h"
#include "tests/unit/conn/server.h"
#include "tests/unit/unit.h"

#define CLIENTS 4
#define KEYS    24
#define ABSENT  INT64_MIN

struct asker {
    struct tcp_conn *tc;
    int id;
    uint32_t node; /* UINT32_MAX: of the main port */
    int64_t value[KEYS];
    char want[1 << 16], said[1 << 16];
    size_t want_n, said_n;
};

static uint64_t seed;
static int subscribers;

static uint32_t pick(uint32_t n)
{
    seed = seed * 6364136223846793005ull + 1442695040888963407ull;
    return (uint32_t)(seed >> 33) % n;
}

/* Short ones, such as a batch hashes inline, and ones that it does not. */
static int name(char to[96], const struct asker *a, int k)
{
    static const char *const form[] = {"%d:%d", "client:%d:k%d", "a:client:%d:the:key:%d",
                                       "the:name:of:this:key:is:rather:long:%d:%d"};
    return snprintf(to, 96, form[k % 4], a->id, k);
}

static __attribute__((format(printf, 2, 3))) void want(struct asker *a, const char *format, ...)
{
    va_list ap;
    va_start(ap, format);
    a->want_n += (size_t)vsnprintf(a->want + a->want_n, sizeof(a->want) - a->want_n, format, ap);
    va_end(ap);
    assert_true(a->want_n < sizeof(a->want));
}

static void want_value(struct asker *a, int64_t v)
{
    char text[32];
    if (v == ABSENT)
        want(a, "$-1\r\n");
    else
        want(a, "$%d\r\n%s\r\n", snprintf(text, sizeof(text), "%lld", (long long)v), text);
}

static void ask_argv(struct asker *a, int argc, const char *const argv[])
{
    a->said_n += (size_t)sprintf(a->said + a->said_n, "*%d\r\n", argc);
    for (int i = 0; i < argc; i++)
        a->said_n +=
            (size_t)sprintf(a->said + a->said_n, "$%zu\r\n%s\r\n", strlen(argv[i]), argv[i]);
    assert_true(a->said_n < sizeof(a->said));
}

/* True: it is not that node's, which is what will be answered. */
static bool moved(struct asker *a, uint32_t count, const char *key)
{
    struct span k = span_of(key, strlen(key));
    uint32_t owner = shard_of_key(k, count);
    if (a->node == UINT32_MAX || owner == a->node)
        return false;
    want(a, "-MOVED %u 10.0.0.1:%u\r\n", key_slot(k.p, k.n), 6380 + owner);
    return true;
}

static void ask_one(struct asker *a, uint32_t count)
{
    char key[96], other[96], number[16];
    int k = (int)pick(KEYS), m = (int)pick(KEYS), n = (int)pick(1000000);
    int64_t *v = &a->value[k];
    name(key, a, k);
    name(other, a, m);
    snprintf(number, sizeof(number), "%d", n);
    switch (pick(10)) {
    case 0:
        ask_argv(a, 3, (const char *[]){"SET", key, number});
        if (moved(a, count, key))
            return;
        want(a, "+OK\r\n");
        *v = n;
        return;
    case 1:
        ask_argv(a, 2, (const char *[]){"DEL", key});
        if (moved(a, count, key))
            return;
        want(a, ":%d\r\n", *v != ABSENT);
        *v = ABSENT;
        return;
    case 2:
        ask_argv(a, 2, (const char *[]){"INCR", key});
        if (moved(a, count, key))
            return;
        *v = *v == ABSENT ? 1 : *v + 1;
        want(a, ":%lld\r\n", (long long)*v);
        return;
    case 3:
        ask_argv(a, 3, (const char *[]){"MGET", key, other});
        if (a->node != UINT32_MAX &&
            key_slot((uint8_t *)key, strlen(key)) != key_slot((uint8_t *)other, strlen(other))) {
            want(a, "-CROSSSLOT Keys in request don't hash to the same slot\r\n");
        } else if (!moved(a, count, key)) {
            want(a, "*2\r\n");
            want_value(a, *v);
            want_value(a, a->value[m]);
        }
        return;
    case 4:
        ask_argv(a, 3, (const char *[]){"LPUSH", key, number});
        if (moved(a, count, key))
            return;
        if (*v != ABSENT) {
            want(a, "-WRONGTYPE Operation against a key holding the wrong kind of value\r\n");
            return;
        }
        want(a, ":1\r\n");
        ask_argv(a, 2, (const char *[]){"UNLINK", key});
        want(a, ":1\r\n");
        return;
    case 5: /* its answer comes by mail, which what follows waits for */
        ask_argv(a, 2, (const char *[]){"KEYS", "none:*"});
        want(a, "*0\r\n");
        return;
    case 6: /* so does this one's, while this worker's shard is nobody else's */
        ask_argv(a, 3, (const char *[]){"PUBLISH", "news", number});
        want(a, ":%d\r\n", subscribers);
        return;
    default:
        ask_argv(a, 2, (const char *[]){"GET", key});
        if (!moved(a, count, key))
            want_value(a, *v);
    }
}

static void say_all(struct asker *a)
{
    size_t cut = pick(2) ? pick((uint32_t)a->said_n) : a->said_n;
    char first[sizeof(a->said)];
    memcpy(first, a->said, cut);
    first[cut] = 0;
    if (cut)
        say(a->tc, first);
    if (cut != a->said_n)
        say(a->tc, a->said + cut);
}

static void ask_round(struct server *s, struct asker *all)
{
    for (int i = 0; i < CLIENTS; i++) {
        struct asker *a = &all[i];
        a->want_n = a->said_n = 0;
        for (uint32_t n = pick(3) ? 1 + pick(60) : 1; n; n--)
            ask_one(a, s->count);
        say_all(a);
    }
    settle(s);
    for (int i = 0; i < CLIENTS; i++)
        expect_out(all[i].tc, all[i].want);
}

static void test_pipelines_of_node_clients(void **state)
{
    (void)state;
    static struct asker all[CLIENTS];
    seed = 7;
    for (uint32_t count = 1; count <= MAX_WORKERS; count++) {
        struct server s;
        server_config(&s);
        s.core_addressed = true;
        server_start(&s, count);
        for (int i = 0; i < CLIENTS; i++) {
            /* two at home at one node, one of that worker's whose node is another, one of nobody's */
            uint32_t node = i == 2 ? count - 1 : i == 3 ? UINT32_MAX : 0;
            all[i] = (struct asker){.id = i, .node = node};
            all[i].tc = client(&s, 0, node == UINT32_MAX ? 6379 : (uint16_t)(6380 + node));
            for (int k = 0; k < KEYS; k++)
                all[i].value[k] = ABSENT;
        }
        struct tcp_conn *reader = client(&s, count - 1, 6379);
        say(reader, "SUBSCRIBE news\r\n");
        settle(&s);
        subscribers = 1;
        for (int i = 0; i < 300; i++) {
            ask_round(&s, all);
            reader->out_len = 0;
        }
        subscribers = 0;
        leave(reader);
        for (int i = 0; i < CLIENTS; i++)
            leave(all[i].tc);
        server_down(&s);
    }
}

/* A client that is at home at its node runs in place without a look at each slot, also behind what is under way elsewhere, under somebody's
 * lease, in a transaction and as a tracker. */
static void test_node_client_beside_leases_and_transactions(void **state)
{
    (void)state;
    static struct asker a;
    struct server s;
    char line[256], key[96];
    seed = 11;
    server_config(&s);
    s.core_addressed = true;
    server_start(&s, 3);
    a = (struct asker){.id = 1, .node = 0};
    a.tc = client(&s, 0, 6380);
    for (int k = 0; k < KEYS; k++)
        a.value[k] = ABSENT;
    struct tcp_conn *other = client(&s, 1, 6379);
    for (int round = 0; round < 200; round++) {
        if (round % 2) { /* every shard is somebody's for a while */
            expect(&s, other, "SET from:1 v\r\n", "+OK\r\n");
            snprintf(line, sizeof(line), "RENAME from:1 to:%d\r\n", round);
            say(other, line);
        } else {
            say(other, "MSET x 1 y 2 z 3 {u}1 4 {u}2 5\r\n");
        }
        a.want_n = a.said_n = 0;
        for (int n = 0; n < 20; n++)
            ask_one(&a, s.count);
        say_all(&a);
        settle(&s);
        expect_out(other, "+OK\r\n");
        expect_out(a.tc, a.want);
    }
    int mine = 0, theirs = 0;
    while (name(key, &a, mine), shard_of_key(span_of(key, strlen(key)), 3) != 0)
        mine++;
    while (name(key, &a, theirs), shard_of_key(span_of(key, strlen(key)), 3) == 0)
        theirs++;
    char own[96];
    name(own, &a, mine);
    name(key, &a, theirs);
    uint32_t slot = key_slot((uint8_t *)key, strlen(key));
    char want_moved[96];
    snprintf(want_moved, sizeof(want_moved), "-MOVED %u 10.0.0.1:%u\r\n", slot,
             6380 + shard_of_key(span_of(key, strlen(key)), 3));
    expect(&s, a.tc, "MULTI\r\n", "+OK\r\n");
    snprintf(line, sizeof(line), "SET %s 5\r\n", own);
    expect(&s, a.tc, line, "+QUEUED\r\n");
    snprintf(line, sizeof(line), "SET %s 5\r\n", key);
    expect(&s, a.tc, line, want_moved);
    expect(&s, a.tc, "EXEC\r\n",
           "-EXECABORT Transaction discarded because of previous errors.\r\n");
    leave(other);
    leave(a.tc);
    server_down(&s);
}

/* What the workers have written down is on the disk. */
static void all_durable(struct server *s, struct ring *rings)
{
    for (uint32_t i = 0; i < s->count; i++) {
        struct ring_record rec;
        while (ring_peek(&rings[i], &rec) == RING_RECORD)
            ring_release(&rings[i]);
        __atomic_store_n(&link_journal(s->control)->durable[i], s->w[i]->shard.journal_seq,
                         __ATOMIC_RELEASE);
    }
}

/* While replies wait for the disk all behind them is kept aside, and so is who is told that a key is another node's. */
static void test_node_client_behind_replies_that_wait_for_the_disk(void **state)
{
    (void)state;
    static struct asker a;
    seed = 13;
    for (uint32_t count = 1; count <= MAX_WORKERS; count += 2) {
        struct server s;
        struct ring rings[MAX_WORKERS];
        server_config(&s);
        s.core_addressed = true;
        s.config.journal = JOURNAL_ALWAYS;
        server_link(&s, count);
        server_start(&s, count);
        for (uint32_t i = 0; i < count; i++)
            assert_int_equal(link_journal_ring(s.control, i, &rings[i]), 0);
        settle(&s);
        a = (struct asker){.id = 1, .node = 0, .tc = client(&s, 0, 6380)};
        for (int k = 0; k < KEYS; k++)
            a.value[k] = ABSENT;
        for (int round = 0; round < 200; round++) {
            a.want_n = a.said_n = 0;
            for (uint32_t n = 1 + pick(30); n; n--)
                ask_one(&a, count);
            say_all(&a);
            turns(&s, (int)pick(4));
            for (int k = 0; k < 4; k++) {
                settle(&s);
                all_durable(&s, rings);
            }
            settle(&s);
            expect_out(a.tc, a.want);
        }
        leave(a.tc);
        server_down(&s);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_pipelines_of_node_clients),
        cmocka_unit_test(test_node_client_beside_leases_and_transactions),
        cmocka_unit_test(test_node_client_behind_replies_that_wait_for_the_disk),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
