/* Append-only files, looked at before a byte of them is believed. Format and verdicts in aof.h.
 *
 * In the flow: control/store maps a file -> aof_check -> aof_next for each command. Positions are offsets in the file; every number is
 * bounded by what is left of it. */
#include <stdio.h>
#include <string.h>

#include "engine/base/crc.h"
#include "engine/base/num.h"
#include "engine/log/aof.h"

#define END_WORD "#BW:"

enum step { STEP_COMMAND, STEP_LINE, STEP_SHORT, STEP_BAD };

/* A number of decimal digits without leading zeros, `cap` digits at most, up to `stop`. */
static bool take_number(struct span f, uint64_t *at, char stop, uint64_t *ret)
{
    uint64_t v = 0, i = *at;
    for (; i < f.n && f.p[i] >= '0' && f.p[i] <= '9'; i++) {
        if ((i > *at && v == 0) || __builtin_mul_overflow(v, (uint64_t)10, &v) ||
            __builtin_add_overflow(v, (uint64_t)(f.p[i] - '0'), &v))
            return false;
    }
    if (i == *at || i >= f.n || f.p[i] != (uint8_t)stop)
        return false;
    *at = i + 1;
    *ret = v;
    return true;
}

/* "<letter><number>\r\n". The number is believed up to `max`. */
static enum step header(struct span f, uint64_t *at, char letter, uint64_t max, uint64_t *ret)
{
    uint64_t i = *at, v = 0;
    if (i >= f.n)
        return STEP_SHORT;
    if (f.p[i++] != (uint8_t)letter)
        return STEP_BAD;
    uint64_t digits = i;
    for (; i < f.n && f.p[i] >= '0' && f.p[i] <= '9'; i++) {
        v = v * 10 + (uint64_t)(f.p[i] - '0');
        if (v > max)
            return STEP_BAD;
    }
    if (i >= f.n)
        return STEP_SHORT;
    if (i == digits || f.p[i] != '\r')
        return STEP_BAD;
    if (i + 1 >= f.n)
        return STEP_SHORT;
    if (f.p[i + 1] != '\n')
        return STEP_BAD;
    *at = i + 2;
    *ret = v;
    return STEP_COMMAND;
}

/* One request or line at *at, which moves behind it. On STEP_BAD *at is where it stops making sense. */
static enum step walk(struct span f, uint64_t *at, struct span *argv, uint32_t cap,
                      uint32_t *ret_argc)
{
    uint64_t i = *at, argc, n;
    *ret_argc = 0;
    if (f.p[i] == '#') {
        const uint8_t *end = memchr(f.p + i, '\n', f.n - i);
        if (!end)
            return f.n - i > AOF_LINE_BYTES ? STEP_BAD : STEP_SHORT;
        *at = (uint64_t)(end - f.p) + 1;
        return STEP_LINE;
    }
    enum step s = header(f, &i, '*', 1024 * 1024, &argc);
    for (uint64_t k = 0; s == STEP_COMMAND && k < argc; k++) {
        s = header(f, &i, '$', 1ull << 32, &n);
        if (s != STEP_COMMAND)
            break;
        if (n + 2 > f.n - i)
            s = STEP_SHORT;
        else if (f.p[i + n] != '\r' || f.p[i + n + 1] != '\n')
            s = STEP_BAD;
        else if (k < cap)
            argv[k] = span_of(f.p + i, n);
        if (s == STEP_COMMAND)
            i += n + 2;
    }
    if (s == STEP_COMMAND && argc == 0)
        s = STEP_BAD;
    if (s == STEP_BAD)
        *at = i;
    if (s != STEP_COMMAND)
        return s;
    *ret_argc = (uint32_t)argc;
    *at = i;
    return STEP_COMMAND;
}

size_t aof_next(struct span file, uint64_t at, struct span *argv, uint32_t cap, uint32_t *ret_argc)
{
    uint64_t to = at;
    if (at >= file.n)
        return 0;
    enum step s = walk(file, &to, argv, cap, ret_argc);
    return s == STEP_COMMAND || s == STEP_LINE ? to - at : 0;
}

/* ---- our lines ---- */

/* "....<crc32c>\r\n" where the sum is that of the line so far, behind `seed`. */
static bool seal_fits(struct span f, uint64_t line, uint64_t at, uint32_t seed)
{
    char want[16];
    snprintf(want, sizeof want, "%08x\r\n", crc32c(seed, f.p + line, at - line));
    return f.n - at >= 10 && memcmp(f.p + at, want, 10) == 0;
}

