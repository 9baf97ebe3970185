/* check: the preflight of `barewire check`. */
#pragma once

#include <stdio.h>

#include "control/config/config.h"

/* argv begins after "check": [CONF] [--directive value ...]. Exit status: 0, or 1 when something would keep the server from running. */
int check_main(int argc, char **argv);
/* The same over a tree that stands for / (tests; "" is the host). Returns the number of FAIL lines. */
unsigned check_run(const char *root, const struct config *c, FILE *out);
