/* Clients that wait for keys: who is woken, in which order, what each sees, whatever the number of workers and the order of their turns. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/shard/wait.h"
#include "tests/unit/conn/server.h"
#include "tests/unit/unit.h"

/* For a hundred thousand clients. */
static void many_up(struct server *s, uint32_t count)
{
    server_config(s);
    s->config.maxclients = 1000000;
    server_start(s, count);
}

static uint64_t blocked(const struct server *s)
{
    uint64_t n = 0;
    for (uint32_t i = 0; i < s->count; i++)
        n += s->w[i]->blocked;
    return n;
}

/* INFO clients_in_timeout_table */
static uint64_t with_timeout(const struct server *s)
{
    uint64_t n = 0;
    for (uint32_t i = 0; i < s->count; i++)
        n += s->w[i]->stats->clients_in_timeout_table;
    return n;
}

/* Nobody waits any more, nothing is left of those who did. */
static void expect_clean(struct server *s)
{
    settle(s);
    assert_int_equal(blocked(s), 0);
    for (uint32_t i = 0; i < s->count; i++) {
        assert_null(s->w[i]->shard.waits);
        assert_true(list_empty(&s->w[i]->blocks));
        assert_true(list_empty(&s->w[i]->block_drops));
        assert_int_equal(s->w[i]->posted, 0);
        assert_int_equal(s->w[i]->stats->clients_in_timeout_table, 0);
    }
}

static void clean_down(struct server *s)
{
    expect_clean(s);
    server_down(s);
}

/* ---- scripts ----
 *
 * "A> text" sends, "A< text" is all that has come for A since ("-" for nothing, "*" for whatever; CR LF are written as blanks), "A!" closes, "@ ms" lets time pass,
 * "= n m" is how many clients wait, and how many of them with a timeout.
 * Clients are on the workers that the rotation says, so that each script runs with every placing of keys and clients. */

static void flat(struct tcp_conn *tc, char *to, size_t cap)
{
    size_t n = 0;
    for (size_t i = 0; i < tc->out_len && n + 1 < cap; i++) {
        if (tc->out[i] == '\r')
            continue;
        to[n++] = tc->out[i] == '\n' ? ' ' : (char)tc->out[i];
    }
    to[n ? n - 1 : 0] = 0;
    tc->out_len = 0;
}

static void pass(struct server *s, uint64_t ms)
{
    for (; ms; ms--) {
        s->now_ns += 1000000;
        for (uint32_t i = 0; i < s->count; i++)
            turn(s, i);
    }
    settle(s);
}

static void run_script(const char *const *lines, uint32_t count, uint32_t rotation)
{
    struct server s;
    struct tcp_conn *client[26] = {0};
    many_up(&s, count);
    for (; *lines; lines++) {
        const char *l = *lines;
        if (*l == '@') {
            pass(&s, strtoull(l + 1, NULL, 10));
            continue;
        }
        if (*l == '=') {
            char *end;
            assert_int_equal(strtoull(l + 1, &end, 10), blocked(&s));
            assert_int_equal(strtoull(end, NULL, 10), with_timeout(&s));
            continue;
        }
        int c = *l - 'A';
        if (!client[c])
            client[c] =
                fake_connect(s.net[((uint32_t)c * (1 + rotation / count) + rotation) % count]);
        if (l[1] == '>') {
            say(client[c], l + 3);
            say(client[c], "\r\n");
            settle(&s);
        } else if (l[1] == '<') {
            char got[4096];
            flat(client[c], got, sizeof(got));
            if (strcmp(l + 3, "*") != 0 && strcmp(got, strcmp(l + 3, "-") == 0 ? "" : l + 3) != 0)
                fail_msg("%u workers, rotation %u, \"%s\": got \"%s\"", count, rotation, l, got);
        } else {
            leave(client[c]);
            client[c] = NULL;
            settle(&s);
        }
    }
    for (int c = 0; c < 26; c++) {
        if (client[c])
            leave(client[c]);
    }
    clean_down(&s);
}

static void run_everywhere(const char *const *lines)
{
    for (uint32_t count = 1; count <= MAX_WORKERS; count++) {
        for (uint32_t rotation = 0; rotation < count * (count > 1 ? 2 : 1); rotation++)
            run_script(lines, count, rotation);
    }
}

