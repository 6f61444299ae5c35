# SPDX-License-Identifier: Apache-2.0
"""Registering at weir, and hello processes that do so themselves."""
import json
import os
import signal
import subprocess

from harness import ROOT
from peers import DEADLINE, Client, wait_for

HELLO = os.environ.get("HELLO", str(ROOT / "build/hello"))
MINE = "X-Weir: 1\r\n"
POOL = """
registry: { state: $TMP/registry.yaml }
routes: [ { to: app } ]
pools: { app: { registry: {} } }
"""


def ask(weir, path, method="GET", body="", extra=MINE, at=None):
    body = body if isinstance(body, str) else json.dumps(body)
    with Client(at or weir.admin) as c:
        length = f"Content-Length: {len(body)}\r\n" if body else ""
        c.send(f"{method} {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n{length}{extra}\r\n{body}")
        return c.response(method)


def register(weir, id, address, pool="app", status=(200, 201), **more):
    got = ask(weir, f"/registry/{pool}/{id}", "PUT", {"address": address, **more})
    assert got.status in status, (got.status, got.body)
    return json.loads(got.body)


def leave(weir, id, pool="app"):
    got = ask(weir, f"/registry/{pool}/{id}", "DELETE")
    assert got.status == 200, got.body


def registered(weir, pool="app"):
    return json.loads(ask(weir, f"/registry/{pool}").body)


def ids(weir, pool="app"):
    return [e["id"] for e in registered(weir, pool)["registrations"]]


class Hello:
    """A backend that registers at these URLs."""

    def __init__(self, tmp, name, *urls, ttl=30, more=(), env=None):
        self.name = name
        self.ready_file = tmp / f"{name}.json"
        self.said = tmp / f"{name}.stderr"
        register = [arg for url in urls for arg in ("--register", url)]
        self.proc = subprocess.Popen(
            [HELLO, "--listen", "127.0.0.1:0", "--body", name, "--ready-file", self.ready_file]
            + ["--register-id", name, "--register-ttl", str(ttl), *register, *more],
            stdin=subprocess.DEVNULL,
            stderr=open(self.said, "wb"),
            env=env,
        )
        wait_for(lambda: self.ready_file.exists() or self.proc.poll() is not None, "hello")
        assert self.proc.poll() is None, self.said.read_text()
        self.address = json.loads(self.ready_file.read_text())["listen"]

    def stop(self):
        """SIGTERM, and it has ended well."""
        self.proc.send_signal(signal.SIGTERM)
        assert self.proc.wait(DEADLINE) == 0, self.said.read_text()

    def kill(self):
        self.proc.kill()
        self.proc.wait(DEADLINE)

    def close(self):
        if self.proc.poll() is None:
            self.kill()


def url_of(weir, pool="app"):
    return f"http://{weir.admin}/registry/{pool}"
