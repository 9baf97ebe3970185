/* What the engine and the workers obey; a plain value. The control process publishes it in the link's config page;
 * each worker copies it when the version moved. Sizes in bytes, times in the unit of the name. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "engine/base/ip.h"
#include "engine/base/limits.h"

enum maxmemory_policy {
    POLICY_NOEVICTION,
    POLICY_ALLKEYS_LRU,
    POLICY_ALLKEYS_LFU,
    POLICY_ALLKEYS_RANDOM,
    POLICY_VOLATILE_LRU,
    POLICY_VOLATILE_LFU,
    POLICY_VOLATILE_RANDOM,
    POLICY_VOLATILE_TTL,
    POLICY_ALLKEYS_S3FIFO, /* ours */
};
enum debug_policy { DEBUG_CMD_NO, DEBUG_CMD_LOCAL, DEBUG_CMD_YES };
enum journal_mode {
    JOURNAL_OFF,
    JOURNAL_ON,
    JOURNAL_ALWAYS, /* replies wait until what they tell is on disk */
    JOURNAL_BEGINS, /* on, but a crash would still go back to the last snapshot: nothing is safe yet */
};
enum idle_mode { IDLE_SPIN, IDLE_ADAPTIVE, IDLE_SLEEP };

struct output_limit {
    uint64_t hard_bytes, soft_bytes;
    uint32_t soft_s, pad;
};

struct allow_prefix { /* IPv4 source prefix, host byte order */
    uint32_t addr, mask;
};
struct allow_prefix6 {
    struct ip_addr addr;
    uint64_t bits;
};

struct engine_config {
    uint64_t maxmemory_bytes; /* whole server; a shard's share is 1/workers of it; 0: no limit */
    uint32_t maxmemory_policy, maxmemory_samples;
    uint32_t lfu_log_factor, lfu_decay_time_min;
    uint64_t proto_max_bulk_bytes;
    uint64_t client_query_buffer_bytes;
    struct output_limit output_limit[3]; /* normal, replica, pubsub */
    uint32_t maxclients;                 /* whole server */
    uint64_t client_memory_bytes;        /* all clients together; 0: no limit, or */
    uint64_t client_memory_percent;      /* of maxmemory_bytes */
    uint32_t timeout_s;                  /* idle clients are closed; 0: never */
    uint32_t tcp_keepalive_s;
    uint32_t
        tcp_stall_timeout_s; /* output full and nothing acknowledged for so long: closed; 0: never */
    uint32_t tcp_user_timeout_s; /* retransmission without progress for so long ends it */
    uint32_t tcp_backlog;
    uint32_t hz;
    uint32_t databases;
    uint32_t idle;                 /* enum idle_mode */
    uint32_t enable_debug_command; /* enum debug_policy */
    uint8_t protected_mode, active_expire, lazyfree_user_del, lazyfree_user_flush;
    uint32_t net_syn_limit; /* SYNs of one source per second, on AF_XDP; 0: no limit */
    uint32_t net_allow_count, net_allow6_count; /* both 0: everyone */
    struct allow_prefix net_allow[LIMIT_NET_ALLOW];
    struct allow_prefix6 net_allow6[LIMIT_NET_ALLOW];
    uint32_t requirepass_len; /* 0: none */
    uint8_t requirepass[LIMIT_PASSWORD_BYTES];
    /* When a small value becomes a large structure, as in Redis; sizes below 0 of list_max_listpack are classes of bytes (-1: 4 KB .. -5: 64 KB). */
    uint64_t hash_max_listpack_entries, hash_max_listpack_value;
    uint64_t zset_max_listpack_entries, zset_max_listpack_value;
    uint64_t set_max_intset_entries;
    int64_t list_max_listpack_size;
    uint64_t list_compress_depth;
    uint64_t hll_sparse_max_bytes;
    uint64_t stream_node_max_bytes;
    int64_t stream_node_max_entries;
    uint32_t journal;       /* enum journal_mode; control's store sets it when the log is ready */
    uint8_t durable_reads;  /* with JOURNAL_ALWAYS: reads wait for what they have seen */
    uint8_t rdbcompression; /* of snapshots, told with each cut; of DUMP, by this */
    uint8_t pad_journal[2];
    uint32_t
        notify_events; /* notify-keyspace-events: enum notify_flags and classes of enum ks_class */
    uint32_t pad;
    uint64_t tracking_max_keys; /* of the whole server; 0: no limit */
    uint32_t snapshot_slice_us; /* longest slice of a snapshot in a turn; 0: 5 */
    uint32_t misconf;           /* the last snapshot failed, and writes are to be refused for it */
    int64_t slowlog_slower_than_us; /* below 0: off */
    uint64_t slowlog_max_len;
    uint64_t latency_threshold_ms; /* 0: off */
    uint64_t latency_tracking;     /* times per command */
    uint64_t stats_epoch;          /* another one: workers reset what control cannot subtract */
};

/* Redis 7.0's defaults. */
void engine_config_defaults(struct engine_config *c);
