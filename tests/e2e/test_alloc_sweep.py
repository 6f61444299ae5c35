# SPDX-License-Identifier: Apache-2.0
"""Every single allocation fails in turn, while weir starts and while it serves. It goes on serving,
or ends with status 1 and says that memory is out: no signal, no report, no hang.

CI takes each allocation of a start, and some of the rest; WEIR_SWEEP=all takes each of all (make
torture-sweep). A sweep that finds something says the number, and where that allocation is made.
There is no reload yet to be swept.
"""
import os
import shutil
import signal
import subprocess
import threading
from itertools import count
from pathlib import Path

import pytest

import h2upstream
import harness
from faultpage import FaultPage
from harness import Weir, run_weir
from peers import DEADLINE, SLOW, Client, wait_for

pytestmark = [harness.needs_faults, pytest.mark.exact_calls]  # each test brings its own faults

EVERY = os.environ.get("WEIR_SWEEP") == "all"
FUND = 1 << 20  # bytes: MEM_FUND_BYTES
SAMPLE = 12 if harness.sanitizer() else 40  # of a start, when not EVERY

# No name to resolve: glibc's getaddrinfo crashes by itself when it gets no memory.
START = """
version: 1
workers: 2
admin: { listen: "127.0.0.1:0" }
access_log: { path: $TMP/access.log, format: "{time} {id} {status}" }
shutdown: 10ms
listeners:
  web: { bind: "127.0.0.1:0", trusted_proxies: [10.0.0.0/8] }
  local: "unix:$TMP/s"
routes:
  - name: shop
    match: { host: [a.example, "*.b.example"], path: /x, method: [GET, POST], headers: { x-a: "${WEIR_SWEPT}" } }
    to: { app: 3, two: 1 }
  - to: app
pools:
  app: [ "127.0.0.1:1", "127.0.0.1:2" ]
  two: { balance: round_robin, endpoints: [ { address: "127.0.0.1:3", weight: 2 }, "unix:$TMP/t" ] }
"""
THREAD = "resource temporarily unavailable"  # what the C library says when it is a thread's


def numbers(n, sample=SAMPLE):
    """The allocations of n to fail: all, or as many as are spread evenly."""
    step = 1 if EVERY else max(1, n // sample)
    return range(1, n + 1, step)


def shown(stderr):
    """The end of what a process said, with the place of the allocation that failed."""
    at = stderr.find("faults: allocation")
    return stderr[max(at, 0) :][:4000]


def assert_ended_well(status, stderr, what):
    """Ended by itself, for want of memory, and said so."""
    said = [line for line in stderr.splitlines() if "memory" in line or THREAD in line.lower()]
    assert status == 1 and said and not harness.COMPLAINTS.search(stderr), (
        f"{what}: status {status}\n{shown(stderr)}"
    )


# ---- starting -----------------------------------------------------------------------------------


class Start:
    """weir, from its start until it is ready, and to its end."""

    def __init__(self, tmp, nth, span=1):
        self.page = FaultPage(tmp / "page")
        self.ready = tmp / "ready"
        self.ready.unlink(missing_ok=True)
        config = tmp / "weir.yaml"
        config.write_text(START.replace("$TMP", str(tmp)))
        env = harness.environment(
            {"WEIR_SWEPT": "x" * 2000, **self.page.env},
            faults=f"malloc_nth={nth},malloc_span={span},trace=1",
        )
        with open(tmp / "stderr", "wb") as err:
            self.proc = subprocess.Popen(
                [str(harness.WEIR), "run", "-c", str(config), "--ready-file", str(self.ready)],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=err,
                env=env,
            )
        try:
            wait_for(lambda: self.ready.exists() or self.proc.poll() is not None, "a start")
            self.served = self.proc.poll() is None
            if self.served:
                self.proc.send_signal(signal.SIGTERM)
            self.status = self.proc.wait(DEADLINE * SLOW)
        finally:
            if self.proc.poll() is None:
                self.proc.kill()
                self.proc.wait()
        self.stderr = (tmp / "stderr").read_text(errors="replace")


@pytest.fixture
def short_tmp():
    """A path that is short enough for a socket's."""
    path = Path(harness.new_tmp())
    yield path
    shutil.rmtree(path, ignore_errors=True)


@pytest.mark.parametrize("span", [1, 2, 1000000], ids=["one", "two", "all from there"])
def test_a_start_without_memory_ends_with_a_message_or_serves(short_tmp, span):
    whole = Start(short_tmp, 0)
    assert whole.status == 0 and whole.served, whole.stderr
    total, ended = whole.page["mallocs"], 0
    each = span == 1 and not harness.sanitizer()
    for n in numbers(total, total if each else SAMPLE):
        start = Start(short_tmp, n, span)
        if start.status != 0:
            assert_ended_well(start.status, start.stderr, f"allocation {n} of {total}")
            ended += 1
        else:
            assert not harness.COMPLAINTS.search(start.stderr), shown(start.stderr)
    assert ended > 0, "the sweep does not reach weir's own allocations"


def test_a_check_without_memory_ends_with_a_message_or_its_verdict(short_tmp):
    """The messages about a bad file want memory as well."""
    config = short_tmp / "bad.yaml"
    config.write_text(START.replace("web:", "wep: { bind: x }, web:").replace("shutdown", "shotdown"))
    page = FaultPage(short_tmp / "page")

    def check(nth):
        env = harness.environment(page.env, faults=f"malloc_nth={nth},trace=1")
        return run_weir("check", str(config), env=env)

    assert check(0).returncode == 1
    total = page["mallocs"]
    for n in numbers(total):
        done = check(n)
        assert done.returncode == 1 and not harness.COMPLAINTS.search(done.stderr), (
            f"allocation {n} of {total}: status {done.returncode}\n{shown(done.stderr)}"
        )


# ---- serving ------------------------------------------------------------------------------------

SERVE = """
workers: 1
shutdown: 10ms
routes:
  - { match: { host: refused }, to: refused }
  - { match: { host: a }, to: app }
pools:
  app: [ "ADDRESS" ]
  refused: [ "127.0.0.1:1" ]
"""
BODY = b"0123456789abcdef" * 12800  # 200 KiB


def answer(request):
    if request.target == "/big":
        return b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(BODY), BODY)
    if request.target == "/ws":
        return (
            b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\nwelcome"
        )
    if request.target == "/chunked":
        return (
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: x\r\n\r\n"
            b"5\r\nhello\r\n0\r\nx-y: z\r\n\r\n"
        )
    return b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


