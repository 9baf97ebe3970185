/* The state matrix: 11 states (and SYN-RECEIVED after an active open) x 9 segments x 5 places in the receive window. Each cell says
 * what RFC 9293 3.10.7 with the mitigations of RFC 5961, which it takes over, asks for; written from that text, section by section.
 *
 * Places, RCV.NXT = N, RCV.WND = W, SEG.LEN = L (SYN and FIN count one):
 *     left: the last octet is N-1 (L = 0: SEQ is N-1)   edge: SEQ = N   inside: SEQ = N + W/2
 *     last: SEQ = N+W-1                                  right: SEQ = N+W
 * CLOSED, LISTEN and SYN-SENT know no window: there the five are SEQ 0, 1, 2^31-1, 2^31, 2^32-1, and must make no difference.
 * Segments with ACK acknowledge all that was sent (SEG.ACK = SND.NXT), "data" is ACK, PSH and 100 octets.
 *
 * A cell is REPLY>NEXT; without >NEXT the state stays.
 *     -       no segment                        ack     <SEQ=SND.NXT><ACK=RCV.NXT><CTL=ACK>
 *     ack?    nothing, or that                   dly     the text is taken; that within 0.5 s (MUST-40)
 *     rst     the reset of 3.10.7.1: <SEQ=SEG.ACK><CTL=RST>, without ACK <SEQ=0><ACK=SEG.SEQ+SEG.LEN><CTL=RST,ACK>
 *     abort   <SEQ=SND.NXT><CTL=RST> with or without ACK
 *     synack  <SEQ=ISS><ACK=RCV.NXT><CTL=SYN,ACK>                                                                                */
#pragma once

#include <stdbool.h>

enum kind { SYN, SYNACK, ACK, RST, RSTACK, FIN, FINACK, DATA, NONE, KINDS };
enum place { LEFT, EDGE, INSIDE, LAST, RIGHT, PLACES };

struct matrix {
    const char *state; /* as tcp_state_name says; CLOSED and LISTEN have no record */
    const char *label;
    bool active; /* SYN_RCVD by simultaneous open */
    const char *cell[KINDS][PLACES];
};

/* Shorthand for what holds of every synchronized state.
 *
 * 3.10.7.4 first: a segment outside the window is answered by an ACK and dropped, a RST is dropped without.
 * second (5961 3.2): RST outside: dropped; exactly at RCV.NXT: by state; elsewhere inside: challenge ACK.
 * fourth (5961 4.2): SYN of any kind and in any place: challenge ACK (outside the window that is step one's ACK).
 * fifth: without ACK: dropped. */
#define OUT_IN(left, edge, inside, last, right) \
    {                                           \
        left, edge, inside, last, right         \
    }
#define SAME_INSIDE(x)        \
    {                         \
        "ack", x, x, x, "ack" \
    }
#define ROWS_SYN_CHALLENGED [SYN] = SAME_INSIDE("ack"), [SYNACK] = SAME_INSIDE("ack")
#define ROWS_RST(next) \
    [RST] = {"-", next, "ack", "ack", "-"}, [RSTACK] = {"-", next, "ack", "ack", "-"}
#define ROWS_WITHOUT_ACK [FIN] = SAME_INSIDE("-"), [NONE] = SAME_INSIDE("-")