#define SCRIPT(name, ...)                                       \
    static void name(void **state)                              \
    {                                                           \
        static const char *const lines[] = {__VA_ARGS__, NULL}; \
        (void)state;                                            \
        run_everywhere(lines);                                  \
    }

SCRIPT(test_first_come_first_served, "A> BLPOP k 0", "B> BRPOP k 0", "C> BLPOP k 0",
       "D> RPUSH k 1 2", "D< :2", "A< *2 $1 k $1 1", "B< *2 $1 k $1 2", "C< -", "D> RPUSH k 3",
       "C< *2 $1 k $1 3", "D< :1", "D> EXISTS k", "D< :0")
SCRIPT(test_several_keys, "A> BLPOP a b c d e 0", "B> RPUSH d 1", "B< :1", "A< *2 $1 d $1 1",
       "A> BLPOP a b c d e 0", "A< -", "B> RPUSH a 2", "B< :1", "A< *2 $1 a $1 2", "B> RPUSH b 3",
       "B< :1", "A< -", "B> LPOP b", "B< $1 3")
SCRIPT(test_key_named_twice, "A> BLPOP a a b a 0", "B> RPUSH a 1 2", "A< *2 $1 a $1 1", "B< :2",
       "B> LLEN a", "B< :1")
SCRIPT(test_what_is_there_is_given_at_once, "B> RPUSH d x y", "B< :2", "A> BLPOP a b c d e 0",
       "A< *2 $1 d $1 x", "A> BLMPOP 0 3 a b d RIGHT COUNT 5", "A< *2 $1 d *1 $1 y",
       "B> ZADD z 1 m 2 n", "B< :2", "A> BZPOPMAX y z 0", "A< *3 $1 z $1 n $1 2",
       "A> BZMPOP 0 2 y z MIN", "A< *2 $1 z *1 *2 $1 m $1 1")
SCRIPT(test_timeouts, "A> BLPOP a b c 0.010", "B> BLMOVE a b LEFT LEFT 0.010",
       "C> BZPOPMIN a b 0.020", "D> XREAD BLOCK 20 STREAMS a b $ $", "E> WAIT 1 10", "@ 5", "= 5 5",
       "A< -", "B< -", "@ 8", "A< *-1", "B< *-1", "E< :0", "C< -", "D< -", "@ 12", "C< *-1",
       "D< *-1", "A> PING", "A< +PONG")
SCRIPT(test_resp3, "A> HELLO 3", "A< *", "A> BLPOP a b 0.001", "@ 5", "A< _",
       "A> XREAD BLOCK 0 STREAMS s $", "B> XADD s 1-1 f v", "B< $3 1-1",
       "A< %1 $1 s *1 *2 $3 1-1 *2 $1 f $1 v")
SCRIPT(test_requests_behind_wait, "A> BLPOP k 0", "A> INCR n", "B> GET n", "B< $-1", "B> RPUSH k v",
       "B< :1", "A< *2 $1 k $1 v :1", "B> GET n", "B< $1 1")
SCRIPT(test_client_death, "A> BLPOP k j 100", "B> BLPOP k 0", "= 2 1", "A!", "= 1 0",
       "C> RPUSH k 1", "C< :1", "B< *2 $1 k $1 1", "C> RPUSH j 1", "C< :1", "C> LLEN j", "C< :1")
SCRIPT(test_move_chain, "A> BLMOVE a b LEFT RIGHT 0", "B> BLMOVE b c RIGHT LEFT 0", "C> BLPOP c 0",
       "D> RPUSH a v", "D< :1", "A< $1 v", "B< $1 v", "C< *2 $1 c $1 v", "D> EXISTS a b c", "D< :0")
SCRIPT(test_move_to_itself, "A> BLMOVE a a LEFT RIGHT 0", "D> RPUSH a v w", "D< :2", "A< $1 v",
       "D> LRANGE a 0 -1", "D< *2 $1 w $1 v")
SCRIPT(test_move_to_another_type, "A> BLMOVE a s LEFT RIGHT 0", "B> BLPOP a 0", "D> SET s x",
       "D< +OK", "D> RPUSH a v", "D< :1",
       "A< -WRONGTYPE Operation against a key holding the wrong kind of value", "B< *2 $1 a $1 v")
