/* nic: what a network card makes of the mbufs that it is given, and of the frames that it receives: sums, cutting (TSO), VLAN tags. An honest
 * one holds its user to the rules of DPDK's offloads; the others promise the same and do something else. Frames go out as bytes. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include <rte_mbuf.h>

enum nic_lie {
    NIC_HONEST,
    NIC_LEAVES_SUM,   /* the pseudo header's sum stays */
    NIC_WRONG_SUM,    /* a sum, but not that of the segment */
    NIC_CORRUPTS,     /* an octet of text changes after the sum */
    NIC_LOSES_SUMMED, /* what asks for a sum never leaves */
    NIC_NO_CUT,       /* the packet leaves as it is, larger than the wire takes */
    NIC_LOSES_CUT,    /* what is to be cut never leaves */
    NIC_SAME_SEQ,     /* all pieces have the number of the first */
    NIC_CUT_NO_SUM,   /* pieces without their sums */
    NIC_TX_LIES,
    NIC_ALL_GOOD = NIC_TX_LIES, /* received: says of every frame that it is whole */
    NIC_ALL_BAD,                /* that none is */
    NIC_TAG_STAYS,              /* says that the tag was taken out; it was not */
    NIC_NO_STRIP,               /* leaves the tag and says nothing */
    NIC_LIES
};

struct nic {
    bool ip_sum, tcp_sum, tso, rx_sum, strip;
    bool whole; /* a virtual one: sums and cuts nothing, its other end is told to do without */
    bool
        rx_none; /* rx_sum: as virtio does, the sum is said to be missing and the text to be whole */
    uint16_t max_segs;
    enum nic_lie lie;
    uint64_t packets_cut, pieces, summed;
};

typedef void nic_out(void *ctx, const uint8_t *frame, uint32_t len);
/* NULL, or what the mbuf asks that no card does. The mbuf stays the caller's. */
const char *nic_send(struct nic *nic, const struct rte_mbuf *m, uint32_t l2, nic_out *out,
                     void *ctx);
/* Flags of a received frame; takes the tag out. m: linear, its bytes its own. */
void nic_receive(const struct nic *nic, struct rte_mbuf *m);
