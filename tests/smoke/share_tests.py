"""One interface for Linux and for us: the XDP program on AF_XDP, with an address of our own and with Linux's. Each test starts its own lab."""

import os
import re
import select
import signal
import socket
import struct
import subprocess
import threading
import time

from lab import BAREWIRE, BUILD, Lab, check, equal, run, until
from server_tests import again, gone, is_error, left_behind

TESTS = []  # name, function(kind), kinds


def test(function):
    TESTS.append((function.__name__.replace("_", " "), function, ("af_xdp",)))
    return function


def program(lab):
    """What `ip` tells of the XDP program on the server's interface: (id, name), or None."""
    text = run("ip", "-n", lab.server_ns, "-d", "link", "show", "srv")
    found = re.search(r"prog/xdp id (\d+)(?: name (\S+))?", text)
    return found and (int(found[1]), found[2])


def checksum(data):
    if len(data) % 2:
        data += b"\0"
    n = sum(struct.unpack("!%dH" % (len(data) // 2), data))
    while n >> 16:
        n = (n & 0xffff) + (n >> 16)
    return ~n & 0xffff


class Ping:
    """Echo requests from the clients' namespace, one after the other, until `stop`."""

    def __init__(self, lab, address):
        with lab.inside():
            self.sock = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP)
        self.sock.settimeout(3)
        self.address, self.sent, self.answered = address, 0, 0
        self.wanted = threading.Event()
        self.thread = threading.Thread(target=self.work, daemon=True)

    def once(self):
        self.sent += 1
        body = struct.pack("!HH", os.getpid() & 0xffff, self.sent & 0xffff) + b"barewire" * 4
        head = struct.pack("!BBH", 8, 0, checksum(b"\x08\0\0\0" + body))
        self.sock.sendto(head + body, (self.address, 0))
        deadline = time.monotonic() + 3
        while time.monotonic() < deadline:
            try:
                packet, who = self.sock.recvfrom(2048)
            except TimeoutError:
                return False
            if who[0] == self.address and packet[20] == 0 and packet[24:28] == body[:4]:
                self.answered += 1
                return True
        return False

    def work(self):
        while not self.wanted.is_set():
            self.once()
            self.wanted.wait(0.01)

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *args):
        self.wanted.set()
        self.thread.join()
        self.sock.close()


class Echo:
    """A plain TCP server of Linux in the server's namespace."""

    def __init__(self, lab, address):
        with lab.inside(lab.server_ns):
            self.sock = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET)
        self.sock.bind((address, 0))
        self.sock.listen(16)
        self.port = self.sock.getsockname()[1]
        threading.Thread(target=self.work, daemon=True).start()

    def work(self):
        while True:
            try:
                conn, _ = self.sock.accept()
            except OSError:
                return
            threading.Thread(target=self.serve, args=(conn,), daemon=True).start()

    @staticmethod
    def serve(conn):
        with conn:
            while data := conn.recv(1 << 16):
                conn.sendall(data)

    def close(self):
        self.sock.close()


def through_linux(lab, address, port, size):
    """`size` random bytes to Linux's server and back, unchanged."""
    data, got = os.urandom(size), bytearray()
    with lab.inside():
        s = socket.create_connection((address, port), 10)
    with s:
        s.settimeout(20)
        sender = threading.Thread(target=s.sendall, args=(data,), daemon=True)
        sender.start()
        while len(got) < size:
            part = s.recv(1 << 16)
            check(part, "Linux's server ended the connection after", len(got), "bytes")
            got += part
        sender.join()
    check(bytes(got) == data, "what came back from Linux is not what was sent")


def benchmark(lab, address=None):
    text = lab.exec("redis-benchmark", "-h", address or lab.address, "-t", "set,get", "-n", "60000", "-c", "20", "-P", "8", "-r", "1000", "--csv")
    equal(len(re.findall(r'^"(?:SET|GET)"', text, re.M)), 2, text)
    check("rror" not in text, text)
    return text


