# SPDX-License-Identifier: Apache-2.0
"""BEHAVIOUR 8: "max_connections / max_requests a pool and an endpoint; beyond it the queue (FIFO,
bounded, with a wait)", and 6: "over the retry budget or queue: 503". What is refused at once."""
import pytest

from harness import assert_authored
from matrix import Matrix
from peers import wait_for

MATRIX = Matrix()

GET = "GET / HTTP/1.1\r\nHost: a\r\n\r\n"


@pytest.fixture
def limited(start_weir, auto):
    """weir before upstreams that hold every request; more: what the pool says beside endpoints."""

    def start(more, ups=1, endpoint="", workers=None, **options):
        held = [auto(reply=lambda _: None, body=bytes([97 + i])) for i in range(ups)]
        listed = ", ".join(f"{{ address: '{u.address}'{endpoint} }}" for u in held)
        weir = start_weir(
            f"routes: [ {{ to: app }} ]\npools: {{ app: {{ endpoints: [ {listed} ], {more} }} }}\n",
            workers=workers,
            **options,
        )
        return weir, *held

    return start


def ask(weir, count=1):
    """Clients that wait for the answers to their requests."""
    clients = [weir.client() for _ in range(count)]
    for c in clients:
        c.send(GET)
    return clients


def free(up):
    """One of the requests that it holds is answered."""
    up.release(count=1)


def test_a_request_too_many_is_refused_and_one_less_makes_room(limited):
    weir, up = limited("max_requests: 2, queue: none")
    clients = ask(weir, 2)
    up.wait_held(2)
    with weir.counts("request_limit", "request_limit"), weir.client() as c:
        assert_authored(c.get(), 503, "request_limit")
        assert_authored(c.get(), 503, "request_limit")
    weir.wait_metric("weir_pool_limit", 2, pool="app")
    weir.wait_metric("weir_pool_requests_in_flight", 2, pool="app")
    free(up)
    weir.wait_metric("weir_pool_requests_in_flight", 1, pool="app")
    (another,) = ask(weir)
    up.wait_held(2)
    up.release()
    for c in [*clients, another]:
        assert c.response().body == b"a"
    weir.wait_metric("weir_pool_requests_in_flight", 0, pool="app")
    assert len(up.requests) == 3, "what was refused reached nobody"


def test_the_limit_is_that_of_all_workers(limited):
    weir, up = limited("max_requests: 7, queue: none", workers=4)
    clients = ask(weir, 40)
    wait_for(lambda: weir.metric("weir_errors_total", reason="request_limit") == 33, "33 refused")
    up.wait_held(7)
    weir.wait_metric("weir_pool_requests_in_flight", 7, pool="app")
    up.release()
    assert sorted(c.response().status for c in clients) == [200] * 7 + [503] * 33
    assert len(up.requests) == 7


def test_a_retry_needs_no_place_of_its_own(start_weir, auto):
    dying, good = auto(reply=lambda _: None), auto(body=b"good")
    weir = start_weir(
        "routes: [ { to: app } ]\n"
        "pools: { app: { max_requests: 1, queue: none, endpoints: ["
        f" '{dying.address}', {{ address: '{good.address}', backup: true }} ] }} }}\n"
    )
    (client,) = ask(weir)
    dying.wait_held(1)
    dying.die()
    assert client.response().body == b"good"
    weir.wait_metric("weir_pool_requests_in_flight", 0, pool="app")
    weir.wait_metric("weir_retries_total", 1)


def test_a_client_that_goes_away_gives_its_place_back(limited):
    weir, up = limited("max_requests: 1, queue: none")
    (client,) = ask(weir)
    up.wait_held(1)
    with weir.counts("client_closed"):
        client.close()
    weir.wait_metric("weir_pool_requests_in_flight", 0, pool="app")
    up.held.clear()
    (client,) = ask(weir)
    up.wait_held(1)
    up.release()
    assert client.response().status == 200


def test_a_pool_without_a_limit_has_no_place_to_count(limited):
    weir, up = limited("balance: p2c")
    weir.wait_metric("weir_pool_limit", 0)
    ask(weir, 20)
    up.wait_held(20)


