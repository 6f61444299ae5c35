# SPDX-License-Identifier: Apache-2.0
"""Idle upstream connections: kept, picked, given up, and what happens when one dies under a
request.

They are kept for each worker, so there is one worker here."""
import time

import pytest

from matrix import Matrix

MATRIX = Matrix()


def pool(upstream, options):
    return f"""
workers: 1
routes: [ {{ to: app }} ]
pools: {{ app: {{ endpoints: [ "{upstream.address}" ], upstream: {options} }} }}
"""


@pytest.fixture
def own(start_weir, new_upstream):
    """own(options): (weir, upstream) of the test's own, with these upstream options."""

    def make(options="{ idle: 55s }"):
        up = new_upstream()
        return start_weir(pool(up, options)), up

    return make


def ask(c, path="/", method="GET", body=None):
    length = "" if body is None else f"Content-Length: {len(body)}\r\n"
    c.send(f"{method} {path} HTTP/1.1\r\nHost: a\r\n{length}\r\n{body or ''}")


def serve(c, u, path="/"):
    """One exchange on an upstream connection that is known to be used."""
    ask(c, path)
    assert u.request().target == path
    u.answer()
    assert c.response().body == b"ok"


def warm(weir, up):
    """A client, and the idle upstream connection that its first request left."""
    c = weir.client()
    ask(c, "/warm")
    u = up.accept()
    u.request()
    u.answer()
    assert c.response().status == 200
    return c, u


def test_the_next_request_reuses_the_idle_connection(own):
    weir, up = own()
    c, u = warm(weir, up)
    for i in range(5):
        serve(c, u, f"/{i}")
    with weir.client() as other:
        serve(other, u, "/other")
    weir.wait_metric("weir_upstream_connections_total", 1, pool="app")
    weir.wait_metric("weir_upstream_reused_total", 6, pool="app")
    weir.wait_metric("weir_upstream_connections", 1)
    up.assert_untouched()


@pytest.mark.h1_upstream("HTTP/2 has one for both")
def test_the_connection_used_last_is_used_first(own):
    weir, up = own()
    a, b = weir.client(), weir.client()
    ask(a, "/a")
    first = up.accept()
    first.request()
    ask(b, "/b")
    second = up.accept()
    second.request()
    second.answer()
    assert b.response().status == 200
    first.answer()
    assert a.response().status == 200
    serve(b, first, "/c")  # first became idle after second
    second.answer("not asked for")  # and second was not touched in between
    second.expect_ended()
    serve(a, first, "/d")


@pytest.mark.parametrize("how", ["close", "reset"])
@pytest.mark.parametrize(
    "method,body",
    [
        ("GET", None),
        ("HEAD", None),
        ("OPTIONS", None),
        ("DELETE", None),
        ("PUT", "some body"),
        ("PUT", ""),
    ],
)
def test_an_idempotent_request_on_a_connection_that_dies_is_sent_again_on_a_fresh_one(
    own, how, method, body
):
    weir, up = own()
    c, stale = warm(weir, up)
    with weir.logged() as log:
        ask(c, "/again", method, body)
        before = stale.request()
        getattr(stale, how)()
        fresh = up.accept()
        again = fresh.request()
        assert again.wire == before.wire, "the same request, with the same id"
        fresh.answer("" if method == "HEAD" else "ok")
        assert c.response(method).status == 200
    assert log[0]["status"] == 200 and log[0]["reason"] == ""
    weir.wait_metric("weir_retries_total", 0)  # a stale connection does not count as a retry
    up.assert_untouched()


def test_several_stale_connections_in_a_row_still_end_in_a_response(own):
    weir, up = own()
    clients = [weir.client() for _ in range(3)]
    conns = []
    for i, c in enumerate(clients):
        ask(c, f"/{i}")
        conns.append(up.accept())
        conns[-1].request()
    for c, u in zip(clients, conns):
        u.answer()
        assert c.response().status == 200
    for u in conns:
        u.close()
    for c in clients:
        ask(c, "/again")
    fresh = [up.accept() for _ in clients]  # before an answer makes one free for the next request
    for u in fresh:
        u.request()
        u.answer()
    for c in clients:
        assert c.response().status == 200
    weir.wait_metric("weir_errors_total", 0)


@pytest.mark.parametrize("how,reason", [("close", "upstream_closed"), ("reset", "upstream_reset")])
@pytest.mark.parametrize("method", ["POST", "PATCH"])
def test_a_request_that_is_not_idempotent_is_never_sent_twice(own, how, reason, method):
    weir, up = own()
    c, u = warm(weir, up)
    with weir.counts(reason):
        ask(c, "/once", method, "pay 10")
        assert u.request().body == b"pay 10"
        getattr(u, how)()
        assert c.response().status == 502
    up.assert_untouched()
    weir.wait_metric("weir_upstream_connections_total", 1)


