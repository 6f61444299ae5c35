# SPDX-License-Identifier: Apache-2.0
"""What becomes of a backend that is killed, stopped, slow, flapping, resetting or restarted, while
64 connections ask without a pause: when it is out of rotation, how it comes back, and that no request
is lost that can be saved. One backend at a time, so that there always is one that would answer;
retries and outlier detection are weir's defaults, or nearly.

Scripts wait for what weir says of its endpoints; that of a check's bound is the one verdict about
time, and goes by the time that weir's log tells.
"""
import re
import signal
import socket
import time
from datetime import datetime, timezone
from string import Template

import client
import harness
from harness import sum_of
from peers import SLOW
from play import Play

CLIENTS = 64
TRY_S = 2 if not harness.sanitizer() else 5
SLACK_S = 2 * SLOW  # in which a busy machine may leave weir without a CPU
SCRAPE_S = 0.05

# Health checks: seconds, as in the configuration below.
EVERY, JITTER, TIMEOUT, DOWN_AFTER = 1.0, 0.1, 0.5, 3
# A check has just begun when the backend fails; of those that follow the last begins late by chance.
DOWN_WITHIN = DOWN_AFTER * EVERY + JITTER * EVERY + TIMEOUT

CHECKED = f"""
timeouts: {{ response_head: {TRY_S}s, response_idle: {TRY_S}s }}
routes: [ {{ to: app }} ]
pools:
  app:
    balance: $BALANCE
    slow_start: 8s
    health: {{ http: /healthz, every: {EVERY * 1000:.0f}ms, timeout: {TIMEOUT * 1000:.0f}ms,
               jitter: {JITTER:.0%}, down_after: {DOWN_AFTER}, up_after: 2, every_down: 500ms }}
    outlier: {{ eject: 1s, interval: 500ms, latency: $LATENCY }}
    endpoints: [ $ENDPOINTS ]
"""

DEFAULTS = f"""
timeouts: {{ response_head: {TRY_S}s, response_idle: {TRY_S}s }}
routes: [ {{ to: app }} ]
pools: {{ app: {{ $POOL endpoints: [ $ENDPOINTS ] }} }}
"""

# Each backend is checked at a port of its own, where it says whether it wants requests.
GATED = """
routes: [ { to: app } ]
pools:
  app:
    health: { tcp: true, every: 300ms, timeout: 300ms, down_after: 2, up_after: 1 }
    endpoints: [ $ENDPOINTS ]
"""


class Gate:
    """A port where connections are taken as long as it is open."""

    def __init__(self):
        self.hold, self.open_at = self.bound(("127.0.0.1", 0)), None
        self.address = "127.0.0.1:%d" % self.hold.getsockname()[1]
        self.open()

    @staticmethod
    def bound(where):
        sock = socket.socket()
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind(where)
        return sock

    def open(self):
        self.open_at = self.bound(self.hold.getsockname())
        self.open_at.listen(1000)  # more than will come: nobody takes them out

    def shut(self):
        self.open_at.close()

    def close(self):
        self.shut()
        self.hold.close()


