/* LATENCY: see latency.h. A part of LATEST, HISTORY, GRAPH, DOCTOR is every series of the worker; home puts the samples of one second together
 * as one (the longest), as each worker did. A part of HISTOGRAM is the buckets of every command asked for. */
#include "engine/cmd/latency.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "engine/base/num.h"
#include "engine/base/time_hist.h"
#include "engine/cmd/cmd_internal.h"
#include "engine/cmd/gather_internal.h"
#include "engine/cmd/keyref.h"

static const char *const event_names[LATENCY_EVENTS] = {"command", "expire-cycle", "fast-command"};

void latency_add(struct latency *l, enum latency_event event, int64_t now_us, uint64_t ms)
{
    struct latency_series *s = &l->series[event];
    uint32_t time_s = (uint32_t)(now_us / 1000000), v = ms < UINT32_MAX ? (uint32_t)ms : UINT32_MAX;
    struct latency_sample *last = &s->v[(s->next + LATENCY_SAMPLES - 1) % LATENCY_SAMPLES];
    if (v > s->max_ms)
        s->max_ms = v;
    if (last->time_s == time_s) {
        if (v > last->ms)
            last->ms = v;
        return;
    }
    s->v[s->next] = (struct latency_sample){time_s, v};
    s->next = (s->next + 1) % LATENCY_SAMPLES;
}

/* ---- gathering ---- */

/* What the reply needs of the request. */
enum { EVENT_ALL = LATENCY_EVENTS, EVENT_UNKNOWN };

static uint32_t event_of(struct span name)
{
    for (uint32_t i = 0; i < LATENCY_EVENTS; i++)
        if (span_eq(name, span_str(event_names[i]))) /* Redis tells case apart here */
            return i;
    return EVENT_UNKNOWN;
}

static void send_series(struct cmd *c)
{
    static const struct latency none;
    const struct latency *l = c->host->latency ? c->host->latency : &none;
    struct gather g;
    gather_begin(&g);
    gather_put_u64(&g, c->argc > 2 ? event_of(c->argv[2]) : EVENT_ALL);
    gather_put_text(&g, c->argc > 2 ? c->argv[2] : SPAN(""));
    gather_put_u64(&g, (uint64_t)(c->now_us / 1000000));
    gather_put_u64(&g, c->host->config->latency_threshold_ms);
    gather_put(&g, l, sizeof(*l));
    gather_end(c, &g);
}

struct told {
    uint64_t event, now_s, threshold_ms;
    struct span name; /* as asked for */
    struct latency all;
};

static int by_time(const void *a, const void *b)
{
    uint32_t x = ((const struct latency_sample *)a)->time_s,
             y = ((const struct latency_sample *)b)->time_s;
    return x < y ? -1 : x > y;
}

/* The samples of two series as one, the oldest first from v[0] on. */
static void merge(struct latency_series *to, const struct latency_series *from)
{
    struct latency_sample v[2 * LATENCY_SAMPLES];
    size_t n = 0;
    for (size_t i = 0; i < LATENCY_SAMPLES; i++) {
        if (to->v[i].time_s)
            v[n++] = to->v[i];
        if (from->v[i].time_s)
            v[n++] = from->v[i];
    }
    qsort(v, n, sizeof(v[0]), by_time);
    size_t out = 0;
    for (size_t i = 0; i < n; i++) {
        if (out && v[out - 1].time_s == v[i].time_s) {
            if (v[i].ms > v[out - 1].ms)
                v[out - 1].ms = v[i].ms;
        } else {
            v[out++] = v[i];
        }
    }
    size_t skip = out > LATENCY_SAMPLES ? out - LATENCY_SAMPLES : 0;
    uint32_t max_ms = to->max_ms > from->max_ms ? to->max_ms : from->max_ms;
    *to = (struct latency_series){.max_ms = max_ms};
    memcpy(to->v, v + skip, (out - skip) * sizeof(v[0]));
}

static uint32_t series_length(const struct latency_series *s)
{
    uint32_t n = 0;
    while (n < LATENCY_SAMPLES && s->v[n].time_s)
        n++;
    return n;
}

