/* See shadow.h. */
#include "tests/unit/conn/shadow.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "engine/link/msg.h"
#include "tests/unit/unit.h"

struct head {
    struct msg_journal m;
    struct msg_journal_shard at[2 * MAX_WORKERS];
};

void shadow_attach(struct shadow *h, uint32_t count, struct link *control)
{
    h->count = count;
    for (uint32_t i = 0; i < count; i++) {
        assert_int_equal(link_journal_ring(control, i, &h->ring[i]), 0);
        h->next[i] = 1;
    }
}

void shadow_link(struct shadow *h, uint32_t count, struct engine_config *config)
{
    char err[256];
    bool fresh;
    struct link *control;
    snprintf(h->instance, sizeof(h->instance), "test-shadow-%d", (int)getpid());
    assert_int_equal(link_open_control(&control, h->instance, count, &fresh, err, sizeof(err)), 0);
    config->journal = JOURNAL_ON;
    link_config_publish(control, config);
    assert_int_equal(link_open_dataplane(&h->dataplane, h->instance, err, sizeof(err)), 0);
    link_dp_begin(h->dataplane, getpid());
    link_refresh(control);
    shadow_attach(h, count, control);
    h->control = control;
}

void shadow_up(struct shadow *h)
{
    server_config(&h->s);
    h->s.config.enable_debug_command = DEBUG_CMD_YES;
    server_start(&h->s, 1);
    h->tc = fake_connect(h->s.net[0]);
}

void shadow_down(struct shadow *h)
{
    leave(h->tc);
    server_down(&h->s);
    if (!h->control)
        return;
    link_close(h->dataplane);
    link_close(h->control);
    link_unlink(h->instance);
}

static bool is_next(const struct shadow *h, const struct head *r)
{
    for (uint32_t i = 0; i < r->m.shards; i++)
        if (r->at[i].seq != h->next[r->at[i].shard])
            return false;
    for (uint32_t i = r->m.shards; i < r->m.shards + r->m.after; i++)
        if (r->at[i].seq >= h->next[r->at[i].shard])
            return false;
    return true;
}

/* The first record of that ring, if it is its turn. */
static bool follow_one(struct shadow *h, uint32_t ring)
{
    struct ring_record rec;
    struct head r = {0};
    if (ring_peek(&h->ring[ring], &rec) != RING_RECORD)
        return false;
    assert_int_equal(rec.type, MSG_JOURNAL);
    memcpy(&r.m, rec.payload.p, sizeof(r.m));
    size_t n = (r.m.shards + r.m.after) * sizeof(r.at[0]);
    assert_in_range(n, 1, sizeof(r.at));
    memcpy(r.at, rec.payload.p + sizeof(r.m), n);
    if (!is_next(h, &r))
        return false;
    for (uint32_t i = 0; i < r.m.shards; i++)
        h->next[r.at[i].shard]++;
    size_t skip = sizeof(r.m) + n;
    for (size_t left = r.m.bytes;;) {
        size_t part = rec.payload.n - skip;
        fake_send(h->tc, rec.payload.p + skip, part);
        ring_release(&h->ring[ring]);
        left -= part;
        if (!left)
            return true;
        assert_int_equal(ring_peek(&h->ring[ring], &rec), RING_RECORD);
        skip = sizeof(struct msg_journal_more) + r.m.shards * sizeof(r.at[0]);
    }
}

void shadow_follow(struct shadow *h, uint64_t now_ns)
{
    h->s.now_ns = now_ns;
    for (uint32_t tries = 0; tries < h->count; tries++) {
        h->draw = h->draw * 1103515245 + 12345;
        for (uint32_t i = 0; i < h->count; i++)
            if (follow_one(h, ((h->draw >> 16) + i) % h->count))
                tries = 0;
    }
    for (uint32_t i = 0; i < h->count; i++)
        assert_int_equal(ring_backlog(&h->ring[i]), 0);
    do
        settle(&h->s);
    while (h->tc->in_len);
    h->tc->out_len = 0;
}

const char *shadow_ask(struct shadow *h, const char *request)
{
    static char text[4096];
    say(h->tc, request);
    settle(&h->s);
    assert_true(h->tc->out_len < sizeof(text));
    memcpy(text, h->tc->out, h->tc->out_len);
    text[h->tc->out_len] = 0;
    h->tc->out_len = 0;
    return text;
}
