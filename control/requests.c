/* requests: see requests.h. Nothing in a request is believed: count and lengths of the arguments are walked before the first is used,
 * strings are ended here. */
#include "control/requests.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/time.h>

#include "control/memory.h"
#include "engine/base/limits.h"
#include "engine/base/list.h"

struct pending { /* a reply, or what is left of it */
    struct list node;
    struct reply_heap body;
    size_t sent;
    uint64_t request;
    uint8_t room
        [512]; /* lent to body: what is short needs no memory that may not be there when all is done */
};

struct requests {
    struct bridge *bridge;
    struct admin *admin;
    const struct requests_ops *ops;
    void *ctx;
    struct list pending[LIMIT_WORKERS];
    size_t pending_bytes[LIMIT_WORKERS];
};

struct requests *requests_new(struct bridge *b, struct admin *admin, const struct requests_ops *ops,
                              void *ctx)
{
    struct requests *r = calloc(1, sizeof *r);
    if (!r)
        return NULL;
    r->bridge = b;
    r->admin = admin;
    r->ops = ops;
    r->ctx = ctx;
    for (uint32_t i = 0; i < LIMIT_WORKERS; i++)
        list_init(&r->pending[i]);
    return r;
}

static void drop(struct requests *r, uint32_t worker, struct pending *p)
{
    list_remove(&p->node);
    r->pending_bytes[worker] -= p->body.len;
    reply_heap_free(&p->body);
    free(p);
}

void requests_drop_all(struct requests *r)
{
    for (uint32_t i = 0; i < LIMIT_WORKERS; i++)
        while (!list_empty(&r->pending[i]))
            /* list_remove changes what `next` is, unseen. NOLINTNEXTLINE(clang-analyzer-unix.Malloc) */
            drop(r, i, list_entry(r->pending[i].next, struct pending, node));
}

void requests_free(struct requests *r)
{
    if (!r)
        return;
    requests_drop_all(r);
    free(r);
}

/* ---- replies ---- */

/* One record of it. False: no room. */
static bool send_chunk(struct requests *r, uint32_t worker, struct pending *p)
{
    size_t left = p->body.len - p->sent, n = LIMIT_LINK_MSG_BYTES - sizeof(struct msg_admin_reply);
    if (n > left)
        n = left;
    struct msg_admin_reply head = {.request = p->request, .flags = n == left ? MSG_ADMIN_LAST : 0};
    if (!bridge_send(r->bridge, worker, MSG_ADMIN_REPLY, &head, sizeof head, p->body.p + p->sent,
                     (uint32_t)n))
        return false;
    p->sent += n;
    return true;
}

void requests_room(struct requests *r, uint32_t worker)
{
    struct list *q = &r->pending[worker];
    while (!list_empty(q)) {
        struct pending *p = list_entry(q->next, struct pending, node);
        do {
            if (!send_chunk(r, worker, p)) {
                bridge_want_room(r->bridge, worker);
                return;
            }
        } while (p->sent < p->body.len);
        drop(r, worker, p);
    }
}

/* An empty reply would be none: who waits for it would wait on. */
static void queue(struct requests *r, uint32_t worker, struct pending *p)
{
    if (!p->body.len)
        memory_out("a reply");
    list_push_back(&r->pending[worker], &p->node);
    r->pending_bytes[worker] += p->body.len;
    requests_room(r, worker);
}

static void begin_body(struct pending *p, struct reply *ret, uint8_t resp)
{
    p->body = (struct reply_heap){.p = p->room, .cap = sizeof p->room, .lent = true};
    reply_heap_append(ret, &p->body, resp);
}

static struct pending *begin(uint64_t request, struct reply *ret, uint8_t resp)
{
    struct pending *p = memory_need(sizeof *p, "a reply");
    p->request = request;
    list_init(&p->node);
    begin_body(p, ret, resp);
    return p;
}

static const char too_much[] =
    "-ERR the reply was not made: too many replies wait for this worker\r\n";

/* Runs the command with its reply on the heap, then queues and sends it. */
static void execute(struct requests *r, uint32_t worker, const struct msg_admin_request *req,
                    struct span *argv)
{
    struct reply out;
    struct timeval tv;
    struct pending *p = begin(req->request, &out, req->resp);
    p->body.limit = LIMIT_ADMIN_REPLY_BYTES;
    if (r->pending_bytes[worker] > LIMIT_ADMIN_PENDING_BYTES) {
        reply_raw(&out, too_much, sizeof too_much - 1);
    } else {
        gettimeofday(&tv, NULL);
        admin_execute(r->admin, req, argv, req->argc, &out, tv.tv_sec * 1000LL + tv.tv_usec / 1000);
    }
    bool failed = out.failed;
    reply_heap_finish(&out, &p->body);
    if (failed || !p->body.len) {
        reply_heap_free(&p->body);
        begin_body(p, &out, req->resp);
        reply_error(&out, "ERR the reply does not fit in memory");
        reply_heap_finish(&out, &p->body);
    }
    queue(r, worker, p);
}

