# SPDX-License-Identifier: Apache-2.0
"""Traces that are exported: what a collector is told of each request and its attempts, and of which.
"""
import json
import re
import threading
import time

import pytest

from collector import CLIENT, REMOTE, SERVER, request_of
from matrix import Matrix
from peers import RefusedEndpoint, wait_for
from tracing import (  # noqa: F401
    GOOD,
    SOON,
    SPAN,
    TRACE,
    collector,
    config,
    told,
    traced,
    wait_results,
)

MATRIX = Matrix()


# ---- what is told --------------------------------------------------------------------------------


def test_a_request_and_its_attempt(traced, side):
    weir, to, up = traced()
    with weir.client() as c:
        answer = c.get("/shop/a?b=c", host="shop.example:81", extra="User-Agent: me/1\r\n")
        assert answer.status == 200
    whole, (attempt,) = request_of(to.wait(2))
    (entry,) = weir.access_log(1)
    assert (whole.trace, whole.id, whole.parent) == (entry["trace_id"], entry["span_id"], "")
    assert (whole.name, whole.kind, whole.error, whole.state) == ("GET shop", SERVER, False, "")
    peer = re.fullmatch(r"(.+):([0-9]+)", entry["client"])
    version = "2" if side.client == "h2" else "1.1"
    ours = dict(whole.attributes)
    assert ours.pop("weir.first_byte_us") > 0
    assert ours == {
        "http.request.method": "GET",
        "url.scheme": "https" if side.secure else "http",
        "url.path": "/shop/a",
        "url.query": "b=c",
        "http.route": "shop",
        "server.address": "shop.example",
        "server.port": 81,
        "client.address": peer[1],
        "client.port": int(peer[2]),
        "network.peer.address": peer[1],
        "network.peer.port": int(peer[2]),
        "network.protocol.version": version,
        "user_agent.original": "me/1",
        "http.response.status_code": 200,
        "weir.request_id": entry["id"],
        "weir.listener": "web",
        "weir.pool": "app",
        "weir.attempts": 1,
    }
    host, port = up.address.rsplit(":", 1)
    theirs = dict(attempt.attributes)
    assert theirs.pop("weir.first_byte_us") > 0 and theirs.pop("weir.connect_us", 1) > 0
    assert (attempt.name, attempt.kind, attempt.parent) == ("GET", CLIENT, whole.id)
    assert theirs == {
        "http.request.method": "GET",
        "url.full": f"{'https' if (side.secure, side.upstream) == (True, 'h2') else 'http'}://{up.address}/shop/a?b=c",
        "server.address": host,
        "server.port": int(port),
        "network.peer.address": host,
        "network.peer.port": int(port),
        "network.protocol.version": "2" if side.upstream == "h2" else "1.1",
        "http.response.status_code": 200,
        "weir.endpoint": up.address,
        "weir.pool": "app",
    }
    assert told(up) == (whole.trace, attempt.id, "01")
    assert whole.resource["service.name"] == "weir"
    assert len(whole.resource["service.instance.id"]) == 36
    wait_results(weir, exported=2)


def test_a_client_s_trace_goes_on(traced):
    weir, to, up = traced(tracing="sample: 0%, service: edge-1")
    with weir.client() as c:
        c.get("/shop", extra=f"traceparent: {GOOD}\r\ntracestate: a=1\r\ntracestate: b=2\r\n")
    whole, (attempt,) = request_of(to.wait(2))
    assert (whole.trace, whole.parent, whole.state) == (TRACE, SPAN, "a=1,b=2")
    assert whole.flags & REMOTE and not attempt.flags & REMOTE
    assert (attempt.trace, attempt.parent, attempt.state) == (TRACE, whole.id, "a=1,b=2")
    assert told(up) == (TRACE, attempt.id, "01")
    assert whole.resource["service.name"] == "edge-1"


@pytest.mark.parametrize("length,told_of", [(512, True), (513, False)])
def test_a_state_that_is_too_long_is_not_told_of(traced, length, told_of):
    weir, to, up = traced()
    state = "a=1,b=" + "x" * (length - 6)
    one, two = state.split(",")
    with weir.client() as c:
        c.get("/shop", extra=f"traceparent: {GOOD}\r\ntracestate: {one}\r\ntracestate: {two}\r\n")
        c.get("/shop", extra=f"traceparent: {GOOD}\r\ntracestate: {state}\r\n")
    assert {s.state for s in to.wait(4)} == {state if told_of else ""}


