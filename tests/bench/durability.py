"""scripts/bench --durability: what it costs that data outlives the server, beside redis-server with its files on the same filesystem.

SET with appendfsync no, everysec and always; SAVE and load of a dataset; and with requests that fall due at a fixed rate, whatever the server does
(barewire bench --rate), their latency and the longest turns of the worker, first with nothing else going on, then with one BGSAVE after the other,
then with one BGREWRITEAOF after the other."""
import os
import re
import shutil
import socket
import sys
import tempfile
import time
from statistics import median

from contestants import Barewire, Failed, Redis, run
from generator import Foremost, runs_still
from report import client_bound, print_head, print_others, ratio_said, spread, verdict

POLICIES, CLIENTS = ("no", "everysec", "always"), (1, 16, 256)
TARGET = {("everysec", 1): 3, ("everysec", 16): 3, ("everysec", 256): 3, ("always", 256): 2}
SECONDS, RATE, PHASE_SECONDS = 1.2, 20000, 3
LOOK_SECONDS = 0.25  # between two looks whether it goes on: they take time of the client's core, and 20 a second were a hundredth of it, which p99 tells
PHASES = {"nothing else": None, "BGSAVE": "rdb_bgsave_in_progress", "BGREWRITEAOF": "aof_rewrite_in_progress"}
P99_RATIO, LOAD_RATIO, TURN_US = 1.3, 2.0, 100


class Stored:
    """What both have here beside being servers: a folder, a log that tells how long loading took, a socket that costs the client's core nothing."""

    def ask(self, *words):
        request = b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%s\r\n" % (len(w), w.encode()) for w in words)
        with socket.socket(socket.AF_UNIX) as s:
            s.connect(self.socket())
            s.sendall(request)
            with s.makefile("rb") as f:
                line = f.readline()
                return f.read(int(line[1:])).decode() if line.startswith(b"$") else line.decode().strip()

    def persistence(self):
        return dict(line.split(":", 1) for line in self.ask("INFO", "persistence").splitlines() if ":" in line)

    def wait_for(self, field):
        deadline = time.monotonic() + 120
        while self.persistence()[field] != "0":
            if time.monotonic() > deadline:
                raise Failed(f"{self.name}: {field} does not end")
            time.sleep(0.05)

    def append_only(self, on):
        self.cli("config", "set", "appendonly", "yes" if on else "no")
        self.wait_for("aof_rewrite_in_progress")

    def loading_seconds(self):
        found = re.findall(r"DB loaded from disk: ([\d.]+) seconds", self.log_text())
        if not found:
            raise Failed(f"{self.name} did not load its file")
        return float(found[-1])


class StoredBarewire(Stored, Barewire):
    def __init__(self, tag, options, build, folder):
        self.dir = tempfile.mkdtemp(prefix="bw-bench-", dir=folder)
        super().__init__(tag, options.mtu, build, options=["--dir", self.dir, "--save", "", "--auto-aof-rewrite-percentage", "0"])

    def start(self):
        super().start()
        self.path = self.lab("socket")

    def socket(self):
        return self.path

    def log_text(self):
        return self.lab("log")

    def restart(self):
        Barewire.stop(self)
        self.start()

    def turns(self):
        """Longest turn of the worker since CONFIG RESETSTAT, and what 99.9 % stayed under, in us."""
        line = next(l for l in self.ask("INFO", "dataplane").splitlines() if l.startswith("worker0:"))
        v = dict(w.split("=") for w in line.split(":", 1)[1].split(","))
        return {"turn_max_us": int(v["loop_busy_max_ns"]) / 1e3, "turn_p999_us": int(v["loop_busy_p999_ns"]) / 1e3,
                "turn_own_us": int(v["loop_own_max_ns"]) / 1e3}

    def stop(self):
        super().stop()
        shutil.rmtree(self.dir, ignore_errors=True)


class StoredRedis(Stored, Redis):
    def __init__(self, tag, options, folder):
        super().__init__(tag, options.mtu, options.redis_offloads, folder, ["--auto-aof-rewrite-percentage", "0"])
        self.options += ["--unixsocket", self.socket()]

    def socket(self):
        return os.path.join(self.dir, "s")

    def log_text(self):
        with open(self.log, encoding="utf-8") as f:
            return f.read()

    def restart(self):
        self.stop_process()
        self.start_process()

    def turns(self):
        return {}


