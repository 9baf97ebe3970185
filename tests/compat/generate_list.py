"""Lists for generate.py.

Most keys belong to lists alone and most elements come from a few texts, so that searches find something; now and then a list grows past
one block (thousands of elements, or elements larger than a block), and its whole content is compared.
"""

ELEMENTS = [b"a", b"b", b"c", b"x", b"", b"0", b"1", b"-1", b"127", b"128", b"4095", b"-4096", b"-4097", b"32768", b"8388608", b"2147483648",
            b"9223372036854775807", b"-9223372036854775808", b"9223372036854775808", b"01", b"-0", b"+1", b"1.5", b"e" * 63, b"e" * 64, b"f" * 200]
LARGE = [b"L" * 3000, b"M" * 4096, b"N" * 8170, b"N" * 8181, b"N" * 8192, b"O" * 9000, b"P" * 20000]


class Commands:
    WEIGHTS = {"lpush": 12, "lpop": 8, "lrange": 10, "lset": 4, "linsert": 5, "lrem": 5, "ltrim": 2, "lpos": 7, "lmove": 6, "lmpop": 5, "lgrow": 0.6,
               "lmix": 1, "lconfig": 0.3}

    def list_key(self):
        return self.typed(b"list")

    def list_element(self):
        if self.chance(3):
            return self.r.choice(LARGE)
        return self.value() if self.chance(4) else self.r.choice(ELEMENTS)

    def list_index(self):
        if self.chance(25):
            return self.integer()
        return b"%d" % self.r.choice([0, -1, 1, -2, 2, 3, 5, -5, 10, -10, 50, -50, 127, 128, 700, -700])

    def list_side(self):
        return self.case(self.r.choice([b"LEFT", b"RIGHT"])) if not self.chance(3) else self.r.choice([b"", b"up", b"BEFORE", b"LEFTT"])

    def c_lpush(self):
        name = self.r.choice([b"LPUSH", b"RPUSH", b"RPUSH", b"LPUSHX", b"RPUSHX"])
        return [name, self.list_key()] + [self.list_element() for _ in range(self.r.choice([1, 1, 2, 3, 10, 30]))]

    def c_lgrow(self):
        many = self.r.choice([200, 1000, 5000])
        text = self.r.choice([b"grow", b"a rather longer text %d" % self.r.randrange(100), b""])
        return [self.r.choice([b"LPUSH", b"RPUSH"]), self.list_key()] + [text + b"%d" % (i * self.r.choice([1, 7919])) for i in range(many)]

    def c_lconfig(self):
        """Of lists that are made from then on: how many blocks at each end are not compressed, and how large a block is."""
        if self.chance(50):
            return [b"CONFIG", b"SET", b"list-compress-depth", self.r.choice([b"0", b"1", b"1", b"2", b"3"])]
        return [b"CONFIG", b"SET", b"list-max-listpack-size", self.r.choice([b"-2", b"-1", b"3", b"20", b"128"])]

    def c_lpop(self):
        out = [self.r.choice([b"LPOP", b"RPOP"]), self.list_key()]
        if self.chance(40):
            out.append(b"%d" % self.r.choice([0, 1, 2, 3, 10, 100]) if self.chance(75) else self.integer())
        return out

    def c_llen(self):
        return [b"LLEN", self.list_key()]

    def c_lindex(self):
        return [b"LINDEX", self.list_key(), self.list_index()]

    def c_lset(self):
        return [b"LSET", self.list_key(), self.list_index(), self.list_element()]

    def c_lrange(self):
        if self.chance(40):
            return [b"LRANGE", self.list_key(), b"0", b"-1"]
        return [b"LRANGE", self.list_key(), self.list_index(), self.list_index()]

    def c_ltrim(self):
        if self.chance(60):
            return [b"LTRIM", self.list_key(), b"%d" % self.r.choice([0, 1, 2, 40]), b"%d" % self.r.choice([-1, -2, -3, 300, 1500])]
        return [b"LTRIM", self.list_key(), self.list_index(), self.list_index()]

    def c_lrem(self):
        count = b"%d" % self.r.choice([0, 1, -1, 2, -2, 5, -5]) if self.chance(80) else self.integer()
        return [b"LREM", self.list_key(), count, self.list_element()]

    def c_linsert(self):
        where = self.case(self.r.choice([b"BEFORE", b"AFTER"])) if not self.chance(4) else self.r.choice([b"", b"LEFT"])
        return [b"LINSERT", self.list_key(), where, self.list_element(), self.list_element()]

    def c_lpos(self):
        out = [b"LPOS", self.list_key(), self.list_element()]
        for _ in range(self.r.choice([0, 1, 1, 2, 3])):
            word = self.r.choice([b"RANK", b"COUNT", b"MAXLEN", b"RANK", b"COUNT", b"MAXLEN", b"foo" if self.chance(10) else b"RANK"])
            out.append(self.case(word))
            if not self.chance(3):
                out.append(b"%d" % self.r.choice([0, 1, -1, 2, -2, 3, 10, 100]) if self.chance(85) else self.integer())
        return out

    def c_lmove(self):
        if self.chance(30):
            return [b"RPOPLPUSH", self.list_key(), self.list_key()]
        return [b"LMOVE", self.list_key(), self.list_key(), self.list_side(), self.list_side()]

    def c_lmpop(self):
        keys = [self.list_key() for _ in range(self.r.choice([1, 1, 2, 3]))]
        number = b"%d" % len(keys) if not self.chance(10) else self.integer()
        out = [b"LMPOP", number] + keys + [self.list_side()]
        if self.chance(60):
            out.append(self.case(b"COUNT"))
            if not self.chance(4):
                out.append(b"%d" % self.r.choice([1, 2, 3, 10, 1000]) if self.chance(80) else self.integer())
        if self.chance(4):
            out += [b"COUNT", b"1"]
        return out

    def c_lmix(self):
        """What other groups do with the keys of lists."""
        k = self.list_key()
        return self.r.choice([[b"COPY", k, self.list_key(), b"REPLACE"], [b"RENAME", k, self.list_key()], [b"OBJECT", b"ENCODING", k], [b"TYPE", k],
                              [b"DEL", k], [b"UNLINK", k], [b"PEXPIRE", k, self.spaced(1000)], [b"PERSIST", k], [b"SET", k, b"text"], [b"GET", k],
                              [b"APPEND", k, b"x"], [b"INCR", k], [b"GETSET", k, b"1"], [b"SETRANGE", k, b"1", b"x"], [b"MGET", k, k]])
