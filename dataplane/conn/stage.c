/* Bytes -> requests -> staged batch.
 *
 * Requests of all clients of a burst are parsed into one batch, and the buckets of their keys are asked for; batch.c goes on from there.
 *
 *   batch_feed       a run of in-order bytes of one client
 *     stage_known    requests that begin as one did before, whole in the run: no look-up, no parser (request_inline.h)
 *     feed_tail      a known request that the run before has cut
 *     feed_one       everything else, by resp_parse: odd, large, incomplete, unknown, refused
 *
 * argv points into the packets of the burst, so a batch never outlives it (worker_turn runs it before net_input_done).
 * Thread: the worker's. */
#include <string.h>

#include "dataplane/conn/conn_internal.h"
#include "dataplane/conn/owner_inline.h"
#include "engine/base/assert.h"
#include "engine/cmd/command_table.h"
#include "engine/resp/request_inline.h"

static uint8_t how_of(const struct worker *w, const struct cmd_desc *d)
{
    bool many = w->count > 1;
    bool waits =
        (d->flags & CMD_BLOCKING) || d == &cmd_table[CMD_wait] || d == &cmd_table[CMD_waitaof];
    uint8_t how = 0;
    if ((d->route == ROUTE_KEY || d->route == ROUTE_KEYS) && d->first_key > 0)
        how |= HOW_KEYED;
    if (!many && d->route != ROUTE_CONTROL && !(d->flags & CMD_PROTECTED) && !waits && !w->careful)
        how |= HOW_DIRECT;
    if (d->route == ROUTE_CONTROL || waits ||
        (many && (d->route == ROUTE_ALL || d->route == ROUTE_WORKERS || d->route == ROUTE_KEYS ||
                  d->route == ROUTE_CHANNEL || d == &cmd_table[CMD_client_tracking])))
        how |= HOW_BARRIER;
    if (many && d == &cmd_table[CMD_exec])
        how |= HOW_BARRIER;
    bool data = d->fn && !d->nsubs && d->first_key == 1 &&
                (d->flags & (CMD_READONLY | CMD_WRITE)) &&
                !(d->flags & (CMD_PROTECTED | CMD_BLOCKING | CMD_NOSCRIPT | CMD_ADMIN));
    bool much = d == &cmd_table[CMD_spop] && w->config.journal != JOURNAL_OFF; /* it may write */
    if ((how & HOW_KEYED) && !(how & HOW_BARRIER) && data && !w->careful && !much)
        how |= HOW_PLAIN;
    if (times_may_be_long(w, d))
        how |= HOW_TIMED;
    return how;
}

/* conn_receive of one worker alone, and of several. */
typedef void receive_fn(struct conn *c, const uint8_t *p, size_t n);
static receive_fn receive_any, receive_any_many;
static receive_fn *receive_alone = receive_any, *receive_many = receive_any_many;

/* ---- requests that begin as one did before ---- */

static inline uint64_t load64(const uint8_t *p)
{
    uint64_t v;
    memcpy(&v, p, 8);
    return v;
}

#define KNOWN_BYTES 16 /* that are looked at */
/* Number of arguments, length and first bytes of the name tell commands apart. */
static inline struct known *known_slot(struct batch *b, uint64_t head, uint64_t name)
{
    return &b->known_slot[((head + (name << 40)) * 0x9e3779b97f4a7c15ull) >> 60];
}
_Static_assert(KNOWN_SLOTS == 1 << (64 - 60), "known_slot gives an index");

static inline bool known_is(const struct known *k, uint64_t head, uint64_t name)
{
    return k->head == head && ((k->name ^ name) & k->name_mask) == 0;
}

/* Could these fewer than KNOWN_BYTES bytes be the start of such a request? None of them is that short. */
static bool known_prefix(const struct known *k, const uint8_t *p, size_t n)
{
    uint8_t like[KNOWN_BYTES];
    size_t name = 8 + (size_t)k->name_len, line = name + 2;
    memcpy(like, &k->head, 8);
    memcpy(like + 8, &k->name, 8);
    return memcmp(like, p, n < name ? n : name) == 0 &&
           (n <= line || resp_arg_begins(p + line, n - line));
}

