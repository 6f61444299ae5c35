# SPDX-License-Identifier: Apache-2.0
"""Start, readiness, drain on SIGTERM, and running out of file descriptors."""
import json
import os
import resource
import select
import signal
import subprocess
import sys
import time
from contextlib import contextmanager, suppress

import pytest

from harness import WEIR, assert_authored, environment
from matrix import Matrix
from peers import DEADLINE, AutoUpstream, connect, ready, wait_for
from upgrading import Process, ended

MATRIX = Matrix()


def routes(address, extra=""):
    return f"routes: [ {{ to: app }} ]\npools: {{ app: [ '{address}' ] }}\n{extra}"


# Time to do things in while it drains; it goes on as before for a sixth of it.
DRAIN = "shutdown: 12s\n"


def refuses(address):
    try:
        connect(address).close()
        return False
    except (ConnectionRefusedError, ConnectionResetError):
        return True


def test_the_ready_file_names_pid_admin_and_listeners(start_weir, auto):
    weir = start_weir(routes(auto().address))
    ready = json.loads(weir.ready_file.read_text())
    assert set(ready) == {"pid", "admin", "listeners"}
    assert ready["pid"] == weir.proc.pid and not ready["admin"].endswith(":0")
    with weir.client() as c:
        assert c.get().status == 200


def test_livez_and_readyz_answer_200(start_weir, auto):
    weir = start_weir(routes(auto().address))
    assert weir.admin_get("/livez").status == 200
    assert weir.admin_get("/readyz").status == 200
    assert weir.admin_get("/nothing-here").status == 404


def test_without_admin_in_the_file_there_is_no_admin_listener(start_weir, auto):
    weir = start_weir(routes(auto().address, "# admin: none\n"))
    assert set(json.loads(weir.ready_file.read_text())) - {"admin"} == {"pid", "listeners"}
    assert weir.admin in (None, "")
    with weir.client() as c:
        assert c.get().status == 200


def test_the_start_is_summed_up_on_stderr(start_weir, auto):
    up = auto()
    weir = start_weir(routes(up.address), workers=2)
    text = weir.stderr()
    assert weir.listeners["web"] in text and "app" in text and "2" in text and "worker" in text


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_an_idle_weir_ends_before_shutdown_and_with_0(start_weir, auto, number):
    weir = start_weir(routes(auto().address, "shutdown: 12s\n"))
    weir.signal(number)
    assert weir.wait() == 0
    assert "the deadline has passed" not in weir.stderr()
    weir.assert_clean()


def test_on_sigterm_what_is_in_flight_finishes_and_the_rest_is_closed(
    start_weir, new_upstream, side
):
    up = new_upstream()
    weir = start_weir(routes(up.address, DRAIN), workers=1)
    idle, busy = weir.client(), weir.client()
    idle.send("GET /warm HTTP/1.1\r\nHost: a\r\n\r\n")
    u = up.accept()
    u.request()
    u.answer()
    assert idle.response().get("Connection") is None
    busy.send("GET /slow HTTP/1.1\r\nHost: a\r\n\r\n")
    assert u.request().target == "/slow"
    weir.signal(signal.SIGTERM)
    wait_for(lambda: weir.admin_get("/readyz").status == 503, "/readyz to turn 503")
    assert weir.admin_get("/livez").status == 200
    wait_for(lambda: refuses(weir.listeners["web"]), "the listener to close")
    idle.expect_closed()
    u.answer("finished")
    response = busy.response()
    assert response.body == b"finished"
    assert response.get("Connection") == (None if side.client == "h2" else "close")
    busy.expect_closed()
    assert weir.wait() == 0
    weir.assert_clean()


def test_on_sigterm_a_body_that_is_flowing_goes_on_to_its_end(start_weir, new_upstream):
    up = new_upstream()
    weir = start_weir(routes(up.address, DRAIN))
    with weir.client() as c:
        c.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 6\r\n\r\nabc")
        u = up.accept()
        u.head()
        u.expect("abc")
        weir.signal(signal.SIGTERM)
        wait_for(lambda: weir.admin_get("/readyz").status == 503, "/readyz to turn 503")
        c.send("def")
        u.expect("def")
        u.send("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nab")
        c.recv_until(b"\r\n\r\nab")
        u.send("cd")
        c.expect("cd")
        c.expect_closed()
    assert weir.wait() == 0


def test_shutdown_bounds_the_drain(start_weir, new_upstream):
    up = new_upstream()
    weir = start_weir(routes(up.address, "shutdown: 500ms\n"))
    with weir.client() as c:
        c.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        up.accept().request()
        start = time.monotonic()
        weir.signal(signal.SIGTERM)
        assert weir.wait() == 0  # nothing else would end it
        assert time.monotonic() - start >= 0.4
        c.expect_ended()
    weir.said("the deadline has passed")
    weir.assert_clean()


