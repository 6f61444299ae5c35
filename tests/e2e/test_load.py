# SPDX-License-Identifier: Apache-2.0
"""The load generator: what it counts is what the server counted, and a stall is not omitted.

LOAD and HELLO name the programs (default build/load, build/hello).
"""
import json
import os
import re
import signal
import socket
import subprocess
import threading
import time
from pathlib import Path

import pytest

import peers
from authority import Authority
from peers import wait_for

ROOT = Path(__file__).resolve().parents[2]
LOAD = os.environ.get("LOAD", str(ROOT / "build/load"))
HELLO = os.environ.get("HELLO", str(ROOT / "build/hello"))
LIMIT = 60 * peers.SLOW  # seconds until a hang is called one
NO_ERRORS = {
    "connect": 0, "reset": 0, "closed": 0, "timeout": 0, "status": 0, "bad_answer": 0
}


class Hello:
    def __init__(self, folder, *args, listen="127.0.0.1:0"):
        ready = folder / f"hello-{time.monotonic_ns()}.json"
        self.process = subprocess.Popen(
            [HELLO, "--listen", listen, "--ready-file", ready, *args],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )
        wait_for(ready.exists, "hello to be ready")
        self.address = json.loads(ready.read_text())["listen"]

    def stats(self):
        with peers.Client(self.address) as c:
            return json.loads(c.get("/stats").body)

    def stop_for(self, seconds):
        """Stops the whole process for at least so long; returns for how long surely."""
        os.kill(self.process.pid, signal.SIGSTOP)
        state = Path(f"/proc/{self.process.pid}/stat")
        wait_for(lambda: state.read_text().rsplit(")", 1)[1].split()[0] == "T", "hello to stop")
        since = time.monotonic()
        time.sleep(seconds)  # the length of the stall is what the test is about
        stalled = time.monotonic() - since
        os.kill(self.process.pid, signal.SIGCONT)
        return stalled

    def close(self):
        self.process.kill()
        self.process.wait()


@pytest.fixture
def hello(tmp_path, closing):
    return lambda *args, **kw: closing(Hello(tmp_path, *args, **kw))


