# SPDX-License-Identifier: Apache-2.0
"""Reloads under load: no request fails, no connection closes, and nothing piles up. WEIR_RELOADS says
how many there are; `make reload-load` has a thousand, and measures what they cost."""
import json
import os
import select
import selectors
import signal
import socket
import statistics
import subprocess
import threading
import time
from contextlib import suppress

import h2.config
import h2.connection
import h2.events

import pytest

import harness
from peers import connect, ready, wait_for
from test_reload import post, rewrite, settled

RELOADS = int(os.environ.get("WEIR_RELOADS", "20"))
CONNS, SOCKETS, STREAMS = 64, 100, 100
WARM = 10  # reloads after which memory is what it stays
LOAD, HELLO = (harness.ROOT / "build" / name for name in ("load", "hello"))

# Figures, which a busy machine would fail, are for who asks for them.
measured = pytest.mark.skipif(
    "WEIR_RELOADS" not in os.environ or not LOAD.exists(), reason="make reload-load measures"
)

CONFIG = """
listeners: { web: "127.0.0.1:0" }
routes:
  - { name: app, match: { path: /app }, to: app }
  - { name: live, match: { path: /live }, to: live }
  - { name: more-%d, match: { path: /more }, to: app }
pools:
  live: [ "$UP" ]
  app: { endpoints: [ "$UP" ], upstream: { idle: %ds } }
"""


class Upstream(threading.Thread):
    """Answers at once, echoes what is upgraded, and holds what is asked of /live/held."""

    def __init__(self):
        super().__init__(daemon=True)
        self.listening = socket.create_server(("127.0.0.1", 0), backlog=1024)
        self.address = "127.0.0.1:%d" % self.listening.getsockname()[1]
        self.held, self.buffers, self.over = [], {}, False
        self.sel = selectors.DefaultSelector()
        self.sel.register(self.listening, selectors.EVENT_READ)
        self.start()

    def run(self):
        while not self.over:
            for key, _ in self.sel.select(0.1):
                if key.fileobj is self.listening:
                    sock = self.listening.accept()[0]
                    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                    self.buffers[sock] = b""
                    self.sel.register(sock, selectors.EVENT_READ)
                else:
                    self.serve(key.fileobj)

    def serve(self, sock):
        got = b""
        with suppress(ConnectionResetError):
            got = sock.recv(65536)
        if not got:
            self.sel.unregister(sock)
            sock.close()
        elif self.buffers[sock] is None:
            sock.sendall(got)
        else:
            self.buffers[sock] += got
            while self.buffers[sock] and b"\r\n\r\n" in self.buffers[sock]:
                head, self.buffers[sock] = self.buffers[sock].split(b"\r\n\r\n", 1)
                self.answer(sock, head)

    def answer(self, sock, head):
        if b"\r\nUpgrade: x" in head:
            self.buffers[sock] = None
            sock.sendall(
                b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n"
            )
        elif head.startswith(b"GET /live/held"):
            self.held.append(sock)
        else:
            sock.sendall(ANSWER)

    def close(self):
        self.over = True
        self.join()
        for key in list(self.sel.get_map().values()):
            key.fileobj.close()
        self.sel.close()


ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


class Load(threading.Thread):
    """Keep-alive connections that ask one request after the other."""

    def __init__(self, address):
        super().__init__(daemon=True)
        self.over, self.failure, self.answers = False, None, 0
        self.socks = [connect(address) for _ in range(CONNS)]
        self.start()

    def run(self):
        sel = selectors.DefaultSelector()
        for sock in self.socks:
            sel.register(sock, selectors.EVENT_READ, [b""])
            sock.sendall(b"GET /app HTTP/1.1\r\nHost: a\r\n\r\n")
        left = CONNS
        while left and not self.failure:
            for key, _ in sel.select(harness.DEADLINE):
                left -= self.read(key.fileobj, key.data)
        sel.close()

    def read(self, sock, buf):
        """True: that was its last."""
        buf[0] += sock.recv(65536) or b"(closed)"
        if not buf[0].endswith(b"\r\n\r\nok"):
            if b"(closed)" in buf[0] or len(buf[0]) > 1000:
                self.failure = buf[0]
            return False
        if not buf[0].startswith(b"HTTP/1.1 200 OK\r\n") or b"onnection: close" in buf[0]:
            self.failure = buf[0]
        buf[0] = b""
        self.answers += 1
        over = self.over  # read once: another thread sets it
        if not over:
            sock.sendall(b"GET /app HTTP/1.1\r\nHost: a\r\n\r\n")
        return over

    def end(self):
        self.over = True
        self.join(harness.DEADLINE)
        assert not self.is_alive() and self.failure is None, self.failure
        for sock in self.socks:
            sock.close()