static bool told_read(struct told *t, struct gather_part *part, uint32_t n)
{
    struct latency *one = malloc(sizeof(*one));
    memset(t, 0, sizeof(*t));
    for (uint32_t i = 0; one && i < n; i++) {
        t->event = gather_get_u64(&part[i]);
        t->name = gather_get_text(&part[i]);
        t->now_s = gather_get_u64(&part[i]);
        t->threshold_ms = gather_get_u64(&part[i]);
        gather_get(&part[i], one, sizeof(*one));
        for (int k = 0; k < LATENCY_EVENTS; k++)
            merge(&t->all.series[k], &one->series[k]);
    }
    free(one);
    return one != NULL;
}

/* ---- LATEST, HISTORY ---- */

void cmd_latency_latest(struct cmd *c)
{
    send_series(c);
}

void latency_latest_finish(struct reply *out, struct gather_part *part, uint32_t n)
{
    struct told t;
    size_t events = 0;
    told_read(&t, part, n);
    for (int k = 0; k < LATENCY_EVENTS; k++)
        events += series_length(&t.all.series[k]) != 0;
    reply_array(out, events);
    for (int k = 0; k < LATENCY_EVENTS; k++) {
        const struct latency_series *s = &t.all.series[k];
        uint32_t length = series_length(s);
        if (!length)
            continue;
        reply_array(out, 4);
        reply_bulk_str(out, event_names[k]);
        reply_int(out, s->v[length - 1].time_s);
        reply_int(out, s->v[length - 1].ms);
        reply_int(out, s->max_ms);
    }
}

void cmd_latency_history(struct cmd *c)
{
    send_series(c);
}

void latency_history_finish(struct reply *out, struct gather_part *part, uint32_t n)
{
    struct told t;
    told_read(&t, part, n);
    uint32_t length = 0;
    const struct latency_series *s = NULL;
    if (t.event < LATENCY_EVENTS) {
        s = &t.all.series[t.event];
        length = series_length(s);
    }
    reply_array(out, length);
    for (uint32_t i = 0; i < length; i++) {
        reply_array(out, 2);
        reply_int(out, s->v[i].time_s);
        reply_int(out, s->v[i].ms);
    }
}

/* ---- RESET [event ...]: how many series there were, not how many workers had one ---- */

void cmd_latency_reset(struct cmd *c)
{
    struct latency *l = c->host->latency;
    uint64_t had = 0;
    for (uint32_t k = 0; l && k < LATENCY_EVENTS; k++) {
        bool named = c->argc == 2;
        for (uint32_t i = 2; i < c->argc; i++)
            named |= event_of(c->argv[i]) == k;
        if (!named)
            continue;
        for (uint32_t i = 0; i < LATENCY_SAMPLES; i++)
            had |= l->series[k].v[i].time_s ? 1ull << k : 0;
        l->series[k] = (struct latency_series){0};
    }
    struct gather g;
    gather_begin(&g);
    gather_put_u64(&g, had);
    gather_end(c, &g);
}

void latency_reset_finish(struct reply *out, struct gather_part *part, uint32_t n)
{
    uint64_t had = 0;
    for (uint32_t i = 0; i < n; i++)
        had |= gather_get_u64(&part[i]);
    reply_int(out, __builtin_popcountll(had));
}

/* ---- GRAPH: one column a sample, the newest to the right ---- */

#define GRAPH_COLUMNS 80
#define GRAPH_ROWS    4
#define GRAPH_STEPS   (3 * GRAPH_ROWS) /* a row tells three heights apart: _ o # */

struct text {
    struct reply to;
    struct reply_heap heap;
};

static void text_begin(struct text *t)
{
    reply_heap_init(&t->to, &t->heap, 2);
}

static void text_put(struct text *t, const char *s, size_t n)
{
    reply_raw(&t->to, s, n);
}

__attribute__((format(printf, 2, 3))) static void text_putf(struct text *t, const char *format, ...)
{
    char line[512];
    va_list args;
    va_start(args, format);
    int n = vsnprintf(line, sizeof(line), format, args);
    va_end(args);
    text_put(t, line, (size_t)n < sizeof(line) ? (size_t)n : sizeof(line) - 1);
}

static void text_end(struct text *t, struct reply *out)
{
    reply_heap_finish(&t->to, &t->heap);
    if (t->to.failed)
        reply_error(out, "ERR out of memory");
    else
        reply_verbatim(out, "txt", span_of(t->heap.p, t->heap.len));
    reply_heap_free(&t->heap);
}

