#!/usr/bin/env python3
"""What a request costs one worker over a port of shared memory: no kernel, no NIC, our own client on the other core.

    tests/bench/memif.py [--build DIR] [--clients N] [--keys N] [--many N] [--seconds S] [--quick] [--large] [--mtu N]
    tests/bench/memif.py --pages [--many N] [--rounds N]

Server (net_memif, idle spin) on the first processor, barewire bench on the last. Rows: GET, closed loop, at -P 1 and -P 16, and at -P 16 with
--many keys, each with the worker's busy time a request by its own account (which includes the driver's bursts: copies of frames), and what the
client was busy; then 70 % of the most of 50 clients at -P 1 in an open loop, with the length of the turns that did work, receive burst to transmit
burst: p50 and p99. core_bench --noise on the same processor says what the machine itself adds.
--pages: instead, GET -P 16 with 10 k keys and, --rounds times, with --many, heap-large-pages no and yes in turns: busy time by eight windows each, and the
resident memory, of it on large pages, beside used_memory. What filling costs: core_bench --fill.
--large: instead, LRANGE and HGETALL of hundreds of elements at -P 16, those of scripts/bench --commands."""
import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
import time

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))


class Server:
    def __init__(self, build, scratch, mtu=1500, options=()):
        self.mtu = str(mtu)
        self.build, self.dir, self.door = build, scratch, os.path.join(scratch, "door.sock")
        self.port = f"socket={scratch}/memif.sock,socket-abstract=no,rsize=10"
        self.log = open(os.path.join(scratch, "log"), "w", encoding="utf-8")
        self.process = subprocess.Popen(
            [os.path.join(build, "control/barewire"), "run", "--instance", "memif-bench", "--net-port", "net_memif0,role=server," + self.port,
             "--net-address", "10.9.0.2/24", "--net-mtu", self.mtu, "--protected-mode", "no", "--save", "", "--idle", "spin", "--unixsocket", self.door, *options],
            stdout=self.log, stderr=self.log, stdin=subprocess.DEVNULL)
        for _ in range(200):
            if self.cli("ping") == "PONG" or self.process.poll() is not None:
                break
            time.sleep(0.1)
        else:
            self.stop()
            sys.exit("the server does not answer")

    def cli(self, *words):
        return subprocess.run(["redis-cli", "-s", self.door, *words], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, check=False).stdout.strip()

    def info(self):
        text = self.cli("info", "everything")
        return {k: float(v) for k, v in re.findall(r"(?:^|,|:)((?:busy_ns|stage_(?:rx|net|exec|tx|txburst)_ns|tx_packets|commands|loop_busy_p\d+_ns|loops))[=:]([\d.]+)", text, re.M)}

    def bench(self, *words):
        out = os.path.join(self.dir, "bench.json")
        done = subprocess.run([os.path.join(self.build, "dataplane/bench/barewire-bench"), "-h", "10.9.0.2", "--net-port",
                               "net_memif0,role=client," + self.port, "--net-address", "10.9.0.1/24", "--net-mtu", self.mtu, "-q", "--json", out, *map(str, words)],
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
        if done.returncode != 0:
            self.stop()
            sys.exit(done.stdout)
        with open(out, encoding="utf-8") as f:
            r = json.load(f)
        return r[0] if isinstance(r, list) else r

    def stop(self):
        self.process.terminate()
        self.process.wait(30)
        self.log.close()


def row(s, name, *words):
    before = s.info()
    r = s.bench(*words)
    after = s.info()
    busy = (after["busy_ns"] - before["busy_ns"]) / max(after["commands"] - before["commands"], 1)
    print(f"{name:34} {r['all']['per_second'] / 1e6:7.2f} M/s  busy {busy:6.0f} ns  client {r['client_busy'] * 100:3.0f} %"
          f"{' (its limit)' if r['client_bound'] else '':12}  p50 {r['all']['p50_us']:.1f} p99 {r['all']['p99_us']:.1f} p99.9 {r['all']['p999_us']:.1f} us",
          flush=True)
    return r["all"]["per_second"]


def resident(instance):
    """Of the dataplane, in MB: all, and what is on large pages."""
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{pid}/cmdline", "rb") as f:
                words = f.read().split(b"\0")
            if words[0].endswith(b"barewire-dataplane") and instance.encode() in words:
                with open(f"/proc/{pid}/smaps_rollup", encoding="ascii") as f:
                    kb = dict(re.findall(r"^(Rss|AnonHugePages): +(\d+) kB", f.read(), re.M))
                return int(kb["Rss"]) / 1024, int(kb["AnonHugePages"]) / 1024
        except OSError:  # it has ended
            continue
    return 0, 0


def pages(o, scratch):
    """What the shard's large pages gain and cost. Many short windows: the least of them is what others on the machine took least from."""
    for keys in [10000] + [o.many] * o.rounds:
        for large_pages in ("no", "yes"):
            s = Server(o.build, scratch, options=("--heap-large-pages", large_pages))
            try:
                rss = resident("memif-bench")[0]
                s.bench("-t", "set", "-n", keys, "--keys", "sequential", "-P", 16, "-d", 64, "-r", keys)
                used = int(re.search(r"used_memory:(\d+)", s.cli("info", "memory")).group(1))
                all_mb, large_mb = resident("memif-bench")
                busy = []
                for _ in range(8):
                    before = s.info()
                    s.bench("-t", "get", "-d", 64, "-r", keys, "--seconds", o.seconds / 8, "--warmup", 0.1, "-c", 50, "-P", 16)
                    after = s.info()
                    busy.append((after["busy_ns"] - before["busy_ns"]) / (after["commands"] - before["commands"]))
                print(f"GET -P 16, {keys} keys, heap-large-pages {large_pages:3}: busy {min(busy):.0f} ns at least, {sorted(busy)[len(busy) // 2]:.0f} by median; "
                      f"used {used / 1e6:.0f} MB, resident {(all_mb - rss) * 1.048576:.0f} more than empty, on large pages {large_mb * 1.048576:.0f}", flush=True)
            finally:
                s.stop()


def large(o, scratch):
    """Replies of several frames: busy time a request, and of it what is not the driver's."""
    s = Server(o.build, scratch, o.mtu)
    try:
        s.cli("rpush", "lr", *("m:%012d" % i for i in range(1000)))
        s.cli("hset", "h10", *(w for i in range(10) for w in ("f:%012d" % i, "value:%010d" % i)))
        s.cli("hset", "h1000", *(w for i in range(1000) for w in ("f:%012d" % i, "value:%010d" % i)))
        for words in ("LRANGE lr 0 99", "LRANGE lr 0 299", "LRANGE lr 0 599", "HGETALL h10", "HGETALL h1000"):
            before = s.info()
            r = s.bench("--command", words, "-c", 50, "-P", 16, "--seconds", o.seconds, "--warmup", 0.2)
            after = s.info()
            n = after["commands"] - before["commands"]
            of = {k: (after[k] - before[k]) / n for k in after if k in before}
            print(f"{words:16} {r['all']['per_second'] / 1e3:7.0f} k/s  busy {of['busy_ns'] / 1e3:6.2f} us, of it our code "
                  f"{(of['stage_net_ns'] + of['stage_exec_ns'] + of['stage_tx_ns']) / 1e3:6.2f}, driver "
                  f"{(of['stage_rx_ns'] + of['stage_txburst_ns']) / 1e3:6.2f}; {of['tx_packets']:5.2f} frames out; client {r['client_busy'] * 100:3.0f} %", flush=True)
    finally:
        s.stop()


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--build", default=os.environ.get("BAREWIRE_BUILD", os.path.join(ROOT, "build")))
    p.add_argument("--clients", type=int, default=512)
    p.add_argument("--keys", type=int, default=1000000)
    p.add_argument("--many", type=int, default=10000000)
    p.add_argument("--seconds", type=int, default=4)
    p.add_argument("--quick", action="store_true", help="without --many keys, a second each")
    p.add_argument("--pages", action="store_true")
    p.add_argument("--rounds", type=int, default=1, help="of --pages")
    p.add_argument("--large", action="store_true")
    p.add_argument("--mtu", type=int, default=1500, help="of --large")
    o = p.parse_args()
    if o.pages:
        with tempfile.TemporaryDirectory(prefix="bw-memif-") as scratch:
            pages(o, scratch)
        return 0
    if o.large:
        with tempfile.TemporaryDirectory(prefix="bw-memif-") as scratch:
            large(o, scratch)
        return 0
    seconds = 1 if o.quick else o.seconds
    with tempfile.TemporaryDirectory(prefix="bw-memif-") as scratch:
        most = 0
        for keys in [10000, o.keys] + ([] if o.quick else [o.many]):
            s = Server(o.build, scratch)
            try:
                s.bench("-t", "set", "-n", keys, "--keys", "sequential", "-P", 64, "-d", 64, "-r", keys)
                closed = ["-t", "get", "-d", 64, "-r", keys, "--seconds", seconds, "--warmup", 0.5]
                if keys == o.keys:
                    most = row(s, f"GET -P 1, 50 clients, {keys} keys", *closed, "-c", 50)
                    row(s, f"GET -P 1, {o.clients} clients, {keys} keys", *closed, "-c", o.clients)
                row(s, f"GET -P 16, 50 clients, {keys} keys", *closed, "-c", 50, "-P", 16)
            finally:
                s.stop()
            if keys != o.keys:
                continue
            s = Server(o.build, scratch)  # its histogram of turns begins anew
            try:
                s.bench("-t", "set", "-n", 10000, "--keys", "sequential", "-d", 64, "-r", 10000)
                load = ["-t", "get", "-d", 64, "-r", 10000, "-c", 50, "--rate", int(0.7 * most)]
                s.bench(*load, "--seconds", 1)
                s.cli("config", "resetstat")  # first touches of memory are not what is asked for
                row(s, f"GET -P 1 at {0.7 * most / 1e6:.2f} M/s", *load, "--seconds", 3 * seconds)
                i = s.info()
                print(f"turns that did work: p50 {i['loop_busy_p50_ns']:.0f} p99 {i['loop_busy_p99_ns']:.0f} p99.9 {i['loop_busy_p999_ns']:.0f} ns", flush=True)
            finally:
                s.stop()
    return 0


if __name__ == "__main__":
    sys.exit(main())
