/* snapshot_out.c: the bytes of a snapshot that wait until the worker has sent them. See snapshot.h. */
#include <string.h>

#include "engine/base/assert.h"
#include "engine/shard/shard_internal.h"
#include "engine/shard/snapshot_internal.h"

#define OUTPUT_KEEP (1u << 20)  /* a larger empty block is given back */
#define EARLY_BYTES (64u << 10) /* of a block of early entries, and then the next one is begun */

void snapshot_note_size(struct snapshot *sn)
{
    uint64_t waits = sn->out.out.len - sn->sent + sn->early.out.len + sn->block_bytes;
    if (waits > sn->most_bytes)
        sn->most_bytes = waits;
    if (sn->out.failed || sn->early.failed || waits > LIMIT_SNAPSHOT_WAIT_BYTES)
        sn->failed = sn->muted = true;
}

void snapshot_early_end(struct snapshot *sn)
{
    struct snapshot_block *b;
    if (sn->early.out.len >= EARLY_BYTES && (b = mem_alloc(sn->mem, sizeof(*b))) != NULL) {
        *b = (struct snapshot_block){.b = sn->early.out};
        if (sn->last_block)
            sn->last_block->next = b;
        else
            sn->blocks = b;
        sn->last_block = b;
        sn->block_bytes += b->b.len;
        sn->early.out = (struct mem_block){0};
        sn->early_db = -1;
    }
    snapshot_note_size(sn);
}

/* The first block becomes the output, whose own is empty. */
static void take_block(struct snapshot *sn)
{
    struct snapshot_block *b = sn->blocks;
    rdb_writer_free(&sn->out);
    sn->out.out = b->b;
    sn->out_db = -1;
    sn->blocks = b->next;
    if (!sn->blocks)
        sn->last_block = NULL;
    sn->block_bytes -= b->b.len;
    mem_free(sn->mem, b, sizeof(*b));
}

static void take_early(struct snapshot *sn)
{
    struct rdb_writer empty = sn->out;
    sn->out = sn->early;
    sn->out_db = sn->early_db;
    sn->early = empty;
    sn->early.out.len = 0;
    sn->early_db = -1;
}

struct span snapshot_output(struct shard *s, bool *ret_whole)
{
    struct snapshot *sn = s->snapshot;
    *ret_whole = !sn->in_value;
    if (sn->muted)
        return span_of("", 0);
    if (sn->sent == sn->out.out.len && !sn->in_value && (sn->blocks || sn->early.out.len)) {
        if (sn->blocks)
            take_block(sn);
        else
            take_early(sn);
        sn->sent = 0;
    }
    return span_of(sn->out.out.p + sn->sent, sn->out.out.len - sn->sent);
}

static void shrink(struct rdb_writer *w)
{
    w->out.len = 0;
    if (w->out.cap > OUTPUT_KEEP)
        rdb_writer_free(w);
}

void snapshot_sent(struct shard *s, size_t n)
{
    struct snapshot *sn = s->snapshot;
    sn->sent += n;
    ASSERT(sn->sent <= sn->out.out.len);
    size_t left = sn->out.out.len - sn->sent;
    if (left) { /* to the front: else the block would grow with all that was ever sent */
        if (left <= sn->sent) {
            memmove(sn->out.out.p, sn->out.out.p + sn->sent, left);
            sn->out.out.len = left;
            sn->sent = 0;
        }
        return;
    }
    sn->sent = 0;
    shrink(&sn->out);
    if (!sn->in_value)
        sn->out_db = -1; /* what follows may stand behind another worker's keys */
}

void snapshot_output_free(struct shard *s)
{
    struct snapshot *sn = s->snapshot;
    while (sn->blocks)
        take_block(sn);
    rdb_writer_free(&sn->out);
    rdb_writer_free(&sn->early);
}
