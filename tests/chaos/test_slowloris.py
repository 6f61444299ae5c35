# SPDX-License-Identifier: Apache-2.0
"""Clients that send, or read, a byte now and then, as many as the limit of open files allows.

What they cost is asserted in bytes and CPU time, and that they are ended in counts; what they do to
the latency of others is measured by slowloris.py, since a busy machine says nothing about that.
"""
import json
import resource
import select
import sys
import time
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "e2e"))
sys.path.insert(0, str(Path(__file__).resolve().parent))

import harness  # noqa: E402
import wire  # noqa: E402
from backend import Backend  # noqa: E402
from peers import Client, connect, deadline, wait_for  # noqa: E402

KIB = 1024
BLOCK = 16 * KIB  # what weir reads into
CPU_PER_EVENT = 200e-6  # seconds of CPU a byte, an accept or an end may cost: ten times what it does
SLOW_CPU = {"": 1, "asan": 15, "tsan": 30}[harness.sanitizer()]


def how_many(want):
    """As many as weir and this process may hold (weir takes no more clients than it could open
    upstream connections for); with a sanitizer a sample."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return min(want if not harness.sanitizer() else want // 10, hard // 2 - 250)


@pytest.fixture
def served(tmp_path):
    """served(yaml): weir in front of one hello."""
    b = Backend("b0", tmp_path, ledger=False)
    b.start()
    wait_for(b.up, "hello to listen", 20)
    started = []

    def start(more=""):
        started.append(
            harness.Weir(
                f"{more}\nroutes: [ {{ to: app }} ]\n"
                f"pools: {{ app: {{ endpoints: [ '{b.address}' ], upstream: {{ connect: 10s }} }} }}\n",
                tmp_path,
                workers=2,
            )
        )
        return started[0]

    yield start
    try:
        for weir in started:
            weir.stop()
    finally:
        b.close()


class SlowOnes:
    """Many connections that are all in the same slow state."""

    def __init__(self, weir, count, first, rcvbuf=None):
        self.weir, self.count = weir, count
        self.poll, self.socks, self.got = select.epoll(), {}, {}
        self.sent = self.ended = 0
        for _ in range(count):
            sock = connect(weir.listeners["web"], timeout=60, rcvbuf=rcvbuf)
            sock.setblocking(False)
            assert sock.send(first) == len(first)
            self.socks[sock.fileno()] = sock
            self.got[sock.fileno()] = b""
            self.sent += 1

    def watch(self):
        """From now on answers are read."""
        for sock in self.socks.values():
            self.poll.register(sock, select.EPOLLIN)

    def drip(self, byte):
        """Everyone that is still there sends one more."""
        for sock in self.socks.values():
            try:
                self.sent += sock.send(byte)
            except (BlockingIOError, BrokenPipeError, ConnectionResetError):
                pass

    def take(self, seconds=0.0):
        """Reads what has come; those that weir ended are closed."""
        for fd, _ in self.poll.poll(seconds):
            try:
                data = self.socks[fd].recv(65536)
            except ConnectionResetError:
                data = b""
            self.got[fd] += data
            if not data:
                self.poll.unregister(fd)
                self.socks.pop(fd).close()
                self.ended += 1

    def answers(self):
        return [wire.parse_response(data, "GET", True) for data in self.got.values() if data]

    def close(self):
        for sock in self.socks.values():
            sock.close()
        self.socks.clear()
        self.poll.close()


class Cost:
    """What happens inside costs weir so much."""

    def __init__(self, weir):
        self.weir = weir
        with Client(weir.listeners["web"]) as c:  # whatever the first request makes
            assert c.get("/hello").status == 200
        weir.wait_metric("weir_client_connections", 0)
        self.rss, self.cpu, self.files = weir.rss(), weir.cpu(), self.open_files()

    def open_files(self):
        # With two workers the conn that waits for reuse may be one or two.
        return self.weir.fds() - int(self.weir.metric("weir_upstream_connections"))

    def bytes_each(self, count):
        return (self.weir.rss() - self.rss) * KIB / count

    def assert_cpu(self, events):
        spent = self.weir.cpu() - self.cpu
        assert spent < events * CPU_PER_EVENT * SLOW_CPU, f"{spent:.2f} s of CPU, {events} events"

    def assert_gone(self):
        for name in ("weir_client_connections", "weir_requests_in_flight"):
            wait_for(lambda: self.weir.metric(name) == 0, f"{name} to be 0", 20)


def assert_others_are_served(weir, requests=3):
    """New clients get answers meanwhile."""
    with Client(weir.listeners["web"]) as c:
        for _ in range(requests):
            assert c.get("/hello", within=30).body == b"Hello, World!"
    return requests


def reasons(weir, reason, count):
    """So many requests ended for it, as counted and as logged: their entries."""
    weir.wait_metric("weir_errors_total", count, reason=reason)
    weir.settle_log()
    log = [json.loads(line) for line in weir._log_lines()]
    return [e for e in log if e["reason"] == reason]


def test_heads_that_come_byte_by_byte(served):
    weir = served("timeouts: { request_head: 6s }")
    count = how_many(10_000)
    cost = Cost(weir)
    slow = SlowOnes(weir, count, b"G")
    try:
        held = weir.metric("weir_client_connections_total") - 1  # some may have ended by now
        each = cost.bytes_each(max(1, held))
        print(f"{count} clients, {held:.0f} held, {each:.0f} bytes each")
        assert harness.sanitizer() or each < 8 * KIB  # and not the block that they were read into
        slow.watch()
        rest = iter(b"ET / HTTP/1.1\r\nHost: a\r\n" + b"X-Slow: 1\r\n" * 100000)
        served_now, until, rounds = 0, deadline(60), 0
        while slow.ended < count:
            assert time.monotonic() < until, f"{slow.ended} of {count} were ended"
            slow.drip(bytes([next(rest)]))
            served_now += assert_others_are_served(weir)
            slow.take(0.25)  # a round; nothing is concluded from how many there are
            rounds += 1
        cost.assert_cpu(slow.sent + 4 * count + 10 * served_now)
        answers = slow.answers()
        # A byte that came after the end makes an RST of it, which may take the answer away.
        assert len(answers) > count / 2
        for response, _ in answers:
            harness.assert_authored(response, 408, "head_timeout")
        print(f"{rounds} rounds, {slow.sent} bytes, {len(answers)} answers, {served_now} others")
        assert len(reasons(weir, "head_timeout", count)) == count
        cost.assert_gone()
    finally:
        slow.close()


def test_bodies_that_come_byte_by_byte(served):
    weir = served("timeouts: { request_body: 5s }")
    count = how_many(2000)
    cost = Cost(weir)
    slow = SlowOnes(
        weir, count, b"POST /sink HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\n\r\n"
    )
    try:
        slow.watch()
        dearest, most, until = 0, 0, deadline(30)
        for _ in range(10):
            slow.drip(b"x")
            assert_others_are_served(weir)
            slow.take()
            held = weir.metric("weir_requests_in_flight")
            most = max(most, held)
            if held > count / 2:
                dearest = max(dearest, cost.bytes_each(held))
        print(f"{count} clients, at most {most:.0f} in flight, {dearest:.0f} bytes each")
        assert harness.sanitizer() or dearest < 2 * BLOCK
        while slow.ended < count:  # they say nothing any more
            assert time.monotonic() < until, f"{slow.ended} of {count} were ended"
            slow.take(0.25)
            assert_others_are_served(weir)
        for response, _ in slow.answers():
            harness.assert_authored(response, 408, "body_timeout")
        assert len(reasons(weir, "body_timeout", count)) == count
        cost.assert_cpu(2 * slow.sent + 20 * count)
        cost.assert_gone()
    finally:
        slow.close()


def test_readers_that_do_not_read(served):
    weir = served("timeouts: { write_stall: 5s }")
    count = how_many(1000)
    cost = Cost(weir)
    request = b"GET /bytes/20000000 HTTP/1.1\r\nHost: a\r\n\r\n"
    slow = SlowOnes(weir, count, request, rcvbuf=4096)
    try:
        dearest, most, ended, until = 0, 0, 0, deadline(90)
        while ended < count:
            assert time.monotonic() < until, f"{ended} of {count} were ended"
            assert_others_are_served(weir)
            metrics = weir.metrics()
            ended = harness.sum_of(metrics, "weir_errors_total", {"reason": "client_write_stall"})
            held = harness.sum_of(metrics, "weir_requests_in_flight", {})
            most = max(most, held)
            if held > count / 2:
                dearest = max(dearest, cost.bytes_each(held))
        print(f"{count} clients, at most {most:.0f} in flight, {dearest:.0f} bytes each")
        # limits.buffer, what is being read, and what those that have ended leave in malloc's hands
        assert harness.sanitizer() or dearest < 2 * (64 * KIB + 2 * BLOCK)
        log = reasons(weir, "client_write_stall", count)
        assert len(log) == count and {e["status"] for e in log} == {200}
        cost.assert_gone()
    finally:
        slow.close()
