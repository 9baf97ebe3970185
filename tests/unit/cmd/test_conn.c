/* Connection commands and CLIENT, byte for byte as redis-server 7.0.15 answers them (SETINFO and NO-TOUCH as 7.2). */
#include <stdio.h>
#include <stdlib.h>

#include "tests/unit/cmd/harness.h"
#include "tests/unit/unit.h"

static int setup(void **state)
{
    struct harness *h = malloc(sizeof(*h));
    assert_non_null(h);
    harness_init(h, 1);
    *state = h;
    return 0;
}

static int teardown(void **state)
{
    harness_fini(*state);
    free(*state);
    return 0;
}

static void ping_echo_select(void **state)
{
    struct harness *h = *state;
    EXPECT(h, "PING", "+PONG\r\n");
    EXPECT(h, "ping \"a\\x00b\"", "$3\r\na\0b\r\n");
    EXPECT(h, "PING a b", "-ERR wrong number of arguments for 'ping' command\r\n");
    EXPECT(h, "ECHO \"\"", "$0\r\n\r\n");
    EXPECT(h, "SELECT 15", "+OK\r\n");
    assert_int_equal(h->session->db, 15);
    EXPECT(h, "SELECT 16", "-ERR DB index is out of range\r\n");
    EXPECT(h, "SELECT -1", "-ERR DB index is out of range\r\n");
    EXPECT(h, "SELECT 1x", "-ERR value is not an integer or out of range\r\n");
    EXPECT(h, "SELECT 2147483648",
           "-ERR value is out of range, value must between -2147483648 and 2147483647\r\n");
    assert_int_equal(h->session->db, 15);
    h->config.databases = 4;
    EXPECT(h, "SELECT 4", "-ERR DB index is out of range\r\n");
    EXPECT(h, "TIME", "*2\r\n$10\r\n1700000000\r\n$1\r\n0\r\n");
}

#define HELLO_BODY(proto)                                                                     \
    "$6\r\nserver\r\n$5\r\nredis\r\n$7\r\nversion\r\n$6\r\n7.0.15\r\n$5\r\nproto\r\n:" proto  \
    "\r\n$2\r\nid\r\n:1\r\n$4\r\nmode\r\n$10\r\nstandalone\r\n$4\r\nrole\r\n$6\r\nmaster\r\n" \
    "$7\r\nmodules\r\n*0\r\n"

static void hello(void **state)
{
    struct harness *h = *state;
    EXPECT(h, "HELLO", "*14\r\n" HELLO_BODY("2"));
    EXPECT(h, "HELLO 3 SETNAME me", "%7\r\n" HELLO_BODY("3"));
    EXPECT(h, "GET missing", "_\r\n");
    EXPECT(h, "HELLO", "%7\r\n" HELLO_BODY("3"));
    EXPECT(h, "CLIENT GETNAME", "$2\r\nme\r\n");
    EXPECT(h, "HELLO 1", "-NOPROTO unsupported protocol version\r\n");
    EXPECT(h, "HELLO 4", "-NOPROTO unsupported protocol version\r\n");
    EXPECT(h, "HELLO SETNAME a", "-ERR Protocol version is not an integer or out of range\r\n");
    EXPECT(h, "HELLO 2 FOO", "-ERR Syntax error in HELLO option 'FOO'\r\n");
    EXPECT(h, "HELLO 2 AUTH a", "-ERR Syntax error in HELLO option 'AUTH'\r\n");
    EXPECT(h, "HELLO 2 SETNAME b AUTH x", "-ERR Syntax error in HELLO option 'AUTH'\r\n");
    EXPECT(h, "CLIENT GETNAME", "$1\r\nb\r\n"); /* what came before the error is done */
    EXPECT(h, "HELLO 2 AUTH bob x",
           "-WRONGPASS invalid username-password pair or user is disabled.\r\n");
    EXPECT(h, "HELLO 2 AUTH default anything", "*14\r\n" HELLO_BODY("2"));
}