static const struct matrix matrix[] = {
    /* 3.10.7.1: "all data in the incoming segment is discarded. An incoming segment containing a RST is discarded. An incoming
     * segment not containing a RST causes a RST to be sent in response." */
    {.state = "CLOSED",
     .label = "CLOSED",
     .cell = {[SYN] = {"rst", "rst", "rst", "rst", "rst"},
              [SYNACK] = {"rst", "rst", "rst", "rst", "rst"},
              [ACK] = {"rst", "rst", "rst", "rst", "rst"},
              [RST] = {"-", "-", "-", "-", "-"},
              [RSTACK] = {"-", "-", "-", "-", "-"},
              [FIN] = {"rst", "rst", "rst", "rst", "rst"},
              [FINACK] = {"rst", "rst", "rst", "rst", "rst"},
              [DATA] = {"rst", "rst", "rst", "rst", "rst"},
              [NONE] = {"rst", "rst", "rst", "rst", "rst"}}},

    /* 3.10.7.2: first RST: ignored. Second ACK: any acknowledgment is bad here: <SEQ=SEG.ACK><CTL=RST>. Third SYN: SYN-RECEIVED
     * and <SEQ=ISS><ACK=RCV.NXT><CTL=SYN,ACK>. Fourth: anything else is dropped. */
    {.state = "CLOSED",
     .label = "LISTEN",
     .cell = {[SYN] = {"synack>SYN_RCVD", "synack>SYN_RCVD", "synack>SYN_RCVD", "synack>SYN_RCVD",
                       "synack>SYN_RCVD"},
              [SYNACK] = {"rst", "rst", "rst", "rst", "rst"},
              [ACK] = {"rst", "rst", "rst", "rst", "rst"},
              [RST] = {"-", "-", "-", "-", "-"},
              [RSTACK] = {"-", "-", "-", "-", "-"},
              [FIN] = {"-", "-", "-", "-", "-"},
              [FINACK] = {"rst", "rst", "rst", "rst", "rst"},
              [DATA] = {"rst", "rst", "rst", "rst", "rst"},
              [NONE] = {"-", "-", "-", "-", "-"}}},

    /* 3.10.7.3: first ACK: SND.UNA < SEG.ACK =< SND.NXT is acceptable (others: the second table below). Second RST: with an
     * acceptable ACK the connection is reset, without ACK dropped. Fourth SYN: with ACK: ESTABLISHED and an ACK; without:
     * SYN-RECEIVED and SYN,ACK. Fifth: neither SYN nor RST: dropped. */
    {.state = "SYN_SENT",
     .label = "SYN-SENT",
     .cell = {[SYN] = {"synack>SYN_RCVD", "synack>SYN_RCVD", "synack>SYN_RCVD", "synack>SYN_RCVD",
                       "synack>SYN_RCVD"},
              [SYNACK] = {"ack>ESTABLISHED", "ack>ESTABLISHED", "ack>ESTABLISHED",
                          "ack>ESTABLISHED", "ack>ESTABLISHED"},
              [ACK] = {"-", "-", "-", "-", "-"},
              [RST] = {"-", "-", "-", "-", "-"},
              [RSTACK] = {"->CLOSED", "->CLOSED", "->CLOSED", "->CLOSED", "->CLOSED"},
              [FIN] = {"-", "-", "-", "-", "-"},
              [FINACK] = {"-", "-", "-", "-", "-"},
              [DATA] = {"-", "-", "-", "-", "-"},
              [NONE] = {"-", "-", "-", "-", "-"}}},

    /* 3.10.7.4, SYN-RECEIVED after a passive open. Second: RST: back to LISTEN. Fourth: a SYN inside the window: back to LISTEN; the
     * SYN to the left is the peer's own again (it lies at IRS): the ACK that step one owes says SYN too, for ours was lost (3.8.1).
     * Fifth: an acceptable ACK: ESTABLISHED, and the segment goes on there: text in order is taken, text ahead is kept and answered
     * at once (RFC 5681 4.2), a FIN in order leads to CLOSE-WAIT; one ahead of order is acknowledged up to the gap. */
    {.state = "SYN_RCVD",
     .label = "SYN-RECEIVED",
     .cell = {[SYN] = {"synack", "->CLOSED", "->CLOSED", "->CLOSED", "ack"},
              [SYNACK] = {"ack", "->CLOSED", "->CLOSED", "->CLOSED", "ack"},
              [ACK] = SAME_INSIDE("->ESTABLISHED"),
              ROWS_RST("->CLOSED"),
              ROWS_WITHOUT_ACK,
              [FINACK] = {"ack", "ack>CLOSE_WAIT", "ack>ESTABLISHED", "ack>ESTABLISHED", "ack"},
              [DATA] = {"ack", "dly>ESTABLISHED", "ack>ESTABLISHED", "ack>ESTABLISHED", "ack"}}},

    /* The same after an active open (3.5, figure 8). Second: RST: the connection was refused. Fourth: as in the synchronized
     * states. */
    {.state = "SYN_RCVD",
     .label = "SYN-RECEIVED, active",
     .active = true,
     .cell = {[SYN] = {"synack", "ack", "ack", "ack", "ack"},
              [SYNACK] = SAME_INSIDE("ack"),
              [ACK] = SAME_INSIDE("->ESTABLISHED"),
              ROWS_RST("->CLOSED"),
              ROWS_WITHOUT_ACK,
              [FINACK] = {"ack", "ack>CLOSE_WAIT", "ack>ESTABLISHED", "ack>ESTABLISHED", "ack"},
              [DATA] = {"ack", "dly>ESTABLISHED", "ack>ESTABLISHED", "ack>ESTABLISHED", "ack"}}},

    /* 3.10.7.4: RST at RCV.NXT: reset. Text in order: taken; ahead: kept, answered at once. FIN in order: CLOSE-WAIT. */
    {.state = "ESTABLISHED",
     .label = "ESTABLISHED",
     .cell = {ROWS_SYN_CHALLENGED, [ACK] = SAME_INSIDE("-"), ROWS_RST("->CLOSED"),
              ROWS_WITHOUT_ACK, [FINACK] = {"ack", "ack>CLOSE_WAIT", "ack", "ack", "ack"},
              [DATA] = {"ack", "dly", "ack", "ack", "ack"}}},

    /* Our FIN is out, and each segment with ACK acknowledges it: fifth: FIN-WAIT-2. The application has closed both ways (MAY-1), so
     * new text, wherever in the window, is lost, and a RST says so (SHLD-3). FIN in order: TIME-WAIT. */
    {.state = "FIN_WAIT_1",
     .label = "FIN-WAIT-1",
     .cell = {ROWS_SYN_CHALLENGED, [ACK] = SAME_INSIDE("->FIN_WAIT_2"), ROWS_RST("->CLOSED"),
              ROWS_WITHOUT_ACK,
              [FINACK] = {"ack", "ack>TIME_WAIT", "ack>FIN_WAIT_2", "ack>FIN_WAIT_2", "ack"},
              [DATA] = {"ack", "abort>CLOSED", "abort>CLOSED", "abort>CLOSED", "ack"}}},

    {.state = "FIN_WAIT_2",
     .label = "FIN-WAIT-2",
     .cell = {ROWS_SYN_CHALLENGED, [ACK] = SAME_INSIDE("-"), ROWS_RST("->CLOSED"),
              ROWS_WITHOUT_ACK, [FINACK] = {"ack", "ack>TIME_WAIT", "ack", "ack", "ack"},
              [DATA] = {"ack", "abort>CLOSED", "abort>CLOSED", "abort>CLOSED", "ack"}}},

    /* The peer's FIN was seen. Seventh: "this should not occur ... ignore the segment text". Eighth: FIN: remain. What is ignored may
     * be acknowledged or not, RCV.NXT must not move. */
    {.state = "CLOSE_WAIT",
     .label = "CLOSE-WAIT",
     .cell = {ROWS_SYN_CHALLENGED, [ACK] = SAME_INSIDE("-"), ROWS_RST("->CLOSED"),
              ROWS_WITHOUT_ACK, [FINACK] = SAME_INSIDE("ack?"), [DATA] = SAME_INSIDE("ack?")}},

    /* Second: RST: CLOSED, without a signal to the user. Fifth: an ACK of our FIN: TIME-WAIT. Text and FIN: as in CLOSE-WAIT. */
    {.state = "CLOSING",
     .label = "CLOSING",
     .cell = {ROWS_SYN_CHALLENGED, [ACK] = SAME_INSIDE("->TIME_WAIT"), ROWS_RST("->CLOSED"),
              ROWS_WITHOUT_ACK, [FINACK] = SAME_INSIDE("ack?>TIME_WAIT"),
              [DATA] = SAME_INSIDE("ack?>TIME_WAIT")}},

    /* Fifth: "the only thing that can arrive in this state is an acknowledgment of our FIN. If our FIN is now acknowledged, delete
     * the TCB, enter the CLOSED state, and return." */
    {.state = "LAST_ACK",
     .label = "LAST-ACK",
     .cell =
         {ROWS_SYN_CHALLENGED, [ACK] = SAME_INSIDE("->CLOSED"), ROWS_RST("->CLOSED"),
          ROWS_WITHOUT_ACK, [FINACK] = SAME_INSIDE("->CLOSED"), [DATA] = SAME_INSIDE("->CLOSED")}},

    /* Fourth: a SYN may begin a new connection (MAY-2) if its number is larger than any of the old one's, to the right of the window
     * too; at RCV.NXT itself, which no octet has had, we are stricter than the text. RST: CLOSED. A FIN again lies to the left: it is
     * acknowledged and 2 MSL begin anew. */
    {.state = "TIME_WAIT",
     .label = "TIME-WAIT",
     .cell = {[SYN] = {"ack", "ack", "synack>SYN_RCVD", "synack>SYN_RCVD", "synack>SYN_RCVD"},
              [SYNACK] = SAME_INSIDE("ack"),
              [ACK] = SAME_INSIDE("-"),
              ROWS_RST("->CLOSED"),
              ROWS_WITHOUT_ACK,
              [FINACK] = SAME_INSIDE("ack?"),
              [DATA] = SAME_INSIDE("ack?")}},
};