def both_at_work(lab, linux_address):
    """redis-benchmark on ours, while Linux answers ping and serves TCP on the same interface."""
    echo = Echo(lab, linux_address)
    done, wrong = threading.Event(), []

    def linux():
        while not wrong and not done.is_set():
            try:
                through_linux(lab, linux_address, echo.port, 300000)
            except Exception as e:
                wrong.append(e)

    t = threading.Thread(target=linux, daemon=True)
    try:
        with Ping(lab, linux_address) as ping:
            until("Linux answers ping", lambda: ping.answered > 0, 5)
            t.start()
            benchmark(lab)
            done.set()
            t.join(30)
        equal(wrong, [])
        through_linux(lab, linux_address, echo.port, 4 << 20)
    finally:
        done.set()
        echo.close()
    check(ping.answered >= 10 and ping.answered == ping.sent, "ping: %d of %d answered" % (ping.answered, ping.sent))
    return ping


def nothing_of_linux_came(lab):
    info = lab.info("all")
    for name in ("drop_ip_destination", "drop_tcp_port", "drop_arp", "drop_ip_protocol", "drop_ethertype", "drop_dst_mac", "drop_icmp"):
        equal(info[name], "0", name)
    return info


def few_without_socket(info):
    """Those that came while the server started: who waits for it knocks in the meantime."""
    check(int(info["xdp_no_socket"]) < 20, "xdp_no_socket", info["xdp_no_socket"])


def busy_queues(info):
    """Workers whose queue had frames."""
    return [int(w) for w in re.findall(r"rx_packets=(\d+)", " ".join(v for k, v in info.items() if k.startswith("worker")))]


@test
def an_interface_with_linux(kind):
    with Lab(kind, 2) as lab:
        linux = lab.address.rsplit(".", 1)[0] + ".3"
        run("ip", "-n", lab.server_ns, "addr", "add", linux + "/24", "dev", "srv")
        equal(program(lab)[1], "barewire_steer")
        with lab.inside(lab.server_ns), socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(0x0800)) as tap:
            tap.bind(("srv", 0x0800))
            tap.settimeout(5)
            ping = both_at_work(lab, linux)
            frame = tap.recv(2048)
            equal(frame[12:14], b"\x08\0", "tcpdump on the interface")
        with Ping(lab, lab.address) as ours:
            until("we answer ping", lambda: ours.answered > 3, 5)
        with lab.inside(), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
            s.sendto(b"not ours", (lab.address, 7))
        until("the counters are told", lambda: int(lab.info("dataplane")["xdp_passed"]) > 0, 5)
        info = nothing_of_linux_came(lab)
        check(int(info["xdp_taken"]) > 1000 and int(info["xdp_passed"]) > 500, "xdp_taken", info["xdp_taken"], "xdp_passed", info["xdp_passed"])
        equal([info[n] for n in ("xdp_malformed", "xdp_drop_net_allow", "xdp_drop_syn_limit")], ["0"] * 3)
        few_without_socket(info)
        equal(len([n for n in busy_queues(info) if n > 100]), 2, "queues with frames: %s" % busy_queues(info))
        lab.no_restart()
        return "ping %d of %d, xdp_taken %s, xdp_passed %s" % (ping.answered, ping.sent, info["xdp_taken"], info["xdp_passed"])


@test
def an_address_shared_with_linux(kind):
    with Lab(kind, 2, share=True) as lab:
        ping = both_at_work(lab, lab.address)
        with lab.inside(), socket.socket() as s:
            s.settimeout(5)
            try:
                s.connect((lab.address, 7))
                check(False, "port 7 is open")
            except ConnectionRefusedError:
                pass  # Linux says so
        for family_address in (lab.address, "0.0.0.0"):
            with lab.inside(lab.server_ns), socket.socket() as s:
                s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                try:
                    s.bind((family_address, 6379))
                    s.listen(1)
                    check(False, "Linux gave away our port at", family_address)
                except OSError as e:
                    check("in use" in str(e), e)
        info = nothing_of_linux_came(lab)
        equal([info[n] for n in ("icmp_echo", "arp_in", "arp_out")], ["0"] * 3, "what is Linux's")
        few_without_socket(info)
        check(int(info["neighbours_told"]) > 0, "control told no neighbours")
        equal(len([n for n in busy_queues(info) if n > 100]), 2, "queues with frames: %s" % busy_queues(info))
        lab.no_restart()
        return "ping %d of %d, xdp_taken %s, xdp_passed %s" % (ping.answered, ping.sent, info["xdp_taken"], info["xdp_passed"])


