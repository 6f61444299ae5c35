# SPDX-License-Identifier: Apache-2.0
"""The benchmark harness (bench/run.py): what it makes of scenario files, samples and results, with
stand-ins for proxies and generators; and one tiny run of everything."""
import dataclasses
import io
import json
import os
import shutil
import signal
import subprocess
import sys
import xml.etree.ElementTree as ET
from pathlib import Path
from unittest import mock

import pytest

import harness

ROOT = Path(__file__).resolve().parents[2]
BENCH = ROOT / "bench"
BUILD = harness.WEIR.resolve().parent
sys.path.insert(0, str(BENCH))

from weirbench import load, measure, plot, progress, proxies, report  # noqa: E402
from weirbench import runner, scenario, setup  # noqa: E402
from weirbench.process import BenchError, Server  # noqa: E402

LIMIT = 300                         # seconds for a run, under a sanitizer on a busy machine too


# ---- scenario files ------------------------------------------------------------------------------

def read(tmp, text, name="mine"):
    """As on a machine of four CPUs."""
    path = tmp / f"{name}.yaml"
    path.write_text(text)
    with mock.patch("os.sched_getaffinity", return_value={0, 1, 2, 3}):
        return scenario.load(path)


def test_every_scenario_of_the_tree_is_valid_and_some_run_by_default():
    found = scenario.load_all()
    assert {"keepalive", "close", "idle", "routes", "websocket"} <= {s.name for s in found}
    assert [s.order for s in found] == sorted(s.order for s in found)
    assert any(s.default for s in found) and any(s.quick for s in found)


def test_a_scenario_gets_its_defaults_and_what_it_says(tmp_path):
    one = read(tmp_path, "about: mine\nworkload: get\n")
    assert (one.name, one.workload, one.params["bytes"], one.connections) == ("mine", "get", 13, 64)
    assert one.proxies == tuple(proxies.PROXIES) and one.latency is None and not one.needs
    two = read(tmp_path, """
about: mine
workload: { name: upload, bytes: 2000 }
proxies: [weir, nginx]
connections: 3
latency: { rounds: 4 }
beside: { slow: { kind: body, connections: 7 } }
pinning: { proxy: 0, load: "0,2-3" }
""")
    assert two.proxies == ("weir", "nginx") and two.connections == 3
    assert two.latency["rounds"] == 4 and two.params == {"bytes": 2000, "tls": False}
    assert two.slow == {"connections": 7, "kind": "body", "interval": 100}
    assert (two.proxy_cpu, two.load_cpus) == ("0", "0,2-3")
    assert two.cells()[0].path == "/sink"


@pytest.mark.parametrize("text, line, words", [
    ("", 1, "empty"),
    ("- a\n- b\n", 1, "must be a map"),
    ("about: x\nworkload: get\nround: 3\n", 3, "no key 'round'; it may have about"),
    ("about: x\nabout: y\nworkload: get\n", 2, "second time"),
    ("workload: get\n", 1, "'about' is missing"),
    ("about: x\n", 1, "'workload' is missing"),
    ("about: x\nworkload: gat\n", 2, "'gat'; it may be get, close"),
    ("about: x\nworkload: { bytes: 3 }\n", 2, "'name' is missing"),
    ("about: x\nworkload: { name: close, streams: 3 }\n", 2, "'close' has no 'streams'; it may"),
    ("about: x\nworkload: { name: upload }\n", 2, "needs bytes"),
    ("about: x\nworkload: get\nrounds: many\n", 3, "'many'; it must be a whole number"),
    ("about: x\nworkload: get\nrounds: 0\n", 3, "at least 1"),
    ("about: x\nworkload: get\nrounds: true\n", 3, "a whole number"),
    ("about: x\nworkload: get\nquick: 1\n", 3, "true or false"),
    ("about: x\nworkload: get\nseconds: [1]\n", 3, "seconds is a list; it must be a number"),
    ("about: x\nworkload: get\nproxies: [weir, ngin]\n", 3, "'ngin'; it may have floor"),
    ("about: x\nworkload: get\nproxies: weir\n", 3, "must be a list"),
    ("about: x\nworkload: get\nneeds: [http9]\n", 3, "'http9'; it may have routes"),
    ("about: x\nworkload: get\nsweep: { routes: [1], idle: [2] }\n", 3, "exactly one of"),
    ("about: x\nworkload: get\nsweep: { routes: [0] }\n", 3, "at least 1"),
    ("about: x\nworkload: grpc\nsweep: { bytes: [1] }\n", 3, "no bytes to sweep"),
    ("about: x\nworkload: get\npinning: { proxy: first }\n", 3, "list of CPUs"),
    ("about: x\nworkload: get\npinning:\n  load: 3-1\n", 4,
     "pinning.load is '3-1'; it must be a list of CPUs"),
    ("about: x\nworkload: get\npinning: { load: 0-999999 }\n", 3, "list of CPUs"),
    ("about: x\nworkload: get\npinning: { load: [0] }\n", 3, "pinning.load is a list; it must"),
    ("about: x\nworkload: get\npinning:\n  proxy: \"99\"\n", 4,
     "pinning.proxy is '99', but CPU 99 can't be used here; name some of CPU 0, 1, 2, 3, or leave "
     "it out: the proxy gets the last CPU then"),
    ("about: x\nworkload: get\npinning:\n  load: \"2-5\"\n", 4,
     "pinning.load is '2-5', but CPU 4, 5 can't be used here; name some of CPU 0, 1, 2, 3, or leave "
     "it out: the load gets all but the last CPU then"),
    ("about: x\nworkload: get\nlatency:\n  proxies: [weir, ngin]\n", 4,
     "latency.proxies has 'ngin'; it may have floor"),
    ("about: x\nworkload: get\nlatency:\n  proxies: weir\n", 4,
     "latency.proxies must be a list with at least one entry, as [a, b]"),
    ("about: x\nworkload: get\nproxies: [weir]\nlatency:\n  proxies: [weir, nginx]\n", 5,
     "latency.proxies has 'nginx', which is not measured at all: add it to proxies or take it out"),
    ("about: x\nworkload: g\0t\n", 2, "a character that YAML does not allow, U+0000; take it out"),
    ("about: x\nworkload: get\nrounds: !many 3\n", 3, "'3'; it must be a whole number"),
    ("about: x\nworkload: get\nrounds: 2026-13-45\n", 3, "it must be a whole number"),
    ("about: x\nworkload: get\nseconds: .inf\n", 3, "seconds is inf; it must be a number"),
    ("about: x\nworkload: get\n? [rounds]\n: 3\n", 3, "a scenario has no key a list"),
    ("about: x\nworkload: websocket\nlatency: { rounds: 1 }\n", 3, "sends only get"),
    ("about: x\nworkload: get\nlatency: { share: 0 }\n", 3, "latency.share is 0; it must be at least 0.1"),
    ("about: x\nworkload: { name: get, upstream: h3 }\n", 2, "'h3'; it may be h1, tls"),
    ("about: x\nworkload: { name: get, tls: true }\nbeside: { slow: {} }\n", 3,
     "slow connections can't be had with tls"),
    ("about: x\nworkload: get\nbeside: { slow: { kind: lazy } }\n", 3, "'lazy'; it may be head"),
    ("about: x\nworkload: [\n", 3, ""),
])
def test_a_mistake_is_told_with_its_line_and_what_is_allowed(tmp_path, text, line, words):
    with pytest.raises(BenchError) as caught:
        read(tmp_path, text)
    first = str(caught.value).splitlines()[0]
    assert first.startswith(f"{tmp_path}/mine.yaml:{line}: ") and words in first