def test_each_retry_is_an_attempt_of_its_own(traced, closing):
    weir, to, up = traced(
        endpoints=[closing(RefusedEndpoint()).address],
        route=", retry: { attempts: 1, backoff: 1ms }",
    )
    with weir.client() as c:
        while up.connections == 0 or weir.metric("weir_retries_total") == 0:
            assert c.get("/shop").status == 200
    asked = len(up.requests)
    spans = to.wait(2 * asked + 1)
    (refused,) = [s for s in spans if s.kind == CLIENT and s.error]
    (whole,) = [s for s in spans if s.id == refused.parent]
    assert (refused["error.type"], refused["weir.reason"]) == ("connect_refused",) * 2
    assert refused["http.response.status_code"] is None and refused.message
    (again,) = [s for s in spans if s.parent == whole.id and s is not refused]
    assert refused.end <= again.start
    assert (again["http.request.resend_count"], refused["http.request.resend_count"]) == (1, None)
    assert (whole.error, whole["weir.attempts"]) == (False, 2)
    assert again.id in {told(up, n)[1] for n in range(asked)}
    assert refused.id not in {told(up, n)[1] for n in range(asked)}


def test_an_answer_that_is_tried_again_was_an_error(traced):
    answers = [b"HTTP/1.1 503 No\r\nContent-Length: 0\r\n\r\n"]
    weir, to, up = traced(
        reply=lambda _: answers.pop() if answers else up.ok(),
        route=", retry: { attempts: 1, backoff: 1ms, when: [503], same_endpoint: true }",
    )
    with weir.client() as c:
        assert c.get("/shop").status == 200
    whole, (first, second) = request_of(to.wait(3))
    assert [told(up, n)[1] for n in (0, 1)] == [first.id, second.id]
    assert first.error and first["error.type"] == "503"
    assert first["http.response.status_code"] == 503 and not second.error and not whole.error


def test_a_hedge_runs_beside_the_first(start_weir, collector, auto):  # noqa: F811
    holding, asked = threading.Event(), []

    def reply(i):
        asked.append(ups[i])
        return None if holding.is_set() else ups[i].ok()

    ups = [auto(reply=lambda _, i=i: reply(i)) for i in (0, 1)]
    to = collector()
    listed = [up.address for up in ups]
    weir = start_weir(config(f"to: {to.url}, {SOON}", listed, pool=", hedge: 95%"), workers=1)
    with weir.client() as c:
        for _ in range(32):  # so many have to be answered before a hedge is begun
            c.get("/shop")
        to.wait(64)
        late = asked[-1]  # they take turns; who of them is quick to say so is another matter
        holding.set()
        c.send("GET /shop HTTP/1.1\r\nHost: a\r\n\r\n")
        wait_for(lambda: all(up.held for up in ups), "both to be asked")
        at = {told(up)[1]: up for up in ups}
        late.release()
        assert c.response().status == 200
    whole, (first, second) = request_of(to.wait(67)[64:])
    assert second["weir.endpoint"] == late.address
    assert first.start < second.start < first.end  # at the same time
    assert (first["weir.reason"], first.error) == ("outrun", False)
    assert (second["weir.hedge"], second["http.request.resend_count"]) == (True, 1)
    assert {first.id, second.id} == set(at) and at[second.id] is late
    assert not whole.error


@pytest.mark.parametrize(
    "path,status,reason,error",
    [("/nowhere", 404, "no_route", False), ("/shop", 502, "connect_refused", True)],
)
def test_answers_of_weir_s_own(start_weir, collector, closing, path, status, reason, error):
    to = collector()
    refused = closing(RefusedEndpoint()).address
    weir = start_weir(
        config(f"to: {to.url}, {SOON}", [refused], route=", retry: { attempts: 0 }")
    )
    with weir.client() as c:
        assert c.get(path).status == status
    whole, attempts = request_of(to.wait(2 if error else 1))
    assert (whole["http.response.status_code"], whole["weir.reason"]) == (status, reason)
    assert (whole.error, whole["error.type"]) == (error, reason if error else None)
    assert whole["weir.cause"] and (whole.message == whole["weir.cause"]) == error
    assert len(attempts) == error
    assert whole.name == ("GET shop" if error else "GET")
    (entry,) = weir.access_log(1)
    record = json.loads(weir.admin_get(f"/requests/{entry['id']}").body)
    assert record["trace_id"] == entry["trace_id"] == whole.trace
    assert record["cause"] == whole["weir.cause"]


