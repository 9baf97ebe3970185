/* stream_group_cmd.c: XGROUP and XACK.
 *
 * Where in the flow: cmd_call -> here -> engine/ds/stream_group.c, on the lease holder's thread. Orders of checks and texts are those of Redis
 * 7.0.15. (HELP is made by cmd_help.) */
#include "engine/cmd/command_table.h"
#include "engine/cmd/stream_cmd.h"

/* XGROUP x key group ...: the key and, when there is one, the group. */
struct group_args {
    struct stream_key sk;
    struct stream_group *g;
    int64_t entries_read;
    bool make;
};

/* MKSTREAM (of CREATE), ENTRIESREAD n from argument 5 on. False: the error was written. */
static bool group_options(struct cmd *c, bool create, struct group_args *a)
{
    a->make = false;
    a->entries_read = STREAM_READ_UNKNOWN;
    for (uint32_t i = 5; i < c->argc; i++) {
        if (create && span_is(c->argv[i], "mkstream")) {
            a->make = true;
        } else if (i + 1 < c->argc && span_is(c->argv[i], "entriesread")) {
            if (!cmd_arg_i64(c, ++i, &a->entries_read))
                return false;
            if (a->entries_read < 0 && a->entries_read != STREAM_READ_UNKNOWN) {
                reply_error(c->out, "ERR value for ENTRIESREAD must be positive or -1");
                return false;
            }
        } else {
            stream_reply_bad_sub(c);
            return false;
        }
    }
    return true;
}

/* Opens key and group; `must`: the group has to be there. False: the error was written. */
static bool group_open(struct cmd *c, bool must, struct group_args *a)
{
    a->g = NULL;
    if (!stream_open_write(c, 2, &a->sk))
        return false;
    if (!a->sk.e) {
        if (a->make)
            return true;
        reply_error(c->out, "ERR The XGROUP subcommand requires the key to exist. Note that for "
                            "CREATE you may want to use the MKSTREAM option to create an empty "
                            "stream automatically.");
        return false;
    }
    a->g = stream_group_find(a->sk.st, c->argv[3]);
    if (a->g || !must)
        return true;
    stream_reply_named(c, "NOGROUP No such consumer group '", c->argv[3], "' for key name '",
                       c->argv[2], "'");
    return false;
}

/* "$" is the last id of the stream. */
static bool arg_last(struct cmd *c, const struct group_args *a, struct stream_id *ret)
{
    if (!stream_arg_is(c->argv[4], '$'))
        return stream_arg_id(c, 4, ret);
    *ret = a->sk.st ? a->sk.st->last : STREAM_ID_MIN;
    return true;
}

/* A group of a stream that is made for it. False: no memory, nothing is left. */
static bool create_with_stream(struct group_args *a, struct span name, struct stream_id last)
{
    size_t freed;
    struct stream *st = stream_create(&a->sk.k.shard->mem);
    if (!st)
        return false;
    if (stream_group_create(st, name, last, a->entries_read) && stream_put(&a->sk, st))
        return true;
    stream_free_slice(st, SIZE_MAX, &freed);
    return false;
}

void cmd_xgroup_create(struct cmd *c)
{
    struct group_args a;
    struct stream_id last;
    if (!group_options(c, true, &a) || !group_open(c, false, &a))
        return;
    if (c->argc > 8) {
        stream_reply_bad_sub(c);
        return;
    }
    if (!arg_last(c, &a, &last))
        return;
    if (a.g) {
        reply_error(c->out, "BUSYGROUP Consumer Group name already exists");
        return;
    }
    bool there = a.sk.e != NULL;
    if (!(there ? stream_group_create(a.sk.st, c->argv[3], last, a.entries_read) != NULL
                : create_with_stream(&a, c->argv[3], last))) {
        cmd_reply_oom(c);
        return;
    }
    reply_ok(c->out);
    stream_changed(&a.sk, there ? KS_STREAM | KS_UNSEEN : KS_STREAM, "xgroup-create");
}

void cmd_xgroup_setid(struct cmd *c)
{
    struct group_args a;
    struct stream_id last;
    if (!group_options(c, false, &a) || !group_open(c, true, &a))
        return;
    if (c->argc != 5 && c->argc != 7) {
        stream_reply_bad_sub(c);
        return;
    }
    if (stream_arg_is(c->argv[4], '-'))
        last = STREAM_ID_MIN; /* only here: elsewhere it is no id */
    else if (stream_arg_is(c->argv[4], '+'))
        last = STREAM_ID_MAX;
    else if (!arg_last(c, &a, &last))
        return;
    a.g->last = last;
    a.g->entries_read = a.entries_read;
    reply_ok(c->out);
    stream_group_changed(&a.sk, "xgroup-setid");
}

void cmd_xgroup_destroy(struct cmd *c)
{
    struct group_args a = {0};
    if (!group_open(c, false, &a))
        return;
    if (!a.g) {
        reply_int(c->out, 0);
        return;
    }
    struct stream *gone = stream_group_detach(a.sk.st, a.g);
    if (gone)
        object_drop(a.sk.k.shard, OBJ_STREAM, ENC_STREAM,
                    &(struct mem_block){.p = (uint8_t *)gone});
    reply_int(c->out, 1);
    stream_group_changed(&a.sk, "xgroup-destroy");
}

void cmd_xgroup_createconsumer(struct cmd *c)
{
    struct group_args a = {0};
    if (!group_open(c, true, &a))
        return;
    if (stream_consumer_find(a.g, c->argv[4])) {
        reply_int(c->out, 0);
        return;
    }
    if (!stream_consumer_create(a.g, c->argv[4], stream_now_ms(c))) {
        cmd_reply_oom(c);
        return;
    }
    reply_int(c->out, 1);
    stream_group_changed(&a.sk, "xgroup-createconsumer");
}

void cmd_xgroup_delconsumer(struct cmd *c)
{
    struct group_args a = {0};
    if (!group_open(c, true, &a))
        return;
    struct stream_consumer *consumer = stream_consumer_find(a.g, c->argv[4]);
    if (!consumer) {
        reply_int(c->out, 0);
        return;
    }
    reply_int(c->out, (int64_t)consumer->pel.count);
    struct stream *gone = stream_consumer_detach(a.g, consumer);
    if (gone)
        object_drop(a.sk.k.shard, OBJ_STREAM, ENC_STREAM,
                    &(struct mem_block){.p = (uint8_t *)gone});
    stream_group_changed(&a.sk, "xgroup-delconsumer");
}

/* ---- XACK key group id [id ...] ---- */

void cmd_xack(struct cmd *c)
{
    struct stream_key sk;
    struct stream_ids ids;
    int64_t n = 0;
    if (!stream_open_read(c, 1, &sk))
        return;
    struct stream_group *g = sk.e ? stream_group_find(sk.st, c->argv[2]) : NULL;
    if (!g) {
        reply_int(c->out, 0);
        return;
    }
    if (!stream_args_ids(c, 3, &ids))
        return;
    for (size_t i = 0; i < ids.n; i++)
        n += stream_pending_remove(g, ids.v[i]);
    stream_ids_free(c, &ids);
    if (n)
        stream_changed(&sk, KS_NONE, "xack");
    reply_int(c->out, n);
}
