# SPDX-License-Identifier: Apache-2.0
"""What weir tells the service manager that started it: sd_notify(3), to a socket of the test's."""
import ctypes
import os
import signal
import socket
import sys
import threading
import time
from contextlib import suppress

import pytest

from peers import DEADLINE, deadline
from upgrading import ended, upgrade

CONFIG = """
routes: [ { to: app } ]
pools: { app: [ "127.0.0.1:9" ] }
"""
SLOW_END = CONFIG + "shutdown: 3s\n"


class Manager:
    """The other end of NOTIFY_SOCKET: said() is the next message, as a dictionary."""

    def __init__(self, where):
        self.where = where
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.sock.bind("\0" + where[1:] if where[0] == "@" else where)
        self.sock.settimeout(DEADLINE)

    def said(self):
        return dict(line.split("=", 1) for line in self.sock.recv(4096).decode().split("\n"))

    def close(self):
        self.sock.close()


@pytest.fixture(params=["path", "abstract"])
def manager(request, tmp, closing):
    name = f"weir-test-{os.getpid()}-{id(request)}"
    return closing(Manager(f"@{name}" if request.param == "abstract" else str(tmp / "notify")))


def test_it_says_when_it_serves_and_when_it_ends(start_weir, manager):
    weir = start_weir(SLOW_END, env={"NOTIFY_SOCKET": manager.where})
    assert manager.said() == {"READY": "1", "STATUS": "serving"}
    weir.stop()
    # As long as the configuration gives requests, and some for the rest.
    assert manager.said() == {"STOPPING": "1", "STATUS": "draining", "EXTEND_TIMEOUT_USEC": "8000000"}
    manager.sock.setblocking(False)
    with pytest.raises(BlockingIOError):
        manager.sock.recv(4096)


@pytest.mark.parametrize("text, result", [(CONFIG, "done"), ("what: is this", "failed")],
                         ids=["done", "failed"])
def test_it_says_when_it_reloads_and_that_it_serves_whatever_came_of_it(start_weir, manager, text, result):
    weir = start_weir(CONFIG, env={"NOTIFY_SOCKET": manager.where})
    assert manager.said() == {"READY": "1", "STATUS": "serving"}
    (weir.tmp / "weir.yaml").write_text(weir._complete(text, None))
    before = time.monotonic_ns() // 1000
    weir.signal(signal.SIGHUP)
    said = manager.said()
    assert before <= int(said.pop("MONOTONIC_USEC")) <= time.monotonic_ns() // 1000
    assert said == {"RELOADING": "1", "STATUS": "reloading"}
    assert manager.said() == {"READY": "1", "STATUS": "serving"}
    weir.wait_metric("weir_reloads_total", 1, result=result)


HANGS_UP = "import os, signal, sys; signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGHUP]); \
os.kill(os.getpid(), signal.SIGHUP); os.execv(sys.argv[1], sys.argv[1:])"


def test_a_reload_before_it_serves_says_nothing(start_weir, manager, tmp):
    """Endpoints are waited for, still."""
    config = CONFIG.replace('[ "127.0.0.1:9" ]', f"{{ file: {tmp}/none }}")
    weir = start_weir(config, env={"NOTIFY_SOCKET": manager.where}, wrap=[sys.executable, "-c", HANGS_UP])
    weir.said("reload: generation")
    assert manager.said() == {"READY": "1", "STATUS": "serving"}
    manager.sock.setblocking(False)
    with pytest.raises(BlockingIOError):
        manager.sock.recv(4096)


def test_it_feeds_the_watchdog_from_its_start_to_its_end(start_weir, manager):
    env = {"NOTIFY_SOCKET": manager.where, "WATCHDOG_USEC": "100000"}
    weir = start_weir(CONFIG, env=env)
    fed, ready, said = {"WATCHDOG": "1"}, {"READY": "1", "STATUS": "serving"}, []
    while ready not in said or said.count(fed) < 5:  # it feeds before it is ready, too
        said.append(manager.said())
    assert said.count(ready) == 1 and len(said) == 1 + said.count(fed), said
    weir.stop()


ATTACH, DETACH, WALL = 16, 17, 0x40000000


def ptrace(request, thread):
    libc = ctypes.CDLL(None, use_errno=True)
    libc.ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]
    if libc.ptrace(request, thread, None, None) != 0:
        pytest.skip(f"cannot hold a thread: {os.strerror(ctypes.get_errno())}")


