# SPDX-License-Identifier: Apache-2.0
"""`weir probe` and `weir drain`: what a pod's probes and hooks run, in an image without a shell."""
import json
import signal
import socket
import subprocess
import threading
from contextlib import contextmanager

import pytest

from harness import WEIR, environment, run_weir
from peers import DEADLINE, Client, RefusedEndpoint, wait_for

# What is left of the moment after SIGTERM would be a second.
POD = "shutdown: 6s\nroutes: [ { to: app } ]\npools: { app: [ '%s' ] }\n"


@pytest.fixture
def weir(start_weir, auto):
    return start_weir(POD % auto().address)


@contextmanager
def running(*args):
    """A verb that is to be watched while it runs."""
    proc = subprocess.Popen([str(WEIR), *map(str, args)], stdin=subprocess.DEVNULL, text=True,
                            stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment())
    try:
        yield proc
    finally:
        proc.kill()
        proc.communicate()


def scripted(*answers, seen=None):
    """A listener that answers each of its connections with one of these bytes, and its address."""
    server = socket.create_server(("127.0.0.1", 0))
    server.settimeout(DEADLINE)

    def serve():
        with server:
            for answer in answers:
                conn, _ = server.accept()
                with conn:
                    asked = b""
                    while not asked.endswith(b"\r\n\r\n") and (more := conn.recv(65536)):
                        asked += more
                    if seen is not None:
                        seen.append(asked)
                    conn.sendall(answer)

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    return f"127.0.0.1:{server.getsockname()[1]}"


# ---- probe -------------------------------------------------------------------------------------


@pytest.mark.parametrize("what,says", [("live", "ok\n"), ("ready", "ready\n")])
def test_a_probe_of_one_that_is_well_says_so_and_exits_0(weir, what, says):
    got = run_weir("probe", what, "--admin", weir.admin)
    assert (got.returncode, got.stdout, got.stderr) == (0, says, "")


def test_a_probe_finds_the_admin_by_the_file_that_is_served(start_weir, auto, tmp):
    weir = start_weir(f"admin: {{ listen: 'unix:{tmp}/admin' }}\n" + POD % auto().address)
    got = run_weir("probe", "ready", "-c", weir.tmp / "weir.yaml")
    assert (got.returncode, got.stdout) == (0, "ready\n"), got.stderr
    got = run_weir("probe", "ready", env={"WEIR_ADMIN": weir.admin})
    assert (got.returncode, got.stdout) == (0, "ready\n"), got.stderr


def test_a_probe_of_nobody_exits_1_and_says_who_does_not_answer():
    nobody = RefusedEndpoint()
    got = run_weir("probe", "live", "--admin", nobody.address)
    assert got.returncode == 1 and got.stdout == ""
    assert nobody.address in got.stderr and "refused" in got.stderr


def test_a_probe_of_one_that_hangs_ends_in_time():
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = "127.0.0.1:%d" % server.getsockname()[1]
        got = run_weir("probe", "live", "--admin", address, "--within", "200ms")
    assert got.returncode == 1 and "in time" in got.stderr


