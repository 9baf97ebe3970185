"""HyperLogLog for generate.py. What counts is compared as bytes too: GET of a sketch."""


class Commands:
    WEIGHTS = {"pfadd": 8, "pfdebug": 1, "pfget": 2, "pfcorrupt": 0.4}

    def sketch(self):
        return self.typed(b"hll")

    def element(self):
        return b"%d" % self.r.randrange(3000) if self.chance(90) else self.value()

    def c_pfadd(self):
        return [b"PFADD", self.sketch()] + [self.element() for _ in range(self.r.choice([0, 1, 1, 2, 5, 50, 300]))]

    def c_pfcount(self):
        return [b"PFCOUNT"] + [self.sketch() for _ in range(self.r.choice([1, 1, 2, 3]))]

    def c_pfmerge(self):
        return [b"PFMERGE", self.sketch()] + [self.sketch() for _ in range(self.r.choice([0, 1, 1, 2]))]

    def c_pfget(self):
        return [b"GET", self.sketch()]

    def c_pfdebug(self):
        return [b"PFDEBUG", self.case(self.r.choice([b"GETREG", b"DECODE", b"DECODE", b"ENCODING", b"TODENSE", b"foo"])), self.sketch()]

    def c_pfcorrupt(self):
        """Bytes that look like a sketch at first. None ends in the middle of a run: Redis reads the NUL behind its string then, we refuse."""
        body = self.r.choice([b"", b"\x7e\x01", b"\x7f\xff\x00", b"\x80\x7f\xfe", b"\xff" * 5000, self.r.randbytes(self.r.randint(1, 60)) + b"\x80\x80"])
        return [b"SET", self.sketch(), b"HYLL" + bytes([self.r.choice([0, 1, 1, 1, 2])]) + b"\x00" * 10 + b"\x80" + body]
