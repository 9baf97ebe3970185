/* What the trace tells of a connection: its life line by line, a copy after an error, nothing of the record's last owner, and that
 * "yes" changes nothing of what is said on the wire. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "dataplane/net/tcp_internal.h"
#include "tests/unit/net/check.h"
#include "tests/unit/net/peer.h"

struct text {
    char line[TCP_TRACE_EVENTS + 1][200];
    unsigned n;
};

static void take(void *ctx, const char *line, size_t n)
{
    struct text *t = ctx;
    assert_true(t->n < ARRAY_LEN(t->line) && n < sizeof(t->line[0]) && line[n] == 0);
    memcpy(t->line[t->n++], line, n + 1);
}

static uint64_t id_of(void *cookie)
{
    (void)cookie;
    return 77;
}

static enum tcp_trace_mode mode = TCP_TRACE_YES;
static uint32_t events = 4096;
static void tune(struct net_config *c)
{
    c->trace = mode;
    c->trace_events = events;
}

static void up(struct peer *p)
{
    peer_up(p, tune);
    p->stack->net->app.trace_id = id_of;
    p->sack = true;
    peer_handshake(p, 1460, -1, false);
}

/* The same peer connects from its next port. */
static void again(struct peer *p)
{
    p->port++;
    p->app->accepted = 0;
    peer_handshake(p, 1460, -1, false);
    p->s = &p->app->stream[p->app->used - 1];
}

/* How many lines have all these words, in this order. */
static unsigned with(const struct text *t, const char *a, const char *b)
{
    unsigned n = 0;
    for (unsigned i = 0; i < t->n; i++) {
        const char *at = strstr(t->line[i], a);
        n += at && strstr(at, b);
    }
    return n;
}

static struct text live(const struct peer *p)
{
    struct text t = {0};
    unsigned n = tcp_trace_read(p->s->tc, 5, take, &t);
    assert_int_equal(n, t.n);
    return t;
}

static void test_life_of_a_connection(void **state)
{
    (void)state;
    struct peer p;
    up(&p);
    peer_data(&p, peer_octets(0), 10);
    peer_app_write(&p, 20);
    uint32_t seq = peer_get(&p)->seq;
    struct text t = live(&p);
    assert_true(with(&t, "id=5 addr=", "ESTABLISHED") == 1);
    assert_non_null(strstr(t.line[1], " open"));
    assert_int_equal(with(&t, " state SYN_RCVD", "from CLOSED"), 1);
    assert_int_equal(with(&t, " in S ", "seq"), 1);
    assert_int_equal(with(&t, " out SA ", "len 0"), 1);
    assert_int_equal(with(&t, " state ESTABLISHED", "from SYN_RCVD"), 1);
    char word[64];
    /* Also the segment that the short way would take. */
    snprintf(word, sizeof(word), "seq %u ack", p.seq - 10);
    assert_int_equal(with(&t, " in PA ", word) + with(&t, " in A ", word), 2);
    assert_int_equal(with(&t, word, "len 10"), 1);
    snprintf(word, sizeof(word), "seq %u ack %u len 20", seq, p.seq);
    assert_int_equal(with(&t, " out PA ", word), 1);

    peer_wait(&p, WIRE_SEC); /* probe, timeouts */
    t = live(&p);
    assert_true(with(&t, " again PA ", word) >= 2);
    assert_true(with(&t, " timer retransmission", "cwnd") >= 1);
    assert_true(with(&t, " lost 20 bytes", "una") >= 1);
    while (p.got_at < p.got_len)
        peer_get(&p);
    p.wnd = 0;
    peer_ack(&p);
    peer_seg(&p, PEER_RST | PEER_ACK, p.seq + 50, p.ack, NULL, 0); /* inside, not at the edge */
    peer_seg(&p, PEER_ACK, p.seq - 5000, p.ack, "x", 1);
    t = live(&p);
    assert_int_equal(with(&t, " window 0 ", "una"), 1);
    assert_int_equal(with(&t, " drop ", "RST not at the edge"), 1);
    assert_int_equal(with(&t, " drop ", "outside the window"), 1);
    peer_down(&p);
}

/* An error ended it: the copy stays, under the id that the application gave, and the RST is in it. */
static void test_kept_after_an_error(void **state)
{
    (void)state;
    struct peer p;
    struct text t = {0};
    mode = TCP_TRACE_ERRORS;
    up(&p);
    peer_data(&p, peer_octets(0), 10);
    peer_seg(&p, PEER_RST, p.seq, 0, NULL, 0);
    assert_true(p.s->closed);
    assert_int_equal(tcp_trace_read_kept(p.stack->net, 76, take, &t), 0);
    unsigned n = tcp_trace_read_kept(p.stack->net, 77, take, &t);
    assert_int_equal(n, t.n);
    assert_int_equal(with(&t, "id=77 addr=", strerror(ECONNRESET)), 1);
    assert_int_equal(with(&t, " in R", "seq"), 1);
    assert_int_equal(with(&t, " closed: ", strerror(ECONNRESET)), 1);
    if (!wire_v6()) /* it was expected; over IPv6 all segments take the general way in */
        assert_int_equal(with(&t, " len 10 ", "win"), 0);
    peer_down(&p);
    mode = TCP_TRACE_YES;
}

