# SPDX-License-Identifier: Apache-2.0
"""hello and world over TLS and HTTP/2, with Python's ssl and the h2 library as the peer.

Self-contained but for what test_backends.py has, for the same reason.
"""
import json
import socket
import ssl
import subprocess
import time

import h2.config
import h2.connection
import h2.events
import h2.settings
import pytest

from test_backends import (HELLO, MIB, PATIENCE, WORLD, Client, get, head, ok, pattern, post, run,
                           start, undated)  # noqa: F401 (start is a fixture)

WINDOW = 256 << 10                  # what hello takes of a stream before it sends anything back


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    """(certificate, key, both in one file)"""
    folder = tmp_path_factory.mktemp("cert")
    cert, key, both = (folder / name for name in ("cert.pem", "key.pem", "both.pem"))
    subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt",
                    "ec_paramgen_curve:prime256v1", "-nodes", "-keyout", key, "-out", cert,
                    "-subj", "/CN=hello", "-addext", "subjectAltName=DNS:hello"],
                   check=True, capture_output=True, timeout=PATIENCE)
    both.write_text(cert.read_text() + key.read_text())
    return str(cert), str(key), str(both)


@pytest.fixture
def secure(start, pair):  # noqa: F811
    return start("--tls-cert", pair[0], "--tls-key", pair[1])


def context(cert, *alpn):
    made = ssl.create_default_context(cafile=cert)
    if alpn:
        made.set_alpn_protocols(list(alpn))
    return made


class TlsClient(Client):
    def __init__(self, address, cert, *alpn, session=None):
        super().__init__(address)
        self.context = session.context if session else context(cert, *alpn)
        self.sock = self.context.wrap_socket(self.sock, server_hostname="hello",
                                             suppress_ragged_eofs=False,
                                             session=session and session.sock.session)


# --- TLS ------------------------------------------------------------------------------------------


def test_requests_over_tls(secure, pair):
    with TlsClient(secure.address, pair[0]) as c:
        assert c.sock.selected_alpn_protocol() is None
        for _ in range(3):
            assert c.ask(get()) == ok()
        c.send(get(b"/bytes/3") + get() + post(b"/echo", b"abc"))
        assert c.response() + c.response() == ok(b"ABC") + ok()
        assert c.response() == ok(b"abc", type=b"application/octet-stream")


def test_world_and_one_file_for_both(start, pair):  # noqa: F811
    server = start("--tls-cert", pair[2], program=WORLD)
    with TlsClient(server.address, pair[0]) as c:
        assert c.ask(get()) == ok()


@pytest.mark.parametrize("offer, options, taken", [
    (["h2", "http/1.1"], [], "h2"), (["http/1.1", "h2"], [], "h2"), (["http/1.1"], [], "http/1.1"),
    (["h2", "http/1.1"], ["--no-h2"], "http/1.1"), ([], [], None)])
def test_alpn(start, pair, offer, options, taken):  # noqa: F811
    server = start("--tls-cert", pair[2], *options)
    with TlsClient(server.address, pair[0], *offer) as c:
        assert c.sock.selected_alpn_protocol() == taken


def test_alpn_without_a_common_protocol_is_refused(secure, pair):
    with pytest.raises(ssl.SSLError, match="(?i)no.application.protocol"):
        TlsClient(secure.address, pair[0], "spdy/3")


def test_a_session_is_resumed(secure, pair):
    with TlsClient(secure.address, pair[0]) as first:
        first.ask(get())
        assert not first.sock.session_reused
        with TlsClient(secure.address, pair[0], session=first) as second:
            assert second.ask(get()) == ok() and second.sock.session_reused


@pytest.mark.parametrize("request_, want", [
    (get(b"/", b"Connection: close"), ok(b"Hello, World!", b"Connection: close")),
    (get(b"/?fault-no-length=1"), head(b"200 OK", b"Content-Type: text/plain",
                                       b"Connection: close") + b"Hello, World!")])
