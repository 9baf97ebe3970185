/* A run on several threads: see bench.h. Each has its transport, its clients and its own numbers; what they have in common is struct load_tally. */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "dataplane/bench/bench.h"
#include "engine/base/assert.h"

struct share {
    pthread_t thread;
    struct transport *t;
    struct workload work; /* b->work's text and data, its own place in the sequences */
    struct load_config cfg;
    struct load_result result;
    bool ok;
    char err[256];
};

/* Part i of n; parts differ by at most one. */
static uint64_t part(uint64_t all, uint32_t i, uint32_t n)
{
    return all / n + (i < all % n);
}

/* What stands before part i. */
static uint64_t before(uint64_t all, uint32_t i, uint32_t n)
{
    return all / n * i + (i < all % n ? i : all % n);
}

static void *run_share(void *arg)
{
    struct share *s = arg;
    s->ok = load_run(s->t, &s->work, &s->cfg, &s->result, s->err, sizeof(s->err));
    return NULL;
}

static void share_init(struct share *s, struct bench *b, const struct load_config *cfg, uint32_t i,
                       uint32_t n)
{
    s->t = b->t[i];
    s->work = b->work;
    s->work.seq = (uint64_t)i << 48;
    s->work.keys.next = before(b->keys, i, n);
    s->cfg = *cfg;
    s->cfg.clients = (uint32_t)part(cfg->clients, i, n);
    s->cfg.requests = part(cfg->requests, i, n);
    s->cfg.subscribers = (uint32_t)part(cfg->subscribers, i, n);
    s->cfg.first_subscriber = (uint32_t)before(cfg->subscribers, i, n);
    s->cfg.rate = cfg->rate / n;
    s->cfg.seed = cfg->seed + i;
    s->cfg.asks_first = i;
    s->cfg.asks_step = n;
    if (i)
        s->cfg.progress = NULL;
}

static void add(struct load_result *to, const struct load_result *r)
{
    uint64_t *sum[] = {
        &to->operations, &to->requests,         &to->errors,   &to->unanswered, &to->pushes,
        &to->connects,   &to->connect_failures, &to->lost,     &to->bytes_in,   &to->bytes_out,
        &to->late,       &to->redirected,       &to->messages, &to->published};
    const uint64_t part_of[] = {
        r->operations, r->requests,         r->errors,   r->unanswered, r->pushes,
        r->connects,   r->connect_failures, r->lost,     r->bytes_in,   r->bytes_out,
        r->late,       r->redirected,       r->messages, r->published};
    for (size_t i = 0; i < sizeof(sum) / sizeof(sum[0]); i++)
        *sum[i] += part_of[i];
    percentile_merge(&to->all, &r->all);
    percentile_merge(&to->connect, &r->connect);
    percentile_merge(&to->delivery, &r->delivery);
    for (int i = 0; i < OPS_MOST; i++)
        percentile_merge(&to->op[i], &r->op[i]);
    if (r->seconds > to->seconds)
        to->seconds = r->seconds;
    if (r->busy_share > to->busy_share) /* one thread at its limit bounds them all */
        to->busy_share = r->busy_share;
    if (!to->first_error[0])
        memcpy(to->first_error, r->first_error, sizeof(to->first_error));
}

bool bench_run(struct bench *b, const struct load_config *cfg, struct load_result *ret)
{
    uint32_t n = cfg->requests && cfg->requests < b->threads ? (uint32_t)cfg->requests : b->threads;
    struct load_tally tally = {.running = (int)n, .opening = (int)n};
    struct share *share = calloc(n, sizeof(*share));
    bool ok = true;
    CHECK(share);
    for (uint32_t i = 0; i < n; i++) {
        share_init(&share[i], b, cfg, i, n);
        share[i].cfg.tally = &tally;
        if (i)
            CHECK(pthread_create(&share[i].thread, NULL, run_share, &share[i]) == 0);
    }
    run_share(&share[0]); /* here: DPDK knows this thread */
    for (uint32_t i = 0; i < n; i++) {
        if (i)
            pthread_join(share[i].thread, NULL);
        if (!share[i].ok && ok)
            fprintf(stderr, "barewire bench: %s\n", share[i].err);
        ok &= share[i].ok;
    }
    *ret = share[0].result;
    for (uint32_t i = 1; i < n; i++) {
        add(ret, &share[i].result);
        load_result_free(&share[i].result);
    }
    ret->rate = ret->seconds > 0 ? (double)ret->operations / ret->seconds : 0;
    free(share);
    if (!ok)
        load_result_free(ret);
    return ok;
}
