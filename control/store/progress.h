/* progress: of loading the dataset, for the log and, where standard error is a terminal, as a bar. Thread: the main one. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "control/store/load.h"

struct progress {
    bool bar, shown;
    int64_t start_ms, told_ms; /* unix time */
};

void progress_begin(struct progress *p, int64_t now_ms);
/* A few times a second. */
void progress_show(struct progress *p, const struct load_progress *now, int64_t now_ms);
/* The bar, where one was begun, is whole and its line over. */
void progress_end(struct progress *p, const struct load_progress *now);
