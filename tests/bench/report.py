"""The table of scripts/bench: medians, spreads, ratios against redis-server, and who was the limit."""
from statistics import median

BOUND_SHARE = 0.93  # of a core: more cannot be asked of it on a shared machine
OTHER_SERVERS = ("redis", "memcached")
OTHERS_SHARE = 0.15

# What must be reached: a ratio of throughputs, or of the p50 of single requests
RATIO = {"get-64": 3.0, "set-64": 3.0, "get-16": 2.0, "set-16": 2.0, "get-1": 1.2, "set-1": 1.2}
LATENCY_RATIO = 0.45
USER_US = {"get-1": 0.8, "set-1": 0.8, "get-16": 0.3, "set-16": 0.3}
BYTES_PER_KEY = 32


def middle(runs, field):
    return median(r[field] for r in runs)


def spread(values, form):
    return f"{form.format(median(values))} [{form.format(min(values))}-{form.format(max(values))}]"


def client_bound(runs):
    """In most of them the client had no time left."""
    return sum(r["bound"] == "client" for r in runs) * 2 > len(runs)


def limit(runs):
    """Who could not do more: the process whose core was used up; `others` when neither was and the cores went to somebody else."""
    server = middle(runs, "server_share")
    if client_bound(runs):
        return "both" if server >= BOUND_SHARE else "CLIENT"
    if server >= BOUND_SHARE:
        return "server"
    return "others" if median(r["others_share"] + r["steal_share"] for r in runs) > OTHERS_SHARE else "neither"


def ratio_said(ours, theirs, field="rps"):
    """Of neighbouring runs; `>`: our run was limited by the client, so the server's own ratio is higher. `?`: theirs was, or both were."""
    a, b = client_bound(ours), client_bound(theirs)
    sign = "?" if b else ">" if a else ""
    return sign + spread([x[field] / y[field] for x, y in zip(ours, theirs)], "{:.2f}")


def verdict(ok):
    return "holds" if ok else "MISSED"


def print_throughput(results, servers):
    print(f"\n{'':8} {'':18} {'requests/s, median [min-max]':>34} {'times redis [min-max]':>22} {'target':>7} {'':6} "
          f"{'client':>7} {'server':>7} {'limit':>8} {'the client could':>16}")
    for name, by in results.items():
        if name == "latency":
            continue
        for who in servers:
            runs = by[who]
            ratio, target, said = "", "", ""
            if who != "redis":
                ratio = ratio_said(runs, by["redis"])
            if who not in OTHER_SERVERS:
                reached = median(a["rps"] / b["rps"] for a, b in zip(runs, by["redis"]))
                target, said = f">={RATIO[name]}", verdict(reached >= RATIO[name])
            print(f"{name:8} {who:18} {spread([r['rps'] / 1000 for r in runs], '{:.0f}') + ' k':>34} {ratio:>22} {target:>7} {said:6} "
                  f"{middle(runs, 'client_busy'):>7.0%} {middle(runs, 'server_share'):>7.0%} {limit(runs):>8} "
                  f"{1000 / middle(runs, 'client_us'):>14.0f} k")
    print("client, server: share of the time in which the client had something to do (redis-benchmark: its CPU time); of its core that the server's\n"
          "process used (Barewire: its worker was busy). the client could: requests/s at which the CPU time a request of the client fills its core.\n"
          "limit CLIENT: the client's limit, not the server's; a ratio with > is then too low, one with ? tells nothing of the two servers.\n"
          "limit `others`: neither core was used up by the two, other processes had it.")