def test_an_end_is_told_in_tls_too(secure, pair, request_, want):
    """A ragged end would be an SSLEOFError."""
    with TlsClient(secure.address, pair[0]) as c:
        c.send(request_)
        assert undated(c.to_eof()) == want


def test_a_large_echo_over_tls(secure, pair):
    body = pattern(5 * MIB)
    with TlsClient(secure.address, pair[0]) as c:
        c.sock.settimeout(PATIENCE)
        c.send(get(b"/echo", b"Content-Length: %d" % len(body), method=b"POST"))
        want = ok(b"", type=b"application/octet-stream").replace(b": 0", b": %d" % len(body))
        got = b""
        for at in range(0, len(body), 100000):
            c.send(body[at:at + 100000])
            if not at:
                assert undated(c.until(b"\r\n\r\n")) == want
            got += c.exactly(len(body[at:at + 100000]))
        assert got == body


def test_a_reader_that_is_behind_costs_no_memory_over_tls(secure, pair):
    with TlsClient(secure.address, pair[0]) as c:
        assert c.ask(get()) == ok()
        before = secure.memory()
        c.send(get(b"/bytes/%d" % (1 << 30)))
        c.until(b"\r\n\r\n")
        c.exactly(20 * MIB)
        assert secure.memory() - before < 64 * MIB  # of 1 GiB; a sanitizer frees late


def test_a_pipeline_larger_than_the_input_is_answered_whole_over_tls(secure, pair):
    """All of it in one go: most of it waits, decrypted or not."""
    n = 3000
    with TlsClient(secure.address, pair[0]) as c:
        c.send(get(b"/bytes/1000") * n)
        for _ in range(n):
            assert c.response() == ok(pattern(1000))


def test_a_client_hello_in_single_bytes(secure, pair):
    into, out = ssl.MemoryBIO(), ssl.MemoryBIO()
    tls = context(pair[0]).wrap_bio(into, out, server_hostname="hello")
    with secure.connect() as c:
        while True:
            try:
                tls.do_handshake()
                break
            except ssl.SSLWantReadError:
                for byte in out.read():
                    c.send(bytes([byte]))
                into.write(c.sock.recv(65536))
        tls.write(get())
        c.send(out.read())
        got = b""
        while b"World!" not in got:
            try:
                got += tls.read()
            except ssl.SSLWantReadError:
                into.write(c.sock.recv(65536))
        assert undated(got) == ok()


def test_what_is_no_tls_gets_an_alert_and_the_end(secure):
    with secure.connect() as c:
        c.send(b"\x16\x03\x01\0\5hello")
        assert c.to_eof()[:1] == b"\x15"  # an alert record


def test_a_reset_over_tls_is_a_reset(secure, pair):
    with TlsClient(secure.address, pair[0]) as c:
        c.send(get(b"/?fault-reset=5"))
        with pytest.raises((ConnectionResetError, ssl.SSLError)):
            while c.sock.recv(MIB):
                pass
            raise AssertionError("an orderly end")


def test_an_upgrade_over_tls(secure, pair):
    with TlsClient(secure.address, pair[0]) as c:
        c.send(get(b"/", b"Connection: upgrade", b"Upgrade: echo"))
        assert c.until(b"\r\n\r\n").startswith(b"HTTP/1.1 101 ")
        c.send(b"abc")
        assert c.exactly(3) == b"abc"


@pytest.mark.parametrize("options, words", [
    (["--tls-cert", "/nowhere.pem"], "/nowhere.pem: "),
    (["--tls-key", "/nowhere.pem"], "--tls-key '/nowhere.pem': there is no --tls-cert")])
def test_what_is_wrong_with_a_certificate_is_told(options, words):
    done = run("--listen", "127.0.0.1:0", *options)
    assert done.returncode in (1, 2) and words in done.stderr and done.stdout == ""


