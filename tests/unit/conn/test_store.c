/* Snapshots and loading on several workers over the link, against a control process played by the test: a cut is one moment for all shards,
 * a full ring stops the snapshot and nobody else, clients wait for the dataset. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "engine/link/msg.h"
#include "engine/log/rdb_file.h"
#include "tests/unit/conn/server.h"
#include "tests/unit/unit.h"

#define WORKERS 3

struct source { /* what came through a worker's snapshot ring */
    struct ring ring;
    uint8_t *p;
    size_t n;
    bool begun, ended, whole;
    struct msg_snapshot_begin begin;
    struct msg_snapshot_end end;
};

struct rig {
    char instance[32];
    struct link *control, *dataplane;
    struct engine_config config;
    struct worker *w[WORKERS];
    struct source source[WORKERS];
    struct ring load[WORKERS];
    uint64_t now_ns, id, seed;
    char out[1 << 16]; /* replies of the door's client */
    size_t out_len;
    uint32_t admin; /* requests that came to control */
    struct msg_load_state loaded[WORKERS];
    uint32_t loads;
};

static struct rig *rig_up(bool loading)
{
    struct rig *r = calloc(1, sizeof(*r));
    char err[256];
    bool fresh;
    snprintf(r->instance, sizeof(r->instance), "test-store-%d", (int)getpid());
    assert_int_equal(link_open_control(&r->control, r->instance, WORKERS, &fresh, err, 256), 0);
    engine_config_defaults(&r->config);
    r->config.protected_mode = 0;
    r->config.snapshot_slice_us = 1;
    link_config_publish(r->control, &r->config);
    assert_int_equal(link_open_dataplane(&r->dataplane, r->instance, err, sizeof(err)), 0);
    link_dp_begin(r->dataplane, getpid());
    link_refresh(r->control);
    for (uint32_t i = 0; i < WORKERS; i++) {
        struct worker_config c = {.id = i,
                                  .count = WORKERS,
                                  .all = r->w,
                                  .link = r->dataplane,
                                  .config = &r->config,
                                  .rx = fake_rx,
                                  .hash_seed = {1, 2},
                                  .seed = 3 + i,
                                  .loading = loading};
        assert_int_equal(worker_create(&r->w[i], &c), 0);
        assert_int_equal(link_snapshot_ring(r->control, i, &r->source[i].ring), 0);
        assert_int_equal(link_load_ring(r->control, i, &r->load[i]), 0);
    }
    r->now_ns = 1000000000;
    r->seed = 5;
    struct msg_door_open m = {.door = ((uint64_t)link_control_generation(r->control) << 32) + 7,
                              .source = SESSION_DOOR_UNIX,
                              .peer = "/run/x:0",
                              .local = "/run/x:0"};
    assert_true(ring_send(link_to_worker(r->control, 1), MSG_DOOR_OPEN, &m, sizeof(m)));
    return r;
}

static void rig_down(struct rig *r)
{
    for (uint32_t i = 0; i < WORKERS; i++) {
        worker_destroy(r->w[i]);
        free(r->source[i].p);
    }
    link_close(r->dataplane);
    link_close(r->control);
    link_unlink(r->instance);
    free(r);
}

static uint32_t draw(struct rig *r, uint32_t n)
{
    r->seed = r->seed * 6364136223846793005ull + 1442695040888963407ull;
    return (uint32_t)((r->seed >> 33) % n);
}

static void take(struct rig *r)
{
    for (uint32_t i = 0; i < WORKERS; i++) {
        struct ring *ring = link_from_worker(r->control, i);
        struct ring_record rec;
        for (; ring_peek(ring, &rec) == RING_RECORD; ring_release(ring)) {
            struct span p = rec.payload;
            if (rec.type == MSG_DOOR_REPLY) {
                size_t n = p.n - sizeof(struct msg_door);
                assert_true(r->out_len + n < sizeof(r->out));
                memcpy(r->out + r->out_len, p.p + sizeof(struct msg_door), n);
                r->out_len += n;
            } else if (rec.type == MSG_LOAD_STATE) {
                memcpy(&r->loaded[i], p.p, sizeof(r->loaded[i]));
                r->loads++;
            } else {
                r->admin += rec.type == MSG_ADMIN_REQUEST;
            }
        }
    }
}

static void rig_turn(struct rig *r)
{
    r->now_ns += 20000;
    uint32_t i = draw(r, WORKERS);
    worker_turn(r->w[i], r->now_ns, (int64_t)(r->now_ns / 1000) + 1700000000000000);
    take(r);
}

