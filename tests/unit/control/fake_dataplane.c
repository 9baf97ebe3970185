/* A dataplane for the tests of control: attaches to the link as the real one does and echoes what door clients send. One thread serves
 * all workers. A record that begins with '@' is an order to the fake:
 *
 *   @admin WORD ...   sent to control as an admin request; the reply goes to the client, followed by " config=VERSION maxmemory=N"
 *                     as the config page had it when the reply came
 *   @pid  @stats      its process id; "open=N max=BYTES worker=W opened=W0,W1 control=GENERATION"
 *   @hold @release    stop and resume acknowledging (and echoing) of every client but this one
 *   @quit             "bye", then MSG_DOOR_CLOSED
 *   @lies             messages of every wrong kind to control, then "lied"
 *   @die              kill -9 of itself
 * FAKE_STARTING=1 in the environment: never says RUNNING. FAKE_DEAF=1: ignores SIGTERM and MSG_SHUTDOWN. */
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <time.h>
#include <unistd.h>

#include "engine/link/layout.h"
#include "engine/link/link.h"
#include "engine/link/msg.h"

#define DOORS 1024

struct fdoor {
    uint64_t id;
    uint32_t worker, unacked;
    bool closing, hold;
    uint8_t *out; /* not sent yet */
    size_t len, cap, sent;
    uint32_t ack_due;
};

static struct link *link_;
static struct fdoor doors[DOORS];
static uint32_t max_unacked, open_doors, opened[LIMIT_WORKERS], control_generation;
static bool stopping, deaf;

static void on_term(int sig)
{
    (void)sig;
    stopping = true;
}

static struct fdoor *find(uint64_t id)
{
    for (int i = 0; i < DOORS; i++)
        if (doors[i].id == id)
            return &doors[i];
    return NULL;
}

static void forget(struct fdoor *d)
{
    free(d->out);
    *d = (struct fdoor){0};
    open_doors--;
}

static void say(struct fdoor *d, const void *p, size_t n)
{
    if (d->len + n > d->cap) {
        d->cap = (d->len + n) * 2;
        d->out = realloc(d->out, d->cap);
    }
    memcpy(d->out + d->len, p, n);
    d->len += n;
}

static void sayf(struct fdoor *d, const char *fmt, ...)
{
    char text[512];
    va_list ap;
    va_start(ap, fmt);
    int n = vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    say(d, text, (size_t)n);
}

static void flush(struct fdoor *d)
{
    struct ring *r = link_from_worker(link_, d->worker);
    while (!d->hold && d->sent < d->len) {
        uint8_t buf[sizeof(struct msg_door) + 30000];
        size_t n = d->len - d->sent < 30000 ? d->len - d->sent : 30000;
        memcpy(buf, &d->id, 8);
        memcpy(buf + 8, d->out + d->sent, n);
        if (!ring_send(r, MSG_DOOR_REPLY, buf, (uint32_t)(8 + n)))
            return;
        d->sent += n;
    }
    if (d->hold)
        return;
    d->len = d->sent = 0;
    if (d->ack_due) {
        struct msg_door_ack a = {.door = d->id, .bytes = d->ack_due};
        if (!ring_send(r, MSG_DOOR_ACK, &a, sizeof a))
            return;
        d->unacked -= d->ack_due;
        d->ack_due = 0;
    }
    if (d->closing) {
        struct msg_door m = {d->id};
        if (ring_send(r, MSG_DOOR_CLOSED, &m, sizeof m))
            forget(d);
    }
}

static void admin(struct fdoor *d, char *words)
{
    uint8_t msg[4096];
    struct msg_admin_request q = {.request = d->id, .client = 1, .resp = 2};
    snprintf(q.peer, sizeof q.peer, "fake");
    size_t len = sizeof q;
    for (char *save, *w = strtok_r(words, " \r\n", &save); w; w = strtok_r(NULL, " \r\n", &save)) {
        uint32_t n = (uint32_t)strlen(w);
        memcpy(msg + len, &n, 4);
        memcpy(msg + len + 4, w, n);
        len += 4 + n;
        q.argc++;
    }
    memcpy(msg, &q, sizeof q);
    ring_send(link_from_worker(link_, d->worker), MSG_ADMIN_REQUEST, msg, (uint32_t)len);
}

static void lie(struct fdoor *d)
{
    struct ring *r = link_from_worker(link_, d->worker);
    uint8_t junk[4096];
    memset(junk, 0xee, sizeof junk);
    for (uint32_t type = 0; type < 40; type++)
        for (uint32_t len = 0; len < 200; len += 7)
            ring_send(r, type, junk, len);
    struct msg_door_ack over = {.door = d->id, .bytes = 1u << 30};
    struct msg_door stranger = {(d->id & ~0xffffffffull) | 4095};
    ring_send(r, MSG_DOOR_ACK, &over, sizeof over);
    ring_send(r, MSG_DOOR_REPLY, &stranger, sizeof stranger);
    ring_send(r, MSG_DOOR_CLOSED, &stranger, sizeof stranger);
    /* A record that is damaged after it was published. */
    uint64_t at = r->pos & r->mask;
    ring_send(r, MSG_DOOR_REPLY, &stranger, sizeof stranger);
    r->data[at + 3] ^= 0x40;
}