class Load:
    """A running load; its stdin is held open until finish()."""

    def __init__(self, mode, to, *args):
        self.process = subprocess.Popen(
            [LOAD, mode, "--to", to, *map(str, args)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )

    def line(self):
        return json.loads(self.process.stdout.readline())

    def finish(self, status=0):
        """-> the result, or what it said on stderr"""
        out, err = self.process.communicate(timeout=LIMIT)
        assert self.process.returncode == status, err
        return json.loads(out.splitlines()[-1]) if status == 0 else err

    def close(self):
        self.process.kill()
        self.process.communicate()


@pytest.fixture
def load(closing):
    return lambda *args: closing(Load(*args))


def scripted(closing, answer, connections=1, served=None):
    """An address whose conns each get `answer` after a request's head, and then an end. served: an
    Event, set once all have it."""
    listener = closing(socket.create_server(("127.0.0.1", 0)))

    def serve():
        for _ in range(connections):
            try:
                conn = listener.accept()[0]
            except OSError:
                return
            with conn:
                data = b""
                while b"\r\n\r\n" not in data:
                    piece = conn.recv(65536)
                    if not piece:
                        break
                    data += piece
                conn.sendall(answer)
        if served:
            served.set()

    threading.Thread(target=serve, daemon=True).start()
    return "127.0.0.1:%d" % listener.getsockname()[1]


# ---- open loop ----------------------------------------------------------------------------------


def test_an_open_loop_shows_a_stall_to_each_request_that_was_due_in_it(hello, load):
    """Coordinated omission: with 4 conns, a load that waits would see the stall 4 times. Here each
    request that was due at least 100 ms before the stall ended took at least 100 ms."""
    server = hello()
    rate = 500
    running = load("open", server.address, "--connections", 4, "--rate", rate, "--seconds", 4,
                   "--drain", LIMIT)
    wait_for(lambda: server.stats()["requests"] > rate // 5, "the load to be on", LIMIT)
    stalled = server.stop_for(0.4)
    result = running.finish()
    due_in_it = rate * (stalled - 0.1)
    # One request more or less at either end; and buckets round down by 1/128.
    assert result["at_least_ms"]["100"] >= due_in_it * 0.98 - 2
    assert result["latency_us"]["max"] >= stalled * 1e6 * 0.98 - 2e6 / rate
    assert result["latency_us"]["p99"] >= 100_000
    assert result["requests"] == result["latency_count"] == 4 * rate
    assert result["errors"] == NO_ERRORS
    assert result["unfinished"] == 0
    assert server.stats()["requests"] == 4 * rate


def test_what_has_no_answer_at_the_end_counts_with_its_age(hello, load):
    server = hello("--fault-stall", "before-head")
    result = load("open", server.address, "--connections", 3, "--rate", 100, "--seconds", 0.5,
                  "--drain", 0.5).finish()
    assert result["requests"] == 0
    assert result["unfinished"] == 50, "three on their conns, and those that waited for one"
    assert result["latency_count"] == 50
    # The last was due at 0.49 s, and the program ended at 1 s.
    assert result["latency_us"]["min"] >= 500_000
    assert result["oldest_unfinished_us"] >= 1_000_000
    assert result["total"]["sent"] == 3


def test_the_warm_up_is_sent_and_not_counted(hello, load):
    server = hello()
    result = load("open", server.address, "--connections", 8, "--rate", 200, "--seconds", 1,
                  "--warmup", 0.5, "--drain", LIMIT).finish()
    assert result["requests"] == result["latency_count"] == 200
    assert result["total"] == {"sent": 300, "answered": 300, "opened": 8}
    assert server.stats()["requests"] == 300
    assert set(result["generator_late_us"]) == {"p50", "p99", "max"}


# ---- closed loop --------------------------------------------------------------------------------


def counts_agree(result, stats, opening=0):
    """opening: conns that may have been coming up when the time was over."""
    answered = result["total"]["answered"]
    assert result["total"]["sent"] == answered == stats["requests"] > 0
    # /stats came on its own
    assert 0 <= stats["connections"] - 1 - result["total"]["opened"] <= opening
    # what came in time, which on a slow machine is none of what is large
    assert result["requests"] == result["latency_count"] <= answered
    assert result["errors"] == NO_ERRORS


@pytest.mark.parametrize(
    "args",
    [
        [],
        ["--path", "/bytes/3000000"],
        ["--path", "/bytes/3000?fault-chunk-size=700"],
        ["--path", "/?fault-info=100,103"],
        ["--path", "/{}", "--paths", "100"],
        ["--method", "head"],
    ],
    ids=["small", "large", "chunked", "interim", "paths", "head"],
)
def test_a_closed_loop_counts_what_the_server_counts(hello, load, args):
    server = hello()
    result = load("closed", server.address, "--connections", 5, "--seconds", 0.3,
                  "--drain", LIMIT, *args).finish()
    counts_agree(result, server.stats())
    assert result["total"]["opened"] == 5


@pytest.fixture
def secure(hello, tmp_path):
    """hello, over TLS."""
    pair = Authority(tmp_path).server()
    return hello("--tls-cert", pair.cert, "--tls-key", pair.key)


@pytest.mark.parametrize(
    "args",
    [
        [],
        ["--path", "/bytes/300000"],
        ["--body", "300000"],
        ["--close"],
    ],
    ids=["small", "large", "upload", "new connections"],
)
def test_a_closed_loop_over_tls(secure, load, args):
    result = load("closed", secure.address, "--tls", "--connections", 5, "--seconds", 1,
                  "--drain", LIMIT, *args).finish()
    assert result["errors"] == NO_ERRORS
    assert result["requests"] == result["latency_count"]
    assert 0 < result["total"]["sent"] == result["total"]["answered"]
    if "--close" in args:
        assert result["total"]["opened"] >= result["total"]["sent"]
    else:
        assert result["total"]["opened"] == 5


def test_an_open_loop_over_tls_sends_what_is_due(secure, load):
    result = load("open", secure.address, "--tls", "--connections", 8, "--rate", 200, "--seconds",
                  1, "--drain", LIMIT).finish()
    assert result["requests"] == result["latency_count"] == 200
    assert result["total"] == {"sent": 200, "answered": 200, "opened": 8}
    assert result["errors"] == NO_ERRORS


def test_a_handshake_that_fails_is_a_connection_that_cannot_be_opened(hello, load):
    said = load("open", hello().address, "--tls", "--rate", 10).finish(status=1)
    assert "is it running, and is this its address?" in said


def test_a_new_connection_for_every_request(hello, load):
    server = hello()
    result = load("closed", server.address, "--connections", 3, "--seconds", 0.3, "--close",
                  "--drain", LIMIT).finish()
    stats = server.stats()
    counts_agree(result, stats, opening=3)
    assert stats["reused"] == 0


@pytest.mark.parametrize("body", [0, 10, 300_000])
def test_a_mix_sends_bodies_with_posts_only(hello, load, body):
    server = hello()
    result = load("closed", server.address, "--connections", 4, "--seconds", 0.3,
                  "--mix", "get=3,post=1", "--body", body, "--drain", LIMIT).finish()
    stats = server.stats()
    counts_agree(result, stats)
    # The order is fixed, so of n requests the posts are n/4, give or take the last round.
    assert abs(stats["body_bytes_in"] - stats["requests"] / 4 * body) <= body


def test_over_a_unix_socket(hello, load, tmp_path):
    server = hello(listen=f"unix:{tmp_path}/s")
    result = load("closed", f"unix:{tmp_path}/s", "--connections", 3, "--seconds", 0.2,
                  "--path", "/bytes/600000", "--drain", LIMIT).finish()
    counts_agree(result, server.stats())


# ---- errors -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "fault, kind",
    [
        (["--fault-status", "503"], "status"),
        (["--fault-close", "in-head"], "closed"),
        (["--fault-close", "5"], "closed"),
        (["--fault-reset", "before-head"], "reset"),
    ],
)
def test_errors_by_kind(hello, load, tmp_path, fault, kind):
    ledger = tmp_path / "ledger"
    server = hello(*fault, "--ledger", ledger)
    running = load("closed", server.address, "--connections", 2, "--seconds", 1000)
    # Each asks again when it has failed: of so many requests some have.
    wait_for(lambda: ledger.exists() and ledger.read_bytes().count(b"\n") > 2, "the load", LIMIT)
    running.process.send_signal(signal.SIGTERM)
    result = running.finish()
    assert result["errors"][kind] > 0
    assert {**result["errors"], kind: 0} == NO_ERRORS
    assert result["latency_count"] == 0, "what failed is no sample of how fast it is"
    if kind == "status":
        assert result["statuses"]["5xx"] == result["errors"]["status"] >= result["requests"] > 0


def test_a_timeout_is_an_error(hello, load):
    server = hello("--fault-stall", "in-head")
    result = load("closed", server.address, "--connections", 2, "--seconds", 1,
                  "--timeout", 0.2).finish()
    assert result["errors"]["timeout"] > 0
    assert {**result["errors"], "timeout": 0} == NO_ERRORS


@pytest.mark.parametrize(
    "answer, kind",
    [
        (b"nonsense\r\n\r\n", "bad_answer"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nokHTTP/1.1", "bad_answer"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nok", "closed"),
    ],
)
def test_an_answer_that_is_not_one(closing, load, answer, kind):
    to = scripted(closing, answer, connections=30)
    result = load("open", to, "--connections", 1, "--rate", 100, "--seconds", 0.3,
                  "--drain", LIMIT).finish()
    assert result["errors"][kind] == 30
    assert result["statuses"]["2xx"] == 0


def test_nobody_listens(load):
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))  # and does not listen
        said = load("closed", "127.0.0.1:%d" % s.getsockname()[1]).finish(1)
    assert re.fullmatch(r"load: cannot connect to \S+: Connection refused; is it running.*\n", said)


