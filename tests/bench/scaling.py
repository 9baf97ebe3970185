#!/usr/bin/env python3
"""How many workers are worth their cores: costs measured here, a model of them, and a simulation of the same costs turn by turn.

    tests/bench/scaling.py measure [--build DIR] [--runs N]   measures and rewrites tests/bench/scaling.json
    tests/bench/scaling.py model                              tables of docs/scaling.md: requests per second, what bounds them
    tests/bench/scaling.py simulate [--requests N]            workers that turn, mail that takes its time: beside the model, with residence times
    tests/bench/scaling.py check [--build DIR]                the model at points that can be measured: busy time a request with 2, 3, 4 and 8 workers

Times are nanoseconds of a core; a request is a GET of 16 bytes and 64. docs/scaling.md says what is assumed."""
import argparse
import collections
import heapq
import json
import os
import pathlib
import random
import statistics
import subprocess
import sys

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent.parent
COSTS = HERE / "scaling.json"
BURST = 32           # frames a turn
REQUEST, REPLY = 36, 71  # bytes of RESP
HEAD = 14 + 20 + 32      # Ethernet, IPv4, TCP with timestamps
WIRE = 4 + 20            # FCS, preamble and gap
MSS = 1448
# A forwarded request is copied at home, run by its owner and passed on at home; shares of its cost (callgrind, docs/scaling.md).
POST, SERVE, TAKE = 0.40, 0.37, 0.23
MAIL_LINES = 5       # cache lines that a forwarded request takes to the owner and back
MISS_LINES = 3       # bucket, entry, value: lines of memory a request touches among many keys


# ---- measuring ----

def frame_bench(build, command, workers, pipeline, burst, keys, requests, *more):
    argv = [str(build / "tests/bench/frame_bench"), "--command", command, "--workers", str(workers), "--pipeline", str(pipeline),
            "--connections", str(min(50 * workers, 1000)), "--burst", str(burst), "--keys", str(keys), "--requests", str(requests), "--json", *more]
    out = subprocess.run(argv, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, check=True).stdout
    d = json.loads(out.strip().splitlines()[-1])
    return d["ns_median"]


def best(build, runs, *args):
    """The least of some medians of turns: what others took of the core only adds."""
    return min(frame_bench(build, *args) for _ in range(runs))


def measure(o):
    n, b = o.runs, o.build
    keys, requests = 100000, 200000
    one = {p: best(b, n, "get", 1, p, BURST, keys, requests) for p in (1, 16)}
    alone = best(b, n, "get", 1, 1, 1, keys, requests)
    two = {p: best(b, n, "get", 2, p, BURST, keys, requests) for p in (1, 16)}
    four = {p: best(b, n, "get", 4, p, BURST, keys, requests) for p in (1, 16)}
    own = {p: best(b, n, "get", 2, p, BURST, keys, requests, "--core-addressed") for p in (1, 16)}
    # At -P 1 nothing comes behind a forwarded request of the same client; at -P 16 nearly every local one does: two equations, two costs.
    hop1 = statistics.mean([(two[1] - one[1]) / 0.5, (four[1] - one[1]) / 0.75])
    d2, d4 = two[16] - one[16], four[16] - one[16]
    hop16 = 2 * d4 - d2
    aside16 = 2 * d2 - hop16
    multi = {c: best(b, n, c, w, 1, BURST, keys, 20000) for c, w in (("mget", 1),)}
    split = {c: best(b, n, c, 4, 1, BURST, keys, 20000) for c in ("mget", "mset")}
    core = json.loads(subprocess.run([str(b / "tests/bench/core_bench"), "--json"], stdout=subprocess.PIPE, text=True, check=True).stdout)
    costs = {"commit": subprocess.run(["git", "-C", str(ROOT), "rev-parse", "--short", "HEAD"], stdout=subprocess.PIPE, text=True,
                                      check=False).stdout.strip(),
             "local1": one[1], "local16": one[16], "turn": (alone - one[1]) * BURST / (BURST - 1), "own1": own[1], "own16": own[16], "hop1": hop1, "hop16": max(hop16, 0),
             "aside16": max(aside16, 0), "mget_one": multi["mget"], "mget_four": split["mget"], "mset_four": split["mset"], **core}
    COSTS.write_text(json.dumps({k: round(v, 2) if isinstance(v, float) else v for k, v in costs.items()}, indent=2) + "\n")
    print(COSTS.read_text(), end="")


# ---- the model ----

