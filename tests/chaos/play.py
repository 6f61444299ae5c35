# SPDX-License-Identifier: Apache-2.0
"""Clients that ask without a pause while a script goes on, and the account of all that they asked."""
import json
import random
import time

from client import Crowd
from peers import deadline, wait_for
from stage import Stage
from verdict import Story

PATIENCE = 60  # seconds for anything at all to happen
REST_S = 20  # ... for everything to be back, once the load has ended


class Play(Stage):
    """A stage with so many clients. Use as a context manager; run() returns the story."""

    def __init__(self, backends, weir_of, seed, clients, **how):
        super().__init__(backends, weir_of, **how)
        self.seed, self.rng, self.clients = seed, random.Random(seed), clients
        self.began = time.monotonic()

    def script(self):
        """A generator that yields what it waits for, while the load goes on."""
        raise NotImplementedError

    def requests(self, count):
        """Until so many more requests are done."""
        goal = self.crowd.done + max(1, count)
        return lambda: self.crowd.done >= goal

    def run(self, say=None):
        weir = self.weir
        fds, before = self.quiet_fds(), weir.metrics()
        self.crowd = Crowd(weir.listeners["web"], self.seed, self.clients)
        self.crowd.start()
        script, condition = self.script(), None
        done, moved, said = 0, deadline(PATIENCE), time.monotonic()
        waits = deadline(2 * PATIENCE)  # until the script has to be a step further
        while True:
            self.crowd.turn()
            assert weir.alive(), f"weir ended:\n{weir.stderr()[-5000:]}"
            if self.crowd.done != done:
                done, moved = self.crowd.done, deadline(PATIENCE)
            assert time.monotonic() < moved, f"stuck after {done} requests"
            if say and time.monotonic() - said >= 10:
                said = time.monotonic()
                say(f"{said - self.began:6.0f} s  {done} requests  {weir.rss()} KiB")
            assert time.monotonic() < waits, f"the schedule is stuck after {done} requests"
            if condition is None or condition():
                waits = deadline(2 * PATIENCE)
                condition = next(script, None)
                if condition is None:
                    break
        self.crowd.taking = False
        until = deadline(PATIENCE)
        while not self.crowd.over():
            self.crowd.turn(0.05)
            assert time.monotonic() < until, "the last requests do not end"
        return self.close_up(fds, before)

    def quiet_fds(self):
        """Without those of health checks, which come and go."""
        self.weir.admin_get("/livez")
        return min(self.steady(self.weir.open_files) for _ in range(5))

    @staticmethod
    def steady(value):
        """The value once it is the same three times (the scrape's own conn comes and goes)."""
        seen = [object()]

        def same():
            seen.append(value())
            return len(seen) > 3 and seen[-1] == seen[-2] == seen[-3]

        wait_for(same, "a steady value", 20)
        return seen[-1]

    def at_rest(self, what, value, want=0):
        try:
            wait_for(lambda: value() <= want, what, REST_S)
        except AssertionError:
            raise AssertionError(f"at rest weir has {value():g} {what}, not {want}") from None

    def close_up(self, fds, before):
        """At rest everything is as it was."""
        weir = self.weir
        self.at_rest("requests in flight", lambda: weir.metric("weir_requests_in_flight"))
        self.at_rest("client connections", lambda: weir.metric("weir_client_connections"))
        for b in self.backends:
            b.kill()
        self.at_rest("upstream connections", lambda: weir.metric("weir_upstream_connections"))
        self.at_rest("open files", weir.open_files, fds)
        weir.settle_log()
        after = weir.metrics()
        log = [json.loads(line) for line in weir._log_lines()]
        return Story(self.crowd.requests, log, before, after, self.backends)
