/* transports: what carries the load generator's bytes. */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "dataplane/bench/load.h"

struct options;

/* Kernel sockets: TCP to host:port, or a unix socket when `path` is given. NULL: err. Destroyed by ops->destroy. */
struct transport *transport_socket(const char *host, uint16_t port, const char *path, char *err,
                                   size_t err_len);
/* Our own stack over the port that `o` names, towards host:port (addresses, no names), polled on processor `cpu` (-1: the last one we may
 * run on). */
struct transport *transport_stack(const struct options *o, const char *host, uint16_t port, int cpu,
                                  char *err, size_t err_len);
