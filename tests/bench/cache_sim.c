/* cache_sim.c: traces, and what hits them. See cache_sim.h. */
#include "tests/bench/cache_sim.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "engine/base/assert.h"

#define START_MS    1700000000000
#define KEY_CHARS   20
#define TTL_MS      (7 * 86400000ll) /* of every key, for volatile-*: who came first goes first */
#define TICK_EVERY  8
#define TICK_BUDGET 64

/* ---- traces ---- */

static bool trace_add(struct trace *t, struct trace_op op)
{
    if (t->n == t->cap) {
        size_t cap = t->cap ? t->cap * 2 : 4096;
        struct trace_op *grown = realloc(t->op, cap * sizeof(*grown));
        if (!grown)
            return false;
        t->op = grown;
        t->cap = cap;
    }
    t->op[t->n++] = op;
    if (op.key >= t->keys)
        t->keys = op.key + 1;
    return true;
}

void trace_free(struct trace *t)
{
    free(t->op);
    *t = (struct trace){0};
}

static uint64_t draw(uint64_t *state) /* splitmix64 */
{
    uint64_t z = *state += 0x9e3779b97f4a7c15;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9;
    z = (z ^ z >> 27) * 0x94d049bb133111eb;
    return z ^ z >> 31;
}

struct zipf { /* Gray et al., "Quickly generating billion-record synthetic databases" (1994) */
    double n, theta, alpha, zetan, eta;
};

static struct zipf zipf_of(uint32_t n, double theta)
{
    struct zipf z = {.n = n, .theta = theta, .alpha = 1 / (1 - theta)};
    for (uint32_t i = 1; i <= n; i++)
        z.zetan += 1 / pow(i, theta);
    z.eta = (1 - pow(2.0 / n, 1 - theta)) / (1 - (1 + pow(0.5, theta)) / z.zetan);
    return z;
}

static uint32_t zipf_draw(const struct zipf *z, uint64_t *state)
{
    double u = (double)(draw(state) >> 11) * 0x1p-53, uz = u * z->zetan;
    if (uz < 1)
        return 0;
    if (uz < 1 + pow(0.5, z->theta))
        return 1;
    double rank = z->n * pow(z->eta * u - z->eta + 1, z->alpha);
    return rank < z->n ? (uint32_t)rank : (uint32_t)z->n - 1;
}

bool trace_make(struct trace *t, const struct trace_shape *shape)
{
    struct zipf z = zipf_of(shape->keys, shape->theta);
    uint64_t state = shape->seed;
    uint32_t scan_left = 0, scan_at = 0, scan_keys = 2 * shape->keys;
    *t = (struct trace){0};
    for (size_t i = 0; i < shape->requests; i++) {
        struct trace_op op = {
            .time_ms = i * 1000 / shape->per_second, .size = shape->size, .kind = TRACE_GET};
        /* so that scans have their part of all requests */
        if (!scan_left && draw(&state) % (100ull * shape->scan_length) <
                              100ull * shape->scan_percent / (101 - shape->scan_percent))
            scan_left = shape->scan_length;
        if (scan_left) {
            scan_left--;
            op.key = shape->keys + scan_at++ % scan_keys;
        } else {
            op.key = zipf_draw(&z, &state);
        }
        if (!trace_add(t, op)) {
            trace_free(t);
            return false;
        }
    }
    return true;
}

/* Numbers for keys of any text. */
struct names {
    char **slot;
    uint32_t *number, count;
    size_t mask;
};

static bool names_grow(struct names *m)
{
    struct names bigger = {.mask = m->slot ? m->mask * 2 + 1 : 4095, .count = m->count};
    bigger.slot = calloc(bigger.mask + 1, sizeof(*bigger.slot));
    bigger.number = calloc(bigger.mask + 1, sizeof(*bigger.number));
    if (!bigger.slot || !bigger.number) {
        free(bigger.slot);
        free(bigger.number);
        return false;
    }
    static const struct siphash_key key = {3, 4};
    for (size_t i = 0; m->slot && i <= m->mask; i++) {
        if (!m->slot[i])
            continue;
        size_t at = key_hash(&key, m->slot[i], strlen(m->slot[i])) & bigger.mask;
        while (bigger.slot[at])
            at = (at + 1) & bigger.mask;
        bigger.slot[at] = m->slot[i];
        bigger.number[at] = m->number[i];
    }
    free(m->slot);
    free(m->number);
    *m = bigger;
    return true;
}

