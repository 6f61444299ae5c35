# SPDX-License-Identifier: Apache-2.0
"""Endpoints that fail or are slow are put out for a while; drained ones end what they have."""
import re
import threading
import time

import pytest

from harness import sum_of
from matrix import Matrix
from peers import RefusedEndpoint, wait_for

MATRIX = Matrix()

ERROR = b"HTTP/1.1 500 Oops\r\nContent-Length: 0\r\n\r\n"
LONG = "eject: 1h, max_eject: 1h"  # nothing comes back while a test looks


class Pool:
    """weir over upstreams that answer a, b, c...; those in `failing` answer 500, and those in
    `holding` nothing until they are told."""

    def __init__(self, start_weir, auto, count, outlier, more="", endpoints=None, top=""):
        self.failing, self.holding = set(), set()
        self.delays = {}  # seconds
        self.ups = [auto(body=bytes([97 + i]), reply=self.reply(i)) for i in range(count)]
        listed = ", ".join(
            f"{{ address: '{u.address}'{(endpoints or {}).get(i, '')} }}"
            for i, u in enumerate(self.ups)
        )
        self.weir = start_weir(
            f"{top}routes: [ {{ to: app }} ]\n"
            f"pools: {{ app: {{ balance: round_robin, endpoints: [ {listed} ],"
            f" outlier: {outlier}{more} }} }}\n"
        )

    def reply(self, i):
        def answer(_):
            time.sleep(self.delays.get(i, 0))
            if i in self.failing:
                return ERROR
            return None if i in self.holding else self.ups[i].ok()

        return answer

    def draw(self, count):
        with self.weir.client() as c:
            return [c.get().body.decode() for _ in range(count)]

    def ejections(self, result="ejected", **labels):
        return self.weir.metric("weir_ejections_total", pool="app", result=result, **labels)

    def state(self, i, samples=None):
        """The states that the endpoint is in."""
        samples = samples or self.weir.metrics()
        me = {"pool": "app", "endpoint": self.ups[i].address}
        return {
            state
            for state in ("healthy", "drained", "unproven", "down", "ejected")
            if sum_of(samples, "weir_endpoint_state", {**me, "state": state})
        }

    def wait_ejected(self, i, cause="errors"):
        """Its worker notes an answer when it has passed it on."""
        self.weir.wait_metric("weir_ejections_total", 1, cause=cause, result="ejected")
        wait_for(lambda: self.state(i) == {"ejected"}, f"endpoint {i} to be ejected")

    def share(self, i):
        return self.weir.metric("weir_endpoint_share", pool="app", endpoint=self.ups[i].address)

    def wait_served(self, i):
        """Requests go to i again, after some others."""
        wait_for(lambda: chr(97 + i) in self.draw(4), f"endpoint {i} to serve")


@pytest.fixture
def pool(start_weir, auto):
    return lambda *args, **more: Pool(start_weir, auto, *args, **more)


def test_five_failures_in_a_row_put_an_endpoint_out(pool):
    """BEHAVIOUR 8: 5 consecutive 5xx."""
    p = pool(3, f"{{ {LONG} }}")
    p.failing = {1}
    assert p.draw(15).count("") == 5, "in turn: five each"
    p.wait_ejected(1)
    assert set(p.draw(30)) == {"a", "c"}
    assert p.ejections(cause="errors") == 1 and p.ejections() == 1
    assert [p.state(i) for i in range(3)] == [{"healthy"}, {"ejected"}, {"healthy"}]
    assert [p.share(i) for i in range(3)] == [0.5, 0, 0.5]
    assert len(p.ups[1].requests) == 5
    p.weir.said("5 failures in a row, the last: error")
    p.weir.said(f"pool app: {p.ups[1].address} is ejected for 3600.0 s")


def test_four_failures_do_not_and_an_answer_begins_the_row_again(pool):
    p = pool(2, f"{{ {LONG} }}")
    for _ in range(3):
        p.failing = {1}
        assert p.draw(8).count("") == 4
        p.failing = set()
        assert p.draw(2).count("b") == 1
    assert p.ejections() == 0 and p.state(1) == {"healthy"}