class Story:
    """What clients do; each says whether the answer was the right one."""

    def __init__(self, weir):
        self.weir = weir

    def client(self, listener="web"):
        return Client(self.weir.listeners[listener])

    def get(self):
        with self.client() as c:
            return c.get().body == b"ok" and c.get().body == b"ok"

    def big(self):
        with self.client() as c:
            return c.get("/big").body == BODY

    def chunked(self):
        with self.client() as c:
            return c.get("/chunked").body == b"hello"

    def post(self):
        with self.client() as c:
            c.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % len(BODY) + BODY)
            return c.response().body == b"ok"

    def post_chunked(self):
        with self.client() as c:
            c.send(
                b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
                + b"5\r\nhello\r\n" * 300
                + b"0\r\nx-y: z\r\n\r\n"
            )
            return c.response().body == b"ok"

    def upgrade(self):
        with self.client() as c:
            c.send("GET /ws HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n")
            return c.response().status == 101 and c.recv_exact(7) == b"welcome"

    def large_head(self):
        with self.client() as c:
            return c.get(extra=f"X: {'x' * 30000}\r\n").body == b"ok"

    def no_route(self):
        with self.client() as c:
            return c.get(host="nobody").status == 404

    def refused(self):
        with self.client() as c:
            return c.get(host="refused").status == 502

    def malformed(self):
        with self.client() as c:
            c.send(b"GET /\x00 HTTP/1.1\r\nHost: a\r\n\r\n")
            return c.response().status == 400

    def crowd(self):
        clients = [self.client() for _ in range(40)]
        try:
            for c in clients:
                c.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n")
            return all(c.response().body == b"ok" for c in clients)
        finally:
            for c in clients:
                c.close()

    def admin(self):
        with Client(self.weir.admin) as c:
            return c.get("/").status == 200 and c.get("/readyz").status == 200

    def metrics(self):
        with Client(self.weir.admin) as c:
            return b"weir_build_info" in c.get("/metrics").body


STORIES = [name for name in vars(Story) if not name.startswith("_") and name != "client"]


