/* Room behind the last group of a log: nothing to a reader, of a torn group nothing, and no damage is hidden by it. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/base/crc.h"
#include "engine/log/aof.h"
#include "tests/unit/unit.h"

#define SECTOR     AOF_SECTOR_BYTES
#define FILE_BYTES (32 * SECTOR)

struct log {
    uint8_t p[FILE_BYTES];
    size_t n;
    uint64_t group; /* the next one */
};

static void put(struct log *l, const void *p, size_t n)
{
    assert_true(l->n + n <= FILE_BYTES);
    memcpy(l->p + l->n, p, n);
    l->n += n;
}

static void log_begin(struct log *l)
{
    char line[AOF_LINE_BYTES];
    l->n = 0;
    l->group = 1;
    put(l, line, aof_write_head(line, 1));
}

static size_t end_line(const struct log *l, size_t from, char *to)
{
    return aof_write_end(to, l->group, l->n - from, l->group - 1,
                         crc32c(0, l->p + from, l->n - from));
}

/* As the journal writes it with always: all before it is durable. */
static void log_group(struct log *l, size_t bytes, const char *letters)
{
    char line[AOF_LINE_BYTES];
    size_t from = l->n, k = strlen(letters);
    put(l, line, (size_t)sprintf(line, "*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$%zu\r\n", bytes));
    for (size_t i = 0; i < bytes; i++)
        put(l, &letters[i % k], 1);
    put(l, "\r\n", 2);
    size_t n = end_line(l, from, line);
    if (!aof_may_end(l->n + n)) {
        put(l, AOF_FILLER, strlen(AOF_FILLER));
        n = end_line(l, from, line);
    }
    put(l, line, n);
    l->group++;
}

/* Of whole sectors, that many behind the one in which the text ends. Returns the length of the file. */
static size_t log_room(struct log *l, size_t sectors)
{
    size_t end = (l->n / SECTOR + 1 + sectors) * SECTOR;
    assert_true(end <= FILE_BYTES);
    aof_write_room(l->p + l->n, l->n, end - l->n);
    return end;
}

/* In memory of exactly that length, so that the sanitizer sees a byte too many. */
static struct aof_check check(const uint8_t *p, size_t n)
{
    struct aof_check c;
    uint8_t *copy = malloc(n ? n : 1);
    memcpy(copy, p, n);
    aof_check(span_of(copy, n), 0, &c);
    free(copy);
    return c;
}

static void test_room_is_nothing_behind_groups_of_every_length(void **state)
{
    for (size_t bytes = 1; bytes < 2 * SECTOR; bytes++) {
        struct log l;
        log_begin(&l);
        log_group(&l, bytes, "v");
        assert_true(aof_may_end(l.n));
        size_t n = log_room(&l, 3);
        struct aof_check c = check(l.p, n);
        assert_int_equal(c.verdict, AOF_WHOLE);
        assert_true(c.room && !c.closed);
        assert_int_equal(c.good_bytes, l.n);
        assert_int_equal(c.text_bytes, l.n);
        assert_int_equal(c.last_group, 1);
        assert_int_equal(c.commands, 1);
        /* redis-server reads 1,023 bytes of a line at once */
        for (size_t at = l.n; at < n;) {
            const uint8_t *end = memchr(l.p + at, '\n', n - at);
            assert_true(l.p[at] == '#' && end && (size_t)(end - (l.p + at)) < 1023);
            at = (size_t)(end - l.p) + 1;
        }
        assert_false(check(l.p, l.n).room);
    }
}

static void test_cut_at_every_byte(void **state)
{
    static const char *const letters[] = {"v", "\r\n#*$BW:1a", "#", "\n"};
    for (size_t k = 0; k < 4; k++) {
        struct log l;
        size_t ends[8] = {0};
        log_begin(&l);
        ends[0] = l.n;
        for (size_t i = 1; i < 8; i++) {
            log_group(&l, i * 311 % 1500, letters[k]);
            ends[i] = l.n;
        }
        size_t bytes = log_room(&l, 3), g = 0;
        for (size_t n = ends[0]; n <= bytes; n++) {
            struct aof_check c = check(l.p, n);
            while (g < 7 && ends[g + 1] <= n)
                g++;
            assert_int_equal(c.good_bytes, ends[g]);
            assert_int_equal(c.verdict, n == ends[g] || g == 7 ? AOF_WHOLE : AOF_TORN);
        }
    }
}

