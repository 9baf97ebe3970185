/* config: the settings of one server, made from config.def.
 *
 * One table row per directive gives its parser, CONFIG GET/SET/REWRITE, the command line, the sample barewire.conf and
 * docs/configuration.md. A value lives in one of three plain structs, by who obeys it:
 *
 *   engine     workers, through the link's config page (engine/shard/config.h); published again after CONFIG SET
 *   dataplane  read once, when the dataplane is started; on its command line
 *   control    the control process itself
 *
 * Thread: the control process's main thread. Nothing here logs or exits: errors and warnings come back as text. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "engine/base/bytes.h"
#include "engine/shard/config.h"

#define CONFIG_ERROR_BYTES 2048
#define CONFIG_PERCENTILES 64

enum config_auto { CONFIG_AUTO_NO, CONFIG_AUTO_YES, CONFIG_AUTO };
enum config_trace { CONFIG_TRACE_NO, CONFIG_TRACE_ERRORS, CONFIG_TRACE_YES };
enum config_congestion { CONFIG_CC_CUBIC, CONFIG_CC_NEWRENO, CONFIG_CC_DCTCP };
enum config_share { CONFIG_SHARE_NONE, CONFIG_SHARE_KERNEL };
enum config_appendfsync { CONFIG_FSYNC_NO, CONFIG_FSYNC_EVERYSEC, CONFIG_FSYNC_ALWAYS };
enum config_loglevel { LOGLEVEL_DEBUG, LOGLEVEL_VERBOSE, LOGLEVEL_NOTICE, LOGLEVEL_WARNING };

#define CONFIG_SAVES 16
struct config_save { /* a snapshot after so long and so many changes */
    uint32_t seconds, changes;
};

/* Strings are heap-owned by struct config, never NULL; "" says unset. */
struct config_dataplane {
    char *
        net_port; /* af_xdp:IFACE, tap:NAME, af_packet:IFACE, pci:0000:03:00.0 or an EAL vdev string */
    char *net_address;  /* CIDR: "10.0.0.2/24" */
    char *net_gateway;  /* "" none */
    uint32_t net_mtu;   /* 0: the port's own */
    uint32_t net_vlan;  /* 0: untagged */
    uint32_t net_share; /* enum config_share */
    uint32_t port;      /* TCP port on net-address */
    uint32_t workers;
    bool core_addressed; /* each worker has a TCP port of its own too */
    uint32_t hugepages;  /* enum config_auto */
    bool heap_large_pages;
    uint32_t mbufs; /* per worker; 0: sized from the queues */
    char *eal_args; /* extra EAL arguments, blanks separate */
    char *instance; /* names the link and the run directory */
    /* 0 in any of these: the stack's own default (net_config_defaults) */
    uint32_t tcp_rto_min_ms, tcp_rto_max_ms, tcp_delayed_ack_ms, tcp_time_wait_ms,
        tcp_time_wait_max;
    uint32_t tcp_keepalive_interval_s, tcp_keepalive_probes, tcp_initial_window_segs;
    uint32_t tcp_congestion; /* enum config_congestion */
    bool tcp_ecn;
    uint32_t tcp_trace; /* enum config_trace */
    uint32_t tcp_trace_events;
    uint64_t tcp_receive_buffer_bytes, tcp_send_buffer_bytes;
};

struct config_control {
    char *unixsocket;        /* "": none */
    char *server_cpulist;    /* cores.h; "": where it was started */
    uint32_t unixsocketperm; /* 0: as umask gives */
    uint32_t door_port;      /* RESP on 127.0.0.1; 0: none */
    char *dir, *logfile, *pidfile;
    char *dbfilename;
    bool rdbchecksum, stop_writes_on_bgsave_error;
    bool appendonly, aof_load_truncated, aof_timestamp_enabled, no_appendfsync_on_rewrite;
    bool aof_rewrite_incremental_fsync, rdb_save_incremental_fsync;
    uint32_t auto_aof_rewrite_percentage;
    uint64_t auto_aof_rewrite_min_size;
    uint32_t appendfsync; /* enum config_appendfsync */
    char *appenddirname, *appendfilename;
    struct config_save save[CONFIG_SAVES];
    uint32_t saves;
    uint32_t loglevel;                      /* enum config_loglevel */
    double percentiles[CONFIG_PERCENTILES]; /* of INFO latencystats */
    uint32_t percentiles_count;
};

