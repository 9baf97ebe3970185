/* The load generator against servers that are more than one, or that speak first: cluster mode (CLUSTER SLOTS, MOVED, ASK), subscribers, and the start that
 * all clients share. Servers are a few lines of C: they answer in the transport's next poll. */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "dataplane/bench/cluster.h"
#include "dataplane/bench/load.h"
#include "engine/base/crc.h"
#include "tests/unit/unit.h"

#define NODES 3

struct link {
    struct load_client *c;
    struct nodes *n;
    int target;
    bool asking, subscribed;
    char channel[32], *out;
    size_t out_len;
    struct link *next;
};

struct nodes {
    struct transport t;
    uint64_t now;
    struct link *links;
    int targets;       /* known to the client; 0 is the first node */
    const char *slots; /* reply to CLUSTER SLOTS */
    uint32_t gone_to,
        asked; /* keys of this slot and above are at node 2 (MOVED); slots below `asked` are being moved to node 1 */
    uint32_t served[NODES], moved, ask_answers, early;
    uint64_t keys_seen;
};

static struct nodes *of(struct transport *t)
{
    return (struct nodes *)t;
}

__attribute__((format(printf, 2, 3))) static void say(struct link *k, const char *fmt, ...)
{
    char text[512];
    va_list ap;
    va_start(ap, fmt);
    size_t n = (size_t)vsnprintf(text, sizeof(text), fmt, ap);
    va_end(ap);
    k->out = realloc(k->out, k->out_len + n);
    memcpy(k->out + k->out_len, text, n);
    k->out_len += n;
}

static void nodes_connect(struct transport *t, struct load_client *c)
{
    struct link *k = calloc(1, sizeof(*k));
    k->c = c;
    k->n = of(t);
    k->target = c->target;
    k->next = of(t)->links;
    of(t)->links = c->tc = k;
    load_connected(c, 0);
}

static int nodes_target(struct transport *t, const char *host, uint16_t port)
{
    if (*host && strcmp(host, "10.0.0.1") != 0)
        return -113;
    int node = port - 7000;
    if (node >= of(t)->targets)
        of(t)->targets = node + 1;
    return node;
}

/* Who owns it really. */
static int owner(const struct nodes *n, uint32_t slot)
{
    return slot >= n->gone_to ? 2 : slot < 8192 ? 0 : 1;
}

static void serve(struct link *k, char **argv, int argc)
{
    struct nodes *n = k->n;
    if (strcmp(argv[0], "CLUSTER") == 0) {
        say(k, "%s", n->slots);
    } else if (strcmp(argv[0], "HELLO") == 0) {
        say(k, "%%1\r\n$5\r\nproto\r\n:3\r\n");
    } else if (strcmp(argv[0], "SUBSCRIBE") == 0) {
        snprintf(k->channel, sizeof(k->channel), "%s", argv[1]);
        say(k, "*3\r\n$9\r\nsubscribe\r\n$%zu\r\n%s\r\n:1\r\n", strlen(argv[1]), argv[1]);
    } else if (strcmp(argv[0], "PUBLISH") == 0) {
        int heard = 0;
        for (struct link *s = n->links; s; s = s->next) {
            if (strcmp(s->channel, argv[1]) != 0)
                continue;
            say(s, "*3\r\n$7\r\nmessage\r\n$%zu\r\n%s\r\n$%zu\r\n%s\r\n", strlen(argv[1]), argv[1],
                strlen(argv[2]), argv[2]);
            heard++;
        }
        say(k, ":%d\r\n", heard);
    } else if (strcmp(argv[0], "ASKING") == 0) {
        k->asking = true;
        say(k, "+OK\r\n");
    } else {
        uint32_t slot = argc > 1 ? crc16(argv[1], strlen(argv[1])) % CLUSTER_SLOTS : 0;
        int node = owner(n, slot);
        n->early += k->c->load->start_ns == 0;
        if (slot < n->asked && k->target == 0) {
            n->ask_answers++;
            say(k, "-ASK %u 10.0.0.1:7001\r\n", slot);
        } else if (node == k->target || (k->asking && k->target == 1)) {
            n->served[k->target]++;
            say(k, "+OK\r\n");
        } else {
            n->moved++;
            say(k, "-MOVED %u :%d\r\n", slot, 7000 + node); /* no host: that of who answers */
        }
        k->asking = false;
    }
}

