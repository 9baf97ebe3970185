/* rdb_file.c: see rdb_file.h. Where in the flow: control/store reads and writes whole files with it, workers take the keys it cuts. */
#include "engine/log/rdb_file.h"

#include <stdarg.h>
#include <stdio.h>

#define SUM_BYTES            16384 /* at least, when the caller lets us gather */
#define CHECKED_FROM_VERSION 5
#define DATABASES_MAX        (1u << 20)

/* ---- writing ---- */

static void put_aux(struct rdb_writer *w, const char *name, struct span value)
{
    rdb_put_u8(w, RDB_OP_AUX);
    rdb_put_string(w, span_str(name));
    rdb_put_string(w, value);
}

static void put_aux_number(struct rdb_writer *w, const char *name, int64_t v)
{
    char text[NUM_I64_CHARS];
    put_aux(w, name, span_of(text, num_format_i64(text, v)));
}

void rdb_put_header(struct rdb_writer *w, const struct rdb_file_facts *f)
{
    char magic[RDB_MAGIC_BYTES + 1];
    snprintf(magic, sizeof(magic), "REDIS%04u", (unsigned)f->version % 10000);
    rdb_put(w, magic, RDB_MAGIC_BYTES);
    put_aux(w, "redis-ver", SPAN("7.0.15"));
    put_aux_number(w, "redis-bits", 64);
    put_aux_number(w, "ctime", f->now_s);
    put_aux_number(w, "used-mem", (int64_t)f->used_memory);
    put_aux_number(w, "aof-base", f->aof_base);
}

void rdb_put_select(struct rdb_writer *w, uint32_t db)
{
    rdb_put_u8(w, RDB_OP_SELECT);
    rdb_put_len(w, db);
}

void rdb_put_sizes(struct rdb_writer *w, uint64_t keys, uint64_t expires)
{
    rdb_put_u8(w, RDB_OP_RESIZE);
    rdb_put_len(w, keys);
    rdb_put_len(w, expires);
}

void rdb_put_key_facts(struct rdb_writer *w, int64_t expire_ms, int64_t idle_s, int64_t freq)
{
    if (expire_ms >= 0) {
        rdb_put_u8(w, RDB_OP_EXPIRE_MS);
        rdb_put_u64(w, (uint64_t)expire_ms);
    }
    if (idle_s >= 0) {
        rdb_put_u8(w, RDB_OP_IDLE);
        rdb_put_len(w, (uint64_t)idle_s);
    }
    if (freq >= 0)
        rdb_put(w, (uint8_t[]){RDB_OP_FREQ, (uint8_t)freq}, 2);
}

void rdb_put_end(struct rdb_writer *w, uint64_t crc, bool checksum)
{
    const uint8_t end = RDB_OP_END;
    rdb_put_u8(w, end);
    rdb_put_u64(w, checksum ? crc64(crc, &end, 1) : 0);
}

/* ---- reading ---- */

void rdb_file_init(struct rdb_file *f, uint64_t file_bytes, bool check)
{
    *f = (struct rdb_file){.left = file_bytes, .no_check = !check};
}

__attribute__((format(printf, 2, 3))) static enum rdb_file_status bad(struct rdb_file *f,
                                                                      const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(f->error, sizeof(f->error), fmt, ap);
    va_end(ap);
    return RDB_FILE_BAD;
}

/* The item is not whole: more is to come, or there can be no more. */
static enum rdb_file_status more(struct rdb_file *f, const struct rdb_reader *r, const uint8_t *p,
                                 struct rdb_item *ret)
{
    if (!r->wants)
        return bad(f, "what stands here is no %s",
                   ret->kind == RDB_ITEM_KEY ? "key with a value" : "RDB");
    size_t at = (size_t)(r->cur - p);
    if (r->wants > SIZE_MAX - at || at + r->wants > f->left)
        return bad(f, "the file ends in the middle of %s",
                   ret->kind == RDB_ITEM_KEY ? "a key" : "an item");
    ret->need = at + r->wants;
    return RDB_FILE_MORE;
}

void rdb_file_settle(struct rdb_file *f)
{
    if (f->unsummed_n)
        f->crc = crc64(f->crc, f->unsummed, f->unsummed_n);
    f->unsummed_n = 0;
}

/* Short runs cost as much as long ones, and what was just read lies in the cache. */
static void sum(struct rdb_file *f, const uint8_t *p, size_t n)
{
    if (f->unsummed_n >= SUM_BYTES || f->unsummed + f->unsummed_n != p)
        rdb_file_settle(f);
    if (!f->unsummed_n)
        f->unsummed = p;
    f->unsummed_n += n;
    if (!f->gathers)
        rdb_file_settle(f);
}