class Resilience(Play):
    """One scene: the name of a method. Use as a context manager; run() returns the story."""

    def __init__(self, scene, weir_of, seed):
        self.scene, self.gates = scene, []
        backends, text, words = SCENES[scene]

        def weir_before(stage):
            listed = ", ".join(self.endpoint(b, text) for b in stage.backends)
            return weir_of(Template(text).substitute(words, ENDPOINTS=listed), stage.tmp)

        super().__init__(backends, weir_before, seed, CLIENTS)
        self.samples, self.next_scrape = {}, 0

    def endpoint(self, b, text):
        if text != GATED:
            return f'"{b.address}"'
        self.gates.append(Gate())
        return f"{{ address: '{b.address}', health: '{self.gates[-1].address}' }}"

    def close(self):
        super().close()
        for gate in self.gates:
            gate.close()

    def script(self):
        yield self.requests(500)
        yield from getattr(self, self.scene)()
        yield self.requests(500)

    # ---- what weir says -----------------------------------------------------------------------

    def seen(self, test=lambda: True):
        """Until test holds of what weir shows; what it shows then stays to be looked at."""

        def condition():
            if time.monotonic() < self.next_scrape:
                return False
            self.samples = self.weir.metrics()
            self.next_scrape = time.monotonic() + SCRAPE_S
            return test()

        return condition

    def value(self, name, **labels):
        return sum_of(self.samples, name, labels)

    def of(self, b, name, **labels):
        return self.value(f"weir_endpoint_{name}", endpoint=b.address, **labels)

    def healthy(self, b):
        return self.of(b, "state", state="healthy") == 1

    def said(self, b, what):
        """When weir last said this of it, in seconds since the epoch."""
        lines = re.findall(rf"^(\S+)Z \w+ +pool app: {b.address} {what}", self.weir.stderr(), re.M)
        assert lines, f"weir did not say that {b.address} {what}"
        at = datetime.fromisoformat(lines[-1]).replace(tzinfo=timezone.utc)
        return at.timestamp()

    # ---- what is expected of it ---------------------------------------------------------------

    def goes_out(self, b, since):
        """Its checks take it out in time, and then nothing goes there any more."""
        yield self.seen(lambda: self.of(b, "state", state="down"))
        took = self.said(b, f"is down after .* it failed {DOWN_AFTER} checks in a row") - since
        assert took <= DOWN_WITHIN + SLACK_S, f"down after {took:.1f} s, {DOWN_WITHIN} s allowed"
        assert self.of(b, "share") == 0, "down, and yet it has a share"
        yield self.seen(lambda: self.of(b, "requests_in_flight") == 0)
        yield self.seen()  # a scrape reads what has failed before what is in flight
        failed = self.value("weir_attempts_failed_total")
        yield self.requests(1000)
        yield self.seen()
        assert self.value("weir_attempts_failed_total") == failed, "something was tried there"
        assert self.of(b, "requests_in_flight") == 0, "something is tried there"

    def comes_back(self, b, exactly=False):
        """Its share rises from little to that of the others. exactly: it is served by the share."""
        full, shares = 1 / len(self.backends), []
        done, served, due = self.crowd.done, self.crowd.served[b.name], 0.0
        yield self.seen(lambda: self.healthy(b))
        while not shares or shares[-1] < 0.99 * full:
            if shares:
                yield self.seen()
            shares.append(self.of(b, "share"))
            due += (self.crowd.done - done) * shares[-1]  # it only rises: so much at most
            done = self.crowd.done
        served = self.crowd.served[b.name] - served
        assert shares[0] < full / 2, f"it came back with a share of {shares[0]:.3f} at once"
        assert shares == sorted(shares), f"its share falls: {shares}"
        assert len(set(shares)) > 3, f"its share rises by leaps: {shares}"
        if exactly:
            assert served <= 1.2 * due + CLIENTS, f"{served} requests, for a share of {due:.0f}"
        before = self.crowd.served[b.name]
        yield lambda: self.crowd.served[b.name] > before + 100

    # ---- the scenes ---------------------------------------------------------------------------

    def killed(self):
        """BEHAVIOUR 7: slow start after a recovery; 8: down after 3, up after 2."""
        b = self.backends[0]
        since = time.time()
        b.kill()
        yield from self.goes_out(b, since)
        b.start()
        yield b.up
        yield from self.comes_back(b, exactly=True)

    def stopped(self):
        b = self.backends[0]
        since = time.time()
        b.stop()
        yield from self.goes_out(b, since)
        assert self.value("weir_attempts_failed_total", reason="response_head_timeout") > 0
        b.go_on()
        yield from self.comes_back(b)

    def slow(self):
        """Slower than the others is an outlier, although it answers and passes its checks."""
        b = self.backends[0]
        yield from self.with_fault(b, "--fault-delay", "300", cause="latency")
        what = rf"{b.address} is ejected for .*: \d+ answers took (\S+) ms; .*, (\S+) ms allowed"
        yield lambda: re.search(what, self.weir.stderr())
        took, allowed = re.search(what, self.weir.stderr()).groups()
        assert float(took) > float(allowed), f"{took} ms, and {allowed} ms are allowed"
        yield from self.well_again(b)

    def resetting(self):
        """BEHAVIOUR 8: 5 consecutive ... resets."""
        b = self.backends[0]
        yield from self.with_fault(b, "--fault-reset", "before-head", cause="errors")
        yield from self.well_again(b)
        yield from self.with_fault(b, "--fault-reset", "in-head", "--fault-every", "3")
        yield from self.well_again(b)
        yield from self.with_fault(b, "--fault-accept", "reset", cause="errors")
        yield from self.well_again(b)

    def flapping(self):
        b = self.backends[0]
        for _ in range(8):
            b.kill()
            yield self.requests(300)
            b.start()
            yield b.up
            yield self.requests(300)
        yield self.seen(lambda: self.healthy(b))

    def with_fault(self, b, *flags, cause=None):
        """It has a fault for some requests, and until it is ejected for a cause if one is given."""
        yield self.seen()
        before = self.value("weir_ejections_total", cause=cause, result="ejected") if cause else 0
        b.kill()
        b.start(*flags)
        yield b.up
        yield self.requests(1000)
        if cause:
            yield self.seen(
                lambda: self.value("weir_ejections_total", cause=cause, result="ejected") > before
            )

    def well_again(self, b):
        b.kill()
        b.start()
        yield b.up
        yield self.seen(lambda: self.healthy(b))

    def dead(self):
        """One of ten, for good."""
        self.backends[0].kill()
        yield self.requests(5000)
        yield self.seen(lambda: self.of(self.backends[0], "state", state="ejected"))

    def restarted(self):
        """Each of ten after the other, without a word to weir. Half of them would be out, and for
        long: yet each of the others is put out as well when it is away, and costs no more retries."""
        for b in self.backends:
            b.kill()
            yield self.requests(400)
            yield self.seen(lambda b=b: self.of(b, "state", state="ejected"))
            b.start()
            yield b.up
            yield self.requests(100)

    def rolled(self):
        """Each of ten after the other, in good order."""
        for b, gate in zip(self.backends, self.gates):
            gate.shut()
            yield self.seen(
                lambda b=b: self.of(b, "share") == 0 and not self.of(b, "requests_in_flight")
            )
            b.kill(signal.SIGTERM)
            yield self.requests(200)
            b.start()
            yield b.up
            gate.open()
            yield self.seen(lambda b=b: self.healthy(b))
            before = self.crowd.served[b.name]
            yield lambda b=b, before=before: self.crowd.served[b.name] > before + 20


# How many backends, the configuration, and what its $WORDS stand for.
SCENES = {
    "killed": (4, CHECKED, {"BALANCE": "round_robin", "LATENCY": "none"}),
    "stopped": (4, CHECKED, {"BALANCE": "p2c", "LATENCY": "none"}),
    "slow": (5, CHECKED, {"BALANCE": "p2c", "LATENCY": "{ mode: enforce, requests: 20 }"}),
    "resetting": (4, CHECKED, {"BALANCE": "least_conn", "LATENCY": "none"}),
    "flapping": (4, CHECKED, {"BALANCE": "p2c", "LATENCY": "none"}),
    "dead": (10, DEFAULTS, {"POOL": ""}),
    "restarted": (10, DEFAULTS, {"POOL": "outlier: { eject: 10m, max_eject: 10m },"}),
    "rolled": (10, GATED, {}),
}


def judge(scene, story):
    """Prints what happened; the findings."""
    findings = story.judge()
    for r in story.requests if scene == "rolled" else ():
        if r.outcome == client.CUT or r.status >= 300:
            findings.append(f"{r.id} {r.method} {r.target} was lost: {r.outcome} {r.status} {r.reason}")
    print(story.table())
    return findings
