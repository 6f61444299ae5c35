# SPDX-License-Identifier: Apache-2.0
"""Where the access log goes, and which of it: rotation, fields, sampling, syslog."""
import json
import os
import re
import signal
import socket
from contextlib import suppress

import pytest

from harness import FAULTS, run_weir, sanitizer
from peers import DEADLINE, wait_for
from test_notify import hold

KEYS = """time id client listener method host path protocol route pool endpoint attempts status
bytes_in bytes_out queue_ms connect_ms first_byte_ms total_ms reason trail""".split()


@pytest.fixture
def logging(start_weir, auto, tmp_path):
    """logging(keys): (weir, the log's path); "/b" is no route."""

    def make(keys="", to=None, workers=1):
        path = tmp_path / "the.log"
        where = to or f"path: {path}"
        weir = start_weir(
            f"access_log: {{ {where}{keys} }}\nroutes: [ {{ match: {{ path: /a }}, to: app }} ]\n"
            f"pools: {{ app: [ '{auto().address}' ] }}\n",
            workers=workers,
        )
        return weir, path

    return make


def ask(weir, count, path="/a", first=0):
    with weir.client() as c:
        for n in range(first, first + count):
            c.get(path, extra=f"X-Request-Id: {n}\r\n")


def lines(path):
    text = ""
    with suppress(FileNotFoundError):  # there is none yet, or it is just being renamed
        text = path.read_text()
    whole = text[: text.rfind("\n") + 1]  # another may be half written
    return [json.loads(line) for line in whole.splitlines()]


def wait_lines(count, *paths):
    """The ids in these files, one after the other."""
    wait_for(lambda: sum(len(lines(p)) for p in paths) >= count, f"{count} lines")
    return [int(e["id"]) for p in paths for e in lines(p)]


def told(path):
    """The ids in all of its files; one may be renamed while they are read."""
    with suppress(FileNotFoundError):
        return [int(e["id"]) for p in [*older(path), path] for e in lines(p)]
    return []


def older(path):
    return sorted(path.parent.glob(path.name + ".*"), key=lambda p: -int(p.suffix[1:]))


# ---- rotation ------------------------------------------------------------------------------------


def test_sigusr1_opens_the_file_again(logging):
    weir, path = logging()
    ask(weir, 3)
    assert wait_lines(3, path) == [0, 1, 2]
    path.rename(f"{path}.1")
    weir.signal(signal.SIGUSR1)
    weir.said("the access log is opened again")
    ask(weir, 2, first=3)
    assert wait_lines(2, path) == [3, 4]
    assert wait_lines(3, path.with_name("the.log.1")) == [0, 1, 2]


def test_sigusr1_that_cannot_be_obeyed_leaves_the_file(logging):
    weir, path = logging()
    ask(weir, 1)
    wait_lines(1, path)
    path.rename(f"{path}.1")
    path.mkdir()
    weir.signal(signal.SIGUSR1)
    weir.said("the access log stays as it is")
    ask(weir, 1, first=1)
    assert wait_lines(2, path.with_name("the.log.1")) == [0, 1]


def test_sigusr1_without_a_log_ends_nothing(start_weir, auto):
    weir = start_weir(
        f"# access_log: none\nroutes: [ {{ to: app }} ]\npools: {{ app: [ '{auto().address}' ] }}\n"
    )
    weir.signal(signal.SIGUSR1)
    weir.said("no access log to open again")


def test_a_file_is_renamed_before_it_is_too_large_and_no_line_is_lost(logging):
    weir, path = logging(", rotate: { size: 4KiB, keep: 100 }")
    for first in range(0, 60, 3):
        ask(weir, 3, first=first)
        wait_for(lambda n=first: len(told(path)) == n + 3, "the lines")
    files = [*older(path), path]
    assert wait_lines(60, *files) == list(range(60))
    assert len(files) > 3 and all(p.stat().st_size <= 4096 for p in files)


def test_only_so_many_older_files_are_kept(logging):
    weir, path = logging(", rotate: { size: 1KiB, keep: 2 }")
    for n in range(20):
        ask(weir, 1, first=n)
        wait_for(lambda n=n: n in [int(e["id"]) for e in lines(path)], "the line")
    assert [p.name for p in older(path)] == ["the.log.2", "the.log.1"]
    ids = wait_lines(3, *older(path), path)
    assert ids == list(range(ids[0], 20))