static enum rdb_file_status item(struct rdb_file *f, const struct rdb_reader *r, const uint8_t *p,
                                 struct rdb_item *ret)
{
    if (r->failed)
        return more(f, r, p, ret);
    ret->bytes = (size_t)(r->cur - p);
    if (!f->no_check)
        sum(f, p, ret->bytes);
    f->offset += ret->bytes;
    if (f->left != UINT64_MAX)
        f->left -= ret->bytes;
    return RDB_FILE_ITEM;
}

static enum rdb_file_status header(struct rdb_file *f, struct rdb_reader *r, struct rdb_item *ret)
{
    const uint8_t *p = rdb_get(r, RDB_MAGIC_BYTES);
    uint32_t version = 0;
    ret->kind = RDB_ITEM_HEADER;
    if (!p)
        return more(f, r, r->cur, ret);
    if (memcmp(p, "REDIS", 5) != 0)
        return bad(f, "it does not begin with REDIS: this is no RDB file");
    for (int i = 5; i < RDB_MAGIC_BYTES; i++) {
        if (p[i] < '0' || p[i] > '9')
            return bad(f, "no version stands behind REDIS: this is no RDB file");
        version = version * 10 + (p[i] - '0');
    }
    if (version < 1 || version > RDB_VERSION_READ)
        return bad(f, "RDB version %u; versions 1 to %u are read", version, RDB_VERSION_READ);
    f->version = version;
    return item(f, r, p, ret);
}

/* A plain or integer text, borrowed from the item; empty for a compressed one. */
static struct span aux_text(struct rdb_reader *r)
{
    struct rdb_reader before = *r;
    struct rdb_text t;
    if (!rdb_skip_string(r) || before.cur[0] >> 6 == 3 || !rdb_get_string(&before, &t))
        return span_of("", 0);
    return t.s;
}

/* What stands there as an integer; -1: it is none. */
static int64_t aux_number(struct rdb_reader r)
{
    struct rdb_text t;
    int64_t v = -1;
    if (r.failed || r.cur == r.end || *r.cur < 0xc0 || *r.cur > 0xc2 || !rdb_get_string(&r, &t))
        return -1;
    num_parse_i64(t.s, &v);
    return v;
}

static enum rdb_file_status end(struct rdb_file *f, struct rdb_reader *r, const uint8_t *p,
                                struct rdb_item *ret)
{
    uint64_t want = 0;
    if (f->version >= CHECKED_FROM_VERSION) {
        want = rdb_get_u64(r);
        if (r->failed)
            return more(f, r, p, ret);
    } else if (f->left != UINT64_MAX && f->left != 1) {
        return bad(f, "bytes follow the end of a file of version %u, which has no checksum",
                   f->version);
    }
    f->unchecked = want == 0;
    rdb_file_settle(f);
    if (!f->no_check && want && want != crc64(f->crc, p, 1))
        return bad(f,
                   "the checksum is wrong: the file says %016llx, its bytes make %016llx; a byte "
                   "somewhere before is damaged",
                   (unsigned long long)want, (unsigned long long)crc64(f->crc, p, 1));
    ret->bytes = (size_t)(r->cur - p);
    f->ended = true;
    return RDB_FILE_END;
}

static enum rdb_file_status refuse_value(struct rdb_file *f, struct rdb_reader *r, const uint8_t *p,
                                         struct rdb_item *ret)
{
    if (ret->type == RDB_MODULE_2 || ret->type == RDB_MODULE) {
        uint64_t id = rdb_get_len(r);
        if (r->failed)
            return more(f, r, p, ret);
        rdb_module_name(id, ret->module);
        return bad(f, "a key holds a value of module %s, which is not here: delete such keys first",
                   ret->module);
    }
    if (ret->type == RDB_HASH_METADATA_PRE_GA || ret->type == RDB_HASH_LISTPACK_EX_PRE_GA)
        return bad(f, "value type %u of a release candidate of Redis 7.4 is not read", ret->type);
    return bad(f, "value type %u is not known", ret->type);
}

static bool known_type(uint8_t type)
{
    return type <= RDB_HASH_LISTPACK_EX && type != RDB_MODULE && type != RDB_MODULE_2 &&
           type != 8 && type != RDB_HASH_METADATA_PRE_GA && type != RDB_HASH_LISTPACK_EX_PRE_GA;
}

