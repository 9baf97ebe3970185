"""Bitmaps for generate.py."""

OFFSETS = [0, 1, 7, 8, 9, 15, 63, 64, 65, 100, 1000, 8191, 65537]
BAD_OFFSETS = [-1, 2**32, 2**32 - 1 + 2**32, 2**63 - 1, -2**63, 2**63]


class Commands:
    WEIGHTS = {"setbit": 5, "bitfield": 5, "bitop": 4}

    def bitmap(self):
        return self.typed(b"bm")

    def bit_offset(self):
        if self.chance(4):
            return b"%d" % self.r.choice(BAD_OFFSETS)
        # no integer of any size: bit 2^31 makes a value of 256 MB
        return b"%d" % self.r.choice(OFFSETS) if not self.chance(4) else self.r.choice([b"abc", b"", b"1.5", b"-0", b"1e3", b" 1", b"#1"])

    def c_setbit(self):
        return [b"SETBIT", self.bitmap(), self.bit_offset(), self.r.choice([b"0", b"1", b"1"]) if not self.chance(5) else self.integer()]

    def c_getbit(self):
        return [b"GETBIT", self.bitmap(), self.bit_offset()]

    def bit_range(self):
        out = []
        for _ in range(self.r.choice([0, 1, 2, 2, 2])):
            out.append(self.integer() if self.chance(40) else b"%d" % self.r.randint(-30, 30))
        if self.chance(40):
            out.append(self.case(self.r.choice([b"BIT", b"BYTE", b"BIT", b"foo"])))
        return out

    def c_bitcount(self):
        return [b"BITCOUNT", self.bitmap()] + self.bit_range()

    def c_bitpos(self):
        return [b"BITPOS", self.bitmap(), self.r.choice([b"0", b"1", b"0", b"1", b"2", b"x"])] + self.bit_range()

    def c_bitop(self):
        op = self.case(self.r.choice([b"AND", b"OR", b"XOR", b"NOT", b"AND", b"OR", b"XOR", b"nand"]))
        return [b"BITOP", op, self.bitmap()] + [self.bitmap() for _ in range(1 if op.upper() == b"NOT" and self.chance(80) else self.r.randint(1, 4))]

    def field_type(self):
        if self.chance(4):
            return self.r.choice([b"u64", b"i65", b"u0", b"i0", b"x8", b"", b"u", b"i-1", b"U8", b"u8\x00x", b"i8 "])
        return b"%c%d" % (self.r.choice(b"iu"), self.r.choice([1, 2, 5, 7, 8, 9, 16, 31, 32, 33, 63]))

    def field_offset(self):
        if self.chance(30):
            return b"#%d" % self.r.choice([0, 1, 2, 10, -1, 100])
        return self.bit_offset()

    def field_number(self):
        return self.integer() if self.chance(50) else b"%d" % self.r.randint(-300, 300)

    def c_bitfield(self):
        name = self.r.choice([b"BITFIELD", b"BITFIELD", b"BITFIELD", b"BITFIELD_RO"])
        out = [name, self.bitmap()]
        for _ in range(self.r.choice([0, 1, 1, 2, 3, 5])):
            word = self.case(self.r.choice([b"GET", b"SET", b"INCRBY", b"INCRBY", b"OVERFLOW", b"foo" if self.chance(5) else b"GET"]))
            if name == b"BITFIELD_RO" and self.chance(90):
                word = b"GET"
            out.append(word)
            if word.upper() == b"OVERFLOW":
                out.append(self.case(self.r.choice([b"WRAP", b"SAT", b"FAIL", b"WRAP" if self.chance(90) else b"no"])))
                continue
            out += [self.field_type(), self.field_offset()]
            if word.upper() in (b"SET", b"INCRBY"):
                out.append(self.field_number())
        return out
