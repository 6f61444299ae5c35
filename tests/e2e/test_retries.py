# SPDX-License-Identifier: Apache-2.0
"""Retries: how many a pool may get, when they come, and of what. Each test names the sentence of
the specification that it proves (section 8 unless said otherwise)."""
import time
from select import POLLIN

import pytest

from harness import assert_authored
from matrix import Matrix
from peers import HANG_UP, AutoUpstream, RefusedEndpoint, ready, wait_for
from test_admin_pools import order

MATRIX = Matrix()


def config(*endpoints, retry="1", pool=""):
    listed = ", ".join(f"'{e}'" for e in endpoints)
    return (
        f"routes: [ {{ to: app, retry: {{ attempts: {retry} }} }} ]\n"
        f"pools: {{ app: {{ balance: round_robin, outlier: none, endpoints: [ {listed} ]{pool} }} }}\n"
    )


def budget(text):
    return f", retry_budget: {text}"


# ---- the budget ---------------------------------------------------------------------------------


@pytest.fixture
def refused(closing):
    return [closing(RefusedEndpoint()).address for _ in range(2)]


@pytest.fixture
def hanging_up(closing):
    """Endpoints that take each request and close: it may have been processed. HTTP/1 in plain text
    in every cell; nothing of theirs is kept, so no connection is stale."""
    return [closing(AutoUpstream(reply=lambda _: HANG_UP)).address for _ in range(2)]


def test_retries_are_a_fifth_of_the_requests_and_the_rest_is_503(start_weir, hanging_up):
    """8: budget 20% [...]; 6: over the retry budget [...]: 503."""
    weir = start_weir(config(*hanging_up, pool=budget("{ ratio: 20%, min: 0/s, window: 1h }")))
    with weir.counts(*["retry_budget"] * 40, *["upstream_closed"] * 10), weir.logged(50) as log:
        with weir.client() as c:
            answers = [c.get() for _ in range(50)]
    for n, (answer, entry) in enumerate(zip(answers, log), 1):
        if n % 5:
            assert_authored(answer, 503, "retry_budget")
            assert entry["reason"] == "retry_budget" and entry["attempts"] == 1
            assert entry["trail"] == [f"upstream_closed {entry['endpoint']}"]
        else:
            assert_authored(answer, 502, "upstream_closed")
            assert entry["attempts"] == 2
            assert set(entry["trail"]) == {f"upstream_closed {a}" for a in hanging_up}
    weir.wait_metric("weir_retries_total", 10, pool="app")
    weir.wait_metric("weir_retries_denied_total", 40, pool="app")
    weir.wait_metric("weir_attempts_failed_total", 60, reason="upstream_closed")


def test_requests_that_need_none_pay_for_those_that_do(start_weir, closing, hanging_up):
    """8: budget 20% over 10 s: of all requests of the pool."""
    answers = [b"HTTP/1.1 204 Fine\r\nConnection: close\r\n\r\n"] * 20
    up = closing(AutoUpstream(reply=lambda _: answers.pop() if answers else HANG_UP))
    weir = start_weir(
        f"""
routes: [ {{ to: app }} ]
pools:
  app: {{ endpoints: [ '{up.address}', {{ address: '{hanging_up[0]}', backup: true }} ],
         outlier: none, retry_budget: {{ ratio: 20%, min: 0/s, window: 1h }} }}
"""
    )
    with weir.client() as c:
        assert {c.get().status for _ in range(20)} == {204}
        assert [c.get().status for _ in range(10)] == [502] * 5 + [503] * 4 + [502]
    weir.wait_metric("weir_retries_total", 6, pool="app")
    weir.wait_metric("weir_retries_denied_total", 4, pool="app")


def test_the_budget_is_one_for_all_workers(start_weir, hanging_up):
    """8: budget 20% [...]: one for each pool, whichever worker serves."""
    weir = start_weir(
        config(*hanging_up, pool=budget("{ ratio: 20%, min: 0/s, window: 1h }")), workers=2
    )
    statuses = []
    for _ in range(50):  # a new connection each, for any of the workers
        with weir.client() as c:
            statuses.append(c.get().status)
    assert statuses == ([503] * 4 + [502]) * 10
    weir.wait_metric("weir_retries_total", 10, pool="app")


