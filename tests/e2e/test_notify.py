# SPDX-License-Identifier: Apache-2.0
"""What weir tells the service manager that started it: sd_notify(3), to a socket of the test's."""
import os
import socket

import pytest

from peers import DEADLINE, deadline

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


def test_it_feeds_the_watchdog_from_its_start_to_its_end(start_weir, manager):
    env = {"NOTIFY_SOCKET": manager.where, "WATCHDOG_USEC": "100000"}
    weir = start_weir(CONFIG, env=env)
    said = [manager.said() for _ in range(6)]
    assert said.count({"WATCHDOG": "1"}) == 5 and {"READY": "1", "STATUS": "serving"} in said
    weir.stop()


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
    assert weir.stderr().count(f"cannot tell the service manager at {where}: {why}") == 2


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