def tunnels(weir):
    made = [weir.client() for _ in range(SOCKETS)]
    for c in made:
        c.send("GET /live HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n")
        assert c.response().status == 101
    return made


class Streams:
    """Requests on one connection of HTTP/2 that are answered when all is over."""

    def __init__(self, weir):
        self.sock = connect(weir.listeners["web"])
        self.sock.settimeout(harness.DEADLINE)
        self.h2 = h2.connection.H2Connection(h2.config.H2Configuration(client_side=True))
        self.h2.initiate_connection()
        for n in range(STREAMS):
            self.h2.send_headers(
                2 * n + 1,
                [
                    (":method", "GET"),
                    (":scheme", "http"),
                    (":authority", "a"),
                    (":path", "/live/held"),
                ],
                end_stream=True,
            )
        self.sock.sendall(self.h2.data_to_send())

    def read(self):
        """Reads, and says what has to be said to it; returns how many streams have ended."""
        got = self.sock.recv(65536)
        assert got, "the connection of HTTP/2 was closed"
        ended = 0
        for event in self.h2.receive_data(got):
            assert not isinstance(event, (h2.events.StreamReset, h2.events.ConnectionTerminated))
            ended += isinstance(event, h2.events.StreamEnded)
        self.sock.sendall(self.h2.data_to_send())
        return ended

    def poll(self):
        while ready(self.sock, select.POLLIN, 0):
            assert self.read() == 0, "a stream was answered"

    def finish(self):
        ended = 0
        while ended < STREAMS:
            ended += self.read()
        self.sock.close()


