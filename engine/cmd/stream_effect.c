/* stream_effect.c: what XREADGROUP, XCLAIM and XAUTOCLAIM have done, in commands that do not depend on when: as Redis propagates them.
 *
 *   XCLAIM key group consumer 0 id TIME ms RETRYCOUNT n FORCE JUSTID LASTID id      an entry waits for a consumer
 *   XGROUP SETID key group id ENTRIESREAD n                                         the group has got so far
 *
 * Thread: the lease holder's. */
#include "engine/cmd/effect.h"
#include "engine/cmd/stream_cmd.h"

static void say(const struct stream_key *sk, const struct span *argv, uint32_t argc)
{
    shard_say(sk->k.shard, sk->db, argv, argc);
}

void stream_say_pending(const struct stream_key *sk, struct span group, struct span consumer,
                        const struct stream_group *g, struct stream_id id)
{
    char text[STREAM_ID_CHARS], last[STREAM_ID_CHARS], time[NUM_I64_CHARS], count[NUM_I64_CHARS];
    if (!shard_journals(sk->k.shard))
        return;
    const struct stream_pending *p = stream_pending_find(g, id);
    struct span argv[] = {
        SPAN("XCLAIM"),
        sk->k.key,
        group,
        consumer,
        SPAN("0"),
        stream_id_text(text, id),
        SPAN("TIME"),
        effect_number(time, p ? p->time_ms : 0),
        SPAN("RETRYCOUNT"),
        effect_number(count, p ? (int64_t)p->deliveries : 1),
        SPAN("FORCE"),
        SPAN("JUSTID"),
        SPAN("LASTID"),
        stream_id_text(last, g->last),
    };
    say(sk, argv, ARRAY_LEN(argv));
}

void stream_say_group(const struct stream_key *sk, struct span group, const struct stream_group *g)
{
    char text[STREAM_ID_CHARS], read[NUM_I64_CHARS];
    if (!shard_journals(sk->k.shard))
        return;
    struct span argv[] = {SPAN("XGROUP"),
                          SPAN("SETID"),
                          sk->k.key,
                          group,
                          stream_id_text(text, g->last),
                          SPAN("ENTRIESREAD"),
                          effect_number(read, g->entries_read)};
    say(sk, argv, ARRAY_LEN(argv));
}

void stream_say_consumer(const struct stream_key *sk, struct span group, struct span consumer)
{
    struct span argv[] = {SPAN("XGROUP"), SPAN("CREATECONSUMER"), sk->k.key, group, consumer};
    say(sk, argv, ARRAY_LEN(argv));
}
