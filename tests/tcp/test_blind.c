/* The attacker who does not see the connection but knows its addresses, ports and even its window (RFC 5961): RST, SYN and data
 * segments at random places in the window, at a million a second, while the true peer goes on. Nothing may be reset, no octet may
 * come in, and no more challenge ACKs may leave than the throttle grants.
 *
 * What the RFC itself lets pass is left out, and counted: a RST at exactly RCV.NXT (one number of 2^32 for who is blind), data that
 * guesses an acceptable ACK (a window of 2^32).
 *
 *   test_tcp_blind [PACKETS]      65,536 unless told; each of the four kinds of connection gets as many */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "dataplane/net/tcp_internal.h"
#include "tests/unit/net/check.h"
#include "tests/unit/net/peer.h"

#define BURST 32u

static uint64_t packets = 1u << 16;

struct attack {
    struct peer p;
    uint64_t sent[3], guessed;
    uint64_t peer_sent, app_sent; /* true octets each way */
};

static bool acceptable_ack(const struct tcp_conn *tc, uint32_t ack)
{
    uint32_t least = tc->snd_una - tc->cold->snd_wnd_max;
    return ack - least <= tc->snd_nxt - least;
}

/* One forged segment onto the wire. */
static void forge(struct attack *a, unsigned kind)
{
    static const uint8_t junk[64];
    struct peer *p = &a->p;
    const struct tcp_conn *tc = p->s->tc;
    uint8_t frame[256];
    uint64_t r = wire_random(&p->w);
    uint32_t wnd = tc->rcv_edge - tc->rcv_nxt, seq = tc->rcv_nxt + (uint32_t)(r % wnd);
    uint32_t ack = (uint32_t)(r >> 32), len = 0;
    uint8_t flags = kind == 0 ? PEER_RST : kind == 1 ? PEER_SYN : PEER_ACK | PEER_PSH;
    if (kind != 2 && (r & 1 << 20))
        flags |= PEER_ACK;
    if (kind == 0 && seq == tc->rcv_nxt)
        seq++;
    if (kind == 2) {
        len = 1 + (uint32_t)(r >> 8) % sizeof(junk);
        if (!(r >> 24 & 15))
            flags &= (uint8_t)~PEER_ACK;
        if (!(r >> 28 & 15))
            flags |= PEER_FIN;
        if ((flags & PEER_ACK) && acceptable_ack(tc, ack)) {
            a->guessed++;
            return;
        }
    }
    p->tsval = (uint32_t)(wire_random(&p->w)); /* what he cannot know either */
    uint32_t n = peer_frame(p, frame, flags, seq, flags & PEER_ACK ? ack : 0, junk, len);
    wire_inject(&p->w, p->stack->id, frame, n, 0);
    a->sent[kind]++;
}

/* The true peer's next octets, and an ACK of ours. */
static void true_traffic(struct attack *a, uint32_t ts_base)
{
    struct peer *p = &a->p;
    p->tsval = ts_base + (uint32_t)(p->w.now_ns / WIRE_MS);
    while (p->got_at < p->got_len)
        peer_get(p);
    p->got_at = p->got_len = 0;
    peer_data(p, peer_octets(a->peer_sent % 60000), 50);
    a->peer_sent += 50;
    if (a->app_sent < a->peer_sent) {
        peer_app_write(p, 40);
        a->app_sent += 40;
    }
}

static void run(bool ts, bool sack, const char *name)
{
    struct attack *a = calloc(1, sizeof(*a));
    assert_non_null(a);
    struct peer *p = &a->p;
    peer_up(p, NULL);
    p->sack = sack;
    peer_handshake(p, 1460, ts ? 7 : -1, ts);
    uint32_t ts_base = 5000 - (uint32_t)(p->w.now_ns / WIRE_MS);
    uint64_t start = p->w.now_ns;
    for (uint64_t i = 0; i < packets; i += BURST) {
        if (i % 1024 == 0 && a->peer_sent < 60000)
            true_traffic(a, ts_base);
        for (unsigned k = 0; k < BURST; k++)
            forge(a, (unsigned)((i + k) % 3));
        p->w.now_ns += BURST * 1000;
        wire_turn(&p->w);
        if (p->got_len > 2000)
            p->got_len = p->got_at = 0;
        assert_false(p->s->closed);
    }
    assert_string_equal(tcp_state_name(p->s->tc->state), "ESTABLISHED");
    assert_int_equal(p->s->rx_seen, a->peer_sent);
    assert_false(p->s->mismatch);
    assert_false(p->s->peer_closed);
    assert_int_equal(p->s->tc->ooo_bytes, 0);
    assert_int_equal(p->stack->stats.tcp_in_rsts, 0);
    assert_int_equal(p->stack->stats.tcp_estab_resets, 0);
    uint64_t seconds = (p->w.now_ns - start) / WIRE_SEC + 1;
    assert_true(p->stack->stats.tcp_challenge_acks <= seconds * LIMIT_TCP_CHALLENGE_PER_S);
    print_message(
        "%s: %llu RST, %llu SYN, %llu data; 0 resets, 0 octets in; %llu guesses left out\n", name,
        (unsigned long long)a->sent[0], (unsigned long long)a->sent[1],
        (unsigned long long)a->sent[2], (unsigned long long)a->guessed);
    peer_down(p);
    free(a);
}

static void test_plain(void **state)
{
    (void)state;
    run(false, false, "plain");
}
static void test_sack(void **state)
{
    (void)state;
    run(false, true, "SACK");
}
static void test_timestamps(void **state)
{
    (void)state;
    run(true, false, "timestamps");
}
static void test_all_options(void **state)
{
    (void)state;
    run(true, true, "timestamps and SACK");
}

/* The counter-proof: what the attack would need. Guessed exactly, each of the three works. */
static void test_a_seeing_peer_can(void **state)
{
    (void)state;
    struct peer p;
    peer_up(&p, NULL);
    peer_handshake(&p, 1460, -1, false);
    peer_data(&p, peer_octets(0), 10);
    assert_int_equal(p.s->rx_seen, 10);
    peer_seg(&p, PEER_RST, p.seq, 0, NULL, 0);
    assert_true(p.s->closed);
    peer_down(&p);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_plain),
        cmocka_unit_test(test_sack),
        cmocka_unit_test(test_timestamps),
        cmocka_unit_test(test_all_options),
        cmocka_unit_test(test_a_seeing_peer_can),
    };
    if (argc > 1)
        packets = strtoull(argv[1], NULL, 0);
    if (wire_eal_init())
        return 1;
    int rc = cmocka_run_group_tests(tests, NULL, NULL);
    if (!rc)
        printf("4 connections, %llu blind segments each: 0 resets, 0 octets in\n",
               (unsigned long long)packets);
    return rc;
}
