/* block.c: how a command begins to wait. See block.h.
 *
 * Where in the flow: cmd_call -> a command that found nothing -> here -> wait.c, on the thread that holds the leases of all its keys. Texts
 * and limits of timeouts are those of Redis 7.0.15. */
#include "engine/cmd/block.h"

#include <math.h>
#include <stdlib.h>

#include "engine/base/num.h"
#include "engine/cmd/command_table.h"
#include "engine/cmd/effect.h"
#include "engine/cmd/keyref.h"

/* ---- arguments ---- */

static bool arg_left(struct cmd *c, int64_t ms, int64_t *ret)
{
    if (ms < 0) {
        reply_error(c->out, "ERR timeout is negative");
        return false;
    }
    *ret = ms;
    return true;
}

bool block_arg_s(struct cmd *c, uint32_t i, int64_t *ret)
{
    long double s;
    if (!num_parse_long_double(c->argv[i], &s)) {
        reply_error(c->out, "ERR timeout is not a float or out of range");
        return false;
    }
    s = ceill(s * 1000);
    /* What does not fit becomes the least number, as where Redis runs. */
    return arg_left(c, s >= -0x1p63L && s < 0x1p63L ? (int64_t)s : INT64_MIN, ret);
}

bool block_arg_ms(struct cmd *c, uint32_t i, int64_t *ret)
{
    int64_t ms;
    if (!num_parse_i64(c->argv[i], &ms)) {
        reply_error(c->out, "ERR timeout is not an integer or out of range");
        return false;
    }
    return arg_left(c, ms, ret);
}

bool cmd_may_wait(const struct cmd_desc *d, const struct span *argv, uint32_t argc)
{
    if (d == &cmd_table[CMD_wait] || d == &cmd_table[CMD_waitaof])
        return true;
    if (!(d->flags & CMD_BLOCKING))
        return false;
    if (d != &cmd_table[CMD_xread] && d != &cmd_table[CMD_xreadgroup])
        return true;
    for (uint32_t i = 1; i < argc && !span_is(argv[i], "streams"); i++) {
        if (span_is(argv[i], "block"))
            return true;
        if (span_is(argv[i], "count"))
            i++;
        else if (span_is(argv[i], "group"))
            i += 2;
    }
    return false;
}

/* ---- waiting ---- */

void block_wait_fini(struct block_wait *b)
{
    free(b->w.nodes);
    free(b->text);
    reply_heap_free(&b->reply);
    b->w.nodes = NULL;
    b->text = NULL;
}

static void reply_nothing(enum block_form form, struct reply *out)
{
    if (form == BLOCK_REPLICAS)
        reply_int(out, 0);
    else if (form == BLOCK_MOVE)
        reply_null(out);
    else
        reply_null_array(out);
}

static void reply_disk(struct reply *out, bool durable)
{
    reply_array(out, 2);
    reply_int(out, durable);
    reply_int(out, 0); /* there are no replicas here */
}

void block_reply_timeout(const struct block_wait *b, struct reply *out)
{
    if (b->form == BLOCK_DISK) {
        reply_disk(out, b->durable);
        return;
    }
    reply_nothing(b->form == BLOCK_MOVE ? BLOCK_POP : (enum block_form)b->form, out);
}

static void begin(struct cmd *c, struct block_wait *b, enum block_form form, int64_t timeout_ms)
{
    b->desc = c->desc;
    b->db = c->db;
    b->resp = c->out->resp;
    b->form = (uint8_t)form;
    b->timeout_ms = timeout_ms;
    c->waits = b->waits = true;
}

static struct block_wait *out_of_memory(struct cmd *c, struct block_wait *b)
{
    wait_remove_held(c->shards->v, &b->w, false);
    block_wait_fini(b);
    b->w.nnodes = 0;
    b->w.shards = 0;
    c->waits = b->waits = false;
    cmd_reply_oom(c);
    return NULL;
}

/* Copies texts that the wait needs. */
static bool keep_texts(struct block_wait *b, const struct span *from, struct span **to, int n)
{
    size_t bytes = 0, at = 0;
    for (int i = 0; i < n; i++)
        bytes += from[i].n;
    b->text = malloc(bytes + 1);
    for (int i = 0; b->text && i < n; at += from[i++].n) {
        if (from[i].n)
            memcpy(b->text + at, from[i].p, from[i].n);
        *to[i] = span_of(b->text + at, from[i].n);
    }
    return b->text != NULL;
}

