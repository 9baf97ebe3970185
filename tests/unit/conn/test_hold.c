/* Requests that change a large value while a snapshot has not written it: they wait, in their place; nobody else does; and the file has the value of
 * the cut. Control is played by the test, which takes what the snapshot sends when it likes. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/link/msg.h"
#include "engine/log/rdb.h"
#include "tests/unit/conn/server.h"
#include "tests/unit/unit.h"

#define WORKERS 3
#define MEMBERS 40000 /* more than a ring holds */
#define COUNT   ":40000\r\n"

struct source { /* what came through a worker's snapshot ring */
    struct ring ring;
    uint8_t *p;
    size_t n;
    bool ended;
};

struct rig {
    struct server s;
    struct source source[WORKERS];
    uint64_t id;
};

static void up(struct rig *r, uint32_t count)
{
    *r = (struct rig){0};
    server_config(&r->s);
    r->s.config.snapshot_slice_us = 1;
    server_link(&r->s, count);
    server_start(&r->s, count);
    for (uint32_t i = 0; i < count; i++)
        assert_int_equal(link_snapshot_ring(r->s.control, i, &r->source[i].ring), 0);
    settle(&r->s);
}

static void down(struct rig *r)
{
    server_down(&r->s);
    for (uint32_t i = 0; i < r->s.count; i++)
        free(r->source[i].p);
}

static void cut(struct rig *r)
{
    r->id = ((uint64_t)link_control_generation(r->s.control) << 32) + (r->id & 0xffff) + 1;
    struct msg_snapshot m = {.id = r->id, .what = MSG_SNAPSHOT_CUT};
    for (uint32_t i = 0; i < r->s.count; i++) {
        r->source[i].n = 0;
        r->source[i].ended = false;
    }
    assert_true(ring_send(link_to_worker(r->s.control, 0), MSG_SNAPSHOT, &m, sizeof(m)));
    settle(&r->s);
}

static void drain(struct rig *r, struct source *s)
{
    struct ring_record rec;
    for (; ring_peek(&s->ring, &rec) == RING_RECORD; ring_release(&s->ring)) {
        size_t n = rec.payload.n - sizeof(struct msg_snapshot_data);
        if (rec.type == MSG_SNAPSHOT_END) {
            struct msg_snapshot_end end;
            memcpy(&end, rec.payload.p, sizeof(end));
            assert_int_equal(end.status, MSG_SNAPSHOT_OK);
            assert_int_equal(end.id, r->id);
            s->ended = true;
        } else if (rec.type == MSG_SNAPSHOT_DATA) {
            s->p = realloc(s->p, s->n + n);
            memcpy(s->p + s->n, rec.payload.p + sizeof(struct msg_snapshot_data), n);
            s->n += n;
        }
    }
}

static void finish(struct rig *r)
{
    for (uint32_t ended = 0, k = 0; ended < r->s.count; k++) {
        assert_true(k < 1000000);
        turns(&r->s, 1);
        ended = 0;
        for (uint32_t i = 0; i < r->s.count; i++) {
            drain(r, &r->source[i]);
            ended += r->source[i].ended;
        }
    }
    settle(&r->s);
}

/* The key stands in what was written once, as a set of all members. */
static void expect_old_set(struct rig *r, uint32_t owner, const char *key)
{
    const struct source *s = &r->source[owner];
    uint8_t head[32];
    size_t n = strlen(key);
    head[0] = RDB_SET;
    head[1] = (uint8_t)n;
    memcpy(head + 2, key, n);
    const uint8_t *at = memmem(s->p, s->n, head, n + 2);
    assert_non_null(at);
    struct rdb_reader rd;
    rdb_reader_init(&rd, NULL, span_of(at + n + 2, 9));
    assert_int_equal(rdb_get_len(&rd), MEMBERS);
    assert_null(memmem(at + n, (size_t)(s->p + s->n - at) - n, head, n + 2));
}

static uint64_t waited(struct rig *r)
{
    uint64_t n = 0;
    for (uint32_t i = 0; i < r->s.count; i++)
        n += STAT_GET(worker_stats(r->s.w[i])->snapshot_held);
    return n;
}

static void name_key(char to[16], uint32_t shard, uint32_t count)
{
    for (int k = 0;; k++) {
        int n = snprintf(to, 16, "big:%d", k);
        if (shard_of_key(span_of(to, (size_t)n), count) == shard)
            return;
    }
}

