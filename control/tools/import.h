/* import: `barewire import SOURCE`: the data of a Redis into a server that runs, as that one's client. SOURCE is an RDB file, a log (a directory with a manifest, or
 * a file), or host:port of a Redis, which is read as its replica and never written to. argv begins behind the word. Exit status: 0 all is there; 1 not; 2 words. */
#pragma once

#include <signal.h>
#include <stdbool.h>

#include "control/tools/client.h"
#include "control/tools/tool.h"
#include "engine/log/rdb_file.h"

int import_main(int argc, char **argv);

/* ---- what its files share ---- */

struct import {
    struct client to;
    uint32_t db; /* that its client is in; UINT32_MAX: not known */
    uint64_t keys, expired, commands;
    uint32_t functions, modules;
    int64_t now_ms;
    uint8_t *payload;
    size_t payload_cap;
    struct tool_bar bar;
    char err[1200];
};

__attribute__((format(printf, 2, 3))) bool import_fail(struct import *im, const char *fmt, ...);
bool import_select(struct import *im, uint32_t db);
/* One key, by RESTORE REPLACE; `value`: its RDB bytes, without the type. Whose time is over is left out. */
bool import_key(struct import *im, struct span key, uint8_t type, struct span value,
                uint32_t version, int64_t expire_ms, int64_t idle_s, int64_t freq);
bool import_item(struct import *im, const struct rdb_file *f, const struct rdb_item *item);

/* import_log.c: a log's files in order; each may begin with an RDB. */
bool import_log(struct import *im, const char *const *paths, uint32_t n);

/* import_live.c */
struct import_live {
    struct client_where from;
    bool once;                         /* up to what the source had when its RDB was loaded */
    const volatile sig_atomic_t *stop; /* else up to this */
};
bool import_live(struct import *im, const struct import_live *l);