def test_a_request_that_the_shutdown_cuts_is_logged_with_all_its_time(start_weir, new_upstream):
    up = new_upstream()
    weir = start_weir(routes(up.address, "workers: 1\nshutdown: 500ms\n"))
    with weir.client() as c:
        c.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        up.accept().request()
        weir.signal(signal.SIGTERM)
        assert weir.wait() == 0
    entry = weir.access_log(1)[0]
    assert entry["reason"] == "shutdown"
    assert entry["total_ms"] >= 400
    weir.assert_clean()


def test_a_second_sigterm_exits_now(start_weir, new_upstream):
    up = new_upstream()
    weir = start_weir(routes(up.address, "shutdown: 60s\n"))
    with weir.client() as c:
        c.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        up.accept().request()
        weir.signal(signal.SIGTERM)
        wait_for(lambda: weir.admin_get("/readyz").status == 503, "/readyz to turn 503")
        weir.signal(signal.SIGTERM)
        assert weir.wait() == 0
    assert "the deadline has passed" not in weir.stderr()
    weir.assert_clean()


def test_requests_on_a_keep_alive_connection_during_the_drain_are_served_or_refused_cleanly(
    start_weir, auto
):
    weir = start_weir(routes(auto().address, DRAIN))
    with weir.client() as c:
        assert c.get().status == 200
        weir.signal(signal.SIGTERM)
        answered = 0
        while True:
            try:
                c.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n")
                response = c.response()
            except (AssertionError, OSError):
                assert c.unread == b"", "half a response"
                break
            assert response.status == 200
            answered += 1
            if response.get("Connection") == "close":
                c.expect_closed()
                break
    assert weir.wait() == 0


def test_an_open_tunnel_lasts_until_shutdown(start_weir, new_upstream):
    up = new_upstream()
    weir = start_weir(routes(up.address, "shutdown: 4s\n"))
    with weir.client() as c:
        c.send("GET / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n")
        u = up.accept()
        u.request()
        u.send("HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n")
        c.response()
        start = time.monotonic()
        weir.signal(signal.SIGTERM)
        wait_for(lambda: weir.admin_get("/readyz").status == 503, "/readyz to turn 503")
        u.send("still here")
        c.expect("still here")
        assert weir.wait() == 0
        assert time.monotonic() - start >= 3.5
        c.expect_ended()


@pytest.mark.plain("the crowd asks, and is told, without a handshake")
def test_more_clients_than_the_limit_of_open_files_allows_are_shed(start_weir, auto):
    weir = start_weir(routes(auto().address), nofile=100)
    with crowded(weir, weir.client()) as crowd:
        for s in crowd:
            s.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        got = {s: b"" for s in crowd}

        def statuses():
            for s in crowd:
                if ready(s, select.POLLIN, 0):
                    with suppress(ConnectionResetError):  # told, and gone before it had asked
                        got[s] += s.recv(4096)
            return {said[9:12] for said in got.values() if len(said) >= 12}

        # Which of them are which, only the workers know.
        wait_for(lambda: {b"200", b"503"} <= statuses(), "some to fit and some not to")
        assert statuses() == {b"200", b"503"}
    assert weir.metric("weir_errors_total", reason="connection_limit") > 0


def test_out_of_file_descriptors_accept_pauses_and_recovers_by_itself(start_weir, auto):
    weir = start_weir(routes(auto().address))
    held = weir.client()
    assert held.get().status == 200  # its upstream connection is there already
    before = resource.prlimit(weir.pid, resource.RLIMIT_NOFILE)
    resource.prlimit(weir.pid, resource.RLIMIT_NOFILE, (weir.fds() + 6, before[1]))
    with crowded(weir, held):
        resource.prlimit(weir.pid, resource.RLIMIT_NOFILE, before)
    assert weir.metric("weir_accept_paused_total") >= 1


@contextmanager
def crowded(weir, held):
    """A crowd comes, more than there is room for; it leaves again after what happens inside."""
    assert held.get().status == 200
    crowd = [connect(weir.listeners["web"]) for _ in range(200)]
    assert held.get().status == 200, "who is in is still served"
    weir.wait_quiet()  # nothing happens, and it costs nothing
    yield crowd
    for s in crowd:
        s.close()
    wait_for(lambda: serves(weir), "a new client to be served")
    assert held.get().status == 200
    held.close()
    weir.wait_metric("weir_client_connections", 0)


def serves(weir):
    """Is a new client served? The crowd's connections that nobody had accepted yet come first."""
    with weir.client() as c:
        return c.get().status == 200


