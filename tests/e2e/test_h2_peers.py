# SPDX-License-Identifier: Apache-2.0
"""The HTTP/2 and TLS peers of these tests against other people's: what they say about weir is worth
as much as this."""
import select
import ssl
import threading
from concurrent import futures

import pytest

import h2client
import h2wire
import tools
from h2peer import H2Client, H2Server
from h2upstream import H2AutoUpstream, H2Upstream
from h2wire import Code, Setting
from peers import DEADLINE, Client, Upstream
from tlspeer import TlsClient, accept_tls


@pytest.fixture
def files(tmp_path):
    (tmp_path / "small").write_bytes(b"hello")
    (tmp_path / "large").write_bytes(bytes(range(256)) * 2000)
    return tmp_path


@tools.needs("nghttpd")
@pytest.mark.parametrize("secure", [False, True], ids=["plain", "tls"])
def test_the_client_talks_to_nghttpd(closing, files, authority, secure):
    server = closing(tools.nghttpd(files, "--echo-upload", pair=secure and authority.server()))
    if secure:
        peer = TlsClient(server.address, authority.client_context(["h2"]))
        assert peer.tls.selected_alpn_protocol() == "h2"
    else:
        peer = Client(server.address)
    with H2Client(peer).hello() as c:
        assert c.get("/small").body == b"hello"
        assert c.get("/large").body == bytes(range(256)) * 2000
        echo = c.response(c.request("POST", "/echo", body=bytes(200000)))
        assert echo.status == 200 and echo.body == bytes(200000)
        assert c.get("/none").status == 404
        c.barrier()


@tools.needs("nghttpd")
def test_what_is_malformed_is_answered_by_nghttpd_as_the_rfc_says(closing, files):
    server = closing(tools.nghttpd(files))
    with H2Client(Client(server.address)).hello() as c:
        s = c.open([*h2wire.request_fields(path="/small"), ("Upper", "x")])
        c.expect_rst(s, Code.PROTOCOL_ERROR)
        c.peer.send(h2wire.data(0, b"x"))
        c.expect_goaway(Code.PROTOCOL_ERROR)


@tools.needs("curl")
@pytest.mark.parametrize("secure", [False, True], ids=["plain", "tls"])
def test_the_upstream_serves_curl(closing, authority, secure):
    up = closing(Upstream())
    trust = {"ca": authority.cert} if secure else {}
    how = "--http2" if secure else "--http2-prior-knowledge"
    with futures.ThreadPoolExecutor(1) as pool:
        body = "x" * 100000
        asked = pool.submit(tools.curl, up.address, "/a?b", how, "-d", body, **trust)
        if secure:
            peer = accept_tls(up, authority.server_context(alpn=["h2"]))
        else:
            peer = up.accept()
        u = H2Server(peer, {Setting.INITIAL_WINDOW_SIZE: 1000})
        s, request = u.accept()
        assert request.get(":method") == "POST" and request.get(":path") == "/a?b"
        assert request.get(":scheme") == ("https" if secure else "http")
        assert request.body == body.encode()
        u.respond(s, 200, b"fine", [("x-a", "b")])
        assert asked.result() == (b"fine", ["2", "200", "0", "1"])


def test_both_ends_of_ours_understand_each_other(closing):
    up = closing(Upstream())
    client = H2Client(Client(up.address))
    server = H2Server(up.accept())
    s = client.request("POST", body="ab", end=False)
    number, request = server.accept(end=False)
    assert server.body(number, 2) == b"ab" and not server.streams[number].ended
    client.headers(s, [("x-t", "1")], end=True)
    assert server.ended(number).trailers == [(b"x-t", b"1")]
    server.headers(number, [(":status", "103"), ("link", "</a>")])
    server.respond(number, 200, b"ok", trailers=[("grpc-status", "0")])
    answer = client.response(s)
    assert [i.status for i in answer.interim] == [103]
    assert (answer.status, answer.body, answer.trailers) == (200, b"ok", [(b"grpc-status", b"0")])
    client.close()
    server.expect_end()


def test_a_body_without_credit_learns_that_its_conn_is_gone(closing):
    """It once waited for ever."""
    up = closing(Upstream())
    with futures.ThreadPoolExecutor(1) as pool:
        served = pool.submit(lambda: H2Server(up.accept(), {Setting.INITIAL_WINDOW_SIZE: 0}))
        c = Client(up.address)
        greeted = pool.submit(lambda: served.result().until(lambda: served.result().acked, "ACK"))
        h2client.over(c)
        greeted.result()
    c.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\n")
    assert not c.sock.ready(select.POLLOUT, 0) and c.send_some(b"ab") == 0
    served.result().peer.half_close()
    with pytest.raises((BrokenPipeError, ConnectionResetError)):
        c.send(b"ab")
    c.close()