def test_a_file_that_is_there_already_counts(logging, tmp_path):
    (tmp_path / "the.log").write_text('{"id":"99"}\n' * 100)
    weir, path = logging(", rotate: 1KiB")
    ask(weir, 1)
    assert wait_lines(101, path.with_name("the.log.1"), path)[-1] == 0
    assert len(lines(path)) == 1


# ---- fields and sampling -------------------------------------------------------------------------


def test_fields_are_those_that_are_named_in_that_order(logging):
    weir, path = logging(", fields: [ status, id, trail, user_agent, total_ms, time ]")
    ask(weir, 1)
    wait_for(lambda: lines(path), "the line")
    (entry,) = lines(path)
    assert list(entry) == ["status", "id", "trail", "user_agent", "total_ms", "time"]
    assert (entry["status"], entry["id"], entry["trail"], entry["user_agent"]) == (200, "0", [], "")


def test_without_fields_there_are_all(logging):
    weir, path = logging()
    ask(weir, 1)
    wait_for(lambda: lines(path), "the line")
    assert list(lines(path)[0]) == KEYS


@pytest.mark.parametrize("name", [*KEYS, "referer", "user_agent", "trace_id", "span_id", "parent_id"])
def test_each_field_that_the_schema_has_is_known(logging, name):
    weir, path = logging(f", fields: [ {name} ]")
    ask(weir, 1)
    wait_for(lambda: lines(path), "the line")
    assert list(lines(path)[0]) == [name]


def test_a_sample_is_the_same_everywhere_and_what_fails_is_always_told(logging):
    chosen = []
    for workers in (1, 2):
        weir, path = logging(", sample: 25%", workers=workers)
        path.unlink(missing_ok=True)
        weir.signal(signal.SIGUSR1)
        wait_for(lambda w=weir: "is opened again" in w.stderr(), "weir to say so")
        ask(weir, 400)
        ask(weir, 20, "/b", first=1000)  # 404s of weir's own
        wait_for(lambda: sum(e["reason"] == "no_route" for e in lines(path)) == 20, "the errors")
        weir.stop()
        chosen.append(sorted(int(e["id"]) for e in lines(path) if e["status"] == 200))
    assert chosen[0] == chosen[1]
    assert 60 < len(chosen[0]) < 140


def test_a_sample_of_none_tells_what_fails(logging):
    weir, path = logging(", sample: 0%")
    ask(weir, 10)
    ask(weir, 1, "/b", first=77)
    assert wait_lines(1, path) == [77]


# ---- syslog --------------------------------------------------------------------------------------

whole = pytest.mark.skipif(bool(FAULTS), reason="a kernel cuts streams short, but no datagram")
MESSAGE = re.compile(
    r"<(\d+)>1 (\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z) (\S+) (\S+) (\d+) access - (.*)", re.S
)


def daemon(family, where):
    sock = socket.socket(family, socket.SOCK_DGRAM)
    sock.bind(where)
    sock.settimeout(DEADLINE)
    return sock


@pytest.fixture(params=["unix", "udp"])
def syslog(request, closing, tmp_path):
    """(a socket that is syslog's, what names it in the configuration)"""
    if request.param == "unix":
        return closing(daemon(socket.AF_UNIX, str(tmp_path / "dev"))), f"unix:{tmp_path}/dev"
    sock = closing(daemon(socket.AF_INET, ("127.0.0.1", 0)))
    return sock, f"127.0.0.1:{sock.getsockname()[1]}"


def message(sock):
    got = MESSAGE.fullmatch(sock.recv(65536).decode())
    assert got
    return got.groups()


@whole
def test_each_line_is_a_message_of_syslog(logging, syslog):
    sock, to = syslog
    weir, _ = logging(to=f"syslog: {{ to: '{to}', facility: local3, tag: edge }}")
    ask(weir, 3)
    for n in range(3):
        priority, _, host, tag, pid, text = message(sock)
        assert (int(priority), tag, int(pid)) == (19 * 8 + 6, "edge", weir.pid)
        assert host == socket.gethostname()
        assert json.loads(text)["id"] == str(n)


