# SPDX-License-Identifier: Apache-2.0
"""Collectors of traces: what they are sent, and what happens when one is slow, away or out of its
mind, or becomes another one."""
import json
import re
import signal
import threading
import time

import pytest

from collector import Collector
from harness import ROOT, run_weir
from peers import Client, RefusedEndpoint, wait_for
from test_canary import begin
from test_readme import put
from test_reload import rewrite as put_file
from tracing import SOON, collector, config, results, traced, wait_results  # noqa: F401

def test_batches_have_their_size(traced):
    weir, to, _ = traced(export="every: 20ms, batch: 10, timeout: 1m")
    hold = to.hold = threading.Event()
    with weir.client() as c:
        c.get("/shop")
        wait_for(lambda: to.requests == 1, "the first batch")
        for _ in range(25):
            c.get("/shop")
    weir.access_log(26)  # a request's line is written behind its spans, which wait now
    hold.set()
    to.wait(52)
    assert to.batches == [2] + [10] * 5
    wait_results(weir, exported=52)


def test_fields_of_the_configuration_are_sent(traced):
    weir, to, _ = traced(export=f'{SOON}, headers: {{ authorization: "Bearer x", x-scope: y }}')
    with weir.client() as c:
        c.get("/shop")
    to.wait(2)
    sent = {name.lower(): value for name, value in to.headers[0].items()}
    assert (sent["authorization"], sent["x-scope"]) == ("Bearer x", "y")
    assert sent["host"] == f"127.0.0.1:{to.port}"


def test_a_collector_with_tls(start_weir, collector, auto, authority):
    to, up = collector(context=authority.server_context()), auto()
    weir = start_weir(config(f"to: {to.url}, {SOON}, ca: {authority.cert}", [up.address]))
    with weir.client() as c:
        c.get("/shop")
    to.wait(2)


@pytest.mark.parametrize("status", [429, 502, 503, 504])
def test_a_busy_collector_is_asked_again(traced, status):
    weir, to, _ = traced(lambda n: (status, {"Retry-After": "1"}, b"") if n == 0 else None)
    began = time.monotonic()
    with weir.client() as c:
        c.get("/shop")
    to.wait(2)
    assert time.monotonic() - began >= 1
    assert to.requests == 2
    wait_results(weir, exported=2)


@pytest.mark.parametrize("status", [400, 401, 404, 413, 500])
def test_a_collector_that_refuses_is_not_asked_again(traced, status):
    weir, to, _ = traced(lambda n: (status, {}, b"no") if n == 0 else None)
    with weir.client() as c:
        c.get("/shop")
        wait_results(weir, rejected=2)
        c.get("/shop")
    to.wait(2)
    wait_results(weir, rejected=2, exported=2)
    weir.said(f"answered {status}", 1)


def test_a_part_may_be_refused(traced):
    body = json.dumps({"partialSuccess": {"rejectedSpans": "1", "errorMessage": "too\nold"}})
    weir, to, _ = traced(lambda n: (200, {"Content-Type": "application/json"}, body.encode()))
    with weir.client() as c:
        c.get("/shop")
    wait_results(weir, rejected=1, exported=1)
    weir.said("did not take 1 of 2 spans: too?old")


@pytest.mark.parametrize(
    "body",
    [b"", b"[]", b"null", b"{", b'{"partialSuccess":[1]}', b"\xff\0" * 500],
    ids=["empty", "list", "null", "half", "odd", "noise"],
)
def test_an_answer_without_sense_is_an_answer(traced, body):
    weir, to, _ = traced(lambda n: (200, {}, body))
    with weir.client() as c:
        c.get("/shop")
    to.wait(2)
    wait_results(weir, exported=2)


def test_a_collector_that_comes_back_gets_what_waited(start_weir, closing, auto):
    first = Collector()
    up, port = auto(), first.port
    first.close()
    weir = start_weir(config(f"to: 'http://127.0.0.1:{port}', {SOON}", [up.address]))
    with weir.client() as c:
        for _ in range(10):
            assert c.get("/shop").status == 200
        weir.said("are sent again")
        to = closing(Collector(port=port))
        to.wait(20)
    wait_results(weir, exported=20)


def test_a_silent_collector_costs_bounded_memory(traced):
    weir, to, _ = traced(export=f"{SOON}, timeout: 1m", options={"workers": 1})
    hold = to.hold = threading.Event()
    agent = "x" * 256
    with weir.client() as c:
        c.get("/shop")
        wait_for(lambda: to.requests == 1, "the first batch")
        sent = 1
        while results(weir)["dropped"] == 0:
            for _ in range(200):
                c.get("/shop", extra=f"User-Agent: {agent}\r\n")
            sent += 200
            assert sent < 20000
    hold.set()
    wait_for(
        lambda: sum(results(weir).values()) == 2 * sent, "each span to be exported or dropped"
    )
    counted = results(weir)
    assert counted["failed"] == counted["rejected"] == 0
    assert len(to.spans) == counted["exported"] > 1000


