# SPDX-License-Identifier: Apache-2.0
"""WebSocket over HTTP/2 (RFC 8441), on either side and on both, and the websockets library over
HTTP/1 and TLS."""
import asyncio
import base64
import hashlib

import pytest

import h2peer
import tlspeer
from h2peer import H2Server
from h2wire import Code, Setting

GUID = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"


def accept_of(key):
    return base64.b64encode(hashlib.sha1((key + GUID).encode()).digest()).decode()


def answer_101(u, request):
    """As an HTTP/1 server does."""
    u.send(
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        f"Sec-WebSocket-Accept: {accept_of(request.get('Sec-WebSocket-Key'))}\r\n\r\n"
    )


@pytest.fixture
def c(weir):
    with h2peer.client(weir).hello() as client:
        yield client


def tunnel(c, upstream, more=()):
    """(stream, upstream conn) with a tunnel between an HTTP/2 client and an HTTP/1 upstream."""
    s = c.connect("/ws", more=[("sec-websocket-version", "13"), *more])
    u = upstream.accept()
    answer_101(u, u.request())
    head = c.head(s)
    assert head.status == 200 and not c.streams[s].ended
    for name in ("upgrade", "connection", "sec-websocket-accept"):
        assert head.get(name) is None, head.fields
    return s, u


def test_an_extended_connect_is_an_upgrade_for_http_1(upstream, c):
    s = c.connect("/chat?x", more=[("sec-websocket-version", "13"), ("sec-websocket-protocol", "p")])
    u = upstream.accept()
    request = u.request()
    assert request.start == b"GET /chat?x HTTP/1.1"
    assert request.get("Host") == "a" and request.get("Upgrade") == "websocket"
    assert request.get("Connection").lower() == "upgrade"
    assert request.get("Sec-WebSocket-Version") == "13" and request.framing == "none"
    assert len(base64.b64decode(request.get("Sec-WebSocket-Key"), validate=True)) == 16
    u.send(
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        f"Sec-WebSocket-Accept: {accept_of(request.get('Sec-WebSocket-Key'))}\r\n"
        "Sec-WebSocket-Protocol: p\r\n\r\n"
    )
    head = c.head(s)
    assert (head.status, head.get("sec-websocket-protocol")) == (200, "p")


def test_bytes_go_both_ways_and_each_end_by_itself(upstream, c):
    s, u = tunnel(c, upstream)
    for data in (b"\x81\x05hello", b"\0" * 1000):
        c.data(s, data)
        u.expect(data)
    u.send("from the server")
    assert c.body(s, 15) == b"from the server"
    c.data(s, b"last", end=True)
    u.expect("last")
    u.expect_closed()
    u.send(" and after")
    assert c.body(s, 25) == b"from the server and after"
    u.close()
    assert c.ended(s).trailers is None


def test_an_upstream_that_half_closes_still_hears_the_client(upstream, c):
    s, u = tunnel(c, upstream)
    u.send("bye")
    u.half_close()
    assert c.ended(s).body == b"bye"
    c.data(s, b"still here")
    u.expect("still here")
    c.data(s, end=True)
    u.expect_closed()


def test_a_reset_of_one_end_ends_the_other(weir, upstream, c):
    s, u = tunnel(c, upstream)
    u.reset()
    c.until(lambda: c.streams[s].code is not None, "RST_STREAM")
    s, u = tunnel(c, upstream)
    c.reset(s, Code.CANCEL)
    assert u.expect_ended() == b""
    c.barrier()


def test_a_refusal_is_a_response(upstream, c):
    s = c.connect()
    u = upstream.accept()
    u.request()
    u.answer("no", "403 Forbidden")
    c.until(lambda: c.streams[s].message and c.streams[s].over(), "the response")
    assert (c.head(s).status, c.head(s).body) == (403, b"no")
    s, _ = tunnel(c, upstream)


def test_a_wrong_accept_is_a_bad_response(weir, upstream, c):
    """Nobody else would look: an HTTP/2 client has no key of its own."""
    with weir.counts("bad_response"):
        s = c.connect("/ws", more=[("sec-websocket-version", "13")])
        u = upstream.accept()
        u.request()
        u.send(
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            f"Sec-WebSocket-Accept: {accept_of('another')}\r\n\r\n"
        )
        assert c.head(s).status == 502


def test_a_tunnel_is_held_back_by_a_client_without_credit(weir, upstream):
    with h2peer.client(weir, auto=False).hello() as c:
        s, u = tunnel(c, upstream)
        sent = u.send_until_blocked(bytes(1 << 20), 32 << 20)
        assert sent < 32 << 20
        assert len(c.body(s, 65535)) == 65535
        c.barrier()
        assert len(c.streams[s].message.body) == 65535
        other, u2 = c.request(path="/other"), upstream.accept()
        u2.request()
        u2.half_close()
        assert c.head(other).status == 502