struct end_line {
    uint64_t at, behind; /* where the line begins and ends */
    uint64_t group, length, durable;
};

static bool has_word(struct span f, uint64_t at, const char *word)
{
    size_t n = strlen(word);
    return f.n - at >= n && memcmp(f.p + at, word, n) == 0;
}

/* The end line at `at`, whole in itself; whether its checksum fits too. */
static bool end_line_at(struct span f, uint64_t at, struct end_line *ret, bool *ret_sum)
{
    uint64_t i = at + strlen(END_WORD);
    if (!has_word(f, at, END_WORD) || !take_number(f, &i, ':', &ret->group) ||
        !take_number(f, &i, ':', &ret->length) || !take_number(f, &i, ':', &ret->durable) ||
        f.n - i < 10)
        return false;
    ret->at = at;
    ret->behind = i + 10;
    *ret_sum =
        ret->length <= at && seal_fits(f, at, i, crc32c(0, f.p + at - ret->length, ret->length));
    return true;
}

static bool head_line(struct span f, uint64_t *at, uint64_t *ret_first)
{
    uint64_t i = strlen(AOF_HEAD_WORD);
    if (!has_word(f, 0, AOF_HEAD_WORD) || !take_number(f, &i, ':', ret_first) ||
        !seal_fits(f, 0, i, 0))
        return false;
    *at = i + 10;
    return true;
}

bool aof_read_shards(struct span line, uint32_t *ret_generation,
                     void (*fn)(void *ctx, uint32_t shard, uint64_t seq), void *ctx)
{
    uint64_t i = 4, generation, shard, seq;
    if (!has_word(line, 0, "#BS:") || !take_number(line, &i, ':', &generation))
        return false;
    *ret_generation = (uint32_t)generation;
    while (i < line.n && line.p[i] != '\r') {
        if (!take_number(line, &i, '=', &shard) || !take_number(line, &i, ',', &seq))
            return false;
        fn(ctx, (uint32_t)shard, seq);
    }
    return true;
}

/* ---- room ---- */

static bool is_room(uint8_t c, uint64_t at)
{
    return c == (at % AOF_SECTOR_BYTES == AOF_SECTOR_BYTES - 1 ? '\n' : '#');
}

size_t aof_before_room(struct span p, uint64_t at)
{
    size_t n = p.n;
    while (n && is_room(p.p[n - 1], at + n - 1))
        n--;
    /* A line's end alone is that of the text: no group ends before it. */
    return n < p.n && (at + n) % AOF_SECTOR_BYTES == AOF_SECTOR_BYTES - 1 ? n + 1 : n;
}

/* Whether [from, to), which lies in one sector, is as it was before a group was written there. */
static bool is_unwritten(struct span f, uint64_t from, uint64_t to)
{
    bool room = true, zeros = true;
    for (uint64_t i = from; i < to && (room || zeros); i++) {
        room &= is_room(f.p[i], i);
        zeros &= f.p[i] == 0;
    }
    return room || zeros;
}

/* There is room behind `text`, which makes no sense from `from` on. Whether every sector of that was written: the last one was when the room begins in the middle of it. */
static bool all_written(struct span text, uint64_t from)
{
    uint64_t last = text.n - text.n % AOF_SECTOR_BYTES;
    if (last == text.n)
        return false;
    for (uint64_t at = from, next; at < last; at = next) {
        next = at - at % AOF_SECTOR_BYTES + AOF_SECTOR_BYTES;
        if (is_unwritten(text, at, next))
            return false;
    }
    return true;
}

/* ---- the verdict ---- */

static void say(struct aof_check *c, enum aof_verdict v, uint64_t bad_at, const char *why)
{
    c->verdict = v;
    c->bad_at = bad_at;
    snprintf(c->why, sizeof c->why, "%s", why);
}

/* Something is wrong behind good_bytes. Is there a whole group later that was made when `bad` was durable already? */
static bool durable_later(struct span f, uint64_t from, uint64_t bad)
{
    for (uint64_t i = from; i < f.n;) {
        const uint8_t *p = memmem(f.p + i, f.n - i, END_WORD, strlen(END_WORD));
        struct end_line e;
        bool sum;
        if (!p)
            return false;
        i = (uint64_t)(p - f.p);
        if (end_line_at(f, i, &e, &sum) && sum && e.durable >= bad)
            return true;
        i++;
    }
    return false;
}