def test_few_requests_have_the_minimum(start_weir, hanging_up):
    """8: with a minimum of 10/s: for all of the window."""
    weir = start_weir(config(*hanging_up, pool=budget("{ ratio: 0%, min: 1/s, window: 5m }")))
    with weir.client() as c:
        statuses = [c.get().status for _ in range(310)]
    assert statuses == [502] * 300 + [503] * 10


def test_without_a_budget_any_number_is_retried(start_weir, hanging_up):
    weir = start_weir(config(*hanging_up, pool=budget("none")))
    with weir.client() as c:
        assert {c.get().status for _ in range(150)} == {502}
    weir.wait_metric("weir_retries_total", 150, pool="app")


def test_what_reached_nobody_costs_no_retry_of_the_budget(start_weir, refused):
    """8: connection failures [...]: no application saw it, so that trying again is no load."""
    weir = start_weir(config(*refused, pool=budget("{ ratio: 0%, min: 0/s }")))
    with weir.counts(*["connect_refused"] * 10), weir.logged(10) as log, weir.client() as c:
        for _ in range(10):
            assert_authored(c.get(), 502, "connect_refused")
    for entry in log:
        assert entry["attempts"] == 2
        assert set(entry["trail"]) == {f"connect_refused {a}" for a in refused}
    weir.wait_metric("weir_retries_total", 10, pool="app")
    weir.wait_metric("weir_retries_denied_total", 0, pool="app")


def test_a_stale_connection_costs_no_retry_of_the_budget(start_weir, new_upstream):
    """4: sent again on a fresh one without counting as a retry."""
    up = new_upstream()
    weir = start_weir(config(up.address, pool=budget("{ ratio: 0%, min: 0/s }")), workers=1)
    with weir.client() as c:
        for _ in range(2):
            c.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n")
            if up.conns:  # the one that is idle
                up.conns[-1].request()
                up.conns[-1].close()
            u = up.accept()
            u.request()
            u.answer()
            assert c.response().body == b"ok"
    weir.wait_metric("weir_retries_denied_total", 0)
    weir.wait_metric("weir_retries_total", 0)


# ---- when, where, and what ----------------------------------------------------------------------


@pytest.fixture
def two(start_weir, new_upstream):
    """two(retry, pool): (weir, upstream, upstream), which are asked in turn."""

    def make(retry, pool=""):
        ups = [new_upstream(), new_upstream()]
        weir = start_weir(
            "routes: [ { to: app, retry: %s } ]\n" % retry
            + "pools: { app: { balance: round_robin, outlier: none, endpoints: [ '%s', '%s' ]%s } }\n"
            % (ups[0].address, ups[1].address, pool)
        )
        return weir, *ups

    return make


def ask(c, method="GET", body=None):
    length = "" if body is None else f"Content-Length: {len(body)}\r\n"
    c.send(f"{method} / HTTP/1.1\r\nHost: a\r\n{length}\r\n{body or ''}")


def asked(a, b):
    """The one of two upstreams that weir has connected to, and the other one."""
    wait_for(lambda: ready(a.sock, POLLIN, 0) or ready(b.sock, POLLIN, 0), "weir to ask")
    return (a, b) if ready(a.sock, POLLIN, 0) else (b, a)


STATUSES = "{ when: [502, 503, 504] }"


@pytest.mark.parametrize("method,body", [("GET", None), ("PUT", "some body"), ("DELETE", None)])
def test_an_answer_of_a_wanted_status_is_followed_by_another_attempt(two, method, body):
    """8: another endpoint than those tried; of the first answer the client sees nothing."""
    weir, a, b = two(STATUSES)
    with weir.logged() as log, weir.client() as c:
        ask(c, method, body)
        first, second = asked(a, b)
        u = first.accept()
        before = u.request()
        u.answer("busy", status="503 Service Unavailable", extra="X-Which: first\r\n")
        u2 = second.accept()
        assert u2.request().wire == before.wire
        u2.answer("there")
        answer = c.response()
        assert (answer.status, answer.body, answer.get("X-Which")) == (200, b"there", None)
        c.assert_open()
    assert log[0]["trail"] == [f"status_503 {first.address}"]
    assert (log[0]["attempts"], log[0]["endpoint"]) == (2, second.address)
    assert (log[0]["status"], log[0]["reason"], log[0]["bytes_out"]) == (200, "", 5)
    weir.wait_metric("weir_retries_total", 1, pool="app")
    weir.wait_metric("weir_attempts_failed_total", 1, reason="upstream_status")


