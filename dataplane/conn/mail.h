/* What workers send each other: commands for another's shard and their replies, events, deadlines that events carry, and leases of
 * shards (remote.c, event.c, lease.c).
 *
 *   home worker                        owner of the shard
 *   mail_add .. remote_send --ring-->  remote_serve: runs the commands, or defers them while the shard is leased
 *   replies to their slots  <--ring--  the same record back
 *
 * A record belongs to the worker that holds it; the ring hands it over. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "dataplane/net/wheel.h"
#include "engine/base/bytes.h"
#include "engine/base/ip.h"
#include "engine/base/list.h"
#include "engine/cmd/cmd.h"
#include "engine/resp/reply.h"

struct dict_bucket;
struct held;
struct slot;
struct worker;

/* Pointers in mail rings carry their meaning in the low bits. */
enum mail_tag {
    MAIL_CMDS,
    MAIL_REPLIES,
    MAIL_LEASE_REQUEST,
    MAIL_LEASE_GRANT,
    MAIL_LEASE_RELEASE,
    MAIL_NEIGH,
    MAIL_EVENT,
    MAIL_PARTS
};
#define MAIL_TAG_MASK 7u

struct mail_block {
    struct mail_block *next;
    size_t used, cap;
    _Alignas(16) uint8_t data[];
};

struct mail_cmd {
    struct mail_cmd *next;
    struct slot *slot;
    const struct cmd_desc *desc;
    struct span *argv;
    uint32_t argc, db;
    uint64_t hash;
    uint64_t client;
    uint64_t gate; /* reply: journal_gate of the shard that ran it */
    uint8_t resp, durability;
    uint8_t piece; /* of its slot's row */
    bool part, keyed, tracks, may_hold;
    bool plain;                  /* touches nothing but its key and its reply (WAY_PLAIN) */
    struct held *held;           /* of the reply, at the owner */
    size_t reply_off, reply_len; /* in the mail's replies */
    uint64_t took, queued;       /* cycles; took 0: it was not timed by itself */
    union {                      /* at the owner, while its mail is served */
        const struct dict_bucket
            *bucket; /* until the entries are prefetched; NULL: its key is not looked up */
        struct entry *candidate; /* then */
    };
};

/* What stands in the line for a shard. First member of its record. */
struct in_line {
    struct list node;
    enum line_kind { LINE_MAIL, LINE_PART, LINE_LEASE } kind;
};

/* Commands for one shard, and later their replies. Allocated and freed by the home worker, which keeps some for later; in between it belongs
 * to the owner. */
struct mail {
    struct in_line q;
    uint32_t from, to, n;
    uint32_t pins;                      /* its own, and of slots whose replies still lie here */
    struct mail_cmd *first, *last, *at; /* owner: from there on they have not been run */
    struct mail_block *blocks;
    struct reply_heap replies;
    uint64_t born; /* cycle count of its first command; 0: nobody asks */
};

/* Something to be done on another worker, or on this one between two commands. First member of the sender's own record, which is one
 * allocation; `run` frees it. */
struct mail_event {
    struct list node; /* worker.events: to itself */
    void (*run)(struct worker *w, struct mail_event *ev);
    uint32_t from;
};

/* A deadline of a client or of what it waits for, in worker.timers; part of its owner's record. */
struct client_timer {
    struct wheel_node node;
    void (*fire)(struct worker *w, struct client_timer *t);
};

struct mail_neigh {
    struct ip_addr ip;
    uint8_t mac[6];
};

/* Towards one other worker. */
struct outbox {
    struct mail *cur;               /* being filled in this turn */
    struct part *parts, *last_part; /* of requests over several shards: of this turn (scatter.h) */
    void **queue;                   /* tagged pointers that did not fit the ring, in order */
    size_t queue_len, queue_cap;
};

/* ---- leases ---- */

#define LEASE_FREE UINT32_MAX

/* Something that needs several shards at once. First member of its own record, which `run` frees. */
struct lease_job {
    struct list node;                                   /* worker.lease_jobs, then lease.jobs */
    uint64_t want;                                      /* shards, a bit each; at least one */
    void (*run)(struct worker *w, struct lease_job *j); /* all of them are in w->lease_set */
    /* Asked before: not now, but when a snapshot has written what it changes (hold.c). NULL: it never waits. */
    bool (*waits)(struct worker *w, struct lease_job *j);
    uint64_t client; /* with `waits`: whose request it is */
};

/* A worker's round: what it asks owners for. It lies in the worker; the owner it waits for now has it in a list. */
struct lease {
    struct in_line q;
    uint32_t holder;     /* worker */
    uint64_t want, have; /* shards, a bit each */
    struct list jobs;    /* struct lease_job, in the order they came */
};
