/* What the commands on the expiry of fields share. */
#pragma once

#include "engine/base/num.h"
#include "engine/cmd/hash.h"

/* Redis's last moment of a field: 46 bits of unix ms. */
#define HASH_EXPIRE_MAX_MS ((1ll << 46) - 1)

/* Argument i as a time. False: the error was written. */
bool hash_expire_time(struct cmd *c, uint32_t i, int64_t unit_ms, int64_t base_ms, int64_t *ret);
/* FIELDS numfields field ... from argument `at` to the end. not_positive: the error for a number that is none. False: it was written. */
bool hash_expire_fields(struct cmd *c, uint32_t at, const char *not_positive,
                        struct hash_fields *ret);
/* A field that is there; -1: none any more. False: no memory. */
bool hash_expire_field(struct hash_ref *r, struct span field, int64_t when_ms);
/* The effect of one field's new expiry; -1: none any more. */
void hash_say_expire(struct cmd *c, const struct hash_ref *r, struct span field, int64_t when_ms);
/* After such changes, once the value is on its entry: the hash has a timer if it needs one. */
void hash_expire_done(struct cmd *c, struct hash_ref *r);
