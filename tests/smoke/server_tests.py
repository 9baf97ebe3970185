"""What an operator does: the door, passwords, kills, signals. Each test starts its own lab, or needs none."""

import os
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import time
import urllib.request

from lab import BAREWIRE, Client, Error, Lab, check, equal, run, until

TESTS = []  # name, function(kind), kinds


def test(*kinds):
    def add(function):
        TESTS.append((function.__name__.replace("_", " "), function, kinds))
        return function
    return add


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def gone(pid):
    try:
        return open("/proc/%d/stat" % pid).read().rsplit(")", 1)[1].split()[0] == "Z"
    except FileNotFoundError:
        return True


def left_behind(lab):
    instance = "lab-" + lab.name
    found = [os.path.join(d, f) for d in ("/dev/shm", "/run/dpdk", "/var/run/dpdk") if os.path.isdir(d) for f in os.listdir(d) if instance in f]
    return found + [p for p in (lab.door,) if os.path.exists(p)]


def cores_of(pid):
    """The cores that each thread of a process may run on."""
    found = set()
    for thread in os.listdir("/proc/%d/task" % pid):
        with open("/proc/%d/task/%s/status" % (pid, thread)) as f:
            found.add(re.search(r"Cpus_allowed_list:\s*(\S+)", f.read()).group(1))
    return found


def is_error(reply, text):
    check(isinstance(reply, Error) and text in str(reply), "not the error %r: %r" % (text, reply))


@test("tap")
def control_keeps_to_its_cores(kind):
    cores = sorted(os.sched_getaffinity(0))
    own, first = str(cores[-1]), str(cores[0])
    with Lab(kind, 1, options=["--server_cpulist", own, "--appendonly", "yes"]) as lab:
        control, dataplane = lab.pids()
        equal(cores_of(control), {own})
        check(first in cores_of(dataplane), "no worker on core %s: %s" % (first, cores_of(dataplane)))
        os.kill(dataplane, signal.SIGKILL)
        until("a new dataplane answers", lambda: lab.pids()[1] not in (None, dataplane) and lab.answers(), 30)
        equal(cores_of(control), {own})
        check(first in cores_of(lab.pids()[1]), "after its death no worker on core %s" % first)
        with lab.connect() as c:
            equal(c.call("CONFIG", "GET", "server_cpulist"), [b"server_cpulist", own.encode()])
            is_error(c.call("CONFIG", "SET", "server_cpulist", "0"), "can't set immutable config")


@test("af_xdp", "tap")
def door(kind):
    port = free_port()
    with Lab(kind, 2, options=["--door-port", port]) as lab:
        inside = lambda *w, **k: run("ip", "netns", "exec", lab.server_ns, "redis-cli", *w, **k)
        equal(run("redis-cli", "-s", lab.door, "SET", "d", "1").strip(), "OK")
        equal(inside("-p", str(port), "GET", "d").strip(), "1")
        equal(lab.cli("GET", "d").strip(), "1")
        equal(inside("-p", str(port), "-3", "--no-raw", "GET", "none").strip(), "(nil)")
        with lab.connect_door() as d, lab.connect() as c:
            check("# Server" in d.call("INFO").decode(), "INFO through the door")
            equal(d.call("CONFIG", "SET", "maxclients", "5000"), b"OK")
            equal(c.call("CONFIG", "GET", "maxclients"), [b"maxclients", b"5000"])
            is_error(d.call("CONFIG", "REWRITE"), "The server is running without a config file")
            equal(c.call("CLIENT", "SETNAME", "wire"), b"OK")
            equal(d.call("CLIENT", "SETNAME", "door"), b"OK")
            names = re.findall(rb"name=(\w+)", d.call("CLIENT", "LIST"))
            equal(sorted(names), [b"door", b"wire"], "CLIENT LIST through the door")
            equal(sorted(re.findall(rb"name=(\w+)", c.call("CLIENT", "LIST"))), [b"door", b"wire"], "CLIENT LIST from the network")
            equal(d.call("CLIENT", "KILL", "ID", c.call("CLIENT", "ID")), 1)
            try:
                reply = c.call("PING")
            except OSError:
                reply = None
            equal(reply, None, "a killed client is answered")
            with lab.connect() as e:
                equal(e.call("CLIENT", "KILL", "ID", d.call("CLIENT", "ID")), 1)

                def closed():
                    with lab.connect_door() as f:
                        return b"name=door" not in f.call("CLIENT", "LIST")
                until("the door's client is gone", closed, 5)
            value = os.urandom(20 << 20)
            with lab.connect_door(timeout=60) as f:
                equal(f.call("SET", "big", value), b"OK")
                check(f.call("GET", "big") == value, "20 MB through the door came back different")
        lab.no_restart()


