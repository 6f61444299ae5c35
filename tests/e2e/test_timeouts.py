# SPDX-License-Identifier: Apache-2.0
"""Every timeout, configured short: what ends, when, and what is said about it.

Nobody can say here how long a thing may take at most: the machine may be busy. So a timeout is known
by its reason, by not coming too early, and by coming at all while a test still waits, which is long
before weir's default would be over. Where something has to be done before a clock runs out, the
clock is LONG.
"""
import time
from contextlib import contextmanager, suppress

import pytest

from harness import assert_authored
from matrix import Matrix
from peers import SilentEndpoint, deadline

MATRIX = Matrix()

SHORT = 0.3
LONG = 2.0


@contextmanager
def takes_at_least(seconds):
    """Around all that starts the clock, so that only weir can make it shorter."""
    start = time.monotonic()
    yield
    took = time.monotonic() - start
    assert took >= seconds * 0.9, f"took {took:.3f} s, less than {seconds} s"


@pytest.fixture
def with_timeouts(start_weir, new_upstream):
    """with_timeouts(yaml map, ...): (weir, upstream) with these timeouts and no retries."""

    def make(timeouts="{}", route="", connect="1s", address=None):
        up = new_upstream()
        weir = start_weir(
            f"""
timeouts: {timeouts}
routes: [ {{ to: app, retry: {{ attempts: 0 }} {route} }} ]
pools: {{ app: {{ endpoints: [ "{address or up.address}" ], upstream: {{ connect: {connect} }} }} }}
"""
        )
        return weir, up

    return make


def ask(c, path="/"):
    c.send(f"GET {path} HTTP/1.1\r\nHost: a\r\n\r\n")


def test_a_connect_that_takes_too_long_is_504(with_timeouts, closing):
    silent = closing(SilentEndpoint())
    weir, _ = with_timeouts(connect="300ms", address=silent.address)
    with weir.counts("connect_timeout"), weir.logged() as log, weir.client() as c:
        with takes_at_least(SHORT):
            ask(c)
            response = c.response()
        assert assert_authored(response, 504, "connect_timeout") == "connection_timeout"
    assert (log[0]["reason"], log[0]["attempts"]) == ("connect_timeout", 1)
    assert log[0]["total_ms"] >= 250


@pytest.mark.h1_client("over HTTP/2 a head comes whole or not at all")
def test_a_request_head_that_takes_too_long_is_408(with_timeouts):
    weir, up = with_timeouts("{ request_head: 300ms }")
    with weir.counts("head_timeout"), takes_at_least(SHORT), weir.client() as c:
        c.send("GET / HTTP/1.1\r\nHost:")
        response = c.response()
        assert_authored(response, 408, "head_timeout")
        assert response.get("Connection") == "close"
        c.expect_closed()
    up.assert_untouched()


@pytest.mark.h1_client("over HTTP/2 a head comes whole or not at all")
def test_dripping_bytes_does_not_extend_the_time_for_the_head(with_timeouts):
    weir, _ = with_timeouts("{ request_head: 300ms }")
    with weir.counts("head_timeout"), takes_at_least(SHORT), weir.client() as c:
        c.send("GET / HTTP/1.1\r\nX: ")
        until = deadline()
        while c.quiet_for(0.02):
            assert time.monotonic() < until, "the bytes kept it alive"
            c.send("x")
        assert_authored(c.response(), 408, "head_timeout")


@pytest.mark.h1_client("over HTTP/2 a head comes whole or not at all")
def test_the_head_timeout_holds_for_a_later_request_too(with_timeouts):
    weir, up = with_timeouts("{ request_head: 2s }")
    with weir.client() as c:
        ask(c)
        u = up.accept()
        u.request()
        u.answer()
        c.response()
        with takes_at_least(LONG):
            c.send("GET /later HTTP/1.1\r\n")
            assert_authored(c.response(), 408, "head_timeout")


def test_an_idle_client_is_closed_without_a_word(with_timeouts):
    weir, up = with_timeouts("{ client_idle: 300ms }")
    with weir.counts("idle_timeout"), weir.client() as c:
        ask(c)
        u = up.accept()
        u.request()
        with takes_at_least(SHORT):
            u.answer()
            c.response()
            c.expect_closed()


def test_a_client_that_never_says_anything_is_closed(with_timeouts):
    weir, _ = with_timeouts("{ request_head: 300ms, client_idle: 300ms }")
    with takes_at_least(SHORT), weir.client() as c:
        c.expect_ended()
    weir.wait_metric("weir_client_connections", 0)


