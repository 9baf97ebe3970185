/* rings.c: see rings.h. */
#include "tests/unit/store/rings.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "engine/link/msg.h"
#include "tests/unit/unit.h"

#define RECORD_BYTES (LIMIT_LINK_MSG_BYTES - 64)

void rings_begin(struct rings *r, uint32_t workers)
{
    static int number;
    char err[256] = "";
    bool fresh;
    memset(r, 0, sizeof *r);
    snprintf(r->instance, sizeof r->instance, "test-store-%d-%d", (int)getpid(), number++);
    snprintf(r->dir, sizeof r->dir, "/tmp/barewire-store-XXXXXX");
    assert_non_null(mkdtemp(r->dir));
    snprintf(r->path, sizeof r->path, "%s/1.aof", r->dir);
    link_unlink(r->instance);
    if (link_open_control(&r->control, r->instance, workers, &fresh, err, sizeof err) ||
        link_open_dataplane(&r->dataplane, r->instance, err, sizeof err))
        fail_msg("%s", err);
    link_dp_begin(r->dataplane, getpid());
    link_refresh(r->control);
    for (uint32_t i = 0; i < workers; i++)
        assert_int_equal(link_journal_ring(r->dataplane, i, &r->ring[i]), 0);
}

void rings_end(struct rings *r)
{
    char command[160];
    if (r->dataplane)
        link_close(r->dataplane);
    if (r->control)
        link_close(r->control);
    link_unlink(r->instance);
    snprintf(command, sizeof command, "rm -rf %s", r->dir);
    assert_int_equal(system(command), 0);
}

void rings_nap(void)
{
    struct timespec ms = {0, 1000000};
    nanosleep(&ms, NULL);
}

char *rings_text(const char *key, char c, size_t n, size_t *ret_n)
{
    char *text = malloc(n + 100);
    assert_non_null(text);
    size_t at =
        (size_t)sprintf(text, "*3\r\n$3\r\nSET\r\n$%zu\r\n%s\r\n$%zu\r\n", strlen(key), key, n);
    memset(text + at, c, n);
    memcpy(text + at + n, "\r\n", 2);
    *ret_n = at + n + 2;
    return text;
}

static void put(struct rings *r, uint32_t w, uint32_t type, const void *head, size_t head_n,
                const char *body, size_t n)
{
    uint8_t *to = NULL;
    RINGS_UNTIL((to = ring_reserve(&r->ring[w], (uint32_t)(head_n + n))) != NULL);
    memcpy(to, head, head_n);
    memcpy(to + head_n, body, n);
    ring_publish(&r->ring[w], type, (uint32_t)(head_n + n));
}

static void put_first(struct rings *r, uint32_t w, uint64_t shards, const char *text, size_t n,
                      size_t first)
{
    struct {
        struct msg_journal m;
        struct msg_journal_shard at[LIMIT_WORKERS];
    } head = {.m = {.bytes = n, .at_ns = r->at_ns}};
    for (uint64_t m = shards; m; m &= m - 1) {
        uint32_t i = (uint32_t)__builtin_ctzll(m);
        head.at[head.m.shards++] = (struct msg_journal_shard){.shard = i, .seq = ++r->seq[i]};
    }
    put(r, w, MSG_JOURNAL, &head, sizeof head.m + head.m.shards * sizeof head.at[0], text, first);
}

static void put_more(struct rings *r, uint32_t w, uint64_t shards, const char *text, size_t n,
                     size_t at, size_t part)
{
    struct {
        struct msg_journal_more m;
        struct msg_journal_shard at[LIMIT_WORKERS];
    } more = {.m = {.offset = at, .bytes = n}};
    for (uint64_t m = shards; m; m &= m - 1) {
        uint32_t i = (uint32_t)__builtin_ctzll(m);
        more.at[more.m.shards++] = (struct msg_journal_shard){.shard = i, .seq = r->seq[i]};
    }
    put(r, w, MSG_JOURNAL_MORE, &more, sizeof more.m + more.m.shards * sizeof more.at[0], text + at,
        part);
}

void rings_put_cut(struct rings *r, uint32_t w, uint64_t shards, uint64_t id)
{
    struct {
        struct msg_journal m;
        struct msg_journal_shard at[LIMIT_WORKERS];
    } head = {.m = {.cut = id}};
    for (uint64_t m = shards; m; m &= m - 1) {
        uint32_t i = (uint32_t)__builtin_ctzll(m);
        head.at[head.m.shards++] = (struct msg_journal_shard){.shard = i, .seq = ++r->seq[i]};
    }
    put(r, w, MSG_JOURNAL, &head, sizeof head.m + head.m.shards * sizeof head.at[0], "", 0);
}

void rings_put_behind(struct rings *r, uint32_t w, uint32_t after, uint64_t seq, const char *key)
{
    size_t n;
    char *text = rings_text(key, 'b', 10, &n);
    struct {
        struct msg_journal m;
        struct msg_journal_shard at[2];
    } head = {.m = {.bytes = n, .shards = 1, .after = 1},
              .at = {{.shard = w, .seq = ++r->seq[w]}, {.shard = after, .seq = seq}}};
    put(r, w, MSG_JOURNAL, &head, sizeof head, text, n);
    free(text);
}

bool rings_put_parts(struct rings *r, uint32_t w, uint64_t shards, const char *key, char c,
                     size_t n, uint32_t from, uint32_t to)
{
    const size_t step = RECORD_BYTES - 2048;
    size_t bytes;
    char *text = rings_text(key, c, n, &bytes);
    for (uint32_t k = from; k < to && k * step < bytes; k++) {
        size_t at = k * step, part = bytes - at < step ? bytes - at : step;
        if (k == 0)
            put_first(r, w, shards, text, bytes, part);
        else
            put_more(r, w, shards, text, bytes, at, part);
    }
    free(text);
    return to * step < bytes;
}

void rings_put(struct rings *r, uint32_t w, uint64_t shards, const char *key, char c, size_t n)
{
    rings_put_parts(r, w, shards, key, c, n, 0, UINT16_MAX);
}

uint64_t rings_backlog(struct rings *r)
{
    uint64_t n = 0;
    for (uint32_t i = 0; i < link_workers(r->control); i++)
        n += ring_backlog(&r->ring[i]);
    return n;
}
