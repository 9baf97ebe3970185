/* ring: single-producer single-consumer ring of byte records in memory that two processes share.
 *
 *   [ head line: producer ][ tail line: consumer ][ data, a power of two ]
 *   record: u32 len | u32 crc32c(len, seq, type, generation, payload, padding) | u64 seq | u32 type | u32 generation | payload, padded to 8
 *
 * A record exists from one release-store of `head` on; a producer killed before it leaves nothing. Offsets only, no pointers.
 * The consumer trusts nothing: positions, lengths, sequence, generation and CRC are checked before a byte is handed out.
 * A record that fails is reported as RING_CORRUPT (with a counter); the consumer then calls ring_resync, which skips to the
 * producer's head: never a spin, never an unpublished record. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "engine/base/bytes.h"

struct ring_shm; /* layout in layout.h: head, tail, size, generation */

struct ring { /* one side's view; private memory of the process */
    struct ring_shm *shm;
    uint8_t *data;
    uint64_t mask;
    uint64_t pos;  /* my own index: head for the producer, tail for the consumer */
    uint64_t peer; /* last seen index of the other side */
    uint32_t generation;
    uint64_t corrupt, full;
    uint64_t bad_head; /* consumer: a head that made no sense and was given up; UINT64_MAX: none */
    uint32_t reserved_len, peeked;
    uint64_t reserved_skip;
};

struct ring_record {
    uint32_t type;
    uint64_t seq; /* position of the record in the ring's stream of bytes: grows, but not by one */
    struct span payload; /* in the ring, valid until ring_release */
};

enum ring_status { RING_EMPTY, RING_RECORD, RING_CORRUPT };

/* Bytes of a ring in shared memory: its three lines and the data. `shm` is 64-aligned. */
#define RING_SHM_BYTES(data_bytes) (192 + (size_t)(data_bytes))

/* Formats the shared part (the creator of the link, before anyone attaches). */
void ring_format(struct ring_shm *shm, uint64_t data_bytes, uint32_t generation);
/* Attaches as producer or consumer; takes over where the last process of that role published. -EINVAL: not a sane ring. */
int ring_attach_producer(struct ring *r, struct ring_shm *shm, uint64_t data_bytes);
int ring_attach_consumer(struct ring *r, struct ring_shm *shm, uint64_t data_bytes);

/* Room for a payload of up to `len` bytes, 8-aligned; NULL: full (counted), or longer than half the ring, which never fits.
 * Nothing is visible until ring_publish. A reserve without a publish is forgotten by the next one. */
void *ring_reserve(struct ring *r, uint32_t len);
void ring_publish(struct ring *r, uint32_t type, uint32_t len);
/* reserve + copy + publish. */
bool ring_send(struct ring *r, uint32_t type, const void *payload, uint32_t len);

/* The next record; the same one again until ring_release. A view of an older generation than the ring's sees it empty. */
enum ring_status ring_peek(struct ring *r, struct ring_record *ret);
void ring_release(struct ring *r);
/* For a consumer that keeps several records until all of them are done with: ring_pass goes on to the next one, ring_give_back gives back all that were
 * passed. One that dies in between leaves them to the next. */
void ring_pass(struct ring *r);
void ring_give_back(struct ring *r);
void ring_resync(struct ring *r);
/* Bytes published and not yet released. */
uint64_t ring_backlog(const struct ring *r);