SCRIPT(test_move_keeps_its_turn, "A> BLMOVE a b LEFT RIGHT 0", "B> BLPOP a 0",
       "C> BRPOPLPUSH a c 0", "D> RPUSH a 1 2 3", "D< :3", "A< $1 1", "B< *2 $1 a $1 2", "C< $1 3",
       "D> LRANGE b 0 -1", "D< *1 $1 1", "D> LRANGE c 0 -1", "D< *1 $1 3")
SCRIPT(test_type_change, "A> BLPOP k 0", "B> BZPOPMIN k 0", "C> XREAD BLOCK 0 STREAMS k 0",
       "D> SET k x", "D< +OK", "A< -", "D> DEL k", "D< :1", "D> ZADD k 1 m", "D< :1",
       "B< *3 $1 k $1 m $1 1", "D> XADD k 1-1 f v", "D< $3 1-1",
       "C< *1 *2 $1 k *1 *2 $3 1-1 *2 $1 f $1 v", "D> DEL k", "D< :1", "D> RPUSH k e", "D< :1",
       "A< *2 $1 k $1 e")
SCRIPT(test_rename_wakes, "A> BLPOP k 0", "D> RPUSH j e", "D< :1", "D> RENAME j k", "D< +OK",
       "A< *2 $1 k $1 e", "A> BLPOP k 0", "D> RPUSH j f", "D< :1", "D> COPY j k", "D< :1",
       "A< *2 $1 k $1 f", "D> DEL j", "D< :1")
SCRIPT(test_streams, "A> XREAD BLOCK 0 STREAMS s t $ $", "B> XREAD COUNT 1 BLOCK 0 STREAMS t 0-0",
       "D> XADD t 5-1 f v", "D< $3 5-1", "A< *1 *2 $1 t *1 *2 $3 5-1 *2 $1 f $1 v",
       "B< *1 *2 $1 t *1 *2 $3 5-1 *2 $1 f $1 v", "A> XREAD BLOCK 0 STREAMS t 9-9",
       "D> XADD t 6-1 f v", "D< $3 6-1", "A< -", "D> XADD t MAXLEN 0 10-1 f v", "D< $4 10-1",
       "A< *1 *2 $1 t *0")
SCRIPT(test_groups, "D> XGROUP CREATE s g $ MKSTREAM", "D< +OK",
       "A> XREADGROUP GROUP g a BLOCK 0 STREAMS s >", "B> XREADGROUP GROUP g b BLOCK 0 STREAMS s >",
       "D> XADD s 1-1 f v", "D< $3 1-1", "A< *1 *2 $1 s *1 *2 $3 1-1 *2 $1 f $1 v", "B< -",
       "D> XADD s 1-2 f v", "D< $3 1-2", "B< *1 *2 $1 s *1 *2 $3 1-2 *2 $1 f $1 v",
       "A> XREADGROUP GROUP g a BLOCK 0 STREAMS s >", "D> XGROUP DESTROY s g", "D< :1",
       "A< -NOGROUP the consumer group this client was blocked on no longer exists",
       "D> XGROUP CREATE s g $", "D< +OK", "A> XREADGROUP GROUP g a BLOCK 0 STREAMS s >",
       "D> DEL s", "D< :1", "A< -UNBLOCKED the stream key no longer exists",
       "D> XGROUP CREATE s g $ MKSTREAM", "D< +OK", "A> XREADGROUP GROUP g a BLOCK 0 STREAMS s >",
       "D> FLUSHALL", "D< +OK", "A< -UNBLOCKED the stream key no longer exists",
       "D> XGROUP CREATE s g $ MKSTREAM", "D< +OK", "A> XREADGROUP GROUP g a BLOCK 0 STREAMS s >",
       "D> PEXPIRE s 20", "D< :1", "@ 60", "A< -UNBLOCKED the stream key no longer exists")
SCRIPT(test_swapdb, "A> BLPOP k 0", "D> SELECT 1", "D< +OK", "D> RPUSH k v", "D< :1", "A< -",
       "D> SWAPDB 0 1", "D< +OK", "A< *2 $1 k $1 v")
SCRIPT(test_client_kill, "A> BLPOP k j i 0", "D> CLIENT KILL TYPE normal", "D< :1", "C> RPUSH k 1",
       "C< :1", "C> LLEN k", "C< :1")
