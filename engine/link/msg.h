/* Messages in the link's rings. All integers little-endian (one machine). A receiver checks every length before use; a message that
 * lies is dropped and counted (link_bad_messages).
 *
 * Door: the control process carries bytes between its unix/TCP sockets and a worker, which treats them as one more client connection.
 * Flow control by credit: at most LINK_DOOR_WINDOW bytes of a door connection are on their way to the worker; DOOR_ACK gives them back.
 *
 * Admin: a command routed to control (INFO, CONFIG, SHUTDOWN ...). The worker sends argv, control answers with RESP bytes in one or more
 * records; the client's later commands wait for it.
 *
 * Neighbours: with net-share kernel Linux does ARP and NDP; a worker asks for a neighbour, control answers as soon as Linux knows, and tells every
 * worker what changes. */
#pragma once

#include <stdint.h>

#define LINK_DOOR_WINDOW (256 * 1024)

enum link_msg {
    /* control -> worker */
    MSG_DOOR_OPEN = 1, /* struct msg_door_open */
    MSG_DOOR_DATA = 2, /* struct msg_door, bytes */
    MSG_DOOR_CLOSE =
        3, /* struct msg_door: the client is gone, or asked to close after what was sent */
    MSG_ADMIN_REPLY = 4, /* struct msg_admin_reply, RESP bytes */
    MSG_SHUTDOWN = 5,    /* the dataplane stops cleanly */
    MSG_SNAPSHOT = 7,    /* struct msg_snapshot */
    MSG_LOADED = 8,      /* the dataset is whole: clients are served */
    MSG_NEIGH = 6,       /* struct msg_neigh: net-share kernel, what Linux knows of a neighbour */
    /* worker -> control */
    MSG_DOOR_REPLY = 16,  /* struct msg_door, bytes */
    MSG_DOOR_CLOSED = 17, /* struct msg_door: the worker has ended it; all replies came before */
    MSG_DOOR_ACK = 18,    /* struct msg_door_ack */
    MSG_ADMIN_REQUEST =
        19,             /* struct msg_admin_request, then argc times { u32 len, bytes } unaligned */
    MSG_NEIGH_ASK = 20, /* struct msg_neigh, its address: MSG_NEIGH is wanted */
    MSG_LOAD_STATE = 21, /* struct msg_load_state */
    /* in a snapshot ring; all of one snapshot between its begin and its end */
    MSG_SNAPSHOT_BEGIN = 32, /* struct msg_snapshot_begin */
    MSG_SNAPSHOT_DATA = 33,  /* struct msg_snapshot_data, bytes of an RDB file */
    MSG_SNAPSHOT_END = 34,   /* struct msg_snapshot_end */
    /* in a journal ring */
    MSG_JOURNAL = 56, /* struct msg_journal, its shards, then effects as RESP */
    MSG_JOURNAL_MORE =
        57, /* struct msg_journal_more, its shards, effects that found no room in it */
    /* in a load ring */
    MSG_LOAD_BEGIN = 48, /* struct msg_load: what the shard holds is dropped */
    MSG_LOAD_KEYS = 49,  /* struct msg_load, then keys, each struct msg_load_key and its bytes */
    MSG_LOAD_PART = 50,  /* struct msg_load, then a part of a longer key; MSG_LOAD_LAST: its last */
    MSG_LOAD_END = 51,   /* struct msg_load: MSG_LOAD_STATE is wanted */
    MSG_LOAD_SIZES = 52, /* struct msg_load_sizes */
};

struct msg_door_open {
    uint64_t
        door; /* chosen by control, unique; upper half: link_control_generation of the control that chose it */
    uint32_t source;          /* enum session_source */
    uint32_t flags;           /* MSG_DOOR_LOADER */
    char peer[64], local[64]; /* NUL-terminated */
};
#define MSG_DOOR_LOADER \
    1u /* control itself, replaying a log: not held back by loading, and nothing is answered until it asks */
struct msg_door {
    uint64_t door;
};
struct msg_door_ack {
    uint64_t door;
    uint32_t bytes, pad;
};
struct msg_admin_request {
    uint64_t request; /* unique per worker */
    uint64_t client;  /* CLIENT ID */
    uint32_t db;
    uint8_t resp, source, pad[2];
    uint32_t argc, pad2;
    char peer[64];
};
struct msg_admin_reply {
    uint64_t request;
    uint32_t flags; /* MSG_ADMIN_LAST: the reply is complete with this record */
    uint32_t pad;
};
#define MSG_ADMIN_LAST 1u
/* Snapshots. Control asks worker 0 for the cut (it takes the lease of all shards), and every worker then sends what it has at the cut, what it
 * writes down, and how it ended. Bytes of several workers may be put behind each other where a worker's are whole. */