@pytest.mark.parametrize(
    "args, words",
    [
        (["sideways", "--to", "a:1"], "no such mode"),
        (["closed"], "--to is missing"),
        (["open", "--to", "127.0.0.1:1"], "needs --rate"),
        (["closed", "--to", "127.0.0.1:1", "--connections", "0"], "--connections 0"),
        (["closed", "--to", "127.0.0.1:1", "--mix", "get=x"], "get=9,post=1"),
        (["closed", "--to", "127.0.0.1:1", "--path", "a b"], "--path"),
        (["slow", "--to", "127.0.0.1:1", "--tls"], "for open, closed and idle"),
    ],
)
def test_a_wrong_command_line(args, words):
    done = subprocess.run([LOAD, *args], capture_output=True, text=True, timeout=LIMIT)
    assert done.returncode == 2
    assert words in done.stderr and done.stderr.count("\n") == 1


def test_a_signal_ends_it_with_what_it_has(hello, load):
    server = hello()
    running = load("closed", server.address, "--connections", 2, "--seconds", 1000)
    # Each asks again when it has its answer: of so many requests it has some.
    wait_for(lambda: server.stats()["requests"] > 2, "the load to be on", LIMIT)
    running.process.send_signal(signal.SIGTERM)
    result = running.finish()
    assert 0 < result["requests"] == result["latency_count"] == result["total"]["answered"]


# ---- held connections ---------------------------------------------------------------------------


def test_idle_connections_are_held_until_stdin_ends(hello, load):
    server = hello()
    running = load("idle", server.address, "--connections", 700)
    assert running.line() == {"ready": True, "open": 700}
    stats = server.stats()
    assert (stats["open"], stats["requests"]) == (701, 700)
    result = running.finish()
    assert (result["open"], result["closed"], result["failed"]) == (700, 0, 0)
    wait_for(lambda: server.stats()["open"] == 1, "them to be gone")


def test_idle_connections_that_the_server_ends_are_counted(hello, load):
    server = hello("--fault-idle", "300")
    running = load("idle", server.address, "--connections", 20)
    assert running.line()["open"] <= 20
    wait_for(lambda: server.stats()["open"] == 1, "hello to end them", LIMIT)
    result = running.finish()
    assert (result["open"], result["closed"]) == (0, 20)