static inline uint64_t kind_of(const struct worker *w, uint8_t how, uint32_t argc)
{
    struct staged s = {.argc = argc, .owner = (uint8_t)w->id};
    s.way = (uint8_t)((how & HOW_DIRECT ? WAY_DIRECT : 0));
    if (how & HOW_PLAIN)
        s.way |= how & HOW_TIMED ? WAY_TIMED : WAY_PLAIN;
    s.keyed = (how & HOW_KEYED) && argc > 1;
    return s.kind;
}

/* The same of another's shard, or of one that is not free; the owner's bits are none. */
static inline uint64_t hop_kind(uint64_t kind)
{
    struct staged s = {.kind = kind};
    uint8_t hop = s.way & WAY_PLAIN ? WAY_HOP : 0;
    s.way = (uint8_t)((s.way & ~(WAY_PLAIN | WAY_TIMED)) | hop);
    s.owner = 0;
    return s.kind;
}

/* `line`: "*2\r\n$3\r\nGET\r\n", the start of a request of command d with argc arguments. */
static struct known known_make(const struct worker *w, const uint8_t *line,
                               const struct cmd_desc *d, uint8_t how, uint32_t argc,
                               size_t name_len)
{
    struct known k = {
        .desc = d, .argc = argc, .name_len = (uint8_t)name_len, .keyed = true, .one = argc == 2};
    k.kind = kind_of(w, how, argc);
    k.hop_kind = hop_kind(k.kind);
    memcpy(&k.head, line, 8);
    memcpy(&k.name, line + 8, name_len);
    k.name_mask = UINT64_MAX >> (64 - 8 * name_len);
    return k;
}

static void known_learn(struct worker *w, const uint8_t *line, const struct cmd_desc *d,
                        uint8_t how, uint32_t argc, size_t name_len)
{
    if (!(how & HOW_PLAIN) || argc > 9 || name_len < 3 || name_len > 8)
        return;
    struct known k = known_make(w, line, d, how, argc, name_len);
    *known_slot(w->batch, k.head, k.name) = k;
}

/* Every slot holds something that is true at any place, now. */
static void known_forget(struct worker *w)
{
    static const char get[] = "*2\r\n$3\r\nGET";
    const struct cmd_desc *d = &cmd_table[CMD_get];
    struct known k = known_make(w, (const uint8_t *)get, d, w->how[d->index], 2, 3);
    for (int i = 0; i < KNOWN_SLOTS; i++)
        w->batch->known_slot[i] = k;
    w->batch->known = w->batch->known_slot;
}

void batch_prepare(struct worker *w)
{
    times_prepare(w);
    w->receive = w->count > 1 ? receive_many : receive_alone;
    w->open = !w->config.protected_mode || w->config.requirepass_len;
    w->known_ready = w->open && w->config.proto_max_bulk_bytes >= RESP_ARG_KNOWN;
    for (uint32_t i = 0; i < CMD_COUNT; i++)
        w->how[cmd_table[i].index] = how_of(w, &cmd_table[i]);
    for (uint32_t i = 0; i < CMD_COUNT; i++) {
        if (cmd_table[i].flags & CMD_HIDDEN) /* several rows share one index */
            w->how[cmd_table[i].index] = HOW_ASK;
    }
    known_forget(w);
    w->shard.touch_ms = -1; /* the policy may be another */
}

/* ---- staging ---- */

static inline void stage_bucket(struct staged *s, const struct dict *dict, uint64_t hash)
{
    s->bucket = dict_bucket_of(dict, hash);
    __builtin_prefetch(s->bucket);
}

/* A request of a known command; dict: of its key's database, NULL while there is none. */
static inline __attribute__((always_inline)) void stage_fill(struct staged *s, struct conn *c,
                                                             const struct known *k,
                                                             struct span *argv, struct dict *dict,
                                                             uint64_t hash)
{
    s->conn = c;
    s->desc = k->desc;
    s->argv = argv;
    s->kind = k->kind;
    s->dict = dict;
    s->hash = hash;
}

static inline __attribute__((always_inline)) uint64_t stage_hash(const struct worker *w,
                                                                 struct span key, bool aes)
{
#if defined(__x86_64__)
    if (aes && likely_(key.n <= 16))
        return key_hash_aes_short(&w->shard.hash_key, key.p, key.n);
#endif
    return shard_hash(&w->shard, key);
}

