# SPDX-License-Identifier: Apache-2.0
"""BEHAVIOUR 8: "beyond it the queue (FIFO, bounded, with a wait)"; 6: "over the retry budget or
queue: 503". Requests that wait for their turn."""
import time

from harness import assert_authored
from matrix import Matrix
from test_limits import ask, free, limited  # noqa: F401

MATRIX = Matrix()


def names(up):
    """The paths of the requests that it got, in order."""
    return [r.target for r in up.requests]


def send(weir, path, extra=""):
    client = weir.client()
    client.send(f"GET {path} HTTP/1.1\r\nHost: a\r\n{extra}\r\n")
    return client


def line_up(weir, paths, extra=lambda path: ""):
    """Requests that wait, one after the other."""
    before = weir.metric("weir_pool_queued", pool="app")
    clients = []
    for n, path in enumerate(paths, 1):
        clients.append(send(weir, path, extra(path)))
        weir.wait_metric("weir_pool_queued", before + n, pool="app")
    return clients


def drain(up, count):
    """Answers requests one by one, until there have been so many."""
    for n in range(count):
        up.wait_held(1)
        free(up)


def test_who_waits_is_served_in_the_order_of_arrival(limited):
    weir, up = limited("max_requests: 1, queue: { wait: 1h }", workers=1)
    clients = [send(weir, "/0")]
    up.wait_held(1)
    clients += line_up(weir, ["/1", "/2", "/3"])
    with weir.logged(4) as entries:
        drain(up, 4)
        assert [c.response().status for c in clients] == [200] * 4
    assert names(up) == ["/0", "/1", "/2", "/3"]
    weir.wait_metric("weir_pool_queued", 0, pool="app")
    weir.wait_metric("weir_pool_requests_in_flight", 0, pool="app")
    assert [e["attempts"] for e in entries] == [1] * 4


def test_the_queue_is_bounded_over_all_workers(limited):
    weir, up = limited("max_requests: 3, queue: { max: 5, wait: 1h }", workers=4)
    clients = ask(weir, 30)
    weir.wait_metric("weir_errors_total", 22, reason="queue_full")
    up.wait_held(3)
    weir.wait_metric("weir_pool_queued", 5, pool="app")
    drain(up, 8)
    answers = [c.response() for c in clients]
    assert sorted(a.status for a in answers) == [200] * 8 + [503] * 22
    assert_authored(next(a for a in answers if a.status == 503), 503, "queue_full")
    assert len(up.requests) == 8


def test_a_wait_that_is_too_long_ends_with_503(limited):
    weir, up = limited("max_requests: 1, queue: { wait: 30ms }")
    (first,) = ask(weir)
    up.wait_held(1)
    with weir.logged() as entries, weir.counts("queue_timeout"), weir.client() as c:
        assert_authored(c.get(), 503, "queue_timeout")
    (entry,) = entries
    assert (entry["attempts"], entry["status"], entry["reason"]) == (0, 503, "queue_timeout")
    assert entry["queue_ms"] >= 30
    up.release()
    assert first.response().status == 200
    weir.wait_metric("weir_pool_queued", 0, pool="app")


def test_who_goes_away_while_it_waits_leaves_the_queue_at_once(limited):
    weir, up = limited("max_requests: 1, queue: { wait: 1h }", workers=1)
    first = send(weir, "/0")
    up.wait_held(1)
    one, two, three = line_up(weir, ["/1", "/2", "/3"])
    with weir.counts("client_closed"):
        two.close()
    weir.wait_metric("weir_pool_queued", 2, pool="app")
    drain(up, 3)
    assert [c.response().status for c in (first, one, three)] == [200] * 3
    assert names(up) == ["/0", "/1", "/3"]


def test_a_place_that_is_freed_goes_to_whichever_worker_has_somebody_waiting(limited):
    weir, up = limited("max_requests: 1, queue: { max: 100, wait: 1h }", workers=4)
    clients = ask(weir, 60)
    drain(up, 60)
    assert [c.response().status for c in clients] == [200] * 60
    assert len(up.requests) == 60
    weir.wait_metric("weir_pool_queued", 0, pool="app")
    weir.wait_metric("weir_pool_requests_in_flight", 0, pool="app")


def test_a_request_that_waits_takes_its_body_along(limited):
    weir, up = limited("max_requests: 1, queue: { wait: 1h }")
    (first,) = ask(weir)
    up.wait_held(1)
    c = weir.client()
    c.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nhello")
    weir.wait_metric("weir_pool_queued", 1, pool="app")
    c.send("world")
    drain(up, 2)
    assert (first.response().status, c.response().status) == (200, 200)
    assert up.requests[1].body == b"helloworld"


