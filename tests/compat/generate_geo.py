"""Geo for generate.py: places near each other, at the same spot, at the poles and at the date line."""

UNITS = [b"m", b"km", b"ft", b"mi"]
SPOTS = [(13.361389, 38.115556), (15.087269, 37.502669), (2.349014, 48.864716), (0, 0), (-0.0, 0.0), (180, 85.05112878), (-180, -85.05112878),
         (179.99, 10), (-179.99, 10), (50, 84.9), (50, -84.9), (100, 70), (-100, -70), (0.0001, 0.0001), (-122.4194, 37.7749)]
BAD = [(b"181", b"0"), (b"0", b"86"), (b"-180.1", b"0"), (b"nan", b"1"), (b"1", b"abc"), (b"", b"1"), (b"inf", b"0")]


class Commands:
    WEIGHTS = {"geoadd": 8, "geosearch": 12, "georadius": 8, "geoaddmany": 1}

    def place_key(self):
        return self.typed(b"geo") if self.chance(97) else b"z1"

    def place(self):
        return b"p%d" % self.r.randrange(60) if self.chance(95) else self.r.choice([b"", b"1", b"-7", b"q" * 70])

    def lonlat(self):
        if self.chance(2):
            return list(self.r.choice(BAD))
        if self.chance(40):
            lon, lat = self.r.choice(SPOTS)
        elif self.chance(60):
            lon, lat = self.r.uniform(12, 16), self.r.uniform(36, 39)
        else:
            lon, lat = self.r.uniform(-180, 180), self.r.uniform(-85, 85)
        return [b"%.6f" % lon, b"%r" % lat] if self.chance(50) else [b"%r" % lon, b"%.3f" % lat]

    def c_geoadd(self):
        out = [b"GEOADD", self.place_key()]
        for _ in range(self.r.choice([0, 0, 0, 1, 2])):
            out.append(self.case(self.r.choice([b"NX", b"XX", b"CH"])))
        for _ in range(self.r.choice([1, 2, 3, 10])):
            out += self.lonlat() + [self.place()]
        return out

    def c_geoaddmany(self):
        out = [b"GEOADD", self.place_key()]
        for i in range(150):
            out += [b"%.5f" % self.r.uniform(10, 18), b"%.5f" % self.r.uniform(35, 40), b"n%d" % self.r.randrange(500)]
        return out

    def c_geofacts(self):
        name = self.r.choice([b"GEOPOS", b"GEOHASH", b"GEODIST", b"GEODIST"])
        if name == b"GEODIST":
            return [name, self.place_key(), self.place(), self.place()] + ([self.unit()] if self.chance(60) else [])
        return [name, self.place_key()] + [self.place() for _ in range(self.r.randint(0, 3))]

    def unit(self):
        return self.case(self.r.choice(UNITS)) if self.chance(97) else self.r.choice([b"yd", b"", b"kmm"])

    def measure(self):
        if self.chance(3):
            return self.r.choice([b"-1", b"abc", b"nan", b"inf", b"", b"1e300", b"-0"])
        return self.r.choice([b"0", b"0.001", b"1", b"10", b"100", b"200", b"500", b"1000", b"3000", b"5000", b"7000", b"10000", b"22000", b"123.456",
                              b"%.2f" % self.r.uniform(0, 2000)])

    def geo_options(self, store, search):
        out = []
        for word in (b"WITHCOORD", b"WITHDIST", b"WITHHASH"):
            if self.chance(3 if store else 35):
                out.append([self.case(word)])
        if self.chance(40):
            out.append([self.case(self.r.choice([b"ASC", b"DESC"]))])
        if self.chance(40):
            out.append([self.case(b"COUNT"), b"%d" % self.r.randint(1, 40) if self.chance(92) else self.integer()] +
                       ([self.case(b"ANY")] if self.chance(35) else []))
        if self.chance(2):
            out.append([self.r.choice([b"ANY", b"foo", b"STORE", b"COUNT", b"STOREDIST"])])
        if search and store and self.chance(40):
            out.append([self.case(b"STOREDIST")])
        if store and not search:
            for _ in range(self.r.choice([1, 1, 1, 2])):
                out.append([self.case(self.r.choice([b"STORE", b"STOREDIST"])), self.place_key()])
        return out

    def shuffled(self, head, options):
        self.r.shuffle(options)
        return head + [w for o in options for w in o]

    def c_geosearch(self):
        store = self.chance(30)
        head = [b"GEOSEARCHSTORE", self.place_key(), self.place_key()] if store else [b"GEOSEARCH", self.place_key()]
        options = self.geo_options(store, True)
        if self.chance(97):
            options.append([self.case(b"FROMMEMBER"), self.place()] if self.chance(40) else [self.case(b"FROMLONLAT")] + self.lonlat())
        if self.chance(97):
            options.append([self.case(b"BYRADIUS"), self.measure(), self.unit()] if self.chance(50) else
                           [self.case(b"BYBOX"), self.measure(), self.measure(), self.unit()])
        if self.chance(2):
            options.append([self.case(b"BYRADIUS"), self.measure(), self.unit()])
        return self.shuffled(head, options)

    def c_georadius(self):
        member, ro = self.chance(40), self.chance(35)
        store = not ro and self.chance(35)
        name = b"GEORADIUS" + (b"BYMEMBER" if member else b"") + (b"_RO" if ro else b"")
        head = [name, self.place_key()] + ([self.place()] if member else self.lonlat()) + [self.measure(), self.unit()]
        return self.shuffled(head, self.geo_options(store, False))
