# SPDX-License-Identifier: Apache-2.0
"""Binary upgrades: a new process takes the listening sockets over, and no client notices."""
import os
import re
import shutil
import signal
import socket
import subprocess
import threading
import time
from contextlib import suppress
from pathlib import Path

import pytest

import h2client
import harness
from harness import WEIR, environment
from peers import Client, wait_for
from test_activation import manager
from test_canary import begin as canary_begin
from test_reload import generations, rewrite
from test_tls import listener
from tlspeer import TlsClient
from upgrading import Process, ended, refused, upgrade

UPGRADES = int(os.environ.get("WEIR_UPGRADES", "5"))
KEPT, FRESH = 8, 4  # threads of keep-alive and of new connections

CONFIG = """
routes: [ { to: app } ]
pools: { app: [ "$UP" ] }
shutdown: 12s
"""


@pytest.fixture
def weir(start_weir, auto):
    return start_weir(CONFIG.replace("$UP", auto(body=b"here").address))


def last(response):
    return response.get("Connection") == "close"


def told(client):
    """It is asked until it is told to go: a worker hears of that a moment after the new process."""
    answers = []
    wait_for(lambda: answers.append(client.get()) or last(answers[-1]), "it to be told to go")
    return answers[-1]


def accepted_by_the_new(weir):
    """The old one may accept one more in the moment in which it is told to leave."""
    while last((client := weir.client()).get()):
        client.close()
    return client


def test_a_new_process_takes_over_and_the_old_one_ends_with_its_last_connection(weir):
    kept = weir.client()
    assert not last(kept.get())
    admin = weir.admin
    old = upgrade(weir)
    assert weir.admin == admin and weir.ready["listeners"] == weir.listeners
    with accepted_by_the_new(weir) as fresh:
        assert weir.metric("weir_upgrades") == 1 and weir.metric("weir_generation") == 1
        weir.said("drains for at most")
        assert old.poll() is None
        assert told(kept).body == b"here"  # what is idle is not cut, but told
        kept.expect_closed()
        ended(old)
        assert not last(fresh.get())


def test_a_tunnel_stays_with_the_old_one_until_its_deadline(start_weir, upstream):
    weir = start_weir(CONFIG.replace("$UP", upstream.address).replace("12s", "5s"))
    tunnel = weir.client()
    tunnel.send("GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n")
    up = upstream.accept()
    up.request()
    up.send("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n")
    assert tunnel.response().status == 101
    old = upgrade(weir)
    tunnel.send("a word")
    up.expect("a word")
    ended(old)
    tunnel.expect_ended()
    weir.said("the deadline has passed")


def test_streams_of_http2_end_and_the_client_is_told_to_go(start_weir, upstream):
    weir = start_weir(CONFIG.replace("$UP", upstream.address))
    client = h2client.over(weir.client())
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n")
    up = upstream.accept()
    up.request()
    old = upgrade(weir)
    up.answer(b"late")
    assert client.response().body == b"late"
    client.expect_closed()
    ended(old)


def test_the_number_of_workers_may_change(start_weir, auto):
    text = CONFIG.replace("$UP", auto(body=b"here").address) + "workers: "
    weir = start_weir(text + "1")
    for workers in (4, 2, 3, 1, 1):
        rewrite(weir, text + str(workers))
        ended(upgrade(weir))
        weir.wait_metric("weir_workers", workers)
        for _ in range(12):
            with weir.client() as client:
                assert client.get().body == b"here"


def test_who_waits_in_the_kernel_is_served_by_the_new_one(start_weir, auto):
    """Over limits.connections accepting pauses: those wait in the old one's sockets."""
    text = CONFIG.replace("$UP", auto(body=b"here").address) + "workers: 3\n"
    weir = start_weir(text + "limits: { connections: 1 }\n", workers=3)
    weir.wait_metric("weir_client_connections", 0)
    held = [weir.client() for _ in range(40)]
    rewrite(weir, text.replace("workers: 3", "workers: 2") + "limits: { connections: 100 }\n")
    upgrade(weir)
    for client in held:
        client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n")
    answers = [client.response() for client in held]
    assert {a.status for a in answers} <= {200, 503}  # 503: those 17 that were told at once
    assert sum(a.status == 200 for a in answers) >= 40 - 17


def test_sockets_of_a_unix_path_are_taken_over_with_the_path(start_weir, auto):
    text = 'listeners: { web: "unix:$TMP/web.sock" }\n' + CONFIG.replace("$UP", auto().address)
    weir = start_weir(text, workers=2)
    path = weir.tmp / "web.sock"
    inode = path.stat().st_ino
    ended(upgrade(weir))
    assert path.stat().st_ino == inode
    with weir.client() as client:
        assert client.get().status == 200
    weir.stop()
    assert not path.exists()


