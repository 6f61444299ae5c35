# SPDX-License-Identifier: Apache-2.0
"""What RFC 9113 forbids, and what it comes to: an error of the stream (RST_STREAM, the conn lives)
or of the conn (GOAWAY, and its end)."""
from dataclasses import dataclass

import h2wire as w
from h2wire import Code, Setting, request_fields

P = Code.PROTOCOL_ERROR


@dataclass
class Case:
    name: str
    send: object  # (stream) -> bytes, or bytes
    code: Code

    def __str__(self):
        return self.name.replace(" ", "-")


def ask(name, fields, code=P, end=True):
    """A request that consists of these fields."""
    return Case(name, lambda s: w.headers(s, w.block(fields), end), code)


def with_field(name, field, value=b"x"):
    return ask(name, [*request_fields(), (field, value)])


def without(pseudo):
    return [(n, v) for n, v in request_fields() if n != pseudo]


def twice(pseudo):
    fields = request_fields()
    return [*[f for f in fields if f[0] == pseudo], *fields]


def instead(pseudo, value, method=b"GET"):
    fields = [(n, method if n == b":method" else v) for n, v in request_fields()]
    return [(n, value if n == pseudo else v) for n, v in fields]


def post(*more):
    return [*request_fields("POST"), *more]


def then(name, *frames, code=P, fields=None):
    """A POST that goes on with these frames."""
    return Case(
        name,
        lambda s: w.headers(s, w.block(fields or post()), False) + b"".join(f(s) for f in frames),
        code,
    )


def body(payload, end=True):
    return lambda s: w.data(s, payload, end)


def trailers(*fields, end=True):
    return lambda s: w.headers(s, w.block(fields), end)


CONNECT = [(b":method", b"CONNECT"), (b":authority", b"a:1")]
EXTENDED = request_fields("CONNECT", "/ws", protocol="websocket")
NAMES = {
    "upper case": b"X-Upper",
    "a space": b"x y",
    "a colon": b"x:y",
    "a NUL": b"x\0y",
    "a DEL": b"x\x7fy",
    "a byte above 0x7f": b"x\xe9",
    "a CR": b"x\ry",
    "a parenthesis": b"x(y",
}
VALUES = {
    "a NUL": b"a\0b",
    "a CR": b"a\rb",
    "an LF": b"a\nb",
    "a CRLF": b"a\r\nx-smuggled: 1",
    "a space before": b" a",
    "a space behind": b"a ",
    "a tab before": b"\ta",
    "a tab behind": b"a\t",
}

