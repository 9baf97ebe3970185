/* session: what a command may know and change of its client. The dataplane embeds one in each conn; tests make their own. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "engine/base/bytes.h"
#include "engine/base/ip.h"

struct cmd_desc;
struct multi;

enum session_source { SESSION_NETWORK, SESSION_DOOR_UNIX, SESSION_DOOR_TCP };
enum session_reply {
    SESSION_REPLY_ON,
    SESSION_REPLY_OFF,
    SESSION_REPLY_SKIP,
    SESSION_REPLY_SKIP_NEXT
};

/* States in which a request of the client is not simply run: bits of session.mode. A client with none takes the short path. */
enum session_mode {
    SESSION_MULTI = 1 << 0,      /* between MULTI and EXEC: requests are queued */
    SESSION_SUBSCRIBED = 1 << 1, /* to at least one channel: RESP2 allows it little else */
    SESSION_MONITOR = 1 << 2,
    SESSION_NODE =
        1 << 4, /* of a core-addressed port: each request is looked at (dataplane/conn/cluster.c) */
    SESSION_TRACKING = 1 << 3, /* what it reads is remembered */
    SESSION_DURABLE = 1 << 5,  /* CLIENT DURABILITY ALWAYS: its replies may have to wait */
};

/* CLIENT DURABILITY: what replies to this client wait for. */
enum session_durability {
    DURABILITY_DEFAULT,  /* what appendfsync says */
    DURABILITY_ALWAYS,   /* the disk */
    DURABILITY_EVERYSEC, /* nothing: the kernel has it, or outlives us in the link */
};

struct session {
    uint64_t id;     /* CLIENT ID: unique in the server, ascending per worker */
    uint32_t worker; /* home */
    uint32_t db;
    uint8_t resp;       /* 2 or 3 */
    uint8_t source;     /* enum session_source */
    uint8_t reply_mode; /* enum session_reply */
    uint8_t mode;       /* enum session_mode */
    uint8_t
        node; /* core-addressed: the worker that it takes for a node, plus 1; 0: the main port */
    bool authenticated; /* set at accept when no password is set, later by AUTH and HELLO */
    bool no_evict, no_touch;
    bool close_asap;        /* killed: close without answering further */
    bool close_after_reply; /* QUIT and errors: close once the output has left */
    int64_t created_ms, last_ms;
    uint64_t commands;
    const struct cmd_desc *last_cmd; /* set by the caller before each command */
    char *name, *lib_name, *lib_ver; /* heap, NULL when unset; freed by session_fini */
    struct multi *multi;             /* queue of MULTI and watched keys (multi.h); NULL: neither */
    struct subscriber *subs;   /* engine/cmd/pubsub.h; NULL: none. Its worker makes it leave */
    struct tracking *tracking; /* engine/cmd/tracking.h; NULL: never */
    bool conflate;             /* CLIENT CONFLATE ON */
    uint8_t durability;        /* enum session_durability */
    uint64_t conflated;        /* messages that a newer one of the channel took the place of */
    /* Its two ends, by enum session_end; session_end_text makes words of them. */
    union {
        struct { /* SESSION_NETWORK */
            struct ip_addr ip[2];
            uint16_t port[2];
        };
        char *end_text[2]; /* the door: heap, freed by session_fini */
    };
};

/* No answer is held back, no password is asked for, no mode but this is on: one comparison for three fields. */
static inline bool session_plain(const struct session *s, uint8_t mode)
{
    const struct session plain = {
        .reply_mode = SESSION_REPLY_ON, .mode = mode, .authenticated = true};
    const struct session mask = {.reply_mode = 0xff, .mode = 0xff, .authenticated = true};
    uint64_t have, want, of;
    _Static_assert(offsetof(struct session, no_touch) == offsetof(struct session, resp) + 7,
                   "one word");
    memcpy(&have, &s->resp, 8);
    memcpy(&want, &plain.resp, 8);
    memcpy(&of, &mask.resp, 8);
    return (have & of) == want;
}

enum session_end { SESSION_PEER, SESSION_LOCAL };
#define SESSION_END_BYTES 64

void session_init(struct session *s, uint64_t id, enum session_source source, int64_t now_ms);
void session_fini(struct session *s);
/* "10.1.0.2:51000", "[fd00::1]:51000", or "/path:0" for a unix socket; returns `to`. */
const char *session_end_text(const struct session *s, enum session_end end,
                             char to[SESSION_END_BYTES]);
/* A client of the door; copies, cut at SESSION_END_BYTES. False: no memory, unchanged. */
bool session_set_ends(struct session *s, const char *peer, const char *local);
/* RESET: back to a fresh connection but for its id, addresses, client library and, as in Redis 7.0, NO-EVICT. `authenticated`: whether
 * a fresh connection is (no password is set). */
void session_reset(struct session *s, bool authenticated);
/* Sets name, lib_name or lib_ver to a copy of the text, or to NULL when it is empty. False: no memory, unchanged. */
bool session_set_text(char **field, struct span text);
