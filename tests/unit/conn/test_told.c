/* What writes over several shards leave to be told: events and invalidations in the order in which the request names its keys, without leases, whatever the
 * order in which workers are turned; and that of publications of several workers to one. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/link/msg.h"
#include "tests/unit/conn/server.h"
#include "tests/unit/unit.h"

#define EVENTS (NOTIFY_KEYSPACE | NOTIFY_ALL)

static void up(struct server *s, uint32_t count, uint32_t events)
{
    server_config(s);
    s->config.notify_events = events;
    server_start(s, count);
}

static struct tcp_conn *subscriber(struct server *s, uint32_t worker)
{
    struct tcp_conn *tc = fake_connect(s->net[worker]);
    say(tc, "PSUBSCRIBE __keyspace@0__:*\r\n");
    settle(s);
    tc->out_len = 0;
    return tc;
}

static uint64_t leases(const struct server *s)
{
    uint64_t n = 0;
    for (uint32_t i = 0; i < s->count; i++)
        n += s->w[i]->stats->leases_taken;
    return n;
}

static void assert_nothing_held(const struct server *s)
{
    for (uint32_t i = 0; i < s->count; i++) {
        const struct worker *w = s->w[i];
        assert_int_equal(w->shard.claims, 0);
        assert_int_equal(w->lease.intents.readers + w->lease.intents.writers, 0);
        assert_int_equal(w->tickets, w->tickets_run);
        assert_int_equal(w->told_later, 0);
        assert_int_equal(w->rings_closed, 1ull << i);
    }
}

/* The next message of a subscriber, of those in its output from *at on: "key event". False: no more. */
static bool message(const struct tcp_conn *tc, size_t *at, char key[32], char event[32])
{
    if (*at == tc->out_len)
        return false;
    char *text = malloc(tc->out_len + 1), *p = text, *word[4];
    memcpy(text, tc->out, tc->out_len);
    text[tc->out_len] = 0;
    p += *at;
    assert_memory_equal(p, "*4\r\n", 4);
    p += 4;
    for (int i = 0; i < 4; i++) {
        assert_int_equal(*p, '$');
        long n = strtol(p + 1, &p, 10);
        word[i] = p + 2;
        p = word[i] + n + 2;
        word[i][n] = 0;
    }
    assert_string_equal(word[0], "pmessage");
    snprintf(key, 32, "%s", strchr(word[2], ':') + 1);
    snprintf(event, 32, "%s", word[3]);
    *at = (size_t)(p - text);
    free(text);
    return true;
}

/* All that has come, "key event, ..." */
static void expect_events(struct tcp_conn *tc, const char *want)
{
    char key[32], event[32], got[4096] = "";
    for (size_t at = 0; message(tc, &at, key, event);) {
        size_t n = strlen(got);
        snprintf(got + n, sizeof(got) - n, "%s%s %s", n ? ", " : "", key, event);
    }
    assert_string_equal(got, want);
    tc->out_len = 0;
}

static void events_in_the_order_of_the_request(void **state)
{
    static const struct {
        const char *request, *reply, *events;
    } told[] = {
        {"MSET a 1 b 2 c 3 d 4 e 5\r\n", "+OK\r\n",
         "a new, a set, b new, b set, c new, c set, d new, d set, e new, e set"},
        {"MSET e 1 a 2 c 3 a 4 b 5\r\n", "+OK\r\n", "e set, a set, c set, a set, b set"},
        {"DEL x c y a c\r\n", ":2\r\n", "c del, a del"},
        {"UNLINK e d c b a\r\n", ":3\r\n", "e del, d del, b del"},
        {"DEL a b c d e\r\n", ":0\r\n", ""},
        {"MSET d 1 a 1 d 2\r\n", "+OK\r\n", "d new, d set, a new, a set, d set"},
        {"MGET a b c d e b\r\n", "*6\r\n$1\r\n1\r\n$-1\r\n$-1\r\n$1\r\n2\r\n$-1\r\n$-1\r\n",
         "b keymiss, c keymiss, e keymiss, b keymiss"},
    };
    (void)state;
    for (uint32_t count = 2; count <= 5; count++) {
        struct server s;
        struct tcp_conn *sub[MAX_WORKERS];
        up(&s, count, EVENTS | KS_NEW | KS_MISS);
        for (uint32_t i = 0; i < count; i++)
            sub[i] = subscriber(&s, i);
        for (uint32_t home = 0; home < count; home++) {
            struct tcp_conn *tc = fake_connect(s.net[home]);
            expect(&s, tc, "FLUSHALL\r\n", "+OK\r\n");
            for (size_t k = 0; k < ARRAY_LEN(told); k++) {
                expect(&s, tc, told[k].request, told[k].reply);
                for (uint32_t i = 0; i < count; i++)
                    expect_events(sub[i], told[k].events);
            }
            leave(tc);
        }
        assert_int_equal(leases(&s), 0);
        assert_nothing_held(&s);
        for (uint32_t i = 0; i < count; i++)
            leave(sub[i]);
        server_down(&s);
    }
}

