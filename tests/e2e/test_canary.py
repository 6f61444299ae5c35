# SPDX-License-Identifier: Apache-2.0
"""A reload that is tried first: an exact share of the requests begins with it, and it serves all of
them in the end, or none."""
import threading
from contextlib import suppress
from urllib.parse import quote

import pytest

import harness
from peers import Client, RefusedEndpoint, wait_for
from test_reload import ROUTES, body, filled, generations, reload, rewrite, settled

LONG = "1h"


class Asked(threading.Thread):
    """POST /reload with a canary, which is answered when that is decided."""

    def __init__(self, weir, **query):
        super().__init__(daemon=True)
        text = "&".join(f"{k}={quote(v)}" for k, v in query.items())
        self.client = Client(weir.admin)
        self.client.send(f"POST /reload?{text} HTTP/1.1\r\nHost: admin\r\nX-Weir: 1\r\n\r\n")
        self.response = None
        self.start()

    def run(self):
        with suppress(AssertionError, OSError):  # weir has ended
            self.response = self.client.response()

    def wait(self):
        self.join(harness.DEADLINE)
        assert not self.is_alive()
        self.client.close()
        return self.response.status, self.response.body.decode()


@pytest.fixture
def two(start_weir, auto):
    """weir with /a at upstream one, and the file of the canary, which has it at two."""
    one, two = auto(body=b"one"), auto(body=b"two")
    weir = start_weir(filled(ROUTES, one, two))
    rewrite(weir, filled(ROUTES, two, one))
    return weir


def begin(weir, **query):
    asked = Asked(weir, **query)
    weir.wait_metric("weir_canary_share", float(query["canary"].rstrip("%")) / 100)
    weir.said("is on trial")  # all workers have begun with it
    return asked


def draw(weir, n, path="/a"):
    """The bodies of so many answers, each on a connection of its own, so that all workers share."""
    with weir.client() as c:
        return [c.get(path).body.decode() for _ in range(n)]


def test_each_twentieth_request_of_a_worker_begins_with_the_canary(two):
    asked = begin(two, canary="5%", **{"for": LONG})
    got = draw(two, 100)  # one connection: one worker
    assert [i for i, b in enumerate(got) if b == "two"] == [19, 39, 59, 79, 99]

    def counted():  # the last a moment after its answer
        new = generations(two)["generations"][1]
        return new["seen"]["answers"] + new["beside"]["answers"] == 100

    wait_for(counted, "all answers to be counted")
    old, new = generations(two)["generations"]
    assert (old["state"], new["state"], new["share"]) == ("serves", "canary", 0.05)
    assert (new["seen"]["answers"], new["beside"]["answers"]) == (5, 95)
    assert 0 < new["left_ms"] <= 3600e3
    assert two.metric("weir_generation") == 1 and two.metric("weir_generations") == 2
    with Client(two.admin) as c:  # a plain reload ends it
        got = c.get("/reload", host="admin", method="POST", extra="X-Weir: 1\r\n")
    assert got.status == 200
    status, text = asked.wait()
    assert status == 422 and "another reload was asked for" in text
    assert set(draw(two, 20)) == {"two"}
    settled(two)


def test_one_that_passes_serves_all(two):
    asked = begin(two, canary="50%", **{"for": "5s"}, guard="5xx<+1%,p99<10s")
    assert sorted(draw(two, 12)) == ["one"] * 6 + ["two"] * 6
    assert asked.wait() == (200, "generation 2 serves\n")
    assert set(draw(two, 20)) == {"two"}
    two.wait_metric("weir_canaries_total", 1, result="promoted")
    assert two.metric("weir_canary_share") == 0 and two.metric("weir_generation") == 2
    settled(two)


def test_one_that_fails_gets_no_more_than_its_share_and_is_taken_back(start_weir, auto, closing):
    up, refused = auto(body=b"one"), closing(RefusedEndpoint())
    weir = start_weir(filled(ROUTES, up, up))
    rewrite(weir, filled(ROUTES, refused, up))
    asked = begin(weir, canary="10%", **{"for": LONG}, guard="5xx<+1%")
    statuses = []
    with weir.client() as c:
        while asked.is_alive():
            statuses.append(c.get("/a").status)
        failed = sum(s != 200 for s in statuses)
        assert 5 <= failed <= len(statuses) / 10, (failed, len(statuses))
        status, text = asked.wait()
        assert status == 422 and text.endswith("nothing has changed; generation 1 serves\n")
        assert "the canary is rolled back: 100.0% of " in text
        assert {c.get("/a").status for _ in range(50)} == {200}
    weir.wait_metric("weir_canaries_total", 1, result="rolled_back")
    weir.wait_metric("weir_reload_failed", 1)
    assert "rolled back" in generations(weir)["last_reload"]["said"]
    settled(weir)
    reload(weir, filled(ROUTES, up, up).replace("/b", "/c"))
    weir.wait_metric("weir_generation", 3)  # the canary was the second


