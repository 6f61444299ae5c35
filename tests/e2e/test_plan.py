# SPDX-License-Identifier: Apache-2.0
"""weir plan: what a running weir would change for a file, and who is there; and weir reload."""
import json

import pytest

from harness import run_weir
from peers import Client
from test_reload import ROUTES, body, filled, generations, rewrite, settled

TWO = 'listeners: { web: "127.0.0.1:0", more: "unix:$TMP/more" }\n'


def plan(weir, text, *args):
    new = weir.tmp / "new.yaml"
    new.write_text(weir._complete(text, None))
    return run_weir("plan", str(new), "--admin", weir.admin, *args)


def lines(weir, text):
    got = plan(weir, text)
    assert (got.returncode, got.stderr) == (0, ""), got.stderr
    return got.stdout.splitlines()


@pytest.fixture
def served(start_weir, auto, upstream):
    """(weir, its text): route a leads to a scripted upstream, b to one that answers."""
    text = TWO + filled(ROUTES, upstream, auto(body=b"two"))
    return start_weir(text), text


def test_the_same_file_changes_nothing(served):
    weir, text = served
    assert lines(weir, text) == ["nothing would change"]
    assert lines(weir, "# a comment\n" + text) == ["nothing would change"]


def test_what_is_added_changed_and_removed(served, auto):
    weir, text = served
    third = auto()
    text = text.replace(', more: "unix:$TMP/more"', ', other: "127.0.0.1:0"')
    text = text.replace("name: b, match: { path: /b }", "name: c, match: { path: /b }")
    text = text.replace("path: /a", "path: /aa")
    text = text.replace("one: [", f"three: [ '{third.address}' ], one: [ '{third.address}',")
    got = lines(weir, "log: error\nworkers: 3\n" + text)
    assert got == [
        "+ listener other",
        "- listener more",
        "+ route c",
        "~ route a",
        "- route b",
        "+ pool three",
        "~ pool one",
        f"+ endpoint {third.address} of pool one",
        "~ setting workers; takes effect when weir starts again",
        "~ setting log",
        "4 added, 4 changed, 2 removed; 0 client connections to be closed",
    ]
    weir.wait_metric("weir_generation", 1)


def test_who_is_there_is_counted_where_something_changes_and_nowhere_else(served, upstream):
    weir, text = served
    with weir.client() as busy, weir.client("more") as idle:
        assert idle.get("/b").body == b"two"
        busy.send("GET /a HTTP/1.1\r\nHost: a\r\n\r\n")
        u = upstream.accept()
        u.request()
        weir.wait_metric("weir_requests_in_flight", 1)  # the other is over, for its worker as well
        # an unrelated route
        got = lines(weir, text.replace("path: /b", "path: /bb"))
        assert got == ["~ route b", "0 added, 1 changed, 0 removed; 0 client connections to be closed"]
        got = lines(weir, text.replace("path: /a", "path: /aa"))
        assert got[0] == "~ route a; 1 request in flight, which end as they began"
        got = lines(weir, text.replace("one: [", "one: [ '127.0.0.1:9',"))
        assert got[0] == "~ pool one; 1 request in flight, which end as they began"
        got = lines(weir, text.replace(', more: "unix:$TMP/more"', ""))
        assert got == [
            "- listener more; 1 client connection to be closed once idle",
            "0 added, 0 changed, 1 removed; 1 client connections to be closed",
        ]
        got = lines(weir, text.replace('more: "unix', 'less: "unix'))
        assert got[:2] == ["+ listener less", "- listener more"]
        listed = text[text.index("two: [") : text.rindex("]") + 1]
        other = listed.replace("two: [", "two: { endpoints: [") + ", upstream: { protocol: h2 } }"
        got = lines(weir, text.replace(listed, other))
        assert got[0] == "~ pool two; 1 connection to endpoints to be closed once idle"
        u.answer(b"ok")
        assert busy.response().body == b"ok"