/* A DEL that finds keys dead tells that they have expired, in its order, and of nothing else. */
static void keys_found_dead(void **state)
{
    (void)state;
    struct server s;
    up(&s, 3, EVENTS | KS_NEW);
    struct tcp_conn *tc = fake_connect(s.net[0]), *sub = subscriber(&s, 1);
    for (int k = 0; k < 6; k++) {
        char text[64];
        snprintf(text, sizeof(text), "SET %c 1 PX 50\r\n", 'a' + k);
        expect(&s, tc, text, "+OK\r\n");
    }
    expect(&s, tc, "SET g 1\r\n", "+OK\r\n");
    sub->out_len = 0;
    for (uint32_t i = 0; i < 3; i++)
        s.w[i]->shard.expire_paused = true; /* nothing expires by itself */
    s.now_ns += 100000000;
    say(tc, "DEL f a g\r\nUNLINK f b\r\nMSET e 1 c 2\r\nMGET d d a\r\n");
    settle(&s);
    expect_out(tc, ":1\r\n:0\r\n+OK\r\n*3\r\n$-1\r\n$-1\r\n$-1\r\n");
    expect_events(
        sub, "f expired, a expired, g del, b expired, e expired, e new, e set, c expired, c new, "
             "c set, d expired");
    assert_nothing_held(&s);
    leave(tc);
    leave(sub);
    server_down(&s);
}

/* ---- any interleaving ---- */

#define CLIENTS 6
#define SHARED  6
#define OWN     5
#define STEPS   2500
#define NOTED   4096

struct noted {
    char text[NOTED][20]; /* "key event" in the order in which it happened */
    int n;
};

struct writer {
    struct tcp_conn *tc;
    int awaited;
    bool set;         /* its own keys */
    struct noted own; /* their events to be */
};

static struct noted *truth;
static uint32_t rng;

static uint32_t draw(uint32_t n)
{
    rng ^= rng << 13;
    rng ^= rng >> 17;
    rng ^= rng << 5;
    return rng % n;
}

static void note(struct noted *l, const char *key, size_t n, const char *event)
{
    assert_true(l->n < NOTED);
    snprintf(l->text[l->n++], sizeof(l->text[0]), "%.*s %s", (int)n, key, event);
}

static void on_change(void *ctx, struct shard *s, uint32_t db, struct span key, enum ks_class cls,
                      const char *event)
{
    (void)ctx;
    (void)s;
    (void)db;
    if (cls & NOTIFY_ALL)
        note(truth, (const char *)key.p, key.n, event);
}

/* Its own keys, all of them in any order: what is to be told is known. */
static void ask_own(struct writer *x, int id)
{
    char text[160];
    int n, at = (int)draw(OWN), by = 1 + (int)draw(OWN - 1);
    bool del = x->set && draw(3) == 0;
    n = snprintf(text, sizeof(text), "%s", del ? draw(2) ? "DEL" : "UNLINK" : "MSET");
    for (int i = 0; i < OWN; i++, at = (at + by) % OWN) {
        char key[16];
        int len = snprintf(key, sizeof(key), "o%d.%d", id, at);
        n += snprintf(text + n, sizeof(text) - (size_t)n, del ? " %s" : " %s 1", key);
        note(&x->own, key, (size_t)len, del ? "del" : "set");
    }
    snprintf(text + n, sizeof(text) - (size_t)n, "\r\n");
    x->set = !del;
    x->awaited++;
    say(x->tc, text);
}

