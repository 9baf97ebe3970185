/* Every cell of matrix_table.h, each on a connection of its own: brings a connection into the state, sends the segment, compares the
 * reply, the next state and what the application saw. Three times: as numbers come, with the peer's numbers wrapping inside the
 * window, and with ours wrapping at the segment that is acknowledged. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "dataplane/net/tcp_internal.h"
#include "tests/tcp/matrix_table.h"
#include "tests/unit/net/check.h"
#include "tests/unit/net/peer.h"

#define TEXT 100u

enum variant { PLAIN, PEER_WRAPS, WE_WRAP, VARIANTS };

static const struct {
    const char *name;
    uint8_t flags;
    uint32_t len; /* SEG.LEN */
} kinds[KINDS] = {
    [SYN] = {"SYN", PEER_SYN, 1},
    [SYNACK] = {"SYN,ACK", PEER_SYN | PEER_ACK, 1},
    [ACK] = {"ACK", PEER_ACK, 0},
    [RST] = {"RST", PEER_RST, 0},
    [RSTACK] = {"RST,ACK", PEER_RST | PEER_ACK, 0},
    [FIN] = {"FIN", PEER_FIN, 1},
    [FINACK] = {"FIN,ACK", PEER_FIN | PEER_ACK, 1},
    [DATA] = {"data", PEER_ACK | PEER_PSH, TEXT},
    [NONE] = {"no flags", 0, 0},
};
static const char *const places[PLACES] = {"left", "edge", "inside", "last", "right"};
static const char *const ack_places[ACK_PLACES] = {"stale", "oldest", "una", "nxt", "future"};

/* One connection under test. */
struct cell {
    struct peer *p;
    char name[96];
    uint32_t iss, irs, rcv_nxt, edge; /* of the stack: edge: right edge that it offered */
    uint32_t snd_una, snd_nxt;
    bool iss_known;
    unsigned from;     /* first of p->got that is about the cell */
    unsigned accepted; /* streams before it */
};

static struct tcp_conn *record(const struct peer *p)
{
    struct net *net = p->stack->net;
    for (uint32_t i = 0; i < net->cfg.max_conns; i++) {
        struct tcp_conn *tc = &net->conns[i];
        if (tc->net && tc->state != TCP_CLOSED && tc->key.peer_port == p->port &&
            tc->key.local_port == p->stack_port)
            return tc;
    }
    return NULL;
}

static const char *state_now(const struct peer *p)
{
    const struct tcp_conn *tc = record(p);
    return tc ? tcp_state_name(tc->state) : "CLOSED";
}

/* What the stack has said on the wire so far is what the cell is measured by. */
static void learn_numbers(struct cell *c, unsigned from)
{
    struct peer *p = c->p;
    for (unsigned i = from; i < p->got_len; i++) {
        const struct pkt *k = &p->got[i];
        if (k->flags & PEER_RST)
            continue;
        if ((k->flags & PEER_SYN) && !c->iss_known) {
            c->iss_known = true;
            c->iss = k->seq;
            c->snd_una = k->seq;
            c->snd_nxt = k->seq;
        }
        uint32_t end = k->seq + k->len + !!(k->flags & PEER_SYN) + !!(k->flags & PEER_FIN);
        if (seq_lt(c->snd_nxt, end))
            c->snd_nxt = end;
        if (k->flags & PEER_ACK) {
            c->rcv_nxt = k->ack;
            c->edge = k->ack + k->wnd;
        }
    }
    p->got_at = p->got_len;
    p->ack = c->snd_nxt;
}

static void send(struct cell *c, uint8_t flags, uint32_t seq, uint32_t ack, uint32_t len)
{
    peer_seg(c->p, flags, seq, flags & PEER_ACK ? ack : 0, peer_octets(0), len);
}

/* ISS near the top: RFC 6528's clock gives any number if one waits for it. */
static void wait_for_isn(struct peer *p, uint32_t target)
{
    struct net *net = p->stack->net;
    struct ip_addr peer = peer_addr(p);
    struct flow_key key = {ip_v4(peer), net->cfg.ip, p->port, p->stack_port};
    if (p->v6) {
        key.peer_ip = flow_peer6(&net->flow, peer);
        key.local_ip = (uint32_t)ip6_local_find(net, wire_ip6(p->stack_ip));
    }
    net_set_now(net, p->w.now_ns);
    uint32_t ticks = target - tcp_isn(net, &key, peer);
    peer_wait(p, (uint64_t)ticks << 12);
    net_neigh_learn(net, peer, p->mac, p->w.now_ns);
}

