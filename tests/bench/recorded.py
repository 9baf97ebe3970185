"""tests/bench/instructions --check and --record: the instructions a request that this tree is known for (instructions.recorded).

The counts are of one kind of build, debugoptimized (-O2) without assertions, sanitizers or flags of one's own, and of the tools that the file names. Another
build folder changes nothing; a build of another kind is refused, and what other tools made is not compared."""
import json
import os
import subprocess

PATH = os.path.join(os.path.dirname(os.path.abspath(__file__)), "instructions.recorded")
MOST = 3.0  # percent above the recorded value
SAID = 1.0  # percent below it: an improvement worth a line

# Not the C library's copies for this machine's processor, but those that every x86-64-v2 has; and no memory given back as time goes by.
ENVIRONMENT = dict(os.environ, GLIBC_TUNABLES="glibc.cpu.hwcaps=-AVX512F,-AVX512VL,-AVX2,-AVX,-ERMS,-FSRM",
                   MALLOC_CONF="dirty_decay_ms:-1,muzzy_decay_ms:-1")

# command, pipeline, frames a turn, workers
ROWS = [("get", 1, 1, 1), ("get", 1, 32, 1), ("set", 1, 1, 1), ("set", 1, 32, 1), ("get", 16, 1, 1), ("get", 16, 32, 1), ("set", 16, 32, 1),
        ("mget", 1, 32, 1), ("mget", 1, 32, 4), ("mset", 1, 32, 1), ("mset", 1, 32, 4), ("get", 16, 32, 4),
        ("incr", 16, 32, 1), ("hset", 16, 32, 1), ("lpush", 16, 32, 1), ("zadd", 16, 32, 1)]
KEYS, REQUESTS = 10000, {1: 4800, 16: 14400}  # at least 30 turns

# Options of meson that the code depends on.
PLAIN = {"buildtype": "debugoptimized", "optimization": "2", "b_sanitize": "none", "b_lto": False, "b_pgo": "off", "b_ndebug": "false",
         "b_coverage": False, "debug_asserts": False, "c_args": []}


class Refused(Exception):
    """Nothing was compared; the text says why."""


def name(row):
    command, pipeline, burst, workers = row
    return f"{command.upper()} -P {pipeline} burst {burst}" + (f" workers {workers}" if workers > 1 else "")


def binary(build):
    return os.path.join(build, "tests/bench/frame_bench")


def introspect(build, what):
    done = subprocess.run(["meson", "introspect", what, build], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, check=False)
    if done.returncode != 0:
        raise Refused(f"{build} is no build folder of meson: {done.stderr.strip()}")
    return json.loads(done.stdout)


def kind(build):
    """What the counts depend on beside the sources: compiler, C library, DPDK (inlined), in words."""
    options = {o["name"]: o["value"] for o in introspect(build, "--buildoptions")}
    other = [f"{k}={options[k]}" for k, v in PLAIN.items() if k in options and options[k] != v]
    if other:
        raise Refused(f"{build} is another kind of build than the recorded counts are of: {', '.join(other)}; "
                      "meson setup with --buildtype=debugoptimized and no more")
    if not os.path.exists(binary(build)):
        raise Refused(f"{binary(build)} is not there: ninja -C {build} tests/bench/frame_bench")
    found = subprocess.run(["readelf", "-p", ".comment", binary(build)], stdout=subprocess.PIPE, text=True, check=True).stdout
    compilers = sorted({line.split("]", 1)[1].strip() for line in found.splitlines() if "]" in line})
    dpdk = next((d["version"] for d in introspect(build, "--dependencies") if d["name"] == "libdpdk"), "?")
    valgrind = subprocess.run(["valgrind", "--version"], stdout=subprocess.PIPE, text=True, check=True).stdout.strip()
    return f"{' and '.join(compilers)}; {os.confstr('CS_GNU_LIBC_VERSION')}; DPDK {dpdk}; {valgrind}; debugoptimized (-O2)"


def read():
    kind_of, values = None, {}
    with open(PATH, encoding="utf-8") as f:
        for line in f:
            if line.startswith("build: "):
                kind_of = line[len("build: "):].strip()
            elif line.strip() and not line.startswith("#"):
                value, _, row = line.strip().partition("  ")
                values[row.strip()] = float(value)
    return kind_of, values


def write(kind_of, values):
    with open(PATH, "w", encoding="utf-8") as f:
        f.write("# Instructions of the server a request, frame in to frame out. tests/bench/instructions --record writes this, --check compares\n"
                f"# ({KEYS} keys; more than {MOST:g} % above is a failure).\n"
                f"build: {kind_of}\n")
        for row, value in values.items():
            f.write(f"{value:9.1f}  {row}\n")


def compare(recorded, counted):
    """Prints a line a row; returns how many are over."""
    over = 0
    for row, now in counted.items():
        was = recorded.get(row)
        if was is None:
            print(f"{row:28} {now:9.1f}  NOT RECORDED")
            over += 1
            continue
        percent = (now / was - 1) * 100
        said = f"OVER {MOST:+g} %" if percent > MOST else "better" if percent < -SAID else ""
        over += percent > MOST
        print(f"{row:28} {now:9.1f} {was:9.1f} {percent:+6.2f} %  {said}")
    for row in recorded.keys() - counted.keys():
        print(f"{row:28} is recorded and no longer counted")
        over += 1
    return over
