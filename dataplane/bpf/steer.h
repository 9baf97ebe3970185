/* What the XDP program and the dataplane say to each other: the values of the program's maps (steer.bpf.c, dataplane/port/steer.c).
 * Compiled for the kernel and for the host; integers in host byte order but where a comment says wire. */
#pragma once

#include <linux/types.h>

#define STEER_PROGRAM    "barewire_steer" /* its name in the kernel: 15 characters at most */
#define STEER_XSKS       "xsks_map"
#define STEER_ADDRESSES6 8
#define STEER_PORTS      8
#define STEER_PREFIXES   64 /* of net-allow, each family */
#define STEER_SYN_SOURCES \
    65536 /* sources whose SYNs are counted; the one unseen for longest gives way */
#define STEER_EXTENSIONS     6   /* IPv6 extension headers that are walked */
#define STEER_EXTENSION_ROOM 512 /* bytes of them */

enum steer_flag {
    STEER_KERNEL = 1, /* the address is Linux's: only TCP of ours leaves it */
    STEER_ALLOW = 2,  /* net-allow is not empty */
    STEER_ROUTERS =
        4, /* Linux speaks no IPv6 on this interface: what routers tell all nodes is ours */
};

struct steer_address6 {
    __u8 byte[16]; /* wire */
};

/* One element of map `config`. Writer: the dataplane, at start and when net-allow or net-syn-limit change. A reader may see a
 * part of a change; each word stands alone. */
struct steer_config {
    __u64 syn_step_ns;  /* a token's time; 0: no limit */
    __u64 syn_burst_ns; /* tokens that may be saved up, as time */
    __u32 flags;
    __u32 ip4; /* wire; 0: no IPv4 */
    __u32 address6_count;
    __u32 port_count; /* 0: every port */
    __u16 port[STEER_PORTS];
    __u16 vlan; /* 0: untagged */
    __u16 pad[3];
    struct steer_address6 address6[STEER_ADDRESSES6];
};

/* Map `counts`, one element per processor. Writer: the program on that processor. Each packet is counted once. */
struct steer_counts {
    __u64 taken;          /* to the dataplane */
    __u64 passed;         /* to Linux: not ours */
    __u64 malformed;      /* to Linux: cut short, or lengths that lie */
    __u64 fragments;      /* to Linux: a fragment without its TCP header */
    __u64 extensions;     /* to Linux: more extension headers than are walked */
    __u64 no_socket;      /* to Linux: ours, but no socket on that queue */
    __u64 drop_allow;     /* dropped: source outside net-allow */
    __u64 drop_syn_limit; /* dropped: SYN over net-syn-limit */
};

struct
    steer_source { /* who sends SYNs: an IPv4 address (mapped), or an IPv6 /64, which one host can fill */
    __u64 high, low;
};

struct steer_prefix4 {
    __u32 bits;
    __u8 byte[4]; /* wire */
};
struct steer_prefix6 {
    __u32 bits;
    __u8 byte[16]; /* wire */
};