FOUND = """
routes: [ {{ to: app }} ]
pools: {{ app: {{ file: {tmp}/found.yaml{more} }} }}
"""


def test_what_is_in_flight_at_endpoints_that_were_found_is_counted(start_weir, tmp, upstream):
    there = upstream.address
    (tmp / "found.yaml").write_text(f"- '{there}'\n")
    weir = start_weir(FOUND.format(tmp=tmp, more=""))
    flies = "1 request in flight, which end as they began"
    with weir.client() as busy:
        busy.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        u = upstream.accept()
        u.request()
        # another policy: the endpoints stay
        got = lines(weir, FOUND.format(tmp=tmp, more=", balance: round_robin"))
        assert got[:-1] == [f"~ pool app; {flies}"]
        # another source, which has yet to answer: they stay as long
        got = lines(weir, FOUND.format(tmp=tmp, more="").replace("found.yaml", "other.yaml"))
        assert got[:-1] == [f"~ pool app; {flies}"]
        # a list of them: one of those found is in it, or none
        listed = FOUND.format(tmp=tmp, more="").replace(f"file: {tmp}/found.yaml", "endpoints: %s")
        got = lines(weir, listed % f"['{there}', '127.0.0.1:9']")
        assert got[:-1] == [f"~ pool app; {flies}", "+ endpoint 127.0.0.1:9 of pool app"]
        got = lines(weir, listed % "['127.0.0.1:9']")
        assert got[:-1] == [f"~ pool app; {flies}", "+ endpoint 127.0.0.1:9 of pool app",
                            f"- endpoint {there} of pool app; {flies}"]
        # gone altogether
        got = lines(weir, listed.replace("app", "web") % "['127.0.0.1:9']")
        assert any(line.startswith(f"- pool app; {flies}") for line in got)
        u.answer(b"ok")
        assert busy.response().body == b"ok"


def test_a_list_stays_until_what_is_to_be_found_is(start_weir, tmp, upstream):
    found = FOUND.format(tmp=tmp, more="")
    listed = found.replace(f"file: {tmp}/found.yaml", f"endpoints: [ '{upstream.address}' ]")
    weir = start_weir(listed)
    assert lines(weir, found)[:-1] == ["~ pool app"]


def test_while_a_reload_is_on_its_way(start_weir, tmp, upstream):
    """It is compared with what comes, all of it: one of the two has many more of everything."""
    few = FOUND.format(tmp=tmp, more="").replace(f"file: {tmp}/found.yaml", "endpoints: [ '127.0.0.1:9' ]")
    routes = "".join(f"  - {{ match: {{ path: /{i} }}, to: p{i} }}\n" for i in range(300))
    pools = "".join(f"  p{i}: [ '127.0.0.1:9' ]\n" for i in range(300))
    many = f"routes:\n{routes}pools:\n{pools}"
    weir = start_weir(few)
    whole = weir._complete("routes: [ { to: z } ]\npools: { z: [ '127.0.0.1:9' ] }", None)
    post = f"POST /plan HTTP/1.1\r\nHost: a\r\nX-Weir: 1\r\nContent-Length: {len(whole)}\r\n\r\n{whole}"
    with Client(weir.admin) as asks, Client(weir.admin) as reloads:
        for text in [many, few] * 5:
            rewrite(weir, text)
            reloads.send("POST /reload HTTP/1.1\r\nHost: a\r\nX-Weir: 1\r\nContent-Length: 0\r\n\r\n")
            asks.send(post * 20)
            for _ in range(20):
                got = asks.response("POST")
                changes = [line[0] for line in got.body.decode().splitlines()[:-1]]
                assert got.status == 200 and changes.count("-") in (1, 599), got.body[:300]
            assert reloads.response("POST").status == 200


def test_as_json(served):
    weir, text = served
    got = plan(weir, text.replace("path: /b", "path: /bb"), "--json")
    assert got.returncode == 0
    told = json.loads(got.stdout)
    (change,) = told["changes"]
    assert change == {
        "change": "changed", "kind": "route", "name": "b", "restart": False, "in_flight": 0,
        "client_connections_closed": 0, "upstream_connections_closed": 0,
    }
    assert told["client_connections_closed"] == 0


