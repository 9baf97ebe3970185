#!/usr/bin/env python3
"""One client, one request at a time: where the slow ones of a thousand come from.

    tests/bench/tail.py [--build DIR] [--requests N] [--rounds N] [--only NAME,...]

Behind a veth pair each: Barewire over AF_XDP (idle adaptive, and spin), redis-server, and `floor`: latency_probe's server, which does nothing but read
and write over kernel sockets. Server on core 0, client on core 1, rounds interleaved. Clients:

    benchmark         redis-benchmark -c 1: sleeps in epoll
    wait              latency_probe: sleeps in recv()
    benchmark-awake,  the same two, and a process of class SCHED_IDLE keeps their core from going idle meanwhile
    wait-awake
    spin              latency_probe that never sleeps, and knows when the machine kept it from looking. `lost`: that happened in so many of all round
                      trips, and in so many of the slowest hundredth; p99 and p99.9 of the others

turn: p50, p99, p99.9 of the worker's turns that did work, receive burst to transmit burst, in the same run; sleeps: of the worker, for each request.
First, core_bench --noise of both cores."""
import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
from statistics import median

from contestants import CLIENT_CORE, SERVER_CORE, Barewire, Failed, Mode, OnKernel, Redis, end, run, write_keys

KEYS = 10000
CLIENTS = ("benchmark", "benchmark-awake", "wait", "wait-awake", "spin")
TURN = ("loop_busy_p50_ns", "loop_busy_p99_ns", "loop_busy_p999_ns")


class Floor(OnKernel):
    name = "floor"

    def __init__(self, tag, probe):
        super().__init__(tag, 1500)
        self.probe = probe

    def argv(self):
        return [self.probe, self.address, "serve"]

    def answers(self):
        run(self.in_client_ns(self.probe, self.address, "1", "1"))
        return True


def benchmark(server, requests):
    out = run(server.in_client_ns("redis-benchmark", "-h", server.address, "-c", "1", "-n", str(requests), "-t", "get", "-d", "64", "-r", str(KEYS), "--precision", "3"))
    took = [(float(p), float(ms) * 1000) for p, ms in re.findall(r"^([\d.]+)% <= ([\d.]+) milliseconds \(cumulative", out, re.M)]
    return {name: next(us for p, us in took if p >= share) for name, share in (("p50_us", 50), ("p99_us", 99), ("p999_us", 99.9))}


def ask(server, probe, client, requests):
    words = [probe, server.address, str(requests), str(KEYS), *(["spin"] if client == "spin" else [])]
    keeper = None
    if client.endswith("-awake"):
        keeper = subprocess.Popen(["chrt", "--idle", "0", "taskset", "-c", CLIENT_CORE, sys.executable, "-c", "while True: pass"])
    try:
        return benchmark(server, requests) if client.startswith("benchmark") else json.loads(run(server.in_client_ns(*words)))
    finally:
        if keeper:
            end(keeper)


def measured(server, probe, client, requests):
    server.prepare()
    barewire = isinstance(server, Mode)
    if barewire:
        server.cli("config", "resetstat")
    r = ask(server, probe, client, requests)
    if barewire:
        info = server.info("dataplane")
        words = dict(w.split("=") for w in info["worker0"].split(","))
        r["turn"] = [int(words[k]) / 1000 for k in TURN]
        r["sleeps"] = int(info["sleeps"]) / requests
    server.rest()
    return r


def row(server, client, runs):
    def of(name):
        return f"{median(r[name] for r in runs):6.1f}"
    text = f"{client:16} {server.name:18} " + " ".join(of(p) for p in ("p50_us", "p99_us", "p999_us"))
    text += f"   [p99 {', '.join('%.0f' % r['p99_us'] for r in runs)}]"
    if "turn" in runs[0]:
        text += "   turn " + " ".join(f"{median(v):.1f}" for v in zip(*(r["turn"] for r in runs))) + f"   sleeps {median(r['sleeps'] for r in runs):.3f}"
    if "lost" in runs[0]:
        text += f"   lost {median(r['lost'] for r in runs):.2%}, {median(r['lost_of_slowest'] for r in runs):.0%}; others{of('p99_kept_us')}{of('p999_kept_us')}"
    print(text, flush=True)


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--build", default=os.environ.get("BAREWIRE_BUILD", "build"))
    p.add_argument("--requests", type=int, default=60000)
    p.add_argument("--rounds", type=int, default=3)
    p.add_argument("--only", default=",".join(CLIENTS), help="clients")
    o = p.parse_args()
    o.build = os.path.abspath(o.build)
    probe = os.path.join(o.build, "tests/bench/latency_probe")
    for core in (SERVER_CORE, CLIENT_CORE):
        print(f"core {core}: " + run([os.path.join(o.build, "tests/bench/core_bench"), "--noise", "1300", "--cpus", core]).strip(), flush=True)
    barewire = Barewire("tail", 1500, o.build)
    servers = [barewire, Redis("tail", 1500), Floor("tail", probe)]
    try:
        for s in servers:
            s.start()
        with tempfile.NamedTemporaryFile() as keys:
            write_keys(keys.name, KEYS)
            for s in servers[:2]:
                s.load_keys(KEYS, keys.name)
        modes = [Mode(barewire, "adaptive"), Mode(barewire, "spin"), *servers[1:]]
        for client in o.only.split(","):
            asked = [s for s in modes if not client.startswith("benchmark") or s.name != "floor"]
            found = {s: [] for s in asked}
            for _ in range(o.rounds):
                for s in asked:
                    found[s].append(measured(s, probe, client, o.requests))
            for s in asked:
                row(s, client, found[s])
    except Failed as e:
        sys.exit(str(e))
    finally:
        for s in servers:
            s.stop()
    return 0


if __name__ == "__main__":
    sys.exit(main())