def hold(thread):
    """It stands still until its process ends, which waits for us to hear of that."""
    ptrace(ATTACH, thread)
    os.waitpid(thread, WALL)
    threading.Thread(target=os.waitpid, args=(thread, WALL), daemon=True).start()


def test_a_worker_that_hangs_is_not_hidden_from_the_watchdog(start_weir, manager):
    env = {"NOTIFY_SOCKET": manager.where, "WATCHDOG_USEC": "200000"}
    weir = start_weir("# access_log: none\n" + CONFIG, env=env, workers=2)
    worker = max(int(t) for t in os.listdir(f"/proc/{weir.pid}/task"))
    ptrace(ATTACH, worker)  # this thread alone stands still
    os.waitpid(worker, WALL)
    weir.said("does not move: the watchdog is not fed")
    manager.sock.setblocking(False)
    with suppress(BlockingIOError):
        while manager.sock.recv(4096):
            pass
    manager.sock.settimeout(DEADLINE)
    ptrace(DETACH, worker)
    assert manager.said() == {"WATCHDOG": "1"}
    weir.stop()


def test_an_upgrade_tells_who_is_the_main_process_from_now_on(start_weir, manager):
    env = {"NOTIFY_SOCKET": manager.where, "WATCHDOG_USEC": "1000000"}
    weir = start_weir(SLOW_END, env=env)

    def said():
        while (words := manager.said()) == {"WATCHDOG": "1"}:
            pass
        return words

    assert said() == {"READY": "1", "STATUS": "serving"}
    old = upgrade(weir)
    assert said() == {"MAINPID": str(weir.pid)}
    assert said() == {"READY": "1", "STATUS": "serving"}
    ended(old)
    while manager.said() != {"WATCHDOG": "1"}:  # by the new one, which has another number
        pass
    weir.stop()
    assert said()["STOPPING"] == "1"  # and the old one has said nothing of the kind


@pytest.mark.parametrize("env", [
    {"WATCHDOG_USEC": "1000", "WATCHDOG_PID": "1"},
    {"WATCHDOG_USEC": "1000", "WATCHDOG_PID": "1x", "NOTIFY_SOCKET": ""},
    {"WATCHDOG_USEC": "1e3"},
    {"WATCHDOG_USEC": "-1000"},
    {"WATCHDOG_USEC": "0"},
    {"WATCHDOG_USEC": ""},
], ids=str)
def test_a_watchdog_of_somebody_else_or_none_is_not_fed(start_weir, tmp, closing, env):
    manager = closing(Manager(str(tmp / "notify")))
    weir = start_weir(CONFIG, env={"NOTIFY_SOCKET": manager.where, **env})
    weir.stop()
    if "NOTIFY_SOCKET" not in env:
        assert [*manager.said(), *manager.said()] == ["READY", "STATUS", "STOPPING", "STATUS",
                                                     "EXTEND_TIMEOUT_USEC"]
    manager.sock.setblocking(False)
    with pytest.raises(BlockingIOError):
        manager.sock.recv(4096)


@pytest.mark.parametrize("where, why", [
    ("$TMP/nobody", "No such file or directory"),
    ("@weir-test-nobody", "Connection refused"),
    ("nowhere", "Invalid argument"),
    ("/", "Invalid argument"),
    ("/" + "x" * 200, "Invalid argument"),
])
def test_a_manager_that_cannot_be_told_is_a_warning(start_weir, tmp, where, why):
    where = where.replace("$TMP", str(tmp))
    weir = start_weir(CONFIG, env={"NOTIFY_SOCKET": where})
    weir.stop()
    weir.said(f"cannot tell the service manager at {where}: {why}", 2)


def test_one_that_reads_nothing_does_not_stop_it(start_weir, tmp, closing):
    """Its queue fills up with what the watchdog says, and weir waits a second at most for each."""
    manager = closing(Manager(str(tmp / "notify")))
    env = {"NOTIFY_SOCKET": manager.where, "WATCHDOG_USEC": "2000"}
    weir = start_weir(CONFIG, env=env)
    until = deadline()
    while "cannot tell the service manager" not in weir.stderr():
        assert weir.alive() and until > deadline(0)
    manager.close()
    assert weir.admin_get("/livez").status == 200
    weir.stop()