def test_the_time_of_the_whole_request_runs_while_it_waits(start_weir, auto):
    up = auto(reply=lambda _: None)
    weir = start_weir(
        "routes: [ { to: app, timeout: { request: 50ms }, match: { path: /short } }, { to: app } ]\n"
        f"pools: {{ app: {{ endpoints: [ '{up.address}' ], max_requests: 1,"
        " queue: { wait: 1h } } }\n"
    )
    first = send(weir, "/0")
    up.wait_held(1)
    with weir.client() as c:
        assert_authored(c.get("/short"), 504, "request_timeout")
    weir.wait_metric("weir_pool_queued", 0, pool="app")
    up.release()
    assert first.response().status == 200


def user(path):
    return f"x-user: {path[1]}\r\n"


def test_keys_take_turns(limited):
    weir, up = limited(
        "max_requests: 1, queue: { wait: 1h, key: { header: x-user } }", workers=1
    )
    first = send(weir, "/0")
    up.wait_held(1)
    clients = line_up(weir, ["/a1", "/a2", "/a3", "/a4", "/b1", "/b2", "/c1"], user)
    drain(up, 8)
    assert {c.response().status for c in [first, *clients]} == {200}
    assert names(up) == ["/0", "/a1", "/b1", "/c1", "/a2", "/b2", "/a3", "/a4"]


def test_a_full_queue_takes_from_the_key_that_has_most(limited):
    weir, up = limited(
        "max_requests: 1, queue: { max: 4, wait: 1h, key: { header: x-user } }", workers=1
    )
    first = send(weir, "/0")
    up.wait_held(1)
    clients = line_up(weir, ["/a1", "/a2", "/a3", "/a4"], user)
    with weir.counts("queue_full"):
        b = send(weir, "/b1", user("/b"))
        assert_authored(clients.pop().response(), 503, "queue_full")
    with weir.counts("queue_full"):
        assert_authored(send(weir, "/a5", user("/a")).response(), 503, "queue_full")
    drain(up, 5)
    assert {c.response().status for c in [first, b, *clients]} == {200}
    assert names(up) == ["/0", "/a1", "/b1", "/a2", "/a3"]


def test_the_newest_is_served_first_once_the_queue_has_not_been_empty_for_as_long_as_the_wait(
    limited,
):
    weir, up = limited("max_requests: 1, queue: { wait: 3s }", workers=1)
    first = send(weir, "/0")
    up.wait_held(1)
    (late,) = line_up(weir, ["/1"])
    time.sleep(1.5)  # so that the others still wait when it has waited for too long
    clients = line_up(weir, ["/2", "/3", "/4"])
    assert_authored(late.response(), 503, "queue_timeout")
    drain(up, 4)
    assert {c.response().status for c in [first, *clients]} == {200}
    assert names(up) == ["/0", "/4", "/3", "/2"]


def test_the_oldest_is_always_first_with_fifo(limited):
    weir, up = limited("max_requests: 1, queue: { wait: 1h, order: fifo }", workers=1)
    clients = [send(weir, "/0")]
    up.wait_held(1)
    clients += line_up(weir, ["/1", "/2"])
    drain(up, 3)
    assert {c.response().status for c in clients} == {200}
    assert names(up) == ["/0", "/1", "/2"]


def test_who_waits_gets_the_endpoint_that_is_freed(start_weir, auto):
    ups = [auto(reply=lambda _: None, body=bytes([97 + i])) for i in range(3)]
    listed = ", ".join(f"{{ address: '{u.address}', max_requests: 1 }}" for u in ups)
    weir = start_weir(
        "routes: [ { to: app } ]\n"
        f"pools: {{ app: {{ queue: {{ wait: 1h }}, endpoints: [ {listed} ] }} }}\n",
        workers=4,
    )
    clients = ask(weir, 40)
    weir.wait_metric("weir_pool_queued", 37, pool="app")
    for u in ups:
        u.wait_held(1)
    assert [len(u.held) for u in ups] == [1] * 3
    for _ in range(38):
        ups[1].wait_held(1)
        assert len(ups[1].held) == 1
        free(ups[1])
    weir.wait_metric("weir_pool_requests_in_flight", 2, pool="app")
    for u in (ups[0], ups[2]):
        u.release()
    assert sorted(c.response().body for c in clients) == [b"a"] + [b"b"] * 38 + [b"c"]
    weir.wait_metric("weir_pool_queued", 0, pool="app")