def both_at_work_over_ip6(lab, linux_address):
    echo, done, wrong = Echo(lab, linux_address), threading.Event(), []

    def linux():
        while not wrong and not done.is_set():
            try:
                through_linux(lab, linux_address, echo.port, 300000)
            except Exception as e:
                wrong.append(e)

    t = threading.Thread(target=linux, daemon=True)
    try:
        t.start()
        benchmark(lab, lab.address6)
        done.set()
        t.join(30)
        equal(wrong, [])
        through_linux(lab, linux_address, echo.port, 1 << 20)
    finally:
        done.set()
        echo.close()


@test
def an_interface_with_linux_over_ip6(kind):
    """Linux speaks IPv6 on it too: the link-local address of the card is then Linux's."""
    with Lab(kind, 2, ip6=True) as lab:
        linux = lab.address6.rsplit("::", 1)[0] + "::3"
        run("ip", "netns", "exec", lab.server_ns, "sh", "-c", "echo 0 >/proc/sys/net/ipv6/conf/srv/disable_ipv6")
        run("ip", "-n", lab.server_ns, "addr", "add", linux + "/64", "dev", "srv", "nodad")
        control, dataplane = lab.pids()
        start = again(lab, control)  # the program looks at the start whether Linux speaks it
        os.kill(control, signal.SIGTERM)
        until("both processes are gone", lambda: gone(control) and gone(dataplane), 10)
        p = start()
        try:
            until("it answers over IPv4", lab.answers, 20)

            def answers6():
                with lab.connect(timeout=5, address=lab.address6) as c:
                    return c.call("PING") == b"PONG"
            until("and over IPv6", answers6, 20)
            both_at_work_over_ip6(lab, linux)
            info = lab.info("all")
            equal([info[n] for n in ("drop_tcp_port", "xdp_malformed")], ["0"] * 2)
            few_without_socket(info)
            check(int(info["xdp_passed"]) > 100, "xdp_passed", info["xdp_passed"])
        finally:
            p.terminate()
            p.wait(20)
        equal(program(lab), None)


@test
def an_address_shared_with_linux_over_ip6(kind):
    with Lab(kind, 2, share=True, ip6=True) as lab:
        both_at_work_over_ip6(lab, lab.address6)
        with lab.inside(lab.server_ns), socket.socket(socket.AF_INET6) as s:
            try:
                s.bind((lab.address6, 6379))
                check(False, "Linux gave away our port")
            except OSError as e:
                check("in use" in str(e), e)
        info = lab.info("all")
        equal([info[n] for n in ("drop_tcp_port", "drop_ndp", "ndp_out", "xdp_malformed")], ["0"] * 4)
        few_without_socket(info)
        control, dataplane = lab.pids()
        c = lab.connect(address=lab.address6)
        equal(c.call("PING"), b"PONG")
        os.kill(control, signal.SIGKILL)
        until("control is gone", lambda: gone(control), 5)
        os.kill(dataplane, signal.SIGKILL)
        until("the dataplane is gone", lambda: gone(dataplane), 5)
        equal(closed_by_peer(c), "reset")
        c.close()


@test
def a_client_whose_card_changes(kind):
    """Frames to its old address are lost; Linux learns the new one by ARP, we from Linux."""
    with Lab(kind, share=True) as lab:
        with lab.connect() as c:
            value = os.urandom(1 << 20)
            equal(c.call("SET", "a", value), b"OK")
            told = int(lab.info("dataplane")["neighbours_told"])
            c.send("DEBUG", "SLEEP", "0")
            c.read()
            run("ip", "-n", lab.client_ns, "link", "set", "dev", "cli", "address", "02:00:5e:00:53:01")
            check(c.call("GET", "a") == value, "1 MB came back different")
            until("control tells of it", lambda: int(lab.info("dataplane")["neighbours_told"]) > told, 10)
        check(lab.answers(), "a new client")
        lab.no_restart()
        return "asked %(neighbours_asked)s, told %(neighbours_told)s" % lab.info("dataplane")


