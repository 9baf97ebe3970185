/* tcp_loss: what a connection knows about losses: the peer's SACK blocks, RACK-TLP, recovery and its
 * undo, our own SACK blocks, ECN. In an array beside the cold records, so that a connection without trouble takes no memory for it:
 * all zero when it begins, written only while something is wrong:
 * TF_CARE, TF_RECOVERY or TF_LOSS, and TF_ECE, take ACKs and output off their short ways.
 *
 *   ACKs of a burst: tcp_ack_input -> tcp_sack_input -> marks, tcp_rack_delivered
 *   once per output pass: tcp_recovery_pass -> tcp_rack_detect -> enter, pace (PRR) or leave recovery
 *   timers: TT_REXMIT (a loss probe before the timeout), TT_REO (RACK's reordering window) */
#pragma once

#include <stdbool.h>
#include <stdint.h>

struct tcp_conn;
struct tcp_seg;
struct tx_seg;

#define TCP_SACK_BLOCKS  4 /* in one option */
#define TCP_SACK_RECENT  8 /* islands of the receive queue whose order of arrival is remembered */
#define TCP_SACK_OPT_MAX 36

struct tcp_block {
    uint32_t start, end;
};

struct tcp_loss {
    /* Scoreboard: marks on the send queue (TXS_SACKED), sacked_bytes in the cold record. */
    struct tx_seg *hint;                    /* the last one marked; NULL: look from the head */
    struct tcp_block seen[TCP_SACK_BLOCKS]; /* of the last ACK: known blocks are not walked again */
    uint8_t seen_n;
    uint64_t walk_ns; /* the pass in which walk_left was filled */
    uint32_t walk_left;

    /* This pass. */
    bool due;           /* tcp_recovery_pass has something to look at */
    bool advanced;      /* snd_una moved */
    bool dsack;         /* a D-SACK came that no loss probe explains */
    uint32_t delivered; /* bytes newly acknowledged or SACKed */

    /* RACK, RFC 8985 5.2; names as there. */
    uint64_t rack_xmit_ns, rack_rtt_ns, min_rtt_ns, min_rtt_at_ns;
    uint32_t rack_end_seq, rack_fack;
    uint32_t dsack_round; /* snd_nxt when the last D-SACK widened the window */
    bool in_dsack_round, reordering_seen;
    uint8_t reo_wnd_mult, reo_wnd_persist;

    /* Tail loss probe, RFC 8985 7. */
    bool tlp_due, tlp_out;
    uint8_t tlp_delays; /* lone segments whose probe was answered by a D-SACK: the peer delays */
    uint32_t tlp_end_seq, tlp_flight;

    /* Recovery: PRR (RFC 6937), undo (RFC 3522, 4015, D-SACK by RFC 3708). */
    uint32_t prr_delivered, prr_out, recover_fs;
    bool undo, undo_first; /* undo_first: no ACK of new data came since the first retransmission */
    bool undo_rto;
    bool retrans_ts_set;
    uint64_t retrans_ns; /* the last one, of whatever segment */
    uint64_t undo_ns;
    uint32_t undo_una, undo_end; /* snd_una and snd_nxt when it began */
    uint32_t undo_cwnd, undo_ssthresh, retrans_ts;
    int32_t undo_bytes; /* sent again, not reported twice received */

    /* ECN, RFC 3168. */
    bool cwr_due;   /* the next new segment says CWR */
    bool cwr_round; /* reacted: not again before cwr_end is acknowledged */
    bool ecn_watch; /* the algorithm wants to see each ACK (tcp_cc.marked) */
    uint32_t cwr_end;

    /* What we report of our receive queue: newest first (RFC 2018 4). */
    uint32_t recent[TCP_SACK_RECENT];
    uint32_t recent_end;     /* end of the text noted last */
    uint8_t recent_n, fresh; /* fresh: of those, not reported yet */
    bool dsack_due;
    struct tcp_block dup; /* RFC 2883: received twice */
    uint32_t ts_copy;     /* of the last copy of old text, to be echoed, */
    uint32_t ts_recent;   /* and what PAWS goes by meanwhile */
    /* ACKs for early text, tcp_reass.c. */
    uint32_t gap_seq; /* rcv_nxt when they were counted */
    uint8_t gap_told; /* of the gap there, segments that were answered at once */
    uint8_t gap_held; /* segments that no ACK has told of, which may wait for the hole's repair */
};

