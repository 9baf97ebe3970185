/* found: entries that a walk over the keyspace came by, to be answered once their number is known. Valid until the keyspace
 * changes. */
#pragma once

#include "engine/cmd/cmd.h"

struct found {
    struct mem *mem;
    struct entry **v;
    size_t n, cap;
    bool failed; /* no memory: later entries are not kept */
};

static inline void found_add(struct found *f, struct entry *e)
{
    if (f->n == f->cap) {
        size_t cap = f->cap ? f->cap * 2 : 64;
        void *v = f->failed
                      ? NULL
                      : mem_realloc(f->mem, f->v, f->cap * sizeof(*f->v), cap * sizeof(*f->v));
        if (!v) {
            f->failed = true;
            return;
        }
        f->v = v;
        f->cap = cap;
    }
    f->v[f->n++] = e;
}

static inline void found_free(struct found *f)
{
    if (f->v)
        mem_free(f->mem, f->v, f->cap * sizeof(*f->v));
}
