/* appendfsync always and clients that wait: what a client is given leaves when it is durable, whoever served it and wherever. Control is played by the
 * test: it takes the records of the journal rings and says, when the test wants it, that the next one is safe. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "engine/link/msg.h"
#include "engine/shard/wait.h"
#include "tests/unit/conn/server.h"
#include "tests/unit/unit.h"

#define WORKERS 3
#define RECORDS 4096

struct record {
    struct msg_journal head;
    struct msg_journal_shard at[2 * WORKERS]; /* its shards, and what it is behind */
    char *text;                               /* effects */
    bool safe;
};

struct rig {
    char instance[32];
    struct link *control, *dataplane;
    struct server s;
    struct ring ring[WORKERS];
    struct record record[RECORDS];
    int records, safe;
    uint64_t rng;
};

static struct rig *rig_up(uint32_t count, uint32_t mode)
{
    struct rig *r = calloc(1, sizeof(*r));
    char err[256];
    bool fresh;
    snprintf(r->instance, sizeof(r->instance), "test-durable-%d", (int)getpid());
    assert_int_equal(link_open_control(&r->control, r->instance, count, &fresh, err, sizeof(err)),
                     0);
    server_config(&r->s);
    r->s.config.journal = mode;
    link_config_publish(r->control, &r->s.config);
    assert_int_equal(link_open_dataplane(&r->dataplane, r->instance, err, sizeof(err)), 0);
    link_dp_begin(r->dataplane, getpid());
    link_refresh(r->control);
    r->s.count = count;
    for (uint32_t i = 0; i < count; i++) {
        struct worker_config c = {.id = i,
                                  .count = count,
                                  .all = r->s.w,
                                  .link = r->dataplane,
                                  .config = &r->s.config,
                                  .rx = fake_rx,
                                  .hash_seed = {1, 2},
                                  .seed = 3 + i};
        assert_int_equal(worker_create(&r->s.w[i], &c), 0);
        r->s.net[i] = fake_last_net();
        wheel_init(&r->s.w[i]->timers, r->s.now_ns);
        assert_int_equal(link_journal_ring(r->control, i, &r->ring[i]), 0);
    }
    settle(&r->s);
    return r;
}

static void take(struct rig *r)
{
    for (uint32_t i = 0; i < r->s.count; i++) {
        struct ring_record rec;
        for (; ring_peek(&r->ring[i], &rec) == RING_RECORD; ring_release(&r->ring[i])) {
            struct record *to = &r->record[r->records++];
            assert_in_range(r->records, 1, RECORDS - 1);
            assert_int_equal(rec.type, MSG_JOURNAL);
            memcpy(&to->head, rec.payload.p, sizeof(to->head));
            size_t head = sizeof(to->head) + (to->head.shards + to->head.after) * sizeof(to->at[0]);
            memcpy(to->at, rec.payload.p + sizeof(to->head), head - sizeof(to->head));
            to->text = strndup((const char *)rec.payload.p + head, rec.payload.n - head);
        }
    }
}

/* Every record with a smaller number in one of its shards is safe. */
static bool is_next(const struct rig *r, const struct record *rec)
{
    const struct link_journal *page = link_journal(r->control);
    for (uint32_t i = 0; i < rec->head.shards; i++)
        if (page->durable[rec->at[i].shard] + 1 != rec->at[i].seq)
            return false;
    for (uint32_t i = 0; i < rec->head.after; i++)
        if (page->durable[rec->at[rec->head.shards + i].shard] < rec->at[rec->head.shards + i].seq)
            return false;
    return !rec->safe;
}

/* The disk has one more; from `from` on, so that a seed picks which. False: there is none. */
static bool one_is_safe(struct rig *r, int from)
{
    take(r);
    for (int k = 0; k < r->records; k++) {
        struct record *rec = &r->record[(from + k) % r->records];
        if (!is_next(r, rec))
            continue;
        for (uint32_t i = 0; i < rec->head.shards; i++)
            __atomic_store_n(&link_journal(r->control)->durable[rec->at[i].shard], rec->at[i].seq,
                             __ATOMIC_RELEASE);
        rec->safe = true;
        r->safe++;
        return true;
    }
    return false;
}

static void all_is_safe(struct rig *r)
{
    settle(&r->s);
    while (one_is_safe(r, 0))
        ;
    settle(&r->s);
}

static void rig_down(struct rig *r)
{
    for (uint32_t i = 0; i < r->s.count; i++)
        assert_true(list_empty(&r->s.w[i]->journal.waits));
    server_down(&r->s);
    for (int i = 0; i < r->records; i++)
        free(r->record[i].text);
    link_close(r->dataplane);
    link_close(r->control);
    link_unlink(r->instance);
    free(r);
}

