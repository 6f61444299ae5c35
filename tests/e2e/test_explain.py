# SPDX-License-Identifier: Apache-2.0
"""What weir says that it would do with a request: of a file, and of a weir that runs."""
import json
import random
import subprocess
from urllib.parse import urlencode

import pytest

from harness import WEIR
from peers import Client, wait_for

POLICIES = ("p2c", "round_robin", "least_conn", "random", "peak_ewma", "ring_hash", "maglev")
KEYED = ("ring_hash", "maglev")
MINE = "X-Weir: 1\r\n"


def raw(client, url, headers=(), **more):
    query = urlencode([("url", url), *[("header", h) for h in headers], *more.items()])
    return client.get(f"/explain?{query}", host="localhost")


def explain(client, url="http://a/", headers=(), **more):
    got = raw(client, url, headers, **more)
    assert got.status == 200, got.body
    assert got.get("content-type") == "application/json"
    return json.loads(got.body)


@pytest.fixture
def pool(start_weir, auto):
    """pool(weights, keys): a weir with one worker over as many upstreams, which answer by their
    addresses."""

    def make(weights, keys, reply=None):
        ups = [auto(reply=reply) for _ in weights]
        for up in ups:
            up.body = up.address.encode()
        listed = ", ".join(
            f"{{ address: '{up.address}', weight: {w} }}" for up, w in zip(ups, weights)
        )
        pools = f"pools: {{ app: {{ endpoints: [ {listed} ], {keys} }} }}\n"
        return start_weir(f"workers: 1\nroutes: [ {{ to: app }} ]\n{pools}"), ups

    return make


def balance(policy):
    if policy in KEYED:
        return f"balance: {{ policy: {policy}, key: {{ header: x-user }} }}"
    return f"balance: {policy}"


@pytest.mark.parametrize("policy", POLICIES)
def test_what_is_explained_is_the_next_pick(pool, policy):
    """200 times in a row: asking spends nothing, and the request goes where it was said to go."""
    weir, ups = pool([1, 2, 3, 1, 5], balance(policy))
    dice = random.Random(7)
    seen = set()
    with Client(weir.admin) as admin, weir.client() as c:
        for n in range(200):
            field = [f"x-user: {dice.randrange(10**6)}"] if policy in KEYED and n % 4 else []
            said = explain(admin, headers=field)["next"]
            for _ in range(n % 3):
                assert explain(admin, headers=field)["next"][0]["endpoint"] == said[0]["endpoint"]
            (one,) = said
            assert (one["worker"], one["end"], one["pool"]) == (0, "endpoint", "app")
            got = c.get(extra="".join(f"{f}\r\n" for f in field)).body.decode()
            assert got == one["endpoint"], n
            seen.add(got)
    assert seen == {up.address for up in ups} or policy == "peak_ewma"  # it likes who was fast


@pytest.mark.parametrize("policy", POLICIES)
def test_the_next_pick_while_requests_are_in_flight_and_weights_change(pool, policy):
    weir, ups = pool([1, 2, 3, 1], balance(policy), reply=lambda _: None)
    dice = random.Random(8)
    clients = []
    with Client(weir.admin) as admin:
        for n in range(30):
            (one,) = explain(admin, headers=["x-user: u"])["next"]
            before = {up.address: len(up.held) for up in ups}
            clients.append(weir.client())
            clients[-1].send("GET / HTTP/1.1\r\nHost: a\r\nx-user: u\r\n\r\n")
            wait_for(lambda: sum(len(up.held) for up in ups) == n + 1, "the request to arrive")
            (went,) = [up.address for up in ups if len(up.held) > before[up.address]]
            assert went == one["endpoint"], n
            up, verb = dice.choice(ups[1:]), dice.choice(["weight/0", "weight/4", "weight/1"])
            path = f"/pools/app/endpoints/{up.address}/{verb}"
            assert admin.get(path, method="POST", extra=MINE, host="localhost").status == 200
    for up in ups:
        up.release()
    for c in clients:
        assert c.response().status == 200
        c.close()