#define OWNER_SHIFT (8 * (offsetof(struct staged, owner) - offsetof(struct staged, kind)))

/* Whose key is it? Several workers only. kind, hop: as struct known's; dict: of its database, free: this worker's shard may be touched. */
static inline __attribute__((always_inline)) void set_owner(const struct worker *w,
                                                            struct staged *s, struct span key,
                                                            uint64_t kind, uint64_t hop,
                                                            struct dict *dict, bool free, bool aes)
{
    uint32_t owner = owner_of(key, w->count, aes);
    if (owner != w->id || !free) {
        s->kind = hop | (uint64_t)owner << OWNER_SHIFT;
        s->dict = NULL;
        return;
    }
    s->kind = kind;
    s->dict = dict;
    if (likely_(dict != NULL))
        stage_bucket(s, dict, s->hash);
}

/* What a client that protected mode refuses everything has left. */
static inline bool client_open(const struct conn *c)
{
    return c->w->open || c->ses.source != SESSION_NETWORK;
}

/* A gathered request lies in the parser's buffer, which the next one overwrites: small ones move into the batch. */
static bool adopt_gathered(struct batch *b, struct resp_cmd *cmd)
{
    size_t bytes = 0;
    for (uint32_t i = 0; i < cmd->argc; i++)
        bytes += cmd->argv[i].n;
    if (bytes > LIMIT_BATCH_SCRATCH_BYTES - b->scratch_used ||
        cmd->argc > (size_t)(b->args_full - b->args_end))
        return false;
    struct span *to = b->args_end;
    for (uint32_t i = 0; i < cmd->argc; i++) {
        uint8_t *p = b->scratch + b->scratch_used;
        memcpy(p, cmd->argv[i].p, cmd->argv[i].n);
        to[i] = span_of(p, cmd->argv[i].n);
        b->scratch_used += (uint32_t)cmd->argv[i].n;
    }
    cmd->argv = to;
    b->args_end += cmd->argc;
    return true;
}

/* One request that resp_parse has read; `line` is where it began, for what can be known of it. */
static void stage(struct conn *c, struct resp_cmd *cmd, const uint8_t *line)
{
    struct worker *w = c->w;
    struct batch *b = w->batch;
    struct staged *s = b->end;
    bool big = false;
    if (unlikely_(cmd->gathered))
        big = !adopt_gathered(b, cmd);
    else
        b->args_end += cmd->argc;
    const struct cmd_desc *d = cmd_lookup(cmd->argv, cmd->argc, &w->nowhere);
    uint8_t how = d ? w->how[d->index] : 0;
    if (unlikely_(how & HOW_ASK))
        how = how_of(w, d);
    s->conn = c;
    s->argv = cmd->argv;
    s->desc = d;
    s->kind = kind_of(w, how, cmd->argc);
    s->keyed = (how & HOW_KEYED) && (uint32_t)d->first_key < s->argc;
    s->big = big;
    s->dict = NULL;
    if (!s->keyed || big)
        s->way &= (uint8_t) ~(WAY_PLAIN | WAY_TIMED);
    if (unlikely_(big) && w->journal.on)
        s->way = 0; /* its reply may have to wait for room in the journal */
    if (!client_open(c))
        s->way = 0;
    b->end++;
    if (s->keyed) {
        struct span key = s->argv[d->first_key];
        s->hash = shard_hash(&w->shard, key);
        const bool own = remote_shard_free(w);
        struct dict *dict = own ? w->shard.db[c->ses.db].keys : NULL;
        if (w->count > 1)
            set_owner(w, s, key, s->kind, hop_kind(s->kind), dict, own, false);
        else if ((s->dict = dict) != NULL)
            stage_bucket(s, dict, s->hash);
    }
    if (!cmd->gathered && cmd->argv[0].p == line + 8 && *line == '*')
        known_learn(w, line, d, how, cmd->argc, cmd->argv[0].n);
    /* what may pause its client, or changes how the next requests are parsed, ends the batch */
    if (unlikely_(big || (how & HOW_BARRIER) || !c->ses.authenticated || b->end == b->full))
        batch_run(w);
}

