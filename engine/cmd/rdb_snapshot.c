/* rdb_snapshot.c: what a snapshot needs of values. Where in the flow: engine/shard/snapshot.c -> here -> rdb_save.c. */
#include "engine/cmd/rdb_object.h"

_Static_assert(sizeof(struct rdb_save) <= SNAPSHOT_STATE_BYTES, "a snapshot keeps it");

static bool begin(void *state, struct rdb_writer *w, const struct entry *e)
{
    return rdb_save_begin(state, w, e);
}
static bool some(void *state, struct rdb_writer *w, size_t budget)
{
    return rdb_save_some(state, w, budget);
}
const struct snapshot_ops rdb_snapshot_ops = {begin, some};
