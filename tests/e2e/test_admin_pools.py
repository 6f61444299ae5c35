# SPDX-License-Identifier: Apache-2.0
"""Pools as the admin listener tells of them, and what an operator does to an endpoint there."""
import json
from collections import Counter

import pytest

from peers import Client, wait_for
from test_reload import reload
from test_sticky import SECRET, cookie, token

MINE = "X-Weir: 1\r\n"


@pytest.fixture
def pool(start_weir, auto):
    """pool(n, more, reply): weir over n upstreams that answer a, b, c... by turns."""

    def make(n, more="", reply=None):
        ups = [auto(body=bytes([97 + i]), reply=reply) for i in range(n)]
        listed = ", ".join(f"'{u.address}'" for u in ups)
        keys = f"balance: round_robin, endpoints: [ {listed} ]{more}"
        return start_weir(f"routes: [ {{ to: app }} ]\npools: {{ app: {{ {keys} }} }}\n"), ups

    return make


def ask(weir, path, method="GET", extra=""):
    with Client(weir.admin) as c:
        c.send(f"{method} {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n{extra}\r\n")
        return c.response(method)


def order(weir, up, verb, extra=MINE):
    got = ask(weir, f"/pools/app/endpoints/{up.address}/{verb}", "POST", extra)
    assert got.status == 200, got.body
    return json.loads(got.body)


def told(weir, up):
    return json.loads(ask(weir, f"/pools/app/endpoints/{up.address}").body)