def test_a_key_of_another_certificate_is_told(pair, tmp_path):
    other = tmp_path / "other.pem"
    subprocess.run(["openssl", "ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", other],
                   check=True, timeout=PATIENCE)
    done = run("--listen", "127.0.0.1:0", "--tls-cert", pair[0], "--tls-key", str(other))
    assert done.returncode == 1 and done.stderr == f"hello: {other}: key values mismatch\n"


# --- HTTP/2 ---------------------------------------------------------------------------------------


class Answer:
    def __init__(self):
        self.head, self.body, self.trailers = None, b"", None
        self.interim, self.ended, self.error = [], False, None

    def fields(self):
        """Without the date, whose form is checked."""
        found = dict(self.head)
        assert found.pop("date").endswith(" GMT")
        return found


class H2:
    """A client of HTTP/2. What comes is taken into the answers, stream by stream."""

    def __init__(self, client, window=None, ack=True):
        self.client, self.sock, self.ack = client, client.sock, ack
        self.sock.settimeout(PATIENCE)
        config = h2.config.H2Configuration(client_side=True, header_encoding="utf-8")
        self.conn = h2.connection.H2Connection(config)
        if window:
            self.conn.local_settings = h2.settings.Settings(
                client=True, initial_values={h2.settings.SettingCodes.INITIAL_WINDOW_SIZE: window,
                                             h2.settings.SettingCodes.ENABLE_PUSH: 0})
        self.answers, self.goaway, self.closed, self.settings = {}, None, False, False
        self.conn.initiate_connection()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.client.sock.close()

    def flush(self):
        self.sock.sendall(self.conn.data_to_send())

    def begin(self, path="/", method="GET", *fields, end=True):
        stream = self.conn.get_next_available_stream_id()
        self.conn.send_headers(stream, [(":method", method), (":path", path), (":scheme", "http"),
                                        (":authority", "x"), *fields], end_stream=end)
        self.answers[stream] = Answer()
        self.flush()
        return stream

    def take(self):
        data = self.sock.recv(MIB)
        self.closed = not data
        for event in self.conn.receive_data(data) if data else []:
            self.event(event)
        if self.ack:
            self.flush()

    def event(self, event):
        answer = self.answers.get(getattr(event, "stream_id", None))
        if isinstance(event, h2.events.ResponseReceived):
            answer.head = event.headers
        elif isinstance(event, h2.events.InformationalResponseReceived):
            answer.interim.append(dict(event.headers)[":status"])
        elif isinstance(event, h2.events.TrailersReceived):
            answer.trailers = dict(event.headers)
        elif isinstance(event, h2.events.DataReceived):
            answer.body += event.data
            if self.ack:
                self.conn.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
        elif isinstance(event, h2.events.StreamEnded):
            answer.ended = True
        elif isinstance(event, h2.events.StreamReset):
            answer.ended, answer.error = True, event.error_code
        elif isinstance(event, h2.events.ConnectionTerminated):
            self.goaway = event.error_code
        elif isinstance(event, h2.events.RemoteSettingsChanged):
            self.settings = True

    def until(self, holds):
        while not holds():
            assert not self.closed, "closed"
            self.take()

    def finish(self, stream):
        answer = self.answers[stream]
        self.until(lambda: answer.ended)
        return answer

    def ask(self, *args):
        return self.finish(self.begin(*args))

    def post(self, path, body, *fields):
        """As the windows allow, reading meanwhile."""
        stream = self.begin(path, "POST", *fields, end=False)
        sent = 0
        while sent < len(body):
            room = min(self.conn.local_flow_control_window(stream), 16384, len(body) - sent)
            if room:
                self.conn.send_data(stream, body[sent:sent + room])
                sent += room
                self.flush()
            else:
                self.take()
        self.conn.end_stream(stream)
        self.flush()
        return self.finish(stream)


