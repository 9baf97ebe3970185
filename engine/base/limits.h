/* Every limit of Barewire, in one place. A limit that a peer can reach has a counter in
 * engine/link/metrics.def and a field in INFO. Units end the name. */
#pragma once

#include <stdint.h>

#define LIMIT_WORKERS       64 /* workers, shards and links' worker pages */
#define LIMIT_DATABASES     16 /* SELECT 0..15 */
#define LIMIT_CLUSTER_SLOTS 16384

/* --- RESP (values of Redis 7.0's networking.c) --- */
#define LIMIT_INLINE_BYTES \
    (64 * 1024) /* longest inline request, and longest header line, without its end */
#define LIMIT_MULTIBULK_ARGS    2147483647 /* "*N": Redis refuses what does not fit an int */
#define LIMIT_UNAUTH_ARGS       10         /* before AUTH: arguments of a request */
#define LIMIT_UNAUTH_BULK_BYTES 16384      /* before AUTH: bytes of an argument */
#define LIMIT_BIG_ARG_BYTES \
    (32 * 1024)                       /* an argument from here on is streamed into its own buffer */
#define LIMIT_REPLY_CHUNK_BYTES 16384 /* heap reply block */

/* --- execution --- */
#define LIMIT_BATCH_CMDS        64   /* commands that are staged together */
#define LIMIT_BATCH_ARGS        1024 /* spans of a batch */
#define LIMIT_LEASE_JOBS        64 /* requests over several shards that one round of leases serves */
#define LIMIT_DICT_RESERVE_SEGMENTS \
    ((size_t)1 << 16) /* of a dict that is told how large it will be: some 10 M keys */
#define LIMIT_RANDOM_DRAWS    (1 << 24) /* SRANDMEMBER, HRANDFIELD with a negative count */

/* --- dataplane --- */
#define LIMIT_BURST_PKTS      32
#define LIMIT_FRAME_BYTES     9216

/* --- link --- */
#define LIMIT_LINK_RING_BYTES (1024 * 1024) /* each direction, each worker; power of two */
#define LIMIT_LINK_MSG_BYTES \
    (64 * 1024) /* longest record in a link ring; longer payloads are split */
#define LIMIT_LINK_BULK_BYTES \
    (1024 *                   \
     1024) /* of a worker's ring of snapshots, and of its ring of keys to load; power of two */
#define LIMIT_LINK_JOURNAL_BYTES  (8 * 1024 * 1024) /* journal ring of a worker; power of two */
#define LIMIT_PASSWORD_BYTES      512
#define LIMIT_NET_ALLOW           64 /* source prefixes of net-allow */

/* --- network stack --- */
#define LIMIT_NET_NEIGHBOURS      1024  /* ARP entries of a worker */
#define LIMIT_NET_NEIGH_QUEUE     4     /* frames that wait for one neighbour */
#define LIMIT_NET_NEIGH_FRESH_S   30    /* an entry this young is not overwritten unasked */
#define LIMIT_NET_NEIGH_EXPIRE_S  600   /* an entry this old is not used */
#define LIMIT_NET_ECHO_PER_S      10000 /* ICMP echo replies of a worker */
#define LIMIT_NET_ADDRESSES6      4     /* IPv6 addresses beside the link-local one */
#define LIMIT_NET_ROUTERS         4     /* IPv6 routers whose advertisements are kept */
#define LIMIT_NET_RATE_CLASSES    256   /* sources are told apart by a secret hash into so many */
#define LIMIT_NET_RST_PER_S       1000  /* RSTs without connection, to one class of sources */
#define LIMIT_NET_ERRORS_PER_S    100   /* ICMP errors, to one class of sources */
#define LIMIT_NET_NDP_PER_S       1000  /* neighbour advertisements, to one class of sources */
#define LIMIT_NET_LEARN_PER_S     1000  /* neighbours of a worker learned without being asked for */
#define LIMIT_IP6_EXT_HEADERS     6     /* extension headers of a packet */
#define LIMIT_IP6_EXT_BYTES       512   /* and their bytes together */
#define LIMIT_TCP_PMTU_CHANGES    16    /* ICMP errors that a connection obeys */
#define LIMIT_NET_HEAP_BYTES      (128u << 20) /* parked segments and out-of-order data of a worker */
#define LIMIT_NET_OOO_TOTAL_BYTES (64u << 20) /* out-of-order data of all connections of a worker */
#define LIMIT_TCP_CHALLENGE_PER_S 10          /* challenge ACKs of one connection (RFC 5961 7) */
#define LIMIT_TCP_DUP_ACKS        64          /* duplicate ACKs of one connection in a pass */
#define LIMIT_TCP_SACK_WALK \
    4096 /* segments of one connection looked at for SACK blocks in a pass */
#define LIMIT_TCP_MSS_MIN        64  /* a peer's smaller MSS is taken as this */
#define LIMIT_TCP_SYN_RETRIES    7   /* active open: 183 s (RFC 9293 3.8.3: 3 minutes at least) */
#define LIMIT_TCP_SYNACK_RETRIES 5   /* passive open */
#define LIMIT_TCP_USER_TIMEOUT_S 120 /* retransmission without progress (RFC 9293 3.8.3, R2) */
#define LIMIT_TCP_FIN_WAIT2_S    60  /* a peer that never sends its FIN */

/* --- durability --- */
#define LIMIT_SNAPSHOT_WAIT_BYTES \
    (2ull << 30) /* of a shard's entries saved early: over it the snapshot fails */

/* --- clients --- */
#define LIMIT_CONN_OUT_PAUSE_BYTES \
    (1024 * 1024) /* heap output of a client at which its requests wait */
#define LIMIT_LONG_REPLY_BYTES \
    (1024 * 1024) /* of a value: its reply is written in parts, while the client takes them */
#define LIMIT_REPLY_PART_BYTES (128 * 1024) /* about as much at a time */
#define LIMIT_CONN_SLOTS \
    256 /* replies a client may await from other shards before its requests wait */
#define LIMIT_OUT_BLOCK_BYTES (256 * 1024) /* largest heap block of output */
#define LIMIT_WORKER_OUT_BYTES \
    (4ull << 30) /* heap output of all clients of a worker: over it the asking client is closed */
#define LIMIT_MONITOR_BYTES \
    (1024 * 1024) /* lines for MONITOR of a worker's turn; more are dropped and counted */
#define LIMIT_BATCH_SCRATCH_BYTES 16384       /* gathered requests copied into a batch */
#define LIMIT_ADMIN_REQUEST_BYTES (48 * 1024) /* a request that is routed to the control process */

/* --- the door (control process) --- */
#define LIMIT_DOOR_CLIENTS        4096 /* power of two; more are refused (door_refused) */
#define LIMIT_DOOR_OUTPUT_BYTES \
    (640ull * 1024 *            \
     1024) /* replies a client has not read: over it it is closed; the longest value fits */
#define LIMIT_DOOR_OUTPUT_TOTAL_BYTES (1024ull * 1024 * 1024) /* the same of all clients */
#define LIMIT_ADMIN_ARGS              1024 /* arguments of a command that control runs */
#define LIMIT_ADMIN_REPLY_BYTES       (4 * 1024 * 1024) /* its reply */
#define LIMIT_ADMIN_PENDING_BYTES \
    (64 * 1024 * 1024) /* replies that wait for room in one worker's ring */