@pytest.mark.parametrize("ends", [False, True])
def test_idle_connections_over_tls(secure, load, ends):
    """Held, and counted if the server ends them."""
    running = load("idle", secure.address, "--tls", "--connections", 20)
    assert running.line() == {"ready": True, "open": 20}
    if ends:
        secure.close()
    result = running.finish()
    assert (result["open"], result["closed"], result["failed"]) == ((0, 20, 0) if ends else (20, 0, 0))


def test_idle_connections_over_tls_to_what_speaks_none(hello, load):
    running = load("idle", hello().address, "--tls", "--connections", 3)
    assert running.line() == {"ready": True, "open": 0}
    assert running.finish()["failed"] == 3


@pytest.mark.parametrize("kind", ["head", "body", "read"])
def test_slow_clients_are_held(hello, load, kind):
    """Each sends or reads, and none ends: hello has no deadlines."""
    server = hello()
    running = load("slow", server.address, "--connections", 30, "--kind", kind, "--interval", 10,
                   "--path", "/bytes/10000000" if kind == "read" else "/sink")
    assert running.line() == {"ready": True, "open": 30}
    assert server.stats()["open"] == 31
    if kind == "body":
        wait_for(lambda: server.stats()["body_bytes_in"] > 60, "bodies to arrive", LIMIT)
    result = running.finish()
    assert (result["open"], result["opened"]) == (30, 30)
    assert set(result["ended"].values()) == {0}
    if kind == "body":
        assert result["slow_bytes"] > 60


def test_slow_heads_end_with_weirs_408_and_come_again(start_weir, hello, load):
    server = hello()
    weir = start_weir(
        f"""
timeouts: {{ request_head: 300ms }}
routes: [ {{ to: app }} ]
pools: {{ app: [ "{server.address}" ] }}
"""
    )
    running = load("slow", weir.listeners["web"], "--connections", 10, "--kind", "head",
                   "--interval", 50)
    assert running.line()["ready"]  # and some may have been answered already
    wait_for(lambda: weir.metric("weir_errors_total", reason="head_timeout") >= 20,
             "two rounds of them", LIMIT)
    result = running.finish()
    assert result["ended"]["answered_408"] >= 20 - 10  # the last ten may be on their way
    assert {**result["ended"], "answered_408": 0} == dict.fromkeys(result["ended"], 0)
    assert server.stats()["requests"] == 0


def test_once_does_not_open_again(closing, load):
    served = threading.Event()
    to = scripted(closing, b"HTTP/1.1 408 Request Timeout\r\nConnection: close\r\n"
                           b"Content-Length: 0\r\n\r\n", connections=2, served=served)
    running = load("slow", to, "--connections", 2, "--kind", "body", "--interval", 10, "--once")
    running.line()
    assert served.wait(LIMIT)
    time.sleep(0.5)  # the one thing here that is only seen by waiting: nothing comes again
    result = running.finish()
    assert result["ended"]["answered_408"] == 2
    assert (result["open"], result["opened"]) == (0, 2)


# ---- WebSocket ----------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [0, 1, 125, 126, 65535, 65536, 500_000])
def test_messages_come_back(hello, load, size):
    server = hello()
    result = load("websocket", server.address, "--connections", 3, "--seconds", 0.3, "--size", size,
                  "--drain", LIMIT).finish()
    assert result["errors"] == NO_ERRORS
    assert result["requests"] == result["latency_count"]
    assert 0 < result["total"]["sent"] == result["total"]["answered"]
    # All came in time but the last of each, as few as there are; and each had an upgrade.
    assert result["total"]["answered"] - 2 * 3 <= result["requests"]
    assert server.stats()["responses"] == {"101": 3}


def test_an_echo_that_is_not_one_is_an_error(closing, load):
    """What this server sends back is right in form, and one byte of it is wrong."""
    head = (b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
            b"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n")
    listener, left = closing(socket.create_server(("127.0.0.1", 0))), threading.Event()

    def serve():
        with listener.accept()[0] as conn:
            conn.recv(65536)
            conn.sendall(head)
            conn.recv(65536)
            conn.sendall(b"\x82\x04ABCX")
            conn.recv(65536)
        left.set()

    threading.Thread(target=serve, daemon=True).start()
    running = load("websocket", "127.0.0.1:%d" % listener.getsockname()[1], "--size", 4,
                   "--seconds", 1000, "--drain", 0)
    assert left.wait(LIMIT)  # it has seen what is wrong, and closed
    running.process.send_signal(signal.SIGTERM)
    result = running.finish()
    assert result["errors"]["bad_answer"] == 1
    assert result["requests"] == 0


def test_no_upgrade_is_said(hello, load):
    server = hello("--fault-no-upgrade")
    said = load("websocket", server.address, "--seconds", 0.2).finish(1)
    assert "no connection was upgraded" in said