def test_no_descriptor_for_the_upstream_is_an_authored_error_not_a_crash(start_weir, auto):
    route = "routes: [ { match: { path: /app }, to: app } ]\n"
    weir = start_weir(f"{route}pools: {{ app: [ '{auto().address}' ] }}\n", workers=1)
    with weir.client() as c:
        assert c.get("/nowhere").status == 404  # accepted, and no upstream connection yet
        before = resource.prlimit(weir.pid, resource.RLIMIT_NOFILE)
        used = {int(fd) for fd in os.listdir(f"/proc/{weir.pid}/fd")}
        lowest_free = next(n for n in range(1000) if n not in used)
        resource.prlimit(weir.pid, resource.RLIMIT_NOFILE, (lowest_free, before[1]))
        assert_authored(c.get("/app"), 503, "no_descriptors")
        resource.prlimit(weir.pid, resource.RLIMIT_NOFILE, before)
        assert c.get("/app").status == 200


TOLD = {
    signal.SIGHUP: "reload: generation 2 serves",
    signal.SIGUSR1: "SIGUSR1: ",
    signal.SIGUSR2: "upgrade: a new process starts",
}


@pytest.mark.parametrize("number", TOLD)
def test_what_is_asked_of_a_weir_that_starts_waits_and_does_not_end_it(tmp, closing, number):
    """It comes while weir reads its file, which is a pipe."""
    config, real, ready_file = (tmp / name for name in ("weir.yaml", "real.yaml", "ready.json"))
    text = 'version: 1\nlisteners: { web: "127.0.0.1:0" }\nshutdown: 100ms\n'
    real.write_text(text + routes(closing(AutoUpstream()).address))
    os.mkfifo(config)
    args = [str(WEIR), "run", "-c", str(config), "--ready-file", str(ready_file)]
    log, running = tmp / "stderr", []
    with open(log, "wb") as said:
        running.append(subprocess.Popen(args, env=environment(), stderr=said))
    try:
        with open(opened(config), "wb") as pipe:
            running[0].send_signal(number)
            pipe.write(real.read_bytes())
            real.rename(config)
        running.append(Process(served_by(running[0], ready_file, number == signal.SIGUSR2)))
        wait_for(lambda: TOLD[number] in log.read_text(), "it to be done")
        os.kill(running[1].pid, signal.SIGINT)
        for process in running:
            ended(process)
    finally:
        for process in running:
            process.kill()
        print(log.read_text())


HELD = """
import os, signal, sys
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGHUP])
os.kill(os.getpid(), signal.SIGHUP)
os.execvp("env", sys.argv[1:])
"""


def test_signals_that_whoever_starts_it_has_blocked_are_heeded_once_it_serves(tmp, auto):
    """Then none comes too early: it is sent before the program has begun. Not by a fork of this
    process, in which others (gRPC's) begin threads that block nothing."""
    config, said = tmp / "weir.yaml", tmp / "said"
    text = 'version: 1\nlisteners: { web: "127.0.0.1:0" }\nshutdown: 100ms\n'
    config.write_text(text + routes(auto().address))
    env = [f"{name}={value}" for name, value in environment().items()]
    args = [sys.executable, "-c", HELD, "env", *env, str(WEIR), "run", "-c", str(config)]
    with open(said, "wb") as out, subprocess.Popen(args, stderr=out) as weir:
        try:
            wait_for(lambda: "reload: generation 2 serves" in said.read_text(), "the reload")
            weir.send_signal(signal.SIGINT)
            assert weir.wait(DEADLINE) == 0
        finally:
            weir.kill()
            print(said.read_text(), weir.poll())


def opened(pipe):
    """Its end to write to, once somebody reads."""
    found = []

    def there():
        try:
            found[:] = [os.open(pipe, os.O_WRONLY | os.O_NONBLOCK)]
        except OSError:
            return False
        return True

    wait_for(there, "weir to read its file")
    return found[0]


def served_by(weir, ready_file, upgraded):
    """The process that serves, once it does."""
    wait_for(ready_file.exists, "weir to serve")
    pid = lambda: json.loads(ready_file.read_text())["pid"]
    wait_for(lambda: (pid() != weir.pid) == upgraded, "the right one to serve")
    return pid()


def test_descriptors_that_are_closed_at_the_start_are_no_sockets(start_weir, auto):
    """Whoever writes to stderr writes to nobody, not to a client."""
    closed = ("sh", "-c", 'exec "$@" <&- >&- 2>&-', "sh")
    weir = start_weir(routes(auto().address), wrap=closed)
    with weir.client() as client:
        assert client.get().status == 200
        fds = [os.readlink(f"/proc/{weir.pid}/fd/{fd}") for fd in range(3)]
    assert fds == ["/dev/null"] * 3
