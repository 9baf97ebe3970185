/* What INFO tells of the store. Filled by store_info (store.c). */
#pragma once

#include <stdbool.h>
#include <stdint.h>

struct store_info {
    bool loading;
    int64_t loading_start_s;
    uint64_t loading_total_bytes, loading_loaded_bytes, loading_rdb_used_mem;
    uint64_t load_keys_loaded, load_keys_expired; /* of the last load */
    bool saving, save_scheduled;
    int64_t last_save_s;         /* unix time */
    int64_t last_save_took_s;    /* -1: none yet */
    int64_t current_save_took_s; /* -1: none is made */
    bool last_save_ok;
    uint64_t saves, save_keys, save_keys_total;
    bool aof_on, aof_failing;
    uint64_t aof_current_bytes, aof_base_bytes, aof_delayed_fsync, aof_fsyncs, aof_groups;
    bool aof_rewriting, aof_rewrite_scheduled, aof_rewrite_ok;
    uint64_t aof_rewrites, aof_rewrite_failures;
    int64_t aof_rewrite_took_s, aof_current_rewrite_took_s; /* -1: none */
    uint64_t saved_dirty; /* changes of the workers' count that the last snapshot has */
};
