"""Who asks: barewire bench (our own load generator, over kernel sockets or over its own stack) or redis-benchmark; and what a run cost whom.

A run in which the client had no time left says what the client can do, not the server: it is marked `client` in every report."""
import csv
import json
import os
import subprocess
import tempfile
import time

from contestants import CLIENT_CORE, VALUE_BYTES, Failed, machine_busy_seconds

CLIENT_BUSY = 0.95  # of its time barewire bench had something to do
CLIENT_CPU = 0.93   # of a core redis-benchmark used: a shared machine never gives the whole


class Meter:
    """CPU and our worker's own account over one run of a client process."""

    def __init__(self, server):
        self.server = server
        self.before, (self.busy, self.steal), self.start = server.account(), machine_busy_seconds(), time.monotonic()

    def stop(self, used, requests):
        wall = time.monotonic() - self.start
        (busy, steal), after = machine_busy_seconds(), self.server.account()
        spent = {k: after[k] - self.before[k] for k in self.before}
        client_s = used.ru_utime + used.ru_stime
        ours_s = client_s + spent["cpu_s"] + spent.get("control_s", 0)
        r = {"wall_s": wall, "cpu_s": spent["cpu_s"], "cpu_us": spent["cpu_s"] / requests * 1e6, "client_us": client_s / requests * 1e6,
             "client_share": min(client_s / wall, 1.0), "server_share": min(spent["cpu_s"] / wall, 1.0),
             "others_share": max(0.0, (busy - self.busy - ours_s) / wall / os.cpu_count()),
             "steal_share": (steal - self.steal) / wall / os.cpu_count()}
        if "busy_ns" in spent:
            r.update({k.replace("_ns", "_us"): spent[k] / 1000 / requests for k in spent if k.endswith("_ns")})
            r.update(server_share=min(spent["busy_ns"] / 1e9 / wall, 1.0), control_us=spent["control_s"] / requests * 1e6,
                     rx_packets=spent["rx_packets"] / requests, tx_packets=spent["tx_packets"] / requests,
                     retransmits=spent["retransmits"], batch=requests / max(spent["batches"], 1))
        return r


def finish(client, argv):
    """Waits for it; its output and what it used."""
    try:
        text = client.stdout.read()
    except BaseException:
        client.kill()
        client.wait()
        raise
    _pid, status, used = os.wait4(client.pid, 0)
    client.returncode = os.waitstatus_to_exitcode(status)
    if status != 0:
        raise Failed(f"{' '.join(argv)}: exit {client.returncode}\n{text.strip()}")
    return text, used


def runs_still(client):
    return os.waitid(os.P_PID, client.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None


def begin(argv):
    return subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, text=True)


class Ours:
    """barewire bench, over kernel sockets."""
    name = "barewire bench"

    def __init__(self, build):
        self.binary = os.path.join(build, "control/barewire")

    def argv(self, server, words, path):
        return server.in_client_ns(self.binary, "bench", "-h", server.address, "-p", str(server.port), "--socket", "--cpu", CLIENT_CORE,
                                   "--json", path, *(["--protocol", "memcached"] if server.memcached else []), *map(str, words))

    def run(self, server, *words, during=None):
        """One run; during(): called while it goes on. What its JSON says, with the account of the server."""
        with tempfile.NamedTemporaryFile(prefix="bw-bench-", suffix=".json") as out:
            argv, meter = self.argv(server, words, out.name), Meter(server)
            client = begin(argv)
            try:
                if during:
                    during(client)
            finally:
                text, used = finish(client, argv)
            said = json.load(open(out.name, encoding="utf-8"))
        done = said["all"]["count"]
        if said["errors"] or not done:
            raise Failed(f"{server.name}: {' '.join(argv)}:\n{text.strip()}")
        r = meter.stop(used, said.get("messages") or done)
        r.update({"rps": said["all"]["per_second"], "bound": "client" if said["client_busy"] >= CLIENT_BUSY else "", "client_busy": said["client_busy"]})
        r.update({k: said["all"][k] for k in ("p50_us", "p99_us", "p999_us", "max_us")})
        if "delivery" in said:
            r.update(delivered=said["delivery"]["per_second"], delivery_p50_us=said["delivery"]["p50_us"], delivery_p99_us=said["delivery"]["p99_us"])
        return r

    def load(self, server, command, pipeline, clients, requests, keys):
        return self.run(server, "-t", command, "-n", requests, "-P", pipeline, "-c", clients, "-d", VALUE_BYTES, "-r", keys)

    def transfer(self, server, command, clients, requests, size):
        return self.run(server, "-t", command, "-n", requests, "-c", clients, "-d", size or 3, *([] if size else ["--churn"]))


class OwnStack(Ours):
    """barewire bench over its own stack and AF_XDP at the client's end of the veth pair: a request costs it less than half of what kernel sockets take,
    so that the server is what is measured. Whoever answers over Linux's TCP sums up its own frames then, as Barewire does."""
    name = "barewire bench, own stack"

    def argv(self, server, words, path):
        argv = [w for w in super().argv(server, words, path) if w != "--socket"]
        return [*argv, "--net-port", "af_xdp:cli", "--net-address", server.address.rsplit(".", 1)[0] + ".1/24", "--hugepages", "no",
                "--net-mtu", str(server.mtu)]

    def run(self, server, *words, during=None):
        server.sum_up()
        return super().run(server, *words, during=during)


class Foremost(Ours):
    """barewire bench over kernel sockets, SCHED_FIFO: what else has work for its core (here the process that writes files, on a machine with more cores on one of
    its own) does not keep it from asking when a request is due or from seeing the answer when it has come. It sleeps when there is nothing to do."""

    def __init__(self, build):
        super().__init__(build)
        allowed = subprocess.run(["chrt", "--fifo", "1", "true"], stderr=subprocess.DEVNULL, check=False).returncode == 0
        self.first = ["chrt", "--fifo", "1"] if allowed else []
        self.name = "barewire bench, " + ("SCHED_FIFO" if allowed else "not SCHED_FIFO, which is refused here")

    def argv(self, server, words, path):
        return [*self.first, *super().argv(server, words, path)]


class RedisBenchmark:
    name = "redis-benchmark"

    def __init__(self, _build):
        pass

    def run(self, server, words, requests):
        argv = server.in_client_ns("redis-benchmark", "-h", server.address, *map(str, words), "-n", str(requests), "--csv", "--precision", "3")
        meter = Meter(server)
        text, used = finish(begin(argv), argv)
        rows = [r for r in csv.reader(text.splitlines()) if len(r) > 6 and r[0] != "test"]
        if len(rows) != 1:
            raise Failed(f"{' '.join(argv)}:\n{text}")
        r = meter.stop(used, requests)
        r.update(rps=float(rows[0][1]), p50_us=float(rows[0][4]) * 1000, p99_us=float(rows[0][6]) * 1000)
        r.update(client_busy=r["client_share"], bound="client" if r["client_share"] >= CLIENT_CPU else "")
        return r

    def load(self, server, command, pipeline, clients, requests, keys):
        return self.run(server, ["-t", command, "-P", pipeline, "-c", clients, "-d", VALUE_BYTES, "-r", keys], requests)

    def transfer(self, server, command, clients, requests, size):
        test = "ping_mbulk" if command == "ping" else command
        return self.run(server, ["-t", test, "-c", clients, "-d", size or 3, *([] if size else ["-k", 0])], requests)