static void ask_shared(struct writer *x)
{
    char text[96];
    int a = (int)draw(SHARED), b = (int)draw(SHARED), c = (int)draw(SHARED);
    switch (draw(8)) {
    case 0: snprintf(text, sizeof(text), "SET k%d 1\r\n", a); break;
    case 1: snprintf(text, sizeof(text), "INCR k%d\r\n", a); break;
    case 2: snprintf(text, sizeof(text), "DEL k%d\r\n", a); break;
    case 3: snprintf(text, sizeof(text), "PEXPIRE k%d 1\r\n", a); break;
    case 4: snprintf(text, sizeof(text), "RENAME k%d k%d\r\n", a, b); break;
    case 5: snprintf(text, sizeof(text), "UNLINK k%d k%d k%d\r\n", a, b, c); break;
    default: snprintf(text, sizeof(text), "MSET k%d 1 k%d 2 k%d 3\r\n", a, b, c); break;
    }
    x->awaited++;
    say(x->tc, text);
}

static void take_replies(struct writer *x)
{
    for (size_t i = 0; i < x->tc->out_len; i++)
        x->awaited -= x->tc->out[i] == '\n';
    x->tc->out_len = 0;
}

/* Of those that begin like this. */
static void expect_row(struct tcp_conn *tc, const struct noted *want, const char *prefix,
                       uint32_t seed)
{
    char key[32], event[32], line[80];
    size_t at = 0, n = strlen(prefix);
    for (int i = 0;; i++) {
        while (i < want->n && strncmp(want->text[i], prefix, n) != 0)
            i++;
        bool more;
        while ((more = message(tc, &at, key, event)) && strncmp(key, prefix, n) != 0)
            ;
        if (i == want->n || !more) {
            if (i < want->n || more)
                fail_msg("seed %u: %s: one %s", seed, prefix, more ? "too many" : "is missing");
            return;
        }
        snprintf(line, sizeof(line), "%s %s", key, event);
        if (strncmp(line, want->text[i], sizeof(want->text[0]) - 1) != 0)
            fail_msg("seed %u: told \"%s\", happened \"%s\"", seed, line, want->text[i]);
    }
}

static void one_seed(uint32_t seed)
{
    struct server s;
    struct writer *x = calloc(CLIENTS, sizeof(*x));
    struct tcp_conn *sub[MAX_WORKERS];
    uint32_t count = 2 + seed % 4;
    rng = seed * 2654435761u + 1;
    truth = calloc(1, sizeof(*truth));
    up(&s, count, EVENTS);
    for (uint32_t i = 0; i < count; i++)
        sub[i] = subscriber(&s, i);
    for (uint32_t i = 0; i < CLIENTS; i++)
        x[i].tc = fake_connect(s.net[i % count]);
    for (uint32_t i = 0; i < count; i++)
        shard_hook(&s.w[i]->shard, on_change, NULL);
    for (int step = 0; step < STEPS; step++) {
        uint32_t i = draw(CLIENTS);
        if (draw(4) == 0 && x[i].awaited < 4 && truth->n < NOTED - 200) {
            if (draw(2))
                ask_own(&x[i], (int)i);
            else
                ask_shared(&x[i]);
        }
        turn(&s, draw(count));
        if (draw(64) == 0) /* some fall behind */
            for (uint32_t k = 0, w = draw(count); k < 20; k++)
                turn(&s, (w + 1 + draw(count - 1)) % count);
        take_replies(&x[i]);
    }
    settle(&s);
    for (uint32_t i = 0; i < count; i++)
        s.now_ns += 5000000;
    settle(&s);
    for (uint32_t i = 0; i < CLIENTS; i++) {
        char prefix[8];
        take_replies(&x[i]);
        assert_int_equal(x[i].awaited, 0);
        snprintf(prefix, sizeof(prefix), "o%u.", i);
        for (uint32_t k = 0; k < count; k++)
            expect_row(sub[k], &x[i].own, prefix, seed);
        leave(x[i].tc);
    }
    for (int k = 0; k < SHARED; k++) {
        char prefix[8];
        snprintf(prefix, sizeof(prefix), "k%d", k);
        for (uint32_t i = 0; i < count; i++)
            expect_row(sub[i], truth, prefix, seed);
    }
    assert_nothing_held(&s);
    for (uint32_t i = 0; i < count; i++)
        leave(sub[i]);
    server_down(&s);
    free(truth);
    free(x);
}

