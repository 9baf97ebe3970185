/* sim_cores: four workers on a virtual clock, turned in any order that a seed picks and paused at random, and clients that do everything which
 * crosses workers: commands by mail and under leases, transactions, clients that wait, publish/subscribe, CLIENT PAUSE, clients that die.
 *
 *     sim_cores [SEEDS [FIRST_SEED]]      the long run: sim_cores 10000
 *
 * A client has up to DEPTH requests under way, each with what may be answered: keys of its own have exactly one answer, ECHOs tell their place.
 *   order     every reply is one that its request allows; messages of a publisher come in its order
 *   stuck     when nobody asks any more all that was asked is answered, and nothing is left in any worker
 *   lost      an element of a list is given to one client or is still there (where nobody died); a message reaches all who had subscribed
 *             before and still are, and PUBLISH counts every client whose SUBSCRIBE was confirmed before it was sent */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/shard/wait.h"
#include "tests/unit/conn/server.h"
#include "tests/unit/unit.h"

#define WORKERS    4
#define CLIENTS    10
#define MORTAL     7 /* clients from here on may die, under every other seed */
#define SUBS       3
#define FICKLE     2 /* the subscriber that comes and goes */
#define CHANNELS   4
#define DEPTH      6
#define STEPS      8000
#define OWN_KEYS   5
#define VALUES     1600
#define NAMES      512 /* clients, with those that died */
#define TEXT_BYTES 256

enum answer { EXACT, INTEGER, ELEMENT, ARRAY_OR_NULL, ANY, WATCHED, RECEIVERS };

struct asked {
    enum answer answer;
    long least; /* RECEIVERS */
    uint64_t at;
    char text[TEXT_BYTES]; /* EXACT; WATCHED: the last element; all: for the report */
    char request[TEXT_BYTES];
};

struct client {
    struct tcp_conn *tc;
    struct asked asked[DEPTH];
    int first, count, id;
    long tag, own[OWN_KEYS], set, published;
    bool gone;
};

struct subscriber {
    struct tcp_conn *tc;
    long last[NAMES]; /* of each publisher, on whatever channel */
    long got;
    int confirmed[CHANNELS]; /* step, or -1 */
    int pending[CHANNELS];   /* requests that were not confirmed yet */
};

struct run {
    struct server s;
    struct client client[CLIENTS];
    struct subscriber sub[SUBS];
    uint64_t seed, rng;
    int step, paused[WORKERS], pushed, died;
    long published;
    uint8_t seen[VALUES];
};

static struct run run;
static long seeds = 200;
static uint64_t first_seed = 1;
static uint64_t answers, messages;

#define FAIL(...)                                                     \
    do {                                                              \
        fprintf(stderr, "seed %llu: ", (unsigned long long)run.seed); \
        fail_msg(__VA_ARGS__);                                        \
    } while (0)

static uint64_t draw(uint64_t n)
{
    run.rng ^= run.rng << 13;
    run.rng ^= run.rng >> 7;
    run.rng ^= run.rng << 17;
    return run.rng % n;
}

/* ---- replies ---- */

/* The end of the reply at p, or NULL: it is not whole. */
static const char *reply_end(const char *p, const char *end)
{
    const char *line = p < end ? memchr(p, '\n', (size_t)(end - p)) : NULL;
    if (!line)
        return NULL;
    char type = *p;
    long n = strchr("$*>%~", type) ? strtol(p + 1, NULL, 10) : 0;
    p = line + 1;
    if (type == '$')
        return n < 0 ? p : p + n + 2 <= end ? p + n + 2 : NULL;
    for (n *= type == '%' ? 2 : 1; p && n > 0; n--)
        p = reply_end(p, end);
    return p;
}

/* Every value v... in a reply is given to this client, and to nobody else. */
static void take_values(const char *p, const char *end)
{
    for (; (p = memchr(p, 'v', (size_t)(end - p))) != NULL; p++) {
        int v = atoi(p + 1);
        if (p[-1] != '\n' || p[1] < '0' || p[1] > '9')
            continue;
        if (v >= VALUES || run.seen[v]++)
            FAIL("v%d was given twice", v);
    }
}

static bool tail_is(const char *p, const char *end, const char *want)
{
    size_t n = strlen(want);
    return (size_t)(end - p) >= n && memcmp(end - n, want, n) == 0;
}

