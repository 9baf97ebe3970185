"""A seeded generator of odd commands: the same seed gives the same stream.

Two things keep it free of false alarms. Times to live are either over at once or at least 100 s away, so nothing expires by waiting. Where
an option compares a new expiry with the old one (GT, LT), relative times are drawn from values that are 50 s apart, so that the
few ms between both servers do not decide.
"""

import glob
import importlib.util
import os
import random

LLONG_MAX, LLONG_MIN = 2**63 - 1, -2**63

KEYS = [b"k", b"a", b"b", b"key:1", b"key:2", b"{t}1", b"{t}2", b"", b"\x00", b"bin\r\n\xff\x00", b"K", b"*", b"[a]", b"n" * 200]
INTS = [0, 1, -1, 2, 9, 10, 100, 9999, 10000, -10000, 127, 128, 255, 256, 32767, 65536, 2**31 - 1, 2**31, -2**31, -2**31 - 1, 2**32,
        2**53, 2**53 + 1, LLONG_MAX, LLONG_MAX - 1, LLONG_MIN, LLONG_MIN + 1, 2**63, 2**64 - 1, 2**64, -2**63 - 1]
NO_INTS = [b"", b" ", b"abc", b"1.5", b" 1", b"1 ", b"+1", b"01", b"-0", b"00", b"0x10", b"1e3", b"nan", b"inf", b"--1", b"-", b"9" * 40,
           b"1\x00", b"\x00"]
FLOATS = [b"0", b"1", b"-1", b"0.1", b"0.2", b"-0.3", b"3.0e3", b"1e-7", b"1e17", b"1e20", b"5e-324", b"1.7976931348623157e308", b"1e400",
          b"1e4931", b"-1e4931", b"1e5000", b"inf", b"-inf", b"+inf", b"infinity", b"nan", b"-nan", b"0x1p3", b"1e", b".5", b"5.", b"+2.5", b" 1",
          b"1 ", b"-0", b"-0.0", b"", b"abc", b"1,5", b"3.14159265358979323846264338327950288", b"10.50", b"1e-20"]
TEXTS = [b"", b"hello", b"hello world", b"x" * 43, b"x" * 44, b"x" * 45, b"y" * 100, b"\x00\x01\x02", b"a\r\nb", b"ohmytext", b"mynewtext",
         b"OK", b"12345678901234567890", b"123456789012345678901", b"3.0", b"1e5", b" 5", b"5 "]
PATTERNS = [b"*", b"**", b"k*", b"*1", b"?", b"[a-b]", b"[^a]", b"[", b"[a", b"\\*", b"\\", b"key:[0-9]", b"*:*", b"\x00", b"", b"{t}?", b"K",
            b"[z-a]", b"[]]", b"*a*b*c*"]
TYPES = [b"string", b"STRING", b"list", b"hash", b"nosuch", b""]  # not "none": Redis then shows names that have just expired
FAR_SECONDS = [4102444800, 4294967296, 4102444801]
JUNK = [b"NX", b"XX", b"GT", b"LT", b"GET", b"EX", b"PX", b"EXAT", b"PXAT", b"KEEPTTL", b"PERSIST", b"REPLACE", b"DB", b"foo", b"", b"MATCH", b"COUNT",
        b"TYPE", b"SYNC", b"ASYNC", b"IDX", b"LEN", b"MINMATCHLEN", b"WITHMATCHLEN", b"ge\r\nt", b"a%s%n"]
DATABASES = [0, 0, 0, 1, 2, 3, 15]
BAD_DATABASES = [16, -1, 2**31, 2**63 - 1, 2**64]


