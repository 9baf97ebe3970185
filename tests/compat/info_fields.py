#!/usr/bin/python3
"""Compares the field names of INFO, section by section, with those of Debian's redis-server 7.0.15, and the form of their values.

    info_fields.py --target unix:/run/barewire.sock | tcp:HOST:PORT | admin:PROGRAM

PROGRAM is tests/compat/admin_server: control's admin code alone. Ends with "N passed, N failed"; exit code 1 when something failed.
"""

import argparse
import re
import sys

from compat import Redis
from targets import open_target
from wire import Conn

# Ours and not Redis's, and why. Everything else that is ours must stand in OUR_SECTIONS.
ADDED = {
    "Server": {"barewire_version"},
    "Stats": {"client_query_buffer_limit_disconnections", "client_output_buffer_limit_disconnections"},  # names of Redis 7.2
}
OUR_SECTIONS = {"Commandhops", "Dataplane", "Drops", "TCP"}
LISTS = {"Commandstats", "Errorstats", "Latencystats", "Keyspace", "Modules"}  # lines made from data

NUMBER = re.compile(r"-?\d+(\.\d+)?%?$")
HUMAN = re.compile(r"\d+(\.\d\d)?[BKMGTP]$")


def read(address, *words):
    conn = Conn(address)
    reply = conn.call("INFO", *words)
    conn.close()
    if reply.is_error:
        raise SystemExit("INFO %s: %s" % (" ".join(words), reply.value.decode()))
    return reply.value.decode()


def sections(text):
    """{section: [(field, value)]} in order; every line must be of a known form."""
    found, current = {}, None
    if not text.endswith("\r\n"):
        raise ValueError("INFO does not end a line")
    for line in text[:-2].split("\r\n"):
        if line.startswith("# "):
            current = found.setdefault(line[2:], [])
        elif line:
            name, colon, value = line.partition(":")
            if not colon or current is None:
                raise ValueError("not a field: %r" % line)
            current.append((name, value))
    return found


def kind(value):
    return "number" if NUMBER.match(value) else "size" if HUMAN.match(value) else "text"


class Result:
    def __init__(self):
        self.passed = self.failed = 0

    def check(self, ok, text):
        if ok:
            self.passed += 1
        else:
            self.failed += 1
            print("FAIL " + text)


def compare(result, ours, theirs):
    for name, fields in theirs.items():
        result.check(name in ours, "section %s is missing" % name)
        if name not in ours or name in LISTS:
            continue
        mine, want = dict(ours[name]), dict(fields)
        added = ADDED.get(name, set())
        for field, value in fields:
            result.check(field in mine, "%s: %s is missing" % (name, field))
            if field in mine:
                result.check(kind(mine[field]) == kind(value) or "text" == kind(value),
                             "%s: %s is %r, a %s there: %r" % (name, field, mine[field], kind(value), value))
        result.check(set(mine) - set(want) == added, "%s: fields of our own: %s" % (name, sorted(set(mine) - set(want) - added)))
        shared = [f for f, _ in ours[name] if f in want]
        result.check(shared == [f for f, _ in fields if f in mine], "%s: the order differs" % name)
    result.check(set(ours) - set(theirs) <= OUR_SECTIONS, "sections: %s" % sorted(set(ours) - set(theirs)))


def main():
    p = argparse.ArgumentParser()
    p.add_argument("--target", required=True)
    p.add_argument("--redis", default="redis-server")
    args = p.parse_args()
    result = Result()
    redis = Redis(args.redis)
    try:
        with open_target(args.target) as address:
            for words in ([], ["all"], ["everything"], ["default", "commandstats"], ["server", "nonsense", "CPU"]):
                compare(result, sections(read(address, *words)), sections(read(redis.address, *words)))
            for words in (["nonsense"], ["cluster"], ["Modules"], ["module_list"], ["latencystats"]):
                mine, want = read(address, *words), read(redis.address, *words)
                mine, want = re.sub(r"(?m)^latency_percentiles.*\r\n", "", mine), re.sub(r"(?m)^latency_percentiles.*\r\n", "", want)
                result.check(mine == want, "INFO %s: %r, there %r" % (words, mine, want))
    finally:
        redis.stop()
    print("%d passed, %d failed" % (result.passed, result.failed))
    return 1 if result.failed else 0


if __name__ == "__main__":
    sys.exit(main())