/* Opcodes in front of a key, in any order, then the key. */
static enum rdb_file_status key(struct rdb_file *f, struct rdb_reader *r, const uint8_t *p,
                                struct rdb_item *ret)
{
    ret->kind = RDB_ITEM_KEY;
    ret->expire_ms = ret->idle_s = ret->freq = -1;
    for (bool facts = true; facts;) {
        uint32_t seconds = 0;
        uint8_t op = rdb_get_u8(r);
        const uint8_t *s;
        switch (op) {
        case RDB_OP_EXPIRE_S:
            s = rdb_get(r, 4);
            if (s)
                memcpy(&seconds, s, 4);
            ret->expire_ms = (int64_t)(int32_t)seconds * 1000;
            break;
        case RDB_OP_EXPIRE_MS: ret->expire_ms = (int64_t)rdb_get_u64(r); break;
        case RDB_OP_IDLE: ret->idle_s = (int64_t)(rdb_get_len(r) & INT64_MAX); break;
        case RDB_OP_FREQ: ret->freq = rdb_get_u8(r); break;
        default: ret->type = op; facts = false;
        }
        if (r->failed)
            return more(f, r, p, ret);
    }
    const uint8_t *body = r->cur;
    if (!known_type(ret->type)) {
        rdb_skip_string(r);
        return r->failed ? more(f, r, p, ret) : refuse_value(f, r, p, ret);
    }
    rdb_skip_string(r);
    const uint8_t *value = r->cur;
    if (r->failed || !rdb_skip_value(r, ret->type))
        return more(f, r, p, ret);
    ret->body = span_of(body, (size_t)(r->cur - body));
    ret->value = span_of(value, (size_t)(r->cur - value));
    if (ret->expire_ms < 0 && ret->expire_ms != -1)
        ret->expire_ms = 0; /* long ago */
    f->keys++;
    return item(f, r, p, ret);
}

static enum rdb_file_status module_aux(struct rdb_file *f, struct rdb_reader *r, const uint8_t *p,
                                       struct rdb_item *ret)
{
    uint64_t id = rdb_get_len(r);
    ret->kind = RDB_ITEM_MODULE_AUX;
    rdb_module_name(id, ret->module);
    rdb_skip_module(r); /* what it begins with, when it was written, is tagged as well */
    return item(f, r, p, ret);
}

enum rdb_file_status rdb_file_next(struct rdb_file *f, const uint8_t *p, size_t n,
                                   struct rdb_item *ret)
{
    struct rdb_reader r;
    rdb_reader_init(&r, NULL, span_of(p, n));
    *ret = (struct rdb_item){.kind = RDB_ITEM_AUX};
    if (f->ended)
        return RDB_FILE_END;
    if (!f->version)
        return header(f, &r, ret);
    uint8_t op = rdb_get_u8(&r);
    uint64_t db;
    switch (r.failed ? RDB_OP_AUX : op) {
    case RDB_OP_END: return end(f, &r, p, ret);
    case RDB_OP_AUX:
        ret->name = aux_text(&r);
        ret->number = aux_number(r);
        ret->value = aux_text(&r);
        break;
    case RDB_OP_SELECT:
        ret->kind = RDB_ITEM_SELECT;
        db = rdb_get_len(&r);
        if (!r.failed && db >= DATABASES_MAX)
            return bad(f, "database number %llu", (unsigned long long)db);
        if (!r.failed)
            f->db = (uint32_t)db;
        break;
    case RDB_OP_RESIZE:
        ret->kind = RDB_ITEM_SIZES;
        ret->keys = rdb_get_len(&r);
        ret->expires = rdb_get_len(&r);
        break;
    case RDB_OP_SLOT_INFO:
        ret->kind = RDB_ITEM_SLOT;
        for (int i = 0; i < 3; i++)
            rdb_get_len(&r);
        break;
    case RDB_OP_FUNCTION:
        ret->kind = RDB_ITEM_FUNCTION;
        rdb_skip_string(&r);
        break;
    case RDB_OP_FUNCTION_OLD:
        return bad(f, "a function library in the form of a release candidate of Redis 7.0");
    case RDB_OP_MODULE_AUX: return module_aux(f, &r, p, ret);
    default: r.cur = p; return key(f, &r, p, ret);
    }
    return item(f, &r, p, ret);
}

bool rdb_body_key(struct rdb_reader *r, struct span body, struct mem *mem, struct rdb_text *ret)
{
    rdb_reader_init(r, mem, body);
    return rdb_get_string(r, ret);
}
