/* replay.c: see replay.h. */
#include "control/store/replay.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/base/num.h"
#include "engine/cmd/cmd.h"
#include "engine/cmd/command_table.h"
#include "engine/log/aof.h"

#define SLICE_BYTES (32 * 1024)
#define LANE_BYTES  (128 * 1024)
#define FUNNEL_FOR  64 /* commands of one shard in a row until the lanes are used again */
#define NO_DB       UINT32_MAX

static const char ask[] = "*3\r\n$6\r\nCLIENT\r\n$5\r\nREPLY\r\n$2\r\nON\r\n*1\r\n$4\r\nPING\r\n"
                          "*3\r\n$6\r\nCLIENT\r\n$5\r\nREPLY\r\n$3\r\nOFF\r\n";

struct lane {
    bool opened, asked;
    uint32_t db; /* that its client is in */
    uint64_t in_flight;
    uint8_t *p; /* commands: [at, n) are still to be sent, then `big` */
    size_t at, n, cap;
    struct span big;
    char last[6]; /* of what was answered */
};

struct replay {
    struct bridge *bridge;
    void (*done)(void *ctx, const char *error);
    void *ctx;
    uint64_t door, bytes;
    uint32_t workers, db;
    uint32_t funnel; /* lane 0 takes all for so many commands; 0: lanes */
    bool over, ended;
    struct span *argv;
    uint32_t argv_cap, argc;
    struct span name; /* of the last command looked up */
    const struct cmd_desc *desc;
    uint32_t *positions;
    uint32_t positions_cap;
    uint64_t at; /* in the file */
    size_t
        command; /* length of the one at `at`, when it waits for room; 0: the next is to be read */
    uint64_t mask; /* of its shards */
    char error[300];
    struct lane lane[LIMIT_WORKERS];
    uint32_t n, file; /* file == n: all is given */
    struct replay_file files[];
};

static bool stop(struct replay *r, const char *what, struct span name)
{
    if (!r->error[0])
        snprintf(r->error, sizeof r->error, "%s: '%.*s', at offset %llu of %s", what,
                 (int)(name.n < 128 ? name.n : 128), (const char *)name.p,
                 (unsigned long long)r->at, r->file < r->n ? r->files[r->file].name : "the log");
    return false;
}

/* ---- lanes ---- */

static bool open_lane(struct replay *r, uint32_t i)
{
    struct msg_door_open m = {
        .door = r->door, .source = SESSION_DOOR_UNIX, .flags = MSG_DOOR_LOADER};
    memcpy(m.peer, "log:0", 6);
    memcpy(m.local, "log:0", 6);
    return r->lane[i].opened = bridge_send(r->bridge, i, MSG_DOOR_OPEN, &m, sizeof m, NULL, 0);
}

/* Sends of `p` what credit and ring take; returns the rest. */
static struct span send_some(struct replay *r, uint32_t i, struct span p)
{
    struct lane *l = &r->lane[i];
    struct msg_door m = {r->door};
    while (p.n && l->in_flight < LINK_DOOR_WINDOW) {
        size_t n = p.n < SLICE_BYTES ? p.n : SLICE_BYTES;
        if (!bridge_send(r->bridge, i, MSG_DOOR_DATA, &m, sizeof m, p.p, (uint32_t)n)) {
            bridge_want_room(r->bridge, i);
            break;
        }
        l->in_flight += n;
        p = span_of(p.p + n, p.n - n);
    }
    return p;
}

/* True: nothing waits in it. */
static bool lane_send(struct replay *r, uint32_t i)
{
    struct lane *l = &r->lane[i];
    if (!l->opened && !open_lane(r, i)) {
        bridge_want_room(r->bridge, i);
        return false;
    }
    l->at = l->n - send_some(r, i, span_of(l->p + l->at, l->n - l->at)).n;
    if (l->at < l->n)
        return false;
    l->at = l->n = 0;
    l->big = send_some(r, i, l->big);
    return l->big.n == 0;
}