static uint32_t seeds = 120, first_seed = 1;

static void order_under_any_interleaving(void **state)
{
    (void)state;
    for (uint32_t seed = first_seed; seed < first_seed + seeds; seed++)
        one_seed(seed);
}

/* ---- invalidations ---- */

static struct tcp_conn *tracker(struct server *s, uint32_t worker, const char *how)
{
    struct tcp_conn *tc = fake_connect(s->net[worker]);
    say(tc, "HELLO 3\r\n");
    say(tc, how);
    settle(s);
    tc->out_len = 0;
    return tc;
}

static void forget(struct tcp_conn *tc, const char *keys, const char *reply)
{
    char want[1024];
    size_t n = (size_t)snprintf(want, sizeof(want), "%s", reply);
    for (; *keys; keys++)
        n += (size_t)snprintf(want + n, sizeof(want) - n,
                              ">2\r\n$10\r\ninvalidate\r\n*1\r\n$1\r\n%c\r\n", *keys);
    expect_out(tc, want);
}

static void invalidations_in_the_order_of_the_request(void **state)
{
    (void)state;
    for (uint32_t count = 2; count <= 5; count++) {
        struct server s;
        server_up(&s, count);
        struct tcp_conn *tc[MAX_WORKERS], *mine = tracker(&s, 0, "CLIENT TRACKING ON\r\n"),
                                          *mute = tracker(&s, 1, "CLIENT TRACKING ON NOLOOP\r\n");
        for (uint32_t i = 0; i < count; i++)
            tc[i] = tracker(&s, i, "CLIENT TRACKING ON\r\n");
        expect(&s, mine, "MSET a 1 b 2 c 3 d 4 e 5\r\n", "+OK\r\n");
        for (uint32_t i = 0; i < count; i++) {
            say(tc[i], "MGET a b c d e\r\n");
            settle(&s);
            tc[i]->out_len = 0;
        }
        expect(&s, mute, "MGET a c e\r\n", "*3\r\n$1\r\n1\r\n$1\r\n3\r\n$1\r\n5\r\n");
        expect(&s, mine, "MGET e b\r\n", "*2\r\n$1\r\n5\r\n$1\r\n2\r\n");
        say(mine, "MSET c 1 b 1 e 1 a 1\r\n");
        settle(&s);
        forget(mine, "be", "+OK\r\n");
        forget(mute, "cea", "");
        for (uint32_t i = 0; i < count; i++)
            forget(tc[i], "cbea", "");
        expect(&s, mute, "MGET a d\r\n", "*2\r\n$1\r\n1\r\n$1\r\n4\r\n");
        say(mute, "DEL d x a\r\n");
        settle(&s);
        forget(mute, "", ":2\r\n");
        forget(tc[0], "d", "");
        assert_int_equal(leases(&s), 0);
        assert_nothing_held(&s);
        leave(mine);
        leave(mute);
        for (uint32_t i = 0; i < count; i++)
            leave(tc[i]);
        server_down(&s);
    }
}

/* ---- listeners and clients that come and go ---- */

/* At any moment of the request: all of it is told or nothing, on either way. */
static void listener_comes_in_the_middle(void **state)
{
    (void)state;
    static const char all[] = "a set, b set, c set, d set, e set, f set";
    for (int moment = 0; moment < 48; moment++) {
        struct server s;
        server_config(&s);
        s.config.notify_events = moment & 1 ? EVENTS : 0;
        server_link(&s, 3);
        server_start(&s, 3);
        struct tcp_conn *tc = fake_connect(s.net[moment / 2 % 3]), *sub = subscriber(&s, 1);
        rng = (uint32_t)moment + 1;
        s.config.notify_events ^= EVENTS;
        say(tc, "MSET a 1 b 2 c 3 d 4 e 5 f 6\r\n");
        for (int i = 0; i < moment / 4; i++)
            turn(&s, draw(3));
        link_config_publish(s.control, &s.config);
        for (int i = 0; i < 40; i++)
            turn(&s, draw(3));
        settle(&s);
        expect_out(tc, "+OK\r\n");
        if (sub->out_len)
            expect_events(sub, all);
        expect(&s, tc, "MSET a 1 b 2 c 3 d 4 e 5 f 6\r\n", "+OK\r\n");
        expect_events(sub, moment & 1 ? "" : all);
        assert_nothing_held(&s);
        leave(tc);
        leave(sub);
        server_down(&s);
    }
}

