/* Lines of append-only files that are not commands. Format in aof.h. In the flow: the writer thread of control/store. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "engine/base/crc.h"
#include "engine/log/aof.h"

static size_t sealed(char *to, size_t n, uint32_t seed)
{
    return n + (size_t)sprintf(to + n, "%08x\r\n", crc32c(seed, to, n));
}

size_t aof_write_head(char *to, uint64_t first_group)
{
    return sealed(to, (size_t)sprintf(to, AOF_HEAD_WORD "%" PRIu64 ":", first_group), 0);
}

size_t aof_write_shards(char *to, uint32_t generation)
{
    return (size_t)sprintf(to, "#BS:%" PRIu32 ":", generation);
}

size_t aof_write_shard(char *to, size_t at, uint32_t shard, uint64_t seq)
{
    if (at > AOF_LINE_BYTES - 48)
        return 0;
    return at + (size_t)sprintf(to + at, "%" PRIu32 "=%" PRIu64 ",", shard, seq);
}

size_t aof_write_end(char *to, uint64_t group, uint64_t length, uint64_t durable, uint32_t crc)
{
    return sealed(
        to, (size_t)sprintf(to, "#BW:%" PRIu64 ":%" PRIu64 ":%" PRIu64 ":", group, length, durable),
        crc);
}

bool aof_may_end(uint64_t at)
{
    return at % AOF_SECTOR_BYTES != 0 && at % AOF_SECTOR_BYTES != AOF_SECTOR_BYTES - 1;
}

void aof_write_room(uint8_t *to, uint64_t at, size_t n)
{
    memset(to, '#', n);
    for (size_t i = AOF_SECTOR_BYTES - 1 - at % AOF_SECTOR_BYTES; i < n; i += AOF_SECTOR_BYTES)
        to[i] = '\n';
}
