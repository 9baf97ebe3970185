#!/usr/bin/python3
"""Keyspace notifications of random commands, against redis-server: events of both servers compared, command by command.

    events.py --target tcp:10.1.0.1:6379 [--generate N] [--seed S] [--ordered] [--group GROUP]

One client of each server listens for all classes but x (when a key is found expired is each server's own affair). After each command the
events of both must be the same: with --ordered (one worker) in the same order, otherwise in the same order of each key. Ends with
"N passed, N failed".
"""

import argparse
import os
import random
import sys
import time
from collections import Counter

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

from compat import Redis, Report
from generate import Generator
from wire import Broken, Conn, encode

CLASSES = "KEg$lshztemn"
TIMEOUT_S = 5.0
START_OVER = 400  # commands


class Listener:
    def __init__(self, address):
        self.conn = Conn(address)
        self.conn.call("PSUBSCRIBE", "__key*__:*")
        self.pings = 0

    def events(self, want):
        """What has come so far; when something of `want` is missing, what comes within the timeout."""
        found, deadline = [], time.monotonic() + TIMEOUT_S
        while True:
            self.pings += 1
            mark = b"mark%d" % self.pings
            frame = self.conn.exchange(encode([b"PING", mark]), 1)[0]
            while frame.value[0].value != b"pong":
                found.append((frame.value[2].value, frame.value[3].value))
                frame = self.conn.exchange(b"", 1)[0]
            if not Counter(want) - Counter(found) or time.monotonic() > deadline:
                return found

    def close(self):
        self.conn.close()


def is_miss(event):
    return b"keymiss" in event[0] or event[1] == b"keymiss"


def once(events, refused):
    """A miss that is told twice counts once: XREAD of Redis looks twice. Of a command that is refused it does not count: some look for
    their key before they look at their options."""
    seen, out = set(), []
    for e in events:
        if not is_miss(e) or (e not in seen and not refused):
            out.append(e)
        seen.add(e)
    return out


def key_of(event):
    head, _, rest = event[0].partition(b":")
    return rest if head.startswith(b"__keyspace@") else event[1]


def by_key(events):
    keys = {}
    for e in events:
        keys.setdefault((e[0].partition(b":")[0], key_of(e)), []).append(e)
    return keys


def words(argv):
    return {a if isinstance(a, bytes) else str(a).encode() for a in argv}


def run(addresses, total, seed, ordered, group, report):
    g, done, trail, refused_words = Generator(seed, group), 0, [], set()
    conns = listeners = ()
    for a in addresses:
        Conn(a).call("CONFIG", "SET", "notify-keyspace-events", CLASSES)
    while done < total:
        if not trail:
            refused_words = set()
            for c in (*conns, *listeners):
                c.close()
            conns = [Conn(a) for a in addresses]
            for c in conns:
                c.call("FLUSHALL")
            listeners = [Listener(a) for a in addresses]
        argv = g.command()
        trail.append(argv)
        done += 1
        try:
            refused = [c.exchange(encode(argv), 1)[0].is_error for c in conns][0]
            if refused:
                refused_words |= words(argv)
            want = once(listeners[0].events([]), refused)
            got = once(listeners[1].events(want), refused)
            if not ordered:  # a miss of a refused command may come later, from another worker
                got = [e for e in got if not is_miss(e) or e in want or key_of(e) not in refused_words]
        except (Broken, OSError) as e:
            report.fail("seed %d, command %d" % (seed, done), trail, "", str(e))
            trail = []
            continue
        same = want == got if ordered else by_key(want) == by_key(got)
        if same:
            report.passed += 1
        else:
            report.fail("seed %d, command %d" % (seed, done), trail, repr(want), repr(got))
        if not same or len(trail) == START_OVER:
            trail = []
    for c in (*conns, *listeners):
        c.close()
    for a in addresses:
        Conn(a).call("CONFIG", "SET", "notify-keyspace-events", "")


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--target", required=True)
    p.add_argument("--generate", type=int, default=4000, metavar="N")
    p.add_argument("--seed", type=int)
    p.add_argument("--ordered", action="store_true", help="one worker")
    p.add_argument("--group")
    p.add_argument("--redis", default="redis-server")
    p.add_argument("--show", type=int, default=10)
    args = p.parse_args()
    seed = args.seed if args.seed is not None else random.randrange(1 << 31)
    report, ref = Report(args.show), Redis(args.redis)
    try:
        target = ref.address if args.target == "self" else args.target
        print("%d commands, seed %d" % (args.generate, seed))
        if target == ref.address:
            other = Redis(args.redis)
            try:
                run((ref.address, other.address), args.generate, seed, args.ordered, args.group, report)
            finally:
                other.stop()
        else:
            run((ref.address, target), args.generate, seed, args.ordered, args.group, report)
    finally:
        ref.stop()
    print("%d passed, %d failed" % (report.passed, report.failed))
    return 1 if report.failed else 0


if __name__ == "__main__":
    sys.exit(main())
