/* How long commands take: histograms per command (LATENCY HISTOGRAM, INFO latencystats), the slow log, the latency monitor.
 *
 * Reading the clock around each request would cost the short ones more than they do, so it is read
 *   - around a batch or a mail as a whole, whose requests share the time evenly: they are short ones
 *   - around each request that may take long whatever it is asked (HOW_TIMED: no FAST command, nor one of a string), or is big
 *   - around every request while slowlog-log-slower-than is below a millisecond (CAREFUL_TIMES)
 * A batch whose short requests took longer than a threshold all together has one entry, for the one with the longest arguments.
 *
 * The worker that runs a command measures it; its client's home notes the slow ones, since it knows the client and has the arguments. Queued
 * is the time from the turn that received the request, or from the first command of its mail, to its run. Thread: the worker's. */
#include <string.h>

#include <rte_cycles.h>

#include "dataplane/conn/conn_internal.h"
#include "engine/cmd/command_table.h"

#define CAREFUL_BELOW_US 1000

static uint64_t hz(void)
{
    uint64_t v = rte_get_tsc_hz();
    return v ? v : 1000000000;
}

/* A limit in cycles; 0: there is none. */
static uint64_t limit(uint64_t n, uint64_t per_s)
{
    uint64_t cycles;
    return __builtin_mul_overflow(n, hz() / per_s, &cycles) ? UINT64_MAX : cycles;
}

int times_init(struct worker *w)
{
    w->ns_q32 = (uint64_t)(((unsigned __int128)1000000000 << 32) / hz());
    slowlog_init(&w->slowlog, &w->slow_next_id);
    w->times = w->link ? link_times(w->link, w->id) : calloc(LINK_COMMANDS, sizeof(*w->times));
    w->latency = calloc(1, sizeof(*w->latency));
    return w->times && w->latency ? 0 : -ENOMEM;
}

void times_fini(struct worker *w)
{
    slowlog_reset(&w->slowlog);
    if (!w->link)
        free(w->times);
    free(w->latency);
}

void times_prepare(struct worker *w)
{
    const struct engine_config *c = &w->config;
    w->slow_cycles = c->slowlog_slower_than_us < 0
                         ? UINT64_MAX
                         : limit((uint64_t)c->slowlog_slower_than_us, 1000000);
    w->latency_cycles = c->latency_threshold_ms ? limit(c->latency_threshold_ms, 1000) : UINT64_MAX;
    w->look_cycles = w->slow_cycles < w->latency_cycles ? w->slow_cycles : w->latency_cycles;
    w->tracks_times = c->latency_tracking;
    if (c->slowlog_slower_than_us >= 0 && c->slowlog_slower_than_us < CAREFUL_BELOW_US)
        w->careful |= CAREFUL_TIMES;
    else
        w->careful &= ~(uint32_t)CAREFUL_TIMES;
    if (w->stats_epoch == c->stats_epoch)
        return;
    w->stats_epoch = c->stats_epoch; /* CONFIG RESETSTAT */
    hist_reset(&w->stats->loop_busy_ns);
    STAT_SET(w->stats->loop_own_max_ns, 0);
    for (uint32_t i = 0; i < CMD_COUNT; i++)
        if (time_hist_count(&w->times[cmd_table[i].index]))
            memset(&w->times[cmd_table[i].index], 0, sizeof(*w->times));
}

bool times_may_be_long(const struct worker *w, const struct cmd_desc *d)
{
    if (w->careful & CAREFUL_TIMES)
        return true;
    return !(d->flags & CMD_FAST) && !(d->route == ROUTE_KEY && (d->acl & ACL_STRING));
}

void times_event(struct worker *w, enum latency_event event, uint64_t cycles)
{
    latency_add(w->latency, event, w->unix_us, times_us(w, cycles) / 1000);
}

void times_took(struct worker *w, const struct cmd_desc *d, uint64_t cycles)
{
    if (w->tracks_times)
        time_hist_add(&w->times[d->index], times_ns(w, cycles), 1);
    w->cmd_usec[d->index] += cycles;
    w->own_timed++;
    w->own_cycles += cycles;
    if (unlikely_(cycles >= w->latency_cycles))
        times_event(w, d->flags & CMD_FAST ? LATENCY_FAST_COMMAND : LATENCY_COMMAND, cycles);
}

