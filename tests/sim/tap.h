/* tap: what must hold for every segment that a stack sends, checked from what was seen on the wire
 * and from what the sender has heard, not from the sender's own opinion (but for cwnd, which only it
 * knows):
 *   - headers whole, checksums right (by an own, naive sum), no more than the peer's MSS
 *   - data ends at most one octet beyond the largest right edge that the sender has heard
 *   - new data: bytes in the network at most cwnd and a segment for each of two duplicate ACKs (RFC 3042)
 *   - an octet of the sequence space never changes between its first sending and its acknowledgment
 *   - the right edge of the offered window never moves left, ACK numbers never move back, and never
 *     acknowledge what the peer has not sent
 *   - nothing beyond FIN, and FIN never moves */
#pragma once

#include "tests/sim/sim.h"

struct tap;
struct tap *tap_new(struct sim *s);
void tap_free(struct tap *t);
/* Called by sim.c; s->tap may be NULL. p: the frame as it goes to the wire. */
void tap_sent(struct sim *s, struct sim_node *from, const uint8_t *p, uint32_t len);
void tap_heard(struct sim *s, struct sim_node *by, const uint8_t *p, uint32_t len);
void tap_describe(const struct sim_log *log, char *line, size_t cap);
/* RFC 1071 word by word, ready to be stored; `sum`: to start from. */
uint16_t tap_checksum(const uint8_t *p, uint32_t len, uint32_t sum);
uint64_t tap_segments(const struct tap *t);
