#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""What slow clients do to the latency of the others: slowloris.py [--clients N] [--rounds N] ...

Rounds of: the usual load through weir alone; and the same while slow clients (heads, bodies and
answers a byte now and then) talk to weir too. Open loop: latency counts from when a request was due.
The verdict is on the median over the rounds of p99 with them / p99 alone. Exit status 0 if it is at
most --limit.

weir has one core and everything else the others, where there are others. weir, the load and its
backend run before anything else on their cores, where that is allowed: a machine's other work holds
a thread up for milliseconds some ten times a second, which is just where p99 is. Whatever is slow,
the clients and the backend that their answers come from, runs only when nobody else wants the core:
what is measured is weir, and not how the load waits for the rest of this program. Needs build/load
(`make bench-tools`), or LOAD=.
"""
import argparse
import functools
import json
import os
import resource
import shutil
import statistics
import subprocess
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "e2e"))

import harness  # noqa: E402
from backend import ROOT, Backend  # noqa: E402
from peers import wait_for  # noqa: E402

LOAD = Path(os.environ.get("LOAD", ROOT / "build" / "load")).resolve()
AT_LEISURE = ["chrt", "--idle", "0"]
AT_ONCE = ["chrt", "--rr", "1"]
# The shares of the slow clients, and how each is slow.
SLOW = [
    (0.8, "--kind head"),
    (0.1, "--kind body --path /sink"),
    (0.1, "--kind read --path /bytes/10000000"),
]


def split_cores():
    """Moves this process, and so every thread of what it starts, off the first of its cores; returns
    what puts weir there. Threads that run already stay where they are: it comes before them all."""
    cores = sorted(os.sched_getaffinity(0))
    if len(cores) == 1:
        return []
    os.sched_setaffinity(0, cores[1:])
    return ["taskset", "-c", str(cores[0])]


@functools.cache
def at_once():
    """What starts a command that runs before everything else on its core; nothing where only root
    may, and we are not."""
    tried = subprocess.run([*AT_ONCE, "true"], capture_output=True)
    if tried.returncode == 0:
        return AT_ONCE
    print("slowloris: no real-time class: the machine's other work is in the figures", flush=True)
    return []


class Slow:
    """Slow clients, as long as the context lasts."""

    def __init__(self, to, clients, interval):
        self.args = [
            [*AT_LEISURE, LOAD, "slow", "--to", to, "--connections", str(int(clients * share))]
            + ["--interval", str(interval), *kind.split()]
            for share, kind in SLOW
        ]

    def __enter__(self):
        self.running = [
            subprocess.Popen(a, stdin=subprocess.PIPE, stdout=subprocess.PIPE) for a in self.args
        ]
        self.open = sum(json.loads(p.stdout.readline())["open"] for p in self.running)
        return self

    def __exit__(self, *_):
        self.ended, self.how = 0, {}
        for p in self.running:
            p.stdin.close()
            lines = p.stdout.read().decode().splitlines()
            p.wait()
            if lines:
                for how, n in json.loads(lines[-1])["ended"].items():
                    self.ended += n
                    if n:
                        self.how[how] = self.how.get(how, 0) + n


def usual(to, rate, seconds):
    """p50, p99 and p99.9 in microseconds, of requests that all were answered."""
    out = subprocess.run(
        [*at_once(), LOAD, "open", "--to", to, "--connections", "32", "--rate", str(rate)]
        + ["--seconds", str(seconds), "--warmup", "3", "--path", "/hello"],
        check=True,
        capture_output=True,
    ).stdout
    result = json.loads(out.splitlines()[-1])
    assert not any(result["errors"].values()), f"requests failed: {result['errors']}"
    return result["latency_us"]


def main():
    parser = argparse.ArgumentParser(usage=__doc__)
    parser.add_argument("--clients", type=int, default=10_000)
    parser.add_argument("--interval", type=int, default=1000, help="ms between two bytes of one")
    parser.add_argument("--rate", type=int, default=2000)
    parser.add_argument("--seconds", type=float, default=4)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--limit", type=float, default=2.0)
    options = parser.parse_args()
    if not LOAD.exists():
        sys.exit(f"slowloris: no {LOAD}: run `make bench-tools`, or say where it is with LOAD=")
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    # weir takes no more clients than it could open upstream connections for.
    clients = min(options.clients, hard // 2 - 250)
    weirs_core = split_cores()
    tmp = Path(harness.new_tmp())
    fast = Backend("fast", tmp, ledger=False, wrap=at_once())
    slow = Backend("slow", tmp, ledger=False, wrap=AT_LEISURE)
    weir = None
    try:
        for backend in (fast, slow):
            backend.start()
            wait_for(backend.up, "hello to listen", 20)
        weir = harness.Weir(
            "routes: [ { to: fast }, { match: { path: /sink }, to: slow },"
            " { match: { path: /bytes }, to: slow } ]\n"
            f"pools: {{ fast: [ '{fast.address}' ], slow: [ '{slow.address}' ] }}\n"
            "access_log: { path: /dev/null, format: json }\n",
            tmp,
            workers=1,
            wrap=[*weirs_core, *at_once()],
        )
        ratio = rounds(weir, clients, options)
        weir.stop()
    finally:
        for backend in (fast, slow):
            backend.close()
        if weir:
            weir.kill()
        shutil.rmtree(tmp, ignore_errors=True)
    print(f"slowloris: {'ok' if ratio <= options.limit else 'FAILED'}, limit {options.limit}")
    return 0 if ratio <= options.limit else 1


def rounds(weir, clients, options):
    to = weir.listeners["web"]
    ratios = []
    print(
        f"slowloris: {clients} slow clients, a byte each {options.interval} ms; "
        f"others: {options.rate} requests/s for {options.seconds:g} s",
        flush=True,
    )
    print("  round   alone p50    p99      with them p50    p99     ratio", flush=True)
    for number in range(options.rounds):
        alone = usual(to, options.rate, options.seconds)
        with Slow(to, clients, options.interval) as slow:
            beside = usual(to, options.rate, options.seconds)
        wait_for(lambda: weir.metric("weir_client_connections") == 0, "them to be gone", 30)
        ratios.append(beside["p99"] / alone["p99"])
        print(
            f"  {number + 1:5}   {alone['p50']:9.0f} {alone['p99']:6.0f} us "
            f"{beside['p50']:12.0f} {beside['p99']:6.0f} us {ratios[-1]:7.2f}   "
            f"{slow.open} open, ended {slow.how}",
            flush=True,
        )
    ratio = statistics.median(ratios)
    print(
        f"  median ratio of p99 {ratio:.2f} ({min(ratios):.2f} to {max(ratios):.2f}), "
        f"weir {weir.rss() / 1024:.0f} MiB"
    )
    return ratio


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        print("\nslowloris: interrupted", flush=True)
        sys.exit(130)
