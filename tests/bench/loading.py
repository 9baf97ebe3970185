#!/usr/bin/env python3
"""Loading, beside redis-server: the same files, which redis-server wrote.

    tests/bench/loading.py [--keys N] [--runs N] [--only TEXT] [--files DIR] [--build DIR] [--steps]

Each is started on a directory through a unix socket; a start with nothing to load is taken off. Wall: from exec to the first +PONG. CPU: user and
system time of all its processes until then: what holds on a machine that others use. As much memory as a file may want is touched and given back before each
start: a virtual machine's host may have taken it, and would be measured then (--cold: it is). Two rows a file: redis-server on one core and Barewire, control and
one worker, on that same core; and Barewire on two cores. Ratios are medians of neighbouring runs. --files keeps the files for the next time.
--steps: instead, the dataplane is killed with the file loaded, and the steps until it serves again are told."""
import argparse
import mmap
import os
import shutil
import signal
import socket
import statistics
import subprocess
import time

import sys
import tempfile

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from contestants import ROOT, Failed, cpu_seconds, end  # noqa: E402

DEADLINE_S = 600
MEMORY_BYTES = 512 << 20


class Client:
    def __init__(self, path):
        self.s = socket.socket(socket.AF_UNIX)
        self.s.settimeout(DEADLINE_S)
        self.s.connect(path)
        self.f = self.s.makefile("rb")

    def __call__(self, *words):
        self.s.sendall(b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%s\r\n" % (len(w), w) for w in (str(x).encode() for x in words)))
        line = self.f.readline()
        if line[:1] != b"$" or line[:2] == b"$-":
            return line.strip()
        return self.f.read(int(line[1:]) + 2)[:-2]


class Running:
    """A server on a directory, pinned to `cores`, until the block ends."""

    def __init__(self, command, place, cores, env=None):
        self.path = os.path.join(place, "socket")
        if os.path.exists(self.path):
            os.unlink(self.path)
        self.log = os.path.join(place, "server.log")
        before = time.monotonic()
        with open(self.log, "w", encoding="utf-8") as log:
            self.process = subprocess.Popen(["taskset", "-c", cores, *command, "--unixsocket", self.path], stdout=log, stderr=log, env=env)
        self.client = self.wait()
        self.wall_s = time.monotonic() - before
        self.cpu_s = self.cpu()

    def said(self):
        with open(self.log, encoding="utf-8", errors="replace") as f:
            return f.read()

    def pids(self):
        found, todo = [], [self.process.pid]
        while todo:
            pid = todo.pop()
            found.append(pid)
            try:
                with open(f"/proc/{pid}/task/{pid}/children", encoding="ascii") as f:
                    todo += [int(p) for p in f.read().split()]
            except OSError:
                pass
        return found

    def cpu(self):
        return sum(cpu_seconds(p) for p in self.pids())

    def wait(self):
        end = time.monotonic() + DEADLINE_S
        while time.monotonic() < end:
            try:
                c = Client(self.path)
                if c("PING") == b"+PONG":
                    return c
            except OSError:
                pass
            if self.process.poll() is not None:
                raise Failed(f"{' '.join(self.process.args)} ended:\n{self.said()[-2000:]}")
            time.sleep(0.002)
        raise Failed("a server does not serve")

    def timed(self, *words):
        wall, cpu = time.monotonic(), self.cpu()
        reply = self.client(*words)
        if reply[:1] == b"-":
            raise Failed(reply.decode())
        return {"wall_s": time.monotonic() - wall, "cpu_s": self.cpu() - cpu}

    def __enter__(self):
        return self

    def __exit__(self, *_):
        end(self.process)


def redis_server(place, cores, *options):
    return Running(["redis-server", "--port", "0", "--save", "", "--dir", place, "--enable-debug-command", "yes", *options], place, cores)


def barewire_server(build, place, cores, *options):
    env = dict(os.environ, BAREWIRE_DATAPLANE=os.path.join(build, "dataplane", "barewire-dataplane"))
    return Running([os.path.join(build, "control", "barewire-control"), "--instance", f"load-{os.getpid()}", "--dir", place, "--hugepages", "no",
                    "--save", "", "--workers", "1", "--shutdown-on-sigterm", "nosave", *options], place, cores, env)


def fill_strings(c, keys):
    c("DEBUG", "POPULATE", keys, "key", 50)


def fill_mixed(c, keys):
    """A tenth of the keys each: hashes, lists, sets, sorted sets of a dozen elements; the rest strings, some with a time to live."""
    script = """for i = ARGV[1], ARGV[2] do
        local k = i % 10
        if k == 0 then for j = 1, 12 do redis.call('HSET', 'h' .. i, 'field:' .. j, 'value:' .. i .. ':' .. j) end
        elseif k == 1 then for j = 1, 12 do redis.call('RPUSH', 'l' .. i, 'element:' .. i .. ':' .. j) end
        elseif k == 2 then for j = 1, 12 do redis.call('SADD', 's' .. i, 'member:' .. i .. ':' .. j) end
        elseif k == 3 then for j = 1, 12 do redis.call('ZADD', 'z' .. i, j * 1.5, 'member:' .. i .. ':' .. j) end
        elseif k == 4 then redis.call('SET', 't' .. i, 'value:' .. i, 'EX', 1000000)
        else redis.call('SET', 'k' .. i, string.rep('v', i % 100)) end end"""
    for at in range(0, keys, 10000):
        c("EVAL", script, 0, at, min(at + 10000, keys) - 1)


ELEMENT = {"hash": "redis.call('HSET', 'h' .. ARGV[1], 'field:' .. j, 'value:' .. j)",
           "list": "redis.call('RPUSH', 'l' .. ARGV[1], 'element:' .. j)",
           "set": "redis.call('SADD', 's' .. ARGV[1], 'member:' .. j)",
           "sorted": "redis.call('ZADD', 'z' .. ARGV[1], j * 1.5, 'member:' .. j)",
           "stream": "redis.call('XADD', 'x' .. ARGV[1], j .. '-1', 'field', 'value:' .. j, 'other', j)"}


def fill_values(*types):
    """Ten values of each type, with as many elements each that there are `keys` of them in all."""
    def fill(c, keys):
        script = f"local n = tonumber(ARGV[2]) for at = 1, n, 10 do for j = at, math.min(at + 9, n) do {' '.join(ELEMENT[t] for t in types)} end end"
        for i in range(10):
            c("EVAL", script, 0, i, keys // 10 // len(types))
    return fill


FILLS = {"strings": fill_strings, "mixed": fill_mixed, "large": fill_values(*ELEMENT), **{t: fill_values(t) for t in ELEMENT}}


def wait_rewritten(c):
    while b"aof_rewrite_in_progress:1" in c("INFO", "persistence") or b"aof_rewrite_scheduled:1" in c("INFO", "persistence"):
        time.sleep(0.05)


def make_files(place, keys, only):
    """Directories by name, with what a server is to be told to load them."""
    out = {}
    for name, fill in FILLS.items():
        rdb, aof = (os.path.join(place, f"{name}-{kind}-{keys}") for kind in ("rdb", "aof"))
        out[f"{name} rdb"] = rdb, ()
        out[f"{name} aof"] = aof, ("--appendonly", "yes")
        if os.path.exists(aof) or not any(only in f"{name} {kind}" for kind in ("rdb", "aof")):
            continue
        os.makedirs(rdb)
        with redis_server(rdb, "0,1") as s:
            fill(s.client, keys)
            s.client("SAVE")
        at = aof + ".new"
        shutil.rmtree(at, ignore_errors=True)
        shutil.copytree(rdb, at, ignore=shutil.ignore_patterns("socket"))
        with redis_server(at, "0,1", "--aof-use-rdb-preamble", "no") as s:
            s.client("CONFIG", "SET", "appendonly", "yes")
            wait_rewritten(s.client)
        os.unlink(os.path.join(at, "dump.rdb"))
        os.rename(at, aof)
    return {k: v for k, v in out.items() if only in k}


def touch(n):
    """So that there are n bytes of free memory behind which nothing but memory is."""
    with mmap.mmap(-1, n, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS) as m:
        m.madvise(mmap.MADV_HUGEPAGE)
        for at in range(0, n, mmap.PAGESIZE):
            m[at] = 1


def once(start, source, place, options, memory):
    at = os.path.join(place, "run")
    shutil.rmtree(at, ignore_errors=True)
    if source:
        shutil.copytree(source, at, ignore=shutil.ignore_patterns("socket"))
    else:
        os.makedirs(at)
    if memory:
        touch(memory)
    with start(at, *options) as s:
        return {"wall_s": s.wall_s, "cpu_s": s.cpu_s, "keys": int(s.client("DBSIZE")[1:])}


def median(runs, what):
    return statistics.median(r[what] for r in runs)


def line(name, runs, empty):
    out = f"{name:28}"
    for what, word in (("wall_s", "wall"), ("cpu_s", "CPU")):
        them = [r[what] - median(empty["redis"], what) for r in runs["redis"]]
        us = [max(r[what] - median(empty["barewire"], what), 0.001) for r in runs["barewire"]]
        ratios = sorted(a / b for a, b in zip(them, us))
        out += (f"  {word} {statistics.median(us):5.2f} s, redis {statistics.median(them):5.2f} s: "
                f"{statistics.median(ratios):5.2f}x [{ratios[0]:.2f}-{ratios[-1]:.2f}]")
    print(out, flush=True)


def compare(o, files, scratch):
    servers = {"redis": lambda at, *words: redis_server(at, "0", *words),
               "one core": lambda at, *words: barewire_server(o.build, at, "0", *words),
               "two cores": lambda at, *words: barewire_server(o.build, at, "0,1", *words)}
    memory = 0 if o.cold else MEMORY_BYTES
    empty = {n: [once(s, None, scratch, (), memory) for _ in range(o.runs)] for n, s in servers.items()}
    for name, (source, words) in files.items():
        runs = {n: [] for n in servers}
        for _ in range(o.runs):
            for n, start in servers.items():
                runs[n].append(once(start, source, scratch, words, memory))
        for n in ("one core", "two cores"):
            if runs["redis"][0]["keys"] != runs[n][0]["keys"]:
                raise Failed(f"{name}: {runs[n][0]['keys']} keys of {runs['redis'][0]['keys']}")
            line(f"{name}, {n}", {"redis": runs["redis"], "barewire": runs[n]}, {"redis": empty["redis"], "barewire": empty[n]})


def log_times(text):
    """Seconds of the day and text of each line of the log."""
    for row in text.splitlines():
        words = row.split(" ", 3)
        if len(words) == 4 and "T" in words[1] and words[1].endswith("Z"):
            h, m, sec = words[1].split("T")[1][:-1].split(":")
            yield int(h) * 3600 + int(m) * 60 + float(sec), words[3]


def death(o, name, source, words, scratch):
    """The dataplane is killed with the file loaded: until PONG, and what the log says of the steps."""
    at = os.path.join(scratch, "run")
    shutil.rmtree(at, ignore_errors=True)
    shutil.copytree(source, at, ignore=shutil.ignore_patterns("socket"))
    with barewire_server(o.build, at, "0,1", *words) as s:
        if words:  # the log of redis-server becomes ours
            s.client("SET", "one", "more")
        keys = s.client("DBSIZE")
        before = len(s.said())
        pid = next(p for p in s.pids() if open(f"/proc/{p}/comm", encoding="ascii").read().startswith("barewire-data"))
        killed = time.time()
        os.kill(pid, signal.SIGKILL)
        while True:
            try:
                if Client(s.path)("PING") == b"+PONG":
                    break
            except (OSError, IndexError):
                pass
            time.sleep(0.002)
        took = time.time() - killed
        now = Client(s.path)("DBSIZE")
        if now != keys:
            raise Failed(f"{now} keys of {keys}")
        print(f"{name}: served again {took:.3f} s after the dataplane was killed")
        for when, what in log_times(s.said()[before:]):
            print(f"    {when - killed % 86400:7.3f} s  {what[:110]}", flush=True)


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--keys", type=int, default=1000000)
    p.add_argument("--runs", type=int, default=3)
    p.add_argument("--only", default="", metavar="TEXT")
    p.add_argument("--files", metavar="DIR")
    p.add_argument("--build", default=os.environ.get("BAREWIRE_BUILD", os.path.join(ROOT, "build")))
    p.add_argument("--steps", action="store_true")
    p.add_argument("--cold", action="store_true", help="memory is not touched before")
    p.add_argument("--make", action="store_true", help="the files, and nothing else")
    o = p.parse_args()
    with tempfile.TemporaryDirectory(prefix="barewire-loading-") as scratch:
        if o.files:
            os.makedirs(o.files, exist_ok=True)
        files = make_files(o.files or scratch, o.keys, o.only)
        if o.steps:
            for name, (source, words) in files.items():
                death(o, name, source, words, scratch)
        elif not o.make:
            compare(o, files, scratch)


if __name__ == "__main__":
    try:
        main()
    except Failed as e:
        sys.exit(f"loading: {e}")
