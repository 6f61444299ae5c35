# SPDX-License-Identifier: Apache-2.0
"""`make run` serves and leaves no process, and what is busy is named. With every port
chosen by the kernel, so that any number of these run at once."""
import os
import re
import signal
import socket
import subprocess
import threading
import time
from pathlib import Path

import pytest

import harness
from peers import hold

ROOT = Path(__file__).resolve().parents[2]
MODE = os.environ.get("WEIR_MODE", "release")
ANY_PORTS = "0 0 0 0 0 0"
LIMIT = 120                         # seconds for anything here, under a sanitizer too


def make_argv(*arguments):
    return ["make", "--no-print-directory", f"MODE={MODE}", *arguments]


def environment(**more):
    env = {k: v for k, v in os.environ.items() if k not in ("MAKEFLAGS", "MFLAGS", "MAKELEVEL")}
    env.pop("WEIR_RUN_CONFIG", None)
    return dict(env, **more)


def wait_until(condition, what):
    until = time.monotonic() + LIMIT
    while not condition():
        assert time.monotonic() < until, f"no {what} within {LIMIT} s"
        time.sleep(0.01)


# ---- run ---------------------------------------------------------------------------------------

class Run:
    """`make run`, in a process group of its own as at a terminal."""

    def __init__(self, **env):
        self.lines = []
        self.process = subprocess.Popen(
            make_argv("run"), cwd=ROOT, env=environment(**dict({"WEIR_RUN_PORTS": ANY_PORTS}, **env)),
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
            start_new_session=True, preexec_fn=harness.heed_interrupts)
        self.reader = threading.Thread(target=lambda: self.lines.extend(self.process.stdout))
        self.reader.start()

    def text(self):
        return "".join(self.lines)

    def until(self, words):
        wait_until(lambda: words in self.text() or self.process.poll() is not None, f"'{words}'")
        assert words in self.text(), self.text()

    def wait(self):
        """Until it has ended, and whatever it started has too. -> its status"""
        status = self.process.wait(LIMIT)
        self.reader.join(LIMIT)     # at the end of the last process that holds the pipe
        assert not self.reader.is_alive(), "a process is left:\n" + self.text()
        return status

    def programs(self):
        """-> {pid: program} of the weirs and backends that it started, by its session"""
        found = {}
        for entry in Path("/proc").iterdir():
            try:
                if entry.name.isdigit() and os.getsid(int(entry.name)) == self.process.pid:
                    name = (entry / "comm").read_text().strip()
                    if name in ("weir", "hello", "world"):
                        found[int(entry.name)] = name
            except (ProcessLookupError, FileNotFoundError):
                pass
        return found

    def port(self):
        return re.search(r"curl http://localhost:(\d+)/ ", self.text())[1]

    def end(self):
        for pid in [*self.programs(), self.process.pid]:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
        self.process.wait()
        self.reader.join()
        self.process.stdout.close()


@pytest.fixture
def start_run():
    runs = []

    def start(**env):
        runs.append(Run(**env))
        return runs[-1]
    yield start
    for run in runs:
        run.end()


def curl(*arguments):
    done = subprocess.run(["curl", "-sS", "--max-time", str(LIMIT), *arguments], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM])
def test_run_serves_over_all_backends_and_leaves_no_process(start_run, sent):
    run = start_run()
    run.until("Ctrl-C")
    assert sorted(run.programs().values()) == ["hello", "hello", "weir", "world", "world"]

    # Each worker takes turns by itself, so with enough requests each backend has had one.
    base = f"http://127.0.0.1:{run.port()}"
    answers = {path: {curl(base + path) for _ in range(24)} for path in ("/hello", "/world")}
    assert answers["/hello"] == {"Hello, World! (hello-1)", "Hello, World! (hello-2)"}
    assert answers["/world"] == {"Hello, World! (world-1)", "Hello, World! (world-2)"}
    assert {curl(base + "/")[:13] for _ in range(4)} == {"Hello, World!"}

    # README's first screen: one curl is one connection, and so one worker's turns.
    for _ in range(4):
        in_turn = curl(base + "/hello", base + "/hello").splitlines()
        assert sorted(in_turn) == ["Hello, World! (hello-1)", "Hello, World! (hello-2)"]

    started = run.programs()
    os.killpg(run.process.pid, sent)
    run.wait()
    assert run.programs() == {}
    assert "SIGINT: draining" in run.text()     # which weir does not linger over
    assert len(started) == 5 and not any(Path(f"/proc/{pid}").exists() for pid in started)
    assert "run: ending" in run.text()