def test_the_part_of_a_split_is_the_one_that_is_drawn_next(start_weir, auto):
    ups = [auto(body=b"a"), auto(body=b"b"), auto(body=b"c")]
    pools = "".join(f"  {n}: ['{up.address}']\n" for n, up in zip("abc", ups))
    weir = start_weir(
        "workers: 1\nroutes: [ { to: { a: 50, b: 30, c: 20 } } ]\npools:\n" + pools
    )
    seen = set()
    with Client(weir.admin) as admin, weir.client() as c:
        for _ in range(100):
            told = explain(admin)
            assert [part["percent"] for part in told["split"]] == [50.0, 30.0, 20.0]
            assert c.get().body.decode() == told["next"][0]["pool"]
            seen.add(told["next"][0]["pool"])
    assert seen == set("abc")


def test_every_worker_says_what_it_would_do(start_weir, auto):
    up = auto()
    weir = start_weir(f"workers: 3\nroutes: [ {{ to: app }} ]\npools: {{ app: ['{up.address}'] }}\n")
    with Client(weir.admin) as admin:
        assert [one["worker"] for one in explain(admin)["next"]] == [0, 1, 2]
        assert [one["worker"] for one in explain(admin, worker=2)["next"]] == [2, 0, 1]
        assert {one["endpoint"] for one in explain(admin)["next"]} == {up.address}


ROUTES = """
routes:
  - { name: exact, match: { host: shop.example, path: { exact: /api } }, to: app }
  - { name: posts, match: { host: shop.example, path: /api, method: POST }, to: app }
  - { name: gold, match: { host: shop.example, path: /api, headers: { x-tier: gold } }, to: app }
  - { name: api, match: { host: shop.example, path: /api }, to: app }
  - { name: twin, match: { host: shop.example, path: /api }, to: app }
  - { name: wild, match: { host: "*.example", path: /api/v2 }, to: app }
  - { name: short, match: { host: shop.example }, to: app }
  - { name: other, match: { host: other.example }, to: app }
pools: { app: ['$UPSTREAM'] }
"""


def test_why_a_route_wins_and_the_others_lose(start_weir, auto):
    weir = start_weir(ROUTES.replace("$UPSTREAM", auto().address))
    with Client(weir.admin) as admin:
        told = explain(admin, "http://shop.example:81/api/v2/x?y", ["x-tier: silver"])
        assert told["request"] == {
            "method": "GET",
            "host": "shop.example:81",
            "path": "/api/v2/x",
            "query": "y",
            "client": "127.0.0.1",
            "trusted": False,
        }
        assert told["route"] == "api" and told["routes_left_out"] == 0
        assert {r["name"]: (r["verdict"], r["why"]) for r in told["routes"]} == {
            "api": (
                "won",
                "it matches the host shop.example, the prefix /api, and nothing more specific does",
            ),
            "twin": ("later", "it matches as well as api, which stands before it"),
            "short": ("short_path", "it matches, but the path of api is longer"),
            "wild": ("wide_host", "it matches, but the host of api is more specific"),
            "gold": ("other_field", "it wants x-tier: gold, and not silver"),
            "posts": ("other_method", "the method is not POST"),
            "exact": ("other_path", "the path is not /api"),
            "other": ("other_host", "the host is not other.example"),
        }
        order = [r["name"] for r in told["routes"]]
        assert order == ["api", "twin", "short", "wild", "gold", "posts", "exact", "other"]
        for url, headers, method, route in (
            ("http://shop.example/api", ["x-tier: gold"], "POST", "exact"),
            ("http://shop.example/api/", ["x-tier: gold"], "POST", "posts"),
            ("http://shop.example/api/", ["x-tier: gold"], "GET", "gold"),
            ("http://SHOP.example./x", [], "GET", "short"),
            ("/api/v2", ["Host: a.example"], "GET", "wild"),
        ):
            assert explain(admin, url, headers, method=method)["route"] == route, url
        told = explain(admin, "http://nobody/")
        assert told["route"] is None and told["routes"][0]["verdict"] == "other_host"
        (one, *_) = told["next"]
        assert (one["end"], one["status"], one["reason"]) == ("no_route", 404, "no_route")


