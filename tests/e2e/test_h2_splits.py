# SPDX-License-Identifier: Apache-2.0
"""What a client or an upstream says over HTTP/2, cut at every byte: each piece is read before the
next is sent, and no cut shows on the other side."""
import pytest

import h2client
import h2peer
import matrix
import wire
from h2upstream import Link
from h2wire import (
    END_HEADERS,
    END_STREAM,
    PADDED,
    PREFACE,
    PRIORITY,
    Setting,
    Type,
    block,
    continuation,
    data,
    frame,
    headers,
    pairs,
    ping,
    priority,
    request_fields,
    settings,
    settings_ack,
    window_update,
)
from matrix import Place, Side
from peers import wait_for

LONG = "v" * 60
POST = "POST /split HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nhi"
ANSWER = (
    f"HTTP/1.1 200 OK\r\nx-a: 1\r\nx-long: {LONG}\r\n{{date}}\r\nTransfer-Encoding: chunked\r\n\r\n"
    "c\r\nfirst second\r\n0\r\nx-t: end\r\n\r\n"
)


def conversation(n):
    """All that the upstream says: every kind of frame that has a place in a response."""
    head = block(pairs([(":status", "200"), ("x-a", "1"), ("x-long", LONG)]))
    return b"".join(
        [
            settings({Setting.MAX_CONCURRENT_STREAMS: 10, Setting.INITIAL_WINDOW_SIZE: 70000}),
            settings_ack(),
            headers(n, block(pairs([(":status", "103"), ("link", "</a.css>")])), end=False),
            window_update(0, 1000),
            headers(n, head[:20], flags=0),
            continuation(n, head[20:50], end=False),
            continuation(n, head[50:]),
            ping(b"12345678"),
            data(n, b"first "),
            frame(Type.DATA, PADDED, n, b"\x05second" + bytes(5)),
            window_update(n, 1000),
            frame(0xF0, 0, n, b"unknown"),
            data(n),
            headers(n, block(pairs([("x-t", "end")])), flags=END_HEADERS | END_STREAM),
        ]
    )


SAID = len(conversation(1))


@pytest.fixture(params=["plain", "tls"])
def start(request, start_weir, new_upstream):
    """(weir, its upstream): one worker, so that the barrier holds, and a conn for each request."""
    secure = request.param == "tls"
    authority = request.getfixturevalue("authority") if secure else None
    up, tls = new_upstream(), ""
    if secure:
        up.secure = authority.server_context(alpn=["h2"])
        tls = f", tls: {{ ca: {authority.cert}, sni: a.example }}"
    own = start_weir(
        "routes: [ { match: { path: /split }, to: app } ]\npools:\n"
        f"  app: {{ endpoints: [ '{up.address}' ], upstream: {{ protocol: h2, max_idle: 0{tls} }} }}\n",
        workers=1,
    )
    return own, up


class Mute(Link):
    """Reads, and says nothing by itself."""

    def put(self, frames):
        pass


def accept(up):
    """A conn, and its first stream's number, once the request is whole; weir has heard nothing."""
    link = Mute(up.accept())

    def whole():
        link.pump()
        return any(s.ended for s in link.streams.values())

    wait_for(whole, "the request")
    (n,) = link.streams
    assert link.streams[n].take(1000).endswith(b"\r\n\r\nhi")
    return link, n


def answer_of_h1(c):
    answer = c.expect_response(ANSWER)
    assert [i.head for i in answer.interim] == [b"HTTP/1.1 103 Early Hints\r\nlink: </a.css>\r\n\r\n"]


def answer_of_h2(c, stream):
    answer = c.response(stream)
    assert [f for f in answer.fields if f[0] != b"date"] == pairs(
        [(":status", "200"), ("x-a", "1"), ("x-long", LONG)]
    )
    assert [i.fields for i in answer.interim] == [pairs([(":status", "103"), ("link", "</a.css>")])]
    assert (answer.body, answer.trailers) == (b"first second", [(b"x-t", b"end")])


def told(own, up, probe, protocol, cut):
    """The story, what the upstream says cut in this way."""
    c = own.client()
    if protocol == "h2":
        c = h2peer.H2Client(c).hello()
        stream = c.request("POST", "/split", more=[("content-length", "2")], body=b"hi")
    else:
        c.send(POST)
    link, n = accept(up)
    for piece in cut(conversation(n)):
        link.peer.send(piece)
        assert probe.get("/barrier").status == 404  # it has read the piece: it was there before
    if protocol == "h2":
        answer_of_h2(c, stream)
    else:
        answer_of_h1(c)

    def obeyed():
        link.pump()
        return (link.pongs, link.acked) == (1, 1)

    wait_for(obeyed, "both answers")
    c.close()
    link.close()


