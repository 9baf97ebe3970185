/* keeper: the thread beside the workers that makes the system calls of a port's XDP program. */
#pragma once

#include <stddef.h>

#include "dataplane/port/port.h"
#include "engine/link/link.h"

struct keeper;

/* Puts net-allow and net-syn-limit into the port's filter before it returns, then keeps them so. *ret is NULL when the port has no XDP
 * program: nothing to keep. 0 or -errno with err. */
int keeper_start(struct keeper **ret, struct link *link, struct port *port, char *err,
                 size_t err_len);
void keeper_stop(struct keeper *k); /* before port_stop; NULL does nothing */
