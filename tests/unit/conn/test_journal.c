/* The journal as control sees it, which the test plays: what is written down does the same again, replies wait for the disk. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/link/msg.h"
#include "tests/unit/conn/server.h"
#include "tests/unit/unit.h"

/* ---- what came through the journal rings ---- */

static void journal_up(struct server *s, uint32_t count, uint32_t mode, struct ring *rings)
{
    s->config.journal = mode;
    server_link(s, count);
    server_start(s, count);
    for (uint32_t i = 0; i < count; i++)
        assert_int_equal(link_journal_ring(s->control, i, &rings[i]), 0);
    settle(s);
}

/* Effects of all workers, each worker's in its order, behind a SELECT of the database in which they begin. */
static char *take_effects(struct server *s, struct ring *rings)
{
    char *text = calloc(1, 1 << 20);
    size_t n = 0;
    assert_non_null(text);
    for (uint32_t i = 0; i < s->count; i++) {
        struct ring_record rec;
        for (; ring_peek(&rings[i], &rec) == RING_RECORD; ring_release(&rings[i])) {
            struct msg_journal m;
            size_t head = 0;
            if (rec.type == MSG_JOURNAL) {
                memcpy(&m, rec.payload.p, sizeof(m));
                head = sizeof(m) + (m.shards + m.after) * sizeof(struct msg_journal_shard);
                if (m.bytes)
                    n += (size_t)sprintf(text + n, "SELECT %u\r\n", m.first_db);
            }
            memcpy(text + n, rec.payload.p + head, rec.payload.n - head);
            n += rec.payload.n - head;
        }
    }
    return text;
}

/* All keys of database 0 and their values, on a server that knows nothing but the effects. */
static void expect_replayed(const char *effects, const char *request, const char *want)
{
    struct server again;
    server_up(&again, 2);
    struct tcp_conn *tc = fake_connect(again.net[0]);
    say(tc, effects);
    settle(&again);
    tc->out_len = 0;
    expect(&again, tc, "SELECT 0\r\n", "+OK\r\n");
    expect(&again, tc, request, want);
    leave(tc);
    server_down(&again);
}

/* Nobody takes what is written: until worker 0 has no room for more. */
static void fill_journal(struct server *s, struct tcp_conn *tc, const char *key)
{
    size_t n = 60000;
    char *line = calloc(1, n + 64);
    assert_non_null(line);
    int k = snprintf(line, 32, "SET %s ", key);
    memset(line + k, 'v', n);
    memcpy(line + (size_t)k + n, "\r\n", 3);
    for (int i = 0; i < 200 && !s->w[0]->journal.held; i++) {
        say(tc, line);
        settle(s);
    }
    free(line);
    assert_true(s->w[0]->journal.held > 0);
}

/* A key of that shard. */
static void name_key(char to[16], uint32_t shard, uint32_t count, int nth)
{
    for (int k = 0;; k++) {
        int n = snprintf(to, 16, "k%d", k);
        if (shard_of_key(span_of(to, (size_t)n), count) == shard && nth-- == 0)
            return;
    }
}

#define QUEUED_FOUR "+OK\r\n+QUEUED\r\n+QUEUED\r\n+QUEUED\r\n+QUEUED\r\n"

