/* flow: see flow.h. */
#include "dataplane/net/flow.h"

#include <errno.h>
#include <sys/mman.h>

#include "engine/base/assert.h"

int flow_init(struct flow *f, uint32_t max, const void *keys, size_t stride,
              const struct siphash_key *secret)
{
    uint64_t buckets = 4;
    while (buckets * FLOW_WAYS * 2 < (uint64_t)max * 3)
        buckets *= 2;
    *f = (struct flow){.mask = (uint32_t)buckets - 1,
                       .bytes = buckets * sizeof(struct flow_bucket),
                       .keys = keys,
                       .stride = stride,
                       .secret = *secret};
    /* Anonymous pages: zero, and resident only once they are used. */
    void *p = mmap(NULL, f->bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (p == MAP_FAILED)
        return -ENOMEM;
    madvise(p, f->bytes, MADV_HUGEPAGE); /* touched at random */
    f->bucket = p;
    return 0;
}

void flow_fini(struct flow *f)
{
    if (f->bucket)
        munmap(f->bucket, f->bytes);
    f->bucket = NULL;
}

uint32_t flow_find(const struct flow *f, const struct flow_key *key, uint64_t hash)
{
    uint8_t tag = flow_tag(hash);
    for (uint32_t i = (uint32_t)hash & f->mask;; i = (i + 1) & f->mask) {
        const struct flow_bucket *b = &f->bucket[i];
        for (unsigned m = flow_match(b, tag); m; m &= m - 1) {
            uint32_t index = b->index[__builtin_ctz(m)];
            const void *k = f->keys + (size_t)index * f->stride;
            if (flow_key_equal(k, key))
                return index;
        }
        if (!b->overflow)
            return FLOW_NONE;
    }
}

uint32_t flow_find6(const struct flow *f, const struct flow_key *key, uint64_t hash,
                    struct ip_addr peer)
{
    uint8_t tag = flow_tag(hash);
    for (uint32_t i = (uint32_t)hash & f->mask;; i = (i + 1) & f->mask) {
        const struct flow_bucket *b = &f->bucket[i];
        for (unsigned m = flow_match(b, tag); m; m &= m - 1) {
            uint32_t index = b->index[__builtin_ctz(m)];
            const void *k = f->keys + (size_t)index * f->stride;
            if (flow_key_equal(k, key) &&
                ip_equal(ip_load(f->peers6 + (size_t)index * f->stride6), peer))
                return index;
        }
        if (!b->overflow)
            return FLOW_NONE;
    }
}

/* The caller has no more entries than flow_init's max, so an empty way always exists. */
void flow_insert(struct flow *f, uint64_t hash, uint32_t index)
{
    for (uint32_t i = (uint32_t)hash & f->mask;; i = (i + 1) & f->mask) {
        struct flow_bucket *b = &f->bucket[i];
        unsigned m = flow_match(b, 0);
        if (m) {
            unsigned w = (unsigned)__builtin_ctz(m);
            b->tag[w] = flow_tag(hash);
            b->index[w] = index;
            f->count++;
            return;
        }
        b->overflow++;
    }
}

void flow_remove(struct flow *f, uint64_t hash, uint32_t index)
{
    uint32_t home = (uint32_t)hash & f->mask, at = home;
    uint8_t tag = flow_tag(hash);
    for (uint32_t left = f->mask + 1; left > 0; left--, at = (at + 1) & f->mask) {
        struct flow_bucket *b = &f->bucket[at];
        for (unsigned m = flow_match(b, tag); m; m &= m - 1) {
            unsigned w = (unsigned)__builtin_ctz(m);
            if (b->index[w] != index)
                continue;
            b->tag[w] = 0;
            f->count--;
            for (uint32_t i = home; i != at; i = (i + 1) & f->mask)
                f->bucket[i].overflow--;
            return;
        }
    }
}
