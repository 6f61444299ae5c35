# SPDX-License-Identifier: Apache-2.0
"""Heads that weir refuses: the exact status and reason, nothing at the upstream, the connection
closed.

The vectors' configuration allows 256 bytes of target, 2 KiB of head and 24 fields.
"""
from . import rejected


def line(name, text, status=400, reason="bad_request_line"):
    return rejected(name, f"{text}\r\nHost: a\r\n\r\n", status, reason)


def fields(name, text, status=400, reason="bad_field", method="GET"):
    return rejected(name, f"{method} / HTTP/1.1\r\nHost: a\r\n{text}\r\n", status, reason)


REQUEST_LINE = [
    line("A method with an invalid byte is 400", "GE(T / HTTP/1.1"),
    line("A method that weir does not know is 501", "FROBNICATE / HTTP/1.1", 501, "unknown_method"),
    line("Methods are case-sensitive: get is unknown", "get / HTTP/1.1", 501, "unknown_method"),
    line("A request line without a version is 400", "GET /"),
    line("A request line of a method alone is 400", "GET"),
    line("Two spaces before the target are 400", "GET  / HTTP/1.1"),
    line("Two spaces before the version are 400", "GET /  HTTP/1.1"),
    line("A space at the end of the request line is 400", "GET / HTTP/1.1 "),
    line("A tab between method and target is 400", "GET\t/ HTTP/1.1"),
    line("A space inside the target is 400", "GET /a b HTTP/1.1"),
    line("A space before the method is 400", " GET / HTTP/1.1"),
    line("HTTP/2.0 in a request line is 505", "GET / HTTP/2.0", 505, "bad_version"),
    line("HTTP/1.2 is 505", "GET / HTTP/1.2", 505, "bad_version"),
    line("HTTP/0.9 is 505", "GET / HTTP/0.9", 505, "bad_version"),
    line("A two-digit version is 400", "GET / HTTP/1.10"),
    line("A lower-case protocol name is 400", "GET / http/1.1"),
    line("Another protocol's name is 400", "GET / ICY/1.1"),
    line("HTTP without a dot in the version is 400", "GET / HTTP/11"),
    line(
        "The HTTP/2 preface is 505 on a listener without h2", "PRI * HTTP/2.0", 505, "bad_version"
    ),
    rejected(
        "A bare LF at the end of the request line is 400",
        "GET / HTTP/1.1\nHost: a\r\n\r\n",
        400,
        "bad_line_ending",
    ),
    rejected(
        "A bare CR at the end of the request line is 400",
        "GET / HTTP/1.1\rHost: a\r\n\r\n",
        400,
        "bad_line_ending",
    ),
    rejected(
        "A bare LF before the request line is 400",
        "\nGET / HTTP/1.1\r\nHost: a\r\n\r\n",
        400,
        "bad_line_ending",
    ),
    rejected(
        "A bare LF after an empty line before the request line is 400",
        "\r\n\nGET / HTTP/1.1\r\nHost: a\r\n\r\n",
        400,
        "bad_line_ending",
    ),
    rejected(
        "A NUL in the request line is 400",
        "GET /\x00 HTTP/1.1\r\nHost: a\r\n\r\n",
        400,
        "bad_target",
    ),
    rejected(
        "A TLS handshake on a plaintext listener is 400",
        "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + "\x07" * 64,
        400,
        "bad_request_line",
    ),
]

TARGET = [
    line(f"A target with {what} is 400", f"GET {target} HTTP/1.1", 400, "bad_target")
    for what, target in (
        ("a byte over 127", "/caf\xe9"),
        ("a DEL", "/a\x7f"),
        ("a control byte", "/a\x01"),
        ("a double quote", '/a"b'),
        ("a less-than sign", "/a<b"),
        ("a greater-than sign", "/a>b"),
        ("a backslash", "/a\\b"),
        ("a caret", "/a^b"),
        ("a backquote", "/a`b"),
        ("a brace", "/a{b"),
        ("a vertical bar", "/a|b"),
        ("a bracket in the path", "/a[b"),
        ("a fragment", "/a#b"),
        ("a percent sign without hex digits", "/a%zz"),
        ("a percent sign with one hex digit", "/a%4"),
        ("a percent sign at its end", "/a%"),
        ("a bad escape in the query", "/a?b=%g0"),
        ("a double quote in the query", '/?a="b"'),
        ("a bar in the query", "/?a|b"),
        ("no slash at its start", "a/b"),
        ("authority-form and no CONNECT", "example.com:80"),
        ("no authority in absolute-form", "http:///x"),
        ("a bad port in absolute-form", "http://a:b/"),
    )
] + [
    line("Asterisk-form is only for OPTIONS", "GET * HTTP/1.1", 400, "bad_target"),
    line("Asterisk-form with a suffix is 400", "OPTIONS *x HTTP/1.1", 400, "bad_target"),
    rejected(
        "CONNECT is 405", "CONNECT a:443 HTTP/1.1\r\nHost: a:443\r\n\r\n", 405, "connect_method"
    ),
]

