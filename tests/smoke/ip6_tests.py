"""IPv6 as a client and an operator meet it, jumbo frames, and a path with a narrow link in its middle. Each test starts its own lab."""

import hashlib
import os
import re
import socket
import struct

from lab import Client, Lab, check, equal, run, until
from server_tests import is_error

TESTS = []  # name, function(kind), kinds


def test(*kinds):
    def add(function):
        TESTS.append((function.__name__.replace("_", " "), function, kinds))
        return function
    return add


def big_value(c, key, size):
    data = os.urandom(size)
    equal(c.call("SET", key, data), b"OK")
    equal(hashlib.sha256(c.call("GET", key)).digest(), hashlib.sha256(data).digest(), "a value of %d bytes" % size)


def ping6(lab, count):
    """Echo requests over ICMPv6, one after the other; how many were answered."""
    answered = 0
    with lab.inside(), socket.socket(socket.AF_INET6, socket.SOCK_RAW, socket.IPPROTO_ICMPV6) as s:
        s.settimeout(2)
        for i in range(count):
            body = struct.pack("!HH", os.getpid() & 0xffff, i) + os.urandom(100 + i)
            s.sendto(struct.pack("!BBH", 128, 0, 0) + body, (lab.address6, 0))
            packet = b""
            while packet[:1] != b"\x81" or packet[4:] != body:
                try:
                    packet, who = s.recvfrom(2048)
                except TimeoutError:
                    break
            answered += packet[4:] == body
    return answered


@test("af_xdp", "tap")
def ip6(kind):
    with Lab(kind, 2, ip6=True) as lab:
        equal(lab.lab("address", "--6").strip(), lab.address6)
        cli = lambda *w: lab.exec("redis-cli", "-h", lab.address6, *w)
        equal(cli("SET", "six", "6").strip(), "OK")
        equal(lab.cli("GET", "six").strip(), "6")
        equal(ping6(lab, 50), 50, "answered echo requests")
        with lab.connect(address=lab.address6) as c, lab.connect() as four:
            mine = "[%s]:%d" % c.sock.getsockname()[:2]
            listed = four.call("CLIENT", "LIST").decode()
            check(" addr=%s laddr=[%s]:6379 " % (mine, lab.address6) in listed, "CLIENT LIST:", listed)
            check(re.search(r" addr=10\.\d+\.\d+\.1:\d+ laddr=%s:6379 " % re.escape(lab.address), listed), "CLIENT LIST:", listed)
            big_value(c, "big", 20 << 20)
            equal(four.call("CLIENT", "KILL", "ADDR", mine), 1)
            try:
                c.call("PING")
                check(False, "the killed client is still there")
            except (ConnectionError, OSError):
                pass
        text = lab.exec("redis-benchmark", "-h", lab.address6, "-t", "set,get", "-n", 50000, "-c", 20, "-P", 8, "-r", 10000, "--csv")
        rates = dict(re.findall(r'^"(SET|GET)","([\d.]+)"', text, re.M))
        equal(len(rates), 2, text)
        check("rror" not in text, text)
        info = lab.info("all")
        for name in ("drop_tcp_checksum", "drop_ip_header", "drop_ip_length", "ndp_duplicate_addresses"):
            equal(info[name], "0", name)
        check(lab.address6 in lab.log().split("ready")[1], "the banner names the address")
        lab.no_restart()
        return ", ".join("%s %.0f k/s" % (k, float(v) / 1000) for k, v in rates.items())


@test("af_xdp", "tap")
def ip6_protected_and_allowed(kind):
    with Lab(kind, 1, ip6=True, options=["--protected-mode", "yes"]) as lab:
        prefix = lab.address6.rsplit("::", 1)[0]
        with lab.connect(address=lab.address6) as c:
            is_error(c.call("SET", "a", "1"), "DENIED")
        with lab.connect_door() as d:
            equal(d.call("CONFIG", "SET", "net-allow", "10.0.0.0/8 2001:db8::/32"), b"OK")
            equal(d.call("CONFIG", "GET", "net-allow"), [b"net-allow", b"10.0.0.0/8 2001:db8::/32"])

            def refused():
                with lab.inside(), socket.socket(socket.AF_INET6) as s:
                    s.settimeout(0.3)
                    return s.connect_ex((lab.address6, 6379)) != 0
            until("the address is not allowed", refused, 10)
            equal(d.call("CONFIG", "SET", "net-allow", prefix + "::/64"), b"OK")

            def allowed():
                with lab.connect(timeout=1, address=lab.address6) as c:
                    return "DENIED" in str(c.call("GET", "a"))
            until("the prefix is allowed", allowed, 10)


