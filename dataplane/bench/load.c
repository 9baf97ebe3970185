/* See load.h. */
#include "dataplane/bench/load.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/base/assert.h"

#define SECOND_NS    1000000000ull
#define CONNECT_STEP 256 /* connections opened at a time: listeners have a backlog */

static void client_fill(struct load_client *c);

static bool counts(const struct load *l, uint64_t since_ns)
{
    return since_ns >= l->count_ns;
}

static void fail(struct load *l, const char *what, int err)
{
    if (!l->failed)
        snprintf(l->error, sizeof(l->error), "%s%s%s", what, err ? ": " : "",
                 err ? strerror(-err) : "");
    l->failed = l->stopping = true;
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

static void out_write(struct load_client *c, const uint8_t *p, size_t n)
{
    struct transport *t = c->load->t;
    c->load->result->bytes_out += n;
    size_t took = c->out_off < c->out_len ? 0 : t->ops->write(t, c, p, n);
    if (took < n)
        out_keep(c, p + took, n - took);
}

void load_writable(struct load_client *c)
{
    struct transport *t = c->load->t;
    if (c->out_off == c->out_len)
        return;
    c->out_off += (uint32_t)t->ops->write(t, c, c->out + c->out_off, c->out_len - c->out_off);
    t->ops->flush(t, c);
}

/* ---- asking ---- */

static struct flight *flight_add(struct load_client *c)
{
    ASSERT(c->head - c->tail < c->load->flights);
    return &c->flight[c->head++ & (c->load->flights - 1)];
}

static void ask(struct load_client *c, uint64_t since_ns)
{
    struct load *l = c->load;
    uint32_t op = workload_draw(l->work, &l->draw);
    uint32_t requests = l->work->op[op].requests;
    out_write(c, l->scratch, workload_write(l->work, op, &l->draw, l->scratch));
    for (uint32_t i = 0; i < requests; i++)
        *flight_add(c) =
            (struct flight){since_ns, (uint16_t)op, i + 1 == requests, counts(l, since_ns)};
    c->open_ops++;
    l->sent_ops++;
    l->awaited++;
}

static bool may_ask(const struct load *l)
{
    return !l->stopping && (l->cfg.requests == 0 || l->sent_ops < l->cfg.requests);
}

/* Closed loop: a batch of `pipeline` operations once the one before was answered. */
static void client_fill(struct load_client *c)
{
    struct load *l = c->load;
    uint32_t asked = 0;
    if (l->cfg.rate > 0 || c->state != CLIENT_READY || c->open_ops)
        return;
    for (; asked < l->cfg.pipeline && may_ask(l); asked++)
        ask(c, l->cfg.churn ? c->connect_ns : l->now_ns);
    if (asked)
        l->t->ops->flush(l->t, c);
}

/* Open loop: what has fallen due goes to the next client that has room. Nobody has: it stays due, and its wait counts. */
static void arrivals(struct load *l)
{
    double gap = (double)SECOND_NS / l->cfg.rate;
    uint32_t full = 0;
    while (may_ask(l) && (uint64_t)l->next_due_ns <= l->now_ns && full < l->cfg.clients) {
        struct load_client *c = &l->client[l->turn++ % l->cfg.clients];
        if (c->state != CLIENT_READY || c->open_ops >= l->cfg.pipeline) {
            full++;
            continue;
        }
        full = 0;
        ask(c, (uint64_t)l->next_due_ns);
        l->t->ops->flush(l->t, c);
        l->next_due_ns += l->cfg.poisson ? draw_exponential(&l->draw, gap) : gap;
    }
}

static uint64_t overdue(const struct load *l)
{
    double left = ((double)l->now_ns - l->next_due_ns) * l->cfg.rate / (double)SECOND_NS;
    return l->cfg.rate > 0 && left > 0 ? (uint64_t)left : 0;
}

/* ---- connections ---- */

static void client_connect(struct load_client *c)
{
    struct load *l = c->load;
    c->state = CLIENT_CONNECTING;
    c->connect_ns = l->now_ns;
    skip_init(&c->skip);
    c->head = c->tail = c->open_ops = 0;
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
    out_write(c, (const uint8_t *)text, (size_t)len);
    c->greetings++;
}

static void client_ready(struct load_client *c)
{
    struct load *l = c->load;
    c->state = CLIENT_READY;
    l->ready++;
    if (l->start_ns || l->cfg.churn) /* else all begin at once */
        client_fill(c);
}

void load_connected(struct load_client *c, int err)
{
    struct load *l = c->load;
    const struct load_config *cfg = &l->cfg;
    char db[16];
    if (err) {
        c->state = CLIENT_CLOSED;
        l->result->connect_failures++;
        if (!cfg->churn)
            fail(l, "a connection could not be opened", err);
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
        snprintf(db, sizeof(db), "%u", cfg->db);
        greet_words(c, (const char *const[]){"SELECT", db}, 2);
    }
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
    if (c->state == CLIENT_READY)
        l->ready--;
    c->state = CLIENT_CLOSED;
}

void load_closed(struct load_client *c, int err)
{
    struct load *l = c->load;
    l->result->lost++;
    client_drop(c);
    c->tc = NULL;
    if (!l->cfg.churn)
        fail(l, "the server ended a connection", err);
    else if (may_ask(l))
        client_connect(c);
}

static void client_churn(struct load_client *c)
{
    struct load *l = c->load;
    l->t->ops->close(l->t, c);
    c->tc = NULL;
    client_drop(c);
    if (may_ask(l))
        client_connect(c);
}

/* ---- answers ---- */

static void answered(struct load_client *c)
{
    struct load *l = c->load;
    struct load_result *r = l->result;
    struct flight *f = &c->flight[c->tail++ & (l->flights - 1)];
    r->requests += f->counted;
    if (c->skip.error) {
        l->second_errors++;
        r->errors += f->counted;
        if (!r->first_error[0])
            snprintf(r->first_error, sizeof(r->first_error), "%s", c->skip.line);
    }
    if (!f->last)
        return;
    c->open_ops--;
    l->awaited--;
    uint64_t took = l->now_ns > f->since_ns ? l->now_ns - f->since_ns : 0;
    percentile_add(&l->second, took);
    if (f->counted) {
        r->operations++;
        percentile_add(&r->all, took);
        if (l->work->ops > 1)
            percentile_add(&r->op[f->op], took);
    }
}

static void greeted(struct load_client *c)
{
    char text[160];
    if (c->skip.error) {
        snprintf(text, sizeof(text), "the server answered: %s", c->skip.line);
        fail(c->load, text, 0);
    }
    if (--c->greetings == 0)
        client_ready(c);
}

void load_received(struct load_client *c, const uint8_t *p, size_t n)
{
    struct load *l = c->load;
    const uint8_t *end = p + n;
    l->result->bytes_in += n;
    while (p < end) {
        enum skip_status s = skip_reply(&c->skip, &p, end);
        if (s == SKIP_MORE)
            break;
        if (s == SKIP_PUSH) {
            l->result->pushes++;
        } else if (s == SKIP_BAD) {
            fail(l, "the server's bytes are no RESP", 0);
            return;
        } else if (c->state == CLIENT_GREETING) {
            greeted(c);
        } else if (c->head == c->tail) {
            fail(l, "a reply that nobody asked for", 0);
            return;
        } else {
            answered(c);
        }
    }
    if (c->open_ops || c->state != CLIENT_READY)
        return;
    if (l->cfg.churn)
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
    if (l->start_ns && l->cfg.rate > 0) {
        arrivals(l);
        if (may_ask(l) && (uint64_t)l->next_due_ns > l->now_ns &&
            (uint64_t)l->next_due_ns < until_ns)
            until_ns = (uint64_t)l->next_due_ns;
    }
    l->now_ns = l->t->ops->poll(l->t, until_ns);
}

/* All connections, some at a time. */
static void open_all(struct load *l)
{
    uint64_t deadline = l->now_ns + (uint64_t)(l->cfg.answer_timeout_s * 1e9);
    uint32_t asked = 0;
    while (l->ready < l->cfg.clients && !l->failed) {
        while (asked < l->cfg.clients && asked - l->ready < CONNECT_STEP)
            client_connect(&l->client[asked++]);
        uint32_t before = l->ready;
        turn(l, l->now_ns + 10000000);
        if (l->ready != before)
            deadline = l->now_ns + (uint64_t)(l->cfg.answer_timeout_s * 1e9);
        if (l->now_ns > deadline)
            fail(l, "no answer", -ETIMEDOUT);
    }
}

static void begin(struct load *l)
{
    l->start_ns = l->now_ns = l->t->ops->now(l->t);
    l->count_ns = l->start_ns + (uint64_t)(l->cfg.warmup_s * 1e9);
    l->end_ns = l->cfg.seconds > 0 ? l->count_ns + (uint64_t)(l->cfg.seconds * 1e9) : UINT64_MAX;
    l->second_ns = l->start_ns + SECOND_NS;
    l->next_due_ns = (double)l->start_ns;
    percentile_reset(&l->second);
    for (uint32_t i = 0; i < l->cfg.clients; i++) {
        if (l->cfg.churn)
            client_connect(&l->client[i]);
        else
            client_fill(&l->client[i]);
    }
}

static void drive(struct load *l)
{
    uint64_t busy = 0, busy_since = 0, drain_ns = UINT64_MAX, last_ns = 0;
    while (!l->failed && l->now_ns < drain_ns) {
        bool over = l->now_ns >= l->end_ns || !may_ask(l);
        if (over && !l->stopping) {
            l->stopping = true;
            l->result->late = overdue(l);
            drain_ns = l->now_ns + (uint64_t)(l->cfg.answer_timeout_s * 1e9);
        }
        if (l->stopping && l->awaited == 0)
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

static void finish(struct load *l)
{
    struct load_result *r = l->result;
    uint64_t end = l->now_ns < l->end_ns ? l->now_ns : l->end_ns;
    if (l->start_ns && l->second.count)
        second_over(l, true);
    r->seconds = end > l->count_ns ? (double)(end - l->count_ns) / 1e9 : 0;
    r->rate = r->seconds > 0 ? (double)r->operations / r->seconds : 0;
    for (uint32_t i = 0; i < l->cfg.clients; i++) {
        struct load_client *c = &l->client[i];
        if (c->state != CLIENT_CLOSED && c->tc)
            l->t->ops->close(l->t, c);
        if (c->state != CLIENT_CLOSED)
            client_drop(c);
        free(c->flight);
        free(c->out);
    }
}

static bool prepare(struct load *l)
{
    uint32_t most = 1;
    for (uint32_t i = 0; i < l->work->ops; i++)
        most = l->work->op[i].requests > most ? l->work->op[i].requests : most;
    for (l->flights = 1; l->flights < most * l->cfg.pipeline;)
        l->flights *= 2;
    l->client = calloc(l->cfg.clients, sizeof(*l->client));
    l->scratch = malloc(l->work->longest + 64);
    if (!l->client || !l->scratch)
        return false;
    for (uint32_t i = 0; i < l->cfg.clients; i++) {
        l->client[i].load = l;
        l->client[i].id = i;
        l->client[i].flight = calloc(l->flights, sizeof(struct flight));
        if (!l->client[i].flight)
            return false;
    }
    return true;
}

static void result_init(struct load_result *r)
{
    memset(r, 0, sizeof(*r));
    percentile_reset(&r->all);
    percentile_reset(&r->connect);
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
    draw_seed(&l->draw, cfg->seed);
    l->now_ns = t->ops->now(t);
    if (!prepare(l)) {
        fail(l, "no memory for so many clients", 0);
    } else {
        if (!cfg->churn)
            open_all(l);
        if (!l->failed) {
            begin(l);
            drive(l);
        }
    }
    if (l->client)
        finish(l);
    bool ok = !l->failed;
    if (!ok)
        snprintf(err, err_len, "%s", l->error);
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
