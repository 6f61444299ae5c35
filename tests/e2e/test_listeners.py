# SPDX-License-Identifier: Apache-2.0
"""Listeners and endpoints on IPv4, IPv6 and Unix sockets; the limits on what clients may cost."""
import os
import socket

import pytest

import harness
from harness import assert_authored, needs_localhost, needs_v6
from matrix import Matrix
from peers import connect, wait_for

MATRIX = Matrix()


def routes(address, extra=""):
    return f"routes: [ {{ to: app }} ]\npools: {{ app: [ '{address}' ] }}\n{extra}"


@needs_v6
def test_one_weir_listens_on_v4_v6_and_unix_sockets(start_weir, auto, tmp):
    weir = start_weir(
        routes(auto().address)
        + """
listeners: { four: "127.0.0.1:0", six: "[::1]:0", local: "unix:$TMP/w.sock" }
"""
    )
    assert weir.listeners["six"].startswith("[::1]:") and weir.listeners["local"].startswith(
        "unix:/"
    )
    with weir.logged(3) as log:
        for name in ("four", "six", "local"):
            with weir.client(name) as c:
                assert c.get().body == b"ok"
    clients = {e["listener"]: e["client"] for e in log}
    assert clients["four"].startswith("127.0.0.1:") and clients["six"].startswith("[::1]:")
    assert clients["local"].startswith("unix:")


def test_a_unix_socket_is_removed_at_the_end_and_a_stale_one_replaced_at_the_start(
    start_weir, auto, tmp
):
    path = str(tmp / "w.sock")
    stale = socket.socket(socket.AF_UNIX)
    stale.bind(path)
    stale.close()  # nobody listens; the file stays
    weir = start_weir(routes(auto().address) + f"listeners: {{ web: 'unix:{path}' }}\n")
    with weir.client() as c:
        assert c.get().status == 200
    weir.stop()
    assert not os.path.exists(path)


@needs_v6
def test_an_endpoint_on_v6(start_weir, new_upstream):
    six = new_upstream(family=socket.AF_INET6)
    weir = start_weir(routes(six.address))
    with weir.client() as c:
        c.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        u = six.accept()
        u.request()
        u.answer()
        assert c.response().status == 200


def test_an_endpoint_on_a_unix_socket(start_weir, auto, tmp):
    local = auto(path=str(tmp / "up.sock"))
    weir = start_weir(routes(local.address))
    with weir.client() as c:
        assert c.get().status == 200


@needs_localhost
def test_an_endpoint_by_name(start_weir, auto):
    named = auto()
    weir = start_weir(routes(named.address.replace("127.0.0.1", "localhost")))
    with weir.client() as c:
        assert c.get().status == 200


def test_the_connection_over_the_limit_gets_503_and_room_comes_back(start_weir, auto, side):
    weir = start_weir(routes(auto().address, "limits: { connections: 3 }\n"))
    clients = [weir.client() for _ in range(3)]
    for c in clients:
        assert c.get().status == 200
    with weir.counts("connection_limit"), weir.client() as over:
        over.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        response = over.response()
        assert_authored(response, 503, "connection_limit")
        assert response.get("Connection") == (None if side.client == "h2" else "close")
        over.expect_closed()
    clients.pop().close()
    weir.wait_metric("weir_client_connections", 2)
    with weir.client() as c:
        assert c.get().status == 200
    for c in clients:
        assert c.get().status == 200


LIMITED = "limits: { body_bytes: 1KiB }\n"


def test_a_length_over_the_body_limit_is_413_and_nothing_reaches_the_upstream(
    start_weir, new_upstream
):
    up = new_upstream()
    weir = start_weir(routes(up.address, LIMITED))
    with weir.counts("body_too_large"), weir.client() as c:
        c.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1025\r\n\r\n" + "x" * 1025)
        response = c.response()
        assert_authored(response, 413, "body_too_large")
        c.expect_last(response)
    up.assert_untouched()


def test_a_length_over_the_body_limit_is_413_before_the_body_comes(start_weir, new_upstream):
    up = new_upstream()
    weir = start_weir(routes(up.address, LIMITED))
    with weir.client() as c:
        c.send(
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 99999999\r\nExpect: 100-continue\r\n\r\n"
        )
        response = c.response()
        assert_authored(response, 413, "body_too_large")
        assert response.interim == []
    up.assert_untouched()


