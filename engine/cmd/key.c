/* Keys of any type: DEL, UNLINK, EXISTS, TOUCH, TYPE, RENAME, COPY, MOVE.
 *
 * Where in the flow: cmd_call -> here -> keyspace, on the thread that holds the leases. DEL, UNLINK, EXISTS and TOUCH also run as
 * parts of a split and then see keys of their own shard only; RENAME and COPY may find their two keys on two shards. */
#include "engine/cmd/command_table.h"
#include "engine/cmd/keyref.h"

static void del_generic(struct cmd *c, bool lazy)
{
    int64_t n = 0;
    for (uint32_t i = 1; i < c->argc; i++) {
        struct keyref k = keyref_nth(c, i, 1);
        struct entry *e = keyref_peek(c, &k);
        if (!e)
            continue;
        ks_delete(k.shard, c->db, e, k.hash, lazy);
        keyref_changed(c, &k, KS_GENERIC, "del");
        n++;
    }
    if (c->argc > 2)
        keyref_told_in_steps(c);
    reply_int(c->out, n);
}

void cmd_del(struct cmd *c)
{
    del_generic(c, c->host->config->lazyfree_user_del);
}

void cmd_unlink(struct cmd *c)
{
    del_generic(c, true);
}

void cmd_exists(struct cmd *c)
{
    int64_t n = 0;
    for (uint32_t i = 1; i < c->argc; i++) {
        struct keyref k = keyref_nth(c, i, 1);
        n += keyref_look(c, &k) != NULL;
    }
    reply_int(c->out, n);
}

void cmd_touch(struct cmd *c)
{
    int64_t n = 0;
    for (uint32_t i = 1; i < c->argc; i++) {
        struct keyref k = keyref_nth(c, i, 1);
        n += keyref_read(c, &k) != NULL;
    }
    reply_int(c->out, n);
}

void cmd_type(struct cmd *c)
{
    struct keyref k = keyref_first(c, 1);
    const struct entry *e = keyref_look(c, &k);
    reply_simple(c->out, e ? obj_type_name(entry_type(e)) : "none");
}

/* ---- one key becomes another ---- */

static void rename_generic(struct cmd *c, bool nx)
{
    struct keyref from = keyref_first(c, 1), to = keyref_at(c, 2);
    struct entry *e = keyref_write(c, &from);
    if (!e) {
        reply_error(c->out, "ERR no such key");
        return;
    }
    bool same = span_eq(from.key, to.key);
    if (same || (nx && keyref_write(c, &to))) {
        if (nx)
            reply_int(c->out, 0);
        else
            reply_ok(c->out);
        return;
    }
    bool there = ks_peek(to.shard, c->db, to.key, to.hash) != NULL;
    if (!ks_move(from.shard, c->db, e, from.hash, to.shard, c->db, to.key, to.hash)) {
        cmd_reply_oom(c);
        return;
    }
    if (there)
        ks_renewed(to.shard, c->db, to.key);
    keyref_changed(c, &from, KS_GENERIC, "rename_from");
    keyref_changed(c, &to, KS_GENERIC, "rename_to");
    if (nx)
        reply_int(c->out, 1);
    else
        reply_ok(c->out);
}

void cmd_rename(struct cmd *c)
{
    rename_generic(c, false);
}

void cmd_renamenx(struct cmd *c)
{
    rename_generic(c, true);
}

/* The database that argument i names. False: the error was written. */
static bool arg_db(struct cmd *c, uint32_t i, uint32_t *ret)
{
    int db;
    if (!cmd_arg_int(c, i, &db, NULL))
        return false;
    if (db < 0 || (uint32_t)db >= cmd_databases(c)) {
        reply_error(c->out, "ERR DB index is out of range");
        return false;
    }
    *ret = (uint32_t)db;
    return true;
}

static void reply_same_object(struct cmd *c)
{
    reply_error(c->out, "ERR source and destination objects are the same");
}

void cmd_copy(struct cmd *c)
{
    uint32_t db = c->db;
    bool replace = false;
    for (uint32_t i = 3; i < c->argc; i++) {
        if (span_is(c->argv[i], "replace")) {
            replace = true;
        } else if (span_is(c->argv[i], "db") && i + 1 < c->argc) {
            if (!arg_db(c, ++i, &db))
                return;
        } else {
            cmd_reply_syntax(c);
            return;
        }
    }
    if (db == c->db && span_eq(c->argv[1], c->argv[2])) {
        reply_same_object(c);
        return;
    }
    struct keyref from = keyref_first(c, 1), to = keyref_at(c, 2);
    struct entry *e = keyref_read(c, &from);
    bool there = e && ks_write(to.shard, db, to.key, to.hash);
    if (!e || (there && !replace)) {
        reply_int(c->out, 0);
        return;
    }
    if (!ks_copy(to.shard, db, to.key, to.hash, e, entry_expire_ms(e))) {
        cmd_reply_oom(c);
        return;
    }
    if (there)
        ks_renewed(to.shard, db, to.key);
    ks_changed(to.shard, db, to.key, KS_GENERIC, "copy_to");
    reply_int(c->out, 1);
}

void cmd_move(struct cmd *c)
{
    struct keyref k = keyref_first(c, 1);
    uint32_t db;
    if (!arg_db(c, 2, &db))
        return;
    if (db == c->db) {
        reply_same_object(c);
        return;
    }
    struct entry *e = keyref_write(c, &k);
    if (!e || ks_write(k.shard, db, k.key, k.hash)) {
        reply_int(c->out, 0);
        return;
    }
    if (!ks_move(k.shard, c->db, e, k.hash, k.shard, db, k.key, k.hash)) {
        cmd_reply_oom(c);
        return;
    }
    keyref_changed(c, &k, KS_GENERIC, "move_from");
    ks_changed(k.shard, db, k.key, KS_GENERIC, "move_to");
    reply_int(c->out, 1);
}
