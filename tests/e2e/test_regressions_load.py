# SPDX-License-Identifier: Apache-2.0
"""Bugs that were: what a peer that does not read, a full queue, a signal or a lack of descriptors
once did that it must not do again.

Most sockets here are unix ones: their queues have one size and do not grow, and their sender can
see what has been read, so that "weir holds the rest" and "weir has read this" are facts.
"""
import fcntl
import os
import resource
import signal
import subprocess
import termios
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

import harness
from harness import assert_authored
from peers import Client, wait_for

GET = "GET / HTTP/1.1\r\nHost: a\r\n\r\n"
ANSWER = 600_000  # bytes; more than a unix socket's queue takes and less than limits.buffer below


@pytest.fixture
def over_unix(start_weir, new_upstream, tmp):
    """over_unix(yaml): (weir, upstream) with unix sockets on both sides."""

    def start(config="", buffer="1MiB"):
        up = new_upstream(path=str(tmp / "up.sock"))
        weir = start_weir(
            f"""
limits: {{ buffer: {buffer} }}
listeners: {{ web: "unix:$TMP/web.sock" }}
routes: [ {{ to: app }} ]
pools: {{ app: {{ endpoints: [ "{up.address}" ], upstream: {{ max_idle: 0 }} }} }}
{config}"""
        )
        return weir, up

    return start


# ---- peers that do not read ---------------------------------------------------------------------


def test_a_client_that_pipelines_and_never_reads_costs_no_time(start_weir):
    """What weir answers itself once went on being asked for when nothing more could be read."""
    weir = start_weir(
        "routes: [ { match: { path: /nowhere }, to: app } ]\npools: { app: [ '127.0.0.1:1' ] }\n"
    )
    with weir.client(rcvbuf=4096) as c:
        assert c.send_until_blocked(GET.encode() * 1000, 32 << 20) < 32 << 20
        assert c.quiet_for(0) is False, "there are answers to read"
        weir.wait_quiet()
        c.reset()


def test_hints_for_a_client_that_does_not_read_cost_bounded_memory(over_unix):
    weir, up = over_unix(buffer="64KiB")
    hint = b"HTTP/1.1 103 Early Hints\r\nLink: " + b"a" * 30000 + b"\r\n\r\n"
    with weir.counts("bad_response"), weir.client() as c:
        c.send(GET)
        u = up.accept()
        u.request()
        before = weir.rss()
        with suppress(BrokenPipeError, ConnectionResetError):
            u.send(hint * 500)
        assert harness.sanitizer() or weir.rss() - before <= 1024
        u.expect_ended()
        response = c.response()
        assert_authored(response, 502, "bad_response")
        assert 0 < len(response.interim) < 32, "some are passed on; not those beyond the buffer"


def send_each(peer, data, times):
    """Sends data again and again, each time when what went before has been read."""
    unread = bytearray(4)
    for _ in range(times):
        peer.send(data)
        while fcntl.ioctl(peer.sock, termios.TIOCOUTQ, unread) == 0 and any(unread):
            pass


CHUNKS = 4000
CHUNKED = b"Transfer-Encoding: chunked\r\n\r\n" + 16 * (b"10000\r\n" + bytes(65536) + b"\r\n")
BODY = bytes(16 * 65536) + b"x" * CHUNKS


@pytest.mark.parametrize("way", ["download", "upload"])
def test_one_byte_chunks_for_a_reader_that_stalls_cost_about_their_bytes(over_unix, way):
    weir, up = over_unix(buffer="16MiB")
    with weir.client() as c:
        if way == "download":
            c.send(GET)
            u = up.accept()
            u.request()
            u.send(b"HTTP/1.1 200 OK\r\n" + CHUNKED)
            sender = u
        else:
            c.send(b"PUT / HTTP/1.1\r\nHost: a\r\n" + CHUNKED)
            u = up.accept()
            sender = c
        send_each(sender, b"1\r\nx\r\n", 1)
        before = weir.rss()
        send_each(sender, b"1\r\nx\r\n", CHUNKS - 1)
        assert harness.sanitizer() or weir.rss() - before <= 1024
        sender.send("0\r\n\r\n")
        if way == "upload":
            assert u.request().body == BODY
            u.answer()
        assert c.response().body == (BODY if way == "download" else b"ok")


