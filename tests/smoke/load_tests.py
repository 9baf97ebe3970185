"""What wears a server out: floods of SYNs, thousands of clients that never read or send an octet at a time, a pool with no buffer left.
Each test starts its own lab. Counts decide; times are printed, because the machine is shared."""

import contextlib
import multiprocessing
import os
import resource
import selectors
import signal
import socket
import subprocess
import time

from lab import Client, Lab, check, equal, until
from share_tests import Ping

TESTS = []  # name, function(kind), kinds


def test(function):
    TESTS.append((function.__name__.replace("_", " "), function, ("af_xdp",)))
    return function


def many_files():
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(max(soft, 16384), hard), hard))


class Regulars:
    """Clients in a process of their own, open before the trouble begins. measure(n): n round trips, one after the other over all of them;
    each has to be answered, rightly, within ten seconds."""

    def __init__(self, lab, count=20):
        self.clients = [lab.connect(timeout=10) for _ in range(count)]
        self.here, there = multiprocessing.Pipe()
        self.pid = os.fork()
        if not self.pid:
            try:
                signal.signal(signal.SIGTERM, signal.SIG_DFL)
                self.here.close()
                self.work(there)
            finally:
                os._exit(0)
        there.close()
        for c in self.clients:
            c.close()

    def work(self, there):
        with contextlib.suppress(EOFError):
            while count := there.recv():
                try:
                    there.send(self.round_trips(count))
                except Exception as e:
                    there.send("%s: %s" % (type(e).__name__, e))

    def round_trips(self, count):
        took, requests = [], [Client.encode(["ECHO", "regular %d" % i]) for i in range(len(self.clients))]
        for n in range(count):
            i = n % len(self.clients)
            start = time.monotonic()
            self.clients[i].sock.sendall(requests[i])
            got = self.clients[i].read()
            took.append((time.monotonic() - start) * 1e6)
            equal(got, b"regular %d" % i)
        took.sort()
        return {"p50": took[count // 2], "p99": took[count * 99 // 100], "most": took[-1]}

    def start(self, count):
        self.here.send(count)

    def busy(self):
        return not self.here.poll()

    def result(self):
        check(self.here.poll(120), "the regular clients are stuck")
        got = self.here.recv()
        check(isinstance(got, dict), "a regular client:", got)
        return got

    def measure(self, count):
        self.start(count)
        return self.result()

    def __enter__(self):
        return self

    def __exit__(self, *args):
        self.here.close()
        os.kill(self.pid, signal.SIGTERM)
        os.waitpid(self.pid, 0)


def times(idle, loaded, elsewhere=None):
    """elsewhere: while the same flood went to another address: what its own process takes from a machine with few cores."""
    more = "" if elsewhere is None else "; %.0f us while the flood went elsewhere, %.1f times" % (elsewhere["p99"], loaded["p99"] / elsewhere["p99"])
    return "regular clients' p50 %.0f us (idle %.0f), p99 %.0f us (idle %.0f, %.1f times%s)" % (
        loaded["p50"], idle["p50"], loaded["p99"], idle["p99"], loaded["p99"] / idle["p99"], more)


GAUGES = ("tcp_conns", "mbufs_in_use", "connected_clients", "tcp_parked_bytes")


def gauges(lab):
    info = lab.info("all")
    return {n: int(info[n]) for n in GAUGES}


def back_to(lab, before, seconds=20):
    """Until the gauges are what they were; returns the seconds that it took."""
    start = time.monotonic()
    until("back to %s" % before, lambda: gauges(lab) == before or check(time.monotonic() < start + seconds, "after %d s: %s instead of %s" % (
        seconds, gauges(lab), before)), seconds + 5)
    return time.monotonic() - start


class Flood:
    """hping3 in the clients' namespace: 1000000/us SYNs a second at most, less on a busy machine. address: of another target."""

    def __init__(self, lab, us, *source, address=None):
        self.argv = ["ip", "netns", "exec", lab.client_ns, "hping3", "-q", "-S", "-p", "6379", "-i", "u%d" % us, *source, address or lab.address]

    def __enter__(self):
        self.process = subprocess.Popen(self.argv, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        self.start = time.monotonic()
        return self

    def __exit__(self, *args):
        if self.process.poll() is None:
            self.process.terminate()
        self.process.wait()


def newcomers(lab, tried=500):
    """New clients, one after the other: how many were answered."""
    answered = 0
    for _ in range(tried):
        try:
            with lab.connect(timeout=5) as c:
                answered += c.call("PING") == b"PONG"
        except OSError:
            pass
    return answered


def few_syn_ack_repeats(lab):
    """Half-open connections leave after three seconds instead of a minute, so that the test sees them go; strangers' addresses lie behind
    the client."""
    return ["--tcp-rto-max-ms", "500", "--net-gateway", lab.client_addresses[0]]


@test
def syn_flood(kind):
    """Cookies: strangers' SYNs take no memory and nobody else's place."""
    with Lab(kind, 1, options=few_syn_ack_repeats) as lab:
        before = gauges(lab)
        with Regulars(lab) as regulars:
            idle = regulars.measure(10000)
            with Flood(lab, 50, "--rand-source", address="127.0.0.1"):
                elsewhere = regulars.measure(10000)
            with Flood(lab, 50, "--rand-source"):
                until("the backlog is full", lambda: int(lab.info("all")["tcp_syncookies_sent"]) > 2000)
                first, start = lab.info("all"), time.monotonic()
                loaded, tried = regulars.measure(10000), 500
                answered = newcomers(lab, tried)
                last, took = lab.info("all"), time.monotonic() - start
        sent, valid = (int(last[n]) - int(first[n]) for n in ("tcp_syncookies_sent", "tcp_syncookies_recv"))
        check(answered >= 0.95 * tried, "%d of %d new clients were answered" % (answered, tried))
        check(sent > 500, "cookies sent", sent)
        check(valid >= answered // 2, "cookies that came back: %d of %d new clients" % (valid, answered))
        check(int(last["tcp_conns"]) < 511 + 100, "connections under the flood", last["tcp_conns"])
        gone = back_to(lab, before)
        lab.no_restart()
        return "%d of %d new clients answered, %.0f cookies/s sent, %d came back, half-open ones gone after %.1f s; %s" % (
            answered, tried, sent / took, valid, gone, times(idle, loaded, elsewhere))


@test
def syn_flood_of_one_source(kind):
    """net-syn-limit: the XDP program drops what one address sends too often; the dataplane and all others do not see it."""
    limit = 1000
    with Lab(kind, 1, options=few_syn_ack_repeats) as lab:
        before = gauges(lab)
        source = lab.address.rsplit(".", 1)[0] + ".77"
        with lab.connect_door() as d:
            equal(d.call("CONFIG", "SET", "net-syn-limit", str(limit)), b"OK")
        with Regulars(lab) as regulars:
            idle = regulars.measure(10000)
            with Flood(lab, 50, "-a", source):
                until("the limit is met", lambda: int(lab.info("all")["xdp_drop_syn_limit"]) > 1000)
                first, start = lab.info("all"), time.monotonic()
                loaded, tried = regulars.measure(10000), 500
                answered = newcomers(lab, tried)
                last, took = lab.info("all"), time.monotonic() - start
        dropped, cookies = (int(last[n]) - int(first[n]) for n in ("xdp_drop_syn_limit", "tcp_syncookies_sent"))
        check(answered >= 0.95 * tried, "%d of %d new clients were answered" % (answered, tried))
        check(dropped > 1000, "dropped", dropped)
        check(cookies <= limit * (took + 2) + tried, "%d cookies in %.1f s" % (cookies, took))
        back_to(lab, before)
        lab.no_restart()
        return "%d of %d new clients answered, %.0f SYNs/s dropped; %s" % (answered, tried, dropped / took, times(idle, loaded))


class Crowd:
    """Sockets in the clients' namespace with small receive buffers."""

    def __init__(self, lab, count):
        self.socks, poll = [], selectors.DefaultSelector()
        with lab.inside():
            for _ in range(count):
                s = socket.socket()
                s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
                s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                s.setblocking(False)
                s.connect_ex((lab.address, 6379))
                self.socks.append(s)
                poll.register(s, selectors.EVENT_WRITE)
        deadline, left = time.monotonic() + 30, count
        while left:
            check(time.monotonic() < deadline, left, "of", count, "connections did not open")
            for key, _ in poll.select(1):
                equal(key.fileobj.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR), 0, "connect")
                poll.unregister(key.fileobj)
                left -= 1
        poll.close()

    def __enter__(self):
        return self

    def __exit__(self, *args):
        for s in self.socks:
            s.close()


def rss(lab):
    """Resident bytes of the dataplane."""
    with open("/proc/%d/statm" % lab.pids()[1]) as f:
        return int(f.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


@test
def thousands_that_never_read(kind):
    """2,000 clients ask for 192 KiB each and never read, 500 send an octet at a time: others are served, memory stays within its cap,
    and when they are gone all is as it was."""
    silent, slow, value, heap_cap = 2000, 500, 64 << 10, 128 << 20
    owed = silent * 3 * value  # replies of clients that read nothing wait on the heap: Redis's rule, without client-output-buffer-limit
    many_files()
    with Lab(kind, 1) as lab:
        with lab.connect() as c:
            equal(c.call("SET", "big", os.urandom(value)), b"OK")
        until("nobody is there", lambda: gauges(lab)["connected_clients"] == 1)
        before, resident = gauges(lab), rss(lab)
        with Regulars(lab) as regulars:
            idle = regulars.measure(10000)
            with Crowd(lab, silent) as readers, Crowd(lab, slow) as writers:
                for s in readers.socks:
                    s.send(Client.encode(["GET", "big"]) * 3)
                until("the silent have all they take", lambda: gauges(lab)["connected_clients"] == silent + slow + len(regulars.clients) + 1)
                regulars.start(10000)
                requests = [Client.encode(["SET", "slow:%d" % i, "x" * 20]) for i in range(slow)]
                most = dict.fromkeys(GAUGES, 0)
                for at in range(max(map(len, requests))):
                    for i, s in enumerate(writers.socks):
                        s.send(requests[i][at:at + 1])
                    if at % 8 == 0:
                        most = {k: max(v, most[k]) for k, v in gauges(lab).items()}
                loaded = regulars.result()
                for i, s in enumerate(writers.socks):
                    s.setblocking(True)
                    s.settimeout(10)
                    equal(s.recv(100), b"+OK\r\n", "slow client %d" % i)
                info, grown = lab.info("all"), rss(lab) - resident
                tried, answered = 0, 0
                for _ in range(50):
                    tried += 1
                    answered += lab.answers()
        check(int(info["mbufs_in_use"]) <= int(info["mbufs_total"]), "mbufs_in_use", info["mbufs_in_use"])
        check(most["tcp_parked_bytes"] <= heap_cap, "parked bytes", most["tcp_parked_bytes"])
        check(grown < owed + heap_cap + (64 << 20), "the dataplane grew by", grown)
        equal(answered, tried, "new clients answered")
        gone = back_to(lab, before)
        lab.no_restart()
        return "mbufs in use at most %d of %s, parked at most %.1f MB, the dataplane grew by %.0f MB (%.0f are replies that nobody reads), all back %.2f s after they left; %s" % (
            most["mbufs_in_use"], info["mbufs_total"], most["tcp_parked_bytes"] / 1e6, grown / 1e6, owed / 1e6, gone, times(idle, loaded))


class Arp:
    """ARP requests by hand from a host that nobody knows; one() is true when the answer came."""

    def __init__(self, lab):
        with lab.inside():
            self.sock = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(0x0806))
            self.sock.bind(("cli", 0x0806))
        self.sock.settimeout(2)
        self.mac, theirs = self.sock.getsockname()[4], socket.inet_aton(lab.address)
        self.theirs = theirs
        self.frame = b"\xff" * 6 + self.mac + b"\x08\x06\0\x01\x08\0\x06\x04\0\x01" + self.mac + theirs[:3] + b"\x63" + bytes(6) + theirs

    def one(self):
        self.sock.send(self.frame)
        deadline = time.monotonic() + 2
        while time.monotonic() < deadline:
            try:
                frame = self.sock.recv(2048)
            except TimeoutError:
                return False
            if frame[20:22] == b"\0\x02" and frame[28:32] == self.theirs and frame[38:42] == self.frame[28:32]:
                return True
        return False


@test
def a_pool_with_nothing_left(kind):
    """A small pool and clients that are owed a hundred times of it: ARP, ping, the door and who reads are answered; a second after they left all is as it was."""
    crowd, value, pool = 600, 64 << 10, 1024
    many_files()
    with Lab(kind, 1, options=["--mbufs", str(pool)]) as lab, lab.connect_door() as door:
        with lab.connect() as c:
            equal(c.call("SET", "big", os.urandom(value)), b"OK")
        until("only the door's clients are there", lambda: gauges(lab)["connected_clients"] == 2)
        before = gauges(lab)
        arp, ping, asked, most, again = Arp(lab), Ping(lab, lab.address), 0, 0, [0]

        def answered(ask):
            """A frame may be lost before the dataplane, where the kernel's queues are short: asked three times at most."""
            for _ in range(3):
                if ask():
                    return True
                again[0] += 1
            return False

        def empty_or_once_more():
            """It may only have been short, by how acknowledgements came: then a further crowd asks, beside the first."""
            if int(lab.info("all")["pool_exhausted"]) > 0:
                return True
            with Crowd(lab, crowd // 4) as more:
                for s in more.socks:
                    s.send(Client.encode(["GET", "big"]) * 4)
                return int(lab.info("all")["pool_exhausted"]) > 0

        with Regulars(lab, 4) as regulars:
            with Crowd(lab, crowd) as readers:
                for s in readers.socks:
                    s.send(Client.encode(["GET", "big"]) * 4)
                until("the pool is short", lambda: int(lab.info("all")["tcp_memory_pressures"]) > 0)
                regulars.start(400)
                while asked < 40 or regulars.busy():
                    asked += 1
                    check(answered(arp.one), "ARP is not answered, request", asked)
                    check(answered(ping.once), "ping is not answered, request", asked)
                    equal(door.call("PING"), b"PONG", "the door")
                    info = lab.info("all")
                    most = max(most, int(info["mbufs_in_use"]) / pool)
                regulars.result()
                until("the pool was empty", empty_or_once_more)
            info = lab.info("all")
            start = time.monotonic()
            check(lab.answers(), "a new client, after the load")
            served = time.monotonic() - start
        ping.sock.close()
        arp.sock.close()
        gone = back_to(lab, before)
        lab.no_restart()
        return "%d times ARP, ping, the door (%d asked again); pool at most %.0f %% full, %s buffers refused, %s segments parked; a new client after the load %.3f s, all back after %.2f s" % (
            asked, again[0], most * 100, info["pool_exhausted"], info["tcp_parked_segs"], served, gone)