def victim(run, name):
    return next(pid for pid, program in run.programs().items() if program == name)


def try_hold(port):
    try:
        return hold(("127.0.0.1", int(port)))
    except OSError:
        return None                 # somebody listens there


def keep_port(run, name, closing):
    """Waits for one backend of this name to be gone, and takes its port: weir still tries it, and it
    must not become the port of another test's server."""
    ports = re.findall(rf"{name}-[12] listens on 127\.0\.0\.1:(\d+)", run.text())
    assert len(ports) == 2, run.text()
    held = []
    wait_until(lambda: held or held.extend(filter(None, map(try_hold, ports))), "free port")
    assert len(held) == 1
    closing(held[0])


def test_run_ends_the_rest_when_weir_dies(start_run):
    run = start_run()
    run.until("Ctrl-C")
    os.kill(victim(run, "weir"), signal.SIGKILL)
    assert run.wait() != 0
    assert "run: weir ended by itself; ending the rest" in run.text()
    assert run.programs() == {}


@pytest.mark.parametrize("name", ["hello", "world"])
def test_run_goes_on_without_a_backend_and_loses_no_request(start_run, closing, name):
    run = start_run()
    run.until("Ctrl-C")
    base = f"http://127.0.0.1:{run.port()}"
    paths = ["/", f"/{name}"] * 50
    for path in paths:              # so that weir has connections that the death makes stale
        curl("-f", base + path)
    os.kill(victim(run, name), signal.SIGKILL)
    keep_port(run, name, closing)
    for path in paths:
        assert curl("-f", base + path).startswith("Hello, World!")
    run.until("weir goes on without it")
    assert len(re.findall(rf"run: {name}-[12] ended by itself; weir goes on without it",
                          run.text())) == 1
    assert "Killed" not in run.text()           # bash's own words, with a line of the script
    assert curl("-f", base + "/").startswith("Hello, World!")

    os.killpg(run.process.pid, signal.SIGINT)
    run.wait()
    assert "run: ending" in run.text()
    assert run.programs() == {}


def test_run_says_why_when_weir_does_not_start(start_run, tmp_path):
    wrong = tmp_path / "wrong.yaml"
    wrong.write_text("version: 1\nlisteners: { web: 17 }\n")
    run = start_run(WEIR_RUN_CONFIG=str(wrong))
    assert run.wait() != 0
    assert "weir ended with status 1 instead of starting" in run.text()
    assert "weir.yaml:2:" in run.text()         # weir's own words
    assert run.programs() == {}


@pytest.mark.parametrize("place, name", [(0, "weir"), (2, "world-1"), (5, "weir admin")])
def test_run_names_a_busy_port_its_holder_and_what_to_do(start_run, place, name):
    with socket.create_server(("127.0.0.1", 0)) as holder:
        busy = holder.getsockname()[1]
        ports = ["0"] * 6
        ports[place] = str(busy)
        run = start_run(WEIR_RUN_PORTS=" ".join(ports))
        assert run.wait() != 0
        assert f"run: port {busy}, for {name}, is held by process {os.getpid()} (" in run.text()
        assert 'WEIR_RUN_PORTS="0 0 0 0 0 0" make run' in run.text()
        assert "listens on" not in run.text()
        assert run.programs() == {}
