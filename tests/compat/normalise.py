"""Where two right servers cannot answer the same bytes, and what is compared instead.

Everything that is not in TABLE is compared byte for byte; and so is every reply of which one side is an error, whatever the command.
"""

import re

MS_TOLERANCE = 10000  # two servers run a command at two moments, on a machine that may be busy
S_TOLERANCE = 10


def near(tolerance):
    """Integers: the special values -2 and -1 exactly, others within the tolerance."""
    def same(a, b, argv):
        if a.kind != b":" or b.kind != b":":
            return a.raw == b.raw
        x, y = int(a.value), int(b.value)
        return x == y or (x >= 0 and y >= 0 and abs(x - y) <= tolerance)
    return same


def unordered(a, b, argv):
    return a.kind == b.kind and len(a.value) == len(b.value) and \
        sorted(i.raw for i in a.value) == sorted(i.raw for i in b.value)


def scan(a, b, argv):
    """From cursor 0 with a COUNT beyond all keys: the same keys in any order. Otherwise cursors mean nothing to each other."""
    shape = all(r.kind == b"*" and len(r.value) == 2 and r.value[0].kind == b"$" and
                re.fullmatch(rb"\d{1,20}", r.value[0].value) and r.value[1].kind == b"*" for r in (a, b))
    if not shape:
        return False
    whole = all(r.value[0].value == b"0" for r in (a, b)) and argv[1].strip(b"+-0") == b""
    if not whole:
        return True
    # An entry may be met twice while the table changes its size; never here, where nothing changes.
    return unordered(a.value[1], b.value[1], argv)


def pairs(a, b, argv):
    """Fields with their values in any order, flat, as a map or as an array of pairs."""
    def view(r):
        flat = [i.raw for i in r.value]
        return sorted(flat if all(i.kind == b"*" for i in r.value) else zip(flat[::2], flat[1::2]))
    return a.kind == b.kind and len(a.value) == len(b.value) and view(a) == view(b)


def field_scan(a, b, argv):
    """SSCAN, HSCAN: as scan, with the cursor behind the key."""
    members = pairs if argv[0].upper() == b"HSCAN" else unordered
    done = all(r.value[0].value == b"0" for r in (a, b)) and argv[2].strip(b"+-0") == b""
    return all(r.kind == b"*" and len(r.value) == 2 and r.value[0].kind == b"$" and re.fullmatch(rb"\d{1,16}", r.value[0].value)
               for r in (a, b)) and (not done or members(a.value[1], b.value[1], argv))


def drawn_members(a, b, argv):
    """Random members: as many; all of them when more than there can be were asked for."""
    if a.is_null or b.is_null or a.kind == b"$":
        return a.is_null == b.is_null and a.kind == b.kind
    if len(argv) > 2 and argv[2] in (b"100000", b"9223372036854775807"):
        return (pairs if len(argv) > 3 else unordered)(a, b, argv)
    return shape(a, b, argv)


def null_or_some(a, b, argv):
    return a.is_null == b.is_null and a.kind == b.kind if not a.is_null else a.raw == b.raw


def positive(a, b, argv):
    if a.is_null or b.is_null:
        return a.raw == b.raw
    return a.kind == b.kind == b":" and int(a.value) > 0 and int(b.value) > 0


def shape(a, b, argv):
    return a.kind == b.kind and len(a.value) == len(b.value) and \
        [i.kind for i in a.value] == [i.kind for i in b.value]


def hello(a, b, argv):
    """All but the number behind "id"."""
    def without_id(r):
        items = [i.raw for i in r.value]
        at = [i.value for i in r.value].index(b"id")
        return items[:at + 1] + items[at + 2:]
    return a.kind == b.kind and without_id(a) == without_id(b)


def zscan(a, b, argv):
    """Member, score pairs in any order where the whole set is answered at once; otherwise cursors mean nothing to each other."""
    def view(r):
        items = [i.raw for i in r.value[1].value]
        return sorted(zip(items[::2], items[1::2]))
    if any(r.kind != b"*" or len(r.value) != 2 or r.value[1].kind != b"*" or len(r.value[1].value) % 2 for r in (a, b)):
        return False
    if argv[2].strip(b"+-0") or any(r.value[0].value != b"0" for r in (a, b)):
        return True
    return view(a) == view(b)


