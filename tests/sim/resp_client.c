/* resp_client: see resp_client.h. */
#include "tests/sim/resp_client.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#define VALUE_MAX (200 * 1024)

/* ---- bytes ---- */

static void put(struct client_bytes *b, const void *p, size_t n)
{
    if (b->off && b->len + n > b->cap) {
        memmove(b->p, b->p + b->off, b->len - b->off);
        b->len -= b->off;
        b->off = 0;
    }
    if (b->len + n > b->cap) {
        b->cap = b->cap * 2 > b->len + n ? b->cap * 2 : b->len + n + 256;
        b->p = realloc(b->p, b->cap);
        CHECK(b->p);
    }
    if (n)
        memcpy(b->p + b->len, p, n);
    b->len += n;
}

static void put_text(struct client_bytes *b, const char *s)
{
    put(b, s, strlen(s));
}

static void put_number(struct client_bytes *b, char kind, int64_t v)
{
    char line[32];
    put(b, line, (size_t)snprintf(line, sizeof(line), "%c%" PRId64 "\r\n", kind, v));
}

static void put_bulk(struct client_bytes *b, const void *p, size_t n)
{
    put_number(b, '$', (int64_t)n);
    put(b, p, n);
    put(b, "\r\n", 2);
}

/* ---- requests and the model ---- */

static void arg_text(struct client *c, const char *s)
{
    put_bulk(&c->out, s, strlen(s));
}

static void arg_key(struct client *c, unsigned k)
{
    char name[32];
    int n = snprintf(name, sizeof(name), "c%u:%u", c->id, k);
    put_bulk(&c->out, name, (size_t)n);
}

/* A new value: mostly short, sometimes of several segments, seldom one that the parser streams. */
static void random_value(struct client *c, struct client_bytes *v)
{
    struct sim *s = c->sim;
    uint64_t n = sim_between(s, 0, 1u << sim_between(s, 0, 12));
    if (sim_chance(s, c->big_ppm))
        n = sim_between(s, 20000, VALUE_MAX);
    uint64_t word = sim_random(s);
    v->off = v->len = 0;
    for (uint64_t i = 0; i < n; i += 8, word = word * 0x9e3779b97f4a7c15ull + 1)
        put(v, &word, n - i < 8 ? n - i : 8);
}

static void expect_value(struct client *c, const struct client_value *v)
{
    if (v->set)
        put_bulk(&c->expect, v->v.p, v->v.len);
    else
        put_text(&c->expect, "$-1\r\n");
}

static void set_value(struct client_value *to, const struct client_bytes *v)
{
    to->v.off = to->v.len = 0;
    put(&to->v, v->p, v->len);
    to->set = true;
}

static void ask_one_key(struct client *c, uint64_t what, unsigned k)
{
    static struct client_bytes value;
    struct client_value *v = &c->key[k];
    put_number(&c->out, '*', what == 0 || what == 2 ? 3 : 2);
    switch (what) {
    case 0:
        random_value(c, &value);
        arg_text(c, "SET");
        arg_key(c, k);
        put_bulk(&c->out, value.p, value.len);
        set_value(v, &value);
        put_text(&c->expect, "+OK\r\n");
        return;
    case 1:
        arg_text(c, "get");
        arg_key(c, k);
        expect_value(c, v);
        return;
    case 2:
        random_value(c, &value);
        arg_text(c, "APPEND");
        arg_key(c, k);
        put_bulk(&c->out, value.p, value.len);
        if (!v->set)
            v->v.off = v->v.len = 0;
        put(&v->v, value.p, value.len);
        v->set = true;
        put_number(&c->expect, ':', (int64_t)v->v.len);
        return;
    case 3:
        arg_text(c, "STRLEN");
        arg_key(c, k);
        put_number(&c->expect, ':', v->set ? (int64_t)v->v.len : 0);
        return;
    default:
        arg_text(c, "INCR");
        arg_key(c, CLIENT_KEYS);
        put_number(&c->expect, ':', ++c->counter);
        return;
    }
}

