# SPDX-License-Identifier: Apache-2.0
"""Upgrades: nothing is tunnelled before the upstream's 101, everything after it, each direction by
itself."""
import base64
import re

import pytest

import harness
import wire
from h1text import accept_of
from matrix import Matrix
from transfer import pump

MATRIX = Matrix()

KEY = "dGhlIHNhbXBsZSBub25jZQ=="
ASK = (
    "GET /ws HTTP/1.1\r\nHost: a\r\nConnection: keep-alive, Upgrade\r\nUpgrade: websocket\r\n"
    f"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {KEY}\r\n\r\n"
)
ASKED = (
    "GET /ws HTTP/1.1\r\nHost: a\r\nSec-WebSocket-Version: 13\r\n{fwd:a}\r\n"
    "Connection: upgrade\r\nUpgrade: websocket\r\n\r\n"
)


def asked(u):
    """The upgrade is asked of the upstream: what to answer if it likes. Over HTTP/2 there are no
    keys: weir makes one where only the upstream wants one."""
    request = u.request()
    key = request.get("Sec-WebSocket-Key")
    assert wire.h2 or key == KEY
    assert key is None or len(base64.b64decode(key, validate=True)) == 16
    without = re.sub(rb"(?i)sec-websocket-key: [^\r]*\r\n", b"", request.wire)
    wire.assert_bytes(ASKED, without)
    accept = f"Sec-WebSocket-Accept: {accept_of(key)}\r\n" if key else ""
    return (
        f"HTTP/1.1 101 Switching Protocols\r\n{accept}"
        "Connection: Upgrade\r\nUpgrade: websocket\r\n\r\n"
    )


def tunnel(weir, upstream):
    """(client, upstream connection) with a tunnel between them."""
    c = weir.client()
    c.send(ASK)
    u = upstream.accept()
    u.send(asked(u))
    response = c.response()
    assert response.status == 101 and response.phrase == "Switching Protocols"
    assert (
        response.get("Upgrade") == "websocket" and response.get("Connection").lower() == "upgrade"
    )
    assert response.get("Sec-WebSocket-Accept") == accept_of(KEY)
    return c, u


def test_an_upgrade_is_asked_of_the_upstream_and_bytes_go_both_ways(weir, upstream):
    c, u = tunnel(weir, upstream)
    for data in (b"\x81\x05hello", b"\x00" * 1000, b"GET / HTTP/1.1\r\n\r\n"):
        c.send(data)
        u.expect(data)
        u.send(data[::-1])
        c.expect(data[::-1])
    c.half_close()
    u.expect_closed()
    u.close()
    c.expect_closed()


def test_bytes_behind_an_upgrade_request_are_not_forwarded_before_the_101(weir, upstream):
    with weir.client() as c:
        c.send(ASK + "early bytes")
        u = upstream.accept()
        yes = asked(u)
        weir.metrics()  # a round trip through the process
        assert u.poll() == b""
        u.send(yes)
        assert c.response().status == 101
        u.expect("early bytes")
        c.send("more")
        u.expect("more")


def test_bytes_right_behind_the_101_reach_the_client(weir, upstream):
    with weir.client() as c:
        c.send(ASK)
        u = upstream.accept()
        u.send(asked(u) + "hello")
        assert c.response().status == 101
        c.expect("hello")


YES = "a 2xx is what HTTP/2 says for 101"
FOR_HTTP_1 = [pytest.mark.h1_client(YES), pytest.mark.h1_upstream(YES)]


@pytest.mark.parametrize(
    "status",
    [pytest.param("200 OK", marks=FOR_HTTP_1), "403 Forbidden", "426 Upgrade Required"],
)
def test_a_refused_upgrade_is_a_normal_response_and_the_connection_goes_on(weir, upstream, status):
    with weir.client() as c:
        c.send(ASK)
        u = upstream.accept()
        asked(u)
        u.answer("no", status)
        response = c.response()
        assert response.start.decode() == f"HTTP/1.1 {status}" and response.body == b"no"
        c.send("GET /next HTTP/1.1\r\nHost: a\r\n\r\n")
        u = upstream.accept()
        assert u.request().target == "/next"
        u.answer()
        assert c.response().body == b"ok"


