# SPDX-License-Identifier: Apache-2.0
"""Starts, watches and ends the programs that a benchmark measures.

Every program runs in a session of its own: its processes (nginx has several) are found by session,
measured together, and ended one by one by pid. A program also dies with the harness (pdeathsig).
Ports are the kernel's choice.
"""
import contextlib
import dataclasses
import http.client
import os
import resource
import signal
import socket
import ssl
import subprocess
import time
from pathlib import Path

from .setup import Setup

HERE = Path(__file__).resolve().parent.parent
BUILD = HERE.parent / os.environ.get("BUILD", "build")
START_SECONDS = 60.0  # generous: under valgrind a program needs several seconds
STOP_SECONDS = 10.0
DIE_WITH_US = ("setpriv", "--pdeathsig", "TERM")


class BenchError(Exception):
    """Something that the person at the terminal can act on."""


class Port:
    """A port of the kernel's choice that nobody else is given until it is released.

    It is bound but does not listen: with SO_REUSEADDR, which servers set, another process may then
    bind and listen on it.
    """

    def __init__(self):
        self.socket = socket.socket()
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.socket.bind(("127.0.0.1", 0))
        self.address = "127.0.0.1:%d" % self.socket.getsockname()[1]

    def release(self):
        self.socket.close()


@dataclasses.dataclass
class Cpu:
    """CPU time used so far. Nanoseconds are exact; ticks (of 10 ms) only divide them."""

    nanoseconds: int = 0
    user_ticks: int = 0
    system_ticks: int = 0

    def since(self, earlier):
        """(user, system) seconds. The kernel samples the split, so short runs blur it; the sum
        is exact."""
        total = (self.nanoseconds - earlier.nanoseconds) / 1e9
        user = self.user_ticks - earlier.user_ticks
        system = self.system_ticks - earlier.system_ticks
        share = user / (user + system) if user + system else 0.0
        return total * share, total * (1 - share)


def stat_fields(pid):
    """/proc/PID/stat from field 3 on: the name in field 2 may hold anything."""
    return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()


def session_pids(session):
    pids = []
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            with contextlib.suppress(OSError):
                if int(stat_fields(entry)[3]) == session:
                    pids.append(int(entry))
    return pids


def process_cpu(pid):
    fields = stat_fields(pid)
    total = sum(int(task.read_text().split()[0])
                for task in Path(f"/proc/{pid}/task").glob("*/schedstat"))
    return Cpu(total, int(fields[11]), int(fields[12]))


def process_memory(pid):
    """(RSS, PSS) in bytes."""
    sizes = dict(line.split(":", 1) for line in
                 Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:])
    return tuple(int(sizes[name].split()[0]) * 1024 for name in ("Rss", "Pss"))


INTERRUPTS = {signal.SIGINT, signal.SIGTERM, signal.SIGHUP}


@contextlib.contextmanager
def uninterrupted():
    """Interrupts wait: one inside Popen would leave a child that nobody knows of and ends."""
    came = []
    before = {number: signal.getsignal(number) for number in INTERRUPTS}
    before = {number: was for number, was in before.items() if callable(was)}
    for number in before:
        signal.signal(number, lambda number, _: came.append(number))
    try:
        yield
    finally:
        for number, was in before.items():
            signal.signal(number, was)
        for number in came:
            signal.raise_signal(number)


