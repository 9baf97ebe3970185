/* fieldmap_dir.c: the way from a position to a page.
 *
 *   no chunk       top is the word of the only page
 *   one chunk      top -> 2^chunk_bits words, 3 to 9 bits
 *   root           top -> 2^root_bits words -> chunks of 2^9 words; chunk of depth d: 2^(root_bits - d) words of the root lead to it
 *
 * The chunks form an extendible hash of their own: one that is too shallow splits (8 KB are written), and the root, which has a 512th of
 * the words of a plain directory, doubles at once. */
#include "engine/ds/fieldmap_internal.h"

void *fm_alloc(struct fieldmap *fm, size_t n)
{
    void *p = mem_alloc_aligned(fm->mem, n, FM_ALIGN);
    if (p)
        fm->bytes += n;
    return p;
}

void fm_free(struct fieldmap *fm, void *p, size_t n)
{
    mem_free_aligned(fm->mem, p, n, FM_ALIGN);
    fm->bytes -= n;
}

static uint64_t *words_of(uint64_t v)
{
    return (uint64_t *)(uintptr_t)(v & ~63ull);
}

static size_t root_bytes(uint32_t bits)
{
    return bits < FM_CHUNK_MIN ? FM_ALIGN : sizeof(uint64_t) << bits;
}

/* The chunk of a position, and its depth. */
static uint64_t *chunk_at(const struct fieldmap *fm, uint64_t pos, uint32_t *depth)
{
    *depth = 0;
    if (!fm->root_bits)
        return words_of(fm->top);
    uint64_t c = words_of(fm->top)[pos >> (64 - fm->root_bits)];
    *depth = (uint32_t)(c & 63);
    return words_of(c);
}

void fm_dir_set(struct fieldmap *fm, uint64_t pos, uint64_t w)
{
    uint32_t depth = fm_depth(w), at;
    if (!fm->chunk_bits) {
        fm->top = w;
        return;
    }
    uint64_t end = fm_behind(pos, depth);
    pos = fm_first(pos, depth);
    do {
        uint64_t *v = chunk_at(fm, pos, &at);
        uint32_t bits = fm->chunk_bits;
        size_t i = (pos << at) >> (64 - bits);
        size_t n = depth <= at ? (size_t)1 << bits : (size_t)1 << (at + bits - depth);
        for (size_t k = 0; k < n; k++)
            v[i + k] = w;
        pos = fm_behind(pos, depth > at ? depth : at);
    } while (pos != end);
}

/* ---- growing ---- */

static bool first_chunk(struct fieldmap *fm)
{
    uint64_t *v = fm_alloc(fm, sizeof(*v) << FM_CHUNK_MIN);
    if (!v)
        return false;
    for (size_t i = 0; i < 1u << FM_CHUNK_MIN; i++)
        v[i] = fm->top;
    fm->top = (uint64_t)(uintptr_t)v;
    fm->chunk_bits = FM_CHUNK_MIN;
    return true;
}

static bool double_chunk(struct fieldmap *fm)
{
    size_t n = (size_t)1 << fm->chunk_bits;
    uint64_t *old = words_of(fm->top), *v = fm_alloc(fm, 2 * n * sizeof(*v));
    if (!v)
        return false;
    for (size_t i = 0; i < 2 * n; i++)
        v[i] = old[i / 2];
    fm_free(fm, old, n * sizeof(*v));
    fm->top = (uint64_t)(uintptr_t)v;
    fm->chunk_bits++;
    return true;
}

static bool double_root(struct fieldmap *fm)
{
    uint32_t bits = fm->root_bits;
    uint64_t *old = words_of(fm->top), *v = fm_alloc(fm, root_bytes(bits + 1));
    if (!v)
        return false;
    for (size_t i = 0; i < (size_t)2 << bits; i++)
        v[i] = bits ? old[i / 2] : fm->top; /* the first root leads to the only chunk, of depth 0 */
    if (bits)
        fm_free(fm, old, root_bytes(bits));
    fm->top = (uint64_t)(uintptr_t)v;
    fm->root_bits++;
    return true;
}