static int age_text(char to[16], uint64_t seconds)
{
    static const struct {
        uint64_t s;
        char unit;
    } units[] = {{86400, 'd'}, {3600, 'h'}, {60, 'm'}, {1, 's'}};
    size_t i = 0;
    while (i < 3 && seconds < units[i].s)
        i++;
    return snprintf(to, 16, "%" PRIu64 "%c", seconds / units[i].s, units[i].unit);
}

static void graph_columns(struct text *t, const struct latency_sample *v, uint32_t n,
                          uint64_t now_s, uint32_t low, uint32_t high)
{
    char line[GRAPH_COLUMNS + 1], label[GRAPH_COLUMNS][16];
    int longest = 0;
    for (uint32_t i = 0; i < n; i++) {
        int len = age_text(label[i], now_s > v[i].time_s ? now_s - v[i].time_s : 0);
        longest = len > longest ? len : longest;
    }
    for (int row = 0; row < GRAPH_ROWS; row++) {
        for (uint32_t i = 0; i < n; i++) {
            uint64_t step = high > low ? (uint64_t)(v[i].ms - low) * GRAPH_STEPS / (high - low) : 0;
            if (step >= GRAPH_STEPS)
                step = GRAPH_STEPS - 1;
            int above = (int)step - (GRAPH_ROWS - row - 1) * 3;
            line[i] = " _o#|"[above < 0 ? 0 : above > 2 ? 4 : above + 1];
        }
        line[n] = '\n';
        text_put(t, line, n + 1);
    }
    for (int row = -1; row < longest; row++) { /* the ages, read downwards */
        for (uint32_t i = 0; i < n; i++)
            line[i] = ' ';
        for (uint32_t i = 0; i < n; i++)
            if (row >= 0 && row < (int)strlen(label[i]))
                line[i] = label[i][row];
        line[n] = '\n';
        text_put(t, line, n + 1);
    }
}

void cmd_latency_graph(struct cmd *c)
{
    send_series(c);
}

void latency_graph_finish(struct reply *out, struct gather_part *part, uint32_t n)
{
    struct told t;
    told_read(&t, part, n);
    uint32_t length = t.event < LATENCY_EVENTS ? series_length(&t.all.series[t.event]) : 0;
    if (!length) {
        reply_errorf(out, "ERR No samples available for event '%.*s'", span_shown(t.name, 256),
                     (const char *)t.name.p);
        return;
    }
    const struct latency_series *s = &t.all.series[t.event];
    uint32_t low = UINT32_MAX, high = 0;
    for (uint32_t i = 0; i < length; i++) {
        low = s->v[i].ms < low ? s->v[i].ms : low;
        high = s->v[i].ms > high ? s->v[i].ms : high;
    }
    struct text text;
    char dashes[GRAPH_COLUMNS + 1];
    memset(dashes, '-', GRAPH_COLUMNS);
    dashes[GRAPH_COLUMNS] = '\n';
    text_begin(&text);
    text_putf(&text, "%s - high %u ms, low %u ms (all time high %u ms)\n", event_names[t.event],
              high, low, s->max_ms);
    text_put(&text, dashes, sizeof(dashes));
    for (uint32_t at = 0; at < length; at += GRAPH_COLUMNS) {
        uint32_t columns = length - at < GRAPH_COLUMNS ? length - at : GRAPH_COLUMNS;
        graph_columns(&text, s->v + at, columns, t.now_s, low, high);
    }
    text_end(&text, out);
}

/* ---- DOCTOR ---- */

void cmd_latency_doctor(struct cmd *c)
{
    send_series(c);
}

static const char *const advice[LATENCY_EVENTS] = {
    [LATENCY_COMMAND] = "SLOWLOG GET tells which commands, CLIENT LIST who sends them; walk large "
                        "values in pieces (SCAN, HSCAN, LRANGE of a part).",
    [LATENCY_EXPIRE_CYCLE] = "Many keys expire or are evicted at once; spread their expiries.",
    [LATENCY_FAST_COMMAND] = "A short command took long: the worker did not have its core. Look at "
                             "busy_pct and at what else runs there (docs/tuning.md).",
};

