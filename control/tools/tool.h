/* tool: what barewire's backup, restore, verify and import share: bars, files, whole looks at RDB and append-only files. Thread: the tool's only one. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "engine/base/bytes.h"
#include "engine/log/aof.h"

#define TOOL_PATH 8192

/* On standard error when it is a terminal, at most ten times a second. */
struct tool_bar {
    const char *what;
    uint64_t total, done; /* bytes */
    int64_t shown_ms;
    bool on;
};
void tool_bar_begin(struct tool_bar *b, const char *what, uint64_t total);
void tool_bar_add(struct tool_bar *b, uint64_t n);
void tool_bar_end(struct tool_bar *b);

/* Options of a tool: words that begin with '-', each with its value behind it or, where `*flag`, without. */
struct tool_option {
    const char *name;   /* NULL ends the list */
    const char **value; /* or */
    bool *flag;
};
/* Takes them out of argv; what is left are the others. False: one is not known or lacks its value; told. */
bool tool_options(const char *word, int *argc, char **argv, const struct tool_option *o);
/* "2026-11-23T02:01:02Z" and its like ("2026-11-23 02:01:02": UTC; unix seconds). False: it is no time. */
bool tool_time(const char *text, int64_t *ret_s);
#define TOOL_TIME_CHARS 24
const char *tool_time_text(int64_t s, char *to);

/* The whole file, mapped; unmapped with tool_unmap. 0 or -errno. */
int tool_map(const char *path, struct span *ret);
void tool_unmap(struct span s);

#define TOOL_SUM_CHARS 65
/* SHA-256 in hex. */
void tool_sum(struct span s, char *to, struct tool_bar *b);

/* A file of a log or a snapshot. `rdb_bytes`: of an RDB file in front; what follows, commands, is in `aof`. */
struct tool_look {
    bool rdb;
    uint64_t rdb_bytes, keys;
    int64_t ctime; /* of the RDB; -1: not told */
    struct aof_check aof;
    char why[400]; /* what is wrong, and where */
};
/* False: damaged or not whole; `why` tells. A torn end of a log is no damage to it: look at aof.verdict. */
bool tool_look(struct span file, struct tool_look *ret, struct tool_bar *b);
