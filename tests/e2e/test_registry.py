# SPDX-License-Identifier: Apache-2.0
"""Endpoints that register at the admin listener: who is there, for how long it is believed, and what
is left of that when weir ends, reloads or is upgraded."""
import json
import os
import re
import signal
import subprocess

import pytest

from finding import Backends
from harness import ROOT, WEIR
from peers import DEADLINE, Client, wait_for
from registering import HELLO, MINE, POOL, ask, ids, leave, register, registered
from test_admin import own_address
from test_discovery_file import endpoints, hosts_that_answer, source, wait_endpoints
from test_notify import hold
from test_reload import reload, settled
from upgrading import ended, upgrade

PATH = "/registry/app/one"


@pytest.fixture
def backends(closing):
    return closing(Backends(4))


@pytest.fixture
def weir(start_weir):
    return start_weir(POOL)


def test_who_registers_gets_requests_until_he_leaves(weir, backends):
    with weir.client() as c:
        assert "registry app: nobody is registered" in c.get("/").body.decode()
    first, second = backends.addresses[:2]
    assert register(weir, "one", first, status=[201], weight=2, zone="a", ttl="20s") == {
        "id": "one",
        "address": first,
        "weight": 2,
        "zone": "a",
        "priority": 0,
        "backup": False,
        "drain": False,
        "ttl_ms": 20000,
        "left_ms": 20000,
        "overdue": False,
    }
    register(weir, "two", second, status=[201])
    wait_endpoints(weir, [first, second])
    assert hosts_that_answer(weir) == set(backends.hosts[:2])
    assert [e["weight"] for e in json.loads(weir.admin_get("/pools/app").body)["endpoints"]] == [2, 1]
    leave(weir, "one")
    wait_endpoints(weir, [second])
    assert hosts_that_answer(weir) == {backends.hosts[1]}
    leave(weir, "two")
    wait_endpoints(weir, [])
    settled(weir)


def test_a_heartbeat_changes_nothing(weir, backends):
    register(weir, "one", backends.addresses[0], ttl="20s")
    wait_endpoints(weir, backends.addresses[:1])
    wait_for(lambda: (weir.tmp / "registry.yaml").exists(), "the file")
    written = os.stat(weir.tmp / "registry.yaml")
    for _ in range(20):
        register(weir, "one", backends.addresses[0], status=[200], ttl="20s")
    assert registered(weir)["renewed"] == 20
    weir.wait_metric("weir_registry_renewed_total", 20, pool="app")
    weir.wait_metric("weir_registry_registered_total", 1, pool="app")
    register(weir, "two", backends.addresses[1])  # a change, that all before it must have preceded
    wait_endpoints(weir, backends.addresses[:2])
    weir.wait_metric("weir_discovery_changes_total", 3, pool="app")
    wait_for(lambda: os.stat(weir.tmp / "registry.yaml").st_ino != written.st_ino, "another file")


def test_what_is_said_anew_holds(weir, backends):
    register(weir, "one", backends.addresses[0])
    wait_endpoints(weir, backends.addresses[:1])
    register(weir, "one", backends.addresses[1], status=[200], weight=7)
    wait_endpoints(weir, backends.addresses[1:2])
    assert registered(weir)["changed"] == 1 and ids(weir) == ["one"]


def test_there_is_one_endpoint_at_an_address(weir, backends):
    """A pod's address is used again before its registration has expired."""
    register(weir, "old", backends.addresses[0])
    register(weir, "new", backends.addresses[0], weight=3)
    assert ids(weir) == ["new"] and registered(weir)["replaced"] == 1
    assert ask(weir, "/registry/app/old", "DELETE").status == 404
    assert ids(weir) == ["new"]


