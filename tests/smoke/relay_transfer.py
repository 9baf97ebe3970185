#!/usr/bin/python3
"""64 MiB each way through a wire that loses, reorders, duplicates, corrupts and delays: identical, and within a deadline.

    relay_transfer.py [--port af_xdp|tap] [--workers N] [--seed N] [--mib N] [--connections N] [--linux] [PROFILE...]

--linux: the same profile in the same run between Linux and redis-server, both with CUBIC as we have it (a peer's BBR ignores loss); at
least 0.8 of its goodput, GET being what our own sender does. Each is run up to three times, the best counts: the machine is shared.

One line per profile: seconds of SET and of GET, what the server's TCP did about it, what the relay did to it."""

import argparse
import contextlib
import hashlib
import random
import os
import signal
import subprocess
import sys
import threading
import time

from lab import BUILD, Failure, Lab, check, run, until

VALUE = 1 << 20
# name, the relay's options, seconds in which 64 MiB must be there and back. A clean wire takes about one.
PROFILES = [
    ("clean", "", 20),
    ("loss 1 %", "loss=1", 240),
    ("loss 5 %", "loss=5", 600),
    ("reorder", "reorder=5:4", 240),
    ("duplicate", "dup=5", 40),
    ("corrupt", "corrupt=1", 240),
    ("delay", "delay=5,jitter=5", 240),
    ("mix", "loss=1,dup=1,corrupt=0.5,reorder=1:3,delay=1,jitter=1", 240),
]
SHOWN = ["tcp_retrans_segs", "tcp_fast_retrans", "tcp_timeouts", "tcp_lost_retransmit", "tcp_loss_probes", "tcp_loss_probe_recovery",
         "tcp_spurious_rtos", "tcp_full_undo", "tcp_dsack_undo", "tcp_dsack_recv", "tcp_ofo_queue", "tcp_dup_acks_in", "tcp_dup_data",
         "tcp_sack_reneging", "tcp_sack_discard", "drop_tcp_checksum", "drop_ip_checksum"]


def values(seed, count):
    rng = random.Random(seed)
    return [rng.randbytes(VALUE) for _ in range(count)]


def transfer(lab, n, connections, data, deadline):
    """SET all from several connections, GET all back; returns both times."""
    times, errors = [], []
    for word in ("SET", "GET"):
        start = time.monotonic()

        def one(k, word=word):
            try:
                left = deadline - time.monotonic()
                with lab.connect(timeout=max(left, 1)) as c:
                    for i in range(k, len(data), connections):
                        c.sock.settimeout(max(deadline - time.monotonic(), 0.1))
                        if word == "SET":
                            reply = c.call("SET", "relay:%d:%d" % (n, i), data[i])
                            check(reply == b"OK", "SET answered", reply)
                        else:
                            got = c.call("GET", "relay:%d:%d" % (n, i))
                            check(isinstance(got, bytes) and hashlib.sha256(got).digest() == hashlib.sha256(data[i]).digest(),
                                  "value", i, "came back different")
            except (Failure, OSError) as e:
                errors.append("%s, connection %d: %s" % (word, k, e))

        threads = [threading.Thread(target=one, args=(k,), daemon=True) for k in range(connections)]
        for t in threads:
            t.start()
        for t in threads:
            t.join()
        if errors:
            raise Failure("; ".join(errors[:3]))
        times.append(time.monotonic() - start)
    return times


