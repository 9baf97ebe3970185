"""The servers that scripts/bench measures, each with a client namespace of its own behind a veth pair, and the load that is put on them.

Server on core 0, client on core 1. Barewire: scripts/lab (worker 0 is on the first CPU, the control process floats). redis-server and
memcached: the same veth pair (scripts/lib-net.sh), taskset to core 0, no persistence unless asked for. generator.py: who asks."""
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


def cpu_times(pid):
    """User and system time of a process and its threads, in seconds."""
    with open(f"/proc/{pid}/stat", encoding="ascii", errors="replace") as f:
        words = f.read().rsplit(")", 1)[1].split()
    return int(words[11]) * TICK_S, int(words[12]) * TICK_S


def cpu_seconds(pid):
    """Of a process and its threads, those that have ended with them: to the nanosecond."""
    return time.clock_gettime(~pid << 3 | 2)  # CPUCLOCK_SCHED of the process


def end(process):
    """Asks it to end, and after a minute does not ask any more."""
    if process.poll() is None:
        process.terminate()
    try:
        process.wait(60)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


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
    """Common to all: a namespace `ns` whose clients reach `address`."""
    port, memcached = 6379, False

    def prepare(self):
        """Before each run."""

    def rest(self):
        """After it."""

    def sum_up(self):
        """Its frames go to a client that is no kernel: their checksums are in them."""

    def in_client_ns(self, *argv):
        return ["ip", "netns", "exec", self.ns, "taskset", "-c", CLIENT_CORE, *argv]

    def cli(self, *words):
        return run(self.in_client_ns("redis-cli", "-h", self.address, *words)).strip()

    def info(self, section):
        pairs = (line.split(":", 1) for line in self.cli("info", section).splitlines() if ":" in line)
        return {k: v.strip() for k, v in pairs}

    def memory_bytes(self):
        """Resident pages of its processes."""
        pages = 0
        for pid in self.processes():
            with open(f"/proc/{pid}/statm", encoding="ascii") as f:
                pages += int(f.read().split()[1])
        return pages * os.sysconf("SC_PAGESIZE")

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


class OnKernel(Server):
    """A server on Linux's TCP behind a veth pair of its own, on core 0. `argv`: what starts it, but for its address."""
    process = None

    def __init__(self, tag, mtu, offloads=False):
        self.tag, self.mtu, self.offloads = f"{tag}-{self.name[0]}", mtu, offloads
        self.server_ns, self.ns = f"{self.tag}s", f"{self.tag}c"

    def start(self):
        make = 'net_names "$1" && make_ns "$2" && make_ns "$3" && make_veth "$2" srv "$3" cli 1 "$4" && echo $server_address'
        self.address = bash_with_net(make + ' && add_address4 "$2" srv $server_address', self.tag,
                                     self.server_ns, self.ns, str(self.mtu)).strip()
        if self.offloads:
            run(["ip", "netns", "exec", self.ns, "ethtool", "-K", "cli", "tx", "on", "tso", "on", "gso", "on", "gro", "on"])
        self.start_process()

    def sum_up(self):
        run(["ip", "netns", "exec", self.server_ns, "ethtool", "-K", "srv", "tx", "off", "tso", "off", "gso", "off", "gro", "off"])

    def start_process(self):
        argv = ["ip", "netns", "exec", self.server_ns, "taskset", "-c", SERVER_CORE, *self.argv()]
        self.process = subprocess.Popen(argv, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, stdin=subprocess.DEVNULL)
        deadline = time.monotonic() + 120
        while time.monotonic() < deadline:
            if self.process.poll() is not None:
                raise Failed(f"{self.name} ended with {self.process.returncode}: {' '.join(argv)}")
            try:
                if self.answers():
                    return
            except Failed:
                pass
            time.sleep(0.05)
        raise Failed(f"{self.name} does not answer")

    def account(self):
        user, system = cpu_times(self.process.pid)
        return {"cpu_s": user + system, "user_s": user}

    def processes(self):
        return [self.process.pid]

    def stop_process(self):
        if self.process:
            end(self.process)

    def stop(self):
        self.stop_process()
        for ns in (self.server_ns, self.ns):
            subprocess.run(["ip", "netns", "del", ns], stderr=subprocess.DEVNULL, check=False)


class Redis(OnKernel):
    name = "redis"

    def __init__(self, tag, mtu, offloads=False, folder=None, options=()):
        super().__init__(tag, mtu, offloads)
        self.dir = tempfile.mkdtemp(prefix="bw-bench-redis-", dir=folder)
        self.options = options
        self.log = os.path.join(self.dir, "log")

    def argv(self):
        return ["redis-server", "--port", "6379", "--bind", self.address, "--save", "", "--appendonly", "no", "--protected-mode", "no",
                "--dir", self.dir, "--logfile", self.log, *self.options]

    def answers(self):
        return self.cli("ping") == "PONG"

    def version(self):
        return "redis-server " + self.info("server")["redis_version"]

    def stop(self):
        super().stop()
        shutil.rmtree(self.dir, ignore_errors=True)


class Memcached(OnKernel):
    """Its text protocol; one thread, as the others have one worker."""
    name, port, memcached = "memcached", 11211, True

    def argv(self):
        return ["memcached", "-u", "root", "-l", self.address, "-p", str(self.port), "-t", "1", "-m", "1024"]

    def version(self):
        ask = f'exec 3<>/dev/tcp/{self.address}/{self.port} && printf "version\\r\\n" >&3 && read -r -t 1 line <&3 && echo "$line"'
        return "memcached " + run(self.in_client_ns("bash", "-c", ask)).strip().removeprefix("VERSION ")

    def answers(self):
        return len(self.version()) > len("memcached ")


class Barewire(Server):
    def __init__(self, tag, mtu, build, workers=1, options=(), name="barewire"):
        self.name, self.workers, self.options = name, workers, options
        self.lab_name, self.mtu = tag, mtu
        self.ns = f"bw-{tag}-c"
        self.env = dict(os.environ, BAREWIRE_BUILD=build)
        self.up = False

    def lab(self, verb, *words):
        return run([os.path.join(ROOT, "scripts/lab"), verb, "--name", self.lab_name, *words], env=self.env).strip()

    def start(self):
        self.up = True
        self.lab("up", "--mtu", str(self.mtu), "--workers", str(self.workers), *(["--", *self.options] if self.options else []))
        self.address = self.lab("address")
        self.control, self.dataplane = (int(p) for p in self.lab("pids").split()[:2])

    def processes(self):
        return [self.control, self.dataplane]

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


def probe(server, binary, requests, keys):
    """Round trips of one request at a time, exact: redis-benchmark's histogram is 8 us wide at these values."""
    return {"probe_" + k: v for k, v in json.loads(run(server.in_client_ns(binary, server.address, str(requests), str(keys)))).items()}
