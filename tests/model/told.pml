/* Publications of several workers to one (dataplane/conn/pubsub.c): they are told in the order in which they were sent, whichever ring is looked at first.
 *
 * Two keys go from worker to worker (by lease, with the keys of a request, back to their owner: by a message, whatever it is). Who has one changes it, takes the listener's next
 * ticket, sends what it has to tell on its ring, and hands the key on to anybody, itself included. A worker does one thing at a time; between ticket and ring others go on. The listener
 * looks at the rings in any order; a message whose ticket is not the next one keeps its ring closed.
 *
 * Checked: of each key its changes are told in the order in which they happened, and all of them (an invalid end state otherwise).
 * That the model can tell: with NO_TICKETS the listener tells what it sees, with LATE_TICKETS the key is handed on before the ticket is taken. tests/model/run. */
#define N       3
#define KEYS    2
#define CHANGES 4

chan ring[N] = [2] of { byte, byte, byte };  /* ticket, key, change */
chan hand[N] = [KEYS] of { byte, byte };     /* a key, with the number of its next change */
byte tickets;

inline hand_on()
{
    if
    :: change + 1 < CHANGES ->
        if
        :: hand[0] ! key, change + 1
        :: hand[1] ! key, change + 1
        :: hand[2] ! key, change + 1
        fi
    :: else
    fi
}

proctype worker(byte me)
{
    byte key = 0, change = 0, ticket = 0;
end:
    do
    :: hand[me] ? key, change;
#ifdef LATE_TICKETS
        hand_on();
#endif
        atomic { ticket = tickets; tickets++ }
        ring[me] ! ticket, key, change;
#ifndef LATE_TICKETS
        hand_on();
#endif
        atomic { key = 0; change = 0; ticket = 0 }
    od
}

#ifdef NO_TICKETS
#define SEES(from) nempty(ring[from])
#else
#define SEES(from) ring[from] ? [eval(due), _, _]
#endif

inline look(from)
{
    ring[from] ? _, key, change;
    due++;
    assert(change == told[key]); told[key]++; key = 0; change = 0
}

proctype listener()
{
    byte due = 0, key = 0, change = 0;
    byte told[KEYS];
    do
    :: atomic { SEES(0) -> look(0) }
    :: atomic { SEES(1) -> look(1) }
    :: atomic { SEES(2) -> look(2) }
    :: atomic { told[0] == CHANGES && told[1] == CHANGES -> break }
    od
}

init
{
    atomic {
        run worker(0); run worker(1); run worker(2); run listener();
        hand[0] ! 0, 0; hand[1] ! 1, 0
    }
}