static void broken(struct span f, struct aof_check *c, uint64_t at, const char *why)
{
    c->bad_group = c->ours ? c->last_group + 1 : 0;
    bool torn = !c->ours || !durable_later(f, c->good_bytes, c->bad_group);
    say(c, torn ? AOF_TORN : AOF_DAMAGED, at, why);
}

/* Commands that no checksum guards: from c->good_bytes to the end of the file. A file of Redis, or what Redis wrote behind our last group. */
static void check_foreign(struct span f, struct aof_check *c)
{
    uint64_t at = c->good_bytes, n = c->commands;
    bool multi = false;
    while (at < f.n) {
        struct span name = {0};
        uint32_t argc;
        uint64_t begin = at;
        enum step s = walk(f, &at, &name, 1, &argc);
        if (s == STEP_BAD) {
            say(c, AOF_DAMAGED, at, "not a command");
            return;
        }
        if (s == STEP_SHORT) {
            say(c, AOF_TORN, begin, "the last command is not whole");
            return;
        }
        if (s == STEP_LINE && has_word(f, begin, END_WORD) && !c->closed) {
            say(c, AOF_DAMAGED, 0, "groups of Barewire without its first line");
            return;
        }
        n += argc != 0;
        if (argc && span_is(name, "multi"))
            multi = true;
        else if (argc && span_is(name, "exec"))
            multi = false;
        if (!multi) {
            c->good_bytes = at;
            c->commands = n;
        }
    }
    if (multi)
        say(c, AOF_TORN, c->good_bytes, "the last MULTI has no EXEC");
}

/* One group from c->good_bytes on. False: the verdict was given, or the file is closed here. */
static bool check_group(struct span f, struct aof_check *c)
{
    uint64_t begin = c->good_bytes, at = begin, n = 0;
    struct end_line e;
    bool sum = false;
    for (;;) {
        uint32_t argc;
        uint64_t here = at;
        if (at >= f.n) {
            broken(f, c, at, "the group has no end");
            return false;
        }
        if (end_line_at(f, at, &e, &sum))
            break;
        enum step s = walk(f, &at, NULL, 0, &argc);
        if (s == STEP_BAD || s == STEP_SHORT) {
            broken(f, c, s == STEP_BAD ? at : here,
                   s == STEP_BAD ? "not a command" : "a command is not whole");
            return false;
        }
        n += argc != 0;
    }
    if (!sum || e.length != at - begin || e.group != c->last_group + 1) {
        broken(f, c, at, !sum ? "the checksum does not fit" : "the group is out of sequence");
        return false;
    }
    c->good_bytes = e.behind;
    c->last_group = e.group;
    c->commands += n;
    c->closed = e.length == 0;
    return true;
}

static void check_groups(struct span f, struct aof_check *c)
{
    c->last_group = c->first_group - 1;
    while (c->good_bytes < f.n) {
        struct end_line e;
        bool sum;
        /* Behind the end of a closed file another server may have written; it makes no groups. */
        if (c->closed && !end_line_at(f, c->good_bytes, &e, &sum)) {
            check_foreign(f, c);
            return;
        }
        if (!check_group(f, c))
            return;
    }
}

static void check_ours(struct span f, struct aof_check *c)
{
    struct span text = span_of(f.p, aof_before_room(f, 0));
    bool sectors = f.n % AOF_SECTOR_BYTES == 0;
    c->ours = true;
    check_groups(text, c);
    if (c->verdict != AOF_WHOLE && !sectors)
        return; /* what looks so is the end of a value */
    c->text_bytes = text.n;
    c->room = text.n < f.n;
    if (c->verdict == AOF_TORN && c->room && !c->closed && all_written(text, c->good_bytes))
        c->verdict = AOF_DAMAGED;
}

void aof_check(struct span file, uint64_t from, struct aof_check *ret)
{
    *ret = (struct aof_check){
        .verdict = AOF_WHOLE, .rdb_bytes = from, .good_bytes = from, .text_bytes = file.n};
    if (from == 0 && file.n && head_line(file, &ret->good_bytes, &ret->first_group)) {
        check_ours(file, ret);
        return;
    }
    if (from == 0 && file.n && has_word(file, 0, "#BAREWIRE")) {
        bool short_head = !memchr(file.p, '\n', file.n);
        say(ret, short_head ? AOF_TORN : AOF_DAMAGED, 0, "the first line is damaged");
        ret->ours = true;
        return;
    }
    check_foreign(file, ret);
}
