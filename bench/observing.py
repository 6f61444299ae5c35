#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""What it costs to be observed: observing.py cpu|scrape [--rounds N] [--seconds S]

cpu     CPU time per request of two weirs in turns: one with an access log (JSON, to a file) and the
        flight recorder, one with neither. Metrics and request ids are in both: there is no weir
        without them; what they cost in instructions is a row of budget.yaml.
scrape  p99 of one weir in an open loop, in turns with a scrape of /metrics every second and without.

As in tests/chaos/slowloris.py weir has one core and everything else the others, and weir, the load
and its backend run before anything else there, where that is allowed: else p99 is the machine's. So
the scrape and the worker want the same core, which is the worst that there can be.

Prints each round, and the median over rounds of one by the other. Needs build/load and build/hello
(`make all bench-tools`).
"""
import argparse
import contextlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT / "tests" / "e2e"), str(ROOT / "tests" / "chaos")]

import harness  # noqa: E402
from backend import Backend  # noqa: E402
from peers import wait_for  # noqa: E402
from slowloris import at_once, split_cores  # noqa: E402

LOAD = Path(os.environ.get("LOAD", ROOT / "build" / "load")).resolve()
POOL = "routes: [ {{ name: app, to: app }} ]\npools: {{ app: [ '{0}' ] }}\n"
OFF = POOL + "# access_log: none\nflight: {{ size: 0 }}\n"
ON = POOL + "flight: {{ slow: 1s }}\n"  # the harness adds a log


def load(mode, to, seconds, *more):
    out = subprocess.run(
        [*at_once(), LOAD, mode, "--to", to, "--seconds", str(seconds), "--warmup", "0.5", "--path", "/hello"]
        + [str(word) for word in more],
        check=True, capture_output=True).stdout
    result = json.loads(out.splitlines()[-1])
    assert not any(result["errors"].values()), f"requests failed: {result['errors']}"
    return result


def cpu_per_request(weir, seconds):
    """In microseconds: over the whole of a run, its warm-up and end included."""
    cpu, requests = weir.cpu(), weir.metric("weir_requests_total")
    load("closed", weir.listeners["web"], seconds, "--connections", 64)
    weir.wait_metric("weir_requests_in_flight", 0)
    return (weir.cpu() - cpu) / (weir.metric("weir_requests_total") - requests) * 1e6


class Scrapes:
    """One a second, as long as the context lasts."""

    def __init__(self, weir):
        self.weir, self.over, self.times = weir, threading.Event(), 0
        self.thread = threading.Thread(target=self.run)

    def run(self):
        while not self.over.wait(1):
            assert self.weir.admin_get("/metrics").status == 200
            self.times += 1

    def __enter__(self):
        self.thread.start()

    def __exit__(self, *_):
        self.over.set()
        self.thread.join()


def p99(weir, seconds, rate, scrapes):
    with Scrapes(weir) if scrapes else contextlib.nullcontext():
        done = load("open", weir.listeners["web"], seconds, "--connections", 32, "--rate", rate)
    return done["latency_us"]["p99"]


def in_turns(rounds, words, first, second):
    """Prints each round, which begins with the other one each time; the median of first / second."""
    ratios = []
    for i in range(rounds):
        got = {}
        for measure in (first, second) if i % 2 else (second, first):
            got[measure] = measure()
        ratios.append(got[first] / got[second])
        print(f"  {got[first]:9.2f} {got[second]:9.2f}   {ratios[-1]:.3f}", flush=True)
    middle = sorted(ratios)[len(ratios) // 4:len(ratios) - len(ratios) // 4]
    print(f"observing: {words}: median {statistics.median(ratios):.3f}, "
          f"middle half {middle[0]:.3f} to {middle[-1]:.3f}, of {rounds} rounds")


def main():
    parser = argparse.ArgumentParser(usage=__doc__)
    parser.add_argument("what", choices=("cpu", "scrape"))
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--seconds", type=float, default=2)
    parser.add_argument("--rate", type=int, default=5000)
    options = parser.parse_args()
    if not LOAD.exists():
        sys.exit(f"observing: no {LOAD}: run `make bench-tools`, or say where it is with LOAD=")
    weirs_core = split_cores()
    with contextlib.ExitStack() as stack:
        tmp = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="weir-observing-")))
        hello = Backend("hello", tmp, ledger=False, wrap=at_once())
        stack.callback(hello.close)
        hello.start()
        wait_for(hello.up, "hello to listen", 20)

        def weir(name, config):
            (tmp / name).mkdir()
            return stack.enter_context(
                harness.Weir(config.format(hello.address), tmp / name, workers=1,
                             wrap=[*weirs_core, *at_once()]))

        on = weir("on", ON)
        if options.what == "cpu":
            off = weir("off", OFF)
            in_turns(options.rounds, "CPU per request, on / off",
                     lambda: cpu_per_request(on, options.seconds),
                     lambda: cpu_per_request(off, options.seconds))
        else:
            in_turns(options.rounds, "p99 in microseconds, with scrapes / without",
                     lambda: p99(on, options.seconds, options.rate, True),
                     lambda: p99(on, options.seconds, options.rate, False))


if __name__ == "__main__":
    main()
