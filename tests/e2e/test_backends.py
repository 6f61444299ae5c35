# SPDX-License-Identifier: Apache-2.0
"""hello and world, byte by byte over raw sockets: every path, every fault knob, every flag.

Self-contained, so that a fault in weir or in another test's tools can't hide one here. HELLO and
WORLD name the programs (default build/hello, build/world). Ports are the kernel's choice; a server
belongs to the test process that started it and is ended by it.
"""
import contextlib
import json
import os
import pathlib
import re
import select
import signal
import socket
import struct
import subprocess
import threading
import time

import pytest

import peers

ROOT = pathlib.Path(__file__).resolve().parents[2]
HELLO = os.environ.get("HELLO", str(ROOT / "build/hello"))
WORLD = os.environ.get("WORLD", str(ROOT / "build/world"))
PATIENCE = 30  # seconds until a test that waits for the server gives up
MIB = 1 << 20
PATTERN = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz012345678"
DATE = re.compile(rb"Date: [A-Z][a-z]{2}, \d\d [A-Z][a-z]{2} \d{4} \d\d:\d\d:\d\d GMT\r\n")
HOST = b"Host: x\r\n"


def has_v6():
    """Whether this machine has ::1: a container often has not."""
    try:
        with socket.socket(socket.AF_INET6) as s:
            s.bind(("::1", 0))
        return True
    except OSError:
        return False