def test_of_many_routes_the_nearest_are_told(start_weir, auto):
    routes = "".join(f"  - {{ match: {{ path: /r{i} }}, to: app }}\n" for i in range(120))
    weir = start_weir(f"routes:\n{routes}pools: {{ app: ['{auto().address}'] }}\n")
    with Client(weir.admin) as admin:
        told = explain(admin, "http://a/r100")
        assert (len(told["routes"]), told["routes_left_out"]) == (50, 70)
        assert told["routes"][0]["name"] == told["route"] == "route-101"
        told = explain(admin, "http://a/r100", routes="all")
        assert (len(told["routes"]), told["routes_left_out"]) == (120, 0)


def test_what_the_endpoint_would_get_is_what_it_gets(start_weir, auto):
    up = auto()
    weir = start_weir(
        "listeners: { web: { bind: '127.0.0.1:0', forwarded: true, via: true } }\n"
        f"routes: [ {{ to: app }} ]\npools: {{ app: ['{up.address}'] }}\n"
    )
    fields = ["X-Own: 1", "Connection: x-gone", "x-gone: 2", "X-Request-Id: me"]
    with Client(weir.admin) as admin, weir.client() as c:
        said = explain(admin, "http://shop.example/x", fields)["sent"]
        c.get("/x", host="shop.example", extra="".join(f"{f}\r\n" for f in fields))
    got = [(n.decode(), v.decode()) for n, v in up.requests[0].fields]
    assert [(f["name"], f["value"]) for f in said] == got


def test_why_an_endpoint_is_excluded_is_what_pools_say(start_weir, auto):
    ups = [auto() for _ in range(5)]
    more = ("", "drain: true", "weight: 0", "backup: true", "priority: 3")
    listed = ", ".join(f"{{ address: '{up.address}', {m} }}" for up, m in zip(ups, more))
    weir = start_weir(f"routes: [ {{ to: app }} ]\npools: {{ app: {{ endpoints: [ {listed} ] }} }}\n")
    with Client(weir.admin) as admin:
        (told,) = explain(admin)["pools"]
        (pools,) = json.loads(admin.get("/pools", host="localhost").body)
        assert [e["excluded"] and e["excluded"]["why"] for e in pools["endpoints"]] == [
            None,
            "drained",
            "weight",
            "backup",
            "level",
        ]
        for here, there in zip(told["pool"]["endpoints"], pools["endpoints"]):
            assert {**here, "score": None} == {**there, "score": None}
        assert [e["score"] for e in told["pool"]["endpoints"]] == [0, None, None, None, None]


def test_when_nobody_is_left_it_says_why(start_weir, auto):
    ups = [auto(), auto()]
    listed = ", ".join(f"{{ address: '{up.address}', drain: true }}" for up in ups)
    weir = start_weir(f"routes: [ {{ to: app }} ]\npools: {{ app: {{ endpoints: [ {listed} ] }} }}\n")
    with Client(weir.admin) as admin, weir.client() as c:
        one = explain(admin)["next"][0]
        assert (one["end"], one["status"], one["reason"]) == ("no_endpoint", 503, "no_endpoint")
        assert one["why"] == "the pool has no usable endpoint: 2 drained"
        assert c.get().status == 503


def test_a_full_pool(start_weir, auto):
    """Who has to wait, and who is refused, as the next request finds out."""
    up = auto(reply=lambda _: None)
    weir = start_weir(
        "workers: 1\nroutes: [ { to: app } ]\n"
        f"pools: {{ app: {{ endpoints: ['{up.address}'], max_requests: 1, "
        "queue: { max: 1, wait: 1m } } }\n"
    )
    with Client(weir.admin) as admin, weir.client() as one, weir.client() as two, weir.client() as c:
        assert explain(admin)["pools"][0]["limit"]["requests"] == 1
        one.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        up.wait_held(1)
        assert explain(admin)["next"][0]["end"] == "waits"
        two.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        wait_for(lambda: explain(admin)["next"][0]["end"] == "full", "the queue to be full")
        said = explain(admin)["next"][0]
        got = c.get()
        assert (said["status"], said["reason"]) == (got.status, "queue_full")
        assert b"queue_full" in got.get("proxy-status", b"").encode()
        up.release()


