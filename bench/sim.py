#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Which policy to choose: simulates every scenario of sim/scenarios with pools of 10 to 10,000
endpoints under every policy (build/weir-sim), and writes tables and plots.

    sim.py                      all of them
    sim.py slow uneven          these
    sim.py --sizes 10,100       other sizes
    sim.py --requests 100000    a look

Nothing is measured, and a seed gives the same figures again. See README.md for what they teach.
"""
import argparse
import concurrent.futures
import datetime
import json
import os
import re
import subprocess
import sys
from pathlib import Path

from weirbench import plot
from weirbench.progress import Progress

HERE = Path(__file__).resolve().parent
SCENARIOS = HERE / "sim/scenarios"
SIM = os.environ.get("SIM", str(HERE.parent / "build/weir-sim"))
ORDER = ("even", "heavy", "slow", "uneven", "crowd", "keys")
STORM = "storm"                     # is played over time, and not for every policy
SIZES = (10, 100, 1000, 10000)
REQUESTS, EACH = 1_000_000, 200     # in a run; for an endpoint, at least
SHOWN = 0.01                        # part that failed from which it is said
COLOURS = {"round_robin": "#7b828c", "random": "#c23b3b", "least_conn": "#1f9e55", "p2c": "#1456b8",
           "peak_ewma": "#e07800", "ring": "#8a56c2", "ring:125": "#b58fe0",
           "maglev": "#8c6a3f", "maglev:125": "#c9a877"}
STORMS = {"no retries": ("retries=0",), "budget": (), "checks too": ("notice_s=2",),
          "no budget": ("budget=100",)}
STORM_COLOURS = dict(zip(STORMS, ("#7b828c", "#1456b8", "#1f9e55", "#c23b3b")))
STORM_LOADS = (0.4, 0.6)            # the living half can carry the first, and not the second
STEP = 4                            # slices of a run that are one point of a plot


def simulate(scenario, *settings):
    """-> one dict a policy. The scenario's path, and options or name=value words."""
    done = subprocess.run([SIM, "--json", str(scenario), *settings], text=True, check=False,
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    if done.returncode:
        sys.exit(done.stderr.strip() or f"{SIM}: {done.returncode}")
    return [json.loads(line) for line in done.stdout.splitlines()]


def simulate_all(names, sizes, requests):
    """{scenario: {size: {policy: result}}}"""
    jobs = [(name, size) for size in sorted(sizes, reverse=True) for name in names]
    found = {name: {} for name in names}
    progress = Progress(sum(size for _, size in jobs))

    def run(job):
        name, size = job
        count = requests or max(REQUESTS, EACH * size)
        return simulate(SCENARIOS / f"{name}.yaml", f"endpoints={size}", f"requests={count}")

    with concurrent.futures.ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        waiting = {pool.submit(run, job): job for job in jobs}
        for done in concurrent.futures.as_completed(waiting):
            name, size = waiting[done]
            found[name][size] = {r["policy"]: r for r in done.result()}
            progress.step(size, f"{name}, {size:,} endpoints")
    progress.end()
    return {name: dict(sorted(by_size.items())) for name, by_size in found.items()}


def about(name):
    return re.search(r"^about: (.*)$", (SCENARIOS / f"{name}.yaml").read_text(), re.M)[1]


# ---- tables --------------------------------------------------------------------------------------

def failed(result):
    return 1 - result["answered"] / result["requests"]


def short(value):
    return f"{value:,.0f}" if value >= 10 else f"{value:.2g}"


def p99(result):
    mark = "\\*" if failed(result) >= SHOWN else ""
    return short(result["ms"]["p99"]) + mark


def table(head, rows):
    yield "| " + " | ".join(head) + " |"
    yield "|---|" + "--:|" * (len(head) - 1)
    for row in rows:
        yield "| " + " | ".join(str(cell) for cell in row) + " |"


def summary(found, sizes):
    """The p99 of every policy in every scenario, for all sizes in one cell."""
    policies = next(iter(next(iter(found.values())).values()))
    yield (f"p99 in ms, with {', '.join(f'{s:,}' for s in sizes)} endpoints. \\*: at least "
           f"{SHOWN:.0%} of the requests were refused, by endpoints whose queues were full.")
    yield ""
    yield from table(["policy", *found],
                     ([p, *(" · ".join(p99(by_size[s][p]) for s in sizes)
                            for by_size in found.values())] for p in policies))


def details(name, by_size):
    yield f"### {name}"
    yield f"{about(name)[:1].upper()}{about(name)[1:]}."
    yield ""
    head = ["policy", "endpoints", "p50 ms", "p99 ms", "p99.9 ms", "failed", "max / mean", "busiest",
            "strayed", "moved"]
    yield from table(head, (detail(policy, size, r) for policy in by_size[min(by_size)]
                            for size, results in by_size.items() for r in [results[policy]]))
    yield ""


def detail(policy, size, r):
    ms = r["ms"]
    strayed = f"{r['strayed'] / r['followed']:.1%}" if r["followed"] else ""
    moved = f"{r['moved']:.2%}" if r["moved"] is not None else ""
    return [policy, f"{size:,}", short(ms["p50"]), short(ms["p99"]), short(ms["p99.9"]),
            f"{failed(r):.2%}", f"{r['imbalance']:.2f}", r["busiest"], strayed, moved]


def storm_table(storms):
    def part(slices):
        return f"{sum(s[1] for s in slices) / sum(s[0] for s in slices):.1%}"
    yield f"### {STORM}"
    yield f"{about(STORM)[:1].upper()}{about(STORM)[1:]}. p2c."
    yield ""
    yield from table(["retries", "load", "tries a request", "answered before", "meanwhile", "after"],
                     ([name, f"{load:.0%}", f"{r['attempts'] / r['requests']:.2f}",
                       part(r["slices"][:30]), part(r["slices"][30:60]), part(r["slices"][60:])]
                      for load, results in storms.items() for name, r in results.items()))
    yield ""


# ---- plots ---------------------------------------------------------------------------------------

def point(value):
    return {"median": value, "min": value, "max": value}


def label(policy):
    """Short enough to stand beside a line."""
    return policy.replace("_hash", "")


def growth_panels(found):
    """p99 by the number of endpoints: one panel a scenario, one line a policy."""
    for name, by_size in found.items():
        sizes = list(by_size)
        lines = {label(p): [(i, point(by_size[s][p]["ms"]["p99"])) for i, s in enumerate(sizes)]
                 for p in by_size[sizes[0]]}
        tics = [(i, f"{s:,}") for i, s in enumerate(sizes)]
        yield (f"{name}: p99 in ms by number of endpoints, log", plot.LINE_HEIGHT,
               plot.curves(lines, tics, True, COLOURS.get))


def latency_panels(found):
    """Percentiles in a pool of the second size."""
    for name, by_size in found.items():
        size = list(by_size)[min(1, len(by_size) - 1)]
        names = ("p50", "p90", "p99", "p99.9", "p99.99")
        lines = {label(p): [(i, point(r["ms"][n])) for i, n in enumerate(names)]
                 for p, r in by_size[size].items()}
        yield (f"{name}, {size:,} endpoints: latency in ms, log", plot.LINE_HEIGHT,
               plot.curves(lines, list(enumerate(names)), True, COLOURS.get))


def storm_panels(storms):
    tics = [(i, i * STEP) for i in range(0, 100 // STEP + 1, 5)]
    for title, value in (("answered, %", lambda s: 100 * s[1] / s[0]),
                         ("tries a request", lambda s: s[2] / s[0])):
        lines = {}
        for name, r in storms[STORM_LOADS[-1]].items():
            merged = [[sum(column) for column in zip(*r["slices"][i:i + STEP])]
                      for i in range(0, 100, STEP)]
            lines[name] = [(i, point(value(s))) for i, s in enumerate(merged)]
        yield (f"storm: {title}, by when in the run (%) requests came", plot.LINE_HEIGHT,
               plot.curves(lines, tics, False, STORM_COLOURS.get))


# ---- the whole -----------------------------------------------------------------------------------

def at_least_one(text):
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"{text}: must be at least 1")
    return value


def parse_args(argv=None):
    p = argparse.ArgumentParser(description=__doc__.split("\n\n", maxsplit=1)[0])
    p.add_argument("scenario", nargs="*", help=f"of {', '.join((*ORDER, STORM))}")
    p.add_argument("--sizes", type=lambda text: [at_least_one(t) for t in text.split(",")],
                   default=SIZES, help="of the pools, by commas")
    p.add_argument("--requests", type=at_least_one, help="in each run")
    p.add_argument("--results", type=Path, help="the folder, instead of one named by the time")
    p.add_argument("--reference", action="store_true", help="into one that is to be committed")
    args = p.parse_args(argv)
    unknown = set(args.scenario) - {*ORDER, STORM}
    if unknown:
        p.error(f"there is no scenario {', '.join(sorted(unknown))}")
    return args


def folder_of(args):
    now = datetime.datetime.now()
    name = f"reference-{now:%Y-%m-%d}-sim" if args.reference else f"{now:%Y-%m-%d-%H%M%S}-sim"
    folder = args.results or HERE / "results" / name
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def storm(requests):
    """{load: {name: result}}"""
    settings = (f"requests={requests}",) if requests else ()
    return {load: {name: simulate(SCENARIOS / f"{STORM}.yaml", "--policies", "p2c", f"load={load}",
                                  *settings, *more)[0] for name, more in STORMS.items()}
            for load in STORM_LOADS}


def main():
    args = parse_args()
    chosen = args.scenario or [*ORDER, STORM]
    names = [n for n in ORDER if n in chosen]
    folder = folder_of(args)
    lines, plots = [], {}
    found = simulate_all(names, args.sizes, args.requests)
    storms = storm(args.requests) if STORM in chosen else {}
    if found:
        lines += [*summary(found, args.sizes), ""]
        plots |= {"growth": list(growth_panels(found)), "latency": list(latency_panels(found))}
    if storms:
        lines += storm_table(storms)
        plots["storm"] = list(storm_panels(storms))
    for name, by_size in found.items():
        lines += details(name, by_size)
    text = "\n".join(lines)
    (folder / "results.md").write_text("# Which policy to choose when: simulated\n\n" + text)
    print(text)
    drawn, why = plot.draw_panels(plots, folder)
    print(f"in {folder}: results.md" + "".join(f", {path.name}" for path in drawn) +
          (f" ({why})" if why else ""))


if __name__ == "__main__":
    main()