def test_a_client_that_waits_for_its_response_is_not_idle(with_timeouts):
    weir, up = with_timeouts("{ client_idle: 200ms, request_head: 2s, request_body: 200ms }")
    with weir.client() as c:
        ask(c)
        u = up.accept()
        u.request()
        assert c.quiet_for(LONG + 0.2)
        u.answer()
        assert c.response().status == 200


def test_a_request_body_that_stalls_is_408(with_timeouts):
    weir, up = with_timeouts("{ request_body: 2s }")
    with weir.counts("body_timeout"), weir.client() as c:
        with takes_at_least(LONG):
            c.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nab")
            u = up.accept()
            u.head()
            u.expect("ab")
            response = c.response()
        assert_authored(response, 408, "body_timeout")
        c.expect_last(response)
        assert u.expect_ended() == b""


def test_a_request_body_that_is_slow_but_moves_is_no_timeout(with_timeouts):
    weir, up = with_timeouts("{ request_body: 2s, request_head: 2s }")
    with weir.client() as c:
        c.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\n")
        u = up.accept()
        u.head()
        for i in range(5):
            c.quiet_for(0.45)  # longer in all than the timeout
            c.send(b"abcde"[i : i + 1])
            u.expect(b"abcde"[i : i + 1])
        u.answer()
        assert c.response().status == 200


def test_no_response_head_in_time_is_504(with_timeouts):
    weir, up = with_timeouts("{ response_head: 300ms }")
    with weir.counts("response_head_timeout"), weir.logged() as log, weir.client() as c:
        with takes_at_least(SHORT):
            ask(c)
            u = up.accept()
            u.request()
            response = c.response()
        assert assert_authored(response, 504, "response_head_timeout") == "http_response_timeout"
        u.expect_ended()
    assert log[0]["reason"] == "response_head_timeout"


def test_half_a_response_head_does_not_stop_its_timeout(with_timeouts):
    weir, up = with_timeouts("{ response_head: 2s }")
    with weir.counts("response_head_timeout"), takes_at_least(LONG), weir.client() as c:
        ask(c)
        u = up.accept()
        u.request()
        u.send("HTTP/1.1 200 OK\r\nContent-Le")
        assert c.response().status == 504


def test_the_response_heads_time_starts_when_the_request_is_complete(with_timeouts):
    weir, up = with_timeouts("{ response_head: 300ms }")
    with weir.client() as c:
        c.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\na")
        u = up.accept()
        u.head()
        assert c.quiet_for(0.5)
        with takes_at_least(SHORT):
            c.send("b")
            u.expect("ab")
            assert c.response().status == 504


def test_a_response_body_that_stalls_cuts_the_clients_stream(with_timeouts):
    weir, up = with_timeouts("{ response_idle: 300ms }")
    with weir.counts("response_idle_timeout"), weir.logged() as log, weir.client() as c:
        ask(c)
        u = up.accept()
        u.request()
        with takes_at_least(SHORT):
            u.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n")
            c.recv_until(b"2\r\nab\r\n")
            assert c.expect_ended() == b""
        u.expect_ended()
    assert (log[0]["status"], log[0]["reason"]) == (200, "response_idle_timeout")


def test_a_response_body_that_is_slow_but_moves_is_no_timeout(with_timeouts):
    weir, up = with_timeouts("{ response_idle: 2s, response_head: 2s }")
    with weir.client() as c:
        ask(c)
        u = up.accept()
        u.request()
        u.send("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n")
        for i in range(5):
            u.quiet_for(0.45)
            u.send(b"abcde"[i : i + 1])
        assert c.response().body == b"abcde"


# ---- both directions at once --------------------------------------------------------------------

EARLY = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"


def answered_early(weir, up):
    """A request whose body has begun, and the head of its response is there."""
    c = weir.client()
    c.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\nx")
    u = up.accept()
    u.head()
    u.expect("x")
    u.send(EARLY)
    c.recv_until(b"\r\n\r\n")
    return c, u


def test_a_client_that_only_listens_is_not_late(with_timeouts):
    """As in a watch: what counts is the response's own silence, however short request_body is."""
    weir, up = with_timeouts("{ request_body: 1s, response_idle: 2s }")
    c, u = answered_early(weir, up)
    for _ in range(5):
        c.quiet_for(0.45)
        u.send("1\r\nx\r\n")
        c.expect("1\r\nx\r\n")
    c.send("y")
    u.expect("y")
    assert c.quiet_for(1.2)
    u.send("0\r\n\r\n")
    c.expect("0\r\n\r\n")