def test_nobody_notices_reloads_under_load(start_weir):
    up = Upstream()
    text = CONFIG.replace("$UP", up.address)
    weir = start_weir("# access_log: none\n" + text % (0, 55))
    streams, sockets = Streams(weir), tunnels(weir)
    wait_for(lambda: len(up.held) == STREAMS, "all streams to be asked for")
    load = Load(weir.listeners["web"])
    conns = CONNS + SOCKETS + 1
    weir.wait_metric("weir_client_connections", conns)
    rss = None
    for n in range(1, RELOADS + 1):
        rewrite(weir, "# access_log: none\n" + text % (n, 50 + n % 5))
        weir.signal(signal.SIGHUP)
        weir.wait_metric("weir_generation", n + 1)
        sockets[n % SOCKETS].send("x")
        sockets[n % SOCKETS].expect("x")
        streams.poll()
        assert load.failure is None, load.failure
        if n == min(WARM, RELOADS // 2):
            rss = weir.rss()
    weir.wait_metric("weir_generations", 2)  # the newest, and that of the tunnels and streams
    grown = weir.rss() - rss
    weir.wait_metric("weir_client_connections", conns)
    for c in sockets:
        c.send("still here")
        c.expect("still here")
        c.close()
    for sock in up.held:
        sock.sendall(ANSWER)
    streams.finish()
    load.end()
    print(f"{RELOADS} reloads, {load.answers} requests, {grown} KiB more")
    settled(weir)
    if not harness.sanitizer():
        assert grown < 1024, f"{grown} KiB more after {RELOADS} reloads"
    up.close()


# ---- figures -----------------------------------------------------------------------------------

ROUNDS = 5


def p99_ms(weir, meanwhile):
    """Of requests that are due at a fixed rate over 64 connections, while something is done over
    and over again."""
    args = ["open", "--to", weir.listeners["web"], "--path", "/app", "--connections", str(CONNS),
            "--rate", "2000", "--seconds", "4", "--warmup", "0.5"]
    with subprocess.Popen([LOAD, *args], stdout=subprocess.PIPE) as load:
        done = 0
        while load.poll() is None:
            done += 1
            meanwhile(done)
        result = json.loads(load.stdout.read().splitlines()[-1])
    assert load.returncode == 0 and not any(result["errors"].values()), result
    return result["latency_us"]["p99"] / 1000, done


@pytest.fixture
def hello():
    """The address of build/hello, which answers without taking time from the test."""
    args = ["--listen", "127.0.0.1:0", "--print-port", "--body", "ok"]
    with subprocess.Popen([HELLO, *args], stdout=subprocess.PIPE, text=True) as server:
        yield f"127.0.0.1:{server.stdout.readline().strip()}"
        server.terminate()


@measured
def test_what_requests_take_while_reloads_go_on(start_weir, hello):
    """Beside a process that only writes the files and asks for a metric, as often."""
    text = CONFIG.replace("$UP", hello)
    weir = start_weir("# access_log: none\n" + text % (0, 55), workers=2)
    count = [0]

    def write(wanted):
        count[0] += wanted
        rewrite(weir, "# access_log: none\n" + text % (count[0], 50 + count[0] % 5))
        time.sleep(0.02)

    def quiet(_):
        write(0)
        weir.metric("weir_generation")

    def reloads(_):
        write(1)
        weir.signal(signal.SIGHUP)
        weir.wait_metric("weir_generation", count[0] + 1)

    without, during, n = [], [], 0
    for _ in range(ROUNDS):
        without.append(p99_ms(weir, quiet)[0])
        p99, done = p99_ms(weir, reloads)
        during.append(p99)
        n += done
    ratio = statistics.median(during) / statistics.median(without)
    print(f"p99 {without} ms without, {during} ms with {n} reloads: {ratio:.2f} times")
    assert ratio <= 1.5


def large(up, n, pools, nth):
    """So many routes and endpoints; a tenth of the routes is new each time, and every pool."""
    lines = ["routes:"]
    for i in range(n):
        name = f"r{i}-{nth if i % 10 == 0 else 0}"
        lines.append(
            f"  - {{ name: {name}, match: {{ host: h{i}.example, path: /p{i} }}, to: p{i % pools} }}"
        )
    lines.append("  - { name: app, match: { path: /app }, to: app }")
    lines.append(f"pools:\n  app: [ {up} ]")
    each = n // pools
    for p in range(pools):
        listed = ", ".join(
            f"'127.{1 + k // 65536}.{k // 256 % 256}.{k % 256}:9'"
            for k in range(p * each, (p + 1) * each)
        )
        lines.append(f"  p{p}: {{ endpoints: [ {listed} ], upstream: {{ idle: {50 + nth % 5}s }} }}")
    return "# access_log: none\n" + "\n".join(lines) + "\n"


@measured
@pytest.mark.parametrize("pools", [1, 100, 10000])
def test_a_reload_of_ten_thousand_routes_and_endpoints(start_weir, hello, pools):
    weir = start_weir(large(hello, 10000, pools, 0), workers=2)
    took, kept = [], []
    for nth in range(1, 8):
        rewrite(weir, large(hello, 10000, pools, nth))
        begun = time.monotonic()
        assert post(weir).status == 200
        took.append(time.monotonic() - begun)
        settled(weir)
        samples = weir.metrics()
        kept.append(max(v for (name, _), v in samples.items() if name == "weir_reload_worker_seconds"))
    print(f"{pools} pools: {[round(t, 3) for t in took]} s; workers kept for at most "
          f"{[round(1000 * k, 2) for k in kept]} ms")
    assert statistics.median(took) < 1 and statistics.median(kept) < 0.010
