/* Linearizability of what goes over several workers: clients with one request each under way, workers turned in any order a seed picks and
 * paused at random, every observation checked.
 *
 *   registers   one writer a key: a read returns no version older than the last one acknowledged before it was asked, none that was not
 *               yet asked for when it returned, and none older than a read that had returned before it was asked
 *   pairs       MSET of two keys on two shards, MGET of both: always equal; DEL of both, EXISTS: none or both
 *   lines       MSET of two keys by one writer: a GET of either, both GETs, one after the other, and MGET see no version older than one that anybody
 *               has read of either before, and GETs the second key no older than the first
 *   steps       SET of one key, then of another: MGET sees the second never without the first
 *   orders      several requests of one client at once, over the same keys: as if each had waited for the one before
 *   transfers   under MULTI, and under WATCH (read, then EXEC of what was computed): MGET of all accounts has always the same sum
 *   leaving     MSET and DEL of two keys, SET and APPEND of one, which may expire at any moment
 *
 * Every second history has a journal. What has been published of it is run by a server of its own (shadow.c) once in a while, as a start after a crash would: of pairs
 * and lines all or nothing is there, and all that was acknowledged; and whenever all requests have been answered both datasets are the same.
 *
 * Workers that have keys of a request over several shards are paused often, and clients rest between requests: so they ask for what such a worker has not
 * run yet when somebody else has seen the rest of it. A local GET that does not mind those keys (batch.c) is found by this, in each short run.
 *
 *     test_linear [HISTORIES [OPERATIONS [WORKERS [SEED]]]] */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/unit/conn/shadow.h"
#include "tests/unit/unit.h"

#define CLIENTS  12
#define PAIRS    3
#define ACCOUNTS 6
#define START    1000 /* of each account */
#define NO_PAUSE 0

enum kind {
    WRITE,
    READ,
    PAIR_WRITE,
    PAIR_READ,
    PAIR_DELETE,
    PAIR_COUNT,
    LINE_WRITE,
    LINE_READ,
    LINE_NEXT, /* the second GET */
    LINE_TAIL, /* GET of the second key alone: by a client that knows what another one has read of the first */
    LINE_BOTH,
    STEP_WRITE,
    STEP_NEXT, /* the second SET */
    STEP_READ,
    ORDER,
    ORDER_RENAME,
    MOVE,
    WATCHED_READ,
    WATCHED_MOVE,
    SUM,
    LEAVING,
    KINDS
};

struct reg {
    long asked, acked; /* versions: the writer's newest, and its newest that was answered */
    long seen;         /* by reads that have returned */
};

struct client {
    struct tcp_conn *tc;
    enum kind kind;
    bool busy;
    int rest;                           /* steps until the next request */
    int replies, key, from, to, amount; /* of the request under way */
    long least;
};

struct history {
    uint32_t count;
    struct worker *w[MAX_WORKERS];
    struct net *net[MAX_WORKERS];
    int paused[MAX_WORKERS]; /* steps to come */
    struct client client[CLIENTS];
    struct reg reg[CLIENTS], line[CLIENTS], step[CLIENTS];
    uint64_t rng, now_ns, moved, refused;
    long asked, answered;
    bool journal, quiet; /* quiet: nobody asks until all is answered */
    struct shadow shadow;
};

static int histories = 12, operations = 10000, most_workers = 4;
static uint64_t first_seed = 1;

static uint64_t draw(struct history *h, uint64_t n)
{
    h->rng ^= h->rng << 13;
    h->rng ^= h->rng >> 7;
    h->rng ^= h->rng << 17;
    return h->rng % n;
}

/* ---- replies ---- */

/* The end of the reply at p, or NULL: it is not whole. */
static const char *reply_end(const char *p, const char *end)
{
    const char *line = memchr(p, '\n', (size_t)(end - p));
    char type = *p;
    if (!line)
        return NULL;
    long n = strtol(p + 1, NULL, 10);
    p = line + 1;
    if (type == '$' && n >= 0)
        return p + n + 2 <= end ? p + n + 2 : NULL;
    for (; type == '*' && p && n > 0; n--)
        p = p < end ? reply_end(p, end) : NULL;
    return p;
}