def test_an_upstream_that_only_listens_is_not_idle(with_timeouts):
    weir, up = with_timeouts("{ request_body: 1s, response_idle: 2s }")
    c, u = answered_early(weir, up)
    for _ in range(2):
        c.quiet_for(1.2)
        c.send("y")
        u.expect("y")
    u.send("0\r\n\r\n")
    c.expect("0\r\n\r\n")


def test_silence_in_both_directions_is_the_responses(with_timeouts):
    weir, up = with_timeouts("{ request_body: 1s, response_idle: 2s }")
    with weir.counts("response_idle_timeout"), weir.logged() as log:
        c, u = answered_early(weir, up)
        with takes_at_least(LONG):
            c.send("y")
            u.expect("y")
            c.expect_ended()
        u.expect_ended()
    assert (log[0]["status"], log[0]["reason"]) == (200, "response_idle_timeout")


def test_the_whole_requests_time_is_504_before_the_response(with_timeouts):
    weir, up = with_timeouts("{ request: 2s }")
    with weir.counts("request_timeout"), weir.client() as c:
        with takes_at_least(LONG):
            ask(c)
            u = up.accept()
            u.request()
            assert_authored(c.response(), 504, "request_timeout")
        u.expect_ended()


def test_the_whole_requests_time_cuts_a_response_that_has_begun(with_timeouts):
    weir, up = with_timeouts("{ request: 2s }")
    with weir.counts("request_timeout"), weir.client() as c:
        with takes_at_least(LONG):
            ask(c)
            u = up.accept()
            u.request()
            u.send("HTTP/1.1 200 OK\r\nContent-Length: 1000000000\r\n\r\n")
            c.recv_until(b"\r\n\r\n")
            until = deadline()
            while not c.eof:  # it moves all the time
                assert time.monotonic() < until, "not cut"
                with suppress(OSError):
                    u.send("x")
                c.quiet_for(0.02)
                c.poll()


def test_a_routes_request_time_wins_over_the_general_one(with_timeouts):
    weir, up = with_timeouts("{ request: 60s }", route=", timeout: { request: 2s }")
    with weir.counts("request_timeout"), takes_at_least(LONG), weir.client() as c:
        ask(c)
        up.accept().request()
        assert c.response().status == 504


def test_a_routes_try_time_bounds_the_response_head(with_timeouts):
    weir, up = with_timeouts("{ response_head: 60s }", route=", timeout: { try: 2s }")
    with weir.counts("response_head_timeout"), takes_at_least(LONG), weir.client() as c:
        ask(c)
        up.accept().request()
        assert_authored(c.response(), 504, "response_head_timeout")


UPGRADE = "GET / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n"
SWITCH = "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n"


def tunnel(weir, up):
    c = weir.client()
    c.send(UPGRADE)
    u = up.accept()
    u.request()
    u.send(SWITCH)
    assert c.response().status == 101
    return c, u


def test_an_idle_tunnel_is_ended(with_timeouts):
    weir, up = with_timeouts("{ upgraded: 300ms }")
    with weir.counts("tunnel_idle"):
        with takes_at_least(SHORT):
            c, u = tunnel(weir, up)
            c.expect_ended()
        u.expect_ended()


def test_a_tunnel_with_traffic_in_one_direction_is_not_idle(with_timeouts):
    weir, up = with_timeouts(
        "{ upgraded: 2s, client_idle: 200ms, response_idle: 200ms, request_body: 200ms }"
    )
    c, u = tunnel(weir, up)
    for _ in range(5):
        c.quiet_for(0.45)
        u.send("x")
        c.expect("x")
    c.assert_open()
    c.half_close()
    u.expect_closed()


def test_a_client_that_does_not_read_is_given_up(with_timeouts):
    weir, up = with_timeouts("{ write_stall: 500ms }")
    with weir.counts("client_write_stall"), weir.client(rcvbuf=4096) as c:
        ask(c)
        u = up.accept()
        u.request()
        u.send("HTTP/1.1 200 OK\r\nContent-Length: 100000000\r\n\r\n")
        with suppress(ConnectionResetError, BrokenPipeError):  # given up while this still sends
            assert u.send_until_blocked(bytes(1 << 20), 100_000_000) < 100_000_000
        u.expect_ended()
    weir.wait_metric("weir_client_connections", 0)
