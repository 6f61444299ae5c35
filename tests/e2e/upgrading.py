# SPDX-License-Identifier: Apache-2.0
"""Binary upgrades of a weir under test: who serves, and who only drains."""
import json
import os
import select
import signal
import time

from peers import DEADLINE, deadline, wait_for


class Process:
    """One that is not our child, as far as subprocess.Popen would tell."""

    def __init__(self, pid):
        self.pid = pid
        self.fd = os.pidfd_open(pid)
        self.over = False

    def poll(self):
        return self._ended(0)

    def wait(self, timeout=None):
        code = self._ended(DEADLINE if timeout is None else timeout)
        assert code is not None, f"process {self.pid} has not ended"
        return code

    def kill(self):
        if self.poll() is None:
            signal.pidfd_send_signal(self.fd, signal.SIGKILL)

    def _ended(self, seconds):
        """0: it has ended; nobody but its parent knows how."""
        if not self.over:
            poll = select.poll()
            poll.register(self.fd, select.POLLIN)
            self.over = bool(poll.poll(max(0, seconds) * 1000))
            if self.over:
                os.close(self.fd)
        return 0 if self.over else None


def ready_pid(weir):
    return json.loads(weir.ready_file.read_text())["pid"]


def upgrade(weir):
    """A new process takes over: weir is that from now on. Returns the one before, as a Process or
    Popen."""
    old = weir.proc
    weir.signal(signal.SIGUSR2)
    wait_for(lambda: ready_pid(weir) != weir.pid, "the new process to be ready")
    weir.pid = ready_pid(weir)
    weir.proc = Process(weir.pid)
    weir.ready = json.loads(weir.ready_file.read_text())
    weir.admin = weir.ready.get("admin")
    weir.flights = False  # the access log is of both; what failed before is told by nobody
    return old


def ended(process, within=DEADLINE):
    """Waits for the one before to end well."""
    code = process.wait(deadline(within) - time.monotonic())
    assert code == 0, f"process {process.pid} ended with {code}"


def refused(weir, count):
    """SIGUSR2, which comes to nothing for the count-th time."""
    weir.signal(signal.SIGUSR2)
    weir.wait_metric("weir_upgrades_failed_total", count)
    assert ready_pid(weir) == weir.pid and weir.alive()
