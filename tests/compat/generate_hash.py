"""Hashes for generate.py. The expiry of fields is not of Redis 7.0: unit tests have it."""

FIELDS = [b"a", b"b", b"c", b"", b"1", b"2", b"-1", b"01", b"10000", b"\x00", b"f\r\n", b"f" * 63, b"f" * 64, b"f" * 65, b"f" * 128, b"f" * 700, b"field:1", b"n", b"x"]


class Commands:
    WEIGHTS = {"hset": 12, "hget": 5, "hdel": 5, "hincrby": 6, "hincrbyfloat": 6, "hbig": 1.5}

    def hash_key(self):
        return self.typed(b"hash")

    def field(self):
        if self.chance(50):
            return self.r.choice(FIELDS)
        return b"f%d" % self.r.randint(0, 40)

    def hash_value(self):
        if self.chance(60):
            return self.r.choice([b"", b"1", b"-5", b"v", b"9223372036854775807", b"-9223372036854775808", b"1.5", b"3.0e3", b"v" * 63, b"v" * 64, b"v" * 65, b"v" * 300, b" 1", b"1e400", b"inf"])
        return self.value()

    def c_hset(self):
        out = [self.r.choice([b"HSET", b"HSET", b"HSET", b"HMSET"]), self.hash_key()]
        for _ in range(self.r.choice([1, 1, 1, 2, 3, 5])):
            out += [self.field(), self.hash_value()]
        return out

    def c_hbig(self):
        """Around the limit of listpacks, and some pages of the table."""
        out = [b"HSET", self.hash_key()]
        for i in range(self.r.choice([127, 128, 129, 130, 600])):
            out += [b"field:%d" % i, b"value:%d" % (i * 7) if i % 3 else b"%d" % i]
        return out

    def c_hsetnx(self):
        return [b"HSETNX", self.hash_key(), self.field(), self.hash_value()]

    def c_hget(self):
        return [self.r.choice([b"HGET", b"HGET", b"HEXISTS", b"HSTRLEN"]), self.hash_key(), self.field()]

    def c_hmget(self):
        return [b"HMGET", self.hash_key()] + [self.field() for _ in range(self.r.randint(1, 6))]

    def c_hgetall(self):
        return [self.r.choice([b"HGETALL", b"HGETALL", b"HKEYS", b"HVALS", b"HLEN"]), self.hash_key()]

    def c_hdel(self):
        return [b"HDEL", self.hash_key()] + [self.field() for _ in range(self.r.choice([1, 1, 2, 5, 30]))]

    def c_hincrby(self):
        return [b"HINCRBY", self.hash_key(), self.field(), self.integer()]

    def c_hincrbyfloat(self):
        from_ = [b"0", b"1", b"0.1", b"-0.3", b"3.0e3", b"1e17", b"1e400", b"1e4931", b"inf", b"-inf", b"nan", b"0x1p3", b" 1", b"1 ", b"", b"abc", b"5.", b"-0"]
        return [b"HINCRBYFLOAT", self.hash_key(), self.field(), self.r.choice(from_)]

    def c_hrandfield(self):
        out = [b"HRANDFIELD", self.hash_key()]
        if self.chance(75):
            count = self.r.choice([b"0", b"1", b"-1", b"-5", b"3", b"100000", b"2147483648"]) if not self.chance(20) else \
                self.r.choice([b"abc", b"", b"9223372036854775808", b"-9223372036854775808", b"1.5", b"9223372036854775807"])
            out.append(count)
            if self.chance(50):
                out.append(self.case(b"WITHVALUES") if not self.chance(8) else b"foo")
        return out

    def c_hscan(self):
        out = [b"HSCAN", self.hash_key(), b"0" if self.chance(85) else self.integer()]
        if self.chance(70):
            out += [self.case(b"COUNT"), b"100000"]
        for _ in range(self.r.choice([0, 0, 1, 1])):
            out += self.r.choice([[b"MATCH", b"*"], [b"MATCH", b"f*"], [b"MATCH", b"[0-9]*"], [b"COUNT", b"0"], [b"COUNT", b"x"], [b"TYPE", b"hash"], [b"NOVALUES"], [b"foo"]])
        return out