/* A core-addressed FLUSHALL empties one shard. The log said FLUSHALL, and a restart emptied them all. */
static void test_flush_of_a_node_is_not_the_servers(void **state)
{
    (void)state;
    static const char *const flush[] = {
        "FLUSHALL\r\n", "FLUSHDB\r\n",
        "MULTI\r\nFLUSHALL\r\nDBSIZE\r\nKEYS *\r\nSCAN 0\r\nEXEC\r\n"};
    static const char *const want[] = {
        "+OK\r\n", "+OK\r\n", QUEUED_FOUR "*4\r\n+OK\r\n:0\r\n*0\r\n*2\r\n$1\r\n0\r\n*0\r\n"};
    for (uint32_t home = 0; home < 2; home++) {
        for (size_t k = 0; k < ARRAY_LEN(flush); k++) {
            struct server s;
            struct ring rings[2];
            char line[64], key[16];
            server_config(&s);
            s.core_addressed = true;
            journal_up(&s, 2, JOURNAL_ON, rings);
            struct tcp_conn *tc = client(&s, 0, 6379), *node = client(&s, home, 6380);
            for (int i = 0; i < 200; i++) { /* more than one DEL has */
                name_key(key, i % 2 ? 1 : 0, 2, i);
                snprintf(line, sizeof(line), "SET %s v\r\n", key);
                expect(&s, tc, line, "+OK\r\n");
            }
            expect(&s, tc, "DBSIZE\r\n", ":200\r\n");
            expect(&s, node, "DBSIZE\r\n", ":100\r\n");
            expect(&s, node, flush[k], want[k]);
            expect(&s, tc, "DBSIZE\r\n", ":100\r\n");
            expect(&s, node, flush[k], want[k]); /* of nothing */
            expect(&s, tc, "DBSIZE\r\n", ":100\r\n");
            char *effects = take_effects(&s, rings);
            assert_null(strstr(effects, "FLUSH"));
            expect_replayed(effects, "DBSIZE\r\n", ":100\r\n");
            free(effects);
            leave(tc);
            leave(node);
            server_down(&s);
        }
    }
}

/* With appendfsync always the reply of an EXEC under leases left before what it did was on the disk. */
static void test_exec_over_shards_waits_for_the_disk(void **state)
{
    (void)state;
    for (uint32_t home = 0; home < 3; home++) {
        struct server s;
        struct ring rings[3];
        char line[128], key[2][16];
        server_config(&s);
        journal_up(&s, 3, JOURNAL_ALWAYS, rings);
        struct tcp_conn *tc = client(&s, home, 6379);
        name_key(key[0], 0, 3, 0);
        name_key(key[1], 2, 3, 0);
        expect(&s, tc, "MULTI\r\n", "+OK\r\n");
        snprintf(line, sizeof(line), "SET %s v\r\nPUBLISH a b\r\nINCR %s\r\n", key[0], key[1]);
        expect(&s, tc, line, "+QUEUED\r\n+QUEUED\r\n+QUEUED\r\n");
        expect(&s, tc, "EXEC\r\n", "");
        link_journal(s.control)->durable[0] = 1;
        settle(&s);
        expect_out(tc, "");
        link_journal(s.control)->durable[2] = 1;
        settle(&s);
        expect_out(tc, "*3\r\n+OK\r\n:0\r\n:1\r\n");
        leave(tc);
        server_down(&s);
    }
}

/* The estimate that PFCOUNT writes into its key was not written down. */
static void test_pfcount_is_written_down(void **state)
{
    (void)state;
    struct server s;
    struct ring rings[1];
    server_config(&s);
    journal_up(&s, 1, JOURNAL_ON, rings);
    struct tcp_conn *tc = client(&s, 0, 6379);
    expect(&s, tc, "PFADD k a b c\r\nPFCOUNT k\r\nPFCOUNT k\r\n", ":1\r\n:3\r\n:3\r\n");
    char *effects = take_effects(&s, rings);
    char *once = strstr(effects, "PFCOUNT");
    assert_non_null(once);
    assert_null(strstr(once + 7, "PFCOUNT")); /* the second has changed nothing */
    free(effects);
    leave(tc);
    server_down(&s);
}

static void turn_off(struct server *s)
{
    s->config.journal = JOURNAL_OFF;
    link_config_publish(s->control, &s->config);
    settle(s);
}

/* CONFIG SET appendonly no left a reply waiting for a disk that nobody would ever tell of. */
static void test_log_turned_off_left_replies_waiting(void **state)
{
    (void)state;
    for (uint32_t count = 1; count <= 3; count += 2) {
        struct server s;
        struct ring rings[3];
        server_config(&s);
        journal_up(&s, count, JOURNAL_ALWAYS, rings);
        struct tcp_conn *tc = client(&s, 0, 6379);
        expect(&s, tc, "SET a v\r\nSET b v\r\nSET c v\r\nMGET a b\r\n", "");
        turn_off(&s);
        expect_out(tc, "+OK\r\n+OK\r\n+OK\r\n*2\r\n$1\r\nv\r\n$1\r\nv\r\n");
        expect(&s, tc, "SET a w\r\nGET a\r\n", "+OK\r\n$1\r\nw\r\n");
        leave(tc);
        server_down(&s);
    }
}