@whole
def test_a_template_and_the_short_form(logging, syslog):
    sock, to = syslog
    weir, _ = logging(', format: "{method} {path} {status}"', to=f"syslog: '{to}'")
    ask(weir, 1)
    assert message(sock)[5] == "GET /a 200"


@whole
def test_a_daemon_that_is_restarted_gets_what_comes_then(logging, closing, tmp_path):
    where = str(tmp_path / "dev")
    first = daemon(socket.AF_UNIX, where)
    weir, _ = logging(to=f"syslog: 'unix:{where}'")
    ask(weir, 1)
    message(first)
    first.close()
    (tmp_path / "dev").unlink()
    ask(weir, 1)  # nobody is there; and no request waits for it
    wait_for(lambda: weir.metric("weir_access_log_dropped_total") == 1, "the line to be lost")
    second = closing(daemon(socket.AF_UNIX, where))
    ask(weir, 1, first=7)
    assert json.loads(message(second)[5])["id"] == "7"


@whole
def test_a_daemon_that_does_not_read_holds_nobody_up(logging, closing, tmp_path):
    sock = closing(daemon(socket.AF_UNIX, str(tmp_path / "dev")))
    weir, _ = logging(to=f"syslog: 'unix:{tmp_path}/dev'")
    ask(weir, 300)  # a socket of Unix takes but a few
    ids = [json.loads(message(sock)[5])["id"] for _ in range(300)]
    assert ids == [str(n) for n in range(300)]


# ---- what is wrong -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "keys,says",
    [
        ("format: json", "where to?"),
        ("path: x, syslog: unix:/dev/log", "not to both"),
        ('path: x, format: "{id}", fields: [ id ]', "fields is for json"),
        ("path: x, fields: [ ide ]", 'did you mean \\"id'),
        ("path: x, fields: [ id, id ]", "listed twice"),
        ("path: x, fields: []", "at least one field"),
        ("path: x, sample: 101%", "100%"),
        ("path: x, rotate: 10", "unit"),
        ("path: x, rotate: { keep: 1001 }", "1000"),
        ("path: /dev/stdout, rotate: 1MiB", "not to be renamed"),
        ("path: /dev/stderr, rotate: { size: 1MiB, keep: 0 }", "not to be renamed"),
        ("syslog: { to: unix:/x, facility: local8 }", "local0"),
        ('syslog: { to: unix:/x, tag: "a b" }', "without spaces"),
        ("syslog: {}", "to"),
    ],
)
def test_a_log_that_cannot_be_is_an_error_with_its_place(tmp, keys, says):
    path = tmp / "weir.yaml"
    path.write_text(
        f"version: 1\naccess_log: {{ {keys} }}\nlisteners: {{ web: '127.0.0.1:0' }}\n"
        "routes: [ { to: app } ]\npools: { app: [ '127.0.0.1:1' ] }\n"
    )
    got = run_weir("check", path)
    assert got.returncode == 1 and "weir.yaml:2:" in got.stderr, got.stderr
    assert says.replace('\\"', '"') in got.stderr, got.stderr


def test_a_change_of_the_log_is_for_the_next_start(logging, tmp_path):
    weir, path = logging()
    text = (weir.tmp / "weir.yaml").read_text()
    (weir.tmp / "weir.yaml").write_text(text.replace("the.log", "other.log"))
    weir.signal(signal.SIGHUP)
    weir.said("generation 2 serves")
    weir.said("access_log")
    weir.said("when weir starts again")


@pytest.mark.skipif(sanitizer() == "tsan", reason="tsan's first thread is its own, and it asks for all")
def test_a_write_that_hangs_does_not_keep_weir_from_its_end(start_weir, auto):
    """As on a disk that hangs: the thread that writes stands still."""
    leaks = ":detect_leaks=0"  # asan would have a look at that thread
    env = {"ASAN_OPTIONS": os.environ.get("ASAN_OPTIONS", "") + leaks}
    weir = start_weir(f"routes: [ {{ to: app }} ]\npools: {{ app: [ '{auto().address}' ] }}\n", env=env)
    hold(sorted(int(t) for t in os.listdir(f"/proc/{weir.pid}/task"))[1])  # the first that is begun
    ask(weir, 1)
    weir.stop()
    weir.said("a write does not end; what is left is lost")
