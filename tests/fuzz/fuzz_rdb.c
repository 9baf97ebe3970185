/* RDB files under libFuzzer: the input is a file. Whatever it is, the reader takes it in two ways, at once and in pieces, with the same outcome, and
 * the values it cuts out are made and dropped. The checksum is not asked, so that mutations get past it. No memory may be left. */
#include <stdlib.h>

#include "engine/base/assert.h"
#include "engine/cmd/rdb_object.h"
#include "tests/fuzz/fuzz.h"
#include "tests/unit/cmd/harness.h"

struct outcome {
    enum rdb_file_status status;
    uint64_t keys, offset, made;
};

static void make_value(struct shard *s, const struct rdb_item *item, struct outcome *o)
{
    struct rdb_reader r;
    struct rdb_text key;
    struct rdb_object value;
    if (!rdb_body_key(&r, item->body, &s->mem, &key))
        return;
    if (rdb_load_object(&r, s, item->type, &value)) {
        struct entry *e = NULL;
        if (rdb_left(&r) == 0)
            e = rdb_object_put(&r, s, 0, key.s, shard_hash(s, key.s), &value, KS_NO_TTL);
        if (e)
            o->made++;
        else
            rdb_object_free(&r, s, &value);
    }
    rdb_text_free(&r, &key);
}

static struct outcome read_file(const uint8_t *data, size_t n, size_t chunk)
{
    struct harness h;
    struct rdb_file f;
    struct outcome o = {RDB_FILE_BAD, 0, 0, 0};
    size_t have = chunk < n ? chunk : n, at = 0;
    harness_init(&h, 1);
    rdb_file_init(&f, n, false);
    for (;;) {
        struct rdb_item item;
        uint8_t *copy = malloc(have - at + 1);
        CHECK(copy);
        memcpy(copy, data + at, have - at);
        o.status = rdb_file_next(&f, copy, have - at, &item);
        if (o.status == RDB_FILE_ITEM) {
            CHECK(item.bytes && item.bytes <= have - at);
            if (item.kind == RDB_ITEM_KEY)
                make_value(&h.shards[0], &item, &o);
            at += item.bytes;
        } else if (o.status == RDB_FILE_MORE) {
            CHECK(item.need > have - at && item.need <= n - at);
            have = at + item.need;
            if (have < n && n - have > chunk)
                have += chunk;
        }
        free(copy);
        if (o.status == RDB_FILE_BAD || o.status == RDB_FILE_END)
            break;
    }
    o.keys = f.keys;
    o.offset = f.offset;
    harness_run(&h, "FLUSHALL SYNC");
    harness_fini(&h); /* fails when a shard still holds memory */
    return o;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    if (n > 1 << 16)
        return 0;
    struct outcome a = read_file(data, n, n + 1), b = read_file(data, n, 5);
    CHECK(a.status == b.status && a.keys == b.keys && a.offset == b.offset && a.made == b.made);
    return 0;
}