class PausingUpstream(H2Upstream):
    """Its thread stops at the point where it knows what it will wait for."""

    def __init__(self, path):
        super().__init__(path)
        self.watched, self.go = threading.Event(), threading.Event()

    def watch(self, poll):
        super().watch(poll)
        self.watched.set()
        self.go.wait(DEADLINE)


class PausingAutoUpstream(H2AutoUpstream):
    def make(self, path):
        upstream = PausingUpstream(path)
        upstream.secure = None
        return upstream


def test_a_conn_that_comes_while_a_request_is_released_is_read_from(closing):
    """It once was accepted by whoever released, and nobody waited for what came on it."""
    up = closing(PausingAutoUpstream(reply=lambda _: None))
    assert up.upstream.watched.wait(DEADLINE)
    c = closing(Client(up.address))
    up.release()
    up.upstream.go.set()
    h2client.over(c)
    c.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n")
    up.wait_held(1)
    up.release()
    assert c.response().status == 200


def test_python_h2_understands_the_upstream(closing):
    import h2.config
    import h2.connection
    import h2.events

    up = closing(Upstream())
    peer = Client(up.address)
    conn = h2.connection.H2Connection(h2.config.H2Configuration(client_side=True))
    conn.initiate_connection()
    conn.send_headers(1, h2wire.request_fields(), end_stream=True)
    peer.send(conn.data_to_send())
    server = H2Server(up.accept())
    number, _ = server.accept()
    server.respond(number, 200, b"ok", trailers=[("a", "b")])
    seen = []
    while not any(isinstance(e, h2.events.StreamEnded) for e in seen):
        peer.wait_readable()
        had = len(peer.received)
        peer.poll()
        seen += conn.receive_data(bytes(peer.received[had:]))
    names = [type(e).__name__ for e in seen]
    assert names.index("ResponseReceived") < names.index("DataReceived")
    assert names.index("DataReceived") < names.index("TrailersReceived")
    peer.close()


def test_gRPC_client_and_server_understand_each_other(closing):
    import grpc

    server = closing(tools.GrpcServer())
    client = closing(tools.GrpcClient(server.address))
    answer, call = client.unary(b"hello")
    assert answer == b"hello" and ("x-trailer", "t") in call.trailing_metadata()
    assert client.client_stream([b"a", b"b"]) == b"ab"
    assert list(client.server_stream(b"abc")) == [b"a", b"b", b"c"]
    assert list(client.both(iter([b"1", b"2"]))) == [b"1", b"2"]
    with pytest.raises(grpc.RpcError) as e:
        client.unary(b"", method="Fail")
    assert e.value.code() == grpc.StatusCode.NOT_FOUND and e.value.details() == "nothing here"


# ---- certificates -------------------------------------------------------------------------------


def test_openssl_verifies_what_the_authority_issues(authority):
    for key in ("ec", "rsa"):
        pair = authority.server(key=key)
        tools.run("openssl", "verify", "-CAfile", authority.cert, pair.cert)
    old = authority.issue("old.example", starts=-10, ends=-1)
    said = tools.run("openssl", "verify", "-CAfile", authority.cert, old.cert, status=None)
    assert b"certificate has expired" in said.stderr


def test_the_authority_staples(authority, tmp_path):
    pair = authority.server()
    der = authority.staple(pair, tmp_path / "ocsp.der")
    said = tools.run(
        *("openssl", "ocsp", "-respin", der, "-issuer", authority.cert, "-cert", pair.cert),
        *("-CAfile", authority.cert),
    )
    assert b": good" in said


def test_tls_ends_with_close_notify_or_it_is_a_reset(closing, authority):
    up = closing(Upstream())
    for ending in ("close", "cut"):
        with futures.ThreadPoolExecutor(1) as pool:
            accepted = pool.submit(accept_tls, up, authority.server_context())
            client = TlsClient(up.address, authority.client_context(), "a.example")
            server = accepted.result()
        client.send(b"x" * 100000)
        assert server.recv_exact(100000) == b"x" * 100000
        getattr(client.sock, ending)()
        if ending == "close":
            server.expect_closed()
        else:
            server.expect_reset()


def test_a_wrong_name_is_refused(closing, authority):
    up = closing(Upstream())
    with futures.ThreadPoolExecutor(1) as pool:
        accepted = pool.submit(accept_tls, up, authority.server_context())
        with pytest.raises(ssl.SSLCertVerificationError):
            TlsClient(up.address, authority.client_context(), "b.example")
        with pytest.raises(ssl.SSLError, match="alert"):
            accepted.result()