static void auth(void **state)
{
    struct harness *h = *state;
    EXPECT(h, "AUTH x",
           "-ERR AUTH <password> called without any password configured for the default user. Are "
           "you sure your configuration is correct?\r\n");
    EXPECT(h, "AUTH default x", "+OK\r\n");
    EXPECT(h, "AUTH a b c", "-ERR syntax error\r\n");
    memcpy(h->config.requirepass, "secret", 6);
    h->config.requirepass_len = 6;
    h->session->authenticated = false;
    EXPECT(h, "HELLO 3",
           "-NOAUTH HELLO must be called with the client already authenticated, otherwise the "
           "HELLO AUTH <user> <pass> option can be used to authenticate the client and select the "
           "RESP protocol version at the same time\r\n");
    static const char *const wrong[] = {
        "AUTH \"\"",           "AUTH secre",      "AUTH secrets",         "AUTH Secret",
        "AUTH default secreT", "AUTH bob secret", "AUTH \"secret\\x00\"", "HELLO 3 AUTH default x"};
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
        EXPECT(h, wrong[i], "-WRONGPASS invalid username-password pair or user is disabled.\r\n");
        assert_false(h->session->authenticated);
    }
    EXPECT(h, "AUTH secret", "+OK\r\n");
    EXPECT(h, "AUTH wrong", "-WRONGPASS invalid username-password pair or user is disabled.\r\n");
    EXPECT(h, "PING", "+PONG\r\n"); /* a wrong guess takes nothing away */
    EXPECT(h, "RESET", "+RESET\r\n");
    EXPECT(h, "PING", "-NOAUTH Authentication required.\r\n");
    EXPECT(h, "HELLO 3 AUTH default secret", "%7\r\n" HELLO_BODY("3"));
    EXPECT(h, "PING", "+PONG\r\n");
}

/* A guess longer than any password reads nothing behind the table. */
static void auth_longest(void **state)
{
    struct harness *h = *state;
    memset(h->config.requirepass, 'x', LIMIT_PASSWORD_BYTES);
    h->config.requirepass_len = LIMIT_PASSWORD_BYTES;
    h->session->authenticated = false;
    uint8_t *guess = malloc(LIMIT_PASSWORD_BYTES + 1);
    memset(guess, 'x', LIMIT_PASSWORD_BYTES + 1);
    struct span argv[] = {SPAN("AUTH"), {guess, LIMIT_PASSWORD_BYTES + 1}};
    assert_int_equal(harness_runv(h, argv, 2).p[0], '-');
    argv[1].n--;
    assert_true(span_eq(harness_runv(h, argv, 2), SPAN("+OK\r\n")));
    free(guess);
}

static void reset_and_quit(void **state)
{
    struct harness *h = *state;
    harness_run(h, "HELLO 3 SETNAME me");
    harness_run(h, "SELECT 3");
    harness_run(h, "CLIENT NO-EVICT on");
    harness_run(h, "CLIENT NO-TOUCH on");
    harness_run(h, "CLIENT SETINFO lib-name redis-py");
    EXPECT(h, "RESET", "+RESET\r\n");
    assert_int_equal(h->session->db, 0);
    assert_int_equal(h->session->resp, 2);
    assert_null(h->session->name);
    assert_false(h->session->no_touch);
    assert_true(h->session->no_evict); /* as in 7.0.15 */
    assert_string_equal(h->session->lib_name, "redis-py");
    assert_int_equal(h->session->id, 1);
    EXPECT(h, "QUIT now", "+OK\r\n");
    assert_true(h->session->close_after_reply);
}

static void reply_modes(void **state)
{
    struct harness *h = *state;
    EXPECT(h, "CLIENT REPLY MAYBE", "-ERR syntax error\r\n");
    EXPECT(h, "CLIENT REPLY SKIP", "");
    assert_int_equal(h->session->reply_mode, SESSION_REPLY_SKIP_NEXT);
    EXPECT(h, "CLIENT REPLY OFF", "");
    EXPECT(h, "CLIENT REPLY SKIP", "");
    assert_int_equal(h->session->reply_mode, SESSION_REPLY_OFF);
    EXPECT(h, "CLIENT REPLY ON", "+OK\r\n");
    assert_int_equal(h->session->reply_mode, SESSION_REPLY_ON);
    h->session->reply_mode = SESSION_REPLY_SKIP;
    EXPECT(h, "RESET", ""); /* its own reply is the one to skip */
    h->session->reply_mode = SESSION_REPLY_OFF;
    EXPECT(h, "RESET", "+RESET\r\n");
}

static void http_is_closed(void **state)
{
    struct harness *h = *state;
    EXPECT(h, "POST / HTTP/1.1", "");
    assert_true(h->session->close_after_reply);
    h->session->close_after_reply = false;
    EXPECT(h, "Host: example.com", "");
    assert_true(h->session->close_after_reply);
}

