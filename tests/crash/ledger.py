"""What was written and acknowledged, and what of it is there afterwards.

Each of the writers works through its own operations 1, 2, 3 ...: what the n-th does follows from n alone, so the state behind the n-th is known. It has one under way,
so a server may show the state behind any n from the last acknowledged one to the last sent. Anything else is a hole, half a transaction, or a loss.

    load = ledger.Load(16);  load.run(server);  ... ;  load.halt();  report = load.compare(client)"""

import re
import selectors
import socket
import threading
import time

from world import Client, Error, Failure, check

KINDS = 7
PAIR = 2
RETRY = (b"MISCONF", b"LOADING", b"EXECABORT")


def kind_of(n):
    return n % KINDS


def big_value(c, n):
    """20 kB; now and then more than a group of the log, and once in a while more than a journal ring."""
    turn = n // KINDS + c
    size = 9_000_000 if turn % 128 == 5 else 300_000 if turn % 16 == 3 else 20_000
    return b"%d:" % n + b"x" * size


def commands(c, n):
    k = kind_of(n)
    if k == 0:
        return [("SET", "s:%d:%d" % (c, n % 32), n)]
    if k == 1:
        return [("RPUSH", "l:%d" % c, n)]
    if k == PAIR:
        return [("MULTI",), ("INCR", "order"), ("SET", "a:%d" % c, n), ("SET", "b:%d" % c, n), ("RPUSH", "p:%d" % c, n), ("EXEC",)]
    if k == 3:
        return [("HSET", "h:%d" % c, "f%d" % (n % 16), n)]
    if k == 4:
        return [("INCR", "i:%d" % c)]
    if k == 5:
        return [("SET", "big:%d" % c, big_value(c, n))]
    return [("MSET", "m:%d" % c, n, "n:%d" % c, n, "o:%d" % c, n)]


def state(c, n):
    """What is there behind the n-th operation: {command that reads: reply}."""
    number = lambda k: b"%d" % (n - (n - k) % KINDS) if n >= k and n - (n - k) % KINDS > 0 else None  # noqa: E731
    slots, fields = {}, {}
    for i in range(n, 0, -1):
        if kind_of(i) == 0:
            slots.setdefault(i % 32, b"%d" % i)
        elif kind_of(i) == 3:
            fields.setdefault(b"f%d" % (i % 16), b"%d" % i)
        if len(slots) == 32 and len(fields) == 16:
            break
    last = {k: number(k) for k in range(KINDS)}
    want = {("GET", "s:%d:%d" % (c, i)): slots.get(i) for i in range(32)}
    want["LRANGE", "l:%d" % c, "0", "-1"] = [b"%d" % i for i in range(1, n + 1, KINDS)]
    want["LRANGE", "p:%d" % c, "0", "-1"] = [b"%d" % i for i in range(PAIR, n + 1, KINDS)]
    want["HGETALL", "h:%d" % c] = fields
    want["GET", "i:%d" % c] = b"%d" % count_of(4, n) if count_of(4, n) else None
    want["GET", "big:%d" % c] = big_value(c, int(last[5])) if last[5] else None
    for key, k in (("a", PAIR), ("b", PAIR), ("m", 6), ("n", 6), ("o", 6)):
        want["GET", "%s:%d" % (key, c)] = last[k]
    return want


def count_of(kind, n):
    """How many of the first n operations are of that kind."""
    return len(range(kind or KINDS, n + 1, KINDS))


def read_state(client, c):
    reads = list(state(c, 0))
    client.sock.sendall(b"".join(Client.encode(r) for r in reads))
    got = {}
    for r in reads:
        reply = client.read()
        if isinstance(reply, Error):
            raise Failure("%s: %s" % (r, reply))
        got[r] = dict(zip(reply[::2], reply[1::2])) if r[0] == "HGETALL" else reply
    return got


def newest_number(got):
    """The last operation that left a number."""
    most = 0
    for r, value in got.items():
        values = value.values() if isinstance(value, dict) else value if isinstance(value, list) else [value]
        if r[1].startswith("i:"):
            continue
        for v in values:
            if v:
                most = max(most, int(v[:24].split(b":")[0]))
    return most


class Writer:
    def __init__(self, c):
        self.c, self.n, self.base, self.sent, self.sent_at = c, 0, 0, 0, 0.0  # base: at the last comparison
        self.acked = []  # (n, sent at, acknowledged at, number of an EXEC or None) since the last comparison
        self.client, self.port = None, None

    def expect_next(self):
        request = commands(self.c, self.n + 1)
        self.sent, self.sent_at = self.n + 1, time.monotonic()
        self.bytes, self.lines, self.left, self.nested, self.order = b"", [], len(request), 0, None
        return request

    def send_next(self):
        self.client.sock.sendall(b"".join(Client.encode(r) for r in self.expect_next()))

    def on_bytes(self, data, at=None):
        """Bytes that came, now or then. True: the operation is over. Its replies are lines; EXEC's is an array of lines, the first of which is the transaction's number."""
        *lines, self.bytes = (self.bytes + data).split(b"\r\n")
        for line in lines:
            if line[:1] == b"*":
                self.nested = int(line[1:])
            elif self.nested:
                self.nested -= 1
                self.order = int(line[1:]) if self.order is None else self.order
            if line[:1] == b"-":
                self.lines.append(line)
            self.left -= self.nested == 0
        if self.left:
            return False
        if not self.lines:
            self.n = self.sent
            self.acked.append((self.n, self.sent_at, at or time.monotonic(), self.order))
        elif not self.lines[0][1:].startswith(RETRY):
            raise Failure("writer %d, operation %d: %s" % (self.c, self.sent, self.lines))
        return True


