"""What applications build of Redis, with their own clients: publish/subscribe, transactions, queues, caches, and clusters of cores. The first
tests share a lab; those of the cluster start one with core-addressed yes."""

import re
import threading
import time

from client_tests import node
from lab import Lab, check, equal, run, until

TESTS = []          # name, function(lab)
CLUSTER_TESTS = []  # name, function(kind), kinds


def test(function):
    TESTS.append((function.__name__.replace("_", " "), function))
    return function


def redis_of(lab, **options):
    import redis
    return redis.Redis(lab.address, db=7, socket_timeout=20, **options)


def in_threads(lab, count, work):
    """work(n) in so many threads, with sockets in the clients' namespace; what one of them raised is raised."""
    wrong = []

    def guarded(n):
        try:
            with lab.inside():
                work(n)
        except Exception as e:  # whatever it is, the test has failed
            wrong.append("%s: %s" % (type(e).__name__, e))

    threads = [threading.Thread(target=guarded, args=(n,), daemon=True) for n in range(count)]
    for t in threads:
        t.start()
    for t in threads:
        t.join(60)
    check(not any(t.is_alive() for t in threads), "threads that do not end")
    equal(wrong, [])


@test
def python_publish_subscribe(lab):
    """Publishers and subscribers wherever they live: everybody gets everything of each publisher in its order."""
    publishers, subscribers, count = 4, 4, 300
    ready, got = threading.Barrier(publishers + subscribers), [[] for _ in range(subscribers)]

    def work(n):
        r = redis_of(lab)
        if n < publishers:
            ready.wait(30)
            for i in range(count):
                check(r.publish("py:ch:%d" % (i % 3), "%d %d" % (n, i)) == subscribers, "all subscribers are counted")
            return
        p = r.pubsub(ignore_subscribe_messages=False)
        if n % 2:
            p.psubscribe("py:ch:*")
        else:
            p.subscribe("py:ch:0", "py:ch:1", "py:ch:2")
        for _ in range(1 if n % 2 else 3):
            check(p.get_message(timeout=20)["type"].endswith("subscribe"), "subscribed")
        ready.wait(30)
        mine = got[n - publishers]
        while len(mine) < publishers * count:
            message = p.get_message(timeout=20)
            check(message, "a message is missing")
            mine.append(tuple(map(int, message["data"].split())))
        p.close()

    with lab.inside():
        in_threads(lab, publishers + subscribers, work)
    for mine in got:
        for n in range(publishers):
            equal([i for who, i in mine if who == n], list(range(count)), "order of publisher %d" % n)
    return "%d messages to each of %d" % (publishers * count, subscribers)


@test
def python_transactions(lab):
    import redis
    with lab.inside():
        r = redis_of(lab)
        r.flushdb()
        p = r.pipeline()
        equal(p.set("py:x", 1).incr("py:x").lpush("py:l", "a", "b").lrange("py:l", 0, -1).execute(), [True, 2, 2, [b"b", b"a"]])
        p.watch("py:x")
        p.multi()
        r.set("py:x", "9")
        p.incr("py:x")
        try:
            p.execute()
            check(False, "EXEC over a changed key must be refused")
        except redis.WatchError:
            pass
        p = r.pipeline()
        p.incr("py:l").set("py:y", 1)
        equal([type(x) for x in p.execute(raise_on_error=False)], [redis.ResponseError, bool])
        accounts = ["py:acc:%d" % i for i in range(8)]
        r.mset({a: 100 for a in accounts})
    retries = [0]

    def transfer(n):
        mine = redis_of(lab)
        for i in range(60):
            a, b = accounts[(n + i) % 8], accounts[(n * 3 + i * 5 + 1) % 8]
            if a == b:
                continue

            def move(pipe):
                x, y = int(pipe.get(a)), int(pipe.get(b))
                pipe.multi()
                pipe.set(a, x - 1).set(b, y + 1)
                retries[0] += 1

            mine.transaction(move, a, b)
            equal(sum(map(int, mine.mget(accounts))), 800, "no observation is torn")
            retries[0] -= 1

    in_threads(lab, 4, transfer)
    with lab.inside():
        equal(sum(map(int, r.mget(accounts))), 800)
        r.flushdb()
    return "%d EXEC refused and tried again" % retries[0]


