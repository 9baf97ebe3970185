"""scripts/bench --commands: server time a command of every data type, beside redis-server, and memory an element.

Each command runs on a key space of its own that both servers are given first. Time: the busy time of the worker (driver, kernel and our code) and
the CPU time of redis-server, per request at pipeline 16; and requests a second. "In our code" is the command and TCP/IP, "in user space" the
command alone: redis-server's TCP/IP is the kernel's."""
import csv
import os
import subprocess
import sys
import time

from contestants import Failed, run

PIPELINE, CLIENTS = 16, 50


def resp(*argv):
    out = b"*%d\r\n" % len(argv)
    for a in argv:
        a = a if isinstance(a, bytes) else str(a).encode()
        out += b"$%d\r\n%s\r\n" % (len(a), a)
    return out


def in_rows(head, element, count, width=100):
    """count elements in requests of `width`; element(i) gives the words of one."""
    for start in range(0, count, width):
        words = []
        for i in range(start, min(start + width, count)):
            words += element(i)
        yield resp(*head, *words)


def member(i):
    return ["m:%012d" % i]


def field(i):
    return ["f:%012d" % i, "value:%010d" % i]


def scored(i):
    return [(i * 7919) % 1000003, "m:%012d" % i]


def stream(count):
    for i in range(1, count + 1):
        yield resp("XADD", "x", "%d-1" % i, "field", "value:%d" % i, "other", "%d" % i)


R, E = 100000, "__rand_int__"  # redis-benchmark puts 12 digits in its place