/* Stages requests that lie whole in [p, end) and begin as one before them did, up to the first that does not or until `until` are staged.
 * Nothing is executed here, so what the client may do does not change on the way. Where bytes are left over, and only then, b->cut says
 * whether more of them may make them such a request. */
static inline __attribute__((always_inline)) const uint8_t *
stage_known(struct worker *w, struct conn *c, const uint8_t *p, const uint8_t *end,
            struct staged *until, bool aes, bool many)
{
    struct batch *b = w->batch;
    struct staged *s = b->end;
    struct span *argv = b->args_end;
    const struct known *k = b->known;
    const bool own = !many || remote_shard_free(w);
    struct dict *dict = own ? w->shard.db[c->ses.db].keys : NULL;
    /* What the client of a node asks of that node's worker is its own unless the client is mistaken: node_run finds that out. */
    const bool mine = !many || (c->at_node && dict);
    bool cut = false;
    while (s != until) {
        if (unlikely_(end - p < KNOWN_BYTES)) {
            if (likely_(p == end))
                goto whole;
            cut = known_prefix(k, p, (size_t)(end - p));
            break;
        }
        uint64_t head = load64(p), name = load64(p + 8);
        if (unlikely_(!known_is(k, head, name))) {
            k = known_slot(b, head, name);
            if (!known_is(k, head, name))
                break;
            b->known = k;
        }
        struct span *a = argv + 1, *a_end = argv + k->argc;
        if (unlikely_(a_end > b->args_full))
            break;
        argv->p = p + 8;
        argv->n = k->name_len;
        const uint8_t *q = p + 10 + k->name_len;
        uint32_t x;
        uint64_t hash;
        if (a_end == argv + 2 && likely_(end - q >= RESP_ARG_MIN) &&
            likely_(resp_two_digits(x = resp_load32(q)))) {
            /* a key and nothing else: its length stays in a register, and is known to be 10 at least */
            size_t n = resp_two_length(x) + 10;
            *a = span_of(q + 5, n);
            q += 7 + n;
            if (unlikely_(q > end)) {
                cut = true;
                break;
            }
            hash = stage_hash(w, span_of(q - 2 - n, n), aes);
            goto staged;
        }
        do {
            const uint8_t *at = q;
            q = resp_arg(at, end, a++);
            if (unlikely_(!q)) {
                cut = end - at < RESP_ARG_MIN &&
                      (at >= end || resp_arg_begins(at, (size_t)(end - at)));
                goto out;
            }
        } while (a != a_end);
        if (unlikely_(q > end)) {
            cut = true;
            break;
        }
        hash = stage_hash(w, argv[1], aes);
    staged:
        stage_fill(s, c, k, argv, dict, hash);
        if (!mine)
            set_owner(w, s, argv[1], k->kind, k->hop_kind, dict, own, aes);
        else if (likely_(dict != NULL))
            stage_bucket(s, dict, hash);
        argv = a_end;
        p = q;
        s++;
    }
out:
    b->cut = cut;
whole:
    b->end = s;
    b->args_end = argv;
    return p;
}

typedef const uint8_t *stage_fn(struct worker *w, struct conn *c, const uint8_t *p,
                                const uint8_t *end, struct staged *until);

static const uint8_t *stage_any(struct worker *w, struct conn *c, const uint8_t *p,
                                const uint8_t *end, struct staged *until)
{
    return stage_known(w, c, p, end, until, false, false);
}

static const uint8_t *stage_any_many(struct worker *w, struct conn *c, const uint8_t *p,
                                     const uint8_t *end, struct staged *until)
{
    return stage_known(w, c, p, end, until, false, true);
}

/* Of one worker alone; of several. */
static stage_fn *stage_alone = stage_any, *stage_many = stage_any_many;

static inline const uint8_t *stage_known_here(struct worker *w, struct conn *c, const uint8_t *p,
                                              const uint8_t *end, struct staged *until)
{
    return (w->count == 1 ? stage_alone : stage_many)(w, c, p, end, until);
}

#define ONE_BYTES 24 /* more than the head of one, a name of 8 bytes and the start of a key's */
/* The common case of stage_known, said out: a key and nothing else of a command like the one before. Returns p where it is
 * anything else. */
