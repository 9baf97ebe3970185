/* Private to dataplane/conn and dataplane/worker.c: what its files offer each other.
 *
 *   conn.c    life of a client: accept, input queue, backpressure, close          (callbacks of net and door)
 *   stage.c   bytes -> requests -> staged batch: look up, hash, ask for the buckets
 *   batch.c   ask for the entries, execute
 *   route.c   one staged request -> local shard, other shard, split parts, lease, control
 *   out.c     replies: writer on the transmit queue or heap blocks; slots that keep request order
 *   remote.c  mail between workers: posted commands, replies, neighbours
 *   hold.c    requests that wait until a snapshot has written the value that they change
 *   hop.c     the short way there and back, for most commands of one key
 *   long.c    replies that are written in parts
 *   lease.c   the right to touch several shards
 *   scatter.c, part.c, told.c  requests over several shards: at home, what each shard does of them, and who is told
 *   exec.c    MULTI, WATCH and EXEC: queueing, the shards of a transaction, its reply
 *   astray.c  frames about connections of another worker
 *   event.c   what one worker tells another beside requests; clients that are found by their id
 *   after.c   what a command has left to be done when it is over
 *   pubsub.c  messages to subscribers here and on other workers
 *   tracking.c  clients that cache what they read: who is told what to forget
 *   conflate.c  only the newest message of a channel for a subscriber that falls behind
 *   monitor.c every command to the clients that watch
 *   cluster.c clients of core-addressed ports: MOVED, CROSSSLOT
 *   times.c   how long commands take: histograms, slow log, latency monitor
 *   block.c   clients that wait for a key: BLPOP and its kin
 *   pause.c   CLIENT PAUSE
 *   door.c    the link: door clients, admin requests and replies
 *   snapshot.c, load.c  datasets to control's files and from them
 *   host.c    what commands may ask of their worker
 *
 * records.h has the worker's record and its clients, batch.h those of requests, mail.h those that workers send each other.
 * Everything belongs to one worker's thread unless a line says otherwise. */
#pragma once

#include "dataplane/conn/records.h"

/* All shards, a bit each. */
static inline uint64_t worker_all(const struct worker *w)
{
    return w->count == 64 ? UINT64_MAX : (1ull << w->count) - 1;
}

/* Requests of this client are not parsed now. */
static inline bool conn_stopped(const struct conn *c)
{
    return unlikely_(c->state != 0) && (c->paused || c->throttled || c->closing);
}

/* conn.c */
_Static_assert(sizeof(struct conn) <= 448,
               "a size class: a million idle clients pay for the next one");
struct conn *conn_create(struct worker *w, enum conn_kind kind, enum session_source source);
void conn_input_on(struct conn *c, const uint8_t *p, const uint8_t *end); /* in any state */
void conn_input_waits(struct conn *c, const uint8_t *p,
                      const uint8_t *end); /* what could not be parsed now, if there is any */
void conn_resume(struct conn *c);          /* pause or throttle ended: parse what waits */
void conn_close(struct conn *c);           /* no more requests; close when the output has left */
void conn_kill(struct conn *c);            /* now */
void conn_gone(struct conn *c);            /* the transport is gone */
void conn_mark(struct conn *c);            /* look at it at the end of the turn */
void conns_turn_end_now(struct worker *w);
/* Acks, closes, frees. */
static inline void conns_turn_end(struct worker *w)
{
    if (unlikely_(w->out_conn || !list_empty(&w->dirty) || !list_empty(&w->dead)))
        conns_turn_end_now(w);
}
void conns_sweep(struct worker *w);       /* idle timeout, a bounded slice */
size_t conn_memory(const struct conn *c); /* what it takes, as CLIENT LIST tells (tot-mem) */
void conns_evict(struct worker *w);       /* maxmemory-clients */
size_t conn_held(const struct conn *c);
/* c->part; where there is none the worker's spare one, at rest, which conn_part_keep makes the client's. NULL: no memory, the client was
 * killed. */
struct partial *conn_part_make(struct conn *c);
static inline struct partial *conn_part(struct conn *c)
{
    struct partial *spare = c->w->spare_part;
    return c->part ? c->part : likely_(spare != NULL) ? spare : conn_part_make(c);
}
static inline void conn_part_keep(struct conn *c, struct partial *part)
{
    if (c->part != part)
        c->w->spare_part = NULL;
    c->part = part;
}
const struct tcp_app *conn_tcp_app(void);
void inq_append(struct inq *q, const void *p, size_t n);

