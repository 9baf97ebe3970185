/* The compiled XDP program (steer.bpf.c) as an ELF object in memory, for libbpf. */
#pragma once

#include <stddef.h>

extern const unsigned char steer_object[];
extern const size_t steer_object_bytes;
