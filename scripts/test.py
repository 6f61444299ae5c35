#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""`make test`: builds every variant, runs every test, and ends with `N passed, N failed`.

    test.py [--modes release,asan,tsan] [--only static,unit,e2e,faults,chaos,budget,k8s,fuzz]
            [--seeds "1 2"] [UNIT...] [-- PYTEST-ARGUMENT...]

static is the rules of the tree, once. unit is every program of tests/unit (cmocka; or only the
named ones; and the fuzz targets over their corpora and the property of tests/fuzz) and e2e is
pytest over tests/e2e, under each mode; in tsan weir has two workers, and what is not about weir's
own code (NOT_SANITIZED) is for release. faults is e2e once more, with calls of weir's that fail as
any network's may, by the dice of each seed; not in tsan, whose library bears no other before it.
chaos is pytest over tests/chaos: backends that fail under load, and
thousands of slow clients. budget is bench/budget.py, on the release build. k8s is pytest over tests/k8s, with the
release build: the manifests, and images that are built and run. fuzz is every fuzz
target for a while, once; it is skipped without libFuzzer. A step that is no test (a build, the
format) counts only when it fails. A program that crashes, hangs, or runs no test has failed, and so
has a pytest that ends oddly.
"""
import argparse
import concurrent.futures
import contextlib
import functools
import os
import re
import shutil
import signal
import struct
import subprocess
import sys
import threading
import time
import xml.etree.ElementTree as ET
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
BUILD = Path(os.environ.get("BUILD", "build"))
MODES = ("release", "asan", "tsan")
STAGES = ("static", "unit", "e2e", "faults", "chaos", "budget", "k8s", "fuzz")
FUZZ_SECONDS = 20                   # for each target
FUZZ_LIMIT = 1200                   # for the build and all of them
PROPERTY_SEEDS = {"release": 6000, "asan": 1500, "debug": 1500}  # one thread: nothing for tsan
UNIT_LIMIT = 600                    # seconds for one program: a hang, not slowness
TEST_LIMIT = 180                    # seconds for one test of pytest: the same, with its stacks
E2E_LIMIT = 1800                    # seconds for one run of pytest: the same
K8S_LIMIT = 700                     # seconds for its pytest, whose images have 360
BUDGET = 1800                       # seconds for all of it; more is said, not failed

CORES = os.cpu_count() or 1
E2E_JOBS = max(2, min(8, 4 * CORES))            # most tests wait most of their time

# In these it is make, scripts and Python that are tested: one build shows as much as three.
NOT_SANITIZED = ("bench", "budget", "harness", "packaging", "repo")

# What every correct program bears, mild for odd seeds and rough for even ones.
BEARABLE = ("short=60%,eagain=20%,eintr=20%", "short=20%,eagain=5%,eintr=5%")
SURELY = ("short", "eagain", "eintr")           # have to have struck
SEEDS = {"release": "2", "asan": "1"}           # when none is said: those of CI
# In these weir serves nothing, or they bring faults of their own.
NOT_UNDER_FAULTS = ("alloc_sweep", "backends", "bench", "budget", "cli", "config_schema", "faults",
                    "harness", "load", "packaging", "repo", "sim")

SANITIZERS = {
    "ASAN_OPTIONS": "detect_stack_use_after_return=1:check_initialization_order=1:"
                    "strict_string_checks=1:detect_leaks=1",
    "UBSAN_OPTIONS": "print_stacktrace=1",
    "TSAN_OPTIONS": "second_deadlock_stack=1",
}


class Tally:
    """Counts results. Thread-safe, and the only place that prints them."""

    def __init__(self):
        self.passed = self.failed = self.skipped = 0
        self.failures = []
        self.lock = threading.Lock()

    def add(self, what, passed=0, failures=(), skipped=0, seconds=None, output=""):
        with self.lock:
            self.passed += passed
            self.failed += len(failures)
            self.skipped += skipped
            self.failures += [f"{what}: {name}" for name in failures]
            words = [f"{passed} ok"] if passed else []
            words += [f"{len(failures)} FAILED"] if failures else []
            words += [f"{skipped} skipped"] if skipped else []
            took = f" ({seconds:.1f} s)" if seconds is not None else ""
            say(f"{what}: {', '.join(words) or 'ok'}{took}")
            if failures and output:
                print(indent(output), flush=True)


def say(text):
    print(f"test: {text}", flush=True)


def indent(text, limit=200):
    lines = text.rstrip().splitlines()
    cut = [f"... {len(lines) - limit} lines left out ..."] if len(lines) > limit else []
    return "\n".join("    " + line for line in cut + lines[-limit:])


def run(argv, limit, env=None, show=False):
    """Runs a program in a process group of its own. -> (status, output, seconds); a status of None
    is a program that was ended because it took longer than the limit. With show, its output is
    passed on line by line and not returned."""
    start = time.monotonic()
    process = subprocess.Popen(
        [str(a) for a in argv], cwd=ROOT, env=env, stdin=subprocess.DEVNULL, text=True,
        errors="replace", stdout=None if show else subprocess.PIPE,
        stderr=None if show else subprocess.STDOUT, start_new_session=True)
    GROUPS.add(process.pid)
    status, output = None, ""
    try:
        output, _ = process.communicate(timeout=limit)
        status = process.returncode
    except subprocess.TimeoutExpired:
        pass
    except KeyboardInterrupt:
        with contextlib.suppress(ProcessLookupError, subprocess.TimeoutExpired):
            os.killpg(process.pid, signal.SIGINT)   # it may have folders to remove
            process.communicate(timeout=10)
        raise
    finally:
        end_group(process.pid)
        if status is None:
            output, _ = process.communicate()
    return status, output or "", time.monotonic() - start


GROUPS = set()                      # of processes that run now


def end_group(group):
    """Nothing that a test started may outlive it."""
    try:
        os.killpg(group, signal.SIGKILL)
    except ProcessLookupError:
        pass
    GROUPS.discard(group)


def give_up(*_):
    for group in list(GROUPS):
        end_group(group)
    sys.exit(143)


def together(jobs, at_once):
    """Runs functions beside each other, and ends what they run when somebody interrupts."""
    with concurrent.futures.ThreadPoolExecutor(at_once) as pool:
        try:
            for done in [pool.submit(job) for job in jobs]:
                done.result()
        except KeyboardInterrupt:
            pool.shutdown(wait=False, cancel_futures=True)
            for group in list(GROUPS):
                end_group(group)
            raise


def ending(status, limit):
    """Says how a program ended."""
    if status is None:
        return f"ended after {limit} s without a result"
    if status < 0:
        return f"killed by {signal.Signals(-status).name}"
    return f"exit status {status}"


# ---- results -----------------------------------------------------------------------------------

def read_results(paths):
    """JUnit-like XML, as cmocka and pytest write it. -> (passed, [failed name], skipped, texts)"""
    passed, skipped, failures, texts = 0, 0, [], []
    for path in paths:
        for case in ET.parse(path).getroot().iter("testcase"):
            name = "::".join(filter(None, (case.get("classname"), case.get("name"))))
            wrong = [c for c in case if c.tag in ("failure", "error")]
            if wrong:
                failures.append(name)
                texts += [f"{name}: {c.text or c.get('message') or ''}".strip() for c in wrong]
            elif case.find("skipped") is not None:
                skipped += 1
            else:
                passed += 1
    return passed, failures, skipped, texts


def judge(tally, what, status, limit, paths, seconds, output=""):
    """Adds a finished test program to the tally, believing neither its exit status nor its results
    alone."""
    passed = skipped = 0
    failures, texts = [], []
    try:
        passed, failures, skipped, texts = read_results(paths)
    except (ET.ParseError, OSError) as e:
        failures = [f"unreadable results: {e}"]
    if status != 0 and not failures:
        failures = [ending(status, limit)]
    if passed + len(failures) + skipped == 0:
        failures = ["ran no test"]
    tally.add(what, passed, failures, skipped, seconds, "\n".join(texts + [output]))


# ---- stages ------------------------------------------------------------------------------------

def folder(mode):
    return BUILD if mode == "release" else BUILD / mode


def make(tally, mode, *targets):
    """-> whether it was built. A failed build is one failure; its own words say where."""
    status, output, seconds = run(["make", "--no-print-directory", f"-j{CORES}", f"MODE={mode}",
                                   f"BUILD={BUILD}", *targets], 1200, environment(mode))
    tally.add(f"{mode} build", failures=[] if status == 0 else [ending(status, 1200)],
              seconds=seconds, output=output)
    return status == 0


def environment(mode):
    env = {k: v for k, v in os.environ.items() if k not in ("MAKEFLAGS", "MFLAGS", "MAKELEVEL")}
    for name, value in SANITIZERS.items():
        env.setdefault(name, value)
    out = (ROOT / folder(mode)).resolve()
    env.update(WEIR=str(out / "weir"), HELLO=str(out / "hello"), WORLD=str(out / "world"),
               LOAD=str(out / "load"), WEIR_MODE=mode,
               FAULTS_SO=str((ROOT / BUILD).resolve() / "tests" / "faults.so"))
    if mode == "tsan":
        env["WEIR_WORKERS"] = "2"
    return env


def wrapper(mode):
    """gcc's tsan can't live with the wide address randomisation of newer kernels."""
    narrow = ["setarch", "-R"]
    if mode == "tsan" and shutil.which("setarch") and run([*narrow, "true"], 10)[0] == 0:
        return narrow
    return []


def static(tally):
    for name, target in (("tree", "lint-tree"), ("format", "format-check")):
        status, output, seconds = run(["make", "--no-print-directory", target], 120,
                                      environment("release"))
        tally.add(name, failures=[] if status == 0 else [ending(status, 120)], seconds=seconds,
                  output=output)
        if status == 0 and "skipped" in output:
            say(output.strip())
    pytest(tally, "lint rules", "release", ["tests/lint"], [])


def unit(tally, mode, names):
    programs = sorted((ROOT / "tests" / "unit").glob("test_*.c"))
    unknown = set(names) - {p.stem.removeprefix("test_") for p in programs}
    if unknown or not programs:
        tally.add(f"{mode} unit", failures=[f"no test {name}" for name in sorted(unknown) or ["at all"]])
        return
    if names:
        programs = [p for p in programs if p.stem.removeprefix("test_") in names]
    targets = [folder(mode) / "tests" / p.stem for p in programs]
    if not make(tally, mode, *targets):
        return
    together([functools.partial(unit_program, tally, mode, t) for t in targets], CORES)
    if not names and mode in PROPERTY_SEEDS:
        corpora(tally, mode)


def unit_program(tally, mode, program):
    results = ROOT / folder(mode) / "results" / program.name
    shutil.rmtree(results, ignore_errors=True)      # cmocka never overwrites
    results.mkdir(parents=True)
    env = dict(environment(mode), CMOCKA_MESSAGE_OUTPUT="xml",
               CMOCKA_XML_FILE=str(results / "%g.xml"))
    status, output, seconds = run([*wrapper(mode), program], UNIT_LIMIT, env)
    judge(tally, f"{mode} unit {program.name.removeprefix('test_')}", status, UNIT_LIMIT,
          sorted(results.iterdir()), seconds, output)


def corpora(tally, mode):
    """Each fuzz target over its corpus and what was found, and the property for a range of seeds."""
    fuzz = ROOT / "tests" / "fuzz"
    names = sorted(p.stem.removeprefix("fuzz_") for p in fuzz.glob("fuzz_*.c"))
    if not names or not make(tally, mode, "fuzz-tests"):
        return
    runs = {"property": ["property", "--seeds", PROPERTY_SEEDS[mode]]}
    for name in names:
        found = sorted((fuzz / "findings").glob(f"{name}-*"))
        runs[f"corpus {name}"] = [f"replay_{name}", fuzz / "corpus" / name, *found]
    together([functools.partial(program, tally, f"{mode} {what}", folder(mode) / "tests" / argv[0],
                                argv[1:], environment(mode)) for what, argv in runs.items()], CORES)


def program(tally, what, path, arguments, env):
    """A test that is one program without results of its own."""
    status, output, seconds = run([path, *arguments], UNIT_LIMIT, env)
    failures = [] if status == 0 else [ending(status, UNIT_LIMIT)]
    tally.add(what, 0 if failures else 1, failures, seconds=seconds, output=output)


def fuzz(tally):
    say("fuzz ...")
    status, output, seconds = run([sys.executable, "tests/fuzz/run.py", "--seconds", FUZZ_SECONDS,
                                   "--jobs", 2], FUZZ_LIMIT, environment("release"))
    if status == 2:
        say(output.strip())
        tally.add("fuzz", skipped=1, seconds=seconds)
        return
    failures = [] if status == 0 else [ending(status, FUZZ_LIMIT)]
    tally.add("fuzz", output.count(" inputs, ") - output.count(" FAILED with "), failures,
              seconds=seconds, output=output)


def e2e(tally, mode, arguments):
    if not (ROOT / "tests" / "e2e").is_dir():
        tally.add(f"{mode} e2e", failures=["no tests"])
    elif make(tally, mode, "all", "bench-tools", "faults"):
        paths = [] if any(a.startswith("tests/") for a in arguments) else ["tests/e2e"]
        left_out = NOT_SANITIZED if mode != "release" and paths else ()
        pytest(tally, f"{mode} e2e", mode, paths,
               ["-n", E2E_JOBS, *map(ignoring, left_out), *arguments])


def ignoring(name):
    return f"--ignore=tests/e2e/test_{name}.py"


def chaos(tally, mode, arguments):
    if make(tally, mode, "all"):
        pytest(tally, f"{mode} chaos", mode, ["tests/chaos"], ["-n", 2, *arguments])


def faults(tally, mode, seeds, arguments):
    if mode == "tsan" or not make(tally, mode, "all", "bench-tools", "faults"):
        return
    sample = [] if seeds else [f"--deselect=tests/e2e/test_vectors.py::{name}" for name in (
        "test_request_split_at_every_byte", "test_response_split_at_every_byte")]
    for seed in (seeds or SEEDS.get(mode, "1")).split():
        pages = ROOT / folder(mode) / "results" / f"faults-{seed}"
        shutil.rmtree(pages, ignore_errors=True)
        pages.mkdir(parents=True)
        what = f"{mode} faults, seed {seed}"
        before = len(tally.failures)
        paths = [] if any(a.startswith("tests/") for a in arguments) else ["tests/e2e"]
        pytest(tally, what, mode, paths,
               ["-n", E2E_JOBS, *sample, *map(ignoring, NOT_UNDER_FAULTS), *arguments],
               {"WEIR_FAULTS": f"seed={seed},{BEARABLE[int(seed) % 2]}",
                "WEIR_FAULTS_REPORT": f"{pages}/"})
        struck = read_pages(pages)
        say(f"{what}: " + (", ".join(f"{n} {struck[n]}" for n in SURELY) if struck else "nothing"))
        # Of some tests, not each need meet one.
        missing = [f"no {name} struck" for name in SURELY if not arguments and not struck.get(name)]
        if missing:
            tally.add(what, failures=missing)
        if len(tally.failures) > before:
            say(f"again: make torture-faults MODE={mode} SEEDS={seed} T='-k NAME'")


def read_pages(pages):
    """What tests/faults/faults.c counted, over all processes: {name: count}"""
    sums = {}
    for page in pages.iterdir():
        data = page.read_bytes()
        names = data[2048:data.index(b"\0", 2048)].decode().split(",")
        for name, count in zip(names, struct.unpack_from(f"{len(names)}Q", data)):
            sums[name] = sums.get(name, 0) + count
    return sums


def pytest(tally, what, mode, paths, arguments, env=None, limit=E2E_LIMIT):
    results = ROOT / folder(mode) / "results" / f"{re.sub('[^a-z0-9]+', '-', what)}.xml"
    results.parent.mkdir(parents=True, exist_ok=True)
    results.unlink(missing_ok=True)
    say(f"{what} ...")
    status, _, seconds = run([*wrapper(mode), "/usr/bin/python3", "-m", "pytest", *paths, "-q",
                              "-rsfE", "--color=no", "-p", "no:cacheprovider",
                              f"--timeout={TEST_LIMIT}", f"--junitxml={results}", *arguments], limit,
                             {**environment(mode), **(env or {})}, show=True)
    judge(tally, what, status, limit, [results] if results.exists() else [], seconds)


def k8s(tally):
    if make(tally, "release", "all"):
        pytest(tally, "k8s", "release", ["tests/k8s"], [], limit=K8S_LIMIT)


def budget(tally):
    if not make(tally, "release", "all", "bench-tools"):
        return
    results = ROOT / folder("release") / "results" / "budget.xml"
    results.parent.mkdir(parents=True, exist_ok=True)
    results.unlink(missing_ok=True)
    say("budget ...")
    status, output, seconds = run(["/usr/bin/python3", "bench/budget.py", "--results", results],
                                  E2E_LIMIT, environment("release"))
    judge(tally, "budget", status, E2E_LIMIT, [results] if results.exists() else [], seconds, output)


def chosen(text, all_of):
    picked = [w for w in text.split(",") if w]
    for word in picked:
        if word not in all_of:
            sys.exit(f"test: '{word}': expected some of {','.join(all_of)}")
    return picked


def arguments():
    parser = argparse.ArgumentParser(usage=__doc__)
    parser.add_argument("--modes", default=",".join(MODES))
    parser.add_argument("--only", default=",".join(STAGES))
    parser.add_argument("--seeds", default="")
    parser.add_argument("names", nargs="*")
    own, rest = sys.argv[1:], []
    if "--" in own:
        at = own.index("--")
        own, rest = own[:at], own[at + 1:]
    options = parser.parse_args(own)
    options.modes = chosen(options.modes, MODES + ("debug",))
    options.only = chosen(options.only, STAGES)
    options.pytest = rest
    return options


def main():
    options = arguments()
    tally, start = Tally(), time.monotonic()
    try:
        if "static" in options.only:
            static(tally)
        for mode in options.modes:
            if "unit" in options.only:
                unit(tally, mode, options.names)
            if "e2e" in options.only:
                e2e(tally, mode, options.pytest)
            if "faults" in options.only:
                faults(tally, mode, options.seeds, options.pytest)
            if "chaos" in options.only:
                chaos(tally, mode, options.pytest)
            if "budget" in options.only and mode == "release":
                budget(tally)
        last = {"k8s": k8s, "fuzz": fuzz}  # images take the disk's time, fuzzing a time of its own
        together([functools.partial(stage, tally) for name, stage in last.items()
                  if name in options.only], len(last))
    except KeyboardInterrupt:
        tally.add("run", failures=["interrupted"])

    seconds = time.monotonic() - start
    for failure in tally.failures:
        say(f"FAILED {failure}")
    say(f"took {seconds:.0f} s" + (f", more than the {BUDGET} s it may" if seconds > BUDGET else ""))
    if tally.passed + tally.failed == 0:
        tally.add("run", failures=["ran no test"])
    if tally.skipped:
        say(f"{tally.skipped} skipped, for the reasons above")
    print(f"{tally.passed} passed, {tally.failed} failed", flush=True)
    return 1 if tally.failed else 0


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, give_up)
    sys.exit(main())