# name, what both servers are given before, request, requests a run, group of the target (3: at least three times redis at -P 16)
COMMANDS = [
    ("GET", lambda: (resp("SET", "key:%012d" % i, "v" * 64) for i in range(R)), ["GET", "key:" + E], 600000, 3),
    ("SET", None, ["SET", "key:" + E, "v" * 64], 600000, 3),
    ("INCR", None, ["INCR", "counter:" + E], 600000, 3),
    ("APPEND", None, ["APPEND", "text:" + E, "abcd"], 300000, 1),
    ("MSET 10", None, ["MSET", *[w for i in range(10) for w in ("mk%d:" % i + E, "v" * 32)]], 100000, 2),
    ("MGET 10", None, ["MGET", *["mk%d:" % i + E for i in range(10)]], 100000, 2),
    ("EXPIRE", None, ["EXPIRE", "key:" + E, "10000"], 400000, 1),
    ("LPUSH", None, ["LPUSH", "list", "element:" + E], 600000, 3),
    ("RPUSH, many lists", None, ["RPUSH", "list:" + E, "element"], 400000, 3),
    ("LPOP", lambda: in_rows(["RPUSH", "pops"], member, 700000), ["LPOP", "pops"], 600000, 3),
    ("LRANGE 100", lambda: in_rows(["RPUSH", "lr"], member, 1000), ["LRANGE", "lr", "0", "99"], 40000, 2),
    ("LRANGE 300", None, ["LRANGE", "lr", "0", "299"], 20000, 2),
    ("LRANGE 600", None, ["LRANGE", "lr", "0", "599"], 10000, 2),
    ("LINDEX, middle of 100 k", lambda: in_rows(["RPUSH", "big"], member, 100000), ["LINDEX", "big", "50000"], 200000, 1),
    ("LMOVE", lambda: in_rows(["RPUSH", "lm1"], member, 1000), ["LMOVE", "lm1", "lm1", "LEFT", "RIGHT"], 300000, 1),
    ("SADD", None, ["SADD", "set", "m:" + E], 600000, 3),
    ("SADD of integers", None, ["SADD", "ints", "1" + E], 400000, 3),
    ("SISMEMBER", lambda: in_rows(["SADD", "set"], member, R), ["SISMEMBER", "set", "m:" + E], 600000, 3),
    ("SRANDMEMBER", None, ["SRANDMEMBER", "set"], 300000, 1),
    ("SINTER of 2 x 10 k, few in common", lambda: (r for p in (in_rows(["SADD", "s1"], member, 10000), in_rows(["SADD", "s2"], lambda i: member(i + 9900), 10000)) for r in p),
     ["SINTER", "s1", "s2"], 1000, 2),
    ("SUNION of 2 x 100", lambda: (r for p in (in_rows(["SADD", "u1"], member, 100), in_rows(["SADD", "u2"], lambda i: member(i + 50), 100)) for r in p),
     ["SUNION", "u1", "u2"], 10000, 1),
    ("ZADD", None, ["ZADD", "zset", E, "m:" + E], 400000, 3),
    ("ZSCORE", lambda: in_rows(["ZADD", "z"], scored, R), ["ZSCORE", "z", "m:" + E], 400000, 3),
    ("ZRANK", None, ["ZRANK", "z", "m:" + E], 300000, 3),
    ("ZINCRBY", None, ["ZINCRBY", "z", "1", "m:" + E], 300000, 1),
    ("ZRANGE 10", None, ["ZRANGE", "z", "50000", "50009"], 200000, 3),
    ("ZRANGEBYSCORE 10", None, ["ZRANGEBYSCORE", "z", "500000", "+inf", "LIMIT", "0", "10"], 200000, 3),
    ("ZRANGE 100 WITHSCORES", None, ["ZRANGE", "z", "0", "99", "WITHSCORES"], 20000, 1),
    ("ZPOPMIN", lambda: in_rows(["ZADD", "zp"], scored, 300000), ["ZPOPMIN", "zp"], 200000, 1),
    ("ZADD, small sets", None, ["ZADD", "zs:" + E, "1", "member"], 300000, 1),
    ("HSET", None, ["HSET", "hash", "f:" + E, "value"], 600000, 3),
    ("HSET, small hashes", None, ["HSET", "h:" + E, "field", "value"], 400000, 3),
    ("HGET", lambda: in_rows(["HSET", "hg"], field, R), ["HGET", "hg", "f:" + E], 600000, 3),
    ("HGETALL of 10", lambda: in_rows(["HSET", "h10"], field, 10), ["HGETALL", "h10"], 200000, 3),
    ("HGETALL of 1000", lambda: in_rows(["HSET", "h1000"], field, 1000), ["HGETALL", "h1000"], 5000, 1),
    ("HINCRBY", None, ["HINCRBY", "hc", "f:" + E, "1"], 400000, 1),
    ("HMGET 5", None, ["HMGET", "h10", *["f:%012d" % i for i in range(5)]], 200000, 1),
    ("PFADD", None, ["PFADD", "hll", E], 600000, 3),
    ("PFCOUNT", None, ["PFCOUNT", "hll"], 300000, 1),
    ("PFCOUNT of 3", lambda: (r for k in ("h1", "h2", "h3") for r in in_rows(["PFADD", k], member, 20000)), ["PFCOUNT", "h1", "h2", "h3"], 5000, 1),
    ("SETBIT", None, ["SETBIT", "bits:" + E, "12345", "1"], 600000, 3),
    ("BITCOUNT of 64 KB", lambda: iter([resp("SETRANGE", "b64", "65535", "x")]), ["BITCOUNT", "b64"], 50000, 3),
    ("BITOP OR of 2 x 64 KB", lambda: iter([resp("SETRANGE", "c64", "65535", "y")]), ["BITOP", "OR", "d64", "b64", "c64"], 50000, 1),
    ("GEOADD", None, ["GEOADD", "geo", "13.361389", "38.115556", "p:" + E], 200000, 1),
    ("GEOSEARCH 10 of 10 k", lambda: in_rows(["GEOADD", "geos"], lambda i: ["%.6f" % (i % 100 / 10), "%.6f" % (i // 100 / 10), "p:%d" % i], 10000),
     ["GEOSEARCH", "geos", "FROMLONLAT", "5", "5", "BYRADIUS", "50", "km", "COUNT", "10"], 10000, 1),
    ("XADD", None, ["XADD", "xs", "*", "field", "value:" + E], 400000, 3),
    ("XADD MAXLEN ~ 1000", None, ["XADD", "xm", "MAXLEN", "~", "1000", "*", "f", "v"], 300000, 1),
    ("XRANGE 10", lambda: stream(20000), ["XRANGE", "x", "10000-0", "+", "COUNT", "10"], 100000, 3),
]

# name, requests that make `count` elements, count, bytes of an element itself
ELEMENTS = [
    ("string key, 16 B + 64 B", lambda: (resp("SET", "key:%012d" % i, "v" * 64) for i in range(1000000)), 1000000, 80),
    ("list, one of 500 k elements", lambda: in_rows(["RPUSH", "L"], member, 500000), 500000, 14),
    ("set, one of 1 M members", lambda: in_rows(["SADD", "S"], member, 1000000), 1000000, 14),
    ("set, integers of 500 k", lambda: in_rows(["SADD", "SI"], lambda i: [i * 3], 500000), 500000, 8),
    ("hash, one of 1 M fields", lambda: in_rows(["HSET", "H"], field, 1000000), 1000000, 30),
    ("sorted set, one of 1 M members", lambda: in_rows(["ZADD", "Z"], scored, 1000000), 1000000, 22),
    ("small hashes of 5 fields", lambda: (r for i in range(50000) for r in in_rows(["HSET", "h:%d" % i], field, 5)), 250000, 30),
    ("stream, one of 200 k entries", lambda: stream(200000), 200000, 30),
]


def give(server, requests, scratch):
    path = os.path.join(scratch, "prepare.resp")
    with open(path, "wb") as f:
        for r in requests:
            f.write(r)
    with open(path, "rb") as f:
        said = run(server.in_client_ns("redis-cli", "-h", server.address, "--pipe"), stdin=f)
    if "errors: 0" not in said:
        raise Failed(f"{server.name}: {said}")


def one_run(server, argv, requests):
    benchmark = server.in_client_ns("redis-benchmark", "-h", server.address, "-n", str(requests), "-P", str(PIPELINE), "-c", str(CLIENTS),
                                    "-r", str(R), "--csv", *argv)
    before, start = server.account(), time.monotonic()
    done = subprocess.run(benchmark, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, check=False)
    wall, after = time.monotonic() - start, server.account()
    rows = [r for r in csv.reader(done.stdout.splitlines()) if len(r) > 6 and r[0] != "test"]
    if done.returncode != 0 or not rows or "rror" in done.stderr:
        raise Failed(f"{server.name}: {' '.join(argv)}: {done.stderr.strip()} {done.stdout.strip()}")
    busy = (after["busy_ns"] - before["busy_ns"]) / 1e9 if "busy_ns" in after else after["cpu_s"] - before["cpu_s"]
    r = {"rps": float(rows[0][1]), "us": busy / requests * 1e6, "busy_share": busy / wall}
    if "busy_ns" in after:
        r.update({k + "_us": (after[k + "_ns"] - before[k + "_ns"]) / 1e3 / requests for k in ("user", "driver")})
        r.update({k: (after[k] - before[k]) / requests for k in ("rx_packets", "tx_packets", "retransmits")})
    else:
        r["user_us"] = (after["user_s"] - before["user_s"]) / requests * 1e6
    return r


def median(values):
    return sorted(values)[len(values) // 2]


def wanted(options, name):
    return options.only is None or any(part in name for part in options.only.split(","))


def measure(options, servers, scratch):
    results = []
    for name, prepare, argv, requests, target in COMMANDS:
        requests = max(requests // (5 if options.quick else 1), 500)
        if prepare:  # rows behind it may need that as well
            for s in servers:
                give(s, prepare(), scratch)
        if not wanted(options, name):
            continue
        runs = {s.name: [] for s in servers}
        for _ in range(options.runs):
            for s in servers:
                runs[s.name].append(one_run(s, argv, requests))
        row = {"name": name, "target": target, "runs": runs}
        results.append(row)
        ours, redis = (median([r["us"] for r in runs[s.name]]) for s in servers)
        code = median([r["user_us"] for r in runs["barewire"]])
        print(f"{name:36} {ours:8.2f} us ({code:.2f} in our code), redis {redis:8.2f} us, {redis / ours if ours else 0:5.1f}x", file=sys.stderr, flush=True)
    return results


def memory(servers, scratch):
    found = []
    for name, make, count, own in ELEMENTS:
        row = {"name": name, "bytes": {}}
        for s in servers:
            s.cli("flushall", "sync")
            before = s.used_memory()
            give(s, make(), scratch)
            row["bytes"][s.name] = (s.used_memory() - before) / count
            s.cli("flushall", "sync")
        row["own"] = own
        found.append(row)
    return found


def measure_all(options, servers, scratch):
    return {"commands": measure(options, servers, scratch) if options.only != "memory" else [],
            "memory": memory(servers, scratch) if options.only in (None, "memory") else []}


def print_times(rows):
    print("\n| command | Barewire us | in our code | redis us | in user space | redis / Barewire | Barewire k/s | redis k/s | throughput |")
    print("|---|---|---|---|---|---|---|---|---|")
    slower = []
    for row in rows:
        ours, redis = row["runs"]["barewire"], row["runs"]["redis"]
        a, b = median([r["us"] for r in ours]), median([r["us"] for r in redis])
        x, y = median([r["rps"] for r in ours]), median([r["rps"] for r in redis])
        ratio = b / a if a else float("inf")
        if ratio < 1:
            slower.append(row["name"])
        print(f"| {row['name']} | {a:.2f} | {median([r['user_us'] for r in ours]):.2f} | {b:.2f} | {median([r['user_us'] for r in redis]):.2f} | {ratio:.1f} | {x / 1000:.0f} | {y / 1000:.0f} | {x / y:.2f}x |")
    print(f"\n{len(rows)} commands; slower than redis-server: {', '.join(slower) or 'none'}")


def print_memory(rows):
    print("\n| memory an element, bytes | Barewire | redis | ratio | beyond the element itself |")
    print("|---|---|---|---|---|")
    for row in rows:
        a, b = row["bytes"]["barewire"], row["bytes"]["redis"]
        print(f"| {row['name']} | {a:.1f} | {b:.1f} | {a / b:.2f} | {a - row['own']:.1f} |")


def print_commands(found):
    if found["commands"]:
        print_times(found["commands"])
    if found["memory"]:
        print_memory(found["memory"])