static void order(struct fdoor *d, char *text)
{
    if (!strncmp(text, "@admin ", 7)) {
        admin(d, text + 7);
    } else if (!strncmp(text, "@pid", 4)) {
        sayf(d, "%d", (int)getpid());
    } else if (!strncmp(text, "@stats", 6)) {
        sayf(d, "open=%u max=%u worker=%u opened=%u,%u control=%u", open_doors, max_unacked,
             d->worker, opened[0], opened[1], control_generation);
    } else if (!strncmp(text, "@hold", 5) || !strncmp(text, "@release", 8)) {
        for (int i = 0; i < DOORS; i++)
            doors[i].hold = doors[i].id && &doors[i] != d && text[1] == 'h';
        sayf(d, "done");
    } else if (!strncmp(text, "@quit", 5)) {
        sayf(d, "bye");
        d->closing = true;
    } else if (!strncmp(text, "@lies", 5)) {
        lie(d);
        sayf(d, "lied");
    } else if (!strncmp(text, "@die", 4)) {
        kill(getpid(), SIGKILL);
    }
}

static void take(uint32_t worker, const struct ring_record *rec)
{
    uint64_t id = 0;
    if (rec->payload.n >= 8)
        memcpy(&id, rec->payload.p, 8);
    struct fdoor *d = id ? find(id) : NULL;
    const uint8_t *p = rec->payload.p + 8;
    size_t n = rec->payload.n - 8;
    switch (rec->type) {
    case MSG_DOOR_OPEN:
        if (id >> 32 != link_control_generation(link_) || !(d = find(0)))
            return;
        d->id = id;
        d->worker = worker;
        open_doors++;
        opened[worker]++;
        break;
    case MSG_DOOR_DATA:
        if (!d)
            return;
        d->unacked += (uint32_t)n;
        d->ack_due += (uint32_t)n;
        if (d->unacked > max_unacked)
            max_unacked = d->unacked;
        if (n && p[0] == '@') {
            char text[256];
            snprintf(text, sizeof text, "%.*s", (int)n, (const char *)p);
            order(d, text);
        } else {
            say(d, p, n);
        }
        break;
    case MSG_DOOR_CLOSE:
        if (d)
            d->closing = true;
        break;
    case MSG_ADMIN_REPLY: {
        struct engine_config c = {0};
        uint64_t version = 0;
        struct msg_admin_reply a;
        memcpy(&a, rec->payload.p, sizeof a);
        if (!d)
            return;
        say(d, rec->payload.p + sizeof a, rec->payload.n - sizeof a);
        if (a.flags & MSG_ADMIN_LAST && link_config_read(link_, &c, &version))
            sayf(d, " config=%llu maxmemory=%llu", (unsigned long long)version,
                 (unsigned long long)c.maxmemory_bytes);
        break;
    }
    case MSG_SHUTDOWN: stopping = true; break;
    }
}

static void turn(void)
{
    uint32_t now = link_control_generation(link_);
    if (now != control_generation) {
        for (int i = 0; i < DOORS; i++)
            if (doors[i].id)
                forget(&doors[i]);
        control_generation = now;
    }
    bool sent = false;
    for (uint32_t w = 0; w < link_workers(link_); w++) {
        struct ring *r = link_to_worker(link_, w);
        struct ring_record rec;
        enum ring_status s;
        while ((s = ring_peek(r, &rec)) == RING_RECORD) {
            take(w, &rec);
            ring_release(r);
        }
        if (s == RING_CORRUPT)
            ring_resync(r);
        sent |= ring_backlog(link_from_worker(link_, w)) != 0;
    }
    for (int i = 0; i < DOORS; i++)
        if (doors[i].id)
            flush(&doors[i]);
    for (uint32_t w = 0; w < link_workers(link_); w++)
        sent |= ring_backlog(link_from_worker(link_, w)) != 0;
    if (sent)
        link_bell_ring(link_);
}

int main(int argc, char **argv)
{
    const char *instance = "default";
    char err[256];
    prctl(PR_SET_TIMERSLACK, 1);
    for (int i = 1; i + 1 < argc; i++)
        if (!strcmp(argv[i], "--instance"))
            instance = argv[i + 1];
    deaf = getenv("FAKE_DEAF") != NULL;
    signal(SIGTERM, deaf ? SIG_IGN : on_term);
    if (link_open_dataplane(&link_, instance, err, sizeof err)) {
        fprintf(stderr, "fake dataplane: %s\n", err);
        return 3;
    }
    link_dp_begin(link_, getpid());
    link_dp_set_banner(link_, "fake driver, no offloads\nno hugepages: the test needs none");
    if (!getenv("FAKE_STARTING"))
        link_dp_set_state(link_, LINK_DP_RUNNING, getpid());
    while (!stopping || deaf) {
        turn();
        nanosleep(&(struct timespec){0, 20000}, NULL);
    }
    link_dp_set_state(link_, LINK_DP_STOPPED, getpid());
    link_close(link_);
    return 0;
}
