# SPDX-License-Identifier: Apache-2.0
"""Reload: another file takes effect in the same process, and nobody notices who has nothing to do
with what has changed."""
import json
import os
import signal

import pytest

from peers import Client, connect, wait_for

ROUTES = """
routes:
  - { name: a, match: { path: /a }, to: one }
  - { name: b, match: { path: /b }, to: two }
pools: { one: [ "$ONE" ], two: [ "$TWO" ] }
"""


def filled(text, *upstreams):
    for name, up in zip(("$ONE", "$TWO", "$THREE"), upstreams):
        text = text.replace(name, up.address)
    return text


def rewrite(weir, text):
    path = weir.tmp / "weir.yaml"
    temp = weir.tmp / "next.yaml"
    temp.write_text(weir._complete(text, None))
    os.replace(temp, path)


def reload(weir, text, result="done"):
    """Writes another file, and waits until it serves, or until it has been refused."""
    before = weir.metric("weir_reloads_total", result=result)
    rewrite(weir, text)
    weir.signal(signal.SIGHUP)
    weir.wait_metric("weir_reloads_total", before + 1, result=result)


def settled(weir):
    """Nothing is left of older generations."""
    weir.wait_metric("weir_generations", 1)


def body(weir, path):
    with weir.client() as c:
        return c.get(path, extra="Connection: close\r\n").body


def test_routes_and_pools_change_for_new_requests(start_weir, auto):
    one, two = auto(body=b"one"), auto(body=b"two")
    weir = start_weir(filled(ROUTES, one, two))
    with weir.client() as c:
        assert c.get("/a").body == b"one" and c.get("/b").body == b"two"
        reload(weir, filled(ROUTES, two, one))
        assert c.get("/a").body == b"two" and c.get("/b").body == b"one"
        reload(weir, filled(ROUTES.replace("/b", "/c"), two, one))
        assert c.get("/b").status == 404 and c.get("/c").body == b"one"
    weir.wait_metric("weir_generation", 3)
    settled(weir)


def test_how_few_connections_the_open_files_allow_is_said_when_that_changes(start_weir, auto):
    one, two = auto(body=b"one"), auto(body=b"two")
    weir = start_weir(filled(ROUTES, one, two), nofile=400)
    said = "the limit of 400 open files allows"
    for _ in range(2):
        reload(weir, filled(ROUTES, two, one))
        weir.said(said, 1)
    reload(weir, "limits: { connections: 10 }\n" + filled(ROUTES, two, one))
    weir.said(said, 1)
    reload(weir, filled(ROUTES, two, one))
    weir.said(said, 2)


def test_a_request_in_flight_finishes_on_the_pool_it_began_with(start_weir, upstream, auto):
    two = auto(body=b"two")
    weir = start_weir(filled(ROUTES, upstream, two))
    with weir.client() as c:
        c.send("GET /a HTTP/1.1\r\nHost: a\r\n\r\n")
        u = upstream.accept()
        u.request()
        reload(weir, filled(ROUTES, two, two))
        weir.wait_metric("weir_generations", 2)
        assert body(weir, "/a") == b"two"
        u.answer(b"old")
        assert c.response().body == b"old"
        settled(weir)  # and with it go the idle connections of the pool that is no more
        u.expect_closed()
        assert c.get("/a").body == b"two"


def test_idle_connections_of_a_pool_that_stays_are_used_again(start_weir, upstream, auto):
    two = auto(body=b"two")
    weir = start_weir(filled(ROUTES, upstream, two), workers=1)
    with weir.client() as c:
        c.send("GET /a HTTP/1.1\r\nHost: a\r\n\r\n")
        u = upstream.accept()
        u.request()
        u.answer(b"1")
        assert c.response().body == b"1"
        reload(weir, filled(ROUTES.replace("[ \"$TWO\" ]", "[ \"$ONE\" ]"), upstream, two))
        settled(weir)
        c.send("GET /a HTTP/1.1\r\nHost: a\r\n\r\n")
        u.request()
        u.answer(b"2")
        assert c.response().body == b"2"
    weir.wait_metric("weir_upstream_connections_total", 1, pool="one")
    weir.wait_metric("weir_upstream_reused_total", 1, pool="one")


def test_counters_go_on_by_name(start_weir, auto):
    one, two = auto(body=b"one"), auto(body=b"two")
    weir = start_weir(filled(ROUTES, one, two))
    body(weir, "/a")
    reload(weir, filled(ROUTES.replace("name: b", "name: other"), two, two))
    body(weir, "/a")
    body(weir, "/b")
    weir.wait_metric("weir_requests_total", 2, route="a", pool="one", status="2xx")
    weir.wait_metric("weir_requests_total", 1, route="other", pool="two", status="2xx")
    weir.wait_metric("weir_request_duration_seconds_count", 2, route="a")


