#!/usr/bin/python3
"""Compares Barewire's replies with those of Debian's redis-server 7.0.15, byte for byte.

    compat.py --target unix:/run/barewire.sock                      the hand-written cases
    compat.py --target tcp:10.1.0.1:6379 --generate 20000 --seed 7  random commands as well
    compat.py --target engine:PATH:SHARDS                           the engine alone, in the engine_server that PATH names
    compat.py --target self                                         redis-server against redis-server: this tool sees no difference
    compat.py --target other                                        ... against one with 8 databases: this tool must find it out

It starts a redis-server of its own on a unix socket in a temporary directory, so it runs in any network namespace. Both servers are
EMPTIED. Where replies cannot be equal, normalise.py says what is compared instead. Ends with "N passed, N failed"; the exit code is 1
when something failed, 2 when it could not run.
"""

import argparse
import os
import random
import re
import shutil
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

import cases
import normalise
import payloads
from generate import Generator
from wire import Broken, Conn, encode, show, show_argv

CHECK_EVERY = 500  # commands between comparisons of the whole keyspace
SHOWN_TRAIL = 20   # commands shown before a difference


class Report:
    def __init__(self, most):
        self.passed = self.failed = 0
        self.most = most

    def fail(self, where, trail, want, got, note=""):
        self.failed += 1
        if self.failed > self.most:
            return
        print("\nFAILED %s%s" % (where, " (%s)" % note if note else ""))
        for line in trail[-SHOWN_TRAIL:]:
            text = line.decode("latin-1")[:300] if isinstance(line, bytes) else show_argv(line)
            print("    > " + text)
        print("  redis:    " + want)
        print("  barewire: " + got)
        if self.failed == self.most:
            print("\n(further differences are only counted)")


def start(directory, argv, **pipes):
    """Starts a server that lives in the directory; takes that away again when there is no such program."""
    try:
        return subprocess.Popen(argv, **pipes)
    except OSError:
        shutil.rmtree(directory, ignore_errors=True)
        raise