/* Number `at` of an array of bulk strings; -1: null. */
static long element(const char *p, int at)
{
    p = strchr(p, '\n') + 1;
    for (; at > 0; at--) {
        bool null = p[1] == '-';
        p = strchr(p, '\n') + 1;
        if (!null)
            p = strchr(p, '\n') + 1;
    }
    return p[1] == '-' ? -1 : strtol(strchr(p, '\n') + 1, NULL, 10);
}

/* ---- asking ---- */

static void tell(struct client *c, int replies, const char *text)
{
    fake_send(c->tc, text, strlen(text));
    c->replies = replies;
    c->busy = true;
}

static long oldest(const struct reg *r)
{
    return r->acked > r->seen ? r->acked : r->seen;
}

/* Whose line, or steps, to look at: of one who writes just now, where there is one. */
static int row_to_read(struct history *h, enum kind writes, enum kind next)
{
    int id = (int)draw(h, CLIENTS);
    for (int i = 0; i < CLIENTS; i++, id = (id + 1) % CLIENTS)
        if (h->client[id].busy && (h->client[id].kind == writes || h->client[id].kind == next))
            break;
    return id;
}

/* Requests of the clients that write and read lines, steps and orders. */
static void ask_rows(struct history *h, int id)
{
    struct client *c = &h->client[id];
    char t[256];
    long n;
    c->key = c->kind < STEP_WRITE ? row_to_read(h, LINE_WRITE, LINE_WRITE)
                                  : row_to_read(h, STEP_WRITE, STEP_NEXT);
    switch (c->kind) {
    case LINE_WRITE:
        n = ++h->line[id].asked;
        snprintf(t, sizeof(t), "MSET s%d %ld t%d %ld\r\n", id, n, id, n);
        tell(c, 1, t);
        break;
    case LINE_READ:
    case LINE_TAIL:
        c->least = oldest(&h->line[c->key]);
        snprintf(t, sizeof(t), "GET %c%d\r\n", c->kind == LINE_READ ? 's' : 't', c->key);
        tell(c, 1, t);
        break;
    case LINE_BOTH:
        c->least = oldest(&h->line[c->key]);
        snprintf(t, sizeof(t), "MGET s%d t%d\r\n", c->key, c->key);
        tell(c, 1, t);
        break;
    case STEP_WRITE:
        snprintf(t, sizeof(t), "SET u%d %ld\r\n", id, ++h->step[id].asked);
        tell(c, 1, t);
        break;
    case STEP_READ:
        snprintf(t, sizeof(t), "MGET u%d v%d\r\n", c->key, c->key);
        tell(c, 1, t);
        break;
    case ORDER:
        n = c->least = h->asked;
        snprintf(
            t, sizeof(t),
            "SET x%d %ld\r\nMGET x%d y%d z%d\r\nMSET y%d %ld x%d %ld\r\nGET y%d\r\nDEL x%d z%d "
            "y%d\r\nEXISTS x%d z%d y%d\r\n",
            id, n, id, id, id, id, n, id, n + 1, id, id, id, id, id, id, id);
        tell(c, 6, t);
        break;
    default:
        n = c->least = h->asked;
        snprintf(t, sizeof(t), "SET x%d %ld\r\nRENAME x%d z%d\r\nGET z%d\r\nEXISTS x%d z%d\r\n", id,
                 n, id, id, id, id, id);
        tell(c, 4, t);
    }
}

/* Is there a worker that has keys of a write over several shards? */
static bool writes_under_way(const struct history *h)
{
    for (uint32_t i = 0; i < h->count; i++)
        if (h->w[i]->lease.intents.writers)
            return true;
    return false;
}

static void ask_leaving(struct history *h, struct client *c)
{
    char t[256];
    long n = h->asked;
    char one = draw(h, 2) ? 'f' : 'g';
    switch (draw(h, 6)) {
    case 0: snprintf(t, sizeof(t), "DEL f%d g%d\r\n", c->key, c->key); break;
    case 1: snprintf(t, sizeof(t), "SET %c%d %ld\r\n", one, c->key, n); break;
    case 2: snprintf(t, sizeof(t), "APPEND %c%d %ld\r\n", one, c->key, n); break;
    case 3: snprintf(t, sizeof(t), "PEXPIRE %c%d %d\r\n", one, c->key, 1 + (int)draw(h, 3)); break;
    default: snprintf(t, sizeof(t), "MSET f%d %ld g%d %ld\r\n", c->key, n, c->key, n);
    }
    tell(c, 1, t);
}