def cost(c, workers, pipeline, forwarded=None):
    """Nanoseconds of all cores for one request. forwarded: share of requests whose key is another worker's; None: keys fall evenly; 0: clients ask the owner,
    who looks whether they are right."""
    if forwarded == 0 and workers > 1:
        return c[f"own{pipeline}"]
    f = (workers - 1) / workers if forwarded is None else forwarded
    if pipeline == 1:
        return c["local1"] + f * (c["hop1"] + lines(c))
    behind = 1 - (1 - f) ** (pipeline / 2)  # a local request has a forwarded one of its pipeline before it
    return c["local16"] + f * (c["hop16"] + lines(c)) + (1 - f) * behind * c["aside16"]


def lines(c):
    """What moving a mail's lines between two cores adds: frame_bench has all workers on one core."""
    return MAIL_LINES * c["line_ns"] / 2


def frames(size):
    """Bytes on the wire of one pipeline's requests or replies."""
    n = -(-size // MSS)
    return size + n * (HEAD + WIRE)


def wire_limit(gbit, pipeline):
    """Requests a second that a link carries: the fuller direction."""
    fuller = max(frames(REQUEST * pipeline), frames(REPLY * pipeline)) / pipeline
    return gbit * 1e9 / 8 / fuller


def per_second(c, workers, pipeline, forwarded=None):
    return workers * 1e9 / cost(c, workers, pipeline, forwarded)


def model(c):
    print("| workers | -P 1, M/s | a worker | core-addressed | -P 16, M/s | a worker | core-addressed | memory, GB/s | ring to ring |")
    print("|---|---|---|---|---|---|---|---|---|")
    for n in (1, 2, 4, 8, 16, 32, 64):
        row = [f"{n}"]
        for p in (1, 16):
            all_, own = per_second(c, n, p), per_second(c, n, p, 0.0)
            row += [f"{all_ / 1e6:.2f}", f"{all_ / n / per_second(c, 1, p) * 100:.0f} %", f"{own / 1e6:.2f}"]
        rate = per_second(c, n, 16)
        # packets in and out pass memory once each way when the cache does not hold them; entries are misses
        row += [f"{rate * (MISS_LINES * 64 + REQUEST + REPLY) / 1e9:.1f}", "-" if n == 1 else f"{c['ring_ns']:.0f} ns"]
        print("| " + " | ".join(row) + " |")
    print()
    print("| link | -P 1: it carries, M/s | workers that fill it, keys evenly, core-addressed | -P 16: it carries | workers |")
    print("|---|---|---|---|---|")
    for gbit in (10, 25, 40, 100, 200, 400):
        row = [f"{gbit} GbE"]
        for p in (1, 16):
            limit = wire_limit(gbit, p)
            need = [next((str(n) for n in range(1, 65) if per_second(c, n, p, f) >= limit), "over 64") for f in (None, 0.0)]
            row += [f"{limit / 1e6:.1f}", ", ".join(need)]
        print("| " + " | ".join(row) + " |")


# ---- the simulation ----

class Worker:
    def __init__(self):
        self.frames = collections.deque()  # arrival times
        self.mail = []                     # heap of (when it can be seen, order, kind, requests)
        self.busy_until = 0.0
        self.awake = False


class Simulation:
    """Workers turn by turn. A pipeline of `p` requests comes as one frame at Poisson times; the keys of its requests fall where chance
    lets them. Requests of a frame that are others' leave at the end of the turn as one mail a target, and the frame is answered when the last one is
    back. Residence: from arrival to the end of the turn that answers."""

    def __init__(self, c, workers, pipeline, load, seed=1):
        self.c, self.n, self.p = c, workers, pipeline
        self.rng = random.Random(seed)
        self.rate = load * per_second(c, workers, pipeline) / pipeline / workers  # frames a second of a worker
        self.workers = [Worker() for _ in range(workers)]
        self.events, self.order = [], 0
        self.done, self.residence, self.end = 0, [], 0.0
        self.turns = self.busy = 0
        hop = (c["hop1"] if pipeline == 1 else c["hop16"]) + lines(c)
        self.local = (c["local1"] if pipeline == 1 else c["local16"])
        self.post, self.serve, self.take = hop * POST, hop * SERVE, hop * TAKE

    def at(self, when, what, *args):
        self.order += 1
        heapq.heappush(self.events, (when, self.order, what, args))

    def arrive(self, now, i):
        w = self.workers[i]
        w.frames.append(now)
        self.at(now + self.rng.expovariate(self.rate) * 1e9, self.arrive, i)
        self.wake(now, i)

    def wake(self, now, i):
        w = self.workers[i]
        if not w.awake:
            w.awake = True
            self.at(max(now, w.busy_until), self.turn, i)

    def deliver(self, now, i, mail):
        self.workers[i].mail.append(mail)
        self.wake(now, i)

    def turn(self, now, i):
        w, c = self.workers[i], self.c
        took, out, answered = c["turn"], collections.defaultdict(list), []
        w.awake = False
        self.turns += 1
        mail, w.mail = w.mail, []
        for _ in range(min(BURST, len(w.frames))):
            frame = [w.frames.popleft(), 0]  # arrival, replies awaited
            behind = False
            for _ in range(self.p):
                owner = self.rng.randrange(self.n)
                took += self.local * (0.75 if owner != i else 1)  # its look-up is in SERVE's account too
                if owner == i:
                    took += c["aside16"] if behind else 0
                    continue
                behind = True
                frame[1] += 1
                took += self.post + 0.25 * self.local
                out[owner].append((i, frame))
            if frame[1] == 0:
                answered.append(frame)
        for requests, is_reply in mail:
            for home, frame in requests:
                if is_reply:
                    took += self.take
                    frame[1] -= 1
                    if frame[1] == 0:
                        answered.append(frame)
                else:
                    took += self.serve
            if not is_reply:
                out[("back", requests[0][0])] += requests
        end = now + took
        w.busy_until = end
        self.busy += took
        for frame in answered:
            self.done += self.p
            self.residence.append(end - frame[0])
        for target, requests in out.items():
            back = isinstance(target, tuple)
            self.at(end + c["ring_ns"], self.deliver, target[1] if back else target, (requests, back))
        if w.frames or w.mail:
            self.wake(end, i)

    def run(self, requests):
        for i in range(self.n):
            self.at(self.rng.expovariate(self.rate) * 1e9, self.arrive, i)
        while self.done < requests:
            now, _, what, args = heapq.heappop(self.events)
            what(now, *args)
        self.end = now
        cut = sorted(self.residence[len(self.residence) // 10:])
        return {"rate": self.done / now * 1e9, "busy": self.busy / now / self.n, "turns": self.turns,
                "p50": cut[len(cut) // 2], "p99": cut[len(cut) * 99 // 100], "p999": cut[len(cut) * 999 // 1000]}


def simulate(c, o):
    print("| workers | pipeline | model, M/s | simulated at 99 %, M/s | 70 %: busy | p50, us | p99 | p99.9 |")
    print("|---|---|---|---|---|---|---|---|")
    for p in (1, 16):
        for n in (1, 2, 4, 8, 16, 64):
            full = Simulation(c, n, p, 0.99).run(o.requests)
            some = Simulation(c, n, p, 0.70).run(o.requests)
            print(f"| {n} | {p} | {per_second(c, n, p) / 1e6:.2f} | {full['rate'] / 1e6:.2f} | {some['busy'] * 100:.0f} % | "
                  f"{some['p50'] / 1000:.2f} | {some['p99'] / 1000:.2f} | {some['p999'] / 1000:.2f} |")


def check(c, o):
    """The workers of frame_bench share one core: the model without the cost of lines that travel."""
    print("| workers | pipeline | model, ns a request | measured | off by |\n|---|---|---|---|---|")
    here = dict(c, line_ns=0.0)
    for p in (1, 16):
        for n in (1, 2, 3, 4, 8):
            want, got = cost(here, n, p), best(o.build, o.runs, "get", n, p, BURST, 100000, 200000)
            print(f"| {n} | {p} | {want:.0f} | {got:.0f} | {(want / got - 1) * 100:+.0f} % |")


def main():
    a = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    a.add_argument("what", choices=["measure", "model", "simulate", "check"])
    a.add_argument("--build", type=pathlib.Path, default=pathlib.Path(os.environ.get("BAREWIRE_BUILD", ROOT / "build")))
    a.add_argument("--runs", type=int, default=5)
    a.add_argument("--requests", type=int, default=200000)
    o = a.parse_args()
    if o.what == "measure":
        measure(o)
        return
    if not COSTS.exists():
        sys.exit(f"{COSTS} is not there: tests/bench/scaling.py measure")
    c = json.loads(COSTS.read_text())
    if o.what == "model":
        model(c)
    elif o.what == "simulate":
        simulate(c, o)
    else:
        check(c, o)


if __name__ == "__main__":
    main()
