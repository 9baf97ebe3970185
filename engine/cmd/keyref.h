/* keyref: where a key of a command lives. What the data commands (string.c, key.c and their neighbours) share. */
#pragma once

#include "engine/cmd/cmd.h"
#include "engine/shard/entry_inline.h"

struct keyref {
    struct shard *shard;
    struct span key;
    uint64_t hash;
};

/* The command's first key: the router has found its shard and hashed it. */
static inline struct keyref keyref_first(const struct cmd *c, uint32_t i)
{
    return (struct keyref){c->shard, c->argv[i], c->hash};
}

/* Any other key. A part of a split was given keys of its own shard only. */
static inline struct keyref keyref_at(struct cmd *c, uint32_t i)
{
    struct shard *s = c->part ? c->shard : cmd_shard(c, c->argv[i]);
    return (struct keyref){s, c->argv[i], shard_hash(s, c->argv[i])};
}

/* Keys of a list that starts at argument `first`, one or two arguments each. */
static inline struct keyref keyref_nth(struct cmd *c, uint32_t i, uint32_t first)
{
    if (c->keys)
        return (struct keyref){c->shard, c->argv[i],
                               c->keys[(i - first) >> (c->desc->key_step - 1)].hash};
    return i == first ? keyref_first(c, i) : keyref_at(c, i);
}

static inline struct entry *keyref_peek(const struct cmd *c, const struct keyref *k)
{
    return ks_peek(k->shard, c->db, k->key, k->hash);
}

static inline struct entry *keyref_read(const struct cmd *c, const struct keyref *k)
{
    return ks_read(k->shard, c->db, k->key, k->hash);
}

static inline struct entry *keyref_write(const struct cmd *c, const struct keyref *k)
{
    return ks_write(k->shard, c->db, k->key, k->hash);
}

static inline void keyref_changed(const struct cmd *c, const struct keyref *k, enum ks_class cls,
                                  const char *event)
{
    ks_changed(k->shard, c->db, k->key, cls, event);
}

/* After the last of several keys, by a command that did the same to each: what is to be told is told of one after the other. */
static inline void keyref_told_in_steps(struct cmd *c)
{
    for (uint32_t i = 0; i < c->shards->count; i++)
        if (c->shards->v[i] && c->shards->v[i]->after)
            c->shards->v[i]->after |= AFTER_STEPS;
}

/* A read that counts a hit or a miss but leaves the access clock alone (TTL, TYPE, EXISTS, OBJECT). */
static inline struct entry *keyref_look(const struct cmd *c, const struct keyref *k)
{
    struct entry *e = keyref_peek(c, k);
    if (e)
        k->shard->stats.hits++;
    else
        ks_missed(k->shard, c->db, k->key);
    return e;
}

/* The shards that a command over the whole keyspace works on: the part's one, or all of them. */
static inline uint32_t cmd_shards_count(const struct cmd *c)
{
    return c->part ? 1 : c->shards->count;
}

static inline struct shard *cmd_shards_nth(const struct cmd *c, uint32_t i)
{
    return c->part ? c->shard : c->shards->v[i];
}

/* ---- replies and arguments (args.c) ---- */

void cmd_reply_wrongtype(struct cmd *c);
void cmd_reply_syntax(struct cmd *c);
void cmd_reply_oom(struct cmd *c);
/* "ERR invalid expire time in 'x' command". */
void cmd_reply_expire_time(struct cmd *c);

/* Arguments as numbers. False: the error was written (`error` NULL: Redis's usual text). */
bool cmd_arg_i64(struct cmd *c, uint32_t i, int64_t *ret);
bool cmd_arg_int(struct cmd *c, uint32_t i, int *ret, const char *error);
/* The bytes of the string e for writing, raw and n of them (growth is zeros); *e follows the entry. NULL: the error was written. */
uint8_t *cmd_string_bytes(struct cmd *c, const struct keyref *k, struct entry **e, size_t n);
/* "ERR Unsupported option x". */
void cmd_reply_unsupported_option(struct cmd *c, struct span option);

static inline uint32_t cmd_databases(const struct cmd *c)
{
    return c->host->config->databases;
}

/* False after a WRONGTYPE error unless e is a string. */
static inline bool cmd_is_string(struct cmd *c, const struct entry *e)
{
    if (__builtin_expect(entry_type_fast(e) == OBJ_STRING, 1))
        return true;
    cmd_reply_wrongtype(c);
    return false;
}
