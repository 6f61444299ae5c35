#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""What slow clients do to the latency of the others: slowloris.py [--clients N] [--rounds N] ...

Rounds of: the usual load alone, the same beside slow clients (heads, bodies and answers a byte now
and then), and so on, in turns, so that both see the same machine. Open loop: latency counts from
when a request was due. The verdict is on the median over the rounds of p99 beside / p99 alone, where
alone is the mean of the two measurements around it. Exit status 0 if it is at most --limit.

weir has one core and everything else another, where there are two. Needs build/load
(`make bench-tools`), or LOAD=.
"""
import argparse
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
# The shares of the slow clients, and how each is slow.
SLOW = [
    (0.8, "--kind head"),
    (0.1, "--kind body --path /sink"),
    (0.1, "--kind read --path /bytes/10000000"),
]


def pinned(core):
    """taskset to that one of this process's cores, or nothing if there is only one."""
    cores = sorted(os.sched_getaffinity(0))
    return ["taskset", "-c", str(cores[core % len(cores)])] if len(cores) > 1 else []


class Slow:
    """Slow clients, as long as the context lasts."""

    def __init__(self, to, clients, interval):
        self.args = [
            [*pinned(1), LOAD, "slow", "--to", to, "--connections", str(int(clients * share))]
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
        [*pinned(1), LOAD, "open", "--to", to, "--connections", "32", "--rate", str(rate)]
        + ["--seconds", str(seconds), "--warmup", "1", "--path", "/hello"],
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
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--limit", type=float, default=2.0)
    options = parser.parse_args()
    if not LOAD.exists():
        sys.exit(f"slowloris: no {LOAD}: run `make bench-tools`, or say where it is with LOAD=")
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    # weir takes no more clients than it could open upstream connections for.
    clients = min(options.clients, hard // 2 - 250)
    tmp = Path(harness.new_tmp())
    backend = Backend("b0", tmp, ledger=False)
    weir = None
    try:
        backend.start()
        wait_for(backend.up, "hello to listen", 20)
        os.sched_setaffinity(backend.process.pid, {sorted(os.sched_getaffinity(0))[-1]})
        weir = harness.Weir(
            f"routes: [ {{ to: app }} ]\npools: {{ app: [ '{backend.address}' ] }}\n"
            "access_log: { path: /dev/null, format: json }\n",
            tmp,
            workers=1,
            wrap=pinned(0),
        )
        ratio = rounds(weir, clients, options)
        weir.stop()
    finally:
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
    print("  round   alone p50  p99        beside p50  p99        after p99   ratio   slow, ended")
    before = usual(to, options.rate, options.seconds)
    for number in range(options.rounds):
        with Slow(to, clients, options.interval) as slow:
            beside = usual(to, options.rate, options.seconds)
        wait_for(lambda: weir.metric("weir_client_connections") == 0, "them to be gone", 30)
        after = usual(to, options.rate, options.seconds)
        ratios.append(2 * beside["p99"] / (before["p99"] + after["p99"]))
        print(
            f"  {number + 1:5}   {before['p50']:9.0f} {before['p99']:8.0f} us "
            f"{beside['p50']:9.0f} {beside['p99']:8.0f} us {after['p99']:8.0f} us "
            f"{ratios[-1]:7.2f}   {slow.open}, {slow.how}",
            flush=True,
        )
        before = after
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