def servers(options, tag, build):
    folder = os.path.abspath(options.dir)
    options.filesystem = run(["findmnt", "-n", "-o", "FSTYPE,SOURCE", "--target", folder]).strip()
    return [StoredBarewire(tag, options, build, folder), StoredRedis(tag, options, folder)]


def tell(options, number, *words):
    print(f"run {number + 1}/{options.runs}", *words, file=sys.stderr, flush=True)


def measure_policies(options, both, found):
    for s in both:
        s.append_only(True)
    for number in range(options.runs):
        for policy in POLICIES:
            for clients in CLIENTS:
                name = f"SET, appendfsync {policy}, {clients} clients"
                for s in both if (options.only or "") in name else []:
                    s.cli("config", "set", "appendfsync", policy)
                    r = options.generator.run(s, "-t", "set", "-c", clients, "-d", 64, "-r", 100000, "--seconds", SECONDS, "--warmup", 0.2)
                    found.setdefault((policy, clients), {}).setdefault(s.name, []).append(r)
                    tell(options, number, f"{name:40} {s.name:10} {r['rps']:10.0f}/s")
    for s in both:
        s.cli("config", "set", "appendfsync", "everysec")
        s.append_only(False)


def fill(options, server):
    server.cli("flushall", "sync")
    options.generator.run(server, "-t", "set", "-n", options.dataset, "--keys", "sequential", "-P", 32, "-d", 64, "-r", options.dataset)
    if int(server.cli("dbsize")) != options.dataset:
        raise Failed(f"{server.name} holds {server.cli('dbsize')} keys of {options.dataset}")


def measure_files(options, both, found):
    for number in range(options.runs):
        for s in both:
            start = time.monotonic()
            if s.ask("SAVE") != "+OK":
                raise Failed(f"{s.name}: SAVE")
            saved = time.monotonic() - start
            s.restart()
            if int(s.cli("dbsize")) != options.dataset:
                raise Failed(f"{s.name} loaded {s.cli('dbsize')} keys of {options.dataset}")
            r = {"save_s": saved, "load_s": s.loading_seconds()}
            found.setdefault(s.name, []).append(r)
            tell(options, number, f"{s.name:10} SAVE {saved:.2f} s, load {r['load_s']:.2f} s")


def phase(client, options, server, what):
    """The same requests while `what` goes on, started again as it ends."""
    field, seen = PHASES[what], {"begun": 0, "memory": 0}
    before = server.memory_bytes()

    def repeat(client):
        while runs_still(client):
            if field and server.persistence()[field] == "0":
                server.ask(what)
                seen["begun"] += 1
            seen["memory"] = max(seen["memory"], server.memory_bytes() - before)
            time.sleep(LOOK_SECONDS)

    server.ask("CONFIG", "RESETSTAT")
    r = client.run(server, "--ratio", "1:1", "-c", 16, "-d", 64, "-r", options.dataset, "--rate", options.rate, "--seconds", PHASE_SECONDS, during=repeat)
    r.update(server.turns(), begun=seen["begun"])
    if field:
        server.wait_for(field)
        after = server.persistence()
        kept = "aof_last_cow_size" if what == "BGREWRITEAOF" else "rdb_last_cow_size"  # the fork's pages: only redis-server has them
        r["memory_mb"] = max(seen["memory"] if server.name == "barewire" else int(after.get(kept, 0)), 0) / 1e6
    return r


def measure_phases(options, both, found):
    client = Foremost(options.build)
    for number in range(options.runs):
        for what in PHASES:
            for s in both:
                if what == "BGREWRITEAOF":
                    s.append_only(True)
                r = phase(client, options, s, what)
                if what == "BGREWRITEAOF":
                    s.append_only(False)
                found.setdefault(what, {}).setdefault(s.name, []).append(r)
                tell(options, number, f"{what:14} {s.name:10} p99 {r['p99_us']:.0f} us, max {r['max_us']:.0f} us")