struct config {
    struct engine_config engine;
    struct config_dataplane dataplane;
    struct config_control control;

    bool reading,
        save_read;   /* a file is being read; a line of it has said `save`: the next adds to it */
    char *file;      /* absolute path of the configuration file; "" none */
    char **warnings; /* one per directive that is accepted and not obeyed */
    uint32_t warnings_count;
};

/* All defaults, no file. NULL: out of memory. */
struct config *config_new(void);
void config_free(struct config *c);

/* `barewire run [CONF | -] [--directive value ...]`: argv begins after "run". File first, then standard input (`-` as first or last
 * word), then directives, later ones win. 0; -EINVAL with `err` the whole report in Redis's form ("\n*** FATAL CONFIG FILE ERROR ...");
 * -ENOENT when the file cannot be opened, err filled. */
int config_load_args(struct config *c, int argc, char **argv, char *err, size_t err_len);
/* Configuration text as from a file. */
int config_load_text(struct config *c, struct span text, char *err, size_t err_len);

/* ---- CONFIG GET / SET / REWRITE ---- */
enum config_flag {
    CF_RUNTIME = 0,        /* CONFIG SET may change it */
    CF_IMMUTABLE = 1 << 0, /* only at start */
    CF_PROTECTED = 1 << 1, /* only at start, because it would let a client reach files */
    CF_HIDDEN = 1 << 2,    /* CONFIG GET by its exact name only */
    CF_OURS = 1 << 3,      /* not a directive of Redis */
    CF_UNSUPPORTED =
        1 << 4, /* known to Redis, has no effect here; GET tells the state that is true */
    CF_DIRECTIVE = 1 << 5, /* a word of the file only: neither GET nor SET */
    CF_MULTI = 1 << 6,     /* several arguments; in CONFIG SET blanks separate them */
    CF_SENSITIVE = 1 << 7, /* never shown in reports */
    CF_OCTAL = 1 << 8,
    CF_PATH = 1 << 9, /* an existing path, kept absolute */
    CF_CLAMP =
        1 << 10, /* an integer outside the range is moved to its end, as Redis does with hz */
};

enum config_kind {
    CONFIG_BOOL,
    CONFIG_INT,
    CONFIG_MEM,
    CONFIG_ENUM,
    CONFIG_STR,
    CONFIG_SPECIAL,
    CONFIG_FOREIGN
};

struct config_item {
    const char
        *name; /* NULL: not a directive, the heading of those that follow; its title is `group` */
    enum config_kind kind;
    uint32_t flags;
    const char *group;
    const char *default_text; /* as one would write it */
    const char *help;
};

uint32_t config_count(void);
const struct config_item *config_item(uint32_t i);
/* Case-insensitive; UINT32_MAX: unknown. */
uint32_t config_find(struct span name);
/* The value of item i as CONFIG GET tells it, *ret_len bytes and a NUL (a password may hold any byte); malloc'd, NULL when memory is out. */
char *config_get(const struct config *c, uint32_t i, size_t *ret_len);
/* What may be written for item i, for people: "1..64", "yes | no". */
void config_range(uint32_t i, char *to, size_t n);

/* Sets several values, all or none. `pairs` names and values in turn, `count` of them in all (even). On failure nothing is changed and
 * `err` has the whole error reply without its '-' ("ERR ..."). */
int config_set(struct config *c, const struct span *pairs, uint32_t count, char *err,
               size_t err_len);
/* Writes the file anew: comments and order stay, changed values are replaced, new ones appended; temporary file, fsync, rename.
 * -ENOENT: no file was given at start. */
int config_rewrite(struct config *c, char *err, size_t err_len);
/* The rewritten text of `old`; malloc'd. */
char *config_rewrite_text(const struct config *c, struct span old, size_t *ret_len);

/* `barewire config-sample`: the whole table as a commented barewire.conf; malloc'd. */
char *config_sample(void);
/* `barewire config-docs`: the tables of docs/configuration.md; malloc'd. */
char *config_docs(void);