@pytest.mark.parametrize(
    "retry,method,status",
    [
        ("{ when: [502, 503, 504] }", "POST", "503 Service Unavailable"),
        ("{ when: [502, 503, 504] }", "GET", "500 Oops"),
        ("{ when: [connect, reset, timeout] }", "GET", "503 Service Unavailable"),
        ("1", "GET", "503 Service Unavailable"),
        ("{ attempts: 0, when: 503 }", "GET", "503 Service Unavailable"),
    ],
)
def test_any_other_answer_is_passed_on(two, retry, method, status):
    """8: connection failures only unless the method is idempotent."""
    weir, a, b = two(retry)
    with weir.client() as c:
        ask(c, method, "body" if method == "POST" else None)
        first, second = asked(a, b)
        u = first.accept()
        u.request()
        u.answer("no", status=status)
        assert (c.response().status, c.unread) == (int(status[:3]), b"")
        second.assert_untouched()
    weir.wait_metric("weir_retries_total", 0)


def test_a_post_is_sent_twice_if_the_route_says_so(two):
    """8: ... unless the method is idempotent: the route vouches for it."""
    weir, a, b = two("{ when: [reset, 503], methods: POST, attempts: 2 }")
    with weir.client() as c:
        ask(c, "POST", "body")
        first, second = asked(a, b)
        u = first.accept()
        before = u.request()
        u.reset()
        u = second.accept()
        assert u.request().wire == before.wire
        u.answer()
        assert c.response().body == b"ok"


@pytest.mark.parametrize("how", ["reset", "close"])
def test_a_post_is_never_sent_twice_once_a_byte_of_it_may_have_been_processed(two, how):
    weir, a, b = two("{ when: [connect, reset, timeout, 502, 503, 504], attempts: 3 }")
    with weir.client() as c:
        ask(c, "POST", "body")
        first, second = asked(a, b)
        u = first.accept()
        u.request()
        getattr(u, how)()
        assert c.response().status == 502
        second.assert_untouched()
        first.assert_untouched()
    weir.wait_metric("weir_retries_total", 0)


@pytest.mark.parametrize("when,again", [("reset", True), ("connect", False), ("503", False)])
def test_what_the_route_does_not_name_is_not_tried_again(two, when, again):
    weir, a, b = two("{ when: %s }" % when)
    with weir.client() as c:
        ask(c)
        first, second = asked(a, b)
        u = first.accept()
        u.request()
        u.reset()
        if again:
            u = second.accept()
            u.request()
            u.answer()
        assert c.response().status == (200 if again else 502)


def test_the_last_answer_is_passed_on_whatever_it_is(two):
    """8: Retries: 1 by default."""
    weir, a, b = two(STATUSES)
    with weir.logged() as log, weir.client() as c:
        ask(c)
        first, second = asked(a, b)
        for up, body in ((first, "first"), (second, "second")):
            u = up.accept()
            u.request()
            u.answer(body, status="503 Service Unavailable")
        answer = c.response()
        assert (answer.status, answer.body) == (503, b"second")
    assert log[0]["trail"] == [f"status_503 {first.address}"] and log[0]["attempts"] == 2


def test_over_the_budget_the_answer_is_passed_on_and_the_trail_says_why(two):
    """8: budget [...]; the answer that is there is better than one of weir's own."""
    weir, a, b = two(STATUSES, budget("{ ratio: 0%, min: 0/s }"))
    with weir.logged() as log, weir.client() as c:
        ask(c)
        first, second = asked(a, b)
        u = first.accept()
        u.request()
        u.answer("busy", status="503 Service Unavailable")
        answer = c.response()
        assert (answer.status, answer.body) == (503, b"busy")
        second.assert_untouched()
    assert log[0]["trail"] == [f"retry_budget {first.address}"] and log[0]["attempts"] == 1
    weir.wait_metric("weir_retries_denied_total", 1, pool="app")