/* Brings a new connection into the state. */
static void enter(struct cell *c, const char *state, bool active, bool listens)
{
    struct peer *p = c->p;
    unsigned from = p->got_len = p->got_at = 0;
    bool opens = active || strcmp(state, "SYN_SENT") == 0;
    c->accepted = p->app->used;
    p->stack_port = opens ? 5555 : listens ? 6379 : 7;
    c->irs = p->seq;
    p->s = NULL;
    if (strcmp(state, "CLOSED") == 0)
        return;
    if (opens) {
        p->s = &p->app->stream[p->app->used++];
        *p->s = (struct stream){.tx_seed = 3, .rx_seed = 5, .host = p->stack};
        p->s->tc =
            tcp_connect_to(p->stack->net, peer_addr(p), p->port, p->stack_port, p->s, p->w.now_ns);
        wire_turn(&p->w);
        c->accepted++;
    }
    if (!opens || active)
        send(c, PEER_SYN, c->irs, 0, 0);
    learn_numbers(c, from);
    if (strcmp(state, "SYN_SENT") == 0 || strcmp(state, "SYN_RCVD") == 0)
        return;
    send(c, PEER_ACK, c->rcv_nxt, c->snd_nxt, 0);
    c->snd_una = c->snd_nxt;
    p->s = &p->app->stream[p->app->used - 1];
    bool peer_first = strcmp(state, "CLOSE_WAIT") == 0 || strcmp(state, "LAST_ACK") == 0;
    bool we_first = !peer_first && strcmp(state, "ESTABLISHED") != 0;
    if (peer_first)
        send(c, PEER_FIN | PEER_ACK, c->rcv_nxt, c->snd_nxt, 0);
    if (we_first || strcmp(state, "LAST_ACK") == 0) {
        tcp_close(p->s->tc);
        wire_turn(&p->w);
    }
    learn_numbers(c, from);
    if (strcmp(state, "CLOSING") == 0)
        send(c, PEER_FIN | PEER_ACK, c->rcv_nxt, c->snd_una, 0);
    if (strcmp(state, "FIN_WAIT_2") == 0 || strcmp(state, "TIME_WAIT") == 0) {
        send(c, PEER_ACK, c->rcv_nxt, c->snd_nxt, 0);
        c->snd_una = c->snd_nxt;
    }
    if (strcmp(state, "TIME_WAIT") == 0)
        send(c, PEER_FIN | PEER_ACK, c->rcv_nxt, c->snd_nxt, 0);
    learn_numbers(c, from);
}

#define CELL_TRUE(c, x)                                                                          \
    do {                                                                                         \
        if (!(x))                                                                                \
            fail_msg("%s: not %s (sent %u segments, first flags %02x seq %u ack %u)", (c)->name, \
                     #x, (c)->p->got_len - (c)->from,                                            \
                     (c)->p->got_len > (c)->from ? (c)->p->got[(c)->from].flags : 0u,            \
                     (c)->p->got_len > (c)->from ? (c)->p->got[(c)->from].seq : 0u,              \
                     (c)->p->got_len > (c)->from ? (c)->p->got[(c)->from].ack : 0u);             \
    } while (0)

static bool is_ack(const struct pkt *k, uint32_t seq, uint32_t ack)
{
    return k->flags == PEER_ACK && k->seq == seq && k->ack == ack && !k->len;
}

