/* stream_args.c: ids as arguments, entries as replies, errors that the stream commands share. Texts are those of Redis 7.0.15.
 *
 * Where in the flow: the stream commands -> here, on the lease holder's thread. */
#include <errno.h>
#include <stdlib.h>

#include "engine/base/num.h"
#include "engine/cmd/stream_cmd.h"
#include "engine/ds/listpack_inline.h"

#define ID_TEXT_MAX 127 /* longest argument that Redis looks at */
#define ID_CHARS    44  /* two numbers of 20 digits, a dash */

struct stream *stream_put(struct stream_key *sk, struct stream *st)
{
    struct mem_block b = {.p = (uint8_t *)st};
    if (!ks_set_object(sk->k.shard, sk->db, sk->k.key, sk->k.hash, OBJ_STREAM, ENC_STREAM, &b,
                       KS_NO_TTL))
        return NULL;
    sk->st = st;
    return st;
}

/* ---- ids ---- */

/* Digits alone, at most 19: the way ids are written. Returns how many were read; 0: none, or too many. */
static size_t parse_digits(const uint8_t *p, size_t n, uint64_t *ret)
{
    uint64_t v = 0;
    size_t i = 0;
    for (; i < n && (uint8_t)(p[i] - '0') < 10; i++)
        v = v * 10 + (uint8_t)(p[i] - '0');
    *ret = v;
    return i <= 19 ? i : 0;
}

/* What Redis takes for a number here: besides the strict form all that strtoull does, but a plain negative number. */
static bool parse_loose(const char *s, uint64_t *ret)
{
    int64_t strict;
    char *end;
    if (num_parse_i64(span_str(s), &strict)) {
        *ret = (uint64_t)strict;
        return strict >= 0;
    }
    errno = 0;
    *ret = strtoull(s, &end, 10);
    return errno == 0 && *s && !*end;
}

static bool parse_slow(struct span s, uint64_t missing, struct stream_id *ret, bool *auto_seq)
{
    char text[ID_TEXT_MAX + 1];
    if (s.n > ID_TEXT_MAX)
        return false;
    memcpy(text, s.p, s.n);
    text[s.n] = 0;
    if ((text[0] == '-' || text[0] == '+') && text[1] == 0)
        return false;
    char *dash = strchr(text, '-');
    if (dash)
        *dash++ = 0;
    if (!parse_loose(text, &ret->ms))
        return false;
    if (auto_seq && dash && strcmp(dash, "*") == 0) {
        *auto_seq = true;
        ret->seq = 0;
        return true;
    }
    ret->seq = missing;
    return !dash || parse_loose(dash, &ret->seq);
}

bool stream_id_parse(struct span s, uint64_t missing, struct stream_id *ret, bool *auto_seq)
{
    struct stream_id id = {.seq = missing};
    size_t n = parse_digits(s.p, s.n, &id.ms);
    if (auto_seq)
        *auto_seq = false;
    if (n && n < s.n && s.p[n] == '-') {
        size_t m = parse_digits(s.p + n + 1, s.n - n - 1, &id.seq);
        n = m ? n + 1 + m : 0;
    }
    if (unlikely_(n == 0) || unlikely_(n != s.n)) {
        id = (struct stream_id){0};
        if (!parse_slow(s, missing, &id, auto_seq))
            return false;
    }
    *ret = id;
    return true;
}

static bool bad_id(struct cmd *c)
{
    reply_error(c->out, "ERR Invalid stream ID specified as stream command argument");
    return false;
}

bool stream_arg_id(struct cmd *c, uint32_t i, struct stream_id *ret)
{
    return stream_id_parse(c->argv[i], 0, ret, NULL) || bad_id(c);
}

static bool arg_bound(struct cmd *c, uint32_t i, uint64_t missing, struct stream_id *ret,
                      bool *open)
{
    struct span s = c->argv[i];
    *open = s.n > 1 && s.p[0] == '(';
    if (*open)
        return stream_id_parse(span_of(s.p + 1, s.n - 1), missing, ret, NULL) || bad_id(c);
    if (stream_arg_is(s, '-')) {
        *ret = STREAM_ID_MIN;
        return true;
    }
    if (stream_arg_is(s, '+')) {
        *ret = STREAM_ID_MAX;
        return true;
    }
    return stream_id_parse(s, missing, ret, NULL) || bad_id(c);
}

