/* script: TCP tests written down as segments and times, in a language like packetdrill's (tests/tcp/README.md), against one stack
 * on a virtual clock.
 *
 *   script_load: a .pkt file -> scripts -> lines;  script_run: one of them, on a stack of its own; fails the test by file and line */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct script_line {
    unsigned number;
    char *text;
};

struct script {
    char *file, *name;
    struct script_line *lines;
    size_t count;
};

/* Exits with a message if the file cannot be read. Returns the number of scripts. */
size_t script_load(const char *path, struct script **ret);
void script_free(struct script *scripts, size_t n);
void script_run(const struct script *s);
