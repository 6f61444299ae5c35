#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Load of all kinds for as long as asked: soak.py [--minutes N] [--seed N] [--http2]

Cycles of load and rest. Under load: keep-alive and new connections, bodies up and down, pipelining,
requests that are given up, WebSocket, slow clients, backends that fail, scrapes of /metrics. At rest
everything has to be back: no request in flight, no connection, no object in use, the open files of
the start. Over all cycles memory has to be flat: a line is fitted to each cycle's median under load,
and to the samples at rest, and may not grow by more than the bound over the time it was fitted to.

With --http2 every request goes through weir twice: from the first time to the second over HTTP/2.

Ctrl-C ends it with the verdict so far. Needs build/load (`make bench-tools`), or LOAD=.
"""
import argparse
import json
import os
import random
import re
import signal
import statistics
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "e2e"))

import client  # noqa: E402
import harness  # noqa: E402
import peers  # noqa: E402
from backend import ROOT  # noqa: E402
from chaos import FAULTS  # noqa: E402
from client import Crowd  # noqa: E402
from harness import sum_of  # noqa: E402
from peers import wait_for  # noqa: E402
from stage import Stage, told, verdict  # noqa: E402

LOAD = Path(os.environ.get("LOAD", ROOT / "build" / "load")).resolve()
SANITIZER = harness.sanitizer()
MIB = 1 << 20
# How much the fitted line may rise. Slabs and malloc keep what the busiest moment so far took, and a
# longer run sees a busier one; 8 bytes lost a request would be three times this in ten minutes.
GROWTH = 2 * MIB if not SANITIZER else 24 * MIB
GROWTH_SHARE = 0.05
SAMPLE_S, SAY_S, DISTURB_S = 2, 10, 3
REST_S = 30  # how long it may take until all is back

# What runs beside the clients of client.py, each cycle; open loops, so that it costs the same CPU
# on every machine. {}: the seconds of a cycle under load.
LOADS = [
    "open --rate 800 --connections 32 --path /hello --mix get=9,post=1 --body 100 --seconds {}",
    "open --rate 100 --connections 16 --close --path /hello --seconds {}",
    "open --rate 20 --connections 4 --path /bytes/1000000 --seconds {}",
    "open --rate 20 --connections 4 --path /sink --method POST --body 1000000 --seconds {}",
    "websocket --connections 4 --size 2000 --path /ws --seconds 5",
    "slow --kind head --connections 100 --interval 300",
    "slow --kind body --connections 30 --interval 300 --path /sink",
    "slow --kind read --connections 30 --interval 300 --path /bytes/1000000",
]

CONFIG = """
access_log: {{ path: /dev/null, format: json }}
timeouts: {{ request_head: 5s, request_body: 5s, response_head: 3s, response_idle: 3s }}
routes:
  - {{ match: {{ path: /ws }}, to: well }}
  - {{ to: app, retry: {{ attempts: 10 }} }}
pools:
  well: [ "{0}" ]
  app:
    endpoints: [ {1} ]
    upstream: {{ connect: 10s, max_idle: 16 }}
    retry_budget: none # as in chaos.py
"""

# What comes the first time has no X-Forwarded-Proto.
TWICE = """
access_log: {{ path: /dev/null, format: json }}
listeners: {{ web: "127.0.0.1:0", again: "unix:{2}/again.sock" }}
timeouts: {{ request_head: 5s, request_body: 5s, response_head: 3s, response_idle: 3s }}
routes:
  - {{ to: again, timeout: {{ try: 60s }} }}
  - {{ match: {{ path: /ws, headers: {{ X-Forwarded-Proto: http }} }}, to: well }}
  - {{ match: {{ headers: {{ X-Forwarded-Proto: http }} }}, to: app, retry: {{ attempts: 10 }} }}
pools:
  again: {{ endpoints: [ "unix:{2}/again.sock" ], upstream: {{ protocol: h2, idle: 1s }} }}
  well: [ "{0}" ]
  app:
    endpoints: [ {1} ]
    upstream: {{ connect: 10s, max_idle: 16 }}
    retry_budget: none # as in chaos.py
