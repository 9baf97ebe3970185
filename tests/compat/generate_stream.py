"""Streams for generate.py.

New ids ascend with a clock of the generator's own and those asked for are near it, so that entries are found again; "*" is used on streams whose last
id lies in the future, where it means the next one. Large values make nodes of few entries. Times that entries have waited are near 0 or 2 hours, and are compared with one hour, so that the moment of a command does not decide.
"""

HOUR = 3600000
FIELDS = [b"f", b"g", b"temperature", b"", b"1", b"x" * 70]
VALUES = [b"", b"v", b"0", b"1", b"-1", b"127", b"128", b"4095", b"4096", b"-4097", b"32768", b"8388608", b"2147483648", b"9223372036854775807",
          b"9223372036854775808", b"01", b"w" * 63, b"w" * 64, b"z" * 300, b"text"]
ODD_IDS = [b"", b"-", b"+", b"*", b"$", b">", b"(", b"(1", b"1-", b"-1", b"1-1-1", b"1-x", b"x-1", b"x", b"0-0", b"0", b"0-1", b" 1", b"+1", b"01", b"1-01", b"1- 2", b"1--1",
           b"1--01", b"18446744073709551615", b"18446744073709551616", b"18446744073709551615-18446744073709551615", b"9223372036854775808-0", b"1-18446744073709551615",
           b"0-*", b"1-*", b"*-1", b"5-*", b"1-**", b"1\x00-1", b"1-1\x00", b"-\x00", b"9" * 130, b"(-", b"(+", b"(0-0", b"(18446744073709551615-18446744073709551615", b"((1"]
FUTURE = 5000000000000


