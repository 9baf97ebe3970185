/* listen: who hears of a change of the keyspace.
 *
 * ks_changed and the changes of whole databases end here when anybody listens. A listener notes what it needs and sets a bit of shard.after;
 * it does not touch the keyspace: the command that made the change may still hold entries. Thread: the lease holder's. */
#include "engine/log/effect.h"
#include "engine/shard/shard_internal.h"
#include "engine/shard/wait.h"

/* What leaves by itself is an effect of its own; what else changes is an effect of the command that runs. */
static void note_effect(struct shard *s, uint32_t db, struct span key, enum ks_class cls)
{
    if (cls & (KS_EXPIRED | KS_EVICTED))
        effects_gone(s->effects, db, key, false);
    else
        s->effects->changed = true;
}

/* Changes without an event are of what no reader sees, but for the estimate that PFCOUNT writes down; and those of a stream's groups. */
static bool tells_of_value(enum ks_class cls, const char *event)
{
    return cls == KS_NONE ? strcmp(event, "pfcount") == 0 : !(cls & KS_UNSEEN);
}

void ks_tell(struct shard *s, uint32_t db, struct span key, enum ks_class cls, const char *event)
{
    if (s->listen & LISTEN_JOURNAL)
        note_effect(s, db, key, cls);
    bool first =
        cls & KS_EXPIRED; /* the event of that, then what it does to who has cached the key */
    if (first && (s->listen & LISTEN_NOTIFY))
        notify_note(s, db, key, cls, event);
    if ((s->listen & (LISTEN_TRACK | LISTEN_BROADCAST)) && tells_of_value(cls, event))
        track_changed(s, key);
    if (!first && (s->listen & LISTEN_NOTIFY))
        notify_note(s, db, key, cls, event);
    if ((s->listen & LISTEN_WATCH) && tells_of_value(cls, event))
        watch_tell(s, db, key);
    if (s->listen & LISTEN_HOOK)
        s->on_change(s->on_change_ctx, s, db, key, cls, event);
    if (s->listen & LISTEN_WAIT)
        wait_note(s, db, key, cls, event);
}

void ks_tell_db(struct shard *s, uint32_t db)
{
    if (s->listen & LISTEN_WAIT)
        wait_note_db(s, db);
}

void ks_tell_all(struct shard *s)
{
    if (s->listen & LISTEN_JOURNAL)
        s->effects->changed = true;
}

/* ks_changed by something that is no command. */
static void changed_by_time(struct shard *s, uint32_t db, struct span key, enum ks_class cls,
                            const char *event)
{
    bool changed = (s->listen & LISTEN_JOURNAL) && s->effects->changed;
    ks_changed(s, db, key, cls, event);
    if (s->listen & LISTEN_JOURNAL)
        s->effects->changed = changed;
}

void ks_field_expired(struct shard *s, uint32_t db, struct span key, struct span field)
{
    if (unlikely_(s->listen & LISTEN_JOURNAL))
        effects_field_gone(s->effects, db, key, field);
    changed_by_time(s, db, key, KS_HASH, "hexpired");
}

void ks_key_emptied(struct shard *s, uint32_t db, struct span key)
{
    changed_by_time(s, db, key, KS_GENERIC, "del");
}