/* Our own client writes whole requests. */
static size_t nodes_write(struct transport *t, struct load_client *c, const uint8_t *p, size_t n)
{
    char *text = strndup((const char *)p, n), *at = text, *end = text + n;
    while (at < end) {
        char *argv[16];
        int argc = (int)strtol(at + 1, &at, 10);
        at += 2;
        for (int i = 0; i < argc; i++) {
            size_t len = strtoul(at + 1, &at, 10);
            argv[i] = at + 2;
            at += 2 + len + 2;
            argv[i][len] = 0;
        }
        serve(c->tc, argv, argc);
    }
    free(text);
    (void)t;
    return n;
}

static void nodes_flush(struct transport *t, struct load_client *c)
{
    (void)t;
    (void)c;
}

static void nodes_close(struct transport *t, struct load_client *c)
{
    struct link **at = &of(t)->links;
    while (*at != c->tc)
        at = &(*at)->next;
    struct link *k = *at;
    *at = k->next;
    free(k->out);
    free(k);
    c->tc = NULL;
}

static uint64_t nodes_poll(struct transport *t, uint64_t until)
{
    struct nodes *n = of(t);
    n->now = until < n->now + 1000 ? until : n->now + 1000;
    for (struct link *k = n->links; k; k = k->next) {
        char *out = k->out;
        size_t len = k->out_len;
        k->out = NULL;
        k->out_len = 0;
        k->c->load->now_ns = n->now;
        if (len)
            load_received(k->c, (const uint8_t *)out, len);
        free(out);
    }
    return n->now;
}

static uint64_t nodes_now(struct transport *t)
{
    return of(t)->now;
}

static const struct transport_ops ops = {.connect = nodes_connect,
                                         .target = nodes_target,
                                         .write = nodes_write,
                                         .flush = nodes_flush,
                                         .close = nodes_close,
                                         .poll = nodes_poll,
                                         .now = nodes_now};

static const char good_slots[] =
    "*2\r\n"
    "*4\r\n:0\r\n:8191\r\n*3\r\n$8\r\n10.0.0.1\r\n:7000\r\n$2\r\nid\r\n"
    "*2\r\n$7\r\nreplica\r\n:9\r\n"
    "*3\r\n:8192\r\n:16383\r\n*3\r\n$8\r\n10.0.0.1\r\n:7001\r\n$2\r\nid\r\n";

static bool run(struct nodes *n, struct load_config *cfg, const char *words, struct load_result *r,
                char *err)
{
    struct workload w;
    n->t.ops = &ops;
    n->now = 1000000000;
    n->gone_to = n->gone_to ? n->gone_to : CLUSTER_SLOTS;
    cfg->answer_timeout_s = 5;
    workload_init(&w);
    w.channels = 3;
    assert_true(workload_add(&w, NULL, 1, words, err, 256));
    assert_true(workload_ready(&w, 10000));
    bool ok = load_run(&n->t, &w, cfg, r, err, 256);
    workload_fini(&w);
    assert_null(n->links); /* all closed */
    return ok;
}

static void test_keys_go_to_their_owners(void **state)
{
    static struct load_result r;
    struct nodes n = {.slots = good_slots};
    struct load_config cfg = {
        .clients = 5, .pipeline = 4, .requests = 2001, .cluster = true, .resp = 2};
    char err[256];
    (void)state;
    assert_true(run(&n, &cfg, "SET __key__ v", &r, err));
    assert_int_equal(r.operations, 2001);
    assert_int_equal(n.moved, 0);
    assert_int_equal(r.redirected, 0);
    assert_int_equal(n.served[0] + n.served[1], 2001);
    assert_in_range(n.served[0], 850, 1150);
    assert_int_equal(n.early, 0);
    load_result_free(&r);
}

