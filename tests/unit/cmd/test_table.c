/* The command table is whole, names are found whatever their case, refusals read as Redis writes them, key positions are right. */
#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>

#include "engine/cmd/command_table.h"
#include "tests/unit/cmd/harness.h"
#include "tests/unit/unit.h"

static void rows_are_whole(void **state)
{
    for (size_t i = 0; i < CMD_COUNT; i++) {
        const struct cmd_desc *d = &cmd_table[i];
        const struct cmd_detail *detail = d->detail;
        assert_ptr_equal(detail, &cmd_details[i]);
        assert_int_not_equal(d->arity, 0);
        for (const char *p = d->full; *p; p++)
            assert_false(isupper((unsigned char)*p));
        assert_true(detail->doc.since && detail->doc.group && detail->doc.complexity &&
                    detail->doc.summary);
        assert_true(d->acl & (ACL_FAST | ACL_SLOW));
        assert_true(!(d->acl & ACL_FAST) || !(d->acl & ACL_SLOW));
        if (d->parent) {
            assert_true(d > d->parent && d <= d->parent + d->parent->nsubs);
            assert_int_equal(d->index, d->flags & CMD_HIDDEN ? d->parent->index : i);
        } else {
            assert_int_equal(d->index, i);
        }
    }
}

/* Who runs it and over which keys must agree. */
static void routes_agree_with_keys(void **state)
{
    for (size_t i = 0; i < CMD_COUNT; i++) {
        const struct cmd_desc *d = &cmd_table[i];
        const struct cmd_detail *detail = d->detail;
        bool keyed = d->route == ROUTE_KEY || d->route == ROUTE_KEYS;
        bool names_channels = detail->keys && (detail->keys->flags & KEY_NOT_KEY); /* no data */
        assert_int_equal(keyed, detail->keys != NULL && !names_channels);
        assert_int_equal(d->route == ROUTE_CONTROL || (d->nsubs && d->fn == NULL), d->fn == NULL);
        if (d->flags & CMD_DENYOOM)
            assert_true(keyed);
        if (d->route == ROUTE_WORKERS)
            assert_int_not_equal(d->split, SPLIT_LEASE);
    }
}

static void every_name_is_found_in_any_case(void **state)
{
    char word[64];
    for (size_t i = 0; i < CMD_COUNT; i++) {
        const struct cmd_desc *d = &cmd_table[i];
        size_t n = strlen(d->name);
        for (unsigned pattern = 0; pattern < 4; pattern++) {
            for (size_t k = 0; k < n; k++)
                word[k] = (char)((pattern >> (k & 1)) & 1 ? toupper((unsigned char)d->name[k])
                                                          : d->name[k]);
            struct span s = span_of(word, n);
            assert_ptr_equal(d->parent ? cmd_find_sub(d->parent, s) : cmd_find(s), d);
        }
    }
}

/* One byte changed, added or taken away is another name. */
static void near_names_are_not_found(void **state)
{
    for (const struct cmd_desc *d = cmd_next(NULL); d; d = cmd_next(d)) {
        size_t n = strlen(d->name);
        uint8_t *word = malloc(n + 1);
        for (size_t k = 0; k < n; k++) {
            for (unsigned b = 0; b < 256; b++) {
                memcpy(word, d->name, n);
                word[k] = (uint8_t)b;
                if (tolower((int)b) == d->name[k])
                    continue;
                const struct cmd_desc *found = cmd_find(span_of(word, n));
                assert_true(!found || (strlen(found->name) == n &&
                                       strncasecmp(found->name, (char *)word, n) == 0));
            }
        }
        memcpy(word, d->name, n);
        word[n] = 0;
        assert_null(cmd_find(span_of(word, n + 1))); /* "get\0" is not "get" */
        free(word);
        uint8_t *exact =
            malloc(n - 1); /* exactly as long: a longer read is seen by the sanitizer */
        memcpy(exact, d->name, n - 1);
        const struct cmd_desc *shorter = cmd_find(span_of(exact, n - 1));
        assert_ptr_not_equal(shorter, d);
        free(exact);
    }
    assert_null(cmd_find(SPAN("")));
    assert_null(cmd_find(SPAN("a-name-longer-than-all-others")));
}