static inline __attribute__((always_inline)) const uint8_t *
stage_one(struct worker *w, struct conn *c, const uint8_t *p, const uint8_t *end, bool aes,
          bool many)
{
    struct batch *b = w->batch;
    const struct known *k = b->known;
    struct staged *s = b->end;
    struct span *argv = b->args_end;
    const uint8_t *q = p + 10 + k->name_len;
    uint32_t x;
    if (unlikely_(!k->one || end - p < ONE_BYTES || s == b->full || argv + 2 > b->args_full) ||
        unlikely_(!known_is(k, load64(p), load64(p + 8))) ||
        unlikely_(!resp_two_digits(x = resp_load32(q))))
        return p;
    size_t n = resp_two_length(x) + 10;
    const uint8_t *key = q + 5;
    q += 7 + n;
    const bool own = !many || remote_shard_free(w);
    struct dict *dict = own ? w->shard.db[c->ses.db].keys : NULL;
    if (unlikely_(q > end || (!many && !dict)))
        return p;
    argv[0] = span_of(p + 8, k->name_len);
    argv[1] = span_of(key, n);
    uint64_t hash = stage_hash(w, span_of(key, n), aes);
    stage_fill(s, c, k, argv, dict, hash);
    if (many && !(c->at_node && dict))
        set_owner(w, s, argv[1], k->kind, k->hop_kind, dict, own, aes);
    else
        stage_bucket(s, dict, hash);
    b->end = s + 1;
    b->args_end = argv + 2;
    return q;
}

/* A burst's bytes of a client from which nothing waits: whole requests that are known are staged right here, in one function from the
 * stack's call on. What else there is goes to receive_rest. */
static __attribute__((noinline)) void receive_rest(struct conn *c, const uint8_t *p,
                                                   const uint8_t *end);

static inline __attribute__((always_inline)) void
receive_known(struct conn *c, const uint8_t *p, const uint8_t *end, bool aes, bool many)
{
    struct worker *w = c->w;
    p = stage_known(w, c, p, end, w->batch->full, aes, many);
    if (unlikely_(p != end)) /* or the batch is full, which whoever comes next will find */
        receive_rest(c, p, end);
}

/* known: receive_known, apart and called last, so that one request alone saves no register. */
static inline __attribute__((always_inline)) void
receive(struct conn *c, const uint8_t *p, size_t n, bool aes, bool many,
        void (*known)(struct conn *c, const uint8_t *p, const uint8_t *end))
{
    struct worker *w = c->w;
    struct stats_worker *stats = w->stats;
    const uint8_t *end = p + n;
    STAT_ADD(stats->net_input_bytes, n);
    STAT_INC(stats->reads);
    if (unlikely_(c->state_and_tail || c->nslots >= LIMIT_CONN_SLOTS || !c->ses.authenticated ||
                  !w->known_ready || ((uintptr_t)c->inq.p | (uintptr_t)c->backlog.p) ||
                  (c->part && !resp_parser_idle(&c->part->parser)))) {
        conn_input_on(c, p, end);
        return;
    }
    p = stage_one(w, c, p, end, aes, many);
    if (unlikely_(p != end))
        known(c, p, end);
}

static __attribute__((noinline)) void receive_known_any(struct conn *c, const uint8_t *p,
                                                        const uint8_t *end)
{
    receive_known(c, p, end, false, false);
}

static void receive_any(struct conn *c, const uint8_t *p, size_t n)
{
    receive(c, p, n, false, false, receive_known_any);
}

static __attribute__((noinline)) void receive_known_any_many(struct conn *c, const uint8_t *p,
                                                             const uint8_t *end)
{
    receive_known(c, p, end, false, true);
}

static void receive_any_many(struct conn *c, const uint8_t *p, size_t n)
{
    receive(c, p, n, false, true, receive_known_any_many);
}

/* With the hash of the CPU's AES instructions inline, where key_hash is that. */
#if defined(__x86_64__)
KEY_HASH_AES static const uint8_t *stage_aes(struct worker *w, struct conn *c, const uint8_t *p,
                                             const uint8_t *end, struct staged *until)
{
    return stage_known(w, c, p, end, until, true, false);
}