static void names(void **state)
{
    static const char bad[] = "-ERR Client names cannot contain spaces, newlines or special "
                              "characters.\r\n";
    struct harness *h = *state;
    EXPECT(h, "CLIENT GETNAME", "$-1\r\n");
    EXPECT(h, "CLIENT SETNAME a-b:c", "+OK\r\n");
    harness_expect(h, "CLIENT SETNAME \"a b\"", span_str(bad), __FILE__, __LINE__);
    harness_expect(h, "CLIENT SETNAME \"a\\n\"", span_str(bad), __FILE__, __LINE__);
    harness_expect(h, "CLIENT SETNAME \"a\\xff\"", span_str(bad), __FILE__, __LINE__);
    harness_expect(h, "CLIENT SETNAME \"a\\x00\"", span_str(bad), __FILE__, __LINE__);
    EXPECT(h, "CLIENT GETNAME", "$5\r\na-b:c\r\n");
    EXPECT(h, "CLIENT SETNAME \"\"", "+OK\r\n");
    EXPECT(h, "CLIENT GETNAME", "$-1\r\n");
    EXPECT(h, "CLIENT SETINFO lib-name a", "+OK\r\n");
    EXPECT(h, "CLIENT SETINFO LIB-VER 1.0", "+OK\r\n");
    EXPECT(h, "CLIENT SETINFO Lib-Ver \"1 0\"",
           "-ERR Lib-Ver cannot contain spaces, newlines or special characters.\r\n");
    EXPECT(h, "CLIENT SETINFO foo 1", "-ERR Unrecognized option 'foo'\r\n");
    EXPECT(h, "CLIENT ID", ":1\r\n");
}

#define LINE_1                                                                                  \
    "id=1 addr=10.1.0.2:50000 laddr=10.1.0.1:6379 fd=-1 name=me age=61 idle=61 flags=eT db=3 "  \
    "sub=0 psub=0 ssub=0 multi=-1 qbuf=26 qbuf-free=20448 argv-mem=10 multi-mem=0 rbs=0 rbp=0 " \
    "obl=0 oll=0 omem=0 tot-mem=22298 events=r cmd=client|info user=default redir=-1 resp=2 "   \
    "lib-name= lib-ver=9 worker=0\n"

static void info_line(void **state)
{
    struct harness *h = *state;
    harness_run(h, "CLIENT SETNAME me");
    harness_run(h, "CLIENT SETINFO lib-ver 9");
    harness_run(h, "CLIENT NO-EVICT ON");
    harness_run(h, "CLIENT NO-TOUCH ON");
    harness_run(h, "SELECT 3");
    harness_advance_ms(h, 61999);
    char want[600];
    snprintf(want, sizeof(want), "$%zu\r\n%s\r\n", strlen(LINE_1), LINE_1);
    harness_expect(h, "CLIENT INFO", span_str(want), __FILE__, __LINE__);
    h->session->resp = 3;
    assert_int_equal(strncmp(harness_run(h, "CLIENT INFO"), "=", 1), 0);
    h->config.enable_debug_command = DEBUG_CMD_YES;
    h->session->last_cmd = &cmd_table[CMD_debug_sleep];
    harness_connect(h);
    assert_non_null(strstr(harness_run(h, "CLIENT LIST"), " cmd=debug "));
}

/* Ids in the lines of a CLIENT LIST reply, as "1,3,". */
static const char *ids(struct harness *h, const char *line)
{
    static char ret[64];
    ret[0] = 0;
    const char *reply = harness_run(h, line);
    assert_int_equal(reply[0], '$');
    for (const char *p = reply; (p = strstr(p, "id=")); p += 3)
        if (p[-1] == '\n')
            snprintf(ret + strlen(ret), sizeof(ret) - strlen(ret), "%d,", atoi(p + 3));
    return ret;
}