# ---- life ----------------------------------------------------------------------------------------


def rewrite(weir, text):
    """The configuration that it was started with, with another one behind what it was given."""
    path = weir.tmp / "weir.yaml"
    path.write_text(weir._complete(text, None))
    before = weir.metric("weir_reloads_total", result="done")
    weir.signal(signal.SIGHUP)
    weir.wait_metric("weir_reloads_total", before + 1, result="done")


def test_a_reload_changes_the_collector(start_weir, collector, auto):
    one, two, up = collector(), collector(), auto()
    weir = start_weir(config(f"to: {one.url}, {SOON}", [up.address]))
    with weir.client() as c:
        c.get("/shop")
        one.wait(2)
        rewrite(weir, config(f"to: {two.url}, {SOON}", [up.address], tracing="sample: 100%, service: b"))
        c.get("/shop")
        assert {s.resource["service.name"] for s in two.wait(2)} == {"b"}
    wait_results(weir, exported=4)


def test_spans_that_wait_go_to_the_next_collector(start_weir, collector, auto, closing):
    away = closing(RefusedEndpoint()).address
    two, up = collector(), auto()
    weir = start_weir(config(f"to: 'http://{away}', {SOON}", [up.address]))
    with weir.client() as c:
        c.get("/shop")
        weir.said("are sent again")
        rewrite(weir, config(f"to: {two.url}, {SOON}", [up.address]))
        two.wait(2)
        c.get("/shop")
        two.wait(4)


def test_a_reload_turns_it_on_and_off(start_weir, collector, auto):
    to, up = collector(), auto()
    off = f"routes: [ {{ match: {{ path: /shop }}, to: app }} ]\npools: {{ app: [ '{up.address}' ] }}\n"
    weir = start_weir(off)
    with weir.client() as c:
        c.get("/shop")
        assert up.requests[-1].get("traceparent") is None
        rewrite(weir, config(f"to: {to.url}, {SOON}", [up.address]))
        c.get("/shop")
        to.wait(2)
        rewrite(weir, off)
        c.get("/shop")
        assert up.requests[-1].get("traceparent") is None
        rewrite(weir, config(f"to: {to.url}, {SOON}", [up.address]))
        c.get("/shop")
        to.wait(4)
    wait_results(weir, exported=4)


def test_a_canary_s_spans_do_not_wait_until_it_serves(start_weir, collector, auto):
    """Nothing is exported beside it; and once it is rolled back, nothing at all."""
    to, up = collector(), auto()
    off = f"routes: [ {{ match: {{ path: /shop }}, to: app }} ]\npools: {{ app: [ '{up.address}' ] }}\n"
    weir = start_weir(off, workers=1)
    put_file(weir, config(f"to: {to.url}, {SOON}", [up.address]))
    asked = begin(weir, canary="50%", **{"for": "1h"})
    with weir.client() as c:
        for _ in range(2):
            c.get("/shop")
        to.wait(2)
        wait_results(weir, exported=2)
        put_file(weir, off)
        with Client(weir.admin) as admin:
            admin.get("/reload", host="admin", method="POST", extra="X-Weir: 1\r\n")
        assert asked.wait()[0] == 422
        for _ in range(2):
            c.get("/shop")
    wait_results(weir, exported=2)


def switch_off(weir, up):
    rewrite(weir, f"routes: [ {{ match: {{ path: /shop }}, to: app }} ]\npools: {{ app: [ '{up.address}' ] }}\n")


def test_what_is_left_when_it_is_turned_off_goes_to_where_it_went(traced):
    weir, to, up = traced(export="every: 1h")
    with weir.client() as c:
        c.get("/shop")
        assert not to.spans
        switch_off(weir, up)
        to.wait(2)
    wait_results(weir, exported=2)


def test_what_is_left_goes_to_no_later_collector(traced, collector):
    weir, to, up = traced(export=f"{SOON}, timeout: 1m")
    to.hold, later = threading.Event(), collector()
    with weir.client() as c:
        c.get("/shop")
        wait_for(lambda: to.requests == 1, "the first batch")
        c.get("/shop")
        switch_off(weir, up)
        to.hold.set()
        to.wait(4)
        rewrite(weir, config(f"to: {later.url}, {SOON}", [up.address]))
        c.get("/shop")
        later.wait(2)
    wait_results(weir, exported=6)


def test_the_end_tells_what_is_left(traced):
    weir, to, _ = traced(export="every: 1h", top="shutdown: 6s")
    with weir.client() as c:
        for _ in range(3):
            c.get("/shop")
        assert not to.spans
    weir.stop()
    to.wait(6)


