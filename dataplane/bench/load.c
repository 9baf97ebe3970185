/* See load.h. */
#include "dataplane/bench/load.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "dataplane/bench/cluster.h"
#include "dataplane/bench/replay.h"
#include "engine/base/assert.h"

#define SECOND_NS    1000000000ull
#define CONNECT_STEP 256 /* connections opened at a time: listeners have a backlog */

static void client_fill(struct load_client *c);

static bool counts(const struct load *l, uint64_t since_ns)
{
    return since_ns >= l->count_ns;
}

void load_fail(struct load *l, const char *what, int err)
{
    if (!l->failed)
        snprintf(l->error, sizeof(l->error), "%s%s%s", what, err ? ": " : "",
                 err ? strerror(-err) : "");
    l->failed = l->stopping = true;
    l->tally->failed = true;
}

/* ---- out ---- */

static void out_keep(struct load_client *c, const uint8_t *p, size_t n)
{
    if (c->out_off == c->out_len)
        c->out_off = c->out_len = 0;
    if (c->out_len + n > c->out_cap) {
        uint32_t cap = (uint32_t)(c->out_len + n) * 2;
        uint8_t *np = realloc(c->out, cap);
        CHECK(np);
        c->out = np;
        c->out_cap = cap;
    }
    memcpy(c->out + c->out_len, p, n);
    c->out_len += (uint32_t)n;
}

void load_say(struct load_client *c, const uint8_t *p, size_t n)
{
    struct transport *t = c->load->t;
    bool waits = c->state != CLIENT_READY || c->out_off < c->out_len;
    c->load->result->bytes_out += n;
    size_t took = waits ? 0 : t->ops->write(t, c, p, n);
    if (took < n)
        out_keep(c, p + took, n - took);
    c->dirty = true;
}

static void out_flush(struct load_client *c)
{
    if (!c->dirty || c->state != CLIENT_READY)
        return;
    c->dirty = false;
    c->load->t->ops->flush(c->load->t, c);
}

void load_writable(struct load_client *c)
{
    struct transport *t = c->load->t;
    if (c->out_off == c->out_len || c->state != CLIENT_READY)
        return;
    c->out_off += (uint32_t)t->ops->write(t, c, c->out + c->out_off, c->out_len - c->out_off);
    t->ops->flush(t, c);
}

/* ---- asking ---- */

struct flight *load_flight(struct load_client *c, struct open_op *of)
{
    CHECK(c->head - c->tail < c->load->flights);
    struct flight *f = &c->flight[c->head++ & (c->load->flights - 1)];
    *f = (struct flight){.of = of};
    return f;
}

/* The place in the log of this thread's n-th operation. */
static uint64_t log_place(const struct load *l, uint64_t n)
{
    return l->cfg.asks_step ? l->cfg.asks_first + n * l->cfg.asks_step : n;
}

/* When it is due, from the start. */
static uint64_t log_time(const struct load *l, uint64_t n)
{
    const struct replay *r = l->work->replay;
    uint64_t at = log_place(l, n);
    uint64_t ns = at / r->lines * r->length_ns + r->line[at % r->lines].at_ns;
    return (uint64_t)((double)ns / l->cfg.replay_speed);
}

/* The bytes of the next operation; *ret_op, and how many replies it will have. */
static const uint8_t *draw_bytes(struct load *l, uint64_t since_ns, uint32_t *ret_op,
                                 uint32_t *ret_requests, size_t *ret_len)
{
    struct replay *r = l->work->replay;
    if (r) {
        const struct replay_line *line = &r->line[log_place(l, l->sent_ops) % r->lines];
        *ret_op = 0;
        *ret_requests = 1;
        *ret_len = line->len;
        return r->text + line->off;
    }
    *ret_op = workload_draw(l->work, &l->draw);
    *ret_requests = l->work->op[*ret_op].requests;
    l->work->now_ns = since_ns;
    *ret_len = workload_write(l->work, *ret_op, &l->draw, l->scratch);
    return l->scratch;
}