static void ask_many_keys(struct client *c, uint64_t what)
{
    static struct client_bytes value;
    struct sim *s = c->sim;
    unsigned n = (unsigned)sim_between(s, 1, 12), k;
    int64_t count = 0;
    bool any = false;
    if (what == 0 || what == 4) { /* MSET, MSETNX */
        unsigned key[12];
        for (unsigned i = 0; i < n; i++)
            any |= c->key[key[i] = (unsigned)(sim_random(s) % CLIENT_KEYS)].set;
        put_number(&c->out, '*', 1 + 2 * (int64_t)n);
        arg_text(c, what ? "MSETNX" : "MSET");
        for (unsigned i = 0; i < n; i++) {
            random_value(c, &value);
            arg_key(c, key[i]);
            put_bulk(&c->out, value.p, value.len);
            if (!what || !any)
                set_value(&c->key[key[i]], &value);
        }
        put_text(&c->expect, !what ? "+OK\r\n" : any ? ":0\r\n" : ":1\r\n");
        return;
    }
    put_number(&c->out, '*', 1 + (int64_t)n);
    arg_text(c, what == 1 ? "MGET" : what == 2 ? "DEL" : "EXISTS");
    if (what == 1)
        put_number(&c->expect, '*', n);
    for (unsigned i = 0; i < n; i++) {
        arg_key(c, k = (unsigned)(sim_random(s) % CLIENT_KEYS));
        count += c->key[k].set;
        if (what == 1)
            expect_value(c, &c->key[k]);
        if (what == 2)
            c->key[k].set = false;
    }
    if (what != 1)
        put_number(&c->expect, ':', count);
}

static void ask_rename(struct client *c, unsigned from, unsigned to)
{
    put_number(&c->out, '*', 3);
    arg_text(c, "RENAME");
    arg_key(c, from);
    arg_key(c, to);
    if (!c->key[from].set) {
        put_text(&c->expect, "-ERR no such key\r\n");
        return;
    }
    put_text(&c->expect, "+OK\r\n");
    if (from == to)
        return;
    set_value(&c->key[to], &c->key[from].v);
    c->key[from].set = false;
}

static void ask(struct client *c)
{
    struct sim *s = c->sim;
    size_t before = c->expect.len - c->expect.off;
    uint64_t kind = sim_random(s) % 20;
    unsigned k = (unsigned)(sim_random(s) % CLIENT_KEYS);
    if (kind < 12)
        ask_one_key(c, kind % 5, k);
    else if (kind < 17)
        ask_many_keys(c, kind - 12);
    else if (kind == 17)
        ask_rename(c, k, (unsigned)(sim_random(s) % CLIENT_KEYS));
    else if (kind == 18) {
        put_text(&c->out, "PING\r\n"); /* inline */
        put_text(&c->expect, "+PONG\r\n");
    } else {
        put_number(&c->out, '*', 2);
        arg_text(c, "ECHO");
        put_bulk(&c->out, &c->asked, sizeof(c->asked));
        put_bulk(&c->expect, &c->asked, sizeof(c->asked));
    }
    c->expect_total += c->expect.len - c->expect.off - before;
    c->out_end[c->asked++ % ARRAY_LEN(c->out_end)] = c->expect_total;
}

/* ---- the connection ---- */

static void pump(struct client *c)
{
    while (c->open && c->tc && !c->silent) {
        if (c->out.off == c->out.len) {
            if (c->asked < c->commands && c->asked - c->answered < c->depth) {
                ask(c);
            } else if (c->asked == c->commands && c->how == END_QUIT && !c->quit_said) {
                c->quit_said = true;
                put_text(&c->out, "QUIT\r\n");
                put_text(&c->expect, "+OK\r\n");
            } else {
                break;
            }
        }
        size_t room, left = c->out.len - c->out.off;
        uint8_t *p = tcp_tx_reserve(c->tc, &room);
        if (!p)
            return;
        room = room < left ? room : left;
        memcpy(p, c->out.p + c->out.off, room);
        tcp_tx_commit(c->tc, room);
        c->out.off += room;
    }
    if (c->open && c->tc && c->how == END_CLOSE && c->answered == c->commands && !c->held &&
        !c->close_said) {
        c->close_said = true;
        tcp_close(c->tc);
    }
}

static void client_abort(struct client *c)
{
    struct tcp_conn *tc = c->tc;
    c->closed = true;
    c->tc = NULL;
    tcp_abort(tc);
}

/* ABORT, VANISH, STUCK: is it time? True: the client is gone. */
static bool end_in_the_middle(struct client *c)
{
    if (c->how < END_ABORT || c->answered < c->end_after)
        return false;
    if (c->how == END_ABORT) {
        client_abort(c);
        return true;
    }
    if (c->how == END_VANISH)
        c->silent = true;
    else if (!c->abort_ns)
        c->abort_ns = c->sim->now_ns + sim_random(c->sim) % (400 * SIM_SEC);
    return false;
}

static void on_connected(void *cookie, struct tcp_conn *tc, int err)
{
    struct client *c = cookie;
    sim_mix(c->sim, (uint64_t)c->id << 32 ^ (uint64_t)err);
    if (err) {
        c->err = err;
        c->closed = true;
        c->tc = NULL;
        return;
    }
    c->tc = tc;
    c->open = true;
    if (!end_in_the_middle(c))
        pump(c);
}