/* Room for n bytes behind what waits. False: it must drain first. */
static bool lane_room(struct replay *r, uint32_t i, size_t n)
{
    struct lane *l = &r->lane[i];
    if (l->big.n || l->cap - l->n < n)
        lane_send(r, i);
    if (l->big.n || (l->n && l->cap - l->n < n))
        return false;
    if (l->cap >= n)
        return true;
    size_t cap = n < LANE_BYTES ? LANE_BYTES : n;
    uint8_t *grown = realloc(l->p, cap);
    if (!grown)
        return stop(r, "no memory", SPAN(""));
    l->p = grown;
    l->cap = cap;
    return true;
}

static void lane_put(struct lane *l, const void *p, size_t n)
{
    memcpy(l->p + l->n, p, n);
    l->n += n;
}

static void lane_word(struct lane *l, struct span word)
{
    l->n += (size_t)sprintf((char *)l->p + l->n, "$%zu\r\n", word.n);
    lane_put(l, word.p, word.n);
    lane_put(l, "\r\n", 2);
}

#define SELECT_BYTES 64
static void lane_select(struct replay *r, struct lane *l)
{
    char number[16];
    if (l->db == r->db)
        return;
    l->db = r->db;
    int n = snprintf(number, sizeof number, "%u", r->db);
    l->n += (size_t)sprintf((char *)l->p + l->n, "*2\r\n$6\r\nSELECT\r\n");
    lane_word(l, span_of(number, (size_t)n));
}

/* The command at r->at, as it stands. False: no room now. */
static bool give_whole(struct replay *r, uint32_t i)
{
    struct lane *l = &r->lane[i];
    const uint8_t *p = r->files[r->file].bytes.p + r->at;
    bool big = r->command > SLICE_BYTES;
    if (!lane_room(r, i, SELECT_BYTES + (big ? 0 : r->command)))
        return false;
    lane_select(r, l);
    if (big)
        l->big = span_of(p, r->command);
    else
        lane_put(l, p, r->command);
    return true;
}

/* DEL, UNLINK, MSET: each shard gets its keys. Room for all of it in every lane, or nothing is given. */
static bool give_parts(struct replay *r)
{
    uint32_t step = (uint32_t)r->desc->key_step, count[LIMIT_WORKERS] = {0};
    for (uint32_t i = 0; i < r->workers; i++)
        if (!lane_room(r, i, SELECT_BYTES + r->command + 32))
            return false;
    for (uint32_t k = 1; k + step <= r->argc; k += step)
        count[shard_of_key(r->argv[k], r->workers)] += step;
    for (uint32_t i = 0; i < r->workers; i++) {
        struct lane *l = &r->lane[i];
        if (!count[i])
            continue;
        lane_select(r, l);
        l->n += (size_t)sprintf((char *)l->p + l->n, "*%u\r\n", count[i] + 1);
        lane_word(l, r->argv[0]);
        for (uint32_t k = 1; k + step <= r->argc; k += step)
            for (uint32_t a = 0; a < step && shard_of_key(r->argv[k], r->workers) == i; a++)
                lane_word(l, r->argv[k + a]);
    }
    return true;
}

/* Every lane is to say when all before has run. False: no room now; those that were asked stay so. */
static bool ask_all(struct replay *r)
{
    for (uint32_t i = 0; i < r->workers; i++) {
        struct lane *l = &r->lane[i];
        if (l->asked)
            continue;
        if (!lane_room(r, i, sizeof ask))
            return false;
        lane_put(l, ask, sizeof ask - 1);
        l->asked = true;
    }
    return true;
}

static bool all_answered(const struct replay *r)
{
    for (uint32_t i = 0; i < r->workers; i++)
        if (r->lane[i].asked)
            return false;
    return true;
}

/* ---- commands ---- */

static bool room_for_words(struct replay *r, uint32_t n)
{
    if (n <= r->argv_cap)
        return true;
    uint32_t cap = n * 2;
    struct span *argv = realloc(r->argv, cap * sizeof *argv);
    if (argv)
        r->argv = argv;
    uint32_t *positions = argv ? realloc(r->positions, cap * sizeof *positions) : NULL;
    if (!positions)
        return stop(r, "no memory", SPAN(""));
    r->positions = positions;
    r->positions_cap = r->argv_cap = cap;
    return true;
}