@test
def a_port_that_linux_uses_is_refused(kind):
    with Lab(kind, share=True) as lab:
        control, dataplane = lab.pids()
        start = again(lab, control)
        os.kill(control, signal.SIGTERM)
        until("both processes are gone", lambda: gone(control) and gone(dataplane), 10)
        equal(program(lab), None, "the XDP program after a clean stop")
        for family_address in (lab.address, "0.0.0.0"):
            with lab.inside(lab.server_ns), socket.socket() as s:
                s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                s.bind((family_address, 6379))
                s.listen(1)
                p = start()
                check(p.wait(20) != 0, "it started on a port that Linux listens on")
            text = (lab.state / "log2").read_text()
            check("Linux itself uses port 6379" in text, text)
            equal(program(lab), None, "the XDP program after a refused start")
        run("ip", "-n", lab.server_ns, "addr", "flush", "dev", "srv")
        p = start()
        check(p.wait(20) != 0 and "is not Linux's address" in (lab.state / "log2").read_text(), (lab.state / "log2").read_text())
        run("ip", "-n", lab.server_ns, "addr", "add", lab.address + "/24", "dev", "srv")
        p = start()
        try:
            until("it answers", lab.answers, 20)
        finally:
            p.terminate()
            p.wait(20)
        equal(program(lab), None, "the XDP program after a clean stop")
        equal(left_behind(lab), [])


class Wire:
    """Frames by hand on the client's end; a tag is part of them. This works without VLAN devices in the kernel."""

    SOL_PACKET, PACKET_AUXDATA = 263, 8

    def __init__(self, lab, server_mac):
        with lab.inside():
            self.sock = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
            self.sock.bind(("cli", 3))
        self.sock.setsockopt(self.SOL_PACKET, self.PACKET_AUXDATA, 1)
        self.mac, self.server_mac = self.sock.getsockname()[4], server_mac
        self.theirs = socket.inet_aton(lab.address)
        self.ours = self.theirs[:3] + b"\x63"

    def send(self, vlan, kind, payload):
        tag = b"" if vlan is None else struct.pack("!HH", 0x8100, vlan)
        self.sock.send(self.server_mac + self.mac + tag + struct.pack("!H", kind) + payload)

    def answer(self, matches, seconds):
        """The tag (None: untagged) of the first frame from the server that matches; False: there was none."""
        deadline = time.monotonic() + seconds
        while (left := deadline - time.monotonic()) > 0:
            self.sock.settimeout(left)
            try:
                frame, extra, _, _ = self.sock.recvmsg(2048, 256)
            except TimeoutError:
                break
            if frame[6:12] == self.server_mac and matches(frame):
                tci = struct.unpack_from("=IIIHHHH", extra[0][2])[5]
                return tci & 0xfff or None
        return False

    def arp(self, vlan, seconds):
        self.send(vlan, 0x0806, struct.pack("!HHBBH", 1, 0x0800, 6, 4, 1) + self.mac + self.ours + bytes(6) + self.theirs)
        return self.answer(lambda f: f[12:14] == b"\x08\x06" and f[20:22] == b"\x00\x02", seconds)

    def syn(self, vlan, seconds):
        port = struct.pack("!H", 40000 + (vlan or 0))
        tcp = port + struct.pack("!HIIBBHHH", 6379, 1, 0, 0x50, 2, 1000, 0, 0)
        tcp = tcp[:16] + struct.pack("!H", checksum(self.ours + self.theirs + struct.pack("!HH", 6, 20) + tcp)) + tcp[18:]
        ip = struct.pack("!BBHHHBBH", 0x45, 0, 40, 0, 0x4000, 64, 6, 0) + self.ours + self.theirs
        self.send(vlan, 0x0800, ip[:10] + struct.pack("!H", checksum(ip)) + ip[12:] + tcp)
        return self.answer(lambda f: f[12:14] == b"\x08\x00" and f[23] == 6 and f[36:38] == port and f[47] == 0x12, seconds)