/* The fifth step: what SEG.ACK may say, SEQ at the left edge. U = SND.UNA, X = SND.NXT, M = MAX.SND.WND.
 *     stale: U-M-1   oldest: U-M   una: U   nxt: X   future: X+1
 * 5961 5.2: acceptable from U-M to X; else an ACK is sent and the segment is dropped. SYN-RECEIVED and SYN-SENT: only U < SEG.ACK =< X;
 * else <SEQ=SEG.ACK><CTL=RST>, the state stays. Where a FIN of ours is out (FIN-WAIT-1, CLOSING, LAST-ACK), U does not acknowledge it:
 * the state stays, and the segment's own FIN leads from FIN-WAIT-1 to CLOSING. */
enum ack_place { STALE, OLDEST, UNA, NXT, FUTURE, ACK_PLACES };
struct ack_matrix {
    const char *state;
    bool active;
    enum kind kind;
    const char *cell[ACK_PLACES];
};
static const struct ack_matrix ack_matrix[] = {
    {"SYN_SENT", false, SYNACK, {"rst", "rst", "rst", "ack>ESTABLISHED", "rst"}},
    {"SYN_SENT", false, ACK, {"rst", "rst", "rst", "-", "rst"}},
    {"SYN_SENT", false, RSTACK, {"-", "-", "-", "->CLOSED", "-"}},
    {"SYN_SENT", false, FINACK, {"rst", "rst", "rst", "-", "rst"}},
    {"SYN_SENT", false, DATA, {"rst", "rst", "rst", "-", "rst"}},
    {"SYN_RCVD", false, ACK, {"rst", "rst", "rst", "->ESTABLISHED", "rst"}},
    {"SYN_RCVD", false, FINACK, {"rst", "rst", "rst", "ack>CLOSE_WAIT", "rst"}},
    {"SYN_RCVD", false, DATA, {"rst", "rst", "rst", "dly>ESTABLISHED", "rst"}},
    {"SYN_RCVD", true, ACK, {"rst", "rst", "rst", "->ESTABLISHED", "rst"}},
    {"SYN_RCVD", true, FINACK, {"rst", "rst", "rst", "ack>CLOSE_WAIT", "rst"}},
    {"SYN_RCVD", true, DATA, {"rst", "rst", "rst", "dly>ESTABLISHED", "rst"}},
    {"ESTABLISHED", false, ACK, {"ack", "-", "-", "-", "ack"}},
    {"ESTABLISHED",
     false,
     FINACK,
     {"ack", "ack>CLOSE_WAIT", "ack>CLOSE_WAIT", "ack>CLOSE_WAIT", "ack"}},
    {"ESTABLISHED", false, DATA, {"ack", "dly", "dly", "dly", "ack"}},
    {"FIN_WAIT_1", false, ACK, {"ack", "-", "-", "->FIN_WAIT_2", "ack"}},
    {"FIN_WAIT_1", false, FINACK, {"ack", "ack>CLOSING", "ack>CLOSING", "ack>TIME_WAIT", "ack"}},
    {"FIN_WAIT_1", false, DATA, {"ack", "abort>CLOSED", "abort>CLOSED", "abort>CLOSED", "ack"}},
    {"FIN_WAIT_2", false, ACK, {"ack", "-", "-", "-", "ack"}},
    {"FIN_WAIT_2",
     false,
     FINACK,
     {"ack", "ack>TIME_WAIT", "ack>TIME_WAIT", "ack>TIME_WAIT", "ack"}},
    {"FIN_WAIT_2", false, DATA, {"ack", "abort>CLOSED", "abort>CLOSED", "abort>CLOSED", "ack"}},
    {"CLOSE_WAIT", false, ACK, {"ack", "-", "-", "-", "ack"}},
    {"CLOSE_WAIT", false, FINACK, {"ack", "ack?", "ack?", "ack?", "ack"}},
    {"CLOSE_WAIT", false, DATA, {"ack", "ack?", "ack?", "ack?", "ack"}},
    {"CLOSING", false, ACK, {"ack", "-", "-", "->TIME_WAIT", "ack"}},
    {"CLOSING", false, FINACK, {"ack", "ack?", "ack?", "ack?>TIME_WAIT", "ack"}},
    {"CLOSING", false, DATA, {"ack", "ack?", "ack?", "ack?>TIME_WAIT", "ack"}},
    {"LAST_ACK", false, ACK, {"ack", "-", "-", "->CLOSED", "ack"}},
    {"LAST_ACK", false, FINACK, {"ack", "ack?", "ack?", "->CLOSED", "ack"}},
    {"LAST_ACK", false, DATA, {"ack", "ack?", "ack?", "->CLOSED", "ack"}},
    {"TIME_WAIT", false, ACK, {"ack", "-", "-", "-", "ack"}},
    {"TIME_WAIT", false, FINACK, {"ack", "ack?", "ack?", "ack?", "ack"}},
    {"TIME_WAIT", false, DATA, {"ack", "ack?", "ack?", "ack?", "ack"}},
};
