/* key_hash: the hash of keys that peers choose, for dicts that live and die with the process.
 *
 * On CPUs with AES instructions: AES rounds under a 128-bit secret drawn at start (the construction that language runtimes use for
 * their maps), about 30 instructions for a short key; elsewhere SipHash-1-3. Never stored, never sent: the two may differ.
 * Nobody who does not know the secret can aim at a bucket; it is no message authentication code. */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "engine/base/siphash.h"

typedef uint64_t key_hash_fn(const struct siphash_key *key, const void *p, size_t n);

/* Chosen once, before main. */
extern key_hash_fn *key_hash;