KEY_HASH_AES static const uint8_t *stage_aes_many(struct worker *w, struct conn *c,
                                                  const uint8_t *p, const uint8_t *end,
                                                  struct staged *until)
{
    return stage_known(w, c, p, end, until, true, true);
}

KEY_HASH_AES static __attribute__((noinline)) void
receive_known_aes(struct conn *c, const uint8_t *p, const uint8_t *end)
{
    receive_known(c, p, end, true, false);
}

KEY_HASH_AES static void receive_aes(struct conn *c, const uint8_t *p, size_t n)
{
    receive(c, p, n, true, false, receive_known_aes);
}

KEY_HASH_AES static __attribute__((noinline)) void
receive_known_aes_many(struct conn *c, const uint8_t *p, const uint8_t *end)
{
    receive_known(c, p, end, true, true);
}

KEY_HASH_AES static void receive_aes_many(struct conn *c, const uint8_t *p, size_t n)
{
    receive(c, p, n, true, true, receive_known_aes_many);
}

__attribute__((constructor(KEY_HASH_CHOSEN))) static void choose(void)
{
    if (key_hash_is_aes) {
        stage_alone = stage_aes;
        stage_many = stage_aes_many;
        receive_alone = receive_aes;
        receive_many = receive_aes_many;
    }
}
#endif

static void stage_error(struct conn *c, const char *text)
{
    struct batch *b = c->w->batch;
    *b->end++ = (struct staged){.conn = c, .way = WAY_ERROR, .protocol_error = text};
    batch_run(c->w);
}

/* One request in any form, or what there is of it. False: no further. */
static __attribute__((noinline)) bool feed_one(struct conn *c, const uint8_t **cur,
                                               const uint8_t *end)
{
    struct worker *w = c->w;
    struct batch *b = w->batch;
    struct resp_limits lim = {.max_bulk_bytes = w->config.proto_max_bulk_bytes,
                              .max_query_bytes = w->config.client_query_buffer_bytes,
                              .authenticated = c->ses.authenticated};
    struct resp_cmd cmd;
    const uint8_t *line = *cur;
    if (unlikely_(c->writes_pending | c->reads_pending)) {
        batch_run(w); /* may put requests back: then the parser must not have begun the next one */
        if (conn_stopped(c))
            return false;
    }
    struct partial *part = conn_part(c);
    ASSERT(b->end < b->full);
    if (!part)
        return false;
    bool begins = resp_parser_idle(&part->parser);
    enum resp_status status = resp_parse(&part->parser, &lim, cur, end, b->args_end,
                                         (size_t)(b->args_full - b->args_end), &cmd);
    if (!resp_parser_idle(&part->parser) || (status == RESP_DONE && cmd.gathered))
        conn_part_keep(c, part); /* else it holds nothing: the next client's */
    if (begins && (status == RESP_MORE || status == RESP_BAD) && b->end != b->cmd) {
        /* What is staged may be put back, in front of this one: then the parser must not have begun it. It is read again. */
        resp_parser_fini(&part->parser);
        resp_parser_init(&part->parser, &w->conn_mem);
        *cur = line;
        batch_run(w);
        return !conn_stopped(c);
    }
    switch (status) {
    case RESP_DONE:
        if (likely_(cmd.argc != 0))
            stage(c, &cmd, line);
        if (unlikely_(b->args_end == b->args_full))
            batch_run(w);
        return true;
    case RESP_MORE: return false;
    case RESP_FULL: batch_run(w); return true;
    case RESP_BAD:
        if (!part->parser.over_limit) {
            stage_error(c, part->parser.error);
            return false;
        }
        batch_run(w);
        STAT_INC(w->stats->query_buffer_limit_closed);
        conn_kill(c);
        return false;
    }
    return false;
}

/* ---- a request that the end of a segment has cut ----
 *
 * Its first bytes wait in the conn, unparsed: they are known to be the start of a request like one before. With the next segment they are
 * joined in the batch's scratch and staged like any other. Whatever else they turn out to be, the parser gets them from the first. */

static bool feed_known_now(const struct worker *w, const struct conn *c)
{
    return likely_(w->known_ready && c->ses.authenticated) &&
           (!c->part || likely_(resp_parser_idle(&c->part->parser)));
}