def test_what_follows_a_refused_upgrade_is_the_next_request(weir, upstream):
    with weir.client() as c:
        c.send(ASK + "GET /next HTTP/1.1\r\nHost: a\r\n\r\n")
        u = upstream.accept()
        asked(u)
        u.answer("no", "400 Bad Request")
        assert c.response().status == 400
        u = upstream.accept()
        assert u.request().target == "/next"
        u.answer()
        assert c.response().body == b"ok"


def test_upgrade_without_connection_upgrade_is_no_upgrade(weir, upstream):
    with weir.client() as c:
        c.send("GET / HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\n\r\n")
        u = upstream.accept()
        u.expect_request("GET / HTTP/1.1\r\nHost: a\r\n{fwd:a}\r\n\r\n")
        u.answer()
        assert c.response().status == 200


@pytest.mark.h1_client("HTTP/1.0")
def test_http_1_0_can_not_upgrade(weir, upstream):
    with weir.client() as c:
        c.send("GET / HTTP/1.0\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n")
        u = upstream.accept()
        u.expect_request("GET / HTTP/1.1\r\nHost: a\r\n{fwd:a}\r\n\r\n")
        u.answer()
        assert c.response().status == 200


def test_a_client_that_half_closes_still_hears_the_upstream(weir, upstream):
    c, u = tunnel(weir, upstream)
    c.send("last words")
    c.half_close()
    u.expect("last words")
    u.expect_closed()
    u.send("an answer after that")
    c.expect("an answer after that")
    u.close()
    c.expect_closed()
    c.close()


def test_an_upstream_that_half_closes_still_hears_the_client(weir, upstream):
    c, u = tunnel(weir, upstream)
    u.send("last words")
    u.half_close()
    c.expect("last words")
    c.expect_closed()
    c.send("an answer after that")
    u.expect("an answer after that")
    c.half_close()
    u.expect_closed()
    u.close()
    c.expect_closed()


def test_a_reset_of_one_end_ends_the_other(weir, upstream):
    c, u = tunnel(weir, upstream)
    u.reset()
    c.expect_ended()
    c.close()
    c, u = tunnel(weir, upstream)
    c.reset()
    u.expect_ended()
    weir.wait_metric("weir_upstream_connections", 0)


def test_bytes_flow_both_ways_at_once_in_order_and_whole(weir, upstream):
    c, u = tunnel(weir, upstream)
    size = 4 << 20
    pump([(c, u, size), (u, c, size)])
    c.half_close()
    u.expect_closed()
    u.close()
    c.expect_closed()


def test_a_stuck_end_holds_the_other_back_within_bounded_memory(weir, upstream):
    c, u = tunnel(weir, upstream)
    before = weir.rss()
    sent = c.send_until_blocked(bytes(1 << 20), 64 << 20)
    assert sent < 64 << 20, "an end that does not read must hold the other one back"
    assert harness.sanitizer() or weir.rss() - before < 1024
    u.recv_exact(sent)  # every byte that was taken arrives
    c.half_close()
    u.expect_closed()
    u.close()
    c.expect_closed()


def test_a_tunnel_is_counted_and_logged_when_it_ends(weir, upstream):
    with weir.logged() as log:
        c, u = tunnel(weir, upstream)
        c.send("12345")
        u.expect("12345")
        u.send("123")
        c.expect("123")
        c.half_close()
        u.expect_closed()
        u.close()
        c.expect_closed()
    assert (log[0]["status"], log[0]["path"], log[0]["bytes_in"], log[0]["bytes_out"]) == (
        101,
        "/ws",
        5,
        3,
    )