class Base:
    """Commands on strings, keys and connections; what all groups draw their arguments from."""

    WEIGHTS = {"get": 6, "set": 14, "expire": 9, "ttl": 6, "append": 4, "copy": 5, "rename": 4, "object": 6, "flush": 0.3, "lcs": 2, "swapdb": 0.7,
               "move": 3, "select": 2, "reset": 0.5, "auth": 0.5, "hello": 1.5, "client": 1, "unknown": 0.7, "echo": 1, "ping": 1, "randomkey": 1,
               "mset": 4, "del": 3}

    def __init__(self, seed, only=None):
        self.r = random.Random(seed)
        self.unique = 0
        self.past_set = False  # a SET with a time in the past: gone for readers, but perhaps still counted by DBSIZE
        weights = {k: v for c in reversed(type(self).__mro__) for k, v in getattr(c, "WEIGHTS", {}).items()}
        names = [n for n in dir(self) if n.startswith("c_") and (only is None or n in dir(only) or n in ALWAYS)]
        self.commands = [getattr(self, n) for n in names]
        self.weights = [weights.get(n[2:], 3) for n in names]

    # ---- arguments ----

    def pick(self, *from_):
        return self.r.choice(self.r.choice(from_))

    def chance(self, percent):
        return self.r.random() * 100 < percent

    def key(self):
        return self.r.choice(KEYS)

    def keys(self, most=5):
        return [self.key() for _ in range(self.r.randint(1, most))]

    def typed(self, prefix):
        """A key that is mostly used by the commands of one type."""
        return self.key() if self.chance(6) else prefix + self.r.choice([b"1", b"2", b"3", b"{t}", b"-long" * 5])

    def integer(self):
        if self.chance(12):
            return self.r.choice(NO_INTS)
        if self.chance(50):
            return b"%d" % self.r.randint(-100, 100)
        return b"%d" % self.r.choice(INTS)

    def value(self):
        if self.chance(0.3):
            return bytes([self.r.randrange(256)]) * (1 << 20)
        if self.chance(2):
            return self.r.randbytes(self.r.randint(30000, 40000))
        kind = self.r.randrange(5)
        if kind == 0:
            return self.integer()
        if kind == 1:
            return self.r.choice(FLOATS)
        if kind == 2:
            return self.r.randbytes(self.r.randint(0, 100))
        return self.r.choice(TEXTS)

    def case(self, word):
        return self.r.choice([word, word.lower(), word.capitalize()])

    def relative(self, unit):
        """A time from now in `unit` per second: never between 1 ms and 100 s."""
        kind = self.r.randrange(8)
        if kind == 0:
            return self.r.choice(NO_INTS)
        if kind == 1:
            return b"%d" % self.r.choice([0, -1, -100, LLONG_MIN, LLONG_MIN + 1, -2**31, LLONG_MIN // 1000, LLONG_MIN // 1000 - 1])
        if kind == 2:
            return b"%d" % self.r.choice([LLONG_MAX, LLONG_MAX - 1, LLONG_MAX // 1000, LLONG_MAX // 1000 + 1, 2**63, 2**62])
        return self.spaced(unit)

    def spaced(self, unit):
        self.unique += self.r.randint(1, 3)
        return b"%d" % ((100000 + 50 * self.unique) * unit)

    def absolute(self, unit):
        kind = self.r.randrange(8)
        if kind == 0:
            return self.r.choice(NO_INTS)
        if kind == 1:
            return b"%d" % self.r.choice([0, -1, LLONG_MIN, LLONG_MIN // 1000, LLONG_MIN // 1000 - 1])
        if kind == 2:
            return b"%d" % self.r.choice([LLONG_MAX, LLONG_MAX // 1000, LLONG_MAX // 1000 + 1, 2**63])
        if kind == 3:
            return b"%d" % self.r.choice([1, 1000, 100000])
        return b"%d" % (self.r.choice(FAR_SECONDS) * unit)

    def time_option(self):
        word, time = self.r.choice([(b"EX", lambda: self.relative(1)), (b"PX", lambda: self.relative(1000)),
                                    (b"EXAT", lambda: self.absolute(1)), (b"PXAT", lambda: self.absolute(1000))])
        return [self.case(word)] + ([time()] if not self.chance(3) else [])

    def index(self):
        return b"%d" % self.pick(DATABASES) if not self.chance(10) else self.pick(NO_INTS, [b"%d" % d for d in BAD_DATABASES])

    # ---- strings ----

    def c_get(self):
        return [b"GET", self.key()]

    def c_set(self):
        out = [b"SET", self.key(), self.value()]
        if self.chance(50):
            return out
        for _ in range(self.r.randint(1, 3)):
            if self.chance(45):
                out += self.time_option()
            elif self.chance(92):
                out.append(self.case(self.r.choice([b"NX", b"XX", b"GET", b"KEEPTTL"])))
            else:
                out.append(self.r.choice(JUNK))
        return out

    def c_setnx(self):
        return [b"SETNX", self.key(), self.value()]

    def c_setex(self):
        return [b"SETEX", self.key(), self.relative(1), self.value()]

    def c_psetex(self):
        return [b"PSETEX", self.key(), self.relative(1000), self.value()]

    def c_getset(self):
        return [b"GETSET", self.key(), self.value()]

    def c_getdel(self):
        return [b"GETDEL", self.key()]

    def c_getex(self):
        out = [b"GETEX", self.key()]
        for _ in range(self.r.choice([0, 1, 1, 1, 2])):
            out += self.time_option() if self.chance(70) else [self.case(self.r.choice([b"PERSIST", b"PERSIST", b"KEEPTTL", b"GET", b"NX"]))]
        return out

    def c_mget(self):
        return [b"MGET"] + self.keys()

    def pairs(self):
        out = []
        for k in self.keys(4):
            out += [k, self.value()]
        return out

    def c_mset(self):
        return [b"MSET"] + self.pairs()

    def c_msetnx(self):
        return [b"MSETNX"] + self.pairs()

    def c_append(self):
        return [b"APPEND", self.key(), self.value()]

    def c_strlen(self):
        return [b"STRLEN", self.key()]

    def c_getrange(self):
        return [self.r.choice([b"GETRANGE", b"SUBSTR"]), self.key(), self.integer(), self.integer()]

    def c_setrange(self):
        offset = b"%d" % self.r.choice([0, 1, 3, 10, 100, 5000, -1, 2**29, 2**31, 2**32, LLONG_MAX, LLONG_MIN, 2**63]) \
            if not self.chance(15) else self.r.choice(NO_INTS)
        return [b"SETRANGE", self.key(), offset, self.value()]

    def c_incr(self):
        return [self.r.choice([b"INCR", b"DECR"]), self.key()]

    def c_incrby(self):
        return [self.r.choice([b"INCRBY", b"DECRBY"]), self.key(), self.integer()]

    def c_incrbyfloat(self):
        return [b"INCRBYFLOAT", self.key(), self.r.choice(FLOATS) if self.chance(80) else self.integer()]

    def c_lcs(self):
        out = [b"LCS", self.key(), self.key()]
        for _ in range(self.r.choice([0, 0, 1, 1, 2, 3])):
            word = self.r.choice([b"LEN", b"IDX", b"IDX", b"WITHMATCHLEN", b"MINMATCHLEN", b"MINMATCHLEN"])
            out.append(self.case(word))
            if word == b"MINMATCHLEN" and not self.chance(5):
                out.append(self.integer())
        return out

    # ---- keys ----

    def c_del(self):
        return [self.r.choice([b"DEL", b"UNLINK"])] + self.keys(3)

    def c_exists(self):
        return [self.r.choice([b"EXISTS", b"TOUCH"])] + self.keys()

    def c_expire(self):
        name, unit, relative = self.r.choice([(b"EXPIRE", 1, True), (b"PEXPIRE", 1000, True),
                                              (b"EXPIREAT", 1, False), (b"PEXPIREAT", 1000, False)])
        out = [name, self.key(), self.relative(unit) if relative else self.absolute(unit)]
        for _ in range(self.r.choice([0, 0, 0, 1, 1, 2])):
            out.append(self.case(self.r.choice([b"NX", b"XX", b"GT", b"LT"])) if self.chance(93) else self.r.choice(JUNK))
        return out

    def c_ttl(self):
        return [self.r.choice([b"TTL", b"PTTL", b"EXPIRETIME", b"PEXPIRETIME"]), self.key()]

    def c_persist(self):
        return [b"PERSIST", self.key()]

    def c_copy(self):
        out = [b"COPY", self.key(), self.key()]
        if self.chance(50):
            out += [self.case(b"DB"), self.index()]
        if self.chance(50):
            out.append(self.case(b"REPLACE"))
        if self.chance(5):
            out.append(self.r.choice(JUNK))
        return out

    def c_move(self):
        return [b"MOVE", self.key(), self.index()]

    def c_rename(self):
        return [self.r.choice([b"RENAME", b"RENAMENX"]), self.key(), self.key()]

    def c_type(self):
        return [b"TYPE", self.key()]

    def c_object(self):
        return [b"OBJECT", self.case(self.r.choice([b"ENCODING", b"ENCODING", b"ENCODING", b"REFCOUNT", b"IDLETIME", b"FREQ", b"HELP", b"NOSUCH"])),
                self.key()]

    def c_keys(self):
        return [b"KEYS", self.r.choice(PATTERNS)]

    def c_scan(self):
        if self.chance(60):
            out = [b"SCAN", b"0", b"COUNT", b"100000"]
        else:
            out = [b"SCAN", self.integer() if self.chance(60) else b"0"]
        for _ in range(self.r.choice([0, 0, 1, 1, 2])):
            out += self.r.choice([[b"MATCH", self.r.choice(PATTERNS)], [b"TYPE", self.r.choice(TYPES)],
                                  [b"COUNT", self.r.choice([b"0", b"-1", b"abc", b"99999"])], [self.r.choice(JUNK)]])
        return out

    def c_randomkey(self):
        return [b"RANDOMKEY"]

    def c_dbsize(self):
        return [b"TYPE", self.key()] if self.past_set else [b"DBSIZE"]

    def c_flush(self):
        out = [self.r.choice([b"FLUSHDB", b"FLUSHDB", b"FLUSHALL"])]
        return out + self.r.choice([[], [], [self.case(b"SYNC")], [self.case(b"ASYNC")], [b"foo"], [b"SYNC", b"ASYNC"]])

    def c_swapdb(self):
        return [b"SWAPDB", self.index(), self.index()]

    # ---- connection ----

    def c_select(self):
        return [b"SELECT", self.index()]

    def c_ping(self):
        return [b"PING"] + ([self.value()] if self.chance(50) else [])

    def c_echo(self):
        return [b"ECHO", self.value()]

    def c_hello(self):
        out = [b"HELLO"]
        if self.chance(80):
            out.append(self.r.choice([b"2", b"3", b"2", b"3", b"1", b"4", b"abc", b"-1"]))
        if self.chance(20):
            out += self.r.choice([[b"SETNAME", b"gen"], [b"SETNAME", b"a b"], [b"SETNAME"], [b"AUTH", b"u", b"p"], [b"foo"]])
        return out

    def c_client(self):
        return [b"CLIENT"] + self.r.choice([[b"GETNAME"], [b"SETNAME", b"name"], [b"SETNAME", b""], [b"SETNAME", b"a b"], [b"ID"],
                                            [b"NOSUCH"], [b"REPLY", b"ON"], [b"REPLY", b"foo"], [b"NO-EVICT", b"on"], [b"NO-EVICT", b"foo"],
                                            [b"SETNAME"], [b"KILL", b"nosuch:1"], [b"KILL", b"ID", b"abc"], [b"LIST", b"ID", b"x"]])

    def c_auth(self):
        return [b"AUTH"] + self.r.choice([[b"pw"], [b"default", b"pw"], [b"user", b"pw"], [b"a", b"b", b"c"]])

    def c_reset(self):
        return [b"RESET"]

    def c_unknown(self):
        return [self.r.choice([b"", b"nosuch", b"GETT", b"\x00", b"SET ", b"a\r\nb", b"x" * 200])] + self.keys(3)

    def command(self):
        argv = self.r.choices(self.commands, self.weights)[0]()
        if self.chance(3):  # wrong arity, or an option too many
            if self.chance(50) and len(argv) > 1:
                argv = argv[:-1]
            else:
                argv = argv + [self.pick(JUNK, TEXTS, KEYS)]
        if self.chance(20):
            argv[0] = argv[0].lower()
        name = argv[0].upper()
        if name == b"SET" and any(a.upper() in (b"EXAT", b"PXAT") for a in argv[3:]):
            self.past_set = True
        if name == b"FLUSHALL" and len(argv) == 1:
            self.past_set = False
        return argv

    def pipeline(self, most):
        n = min(most, self.r.choice([1, 1, 2, 5, 10, 16, 32, 64]))
        return [self.command() for _ in range(n)]


# With --group: besides the group's own, what makes and removes keys
ALWAYS = ("c_del", "c_set", "c_expire", "c_copy", "c_rename", "c_type", "c_object", "c_flush", "c_select", "c_hello")


def groups():
    """The mixins of generate_*.py beside this file, by name: class Commands with c_* methods and WEIGHTS."""
    found = {}
    for path in sorted(glob.glob(os.path.join(os.path.dirname(os.path.abspath(__file__)), "generate_*.py"))):
        name = os.path.basename(path)[len("generate_"):-3]
        spec = importlib.util.spec_from_file_location("generate_" + name, path)
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        found[name] = module.Commands
    return found


def Generator(seed, group=None):
    mixins = groups()
    only = mixins[group] if group else None
    return type("Generator", (*mixins.values(), Base), {"group": group})(seed, only)