def test_an_endpoint_that_refuses_is_put_out(start_weir, auto, closing):
    """BEHAVIOUR 8: 5 consecutive ... resets: one that refuses is no better."""
    good, refused = auto(body=b"good"), closing(RefusedEndpoint())
    weir = start_weir(
        "routes: [ { to: app } ]\n"
        f"pools: {{ app: {{ balance: round_robin, endpoints: [ '{good.address}', '{refused.address}' ],"
        f" outlier: {{ {LONG} }} }} }}\n"
    )
    with weir.client() as c:
        assert {c.get().body for _ in range(20)} == {b"good"}, "the retry goes to the other one"
    weir.wait_metric("weir_retries_total", 5, pool="app")
    weir.wait_metric("weir_ejections_total", 1, cause="errors", result="ejected")


def test_what_is_in_flight_at_an_ejected_endpoint_ends_as_it_would(pool):
    p = pool(2, f"{{ {LONG} }}")
    p.holding = {0, 1}
    clients = [p.weir.client() for _ in range(2)]
    for n, c in enumerate(clients, 1):
        c.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        wait_for(lambda n=n: sum(len(u.held) for u in p.ups) == n, f"request {n} to be held")
    i = next(i for i, u in enumerate(p.ups) if u.held)
    p.failing, p.holding = {i}, set()
    p.draw(10)
    p.wait_ejected(i)
    for u in p.ups:
        u.release()
    bodies = {c.response().body for c in clients}
    assert p.ups[i].body in bodies
    assert p.state(i) == {"ejected"}, "an answer from before is no reason to come back"


def test_an_ejected_endpoint_is_asked_before_a_request_is_given_up(pool):
    p = pool(2, f"{{ {LONG} }}")
    p.failing = {1}
    p.draw(10)
    p.wait_ejected(1)
    p.failing = set()
    p.ups[0].die()
    assert set(p.draw(4)) == {"b"}, "the only one that answers"
    assert p.state(1) == {"ejected"}
    assert set(p.draw(20)) == {"b"}
    assert p.state(1) == {"healthy"} and p.state(0) == {"ejected"}, "now that it is about the other"


@pytest.mark.h1_upstream("HTTP/2 says which requests it has not seen")
def test_a_connection_that_died_while_idle_is_not_held_against_its_endpoint(
    start_weir, new_upstream
):
    up = new_upstream()
    weir = start_weir(
        "workers: 1\nroutes: [ { to: app } ]\n"
        f"pools: {{ app: {{ endpoints: [ '{up.address}' ], outlier: {{ errors: 1 }} }} }}\n"
    )
    with weir.client() as c:
        c.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        stale = up.accept()
        stale.request()
        stale.answer()
        assert c.response().status == 200
        c.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        stale.request()
        stale.close()
        fresh = up.accept()
        fresh.request()
        fresh.answer()
        assert c.response().status == 200
        weir.wait_metric("weir_ejections_total", 0)  # not even held, for being the last
        c.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        fresh.request()
        fresh.answer(status="500 Oops")
        assert c.response().status == 500
        weir.wait_metric("weir_ejections_total", 1, result="held")


def test_a_silence_within_an_answer_is_not_held_against_the_endpoint(start_weir, new_upstream):
    """Streams of events that had their last one together end together, however well it is."""
    up = new_upstream()
    weir = start_weir(
        "timeouts: { response_idle: 300ms }\nroutes: [ { to: app } ]\n"
        f"pools: {{ app: {{ endpoints: [ '{up.address}' ], outlier: {{ errors: 1 }} }} }}\n"
    )
    with weir.client() as c, weir.counts("response_idle_timeout"):
        c.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        u = up.accept()
        u.request()
        u.send("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc")
        c.expect_ended()
    weir.wait_metric("weir_ejections_total", 0)  # not even held, for being the last