/* stage.c, batch.c */
void batch_init(struct batch *b);
/* Bytes of a client, in order, as its transport brings them. */
static inline void conn_receive(struct conn *c, const uint8_t *p, size_t n)
{
    c->w->receive(c, p, n);
}
const uint8_t *batch_feed(struct conn *c, const uint8_t *p,
                          const uint8_t *end); /* returns what it left */
/* It has not run: it was put back, or queued. */
static inline void batch_uncounted(struct batch *b, struct staged *s)
{
    s->desc = NULL;
    b->mixed = true;
}
/* Writes s, and what its client has staged behind it, back as bytes to be parsed again. */
void batch_put_back(struct worker *w, struct staged *s);
void batch_run_now(struct worker *w);
/* Executes what is staged. */
static inline void batch_run(struct worker *w)
{
    if (w->batch->end != w->batch->cmd)
        batch_run_now(w);
}
void batch_prepare(struct worker *w); /* after each change of the configuration */

/* A request goes to those workers, a bit each: by mail, or for their leases. */
static inline void count_hops(struct worker *w, const struct cmd_desc *d, uint64_t workers)
{
    w->cmd_hops[d->index] += (uint64_t)__builtin_popcountll(workers & ~(1ull << w->id));
}

/* route.c */
void route_staged(struct worker *w, struct staged *s);
/* Shards of the request's keys, a bit each; of all when only its running tells, or when it will be refused. */
uint64_t route_shards(const struct worker *w, const struct cmd_desc *d, const struct span *argv,
                      uint32_t argc);
void route_after(struct conn *c); /* what a command has asked of its client's connection */
void route_errors(struct worker *w, struct reply *r, const struct cmd_desc *d);
/* The same of a request that was refused before it ran. */
void route_refused(struct worker *w, struct reply *r);
/* On this worker, in place. */
void route_here(struct worker *w, struct staged *s);
/* By all workers, or by the control process: the reply comes into the slot. */
void route_foreign(struct worker *w, struct staged *s, struct slot *slot);
/* An answer of one line: "+QUEUED", or an error's text. */
void route_answer(struct worker *w, struct conn *c, const char *text);
struct slot *route_slot(struct conn *c, uint32_t parts); /* a new one that waits for so many */
struct cmd route_cmd(struct worker *w, const struct cmd_desc *d, struct span *argv, uint32_t argc,
                     struct reply *out);

/* out.c */
struct reply *out_open(struct conn *c); /* the client's own writer: only while it has no slots */
extern const struct reply_sink conn_sink;
void out_close_now(struct worker *w);
void out_begin_other(struct conn *c); /* the writer of c is open and has no room */
bool out_end_other(struct worker *w);
/* Commits what was written. */
static inline void out_close(struct worker *w)
{
    if (w->out_conn)
        out_close_now(w);
}
void out_pump(struct conn *c); /* heap blocks -> transport */
struct slot *slot_new(struct conn *c);
void slot_ready(struct slot *s); /* parts are complete: flush what is in order */
void slots_drop(struct conn *c);
void slots_flush(struct conn *c); /* what is in order */
void slot_bytes(struct slot *s, struct span bytes);
void slot_free(struct slot *s);
void slot_count(struct conn *c, size_t n); /* the client holds so many bytes more in slots */
void conn_out_limits(struct conn *c);

/* row.c */
struct row *row_new(struct conn *c); /* one part is the caller's, until row_end */
void row_end(struct row *row);
/* The reply of its next request, which lies in the mail's replies already. */
void row_add(struct row *row, struct mail *m, size_t off, size_t len);
/* Replies of mc and of those behind it that are the same row's: to the client, or kept for their turn. Returns the next one. */
struct mail_cmd *row_take(struct worker *w, struct mail *m, struct mail_cmd *mc);
bool row_write(struct row *row);  /* the first in line: what is there. True: that was all of it */
void row_forget(struct row *row); /* its client is gone */
void row_free(struct row *row);
static inline struct row *row_of(struct slot *s)
{
    return (struct row *)s;
}
_Static_assert(offsetof(struct row, slot) == 0, "row_of");