/* It left clients paused for room, and errors of a disk that is no longer written to. */
static void test_log_turned_off_left_clients_held(void **state)
{
    (void)state;
    for (uint32_t count = 1; count <= 3; count += 2) {
        struct server s;
        struct ring rings[3];
        server_config(&s);
        journal_up(&s, count, JOURNAL_ON, rings);
        struct tcp_conn *tc = client(&s, 0, 6379), *other = client(&s, 0, 6379);
        fill_journal(&s, tc, "a");
        tc->out_len = 0;
        expect(&s, other, "SET b v\r\n", "");
        expect(&s, tc, "", "");
        turn_off(&s);
        expect_out(tc, "+OK\r\n");
        expect_out(other, "+OK\r\n");
        for (uint32_t i = 0; i < count; i++)
            assert_false(s.w[i]->careful & CAREFUL_JOURNAL);

        s.config.journal = JOURNAL_ON;
        link_config_publish(s.control, &s.config);
        for (uint32_t i = 0; i < count; i++) {
            struct ring_record rec;
            while (ring_peek(&rings[i], &rec) == RING_RECORD)
                ring_release(&rings[i]);
        }
        link_journal(s.control)->error = 28;
        settle(&s);
        expect(&s, other, "PING\r\n",
               "-MISCONF Errors writing to the AOF file: No space left on device\r\n");
        turn_off(&s);
        expect(&s, other, "SET b v\r\n", "+OK\r\n");
        leave(tc);
        leave(other);
        server_down(&s);
    }
}

/* While there was no room keys went on expiring by themselves, and what was to be written of that grew without a bound. */
static void test_keys_expired_while_the_journal_was_full(void **state)
{
    (void)state;
    for (uint32_t count = 1; count <= 3; count += 2) {
        struct server s;
        struct ring rings[3];
        char line[64], key[16];
        server_config(&s);
        journal_up(&s, count, JOURNAL_ON, rings);
        struct tcp_conn *tc = client(&s, 0, 6379), *other = client(&s, 0, 6379);
        for (int i = 0; i < 100; i++) {
            name_key(key, 0, count, i);
            snprintf(line, sizeof(line), "SET %s v PX 50\r\n", key);
            expect(&s, other, line, "+OK\r\n");
        }
        name_key(key, 0, count, 200);
        fill_journal(&s, tc, key);
        assert_int_equal(s.w[0]->stats->journal_full, 1);
        uint64_t records = s.w[0]->stats->journal_records;
        s.now_ns += 100000000;
        for (int i = 0; i < 2000; i++)
            turns(&s, 1);
        name_key(key, 0, count, 7);
        snprintf(line, sizeof(line), "GET %s\r\n", key);
        expect(&s, other, line, "$-1\r\n"); /* reads go on, and do not see it */
        assert_int_equal(s.w[0]->stats->journal_records, records);
        assert_int_equal(s.w[0]->shard.stats.expired_keys, 0);
        for (int i = 0; i < 100; i++) {
            struct ring_record rec;
            while (ring_peek(&rings[0], &rec) == RING_RECORD)
                ring_release(&rings[0]);
            settle(&s);
        }
        for (int i = 0; i < 20000 && s.w[0]->shard.stats.expired_keys < 100; i++)
            turns(&s, 1);
        assert_int_equal(s.w[0]->shard.stats.expired_keys, 100);
        assert_int_equal(s.w[0]->stats->journal_full, 0);
        leave(tc);
        leave(other);
        server_down(&s);
    }
}

