#!/usr/bin/env python3
"""port on real interfaces: port_echo in a namespace, a UDP client in another one. Output in TAP format.

   port_net.py PORT_ECHO [CASE...]

Each case makes its own namespaces, named after this process, and takes them away again. Needs root; without it
everything is skipped.
"""
import contextlib
import ctypes
import os
import re
import select
import signal
import socket
import subprocess
import sys
import time

ECHO = os.path.abspath(sys.argv[1])
PID = os.getpid()
SERVER, CLIENT, INSTANCE = f"bwport-{PID}-s", f"bwport-{PID}-c", f"porttest-{PID}"
ADDRESS, CLIENT_ADDRESS = "10.9.9.2", "10.9.9.1"
LIBC = ctypes.CDLL(None, use_errno=True)


def sh(*args, check=True):
    return subprocess.run(args, check=check, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True).stdout


@contextlib.contextmanager
def inside(namespace):
    """Sockets made inside stay in that namespace."""
    with open("/proc/self/ns/net") as here, open(f"/run/netns/{namespace}") as there:
        if LIBC.setns(there.fileno(), 0):
            raise OSError(ctypes.get_errno(), "setns")
        try:
            yield
        finally:
            LIBC.setns(here.fileno(), 0)


@contextlib.contextmanager
def namespaces():
    sh("ip", "netns", "add", SERVER)
    sh("ip", "netns", "add", CLIENT)
    try:
        yield
    finally:
        sh("ip", "netns", "del", SERVER, check=False)
        sh("ip", "netns", "del", CLIENT, check=False)


def veth(queues=1, mtu=1500):
    q = ["numrxqueues", str(queues), "numtxqueues", str(queues)]
    sh("ip", "link", "add", "vs", "netns", SERVER, *q, "type", "veth", "peer", "name", "vc", "netns", CLIENT, *q)
    for namespace, dev in ((SERVER, "vs"), (CLIENT, "vc")):
        sh("ip", "-n", namespace, "link", "set", "dev", dev, "mtu", str(mtu), "up")
    sh("ip", "-n", CLIENT, "addr", "add", CLIENT_ADDRESS + "/24", "dev", "vc")
    sh("ip", "netns", "exec", CLIENT, "ethtool", "-K", "vc", "tx", "off", "tso", "off", "gso", "off", "gro", "off")