static bool allowed(const struct asked *a, const char *p, const char *end)
{
    size_t n = (size_t)(end - p);
    switch (a->answer) {
    case EXACT: return n == strlen(a->text) && memcmp(p, a->text, n) == 0;
    case INTEGER: return *p == ':' || *p == '-';
    case ELEMENT: return *p == '$';
    case ARRAY_OR_NULL: return *p == '*';
    case WATCHED: return strncmp(p, "*-1\r\n", 5) == 0 || tail_is(p, end, a->text);
    case RECEIVERS: return *p == ':' && strtol(p + 1, NULL, 10) >= a->least;
    default: return *p != '>';
    }
}

/* Who was subscribed when it was asked, and has not asked to leave since, was counted. */
static long receivers_at(int channel, int step)
{
    long n = 0;
    for (int i = 0; i < SUBS; i++)
        n += run.sub[i].confirmed[channel] >= 0 && run.sub[i].confirmed[channel] <= step;
    return n;
}

static void check_reply(struct client *c, const char *p, const char *end)
{
    struct asked *a = &c->asked[c->first];
    if (!c->count)
        FAIL("client %d asked nothing and got %.*s", c->id, (int)(end - p), p);
    if (a->answer == RECEIVERS)
        a->least = receivers_at(atoi(a->text), (int)a->at);
    if (!allowed(a, p, end))
        FAIL("client %d asked \"%s\" and got \"%.*s\", wanted \"%s\" (%ld)", c->id, a->request,
             (int)(end - p), p, a->text, a->least);
    if (a->answer == ELEMENT || a->answer == ARRAY_OR_NULL)
        take_values(p, end);
    c->first = (c->first + 1) % DEPTH;
    c->count--;
    answers++;
}

/* Calls fn with every whole reply that has come. */
static void each_reply(struct tcp_conn *tc, void (*fn)(void *ctx, const char *p, const char *end),
                       void *ctx)
{
    if (!tc->out_len)
        return;
    char *text = malloc(tc->out_len + 1);
    memcpy(text, tc->out, tc->out_len);
    text[tc->out_len] = 0;
    const char *p = text, *end = text + tc->out_len, *next;
    for (; (next = reply_end(p, end)) != NULL; p = next)
        fn(ctx, p, next);
    tc->out_len = (size_t)(end - p);
    memmove(tc->out, p, tc->out_len);
    free(text);
}

static void on_reply(void *ctx, const char *p, const char *end)
{
    check_reply(ctx, p, end);
}

/* Element number n of a push, all of them bulk strings up to there. */
static const char *push_element(const char *p, int n)
{
    for (p = strchr(p, '\n') + 1; n > 0; n--)
        p = strchr(strchr(p, '\n') + 1, '\n') + 1;
    return *p == ':' ? p + 1 : strchr(p, '\n') + 1;
}

static void on_push(void *ctx, const char *p, const char *end)
{
    struct subscriber *u = ctx;
    if (*p == '%') /* HELLO's */
        return;
    if (*p != '>')
        FAIL("a subscriber got \"%.*s\"", (int)(end - p), p);
    const char *word = push_element(p, 0);
    int channel = push_element(p, 1)[2] - '0';
    if (strncmp(word, "message", 7) == 0) {
        char *rest;
        long from = strtol(push_element(p, 2), &rest, 10), n = strtol(rest, NULL, 10);
        if (n <= u->last[from])
            FAIL("message %ld of client %ld came after %ld", n, from, u->last[from]);
        u->last[from] = n;
        u->got++;
        messages++;
    } else if (--u->pending[channel] == 0) {
        u->confirmed[channel] = *word == 's' ? run.step : -1;
    }
}

/* ---- requests ---- */

__attribute__((format(printf, 4, 5))) static void ask(struct client *c, enum answer answer,
                                                      const char *want, const char *fmt, ...)
{
    struct asked *a = &c->asked[(c->first + c->count) % DEPTH];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(a->request, sizeof(a->request), fmt, ap);
    va_end(ap);
    a->answer = answer;
    a->at = (uint64_t)run.step;
    snprintf(a->text, sizeof(a->text), "%s", want);
    c->count++;
    say(c->tc, a->request);
    say(c->tc, "\r\n");
}

