# SPDX-License-Identifier: Apache-2.0
"""What an upstream says over HTTP/2, cut at every byte: each piece is read before the next is sent,
and no cut shows in what the client gets."""
import pytest

import h2peer
from h2upstream import Link
from h2wire import (
    END_HEADERS,
    END_STREAM,
    PADDED,
    Setting,
    Type,
    block,
    continuation,
    data,
    frame,
    headers,
    pairs,
    ping,
    settings,
    settings_ack,
    window_update,
)
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


LENGTH = len(conversation(1))


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
    link.pump()
    assert (link.pongs, link.acked) == (1, 1), link.frames
    c.close()
    link.close()


@pytest.mark.parametrize("protocol", ["h1", "h2"])
def test_a_response_split_at_every_byte(start, protocol):
    own, up = start
    with own.client() as probe:
        for at in range(1, LENGTH):
            told(own, up, probe, protocol, lambda said: [said[:at], said[at:]])


@pytest.mark.parametrize("protocol", ["h1", "h2"])
def test_a_response_byte_by_byte(start, protocol):
    own, up = start
    with own.client() as probe:
        told(own, up, probe, protocol, lambda said: [bytes([byte]) for byte in said])