/* The door's client asks and gets its reply. */
static const char *ask(struct rig *r, const char *request)
{
    size_t n = strlen(request);
    struct msg_door m = {((uint64_t)link_control_generation(r->control) << 32) + 7};
    uint8_t *to = ring_reserve(link_to_worker(r->control, 1), (uint32_t)(sizeof(m) + n));
    assert_non_null(to);
    memcpy(to, &m, sizeof(m));
    memcpy(to + sizeof(m), request, n);
    ring_publish(link_to_worker(r->control, 1), MSG_DOOR_DATA, (uint32_t)(sizeof(m) + n));
    r->out_len = 0;
    for (int i = 0; i < 100000 && !r->out_len; i++)
        rig_turn(r);
    r->out[r->out_len] = 0;
    return r->out;
}

static void ask_snapshot(struct rig *r, uint32_t what, uint32_t worker)
{
    struct msg_snapshot m = {.what = what};
    if (what == MSG_SNAPSHOT_CUT) {
        r->id = ((uint64_t)link_control_generation(r->control) << 32) + (r->id & 0xffff) + 1;
        for (uint32_t i = 0; i < WORKERS; i++) {
            free(r->source[i].p);
            struct ring ring = r->source[i].ring;
            r->source[i] = (struct source){.ring = ring};
        }
    }
    m.id = r->id;
    assert_true(ring_send(link_to_worker(r->control, worker), MSG_SNAPSHOT, &m, sizeof(m)));
}

/* All that the snapshot rings hold. */
static void drain(struct rig *r)
{
    for (uint32_t i = 0; i < WORKERS; i++) {
        struct source *s = &r->source[i];
        struct ring_record rec;
        struct msg_snapshot_data d;
        for (; ring_peek(&s->ring, &rec) == RING_RECORD; ring_release(&s->ring)) {
            uint64_t id;
            memcpy(&id, rec.payload.p, 8);
            if (id != r->id)
                continue;
            assert_false(s->ended);
            if (rec.type == MSG_SNAPSHOT_BEGIN) {
                memcpy(&s->begin, rec.payload.p, sizeof(s->begin));
                s->begun = true;
            } else if (rec.type == MSG_SNAPSHOT_END) {
                memcpy(&s->end, rec.payload.p, sizeof(s->end));
                s->ended = true;
            } else {
                assert_true(s->begun);
                memcpy(&d, rec.payload.p, sizeof(d));
                size_t n = rec.payload.n - sizeof(d);
                s->p = realloc(s->p, s->n + n);
                memcpy(s->p + s->n, rec.payload.p + sizeof(d), n);
                s->n += n;
                s->whole = d.whole;
            }
        }
    }
}

static bool all_ended(const struct rig *r)
{
    bool all = true;
    for (uint32_t i = 0; i < WORKERS; i++)
        all = all && r->source[i].ended;
    return all;
}

/* Keys of all sources; `value` gets those of m:0 to m:5. */
static uint64_t parse(struct rig *r, int64_t value[6])
{
    struct mem mem;
    uint64_t keys = 0;
    assert_int_equal(mem_init(&mem), 0);
    for (uint32_t i = 0; i < WORKERS; i++) {
        struct rdb_file f;
        struct rdb_item item;
        size_t at = 0;
        rdb_file_init(&f, UINT64_MAX, false);
        assert_int_equal(rdb_file_next(&f, (const uint8_t *)"REDIS0010", 9, &item), RDB_FILE_ITEM);
        assert_true(r->source[i].whole || !r->source[i].n);
        while (at < r->source[i].n) {
            struct rdb_reader rd;
            struct rdb_text key, text;
            assert_int_equal(rdb_file_next(&f, r->source[i].p + at, r->source[i].n - at, &item),
                             RDB_FILE_ITEM);
            at += item.bytes;
            if (item.kind != RDB_ITEM_KEY)
                continue;
            keys++;
            assert_true(rdb_body_key(&rd, item.body, &mem, &key));
            assert_int_equal(shard_of_key(key.s, WORKERS), i);
            if (key.s.n == 3 && key.s.p[0] == 'm') {
                assert_true(rdb_get_string(&rd, &text));
                assert_true(num_parse_i64(text.s, &value[key.s.p[2] - '0']));
                rdb_text_free(&rd, &text);
            }
            rdb_text_free(&rd, &key);
        }
    }
    mem_fini(&mem);
    return keys;
}

static const char mset[] = "MSET m:0 %d m:1 %d m:2 %d m:3 %d m:4 %d m:5 %d\r\n";

static void fill(struct rig *r, int n)
{
    char line[200];
    for (int i = 0; i < n; i++) {
        snprintf(line, sizeof(line), "SET fill:%d %0*d\r\n", i, 100, i);
        assert_string_equal(ask(r, line), "+OK\r\n");
    }
}