def test_a_chunked_body_over_the_limit_is_413_and_never_whole_at_the_upstream(
    start_weir, new_upstream
):
    up = new_upstream()
    weir = start_weir(routes(up.address, LIMITED))
    with weir.counts("body_too_large"), weir.client() as c:
        c.send(
            "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n200\r\n"
            + "x" * 512
            + "\r\n"
        )
        u = up.accept()
        u.head()
        wait_for(lambda: u.poll().count(b"x") == 512, "the first chunk's bytes")
        c.send("201\r\n" + "x" * 513 + "\r\n0\r\n\r\n")
        response = c.response()
        assert_authored(response, 413, "body_too_large")
        c.expect_last(response)
        assert b"0\r\n\r\n" not in u.expect_ended()


@pytest.mark.parametrize("framing", ["length", "chunked"])
def test_a_body_of_exactly_the_limit_passes(start_weir, auto, framing):
    up = auto()
    weir = start_weir(routes(up.address, LIMITED))
    with weir.client() as c:
        if framing == "length":
            c.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1024\r\n\r\n" + "x" * 1024)
        else:
            c.send(
                "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n400\r\n"
                + "x" * 1024
                + "\r\n0\r\n\r\n"
            )
        assert c.response().status == 200
    assert up.requests[0].body == b"x" * 1024


def test_heads_up_to_the_limits_pass(start_weir, auto):
    up = auto()
    weir = start_weir(
        routes(up.address, "limits: { header_bytes: 4KiB, headers: 20, target_bytes: 512B }\n")
    )
    with weir.client() as c:
        assert c.get("/" + "p" * 511).status == 200
        assert c.get("/" + "p" * 512).status == 414
    with weir.client() as c:
        assert c.get(extra="X: 1\r\n" * 19).status == 200
        assert c.get(extra="X: 1\r\n" * 20).status == 431
    assert len(up.requests) == 2


@pytest.mark.h1_client("HTTP/2 counts its fields in another way")
def test_a_head_of_exactly_the_limit_passes(start_weir, auto):
    up = auto()
    weir = start_weir(routes(up.address, "limits: { header_bytes: 4KiB, target_bytes: 512B }\n"))
    with weir.client() as c:
        base = len("GET / HTTP/1.1\r\nHost: a\r\nX: \r\n\r\n")
        assert c.get(extra=f"X: {'x' * (4096 - base)}\r\n").status == 200
        assert c.get(extra=f"X: {'x' * (4097 - base)}\r\n").status == 431
    assert len(up.requests) == 1


def test_the_default_limits_are_32_kib_of_head_and_100_fields(start_weir, auto):
    weir = start_weir(routes(auto().address))
    with weir.client() as c:
        assert c.get(extra=f"X: {'x' * 32000}\r\n").status == 200
        assert c.get(extra="X: 1\r\n" * 99).status == 200
        assert c.get(extra="X: 1\r\n" * 100).status == 431
    with weir.client() as c:
        assert c.get(extra=f"X: {'x' * 33000}\r\n").status == 431


@pytest.mark.h1_client("an idle conn, by hand")
@pytest.mark.plain("an idle conn, by hand")
def test_an_idle_client_costs_at_most_a_kibibyte(start_weir, auto):
    if harness.sanitizer():
        pytest.skip("a sanitizer's memory is not weir's")
    # Without a log: its buffer, of a fixed size, becomes resident line by line.
    weir = start_weir(routes(auto().address, "# access_log: none\n"))
    socks = []

    def idle(count):
        while len(socks) < count:
            socks.append(connect(weir.listeners["web"]))
            socks[-1].sendall(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
            answer = b""
            while not answer.endswith(b"ok"):
                answer += (got := socks[-1].recv(4096))
                assert got, f"weir closed after {answer!r}"
        weir.wait_metric("weir_client_connections", count)
        return weir.rss()

    some = idle(1000)  # what weir needs once is there by now
    each = (idle(4000) - some) / 3000
    for s in socks:
        s.close()
    assert each <= 1.0, f"{each:.3f} KiB for each idle client"