static void ask(struct load_client *c, uint64_t since_ns)
{
    struct load *l = c->load;
    uint32_t op, requests;
    size_t n;
    const uint8_t *bytes = draw_bytes(l, since_ns, &op, &requests, &n);
    struct open_op *of = c->free_op;
    c->free_op = of->next;
    *of = (struct open_op){
        .since_ns = since_ns, .left = requests, .op = (uint16_t)op, .counted = counts(l, since_ns)};
    if (l->cluster) {
        cluster_spread(c, of, bytes, n);
    } else {
        for (uint32_t i = 0; i < requests; i++)
            load_flight(c, of);
        load_say(c, bytes, n);
    }
    c->open_ops++;
    l->sent_ops++;
    l->awaited++;
}

/* All that was asked leaves. */
static void asked(struct load_client *c)
{
    out_flush(c);
    for (uint32_t i = 1; c->peer && i < c->load->cluster->nodes; i++)
        if (c->peer[i])
            out_flush(c->peer[i]);
}

static bool open_loop(const struct load *l)
{
    return l->cfg.rate > 0 || l->cfg.replay_speed > 0;
}

static bool may_ask(const struct load *l)
{
    return !l->stopping && (l->cfg.requests == 0 || l->sent_ops < l->cfg.requests);
}

/* Closed loop: a batch of `pipeline` operations once the one before was answered. */
static void client_fill(struct load_client *c)
{
    struct load *l = c->load;
    bool begun = l->start_ns || l->cfg.churn; /* all at once */
    if (!begun || open_loop(l) || c->state != CLIENT_READY || c->open_ops || c->subscriber)
        return;
    for (uint32_t n = 0; n < l->cfg.pipeline && may_ask(l); n++)
        ask(c, l->cfg.churn ? c->connect_ns : l->now_ns);
    asked(c);
}

/* When the operation behind the one that was just asked falls due. */
static void next_due(struct load *l)
{
    if (l->cfg.replay_speed > 0) {
        l->next_due_ns = (double)(l->start_ns + log_time(l, l->sent_ops));
    } else {
        double gap = (double)SECOND_NS / l->cfg.rate;
        l->next_due_ns += l->cfg.poisson ? draw_exponential(&l->draw, gap) : gap;
    }
}

/* Open loop: what has fallen due goes to the next client that has room. Nobody has: it stays due, and its wait counts. */
static void arrivals(struct load *l)
{
    uint32_t full = 0;
    while (may_ask(l) && (uint64_t)l->next_due_ns <= l->now_ns && full < l->cfg.clients) {
        struct load_client *c = &l->client[l->turn++ % l->cfg.clients];
        if (c->state != CLIENT_READY || c->open_ops >= l->cfg.pipeline) {
            full++;
            continue;
        }
        full = 0;
        ask(c, (uint64_t)l->next_due_ns);
        asked(c);
        next_due(l);
    }
}

static uint64_t overdue(const struct load *l)
{
    if (l->cfg.replay_speed > 0) {
        uint64_t n = l->sent_ops;
        while ((l->cfg.requests == 0 || n < l->cfg.requests) &&
               l->start_ns + log_time(l, n) <= l->now_ns)
            n++;
        return n - l->sent_ops;
    }
    double left = ((double)l->now_ns - l->next_due_ns) * l->cfg.rate / (double)SECOND_NS;
    return l->cfg.rate > 0 && left > 0 ? (uint64_t)left : 0;
}

/* ---- connections ---- */

void load_client_init(struct load *l, struct load_client *c, struct load_client *lead, int target)
{
    c->load = l;
    c->lead = lead;
    c->target = target;
    c->flight = calloc(l->flights, sizeof(*c->flight));
    CHECK(c->flight);
    if (c != lead)
        return;
    c->pool = calloc(l->cfg.pipeline, sizeof(*c->pool));
    CHECK(c->pool);
    if (l->cfg.cluster) {
        c->peer = calloc(CLUSTER_NODES_MOST, sizeof(*c->peer));
        CHECK(c->peer);
        c->peer[0] = c;
    }
}

/* Nothing is under way. */
static void no_flights(struct load_client *c)
{
    for (; c->tail != c->head; c->tail++)
        free(c->flight[c->tail & (c->load->flights - 1)].bytes);
    c->free_op = NULL;
    for (uint32_t i = 0; c->pool && i < c->load->cfg.pipeline; i++) {
        c->pool[i].next = c->free_op;
        c->free_op = &c->pool[i];
    }
}