@pytest.mark.parametrize(
    "body, status, said",
    [
        ("", 400, "the body is to be such as"),
        ("{", 422, "body:2:1: error: not valid YAML"),
        ("[]", 422, "expected an object such as"),
        ('{"weight": 1}', 422, 'the key "address" is missing'),
        ('{"address": "app:80"}', 422, "endpoints that are found have addresses and no names"),
        ('{"address": "10.0.0.1"}', 422, "address"),
        ('{"address": "10.0.0.1:80", "wieght": 1}', 422, 'wieght: unknown key; did you mean "weight"?'),
        ('{"address": "10.0.0.1:80", "weight": 1001}', 422, "1001 is out of range; expected 0 to 1000"),
        ('{"address": "10.0.0.1:80", "ttl": "10ms"}', 422, "ttl: 10ms is out of range; expected 1s to 24h"),
        ('{"address": "10.0.0.1:80", "ttl": "25h"}', 422, "expected 1s to 24h"),
        ('{"address": "10.0.0.1:80", "ttl": 30}', 422, "expected a duration such as 500ms, 10s or 5m"),
        ('{"address": "10.0.0.1:80", "zone": "a b"}', 422, "a name has 1 to 64"),
        ('{"address": "10.0.0.1:80", "zone": "${HOME}"}', 422, "a name has 1 to 64"),
        ('{"address": "10.0.0.1:80", "id": "other"}', 422, "id: unknown key"),
        ('{"address": "' + 17000 * "1" + ':80"}', 413, "16384 bytes"),
    ],
)
def test_what_is_wrong_is_refused_with_what_to_do(weir, body, status, said):
    got = ask(weir, PATH, "PUT", body)
    assert (got.status, said in got.body.decode()) == (status, True), (got.status, got.body)
    assert ids(weir) == []
    if status != 413:
        weir.wait_metric("weir_registry_refused_total", 1, why="invalid")


@pytest.mark.parametrize(
    "path, method, status",
    [
        ("/registry/app/a%20b", "PUT", 400),
        ("/registry/app/" + 129 * "a", "PUT", 400),
        ("/registry/app/a/b", "PUT", 400),
        ("/registry/app/", "PUT", 400),
        ("/registry/app/.", "PUT", 400),
        ("/registry/app/..", "PUT", 400),
        ("/registry/app/%2e%2E", "PUT", 400),
        ("/registry/other/one", "PUT", 404),
        ("/registry/fixed/one", "PUT", 404),
        ("/registry/fixed", "GET", 404),
        ("/registry/app/one", "GET", 404),
        ("/registry/app/one", "DELETE", 404),
        ("/registry/app/one", "POST", 405),
        ("/registry/app", "PUT", 405),
        ("/registry", "DELETE", 405),
    ],
)
def test_where_nobody_can_be(start_weir, path, method, status):
    pools = "pools: { app: { registry: {} }, fixed: ['127.0.0.1:1'] }"
    weir = start_weir("registry: { state: $TMP/r }\nroutes: [ { to: { app: 1, fixed: 1 } } ]\n" + pools)
    body = '{"address": "10.0.0.1:80"}' if method == "PUT" else ""
    assert ask(weir, path, method, body).status == status
    assert ids(weir) == []


def test_an_id_may_be_an_address(weir):
    register(weir, "::1:80", "[::1]:80")
    register(weir, "10.0.0.1%3A80", "10.0.0.1:80")
    assert ids(weir) == ["10.0.0.1:80", "::1:80"]
    assert json.loads(ask(weir, "/registry/app/10.0.0.1:80").body)["address"] == "10.0.0.1:80"
    assert [p["pool"] for p in json.loads(ask(weir, "/registry").body)["pools"]] == ["app"]


def test_a_client_that_asks_before_it_sends_is_told_to(weir):
    body = '{"address": "127.0.0.1:9"}'
    head = f"PUT {PATH} HTTP/1.1\r\nHost: a\r\n{MINE}Expect: 100-continue\r\n"
    with Client(weir.admin) as c:
        c.send(f"{head}Content-Length: {len(body)}\r\n\r\n")
        assert c.interim().status == 100
        c.send(body)
        assert c.response().status == 201


def test_nobody_registers_from_another_sites_page(weir):
    body = '{"address": "10.0.0.1:80"}'
    assert ask(weir, PATH, "PUT", body, extra="").status == 403
    assert ask(weir, PATH, "PUT", body, extra=MINE + "Origin: http://evil.example\r\n").status == 403
    assert ask(weir, PATH, "DELETE", extra="").status == 403
    assert ids(weir) == []
    assert ask(weir, PATH, "PUT", body, extra="Content-Type: application/json\r\n").status == 201