def test_what_a_service_manager_has_opened_is_passed_on(start_weir, auto, tmp):
    path = tmp / "passed.sock"
    config = f"""
listeners: {{ web: "127.0.0.1:${{PORT}}", local: "unix:{path}" }}
shutdown: 12s
""" + CONFIG.replace("$UP", auto().address).replace("shutdown: 12s", "")
    weir = start_weir(config, workers=2, wrap=manager(path))
    for _ in range(2):
        ended(upgrade(weir))
        for name in ("web", "local"):
            with Client(weir.listeners[name]) as client:
                assert client.get().status == 200
    weir.stop()
    assert path.exists()


def test_no_descriptor_is_left_over(weir):
    weir.wait_metric("weir_client_connections", 0)
    count = weir.open_files()
    for _ in range(4):
        ended(upgrade(weir))
        wait_for(lambda: weir.open_files() <= count, "as many open files as before")
    for fd in os.listdir(f"/proc/{weir.pid}/fd"):
        if int(fd) > 2:
            with suppress(FileNotFoundError):  # closed since
                info = Path(f"/proc/{weir.pid}/fdinfo/{fd}").read_text()
                assert int(info.split("flags:")[1].split()[0], 8) & os.O_CLOEXEC, info


# ---- what fails ---------------------------------------------------------------------------------


def test_a_broken_file_leaves_the_old_one_serving(weir, auto):
    kept = weir.client()
    good = (weir.tmp / "weir.yaml").read_text()
    (weir.tmp / "weir.yaml").write_text("what: is this\n")
    for count in (1, 2):
        refused(weir, count)
        assert not last(kept.get())
    weir.said("the new process has ended before it was ready; this process serves on", 2)
    weir.said("nothing was started")
    (weir.tmp / "weir.yaml").write_text(good)
    upgrade(weir)
    told(kept)


@pytest.fixture
def program(tmp):
    """A path by which weir is started, and which tests let lead elsewhere."""
    path = tmp / "weir-program"
    path.symlink_to(WEIR)
    return path


def wrapped(program):
    return ("/bin/sh", "-c", f'shift; exec {program} "$@"', "sh")


def become(program, script):
    program.unlink(missing_ok=True)
    if script:
        program.write_text("#!/bin/sh\n" + script)
        program.chmod(0o755)


@pytest.mark.parametrize("script, why", [
    (None, "No such file or directory"),
    ("exit 3", "the new process has ended before it was ready"),
    ("kill -SEGV $$", "the new process has ended before it was ready"),
], ids=["missing", "exits", "crashes"])
def test_a_program_that_does_not_come_up_leaves_the_old_one_serving(start_weir, auto, program, script, why):
    weir = start_weir(CONFIG.replace("$UP", auto().address), wrap=wrapped(program))
    kept = weir.client()
    assert not last(kept.get())
    become(program, script)
    refused(weir, 1)
    assert not last(kept.get())
    weir.said(why)
    become(program, None)
    program.symlink_to(WEIR)
    old = upgrade(weir)
    told(kept)
    ended(old)


def test_a_second_one_is_refused_while_the_first_is_not_done(start_weir, auto, program):
    weir = start_weir(CONFIG.replace("$UP", auto().address), wrap=wrapped(program))
    hung = program.parent / "hung"
    become(program, f"echo $$ >{hung}.new; mv {hung}.new {hung}; exec sleep 1000")
    weir.signal(signal.SIGUSR2)
    wait_for(hung.exists, "the new process to begin")
    weir.signal(signal.SIGUSR2)
    weir.said("it is refused: there is one already that is not done")
    with weir.client() as client:
        assert client.get().status == 200
    weir.stop()
    wait_for(lambda: not os.path.exists(f"/proc/{hung.read_text().strip()}/fd/0"), "the new process to be killed")


def test_a_canary_does_not_pass_while_sockets_are_handed_over(start_weir, auto, program):
    """It takes a listener away, whose socket the new process is to have."""
    text = CONFIG.replace("$UP", auto().address)
    going = "listeners: { web: '127.0.0.1:0', going: '127.0.0.1:0' }\n"
    weir = start_weir(going + text, wrap=wrapped(program))
    rewrite(weir, going.replace(", going: '127.0.0.1:0'", "") + text)
    asked = canary_begin(weir, canary="50%", **{"for": "5s"})
    hung = program.parent / "hung"
    become(program, f"echo $$ >{hung}.new; mv {hung}.new {hung}; exec sleep 1000")
    weir.signal(signal.SIGUSR2)
    wait_for(hung.exists, "the new process to begin")
    wait_for(lambda: generations(weir)["generations"][1]["left_ms"] == 0, "the canary's time to be over")
    until = time.monotonic() + 0.5  # ten looks whether it may pass
    while time.monotonic() < until:
        assert weir.metric("weir_canary_share") == 0.5
        with Client(weir.listeners["going"]) as client:
            assert client.get().status == 200
    os.kill(int(hung.read_text()), signal.SIGKILL)
    weir.said("the new process has ended before it was ready; this process serves on")
    assert asked.wait() == (200, "generation 2 serves\n")