/* Of the text each is damage: the last group, too, which without room would be taken for a torn one. Of the room each is seen, and costs nothing. */
static void test_flip_every_bit(void **state)
{
    struct log l;
    log_begin(&l);
    for (size_t i = 1; i < 6; i++)
        log_group(&l, i * 311 % 1500, "\r\n#*$BW:1a");
    size_t bytes = log_room(&l, 2);
    for (size_t i = 0; i < bytes * 8; i++) {
        l.p[i / 8] ^= (uint8_t)(1 << i % 8);
        struct aof_check c = check(l.p, bytes);
        l.p[i / 8] ^= (uint8_t)(1 << i % 8);
        assert_int_not_equal(c.verdict, AOF_WHOLE);
        if (i / 8 < l.n)
            assert_int_equal(c.verdict, AOF_DAMAGED);
        else
            assert_int_equal(c.good_bytes, l.n);
    }
}

/* Sectors of the last group that reached the disk are new, others as they were. */
static void tear(const struct log *new, const uint8_t *old, size_t from, size_t bytes)
{
    static uint8_t p[FILE_BYTES];
    size_t first = from / SECTOR, last = new->n / SECTOR, n = last - first + 1;
    for (unsigned set = 0; set < 1u << n; set++) {
        memcpy(p, old, bytes);
        for (size_t k = 0; k < n; k++)
            if (set >> k & 1)
                memcpy(p + (first + k) * SECTOR, new->p + (first + k) * SECTOR, SECTOR);
        /* the file may have become longer in part */
        for (size_t end = bytes; end > last * SECTOR; end -= SECTOR) {
            struct aof_check c = check(p, end);
            bool all = set + 1 == 1u << n;
            assert_int_equal(c.good_bytes, all ? new->n : from);
            assert_int_not_equal(c.verdict, AOF_DAMAGED);
            /* zeros behind it: room that did not get there */
            if (all && p[end - 1])
                assert_int_equal(c.verdict, AOF_WHOLE);
        }
    }
}

static void test_group_torn_by_sectors(void **state)
{
    static uint8_t old[FILE_BYTES];
    for (size_t start = 1; start < SECTOR + 40; start += 13) {
        for (size_t bytes = 1; bytes < 6 * SECTOR; bytes += 197) {
            struct log l;
            log_begin(&l);
            log_group(&l, start, "v");
            size_t from = l.n, end = log_room(&l, 12);
            memcpy(old, l.p, end);
            log_group(&l, bytes, "w");
            log_room(&l, 0);
            tear(&l, old, from, end); /* over room */
            for (size_t had = from; had < l.n; had += 3 * SECTOR) {
                memset(old + had, 0, end - had); /* that went so far; the file became longer */
                if (had > from)
                    aof_write_room(old + from, from, had / SECTOR * SECTOR - from);
                tear(&l, old, from, end);
            }
        }
    }
}

/* What follows the room was written by another server: kept aside, as behind any log that was not closed. */
static void test_commands_behind_room_are_a_torn_end(void **state)
{
    struct log l;
    log_begin(&l);
    log_group(&l, 100, "v");
    size_t good = l.n;
    l.n = log_room(&l, 2);
    put(&l, "*1\r\n$4\r\nPING\r\n", 14);
    struct aof_check c = check(l.p, l.n);
    assert_int_equal(c.verdict, AOF_TORN);
    assert_int_equal(c.good_bytes, good);
    assert_int_equal(c.text_bytes, l.n);
}

/* A line's end that is the last byte of its sector, from before groups ended elsewhere. */
static void test_end_of_a_group_was_taken_for_room(void **state)
{
    for (size_t bytes = 1; bytes < 2 * SECTOR; bytes++) {
        char line[AOF_LINE_BYTES];
        struct log l;
        log_begin(&l);
        size_t from = l.n;
        put(&l, line, (size_t)sprintf(line, "*2\r\n$3\r\nDEL\r\n$%zu\r\n", bytes));
        for (size_t i = 0; i < bytes; i++)
            put(&l, "#", 1);
        put(&l, "\r\n", 2);
        put(&l, line, end_line(&l, from, line));
        struct aof_check c = check(l.p, l.n);
        assert_int_equal(c.verdict, AOF_WHOLE);
        assert_int_equal(c.good_bytes, l.n);
        assert_false(c.room);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_room_is_nothing_behind_groups_of_every_length),
        cmocka_unit_test(test_cut_at_every_byte),
        cmocka_unit_test(test_flip_every_bit),
        cmocka_unit_test(test_group_torn_by_sectors),
        cmocka_unit_test(test_commands_behind_room_are_a_torn_end),
        cmocka_unit_test(test_end_of_a_group_was_taken_for_room),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