def pattern(n):
    return (PATTERN * (n // len(PATTERN) + 1))[:n]


def undated(data):
    """The bytes with each Date field, whose form is checked, cut out."""
    return DATE.sub(b"", data)


def ok(body=b"Hello, World!", *fields, type=b"text/plain"):
    """A 200 of known length as the backends send it, but for Date."""
    return head(b"200 OK", b"Content-Type: " + type, b"Content-Length: %d" % len(body), *fields) + body


def chunked(body, *fields):
    return head(b"200 OK", b"Content-Type: text/plain", b"Transfer-Encoding: chunked", *fields) + body


def head(status, *fields):
    return b"\r\n".join([b"HTTP/1.1 " + status, *fields, b"", b""])


def get(target=b"/", *fields, method=b"GET", version=b"1.1"):
    lines = [method + b" " + target + b" HTTP/" + version, b"Host: x", *fields, b"", b""]
    return b"\r\n".join(lines)


def post(target, body, *fields):
    return get(target, b"Content-Length: %d" % len(body), *fields, method=b"POST") + body


class Client:
    """A raw client conn."""

    def __init__(self, address):
        if isinstance(address, str):
            self.sock = socket.socket(socket.AF_UNIX)
            self.sock.settimeout(PATIENCE)
            self.sock.connect(address)
        else:
            self.sock = socket.create_connection(address, PATIENCE)
            self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.sock.close()

    def send(self, data):
        self.sock.sendall(data)

    def exactly(self, n):
        data = bytearray()
        while len(data) < n:
            piece = self.sock.recv(min(n - len(data), MIB))
            assert piece, f"closed after {bytes(data)!r}, expected {n} bytes"
            data += piece
        return bytes(data)

    def until(self, mark):
        data = b""
        while mark not in data:
            piece = self.sock.recv(1)
            assert piece, f"closed after {data!r}, expected {mark!r}"
            data += piece
        return data

    def to_eof(self):
        data = bytearray()
        while piece := self.sock.recv(MIB):
            data += piece
        return bytes(data)

    def to_reset(self):
        """Everything up to an RST; an orderly end fails."""
        data = b""
        with pytest.raises(ConnectionResetError):
            while piece := self.sock.recv(MIB):
                data += piece
            raise AssertionError(f"closed without a reset after {data!r}")
        return data

    def response(self, no_body=False):
        """One response of known length, without its Date."""
        got = self.until(b"\r\n\r\n")
        length = re.search(rb"Content-Length: (\d+)\r\n", got)
        if length and not no_body:
            got += self.exactly(int(length[1]))
        return undated(got)

    def ask(self, data, **kw):
        self.send(data)
        return self.response(**kw)

    def silent(self, seconds):
        """True if neither a byte nor an end comes for so long."""
        return not select.select([self.sock], [], [], seconds)[0]


def stats_of(c):
    return json.loads(c.ask(get(b"/stats")).split(b"\r\n\r\n", 1)[1])


class Server:
    """A running backend. Its ready file says when and where it listens."""

    def __init__(self, tmp, *args, program=HELLO):
        self.ready_file = tmp / "ready.json"
        self.process = subprocess.Popen(
            [program, "--listen", "127.0.0.1:0", "--ready-file", str(self.ready_file), *args],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        deadline = time.monotonic() + PATIENCE
        while not self.ready_file.exists():
            if self.process.poll() is not None or time.monotonic() > deadline:
                raise AssertionError(self.end()[1].decode())
            time.sleep(0.002)  # a rename can't be waited for without inotify
        self.ready = json.loads(self.ready_file.read_text())
        where = self.ready["listen"]
        if where.startswith("unix:"):
            self.address = where[5:]
        else:
            host, port = where.rsplit(":", 1)
            self.address = (host.strip("[]"), int(port))

    def connect(self):
        return Client(self.address)

    def ask(self, data, **kw):
        with self.connect() as c:
            return c.ask(data, **kw)

    def stats(self):
        with self.connect() as c:
            return stats_of(c)

    def memory(self, key="VmHWM"):
        """Bytes; VmHWM is the most that ever was resident."""
        status = pathlib.Path(f"/proc/{self.process.pid}/status").read_text()
        return int(re.search(rf"{key}:\s+(\d+) kB", status)[1]) * 1024

    def kill(self):
        """Its port stays ours: a weir that still tries it must not find another test's server."""
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
            peers.keep(self.address)

    def end(self, sig=signal.SIGTERM):
        """Ends it; its exit status and what it said on stderr."""
        if self.process.poll() is None:
            self.process.send_signal(sig)
        err = self.process.communicate(timeout=PATIENCE)[1]
        return self.process.returncode, err


@contextlib.contextmanager
def serving(tmp, *args, **kw):
    s = Server(tmp, *args, **kw)
    try:
        yield s
    finally:
        status, err = s.end()
        assert status == 0, err.decode()


@pytest.fixture(scope="module")
def hello(tmp_path_factory):
    with serving(tmp_path_factory.mktemp("hello")) as s:
        yield s


@pytest.fixture
def start(tmp_path):
    """Starts servers of one test with flags of its own."""
    with contextlib.ExitStack() as stack:
        count = iter(range(100))

        def go(*args, **kw):
            tmp = tmp_path / str(next(count))
            tmp.mkdir()
            return stack.enter_context(serving(tmp, *args, **kw))

        yield go


@pytest.fixture
def conn(hello):
    with hello.connect() as c:
        yield c


def run(*args, program=HELLO):
    return subprocess.run([program, *args], capture_output=True, text=True, timeout=PATIENCE)


# --- the usual answer, paths and methods ---------------------------------------------------------


def test_any_path_gets_hello_world(conn):
    for target in [b"/", b"/a/b?c=d", b"/%2f..//", b"http://x/y", b"/healthz/x", b"/echoes"]:
        assert conn.ask(get(target)) == ok()


def test_world_answers_the_same(start):
    assert start(program=WORLD).ask(get()) == ok()


def test_healthz_is_ok(conn):
    assert conn.ask(get(b"/healthz")) == ok(b"ok")


def test_head_has_the_length_but_no_body(conn):
    want = ok()[: -len(b"Hello, World!")]
    assert conn.ask(get(method=b"HEAD"), no_body=True) == want
    assert conn.ask(get(b"/bytes/5", method=b"HEAD"), no_body=True) == want.replace(b" 13", b" 5")
    assert conn.ask(get(b"/?fault-chunk-size=3", method=b"HEAD")) == chunked(b"")
    assert conn.ask(get()) == ok()


def test_date_moves_on(conn):
    """The ready-made answer must not keep its first second."""
    dates = set()
    deadline = time.monotonic() + PATIENCE
    while len(dates) < 2 and time.monotonic() < deadline:
        conn.send(get())
        dates.add(DATE.search(conn.until(b"World!"))[0])
    assert len(dates) == 2


def test_connection_close_is_honoured(conn):
    conn.send(get(b"/", b"Connection: close"))
    assert undated(conn.to_eof()) == ok(b"Hello, World!", b"Connection: close")


def test_http10_closes_by_default(conn):
    conn.send(get(version=b"1.0"))
    assert undated(conn.to_eof()) == ok(b"Hello, World!", b"Connection: close")


def test_http10_keep_alive_stays(conn):
    for _ in range(2):
        got = conn.ask(get(b"/", b"Connection: keep-alive", version=b"1.0"))
        assert got == ok(b"Hello, World!", b"Connection: keep-alive")


def test_http10_gets_no_chunks(conn):
    conn.send(get(b"/?fault-chunk-size=3", b"Connection: keep-alive", version=b"1.0"))
    want = head(b"200 OK", b"Content-Type: text/plain", b"Connection: close") + b"Hello, World!"
    assert undated(conn.to_eof()) == want


def test_pipelined_requests_are_answered_in_order(conn):
    conn.send(get(b"/bytes/3") + get() + post(b"/echo", b"abc") + get(b"/healthz"))
    got = b"".join(conn.response() for _ in range(4))
    echo = ok(b"abc", type=b"application/octet-stream")
    assert got == ok(b"ABC") + ok() + echo + ok(b"ok")


def test_delayed_answer_holds_back_the_pipeline(conn):
    conn.send(get(b"/bytes/1?fault-delay=50") + get(b"/bytes/2"))
    assert conn.response() + conn.response() == ok(b"A") + ok(b"AB")


def test_deep_pipeline_is_answered_whole(conn):
    """More answers than the output holds, from a client that only then starts to read."""
    n = 20000
    sender = threading.Thread(target=conn.send, args=(get() * n + get(b"/", b"Connection: close"),))
    sender.start()
    got = undated(conn.to_eof())
    sender.join()
    assert got == ok() * n + ok(b"Hello, World!", b"Connection: close")


def test_pipeline_before_a_half_close_is_answered(conn):
    conn.send(get() + get(b"/?fault-delay=30") + get())
    conn.sock.shutdown(socket.SHUT_WR)
    assert undated(conn.to_eof()) == ok() * 3


MESSAGES = {
    "get": (get(b"/echo", b"A:  b"), ok(get(b"/echo", b"A:  b"))),
    "post": (post(b"/echo", b"abcdef"), ok(b"abcdef", type=b"application/octet-stream")),
    "knob": (get(b"/", b"X-Fault-Body-Size: 3"), ok(b"ABC")),
    "sink": (
        get(b"/sink", b"Transfer-Encoding: chunked", method=b"PUT") + b"3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n",
        ok(b"5"),
    ),
}


@pytest.mark.parametrize("message", MESSAGES)
def test_a_request_may_come_in_any_two_pieces(conn, message):
    """One conn for all splits, and the end of the message shows that the next starts clean."""
    request, want = MESSAGES[message]
    for at in range(1, len(request)):
        conn.send(request[:at])
        conn.silent(0.0005)  # mostly enough for it to be read alone; an echo begins to answer
        assert conn.ask(request[at:]) == want, at


@pytest.mark.parametrize("message", MESSAGES)
def test_a_request_may_come_byte_by_byte(conn, message):
    request, want = MESSAGES[message]
    for i in range(len(request)):
        conn.send(request[i : i + 1])
    assert conn.response() == want


def test_malformed_request_is_400_and_closes(conn):
    conn.send(b"GET / HTTP/1.1\r\nBad Name: x\r\n\r\n" + get())
    got = undated(conn.to_eof())
    assert got.startswith(b"HTTP/1.1 400 Bad Request\r\n") and b"Connection: close\r\n" in got
    assert got.count(b"HTTP/1.1") == 1


def test_other_versions_are_505(conn):
    conn.send(get(version=b"2.0"))
    assert conn.to_eof().startswith(b"HTTP/1.1 505 HTTP Version Not Supported\r\n")


def test_connect_is_405(conn):
    conn.send(get(b"x:443", method=b"CONNECT"))
    assert conn.to_eof().startswith(b"HTTP/1.1 405 Method Not Allowed\r\n")


def test_head_over_64_kib_is_431(conn):
    conn.send(b"GET / HTTP/1.1\r\nA: " + b"a" * (1 << 16))
    assert conn.to_eof().startswith(b"HTTP/1.1 431 Request Header Fields Too Large\r\n")


def test_head_of_60_kib_is_fine(conn):
    request = get(b"/echo", b"A: " + b"a" * (60 << 10))
    assert conn.ask(request) == ok(request)


# --- /echo, /sink, /bytes, /stats ----------------------------------------------------------------


def test_echo_of_a_get_is_its_head_as_it_came(conn):
    request = b"GET /echo/p?q=%20 HTTP/1.1\r\nhOST: x\r\nB:\t 2 \r\nA: 1\r\nB: 3\r\nE:\r\n\r\n"
    assert conn.ask(request) == ok(request)


def test_echo_dump_goes_on_with_the_body(conn):
    request = get(b"/echo", b"Content-Length: 3", method=b"DELETE") + b"abc"
    assert conn.ask(request) == ok(request)


def test_echo_leaves_out_empty_lines_before_the_request(conn):
    assert conn.ask(b"\r\n\r\n" + get(b"/echo")) == ok(get(b"/echo"))


def test_echo_of_a_post_keeps_length_and_type(conn):
    got = conn.ask(post(b"/echo", b"a\0b", b"Content-Type: image/x; y=z"))
    assert got == ok(b"a\0b", type=b"image/x; y=z")


def test_echo_of_an_empty_post(conn):
    assert conn.ask(post(b"/echo", b"")) == ok(b"", type=b"application/octet-stream")


def test_echo_of_chunks_is_chunked_with_the_trailers(conn):
    body = b"3;ext=1\r\nabc\r\n1\r\nd\r\n0\r\nX-Sum: 1 2\r\nb:\r\n\r\n"
    conn.send(get(b"/echo", b"Transfer-Encoding: chunked", b"Content-Type: a/b", method=b"PUT") + body)
    got = undated(conn.until(b"0\r\nX-Sum: 1 2\r\nb: \r\n\r\n"))
    start = head(b"200 OK", b"Content-Type: a/b", b"Transfer-Encoding: chunked")
    assert got == start + b"3\r\nabc\r\n1\r\nd\r\n0\r\nX-Sum: 1 2\r\nb: \r\n\r\n"
    assert conn.ask(get()) == ok()


def test_echo_streams_before_the_request_has_ended(conn):
    conn.send(get(b"/echo", b"Content-Length: 6", method=b"POST") + b"abc")
    assert conn.until(b"abc").endswith(b"\r\n\r\nabc")
    conn.send(b"def")
    assert conn.exactly(3) == b"def"


def test_echo_to_http10_with_chunk_like_framing_is_close_delimited(conn):
    conn.send(get(b"/echo", b"Content-Length: 3", method=b"POST", version=b"1.0") + b"abc")
    want = ok(b"abc", b"Connection: close", type=b"application/octet-stream")
    assert undated(conn.to_eof()) == want


def test_echo_of_64_mib_to_a_slow_reader_needs_bounded_memory(start):
    """The server must stop reading when its output isn't taken."""
    s = start()
    size, piece = 64 * MIB, pattern(61 * 1024)
    before = s.memory()
    with s.connect() as c:
        c.send(get(b"/echo", b"Content-Length: %d" % size, method=b"POST"))
        c.until(b"\r\n\r\n")
        c.sock.setblocking(False)
        sent = got = 0
        while got < size:
            # While writing makes progress, read nothing; then take one bite.
            readable, writable, _ = select.select([c.sock], [c.sock] if sent < size else [], [], PATIENCE)
            if writable:
                at = sent % len(piece)
                sent += c.sock.send(piece[at : at + size - sent])
            elif readable:
                data = c.sock.recv(256 << 10)
                at = got % 61
                assert data == (pattern(61) * (len(data) // 61 + 2))[at : at + len(data)]
                got += len(data)
        assert sent == got == size
    assert s.memory() - before < 8 * MIB


def test_sink_of_256_mib_counts_and_needs_bounded_memory(start):
    s = start()
    size, piece = 256 * MIB, bytes(MIB)
    before = s.memory()
    with s.connect() as c:
        c.send(get(b"/sink", b"Content-Length: %d" % size, method=b"PUT"))
        for _ in range(size // len(piece)):
            c.send(piece)
        assert c.response() == ok(b"%d" % size)
    assert s.stats()["body_bytes_in"] == size
    assert s.memory() - before < 8 * MIB


def test_bytes_of_256_mib_need_bounded_memory(start):
    s = start()
    size, got = 256 * MIB, 0
    want = pattern(2 * MIB)
    before = s.memory()
    with s.connect() as c:
        c.send(get(b"/bytes/%d" % size))
        assert undated(c.until(b"\r\n\r\n")).endswith(b"Content-Length: %d\r\n\r\n" % size)
        while got < size:
            data = c.sock.recv(MIB)
            at = got % 61
            assert data == want[at : at + len(data)]
            got += len(data)
        assert c.ask(get()) == ok()
    assert s.memory() - before < 8 * MIB


def test_one_long_download_does_not_starve_the_others(hello):
    with hello.connect() as long, hello.connect() as short:
        long.send(get(b"/bytes/%d" % (1 << 40)))
        reader = threading.Thread(target=drain, args=(long.sock,))
        reader.start()
        for _ in range(20):
            assert short.ask(get()) == ok()
        long.sock.shutdown(socket.SHUT_RDWR)
        reader.join()


def drain(sock):
    with contextlib.suppress(OSError):
        while sock.recv(MIB):
            pass


def test_bytes_wants_a_number(conn):
    assert conn.ask(get(b"/bytes/x")).startswith(b"HTTP/1.1 400 Bad Request\r\n")
    assert conn.ask(get(b"/bytes/")).startswith(b"HTTP/1.1 400 Bad Request\r\n")
    assert conn.ask(get(b"/bytes/0")) == ok(b"")


def test_expect_100_continue_is_answered_before_the_body(conn):
    fields = [b"Content-Length: 3", b"Expect: 100-continue"]
    for target, want in [(b"/sink", ok(b"3")), (b"/", ok())]:
        conn.send(get(target, *fields, method=b"POST"))
        assert conn.until(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
        assert conn.silent(0.01)
        assert conn.ask(b"abc") == want


def test_stats_count_requests_conns_and_statuses(start):
    s = start()
    with s.connect() as c:
        c.ask(get())
        c.ask(get(b"/?fault-status=503"))
        c.ask(post(b"/sink", b"abcd"))
        s.ask(get(b"/x?fault-nope"))
        got = s.stats()
    assert got == {
        "connections": 3,
        "open": 2,
        "requests": 4,
        "reused": 2,
        "aborted": 0,
        "body_bytes_in": 4,
        "responses": {"200": 2, "400": 1, "503": 1},
    }


def test_stats_count_a_peer_that_leaves_too_early(start):
    """However closely the RST follows the request: libuv may report it as an orderly end."""
    s = start()
    for _ in range(20):
        with s.connect() as c:
            c.ask(get())
            c.send(get(b"/", b"X-Fault-Delay: 60000"))
            c.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    with s.connect() as c:
        c.send(get()[:-2])
    with s.connect() as c:
        c.ask(get())
    deadline = time.monotonic() + PATIENCE
    with s.connect() as c:
        while (got := stats_of(c))["open"] > 1 and time.monotonic() < deadline:
            pass
    assert (got["aborted"], got["open"]) == (21, 1)


# --- fault knobs ---------------------------------------------------------------------------------


def knob(name, value=b""):
    return get(b"/", b"X-Fault-%s: %s" % (name, value))


@pytest.mark.parametrize("way", ["field", "query", "flag"])
def test_a_knob_is_a_field_a_parameter_and_a_flag(start, way):
    s = start(*(["--fault-body-size", "3"] if way == "flag" else []))
    request = {
        "field": get(b"/", b"x-FAULT-Body-size:\t3 "),
        "query": get(b"/?a=b&fault-body-size=3&c"),
        "flag": get(),
    }[way]
    assert s.ask(request) == ok(b"ABC")


def test_field_wins_over_parameter_and_that_over_flag(start):
    s = start("--fault-body-size=1", "--fault-status=404")
    not_found = ok(b"A").replace(b"200 OK", b"404 Not Found")
    with s.connect() as c:
        assert c.ask(get()) == not_found
        assert c.ask(get(b"/?fault-body-size=2")) == not_found.replace(b"1\r\n\r\nA", b"2\r\n\r\nAB")
        got = c.ask(get(b"/?fault-body-size=2&fault-status=200", b"X-Fault-Body-Size: 3"))
        assert got == ok(b"ABC")
        assert c.ask(get()) == not_found


def test_a_flag_knob_can_be_turned_off_again(start):
    s = start("--fault-no-length", "--fault-early=0")
    with s.connect() as c:
        assert c.ask(get(b"/", b"X-Fault-No-Length: 0")) == ok()
        c.send(get())
        assert b"Content-Length" not in c.to_eof()


def test_a_wrong_knob_is_400_and_named(conn):
    for name, value, why in [
        (b"Nope", b"1", b"no such knob, see --help"),
        (b"Delay", b"1s", b"expected a decimal number"),
        (b"Delay", b"", b"expected a decimal number"),
        (b"Status", b"99", b"number out of range"),
        (b"Body-Size", b"99999999999999999999", b"expected a decimal number"),
        (b"Reset", b"later", b"expected before-head, in-head or a number of body bytes"),
        (b"Early", b"yes", b"expected 1, 0 or nothing"),
        (b"Info", b"101", b"expected statuses of 100..199 but 101, split by commas"),
        (b"Info", b"100,100,100,100,100", b"at most 4 statuses"),
        (b"Fields", b"x", b"expected `Name: value`"),
        (b"Fields", b"x:" + b"y" * 254, b"at most 255 bytes"),
    ]:
        want = ok(b"X-Fault-%s: %s\n" % (name, why)).replace(b"200 OK", b"400 Bad Request")
        assert conn.ask(knob(name, value)) == want
    got = conn.ask(get(b"/?fault-fields=a:%0d%0ab"))
    assert got.endswith(b"fault-fields: control bytes are not allowed\n")


def test_delay_comes_before_the_head(conn):
    began = time.monotonic()
    assert conn.ask(knob(b"Delay", b"80")) == ok()
    assert time.monotonic() - began >= 0.078  # its clock has whole milliseconds


def test_status(conn):
    for code, phrase in [(201, b"Created"), (404, b"Not Found"), (503, b"Service Unavailable")]:
        want = ok().replace(b"200 OK", b"%d %s" % (code, phrase))
        assert conn.ask(knob(b"Status", b"%d" % code)) == want


def test_status_without_body(conn):
    for code, phrase in [(204, b"No Content"), (304, b"Not Modified")]:
        got = conn.ask(knob(b"Status", b"%d" % code))
        assert got == head(b"%d %s" % (code, phrase), b"Content-Type: text/plain")
    assert conn.ask(get()) == ok()


def test_body_size(conn):
    for n in [0, 1, 61, 200_000]:
        assert conn.ask(knob(b"Body-Size", b"%d" % n)) == ok(pattern(n))


def test_chunk_size(conn):
    conn.send(knob(b"Chunk-Size", b"5"))
    want = chunked(b"5\r\nHello\r\n5\r\n, Wor\r\n3\r\nld!\r\n0\r\n\r\n")
    assert undated(conn.until(b"\r\n0\r\n\r\n")) == want
    assert conn.ask(get()) == ok()


def test_chunks_over_the_piece_size(conn):
    conn.send(get(b"/bytes/250000?fault-chunk-size=100000"))
    data = pattern(250_000)
    want = chunked(
        b"186a0\r\n%s\r\n186a0\r\n%s\r\nc350\r\n%s\r\n0\r\n\r\n"
        % (data[:100_000], data[100_000:200_000], data[200_000:])
    )
    assert undated(conn.until(b"\r\n\r\n") + conn.exactly(len(want) - len(chunked(b"")))) == want


def test_slow_body_comes_byte_by_byte(conn):
    pace = Pace(0.02)
    conn.send(get(b"/bytes/5", b"X-Fault-Slow: 20"))
    assert undated(conn.until(b"A")) == ok(b"AAAAA")[:-4]
    for byte in b"BCDE":
        assert conn.exactly(1) == bytes([byte])
        pace.step()
    assert conn.ask(get()) == ok()


class Pace:
    """What comes in steps does not come before its time. It may come late, and be read later: that
    nothing was there a moment after a step is nothing that a test can know."""

    def __init__(self, seconds):
        self.seconds, self.began, self.steps = seconds, time.monotonic(), 0

    def step(self):
        self.steps += 1
        assert time.monotonic() - self.began >= self.steps * self.seconds * 0.9


def test_slow_body_in_pieces_and_chunks(conn):
    pace = Pace(0.05)
    conn.send(get(b"/bytes/5", b"X-Fault-Slow: 50", b"X-Fault-Slow-Bytes: 3"))
    assert undated(conn.until(b"ABC")).endswith(b"\r\n\r\nABC")
    assert conn.exactly(2) == b"DE"
    pace.step()
    pace = Pace(0.05)
    conn.send(get(b"/bytes/5", b"X-Fault-Slow: 50", b"X-Fault-Chunk-Size: 4"))
    assert undated(conn.until(b"ABCD\r\n")) == chunked(b"4\r\nABCD\r\n")
    assert conn.exactly(11) == b"1\r\nE\r\n0\r\n\r\n"
    pace.step()


WHERE = {
    b"before-head": b"",
    b"in-head": None,
    b"0": ok()[: -len(b"Hello, World!")],
    b"5": ok()[: -len(b", World!")],
    b"13": ok(),
    b"99": ok(),
}


def up_to_cut(where, got):
    if where == b"in-head":
        assert got.startswith(b"HTTP/1.1 200 OK\r\n") and b"\r\n\r\n" not in got
    else:
        assert undated(got) == WHERE[where]


@pytest.mark.parametrize("where", WHERE)
def test_reset(conn, where):
    conn.send(knob(b"Reset", where))
    up_to_cut(where, conn.to_reset())


@pytest.mark.parametrize("where", WHERE)
def test_close(conn, where):
    conn.send(knob(b"Close", where))
    up_to_cut(where, conn.to_eof())


@pytest.mark.parametrize("where", WHERE)
def test_stall(conn, where):
    conn.send(knob(b"Stall", where))
    if where == b"in-head":
        got = conn.until(b"Date: ")
    else:
        got = conn.exactly(len(WHERE[where]) + (37 if WHERE[where] else 0))
        up_to_cut(where, got)
    conn.send(get() * 1000)  # is read, so that the peer notices nothing, and ignored
    got = b""
    while not conn.silent(0.05):
        got += conn.sock.recv(MIB)
        assert got, "closed"
    assert b"HTTP" not in got


def test_reset_in_a_long_body_delivers_what_was_promised(conn):
    conn.send(get(b"/bytes/10000000?fault-reset=5000001"))
    got = undated(conn.to_reset())
    body = got.split(b"\r\n\r\n", 1)[1]
    assert body == pattern(5_000_001)


def test_cut_of_a_chunked_body_counts_content_only(conn):
    conn.send(get(b"/", b"X-Fault-Chunk-Size: 5", b"X-Fault-Close: 7"))
    assert undated(conn.to_eof()) == chunked(b"5\r\nHello\r\n5\r\n, ")


def test_cut_behind_all_chunks_leaves_out_the_last(conn):
    conn.send(get(b"/", b"X-Fault-Chunk-Size: 50", b"X-Fault-Reset: 50"))
    assert undated(conn.to_reset()) == chunked(b"d\r\nHello, World!\r\n")


def test_cut_of_an_echo_counts_echoed_bytes(conn):
    conn.send(post(b"/echo", b"abcdef", b"X-Fault-Close: 4"))
    assert undated(conn.to_eof()).endswith(b"Content-Length: 6\r\n\r\nabcd")


def test_reset_wins_over_close_and_that_over_stall(hello):
    both = [b"X-Fault-Stall: in-head", b"X-Fault-Close: before-head"]
    with hello.connect() as c:
        c.send(get(b"/", *both))
        assert c.to_eof() == b""
    with hello.connect() as c:
        c.send(get(b"/", *both, b"X-Fault-Reset: 2"))
        assert c.to_reset().endswith(b"\r\n\r\nHe")


def test_close_after_n_requests(conn):
    request = get(b"/", b"X-Fault-Close-After: 3")
    conn.send(request * 5)
    assert undated(conn.to_eof()) == ok() * 3


def test_close_after_a_response_without_more_input_is_a_plain_close(conn):
    """As servers do: a proxy's next request on that conn meets an RST."""
    conn.send(get(b"/", b"X-Fault-Close-After: 1"))
    assert undated(conn.to_eof()) == ok()
    deadline = time.monotonic() + PATIENCE
    with pytest.raises((ConnectionResetError, BrokenPipeError)):
        while time.monotonic() < deadline:
            conn.send(get())
            if conn.sock.recv(1) == b"":
                select.select([], [], [], 0.001)


def test_idle_conn_is_closed(conn):
    assert conn.ask(get(b"/", b"X-Fault-Idle: 2000")) == ok()
    assert conn.silent(0.5)
    began = time.monotonic()
    assert conn.ask(get()) == ok()  # it counts from the last request
    assert conn.to_eof() == b""
    assert time.monotonic() - began >= 1.8


def test_idle_flag_counts_from_accept(start):
    with start("--fault-idle", "30").connect() as c:
        assert c.to_eof() == b""


def test_connection_close(conn):
    conn.send(knob(b"Connection-Close") * 2)
    assert undated(conn.to_eof()) == ok(b"Hello, World!", b"Connection: close")


def test_no_length(conn):
    conn.send(knob(b"No-Length", b"1"))
    want = head(b"200 OK", b"Content-Type: text/plain", b"Connection: close") + b"Hello, World!"
    assert undated(conn.to_eof()) == want


def test_http10_answer(conn):
    conn.send(get(b"/?fault-http10&fault-chunk-size=3"))
    want = b"HTTP/1.0 200 OK\r\nContent-Type: text/plain\r\n\r\nHello, World!"
    assert undated(conn.to_eof()) == want


def test_trailers(conn):
    conn.send(knob(b"Trailers", b"X-Sum: 1,2 | b:"))
    want = chunked(b"d\r\nHello, World!\r\n0\r\nX-Sum: 1,2\r\nb:\r\n\r\n")
    assert undated(conn.until(b"b:\r\n\r\n")) == want


def test_trailers_through_a_parameter(conn):
    conn.send(get(b"/?fault-trailers=X-Sum:+%41%7cb:2"))
    assert undated(conn.until(b"b:2\r\n\r\n")).endswith(b"\r\n0\r\nX-Sum: A\r\nb:2\r\n\r\n")


def test_fields(conn):
    assert conn.ask(knob(b"Fields", b"Set-Cookie: a=b|Keep-Alive: timeout=5")) == ok(
        b"Hello, World!", b"Set-Cookie: a=b", b"Keep-Alive: timeout=5"
    )


def test_interim_responses(conn):
    conn.send(knob(b"Info", b"100, 103,102"))
    want = (
        b"HTTP/1.1 100 Continue\r\n\r\n"
        b"HTTP/1.1 103 Early Hints\r\nLink: </style.css>; rel=preload; as=style\r\n\r\n"
        b"HTTP/1.1 102 Processing\r\n\r\n" + ok()
    )
    assert undated(conn.until(b"World!")) == want


def test_early_answer_comes_before_the_body(conn):
    fields = [b"Content-Length: 100000", b"Expect: 100-continue", b"X-Fault-Early:"]
    assert conn.ask(get(b"/", *fields, method=b"POST")) == ok()
    conn.send(bytes(100_000))  # is read and thrown away
    assert conn.ask(get()) == ok()


def test_early_answer_to_one_who_sends_all_before_reading(conn):
    """Neither side may wait for the other: the body is read while the answer isn't."""
    size = 32 * MIB
    conn.send(get(b"/bytes/%d" % size, b"Content-Length: %d" % size, b"X-Fault-Early: 1", method=b"PUT"))
    conn.send(bytes(size))
    assert undated(conn.until(b"\r\n\r\n")).endswith(b"Content-Length: %d\r\n\r\n" % size)
    assert conn.exactly(size) == pattern(size)
    assert conn.ask(get()) == ok()


def test_early_answer_and_close_reach_one_who_still_sends(conn):
    fields = [b"Content-Length: 1000000", b"X-Fault-Early: 1", b"X-Fault-Connection-Close: 1"]
    conn.send(get(b"/", *fields, method=b"POST"))
    conn.send(bytes(500_000))
    assert undated(conn.to_eof()) == ok(b"Hello, World!", b"Connection: close")


def test_fault_every_nth(start):
    with start("--fault-status", "500", "--fault-every", "3").connect() as c:
        got = [c.ask(get()).split(b" ")[1] for _ in range(7)]
    assert got == [b"200", b"200", b"500", b"200", b"200", b"500", b"200"]


def test_accept_stall(start):
    with start("--fault-accept", "stall").connect() as c:
        c.send(get())
        assert c.silent(0.05)


def test_accept_close(start):
    with start("--fault-accept", "close").connect() as c:
        assert c.to_eof() == b""


def test_accept_reset(start):
    s = start("--fault-accept", "reset")
    with socket.socket() as sock:
        sock.settimeout(PATIENCE)
        with pytest.raises(ConnectionResetError):
            sock.connect(s.address)
            sock.recv(1)


# --- upgrades ------------------------------------------------------------------------------------

ECHO = get(b"/", b"Connection: Upgrade", b"Upgrade: echo")
ECHO_HEAD = head(b"101 Switching Protocols", b"Connection: Upgrade", b"Upgrade: echo")
WEBSOCKET = get(
    b"/",
    b"Connection: keep-alive, Upgrade",
    b"Upgrade: websocket",
    b"Sec-WebSocket-Version: 13",
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
)
WEBSOCKET_HEAD = head(
    b"101 Switching Protocols",
    b"Connection: Upgrade",
    b"Upgrade: websocket",
    b"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=",  # RFC 6455 section 1.3
)


def frame(opcode, payload, fin=True, mask=b"\x37\xfa\x21\x3d"):
    """A frame of a client, or with mask=None of a server."""
    n = len(payload)
    size = bytes([n]) if n < 126 else b"\x7e" + struct.pack(">H", n) if n < 1 << 16 else b"\x7f" + struct.pack(">Q", n)
    masked = 0x80 if mask else 0
    out = bytes([(0x80 if fin else 0) | opcode, size[0] | masked]) + size[1:]
    if not mask:
        return out + payload
    return out + mask + bytes(b ^ mask[i % 4] for i, b in enumerate(payload))


def test_raw_echo_after_101_with_half_close(conn):
    assert conn.ask(ECHO + b"at once") == ECHO_HEAD
    assert conn.exactly(7) == b"at once"
    conn.send(b"GET / HTTP/1.1\r\n\r\n\0\xff")
    assert conn.exactly(20) == b"GET / HTTP/1.1\r\n\r\n\0\xff"
    conn.send(b"last")
    conn.sock.shutdown(socket.SHUT_WR)
    assert conn.to_eof() == b"last"


def test_raw_echo_of_16_mib_sent_before_reading_is_held_back(start):
    s = start()
    before = s.memory()
    data = os.urandom(16 * MIB)
    with s.connect() as c:
        assert c.ask(ECHO) == ECHO_HEAD

        def send():
            c.send(data)
            c.sock.shutdown(socket.SHUT_WR)

        sender = threading.Thread(target=send)
        sender.start()
        got = c.to_eof()
        sender.join()
    assert got == data
    assert s.memory() - before < 8 * MIB


def test_raw_echo_closes_its_own_direction_only(conn):
    request = ECHO[:-2] + b"X-Fault-Close: 3\r\n\r\n"
    assert conn.ask(request) == ECHO_HEAD
    conn.send(b"abcdef")
    assert conn.to_eof() == b"abc"
    for _ in range(10):
        conn.send(bytes(100_000))  # is still read


def test_raw_echo_reset(conn):
    assert conn.ask(ECHO[:-2] + b"X-Fault-Reset: 3\r\n\r\n") == ECHO_HEAD
    conn.send(b"abcdef")
    assert conn.to_reset() == b"abc"


def test_upgrade_can_be_refused_or_ignored(conn):
    refused = ok().replace(b"200 OK", b"403 Forbidden")
    assert conn.ask(ECHO[:-2] + b"X-Fault-Status: 403\r\n\r\n") == refused
    assert conn.ask(ECHO[:-2] + b"X-Fault-No-Upgrade: 1\r\n\r\n") == ok()
    assert conn.ask(get(b"/", b"Connection: Upgrade", b"Upgrade: h2c")) == ok()
    assert conn.ask(get(b"/", b"Upgrade: echo")) == ok()  # not named by Connection
    assert conn.ask(ECHO) == ECHO_HEAD


def test_upgrade_delay_and_fields(conn):
    began = time.monotonic()
    got = conn.ask(ECHO[:-2] + b"X-Fault-Delay: 30\r\nX-Fault-Fields: A: b\r\n\r\n")
    assert got == ECHO_HEAD.replace(b"Connection:", b"A: b\r\nConnection:")
    assert time.monotonic() - began >= 0.028


def test_websocket_without_key_is_not_upgraded(conn):
    assert conn.ask(get(b"/", b"Connection: Upgrade", b"Upgrade: websocket")) == ok()


def test_websocket_echoes_messages(conn):
    assert conn.ask(WEBSOCKET) == WEBSOCKET_HEAD
    for opcode, payload in [(1, b""), (1, b"Hello"), (2, os.urandom(126)), (2, os.urandom(70_000))]:
        conn.send(frame(opcode, payload))
        want = frame(opcode, payload, mask=None)
        assert conn.exactly(len(want)) == want


def test_websocket_fragments_ping_and_pong(conn):
    assert conn.ask(WEBSOCKET) == WEBSOCKET_HEAD
    conn.send(frame(1, b"Hel", fin=False) + frame(10, b"?") + frame(9, b"!") + frame(0, b"lo"))
    want = frame(1, b"Hel", fin=False, mask=None) + frame(10, b"!", mask=None) + frame(0, b"lo", mask=None)
    assert conn.exactly(len(want)) == want


def test_websocket_byte_by_byte(conn):
    assert conn.ask(WEBSOCKET) == WEBSOCKET_HEAD
    for byte in frame(2, b"x" * 130) + frame(9, b"") + frame(1, b"abc"):
        conn.send(bytes([byte]))
    want = frame(2, b"x" * 130, mask=None) + frame(10, b"", mask=None) + frame(1, b"abc", mask=None)
    assert conn.exactly(len(want)) == want


def test_websocket_close_is_answered(conn):
    assert conn.ask(WEBSOCKET) == WEBSOCKET_HEAD
    conn.send(frame(8, b"\x03\xe8bye") + frame(1, b"too late"))
    assert conn.to_eof() == frame(8, b"\x03\xe8bye", mask=None)


@pytest.mark.parametrize(
    "bad",
    [
        frame(1, b"unmasked", mask=None),
        b"\xc1" + frame(1, b"x")[1:],  # a reserved bit
        frame(3, b"x"),  # a reserved opcode
        frame(9, b"x", fin=False),  # a fragmented control frame
        frame(9, b"x" * 126),  # a long one
    ],
)
def test_websocket_violation_is_1002(conn, bad):
    assert conn.ask(WEBSOCKET) == WEBSOCKET_HEAD
    conn.send(bad)
    assert conn.to_eof() == b"\x88\x02\x03\xea"


# --- the program ---------------------------------------------------------------------------------


def test_body_and_name(start):
    s = start("--body", "Grüße", "--name", "b1")
    assert s.ask(get()) == ok("Grüße".encode(), b"X-Backend: b1")
    assert s.ask(get(b"/healthz")) == ok(b"ok", b"X-Backend: b1")


@pytest.mark.skipif(not has_v6(), reason="this machine has no ::1")
def test_ipv6(start):
    s = start("--listen", "[::1]:0")
    assert s.address[0] == "::1" and s.ask(get()) == ok()


def test_every_address_takes_both_families(start):
    s = start("--port", "0")
    port = s.address[1]
    for host in ["127.0.0.1"] + ["::1"] * has_v6():
        with Client((host, port)) as c:
            assert c.ask(get()) == ok()


def test_unix_socket_goes_with_its_file(start, tmp_path):
    path = tmp_path / "s.sock"
    s = start("--listen", f"unix:{path}", "--workers", "2")
    assert s.ready["listen"] == f"unix:{path}"
    assert s.ask(get()) == ok()
    assert run("--listen", f"unix:{path}").returncode == 1  # somebody listens there
    assert s.ask(get()) == ok()
    s.end()
    assert not path.exists()


def test_stale_unix_socket_is_replaced(start, tmp_path):
    path = str(tmp_path / "s.sock")
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(path)
    assert start("--listen", f"unix:{path}").ask(get()) == ok()


def test_unix_socket_reset_is_a_close(start, tmp_path):
    s = start("--listen", f"unix:{tmp_path}/s.sock")
    with s.connect() as c:
        c.send(knob(b"Reset", b"5"))
        assert undated(c.to_eof()) == WHERE[b"5"]


def test_workers_share_the_port_and_the_stats(start):
    s = start("--workers", "3")
    for _ in range(50):
        assert s.ask(get()) == ok()
    got = s.stats()
    assert (got["requests"], got["connections"], got["responses"]) == (50, 51, {"200": 50})


def test_busy_port_is_named_with_what_to_do(hello):
    host, port = hello.address
    for more in [], ["--workers", "2"]:
        done = run("--listen", f"{host}:{port}", *more)
        assert done.returncode == 1
        assert f"port {port} is in use" in done.stderr and "--port" in done.stderr


def test_busy_port_of_several_workers_is_noticed(start):
    host, port = start("--workers", "2").address
    assert run("--listen", f"{host}:{port}", "--workers", "2").returncode == 1


def test_print_port(start):
    s = start("--print-port")
    assert s.process.stdout.readline() == b"%d\n" % s.address[1]


def test_ready_file_has_pid_and_address_and_goes_at_the_end(start):
    s = start()
    assert s.ready == {"pid": s.process.pid, "listen": "%s:%d" % s.address}
    s.end()
    assert list(s.ready_file.parent.iterdir()) == []


@pytest.mark.parametrize("sig", [signal.SIGTERM, signal.SIGINT])
def test_signal_ends_it_with_conns_in_every_state(start, sig):
    s = start()
    requests = [
        b"",
        get()[:-2],
        get(b"/", b"X-Fault-Delay: 60000"),
        get(b"/bytes/1000000000"),
        knob(b"Stall", b"3"),
        ECHO,
        post(b"/echo", b"")[:-4] + b"9\r\n\r\nabc",
        knob(b"Idle", b"60000"),
    ]
    with contextlib.ExitStack() as stack:
        for request in requests:
            c = stack.enter_context(s.connect())
            c.ask(get())
            c.send(request)
        status, err = s.end(sig)
    assert status == 0, err.decode()
    assert err.decode().count("\n") == 1  # the line that says where it listened


def test_with_linger_sigterm_ends_nothing_yet(start):
    s = start("--linger", "3600")
    with s.connect() as c:
        c.ask(get())
        s.process.send_signal(signal.SIGTERM)
        with pytest.raises(subprocess.TimeoutExpired):
            s.process.wait(0.2)
        c.ask(get())
        assert s.ask(get())  # a new conn
        assert s.end(signal.SIGTERM)[0] == 0


def test_linger_ends_by_itself(start):
    s = start("--linger", "1")
    begun = time.monotonic()
    assert s.end(signal.SIGTERM)[0] == 0
    assert time.monotonic() - begun >= 1


def test_sigint_does_not_linger(start):
    assert start("--linger", "3600").end(signal.SIGINT)[0] == 0


def test_wrong_options_are_usage_errors():
    for args in [
        ["--nope"],
        ["--port", "65536"],
        ["--workers", "0"],
        ["--workers", "257"],
        ["--fault-delay", "x"],
        ["--fault-every", "0"],
        ["--fault-accept", "x"],
        ["--name", "a\nb"],
        ["--body", "x" * 65537],
        ["stray"],
    ]:
        done = run(*args)
        assert done.returncode == 2 and done.stderr.startswith(("hello: ", HELLO)), args


def test_wrong_addresses_are_start_errors():
    for listen in ["", "8080", ":x", "::1:80", "127.0.0.1:65536", "unix:", "unix:" + "x" * 108]:
        done = run("--listen", listen)
        assert done.returncode == 1 and done.stderr.startswith("hello: "), listen


def test_help_and_readme_name_every_knob():
    done = run("--help")
    assert done.returncode == 0 and done.stderr == ""
    knobs = set(re.findall(r"--fault-([a-z0-9-]+)", done.stdout))
    assert len(knobs) > 20
    readme = (ROOT / "backends/README.md").read_text()
    table = readme.split("| knob |")[1].split("\n\n")[0]
    assert knobs == set(re.findall(r"^\| `([a-z0-9-]+)", table, re.M))


def test_default_ports_differ():
    assert '":8080"' in run("--help").stdout
    assert "default :8081" in run("--help", program=WORLD).stdout
