# SPDX-License-Identifier: Apache-2.0
"""Bodies of any size cost bounded memory, whoever is slow."""
import select
import time

import pytest

import harness
from matrix import Matrix
from peers import ready
from transfer import Receiver, Sender, pump, run, send_until_stuck, widen

MATRIX = Matrix(workers=(harness.WORKERS,))  # a body is the affair of one worker
BIG = 64 << 20
GIB = 1 << 30
lean = pytest.mark.skipif(bool(harness.sanitizer()), reason="a sanitizer's memory is not weir's")

CONFIG = """
timeouts: { write_stall: 300s, response_idle: 300s, request_body: 300s }
routes: [ { to: app } ]
pools: { app: { endpoints: [ "$UPSTREAM" ], upstream: { max_idle: 0 } } }
"""


def start_download(weir, upstream, size, rcvbuf=None):
    c = weir.client(rcvbuf=rcvbuf)
    c.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n")
    u = upstream.accept()
    u.request()
    u.send(f"HTTP/1.1 200 OK\r\nContent-Length: {size}\r\n\r\n")
    c.recv_until(b"\r\n\r\n")
    return c, u


def start_upload(weir, upstream, size):
    c = weir.client()
    c.send(f"PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: {size}\r\n\r\n")
    u = upstream.accept()
    u.head()
    return c, u


def finish_upload(c, u):
    u.answer()
    assert c.response().body == b"ok"


class Peak:
    """The most resident memory that was seen, against where it started (KiB)."""

    def __init__(self, weir):
        self.weir, self.start = weir, weir.rss()
        # what OpenSSL and nghttp2 take at their first use
        self.library = 256 * (bool(weir.secure) + (weir.client_protocol == "h2"))
        self.most = self.start

    def look(self):
        self.most = max(self.most, self.weir.rss())

    def check(self, growth_kib):
        self.look()
        if not harness.sanitizer():
            growth_kib += self.library
            assert self.most - self.start <= growth_kib, f"{self.start} -> {self.most} KiB"
            assert self.most <= 32 << 10, f"{self.most} KiB in all"


def test_a_large_download_arrives_whole_in_bounded_memory(weir, upstream):
    peak = Peak(weir)
    c, u = start_download(weir, upstream, BIG)
    pump([(u, c, BIG)], peak.look)
    peak.check(1024)
    c.close()


def test_a_large_upload_arrives_whole_in_bounded_memory(weir, upstream):
    peak = Peak(weir)
    c, u = start_upload(weir, upstream, BIG)
    pump([(c, u, BIG)], peak.look)
    finish_upload(c, u)
    peak.check(1024)
    c.close()


def test_a_client_that_does_not_read_holds_the_upstream_back(weir, upstream):
    peak = Peak(weir)
    c, u = start_download(weir, upstream, BIG, rcvbuf=4096)
    sender = Sender(u, BIG)
    send_until_stuck(sender)
    assert not sender.done, "the upstream was never held back"
    peak.check(1024)
    widen(c)
    run([sender], [Receiver(c, BIG)], peak.look)
    peak.check(1024)
    c.close()


def test_an_upstream_that_does_not_read_holds_the_client_back(weir, upstream):
    peak = Peak(weir)
    c, u = start_upload(weir, upstream, BIG)
    sender = Sender(c, BIG)
    send_until_stuck(sender)
    assert not sender.done, "the client was never held back"
    peak.check(1024)
    run([sender], [Receiver(u, BIG)], peak.look)
    finish_upload(c, u)
    peak.check(1024)
    c.close()


def fill(senders, limit=16 << 20):
    """Sends on each until none takes any more for a while."""
    left = {peer: limit for peer in senders}
    while taking := [p for p in left if left[p] and ready(p.sock, select.POLLOUT, 0)] or again(left):
        for peer in taking:
            left[peer] -= peer.send_some(bytes(min(left[peer], 1 << 20)))


def again(left):
    """Who takes more after a while."""
    time.sleep(0.3)
    return [p for p in left if left[p] and ready(p.sock, select.POLLOUT, 0)]


@lean
def test_fifty_slow_readers_cost_at_most_their_buffers(weir, upstream):
    peak = Peak(weir)
    pairs = [start_download(weir, upstream, BIG, rcvbuf=4096) for _ in range(50)]
    for _, u in pairs:
        u.sock.setsockopt(1, 7, 65536)  # SO_SNDBUF: the kernel's share is not the point here
    fill([u for _, u in pairs])
    peak.look()
    per_conn = (peak.most - peak.start) / 50
    # TLS: a big block of ciphertext on either side, and one of which a part is decrypted.
    most = 2 * 64 + 16 + (3 * 68 if weir.secure else 0)
    most += 32 if weir.client_protocol == "h2" else 0  # and so has a session of HTTP/2
    assert per_conn <= most, f"{per_conn} KiB for each"
    for c, u in pairs:
        c.reset()
        u.expect_ended()
    weir.wait_metric("weir_requests_in_flight", 0)


@pytest.mark.h1_client("an HTTP/2 client's requests go beside each other")
def test_a_client_that_pipelines_and_never_reads_is_held_back(start_weir, auto):
    body = b"HTTP/1.1 200 OK\r\nContent-Length: 65536\r\n\r\n" + bytes(65536)
    up = auto(lambda _: body)
    weir = start_weir(f"routes: [ {{ to: app }} ]\npools: {{ app: [ '{up.address}' ] }}\n")
    peak = Peak(weir)
    with weir.client(rcvbuf=4096) as c:
        request = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n" * 1000
        assert c.send_until_blocked(request, 32 << 20) < 32 << 20
        peak.check(1024)
        c.reset()
    weir.wait_metric("weir_client_connections", 0)


@pytest.mark.h1_client("HTTP/1.0")
def test_a_large_body_of_unknown_length_arrives_whole(weir, upstream):
    with weir.client() as c:
        c.send(
            "GET / HTTP/1.0\r\nHost: a\r\n\r\n"
        )  # HTTP/1.0: the client sees the bytes themselves
        u = upstream.accept()
        u.request()
        u.send("HTTP/1.1 200 OK\r\n\r\n")
        c.recv_until(b"\r\n\r\n")
        pump([(u, c, 4 << 20)])
        u.close()
        c.expect_closed()


@lean
@pytest.mark.h1_client("a gibibyte takes its peer too long there")
@pytest.mark.h1_upstream("a gibibyte takes its peer too long there")
@pytest.mark.parametrize("start", [start_download, start_upload], ids=["download", "upload"])
def test_a_gibibyte_with_a_slow_reader_keeps_weir_under_32_mib(weir, upstream, start):
    peak = Peak(weir)
    c, u = start(weir, upstream, GIB)
    source, sink = (u, c) if start is start_download else (c, u)
    sender, receiver = Sender(source, GIB), Receiver(sink, GIB)
    send_until_stuck(sender)
    peak.look()
    run([sender], [receiver], peak.look, most=65536)
    peak.check(2048)
    c.close()
