/* Our XDP program on an interface; private to port, and for tests. Every function returns 0 or -errno where it returns an int. */
#pragma once

#include <stddef.h>

#include "dataplane/bpf/steer.h"
#include "dataplane/port/port.h"

struct steer;

/* A program of ours that a killed dataplane left behind is taken off. Call with the interface's lock. */
void steer_sweep(const char *iface);
/* Puts a queue's AF_XDP socket into the XSKMAP of the program that is on the interface now; -1 takes out what is there: the queue's frames
 * are Linux's then. */
int steer_socket(const char *iface, uint32_t queue, int socket);
/* After the driver has started every queue. -ENOTSUP: built without. On failure the driver's own program stays. */
int steer_attach(struct steer **ret, const char *iface, const struct port_steer *p, char *err,
                 size_t err_len);
/* Before the driver closes its queues. If another program stands on the interface by now, that one stays. */
void steer_detach(struct steer *s);
/* After the driver has closed. */
void steer_free(struct steer *s);

int steer_filter(struct steer *s, const struct port_filter *f);
int steer_read(struct steer *s, struct steer_counts *ret);
const char *steer_mode(const struct steer *s);

/* For tests: loaded with an XSKMAP of its own, on no interface; ends with steer_free. linux_ip6: as if Linux spoke IPv6 there. */
int steer_load(struct steer **ret, const struct port_steer *p, bool linux_ip6, const uint8_t mac[6],
               char *err, size_t err_len);
int steer_program_fd(const struct steer *s);
int steer_xskmap_fd(struct steer *s);
