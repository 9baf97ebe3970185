/* check_files: `barewire check-files FILE... [--fix]`: is a snapshot or an append-only file whole, and what can be kept of one that is not. */
#pragma once

#include <stdbool.h>
#include <stdio.h>

/* argv begins after "check-files". Exit status: 0 all are whole, or were mended; 1 one is damaged; 2 the words are wrong. */
int check_files_main(int argc, char **argv);
/* One file. 0, 1; what was found is written to `out`. */
int check_file(const char *path, bool fix, FILE *out);