static void refusals(void **state)
{
    struct harness h;
    harness_init(&h, 1);
    EXPECT(&h, "foo", "-ERR unknown command 'foo', with args beginning with: \r\n");
    EXPECT(&h, "FOO bar \"a\\nb\" \"x\\x00y\" z",
           "-ERR unknown command 'FOO', with args beginning with: 'bar' 'a b' 'x' 'z' \r\n");
    EXPECT(&h, "client|list", "-ERR unknown command 'client|list', with args beginning with: \r\n");
    EXPECT(&h, "get", "-ERR wrong number of arguments for 'get' command\r\n");
    EXPECT(&h, "GET a b", "-ERR wrong number of arguments for 'get' command\r\n");
    EXPECT(&h, "client", "-ERR wrong number of arguments for 'client' command\r\n");
    EXPECT(&h, "CLIENT x", "-ERR unknown subcommand 'x'. Try CLIENT HELP.\r\n");
    EXPECT(&h, "CLIENT KILL", "-ERR wrong number of arguments for 'client|kill' command\r\n");
    EXPECT(&h, "CLIENT ID x", "-ERR wrong number of arguments for 'client|id' command\r\n");
    harness_fini(&h);
}

/* Redis shows 128 bytes of the command and, roughly, 128 of the arguments: the sum is cut at the argument that goes past them. */
static void long_refusals_are_cut(void **state)
{
    struct harness h;
    harness_init(&h, 1);
    char line[1024], want[1024], a[200];
    memset(a, 'a', sizeof(a));
    snprintf(line, sizeof(line), "%.200s %.120s %.50s x", a, a, a);
    snprintf(want, sizeof(want),
             "-ERR unknown command '%.128s', with args beginning with: '%.120s' '%.5s' \r\n", a, a,
             a);
    harness_expect(&h, line, span_str(want), __FILE__, __LINE__);
    snprintf(line, sizeof(line), "foo %.150s x", a);
    snprintf(want, sizeof(want),
             "-ERR unknown command 'foo', with args beginning with: '%.128s' \r\n", a);
    harness_expect(&h, line, span_str(want), __FILE__, __LINE__);
    snprintf(line, sizeof(line), "CLIENT %.150s", a);
    snprintf(want, sizeof(want), "-ERR unknown subcommand '%.128s'. Try CLIENT HELP.\r\n", a);
    harness_expect(&h, line, span_str(want), __FILE__, __LINE__);
    harness_fini(&h);
}

static int keys_of(const char *line, uint32_t pos[8])
{
    struct span argv[16];
    uint32_t argc = 0;
    for (const char *p = line; *p;) {
        size_t n = strcspn(p, " ");
        argv[argc++] = span_of(p, n);
        p += n + (p[n] == ' ');
    }
    struct reply none = {.muted = true};
    const struct cmd_desc *d = cmd_lookup(argv, argc, &none);
    assert_non_null(d);
    int n = cmd_keys(d, argv, argc, pos, 8);
    assert_int_equal(cmd_keys(d, argv, argc, NULL, 0), n);
    return n;
}

static void key_positions(void **state)
{
    uint32_t pos[8];
    assert_int_equal(keys_of("get a", pos), 1);
    assert_int_equal(pos[0], 1);
    assert_int_equal(keys_of("del a b c", pos), 3);
    assert_int_equal(pos[2], 3);
    assert_int_equal(keys_of("mset a 1 b 2 c 3", pos), 3);
    assert_int_equal(pos[1], 3);
    assert_int_equal(pos[2], 5);
    assert_int_equal(keys_of("mset a 1 b", pos), 2); /* MSET itself complains */
    assert_int_equal(keys_of("rename a b", pos), 2);
    assert_int_equal(pos[1], 2);
    assert_int_equal(keys_of("lcs a b LEN", pos), 2);
    assert_int_equal(keys_of("object encoding a", pos), 1);
    assert_int_equal(pos[0], 2);
    assert_int_equal(keys_of("debug object a", pos), 1);
    assert_int_equal(pos[0], 2);
    assert_int_equal(keys_of("ping", pos), 0);
    assert_int_equal(keys_of("debug nonsense a", pos), 0);
    pos[1] = 77;
    struct span argv[] = {SPAN("del"), SPAN("a"), SPAN("b")};
    assert_int_equal(cmd_keys(&cmd_table[CMD_del], argv, 3, pos, 1), 2); /* more keys than room */
    assert_int_equal(pos[1], 77);
}