FIELDS = [
    fields("A space before the colon is 400", "X-A : 1\r\n"),
    fields("A tab before the colon is 400", "X-A\t: 1\r\n"),
    fields("A space before the colon of Content-Length is 400", "Content-Length : 0\r\n"),
    fields(
        "A space before the colon of Transfer-Encoding is 400", "Transfer-Encoding : chunked\r\n"
    ),
    fields("obs-fold with a space is 400", "X-A: 1\r\n 2\r\n"),
    fields("obs-fold with a tab is 400", "X-A: 1\r\n\t2\r\n"),
    fields("obs-fold after an empty value is 400", "X-A:\r\n 2\r\n"),
    rejected(
        "Whitespace before the first field is 400",
        "GET / HTTP/1.1\r\n Host: a\r\n\r\n",
        400,
        "bad_field",
    ),
    rejected(
        "A line of whitespace before the first field is 400",
        "GET / HTTP/1.1\r\n \r\nHost: a\r\n\r\n",
        400,
        "bad_field",
    ),
    fields("A field name with a parenthesis is 400", "X(A: 1\r\n"),
    fields("A field name with a byte over 127 is 400", "X\xe9: 1\r\n"),
    fields("A field name with a NUL is 400", "X\x00A: 1\r\n"),
    fields("A field with an empty name is 400", ": 1\r\n"),
    fields("A line without a colon is 400", "X-A\r\n"),
    fields("A NUL in a value is 400", "X-A: 1\x002\r\n"),
    fields("A NUL at the start of a value is 400", "X-A: \x00\r\n"),
    fields("A control byte in a value is 400", "X-A: 1\x012\r\n"),
    fields("A DEL in a value is 400", "X-A: 1\x7f2\r\n"),
    fields("A vertical tab before chunked is 400", "Transfer-Encoding: \x0bchunked\r\n"),
    fields("A bare CR in a value is 400", "X-A: 1\r2\r\n", reason="bad_line_ending"),
    fields("A bare CR before a CRLF is 400", "X-A: 1\r\r\n", reason="bad_line_ending"),
    fields(
        "A bare LF at the end of a field is 400", "X-A: 1\nX-B: 2\r\n", reason="bad_line_ending"
    ),
    rejected(
        "A bare LF as the empty line is 400",
        "GET / HTTP/1.1\r\nHost: a\r\n\n",
        400,
        "bad_line_ending",
    ),
    rejected("A head in bare LFs is 400", "GET / HTTP/1.1\nHost: a\n\n", 400, "bad_line_ending"),
    rejected(
        "A bare CR in the empty line is 400",
        "GET / HTTP/1.1\r\nHost: a\r\n\rX\r\n\r\n",
        400,
        "bad_line_ending",
    ),
]


def host(name, value, reason="bad_host"):
    return rejected(name, f"GET / HTTP/1.1\r\nHost: {value}\r\n\r\n", 400, reason)


HOST = [
    rejected(
        "HTTP/1.1 without Host is 400", "GET / HTTP/1.1\r\nX-A: 1\r\n\r\n", 400, "missing_host"
    ),
    rejected("HTTP/1.1 without any field is 400", "GET / HTTP/1.1\r\n\r\n", 400, "missing_host"),
    rejected(
        "Two Host fields are 400", "GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 400, "bad_host"
    ),
    rejected(
        "Two equal Host fields are 400",
        "GET / HTTP/1.1\r\nHost: a\r\nX: 1\r\nhost: a\r\n\r\n",
        400,
        "bad_host",
    ),
    rejected(
        "Two Host fields are 400 on HTTP/1.0 too",
        "GET / HTTP/1.0\r\nHost: a\r\nHost: b\r\n\r\n",
        400,
        "bad_host",
    ),
    rejected(
        "Absolute-form needs a Host on HTTP/1.1 too",
        "GET http://a/ HTTP/1.1\r\n\r\n",
        400,
        "missing_host",
    ),
    host("A Host with a space is 400", "a b"),
    host("A Host with a slash is 400", "a/b"),
    host("A Host with userinfo is 400", "u@a"),
    host("A Host with a port that is no number is 400", "a:b"),
    host("A Host with a backslash is 400", "a\\b"),
    host("A Host with a query is 400", "a?b"),
    host("A Host with a fragment is 400", "a#b"),
    host("A Host with two ports is 400", "a:1:2"),
    host("A Host with an unclosed bracket is 400", "[::1"),
    host("A Host with bytes over 127 is 400", "caf\xe9"),
    host("A Host with a scheme is 400", "http://a"),
    host("A Host with a bad escape is 400", "a%zz"),
]

