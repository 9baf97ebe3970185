/* lzf_expand against liblzf: what that compressed comes back, damaged input ends as it ends there, and nothing is touched beyond the room. */
#include <liblzf/lzf.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "engine/base/assert.h"
#include "engine/base/lzf.h"
#include "tests/unit/unit.h"

#define PAGE    4096
#define LONGEST (4 * PAGE)

static uint64_t seed = 1;
static uint64_t draw(void)
{
    seed ^= seed << 13;
    seed ^= seed >> 7;
    seed ^= seed << 17;
    return seed * 0x2545f4914f6cdd1dull;
}

/* Memory behind which no page is. */
static uint8_t *before_a_wall(void)
{
    uint8_t *p =
        mmap(NULL, LONGEST + PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    assert_true(p != MAP_FAILED);
    assert_int_equal(mprotect(p + LONGEST, PAGE, PROT_NONE), 0);
    return p + LONGEST;
}

/* Runs of one byte, copies from before at all distances, noise. */
static void make_text(uint8_t *p, size_t n)
{
    size_t kind = draw() % 4;
    for (size_t at = 0; at < n;) {
        size_t run = 1 + draw() % (kind == 0 ? 300 : 40),
               back = 1 + draw() % (kind == 1 ? 9 : 9000);
        bool copies = draw() % 4 && at >= back;
        uint8_t noise = (uint8_t)draw();
        for (; run && at < n; run--, at++)
            p[at] = copies ? p[at - back] : kind == 2 ? noise : (uint8_t)draw();
    }
}

static void test_round_trips(void **state)
{
    uint8_t text[LONGEST], packed[LONGEST], *in_wall = before_a_wall(), *out_wall = before_a_wall();
    size_t compressed = 0;
    for (int i = 0; i < 20000; i++) {
        size_t n = 5 + draw() % (i % 10 ? 500 : LONGEST - 100);
        make_text(text, n);
        size_t to = lzf_compress(text, (unsigned)n, packed, (unsigned)n - 1);
        if (!to)
            continue;
        compressed++;
        memcpy(in_wall - to, packed, to);
        assert_int_equal(lzf_expand(in_wall - to, to, out_wall - n, n), n);
        assert_memory_equal(out_wall - n, text, n);
        assert_int_equal(lzf_expand(in_wall - to, to, out_wall - n, n - 1), 0);
        assert_int_equal(lzf_expand(in_wall - to, to, out_wall - n - 40, n + 40), n);
    }
    assert_true(compressed > 5000);
}

static void test_damaged_as_liblzf_takes_it(void **state)
{
    uint8_t text[600], packed[600], theirs[600], *in_wall = before_a_wall(),
                                                 *out_wall = before_a_wall();
    size_t refused = 0, taken = 0;
    for (int i = 0; i < 100000; i++) {
        size_t n = 40 + draw() % 500, room = draw() % 600;
        make_text(text, n);
        size_t to = lzf_compress(text, (unsigned)n, packed, (unsigned)n - 1);
        if (!to || i % 3 == 0)
            for (to = 1 + draw() % 60, n = 0; n < to; n++)
                packed[n] = (uint8_t)(draw() % 2 ? draw() : draw() % 40);
        for (int flips = (int)(draw() % 3); flips; flips--)
            packed[draw() % to] ^= (uint8_t)(1u << draw() % 8);
        to -= draw() % 4 == 0 && to > 1;
        memcpy(in_wall - to, packed, to);
        size_t want = room ? lzf_decompress(packed, (unsigned)to, theirs, (unsigned)room) : 0;
        size_t got = lzf_expand(in_wall - to, to, out_wall - room, room);
        assert_int_equal(got, want);
        assert_memory_equal(out_wall - room, theirs, got);
        got ? taken++ : refused++;
    }
    assert_true(taken > 1000 && refused > 1000);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_round_trips),
        cmocka_unit_test(test_damaged_as_liblzf_takes_it),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