@test
def python_reliable_queue(lab):
    """Jobs go to a list of their worker's own by BLMOVE and leave it when done; what a worker that died had is put back: no job is lost, and
    only those may be done twice."""
    jobs, workers = 400, 5
    done, dead = [[] for _ in range(workers)], []

    def work(n):
        r, mine = redis_of(lab), "py:doing:%d" % n
        if n == workers:  # the producer
            for i in range(jobs):
                r.lpush("py:jobs", "job %d" % i)
            return
        while True:
            job = r.blmove("py:jobs", mine, 2, "RIGHT", "LEFT")
            if job is None:
                return
            if n == 0 and len(done[0]) == 20:
                dead.append(job)
                r.connection_pool.disconnect()
                return
            done[n].append(job)
            equal(r.lrem(mine, 1, job), 1)

    in_threads(lab, workers + 1, work)
    with lab.inside():
        r = redis_of(lab)
        while True:
            job = r.lmove("py:doing:0", "py:jobs", "LEFT", "RIGHT")
            if job is None:
                break
            equal(r.rpop("py:jobs"), job)
            done[1].append(job)
        equal(sorted(j for d in done for j in d), sorted(b"job %d" % i for i in range(jobs)), "every job once")
        equal(r.keys("py:doing:*") + r.keys("py:jobs"), [])
        r.flushdb()
    return "%d jobs, %s" % (jobs, ", ".join(str(len(d)) for d in done) + (", one put back" if dead else ""))


@test
def python_delayed_queue(lab):
    """Jobs in a sorted set by the time at which they are due: taken under WATCH when it has come, each by one worker and none too early."""
    import redis
    jobs, workers = 120, 4
    done, early, refused = [[] for _ in range(workers)], [], [0] * workers
    with lab.inside():
        r = redis_of(lab)
        start = r.time()[0]
        r.zadd("py:due", {"job %d" % i: start + (i % 3) for i in range(jobs)})

    def work(n):
        mine = redis_of(lab)
        while mine.zcard("py:due"):
            with mine.pipeline() as p:
                try:
                    p.watch("py:due")
                    now = mine.time()
                    ready = p.zrangebyscore("py:due", "-inf", now[0] + now[1] / 1e6, start=0, num=1, withscores=True)
                    if not ready:
                        time.sleep(0.02)  # until something is due: what is waited for is time
                        continue
                    p.multi()
                    p.zrem("py:due", ready[0][0])
                    p.rpush("py:done", ready[0][0])
                    if p.execute()[0]:
                        done[n].append(ready[0][0])
                        if ready[0][1] > mine.time()[0]:
                            early.append(ready[0])
                except redis.WatchError:
                    refused[n] += 1

    in_threads(lab, workers, work)
    with lab.inside():
        equal(early, [])
        equal(sorted(j for d in done for j in d), sorted(b"job %d" % i for i in range(jobs)), "every job once")
        equal(sorted(r.lrange("py:done", 0, -1)), sorted(b"job %d" % i for i in range(jobs)))
        r.zadd("py:heap", {"b": 2, "a": 1, "c": 3})
        equal([r.bzpopmin("py:heap", 1)[1] for _ in range(3)], [b"a", b"b", b"c"])
        r.flushdb()
    return "%d jobs, %d EXEC refused" % (jobs, sum(refused))


@test
def python_client_side_cache(lab):
    """RESP2: what is read is told to another connection when it changes."""
    with lab.inside():
        r = redis_of(lab)
        p = r.pubsub()
        p.subscribe("__redis__:invalidate")
        check(p.get_message(timeout=20)["type"] == "subscribe", "subscribed")
        listener = [c["id"] for c in r.client_list() if int(c["sub"]) == 1][-1]
        reader = redis_of(lab, single_connection_client=True)
        reader.execute_command("CLIENT", "TRACKING", "ON", "REDIRECT", listener)
        names = ["py:cached:%d" % i for i in range(20)]
        r.mset({n: "old" for n in names})
        cache = {n: v for n, v in zip(names, reader.mget(names))}
        for n in names[::2]:
            r.set(n, "new")
        told = set()
        while len(told) < 10:
            message = p.get_message(timeout=20)
            check(message, "not told of", 10 - len(told), "changes")
            told |= {k.decode() for k in message["data"]} if isinstance(message["data"], list) else set()
        equal(told, set(names[::2]))
        equal({n for n in names if r.get(n) != cache[n]}, told)
        reader.close()
        p.close()
        r.flushdb()


