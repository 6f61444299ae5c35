# SPDX-License-Identifier: Apache-2.0
"""Hedging: a second endpoint is asked when the first takes longer than most answers do. Each test
names what it proves of "hedging at a learned p95 inside the retry budget, idempotent requests
only" (section 8)."""
from contextlib import suppress

import pytest

from matrix import Matrix
from peers import wait_for

# How long answers take, each worker learns by itself.
MATRIX = Matrix(workers=(1,))

LEARNT = 32  # answers
HEAD = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n"


class Pool:
    """weir over two upstreams that answer "a" and "b", or nothing while they are `holding`."""

    def __init__(self, start_weir, auto, route="", pool="hedge: 95%", spare=""):
        self.holding = False
        self.ups = [auto(body=b, reply=self.reply(i)) for i, b in enumerate((b"a", b"b"))]
        listed = ", ".join(f"'{u.address}'" for u in self.ups) + spare
        self.weir = start_weir(
            f"routes: [ {{ to: app{route} }} ]\n"
            f"pools: {{ app: {{ balance: round_robin, outlier: none, endpoints: [ {listed} ], {pool} }} }}\n",
            workers=1,
        )

    def reply(self, i):
        return lambda _: None if self.holding else self.ups[i].ok()

    def learn(self, count=LEARNT):
        with self.weir.client() as c:
            for _ in range(count):
                last = c.get().body
        self.turn = int(last == b"a")  # who is asked next
        self.holding = True

    def held(self):
        return [len(u.held) for u in self.ups]

    def hedges(self):
        return {r: self.weir.metric("weir_hedges_total", result=r) for r in ("won", "lost")}

    def ask_both(self, c, method="GET"):
        """A request that both are asked: who was asked first, and who second."""
        c.send(f"{method} / HTTP/1.1\r\nHost: a\r\n\r\n")
        wait_for(lambda: self.held() == [1, 1], "both to be asked")
        return self.ups[self.turn], self.ups[1 - self.turn]

    def wait_idle(self):
        self.weir.wait_metric("weir_endpoint_requests_in_flight", 0)


@pytest.fixture
def pool(start_weir, auto):
    return lambda *args, **more: Pool(start_weir, auto, *args, **more)


@pytest.mark.parametrize("method", ["GET", "HEAD", "OPTIONS"])
def test_the_second_endpoint_is_asked_and_wins(pool, method):
    p = pool()
    p.learn()
    with p.weir.logged() as log, p.weir.client() as c:
        first, second = p.ask_both(c, method)
        second.release(HEAD if method == "HEAD" else None)
        answer = c.response(method)
        assert (answer.status, answer.body) == (200, b"" if method == "HEAD" else second.body)
        c.assert_open()
        p.wait_idle()  # the loser is let go though it has not answered
    assert log[0]["attempts"] == 2 and log[0]["endpoint"] == second.address
    assert log[0]["trail"] == [f"outrun {first.address}"] and log[0]["reason"] == ""
    assert p.hedges() == {"won": 1, "lost": 0}
    p.weir.wait_metric("weir_retries_total", 0)
    p.weir.wait_metric("weir_attempts_failed_total", 0)


def test_the_first_may_win_still(pool):
    p = pool()
    p.learn()
    with p.weir.logged() as log, p.weir.client() as c:
        first, second = p.ask_both(c)
        first.release()
        assert c.response().body == first.body
        p.wait_idle()
    assert log[0]["trail"] == [f"outrun {second.address}"]
    assert log[0]["attempts"] == 2 and log[0]["endpoint"] == first.address
    assert p.hedges() == {"won": 0, "lost": 1}


def test_no_byte_of_a_second_answer_is_passed_on(pool):
    p = pool()
    p.learn()
    with p.weir.client() as c:
        first, second = p.ask_both(c)
        first.release()
        with suppress(OSError, AssertionError):  # weir may have closed it by now
            second.release()
        answer = c.response()
        assert answer.status == 200 and answer.body in (b"a", b"b")
        p.wait_idle()
        c.assert_open()
        p.holding = False
        assert c.get().status == 200, "and the conn is in step"


