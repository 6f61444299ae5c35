# SPDX-License-Identifier: Apache-2.0
"""What of an upstream's answer reaches the client, and what becomes of a bad one."""
from . import OK, OK_CLIENT, answered

PLAIN = [
    answered(
        "Status, reason phrase and fields are kept in order and case",
        "HTTP/1.1 299 Very Fine Indeed\r\nx-B: 1\r\nX-a: 2\r\nX-A: 3\r\nContent-Length: 2\r\n\r\nok",
        "HTTP/1.1 299 Very Fine Indeed\r\nx-B: 1\r\nX-a: 2\r\nX-A: 3\r\nContent-Length: 2\r\n{date}\r\n\r\nok",
    ),
    answered(
        "An empty reason phrase is fine",
        "HTTP/1.1 200 \r\nContent-Length: 2\r\n\r\nok",
        "HTTP/1.1 200 \r\nContent-Length: 2\r\n{date}\r\n\r\nok",
    ),
    answered(
        "Date of the upstream is kept",
        "HTTP/1.1 200 OK\r\nDate: Thu, 01 Jan 1970 00:00:00 GMT\r\nContent-Length: 2\r\n\r\nok",
        "HTTP/1.1 200 OK\r\nDate: Thu, 01 Jan 1970 00:00:00 GMT\r\nContent-Length: 2\r\n\r\nok",
    ),
    answered(
        "Several Set-Cookie fields stay several",
        "HTTP/1.1 200 OK\r\nSet-Cookie: a=1\r\nSet-Cookie: b=2\r\nContent-Length: 0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nSet-Cookie: a=1\r\nSet-Cookie: b=2\r\nContent-Length: 0\r\n{date}\r\n\r\n",
    ),
    answered(
        "Error statuses of the upstream are passed on",
        "HTTP/1.1 503 No\r\nContent-Length: 3\r\n\r\nbad",
        "HTTP/1.1 503 No\r\nContent-Length: 3\r\n{date}\r\n\r\nbad",
    ),
    answered(
        "Redirects are passed on",
        "HTTP/1.1 301 Moved\r\nLocation: /x\r\nContent-Length: 0\r\n\r\n",
        "HTTP/1.1 301 Moved\r\nLocation: /x\r\nContent-Length: 0\r\n{date}\r\n\r\n",
    ),
    answered(
        "An HTTP/1.0 upstream's answer goes out as HTTP/1.1",
        "HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok",
        OK_CLIENT,
        then="close",
    ),
    answered(
        "Bytes over 127 in a response's value are passed on",
        "HTTP/1.1 200 OK\r\nA: \xe9\xff\r\nContent-Length: 0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nA: \xe9\xff\r\nContent-Length: 0\r\n{date}\r\n\r\n",
    ),
]

