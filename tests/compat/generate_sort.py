"""SORT and SORT_RO for generate.py, over the lists, sets and sorted sets of the other groups and over weights that it makes."""


class Commands:
    WEIGHTS = {"sort": 6, "sortdata": 4}

    def sortable(self):
        return self.r.choice([b"sl1", b"sl2", b"ss1", b"ssint", b"sz1", b"nokey"]) if self.chance(90) else self.key()

    def c_sortdata(self):
        """Elements 1..9 with weights that differ, so that no order is left open."""
        n = b"%d" % self.r.randint(1, 12)
        return self.r.choice([
            [b"RPUSH", self.r.choice([b"sl1", b"sl2"])] + [b"%d" % self.r.randint(-20, 20) for _ in range(self.r.randint(1, 5))],
            [b"RPUSH", b"sl2", self.r.choice([b"1.5", b"1e3", b"abc", b"", b" 5", b"0x10", b"nan", b"inf", b"-inf", b"7"])],
            [b"SADD", b"ss1"] + [self.r.choice([b"a", b"b", b"10", b"9", b"zz", b"1.25"]) for _ in range(3)],
            [b"SADD", b"ssint"] + [b"%d" % self.r.randint(-5, 15) for _ in range(3)],
            [b"ZADD", b"sz1", b"%d" % self.r.randint(-3, 3), n, b"2.5", b"%d" % self.r.randint(1, 30)],
            [b"SET", b"w_" + n, b"%d.%s" % (self.r.randint(-9, 9), n)],
            [b"SET", b"o_" + n, self.r.choice([b"object", b"", b"17", n])],
            [b"HSET", b"h_" + n, b"f", b"%d.%s" % (self.r.randint(-9, 9), n), b"", b"empty"],
            [b"DEL", self.r.choice([b"sl1", b"sl2", b"ss1", b"ssint", b"sz1"])],
            [b"TYPE", b"w_" + n],
        ])

    def c_sort(self):
        name = self.r.choice([b"SORT", b"SORT", b"SORT_RO"])
        out = [name, self.sortable()]
        by = False
        for _ in range(self.r.choice([0, 1, 1, 2, 3, 4])):
            kind = self.r.randrange(9)
            if kind == 0:
                out.append(self.case(self.r.choice([b"ASC", b"DESC"])))
            elif kind == 1 and not by:
                out.append(self.case(b"ALPHA"))
            elif kind == 2:
                out += [self.case(b"LIMIT"), self.integer(), self.integer()]
            elif kind == 3 and b"ALPHA" not in [o.upper() for o in out]:
                by = True
                out += [self.case(b"BY"), self.r.choice([b"w_*", b"h_*->f", b"nosort", b"w_*->f", b"h_*->", b"*", b"#", b"x*y"])]
            elif kind in (4, 5):
                out += [self.case(b"GET"), self.r.choice([b"#", b"o_*", b"h_*->f", b"h_*->none", b"w_*", b"nostar", b"h_*->", b"o_*->f", b"*"])]
            elif kind == 6:
                out += [self.case(b"STORE"), self.r.choice([b"sdest", b"sl2", b"{t}dest"])]
            elif kind == 7 and self.chance(10):
                out.append(self.r.choice([b"foo", b"STORE", b"BY", b"GET", b"LIMIT"]))
        unsorted = any(o.upper() == b"BY" and b"*" not in (out + [b""])[i + 1] for i, o in enumerate(out))
        if out[1] in (b"ss1", b"ssint") and unsorted or not out[1].startswith(b"s") and out[1] != b"nokey":
            return [b"SORT", b"sl1"]  # a set in its own order; or any key, which may be a set
        if self.group != "sort" and b"ALPHA" not in [o.upper() for o in out]:
            # Redis does not clear errno: a number that was too large for any command before makes it refuse to sort by numbers.
            return [out[0], b"sl1", b"ALPHA", b"DESC"]
        return out
