/* See cluster.h. */
#include "dataplane/bench/cluster.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "dataplane/bench/load.h"
#include "engine/base/assert.h"
#include "engine/base/crc.h"

#define HOST_CHARS 64

/* ---- CLUSTER SLOTS: [[first, last, [host, port, ...], ...], ...] ---- */

struct cursor {
    const uint8_t *p, *end;
    bool bad;
};

/* The number of a header of that kind; what follows it is next. */
static int64_t head(struct cursor *c, char kind)
{
    const uint8_t *lf = c->bad ? NULL : memchr(c->p, '\n', (size_t)(c->end - c->p));
    if (!lf || *c->p != (uint8_t)kind) {
        c->bad = true;
        return 0;
    }
    int64_t v = strtoll((const char *)c->p + 1, NULL, 10); /* ends at the CR */
    c->p = lf + 1;
    return v;
}

static void text(struct cursor *c, char *to, size_t cap)
{
    int64_t n = head(c, '$');
    *to = 0;
    if (n < 0) /* no address: the one that was asked */
        return;
    if (c->bad || n + 2 > c->end - c->p) {
        c->bad = true;
        return;
    }
    snprintf(to, cap, "%.*s", (int)(n < HOST_CHARS ? n : HOST_CHARS), (const char *)c->p);
    c->p += n + 2;
}

/* Whatever stands there. */
static void pass(struct cursor *c)
{
    struct skip s;
    skip_init(&s);
    if (!c->bad && skip_reply(&s, &c->p, c->end) != SKIP_REPLY)
        c->bad = true;
}

static int node_at(struct load *l, const char *host, int64_t port)
{
    int t = 0;
    if (port < 1 || port > 65535)
        return -EINVAL;
    t = l->t->ops->target(l->t, host, (uint16_t)port);
    if (t >= CLUSTER_NODES_MOST)
        return -E2BIG;
    if (t >= 0 && (uint32_t)t >= l->cluster->nodes)
        l->cluster->nodes = (uint32_t)t + 1;
    return t;
}

bool cluster_learn(struct load *l, const uint8_t *p, size_t n, char *err, size_t err_len)
{
    struct cursor c = {p, p + n, false};
    int64_t ranges = head(&c, '*');
    for (int64_t i = 0; i < ranges && !c.bad; i++) {
        char host[HOST_CHARS + 1];
        int64_t parts = head(&c, '*'), first = head(&c, ':'), last = head(&c, ':');
        int64_t fields = head(&c, '*');
        text(&c, host, sizeof(host));
        int64_t port = head(&c, ':');
        for (int64_t k = 2; k < fields && !c.bad; k++)
            pass(&c);
        for (int64_t k = 3; k < parts && !c.bad; k++) /* replicas */
            pass(&c);
        if (c.bad || first < 0 || last >= CLUSTER_SLOTS || first > last)
            break;
        int node = node_at(l, host, port);
        if (node < 0) {
            snprintf(err, err_len, "node %s:%lld: %s", host, (long long)port, strerror(-node));
            return false;
        }
        memset(l->cluster->node + first, node, (size_t)(last - first + 1));
    }
    if (c.bad || ranges <= 0)
        snprintf(err, err_len, "CLUSTER SLOTS: %s",
                 c.bad ? "the reply is not understood" : "nobody owns any");
    return !c.bad && ranges > 0;
}

/* ---- sending ---- */

static uint32_t slot_of(const uint8_t *key, size_t n)
{
    const uint8_t *open = memchr(key, '{', n);
    const uint8_t *close = open ? memchr(open, '}', (size_t)(key + n - open)) : NULL;
    if (close && close > open + 1)
        return crc16(open + 1, (size_t)(close - open - 1)) % CLUSTER_SLOTS;
    return crc16(key, n) % CLUSTER_SLOTS;
}

/* The connection to that target, opened when there is none. */
static struct load_client *peer(struct load_client *lead, int target)
{
    struct load *l = lead->load;
    if (!lead->peer[target]) {
        struct load_client *c = calloc(1, sizeof(*c));
        CHECK(c);
        load_client_init(l, c, lead, target);
        lead->peer[target] = c;
        load_connect(c);
    }
    return lead->peer[target];
}

static void send_request(struct load_client *c, struct open_op *of, uint8_t *bytes, size_t n)
{
    struct flight *f = load_flight(c, of);
    f->bytes = bytes;
    f->len = (uint32_t)n;
    load_say(c, bytes, n);
}

static const uint8_t *number(const uint8_t *p, size_t *ret)
{
    for (*ret = 0, p++; *p != '\r'; p++)
        *ret = *ret * 10 + (size_t)(*p - '0');
    return p + 2;
}

void cluster_spread(struct load_client *lead, struct open_op *of, const uint8_t *p, size_t n)
{
    for (const uint8_t *end = p + n, *at = p; at < end;) { /* our own bytes: well formed */
        const uint8_t *key = NULL, *begin = at;
        size_t argc, len, key_len = 0;
        at = number(at, &argc);
        for (size_t i = 0; i < argc; i++) {
            at = number(at, &len);
            if (i == 1) {
                key = at;
                key_len = len;
            }
            at += len + 2;
        }
        size_t bytes = (size_t)(at - begin);
        uint8_t *copy = malloc(bytes);
        CHECK(copy && begin);
        memcpy(copy, begin, bytes);
        int node = key ? lead->load->cluster->node[slot_of(key, key_len)]
                       : lead->load->cluster->node[lead->id * 37 % CLUSTER_SLOTS];
        send_request(peer(lead, node), of, copy, bytes);
    }
}

bool cluster_follow(struct load_client *c)
{
    static const char asking[] = "*1\r\n$6\r\nASKING\r\n";
    struct load *l = c->load;
    struct flight *f = &c->flight[(c->tail - 1) & (l->flights - 1)];
    bool ask = strncmp(c->skip.line, "ASK ", 4) == 0;
    unsigned slot, port;
    char where[HOST_CHARS + 1];
    if (!l->cluster || !f->of || (!ask && strncmp(c->skip.line, "MOVED ", 6) != 0) ||
        sscanf(c->skip.line, "%*s %u %64s", &slot, where) != 2 || slot >= CLUSTER_SLOTS)
        return false;
    char *colon = strrchr(where, ':');
    if (!colon || sscanf(colon + 1, "%u", &port) != 1)
        return false;
    *colon = 0;
    int node = node_at(l, where, port);
    if (node < 0) {
        load_fail(l, "a node that MOVED names", node);
        return true;
    }
    if (!ask)
        l->cluster->node[slot] = (uint8_t)node;
    l->result->redirected++;
    struct load_client *to = peer(c->lead, node);
    if (ask) {
        load_flight(to, NULL);
        load_say(to, (const uint8_t *)asking, sizeof(asking) - 1);
    }
    uint8_t *bytes = f->bytes;
    f->bytes = NULL;
    send_request(to, f->of, bytes, f->len);
    l->t->ops->flush(l->t, to);
    return true;
}