def test_with_a_token_it_is_needed(start_weir, tmp):
    (tmp / "token").write_text("0123456789abcdef0123456789abcdef\n")
    weir = start_weir(f'admin: {{ listen: "127.0.0.1:0", token_file: {tmp}/token }}\n' + POOL)
    body = '{"address": "10.0.0.1:80"}'
    assert ask(weir, PATH, "PUT", body).status == 401
    known = MINE + "Authorization: Bearer 0123456789abcdef0123456789abcdef\r\n"
    assert ask(weir, PATH, "PUT", body, extra=known).status == 201


ADMINS, BACKENDS = "0123456789abcdef-the-admins", "0123456789abcdef-the-backends"


def token(value):
    return MINE + f"Authorization: Bearer {value}\r\n"


@pytest.fixture
def locked(start_weir, tmp):
    """A weir whose registry has a token of its own, and its admin listener one, or none."""

    def start(admin):
        (tmp / "admin.token").write_text(ADMINS + "\n")
        (tmp / "registry.token").write_text(BACKENDS + "\n")
        text = POOL.replace("registry.yaml }", "registry.yaml, token_file: %s/registry.token }" % tmp, 1)
        return start_weir(f"admin: {{ {admin} }}\n" + text)

    return start


def test_the_registrys_token_is_good_for_the_registry_alone(locked, tmp):
    weir = locked(f'listen: "127.0.0.1:0", token_file: {tmp}/admin.token')
    body = '{"address": "10.0.0.1:80"}'
    got = ask(weir, PATH, "PUT", body)
    assert got.status == 401 and got.body == b"the registry's or the admin listener's token is needed\n"
    assert ask(weir, PATH, "PUT", body, extra=token("0123456789abcdef-another-one")).status == 401
    assert ask(weir, PATH, "PUT", body, extra=token(BACKENDS)).status == 201
    assert ask(weir, "/registry", extra=token(BACKENDS)).status == 200
    assert ask(weir, PATH, "DELETE", extra=token(BACKENDS)).status == 200
    assert ask(weir, PATH, "PUT", body, extra=token(ADMINS)).status == 201
    for path in ("/", "/pools", "/pools/app", "/metrics", "/status", "/generations", "/registryx"):
        assert ask(weir, path, extra=token(BACKENDS)).status == 401, path
    for path in ("/reload", "/drain", "/pools/app/10.0.0.1:80/drain"):
        assert ask(weir, path, "POST", extra=token(BACKENDS)).status == 401, path
    assert ask(weir, "/pools", extra=token(ADMINS)).status == 200


def test_the_registrys_token_is_needed_where_the_admin_listener_has_none(locked):
    weir = locked('listen: "127.0.0.1:0"')
    got = ask(weir, PATH, "PUT", '{"address": "10.0.0.1:80"}')
    assert got.status == 401 and got.body == b"the registry's token is needed\n"
    assert ask(weir, "/registry").status == 401
    assert ask(weir, "/pools").status == 200
    assert ask(weir, PATH, "PUT", '{"address": "10.0.0.1:80"}', extra=token(BACKENDS)).status == 201


@pytest.mark.skipif(own_address() is None, reason="this machine has no address but the loopback")
def test_with_the_registrys_token_one_registers_from_elsewhere(locked):
    """Where all else that others may ask for are probes."""
    weir = locked('listen: "0.0.0.0:0", remote: probes')
    at = f"{own_address()}:{weir.admin.rpartition(':')[2]}"
    body = '{"address": "10.0.0.1:80"}'
    assert ask(weir, PATH, "PUT", body, at=at).status == 401
    assert ask(weir, PATH, "PUT", body, extra=token(BACKENDS), at=at).status == 201
    assert ask(weir, "/livez", at=at).status == 200
    assert ask(weir, "/pools", extra=token(BACKENDS), at=at).status == 403