@pytest.mark.parametrize("value,again", [("0", True), ("2", False), ("never", False)])
def test_retry_after_is_respected(two, value, again):
    """The pause is no shorter than what the endpoint asks for, or there is none at all."""
    weir, a, b = two(STATUSES)
    with weir.client() as c:
        ask(c)
        first, second = asked(a, b)
        u = first.accept()
        u.request()
        u.answer("busy", status="503 Busy", extra=f"Retry-After: {value}\r\n")
        if again:
            u = second.accept()
            u.request()
            u.answer()
        answer = c.response()
        assert (answer.status, answer.get("Retry-After")) == ((200, None) if again else (503, value))


def test_retry_after_is_waited_for(two):
    weir, a, b = two("{ when: 503, backoff: 0ms }")
    with weir.client() as c:
        ask(c)
        first, second = asked(a, b)
        u = first.accept()
        u.request()
        before = time.monotonic()
        u.answer("busy", status="503 Busy", extra="Retry-After: 1\r\n")
        u = second.accept()
        assert time.monotonic() - before >= 0.98  # weir's clock is as old as its turn
        u.request()
        u.answer()
        assert c.response().status == 200


def test_a_pause_that_the_request_has_no_time_for_is_not_begun(start_weir, new_upstream):
    a, b = new_upstream(), new_upstream()
    weir = start_weir(
        "routes: [ { to: app, retry: { when: 503, retry_after: 60s }, timeout: { request: 30s } } ]\n"
        f"pools: {{ app: [ '{a.address}', '{b.address}' ] }}\n"
    )
    with weir.client() as c:
        ask(c)
        u = asked(a, b)[0].accept()
        u.request()
        u.answer("busy", status="503 Busy", extra="Retry-After: 40\r\n")
        assert c.response().body == b"busy"


def test_the_pause_is_a_random_part_of_the_backoff(start_weir, refused):
    """8: 25 ms base, full jitter: none is longer, and not all are alike."""
    weir = start_weir(
        "routes: [ { to: app, retry: { backoff: 4s, max_backoff: 4s } } ]\n"
        f"pools: {{ app: {{ outlier: none, endpoints: [ '{refused[0]}', '{refused[1]}' ] }} }}\n"
    )
    with weir.logged(12) as log:
        clients = [weir.client() for _ in range(12)]
        for c in clients:
            ask(c)
        for c in clients:
            assert_authored(c.response(), 502, "connect_refused")
    waited = [e["queue_ms"] for e in log]  # until the second attempt began
    assert max(waited) - min(waited) > 16, "one tick of the clock and more lies between them"


@pytest.mark.h1_upstream("HTTP/2 has no pool of conns to look at")
def test_a_client_that_goes_away_ends_the_pause(start_weir, closing):
    """One that an endpoint has asked for: it cannot be short by chance."""
    busy = b"HTTP/1.1 503 Busy\r\nContent-Length: 0\r\nRetry-After: 60\r\n\r\n"
    ups = [closing(AutoUpstream(reply=lambda _: busy)).address for _ in range(2)]
    weir = start_weir(
        "routes: [ { to: app, retry: { when: 503, retry_after: 60s } } ]\n"
        f"pools: {{ app: {{ outlier: none, endpoints: [ '{ups[0]}', '{ups[1]}' ] }} }}\n"
    )
    with weir.logged() as log:
        with weir.client() as c:
            ask(c)
            weir.wait_metric("weir_retries_total", 1, pool="app")
    assert log[0]["status"] == 499 and log[0]["attempts"] == 1
    weir.wait_metric("weir_requests_in_flight", 0)