static void on_received(void *cookie, const uint8_t *p, size_t n)
{
    struct client *c = cookie;
    size_t due = c->expect.len - c->expect.off;
    SIM_CHECK(c->sim, n <= due, "client %u: %zu octets of reply, %zu are due", c->id, n, due);
    const uint8_t *want = c->expect.p + c->expect.off;
    for (size_t i = 0; memcmp(p, want, n) != 0; i++)
        SIM_CHECK(c->sim, p[i] == want[i],
                  "client %u: octet %zu of a reply is %02x, not %02x: %.*s", c->id, i, p[i],
                  want[i], (int)(n < 80 ? n : 80), (const char *)p);
    c->expect.off += n;
    c->got_total += n;
    while (c->answered < c->asked &&
           c->out_end[c->answered % ARRAY_LEN(c->out_end)] <= c->got_total)
        c->answered++;
    if (end_in_the_middle(c))
        return;
    if (c->drain_bytes || c->abort_ns) {
        c->held += n;
        tcp_rx_hold(c->tc, c->held);
        if (c->drain_next_ns == UINT64_MAX)
            c->drain_next_ns = c->sim->now_ns + c->drain_every_ns;
    }
    if (!c->abort_ns)
        pump(c);
}

static void on_peer_closed(void *cookie)
{
    struct client *c = cookie;
    SIM_CHECK(c->sim, c->quit_said || c->close_said, "client %u: closed by the server", c->id);
    SIM_CHECK(c->sim, c->expect.off == c->expect.len, "client %u: closed with %zu octets due",
              c->id, c->expect.len - c->expect.off);
    c->held = 0;
    tcp_rx_hold(c->tc, 0);
    c->close_said = true;
    tcp_close(c->tc);
}

static void on_writable(void *cookie)
{
    pump(cookie);
}

static void on_closed(void *cookie, int err)
{
    struct client *c = cookie;
    sim_mix(c->sim, (uint64_t)c->id << 40 ^ (uint64_t)err);
    c->closed = true;
    c->err = err;
    c->tc = NULL;
}

const struct tcp_app *client_app(void)
{
    static const struct tcp_app app = {.connected = on_connected,
                                       .received = on_received,
                                       .peer_closed = on_peer_closed,
                                       .writable = on_writable,
                                       .closed = on_closed};
    return &app;
}

void client_start(struct client *c, uint32_t server_ip, uint16_t server_port)
{
    c->started = true;
    c->tc = tcp_connect_to(c->node->net, sim_address(c->sim, server_ip), server_port, c->port, c,
                           c->sim->now_ns);
    SIM_CHECK(c->sim, c->tc != NULL, "client %u: no record", c->id);
}

uint64_t client_step(struct client *c, uint64_t now)
{
    uint64_t next = UINT64_MAX;
    if (!c->tc)
        return next;
    if (c->abort_ns) {
        if (c->abort_ns > now)
            return c->abort_ns;
        client_abort(c);
        return next;
    }
    if (!c->held || !c->drain_bytes)
        return next;
    if (c->drain_next_ns <= now) {
        c->held -= c->held < c->drain_bytes ? c->held : c->drain_bytes;
        tcp_rx_hold(c->tc, c->held);
        c->drain_next_ns = c->held ? now + c->drain_every_ns : UINT64_MAX;
        pump(c);
    }
    return c->held ? c->drain_next_ns : next;
}

void client_plan(struct client *c, struct sim *s, struct sim_node *node, uint32_t id, uint16_t port)
{
    *c = (struct client){.sim = s,
                         .node = node,
                         .id = id,
                         .port = port,
                         .start_ns = SIM_START + sim_random(s) % (20 * SIM_MS),
                         .commands = (uint32_t)sim_between(s, 0, 120),
                         .depth = (uint32_t)sim_between(s, 1, 1u << sim_between(s, 0, 6)),
                         .how = sim_random(s) % 3 ? (enum client_end)(sim_random(s) % 2)
                                                  : (enum client_end)(sim_random(s) % END_KINDS),
                         .big_ppm = sim_random(s) % 4 ? 0 : 20000,
                         .drain_next_ns = UINT64_MAX};
    c->end_after = (uint32_t)sim_between(s, 0, c->commands);
    if (sim_random(s) % 5 == 0) {
        c->drain_bytes = sim_between(s, 100, 100000);
        c->drain_every_ns = sim_between(s, 10, 5000) * SIM_US;
    }
}

void client_free(struct client *c)
{
    free(c->out.p);
    free(c->expect.p);
    for (unsigned k = 0; k < CLIENT_KEYS; k++)
        free(c->key[k].v.p);
}