static void list(void **state)
{
    struct harness *h = *state;
    harness_connect(h);
    harness_connect(h);
    assert_string_equal(ids(h, "CLIENT LIST"), "1,2,3,");
    assert_string_equal(ids(h, "CLIENT LIST TYPE NORMAL"), "1,2,3,");
    assert_string_equal(ids(h, "CLIENT LIST ID 3 7 1 3"), "3,1,3,");
    EXPECT(h, "CLIENT LIST TYPE replica", "$0\r\n\r\n");
    EXPECT(h, "CLIENT LIST TYPE foo", "-ERR Unknown client type 'foo'\r\n");
    EXPECT(h, "CLIENT LIST TYPE", "-ERR syntax error\r\n");
    EXPECT(h, "CLIENT LIST ID", "-ERR syntax error\r\n");
    EXPECT(h, "CLIENT LIST ID 1 x", "-ERR Invalid client ID\r\n");
    EXPECT(h, "CLIENT LIST ID -1", "$0\r\n\r\n");
}

static void kill_errors(void **state)
{
    struct harness *h = *state;
    EXPECT(h, "CLIENT KILL nobody", "-ERR No such client\r\n");
    EXPECT(h, "CLIENT KILL ID", "-ERR No such client\r\n"); /* three words: an address */
    EXPECT(h, "CLIENT KILL ID 0", "-ERR client-id should be greater than 0\r\n");
    EXPECT(h, "CLIENT KILL ID x", "-ERR client-id should be greater than 0\r\n");
    EXPECT(h, "CLIENT KILL TYPE foo", "-ERR Unknown client type 'foo'\r\n");
    EXPECT(h, "CLIENT KILL USER bob", "-ERR No such user 'bob'\r\n");
    EXPECT(h, "CLIENT KILL SKIPME maybe", "-ERR syntax error\r\n");
    EXPECT(h, "CLIENT KILL ID 1 ADDR", "-ERR syntax error\r\n");
    EXPECT(h, "CLIENT KILL ID 1", ":0\r\n"); /* oneself is skipped */
    assert_false(h->session->close_after_reply);
}

static void kill_filters(void **state)
{
    struct harness *h = *state;
    for (int i = 0; i < 4; i++)
        harness_connect(h);
    h->session = &h->sessions[0];
    EXPECT(h, "CLIENT KILL ADDR 10.1.0.3:50001 ID 3", ":0\r\n");
    EXPECT(h, "CLIENT KILL ADDR 10.1.0.3:50001 ID 2", ":1\r\n");
    assert_true(h->sessions[1].close_asap);
    EXPECT(h, "CLIENT KILL LADDR 10.1.0.1:1", ":0\r\n");
    EXPECT(h, "CLIENT KILL 10.1.0.4:50002", "+OK\r\n");
    assert_true(h->sessions[2].close_asap);
    EXPECT(h, "CLIENT KILL TYPE pubsub", ":0\r\n");
    EXPECT(h, "CLIENT KILL USER default LADDR 10.1.0.1:6379", ":2\r\n");
    assert_false(h->session->close_after_reply);
    EXPECT(h, "CLIENT KILL TYPE normal SKIPME no", ":1\r\n"); /* only oneself is left */
    assert_true(h->session->close_after_reply);
    assert_false(h->session->close_asap);
    h->session->close_after_reply = false;
    EXPECT(h, "CLIENT KILL 10.1.0.2:50000", "+OK\r\n");
    assert_true(h->session->close_after_reply);
}

/* On another worker there is no "me", and the part is a number whatever the form. */
static void kill_part(void **state)
{
    struct harness *h = *state;
    struct span argv[] = {SPAN("CLIENT"), SPAN("KILL"), SPAN("10.1.0.2:50000")};
    struct reply out;
    struct reply_heap heap;
    reply_heap_init(&out, &heap, 2);
    struct shard_set set = {.count = 1, .v = {&h->shards[0]}};
    struct cmd c = {.argv = argv,
                    .argc = 3,
                    .desc = &cmd_table[CMD_client_kill],
                    .out = &out,
                    .shards = &set,
                    .host = &h->host,
                    .now_us = h->now_us,
                    .part = true};
    cmd_call(&c);
    reply_heap_finish(&out, &heap);
    assert_true(span_eq(span_of(heap.p, heap.len), SPAN(":1\r\n")));
    assert_true(h->session->close_asap);
    reply_heap_free(&heap);
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
    const struct CMUnitTest tests[] = {
        T(ping_echo_select), T(hello),          T(auth),      T(auth_longest), T(reset_and_quit),
        T(reply_modes),      T(http_is_closed), T(names),     T(info_line),    T(list),
        T(kill_errors),      T(kill_filters),   T(kill_part),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
