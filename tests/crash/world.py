"""A small world that can be cut off from power: a disk, a network and a server in namespaces of their own, which the kernel takes back however the test ends.

    world.enter()                 this process goes on inside: its own processes, mounts, network, /dev/shm and /run
    disk = world.Disk()           ext4 on a loop device, mounted; .cut() is the end of power for it, .remount() its return
    server = world.Server(disk)   control and dataplane on a TAP; clients are sockets of this process

The disk's image lies in memory, so no test waits for the machine's own disk."""

import ctypes
import fcntl
import os
import pathlib
import signal
import socket
import struct
import subprocess
import sys
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests" / "smoke"))
from lab import Client, Error, Failure, check, run, until  # noqa: E402,F401

BUILD = pathlib.Path(os.environ.get("BAREWIRE_BUILD", ROOT / "build"))
SHIM = BUILD / "tests" / "crash" / "barewire-shim.so"
DEADLINE_S = 120
libc = ctypes.CDLL(None, use_errno=True)
CLONE_NEWNS, CLONE_NEWPID, CLONE_NEWNET, PR_SET_PDEATHSIG, MS_PRIVATE_REC = 0x20000, 0x20000000, 0x40000000, 1, 0x44000
FS_IOC_SHUTDOWN, NOLOGFLUSH = 0x8004587D, 2


def enter():
    """Forks; only the child returns, as process 1 of a world without anybody else. The parent ends as it does."""
    if libc.unshare(CLONE_NEWNS | CLONE_NEWPID | CLONE_NEWNET):
        raise OSError(ctypes.get_errno(), "unshare (root is needed)")
    child = os.fork()
    if child:
        for s in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(s, lambda *_: os.kill(child, signal.SIGKILL))
        status = os.waitpid(child, 0)[1]
        os._exit(os.waitstatus_to_exitcode(status) if os.WIFEXITED(status) else 1)
    libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    libc.mount(b"none", b"/", None, MS_PRIVATE_REC, None)
    for kind, place in (("proc", "/proc"), ("tmpfs", "/dev/shm"), ("tmpfs", "/run")):
        run("mount", "-t", kind, "none", place)
    run("bash", "-c", "self=crash; . %s/scripts/lib-net.sh; net_names crash; ip link set lo up; make_tap - cli 1500" % ROOT)


def server_address():
    return run("bash", "-c", ". %s/scripts/lib-net.sh; net_names crash; echo $server_address" % ROOT).strip()


class Disk:
    """One ext4. What was not fsynced before cut() may be gone behind it; the journal of the filesystem is not flushed either."""

    count = 0

    def __init__(self, megabytes=256):
        Disk.count += 1
        self.image = "/dev/shm/disk-%d" % Disk.count
        self.path = "/run/disk-%d" % Disk.count
        with open(self.image, "wb") as f:
            f.truncate(megabytes << 20)
        run("mkfs.ext4", "-q", "-F", self.image)
        os.mkdir(self.path)
        run("mount", "-o", "loop", self.image, self.path)

    def cut(self):
        """Returns when the power began to be off. An fsync that is under way then may still succeed, for data that nobody will see again (so Linux 6.18)."""
        at = time.monotonic()
        fd = os.open(self.path, os.O_RDONLY | os.O_DIRECTORY)
        try:
            fcntl.ioctl(fd, FS_IOC_SHUTDOWN, struct.pack("I", NOLOGFLUSH))
        finally:
            os.close(fd)
        return at

    def unmount(self):
        until("unmounted", lambda: run("umount", self.path, ok=False)[0] == 0, DEADLINE_S)

    def remount(self):
        self.unmount()
        run("mount", "-o", "loop", self.image, self.path)

    def gone(self):
        self.unmount()
        os.unlink(self.image)


def is_running(pid):
    try:
        with open("/proc/%d/stat" % pid) as f:
            return f.read().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


def wait_gone(pid):
    """All threads of a process that was killed; we are process 1, which orphans are left to."""
    def over():
        try:
            os.waitpid(pid, os.WNOHANG)
        except ChildProcessError:
            pass
        return not os.path.exists("/proc/%d" % pid)
    until("process %d is gone" % pid, over, DEADLINE_S)


