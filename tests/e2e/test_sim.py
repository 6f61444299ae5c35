# SPDX-License-Identifier: Apache-2.0
"""The simulator as a program: its command line, its scenarios, its tables and plots; and a log that
weir has written itself."""
import json
import os
import subprocess
import sys
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

import harness
import peers

ROOT = Path(__file__).resolve().parents[2]
BUILD = harness.WEIR.resolve().parent
SIM = BUILD / "weir-sim"
SCENARIOS = sorted((ROOT / "bench/sim/scenarios").glob("*.yaml"))
LIMIT = 120 * peers.SLOW


def sim(*args, status=0):
    done = subprocess.run([SIM, *map(str, args)], capture_output=True, text=True, timeout=LIMIT,
                          check=False)
    assert done.returncode == status, done.stderr
    return done.stdout if status == 0 else done.stderr


def results(*args):
    return {r["policy"]: r for r in map(json.loads, sim("--json", *args).splitlines())}


def test_help_has_every_setting_and_column():
    text = sim("--help")
    for word in ("endpoints", "gc_every_s", "dead_how", "budget_min", "trace", "imbalance", "moved"):
        assert f"\n  {word} " in text or f"\n{word} " in text, word


def test_a_table_has_a_row_for_each_policy():
    lines = sim("requests=2000").splitlines()
    assert [line.split()[0] for line in lines] == [
        "policy", "round_robin", "least_conn", "random", "p2c", "peak_ewma", "ring_hash",
        "ring_hash:125", "maglev", "maglev:125"]
    assert [line.split()[0] for line in sim("--policies", "p2c,maglev:150", "requests=2000"
                                            ).splitlines()] == ["policy", "p2c", "maglev:150"]


@pytest.mark.parametrize("args, words", [
    (("colour=red",), "there is no setting 'colour'"),
    (("endpoints=1",), "endpoints is a whole number from 2 to 100000, not '1'"),
    (("endpoints=2.5",), "endpoints is a whole number"),
    (("load=nan",), "load is a number from 0.001 to 100, not 'nan'"),
    (("slow=1.5",), "slow is a whole number"),
    (("service=weird",), "service is one of constant, exponential, lognormal, pareto, not 'weird'"),
    (("service=pareto", "tail=1"), "tail above 1"),
    (("dead=1", "dead_how=hang"), "needs a timeout_ms"),
    (("endpoints=4", "added=4"), "added is less than endpoints"),
    (("endpoints=4", "slow=5"), "at most as many"),
    (("slow_from=0.5", "slow_until=0.4"), "ends later"),
    (("--policies", "best"), "there is no policy 'best'"),
    (("--policies", "p2c:125"), "only ring_hash and maglev have a bound"),
    (("--policies", "maglev:100"), "a percentage from 101"),
    (("/nowhere.yaml",), "No such file"),
    (("trace=/nowhere.log",), "No such file"),
])
def test_a_mistake_is_told(args, words):
    assert words in sim(*args, status=2)


@pytest.mark.parametrize("text, line, words", [
    ("endpoints: 10\nload: much\n", 2, "load is a number"),
    ("- a\n", 1, "a scenario is a mapping"),
    ("\n\nload: [1]\n", 3, "a setting is 'name: value'"),
    ("load: 'x\n", 2, "found unexpected end of stream"),
    ("", 1, "a scenario is a mapping"),
])
def test_a_mistake_in_a_file_is_told_with_its_line(tmp_path, text, line, words):
    path = tmp_path / "mine.yaml"
    path.write_text(text)
    said = sim(path, status=2)
    assert f"mine.yaml:{line}: " in said and words in said


def test_the_command_line_overrules_the_file(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text("about: mine\nendpoints: 10\nrequests: 1000\n")
    assert results("--policies", "p2c", path)["p2c"]["endpoints"] == 10
    assert results("--policies", "p2c", path, "endpoints=12")["p2c"]["endpoints"] == 12


@pytest.mark.parametrize("path", SCENARIOS, ids=lambda path: path.stem)
def test_every_scenario_of_the_tree_runs_and_repeats(path):
    args = ("--json", path, "requests=3000", "endpoints=10")
    once = sim(*args)
    assert once == sim(*args)
    assert once != sim(*args, "seed=2")
    for r in map(json.loads, once.splitlines()):
        assert r["requests"] > 0 and r["answered"] > 0 and r["above_bound"] == 0
        assert sum(s[0] for s in r["slices"]) == 3000


def test_the_log_that_weir_writes_is_played(weir, upstream):
    with weir.client() as c, weir.logged(4):
        for path in ("/a", "/b", "/a", "/b"):
            c.send(f"GET {path} HTTP/1.1\r\nHost: a.example\r\n\r\n")
            u = upstream.accept()
            u.request()
            u.answer("hello")
            c.response()
    found = results("--policies", "maglev,random", f"trace={weir.log_path}", "trace_key=path",
                    "warmup=0", "endpoints=50")
    for r in found.values():
        assert r["requests"] == r["answered"] and r["followed"] >= 2
    assert found["maglev"]["strayed"] == 0


def test_tables_and_plots(tmp_path):
    done = subprocess.run(
        [sys.executable, ROOT / "bench/sim.py", "--requests", "2000", "--sizes", "10,20",
         "--results", tmp_path, "even", "keys", "storm"],
        env={**os.environ, "SIM": str(SIM)}, capture_output=True, text=True, timeout=LIMIT,
        check=False)
    assert done.returncode == 0, done.stderr
    text = (tmp_path / "results.md").read_text()
    assert "| policy | even | keys |" in text and "| peak_ewma | 20 |" in text
    assert "### storm" in text and text.count("| no budget |") == 2
    if "gnuplot is not installed" in done.stdout:
        return
    assert "gnuplot failed" not in done.stdout
    for name in ("growth", "latency", "storm"):
        drawn = ET.fromstring((tmp_path / f"{name}.svg").read_text())
        words = " ".join(drawn.itertext())
        assert ("no retries" if name == "storm" else "maglev:125") in words