def test_a_body_that_comes_during_the_pause_is_sent_after_it(start_weir, closing, new_upstream):
    """3: Replay for retries keeps at most 64 KiB."""
    down, up = closing(RefusedEndpoint()), new_upstream()
    weir = start_weir(
        "routes: [ { to: app, retry: { backoff: 300ms, max_backoff: 300ms } } ]\n"
        f"pools: {{ app: [ '{down.address}', {{ address: '{up.address}', backup: true }} ] }}\n"
    )
    with weir.client() as c:
        c.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 8\r\n\r\nfirst")
        weir.wait_metric("weir_attempts_failed_total", 1, reason="connect_refused")
        c.send("end")
        u = up.accept()
        assert u.request().body == b"firstend"
        u.answer()
        assert c.response().body == b"ok"


@pytest.fixture
def pausing(start_weir, new_upstream):
    """pausing(more): an endpoint has said 503 and asked for a pause, and its client waits for what
    another one says; more: what the pool has beside the two. (weir, client, first, second)"""

    def make(more=""):
        a, b = new_upstream(), new_upstream()
        weir = start_weir(
            "routes: [ { to: app, retry: { when: 503, backoff: 0ms, retry_after: 10s } } ]\n"
            "pools: { app: { balance: round_robin, outlier: none, endpoints:"
            f" [ '{a.address}', '{b.address}'{more} ] }} }}\n"
        )
        c = weir.client()
        ask(c)
        first, second = asked(a, b)
        u = first.accept()
        u.request()
        u.answer("busy", status="503 Busy", extra="Retry-After: 4\r\n")
        weir.wait_metric("weir_retries_total", 1, pool="app")
        return weir, c, first, second

    return make


def test_where_it_goes_is_decided_when_the_pause_ends(pausing, new_upstream):
    """8: another endpoint than those tried: one that may be asked then, whatever was so before."""
    spare = new_upstream()
    weir, c, _, second = pausing(f", {{ address: '{spare.address}', backup: true }}")
    order(weir, second, "drain")
    with weir.logged() as log:
        u = spare.accept()
        u.request()
        u.answer()
        assert c.response().body == b"ok"
    second.assert_untouched()
    assert log[0]["attempts"] == 2


def test_who_has_answered_is_asked_again_when_the_pause_leaves_nobody_else(pausing):
    """Its first answer is gone, and the time that it asked for is over."""
    weir, c, first, second = pausing()
    order(weir, second, "drain")
    with weir.logged() as log:
        u = first.accept()
        u.request()
        u.answer("later")
        answer = c.response()
        assert (answer.status, answer.body) == (200, b"later")
    second.assert_untouched()
    assert log[0]["trail"] == [f"status_503 {first.address}"] and log[0]["attempts"] == 2


def test_when_the_pause_leaves_nobody_the_client_is_told_so(pausing):
    weir, c, first, second = pausing()
    order(weir, first, "drain")
    order(weir, second, "drain")
    assert_authored(c.response(), 503, "no_endpoint")
    log = weir.access_log(1)
    first.assert_untouched()
    second.assert_untouched()
    assert log[0]["trail"] == [f"status_503 {first.address}"] and log[0]["attempts"] == 1


def test_one_endpoint_may_be_asked_again_if_the_route_says_so(start_weir, new_upstream):
    up = new_upstream()
    weir = start_weir(
        "routes: [ { to: app, retry: { same_endpoint: true, when: 503 } } ]\n"
        f"pools: {{ app: [ '{up.address}' ] }}\n"
    )
    with weir.client() as c:
        ask(c)
        for status, body in (("503 Busy", "busy"), ("200 OK", "ok")):
            u = up.accept()
            u.request()
            u.answer(body, status=status)
        assert c.response().body == b"ok"


def test_a_per_try_timeout_leads_to_another_attempt(start_weir, new_upstream):
    """8: A per-try timeout."""
    a, b = new_upstream(), new_upstream()
    weir = start_weir(
        "routes: [ { to: app, timeout: { try: 4s } } ]\n"
        f"pools: {{ app: {{ balance: round_robin, endpoints: [ '{a.address}', '{b.address}' ] }} }}\n"
    )
    with weir.logged() as log, weir.client() as c:
        ask(c)
        first, second = asked(a, b)
        silent = first.accept()
        silent.request()
        u = second.accept()
        u.request()
        u.answer()
        assert c.response().body == b"ok"
        silent.expect_ended()
    assert log[0]["trail"] == [f"response_head_timeout {first.address}"]