/* What it has asked happens, and is told, once. */
static void client_dies_at_any_moment(void **state)
{
    (void)state;
    for (int moment = 0; moment < 12; moment++) {
        struct server s;
        up(&s, 3, EVENTS);
        struct tcp_conn *tc = fake_connect(s.net[0]), *sub = subscriber(&s, 2);
        say(tc, "MSET c 1 b 2 a 3\r\n");
        turn(&s, 0);
        for (int i = 0; i < moment; i++)
            turn(&s, (uint32_t)(1 + i) % 3);
        leave(tc);
        settle(&s);
        expect_events(sub, "c set, b set, a set");
        assert_nothing_held(&s);
        leave(sub);
        server_down(&s);
    }
}

/* Taken down in the middle of it: nothing leaks (ASan). Nothing is told to other workers here: what is in a ring ends with the process. */
static void server_ends_at_any_moment(void **state)
{
    (void)state;
    for (int moment = 0; moment < 12; moment++) {
        struct server s;
        up(&s, 3, EVENTS | KS_MISS);
        struct tcp_conn *tc = fake_connect(s.net[0]), *sub = subscriber(&s, 0);
        say(tc, moment & 1 ? "MGET c b a d\r\n" : "MSET c 1 b 2 a 3\r\n");
        for (int i = 0; i < moment; i++)
            turn(&s, (uint32_t)i % 3);
        leave(tc);
        leave(sub);
        for (uint32_t i = 0; i < 3; i++)
            worker_destroy(s.w[i]);
    }
}

/* ---- publications of several workers ---- */

static void name_key(char to[16], uint32_t shard, uint32_t count, int nth)
{
    for (int k = 0;; k++) {
        int n = snprintf(to, 16, "n%d", k);
        if (shard_of_key(span_of(to, (size_t)n), count) == shard && nth-- == 0)
            return;
    }
}

/* Worker 2 changed a key of shard 1 under leases and told of it; then worker 1 changed it; worker 0 looks at the ring of 1 first: the later event came first. */
static void event_of_a_later_change_came_before(void **state)
{
    (void)state;
    struct server s;
    char a[16], b[16], text[64], want[128];
    up(&s, 3, EVENTS);
    name_key(a, 1, 3, 0);
    name_key(b, 2, 3, 0);
    struct tcp_conn *sub = subscriber(&s, 0), *holder = fake_connect(s.net[2]),
                    *owner = fake_connect(s.net[1]);
    snprintf(text, sizeof(text), "MSETNX %s 1 %s 2\r\n", b, a);
    say(holder, text);
    for (int i = 0; i < 6; i++) {
        turn(&s, 2);
        turn(&s, 1);
    }
    expect_out(holder, ":1\r\n");
    snprintf(text, sizeof(text), "APPEND %s x\r\n", a);
    say(owner, text);
    turn(&s, 1);
    expect_out(owner, ":2\r\n");
    settle(&s);
    snprintf(want, sizeof(want), "%s set, %s set, %s append", b, a, a);
    expect_events(sub, want);
    assert_nothing_held(&s);
    leave(sub);
    leave(holder);
    leave(owner);
    server_down(&s);
}

/* The other way round: what the owner has told before it gave the keys away. */
static void event_of_an_earlier_change_came_behind(void **state)
{
    (void)state;
    struct server s;
    char a[16], b[16], text[64], want[128];
    up(&s, 3, EVENTS);
    name_key(a, 2, 3, 0);
    name_key(b, 1, 3, 0);
    struct tcp_conn *sub = subscriber(&s, 0), *home = fake_connect(s.net[1]),
                    *owner = fake_connect(s.net[2]);
    snprintf(text, sizeof(text), "SET %s 1\r\n", a);
    say(owner, text);
    turn(&s, 2);
    expect_out(owner, "+OK\r\n");
    snprintf(text, sizeof(text), "DEL %s %s\r\n", b, a);
    say(home, text);
    for (int i = 0; i < 6; i++) {
        turn(&s, 1);
        turn(&s, 2);
    }
    expect_out(home, ":1\r\n");
    settle(&s);
    snprintf(want, sizeof(want), "%s set, %s del", a, a);
    expect_events(sub, want);
    assert_nothing_held(&s);
    leave(sub);
    leave(home);
    leave(owner);
    server_down(&s);
}

