# SPDX-License-Identifier: Apache-2.0
"""Retries: how many a pool may get, when they come, and of what. Each test names the sentence of
the specification that it proves (section 8 unless said otherwise)."""
import pytest

from harness import assert_authored
from matrix import Matrix
from peers import RefusedEndpoint

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


def test_retries_are_a_fifth_of_the_requests_and_the_rest_is_503(start_weir, refused):
    """8: budget 20% [...]; 6: over the retry budget [...]: 503."""
    weir = start_weir(config(*refused, pool=budget("{ ratio: 20%, min: 0/s, window: 1h }")))
    with weir.counts(*["retry_budget"] * 40, *["connect_refused"] * 10), weir.logged(50) as log:
        with weir.client() as c:
            answers = [c.get() for _ in range(50)]
    for n, (answer, entry) in enumerate(zip(answers, log), 1):
        if n % 5:
            assert_authored(answer, 503, "retry_budget")
            assert entry["reason"] == "retry_budget" and entry["attempts"] == 1
            assert entry["trail"] == [f"connect_refused {entry['endpoint']}"]
        else:
            assert_authored(answer, 502, "connect_refused")
            assert entry["attempts"] == 2
            assert set(entry["trail"]) == {f"connect_refused {a}" for a in refused}
    assert weir.metric("weir_retries_total", pool="app") == 10
    assert weir.metric("weir_retries_denied_total", pool="app") == 40
    assert weir.metric("weir_attempts_failed_total", reason="connect_refused") == 60


def test_requests_that_need_none_pay_for_those_that_do(start_weir, auto, refused):
    """8: budget 20% over 10 s: of all requests of the pool."""
    up = auto()
    weir = start_weir(
        f"""
routes: [ {{ to: app }} ]
pools:
  app: {{ endpoints: [ '{up.address}', {{ address: '{refused[0]}', backup: true }} ], outlier: none,
         retry_budget: {{ ratio: 20%, min: 0/s, window: 1h }} }}
"""
    )
    with weir.client() as c:
        assert {c.get().status for _ in range(20)} == {200}
        up.die()
        assert [c.get().status for _ in range(10)] == [502] * 5 + [503] * 4 + [502]
    assert weir.metric("weir_retries_total", pool="app") == 6
    assert weir.metric("weir_retries_denied_total", pool="app") == 4


def test_the_budget_is_one_for_all_workers(start_weir, refused):
    """8: budget 20% [...]: one for each pool, whichever worker serves."""
    weir = start_weir(
        config(*refused, pool=budget("{ ratio: 20%, min: 0/s, window: 1h }")), workers=2
    )
    statuses = []
    for _ in range(50):  # a new connection each, for any of the workers
        with weir.client() as c:
            statuses.append(c.get().status)
    assert statuses == ([503] * 4 + [502]) * 10
    assert weir.metric("weir_retries_total", pool="app") == 10


def test_few_requests_have_the_minimum(start_weir, refused):
    """8: with a minimum of 10/s: for all of the window."""
    weir = start_weir(config(*refused, pool=budget("{ ratio: 0%, min: 1/s, window: 5m }")))
    with weir.client() as c:
        statuses = [c.get().status for _ in range(310)]
    assert statuses == [502] * 300 + [503] * 10


def test_without_a_budget_any_number_is_retried(start_weir, refused):
    weir = start_weir(config(*refused, pool=budget("none")))
    with weir.client() as c:
        assert {c.get().status for _ in range(150)} == {502}
    assert weir.metric("weir_retries_total", pool="app") == 150


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
    assert weir.metric("weir_retries_denied_total") == 0
    assert weir.metric("weir_retries_total") == 0