/* A full disk fills the journal: writes waited for room, without a word, where they are to be refused. */
static void test_writes_waited_on_a_full_disk(void **state)
{
    static const char refusal[] =
        "-MISCONF Errors writing to the AOF file: No space left on device\r\n";
    (void)state;
    for (uint32_t count = 1; count <= 3; count += 2) {
        struct server s;
        struct ring rings[3];
        server_config(&s);
        journal_up(&s, count, JOURNAL_ON, rings);
        struct tcp_conn *tc = client(&s, 0, 6379), *other = client(&s, 0, 6379);
        fill_journal(&s, tc, "a");
        tc->out_len = 0;
        link_journal(s.control)->error = 28;
        settle(&s);
        expect_out(tc, refusal); /* it waited before the error was known */
        expect(&s, other, "SET b v\r\n", refusal);
        expect(&s, other, "GET b\r\n", "$-1\r\n");
        leave(tc);
        leave(other);
        server_down(&s);
    }
}

/* With always a read waits for what is not durable yet; on a full disk that was until there was space again. */
static void test_reads_waited_on_a_full_disk(void **state)
{
    (void)state;
    for (uint32_t count = 1; count <= 3; count += 2) {
        struct server s;
        struct ring rings[3];
        server_config(&s);
        s.config.durable_reads = true;
        journal_up(&s, count, JOURNAL_ALWAYS, rings);
        struct tcp_conn *tc = client(&s, 0, 6379), *other = client(&s, 0, 6379);
        expect(&s, tc, "SET a v\r\nSET b v\r\nSET c v\r\n", ""); /* nobody takes them */
        expect(&s, other, "GET a\r\nGET b\r\nGET c\r\n", "");
        link_journal(s.control)->error = 28;
        settle(&s);
        expect_out(other, "$1\r\nv\r\n$1\r\nv\r\n$1\r\nv\r\n");
        expect(&s, other, "MGET a b c\r\n", "*3\r\n$1\r\nv\r\n$1\r\nv\r\n$1\r\nv\r\n");
        expect_out(tc, ""); /* nothing is acknowledged */
        leave(tc);
        leave(other);
        server_down(&s);
    }
}

#define OVER_A_RING (9u << 20)

static void say_large(struct server *s, uint32_t home, struct tcp_conn *tc, const char *key)
{
    char *line = malloc(OVER_A_RING + 64);
    assert_non_null(line);
    int k =
        sprintf(line, "*3\r\n$3\r\nSET\r\n$%zu\r\n%s\r\n$%u\r\n", strlen(key), key, OVER_A_RING);
    memset(line + k, 'v', OVER_A_RING);
    memcpy(line + k + OVER_A_RING, "\r\n", 3);
    say(tc, line);
    while (fake_deliver(s->net[home], 32768)) {
    }
    free(line);
}

/* The control process takes all, and says that it is written. */
static void take_all(struct server *s, struct ring *rings)
{
    for (int round = 0; round < 20; round++) {
        for (uint32_t i = 0; i < s->count; i++) {
            struct ring_record rec;
            while (ring_peek(&rings[i], &rec) == RING_RECORD)
                ring_release(&rings[i]);
        }
        settle(s);
    }
    for (uint32_t i = 0; i < s->count; i++)
        link_journal(s->control)->written[i] = 1000;
    settle(s);
}

/* A worker's ring was full and its next record on its heap. What another worker did behind that was told at once: when the process died then, it was there and
 * what it had been made of was not. */
