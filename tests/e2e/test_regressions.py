# SPDX-License-Identifier: Apache-2.0
"""Bugs that were: what a message or a clock once did that it must not do again.

Those that need a crowd, a full queue or a lack of something are in test_regressions_load.py.
"""
import signal
import socket
from contextlib import suppress

import pytest

from harness import assert_authored, run_weir
from matrix import Matrix
from peers import SilentEndpoint, wait_for

MATRIX = Matrix()

CONFIG = """
limits: { header_bytes: 60KiB }
listeners: { web: "127.0.0.1:0", forwarding: { bind: "127.0.0.1:0", forwarded: true } }
routes: [ { to: app } ]
pools: { app: { endpoints: [ "$UPSTREAM" ], upstream: { max_idle: 0 } } }
"""
UPGRADE = "Connection: upgrade\r\nUpgrade: x\r\n"
YES = f"HTTP/1.1 101 Switching Protocols\r\n{UPGRADE}\r\n"


def get(fields="", host="a"):
    return f"GET / HTTP/1.1\r\nHost: {host}\r\n{fields}\r\n"


def post(length, fields=""):
    return f"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: {length}\r\n{fields}\r\n"


def tunnel(weir, upstream):
    """(client, upstream connection) with a tunnel between them."""
    c = weir.client()
    c.send(get(UPGRADE))
    u = upstream.accept()
    u.request()
    u.send(YES)
    assert c.response().status == 101
    return c, u


# ---- heads --------------------------------------------------------------------------------------


@pytest.mark.h1_upstream("nghttp2 has a bound of its own: test_h2_upstream.py")
@pytest.mark.parametrize(
    "listener,length", [("web", 50000), ("forwarding", 32000)], ids=["twice", "three times"]
)
def test_a_host_that_goes_into_several_fields_may_outgrow_a_block(weir, upstream, listener, length):
    host = "a" * length
    with weir.client(listener) as c:
        c.send(get(host=host))
        u = upstream.accept()
        request = u.request()
        assert request.get("Host") == request.get("X-Forwarded-Host") == host
        if listener == "forwarding":
            assert f"host={host}" in request.get("Forwarded").replace('"', "")
        u.answer()
        assert c.response().body == b"ok"


@pytest.mark.h1_client("a reset or a 2xx says all that an HTTP/2 client hears of Upgrade")
@pytest.mark.h1_upstream("HTTP/2 has no Upgrade in a response")
def test_a_101_as_large_as_a_head_may_be_is_passed_on(weir, upstream):
    protocol = "x" * 50000
    with weir.client() as c:
        c.send(get(UPGRADE))
        u = upstream.accept()
        u.request()
        u.send(
            "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\n"
            f"Upgrade: {protocol}\r\n\r\n"
        )
        response = c.response()
        assert (response.status, response.get("Upgrade")) == (101, protocol)


@pytest.mark.h1_upstream("HTTP/2 has no reason phrases")
@pytest.mark.parametrize("byte", ["\x00", "\x01", "\x0b", "\x1f", "\x7f"], ids=ascii)
def test_a_control_byte_in_a_reason_phrase_is_a_bad_response(weir, upstream, byte):
    with weir.counts("bad_response"), weir.client() as c:
        c.send(get())
        u = upstream.accept()
        u.request()
        u.answer(status=f"200 O{byte}K")
        assert_authored(c.response(), 502, "bad_response")


@pytest.mark.h1_client("Connection is HTTP/1's")
def test_connection_may_name_thirty_two_fields_and_no_more(weir, upstream):
    def naming(count):
        names = [f"n{i}" for i in range(count)]
        return get("".join(f"{n}: x\r\n" for n in names) + f"Connection: {','.join(names)}\r\n")

    with weir.client() as c:
        c.send(naming(32))
        u = upstream.accept()
        u.expect_request("GET / HTTP/1.1\r\nHost: a\r\n{fwd:a}\r\n\r\n")
        u.answer()
        assert c.response().status == 200
        with weir.counts("bad_field"):
            c.send(naming(33))
            assert_authored(c.response(), 400, "bad_field")
        c.expect_closed()
    upstream.assert_untouched()


@pytest.mark.h1_client("HTTP/2 has no Upgrade")
@pytest.mark.parametrize(
    "protocol",
    ["h2c", "h2c/1.0", "H2C/1", "x, h2c/1.0", "h2/2", "HTTP/2.0", "http", "TLS/1.0", "x, tls/1.3"],
)
def test_an_upgrade_to_http_or_tls_is_not_passed_on(weir, upstream, protocol):
    """RFC 9110 section 7.8, RFC 2817: requests would pass every check of weir's by."""
    with weir.client() as c:
        c.send(get(f"Connection: upgrade\r\nUpgrade: {protocol}\r\n"))
        u = upstream.accept()
        u.expect_request("GET / HTTP/1.1\r\nHost: a\r\n{fwd:a}\r\n\r\n")
        u.answer()
        assert c.response().status == 200


# ---- tunnels ------------------------------------------------------------------------------------


