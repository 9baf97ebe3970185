#!/usr/bin/python3
"""What a flood of SYNs and 10,000 clients that never read, or send an octet a second, cost those who are served beside them.

    tests/bench/floods.py [--rounds N] [--trips N] [--clients N] [--priority] [syn] [never] [slow]

Windows of round trips of 20 regular clients, one after the other over all of them, alternate: nothing else going on (idle), the trouble, and for `syn`
the same flood sent to another address, which costs the machine but not the server (elsewhere). Printed: of each kind of window the median of p50
and p99 with the smallest and largest, and the median ratio of p99 within a round; the target is 2. Beside them our own account, which tells a
slow server from a loaded machine: the worker's share of the time in turns that did work, its time for each frame it was sent, and what other
processes than ours took of the cores. Nothing here decides by time: exit status 1 says that a client was not served.
Environment: BAREWIRE_BUILD (./build)."""
import argparse
import contextlib
import os
import pathlib
import statistics
import sys
import threading
import time

HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent / "smoke")]
sys.dont_write_bytecode = True
from contestants import cpu_seconds, go_first, machine_busy_seconds  # noqa: E402
from lab import Client, Failure, Lab, check, until  # noqa: E402
from load_tests import Crowd, Flood, Regulars, few_syn_ack_repeats, many_files  # noqa: E402

VALUE = 16 << 10
COUNTED = ("busy_ns", "rx_packets", "tcp_syncookies_sent")


class Window:
    """Round trips while `trouble` goes on, and what they cost whom."""

    def __init__(self, lab, regulars, trips, others=()):
        ours = [os.getpid(), regulars.pid, lab.pids()[1], *others]
        before, start = lab.info("all"), time.monotonic()
        busy, own = machine_busy_seconds()[0], sum(map(cpu_seconds, ours))
        times = regulars.measure(trips)
        wall = time.monotonic() - start
        own, busy = sum(map(cpu_seconds, ours)) - own, machine_busy_seconds()[0] - busy
        after = lab.info("all")
        delta = {n: int(after[n]) - int(before[n]) for n in COUNTED}
        self.p50, self.p99 = times["p50"], times["p99"]
        self.worker = delta["busy_ns"] / 1e9 / wall
        self.frame_ns = delta["busy_ns"] / max(delta["rx_packets"], 1)
        self.frames = delta["rx_packets"] / wall
        self.syns = delta["tcp_syncookies_sent"] / wall
        self.others = max(0.0, busy - own) / wall / os.cpu_count()


def span(values, form="%.0f"):
    return (form + " [" + form + "-" + form + "]") % (statistics.median(values), min(values), max(values))


def report(name, windows):
    for kind, seen in windows.items():
        print("%-6s %-9s p50 %s us, p99 %s us; worker busy %.0f %%, %.0f frames/s, %.2f us a frame%s; other processes took %.0f %% of the cores" % (
            name, kind, span([w.p50 for w in seen]), span([w.p99 for w in seen]), 100 * statistics.median(w.worker for w in seen),
            statistics.median(w.frames for w in seen), statistics.median(w.frame_ns for w in seen) / 1000,
            ", %.0f cookies/s" % statistics.median(w.syns for w in seen) if kind == "trouble" and name == "syn" else "",
            100 * statistics.median(w.others for w in seen)))
    for kind in windows:
        if kind != "idle":
            print("%-6s %-9s p99 %s times idle" % (name, kind, span([a.p99 / b.p99 for a, b in zip(windows[kind], windows["idle"])], "%.2f")), flush=True)


def syn(o):
    windows = {"idle": [], "elsewhere": [], "trouble": []}
    with Lab("af_xdp", 1, options=few_syn_ack_repeats) as lab, Regulars(lab) as regulars:
        first(o, lab, regulars)
        for _ in range(o.rounds):
            windows["idle"].append(Window(lab, regulars, o.trips))
            for kind, address in (("elsewhere", "127.0.0.1"), ("trouble", None)):
                with Flood(lab, 50, "--rand-source", address=address) as flood:
                    time.sleep(0.3)  # it begins; nothing depends on it
                    windows[kind].append(Window(lab, regulars, o.trips, [flood.process.pid]))
    report("syn", windows)


@contextlib.contextmanager
def nobody_reads(lab, count):
    with Crowd(lab, count) as crowd:
        for s in crowd.socks:
            s.send(Client.encode(["GET", "big"]))
        until("all are there", lambda: int(lab.info("clients")["connected_clients"]) > count, 60)
        yield


@contextlib.contextmanager
def an_octet_a_second(lab, count):
    """Each sends the next octet of a SET once a second, spread over the second."""
    text, over = Client.encode(["SET", "slow", "x" * 1000]), threading.Event()

    def send(socks):
        at = 0
        while not over.is_set():
            start = time.monotonic()
            for i, s in enumerate(socks):
                if i % 100 == 0 and over.wait(max(0, start + i / len(socks) - time.monotonic())):
                    return
                s.send(text[at:at + 1])
            at = (at + 1) % len(text)
            over.wait(max(0, start + 1 - time.monotonic()))

    with Crowd(lab, count) as crowd:
        thread = threading.Thread(target=send, args=(crowd.socks,))
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()


def crowd(o, name, trouble):
    windows = {"idle": [], "trouble": []}
    many_files()
    with Lab("af_xdp", 1, options=["--maxclients", str(o.clients + 100)]) as lab, Regulars(lab) as regulars:
        first(o, lab, regulars)
        with lab.connect() as c:
            check(c.call("SET", "big", os.urandom(VALUE)) == b"OK", "SET")
        for _ in range(o.rounds):
            windows["idle"].append(Window(lab, regulars, o.trips))
            with trouble(lab, o.clients):
                windows["trouble"].append(Window(lab, regulars, o.trips))
            until("they are gone", lambda: int(lab.info("clients")["connected_clients"]) < 100, 60)
    report(name, windows)


def first(o, lab, regulars):
    if o.priority:
        for pid in ("self", lab.pids()[1], regulars.pid):
            go_first(pid)


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--rounds", type=int, default=5)
    p.add_argument("--trips", type=int, default=10000)
    p.add_argument("--clients", type=int, default=10000)
    p.add_argument("--priority", action="store_true")
    p.add_argument("what", nargs="*", choices=("syn", "never", "slow", []))
    o = p.parse_args()
    what = o.what or ["syn", "never", "slow"]
    try:
        if "syn" in what:
            syn(o)
        if "never" in what:
            crowd(o, "never", nobody_reads)
        if "slow" in what:
            crowd(o, "slow", an_octet_a_second)
    except Failure as e:
        print("FAIL", e)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
