# SPDX-License-Identifier: Apache-2.0
"""The tests' own tools: a strict parser that is lax, or a peer that sees less than there is, would
make every other test of this folder worth nothing."""
import socket

import pytest

import h2upstream
import h2wire
import harness
import wire
from matrix import Matrix
from peers import Client, RefusedEndpoint, SilentEndpoint, Upstream, connect


def test_the_parser_reads_a_response_of_each_framing():
    plain, n = wire.parse_response(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nokREST")
    assert (plain.framing, plain.body, n) == ("length", b"ok", 40)
    chunked, _ = wire.parse_response(
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\nX: y\r\n\r\n"
    )
    assert (chunked.framing, chunked.body, chunked.trailers) == ("chunked", b"a", [(b"X", b"y")])
    closed, _ = wire.parse_response(b"HTTP/1.1 200 OK\r\n\r\nall", eof=True)
    assert (closed.framing, closed.body) == ("close", b"all")
    head, n = wire.parse_response(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n", "HEAD")
    assert head.body == b"" and n == 38


@pytest.mark.parametrize(
    "data",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\no",
        b"HTTP/1.1 200 OK\r\nContent-Le",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n",
        b"HTTP/1.1 200 OK\r\n\r\nuntil the end",
    ],
)
def test_the_parser_waits_for_what_is_missing_and_fails_at_the_end(data):
    assert wire.parse_response(data) is None
    if not data.endswith(b"the end"):
        with pytest.raises(wire.WireError):
            wire.parse_response(data, eof=True)


@pytest.mark.parametrize(
    "data",
    [
        b"HTTP/1.1 200 OK\nA: 1\r\n\r\n",
        b"HTTP/1.0 200 OK\r\n\r\n",
        b"HTTP/1.1 20 OK\r\n\r\n",
        b"\r\nHTTP/1.1 200 OK\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nA : 1\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nA: \x01\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n A: 1\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\na",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n",
        b"HTTP/1.1 204 X\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1;x\r\na\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nab\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nX\r\n\r\n",
    ],
)
def test_the_parser_refuses_sloppy_bytes(data):
    with pytest.raises(wire.WireError):
        wire.parse_response(data, eof=True)


def test_expected_bytes_are_exact_but_for_placeholders_and_blanks_of_empty_values():
    uuid = "01900000-0000-7000-8000-000000000000"
    wire.assert_bytes(
        "A: {uuid7}\r\n{date}\r\nB: \r\n",
        f"A: {uuid}\r\nDate: Sun, 22 Nov 2026 10:00:00 GMT\r\nB:\r\n".encode(),
    )
    for wrong in (b"A: b ", b"a: b", b"A:b", b"A: b\r\n"):
        with pytest.raises(AssertionError):
            wire.assert_bytes("A: b", wrong)
    with pytest.raises(AssertionError):
        wire.assert_bytes("{uuid7}", uuid.replace("-7", "-4").encode())


def test_chunk_boundaries_do_not_count_but_trailers_do():
    def form(tail):
        return wire.normal_form(
            wire.parse_response(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + tail)[0]
        )

    assert form(b"2\r\nab\r\n0\r\n\r\n") == form(b"1\r\na\r\n1\r\nb\r\n0\r\n\r\n")
    assert form(b"2\r\nab\r\n0\r\n\r\n") != form(b"2\r\nab\r\n0\r\nX: 1\r\n\r\n")


def test_a_close_and_a_reset_are_told_apart():
    up = Upstream()
    with Client(up.address) as c:
        up.accept().close()
        c.expect_closed()
    with Client(up.address) as c:
        up.accept().reset()
        c.expect_reset()
    with Client(up.address) as c:
        up.accept().reset()
        with pytest.raises(AssertionError, match="reset instead of closed"):
            c.expect_closed()
    with Client(up.address) as c:
        u = up.accept()
        u.send("surprise")
        u.close()
        with pytest.raises(AssertionError, match="surprise"):
            c.expect_closed()
    up.close()


def test_the_endpoints_that_refuse_and_that_stay_silent_do_so():
    refused, silent = RefusedEndpoint(), SilentEndpoint()
    with pytest.raises(ConnectionRefusedError):
        connect(refused.address)
    with pytest.raises((TimeoutError, socket.timeout)):
        connect(silent.address, timeout=0.3)
    refused.close()
    silent.close()


def test_prometheus_text_is_read_strictly():
    types, got = harness.parse_metrics(
        '# TYPE a counter\na{x="1",y="b\\"c"} 2\na{x="2",y=""} 3\n# TYPE h histogram\nh_count 1\n'
    )
    assert harness.sum_of(got, "a", {}) == 5 and harness.sum_of(got, "a", {"x": 1}) == 2
    for bad in (
        "a 1\n",
        "# TYPE a counter\na 1",
        "# TYPE a counter\na 1\na 1\n",
        "# TYPE a counter\na{x=1} 1\n",
    ):
        with pytest.raises(AssertionError):
            harness.parse_metrics(bad)


# ---- an upstream of HTTP/2 that is told HTTP/1 --------------------------------------------------


class Frames:
    """In the place of a Link, and of its stream: what is sent on them."""

    number, method, protocol, latest, said_end = 1, b"GET", None, 1, False

    def __init__(self, window=1000):
        self.link, self.window, self.sent = self, window, b""

    def put(self, frames):
        self.sent += frames

    def fields(self):
        """(fields or body, whether it ends the stream) of each frame, DATA in one."""
        out, at = [], 0
        while got := h2wire.parse(self.sent[at:]):
            frame, at = got[0].check(), at + got[1]
            if frame.type == h2wire.Type.HEADERS:
                out.append((h2wire.Decoder().decode(frame.payload), frame.ended()))
            elif out and isinstance(out[-1][0], bytes):
                out[-1] = (out[-1][0] + frame.payload, frame.ended())
            else:
                out.append((frame.payload, frame.ended()))
        return out


@pytest.mark.parametrize(
    "body",
    [
        "Transfer-Encoding: chunked\r\n\r\n2\r\nab\r\n1\r\nc\r\n0\r\nX-T: 1\r\n\r\n",
        "Content-Length: 3\r\n\r\nabc",
    ],
)
def test_a_response_becomes_the_same_frames_at_every_split(body):
    text = b"HTTP/1.1 103 Early Hints\r\n\r\n"
    text += b"HTTP/1.1 200 OK\r\nConnection: x\r\nX: 1\r\nA: 2\r\n" + body.encode()
    known = [(b"content-length", b"3")] if "Length" in body else []
    end = [] if known else [([(b"x-t", b"1")], True)]
    for at in range(len(text) + 1):
        frames = Frames()
        writer = h2upstream.Writer(frames)
        assert [writer.take(part) for part in (text[:at], text[at:])] == [at, len(text) - at]
        assert frames.fields() == [
            ([(b":status", b"103")], False),
            ([(b":status", b"200"), (b"a", b"2"), *known], False),
            (b"abc", bool(known)),
            *end,
        ]
        assert writer.done


def test_no_more_of_a_response_is_taken_than_there_is_credit_for():
    frames = Frames(window=4)
    writer = h2upstream.Writer(frames)
    head, body = b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n", b"0123456789"
    assert writer.take(head + body) == len(head) + 4 and writer.blocked()
    assert writer.take(body[4:]) == 0
    frames.window = 100
    assert writer.take(body[4:]) == 6 and writer.done
    assert frames.fields()[-1] == (body, True)


@pytest.mark.parametrize(
    "text",
    ["HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nab", "HTTP/1.1 101 X\r\n\r\n", "hello\r\n\r\n"],
)
def test_what_http_2_has_no_word_for_is_an_error_of_the_story(text):
    with pytest.raises(h2upstream.NotHttp2):
        h2upstream.Writer(Frames()).take(text.encode())


def test_tests_of_one_cell_share_a_weir():
    """pytest goes by identity, not by equality, and starts another weir for another object."""
    cells = Matrix().cells()
    assert all(one is again for one, again in zip(cells, Matrix().cells(), strict=True))
    assert {id(one) for one in Matrix().spread("some test")} <= set(map(id, cells))
