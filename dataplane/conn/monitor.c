/* MONITOR: every command of every worker to the clients that watch, without holding anybody up.
 *
 *   home of a command: monitor_note -> worker.monitor_lines -> end of the turn: one event for each worker with watchers
 *   home of a watcher: the lines, behind what it has not taken yet; over LIMIT_CONN_OUT_PAUSE_BYTES they are dropped and counted, and a line
 *                      says how many when there is room again
 *
 * MONITOR runs on all workers before it is answered (ROUTE_WORKERS): each then has the bit of the watcher's home. A home without watchers says
 * so when lines come. Commands are noted as they go to run, in the order of their home. Thread: the worker's. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "dataplane/conn/conn_internal.h"
#include "engine/cmd/command_table.h"
#include "engine/cmd/multi.h"

struct monitor {
    struct list node;
    struct conn *conn;
    uint64_t dropped;
};

struct monitor_event {
    struct mail_event ev;
    bool off; /* no lines: the sender has no watchers */
    uint64_t lines, dropped;
    struct reply_heap heap;
};

static void bits_set(struct worker *w, uint64_t homes)
{
    w->monitored = homes;
    careful_set(w, CAREFUL_MONITOR, homes != 0);
}

/* On each worker, for the client of that id; its home makes it a watcher. */
void monitor_start(struct host *h, uint64_t client)
{
    struct worker *w = (struct worker *)((char *)h - offsetof(struct worker, host));
    uint32_t home = client_home(w, client);
    bits_set(w, w->monitored | 1ull << home);
    if (home != w->id)
        return;
    list_for_each (n, &w->conns) {
        struct conn *c = list_entry(n, struct conn, node);
        if (c->ses.id != client || c->closing)
            continue;
        if (!c->monitor) { /* else it was one before a RESET, and has not been dropped yet */
            c->monitor = calloc(1, sizeof(*c->monitor));
            if (!c->monitor)
                return;
            c->monitor->conn = c;
            list_push_back(&w->monitors, &c->monitor->node);
        }
        c->ses.mode |= SESSION_MONITOR;
    }
}

void monitor_drop(struct conn *c)
{
    if (!c->monitor)
        return;
    list_remove(&c->monitor->node);
    free(c->monitor);
    c->monitor = NULL;
}

/* ---- lines ---- */

static void put_quoted(struct reply *r, struct span s)
{
    static const char named[] = "\n\r\t\a\b\\\"", letter[] = "nrtab\\\"";
    reply_raw(r, "\"", 1);
    for (size_t i = 0, plain = 0; i <= s.n; i++) {
        bool special = i < s.n && (s.p[i] < ' ' || s.p[i] > '~' || s.p[i] == '"' || s.p[i] == '\\');
        if (i < s.n && !special)
            continue;
        reply_raw(r, s.p + plain, i - plain);
        plain = i + 1;
        if (i == s.n)
            break;
        char text[8];
        const char *at = s.p[i] ? strchr(named, s.p[i]) : NULL;
        int n = at ? snprintf(text, sizeof(text), "\\%c", letter[at - named])
                   : snprintf(text, sizeof(text), "\\x%02x", s.p[i]);
        reply_raw(r, text, (size_t)n);
    }
    reply_raw(r, "\"", 1);
}

static void put_head(struct worker *w, struct reply *r, uint32_t db, const char *who)
{
    char head[128];
    int n = snprintf(head, sizeof(head), "+%" PRId64 ".%06" PRId64 " [%u %.80s]",
                     w->unix_us / 1000000, w->unix_us % 1000000, db, who);
    reply_raw(r, head, (size_t)n);
}

static const char *who_asks(const struct session *s, char to[SESSION_END_BYTES + 8])
{
    char peer[SESSION_END_BYTES];
    session_end_text(s, SESSION_PEER, peer);
    if (s->source != SESSION_DOOR_UNIX)
        return strcpy(to, peer);
    size_t n = strlen(peer); /* "/path:0" */
    if (n > 2 && strcmp(peer + n - 2, ":0") == 0)
        peer[n - 2] = 0;
    snprintf(to, SESSION_END_BYTES + 8, "unix:%s", peer);
    return to;
}