SCRIPT(test_bad_arguments, "A> BLPOP k x", "A< -ERR timeout is not a float or out of range",
       "A> BLPOP a b c -1", "A< -ERR timeout is negative", "A> BLMPOP 0 0 k LEFT",
       "A< -ERR numkeys should be greater than 0", "A> BLMPOP 0 9 k LEFT", "A< -ERR syntax error",
       "A> XREAD BLOCK x STREAMS a b 0 0", "A< -ERR timeout is not an integer or out of range",
       "D> SET d x", "D< +OK", "A> BLPOP a b c d 0",
       "A< -WRONGTYPE Operation against a key holding the wrong kind of value", "A> PING",
       "A< +PONG")
SCRIPT(test_pause, "D> CLIENT PAUSE 50 WRITE", "D< +OK", "A> SET k 1", "A> PING", "A< -",
       "B> GET k", "B< $-1", "@ 60", "A< +OK +PONG", "D> CLIENT PAUSE 100000", "D< +OK", "A> PING",
       "B> PING", "A< -", "B< -")

static void test_pause_and_unpause(void **state)
{
    static const char *const lines[] = {"D> CLIENT PAUSE 100000 WRITE",
                                        "D< +OK",
                                        "A> SET k 1",
                                        "B> RPUSH l 1",
                                        "C> BLPOP l 0",
                                        "A< -",
                                        "D> CLIENT UNPAUSE",
                                        "D< +OK",
                                        "A< +OK",
                                        "B< :1",
                                        "C< *2 $1 l $1 1",
                                        NULL};
    (void)state;
    run_everywhere(lines);
}

SCRIPT(test_pause_of_transactions, "A> MULTI", "A< +OK", "A> RPUSH l x", "A< +QUEUED", "B> MULTI",
       "B< +OK", "B> LLEN l", "B< +QUEUED", "D> CLIENT PAUSE 50 WRITE", "D< +OK", "A> EXEC", "A< -",
       "B> EXEC", "B< *1 :0", "@ 60", "A< *1 :1")
SCRIPT(test_transaction_wakes, "A> BLPOP k 0", "B> BLPOP j k 0", "D> MULTI", "D> RPUSH k 1",
       "D> RPUSH j 2", "D> LLEN k", "D< +OK +QUEUED +QUEUED +QUEUED", "D> EXEC", "D< *3 :1 :1 :1",
       "A< *2 $1 k $1 1", "B< *2 $1 j $1 2")
SCRIPT(test_first_key_that_changed, "A> BLPOP a b c d 0", "D> MULTI", "D> RPUSH d 4",
       "D> RPUSH c 3", "D> RPUSH a 1", "D< +OK +QUEUED +QUEUED +QUEUED", "D> EXEC",
       "D< *3 :1 :1 :1", "A< *2 $1 d $1 4", "D> DEL a c", "D< :2")
SCRIPT(test_gone_again_in_the_transaction, "A> BLPOP k 0", "D> MULTI", "D> RPUSH k 1", "D> DEL k",
       "D< +OK +QUEUED +QUEUED", "D> EXEC", "D< *2 :1 :1", "A< -", "D> RPUSH k 2", "D< :1",
       "A< *2 $1 k $1 2")
SCRIPT(test_no_waiting_in_a_transaction, "A> MULTI", "A< +OK", "A> BLPOP a 0",
       "A> BLMOVE a b LEFT LEFT 0", "A> BZPOPMIN a 0", "A> XREAD BLOCK 0 STREAMS a $",
       "A> WAIT 1 0", "A< +QUEUED +QUEUED +QUEUED +QUEUED +QUEUED", "A> EXEC",
       "A< *5 *-1 $-1 *-1 *-1 :0")

/* ---- ids ---- */

static uint64_t id_of(struct server *s, struct tcp_conn *tc)
{
    say(tc, "CLIENT ID\r\n");
    settle(s);
    char got[64];
    flat(tc, got, sizeof(got));
    return strtoull(got + 1, NULL, 10);
}

static void test_client_unblock(void **state)
{
    (void)state;
    for (uint32_t count = 1; count <= MAX_WORKERS; count++) {
        struct server s;
        char text[64];
        many_up(&s, count);
        struct tcp_conn *a = fake_connect(s.net[0]), *b = fake_connect(s.net[count - 1]);
        uint64_t id = id_of(&s, a);
        say(a, "BLPOP a b c d 0\r\n");
        settle(&s);
        snprintf(text, sizeof(text), "CLIENT UNBLOCK %llu\r\n", (unsigned long long)id);
        say(b, text);
        settle(&s);
        expect_out(b, ":1\r\n");
        expect_out(a, "*-1\r\n");
        say(b, text);
        settle(&s);
        expect_out(b, ":0\r\n");
        say(a, "WAIT 3 0\r\n");
        settle(&s);
        snprintf(text, sizeof(text), "CLIENT UNBLOCK %llu ERROR\r\n", (unsigned long long)id);
        say(b, text);
        settle(&s);
        expect_out(b, ":1\r\n");
        expect_out(a, "-UNBLOCKED client unblocked via CLIENT UNBLOCK\r\n");
        leave(a);
        leave(b);
        clean_down(&s);
    }
}