static void test_moved_is_followed_and_remembered(void **state)
{
    static struct load_result r;
    struct nodes n = {.slots = good_slots, .gone_to = 12000};
    struct load_config cfg = {
        .clients = 5, .pipeline = 4, .requests = 60000, .cluster = true, .resp = 3};
    char err[256];
    (void)state;
    assert_true(run(&n, &cfg, "SET __key__ v; GET __again__", &r, err));
    assert_int_equal(r.operations, 60000);
    assert_int_equal(r.requests, 120000);
    assert_int_equal(r.errors, 0);
    assert_int_equal(r.redirected, n.moved);
    assert_true(n.served[2] > 10000);
    assert_in_range(n.moved, 1, 4384 + 40 * 5); /* once a slot, and what was under way */
    load_result_free(&r);
}

static void test_ask_is_followed_once(void **state)
{
    static struct load_result r;
    struct nodes n = {.slots = good_slots, .asked = 4000};
    struct load_config cfg = {
        .clients = 2, .pipeline = 8, .requests = 5000, .cluster = true, .resp = 2};
    char err[256];
    (void)state;
    assert_true(run(&n, &cfg, "SET __key__ v", &r, err));
    assert_int_equal(r.operations, 5000);
    assert_int_equal(r.errors, 0);
    assert_in_range(n.ask_answers, 1000, 1500); /* a quarter of all: it is not remembered */
    assert_int_equal(r.redirected, n.ask_answers);
    assert_int_equal(n.moved, 0);
    load_result_free(&r);
}

static void test_cluster_slots_that_are_none(void **state)
{
    static const char *const slots[] = {
        "-ERR This instance has cluster support disabled\r\n",
        "*0\r\n",
        "*1\r\n*3\r\n:0\r\n:20000\r\n*2\r\n$8\r\n10.0.0.1\r\n:7000\r\n",
        "*1\r\n*3\r\n:0\r\n:5\r\n*2\r\n$8\r\n10.0.0.9\r\n:7000\r\n",
        "*1\r\n*3\r\n:0\r\n:5\r\n*2\r\n$8\r\n10.0.0.1\r\n:70000\r\n",
        "*1\r\n:0\r\n",
    };
    static struct load_result r;
    (void)state;
    for (size_t i = 0; i < sizeof(slots) / sizeof(slots[0]); i++) {
        struct nodes n = {.slots = slots[i]};
        struct load_config cfg = {
            .clients = 2, .pipeline = 1, .requests = 10, .cluster = true, .resp = 2};
        char err[256] = "";
        bool ok = run(&n, &cfg, "SET __key__ v", &r, err);
        assert_int_equal(
            ok, i == 2); /* a range beyond the last slot is passed over: MOVED would tell */
        assert_true(ok || err[0]);
        load_result_free(&r);
    }
}

static void test_subscribers_hear_all_that_was_announced(void **state)
{
    static struct load_result r;
    struct nodes n = {0};
    struct load_config cfg = {
        .clients = 2, .pipeline = 3, .requests = 900, .subscribers = 7, .resp = 2};
    char err[256];
    (void)state;
    assert_true(run(&n, &cfg, "PUBLISH __channel__ __stamp__", &r, err));
    assert_int_equal(r.operations, 900);
    assert_true(r.published > 900);
    assert_int_equal(r.messages, r.published);
    assert_int_equal(r.delivery.count, r.messages);
    assert_in_range(r.delivery.max, 1, 5000);
    load_result_free(&r);
}

/* With a greeting (RESP3, a password) a client used to ask as soon as it was answered, before the start. */
static void test_nobody_asks_before_the_start(void **state)
{
    static struct load_result r;
    struct nodes n = {0};
    struct load_config cfg = {.clients = 600, .pipeline = 1, .requests = 5000, .resp = 3};
    char err[256];
    (void)state;
    assert_true(run(&n, &cfg, "PING", &r, err));
    assert_int_equal(n.early, 0);
    assert_int_equal(r.operations, 5000);
    load_result_free(&r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_keys_go_to_their_owners),
        cmocka_unit_test(test_moved_is_followed_and_remembered),
        cmocka_unit_test(test_ask_is_followed_once),
        cmocka_unit_test(test_cluster_slots_that_are_none),
        cmocka_unit_test(test_subscribers_hear_all_that_was_announced),
        cmocka_unit_test(test_nobody_asks_before_the_start),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
