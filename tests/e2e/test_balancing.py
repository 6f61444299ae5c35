# SPDX-License-Identifier: Apache-2.0
"""Which endpoint of a pool a request goes to, and weighted splits between pools."""
from collections import Counter

import pytest

from matrix import Matrix
from peers import wait_for

MATRIX = Matrix()


def config(endpoints, balance):
    return (
        f"workers: 1\nroutes: [ {{ to: app }} ]\n"
        f"pools: {{ app: {{ balance: {balance}, endpoints: [ {', '.join(endpoints)} ] }} }}\n"
    )


def weighted(up, weight):
    return f"{{ address: '{up.address}', weight: {weight} }}"


@pytest.fixture
def balanced(start_weir, auto):
    """balanced(balance, weights): (weir, upstreams a, b, c...) with endpoints of these weights."""

    def make(balance, *weights, reply=None):
        ups = [auto(body=bytes([97 + i]), reply=reply) for i in range(len(weights))]
        return start_weir(config([weighted(u, w) for u, w in zip(ups, weights)], balance)), ups

    return make


def draw(weir, count):
    with weir.client() as c:
        return "".join(c.get().body.decode() for _ in range(count))


def test_round_robin_takes_turns(balanced):
    weir, _ = balanced("round_robin", 1, 1, 1)
    got = draw(weir, 30)
    assert len({got[i : i + 3] for i in range(0, 30, 3)}) == 1 and set(got[:3]) == set("abc")


def test_round_robin_with_weights_is_smooth_and_exact(balanced):
    weir, _ = balanced("round_robin", 5, 1, 1)
    got = draw(weir, 70)
    cycle = got[:7]
    assert got == cycle * 10
    assert cycle in "aabacaa" * 2, "from some phase on: a a b a c a a"


def test_weight_0_gets_no_requests(balanced):
    for balance in ("round_robin", "least_conn", "p2c", "random"):
        weir, _ = balanced(balance, 1, 0, 1)
        assert set(draw(weir, 60)) == {"a", "c"}, balance


@pytest.mark.parametrize("balance", ["p2c", "random"])
def test_draws_reach_every_endpoint_in_proportion(balanced, balance):
    weir, _ = balanced(balance, 1, 1)
    got = Counter(draw(weir, 400))
    assert 120 <= got["a"] <= 280, f"{got}: more than eight sigmas from even"


def test_random_follows_the_weights(balanced):
    weir, _ = balanced("random", 9, 1)
    assert 4 <= Counter(draw(weir, 400))["b"] <= 90, "expected 40, sigma 6"


def hold_unless_fast(request):
    return (
        b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nfast" if request.target == "/fast" else None
    )


@pytest.mark.parametrize("balance", ["least_conn", "p2c"])
def test_requests_in_flight_push_new_ones_to_the_other_endpoint(balanced, balance):
    """BEHAVIOUR 7: p2c: two random draws, fewer in flight over weight wins."""
    weir, ups = balanced(balance, 1, 1, reply=hold_unless_fast)
    clients = [weir.client() for _ in range(8)]
    for n, c in enumerate(clients, 1):
        c.send("GET /held HTTP/1.1\r\nHost: a\r\n\r\n")
        wait_for(lambda n=n: sum(len(u.held) for u in ups) == n, f"request {n} to be held")
    assert [len(u.held) for u in ups] == [4, 4]
    for u in ups:
        u.release()
    for c in clients:
        assert c.response().status == 200
        c.close()


def test_least_conn_weighs_what_is_in_flight(balanced):
    weir, ups = balanced("least_conn", 3, 1, reply=hold_unless_fast)
    clients = [weir.client() for _ in range(8)]
    for n, c in enumerate(clients, 1):
        c.send("GET /held HTTP/1.1\r\nHost: a\r\n\r\n")
        wait_for(lambda n=n: sum(len(u.held) for u in ups) == n, f"request {n} to be held")
    assert [len(u.held) for u in ups] == [6, 2]
    for u in ups:
        u.release()
    for c in clients:
        c.response()
        c.close()


def test_least_conn_takes_turns_when_nothing_is_in_flight(balanced):
    weir, _ = balanced("least_conn", 1, 1)
    assert Counter(draw(weir, 40)) == {"a": 20, "b": 20}


def test_least_conn_counts_across_workers(start_weir, auto):
    ups = [auto(reply=hold_unless_fast) for _ in range(2)]
    weir = start_weir(
        config([weighted(u, 1) for u in ups], "least_conn").replace("workers: 1", "workers: 4")
    )
    clients = [weir.client() for _ in range(12)]
    for n, c in enumerate(clients, 1):
        c.send("GET /held HTTP/1.1\r\nHost: a\r\n\r\n")
        wait_for(lambda n=n: sum(len(u.held) for u in ups) == n, f"request {n} to be held")
    assert [len(u.held) for u in ups] == [6, 6]
    for u in ups:
        u.release()
    for c in clients:
        c.response()
        c.close()


def split(start_weir, auto, weights):
    ups = {name: auto(body=name.encode()) for name in weights}
    pools = "".join(f"  {n}: [ '{u.address}' ]\n" for n, u in ups.items())
    to = ", ".join(f"{n}: {w}" for n, w in weights.items())
    return start_weir(f"routes: [ {{ to: {{ {to} }} }} ]\npools:\n{pools}")


def test_a_weighted_split_sends_each_pool_its_share(start_weir, auto):
    weir = split(start_weir, auto, {"v1": 90, "v2": 10, "v3": 0})
    with weir.client() as c:
        got = Counter(c.get().body.decode() for _ in range(400))
    assert got["v1"] + got["v2"] == 400 and 4 <= got["v2"] <= 90, f"{got}: expected 40, sigma 6"


def test_a_part_without_endpoint_gets_its_share_of_503(start_weir, auto):
    up = auto()
    weir = start_weir(
        f"""
routes: [ {{ to: {{ good: 50, gone: 50 }} }} ]
pools:
  good: [ "{up.address}" ]
  gone: {{ endpoints: [ {{ address: "127.0.0.1:1", drain: true }} ] }}
"""
    )
    with weir.client() as c:
        got = Counter(c.get().status for _ in range(200))
    assert set(got) == {200, 503} and 45 <= got[503] <= 155, f"{got}: not re-spread, sigma 7"


def test_all_endpoints_busy_is_no_reason_to_refuse(balanced):
    weir, ups = balanced("least_conn", 1, reply=hold_unless_fast)
    clients = [weir.client() for _ in range(5)]
    for c in clients:
        c.send("GET /held HTTP/1.1\r\nHost: a\r\n\r\n")
    ups[0].wait_held(5)
    ups[0].release()
    for c in clients:
        assert c.response().status == 200
        c.close()
