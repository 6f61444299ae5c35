# SPDX-License-Identifier: Apache-2.0
"""The replies that weir authors, and retries of connection failures on another endpoint."""
import pytest

from harness import assert_authored
from matrix import Matrix
from peers import RefusedEndpoint

MATRIX = Matrix()

CONFIG = """
listeners: { web: "127.0.0.1:0" }
routes:
  - { match: { path: /app }, to: app }
  - { match: { path: /empty }, to: empty }
pools:
  app: { endpoints: [ "$UPSTREAM" ], upstream: { max_idle: 0 } }
  empty: { endpoints: [ { address: "127.0.0.1:1", drain: true } ] }
"""


def test_no_route_is_404(weir, upstream):
    with weir.counts("no_route"), weir.logged() as log, weir.client() as c:
        assert_authored(c.get("/nowhere"), 404, "no_route")
        c.assert_open()
    upstream.assert_untouched()
    assert (
        log[0]["status"],
        log[0]["reason"],
        log[0]["route"],
        log[0]["pool"],
        log[0]["endpoint"],
    ) == (404, "no_route", "", "", "")
    assert log[0]["attempts"] == 0


def test_a_reply_to_head_has_no_body_and_the_length_that_get_would_have(weir):
    with weir.client() as c:
        get = c.get("/nowhere", extra="X-Request-Id: x\r\n")
        head = c.get("/nowhere", method="HEAD", extra="X-Request-Id: x\r\n")
        assert_authored(head, 404, "no_route", head=True, request_id="x")
        assert head.get("Content-Length") == get.get("Content-Length")
        c.assert_open()


def test_no_usable_endpoint_is_503_with_retry_after(weir):
    with weir.counts("no_endpoint"), weir.logged() as log, weir.client() as c:
        assert assert_authored(c.get("/empty"), 503, "no_endpoint") == "destination_unavailable"
        c.assert_open()
    assert (log[0]["reason"], log[0]["route"], log[0]["pool"], log[0]["endpoint"]) == (
        "no_endpoint",
        "route-2",
        "empty",
        "",
    )


@pytest.mark.parametrize(
    "accept,is_json",
    [
        ("application/json", True),
        ("Application/JSON", True),
        ("application/json, text/plain;q=0.5", True),
        ("text/plain;q=0.1, application/json;q=0.2", True),
        ("text/plain, application/json;q=0.9", False),
        ("text/html,application/xhtml+xml,*/*;q=0.8", False),
        ("*/*", False),
        ("text/plain", False),
        ("application/json;q=0", False),
        ("application/jsonx", False),
    ],
)
def test_errors_are_json_when_accept_prefers_it(weir, accept, is_json):
    with weir.client() as c:
        assert_authored(
            c.get("/nowhere", extra=f"Accept: {accept}\r\n"), 404, "no_route", json_body=is_json
        )


def test_errors_carry_the_clients_request_id(weir):
    with weir.logged() as log, weir.client() as c:
        assert_authored(
            c.get("/nowhere", extra="X-Request-Id: mine-7\r\n"),
            404,
            "no_route",
            request_id="mine-7",
        )
    assert log[0]["id"] == "mine-7"


@pytest.mark.parametrize("accept", ["text/plain", "application/json"])
def test_no_request_id_of_a_client_can_break_an_error(weir, accept):
    """Whatever it is, kept or replaced, the reply is whole and names the id it carries."""
    for request_id in ["x" * n for n in (1, 64, 128, 129, 256, 500, 4000)] + [
        'a"b',
        "a\\b",
        "%s%n",
        "caf\xe9",
        "a b",
    ]:
        with weir.client() as c:
            response = c.get(
                "/nowhere", extra=f"X-Request-Id: {request_id}\r\nAccept: {accept}\r\n"
            )
            got = response.get("X-Request-Id")
            assert got
            assert_authored(response, 404, "no_route", json_body="json" in accept, request_id=got)
            c.assert_open()


def test_errors_with_a_made_request_id_log_the_same_one(weir):
    with weir.logged() as log, weir.client() as c:
        response = c.get("/nowhere")
    assert log[0]["id"] == response.get("X-Request-Id")


def test_a_body_of_a_request_that_fails_does_not_become_the_next_request(weir, upstream):
    with weir.client() as c:
        c.send(
            "POST /nowhere HTTP/1.1\r\nHost: a\r\nContent-Length: 36\r\n\r\n"
            "GET /app HTTP/1.1\r\nHost: a\r\nA: b\r\n\r\n"
        )
        response = c.response("POST")
        assert_authored(response, 404, "no_route")
        if response.get("Connection") == "close":
            c.expect_closed()
    upstream.assert_untouched()


@pytest.mark.h1_client("what HTTP/2 calls malformed ends the stream")
def test_a_malformed_request_is_logged_and_counted(weir):
    with weir.counts("bad_host"), weir.logged() as log, weir.client() as c:
        c.send("GET /x HTTP/1.1\r\nHost: a b\r\n\r\n")
        response = c.response()
        assert_authored(response, 400, "bad_host")
        c.expect_last(response)
    assert (log[0]["status"], log[0]["reason"]) == (400, "bad_host")


