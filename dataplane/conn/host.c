/* What commands may ask of the worker they run on (engine/cmd/cmd.h, struct host_ops). */
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "dataplane/conn/conn_internal.h"

static struct worker *worker_of(struct host *h)
{
    return (struct worker *)((char *)h - offsetof(struct worker, host));
}

static struct session *host_session_next(struct host *h, struct session *after)
{
    struct worker *w = worker_of(h);
    struct list *n = after ? ((struct conn *)after)->node.next : w->conns.next;
    for (; n != &w->conns; n = n->next) {
        struct conn *c = list_entry(n, struct conn, node);
        if (!c->closing)
            return &c->ses;
    }
    return NULL;
}

static void host_session_info(struct host *h, struct session *s, struct session_info *ret)
{
    static __thread char tcp[320]; /* valid until the next call on this worker */
    struct conn *c = (struct conn *)s;
    (void)h;
    size_t qbuf = conn_held(c) + c->tail_len;
    qbuf += c->part ? resp_parser_held(&c->part->parser) : 0;
    *ret = (struct session_info){.qbuf = qbuf,
                                 .qbuf_free = c->inq.cap + c->backlog.cap - conn_held(c),
                                 .argv_mem = 0,
                                 .omem = c->out_bytes,
                                 .blocked = c->postponed || block_waits(c),
                                 .tcp = ""};
    for (struct out_block *b = c->out_first; b; b = b->next)
        ret->oll++;
    ret->tot_mem = conn_memory(c);
    if (c->tc) {
        struct tcp_info i;
        tcp_info(c->tc, &i);
        snprintf(tcp, sizeof(tcp),
                 " tcp=%s cc=%s srtt_us=%u rto_us=%u cwnd=%u ssthresh=%u snd_wnd=%u rcv_wnd=%u "
                 "retrans=%u unacked=%u sacked=%u lost=%u ofo=%u",
                 tcp_state_name(i.state), i.congestion ? i.congestion : "-", i.srtt_us, i.rto_us,
                 i.cwnd, i.ssthresh, i.snd_wnd, i.rcv_wnd, i.retrans, i.unacked_bytes,
                 i.sacked_bytes, i.lost_bytes, i.ooo_bytes);
        ret->tcp = tcp;
    }
}

static void host_session_kill(struct host *h, struct session *s)
{
    (void)h;
    struct conn *c = (struct conn *)s;
    if (c->longer)
        long_drop(c);
    conn_close(c);
}

static uint64_t host_client_memory(struct host *h)
{
    uint64_t sum = 0;
    list_for_each (n, &worker_of(h)->conns)
        sum += conn_memory(list_entry(n, struct conn, node));
    return sum;
}

/* DEBUG SLEEP: the point of the command is that this worker stops. */
static void host_sleep_ms(struct host *h, uint64_t ms)
{
    (void)h;
    struct timespec ts = {.tv_sec = (time_t)(ms / 1000), .tv_nsec = (long)(ms % 1000) * 1000000};
    nanosleep(&ts, NULL);
}

static void host_reset_stats(struct host *h)
{
    struct worker *w = worker_of(h);
    memset(w->cmd_calls, 0, sizeof(w->cmd_calls));
    memset(w->cmd_usec, 0, sizeof(w->cmd_usec));
    memset(w->cmd_rejected, 0, sizeof(w->cmd_rejected));
    memset(w->cmd_failed, 0, sizeof(w->cmd_failed));
    memset(w->cmd_hops, 0, sizeof(w->cmd_hops));
}

static void trace_line(void *ctx, const char *line, size_t n)
{
    reply_bulk(ctx, span_of(line, n));
}

static uint32_t host_tcp_trace(struct host *h, uint64_t client, struct reply *to)
{
    struct worker *w = worker_of(h);
    list_for_each (n, &w->conns) {
        const struct conn *c = list_entry(n, struct conn, node);
        if (c->ses.id == client && c->tc)
            return tcp_trace_read(c->tc, client, trace_line, to);
    }
    return tcp_trace_read_kept(w->net, client, trace_line, to);
}

static void host_wait_over(struct host *h, struct block_wait *b)
{
    block_over(worker_of(h), b);
}

static bool host_key_taken(struct host *h, uint64_t hash)
{
    const struct worker *w = worker_of(h);
    return intents_any(w) && intents_meet(&w->lease.intents, hash, true);
}

static void host_wait_move(struct host *h, struct block_wait *b)
{
    block_move(worker_of(h), b);
}

static bool host_unblock(struct host *h, uint64_t client, bool error)
{
    return block_unblock(worker_of(h), client, error);
}

/* Requests before it that are under way may have written. */
static enum host_log host_log(struct host *h, const struct session *s)
{
    const struct conn *c = (const struct conn *)s;
    struct worker *w = worker_of(h);
    uint64_t seq[LIMIT_WORKERS];
    if (!w->journal.on)
        return HOST_LOG_OFF;
    journal_note(w, seq);
    return c && c->nslots <= 1 && journal_on_disk(w, seq) ? HOST_LOG_SAFE : HOST_LOG_BEHIND;
}

static void host_pause(struct host *h, int64_t until_ms, bool all)
{
    pause_begin(worker_of(h), until_ms, all);
}

static void host_unpause(struct host *h)
{
    pause_end(worker_of(h));
}

/* Of a transaction. The time is the EXEC's, too, which the batch knows of already. */
static void host_call(struct host *h, struct cmd *c)
{
    struct worker *w = worker_of(h);
    struct times_request r = {
        .desc = c->desc, .argv = c->argv, .argc = c->argc, .session = c->session};
    uint64_t timed = w->own_timed, cycles = w->own_cycles;
    times_begin(w, &r, false);
    cmd_call(c);
    times_end(w, &r);
    w->own_timed = timed;
    w->own_cycles = cycles;
    STAT_INC(w->stats->commands);
}

void host_init(struct worker *w)
{
    static const struct host_ops ops = {
        .session_next = host_session_next,
        .session_info = host_session_info,
        .session_kill = host_session_kill,
        .sleep_ms = host_sleep_ms,
        .reset_stats = host_reset_stats,
        .call = host_call,
        .unwatch = exec_unwatch,
        .watched = exec_watched,
        .monitor = monitor_start,
        .client_memory = host_client_memory,
        .tcp_trace = host_tcp_trace,
        .publish = host_publish,
        .client_known = host_client_known,
        .wait_over = host_wait_over,
        .wait_move = host_wait_move,
        .key_taken = host_key_taken,
        .unblock = host_unblock,
        .log = host_log,
        .pause = host_pause,
        .unpause = host_unpause,
    };
    w->host = (struct host){
        .ops = &ops,
        .pubsub = &w->pubsub,
        .tracking = &w->tracking,
        .config = &w->config,
        .worker = w->id,
        .workers = w->count,
        .calls = w->cmd_calls,
        .usec = NULL, /* the batch divides its cycles: one clock read for all */
        .node_port = w->cfg.net.listen_more ? (uint16_t)(w->cfg.net.listen_port + 1) : 0,
        .node_ip = w->cfg.net.ip ? ip_from_v4(w->cfg.net.ip) : w->cfg.net.ip6[0].addr,
        .slowlog = &w->slowlog,
        .latency = w->latency,
        .times = w->times,
        .rejected = w->cmd_rejected,
        .failed = w->cmd_failed};
}