static void test_a_cut_is_one_moment(void **state)
{
    struct rig *r = rig_up(false);
    char line[200];
    int n = 0;
    uint64_t early = 0;
    (void)state;
    fill(r, 300);
    for (int round = 0; round < 30; round++) {
        int64_t value[6] = {-1, -2, -3, -4, -5, -6};
        int before = n;
        for (int i = (int)draw(r, 20); i >= 0; i--) {
            n++;
            snprintf(line, sizeof(line), mset, n, n, n, n, n, n);
            assert_string_equal(ask(r, line), "+OK\r\n");
        }
        ask_snapshot(r, MSG_SNAPSHOT_CUT, 0);
        for (int i = 0; !all_ended(r); i++) {
            assert_true(i < 10000);
            n++;
            snprintf(line, sizeof(line), mset, n, n, n, n, n, n);
            assert_string_equal(ask(r, line), "+OK\r\n");
            drain(r);
        }
        assert_int_equal(parse(r, value), 306);
        for (int i = 1; i < 6; i++)
            assert_int_equal(value[i], value[0]);
        assert_true(value[0] > before && value[0] <= n);
        for (uint32_t i = 0; i < WORKERS; i++) {
            assert_int_equal(r->source[i].end.status, MSG_SNAPSHOT_OK);
            early += r->source[i].end.early;
        }
    }
    assert_true(early > 0);
    rig_down(r);
}

/* Nobody takes what is sent: clients are served on; then all of it comes. */
static void test_a_full_ring_stops_nobody(void **state)
{
    struct rig *r = rig_up(false);
    int64_t value[6];
    (void)state;
    fill(r, 30000);
    ask_snapshot(r, MSG_SNAPSHOT_CUT, 0);
    for (int i = 0; i < 30000; i++)
        rig_turn(r);
    uint64_t full = 0;
    for (uint32_t i = 0; i < WORKERS; i++)
        full += STAT_GET(worker_stats(r->w[i])->snapshot_ring_full);
    assert_true(full > 0);
    assert_string_equal(ask(r, "SET fill:7 new\r\n"), "+OK\r\n");
    assert_string_equal(ask(r, "GET fill:7\r\n"), "$3\r\nnew\r\n");
    for (int i = 0; !all_ended(r); i++) {
        assert_true(i < 1000000);
        rig_turn(r);
        drain(r);
    }
    assert_int_equal(parse(r, value), 30000);
    rig_down(r);
}

static void test_given_up_and_busy(void **state)
{
    struct rig *r = rig_up(false);
    int64_t value[6];
    uint32_t busy = 0;
    (void)state;
    fill(r, 2000);
    ask_snapshot(r, MSG_SNAPSHOT_CUT, 0);
    for (int i = 0; i < 30 || !r->w[0]->snapshot.state; i++)
        rig_turn(r);
    for (uint32_t i = 0; i < WORKERS; i++)
        ask_snapshot(r, MSG_SNAPSHOT_GIVE_UP, i);
    for (;; busy++) {
        ask_snapshot(r, MSG_SNAPSHOT_CUT, 0);
        for (int i = 0; i < 100000 && !r->source[0].ended; i++) {
            rig_turn(r);
            drain(r);
        }
        assert_true(r->source[0].ended);
        if (r->source[0].end.status != MSG_SNAPSHOT_BUSY)
            break;
        assert_true(busy < 100000);
    }
    for (int i = 0; i < 100000 && !all_ended(r); i++) {
        rig_turn(r);
        drain(r);
    }
    assert_int_equal(parse(r, value), 2000);
    rig_down(r);
}

/* ---- loading ---- */

static void put_key(struct rig *r, uint32_t i, const char *key, const char *body, size_t n,
                    uint8_t type, uint64_t offset)
{
    uint8_t rec[400];
    struct msg_load m = {.id = 9, .offset = offset};
    struct msg_load_key k = {.type = type};
    size_t at = sizeof(m) + sizeof(k), key_n = strlen(key);
    rec[at] = (uint8_t)key_n;
    memcpy(rec + at + 1, key, key_n);
    memcpy(rec + at + 1 + key_n, body, n);
    k.bytes = (uint32_t)(1 + key_n + n);
    memcpy(rec, &m, sizeof(m));
    memcpy(rec + sizeof(m), &k, sizeof(k));
    assert_true(ring_send(&r->load[i], MSG_LOAD_KEYS, rec, (uint32_t)(at + k.bytes)));
}

static void load_step(struct rig *r, uint32_t type)
{
    struct msg_load m = {.id = 9};
    for (uint32_t i = 0; i < WORKERS; i++)
        assert_true(ring_send(&r->load[i], type, &m, sizeof(m)));
}