@pytest.mark.parametrize(
    "answer,says",
    [
        (b"", "without an answer"),
        (b"SSH-2.0-OpenSSH_9.2\r\n", "does not speak HTTP"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nready", "was cut"),
        (b"HTTP/1.1 20 OK\r\n\r\n", "does not speak HTTP"),
        (b"HTTP/1.1 200 OK\r\nX: " + b"x" * 70000, "does not speak HTTP"),
    ],
    ids=["nothing", "ssh", "cut", "status", "head"],
)
def test_what_is_no_whole_answer_is_no_yes(answer, says):
    got = run_weir("probe", "ready", "--admin", scripted(answer))
    assert got.returncode == 1 and got.stdout == "" and says in got.stderr, got.stderr


@pytest.mark.parametrize(
    "args",
    [
        ["probe"],
        ["probe", "healthy"],
        ["probe", "live", "ready"],
        ["probe", "live", "--within", "1"],
        ["probe", "live", "--within", "99h"],
        ["probe", "live", "--within", "18446744073709551616ms"],
        ["probe", "live", "--admin"],
        ["drain", "now"],
        ["drain", "--settle", "soon"],
        ["drain", "--frobnicate"],
    ],
    ids=" ".join,
)
def test_wrong_usage_exits_2(args):
    got = run_weir(*args)
    assert got.returncode == 2 and got.stdout == "" and f"usage: weir {args[0]}" in got.stderr


@pytest.mark.parametrize("address", ["9900", "unix:/" + 120 * "x", "nowhere.invalid:80", "[::1]:"])
def test_an_address_that_is_none_is_named(address):
    got = run_weir("probe", "live", "--admin", address, "--within", "2s")
    assert got.returncode == 1 and address in got.stderr


@pytest.mark.parametrize("form", ["http://{}", "http://{}/", "{}/"])
def test_the_admin_s_address_may_be_a_url(weir, form):
    at = form.format(weir.admin)
    got = run_weir("probe", "ready", "--admin", at)
    assert (got.returncode, got.stderr) == (0, "")
    assert run_weir("probe", "ready", env={"WEIR_ADMIN": at}).returncode == 0


@pytest.mark.parametrize("at, says", [
    ("http://127.0.0.1:9900/readyz", 'has a path, "/readyz": --admin is host:port'),
    ("127.0.0.1:9900/metrics", 'has a path, "/metrics": --admin is host:port'),
    ("http://localhost", "localhost is not an address: expected host:port"),
    ("http://", "expected host:port"),
])
def test_what_an_address_of_the_admin_is_is_told(at, says):
    got = run_weir("probe", "ready", "--admin", at)
    assert got.returncode == 1 and says in got.stderr


def test_a_file_that_says_nothing_of_the_admin_is_told(tmp):
    path = tmp / "weir.yaml"
    text = "version: 1\nlisteners: { web: '127.0.0.1:0' }\n" + POD % "127.0.0.1:1"
    for admin, says in (("", "no admin listener"), ("admin: { listen: ':0' }\n", "--admin")):
        path.write_text(text + admin)
        got = run_weir("probe", "live", "-c", path)
        assert got.returncode == 1 and says in got.stderr
    got = run_weir("probe", "live", "-c", tmp / "none.yaml")
    assert got.returncode == 1 and "none.yaml" in got.stderr


def test_the_token_of_the_environment_is_shown():
    """What is asked is seen by who is asked."""
    seen = []
    address = scripted(b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nok\n", seen=seen)
    got = run_weir("probe", "live", "--admin", address, env={"WEIR_ADMIN_TOKEN": "s3cret"})
    assert (got.returncode, got.stdout) == (0, "ok\n"), got.stderr
    assert seen == [
        b"GET /livez HTTP/1.0\r\nHost: weir\r\nX-Weir: 1\r\nAuthorization: Bearer s3cret\r\n\r\n"
    ]


# ---- drain -------------------------------------------------------------------------------------


def test_a_drained_weir_is_not_ready_serves_on_and_ends_connections(weir):
    with weir.client() as kept:
        assert kept.get().status == 200
        got = run_weir("drain", "--settle", "0s", "--admin", weir.admin)
        assert (got.returncode, got.stdout, got.stderr) == (0, "drained\n", "")
        probe = run_weir("probe", "ready", "--admin", weir.admin)
        assert (probe.returncode, probe.stderr) == (1, "not ready: draining\n")
        assert run_weir("probe", "live", "--admin", weir.admin).returncode == 0
        kept.expect_last(kept.get())
    with weir.client() as late:
        late.expect_last(late.get())
    weir.said("draining, as the admin listener was asked to", 1)


def test_a_drain_waits_for_what_is_in_flight(start_weir, new_upstream):
    up = new_upstream()
    weir = start_weir(POD % up.address)
    with weir.client() as c:
        c.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        held = up.accept()
        held.request()
        with running("drain", "--settle", "0s", "--within", "60s", "--admin", weir.admin) as drain:
            weir.wait_metric("weir_requests_in_flight", 1)
            wait_for(lambda: json.loads(weir.admin_get("/drain").body)["draining"], "the drain")
            assert drain.poll() is None
            held.answer()
            assert c.response().status == 200
            assert drain.communicate(timeout=DEADLINE)[0] == "drained\n" and drain.returncode == 0


def test_a_drain_gives_up_at_its_bound_and_says_what_is_left(start_weir, new_upstream):
    up = new_upstream()
    weir = start_weir(POD % up.address)
    with weir.client() as c:
        c.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        up.accept().request()
        got = run_weir("drain", "--settle", "0s", "--within", "300ms", "--admin", weir.admin)
        assert got.returncode == 1
        assert got.stderr == "weir drain: after 0.3 s 1 request is still in flight\n"


def test_a_drain_takes_its_time_to_settle_once(weir):
    """A second one, or a hook that is run again, counts from the first."""
    got = run_weir("drain", "--settle", "300ms", "--admin", weir.admin)
    assert got.returncode == 0
    state = json.loads(weir.admin_get("/drain").body)
    assert state["draining"] and state["for_ms"] >= 300 and state["in_flight"] == 0
    assert run_weir("drain", "--settle", "300ms", "--admin", weir.admin).returncode == 0
    weir.said("draining, as the admin listener was asked to", 1)


def test_sigterm_after_a_drain_has_no_moment_left(start_weir, auto):
    """The moment of 2 s that it would serve on has passed while it was drained."""
    weir = start_weir("shutdown: 12s\n" + POD.split("\n", 1)[1] % auto().address)
    assert run_weir("drain", "--settle", "2s", "--admin", weir.admin).returncode == 0
    weir.signal(signal.SIGTERM)
    assert weir.wait() == 0
    weir.said("serving on for 0.0 s of it")


def test_a_reload_leaves_a_drain_as_it_is(weir):
    assert run_weir("drain", "--settle", "0s", "--admin", weir.admin).returncode == 0
    weir.signal(signal.SIGHUP)
    weir.wait_metric("weir_generation", 2)
    assert weir.admin_get("/readyz").status == 503
    with weir.client() as c:
        c.expect_last(c.get())


def test_a_page_cannot_make_a_browser_drain(weir):
    with Client(weir.admin) as c:
        assert c.get("/drain", method="POST").status == 403
        assert c.get("/drain", method="POST", extra="X-Weir: 1\r\nOrigin: http://b\r\n").status == 403
        assert c.get("/drain", method="DELETE").status == 405
    assert weir.admin_get("/readyz").status == 200
