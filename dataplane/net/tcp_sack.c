/* tcp_sack: selective acknowledgment, both ways (RFC 2018, RFC 2883).
 *
 *   received: ACK -> check each block -> mark whole segments of the send queue -> tcp_rack_delivered
 *   sent:     early or doubled text -> the islands of the receive queue, the newest first -> bare ACKs
 *
 * The scoreboard is the send queue itself: a segment is SACKed or it is not; a block that covers a part
 * of one says nothing (the peer is free to forget, RFC 2018 8, so all is kept until it is acknowledged).
 * What a peer can make us do is bounded: at most four blocks an ACK, those of the ACK before are known
 * without looking, and a pass walks at most LIMIT_TCP_SACK_WALK segments of one connection. */
#include "dataplane/net/tcp_internal.h"

#define OPT_SACK 5

/* ---- the peer's blocks ---- */

static inline uint32_t load32(const uint8_t *p)
{
    be32_t v;
    memcpy(&v, p, sizeof(v));
    return from_be32(v);
}

static void seg_sacked(struct tcp_conn *tc, struct tx_seg *s)
{
    struct tcp_cold *c = tc->cold;
    if (s->flags & TXS_LOST) {
        s->flags &= (uint8_t)~TXS_LOST;
        c->lost_bytes -= s->len;
    }
    if (s->flags & TXS_NOTED)
        offload_outcome(tc, s, NULL);
    s->flags |= TXS_SACKED;
    c->sacked_bytes += s->len;
    c->loss->delivered += s->len;
    tcp_rack_delivered(tc, s, NULL);
}

static void mark_block(struct tcp_conn *tc, struct tcp_block b)
{
    struct tcp_loss *l = tc->cold->loss;
    struct tx_seg *s = l->hint && seq_le(l->hint->seq, b.start) ? l->hint : tc->q_head;
    for (; s && (s->flags & TXS_SENT) && seq_lt(s->seq, b.end); s = s->next) {
        if (!l->walk_left) {
            STAT_INC(tc->net->stats->tcp_sack_discard);
            return;
        }
        l->walk_left--;
        if ((s->flags & TXS_SACKED) || seq_lt(s->seq, b.start) || seq_lt(b.end, s->seq + s->len))
            continue;
        seg_sacked(tc, s);
        l->hint = s;
    }
}

static bool block_seen(const struct tcp_loss *l, struct tcp_block b)
{
    for (uint32_t i = 0; i < l->seen_n; i++) {
        if (l->seen[i].start == b.start && l->seen[i].end == b.end)
            return true;
    }
    return false;
}

/* RFC 2883 4: the first block repeats what is acknowledged, or a part of the second. */
static bool is_dsack(const struct tcp_seg *seg, const struct tcp_block *b, uint32_t n)
{
    if (seq_lt(b[0].start, seg->ack))
        return seq_le(b[0].end, seg->ack);
    return n > 1 && seq_le(b[1].start, b[0].start) && seq_le(b[0].end, b[1].end);
}

/* Believed only where we have sent within the last window. */
static bool dsack_ok(const struct tcp_conn *tc, struct tcp_block b)
{
    return seq_lt(b.start, b.end) && seq_le(b.end, tc->snd_nxt) &&
           seq_le(tc->snd_una - tc->cold->snd_wnd_max, b.start);
}

/* Returns the number of blocks read into b. */
static uint32_t read_blocks(const struct tcp_seg *seg, struct tcp_block *b)
{
    uint32_t n = seg->sack_n < TCP_SACK_BLOCKS ? seg->sack_n : TCP_SACK_BLOCKS;
    for (uint32_t i = 0; i < n; i++)
        b[i] = (struct tcp_block){load32(seg->sack + 8 * i), load32(seg->sack + 8 * i + 4)};
    return n;
}

bool tcp_sack_of_copy(const struct tcp_seg *seg)
{
    struct tcp_block b[TCP_SACK_BLOCKS];
    uint32_t n = read_blocks(seg, b);
    return n && is_dsack(seg, b, n);
}