# ---- answers that are on their way --------------------------------------------------------------


def finished_but_unread(weir, up, request):
    """A client whose answer is finished for weir, and larger than what the kernel has taken."""
    with weir.logged() as log:
        c = weir.client()
        c.send(request)
        u = up.accept()
        u.head()
        u.answer(bytes(ANSWER))
    assert (log[0]["status"], log[0]["bytes_out"]) == (200, ANSWER)
    return c


def assert_whole(c):
    response = c.response()
    assert (response.status, len(response.body)) == (200, ANSWER)


def test_the_idle_clock_waits_until_the_answer_has_left(over_unix):
    weir, up = over_unix("timeouts: { client_idle: 300ms }\n")
    c = finished_but_unread(weir, up, GET)
    with weir.client() as clock:
        clock.send(GET)
        u = up.accept()
        u.request()
        u.answer()
        clock.response()
        clock.expect_closed()  # idle for long enough, and c was before it
    assert_whole(c)
    c.expect_closed()


def post(length, fields=""):
    return f"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: {length}\r\n{fields}\r\n"


def test_the_body_clock_does_not_cut_an_early_answer(over_unix):
    weir, up = over_unix("timeouts: { request_body: 300ms }\n")
    c = finished_but_unread(weir, up, post(100) + "abc")
    with weir.client() as clock:
        clock.send(post(100) + "abc")
        up.accept().head()
        assert_authored(clock.response(), 408, "body_timeout")
    assert_whole(c)
    c.expect_ended()


LINGERING = {
    "a refused Expect": post(100, "Expect: 100-continue\r\n"),
    "a stray CRLF behind the body": post(3, "Connection: close\r\n") + "abc\r\n",
    "an early answer and a FIN": post(100, "Connection: close\r\n") + "abc",
}


def test_a_closing_connection_lingers_from_when_its_answer_has_left(over_unix):
    """The three ways into it share one wait for its two seconds."""
    weir, up = over_unix()
    clients = {}
    for name, request in LINGERING.items():
        clients[name] = finished_but_unread(weir, up, request)
    clients["an early answer and a FIN"].half_close()
    open_now = weir.metric("weir_client_connections")
    assert open_now == len(clients)
    with weir.client() as clock:
        clock.send(post(100, "Connection: close\r\n"))
        u = up.accept()
        u.head()
        u.answer()
        assert clock.response().body == b"ok"
        weir.wait_metric("weir_client_connections", open_now + 1)
        wait_for(
            lambda: weir.metric("weir_client_connections") <= open_now, "the clock's linger to end"
        )
    missing = {}
    for name, c in clients.items():
        got = len(c.expect_ended().partition(b"\r\n\r\n")[2])
        if got != ANSWER:
            missing[name] = ANSWER - got
    assert not missing, f"bytes that never came: {missing}"


# ---- a write that fails half way ----------------------------------------------------------------


@pytest.fixture(scope="module")
def write_fails(tmp_path_factory):
    """The preload, compiled."""
    if harness.sanitizer():
        pytest.skip("a sanitizer's runtime has to be loaded first")
    out = tmp_path_factory.mktemp("preload") / "write_fails.so"
    source = Path(__file__).parent / "write_fails.c"
    flags = "-D_GNU_SOURCE -O2 -Wall -shared -fPIC".split()
    subprocess.run(["cc", *flags, "-o", str(out), str(source), "-ldl"], check=True)
    return out