class Swept:
    """A weir, started anew whenever the one before it has ended, whose allocations are counted."""

    def __init__(self, tmp, config):
        self.tmp, self.config = tmp, config
        self.weir = self.page = None
        self.serial = count()

    def fresh(self):
        """A weir that has not served yet: nothing is there to be recycled. With a sanitizer every
        object is an allocation anyway."""
        if harness.sanitizer() and self.weir is not None and self.weir.alive():
            return self.weir
        self.stop()
        folder = self.tmp / str(next(self.serial))
        folder.mkdir()
        self.page = FaultPage(folder / "page")
        self.weir = Weir(self.config, folder, env=self.page.env, faults="trace=1")
        if "warm" in self.config:  # what OpenSSL does once for a process and never tries again
            with self.weir.client() as c:
                assert c.get(host="warm").body == b"ok"
            self.weir.wait_metric("weir_client_connections", 0)
        return self.weir

    def stop(self):
        if self.weir is not None and not self.weir.ended:
            self.weir.stop()

    def arm(self, nth, span=1):
        """The nth allocation from now fails. weir is at rest."""
        self.page["malloc_nth"] = 0
        self.page["mallocs"] = 0
        self.page["malloc_span"] = span
        self.page["malloc_nth"] = nth

    def tell(self, story):
        """-> True if it went well, None if weir has ended over it, as it may, or what went wrong
        although weir serves on."""
        try:
            good = getattr(Story(self.weir), story)()
        except (AssertionError, OSError) as e:
            good = e
        self.page["malloc_nth"] = 0
        self.tried = self.page["mallocs"]
        try:
            served = Story(self.weir).get()
        except (AssertionError, OSError) as e:
            served = e
        if served is True:
            self.weir.wait_metric("weir_requests_in_flight", 0)
            return good
        try:
            status = self.weir.proc.wait(DEADLINE * SLOW)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"after {story} ({good}), the next one is not served: {served}")
        self.weir.ended = True
        assert_ended_well(status, self.weir.stderr(), story)
        return None

    def counted(self, story):
        self.fresh()
        self.arm(0)
        assert self.tell(story) is True, f"{story}, without a fault: {self.weir.stderr()}"
        return self.tried


@pytest.fixture
def swept(short_tmp, auto):
    s = Swept(short_tmp, SERVE.replace("ADDRESS", auto(answer).address))
    try:
        yield s
        s.stop()
    finally:
        if s.weir is not None:
            s.weir.kill()


@pytest.mark.parametrize("story", STORIES)
def test_an_allocation_that_fails_while_serving_costs_no_request(swept, story):
    """The fund of each thread is there for it. Only libuv's table of descriptors has no second
    try, for which weir ends."""
    total = swept.counted(story)
    assert total > 0, "a weir that has not served allocates something"
    ends = reached = 0
    for n in numbers(total, 8):
        swept.fresh()
        before = swept.page["malloc"]
        swept.arm(n)
        what = swept.tell(story)
        assert what in (True, None), f"allocation {n} of {total}: {what}\n{swept.weir.stderr()}"
        struck = swept.page["malloc"] - before
        if what is None:
            said = swept.weir.stderr()
            assert "uv_" in said or "libuv" in said, shown(said)
            ends += 1
            continue
        reached += struck  # the last ones are not, when the threads took turns in another way
    assert 2 * (reached + ends) >= len(numbers(total, 8)), "the sweep misses its aim"
    assert ends <= 8, "weir ends for libuv's table only, and that grows by doubling"


@pytest.mark.parametrize("span", [2, 1000000], ids=["twice", "for good"])
@pytest.mark.parametrize("story", STORIES)
def test_memory_that_stays_away_ends_weir_with_a_message_or_sheds(swept, story, span):
    total = swept.counted(story)
    for n in numbers(total, 5):
        swept.fresh()
        swept.arm(n, span)
        swept.tell(story)


# ---- to upstreams that speak HTTP/2, and TLS ----------------------------------------------------

BEYOND = "workers: 1\nshutdown: 10ms\nroutes: [ { match: { host: a }, to: app }, { to: warm } ]\npools:\n"
BEYOND += "  app: { endpoints: [ ADDRESS ], upstream: { UPSTREAM } }\n"
BEYOND += "  warm: { endpoints: [ ADDRESS ], upstream: { UPSTREAM } }\n"
HELLO = os.environ.get("HELLO", str(harness.ROOT / "build/hello"))
SECURE = ["get", "post", "post_chunked", "large_head", "crowd"]
TOLD = [
    *(("h2", story) for story in ["big", "chunked", *SECURE]),
    *(("tls h1", story) for story in SECURE),
    *(("tls h2", story) for story in SECURE),
]


