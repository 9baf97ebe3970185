/* Big-endian integers as struct types: a forgotten byte swap does not compile. */
#pragma once

#include <stdint.h>

typedef struct {
    uint16_t raw;
} __attribute__((packed)) be16_t;
typedef struct {
    uint32_t raw;
} __attribute__((packed)) be32_t;

static inline be16_t be16(uint16_t v)
{
    return (be16_t){__builtin_bswap16(v)};
}
static inline be32_t be32(uint32_t v)
{
    return (be32_t){__builtin_bswap32(v)};
}
static inline uint16_t from_be16(be16_t v)
{
    return __builtin_bswap16(v.raw);
}
static inline uint32_t from_be32(be32_t v)
{
    return __builtin_bswap32(v.raw);
}