/* ---- tcp_sack.c ---- */
/* The blocks of an ACK for our data; after tcp_ack_advance. advances: it acknowledged new data. */
void tcp_sack_input(struct tcp_conn *tc, const struct tcp_seg *seg, bool advances);
/* This ACK answers a second copy of something (RFC 2883 4). */
bool tcp_sack_of_copy(const struct tcp_seg *seg);
/* The peer threw SACKed data away (RFC 2018 8): forget what it said. */
void tcp_sack_renege(struct tcp_conn *tc);
/* Text came early, or twice: what the next ACKs report. */
void tcp_sack_note(struct tcp_conn *tc, uint32_t seq, uint32_t len);
void tcp_sack_note_dup(struct tcp_conn *tc, uint32_t start, uint32_t end);
/* The option for a bare ACK, with the NOPs in front; its length, 0: nothing to report. */
unsigned tcp_sack_write(struct tcp_conn *tc, uint8_t *p);

/* ---- tcp_rack.c ---- */
/* s is delivered: acknowledged, by seg, or SACKed for the first time (seg NULL). */
void tcp_rack_delivered(struct tcp_conn *tc, const struct tx_seg *s, const struct tcp_seg *seg);
/* Marks what is lost by time, arms TT_REO for what may be. Bytes newly marked. */
uint32_t tcp_rack_detect(struct tcp_conn *tc);
/* RFC 8985 6.3: which segments a timeout takes for lost. */
void tcp_rack_timeout(struct tcp_conn *tc);
void tcp_rack_dsack_seen(struct tcp_conn *tc);
void tcp_rack_recovery_over(struct tcp_conn *tc);
/* When a loss probe is due, at most the time of the timeout; UINT64_MAX: none. */
uint64_t tcp_tlp_at_ns(const struct tcp_conn *tc);
/* The retransmission timer ran out: a probe goes instead, or it is too early. False: a timeout. */
bool tcp_tlp_fire(struct tcp_conn *tc);
void tcp_tlp_sent(struct tcp_conn *tc);
void tcp_tlp_ack(struct tcp_conn *tc, const struct tcp_seg *seg, bool advances,
                 bool dsack_of_probe);

/* ---- tcp_recovery.c ---- */
/* Something happened that tcp_recovery_pass must see, in this pass. */
void tcp_care(struct tcp_conn *tc);
/* s is acknowledged, and was not SACKed before. */
void tcp_loss_acked(struct tcp_conn *tc, const struct tx_seg *s, const struct tcp_seg *seg);
void tcp_recovery_pass(struct tcp_conn *tc);
/* Losses begin: `recover`, undo and ssthresh; TF_RECOVERY. cwnd is the caller's. */
void tcp_recovery_begin(struct tcp_conn *tc);
void tcp_recovery_timeout(struct tcp_conn *tc);
/* s, or the FIN when NULL, went out again. */
void tcp_retransmitted(struct tcp_conn *tc, const struct tx_seg *s);
/* An ACK of new data: was the retransmission in vain (Eifel)? */
void tcp_recovery_advance(struct tcp_conn *tc, const struct tcp_seg *seg);
/* A D-SACK of [start, end): one copy of ours was in vain. */
void tcp_recovery_dsack(struct tcp_conn *tc, uint32_t start, uint32_t end);
/* cwnd goes back once, without a loss to repair (ECE, a probe that repaired one). */
void tcp_cwnd_reduce(struct tcp_conn *tc, uint32_t flight, bool ecn);

/* ---- tcp_ecn.c ---- */
/* A segment with text: its CE mark and CWR. Before the text is taken. */
void tcp_ecn_input(struct tcp_conn *tc, const struct tcp_seg *seg);
/* An ACK, with the bytes it newly acknowledges. */
void tcp_ecn_ack(struct tcp_conn *tc, const struct tcp_seg *seg, uint32_t acked);
