/* Replies of a pipeline over several shards. Plain requests of one client that follow each other (hop.c) share one slot of its line:
 *
 *   slot -> slot -> row -> slot          piece 0      piece 1      piece 2          piece 3
 *                    |                   mail, 0, 71  mail, 0, 5   not there yet    aside, 71, 5
 *                    +-- struct row -->               ^ at: those before it have left
 *
 * A reply stays where it was written, in the mail that the owner has sent back or in worker.aside, which is pinned until it has left. What
 * is there leaves in order, however much is not there yet; but where one may not be told yet (journal_wait) all of the row wait, since
 * it is the slot that the journal lets go. Thread: the worker's. */
#include <stdlib.h>
#include <string.h>

#include "dataplane/conn/conn_internal.h"
#include "engine/base/assert.h"

#define SPARE_ROWS 256

_Static_assert(ROW_MOST <= UINT8_MAX, "mail_cmd.piece");

struct row *row_new(struct conn *c)
{
    struct worker *w = c->w;
    struct row *row;
    if (likely_(!list_empty(&w->spare_rows))) {
        row = list_entry(list_pop_front(&w->spare_rows), struct row, slot.node);
        w->spare_row_count--;
    } else {
        row = malloc(sizeof(*row));
        CHECK(row); /* a kilobyte: the batch bounds how many are made in a turn */
    }
    row->slot = (struct slot){.home = w, .conn = c, .parts = 1, .row = true};
    row->n = row->at = 0;
    row->gated = false;
    list_push_back(&c->slots, &row->slot.node);
    return row;
}

void row_free(struct row *row)
{
    struct worker *w = row->slot.home;
    for (uint32_t i = row->at; i < row->n; i++)
        if (row->piece[i].mail)
            mail_unpin(w, row->piece[i].mail);
    if (unlikely_(w->spare_row_count == SPARE_ROWS)) {
        free(row);
        return;
    }
    list_push_front(&w->spare_rows, &row->slot.node);
    w->spare_row_count++;
}

void row_add(struct row *row, struct mail *m, size_t off, size_t len)
{
    row->piece[row->n++] = (struct row_piece){.mail = m, .off = off, .len = len};
    m->pins++;
    slot_count(row->slot.conn, len);
}

void row_end(struct row *row)
{
    struct conn *c = row->slot.conn;
    if (likely_(c))
        c->nslots += row->n;
    if (unlikely_(--row->slot.parts == 0))
        slot_ready(&row->slot); /* there was no memory for a mail */
}

static inline void put(struct reply *r, const uint8_t *p, size_t n)
{
    if (unlikely_(n > (size_t)(r->end - r->cur))) {
        reply_raw(r, p, n);
        return;
    }
    memcpy(r->cur, p, n);
    r->cur += n;
}

bool row_write(struct row *row)
{
    struct slot *s = &row->slot;
    struct conn *c = s->conn;
    struct worker *w = s->home;
    if (unlikely_(row->gated) && s->parts)
        return false;
    struct row_piece *p = row->piece + row->at, *end = row->piece + row->n;
    struct reply *r = p != end && p->mail ? out_open(c) : NULL;
    for (; p != end && p->mail; p++) {
        struct mail *m = p->mail;
        put(r, m->replies.p + p->off, p->len);
        row->at++;
        if (unlikely_(p->held != NULL))
            long_begin(c, p->held, m->to);
        mail_unpin(w, m);
        if (unlikely_(c->longer != NULL) && p + 1 != end)
            return false;
    }
    if (p != end || s->parts)
        return false;
    list_remove(&s->node);
    c->nslots -= row->n;
    return true;
}

void row_forget(struct row *row)
{
    for (uint32_t i = row->at; i < row->n; i++) {
        struct row_piece *p = &row->piece[i];
        if (p->mail && p->held)
            long_forget(row->slot.home, p->held, p->mail->to);
    }
}

/* Where some of it may have come. */
static inline void go_on(struct row *row)
{
    struct slot *s = &row->slot;
    struct conn *c = s->conn;
    if (unlikely_(!c || s->resumes)) {
        if (s->parts == 0)
            slot_ready(s);
        return;
    }
    if (c->slots.next == &s->node)
        slots_flush(c);
    if (unlikely_(c->state != 0))
        conn_mark(c);
}

struct mail_cmd *row_take(struct worker *w, struct mail *m, struct mail_cmd *mc)
{
    struct slot *s = mc->slot;
    struct row *row = row_of(s);
    struct conn *c = s->conn;
    size_t bytes = 0;
    do {
        w->posted--;
        if (unlikely_(mc->took >= w->slow_cycles))
            times_row(w, mc);
        if (likely_(c != NULL)) {
            row->piece[mc->piece] = (struct row_piece){m, mc->reply_off, mc->reply_len, mc->held};
            m->pins++;
            bytes += mc->reply_len;
        } else if (mc->held) {
            long_forget(w, mc->held, m->to);
        }
        if (unlikely_(mc->gate != 0) && journal_pending(w, m->to, mc->gate)) {
            row->gated = true;
            journal_wait(w, s, m->to, mc->gate);
        } else {
            s->parts--;
        }
        mc = mc->next;
    } while (mc && mc->slot == s);
    if (likely_(c != NULL))
        slot_count(c, bytes);
    go_on(row);
    return mc;
}