@pytest.fixture(params=["plain", "tls"])
def peer(request, start, pair):  # noqa: F811
    """Makes clients: prior knowledge on one, ALPN on the other."""
    options = ["--tls-cert", pair[2]] if request.param == "tls" else []
    server = start(*options)

    def connect(**kw):
        if request.param == "plain":
            return H2(server.connect(), **kw)
        return H2(TlsClient(server.address, pair[0], "h2"), **kw)

    connect.server = server
    return connect


@pytest.fixture
def one(peer):
    with peer() as c:
        yield c


def usual(length=13, type="text/plain"):
    return {":status": "200", "content-type": type, "content-length": str(length)}


def test_h2_any_path_gets_hello_world(one):
    for path in ("/", "/a/b?c=d", "/healthz/x"):
        answer = one.ask(path)
        assert (answer.fields(), answer.body, answer.error) == (usual(), b"Hello, World!", None)
    assert one.ask("/healthz").body == b"ok"


def test_h2_head_has_the_length_but_no_body(one):
    answer = one.ask("/bytes/5", "HEAD")
    assert answer.fields() == usual(5) and answer.body == b""


def test_h2_bytes_and_sink_and_echo(one):
    body = pattern(3 * MIB)
    assert one.ask(f"/bytes/{len(body)}").body == body
    assert one.post("/sink", body).body == b"%d" % len(body)
    answer = one.post("/echo", body, ("content-type", "a/b"))
    assert answer.body == body and answer.head[2] == ("content-type", "a/b")
    assert "content-length" not in dict(answer.head)
    answer = one.post("/echo", b"abc", ("content-length", "3"))
    assert answer.body == b"abc" and answer.fields() == usual(3, "application/octet-stream")


def test_h2_echo_of_a_get_is_its_head(one):
    body = b":method: GET\r\n:path: /echo?x\r\n:scheme: http\r\n:authority: x\r\na: b\r\n\r\n"
    answer = one.ask("/echo?x", "GET", ("a", "b"))
    assert answer.body == body and answer.fields() == usual(len(body))


def test_h2_grpc_messages_come_back_with_their_status(one):
    message = b"\0\0\0\0\x0dHello, World!"
    answer = one.post("/some.Service/Method", message, ("content-type", "application/grpc+proto"),
                      ("te", "trailers"))
    assert answer.fields() == {":status": "200", "content-type": "application/grpc+proto"}
    assert answer.body == message and answer.trailers == {"grpc-status": "0"}


def test_h2_trailers_of_an_echo_come_back(one):
    stream = one.begin("/echo", "POST", end=False)
    one.conn.send_data(stream, b"abc")
    one.conn.send_headers(stream, [("a", "1"), ("b", "2: x|y")], end_stream=True)
    one.flush()
    answer = one.finish(stream)
    assert answer.body == b"abc" and answer.trailers == {"a": "1", "b": "2: x|y"}


def test_h2_streams_do_not_wait_for_one_another(one):
    slow = one.begin("/?fault-delay=50")
    stuck = one.begin("/?fault-stall=before-head")
    quick = [one.begin(f"/bytes/{n}") for n in range(200)]
    for n, stream in enumerate(quick):
        assert one.finish(stream).body == pattern(n)
    assert one.finish(slow).body == b"Hello, World!" and not one.answers[stuck].ended


def test_h2_statistics(peer):
    with peer() as c:
        for _ in range(3):
            c.ask("/")
        c.post("/sink", b"abc")
        c.ask("/?fault-status=503")
        found = json.loads(c.ask("/stats").body)
        assert found == {"connections": 1, "open": 1, "requests": 5, "reused": 4, "aborted": 0,
                         "body_bytes_in": 3, "responses": {"200": 4, "503": 1}}
        c.begin("/?fault-stall=3")
        c.ask("/")
    with peer() as c:
        while json.loads(c.ask("/stats").body)["open"] > 1:
            pass
        assert json.loads(c.ask("/stats").body)["aborted"] == 1


