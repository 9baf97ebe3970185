"""Sorted sets for generate.py.

What Redis answers to a range by member is told by its skiplist's random levels when the scores differ: such ranges are asked of keys
of their own, which hold one score, or few members (a listpack, which is walked).
"""

SCORES = [b"0", b"-0", b"1", b"2", b"3", b"-1", b"0.5", b"1.5", b"-2.25", b"0.1", b"1e17", b"-1e17", b"1e18", b"4e18", b"5e18", b"1e19", b"1e-7",
          b"inf", b"-inf", b"+inf", b"3.14159265358979", b"9007199254740993", b"1.7976931348623157e308", b"5e-324", b"100", b"128", b"70000"]
BAD_SCORES = [b"nan", b"", b"abc", b"1 ", b" 1", b"1e400", b"0x10", b"--1", b"1,5", b"1\x00", b"(1"]
WORDS = [b"a", b"b", b"c", b"aa", b"ab", b"foo", b"bar", b"", b"\x00", b"\xff", b"Z", b"1", b"10", b"-5", b"007", b"9223372036854775807",
         b"99999999999999999999", b"x" * 63, b"hello world"]


class Commands:
    WEIGHTS = {"zadd": 12, "zaddmany": 1.5, "zincrby": 5, "zrange": 8, "zrangeold": 6, "zlex": 6, "zlexadd": 4, "zalgebra": 8, "zrem": 4, "zremrange": 2,
               "zstoreset": 2}

    def zkey(self):
        return self.typed(b"z")

    def zscore(self):
        if self.chance(3):
            return self.r.choice(BAD_SCORES)
        if self.chance(25):
            return self.r.choice(SCORES)
        return b"%d" % self.r.randint(-20, 20) if self.chance(80) else b"%g" % (self.r.random() * 10)

    def zmember(self):
        if self.chance(1):
            return self.value()
        if self.chance(1):
            return b"L" * self.r.choice([64, 65, 254, 255, 256, 5000])
        return self.r.choice(WORDS) if self.chance(50) else b"m%d" % self.r.randrange(30)

    def zpairs(self, n):
        out = []
        for _ in range(n):
            out += [self.zscore(), self.zmember()]
        return out

    def c_zadd(self):
        out = [b"ZADD", self.zkey()]
        for _ in range(self.r.choice([0, 0, 0, 1, 1, 2, 3])):
            out.append(self.case(self.r.choice([b"NX", b"XX", b"GT", b"LT", b"CH", b"CH", b"INCR"])))
        return out + self.zpairs(self.r.choice([1, 1, 1, 2, 3, 8]))

    def c_zaddmany(self):
        out = [b"ZADD", self.zkey()]
        for i in range(self.r.choice([100, 127, 128, 129, 300])):
            out += [b"%d" % self.r.randint(-50, 50), b"n%d" % self.r.randrange(1000)]
        return out

    def c_zincrby(self):
        return [b"ZINCRBY", self.zkey(), self.zscore(), self.zmember()]

    def c_zrem(self):
        return [b"ZREM", self.zkey()] + [self.zmember() for _ in range(self.r.choice([1, 1, 2, 5, 20]))]

    def c_zread(self):
        name = self.r.choice([b"ZSCORE", b"ZRANK", b"ZREVRANK", b"ZMSCORE", b"ZCARD"])
        out = [name, self.zkey()]
        if name == b"ZMSCORE":
            return out + [self.zmember() for _ in range(self.r.randint(1, 4))]
        return out if name == b"ZCARD" else out + [self.zmember()]

    def zend(self):
        s = self.zscore() if self.chance(90) else self.r.choice([b"(", b"", b" 1", b"((1", b"1\x00x", b"(inf", b"1e400"])
        return b"(" + s if self.chance(25) else s

    def zrank_arg(self):
        return b"%d" % self.r.randint(-12, 12) if self.chance(85) else self.integer()

    def zlimit(self):
        return [self.case(b"LIMIT"), self.zrank_arg(), self.zrank_arg()]

    def c_zcount(self):
        return [b"ZCOUNT", self.zkey(), self.zend(), self.zend()]

    def c_zrange(self):
        store = self.chance(25)
        out = [b"ZRANGESTORE", self.zkey(), self.zkey()] if store else [b"ZRANGE", self.zkey()]
        by = self.r.choice([b"", b"", b"BYSCORE"])
        out += [self.zrank_arg(), self.zrank_arg()] if not by else [self.zend(), self.zend()]
        options = [[self.case(by)]] if by else []
        if self.chance(40):
            options.append([self.case(b"REV")])
        if self.chance(40 if by else 5):
            options.append(self.zlimit())
        if self.chance(5 if store else 45):
            options.append([self.case(b"WITHSCORES")])
        if self.chance(3):
            options.append([self.r.choice([b"foo", b"LIMIT", b"BYLEX", b""])])
        self.r.shuffle(options)
        return out + [w for o in options for w in o]

    def c_zrangeold(self):
        name = self.r.choice([b"ZREVRANGE", b"ZRANGEBYSCORE", b"ZREVRANGEBYSCORE"])
        out = [name, self.zkey()]
        out += [self.zrank_arg(), self.zrank_arg()] if name == b"ZREVRANGE" else [self.zend(), self.zend()]
        if self.chance(45):
            out.append(self.case(b"WITHSCORES"))
        if self.chance(5 if name == b"ZREVRANGE" else 35):
            out += self.zlimit()
        if self.chance(3):
            out.append(self.r.choice([b"REV", b"BYSCORE", b"foo"]))
        return out

    # ---- by member ----

    def lexkey(self):
        return self.r.choice([b"lx1", b"lx2", b"lx{t}", b"lm1", b"lm2"])

    def lexword(self):
        return self.r.choice(WORDS[:16]) if self.chance(60) else b"%c%c" % (self.r.randrange(97, 123), self.r.randrange(97, 123))

    def c_zlexadd(self):
        key = self.lexkey()
        if key.startswith(b"lm"):
            return [b"ZADD", key, b"%d" % self.r.randint(0, 2), self.r.choice(WORDS[:16])]
        n = self.r.choice([1, 3, 3, 10, 150])
        return [b"ZADD", key] + [w for _ in range(n) for w in (b"0", self.lexword())]

    def lexend(self):
        if self.chance(20):
            return self.r.choice([b"-", b"+", b"-", b"+", b"-\x00a", b"+a"])
        if self.chance(4):
            return self.r.choice([b"", b"a", b"1", b"++"])
        return self.r.choice([b"[", b"("]) + self.lexword()

    def c_zlex(self):
        name = self.r.choice([b"ZRANGEBYLEX", b"ZREVRANGEBYLEX", b"ZLEXCOUNT", b"ZREMRANGEBYLEX", b"ZRANGE", b"ZRANGESTORE"])
        out = [name] + ([b"lx9"] if name == b"ZRANGESTORE" else []) + [self.lexkey(), self.lexend(), self.lexend()]
        if name in (b"ZLEXCOUNT", b"ZREMRANGEBYLEX"):
            return out
        if name in (b"ZRANGE", b"ZRANGESTORE"):
            out.append(self.case(b"BYLEX"))
            if self.chance(40):
                out.append(self.case(b"REV"))
        if self.chance(30):
            out += self.zlimit()
        if self.chance(3):
            out.append(b"WITHSCORES")
        return out

    # ---- out ----

    def c_zremrange(self):
        if self.chance(50):
            return [b"ZREMRANGEBYRANK", self.zkey(), self.zrank_arg(), self.zrank_arg()]
        return [b"ZREMRANGEBYSCORE", self.zkey(), self.zend(), self.zend()]

    def c_zpop(self):
        out = [self.r.choice([b"ZPOPMIN", b"ZPOPMAX"]), self.zkey()]
        return out + ([self.integer() if self.chance(20) else b"%d" % self.r.randint(0, 4)] if self.chance(60) else [])

    def c_zmpop(self):
        keys = [self.zkey() for _ in range(self.r.randint(1, 4))]
        n = b"%d" % len(keys) if self.chance(92) else self.r.choice([b"0", b"-1", b"abc", b"2", b"99"])
        out = [b"ZMPOP", n] + keys + [self.case(self.r.choice([b"MIN", b"MAX"])) if self.chance(95) else b"foo"]
        if self.chance(50):
            out += [self.case(b"COUNT"), b"%d" % self.r.randint(1, 5) if self.chance(90) else self.integer()]
        return out

    def c_zrandmember(self):
        out = [b"ZRANDMEMBER", self.zkey()]
        if self.chance(60):
            out.append(b"%d" % self.r.randint(-5, 200) if self.chance(90) else self.r.choice([b"abc", b"-9223372036854775808", b"0", b""]))
            if self.chance(50):
                out.append(self.case(b"WITHSCORES"))
        return out

    def c_zscan(self):
        out = [b"ZSCAN", self.zkey(), b"0" if self.chance(90) else self.integer()]
        if self.chance(70):
            out += [b"COUNT", b"100000"]
        if self.chance(30):
            out += [b"MATCH", self.r.choice([b"*", b"m*", b"[a-c]*", b"n?", b""])]
        if self.chance(3):
            out += self.r.choice([[b"COUNT", b"0"], [b"COUNT", b"x"], [b"foo"], [b"TYPE", b"zset"]])
        return out

    # ---- several ----

    def c_zalgebra(self):
        op = self.r.choice([b"ZUNION", b"ZINTER", b"ZDIFF", b"ZINTERCARD"])
        store = op != b"ZINTERCARD" and self.chance(50)
        keys = [self.zkey() if self.chance(90) else self.r.choice([b"s1", b"s2", b"s3"]) for _ in range(self.r.choice([1, 2, 2, 3, 4]))]
        n = b"%d" % len(keys) if self.chance(94) else self.r.choice([b"0", b"-1", b"abc", b"1", b"99", b"9223372036854775807"])
        out = [op + b"STORE", self.zkey(), n] if store else [op, n]
        out += keys
        if self.chance(40 if op in (b"ZUNION", b"ZINTER") else 3):
            out += [self.case(b"WEIGHTS")] + [self.zscore() for _ in range(len(keys) if self.chance(95) else 1)]
        if self.chance(40 if op in (b"ZUNION", b"ZINTER") else 3):
            out += [self.case(b"AGGREGATE"), self.case(self.r.choice([b"SUM", b"MIN", b"MAX"])) if self.chance(96) else b"avg"]
        if self.chance(3 if store or op == b"ZINTERCARD" else 50):
            out.append(self.case(b"WITHSCORES"))
        if self.chance(50 if op == b"ZINTERCARD" else 1):
            out += [self.case(b"LIMIT"), self.integer() if self.chance(20) else b"%d" % self.r.randint(0, 4)]
        return out

    def c_zstoreset(self):
        """A set to be an input."""
        return [b"SADD", self.r.choice([b"s1", b"s2", b"s3"])] + [self.zmember() if self.chance(50) else b"%d" % self.r.randrange(50) for _ in range(self.r.randint(1, 6))]
