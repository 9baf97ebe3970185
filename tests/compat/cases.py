"""Hand-written cases: tests/compat/cases/*.txt.

    # a comment
    SET k "a\\r\\n" EX 10        a block: lines up to a blank one are one stream on one connection;
    GET k                      before each block both servers are emptied and a new connection is made

    @2 GET k                   on a second connection of this block (3, 4 ... as well)
    @silent CLIENT REPLY OFF   no reply is expected
    @until "$-1\\r\\n" GET k     repeated until both servers answer that (at most 10 s): time has to pass
    @scan MATCH a* COUNT 2     SCAN from cursor 0 to its end: the same keys, none missing
    @raw "PING\\r\\n*1\\r\\n"      these bytes on a connection of their own, then everything until the server closes it;
                               {N*text} as a word of its own is the text N times, words are joined
    @inline PING "a b"         the rest of the line as it stands, as an inline command
"""

import glob
import os
import time

import normalise
from wire import Conn, Broken, encode, parse, show, show_argv, split_words, unquote


def read_blocks(path):
    """[(line number, [line, ...]), ...]"""
    blocks, lines, start = [], [], 0
    with open(path, "rb") as f:
        for number, line in enumerate(f, 1):
            line = line.strip()
            if line.startswith(b"#"):
                continue
            if line:
                if not lines:
                    start = number
                lines.append((number, line))
            elif lines:
                blocks.append((start, lines))
                lines = []
    if lines:
        blocks.append((start, lines))
    return blocks


class Pair:
    """The same stream to both servers."""

    def __init__(self, ref, target):
        self.addresses = (ref, target)
        self.conns = {}

    def on(self, name):
        if name not in self.conns:
            self.conns[name] = tuple(Conn(a) for a in self.addresses)
        return self.conns[name]

    def close(self):
        for pair in self.conns.values():
            for c in pair:
                c.close()
        self.conns = {}

    def both(self, name, data, count):
        return [c.exchange(data, count) for c in self.on(name)]


def run_raw(pair, words):
    data = b"".join(words)
    got = []
    for address in pair.addresses:
        c = Conn(address)
        try:
            got.append(c.until_close(data))
        finally:
            c.close()
    return got[0] == got[1], got[0], got[1]


def run_scan(pair, name, words):
    seen = []
    for c in pair.on(name):
        keys, cursor, rounds = set(), b"0", 0
        while True:
            r = c.call(b"SCAN", cursor, *words)
            if r.is_error:
                keys.add(r.raw)
                break
            cursor = r.value[0].value
            keys |= {k.raw for k in r.value[1].value}
            rounds += 1
            if cursor == b"0":
                break
            if rounds > 100000:
                raise Broken("SCAN does not end")
        seen.append(b"".join(sorted(keys)))
    return seen[0] == seen[1], seen[0], seen[1]


def run_until(pair, name, want, argv):
    want, argv = unquote(want), encode(argv)
    last = [b"", b""]
    deadline = time.monotonic() + 10
    for i, c in enumerate(pair.on(name)):
        while last[i] != want and time.monotonic() < deadline:
            last[i] = c.exchange(argv, 1)[0].raw
    return last[0] == last[1] == want, last[0], last[1]


def run_line(pair, line):
    """(same, reference's bytes, target's bytes) of one line."""
    name = "1"
    if line.startswith(b"@") and line[1:2].isdigit():
        word, _, line = line.partition(b" ")
        name = word[1:].decode()
    if line.startswith(b"@inline "):
        a, b = pair.both(name, line[8:] + b"\r\n", 1)
        return a[0].raw == b[0].raw, a[0].raw, b[0].raw
    words = split_words(line)
    if words[0] == b"@raw":
        return run_raw(pair, words[1:])
    if words[0] == b"@scan":
        return run_scan(pair, name, words[1:])
    if words[0] == b"@until":
        return run_until(pair, name, words[1], words[2:])
    if words[0] == b"@silent":
        pair.both(name, encode(words[1:]), 0)
        return True, b"", b""
    if words[0].startswith(b"@"):
        raise ValueError("unknown directive %s" % words[0].decode("latin-1"))
    a, b = pair.both(name, encode(words), 1)
    return normalise.same(a[0], b[0], words), a[0].raw, b[0].raw


def run_block(ref, target, path, start, lines, report):
    """Counts into the report; stops at a connection that breaks."""
    pair = Pair(ref, target)
    try:
        for c in pair.on("flush"):
            c.call("FLUSHALL")
        done = []
        for number, line in lines:
            where = "%s:%d" % (os.path.basename(path), number)
            try:
                same, a, b = run_line(pair, line)
            except (Broken, OSError) as e:
                report.fail(where, done + [line], "", str(e))
                break
            done.append(line)
            if same:
                report.passed += 1
            else:
                report.fail(where, done, show(a), show(b))
    finally:
        pair.close()


def run_files(ref, target, paths, report):
    for path in paths:
        for start, lines in read_blocks(path):
            run_block(ref, target, path, start, lines, report)


def all_paths():
    return sorted(glob.glob(os.path.join(os.path.dirname(os.path.abspath(__file__)), "cases", "*.txt")))