def print_cost(results, servers):
    print(f"\nus a request {'':14} {'CPU':>7} {'busy':>7} {'driver':>7} {'ours':>7} = {'net':>6} {'exec':>6} {'tx':>6} {'target':>7} {'':6} "
          f"{'control':>8} {'batch':>6} {'frames in':>9} {'out':>6} {'retransmits':>11}")
    for name, by in results.items():
        for who in servers:
            runs = by[who]
            line = f"{name:8} {who:18} {middle(runs, 'cpu_us'):>7.2f}"
            if who not in OTHER_SERVERS:
                target = USER_US.get(name)
                said = verdict(middle(runs, "user_us") <= target) if target else ""
                line += "".join(f" {middle(runs, k):>{w}.2f}{eq}" for k, w, eq in (
                    ("busy_us", 7, ""), ("driver_us", 7, ""), ("user_us", 7, " ="), ("net_us", 6, ""), ("exec_us", 6, ""), ("tx_us", 6, "")))
                line += f" {'<=' + str(target) if target else '':>7} {said:6} {middle(runs, 'control_us'):>8.2f}"
                line += f" {middle(runs, 'batch'):>6.1f}"
                line += f" {middle(runs, 'rx_packets'):>9.3f} {middle(runs, 'tx_packets'):>6.3f} {middle(runs, 'retransmits'):>11.0f}"
            print(line)
    print("CPU: utime + stime of the server's process, polling included. busy: turns of the worker that did work, in wall time; driver: receive and\n"
          "transmit bursts, on AF_XDP with the kernel's share; ours: TCP input and parsing (net), execution (exec), building segments (tx).\n"
          "A batch that fills up while the burst is still being parsed is executed there, in net. batch: requests executed together.")


def print_latency(by, servers, client):
    print(f"\none client, one request at a time {'p50 us':>24} {'p99 us':>24} {'p50 us/redis [min-max]':>28}")
    for prefix, tool in (("probe_", "latency_probe"), ("", client)):
        for who in servers:
            runs, ratio = by[who], ""
            if prefix and who == "memcached":
                continue
            if who != "redis":
                ratios = [a[prefix + "p50_us"] / b[prefix + "p50_us"] for a, b in zip(runs, by["redis"])]
                ratio = spread(ratios, "{:.2f}")
                if prefix:
                    ratio += f" <={LATENCY_RATIO} {verdict(median(ratios) <= LATENCY_RATIO)}"
            print(f"{tool:15} {who:18} {spread([r[prefix + 'p50_us'] for r in runs], '{:.1f}'):>22} "
                  f"{spread([r[prefix + 'p99_us'] for r in runs], '{:.1f}'):>24} {ratio:>35}")
    print("latency_probe waits inside recv() for each answer. redis-benchmark's histogram is 8 us wide at these values and shows the upper end.")


def print_head(found):
    facts = found["facts"]
    print(f"{facts['command']}   commit {facts['commit']}, {facts['date']}, {facts['runs']} runs\n"
          f"{facts['cpu']}, {facts['cores']} cores, Linux {facts['kernel']}; MTU {facts['mtu']}; load average before {facts['load_average']:.1f}; asked by {facts['client']}")
    print("; ".join(facts[w] for w in OTHER_SERVERS if w in facts) + f"; Barewire: {facts['barewire']}")


def print_others(runs):
    others = [r["others_share"] + r["steal_share"] for r in runs]
    if others:
        print(f"other processes, interrupts and the hypervisor took {median(others):.0%} of the cores (median of runs; most {max(others):.0%})")


def print_report(found):
    results = found["results"]
    servers = list(next(iter(results.values()), {}))
    print_head(found)
    print(f"{found['facts']['keys']} keys")
    if any(name != "latency" for name in results):
        print_throughput(results, servers)
    if results:
        print_cost(results, servers)
    if "latency" in results:
        print_latency(results["latency"], servers, found["facts"]["client"])
    memory = found["bytes_per_key"]
    print(f"\nbytes a key beyond its 16 and 64: redis {memory['redis']:.1f}, barewire {memory['barewire']:.1f}; target <={BYTES_PER_KEY}: "
          f"{verdict(memory['barewire'] <= BYTES_PER_KEY)}")
    print_others([r for by in results.values() for runs in by.values() for r in runs])