# ---- to an HTTP/2 upstream ----------------------------------------------------------------------

KEY = "dGhlIHNhbXBsZSBub25jZQ=="
ASK = (
    "GET /ws HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    f"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {KEY}\r\n\r\n"
)


@pytest.fixture
def h2up(start_weir, new_upstream):
    """(weir, its upstream) that speak HTTP/2."""
    up = new_upstream()
    own = start_weir(
        "routes: [ { to: app } ]\npools:\n"
        f"  app: {{ endpoints: [ '{up.address}' ], upstream: {{ protocol: h2 }} }}\n",
        workers=1,  # whose clients share a conn
    )
    return own, up


def accepted(up, values=None):
    return H2Server(up.accept(), {Setting.ENABLE_CONNECT_PROTOCOL: 1, **(values or {})})


def test_an_upgrade_is_an_extended_connect_for_http_2(h2up):
    own, up = h2up
    with own.client() as c:
        c.send(ASK)
        u = accepted(up)
        n, got = u.accept(end=False)
        assert got.names()[:5].count(":protocol") == 1
        assert (got.get(":method"), got.get(":protocol"), got.get(":path")) == (
            "CONNECT",
            "websocket",
            "/ws",
        )
        assert got.get(":scheme") == "http" and got.get(":authority") == "a"
        assert got.get("sec-websocket-key") is None and got.get("sec-websocket-version") == "13"
        u.headers(n, [(":status", "200")])
        answer = c.response()
        assert answer.status == 101 and answer.get("Upgrade") == "websocket"
        assert answer.get("Sec-WebSocket-Accept") == accept_of(KEY)
        c.send("to the server")
        assert u.body(n, 13) == b"to the server"
        u.data(n, b"to the client")
        c.expect("to the client")
        c.half_close()
        assert u.ended(n).body == b"to the server"
        u.data(n, b"bye", end=True)
        c.expect("bye")
        c.expect_closed()


def test_http_2_on_both_sides(h2up):
    own, up = h2up
    with h2peer.client(own).hello() as c:
        s = c.connect("/ws", more=[("sec-websocket-version", "13")])
        u = accepted(up)
        n, got = u.accept(end=False)
        assert got.get(":protocol") == "websocket" and got.get("sec-websocket-key") is None
        u.headers(n, [(":status", "200")])
        assert c.head(s).status == 200
        c.data(s, b"ping")
        assert u.body(n, 4) == b"ping"
        u.data(n, b"pong", end=True)
        assert c.ended(s).body == b"pong"
        c.data(s, end=True)
        assert u.ended(n).body == b"ping"


def test_without_extended_connect_an_upgrade_is_a_plain_request(h2up):
    """As for any server that does not want to."""
    own, up = h2up
    with own.client() as c:
        c.send(ASK)
        u = H2Server(up.accept())
        n, got = u.accept()
        assert (got.get(":method"), got.get(":protocol")) == ("GET", None)
        u.respond(n, 426, b"no")
        answer = c.response()
        assert (answer.status, answer.body, answer.get("Upgrade")) == (426, b"no", None)


def test_an_answer_that_is_none_to_extended_connect_grants_nothing(h2up):
    """The upstream was sent a plain GET: what it has for that is no tunnel, and an HTTP/2 client
    would take it for one (RFC 8441 section 5)."""
    own, up = h2up
    with h2peer.client(own).hello() as c:
        for status, seen in ((426, 426), (200, 502)):
            s = c.connect("/ws", more=[("sec-websocket-version", "13")])
            u = u if status == 200 else H2Server(up.accept())
            n, got = u.accept()
            assert (got.get(":method"), got.get(":protocol")) == ("GET", None)
            u.respond(n, status, b"no")
            c.until(lambda: c.streams[s].message and c.streams[s].over(), "the response")
            assert c.head(s).status == seen


@pytest.mark.parametrize("client", ["h1", "h2"])
def test_an_extended_connect_that_is_refused(h2up, client):
    own, up = h2up
    with own.client() if client == "h1" else h2peer.client(own).hello() as c:
        s = c.send(ASK) if client == "h1" else c.connect("/ws", more=[("sec-websocket-version", "13")])
        u = accepted(up)
        n, _ = u.accept(end=False)
        u.respond(n, 403, b"no")
        if client == "h1":
            answer = c.response()
            assert answer.get("Upgrade") is None
        else:
            c.until(lambda: c.streams[s].message and c.streams[s].over(), "the response")
            answer = c.head(s)
        assert (answer.status, answer.body) == (403, b"no")
        u.until(lambda: u.streams[n].over(), "the end of the request")
        assert u.gone is None


