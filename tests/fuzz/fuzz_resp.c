/* RESP requests under libFuzzer: the stream is parsed whole, and again cut in ways that the input chooses; the two
 * transcripts must be equal. Every run of bytes is a block of exactly its size, so a sanitizer sees each byte
 * read beyond it.
 *
 * Input: [ number of cuts | arena | limits | ] then the stream. */
#include <stdio.h>
#include <stdlib.h>

#include "engine/base/assert.h"
#include "engine/base/limits.h"
#include "tests/fuzz/fuzz.h"
#include "tests/unit/resp/transcript.h"

#define HEAD_BYTES 3
#define CUTS_MAX   16

static int by_position(const void *a, const void *b)
{
    size_t x = *(const size_t *)a, y = *(const size_t *)b;
    return (x > y) - (x < y);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    static struct mem mem;
    static bool ready;
    if (!ready)
        ready = mem_init(&mem) == 0;
    CHECK(ready);
    if (n < HEAD_BYTES)
        return 0;
    size_t ncuts = data[0] % (CUTS_MAX + 1), cap = data[1] % 16 + 1u, cuts[CUTS_MAX];
    const struct resp_limits lim = {
        .max_bulk_bytes = data[2] & 1 ? 64 : 512 << 20,
        .max_query_bytes = 1 << 30,
        .authenticated = !(data[2] & 2),
    };
    uint64_t seed = data[0] * 0x9e3779b97f4a7c15u + n + 1;
    data += HEAD_BYTES;
    n -= HEAD_BYTES;
    for (size_t i = 0; i < ncuts; i++) {
        seed = seed * 6364136223846793005u + 1442695040888963407u;
        cuts[i] = (size_t)(seed >> 33) % (n + 1);
    }
    qsort(cuts, ncuts, sizeof(cuts[0]), by_position);

    /* Kept between inputs: the sanitizer's malloc is what takes the time. */
    static struct transcript whole, cut;
    whole.len = cut.len = 0;
    struct resp_parser p;
    resp_parser_init(&p, &mem);
    transcript_run(&whole, &p, &lim, data, n, NULL, 0, LIMIT_BATCH_ARGS);
    resp_parser_fini(&p);
    resp_parser_init(&p, &mem);
    transcript_run(&cut, &p, &lim, data, n, cuts, ncuts, cap);
    resp_parser_fini(&p);
    CHECK(whole.len == cut.len && memcmp(whole.p, cut.p, whole.len) == 0);
    CHECK(mem.used_bytes == 0);
    return 0;
}
