#!/usr/bin/python3
"""Random transactions against redis-server: MULTI with random commands, WATCH with another client's writes in between, errors, DISCARD.

    transactions.py --target tcp:10.1.0.1:6379 [--generate N] [--seed S]
    transactions.py --target self

Two clients of each server take turns: one watches, queues and executes, the other one changes things meanwhile, so whether EXEC is refused is told by
what counts as a change. Replies of an EXEC are compared one by one, each by the rule of what was queued (normalise.py); every so often all keys are.
Ends with "N passed, N failed" and tells how many EXEC were refused, or a run that never is would prove nothing.
"""

import argparse
import os
import random
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

import normalise
from compat import Redis, Report, compare_keyspace
from generate import Generator
from wire import Broken, Conn, encode, show

CHECK_EVERY = 100  # transactions


class Both:
    """One client of each server."""

    def __init__(self, addresses):
        self.conns = [Conn(a) for a in addresses]
        self.queued = []

    def close(self):
        for c in self.conns:
            c.close()

    def call(self, argv):
        return [c.exchange(encode(argv), 1)[0] for c in self.conns]

    def same(self, argv):
        """(whether both answer the same, their answers)"""
        a, b = self.call(argv)
        word = argv[0].upper()
        if word in (b"EXEC", b"DISCARD", b"RESET") and not (a.is_error and b"wrong number" in a.value):
            queued, self.queued = self.queued, []
            if a.kind == b.kind == b"*" and a.value and b.value and len(a.value) == len(b.value) == len(queued):
                return all(normalise.same(x, y, q, generated=True) for x, y, q in zip(a.value, b.value, queued)), a, b
            return a.raw == b.raw, a, b
        if a.raw == b.raw == b"+QUEUED\r\n":
            self.queued.append(argv)
        return normalise.same(a, b, argv, generated=True), a, b


class Maker:
    def __init__(self, seed):
        self.g = Generator(seed)
        self.r = self.g.r

    def key(self):
        return self.r.choice([b"k", b"a", b"list1", b"set1", b"z1", b"hash1", b"stream1", b"{t}1", b"nosuch"])

    def change(self, watched):
        """What may or may not count as a change of a watched key."""
        k = self.r.choice(watched or [b"k"])
        if self.r.random() < 0.3:
            return self.g.command()
        return self.r.choice([
            [b"GET", k], [b"SET", k, b"v"], [b"SET", k, b"v", b"XX"], [b"SET", k, b"v", b"NX"], [b"SET", k, b"v", b"KEEPTTL"], [b"APPEND", k, b""], [b"APPEND", k, b"x"],
            [b"SETRANGE", k, b"0", b""], [b"SETBIT", k, b"7", b"1"], [b"GETDEL", k], [b"GETEX", k, b"PERSIST"], [b"GETEX", k], [b"INCRBY", k, b"0"], [b"INCR", k],
            [b"DEL", k], [b"UNLINK", k, b"nosuch"], [b"TOUCH", k], [b"EXISTS", k], [b"EXPIRE", k, b"1000"], [b"EXPIRE", k, b"0"], [b"PEXPIREAT", k, b"1"], [b"PERSIST", k],
            [b"EXPIRE", k, b"1000", b"XX"], [b"EXPIRE", k, b"5000", b"GT"], [b"RENAME", k, self.key()], [b"RENAME", self.key(), k], [b"RENAME", k, k], [b"RENAMENX", self.key(), k],
            [b"COPY", self.key(), k, b"REPLACE"], [b"COPY", self.key(), k], [b"MOVE", k, b"1"], [b"SWAPDB", b"0", b"1"], [b"SWAPDB", b"0", b"0"], [b"SWAPDB", b"1", b"2"], [b"FLUSHDB"], [b"FLUSHALL"],
            [b"LPUSH", k, b"x"], [b"LPUSHX", k, b"x"], [b"LPOP", k], [b"LREM", k, b"0", b"nosuch"], [b"LTRIM", k, b"0", b"-1"], [b"LSET", k, b"0", b"y"], [b"RPOPLPUSH", k, k],
            [b"SADD", k, b"m"], [b"SREM", k, b"m"], [b"SMOVE", k, b"set2", b"m"], [b"SUNIONSTORE", k, k], [b"SINTERSTORE", k, b"nosuch"], [b"ZADD", k, b"1", b"m"], [b"ZADD", k, b"CH", b"GT", b"0", b"m"],
            [b"ZINCRBY", k, b"0", b"m"], [b"ZREM", k, b"m"], [b"ZREMRANGEBYRANK", k, b"5", b"4"], [b"HSET", k, b"f", b"v"], [b"HSETNX", k, b"f", b"w"], [b"HDEL", k, b"f"], [b"HDEL", k, b"nosuch"],
            [b"PFADD", k, b"e"], [b"BITOP", b"OR", k, k], [b"BITFIELD", k, b"SET", b"u8", b"0", b"0"], [b"BITFIELD", k, b"GET", b"u8", b"0"], [b"SORT", k, b"STORE", k], [b"MSET", k, b"1", b"other", b"2"],
            [b"MSETNX", k, b"1", b"other", b"2"], [b"XADD", k, b"NOMKSTREAM", b"9-*", b"f", b"v"], [b"XTRIM", k, b"MAXLEN", b"1000"], [b"XDEL", k, b"1-1"], [b"XGROUP", b"CREATE", k, b"g9", b"0"],
            [b"GEOADD", k, b"1", b"1", b"p"], [b"RESTORE", k, b"0", b"bad"], [b"LPUSH", k]])

    def queue(self):
        if self.r.random() < 0.06:
            return self.r.choice([[b"MULTI"], [b"WATCH", b"k"], [b"UNWATCH"], [b"EXEC", b"x"], [b"MULTI", b"x"], [b"NOSUCH"], [b"GET"], [b"PING"], [b"DISCARD", b"x"], [b"SUBSCRIBE"], [b"CLIENT", b"ID"]])
        return self.change([self.key()]) if self.r.random() < 0.3 else self.g.command()

    def transaction(self):
        """[(client, argv)], client 0 or 1"""
        r, out, watched = self.r, [], []
        for _ in range(r.choice([0, 1, 1, 1, 2])):
            names = [self.key() for _ in range(r.choice([1, 1, 2, 3]))]
            watched += names
            out += [(0, [b"WATCH"] + names)] + [(1, self.change(names)) for _ in range(r.choice([0, 0, 0, 1]))]
        out += [(0, self.change(watched)) for _ in range(r.choice([0, 0, 0, 0, 1]))]
        out += [(0, [b"UNWATCH"])] * (r.random() < 0.05)
        out += [(0, [b"MULTI"])] * (r.random() < 0.97)
        for _ in range(r.choice([0, 1, 1, 2, 3, 5, 8])):
            out.append((0, self.queue()))
            if r.random() < 0.1:
                out.append((1, self.change(watched)))
        return out + [(0, r.choice([[b"EXEC"]] * 8 + [[b"DISCARD"], [b"RESET"]]))]


