#!/usr/bin/python3
"""Several clients in turns, against redis-server and us: tests/compat/cases/scenarios/*.txt.

    scenarios.py --target tcp:10.1.0.1:6379 [--rounds N] [FILE...]
    scenarios.py --target self                 redis-server against redis-server: what a scenario says of time is wrong if this fails

A scenario is a run of lines up to a blank one; before each both servers are emptied. A name before the sign is a client, made when it is first
named. Each line is done on both servers, and what it brings is compared.

    # a comment
    A: SET k "a\\r\\n"      sent; its reply is awaited. Pushes (RESP3) that come before it are kept for A<<
    B> BLPOP k 0          sent, and until B is seen to wait (CLIENT LIST: flags b) or something comes for it
    B>> PING              sent, nothing more
    B<                    the next frame that is not a push        B< 3     three of them
    B<<                   the next push                            B<< 2
    B<*                   the next frame, whatever it is (the order of pushes and replies)
    B<~ 3                 three frames in any order
    B-                    nothing has come for B when every shard has been heard from
    B!                    closes the connection                    B$       the server closes it
    A? "$-1\\r\\n" GET k    repeated until both servers answer that (at most 10 s): time has to pass
    $(A) in a line        client A's CLIENT ID on that server

With several workers a client's is drawn by its port: each scenario is run --rounds times. Ends with "N passed, N failed".
"""

import argparse
import glob
import os
import re
import select
import sys
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)

import normalise
from cases import read_blocks
from compat import Redis, Report
from wire import Broken, Conn, Incomplete, encode, parse, show, split_words

LINE = re.compile(rb"(\w+)(:|>>|>|<<|<\*|<~|<|-|!|\$|\?)\s*(.*)", re.S)
SETTLE_ROUNDS = 6
TIMEOUT_S = 10.0


class Client:
    """One connection to one server; frames are taken off in order, pushes and others apart."""

    def __init__(self, address):
        self.conn = Conn(address, TIMEOUT_S)
        self.frames = []
        self.id = self.conn.call("CLIENT", "ID").value

    def send(self, argv):
        self.conn.sock.setblocking(True)
        self.conn.sock.sendall(encode(argv))
        self.conn.sock.setblocking(False)

    def fill(self, timeout):
        """Reads what is there, waiting at most so long; whether frames came."""
        pos, before = 0, len(self.frames)
        if select.select([self.conn.sock], [], [], timeout)[0]:
            got = self.conn.sock.recv(1 << 18)
            if not got:
                raise Broken("closed by the server")
            self.conn.buf += got
        try:
            while True:
                frame, pos = parse(self.conn.buf, pos)
                self.frames.append(frame)
        except Incomplete:
            pass
        del self.conn.buf[:pos]
        return len(self.frames) > before

    def take(self, wanted):
        """The next frame of which wanted() is true."""
        deadline = time.monotonic() + TIMEOUT_S
        while True:
            for i, frame in enumerate(self.frames):
                if wanted(frame):
                    return self.frames.pop(i)
            left = deadline - time.monotonic()
            if left <= 0:
                raise Broken("timeout while waiting for a frame")
            self.fill(left)

    def wait_close(self):
        deadline = time.monotonic() + TIMEOUT_S
        try:
            while time.monotonic() < deadline:
                self.fill(deadline - time.monotonic())
        except (Broken, OSError):
            return
        raise Broken("the server does not close")


class Server:
    def __init__(self, address):
        self.address, self.clients, self.named = address, {}, {}
        self.control = Conn(address, TIMEOUT_S)

    def start(self):
        self.control.call("FLUSHALL")
        self.clients, self.named = {}, {}

    def client(self, name):
        if name not in self.clients:
            self.clients[name] = Client(self.address)
        return self.clients[name]

    def settle(self, client):
        """Until the client waits or has got something; then every shard has been heard from, so what it has asked of them is there."""
        deadline = time.monotonic() + 2
        while not client.fill(0) and time.monotonic() < deadline:
            line = [l for l in self.control.call("CLIENT", "LIST").value.split(b"\n") if l.startswith(b"id=%s " % client.id)]
            if not line or b"b" in re.search(rb" flags=(\S+)", line[0]).group(1):
                break
        self.hear()

    def hear(self):
        """Every shard has been heard from: what was asked of them before is done, and told."""
        for _ in range(SETTLE_ROUNDS):
            self.control.call("DBSIZE")

    def close(self):
        for c in self.clients.values():
            c.conn.close()
        self.clients = {}


def is_push(frame):
    return frame.kind == b">"


