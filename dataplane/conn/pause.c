/* pause.c: CLIENT PAUSE: for a time all commands of this worker's clients wait, or those that write.
 *
 * Where in the flow: CLIENT PAUSE is done by every worker for its own (ROUTE_WORKERS). While it lasts no request takes the short way
 * (CAREFUL_PAUSE); route_staged asks pause_holds, and what is held is put back as bytes, its client waits. Nothing expires and nothing is evicted
 * meanwhile, as in Redis: the dataset stands still (struct shard.still_until_ms). Clients go on in the order in which they began to wait.
 * Thread: the worker's. */
#include <stdlib.h>

#include "dataplane/conn/conn_internal.h"
#include "engine/base/assert.h"

/* What changes the dataset, or what replicas would have to hear of. */
static bool writes(const struct conn *c, const struct cmd_desc *d)
{
    return exec_flags(c, d) & (CMD_WRITE | CMD_MAY_REPLICATE);
}

static void hold(struct worker *w, struct conn *c)
{
    struct pause *p = &w->pause;
    if (p->n == p->cap) {
        p->cap = p->cap ? p->cap * 2 : 16;
        p->held = realloc(p->held, p->cap * sizeof(*p->held));
        CHECK(p->held);
    }
    conn_name(c);
    p->held[p->n++] = c->ses.id;
    c->paused = c->postponed = true;
}

bool pause_holds(struct worker *w, struct staged *s)
{
    struct conn *c = s->conn;
    if (w->now_ms >= w->pause.until_ms || !(w->pause.all || writes(c, s->desc)))
        return false;
    hold(w, c);
    batch_put_back(w, s);
    return true;
}

/* Between two commands: what waited is run. */
static void let_go(struct worker *w)
{
    struct pause *p = &w->pause;
    uint64_t *held = p->held;
    uint32_t n = p->n;
    p->held = NULL;
    p->n = p->cap = 0;
    for (uint32_t i = 0; i < n; i++) {
        struct conn *c = conn_find(w, held[i]);
        if (!c)
            continue;
        c->paused = c->postponed = false;
        conn_resume(c);
    }
    free(held);
}

static void let_go_event(struct worker *w, struct mail_event *ev)
{
    free(ev);
    if (!(w->careful & CAREFUL_PAUSE))
        let_go(w);
}

static void end(struct worker *w)
{
    struct pause *p = &w->pause;
    p->until_ms = 0;
    p->all = false;
    careful_set(w, CAREFUL_PAUSE, false);
}

/* Its clock and unix time may drift apart: unix time counts. */
static uint64_t deadline_ns(const struct worker *w)
{
    uint64_t left_ms = (uint64_t)(w->pause.until_ms - w->now_ms);
    return left_ms < (UINT64_MAX - w->now_ns) / 1000000 ? w->now_ns + left_ms * 1000000
                                                        : UINT64_MAX;
}

static void time_is_up(struct worker *w, struct client_timer *t)
{
    if (!(w->careful & CAREFUL_PAUSE))
        return; /* CLIENT UNPAUSE came first */
    if (w->now_ms < w->pause.until_ms) {
        client_timer_set(w, t, deadline_ns(w));
        return;
    }
    end(w);
    let_go(w);
}

void pause_begin(struct worker *w, int64_t until_ms, bool all)
{
    struct pause *p = &w->pause;
    p->all |= all;
    if (until_ms > p->until_ms)
        p->until_ms = until_ms;
    if (p->until_ms <= w->now_ms) {
        p->all = false;
        return;
    }
    if (!w->journal.still)
        w->shard.still_until_ms = p->until_ms;
    careful_set(w, CAREFUL_PAUSE, true);
    p->timer.fire = time_is_up;
    client_timer_set(w, &p->timer, deadline_ns(w));
}

void pause_end(struct worker *w)
{
    if (!w->journal.still)
        w->shard.still_until_ms = 0;
    if (!(w->careful & CAREFUL_PAUSE))
        return;
    end(w);
    struct mail_event *ev = calloc(1, sizeof(*ev));
    CHECK(ev);
    ev->run = let_go_event;
    event_send(w, w->id, ev);
}

void pause_fini(struct worker *w)
{
    free(w->pause.held);
}