/* remote.c */
struct mail *mail_new(struct worker *w, uint32_t to);
void mail_delete(struct mail *m);
void mail_unpin(struct worker *w, struct mail *m); /* the last one gives it back */
/* Memory of the mail, for what it carries; NULL: there is none. */
void *mail_bytes_more(struct mail *m, size_t n);
static inline void *mail_bytes(struct mail *m, size_t n)
{
    struct mail_block *b = m->blocks;
    n = (n + 15) & ~(size_t)15;
    if (unlikely_(!b || b->cap - b->used < n))
        return mail_bytes_more(m, n);
    void *p = b->data + b->used;
    b->used += n;
    return p;
}
static inline void mail_append(struct mail *m, struct mail_cmd *mc)
{
    if (m->last)
        m->last->next = mc;
    else
        m->first = mc;
    m->last = mc;
    m->n++;
}
/* The one that is being filled. */
static inline struct mail *mail_to(struct worker *w, uint32_t to)
{
    struct outbox *o = &w->outbox[to];
    if (unlikely_(!o->cur))
        o->cur = mail_new(w, to);
    return o->cur;
}
uint64_t mail_gate(struct worker *w,
                   const struct mail_cmd *mc); /* journal_gate of what has just run */
struct mail_cmd *mail_add(struct mail *m, struct slot *slot, const struct cmd_desc *d,
                          const struct span *argv, uint32_t argc);
void remote_post(struct worker *w, uint32_t to, struct slot *slot, const struct staged *s,
                 struct span *argv, uint32_t argc, bool part);
/* Something for another shard that answers nobody; the arguments are copied. */
void remote_tell(struct worker *w, uint32_t to, const struct cmd_desc *d, const struct span *argv,
                 uint32_t argc);
/* My own shard may be touched now, and nothing waits for it. */
static inline bool remote_shard_free(const struct worker *w)
{
    return w->count == 1 ||
           (w->lease.holder == LEASE_FREE && list_empty(&w->lease.queue) && !w->outbox[w->id].cur);
}
void remote_send(struct worker *w, uint32_t to, void *ptr, enum mail_tag tag);
bool remote_receive(struct worker *w); /* mail_run */
void remote_flush(struct worker *w);
bool remote_serve(struct worker *w,
                  struct mail *m); /* false: it meets keys of others, the rest waits */
void remote_neigh(void *worker, struct ip_addr ip, const uint8_t mac[6]);

/* hold.c */
bool hold_staged(struct worker *w, struct staged *s); /* true: it was put back, its client waits */
void hold_batch(struct worker *w, struct batch *b);   /* requests that may wait take the long way */
void hold_mail(struct worker *w, struct mail *m);     /* from m->at on; those that wait leave it */
bool hold_job(struct worker *w, struct lease_job *j); /* true: it comes again */
/* For jobs that are asked: under their leases. */
bool hold_keys(struct worker *w, uint32_t db, const struct cmd_desc *d, const struct span *argv,
               uint32_t argc);
bool hold_key(struct worker *w, uint32_t db, struct span key);
bool hold_queue(struct worker *w, uint32_t db, const struct multi *m);
/* Commands of it wait at that shard's owner: what it asked behind them waits as well. While the shard is this worker's. */
bool hold_client(const struct worker *owner, uint64_t client);
void hold_written(struct worker *w); /* all of my shard look again */
void hold_fini(struct worker *w);

/* hop.c: plain requests of one client, to other shards or behind those. Returns the first one that is not; s: not even this one. */
struct staged *hop_run(struct worker *w, struct batch *b, struct staged *s, struct staged *end);
/* The owner's side: runs a row of plain commands from `mc` on, one at least; returns the one behind them. `look`: where their candidates
 * were found. */
struct hop_look {
    const struct dict *dict; /* NULL: none is good any more */
    uint64_t departed;
};
struct mail_cmd *hop_serve(struct worker *w, struct mail *m, struct mail_cmd *mc,
                           const struct hop_look *look);
void hop_fini(struct worker *w);

/* lease.c */
/* `call` runs on this worker under the leases of all shards. False: no memory. */
bool lease_call(struct worker *w, void (*call)(struct worker *w, void *ctx), void *ctx);
void lease_submit(struct worker *w,
                  struct lease_job *j); /* j->run is called in this turn or a later one */
void lease_round_now(struct worker *w);
/* Asks for the leases of all jobs that wait, unless a round is under way: then they are the next one's. */
static inline void lease_rounds(struct worker *w)
{
    if (unlikely_(!list_empty(&w->lease_jobs) && !w->lease_asking))
        lease_round_now(w);
}
void lease_on_request(struct worker *w, struct lease *l);
void lease_on_grant(struct worker *w, struct lease *l);
void lease_on_release(struct worker *w);
void lease_defer(struct worker *w, struct mail *m);
void lease_pump(struct worker *w); /* serves and grants while the shard is free */

