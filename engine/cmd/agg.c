/* From the replies of the parts of one split command to its one reply.
 *
 * Where in the flow: the router calls agg_begin when it posts the parts, agg_part as each shard's or worker's reply comes back, in any
 * order, and agg_finish when all are there; on the client's home worker. Parts are replies of our own commands in the client's RESP
 * version. One that is not what its kind must be (a reply cut short by memory, or a bug) makes the whole an error; only the elements of
 * joined arrays are taken on trust. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/base/num.h"
#include "engine/cmd/command_table.h"
#include "engine/cmd/gather.h"

static const char malformed[] = "ERR a part of the reply was lost";

void agg_init(struct agg *a, enum cmd_split split, uint8_t resp)
{
    memset(a, 0, sizeof(*a));
    a->split = split;
    a->resp = resp;
    reply_heap_init(&a->to, &a->body, resp);
}

void agg_begin(struct agg *a, const struct cmd_desc *d, const struct span *argv, uint32_t argc,
               uint8_t resp)
{
    agg_init(a, d->split, resp);
    a->desc = d;
    a->kill_one = d == &cmd_table[CMD_client_kill] && argc == 3;
}

static void body_append(struct agg *a, const void *p, size_t n)
{
    reply_raw(&a->to, p, n);
}

static void body_replace(struct agg *a, const void *p, size_t n)
{
    reply_heap_free(&a->body);
    reply_heap_init(&a->to, &a->body, a->resp);
    body_append(a, p, n);
}

/* The first error is kept, as it was; later parts no longer matter. */
static void part_error(struct agg *a, struct span reply)
{
    a->failed = true;
    body_replace(a, reply.p, reply.n);
}

/* The header line of a part: its type, the number behind it and what follows. False: no such line. */
static bool header(struct span reply, uint8_t *type, int64_t *n, struct span *rest)
{
    const uint8_t *lf = reply.n > 3 ? memchr(reply.p, '\n', reply.n) : NULL;
    if (!lf || lf[-1] != '\r')
        return false;
    *type = reply.p[0];
    *rest = span_of(lf + 1, (size_t)(reply.p + reply.n - lf - 1));
    return num_parse_i64(span_of(reply.p + 1, (size_t)(lf - 1 - reply.p - 1)), n);
}

/* The bytes of a bulk string; a verbatim one ("=15\r\ntxt:...") without its prefix. */
static bool part_text(struct agg *a, struct span reply)
{
    uint8_t type;
    int64_t n;
    struct span rest;
    if (!header(reply, &type, &n, &rest) || n < 0 || rest.n != (uint64_t)n + 2)
        return false;
    size_t prefix = type == '=' ? 4 : 0;
    if ((type != '=' && type != '$') || (uint64_t)n < prefix)
        return false;
    body_append(a, rest.p + prefix, (size_t)n - prefix);
    return true;
}

/* The bytes of a bulk string behind their length. */
static bool part_gather(struct agg *a, struct span reply)
{
    uint8_t type;
    int64_t n;
    struct span rest;
    if (!header(reply, &type, &n, &rest) || type != '$' || n < 0 || rest.n != (uint64_t)n + 2)
        return false;
    body_append(a, &(uint64_t){(uint64_t)n}, sizeof(uint64_t));
    body_append(a, rest.p, (size_t)n);
    return true;
}

/* A number for each part, independent of the others even when the caller draws one for all of them (splitmix64). */
static uint64_t part_draw(struct agg *a, uint64_t random)
{
    uint64_t z = random + ++a->elements * 0x9e3779b97f4a7c15;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
    z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
    return z ^ (z >> 31);
}

/* [count, key]: the key replaces the one drawn so far with probability count / all seen so far, so that every key of the database has
 * the same chance whatever the order of the parts. */
static bool part_random(struct agg *a, struct span reply, uint64_t random)
{
    uint8_t type;
    int64_t n, count;
    struct span rest, key;
    if (!header(reply, &type, &n, &rest) || type != '*' || n != 2)
        return false;
    if (!header(rest, &type, &count, &key) || type != ':' || count < 0)
        return false;
    if (count == 0)
        return true;
    if (!header(key, &type, &n, &rest) || type != '$' || n < 0 || rest.n != (uint64_t)n + 2)
        return false;
    a->weight += (uint64_t)count;
    uint64_t drawn = (uint64_t)(((unsigned __int128)part_draw(a, random) * a->weight) >> 64);
    if (drawn < (uint64_t)count)
        body_replace(a, key.p, key.n);
    return true;
}

/* Arrays of [name, count ...], the same names in the same order: body becomes this array with the counts added. */
static bool part_pairs(struct agg *a, struct span reply)
{
    uint8_t type;
    int64_t n, len, count, before;
    struct span rest, old;
    if (!header(reply, &type, &n, &rest) || type != '*' || n < 0)
        return false;
    if (!a->pairs) { /* the first */
        a->pairs = true;
        a->elements = (uint64_t)n;
        body_append(a, rest.p, rest.n);
        return true;
    }
    reply_heap_finish(&a->to, &a->body);
    struct reply_heap sum = {0};
    struct reply r;
    reply_heap_init(&r, &sum, a->resp);
    old = span_of(a->body.p, a->body.len);
    bool good = (uint64_t)n == a->elements;
    for (int64_t i = 0; good && i < n; i += 2) {
        struct span name = rest;
        good = header(rest, &type, &len, &rest) && type == '$' && len >= 0 &&
               rest.n >= (uint64_t)len + 2;
        if (!good)
            break;
        rest = span_of(rest.p + len + 2, rest.n - (size_t)len - 2);
        name.n = (size_t)(rest.p - name.p);
        good = header(rest, &type, &count, &rest) && type == ':' && old.n >= name.n &&
               memcmp(old.p, name.p, name.n) == 0;
        if (!good)
            break;
        old = span_of(old.p + name.n, old.n - name.n);
        good = header(old, &type, &before, &old) && type == ':';
        reply_raw(&r, name.p, name.n);
        reply_int(&r, before + count);
    }
    reply_heap_finish(&r, &sum);
    good &= !r.failed;
    if (good)
        body_replace(a, sum.p, sum.len);
    else
        reply_heap_append(&a->to, &a->body, a->resp);
    reply_heap_free(&sum);
    return good;
}