def test_h2_ledger_and_name(start, tmp_path):  # noqa: F811
    server = start("--ledger", str(tmp_path / "ledger"), "--name", "n1")
    with H2(server.connect()) as c:
        assert c.ask("/a?b", "GET", ("x-request-id", "id7")).fields()["x-backend"] == "n1"
        c.post("/b", b"")
    assert (tmp_path / "ledger").read_text() == "GET /a?b id7\nPOST /b -\n"


# --- HTTP/2: flow control, and what is wrong ------------------------------------------------------


def test_h2_a_small_window_is_kept_to(peer):
    """hello sends no byte that was not granted, and goes on as soon as some are."""
    with peer(window=1000, ack=False) as c:
        first, second = c.begin("/bytes/100000"), c.begin("/bytes/1500")
        c.until(lambda: all(len(c.answers[s].body) == 1000 for s in (first, second)))
        c.conn.increment_flow_control_window(500, second)
        c.flush()
        c.until(lambda: c.answers[second].ended)
        assert len(c.answers[first].body) == 1000 and c.answers[second].body == pattern(1500)


def test_h2_an_echo_that_nobody_reads_stops_taking(peer):
    """The stream's window is all that hello holds of it; other streams go on."""
    with peer(window=1000, ack=False) as c:
        stream = c.begin("/echo", "POST", end=False)
        c.until(lambda: c.settings)
        sent = 0
        while room := min(c.conn.local_flow_control_window(stream), 16384):
            c.conn.send_data(stream, bytes(room))
            sent += room
            c.flush()
            c.until(lambda: True)
        other = c.begin("/bytes/5")
        c.until(lambda: c.answers[other].ended)
        assert WINDOW <= sent <= WINDOW + 1000 and len(c.answers[stream].body) == 1000


def test_h2_a_reader_that_is_behind_costs_no_memory(peer):
    with peer() as c:
        assert c.ask("/").ended
        before = peer.server.memory()
        stream = c.begin(f"/bytes/{1 << 30}")
        c.until(lambda: len(c.answers[stream].body) > 2 * MIB)
        assert peer.server.memory() - before < 64 * MIB  # of 1 GiB; a sanitizer frees late


def test_h2_preface_in_any_two_pieces(start):  # noqa: F811
    server = start()
    for cut in range(1, 24):
        with H2(server.connect()) as c:
            data = c.conn.data_to_send()
            c.sock.sendall(data[:cut])
            c.sock.sendall(data[cut:])
            assert c.ask("/").body == b"Hello, World!"


def test_what_only_begins_like_the_preface_is_http1(start):  # noqa: F811
    server = start()
    with server.connect() as c:
        c.send(b"PRI")
        c.send(b"X / HTTP/1.1\r\n\r\n")
        assert c.to_eof().startswith(b"HTTP/1.1 400 ")
    with server.connect() as c:
        c.send(b"P")
        assert c.ask(post(b"/sink", b"abc")[1:]) == ok(b"3")