@test("af_packet", "af_xdp")
def jumbo_frames(kind):
    mtu = 9000 if kind == "af_packet" else 3300  # a page holds no more
    with Lab(kind, 1, ip6=True, mtu=mtu) as lab:
        for address in (lab.address, lab.address6):
            with lab.connect(address=address) as c:
                big_value(c, "big", 10 << 20)
                mss = c.sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG)
                check(mss > mtu - 80, "MSS", mss)
        equal(lab.info("all")["drop_multi_seg"], "0")


class NarrowPath:
    """client (1500) router (1400) the lab's client end (1500) server: the server's full segments meet a link that they do not fit."""

    def __init__(self, lab):
        self.lab = lab
        self.client, self.router = "bwx-%s" % lab.name, "bwy-%s" % lab.name

    def __enter__(self):
        middle = self.lab.client_ns
        ip = lambda ns, *w: run("ip", "-n", ns, *w)
        for ns in (self.client, self.router):
            run("ip", "netns", "add", ns)
            ip(ns, "link", "set", "lo", "up")
        run("ip", "link", "add", "wide", "netns", self.client, "type", "veth", "peer", "name", "wide", "netns", self.router)
        run("ip", "link", "add", "narrow", "netns", self.router, "type", "veth", "peer", "name", "narrow", "netns", middle)
        for ns, dev, host, mtu in ((self.client, "wide", "172.31.1.2", 1500), (self.router, "wide", "172.31.1.1", 1500),
                                   (self.router, "narrow", "172.31.2.1", 1400), (middle, "narrow", "172.31.2.2", 1400)):
            run("ip", "netns", "exec", ns, "sh", "-c", "echo 0 >/proc/sys/net/ipv6/conf/%s/disable_ipv6" % dev)
            ip(ns, "link", "set", dev, "mtu", str(mtu), "up")
            ip(ns, "addr", "add", host + "/24", "dev", dev)
            ip(ns, "addr", "add", "fd77:%s::%s/64" % (host.split(".")[2], host.split(".")[3]), "dev", dev, "nodad")
        for ns in (self.router, middle):
            run("ip", "netns", "exec", ns, "sh", "-c", "echo 1 >/proc/sys/net/ipv4/ip_forward; echo 1 >/proc/sys/net/ipv6/conf/all/forwarding")
        ip(self.client, "route", "add", "default", "via", "172.31.1.1")
        ip(self.client, "-6", "route", "add", "default", "via", "fd77:1::1")
        ip(self.router, "route", "add", "default", "via", "172.31.2.2")
        ip(self.router, "-6", "route", "add", "default", "via", "fd77:2::2")
        ip(middle, "route", "add", "172.31.1.0/24", "via", "172.31.2.1")
        ip(middle, "-6", "route", "add", "fd77:1::/64", "via", "fd77:2::1")
        return self

    def __exit__(self, *args):
        for ns in (self.client, self.router):
            run("ip", "netns", "del", ns, ok=False)


@test("af_xdp")
def path_mtu(kind):
    with Lab(kind, 1, ip6=True, options=lambda lab: ["--net-gateway", " ".join(lab.client_addresses)]) as lab, NarrowPath(lab) as path:
        for address, count in ((lab.address, 1), (lab.address6, 2)):
            with lab.inside(path.client):
                s = socket.create_connection((address, 6379), 20)
            with Client(s) as c:
                big_value(c, "far", 1 << 20)
            info = lab.info("all")
            equal(int(info["tcp_pmtu_lowered"]), count, "connections whose MSS was lowered")
        equal(info["tcp_pmtu_blackhole"], "0")
        return "%s ICMP errors taken" % info["icmp_errors_in"]