BODIES = [
    answered(
        "A chunked response stays chunked",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n1\r\n!\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\n{date}\r\nTransfer-Encoding: chunked\r\n\r\n6\r\nhello!\r\n0\r\n\r\n",
    ),
    answered(
        "Chunk extensions of a response are not passed on",
        'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5;a="b"\r\nhello\r\n0;c\r\n\r\n',
        "HTTP/1.1 200 OK\r\n{date}\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
    ),
    answered(
        "Trailers of a response are passed on",
        "HTTP/1.1 200 OK\r\nTrailer: X-Sum\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\nX-Sum: 1\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTrailer: X-Sum\r\n{date}\r\nTransfer-Encoding: chunked\r\n\r\n"
        "2\r\nhi\r\n0\r\nX-Sum: 1\r\n\r\n",
    ),
    answered(
        "A response without length ends at close: chunked for an HTTP/1.1 client",
        "HTTP/1.1 200 OK\r\nA: 1\r\n\r\nhello",
        "HTTP/1.1 200 OK\r\nA: 1\r\n{date}\r\nTransfer-Encoding: chunked"
        "\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
        then="close",
    ),
    answered(
        "A response without length may be empty",
        "HTTP/1.1 200 OK\r\n\r\n",
        "HTTP/1.1 200 OK\r\n{date}\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        then="close",
    ),
    answered(
        "204 has no body",
        "HTTP/1.1 204 No Content\r\nA: 1\r\n\r\n",
        "HTTP/1.1 204 No Content\r\nA: 1\r\n{date}\r\n\r\n",
    ),
    answered(
        "304 has no body",
        'HTTP/1.1 304 Not Modified\r\nETag: "x"\r\n\r\n',
        'HTTP/1.1 304 Not Modified\r\nETag: "x"\r\n{date}\r\n\r\n',
    ),
    answered(
        "304 has no body whatever its length says",
        "HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n",
        "HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n{date}\r\n\r\n",
    ),
    answered(
        "A response to HEAD has no body whatever its length says",
        "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n{date}\r\n\r\n",
        method="HEAD",
    ),
    answered(
        "A response to HEAD without length has no body",
        "HTTP/1.1 200 OK\r\nA: 1\r\n\r\n",
        "HTTP/1.1 200 OK\r\nA: 1\r\n{date}\r\n\r\n",
        method="HEAD",
    ),
    answered(
        "A body that looks like a response is a body",
        "HTTP/1.1 200 OK\r\nContent-Length: 21\r\n\r\nHTTP/1.1 500 No\r\n\r\nab",
        "HTTP/1.1 200 OK\r\nContent-Length: 21\r\n{date}\r\n\r\nHTTP/1.1 500 No\r\n\r\nab",
    ),
]

HOP = [
    answered(
        f"{name} is hop-by-hop in a response",
        f"HTTP/1.1 200 OK\r\nA: 1\r\n{name}: {value}\r\nContent-Length: 2\r\n\r\nok",
        "HTTP/1.1 200 OK\r\nA: 1\r\nContent-Length: 2\r\n{date}\r\n\r\nok",
    )
    for name, value in (
        ("Keep-Alive", "timeout=5"),
        ("Proxy-Connection", "keep-alive"),
        ("TE", "gzip"),
        ("Connection", "keep-alive"),
        ("connection", "close"),
        ("Upgrade", "websocket"),
        ("Proxy-Authenticate", "Basic"),
        ("Proxy-Authorization", "x"),
    )
] + [
    answered(
        "Fields named by a response's Connection are removed",
        "HTTP/1.1 200 OK\r\nX-A: 1\r\nConnection: x-a, B\r\nb: 2\r\nContent-Length: 2\r\n\r\nok",
        OK_CLIENT,
    ),
    answered(
        "A response's Connection can't remove Content-Length or Set-Cookie",
        "HTTP/1.1 200 OK\r\nConnection: content-length, set-cookie\r\nSet-Cookie: a\r\nContent-Length: 2\r\n\r\nok",
        "HTTP/1.1 200 OK\r\nSet-Cookie: a\r\nContent-Length: 2\r\n{date}\r\n\r\nok",
    ),
]

INTERIM = [
    answered(
        "103 is passed on before the final response",
        "HTTP/1.1 103 Early Hints\r\nLink: </s.css>\r\n\r\n" + OK,
        "HTTP/1.1 103 Early Hints\r\nLink: </s.css>\r\n\r\n" + OK_CLIENT,
    ),
    answered(
        "Several interim responses are passed on in order",
        "HTTP/1.1 102 Processing\r\n\r\nHTTP/1.1 103 Early Hints\r\nA: 1\r\n\r\nHTTP/1.1 103 Early Hints\r\n"
        "A: 2\r\n\r\n" + OK,
        "HTTP/1.1 102 Processing\r\n\r\nHTTP/1.1 103 Early Hints\r\nA: 1\r\n\r\nHTTP/1.1 103 Early Hints\r\n"
        "A: 2\r\n\r\n" + OK_CLIENT,
    ),
]


def bad(name, answer, reason="bad_response", **kw):
    return answered(name, answer, fails=(502, reason), **kw)