def draw(weir, count=120):
    """What so many new requests come to, over all workers."""
    bodies = Counter()
    for _ in range(6):
        with weir.client() as c:
            bodies.update(c.get().body.decode() for _ in range(count // 6))
    return bodies


def test_what_is_told_of_an_endpoint(pool):
    weir, ups = pool(2)
    assert json.loads(ask(weir, f"/pools/app/endpoints/{ups[1].address}").body) == {
        "address": ups[1].address,
        "healthy": True,
        "excluded": None,
        "marks": [],
        "ejection": None,
        "weight": 1,
        "share_percent": 50.0,
        "in_flight": 0,
        "latency_ms": 0.0,
    }


def test_what_is_told_of_pools(pool):
    weir, ups = pool(2)
    got = ask(weir, "/pools")
    assert got.get("content-type") == "application/json"
    (one,) = json.loads(got.body)
    assert one == json.loads(ask(weir, "/pools/app").body)
    assert (one["name"], one["policy"]) == ("app", "round_robin")
    assert (one["panic"], one["backups"]) == (False, False)
    assert [e["address"] for e in one["endpoints"]] == [u.address for u in ups]
    assert ask(weir, "/pools/app", "HEAD").status == 200


def test_a_thousand_endpoints_are_told(start_weir):
    listed = ", ".join(f"10.0.{i // 250}.{i % 250}:80" for i in range(1000))
    weir = start_weir(f"routes: [ {{ to: app }} ]\npools: {{ app: [ {listed} ] }}\n")
    (one,) = json.loads(ask(weir, "/pools").body)
    assert [e["address"] for e in one["endpoints"]] == listed.split(", ")


def test_a_drained_endpoint_gets_no_new_requests_until_it_is_undrained(pool):
    weir, ups = pool(3)
    got = order(weir, ups[0], "drain")
    assert not got["healthy"] and got["share_percent"] == 0
    assert [m["mark"] for m in got["marks"]] == ["drained"]
    weir.wait_metric("weir_endpoint_state", 1, endpoint=ups[0].address, state="drained")
    assert set(draw(weir)) == {"b", "c"}
    got = order(weir, ups[0], "undrain")
    assert got["healthy"] and got["marks"] == []
    assert set(draw(weir)) == {"a", "b", "c"}


@pytest.mark.parametrize("verb, what", [("drain", "drained"), ("undrain", "not drained any more")])
def test_a_verb_may_be_repeated(pool, verb, what):
    weir, ups = pool(2)
    order(weir, ups[0], "drain" if verb == "undrain" else "undrain")
    first = order(weir, ups[0], verb)
    again = order(weir, ups[0], verb)
    for got in (first, again):
        got["marks"] = [m["mark"] for m in got["marks"]]
        got["excluded"] = got["excluded"] and got["excluded"]["why"]  # its text says for how long
    assert first == again
    weir.said(f"{ups[0].address} is {what}, says the admin", 1)


def test_what_is_in_flight_on_a_drained_endpoint_ends(pool):
    """Draining: in-flight ends."""
    weir, ups = pool(1, reply=lambda _: None)
    with weir.client() as c:
        c.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        ups[0].wait_held(1)
        assert order(weir, ups[0], "drain")["in_flight"] == 1
        ups[0].release()
        assert c.response().body == b"a"
    wait_for(
        lambda: json.loads(ask(weir, "/pools/app").body)["endpoints"][0]["in_flight"] == 0,
        "nothing to be in flight",
    )
    with weir.client() as c:
        assert c.get().status == 503


def test_sticky_sessions_of_a_drained_endpoint_go_on(pool):
    """Draining: no new picks, sticky sessions finish."""
    weir, ups = pool(3, f", sticky: {{ cookie: weir, secret: {SECRET} }}")
    order(weir, ups[1], "drain")
    for _ in range(6):
        with weir.client() as c:
            got = c.get(extra=cookie(token(ups[1])))
            assert got.body == b"b" and got.all("set-cookie") == []
            assert c.get().body in b"ac"


def test_a_weight_is_set(pool):
    weir, ups = pool(2)
    got = order(weir, ups[0], "weight/3")
    assert (got["weight"], got["share_percent"]) == (3, 75.0)
    with weir.client() as c:
        assert Counter(c.get().body for _ in range(40)) == {b"a": 30, b"b": 10}
    assert order(weir, ups[0], "weight/0")["weight"] == 0
    assert set(draw(weir)) == {"b"}
    assert order(weir, ups[0], "weight/1000")["weight"] == 1000


def test_json_is_as_good_as_the_field(pool):
    weir, ups = pool(2)
    body = "Content-Length: 2\r\n"
    for kind in ("application/json", "Application/JSON; charset=utf-8"):
        got = order(weir, ups[0], "drain", f"Content-Type: {kind}\r\n{body}\r\n{{}}")
        assert not got["healthy"]


@pytest.mark.parametrize(
    "extra",
    [
        "",
        "Content-Type: text/plain\r\n",
        "Content-Type: application/x-www-form-urlencoded\r\n",
        "Content-Type: text/plain;application/json\r\n",
        f"{MINE}Origin: http://b\r\n",
        f"{MINE}Origin: https://a\r\n",
        f"{MINE}Origin: http://a:80\r\n",
        "Origin: http://a\r\n",
        f"{MINE}Origin: null\r\n",
        "Content-Type: application/json\r\nOrigin: http://evil.example\r\n",
    ],
)
def test_what_a_web_page_could_send_is_refused(pool, extra):
    weir, ups = pool(2)
    path = f"/pools/app/endpoints/{ups[0].address}"
    got = ask(weir, f"{path}/drain", "POST", extra)
    assert got.status == 403 and b"X-Weir" in got.body
    assert json.loads(ask(weir, path).body)["healthy"]


def test_unknown_names(pool):
    weir, ups = pool(1)
    at = f"/pools/app/endpoints/{ups[0].address}"
    for path in (
        "/pools/",
        "/pools/ap",
        "/pools/appp",
        "/pools/app/",
        "/pools/app/endpoint",
        "/pools/app/endpoints",
        "/pools/app/endpoints/",
        "/pools/app/endpoints/127.0.0.1:1",
        f"{at}/",
        f"{at}/stop",
        f"{at}/drain/",
        f"{at}/drain/1",
        f"{at}/weight",
        f"{at}/weight/1/2",
        f"{at}/weight/1/2/3",
    ):
        for method in ("GET", "POST"):
            assert ask(weir, path, method, MINE).status == 404, (method, path)
    assert ask(weir, "/poolss").status == 404


def test_methods(pool):
    weir, ups = pool(1)
    at = f"/pools/app/endpoints/{ups[0].address}"
    for path in ("/pools", "/pools/app", at):
        for method in ("POST", "PUT", "DELETE"):
            got = ask(weir, path, method, MINE)
            assert (got.status, got.get("allow")) == (405, "GET, HEAD"), (method, path)
    for verb in ("drain", "undrain", "weight/1"):
        for method in ("GET", "HEAD", "PUT"):
            got = ask(weir, f"{at}/{verb}", method, MINE)
            assert (got.status, got.get("allow")) == (405, "POST"), (method, verb)


@pytest.mark.parametrize("weight", ["", "-1", "+1", "1001", "99999999999", "1.5", "0x1", "%31x"])
def test_what_is_no_weight(pool, weight):
    weir, ups = pool(1)
    got = ask(weir, f"/pools/app/endpoints/{ups[0].address}/weight/{weight}", "POST", MINE)
    assert got.status == 400 and b"0 to 1000" in got.body


def test_addresses_are_percent_decoded_and_twins_are_told_apart(start_weir, auto, tmp_path):
    up, path = auto(), str(tmp_path / "a#b.sock")
    unix = auto(path=path)
    weir = start_weir(
        "routes: [ { to: app } ]\n"
        f"pools: {{ app: {{ balance: round_robin, endpoints: [ '{up.address}', '{up.address}', "
        f"'unix:{path}' ] }} }}\n"
    )
    assert unix.address == f"unix:{path}"

    def drain(name):
        got = ask(weir, f"/pools/app/endpoints/{name}/drain", "POST", MINE)
        assert got.status == 200, got.body
        return json.loads(got.body)["address"]

    assert drain("unix:" + path.replace("/", "%2f").replace("#", "%23")) == unix.address
    assert drain(f"{up.address.replace(':', '%3A')}%232") == f"{up.address}#2"
    shares = {
        e["address"]: e["share_percent"]
        for e in json.loads(ask(weir, "/pools/app").body)["endpoints"]
    }
    assert shares == {up.address: 100.0, f"{up.address}#2": 0.0, unix.address: 0.0}


def test_what_keeps_an_endpoint_out_is_explained(start_weir, auto):
    bad = auto(reply=lambda _: b"HTTP/1.1 500 Oops\r\nContent-Length: 0\r\n\r\n")
    good = auto()
    weir = start_weir(
        "workers: 1\nroutes: [ { to: app } ]\n"
        f"pools: {{ app: {{ balance: round_robin, outlier: {{ errors: 2 }}, endpoints: "
        f"[ '{bad.address}', '{good.address}' ] }} }}\n"
    )
    with weir.client() as c:
        for _ in range(4):
            c.get()
    weir.wait_metric("weir_endpoint_state", 1, endpoint=bad.address, state="ejected")
    got = json.loads(ask(weir, f"/pools/app/endpoints/{bad.address}").body)
    (mark,) = got["marks"]
    assert mark["mark"] == "ejected" and mark["for_ms"] >= 0
    assert got["ejection"]["cause"].startswith("2 failures in a row")
    assert 0 < got["ejection"]["left_ms"] <= 30000


def written(ups, more=""):
    listed = ", ".join(f"{{ address: '{up.address}'{keys} }}" for up, keys in ups)
    return f"routes: [ {{ to: app }} ]\npools: {{ app: {{ balance: peak_ewma, endpoints: [ {listed} ]{more} }} }}\n"


@pytest.mark.parametrize("more", ["", ", upstream: { connect: 7s }"], ids=["pool-stays", "pool-changes"])
def test_what_an_operator_has_done_outlives_a_reload(start_weir, auto, more):
    one, two, three = ups = [auto(body=bytes([97 + i])) for i in range(3)]
    weir = start_weir(written([(up, "") for up in ups]))
    order(weir, one, "drain")
    order(weir, two, "weight/5")
    assert "a" not in draw(weir)
    weir.wait_metric("weir_requests_in_flight", 0)  # what the last one took is known, too
    before = {up: told(weir, up) for up in ups}
    assert any(b["latency_ms"] for b in before.values())
    reload(weir, written([(up, "") for up in ups], more))
    after = {up: told(weir, up) for up in ups}
    assert [m["mark"] for m in after[one]["marks"]] == ["drained"]
    assert after[one]["marks"][0]["for_ms"] >= before[one]["marks"][0]["for_ms"]
    assert (after[two]["weight"], after[three]["weight"]) == (5, 1)
    for up in ups:
        assert after[up]["latency_ms"] <= before[up]["latency_ms"]
        assert bool(after[up]["latency_ms"]) == bool(before[up]["latency_ms"])
    assert "a" not in draw(weir)
    order(weir, one, "undrain")
    reload(weir, written([(up, "") for up in ups]))
    assert told(weir, one)["healthy"]


def test_what_the_file_says_of_an_endpoint_in_another_way_takes_effect(start_weir, auto):
    one, two, three = (auto(body=bytes([97 + i])) for i in range(3))
    weir = start_weir(written([(one, ""), (two, ", weight: 2")]))
    order(weir, one, "drain")
    order(weir, two, "weight/7")
    reload(weir, written([(one, ", drain: true"), (two, ", weight: 3"), (three, "")]))
    assert told(weir, one)["marks"][0]["mark"] == "drained" and told(weir, two)["weight"] == 3
    reload(weir, written([(one, ""), (two, ", weight: 3"), (three, ", drain: true")]))
    assert told(weir, one)["healthy"] and told(weir, three)["marks"][0]["mark"] == "drained"
    order(weir, three, "undrain")
    reload(weir, written([(two, ", weight: 4"), (three, ", drain: true")]))
    assert told(weir, three)["healthy"] and told(weir, two)["weight"] == 4
