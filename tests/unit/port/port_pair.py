#!/usr/bin/env python3
"""A server and a client of our own stack over virtio: net_virtio_user here, net_vhost there, a unix socket between them, no kernel in the
path. The two negotiate checksums, cutting (TSO) and the size of frames; values of 1 MiB go up and come back octet for octet. TAP format.

   port_pair.py BUILD [--measure]

--measure: GETs of 1 MiB with and without TSO by barewire bench, in turn.
"""
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time

BUILD = os.path.abspath(sys.argv[1])
PAIR = os.path.join(BUILD, "tests/unit/port/port_pair")
BAREWIRE = os.path.join(BUILD, "control/barewire")
ROUNDS, BYTES = 20, 1 << 20


def redis(door, *args):
    return subprocess.run(["redis-cli", "-s", door, *args], stdout=subprocess.PIPE, text=True, timeout=20).stdout


def info(door):
    return dict(line.split(":", 1) for line in redis(door, "info", "everything").splitlines() if ":" in line)


class Server:
    """Barewire on one end of the pair."""

    def __init__(self, port, *more):
        self.dir = tempfile.mkdtemp(prefix="bwpair")
        self.door = os.path.join(self.dir, "door.sock")
        self.wire = os.path.join(self.dir, "wire.sock")
        self.log = open(os.path.join(self.dir, "log"), "w")
        args = ["run", "--instance", os.path.basename(self.dir), "--dir", self.dir, "--workers", "1", "--hugepages", "no",
                "--protected-mode", "no", "--net-port", port % self.wire, "--net-address", "10.9.0.2/24",
                "--mbufs", "4096", "--unixsocket", self.door, *more]
        self.process = subprocess.Popen([BAREWIRE, *args], stdout=self.log, stderr=self.log, stdin=subprocess.DEVNULL)
        end = time.monotonic() + 60
        while not os.path.exists(self.wire):  # there the driver waits for its peer before anything else comes up
            if time.monotonic() > end or self.process.poll() is not None:
                self.process.kill()
                raise RuntimeError("the server does not come up: " + open(self.log.name).read())
            time.sleep(0.02)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.terminate()
        self.process.wait(60)
        self.log.close()
        shutil.rmtree(self.dir)

    def buffers_come_back(self):
        """Whatever was lent to the driver is given back, but for what its ring of 1024 still holds."""
        end = time.monotonic() + 30
        while int(info(self.door)["mbufs_in_use"]) > 1024:
            if time.monotonic() > end:
                raise AssertionError("buffers in use: " + info(self.door)["mbufs_in_use"])
            time.sleep(0.1)


SERVER_PORT = "net_virtio_user0,path=%s,server=1,queues=1,queue_size=1024"


def client(wire, options, mtu=1500, vlan=0):
    port = f"net_vhost0,iface={wire},client=1{options}"
    r = subprocess.run([PAIR, port, str(mtu), str(vlan), str(BYTES), str(ROUNDS)], stdout=subprocess.PIPE,
                       stderr=subprocess.PIPE, text=True, timeout=120)
    got = dict(line.split(":", 1) for line in r.stdout.splitlines() if ":" in line)
    if r.returncode or got.get("rounds") != str(ROUNDS):
        raise AssertionError(f"the client ended with {r.returncode}: {r.stdout}{r.stderr}")
    return got


def transfer(options, mtu=1500, vlan=0):
    more = ["--net-mtu", str(mtu)] + (["--net-vlan", str(vlan)] if vlan else [])
    with Server(SERVER_PORT, *more) as s:
        got = client(s.wire, options, mtu, vlan)
        s.buffers_come_back()
        of = info(s.door)
    keys = ("net_offload_tx_checksum", "net_offload_tso", "net_offload_rx_checksum", "net_offload_vlan_strip",
            "tso_packets", "tso_segments", "offload_lost", "offload_wrong", "rx_queues", "tcp_retrans_segs", "tcp_timeouts")
    print("# server:", " ".join(f"{k}={of[k]}" for k in keys))
    print("# client:", " ".join(f"{k}={v}" for k, v in got.items()))
    assert of["offload_wrong"] == "0", of["offload_wrong"]
    assert of["rx_queues"] == "1"
    assert got["drop_multi_seg"] == "0"
    return of, got


def tso():
    of, got = transfer(",tso=1")
    assert of["net_offload_tso"] == "on", of["net_offload_tso"]
    assert int(of["tso_segments"]) > 10 * int(of["tso_packets"]) > 0
    assert int(got["rx_joined"]) > 0


def checksums_alone():
    of, _ = transfer(",tso=0")
    assert of["net_offload_tso"] == "none", of["net_offload_tso"]  # negotiated away
    assert of["tso_packets"] == "0"
    assert of["net_offload_tx_checksum"] == "on", of["net_offload_tx_checksum"]


def jumbo():
    of, _ = transfer(",tso=1", mtu=9000)
    assert of["net_offload_tso"] == "on"


def vlan():
    of, _ = transfer(",tso=1", vlan=42)
    assert of["net_offload_vlan_strip"] == "on", of["net_offload_vlan_strip"]
    assert of["net_offload_tso"] == "on"


CASES = {"values of 1 MiB with TSO": tso, "a peer without TSO": checksums_alone, "an MTU of 9000": jumbo, "a VLAN": vlan}


def measure():
    for _ in range(3):
        for options in (",tso=1", ",tso=0"):
            with Server(SERVER_PORT) as s:
                port = f"net_vhost0,iface={s.wire},client=1{options}"
                client(s.wire, options)  # until the server has loaded its dataset
                out = subprocess.run([BAREWIRE, "bench", "--net-port", port, "--net-address", "10.9.0.1/24", "-h", "10.9.0.2",
                                      "--hugepages", "no", "-t", "get", "--load", "-d", str(BYTES), "-c", "4", "-n", "4000"],
                                     stdout=subprocess.PIPE, text=True, timeout=120).stdout
                of = info(s.door)
                rate = re.search(r"^get +\d+ +(\d+)", out, re.M)
                rate = int(rate.group(1)) * BYTES / 1e6 if rate else out
                print(f"{options[1:]}: GET {rate} MB/s, server busy {int(of['busy_ns']) / 1e9:.2f} s, "
                      f"{of['tx_packets']} packets, TSO {of['net_offload_tso']}, sent again {of['tcp_retrans_segs']}")


if len(sys.argv) > 2:
    measure()
    sys.exit()
print(f"1..{len(CASES)}")
failed = 0
for number, (name, case) in enumerate(CASES.items(), 1):
    try:
        case()
        print(f"ok {number} - {name}", flush=True)
    except Exception as e:  # a case that fails must not hide the others
        failed = 1
        print(f"not ok {number} - {name}: {e}", flush=True)
sys.exit(failed)
