/* rdb_skip.c: over RDB values without making them, to find where they end. What stands in them is checked by those who make them.
 * Where in the flow: rdb_file.c -> here. Formats: rdb.h, and engine/cmd/rdb_stream.h for streams. */
#include "engine/log/rdb_file.h"

/* Opcodes between the tagged values of a module. */
enum { MODULE_END, MODULE_SINT, MODULE_UINT, MODULE_FLOAT, MODULE_DOUBLE, MODULE_STRING };

static bool skip_strings(struct rdb_reader *r, uint64_t n)
{
    while (n && rdb_skip_string(r))
        n--;
    return n == 0 && !r->failed;
}

static bool skip_pairs(struct rdb_reader *r)
{
    uint64_t n = rdb_get_len(r);
    for (; n && skip_strings(r, 2); n--) {
    }
    return n == 0 && !r->failed;
}

static bool skip_zset(struct rdb_reader *r, uint8_t type)
{
    uint64_t n = rdb_get_len(r);
    for (; n && rdb_skip_string(r); n--) {
        uint8_t text = type == RDB_ZSET ? rdb_get_u8(r) : 8;
        if (text < 253 && !rdb_get(r, text))
            break;
    }
    return n == 0 && !r->failed;
}

static bool skip_quicklist_2(struct rdb_reader *r)
{
    uint64_t n = rdb_get_len(r);
    for (; n && !r->failed; n--) {
        rdb_get_len(r); /* of what kind the node is */
        rdb_skip_string(r);
    }
    return !r->failed;
}

static bool skip_hash_metadata(struct rdb_reader *r)
{
    rdb_get_u64(r);
    uint64_t n = rdb_get_len(r);
    for (; n && !r->failed; n--) {
        rdb_get_len(r);
        skip_strings(r, 2);
    }
    return !r->failed;
}

/* Times a fixed number of bytes that need not be looked at. */
static bool skip_fixed(struct rdb_reader *r, uint64_t n, size_t each)
{
    if (n > SIZE_MAX / each) {
        r->failed = true;
        return false;
    }
    return rdb_get(r, n * each) != NULL;
}

static bool skip_group(struct rdb_reader *r, uint8_t type)
{
    rdb_skip_string(r);
    rdb_get_len(r);
    rdb_get_len(r);
    if (type != RDB_STREAM_LISTPACKS)
        rdb_get_len(r);
    for (uint64_t waiting = rdb_get_len(r); waiting && !r->failed; waiting--) {
        rdb_get(r, 16 + 8);
        rdb_get_len(r);
    }
    for (uint64_t consumers = rdb_get_len(r); consumers && !r->failed; consumers--) {
        rdb_skip_string(r);
        rdb_get(r, type == RDB_STREAM_LISTPACKS_3 ? 16 : 8);
        uint64_t ids = rdb_get_len(r);
        if (!r->failed)
            skip_fixed(r, ids, 16);
    }
    return !r->failed;
}

static bool skip_stream(struct rdb_reader *r, uint8_t type)
{
    uint64_t nodes = rdb_get_len(r);
    for (; nodes && skip_strings(r, 2); nodes--) {
    }
    for (int i = type == RDB_STREAM_LISTPACKS ? 3 : 8; i; i--)
        rdb_get_len(r); /* length, last id; first id, greatest deleted id, entries added */
    for (uint64_t groups = rdb_get_len(r); groups && !r->failed; groups--)
        skip_group(r, type);
    return !r->failed;
}

bool rdb_skip_module(struct rdb_reader *r)
{
    while (!r->failed) {
        switch (rdb_get_len(r)) {
        case MODULE_END: return !r->failed;
        case MODULE_SINT:
        case MODULE_UINT: rdb_get_len(r); break;
        case MODULE_FLOAT: rdb_get(r, 4); break;
        case MODULE_DOUBLE: rdb_get(r, 8); break;
        case MODULE_STRING: rdb_skip_string(r); break;
        default: r->failed = true;
        }
    }
    return false;
}

void rdb_module_name(uint64_t id, char ret[10])
{
    static const char set[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    for (int i = 8; i >= 0; i--) {
        id >>= i == 8 ? 10 : 6; /* below them: a version */
        ret[i] = set[id & 63];
    }
    ret[9] = 0;
}

bool rdb_skip_value(struct rdb_reader *r, uint8_t type)
{
    switch (type) {
    case RDB_STRING:
    case RDB_HASH_ZIPMAP:
    case RDB_LIST_ZIPLIST:
    case RDB_SET_INTSET:
    case RDB_ZSET_ZIPLIST:
    case RDB_HASH_ZIPLIST:
    case RDB_HASH_LISTPACK:
    case RDB_ZSET_LISTPACK:
    case RDB_SET_LISTPACK:
    case RDB_HASH_LISTPACK_EX_PRE_GA: return rdb_skip_string(r);
    case RDB_HASH_LISTPACK_EX: rdb_get_u64(r); return rdb_skip_string(r);
    case RDB_LIST:
    case RDB_SET:
    case RDB_LIST_QUICKLIST: {
        uint64_t n = rdb_get_len(r);
        return !r->failed && skip_strings(r, n);
    }
    case RDB_LIST_QUICKLIST_2: return skip_quicklist_2(r);
    case RDB_HASH: return skip_pairs(r);
    case RDB_ZSET:
    case RDB_ZSET_2: return skip_zset(r, type);
    case RDB_HASH_METADATA: return skip_hash_metadata(r);
    case RDB_STREAM_LISTPACKS:
    case RDB_STREAM_LISTPACKS_2:
    case RDB_STREAM_LISTPACKS_3: return skip_stream(r, type);
    default: r->failed = true; return false;
    }
}
