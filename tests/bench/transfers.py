"""scripts/bench --transfers: values of 1 MB through one connection and through 64, and connections a second (connect, PING, close), by
redis-benchmark, both servers in turn."""
import csv
import os
import time
from statistics import median

from contestants import Failed, machine_busy_seconds, run

VALUE_BYTES = 1 << 20
# name: redis-benchmark's words, requests, bytes of value in each
MEASURES = {
    "SET 1 MB, 1 connection": (["-t", "set", "-c", "1"], 300, VALUE_BYTES),
    "GET 1 MB, 1 connection": (["-t", "get", "-c", "1"], 300, VALUE_BYTES),
    "SET 1 MB, 64 connections": (["-t", "set", "-c", "64"], 600, VALUE_BYTES),
    "GET 1 MB, 64 connections": (["-t", "get", "-c", "64"], 600, VALUE_BYTES),
    "connect, PING, close; 50 at a time": (["-t", "ping_mbulk", "-c", "50", "-k", "0"], 10000, 0),
}


def prepare(servers):
    """Ports of connections that the client closed are free again after a second instead of a minute. redis-server's own end sends what a wire
    carries too: whole segments with their checksums, unless --redis-offloads."""
    for s in servers:
        if s.name == "redis" and not s.offloads:
            for feature in ("tx", "tso", "gso", "gro"):
                run(["ip", "netns", "exec", s.server_ns, "ethtool", "-K", "srv", feature, "off"])
        run(["ip", "netns", "exec", s.ns, "sh", "-c",
             "echo 1 >/proc/sys/net/ipv4/tcp_tw_reuse; echo 1024 65535 >/proc/sys/net/ipv4/ip_local_port_range"])


def one(server, words, requests, size):
    argv = server.in_client_ns("redis-benchmark", "-h", server.address, *words, "-n", str(requests), "-d", str(size or 3), "--csv")
    before, start = server.account(), time.monotonic()
    busy, steal = machine_busy_seconds()
    rows = [r for r in csv.reader(run(argv, timeout=300).splitlines()) if r and r[0] != "test"]
    if len(rows) != 1:
        raise Failed(f"{' '.join(argv)}: {rows}")
    busy_after, steal_after = machine_busy_seconds()
    wall, after = time.monotonic() - start, server.account()
    rps = float(rows[0][1])
    return {"rate": rps * size / 1e6 if size else rps, "cpu_s": after["cpu_s"] - before["cpu_s"], "wall_s": wall,
            "retransmits": after.get("retransmits", 0) - before.get("retransmits", 0),
            "machine_share": (busy_after - busy + steal_after - steal) / wall / os.cpu_count()}


def measure(options, servers):
    prepare(servers)
    found = {name: {s.name: [] for s in servers} for name in MEASURES}
    for _ in range(options.runs):
        for name, (words, requests, size) in MEASURES.items():
            for s in servers:
                found[name][s.name].append(one(s, words, requests // 5 if options.quick else requests, size))
    return found


def spread(values, form):
    return f"{form.format(median(values))} [{form.format(min(values))}-{form.format(max(values))}]"


def print_transfers(found):
    facts = found["facts"]
    print(f"{facts['command']}   commit {facts['commit']}, {facts['date']}, {facts['runs']} runs; MTU {facts['mtu']}, CUBIC on both sides")
    print(f"{'':36} {'':5} {'Barewire, median [min-max]':>30} {'redis-server':>30} {'ratio of neighbours':>22} {'server CPU s':>14}")
    for name, by in found["transfers"].items():
        ours, theirs = by["barewire"], by["redis"]
        unit = "MB/s" if MEASURES[name][2] else "/s"
        print(f"{name:36} {unit:5} {spread([r['rate'] for r in ours], '{:.0f}'):>30} {spread([r['rate'] for r in theirs], '{:.0f}'):>30} "
              f"{spread([a['rate'] / b['rate'] for a, b in zip(ours, theirs)], '{:.2f}'):>22} "
              f"{median(r['cpu_s'] for r in ours):>6.2f} {median(r['cpu_s'] for r in theirs):>7.2f}")
    print("memory of a connection: build/tests/bench/conn_scale")
