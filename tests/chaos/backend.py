# SPDX-License-Identifier: Apache-2.0
"""hello as a backend that things happen to: killed, stopped, started again on the same port."""
import json
import os
import signal
import socket
import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
HELLO = Path(os.environ.get("HELLO", ROOT / "build" / "hello")).resolve()


class Backend:
    """One port, and the process that listens on it now and then. The port is ours throughout: a
    socket of ours is bound to it, which never listens, so that without the process it refuses."""

    def __init__(self, name, tmp, ledger=True, own_session=False, wrap=()):
        """own_session: a Ctrl-C at the terminal is not for it. wrap: a command that starts it."""
        self.name, self.tmp = name, Path(tmp)
        self.with_ledger, self.own_session, self.wrap = ledger, own_session, wrap
        self.hold = socket.socket()
        self.hold.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.hold.bind(("127.0.0.1", 0))
        self.address = f"127.0.0.1:{self.hold.getsockname()[1]}"
        self.ledger_path = self.tmp / f"{name}.ledger"
        self.ready_file = self.tmp / f"{name}.ready"
        self.stderr = open(self.tmp / f"{name}.stderr", "ab")
        self.process = None
        self.stopped = False

    def start(self, *flags):
        """Starts it; up() says when it listens."""
        assert self.process is None
        self.ready_file.unlink(missing_ok=True)
        self.process = subprocess.Popen(
            [*self.wrap, HELLO, "--listen", self.address, "--name", self.name]
            + ["--ready-file", self.ready_file, *flags]
            + (["--ledger", self.ledger_path] if self.with_ledger else []),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=self.stderr,
            start_new_session=self.own_session,
        )

    def up(self):
        """Whether the process that was started last listens."""
        if self.process.poll() is not None:
            raise AssertionError(
                f"{self.name} ended by itself: {(self.tmp / f'{self.name}.stderr').read_text()}"
            )
        if not self.ready_file.exists():
            return False
        return json.loads(self.ready_file.read_text())["pid"] == self.process.pid

    def kill(self, number=signal.SIGKILL):
        """Ends it; when this returns, the port refuses."""
        if self.process is None:
            return
        self.go_on()
        self.process.send_signal(number)
        self.process.wait()
        self.process = None

    def stop(self):
        """It does nothing any more; its kernel accepts and takes bytes for it."""
        if not self.stopped:
            self.process.send_signal(signal.SIGSTOP)
            self.stopped = True

    def go_on(self):
        if self.stopped:
            self.process.send_signal(signal.SIGCONT)
            self.stopped = False

    def ledger(self):
        """[(method, target, id)] of every request that any of its processes has read."""
        if not self.ledger_path.exists():
            return []
        return [tuple(line.split(" ")) for line in self.ledger_path.read_text().splitlines()]

    def close(self):
        self.kill()
        self.hold.close()
        self.stderr.close()