def test_a_registry_token_that_is_none_is_told_before_weir_starts(tmp):
    (tmp / "short").write_text("secret\n")
    (tmp / "w.yaml").write_text(
        "version: 1\nlisteners: { web: ':0' }\nadmin: {}\n"
        f"registry: {{ state: {tmp}/r, token_file: {tmp}/short }}\nroutes: [ {{ to: app }} ]\n"
        "pools: { app: { registry: {} } }\n"
    )
    done = subprocess.run([WEIR, "check", tmp / "w.yaml"], capture_output=True, text=True, timeout=DEADLINE)
    assert done.returncode == 1
    assert "w.yaml:4:" in done.stderr and f"registry.token_file: {tmp}/short holds no token" in done.stderr


def test_a_pool_has_so_many_at_most(start_weir):
    weir = start_weir(POOL.replace("{}", "{ max: 2 }"))
    for i in range(2):
        register(weir, f"a{i}", f"10.0.0.{i}:80")
    got = ask(weir, "/registry/app/a2", "PUT", {"address": "10.0.0.2:80"})
    assert got.status == 429 and b"2 registrations" in got.body
    weir.wait_metric("weir_registry_refused_total", 1, why="full")
    register(weir, "a1", "10.0.0.3:80", status=[200])
    leave(weir, "a0")
    register(weir, "a2", "10.0.0.2:80", status=[201])


def test_a_pool_is_in_so_many_zones_at_most(weir):
    for i in range(31):
        register(weir, f"a{i}", f"10.0.0.{i}:80", zone=f"z{i}")
    got = ask(weir, "/registry/app/more", "PUT", {"address": "10.0.1.1:80", "zone": "more"})
    assert got.status == 422 and b"31 zones at most" in got.body
    register(weir, "a0", "10.0.0.0:80", status=[200], zone="more")


def test_the_example_of_the_readme(start_weir, tmp, backends):
    """Its file, and its commands with the ports of this weir."""
    chapter = (ROOT / "README.md").read_text().partition("### Endpoints that register themselves")[2]
    text, commands = re.findall(r"```(?:yaml|sh)\n(.*?)```", chapter, re.S)[:2]
    text = text.replace('":8000"', '"127.0.0.1:0"').replace("127.0.0.1:9900", "127.0.0.1:0")
    weir = start_weir(text)
    commands = commands.replace("\\\n", " ").splitlines()
    one, two, show, delete = [c.partition("  #")[0] for c in commands[1:]]

    def run(command):
        command = command.replace("localhost:9900", weir.admin)
        command = command.replace("127.0.0.1:8080", backends.addresses[0])
        return subprocess.check_output(["sh", "-c", command], text=True, timeout=60, stderr=subprocess.DEVNULL)

    assert json.loads(run(one))["weight"] == 2
    proc = subprocess.Popen(
        [HELLO, "--listen", "127.0.0.1:0", "--register", f"http://{weir.admin}/registry/app"],
        stderr=subprocess.DEVNULL,
    )
    try:
        assert two == "build/hello --port 8081 --register http://localhost:9900/registry/app &"
        weir.wait_metric("weir_registry_entries", 2, pool="app")
        assert len(json.loads(run(show))["pools"][0]["registrations"]) == 2
        assert run(delete) == "one is not registered any more\n"
    finally:
        proc.terminate()
        assert proc.wait(DEADLINE) == 0
    assert ids(weir) == []
    wait_for(lambda: (weir.tmp / "registry.yaml").exists(), "the file")


# ---- time ----


def test_who_is_silent_while_others_are_not_is_expired(weir, backends):
    register(weir, "one", backends.addresses[0], ttl="1s")
    register(weir, "two", backends.addresses[1], ttl="1s")
    wait_endpoints(weir, backends.addresses[:2])

    def gone():
        register(weir, "two", backends.addresses[1], status=[200], ttl="1s")
        return ids(weir) == ["two"]

    wait_for(gone, "that one has expired")
    wait_endpoints(weir, backends.addresses[1:2])
    weir.wait_metric("weir_registry_expired_total", 1, pool="app")
    weir.said("one at " + backends.addresses[0] + " has not been heard of for 1 s")


