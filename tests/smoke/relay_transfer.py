#!/usr/bin/python3
"""Values each way through a wire that loses, reorders, duplicates, corrupts and delays: identical, and within a deadline.

    relay_transfer.py [--port af_xdp|tap] [--workers N] [--ip6] [--mib N | --scale F] [--connections N] [--seed N]
                      [--linux] [--runs N] [--priority] [PROFILE...]

Without --mib each profile moves a few MiB, as much as takes about a second; --mib 64 is the long run. PROFILE: words of its name.
--linux: after each run the same with redis-server behind a relay of its own, the same options and seed, CUBIC on both sides. Medians of
--runs (3) and the ratio of goodput; under 0.8 the profile fails. SET: Linux sends and we receive; GET: we send. Our buffers are 4 MiB then,
as Linux's grow to that by themselves. --priority: before other processes, on a machine that others use.

One line per profile: seconds of SET and of GET, what the server's TCP did about it, what the relay did to it."""

import argparse
import contextlib
import hashlib
import os
import random
import signal
import statistics
import sys
import threading
import time

from lab import Failure, Lab, check
from linux_pair import LinuxPair

# name; the relay's options (a is the clients' side); KiB of the short run; seconds that a MiB each way may take, for 64 MiB runs
PROFILES = [
    ("clean", "--both loss=0", 8192, 1),
    ("loss 0.1 %", "--both loss=0.1", 8192, 2),
    ("loss 1 %", "--both loss=1", 8192, 4),
    ("loss 2 %", "--both loss=2", 8192, 6),
    ("loss 5 %", "--both loss=5", 4096, 10),
    ("loss 10 %", "--both loss=10", 1024, 30),
    ("loss 20 %", "--both loss=20", 64, 120),
    ("loss 30 %", "--both loss=30", 16, 600),
    ("loss of requests", "--a2b loss=5", 4096, 10),
    ("loss of replies", "--b2a loss=5", 4096, 10),
    ("reorder 1 % by 3", "--both reorder=1:3", 8192, 4),
    ("reorder 5 % by 4", "--both reorder=5:4", 8192, 4),
    ("reorder 20 % by 16", "--both reorder=20:16", 4096, 10),
    ("duplicate 5 %", "--both dup=5", 8192, 2),
    ("duplicate 50 %", "--both dup=50", 8192, 4),
    ("corrupt 1 %", "--both corrupt=1", 8192, 4),
    ("corrupt 10 %", "--both corrupt=10", 1024, 30),
    ("delay 5 to 10 ms", "--both delay=5,jitter=5", 4096, 4),
    ("delay 50 ms", "--both delay=50", 2048, 10),
    ("delay 100 ms", "--both delay=100", 1024, 20),
    ("asymmetric", "--a2b loss=1,delay=2 --b2a loss=3,delay=20,jitter=2", 512, 30),
    ("narrow", "--both rate=100,delay=5,queue=64", 4096, 10),
    ("mix", "--both loss=1,dup=1,corrupt=0.5,reorder=1:3,delay=1,jitter=1", 2048, 10),
    ("hard mix", "--both loss=5,dup=5,corrupt=2,reorder=5:8,delay=10,jitter=10", 192, 60),
    ("flow label 5 %", "--both relabel=5", 2048, 4),
]
# Where a third of all is lost the timeouts of either side double for minutes now and then.
PATIENCE_S = 240
# At 30 % each way half of all exchanges fail: with a thousand connections some meet a dozen failures in a row, more than either side's default bears.
GIVE_UP_S = 7200
LINUX_RETRIES = 60
SHOWN = ["tcp_retrans_segs", "tcp_fast_retrans", "tcp_timeouts", "tcp_lost_retransmit", "tcp_loss_probes", "tcp_loss_probe_recovery",
         "tcp_spurious_rtos", "tcp_full_undo", "tcp_dsack_undo", "tcp_dsack_recv", "tcp_ofo_queue", "tcp_dup_acks_in", "tcp_dup_data",
         "tcp_sack_reneging", "tcp_sack_discard", "stray_frames", "stray_found", "drop_stray", "drop_tcp_checksum", "drop_ip_checksum"]