static void sort_blocks(struct tcp_block *b, uint32_t n)
{
    for (uint32_t i = 1; i < n; i++) {
        struct tcp_block x = b[i];
        uint32_t k = i;
        for (; k && seq_lt(x.start, b[k - 1].start); k--)
            b[k] = b[k - 1];
        b[k] = x;
    }
}

static void take_dsack(struct tcp_conn *tc, struct tcp_block b, bool *of_probe)
{
    struct tcp_loss *l = tc->cold->loss;
    struct stats_worker *st = tc->net->stats;
    if (!dsack_ok(tc, b)) {
        STAT_INC(st->tcp_sack_discard);
        return;
    }
    STAT_INC(st->tcp_dsack_recv);
    /* RFC 8985 6.2 step 4, 7.4.2: what a loss probe doubled tells nothing of reordering. */
    if (l->tlp_out && b.end == l->tlp_end_seq)
        *of_probe = true;
    else
        l->dsack = true;
    tcp_recovery_dsack(tc, b.start, b.end);
}

void tcp_sack_input(struct tcp_conn *tc, const struct tcp_seg *seg, bool advances)
{
    struct tcp_cold *c = tc->cold;
    struct tcp_loss *l = c->loss;
    struct stats_worker *st = tc->net->stats;
    struct tcp_block b[TCP_SACK_BLOCKS], kept[TCP_SACK_BLOCKS];
    uint32_t n = read_blocks(seg, b), first = 0, kept_n = 0;
    bool of_probe = false;
    if (l->walk_ns != tc->net->now_ns) {
        l->walk_ns = tc->net->now_ns;
        l->walk_left = LIMIT_TCP_SACK_WALK;
    }
    if (n && is_dsack(seg, b, n)) {
        take_dsack(tc, b[0], &of_probe);
        first = 1;
    }
    for (uint32_t i = first; i < n; i++) {
        /* RFC 6675 and 5961 in spirit: only what is in flight can be SACKed. */
        if (!seq_lt(b[i].start, b[i].end) || seq_lt(b[i].start, tc->snd_una) ||
            seq_lt(tc->snd_nxt, b[i].end)) {
            /* Blocks of an ACK that was overtaken lie below SND.UNA and are no lie. */
            if (!seq_lt(b[i].start, b[i].end) || !seq_le(b[i].end, tc->snd_una))
                STAT_INC(st->tcp_sack_discard);
            continue;
        }
        kept[kept_n++] = b[i];
    }
    /* Ascending, whatever order the option has: the newest block comes first there, and an older one
     * behind it is no reordering (RFC 8985 6.2 step 3). */
    memcpy(b, kept, kept_n * sizeof(kept[0]));
    sort_blocks(b, kept_n);
    for (uint32_t i = 0; i < kept_n; i++) {
        if (block_seen(l, b[i]))
            continue;
        if (!(tc->flags & (TF_CARE | TF_RECOVERY | TF_LOSS)))
            l->rack_fack = tc->snd_una; /* it was not kept up in quiet times */
        tcp_care(tc);
        mark_block(tc, b[i]);
    }
    memcpy(l->seen, kept, kept_n * sizeof(kept[0]));
    l->seen_n = (uint8_t)kept_n;
    if (l->tlp_out)
        tcp_tlp_ack(tc, seg, advances, of_probe);
}

void tcp_sack_renege(struct tcp_conn *tc)
{
    struct tcp_cold *c = tc->cold;
    STAT_INC(tc->net->stats->tcp_sack_reneging);
    for (struct tx_seg *s = tc->q_head; s && (s->flags & TXS_SENT); s = s->next)
        s->flags &= (uint8_t)~TXS_SACKED;
    c->sacked_bytes = 0;
    c->loss->hint = NULL;
    c->loss->seen_n = 0;
    tcp_care(tc);
}

/* ---- our own blocks ---- */