def test_a_slow_client_is_not_held_against_the_endpoint(start_weir, new_upstream):
    up = new_upstream()
    weir = start_weir(
        "routes: [ { to: app, timeout: { request: 200ms } } ]\n"
        f"pools: {{ app: {{ endpoints: [ '{up.address}' ], outlier: {{ errors: 1 }} }} }}\n"
    )
    with weir.client() as c:
        c.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nabc")
        assert c.response().status == 504
    weir.wait_metric("weir_requests_in_flight", 0)
    weir.wait_metric("weir_ejections_total", 0)
    with weir.client() as c:
        assert c.get().status == 504, "now it is the endpoint that says nothing"
    weir.wait_metric("weir_ejections_total", 1, result="held")


def test_the_last_endpoint_is_never_put_out(pool):
    """BEHAVIOUR 8: at most 50%, and never the last endpoint."""
    p = pool(2, f"{{ {LONG}, max: 100% }}")
    p.failing = {0, 1}
    assert set(p.draw(40)) == {""}
    assert p.ejections(cause="errors") == 1
    assert p.ejections("held") > 0
    states = [p.state(0), p.state(1)]
    assert sorted(states, key=str) == [{"ejected"}, {"healthy"}]
    single = pool(1, f"{{ {LONG} }}")
    single.failing = {0}
    assert set(single.draw(20)) == {""}
    single.weir.wait_metric("weir_ejections_total", 4, cause="errors", result="held")
    assert single.ejections() == 0
    assert single.state(0) == {"healthy"}


def test_observing_only_counts(pool):
    p = pool(2, f"{{ mode: observe, {LONG} }}")
    p.failing = {1}
    assert p.draw(40).count("") == 20
    assert p.ejections() == 0 and p.ejections("observed", cause="errors") == 1
    assert p.state(1) == {"healthy"}
    p.weir.said(f"{p.ups[1].address} would be ejected")


def test_nothing_is_detected_with_mode_none(pool):
    p = pool(2, "none")
    p.failing = {1}
    assert p.draw(40).count("") == 20
    assert p.ejections() == 0 and "weir_ejections_total" in p.weir.families


def test_one_request_is_let_through_and_brings_the_endpoint_back(pool):
    """BEHAVIOUR 8: comes back with a single probe request."""
    p = pool(2, "{ eject: 300ms, max_eject: 1h }")
    p.failing = {1}
    p.draw(10)
    p.weir.wait_metric("weir_ejections_total", 1, cause="errors", result="ejected")
    p.failing, p.holding = set(), {1}
    asking = threading.Thread(target=lambda: p.wait_served(1))  # one after the other
    asking.start()
    p.ups[1].wait_held(1)
    assert set(p.draw(20)) == {"a"} and len(p.ups[1].held) == 1, "nobody else meanwhile"
    assert p.state(1) == {"ejected"}
    p.holding = set()
    p.ups[1].release()
    asking.join()
    assert p.state(1) == {"healthy"}
    assert p.draw(20).count("b") == 10
    p.weir.said(f"{p.ups[1].address} is back")


def test_a_failed_probe_puts_it_out_for_longer(pool):
    """BEHAVIOUR 8: ejected 30 s x times."""
    p = pool(2, "{ eject: 200ms, max_eject: 1h }")
    p.failing = {1}
    p.draw(10)

    def probed():
        p.draw(2)
        return p.ejections(cause="probe") >= 2

    wait_for(probed, "two requests to be let through")
    assert p.ejections(cause="errors") == 1
    probes = len(p.ups[1].requests) - 5  # one each time
    p.weir.wait_metric("weir_ejections_total", probes, cause="probe", result="ejected")
    p.weir.said("the request that was let through failed: error")


def test_success_rates_are_compared(pool):
    p = pool(
        5,
        f"{{ errors: none, {LONG}, interval: 2s, latency: none,"
        " success_rate: { endpoints: 5, requests: 4 } }",
    )
    p.failing = {3}

    def found():
        p.draw(50)
        return p.ejections(cause="success_rate")

    wait_for(found, "the one that fails to be found")
    p.wait_ejected(3, "success_rate")
    assert p.ejections() == 1
    assert set(p.draw(20)) == set("abce")


