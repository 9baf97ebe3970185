/* aof: the text of append-only files.
 *
 *   #BAREWIRE-AOF:1:<first group>:<crc32c>\r\n                  first line of a file that we began
 *   *3\r\n$3\r\nSET\r\n ...                                      commands, as requests are written; lines that start with '#' are no commands
 *   #BS:<generation>:<shard>=<sequence>,...\r\n                  what the group holds of each shard's journal
 *   #BW:<group>:<length>:<durable>:<crc32c>\r\n                  end of the group
 *
 * redis-server 7.0 and redis-check-aof skip the lines with '#'. A group is what was written at once: `length` bytes before its end line,
 * whose crc32c covers them and the line up to itself. Groups count up by one through all files of a server. `durable`: the last group
 * that had been fsynced when the line was made: damage in a group at or before one that a later line calls durable is damage, what is broken
 * behind it is a torn tail and is cut at the end of the last whole group. A group of length 0 ends a file that was closed; what follows it
 * was written by another server.
 *
 * A file without our first line is Redis's own (pre-7, with or without an RDB in front; increment of 7): whole commands count there, and a
 * MULTI with its EXEC.
 *
 * Room: behind the last group of a file that is being written there may be bytes that the next groups are written over, so that the file becomes no longer with each.
 * They depend on nothing but where they stand, and to every reader they are lines with '#':
 *
 *   sector 0 (512 bytes)                 sector 1                  sector 2
 *   ... #BW:7:420:6:1c2d3e4f\r\n####\n   ###############...####\n   ###############...####\n
 *
 * A disk writes sectors whole: of a group that a power cut tore some are as they were, room (or zeros, when the file was made longer with that group). No group ends
 * where its sector does or one byte before, so the text of a whole group goes over into room in the middle of a sector, after none that is room. Where it does
 * and makes no sense it is damaged, and not torn.
 *
 * Everything here is over bytes in memory (a mapped file). No thread of its own. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "engine/base/bytes.h"

#define AOF_LINE_BYTES   1000 /* redis-server reads a line with '#' into 1024 bytes */
#define AOF_SECTOR_BYTES 512
#define AOF_HEAD_WORD    "#BAREWIRE-AOF:1:"

/* ---- writing ---- */

/* Each returns the bytes written to `to`, which has AOF_LINE_BYTES. */
size_t aof_write_head(char *to, uint64_t first_group);
/* Begins "#BS:<generation>:"; then as many pairs as fit; then the end. 0 from aof_write_shard: no room, end this line, begin another. */
size_t aof_write_shards(char *to, uint32_t generation);
size_t aof_write_shard(char *to, size_t at, uint32_t shard, uint64_t seq);
/* `crc`: crc32c(0, ...) of the group's `length` bytes. */
size_t aof_write_end(char *to, uint64_t group, uint64_t length, uint64_t durable, uint32_t crc);
/* Whether a group may end at that offset of its file. If not, it may three bytes further on. */
bool aof_may_end(uint64_t at);
/* A line that says nothing, for a group that ends where it may not. */
#define AOF_FILLER "#\r\n"
/* Room of n bytes from offset `at` of a file. */
void aof_write_room(uint8_t *to, uint64_t at, size_t n);

/* ---- reading ---- */

enum aof_verdict {
    AOF_WHOLE,
    AOF_TORN,   /* whole up to good_bytes; the rest was never finished */
    AOF_DAMAGED /* bad_at, bad_group, why */
};

struct aof_check {
    enum aof_verdict verdict;
    bool ours;            /* has our first line */
    bool closed;          /* ours, and its last group says that it was closed */
    bool room;            /* ours, and there is some behind text_bytes */
    uint64_t rdb_bytes;   /* length of what is in front of the commands (the caller's knowledge) */
    uint64_t good_bytes;  /* from the start of the file */
    uint64_t text_bytes;  /* behind them there is nothing but room; ours only, else all */
    uint64_t bad_at;      /* where the first byte is that makes no sense */
    uint64_t first_group; /* of the first line; ours only */
    uint64_t last_group;  /* the last whole one; first_group - 1: none */
    uint64_t bad_group;   /* the group that is torn or damaged; 0: not ours */
    uint64_t commands;    /* in good_bytes */
    char why[120];
};

/* Looks at the whole file: structure, checksums, sequence. `from`: where the commands begin (behind an RDB). */
void aof_check(struct span file, uint64_t from, struct aof_check *ret);

/* Bytes that lie at offset `at` of a file of ours: how many of them stand before the room that they end with. */
size_t aof_before_room(struct span p, uint64_t at);

/* The request or the line at `at` of bytes that aof_check called good. Returns its length; 0: the end. `*ret_argc` is 0 for a line with '#'. argv
 * has room for `cap`: what is beyond is left out. */
size_t aof_next(struct span file, uint64_t at, struct span *argv, uint32_t cap, uint32_t *ret_argc);

/* The pairs of a "#BS:" line: calls fn for each. False: it is no such line. */
bool aof_read_shards(struct span line, uint32_t *ret_generation,
                     void (*fn)(void *ctx, uint32_t shard, uint64_t seq), void *ctx);
