"""Sets for generate.py."""

MEMBERS = [b"a", b"b", b"c", b"d", b"", b"1", b"2", b"3", b"10", b"-1", b"-0", b"01", b"1.0", b"32767", b"32768", b"-32769", b"2147483648", b"4294967296",
           b"9223372036854775807", b"-9223372036854775808", b"9223372036854775808", b"\x00", b"a\r\nb", b"x" * 64, b"y" * 127, b"y" * 128, b"z" * 600, b"member:1", b"foo", b"bar"]


class Commands:
    WEIGHTS = {"sadd": 12, "srem": 5, "salgebra": 8, "sstore": 8, "sbig": 1.5, "smove": 4, "spop": 3}

    def set_key(self):
        return self.typed(b"set")

    def member(self):
        if self.chance(50):
            return self.r.choice(MEMBERS)
        if self.chance(50):
            return b"%d" % self.r.randint(-40, 40)
        return b"m%d" % self.r.randint(0, 60) if not self.chance(2) else self.value()

    def members(self, most=6):
        return [self.member() for _ in range(self.r.randint(1, most))]

    def c_sadd(self):
        return [b"SADD", self.set_key()] + self.members()

    def c_sbig(self):
        """Around the limit of intsets, and some pages of the table."""
        n, first = self.r.choice([510, 512, 513, 600, 1500]), self.r.choice([0, -300, 32700, 2**31 - 5])
        form = self.r.choice([b"%d", b"%d", b"member:%d"])
        return [b"SADD", self.set_key()] + [form % i for i in range(first, first + n)]

    def c_srem(self):
        return [b"SREM", self.set_key()] + self.members(20 if self.chance(20) else 4)

    def c_sismember(self):
        return [b"SISMEMBER", self.set_key(), self.member()]

    def c_smismember(self):
        return [b"SMISMEMBER", self.set_key()] + self.members()

    def c_scard(self):
        return [b"SCARD", self.set_key()]

    def c_smembers(self):
        return [b"SMEMBERS", self.set_key()]

    def c_smove(self):
        return [b"SMOVE", self.set_key(), self.set_key(), self.member()]

    def set_keys(self):
        return [self.set_key() for _ in range(self.r.choice([1, 1, 2, 2, 2, 3, 4, 6]))]

    def c_salgebra(self):
        return [self.r.choice([b"SINTER", b"SUNION", b"SDIFF"])] + self.set_keys()

    def c_sstore(self):
        return [self.r.choice([b"SINTERSTORE", b"SUNIONSTORE", b"SDIFFSTORE"]), self.set_key()] + self.set_keys()

    def c_sintercard(self):
        keys = self.set_keys()
        n = b"%d" % len(keys) if not self.chance(10) else self.integer()
        out = [b"SINTERCARD", n] + keys
        for _ in range(self.r.choice([0, 0, 1, 1, 2])):
            out += [self.case(b"LIMIT"), b"%d" % self.r.randint(0, 5) if self.chance(80) else self.integer()]
        return out

    def c_spop(self):
        """What comes out is chance: only counts at which nothing is left, or none goes, keep both servers alike."""
        count = self.r.choice([b"0", b"100000", b"9223372036854775807"]) if not self.chance(15) else \
            self.r.choice([b"-1", b"abc", b"", b"9223372036854775808", b"-9223372036854775808", b"1.5"])
        return [b"SPOP", self.set_key(), count]

    def command(self):
        argv = super().command()
        if argv[0].upper() == b"SPOP" and len(argv) == 2:  # one argument was taken away
            argv.append(b"0")
        return argv

    def c_srandmember(self):
        out = [b"SRANDMEMBER", self.set_key()]
        if self.chance(70):
            count = self.r.choice([b"0", b"1", b"-1", b"-5", b"3", b"100000", b"2147483648"]) if not self.chance(15) else \
                self.r.choice([b"abc", b"", b"9223372036854775808", b"-9223372036854775808", b"1.5"])
            out.append(count)
        return out

    def c_sscan(self):
        out = [b"SSCAN", self.set_key(), b"0" if self.chance(85) else self.integer()]
        if self.chance(70):
            out += [self.case(b"COUNT"), b"100000"]
        for _ in range(self.r.choice([0, 0, 1, 1])):
            out += self.r.choice([[b"MATCH", b"*"], [b"MATCH", b"m*"], [b"MATCH", b"[0-9]*"], [b"COUNT", b"0"], [b"COUNT", b"x"], [b"TYPE", b"set"], [b"NOVALUES"], [b"foo"]])
        return out
