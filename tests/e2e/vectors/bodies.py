# SPDX-License-Identifier: Apache-2.0
"""Request bodies: framing that passes, and framing that is refused before a whole message got
through."""
from . import OK, OK_CLIENT, Exchange, V, passes, rejected

FWD = "{fwd:a}\r\n"


def chunked(name, body, as_body, trailer=""):
    return passes(
        name,
        f"POST /c HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n{trailer}\r\n{body}",
        f"POST /c HTTP/1.1\r\nHost: a\r\n{trailer}{FWD}Transfer-Encoding: chunked\r\n\r\n{as_body}",
    )


GOOD = [
    passes(
        "A body with a length is passed on with its length",
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 11\r\n\r\nhello world",
        f"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 11\r\n{FWD}\r\nhello world",
    ),
    passes(
        "A body of no bytes keeps its length field",
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n",
        f"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n{FWD}\r\n",
    ),
    passes(
        "A POST without length or coding has no body",
        "POST / HTTP/1.1\r\nHost: a\r\n\r\n",
        f"POST / HTTP/1.1\r\nHost: a\r\n{FWD}\r\n",
    ),
    passes(
        "Zeros before the length do not matter",
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 002\r\n\r\nhi",
        f"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 002\r\n{FWD}\r\nhi",
    ),
    passes(
        "A GET may have a body",
        "GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nhi",
        f"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n{FWD}\r\nhi",
    ),
    passes(
        "A body of binary bytes is untouched",
        "PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 12\r\n\r\n\x00\xff\r\n\r\n0\r\n\r\n\x80",
        f"PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 12\r\n{FWD}\r\n\x00\xff\r\n\r\n0\r\n\r\n\x80",
    ),
    chunked(
        "A chunked body stays chunked",
        "5\r\nhello\r\n6\r\n world\r\n0\r\n\r\n",
        "b\r\nhello world\r\n0\r\n\r\n",
    ),
    chunked("An empty chunked body stays chunked", "0\r\n\r\n", "0\r\n\r\n"),
    chunked(
        "Chunk sizes are hexadecimal of either case",
        "a\r\n0123456789\r\nA\r\n0123456789\r\n0\r\n\r\n",
        "14\r\n01234567890123456789\r\n0\r\n\r\n",
    ),
    chunked(
        "Zeros before a chunk size do not matter",
        "0005\r\nhello\r\n00\r\n\r\n",
        "5\r\nhello\r\n0\r\n\r\n",
    ),
    chunked(
        "Chunk extensions are read and not passed on",
        '5;a=b;c="d e";f\r\nhello\r\n0;x\r\n\r\n',
        "5\r\nhello\r\n0\r\n\r\n",
    ),
    chunked(
        "Trailers of a request are passed on",
        "2\r\nhi\r\n0\r\nX-Sum: 42\r\nx-b: c d\r\n\r\n",
        "2\r\nhi\r\n0\r\nX-Sum: 42\r\nx-b: c d\r\n\r\n",
        trailer="Trailer: X-Sum, x-b\r\n",
    ),
    chunked(
        "Bytes of a chunk that look like framing are data",
        "7\r\n0\r\n\r\nab\r\n0\r\n\r\n",
        "7\r\n0\r\n\r\nab\r\n0\r\n\r\n",
    ),
    passes(
        "The coding's name is case-insensitive",
        "POST / HTTP/1.1\r\nHost: a\r\ntransfer-encoding: CHUNKED\r\n\r\n2\r\nhi\r\n0\r\n\r\n",
        f"POST / HTTP/1.1\r\nHost: a\r\n{FWD}Transfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n",
    ),
]

START = f"POST /bad HTTP/1.1\r\nHost: a\r\n{FWD}Transfer-Encoding: chunked\r\n\r\n"


def bad(name, body, reason="bad_chunk"):
    """The head may have gone on by the time the body turns out bad; the upstream never gets a whole
    message."""
    return rejected(
        name,
        f"POST /bad HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n{body}",
        400,
        reason,
        starts=START,
    )


