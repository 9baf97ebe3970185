/* report: what a run came to: on the terminal, as JSON, as CSV, as HdrHistogram's percentile log; and two of them compared. */
#pragma once

#include <stdbool.h>
#include <stdio.h>

#include "dataplane/bench/load.h"

/* Above this the client had no time left: the figures are its own limit, not the server's. */
#define REPORT_BUSY_LIMIT 0.95

struct report_head {
    const char *transport, *target, *test, *command_line;
    char server[96]; /* what INFO says of it */
    uint64_t keys;
};

/* One line that replaces itself on a terminal. */
void report_progress(void *to, const struct load *l, bool last);
void report_print(FILE *to, const struct report_head *h, const struct load_config *cfg,
                  const struct workload *w, const struct load_result *r);
/* False: the file could not be written; said on stderr. */
bool report_json(const char *path, const struct report_head *h, const struct load_config *cfg,
                 const struct workload *w, const struct load_result *r);
bool report_csv(const char *path, const struct load_result *r);
bool report_hgrm(const char *path, const struct load_result *r);
/* `barewire bench compare A.json B.json`: exit code. */
int report_compare(const char *a, const char *b);