static void test_reply_left_before_what_it_was_made_of(void **state)
{
    (void)state;
    struct server s;
    struct ring rings[2];
    char line[128], key[3][16];
    server_config(&s);
    journal_up(&s, 2, JOURNAL_ON, rings);
    struct tcp_conn *large = client(&s, 0, 6379), *tc = client(&s, 1, 6379);
    name_key(key[0], 0, 2, 0);
    name_key(key[1], 0, 2, 1);
    name_key(key[2], 1, 2, 0);
    expect(&s, tc, "MULTI\r\n", "+OK\r\n");
    snprintf(line, sizeof(line), "INCR %s\r\nINCR %s\r\n", key[1], key[2]);
    expect(&s, tc, line, "+QUEUED\r\n+QUEUED\r\n");
    say_large(&s, 0, large, key[0]);
    turn(&s, 0);
    assert_true(s.w[0]->journal.queue_at < s.w[0]->journal.queue_len);
    assert_false(s.w[1]->journal.any_full); /* it has not looked yet */
    expect(&s, tc, "EXEC\r\n", "");
    assert_true(s.w[1]->stats->journal_records > 0); /* it was done all the same */
    expect_out(large, "");
    take_all(&s, rings);
    expect_out(large, "+OK\r\n");
    expect_out(tc, "*2\r\n:1\r\n:1\r\n");
    snprintf(line, sizeof(line), "INCR %s\r\n", key[2]);
    expect(&s, tc, line, ":2\r\n"); /* nobody waits any more */
    leave(tc);
    leave(large);
    server_down(&s);
}

/* A client's write was answered at once, and became one record with a value larger than the ring that came by mail in the same turn: half of it lay on the heap
 * when the process died. */
static void test_answered_write_waited_for_room_with_a_large_one(void **state)
{
    (void)state;
    for (int spop = 0; spop < 2; spop++) {
        struct server s;
        struct ring rings[2];
        struct ring_record rec;
        struct msg_journal m;
        char line[128], key[2][16];
        server_config(&s);
        journal_up(&s, 2, JOURNAL_ON, rings);
        struct tcp_conn *far = client(&s, 1, 6379), *near = client(&s, 0, 6379);
        name_key(key[0], 0, 2, 0);
        name_key(key[1], 0, 2, 1);
        for (int i = 0; i < 300 && spop; i++) {
            snprintf(line, sizeof(line), "SADD %s member-%d\r\n", key[0], i);
            expect(&s, far, line, ":1\r\n");
        }
        take_all(&s, rings);
        if (spop) {
            snprintf(line, sizeof(line), "SPOP %s 200\r\n", key[0]);
            say(far, line);
        } else {
            say_large(&s, 1, far, key[0]);
        }
        for (int i = 0; i < 9 && s.w[0]->in[1].head == s.w[0]->in[1].tail; i++)
            turn(&s, 1);
        assert_int_not_equal(s.w[0]->in[1].head, s.w[0]->in[1].tail);
        snprintf(line, sizeof(line), "INCR %s\r\n", key[1]);
        say(near, line);
        turn(&s, 0);
        expect_out(near, ":1\r\n");
        assert_int_equal(ring_peek(&rings[0], &rec), RING_RECORD);
        memcpy(&m, rec.payload.p, sizeof(m));
        assert_in_range(m.bytes, 1, 100); /* INCR's, and nothing else */
        ring_release(&rings[0]);
        assert_int_equal(ring_peek(&rings[0], &rec), RING_RECORD); /* that came in the same turn */
        memcpy(&m, rec.payload.p, sizeof(m));
        assert_in_range(m.bytes, 300, 10 << 20);
        if (!spop)
            assert_true(s.w[0]->journal.queue_at < s.w[0]->journal.queue_len &&
                        s.w[0]->journal.any_full);
        take_all(&s, rings);
        assert_true(far->out_len > 4);
        far->out_len = 0;
        leave(far);
        leave(near);
        server_down(&s);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_flush_of_a_node_is_not_the_servers),
        cmocka_unit_test(test_exec_over_shards_waits_for_the_disk),
        cmocka_unit_test(test_pfcount_is_written_down),
        cmocka_unit_test(test_log_turned_off_left_replies_waiting),
        cmocka_unit_test(test_log_turned_off_left_clients_held),
        cmocka_unit_test(test_keys_expired_while_the_journal_was_full),
        cmocka_unit_test(test_writes_waited_on_a_full_disk),
        cmocka_unit_test(test_reads_waited_on_a_full_disk),
        cmocka_unit_test(test_reply_left_before_what_it_was_made_of),
        cmocka_unit_test(test_answered_write_waited_for_room_with_a_large_one),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