def test_if_all_are_silent_at_once_they_stay(weir, backends):
    """It is weir that is not reached, more likely than not."""
    for i in range(2):
        register(weir, f"a{i}", backends.addresses[i], ttl="1s")
    wait_endpoints(weir, backends.addresses[:2])
    weir.wait_metric("weir_registry_overdue", 2, pool="app")
    assert [e["overdue"] for e in registered(weir)["registrations"]] == [True, True]
    assert "nobody else has been heard of" in source(weir)["error"]
    assert hosts_that_answer(weir) == set(backends.hosts[:2])
    # One comes back: the other one has its time to do so, and doesn't.
    register(weir, "a0", backends.addresses[0], status=[200], ttl="24h")
    assert [e["overdue"] for e in registered(weir)["registrations"]] == [False, False]
    wait_for(lambda: ids(weir) == ["a0"], "that the other one has expired")
    wait_endpoints(weir, backends.addresses[:1])
    assert source(weir)["error"] is None


def test_the_last_one_of_a_pool_goes_if_other_pools_are_heard_of(start_weir, backends):
    text = POOL.replace("{ to: app }", "{ to: { app: 1, web: 1 } }")
    weir = start_weir(text.replace("app: {", "web: { registry: {} }, app: {"))
    register(weir, "one", backends.addresses[0], ttl="1s")
    wait_endpoints(weir, backends.addresses[:1])

    def gone():
        register(weir, "other", backends.addresses[1], pool="web", ttl="1s")
        return ids(weir) == []

    wait_for(gone, "that it has expired")
    wait_endpoints(weir, [])


# ---- what is left ----


def state(weir):
    path = weir.tmp / "registry.yaml"
    return path.read_text() if path.exists() else ""


def listens(weir):
    try:
        Client(weir.admin).close()
    except ConnectionRefusedError:
        return False
    return True


def threads(weir):
    return {int(t) for t in os.listdir(f"/proc/{weir.pid}/task")}


def waits(weir, thread):
    with open(f"/proc/{weir.pid}/task/{thread}/wchan", encoding="ascii") as where:
        return "futex" in where.read()


@pytest.mark.parametrize("shutdown, again", [("1s", False), ("60s", True)])
def test_a_file_that_cannot_be_written_does_not_keep_weir_from_its_end(start_weir, shutdown, again):
    """As on a disk that hangs: the threads that write stand still. The deadline ends it, or a second
    signal."""
    weir = start_weir(POOL + f"shutdown: {shutdown}\n")
    before = threads(weir)
    register(weir, "one", "127.0.0.1:9")
    wait_for(lambda: "one" in state(weir), "the file")
    for thread in threads(weir) - before:
        wait_for(lambda at=thread: waits(weir, at), "that it has let go of what others need")
        hold(thread)
    register(weir, "two", "127.0.0.1:10")
    weir.signal(signal.SIGINT)
    wait_for(lambda: not listens(weir), "the admin listener to be closed")
    if again:
        weir.signal(signal.SIGTERM)
    assert weir.wait() == 0
    weir.said("a file would not be written; leaving it")
    assert "two" not in state(weir)


def test_a_restart_begins_with_who_was_there(start_weir, tmp, backends):
    config = POOL.replace("$TMP", str(tmp))
    weir = start_weir(config)
    register(weir, "one", backends.addresses[0], weight=4, zone="a", ttl="20s")
    register(weir, "two", backends.addresses[1])
    weir.stop()
    assert os.stat(tmp / "registry.yaml").st_mode & 0o777 == 0o600
    weir = start_weir(config)
    assert hosts_that_answer(weir) == set(backends.hosts[:2])
    one = registered(weir)["registrations"][0]
    assert (one["id"], one["weight"], one["zone"], one["ttl_ms"]) == ("one", 4, "a", 20000)
    register(weir, "one", backends.addresses[0], status=[200], weight=4, zone="a", ttl="20s")
    assert registered(weir)["renewed"] == 1
    leave(weir, "one")
    leave(weir, "two")
    weir.stop()
    assert endpoints(start_weir(config)) == []
    assert [p.name for p in tmp.iterdir() if p.name.startswith("registry")] == ["registry.yaml"]


def test_a_kill_loses_no_registration_that_was_written(start_weir, tmp, backends):
    config = POOL.replace("$TMP", str(tmp))
    weir = start_weir(config)
    register(weir, "one", backends.addresses[0])
    wait_for(lambda: (tmp / "registry.yaml").exists(), "the file")
    weir.kill()
    assert endpoints(start_weir(config)) == backends.addresses[:1]