void latency_doctor_finish(struct reply *out, struct gather_part *part, uint32_t n)
{
    struct told t;
    struct text text;
    uint32_t events = 0;
    told_read(&t, part, n);
    text_begin(&text);
    if (!t.threshold_ms)
        text_putf(&text, "Latency is not watched. CONFIG SET latency-monitor-threshold "
                         "<milliseconds> notes what takes longer.\n");
    for (int k = 0; k < LATENCY_EVENTS; k++) {
        const struct latency_series *s = &t.all.series[k];
        uint32_t length = series_length(s);
        uint64_t sum = 0;
        for (uint32_t i = 0; i < length; i++)
            sum += s->v[i].ms;
        if (!length)
            continue;
        events++;
        text_putf(&text,
                  "%u. %s: %u seconds with spikes, on average %" PRIu64
                  " ms, worst of all time %u ms.\n   %s\n",
                  events, event_names[k], length, sum / length, s->max_ms, advice[k]);
    }
    if (t.threshold_ms && !events)
        text_putf(&text, "Nothing took longer than %" PRIu64 " ms.\n", t.threshold_ms);
    text_end(&text, out);
}

/* ---- HISTOGRAM [command ...] ---- */

static bool histogram_wanted(const struct cmd *c, const struct cmd_desc *d)
{
    if (c->argc == 2)
        return true;
    for (uint32_t i = 2; i < c->argc; i++)
        if (span_is(c->argv[i], d->full) || (d->parent && span_is(c->argv[i], d->parent->full)))
            return true;
    return false;
}

/* The part: { row, buckets } of each command that ran. */
void cmd_latency_histogram(struct cmd *c)
{
    const struct time_hist *h = c->host->times;
    struct gather g;
    gather_begin(&g);
    for (uint32_t i = 0; h && i < CMD_COUNT; i++) {
        const struct cmd_desc *d = &cmd_table[i];
        if ((d->flags & CMD_HIDDEN) || !histogram_wanted(c, d) || !time_hist_count(&h[d->index]))
            continue;
        gather_put_u64(&g, i);
        gather_put(&g, &h[d->index], sizeof(*h));
    }
    gather_end(c, &g);
}

/* Redis names a bucket by the microseconds of its end; it doubles them from about one on. */
static void reply_histogram(struct reply *out, uint32_t row, const struct time_hist *h)
{
    uint64_t us[40], count[40], seen = 0;
    uint32_t n = 0, b = 0;
    for (uint64_t end = 1024; b < TIME_HIST_BUCKETS; end *= 2) {
        uint64_t before = seen;
        for (; b < TIME_HIST_BUCKETS && time_hist_top(b) < end; b++)
            seen += h->bucket[b];
        if (seen == before)
            continue;
        us[n] = (end + end / 128 - 1) / 1000;
        count[n++] = seen;
    }
    reply_bulk_str(out, cmd_table[row].full);
    reply_map(out, 2);
    reply_bulk_str(out, "calls");
    reply_int(out, (int64_t)seen);
    reply_bulk_str(out, "histogram_usec");
    reply_map(out, n);
    for (uint32_t i = 0; i < n; i++) {
        reply_int(out, (int64_t)us[i]);
        reply_int(out, (int64_t)count[i]);
    }
}

void latency_histogram_finish(struct reply *out, struct gather_part *part, uint32_t n)
{
    struct time_hist *all = calloc(CMD_COUNT, sizeof(*all)), one;
    uint8_t *ran = calloc(CMD_COUNT, 1);
    uint64_t commands = 0;
    for (uint32_t i = 0; all && ran && i < n; i++) {
        while (part[i].p != part[i].end) {
            uint64_t row = gather_get_u64(&part[i]);
            gather_get(&part[i], &one, sizeof(one));
            if (part[i].bad || row >= CMD_COUNT)
                break;
            time_hist_add_all(&all[row], &one);
            commands += !ran[row];
            ran[row] = 1;
        }
    }
    if (all && ran) {
        reply_map(out, commands);
        for (uint32_t row = 0; row < CMD_COUNT; row++)
            if (ran[row])
                reply_histogram(out, row, &all[row]);
    } else {
        reply_error(out, "ERR out of memory");
    }
    free(all);
    free(ran);
}
