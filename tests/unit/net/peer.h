/* peer: a scripted end of a connection: sends the segments that a test writes down and hands back
 * those that the stack answers with. One stack, one raw host, no delay on the wire. */
#pragma once

#include "tests/unit/net/wire.h"

#define PEER_FIN 0x01
#define PEER_SYN 0x02
#define PEER_RST 0x04
#define PEER_PSH 0x08
#define PEER_ACK 0x10
#define PEER_URG 0x20
#define PEER_ECE 0x40
#define PEER_CWR 0x80

struct pkt { /* a segment the stack sent */
    uint64_t at_ns;
    uint32_t seq, ack, wnd, len, tsval, tsecr;
    uint16_t sport, dport, mss;
    uint8_t flags, wscale;
    bool has_ts, has_wscale, sack_ok;
    uint8_t tos, sack_n;
    uint32_t sack[4][2];
    uint8_t data[2048];
};

struct peer {
    struct wire w;
    struct wire_host *stack, *raw;
    struct stream_app *app;
    struct stream *s; /* the accepted or connected stream */
    bool v6;          /* both ends are fd00::a.b.c.d of these */
    uint32_t ip, stack_ip;
    uint16_t port, stack_port;
    uint8_t mac[6];
    uint32_t seq, ack;      /* next to send, next expected */
    uint32_t wnd;           /* window field */
    bool ts, sack;          /* sack: offered in the SYN */
    uint8_t tos, syn_flags; /* of what we send; besides SYN */
    uint32_t blocks[4][2];  /* SACK blocks of the segments that follow, first to last */
    unsigned blocks_n;
    uint32_t tsval, tsecr;
    struct pkt *got;
    unsigned got_len, got_at;
    unsigned arps, icmps;
    uint8_t last_arp[64], last_icmp[2048];
    uint32_t last_arp_len, last_icmp_len;
    struct rte_mempool *pool;
};

typedef void (*peer_tune)(struct net_config *c);
/* A listening stack (10.0.0.2:6379) and a peer (10.0.0.1:40000). */
void peer_up(struct peer *p, peer_tune tune);
void peer_down(struct peer *p);
/* SYN with options, SYN-ACK, ACK. mss 0: no option; wscale <0: none. */
void peer_handshake(struct peer *p, uint16_t mss, int wscale, bool ts);
void peer_syn(struct peer *p, uint16_t mss, int wscale, bool ts);
/* A segment with explicit numbers; then the stack takes a turn. */
void peer_seg(struct peer *p, uint8_t flags, uint32_t seq, uint32_t ack, const void *data,
              uint32_t len);
/* The next in order, with ACK: moves p->seq. */
void peer_data(struct peer *p, const void *data, uint32_t len);
/* An ACK with SACK blocks: pairs of start and end. */
void peer_sack(struct peer *p, uint32_t ack, unsigned n, const uint32_t (*blocks)[2]);
void peer_ack(struct peer *p); /* acknowledges all that was seen (p->ack) */
/* The next segment that the stack sent; fails if there is none. Moves p->ack if it is in order. */
struct pkt *peer_get(struct peer *p);
void peer_none(struct peer *p);
/* Lets time pass. */
void peer_wait(struct peer *p, uint64_t ns);
/* The application queues n octets of its stream. */
void peer_app_write(struct peer *p, uint64_t n);
/* Octet pattern that the application expects from us. */
const uint8_t *peer_octets(uint64_t from);
/* The peer's address as the stack knows it. */
struct ip_addr peer_addr(const struct peer *p);
static inline uint32_t peer_ip_bytes(const struct peer *p)
{
    return p->v6 ? 40 : 20;
}
/* Raw frames. */
uint32_t peer_frame(struct peer *p, uint8_t *buf, uint8_t flags, uint32_t seq, uint32_t ack,
                    const void *data, uint32_t len);
/* The same with the options as given; len: a multiple of 4. */
uint32_t peer_frame_with(struct peer *p, uint8_t *buf, uint8_t flags, uint32_t seq, uint32_t ack,
                         const uint8_t *opt, uint32_t opt_len, const void *data, uint32_t len);
void peer_fix_checksums(uint8_t *frame, uint32_t l2_len);
void peer_inject(struct peer *p, const void *frame, uint32_t len);
/* A frame with an ICMP error of a router about a packet of ours of `bytes`, sent with sequence number seq. */
enum { PEER_UNREACHABLE = 1, PEER_TOO_BIG, PEER_TIME };
uint32_t peer_error_frame(struct peer *p, uint8_t *f, int kind, uint32_t mtu, uint32_t seq,
                          uint32_t bytes);
