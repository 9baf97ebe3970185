"""The servers that scripts/bench measures, each with a client namespace of its own behind a veth pair, and the load that is put on them.

Server on core 0, client on core 1. Barewire: scripts/lab (worker 0 is on the first CPU, the control process floats). redis-server: the
same veth pair (scripts/lib-net.sh), taskset to core 0, no persistence."""
import csv
import json
import os
import shutil
import subprocess
import tempfile
import time

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
TICK_S = 1.0 / os.sysconf("SC_CLK_TCK")
SERVER_CORE, CLIENT_CORE = "0", "1"
KEY_BYTES, VALUE_BYTES = 16, 64


class Failed(Exception):
    """A step that must work did not; the text is for the user."""


def run(argv, **options):
    done = subprocess.run(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, check=False, **options)
    if done.returncode != 0:
        raise Failed(f"{' '.join(argv)}: exit {done.returncode}\n{done.stderr.strip()}\n{done.stdout.strip()}")
    return done.stdout


def cpu_seconds(pid):
    """User and system time of a process and its threads."""
    with open(f"/proc/{pid}/stat", encoding="ascii", errors="replace") as f:
        words = f.read().rsplit(")", 1)[1].split()
    return (int(words[11]) + int(words[12])) * TICK_S


def machine_busy_seconds():
    """Time of all cores that was not idle, and the part that the hypervisor took."""
    with open("/proc/stat", encoding="ascii") as f:
        v = [int(w) for w in f.readline().split()[1:9]]
    user, nice, system, _idle, _iowait, irq, softirq, steal = v
    return (user + nice + system + irq + softirq + steal) * TICK_S, steal * TICK_S


def go_first(pid):
    """Puts a process, and its session with it, before the other work on a shared machine; returns how to undo it."""
    def nice(value):
        try:
            with open(f"/proc/{pid}/autogroup", "w", encoding="ascii") as f:
                f.write(str(value))
        except OSError:  # a kernel without autogroups
            os.setpriority(os.PRIO_PROCESS, int(pid) if pid != "self" else 0, value)
    nice(-15)
    return lambda: nice(0)


def bash_with_net(script, *words):
    prelude = f"self=scripts/bench; . {ROOT}/scripts/lib-net.sh; "
    return run(["bash", "-c", prelude + script, "bench", *words])


class Server:
    """Common to both: a namespace `ns` whose clients reach `address`."""

    def in_client_ns(self, *argv):
        return ["ip", "netns", "exec", self.ns, "taskset", "-c", CLIENT_CORE, *argv]

    def cli(self, *words):
        return run(self.in_client_ns("redis-cli", "-h", self.address, *words)).strip()

    def info(self, section):
        pairs = (line.split(":", 1) for line in self.cli("info", section).splitlines() if ":" in line)
        return {k: v.strip() for k, v in pairs}

    def used_memory(self):
        """A value that has come to rest: Barewire's worker publishes it every few milliseconds."""
        last = None
        for _ in range(100):
            now = int(self.info("memory")["used_memory"])
            if now == last:
                return now
            last = now
            time.sleep(0.05)
        raise Failed(f"{self.name}: used_memory does not settle")

    def load_keys(self, count, path):
        """All keys of redis-benchmark's key space; returns bytes a key beyond key and value."""
        before = self.used_memory()
        with open(path, "rb") as f:
            run(self.in_client_ns("redis-cli", "-h", self.address, "--pipe"), stdin=f)
        if int(self.cli("dbsize")) != count:
            raise Failed(f"{self.name} holds {self.cli('dbsize')} keys of {count}")
        return (self.used_memory() - before) / count - KEY_BYTES - VALUE_BYTES


class Redis(Server):
    def __init__(self, tag, mtu, offloads):
        self.name = "redis"
        self.offloads = offloads
        self.server_ns, self.ns = f"{tag}-rs", f"{tag}-rc"
        self.process = None
        self.dir = tempfile.mkdtemp(prefix="bw-bench-redis-")
        self.tag, self.mtu = tag, mtu

    def start(self):
        make = 'net_names "$1" && make_ns "$2" && make_ns "$3" && make_veth "$2" srv "$3" cli 1 "$4" && echo $server_address'
        self.address = bash_with_net(make + ' && add_address4 "$2" srv $server_address', f"{self.tag}-r",
                                     self.server_ns, self.ns, str(self.mtu)).strip()
        if self.offloads:
            run(["ip", "netns", "exec", self.ns, "ethtool", "-K", "cli", "tx", "on", "tso", "on", "gso", "on", "gro", "on"])
        argv = ["ip", "netns", "exec", self.server_ns, "taskset", "-c", SERVER_CORE, "redis-server", "--port", "6379",
                "--bind", self.address, "--save", "", "--appendonly", "no", "--protected-mode", "no", "--dir", self.dir]
        self.process = subprocess.Popen(argv, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, stdin=subprocess.DEVNULL)
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline:
            if self.process.poll() is not None:
                raise Failed(f"redis-server ended with {self.process.returncode}: {' '.join(argv)}")
            try:
                if self.cli("ping") == "PONG":
                    return
            except Failed:
                time.sleep(0.05)
        raise Failed("redis-server does not answer")

    def version(self):
        return "redis-server " + self.info("server")["redis_version"]

    def prepare(self):
        pass

    def rest(self):
        pass

    def account(self):
        return {"cpu_s": cpu_seconds(self.process.pid)}

    def stop(self):
        if self.process:
            self.process.terminate()
            try:
                self.process.wait(10)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        for ns in (self.server_ns, self.ns):
            subprocess.run(["ip", "netns", "del", ns], stderr=subprocess.DEVNULL, check=False)
        shutil.rmtree(self.dir, ignore_errors=True)