STREAM = [
    # 8.2.1: names and values
    *(with_field(f"a name with {what}", name) for what, name in NAMES.items()),
    *(with_field(f"a value with {what}", b"x-v", value) for what, value in VALUES.items()),
    with_field("an empty name", b""),
    # 8.2.2: fields of the connection
    with_field("connection", b"connection", b"close"),
    with_field("keep-alive", b"keep-alive", b"timeout=5"),
    with_field("proxy-connection", b"proxy-connection", b"keep-alive"),
    with_field("transfer-encoding", b"transfer-encoding", b"chunked"),
    with_field("upgrade", b"upgrade", b"websocket"),
    with_field("te gzip", b"te", b"gzip"),
    with_field("te with more than trailers", b"te", b"trailers, gzip"),
    # 8.3: pseudo-fields
    ask("a pseudo-field behind a field", [*without(b":path"), (b"x-a", b"b"), (b":path", b"/")]),
    with_field("an undefined pseudo-field", b":frob"),
    ask("status in a request", [(b":status", b"200"), *request_fields()]),
    *(ask(f"two {p.decode()[1:]}", twice(p)) for p in (b":method", b":scheme", b":path")),
    ask("two authority", twice(b":authority")),
    *(ask(f"no {p.decode()[1:]}", without(p)) for p in (b":method", b":scheme", b":path")),
    ask("an empty path", instead(b":path", b"")),
    ask("a path without a slash", instead(b":path", b"a")),
    ask("a path that is a URI", instead(b":path", b"http://a/")),
    ask("an asterisk without OPTIONS", instead(b":path", b"*")),
    ask("no pseudo-field", [(b"host", b"a")]),
    ask("no field", []),
    ask("another Host than authority", [*request_fields(), (b"host", b"b")]),
    ask("two Host", [*without(b":authority"), (b"host", b"a"), (b"host", b"a")]),
    ask("authority with user information", instead(b":authority", b"me@a")),
    ask("an empty method", instead(b":method", b"")),
    ask("a method with a space", instead(b":method", b"GE T")),
    ask("a path with a space", instead(b":path", b"/a b")),
    ask("a path with a CRLF", instead(b":path", b"/ HTTP/1.1\r\nx: y")),
    ask("an authority with a CRLF", instead(b":authority", b"a\r\nx: y")),
    ask("a scheme with a space", instead(b":scheme", b"ht tp")),
    # 8.1, 8.1.1: the message
    ask("content-length without a body", post((b"content-length", b"1"))),
    then("more than content-length", body(b"ab"), fields=post((b"content-length", b"1"))),
    then("less than content-length", body(b"a"), fields=post((b"content-length", b"2"))),
    then(
        "less than content-length, then trailers",
        body(b"a", False),
        trailers((b"x-t", b"1")),
        fields=post((b"content-length", b"2")),
    ),
    *(
        ask(f"content-length {value!r}", post((b"content-length", value.encode())), end=False)
        for value in ("x", "+1", "-1", "1,1", "1, 2", "0x1", "", "99999999999999999999")
    ),
    ask(
        "two content-lengths that differ",
        post((b"content-length", b"1"), (b"content-length", b"2")),
        end=False,
    ),
    then("trailers that do not end the stream", trailers((b"x-t", b"1"), end=False)),
    then("a pseudo-field in trailers", trailers((b":path", b"/"))),
    then("status in trailers", trailers((b":status", b"200"))),
    then("upper case in trailers", trailers((b"X-T", b"1"))),
    then("a NUL in trailers", trailers((b"x-t", b"\0"))),
    then("connection in trailers", trailers((b"connection", b"close"))),
    # 8.5 and RFC 8441: CONNECT
    ask("CONNECT with a path", [*CONNECT, (b":path", b"/")], end=False),
    ask("CONNECT with a scheme", [*CONNECT, (b":scheme", b"http")], end=False),
    ask("CONNECT without authority", CONNECT[:1], end=False),
    ask("protocol without CONNECT", request_fields("GET", "/ws", protocol="websocket")),
    ask("extended CONNECT without path", [f for f in EXTENDED if f[0] != b":path"], end=False),
    ask("extended CONNECT without scheme", [f for f in EXTENDED if f[0] != b":scheme"], end=False),
    # 6.9: a stream's window
    then(
        "a window beyond 2^31-1",
        lambda s: w.window_update(s, 0x7FFFFFFF),
        code=Code.FLOW_CONTROL_ERROR,
    ),
]
def conn(name, send, code=P):
    return Case(name, send if callable(send) else lambda s: send, code)


def setting(key, value):
    return w.settings([(key, value)])


F, GET = Code.FRAME_SIZE_ERROR, w.block(request_fields())