void times_slow(struct worker *w, const struct times_request *r, uint64_t took, uint64_t queued)
{
    char peer[SESSION_END_BYTES] = "";
    if (r->desc->flags & CMD_SKIP_SLOWLOG)
        return;
    struct slow_command c = {.desc = r->desc,
                             .argv = r->argv,
                             .argc = r->argc,
                             .peer = peer,
                             .now_us = w->unix_us,
                             .took_us = times_us(w, took),
                             .queued_us = times_us(w, queued)};
    if (r->session) {
        session_end_text(r->session, SESSION_PEER, peer);
        c.name = r->session->name;
    }
    w->slowlog.next_id = &w->all[0]->slow_next_id;
    slowlog_add(&w->slowlog, &c, w->config.slowlog_max_len);
}

/* ---- one request ---- */

/* A big argument may be taken over by the command: what the log shows of it is kept before. */
static void keep_arguments(struct worker *w, struct times_request *r)
{
    struct times_kept *k = &w->times_kept;
    uint32_t n = r->argc < SLOWLOG_ARGS ? r->argc : SLOWLOG_ARGS;
    for (uint32_t i = 0; i < n; i++) {
        size_t bytes = r->argv[i].n < SLOWLOG_ARG_BYTES ? r->argv[i].n : SLOWLOG_ARG_BYTES;
        memcpy(k->bytes[i], r->argv[i].p, bytes);
        k->argv[i] = (struct span){k->bytes[i], r->argv[i].n};
    }
    r->argv = k->argv;
}

void times_begin(struct worker *w, struct times_request *r, bool big)
{
    if (big)
        keep_arguments(w, r);
    r->start = rte_rdtsc();
}

void times_end(struct worker *w, const struct times_request *r)
{
    uint64_t took = rte_rdtsc() - r->start;
    times_took(w, r->desc, took);
    if (unlikely_(took >= w->slow_cycles))
        times_slow(w, r, took, w->turn_tsc ? r->start - w->turn_tsc : 0);
}

/* ---- a batch ---- */

/* The short requests of a batch took longer than a threshold, all together. */
void times_batch(struct worker *w, struct batch *b, uint64_t cycles)
{
    const struct staged *longest = NULL;
    size_t most = 0;
    for (const struct staged *s = b->cmd; s != b->end; s++) {
        size_t bytes = 1;
        if (!s->conn || !s->desc || s->big || times_each(w, s->desc))
            continue;
        for (uint32_t i = 0; i < s->argc; i++)
            bytes += s->argv[i].n;
        if (bytes > most) {
            most = bytes;
            longest = s;
        }
    }
    if (!longest)
        return;
    if (cycles >= w->latency_cycles)
        times_event(w, LATENCY_FAST_COMMAND, cycles);
    if (cycles < w->slow_cycles)
        return;
    struct times_request r = {.desc = longest->desc,
                              .argv = longest->argv,
                              .argc = longest->argc,
                              .session = longest->conn->dead ? NULL : &longest->conn->ses};
    times_slow(w, &r, cycles, 0);
}

/* ---- a command of another worker's client, measured where it ran ---- */

static void slow_remote(struct worker *w, const struct mail_cmd *mc, uint64_t took, uint64_t queued)
{
    const struct slot *slot = mc->slot;
    struct times_request r = {.desc = mc->desc,
                              .argv = mc->argv,
                              .argc = mc->argc,
                              .session = slot->conn ? &slot->conn->ses : NULL};
    times_slow(w, &r, took, queued);
}

void times_row(struct worker *w, const struct mail_cmd *mc)
{
    slow_remote(w, mc, mc->took, mc->queued);
}

void times_remote(struct worker *w, const struct mail_cmd *mc)
{
    struct slot *slot = mc->slot;
    if (mc->took > slot->took) {
        slot->took = mc->took;
        slot->queued = mc->queued;
    }
    if (likely_(slot->took < w->slow_cycles) || slot->parts > 1)
        return;
    slow_remote(w, mc, slot->took, slot->queued);
}