def test_before_enough_was_learnt_nobody_else_is_asked(pool):
    p = pool()
    p.learn(LEARNT - 1)
    with p.weir.client() as c:
        c.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        wait_for(lambda: sum(p.held()) == 1, "the first to be asked")
        assert c.quiet_for(0.1) and sum(p.held()) == 1
        for u in p.ups:
            u.release()
        assert c.response().status == 200
    assert p.hedges() == {"won": 0, "lost": 0}


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE"])
def test_what_changes_something_is_sent_once(pool, method):
    """... idempotent requests only: of those, the ones that two endpoints may serve at once."""
    p = pool()
    p.learn()
    with p.weir.client() as c:
        c.send(f"{method} / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nhi")
        wait_for(lambda: sum(p.held()) == 1, "the first to be asked")
        assert c.quiet_for(0.1) and sum(p.held()) == 1
        for u in p.ups:
            u.release()
        assert c.response().status == 200
    assert sum(p.hedges().values()) == 0


def test_a_hedge_is_paid_from_the_retry_budget(pool):
    """... inside the retry budget"""
    p = pool(pool="hedge: 95%, retry_budget: { ratio: 3%, min: 0/s, window: 1h }")
    p.learn()
    with p.weir.client() as c:  # the 33rd request and the 34th: 3% of 34 is one
        for n in (33, 34):
            c.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n")
            if n == 34:
                wait_for(lambda: p.held() == [1, 1], "the second to be asked")
            else:
                p.weir.wait_metric("weir_retries_denied_total", 1, pool="app")
                wait_for(lambda: sum(p.held()) == 1, "the first alone to be asked")
            for u in p.ups:
                with suppress(OSError):  # the loser's may be closed by now
                    u.release()
            assert c.response().status == 200
    p.weir.wait_metric("weir_hedges_total", 1)


def test_a_hedge_that_fails_leaves_the_first_alone(pool):
    p = pool()
    p.learn()
    with p.weir.logged() as log, p.weir.client() as c:
        first, second = p.ask_both(c)
        second.die()
        p.weir.wait_metric("weir_attempts_failed_total", 1)
        first.release()
        assert c.response().body == first.body
    assert log[0]["status"] == 200 and log[0]["endpoint"] == first.address
    assert len(log[0]["trail"]) == 1 and log[0]["trail"][0].endswith(second.address)
    assert p.hedges() == {"won": 0, "lost": 1}
    p.weir.wait_metric("weir_retries_total", 0)


def test_the_first_may_fail_while_the_second_goes_on(pool):
    p = pool()
    p.learn()
    with p.weir.logged() as log, p.weir.client() as c:
        first, second = p.ask_both(c)
        first.die()
        p.weir.wait_metric("weir_attempts_failed_total", 1)
        second.release()
        assert c.response().body == second.body
    assert log[0]["endpoint"] == second.address and log[0]["attempts"] == 2
    assert p.hedges() == {"won": 1, "lost": 0}


def test_a_retry_after_both_have_failed_is_no_hedge_that_wins(pool, auto):
    spare = auto(body=b"spare")
    p = pool(spare=f", {{ address: '{spare.address}', backup: true }}")
    p.learn()
    with p.weir.logged() as log, p.weir.client() as c:
        first, second = p.ask_both(c)
        first.die()
        p.weir.wait_metric("weir_attempts_failed_total", 1)
        second.die()
        assert c.response().body == b"spare"
    assert log[0]["attempts"] == 3 and log[0]["endpoint"] == spare.address
    assert p.hedges() == {"won": 0, "lost": 1}


def test_an_answer_that_is_not_wanted_does_not_win(pool):
    p = pool(route=", retry: { when: 503 }")
    p.learn()
    with p.weir.logged() as log, p.weir.client() as c:
        first, second = p.ask_both(c)
        second.release(b"HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n")
        p.weir.wait_metric("weir_attempts_failed_total", 1, reason="upstream_status")
        first.release()
        assert c.response().body == first.body
    assert log[0]["trail"] == [f"status_503 {second.address}"]


def test_a_client_that_goes_away_ends_both(pool):
    p = pool()
    p.learn()
    with p.weir.logged() as log:
        with p.weir.client() as c:
            p.ask_both(c)
        p.wait_idle()
    assert log[0]["status"] == 499 and log[0]["attempts"] == 2
    assert p.hedges() == {"won": 0, "lost": 1}


def test_without_the_key_nobody_is_asked_twice(pool):
    p = pool(pool="slow_start: none")
    p.learn()
    with p.weir.client() as c:
        c.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        wait_for(lambda: sum(p.held()) == 1, "the first to be asked")
        assert c.quiet_for(0.1) and sum(p.held()) == 1
        for u in p.ups:
            u.release()
        assert c.response().status == 200