static void test_clients_wait_for_the_dataset(void **state)
{
    static const char loading[] = "-LOADING Redis is loading the dataset in memory\r\n";
    struct rig *r = rig_up(true);
    (void)state;
    assert_string_equal(ask(r, "GET a\r\n"), loading);
    assert_string_equal(ask(r, "PING\r\n"), loading);
    assert_string_equal(ask(r, "MSET a 1 b 2\r\n"), loading);
    assert_string_equal(ask(r, "SELECT 0\r\n"), "+OK\r\n"); /* flagged loading */
    load_step(r, MSG_LOAD_BEGIN);
    for (int k = 0; k < 50; k++) {
        char key[16];
        snprintf(key, sizeof(key), "k%d", k);
        put_key(r, shard_of_key(span_str(key), WORKERS), key, "\x03val", 4, RDB_STRING, 0);
    }
    /* one in parts */
    struct msg_load m = {.id = 9};
    struct msg_load_key k = {.type = RDB_STRING, .bytes = UINT32_MAX};
    uint8_t rec[sizeof(m) + sizeof(k) + 6];
    uint32_t owner = shard_of_key(SPAN("long"), WORKERS);
    memcpy(rec, &m, sizeof(m));
    memcpy(rec + sizeof(m), &k, sizeof(k));
    memcpy(rec + sizeof(m) + sizeof(k), "\x04long\x05", 6);
    assert_true(ring_send(&r->load[owner], MSG_LOAD_PART, rec, sizeof(rec)));
    m.flags = MSG_LOAD_LAST;
    memcpy(rec, &m, sizeof(m));
    memcpy(rec + sizeof(m), "value", 5);
    assert_true(ring_send(&r->load[owner], MSG_LOAD_PART, rec, sizeof(m) + 5));
    load_step(r, MSG_LOAD_END);
    for (int i = 0; i < 1000 && r->loads < WORKERS; i++)
        rig_turn(r);
    uint64_t keys = 0;
    for (uint32_t i = 0; i < WORKERS; i++) {
        assert_int_equal(r->loaded[i].status, MSG_LOAD_OK);
        keys += r->loaded[i].keys;
    }
    assert_int_equal(keys, 51);
    assert_string_equal(ask(r, "GET k7\r\n"), loading); /* until control says so */
    for (uint32_t i = 0; i < WORKERS; i++)
        assert_true(ring_send(link_to_worker(r->control, i), MSG_LOADED, "", 0));
    for (int i = 0; i < 100; i++)
        rig_turn(r);
    assert_string_equal(ask(r, "GET k7\r\n"), "$3\r\nval\r\n");
    assert_string_equal(ask(r, "GET long\r\n"), "$5\r\nvalue\r\n");
    assert_string_equal(ask(r, "DBSIZE\r\n"), ":51\r\n");
    rig_down(r);
}

/* A wrong key is told with its place, once, and the rest is dropped; a new load begins with nothing. */
static void test_what_cannot_be_loaded(void **state)
{
    static const struct {
        const char *body;
        size_t n;
        uint8_t type;
        uint32_t status;
    } wrong[] = {
        {"\x03val", 4, 200, MSG_LOAD_BAD_VALUE},
        {"\x09val", 4, RDB_STRING, MSG_LOAD_BAD_VALUE},
        {"\x03valx", 5, RDB_STRING, MSG_LOAD_BAD_VALUE},
        {"\x00", 1, RDB_LIST, MSG_LOAD_BAD_VALUE},
    };
    struct rig *r = rig_up(true);
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(wrong); i++) {
        load_step(r, MSG_LOAD_BEGIN);
        put_key(r, 1, "good", "\x03val", 4, RDB_STRING, 10);
        put_key(r, 1, "bad", wrong[i].body, wrong[i].n, wrong[i].type, 4711 + i);
        put_key(r, 1, "bad", wrong[i].body, wrong[i].n, wrong[i].type, 9999);
        r->loads = 0;
        for (int k = 0; k < 1000 && !r->loads; k++)
            rig_turn(r);
        assert_int_equal(r->loaded[1].status, wrong[i].status);
        assert_int_equal(r->loaded[1].offset, 4711 + i);
        for (int k = 0; k < 100; k++)
            rig_turn(r);
        assert_int_equal(r->loads, 1);
    }
    load_step(r, MSG_LOAD_BEGIN);
    put_key(r, 1, "k", "\x03val", 4, RDB_STRING, 10);
    put_key(r, 1, "k", "\x03val", 4, RDB_STRING, 20);
    r->loads = 0;
    for (int k = 0; k < 1000 && !r->loads; k++)
        rig_turn(r);
    assert_int_equal(r->loaded[1].status, MSG_LOAD_TWICE);
    assert_int_equal(r->loaded[1].offset, 20);
    rig_down(r);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_cut_is_one_moment),
        cmocka_unit_test(test_a_full_ring_stops_nobody),
        cmocka_unit_test(test_given_up_and_busy),
        cmocka_unit_test(test_clients_wait_for_the_dataset),
        cmocka_unit_test(test_what_cannot_be_loaded),
    };
    (void)argc, (void)argv;
    return cmocka_run_group_tests(tests, NULL, NULL);
}