/* A client that is unblocked and leaves before it has heard of it. */
static void test_unblock_then_death(void **state)
{
    (void)state;
    struct server s;
    many_up(&s, 1);
    struct tcp_conn *a = fake_connect(s.net[0]), *b = fake_connect(s.net[0]);
    uint64_t id = id_of(&s, a);
    char text[64];
    say(a, "BLPOP a 0\r\n");
    settle(&s);
    snprintf(text, sizeof(text), "CLIENT UNBLOCK %llu\r\n", (unsigned long long)id);
    say(b, text);
    snprintf(text, sizeof(text), "CLIENT KILL ID %llu\r\n", (unsigned long long)id);
    say(b, text);
    settle(&s);
    expect_out(b, ":1\r\n:1\r\n");
    leave(a);
    leave(b);
    clean_down(&s);
}

static void test_half_closed_client_is_given_nothing(void **state)
{
    (void)state;
    for (uint32_t count = 1; count <= 3; count++) {
        struct server s;
        many_up(&s, count);
        struct tcp_conn *a = fake_connect(s.net[0]), *b = fake_connect(s.net[0]);
        say(a, "BLPOP a b c 0\r\n");
        fake_fin(a);
        settle(&s);
        assert_int_equal(blocked(&s), 0);
        say(b, "RPUSH a 1\r\nLLEN a\r\n");
        settle(&s);
        expect_out(b, ":1\r\n:1\r\n");
        leave(a);
        leave(b);
        clean_down(&s);
    }
}

/* ---- any interleaving ---- */

static uint64_t draw(uint64_t *rng, uint64_t n)
{
    *rng ^= *rng << 13;
    *rng ^= *rng >> 7;
    *rng ^= *rng << 17;
    return *rng % n;
}

#define VALUES 400

/* Every value that an array tells (of BLPOP, LRANGE; a move tells it alone): once in all. */
static void count_values(struct tcp_conn *tc, uint8_t *seen)
{
    char *p = malloc(tc->out_len + 1), *end = p + tc->out_len;
    if (tc->out_len)
        memcpy(p, tc->out, tc->out_len);
    *end = 0;
    for (char *at = p; at && *at;) {
        int lines = *at == '*' && at[1] != '-'   ? 2 * atoi(at + 1)
                    : *at == '$' && at[1] != '-' ? 1
                                                 : 0;
        bool counts = *at == '*';
        for (at = strchr(at, '\n') + 1; lines; lines--, at = strchr(at, '\n') + 1) {
            if (!counts || *at != 'v')
                continue;
            int v = atoi(at + 1);
            if (seen[v]++)
                fail_msg("v%d was given twice", v);
        }
    }
    free(p);
    tc->out_len = 0;
}

static void random_request(char *to, size_t cap, uint64_t *rng, int *pushed)
{
    char k[3] = {(char)('a' + draw(rng, 6)), (char)('a' + draw(rng, 6)),
                 (char)('a' + draw(rng, 6))};
    int ms = (int)draw(rng, 3);
    switch (draw(rng, 9)) {
    case 0: snprintf(to, cap, "BLPOP %c %c %c 0.00%d\r\n", k[0], k[1], k[2], ms); break;
    case 1: snprintf(to, cap, "BRPOP %c 0.00%d\r\n", k[0], ms); break;
    case 2: snprintf(to, cap, "BLMOVE %c %c LEFT RIGHT 0.00%d\r\n", k[0], k[1], ms); break;
    case 3: snprintf(to, cap, "BRPOPLPUSH %c %c 0.00%d\r\n", k[0], k[1], ms); break;
    case 4: snprintf(to, cap, "LMOVE %c %c RIGHT LEFT\r\n", k[0], k[1]); break;
    case 5: snprintf(to, cap, "BZPOPMIN %c z 0.00%d\r\n", 'p', ms + 1); break;
    default:
        if (*pushed < VALUES - 1) {
            snprintf(to, cap, "RPUSH %c v%d v%d\r\n", k[0], *pushed, *pushed + 1);
            *pushed += 2;
        } else {
            snprintf(to, cap, "PING\r\n");
        }
    }
}