void load_connect(struct load_client *c)
{
    struct load *l = c->load;
    c->state = CLIENT_CONNECTING;
    c->connect_ns = l->now_ns;
    skip_init(&c->skip);
    c->skip.keep = c->subscriber;
    c->skip.memcached = l->cfg.memcached;
    no_flights(c);
    c->open_ops = 0;
    c->out_off = c->out_len = 0;
    l->t->ops->connect(l->t, c);
}

static void greet_words(struct load_client *c, const char *const *word, int n)
{
    char text[640];
    int len = snprintf(text, sizeof(text), "*%d\r\n", n);
    for (int i = 0; i < n; i++)
        len += snprintf(text + len, sizeof(text) - (size_t)len, "$%zu\r\n%s\r\n", strlen(word[i]),
                        word[i]);
    c->load->result->bytes_out += (uint64_t)len;
    if (c->load->t->ops->write(c->load->t, c, (const uint8_t *)text, (size_t)len) != (size_t)len)
        load_fail(c->load, "no room for a greeting", 0);
    c->greetings++;
}

static void client_ready(struct load_client *c)
{
    struct load *l = c->load;
    c->state = CLIENT_READY;
    l->ready += c == c->lead;
    load_writable(c); /* a peer: what waited for it */
    if (c == c->lead)
        client_fill(c);
}

void load_connected(struct load_client *c, int err)
{
    struct load *l = c->load;
    const struct load_config *cfg = &l->cfg;
    char name[32];
    if (err) {
        c->state = CLIENT_CLOSED;
        l->result->connect_failures++;
        if (!cfg->churn)
            load_fail(l, "a connection could not be opened", err);
        return;
    }
    l->result->connects++;
    if (counts(l, c->connect_ns) && l->start_ns)
        percentile_add(&l->result->connect, l->now_ns - c->connect_ns);
    c->state = CLIENT_GREETING;
    c->greetings = 0;
    const char *user = cfg->user ? cfg->user : "default";
    if (cfg->resp == 3 && cfg->password)
        greet_words(c, (const char *const[]){"HELLO", "3", "AUTH", user, cfg->password}, 5);
    else if (cfg->resp == 3)
        greet_words(c, (const char *const[]){"HELLO", "3"}, 2);
    else if (cfg->password && cfg->user)
        greet_words(c, (const char *const[]){"AUTH", user, cfg->password}, 3);
    else if (cfg->password)
        greet_words(c, (const char *const[]){"AUTH", cfg->password}, 2);
    if (cfg->db) {
        snprintf(name, sizeof(name), "%u", cfg->db);
        greet_words(c, (const char *const[]){"SELECT", name}, 2);
    }
    if (c->subscriber) {
        workload_channel(l->work, c->id, name);
        greet_words(c, (const char *const[]){"SUBSCRIBE", name}, 2);
    }
    if (l->cfg.cluster && c == &l->client[0])
        greet_words(c, (const char *const[]){"CLUSTER", "SLOTS"}, 2);
    if (c->greetings)
        l->t->ops->flush(l->t, c);
    else
        client_ready(c);
}

/* What it was waiting for will not come. */
static void client_drop(struct load_client *c)
{
    struct load *l = c->load;
    l->awaited -= c->open_ops;
    l->result->unanswered += c->open_ops;
    c->open_ops = 0;
    if (c->state == CLIENT_READY && c == c->lead)
        l->ready--;
    no_flights(c);
    c->state = CLIENT_CLOSED;
}

void load_closed(struct load_client *c, int err)
{
    struct load *l = c->load;
    l->result->lost++;
    client_drop(c);
    c->tc = NULL;
    if (!l->cfg.churn)
        load_fail(l, "the server ended a connection", err);
    else if (may_ask(l))
        load_connect(c);
}

static void client_churn(struct load_client *c)
{
    struct load *l = c->load;
    l->t->ops->close(l->t, c);
    c->tc = NULL;
    client_drop(c);
    if (may_ask(l))
        load_connect(c);
}

/* ---- answers ---- */

static void op_over(struct load_client *lead, struct open_op *of)
{
    struct load *l = lead->load;
    struct load_result *r = l->result;
    uint64_t took = l->now_ns > of->since_ns ? l->now_ns - of->since_ns : 0;
    lead->open_ops--;
    l->awaited--;
    percentile_add(&l->second, took);
    if (of->counted) {
        r->operations++;
        percentile_add(&r->all, took);
        if (l->work->ops > 1)
            percentile_add(&r->op[of->op], took);
    }
    of->next = lead->free_op;
    lead->free_op = of;
}