class Barewire(Server):
    def __init__(self, tag, mtu, build):
        self.name = "barewire"
        self.lab_name, self.mtu = tag, mtu
        self.ns = f"bw-{tag}-c"
        self.env = dict(os.environ, BAREWIRE_BUILD=build)
        self.up = False

    def lab(self, verb, *words):
        return run([os.path.join(ROOT, "scripts/lab"), verb, "--name", self.lab_name, *words], env=self.env).strip()

    def start(self):
        self.up = True
        self.lab("up", "--mtu", str(self.mtu))
        self.address = self.lab("address")
        self.control, self.dataplane = (int(p) for p in self.lab("pids").split()[:2])

    def version(self):
        lines = self.lab("log").splitlines()
        return "; ".join(line.split("notice ", 1)[1] for line in lines if any(
            w in line for w in (" port: ", " offloads: ", " hugepages: ", " degraded: ")))

    def account(self):
        """CPU of both processes, and the worker's own account in ns: what its driver took told apart from our code."""
        i = {k: int(v) for k, v in self.info("dataplane").items() if v.isdigit()}
        return {"cpu_s": cpu_seconds(self.dataplane), "control_s": cpu_seconds(self.control), "busy_ns": i["busy_ns"],
                "driver_ns": i["stage_rx_ns"] + i["stage_txburst_ns"],
                "user_ns": i["stage_net_ns"] + i["stage_exec_ns"] + i["stage_tx_ns"],
                "net_ns": i["stage_net_ns"], "exec_ns": i["stage_exec_ns"], "tx_ns": i["stage_tx_ns"],
                "batches": i["batches"], "rx_packets": i["rx_packets"], "tx_packets": i["tx_packets"], "retransmits": int(i.get("tcp_retrans_segs", 0))}

    def stop(self):
        if self.up:
            subprocess.run([os.path.join(ROOT, "scripts/lab"), "down", "--name", self.lab_name], env=self.env, check=False)


class Mode:
    """Barewire in one idle mode. Between its runs it is adaptive, so that a spinning worker does not take the core from redis-server."""

    def __init__(self, server, idle):
        self.server, self.idle, self.name = server, idle, f"barewire-{idle}"

    def prepare(self):
        self.server.cli("config", "set", "idle", self.idle)

    def rest(self):
        self.server.cli("config", "set", "idle", "adaptive")

    def __getattr__(self, what):
        return getattr(self.server, what)


def write_keys(path, count):
    value = b"v" * VALUE_BYTES
    with open(path, "wb") as f:
        for i in range(count):
            f.write(b"*3\r\n$3\r\nSET\r\n$%d\r\nkey:%012d\r\n$%d\r\n%s\r\n" % (KEY_BYTES, i, VALUE_BYTES, value))


def load(server, command, pipeline, clients, requests, keys):
    """One run of redis-benchmark: throughput, latencies, and who spent which CPU time on it."""
    argv = server.in_client_ns("redis-benchmark", "-h", server.address, "-t", command, "-n", str(requests), "-P", str(pipeline),
                               "-c", str(clients), "-d", str(VALUE_BYTES), "-r", str(keys), "--csv", "--precision", "3")
    before, (machine, steal), start = server.account(), machine_busy_seconds(), time.monotonic()
    client = subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, stdin=subprocess.DEVNULL, text=True)
    try:
        text = client.stdout.read()
    except BaseException:
        client.kill()
        client.wait()
        raise
    _pid, status, used = os.wait4(client.pid, 0)
    client.returncode = os.waitstatus_to_exitcode(status)
    wall = time.monotonic() - start
    (machine_after, steal_after), after = machine_busy_seconds(), server.account()
    rows = [r for r in csv.reader(text.splitlines()) if r and r[0] == command.upper()]
    if status != 0 or not rows:
        raise Failed(f"{' '.join(argv)}: status {status}\n{text}")
    spent = {k: after[k] - before[k] for k in before}
    client_s = used.ru_utime + used.ru_stime
    ours_s = client_s + spent["cpu_s"] + spent.get("control_s", 0)
    result = {"rps": float(rows[0][1]), "p50_us": float(rows[0][4]) * 1000, "p99_us": float(rows[0][6]) * 1000,
              "cpu_us": spent["cpu_s"] / requests * 1e6, "client_us": client_s / requests * 1e6,
              "client_share": min(client_s / wall, 1.0), "server_share": min(spent["cpu_s"] / wall, 1.0),
              "others_share": max(0.0, (machine_after - machine - ours_s) / wall / os.cpu_count()),
              "steal_share": (steal_after - steal) / wall / os.cpu_count()}
    if "busy_ns" in spent:
        result.update({k.replace("_ns", "_us"): spent[k] / 1000 / requests for k in spent if k.endswith("_ns")})
        result.update(server_share=min(spent["busy_ns"] / 1e9 / wall, 1.0), control_us=spent["control_s"] / requests * 1e6,
                      rx_packets=spent["rx_packets"] / requests, tx_packets=spent["tx_packets"] / requests,
                      retransmits=spent["retransmits"], batch=requests / max(spent["batches"], 1))
    return result


def probe(server, binary, requests, keys):
    """Round trips of one request at a time, exact: redis-benchmark's histogram is 8 us wide at these values."""
    return {"probe_" + k: v for k, v in json.loads(run(server.in_client_ns(binary, server.address, str(requests), str(keys)))).items()}