def test_the_old_one_ends_at_once_when_told_twice(weir):
    kept = weir.client()
    kept.get()
    old = upgrade(weir)
    os.kill(old.pid, signal.SIGTERM)
    kept.expect_closed()
    ended(old)
    with weir.client() as client:
        assert client.get().status == 200


def test_sessions_of_tls_are_resumed_by_the_new_one(start_weir, auto, authority):
    weir = start_weir(listener(authority.server()) + CONFIG.replace("$UP", auto().address))
    context = authority.client_context()

    def resumed(session):
        with TlsClient(weir.listeners["web"], context, session=session) as client:
            assert client.get(extra="Connection: close\r\n").status == 200
            return client.sock.tls.session, client.sock.tls.session_reused

    session, was = resumed(None)
    assert not was and resumed(session)[1]
    ended(upgrade(weir))
    assert resumed(session)[1]


def test_sessions_of_a_listener_are_none_of_the_admins(start_weir, auto, authority):
    """Whatever the listener is called."""
    pair = authority.server()
    tls = f"tls: {{ certs: {pair.cert} }}"
    weir = start_weir(f"admin: {{ listen: '127.0.0.1:0', {tls} }}\n"
                      f"listeners: {{ listener: {{ bind: '127.0.0.1:0', {tls} }} }}\n"
                      + CONFIG.replace("$UP", auto().address))
    context = authority.client_context()

    def resumed(address, session):
        with TlsClient(address, context, session=session) as client:
            client.get(extra="Connection: close\r\n")
            return client.sock.tls.session, client.sock.tls.session_reused

    session, _ = resumed(weir.listeners["listener"], None)
    assert not resumed(weir.admin, session)[1]
    ended(upgrade(weir))
    assert not resumed(weir.admin, session)[1]
    assert resumed(weir.listeners["listener"], session)[1]


@pytest.mark.parametrize("auth", ["required", "optional"])
def test_sessions_of_clients_that_are_known_are_resumed_too(start_weir, auto, authority, tmp, auth):
    """What their certificates were worth, the session says; and it is worth as much to the new one,
    if that trusts the same authorities and asks as much."""
    ca, up = shutil.copy(authority.cert, tmp / "ca.pem"), auto().address
    text = listener(authority.server(), more=f", client_ca: {ca}, client_auth: {auth}")
    weir = start_weir(text + CONFIG.replace("$UP", up))
    context = authority.client_context(pair=authority.issue(subject="/CN=me"))

    def resumed(session):
        with TlsClient(weir.listeners["web"], context, session=session) as client:
            assert client.get(extra="Connection: close\r\n").status == 200
            return client.sock.tls.session, client.sock.tls.session_reused

    session, was = resumed(None)
    assert not was
    ended(upgrade(weir))
    session, was = resumed(session)
    assert was
    other = {"required": "optional", "optional": "required"}[auth]
    rewrite(weir, text.replace(auth, other) + CONFIG.replace("$UP", up))
    ended(upgrade(weir))
    session, was = resumed(session)
    assert not was, "asked for less, or more"
    with open(ca, "a", encoding="utf-8") as more:
        more.write(authority.issue(subject="/CN=another").cert.read_text())
    ended(upgrade(weir))
    assert not resumed(session)[1], "trusts somebody else, too"


def test_a_ready_file_that_cannot_be_written_ends_nobody_who_serves(weir):
    weir.ready_file.unlink()
    (weir.ready_file / "in the way").mkdir(parents=True)
    old = weir.proc
    weir.signal(signal.SIGUSR2)
    ended(old)
    with weir.client() as client:
        assert client.get().body == b"here"
    weir.said("cannot write --ready-file")
    weir.pid = int(re.search(r"process (\d+) serves", weir.stderr()).group(1))
    weir.proc = Process(weir.pid)


class Before:
    """What a weir takes over from: the test."""

    def __init__(self):
        self.sock, self.other = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.sock.settimeout(harness.DEADLINE)

    def start(self, tmp, config):
        path = tmp / "weir.yaml"
        path.write_text("version: 1\nworkers: 1\nshutdown: 100ms\n" + config.replace("$TMP", str(tmp)))
        env = {**environment(), "WEIR_UPGRADE": str(self.other.fileno())}
        self.proc = subprocess.Popen([str(WEIR), "run", "-c", str(path)], env=env, cwd=tmp,
                                     pass_fds=[self.other.fileno()])
        self.other.close()
        return self.proc

    def close(self):
        self.sock.close()
        self.proc.kill()
        self.proc.wait()