@test
def a_vlan_beside_linux(kind):
    """Ours are the frames with tag 7; untagged ones are Linux's, with whatever address."""
    with Lab(kind, 2) as lab:
        control, dataplane = lab.pids()
        argv = open("/proc/%d/cmdline" % control).read().split("\0")[1:-1] + ["--net-vlan", "7"]
        os.kill(control, signal.SIGTERM)
        until("both processes are gone", lambda: gone(control) and gone(dataplane), 10)
        mac = bytes.fromhex(re.search(r"link/ether (\S+)", run("ip", "-n", lab.server_ns, "link", "show", "srv"))[1].replace(":", ""))
        run("ip", "-n", lab.client_ns, "addr", "add", "192.0.2.1/24", "dev", "cli")
        run("ip", "-n", lab.server_ns, "addr", "add", "192.0.2.2/24", "dev", "srv")
        with open(lab.state / "log2", "w") as log:
            p = subprocess.Popen(["ip", "netns", "exec", lab.server_ns, BAREWIRE, "run", *argv], stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        try:
            wire = Wire(lab, mac)
            equal(until("ARP is answered in the VLAN", lambda: wire.arp(7, 0.2), 20), 7, "the tag of the answer")
            equal(wire.syn(7, 5), 7, "the tag of the SYN-ACK")
            for other in (None, 8):
                equal(wire.arp(other, 0.3), False, "ARP with tag %s" % other)
                equal(wire.syn(other, 0.3), False, "SYN with tag %s" % other)
            echo = Echo(lab, "192.0.2.2")
            through_linux(lab, "192.0.2.2", echo.port, 4 << 20)
            echo.close()
            until("the counters are told", lambda: int(lab.info("dataplane")["xdp_passed"]) > 100, 5)
            nothing_of_linux_came(lab)
        finally:
            p.terminate()
            p.wait(20)
        equal(program(lab), None)


def closed_by_peer(c):
    """How a connection ends that is used again."""
    try:
        c.send("PING")
        c.sock.settimeout(10)
        return "silence" if c.sock.recv(100) == b"" else "an answer"
    except ConnectionResetError:
        return "reset"


@test
def kill_of_both(kind):
    """Packets fall through to Linux, which resets the clients; the program that is left is replaced by the next start."""
    with Lab(kind, 2, share=True) as lab:
        control, dataplane = lab.pids()
        start = again(lab, control)
        first = program(lab)
        c = lab.connect()
        equal(c.call("SET", "a", "1"), b"OK")
        os.kill(control, signal.SIGKILL)
        until("control is gone", lambda: gone(control), 5)
        equal(c.call("GET", "a"), b"1")
        os.kill(dataplane, signal.SIGKILL)
        until("the dataplane is gone", lambda: gone(dataplane), 5)
        equal(program(lab), first, "the program outlives its process")
        equal(closed_by_peer(c), "reset")
        c.close()
        try:
            lab.connect(timeout=5)
            check(False, "a client was accepted by nobody")
        except ConnectionRefusedError:
            pass
        with Ping(lab, lab.address) as ping:
            until("Linux answers ping", lambda: ping.answered > 2, 5)
        p = start()
        try:
            until("a new dataplane answers", lab.answers, 20)
            second = program(lab)
            equal(second[1], "barewire_steer")
            check(second[0] != first[0], "the left-over program is still there")
            benchmark(lab)
            few_without_socket(lab.info("dataplane"))
        finally:
            p.terminate()
            p.wait(20)
        equal(program(lab), None, "the XDP program after a clean stop")
        equal(left_behind(lab), [])


@test
def kill_of_the_dataplane_alone(kind):
    """Control starts it again; clients hear a reset in between, not silence."""
    with Lab(kind, 2, share=True) as lab:
        _, dataplane = lab.pids()
        c = lab.connect()
        equal(c.call("SET", "a", "1"), b"OK")
        first = program(lab)
        os.kill(dataplane, signal.SIGKILL)
        equal(closed_by_peer(c), "reset")
        c.close()
        until("a new dataplane answers", lambda: lab.pids()[1] not in (None, dataplane) and lab.answers(), 30)
        check(program(lab)[0] != first[0], "the left-over program is still there")
        both_at_work(lab, lab.address)
        equal(lab.info("dataplane")["dataplane_starts"], "2")


@test
def a_clean_stop_leaves_no_program(kind):
    for workers in (1, 3):
        with Lab(kind, workers) as lab:
            control, dataplane = lab.pids()
            equal(program(lab)[1], "barewire_steer")
            os.kill(control, signal.SIGTERM)
            until("both processes are gone", lambda: gone(control) and gone(dataplane), 10)
            equal(program(lab), None)
            equal(left_behind(lab), [])


@test
def a_program_of_somebody_else_stays(kind):
    """Only ours is taken off at the end, although the driver takes off whatever it finds."""
    other = BUILD / "dataplane" / "bpf" / "steer.bpf.o"
    with Lab(kind) as lab:
        control, dataplane = lab.pids()
        run("ip", "-force", "-n", lab.server_ns, "link", "set", "dev", "srv", "xdpdrv", "obj", other, "sec", "xdp")
        theirs = program(lab)
        os.kill(control, signal.SIGTERM)
        until("both processes are gone", lambda: gone(control) and gone(dataplane), 10)
        equal(program(lab), theirs)


def syns(lab, count):
    """Starts so many connections at once; returns how many are open after a moment."""
    with lab.inside():
        socks = [socket.socket() for _ in range(count)]
    for s in socks:
        s.setblocking(False)
        s.connect_ex((lab.address, 6379))
    poll = select.poll()
    for s in socks:
        poll.register(s, select.POLLOUT)
    opened, deadline = set(), time.monotonic() + 0.5
    while time.monotonic() < deadline and len(opened) < count:
        opened |= {fd for fd, events in poll.poll(100) if events == select.POLLOUT}
    for s in socks:
        s.close()
    return len(opened)


@test
def syn_limit(kind):
    with Lab(kind, 2) as lab, lab.connect() as c, lab.connect_door() as d:
        def dropped():
            return int(lab.info("dataplane")["xdp_drop_syn_limit"])
        equal(syns(lab, 100), 100, "without a limit")
        equal(d.call("CONFIG", "SET", "net-syn-limit", "10"), b"OK")
        start = time.monotonic()
        until("the limit is set", lambda: syns(lab, 40) < 40, 10, pause=0.2)
        until("the counter tells of it", lambda: dropped() >= 10, 5)
        equal(c.call("SET", "a", "1"), b"OK", "an established client")
        before = dropped()
        through = syns(lab, 100)
        check(through <= 10 + 10 * 2 * (time.monotonic() - start), "%d of 100 came through" % through)
        until("the counter tells of these", lambda: dropped() >= before + 50, 5)
        check(until("a new client is let in as time passes", lab.answers, 20))
        equal(d.call("CONFIG", "SET", "net-syn-limit", "0"), b"OK")
        until("no limit any more", lambda: syns(lab, 100) == 100, 10)
        is_error(d.call("CONFIG", "SET", "net-syn-limit", "-1"), "net-syn-limit")
        equal(d.call("CONFIG", "RESETSTAT"), b"OK")
        equal(dropped(), 0, "after RESETSTAT")
        lab.no_restart()


@test
def net_allow_in_xdp(kind):
    with Lab(kind, 2) as lab, lab.connect_door() as d:
        def drops():
            i = lab.info("all")
            return int(i["xdp_drop_net_allow"]), int(i["drop_net_allow"])
        equal(d.call("CONFIG", "SET", "net-allow", "192.0.2.0/24 198.51.100.7"), b"OK")
        until("the XDP program has the list", lambda: syns(lab, 1) == 0 and drops()[0] > 0, 10)
        before = drops()
        equal(syns(lab, 20), 0)
        until("the XDP program counts them", lambda: drops()[0] >= before[0] + 20, 5)
        equal(drops()[1], before[1], "frames that reached the dataplane")
        with Ping(lab, lab.address) as ping:
            until("it is asked", lambda: ping.sent >= 2, 10)
        equal(ping.answered, 0, "echo replies to a source outside net-allow")
        equal(d.call("CONFIG", "SET", "net-allow", lab.address + "/24"), b"OK")
        until("the new list counts", lab.answers, 10)
        equal(d.call("CONFIG", "SET", "net-allow", ""), b"OK")
        check(until("everyone is allowed", lab.answers, 10))
        lab.no_restart()