static struct block_wait *wait_for(struct cmd *c, enum wait_kind kind, uint32_t first, uint32_t n,
                                   const struct block_streams *streams)
{
    struct block_wait *b = c->wait;
    b->w.nodes = calloc(n, sizeof(*b->w.nodes));
    if (!b->w.nodes)
        return out_of_memory(c, b);
    b->w.nnodes = n;
    for (uint32_t i = 0; i < n; i++)
        list_init(&b->w.nodes[i].node);
    if (wait_claimed(&b->w) != WAIT_OPEN)
        return b; /* its client has left meanwhile */
    for (uint32_t i = 0; i < n; i++) {
        struct keyref k = keyref_at(c, first + i);
        struct wait_node *node = &b->w.nodes[i];
        node->waiter = &b->w;
        if (streams && streams->after)
            node->after =
                *(const struct stream_id *)((const uint8_t *)streams->after + i * streams->stride);
        if (!wait_add(k.shard, c->db, k.key, k.hash, kind, b->group, node))
            return out_of_memory(c, b);
        b->w.shards |= 1ull << k.shard->id;
    }
    return b;
}

struct block_wait *block_on_keys(struct cmd *c, enum wait_kind kind, enum block_form form,
                                 uint32_t first, uint32_t n, int64_t timeout_ms)
{
    struct block_wait *b = c->wait;
    if (!b) {
        reply_nothing(form, c->out);
        return NULL;
    }
    begin(c, b, form, timeout_ms);
    if (form == BLOCK_MOVE) {
        struct span *to[] = {&b->to};
        if (!keep_texts(b, &c->argv[2], to, 1))
            return out_of_memory(c, b);
    }
    return n ? wait_for(c, kind, first, n, NULL) : b;
}

void block_on_streams(struct cmd *c, uint32_t first, uint32_t n, const struct block_streams *s,
                      int64_t timeout_ms)
{
    struct block_wait *b = c->wait;
    if (!b) {
        reply_nothing(BLOCK_XREAD, c->out);
        return;
    }
    begin(c, b, BLOCK_XREAD, timeout_ms);
    b->count = s->count;
    b->noack = s->noack;
    const struct span from[] = {s->group, s->consumer};
    struct span *to[] = {&b->group, &b->consumer};
    if (keep_texts(b, from, to, 2))
        wait_for(c, s->after ? WAIT_STREAM : WAIT_GROUP, first, n, s);
    else
        out_of_memory(c, b);
}

/* ---- effects ---- */

static void say(struct cmd *c, struct span word, struct span key, uint64_t count)
{
    char number[NUM_I64_CHARS];
    if (!cmd_journals(c))
        return;
    struct span argv[] = {word, key, effect_number(number, (int64_t)count)};
    cmd_say(c, argv, count ? 3 : 2);
}

void block_say_pop(struct cmd *c, struct span key, bool tail, uint64_t count)
{
    say(c, tail ? SPAN("RPOP") : SPAN("LPOP"), key, count);
}

void block_say_zpop(struct cmd *c, struct span key, bool max, uint64_t count)
{
    say(c, max ? SPAN("ZPOPMAX") : SPAN("ZPOPMIN"), key, count);
}

void block_say_move(struct cmd *c, struct span from, struct span to, bool from_tail, bool to_tail)
{
    CMD_SAY(c, SPAN("LMOVE"), from, to, from_tail ? SPAN("RIGHT") : SPAN("LEFT"),
            to_tail ? SPAN("RIGHT") : SPAN("LEFT"));
}

/* ---- WAIT and WAITAOF: there are no replicas here ---- */

void cmd_wait(struct cmd *c)
{
    int64_t replicas, timeout_ms;
    if (!cmd_arg_i64(c, 1, &replicas) || !block_arg_ms(c, 2, &timeout_ms))
        return;
    if (replicas <= 0)
        reply_int(c->out, 0);
    else
        block_on_keys(c, WAIT_LIST, BLOCK_REPLICAS, 0, 0, timeout_ms);
}

/* Texts and their order as in Redis 7.2. */
void cmd_waitaof(struct cmd *c)
{
    int64_t local, replicas, timeout_ms;
    if (!cmd_arg_i64(c, 1, &local))
        return;
    if (local < 0 || local > 1) {
        reply_error(c->out, "ERR value is out of range, value must between 0 and 1");
        return;
    }
    if (!cmd_arg_i64(c, 2, &replicas))
        return;
    if (replicas < 0) {
        reply_error(c->out, "ERR value is out of range, must be positive");
        return;
    }
    if (!block_arg_ms(c, 3, &timeout_ms))
        return;
    enum host_log log = c->host->ops->log ? c->host->ops->log(c->host, c->session) : HOST_LOG_OFF;
    struct block_wait *b = NULL;
    if (local && log == HOST_LOG_OFF)
        reply_error(c->out, BLOCK_NO_LOG);
    else if (!c->wait || (!replicas && (!local || log == HOST_LOG_SAFE)))
        reply_disk(c->out, log == HOST_LOG_SAFE);
    else
        b = block_on_keys(c, WAIT_LIST, BLOCK_DISK, 0, 0, timeout_ms);
    if (b) {
        b->local = local;
        b->replicas = replicas;
    }
}
