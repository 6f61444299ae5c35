# SPDX-License-Identifier: Apache-2.0
"""What of a request reaches the upstream: targets, fields, forwarding, versions."""
from . import OK, OK_CLOSED, get, passes

FORMS = [
    get("A plain request is forwarded with the forwarding fields"),
    get("The query is forwarded untouched", target="/a?b=c&d=%2f%7e/../?x"),
    get("An empty query keeps its question mark", target="/a?"),
    get("Host is forwarded unmodified", host="Shop.EXAMPLE:8080"),
    get("An IPv6 Host is forwarded", host="[2001:db8::1]:80"),
    get("A Host with an empty port is forwarded", host="a:"),
    get("A Host with an underscore is forwarded", host="my_app"),
    passes(
        "One empty line before the request line is ignored",
        "\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\n{fwd:a}\r\n\r\n",
    ),
    passes(
        "Absolute-form becomes origin-form and sets Host",
        "GET http://Good.example:81/x?y HTTP/1.1\r\nHost: evil\r\nA: 1\r\n\r\n",
        "GET /x?y HTTP/1.1\r\nHost: Good.example:81\r\nA: 1\r\n{fwd:Good.example:81}\r\n\r\n",
    ),
    passes(
        "Absolute-form without a path is the root",
        "GET http://b HTTP/1.1\r\nHost: b\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: b\r\n{fwd:b}\r\n\r\n",
    ),
    passes(
        "Absolute-form with a query and no path gets the root path",
        "GET http://b?q HTTP/1.1\r\nHost: b\r\n\r\n",
        "GET /?q HTTP/1.1\r\nHost: b\r\n{fwd:b}\r\n\r\n",
    ),
    passes(
        "The scheme of absolute-form is case-insensitive",
        "GET HTTP://b/ HTTP/1.1\r\nHost: b\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: b\r\n{fwd:b}\r\n\r\n",
    ),
    passes(
        "OPTIONS in asterisk-form is forwarded so",
        "OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n",
        "OPTIONS * HTTP/1.1\r\nHost: a\r\n{fwd:a}\r\n\r\n",
    ),
    passes(
        "OPTIONS with a path is forwarded so",
        "OPTIONS /x HTTP/1.1\r\nHost: a\r\n\r\n",
        "OPTIONS /x HTTP/1.1\r\nHost: a\r\n{fwd:a}\r\n\r\n",
    ),
] + [
    passes(
        f"{m} is forwarded",
        f"{m} /m HTTP/1.1\r\nHost: a\r\n\r\n",
        f"{m} /m HTTP/1.1\r\nHost: a\r\n{{fwd:a}}\r\n\r\n",
    )
    for m in ("PUT", "DELETE", "PATCH", "TRACE", "PROPFIND", "REPORT")
]

FIELDS = [
    get(
        "Field order and case are kept",
        "x-B: 1\r\nX-a: 2\r\nX-A: 3\r\naccept: */*\r\n",
        "x-B: 1\r\nX-a: 2\r\nX-A: 3\r\naccept: */*\r\n",
    ),
    get(
        "White space around a value is not part of it",
        "A: b c\r\nB: d\r\nC: e\r\n",
        "A:b c\r\nB: \t d\t \r\nC:e\r\n",
    ),
    get("An empty value is forwarded empty", "A: \r\nB: \r\n", "A:\r\nB: \t\r\n"),
    get(
        "Bytes over 127 in a value are forwarded",
        "A: caf\xe9 \x80\xff\r\n",
        "A: caf\xe9 \x80\xff\r\n",
    ),
    get(
        "Every token character may be in a name",
        "!#$%&'*+-.^`|~09aZ: 1\r\n",
        "!#$%&'*+-.^`|~09aZ: 1\r\n",
    ),
    get(
        "A field whose name has an underscore is dropped",
        "X-A: 2\r\n",
        "X_A: 1\r\nX-A: 2\r\n_: 3\r\na_: 4\r\n",
    ),
    get("Content_Length is dropped, not a length", "", "Content_Length: 5\r\n"),
    get(
        "Set-like fields are not folded together",
        "Cookie: a=1\r\nCookie: b=2\r\n",
        "Cookie: a=1\r\nCookie: b=2\r\n",
    ),
    get(
        "Authorization is end-to-end",
        "Authorization: Basic eDp5\r\n",
        "Authorization: Basic eDp5\r\n",
    ),
]