@pytest.mark.h1_upstream("half a head is no frame")
def test_a_request_is_not_sent_again_once_a_part_of_its_response_came(own):
    weir, up = own()
    c, u = warm(weir, up)
    with weir.counts("upstream_closed"):
        ask(c, "/")
        u.request()
        u.send("HTTP/1.1 200 O")
        u.close()
        assert c.response().status == 502
    up.assert_untouched()


def test_a_body_too_large_for_replay_is_not_sent_again(own):
    weir, up = own()
    c, u = warm(weir, up)
    size = 200_000
    c.send(f"PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: {size}\r\n\r\n")
    u.head()
    for part in (50_000, 50_000, 50_000, size - 150_001):
        c.send(b"x" * part)
        u.recv_exact(part)
    u.close()
    assert c.response().status == 502
    up.assert_untouched()


@pytest.mark.h1_upstream("frames say what they are of")
def test_unsolicited_bytes_on_an_idle_connection_close_it(own):
    weir, up = own()
    c, u = warm(weir, up)
    u.send("HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\npoison")
    u.expect_ended()
    ask(c, "/next")
    fresh = up.accept()
    assert fresh.request().target == "/next"
    fresh.answer("clean")
    assert c.response().body == b"clean"


@pytest.mark.h1_upstream("frames say what they are of")
def test_bytes_behind_a_response_are_no_part_of_it_and_close_the_connection(own):
    weir, up = own()
    with weir.client() as c:
        ask(c)
        u = up.accept()
        u.request()
        u.send(
            "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nokHTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\npoison"
        )
        assert c.response().body == b"ok"
        u.expect_ended()
        ask(c, "/next")
        fresh = up.accept()
        fresh.request()
        fresh.answer("clean")
        assert c.response().body == b"clean"


def test_an_idle_connection_that_the_upstream_closes_is_forgotten(own):
    weir, up = own()
    c, u = warm(weir, up)
    u.close()
    weir.wait_metric("weir_upstream_connections", 0)
    ask(c)
    fresh = up.accept()
    fresh.request()
    fresh.answer()
    assert c.response().status == 200


@pytest.mark.parametrize(
    "answer",
    [
        "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok",
        "HTTP/1.1 200 OK\r\nConnection: foo, Close\r\nContent-Length: 2\r\n\r\nok",
        "HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok",
    ],
    ids=["close", "close in a list", "HTTP/1.0"],
)
def test_a_connection_that_will_not_persist_is_not_reused(own, answer):
    weir, up = own()
    with weir.client() as c:
        ask(c)
        u = up.accept()
        u.request()
        u.send(answer)
        response = c.response()
        assert response.body == b"ok" and response.get("Connection") is None
        u.expect_closed()
        ask(c)
        up.accept().request()


def test_an_http_1_0_upstream_that_keeps_alive_is_reused(own):
    weir, up = own()
    with weir.client() as c:
        ask(c)
        u = up.accept()
        u.request()
        u.send("HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 2\r\n\r\nok")
        assert c.response().body == b"ok"
        serve(c, u)


def test_max_idle_bounds_the_idle_connections(own):
    weir, up = own("{ max_idle: 1 }")
    clients = [weir.client() for _ in range(3)]
    conns = []
    for c in clients:
        ask(c)
        conns.append(up.accept())
        conns[-1].request()
    for c, u in zip(clients, conns):
        u.answer()
        assert c.response().status == 200
    weir.wait_metric("weir_upstream_connections", 1)


def test_max_idle_0_keeps_none(own):
    weir, up = own("{ max_idle: 0 }")
    _, u = warm(weir, up)
    u.expect_closed()


def test_an_idle_connection_is_closed_after_its_time(own):
    weir, up = own("{ idle: 300ms }")
    start = time.monotonic()
    _, u = warm(weir, up)
    u.expect_closed()  # the default is 55 s
    assert time.monotonic() - start >= 0.27
    weir.wait_metric("weir_upstream_connections", 0)


@pytest.mark.h1_upstream("HTTP/2 has no Keep-Alive")
def test_keep_alive_timeout_of_the_upstream_lowers_the_idle_time(own):
    weir, up = own()
    with weir.client() as c:
        ask(c)
        u = up.accept()
        u.request()
        u.answer(extra="Keep-Alive: timeout=1, max=100\r\n")
        assert c.response().get("Keep-Alive") is None
        u.expect_closed()  # how much before the upstream would is test_pool.c's
    weir.wait_metric("weir_upstream_idle_ended_total", 1, reason="upstream_idle_timeout")


@pytest.mark.h1_upstream("its conn outlives a stream")
def test_a_request_that_was_aborted_leaves_no_idle_connection(own):
    weir, up = own()
    c, u = warm(weir, up)
    ask(c)
    u.request()
    c.reset()
    u.expect_ended()
    weir.wait_metric("weir_upstream_connections", 0)


def test_upstream_connections_speak_to_unix_sockets_too(start_weir, new_upstream, tmp):
    up = new_upstream(path=str(tmp / "up.sock"))
    weir = start_weir(pool(up, "{ idle: 55s }"))
    c, u = warm(weir, up)
    serve(c, u, "/again")
    assert weir.access_log(2)[1]["endpoint"] == up.address
