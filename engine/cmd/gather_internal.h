/* The finishers that gather.c knows, each beside its command. */
#pragma once

#include "engine/cmd/gather.h"

gather_fn memory_stats_finish, memory_doctor_finish; /* memory_cmd.c */
gather_fn digest_finish;                             /* digest.c */
gather_fn slowlog_get_finish, slowlog_len_finish;    /* slowlog.c */
gather_fn latency_latest_finish, latency_history_finish, latency_reset_finish, latency_graph_finish,
    latency_doctor_finish, latency_histogram_finish; /* latency.c */