static void admission(void **state)
{
    struct harness h;
    harness_init(&h, 1);
    EXPECT(&h, "DEBUG SLEEP 0",
           "-ERR DEBUG command not allowed. If the enable-debug-command option is set to "
           "\"local\", you can run "
           "it from a local connection, otherwise you need to set this option in the configuration "
           "file, and "
           "then restart the server.\r\n");
    h.config.enable_debug_command = DEBUG_CMD_LOCAL;
    assert_int_equal(strncmp(harness_run(&h, "DEBUG SLEEP 0"), "-ERR DEBUG", 10), 0);
    h.session->source = SESSION_DOOR_TCP;
    EXPECT(&h, "DEBUG SLEEP 0", "+OK\r\n");
    h.session->source = SESSION_NETWORK;
    h.config.enable_debug_command = DEBUG_CMD_YES;
    EXPECT(&h, "DEBUG SLEEP 0", "+OK\r\n");

    h.config.protected_mode = true;
    assert_int_equal(
        strncmp(harness_run(&h, "GET a"), "-DENIED Redis is running in protected mode", 42), 0);
    assert_int_equal(strncmp(harness_run(&h, "CLIENT LIST"), "-DENIED ", 8), 0);
    EXPECT(&h, "PING", "+PONG\r\n");
    EXPECT(&h, "ECHO a", "$1\r\na\r\n");
    EXPECT(&h, "RESET", "+RESET\r\n");
    h.session->source = SESSION_DOOR_UNIX;
    EXPECT(&h, "GET a", "$-1\r\n");
    h.session->source = SESSION_NETWORK;

    memcpy(h.config.requirepass, "pw", 2); /* a password takes the place of protected mode */
    h.config.requirepass_len = 2;
    h.session->authenticated = false;
    EXPECT(&h, "GET a", "-NOAUTH Authentication required.\r\n");
    EXPECT(&h, "PING", "-NOAUTH Authentication required.\r\n");
    EXPECT(&h, "AUTH pw", "+OK\r\n");
    EXPECT(&h, "GET a", "$-1\r\n");
    harness_fini(&h);
}

static void calls_are_counted(void **state)
{
    struct harness h;
    harness_init(&h, 1);
    harness_run(&h, "PING");
    harness_run(&h, "SELECT 99");
    harness_run(&h, "SET k v");
    h.config.maxmemory_bytes = 1;
    EXPECT(&h, "SET k v", "-OOM command not allowed when used memory > 'maxmemory'.\r\n");
    EXPECT(&h, "GET k", "$1\r\nv\r\n");
    EXPECT(&h, "DEL k", ":1\r\n");
    assert_int_equal(h.calls[CMD_ping], 1);
    assert_int_equal(h.failed[CMD_ping], 0);
    assert_int_equal(h.calls[CMD_select], 1);
    assert_int_equal(h.failed[CMD_select], 1);
    assert_int_equal(h.calls[CMD_set], 1);
    assert_int_equal(h.rejected[CMD_set], 1);
    assert_int_equal(h.shards[0].stats.oom_refused, 1);
    h.config.enable_debug_command = DEBUG_CMD_YES;
    harness_run(&h, "DEBUG SLEEP 0.25");
    assert_int_equal(h.slept_ms, 250);
    assert_int_equal(h.calls[CMD_debug], 1);               /* hidden rows count for their parent */
    h.host.calls = h.host.rejected = h.host.failed = NULL; /* an embedder without an account */
    EXPECT(&h, "SET k v", "-OOM command not allowed when used memory > 'maxmemory'.\r\n");
    harness_run(&h, "SELECT 99");
    harness_fini(&h);
}

static void control_commands_do_not_run_here(void **state)
{
    struct harness h;
    harness_init(&h, 1);
    EXPECT(&h, "CONFIG GET x", "-ERR command 'config|get' is not served here\r\n");
    harness_fini(&h);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rows_are_whole),
        cmocka_unit_test(routes_agree_with_keys),
        cmocka_unit_test(every_name_is_found_in_any_case),
        cmocka_unit_test(near_names_are_not_found),
        cmocka_unit_test(refusals),
        cmocka_unit_test(long_refusals_are_cut),
        cmocka_unit_test(key_positions),
        cmocka_unit_test(admission),
        cmocka_unit_test(calls_are_counted),
        cmocka_unit_test(control_commands_do_not_run_here),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