@pytest.mark.parametrize("protocol", ["h1", "h2"])
def test_a_response_split_at_every_byte(start, protocol):
    own, up = start
    with own.client() as probe:
        for at in range(1, SAID):
            told(own, up, probe, protocol, lambda said: [said[:at], said[at:]])


@pytest.mark.parametrize("protocol", ["h1", "h2"])
def test_a_response_byte_by_byte(start, protocol):
    own, up = start
    with own.client() as probe:
        told(own, up, probe, protocol, lambda said: [bytes([byte]) for byte in said])


# ---- what a client says -------------------------------------------------------------------------

ASKED = (
    f"POST /split HTTP/1.1\r\nHost: a\r\nx-a: 1\r\nx-long: {LONG}\r\n{{fwd:a}}\r\n"
    "Transfer-Encoding: chunked\r\n\r\nc\r\nfirst second\r\n0\r\nx-t: end\r\n\r\n"
)


def question(scheme):
    """All that a client says for one request: every kind of frame that has a place in it."""
    head = block(request_fields("POST", "/split", "a", scheme, [("x-a", "1"), ("x-long", LONG)]))
    return b"".join(
        [
            PREFACE,
            settings({Setting.ENABLE_PUSH: 0, Setting.INITIAL_WINDOW_SIZE: 70000}),
            window_update(0, 1000),
            priority(5),
            frame(Type.HEADERS, PADDED | PRIORITY, 1, b"\3\0\0\0\0\x0f" + head[:20] + bytes(3)),
            continuation(1, head[20:70], end=False),
            continuation(1, head[70:]),
            data(1, b"first "),
            ping(b"12345678"),
            frame(Type.DATA, PADDED, 1, b"\x05second" + bytes(5)),
            window_update(1, 1000),
            frame(0xF0, 0, 1, b"unknown"),
            data(1),
            headers(1, block(pairs([("x-t", "end")])), flags=END_HEADERS | END_STREAM),
        ]
    )


@pytest.fixture(params=["h1-plain", "h2-plain", "h1-tls", "h2-tls"])
def asked(request, tls, start_weir):
    """(weir, its upstream, the client's scheme): one worker, for the barrier."""
    protocol, transport = request.param.split("-")
    cell = Side("h1", protocol, transport == "tls", 1)
    place = Place(cell, tls)
    up = place.upstream()
    wire.scheme, wire.h2 = (b"https" if cell.secure else b"http"), True
    config = (
        "timeouts: { request_head: 1h, client_idle: 1h }\n"
        "routes: [ { match: { path: /split }, to: app } ]\n"
        f"pools: {{ app: {{ endpoints: [ '{up.address}' ], upstream: {{ max_idle: 0 }} }} }}\n"
    )
    own = start_weir(matrix.over(config, cell, tls, {up.address}), workers=1)
    own.secure = tls.client_context("h2") if cell.secure else None
    yield own, up, wire.scheme.decode()
    up.close()
    wire.scheme, wire.h2 = b"http", False


def heard(asked, probe, cut):
    """The client's side of the story, cut in this way."""
    own, up, scheme = asked
    with own.client() as c:
        for piece in cut(question(scheme)):
            c.send(piece)
            assert probe.get("/barrier").status == 404  # as above
        u = up.accept()
        u.expect_request(ASKED)
        u.answer()
        h2 = h2peer.H2Client(c, start=False)
        h2.streams[1] = h2._new_stream(1)
        assert (h2.response(1).status, h2.response(1).body) == (200, b"ok")
        h2.until(lambda: (h2.pongs, h2.acked) == (1, 1), "both answers")
        up.forget()


@pytest.fixture
def probe(asked):
    """Another client."""
    with h2client.over(asked[0].client()) as c:
        yield c


def test_a_request_split_at_every_byte(asked, probe):
    """Over TLS, where each is a handshake, at every third: in the other test each byte is a record."""
    for at in range(1, len(question(asked[2])), 3 if asked[2] == "https" else 1):
        heard(asked, probe, lambda said: [said[:at], said[at:]])


def test_a_request_byte_by_byte(asked, probe):
    heard(asked, probe, lambda said: [bytes([byte]) for byte in said])
