/* rdb_file: RDB files as a whole: header, opcodes, keys, end. The values themselves: engine/cmd/rdb_object.h.
 *
 *   "REDIS" version (4 digits) | items ... | 0xff | CRC-64 of all before (8 bytes, little-endian; 0: none), from version 5 on
 *   item   250 aux name value | 251 sizes of the database | 254 database number | 244 slot sizes | 245 function library | 247 of a module
 *          [252 expiry ms | 253 expiry s] [248 idle s] [249 LFU counter] type key value          an item is a key with all before it
 *
 * The reader is given the bytes from where it stands and takes one item at a time; when they end inside one it says how many it takes at least.
 * It finds the end of every value without making it, so a file is cut into keys at the speed of a walk over its lengths.
 * Format: Redis 7.0, version 10; versions 1 to 12 are read. Knows bytes only; no files, no clock. */
#pragma once

#include "engine/log/rdb.h"

#define RDB_MAGIC_BYTES 9
#define RDB_END_BYTES   9

enum rdb_opcode {
    RDB_OP_SLOT_INFO = 244,
    RDB_OP_FUNCTION = 245,
    RDB_OP_FUNCTION_OLD = 246,
    RDB_OP_MODULE_AUX = 247,
    RDB_OP_IDLE = 248,
    RDB_OP_FREQ = 249,
    RDB_OP_AUX = 250,
    RDB_OP_RESIZE = 251,
    RDB_OP_EXPIRE_MS = 252,
    RDB_OP_EXPIRE_S = 253,
    RDB_OP_SELECT = 254,
    RDB_OP_END = 255,
};

/* ---- writing ---- */

struct rdb_file_facts {
    uint32_t version; /* RDB_VERSION_WRITTEN, or what a value needs */
    int64_t now_s;
    uint64_t used_memory;
    bool aof_base; /* the base of an append-only file */
};
void rdb_put_header(struct rdb_writer *w, const struct rdb_file_facts *f);
void rdb_put_select(struct rdb_writer *w, uint32_t db);
void rdb_put_sizes(struct rdb_writer *w, uint64_t keys, uint64_t expires);
/* What stands before the type of a key; -1: has none. */
void rdb_put_key_facts(struct rdb_writer *w, int64_t expire_ms, int64_t idle_s, int64_t freq);
/* The end, `crc` being that of all before it; `checksum` false: zeros, as rdbchecksum no. */
void rdb_put_end(struct rdb_writer *w, uint64_t crc, bool checksum);

/* ---- reading ---- */

enum rdb_file_status {
    RDB_FILE_ITEM, /* `ret` is filled; go on behind its `bytes` */
    RDB_FILE_MORE, /* at least `need` bytes are wanted from the same place on */
    RDB_FILE_END,  /* whole, checksum right or absent; `bytes` of it belong to the file */
    RDB_FILE_BAD,  /* `error` says what is wrong; the item began at `offset` */
};

enum rdb_item_kind {
    RDB_ITEM_HEADER,
    RDB_ITEM_AUX, /* key and value: texts, borrowed; empty for what is kept in another form than plain */
    RDB_ITEM_SELECT,
    RDB_ITEM_SIZES,
    RDB_ITEM_SLOT,
    RDB_ITEM_FUNCTION,   /* a library of functions: nothing here can run it */
    RDB_ITEM_MODULE_AUX, /* `module` names it */
    RDB_ITEM_KEY,
};

struct rdb_item {
    enum rdb_item_kind kind;
    size_t bytes; /* of the item */
    size_t need;  /* RDB_FILE_MORE */
    /* RDB_ITEM_KEY */
    uint8_t type;
    int64_t expire_ms, idle_s, freq; /* -1: none */
    struct span body;                /* key and value, behind the type byte; borrowed */
    struct span value;               /* of it; RDB_ITEM_AUX: the value */
    struct span name;                /* RDB_ITEM_AUX */
    int64_t number;                  /* RDB_ITEM_AUX: the value kept as an integer; -1: it is not */
    uint64_t keys, expires;          /* RDB_ITEM_SIZES */
    char module[10];                 /* RDB_ITEM_MODULE_AUX; of a refused value too */
};

struct rdb_file {
    uint64_t offset; /* in the file: where the next item begins */
    uint64_t left;   /* bytes of the file from there on; UINT64_MAX: not known */
    uint64_t crc;
    uint32_t version; /* 0: the header has not been read */
    uint32_t db;
    uint64_t keys; /* met so far */
    bool ended;    /* RDB_FILE_END was answered */
    bool no_check; /* the checksum is not computed (rdbchecksum no) */
    bool gathers;  /* set by a caller who calls rdb_file_settle before he moves or frees bytes that
                       were taken: they are then summed many items at a time */
    const uint8_t *unsummed; /* gathers: these were taken and are not in `crc` yet */
    size_t unsummed_n;
    bool unchecked; /* the file has none */
    char error[160];
};

void rdb_file_init(struct rdb_file *f, uint64_t file_bytes, bool check);
/* n bytes from the file's `offset` on. Strings behind the reader's position are not touched before they are asked for. */
enum rdb_file_status rdb_file_next(struct rdb_file *f, const uint8_t *p, size_t n,
                                   struct rdb_item *ret);
void rdb_file_settle(struct rdb_file *f);
/* The key of a body, made; the reader then stands on the value. False: r->failed. Free it with rdb_text_free. */
bool rdb_body_key(struct rdb_reader *r, struct span body, struct mem *mem, struct rdb_text *ret);

/* rdb_skip.c: over one value of that type. False: r->failed, r->wants how far it got (rdb.h). */
bool rdb_skip_value(struct rdb_reader *r, uint8_t type);
/* "name" of a module's 64-bit id: nine characters of six bits. */
void rdb_module_name(uint64_t id, char ret[10]);
/* Over the tagged values of a module up to their end. */
bool rdb_skip_module(struct rdb_reader *r);