def test_a_tunnel_is_not_touched_by_reloads_of_its_own_pool(start_weir, upstream, auto):
    two = auto(body=b"two")
    weir = start_weir(filled(ROUTES, upstream, two))
    c = weir.client()
    c.send("GET /a HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n")
    u = upstream.accept()
    u.request()
    u.send("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n")
    assert c.response().status == 101
    for n in range(10):
        pools = (two, upstream) if n % 2 == 0 else (upstream, two)
        reload(weir, filled(ROUTES, *pools))
        c.send(f"ping {n};")
        u.expect(f"ping {n};")
        u.send(f"pong {n};")
        c.expect(f"pong {n};")
    weir.wait_metric("weir_generations", 2)  # those between have nobody
    c.close()
    u.expect_closed()
    u.close()
    settled(weir)


def test_a_broken_file_changes_nothing_and_says_where_it_is_broken(start_weir, auto):
    one, two = auto(body=b"one"), auto(body=b"two")
    weir = start_weir(filled(ROUTES, one, two))
    reload(weir, filled(ROUTES.replace("to: two", "to: tow"), two, one), result="failed")
    assert body(weir, "/a") == b"one" and body(weir, "/b") == b"two"
    log = weir.stderr()
    line = next(x for x in log.splitlines() if "tow" in x)
    assert "error reload: " in line and "weir.yaml:" in line and "two" in line
    assert weir.metric("weir_reload_failed") == 1 and weir.metric("weir_generation") == 1
    reload(weir, filled(ROUTES, two, one))
    assert weir.metric("weir_reload_failed") == 0 and weir.metric("weir_generation") == 2
    assert body(weir, "/a") == b"two"


def post(weir, extra="", method="POST"):
    with Client(weir.admin) as c:
        return c.get("/reload", host="admin", extra="Connection: close\r\nX-Weir: 1\r\n" + extra, method=method)


def test_post_reload_answers_when_the_file_serves(start_weir, auto):
    one, two = auto(body=b"one"), auto(body=b"two")
    weir = start_weir(filled(ROUTES, one, two))
    rewrite(weir, filled(ROUTES, two, one))
    response = post(weir, "Content-Length: 0\r\n")
    assert (response.status, response.body) == (200, b"generation 2 serves\n")
    assert body(weir, "/a") == b"two"


def test_post_reload_answers_what_is_wrong_with_the_file(start_weir, auto):
    one, two = auto(body=b"one"), auto(body=b"two")
    weir = start_weir(filled(ROUTES, one, two))
    rewrite(weir, filled(ROUTES.replace("to: two", "to: tow"), two, one))
    response = post(weir)
    text = response.body.decode()
    assert response.status == 422 and "weir.yaml:" in text and "tow" in text
    assert text.endswith("nothing has changed; generation 1 serves\n")
    assert body(weir, "/a") == b"one"


def test_reload_is_not_for_pages_nor_for_get(start_weir, auto):
    one, two = auto(), auto()
    weir = start_weir(filled(ROUTES, one, two))
    assert post(weir, method="GET").status == 405
    assert post(weir, "Origin: http://evil.example\r\n").status == 403
    weir.wait_metric("weir_generation", 1)


def generations(weir):
    return json.loads(weir.admin_get("/generations").body)


def test_generations_are_listed_with_their_exchanges(start_weir, upstream, auto):
    two = auto(body=b"two")
    weir = start_weir(filled(ROUTES, upstream, two))
    with weir.client() as c:
        c.send("GET /a HTTP/1.1\r\nHost: a\r\n\r\n")
        u = upstream.accept()
        u.request()
        rewrite(weir, filled(ROUTES, two, two))
        assert post(weir).status == 200
        listed = generations(weir)["generations"]
        assert [(g["generation"], g["exchanges"]) for g in listed] == [(1, 1), (2, 0)]
        assert [g["state"] for g in listed] == ["ends", "serves"]
        assert listed[0]["age_ms"] >= listed[1]["age_ms"]
        u.answer(b"old")
        assert c.response().body == b"old"
    settled(weir)
    assert [g["generation"] for g in generations(weir)["generations"]] == [2]