static void answered(struct load_client *c)
{
    struct load *l = c->load;
    struct load_result *r = l->result;
    struct flight *f = &c->flight[c->tail++ & (l->flights - 1)];
    struct open_op *of = f->of;
    if (c->skip.error && cluster_follow(c))
        return;
    free(f->bytes);
    f->bytes = NULL;
    if (!of)
        return;
    r->requests += of->counted;
    if (c->skip.error) {
        l->second_errors++;
        r->errors += of->counted;
        if (!r->first_error[0])
            snprintf(r->first_error, sizeof(r->first_error), "%s", c->skip.line);
    } else if (l->work->ops && l->work->op[of->op].publishes) {
        l->tally->told += (uint64_t)c->skip.integer;
        r->published += of->counted ? (uint64_t)c->skip.integer : 0;
    }
    if (--of->left == 0)
        op_over(c->lead, of);
}

/* A message: what it carries begins with the time at which it was written. */
static void heard(struct load_client *c)
{
    struct load *l = c->load;
    uint64_t at = 0;
    for (uint32_t i = 0; i < c->skip.kept_len; i++)
        at = at * 10 + (uint64_t)(c->skip.kept[i] - '0') % 10;
    l->tally->heard++;
    if (c->skip.kept_len < WORKLOAD_STAMP ||
        at < l->tally->start_ns + (uint64_t)(l->cfg.warmup_s * 1e9))
        return;
    l->result->messages++;
    percentile_add(&l->result->delivery, l->now_ns > at ? l->now_ns - at : 0);
}

static void greeted(struct load_client *c)
{
    char text[160];
    if (c->skip.error) {
        snprintf(text, sizeof(text), "the server answered: %s", c->skip.line);
        load_fail(c->load, text, 0);
    }
    if (--c->greetings)
        return;
    struct cluster *k = c->load->cluster;
    if (k && c == &c->load->client[0] && !c->load->failed &&
        !cluster_learn(c->load, k->reply, k->reply_len, text, sizeof(text)))
        load_fail(c->load, text, 0);
    client_ready(c);
}

/* One reply of any kind. False: the run has failed. */
static bool reply(struct load_client *c)
{
    if (c->state == CLIENT_GREETING)
        greeted(c);
    else if (c->subscriber)
        heard(c);
    else if (c->head == c->tail)
        load_fail(c->load, "a reply that nobody asked for", 0);
    else
        answered(c);
    return !c->load->failed;
}

/* The reply to CLUSTER SLOTS, which is the last greeting of the first connection, is kept. */
static void gather_slots(struct load_client *c, const uint8_t *p, const uint8_t *end)
{
    struct cluster *k = c->load->cluster;
    if (!k || c != &c->load->client[0] || c->state != CLIENT_GREETING || c->greetings != 1)
        return;
    size_t n = (size_t)(end - p);
    k->reply = realloc(k->reply, k->reply_len + n + 1);
    CHECK(k->reply);
    memcpy(k->reply + k->reply_len, p, n);
    k->reply_len += n;
}

void load_received(struct load_client *c, const uint8_t *p, size_t n)
{
    struct load *l = c->load;
    const uint8_t *end = p + n;
    l->result->bytes_in += n;
    while (p < end) {
        const uint8_t *begin = p;
        enum skip_status s = skip_reply(&c->skip, &p, end);
        gather_slots(c, begin, p);
        if (s == SKIP_MORE)
            break;
        if (s == SKIP_PUSH && !c->subscriber) {
            l->result->pushes++;
        } else if (s == SKIP_BAD) {
            load_fail(l, "the server's bytes are no RESP", 0);
            return;
        } else if (!reply(c)) {
            return;
        }
    }
    c = c->lead;
    if (c->open_ops || c->state != CLIENT_READY)
        return;
    if (l->cfg.churn && !c->subscriber)
        client_churn(c);
    else
        client_fill(c);
}

/* ---- the run ---- */