/* scatter.c: requests with several keys. How many shards they lie on: more than one, and it is on its way; one: that of the first key.
 * 0: it does not split. */
uint32_t scatter_start(struct worker *w, struct staged *s);
/* Runs it under the leases of these shards. n 0: its client is paused; else it goes on with what does not meet the keys at `pos`. */
void scatter_lease(struct worker *w, struct staged *s, uint64_t want, const uint32_t *pos,
                   uint32_t n);
/* A client with such requests under way asks this: true: it meets their keys. It is put back and its client waits. */
bool scatter_holds(struct worker *w, struct staged *s);
void scatter_take(struct worker *w, struct part *p); /* a part has come back */
void scatters_free(struct worker *w);

/* told.c */
/* At the owner: takes what the part that has just run leaves to be told. False: nothing, or it was told. */
bool told_take(struct worker *w, struct part *p);
/* At home, of all parts that have something (sc->told). */
void told_all(struct worker *w, struct scatter *sc, const struct span *argv);
/* What they have read they will read again; told of is what has happened nevertheless: keys that expired. */
void told_undone(struct worker *w, struct scatter *sc);
void told_free(struct scatter *sc);

/* part.c */
void part_receive(struct worker *w, struct part *first);
void part_take(struct worker *w, struct part *p);
/* To another worker: at the end of the turn. */
static inline void part_send(struct worker *w, uint32_t to, struct part *p)
{
    struct outbox *o = &w->outbox[to];
    if (to == w->id) {
        part_take(w, p);
        return;
    }
    p->next = NULL;
    if (o->last_part)
        o->last_part->next = p;
    else
        o->parts = p;
    o->last_part = p;
}
bool part_turn(struct worker *w, struct part *p); /* it is the first in line; false: not now */
bool part_claims(const struct shard *s, uint64_t hash); /* struct shard.claimed, of a worker's */
/* Does a command for my shard meet keys of requests that are under way? `hash`: of its first key. Only while there are some. */
bool part_meets(struct worker *w, const struct cmd_desc *d, const struct span *argv, uint32_t argc,
                uint64_t hash);
static inline bool intents_any(const struct worker *w)
{
    return unlikely_(w->lease.intents.readers + w->lease.intents.writers != 0);
}
/* My own shard may be touched now, nothing waits for it, and nothing is in the way of this request. */
static inline bool shard_free_for(struct worker *w, const struct staged *s)
{
    return remote_shard_free(w) &&
           (!intents_any(w) || !part_meets(w, s->desc, s->argv, s->argc, s->hash));
}

/* exec.c: for a client between MULTI and EXEC. True: queued, or the EXEC is on its way; false: the request is run like any other. */
bool exec_staged(struct worker *w, struct staged *s);
/* A request of such a client was refused: EXEC will be. */
void exec_failed(struct conn *c);
/* Of the command; an EXEC writes when anything in its queue does, and may do what all that is in it may. */
uint32_t exec_flags(const struct conn *c, const struct cmd_desc *d);
void exec_watch(struct worker *w, struct staged *s); /* WATCH; several workers */
void exec_drop(struct conn *c); /* the client is gone: frees its queue, gives its watches back */
void exec_unwatch(struct host *h, struct session *s); /* host_ops.unwatch */
void exec_watched(struct host *h, struct session *s); /* host_ops.watched */

/* astray.c */
bool astray_taken(void *worker, const struct net_stray *s); /* net_stray_fn */
void astray_on_ring(struct worker *w, struct mail_event *ev);
void astray_fini(struct worker *w);

/* event.c */
/* Runs ev->run on worker `to`, after what was sent there before; on this worker at the end of the turn. Takes ev over. */
void event_send(struct worker *w, uint32_t to, struct mail_event *ev);
bool events_run(struct worker *w);        /* those to itself; true: there were some */
bool client_timers_run(struct worker *w); /* true: some fired */
void client_timer_set(struct worker *w, struct client_timer *t, uint64_t at_ns); /* or moves it */
void conn_name(struct conn *c); /* from now on conn_find finds it */
void conn_unname(struct conn *c);
struct conn *conn_find(struct worker *w, uint64_t id); /* NULL: it is gone, or closing */
/* Home worker of a client, by its id. */
static inline uint32_t client_home(const struct worker *w, uint64_t id)
{
    return (uint32_t)((id - 1) % w->count);
}
/* Bytes that answer no request (a message, an invalidation), behind all replies before them. Not while a command of this worker runs: its
 * writer would be taken from it. */
