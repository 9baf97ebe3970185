/* DEBUG: what test tools need. Refused unless enable-debug-command allows it (dispatch.c).
 *
 * Where in the flow: Redis knows DEBUG as one command; here each subcommand has a hidden row in commands.def, so that OBJECT goes to
 * the owner of its key and POPULATE to every shard. cmd_debug itself runs when no row fits. Replies are those of Redis 7.0.15. */
#include <inttypes.h>
#include <limits.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "engine/base/num.h"
#include "engine/cmd/cmd_internal.h"
#include "engine/cmd/keyref.h"
#include "engine/cmd/list_cmd.h"
#include "engine/cmd/rdb_object.h"

void cmd_debug(struct cmd *c)
{
    struct span word = c->argv[1];
    reply_errorf(c->out,
                 "ERR unknown subcommand or wrong number of arguments for '%.*s'. Try DEBUG HELP.",
                 span_shown(word, 128), (const char *)word.p);
}

void cmd_debug_error(struct cmd *c)
{
    reply_error_span(c->out, c->argv[2]);
}

/* A span as a C string for strtod and atoi, cut where no number goes on. */
static const char *number_text(struct span s, char ret[64])
{
    size_t n = s.n < 63 ? s.n : 63;
    memcpy(ret, s.p, n);
    ret[n] = 0;
    return ret;
}

/* No check, as in Redis: what is no number is 0. */
void cmd_debug_sleep(struct cmd *c)
{
    char text[64];
    double ms = strtod(number_text(c->argv[2], text), NULL) * 1000;
    if (ms > 0) /* false for NaN */
        c->host->ops->sleep_ms(c->host, ms < INT_MAX ? (uint64_t)ms : INT_MAX);
    reply_ok(c->out);
}

void cmd_debug_set_active_expire(struct cmd *c)
{
    char text[64];
    /* The low 32 bits, as atoi() gives them to Redis. */
    bool paused = (uint32_t)strtol(number_text(c->argv[2], text), NULL, 10) == 0;
    for (uint32_t i = 0; i < cmd_shards_count(c); i++)
        cmd_shards_nth(c, i)->expire_paused = paused;
    reply_ok(c->out);
}

/* ---- TCPTRACE id: not Redis's ---- */

void cmd_debug_tcptrace(struct cmd *c)
{
    struct reply_heap heap;
    struct reply to;
    int64_t id;
    uint32_t n = 0;
    if (!num_parse_i64(c->argv[2], &id) || id <= 0) {
        reply_error(c->out, "ERR Invalid client ID");
        return;
    }
    reply_heap_init(&to, &heap, c->out->resp);
    if (c->host->ops->tcp_trace)
        n = c->host->ops->tcp_trace(c->host, (uint64_t)id, &to);
    reply_heap_finish(&to, &heap);
    if (to.failed) {
        cmd_reply_oom(c);
    } else {
        reply_array(c->out, n);
        reply_raw(c->out, heap.p, heap.len);
    }
    reply_heap_free(&heap);
}

/* ---- OBJECT ---- */

/* Bytes of the value in an RDB file, without its type. 0: no memory. */
static size_t rdb_bytes(struct shard *s, const struct entry *e, bool compress)
{
    struct rdb_writer w;
    rdb_writer_init(&w, &s->mem, compress);
    rdb_save_object(&w, e);
    size_t n = w.failed ? 0 : w.out.len - 1;
    rdb_writer_free(&w);
    return n;
}

/* Of a block in Redis, where an element too large to be packed with others is a listpack of its own. */
static size_t node_bytes(const struct ql_block *b)
{
    if (!b->plain)
        return LP_HEADER_BYTES + b->len;
    return LP_EMPTY_BYTES + lp_element_bytes(span_of(b->p, b->len));
}

/* What Redis tells of a list besides; a small one is one block. */
static void list_text(char *to, size_t room, struct shard *s, struct entry *e)
{
    struct list_key lk;
    struct ql_view w;
    uint64_t bytes = 0;
    list_open(&lk, &(struct keyref){.shard = s}, 0, e);
    struct ql_limits limits = lk.l.quick ? ql_limits_of(lv_ql(&lk.l)) : lk.l.limits;
    lv_view(&lk.l, &w);
    for (uint32_t i = 0; i < w.n; i++)
        bytes += node_bytes(&w.v[i]);
    snprintf(to, room,
             " ql_nodes:%" PRIu32 " ql_avg_node:%.2f ql_listpack_max:%" PRId64
             " ql_compressed:%d ql_uncompressed_size:%" PRIu64,
             w.n, (double)w.count / w.n, ql_fill(limits.fill), limits.depth != 0, bytes);
}

void cmd_debug_object(struct cmd *c)
{
    struct keyref k = keyref_first(c, 2);
    if (c->argc != 3) {
        cmd_debug(c);
        return;
    }
    struct entry *e = keyref_peek(c, &k);
    if (!e) {
        reply_error(c->out, "ERR no such key");
        return;
    }
    size_t bytes = rdb_bytes(k.shard, e, c->host->config->rdbcompression);
    if (!bytes) {
        cmd_reply_oom(c);
        return;
    }
    uint64_t idle_s = ks_idle_s(k.shard, e);
    char text[384];
    int n = snprintf(text, sizeof(text),
                     "Value at:%p refcount:%d encoding:%s serializedlength:%zu lru:%" PRIu64
                     " lru_seconds_idle:%" PRIu64,
                     (const void *)e, object_refcount(c, e), entry_enc_name(e), bytes,
                     ((uint64_t)c->now_us / 1000000 - idle_s) & 0xffffff, idle_s);
    if (entry_type_fast(e) == OBJ_LIST)
        list_text(text + n, sizeof(text) - (size_t)n, k.shard, e);
    reply_simple(c->out, text);
}