bool stream_arg_from(struct cmd *c, uint32_t i, struct stream_id *ret)
{
    bool open;
    if (!arg_bound(c, i, 0, ret, &open))
        return false;
    if (!open || stream_id_incr(ret))
        return true;
    reply_error(c->out, "ERR invalid start ID for the interval");
    return false;
}

bool stream_arg_to(struct cmd *c, uint32_t i, struct stream_id *ret)
{
    bool open;
    if (!arg_bound(c, i, UINT64_MAX, ret, &open))
        return false;
    if (!open || stream_id_decr(ret))
        return true;
    reply_error(c->out, "ERR invalid end ID for the interval");
    return false;
}

bool stream_ids_alloc(struct cmd *c, struct stream_ids *ids, size_t n)
{
    ids->n = n;
    ids->allocated = 0;
    ids->v = ids->few;
    if (n <= ARRAY_LEN(ids->few))
        return true;
    ids->allocated = n * sizeof(*ids->v);
    ids->v = mem_alloc(&c->shard->mem, ids->allocated);
    if (ids->v)
        return true;
    cmd_reply_oom(c);
    return false;
}

void stream_ids_free(struct cmd *c, struct stream_ids *ids)
{
    if (ids->allocated)
        mem_free(&c->shard->mem, ids->v, ids->allocated);
    ids->allocated = 0;
}

bool stream_args_ids(struct cmd *c, uint32_t i, struct stream_ids *ids)
{
    if (!stream_ids_alloc(c, ids, c->argc - i))
        return false;
    for (size_t k = 0; k < ids->n; k++) {
        if (!stream_arg_id(c, i + (uint32_t)k, &ids->v[k])) {
            stream_ids_free(c, ids);
            return false;
        }
    }
    return true;
}

/* ---- errors ---- */

void stream_reply_named(struct cmd *c, const char *before, struct span a, const char *between,
                        struct span b, const char *behind)
{
    struct span part[] = {span_str(before), a, span_str(between), b, span_str(behind)};
    size_t n = 0, at = 0;
    part[1].n = strnlen((const char *)a.p, a.n);
    part[3].n = strnlen((const char *)b.p, b.n);
    for (size_t i = 0; i < ARRAY_LEN(part); i++)
        n += part[i].n;
    uint8_t *text = mem_alloc(&c->shard->mem, n);
    if (!text) {
        cmd_reply_oom(c);
        return;
    }
    for (size_t i = 0; i < ARRAY_LEN(part); at += part[i++].n)
        memcpy(text + at, part[i].p, part[i].n);
    reply_error_span(c->out, span_of(text, n));
    mem_free(&c->shard->mem, text, n);
}

void stream_reply_no_group(struct cmd *c, struct span key, struct span group)
{
    stream_reply_named(c, "NOGROUP No such key '", key, "' or consumer group '", group, "'");
}

void stream_reply_bad_sub(struct cmd *c)
{
    const char *sub = (const char *)c->argv[1].p;
    char upper[16];
    size_t n = 0;
    for (; n < c->argv[0].n && n < sizeof(upper) - 1; n++)
        upper[n] = (char)(c->argv[0].p[n] & ~0x20);
    upper[n] = 0;
    reply_errorf(c->out,
                 "ERR unknown subcommand or wrong number of arguments for '%.*s'. Try %s HELP.",
                 (int)(c->argv[1].n < 128 ? c->argv[1].n : 128), sub, upper);
}

/* ---- replies ---- */

/* 0..9999 as four characters: both pairs of digits are worked out at once. */
static inline uint32_t four_digits(uint32_t v)
{
    uint32_t high = v / 100, pairs = high | (v - high * 100) << 16;
    uint32_t tens = pairs * 103 >> 10 & 0x000f000f;
    return 0x30303030 | tens | (pairs - tens * 10) << 8;
}

