"""Connections that keep the exact bytes of every reply, and a small reader of RESP2 and RESP3."""

import re
import select
import socket
import time

LINE_TYPES = b"+-:,(#_"
BULK_TYPES = b"$!="
LIST_TYPES = {b"*": 1, b"~": 1, b">": 1, b"%": 2, b"|": 2}


class Incomplete(Exception):
    """The reply goes on beyond the bytes that are there."""


class Broken(Exception):
    """The connection was closed, timed out, or does not speak RESP."""


class Reply:
    """One reply: `raw` are its bytes, `kind` its type byte, `value` the text or the list of replies in it."""

    __slots__ = ("raw", "kind", "value")

    def __init__(self, raw, kind, value):
        self.raw, self.kind, self.value = raw, kind, value

    @property
    def is_error(self):
        return self.kind in (b"-", b"!")

    @property
    def is_null(self):
        return self.value is None


def parse(buf, pos=0):
    """Reads one reply from buf[pos:]; returns it and the position behind it."""
    end = buf.find(b"\r\n", pos)
    if end < 0:
        raise Incomplete
    kind, head, start = bytes(buf[pos:pos + 1]), bytes(buf[pos + 1:end]), pos
    pos = end + 2
    if kind and kind in LINE_TYPES:
        return Reply(bytes(buf[start:pos]), kind, None if kind == b"_" else head), pos
    try:
        n = int(head)
    except ValueError:
        raise Broken("not RESP: %r" % bytes(buf[start:end])) from None
    if kind and kind in BULK_TYPES:
        if n < 0:
            return Reply(bytes(buf[start:pos]), kind, None), pos
        if len(buf) < pos + n + 2:
            raise Incomplete
        value, pos = bytes(buf[pos:pos + n]), pos + n + 2
        if buf[pos - 2:pos] != b"\r\n":
            raise Broken("a bulk string does not end where its length says")
        return Reply(bytes(buf[start:pos]), kind, value), pos
    if kind not in LIST_TYPES:
        raise Broken("not RESP: %r" % bytes(buf[start:end]))
    if n < 0:
        return Reply(bytes(buf[start:pos]), kind, None), pos
    items = []
    for _ in range(n * LIST_TYPES[kind]):
        item, pos = parse(buf, pos)
        items.append(item)
    if kind == b"|":  # an attribute belongs to the reply behind it
        item, pos = parse(buf, pos)
        items.append(item)
    return Reply(bytes(buf[start:pos]), kind, items), pos


def encode(argv):
    """A request as a client library sends it."""
    out = [b"*%d\r\n" % len(argv)]
    for arg in argv:
        out.append(b"$%d\r\n%s\r\n" % (len(arg), arg))
    return b"".join(out)


class Conn:
    """A client connection to "unix:/path" or "tcp:host:port"."""

    def __init__(self, address, timeout=20.0):
        self.address, self.timeout = address, timeout
        kind, _, rest = address.partition(":")
        if kind == "unix":
            self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            where = rest
        elif kind == "tcp":
            host, _, port = rest.rpartition(":")
            where = (host.strip("[]"), int(port))
            self.sock = socket.socket(socket.AF_INET6 if ":" in where[0] else socket.AF_INET,
                                      socket.SOCK_STREAM)
        else:
            raise Broken("address %r is neither unix:/path nor tcp:host:port" % address)
        self.sock.settimeout(timeout)
        self.sock.connect(where)
        self.sock.setblocking(False)
        self.buf = bytearray()

    def close(self):
        self.sock.close()

    def exchange(self, data, count):
        """Sends data and reads `count` replies, both at the same time: a server may want to be read before it reads on."""
        replies, view, sent, pos = [], memoryview(data), 0, 0
        deadline = time.monotonic() + self.timeout
        while True:
            try:
                while len(replies) < count:
                    reply, pos = parse(self.buf, pos)
                    replies.append(reply)
            except Incomplete:
                pass
            del self.buf[:pos]
            pos = 0
            if len(replies) == count and sent == len(data):
                return replies
            sent += self._step(view[sent:], deadline, "reply %d of %d" % (len(replies) + 1, count))

    def until_close(self, data):
        """Sends data, ends the sending direction, and returns all that comes until the server closes."""
        view, sent, ended = memoryview(data), 0, False
        deadline = time.monotonic() + self.timeout
        while True:
            if sent == len(data) and not ended:
                ended = True
                try:
                    self.sock.shutdown(socket.SHUT_WR)
                except OSError:
                    pass
            try:
                sent += self._step(view[sent:], deadline, "the end of the connection")
            except ConnectionError:
                return bytes(self.buf)
            except Broken as e:
                if e.args[0] == "closed by the server":
                    return bytes(self.buf)
                raise

    def _step(self, rest, deadline, what):
        """Waits for the socket once; returns how many bytes left."""
        left = deadline - time.monotonic()
        if left <= 0:
            raise Broken("timeout while waiting for %s" % what)
        r, w, _ = select.select([self.sock], [self.sock] if rest else [], [], left)
        if r:
            try:
                got = self.sock.recv(1 << 18)
            except BlockingIOError:
                return 0
            if not got:
                raise Broken("closed by the server")
            self.buf += got
            return 0
        if w:
            try:
                return self.sock.send(rest)
            except BlockingIOError:
                return 0
        return 0

    def call(self, *argv):
        argv = [a if isinstance(a, bytes) else str(a).encode() for a in argv]
        return self.exchange(encode(argv), 1)[0]


WORD = re.compile(rb"""\s*("(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*'|[^\s"']\S*)""", re.S)
ESCAPES = {b"n": b"\n", b"r": b"\r", b"t": b"\t", b"a": b"\a", b"b": b"\b"}


def unquote(text):
    """The inside of a "quoted" word, with redis-cli's escapes."""
    def one(m):
        e = m.group(1)
        return bytes([int(e[1:], 16)]) if len(e) == 3 else ESCAPES.get(e, e)
    return re.sub(rb"\\(x[0-9a-fA-F]{2}|.)", one, text, flags=re.S)


def split_words(line):
    """A line of words as redis-cli takes them: bare, "quoted \\x00\\n" or 'quoted'. {N*word} is the word N times."""
    argv, pos = [], 0
    line = line.rstrip()
    while pos < len(line):
        m = WORD.match(line, pos)
        if not m:
            raise ValueError("cannot read %r" % line[pos:])
        word, pos = m.group(1), m.end()
        if word[:1] == b'"':
            argv.append(unquote(word[1:-1]))
        elif word[:1] == b"'":
            argv.append(word[1:-1].replace(b"\\'", b"'"))
        else:
            rep = re.fullmatch(rb"\{(\d+)\*(.+)\}", word)
            argv.append(rep.group(2) * int(rep.group(1)) if rep else word)
    return argv


def show(data, limit=300):
    """Bytes for people."""
    text = data.decode("latin-1").encode("unicode_escape").decode()
    return text if len(text) <= limit else "%s... (%d bytes)" % (text[:limit], len(data))


def show_argv(argv):
    return " ".join('"%s"' % show(a, 80) if not re.fullmatch(rb"[\x21-\x7e]+", a) or len(a) > 80
                    else a.decode() for a in argv)