/* Somebody has taken a ticket and not sent yet: whoever comes behind waits for him, with what is behind it on its ring, and what this worker tells itself. */
static void early_publications_wait(void **state)
{
    (void)state;
    struct server s;
    char a[16], b[16], text[96], want[160];
    up(&s, 2, EVENTS);
    name_key(a, 1, 2, 0);
    name_key(b, 0, 2, 0);
    struct tcp_conn *sub = subscriber(&s, 0), *tc = fake_connect(s.net[0]);
    s.w[0]->tickets++;
    snprintf(text, sizeof(text), "SET %s 1\r\n", a);
    expect(&s, tc, text, "");
    expect_out(sub, "");
    s.w[0]->tickets_run++;
    settle(&s);
    expect_out(tc, "+OK\r\n");
    snprintf(want, sizeof(want), "%s set", a);
    expect_events(sub, want);
    s.w[0]->tickets++;
    snprintf(text, sizeof(text), "SET %s 1\r\nPUBLISH __keyspace@0__:%s mine\r\n", b, b);
    expect(&s, tc, text, "+OK\r\n");
    expect_out(sub, "");
    s.w[0]->tickets_run++;
    settle(&s);
    expect_out(tc, ":1\r\n");
    snprintf(want, sizeof(want), "%s set, %s mine", b, b);
    expect_events(sub, want);
    assert_nothing_held(&s);
    leave(sub);
    leave(tc);
    server_down(&s);
}

/* A key that was written and not told of yet was evicted, and that was told first. */
static void key_evicted_before_it_was_told_of(void **state)
{
    (void)state;
    struct server s;
    char a[16], b[16], text[64], want[128];
    server_config(&s);
    s.config.notify_events = EVENTS;
    s.config.maxmemory_policy = POLICY_ALLKEYS_RANDOM;
    server_link(&s, 2);
    server_start(&s, 2);
    name_key(a, 1, 2, 0);
    name_key(b, 0, 2, 0);
    struct tcp_conn *sub = subscriber(&s, 1), *tc = fake_connect(s.net[0]);
    snprintf(text, sizeof(text), "MSET %s 1 %s 2\r\n", b, a);
    say(tc, text);
    turn(&s, 0); /* asks */
    turn(&s, 1); /* grants */
    turn(&s, 0); /* run */
    s.config.maxmemory_bytes = 1;
    link_config_publish(s.control, &s.config);
    for (int i = 0; i < 400; i++) {
        s.now_ns += 1000000;
        turn(&s, 1);
    }
    assert_int_equal(s.w[1]->shard.claims, 1);
    expect_out(sub, "");
    turn(&s, 0); /* told */
    for (int i = 0; i < 400; i++) {
        s.now_ns += 1000000;
        turn(&s, 1);
    }
    expect_out(tc, "+OK\r\n");
    snprintf(want, sizeof(want), "%s set, %s set, %s evicted", b, a, a);
    expect_events(sub, want);
    leave(sub);
    leave(tc);
    server_down(&s);
}

/* test_told SEEDS FIRST_SEED for more than the short run */
int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(events_in_the_order_of_the_request),
        cmocka_unit_test(keys_found_dead),
        cmocka_unit_test(order_under_any_interleaving),
        cmocka_unit_test(invalidations_in_the_order_of_the_request),
        cmocka_unit_test(listener_comes_in_the_middle),
        cmocka_unit_test(client_dies_at_any_moment),
        cmocka_unit_test(server_ends_at_any_moment),
        cmocka_unit_test(event_of_a_later_change_came_before),
        cmocka_unit_test(event_of_an_earlier_change_came_behind),
        cmocka_unit_test(early_publications_wait),
        cmocka_unit_test(key_evicted_before_it_was_told_of),
    };
    if (argc > 1)
        seeds = (uint32_t)strtoul(argv[1], NULL, 10);
    if (argc > 2)
        first_seed = (uint32_t)strtoul(argv[2], NULL, 10);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