class Redis:
    """A redis-server on a unix socket in a directory of its own."""

    def __init__(self, program, databases=16):
        self.dir = tempfile.mkdtemp(prefix="compat-")
        self.address = "unix:" + os.path.join(self.dir, "redis.sock")
        self.process = start(
            self.dir, [program, "--port", "0", "--unixsocket", self.address[5:], "--save", "", "--appendonly", "no", "--dir", self.dir,
             "--daemonize", "no", "--databases", str(databases), "--enable-debug-command", "yes", "--logfile", os.path.join(self.dir, "log")],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        deadline = time.monotonic() + 10
        while True:
            try:
                c = Conn(self.address)
                c.call("PING")
                c.close()
                return
            except OSError:
                if self.process.poll() is not None or time.monotonic() > deadline:
                    self.stop()
                    raise Broken("redis-server did not start") from None
                time.sleep(0.01)

    def version(self):
        c = Conn(self.address)
        info = c.call("INFO", "server").value
        c.close()
        return re.search(rb"redis_version:(\S+)", info).group(1).decode()

    def stop(self):
        self.process.terminate()
        self.process.wait()
        shutil.rmtree(self.dir, ignore_errors=True)


class Engine:
    """An engine_server of our own. Ends when its standard input is closed; anything but exit code 0 (a leak found) is a failure."""

    def __init__(self, program, shards):
        self.dir = tempfile.mkdtemp(prefix="compat-")
        self.address = "unix:" + os.path.join(self.dir, "engine.sock")
        self.process = start(self.dir, [program, self.address[5:], shards], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        if self.process.stdout.readline() != b"ready\n":
            self.stop()
            raise Broken("%s did not start" % program)

    def stop(self):
        self.process.stdin.close()
        try:
            code = self.process.wait(30)
        except subprocess.TimeoutExpired:
            self.process.kill()
            code = self.process.wait()
        self.process.stdout.close()
        shutil.rmtree(self.dir, ignore_errors=True)
        return code


# ---- generated commands ----

# What a key holds, by its type; a string is asked for by GET
CONTENT = {
    b"list": lambda k: [b"LRANGE", k, b"0", b"-1"],
    b"set": lambda k: [b"SMEMBERS", k],
    b"zset": lambda k: [b"ZRANGE", k, b"0", b"-1", b"WITHSCORES"],
    b"hash": lambda k: [b"HGETALL", k],
    b"stream": lambda k: [b"XINFO", b"STREAM", k, b"FULL", b"COUNT", b"0"],
}


def digests_apart(addresses, names):
    """What is behind two digests that differ: the key of which DEBUG DIGEST-VALUE does, or a database that counts more keys than it shows."""
    conns = [Conn(a) for a in addresses]
    apart = []
    try:
        for db in range(16):
            for c in conns:
                c.call("SELECT", db)
            keys = [k for d, k in names if d == db]
            ask = encode([b"DEBUG", b"DIGEST-VALUE"] + keys)
            want, got = [c.exchange(ask, 1)[0].value if keys else [] for c in conns]
            apart += ["db %d, %s" % (db, show_argv([k])) for k, a, b in zip(keys, want, got) if a.raw != b.raw]
            sizes = [c.call("DBSIZE").value.decode() for c in conns]
            if sizes != [str(len(keys))] * 2:
                apart.append("db %d of %d keys counts %s and %s" % (db, len(keys), *sizes))
    finally:
        for c in conns:
            c.close()
    return "; ".join(apart[:5]) or "no key of its own"


def compare_digests(addresses, names, report, where, trail):
    """DEBUG DIGEST, where the target may be asked for it. Redis counts what has expired (SET with a time in the past) until somebody meets it: KEYS does
    not, SCAN does."""
    conns = [Conn(a) for a in addresses]
    for c in conns:
        c.exchange(b"".join(encode([b"SELECT", b"%d" % db]) + encode([b"SCAN", b"0", b"COUNT", b"1000000"]) for db in range(16)), 32)
    want, got = [c.call("DEBUG", "DIGEST") for c in conns]
    for c in conns:
        c.close()
    if want.raw == got.raw or got.value.startswith(b"ERR DEBUG command not allowed"):
        return True
    report.fail(where, trail, show(want.raw), show(got.raw), "DEBUG DIGEST: " + digests_apart(addresses, names))
    return False


def compare_keyspace(pairs, report, where, trail):
    """All databases: names, types, values, encodings, expiries. Returns whether they are the same."""
    def view(address):
        out, c = {}, Conn(address)
        for db in range(16):
            c.call("SELECT", db)
            names = sorted(k.value for k in c.call("KEYS", "*").value)
            types = c.exchange(b"".join(encode([b"TYPE", k]) for k in names), len(names))
            asked = [a for k, t in zip(names, types)
                     for a in ([b"TYPE", k], CONTENT.get(t.value, lambda k: [b"GET", k])(k), [b"OBJECT", b"ENCODING", k], [b"PEXPIRETIME", k])]
            replies = c.exchange(b"".join(encode(a) for a in asked), len(asked))
            for i, k in enumerate(names):
                out[db, k] = list(zip(asked, replies))[i * 4:i * 4 + 4]
        c.close()
        return out
    want, got = view(pairs[0]), view(pairs[1])
    if want.keys() != got.keys():
        only = [sorted(a.keys() - b.keys()) for a, b in ((want, got), (got, want))]
        report.fail(where, trail, "only here (db, key): %r" % only[0][:5], "only here (db, key): %r" % only[1][:5], "keyspace")
        return False
    for place in want:
        for (argv, a), (_, b) in zip(want[place], got[place]):
            if not normalise.same(a, b, argv):
                report.fail(where, trail, show(a.raw), show(b.raw), "keyspace of db %d: %s" % (place[0], show_argv(argv)))
                return False
    if not compare_digests(pairs, want, report, where, trail):
        return False
    report.passed += 1
    conns = [Conn(a) for a in pairs]
    try:
        for db in sorted({db for db, _ in want}):
            for c in conns:
                c.call("SELECT", db)
            if not payloads.run_keys(conns, [k for d, k in want if d == db], report, CONTENT, normalise.same, where, trail):
                return False
    finally:
        for c in conns:
            c.close()
    return True


def run_generated(addresses, total, seed, report, group=None):
    g = Generator(seed, group)
    done, since, trail = 0, 0, []
    conns = None

    def start_over():
        for c in conns or ():
            c.close()
        fresh = [Conn(a) for a in addresses]
        for c in fresh:
            c.call("FLUSHALL")
            if len(trail) % 2:
                c.call("HELLO", 3)
        g.past_set = False
        return fresh

    conns = start_over()
    while done < total:
        batch = g.pipeline(total - done)
        data = b"".join(encode(a) for a in batch)
        where = "seed %d, command %d" % (seed, done)
        done += len(batch)
        since += len(batch)
        try:
            want, got = [c.exchange(data, len(batch)) for c in conns]
        except (Broken, OSError) as e:
            report.fail(where, trail + batch, "", str(e))
            conns, since, trail = start_over(), 0, []
            continue
        good = True
        for i, (argv, a, b) in enumerate(zip(batch, want, got)):
            trail.append(argv)
            if normalise.same(a, b, argv, generated=True):
                report.passed += 1
            else:
                report.fail("seed %d, command %d" % (seed, done - len(batch) + i), trail, show(a.raw), show(b.raw))
                good = False
        del trail[:-200]
        if since >= CHECK_EVERY or not good:
            since = 0
            try:
                good = compare_keyspace(addresses, report, where, trail) and good
            except (Broken, OSError) as e:
                report.fail(where, trail, "", str(e), "keyspace")
                good = False
        if not good:  # what differs now would be reported again and again
            conns, trail = start_over(), []
    for c in conns:
        c.close()


def parse_args():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--target", action="append", required=True, help='unix:/path, tcp:host:port, engine:program:shards, "self" or "other"; may be given several times')
    p.add_argument("--redis", default="redis-server", help="the reference's program")
    p.add_argument("--cases", nargs="*", help="case files (default: all in cases/)")
    p.add_argument("--no-cases", action="store_true", help="only what --generate makes")
    p.add_argument("--generate", type=int, default=0, metavar="N", help="random commands per target")
    p.add_argument("--group", help="generate commands of one group only: generate_GROUP.py")
    p.add_argument("--seed", type=int, help="of the random commands (default: drawn and printed)")
    p.add_argument("--show", type=int, default=10, help="differences printed in full")
    p.add_argument("--any-version", action="store_true", help="accept another redis-server than 7.0.15")
    return p.parse_args()


def main():
    args = parse_args()
    seed = args.seed if args.seed is not None else random.randrange(1 << 31)
    report = Report(args.show)
    servers = []
    try:
        ref = Redis(args.redis)
        servers.append(ref)
        if ref.version() != "7.0.15" and not args.any_version:
            print("the reference is redis-server %s, not 7.0.15" % ref.version(), file=sys.stderr)
            return 2
        for target in args.target:
            label = target
            if target in ("self", "other"):
                servers.append(Redis(args.redis, 16 if target == "self" else 8))
                target = servers[-1].address
            elif target.startswith("engine:"):
                servers.append(Engine(*target[7:].rsplit(":", 1)))
                label, target = target, servers[-1].address
            before = report.passed, report.failed
            if not args.no_cases:
                cases.run_files(ref.address, target, args.cases or cases.all_paths(), report)
                conns = [Conn(ref.address), Conn(target)]
                payloads.run_old(conns, report, CONTENT, normalise.same)
                for c in conns:
                    c.close()
            if args.generate:
                print("%s: %d generated commands, seed %d" % (label, args.generate, seed))
                run_generated((ref.address, target), args.generate, seed, report, args.group)
            if isinstance(servers[-1], Engine):
                code = servers.pop().stop()
                if code:
                    report.fail(label, [], "exit code 0", "exit code %d" % code, "at its end")
            print("%s: %d passed, %d failed" % (label, report.passed - before[0], report.failed - before[1]))
    except (Broken, OSError, ValueError) as e:
        print("compat: %s" % e, file=sys.stderr)
        return 2
    finally:
        for s in servers:
            s.stop()
    print("%d passed, %d failed" % (report.passed, report.failed))
    return 1 if report.failed else 0


if __name__ == "__main__":
    sys.exit(main())