def measure(options, both, _scratch):
    options.rate = RATE
    found = {"filesystem": options.filesystem, "dataset": options.dataset, "policies": {}, "files": {}, "phases": {}}
    measure_policies(options, both, found["policies"])
    if (options.only or "") in "SAVE BGSAVE load":
        for s in both:
            fill(options, s)
        measure_files(options, both, found["files"])
        measure_phases(options, both, found["phases"])
    found["policies"] = {f"{p} {c}": by for (p, c), by in found["policies"].items()}
    return found


def print_policies(rows):
    print(f"\n{'SET, appendfsync, clients':26} {'Barewire k/s, median [min-max]':>32} {'redis-server k/s':>26} {'times redis':>20} {'target':>7} {'p99 us':>18} {'client':>10}")
    for name, by in rows.items():
        policy, clients = name.split()
        ours, redis = by["barewire"], by["redis"]
        target = TARGET.get((policy, int(clients)))
        said = f">={target} " + verdict(median(a["rps"] / b["rps"] for a, b in zip(ours, redis)) >= target) if target else ""
        print(f"{name:26} {spread([r['rps'] / 1000 for r in ours], '{:.1f}'):>32} {spread([r['rps'] / 1000 for r in redis], '{:.1f}'):>26} "
              f"{ratio_said(ours, redis):>20} {said:>12} {median(r['p99_us'] for r in ours):>8.0f}, {median(r['p99_us'] for r in redis):>8.0f} "
              f"{'CLIENT' if client_bound(ours) else '':>6}{' (redis too)' if client_bound(redis) else ''}")


def print_files(by, keys):
    for field, name, target in (("save_s", "SAVE", None), ("load_s", "load", LOAD_RATIO)):
        ours, redis = ([r[field] for r in by[who]] for who in ("barewire", "redis"))
        ratio = [b / a for a, b in zip(ours, redis)]
        print(f"{name} of {keys} keys: Barewire {spread(ours, '{:.2f}')} s, redis-server {spread(redis, '{:.2f}')} s; {spread(ratio, '{:.2f}')} times as fast"
              + (f", target {target:g}: {verdict(median(ratio) >= target)}" if target else ""))


def print_phases(phases, rate):
    print(f"\n{rate} requests a second, GET and SET, latency from the time each was due; the client goes before others on its core (SCHED_FIFO) if that is allowed")
    print(f"{'':14} {'':10} {'p99 us, median [min-max]':>28} {'times idle':>20} {'max us':>10} {'turn 99.9 % us':>15} {'longest turn us':>24} {'own work us':>20} {'more memory MB':>15}")
    for what, by in phases.items():
        for who, runs in by.items():
            ratios = [a["p99_us"] / b["p99_us"] for a, b in zip(runs, phases["nothing else"][who])]
            turns, own = ([r.get(field, 0) for r in runs] for field in ("turn_max_us", "turn_own_us"))
            print(f"{what:14} {who:10} {spread([r['p99_us'] for r in runs], '{:.0f}'):>28} {spread(ratios, '{:.2f}') if what != 'nothing else' else '':>20} "
                  f"{median(r['max_us'] for r in runs):>10.0f} " + (f"{median(r['turn_p999_us'] for r in runs):>15.0f} {spread(turns, '{:.0f}'):>24} {spread(own, '{:.0f}'):>20} "
                     if who == "barewire" else f"{'':>15} {'':>24} {'':>20} ")
                  + (f"{median(r['memory_mb'] for r in runs):>15.1f}" if "memory_mb" in runs[0] else ""))
    print(f"targets: p99 at most {P99_RATIO} times idle, own work of the longest turn at most {TURN_US} us. Turns are the worker's own histogram, by the clock: what else ran\n"
          "on its core meanwhile is in them, and not in its own work. More memory: resident pages of both processes; redis-server: pages that fork copied.")


def print_durability(found):
    print_head(found)
    print(f"files on {found['filesystem']}")
    if found["policies"]:
        print_policies(found["policies"])
    if found["files"]:
        print_files(found["files"], found["dataset"])
        print_phases(found["phases"], RATE)
    rows = (*found["policies"].values(), *found["phases"].values())
    print_others([r for by in rows for runs in by.values() for r in runs])