def test_connect_is_405_even_where_no_route_matches(weir):
    with weir.counts("connect_method"), weir.client() as c:
        c.send("CONNECT a:443 HTTP/1.1\r\nHost: a:443\r\n\r\n")
        response = c.response()
        assert_authored(response, 405, "connect_method")
        c.expect_last(response)


# ---- connection failures ------------------------------------------------------------------------


def config(*endpoints, attempts=None, balance="round_robin"):
    retry = f", retry: {{ attempts: {attempts} }}" if attempts is not None else ""
    return (
        f"routes: [ {{ to: app{retry} }} ]\n"
        f"pools: {{ app: {{ balance: {balance}, endpoints: [ {', '.join(map(repr, endpoints))} ] }} }}\n"
    )


def test_a_refused_connection_is_502(start_weir, closing):
    down = closing(RefusedEndpoint())
    weir = start_weir(config(down.address))
    with weir.counts("connect_refused"), weir.logged() as log, weir.client() as c:
        assert assert_authored(c.get(), 502, "connect_refused") == "connection_refused"
        c.assert_open()
    assert log[0]["reason"] == "connect_refused" and log[0]["endpoint"] == down.address
    assert f"connect_refused {down.address}" in log[0]["trail"]


def test_a_unix_socket_that_is_not_there_is_502(start_weir, tmp):
    weir = start_weir(config(f"unix:{tmp}/none.sock"))
    with weir.counts("connect_failed"), weir.client() as c:
        assert_authored(c.get(), 502, "connect_failed")


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_a_refused_connection_is_tried_again_on_another_endpoint(start_weir, closing, auto, method):
    down, up = closing(RefusedEndpoint()), auto()
    weir = start_weir(config(down.address, up.address))
    with weir.logged(10) as log, weir.client() as c:
        for _ in range(10):
            c.send(f"{method} / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nbody")
            assert c.response().body == b"ok"
    assert all(r.body == b"body" for r in up.requests) and len(up.requests) == 10
    retried = [e for e in log if e["attempts"] == 2]
    assert retried and all(e["trail"] == [f"connect_refused {down.address}"] for e in retried)
    assert all(e["endpoint"] == up.address and e["reason"] == "" for e in log)
    weir.wait_metric("weir_retries_total", len(retried), pool="app")
    weir.wait_metric("weir_requests_total", 10, status="2xx")


def test_attempts_0_means_no_second_try(start_weir, closing, auto):
    down, up = closing(RefusedEndpoint()), auto()
    weir = start_weir(config(down.address, up.address, attempts=0))
    with weir.client() as c:
        statuses = sorted(c.get().status for _ in range(10))
    assert statuses == [200] * 5 + [502] * 5
    weir.wait_metric("weir_retries_total", 0)


def test_attempts_bound_the_tries_and_no_endpoint_is_tried_twice(start_weir, closing):
    downs = [closing(RefusedEndpoint()) for _ in range(4)]
    weir = start_weir(config(*[d.address for d in downs], attempts=2))
    with weir.logged() as log, weir.client() as c:
        assert_authored(c.get(), 502, "connect_refused")
    assert log[0]["attempts"] == 3
    tried = [t.split(" ")[1] for t in log[0]["trail"]]
    assert (
        len(tried) >= 2
        and len(set(tried)) == len(tried)
        and set(tried) <= {d.address for d in downs}
    )


def test_more_attempts_than_endpoints_end_with_the_endpoints(start_weir, closing):
    downs = [closing(RefusedEndpoint()) for _ in range(2)]
    weir = start_weir(config(*[d.address for d in downs], attempts=10))
    with weir.logged() as log, weir.client() as c:
        assert_authored(c.get(), 502, "connect_refused")
    assert log[0]["attempts"] == 2


def test_a_body_that_is_still_coming_survives_the_retry(start_weir, closing, new_upstream):
    down, up = closing(RefusedEndpoint()), new_upstream()
    weir = start_weir(config(down.address, up.address))
    with weir.client() as c:
        for _ in range(2):  # one of the two starts at the refused one
            c.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 8\r\n\r\nfirst")
            u = up.accept() if not up.conns else up.conns[0]
            u.head()
            u.expect("first")
            c.send("end")
            u.expect("end")
            u.answer()
            assert c.response().body == b"ok"


@pytest.mark.parametrize("how,reason", [("close", "upstream_closed"), ("reset", "upstream_reset")])
def test_a_post_that_the_upstream_drops_is_502(weir, upstream, how, reason):
    with weir.counts(reason), weir.logged() as log, weir.client() as c:
        c.send("POST /app HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nhi")
        u = upstream.accept()
        u.request()
        getattr(u, how)()
        assert assert_authored(c.response(), 502, reason) in (
            "connection_terminated",
            "http_response_incomplete",
        )
        c.assert_open()
    assert log[0]["reason"] == reason


def test_killing_a_backend_loses_no_idempotent_request(start_weir, auto):
    a, b = auto(body=b"a"), auto(body=b"b")
    weir = start_weir(config(a.address, b.address))
    with weir.client() as c:
        before = {c.get().body for _ in range(10)}
        a.die()
        after = [c.get() for _ in range(20)]
    assert before == {b"a", b"b"}
    assert [r.status for r in after] == [200] * 20 and {r.body for r in after} == {b"b"}
