/* config.c: the engine's settings when nobody set any: Redis 7.0's defaults, and ours where Redis has none. */
#include "engine/shard/config.h"

#include <string.h>

void engine_config_defaults(struct engine_config *c)
{
    memset(c, 0, sizeof(*c));
    c->maxmemory_policy = POLICY_NOEVICTION;
    c->maxmemory_samples = 5;
    c->lfu_log_factor = 10;
    c->lfu_decay_time_min = 1;
    c->proto_max_bulk_bytes = 512ull << 20;
    c->client_query_buffer_bytes = 1ull << 30;
    c->output_limit[1] = (struct output_limit){256ull << 20, 64ull << 20, 60, 0};
    c->output_limit[2] = (struct output_limit){32ull << 20, 8ull << 20, 60, 0};
    c->maxclients = 10000;
    c->tcp_keepalive_s = 300;
    c->tcp_stall_timeout_s = 300;
    c->tcp_user_timeout_s = LIMIT_TCP_USER_TIMEOUT_S;
    c->tcp_backlog = 511;
    c->hz = 10;
    c->databases = LIMIT_DATABASES;
    c->idle = IDLE_ADAPTIVE;
    c->enable_debug_command = DEBUG_CMD_NO;
    c->protected_mode = 1;
    c->active_expire = 1;
    c->durable_reads = 1;
    c->rdbcompression = 1;
    c->hash_max_listpack_entries = 512;
    c->hash_max_listpack_value = 64;
    c->zset_max_listpack_entries = 128;
    c->zset_max_listpack_value = 64;
    c->set_max_intset_entries = 512;
    c->list_max_listpack_size = -2;
    c->hll_sparse_max_bytes = 3000;
    c->stream_node_max_bytes = 4096;
    c->stream_node_max_entries = 100;
    c->slowlog_slower_than_us = 10000;
    c->slowlog_max_len = 128;
    c->latency_tracking = 1;
    c->latency_threshold_ms = 0;
    c->snapshot_slice_us = 5;
    c->tracking_max_keys = 1000000;
}