class Scenario:
    def __init__(self, servers):
        self.servers = servers
        self.asked = {}   # client: requests whose replies have not been taken
        self.queued = {}  # client: requests since MULTI

    def both(self, what):
        return [what(s) for s in self.servers]

    def words(self, server, rest):
        def one(m):
            number = server.clients[m.group(1)].id
            server.named[number] = m.group(0)
            return number
        return split_words(re.sub(rb"\$\((\w+)\)", one, rest))

    def without_ids(self, server, raw):
        """Ids that the scenario has named are what they are on each server."""
        for number, name in server.named.items():
            raw = raw.replace(b":%s\r\n" % number, b":%s\r\n" % name)
        return raw

    def remember(self, name, argv):
        self.asked.setdefault(name, []).append(argv)

    def same_reply(self, name, a, b):
        """By the rule of the request that it answers; an EXEC by those of what was queued."""
        argv = self.asked[name].pop(0) if self.asked.get(name) else [b"?"]
        word = argv[0].upper()
        if a.raw.startswith(b"+QUEUED"):
            self.queued.setdefault(name, []).append(argv)
        if word == b"EXEC" or word == b"DISCARD":
            queued = self.queued.pop(name, [])
            if a.kind == b.kind == b"*" and a.value and b.value and len(a.value) == len(b.value) == len(queued):
                return all(normalise.same(x, y, q) for x, y, q in zip(a.value, b.value, queued))
        return normalise.same(a, b, argv)

    def frames(self, name, wanted, count, rule):
        for _ in range(count):
            a, b = self.both(lambda s: s.client(name).take(wanted))
            if not rule(a, b) and len({self.without_ids(s, f.raw) for s, f in zip(self.servers, (a, b))}) != 1:
                return False, a.raw, b.raw
        return True, b"", b""

    def any_order(self, name, count):
        got = self.both(lambda s: sorted(s.client(name).take(lambda f: True).raw for _ in range(count)))
        return got[0] == got[1], b"".join(got[0]), b"".join(got[1])

    def quiet(self, server, name):
        c = server.client(name)
        server.hear()
        while c.fill(0):
            pass
        return b"".join(f.raw for f in c.frames)

    def until(self, name, rest):
        def one(server):
            want, *argv = self.words(server, rest)
            deadline, c = time.monotonic() + TIMEOUT_S, server.client(name)
            while True:
                c.send(argv)
                got = c.take(lambda f: not is_push(f)).raw
                if got == want or time.monotonic() > deadline:
                    return got, want
        (a, want), (b, _) = self.both(one)
        return a == b == want, a, b

    def line(self, line):
        """(same, reference's bytes, target's bytes)"""
        m = LINE.fullmatch(line)
        if not m:
            raise ValueError("cannot read %r" % line)
        name, sign, rest = m.groups()
        count = int(rest) if rest.isdigit() and sign.startswith(b"<") else 1
        self.both(lambda s: s.client(name))
        if sign in (b":", b">", b">>"):
            sent = self.both(lambda s: (s.client(name), self.words(s, rest)))
            for client, argv in sent:
                client.send(argv)
            self.remember(name, sent[0][1])
            if sign == b">":
                self.both(lambda s: s.settle(s.client(name)))
        if sign in (b":", b"<"):
            return self.frames(name, lambda f: not is_push(f), count, lambda a, b: self.same_reply(name, a, b))
        if sign == b"<<":
            return self.frames(name, is_push, count, lambda a, b: a.raw == b.raw)
        if sign == b"<*":
            return self.frames(name, lambda f: True, count, lambda a, b: a.raw == b.raw if is_push(a) else self.same_reply(name, a, b))
        if sign == b"<~":
            return self.any_order(name, count)
        if sign == b"-":
            got = self.both(lambda s: self.quiet(s, name))
            return got == [b"", b""], got[0], got[1]
        if sign == b"$":
            self.both(lambda s: s.client(name).wait_close())
        if sign in (b"!", b"$"):
            self.both(lambda s: s.clients.pop(name).conn.close())
            self.asked.pop(name, None)
        if sign == b"?":
            return self.until(name, rest)
        return True, b"", b""


def run_scenario(servers, where, lines, report):
    for s in servers:
        s.start()
    scenario, done = Scenario(servers), []
    for number, line in lines:
        at = "%s:%d" % (where, number)
        try:
            same, a, b = scenario.line(line)
        except (Broken, OSError) as e:
            report.fail(at, done + [line], "", str(e))
            break
        done.append(line)
        if same:
            report.passed += 1
        else:
            report.fail(at, done, show(a), show(b))
    for s in servers:
        s.close()


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--target", required=True, help='tcp:host:port, unix:/path or "self"')
    p.add_argument("--rounds", type=int, default=1)
    p.add_argument("--redis", default="redis-server")
    p.add_argument("--show", type=int, default=10)
    p.add_argument("files", nargs="*")
    args = p.parse_args()
    report, owned = Report(args.show), []
    try:
        owned.append(Redis(args.redis))
        target = args.target
        if target == "self":
            owned.append(Redis(args.redis))
            target = owned[1].address
        servers = [Server(owned[0].address), Server(target)]
        for path in args.files or sorted(glob.glob(os.path.join(HERE, "cases", "scenarios", "*.txt"))):
            for _ in range(args.rounds):
                for _, lines in read_blocks(path):
                    run_scenario(servers, os.path.basename(path), lines, report)
    except (Broken, OSError, ValueError) as e:
        print("scenarios: %s" % e, file=sys.stderr)
        return 2
    finally:
        for s in owned:
            s.stop()
    print("%d passed, %d failed" % (report.passed, report.failed))
    return 1 if report.failed else 0


if __name__ == "__main__":
    sys.exit(main())
