/* See transcript.h. Aborts (CHECK) where the parser breaks a promise that is the same for any input. */
#include "tests/unit/resp/transcript.h"

#include "engine/base/assert.h"
#include "engine/base/limits.h"

static void add(struct transcript *t, const void *p, size_t n)
{
    if (t->cap - t->len < n) {
        t->cap = (t->len + n) * 2;
        CHECK((t->p = realloc(t->p, t->cap)) != NULL);
    }
    if (n)
        memcpy(t->p + t->len, p, n);
    t->len += n;
}

static void add_number(struct transcript *t, const char *name, size_t v)
{
    char text[64];
    add(t, text, (size_t)snprintf(text, sizeof(text), "%s%zu ", name, v));
}

void transcript_free(struct transcript *t)
{
    free(t->p);
    *t = (struct transcript){0};
}

static void add_request(struct transcript *t, struct resp_parser *p, const struct resp_cmd *cmd)
{
    t->requests++;
    t->gathered += cmd->gathered;
    add_number(t, "\nargc=", cmd->argc);
    add_number(t, "wire=", cmd->wire_bytes);
    for (uint32_t i = 0; i < cmd->argc; i++) {
        uint8_t *block = NULL;
        size_t cap = 0;
        bool taken = cmd->gathered && i % 2 && resp_take_big(p, i, &block, &cap);
        if (taken) {
            t->big++;
            CHECK(block == cmd->argv[i].p && cap >= cmd->argv[i].n);
            CHECK(!resp_take_big(p, i, &block, &cap));
        }
        add_number(t, "n=", cmd->argv[i].n);
        CHECK(cmd->argv[i].p != NULL);
        add(t, cmd->argv[i].p, cmd->argv[i].n);
        if (taken)
            mem_free(p->mem, block, cap);
    }
}

/* Parses one run to its end. False: the stream is broken. */
static bool run(struct transcript *t, struct resp_parser *p, const struct resp_limits *lim,
                const uint8_t *data, size_t n, size_t small_cap)
{
    static struct span arena[LIMIT_BATCH_ARGS];
    const uint8_t *cur = data, *end = data + n;
    for (;;) {
        struct resp_cmd cmd;
        const uint8_t *before = cur;
        enum resp_status st = resp_parse(p, lim, &cur, end, arena, small_cap, &cmd);
        if (st == RESP_FULL) {
            CHECK(cur == before && small_cap < LIMIT_BATCH_ARGS);
            t->full++;
            st = resp_parse(p, lim, &cur, end, arena, LIMIT_BATCH_ARGS, &cmd);
            CHECK(st != RESP_FULL);
        }
        CHECK(cur >= before && cur <= end);
        if (st == RESP_DONE) {
            CHECK(cur > before);
            CHECK(resp_parser_held(p) == 0);
            add_request(t, p, &cmd);
            continue;
        }
        if (st == RESP_BAD) {
            CHECK(p->error[0]);
            add(t, p->error, strlen(p->error));
            CHECK(resp_parse(p, lim, &cur, end, arena, small_cap, &cmd) == RESP_BAD);
            return false;
        }
        CHECK(cur == end);
        return true;
    }
}

void transcript_run(struct transcript *t, struct resp_parser *p, const struct resp_limits *lim,
                    const uint8_t *data, size_t n, const size_t *cuts, size_t ncuts,
                    size_t small_cap)
{
    size_t from = 0;
    for (size_t i = 0; i <= ncuts; i++) {
        size_t to = i < ncuts ? cuts[i] : n;
        uint8_t *block = malloc(to - from ? to - from : 1);
        CHECK(block != NULL);
        memcpy(block, data + from, to - from);
        /* Past the block's end for an empty run would be past an address, not a byte. */
        bool ok = run(t, p, lim, block, to - from, small_cap);
        free(block);
        if (!ok)
            return;
        from = to;
    }
    add(t, "\nmore", 5);
}