static void tail_keep(struct conn *c, const uint8_t *p, size_t n)
{
    struct partial *part = conn_part(c);
    if (!part)
        return; /* killed: the bytes are nobody's */
    conn_part_keep(c, part);
    memcpy(part->tail + c->tail_len, p, n);
    c->tail_len = (uint8_t)(c->tail_len + n);
}

/* Returns what it left of [p, end). */
static __attribute__((noinline)) const uint8_t *feed_tail(struct conn *c, const uint8_t *p,
                                                          const uint8_t *end)
{
    struct worker *w = c->w;
    struct batch *b = w->batch;
    size_t tail = c->tail_len, more = (size_t)(end - p);
    if (more > TAIL_BYTES)
        more = TAIL_BYTES;
    if (feed_known_now(w, c) && LIMIT_BATCH_SCRATCH_BYTES - b->scratch_used >= tail + more) {
        uint8_t *joined = b->scratch + b->scratch_used;
        memcpy(joined, c->part->tail, tail);
        memcpy(joined + tail, p, more);
        size_t used =
            (size_t)(stage_known_here(w, c, joined, joined + tail + more, b->end + 1) - joined);
        if (used > tail) {
            b->scratch_used += (uint32_t)used;
            c->tail_len = 0;
            return p + (used - tail);
        }
        if (used == 0 && b->cut && tail + more <= TAIL_BYTES) {
            tail_keep(c, p, more);
            return p + more;
        }
    }
    uint8_t first[TAIL_BYTES];
    const uint8_t *cur = first;
    memcpy(first, c->part->tail, tail);
    c->tail_len = 0;
    while (cur < first + tail && !conn_stopped(c) && feed_one(c, &cur, first + tail)) {
    }
    if (unlikely_(cur < first + tail)) /* put in front of what follows */
        inq_append(&c->backlog, cur, (size_t)(first + tail - cur));
    return p;
}

/* What stage_known has left. False: no further. */
static __attribute__((noinline)) bool feed_rest(struct conn *c, const uint8_t **p,
                                                const uint8_t *end)
{
    struct batch *b = c->w->batch;
    if (b->cut && end - *p <= TAIL_BYTES) {
        tail_keep(c, *p, (size_t)(end - *p));
        *p = end;
        return true;
    }
    return b->end == b->full || feed_one(c, p, end);
}

/* Runs a batch that has no room for one more request. */
static inline void feed_room(struct worker *w, const struct batch *b)
{
    if (unlikely_(b->end == b->full || b->args_end == b->args_full))
        batch_run(w);
}

static __attribute__((noinline)) const uint8_t *feed_on(struct conn *c, const uint8_t *p,
                                                        const uint8_t *end)
{
    struct worker *w = c->w;
    struct batch *b = w->batch;
    feed_room(w, b);
    while (p < end && !conn_stopped(c)) {
        if (unlikely_(c->nslots >= LIMIT_CONN_SLOTS)) {
            batch_run(w);
            c->throttled = true;
            break;
        }
        if (unlikely_(c->tail_len)) {
            p = feed_tail(c, p, end);
        } else if (!feed_known_now(w, c)) {
            if (!feed_one(c, &p, end))
                break;
        } else {
            p = stage_known_here(w, c, p, end, b->full);
            if (unlikely_(p != end) && !feed_rest(c, &p, end))
                break;
        }
        feed_room(w, b);
    }
    return p;
}

/* A run of whole requests that are known; the rest, if there is one, as any other. */
const uint8_t *batch_feed(struct conn *c, const uint8_t *p, const uint8_t *end)
{
    struct worker *w = c->w;
    if (likely_(c->state == 0 && c->nslots < LIMIT_CONN_SLOTS && !c->tail_len) &&
        feed_known_now(w, c)) {
        struct batch *b = w->batch;
        p = stage_known_here(w, c, p, end, b->full);
        if (likely_(p == end && b->end != b->full && b->args_end != b->args_full))
            return p;
        if (p != end && !feed_rest(c, &p, end))
            return p;
    }
    return feed_on(c, p, end);
}

static __attribute__((noinline)) void receive_rest(struct conn *c, const uint8_t *p,
                                                   const uint8_t *end)
{
    if (p == end || feed_rest(c, &p, end))
        p = feed_on(c, p, end);
    conn_input_waits(c, p, end);
}