def test_the_end_of_the_last_reload_is_told(start_weir, auto):
    one, two = auto(), auto()
    weir = start_weir(filled(ROUTES, one, two))
    assert generations(weir)["last_reload"] is None
    reload(weir, filled(ROUTES.replace("to: two", "to: tow"), two, one), result="failed")
    last = generations(weir)["last_reload"]
    assert last["result"] == "failed" and "weir.yaml:" in last["said"] and "tow" in last["said"]
    reload(weir, filled(ROUTES, two, one))
    last = generations(weir)["last_reload"]
    assert (last["result"], last["said"]) == ("done", "")


LISTEN = 'listeners: { web: "127.0.0.1:0"%s }\n'


def test_a_listener_that_stays_keeps_its_socket_and_its_connections(start_weir, auto):
    one, two = auto(body=b"one"), auto(body=b"two")
    weir = start_weir(LISTEN % "" + filled(ROUTES, one, two))
    address = weir.listeners["web"]
    with weir.client() as c:
        assert c.get("/a").body == b"one"
        reload(weir, LISTEN % ', more: "127.0.0.1:0"' + filled(ROUTES, one, two))
        weir.ready = weir._wait_ready()
        weir.listeners = weir.ready["listeners"]
        assert weir.listeners["web"] == address
        assert c.get("/a").body == b"one"
        with weir.client("more") as d:
            assert d.get("/b").body == b"two"
    weir.wait_metric("weir_client_connections_total", 2)


def test_a_listener_that_goes_ends_what_is_idle_and_finishes_what_is_not(
    start_weir, upstream, auto
):
    two = auto(body=b"two")
    both = LISTEN % ', more: "127.0.0.1:0"' + filled(ROUTES, upstream, two)
    weir = start_weir(both)
    idle, busy, stays = weir.client("more"), weir.client("more"), weir.client()
    assert idle.get("/b").body == b"two" and stays.get("/b").body == b"two"
    busy.send("GET /a HTTP/1.1\r\nHost: a\r\n\r\n")
    u = upstream.accept()
    u.request()
    reload(weir, LISTEN % "" + filled(ROUTES, upstream, two))
    idle.expect_closed()
    with pytest.raises(ConnectionRefusedError):
        connect(weir.listeners["more"])
    weir.wait_metric("weir_generations", 2)
    u.answer(b"late")
    response = busy.response()
    assert response.body == b"late" and response.get("Connection") == "close"
    busy.expect_closed()
    assert stays.get("/b").body == b"two"
    settled(weir)


def test_options_of_a_listener_change_for_open_connections_too(start_weir, upstream, auto):
    two = auto(body=b"two")
    head = 'listeners: { web: { bind: "127.0.0.1:0", via: %s } }\n'
    weir = start_weir(head % "false" + filled(ROUTES, upstream, two))
    u = None
    with weir.client() as c:
        for via in (None, "1.1 weir"):
            c.send("GET /a HTTP/1.1\r\nHost: a\r\n\r\n")
            u = u or upstream.accept()
            assert u.request().get("Via") == via
            u.answer(b"ok")
            assert c.response().body == b"ok"
            reload(weir, head % "true" + filled(ROUTES, upstream, two))
    settled(weir)


def test_what_only_counts_at_the_start_is_warned_of(start_weir, auto):
    one, two = auto(), auto()
    text = filled(ROUTES, one, two)
    weir = start_weir("workers: 1\n" + text)
    reload(weir, "workers: 2\n" + text)
    weir.said("workers: the change takes effect when weir starts again")


def test_hangups_while_a_reload_runs_come_to_the_last_file(start_weir, auto):
    one, two = auto(body=b"one"), auto(body=b"two")
    weir = start_weir(filled(ROUTES, one, two))
    for n in range(20):
        rewrite(weir, filled(ROUTES, *((one, two) if n % 2 else (two, one))))
        weir.signal(signal.SIGHUP)
    wait_for(lambda: body(weir, "/a") == b"one", "the last file to serve")
    settled(weir)


def test_sigterm_right_after_a_hangup_ends_well(start_weir, auto):
    one, two = auto(), auto()
    weir = start_weir(filled(ROUTES, one, two))
    with weir.client() as c:
        c.get("/a")
        rewrite(weir, filled(ROUTES, two, one))
        weir.signal(signal.SIGHUP)
        weir.stop()


