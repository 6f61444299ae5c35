# SPDX-License-Identifier: Apache-2.0
"""What holds when the network fails in every way it can: connections reset, accept and connect that
fail, reads and writes of a byte (tests/faults/faults.c). WEIR_SEEDS="7 8" takes other seeds than
those of CI; a failing test names its seed.
"""
import json
import os
import threading
from collections import Counter

import pytest

from faultpage import FaultPage
from harness import assert_authored, needs_faults
from peers import Client, wait_for
from wire import WireError

pytestmark = [needs_faults, pytest.mark.exact_calls]  # each test brings its own faults

SEEDS = [int(s) for s in os.environ.get("WEIR_SEEDS", "1 2").split()]
MILD = "short=20%,eagain=5%,eintr=5%"
HOSTILE = (
    "reset=1%,accept_emfile=1%,accept_enfile=1%,accept_aborted=2%,"
    "connect_refused=4%,connect_timedout=3%,connect_addrnotavail=3%"
)
# What may be the matter when only the network is.
UPSTREAM = {
    "connect_refused",
    "connect_failed",
    "connect_timeout",
    "upstream_unsent",
    "upstream_reset",
    "upstream_closed",
}
CUT = UPSTREAM | {"response_incomplete", "client_reset", "client_closed"}
BODY = b"0123456789abcdef" * 4096  # 64 KiB

# No endpoint is ejected, though five in a row may fail: what is held at the end is spread over all.
CONFIG = """
workers: 1
shutdown: 2s
routes: [ { to: app, retry: { attempts: RETRIES } } ]
pools:
  app:
    { balance: least_conn, outlier: none, endpoints: [ ENDPOINTS ], upstream: { max_idle: IDLE } }
"""


def config(upstreams, retries=1, idle=0):
    addresses = ", ".join(f"'{u.address}'" for u in upstreams)
    text = CONFIG.replace("ENDPOINTS", addresses).replace("RETRIES", str(retries))
    return text.replace("IDLE", str(idle))


def answer(request):
    if request.target.startswith("/hold"):
        return None
    if request.target.startswith("/ws"):
        return b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\nhello"
    if request.target.startswith("/chunked"):
        return b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + b"".join(
            b"%x\r\n%b\r\n" % (len(p), p) for p in (BODY[:1], BODY[1:5000], BODY[5000:], b"")
        )
    body = BODY if request.target.startswith("/big") else request.target.encode()
    return b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)


class Tally:
    def __init__(self):
        self.right, self.cut, self.authored, self.wrong = 0, 0, Counter(), []


def one(c, path, tally):
    """One request on a connection, and what became of it. False: the connection is over."""
    if path.startswith("/post"):
        c.send(f"POST {path} HTTP/1.1\r\nHost: a\r\nContent-Length: {len(BODY)}\r\n\r\n")
        c.send(BODY)
    elif path.startswith("/ws"):
        c.send(f"GET {path} HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n")
    else:
        c.send(f"GET {path} HTTP/1.1\r\nHost: a\r\n\r\n")
    response = c.response()
    if response.status == 101:
        tally.right += c.recv_exact(5) == b"hello"
        return False
    if response.status == 200:
        large = path.startswith(("/big", "/chunked"))
        assert response.body == (BODY if large else path.encode()), f"{path}: a wrong answer"
        tally.right += 1
        return response.get("Connection") != "close"
    reason = response.get("Proxy-Status").split('"')[1]
    assert reason in UPSTREAM, f"{path}: {response.wire!r}"
    assert_authored(response, response.status, reason)
    tally.authored[reason] += 1
    return response.get("Connection") != "close"


def is_cut(error):
    """Whether the connection was closed or reset under a client: not a wait in vain."""
    return isinstance(error, (OSError, WireError)) or "closed" in str(error)


def client_main(weir, paths, tally):
    paths = list(paths)
    while paths:
        try:
            with Client(weir.listeners["web"]) as c:
                while paths and one(c, paths.pop(0), tally):
                    pass
        except (AssertionError, OSError, WireError) as e:
            if is_cut(e) and "wrong answer" not in str(e):
                tally.cut += 1
            else:
                tally.wrong.append(e)


def storm(weir, clients, requests):
    """So many clients at once, with so many requests each: [Tally]."""
    kinds = ("/small", "/big", "/post", "/chunked", "/small", "/post", "/ws")
    tallies = [Tally() for _ in range(clients)]
    threads = [
        threading.Thread(
            target=client_main,
            args=(weir, [f"{kinds[(i + n) % 7]}/{i}/{n}" for n in range(requests)], tally),
        )
        for i, tally in enumerate(tallies)
    ]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    return tallies


def open_files(weir):
    """And one, of the admin's connection that asks: those before it are gone by then."""
    with Client(weir.admin) as c:
        assert c.get("/livez", host="admin").status == 200
        return weir.open_files()