@pytest.mark.h1_client("HTTP/2 has no Upgrade")
@pytest.mark.h1_upstream("what has a body is no extended CONNECT")
def test_a_101_inside_the_trailers_of_a_request_is_a_bad_response(weir, upstream):
    with weir.counts("bad_response"), weir.client() as c:
        c.send(
            f"POST / HTTP/1.1\r\nHost: a\r\n{UPGRADE}Transfer-Encoding: chunked\r\n\r\n"
            "1\r\na\r\n0\r\nX-Trailer: v"
        )
        u = upstream.accept()
        u.head()
        u.expect("1\r\na\r\n")
        u.send(YES)
        assert_authored(c.response(), 502, "bad_response")
        u.expect_ended()


@pytest.mark.h1_upstream("whose resets the kernel sends: test_websocket_h2.py")
def test_a_tunnel_ends_when_its_upstream_is_gone_and_the_client_goes_on(weir, upstream):
    c, u = tunnel(weir, upstream)
    u.close()
    c.expect_closed()

    def ended():
        with suppress(BrokenPipeError, ConnectionResetError):
            c.send_some(b"more")
        return weir.metric("weir_requests_in_flight") == 0

    wait_for(ended, "the tunnel to end")
    weir.wait_metric("weir_upstream_connections", 0)


def test_the_body_clock_does_not_run_in_half_a_tunnel(start_weir, new_upstream, tmp):
    """It was set whenever the client's credit came back. Unix sockets: their queues do not grow."""
    up = new_upstream(path=str(tmp / "up.sock"))
    weir = start_weir(
        f"""
timeouts: {{ request_body: 300ms }}
listeners: {{ web: "unix:$TMP/web.sock", other: "127.0.0.1:0" }}
routes: [ {{ to: app }} ]
pools: {{ app: [ "{up.address}" ] }}
"""
    )
    c, u = tunnel(weir, up)
    u.half_close()
    c.expect_closed()
    sent = c.send_until_blocked(bytes(1 << 16), 16 << 20)
    u.recv_exact(sent)
    with weir.client("other") as clock:  # its body is late, later than c's would have been
        clock.send(post(5))
        assert_authored(clock.response(), 408, "body_timeout")
    c.send("and more")
    u.expect("and more")


# ---- clocks -------------------------------------------------------------------------------------


@pytest.fixture
def with_timeouts(start_weir, new_upstream):
    """with_timeouts(yaml map): (weir, upstream)."""

    def make(timeouts, **kw):
        up = new_upstream(**kw)
        return (
            start_weir(
                f"timeouts: {timeouts}\nroutes: [ {{ to: app }} ]\n"
                f'pools: {{ app: [ "{up.address}" ] }}\n'
            ),
            up,
        )

    return make


def test_interim_responses_do_not_extend_the_time_for_the_response(with_timeouts):
    weir, up = with_timeouts("{ response_head: 2s }")
    with weir.counts("response_head_timeout"), weir.client() as c:
        c.send(get())
        u = up.accept()
        u.request()
        hints = 0
        while u.quiet_for(0.2):  # until weir gives this upstream up
            with suppress(BrokenPipeError, ConnectionResetError):  # since
                u.send("HTTP/1.1 103 Early Hints\r\n\r\n")
            c.wait_readable()  # so that weir had a turn, in which it saw what time it is
            c.poll()
            hints += 1
            assert hints < 30, "the hints kept it alive"  # 32 of them are a bad response
        response = c.response()
        assert_authored(response, 504, "response_head_timeout")
        assert {i.status for i in response.interim} <= {103}


def test_a_timeout_behind_a_100_is_still_answered(with_timeouts):
    weir, up = with_timeouts("{ response_head: 4s }")
    with weir.counts("response_head_timeout"), weir.logged() as log, weir.client() as c:
        c.send(post(5, "Expect: 100-continue\r\n"))
        u = up.accept()
        u.head()
        u.send("HTTP/1.1 100 Continue\r\n\r\n")
        assert c.interim().status == 100
        c.send("hello")
        u.expect("hello")
        assert_authored(c.response(), 504, "response_head_timeout")
    assert (log[0]["status"], log[0]["reason"]) == (504, "response_head_timeout")


def test_a_client_that_waits_for_100_is_not_the_slow_one(with_timeouts):
    weir, up = with_timeouts("{ request_body: 200ms, response_head: 3s }")
    with weir.counts("response_head_timeout"), weir.client() as c:
        c.send(post(5, "Expect: 100-continue\r\n"))
        up.accept().head()
        assert_authored(c.response(), 504, "response_head_timeout")


@pytest.mark.h1_upstream("it reads frames, or gives no credit")
def test_an_upstream_that_stops_reading_has_the_time_for_its_response_and_no_more(
    with_timeouts, tmp
):
    """Only a unix socket says so while it stays open."""
    weir, up = with_timeouts("{ response_head: 3s }", path=str(tmp / "up.sock"))
    with weir.counts("response_head_timeout"), weir.client() as c:
        c.send(post(1000000))
        u = up.accept()
        u.head()
        getattr(u.sock, "raw", u.sock).shutdown(socket.SHUT_RD)
        c.send(bytes(50000))
        assert_authored(c.response(), 504, "response_head_timeout")
    weir.wait_metric("weir_upstream_connections", 0)