LENGTH = [
    fields(
        f"A Content-Length of {value!r} is 400",
        f"Content-Length: {value}\r\n",
        reason="bad_content_length",
        method="POST",
    )
    for value in (
        "5, 5",
        "5,5",
        "5, 6",
        "+5",
        "-1",
        "5a",
        "",
        "0x5",
        "5 5",
        "5;a",
        "1e1",
        "5.0",
        "99999999999999999999",
        "18446744073709551616",
        "9223372036854775808",
    )
] + [
    fields(
        "Two differing Content-Length fields are 400",
        "Content-Length: 5\r\nContent-Length: 6\r\n",
        reason="bad_content_length",
        method="POST",
    ),
    fields(
        "Two differing Content-Length fields are 400 in any order and case",
        "content-length: 0\r\nX: 1\r\nCONTENT-LENGTH: 1\r\n",
        reason="bad_content_length",
        method="POST",
    ),
    fields(
        "Content-Length together with Transfer-Encoding is 400",
        "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n",
        reason="length_conflict",
        method="POST",
    ),
    fields(
        "Transfer-Encoding together with Content-Length is 400",
        "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n",
        reason="length_conflict",
        method="POST",
    ),
    fields(
        "Content-Length 0 together with Transfer-Encoding is 400",
        "Transfer-Encoding: chunked\r\nContent-Length: 0\r\n",
        reason="length_conflict",
        method="GET",
    ),
]

CODING = [
    fields(
        f"A Transfer-Encoding of {value!r} is 400",
        f"Transfer-Encoding: {value}\r\n",
        reason="bad_transfer_encoding",
        method="POST",
    )
    for value in (
        "gzip",
        "identity",
        "chunked, chunked",
        "chunked, gzip",
        "chunked, identity",
        "",
        "xchunked",
        "chunkedx",
        "chunked;q=1",
        '"chunked"',
        "chunked chunked",
    )
] + [
    fields(
        "A coding that weir does not know before chunked is 501",
        "Transfer-Encoding: gzip, chunked\r\n",
        501,
        "unknown_coding",
        "POST",
    ),
    fields(
        "A coding that weir does not know in a field of its own is 501",
        "Transfer-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n",
        501,
        "unknown_coding",
        "POST",
    ),
    fields(
        "chunked in two fields is 400",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
        reason="bad_transfer_encoding",
        method="POST",
    ),
    fields(
        "chunked before another field's coding is 400",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: gzip\r\n",
        reason="bad_transfer_encoding",
        method="POST",
    ),
    rejected(
        "Transfer-Encoding on HTTP/1.0 is 400",
        "POST / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        400,
        "bad_transfer_encoding",
    ),
]

LIMITS = [
    rejected(
        "A target over the limit is 414",
        f"GET /{'a' * 300} HTTP/1.1\r\nHost: a\r\n\r\n",
        414,
        "target_too_long",
        split=False,
    ),
    rejected(
        "A target that never ends is 414", f"GET /{'a' * 1000}", 414, "target_too_long", split=False
    ),
    rejected(
        "A field that makes the head too large is 431",
        f"GET / HTTP/1.1\r\nHost: a\r\nX: {'a' * 2100}\r\n\r\n",
        431,
        "head_too_large",
        split=False,
    ),
    rejected(
        "Many fields that make the head too large are 431",
        "GET / HTTP/1.1\r\nHost: a\r\n" + f"X: {'a' * 200}\r\n" * 11 + "\r\n",
        431,
        "head_too_large",
        split=False,
    ),
    rejected(
        "A head that never ends is 431",
        f"GET / HTTP/1.1\r\nHost: a\r\nX: {'a' * 3000}",
        431,
        "head_too_large",
        split=False,
    ),
    rejected(
        "A field name that never ends is 431",
        f"GET / HTTP/1.1\r\nHost: a\r\n{'X' * 3000}",
        431,
        "head_too_large",
        split=False,
    ),
    rejected(
        "More fields than the limit are 431",
        "GET / HTTP/1.1\r\nHost: a\r\n" + "X: 1\r\n" * 24 + "\r\n",
        431,
        "too_many_fields",
    ),
]

VECTORS = REQUEST_LINE + TARGET + FIELDS + HOST + LENGTH + CODING + LIMITS