static void ask_echo(struct client *c)
{
    char tag[32], want[64];
    snprintf(tag, sizeof(tag), "t%d.%ld", c->id, ++c->tag);
    snprintf(want, sizeof(want), "$%zu\r\n%s\r\n", strlen(tag), tag);
    ask(c, EXACT, want, "ECHO %s", tag);
}

/* Keys of its own: there is one right answer. */
static void ask_own(struct client *c)
{
    char want[TEXT_BYTES];
    int a = (int)draw(OWN_KEYS), b = (a + 1 + (int)draw(OWN_KEYS - 1)) % OWN_KEYS;
    switch (draw(4)) {
    case 0:
        snprintf(want, sizeof(want), ":%ld\r\n", ++c->own[a]);
        ask(c, EXACT, want, "INCR own%d.%d", c->id, a);
        break;
    case 1:
        c->set++;
        ask(c, EXACT, "+OK\r\n", "MSET x%d %ld y%d %ld z%d %ld", c->id, c->set, c->id, c->set,
            c->id, c->set);
        break;
    case 2: {
        char v[24];
        int n = c->set ? snprintf(v, sizeof(v), "%ld", c->set) : 0;
        if (n)
            snprintf(want, sizeof(want), "*3\r\n$%d\r\n%s\r\n$%d\r\n%s\r\n$%d\r\n%s\r\n", n, v, n,
                     v, n, v);
        else
            snprintf(want, sizeof(want), "*3\r\n$-1\r\n$-1\r\n$-1\r\n");
        ask(c, EXACT, want, "MGET x%d z%d y%d", c->id, c->id, c->id);
        break;
    }
    default:
        if (c->count + 4 > DEPTH)
            return;
        ask(c, EXACT, "+OK\r\n", "MULTI");
        ask(c, EXACT, "+QUEUED\r\n", "INCR own%d.%d", c->id, a);
        ask(c, EXACT, "+QUEUED\r\n", "INCRBY own%d.%d 3", c->id, b);
        snprintf(want, sizeof(want), "*2\r\n:%ld\r\n:%ld\r\n", ++c->own[a], c->own[b] += 3);
        ask(c, EXACT, want, "EXEC");
    }
}

/* WATCH of a key that others change; what else EXEC did is told by a tag. */
static void ask_watched(struct client *c)
{
    char tag[32], want[64];
    if (c->count + 5 > DEPTH)
        return;
    snprintf(tag, sizeof(tag), "w%d.%ld", c->id, ++c->tag);
    snprintf(want, sizeof(want), "$%zu\r\n%s\r\n", strlen(tag), tag);
    ask(c, EXACT, "+OK\r\n", "WATCH k%d k%d", (int)draw(8), (int)draw(8));
    ask(c, EXACT, "+OK\r\n", "MULTI");
    ask(c, EXACT, "+QUEUED\r\n", "APPEND k%d %s", (int)draw(8), tag);
    ask(c, EXACT, "+QUEUED\r\n", "ECHO %s", tag);
    ask(c, WATCHED, want, "EXEC");
}

/* Keys that all share. */
static void ask_shared(struct client *c)
{
    int a = (int)draw(8), b = (int)draw(8);
    switch (draw(10)) {
    case 0: ask(c, EXACT, "+OK\r\n", "SET k%d %d", a, b); break;
    case 1: ask(c, INTEGER, "", "DEL k%d k%d", a, b); break;
    case 2: ask(c, ANY, "", "RENAME k%d k%d", a, b); break;
    case 3: ask(c, INTEGER, "", "COPY k%d k%d REPLACE", a, b); break;
    case 4: ask(c, INTEGER, "", "SUNIONSTORE s%d s%d s%d", a, b, (int)draw(8)); break;
    case 5: ask(c, INTEGER, "", "SADD s%d %d", a, b); break;
    case 6: ask(c, INTEGER, "", "DBSIZE"); break;
    case 7: ask(c, ANY, "", "KEYS k*"); break;
    case 8: ask(c, INTEGER, "", "EXISTS k%d k%d s%d", a, b, a); break;
    default: ask(c, ANY, "", "RANDOMKEY");
    }
}