# ---- what is told --------------------------------------------------------------------------------


@pytest.mark.h1_upstream("unsolicited bytes are HTTP/1's")
def test_idle_upstream_connections_are_counted_by_how_they_ended(start_weir, new_upstream):
    up = new_upstream()
    weir = start_weir(
        f"""
routes: [ {{ match: {{ path: /soon }}, to: soon }}, {{ to: app }} ]
pools:
  soon: {{ endpoints: [ "{up.address}" ], upstream: {{ idle: 300ms }} }}
  app: [ "{up.address}" ]
"""
    )

    def idle(path="/"):
        """An upstream connection that has served and waits."""
        with weir.client() as c:
            c.send(get().replace("/", path, 1))
            u = up.accept()
            u.request()
            u.answer()
            c.response()
        return u

    def ended(reason):
        weir.wait_metric("weir_upstream_idle_ended_total", 1, reason=reason)

    idle("/soon")
    ended("upstream_idle_timeout")
    idle().send("nobody asked")
    ended("upstream_unsolicited")
    idle().close()
    ended("upstream_idle_closed")
    weir.wait_metric("weir_upstream_idle_ended_total", 3)
    weir.wait_metric("weir_errors_total", 0)


def test_a_ready_file_that_can_not_be_written_is_an_error_of_the_start(tmp):
    config = tmp / "weir.yaml"
    config.write_text(
        'version: 1\nworkers: 2\nlisteners: { web: "127.0.0.1:0" }\nroutes: [ { to: app } ]\n'
        'pools: { app: [ "127.0.0.1:1" ] }\n'
    )
    path = tmp / "missing" / "ready.json"
    done = run_weir("run", "-c", config, "--ready-file", path)
    assert done.returncode == 1 and str(path) in done.stderr, done


# ---- the clocks around a 100 --------------------------------------------------------------------

EXPECT = "Expect: 100-continue\r\n"


def test_a_100_for_a_request_that_is_whole_starts_no_clock(with_timeouts):
    weir, up = with_timeouts("{ request_body: 300ms }")
    with weir.client() as c:
        c.send(post(5, EXPECT) + "hello")
        u = up.accept()
        u.request()
        u.send("HTTP/1.1 100 Continue\r\n\r\n")
        u.quiet_for(0.7)  # the client owes nothing
        u.answer()
        response = c.response()
        assert (response.status, response.body) == (200, b"ok")


def test_a_client_that_expects_and_does_not_wait_leaves_the_connect_timeout_alone(start_weir):
    silent = SilentEndpoint()
    weir = start_weir(
        "routes: [ { to: app } ]\npools: { app: { endpoints: "
        f'[ "{silent.address}" ], upstream: {{ connect: 300ms }} }} }}\n'
    )
    with weir.counts("connect_timeout"), weir.client() as c:
        c.send(post(5, EXPECT) + "hello")
        assert_authored(c.response(), 504, "connect_timeout")
    silent.close()


def test_a_body_after_an_early_answer_leaves_the_response_idle_timeout_alone(with_timeouts):
    weir, up = with_timeouts("{ response_idle: 4s }")
    with weir.counts("response_idle_timeout"), weir.client() as c:
        c.send(post(5, EXPECT))
        u = up.accept()
        u.head()
        u.send("HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\n")
        c.recv_until(b"\r\n\r\n")
        c.send("hello")
        u.expect_ended()
        c.expect_ended()


# ---- what comes after an answer -----------------------------------------------------------------


def test_a_pipelined_body_that_filled_the_block_is_drained_after_an_early_answer(
    start_weir, new_upstream
):
    up = new_upstream()
    weir = start_weir(
        "limits: { buffer: 1MiB }\nroutes: [ { match: { path: /app }, to: app } ]\n"
        f'pools: {{ app: [ "{up.address}" ] }}\n'
    )
    with weir.client() as c:
        c.send("GET /app HTTP/1.1\r\nHost: a\r\n\r\n")
        u = up.accept()
        u.request()
        c.send("POST /no HTTP/1.1\r\nHost: a\r\nContent-Length: 400000\r\n\r\n" + "x" * 400000)
        c.send("GET /no HTTP/1.1\r\nHost: a\r\n\r\n")
        c.quiet_for(0.1)  # as much of it as fits is read meanwhile, and reading pauses
        u.answer()
        assert [c.response().status for _ in range(3)] == [200, 404, 404]


def test_a_download_that_outlives_the_drain_is_the_last_on_its_connection(
    start_weir, new_upstream
):
    up = new_upstream()
    weir = start_weir(
        "shutdown: 20s\nroutes: [ { to: app } ]\n" f'pools: {{ app: [ "{up.address}" ] }}\n'
    )
    with weir.client() as c:
        c.send(get())
        u = up.accept()
        u.request()
        u.send("HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nabc")
        c.recv_until(b"abc")
        weir.signal(signal.SIGINT)
        weir.said("draining")
        c.quiet_for(0.1)
        u.send("def")
        c.recv_until(b"def")
        assert weir.wait() == 0
