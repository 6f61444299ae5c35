# SPDX-License-Identifier: Apache-2.0
"""The command line: verbs, exit codes, and what `weir check` says."""
import json
import re
import signal
import socket
import subprocess

import pytest
import yaml

import harness
from harness import run_weir
from peers import DEADLINE, Client, wait_for

GOOD = """version: 1
listeners: { web: "127.0.0.1:0" }
routes: [ { to: app } ]
pools: { app: [ "127.0.0.1:8080", "127.0.0.1:8081" ] }
"""


VERBS = ("run", "check", "explain", "proxy", "sidecar", "reload", "plan", "probe", "drain", "why", "schema",
         "version", "help")


@pytest.fixture
def file(tmp):
    def write(text, name="weir.yaml"):
        path = tmp / name
        path.write_text(text)
        return path

    return write


def test_version_names_the_program_and_its_version():
    got = run_weir("version")
    assert (got.returncode, got.stderr) == (0, "")
    assert re.match(r"weir \d+\.\d+\.\d+", got.stdout)


@pytest.mark.parametrize("verb", ["", *VERBS])
def test_help_explains_every_verb(verb):
    got = run_weir("help", *([verb] if verb else []))
    assert (got.returncode, got.stderr) == (0, "") and len(got.stdout) > 40
    assert (verb or "run") in got.stdout
    if not verb:
        assert all(v in got.stdout for v in VERBS)


@pytest.mark.parametrize(
    "args",
    [
        [],
        ["frobnicate"],
        ["run"],
        ["check"],
        ["run", "-c"],
        ["help", "frobnicate"],
        ["run", "-c", "x", "--frobnicate"],
        ["check", "a", "b"],
        ["proxy"],
        ["proxy", "--from", "127.0.0.1:0"],
        ["schema", "x"],
    ],
    ids=" ".join,
)
def test_wrong_usage_exits_2_and_says_so_on_stderr(args):
    got = run_weir(*args)
    assert got.returncode == 2 and got.stdout == "" and got.stderr


def test_check_of_a_good_file_exits_0(file):
    got = run_weir("check", file(GOOD))
    assert got.returncode == 0, got.stderr


def test_check_reports_every_error_with_its_place_and_exits_1(file):
    path = file(
        """version: 1
listeners: { web: "127.0.0.1:0" }
timeouts:
  request_head: 10
  respose_head: 5s
routes:
  - { to: nowhere }
pools: { app: [ "127.0.0.1:8080" ] }
"""
    )
    got = run_weir("check", path)
    assert got.returncode == 1
    text = got.stdout + got.stderr
    assert re.search(rf"{re.escape(str(path))}:4:17\b.*timeouts\.request_head", text), text
    assert (
        re.search(rf"{re.escape(str(path))}:5:3\b.*respose_head", text) and "response_head" in text
    ), text
    assert re.search(rf"{re.escape(str(path))}:7:11\b", text) and "nowhere" in text, text


@pytest.mark.parametrize(
    "change,line",
    [
        (("version: 1\n", ""), None),
        (("version: 1", "version: 2"), 1),
        (("version: 1", "version: one"), 1),
        (('"127.0.0.1:0"', "yes"), 2),
        (("127.0.0.1:0", "127.0.0.1:99999"), 2),
        (("routes", "rotues"), 3),
        (("pools: {", "listeners: {} #"), None),
        (("127.0.0.1:8081", ":0"), 4),
        (("{ to: app }", "{ to: [ app ] }"), 3),
        (("{ to: app }", "{ to: app, to: app }"), 3),
        (("version: 1", "version: 1\n\tx: 1"), 2),
    ],
    ids=lambda v: str(v[1])[:24] if isinstance(v, tuple) else "",
)
def test_a_malformed_file_neither_checks_nor_starts(file, change, line):
    path = file(GOOD.replace(*change))
    for args in (["check", path], ["run", "-c", path]):
        got = run_weir(*args)
        assert got.returncode == 1, args
        assert f"{path}:{line or ''}" in got.stdout + got.stderr


def test_a_missing_file_exits_1(tmp):
    for args in (["check", tmp / "no.yaml"], ["run", "-c", tmp / "no.yaml"]):
        got = run_weir(*args)
        assert got.returncode == 1 and "no.yaml" in got.stderr + got.stdout


def test_a_rule_that_can_never_win_is_a_warning_and_not_an_error(file):
    got = run_weir(
        "check",
        file(GOOD.replace("{ to: app }", "{ name: first, to: app }, { name: shadowed, to: app }")),
    )
    assert got.returncode == 0
    assert re.search(r":3:\d+: warning: routes\[1\]: .*first", got.stderr + got.stdout)


def test_dump_shows_the_defaults_and_can_be_read_again(file):
    got = run_weir("check", file(GOOD), "--dump")
    assert got.returncode == 0, got.stderr
    whole = yaml.safe_load(got.stdout)
    assert whole["version"] == 1 and whole["timeouts"]["client_idle"] == "75s"
    assert whole["limits"]["header_bytes"] == "32KiB" and whole["pools"]["app"]["balance"]["policy"] == "p2c"
    again = run_weir("check", file(got.stdout, "dumped.yaml"), "--dump")
    assert again.returncode == 0 and again.stdout == got.stdout


def test_schema_prints_a_json_schema():
    got = run_weir("schema")
    assert got.returncode == 0
    schema = json.loads(got.stdout)
    assert "$schema" in schema and {"listeners", "routes", "pools"} <= set(schema["properties"])


def test_an_address_in_use_exits_1_and_is_named(file):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        address = "127.0.0.1:%d" % taken.getsockname()[1]
        got = run_weir("run", "-c", file(GOOD.replace("127.0.0.1:0", address)))
    assert got.returncode == 1 and address in got.stderr


def test_environment_and_file_substitution(file, tmp):
    (tmp / "port").write_text("8080\n")
    text = GOOD.replace("127.0.0.1:8080", "${WEIR_TEST_HOST}:${file:%s/port}" % tmp)
    got = run_weir("check", file(text), "--dump", env={"WEIR_TEST_HOST": "127.0.0.2"})
    assert got.returncode == 0 and "127.0.0.2:8080" in got.stdout, got.stderr
    assert run_weir("check", file(text)).returncode == 1, "a variable that is not set is an error"


def dial(address):
    try:
        return Client(address)
    except (FileNotFoundError, ConnectionRefusedError):
        return None


def test_proxy_serves_without_a_file(auto, tmp):
    ups = [auto(body=b"a"), auto(body=b"b")]
    path = tmp / "p.sock"
    with open(tmp / "err", "wb") as err:
        proc = subprocess.Popen(
            [
                str(harness.WEIR),
                "proxy",
                "--from",
                f"unix:{path}",
                "--to",
                ups[0].address,
                "--to",
                ups[1].address,
            ],
            stdout=subprocess.DEVNULL,
            stderr=err,
        )
    try:
        with wait_for(lambda: dial(f"unix:{path}"), "weir to listen") as c:
            got = {c.get().body for _ in range(40)}
        assert got == {b"a", b"b"}
        proc.send_signal(signal.SIGTERM)
        assert proc.wait(DEADLINE) == 0
    finally:
        if proc.poll() is None:
            proc.kill()
            proc.wait()
