# SPDX-License-Identifier: Apache-2.0
"""Listeners that a change of the configuration takes away: whoever has connected is served, and who
comes later is refused; nobody is cut in between."""
import re
import shutil
import signal
import socket
import threading

import pytest

import harness
from counting import Strace
from peers import DEADLINE, wait_for
from test_reload import rewrite
from upgrading import ended, upgrade

GOING = 3       # listeners, one after the other
THREADS = 4     # that come by the one that goes next

CONFIG = """
routes: [ {{ to: app }} ]
pools: {{ app: [ "{up}" ] }}
shutdown: 12s
listeners: {{ web: "127.0.0.1:0"{going} }}
"""


def text(up, going):
    more = "".join(f', {name}: "{at}"' for name, at in going.items())
    return CONFIG.format(up=up.address, going=more)


class Comers:
    """They connect and ask, one connection after the other, until they are refused."""

    def __init__(self, address):
        self.address, self.served, self.lost = address, 0, []
        self.threads = [threading.Thread(target=self.run, daemon=True) for _ in range(THREADS)]
        for thread in self.threads:
            thread.start()
        wait_for(lambda: self.served >= 4 * THREADS or self.lost, "comers to be served")

    def connect(self):
        unix = self.address.startswith("unix:")
        sock = socket.socket(socket.AF_UNIX if unix else socket.AF_INET)
        sock.settimeout(DEADLINE)
        host, _, port = self.address.rpartition(":")
        try:
            sock.connect(self.address[5:] if unix else (host, int(port)))
        except (ConnectionRefusedError, FileNotFoundError):
            sock.close()
            return None
        return sock

    def run(self):
        while sock := self.connect():
            try:
                with sock:
                    sock.sendall(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
                    got = b""
                    while more := sock.recv(65536):
                        got += more
                    assert got.startswith(b"HTTP/1.1 200 ") and got.endswith(b"here"), got
                self.served += 1
            except (OSError, AssertionError) as error:
                self.lost.append(repr(error))

    def refused(self):
        for thread in self.threads:
            thread.join(DEADLINE)
            assert not thread.is_alive()


def by_reload(weir):
    done = weir.metric("weir_reloads_total", result="done")
    weir.signal(signal.SIGHUP)
    weir.wait_metric("weir_reloads_total", done + 1, result="done")


def by_upgrade(weir):
    ended(upgrade(weir))


@pytest.mark.parametrize("where", ["127.0.0.1:0", "unix:$TMP/{}.sock"], ids=["tcp", "unix"])
@pytest.mark.parametrize("go", [by_reload, by_upgrade])
def test_nobody_is_cut_who_came_by_a_listener_that_goes(start_weir, auto, where, go):
    up = auto(body=b"here")
    going = {name: where.format(name) for name in (f"going-{n}" for n in range(GOING))}
    weir = start_weir(text(up, going), workers=max(2, harness.WORKERS))
    for name in list(going):
        comers = Comers(weir.listeners[name])
        del going[name]
        rewrite(weir, text(up, going))
        go(weir)
        comers.refused()
        assert not comers.lost, f"{len(comers.lost)} of {comers.served}: {comers.lost[:3]}"


@pytest.mark.exact_calls
@pytest.mark.skipif(not shutil.which("strace"), reason="strace is not installed")
@pytest.mark.skipif(bool(harness.sanitizer()), reason="a sanitizer makes calls of its own")
def test_many_that_go_at_once_keep_a_worker_waiting_once(start_weir, auto, tmp):
    """For who is half in: 2 ms for all of them, not for each."""
    up = auto(body=b"here")
    weir = start_weir(text(up, {f"going-{n}": "127.0.0.1:0" for n in range(40)}), workers=1)
    rewrite(weir, text(up, {}))
    strace = Strace(weir.pid, tmp / "strace")
    by_reload(weir)
    strace.stop()
    waits = re.findall(r"\bp?poll\((.*)", strace.out.read_text(errors="replace"))
    assert len(waits) == 1 and re.match(r"NULL, 0, (2\b|{tv_sec=0, tv_nsec=2000000})", waits[0]), waits
    with weir.client() as client:
        assert client.get().body == b"here"