static void ask(struct history *h, int id)
{
    struct client *c = &h->client[id];
    char t[256];
    do
        c->kind = (enum kind)draw(h, KINDS);
    while (c->kind == LINE_NEXT || c->kind == STEP_NEXT);
    if (draw(h, 2) && writes_under_way(h))
        c->kind = draw(h, 2) ? LINE_READ : LINE_TAIL;
    if (c->kind >= LINE_WRITE && c->kind <= ORDER_RENAME) {
        ask_rows(h, id);
        h->asked++;
        return;
    }
    c->key = (int)draw(h, PAIRS);
    c->from = (int)draw(h, ACCOUNTS);
    c->to = (c->from + 1 + (int)draw(h, ACCOUNTS - 1)) % ACCOUNTS;
    c->amount = (int)draw(h, 50);
    switch (c->kind) {
    case WRITE:
        snprintf(t, sizeof(t), "SET r%d %ld\r\n", id, ++h->reg[id].asked);
        tell(c, 1, t);
        break;
    case READ:
        c->key = (int)draw(h, CLIENTS);
        c->least = oldest(&h->reg[c->key]);
        snprintf(t, sizeof(t), "GET r%d\r\n", c->key);
        tell(c, 1, t);
        break;
    case PAIR_WRITE:
        snprintf(t, sizeof(t), "MSET p%d %ld q%d %ld\r\n", c->key, h->asked, c->key, h->asked);
        tell(c, 1, t);
        break;
    case PAIR_READ:
        snprintf(t, sizeof(t), "MGET p%d q%d\r\n", c->key, c->key);
        tell(c, 1, t);
        break;
    case PAIR_DELETE: /* of both, or both again */
        snprintf(t, sizeof(t), draw(h, 2) ? "DEL d%d e%d\r\n" : "MSET d%d 1 e%d 1\r\n", c->key,
                 c->key);
        tell(c, 1, t);
        break;
    case PAIR_COUNT:
        snprintf(t, sizeof(t), "EXISTS d%d e%d\r\n", c->key, c->key);
        tell(c, 1, t);
        break;
    case MOVE:
        snprintf(t, sizeof(t), "MULTI\r\nDECRBY a%d %d\r\nINCRBY a%d %d\r\nEXEC\r\n", c->from,
                 c->amount, c->to, c->amount);
        tell(c, 4, t);
        break;
    case WATCHED_MOVE:
    case WATCHED_READ:
        c->kind = WATCHED_READ;
        snprintf(t, sizeof(t), "WATCH a%d a%d\r\nGET a%d\r\nGET a%d\r\n", c->from, c->to, c->from,
                 c->to);
        tell(c, 3, t);
        break;
    case LEAVING: ask_leaving(h, c); break;
    default: tell(c, 1, "MGET a0 a1 a2 a3 a4 a5\r\n");
    }
    h->asked++;
}

/* ---- answers ---- */

static long value(const char *p)
{
    return p[1] == '-' ? 0 : strtol(strchr(p, '\n') + 1, NULL, 10);
}

static void check_version(struct client *c, struct reg *r, long v)
{
    if (v < c->least || v > r->asked)
        fail_msg("key %d: %ld, where %ld to %ld are possible", c->key, v, c->least, r->asked);
    if (v > r->seen)
        r->seen = v;
}

static void check_line(struct history *h, struct client *c, const char *p)
{
    struct reg *r = &h->line[c->key];
    long s = element(p, 0), t = element(p, 1);
    if (s != t)
        fail_msg("line %d is torn: %s", c->key, p);
    check_version(c, r, s < 0 ? 0 : s);
}

static void check_steps(const struct client *c, const char *p)
{
    long u = element(p, 0), v = element(p, 1);
    u = u < 0 ? 0 : u;
    v = v < 0 ? 0 : v;
    if (v > u || u > v + 1)
        fail_msg("steps %d: %s", c->key, p);
}