/* An orderly end is not kept, nor is more than one a while: a copy walks the whole ring. */
static void test_what_is_not_kept(void **state)
{
    (void)state;
    struct peer p;
    struct text t = {0};
    up(&p);
    peer_seg(&p, PEER_FIN | PEER_ACK, p.seq++, p.ack, NULL, 0);
    tcp_close(p.s->tc);
    wire_turn(&p.w);
    while (p.got_at < p.got_len)
        peer_get(&p);
    peer_ack(&p);
    assert_true(p.s->closed);
    assert_int_equal(p.s->err, 0);
    assert_int_equal(tcp_trace_read_kept(p.stack->net, 77, take, &t), 0);
    assert_int_equal(p.stack->net->trace.kept_count, 0);
    for (int i = 0; i < 20; i++) {
        again(&p);
        peer_seg(&p, PEER_RST, p.seq, 0, NULL, 0);
    }
    assert_int_equal(p.stack->net->trace.kept_count, 1);
    peer_down(&p);
}

/* A record is used again: what the last connection left in the ring under its number is not shown. */
static void test_record_used_again(void **state)
{
    (void)state;
    struct peer p;
    up(&p);
    for (int i = 0; i < 50; i++)
        peer_data(&p, peer_octets((uint64_t)i), 1);
    uint32_t index = tcp_index(p.s->tc);
    peer_seg(&p, PEER_RST, p.seq, 0, NULL, 0);
    again(&p);
    assert_int_equal(tcp_index(p.s->tc), index);
    struct text t = live(&p);
    assert_true(t.n < 12);
    assert_int_equal(with(&t, " open", ""), 1);
    peer_down(&p);
}

/* The last 256 events of one, whatever the size of the ring and whoever else talks. */
static void test_bounds(void **state)
{
    (void)state;
    struct peer p;
    up(&p);
    for (int i = 0; i < 500; i++)
        peer_data(&p, peer_octets((uint64_t)i), 1);
    struct text t = live(&p);
    assert_int_equal(t.n, TCP_TRACE_EVENTS + 1);
    char word[32];
    snprintf(word, sizeof(word), "seq %u ack", p.seq - 1);
    assert_true(with(&t, " in ", word) == 1);
    peer_down(&p);

    events = 1; /* the least: 256 for all */
    up(&p);
    assert_int_equal(p.stack->net->trace.mask, 255);
    for (int i = 0; i < 500; i++)
        peer_data(&p, peer_octets((uint64_t)i), 1);
    t = live(&p);
    assert_true(t.n <= TCP_TRACE_EVENTS + 1);
    peer_down(&p);

    mode = TCP_TRACE_NO;
    up(&p);
    peer_data(&p, peer_octets(0), 1);
    t = live(&p);
    assert_int_equal(t.n, 0);
    peer_seg(&p, PEER_RST, p.seq, 0, NULL, 0);
    assert_int_equal(tcp_trace_read_kept(p.stack->net, 77, take, &t), 0);
    peer_down(&p);
    mode = TCP_TRACE_YES;
    events = 4096;
}

/* Every kind of event and every reason has its words. */
static void test_words(void **state)
{
    (void)state;
    struct peer p;
    up(&p);
    struct tcp_conn *tc = p.s->tc;
    for (uint8_t kind = TR_OPEN; kind <= TR_CLOSED; kind++)
        for (uint8_t what = 0; what <= (kind == TR_DROP    ? DROP_SYN
                                        : kind == TR_TIMER ? TT_REO
                                                           : 0);
             what++) {
            struct text t;
            unsigned before = live(&p).n;
            tcp_trace_put(tc, (struct tcp_event){.kind = kind, .what = what, .flags = 0xff});
            t = live(&p);
            if (kind != TR_OPEN) /* which hides what was before it */
                assert_int_equal(t.n, before + 1);
            assert_null(strchr(t.line[t.n - 1], '?'));
            assert_null(strstr(t.line[t.n - 1], "(null)"));
        }
    peer_down(&p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_life_of_a_connection),
        cmocka_unit_test(test_kept_after_an_error),
        cmocka_unit_test(test_what_is_not_kept),
        cmocka_unit_test(test_record_used_again),
        cmocka_unit_test(test_bounds),
        cmocka_unit_test(test_words),
    };
    if (wire_eal_init())
        return 1;
    return cmocka_run_group_tests(tests, NULL, NULL);
}