class Server:
    """One running program. `start` returns when it has answered a request with 200."""

    name = ""

    def __init__(self, folder, cpus=None, wrap=()):
        self.folder = Path(folder)
        self.cpus = cpus
        self.wrap = tuple(wrap)
        self.process = None
        self.setup = Setup()
        self.address = ""
        self.port = None
        self.log = None

    def reserve_port(self):
        self.port = Port()
        self.address = self.port.address
        return self.address

    def ready_file(self):
        return self.folder / "ready.json"

    def launch(self, argv):
        """Runs it in a session of its own, on its CPUs, with its output in the folder."""
        argv = [*self.wrap, *map(str, argv)]
        if self.cpus is not None:
            argv = ["taskset", "-c", self.cpus, *argv]
        self.log = open(self.folder / f"{self.name}.log", "w+b")
        with uninterrupted():
            self.process = subprocess.Popen(
                [*DIE_WITH_US, *argv], stdin=subprocess.DEVNULL, stdout=self.log, cwd=self.folder,
                stderr=subprocess.STDOUT, start_new_session=True,
                env={**os.environ, **self.environment()})

    def environment(self):
        """What the program needs besides ours."""
        return {}

    def command(self, setup):
        """Prepares the folder, and says what to run."""
        raise NotImplementedError

    def find_address(self):
        """Called until self.address is set, for a program that says which port it got."""

    def start(self, setup=None):
        """`setup` is a Setup, or the backend's host:port, or None for what forwards nothing."""
        self.setup = setup if isinstance(setup, Setup) else Setup(backend=setup or "")
        self.folder.mkdir(parents=True, exist_ok=True)
        self.launch(self.command(self.setup))
        deadline = time.monotonic() + START_SECONDS
        while (status := self.first_status()) is None:
            if self.process.poll() is not None:
                self.fail(f"ended at once, with {self.process.returncode}")
            if time.monotonic() > deadline:
                self.fail(f"did not answer within {START_SECONDS:.0f} s")
            time.sleep(0.02)  # a foreign program has no way to say that it is ready
        if status != 200:
            self.fail(f"answered its first request with {status}")
        return self

    def first_status(self):
        """None while it does not answer yet."""
        if not self.address:
            self.find_address()
        if not self.address:
            return None
        try:
            return self.get("/")[0]
        except (OSError, http.client.HTTPException):
            return None

    def accepts(self):
        """Whether somebody takes conns at its address."""
        host, port = self.address.rsplit(":", 1)
        try:
            socket.create_connection((host, int(port)), START_SECONDS).close()
        except OSError:
            return False
        return True

    def fail(self, what):
        log = self.read_log()
        self.stop()
        raise BenchError(f"{self.name} {what}. Its output:\n{log}")

    def get(self, path):
        """(status, body) of one request on a conn of its own."""
        if self.setup.tls:
            context = ssl._create_unverified_context()  # the certificate is the run's own
            conn = http.client.HTTPSConnection(self.address, timeout=START_SECONDS,
                                               context=context)
        else:
            conn = http.client.HTTPConnection(self.address, timeout=START_SECONDS)
        try:
            conn.request("GET", path)
            response = conn.getresponse()
            return response.status, response.read()
        finally:
            conn.close()

    def read_log(self):
        return Path(self.log.name).read_text(errors="replace").strip() or "(none)"

    def pids(self):
        return session_pids(self.process.pid)

    def cpu(self):
        sums = Cpu()
        for one in map(process_cpu, self.pids()):
            sums.nanoseconds += one.nanoseconds
            sums.user_ticks += one.user_ticks
            sums.system_ticks += one.system_ticks
        return sums

    def memory(self):
        """(RSS, PSS) in bytes over all processes. RSS counts shared pages once a process."""
        sizes = [process_memory(pid) for pid in self.pids()]
        return sum(s[0] for s in sizes), sum(s[1] for s in sizes)

    def stop(self, seconds=STOP_SECONDS):
        if self.process is None:
            return
        session = self.process.pid
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(seconds)
        for pid in session_pids(session):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self.process.wait()
        self.process = None
        self.log.close()
        if self.port:
            self.port.release()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop()


def raise_file_limit():
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard


def exit_on_signals():
    """SIGTERM unwinds like Ctrl-C, so that every program is ended."""
    def leave(number, _frame):
        raise SystemExit(128 + number)
    signal.signal(signal.SIGTERM, leave)
    signal.signal(signal.SIGHUP, leave)