def drawn(a, b, argv):
    """As many members, of the same shape; all of them when so many are asked for."""
    if a.is_null or b.is_null or a.kind != b"*":
        return a.kind == b.kind and a.is_null == b.is_null
    return a.kind == b.kind and len(a.value) == len(b.value) and [i.kind for i in a.value] == [i.kind for i in b.value]


CLIENT_SAME = (b"name", b"db", b"sub", b"psub", b"multi", b"cmd", b"user", b"resp")


def client_line(a, b, argv):
    """The names of Redis's fields in their order, and the values that do not depend on the transport. More may follow."""
    def view(r):
        out = []
        for line in r.value.splitlines():
            fields = [f.partition(b"=")[::2] for f in line.split(b" ")]
            out.append([(k, v if k in CLIENT_SAME else None) for k, v in fields])
        return out
    x, y = view(a), view(b)
    return a.kind == b.kind and len(x) == len(y) and all(w[:len(v)] == v for v, w in zip(x, y))


def help_text(a, b, argv):
    """Lines of text, among them the usage of every subcommand that Redis has."""
    def usages(r):
        return {i.value for i in r.value[1:] if not i.value.startswith(b" ")}
    return a.kind == b.kind == b"*" and all(i.kind == b"+" for i in b.value) and usages(a) <= usages(b) and \
        b.value[0].value.startswith(argv[0].upper() + b" ")


def help_names(a, b, argv):
    """As help_text, but only the names of the subcommands."""
    def names(r):
        return {i.value.split()[0] for i in r.value[1:] if not i.value.startswith(b" ")}
    return a.kind == b.kind == b"*" and all(i.kind == b"+" for i in b.value) and names(a) == names(b) and \
        b.value[0].value.startswith(argv[0].upper() + b" ")


def debug_object(a, b, argv):
    """All but the address and the clocks, and of lists their length in a file: a long element is a listpack there in Redis, itself here."""
    def view(r):
        volatile = rb"(?<=Value at:)0x[0-9a-f]+|(?<=lru:)\d+|(?<=lru_seconds_idle:)\d+"
        return re.sub(volatile + (rb"|(?<=serializedlength:)\d+" if b"ql_nodes" in r.value else b""), b"?", r.value)
    return a.kind == b.kind and view(a) == view(b)


def count(a, b, argv):
    if a.is_null or b.is_null:
        return a.raw == b.raw
    return a.kind == b.kind == b":" and int(b.value) >= 0


def refcount(a, b, argv):
    """Redis counts 0..9999 as shared, but a COPY of such a value as its own: the keyspace of the generator is full of copies."""
    both = {a.value, b.value}
    return a.kind == b.kind and (len(both) == 1 or both == {b"1", b"2147483647"})


def auto_id(a, b, argv):
    """XADD with "*": ids of the same moment."""
    x, y = [re.fullmatch(rb"(\d+)-(\d+)", r.value or b"") for r in (a, b)]
    return b"*" in argv and a.kind == b.kind == b"$" and bool(x and y) and abs(int(x.group(1)) - int(y.group(1))) <= MS_TOLERANCE


def near_ms(a, b):
    x, y = int(a.value), int(b.value)
    return a.kind == b.kind == b":" and (x == y or (x >= 0 and y >= 0 and abs(x - y) <= MS_TOLERANCE))


def times_at(index):
    """Arrays in which that item is a time."""
    def same_rows(a, b):
        return a.kind == b.kind == b"*" and len(a.value) == len(b.value) and \
            all(x.kind == y.kind == b"*" and len(x.value) == len(y.value) and
                all(near_ms(i, j) if n == index else i.raw == j.raw for n, (i, j) in enumerate(zip(x.value, y.value)))
                for x, y in zip(a.value, b.value))
    return same_rows


def waiting(a, b, argv):
    """XPENDING entry by entry: all but the time since the last delivery."""
    return len(argv) > 3 and times_at(2)(a, b)


