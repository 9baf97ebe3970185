/* replay.c: see replay.h. */
#include "control/store/replay.h"

#include <stdlib.h>
#include <string.h>

#include "engine/cmd/session.h"
#include "engine/log/aof.h"

#define SLICE_BYTES (32 * 1024)
#define RUN_BYTES   (256 * 1024) /* commands that are looked through at once */

static const char begin_file[] = "*2\r\n$6\r\nSELECT\r\n$1\r\n0\r\n";
static const char ask_end[] =
    "*3\r\n$6\r\nCLIENT\r\n$5\r\nREPLY\r\n$2\r\nON\r\n*1\r\n$4\r\nPING\r\n";

struct replay {
    struct bridge *bridge;
    void (*done)(void *ctx);
    void *ctx;
    uint64_t door, in_flight, bytes;
    bool opened, ended;
    uint32_t n, file; /* file: behind the last one: the end is asked for */
    uint64_t at;      /* in the file: behind the run */
    struct span run;  /* still to be sent */
    char last[6];     /* of what was answered */
    struct replay_file files[];
};

static bool is_bracket(struct span name)
{
    return span_is(name, "multi") || span_is(name, "exec");
}

/* The next bytes that can be sent as they are. False: there are none. */
static bool next_run(struct replay *r)
{
    if (r->file >= r->n)
        return false;
    const struct replay_file *f = &r->files[r->file];
    struct span bytes = span_of(f->bytes.p, f->to);
    uint64_t begin = r->at;
    for (;;) {
        struct span name = {0};
        uint32_t argc;
        size_t n = aof_next(bytes, r->at, &name, 1, &argc);
        bool skip = n && (argc == 0 || is_bracket(name));
        if (!n || skip || r->at - begin >= RUN_BYTES) {
            r->run = span_of(bytes.p + begin, r->at - begin);
            r->at += skip ? n : 0;
            if (r->run.n)
                return true;
            begin = r->at;
            if (!n)
                break;
            continue;
        }
        r->at += n;
    }
    if (++r->file == r->n) {
        r->run = SPAN(ask_end);
        return true;
    }
    r->at = r->files[r->file].from;
    r->run = SPAN(begin_file);
    return true;
}

static bool open_door(struct replay *r)
{
    struct msg_door_open m = {
        .door = r->door, .source = SESSION_DOOR_UNIX, .flags = MSG_DOOR_LOADER};
    memcpy(m.peer, "log:0", 6);
    memcpy(m.local, "log:0", 6);
    return bridge_send(r->bridge, 0, MSG_DOOR_OPEN, &m, sizeof m, NULL, 0);
}

static void pump(struct replay *r)
{
    struct msg_door m = {r->door};
    if (r->ended)
        return;
    if (!r->opened && !(r->opened = open_door(r))) {
        bridge_want_room(r->bridge, 0);
        return;
    }
    while (r->in_flight < LINK_DOOR_WINDOW && (r->run.n || next_run(r))) {
        size_t n = r->run.n < SLICE_BYTES ? r->run.n : SLICE_BYTES;
        if (!bridge_send(r->bridge, 0, MSG_DOOR_DATA, &m, sizeof m, r->run.p, (uint32_t)n)) {
            bridge_want_room(r->bridge, 0);
            return;
        }
        r->in_flight += n;
        r->bytes += n;
        r->run = span_of(r->run.p + n, r->run.n - n);
    }
}

struct replay *replay_start(struct bridge *b, const struct replay_file *files, uint32_t n,
                            void (*done)(void *ctx), void *ctx)
{
    struct replay *r = calloc(1, sizeof *r + n * sizeof *files);
    if (!r)
        return NULL;
    r->bridge = b;
    r->done = done;
    r->ctx = ctx;
    r->door = (uint64_t)link_control_generation(b->link) << 32 | UINT32_MAX;
    r->n = n;
    memcpy(r->files, files, n * sizeof *files);
    if (n) {
        r->at = files[0].from;
        r->run = SPAN(begin_file);
    } else {
        r->run = SPAN(ask_end);
    }
    pump(r);
    return r;
}

static void on_reply(struct replay *r, struct span p)
{
    struct msg_door m = {r->door};
    size_t n = p.n < sizeof r->last ? p.n : sizeof r->last;
    memmove(r->last, r->last + n, sizeof r->last - n);
    memcpy(r->last + sizeof r->last - n, p.p + p.n - n, n);
    if (r->ended || memcmp(r->last, "PONG\r\n", 6) != 0)
        return;
    r->ended = true;
    bridge_send(r->bridge, 0, MSG_DOOR_CLOSE, &m, sizeof m, NULL, 0);
    r->done(r->ctx);
}

bool replay_message(struct replay *r, uint32_t worker, uint32_t type, struct span payload)
{
    struct msg_door_ack ack;
    uint64_t door;
    if (!r || worker != 0 || payload.n < sizeof door)
        return false;
    memcpy(&door, payload.p, sizeof door);
    if (door != r->door)
        return false;
    if (type == MSG_DOOR_ACK) {
        memcpy(&ack, payload.p, sizeof ack);
        r->in_flight -= ack.bytes < r->in_flight ? ack.bytes : r->in_flight;
        pump(r);
    } else if (type == MSG_DOOR_REPLY) {
        on_reply(r, span_of(payload.p + sizeof door, payload.n - sizeof door));
    }
    return true;
}

void replay_room(struct replay *r, uint32_t worker)
{
    if (r && worker == 0)
        pump(r);
}

uint64_t replay_bytes(const struct replay *r)
{
    return r ? r->bytes : 0;
}

void replay_free(struct replay *r)
{
    free(r);
}