def test_a_post_is_not_sent_twice_when_its_second_write_fails(
    start_weir, new_upstream, write_fails
):
    """The first write had left; that the second of the same flush failed once hid it."""
    up = new_upstream()
    weir = start_weir(
        f"routes: [ {{ to: app }} ]\npools: {{ app: [ '{up.address}' ] }}\n", preload=write_fails
    )
    with weir.logged(2) as log, weir.client() as c:
        c.send(GET)  # what is written while a connection comes up goes as one
        u = up.accept()
        u.request()
        u.answer()
        c.response()
        chunk = b"12c\r\n" + b"x" * 300 + b"\r\n"
        c.send(
            b"POST /pay HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
            + chunk * 90  # too many pieces for one write
            + b"0\r\n\r\n"
        )
        assert u.head().target == "/pay"
        u.reset()
        assert_authored(c.response(), 502, "upstream_reset")
    assert log[1]["attempts"] == 1 and b"\r\n0\r\n\r\n" not in u.received
    up.assert_untouched()


# ---- descriptors --------------------------------------------------------------------------------


@contextmanager
def no_descriptors(weir):
    """Inside, weir can open nothing. What it is about to close has to be closed before."""
    before = resource.prlimit(weir.pid, resource.RLIMIT_NOFILE)
    used = {int(fd) for fd in os.listdir(f"/proc/{weir.pid}/fd")}
    lowest_free = next(n for n in range(1000) if n not in used)
    resource.prlimit(weir.pid, resource.RLIMIT_NOFILE, (lowest_free, before[1]))
    yield
    resource.prlimit(weir.pid, resource.RLIMIT_NOFILE, before)


def test_an_idle_connection_of_another_pool_gives_its_descriptor(start_weir, auto):
    weir = start_weir(
        f"""
routes: [ {{ match: {{ path: /a }}, to: a }}, {{ match: {{ path: /b }}, to: b }} ]
pools: {{ a: [ '{auto().address}' ], b: [ '{auto().address}' ] }}
""",
        workers=1,
    )
    with weir.client() as c:
        assert c.get("/a").status == 200
        with no_descriptors(weir):
            assert c.get("/b").status == 200
            assert c.get("/a").status == 200
        weir.wait_metric("weir_upstream_connections", 1)


def test_a_pause_of_accepting_is_counted_once_however_long_it_lasts(start_weir, auto):
    weir = start_weir(
        f"routes: [ {{ to: app }} ]\npools: {{ app: [ '{auto().address}' ] }}\n", workers=1
    )
    with Client(weir.admin) as admin:

        def paused():
            for line in admin.get("/metrics", host="admin").body.decode().splitlines():
                if line.startswith("weir_accept_paused_total "):
                    return int(line.split()[1])
            raise AssertionError("no such metric")

        assert paused() == 0
        for pauses in (1, 2):
            with no_descriptors(weir):
                c = weir.client()
                wait_for(lambda: paused() == pauses, "accepting to pause")
                c.quiet_for(0.35)  # it looks again every 100 ms
                assert paused() == pauses
            assert c.get().status == 200


# ---- the end ------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=["SIGTERM", "SIGINT"])
def test_a_request_that_came_before_the_signal_is_answered(start_weir, auto, number):
    weir = start_weir(
        f"shutdown: 3s\nroutes: [ {{ to: app }} ]\npools: {{ app: [ '{auto().address}' ] }}\n"
    )
    accepted = [weir.client() for _ in range(8)]
    weir.wait_metric("weir_client_connections", 8)
    weir.signal(signal.SIGSTOP)
    waiting = [weir.client() for _ in range(100)]
    for c in accepted + waiting:
        c.send(GET)
    weir.signal(number)
    weir.signal(signal.SIGCONT)
    answered = []
    for c in accepted + waiting:
        got = c.expect_ended()
        answered.append(got.startswith(b"HTTP/1.1 200 OK\r\n") and got.endswith(b"ok"))
    assert all(answered), answered
    assert weir.wait() == 0