void monitor_note(struct worker *w, const struct session *s, const struct cmd_desc *d,
                  const struct span *argv, uint32_t argc)
{
    size_t bytes = 128;
    char who[SESSION_END_BYTES + 8];
    struct reply r;
    if (d->flags & (CMD_SKIP_MONITOR | CMD_ADMIN))
        return;
    for (uint32_t i = 0; i < argc; i++)
        bytes += argv[i].n + 3;
    if (w->monitor_lines.len + bytes > LIMIT_MONITOR_BYTES) {
        w->monitor_dropped++;
        STAT_INC(w->stats->monitor_dropped);
        return;
    }
    reply_heap_append(&r, &w->monitor_lines, 2);
    put_head(w, &r, s->db, who_asks(s, who));
    for (uint32_t i = 0; i < argc; i++) {
        reply_raw(&r, " ", 1);
        put_quoted(&r, cmd_arg_secret(d, argv, argc, i) ? SPAN("(redacted)") : argv[i]);
    }
    reply_raw(&r, "\r\n", 2);
    reply_heap_finish(&r, &w->monitor_lines);
    w->monitor_count++;
}

void monitor_note_exec(struct worker *w, const struct staged *s)
{
    const struct session *ses = &s->conn->ses;
    const struct multi *m = ses->multi;
    if (s->desc != &cmd_table[CMD_exec]) {
        if (s->desc == &cmd_table[CMD_discard])
            monitor_note(w, ses, s->desc, s->argv, s->argc);
        return;
    }
    for (const struct multi_cmd *q = m && !m->failed ? m->first : NULL; q; q = q->next)
        monitor_note(w, ses, q->desc, q->argv, q->argc);
    monitor_note(w, ses, s->desc, s->argv, s->argc);
}

/* ---- to the watchers ---- */

static void tell_dropped(struct worker *w, struct monitor *m)
{
    struct reply_heap h = {0};
    struct reply r;
    char count[32];
    int n = snprintf(count, sizeof(count), " \"dropped\" \"%" PRIu64 "\"\r\n", m->dropped);
    reply_heap_init(&r, &h, 2);
    put_head(w, &r, 0, "barewire");
    reply_raw(&r, count, (size_t)n);
    reply_heap_finish(&r, &h);
    m->dropped = 0;
    conn_push(m->conn, span_of(h.p, h.len));
    reply_heap_free(&h);
}

static void deliver(struct worker *w, struct span lines, uint64_t count, uint64_t dropped)
{
    list_for_each_safe(n, next, &w->monitors)
    {
        struct monitor *m = list_entry(n, struct monitor, node);
        if (!(m->conn->ses.mode & SESSION_MONITOR)) { /* RESET */
            monitor_drop(m->conn);
            continue;
        }
        m->dropped += dropped;
        if (m->conn->out_bytes + m->conn->slot_bytes + lines.n > LIMIT_CONN_OUT_PAUSE_BYTES) {
            m->dropped += count;
            STAT_ADD(w->stats->monitor_dropped, count);
            continue;
        }
        if (m->dropped)
            tell_dropped(w, m);
        if (lines.n)
            conn_push(m->conn, lines);
    }
}

static void on_lines(struct worker *w, struct mail_event *ev)
{
    struct monitor_event *e = (struct monitor_event *)ev;
    if (e->off) {
        bits_set(w, w->monitored & ~(1ull << ev->from));
    } else {
        deliver(w, span_of(e->heap.p, e->heap.len), e->lines, e->dropped);
        if (list_empty(&w->monitors)) {
            struct monitor_event *off = calloc(1, sizeof(*off));
            if (off) {
                off->ev.run = on_lines;
                off->off = true;
                event_send(w, ev->from, &off->ev);
            }
        }
    }
    reply_heap_free(&e->heap);
    free(e);
}

void monitor_flush_now(struct worker *w)
{
    out_close(w);
    for (uint64_t m = w->monitored & ~(1ull << w->id); m; m &= m - 1) {
        struct monitor_event *e = calloc(1, sizeof(*e));
        struct reply r;
        if (!e)
            break;
        e->ev.run = on_lines;
        e->lines = w->monitor_count;
        e->dropped = w->monitor_dropped;
        reply_heap_init(&r, &e->heap, 2);
        reply_raw(&r, w->monitor_lines.p, w->monitor_lines.len);
        reply_heap_finish(&r, &e->heap);
        event_send(w, (uint32_t)__builtin_ctzll(m), &e->ev);
    }
    if (w->monitored & 1ull << w->id) {
        deliver(w, span_of(w->monitor_lines.p, w->monitor_lines.len), w->monitor_count,
                w->monitor_dropped);
        if (list_empty(&w->monitors))
            bits_set(w, w->monitored & ~(1ull << w->id));
    }
    w->monitor_lines.len = 0;
    w->monitor_count = w->monitor_dropped = 0;
    if (!w->monitored)
        reply_heap_free(&w->monitor_lines);
}