class Load:
    """Writers in one thread."""

    def __init__(self, writers, pause=0.0, durability=None):
        self.writers = [Writer(c) for c in range(writers)]
        self.durability = durability  # what they choose by CLIENT DURABILITY
        self.pause, self.thread, self.stopping, self.trouble = pause, None, False, None
        self.stalled = 0.0  # longest time in which this thread did not run
        self.total_acked = 0

    def run(self, server):
        self.stopping, self.trouble, self.stalled = False, None, 0.0
        for w in self.writers:
            w.client = server.connect()
            w.port = w.client.sock.getsockname()[1]
            if self.durability:
                check(w.client.call("CLIENT", "DURABILITY", self.durability) == b"OK", "CLIENT DURABILITY")
        self.thread = threading.Thread(target=self.work, daemon=True)
        self.thread.start()

    def work(self):
        try:
            self.serve()
        except Exception as e:  # told by halt()
            self.trouble = e

    def serve(self):
        wait = selectors.DefaultSelector()
        for w in self.writers:
            wait.register(w.client.sock, selectors.EVENT_READ, w)
            w.send_next()
        last = time.monotonic()
        while not self.stopping and wait.get_map():
            for key, _ in wait.select(0.02):
                w = key.data
                try:
                    data = w.client.sock.recv(1 << 16)
                    if not data:
                        wait.unregister(w.client.sock)
                    elif w.on_bytes(data):
                        w.send_next()
                except OSError:
                    wait.unregister(w.client.sock)
            now = time.monotonic()
            self.stalled = max(self.stalled, now - last)
            last = now
            if self.pause:
                time.sleep(self.pause)

    def halt(self):
        """No more operations; those under way stay unanswered."""
        self.stopping = True
        for w in self.writers:
            try:
                w.client.sock.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
        self.thread.join()
        for w in self.writers:
            w.client.close()
        if self.trouble:
            raise self.trouble

    def acked(self):
        return sum(len(w.acked) for w in self.writers)

    def wait_acked(self, n, deadline_s=120):
        """Until so many more are acknowledged."""
        want, end = self.acked() + n, time.monotonic() + deadline_s
        while self.acked() < want:
            if self.trouble or time.monotonic() > end:
                raise self.trouble or Failure("%d acknowledgements instead of %d" % (self.acked(), want))
            time.sleep(0.005)

    def await_end(self, client):
        """What the writers had under way when they stopped has run, or never will: another worker may come to it after what is read here, and it would be done twice."""
        ports, end = {w.port for w in self.writers if w.port}, time.monotonic() + 60
        while ports & {int(p) for p in re.findall(rb"\baddr=\S*:(\d+)", client.call("CLIENT", "LIST"))}:
            check(time.monotonic() < end, "a writer's connection does not end")
            time.sleep(0.002)

    def compare(self, client, may_lose=False, until=float("inf")):
        """Every operation; Failure, or (acknowledged, lost, when the first lost one was acknowledged or None). `until`: what was acknowledged later was not,
        since the power was off. The writers go on from what is there."""
        self.await_end(client)
        for w in self.writers:
            w.n = max([a[0] for a in w.acked if a[2] < until], default=w.base)
            w.acked = [a for a in w.acked if a[2] < until]
        acked, kept, lost = self.acked(), [], []
        pairs = 0
        for w in self.writers:
            got = read_state(client, w.c)
            m = newest_number(got)
            if kind_of(m + 1) == 4 and got["GET", "i:%d" % w.c] == (b"%d" % count_of(4, m + 1)):
                m += 1
            want = state(w.c, m)
            for r in want:
                check(got[r] == want[r], "writer %d has %s %.80r, but behind operation %d it is %.80r: a hole" % (w.c, r, got[r], m, want[r]))
            check(m <= w.sent, "writer %d has operation %d, it sent %d" % (w.c, m, w.sent))
            kept += [a for a in w.acked if a[0] <= m]
            lost += [a for a in w.acked if a[0] > m]
            check(may_lose or m >= w.n, "writer %d has operation %d, but %d was acknowledged" % (w.c, m, w.n))
            pairs += count_of(PAIR, m)
            w.n, w.sent, w.base, w.acked = m, m, m, []
        order = int(client.call("GET", "order") or 0)
        check(order == pairs, "%d transactions were counted, %d are there" % (order, pairs))
        for what, these, good in (("there", kept, lambda g: g <= order), ("lost", lost, lambda g: g > order)):
            for n, _, _, g in these:
                check(g is None or good(g), "transaction %s (operation %d) is %s, but the count is %d; of those that were acknowledged since the last comparison are there %s, lost %s"
                      % (g, n, what, order, sorted(a[3] for a in kept if a[3]), sorted(a[3] for a in lost if a[3])))
        first = min((a[2] for a in lost), default=None)
        if first is not None:
            for n, sent, _, _ in kept:
                check(sent <= first, "operation %d is there, sent %.6f s after a lost one was acknowledged" % (n, sent - first))
        self.total_acked += acked - len(lost)
        return acked, len(lost), first