def test_five_timeouts_in_a_row_put_an_endpoint_out(pool):
    """BEHAVIOUR 8: 5 consecutive ... timeouts."""
    p = pool(2, f"{{ {LONG} }}", top="timeouts: { response_head: 4s }\n")
    p.holding = {1}
    clients = []

    def asked():
        """Of the requests the last, too, has come to an endpoint."""
        last = f"/{len(clients)}"
        return any(r.target == last for u in p.ups for r in list(u.requests))

    while len(p.ups[1].requests) < 5:  # all at once: one after the other would take five times
        clients.append(p.weir.client())
        clients[-1].send(f"GET /{len(clients)} HTTP/1.1\r\nHost: a\r\n\r\n")
        wait_for(asked, "it to be asked")
    bodies = {c.response().body for c in clients}
    assert bodies == {b"a"}, "the retry goes to the other one"
    p.weir.wait_metric("weir_attempts_failed_total", 5, reason="response_head_timeout")
    p.wait_ejected(1)
    assert set(p.draw(20)) == {"a"}
    p.weir.said("5 failures in a row, the last: timed_out")


@pytest.mark.parametrize("mode", ["enforce", "observe"])
def test_latencies_are_compared(pool, mode):
    """Enforced, the slow one is put out; observed (the default), it is counted and told."""
    rule = f"{{ {'mode: enforce, ' if mode == 'enforce' else ''}requests: 4, least: 20ms }}"
    p = pool(4, f"{{ {LONG}, interval: 3s, success_rate: none, latency: {rule} }}")
    p.delays[3] = 0.1
    result = "ejected" if mode == "enforce" else "observed"
    words = "is ejected" if mode == "enforce" else "would be ejected"
    told = rf"{p.ups[3].address} {words} for 3600\.0 s: \d+ answers took \d+\.\d ms; \d+\.\d ms in "

    def found():
        p.draw(16)
        return re.search(told, p.weir.stderr())

    wait_for(found, "the slow one to be found")
    assert p.ejections(result, cause="latency") >= 1
    assert p.state(3) == ({"ejected"} if mode == "enforce" else {"healthy"})
    assert mode == "enforce" or p.ejections() == 0


def test_coming_back_is_gradual_with_slow_start(pool):
    p = pool(2, "{ eject: 100ms, max_eject: 1h }", ", slow_start: 1h")
    p.failing = {1}
    p.draw(10)
    p.weir.wait_metric("weir_ejections_total", 1, cause="errors", result="ejected")
    p.failing = set()
    p.wait_served(1)
    assert p.state(1) == {"healthy"}
    assert p.share(1) == pytest.approx(1 / 11, abs=0.02), "a tenth of its weight"


@pytest.mark.parametrize("gone", [", drain: true", ", weight: 0"])
def test_a_drained_endpoint_gets_no_requests_and_says_so(pool, gone):
    p = pool(3, "none", endpoints={1: gone})
    assert set(p.draw(30)) == {"a", "c"}
    assert p.share(1) == 0 and p.ups[1].requests == []
    assert p.state(1) == ({"drained"} if "drain" in gone else {"healthy"})


def test_requests_in_flight_are_shown_by_endpoint(pool):
    p = pool(2, "none")
    p.holding = {0, 1}
    clients = [p.weir.client() for _ in range(2)]
    for n, c in enumerate(clients, 1):
        c.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        p.weir.wait_metric("weir_endpoint_requests_in_flight", n, pool="app")
    wait_for(lambda: sum(len(u.held) for u in p.ups) == 2, "both to be held")
    for u in p.ups:
        u.release()
    for c in clients:
        assert c.response().status == 200
    p.weir.wait_metric("weir_endpoint_requests_in_flight", 0, pool="app")


def test_an_address_that_is_listed_twice_has_two_names_in_the_metrics(start_weir, auto):
    up = auto()
    weir = start_weir(
        f"routes: [ {{ to: app }} ]\npools: {{ app: [ '{up.address}', '{up.address}' ] }}\n"
    )
    names = {dict(k).get("endpoint") for n, k in weir.metrics() if n == "weir_endpoint_share"}
    assert names == {up.address, f"{up.address}#2"}
