/* listen: who hears of a change of the keyspace.
 *
 * ks_changed and the changes of whole databases end here when anybody listens. A listener notes what it needs and sets a bit of shard.after;
 * it does not touch the keyspace: the command that made the change may still hold entries. Thread: the lease holder's. */
#include "engine/shard/shard_internal.h"

void ks_tell(struct shard *s, uint32_t db, struct span key, enum ks_class cls, const char *event)
{
    if (s->listen & LISTEN_HOOK)
        s->on_change(s->on_change_ctx, s, db, key, cls, event);
}