static void ask_waiting(struct client *c)
{
    char k[3] = {(char)('a' + draw(6)), (char)('a' + draw(6)), (char)('a' + draw(6))};
    int ms = 1 + (int)draw(3);
    switch (draw(9)) {
    case 0: ask(c, ARRAY_OR_NULL, "", "BLPOP %c %c %c 0.00%d", k[0], k[1], k[2], ms); break;
    case 1: ask(c, ARRAY_OR_NULL, "", "BRPOP %c 0.00%d", k[0], ms); break;
    case 2: ask(c, ANY, "", "BLMOVE %c %c LEFT RIGHT 0.00%d", k[0], k[1], ms); break;
    case 3: ask(c, ANY, "", "LMOVE %c %c RIGHT LEFT", k[0], k[1]); break;
    case 4: ask(c, ARRAY_OR_NULL, "", "BZPOPMIN z%c z%c 0.00%d", k[0], k[1], ms); break;
    case 5: ask(c, INTEGER, "", "ZADD z%c %d m", k[0], ms); break;
    case 6:
        ask(c, ARRAY_OR_NULL, "", "XREAD BLOCK %d STREAMS st%c st%c $ $", ms, k[0], k[1]);
        break;
    case 7: ask(c, ELEMENT, "", "XADD st%c MAXLEN 3 * f w", k[0]); break;
    default: break;
    }
    if (draw(2) && run.pushed < VALUES - 1 && c->count < DEPTH) {
        ask(c, INTEGER, "", "RPUSH %c v%d v%d", k[1], run.pushed, run.pushed + 1);
        run.pushed += 2;
    }
}

static void ask_publish(struct client *c)
{
    char channel[8];
    snprintf(channel, sizeof(channel), "%d", (int)draw(CHANNELS));
    c->published++;
    run.published++;
    if (draw(4) || c->count + 4 > DEPTH) {
        ask(c, RECEIVERS, channel, "PUBLISH ch%s \"%d %ld\"", channel, c->id, c->published);
        return;
    }
    ask(c, EXACT, "+OK\r\n", "MULTI");
    ask(c, EXACT, "+QUEUED\r\n", "INCR own%d.0", c->id);
    ask(c, EXACT, "+QUEUED\r\n", "PUBLISH ch%s \"%d %ld\"", channel, c->id, c->published);
    c->own[0]++;
    ask(c, ARRAY_OR_NULL, "", "EXEC");
}

static void ask_admin(struct client *c)
{
    switch (draw(4)) {
    case 0: ask(c, EXACT, "+OK\r\n", "CLIENT PAUSE 1 %s", draw(2) ? "ALL" : "WRITE"); break;
    case 1: ask(c, EXACT, "+OK\r\n", "CLIENT UNPAUSE"); break;
    case 2: ask(c, INTEGER, "", "CLIENT UNBLOCK %d", 1 + (int)draw(40)); break;
    default: ask(c, ANY, "", "CLIENT LIST");
    }
}

static void ask_something(struct client *c)
{
    uint64_t kind = draw(100);
    if (kind < 30)
        ask_own(c);
    else if (kind < 42)
        ask_watched(c);
    else if (kind < 62)
        ask_shared(c);
    else if (kind < 75)
        ask_waiting(c);
    else if (kind < 86)
        ask_publish(c);
    else if (kind < 87)
        ask_admin(c);
    else
        ask_echo(c);
}

static void subscribe(struct subscriber *u, int channel, bool on)
{
    char text[32];
    snprintf(text, sizeof(text), "%sSUBSCRIBE ch%d\r\n", on ? "" : "UN", channel);
    if (!on)
        u->confirmed[channel] = -1;
    u->pending[channel]++;
    say(u->tc, text);
}

/* ---- one run ---- */

static void connect_client(struct client *c, int id)
{
    memset(c, 0, sizeof(*c));
    c->id = id;
    c->tc = fake_connect(run.s.net[draw(WORKERS)]);
}

static void up(uint64_t seed)
{
    memset(&run, 0, sizeof(run));
    run.seed = seed;
    run.rng = seed * 0x9e3779b97f4a7c15ull | 1;
    server_up(&run.s, WORKERS);
    for (int i = 0; i < CLIENTS; i++)
        connect_client(&run.client[i], i);
    for (int i = 0; i < SUBS; i++) {
        struct subscriber *u = &run.sub[i];
        u->tc = fake_connect(run.s.net[draw(WORKERS)]);
        say(u->tc, "HELLO 3\r\n");
        for (int k = 0; k < CHANNELS; k++) {
            u->confirmed[k] = -1;
            if (i != FICKLE)
                subscribe(u, k, true);
        }
    }
    settle(&run.s); /* those that stay are there before the first message */
}

