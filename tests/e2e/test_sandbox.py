# SPDX-License-Identifier: Apache-2.0
"""What weir gives up once it listens: its user, rights, files, calls. What that would keep it from
(reloads, certificates, upgrades) goes on as far as the configuration has named it."""
import os
import pwd
import re
import socket
import subprocess
from pathlib import Path

import pytest

import harness
from harness import WEIR, environment, new_tmp
from peers import DEADLINE, SLOW, wait_for
from test_reload import reload, rewrite
from test_tls import listener
from tlspeer import TlsClient
from upgrading import ended, upgrade

CONFIG = """
routes: [ { to: app } ]
pools: { app: [ "$UP" ] }
shutdown: 6s
"""
NOBODY = pwd.getpwnam("nobody")
LISTEN_ONLY = 1 << 10  # CAP_NET_BIND_SERVICE

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
walls = subprocess.run([str(WEIR), "version"], capture_output=True, text=True, env=environment()).stdout
needs_walls = pytest.mark.skipif(
    not ("landlock" in walls and "seccomp" in walls), reason="this build or this kernel has no walls"
)


def threads(weir):
    """By thread, what the kernel says of it; the first is the control thread."""
    found = []
    for task in sorted(Path(f"/proc/{weir.pid}/task").iterdir(), key=lambda p: int(p.name)):
        text = (task / "status").read_text()
        found.append(dict(re.findall(r"^(\w+):\s+(.*)$", text, re.M)))
    return found


@needs_walls
def test_every_thread_is_in_the_sandbox_and_workers_are_deeper(start_weir, auto):
    weir = start_weir(CONFIG.replace("$UP", auto().address), workers=2)
    found = threads(weir)
    assert {t["NoNewPrivs"] for t in found} == {"1"} and {t["Seccomp"] for t in found} == {"2"}
    assert found[0]["Seccomp_filters"] == "1"
    wait_for(lambda: sum(t["Seccomp_filters"] == "2" for t in threads(weir)) == 2, "two workers to enter it")
    weir.said("sandbox: no_new_privs, landlock, seccomp")
    with weir.client() as client:
        assert client.get().status == 200


def listening(address):
    """How many sockets listen at this address of IPv4."""
    host, port = address.split(":")
    at = f"{int.from_bytes(socket.inet_aton(host), 'little'):08X}:{int(port):04X}"
    rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    return sum((row[1], row[3]) == (at, "0A") for row in rows)


@needs_walls
def test_every_worker_listens_where_a_reload_says(start_weir, auto):
    config = 'listeners: { web: "127.0.0.1:0"%s }\n' + CONFIG.replace("$UP", auto().address)
    weir = start_weir(config % "", workers=2)
    wait_for(lambda: sum(t["Seccomp_filters"] == "2" for t in threads(weir)) == 2, "two workers to enter it")
    reload(weir, config % ', more: "127.0.0.1:0"')
    ready = weir._wait_ready()["listeners"]
    assert [listening(ready[name]) for name in ("web", "more")] == [2, 2]
    assert "cannot listen" not in weir.stderr()


def test_it_may_be_left_out(start_weir, auto):
    weir = start_weir("sandbox: false\n" + CONFIG.replace("$UP", auto().address))
    assert {(t["NoNewPrivs"], t["Seccomp"]) for t in threads(weir)} == {("0", "0")}
    assert "sandbox:" not in weir.stderr()


@pytest.fixture
def open_tmp(monkeypatch):
    """Folders of tests in which anybody may write."""

    def make():
        path = new_tmp()
        os.chmod(path, 0o777)
        return path

    monkeypatch.setattr(harness, "new_tmp", make)


