# SPDX-License-Identifier: Apache-2.0
"""Bugs that were: what retries, hedges and limits once did to each other that they must not do
again."""
from select import POLLIN

import pytest

import h2peer
from h2peer import Code
from peers import ready, wait_for
from tlspeer import secured

GET = "GET / HTTP/1.1\r\nHost: a\r\n\r\n"
BUSY = {"status": "503 Busy", "extra": "Retry-After: 4\r\n"}  # for what happens meanwhile


def config(ups, retry, pool=""):
    listed = ", ".join(f"{{ address: '{u.address}', max_requests: 1 }}" for u in ups)
    return (
        f"routes: [ {{ to: app, retry: {retry} }} ]\n"
        f"pools: {{ app: {{ balance: round_robin, outlier: none, endpoints: [ {listed} ]{pool} }} }}\n"
    )


def asked(ups):
    """The upstream that was asked, and the other."""
    wait_for(lambda: any(ready(u.sock, POLLIN, 0) for u in ups), "one of them to be asked")
    return ups if ready(ups[0].sock, POLLIN, 0) else ups[::-1]


def test_a_retry_that_is_denied_keeps_no_place_at_an_endpoint(start_weir, new_upstream):
    """The endpoint picked for it counted a request until this worker picked again: for the others,
    it was full."""
    ups = [new_upstream(), new_upstream()]
    weir = start_weir(config(ups, "1", ", retry_budget: { ratio: 0%, min: 0/s }"), workers=1)
    with weir.counts("retry_budget"), weir.client() as c:
        c.send(GET)
        first, second = asked(ups)
        u = first.accept()
        u.request()
        u.close()
        assert c.response().status == 503
    second.assert_untouched()
    weir.wait_metric("weir_endpoint_requests_in_flight", 0)


def test_a_retry_that_pauses_keeps_no_place_at_an_endpoint(start_weir, new_upstream):
    ups = [new_upstream(), new_upstream()]
    weir = start_weir(config(ups, "{ attempts: 1, when: 503, retry_after: 10s }"), workers=1)
    with weir.client() as c:
        c.send(GET)
        first, second = asked(ups)
        u = first.accept()
        u.request()
        u.answer("busy", **BUSY)
        weir.wait_metric("weir_retries_total", 1, pool="app")
        weir.wait_metric("weir_endpoint_requests_in_flight", 0)
        u = second.accept()
        u.request()
        u.answer()
        assert c.response().body == b"ok"


def test_a_retry_at_the_same_endpoint_is_not_one_more_than_that_takes(start_weir, new_upstream):
    """While it paused, another request took the place."""
    up = new_upstream()
    retry = "{ when: 503, same_endpoint: true, retry_after: 10s }"
    weir = start_weir(config([up], retry), workers=1)
    with weir.counts("no_endpoint"), weir.client() as c, weir.client() as other:
        c.send(GET)
        u = up.accept()
        u.request()
        u.answer("busy", **BUSY)
        weir.wait_metric("weir_retries_total", 1, pool="app")
        other.send(GET)
        u = up.accept()
        u.request()
        assert c.response().status == 503
        u.answer()
        assert other.response().body == b"ok"
    up.assert_untouched()
    weir.wait_metric("weir_endpoint_requests_in_flight", 0)


def test_trailers_reach_the_second_of_two_that_are_asked_at_once(
    start_weir, new_upstream, authority
):
    """Both were dialled when the request had come whole; the first to be up took its body along."""
    ups = [new_upstream(), new_upstream()]
    context = authority.server_context()
    listed = ", ".join(f"'{u.address}'" for u in ups)
    weir = start_weir(
        "routes: [ { to: app } ]\n"
        "pools:\n"
        f"  app: {{ balance: round_robin, outlier: none, hedge: 95%, endpoints: [ {listed} ],\n"
        f"    upstream: {{ connect: 1m, tls: {{ sni: a.example, ca: {authority.cert} }} }} }}\n",
        workers=1,
    )
    with weir.client() as c:
        for _ in range(32):  # answers that are learnt from
            c.send(GET)
            u = secured(asked(ups)[0].accept(), context)
            u.request()
            u.answer(extra="Connection: close\r\n")
            assert c.response().body == b"ok"
            u.close()
        c.send(
            "GET / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTrailer: Sum\r\n\r\n"
            "3\r\nabc\r\n0\r\nSum: 6\r\n\r\n"
        )
        both = [u.accept() for u in ups]
        for u in both:
            request = secured(u, context).request()
            assert (request.body, request.trailers) == (b"abc", [(b"Sum", b"6")])
        u.answer()
        assert c.response().body == b"ok"


@pytest.mark.parametrize("workers", [2, 3, 4])
def test_an_endpoint_that_is_freed_reaches_the_worker_that_has_a_use_of_it(start_weir, auto, workers):
    """Each worker uses one endpoint only. The wake-up that was the one's went to another by turns,
    and was lost."""
    ups = [auto(body=bytes([97 + i])) for i in range(workers)]
    held = set()
    for up in ups:
        up.reply = lambda _, up=up: None if up in held else up.ok()
    listed = ", ".join(f"{{ address: '{u.address}', max_requests: 1 }}" for u in ups)
    weir = start_weir(
        "routes: [ { to: app } ]\n"
        "pools: { app: { balance: { policy: p2c, subset: 1 }, queue: { wait: 1h },\n"
        f"  endpoints: [ {listed} ] }} }}\n",
        workers=workers,
    )
    own = {up.body: [] for up in ups}  # the clients of its worker
    while min(map(len, own.values())) < 4:
        c = weir.client()
        own[c.get().body].append(c)
    held.update(ups)
    for c in sum(own.values(), []):
        c.send(GET)
    weir.wait_metric("weir_pool_queued", sum(map(len, own.values())) - workers, pool="app")
    for up in ups:
        held.discard(up)
        up.release()
        assert {c.response().body for c in own[up.body]} == {up.body}
    weir.wait_metric("weir_pool_queued", 0, pool="app")


@pytest.mark.parametrize("code", [Code.INTERNAL_ERROR, Code.CANCEL])
def test_a_stream_that_is_reset_is_no_sign_of_a_stale_connection(start_weir, new_upstream, code):
    """It was sent again to the same endpoint on a fresh one, whatever the budget said: twice the
    load for one that fails."""
    up = new_upstream()
    weir = start_weir(
        "routes: [ { to: app } ]\n"
        f"pools: {{ app: {{ endpoints: [ '{up.address}' ], upstream: {{ protocol: h2 }},\n"
        "  retry_budget: { ratio: 0%, min: 0/s } } }\n",
        workers=1,
    )
    with weir.client() as c:
        c.send(GET)
        u = h2peer.H2Server(up.accept())
        n, _ = u.accept()
        u.respond(n, 200, b"ok")
        assert c.response().body == b"ok"
        c.send(GET)
        n, _ = u.accept()
        u.reset(n, code)
        assert c.response().status == 502
    up.assert_untouched()
    weir.wait_metric("weir_attempts_failed_total", 1)