def test_the_end_does_not_wait_for_a_silent_collector(traced):
    weir, to, _ = traced(export=SOON, top="shutdown: 2s")
    to.hold = threading.Event()
    with weir.client() as c:
        c.get("/shop")
        wait_for(lambda: to.requests == 1, "the batch")
    began = time.monotonic()
    weir.stop()
    weir.said("has not answered in time; 2 spans are lost")
    assert time.monotonic() - began < 20


def test_signals_are_heeded_while_the_end_waits_for_the_collector(traced):
    """None of them kills it, and SIGTERM has it wait no more."""
    weir, to, _ = traced(export="every: 1h, timeout: 1m", top="shutdown: 60s")
    to.hold = threading.Event()
    with weir.client() as c:
        c.get("/shop")
    weir.signal(signal.SIGTERM)
    wait_for(lambda: to.requests == 1, "the last batch")
    for number, said in (
        (signal.SIGHUP, "SIGHUP: refused: this process drains already"),
        (signal.SIGUSR1, "SIGUSR1: the access log is opened again"),
        (signal.SIGUSR2, "SIGUSR2: refused: this process drains already"),
    ):
        weir.signal(number)
        wait_for(lambda word=said: word in weir.stderr(), said)
    weir.signal(signal.SIGTERM)
    weir.stop()
    weir.said("has not answered in time; 2 spans are lost")


def test_the_end_does_not_wait_for_a_collector_that_is_away(start_weir, closing, auto):
    away, up = closing(RefusedEndpoint()).address, auto()
    weir = start_weir(config(f"to: 'http://{away}', every: 1h", [up.address]))
    with weir.client() as c:
        c.get("/shop")
    weir.stop()
    weir.said("2 spans are lost")


def test_a_reload_cannot_read_what_the_sandbox_forbids(traced, authority):
    weir, to, up = traced()
    if "no landlock" in weir.stderr():
        pytest.skip("there is no landlock here")
    new = config(f"to: 'https://127.0.0.1:1', ca: {authority.cert}", [up.address])
    (weir.tmp / "weir.yaml").write_text(weir._complete(new, None))
    weir.signal(signal.SIGHUP)
    weir.wait_metric("weir_reloads_total", 1, result="failed")
    weir.said(f"cannot read {authority.cert}: Permission denied")
    with weir.client() as c:
        c.get("/shop")
    to.wait(2)  # as before


def test_it_works_in_the_sandbox(traced):
    weir, to, _ = traced(top="sandbox: true")
    with weir.client() as c:
        c.get("/shop")
    to.wait(2)


@pytest.mark.parametrize(
    "export,says",
    [
        ("to: 'http://'", "is no URL"),
        ("to: 'ftp://a'", "is no URL"),
        ("to: 'http://a:99999'", "a:99999"),
        ("to: 'https://a', ca: /nowhere/ca.pem", "/nowhere/ca.pem"),
    ],
)
def test_what_is_wrong_is_said(export, says, auto, tmp_path):
    path = tmp_path / "weir.yaml"
    path.write_text("version: 1\nlisteners: { web: '127.0.0.1:0' }\n"
                    + config(export, ["127.0.0.1:1"]))
    got = run_weir("run", "-c", str(path))
    assert got.returncode == 1 and says in got.stderr


def test_readme_s_example(start_weir, collector, auto, authority, tmp_path):
    """What README.md shows under "Tracing", as it stands there but for addresses and files."""
    text = (ROOT / "README.md").read_text().split("\n## Tracing\n")[1].split("\n## ")[0]
    first, second = re.findall(r"^```yaml\n(.*?)^```", text, re.M | re.S)
    plain, secure, up = collector(), collector(context=authority.server_context()), auto()
    rest = f"routes: [ {{ match: {{ path: /shop }}, to: app }} ]\npools: {{ app: [ '{up.address}' ] }}\n"
    short = put(put(first, "http://localhost:4318", plain.url), "sample: 10%", "sample: 100%")
    with start_weir(short + rest).client() as c:
        c.get("/shop")
    assert {s.resource["service.name"] for s in plain.wait(2)} == {"shop-edge"}
    long = re.sub(r"^  export:.*\n", "", put(first, "sample: 10%", "sample: 100%"), flags=re.M)
    (tmp_path / "token").write_text("secret\n")
    long += put(second, "https://collector.internal:4318", secure.url)
    long = put(long, "/etc/weir/ca.pem", str(authority.cert))
    long = put(long, "/etc/weir/collector.token", str(tmp_path / "token"))
    with start_weir(long + rest).client() as c:
        c.get("/shop")
    assert {s.resource["service.name"] for s in secure.wait(2)} == {"shop-edge"}
    assert secure.headers[0]["authorization"] == "Bearer secret"