@test
def ioredis_patterns(lab):
    return node(lab, "ioredis-patterns.js")


@test
def node_redis_patterns(lab):
    return node(lab, "node-redis-patterns.js")


# ---- every worker as a node of a cluster ----


def cluster_test(function):
    CLUSTER_TESTS.append((function.__name__.replace("_", " "), function, ("af_xdp",)))
    return function


def keys_of(lab, workers):
    return sum(int(lab.cli("-p", str(6380 + i), "DBSIZE").strip()) for i in range(workers))


@cluster_test
def cluster_clients(kind, workers=3):
    notes = []
    clients = (("redis-cli", cluster_cli), ("redis-benchmark", cluster_benchmark), ("redis-py", cluster_python), ("node", cluster_node))
    with Lab(kind, workers, options=["--core-addressed", "yes"]) as lab:
        for name, function in clients if workers > 1 else clients[:3]:  # cluster.js looks at several nodes
            before = int(lab.info("dataplane").get("cluster_moved", 0))
            note = function(lab, workers)
            moved = int(lab.info("dataplane").get("cluster_moved", 0)) - before
            notes.append("%s: %s%d MOVED" % (name, note + ", " if note else "", moved))
            equal(lab.cli("FLUSHALL").strip(), "OK")
        lab.no_restart()
    return "; ".join(notes)


@cluster_test
def cluster_clients_of_one_worker(kind):
    return cluster_clients(kind, 1)


def cluster_cli(lab, workers):
    for i in range(40):
        equal(lab.cli("-c", "-p", "6380", "SET", "cli:%d" % i, str(i)).strip(), "OK")
        equal(lab.cli("-c", "-p", str(6380 + i % workers), "GET", "cli:%d" % i).strip(), str(i))
    equal(keys_of(lab, workers), 40)
    moved = "MOVED" in "".join(lab.cli("-p", "6380", "GET", "cli:%d" % i) for i in range(12))
    equal(moved, workers > 1, "without -c there is a MOVED")
    text = lab.cli("--cluster", "call", lab.address + ":6380", "DBSIZE")
    equal(sum(map(int, re.findall(r":\d+: (\d+)", text))), 40, text)


def cluster_benchmark(lab, workers):
    cluster = ["--cluster"] if workers > 1 else []  # which it refuses of one node
    text = lab.exec("redis-benchmark", "-h", lab.address, "-p", 6380, *cluster, "-t", "set,get,incr", "-n", 30000, "-c", 12, "-P", 8, "-r", 5000, "--csv")
    rates = dict(re.findall(r'^"(SET|GET|INCR)","([\d.]+)"', text, re.M))
    equal(len(rates), 3, text)
    check("rror" not in text, text)
    check(min(int(lab.cli("-p", str(6380 + i), "DBSIZE").strip()) for i in range(workers)) > 500, "every node has keys")
    return ", ".join("%s %.0f k/s" % (k, float(v) / 1000) for k, v in rates.items())


def cluster_python(lab, workers):
    from redis.cluster import RedisCluster
    with lab.inside():
        r = RedisCluster(host=lab.address, port=6380, socket_timeout=20)
        equal(len(r.get_primaries()), workers)
        for i in range(300):
            check(r.set("py:%d" % i, i), "SET")
        equal([int(r.get("py:%d" % i)) for i in range(300)], list(range(300)))
        equal(r.mget_nonatomic("py:1", "py:2", "py:299", "py:none"), [b"1", b"2", b"299", None])
        equal(sum(r.dbsize(target_nodes=[n]) for n in r.get_primaries()), 300)
        equal(r.delete("py:1", "py:2", "py:3"), 3)
        equal(len(set(r.scan_iter("py:*", count=100))), 297)
        p = r.pipeline()
        for i in range(10, 60):
            p.incr("py:%d" % i)
        equal(p.execute(), list(range(11, 61)))
        equal(r.lmove("{q}a", "{q}b"), None)
        r.close()


def cluster_node(lab, workers):
    return node(lab, "cluster.js", "6380")