BAD = [
    bad("A chunk size that is no number is 400", "g\r\nhello\r\n0\r\n\r\n"),
    bad("An empty chunk size is 400", "\r\nhello\r\n0\r\n\r\n"),
    bad("A negative chunk size is 400", "-5\r\nhello\r\n0\r\n\r\n"),
    bad("A chunk size with 0x is 400", "0x5\r\nhello\r\n0\r\n\r\n"),
    bad("A space before the chunk size is 400", " 5\r\nhello\r\n0\r\n\r\n"),
    bad("A chunk size of more than 64 bits is 400", "10000000000000005\r\nhello\r\n0\r\n\r\n"),
    bad("A chunk size of 64 bits that overflows is 400", "fffffffffffffffff\r\nhello\r\n0\r\n\r\n"),
    bad("A bare LF after the chunk size is 400", "5\nhello\r\n0\r\n\r\n"),
    bad("A bare CR after the chunk size is 400", "5\rhello\r\n0\r\n\r\n"),
    bad("A bare LF after the chunk's data is 400", "5\r\nhello\n0\r\n\r\n"),
    bad("A missing line end after the chunk's data is 400", "5\r\nhello0\r\n\r\n"),
    bad("More data than the chunk's size is 400", "5\r\nhello!\r\n0\r\n\r\n"),
    bad("A bare CR after the chunk's data is 400", "5\r\nhello\r0\r\n\r\n"),
    bad("A control byte in a chunk extension is 400", "5;a\x01=b\r\nhello\r\n0\r\n\r\n"),
    bad("A bare LF in a chunk extension is 400", "5;a=b\nhello\r\n0\r\n\r\n"),
    bad("A bare CR in a chunk extension is 400", "5;a\rb\r\nhello\r\n0\r\n\r\n"),
    bad("A bare LF in a quoted chunk extension is 400", '5;a="\n"\r\nhello\r\n0\r\n\r\n'),
    bad("An unclosed quote in a chunk extension is 400", '5;a="b\r\nhello\r\n0\r\n\r\n'),
    bad("A bare LF after the last chunk is 400", "5\r\nhello\r\n0\n\r\n"),
    bad(
        "A bare LF as the end of the chunked body is 400",
        "5\r\nhello\r\n0\r\n\n",
        "bad_line_ending",
    ),
    bad("An invalid trailer field is 400", "5\r\nhello\r\n0\r\nX(: 1\r\n\r\n", "bad_field"),
    bad(
        "A trailer with a space before the colon is 400",
        "5\r\nhello\r\n0\r\nX : 1\r\n\r\n",
        "bad_field",
    ),
    bad("A folded trailer is 400", "5\r\nhello\r\n0\r\nX: 1\r\n 2\r\n\r\n", "bad_field"),
    bad("A bare LF in the trailers is 400", "5\r\nhello\r\n0\r\nX: 1\n\r\n", "bad_line_ending"),
    bad("A NUL in the trailers is 400", "5\r\nhello\r\n0\r\nX: \x00\r\n\r\n", "bad_field"),
    bad("A trailer without a colon is 400", "5\r\nhello\r\n0\r\nabc\r\n\r\n", "bad_field"),
]


def pipeline(*paths):
    return "".join(f"GET {p} HTTP/1.1\r\nHost: a\r\n\r\n" for p in paths)


def exchange(path, body=None):
    body = body or path
    answer = f"HTTP/1.1 200 OK\r\nContent-Length: {len(body)}\r\n\r\n{body}"
    return Exchange(
        f"GET {path} HTTP/1.1\r\nHost: a\r\n{FWD}\r\n",
        answer,
        f"HTTP/1.1 200 OK\r\nContent-Length: {len(body)}\r\n{{date}}\r\n\r\n{body}",
    )


POST_ONE = Exchange(
    f"POST /p1 HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n{FWD}\r\none", OK, OK_CLIENT
)
POST_TWO = Exchange(
    f"POST /p2 HTTP/1.1\r\nHost: a\r\n{FWD}Transfer-Encoding: chunked\r\n\r\n3\r\ntwo\r\n0\r\n\r\n",
    OK,
    OK_CLIENT,
)
ONE = "POST /p1 HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\none"
TWO = "POST /p2 HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\ntwo\r\n0\r\n\r\n"
INNER = "GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n"

PIPELINED = [
    V(
        "Pipelined requests are answered in order",
        pipeline("/1", "/2", "/3"),
        (exchange("/1"), exchange("/2"), exchange("/3")),
    ),
    V(
        "Pipelined requests with bodies of both framings are kept apart",
        ONE + TWO + pipeline("/3"),
        (POST_ONE, POST_TWO, exchange("/3")),
    ),
    V(
        "Empty lines between requests are ignored",
        "\r\n" + pipeline("/1") + "\r\n\r\n" + pipeline("/2"),
        (exchange("/1"), exchange("/2")),
    ),
    V(
        "A malformed request behind a good one is refused after the good one's response",
        pipeline("/1") + "GET / HTTP/1.1\r\nHost: a\r\nX : 1\r\n\r\n",
        (exchange("/1"),),
        rejects=(400, "bad_field"),
    ),
    V(
        "What follows a malformed request is not read as a request",
        "GET / HTTP/1.1\r\nHost: a b\r\n\r\n" + pipeline("/2"),
        (),
        rejects=(400, "bad_host"),
    ),
    V(
        "A byte too many after a body is the start of the next request, and refused",
        ONE + "\x01" + pipeline("/2"),
        (POST_ONE,),
        rejects=(400, "bad_request_line"),
    ),
    V(
        "A request inside a body is a body",
        f"POST /p1 HTTP/1.1\r\nHost: a\r\nContent-Length: {len(INNER)}\r\n\r\n{INNER}"
        + pipeline("/2"),
        (
            Exchange(
                f"POST /p1 HTTP/1.1\r\nHost: a\r\nContent-Length: {len(INNER)}\r\n{FWD}\r\n{INNER}",
                OK,
                OK_CLIENT,
            ),
            exchange("/2"),
        ),
    ),
    V(
        "The response to the last request closes when it asks for that",
        pipeline("/1") + "GET /2 HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n" + pipeline("/3"),
        (
            exchange("/1"),
            Exchange(
                f"GET /2 HTTP/1.1\r\nHost: a\r\n{FWD}\r\n",
                OK,
                "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n{date}\r\nConnection: close\r\n\r\nok",
            ),
        ),
        closes=True,
    ),
]

VECTORS = GOOD + BAD + PIPELINED
