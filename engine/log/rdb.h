/* rdb: the pieces that DUMP payloads and RDB files are made of: lengths, strings, numbers, the checksum.
 *
 *   length    00xxxxxx 6 bits | 01xxxxxx +1 14 bits | 10000000 +4 32 bits, big-endian | 10000001 +8 64 bits, big-endian
 *             11xxxxxx a string in another form: 0, 1, 2 an integer of 1, 2, 4 bytes, little-endian; 3 LZF (compressed length, length, data)
 *   string    length, bytes
 *   payload of DUMP: type (1) | value | RDB version (2, little-endian) | CRC-64 of all before (8, little-endian)
 *
 * Format: Redis 7.0, RDB version 10. Knows bytes only; what a value of each type is, engine/shard/rdb_object.c tells. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "engine/base/bytes.h"
#include "engine/base/mem.h"
#include "engine/base/num.h"

#define RDB_VERSION_WRITTEN  10
/* What other servers write up to now: Redis 7.2 has 11, 7.4 and 8 have 12. */
#define RDB_VERSION_READ     12
/* The first version that knows expiries of hash fields. */
#define RDB_VERSION_HASH_TTL 12
#define RDB_FOOTER_BYTES     10

enum rdb_type {
    RDB_STRING = 0,
    RDB_LIST = 1,
    RDB_SET = 2,
    RDB_ZSET = 3,
    RDB_HASH = 4,
    RDB_ZSET_2 = 5,
    RDB_MODULE = 6,
    RDB_MODULE_2 = 7,
    RDB_HASH_ZIPMAP = 9,
    RDB_LIST_ZIPLIST = 10,
    RDB_SET_INTSET = 11,
    RDB_ZSET_ZIPLIST = 12,
    RDB_HASH_ZIPLIST = 13,
    RDB_LIST_QUICKLIST = 14,
    RDB_STREAM_LISTPACKS = 15,
    RDB_HASH_LISTPACK = 16,
    RDB_ZSET_LISTPACK = 17,
    RDB_LIST_QUICKLIST_2 = 18,
    RDB_STREAM_LISTPACKS_2 = 19,
    RDB_SET_LISTPACK = 20,
    RDB_STREAM_LISTPACKS_3 = 21,
    RDB_HASH_METADATA_PRE_GA = 22,
    RDB_HASH_LISTPACK_EX_PRE_GA = 23,
    RDB_HASH_METADATA = 24,
    RDB_HASH_LISTPACK_EX = 25,
};

/* CRC-64/Jones: reflected polynomial 0x95ac9329ac4bc9b5, start 0. */
uint64_t crc64(uint64_t crc, const void *p, size_t n);

/* ---- writing: into one growing block ---- */

struct rdb_writer {
    struct mem *mem;
    struct mem_block out; /* the caller's, to be freed with mem_free(mem, out.p, out.cap) */
    uint8_t version;      /* of the format so far: RDB_VERSION_WRITTEN, or what a value needed */
    bool compress;        /* strings of more than 20 bytes by LZF */
    bool failed;          /* no memory: nothing more is written */
    bool parts; /* nothing may take long: long strings are written in parts, and uncompressed */
    struct span key; /* in files: goes between type and value; p NULL: none */
};

void rdb_writer_init(struct rdb_writer *w, struct mem *mem, bool compress);
void rdb_writer_free(struct rdb_writer *w);
void rdb_put(struct rdb_writer *w, const void *p, size_t n);
void rdb_put_u8(struct rdb_writer *w, uint8_t v);
void rdb_put_u64(
    struct rdb_writer *w,
    uint64_t v); /* 8 bytes, little-endian: times, stream ids differ and are big-endian */
void rdb_put_u64_be(struct rdb_writer *w, uint64_t v);
void rdb_put_double(struct rdb_writer *w, double v); /* ZSET_2: 8 bytes, little-endian */
void rdb_put_len(struct rdb_writer *w, uint64_t n);
/* As an integer when it reads as one of 32 bits, LZF when that is shorter, else as it is. */
void rdb_put_string(struct rdb_writer *w, struct span s);
/* The type byte of a value, and the key if there is one. */
void rdb_put_type(struct rdb_writer *w, uint8_t type);
/* Structures (listpacks, intsets): never as an integer. */
void rdb_put_blob(struct rdb_writer *w, struct span s);
/* Data that was compressed by LZF already, of n bytes. */
void rdb_put_lzf(struct rdb_writer *w, struct span data, size_t n);
void rdb_put_i64_string(struct rdb_writer *w, int64_t v);
/* Version and checksum behind everything written so far. */
void rdb_put_footer(struct rdb_writer *w);

/* ---- reading: bytes that nobody has checked ---- */

struct rdb_reader {
    const uint8_t *cur, *end;
    struct mem *mem; /* for strings that must be made */
    uint8_t
        *scratch; /* the caller's: for one such string at a time, instead of `mem`; NULL: none */
    size_t scratch_n;
    bool failed;        /* too short, or nonsense: everything read from here on is 0 or empty */
    bool out_of_memory; /* then failed as well */
    size_t
        wants; /* failed because this many bytes were asked for at `cur` and are not there; 0: nonsense */
};

/* A string: borrowed from the input, or made. Free it before the next is read into it. */
struct rdb_text {
    struct span s;
    uint8_t *owned; /* NULL: borrowed, in `number`, or in the reader's scratch space */
    size_t owned_n;
    size_t scratch_n; /* of that space; 0: not there */
    char number[NUM_I64_CHARS];
};

void rdb_reader_init(struct rdb_reader *r, struct mem *mem, struct span in);
/* The footer's version and checksum; the reader then stands behind it: on the type byte, and ends before the footer. False: refused. */
bool rdb_check_footer(struct rdb_reader *r);
static inline size_t rdb_left(const struct rdb_reader *r)
{
    return (size_t)(r->end - r->cur);
}
/* n bytes, borrowed; NULL and failed when there are not so many. */
const uint8_t *rdb_get(struct rdb_reader *r, size_t n);
uint8_t rdb_get_u8(struct rdb_reader *r);
uint64_t rdb_get_u64(struct rdb_reader *r);
uint64_t rdb_get_u64_be(struct rdb_reader *r);
double rdb_get_double(struct rdb_reader *r);
/* The text form of ZSET: one byte of length, digits; 253 nan, 254 inf, 255 -inf. */
double rdb_get_old_double(struct rdb_reader *r);
uint64_t rdb_get_len(struct rdb_reader *r);
/* A number of elements of at least `bytes_each` input bytes: more than the rest of the input can hold is nonsense. */
uint64_t rdb_get_count(struct rdb_reader *r, size_t bytes_each);
/* False: failed. */
bool rdb_get_string(struct rdb_reader *r, struct rdb_text *ret);
void rdb_text_free(struct rdb_reader *r, struct rdb_text *t);
/* Over a string, whatever its form, without making it. False: failed. */
bool rdb_skip_string(struct rdb_reader *r);
/* The string as a block of its own, which the caller owns. False: failed. */
bool rdb_get_block(struct rdb_reader *r, struct mem_block *ret);
