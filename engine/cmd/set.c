/* Sets, one at a time: SADD, SREM, SISMEMBER, SMISMEMBER, SCARD, SMEMBERS, SMOVE.
 *
 * Where in the flow: cmd_call -> here -> engine/ds/set.c, on the lease holder's thread. */
#include "engine/cmd/set.h"

#include "engine/cmd/command_table.h"
#include "engine/cmd/long_reply.h"

void set_drop_key(struct cmd *c, const struct keyref *k, struct entry *e)
{
    ks_delete(k->shard, c->db, e, k->hash, false);
    keyref_changed(c, k, KS_GENERIC, "del");
}

void set_reply_all(struct reply *r, const struct set *s, void (*header)(struct reply *r, size_t n))
{
    struct set_iter it;
    struct set_member m;
    header(r, set_count(s));
    set_iter_init(&it, s);
    while (set_next(&it, &m) && !r->failed)
        set_reply_member(r, &m);
}

/* ---- SADD, SREM ---- */

/* Adds all arguments from `first` on. Returns how many are new; -1: no memory, those before may have been added. */
static int64_t add_args(const struct cmd *c, struct set *s, uint32_t first)
{
    int64_t added = 0;
    for (uint32_t i = first; i < c->argc; i++) {
        enum set_added a = set_add(s, c->argv[i]);
        if (a == SET_NO_MEMORY)
            return -1;
        added += a == SET_NEW;
    }
    return added;
}

/* A new key with these members. Returns as add_args, and nothing is left behind on -1. */
static int64_t create_with(struct cmd *c, const struct keyref *k, uint32_t first)
{
    struct set s = set_on(c, k->shard);
    int64_t v;
    if (!set_init(&s, num_parse_i64(c->argv[first], &v)))
        return -1;
    int64_t added = add_args(c, &s, first);
    if (added >= 0 &&
        ks_set_object(k->shard, c->db, k->key, k->hash, OBJ_SET, set_encoding(&s), &s.b, KS_NO_TTL))
        return added;
    set_free(&s);
    return -1;
}

void cmd_sadd(struct cmd *c)
{
    struct keyref k = keyref_first(c, 1);
    struct entry *e = keyref_write(c, &k);
    int64_t added;
    if (!set_check(c, e))
        return;
    if (e) {
        struct set s = set_open(c, k.shard, e);
        size_t before = set_count(&s);
        added = add_args(c, &s, 2);
        set_close(e, &s);
        if (added < 0 && set_count(&s) != before)
            keyref_changed(c, &k, KS_SET, "sadd");
    } else {
        added = create_with(c, &k, 2);
    }
    if (added < 0) {
        cmd_reply_oom(c);
        return;
    }
    if (added)
        keyref_changed(c, &k, KS_SET, "sadd");
    reply_int(c->out, added);
}

void cmd_srem(struct cmd *c)
{
    struct keyref k = keyref_first(c, 1);
    struct entry *e = keyref_write(c, &k);
    if (!set_check(c, e))
        return;
    if (!e) {
        reply_int(c->out, 0);
        return;
    }
    struct set s = set_open(c, k.shard, e);
    int64_t removed = 0;
    for (uint32_t i = 2; i < c->argc && set_count(&s); i++)
        removed += set_remove(&s, c->argv[i]);
    set_close(e, &s);
    if (removed) {
        keyref_changed(c, &k, KS_SET, "srem");
        if (!set_count(&s))
            set_drop_key(c, &k, e);
    }
    reply_int(c->out, removed);
}

/* ---- reading ---- */

void cmd_sismember(struct cmd *c)
{
    struct keyref k = keyref_first(c, 1);
    const struct entry *e = keyref_read(c, &k);
    if (!set_check(c, e))
        return;
    if (!e) {
        reply_int(c->out, 0);
        return;
    }
    struct set s = set_open(c, k.shard, e);
    reply_int(c->out, set_has(&s, c->argv[2]));
}

void cmd_smismember(struct cmd *c)
{
    struct keyref k = keyref_first(c, 1);
    const struct entry *e = keyref_read(c, &k);
    if (!set_check(c, e))
        return;
    struct set s = {0};
    if (e)
        s = set_open(c, k.shard, e);
    reply_array(c->out, c->argc - 2);
    for (uint32_t i = 2; i < c->argc; i++)
        reply_int(c->out, e && set_has(&s, c->argv[i]));
}

void cmd_scard(struct cmd *c)
{
    struct keyref k = keyref_first(c, 1);
    const struct entry *e = keyref_read(c, &k);
    if (!set_check(c, e))
        return;
    struct set s = {0};
    if (e)
        s = set_open(c, k.shard, e);
    reply_int(c->out, e ? (int64_t)set_count(&s) : 0);
}

static bool more_members(struct held *h, struct reply *out, size_t budget)
{
    struct long_reply *r = long_reply_of(h);
    struct set_member m;
    for (size_t done = 0; done < budget; done += m.text.n + REPLY_ELEMENT_BYTES) {
        if (!set_next(&r->members, &m))
            return true;
        set_reply_member(out, &m);
    }
    return false;
}

void cmd_smembers(struct cmd *c)
{
    struct keyref k = keyref_first(c, 1);
    const struct entry *e = keyref_read(c, &k);
    if (!set_check(c, e))
        return;
    if (!e) {
        reply_set(c->out, 0);
        return;
    }
    struct set s = set_open(c, k.shard, e);
    struct long_reply *r =
        set_is_ints(&s) ? NULL : long_reply_begin(c, k.shard, e, 1, 1, more_members);
    if (likely_(!r)) {
        set_reply_all(c->out, &s, reply_set);
        return;
    }
    reply_set(c->out, set_count(&s));
    r->set = s;
    set_iter_init(&r->members, &r->set);
}

/* ---- SMOVE source destination member ---- */

/* Adds the member to the destination, which may not be there. True: it is there now, and *added tells whether it was not before. */
static bool move_into(struct cmd *c, const struct keyref *k, struct entry *e, struct span member,
                      bool *added)
{
    struct set s;
    int64_t v;
    if (e) {
        s = set_open(c, k->shard, e);
        enum set_added a = set_add(&s, member);
        set_close(e, &s);
        *added = a == SET_NEW;
        return a != SET_NO_MEMORY;
    }
    s = set_on(c, k->shard);
    *added = true;
    if (!set_init(&s, num_parse_i64(member, &v)))
        return false;
    if (set_add(&s, member) == SET_NEW &&
        ks_set_object(k->shard, c->db, k->key, k->hash, OBJ_SET, set_encoding(&s), &s.b, KS_NO_TTL))
        return true;
    set_free(&s);
    return false;
}

void cmd_smove(struct cmd *c)
{
    struct keyref from = keyref_first(c, 1), to = keyref_at(c, 2);
    struct span member = c->argv[3];
    struct entry *e = keyref_write(c, &from), *dest = keyref_write(c, &to);
    if (!e) {
        reply_int(c->out, 0);
        return;
    }
    if (!set_check(c, e) || !set_check(c, dest))
        return;
    struct set s = set_open(c, from.shard, e);
    bool there = set_has(&s, member), added;
    if (!there || e == dest) {
        reply_int(c->out, there);
        return;
    }
    if (!move_into(c, &to, dest, member, &added)) {
        cmd_reply_oom(c);
        return;
    }
    set_remove(&s, member);
    set_close(e, &s);
    keyref_changed(c, &from, KS_SET, "srem");
    if (!set_count(&s))
        set_drop_key(c, &from, e);
    if (added)
        keyref_changed(c, &to, KS_SET, "sadd");
    reply_int(c->out, 1);
}
