/* Whose a key is, without a call for the usual lengths where the CPU has the instructions. Thread: any. */
#pragma once

#include "engine/base/assert.h"
#include "engine/base/key_slot_inline.h"
#include "engine/base/keyhash.h"
#include "engine/shard/shard.h"

/* shard_of_key. `aes`: in a function for such CPUs (KEY_HASH_AES). */
static inline __attribute__((always_inline)) uint32_t owner_of(struct span key, uint32_t count,
                                                               bool aes)
{
#if defined(__x86_64__)
    if (aes && likely_(key.n - 9 <= 7)) {
        uint32_t slot = key_slot_short(key.p, key.n);
        if (likely_(slot != KEY_SLOT_NONE))
            return shard_of_slot(slot, count);
    }
#endif
    return shard_of_key(key, count);
}