def test_a_request_that_is_refused(weir_of_one):
    with Client(weir_of_one.admin) as admin:
        for url, headers, status in (
            ("http://a/a b", [], 400),
            ("http://a/", ["Host: b", "Host: c"], 400),
            ("http://a/", ["Content-Length: 1", "Transfer-Encoding: chunked"], 400),
            ("http://a/" + "x" * 7000, [], 200),
        ):
            told = explain(admin, url, headers)
            assert (told["next"][0]["status"] or 200) == status, url


@pytest.fixture
def weir_of_one(start_weir, auto):
    return start_weir(f"routes: [ {{ to: app }} ]\npools: {{ app: ['{auto().address}'] }}\n")


@pytest.mark.parametrize(
    "query",
    ["", "url=", "method=GET", "url=http://a/&client=nobody", "url=http://a/&listener=none"]
    + ["url=http://a/&client=" + "1" * 100, "url=http://a/&listener=" + "w" * 300]
    + ["url=http://a/&header=x:%0d%0aHost:%20b", "url=http://a/%0a", "url=http://a/&method=G%0dT"],
)
def test_what_is_no_question_is_400(weir_of_one, query):
    with Client(weir_of_one.admin) as admin:
        got = admin.get(f"/explain?{query}", host="localhost")
        assert got.status == (200 if query == "url=" else 400)
        assert admin.get("/explain", method="POST", host="localhost", extra=MINE).status == 405


def test_a_question_is_not_cut_short(weir_of_one):
    with Client(weir_of_one.admin) as admin:
        assert explain(admin, "http://a/x%00y")["request"]["path"] == "/x%00y"
        got = admin.get("/explain?url=http://a/x%00y", host="localhost")
        assert json.loads(got.body)["request"]["path"] == "/x%00y"
        assert explain(admin, method="M" * 100)["request"].get("method") != "GET"


def test_many_ask_at_once_and_leave(weir_of_one):
    """Whoever leaves before the answer is forgotten, and the others get theirs."""
    ask = "GET /explain?url=http://a/ HTTP/1.1\r\nHost: localhost\r\n\r\n"
    clients = [Client(weir_of_one.admin) for _ in range(20)]
    for n, c in enumerate(clients):
        c.send(ask)
        if n % 2:
            c.close()
    for c in clients[::2]:
        assert c.response("GET").status == 200
        c.close()


# ---- of a file ----


def offline(tmp, config, *args):
    path = tmp / "weir.yaml"
    path.write_text("version: 1\nlisteners: { web: '127.0.0.1:8000' }\n" + config)
    done = subprocess.run(
        [WEIR, "explain", path, *args], stdin=subprocess.DEVNULL, capture_output=True, timeout=30
    )
    return done.returncode, done.stdout.decode(), done.stderr.decode()


FILE = """
routes:
  - { name: api, match: { host: shop.example, path: /api }, to: { a: 90, b: 10 } }
  - { name: rest, to: a }
pools:
  a: { endpoints: [127.0.0.1:1, { address: 127.0.0.1:2, drain: true }] }
  b: { endpoints: [127.0.0.1:3, 127.0.0.1:4], balance: { policy: ring_hash, key: { header: x-user } } }
"""


def test_a_file_is_explained_without_being_served(tmp):
    code, out, err = offline(tmp, FILE, "http://shop.example/api", "-X", "POST", "-H", "x-user: u")
    assert (code, err) == (0, "")
    assert "-> api: it matches the host shop.example, the prefix /api, and" in out
    assert "rest: it matches, but the host of api is more specific" in out
    assert "-> a: 90.0%, weight 90 of 100" in out
    assert "excluded: it is drained" in out
    assert "the method may not be sent twice" in out
    assert "next      127.0.0.1:1: it is the only one that gets requests" in out


