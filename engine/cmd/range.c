/* Strings in pieces: STRLEN, APPEND, SETRANGE, GETRANGE (and its old name SUBSTR).
 *
 * Where in the flow: cmd_call -> here -> keyspace, on the lease holder's thread. APPEND to and SETRANGE of an existing value leave
 * it "raw", whatever it was and however short it is. */
#include "engine/base/num.h"
#include "engine/cmd/command_table.h"
#include "engine/cmd/keyref.h"

/* A string of `have` bytes may grow by `more`, or reach from `have` for `more`. False: the error was written. */
static bool length_allowed(struct cmd *c, size_t have, size_t more)
{
    size_t total;
    if (!__builtin_add_overflow(have, more, &total) &&
        total <= c->host->config->proto_max_bulk_bytes)
        return true;
    reply_error(c->out, "ERR string exceeds maximum allowed size (proto-max-bulk-len)");
    return false;
}

void cmd_strlen(struct cmd *c)
{
    struct keyref k = keyref_first(c, 1);
    struct entry *e = keyref_read(c, &k);
    if (!e)
        reply_int(c->out, 0);
    else if (cmd_is_string(c, e))
        reply_int(c->out, (int64_t)entry_string_len(e));
}

void cmd_append(struct cmd *c)
{
    struct keyref k = keyref_first(c, 1);
    struct span more = c->argv[2];
    struct entry *e = keyref_write(c, &k);
    size_t have = 0;
    if (e) {
        if (!cmd_is_string(c, e))
            return;
        have = entry_string_len(e);
        if (!length_allowed(c, have, more.n))
            return;
        uint8_t *p = ks_string_resize(k.shard, c->db, &e, k.hash, have + more.n);
        if (!p) {
            cmd_reply_oom(c);
            return;
        }
        if (more.n)
            memcpy(p + have, more.p, more.n);
    } else if (!ks_set(k.shard, c->db, k.key, k.hash, more, KS_NO_TTL)) {
        cmd_reply_oom(c);
        return;
    }
    keyref_changed(c, &k, KS_STRING, "append");
    reply_int(c->out, (int64_t)(have + more.n));
}

/* A new value of zeros with `patch` at its end. False: no memory. */
static bool setrange_new(struct cmd *c, const struct keyref *k, size_t offset, struct span patch)
{
    size_t n = offset + patch.n;
    uint8_t *block = mem_calloc(&k->shard->mem, n);
    if (!block)
        return false;
    memcpy(block + offset, patch.p, patch.n);
    if (ks_set_block(k->shard, c->db, k->key, k->hash, block, n, n, KS_NO_TTL))
        return true;
    mem_free(&k->shard->mem, block, n);
    return false;
}

void cmd_setrange(struct cmd *c)
{
    struct keyref k = keyref_first(c, 1);
    struct span patch = c->argv[3];
    int64_t offset;
    if (!cmd_arg_i64(c, 2, &offset))
        return;
    if (offset < 0) {
        reply_error(c->out, "ERR offset is out of range");
        return;
    }
    struct entry *e = keyref_write(c, &k);
    if (e && !cmd_is_string(c, e))
        return;
    size_t n = e ? entry_string_len(e) : 0;
    if (patch.n == 0) {
        reply_int(c->out, (int64_t)n);
        return;
    }
    if (!length_allowed(c, (size_t)offset, patch.n))
        return;
    if ((size_t)offset + patch.n > n)
        n = (size_t)offset + patch.n;
    bool done;
    if (e) {
        uint8_t *p = ks_string_resize(k.shard, c->db, &e, k.hash, n);
        done = p != NULL;
        if (done)
            memcpy(p + offset, patch.p, patch.n);
    } else {
        done = setrange_new(c, &k, (size_t)offset, patch);
    }
    if (!done) {
        cmd_reply_oom(c);
        return;
    }
    keyref_changed(c, &k, KS_STRING, "setrange");
    reply_int(c->out, (int64_t)n);
}

/* The bytes from `start` to `end`, both inclusive; negative ones count from the end of the value. */
static struct span subspan(struct span v, int64_t start, int64_t end)
{
    int64_t n = (int64_t)v.n;
    if (start < 0 && end < 0 && start > end)
        return span_of(v.p, 0);
    if (start < 0)
        start = start + n < 0 ? 0 : start + n;
    if (end < 0)
        end = end + n < 0 ? 0 : end + n; /* GETRANGE k 0 -100 answers the first byte */
    if (end >= n)
        end = n - 1;
    return start > end ? span_of(v.p, 0) : span_of(v.p + start, (size_t)(end - start) + 1);
}

void cmd_getrange(struct cmd *c)
{
    struct keyref k = keyref_first(c, 1);
    int64_t start, end;
    char scratch[NUM_I64_CHARS];
    if (!cmd_arg_i64(c, 2, &start) || !cmd_arg_i64(c, 3, &end))
        return;
    struct entry *e = keyref_read(c, &k);
    if (!e)
        reply_bulk(c->out, span_of(NULL, 0));
    else if (cmd_is_string(c, e))
        reply_bulk(c->out, subspan(entry_string(e, scratch), start, end));
}

void cmd_substr(struct cmd *c)
{
    cmd_getrange(c);
}