"""


def weir_of(stage, text):
    addresses = ", ".join(f'"{b.address}"' for b in stage.backends)
    return harness.Weir(
        text.format(stage.backends[0].address, addresses, stage.tmp),
        stage.tmp,
        workers=2,
        wrap=("setsid",),
        env={
            "ASAN_OPTIONS": os.environ.get("ASAN_OPTIONS", "detect_leaks=1")
            + ":quarantine_size_mb=4"
        },
    )


class Soak(Stage):
    def __init__(self, minutes, seed, http2=False):
        text = TWICE if http2 else CONFIG
        super().__init__(4, lambda stage: weir_of(stage, text), ledger=False, own_session=True)
        self.minutes, self.seed, self.rng = minutes, seed, random.Random(seed)
        self.loads = []
        self.outcomes, self.beside, self.wrong = Counter(), Counter(), []
        self.samples, self.rests, self.findings = [], [], []
        self.scrapes, self.files = 0, None
        self.began = time.monotonic()

    def close(self):
        self.end_loads()
        super().close()

    # ---- what is measured ---------------------------------------------------------------------

    def steady_files(self):
        seen = [self.weir.admin_get("/livez") and -1]
        wait_for(lambda: seen.append(self.weir.open_files()) or len(set(seen[-4:])) == 1, "the start")
        return seen[-1]

    def memory(self):
        """(PSS, RSS) in bytes."""
        text = Path(f"/proc/{self.weir.pid}/smaps_rollup").read_text()
        return tuple(
            int(re.search(rf"^{name}:\s+(\d+) kB", text, re.M)[1]) * 1024 for name in ("Pss", "Rss")
        )

    def scrape(self):
        self.scrapes += 1
        return self.weir.metrics()

    # ---- load ---------------------------------------------------------------------------------

    def told(self, r):
        what = r.outcome if r.outcome != client.ANSWERED else f"{r.status} {r.reason}".strip()
        self.outcomes[what] += 1
        if r.wrong:
            self.wrong.append(f"{r.id} {r.method} {r.target}: {r.wrong}")
        if r.outcome == client.ANSWERED and r.reason and r.idempotent and r.replayable:
            self.wrong.append(f"lost: {r.id} {r.method} {r.target}: {r.status} {r.reason}")

    def start_loads(self, seconds):
        for line in LOADS:
            words = line.format(int(seconds)).split()
            self.loads.append(
                subprocess.Popen(
                    ["nice", LOAD, words[0], "--to", self.weir.listeners["web"], *words[1:]],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    start_new_session=True,
                )
            )

    def end_loads(self, within=REST_S * peers.SLOW):
        """Those that hold connections end with their stdin."""
        for load in self.loads:
            load.stdin.close()
        for load in self.loads:
            load.stdin = None  # communicate() would flush it
            try:
                out, _ = load.communicate(timeout=within)
            except subprocess.TimeoutExpired:
                load.kill()
                out, _ = load.communicate()
                self.findings.append(f"did not end: {' '.join(map(str, load.args))}")
            lines = out.decode().splitlines()
            if load.returncode == 0 and lines:
                result = json.loads(lines[-1])
                mode = result["mode"] + (" " + result["kind"] if "kind" in result else "")
                self.beside[mode] += result.get("requests", result.get("opened", 0))
                for kind, n in result["errors"].items():
                    if n:
                        self.beside[f"{mode}: {kind}"] += n
        self.loads.clear()

    def disturb(self):
        """b0 and b1 are always well."""
        b = self.rng.choice(self.backends[2:])
        if self.rng.random() < 0.2 and b.process:
            b.stop()
            return
        b.kill()
        if self.rng.random() < 0.2:
            return
        b.start(*(self.rng.choice(FAULTS).split() if self.rng.random() < 0.7 else ()))

    def cycle(self, seconds, number):
        self.crowd = Crowd(
            self.weir.listeners["web"], self.seed + number, 16, f"n{number}-", self.told
        )
        self.crowd.start()
        self.start_loads(seconds)
        now = time.monotonic()
        until, sample, disturb = now + seconds, now + SAMPLE_S, now + DISTURB_S
        inside = []
        while now < until:
            self.crowd.turn()
            now = time.monotonic()
            assert self.weir.alive(), f"weir ended:\n{self.weir.stderr()[-5000:]}"
            if now >= sample:
                sample = now + SAMPLE_S
                inside.append((now, *self.memory(), self.weir.open_files()))
                self.say(inside[-1], self.scrape())
            if now >= disturb:
                disturb = now + DISTURB_S
                self.disturb()
        self.samples.append(inside)
        self.rest(number)

    def rest(self, number):
        """All load ends, and all of it has to be gone."""
        for b in self.backends:
            b.go_on()
        self.crowd.taking = False
        until = time.monotonic() + REST_S * peers.SLOW
        while not self.crowd.over() and time.monotonic() < until:
            self.crowd.turn(0.05)
        if not self.crowd.over():
            stuck = [r.id for c in self.crowd.by_fd.values() for r in c.waiting]
            self.findings.append(f"cycle {number}: requests that do not end: {stuck[:10]}")
        self.crowd.close()
        self.crowd = None
        self.end_loads()
        for b in self.backends:
            b.kill()
        self.back(number)
        self.rests.append((time.monotonic(), *self.memory(), self.weir.open_files()))
        self.start_backends()

    def back(self, number):
        """Counts, exactly."""
        left = []

        def nothing_left():
            metrics = self.scrape()
            left[:] = [
                f"{name} {int(n)}"
                for name in (
                    "weir_requests_in_flight",
                    "weir_client_connections",
                    "weir_upstream_connections",
                )
                if (n := sum_of(metrics, name, {}))
            ]
            left.extend(
                f"{n:g} of {dict(labels)['kind']}"
                for (name, labels), n in metrics.items()
                if name == "weir_objects" and n
            )
            if self.weir.open_files() != self.files:
                left.append(f"{self.weir.open_files()} open files, {self.files} at the start")
            return not left

        try:
            wait_for(nothing_left, "rest", REST_S)
        except AssertionError:
            self.findings.append(f"cycle {number}, at rest: {', '.join(left)}")

    # ---- words --------------------------------------------------------------------------------

    def say(self, sample, metrics):
        at, pss, rss, files = sample
        if at - getattr(self, "said", 0) < SAY_S:
            return
        self.said = at
        print(
            f"soak: {at - self.began:5.0f} s  {sum_of(metrics, 'weir_requests_total', {}):9.0f} "
            f"requests  PSS {pss / MIB:6.2f} MiB  {files:4} files  "
            f"{sum_of(metrics, 'weir_errors_total', {}):6.0f} errors  "
            f"{sum_of(metrics, 'weir_retries_total', {}):6.0f} retries",
            flush=True,
        )

    def growth(self, what, points):
        """Fits a line; a finding if it rises by more than the bound. points: [(time, bytes)]"""
        points = points[max(1, len(points) // 4) :]  # the warm-up
        if len(points) < 3:
            return f"  {what:<28} too few cycles for a line"
        times, values = zip(*points)
        slope = statistics.linear_regression(times, values).slope
        span, middle = times[-1] - times[0], statistics.median(values)
        bound = max(GROWTH, GROWTH_SHARE * middle)
        if slope * span > bound:
            self.findings.append(
                f"{what} grows by {slope * span / MIB:.2f} MiB in {span:.0f} s, "
                f"more than {bound / MIB:.2f} MiB"
            )
        return (
            f"  {what:<28} median {middle / MIB:8.2f} MiB   line {slope * span / MIB:+7.2f} MiB "
            f"in {span:.0f} s   bound {bound / MIB:.2f} MiB"
        )

    def account(self):
        """Prints what was seen; the findings."""
        lines = []
        loaded = [
            [statistics.median(column) for column in zip(*inside)]
            for inside in self.samples
            if inside
        ]
        for i, name in ((1, "PSS"), (2, "RSS")):
            lines.append(self.growth(f"{name} under load", [(s[0], s[i]) for s in loaded]))
            lines.append(self.growth(f"{name} at rest", [(s[0], s[i]) for s in self.rests]))
        files = [s[3] for s in self.rests]
        lines.append(f"  {'files at the start, at rest':<28} {self.files}, {sorted(set(files))}")
        lines.append(f"  {'cycles, scrapes':<28} {len(self.samples)}, {self.scrapes}")
        for name, n in sorted(self.outcomes.items()):
            lines.append(f"  {'clients: ' + name:<44} {n:9}")
        for name, n in sorted(self.beside.items()):
            lines.append(f"  {'beside: ' + name:<44} {n:9}")
        print("\n".join(lines))
        return self.findings + self.wrong

    def run(self):
        self.files = self.steady_files()
        end = self.began + 60 * self.minutes
        cycle_s = min(50, max(10, 60 * self.minutes / 10))
        number = 0
        while number == 0 or time.monotonic() + cycle_s / 2 < end:
            self.cycle(min(cycle_s, max(5, end - time.monotonic())), number)
            number += 1


def interrupt(*_):
    raise KeyboardInterrupt


def main():
    parser = argparse.ArgumentParser(usage=__doc__)
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--seed", type=int, default=None)
    parser.add_argument("--http2", action="store_true")
    options = parser.parse_args()
    seed = options.seed if options.seed is not None else random.SystemRandom().randrange(1 << 32)
    if not LOAD.exists():
        sys.exit(f"soak: no {LOAD}: run `make bench-tools`, or say where it is with LOAD=")
    signal.signal(signal.SIGTERM, interrupt)
    print(f"soak: {options.minutes:g} minutes, seed {seed}, {harness.WEIR}", flush=True)
    findings = []
    with told(findings), Soak(options.minutes, seed, options.http2) as soak:
        try:
            with told(soak.findings):
                soak.run()
        except KeyboardInterrupt:
            signal.signal(signal.SIGINT, signal.SIG_IGN)
            print("\nsoak: interrupted", flush=True)
        findings += soak.account()
        soak.weir.stop()  # leaks are found here
    return verdict("soak", seed, findings)


if __name__ == "__main__":
    sys.exit(main())