/* Values are pushed, moved and popped by clients that wait, give up, are unblocked and leave: none is given twice, and none is lost but to a
 * client that has left. */
static void test_any_interleaving(void **state)
{
    enum { N = 12 };
    (void)state;
    for (uint64_t seed = 1; seed <= 200; seed++) {
        struct server s;
        uint64_t rng = seed * 2654435761u + 1;
        uint8_t seen[VALUES] = {0};
        int pushed = 0, lost = 0;
        char text[128];
        struct tcp_conn *c[N];
        bool leaves = seed % 2;
        many_up(&s, 1 + (uint32_t)(seed % 5));
        for (int i = 0; i < N; i++)
            c[i] = fake_connect(s.net[(uint32_t)i % s.count]);
        for (int step = 0; step < 1500; step++) {
            int i = (int)draw(&rng, N);
            if (leaves && draw(&rng, 100) == 0) {
                count_values(c[i], seen);
                leave(c[i]);
                lost++;
                c[i] = fake_connect(s.net[draw(&rng, s.count)]);
            } else if (draw(&rng, 20) == 0) {
                snprintf(text, sizeof(text), "CLIENT UNBLOCK %d\r\n", (int)draw(&rng, 60) + 1);
                say(c[i], text);
            } else if (draw(&rng, 2)) {
                random_request(text, sizeof(text), &rng, &pushed);
                say(c[i], text);
            }
            s.now_ns += draw(&rng, 50) * 1000;
            turn(&s, (uint32_t)draw(&rng, s.count));
        }
        for (int k = 0; k < 100;
             k++) { /* those who wait for ever, and what they have asked behind it */
            for (int id = 1; id < 200; id++) {
                snprintf(text, sizeof(text), "CLIENT UNBLOCK %d\r\n", id);
                struct conn *blocked_conn =
                    conn_find(s.w[(uint32_t)(id - 1) % s.count], (uint64_t)id);
                if (blocked_conn && block_waits(blocked_conn))
                    block_unblock(blocked_conn->w, (uint64_t)id, false);
            }
            pass(&s, 1);
        }
        assert_int_equal(blocked(&s), 0);
        struct tcp_conn *last = fake_connect(s.net[0]);
        for (char k = 'a'; k < 'g'; k++) {
            snprintf(text, sizeof(text), "LRANGE %c 0 -1\r\n", k);
            say(last, text);
        }
        settle(&s);
        for (int i = 0; i < N; i++)
            count_values(c[i], seen);
        count_values(last, seen);
        for (int v = 0; v < pushed && !lost; v++) {
            if (!seen[v])
                fail_msg("seed %llu: v%d was lost", (unsigned long long)seed, v);
        }
        for (int i = 0; i < N; i++)
            leave(c[i]);
        leave(last);
        clean_down(&s);
    }
}

/* ---- many ---- */

/* Each push wakes one client, and of those of a worker the one that waits longest. The elements are there before, so that few turns are needed. */
/* A push served a client whose element went to a key that an EXISTS over two shards had in its hands: its two answers were of two moments. */
static void test_move_to_a_key_in_use(void **state)
{
    (void)state;
    struct server s;
    char tag[16], other[16], line[128];
    server_up(&s, 2);
    for (uint32_t i = 0; i < 2; i++) {
        char *to = i ? other : tag;
        for (int k = 0, n = -1; n < 0 || shard_of_key(span_of(to, (size_t)n), 2) != i; k++)
            n = snprintf(to, sizeof(tag), "k%d", k);
    }
    struct tcp_conn *mover = fake_connect(s.net[0]), *asker = fake_connect(s.net[0]),
                    *pusher = fake_connect(s.net[0]);
    snprintf(line, sizeof(line), "BLMOVE {%s}from {%s}to LEFT RIGHT 0\r\n", tag, tag);
    say(mover, line);
    settle(&s);
    snprintf(line, sizeof(line), "EXISTS {%s}to %s\r\n", tag, other);
    say(asker, line);
    turn(&s, 0);
    assert_true(s.w[0]->lease.intents.readers == 1);
    snprintf(line, sizeof(line), "RPUSH {%s}from x\r\n", tag);
    say(pusher, line);
    for (int i = 0; i < 5; i++)
        turn(&s, 0);
    expect_out(pusher, ":1\r\n");
    expect_out(mover, "");
    settle(&s);
    expect_out(asker, ":0\r\n");
    expect_out(mover, "$1\r\nx\r\n");
    snprintf(line, sizeof(line), "LLEN {%s}to\r\n", tag);
    expect(&s, pusher, line, ":1\r\n");
    leave(mover);
    leave(asker);
    leave(pusher);
    clean_down(&s);
}