class Commands:
    WEIGHTS = {"xadd": 16, "xfuture": 3, "xplain": 6, "xrange": 8, "xdel": 4, "xtrim": 2, "xsetid": 1, "xread": 4, "xgroup": 5, "xcreate": 9, "xreadgroup": 12, "xack": 4, "xclaim": 5,
               "xautoclaim": 4, "xpending": 5, "xinfo": 4, "xlen": 1, "xmix": 2}

    stream_clock = 1

    def stream_key(self):
        return self.r.choice([b"stream1", b"stream1", b"stream2"]) if self.chance(80) else self.typed(b"stream")

    def stream_id(self):
        if self.chance(3):
            return self.r.choice(ODD_IDS)
        kind = self.r.randrange(12)
        if kind == 0:
            return b"%d-%d" % (self.r.choice([0, 1, 255, 256, 65535, 65536, 2**32, 2**40, 2**63]), self.r.choice([0, 1, 128, 4096, 2**32, 2**64 - 1]))
        near = max(0, self.stream_clock - int(self.r.expovariate(1 / 15)))
        return b"%d" % near if kind == 1 else b"%d-%d" % (near, self.r.choice([0, 0, 0, 1]))

    def stream_new_id(self):
        if self.chance(6):
            return self.stream_id()
        self.stream_clock += self.r.choice([0, 1, 1, 1, 1, 1, 2, 3, 300 if self.chance(5) else 1])
        return b"%d-*" % self.stream_clock if self.chance(30) else b"%d-%d" % (self.stream_clock, self.r.choice([0, 0, 0, 0, 1]))

    def stream_end(self, word):
        if self.chance(50):
            return word
        return (b"(" if self.chance(20) else b"") + self.stream_id()

    def stream_group(self):
        return b"g1" if self.chance(80) else self.r.choice([b"g2", b"g2", b"group three", b"", b"nosuch"])

    def stream_consumer(self):
        return self.r.choice([b"alice", b"alice", b"bob", b"bob", b"", b"c\x00\r\nd"])

    def stream_fields(self, most=3):
        if self.chance(15):
            return [b"f", self.r.choice([b"B" * 900, b"C" * 1800, b"D" * 5000, b"E" * 400]), b"g", b"1"]
        if self.chance(50):
            return [b"f", self.r.choice(VALUES), b"g", self.r.choice(VALUES)]
        out = []
        for _ in range(self.r.randint(1, most)):
            out += [self.r.choice(FIELDS), self.value() if self.chance(5) else self.r.choice(VALUES)]
        return out + ([b"odd"] if self.chance(2) else [])

    def stream_trim(self):
        out = []
        for _ in range(2 if self.chance(3) else 1):
            by_id = self.chance(40)
            out.append(self.case(b"MINID" if by_id else b"MAXLEN"))
            if self.chance(60):
                out.append(self.r.choice([b"~", b"~", b"="]))
            if by_id:
                out.append(self.stream_id())
            else:
                out.append(b"%d" % self.r.choice([0 if self.chance(20) else 40, 3, 5, 10, 10, 20, 30, 30, 60, 100]) if self.chance(92) else self.integer())
        if self.chance(25):
            out += [self.case(b"LIMIT"), b"%d" % self.r.choice([0, 1, 10, 50, 100, 101, 1000]) if self.chance(90) else self.integer()]
        return out

    def c_xadd(self):
        out = [b"XADD", self.stream_key()]
        if self.chance(8):
            out.append(self.case(b"NOMKSTREAM"))
        if self.chance(15):
            out += self.stream_trim()
        if self.chance(4):
            out.append(self.r.choice([b"foo", b"NOMKSTREAM", b"MAXLEN", b"LIMIT", b"="]))
        new = self.stream_new_id()
        return out + [new if new != b"*" else b"7-*"] + self.stream_fields()

    def c_xfuture(self):
        key = b"future%d" % self.r.randint(1, 2)
        if self.chance(30):
            return [b"XADD", key, b"%d-0" % (FUTURE + self.r.randint(1, 100000)), b"f", self.r.choice(VALUES)]
        if self.chance(10):
            return [b"XTRIM", key] + self.stream_trim()
        if self.chance(20):
            return [b"XRANGE", key, b"-", b"+"]
        return [b"XADD", key, b"NOMKSTREAM"] + (self.stream_trim() if self.chance(20) else []) + [b"*"] + self.stream_fields()

    def c_xplain(self):
        """A stream without groups holds no times: its DUMP has the same bytes."""
        key = b"plain%d" % self.r.randint(1, 2)
        kind = self.r.randrange(20)
        if kind < 13:
            return [b"XADD", key, self.stream_new_id()] + self.stream_fields()
        if kind < 15:
            return [b"XDEL", key, self.stream_id()]
        return [b"XTRIM", key] + self.stream_trim() if kind < 17 else [b"DUMP", key]

    def c_xlen(self):
        return [b"XLEN", self.stream_key()]

    def stream_count(self):
        return [self.case(b"COUNT")] + ([b"%d" % self.r.choice([0, 1, 2, 3, 10, 100]) if self.chance(90) else self.integer()] if self.chance(97) else [])

    def c_xrange(self):
        out = [b"XRANGE", self.stream_key(), self.stream_end(b"-"), self.stream_end(b"+")]
        if self.chance(50):
            out = [b"XREVRANGE", out[1], out[3], out[2]]
        if self.chance(50):
            out += self.stream_count()
        if self.chance(2):
            out.append(b"foo")
        return out

    def c_xdel(self):
        return [b"XDEL", self.stream_key()] + [self.stream_id() for _ in range(self.r.choice([1, 1, 2, 3, 12]))]

    def c_xtrim(self):
        out = [b"XTRIM", self.stream_key()] + self.stream_trim()
        return out + [self.r.choice([b"foo", b"LIMIT"])] if self.chance(3) else out

    def c_xsetid(self):
        out = [b"XSETID", self.stream_key(), self.stream_id()]
        if self.chance(40):
            out += [self.case(b"ENTRIESADDED"), b"%d" % self.r.randint(0, 500) if self.chance(90) else self.integer()]
        if self.chance(30):
            out += [self.case(b"MAXDELETEDID"), self.stream_id()]
        return out + [b"foo"] if self.chance(2) else out

    def stream_block(self):
        return [self.case(b"BLOCK"), self.r.choice([b"-1", b"x", b"", b"9223372036854775808", b"1.5"])]

    def c_xread(self):
        out = [b"XREAD"]
        if self.chance(50):
            out += self.stream_count()
        if self.chance(3):
            out += self.r.choice([[b"NOACK"], [b"GROUP", b"g1", b"c"], [b"foo"], self.stream_block()])
        n = self.r.choice([1, 1, 1, 2, 3])
        ids = [self.r.choice([self.stream_id(), self.stream_id(), b"0", b"$"]) for _ in range(n)]
        return out + [self.case(b"STREAMS")] + [self.stream_key() for _ in range(n)] + ids[:n - self.chance(2)]

    def c_xreadgroup(self):
        out = [b"XREADGROUP"]
        who = [self.case(b"GROUP"), self.stream_group(), self.stream_consumer()]
        if self.chance(3):
            who[2] = b"STREAMS"
        more = (self.stream_count() if self.chance(60) else []) + ([self.case(b"NOACK")] if self.chance(15) else [])
        out += who + more if self.chance(80) else more + who
        if self.chance(2):
            out += self.r.choice([[b"foo"], self.stream_block()])
        n = self.r.choice([1, 1, 1, 1, 2, 3])
        keys = [self.stream_key() for _ in range(n)]
        if n > 1 and self.chance(30):
            keys[1] = keys[0]
        ids = [self.r.choice([b">", b">", b">", b"0", b"0", self.stream_id(), b"$" if self.chance(10) else b">"]) for _ in range(n)]
        return out + [self.case(b"STREAMS")] + keys + ids[:n - self.chance(2)]

    def c_xcreate(self):
        return [b"XGROUP", b"CREATE", self.stream_key(), self.stream_group(), self.r.choice([b"0", b"0", b"$", self.stream_id()]), b"MKSTREAM"]

    def c_xgroup(self):
        key, group = self.stream_key(), self.stream_group()
        kind = self.r.randrange(12)
        if kind < 6:
            out = [b"XGROUP", self.case(b"CREATE"), key, group, self.r.choice([b"$", b"0", b"0", self.stream_id()])]
            if self.chance(60):
                out.append(self.case(b"MKSTREAM"))
            if self.chance(25):
                out += [self.case(b"ENTRIESREAD"), b"%d" % self.r.randint(-1, 50) if self.chance(90) else self.integer()]
        elif kind < 8:
            out = [b"XGROUP", b"SETID", key, group, self.r.choice([b"$", b"0", self.stream_id()])]
            if self.chance(40):
                out += [self.case(b"ENTRIESREAD"), b"%d" % self.r.randint(-1, 50) if self.chance(90) else self.integer()]
        elif kind == 8:
            out = [b"XGROUP", b"DESTROY", key, group if self.chance(30) else b"g2"]
        elif kind == 9:
            out = [b"XGROUP", b"CREATECONSUMER", key, group, self.stream_consumer()]
        elif kind == 10:
            out = [b"XGROUP", b"DELCONSUMER", key, group, self.stream_consumer()]
        else:
            out = [b"XGROUP", self.r.choice([b"foo", b"CREATE", b"SETID", b"HELP", b"destroy"]), key]
        return out + [self.r.choice([b"foo", b"MKSTREAM", b"ENTRIESREAD"])] if self.chance(3) else out

    def c_xack(self):
        return [b"XACK", self.stream_key(), self.stream_group()] + [self.stream_id() for _ in range(self.r.choice([1, 1, 2, 5, 12]))]

    def stream_idle(self):
        return self.r.choice([b"0", b"0", b"0", b"0", b"%d" % HOUR, b"-1", b"%d" % (10 * HOUR)]) if self.chance(97) else self.r.choice([b"x", b"", b"9223372036854775807", b"9223372036854775808"])

    def c_xclaim(self):
        out = [b"XCLAIM", self.stream_key(), self.stream_group(), self.stream_consumer(), self.stream_idle()]
        out += [self.stream_id() for _ in range(self.r.choice([1, 2, 5, 12]))]
        for _ in range(self.r.choice([0, 0, 1, 2, 3])):
            out += self.r.choice([[b"FORCE"], [b"FORCE"], [b"JUSTID"], [b"IDLE", b"%d" % (2 * HOUR)], [b"IDLE", b"0"], [b"TIME", b"1000"], [b"TIME", b"-5"], [b"TIME", b"9223372036854775807"],
                                  [b"IDLE", b"-9223372036854775808"], [b"RETRYCOUNT", b"%d" % self.r.choice([0, 5, -1, 2**63 - 1])], [b"LASTID", self.stream_id()],
                                  [b"RETRYCOUNT", b"x"], [b"foo"] if self.chance(20) else [b"force"], [b"IDLE"] if self.chance(10) else [b"justid"]])
        return out

    def c_xautoclaim(self):
        out = [b"XAUTOCLAIM", self.stream_key(), self.stream_group(), self.stream_consumer(), self.stream_idle(), self.stream_end(b"-") if self.chance(70) else b"0"]
        if self.chance(50):
            out += [self.case(b"COUNT"), b"%d" % self.r.choice([1, 1, 2, 3, 10]) if self.chance(90) else self.r.choice([b"0", b"-1", b"x", b"922337203685477580", b"922337203685477581", b"9223372036854775807"])]
        if self.chance(30):
            out.append(self.case(b"JUSTID"))
        return out + [b"foo"] if self.chance(2) else out

    def c_xpending(self):
        out = [b"XPENDING", self.stream_key(), self.stream_group()]
        if self.chance(25):
            return out
        if self.chance(40):
            out += [self.case(b"IDLE"), self.stream_idle()]
        out += [self.stream_end(b"-"), self.stream_end(b"+"), b"%d" % self.r.choice([0, 1, 3, 10, 100, -1]) if self.chance(95) else self.integer()]
        if self.chance(40):
            out.append(self.stream_consumer())
        return out[:-1] if self.chance(3) else out

    def c_xinfo(self):
        key = self.stream_key()
        out = self.r.choice([[b"XINFO", b"STREAM", key], [b"XINFO", b"STREAM", key, self.case(b"FULL")], [b"XINFO", b"STREAM", key, b"FULL", b"COUNT", b"%d" % self.r.randint(-1, 5)],
                             [b"XINFO", b"GROUPS", key], [b"XINFO", b"CONSUMERS", key, self.stream_group()], [b"XINFO", b"GROUPS", key]])
        return out + [self.r.choice([b"foo", b"COUNT", b"FULL"])] if self.chance(3) else out

    def c_xmix(self):
        """What other groups do with the keys of streams."""
        k = self.stream_key()
        return self.r.choice([[b"COPY", k, self.stream_key(), b"REPLACE"], [b"RENAME", k, self.stream_key()], [b"OBJECT", b"ENCODING", k], [b"TYPE", k], [self.r.choice([b"DEL", b"UNLINK"]), self.typed(b"stream")],
                              [b"PEXPIRE", k, self.spaced(1000)], [b"PERSIST", k], [b"GET", k], [b"APPEND", k, b"x"], [b"LPUSH", k, b"x"], [b"MEMORY", b"USAGE", k]])