static const struct cmd_desc *look_up(struct replay *r)
{
    struct reply nowhere = {.muted = true, .resp = 2};
    const struct cmd_desc *d = r->desc;
    bool same = d && r->name.n == r->argv[0].n && !memcmp(r->name.p, r->argv[0].p, r->name.n) &&
                !d->nsubs && !d->parent &&
                (d->arity < 0 ? r->argc >= (uint32_t)-d->arity : r->argc == (uint32_t)d->arity);
    if (!same)
        r->desc = cmd_lookup(r->argv, r->argc, &nowhere);
    r->name = r->argv[0];
    return r->desc;
}

static uint64_t shards_of(struct replay *r, const struct cmd_desc *d)
{
    uint64_t all = r->workers == 64 ? UINT64_MAX : (1ull << r->workers) - 1, mask = 0;
    if (r->workers == 1)
        return 1;
    if (d->route == ROUTE_KEY && d->first_key > 0 && (uint32_t)d->first_key < r->argc)
        return 1ull << shard_of_key(r->argv[d->first_key], r->workers);
    if ((d->route != ROUTE_KEY && d->route != ROUTE_KEYS) || cmd_keys_open(d, r->argv, r->argc))
        return all;
    int n = cmd_keys(d, r->argv, r->argc, r->positions, r->positions_cap);
    for (int i = 0; i < n && (uint32_t)i < r->positions_cap; i++)
        mask |= 1ull << shard_of_key(r->argv[r->positions[i]], r->workers);
    return n > 0 ? mask : all;
}

/* MULTI and EXEC are left out: nobody looks in between. */
static bool is_bracket(const struct cmd_desc *d)
{
    return d == &cmd_table[CMD_multi] || d == &cmd_table[CMD_exec];
}

static bool splits(const struct cmd_desc *d)
{
    return d == &cmd_table[CMD_del] || d == &cmd_table[CMD_unlink] || d == &cmd_table[CMD_mset];
}

static bool select_db(struct replay *r)
{
    uint64_t db;
    if (!num_parse_u64(r->argv[1], &db) || db >= LIMIT_DATABASES)
        return stop(r, "no such database", r->argv[1]);
    r->db = (uint32_t)db;
    return true;
}

/* The next command that a lane is to be given becomes r->command. False: there is none, or something is wrong. */
static bool next_command(struct replay *r)
{
    while (r->file < r->n) {
        const struct replay_file *f = &r->files[r->file];
        struct span bytes = span_of(f->bytes.p, f->to);
        size_t n = aof_next(bytes, r->at, r->argv, r->argv_cap, &r->argc);
        if (!n) {
            r->db = 0;
            if (++r->file < r->n)
                r->at = r->files[r->file].from;
            continue;
        }
        if (r->argc > r->argv_cap) {
            if (!room_for_words(r, r->argc))
                return false;
            continue;
        }
        const struct cmd_desc *d = r->argc ? look_up(r) : NULL;
        if (r->argc && !d)
            return stop(r, "Unknown command reading the append only file", r->argv[0]);
        bool selects = d == &cmd_table[CMD_select];
        if (selects && !select_db(r))
            return false;
        if (!d || selects || is_bracket(d)) {
            r->at += n;
            r->bytes += n;
            continue;
        }
        r->command = n;
        r->mask = shards_of(r, d);
        return true;
    }
    return false;
}

/* Gives r->command away. False: later. */
static bool give(struct replay *r)
{
    bool one = (r->mask & (r->mask - 1)) == 0;
    if (!one && r->command <= SLICE_BYTES && !r->funnel && splits(r->desc))
        return give_parts(r);
    if (!one && !r->funnel) {
        if (!ask_all(r))
            return false;
        r->funnel = FUNNEL_FOR;
        return false; /* when all have answered */
    }
    if (r->funnel) {
        if (!give_whole(r, 0))
            return false;
        r->funnel = one ? r->funnel - 1 : FUNNEL_FOR;
        if (!r->funnel) {
            r->lane[0].asked = lane_room(r, 0, sizeof ask);
            if (r->lane[0].asked)
                lane_put(&r->lane[0], ask, sizeof ask - 1);
            else
                r->funnel = 1;
        }
        return true;
    }
    return give_whole(r, (uint32_t)__builtin_ctzll(r->mask));
}