def fields(rules):
    """Maps, flat or not: the values of some fields by a rule of their own, all else as it is."""
    def same_map(a, b):
        return a.kind == b.kind and len(a.value) == len(b.value) and \
            all((rules[k.value](x, y) if k.value in rules else x.raw == y.raw) and k.raw == l.raw
                for k, l, x, y in zip(a.value[::2], b.value[::2], a.value[1::2], b.value[1::2]))
    return same_map


def each(rule):
    return lambda a, b: a.kind == b.kind == b"*" and len(a.value) == len(b.value) and all(rule(x, y) for x, y in zip(a.value, b.value))


CONSUMER = each(fields({b"seen-time": near_ms, b"pending": times_at(1)}))
FULL_GROUP = each(fields({b"pending": times_at(2), b"consumers": CONSUMER}))


def stream_full(a, b, argv):
    """XINFO STREAM FULL: all but when consumers were seen and entries delivered."""
    return len(argv) > 3 and fields({b"groups": FULL_GROUP})(a, b)


def stream_consumers(a, b, argv):
    return each(fields({b"idle": near_ms}))(a, b)


# command: (comparison, why)
TABLE = {
    "keys": (unordered, "the order of keys is the hash table's"),
    "scan": (scan, "cursors and order are the hash table's"),
    "randomkey": (null_or_some, "random"),
    "hgetall": (pairs, "the order of fields is the hash table's"),
    "sscan": (field_scan, "cursors and order are the hash table's"),
    "hscan": (field_scan, "cursors and order are the hash table's"),
    "srandmember": (drawn_members, "random"),
    "hrandfield": (drawn_members, "random"),
    "spop": (drawn_members, "random"),
    "client|id": (positive, "ids count connections"),
    "client|info": (client_line, "addresses, buffers and ages"),
    "client|list": (client_line, "addresses, buffers and ages"),
    "hello": (hello, "the connection's id"),
    "time": (shape, "the clock"),
    "ttl": (near(S_TOLERANCE), "the moment of the command"),
    "pttl": (near(MS_TOLERANCE), "the moment of the command"),
    "expiretime": (near(S_TOLERANCE), "the moment of the command that set it"),
    "pexpiretime": (near(MS_TOLERANCE), "the moment of the command that set it"),
    "object|idletime": (near(S_TOLERANCE), "a clock of seconds, read at two moments"),
    "object|freq": (near(2), "the counter grows by chance"),
    "debug|object": (debug_object, "addresses, clocks, how lists are written"),
    "zscan": (zscan, "cursors and order are the hash table's"),
    "zrandmember": (drawn, "random"),
    "xadd": (auto_id, "the moment of the command"),
    "xpending": (waiting, "the moment of the command"),
    "xinfo|stream": (stream_full, "the moment of the command that read or claimed"),
    "xinfo|consumers": (stream_consumers, "the moment of the command"),
    "memory|usage": (positive, "how much memory a value takes is the point of the project"),
}
TABLE.update({name: (unordered, "the order of members is the hash table's") for name in
              ("smembers", "sinter", "sunion", "sdiff", "hkeys", "hvals")})
HELP = "the words are our own"
TABLE.update({name + "|help": (help_text, HELP) for name in ("object", "client", "command", "memory")})
TABLE.update({name + "|help": (help_names, HELP + ", and so is how arguments are shown") for name in ("xgroup", "xinfo")})

# Only for generated commands, instead of the rule above
GENERATOR_TABLE = {
    "object|idletime": (count, "Redis keeps one clock for all keys that hold the same small integer"),
    "object|refcount": (refcount, "a copied small integer is not shared in Redis"),
}

CONTAINERS = {"client", "object", "debug", "memory", "command", "config", "xgroup", "xinfo"}


def name_of(argv):
    name = argv[0].decode("latin-1").lower() if argv else ""
    if name in CONTAINERS and len(argv) > 1:
        name += "|" + argv[1].decode("latin-1").lower()
    return name


def same(a, b, argv, generated=False):
    """Whether both replies to argv are right."""
    if a.raw == b.raw:
        return True
    if a.is_error or b.is_error:
        return False
    name = name_of(argv)
    rule = (GENERATOR_TABLE.get(name) if generated else None) or TABLE.get(name)
    try:
        return bool(rule and rule[0](a, b, argv))
    except (ValueError, TypeError, AttributeError):
        return False  # not even the shape that the rule expects