enum msg_snapshot_what { MSG_SNAPSHOT_CUT = 1, MSG_SNAPSHOT_GIVE_UP = 2 };
struct msg_snapshot {
    uint64_t id; /* chosen by control */
    uint32_t what;
    uint16_t compress;
    uint16_t log; /* 1: the cut is told in the journal too */
};
struct msg_snapshot_begin {
    uint64_t id;
    int64_t cut_ms;        /* unix time */
    uint64_t journal_seq;  /* records of this shard's journal before the cut */
    uint64_t dirty;        /* changes of the shard before it */
    uint32_t version, pad; /* of the RDB format that its values need */
    uint64_t keys[16], expires[16];
};
struct msg_snapshot_data {
    uint64_t id;
    uint32_t whole, pad; /* 1: it ends behind a key */
};
enum msg_snapshot_status {
    MSG_SNAPSHOT_OK,
    MSG_SNAPSHOT_FAILED, /* no memory */
    MSG_SNAPSHOT_BUSY,   /* no cut was made: another one is not over yet; from worker 0 alone */
};
struct msg_snapshot_end {
    uint64_t id;
    uint32_t status, pad;
    uint64_t keys, early, most_bytes;
};

/* Loading. Control cuts a file into keys and gives each to its owner. */
#define MSG_LOAD_LAST  1u
#define MSG_LOAD_FACTS 1u
struct msg_load {
    uint64_t id; /* of the load: control chooses; what is left over from another one is dropped */
    uint64_t offset; /* in the file: of its first key */
    uint32_t flags, pad;
};
struct msg_load_key { /* unaligned */
    uint32_t after;   /* offset in the file, from that of the record on, for who finds it damaged */
    uint32_t
        bytes; /* of key and value, as in the file behind the type; UINT32_MAX: all that follows (MSG_LOAD_PART) */
    uint8_t db, type, flags, pad; /* MSG_LOAD_FACTS: before key and value stands msg_load_facts */
};
struct msg_load_facts {              /* unaligned */
    int64_t expire_ms, idle_s, freq; /* -1: none */
};
struct msg_load_sizes {
    uint64_t id, keys, expires; /* about as many come for this database: room may be made */
    uint32_t db, pad;
};
enum msg_load_status { MSG_LOAD_OK, MSG_LOAD_BAD_VALUE, MSG_LOAD_TWICE, MSG_LOAD_NO_MEMORY };
struct msg_load_state {
    uint64_t id;
    uint32_t status, pad; /* not OK: at once, otherwise at the end */
    uint64_t offset;      /* of the key that is wrong */
    uint64_t keys;
};

struct msg_neigh {
    uint8_t addr[16]; /* IPv4 as ::ffff:a.b.c.d */
    uint8_t mac[6];
    uint8_t known; /* 0: it does not answer */
    uint8_t pad;
};

/* One record of a worker's journal: what it has done to the shards named, each of which counts its records: this is number `seq` of that shard. A record is
 * written behind all that have a smaller number in any of its shards: one order that every shard agrees with. Of the shards named behind its
 * own it is written behind the record of that number, too (requests over several shards: docs/threads.md). Beyond that the oldest is written first,
 * so that what a log ends with is a state that there was: of two writes of which one was answered before the other was asked for never the second alone. */
struct msg_journal {
    uint64_t bytes; /* of all effects of the record */
    uint64_t
        cut; /* id of the snapshot that was cut here, on all shards; the record is empty. 0: none */
    int64_t time_ms; /* unix time */
    uint64_t
        at_ns; /* link_journal_clock_ns when it was made: behind what it holds, before anybody is told */
    uint32_t first_db, last_db; /* of the first and of the last command */
    uint32_t shards, after;     /* each struct msg_journal_shard, in this order */
};
struct msg_journal_shard {
    uint32_t shard, pad;
    uint64_t seq;
};
struct msg_journal_more {
    uint64_t offset, bytes;   /* in the record's effects, of which there are so many */
    uint32_t last_db, shards; /* as in its head */
};