void conn_push(struct conn *c, struct span bytes);
bool conn_push_now(const struct conn *c);

/* long.c: c is throttled until the reply whose rest worker `at` holds has left. */
void long_begin(struct conn *c, struct held *held, uint32_t at);
void long_more(struct conn *c); /* c->longer: the output has drained, perhaps */
void long_drop(struct conn *c); /* the client is gone */
void long_forget(struct worker *w, struct held *held, uint32_t at); /* before it was begun */
void longs_free(struct worker *w);

/* after.c */
void after_now(struct worker *w, struct shard_set *set);
void after_waiters(struct worker *w, struct shard_set *set); /* clients that wait for keys */
/* After every command, EXEC or part: what it has left in the shards it held. The writer may have been closed. True: there was something. */
static inline bool after_command(struct worker *w, struct shard *s)
{
    if (likely_(!s->after))
        return false;
    after_now(w, &w->set);
    return true;
}
/* The same for the shards of a lease, while w->lease_set still has them. */
void after_leased(struct worker *w, uint64_t shards);
/* Sets and clears reasons; the batch being staged or run goes the long way from its next request on. */
void careful_set(struct worker *w, enum careful why, bool on);

/* pubsub.c */
int64_t pubsub_publish_here(struct worker *w, enum pubsub_kind kind, struct span channel,
                            struct span message);
/* The same, and to whom else it is to be sent; this worker is among them while something that it has published before waits to be told. */
int64_t pubsub_publish_now(struct worker *w, enum pubsub_kind kind, struct span channel,
                           struct span message, uint64_t *ret_others);
/* Workers, a bit each, but this one, whose clients may want it. */
uint64_t pubsub_others(struct worker *w, enum pubsub_kind kind, struct span channel);
/* Sends it to them; each of them answers how many of its clients got it by calling `answer` here, in a turn to come. NULL: nobody asks. */
typedef void publish_answer(struct worker *w, void *ctx, int64_t receivers);
void pubsub_send(struct worker *w, uint64_t workers, enum pubsub_kind kind, struct span channel,
                 struct span message, publish_answer *answer, void *ctx);
/* Must a PUBLISH of this client wait for replies of other workers? Then it is paused until they are there, and what it asked is put back. */
bool publish_waits(struct worker *w, struct staged *s);
/* What publishes and awaits no answer: to clients here and of other workers. */
void pubsub_publish(struct worker *w, enum pubsub_kind kind, struct span channel,
                    struct span message);
/* An event, if these flags (notify-keyspace-events) say so. */
void notify_tell(struct worker *w, uint32_t flags, const struct notice_seen *n);
int64_t host_publish(struct host *h, int kind, struct span channel, struct span message);

/* tracking.c */
void tracking_after(struct worker *w, struct shard_set *set);
/* The same for what changed before that step of this thread (notify_step), oldest first. */
void tracking_before(struct worker *w, struct shard_set *set, uint64_t step);
/* A key that has changed: to clients that have read it. */
void tracking_tell(struct worker *w, struct track_key *k);
/* And to those in broadcast mode. False: there are none any more. */
bool tracking_tell_prefixes(struct worker *w, const struct track_key *k);
void tracking_still(struct worker *w); /* are there still some? Else my shard need not tell them */
void tracking_turn_end(struct worker *w);
bool tracking_anybody(const struct worker *w); /* some client of some worker */
/* CLIENT TRACKING (argv; s is it, or the EXEC of a transaction with it): another worker must be asked first, for the client of its REDIRECT: the
 * client is paused, and what it staged is put back. */
bool tracking_asks(struct worker *w, struct staged *s, const struct span *argv, uint32_t argc);
/* It needs all shards (BCAST). */
bool tracking_leases(const struct span *argv, uint32_t argc);
bool host_client_known(struct host *h, struct session *asker, uint64_t id);

/* conflate.c: `bytes` of a message, the first `head` of which name its channel. */
void conflate_push(struct conn *c, struct span bytes, size_t head);
void conflate_flush(struct conn *c); /* all that waits, however much output there is */
void conflate_drain(struct conn *c); /* as long as the client keeps up */
void conflate_free(struct conn *c);
uint64_t conflate_bytes(const struct conn *c);
/* monitor.c */
void monitor_start(struct host *h, uint64_t client); /* host_ops.monitor */
void monitor_drop(struct conn *c);
/* A command goes to run. Only while w->careful has CAREFUL_MONITOR. */
void monitor_note(struct worker *w, const struct session *s, const struct cmd_desc *d,
                  const struct span *argv, uint32_t argc);