static void test_hundred_thousand_wait_for_one_key(void **state)
{
    enum { N = 100000, ALONE = 20, ROW = 1000 };
    (void)state;
    struct server s;
    many_up(&s, 2);
    struct tcp_conn **c = malloc(N * sizeof(*c)), *d = fake_connect(s.net[0]);
    char text[64];
    for (int i = 0; i < N; i++) {
        snprintf(text, sizeof(text), "RPUSH {k}src %d\r\n", i);
        say(d, text);
    }
    for (int i = 0; i < 50; i++)
        settle(&s);
    for (int i = 0; i < N; i++) {
        c[i] = fake_connect(s.net[i & 1]);
        say(c[i], "BLPOP k 0\r\n");
    }
    settle(&s);
    assert_int_equal(blocked(&s), N);
    for (int i = 0; i < ALONE; i++) {
        say(d, "LMOVE {k}src k LEFT RIGHT\r\n");
        for (int k = 0; k < 8; k++)
            turn(&s, (uint32_t)k % 2);
        assert_int_equal(blocked(&s), N - i - 1);
    }
    for (int i = 0; i < ROW; i++)
        say(d, "LMOVE {k}src k LEFT RIGHT\r\n");
    settle(&s);
    assert_int_equal(blocked(&s), N - ALONE - ROW);
    say(d, "RENAME {k}src k\r\n");
    for (int i = 0; i < 20 && blocked(&s); i++)
        settle(&s); /* a turn takes so many messages from another worker and no more */
    assert_int_equal(blocked(&s), 0);
    int last[2] = {-1, -1};
    char *seen = calloc(N, 1);
    for (int i = 0; i < N; i++) {
        char got[64];
        flat(c[i], got, sizeof(got));
        assert_memory_equal(got, "*2 $1 k $", 9);
        int v = atoi(strchr(got + 9, ' '));
        assert_true(v > last[i & 1]);
        last[i & 1] = v;
        assert_false(seen[v]++);
        leave(c[i]);
    }
    leave(d);
    free(c);
    free(seen);
    clean_down(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_first_come_first_served),
        cmocka_unit_test(test_several_keys),
        cmocka_unit_test(test_key_named_twice),
        cmocka_unit_test(test_what_is_there_is_given_at_once),
        cmocka_unit_test(test_timeouts),
        cmocka_unit_test(test_resp3),
        cmocka_unit_test(test_requests_behind_wait),
        cmocka_unit_test(test_client_death),
        cmocka_unit_test(test_move_chain),
        cmocka_unit_test(test_move_to_itself),
        cmocka_unit_test(test_move_to_another_type),
        cmocka_unit_test(test_move_keeps_its_turn),
        cmocka_unit_test(test_type_change),
        cmocka_unit_test(test_rename_wakes),
        cmocka_unit_test(test_streams),
        cmocka_unit_test(test_groups),
        cmocka_unit_test(test_swapdb),
        cmocka_unit_test(test_client_kill),
        cmocka_unit_test(test_bad_arguments),
        cmocka_unit_test(test_pause),
        cmocka_unit_test(test_pause_and_unpause),
        cmocka_unit_test(test_pause_of_transactions),
        cmocka_unit_test(test_transaction_wakes),
        cmocka_unit_test(test_first_key_that_changed),
        cmocka_unit_test(test_gone_again_in_the_transaction),
        cmocka_unit_test(test_no_waiting_in_a_transaction),
        cmocka_unit_test(test_client_unblock),
        cmocka_unit_test(test_unblock_then_death),
        cmocka_unit_test(test_half_closed_client_is_given_nothing),
        cmocka_unit_test(test_any_interleaving),
        cmocka_unit_test(test_move_to_a_key_in_use),
        cmocka_unit_test(test_hundred_thousand_wait_for_one_key),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