class Server:
    def __init__(self, disk, *options, workers=2, shim=None, shim_log=None, env=None, conf=None):
        self.disk, self.workers, self.options, self.env, self.conf = disk, workers, list(options), env or {}, conf
        self.address = server_address()
        self.log = "/run/server.log"
        self.start(shim, shim_log)

    def start(self, shim=None, shim_log=None, shim_from=None):
        """Control, which starts the dataplane or finds the one that runs."""
        env = dict(os.environ, BAREWIRE_DATAPLANE=str(BUILD / "dataplane" / "barewire-dataplane"), **self.env)
        if shim:
            env.update(BAREWIRE_SHIM=shim, LD_PRELOAD=str(SHIM))
        if shim_from:
            env["BAREWIRE_SHIM_FROM"] = shim_from
        if shim_log:
            env["BAREWIRE_SHIM_LOG"] = shim_log
        with open(self.log, "a") as log:
            self.log_at = log.tell()
            self.control = subprocess.Popen(
                [str(BUILD / "control" / "barewire-control"), *([self.conf] if self.conf else []), "--instance", "crash", "--dir", self.disk.path, "--hugepages", "no",
                 "--workers", str(self.workers), "--net-port", "tap:cli", "--net-address", self.address + "/24", "--protected-mode", "no",
                 "--save", "", "--unixsocket", "/run/door.sock", *self.options], stdout=log, stderr=log, env=env)

    def said(self, since=0):
        with open(self.log, errors="replace") as f:
            f.seek(since)
            return f.read()

    def dataplanes(self):
        """Process ids, oldest first; there is no other world in /proc."""
        pids = []
        for p in os.listdir("/proc"):
            if p.isdigit() and is_running(int(p)):
                with open("/proc/%s/cmdline" % p, "rb") as f:
                    if f.read().split(b"\0")[0].endswith(b"/barewire-dataplane"):
                        pids.append(int(p))
        return sorted(pids)

    def connect(self, timeout=DEADLINE_S):
        s = socket.create_connection((self.address, 6379), timeout)
        s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return Client(s)

    def answers(self):
        """It serves its data: a client, or None."""
        try:
            c = self.connect(1)
        except OSError:
            return None
        try:
            if c.call("PING") == b"PONG":
                return c
        except OSError:
            pass
        c.close()
        return None

    def client(self):
        """Waits until it serves. Failure, with what it said, when control ends instead."""
        end = time.monotonic() + DEADLINE_S
        while True:
            c = self.answers()
            if c:
                c.sock.settimeout(DEADLINE_S)
                return c
            if self.control.poll() is not None:
                raise Failure("control ended with %s:\n%s" % (self.control.returncode, self.said(self.log_at)[-3000:]))
            if time.monotonic() > end:
                raise Failure("it does not serve:\n%s" % self.said(self.log_at)[-3000:])
            time.sleep(0.005)

    def kill_dataplane(self):
        for pid in self.dataplanes():
            os.kill(pid, signal.SIGKILL)
            wait_gone(pid)

    def kill_control(self):
        self.control.kill()
        self.control.wait()

    def kill(self):
        """Both, at once."""
        pids = self.dataplanes()
        self.control.kill()
        for pid in pids:
            os.kill(pid, signal.SIGKILL)
        self.control.wait()
        for pid in pids:
            wait_gone(pid)
        self.kill_dataplane()  # one that control was just starting

    def forget_memory(self):
        """What the machine's memory held goes with the power."""
        for f in os.listdir("/dev/shm"):
            if f.startswith("barewire-"):
                os.unlink("/dev/shm/" + f)

    def stop(self):
        if self.control.poll() is None:
            self.control.terminate()
            self.control.wait(DEADLINE_S)
        self.kill_dataplane()


def keep(directory):
    """What lies in /run: logs and disks, for whoever wants to know what went wrong."""
    if directory:
        run("cp", "-a", "/run", directory)
