/* cores: lists of processors as the kernel, DPDK and Redis write them. */
#pragma once

#include <sched.h>

#include "engine/base/bytes.h"

/* "0-3,8", or "0-7:2" for every second one, from the beginning of `text` into *ret; the rest of `text`, which is all of it where no core is
 * named. Cores from CPU_SETSIZE (1024) on are passed over. Format: cpuset(7), "List format"; the step is Redis's (redis.conf, server_cpulist). */
struct span cores_parse(struct span text, cpu_set_t *ret);