static void fill(struct rig *r, struct tcp_conn *tc, const char *command, const char *key)
{
    static char line[500 * 100];
    for (int i = 0; i < MEMBERS;) {
        size_t n = (size_t)sprintf(line, "%s %s", command, key);
        for (int k = 0; k < 400; k++, i++)
            n += (size_t)sprintf(line + n, " %0100d", i);
        sprintf(line + n, "\r\n");
        say(tc, line);
        turns(&r->s, 40);
    }
    settle(&r->s);
    tc->out_len = 0;
}

#define MULTI_OK "+OK\r\n+QUEUED\r\n+QUEUED\r\n"

/* %s is the key. `first`: what is said before it waits; NULL: it does not wait. */
static const struct {
    const char *request, *first, *rest;
} cases[] = {
    {"SADD %s x\r\n", "", ":1\r\n"},
    {"PING\r\nSADD %s x\r\nSCARD %s\r\nSET a b\r\nGET a\r\n", "+PONG\r\n",
     ":1\r\n:40001\r\n+OK\r\n$1\r\nb\r\n"},
    {"SREM %s nothing\r\nDEL %s\r\n", "", ":0\r\n:1\r\n"},
    {"MULTI\r\nSADD %s x\r\nSADD other y\r\nEXEC\r\n", MULTI_OK, "*2\r\n:1\r\n:1\r\n"},
    {"MULTI\r\nGET a\r\nRENAME %s a\r\nEXEC\r\nSCARD a\r\n", MULTI_OK,
     "*2\r\n$-1\r\n+OK\r\n" COUNT},
    {"RENAME %s far\r\n", "", "+OK\r\n"},
    {"SADD %s x\r\nEXISTS %s far p q r s\r\nSMOVE %s far x\r\nSCARD far\r\nDEL %s far p q "
     "r\r\n",
     "", ":1\r\n:1\r\n:1\r\n:1\r\n:2\r\n"},
    {"SREM %s nothing\r\nMULTI\r\nDEL p q r s\r\nDEL %s\r\nEXEC\r\n", "",
     ":0\r\n" MULTI_OK "*2\r\n:0\r\n:1\r\n"},
    {"RENAMENX %s b\r\nSCARD b\r\n", "", ":1\r\n" COUNT},
    {"SMOVE %s far nothing\r\n", "", ":0\r\n"},
    {"EXPIRE %s 1000\r\nPERSIST %s\r\n", "", ":1\r\n:1\r\n"},
    {"SCARD %s\r\nSISMEMBER %s x\r\n", NULL, COUNT ":0\r\n"},
    {"DEL %s\r\nSCARD %s\r\n", NULL, ":1\r\n:0\r\n"},
    {"UNLINK a %s b\r\n", NULL, ":1\r\n"},
    {"SET %s v\r\nGET %s\r\n", NULL, "+OK\r\n$1\r\nv\r\n"},
    {"MSET %s v a w\r\nMGET %s a\r\n", NULL, "+OK\r\n*2\r\n$1\r\nv\r\n$1\r\nw\r\n"},
    {"FLUSHALL\r\nSCARD %s\r\n", NULL, "+OK\r\n:0\r\n"},
    {"RENAME tiny %s\r\nSCARD %s\r\n", "", "+OK\r\n:1\r\n"},
    {"SADD small x\r\n", NULL, ":1\r\n"},
};

static void one_case(struct rig *r, size_t i, uint32_t owner, const char *key)
{
    struct tcp_conn *a = fake_connect(r->s.net[0]), *b = fake_connect(r->s.net[r->s.count - 1]);
    char line[256], scard[64];
    snprintf(line, sizeof(line), cases[i].request, key, key, key, key);
    snprintf(scard, sizeof(scard), "SCARD %s\r\n", key);
    expect(&r->s, b, "SADD tiny x\r\n", ":1\r\n");
    fill(r, b, "SADD", key);
    cut(r);
    assert_non_null(r->s.w[owner]->shard.snapshot);
    uint64_t before = waited(r);
    say(a, line);
    settle(&r->s);
    if (cases[i].first) {
        expect_out(a, cases[i].first);
        assert_true(waited(r) > before);
        expect(&r->s, b, scard, COUNT); /* reads of it, and all else, go on */
        expect(&r->s, b, "SET c d\r\nGET c\r\n", "+OK\r\n$1\r\nd\r\n");
    } else {
        expect_out(a, cases[i].rest);
        assert_int_equal(waited(r), before);
    }
    finish(r);
    expect_out(a, cases[i].first ? cases[i].rest : "");
    expect_old_set(r, owner, key);
    expect(&r->s, b, "FLUSHALL\r\n", "+OK\r\n");
    leave(a);
    leave(b);
}