def test_what_a_crash_has_left_is_used_up(start_weir, tmp, backends):
    (tmp / "registry.yaml.new").write_text("half of a fi")
    weir = start_weir(POOL.replace("$TMP", str(tmp)))
    register(weir, "one", backends.addresses[0])
    weir.stop()
    assert [p.name for p in tmp.iterdir() if p.name.startswith("registry")] == ["registry.yaml"]
    assert "half" not in (tmp / "registry.yaml").read_text()


@pytest.mark.parametrize(
    "text, said",
    [
        ("version: 2\n", "version: 2 is out of range"),
        ("version: 1\npools: [", "not valid YAML"),
        ("version: 1\npools: { app: [ { id: a } ] }", 'the key "address" is missing'),
        ("version: 1\npools: { app: [ { id: a, address: 'x:1' } ] }", "addresses and no names"),
        ("\0\0", "line"),
    ],
)
def test_a_file_that_cannot_be_read_is_told_and_written_anew(start_weir, tmp, backends, text, said):
    (tmp / "registry.yaml").write_text(text)
    weir = start_weir(POOL.replace("$TMP", str(tmp)))
    errors = [line for line in weir.stderr().splitlines() if "nobody is registered, and" in line]
    assert len(errors) == 1 and f"{tmp}/registry.yaml" in errors[0]
    assert said == "line" or said in errors[0], errors
    register(weir, "one", backends.addresses[0])
    wait_for(lambda: backends.addresses[0] in (tmp / "registry.yaml").read_text(), "a new file")


def test_a_file_that_cannot_be_written_is_told_and_changes_nothing_else(start_weir, tmp, backends):
    (tmp / "registry.yaml").mkdir()
    weir = start_weir(POOL.replace("$TMP", str(tmp)))
    register(weir, "one", backends.addresses[0])
    wait_endpoints(weir, backends.addresses[:1])
    wait_for(lambda: weir.metric("weir_registry_state_errors_total") > 0, "an error")
    said = json.loads(ask(weir, "/registry").body)["state"]
    assert said["file"] == f"{tmp}/registry.yaml" and f"{tmp}/registry.yaml" in said["error"]
    assert [p.name for p in tmp.iterdir() if p.name.startswith("registry")] == ["registry.yaml"]
    assert hosts_that_answer(weir, 3) == {backends.hosts[0]}


def test_a_reload_keeps_who_is_there(weir, backends):
    register(weir, "one", backends.addresses[0])
    wait_endpoints(weir, backends.addresses[:1])
    reload(weir, POOL.replace("routes:", "timeouts: { request: 7s }\nroutes:"))
    assert endpoints(weir) == backends.addresses[:1]
    reload(weir, POOL.replace("{}", "{ max: 5 }, slow_start: 1s"))
    assert endpoints(weir) == backends.addresses[:1] and registered(weir)["max"] == 5
    reload(weir, "routes: [ { to: app } ]\npools: { app: ['%s'] }" % backends.addresses[1])
    assert ask(weir, PATH, "PUT", {"address": "10.0.0.1:80"}).status == 404
    reload(weir, POOL)
    wait_endpoints(weir, backends.addresses[:1])


def test_a_binary_upgrade_keeps_who_is_there(start_weir, backends):
    weir = start_weir("shutdown: 5s\n" + POOL)
    register(weir, "one", backends.addresses[0])
    wait_endpoints(weir, backends.addresses[:1])
    with Client(weir.admin) as c, weir.client() as stays:
        assert c.get("/livez").status == 200 and stays.get("/").status == 200
        old = upgrade(weir)
        assert hosts_that_answer(weir, 5) == {backends.hosts[0]}
        register(weir, "two", backends.addresses[1])
        wait_endpoints(weir, backends.addresses[:2])
        # A connection to the old one, which writes no file that is the new one's.
        c.send(f"PUT {PATH} HTTP/1.1\r\nHost: a\r\n{MINE}Content-Length: 2\r\n\r\n{{}}")
        late = c.response()
        assert late.status == 503 and late.get("retry-after") == "1"
    ended(old)
    wait_for(lambda: "two" in state(weir), "the file")
    assert ids(weir) == ["one", "two"]
