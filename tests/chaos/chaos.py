#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Load while backends fail, and an account of every single request: chaos.py [--seconds N] [--seed N]

Four backends. In each phase one of them is left alone and things happen to the others, drawn from
the seed: killed, stopped, started again, or started with a fault. Then all are well again, requests
that met a fault end, and another one is left alone. So at every moment of its life a request had an
endpoint that would have answered it, and no request that may be sent again is lost.

The schedule counts requests and waits for events; no verdict depends on how long something took.
"""
import argparse
import os
import random
import sys
import time
from collections import Counter
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "e2e"))

import harness  # noqa: E402
from play import Play  # noqa: E402
from stage import told, verdict  # noqa: E402

BACKENDS = 4
CLIENTS = 24
TRY_S = 3 if not harness.sanitizer() else 6

# How a backend is started when something is to be wrong with it.
FAULTS = [
    "--fault-reset before-head --fault-every 3",
    "--fault-close before-head --fault-every 2",
    "--fault-reset before-head",
    "--fault-reset in-head --fault-every 2",
    "--fault-close in-head --fault-every 3",
    "--fault-reset 5 --fault-every 5",
    "--fault-close 2 --fault-every 4",
    "--fault-reset 9000 --fault-every 2",
    "--fault-chunk-size 100 --fault-reset 150 --fault-every 3",
    "--fault-chunk-size 1000 --fault-close 1500 --fault-every 3",
    "--fault-accept reset",
    "--fault-accept close",
    "--fault-close-after 1",
    "--fault-close-after 3",
    "--fault-idle 1",
    "--fault-connection-close --fault-every 2",
    "--fault-http10",
    "--fault-no-length --fault-every 2",
    "--fault-delay 5 --fault-reset before-head --fault-every 4",
    "--fault-early --fault-reset 0 --fault-every 6",
]
# The same, that cost a timeout each: seldom.
SLOW_FAULTS = [
    "--fault-stall before-head --fault-every 40",
    "--fault-stall in-head --fault-every 40",
    "--fault-stall 7 --fault-every 40",
    "--fault-accept stall",
]


def config(backends, seed, tmp):
    policy = random.Random(seed).choice(["p2c", "round_robin", "least_conn", "random"])
    return policy, f"""
timeouts: {{ response_head: {TRY_S}s, response_idle: {TRY_S}s }}
routes: [ {{ to: app, retry: {{ attempts: 10 }} }} ]
pools:
  app:
    balance: {policy}
    endpoints: [ {', '.join(f'"{b.address}"' for b in backends)} ]
    upstream: {{ connect: 10s, max_idle: 16 }}
    retry_budget: none # every answer is to be saved that can be, however many fail
"""


class Chaos(Play):
    """One run. Use as a context manager; run() returns the story."""

    def __init__(self, weir_of, seed, seconds=None, phases=None, phase_requests=1500):
        """weir_of(text of a configuration, folder)"""

        def weir_before(stage):
            self.policy, text = config(stage.backends, seed, stage.tmp)
            return weir_of(text, stage.tmp)

        super().__init__(BACKENDS, weir_before, seed, CLIENTS)
        self.events = Counter()
        self.phases, self.until = phases, time.monotonic() + seconds if seconds else None
        self.phase_requests = phase_requests

    def script(self):
        safe, number = None, 0
        while self.phases is None or number < self.phases:
            if self.until and time.monotonic() > self.until:
                break
            safe = self.rng.choice([b for b in self.backends if b is not safe])
            others = [b for b in self.backends if b is not safe]
            kind = "long stop" if number % 8 == 3 else "stall" if number % 8 == 6 else "usual"
            yield from self.phase(kind, others)
            yield from self.recover(others)
            number += 1
        self.number = number

    def some(self, share=1.0):
        return self.requests(int(self.phase_requests * share))

    def phase(self, kind, others):
        if kind == "stall":  # each that meets it costs its client a timeout
            yield from self.disturb(others[0], kind)
            yield self.some(0.1)
            return
        for b in others:
            yield from self.disturb(b, kind)
        for _ in range(4):
            yield self.some(0.25)
            if kind == "usual":
                yield from self.disturb(self.rng.choice(others), kind)
        if kind == "long stop":  # somebody is to meet the timeout
            failed = "weir_attempts_failed_total"
            seen = self.weir.metric(failed, reason="response_head_timeout")
            for b in others:  # whatever became of them: they are to accept, and to say nothing
                b.kill()
                b.start()
            for b in others:
                yield b.up
                b.stop()
                self.events["stopped for good"] += 1
            yield lambda: self.weir.metric(failed, reason="response_head_timeout") > seen

    def disturb(self, b, kind):
        """One thing happens to one backend."""
        r = self.rng
        what = r.choice(("kill", "down", "fault", "fault", "fault", "stop", "well"))
        if kind == "stall":
            what = "fault"
        self.events[what] += 1
        if what == "stop" and b.process:
            b.stop()
            yield self.requests(CLIENTS // 2)  # the others may be waiting for it
            b.go_on()
            return
        b.kill()
        if what == "down":
            return
        if what == "kill":  # and up again when it was missed
            yield self.some(0.05)
        flags = ""
        if what == "fault":
            flags = r.choice(SLOW_FAULTS if kind == "stall" else FAULTS)
            self.events[flags] += 1
        b.start(*flags.split())
        yield b.up

    def recover(self, others):
        """Everybody is well, and nobody is left who has met what was before."""
        for b in others:
            b.kill()
            b.start()
        for b in others:
            yield b.up
        met = [r for c in self.crowd.by_fd.values() for r in c.waiting]
        yield lambda: all(r.outcome for r in met)


def judge(chaos, story):
    """Prints what happened; the findings."""
    findings = story.judge()
    print(f"seed {chaos.seed}, balance {chaos.policy}, {chaos.number} phases")
    print("  happened: " + ", ".join(f"{k} {n}" for k, n in chaos.events.most_common(8)))
    print(story.table())
    return findings


def main():
    parser = argparse.ArgumentParser(usage=__doc__)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--seed", type=int, default=None)
    options = parser.parse_args()
    seed = options.seed if options.seed is not None else random.SystemRandom().randrange(1 << 32)
    print(f"chaos: seed {seed}", flush=True)

    def weir_of(text, tmp):
        return harness.Weir(text, tmp, workers=int(os.environ.get("WEIR_WORKERS", "2")))

    findings = []
    with told(findings), Chaos(weir_of, seed, seconds=options.seconds) as chaos:
        story = chaos.run(say=lambda text: print("chaos:", text, flush=True))
        findings += judge(chaos, story)
        chaos.weir.stop()
    return verdict("chaos", seed, findings)


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        print("\nchaos: interrupted", flush=True)
        sys.exit(130)
