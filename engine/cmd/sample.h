/* sample: `want` of `left` things, each subset as likely as any other, in one walk (Knuth, The Art of Computer Programming 2, 3.4.2,
 * algorithm S); and the arguments of the commands that draw. */
#pragma once

#include "engine/base/num.h"
#include "engine/cmd/keyref.h"

/* Fewer than one of so many: drawing and remembering is cheaper than a walk. */
#define SAMPLE_DRAW_RATIO 16

struct sample {
    uint64_t left, want;
};

/* Whether the next one is taken. */
static inline bool sample_take(struct sample *s, struct shard *shard)
{
    bool take = shard_random(shard) % s->left < s->want;
    s->left--;
    s->want -= take;
    return take;
}

/* A count of at least 0, or the error. */
static inline bool cmd_arg_positive(struct cmd *c, uint32_t i, int64_t *ret)
{
    if (num_parse_i64(c->argv[i], ret) && *ret >= 0)
        return true;
    reply_error(c->out, "ERR value is out of range, must be positive");
    return false;
}

/* A count that has a negative, or the error. One that asks for more draws than a worker may spend on a request is out of range. */
static inline bool cmd_arg_count(struct cmd *c, uint32_t i, int64_t *ret)
{
    if (!cmd_arg_i64(c, i, ret))
        return false;
    if (*ret >= -LIMIT_RANDOM_DRAWS)
        return true;
    if (*ret != INT64_MIN) {
        reply_error(c->out, "ERR value is out of range");
        return false;
    }
    reply_errorf(c->out, "ERR value is out of range, value must between %lld and %lld",
                 -(long long)INT64_MAX, (long long)INT64_MAX);
    return false;
}