static void test_a_change_waits_for_its_value(void **state)
{
    (void)state;
    for (uint32_t count = 1; count <= WORKERS; count++) {
        for (uint32_t owner = 0; owner<count; owner += count> 1 ? count - 1 : 1) {
            struct rig r;
            char key[16];
            up(&r, count);
            name_key(key, owner, count);
            for (size_t i = 0; i < ARRAY_LEN(cases); i++)
                one_case(&r, i, owner, key);
            down(&r);
        }
    }
}

/* An element for a client in BLMOVE waits with the list that it goes to; who pushed it does not. */
static void test_a_served_client_waits_for_its_destination(void **state)
{
    (void)state;
    for (uint32_t count = 1; count <= WORKERS; count++) {
        struct rig r;
        char key[16], line[128];
        up(&r, count);
        name_key(key, count - 1, count);
        struct tcp_conn *a = fake_connect(r.s.net[0]), *b = fake_connect(r.s.net[count - 1]);
        fill(&r, b, "RPUSH", key);
        snprintf(line, sizeof(line), "BLMOVE from %s LEFT RIGHT 0\r\n", key);
        expect(&r.s, a, line, "");
        cut(&r);
        expect(&r.s, b, "RPUSH from one\r\n", ":1\r\n");
        expect_out(a, "");
        finish(&r);
        expect_out(a, "$3\r\none\r\n");
        snprintf(line, sizeof(line), "LLEN %s\r\nEXISTS from\r\n", key);
        expect(&r.s, b, line, ":40001\r\n:0\r\n");
        leave(a);
        leave(b);
        down(&r);
    }
}

/* Nobody took what the snapshot sends, and the change waited for as long. */
static void test_control_that_stood_still_kept_a_change_waiting(void **state)
{
    (void)state;
    for (uint32_t count = 1; count <= WORKERS; count++) {
        struct rig r;
        char key[16], line[64];
        up(&r, count);
        name_key(key, count - 1, count);
        struct tcp_conn *a = fake_connect(r.s.net[0]);
        fill(&r, a, "SADD", key);
        cut(&r);
        snprintf(line, sizeof(line), "SADD %s x\r\nPING\r\n", key);
        expect(&r.s, a, line, "");
        turns(&r.s, 4000);
        expect_out(a, ":1\r\n+PONG\r\n");
        finish(&r);
        expect_old_set(&r, count - 1, key);
        leave(a);
        down(&r);
    }
}

/* Its client is gone meanwhile, or the snapshot is given up: what waited is over, and nothing is left behind. */
static void test_an_end_while_it_waits(void **state)
{
    (void)state;
    for (uint32_t count = 1; count <= WORKERS; count++) {
        struct rig r;
        char key[16], line[128];
        up(&r, count);
        name_key(key, count - 1, count);
        struct tcp_conn *a = fake_connect(r.s.net[0]), *b = fake_connect(r.s.net[0]);
        fill(&r, b, "SADD", key);
        cut(&r);
        snprintf(line, sizeof(line), "SADD %s x\r\n", key);
        expect(&r.s, a, line, "");
        expect(&r.s, b, line, "");
        leave(a);
        for (uint32_t i = 0; i < count; i++) {
            struct msg_snapshot m = {.id = r.id, .what = MSG_SNAPSHOT_GIVE_UP};
            assert_true(ring_send(link_to_worker(r.s.control, i), MSG_SNAPSHOT, &m, sizeof(m)));
        }
        settle(&r.s);
        assert_int_equal(b->out_len, 4); /* one of the two was the first */
        b->out_len = 0;
        snprintf(line, sizeof(line), "SCARD %s\r\n", key);
        expect(&r.s, b, line, ":40001\r\n");
        leave(b);
        down(&r);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_change_waits_for_its_value),
        cmocka_unit_test(test_a_served_client_waits_for_its_destination),
        cmocka_unit_test(test_control_that_stood_still_kept_a_change_waiting),
        cmocka_unit_test(test_an_end_while_it_waits),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
