"""scripts/bench --shared: what clients and workers have to do with one another, Barewire with 1 and with 3 workers beside redis-server.

PUBLISH to 1, 10 and 1,000 subscribers, MULTI of 10 commands, MGET and MSET of 10 keys that are spread over the workers, and the time from
one client's LPUSH to the return of another's BLPOP. The machine has two cores: three workers and the client share them, so that what three workers
cost is told by their busy time a request (all of them summed), not by the requests per second."""
import json
import sys
from statistics import median

from contestants import Barewire, Redis, run
from report import client_bound, print_head, print_others, ratio_said, spread

KEYS = 100000
TEN_COMMANDS = "MULTI; " + "; ".join(["SET __key__ __data__; GET __key__"] * 5) + "; EXEC"
CLOSED = ["-c", 50, "-d", 64, "-r", KEYS]

# name: words for barewire bench, operations
ROWS = {
    "PUBLISH, 1 subscriber": (["-t", "publish", "-c", 1, "--subscribers", 1], 40000),
    "PUBLISH, 10 subscribers": (["-t", "publish", "-c", 1, "--subscribers", 10], 15000),
    "PUBLISH, 1000 subscribers": (["-t", "publish", "-c", 1, "--subscribers", 1000], 600),
    "MULTI of 10 commands": (["--command", TEN_COMMANDS, *CLOSED], 60000),
    "MGET of 10 keys -P 1": (["-t", "mget", *CLOSED], 100000),
    "MGET of 10 keys -P 16": (["-t", "mget", "-P", 16, *CLOSED], 200000),
    "MSET of 10 keys -P 1": (["-t", "mset", *CLOSED], 80000),
    "MSET of 10 keys -P 16": (["-t", "mset", "-P", 16, *CLOSED], 150000),
}
HANDOVER = "BLPOP hand-over"


def servers(options, tag, build):
    return [Barewire(tag + "a", options.mtu, build, name="barewire"),
            Barewire(tag + "b", options.mtu, build, workers=3, name="barewire, 3 workers"), Redis(tag, options.mtu, options.redis_offloads)]


def handover(options, server, times):
    return json.loads(run(server.in_client_ns(options.probe, server.address, str(times), "blpop")))


def measure(options, found_servers, _scratch):
    chosen = {n: r for n, r in ROWS.items() if (options.only or "") in n}
    found = {n: {s.name: [] for s in found_servers} for n in (*chosen, HANDOVER)}
    scale = 5 if options.quick else 1
    for s in found_servers:
        options.generator.run(s, "-t", "set", "-n", KEYS, "--keys", "sequential", "-P", 32, "-d", 64, "-r", KEYS)
    for number in range(options.runs):
        for name, (words, count) in chosen.items():
            for s in found_servers:
                r = options.generator.run(s, *words, "-n", max(count // scale, 100))
                found[name][s.name].append(r)
                print(f"run {number + 1}/{options.runs} {name:28} {s.name:22} {r['rps']:10.0f}/s", file=sys.stderr, flush=True)
        for s in found_servers if (options.only or "") in HANDOVER else []:
            found[HANDOVER][s.name].append(handover(options, s, 10000 // scale))
    return {"shared": found}


def print_rows(found):
    print(f"\n{'':28} {'':22} {'operations/s, median [min-max]':>32} {'times redis':>22} {'p50 us':>9} {'p99 us':>9} {'server us':>10} "
          f"{'client':>7} {'limit':>7}")
    for name, by in found.items():
        for who, runs in by.items():
            if name == HANDOVER or not runs:
                continue
            field = "delivered" if "delivered" in runs[0] else "rps"
            p = "delivery_" if field == "delivered" else ""
            cost = [r.get("busy_us", r["cpu_us"]) for r in runs]
            print(f"{name:28} {who:22} {spread([r[field] / 1000 for r in runs], '{:.1f}') + ' k':>32} "
                  f"{'' if who == 'redis' else ratio_said(runs, by['redis'], field):>22} {median(r[p + 'p50_us'] for r in runs):>9.1f} "
                  f"{median(r[p + 'p99_us'] for r in runs):>9.1f} {median(cost):>10.2f} {median(r['client_busy'] for r in runs):>7.0%} "
                  f"{'CLIENT' if client_bound(runs) else '':>7}")
    print("PUBLISH: messages delivered a second, and the time from PUBLISH to a subscriber. server us: an operation (a message delivered), Barewire's workers\n"
          "summed and busy by the clock, redis-server's CPU time. CLIENT: the client's limit, not the server's; > and ? as in the plain report.")


def print_shared(found):
    print_head(found)
    rows = found["shared"]
    print_rows(rows)
    for who, runs in rows[HANDOVER].items():
        if not runs:
            continue
        ratio = "" if who == "redis" else "times redis " + spread([a["p50_us"] / b["p50_us"] for a, b in zip(runs, rows[HANDOVER]["redis"])], "{:.2f}")
        print(f"{HANDOVER:28} {who:22} p50 {spread([r['p50_us'] for r in runs], '{:.1f}')} us, p99 {spread([r['p99_us'] for r in runs], '{:.1f}')} us  {ratio}")
    for name in rows:
        one, three = rows[name].get("barewire"), rows[name].get("barewire, 3 workers")
        if name[:4] in ("MGET", "MSET") and one and three:
            print(f"{name}: busy time of 3 workers, summed, times that of 1: {median(r['busy_us'] for r in three) / median(r['busy_us'] for r in one):.2f}")
    print_others([r for name, by in rows.items() if name != HANDOVER for runs in by.values() for r in runs])