def test_fields_of_websocket_pass_to_http_2_and_back(h2up):
    own, up = h2up
    with own.client() as c:
        c.send(ASK.replace("\r\n\r\n", "\r\nSec-WebSocket-Protocol: a, b\r\nOrigin: http://o\r\n\r\n"))
        u = accepted(up)
        n, got = u.accept(end=False)
        assert (got.get("sec-websocket-protocol"), got.get("origin")) == ("a, b", "http://o")
        u.headers(n, [(":status", "200"), ("sec-websocket-protocol", "b")])
        answer = c.response()
        assert answer.status == 101 and answer.get("Sec-WebSocket-Protocol") == "b"


@pytest.mark.parametrize("client", ["h1", "h2"])
def test_a_reset_of_either_end_ends_the_other_and_nobody_else(h2up, client):
    own, up = h2up
    u = None

    def tunnelled():
        nonlocal u
        c = own.client() if client == "h1" else h2peer.client(own).hello()
        s = c.send(ASK) if client == "h1" else c.connect("/ws", more=[("sec-websocket-version", "13")])
        u = u or accepted(up)
        n, _ = u.accept(end=False)
        u.headers(n, [(":status", "200")])
        assert (c.response() if client == "h1" else c.head(s)).status in (101, 200)
        return c, s, n

    c, s, n = tunnelled()
    u.reset(n, Code.CANCEL)
    if client == "h1":
        assert c.expect_ended() == b""
    else:
        c.until(lambda: c.streams[s].code is not None, "RST_STREAM")
    c, s, n = tunnelled()
    c.reset() if client == "h1" else c.reset(s)
    u.until(lambda: u.streams[n].code is not None, "RST_STREAM")
    c, s, n = tunnelled()
    u.data(n, b"x")
    if client == "h1":
        c.expect("x")
    else:
        assert c.body(s, 1) == b"x"


def test_an_upgrade_waits_for_the_handshake_and_for_the_settings(start_weir, new_upstream, authority):
    """By ALPN: nobody knows at first what the upstream speaks, nor then whether it has tunnels."""
    up = new_upstream()
    own = start_weir(
        f"routes: [ {{ to: app }} ]\npools:\n  app: {{ endpoints: [ '{up.address}' ], "
        f"upstream: {{ tls: {{ sni: a.example, ca: {authority.cert} }} }} }}\n"
    )
    with own.client() as c:
        c.send(ASK)
        peer = tlspeer.secured(up.accept(), authority.server_context(alpn=["h2"]))
        u = H2Server(peer, {Setting.ENABLE_CONNECT_PROTOCOL: 1})
        n, got = u.accept(end=False)
        assert (got.get(":protocol"), got.get(":scheme")) == ("websocket", "https")
        u.headers(n, [(":status", "200")])
        assert c.response().status == 101


def test_a_reset_behind_the_end_of_a_tunnels_half_ends_the_other_half(h2up):
    """NO_ERROR is no good end there: nobody takes what the client still says."""
    own, up = h2up
    with own.client() as c, own.logged() as log, own.counts("upstream_stream_reset"):
        c.send(ASK)
        u = accepted(up)
        n, _ = u.accept(end=False)
        u.headers(n, [(":status", "200")])
        assert c.response().status == 101
        u.data(n, b"bye", end=True)
        c.expect("bye")
        u.reset(n, Code.NO_ERROR)
        own.wait_metric("weir_requests_in_flight", 0)
        c.expect_ended()
    assert (log[0]["status"], log[0]["reason"]) == (101, "upstream_stream_reset")


# ---- the websockets library ---------------------------------------------------------------------


@pytest.mark.parametrize("secure", [False, True], ids=["plain", "tls"])
def test_the_websockets_library_through_weir(start_weir, authority, secure):
    import websockets

    async def echo(socket, _path=None):
        async for message in socket:
            await socket.send(message)

    async def talk():
        async with websockets.serve(echo, "127.0.0.1", 0, max_size=None) as server:
            port = server.sockets[0].getsockname()[1]
            tls = f", tls: {{ certs: [ {authority.server().cert} ] }}" if secure else ""
            own = start_weir(
                f'listeners: {{ web: {{ bind: "127.0.0.1:0"{tls} }} }}\n'
                f"routes: [ {{ to: app }} ]\npools: {{ app: [ '127.0.0.1:{port}' ] }}"
            )
            address = own.listeners["web"]
            context = {"ssl": authority.client_context()} if secure else {}
            scheme = "wss" if secure else "ws"
            async with websockets.connect(f"{scheme}://{address}/e", max_size=None, **context) as c:
                for message in ("hello", b"\0" * 300000, ""):
                    await c.send(message)
                    assert await c.recv() == message
                await (await c.ping())

    asyncio.run(asyncio.wait_for(talk(), 60))
