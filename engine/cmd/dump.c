/* DUMP and RESTORE: a value as bytes, and a key from such bytes.
 *
 * Where in the flow: cmd_call -> here -> rdb_object, on the lease holder's thread. The bytes are those of Redis 7.0 (RDB version 10), but of
 * hashes whose fields expire, which 7.4 (version 12) was the first to know. RESTORE takes what any Redis up to 8 and Valkey dump, but modules. */
#include "engine/cmd/command_table.h"
#include "engine/cmd/effect.h"
#include "engine/cmd/keyref.h"
#include "engine/cmd/rdb_object.h"

void cmd_dump(struct cmd *c)
{
    struct keyref k = keyref_first(c, 1);
    struct entry *e = keyref_read(c, &k);
    if (!e) {
        reply_null(c->out);
        return;
    }
    struct rdb_writer w;
    rdb_writer_init(&w, &k.shard->mem, c->host->config->rdbcompression);
    rdb_save_object(&w, e);
    rdb_put_footer(&w);
    if (w.failed)
        cmd_reply_oom(c);
    else
        reply_bulk(c->out, span_of(w.out.p, w.out.len));
    rdb_writer_free(&w);
}

struct restore {
    bool replace, absolute;
    int64_t ttl, idle_s, freq; /* idle_s, freq: -1 when not given */
};

/* False: the error was written. */
static bool restore_args(struct cmd *c, struct restore *a)
{
    *a = (struct restore){.idle_s = -1, .freq = -1};
    for (uint32_t i = 4; i < c->argc; i++) {
        struct span o = c->argv[i];
        bool value = i + 1 < c->argc;
        if (span_is(o, "replace")) {
            a->replace = true;
        } else if (span_is(o, "absttl")) {
            a->absolute = true;
        } else if (span_is(o, "idletime") && value && a->freq < 0) {
            if (!cmd_arg_i64(c, ++i, &a->idle_s))
                return false;
            if (a->idle_s < 0) {
                reply_error(c->out, "ERR Invalid IDLETIME value, must be >= 0");
                return false;
            }
        } else if (span_is(o, "freq") && value && a->idle_s < 0) {
            if (!cmd_arg_i64(c, ++i, &a->freq))
                return false;
            if (a->freq < 0 || a->freq > 255) {
                reply_error(c->out, "ERR Invalid FREQ value, must be >= 0 and <= 255");
                return false;
            }
        } else {
            cmd_reply_syntax(c);
            return false;
        }
    }
    return true;
}

/* The value is in time already past, or put under the key. */
static void restore_put(struct cmd *c, const struct keyref *k, const struct restore *a,
                        struct rdb_reader *r, struct rdb_object *o)
{
    int64_t when = a->ttl;
    if (when && !a->absolute && __builtin_add_overflow(when, c->now_us / 1000, &when))
        when = INT64_MAX;
    if (when && when <= c->now_us / 1000 && !k->shard->loading) {
        struct entry *old = keyref_peek(c, k);
        rdb_object_free(r, k->shard, o);
        if (old) {
            ks_delete(k->shard, c->db, old, k->hash, false);
            keyref_changed(c, k, KS_GENERIC, "del");
            CMD_SAY(c, SPAN("DEL"), k->key);
        }
        reply_ok(c->out);
        return;
    }
    struct entry *e =
        rdb_object_put(r, k->shard, c->db, k->key, k->hash, o, when ? when : KS_NO_TTL);
    if (!e) {
        rdb_object_free(r, k->shard, o);
        cmd_reply_oom(c);
        return;
    }
    ks_set_clock(k->shard, e, a->idle_s, a->freq);
    keyref_changed(c, k, KS_GENERIC, "restore");
    char number[NUM_I64_CHARS];
    CMD_SAY(c, SPAN("RESTORE"), k->key, effect_number(number, when), c->argv[3], SPAN("REPLACE"),
            SPAN("ABSTTL"));
    reply_ok(c->out);
}

void cmd_restore(struct cmd *c)
{
    struct keyref k = keyref_first(c, 1);
    struct restore a;
    struct rdb_reader r;
    struct rdb_object o;
    if (!restore_args(c, &a))
        return;
    if (!a.replace && keyref_write(c, &k)) {
        reply_error(c->out, "BUSYKEY Target key name already exists.");
        return;
    }
    if (!cmd_arg_i64(c, 2, &a.ttl))
        return;
    if (a.ttl < 0) {
        reply_error(c->out, "ERR Invalid TTL value, must be >= 0");
        return;
    }
    rdb_reader_init(&r, &k.shard->mem, c->argv[3]);
    if (!rdb_check_footer(&r)) {
        reply_error(c->out, "ERR DUMP payload version or checksum are wrong");
        return;
    }
    if (rdb_load_object(&r, k.shard, rdb_get_u8(&r), &o))
        restore_put(c, &k, &a, &r, &o);
    else if (r.out_of_memory)
        cmd_reply_oom(c);
    else
        reply_error(c->out, "ERR Bad data format");
}