static int by_bytes(const void *a, const void *b)
{
    return span_cmp(*(const struct span *)a, *(const struct span *)b);
}

/* The bulk strings of body, sorted, each once; returns how many, or -1: no memory. */
static int64_t body_names(const struct agg *a, struct span **ret)
{
    struct span rest = span_of(a->body.p, a->body.len);
    struct span *name = malloc((a->elements + 1) * sizeof(*name));
    uint8_t type;
    int64_t len;
    size_t n = 0, once = 0;
    if (!name)
        return -1;
    while (n < a->elements && header(rest, &type, &len, &rest) && type == '$' && len >= 0 &&
           rest.n >= (uint64_t)len + 2) {
        name[n++] = span_of(rest.p, (size_t)len);
        rest = span_of(rest.p + len + 2, rest.n - (size_t)len - 2);
    }
    qsort(name, n, sizeof(*name), by_bytes);
    for (size_t i = 0; i < n; i++)
        if (i == 0 || !span_eq(name[i], name[once - 1]))
            name[once++] = name[i];
    *ret = name;
    return (int64_t)once;
}

static void finish_names(struct agg *a, struct reply *out)
{
    struct span *name = NULL;
    int64_t n = body_names(a, &name);
    if (n < 0) {
        reply_error(out, malformed);
    } else if (a->split == SPLIT_COUNT) {
        reply_int(out, n);
    } else {
        reply_array(out, (size_t)n);
        for (int64_t i = 0; i < n; i++)
            reply_bulk(out, name[i]);
    }
    free(name);
}

static bool part_add(struct agg *a, struct span reply, uint64_t random)
{
    uint8_t type;
    int64_t n;
    struct span rest;
    switch (a->split) {
    case SPLIT_SUM:
        if (!header(reply, &type, &n, &rest) || type != ':' ||
            __builtin_add_overflow(a->sum, n, &a->sum))
            return false;
        return true;
    case SPLIT_OK: return span_eq(reply, SPAN("+OK\r\n"));
    case SPLIT_PAIRS: return part_pairs(a, reply);
    case SPLIT_CONCAT:
    case SPLIT_UNION:
    case SPLIT_COUNT:
        if (!header(reply, &type, &n, &rest) || (type != '*' && type != '~') || n < 0)
            return false;
        a->elements += (uint64_t)n;
        body_append(a, rest.p, rest.n);
        return true;
    case SPLIT_TEXT: return part_text(a, reply);
    case SPLIT_RANDOM: return part_random(a, reply, random);
    case SPLIT_GATHER: return part_gather(a, reply);
    default:
        return false; /* SPLIT_LEASE has no parts, those of SPLIT_VALUES are joined by who sent them */
    }
}

void agg_part(struct agg *a, struct span reply, uint64_t random)
{
    if (a->failed)
        return;
    if (reply.n && reply.p[0] == '-')
        part_error(a, reply);
    else if (!part_add(a, reply, random))
        a->lost = true;
}

static void finish_error(struct agg *a, struct reply *out)
{
    struct span text = span_of(a->body.p, a->body.len);
    if (text.n < 3 || a->lost) {
        reply_error(out, malformed);
        return;
    }
    reply_error_span(out, span_of(text.p + 1, text.n - 3)); /* without '-' and CRLF */
}

void agg_finish(struct agg *a, struct reply *out)
{
    reply_heap_finish(&a->to, &a->body);
    a->lost |= a->to.failed;
    struct span body = span_of(a->body.p, a->body.len);
    if (a->failed || a->lost) {
        finish_error(a, out);
    } else if (a->kill_one) {
        if (a->sum)
            reply_ok(out);
        else
            reply_error(out, "ERR No such client");
    } else if (a->split == SPLIT_SUM) {
        reply_int(out, a->sum);
    } else if (a->split == SPLIT_OK) {
        reply_ok(out);
    } else if (a->split == SPLIT_UNION || a->split == SPLIT_COUNT) {
        finish_names(a, out);
    } else if (a->split == SPLIT_CONCAT || a->split == SPLIT_PAIRS) {
        reply_array(out, a->elements);
        reply_raw(out, body.p, body.n);
    } else if (a->split == SPLIT_TEXT) {
        reply_verbatim(out, "txt", body);
    } else if (a->split == SPLIT_GATHER) {
        if (!gather_finish(a->desc, body, out))
            reply_error(out, malformed);
    } else if (a->weight) {
        reply_raw(out, body.p, body.n);
    } else {
        reply_null(out);
    }
    agg_free(a);
}

void agg_free(struct agg *a)
{
    reply_heap_free(&a->body);
}