@test("af_xdp")
def prometheus_exporter(kind):
    program = shutil.which("prometheus-redis-exporter")
    if not program:
        return "prometheus-redis-exporter is not installed"
    with Lab(kind) as lab:
        port = free_port()
        p = subprocess.Popen([program, "-redis.addr", "unix://" + lab.door, "-web.listen-address", "127.0.0.1:%d" % port],
                             stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        try:
            def scrape():
                return urllib.request.urlopen("http://127.0.0.1:%d/metrics" % port, timeout=10).read().decode()
            text = until("the exporter answers", scrape, 20)
            text = scrape()
        finally:
            p.terminate()
            log = p.communicate(timeout=10)[1].decode()
        values = dict(re.findall(r"^(redis_\w+) ([\d.e+-]+)$", text, re.M))
        equal(values.get("redis_up"), "1", log[-1000:])
        equal(values.get("redis_exporter_last_scrape_error", re.search(r'redis_exporter_last_scrape_error\{err=""\} (\d)', text) and "0"), "0")
        for name in ("redis_connected_clients", "redis_memory_used_bytes", "redis_commands_processed_total"):
            check(name in values, name, "is missing")
        return "%d metrics" % len(set(re.findall(r"^(redis_\w+)", text, re.M)))


@test("af_xdp", "tap")
def protected_mode_and_password(kind):
    with Lab(kind, options=["--protected-mode", "yes"]) as lab:
        with lab.connect() as c:
            is_error(c.call("SET", "a", "1"), "DENIED")
        with lab.connect_door() as d:
            equal(d.call("SET", "a", "1"), b"OK")
            equal(d.call("CONFIG", "SET", "requirepass", "secret"), b"OK")

        def wants_password():
            with lab.connect() as c:
                return "NOAUTH" in str(c.call("GET", "a"))
        until("the network's clients need the password", wants_password, 5)
        with lab.connect() as c:
            is_error(c.call("AUTH", "wrong"), "WRONGPASS")
            equal(c.call("AUTH", "secret"), b"OK")
            equal(c.call("GET", "a"), b"1")
        with lab.connect_door() as d:
            is_error(d.call("GET", "a"), "NOAUTH")
            equal(d.call("AUTH", "default", "secret"), b"OK")
            equal(d.call("GET", "a"), b"1")


@test("af_xdp")
def net_allow(kind):
    with Lab(kind, options=["--net-allow", "10.0.0.0/8"]) as lab:
        check(lab.answers(), "an allowed client is answered")
        def drops():
            """The XDP program's; before it has the new list, the worker's."""
            i = lab.info("all")
            return int(i["xdp_drop_net_allow"]) + int(i["drop_net_allow"])
        with lab.connect_door() as d:
            before = drops()
            equal(d.call("CONFIG", "SET", "net-allow", "192.0.2.0/24"), b"OK")

            def dropped():
                with lab.inside(), socket.socket() as s:
                    s.setblocking(False)
                    s.connect_ex((lab.address, 6379))
                    until("the SYN was dropped", lambda: drops() > before, 5)
                    return True
            check(dropped())
            equal(d.call("CONFIG", "SET", "net-allow", ""), b"OK")
        until("everyone is allowed again", lab.answers, 10)


def again(lab, control):
    """The same command line once more; returns the process and its log."""
    argv = open("/proc/%d/cmdline" % control).read().split("\0")[1:-1]

    def start():
        log = open(lab.state / "log2", "w")
        return subprocess.Popen(["ip", "netns", "exec", lab.server_ns, BAREWIRE, "run", *argv], stdin=subprocess.DEVNULL, stdout=log, stderr=log)
    return start


@test("af_xdp", "tap")
def kill_of_control(kind):
    with Lab(kind, 2) as lab:
        control, dataplane = lab.pids()
        start = again(lab, control)
        with lab.connect() as c:
            equal(c.call("SET", "kept", "1"), b"OK")
            os.kill(control, signal.SIGKILL)
            until("control is gone", lambda: gone(control), 5)
            equal(c.call("GET", "kept"), b"1")
            equal(lab.cli("INCR", "kept").strip(), "2")
            check(not gone(dataplane), "the dataplane went along")
            p = start()
            try:
                until("INFO works again", lambda: lab.info("dataplane")["dataplane_state"] == "running", 20)
                equal(int(lab.info("dataplane")["dataplane_pid"]), dataplane, "the dataplane")
                equal(c.call("GET", "kept"), b"2")
                with lab.connect_door() as d:
                    equal(d.call("GET", "kept"), b"2")
                    equal(d.call("CONFIG", "SET", "maxclients", "77"), b"OK")
                p.send_signal(signal.SIGTERM)
                equal(p.wait(20), 0, (lab.state / "log2").read_text()[-1000:])
            finally:
                if p.poll() is None:
                    p.kill()
                    p.wait()
        until("the dataplane ends with control", lambda: gone(dataplane), 10)
        equal(left_behind(lab), [])


@test("af_xdp", "tap")
def kill_of_the_dataplane(kind):
    with Lab(kind, 2) as lab:
        control, dataplane = lab.pids()
        with lab.connect() as c:
            equal(c.call("SET", "lost", "1"), b"OK")
        os.kill(dataplane, signal.SIGKILL)
        start = time.monotonic()
        until("a new dataplane answers", lambda: lab.pids()[1] not in (None, dataplane) and lab.answers(), 30)
        took = time.monotonic() - start
        with lab.connect() as c:
            equal(c.call("EXISTS", "lost"), 0)
            equal(c.call("SET", "new", "1"), b"OK")
        equal(lab.info("dataplane")["dataplane_starts"], "2")
        check(re.search(r"data", lab.log().split("ready")[1]) and re.search(r"gone|lost", lab.log()), "the log does not tell of the lost data:", lab.log())
        return "back after %.2f s" % took


@test("af_xdp", "tap")
def sigterm(kind):
    with Lab(kind, 2) as lab:
        control, dataplane = lab.pids()
        with lab.connect() as c:
            c.call("SET", "a", "1")
            os.kill(control, signal.SIGTERM)
            until("both processes are gone", lambda: gone(control) and gone(dataplane), 10)
        equal(left_behind(lab), [])


@test("af_xdp", "tap")
def shutdown(kind):
    with Lab(kind, 2) as lab:
        control, dataplane = lab.pids()
        with lab.connect() as c:
            c.sock.settimeout(10)
            c.send("SHUTDOWN", "NOSAVE")
            equal(c.sock.recv(100), b"", "what came instead of the end of the connection")
        until("both processes are gone", lambda: gone(control) and gone(dataplane), 10)
        equal(left_behind(lab), [])


@test("af_packet")
def a_short_look(kind):
    with Lab(kind) as lab:
        value = os.urandom(4 << 20)
        with lab.connect() as c:
            equal(c.call("SET", "a", value), b"OK")
            check(c.call("GET", "a") == value, "4 MB came back different")
        text = lab.exec("redis-benchmark", "-h", lab.address, "-t", "set,get", "-n", "20000", "-P", "16", "--csv")
        equal(len(re.findall(r'^"(?:SET|GET)"', text, re.M)), 2, text)
        lab.no_restart()


@test("-")
def command_line(kind):
    check(re.match(r"Barewire \d+\.\d+\.\d+ ", run(BAREWIRE, "version")), "version")
    status, text = run(BAREWIRE, "check", ok=False)
    check(status in (0, 1) and re.search(r"^(OK|WARN|FAIL)", text, re.M), "check:", status, text)
    status, text = run(BAREWIRE, "run", "--maxmemroy", "1gb", ok=False)
    check(status != 0 and "maxmemroy" in text and "maxmemory" in text, "the nearest match of an unknown directive is missing:", text)
    status, text = run(BAREWIRE, "check", "--net-port", "af_xdp:nosuchdevice", "--net-address", "10.0.0.2/24", ok=False)
    check(status == 1 and "nosuchdevice" in text, "check of a missing device:", text)
    status, text = run(BAREWIRE, "frobnicate", ok=False)
    check(status == 2 and "unknown word" in text, text)


@test("-")
def without_network(kind):
    """The example of `barewire help`."""
    with tempfile.TemporaryDirectory(prefix="barewire-smoke-") as folder:
        socket_path, instance, port = folder + "/door.sock", "smoke-door-%d" % os.getpid(), free_port()
        with open(folder + "/log", "w") as out:
            p = subprocess.Popen([BAREWIRE, "run", "--instance", instance, "--unixsocket", socket_path, "--door-port", str(port)],
                                 stdin=subprocess.DEVNULL, stdout=out, stderr=out)
        try:
            def answers():
                check(p.poll() is None, "the server ended:", open(folder + "/log").read())
                return run("redis-cli", "-p", port, "PING", ok=False)[1].strip() == "PONG"
            until("the door answers", answers, 20)
            equal(run("redis-cli", "-s", socket_path, "SET", "a", "1").strip(), "OK")
            equal(run("redis-cli", "-p", port, "GET", "a").strip(), "1")
        finally:
            p.terminate()
            p.wait(20)
        equal(p.returncode, 0)
        equal([f for f in os.listdir("/dev/shm") if instance in f], [])


@test("-")
def redis_conf_of_debian(kind):
    conf = "/etc/redis/redis.conf"
    if not os.path.exists(conf):
        return "there is none"
    with tempfile.TemporaryDirectory(prefix="barewire-smoke-") as folder:
        door, log = folder + "/door.sock", folder + "/log"
        with open(log, "w") as out:
            p = subprocess.Popen([BAREWIRE, "run", conf, "--instance", "smoke-conf-%d" % os.getpid(), "--unixsocket", door, "--dir", folder,
                                  "--logfile", "", "--pidfile", "", "--port", "0"], stdin=subprocess.DEVNULL, stdout=out, stderr=out)
        try:
            def answers():
                check(p.poll() is None, "the server ended:", open(log).read()[-1500:])
                with socket.socket(socket.AF_UNIX) as s:
                    s.settimeout(5)
                    s.connect(door)
                    c = Client(s)
                    return c.call("SET", "a", "1") == b"OK" and c.call("GET", "a") == b"1"
            until("the door answers", answers, 20)
        finally:
            p.terminate()
            p.wait(20)
        warnings = [l for l in open(log) if "warning" in l.lower() and re.search(r"daemonize|appendonly|save|no effect", l)]
        check(warnings, "no warning about what is not supported:", open(log).read())
        equal(p.returncode, 0)
        return "%d lines of warnings" % len(warnings)