/* Of requests that were sent at once: as if one by one. */
static void check_order(struct client *c, const char *p)
{
    char want[256], n[24];
    int len = snprintf(n, sizeof(n), "%ld", c->least);
    if (c->kind == ORDER)
        snprintf(want, sizeof(want), "+OK\r\n*3\r\n$%d\r\n%s\r\n$-1\r\n$", len, n);
    else
        snprintf(want, sizeof(want), "+OK\r\n+OK\r\n$%d\r\n%s\r\n:1\r\n", len, n);
    if (c->kind == ORDER_RENAME && strcmp(p, want) != 0)
        fail_msg("got %s, wanted %s", p, want);
    if (c->kind == ORDER_RENAME)
        return;
    const char *q = p + strlen(want);
    char rest[128];
    snprintf(rest, sizeof(rest), "+OK\r\n$%d\r\n%s\r\n:", len, n);
    if (strncmp(p, want, strlen(want)) != 0 || !strstr(q, rest) || !strstr(q, "\r\n:0\r\n"))
        fail_msg("got %s", p);
}

static void check_sum(const char *p)
{
    long sum = 0;
    for (int i = 0; i < ACCOUNTS; i++)
        sum += element(p, i);
    if (sum != ACCOUNTS * START)
        fail_msg("accounts: %ld together instead of %d: %s", sum, ACCOUNTS * START, p);
}

/* WATCH and both reads are answered: sets what was computed from them. */
static void move_watched(struct client *c, const char *p, const char *end)
{
    char t[160];
    const char *a = reply_end(p, end), *b = reply_end(a, end);
    long from = strtol(strchr(a, '\n') + 1, NULL, 10), to = strtol(strchr(b, '\n') + 1, NULL, 10);
    snprintf(t, sizeof(t), "MULTI\r\nSET a%d %ld\r\nSET a%d %ld\r\nEXEC\r\n", c->from,
             from - c->amount, c->to, to + c->amount);
    tell(c, 4, t);
    c->kind = WATCHED_MOVE;
}

static void check_exec(struct history *h, struct client *c, const char *p, const char *end)
{
    for (int i = 0; i < 3; i++)
        p = reply_end(p, end);
    if (strncmp(p, "*2\r\n", 4) == 0)
        h->moved++;
    else if (c->kind == WATCHED_MOVE && strncmp(p, "*-1\r\n", 5) == 0)
        h->refused++;
    else
        fail_msg("EXEC: %s", p);
}

static void check(struct history *h, int id, const char *p, const char *end)
{
    struct client *c = &h->client[id];
    char t[64];
    switch (c->kind) {
    case WRITE: h->reg[id].acked = h->reg[id].asked; break;
    case READ: check_version(c, &h->reg[c->key], value(p)); break;
    case LINE_WRITE: h->line[id].acked = h->line[id].asked; break;
    case LINE_READ:
        check_version(c, &h->line[c->key], value(p));
        c->least = value(p);
        c->kind = LINE_NEXT;
        snprintf(t, sizeof(t), "GET t%d\r\n", c->key);
        tell(c, 1, t);
        return;
    case LINE_NEXT:
    case LINE_TAIL: check_version(c, &h->line[c->key], value(p)); break;
    case LINE_BOTH: check_line(h, c, p); break;
    case STEP_WRITE:
        c->kind = STEP_NEXT;
        snprintf(t, sizeof(t), "SET v%d %ld\r\n", id, h->step[id].asked);
        tell(c, 1, t);
        return;
    case STEP_READ: check_steps(c, p); break;
    case ORDER:
    case ORDER_RENAME: check_order(c, p); break;
    case PAIR_READ:
        if (element(p, 0) != element(p, 1))
            fail_msg("pair %d is torn: %s", c->key, p);
        break;
    case PAIR_COUNT:
        if (strtol(p + 1, NULL, 10) == 1)
            fail_msg("one of the pair %d is there", c->key);
        break;
    case SUM: check_sum(p); break;
    case WATCHED_READ: move_watched(c, p, end); return;
    case MOVE:
    case WATCHED_MOVE: check_exec(h, c, p, end); break;
    default: break;
    }
    h->answered++;
}