void tcp_sack_note(struct tcp_conn *tc, uint32_t seq, uint32_t len)
{
    struct tcp_loss *l = tc->cold->loss;
    uint32_t at = 0;
    bool goes_on = l->recent_n && l->recent_end == seq;
    l->recent_end = seq + len;
    if (goes_on) { /* the newest island grows: the others keep their places */
        l->recent[0] = seq;
        if (!l->fresh)
            l->fresh = 1;
        return;
    }
    while (at < l->recent_n && l->recent[at] != seq)
        at++;
    if (at == l->recent_n) {
        if (l->recent_n < TCP_SACK_RECENT)
            l->recent_n++;
        else
            at = TCP_SACK_RECENT - 1;
    }
    memmove(l->recent + 1, l->recent, at * sizeof(l->recent[0]));
    l->recent[0] = seq;
    if (l->fresh < l->recent_n)
        l->fresh++;
}

void tcp_sack_note_dup(struct tcp_conn *tc, uint32_t start, uint32_t end)
{
    struct tcp_loss *l = tc->cold->loss;
    if (!(tc->flags & TF_SACK) || !seq_lt(start, end))
        return;
    l->dsack_due = true;
    l->dup = (struct tcp_block){start, end};
    STAT_INC(tc->net->stats->tcp_dsack_sent);
}

/* The islands that the remembered numbers lie in, one walk over the receive queue. Numbers whose island
 * is gone, or is a newer one's too, leave the list. */
static void find_islands(struct tcp_conn *tc, struct tcp_block *island)
{
    struct tcp_loss *l = tc->cold->loss;
    struct tcp_block of[TCP_SACK_RECENT];
    bool found[TCP_SACK_RECENT] = {false};
    for (const struct tcp_ooo *o = tc->cold->ooo; o;) {
        struct tcp_block run = {o->seq, o->seq + o->len};
        for (o = o->next; o && o->seq == run.end; o = o->next)
            run.end += o->len;
        for (uint32_t i = 0; i < l->recent_n; i++) {
            if (!found[i] && l->recent[i] - run.start < run.end - run.start) {
                of[i] = run;
                found[i] = true;
                break; /* the newest; older ones inside are the same island */
            }
        }
    }
    uint32_t kept = 0, fresh = 0;
    for (uint32_t i = 0; i < l->recent_n; i++) {
        if (!found[i])
            continue;
        fresh += i < l->fresh;
        island[kept] = of[i];
        l->recent[kept++] = l->recent[i];
    }
    l->recent_n = (uint8_t)kept;
    l->fresh = (uint8_t)fresh;
}

static uint8_t *put_block(uint8_t *p, struct tcp_block b)
{
    be32_t v[2] = {be32(b.start), be32(b.end)};
    memcpy(p, v, sizeof(v));
    return p + sizeof(v);
}

unsigned tcp_sack_write(struct tcp_conn *tc, uint8_t *p)
{
    struct tcp_loss *l = tc->cold->loss;
    struct tcp_block island[TCP_SACK_RECENT];
    uint32_t room = tc->flags & TF_TS ? 3 : 4, n = 0, told = UINT32_MAX;
    uint8_t *at = p + 4;
    find_islands(tc, island);
    if (l->dsack_due) { /* RFC 2883 4: first; then the island that it lies in, if any */
        at = put_block(at, l->dup);
        n++;
        for (uint32_t i = 0; i < l->recent_n; i++) {
            if (l->dup.start - island[i].start < island[i].end - island[i].start) {
                at = put_block(at, island[i]);
                n++;
                told = i;
                break;
            }
        }
        l->dsack_due = false;
    }
    /* RFC 2018 4: the newest, then those reported before. When a burst brought more new ones than an
     * ACK holds, this one tells the oldest of them and further ACKs the rest. */
    uint32_t first = l->fresh > room - n ? l->fresh - (room - n) : 0, i = first;
    for (; i < l->recent_n && n < room; i++) {
        if (i == told)
            continue;
        at = put_block(at, island[i]);
        n++;
    }
    l->fresh = (uint8_t)first;
    if (!n)
        return 0;
    p[0] = p[1] = 1; /* NOP */
    p[2] = OPT_SACK;
    p[3] = (uint8_t)(2 + 8 * n);
    return (unsigned)(at - p);
}