def test_a_file_is_explained_as_json(tmp):
    code, out, _ = offline(tmp, FILE, "http://shop.example/api", "-H", "x-user: u", "--json")
    told = json.loads(out)
    assert code == 0 and [p["pool"]["name"] for p in told["pools"]] == ["a", "b"]
    assert [(n["pool"], n["end"]) for n in told["next"]] == [("a", "endpoint"), ("b", "endpoint")]
    _, again, _ = offline(tmp, FILE, "http://shop.example/api", "-H", "x-user: u", "--json")
    assert json.loads(again) == told
    assert "worker" not in told["next"][0]


def test_a_key_goes_where_the_running_weir_sends_it(start_weir, auto, tmp):
    ups = [auto() for _ in range(6)]
    listed = ", ".join(f"'{up.address}'" for up in ups)
    keys = "balance: { policy: maglev, key: { header: x-user } }"
    config = f"routes: [ {{ to: app }} ]\npools: {{ app: {{ endpoints: [ {listed} ], {keys} }} }}\n"
    weir = start_weir(config)
    with Client(weir.admin) as admin:
        for n in range(6):
            field = f"x-user: {n}"
            _, out, _ = offline(tmp, config, "http://a/", "-H", field, "--json")
            live = explain(admin, headers=[field])["next"][0]
            assert json.loads(out)["next"][0]["endpoint"] == live["endpoint"]


@pytest.mark.parametrize(
    "args, code, said",
    [
        (["http://a/", "http://b/"], 2, "one file, one URL"),
        (["http://a/", "--what"], 2, "there is no option --what"),
        (["http://a/", "--listener", "x"], 2, 'there is no listener "x"'),
        (["http://a/", "--client", "x"], 2, '"x" is no client\'s address'),
        (["http://a/", "-H", "a: b\nc: d"], 2, "has a line break in it"),
    ],
)
def test_usage(tmp, args, code, said):
    got, out, err = offline(tmp, FILE, *args)
    assert (got, out) == (code, "") and said in err


def running(weir, *args):
    done = subprocess.run(
        [WEIR, "explain", "--admin", weir.admin, *args],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=30,
    )
    return done.returncode, done.stdout.decode(), done.stderr.decode()


def test_the_verb_asks_a_weir_that_runs(start_weir, auto):
    up = auto()
    weir = start_weir(ROUTES.replace("$UPSTREAM", up.address))
    fields = ["-H", "x-tier: gold", "-H", "x-odd: a&b=c%20+d"]
    code, out, err = running(weir, "http://shop.example/api/x?a=1&b=2", *fields)
    assert (code, err) == (0, "")
    assert "request   GET shop.example/api/x?a=1&b=2\n" in out
    assert "-> gold: it matches" in out
    assert f"next      worker 0: {up.address}: " in out
    code, out, _ = running(weir, "http://shop.example/api", "--json", *fields, "-X", "POST")
    assert code == 0 and json.loads(out)["route"] == "exact"
    code, _, err = running(weir, "http://shop.example/api", "--listener", "x")
    assert (code, err) == (2, 'there is no listener "x"\n')
    assert running(weir)[0] == 2


def test_a_file_with_errors(tmp):
    code, out, err = offline(tmp, FILE.replace("to: a }", "to: c }"), "http://a/")
    assert (code, out) == (1, "") and "weir.yaml:" in err and '"c"' in err


def test_more_fields_than_are_heeded_are_refused(start_weir, auto):
    weir = start_weir(f"routes: [ {{ to: a }} ]\npools: {{ a: ['{auto().address}'] }}\n")
    with Client(weir.admin) as c:
        assert raw(c, "http://a/", [f"x{n}: 1" for n in range(64)]).status == 200
        refused = raw(c, "http://a/", [f"x{n}: 1" for n in range(65)])
        assert (refused.status, refused.body) == (400, b"more than 64 fields\n")