@pytest.mark.h1_client("a request line")
def test_what_is_no_request_has_a_span(traced):
    weir, to, _ = traced()
    with weir.client() as c:
        c.send("GET /shop HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n")
        assert c.response().status == 400
    with weir.client() as c:
        c.send("BREW /shop HTTP/1.1\r\nHost: a\r\n\r\n")
        assert c.response().status == 501
    first, second = sorted(to.wait(2), key=lambda s: s["weir.reason"])  # two workers' clocks differ
    assert (first["weir.reason"], first["http.response.status_code"]) == ("bad_host", 400)
    assert (second["weir.reason"], second["error.type"]) == ("unknown_method",) * 2
    assert (second.name, second["http.request.method"]) == ("HTTP", "_OTHER")
    assert not first.error and second.error


def test_a_client_that_leaves(traced):
    weir, to, up = traced(reply=lambda _: None)
    c = weir.client()
    c.send("GET /shop HTTP/1.1\r\nHost: a\r\n\r\n")
    up.wait_held(1)
    c.close()
    whole, (attempt,) = request_of(to.wait(2))
    assert whole["http.response.status_code"] is None  # it was sent nothing
    assert whole.error and whole["error.type"] == whole["weir.reason"]
    assert attempt.error and attempt["http.response.status_code"] is None
    assert told(up)[1] == attempt.id


def test_an_answer_that_breaks_off(traced):
    weir, to, up = traced(
        reply=lambda _: b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf"
    )
    with weir.client() as c:
        c.send("GET /shop HTTP/1.1\r\nHost: a\r\n\r\n")
        c.expect("HTTP/1.1 200 ")
        up.close()
        c.expect_ended()
    whole, (attempt,) = request_of(to.wait(2))
    assert whole.error and whole["http.response.status_code"] == 200
    assert whole["error.type"] == whole["weir.reason"] == attempt["weir.reason"]


def test_a_wait_for_its_turn(traced):
    weir, to, up = traced(
        reply=lambda _: None, pool=", max_requests: 1, queue: { max: 8, wait: 20s }"
    )
    began = time.monotonic()
    with weir.client() as a, weir.client() as b:
        a.send("GET /shop/a HTTP/1.1\r\nHost: a\r\n\r\n")
        up.wait_held(1)
        at_most = (time.monotonic() - began) * 1e6  # a slow machine has a wait for nobody as well
        b.send("GET /shop/b HTTP/1.1\r\nHost: a\r\n\r\n")
        weir.wait_metric("weir_requests_in_flight", 2)
        time.sleep(0.02)
        up.release()
        assert a.response().status == 200
        up.wait_held(1)
        up.release()
        assert b.response().status == 200
    spans = to.wait(4)
    waited = {s["url.path"]: s["weir.queue_us"] for s in spans if s.kind == SERVER}
    (late,) = [s for s in spans if s.kind == SERVER and s["url.path"] == "/shop/b"]
    (attempt,) = [s for s in spans if s.parent == late.id]
    assert waited["/shop/b"] >= 20000 and waited["/shop/a"] <= at_most
    assert attempt.start - late.start == waited["/shop/b"] * 1000


# ---- which of them -------------------------------------------------------------------------------


def ids(count):
    """Trace ids whose last halves are spread evenly."""
    return [f"{n + 1:016x}{(2 * n + 1) * 2**63 // count:016x}" for n in range(count)]


def ask_all(weir, traces, flags):
    with weir.client() as c:
        for trace in traces:
            assert c.get("/shop", extra=f"traceparent: 00-{trace}-{SPAN}-{flags}\r\n").status == 200


def flags_told(up):
    all_told = [told(up, n) for n in range(len(up.requests))]
    return {trace for trace, _, flags in all_told if flags == "01"}


def test_a_client_s_decision_is_followed(traced):
    weir, to, up = traced(tracing="sample: 50%")
    ask_all(weir, ids(10), "00")
    ask_all(weir, ids(4), "01")
    assert {s.trace for s in to.wait(8)} == set(ids(4)) == flags_told(up)


@pytest.mark.parametrize("flags", ["00", "01"])
def test_a_client_s_decision_is_ignored(traced, flags):
    weir, to, up = traced(tracing="sample: 12.5%, parent: ignore")
    ask_all(weir, ids(80), flags)
    want = set(ids(80)[:10])
    assert {s.trace for s in to.wait(20)} == want == flags_told(up)
    assert all(s.parent == SPAN for s in to.spans if s.kind == SERVER)


def test_nothing_is_told_of_what_is_not_sampled(traced):
    weir, to, up = traced(tracing="sample: 0%")
    with weir.client() as c:
        for _ in range(5):
            c.get("/shop")
        assert told(up)[2] == "00"
        c.get("/shop", extra=f"traceparent: {GOOD}\r\n")
    assert {s.trace for s in to.wait(2)} == {TRACE}
    # weir's own span is what is told of if there are no attempts to tell of
    assert told(up, 0)[1] == weir.access_log(6)[0]["span_id"]