def test_without_h2_the_preface_is_an_error(start):  # noqa: F811
    with start("--no-h2").connect() as c:
        c.send(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
        assert c.to_eof().startswith((b"HTTP/1.1 400 ", b"HTTP/1.1 505 "))


def test_h2_a_broken_frame_ends_the_conn_with_a_reason(one):
    one.ask("/")
    one.sock.sendall(b"\0\0\5\0\0\0\0\0\0hello")  # DATA on stream 0
    while not one.closed:
        one.take()
    assert one.goaway == 1  # PROTOCOL_ERROR


def test_h2_goodbye_of_the_peer_lets_streams_end(one):
    stream = one.begin("/?fault-delay=30")
    one.conn.close_connection()
    one.flush()
    got = b""
    while piece := one.sock.recv(MIB):
        got += piece
    assert b"Hello, World!" in got and one.answers[stream]


# --- HTTP/2: knobs --------------------------------------------------------------------------------


def test_h2_delay_holds_the_head_back(one):
    began = time.monotonic()
    assert one.ask("/", "GET", ("x-fault-delay", "60")).body == b"Hello, World!"
    assert time.monotonic() - began >= 0.06


def test_h2_slow_bodies_come_in_pieces(one):
    began = time.monotonic()
    answer = one.ask("/bytes/10?fault-slow=20&fault-slow-bytes=4")
    assert answer.body == pattern(10) and time.monotonic() - began >= 0.04


def test_h2_status_size_fields_and_trailers(one):
    answer = one.ask("/?fault-status=503&fault-body-size=7&fault-fields=A:b|C:d&fault-trailers=E:f")
    assert answer.fields() == {":status": "503", "content-type": "text/plain", "a": "b", "c": "d"}
    assert answer.body == pattern(7) and answer.trailers == {"e": "f"}
    answer = one.ask("/?fault-status=204")
    assert answer.fields() == {":status": "204", "content-type": "text/plain"} and not answer.body


def test_h2_interim_and_early_answers(one):
    assert one.ask("/?fault-info=100,103").interim == ["100", "103"]
    stream = one.begin("/sink?fault-early=1", "POST", end=False)
    assert one.finish(stream).body == b"0"
    stream = one.begin("/sink", "POST", ("expect", "100-continue"), end=False)
    one.until(lambda: one.answers[stream].interim == ["100"])


@pytest.mark.parametrize("where, body", [("before-head", None), ("in-head", None), ("0", b""),
                                         ("5", b"Hello"), ("99", b"Hello, World!")])
def test_h2_reset_is_of_the_stream(one, where, body):
    answer = one.ask(f"/?fault-reset={where}")
    assert answer.error == 2 and (answer.head is None) == (body is None)  # INTERNAL_ERROR
    assert answer.body == (body or b"") and one.ask("/").body == b"Hello, World!"


@pytest.mark.parametrize("where, body", [("before-head", b""), ("5", b"Hello")])
def test_h2_close_is_of_the_conn_and_stall_of_the_stream(one, where, body):
    stalled = one.begin(f"/?fault-stall={where}")
    assert one.ask("/").ended
    one.until(lambda: one.answers[stalled].body == body)
    stream = one.begin(f"/?fault-close={where}")
    while not one.closed:
        one.take()
    assert one.answers[stream].body == body and one.goaway is None
    assert not one.answers[stream].ended and not one.answers[stalled].ended


def test_h2_knobs_of_http1_and_wrong_ones_are_told(one):
    for knob, why in (("chunk-size=3", "chunk-size: not over HTTP/2\n"),
                      ("http10=1", "http10: not over HTTP/2\n"),
                      ("delay=x", "fault-delay: ")):
        answer = one.ask(f"/?fault-{knob}")
        assert answer.head[0] == (":status", "400") and answer.body.decode().startswith(why)


def test_h2_connect_is_refused(one):
    stream = one.conn.get_next_available_stream_id()
    one.answers[stream] = Answer()
    one.conn.config.validate_outbound_headers = False  # it wants a :path, which CONNECT has not
    one.conn.send_headers(stream, [(":method", "CONNECT"), (":authority", "x:1")], end_stream=True)
    one.flush()
    assert one.finish(stream).fields()[":status"] == "400"


def test_h2_over_a_unix_socket(start, tmp_path):  # noqa: F811
    path = str(tmp_path / "socket")
    server = start("--listen", f"unix:{path}")
    with H2(server.connect()) as c:
        assert c.ask("/").body == b"Hello, World!"


def test_help_names_the_options():
    text = run("--help", program=HELLO).stdout
    assert all(word in text for word in ("--tls-cert", "--tls-key", "--no-h2", "gRPC"))


def test_a_half_closed_peer_is_let_go(start):  # noqa: F811
    with H2(start().connect()) as c:
        c.ask("/")
        c.sock.shutdown(socket.SHUT_WR)
        assert c.sock.recv(1) == b""