/* Returns how many characters; ID_CHARS is enough. */
static inline size_t put_id(char *to, struct stream_id id)
{
    size_t n = 13;
    if (likely_(id.ms - 1000000000000 < 9000000000000)) { /* a clock between 2001 and 2286 */
        uint32_t high = (uint32_t)(id.ms / 100000000), low = (uint32_t)(id.ms % 100000000);
        uint32_t part[] = {four_digits(high % 10000), four_digits(low / 10000),
                           four_digits(low % 10000)};
        to[0] = (char)('0' + high / 10000);
        memcpy(to + 1, part, sizeof(part));
    } else {
        n = num_format_u64(to, id.ms);
    }
    to[n++] = '-';
    if (likely_(id.seq < 10)) {
        to[n++] = (char)('0' + id.seq);
        return n;
    }
    return n + num_format_u64(to + n, id.seq);
}

struct span stream_id_text(char *to, struct stream_id id)
{
    return span_of(to, put_id(to, id));
}

void stream_reply_id(struct reply *out, struct stream_id id)
{
    char text[ID_CHARS];
    reply_bulk_inline(out, span_of(text, put_id(text, id)));
}

#define HEAD_ROOM 96 /* the head of an entry, with what is written beyond its end */

/* Up to the first field. */
static inline void reply_entry_head(struct reply *out, const struct stream_entry *e)
{
    char id[ID_CHARS];
    size_t n = put_id(id, e->id);
    if (likely_(e->fields < 5) && likely_(reply_has_room(out, HEAD_ROOM))) {
        uint8_t *to = out->cur;
        memcpy(to, "*2\r\n", 4);
        memcpy(to + 4, &reply_bulk_head[n], 8);
        to += 8 + (n >= 10);
        bytes_copy_64(to, (const uint8_t *)id, n);
        to += n;
        memcpy(to, "\r\n*0\r\n", 6);
        to[3] = (uint8_t)('0' + e->fields * 2);
        out->cur = to + 6;
        return;
    }
    reply_array(out, 2);
    reply_bulk(out, span_of(id, n));
    reply_array(out, e->fields * 2);
}

static inline const uint8_t *reply_element(struct reply *out, const uint8_t *at)
{
    struct lp_value v = lp_read(at);
    if (likely_(v.text.p != NULL))
        reply_bulk_inline(out, v.text);
    else
        reply_bulk_int(out, v.number);
    return lp_skip(at);
}

size_t stream_reply_entry(struct reply *out, struct stream_walk *w, const struct stream_entry *e)
{
    const uint8_t *at = e->at, *field = e->master;
    reply_entry_head(out, e);
    for (uint64_t i = 0; i < e->fields; i++) {
        if (likely_(e->same))
            field = reply_element(out, field);
        else
            at = reply_element(out, at);
        at = reply_element(out, at);
    }
    if (!w->back)
        stream_walk_passed(w, at);
    return (size_t)(at - e->at) + (size_t)(field - e->master);
}

void stream_reply_rest(struct reply *out, struct stream_walk *w, struct stream_entry *e, uint64_t n)
{
    reply_array(out, n);
    if (!n)
        return;
    do {
        stream_reply_entry(out, w, e);
    } while (--n && !out->failed && stream_walk_next(w, e));
}

void stream_reply_range(struct reply *out, const struct stream *s, struct stream_id from,
                        struct stream_id to, uint64_t most, bool back)
{
    struct stream_walk w;
    struct stream_entry e;
    stream_walk_init(&w, s, from, to, back);
    bool any = stream_walk_next(&w, &e);
    stream_reply_rest(out, &w, &e, any ? 1 + stream_walk_left(&w, most - 1) : 0);
}

bool stream_reply_one(struct reply *out, const struct stream *s, struct stream_id id)
{
    struct stream_walk w;
    struct stream_entry e;
    stream_walk_init(&w, s, id, id, false);
    if (!stream_walk_next(&w, &e))
        return false;
    stream_reply_entry(out, &w, &e);
    return true;
}
