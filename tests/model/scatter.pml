/* Requests over several shards (dataplane/conn/scatter.c, part.c) beside leases and commands, for three homes and three shards.
 *
 * Each home has one request over shards of Spin's choice: the first a write into all of them or a read of all, the second a write, the third what
 * THIRD says: one of these, something under their leases, or a command for one shard. Every shard has one key, which all of them mean, so all of them meet. A shard handles one message at a time to its
 * end (atomic here); messages between a home and a shard keep their order; whose comes first is Spin's choice.
 *
 * Checked: each request happens at one moment: `truth` is what the keys are if requests over several shards happen when all their parts are granted, and
 * whatever a read, a command or a holder of leases finds is that; who has keys or a lease of a shard is alone there, but for readers; all comes
 * to its end (an invalid end state otherwise: deadlock, or a wake-up that was lost).
 * With TELLS there is a journal: a write runs at one of its shards, of Spin's choice, and then at the others.
 * With LISTENED somebody hears of changes: a write that has run keeps its keys until its home has told of it, key by key in the order of the request, and
 * each key's changes are told in the order in which they happened: `told` is what was told of last.
 * That the model can tell: with WAITS_AT_ONCE parts wait where they are to be refused, with KEEPS_KEYS what was granted is kept when the others are
 * asked again, with FORGETS who lets go does not look at who waits, with SEES_THROUGH a command does not mind keys, with TELLS_LATE keys are let go of when
 * the write has run. tests/model/run. */
#define N 3
#define FREE 9
#ifndef THIRD
#define THIRD READ
#endif

mtype = { ASK, WAIT, GRANTED, REFUSED, RUN, RAN, DROP, HOME, LEASE, RELEASE, COMMAND, DONE };
mtype = { WRITE, READ, LEASED, ONE };

chan to[N * N] = [2] of { mtype };         /* home * N + shard */
chan from[N * N] = [1] of { mtype, byte }; /* home * N + shard: an answer, with what was read */
chan line[N] = [N] of { byte, mtype };     /* of a shard: who waits for what, first come first */
mtype kind[N];
byte value[N], truth[N];                   /* of a shard's key */
byte told[N];                              /* of those who listen to it: the last value that they have heard of */
byte writer[N];                            /* who has it to write, or FREE */
byte readers[N];                           /* a bit for each that has it to read */
byte holder[N];                            /* of the lease */
byte ended;

#define BIT(i) (1 << (i))
/* Who would change it now: all that was done to it before has been told. */
#ifdef LISTENED
#define HEARD(s) assert(told[s] == value[s])
#else
#define HEARD(s) skip
#endif
#define MEETS(s, k) (writer[s] != FREE || (k != READ && readers[s] != 0))

inline take_keys(s, h)
{
    assert(holder[s] == FREE && writer[s] == FREE);
    if
    :: kind[h] == WRITE -> assert(readers[s] == 0); writer[s] = h
    :: else -> readers[s] = readers[s] | BIT(h)
    fi
}

/* The shard is free: its line, up to the first that has to wait. */
inline pump(s)
{
    do
    :: holder[s] == FREE && len(line[s]) > 0 ->
        line[s] ? <h, waits>;
        if
        :: waits == WAIT && !MEETS(s, kind[h]) ->
            line[s] ? _, _; take_keys(s, h); from[h * N + s] ! GRANTED, value[s]
        :: waits == LEASE && !MEETS(s, LEASED) ->
            line[s] ? _, _; holder[s] = h; from[h * N + s] ! GRANTED, 0
#ifdef SEES_THROUGH
        :: waits == COMMAND ->
#else
        :: waits == COMMAND && !MEETS(s, ONE) ->
#endif
            line[s] ? _, _; assert(value[s] == truth[s]);
            HEARD(s); value[s] = h; truth[s] = h; told[s] = h; from[h * N + s] ! DONE, 0
        :: else -> break
        fi
    :: else -> break
    od;
    h = 0; waits = ASK
}

inline let_go(s, h_)
{
    if
    :: kind[h_] == WRITE -> assert(writer[s] == h_); writer[s] = FREE
    :: else -> assert(readers[s] & BIT(h_)); readers[s] = readers[s] & ~BIT(h_)
    fi;
    from[h_ * N + s] ! HOME, 0;
#ifndef FORGETS
    pump(s)
#endif
}

inline handle(s, i)
{
    to[i * N + s] ? what;
    if
    :: what == ASK ->
        if
        :: holder[s] == FREE && len(line[s]) == 0 && !MEETS(s, kind[i]) ->
            take_keys(s, i); from[i * N + s] ! GRANTED, value[s]
#ifdef WAITS_AT_ONCE
        :: else -> line[s] ! i, WAIT; pump(s)
#else
        :: else -> from[i * N + s] ! REFUSED, 0
#endif
        fi
    :: what == WAIT || what == LEASE || what == COMMAND -> line[s] ! i, what; pump(s)
#if defined(LISTENED) && !defined(TELLS_LATE)
    :: what == RUN -> HEARD(s); value[s] = i; assert(truth[s] == i); from[i * N + s] ! RAN, 0
#else
    :: what == RUN -> HEARD(s); value[s] = i; assert(truth[s] == i); let_go(s, i)
#endif
    :: what == DROP -> let_go(s, i)
    :: what == RELEASE -> assert(holder[s] == i); holder[s] = FREE; pump(s)
    fi;
    what = ASK
}

proctype shard(byte s)
{
    byte h = 0;
    mtype what = ASK, waits = ASK;
    do
    :: atomic { len(to[0 * N + s]) > 0 -> handle(s, 0) }
    :: atomic { len(to[1 * N + s]) > 0 -> handle(s, 1) }
    :: atomic { len(to[2 * N + s]) > 0 -> handle(s, 2) }
    :: atomic { ended == N && len(to[0 * N + s]) == 0 && len(to[1 * N + s]) == 0 &&
            len(to[2 * N + s]) == 0 -> break }
    od
}

