# SPDX-License-Identifier: Apache-2.0
"""Sockets that a service manager has opened (LISTEN_FDS): weir serves on them, and leaves them be."""
import subprocess
import sys

import pytest

import peers
from harness import WEIR, environment
from peers import DEADLINE, Client
from test_reload import reload

# What systemd does: opens the sockets, puts them at 3 and up, and becomes the service. The port that
# the kernel chose is for the configuration to take from the environment.
MANAGER = """
import fcntl, os, socket, sys
pid, listening, path, *program = sys.argv[1:]
tcp, unix = socket.create_server(("127.0.0.1", 0)), socket.socket(socket.AF_UNIX)
unix.bind(path)
unix.listen()
if listening == "no":
    tcp = socket.socket()
    tcp.bind(("127.0.0.1", 0))
os.environ["PORT"] = str(tcp.getsockname()[1])
os.environ["LISTEN_PID"] = pid.replace("own", str(os.getpid()))
os.environ["LISTEN_FDS"] = "2"
pair = [fcntl.fcntl(s, fcntl.F_DUPFD, 10) for s in (tcp, unix)]
for place, fd in enumerate(pair, 3):
    os.dup2(fd, place)
os.closerange(5, 64)
os.execv(program[0], program)
"""
CONFIG = """
listeners: {{ web: "127.0.0.1:${{PORT}}", local: "unix:{path}" }}
routes: [ {{ to: app }} ]
pools: {{ app: [ "{app}" ] }}
"""


def manager(path, pid="own", listening="yes"):
    return (sys.executable, "-c", MANAGER, pid, listening, str(path))


@pytest.fixture
def path(tmp):
    return tmp / "passed.sock"


@pytest.mark.parametrize("workers", [1, 3])
def test_it_serves_on_what_it_was_passed_and_leaves_the_path(start_weir, auto, path, workers):
    config = CONFIG.format(path=path, app=auto(body=b"here").address)
    weir = start_weir(config, workers=workers, wrap=manager(path))
    for name in ("web", "local"):
        for _ in range(4):
            with Client(weir.listeners[name]) as client:
                assert client.get().body == b"here"
    inode = path.stat().st_ino
    weir.stop()
    assert path.stat().st_ino == inode


def test_a_socket_of_its_own_is_opened_beside_them(start_weir, auto, path, tmp):
    config = CONFIG.format(path=path, app=auto(body=b"here").address)
    more = f"own: 'unix:{tmp}/own.sock', any: '127.0.0.1:0',"
    config = config.replace("listeners: {", "listeners: { " + more)
    weir = start_weir(config, wrap=manager(path))
    for name in ("own", "any", "web"):
        with Client(weir.listeners[name]) as client:
            assert client.get().body == b"here"
    weir.stop()
    assert path.exists() and not (tmp / "own.sock").exists()


def test_more_descriptors_are_said_than_there_are(start_weir, auto, path):
    """A number that somebody has got wrong costs no time."""
    script = MANAGER.replace('"LISTEN_FDS"] = "2"', '"LISTEN_FDS"] = "2147483000"')
    config = CONFIG.format(path=path, app=auto(body=b"here").address)
    weir = start_weir(config, wrap=(sys.executable, "-c", script, "own", "yes", str(path)))
    with Client(weir.listeners["web"]) as client:
        assert client.get().body == b"here"


def test_the_mode_of_a_path_that_is_the_managers_stays(start_weir, auto, path):
    text = CONFIG.format(path=path, app=auto(body=b"here").address)
    weir = start_weir(text, wrap=manager(path), env={"PORT": "0"})
    mode = path.stat().st_mode
    other = text.replace(f'"unix:{path}"', f'{{ bind: "unix:{path}", mode: "0640" }}')
    reload(weir, other)
    assert path.stat().st_mode == mode
    with Client(weir.listeners["local"]) as client:
        assert client.get().body == b"here"


@pytest.mark.parametrize("pid, listening", [("1", "yes"), ("own", "no"), ("x", "yes"), ("", "yes")])
def test_what_is_somebody_elses_or_does_not_listen_is_not_taken(tmp, path, pid, listening):
    file = tmp / "weir.yaml"
    file.write_text("version: 1\n" + CONFIG.format(path=path, app="127.0.0.1:9"))
    done = subprocess.run([*manager(path, pid, listening), str(WEIR), "run", "-c", str(file)],
                          capture_output=True, text=True, env=environment(),
                          timeout=DEADLINE * peers.SLOW)
    assert done.returncode == 1
    assert "listeners.web: cannot listen on 127.0.0.1:" in done.stderr
