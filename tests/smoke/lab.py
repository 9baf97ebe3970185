"""A lab (scripts/lab) from Python, the clients' namespace for sockets of this process, and a small RESP client."""

import contextlib
import ctypes
import hashlib
import os
import pathlib
import socket
import subprocess
import threading
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
SCRIPT = str(ROOT / "scripts" / "lab")
BUILD = pathlib.Path(os.environ.get("BAREWIRE_BUILD", ROOT / "build"))
BAREWIRE = str(BUILD / "control" / "barewire")
CLONE_NEWNET = 0x40000000
libc = ctypes.CDLL(None, use_errno=True)
names = iter(range(1, 1 << 30))


class Failure(AssertionError):
    """What a test found wrong."""


def check(condition, *what):
    if not condition:
        raise Failure(" ".join(str(w) for w in what))


def equal(got, want, what=""):
    if got != want:
        raise Failure("%s: %.300r instead of %.300r" % (what or "wrong", got, want))


def until(what, probe, seconds=20, pause=0.02):
    """Asks probe() until it says something true; returns that. An OSError of the probe is a no."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            seen = probe()
        except OSError as e:
            seen, error = None, e
        else:
            error = seen
        if seen:
            return seen
        if time.monotonic() > deadline:
            raise Failure("within %d s not: %s (last: %r)" % (seconds, what, error))
        time.sleep(pause)


def run(*argv, timeout=60, input=None, ok=True):
    """A program's output, both streams; its exit status has to be 0 unless ok=False, which returns (status, output)."""
    p = subprocess.run([str(a) for a in argv], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=timeout, input=input,
                       stdin=None if input is not None else subprocess.DEVNULL)
    text = p.stdout.decode("utf-8", "replace")
    if not ok:
        return p.returncode, text
    check(p.returncode == 0, argv[0], "ended with", p.returncode, text[-2000:])
    return text


class Error(Exception):
    """An error reply."""


class Client:
    """One connection. Replies: bytes, int, None, list, or Error (returned, not raised)."""

    def __init__(self, sock):
        self.sock = sock
        self.file = sock.makefile("rb", buffering=1 << 16)

    def close(self):
        self.file.close()
        self.sock.close()

    def __enter__(self):
        return self

    def __exit__(self, *args):
        self.close()

    @staticmethod
    def encode(argv):
        argv = [a if isinstance(a, bytes) else str(a).encode() for a in argv]
        return b"*%d\r\n" % len(argv) + b"".join(b"$%d\r\n%s\r\n" % (len(a), a) for a in argv)

    def send(self, *argv):
        self.sock.sendall(self.encode(argv))

    def read(self):
        line = self.file.readline()
        if not line.endswith(b"\r\n"):
            raise ConnectionError("closed by the server after %r" % line)
        kind, rest = line[:1], line[1:-2]
        if kind == b"+":
            return rest
        if kind == b"-":
            return Error(rest.decode("latin-1"))
        if kind == b":":
            return int(rest)
        if kind == b"$":
            if rest == b"-1":
                return None
            data = self.file.read(int(rest) + 2)
            if len(data) != int(rest) + 2 or data[-2:] != b"\r\n":
                raise ConnectionError("closed by the server inside a bulk string")
            return data[:-2]
        if kind == b"*":
            return None if rest == b"-1" else [self.read() for _ in range(int(rest))]
        raise ConnectionError("not RESP2: %r" % line[:80])

    def call(self, *argv):
        self.send(*argv)
        return self.read()

    def info(self, *sections):
        text = self.call("INFO", *sections)
        check(isinstance(text, bytes), "INFO answered", text)
        return dict(l.split(":", 1) for l in text.decode().split("\r\n") if ":" in l)


class Lab:
    @property
    def client_addresses(self):
        """Of the clients' end: what scripts/lib-net.sh makes of the name; for options, which the lab needs before it is up."""
        h = hashlib.sha256(self.name.encode()).hexdigest()
        return "10.%d.%d.1" % (int(h[:2], 16), int(h[2:4], 16)), "fd%s:%x:%x::1" % (h[:2], int(h[2:6], 16), int(h[6:10], 16))

    def __init__(self, kind="af_xdp", workers=1, relay=None, options=(), mtu=None, share=False, ip6=False):
        self.name = "smoke-%d-%d" % (os.getpid(), next(names))
        self.kind, self.workers, self.relayed = kind, workers, relay is not None
        argv = ["up", "--port", kind, "--workers", str(workers)]
        if mtu:
            argv += ["--mtu", str(mtu)]
        if share:
            argv += ["--share", "yes"]
        if ip6:
            argv += ["--ip6"]
        if relay is not None:
            argv += ["--relay", relay or "--seed 1"]
        self.options = [str(o) for o in (options(self) if callable(options) else options)]
        self.up = False
        try:
            self.lab(*argv, "--", *self.options)
            self.up = True
        finally:
            if not self.up:
                run(SCRIPT, "down", "--name", self.name, ok=False)
        self.address = self.lab("address").strip()
        self.door = self.lab("socket").strip()
        self.state = pathlib.Path(self.door).parent
        self.client_ns = "bw-%s-c" % self.name
        state = dict(l.split("=", 1) for l in (self.state / "state").read_text().splitlines())
        self.server_ns, self.address6 = state["namespace"], state.get("address6")

    def lab(self, word, *rest, **kw):
        return run(SCRIPT, word, "--name", self.name, *rest, **kw)

    def down(self):
        if self.up:
            self.lab("down")
            self.up = False

    def __enter__(self):
        return self

    def __exit__(self, *args):
        self.down()

    def log(self):
        return (self.state / "log").read_text(errors="replace")

    def pids(self):
        """Control's process id and the dataplane's (None while there is none)."""
        words = [int(w) for w in self.lab("pids").split()]
        return words[0], words[1] if len(words) > 1 else None

    @contextlib.contextmanager
    def inside(self, namespace=None):
        """Sockets made in here, also by threads started in here, are in the clients' namespace, or in the one named."""
        with open("/proc/self/task/%d/ns/net" % threading.get_native_id()) as home, open("/run/netns/" + (namespace or self.client_ns)) as away:
            if libc.setns(away.fileno(), CLONE_NEWNET):
                raise OSError(ctypes.get_errno(), "setns")
            try:
                yield
            finally:
                check(libc.setns(home.fileno(), CLONE_NEWNET) == 0, "setns home failed")

    def connect(self, timeout=30, port=6379, address=None):
        with self.inside():
            s = socket.create_connection((address or self.address, port), timeout)
        s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return Client(s)

    def connect_door(self, timeout=30):
        s = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        s.settimeout(timeout)
        s.connect(self.door)
        return Client(s)

    def exec(self, *argv, **kw):
        return run("ip", "netns", "exec", self.client_ns, *argv, **kw)

    def cli(self, *words, **kw):
        return self.exec("redis-cli", "-h", self.address, *words, **kw)

    def info(self, *sections):
        with self.connect_door() as c:
            return c.info(*sections)

    def answers(self):
        with self.connect(timeout=5) as c:
            return c.call("PING") == b"PONG"

    def no_restart(self):
        """The dataplane that serves now is the first one."""
        equal(self.info("dataplane")["dataplane_starts"], "1", "dataplane_starts")