static void answer(struct requests *r, uint32_t worker, const struct msg_admin_request *req,
                   const char *text)
{
    struct reply out;
    struct pending *p = begin(req->request, &out, req->resp);
    admin_count_error(r->admin, "ERR");
    reply_error(&out, text);
    reply_heap_finish(&out, &p->body);
    queue(r, worker, p);
}

void requests_answer(struct requests *r, uint32_t worker, uint64_t request, const char *text)
{
    struct reply out;
    struct pending *p = begin(request, &out, 2);
    if (text[0] == '-')
        admin_count_error(r->admin, "ERR");
    reply_raw(&out, text, strlen(text));
    reply_heap_finish(&out, &p->body);
    queue(r, worker, p);
}

void requests_hold(struct requests *r, uint32_t worker, uint64_t request)
{
    struct msg_admin_reply head = {.request = request};
    bridge_send(r->bridge, worker, MSG_ADMIN_REPLY, &head, sizeof head, NULL, 0);
}

/* ---- SHUTDOWN [NOSAVE | SAVE] [NOW] [FORCE] [ABORT], Redis 7.0 ---- */

static void shutdown_command(struct requests *r, uint32_t worker,
                             const struct msg_admin_request *req, struct span *argv)
{
    bool save = false, nosave = false, abort_it = false, other = false, force = false;
    for (uint32_t i = 1; i < req->argc; i++) {
        if (span_is(argv[i], "save"))
            save = true;
        else if (span_is(argv[i], "nosave"))
            nosave = true;
        else if (span_is(argv[i], "now"))
            other = true;
        else if (span_is(argv[i], "force"))
            other = force = true;
        else if (span_is(argv[i], "abort"))
            abort_it = true;
        else {
            answer(r, worker, req, "ERR syntax error");
            return;
        }
    }
    if ((save && nosave) || (abort_it && (save || nosave || other))) {
        answer(r, worker, req, "ERR syntax error");
    } else if (abort_it) {
        /* Ours never waits for replicas, so there is never one to call off. */
        answer(r, worker, req, "ERR No shutdown in progress.");
    } else {
        enum store_end how = save ? STORE_END_SAVE : nosave ? STORE_END_NOSAVE : STORE_END_DEFAULT;
        /* no reply: the connection ends with the server */
        r->ops->shutdown(r->ctx, worker, req, how, force);
    }
}

/* ---- from the link ---- */

/* Cuts `bytes` into argc arguments that fill it exactly. */
static bool cut_arguments(struct span bytes, uint32_t argc, struct span *argv)
{
    for (uint32_t i = 0; i < argc; i++) {
        uint32_t len;
        if (bytes.n < sizeof len)
            return false;
        memcpy(&len, bytes.p, sizeof len);
        bytes = span_of(bytes.p + sizeof len, bytes.n - sizeof len);
        if (len > bytes.n)
            return false;
        argv[i] = span_of(bytes.p, len);
        bytes = span_of(bytes.p + len, bytes.n - len);
    }
    return bytes.n == 0;
}

void requests_message(struct requests *r, uint32_t worker, struct span payload)
{
    struct msg_admin_request req;
    struct span argv[LIMIT_ADMIN_ARGS];
    memcpy(&req, payload.p, sizeof req); /* the bridge checked that it is there */
    req.peer[sizeof req.peer - 1] = 0;
    struct span rest = span_of(payload.p + sizeof req, payload.n - sizeof req);
    if (req.resp != 2 && req.resp != 3) {
        bridge_bad(r->bridge, worker, MSG_ADMIN_REQUEST, "no such RESP version");
        return;
    }
    struct link_control *stats = link_control_stats(r->bridge->link);
    if (req.argc > LIMIT_ADMIN_ARGS) {
        answer(r, worker, &req, "ERR too many arguments");
        return;
    }
    if (req.argc < 1 || !cut_arguments(rest, req.argc, argv)) {
        bridge_bad(r->bridge, worker, MSG_ADMIN_REQUEST, "arguments do not fill the message");
        return;
    }
    STAT_INC(stats->admin_requests);
    if (span_is(argv[0], "shutdown"))
        shutdown_command(r, worker, &req, argv);
    else if (!r->ops->store || !r->ops->store(r->ctx, worker, &req, argv))
        execute(r, worker, &req, argv);
}