@pytest.mark.parametrize("seed", SEEDS)
def test_in_a_storm_of_faults_every_request_has_an_end_and_nothing_stays_behind(
    start_weir, auto, tmp, seed
):
    page, ups = FaultPage(tmp / "page"), [auto(answer) for _ in range(3)]
    weir = start_weir(
        config(ups), env=page.env, faults=f"seed={seed},spare=main,{MILD},{HOSTILE}"
    )
    page["off"] = 1
    with weir.client() as c:
        assert c.get("/warm").body == b"/warm"
    weir.wait_metric("weir_client_connections", 0)
    weir.wait_metric("weir_upstream_connections", 0)
    weir.wait_quiet()
    fds = open_files(weir)

    page["off"] = 0
    tallies = storm(weir, 6, 42)
    page["off"] = 1

    wrong = [e for t in tallies for e in t.wrong]
    assert not wrong, f"seed {seed}: {len(wrong)} wrong, the first: {wrong[0]}"
    right, cut = sum(t.right for t in tallies), sum(t.cut for t in tallies)
    authored = sum((t.authored for t in tallies), Counter())
    assert right + cut + sum(authored.values()) == 6 * 42
    assert 6 * 42 / 2 < right < 6 * 42, (right, cut, authored)
    for name in ("reset", "short", "eagain", "eintr"):
        assert page[name] > 0, f"seed {seed}: no {name} struck"
    connects = ("connect_refused", "connect_timedout", "connect_addrnotavail")
    assert sum(page[name] for name in connects) > 0, f"seed {seed}: no connect failed"

    # Everything that began has ended, and has its line and its reason.
    weir.wait_metric("weir_requests_in_flight", 0)
    weir.wait_metric("weir_client_connections", 0)
    weir.wait_metric("weir_upstream_connections", 0)
    weir.wait_quiet()
    assert open_files(weir) == fds, f"seed {seed}: descriptors"
    weir.settle_log()
    lines = [json.loads(line) for line in weir._log_lines()][1:]
    ends = Counter(line["reason"] or "done" for line in lines)
    assert len(lines) == weir.metric("weir_requests_total") - 1
    assert set(ends) <= CUT | {"done"}, ends
    tunnels = sum(line["status"] == 101 and line["reason"] != "done" for line in lines)
    assert ends["done"] + tunnels >= right, (right, tunnels, ends)
    for reason, count in authored.items():
        assert ends[reason] >= count, (authored, ends)
    for reason in set(ends) - {"done"}:
        weir.wait_metric("weir_errors_total", ends[reason], reason=reason)

    # A POST is never done twice.
    posts = Counter(r.target for u in ups for r in u.requests if r.method == "POST")
    assert posts and max(posts.values()) == 1, posts.most_common(3)

    # The endpoints' leases are back: what is held now is spread evenly.
    held = [weir.client() for _ in range(6)]
    for i, c in enumerate(held):
        c.send("GET /hold HTTP/1.1\r\nHost: a\r\n\r\n")
        wait_for(lambda: sum(len(u.held) for u in ups) == i + 1, "the request to be held")
    assert [len(u.held) for u in ups] == [2, 2, 2]
    for u in ups:
        u.release()
    assert all(c.response().status == 200 for c in held)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize(
    "faults,idle",
    [
        ("connect_refused=10%,connect_timedout=10%", 0),
        ("connect_addrnotavail=15%", 0),
        ("reset=8%", 0),
        ("reset=8%", 8),
        ("reset=3%,connect_refused=8%,eagain=10%,eintr=10%", 8),
    ],
    ids=["connect", "no address", "reset", "reset of idle ones too", "all"],
)
def test_idempotent_requests_survive_what_can_be_tried_again(
    start_weir, auto, tmp, seed, faults, idle
):
    """No short reads here: once a byte of an answer has come, nothing is sent again."""
    page, ups = FaultPage(tmp / "page"), [auto(answer) for _ in range(8)]
    weir = start_weir(
        config(ups, retries=7, idle=idle),
        env=page.env,
        faults=f"seed={seed},only=connected,{faults}",
    )
    with weir.client() as c:
        for i in range(150):
            response = c.get(f"/small/{i}")
            assert response.body == f"/small/{i}".encode(), (f"seed {seed}", response.wire)
    weir.wait_metric("weir_requests_in_flight", 0)
    # A conn that was kept and is dead is replaced, which is no retry.
    assert idle or weir.metric("weir_retries_total") > 0
    assert weir.metric("weir_attempts_failed_total") > 0
    weir.wait_metric("weir_errors_total", 0)


@pytest.mark.parametrize("error", ["emfile", "enfile"])
def test_accept_that_fails_pauses_and_loses_no_client(start_weir, auto, tmp, error):
    page, up = FaultPage(tmp / "page"), auto(answer)
    weir = start_weir(config([up]), env=page.env, faults=f"spare=main,accept_{error}=50%")
    for i in range(12):
        with weir.client() as c:
            assert c.get(f"/small/{i}").status == 200
    assert page[f"accept_{error}"] > 0
    assert weir.metric("weir_accept_paused_total") > 0
    weir.wait_metric("weir_client_connections_total", 12)


def test_a_connection_reset_by_the_preload_is_reset_for_the_peer_as_well(start_weir, auto, tmp):
    """Else the tests above would prove less than they say."""
    page, up = FaultPage(tmp / "page"), auto(answer)
    weir = start_weir(config([up]), env=page.env, faults="only=accepted,spare=main,reset=100%")
    with weir.client() as c:
        c.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        c.expect_reset()
    assert page["reset"] == 1
    assert up.connections == 0
    weir.wait_metric("weir_client_connections", 0)