HOP = [
    get(
        f"{name} is hop-by-hop in a request",
        "A: 1\r\nB: 2\r\n",
        f"A: 1\r\n{name}: {value}\r\nB: 2\r\n",
    )
    for name, value in (
        ("Keep-Alive", "timeout=5"),
        ("Proxy-Connection", "keep-alive"),
        ("TE", "gzip"),
        ("te", "trailers"),
        ("Proxy-Authorization", "Basic eDp5"),
        ("connection", "keep-alive"),
        ("PROXY-AUTHENTICATE", "Basic"),
        ("Upgrade", "h2c"),
    )
] + [
    get(
        "Fields named by Connection are removed",
        "C: 3\r\n",
        "X-A: 1\r\nConnection: x-a, B\r\nb: 2\r\nC: 3\r\n",
    ),
    get(
        "Fields named by a second Connection field are removed",
        "C: 3\r\n",
        "A: 1\r\nConnection: a\r\nB: 2\r\nC: 3\r\nConnection: b\r\n",
    ),
    get(
        "A Connection list may have empty elements and blanks",
        "B: 2\r\n",
        "Connection: , ,\t a ,\r\nA: 1\r\nB: 2\r\n",
    ),
    get("Connection can't remove Host", "", "Connection: host\r\n"),
    passes(
        "Connection can't remove Content-Length",
        "POST / HTTP/1.1\r\nHost: a\r\nConnection: content-length\r\nContent-Length: 2\r\n\r\nhi",
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n{fwd:a}\r\n\r\nhi",
    ),
    passes(
        "Connection can't remove Transfer-Encoding from the framing",
        "POST / HTTP/1.1\r\nHost: a\r\nConnection: transfer-encoding\r\nTransfer-Encoding: chunked\r\n\r\n"
        "2\r\nhi\r\n0\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: a\r\n{fwd:a}\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n",
    ),
    get(
        "Connection can't remove the forwarding fields that weir sets",
        "",
        "Connection: x-forwarded-for, x-forwarded-host, x-forwarded-proto, x-request-id\r\n",
    ),
    get(
        "Connection can't remove Authorization, Cookie, Content-Type or Cache-Control",
        "Authorization: x\r\nCookie: a=1\r\nContent-Type: t/t\r\nCache-Control: no-store\r\n",
        "Connection: authorization, cookie, content-type, cache-control\r\n"
        "Authorization: x\r\nCookie: a=1\r\nContent-Type: t/t\r\nCache-Control: no-store\r\n",
    ),
    passes(
        "Connection: close, host closes and keeps Host",
        "GET / HTTP/1.1\r\nHost: a\r\nConnection: close, host\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\n{fwd:a}\r\n\r\n",
        client=OK_CLOSED,
        closes=True,
    ),
    passes(
        "Connection: close closes after the response",
        "GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\n{fwd:a}\r\n\r\n",
        client=OK_CLOSED,
        closes=True,
    ),
    passes(
        "CLOSE is case-insensitive, and wins over keep-alive",
        "GET / HTTP/1.1\r\nHost: a\r\nConnection: keep-alive, CLOSE\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\n{fwd:a}\r\n\r\n",
        client=OK_CLOSED,
        closes=True,
    ),
]

FORWARDING = [
    get(
        "X-Forwarded-For of an untrusted peer is dropped",
        "",
        "X-Forwarded-For: 1.2.3.4\r\nx-forwarded-for: 5.6.7.8\r\n",
    ),
    get("X-Forwarded-Proto of an untrusted peer is dropped", "", "X-Forwarded-Proto: https\r\n"),
    get("X-Forwarded-Host of an untrusted peer is dropped", "", "X-Forwarded-Host: evil\r\n"),
    get("Forwarded of an untrusted peer is dropped", "", "Forwarded: for=1.2.3.4;host=evil\r\n"),
    passes(
        "X-Request-Id is kept if it is there",
        "GET / HTTP/1.1\r\nHost: a\r\nx-request-id: abc-123\r\nA: 1\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nx-request-id: abc-123\r\nA: 1\r\nX-Forwarded-For: 127.0.0.1\r\n"
        "X-Forwarded-Proto: http\r\nX-Forwarded-Host: a\r\n\r\n",
    ),
    get("An empty X-Request-Id is replaced", "", "X-Request-Id:\r\n"),
    get(
        "Via of the client is kept; weir adds none unless told", "Via: 1.1 x\r\n", "Via: 1.1 x\r\n"
    ),
]

OLD = "Host: a\r\n{fwd:a}\r\n\r\n"
HTTP10 = [
    passes(
        "HTTP/1.0 closes after the response",
        "GET / HTTP/1.0\r\nHost: a\r\n\r\n",
        f"GET / HTTP/1.1\r\n{OLD}",
        client=OK_CLOSED,
        closes=True,
    ),
    passes(
        "HTTP/1.0 with keep-alive stays open, and is told so",
        "GET / HTTP/1.0\r\nHost: a\r\nConnection: Keep-Alive\r\n\r\n",
        f"GET / HTTP/1.1\r\n{OLD}",
        client="HTTP/1.1 200 OK\r\nContent-Length: 2\r\n{date}\r\nConnection: keep-alive\r\n\r\nok",
    ),
    passes(
        "HTTP/1.0 gets no chunked coding: the body ends at close",
        "GET / HTTP/1.0\r\nHost: a\r\n\r\n",
        f"GET / HTTP/1.1\r\n{OLD}",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nX: 1\r\n\r\n",
        "HTTP/1.1 200 OK\r\n{date}\r\nConnection: close\r\n\r\nok",
        closes=True,
    ),
    passes(
        "HTTP/1.0 with keep-alive closes too when the response has no length",
        "GET / HTTP/1.0\r\nHost: a\r\nConnection: keep-alive\r\n\r\n",
        f"GET / HTTP/1.1\r\n{OLD}",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\n{date}\r\nConnection: close\r\n\r\nok",
        closes=True,
    ),
    passes(
        "HTTP/1.0 may send a body with a length",
        "POST / HTTP/1.0\r\nHost: a\r\nContent-Length: 2\r\n\r\nhi",
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n{fwd:a}\r\n\r\nhi",
        client=OK_CLOSED,
        closes=True,
    ),
    passes(
        "Interim responses do not go to HTTP/1.0 clients",
        "GET / HTTP/1.0\r\nHost: a\r\n\r\n",
        f"GET / HTTP/1.1\r\n{OLD}",
        "HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n" + OK,
        OK_CLOSED,
        closes=True,
    ),
]

VECTORS = FORMS + FIELDS + HOP + FORWARDING + HTTP10
