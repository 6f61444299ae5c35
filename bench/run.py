#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""What weir costs beside the floor and its rivals: runs scenarios, writes tables and plots.

    run.py                          the default scenarios
    run.py keepalive my-own.yaml    these
    run.py 'tls-*' 'h2-*'           those whose names match
    run.py --list                   what there is

The figure that matters is CPU time per request of the proxy's own processes. See README.md for the
method and for what the figures can and can't say.
"""
import argparse
import datetime
import json
import os
import sys
import tempfile
from pathlib import Path

from weirbench import plot, proxies, report, runner, scenario
from weirbench.process import HERE, BenchError, exit_on_signals, raise_file_limit
from weirbench.progress import Progress
from weirbench.scenario import parse_cpus

RESULTS = HERE / "results"


def cpu_list(text):
    """Checks an argument, which stays text: taskset gets it too."""
    if parse_cpus(text) - os.sched_getaffinity(0):
        raise argparse.ArgumentTypeError(f"{text}: not all of these CPUs may be used here")
    return text


def at_least(kind, least):
    def read(text):
        value = kind(text)
        if value < least:
            raise argparse.ArgumentTypeError(f"{text}: must be at least {least}")
        return value
    return read


def names(text):
    return [name for name in text.replace(",", " ").split() if name]


def parse_args(argv=None):
    cpus = sorted(os.sched_getaffinity(0))
    p = argparse.ArgumentParser(description=__doc__.split("\n\n", maxsplit=1)[0])
    p.add_argument("scenario", nargs="*", help="names, patterns (tls-*), or files of your own (FILE.yaml)")
    p.add_argument("--list", action="store_true", help="the scenarios and the proxies there are")
    p.add_argument("--only", type=names, metavar="NAMES",
                   help="comma-separated: " + ", ".join(proxies.PROXIES) +
                   "; nginx:FILE runs it with another template")
    p.add_argument("--quick", action="store_true",
                   help="the quick scenarios, one round of a second: a look, not a result")
    p.add_argument("--rounds", type=at_least(int, 1), help="instead of the scenarios' own")
    p.add_argument("--seconds", type=at_least(float, 0.1), help="of load a sample, likewise")
    p.add_argument("--connections", type=at_least(int, 1), help="likewise")
    p.add_argument("--access-log", action="store_true", help="on for all proxies, not off for all")
    p.add_argument("--backend", metavar="HOST:PORT", help="default: build/hello, started here")
    p.add_argument("--proxy-cpu", type=cpu_list, default=str(cpus[-1]),
                   help="default: the last one")
    p.add_argument("--load-cpus", type=cpu_list, default=",".join(map(str, cpus[:-1] or cpus)),
                   help="for the load and the backend; default: the others")
    p.add_argument("--results", type=Path, metavar="DIR",
                   help="default: bench/results/DATE-TIME")
    p.add_argument("--reference", action="store_true",
                   help="into bench/results/reference-DATE, which git does not ignore")
    p.add_argument("--no-plots", action="store_true")
    return p.parse_args(argv)


def list_everything():
    print("Scenarios (bench/scenarios/NAME.yaml); * runs by default, q with --quick:")
    for one in scenario.load_all():
        marks = ("*" if one.default else " ") + ("q" if one.quick else " ")
        variants = f" [{', '.join(c.variant for c in one.cells())}]" * bool(one.sweep)
        needs = f" (needs {', '.join(sorted(one.needs))})" if one.needs else ""
        print(f"  {marks} {one.name:<20} {one.about}{variants}{needs}")
    print("Proxies:")
    for name, cls in proxies.PROXIES.items():
        state = cls.missing() or cls.version()
        print(f"     {name:<20} {state}; can: {', '.join(sorted(cls.can)) or 'HTTP/1.1'}")


def results_folder(args):
    """Where this run is written to. A reference run is looked at again: none is written over."""
    now = datetime.datetime.now()
    stamp = now.strftime("reference-%Y-%m-%d" if args.reference else "%Y-%m-%d-%H%M%S")
    folder = args.results or RESULTS / stamp
    if args.reference and (folder / "results.json").exists():
        raise BenchError(f"{folder} has a result already: remove it, or name another with "
                         "--results DIR")
    return folder


def result_of(run, plans, chosen, left_out, about, args, ended_early):
    """Everything that is known now, ready for JSON."""
    cells = [report.about_cell(p) for p in plans]
    measured = {s["proxy"] for s in run.samples}
    classes = {label: make.cls for label, make in chosen if label in measured}
    return {
        "machine": about,
        "arguments": {k: str(v) if isinstance(v, Path) else v for k, v in vars(args).items()},
        "versions": {label: cls.version() for label, cls in classes.items()},
        "notes": {label: cls.why for label, cls in classes.items() if cls.why},
        "left_out": left_out, "failures": run.failures, "ended_early": ended_early,
        "rates": run.rates, "cells": cells,
        "summary": {c["key"]: report.summarise(run.samples, c["key"]) for c in cells},
        "samples": run.samples,
    }


def write(result, folder, plots):
    """The three forms of a result. Returns its text."""
    text = report.markdown(result)
    (folder / "results.json").write_text(json.dumps(result, indent=1) + "\n")
    if plots:
        drawn, reason = plot.draw(result, folder)
        text += "".join(f"\n![{path.stem}]({path.name})" for path in drawn) + "\n" * bool(drawn)
        if reason:
            print(f"bench: no plots: {reason}", file=sys.stderr)
    (folder / "results.md").write_text(text)
    return text


def minutes(seconds):
    return f"{seconds / 60:.0f} minutes" if seconds >= 90 else f"{seconds:.0f} seconds"


def main():
    args = parse_args()
    if args.list:
        list_everything()
        return 0
    exit_on_signals()
    results = results_folder(args)
    options = runner.Options(args.proxy_cpu, args.load_cpus, raise_file_limit(), args.rounds,
                             args.seconds, args.connections, args.quick, args.access_log,
                             args.backend)
    scenarios = scenario.choose(args.scenario, args.quick)
    chosen, missing = proxies.choose_proxies(args.only)
    plans, left_out = runner.plan_run(scenarios, chosen, options)
    left_out = missing + left_out
    os.sched_setaffinity(0, parse_cpus(args.load_cpus))
    about = report.machine()
    progress = Progress(sum(p.total() for p in plans))
    for line in left_out:
        progress.say(f"left out: {line}")
    progress.say(f"{len(plans)} workloads, about {minutes(progress.planned)}")
    ended = None
    with tempfile.TemporaryDirectory(prefix="weir-bench-") as folder, \
            runner.Run(options, folder, progress) as run:
        try:
            run.run(plans)
        except (KeyboardInterrupt, SystemExit) as e:
            ended = e.code if isinstance(e, SystemExit) else 130
    progress.end()
    if not run.samples:
        print("bench: nothing was measured", file=sys.stderr)
        return ended or 1
    result = result_of(run, plans, chosen, left_out, about, args, ended is not None)
    results.mkdir(parents=True, exist_ok=True)
    print(write(result, results, not args.no_plots))
    print(f"Written to {results}")
    if ended is not None:
        return ended
    return 1 if run.failures or report.errors_of(result["summary"]) else 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except (BenchError, OSError) as e:
        sys.exit(f"{Path(sys.argv[0]).name}: {e}")
    except KeyboardInterrupt:
        sys.exit(130)
