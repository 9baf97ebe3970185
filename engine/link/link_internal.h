/* One process's mapping of the region; shared by link.c and page.c. */
#pragma once

#include <sys/types.h>

#include "engine/base/assert.h"
#include "engine/link/layout.h"

#define LINK_INSTANCE_BYTES 64

struct link {
    struct link_header *h;
    size_t total;
    int fd;
    bool control; /* which side this process is */
    uint32_t workers;
    uint32_t seen_generation;
    char instance[LINK_INSTANCE_BYTES + 1];
    struct ring to[LIMIT_WORKERS], from[LIMIT_WORKERS];
};

bool link_lock_held_elsewhere(int fd, off_t byte);
void link_rings_format(struct link *l, uint32_t generation);
int link_views(struct link *l); /* (re)makes this side's ring views; -EINVAL: a ring is not sane */
