"""redis-server and its clients behind a wire like a lab's: what Linux's TCP does to Linux's over the same relay, or over the same veth."""

import contextlib
import os
import subprocess

from lab import BUILD, Lab, ROOT, check, run, until

names = iter(range(1, 1 << 30))


class LinuxPair:
    """Made of the lab's own functions (scripts/lib-net.sh): both ends have CUBIC and no checksum, TSO, GSO or GRO on the wire, as a lab's
    client has. Offers what transfer() of relay_transfer.py wants of a lab. Deadlines and buffers are the kernel's defaults."""

    inside, connect = Lab.inside, Lab.connect

    def __init__(self, relay=True, ip6=False, mtu=1500):
        self.name, self.mtu, self.ip6 = "bw-linux-%d-%d" % (os.getpid(), next(names)), mtu, ip6
        self.client_ns, self.server_ns, self.relay_ns = (self.name + "-" + side for side in "csr")
        self.relayed, self.relay, self.stack = relay, None, contextlib.ExitStack()

    def net(self, script):
        return run("bash", "-c", 'self=linux_pair; . "$0"; net_names "$1"; ns_c=$2; ns_s=$3; ns_r=$4; mtu=$5; ' + script, ROOT / "scripts" / "lib-net.sh",
                   self.name, self.client_ns, self.server_ns, self.relay_ns, self.mtu)

    def __enter__(self):
        try:
            for ns in (self.client_ns, self.server_ns) + ((self.relay_ns,) if self.relayed else ()):
                self.stack.callback(run, "ip", "netns", "del", ns, ok=False)
                self.net("make_ns " + ns)
            if self.relayed:
                self.net("""ip link add cli netns $ns_c type veth peer name left netns $ns_r && ip link add srv netns $ns_s type veth peer name right netns $ns_r &&
                    plain_wire $ns_r left && plain_wire $ns_r right && plain_wire $ns_c cli && ip -n $ns_r link set left mtu $mtu up &&
                    ip -n $ns_r link set right mtu $mtu up && ip -n $ns_c link set cli mtu $mtu up && add_address4 $ns_c cli $client_address""")
            else:
                self.net("make_veth $ns_s srv $ns_c cli 1 $mtu")
            self.net("plain_wire $ns_s srv; ip -n $ns_s link set srv mtu $mtu up && add_address4 $ns_s srv $server_address")
            if self.ip6:
                self.net("add_address6 $ns_s srv $server_address6 && add_address6 $ns_c cli $client_address6")
            self.address, self.address6 = self.net("echo $server_address $server_address6").split()
            for ns in (self.client_ns, self.server_ns):
                check("congctl cubic" in run("ip", "-n", ns, "route", "show"), "no CUBIC in", ns)
            self.redis = self.process(self.server_ns, "redis-server", "--bind", self.address, *([self.address6] if self.ip6 else []), "--save", "",
                                      "--protected-mode", "no", "--daemonize", "no")
            if self.relayed:
                self.start()
            until("redis-server answers", lambda: self.redis.poll() is None and self.connect(timeout=2).call("PING") == b"PONG")
        except BaseException:
            self.stack.close()
            raise
        return self

    def process(self, ns, *argv):
        p = subprocess.Popen(["ip", "netns", "exec", ns, *argv], stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        self.stack.callback(self.end, p)
        return p

    @staticmethod
    def end(p):
        if p.poll() is None:
            p.terminate()
        p.wait()
        p.stdout.close()

    def start(self, *options):
        """The relay with these."""
        if self.relay:
            self.end(self.relay)
        self.relay = self.process(self.relay_ns, str(BUILD / "tests/relay/barewire-relay"), "--a", "left", "--b", "right", *options)
        check(self.relay.stdout.readline().startswith(b"ready"), "the relay of Linux did not start")

    def __exit__(self, *args):
        self.stack.close()
