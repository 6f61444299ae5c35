# SPDX-License-Identifier: Apache-2.0
"""Policies that go by a key or by latency, and what takes endpoints out or prefers them."""
import time
from collections import Counter

import pytest

from peers import RefusedEndpoint

KEYED = ("ring_hash", "maglev")


@pytest.fixture
def pool(start_weir, auto):
    """pool(pool's keys, endpoint's keys...): weir over so many upstreams, which answer a, b, c..."""

    def make(keys, *endpoints, top="", reply=None):
        ups = [auto(body=bytes([97 + i]), reply=reply and reply(i)) for i in range(len(endpoints))]
        listed = ", ".join(
            f"{{ address: '{up.address}'{more and ', ' + more} }}" for up, more in zip(ups, endpoints)
        )
        return start_weir(
            f"workers: 1\n{top}\nroutes: [ {{ to: app }} ]\n"
            f"pools: {{ app: {{ endpoints: [ {listed} ]{keys and ', ' + keys} }} }}\n"
        )

    return make


def balance(policy, key, more=""):
    return f"balance: {{ policy: {policy}, key: {key}{more} }}"


def ask(client, target="/", field=""):
    return client.get(target, extra=field and field + "\r\n").body.decode()


@pytest.mark.parametrize("policy", KEYED)
@pytest.mark.parametrize(
    "key, request_of",
    [
        ("{ header: X-User }", lambda n: ("/", f"x-user: user-{n}")),
        ("{ cookie: session }", lambda n: ("/", f"Cookie: a=b; session=s{n}; c=d")),
        ("{ query: user }", lambda n: (f"/x?y={time.time()}&user=u{n}",)),
        ("path", lambda n: (f"/path/{n}?{time.time()}",)),
    ],
    ids=["header", "cookie", "query", "path"],
)
def test_a_key_goes_to_one_endpoint_and_keys_go_to_all(pool, policy, key, request_of):
    """BEHAVIOUR 7: key: header, cookie, path, query."""
    weir = pool(balance(policy, key), "", "", "", "")
    with weir.client() as c:
        homes = [ask(c, *request_of(n)) for n in range(60)]
        assert set(homes) == set("abcd")
        for _ in range(2):
            assert [ask(c, *request_of(n)) for n in range(60)] == homes


@pytest.mark.parametrize("policy", KEYED)
def test_a_client_stays_at_one_endpoint(pool, policy):
    """BEHAVIOUR 7: key: client_ip."""
    weir = pool(balance(policy, "client_ip"), "", "", "", "")
    homes = set()
    for _ in range(5):
        with weir.client() as c:
            homes |= {ask(c), ask(c, "/other")}
    assert len(homes) == 1


@pytest.mark.parametrize("policy", KEYED)
def test_requests_without_the_key_go_to_all(pool, policy):
    weir = pool(balance(policy, "{ header: x-user }"), "", "", "")
    with weir.client() as c:
        got = Counter(ask(c) for _ in range(300))
    assert all(got[name] > 40 for name in "abc"), got


@pytest.mark.parametrize("policy", KEYED)
def test_only_the_keys_of_a_drained_endpoint_move(start_weir, auto, policy):
    ups = [auto(body=bytes([97 + i])) for i in range(5)]

    def homes(drained):
        listed = ", ".join(
            f"{{ address: '{up.address}', drain: {str(i == drained).lower()} }}"
            for i, up in enumerate(ups)
        )
        weir = start_weir(
            "routes: [ { to: app } ]\n"
            f"pools: {{ app: {{ endpoints: [ {listed} ], {balance(policy, 'path')} }} }}\n"
        )
        with weir.client() as c:
            return [ask(c, f"/{n}") for n in range(100)]

    before, after = homes(None), homes(2)
    assert "c" in before and "c" not in after
    assert all(b == a for b, a in zip(before, after) if b != "c")


@pytest.mark.parametrize("policy", ["p2c", "round_robin", "least_conn", "random", "peak_ewma"])
def test_a_drained_endpoint_and_a_backup_get_nothing(pool, policy):
    weir = pool(f"balance: {policy}", "", "drain: true", "backup: true", "")
    with weir.client() as c:
        assert {ask(c) for _ in range(60)} == {"a", "d"}


def test_backups_serve_when_no_other_is_usable(pool):
    weir = pool("", "drain: true", "backup: true", "backup: true", "weight: 0")
    with weir.client() as c:
        assert {ask(c) for _ in range(60)} == {"b", "c"}


def test_a_retry_reaches_the_backup(start_weir, closing, auto):
    down, up = closing(RefusedEndpoint()), auto(body=b"backup")
    weir = start_weir(
        "routes: [ { to: app } ]\n"
        f"pools: {{ app: [ '{down.address}', {{ address: '{up.address}', backup: true }} ] }}\n"
    )
    with weir.client() as c:
        assert ask(c) == "backup"


def test_the_first_level_gets_everything_while_it_can_carry_it(pool):
    weir = pool("balance: round_robin", "priority: 1", "", "", "priority: 2")
    with weir.client() as c:
        assert Counter(ask(c) for _ in range(60)) == {"b": 30, "c": 30}


def test_levels_spill_at_1_4_of_what_is_there(pool):
    # What is drained is not there at all: nothing spills for it.
    weir = pool("balance: round_robin", "drain: true", "", "priority: 1")
    with weir.client() as c:
        assert {ask(c) for _ in range(20)} == {"b"}


def test_the_own_zone_comes_first(pool):
    zones = ("zone: east", "zone: west", "zone: east", "")
    weir = pool("balance: round_robin", *zones, top="zone: east")
    with weir.client() as c:
        assert Counter(ask(c) for _ in range(40)) == {"a": 20, "c": 20}
    weir = pool("balance: round_robin", *zones)
    with weir.client() as c:
        assert set(ask(c) for _ in range(40)) == set("abcd")


def test_peak_ewma_spares_the_one_that_says_503(pool):
    def reply(i):
        text = b"503 Service Unavailable" if i == 0 else b"200 OK"
        return lambda _: b"HTTP/1.1 %s\r\nContent-Length: 1\r\n\r\n%c" % (text, 97 + i)

    weir = pool("balance: peak_ewma", "", "", "", reply=reply)
    with weir.client() as c:
        got = Counter(ask(c) for _ in range(100))
    assert got["a"] <= 1 and got["b"] + got["c"] >= 99, got


@pytest.mark.parametrize("instance", [0, 1])
def test_workers_use_subsets_of_their_own_and_the_same_each_time(start_weir, auto, instance):
    """Two instances of two workers, with one endpoint each, use all four of them."""
    ups = [auto(body=bytes([97 + i])) for i in range(4)]
    listed = ", ".join(f"'{up.address}'" for up in ups)

    def used(which):
        weir = start_weir(
            f"workers: 2\ninstance: {which}\nroutes: [ {{ to: app }} ]\n"
            f"pools: {{ app: {{ balance: {{ subset: 1 }}, endpoints: [ {listed} ] }} }}\n"
        )
        bodies = set()
        for _ in range(60):  # conns, which the kernel spreads over the workers
            with weir.client() as c:
                got = {ask(c) for _ in range(3)}
                assert len(got) == 1
                bodies |= got
        return bodies

    mine, others = used(instance), used(1 - instance)
    assert len(mine) == 2 and mine | others == set("abcd")
    assert used(instance) == mine
