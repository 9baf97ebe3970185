/* Checksums. crc16: XMODEM (poly 0x1021), the cluster slot function of Redis. crc32c: Castagnoli,
 * SSE4.2 where the CPU has it; guards link records and the journal. */
#pragma once

#include <stddef.h>
#include <stdint.h>

uint16_t crc16(const void *p, size_t n);
uint32_t crc32c(uint32_t seed, const void *p, size_t n);
/* Slot 0..16383 of a key, hash tags {..} honoured (Redis cluster specification). */
uint16_t key_slot(const void *key, size_t n);