def test_one_that_is_slow_is_taken_back_by_its_latency(start_weir, auto):
    up = auto(body=b"one")
    slow = auto(reply=lambda _: threading.Event().wait(1) or slow.ok())
    weir = start_weir(filled(ROUTES, up, up))
    rewrite(weir, filled(ROUTES, slow, up))
    # With so many beside it some may be slow as well: a busy machine's.
    asked = begin(weir, canary="5%", **{"for": LONG}, guard="p99<+100%")
    with weir.client() as c:
        while asked.is_alive():
            c.get("/a")
    status, text = asked.wait()
    assert status == 422 and "p99 was " in text
    settled(weir)


def test_one_that_nobody_asked_proves_nothing(two):
    status, text = Asked(two, canary="5%", **{"for": "100ms"}, guard="5xx<+1%").wait()
    assert status == 422 and "0 answers are too few to judge; it takes 5" in text
    assert body(two, "/a") == b"one"


def test_without_a_guard_it_only_takes_time(two):
    assert Asked(two, canary="5%", **{"for": "100ms"}).wait()[0] == 200
    assert body(two, "/a") == b"two"


def test_requests_of_a_canary_end_with_it_though_it_is_taken_back(start_weir, auto, upstream):
    up = auto(body=b"one")
    weir = start_weir(filled(ROUTES, up, up))
    rewrite(weir, filled(ROUTES, upstream, up))
    asked = begin(weir, canary="50%", **{"for": LONG})
    with weir.client() as c, weir.client() as d:
        assert c.get("/b").body == b"one"
        c.send("GET /a HTTP/1.1\r\nHost: a\r\n\r\n")
        u = upstream.accept()
        u.request()
        rewrite(weir, filled(ROUTES, up, up))
        assert d.get("/b").body == b"one"
        with Client(weir.admin) as admin:
            admin.get("/reload", host="admin", method="POST", extra="X-Weir: 1\r\n")
        assert asked.wait()[0] == 422
        wait_for(
            lambda: [g["state"] for g in generations(weir)["generations"]] == ["ends", "serves"],
            "what was before the canary to be gone",
        )
        u.answer(b"late")
        assert c.response().body == b"late"
        settled(weir)
        u.expect_closed()


def test_pools_of_a_canary_are_checked_and_orders_of_an_operator_go_on(start_weir, auto):
    one, two = auto(body=b"one"), auto(body=b"two")
    text = filled(
        'routes: [ { name: a, to: one } ]\npools: { one: { endpoints: [ "$ONE", "$TWO" ],'
        " balance: round_robin%s } }\n", one, two)
    weir = start_weir(text % "")
    health = ", health: { tcp: true, every: 50ms, timeout: 50ms, must_pass: true }"
    rewrite(weir, text % health)
    asked = begin(weir, canary="50%", **{"for": "4s"})
    wait_for(lambda: set(draw(weir, 8)) == {"one", "two"}, "checks to pass")
    with Client(weir.admin) as c:
        path = f"/pools/one/endpoints/{one.address}/drain"
        assert c.get(path, host="admin", method="POST", extra="X-Weir: 1\r\n").status == 200
    assert asked.wait()[0] == 200
    assert set(draw(weir, 8)) == {"two"}


@pytest.mark.parametrize(
    "query,says",
    [
        ("canary=0%25&for=30s", '"0%"'),
        ("canary=100%25&for=30s", '"100%"'),
        ("canary=x&for=30s", '"x"'),
        ("canary=5%25", "for how long"),
        ("canary=5%25&for=30", '"30"'),
        ("canary=5%25&for=25h", '"25h"'),
        ("canary=5%25&for=30s&guard=4xx%3C1%25", '"4xx<1%"'),
        ("for=30s", "a canary's"),
        ("guard=5xx%3C1%25", "a canary's"),
    ],
)
def test_what_is_no_canary_is_refused(two, query, says):
    with Client(two.admin) as c:
        got = c.get(f"/reload?{query}", host="admin", method="POST", extra="X-Weir: 1\r\n")
    assert got.status == 400 and says in got.body.decode()
    two.wait_metric("weir_reloads_total", 0)


def test_a_new_listener_cannot_be_tried(start_weir, auto):
    text = filled(ROUTES, auto(), auto())
    weir = start_weir(text)
    rewrite(weir, 'listeners: { web: "127.0.0.1:0", more: "unix:$TMP/s" }\n' + text)
    status, said = Asked(weir, canary="5%", **{"for": LONG}).wait()
    assert status == 422 and 'the listener "more" is new' in said
    assert not (weir.tmp / "s").exists()


def test_weir_ends_while_a_canary_runs(two):
    begin(two, canary="50%", **{"for": LONG})
    draw(two, 4)
    two.stop()