/* The chunk of pos becomes two of the next depth. */
static bool split_chunk(struct fieldmap *fm, uint64_t pos)
{
    uint32_t depth, half = 1u << (FM_CHUNK_BITS - 1);
    uint64_t *low = chunk_at(fm, pos, &depth), *high = fm_alloc(fm, sizeof(*high) * 2 * half);
    if (!high)
        return false;
    for (size_t i = 0; i < 2 * half; i++)
        high[i] = low[half + i / 2];
    for (size_t i = 2 * half; i-- > 0;)
        low[i] = low[i / 2];
    uint64_t *root = words_of(fm->top);
    size_t n = (size_t)1 << (fm->root_bits - depth), i = pos >> (64 - fm->root_bits) & ~(n - 1);
    for (size_t k = 0; k < n; k++)
        root[i + k] = (uint64_t)(uintptr_t)(k < n / 2 ? low : high) | (depth + 1);
    return true;
}

bool fm_dir_deepen(struct fieldmap *fm, uint64_t pos, uint32_t depth)
{
    if (!fm->chunk_bits && !first_chunk(fm))
        return false;
    while (!fm->root_bits && fm->chunk_bits < FM_CHUNK_BITS && fm->chunk_bits < depth)
        if (!double_chunk(fm))
            return false;
    for (;;) {
        uint32_t at;
        chunk_at(fm, pos, &at);
        if (at + fm->chunk_bits >= depth)
            return true;
        if (at == fm->root_bits && !double_root(fm))
            return false;
        if (!split_chunk(fm, pos))
            return false;
    }
}

/* ---- shrinking ---- */

static size_t count_chunks(const struct fieldmap *fm)
{
    size_t n = 0;
    for (uint64_t pos = 0;;) {
        uint32_t at;
        chunk_at(fm, pos, &at);
        n++;
        pos = fm_behind(pos, at);
        if (!pos)
            return n;
    }
}

void fm_dir_free(struct fieldmap *fm)
{
    if (!fm->chunk_bits)
        return;
    if (!fm->root_bits) {
        fm_free(fm, words_of(fm->top), sizeof(uint64_t) << fm->chunk_bits);
    } else {
        for (uint64_t pos = 0;;) {
            uint32_t at;
            uint64_t *v = chunk_at(fm, pos, &at);
            fm_free(fm, v, sizeof(uint64_t) << FM_CHUNK_BITS);
            pos = fm_behind(pos, at);
            if (!pos)
                break;
        }
        fm_free(fm, words_of(fm->top), root_bytes(fm->root_bits));
    }
    fm->chunk_bits = fm->root_bits = 0;
    fm->top = 0;
}

/* Builds a directory for the pages that are there and drops the old one: work in proportion to the pages, after at least as many
 * merges. */
void fm_dir_trim(struct fieldmap *fm)
{
    if (!fm->chunk_bits)
        return;
    size_t words = (fm->root_bits ? count_chunks(fm) : 1) << fm->chunk_bits;
    if (fm->pages > 1 && (size_t)fm->pages * 32 > words)
        return;
    struct fieldmap fresh = {.mem = fm->mem};
    for (uint64_t pos = 0;;) {
        uint64_t w = fm_dir_get(fm, pos);
        if (fm_depth(w) && !fm_dir_deepen(&fresh, pos, fm_depth(w)))
            goto no_memory;
        fm_dir_set(&fresh, pos, w);
        pos = fm_behind(pos, fm_depth(w));
        if (!pos)
            break;
    }
    fm_dir_free(fm);
    fm->top = fresh.top;
    fm->root_bits = fresh.root_bits;
    fm->chunk_bits = fresh.chunk_bits;
    fm->bytes += fresh.bytes;
    return;
no_memory: /* it stays as large as it is */
    fm_dir_free(&fresh);
}

bool fm_dir_clone(struct fieldmap *to, const struct fieldmap *from)
{
    for (uint64_t pos = 0; from->chunk_bits;) {
        uint32_t at;
        chunk_at(from, pos, &at);
        if (!fm_dir_deepen(to, pos, at + from->chunk_bits)) {
            fm_dir_free(to);
            return false;
        }
        pos = fm_behind(pos, at);
        if (!pos)
            break;
    }
    return true;
}