/* ---- POPULATE count [prefix] [size] ---- */

struct populate {
    int64_t count, size;
    struct span prefix;
    uint8_t *key, *value; /* room for the longest */
};

/* A number that is no count, as Redis words it. */
static bool positive(struct cmd *c, uint32_t i, int64_t max, int64_t *ret)
{
    if (num_parse_i64(c->argv[i], ret) && *ret >= 0 && *ret <= max)
        return true;
    reply_error(c->out, "ERR value is out of range, must be positive");
    return false;
}

/* The keys of one shard that are not there yet. False: no memory. */
static bool populate_shard(struct cmd *c, struct shard *s, const struct populate *p)
{
    memcpy(p->key, p->prefix.p, p->prefix.n);
    p->key[p->prefix.n] = ':';
    for (int64_t i = 0; i < p->count; i++) {
        struct span key = {p->key, p->prefix.n + 1};
        key.n += num_format_i64((char *)p->key + key.n, i);
        if (s->count > 1 && shard_of_key(key, s->count) != s->id)
            continue;
        uint64_t hash = shard_hash(s, key);
        if (ks_peek(s, c->db, key, hash))
            continue;
        char text[32] = "value:";
        size_t n = 6 + num_format_i64(text + 6, i);
        struct span value = span_of(text, n);
        if (p->size) { /* cut, or filled up with zeros */
            memcpy(p->value, text, n < (size_t)p->size ? n : (size_t)p->size);
            value = span_of(p->value, (size_t)p->size);
        }
        if (!ks_set(s, c->db, key, hash, value, KS_NO_TTL))
            return false;
        if (p->size > (int64_t)n)
            memset(p->value, 0, n);
        ks_changed(s, c->db, key, KS_STRING, "set");
    }
    return true;
}

void cmd_debug_populate(struct cmd *c)
{
    struct populate p = {.prefix = SPAN("key")};
    if (c->argc > 5) {
        cmd_debug(c);
        return;
    }
    if (!positive(c, 2, INT64_MAX, &p.count))
        return;
    if (c->argc > 3)
        p.prefix = c->argv[3];
    if (c->argc > 4 && !positive(c, 4, (int64_t)c->host->config->proto_max_bulk_bytes, &p.size))
        return;
    p.key = malloc(p.prefix.n + 1 + NUM_I64_CHARS);
    p.value = calloc(1, (size_t)p.size + 1);
    bool ok = p.key && p.value;
    for (uint32_t i = 0; ok && i < cmd_shards_count(c); i++)
        ok = populate_shard(c, cmd_shards_nth(c, i), &p);
    free(p.key);
    free(p.value);
    if (ok)
        reply_ok(c->out);
    else
        cmd_reply_oom(c);
}

/* ---- PROTOCOL type ---- */

static void protocol_attrib(struct reply *r)
{
    if (r->resp > 2) {
        reply_attr(r, 1);
        reply_bulk_str(r, "key-popularity");
        reply_array(r, 2);
        reply_bulk_str(r, "key:123");
        reply_int(r, 90);
    }
    reply_bulk_str(r, "Some real reply following the attribute");
}

static void protocol_push(struct reply *r)
{
    if (r->resp < 3) {
        reply_error(r, "ERR RESP2 is not supported by this command");
        return;
    }
    reply_push(r, 2);
    reply_bulk_str(r, "server-cpu-usage");
    reply_int(r, 42);
    reply_bulk_str(r, "Some real reply following the push reply");
}

static void protocol_bignum(struct reply *r)
{
    static const char digits[] = "1234567999999999999999999999999999999";
    if (r->resp < 3) {
        reply_bulk_str(r, digits);
        return;
    }
    reply_raw(r, "(", 1);
    reply_raw(r, digits, sizeof(digits) - 1);
    reply_raw(r, "\r\n", 2);
}

void cmd_debug_protocol(struct cmd *c)
{
    struct span name = c->argv[2];
    struct reply *r = c->out;
    if (span_is(name, "string")) {
        reply_bulk_str(r, "Hello World");
    } else if (span_is(name, "integer")) {
        reply_int(r, 12345);
    } else if (span_is(name, "double")) {
        reply_double(r, 3.141);
    } else if (span_is(name, "null")) {
        reply_null(r);
    } else if (span_is(name, "array") || span_is(name, "set")) {
        if (span_is(name, "set"))
            reply_set(r, 3);
        else
            reply_array(r, 3);
        for (int i = 0; i < 3; i++)
            reply_int(r, i);
    } else if (span_is(name, "map")) {
        reply_map(r, 3);
        for (int i = 0; i < 3; i++) {
            reply_int(r, i);
            reply_bool(r, i == 1);
        }
    } else if (span_is(name, "attrib")) {
        protocol_attrib(r);
    } else if (span_is(name, "push")) {
        protocol_push(r);
    } else if (span_is(name, "bignum")) {
        protocol_bignum(r);
    } else if (span_is(name, "verbatim")) {
        reply_verbatim(r, "txt", SPAN("This is a verbatim\nstring"));
    } else if (span_is(name, "true") || span_is(name, "false")) {
        reply_bool(r, span_is(name, "true"));
    } else {
        reply_error(r, "ERR Wrong protocol type name. Please use one of the following: "
                       "string|integer|double|bignum|null|array|set|map|attrib|push|verbatim|true|"
                       "false");
    }
}