/* The same of a client between MULTI and EXEC: what it has queued is told of when EXEC goes to run. */
void monitor_note_exec(struct worker *w, const struct staged *s);
void monitor_flush_now(struct worker *w);
static inline void monitor_flush(struct worker *w)
{
    if (unlikely_(w->monitor_count + w->monitor_dropped != 0))
        monitor_flush_now(w);
}

/* cluster.c */
#define CLUSTER_TEXT_BYTES 128
void cluster_accept(struct worker *w, struct conn *c);
/* True: the client of a node is answered this instead. */
bool cluster_refuses(struct worker *w, struct staged *s, char text[CLUSTER_TEXT_BYTES]);

/* times.c */
struct times_request {
    const struct cmd_desc *desc;
    const struct span *argv;
    uint32_t argc;
    const struct session *session; /* NULL: its client is gone */
    uint64_t start;
};
int times_init(struct worker *w);
void times_fini(struct worker *w);
void times_prepare(struct worker *w); /* after each change of the configuration */
bool times_may_be_long(const struct worker *w, const struct cmd_desc *d);
static inline uint64_t times_ns(const struct worker *w, uint64_t cycles)
{
    return (uint64_t)((unsigned __int128)cycles * w->ns_q32 >> 32);
}
static inline uint64_t times_us(const struct worker *w, uint64_t cycles)
{
    return times_ns(w, cycles) / 1000;
}
static inline bool times_each(const struct worker *w, const struct cmd_desc *d)
{
    return w->how[d->index] & (HOW_TIMED | HOW_ASK);
}
/* Around a command that is timed by itself and whose client is here. `big`: its arguments may be taken over. */
void times_begin(struct worker *w, struct times_request *r, bool big);
void times_end(struct worker *w, const struct times_request *r);
/* Counts a command that ran here; a slow one is noted at its client's home. */
void times_took(struct worker *w, const struct cmd_desc *d, uint64_t cycles);
void times_slow(struct worker *w, const struct times_request *r, uint64_t took, uint64_t queued);
void times_event(struct worker *w, enum latency_event event, uint64_t cycles);
void times_batch(struct worker *w, struct batch *b, uint64_t cycles);
void times_remote(struct worker *w, const struct mail_cmd *mc);
void times_row(struct worker *w, const struct mail_cmd *mc); /* one that was slow */

/* block.c */
void block_staged(struct worker *w, struct staged *s); /* a request that may make its client wait */
bool block_waits(const struct conn *c);
void block_gone(struct conn *c); /* the client is, or shall be closed: nobody waits any more */
bool block_unblock(struct worker *w, uint64_t client, bool error);
void block_over(struct worker *w, struct block_wait *b); /* host_ops.wait_over, wait_move */
void block_move(struct worker *w, struct block_wait *b);
void block_drops(struct worker *w); /* while my shard is mine */
void block_disk(
    struct worker *w); /* the disk may have what WAITAOF waits for, or there is no log any more */
void block_fini(struct worker *w);

/* pause.c */
bool pause_holds(struct worker *w, struct staged *s); /* true: it was put back, its client waits */
void pause_begin(struct worker *w, int64_t until_ms, bool all);
void pause_end(struct worker *w);
void pause_fini(struct worker *w);

/* door.c */
bool door_receive(struct worker *w);
void door_flush_conn(struct conn *c);
void door_turn_end(struct worker *w);
bool admin_send(struct worker *w, struct conn *c, struct slot *slot, const struct staged *s);
void door_check_control(struct worker *w);
void door_ask_neigh(void *worker, struct ip_addr ip); /* of Linux, through control */

/* snapshot.c */
void snapshot_on_message(struct worker *w, struct span p);
bool snapshot_turn_now(struct worker *w);
/* A slice of the snapshot, if there is one, and of long replies that a change waits for. Only while my shard is mine. True: something was done. */
static inline bool snapshot_turn(struct worker *w)
{
    return unlikely_(w->hold.on) && snapshot_turn_now(w);
}

/* load.c */
bool load_receive(struct worker *w);
void load_set(struct worker *w, bool on); /* clients wait, or no longer */

/* host.c */
void host_init(struct worker *w);

/* worker.c */
void worker_wake(struct worker *w);