HEAD = "HTTP/1.1 200 OK\r\n"
BAD = [
    bad("An answer that is not HTTP is 502", "SSH-2.0-OpenSSH_9.2\r\n\r\n"),
    bad("An answer of HTTP/2 is 502", "HTTP/2.0 200 OK\r\nContent-Length: 0\r\n\r\n"),
    bad("A status of two digits is 502", "HTTP/1.1 20 OK\r\nContent-Length: 0\r\n\r\n"),
    bad("A status of four digits is 502", "HTTP/1.1 2000 OK\r\nContent-Length: 0\r\n\r\n"),
    bad("A status below 100 is 502", "HTTP/1.1 099 No\r\nContent-Length: 0\r\n\r\n"),
    bad(
        "Content-Length and Transfer-Encoding in an answer are 502",
        HEAD + "Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
    ),
    bad(
        "Two differing lengths in an answer are 502",
        HEAD + "Content-Length: 2\r\nContent-Length: 3\r\n\r\nok!",
    ),
    bad("A length that is no number in an answer is 502", HEAD + "Content-Length: 2x\r\n\r\nok"),
    bad("A list-valued length in an answer is 502", HEAD + "Content-Length: 2, 3\r\n\r\nok"),
    bad(
        "An unknown coding in an answer is 502",
        HEAD + "Transfer-Encoding: gzip\r\n\r\nok",
        then="close",
    ),
    bad(
        "chunked twice in an answer is 502",
        HEAD + "Transfer-Encoding: chunked, chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
    ),
    bad("A NUL in a field of an answer is 502", HEAD + "A: \x00\r\nContent-Length: 2\r\n\r\nok"),
    bad(
        "A control byte in a field of an answer is 502",
        HEAD + "A: \x01\r\nContent-Length: 2\r\n\r\nok",
    ),
    bad(
        "A space before the colon in an answer is 502",
        HEAD + "A : 1\r\nContent-Length: 2\r\n\r\nok",
    ),
    bad(
        "A space before the colon of an answer's length is 502",
        HEAD + "Content-Length : 2\r\n\r\nok",
    ),
    bad("A folded field in an answer is 502", HEAD + "A: 1\r\n 2\r\nContent-Length: 2\r\n\r\nok"),
    bad("A bare LF in an answer's head is 502", "HTTP/1.1 200 OK\nContent-Length: 2\n\nok"),
    bad("A bare CR in an answer's field is 502", HEAD + "A: 1\r2\r\nContent-Length: 2\r\n\r\nok"),
    bad("An invalid field name in an answer is 502", HEAD + "A(: 1\r\nContent-Length: 2\r\n\r\nok"),
    bad(
        "An answer's head over the limit is 502",
        HEAD + f"A: {'a' * 3000}\r\nContent-Length: 2\r\n\r\nok",
        "response_head_too_large",
        split=False,
    ),
    bad(
        "An answer's head that never ends is 502",
        HEAD + f"A: {'a' * 3000}",
        "response_head_too_large",
        split=False,
    ),
    bad(
        "101 to a request that asked for no upgrade is 502",
        "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n",
    ),
    bad(
        "A close inside the answer's head is 502",
        "HTTP/1.1 200 OK\r\nContent-",
        "upstream_closed",
        then="close",
    ),
    bad("A close after two bytes is 502", "HT", "upstream_closed", then="close"),
    bad("A close instead of an answer is 502", "", "upstream_closed", then="close", method="POST"),
    bad("A HEAD's bad answer is a 502 without body", "HTTP/1.1 20 OK\r\n\r\n", method="HEAD"),
]

CUT = [
    answered(
        "A close inside a body with a length cuts the client's stream",
        HEAD + "Content-Length: 5\r\n\r\nhel",
        cut="response_incomplete",
        then="close",
    ),
    answered(
        "A close inside a chunk cuts the client's stream",
        HEAD + "Transfer-Encoding: chunked\r\n\r\n5\r\nhel",
        cut="response_incomplete",
        then="close",
    ),
    answered(
        "A close between two chunks cuts the client's stream",
        HEAD + "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n",
        cut="response_incomplete",
        then="close",
    ),
    answered(
        "A close before the end of the trailers cuts the client's stream",
        HEAD + "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nX: 1\r\n",
        cut="response_incomplete",
        then="close",
    ),
]

VECTORS = PLAIN + BODIES + HOP + INTERIM + BAD + CUT
