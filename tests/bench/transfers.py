"""scripts/bench --transfers: values of 1 MB through one connection and through 64, connections a second (connect, PING, close), and what connections
cost that do nothing; both servers in turn."""
import os
import subprocess
import sys
import time
from statistics import median

from contestants import CLIENT_CORE, Failed, run
from report import client_bound, print_head, print_others, ratio_said, spread

VALUE_BYTES = 1 << 20
# name: command, connections, requests, bytes of value in each; 0: a connection for each request
MEASURES = {
    "SET 1 MB, 1 connection": ("set", 1, 300, VALUE_BYTES),
    "GET 1 MB, 1 connection": ("get", 1, 300, VALUE_BYTES),
    "SET 1 MB, 64 connections": ("set", 64, 600, VALUE_BYTES),
    "GET 1 MB, 64 connections": ("get", 64, 600, VALUE_BYTES),
    "connect, PING, close; 50 at a time": ("ping", 50, 10000, 0),
}
IDLE, IDLE_SECONDS = 5000, 3
HOLD = """
import resource, socket, sys
resource.setrlimit(resource.RLIMIT_NOFILE, (20000, 20000))
held = [socket.create_connection((sys.argv[1], 6379)) for _ in range(int(sys.argv[2]))]
for s in held:
    s.sendall(b"PING\\r\\n")
    assert s.recv(100) == b"+PONG\\r\\n"
print("held", flush=True)
sys.stdin.read()
"""


def prepare(servers):
    """Ports of connections that the client closed are free again after a second instead of a minute. redis-server's own end sends what a wire
    carries too: whole segments with their checksums, unless --redis-offloads."""
    for s in servers:
        if s.name == "redis" and not s.offloads:
            for feature in ("tx", "tso", "gso", "gro"):
                run(["ip", "netns", "exec", s.server_ns, "ethtool", "-K", "srv", feature, "off"])
        run(["ip", "netns", "exec", s.ns, "sh", "-c",
             "echo 1 >/proc/sys/net/ipv4/tcp_tw_reuse; echo 1024 65535 >/proc/sys/net/ipv4/ip_local_port_range"])


def kernel_bytes():
    with open("/proc/meminfo", encoding="ascii") as f:
        return next(int(line.split()[1]) for line in f if line.startswith("Slab:")) * 1024


def idle(server):
    """Bytes of the processes and of the kernel (both ends of redis-server's connections, one of ours) for a connection, and CPU while they rest."""
    memory, kernel = server.memory_bytes(), kernel_bytes()
    argv = ["ip", "netns", "exec", server.ns, "taskset", "-c", CLIENT_CORE, sys.executable, "-c", HOLD, server.address, str(IDLE)]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as holder:
        if holder.stdout.readline() != "held\n":
            raise Failed(f"{server.name} does not hold {IDLE} connections")
        before, start = server.account()["cpu_s"], time.monotonic()
        time.sleep(IDLE_SECONDS)  # what is measured is this time
        r = {"bytes": (server.memory_bytes() - memory) / IDLE, "kernel_bytes": (kernel_bytes() - kernel) / IDLE,
             "cpu_share": (server.account()["cpu_s"] - before) / (time.monotonic() - start)}
        holder.stdin.close()
    return r


def measure(options, servers, _scratch):
    prepare(servers)
    resting = {s.name: idle(s) for s in servers}  # first, while nothing is there that could be given back
    chosen = {n: m for n, m in MEASURES.items() if (options.only or "") in n}
    found = {name: {s.name: [] for s in servers} for name in chosen}
    for number in range(options.runs):
        for name, (command, clients, requests, size) in chosen.items():
            for s in servers:
                r = options.generator.transfer(s, command, clients, requests // 5 if options.quick else requests, size)
                r["rate"] = r["rps"] * size / 1e6 if size else r["rps"]
                found[name][s.name].append(r)
                print(f"run {number + 1}/{options.runs} {name:36} {s.name:10} {r['rate']:10.0f}", file=sys.stderr, flush=True)
    return {"transfers": found, "idle": resting}


def print_transfers(found):
    print_head(found)
    print(f"CUBIC on both sides\n{'':36} {'':5} {'Barewire, median [min-max]':>30} {'redis-server':>30} {'times redis':>22} {'server CPU s':>14} {'limit':>7}")
    for name, by in found["transfers"].items():
        ours, theirs = by["barewire"], by["redis"]
        unit = "MB/s" if MEASURES[name][3] else "/s"
        print(f"{name:36} {unit:5} {spread([r['rate'] for r in ours], '{:.0f}'):>30} {spread([r['rate'] for r in theirs], '{:.0f}'):>30} "
              f"{ratio_said(ours, theirs, 'rate'):>22} {median(r['cpu_s'] for r in ours):>6.2f} {median(r['cpu_s'] for r in theirs):>7.2f} "
              f"{'CLIENT' if client_bound(ours) else '':>7}")
    for who, r in found["idle"].items():
        print(f"{IDLE} idle connections, {who}: {r['bytes']:.0f} bytes each in its processes, {r['kernel_bytes']:.0f} in the kernel; {r['cpu_share']:.1%} of a core")
    print("in the kernel: the client's ends, and redis-server's. What a connection costs without kernel and driver: build/tests/bench/conn_scale")
    print_others([r for by in found["transfers"].values() for runs in by.values() for r in runs])