def test_a_file_that_is_not_utf_8_is_told_with_its_line(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_bytes("workload: get\nabout: für mich\n".encode("latin-1"))
    with pytest.raises(BenchError) as caught:
        scenario.load(path)
    assert str(caught.value) == f"{path}:2: the byte 0xfc is not UTF-8; save the file as UTF-8"


def test_all_mistakes_are_told_at_once(tmp_path):
    with pytest.raises(BenchError) as caught:
        read(tmp_path, "about: x\nworkload: get\nrounds: 0\nseconds: 0\nsize: 3\n")
    assert len(str(caught.value).splitlines()) == 3


def test_a_sweep_makes_a_cell_of_each_value(tmp_path):
    cells = read(tmp_path, "about: x\nworkload: get\nsweep: { routes: [1, 10000] }\n").cells()
    assert [c.key for c in cells] == ["mine 1 routes", "mine 10,000 routes"]
    assert [c.path for c in cells] == ["/r0/", "/r9999/"] and cells[0].needs == {"routes"}
    cells = read(tmp_path, "about: x\nworkload: get\nsweep: { bytes: [1048576, 1073741824] }\n"
                 ).cells()
    assert [c.variant for c in cells] == ["1 MiB", "1 GiB"]
    assert [c.path for c in cells] == ["/bytes/1048576", "/bytes/1073741824"]
    assert [c.unit for c in cells] == ["request", "MiB"]


def test_what_a_workload_needs_goes_without_saying(tmp_path):
    assert read(tmp_path, "about: x\nworkload: grpc\n").needs == {"tls", "h2", "grpc"}
    assert read(tmp_path, "about: x\nworkload: { name: get, tls: true }\n").needs == {"tls"}
    one = read(tmp_path, "about: x\nworkload: { name: get, upstream: tls }\n")
    assert one.needs == {"tls-upstream"}
    assert "h2-upstream" in read(tmp_path, "about: x\nworkload: { name: h2, upstream: h2 }\n").needs


def test_the_scenario_that_the_readme_shows_is_valid(tmp_path):
    text = (BENCH / "README.md").read_text()
    one = read(tmp_path, text.split("```yaml\n", 1)[1].split("```", 1)[0])
    assert one.sweep == (0, 10000) and one.latency["proxies"] == ("weir",)


def test_an_unknown_scenario_is_answered_with_those_there_are():
    for name in ("nope", "nope*"):
        with pytest.raises(BenchError, match=r"nope\*?: no such scenario; there are .*keepalive"):
            scenario.choose([name])


def test_scenarios_can_be_chosen_by_a_pattern():
    found = [s.name for s in scenario.choose(["tls-*", "h2-to-h1"])]
    assert found[0] == "tls-keepalive" and found[-1] == "h2-to-h1" and len(found) > 5


# ---- templates -----------------------------------------------------------------------------------

def test_the_template_language():
    text = ("a @LISTEN@\n@if tls@ secret\n@if !tls@ plain\n@each route@ to @ROUTE@ {\n"
            "@each route@ }\n@if !tls@ @each endpoint@ s@NUMBER@ @ENDPOINT_HOST@ @ENDPOINT@\n")
    got = setup.render(text, setup.Setup("127.0.0.1:80", routes=3, endpoints=2), {"LISTEN": "here"})
    assert got == ("a here\nplain\nto /r1 {\n}\nto /r2 {\n}\n"
                   "s1 127.1.0.1 127.1.0.1:80\ns2 127.1.0.2 127.1.0.2:80\n")
    with pytest.raises(ValueError, match="no such word"):
        setup.render("@if rainy@ x\n", setup.Setup(), {})


def test_ten_thousand_endpoints_have_as_many_loopback_addresses():
    found = setup.Setup("127.0.0.1:80", endpoints=10000).endpoint_list()
    assert len(set(found)) == 10000
    for address in (found[0], found[5000], found[-1]):
        parts = [int(p) for p in address.rsplit(":", 1)[0].split(".")]
        assert parts[0] == 127 and all(0 <= p <= 255 for p in parts) and 0 < parts[3] < 255


@pytest.mark.parametrize("name", [n for n, c in proxies.PROXIES.items()
                                  if issubclass(c, proxies.Templated)])
def test_every_template_renders_for_everything_its_proxy_can(tmp_path, monkeypatch, name):
    cls = proxies.PROXIES[name]
    monkeypatch.setattr(cls, "path", classmethod(lambda cls: Path("/program")))
    pair = (Path("/c"), Path("/k"), Path("/b"))
    setups = [setup.Setup("127.0.0.1:80"), setup.Setup("127.0.0.1:80", access_log=True)]
    more = {"routes": {"routes": 3}, "endpoints": {"endpoints": 3},
            "websocket": {"websocket": True}, "tls": {"pair": pair, "tls": True},
            "tls-upstream": {"pair": pair, "upstream": "tls"},
            "h2": {"pair": pair, "tls": True, "h2": True},
            "h2-upstream": {"pair": pair, "tls": True, "h2": True, "upstream": "h2"},
            "grpc": {"pair": pair, "tls": True, "h2": True, "upstream": "grpc"}}
    setups += [setup.Setup("127.0.0.1:80", **more[need]) for need in cls.can]
    for number, one in enumerate(setups):
        text = written(cls(tmp_path / str(number)), one)
        assert "@if" not in text and "@each" not in text, text
        if one.endpoints > 1:
            assert all(e.rsplit(":", 1)[0] in text for e in one.endpoint_list())
        if one.access_log:
            silent = dataclasses.replace(one, access_log=False)
            assert "access.log" in text or len(text) > len(written(cls(tmp_path / "off"), silent))


def written(proxy, one):
    """Every file that a proxy is started with."""
    proxy.folder.mkdir()
    command = proxy.command(one)
    if proxy.port:
        proxy.port.release()
    assert str(proxy.folder) in " ".join(map(str, command))
    return "".join(path.read_text() for path in sorted(proxy.folder.iterdir()))


# ---- figures -------------------------------------------------------------------------------------

def sample(proxy, number, cpu_us, cell="mine", kind="peak", **more):
    return {"cell": cell, "scenario": cell, "round": number, "proxy": proxy, "kind": kind,
            "requests": 1000, "amount": 1000, "seconds": 1.0, "rate": 1000.0, "cpu_us": cpu_us,
            "user_us": cpu_us / 2, "system_us": cpu_us / 2, "busy": 0.5, "others": 0.1,
            "rss": 2 << 20, "pss": 1 << 20, "errors": {"connect": 0}, "latency_us": None, **more}


def test_a_ratio_is_taken_within_each_round():
    # The machine is three times as slow in the second round, for both.
    mine = [sample("weir", 1, 12.0), sample("weir", 2, 36.0)]
    base = [sample("floor", 1, 10.0), sample("floor", 2, 30.0)]
    assert report.ratios(mine, base) == {"median": 1.2, "min": 1.2, "max": 1.2}


def test_a_round_that_only_one_side_has_is_in_no_ratio():
    mine = [sample("weir", 1, 12.0), sample("weir", 2, 99.0)]
    assert report.ratios(mine, [sample("floor", 1, 10.0)])["max"] == 1.2
    assert report.ratios(mine, [sample("floor", 3, 10.0)]) is None


def test_a_summary_has_medians_ratios_and_errors():
    samples = [sample("floor", n, 10.0) for n in (1, 2, 3)]
    samples += [sample("weir", n, cpu) for n, cpu in ((1, 11.0), (2, 15.0), (3, 12.0))]
    samples[-1]["errors"] = {"status": 2, "timeout": 1}
    latency = {"p50": 100, "p90": 200, "p99": 300, "p99.9": 400, "max": 500, "mean": 120}
    samples += [sample("weir", n, 11.0, kind="paced", asked=700, latency_us=latency)
                for n in (1, 2)]
    summary = report.summarise(samples, "mine")
    weir = summary["weir"]
    assert weir["cpu_us"] == {"median": 12.0, "min": 11.0, "max": 15.0}
    assert weir["to_floor"] == {"median": 1.2, "min": 1.1, "max": 1.5} and "to_nginx" not in weir
    assert weir["errors"] == 3 and weir["rounds"] == 3 and weir["asked"] == 700
    assert weir["latency_us"]["p99.9"]["median"] == 400
    assert weir["paced_cpu_us"]["median"] == 11.0
    assert report.errors_of({"mine": summary}) == 3
    assert report.summarise(samples, "another") == {}


def test_the_open_loops_rate_is_a_share_of_the_slowest_peak():
    assert measure.choose_rate({"weir": [5000, 9000, 7000], "caddy": [1000, 2000, 3000]}, 0.7) == 1400
    assert measure.choose_rate({"weir": [0.5]}, 0.5) == 1
    assert measure.choose_rate({}, 0.7) is None and measure.choose_rate({"weir": []}, 0.7) is None


def test_cpu_a_unit_is_of_what_was_done(tmp_path):
    big = read(tmp_path, "about: x\nworkload: { name: get, bytes: 1073741824 }\n").cells()[0]
    counted = {"requests": 0, "seconds": 2.0, "bytes_in": 512 << 20, "bytes_out": 0, "errors": {},
               "latency_us": None}
    got = measure.figures(big, counted, (0.25, 0.75), (0, 0), 1.2)
    assert (got["amount"], got["cpu_us"], got["rate"]) == (512, pytest.approx(1e6 / 512), 256)
    assert got["others"] == pytest.approx(0.1)
    small = read(tmp_path, "about: x\nworkload: get\n").cells()[0]
    with pytest.raises(BenchError, match="nothing was served"):
        measure.figures(small, counted, (0.25, 0.75), (0, 0), 1.2)


# ---- reports and plots ---------------------------------------------------------------------------

def result(**more):
    latency = {"p50": 100, "p90": 200, "p99": 300, "p99.9": 400}
    samples = [sample(p, n, cpu, cell=f"mine {routes} routes", idle_pss=500.0 + n)
               for routes in (1, 100) for n in (1, 2)
               for p, cpu in (("floor", 10.0), ("weir", 12.0 + n), ("nginx", 15.0))]
    samples += [sample("weir", 1, 12.0, cell="mine 1 routes", kind="paced", asked=700,
                       latency_us=latency)]
    cells = [{"key": f"mine {n} routes", "scenario": "mine", "about": "a test", "unit": "request",
              "connections": 64, "seconds": 2.0, "idle": 10, "sweep": "routes", "value": n}
             for n in (1, 100)]
    return {"machine": report.machine(), "versions": {"weir": "1.2.3"}, "notes": {"floor": "low"},
            "left_out": ["envoy (not installed)"], "ended_early": False, "cells": cells,
            "failures": [{"cell": "mine 1 routes", "proxy": "caddy", "why": "caddy fell\nhard"}],
            "summary": {c["key"]: report.summarise(samples, c["key"]) for c in cells},
            "samples": samples, **more}


def test_the_report_says_everything_once():
    text = report.markdown(result())
    rows = text.splitlines()
    assert "| mine 1 routes, µs a request | 10.00 | 13.50 | 15.00 | 1.35 (1.30 to 1.40) | " \
           "0.90 (0.87 to 0.93) |" in rows
    assert "| weir | 1,000 | 13.50 (13.00 to 14.00) | 6.75 | 6.75 | 1.35 (1.30 to 1.40) | " \
           "0.90 (0.87 to 0.93) | 50% | 1.0 | 0 |" in rows
    assert "| mine 1 routes | weir | 700 | 1,000 | 12.00 |  | 100 | 200 | 300 | 400 | 0 |" in rows
    assert "| weir in mine 1 routes | 10 | 502 (501 to 502) | 1.0 |" in rows
    assert "- envoy (not installed)" in rows and "- mine 1 routes, caddy: caddy fell hard" in rows
    assert "weir 1.2.3" in text and "floor: low" in text and "Ended early" not in text


def test_a_report_of_a_run_that_was_ended_says_so():
    text = report.markdown(result(ended_early=True, summary={}, left_out=[], failures=[]))
    assert "Ended early" in text and "Left out" not in text and "Failed" not in text


def test_labels_at_the_ends_of_lines_keep_apart_and_stay_inside():
    placed = [at for at, _ in plot.apart([(0.5, "a"), (0.5, "b"), (0.99, "c"), (1.0, "d")])]
    gaps = [b - a for a, b in zip(placed, placed[1:])]
    assert min(gaps) >= plot.LABEL / plot.LINE_HEIGHT - 1e-9 and placed[-1] <= 1.0


@pytest.mark.parametrize("low, high, log, values", [
    (0, 50, False, "0 0 10 20 30 40 50"), (0, 1900, False, "0 0 500 1000 1500"),
    (20, 500, True, "20 50 100 200 500"), (9, 9000000, True, "10 100 1000")])
def test_ticks_are_round(low, high, log, values):
    tics = plot.tics_of(low, high, log)
    got = [t.rsplit(" ", 1)[1] for t in tics.split(", ")]
    assert [float(v) for v in got[:3]] == [float(v) for v in dict.fromkeys(values.split())][:3]
    assert len(got) <= 8


@pytest.mark.skipif(not shutil.which("gnuplot"), reason="gnuplot is not installed")
def test_the_plots_are_svg_that_names_every_proxy(tmp_path):
    drawn, reason = plot.draw(result(), tmp_path)
    assert reason is None and [p.name for p in drawn] == ["cpu.svg", "latency.svg", "memory.svg",
                                                       "growth.svg"]
    for path in drawn:
        text = "".join(ET.parse(path).getroot().itertext())
        assert "weir" in text and "mine" in text
        assert ("nginx" in text) == (path.name != "latency.svg")


@pytest.mark.parametrize("bytes_", [0.0, -12.5])
def test_idle_conns_that_cost_nothing_are_drawn(bytes_):
    assert plot.bars([("weir", {"median": bytes_, "min": bytes_, "max": bytes_})])


def test_progress_is_plain_lines_without_a_terminal():
    out, now = io.StringIO(), [0.0]
    shown = progress.Progress(100, out, lambda: now[0])
    shown.now("not seen")
    now[0] = 20.0
    shown.step(10, "one")
    shown.skip(40)
    now[0] = 60.0
    shown.step(50, "two")
    shown.end()
    assert out.getvalue() == "[ 10%, 3:00 left] one\n[100%, 0:00 left] two\n"


# ---- the generators' words -----------------------------------------------------------------------

H2LOAD = """Application protocol: h2
finished in 2.00s, 500.00 req/s, 12.34KB/s
requests: 1000 total, 1000 started, 1000 done, 1000 succeeded, {failed} failed, 0 errored, 0 timeout
status codes: {ok} 2xx, 0 3xx, {bad} 4xx, 0 5xx
traffic: 12.34KB (12636) total, 1.00KB (1024) headers (space savings 50.00%), 17.58KB ({data}) data
"""


def test_h2loads_words():
    got = load.parse_h2load(H2LOAD.format(failed=0, ok=1000, bad=0, data=18000), 18, False)
    assert (got["requests"], got["rate"], got["bytes_in"]) == (1000, 500, 12636)
    assert sum(got["errors"].values()) == 0
    got = load.parse_h2load(H2LOAD.format(failed=3, ok=993, bad=7, data=0), 0, False)
    assert got["errors"] == {"failed": 3, "status": 7, "timeout": 0}
    with pytest.raises(BenchError, match="got 17 for 1000 calls"):
        load.parse_h2load(H2LOAD.format(failed=0, ok=1000, bad=0, data=17), 18, False)
    with pytest.raises(BenchError, match="not given HTTP/2"):
        load.parse_h2load(H2LOAD.format(failed=0, ok=1000, bad=0, data=0).replace("h2\n", "h1\n"),
                          0, False)
    with pytest.raises(BenchError, match="without a result"):
        load.parse_h2load("could not connect\n", 0, False)


def test_handshakes_that_were_not_resumed_are_noticed():
    words = "Now timing\n{marks}\n\n{n} connections in 3 real seconds, 156 bytes read\n"
    good = words.format(marks="*" + "r" * 99, n=100)
    assert load.parse_s_time([good, good], True, 2.0)["rate"] == 100
    with pytest.raises(BenchError, match="not resumed"):
        load.parse_s_time([words.format(marks="*" * 100, n=100)], True, 2.0)


FAKE_LOAD = f"""#!{sys.executable}
import json, sys
mode, args = sys.argv[1], dict(zip(sys.argv[2::2], sys.argv[3::2]))
n = int(args["--connections"])
if mode in ("idle", "slow"):
    print(json.dumps({{"ready": True, "open": n if n < 100 else 100}}), flush=True)
    sys.stdin.read()
    print(json.dumps({{"mode": mode, "open": n - (n == 13)}}))
elif args["--to"] == "nowhere":
    sys.exit("no such host")
else:
    print("words before it")
    print(json.dumps({{"mode": mode, "args": args}}))
"""


@pytest.fixture
def fake_load(tmp_path, monkeypatch):
    path = tmp_path / "load"
    path.write_text(FAKE_LOAD)
    path.chmod(0o755)
    monkeypatch.setattr(load, "OWN", path)


def cpus():
    return ",".join(map(str, os.sched_getaffinity(0)))


def test_the_own_generator_is_asked_for_what_a_cell_wants(tmp_path, fake_load):
    mixed = read(tmp_path, "about: x\nworkload: { name: mixed, bytes: 99 }\nconnections: 5\n")
    got = load.closed("here", mixed.cells()[0], cpus(), 2.5)
    assert got["mode"] == "closed"
    assert got["args"] == {"--to": "here", "--seconds": "2.5", "--connections": "5",
                           "--path": "/sink", "--mix": "get=9,post=1", "--body": "99"}
    upload = read(tmp_path, "about: x\nworkload: { name: upload, bytes: 77 }\n").cells()[0]
    got = load.paced("here", upload, cpus(), 1, 500)
    assert got["mode"] == "open" and got["args"]["--rate"] == "500"
    assert (got["args"]["--mix"], got["args"]["--body"]) == ("post=1", "77")
    with pytest.raises(BenchError, match="no such host"):
        load.paced("nowhere", upload, cpus(), 1, 500)


def test_connections_are_held_beside_the_load(fake_load):
    with load.Holder("idle", "here", cpus(), 50) as holder:
        assert holder.tool.process.poll() is None
        assert holder.finish() == {"mode": "idle", "open": 50}
    with pytest.raises(BenchError, match="100 of 5000 connections"):
        load.Holder("idle", "here", cpus(), 5000)


# ---- what a run does -----------------------------------------------------------------------------

class FakeProxy:
    """A proxy whose samples are made up: `script` says what each start of it comes to."""

    can = frozenset({"routes"})
    log = []

    def __init__(self, folder, cpus):
        self.folder = folder

    def start(self, given):
        self.given = given

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass


def fake(name, fails=(), rate=1000.0):
    cls = type(name, (FakeProxy,), {"name": name, "fails": list(fails), "rate": rate})

    def make(folder, cpus):
        return cls(folder, cpus)
    make.cls = cls
    return name, make


class FakeSampler:
    def __init__(self, server, *_):
        self.server = server

    def take(self, kind, **more):
        FakeProxy.log.append((kind, self.server.name))
        if self.server.fails and self.server.fails.pop(0):
            raise BenchError("fell over")
        latency = {p: 1.0 for p in report.PERCENTILES}
        values = sample(self.server.name, 0, 10.0, kind=kind, latency_us=latency, **more)
        for key in ("cell", "scenario", "round", "proxy"):
            values.pop(key)
        return {**values, "requests": self.server.rate}

    def peak(self, _seconds, _warmup):
        return self.take("peak")

    def paced(self, _seconds, _warmup, rate):
        return self.take("paced", asked=rate)


OPTIONS = runner.Options("0", "0", files=20000, backend="127.0.0.1:1")


@pytest.fixture
def a_run(tmp_path, monkeypatch):
    monkeypatch.setattr(measure, "Sampler", FakeSampler)
    monkeypatch.setattr(measure, "check", lambda *_: None)
    FakeProxy.log = []
    out = io.StringIO()
    with runner.Run(OPTIONS, tmp_path, progress.Progress(1, out)) as run:
        yield run


def plans_of(tmp_path, text, proxies_there, options=OPTIONS, tools=()):
    one = read(tmp_path, text)
    one = dataclasses.replace(one, proxies=tuple(name for name, _ in proxies_there))
    if one.latency:
        one.latency["proxies"] = one.proxies
    return runner.plan_run([one], proxies_there, options,
                           lambda tool: f"no {tool}" if tool in tools else None, lambda _: True)


def test_proxies_take_turns_and_the_slowest_sets_the_rate(tmp_path, a_run):
    plans, left_out = plans_of(
        tmp_path, "about: x\nworkload: get\nrounds: 2\nlatency: { rounds: 1 }\n",
        [fake("fast", rate=5000.0), fake("slow", rate=200.0)])
    a_run.run(plans)
    assert left_out == []
    assert FakeProxy.log == [("peak", "fast"), ("peak", "slow"), ("peak", "fast"), ("peak", "slow"),
                             ("paced", "fast"), ("paced", "slow")]
    assert a_run.rates == {"mine": 140} and not a_run.failures
    assert [s["round"] for s in a_run.samples] == [1, 1, 2, 2, 1, 1]
    assert a_run.samples[-1]["asked"] == 140


def test_a_proxy_that_fails_is_out_of_its_cell_and_named(tmp_path, a_run):
    plans, _ = plans_of(tmp_path, "about: x\nworkload: get\nrounds: 3\nsweep: { idle: [0, 5] }\n",
                        [fake("good"), fake("bad", fails=[0, 1])])
    a_run.run(plans)
    assert [(f["cell"], f["proxy"], f["why"]) for f in a_run.failures] == [
        ("mine 0 idle", "bad", "fell over")]
    # One good sample of the first cell, none of its third round, and all of the next cell.
    counts = [(s["cell"], s["proxy"]) for s in a_run.samples]
    assert counts.count(("mine 0 idle", "bad")) == 1
    assert counts.count(("mine 0 idle", "good")) == counts.count(("mine 5 idle", "bad")) == 3


def test_what_cannot_be_measured_is_named_and_left_out(tmp_path):
    both = [fake("weir"), fake("nginx")]
    plans, left_out = plans_of(tmp_path, "about: x\nworkload: websocket\n", both)
    assert plans == [] and left_out == ["weir in mine: has no websocket",
                                        "nginx in mine: has no websocket",
                                        "mine: no proxy here can do it"]
    plans, left_out = plans_of(tmp_path, "about: x\nworkload: mixed\n", both, tools=["load"])
    assert plans == [] and left_out == ["mine: no load"]
    plans, left_out = plans_of(tmp_path, "about: x\nworkload: get\nlatency: { rounds: 1 }\n", both,
                               tools=["load"])
    assert plans[0].latency is None and left_out == ["mine: no latencies: no load"]


def test_idle_connections_are_as_many_as_the_limit_allows(tmp_path):
    text = "about: x\nworkload: get\nsweep: { idle: [0, 10000] }\n"
    plans, left_out = plans_of(tmp_path, text, [fake("weir")])
    assert [p.cell.idle for p in plans] == [0, 9680]
    assert len(left_out) == 1 and "9,680 idle connections" in left_out[0]
    wide = dataclasses.replace(OPTIONS, files=100000)
    assert plans_of(tmp_path, text, [fake("weir")], wide)[0][1].cell.idle == 10000


def test_quick_is_one_round_of_the_ends(tmp_path):
    plans, _ = plans_of(tmp_path, "about: x\nworkload: get\nsweep: { routes: [1, 10, 100] }\n",
                        [fake("weir")], dataclasses.replace(OPTIONS, quick=True))
    assert [(p.cell.routes, p.rounds, p.seconds) for p in plans] == [(1, 1, 1.0), (100, 1, 1.0)]


def test_a_proxy_is_chosen_by_name_and_template(tmp_path, monkeypatch):
    monkeypatch.setattr(proxies.Nginx, "missing", classmethod(lambda cls: None))
    (label, make), = proxies.choose_proxies(["nginx:mine.conf"])[0]
    assert label == "nginx:mine" and make(tmp_path).template == Path("mine.conf").resolve()
    with pytest.raises(BenchError, match="apache: no such proxy; known are floor"):
        proxies.choose_proxies(["apache"])
    with pytest.raises(BenchError, match="only what has a template"):
        proxies.choose_proxies(["floor:x"])
    monkeypatch.setattr(proxies.Nginx, "missing", classmethod(lambda cls: "not installed"))
    assert "nginx (not installed)" in proxies.choose_proxies(None)[1]
    with pytest.raises(BenchError, match="nginx: not installed"):
        proxies.choose_proxies(["nginx"])


# ---- all of it -----------------------------------------------------------------------------------

def needs_tools():
    if not (BUILD / "floor").exists():
        pytest.skip("the floor is not built: make bench-tools")
    if not (BUILD / "load").exists() and not shutil.which("wrk"):
        pytest.skip("neither build/load nor wrk is there")
    for tool in ("taskset", "setpriv"):
        if not shutil.which(tool):
            pytest.skip(f"{tool} is not installed")


@pytest.fixture
def tiny(tmp_path):
    """(arguments of a tiny run, its environment, its results' folder)."""
    needs_tools()
    workload = "mixed" if (BUILD / "load").exists() else "get"
    latency = "latency: { rounds: 1, seconds: 0.3 }\n" if workload == "mixed" else ""
    # Some answers have to come in the two seconds, of which a busy machine may take one.
    (tmp_path / "tiny.yaml").write_text(
        f"about: tiny\nworkload: {workload}\nconnections: 4\nrounds: 1\nseconds: 2\n"
        f"warmup: 0.1\n{latency}")
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    env = {**os.environ, "BUILD": str(BUILD), "TMPDIR": str(temporary)}
    argv = ["/usr/bin/python3", str(BENCH / "run.py"), "--only", "floor,weir", "--results",
            str(tmp_path / "results"), str(tmp_path / "tiny.yaml")]
    return argv, env, tmp_path


def nothing_is_left(folder):
    assert list((folder / "temporary").iterdir()) == []
    left = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            try:
                words = (entry / "cmdline").read_bytes()
            except OSError:
                continue
            if str(folder / "temporary").encode() in words:
                left.append(words)
    assert left == []


def test_a_tiny_run_measures_reports_and_leaves_nothing(tiny):
    argv, env, folder = tiny
    done = subprocess.run(argv, env=env, capture_output=True, text=True, timeout=LIMIT, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads((folder / "results" / "results.json").read_text())
    assert {s["proxy"] for s in found["samples"]} == {"floor", "weir"} and not found["failures"]
    assert all(s["requests"] > 0 and s["cpu_us"] > 0 and s["pss"] > 0 for s in found["samples"])
    assert found["summary"]["tiny"]["weir"]["to_floor"]["median"] > 0
    assert report.errors_of(found["summary"]) == 0
    if (BUILD / "load").exists():
        assert found["summary"]["tiny"]["weir"]["latency_us"]["p50"]["median"] > 0
    text = (folder / "results" / "results.md").read_text()
    assert "| tiny, µs a request |" in text and text in done.stdout
    assert "0:00 left] tiny" in done.stderr
    nothing_is_left(folder)


@pytest.mark.parametrize("text, unit", [
    ("workload: { name: get, upstream: tls }", "request"),
    ("workload: { name: upload, bytes: 1000000, tls: true }", "request"),
    ("workload: { name: get, tls: true }\nbeside: { idle: 20 }", "request"),
    ("workload: { name: h2, streams: 4, upstream: h2 }", "request"),
    ("workload: { name: grpc, streams: 4 }", "call")], ids=str)
def test_a_tiny_run_over_tls_and_http2(tiny, text, unit):
    """What weir and the backend are set up for is what is sent."""
    argv, env, folder = tiny
    for tool in ("wrk", "h2load", "openssl"):
        if not shutil.which(tool):
            pytest.skip(f"{tool} is not installed")
    if not (BUILD / "load").exists():
        pytest.skip("build/load is not built: make bench-tools")
    (folder / "tiny.yaml").write_text(
        f"about: tiny\n{text}\nconnections: 4\nrounds: 1\nseconds: 2\nwarmup: 0.1\n")
    done = subprocess.run([*argv, "--only", "weir"], env=env, capture_output=True, text=True,
                          timeout=LIMIT, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads((folder / "results" / "results.json").read_text())
    (one,), (cell,) = found["samples"], found["cells"]
    assert one["requests"] > 0 and cell["unit"] == unit and not found["failures"]
    assert ("idle_pss" in one) == ("idle" in text)
    nothing_is_left(folder)


def test_a_program_whose_start_is_interrupted_is_ended_all_the_same(tmp_path):
    class Sleeper(Server):
        name = "sleeper"

        def command(self, _):
            return ["sleep", "60"]

    class Interrupted(subprocess.Popen):
        def __init__(self, *args, **kw):
            super().__init__(*args, **kw)
            os.kill(os.getpid(), signal.SIGINT)  # before the caller has it
            pids.append(self.pid)

    pids = []
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a job may ignore it
    try:
        with mock.patch("subprocess.Popen", Interrupted), pytest.raises(KeyboardInterrupt):
            with Sleeper(tmp_path) as server:
                server.start()
    finally:
        signal.signal(signal.SIGINT, before)
    assert len(pids) == 1 and not Path(f"/proc/{pids[0]}").exists()


def test_a_run_that_is_interrupted_prints_what_it_has(tiny):
    argv, env, folder = tiny
    argv = [*argv, "--rounds", "10000"]
    run = subprocess.Popen(argv, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                           start_new_session=True, preexec_fn=harness.heed_interrupts)
    try:
        seen = []
        while not (seen and " 2 floor: " in seen[-1]):  # the second round has begun
            seen.append(run.stderr.readline())
            assert seen[-1], "".join(seen)
        run.send_signal(signal.SIGINT)
        out, err = run.communicate(timeout=LIMIT)
    finally:
        run.kill()
        run.wait()
    assert run.returncode == 130, err
    assert "Ended early" in out and "| tiny, µs a request |" in out
    assert json.loads((folder / "results" / "results.json").read_text())["ended_early"] is True
    nothing_is_left(folder)


def test_a_reference_run_is_not_written_over(tmp_path):
    (tmp_path / "results.json").write_text("{}")
    argv = ["/usr/bin/python3", BENCH / "run.py", "--reference", "--results", tmp_path]
    done = subprocess.run(argv, text=True, capture_output=True, timeout=LIMIT, check=False)
    assert done.returncode == 1 and done.stdout == ""
    assert done.stderr == (f"run.py: {tmp_path} has a result already: remove it, or name another "
                           "with --results DIR\n")


def test_a_wrong_scenario_is_told_and_nothing_is_started(tmp_path):
    (tmp_path / "bad.yaml").write_text("about: x\nworkload: nap\n")
    done = subprocess.run(["/usr/bin/python3", BENCH / "run.py", tmp_path / "bad.yaml"], text=True,
                          capture_output=True, timeout=LIMIT, check=False)
    assert done.returncode == 1 and done.stdout == ""
    assert done.stderr.startswith(f"run.py: {tmp_path}/bad.yaml:2: workload is 'nap'; it may be")


def test_the_list_has_every_scenario_and_proxy():
    done = subprocess.run(["/usr/bin/python3", BENCH / "run.py", "--list"], text=True,
                          capture_output=True, timeout=LIMIT, check=True)
    for path in (BENCH / "scenarios").glob("*.yaml"):
        assert path.stem in done.stdout
    assert all(name in done.stdout for name in proxies.PROXIES)


def test_the_other_programs_of_bench_find_what_they_import():
    done = subprocess.run(["/usr/bin/python3", BENCH / "instructions.py", "--help"], text=True,
                          capture_output=True, timeout=LIMIT, check=False)
    assert done.returncode == 0 and "--requests" in done.stdout, done.stderr


def test_proxies_side_by_side(tmp_path):
    needs_tools()
    if not (BUILD / "load").exists() or not shutil.which("nginx"):
        pytest.skip("build/load or nginx is not there")
    (tmp_path / "tiny.yaml").write_text(
        "about: tiny\nworkload: { name: get, tls: true }\nneeds: [tls]\nconnections: 4\n")
    (tmp_path / "temporary").mkdir()
    done = subprocess.run(
        ["/usr/bin/python3", BENCH / "side.py", tmp_path / "tiny.yaml", "--rate", "100", "--rounds",
         "2", "--seconds", "0.5", "--only", "weir,nginx"],
        env={**os.environ, "BUILD": str(BUILD), "TMPDIR": str(tmp_path / "temporary")}, text=True,
        capture_output=True, timeout=LIMIT, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    rows = [line.split(" | ") for line in done.stdout.splitlines()]
    assert rows[0][0] == "| tiny, 2 rounds" and rows[0][-1] == "/ nginx |"
    assert [row[0] for row in rows[2:]] == ["| weir", "| nginx"]
    assert all(row[3] == "100" and float(row[1]) > 0 for row in rows[2:])
    nothing_is_left(tmp_path)
