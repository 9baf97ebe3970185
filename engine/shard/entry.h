/* entry: one key with its value in one allocation.
 *
 *   +0 type:4 enc:4 | flags | 24-bit access clock (LRU or LFU) | key length | [expiry, 8 bytes] | key | value
 *
 * Small strings and integers are embedded behind the key; a string that is too long, or that grows often, and all
 * other types hang on a pointer there. The layout is private to entry.c but for the inline readers.
 * Entries move when they grow: keep none across a call that may change the key. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "engine/base/bytes.h"
#include "engine/base/mem.h"

enum obj_type { OBJ_STRING, OBJ_LIST, OBJ_SET, OBJ_ZSET, OBJ_HASH, OBJ_STREAM, OBJ_TYPES };

/* How a value is kept. OBJECT ENCODING answers the same, but for a small list: it is kept as one listpack and answers "quicklist", which
 * Redis 7.0 makes of every list. */
enum obj_enc {
    ENC_INT,
    ENC_EMBSTR,
    ENC_RAW,
    ENC_LISTPACK,
    ENC_QUICKLIST,
    ENC_INTSET,
    ENC_HASHTABLE,
    ENC_SKIPLIST,
    ENC_STREAM
};

struct entry;

enum obj_type entry_type(const struct entry *e);
enum obj_enc entry_enc(const struct entry *e);
struct span entry_key(const struct entry *e);
/* Unix time in ms, or -1 for none. */
int64_t entry_expire_ms(const struct entry *e);
/* The bytes of a string value. An int-encoded one is formatted into scratch (NUM_I64_CHARS bytes). */
struct span entry_string(const struct entry *e, char *scratch);
size_t entry_string_len(const struct entry *e);
/* True and *ret for int-encoded values. */
bool entry_int(const struct entry *e, int64_t *ret);
/* Bytes it really takes (size classes), key and value. */
size_t entry_bytes(const struct entry *e);
const char *obj_type_name(enum obj_type t); /* "string", "list", ... */
const char *obj_enc_name(enum obj_enc e);
const char *entry_enc_name(const struct entry *e); /* what OBJECT ENCODING answers */
