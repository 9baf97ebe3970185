/* The lease protocol of dataplane/conn/lease.c and the sleep of dataplane/worker.c, for three workers that are owner and holder each.
 *
 * A worker handles one message at a time to its end (atomic here, as in the loop), makes its wake-ups after it has published, and sleeps
 * only when it has looked at its rings after saying so. Each begins ROUNDS rounds over shards of any choice, and COMMANDS commands in all
 * go from any of them to any shard; what it does when, and whose message comes first, is Spin's choice.
 *
 * Checked: a shard is touched by one worker at a time (assertions); every round comes to run and every command is served (an invalid end
 * state otherwise: deadlock, or a worker that sleeps with mail); a worker's commands to a shard go ahead of its later lease of it.
 * That the model can tell: with UNORDERED a worker asks for its shards in another order, with FORGETS_TO_LOOK it sleeps without the last
 * look; both must be found out. tests/model/run. */
#define N 3
#define FREE 3
#ifndef ROUNDS
#define ROUNDS 1
#endif
#ifndef COMMANDS
#define COMMANDS 1
#endif
#define BIT(s) (1 << (s))
#define ALL (BIT(N) - 1)

mtype = { COMMAND, REQUEST, GRANT, RELEASE };

chan ring[N * N] = [4] of { mtype }; /* from * N + to; who it is about is told by the ring */
chan waiting[N] = [N] of { byte };   /* holders, at the owner */
byte deferred[N * N];                /* owner * N + from: commands that wait */
byte ndeferred[N];
byte holder[N];
byte touched[N]; /* how many hold the shard in their hands */
byte posted[N * N];  /* from * N + to: commands under way */
byte sleeping;   /* a bit each */
byte rounds_left = N * ROUNDS, commands_left = COMMANDS, commands = COMMANDS;

#define NOTHING_LEFT (rounds_left == 0 && commands_left == 0)
#define MAIL(me) \
    ((len(ring[0 * N + me]) > 0) || (len(ring[1 * N + me]) > 0) || (len(ring[2 * N + me]) > 0))

#ifdef SLEEP
#define WAKE(to) wake = wake | BIT(to)
#else
#define WAKE(to) skip
#endif

inline send(to, what)
{
    ring[me * N + to] ! what;
    WAKE(to)
}

/* The owner, while its shard is free: what was deferred runs, then the next in line is granted. */
inline pump()
{
    do
    :: holder[me] == FREE && ndeferred[me] > 0 ->
        assert(touched[me] == 0);
        for (k : 0 .. N - 1) {
            posted[k * N + me] = posted[k * N + me] - deferred[me * N + k];
            commands_left = commands_left - deferred[me * N + k];
            deferred[me * N + k] = 0
        }
        ndeferred[me] = 0
    :: holder[me] == FREE && ndeferred[me] == 0 && (len(waiting[me]) > 0) ->
        waiting[me] ? h;
        holder[me] = h;
        assert(posted[h * N + me] == 0);
        if
        :: h == me -> have = have | BIT(me); asked = false
        :: else -> send(h, GRANT)
        fi
    :: else -> break
    od
}

/* The holder: asks for the next shard in order, or has all of them and takes them in its hands. */
inline advance()
{
    do
    :: asking && !asked && !running && (want & ~have) != 0 ->
        if
#ifdef UNORDERED
        :: me == 2 && (want & ~have & 4) -> s = 2
        :: !(me == 2 && (want & ~have & 4)) && ((want & ~have) & 1) -> s = 0
        :: !(me == 2 && (want & ~have & 4)) && !((want & ~have) & 1) && ((want & ~have) & 2) -> s = 1
        :: !(me == 2 && (want & ~have & 4)) && !((want & ~have) & 3) -> s = 2
#else
        :: (want & ~have) & 1 -> s = 0
        :: !((want & ~have) & 1) && ((want & ~have) & 2) -> s = 1
        :: !((want & ~have) & 3) -> s = 2
#endif
        fi;
        asked = true;
        if
        :: s == me -> waiting[me] ! me; pump()
        :: else -> send(s, REQUEST)
        fi
    :: asking && !asked && !running && (want & ~have) == 0 ->
        running = true;
        for (k : 0 .. N - 1) {
            if
            :: want & BIT(k) -> assert(holder[k] == me); touched[k]++; assert(touched[k] == 1)
            :: else
            fi
        }
    :: else -> break
    od
}

inline take(from)
{
    ring[from * N + me] ? what;
    if
    :: what == COMMAND -> deferred[me * N + from]++; ndeferred[me]++
    :: what == REQUEST -> waiting[me] ! from
    :: what == GRANT -> have = have | BIT(from); asked = false
    :: what == RELEASE -> assert(holder[me] == from); holder[me] = FREE
    fi;
    what = COMMAND;
    pump();
    advance()
}

proctype worker(byte me)
{
    byte want = 0, have = 0, wake = 0, s = 0, h = 0, k = 0, rounds = ROUNDS;
    bool asking = false, asked = false, running = false;
    mtype what = COMMAND;
    do
#ifdef SLEEP
    :: atomic { wake & 1 -> sleeping = sleeping & ~1; wake = wake & ~1 }
    :: atomic { wake & 2 -> sleeping = sleeping & ~2; wake = wake & ~2 }
    :: atomic { wake & 4 -> sleeping = sleeping & ~4; wake = wake & ~4 }
#endif
    :: atomic { wake == 0 && rounds > 0 && !asking ->
            select(want : 1 .. ALL);
            have = 0; asking = true; rounds--; advance() }
    :: atomic { wake == 0 && commands > 0 && !asking -> /* a client that waits for its round asks nothing */
            select(s : 0 .. N - 1);
            commands--;
            posted[me * N + s]++;
            if
            :: s == me -> deferred[me * N + me]++; ndeferred[me]++; pump(); advance()
            :: else -> send(s, COMMAND)
            fi;
            s = 0 }
    :: atomic { wake == 0 && running -> /* to its end, and back */
            running = false; asking = false; rounds_left--;
            for (k : 0 .. N - 1) {
                if
                :: want & BIT(k) ->
                    assert(touched[k] == 1);
                    touched[k]--;
                    if
                    :: k == me -> holder[me] = FREE
                    :: else -> send(k, RELEASE)
                    fi
                :: else
                fi
            }
            want = 0; have = 0; s = 0;
            pump() }
    :: atomic { wake == 0 && !running && (len(ring[0 * N + me]) > 0) -> take(0) }
    :: atomic { wake == 0 && !running && (len(ring[1 * N + me]) > 0) -> take(1) }
    :: atomic { wake == 0 && !running && (len(ring[2 * N + me]) > 0) -> take(2) }
#ifdef SLEEP
    :: wake == 0 && !running && (asking || (rounds == 0 && commands == 0)) && !MAIL(me) && !NOTHING_LEFT ->
        sleeping = sleeping | BIT(me);
#ifndef FORGETS_TO_LOOK
        if
        :: MAIL(me) -> sleeping = sleeping & ~BIT(me)
        :: else -> !(sleeping & BIT(me)) || NOTHING_LEFT
        fi
#else
        !(sleeping & BIT(me)) || NOTHING_LEFT
#endif
#endif
    :: atomic { wake == 0 && NOTHING_LEFT && !MAIL(me) && !running && !asking -> break }
    od
}

init
{
    atomic {
        holder[0] = FREE; holder[1] = FREE; holder[2] = FREE;
        run worker(0); run worker(1); run worker(2)
    }
}