def test_an_endpoint_that_has_as_many_as_it_may_is_not_picked(start_weir, auto):
    small, large = (auto(reply=lambda _: None, body=b) for b in (b"s", b"l"))
    weir = start_weir(
        "routes: [ { to: app } ]\n"
        "pools: { app: { balance: round_robin, queue: none, endpoints: ["
        f" {{ address: '{small.address}', max_requests: 2 }},"
        f" {{ address: '{large.address}', max_requests: 5 }} ] }} }}\n",
        workers=2,
    )
    clients = ask(weir, 7)
    small.wait_held(2)
    large.wait_held(5)
    with weir.client() as c, weir.counts("request_limit"):
        assert_authored(c.get(), 503, "request_limit")
    free(small)
    weir.wait_metric("weir_pool_requests_in_flight", 6, pool="app")
    clients += ask(weir)
    small.wait_held(2)
    small.release()
    large.release()
    assert sorted(c.response().body for c in clients) == [b"l"] * 5 + [b"s"] * 3


def test_an_ejected_endpoint_gets_nothing_because_the_others_are_full(start_weir, auto):
    oops = b"HTTP/1.1 500 Oops\r\nContent-Length: 0\r\n\r\n"
    bad, good = auto(reply=lambda _: oops), auto(reply=lambda _: None)
    weir = start_weir(
        "routes: [ { to: app } ]\n"
        "pools: { app: { queue: none, outlier: { errors: 1, eject: 1h, max_eject: 1h },"
        f" endpoints: [ {{ address: '{bad.address}', priority: 0 }},"
        f" {{ address: '{good.address}', max_requests: 1, priority: 1 }} ] }} }}\n",
        workers=1,
    )
    with weir.client() as c:
        assert c.get().status == 500
        (client,) = ask(weir)
        good.wait_held(1)
        assert_authored(c.get(), 503, "request_limit")
    assert len(bad.requests) == 1
    good.release()
    assert client.response().status == 200


@pytest.mark.h1_upstream("max_connections is for HTTP/1")
def test_connections_in_use_are_limited_and_idle_ones_serve_the_next(limited):
    weir, up = limited("max_connections: 3, queue: { wait: 1h }", workers=2)
    clients = ask(weir, 9)
    for _ in range(3):
        up.wait_held(3)
        assert len(up.held) == 3
        up.release()
    assert [c.response().status for c in clients] == [200] * 9
    assert len(up.requests) == 9


@pytest.mark.h1_upstream("max_connections is for HTTP/1")
def test_connections_of_an_endpoint_are_limited(limited):
    weir, one, other = limited("queue: { wait: 1h }", ups=2, endpoint=", max_connections: 2", workers=2)
    clients = ask(weir, 8)
    for _ in range(2):
        for up in (one, other):
            up.wait_held(2)
            assert len(up.held) == 2
        one.release()
        other.release()
    assert [c.response().status for c in clients] == [200] * 8
    assert (len(one.requests), len(other.requests)) == (4, 4)


def test_grpc_is_told_that_the_pool_is_unavailable(limited):
    weir, up = limited("max_requests: 1, queue: none", workers=1)
    (client,) = ask(weir)
    up.wait_held(1)
    with weir.client() as c:
        c.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Type: application/grpc\r\n"
               "TE: trailers\r\nContent-Length: 0\r\n\r\n")
        refused = c.response(method="POST")
        assert (refused.status, refused.get("grpc-status")) == (200, "14")  # UNAVAILABLE
    up.release()
    assert client.response().status == 200


def test_a_limit_is_found_by_itself_within_its_bounds(start_weir, auto):
    up = auto()
    weir = start_weir(
        "routes: [ { to: app } ]\n"
        f"pools: {{ app: {{ endpoints: [ '{up.address}' ], max_requests: 50,"
        " limit: { mode: adaptive, min: 1, start: 1 } } }\n",
        workers=1,
    )
    weir.wait_metric("weir_pool_limit", 1, pool="app")
    with weir.client() as c:
        # One at a time is as many as it may have, and takes no longer: there may be more.
        wait_for(lambda: c.get().status == 200 and weir.metric("weir_pool_limit") == 2, "a rise")
        overload = b"HTTP/1.1 503 No\r\nContent-Length: 0\r\n\r\n"
        up.reply = lambda _: overload
        wait_for(lambda: c.get().status == 503 and weir.metric("weir_pool_limit") == 1, "a fall")
