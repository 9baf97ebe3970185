/* Requests over several shards: the records, and the keys that they hold in a shard meanwhile (scatter.c at home, part.c at owners).
 *
 *   struct scatter         at home: the request
 *     struct part          one for each of its shards; travels home -> owner -> home, in lists of one message a turn
 *       struct cmd_key     one for each of its keys: in the owner's table from the grant until the owner has let go
 *
 * All of one request, its replies as long as they are short included, is one block of memory, which belongs to its home; a part and its
 * keys to the worker that has the part. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "dataplane/conn/mail.h"

/* Keys of requests over several shards that have not let go of them yet; of one shard, the owner's. Keys are told apart by their hash
 * alone, of all databases: two that share it meet, and one waits for the other. */
#define INTENT_CHAINS 1024
struct intents {
    struct cmd_key *read[INTENT_CHAINS], *write[INTENT_CHAINS];
    uint32_t readers, writers; /* parts that have some */
};

static inline bool intents_in(struct cmd_key *const *chains, uint64_t hash)
{
    const struct cmd_key *i = chains[hash % INTENT_CHAINS];
    while (i && i->hash != hash)
        i = i->next;
    return i != NULL;
}

/* Must who would read, or write, that key wait? */
static inline bool intents_meet(const struct intents *t, uint64_t hash, bool write)
{
    return intents_in(t->write, hash) || (write && intents_in(t->read, hash));
}

static inline void intent_add(struct cmd_key **chains, struct cmd_key *i)
{
    struct cmd_key **chain = &chains[i->hash % INTENT_CHAINS];
    i->next = *chain;
    i->at = chain;
    if (i->next)
        i->next->at = &i->next;
    *chain = i;
}

static inline void intent_drop(struct cmd_key *i)
{
    *i->at = i->next;
    if (i->next)
        i->next->at = i->at;
}

/* Of my own shard. */
struct lease_state {
    uint32_t holder;   /* worker that may touch it, or LEASE_FREE: me */
    struct list queue; /* struct in_line, first come first: commands, parts that wait, leases */
    bool pumping;      /* lease_pump is on the stack */
    uint64_t served;   /* of that line, and parts that write: what was found before may be gone */
    struct intents intents;
};

/* What a part asks, or what has become of it. */
enum part_step {
    PART_ASK,     /* home: its keys, at once or not at all; what only reads is run with the grant */
    PART_WAIT,    /* home: the same, but it waits for its turn */
    PART_RUN,     /* home: it is run, and lets go */
    PART_DROP,    /* home: it lets go */
    PART_GRANTED, /* owner; all from here on are the owner's answers */
    PART_HOME,    /* it has let go */
    PART_REFUSED, /* something else has one of its keys, or the shard */
    PART_LEASE, /* it is for leases: the shard has no room, or a snapshot has what its client asked before */
    PART_NOTED, /* granted and read, and what that left is to be told */
    PART_RAN,   /* written; it keeps its keys until home has told of it */
};

struct part {
    struct in_line q;  /* at the owner: in the line for the shard */
    struct part *next; /* in a message */
    struct scatter *of;
    struct span *argv;
    struct cmd_key *key;
    uint32_t argc, keys;
    uint32_t shard;
    /* these four at once */
    bool lost;     /* no memory for the reply */
    bool journals; /* owner: it writes, and the shard has a journal */
    bool claims;   /* owner: its keys do not leave by themselves (shard.claims) */
    bool changes;  /* owner: it is not the DEL of nothing */
    uint8_t step;  /* enum part_step */
    bool runs;     /* this step runs it */
    struct reply_heap reply;
    const struct dict *dict; /* owner: the keys' candidates are of this dict, as it was then */
    uint64_t departed, served;
    uint64_t took, queued; /* cycles, where it was timed by itself */
    uint64_t gate;         /* journal_gate of the shard */
    uint64_t seq;          /* owner: of the shard's last record before it; then, of the teller's */
    struct told *told;     /* PART_NOTED, PART_RAN */
} __attribute__((aligned(64))); /* others write their own at the same time */

/* What happens to a request as a whole. */
enum scatter_state {
    SCATTER_ASKING,
    SCATTER_UNDOING, /* refused somewhere: what was granted lets go */
    SCATTER_TELLING, /* granted everywhere: the teller writes it down and runs */
    SCATTER_ENDING,  /* granted everywhere: its parts run and let go */
    SCATTER_TOLD,    /* what was told let go of its keys after that */
    SCATTER_LEASED,  /* waits for leases */
};

struct scatter {
    struct lease_job job; /* SCATTER_LEASED */
    struct list node;     /* worker.scatters */
    struct slot *slot;    /* NULL: its reply has left */
    const struct cmd_desc *desc;
    struct span *argv;   /* all of them; of one in parts only once they are asked for: whole_argv */
    struct cmd_key *key; /* its keys, those of a part together */
    uint8_t *part_of;    /* the part that a key is in, in the order of the request */
    struct part *part;   /* in order of their shards */
    struct part *teller; /* whose record is the whole request; NULL: nothing is written down */
    uint32_t argc, keys, parts;
    uint32_t home, db;
    uint32_t awaited; /* parts that are not home */
    uint8_t state;    /* enum scatter_state */
    uint8_t resp, durability;
    bool write, tracks;
    bool keyed;           /* all of its keys are known: what does not meet them goes on */
    bool refused, leased; /* PART_REFUSED, PART_LEASE came */
    bool ordered;         /* one part after the other, each waiting for its turn */
    bool pooled;          /* the block is of the size that a worker keeps */
    uint64_t client, born;
    uint64_t told; /* parts whose `told` is at home, a bit each */
};

/* Blocks at rest, of one size, for the next requests; the worker's own. */
#define SCATTER_BLOCK_BYTES 4096
#define SCATTER_BLOCKS      128
struct scatter_pool {
    void *block[SCATTER_BLOCKS];
    uint32_t n;
};
