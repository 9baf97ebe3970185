#!/usr/bin/python3
"""CONFIG GET and SET against Debian's redis-server 7.0.15, replies compared byte for byte, RESP2 and RESP3.

    config_replies.py --target unix:/run/barewire.sock | tcp:HOST:PORT | admin:PROGRAM

Settings are changed, and put back at the end. Ends with "N passed, N failed"; exit code 1 when something failed.
"""

import argparse
import sys

from compat import Redis
from targets import open_target
from wire import Conn, show

# name, values that both accept, values that both refuse. Directives of both, changed and read back.
SETTINGS = [
    ("maxmemory", ["100", "1k", "1kb", "2MB", "3g", "0", "", "18446744073709551616", "1073741824b"],
     ["x", "-1", "1.5gb", "10%", "1 kb", "1tb"]),
    # the text of a refusal names one policy more than Redis has
    ("maxmemory-policy", ["volatile-lru", "volatile-lfu", "volatile-random", "volatile-ttl", "allkeys-lru", "ALLKEYS-LFU",
                          "allkeys-random", "noeviction", "NOEVICTION"], []),
    ("maxmemory-samples", ["1", "65", "5"], ["0", "x"]),
    ("timeout", ["0", "5", "2147483647"], ["-1", "2147483648", "x", "", " 1", "01", "0x1"]),
    ("tcp-keepalive", ["0", "300"], ["-1", "a"]),
    ("hz", ["1", "500", "1000", "0", "10"], ["-1", "x", "1kb"]),
    ("protected-mode", ["no", "YES", "yes"], ["", "1", "yes "]),
    ("loglevel", ["debug", "verbose", "NOTICE", "warning"], ["foo", "", "nothing"]),
    ("lfu-log-factor", ["0", "10"], ["-1"]),
    ("list-compress-depth", ["1", "2147483647", "0"], ["-1", "2147483648", "x"]),
    ("lfu-decay-time", ["0", "1"], ["-1"]),
    ("proto-max-bulk-len", ["1mb", "512mb"], ["5", "1", "x"]),
    ("client-query-buffer-limit", ["1mb", "1gb"], ["1", "x"]),
    ("client-output-buffer-limit",
     ["normal 2gb 1gb 3", "replica 1mb 1kb 60", "slave 1 1 1 pubsub 2 2 2", "NORMAL 0 0 0", ""],
     ["normal 1 2", "foo 1 2 3", "normal x 2 3", "normal 1 2 -3", "normal 1 2 x", "normal 1  2 3", "normal"]),
    ("lazyfree-lazy-user-del", ["yes", "no"], ["maybe"]),
    ("lazyfree-lazy-user-flush", ["yes", "no"], ["maybe"]),
    ("requirepass", ["", "\x01\xff\n\"", ""], []),
    ("maxclients", ["100", "10000"], ["0", "-1", "x", "4294967296"]),
    ("save", [""], []),
    ("appendonly", ["no", "NO"], []),
]
REFUSED = [
    ["CONFIG", "SET", "foo", "bar"], ["CONFIG", "SET", "hz", "10", "foo"], ["CONFIG", "SET", "hz"], ["CONFIG", "SET"],
    ["CONFIG", "SET", "foo", "1", "bar", "2"], ["CONFIG", "SET", "databases", "4", "foo", "1"],
    ["CONFIG", "SET", "foo", "1", "databases", "4"], ["CONFIG", "SET", "hz", "10", "HZ", "20"],
    ["CONFIG", "SET", "hz", "20", "hz", "20", "hz", "30"], ["CONFIG", "SET", "dir", "/tmp"],
    ["CONFIG", "SET", "unixsocket", "x"], ["CONFIG", "SET", "unixsocketperm", "700"], ["CONFIG", "SET", "tcp-backlog", "5"],
    ["CONFIG", "SET", "enable-debug-command", "yes"], ["CONFIG", "SET", "daemonize", "yes"], ["CONFIG", "SET", "user", "x"],
    ["CONFIG", "SET", "include", "x"], ["CONFIG", "SET", "maxmemory", "100", "timeout", "x"], ["CONFIG", "SET", "", ""],
    ["CONFIG"], ["CONFIG", "foo"], ["CONFIG", "GET"], ["CONFIG", "RESETSTAT", "x"], ["CONFIG", "HELP", "x"],
    ["CONFIG", "REWRITE", "x"], ["CONFIG", "REWRITE"], ["CONFIG", "HELP"], ["CONFIG", "RESETSTAT"],
    ["CONFIG", "GET", "nothing-of-it"], ["CONFIG", "GET", "HZ"], ["CONFIG", "GET", "maxmemory"], ["CONFIG", "GET", "h?"],
    ["CONFIG", "GET", "h[yz]", "hz", "HZ"], ["CONFIG", "GET", "user"], ["CONFIG", "GET", ""], ["config", "get", "hz"],
    ["CONFIG", "GET", "cluster-enabled"], ["CONFIG", "GET", "save"], ["CONFIG", "GET", "appendonly"], ["CONFIG", "GET", "databases"],
]


class Pair:
    def __init__(self, ours, theirs):
        self.ours, self.theirs = Conn(ours), Conn(theirs)
        self.passed = self.failed = 0

    def same(self, *argv):
        argv = [a.encode("latin-1") for a in argv]
        mine, want = self.ours.call(*argv), self.theirs.call(*argv)
        if mine.raw == want.raw:
            self.passed += 1
        else:
            self.failed += 1
            print("FAIL %s\n  ours   %s\n  redis  %s" % (argv, show(mine.raw), show(want.raw)))


def main():
    p = argparse.ArgumentParser()
    p.add_argument("--target", required=True)
    p.add_argument("--redis", default="redis-server")
    args = p.parse_args()
    redis = Redis(args.redis)
    try:
        with open_target(args.target) as address:
            pair = Pair(address, redis.address)
            before = [(name, pair.ours.call("CONFIG", "GET", name).value[1].value) for name, _, _ in SETTINGS]
            for resp in "23":
                pair.ours.call("HELLO", resp)
                pair.theirs.call("HELLO", resp)
                for name, good, bad in SETTINGS:
                    for value in good + bad:
                        pair.same("CONFIG", "SET", name, value)
                        pair.same("CONFIG", "GET", name)
                for argv in REFUSED:
                    pair.same(*argv)
            for name, value in before:
                pair.ours.call("CONFIG", "SET", name, value)
    finally:
        redis.stop()
    print("%d passed, %d failed" % (pair.passed, pair.failed))
    return 1 if pair.failed else 0


if __name__ == "__main__":
    sys.exit(main())