/* ---- one client that waits, one that has what it waits for ---- */

static const struct given {
    const char *wait, *push, *word; /* what takes it, as the journal says it */
    const char *reply, *pushed;
} given[] = {
    {"BLPOP a b c 0\r\n", "RPUSH c 1 2\r\n", "LPOP", "*2\r\n$1\r\nc\r\n$1\r\n1\r\n", ":2\r\n"},
    {"BLMOVE a b LEFT RIGHT 0\r\n", "RPUSH a x\r\n", "LMOVE", "$1\r\nx\r\n", ":1\r\n"},
    {"BLMOVE {a}1 {a}2 LEFT RIGHT 0\r\n", "RPUSH {a}1 x\r\n", "LMOVE", "$1\r\nx\r\n", ":1\r\n"},
    {"BZPOPMIN y z 0\r\n", "ZADD z 1 m\r\n", "ZPOPMIN", "*3\r\n$1\r\nz\r\n$1\r\nm\r\n$1\r\n1\r\n",
     ":1\r\n"},
    {"BLMPOP 0 2 d e LEFT COUNT 2\r\n", "RPUSH e 5 6 7\r\n", "LPOP",
     "*2\r\n$1\r\ne\r\n*2\r\n$1\r\n5\r\n$1\r\n6\r\n", ":3\r\n"},
    {"XREADGROUP GROUP g c BLOCK 0 STREAMS s >\r\n", "XADD s 1-1 f v\r\n", "XCLAIM",
     "*1\r\n*2\r\n$1\r\ns\r\n*1\r\n*2\r\n$3\r\n1-1\r\n*2\r\n$1\r\nf\r\n$1\r\nv\r\n",
     "$3\r\n1-1\r\n"},
    {"BRPOP g 0\r\n", "MULTI\r\nRPUSH g 1\r\nRPUSH i 2\r\nRPUSH j 3\r\nEXEC\r\n", "RPOP",
     "*2\r\n$1\r\ng\r\n$1\r\n1\r\n",
     "+OK\r\n+QUEUED\r\n+QUEUED\r\n+QUEUED\r\n*3\r\n:1\r\n:1\r\n:1\r\n"},
};

static int words_in(const struct record *rec, const char *word)
{
    char text[32];
    int n = 0;
    snprintf(text, sizeof(text), "\r\n%s\r\n", word);
    for (const char *p = rec->text; (p = strstr(p, text)) != NULL; p++)
        n++;
    return n;
}

static int safe_words(const struct rig *r, const char *word)
{
    int n = 0;
    for (int i = 0; i < r->records; i++)
        n += r->record[i].safe ? words_in(&r->record[i], word) : 0;
    return n;
}

/* By `mode`, or because the client that waits has asked for it. */
static void give(uint32_t count, uint32_t at, const struct given *g, uint32_t mode)
{
    uint32_t a_home = at % count, b_home = at / count;
    struct rig *r = rig_up(count, mode);
    struct tcp_conn *a = fake_connect(r->s.net[a_home]), *b = fake_connect(r->s.net[b_home]);
    say(b, "XGROUP CREATE s g $ MKSTREAM\r\n");
    all_is_safe(r);
    expect_out(b, "+OK\r\n");
    if (mode == JOURNAL_ON)
        expect(&r->s, a, "CLIENT DURABILITY ALWAYS\r\n", "+OK\r\n");
    say(a, g->wait);
    all_is_safe(r);
    say(b, g->push);
    do {
        settle(&r->s);
        assert_true((a->out_len > 0) == (safe_words(r, g->word) > 0));
        if (mode == JOURNAL_ON)
            assert_int_equal(b->out_len, strlen(g->pushed));
        else if (r->safe < r->records && r->safe == 1)
            assert_true(b->out_len < strlen(g->pushed));
    } while (one_is_safe(r, 0));
    assert_int_equal(safe_words(r, g->word), 1);
    expect_out(a, g->reply);
    expect_out(b, g->pushed);
    expect(&r->s, a, "PING\r\n", "+PONG\r\n");
    leave(a);
    leave(b);
    rig_down(r);
}

static void what_is_given_leaves_when_it_is_durable(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(given); i++)
        for (uint32_t count = 1; count <= WORKERS; count++)
            for (uint32_t at = 0; at < count * count; at++)
                give(count, at, &given[i], JOURNAL_ALWAYS);
}