def test_a_broken_file_is_told_as_by_check(served):
    weir, text = served
    got = plan(weir, text.replace("to: two", "to: tow"))
    check = run_weir("check", str(weir.tmp / "new.yaml"))
    assert got.returncode == 1 and got.stdout == ""
    assert got.stderr.splitlines() == check.stderr.splitlines()[:-1] and "new.yaml:" in got.stderr
    assert run_weir("plan", str(weir.tmp / "none.yaml"), "--admin", weir.admin).returncode == 1


def test_a_plan_of_a_large_file(served):
    weir, text = served
    more = "".join(f"  - {{ name: m{n}, match: {{ path: /m{n} }}, to: two }}\n" for n in range(5000))
    got = lines(weir, text.replace("pools:", more + "pools:"))
    assert got[-1].startswith("5000 added, 0 changed, 0 removed;")


def test_a_plan_needs_a_body(served):
    weir, _ = served
    with Client(weir.admin) as c:
        assert c.get("/plan", host="admin", method="POST", extra="X-Weir: 1\r\n").status == 400


# ---- weir reload -------------------------------------------------------------------------------


def test_reload_returns_when_the_file_serves(start_weir, auto):
    one, two = auto(body=b"one"), auto(body=b"two")
    weir = start_weir(filled(ROUTES, one, two))
    rewrite(weir, filled(ROUTES, two, one))
    got = run_weir("reload", "--admin", weir.admin)
    assert (got.returncode, got.stdout, got.stderr) == (0, "generation 2 serves\n", "")
    assert body(weir, "/a") == b"two"


def test_reload_says_what_is_wrong_as_check_does(start_weir, auto):
    one, two = auto(body=b"one"), auto(body=b"two")
    weir = start_weir(filled(ROUTES, one, two))
    rewrite(weir, filled(ROUTES.replace("to: two", "to: tow"), two, one))
    got = run_weir("reload", "--admin", weir.admin)
    check = run_weir("check", str(weir.tmp / "weir.yaml"))
    assert got.returncode == 1 and got.stdout == ""
    assert got.stderr.splitlines() == [
        *check.stderr.splitlines()[:-1], "nothing has changed; generation 1 serves"]
    with_file = run_weir("reload", "-c", str(weir.tmp / "weir.yaml"))
    assert with_file.returncode == 1 and with_file.stderr == check.stderr.rsplit("\n", 2)[0] + "\n"


def test_reload_with_a_canary_returns_when_it_is_decided(start_weir, auto):
    one, two = auto(body=b"one"), auto(body=b"two")
    weir = start_weir(filled(ROUTES, one, two))
    rewrite(weir, filled(ROUTES, two, one))
    canary = ["--canary", "5%", "--for", "100ms"]
    got = run_weir("reload", "--admin", weir.admin, *canary, "--guard", "5xx<+1%,p99<+20%")
    assert got.returncode == 1 and "too few to judge" in got.stderr
    got = run_weir("reload", "--admin", weir.admin, *canary)
    assert (got.returncode, got.stdout) == (0, "generation 3 serves\n")
    settled(weir)
    assert [g["state"] for g in generations(weir)["generations"]] == ["serves"]


@pytest.mark.parametrize(
    "args,says",
    [
        (["--canary", "5%"], "for how long?"),
        (["--canary", "101%", "--for", "1s"], '"101%"'),
        (["--guard", "5xx<1%"], "--canary says how much"),
        (["--canary", "5%", "--for", "1s", "--guard", "x"], '"x" is no rule'),
        (["file.yaml"], "unexpected argument"),
        (["--sometimes"], "there is no option --sometimes"),
    ],
)
def test_a_wrong_command_line_is_a_usage_error(args, says):
    got = run_weir("reload", *args)
    assert got.returncode == 2 and says in got.stderr