class Echo:
    """A running port_echo; `out` is what it printed until it was ready."""

    started = []

    def __init__(self, namespace, port, workers=1, mtu=1500, huge="auto"):
        with inside(namespace):
            self.proc = subprocess.Popen([ECHO, INSTANCE, port, str(workers), str(mtu), ADDRESS, huge],
                                         stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        Echo.started.append(self)
        self.out, deadline = b"", time.monotonic() + 20
        while b"ready\n" not in self.out:
            readable, _, _ = select.select([self.proc.stdout], [], [], max(0, deadline - time.monotonic()))
            chunk = os.read(self.proc.stdout.fileno(), 65536) if readable else b""
            if not chunk:
                break
            self.out += chunk
        self.out = self.out.decode()
        self.ready = "ready\n" in self.out
        if not self.ready:
            self.proc.kill() if self.proc.poll() is None and not readable else None
            self.proc.wait(timeout=20)

    def stop(self):
        """Ends it in order; returns frames per worker."""
        self.proc.send_signal(signal.SIGTERM)
        rest = self.proc.communicate(timeout=20)[0].decode()
        assert self.proc.returncode == 0, f"exit {self.proc.returncode}: {rest}"
        return [int(n) for n in re.findall(r"^worker \d+ udp (\d+)$", rest, re.M)]

    def kill(self):
        self.proc.kill()
        self.proc.communicate(timeout=20)


def talk(flows=32, sizes=(1, 500, 1400)):
    """Datagrams over many flows come back unchanged. One loss per flow is forgiven: no retransmission here, and the first
    datagrams wait for ARP."""
    with inside(CLIENT):
        socks = [socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(flows)]
    for i, s in enumerate(socks):
        s.settimeout(1)
        for size in sizes:
            data, got = bytes([i + 1]) * size, None
            for _ in range(2):
                s.sendto(data, (ADDRESS, 7))
                with contextlib.suppress(TimeoutError):
                    got = s.recv(65536)
                    break
            assert got == data, f"flow {i}, {size} bytes: {'nothing' if got is None else len(got)} came back"
        s.close()


def nothing_left():
    for base in ("/var/run/dpdk", "/run/dpdk"):
        assert not os.path.exists(f"{base}/barewire-{INSTANCE}"), f"{base}/barewire-{INSTANCE} is left"


def serve(port, workers, mtu=1500, sizes=(1, 500, 1400), namespace=SERVER, expect="", huge="auto"):
    echo = Echo(namespace, port, workers, mtu, huge)
    assert echo.ready, echo.out
    try:
        assert expect in echo.out, f"{expect!r} is not in: {echo.out}"
        assert "libxdp:" not in echo.out and "EAL:" not in echo.out, echo.out
        if port.startswith("tap:"):
            sh("ip", "-n", CLIENT, "addr", "replace", CLIENT_ADDRESS + "/24", "dev", "bwt0")
        talk(sizes=sizes)
    except BaseException:
        echo.kill()
        raise
    frames = echo.stop()
    assert len(frames) == workers and all(n > 0 for n in frames), f"frames per worker: {frames}"
    nothing_left()


def refused(words, port, workers=1, mtu=1500, namespace=SERVER, huge="auto"):
    echo = Echo(namespace, port, workers, mtu, huge)
    if echo.ready:
        echo.kill()
    assert not echo.ready, "it started"
    assert echo.proc.returncode == 1, f"exit {echo.proc.returncode}: {echo.out}"
    assert words in echo.out, f"{words!r} is not in: {echo.out}"
    nothing_left()


def case_af_xdp():
    veth()
    serve("af_xdp:vs", 1, expect="checksums in software (net_af_xdp")
    assert "xdp" not in sh("ip", "-n", SERVER, "link", "show", "dev", "vs"), "the XDP program is left"


def case_af_xdp_two_queues():
    veth(2)
    serve("af_xdp:vs", 2)
    assert "xdp" not in sh("ip", "-n", SERVER, "link", "show", "dev", "vs"), "the XDP program is left"


def case_af_xdp_large_frames():
    veth(mtu=3400)
    serve("af_xdp:vs", 1, mtu=3400, sizes=(1, 3000, 3372))


def case_af_xdp_more_workers_than_cpus():
    veth(5)
    serve("af_xdp:vs", 5, expect="5 workers share" if os.cpu_count() < 5 else "")


def case_af_xdp_again_after_kill():
    veth(2)
    for _ in range(2):
        echo = Echo(SERVER, "af_xdp:vs", 2)
        assert echo.ready, echo.out
        talk(flows=4)
        echo.kill()
    serve("af_xdp:vs", 2)


def case_no_network():
    echo = Echo(SERVER, "", 2)
    assert echo.ready and "no net-port" in echo.out, echo.out
    assert echo.stop() == [0, 0]
    nothing_left()


def case_mtu_of_the_interface():
    veth(mtu=1400)
    serve("af_xdp:vs", 1, mtu=0, expect=" mtu 1400 ", sizes=(1, 1372))


def case_tap():
    serve("tap:bwt0", 1, namespace=CLIENT)


def case_tap_two_queues():
    sh("ip", "-n", CLIENT, "tuntap", "add", "dev", "bwt0", "mode", "tap", "multi_queue")
    sh("ip", "-n", CLIENT, "link", "set", "dev", "bwt0", "address", "02:00:00:00:09:01")
    serve("tap:bwt0", 2, namespace=CLIENT, expect="mac 02:00:00:00:09:00")
    assert "02:00:00:00:09:01" in sh("ip", "-n", CLIENT, "link", "show", "dev", "bwt0"), "a persistent TAP went away"


def case_tap_again_after_kill():
    sh("ip", "-n", CLIENT, "tuntap", "add", "dev", "bwt0", "mode", "tap", "multi_queue")
    echo = Echo(CLIENT, "tap:bwt0", 1)
    assert echo.ready, echo.out
    echo.kill()
    serve("tap:bwt0", 1, namespace=CLIENT)


def case_af_packet():
    veth()
    serve("af_packet:vs", 1)


def case_af_packet_two_queues():
    veth()
    serve("af_packet:vs", 2, expect="af_packet may move a flow")


def case_af_packet_large_frames():
    veth(mtu=9000)
    serve("af_packet:vs", 1, mtu=9000, sizes=(1, 3000, 8972))


def case_refuses_what_cannot_work():
    veth()
    refused("there is no interface nosuch0", "af_xdp:nosuch0")
    refused("ethtool -L vs rx 2 tx 2", "af_xdp:vs", workers=2)
    refused("ip link set dev vs mtu 3000", "af_xdp:vs", mtu=3000)
    refused("AF_XDP carries at most 3502", "af_xdp:vs", mtu=3503)
    refused("expected af_xdp:IFACE", "eth0")
    refused("at most 16", "af_packet:vs", workers=17)
    refused("hugepages yes, but", "af_xdp:vs", workers=1, huge="yes") if free_hugepages() == 0 else None
    refused("DPDK", "net_nosuch0")
    sh("ip", "-n", SERVER, "link", "set", "dev", "vs", "down")
    refused("ip link set dev vs up", "af_xdp:vs")


def case_refuses_default_route():
    veth()
    sh("ip", "-n", CLIENT, "route", "add", "default", "via", ADDRESS)
    refused("default route", "af_xdp:vc", namespace=CLIENT)
    refused("default route", "af_packet:vc", namespace=CLIENT)


def case_two_at_once():
    """Same interface: the second is refused and the first goes on."""
    veth()
    echo = Echo(SERVER, "af_xdp:vs", 1)
    assert echo.ready, echo.out
    global INSTANCE
    first, INSTANCE = INSTANCE, INSTANCE + "-b"
    try:
        refused("already used by another", "af_xdp:vs")
    finally:
        INSTANCE = first
    talk(flows=4)
    echo.stop()
    nothing_left()


def free_hugepages():
    with open("/proc/meminfo") as f:
        return int(re.search(r"HugePages_Free:\s+(\d+)", f.read()).group(1))


def main():
    cases = [n[5:] for n in globals() if n.startswith("case_")]
    wanted = [c for c in cases if c in sys.argv[2:]] or cases
    print(f"1..{len(wanted)}")
    failed = 0
    for i, name in enumerate(wanted, 1):
        if os.geteuid() != 0:
            print(f"ok {i} {name} # SKIP needs root")
            continue
        try:
            with namespaces():
                globals()["case_" + name]()
            print(f"ok {i} {name}", flush=True)
        except Exception as e:  # one case's failure leaves the others their turn
            failed += 1
            for echo in Echo.started:
                if echo.proc.poll() is None:
                    echo.kill()
            text = str(e) + (str(e.stdout) if isinstance(e, subprocess.CalledProcessError) else "")
            print(f"not ok {i} {name}\n# " + text.replace("\n", "\n# "), flush=True)
            if os.path.isdir(f"/run/dpdk/barewire-{INSTANCE}"):
                sh("rm", "-rf", f"/run/dpdk/barewire-{INSTANCE}")
    return 1 if failed else 0


sys.exit(main())