static void second_over(struct load *l, bool last)
{
    struct load_result *r = l->result;
    if (r->seconds_used == r->seconds_cap) {
        uint32_t cap = r->seconds_cap ? r->seconds_cap * 2 : 64;
        struct load_second *np = realloc(r->second, cap * sizeof(*np));
        CHECK(np);
        r->second = np;
        r->seconds_cap = cap;
    }
    r->second[r->seconds_used++] =
        (struct load_second){.at_s = (double)(l->now_ns - l->start_ns) / 1e9,
                             .operations = l->second.count,
                             .errors = l->second_errors,
                             .p50_ns = percentile_at(&l->second, 0.5),
                             .p99_ns = percentile_at(&l->second, 0.99),
                             .max_ns = l->second.max};
    if (l->cfg.progress)
        l->cfg.progress(l->cfg.progress_ctx, l, last);
    percentile_reset(&l->second);
    l->second_errors = 0;
    l->second_ns += SECOND_NS;
}

static void turn(struct load *l, uint64_t until_ns)
{
    l->now_ns = l->t->ops->now(l->t);
    if (l->start_ns && open_loop(l)) {
        arrivals(l);
        if (may_ask(l) && (uint64_t)l->next_due_ns > l->now_ns &&
            (uint64_t)l->next_due_ns < until_ns)
            until_ns = (uint64_t)l->next_due_ns;
    }
    l->now_ns = l->t->ops->poll(l->t, until_ns);
}

/* All connections of [first, end), some at a time. */
static void open_all(struct load *l, uint32_t first, uint32_t end)
{
    uint64_t deadline = l->now_ns + (uint64_t)(l->cfg.answer_timeout_s * 1e9);
    uint32_t begun = first, base = l->ready;
    while (l->ready - base < end - first && !l->failed) {
        while (begun < end && begun - first - (l->ready - base) < CONNECT_STEP)
            load_connect(&l->client[begun++]);
        uint32_t before = l->ready;
        turn(l, l->now_ns + 10000000);
        if (l->ready != before)
            deadline = l->now_ns + (uint64_t)(l->cfg.answer_timeout_s * 1e9);
        if (l->now_ns > deadline)
            load_fail(l, "no answer", -ETIMEDOUT);
    }
}

/* All threads at once. */
static void begin(struct load *l)
{
    uint64_t none = 0;
    l->tally->opening--;
    while (l->tally->opening > 0 && !l->tally->failed)
        turn(l, l->now_ns + 1000000);
    l->now_ns = l->t->ops->now(l->t);
    atomic_compare_exchange_strong(&l->tally->start_ns, &none, l->now_ns);
    l->start_ns = l->tally->start_ns;
    l->count_ns = l->start_ns + (uint64_t)(l->cfg.warmup_s * 1e9);
    l->end_ns = l->cfg.seconds > 0 ? l->count_ns + (uint64_t)(l->cfg.seconds * 1e9) : UINT64_MAX;
    l->second_ns = l->start_ns + SECOND_NS;
    l->next_due_ns = (double)l->start_ns;
    if (l->cfg.replay_speed > 0)
        next_due(l);
    percentile_reset(&l->second);
    for (uint32_t i = 0; i < l->cfg.clients; i++) {
        if (l->cfg.churn)
            load_connect(&l->client[i]);
        else
            client_fill(&l->client[i]);
    }
}

/* Subscribers stay until nobody asks any more and all that was announced has come. */
static bool all_heard(struct load *l)
{
    if (!l->over)
        l->tally->running--;
    l->over = true;
    return !l->cfg.subscribers || (l->tally->running == 0 && l->tally->heard >= l->tally->told);
}

static void drive(struct load *l)
{
    uint64_t busy = 0, busy_since = 0, drain_ns = UINT64_MAX, last_ns = 0;
    while (!l->failed && l->now_ns < drain_ns) {
        bool over = l->now_ns >= l->end_ns || !may_ask(l) || l->tally->failed;
        if (over && !l->stopping) {
            l->stopping = true;
            l->result->late = overdue(l);
            drain_ns = l->now_ns + (uint64_t)(l->cfg.answer_timeout_s * 1e9);
        }
        if (l->stopping && l->awaited == 0 && all_heard(l))
            break;
        turn(l, l->now_ns + 10000000);
        if (!busy_since && l->now_ns >= l->count_ns) {
            busy_since = l->now_ns;
            busy = l->t->busy_ns;
        }
        last_ns = l->now_ns;
        if (l->now_ns >= l->second_ns)
            second_over(l, false);
    }
    if (busy_since && last_ns > busy_since)
        l->result->busy_share = (double)(l->t->busy_ns - busy) / (double)(last_ns - busy_since);
}

