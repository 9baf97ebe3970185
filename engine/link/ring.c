/* ring: SPSC ring of byte records in shared memory. Format in layout.h, contract in ring.h.
 *
 * Producer: ring_reserve (wrap marker and room, both beyond head, so nobody sees them) -> the caller writes the payload
 *           -> ring_publish (header, padding, CRC, then ONE release-store of head).
 * Consumer: ring_peek (acquire-load of head, every field checked) -> the caller uses the payload in place -> ring_release.
 * Threads: one producer thread, one consumer thread, in different processes or not. A process that takes a role over
 * starts where the shared index stands: what the dead one had written beyond head is overwritten, what the dead one had
 * not released is read again.
 *
 * RING_STEP(n) is where a test kills the producer; it is nothing in the product. */
#include "engine/link/ring.h"

#include <errno.h>
#include <string.h>

#include "engine/base/assert.h"
#include "engine/base/crc.h"
#include "engine/link/layout.h"

#ifdef BAREWIRE_RING_STEPS
extern void (*ring_step_hook)(int step);
#define RING_STEP(n)           \
    do {                       \
        if (ring_step_hook)    \
            ring_step_hook(n); \
    } while (0)
#else
#define RING_STEP(n) \
    do {             \
    } while (0)
#endif

#define NO_BAD_HEAD UINT64_MAX

static_assert(RING_SHM_BYTES(0) == sizeof(struct ring_shm), "data follows the three lines");

static uint64_t padded(uint64_t n)
{
    return (n + 7) & ~(uint64_t)7;
}

static uint32_t record_crc(uint32_t len, const struct ring_head *h)
{
    uint32_t seed = crc32c(0, &len, sizeof len);
    return crc32c(seed, &h->seq, sizeof *h - offsetof(struct ring_head, seq) + padded(len));
}

static uint32_t wrap_crc(uint64_t pos, uint32_t generation)
{
    uint32_t seed = crc32c(0, &generation, sizeof generation);
    return crc32c(seed, &pos, sizeof pos);
}

void ring_format(struct ring_shm *shm, uint64_t data_bytes, uint32_t generation)
{
    /* The old views of the other side see the generation move first and keep their hands off. */
    __atomic_store_n(&shm->generation, generation, __ATOMIC_SEQ_CST);
    __atomic_store_n(&shm->head, 0, __ATOMIC_RELAXED);
    __atomic_store_n(&shm->tail, 0, __ATOMIC_RELAXED);
    __atomic_store_n(&shm->data_bytes, data_bytes, __ATOMIC_RELAXED);
    __atomic_store_n(&shm->magic, RING_MAGIC, __ATOMIC_RELEASE);
}

static int attach(struct ring *r, struct ring_shm *shm, uint64_t data_bytes, bool producer)
{
    if (__atomic_load_n(&shm->magic, __ATOMIC_ACQUIRE) != RING_MAGIC ||
        __atomic_load_n(&shm->data_bytes, __ATOMIC_RELAXED) != data_bytes ||
        (data_bytes & (data_bytes - 1)) || data_bytes < 4 * sizeof(struct ring_head))
        return -EINVAL;
    uint64_t head = __atomic_load_n(&shm->head, __ATOMIC_ACQUIRE);
    uint64_t tail = __atomic_load_n(&shm->tail, __ATOMIC_ACQUIRE);
    if (head - tail > data_bytes || (head | tail) & 7)
        return -EINVAL;
    *r = (struct ring){
        .shm = shm,
        .data = (uint8_t *)shm + sizeof *shm,
        .mask = data_bytes - 1,
        .pos = producer ? head : tail,
        .peer = producer ? tail : head,
        .generation = __atomic_load_n(&shm->generation, __ATOMIC_RELAXED),
        .bad_head = NO_BAD_HEAD,
    };
    return 0;
}

int ring_attach_producer(struct ring *r, struct ring_shm *shm, uint64_t data_bytes)
{
    return attach(r, shm, data_bytes, true);
}

int ring_attach_consumer(struct ring *r, struct ring_shm *shm, uint64_t data_bytes)
{
    return attach(r, shm, data_bytes, false);
}

static bool view_is_stale(const struct ring *r)
{
    return __atomic_load_n(&r->shm->generation, __ATOMIC_RELAXED) != r->generation;
}

/* ---- producer ---- */

static bool has_room(struct ring *r, uint64_t need)
{
    uint64_t size = r->mask + 1;
    if (r->pos - r->peer <= size && size - (r->pos - r->peer) >= need)
        return true;
    /* The other side's line is touched only when what was last seen does not do. */
    uint64_t tail = __atomic_load_n(&r->shm->tail, __ATOMIC_ACQUIRE);
    if (r->pos - tail > size || tail & 7) {
        r->corrupt++; /* the consumer's index lies: nothing fits until a consumer attaches anew */
        return false;
    }
    r->peer = tail;
    return size - (r->pos - tail) >= need;
}