def run(addresses, total, seed, report):
    maker, done, clients, trail = Maker(seed), 0, None, []
    refused = executed = 0
    for number in range(1 << 60):
        if done >= total:
            break
        if clients is None:
            clients, trail = [Both(addresses), Both(addresses)], []
            clients[1].call([b"FLUSHALL"])
        where = "seed %d, transaction %d" % (seed, number)
        good = True
        try:
            for who, argv in maker.transaction():
                trail.append(argv)
                done += 1
                same, a, b = clients[who].same(argv)
                if argv[0] == b"EXEC":
                    refused += a.is_null
                    executed += a.kind == b"*" and not a.is_null
                if same:
                    report.passed += 1
                else:
                    report.fail(where, [[b"client %d" % who]] + trail, show(a.raw), show(b.raw))
                    good = False
                    break
            if good and number % CHECK_EVERY == 0:
                good = compare_keyspace(addresses, report, where, trail)
        except (Broken, OSError) as e:
            report.fail(where, trail, "", str(e))
            good = False
        del trail[:-60]
        if not good or number % 500 == 499:
            for c in clients:
                c.close()
            clients = None
    for c in clients or ():
        c.close()
    print("%d transactions executed, %d refused" % (executed, refused))
    if not refused or not executed:
        report.fail("seed %d" % seed, [], "", "", "no transaction was %s" % ("executed" if refused else "refused"))


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--target", required=True)
    p.add_argument("--generate", type=int, default=10000, metavar="N", help="requests")
    p.add_argument("--seed", type=int)
    p.add_argument("--redis", default="redis-server")
    p.add_argument("--show", type=int, default=10)
    args = p.parse_args()
    seed = args.seed if args.seed is not None else random.randrange(1 << 31)
    report, servers, target = Report(args.show), [], args.target
    try:
        servers.append(Redis(args.redis))
        if target == "self":
            servers.append(Redis(args.redis))
        print("%s: %d requests, seed %d" % (target, args.generate, seed))
        run((servers[0].address, servers[-1].address if len(servers) > 1 else target), args.generate, seed, report)
    except (Broken, OSError, ValueError) as e:
        print("transactions: %s" % e, file=sys.stderr)
        return 2
    finally:
        for s in servers:
            s.stop()
    print("%d passed, %d failed" % (report.passed, report.failed))
    return 1 if report.failed else 0


if __name__ == "__main__":
    sys.exit(main())
