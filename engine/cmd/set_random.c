/* Members by chance: SPOP key [count], SRANDMEMBER key [count].
 *
 *   SPOP count               the reply goes out member by member before each is removed: nothing is collected
 *   SRANDMEMBER count >= 0   distinct members: few of many by drawing, otherwise by one walk that takes each with the probability
 *                            wanted / left
 *   SRANDMEMBER count < 0    independent draws
 *
 * Where in the flow: cmd_call -> here -> engine/ds/set.c, on the lease holder's thread. */
#include "engine/cmd/command_table.h"
#include "engine/cmd/effect.h"
#include "engine/cmd/sample.h"
#include "engine/cmd/set.h"

/* SPOP of nearly all: Redis then builds a new set of what stays, which may be an intset again. */
#define POP_REBUILD_RATIO 5

/* Before the member goes: its text may lie in the set. */
static void say_popped(struct cmd *c, const struct keyref *k, const struct set_member *m)
{
    struct set_member copy = *m;
    CMD_SAY(c, SPAN("SREM"), k->key, set_member_text(&copy));
}

static void pop_one(struct cmd *c)
{
    struct keyref k = keyref_first(c, 1);
    struct entry *e = keyref_write(c, &k);
    struct set_member m;
    if (!set_check(c, e))
        return;
    if (!e) {
        reply_null(c->out);
        return;
    }
    struct set s = set_open(c, k.shard, e);
    set_random(&s, cmd_draw, k.shard, &m);
    set_reply_member(c->out, &m);
    say_popped(c, &k, &m);
    set_remove_member(&s, &m);
    set_close(e, &s);
    keyref_changed(c, &k, KS_SET, "spop");
    if (!set_count(&s))
        set_drop_key(c, &k, e);
}

static void pop_count(struct cmd *c)
{
    int64_t count;
    if (!cmd_arg_positive(c, 2, &count))
        return;
    struct keyref k = keyref_first(c, 1);
    struct entry *e = keyref_write(c, &k);
    if (!set_check(c, e))
        return;
    if (!e || !count) {
        reply_set(c->out, 0);
        return;
    }
    struct set s = set_open(c, k.shard, e);
    uint64_t size = set_count(&s), n = (uint64_t)count;
    if (n >= size) {
        set_reply_all(c->out, &s, reply_set);
        keyref_changed(c, &k, KS_SET, "spop");
        set_drop_key(c, &k, e);
        CMD_SAY(c, SPAN("DEL"), k.key);
        return;
    }
    reply_set(c->out, n);
    for (uint64_t i = 0; i < n; i++) {
        struct set_member m;
        set_random(&s, cmd_draw, k.shard, &m);
        set_reply_member(c->out, &m);
        say_popped(c, &k, &m);
        set_remove_member(&s, &m);
    }
    if ((size - n) * POP_REBUILD_RATIO <= n)
        set_to_ints(&s);
    set_close(e, &s);
    keyref_changed(c, &k, KS_SET, "spop");
}

void cmd_spop(struct cmd *c)
{
    if (c->argc > 3)
        cmd_reply_syntax(c);
    else if (c->argc == 3)
        pop_count(c);
    else
        pop_one(c);
}

/* n distinct members out of more. False: no memory, nothing was written. */
static bool draw_distinct(struct cmd *c, struct shard *shard, const struct set *s, uint64_t n)
{
    struct set drawn = set_on(c, shard);
    if (!set_init(&drawn, false))
        return false;
    while (set_count(&drawn) < n) {
        struct set_member m;
        set_random(s, cmd_draw, shard, &m);
        if (set_add_member(&drawn, &m) == SET_NO_MEMORY) {
            set_free(&drawn);
            return false;
        }
    }
    set_reply_all(c->out, &drawn, reply_array);
    set_free(&drawn);
    return true;
}

static void walk_distinct(struct cmd *c, struct shard *shard, const struct set *s, uint64_t n)
{
    struct sample sample = {set_count(s), n};
    struct set_iter it;
    struct set_member m;
    reply_array(c->out, n);
    set_iter_init(&it, s);
    while (sample.want && set_next(&it, &m))
        if (sample_take(&sample, shard))
            set_reply_member(c->out, &m);
}

static void random_count(struct cmd *c)
{
    int64_t count;
    if (!cmd_arg_count(c, 2, &count))
        return;
    struct keyref k = keyref_first(c, 1);
    const struct entry *e = keyref_read(c, &k);
    if (!set_check(c, e))
        return;
    if (!e || !count) {
        reply_array(c->out, 0);
        return;
    }
    struct set s = set_open(c, k.shard, e);
    uint64_t size = set_count(&s);
    if (count < 0) {
        reply_array(c->out, (uint64_t)-count);
        for (; count < 0 && !c->out->failed; count++) {
            struct set_member m;
            set_random(&s, cmd_draw, k.shard, &m);
            set_reply_member(c->out, &m);
        }
    } else if ((uint64_t)count >= size) {
        set_reply_all(c->out, &s, reply_array);
    } else if (set_is_ints(&s) || (uint64_t)count > size / SAMPLE_DRAW_RATIO) {
        walk_distinct(c, k.shard, &s, (uint64_t)count);
    } else if (!draw_distinct(c, k.shard, &s, (uint64_t)count)) {
        cmd_reply_oom(c);
    }
}

void cmd_srandmember(struct cmd *c)
{
    if (c->argc > 3) {
        cmd_reply_syntax(c);
        return;
    }
    if (c->argc == 3) {
        random_count(c);
        return;
    }
    struct keyref k = keyref_first(c, 1);
    const struct entry *e = keyref_read(c, &k);
    struct set_member m;
    if (!set_check(c, e))
        return;
    if (!e) {
        reply_null(c->out);
        return;
    }
    struct set s = set_open(c, k.shard, e);
    set_random(&s, cmd_draw, k.shard, &m);
    set_reply_member(c->out, &m);
}