static void take(struct history *h, int id)
{
    struct client *c = &h->client[id];
    struct tcp_conn *tc = c->tc;
    char text[1024];
    assert_true(tc->out_len < sizeof(text));
    if (tc->out_len)
        memcpy(text, tc->out, tc->out_len);
    text[tc->out_len] = 0;
    const char *p = text, *end = text + tc->out_len;
    for (int i = 0; i < c->replies && p; i++)
        p = p < end ? reply_end(p, end) : NULL;
    if (!p)
        return;
    assert_ptr_equal(p, end);
    tc->out_len = 0;
    c->busy = false;
    c->rest = draw(h, 2) ? 0 : (int)draw(h, 60);
    check(h, id, text, end);
}

/* ---- one history ---- */

static void up(struct history *h, uint32_t count, uint64_t seed)
{
    static struct engine_config config;
    memset(h, 0, sizeof(*h));
    h->count = count;
    h->rng = seed * 0x9e3779b97f4a7c15ull | 1;
    h->now_ns = 1000000000;
    engine_config_defaults(&config);
    config.protected_mode = 0;
    config.enable_debug_command = DEBUG_CMD_YES;
    h->journal = count > 1 && seed % 2;
    if (h->journal)
        shadow_link(&h->shadow, count, &config);
    for (uint32_t i = 0; i < count; i++) {
        struct worker_config c = {.id = i,
                                  .count = count,
                                  .all = h->w,
                                  .config = &config,
                                  .link = h->journal ? h->shadow.dataplane : NULL,
                                  .rx = fake_rx,
                                  .hash_seed = {1, 2},
                                  .seed = seed + i};
        assert_int_equal(worker_create(&h->w[i], &c), 0);
        h->net[i] = fake_last_net();
    }
    for (int i = 0; i < CLIENTS; i++)
        h->client[i].tc = fake_connect(h->net[i % count]);
    if (h->journal)
        shadow_up(&h->shadow);
}

/* ---- what a crash would leave ---- */

static void crash_line(struct history *h, int id)
{
    char t[64];
    const struct reg *r = &h->line[id];
    snprintf(t, sizeof(t), "MGET s%d t%d\r\n", id, id);
    const char *p = shadow_ask(&h->shadow, t);
    long s = element(p, 0), v = element(p, 1), least = oldest(r);
    s = s < 0 ? 0 : s;
    v = v < 0 ? 0 : v;
    if (s != v || s < least || s > r->asked)
        fail_msg("line %d after a crash: %ld and %ld, where %ld to %ld are possible", id, s, v,
                 least, r->asked);
}

static void crash(struct history *h)
{
    char t[64];
    shadow_follow(&h->shadow, h->now_ns);
    for (int i = 0; i < CLIENTS; i++) {
        crash_line(h, i);
        snprintf(t, sizeof(t), "GET r%d\r\n", i);
        long v = value(shadow_ask(&h->shadow, t));
        if (v < oldest(&h->reg[i]) || v > h->reg[i].asked)
            fail_msg("register %d after a crash: %ld of %ld", i, v, oldest(&h->reg[i]));
    }
    for (int i = 0; i < PAIRS; i++) {
        snprintf(t, sizeof(t), "MGET p%d q%d\r\n", i, i);
        const char *p = shadow_ask(&h->shadow, t);
        if (element(p, 0) != element(p, 1))
            fail_msg("pair %d is torn after a crash: %s", i, p);
        snprintf(t, sizeof(t), "EXISTS d%d e%d\r\n", i, i);
        if (strcmp(shadow_ask(&h->shadow, t), ":1\r\n") == 0)
            fail_msg("one of the pair %d is there after a crash", i);
    }
    check_sum(shadow_ask(&h->shadow, "MGET a0 a1 a2 a3 a4 a5\r\n"));
}

static void turn_one(struct history *h, uint32_t i)
{
    h->now_ns += 1000;
    worker_turn(h->w[i], h->now_ns, 1700000000000000ll + (int64_t)(h->now_ns / 1000));
}

/* A worker that is not paused takes a turn; once in a while one begins a pause, more often where it has keys of a write over several shards. */
static void step(struct history *h)
{
    uint32_t i = (uint32_t)draw(h, h->count);
    if (h->w[i]->lease.intents.writers && !h->paused[i] && draw(h, 8) == 0)
        h->paused[i] = (int)draw(h, 60);
    if (draw(h, 400) == 0)
        h->paused[draw(h, h->count)] = (int)draw(h, 300);
    if (h->paused[i] > NO_PAUSE)
        h->paused[i]--;
    else
        turn_one(h, i);
}