@needs_root
@pytest.mark.parametrize("user, gids", [
    ("nobody", {NOBODY.pw_gid}),
    ("{ name: nobody, group: daemon }", {1}),
])
def test_it_becomes_somebody_who_may_do_nothing_but_listen(start_weir, auto, open_tmp, user, gids):
    up = auto()
    text = f"user: {user}\n" + CONFIG.replace("$UP", up.address)
    weir = start_weir(text)

    def check():
        for t in threads(weir):
            assert set(t["Uid"].split()) == {str(NOBODY.pw_uid)}
            assert {int(g) for g in t["Gid"].split()} == gids
            assert set(t["Groups"].split()) <= {str(g) for g in gids}
            assert int(t["CapEff"], 16) | int(t["CapPrm"], 16) in (0, LISTEN_ONLY)
            assert int(t["CapBnd"], 16) in (0, LISTEN_ONLY)
        assert int(threads(weir)[0]["CapEff"], 16) == LISTEN_ONLY
        assert (weir.tmp / "access.log").stat().st_uid == NOBODY.pw_uid
        with weir.client() as client:
            assert client.get().status == 200

    check()
    reload(weir, text + "timeouts: { request: 5s }\n")
    check()
    old = upgrade(weir)  # by whom weir was started: that one becomes nobody by itself
    ended(old)
    check()


def starts(config, *wrap):
    """A start that fails: what weir says."""
    path = Path(new_tmp()) / "weir.yaml"
    path.parent.chmod(0o755)
    path.write_text("version: 1\nlisteners: { web: '127.0.0.1:0' }\n" + config.replace("$UP", "127.0.0.1:9"))
    done = subprocess.run([*wrap, str(WEIR), "run", "-c", str(path)], capture_output=True, text=True,
                          env=environment(faults=""), timeout=DEADLINE * SLOW)  # whose files are root's
    path.unlink()
    path.parent.rmdir()
    assert done.returncode == 1, done.stderr
    return done.stderr


@needs_root
def test_nobody_is_served_by_root_when_another_was_asked_for():
    said = starts("user: nobody-of-that-name\n" + CONFIG)
    assert 'weir.yaml:3:7: error: user: there is no user "nobody-of-that-name": ' in said
    said = starts("user: { name: nobody, group: none-of-that-name }\n" + CONFIG)
    assert 'error: user: there is no group "none-of-that-name": ' in said
    binary = os.stat(WEIR)
    if binary.st_mode & 0o005 == 0o005:
        said = starts("user: daemon\n" + CONFIG, "setpriv", "--reuid=65534", "--clear-groups", "--regid=65534")
        assert 'error: user: cannot become "daemon": Operation not permitted' in said


@needs_walls
def test_a_certificate_elsewhere_is_refused_with_what_mends_it(start_weir, auto, authority, tmp):
    near, far = tmp / "near", tmp / "far"
    (far / "deep").mkdir(parents=True)
    here = authority.issue("a.example").into(near, "here")
    text = CONFIG.replace("$UP", auto().address)
    weir = start_weir(listener(here) + text)
    there = authority.issue("a.example").into(far / "deep", "there")
    reload(weir, listener(there) + text, result="failed")
    weir.said(f"{there.cert}: Permission denied")
    weir.said("a binary upgrade (SIGUSR2) or a restart allows those of the new one")
    late = authority.issue("a.example").into(near, "late")  # another file of a folder that is known
    reload(weir, listener(late) + text)
    rewrite(weir, listener(there) + text)
    ended(upgrade(weir))
    with TlsClient(weir.listeners["web"], authority.client_context()) as client:
        assert client.get().status == 200
        serial = client.sock.tls.getpeercert()["serialNumber"]
    assert serial.lstrip("0") == there.serial.lstrip("0")


@needs_walls
def test_names_are_looked_up_at_a_reload(start_weir, auto):
    """What libc loads and reads for that is allowed."""
    up = auto()
    weir = start_weir(CONFIG.replace("$UP", up.address))
    reload(weir, CONFIG.replace("$UP", up.address.replace("127.0.0.1", "localhost")))
    with weir.client() as client:
        assert client.get().status == 200
