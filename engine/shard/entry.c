/* entry.c: makes, reads and frees entries. The layout is drawn in entry_inline.h.
 *
 * Strings are known here; what other values can do is in the table of object.c. Thread: the lease holder's. Knows nothing of dicts and time. */
#include "engine/shard/entry.h"

#include "engine/base/assert.h"
#include "engine/base/num.h"
#include "engine/shard/object.h"
#include "engine/shard/shard_internal.h"

/* ---- readers ---- */

enum obj_type entry_type(const struct entry *e)
{
    return entry_type_fast(e);
}
enum obj_enc entry_enc(const struct entry *e)
{
    return entry_enc_fast(e);
}
struct span entry_key(const struct entry *e)
{
    return entry_key_fast(e);
}
int64_t entry_expire_ms(const struct entry *e)
{
    return entry_expire_fast(e);
}

bool entry_int(const struct entry *e, int64_t *ret)
{
    if (entry_enc_fast(e) != ENC_INT)
        return false;
    memcpy(ret, entry_value(e), sizeof(*ret));
    return true;
}

struct span entry_string(const struct entry *e, char *scratch)
{
    if (likely_(entry_enc_fast(e) != ENC_INT))
        return entry_bytes_span(e);
    int64_t number;
    memcpy(&number, entry_value(e), sizeof(number));
    return span_of(scratch, num_format_i64(scratch, number));
}

size_t entry_string_len(const struct entry *e)
{
    char scratch[NUM_I64_CHARS];
    return entry_string(e, scratch).n;
}

const char *obj_type_name(enum obj_type t)
{
    static const char *const name[OBJ_TYPES] = {"string", "list", "set", "zset", "hash", "stream"};
    return t < OBJ_TYPES ? name[t] : "unknown";
}

const char *obj_enc_name(enum obj_enc e)
{
    static const char *const name[] = {"int",    "embstr",    "raw",      "listpack", "quicklist",
                                       "intset", "hashtable", "skiplist", "stream"};
    return (size_t)e < ARRAY_LEN(name) ? name[e] : "unknown";
}

const char *entry_enc_name(const struct entry *e)
{
    return obj_enc_name(entry_type_fast(e) == OBJ_LIST ? ENC_QUICKLIST : entry_enc_fast(e));
}

/* ---- sizes ---- */

size_t entry_bytes(const struct entry *e)
{
    size_t n = entry_alloc_bytes_of(e);
    if (!(e->flags & ENTRY_BLOCK))
        return n;
    struct mem_block b = entry_get_block(e);
    const struct object_ops *ops = object_ops_of(entry_type_fast(e), entry_enc_fast(e));
    return n + (ops ? ops->bytes(&b) : mem_size_class(b.cap));
}

/* ---- making and freeing ---- */

void entry_set_expire(struct entry *e, int64_t expire_ms)
{
    ASSERT(e->flags & ENTRY_TTL);
    memcpy(e->body, &expire_ms, sizeof(expire_ms));
}

struct entry *entry_create(struct mem *mem, struct span key, const struct value *v,
                           int64_t expire_ms)
{
    bool ttl = expire_ms >= 0;
    struct entry *e = mem_alloc(mem, entry_alloc_bytes(key.n, ttl, value_bytes(v)));
    if (!e)
        return NULL;
    *e = (struct entry){.flags = ttl ? ENTRY_TTL : 0};
    uint8_t *p = e->body;
    if (ttl) {
        entry_set_expire(e, expire_ms);
        p += 8;
    }
    if (key.n > UINT8_MAX) {
        uint64_t n = key.n;
        e->flags |= ENTRY_LONG_KEY;
        memcpy(p, &n, 8);
        p += 8;
    } else {
        e->key_len = (uint8_t)key.n;
    }
    if (key.n)
        memcpy(p, key.p, key.n);
    entry_put_value(e, v);
    return e;
}

void entry_open_ttl(struct entry *e)
{
    ASSERT(!(e->flags & ENTRY_TTL));
    size_t used = entry_key_offset(e) + entry_key_fast(e).n + entry_value_bytes(e);
    memmove(e->body + 8, e->body, used);
    e->flags |= ENTRY_TTL;
    entry_set_expire(e, -1);
}

bool entry_copy_value(struct mem *mem, const struct entry *e, struct value *ret)
{
    struct value v = {.type = entry_type(e), .enc = entry_enc_fast(e)};
    const struct object_ops *ops = object_ops_of(v.type, v.enc);
    if (ops) {
        struct mem_block from = entry_get_block(e);
        v.has_block = true;
        if (!ops->copy(mem, &from, &v.block))
            return false;
    } else if (!entry_int(e, &v.number)) {
        v.bytes = entry_bytes_span(e);
        if (v.bytes.n > ENTRY_EMBED_MAX) {
            v.has_block = true;
            v.block = (struct mem_block){mem_alloc(mem, v.bytes.n), v.bytes.n, v.bytes.n};
            if (!v.block.p)
                return false;
            memcpy(v.block.p, v.bytes.p, v.bytes.n);
        }
    }
    *ret = v;
    return true;
}

void value_free_block(struct mem *mem, enum obj_type type, enum obj_enc enc, struct mem_block b)
{
    const struct object_ops *ops = object_ops_of(type, enc);
    if (!ops)
        mem_free(mem, b.p, b.cap);
    while (ops && b.p)
        ops->free_slice(mem, &b, SIZE_MAX);
}

void entry_free_value(struct mem *mem, struct entry *e)
{
    if (e->flags & ENTRY_BLOCK)
        value_free_block(mem, entry_type_fast(e), entry_enc_fast(e), entry_get_block(e));
}

void entry_free_shell(struct mem *mem, struct entry *e)
{
    mem_free(mem, e, entry_alloc_bytes_of(e));
}

void entry_free(struct mem *mem, struct entry *e)
{
    entry_free_value(mem, e);
    entry_free_shell(mem, e);
}
