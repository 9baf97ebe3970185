/* memory_script: a script of commands, each run once for every allocation that it makes, with that one failing. Nobody may crash or leak,
 * and a command that answers an error has changed nothing that a client can see: type, content, expiry. */
#pragma once

#include "tests/unit/cmd/harness.h"

struct memory_script {
    const char *const *setup; /* what is there before each command; NULL-ended, as all of these */
    const char *const *keys;  /* whose content must not change */
    const char *const *lines;
    /* True for lines that may have done a part of their work (several independent keys). NULL: none. */
    bool (*partial)(const char *line);
    void (*configure)(struct engine_config *c); /* NULL: as it is */
};

/* Fails the test, or returns how many allocations failed in all. */
size_t memory_script_run(const struct memory_script *m, uint32_t shards);