/* A worker that is not paused takes a turn; once in a while one begins a pause, or time passes. */
static void step(void)
{
    uint32_t i = (uint32_t)draw(WORKERS);
    if (draw(400) == 0)
        run.paused[draw(WORKERS)] = (int)draw(100);
    run.s.now_ns += draw(100) == 0 ? draw(1000000) : draw(4000);
    if (run.paused[i] > 0)
        run.paused[i]--;
    else
        turn(&run.s, i);
    run.step++;
    for (int k = 0; k < CLIENTS; k++)
        each_reply(run.client[k].tc, on_reply, &run.client[k]);
    for (int k = 0; k < SUBS; k++)
        each_reply(run.sub[k].tc, on_push, &run.sub[k]);
}

static bool all_answered(void)
{
    for (int i = 0; i < CLIENTS; i++)
        if (run.client[i].count)
            return false;
    for (int k = 0; k < CHANNELS; k++)
        if (run.sub[FICKLE].pending[k])
            return false;
    return true;
}

/* Its requests may or may not have been served, its name is another's: what it had of its own is left to nobody. */
static void die(int i)
{
    leave(run.client[i].tc);
    connect_client(&run.client[i], CLIENTS + run.died++);
}

static void ask_all(bool deaths)
{
    int i = (int)draw(CLIENTS), k = (int)draw(CHANNELS);
    if (deaths && i >= MORTAL && CLIENTS + run.died < NAMES && draw(40) == 0)
        die(i);
    if (run.client[i].count < DEPTH && draw(2))
        ask_something(&run.client[i]);
    if (draw(40) == 0)
        subscribe(&run.sub[FICKLE], k, draw(2));
}

static void check_lists(bool deaths)
{
    struct client *c = &run.client[0];
    for (char k = 'a'; k < 'g'; k++) {
        ask(c, ARRAY_OR_NULL, "", "LRANGE %c 0 -1", k);
        settle(&run.s);
        each_reply(c->tc, on_reply, c);
    }
    for (int v = 0; v < run.pushed && !deaths; v++) {
        if (!run.seen[v])
            FAIL("v%d was lost", v);
    }
}

static void check_clean(void)
{
    for (int i = 0; i < CLIENTS; i++)
        leave(run.client[i].tc);
    for (int i = 0; i < SUBS; i++)
        leave(run.sub[i].tc);
    settle(&run.s);
    for (uint32_t i = 0; i < WORKERS; i++) {
        struct worker *w = run.s.w[i];
        assert_int_equal(w->blocked, 0);
        assert_null(w->shard.waits);
        assert_int_equal(w->shard.watch.count, 0);
        assert_true(list_empty(&w->blocks) && list_empty(&w->block_drops));
        assert_true(list_empty(&w->lease_jobs) && w->lease.holder == LEASE_FREE);
        assert_true(list_empty(&w->lease.queue) && list_empty(&w->scatters) && !intents_any(w));
        assert_int_equal(w->posted, 0);
        assert_int_equal(w->clients, 0);
    }
    server_down(&run.s);
}

static void run_seed(uint64_t seed)
{
    bool deaths = seed % 2;
    up(seed);
    for (int i = 0; i < STEPS; i++) {
        ask_all(deaths);
        ask_all(deaths);
        step();
    }
    for (int i = 0; !all_answered(); i++) {
        step();
        if (i > 20000)
            FAIL("stuck");
    }
    settle(&run.s);
    step();
    for (int i = 0; i < FICKLE && !deaths; i++) { /* of the dead we do not know what they sent */
        if (run.sub[i].got != run.published)
            FAIL("subscriber %d got %ld of %ld messages", i, run.sub[i].got, run.published);
    }
    check_lists(deaths);
    check_clean();
}

static void test_seeds(void **state)
{
    (void)state;
    for (long i = 0; i < seeds; i++)
        run_seed(first_seed + (uint64_t)i);
    printf("%ld seeds, %llu replies, %llu messages\n", seeds, (unsigned long long)answers,
           (unsigned long long)messages);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_seeds)};
    if (argc > 1)
        seeds = atol(argv[1]);
    if (argc > 2)
        first_seed = strtoull(argv[2], NULL, 10);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