inline answer(k_)
{
    from[me * N + k_] ? what, v;
    away = away & ~BIT(k_);
    if
    :: what == GRANTED -> granted = granted | BIT(k_); seen[k_] = v
    :: what == REFUSED -> refused = true
    :: else
    fi;
    v = 0; what = ASK
}

inline gather()
{
    do
    :: atomic { (away & 1) && len(from[me * N + 0]) > 0 -> answer(0) }
    :: atomic { (away & 2) && len(from[me * N + 1]) > 0 -> answer(1) }
    :: atomic { (away & 4) && len(from[me * N + 2]) > 0 -> answer(2) }
    :: atomic { away == 0 -> break }
    od
}

inline send_to(what_, shards)
{
    for (k : 0 .. N - 1) {
        if
        :: (shards) & BIT(k) -> to[me * N + k] ! what_; away = away | BIT(k)
        :: else
        fi
    }
    k = 0
}

inline tell(k_)
{
#ifndef TELLS_LATE
    assert(value[k_] == me && writer[k_] == me);
#endif
    atomic { told[k_] = me; granted = granted | BIT(k_) }
}

/* One after the other, lowest first. */
inline in_order(what_)
{
    do
    :: atomic { (want & ~granted) & 1 -> send_to(what_, 1) } gather()
    :: atomic { !((want & ~granted) & 1) && ((want & ~granted) & 2) -> send_to(what_, 2) } gather()
    :: atomic { !((want & ~granted) & 3) && ((want & ~granted) & 4) -> send_to(what_, 4) } gather()
    :: atomic { (want & ~granted) == 0 -> break }
    od
}

proctype home(byte me)
{
    byte want = 0, away = 0, granted = 0, v = 0, k = 0;
    byte seen[N];
    bool refused = false;
    mtype what = ASK;
    atomic {
        if
        :: me == 2 -> kind[me] = THIRD
        :: me != 2 -> kind[me] = WRITE
        :: me == 0 -> kind[me] = READ
        fi;
        if
        :: kind[me] != ONE -> want = 3
        :: kind[me] != ONE -> want = 5
        :: kind[me] != ONE -> want = 6
        :: kind[me] != ONE -> want = 7
        :: kind[me] == ONE -> want = 1
        :: kind[me] == ONE -> want = 2
        :: kind[me] == ONE -> want = 4
        fi
    }
    if
    :: kind[me] == ONE ->
        atomic { send_to(COMMAND, want) }
        gather()
    :: kind[me] == LEASED ->
        in_order(LEASE);
        atomic {
            for (k : 0 .. N - 1) {
                if
                :: want & BIT(k) ->
                    assert(holder[k] == me && writer[k] == FREE && readers[k] == 0 && value[k] == truth[k]);
                    HEARD(k); value[k] = me; truth[k] = me; told[k] = me; to[me * N + k] ! RELEASE
                :: else
                fi
            }
            k = 0
        }
    :: else ->
        atomic { send_to(ASK, want) }
        gather();
        if
        :: refused ->
#ifdef KEEPS_KEYS
            refused = false;
#else
            atomic { refused = false; send_to(DROP, granted); granted = 0 }
            gather();
#endif
            in_order(WAIT)
        :: else
        fi;
        atomic { /* all of them are granted: this is the moment */
            assert(granted == want && !refused);
            for (k : 0 .. N - 1) {
                if
                :: want & BIT(k) ->
                    assert(holder[k] == FREE && value[k] == truth[k]);
                    if
                    :: kind[me] == WRITE -> assert(writer[k] == me); truth[k] = me
                    :: else -> assert((readers[k] & BIT(me)) && seen[k] == truth[k])
                    fi
                :: else
                fi;
                seen[k] = 0
            }
            granted = 0;
            if
            :: kind[me] == READ -> send_to(DROP, want)
#ifndef TELLS
            :: else -> send_to(RUN, want)
#else
            :: else ->
                if
                :: want & 1 -> granted = want & ~1
                :: want & 2 -> granted = want & ~2
                :: want & 4 -> granted = want & ~4
                fi;
                send_to(RUN, want & ~granted)
#endif
            fi
        }
        gather();
        atomic { send_to(RUN, granted); granted = 0 }
        gather();
#ifdef LISTENED
        do /* lowest last: any order is the request's */
        :: kind[me] == WRITE && (want & 4) && !(granted & 4) -> tell(2)
        :: kind[me] == WRITE && (want & 2) && !(granted & 2) && (granted & 4 || !(want & 4)) -> tell(1)
        :: kind[me] == WRITE && (want & 1) && granted == (want & 6) -> tell(0)
        :: kind[me] == WRITE && granted == want -> break
        :: kind[me] == READ -> break
        od;
#ifndef TELLS_LATE
        if
        :: kind[me] == WRITE -> atomic { send_to(DROP, want) } gather()
        :: else
        fi
#endif
#endif
    fi;
    atomic { want = 0; granted = 0; ended++ }
}

init
{
    atomic {
        writer[0] = FREE; writer[1] = FREE; writer[2] = FREE;
        holder[0] = FREE; holder[1] = FREE; holder[2] = FREE;
        value[0] = FREE; value[1] = FREE; value[2] = FREE;
        truth[0] = FREE; truth[1] = FREE; truth[2] = FREE;
        told[0] = FREE; told[1] = FREE; told[2] = FREE;
        run shard(0); run shard(1); run shard(2);
        run home(0); run home(2);
#ifdef TWO /* without the second home: seconds instead of many minutes and gigabytes */
        ended++
#else
        run home(1)
#endif
    }
}