class Hello:
    """build/hello, which survives a handshake that fails, says ok over TLS."""

    def __init__(self, pair, *more):
        self.proc = subprocess.Popen(
            [HELLO, "--listen", "127.0.0.1:0", "--print-port", "--body", "ok"]
            + ["--tls-cert", pair.cert, "--tls-key", pair.key, *more],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        self.address = f"127.0.0.1:{self.proc.stdout.readline().strip()}"

    def close(self):
        self.proc.terminate()
        self.proc.wait(DEADLINE * SLOW)
        self.proc.stdout.close()


@pytest.fixture
def swept_beyond(request, short_tmp, closing, authority):
    if request.param == "h2":
        up, more = closing(h2upstream.H2AutoUpstream(answer)), "protocol: h2"
    else:
        up = closing(Hello(authority.server(), *["--no-h2"] * (request.param == "tls h1")))
        more = f"tls: {{ ca: {authority.cert}, sni: a.example }}"
    s = Swept(short_tmp, BEYOND.replace("ADDRESS", up.address).replace("UPSTREAM", more))
    try:
        yield s
        s.stop()
    finally:
        if s.weir is not None:
            s.weir.kill()


@pytest.mark.parametrize("swept_beyond, story", TOLD, indirect=["swept_beyond"])
def test_an_allocation_that_fails_towards_an_upstream_is_borne_or_counted(swept_beyond, story):
    """Of OpenSSL's some have no second try; then the request fails, with its reason, and no other."""
    s = swept_beyond
    total = s.counted(story)
    reached = 0
    for n in numbers(total, 8):
        s.stop()  # each time a conn is made
        s.fresh()
        struck, errors = s.page["malloc"], s.weir.metric("weir_errors_total")
        s.arm(n)
        what = s.tell(story)
        reached += s.page["malloc"] > struck or what is None
        if what is None:
            said = s.weir.stderr()
            assert "uv_" in said or "libuv" in said, shown(said)
        elif what is not True:
            counted = s.weir.metric("weir_errors_total") - errors
            assert counted > 0, f"allocation {n} of {total}: {what}\n{s.weir.stderr()}"
    assert 2 * reached >= len(numbers(total, 8)), "the sweep misses its aim"


def test_when_memory_is_short_what_is_new_is_shed_and_what_is_in_progress_ends(
    start_weir, auto, short_tmp
):
    large = BODY * 40  # more than the kernel takes for a client that does not read
    page = FaultPage(short_tmp / "page")
    answer = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(large), large)
    up = auto(lambda request: answer if request.target == "/late" else None)
    weir = start_weir(
        "workers: 1\ntimeouts: { request_head: 1m }\nroutes: [ { to: app } ]\n"
        f"pools: {{ app: [ '{up.address}' ] }}\n",
        env=page.env,
        faults="seed=1",
    )
    going, waiting = weir.client(rcvbuf=65536), weir.client()
    waiting.send("GET / HTTP/1.1\r\n")
    going.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n")
    up.wait_held(1)
    weir.wait_metric("weir_client_connections", 2)
    weir.wait_quiet()  # the control thread, which has a fund of its own
    before = page["live"]
    page["malloc_limit"] = before
    answering = threading.Thread(target=up.release, args=(answer,))
    answering.start()
    wait_for(lambda: page["live"] < before - FUND // 2, "the fund to be given back")
    page["malloc_limit"] = before - FUND // 2  # it can't be whole again
    waiting.send("Host: a\r\n\r\n")
    harness.assert_authored(waiting.response(), 503, "no_memory")
    waiting.expect_closed()
    late = weir.client()
    late.send("GET /late HTTP/1.1\r\nHost: a\r\n\r\n")
    weir.said("pauses: Cannot allocate memory")
    assert b" 200 OK" in going.recv_until(b"\r\n\r\n")
    assert going.recv_exact(len(large)) == large, "what was in progress"
    answering.join()
    page["malloc_limit"] = 0
    assert b" 200 OK" in late.recv_until(b"\r\n\r\n"), "it had waited in the kernel"
    assert late.recv_exact(len(large)) == large
    weir.wait_metric("weir_requests_in_flight", 0)


def test_the_preload_says_what_it_does_not_know(short_tmp):
    for wrong in ("sort=1%", "short", "short=1", "short=101%", "only=me", "malloc_nth=x"):
        done = run_weir("version", env=harness.environment(faults=wrong))
        assert done.returncode == 2 and done.stderr.startswith("faults: "), (wrong, done.stderr)
