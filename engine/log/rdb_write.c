/* rdb_write.c: bytes of RDB values into a block that grows. Format: rdb.h. */
#include <liblzf/lzf.h>

#include "engine/log/rdb.h"

#define COMPRESS_FROM     20          /* bytes; shorter strings never get shorter */
#define PART_COMPRESS_MAX (16u << 10) /* of what is written in parts: LZF takes 3 to 5 ns a byte */
#define INT_TEXT_MAX      11          /* "-2147483648" */
#define FIRST_CAP_BYTES   64

/* ---- the block ---- */

void rdb_writer_init(struct rdb_writer *w, struct mem *mem, bool compress)
{
    *w = (struct rdb_writer){.mem = mem, .version = RDB_VERSION_WRITTEN, .compress = compress};
}

void rdb_writer_free(struct rdb_writer *w)
{
    if (w->out.p)
        mem_free(w->mem, w->out.p, w->out.cap);
    w->out = (struct mem_block){0};
}

/* Room for n more bytes; NULL: no memory. */
static uint8_t *room(struct rdb_writer *w, size_t n)
{
    if (w->failed)
        return NULL;
    if (w->out.cap - w->out.len < n) {
        size_t cap = (w->out.len + n) * 2;
        cap = mem_size_class(cap < FIRST_CAP_BYTES ? FIRST_CAP_BYTES : cap);
        uint8_t *p =
            w->out.p ? mem_realloc(w->mem, w->out.p, w->out.cap, cap) : mem_alloc(w->mem, cap);
        if (!p) {
            w->failed = true;
            return NULL;
        }
        w->out.p = p;
        w->out.cap = cap;
    }
    return w->out.p + w->out.len;
}

void rdb_put(struct rdb_writer *w, const void *p, size_t n)
{
    uint8_t *to = room(w, n);
    if (!to)
        return;
    if (n)
        memcpy(to, p, n);
    w->out.len += n;
}

void rdb_put_u8(struct rdb_writer *w, uint8_t v)
{
    rdb_put(w, &v, 1);
}
void rdb_put_u64(struct rdb_writer *w, uint64_t v)
{
    rdb_put(w, &v, 8); /* little-endian machines only: entry_inline.h asserts it */
}
void rdb_put_u64_be(struct rdb_writer *w, uint64_t v)
{
    v = __builtin_bswap64(v);
    rdb_put(w, &v, 8);
}
void rdb_put_double(struct rdb_writer *w, double v)
{
    rdb_put(w, &v, 8);
}

void rdb_put_len(struct rdb_writer *w, uint64_t n)
{
    if (n < 1 << 6) {
        rdb_put_u8(w, (uint8_t)n);
    } else if (n < 1 << 14) {
        rdb_put(w, (uint8_t[]){(uint8_t)(0x40 | n >> 8), (uint8_t)n}, 2);
    } else if (n <= UINT32_MAX) {
        uint32_t be = __builtin_bswap32((uint32_t)n);
        rdb_put_u8(w, 0x80);
        rdb_put(w, &be, 4);
    } else {
        rdb_put_u8(w, 0x81);
        rdb_put_u64_be(w, n);
    }
}

/* ---- strings ---- */

/* True when the number fits one of the integer forms, and it is written. */
static bool put_int_form(struct rdb_writer *w, int64_t v)
{
    if (v >= INT8_MIN && v <= INT8_MAX)
        rdb_put(w, (uint8_t[]){0xc0, (uint8_t)v}, 2);
    else if (v >= INT16_MIN && v <= INT16_MAX)
        rdb_put(w, (uint8_t[]){0xc1, (uint8_t)v, (uint8_t)(v >> 8)}, 3);
    else if (v >= INT32_MIN && v <= INT32_MAX)
        rdb_put(w,
                (uint8_t[]){0xc2, (uint8_t)v, (uint8_t)(v >> 8), (uint8_t)(v >> 16),
                            (uint8_t)(v >> 24)},
                5);
    else
        return false;
    return true;
}

/* True when LZF made it shorter, and it is written. */
static bool put_lzf(struct rdb_writer *w, struct span s)
{
    if (!w->compress || s.n <= COMPRESS_FROM || s.n > (w->parts ? PART_COMPRESS_MAX : UINT32_MAX))
        return false;
    size_t start = w->out.len, head = 1 + 9 + 9;
    if (!room(w, head + s.n))
        return true; /* failed: nothing to add */
    /* Behind the longest header there may be, then moved to where it belongs. */
    uint8_t *data = w->out.p + start + head;
    unsigned n = lzf_compress(s.p, (unsigned)s.n, data, (unsigned)s.n - 4);
    if (n == 0)
        return false;
    rdb_put_u8(w, 0xc3);
    rdb_put_len(w, n);
    rdb_put_len(w, s.n);
    memmove(w->out.p + w->out.len, w->out.p + start + head, n);
    w->out.len += n;
    return true;
}

void rdb_put_lzf(struct rdb_writer *w, struct span data, size_t n)
{
    rdb_put_u8(w, 0xc3);
    rdb_put_len(w, data.n);
    rdb_put_len(w, n);
    rdb_put(w, data.p, data.n);
}

void rdb_put_blob(struct rdb_writer *w, struct span s)
{
    if (put_lzf(w, s))
        return;
    rdb_put_len(w, s.n);
    rdb_put(w, s.p, s.n);
}

void rdb_put_string(struct rdb_writer *w, struct span s)
{
    int64_t v;
    if (s.n <= INT_TEXT_MAX && num_parse_i64(s, &v) && put_int_form(w, v))
        return;
    rdb_put_blob(w, s);
}

void rdb_put_type(struct rdb_writer *w, uint8_t type)
{
    rdb_put_u8(w, type);
    if (w->key.p)
        rdb_put_string(w, w->key);
}

void rdb_put_i64_string(struct rdb_writer *w, int64_t v)
{
    char text[NUM_I64_CHARS];
    if (put_int_form(w, v))
        return;
    size_t n = num_format_i64(text, v);
    rdb_put_len(w, n);
    rdb_put(w, text, n);
}

void rdb_put_footer(struct rdb_writer *w)
{
    rdb_put(w, (uint8_t[]){w->version, 0}, 2);
    if (!w->failed)
        rdb_put_u64(w, crc64(0, w->out.p, w->out.len));
}