/* The reply as the cell asks. next_rcv: RCV.NXT afterwards. */
static void check_reply(struct cell *c, const char *want, uint32_t seq, uint32_t ack,
                        enum kind kind, uint32_t next_rcv)
{
    struct peer *p = c->p;
    unsigned n = p->got_len - c->from;
    const struct pkt *k = &p->got[c->from];
    size_t len = strcspn(want, ">");
    if (strncmp(want, "-", len) == 0) {
        CELL_TRUE(c, n == 0);
    } else if (len == 4 && memcmp(want, "ack?", 4) == 0) {
        CELL_TRUE(c, n == 0 || (n == 1 && is_ack(k, c->snd_nxt, next_rcv)));
    } else if (len == 3 && memcmp(want, "ack", 3) == 0) {
        CELL_TRUE(c, n == 1 && is_ack(k, c->snd_nxt, next_rcv));
    } else if (len == 3 && memcmp(want, "dly", 3) == 0) {
        if (!n)
            peer_wait(p, 500 * WIRE_MS);
        CELL_TRUE(c, p->got_len - c->from == 1 && is_ack(k, c->snd_nxt, next_rcv));
    } else if (len == 3 && memcmp(want, "rst", 3) == 0) {
        CELL_TRUE(c, n == 1 && !k->len);
        if (kinds[kind].flags & PEER_ACK)
            CELL_TRUE(c, k->flags == PEER_RST && k->seq == ack);
        else
            CELL_TRUE(c, k->flags == (PEER_RST | PEER_ACK) && k->seq == 0 &&
                             k->ack == seq + kinds[kind].len);
    } else if (len == 5 && memcmp(want, "abort", 5) == 0) {
        CELL_TRUE(c, n == 1 && (k->flags & ~PEER_ACK) == PEER_RST && k->seq == c->snd_nxt);
    } else if (len == 6 && memcmp(want, "synack", 6) == 0) {
        bool is_new = strchr(want, '>') && c->p->stack_port != 5555;
        CELL_TRUE(c, n == 1 && k->flags == (PEER_SYN | PEER_ACK) && k->ack == seq + 1);
        if (!is_new)
            CELL_TRUE(c, k->seq == c->iss);
    } else {
        fail_msg("%s: the table says %s", c->name, want);
    }
}

/* What the application must have heard. */
static void check_application(struct cell *c, const char *state, const char *next, bool text,
                              enum kind kind)
{
    struct peer *p = c->p;
    bool synchronized = strcmp(state, "CLOSED") != 0 && strncmp(state, "SYN_", 4) != 0;
    if (strncmp(state, "SYN_", 4) == 0 && p->stack_port == 6379) {
        bool open = strcmp(next, "ESTABLISHED") == 0 || strcmp(next, "CLOSE_WAIT") == 0;
        CELL_TRUE(c, p->app->used == c->accepted + open);
        if (open)
            p->s = &p->app->stream[p->app->used - 1];
    } else {
        CELL_TRUE(c, p->app->used == c->accepted + synchronized * (p->stack_port == 6379));
    }
    if (!p->s)
        return;
    CELL_TRUE(c, p->s->rx_seen == (text ? TEXT : 0));
    CELL_TRUE(c, !p->s->mismatch);
    bool rst = kind == RST || kind == RSTACK;
    if (rst && strcmp(next, "CLOSED") == 0 && synchronized) {
        /* 3.10.7.4 second: in CLOSING, LAST-ACK and TIME-WAIT the user has nothing left to lose. */
        bool quiet = strcmp(state, "CLOSING") == 0 || strcmp(state, "LAST_ACK") == 0 ||
                     strcmp(state, "TIME_WAIT") == 0;
        CELL_TRUE(c, p->s->closed && p->s->err == (quiet ? 0 : -ECONNRESET));
    }
    if (rst && strcmp(next, "CLOSED") == 0 && p->stack_port == 5555)
        CELL_TRUE(c, p->s->closed && p->s->connect_err == -ECONNREFUSED);
}

/* Sends the cell's segment and compares. */
static void run_cell(struct cell *c, const char *state, const char *want, enum kind kind,
                     uint32_t seq, uint32_t ack, bool in_order)
{
    struct peer *p = c->p;
    const char *arrow = strchr(want, '>'), *next = arrow ? arrow + 1 : state;
    uint32_t next_rcv = c->rcv_nxt;
    bool text = strncmp(want, "dly", 3) == 0;
    if (strcmp(state_now(p), state) != 0)
        fail_msg("%s: the state is %s", c->name, state_now(p));
    if (strcmp(state, "SYN_SENT") == 0)
        next_rcv = seq + 1;
    else if (text)
        next_rcv += TEXT;
    else if (kind == FINACK && in_order && arrow && strcmp(next, "CLOSED") != 0 &&
             strcmp(state, "CLOSING") != 0)
        next_rcv++;
    c->from = p->got_len;
    send(c, kinds[kind].flags, seq, ack, kind == DATA ? TEXT : 0);
    check_reply(c, want, seq, ack, kind, next_rcv);
    if (strcmp(state_now(p), next) != 0)
        fail_msg("%s: went to %s, not %s", c->name, state_now(p), next);
    check_application(c, state, next, text, kind);
}

static void leave(struct peer *p)
{
    struct tcp_conn *tc = record(p);
    if (tc) {
        tcp_conn_kill(tc, 0, false);
        net_input_done(p->stack->net);
        wire_turn(&p->w);
    }
    p->port++;
}

static void set_variant(struct peer *p, enum variant v, uint32_t wrap_at)
{
    p->seq = v == PEER_WRAPS ? wrap_at : 0x30000000;
    if (v == WE_WRAP)
        wait_for_isn(p, UINT32_MAX);
}

