# SPDX-License-Identifier: Apache-2.0
"""What a pool keeps over a reload that changes it: its idle connections, and what is known of its
endpoints, by their addresses."""
import pytest

import matrix
from harness import sum_of
from matrix import Matrix
from peers import wait_for
from test_reload import reload, settled

MATRIX = Matrix(workers=(1,))  # idle connections are kept for each worker

POOL = """
routes: [ { to: app } ]
pools: { app: { endpoints: [ %s ]%s } }
"""
IDLE = ", upstream: { idle: %ds }"


@pytest.fixture
def text(place):
    """text(upstreams, more): a configuration of them for this cell."""

    def written(ups, more=""):
        listed = ", ".join(f"'{up.address}'" for up in ups)
        return matrix.over(POOL % (listed, more), place.side, place.tls, place.addresses)

    return written


def opened(weir):
    return weir.metric("weir_upstream_connections_total", pool="app")


def test_idle_connections_of_a_pool_that_changes_are_used_again(start_weir, auto, text):
    up, other = auto(), auto()
    weir = start_weir(text([up], IDLE % 50))
    with weir.client() as c:
        assert c.get().status == 200
        for n, ups in enumerate(([up], [other, up], [up])):
            reload(weir, text(ups, IDLE % (51 + n)))
            if len(ups) == 1:
                assert c.get().status == 200
        settled(weir)
        assert opened(weir) == 1
        weir.wait_metric("weir_upstream_connections", 1)
        reload(weir, text([other], IDLE % 60))
        settled(weir)
        weir.wait_metric("weir_upstream_connections", 0)
    weir.wait_metric("weir_upstream_connections_total", 1, pool="app")


def test_a_connection_in_use_is_the_next_pools_when_it_is_idle(start_weir, upstream, text, place):
    weir = start_weir(text([upstream], IDLE % 50))
    with weir.client() as c:
        c.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        u = upstream.accept()
        u.request()
        reload(weir, text([upstream], IDLE % 51))
        reload(weir, text([upstream], IDLE % 52))
        u.answer(b"1")
        assert c.response().body == b"1"
        settled(weir)
        c.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        u.request()
        u.answer(b"2")
        assert c.response().body == b"2"
    assert opened(weir) == 1


@pytest.mark.h1_upstream("what HTTP/2 has said in its SETTINGS binds it")
def test_connections_that_would_be_made_in_another_way_are_not(start_weir, auto, text, place):
    up = auto()
    weir = start_weir(text([up]))
    with weir.client() as c:
        c.get()
        reload(weir, text([up], ", upstream: { protocol: h1 }"))
        c.get()
        settled(weir)
    assert opened(weir) == 2
    weir.wait_metric("weir_upstream_connections", 1)


def test_an_endpoint_that_is_out_stays_out(start_weir, auto, text):
    failing = auto(reply=lambda _: b"HTTP/1.1 500 Oops\r\nContent-Length: 0\r\n\r\n")
    well, third = auto(body=b"well"), auto(body=b"third")
    out = ", balance: round_robin, outlier: { errors: 1, eject: 1h, max_eject: 1h }"

    def state():
        return sum_of(weir.metrics(), "weir_endpoint_state",
                      {"pool": "app", "endpoint": failing.address, "state": "ejected"})

    weir = start_weir(text([failing, well], out))
    with weir.client() as c:
        assert sorted(c.get().status for _ in range(2)) == [200, 500]
        wait_for(lambda: state() == 1, "it to be ejected")
        reload(weir, text([third, well, failing], out))
        assert state() == 1 and {c.get().body for _ in range(6)} == {b"well", b"third"}
        reload(weir, text([third, well, failing], out.replace("errors: 1", "mode: observe")))
        assert state() == 0 and {c.get().status for _ in range(6)} == {200, 500}


def test_retries_that_were_spent_stay_spent(start_weir, auto, place):
    """The window's budget is a part of its requests, whatever configuration they came by."""
    failing = auto(reply=lambda _: b"HTTP/1.1 503 No\r\nContent-Length: 0\r\n\r\n")
    more = ", outlier: none, retry_budget: { ratio: 50%%, min: 0/s, window: 1h }, hedge: %d%%"

    def written(n):
        retry = "to: app, retry: { when: 503, attempts: 1, same_endpoint: true, backoff: 0ms }"
        policy = POOL.replace("to: app", retry)
        listed = f"'{failing.address}'"
        return matrix.over(policy % (listed, more % n), place.side, place.tls, place.addresses)

    weir = start_weir(written(50))
    with weir.client() as c:
        for n in range(10):
            c.get()
            if n == 4:
                reload(weir, written(60))
    weir.wait_metric("weir_retries_total", 5, pool="app")
    weir.wait_metric("weir_retries_denied_total", 5, pool="app")
