#!/usr/bin/env python3
"""What a snapshot costs those who ask meanwhile, and what the machine makes of as many bytes written by anybody.

    tests/bench/snapshot.py [--build DIR] [--keys N] [--rounds N] [--dir DIR] [--client foremost|own-stack]

Barewire over AF_XDP on core 0; on core 1 its control process, and 16 clients who ask 20,000 GETs and SETs a second, each at its time. Windows of three
seconds by turns: nothing else; one BGSAVE after the other; no BGSAVE, but another process which
writes as many bytes in as many seconds, in calls of 128 KB with an fdatasync every 4 MB.
--client foremost: barewire bench over kernel sockets, SCHED_FIFO, so that whoever writes does not keep the client from its core; own-stack shares it."""
import argparse
import multiprocessing
import os
import signal
import sys
import tempfile
import time
import types
from statistics import median

from contestants import Failed
from durability import RATE, StoredBarewire, fill, phase
from generator import Foremost, OwnStack

CLIENTS = {"foremost": Foremost, "own-stack": OwnStack}
PIECE, SYNC_PIECES = 128 << 10, 32
NOTHING, SNAPSHOT, WRITER = "nothing else", "BGSAVE", "another writer"


def write_on(folder, size, seconds):
    """As a snapshot is written, until it is ended."""
    piece, number = os.urandom(PIECE), 0
    while True:
        path, start, done = os.path.join(folder, f"w{number}"), time.monotonic(), 0
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL)
        while done < size:
            for _ in range(SYNC_PIECES):
                done += os.write(fd, piece)
            os.fdatasync(fd)
            time.sleep(max(start + done * seconds / size - time.monotonic(), 0))
        os.close(fd)
        os.unlink(path)
        number += 1


class Writer:
    """A process that does that while it is entered."""

    def __init__(self, folder, size, seconds):
        self.args, self.folder = (size, seconds), folder

    def __enter__(self):
        self.scratch = tempfile.TemporaryDirectory(prefix="bw-bench-", dir=self.folder)
        self.process = multiprocessing.Process(target=write_on, args=(self.scratch.name, *self.args))
        self.process.start()

    def __exit__(self, *_):
        self.process.kill()
        self.process.join()
        self.scratch.cleanup()


def one_snapshot(server):
    """Bytes and seconds of a BGSAVE beside nothing."""
    start = time.monotonic()
    server.ask("BGSAVE")
    server.wait_for("rdb_bgsave_in_progress")
    return os.path.getsize(os.path.join(server.dir, "dump.rdb")), time.monotonic() - start


def measure(o, server):
    fill(o, server)
    size, seconds = one_snapshot(server)
    print(f"{o.dataset} keys, {size / 1e6:.0f} MB written in {seconds:.2f} s; client: {o.client.name}, {RATE} requests a second", flush=True)
    found = {NOTHING: [], SNAPSHOT: [], WRITER: []}
    for _ in range(o.rounds):
        found[NOTHING].append(phase(o.client, o, server, NOTHING))
        found[SNAPSHOT].append(phase(o.client, o, server, SNAPSHOT))
        with Writer(o.dir, size, seconds):
            found[WRITER].append(phase(o.client, o, server, NOTHING))
    return found


def show(found):
    print(f"{'':16} {'p50 us':>7} {'p99 us':>7}  {'times':>5} {'turn 99.9 %':>11} {'longest own':>11}   p99 of all windows, us")
    for what, windows in found.items():
        p99 = sorted(w["p99_us"] for w in windows)
        ratio = median(p99) / median(w["p99_us"] for w in found[NOTHING])
        print(f"{what:16} {median(w['p50_us'] for w in windows):7.0f} {median(p99):7.0f}  {ratio:5.2f} {median(w['turn_p999_us'] for w in windows):11.0f} "
              f"{median(w['turn_own_us'] for w in windows):11.0f}   {' '.join(f'{x:.0f}' for x in p99)}")
    print("medians of the windows; times: of `nothing else`. Turns are the worker's own account, in us; own: without what else ran on its core.")


def main():
    a = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    a.add_argument("--build", default=os.environ.get("BAREWIRE_BUILD", os.path.join(os.path.dirname(__file__), "../../build")))
    a.add_argument("--keys", dest="dataset", type=int, default=5000000)
    a.add_argument("--rounds", type=int, default=5)
    a.add_argument("--dir", default=".")
    a.add_argument("--client", choices=CLIENTS, default="foremost")
    o = a.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    o.build = os.path.abspath(o.build)
    build, o.client = o.build, CLIENTS[o.client](o.build)
    options = types.SimpleNamespace(**vars(o), mtu=1500, rate=RATE, generator=o.client)
    server = StoredBarewire(f"snapshot{os.getpid()}", options, build, os.path.abspath(o.dir))
    server.start()
    try:
        show(measure(options, server))
    except Failed as e:
        sys.exit(f"snapshot.py: {e}")
    finally:
        server.stop()


if __name__ == "__main__":
    main()