@pytest.fixture
def before(closing):
    return closing(Before())


# A pool that is not found: weir listens, but is not ready for some seconds.
NOT_YET = """
listeners: { web: "unix:$TMP/web.sock" }
routes: [ { to: app } ]
pools: { app: { dns: { name: app.test., port: 80, server: "$DNS" } } }
"""


@pytest.fixture
def silent(closing):
    sock = closing(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
    sock.bind(("127.0.0.1", 0))
    return sock


def until_it_looks(silent):
    silent.settimeout(harness.DEADLINE)
    silent.recv(4096)


def not_yet(silent):
    return NOT_YET.replace("$DNS", "127.0.0.1:%d" % silent.getsockname()[1])


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR2], ids=["SIGTERM", "SIGUSR2"])
def test_what_is_not_ready_takes_nothing_from_the_one_before(before, silent, tmp, closing, number):
    listening = closing(socket.socket(socket.AF_UNIX))
    listening.bind(str(tmp / "web.sock"))
    listening.listen()
    proc = before.start(tmp, not_yet(silent))
    before.sock.send(b"weir 1 1")
    socket.send_fds(before.sock, [b"socket web unix:%s" % os.fsencode(tmp / "web.sock")], [listening.fileno()])
    before.sock.send(b"end")
    until_it_looks(silent)
    proc.send_signal(number)
    if number == signal.SIGUSR2:  # which waits
        assert before.sock.recv(1024) == b"ready %d" % proc.pid
        proc.terminate()
    else:
        assert before.sock.recv(1024) == b""
    proc.wait(harness.DEADLINE)
    assert (tmp / "web.sock").exists()


def test_another_version_of_the_protocol_is_refused(before, silent, tmp):
    proc = before.start(tmp, not_yet(silent))
    before.sock.send(b"weir 12")
    assert before.sock.recv(1024) == b""
    assert proc.wait(harness.DEADLINE) == 1


def test_a_unix_socket_has_the_mode_of_the_new_file_and_no_path_if_that_has_it_not(
    start_weir, auto
):
    text = CONFIG.replace("$UP", auto(body=b"here").address)
    modes = 'listeners: { web: { bind: "unix:$TMP/web", mode: "0%o" }%s }\n'
    weir = start_weir(modes % (0o600, ', gone: "unix:$TMP/gone"') + text)
    web, gone = weir.tmp / "web", weir.tmp / "gone"
    assert web.stat().st_mode & 0o777 == 0o600 and gone.exists()
    rewrite(weir, modes % (0o660, "") + text)
    ended(upgrade(weir))
    wait_for(lambda: not gone.exists(), "the path to be removed")
    assert web.stat().st_mode & 0o777 == 0o660
    with weir.client() as client:
        assert client.get().body == b"here"


# ---- under load ---------------------------------------------------------------------------------


class Load(threading.Thread):
    """One client that asks again and again, by a connection that it keeps as long as it may, or by
    a new one each time. What fails is told."""

    def __init__(self, weir, keeps):
        super().__init__(daemon=True)
        self.address, self.keeps = weir.listeners["web"], keeps
        self.over, self.failure, self.answers, self.opened = False, None, 0, 0
        self.start()

    def run(self):
        client = None
        try:
            while not self.over:
                if client is None:
                    client = Client(self.address)
                    self.opened += 1
                response = client.get(extra="" if self.keeps else "Connection: close\r\n")
                assert response.status == 200 and response.body == b"here", response.wire
                self.answers += 1
                if last(response) or not self.keeps:
                    client.close()
                    client = None
        except (AssertionError, OSError) as e:
            self.failure = f"{type(e).__name__}: {e}"
        finally:
            if client:
                client.close()

    def end(self):
        self.over = True
        self.join(harness.DEADLINE)
        assert not self.is_alive() and self.failure is None, self.failure


@pytest.mark.parametrize("workers", [1, 3])
def test_nobody_notices_upgrades_under_load(start_weir, auto, workers):
    weir = start_weir(CONFIG.replace("$UP", auto(body=b"here").address), workers=workers)
    load = [Load(weir, n < KEPT) for n in range(KEPT + FRESH)]
    for n in range(1, UPGRADES + 1):
        before = [one.answers for one in load]
        ended(upgrade(weir))
        wait_for(lambda: all(one.failure or one.answers > count + 1
                             for one, count in zip(load, before)), "every client to go on")
        assert not any(one.failure for one in load), [one.failure for one in load]
        weir.wait_metric("weir_upgrades", n)
    for one in load:
        one.end()
    print(f"{UPGRADES} upgrades, {sum(one.answers for one in load)} requests, "
          f"{sum(one.opened for one in load)} connections")
