#!/usr/bin/python3
"""Compares what two servers say of each command that the second one knows: COMMAND INFO and COMMAND DOCS, in RESP2 and RESP3.

    command_info.py unix:/tmp/redis.sock unix:/run/barewire.sock
    command_info.py tcp:127.0.0.1:6379 tcp:10.1.0.1:6379

The first is redis-server 7.0.15, the second Barewire. Shapes, order and values must be equal but for what ALLOWED and OWN_WORDS say.
Prints each difference and ends with "N passed, N failed"; the exit code is 1 when there was one, 2 when it could not run.
"""

import os
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

from wire import Broken, Conn

# Commands that Redis has since 7.2, 7.4 and 8.0, DELIFEQ of Valkey 9.0, and CLIENT CONFLATE and DURABILITY, which are ours.
ALLOWED = {b"client|setinfo", b"client|no-touch", b"client|conflate", b"client|durability", b"waitaof", b"hexpire", b"hpexpire", b"hexpireat", b"hpexpireat", b"httl", b"hpttl", b"hexpiretime",
           b"hpexpiretime", b"hpersist", b"hgetex", b"hsetex", b"hgetdel", b"delifeq"}
# Arguments that Redis 7.0 has not: IFEQ of SET, of Valkey 8.1. Left out of the comparison.
OWN_ARGUMENTS = {b"comparison-value"}
# Fields of maps whose texts are ours (or that we leave out: history, and the list of subcommands, which are compared one by one).
OWN_WORDS = {b"summary", b"complexity", b"history", b"replaced_by", b"notes", b"subcommands"}
INFO_SUBCOMMANDS = 9  # element of a COMMAND INFO entry


def own_argument(reply):
    values = [r.value for r in reply.value[:2]] if isinstance(reply.value, list) else []
    return len(values) == 2 and values[0] == b"name" and values[1] in OWN_ARGUMENTS


def plain(reply):
    """A reply as nested tuples, with its type bytes, without OWN_WORDS. RESP2 writes maps as arrays: a pair is known by its key."""
    if not isinstance(reply.value, list):
        return reply.kind, reply.value
    items, out, i = [r for r in reply.value if not own_argument(r)], [], 0
    while i < len(items):
        if items[i].kind == b"$" and items[i].value in OWN_WORDS and i + 1 < len(items):
            i += 2
            continue
        out.append(plain(items[i]))
        i += 1
    return reply.kind, tuple(out)


def info(conn, name):
    entry = conn.call("COMMAND", "INFO", name).value[0]
    if isinstance(entry.value, list):
        del entry.value[INFO_SUBCOMMANDS:]
    return plain(entry)


def docs(conn, name):
    return plain(conn.call("COMMAND", "DOCS", name))


def names(conn):
    return sorted(i.value for i in conn.call("COMMAND", "LIST").value)


def compare(redis, ours):
    passed = failed = 0
    for version in (2, 3):
        for conn in (redis, ours):
            if conn.call("HELLO", version).is_error:
                raise Broken("%s refuses HELLO %d" % (conn.address, version))
        for name in names(ours):
            if name in ALLOWED:
                continue
            for what, ask in (("INFO", info), ("DOCS", docs)):
                want, got = ask(redis, name), ask(ours, name)
                if want == got:
                    passed += 1
                    continue
                failed += 1
                print("RESP%d COMMAND %s %s\n  redis:    %r\n  barewire: %r" %
                      (version, what, name.decode(), want, got))
    return passed, failed


def main():
    if len(sys.argv) != 3:
        print(__doc__, file=sys.stderr)
        return 2
    try:
        passed, failed = compare(Conn(sys.argv[1]), Conn(sys.argv[2]))
    except (Broken, OSError) as e:
        print("cannot compare: %s" % e, file=sys.stderr)
        return 2
    print("%d passed, %d failed" % (passed, failed))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