def test_a_removed_unix_listener_takes_its_path_with_it(start_weir, auto):
    one, two = auto(body=b"one"), auto(body=b"two")
    both = 'listeners: { web: "127.0.0.1:0", local: "unix:$TMP/s" }\n' + filled(ROUTES, one, two)
    weir = start_weir(both)
    with weir.client("local") as c:
        assert c.get("/a").body == b"one"
    reload(weir, LISTEN % "" + filled(ROUTES, one, two))
    assert not (weir.tmp / "s").exists()
    reload(weir, both)
    with weir.client("local") as c:
        assert c.get("/b").body == b"two"


# ---- who waits for a limited pool --------------------------------------------------------------

LIMITED = """
routes: [ { to: app } ]
pools: { app: { endpoints: [ "$ONE" ], max_requests: 1, queue: { wait: 1h } } }
"""


@pytest.fixture(params=[1, 2], ids=["one", "two"])
def queued(request, start_weir, auto):
    """weir with so many workers, an upstream that holds one request, /0, and three clients that
    wait behind it, /1 to /3; all of them in the order of their paths."""
    up = auto(reply=lambda _: None)
    weir = start_weir(filled(LIMITED, up), workers=request.param)
    clients = []
    for n in range(4):
        clients.append(ask(weir, f"/{n}"))
        if n == 0:
            up.wait_held(1)
        else:
            weir.wait_metric("weir_pool_queued", n, pool="app")
    return weir, up, clients


def ask(weir, path):
    client = weir.client()
    client.send(f"GET {path} HTTP/1.1\r\nHost: a\r\n\r\n")
    return client


def serve(up, n=1):
    """Answers so many, one after the other."""
    for _ in range(n):
        up.wait_held(1)
        up.held.pop(0).sendall(up.ok())


def paths(up):
    return sorted(r.target for r in up.requests)


def test_who_waits_while_its_pool_stays_waits_on_in_the_same_queue(queued):
    weir, up, clients = queued
    reload(weir, filled(LIMITED.replace("{ to: app }", "{ name: new, to: app }"), up))
    clients.append(ask(weir, "/4"))
    weir.wait_metric("weir_pool_queued", 4, pool="app")
    weir.wait_metric("weir_generations", 2)
    serve(up, 5)
    assert [c.response().status for c in clients] == [200] * 5
    settled(weir)
    assert paths(up) == ["/0", "/1", "/2", "/3", "/4"]
    weir.wait_metric("weir_pool_requests_in_flight", 0, pool="app")
    weir.wait_metric("weir_pool_queued", 0, pool="app")


def test_who_waits_while_its_pool_changes_is_served_by_the_one_it_waits_for(queued, auto):
    weir, up, clients = queued
    two = auto(reply=lambda _: None)
    reload(weir, filled(LIMITED, two))
    clients += [ask(weir, "/4")]
    two.wait_held(1)  # which has places of its own
    clients += [ask(weir, "/5")]
    weir.wait_metric("weir_pool_queued", 1, pool="app")
    serve(up, 4)
    assert [c.response().status for c in clients[:4]] == [200] * 4
    settled(weir)
    weir.wait_metric("weir_pool_queued", 1, pool="app")  # of the pool that is now
    serve(two, 2)
    assert [c.response().status for c in clients[4:]] == [200] * 2
    assert paths(up) == ["/0", "/1", "/2", "/3"] and paths(two) == ["/4", "/5"]
    weir.wait_metric("weir_pool_requests_in_flight", 0, pool="app")


def test_who_waits_for_a_pool_that_has_no_limit_any_more_waits_on(queued):
    """And those that come later do not."""
    weir, up, clients = queued
    reload(weir, filled(LIMITED.replace(", max_requests: 1, queue: { wait: 1h }", ""), up))
    later = ask(weir, "/4")
    up.wait_held(2)
    up.held.pop(1).sendall(up.ok())
    assert later.response().status == 200
    serve(up, 4)
    assert [c.response().status for c in clients] == [200] * 4
    settled(weir)


def test_who_goes_away_leaves_a_queue_of_the_generation_before(queued, auto):
    weir, up, clients = queued
    two = auto(body=b"two")
    reload(weir, filled(LIMITED, two))
    with weir.counts("client_closed"):
        clients[2].close()
    serve(up, 3)
    assert [clients[n].response().status for n in (0, 1, 3)] == [200] * 3
    settled(weir)
    assert body(weir, "/") == b"two"


def test_weir_ends_while_somebody_waits_in_a_generation_before(queued, auto):
    weir, up, clients = queued
    reload(weir, "shutdown: 12s\n" + filled(LIMITED, auto(body=b"two")))
    weir.signal(signal.SIGINT)
    serve(up, 4)
    assert [c.response().status for c in clients] == [200] * 4
    assert weir.wait() == 0
    weir.stop()