static bool names_number(struct names *m, const char *name, uint32_t *ret)
{
    static const struct siphash_key key = {3, 4};
    if ((!m->slot || m->count > m->mask / 2) && !names_grow(m))
        return false;
    size_t at = key_hash(&key, name, strlen(name)) & m->mask;
    while (m->slot[at] && strcmp(m->slot[at], name) != 0)
        at = (at + 1) & m->mask;
    if (!m->slot[at]) {
        if (!(m->slot[at] = strdup(name)))
            return false;
        m->number[at] = m->count++;
    }
    *ret = m->number[at];
    return true;
}

static void names_free(struct names *m)
{
    for (size_t i = 0; m->slot && i <= m->mask; i++)
        free(m->slot[i]);
    free(m->slot);
    free(m->number);
}

static bool read_line(char *line, struct trace_op *op, char **ret_key)
{
    static const char *const kinds[] = {"get", "set", "del"};
    char *end, *key = strchr(line, ',');
    op->time_ms = strtoull(line, &end, 10);
    if (!key || end != key || end == line)
        return false;
    char *size = strchr(++key, ',');
    if (!size || size == key)
        return false;
    *size++ = 0;
    uint64_t bytes = strtoull(size, &end, 10);
    if (end == size || *end != ',')
        return false;
    op->size = bytes < CACHE_SIZE_MAX ? (uint32_t)bytes : CACHE_SIZE_MAX;
    *ret_key = key;
    end[1 + strcspn(end + 1, "\r\n")] = 0;
    for (op->kind = TRACE_GET; op->kind <= TRACE_DEL; op->kind++)
        if (strcmp(end + 1, kinds[op->kind]) == 0)
            return true;
    return false;
}

long trace_read(struct trace *t, FILE *f)
{
    struct names names = {0};
    char *line = NULL, *key;
    size_t cap = 0;
    long number = 0, result = 0;
    *t = (struct trace){0};
    while (!result && getline(&line, &cap, f) >= 0) {
        struct trace_op op = {0};
        number++;
        if (!read_line(line, &op, &key))
            result = number;
        else if (!names_number(&names, key, &op.key) || !trace_add(t, op))
            result = -1;
    }
    free(line);
    names_free(&names);
    if (result)
        trace_free(t);
    return result;
}

void trace_write(const struct trace *t, FILE *f)
{
    static const char *const kinds[] = {"get", "set", "del"};
    for (size_t i = 0; i < t->n; i++)
        fprintf(f, "%lu,%u,%u,%s\n", (unsigned long)t->op[i].time_ms, t->op[i].key, t->op[i].size,
                kinds[t->op[i].kind]);
}

/* ---- the shard ---- */

static struct shard shard;
static struct engine_config config;
static const uint8_t zeros[CACHE_SIZE_MAX];

static void begin(uint32_t policy, size_t bytes, uint32_t samples)
{
    static const struct siphash_key key = {1, 2};
    engine_config_defaults(&config);
    config.maxmemory_policy = policy;
    config.maxmemory_bytes = bytes;
    config.maxmemory_samples = samples;
    CHECK(shard_init(&shard, 0, 1, &key, &config, 5) == 0);
    shard.now_ms = START_MS;
}

static bool put(struct span key, uint64_t hash, uint32_t size)
{
    if (shard_full(&shard) && !shard_make_room(&shard))
        return false;
    return ks_set(&shard, 0, key, hash, span_of(zeros, size), shard.now_ms + TTL_MS) != NULL;
}