static void what_is_given_leaves_when_its_client_wants_it(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(given); i++)
        for (uint32_t count = 1; count <= WORKERS; count++)
            for (uint32_t at = 0; at < count * count; at++)
                give(count, at, &given[i], JOURNAL_ON);
}

/* A client that leaves while what it was given is being written. */
static void a_client_that_leaves_before_it_is_durable(void **state)
{
    (void)state;
    for (uint32_t count = 1; count <= WORKERS; count++) {
        struct rig *r = rig_up(count, JOURNAL_ALWAYS);
        struct tcp_conn *a = fake_connect(r->s.net[count - 1]), *b = fake_connect(r->s.net[0]);
        say(a, "BLMOVE a b LEFT RIGHT 0\r\n");
        settle(&r->s);
        say(b, "RPUSH a x\r\n");
        settle(&r->s);
        leave(a);
        all_is_safe(r);
        expect_out(b, ":1\r\n");
        say(b, "LRANGE b 0 -1\r\n");
        settle(&r->s);
        expect_out(b, "*1\r\n$1\r\nx\r\n");
        leave(b);
        rig_down(r);
    }
}

/* ---- any interleaving ---- */

#define CLIENTS 8

static uint64_t draw(struct rig *r, uint64_t n)
{
    r->rng ^= r->rng << 13;
    r->rng ^= r->rng >> 7;
    r->rng ^= r->rng << 17;
    return r->rng % n;
}

enum asked { NOTHING, PUSH, POP, MOVE };
static const char *const words[] = {[PUSH] = "RPUSH", [POP] = "LPOP", [MOVE] = "LMOVE"};

struct client {
    struct tcp_conn *tc;
    enum asked asked;
};

static void ask(struct rig *r, struct client *c)
{
    char text[64], from = (char)('a' + draw(r, 4)), to = (char)('a' + draw(r, 4));
    c->asked = PUSH + (enum asked)draw(r, 3);
    if (c->asked == PUSH)
        snprintf(text, sizeof(text), "RPUSH %c x\r\n", from);
    else if (c->asked == POP)
        snprintf(text, sizeof(text), "BLPOP %c %c 0.00%d\r\n", from, to, 1 + (int)draw(r, 5));
    else
        snprintf(text, sizeof(text), "BLMOVE %c %c LEFT RIGHT 0.00%d\r\n", from, to,
                 1 + (int)draw(r, 5));
    say(c->tc, text);
}

/* Who has his reply was told of a change that is safe. */
static void look(struct rig *r, struct client *c, int told[4])
{
    if (!c->tc->out_len)
        return;
    bool none = c->tc->out[1] == '-';
    told[c->asked] += !none;
    if (safe_words(r, words[c->asked]) < told[c->asked])
        fail_msg("%d clients were told of %s, %d are safe", told[c->asked], words[c->asked],
                 safe_words(r, words[c->asked]));
    c->tc->out_len = 0;
    c->asked = NOTHING;
}

static void any_interleaving(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 150; seed++) {
        struct rig *r = rig_up(1 + (uint32_t)(seed % WORKERS), JOURNAL_ALWAYS);
        struct client c[CLIENTS] = {0};
        int told[4] = {0}, busy = 1;
        r->rng = seed * 0x9e3779b97f4a7c15ull | 1;
        for (int i = 0; i < CLIENTS; i++)
            c[i].tc = fake_connect(r->s.net[draw(r, r->s.count)]);
        for (int step = 0; step < 3000 || busy; step++) {
            assert_in_range(step, 0, 20000); /* stuck */
            int i = (int)draw(r, CLIENTS);
            if (step < 3000 && c[i].asked == NOTHING)
                ask(r, &c[i]);
            r->s.now_ns += draw(r, 20000);
            turn(&r->s, (uint32_t)draw(r, r->s.count));
            take(r);
            if (r->records && draw(r, 4) == 0)
                one_is_safe(r, (int)draw(r, (uint64_t)r->records));
            busy = 0;
            for (i = 0; i < CLIENTS; i++) {
                look(r, &c[i], told);
                busy += c[i].asked != NOTHING;
            }
        }
        all_is_safe(r);
        for (int k = PUSH; k <= MOVE; k++) {
            assert_true(told[k] > 0);
            assert_int_equal(told[k], safe_words(r, words[k]));
        }
        for (int i = 0; i < CLIENTS; i++)
            leave(c[i].tc);
        rig_down(r);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_given_leaves_when_it_is_durable),
        cmocka_unit_test(what_is_given_leaves_when_its_client_wants_it),
        cmocka_unit_test(a_client_that_leaves_before_it_is_durable),
        cmocka_unit_test(any_interleaving),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