CONN = [
    # 4.2: sizes
    conn("a frame above the limit", lambda s: w.frame(w.Type.DATA, 0, s, bytes(16385)), F),
    conn("headers above the limit", lambda s: w.frame(w.Type.HEADERS, 4, s, bytes(16385)), F),
    conn("a PING of 7 bytes", w.frame(w.Type.PING, 0, 0, bytes(7)), F),
    conn("a SETTINGS of 5 bytes", w.frame(w.Type.SETTINGS, 0, 0, bytes(5)), F),
    conn("a SETTINGS ACK with a payload", w.frame(w.Type.SETTINGS, 1, 0, bytes(6)), F),
    conn("a WINDOW_UPDATE of 3 bytes", w.frame(w.Type.WINDOW_UPDATE, 0, 0, bytes(3)), F),
    conn("a GOAWAY of 7 bytes", w.frame(w.Type.GOAWAY, 0, 0, bytes(7)), F),
    conn(
        "an RST_STREAM of 3 bytes",
        lambda s: w.headers(s, GET, False) + w.frame(w.Type.RST_STREAM, 0, s, bytes(3)),
        F,
    ),
    # 4.3, 6.10: header blocks
    conn("an index that is none", lambda s: w.headers(s, b"\xff\xff\x7f"), Code.COMPRESSION_ERROR),
    conn("the index 0", lambda s: w.headers(s, b"\x80"), Code.COMPRESSION_ERROR),
    conn("a cut field", lambda s: w.headers(s, GET[:-1]), Code.COMPRESSION_ERROR),
    conn(
        "a table above the limit",
        lambda s: w.headers(s, w.number(5000, 5, 0x20) + GET),
        Code.COMPRESSION_ERROR,
    ),
    conn(
        "Huffman code with EOS",
        lambda s: w.headers(s, GET + b"\0\x01x\x84\xff\xff\xff\xff"),
        Code.COMPRESSION_ERROR,
    ),
    conn("CONTINUATION without HEADERS", lambda s: w.continuation(s, GET)),
    conn("CONTINUATION behind a whole block", lambda s: w.headers(s, GET) + w.continuation(s, b"")),
    conn(
        "a PING inside a block",
        lambda s: w.headers(s, GET, flags=w.END_STREAM) + w.ping(),
    ),
    conn(
        "DATA inside a block",
        lambda s: w.headers(s, GET, flags=0) + w.data(s, b"x"),
    ),
    conn(
        "CONTINUATION of another stream",
        lambda s: w.headers(s, GET, flags=w.END_STREAM) + w.continuation(s + 2, b""),
    ),
    # 5.1: streams
    conn("DATA on stream 0", w.data(0, b"x")),
    conn("HEADERS on stream 0", w.headers(0, GET)),
    conn("RST_STREAM on stream 0", w.rst_stream(0)),
    conn("CONTINUATION on stream 0", w.continuation(0, b"")),
    conn("PRIORITY_UPDATE on a stream", lambda s: w.frame(16, 0, s, s.to_bytes(4, "big") + b"u=1")),
    conn("DATA on an idle stream", lambda s: w.data(s + 2, b"x")),
    conn("RST_STREAM on an idle stream", lambda s: w.rst_stream(s + 2)),
    conn("WINDOW_UPDATE on an idle stream", lambda s: w.window_update(s + 2, 1)),
    conn("a stream of even number", w.headers(2, GET)),
    conn(
        "DATA behind END_STREAM",
        lambda s: w.headers(s, GET) + w.data(s, b"x"),
        Code.STREAM_CLOSED,
    ),
    conn(
        "HEADERS behind END_STREAM",
        lambda s: w.headers(s, GET) + w.headers(s, GET),
        Code.STREAM_CLOSED,
    ),
    # 6: the frames of the conn
    conn("padding as long as the frame", lambda s: w.frame(w.Type.HEADERS, 0xD, s, b"\x01")),
    conn("SETTINGS on a stream", lambda s: w.frame(w.Type.SETTINGS, 0, s)),
    conn("PING on a stream", lambda s: w.frame(w.Type.PING, 0, s, bytes(8))),
    conn("GOAWAY on a stream", lambda s: w.frame(w.Type.GOAWAY, 0, s, bytes(8))),
    conn("PUSH_PROMISE", lambda s: w.frame(w.Type.PUSH_PROMISE, 4, s, bytes(4) + GET)),
    conn("ENABLE_PUSH of 2", setting(Setting.ENABLE_PUSH, 2)),
    conn("MAX_FRAME_SIZE too small", setting(Setting.MAX_FRAME_SIZE, 16383)),
    conn("MAX_FRAME_SIZE too large", setting(Setting.MAX_FRAME_SIZE, 1 << 24)),
    conn("NO_RFC7540_PRIORITIES of 2", setting(Setting.NO_RFC7540_PRIORITIES, 2)),
    conn(
        "INITIAL_WINDOW_SIZE too large",
        setting(Setting.INITIAL_WINDOW_SIZE, 1 << 31),
        Code.FLOW_CONTROL_ERROR,
    ),
    # A stream's would be an error of the stream, and may be one of the conn (5.4.2).
    conn(
        "a window update of nothing",
        lambda s: w.headers(s, w.block(post()), False) + w.window_update(s, 0),
    ),
    conn("a conn's window update of nothing", w.window_update(0, 0)),
    conn("a conn's window beyond 2^31-1", w.window_update(0, 0x7FFFFFFF), Code.FLOW_CONTROL_ERROR),
]

EARLY = [
    Case("no SETTINGS behind the preface", w.PREFACE + w.ping(), P),
    Case("SETTINGS ACK behind the preface", w.PREFACE + w.settings_ack(), P),
]