static void play(const struct trace_op *op, struct cache_result *r)
{
    char text[KEY_CHARS + 1];
    struct span key = span_of(text, (size_t)snprintf(text, sizeof(text), "key:%016x", op->key));
    uint64_t hash = shard_hash(&shard, key);
    shard.now_ms = START_MS + (int64_t)op->time_ms;
    struct entry *e;
    switch ((enum trace_kind)op->kind) {
    case TRACE_GET:
        r->gets++;
        if (ks_read(&shard, 0, key, hash))
            r->hits++;
        else
            r->refused += !put(key, hash, op->size);
        break;
    case TRACE_SET: r->refused += !put(key, hash, op->size); break;
    case TRACE_DEL:
        e = ks_peek(&shard, 0, key, hash);
        ks_delete(&shard, 0, e, hash, false);
        break;
    }
}

size_t cache_footprint(const struct trace *t)
{
    struct cache_result r = {0};
    begin(POLICY_NOEVICTION, 0, 5);
    for (size_t i = 0; i < t->n; i++)
        if (t->op[i].kind != TRACE_DEL)
            play(&t->op[i], &r);
    size_t bytes = shard.mem.used_bytes;
    shard_fini(&shard);
    return bytes;
}

struct cache_result cache_run(const struct trace *t, uint32_t policy, size_t bytes,
                              uint32_t samples)
{
    struct cache_result r = {0};
    begin(policy, bytes, samples);
    for (size_t i = 0; i < t->n; i++) {
        play(&t->op[i], &r);
        if (shard.mem.used_bytes > r.peak_bytes)
            r.peak_bytes = shard.mem.used_bytes;
        if (i % TICK_EVERY == 0)
            shard_tick(&shard, TICK_BUDGET);
    }
    r.evicted = shard.stats.evicted_keys;
    shard_fini(&shard);
    return r;
}

/* ---- exact LRU ---- */

struct lru_node {
    uint32_t prev, next; /* numbers of nodes; the last node is the head of the ring */
    uint32_t size;
    bool in;
};

static void lru_unlink(struct lru_node *v, uint32_t i)
{
    v[v[i].prev].next = v[i].next;
    v[v[i].next].prev = v[i].prev;
    v[i].in = false;
}
static void lru_front(struct lru_node *v, uint32_t head, uint32_t i)
{
    v[i].prev = head;
    v[i].next = v[head].next;
    v[v[i].next].prev = i;
    v[head].next = i;
    v[i].in = true;
}

static size_t entry_cost(uint32_t size)
{
    return mem_size_class(8 + 8 + KEY_CHARS + (size > 1024 ? sizeof(struct mem_block) : size)) +
           (size > 1024 ? mem_size_class(size) : 0);
}

struct cache_result cache_exact_lru(const struct trace *t, size_t bytes, size_t footprint)
{
    struct cache_result r = {0};
    uint32_t head = t->keys;
    struct lru_node *v = calloc((size_t)head + 1, sizeof(*v));
    CHECK(v != NULL);
    size_t all = 0, used = 0;
    for (size_t i = 0; i < t->n;
         i++) { /* the entries alone; what is left of the footprint is the dict's */
        struct lru_node *n = &v[t->op[i].key];
        all += n->in ? 0 : entry_cost(t->op[i].size);
        n->in = true;
    }
    double capacity = (double)bytes * ((double)all / (double)(footprint ? footprint : 1));
    memset(v, 0, ((size_t)head + 1) * sizeof(*v));
    v[head].prev = v[head].next = head;
    for (size_t i = 0; i < t->n; i++) {
        const struct trace_op *op = &t->op[i];
        bool get = op->kind == TRACE_GET, hit = v[op->key].in;
        r.gets += get;
        r.hits += get && hit;
        if (hit) {
            used -= entry_cost(v[op->key].size);
            lru_unlink(v, op->key);
        }
        if (op->kind == TRACE_DEL)
            continue;
        if (!get || !hit)
            v[op->key].size = op->size;
        used += entry_cost(v[op->key].size);
        lru_front(v, head, op->key);
        while ((double)used > capacity && v[head].prev != op->key) {
            uint32_t out = v[head].prev;
            used -= entry_cost(v[out].size);
            lru_unlink(v, out);
            r.evicted++;
        }
    }
    free(v);
    return r;
}
