#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Proxies side by side: loaded at the same time, on the same core, so that whatever disturbs one of
them disturbs the others as well. Tells small differences, which samples in turns don't.

    side.py tls-keepalive                    weir and nginx, as fast as answers come
    side.py tls-keepalive --rate 12000       as many requests a second for each of them
    side.py tls-handshake-full --rounds 12

Each has the others in its caches, so what a request costs is not what it would cost alone; the ratios
are what it is about. See README.md, "Noise, honestly".
"""
import argparse
import contextlib
import os
import statistics
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from weirbench import load, measure, proxies, report, runner, scenario
from weirbench.process import BenchError, exit_on_signals, raise_file_limit
from weirbench.progress import Progress


def parse_args():
    cpus = sorted(os.sched_getaffinity(0))
    p = argparse.ArgumentParser(description=__doc__.split("\n\n", maxsplit=1)[0])
    p.add_argument("scenario", nargs="+", help="names, patterns (tls-*), or files of your own")
    p.add_argument("--only", type=lambda s: s.split(","), default=["weir", "nginx"],
                   metavar="NAMES", help="the last is what the others are divided by (weir,nginx)")
    p.add_argument("--rate", type=float, help="requests a second for each, in an open loop")
    p.add_argument("--rounds", type=int, default=9)
    p.add_argument("--seconds", type=float, default=1.0, help="of a round")
    p.add_argument("--proxy-cpu", default=str(cpus[-1]), help="the last one")
    p.add_argument("--load-cpus", default=",".join(map(str, cpus[:-1] or cpus)), help="the others")
    args = p.parse_args()
    if args.rounds < 1 or args.seconds < 0.1:
        p.error("--rounds must be at least 1, --seconds 0.1")
    return args


def start(stack, run, cell, chosen, args):
    """label -> the Sampler of a proxy that is warm."""
    samplers = {}
    for label, make in chosen:
        server = stack.enter_context(make(run.folder / label, args.proxy_cpu))
        server.start(run.setup(cell))
        measure.check(server, cell)
        samplers[label] = measure.Sampler(server, cell, args.proxy_cpu, args.load_cpus, run.folder)
    together(samplers, warm_up)
    return samplers


def warm_up(sampler):
    sampler.rate = sampler.closed(1.0)["rate"]


def together(samplers, what):
    """label -> what(sampler), done by all of them at once."""
    with ThreadPoolExecutor(len(samplers)) as pool:
        futures = {label: pool.submit(what, one) for label, one in samplers.items()}
        return {label: future.result() for label, future in futures.items()}


def one_round(samplers, args):
    def take(s):
        if args.rate is None:
            return s.run(lambda _: s.closed(args.seconds))
        return s.run(lambda _: load.paced(s.server.address, s.cell, args.load_cpus, args.seconds,
                                          args.rate))
    return together(samplers, take)


def table(cell, rounds):
    """Of [{label: sample}]: what each costs, and the ratios to the last of them."""
    labels = list(rounds[0])
    rows = []
    for label in labels:
        cpu, user, rate = (statistics.median(r[label][key] for r in rounds)
                           for key in ("cpu_us", "user_us", "rate"))
        found = report.spread([r[label]["cpu_us"] / r[labels[-1]]["cpu_us"] for r in rounds])
        rows.append([label, report.number(cpu), report.number(user), report.number(rate, 0),
                     report.cell_text(found, 3)])
    head = [f"{cell.key}, {len(rounds)} rounds", f"CPU µs/{cell.unit}", "user", "a second",
            f"/ {labels[-1]}"]
    return report.table(head, rows)


def side_by_side(cell, chosen, args):
    able = [(label, make) for label, make in chosen if cell.needs <= make.cls.can]
    if len(able) < 2:
        raise BenchError(f"{cell.key}: fewer than two of {', '.join(args.only)} can do it")
    options = runner.Options(args.proxy_cpu, args.load_cpus, raise_file_limit())
    with tempfile.TemporaryDirectory(prefix="weir-side-") as folder, \
            runner.Run(options, folder, Progress(1, sys.stderr)) as run, \
            contextlib.ExitStack() as stack:
        samplers = start(stack, run, cell, able, args)
        rounds = [one_round(samplers, args) for _ in range(args.rounds)]
    print(table(cell, rounds), flush=True)
    return sum(sum(s["errors"].values()) for r in rounds for s in r.values())


def main():
    args = parse_args()
    exit_on_signals()
    chosen, _ = proxies.choose_proxies(args.only)
    os.sched_setaffinity(0, scenario.parse_cpus(args.load_cpus))
    cells = [cell for one in scenario.choose(args.scenario) for cell in one.cells()]
    errors = sum(side_by_side(cell, chosen, args) for cell in cells)
    if errors:
        print(f"{errors} requests failed", file=sys.stderr)
    return 1 if errors else 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except (BenchError, OSError) as e:
        sys.exit(f"{Path(sys.argv[0]).name}: {e}")
    except KeyboardInterrupt:
        sys.exit(130)