class LinuxPair:
    """redis-server behind a relay of its own, with the interface that transfer() wants of a lab."""

    inside, connect = Lab.inside, Lab.connect

    def __init__(self):
        self.name = "bw-smoke-%d-linux" % os.getpid()
        self.client_ns, self.address, self.relay, self.stack = self.name + "-c", "10.77.0.2", None, contextlib.ExitStack()

    def __enter__(self):
        ends = {"c": ["cli"], "r": ["left", "right"], "s": ["srv"]}
        for side in ends:
            run("ip", "netns", "add", self.name + "-" + side)
            self.stack.callback(run, "ip", "netns", "del", self.name + "-" + side, ok=False)
            run("ip", "-n", self.name + "-" + side, "link", "set", "lo", "up")
        run("ip", "link", "add", "cli", "netns", self.client_ns, "type", "veth", "peer", "name", "left", "netns", self.name + "-r")
        run("ip", "link", "add", "srv", "netns", self.name + "-s", "type", "veth", "peer", "name", "right", "netns", self.name + "-r")
        for side, devices in ends.items():
            for device in devices:
                for feature in ("tx", "tso", "gso", "gro"):
                    run("ip", "netns", "exec", self.name + "-" + side, "ethtool", "-K", device, feature, "off", ok=False)
                run("ip", "-n", self.name + "-" + side, "link", "set", device, "up")
        for side, device, last in (("c", "cli", 1), ("s", "srv", 2)):
            ns = self.name + "-" + side
            run("ip", "-n", ns, "addr", "add", "10.77.0.%d/24" % last, "dev", device)
            run("ip", "-n", ns, "route", "replace", "10.77.0.0/24", "dev", device, "src", "10.77.0.%d" % last, "congctl", "cubic")
            run("ip", "-n", ns, "route", "del", "10.77.0.0/24", "dev", device, "proto", "kernel", ok=False)
        redis = self.process("s", "redis-server", "--bind", self.address, "--save", "", "--protected-mode", "no", "--daemonize", "no")
        self.start("")
        until("redis-server answers", lambda: redis.poll() is None and self.connect(timeout=2).call("PING") == b"PONG")
        return self

    def process(self, side, *argv):
        p = subprocess.Popen(["ip", "netns", "exec", self.name + "-" + side, *argv], stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        self.stack.callback(self.end, p)
        return p

    @staticmethod
    def end(p):
        if p.poll() is None:
            p.terminate()
        p.wait()
        p.stdout.close()

    def start(self, options):
        if self.relay:
            self.end(self.relay)
        self.relay = self.process("r", str(BUILD / "tests/relay/barewire-relay"), "--a", "left", "--b", "right", "--seed", "1",
                                  *(["--both", options] if options else []))
        check(self.relay.stdout.readline().startswith(b"ready"), "the relay of Linux did not start")

    def __exit__(self, *args):
        self.stack.close()


def compared(lab, pair, o, n, options, data, ours, seconds):
    """The best of both, and the ratio of goodput of GET; raises when it is under 0.8."""
    theirs = [float("inf")] * 2
    for attempt in range(3):
        pair.start(options)
        got = transfer(pair, n, o.connections, data, time.monotonic() + seconds)
        theirs = [min(a, b) for a, b in zip(theirs, got)]
        if theirs[1] >= 0.8 * ours[1] or attempt == 2:
            break
        ours = [min(a, b) for a, b in zip(ours, transfer(lab, n, o.connections, data, time.monotonic() + seconds))]
    with pair.connect() as c:
        c.call("FLUSHALL")
    text = "; Linux to Linux %.2f s and %.2f s: goodput %.2f and %.2f of it" % (*theirs, theirs[0] / ours[0], theirs[1] / ours[1])
    check(theirs[1] >= 0.8 * ours[1], "slower than Linux" + text)
    return text


def main():
    p = argparse.ArgumentParser()
    p.add_argument("--port", default="af_xdp")
    p.add_argument("--workers", type=int, default=1)
    p.add_argument("--seed", type=int, default=1)
    p.add_argument("--mib", type=int, default=64)
    p.add_argument("--connections", type=int, default=4)
    p.add_argument("--linux", action="store_true")
    p.add_argument("profiles", nargs="*")
    o = p.parse_args()
    passed = failed = 0
    with Lab(o.port, o.workers, relay="") as lab, (LinuxPair() if o.linux else contextlib.nullcontext()) as pair:
        for n, (name, options, seconds) in enumerate(PROFILES):
            if o.profiles and name not in o.profiles:
                continue
            data = values(o.seed * 100 + n, o.mib)
            lab.lab("relay", "--seed", str(o.seed), *(["--both", options] if options else []))
            before = lab.info("all")
            start = time.monotonic()
            try:
                out, back = transfer(lab, n, o.connections, data, start + seconds)
                word, text = "ok  ", "SET %.2f s, GET %.2f s" % (out, back)
                if pair:
                    text += compared(lab, pair, o, n, options, data, [out, back], seconds)
                passed += 1
            except Failure as e:
                word, text = "FAIL", "after %.1f s: %s" % (time.monotonic() - start, e)
                failed += 1
            after = lab.info("all")
            seen = ["%s %d" % (k, int(after[k]) - int(before[k])) for k in SHOWN if after[k] != before[k]]
            print("%s  relay, %s, %d worker(s), %s: %s; %s" % (word, o.port, o.workers, name, text, ", ".join(seen) or "nothing lost"), flush=True)
            relay = lab.lab("relay", "--seed", "1")
            if word == "FAIL":
                print("\n".join("      " + l for l in relay.splitlines()), flush=True)
            with lab.connect_door() as c:
                c.call("FLUSHALL")
        if not lab.answers() or lab.info("dataplane")["dataplane_starts"] != "1":
            print("FAIL  the dataplane was started again\n" + lab.log()[-2000:])
            failed += 1
    print("%d passed, %d failed" % (passed, failed))
    return failed > 0


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    sys.exit(main())