static void end(struct replay *r)
{
    struct msg_door m = {r->door};
    r->ended = true;
    for (uint32_t i = 0; i < r->workers; i++)
        if (r->lane[i].opened)
            bridge_send(r->bridge, i, MSG_DOOR_CLOSE, &m, sizeof m, NULL, 0);
    r->done(r->ctx, r->error[0] ? r->error : NULL);
}

static void pump(struct replay *r)
{
    while (!r->ended && all_answered(r)) {
        if (r->over) {
            end(r);
            return;
        }
        if (r->error[0] || (!r->command && !next_command(r))) {
            r->over = ask_all(r);
            if (!r->over)
                break;
            continue;
        }
        if (!give(r)) {
            if (r->error[0])
                continue;
            break;
        }
        r->at += r->command;
        r->bytes += r->command;
        r->command = 0;
    }
    for (uint32_t i = 0; i < r->workers && !r->ended; i++)
        lane_send(r, i);
}

struct replay *replay_start(struct bridge *b, const struct replay_file *files, uint32_t n,
                            void (*done)(void *ctx, const char *error), void *ctx)
{
    struct replay *r = calloc(1, sizeof *r + n * sizeof *files);
    if (!r)
        return NULL;
    r->bridge = b;
    r->done = done;
    r->ctx = ctx;
    r->door = (uint64_t)link_control_generation(b->link) << 32 | UINT32_MAX;
    r->workers = link_workers(b->link);
    r->n = n;
    if (n) {
        memcpy(r->files, files, n * sizeof *files);
        r->at = files[0].from;
    }
    bool good = room_for_words(r, 1024);
    for (uint32_t i = 0; i < r->workers; i++)
        good = good && lane_room(r, i, LANE_BYTES);
    if (!good) {
        replay_free(r);
        return NULL;
    }
    pump(r);
    return r;
}

static void on_reply(struct replay *r, struct lane *l, struct span p)
{
    size_t n = p.n < sizeof l->last ? p.n : sizeof l->last;
    memmove(l->last, l->last + n, sizeof l->last - n);
    memcpy(l->last + sizeof l->last - n, p.p + p.n - n, n);
    if (memcmp(l->last, "PONG\r\n", 6) != 0)
        return;
    memset(l->last, 0, sizeof l->last);
    l->asked = false;
    pump(r);
}

bool replay_message(struct replay *r, uint32_t worker, uint32_t type, struct span payload)
{
    struct msg_door_ack ack;
    uint64_t door;
    if (!r || worker >= r->workers || payload.n < sizeof door)
        return false;
    memcpy(&door, payload.p, sizeof door);
    if (door != r->door)
        return false;
    struct lane *l = &r->lane[worker];
    if (type == MSG_DOOR_ACK && payload.n == sizeof ack) {
        memcpy(&ack, payload.p, sizeof ack);
        l->in_flight -= ack.bytes < l->in_flight ? ack.bytes : l->in_flight;
        lane_send(r, worker);
        pump(r);
    } else if (type == MSG_DOOR_REPLY) {
        on_reply(r, l, span_of(payload.p + sizeof door, payload.n - sizeof door));
    }
    return true;
}

void replay_room(struct replay *r, uint32_t worker)
{
    if (!r || r->ended || worker >= r->workers)
        return;
    lane_send(r, worker);
    pump(r);
}

uint64_t replay_bytes(const struct replay *r)
{
    return r ? r->bytes : 0;
}

void replay_free(struct replay *r)
{
    if (!r)
        return;
    for (uint32_t i = 0; i < r->workers; i++)
        free(r->lane[i].p);
    free(r->argv);
    free(r->positions);
    free(r);
}