static void turn_all(struct history *h, int n)
{
    for (int k = 0; k < n; k++)
        for (uint32_t i = 0; i < h->count; i++)
            turn_one(h, i);
}

/* All that was done is in the log: what it makes is what is there. */
static void compare(struct history *h)
{
    struct client *c = &h->client[0];
    char text[64];
    h->now_ns += 10000000; /* what may leave leaves */
    turn_all(h, 60);
    shadow_follow(&h->shadow, h->now_ns);
    c->tc->out_len = 0;
    tell(c, 1, "DEBUG DIGEST\r\n");
    turn_all(h, 60);
    assert_in_range(c->tc->out_len, 1, sizeof(text) - 1);
    memcpy(text, c->tc->out, c->tc->out_len);
    text[c->tc->out_len] = 0;
    assert_string_equal(shadow_ask(&h->shadow, "DEBUG DIGEST\r\n"), text);
    c->tc->out_len = 0;
    c->busy = false;
}

static bool all_answered(const struct history *h)
{
    for (int i = 0; i < CLIENTS; i++)
        if (h->client[i].busy)
            return false;
    return true;
}

static void down(struct history *h)
{
    turn_all(h, 60);
    if (h->journal)
        compare(h);
    for (int i = 0; i < CLIENTS; i++) {
        fake_reset(h->client[i].tc);
        fake_free(h->client[i].tc);
    }
    for (int k = 0; k < 60; k++)
        for (uint32_t i = 0; i < h->count; i++)
            turn_one(h, i);
    for (uint32_t i = 0; i < h->count; i++) {
        assert_int_equal(h->w[i]->shard.watch.count, 0); /* the watchers are gone */
        assert_int_equal(h->w[i]->posted, 0);
        assert_true(list_empty(&h->w[i]->lease_jobs) && h->w[i]->lease.holder == LEASE_FREE);
        worker_destroy(h->w[i]);
    }
    if (h->journal)
        shadow_down(&h->shadow);
}

static void run_history(uint32_t count, uint64_t seed, long most)
{
    struct history h;
    char t[160];
    up(&h, count, seed);
    snprintf(t, sizeof(t), "MSET a0 %d a1 %d a2 %d a3 %d a4 %d a5 %d\r\n", START, START, START,
             START, START, START);
    h.client[0].kind = KINDS;
    tell(&h.client[0], 1, t);
    for (long steps = 0, idle = 0; h.answered < most; steps++, idle++) {
        long before = h.answered;
        step(&h);
        for (int i = 0; i < CLIENTS; i++) {
            if (h.client[i].busy)
                take(&h, i);
            else if (h.client[i].rest)
                h.client[i].rest--;
            if (!h.client[i].busy && !h.client[i].rest && h.answered > 0 && !h.quiet)
                ask(&h, i);
        }
        if (h.quiet && all_answered(&h)) {
            compare(&h);
            h.quiet = false;
        } else if (h.journal && draw(&h, 2000) == 0) {
            h.quiet = true;
        }
        if (h.journal && h.answered > 0 && draw(&h, 500) == 0)
            crash(&h);
        idle = h.answered == before ? idle : 0;
        if (idle > 100000)
            fail_msg("stuck: %u workers, seed %llu", count, (unsigned long long)seed);
    }
    assert_true(h.moved > 0);
    down(&h);
}

static void test_histories(void **state)
{
    (void)state;
    for (int i = 0; i < histories; i++) {
        uint32_t count = most_workers > 1 ? 1 + (uint32_t)(i + 2) % (uint32_t)most_workers : 1;
        run_history(count, first_seed + (uint64_t)i, operations);
    }
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_histories)};
    if (argc > 1)
        histories = atoi(argv[1]);
    if (argc > 2)
        operations = atoi(argv[2]);
    if (argc > 3)
        most_workers = atoi(argv[3]) < MAX_WORKERS ? atoi(argv[3]) : MAX_WORKERS;
    if (argc > 4)
        first_seed = strtoull(argv[4], NULL, 10);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