static uint32_t place_seq(const struct cell *c, bool window, enum kind kind, enum place at)
{
    static const uint32_t any[PLACES] = {0, 1, 0x7fffffff, 0x80000000, UINT32_MAX};
    uint32_t wnd = c->edge - c->rcv_nxt;
    if (!window)
        return any[at];
    switch (at) {
    case LEFT: return c->rcv_nxt - (kinds[kind].len ? kinds[kind].len : 1);
    case EDGE: return c->rcv_nxt;
    case INSIDE: return c->rcv_nxt + wnd / 2;
    case LAST: return c->edge - 1;
    default: return c->edge;
    }
}

static void tune(struct net_config *c)
{
    c->max_conns = 64;
    c->rcv_buf_bytes = 32768;
}

static unsigned cells, all_cells;

static void run_state(const struct matrix *m, enum variant v)
{
    struct peer p;
    bool window = strcmp(m->state, "CLOSED") != 0 && strcmp(m->state, "SYN_SENT") != 0;
    peer_up(&p, tune);
    net_neigh_learn(p.stack->net, peer_addr(&p), p.mac, p.w.now_ns);
    for (enum kind kind = 0; kind < KINDS; kind++) {
        for (enum place at = 0; at < PLACES; at++, cells++) {
            struct cell c = {.p = &p};
            snprintf(c.name, sizeof(c.name), "%s, %s, %s, variant %d", m->label, kinds[kind].name,
                     places[at], (int)v);
            p.stack_port = m->active || strcmp(m->state, "SYN_SENT") == 0 ? 5555 : 6379;
            set_variant(&p, v, 0u - 16000);
            enter(&c, m->state, m->active, strcmp(m->label, "LISTEN") == 0 || window);
            if (window)
                CELL_TRUE(&c, c.edge - c.rcv_nxt > 1000 && c.edge - c.rcv_nxt <= 32768);
            run_cell(&c, m->state, m->cell[kind][at], kind, place_seq(&c, window, kind, at),
                     c.snd_nxt, at == EDGE);
            leave(&p);
        }
    }
    peer_down(&p);
}

static void test_states(void **state)
{
    (void)state;
    for (enum variant v = 0; v < VARIANTS; v++) {
        unsigned before = cells;
        for (size_t i = 0; i < ARRAY_LEN(matrix); i++)
            run_state(&matrix[i], v);
        assert_true(cells - before >= 495);
    }
    all_cells += cells;
    print_message("%u cells of states, segments and places in the window\n", cells);
}

static void run_acks(const struct ack_matrix *m, enum variant v)
{
    struct peer p;
    peer_up(&p, tune);
    net_neigh_learn(p.stack->net, peer_addr(&p), p.mac, p.w.now_ns);
    for (enum ack_place at = 0; at < ACK_PLACES; at++, cells++) {
        struct cell c = {.p = &p};
        snprintf(c.name, sizeof(c.name), "%s%s, %s, ACK %s, variant %d", m->state,
                 m->active ? " active" : "", kinds[m->kind].name, ack_places[at], (int)v);
        p.stack_port = m->active || strcmp(m->state, "SYN_SENT") == 0 ? 5555 : 6379;
        set_variant(&p, v, UINT32_MAX);
        enter(&c, m->state, m->active, true);
        const uint32_t ack[ACK_PLACES] = {c.snd_una - 0xffff - 1, c.snd_una - 0xffff, c.snd_una,
                                          c.snd_nxt, c.snd_nxt + 1};
        uint32_t seq = strcmp(m->state, "SYN_SENT") == 0 ? 77 : c.rcv_nxt;
        run_cell(&c, m->state, m->cell[at], m->kind, seq, ack[at], true);
        leave(&p);
    }
    peer_down(&p);
}

static void test_acknowledgments(void **state)
{
    (void)state;
    cells = 0;
    for (enum variant v = 0; v < VARIANTS; v++) {
        for (size_t i = 0; i < ARRAY_LEN(ack_matrix); i++)
            run_acks(&ack_matrix[i], v);
    }
    all_cells += cells;
    print_message("%u cells of states, segments and acknowledgments\n", cells);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_states),
        cmocka_unit_test(test_acknowledgments),
    };
    if (wire_eal_init())
        return 1;
    int rc = cmocka_run_group_tests(tests, NULL, NULL);
    printf("%u cells in %d variants\n", all_cells, (int)VARIANTS);
    return rc;
}
