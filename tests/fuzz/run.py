#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""`make fuzz`: builds the fuzz targets with clang's libFuzzer and runs them.

    run.py [--seconds N] [--jobs N] [TARGET...]

Each target (tests/fuzz/fuzz_TARGET.c) runs for N seconds on a copy of its corpus, as many at a time
as there are cores. What a target adds to the corpus stays in build/fuzz/corpus/TARGET and is where
the next run begins; tests/fuzz/corpus/TARGET is what is committed. An input that crashes, leaks or
hangs goes to tests/fuzz/findings/, and is told with the command that runs it again. Exit status: 0,
1 if anything was found or a target did not run, 2 if there is no libFuzzer.
"""
import argparse
import concurrent.futures
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
FUZZ = ROOT / "tests" / "fuzz"
BUILD = Path(os.environ.get("BUILD", "build"))
FINDINGS = FUZZ / "findings"
# The dictionary of a target, and the longest input that is worth its time.
DICTIONARIES = {
    "chunked": ["http"],
    "config": ["config"],
    "conn": ["conn", "http"],
    "dns": ["dns"],
    "endpoints": ["config"],
    "h1": ["http"],
    "h2_client": ["conn", "h2"],
    "h2_server": ["conn", "h2"],
    "kubernetes": ["kubernetes"],
    "proxy_header": ["proxy_header"],
    "request": ["http"],
    "response": ["http"],
    "route": ["route"],
    "target": ["http"],
}
MAX_LEN = {"conn": 1500, "config": 4096, "dns": 600, "endpoints": 1024, "h2_client": 600,
           "h2_server": 600, "proxy_header": 300, "target": 256}
ONE_INPUT = 30                      # seconds: more is a hang


def say(text):
    print(f"fuzz: {text}", flush=True)


def compiler():
    return os.environ.get("FUZZ_CC", "clang")


def has_libfuzzer():
    """A clang without its run-time library can't link a target."""
    if shutil.which(compiler()) is None:
        return False
    source = "int LLVMFuzzerTestOneInput(const char *d, long n) { return d && n ? 0 : 0; }"
    with tempfile.TemporaryDirectory() as folder:
        argv = [compiler(), "-fsanitize=fuzzer,address,undefined", "-xc", "-", "-o", f"{folder}/x"]
        return subprocess.run(argv, input=source, text=True, capture_output=True).returncode == 0


def targets():
    return sorted(p.stem.removeprefix("fuzz_") for p in FUZZ.glob("fuzz_*.c"))


def build(names):
    env = {k: v for k, v in os.environ.items() if k not in ("MAKEFLAGS", "MFLAGS", "MAKELEVEL")}
    programs = [f"{BUILD}/fuzz/fuzz_{name}" for name in names]
    done = subprocess.run(["make", "--no-print-directory", f"-j{os.cpu_count() or 1}", "MODE=fuzz",
                           f"BUILD={BUILD}", *programs], cwd=ROOT, env=env, text=True,
                          errors="replace", stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    if done.returncode != 0:
        print(done.stdout[-4000:])
    return done.returncode == 0


def dictionary(name, folder):
    path = folder / f"{name}.dict"
    parts = [FUZZ / "dict" / f"{part}.dict" for part in DICTIONARIES.get(name, ())]
    path.write_text("".join(p.read_text() for p in parts if p.exists()))
    return path


def fuzz(name, seconds, folder):
    """-> (what is to be said, [path of a finding])"""
    corpus = ROOT / BUILD / "fuzz" / "corpus" / name
    corpus.mkdir(parents=True, exist_ok=True)
    before = set(FINDINGS.iterdir())
    seeds = [str(p) for p in [FUZZ / "corpus" / name] if p.is_dir()]
    argv = [str(ROOT / BUILD / "fuzz" / f"fuzz_{name}"), f"-max_total_time={seconds}",
            f"-max_len={MAX_LEN.get(name, 2048)}", f"-timeout={ONE_INPUT}", "-entropic=0",
            "-print_final_stats=1", "-rss_limit_mb=2048", "-report_slow_units=1000",
            f"-dict={dictionary(name, folder)}", f"-artifact_prefix={FINDINGS}/{name}-",
            str(corpus), *seeds]
    env = dict(os.environ)
    env.setdefault("ASAN_OPTIONS", "malloc_context_size=8:detect_leaks=1")
    env.setdefault("UBSAN_OPTIONS", "print_stacktrace=1")
    done = subprocess.run(argv, cwd=ROOT, env=env, text=True, errors="replace",
                          stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT)
    found = sorted(set(FINDINGS.iterdir()) - before, key=lambda p: p.name)
    found = [p for p in found if p.name.startswith(f"{name}-")]
    executed = re.search(r"stat::number_of_executed_units:\s*(\d+)", done.stdout)
    covered = re.findall(r"\bcov: (\d+) ft: (\d+)", done.stdout)
    words = f"{name}: {executed[1] if executed else 0} inputs"
    if covered:
        words += f", {covered[-1][0]} edges, {covered[-1][1]} features"
    if done.returncode != 0:
        words += f", FAILED with status {done.returncode}\n" + indent(done.stdout)
    return words, found, done.returncode == 0


def indent(text):
    lines = [line for line in text.splitlines() if not re.match(r"#\d+\s", line)]
    return "\n".join("    " + line[:300] for line in lines[-60:])


def main():
    parser = argparse.ArgumentParser(usage=__doc__)
    parser.add_argument("--seconds", type=int, default=60)
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    parser.add_argument("targets", nargs="*", default=[])
    options = parser.parse_args()
    names = options.targets or targets()
    unknown = sorted(set(names) - set(targets()))
    if unknown:
        sys.exit(f"fuzz: '{unknown[0]}': expected some of {' '.join(targets())}")
    if not has_libfuzzer():
        say(f"{compiler()} with libFuzzer is missing: run scripts/deps.sh test")
        return 2
    if not build(names):
        say("the build failed")
        return 1
    FINDINGS.mkdir(exist_ok=True)
    ok = True
    with tempfile.TemporaryDirectory() as folder, \
            concurrent.futures.ThreadPoolExecutor(options.jobs) as pool:
        runs = [pool.submit(fuzz, name, options.seconds, Path(folder)) for name in names]
        for run in concurrent.futures.as_completed(runs):
            words, found, fine = run.result()
            say(words)
            for path in found:
                name = path.name.split("-")[0]
                say(f"found {path.relative_to(ROOT)}; again: "
                    f"{BUILD}/fuzz/fuzz_{name} {path.relative_to(ROOT)}")
            ok &= fine
    return 0 if ok else 1


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        print("\nfuzz: interrupted", flush=True)
        sys.exit(130)