static void client_free(struct load_client *c)
{
    struct load *l = c->load;
    if (!l) /* was never begun */
        return;
    if (c->state != CLIENT_CLOSED && c->tc)
        l->t->ops->close(l->t, c);
    if (c->state != CLIENT_CLOSED)
        client_drop(c);
    free(c->flight);
    free(c->pool);
    free(c->peer);
    free(c->out);
}

static void finish(struct load *l)
{
    struct load_result *r = l->result;
    uint64_t end = l->now_ns < l->end_ns ? l->now_ns : l->end_ns;
    if (l->start_ns && l->second.count)
        second_over(l, true);
    r->seconds = end > l->count_ns ? (double)(end - l->count_ns) / 1e9 : 0;
    r->rate = r->seconds > 0 ? (double)r->operations / r->seconds : 0;
    for (uint32_t i = 0; i < l->connections; i++) {
        struct load_client *c = &l->client[i];
        for (uint32_t k = 1; c->peer && k < CLUSTER_NODES_MOST; k++) {
            if (c->peer[k])
                client_free(c->peer[k]);
            free(c->peer[k]);
        }
        client_free(c);
    }
}

static bool prepare(struct load *l)
{
    uint32_t most = 1;
    for (uint32_t i = 0; i < l->work->ops; i++)
        most = l->work->op[i].requests > most ? l->work->op[i].requests : most;
    most *= l->cfg.cluster ? 2 : 1; /* an ASKING before each */
    for (l->flights = 1; l->flights < most * l->cfg.pipeline;)
        l->flights *= 2;
    l->connections = l->cfg.clients + l->cfg.subscribers;
    l->client = calloc(l->connections, sizeof(*l->client));
    l->scratch = malloc(l->work->longest + 64);
    if (l->cfg.cluster)
        l->cluster = calloc(1, sizeof(*l->cluster));
    if (!l->client || !l->scratch || (l->cfg.cluster && !l->cluster))
        return false;
    if (l->cluster)
        l->cluster->nodes = 1;
    for (uint32_t i = 0; i < l->connections; i++) {
        struct load_client *c = &l->client[i];
        load_client_init(l, c, c, 0);
        c->subscriber = i >= l->cfg.clients;
        c->id = c->subscriber ? l->cfg.first_subscriber + i - l->cfg.clients : i;
    }
    return true;
}

static void result_init(struct load_result *r)
{
    memset(r, 0, sizeof(*r));
    percentile_reset(&r->all);
    percentile_reset(&r->connect);
    percentile_reset(&r->delivery);
    for (int i = 0; i < OPS_MOST; i++)
        percentile_reset(&r->op[i]);
}

bool load_run(struct transport *t, struct workload *w, const struct load_config *cfg,
              struct load_result *ret, char *err, size_t err_len)
{
    struct load *l = calloc(1, sizeof(*l));
    CHECK(l);
    result_init(ret);
    l->t = t;
    l->cfg = *cfg;
    l->work = w;
    l->result = ret;
    l->own_tally.running = l->own_tally.opening = 1;
    l->tally = cfg->tally ? cfg->tally : &l->own_tally;
    draw_seed(&l->draw, cfg->seed);
    l->now_ns = t->ops->now(t);
    if (!prepare(l)) {
        load_fail(l, "no memory for so many clients", 0);
    } else {
        if (cfg->cluster && !cfg->churn) /* it asks where the others are */
            open_all(l, 0, 1);
        open_all(l, cfg->clients, l->connections);
        if (!cfg->churn)
            open_all(l, cfg->cluster ? 1 : 0, cfg->clients);
        if (!l->failed) {
            begin(l);
            drive(l);
        }
    }
    if (l->client)
        finish(l);
    bool ok = !l->failed;
    if (!l->over)
        l->tally->running--;
    if (!ok)
        snprintf(err, err_len, "%s", l->error);
    if (l->cluster)
        free(l->cluster->reply);
    free(l->cluster);
    free(l->client);
    free(l->scratch);
    free(l);
    return ok;
}

void load_result_free(struct load_result *r)
{
    free(r->second);
    r->second = NULL;
}
