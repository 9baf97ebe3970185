/* OBJECT ENCODING, FREQ, IDLETIME, REFCOUNT: what is known about a value besides its bytes. (HELP is made by cmd_help.)
 *
 * Where in the flow: cmd_call -> here, on the lease holder's thread. Looking does not touch the access clock. */
#include <limits.h>

#include "engine/cmd/cmd_internal.h"
#include "engine/cmd/keyref.h"

#define SHARED_INTEGERS 10000 /* Redis keeps 0..9999 once and counts them as owned by everyone */

#define POLICY_SWITCH_NOTE                                                                    \
    "Please note that when switching between policies at runtime LRU and LFU data will take " \
    "some time to adjust."

/* The entry, or NULL after the null reply. As in Redis a miss is counted, but it is no keyspace event. */
static struct entry *object_find(struct cmd *c, struct keyref *ret)
{
    *ret = keyref_first(c, 2);
    struct entry *e = keyref_peek(c, ret);
    if (e) {
        ret->shard->stats.hits++;
    } else {
        ret->shard->stats.misses++;
        reply_null(c->out);
    }
    return e;
}

static bool policy_is_lfu(uint32_t policy)
{
    return policy == POLICY_ALLKEYS_LFU || policy == POLICY_VOLATILE_LFU;
}

/* Redis shares no integers when each key needs an access clock of its own. */
static bool integers_shared(const struct engine_config *cfg)
{
    return cfg->maxmemory_bytes == 0 ||
           !(policy_is_lfu(cfg->maxmemory_policy) || cfg->maxmemory_policy == POLICY_ALLKEYS_LRU ||
             cfg->maxmemory_policy == POLICY_VOLATILE_LRU);
}

void cmd_object_encoding(struct cmd *c)
{
    struct keyref k;
    const struct entry *e = object_find(c, &k);
    if (e)
        reply_bulk_str(c->out, entry_enc_name(e));
}

int object_refcount(const struct cmd *c, const struct entry *e)
{
    int64_t v;
    bool shared = entry_type(e) == OBJ_STRING && entry_int(e, &v) && v >= 0 &&
                  v < SHARED_INTEGERS && integers_shared(c->host->config);
    return shared ? INT_MAX : 1;
}

void cmd_object_refcount(struct cmd *c)
{
    struct keyref k;
    const struct entry *e = object_find(c, &k);
    if (e)
        reply_int(c->out, object_refcount(c, e));
}

void cmd_object_idletime(struct cmd *c)
{
    struct keyref k;
    const struct entry *e = object_find(c, &k);
    if (!e)
        return;
    uint32_t policy = c->host->config->maxmemory_policy;
    if (policy == POLICY_ALLKEYS_S3FIFO)
        reply_error(c->out, "ERR The allkeys-s3fifo maxmemory policy is selected, idle time not "
                            "tracked. " POLICY_SWITCH_NOTE);
    else if (policy_is_lfu(policy))
        reply_error(
            c->out,
            "ERR An LFU maxmemory policy is selected, idle time not tracked. " POLICY_SWITCH_NOTE);
    else
        reply_int(c->out, (int64_t)ks_idle_s(k.shard, e));
}

void cmd_object_freq(struct cmd *c)
{
    struct keyref k;
    const struct entry *e = object_find(c, &k);
    if (!e)
        return;
    uint32_t policy = c->host->config->maxmemory_policy;
    if (!policy_is_lfu(policy) && policy != POLICY_ALLKEYS_S3FIFO)
        reply_error(c->out, "ERR An LFU maxmemory policy is not selected, access frequency not "
                            "tracked. " POLICY_SWITCH_NOTE);
    else
        reply_int(c->out, ks_freq(k.shard, e));
}