void *ring_reserve(struct ring *r, uint32_t len)
{
    uint64_t size = r->mask + 1, total = sizeof(struct ring_head) + padded(len);
    uint64_t at = r->pos & r->mask, skip = size - at < total ? size - at : 0;

    r->reserved_len = 0;
    if (total > size / 2 || view_is_stale(r) || !has_room(r, skip + total)) {
        r->full++;
        return NULL;
    }
    if (skip) {
        uint32_t mark[2] = {RING_WRAP, wrap_crc(r->pos, r->generation)};
        RING_STEP(0);
        memcpy(r->data + at, mark, sizeof mark);
        RING_STEP(1);
        at = 0;
    }
    r->reserved_skip = skip;
    r->reserved_len = (uint32_t)(total - sizeof(struct ring_head)) + 1; /* + 1: 0 says "none" */
    return r->data + at + sizeof(struct ring_head);
}

void ring_publish(struct ring *r, uint32_t type, uint32_t len)
{
    ASSERT(r->reserved_len && padded(len) < r->reserved_len);
    if (!r->reserved_len || padded(len) >= r->reserved_len)
        return;
    uint64_t pos = r->pos + r->reserved_skip;
    struct ring_head *h = (struct ring_head *)(r->data + (pos & r->mask));
    RING_STEP(2);
    memset((uint8_t *)(h + 1) + len, 0, padded(len) - len);
    h->len = len;
    RING_STEP(3);
    h->seq = pos;
    h->type = type;
    h->generation = r->generation;
    RING_STEP(4);
    h->crc = record_crc(len, h);
    RING_STEP(5);
    r->pos = pos + sizeof *h + padded(len);
    r->reserved_len = 0;
    __atomic_store_n(&r->shm->head, r->pos, __ATOMIC_RELEASE);
    RING_STEP(6);
}

bool ring_send(struct ring *r, uint32_t type, const void *payload, uint32_t len)
{
    void *to = ring_reserve(r, len);
    if (!to)
        return false;
    if (len)
        memcpy(to, payload, len);
    RING_STEP(7);
    ring_publish(r, type, len);
    return true;
}

/* ---- consumer ---- */

static enum ring_status corrupt(struct ring *r)
{
    r->corrupt++;
    return RING_CORRUPT;
}

enum ring_status ring_peek(struct ring *r, struct ring_record *ret)
{
    uint64_t size = r->mask + 1;
    r->peeked = 0;
    if (view_is_stale(r))
        return RING_EMPTY;
    uint64_t head = __atomic_load_n(&r->shm->head, __ATOMIC_ACQUIRE);
    r->peer = head;
    if (head == r->pos || head == r->bad_head)
        return RING_EMPTY;
    if (head - r->pos > size || head & 7)
        return corrupt(r);

    uint64_t at = r->pos & r->mask;
    uint32_t mark[2];
    memcpy(mark, r->data + at,
           sizeof mark); /* positions are multiples of 8 and head is beyond: 8 bytes are there */
    if (mark[0] == RING_WRAP) {
        if (mark[1] != wrap_crc(r->pos, r->generation) || head - r->pos <= size - at)
            return corrupt(r);
        r->pos += size - at;
        at = 0;
    }

    uint64_t avail = head - r->pos;
    if (avail > size - at)
        avail = size - at;
    if (avail < sizeof(struct ring_head))
        return corrupt(r);
    const struct ring_head *h = (const struct ring_head *)(r->data + at);
    uint32_t len = __atomic_load_n(&h->len, __ATOMIC_RELAXED);
    if (len == RING_WRAP || padded(len) > avail - sizeof *h || h->seq != r->pos ||
        h->generation != r->generation || h->crc != record_crc(len, h))
        return corrupt(r);
    r->peeked = (uint32_t)(sizeof *h + padded(len));
    *ret = (struct ring_record){h->type, h->seq, span_of(h + 1, len)};
    return RING_RECORD;
}

void ring_release(struct ring *r)
{
    ASSERT(r->peeked);
    r->pos += r->peeked;
    r->peeked = 0;
    if (!view_is_stale(r))
        __atomic_store_n(&r->shm->tail, r->pos, __ATOMIC_RELEASE);
}

void ring_pass(struct ring *r)
{
    ASSERT(r->peeked);
    r->pos += r->peeked;
    r->peeked = 0;
}

void ring_give_back(struct ring *r)
{
    if (!view_is_stale(r))
        __atomic_store_n(&r->shm->tail, r->pos, __ATOMIC_RELEASE);
}

void ring_resync(struct ring *r)
{
    uint64_t head = __atomic_load_n(&r->shm->head, __ATOMIC_ACQUIRE);
    r->peeked = 0;
    if (view_is_stale(r))
        return;
    /* A head that can not be true is waited out: the producer knows its own position, and its next publish says it again. */
    if (head - r->pos > r->mask + 1 || head & 7) {
        r->bad_head = head;
        return;
    }
    r->bad_head = NO_BAD_HEAD;
    r->pos = head;
    __atomic_store_n(&r->shm->tail, r->pos, __ATOMIC_RELEASE);
}

uint64_t ring_backlog(const struct ring *r)
{
    uint64_t n = __atomic_load_n(&r->shm->head, __ATOMIC_ACQUIRE) -
                 __atomic_load_n(&r->shm->tail, __ATOMIC_ACQUIRE);
    return n <= r->mask + 1 ? n : 0;
}
