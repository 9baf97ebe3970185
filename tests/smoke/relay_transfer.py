#!/usr/bin/python3
"""64 MiB each way through a wire that loses, reorders, duplicates, corrupts and delays: identical, and within a deadline.

    relay_transfer.py [--port af_xdp|tap] [--workers N] [--seed N] [--mib N] [--connections N] [PROFILE...]

One line per profile: seconds of SET and of GET, what the server's TCP did about it, what the relay did to it."""

import argparse
import hashlib
import random
import signal
import sys
import threading
import time

from lab import Failure, Lab, check

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


def main():
    p = argparse.ArgumentParser()
    p.add_argument("--port", default="af_xdp")
    p.add_argument("--workers", type=int, default=1)
    p.add_argument("--seed", type=int, default=1)
    p.add_argument("--mib", type=int, default=64)
    p.add_argument("--connections", type=int, default=4)
    p.add_argument("profiles", nargs="*")
    o = p.parse_args()
    passed = failed = 0
    with Lab(o.port, o.workers, relay="") as lab:
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