def values(seed, total, connections):
    """`total` KiB in values of 1 MiB, or in smaller ones, four for each connection."""
    rng = random.Random(seed)
    size = min(1024, max(total // (4 * connections), 1))
    return [rng.randbytes(size << 10) for _ in range(total // size)]


def transfer(lab, connections, data, seconds, ip6=False):
    """SET all from several connections, each taking the next value; GET all back from others; returns both times. Handshakes do not count: a
    SYN that is lost costs the second that Linux's client waits."""
    times, errors, deadline = [], [], time.monotonic() + seconds
    hashes = [hashlib.sha256(d).digest() for d in data]
    for word in ("SET", "GET"):
        left, lock, all_open = iter(range(len(data))), threading.Lock(), threading.Barrier(connections + 1)

        def one(k, word=word):
            i = None
            try:
                with lab.connect(timeout=max(deadline - time.monotonic(), 1), address=lab.address6 if ip6 else None) as c:
                    c.call("PING")  # a server gives up a handshake whose last ACK is lost again and again, and others may take minutes
                    all_open.wait()
                    while not errors:
                        with lock:
                            i = next(left, None)
                        if i is None:
                            return
                        c.sock.settimeout(max(deadline - time.monotonic(), 0.1))
                        if word == "SET":
                            reply = c.call("SET", "relay:%d" % i, data[i])
                            check(reply == b"OK", "SET answered", reply)
                        else:
                            got = c.call("GET", "relay:%d" % i)
                            check(isinstance(got, bytes) and hashlib.sha256(got).digest() == hashes[i], "it came back different")
            except threading.BrokenBarrierError:
                pass
            except (Failure, OSError) as e:
                all_open.abort()
                errors.append("%s of value %s, connection %d: %s" % (word, i, k, e))

        threads = [threading.Thread(target=one, args=(k,), daemon=True) for k in range(connections)]
        for t in threads:
            t.start()
        with contextlib.suppress(threading.BrokenBarrierError):
            all_open.wait()
        start = time.monotonic()
        for t in threads:
            t.join()
        if errors:
            raise Failure("; ".join(errors[:3]))
        times.append(time.monotonic() - start)
    return times


class Runner:
    def __init__(self, o, lab, pair):
        self.o, self.lab, self.pair, self.passed, self.failed = o, lab, pair, 0, 0

    def size(self, kib):
        if self.o.mib:
            return self.o.mib << 10
        return max(int(kib * self.o.scale), 16)

    def runs(self, number, options, kib, seconds):
        """SET and GET times of ours, and of Linux."""
        o, ours, theirs = self.o, [], []
        for n in range(o.runs):
            data, seed = values((o.seed + n) * 100 + number, kib, o.connections), ["--seed", str(o.seed + n)]
            self.lab.lab("relay", *seed, *options.split())
            if o.priority:
                go_first((self.lab.state / "relay.pid").read_text().strip())
            ours.append(transfer(self.lab, o.connections, data, seconds, o.ip6))
            if self.pair:
                self.pair.start(*seed, *options.split())
                theirs.append(transfer(self.pair, o.connections, data, seconds, o.ip6))
                with self.pair.connect() as c:
                    c.call("FLUSHALL")
        return ours, theirs

    def one(self, number, name, options, kib, seconds_per_mib):
        kib = self.size(kib)
        before, start, text = self.lab.info("all"), time.monotonic(), ""
        try:
            ours, theirs = self.runs(number, options, kib, PATIENCE_S + seconds_per_mib * kib / 1024)
            mine = [statistics.median(t) for t in zip(*ours)]
            text = "%.1f MiB, SET %.2f s, GET %.2f s" % (kib / 1024, *mine)
            if theirs:
                linux = [statistics.median(t) for t in zip(*theirs)]
                ratio = [b / a for a, b in zip(mine, linux)]
                each = " ".join("%.2f/%.2f" % (b[0] / a[0], b[1] / a[1]) for a, b in zip(ours, theirs))
                text += "; Linux %.2f s, %.2f s; goodput SET %.2f, GET %.2f of Linux's (runs: %s)" % (*linux, *ratio, each)
                check(min(ratio) >= 0.8, text)
            word = "ok  "
            self.passed += 1
        except Failure as e:
            word, text = "FAIL", "after %.1f s: %s" % (time.monotonic() - start, e)
            self.failed += 1
        after = self.lab.info("all")
        seen = ["%s %d" % (k, int(after[k]) - int(before[k])) for k in SHOWN if after[k] != before[k]]
        print("%s  relay, %s, IPv%d, %d worker(s), %s: %s; %s" % (word, self.o.port, 6 if self.o.ip6 else 4, self.o.workers, name, text,
                                                                  ", ".join(seen) or "nothing lost"), flush=True)
        relay = self.lab.lab("relay", "--seed", "1")
        if word == "FAIL":
            print("\n".join("      " + l for l in relay.splitlines()), flush=True)
        with self.lab.connect_door() as c:
            c.call("FLUSHALL")


def go_first(pid):
    with open("/proc/%s/autogroup" % pid, "w") as f:
        f.write("-15")


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--port", default="af_xdp")
    p.add_argument("--workers", type=int, default=1)
    p.add_argument("--seed", type=int, default=1)
    p.add_argument("--mib", type=int)
    p.add_argument("--scale", type=float, default=1)
    p.add_argument("--connections", type=int, default=4)
    p.add_argument("--ip6", action="store_true")
    p.add_argument("--linux", action="store_true")
    p.add_argument("--runs", type=int)
    p.add_argument("--priority", action="store_true")
    p.add_argument("profiles", nargs="*")
    o = p.parse_args()
    o.runs = o.runs or (3 if o.linux else 1)
    buffers = ["--tcp-receive-buffer", "4mb", "--tcp-send-buffer", "4mb"] if o.linux else []
    if o.priority:
        go_first("self")
    patient = ["--tcp-user-timeout", str(GIVE_UP_S), "--tcp-stall-timeout", "0", "--tcp-keepalive", "0"]
    with Lab(o.port, o.workers, relay="", ip6=o.ip6, options=patient + buffers) as lab, (LinuxPair(ip6=o.ip6) if o.linux else contextlib.nullcontext()) as pair:
        lab.exec("sysctl", "-qw", "net.ipv4.tcp_retries2=%d" % LINUX_RETRIES)
        if o.priority:
            go_first(lab.pids()[1])
        r = Runner(o, lab, pair)
        for number, profile in enumerate(PROFILES):
            if not o.profiles or any(w in profile[0] for w in o.profiles):
                r.one(number, *profile)
        if not lab.answers() or lab.info("dataplane")["dataplane_starts"] != "1":
            print("FAIL  the dataplane was started again\n" + lab.log()[-2000:])
            r.failed += 1
    print("%d passed, %d failed" % (r.passed, r.failed))
    return r.failed > 0


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    sys.exit(main())
