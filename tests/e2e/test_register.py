# SPDX-License-Identifier: Apache-2.0
"""hello --register: a backend announces itself to weir or to etcd, says so again in time, and leaves
before it stops serving."""
import base64
import json
import re
import shutil
import socket
import subprocess
import threading
import urllib.request

import pytest

from peers import DEADLINE, connect, hold, port, wait_for
from registering import HELLO, POOL, Hello, ids, registered, url_of
from test_discovery_file import endpoints, wait_endpoints
from test_discovery_load import Load
from test_reload import settled

needs_etcd = pytest.mark.skipif(not shutil.which("etcd"), reason="there is no etcd (etcd-server)")


@pytest.fixture
def hello(tmp, closing):
    return lambda name, *urls, **kw: closing(Hello(tmp, name, *urls, **kw))


@pytest.fixture
def weir(start_weir):
    return start_weir(POOL)


def bodies(weir, requests):
    with weir.client() as c:
        return {c.get("/").body.decode() for _ in range(requests)}


def wait_ids(weir, expected):
    wait_for(lambda: ids(weir) == expected, f"registrations {expected}")


# ---- weir ----


def test_a_backend_comes_and_goes(weir, hello):
    one = hello("one", url_of(weir))
    two = hello("two", url_of(weir), ttl=9, more=["--register-weight", "3", "--register-zone", "z"])
    wait_ids(weir, ["one", "two"])
    said = {e["id"]: e for e in registered(weir)["registrations"]}
    assert said["one"]["address"] == one.address and said["one"]["ttl_ms"] == 30000
    assert (said["two"]["weight"], said["two"]["zone"], said["two"]["ttl_ms"]) == (3, "z", 9000)
    wait_endpoints(weir, [one.address, two.address])
    assert bodies(weir, 200) == {"one", "two"}
    one.stop()
    assert ids(weir) == ["two"] and registered(weir)["removed"] == 1
    two.stop()
    assert ids(weir) == []


def test_it_says_so_again_every_third_of_its_ttl(weir, hello):
    hello("one", url_of(weir), ttl=3)
    weir.wait_metric("weir_registry_entries", 1, pool="app")
    wait_for(lambda: registered(weir)["renewed"] >= 4, "heartbeats for longer than the TTL")
    assert registered(weir)["expired"] == 0 and registered(weir)["registered"] == 1


def test_by_default_it_is_where_the_way_to_weir_begins(weir, tmp, closing):
    ready = tmp / "ready.json"
    proc = subprocess.Popen(
        [HELLO, "--listen", ":0", "--ready-file", ready, "--register", url_of(weir)],
        stderr=subprocess.DEVNULL,
    )
    try:
        weir.wait_metric("weir_registry_entries", 1, pool="app")
        entry = registered(weir)["registrations"][0]
        port = json.loads(ready.read_text())["listen"].rpartition(":")[2]
        assert entry["address"] == f"127.0.0.1:{port}"
        assert entry["id"] == re.sub(r"[^A-Za-z0-9._-]", "-", socket.gethostname()) + f":{port}"
    finally:
        proc.terminate()
        assert proc.wait(DEADLINE) == 0
    assert ids(weir) == []


def test_who_is_killed_expires(weir, hello):
    """And requests that go there in the meantime are tried elsewhere."""
    one = hello("one", url_of(weir), ttl=3)
    two = hello("two", url_of(weir), ttl=3)
    wait_ids(weir, ["one", "two"])
    wait_endpoints(weir, [one.address, two.address])
    two.kill()
    assert bodies(weir, 30) == {"one"}
    wait_ids(weir, ["one"])
    wait_endpoints(weir, [one.address])
    assert registered(weir)["expired"] == 1


def test_it_registers_again_where_nobody_knows_it(start_weir, hello):
    first = start_weir(POOL)
    hello("one", url_of(first), ttl=3)
    wait_ids(first, ["one"])
    first.stop()
    again = start_weir(f"admin: {{ listen: '{first.admin}' }}\n" + POOL)
    wait_ids(again, ["one"])
    wait_for(lambda: len(endpoints(again)) == 1, "its endpoint")
    assert bodies(again, 3) == {"one"}


def test_who_starts_before_weir_does_registers_once_it_is_there(start_weir, hello, closing):
    holder = hold(("127.0.0.1", 0))
    at = f"127.0.0.1:{closing(holder).getsockname()[1]}"
    one = hello("one", f"http://{at}/registry/app", ttl=3)
    wait_for(lambda: "not registered: connection refused" in one.said.read_text(), "a refusal")
    weir = start_weir(f"admin: {{ listen: '{at}' }}\n" + POOL)
    wait_ids(weir, ["one"])
    one.stop()
    assert ids(weir) == []


def test_a_name_that_nobody_knows_is_told_and_keeps_nobody_from_serving_or_ending(weir, hello):
    one = hello("one", "http://weir.invalid:9900/registry/app", url_of(weir))
    wait_ids(weir, ["one"])
    wait_for(lambda: "its name cannot be resolved; it is tried again" in one.said.read_text(), "the error")
    one.stop()
    assert ids(weir) == []


def test_two_weirs_know_it_and_one_of_them_may_be_away(start_weir, hello, tmp):
    one, two = start_weir(POOL), start_weir(POOL)
    backend = hello("one", url_of(one), url_of(two))
    for weir in (one, two):
        wait_ids(weir, ["one"])
    two.stop()
    backend.stop()
    assert ids(one) == []
    said = backend.said.read_text()
    assert f"hello: {url_of(two)}: cannot leave: " in said and "cannot leave" not in said.replace(
        f"hello: {url_of(two)}: cannot leave", ""
    )


def test_a_token_is_read_from_a_file(start_weir, hello, tmp):
    (tmp / "token").write_text("0123456789abcdef0123456789abcdef\n")
    weir = start_weir(f'admin: {{ listen: "127.0.0.1:0", token_file: {tmp}/token }}\n' + POOL)
    without = hello("without", url_of(weir))
    wait_for(lambda: "not registered: 401 the admin listener's token" in without.said.read_text(), "401")
    backend = hello("one", url_of(weir), more=["--register-token-file", str(tmp / "token")])
    wait_for(lambda: "registered at " in backend.said.read_text(), "its registration")


def test_a_token_that_is_good_for_registering_alone_will_do(start_weir, hello, tmp):
    (tmp / "admin").write_text("0123456789abcdef-the-admins\n")
    (tmp / "backends").write_text("0123456789abcdef-the-backends\n")
    text = POOL.replace("registry.yaml }", f"registry.yaml, token_file: {tmp}/backends }}", 1)
    weir = start_weir(f'admin: {{ listen: "127.0.0.1:0", token_file: {tmp}/admin }}\n' + text)
    backend = hello("one", url_of(weir), more=["--register-token-file", str(tmp / "backends")])
    wait_for(lambda: "registered at " in backend.said.read_text(), "its registration")
    backend.stop()
    assert "cannot leave" not in backend.said.read_text()


def test_backends_come_and_go_while_requests_run(weir, hello):
    """2, 10, 3 of them: no request fails."""

    def start(n):
        return [hello(f"h{n}{i}", url_of(weir), more=["--linger", "1"]) for i in range(n)]

    backends = start(2)
    weir.wait_metric("weir_discovery_endpoints", 2, pool="app")
    wait_for(lambda: len(endpoints(weir)) == 2, "endpoints")
    load = Load(weir.listeners["web"])
    try:
        load.some()
        backends += start(8)
        wait_for(lambda: len(endpoints(weir)) == 10, "ten endpoints")
        load.some()
        for backend in backends[3:]:
            backend.proc.terminate()
        wait_for(lambda: len(endpoints(weir)) == 3, "three endpoints")
        load.some()
        for backend in backends[3:]:
            assert backend.proc.wait(DEADLINE) == 0
        load.some()
        assert load.wrong == []
        weir.wait_metric("weir_errors_total", 0)
    finally:
        load.close()
    assert registered(weir)["removed"] == 7 and registered(weir)["expired"] == 0
    settled(weir)


# ---- whatever a registry answers ----


class Registry(threading.Thread):
    """Answers each request with the next of these, and then with the last; keeps what came."""

    def __init__(self, *answers):
        super().__init__(daemon=True)
        self.answers, self.came, self.over = list(answers), [], False
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        self.start()

    def run(self):
        while True:
            sock, _ = self.listener.accept()
            if self.over:
                return sock.close()
            with sock:
                sock.settimeout(DEADLINE)
                got = b""
                while not self.whole(got):
                    got += sock.recv(65536)
                self.came.append(got.decode())
                sock.sendall(self.answers[0])
            if len(self.answers) > 1:
                self.answers.pop(0)

    @staticmethod
    def whole(got):
        head, end, body = got.partition(b"\r\n\r\n")
        length = re.search(rb"Content-Length: (\d+)", head)
        return end and len(body) >= (int(length[1]) if length else 0)

    def close(self):
        self.over = True
        connect(f"127.0.0.1:{self.port}").close()
        self.join(DEADLINE)
        self.listener.close()


OK = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"


def test_the_bytes_that_are_sent(hello, closing):
    registry = closing(Registry(OK))
    one = hello("one", f"http://127.0.0.1:{registry.port}/registry/app", ttl=9)
    wait_for(lambda: "registered at" in one.said.read_text(), "it")
    one.stop()
    head = f"Host: 127.0.0.1:{registry.port}\r\n"
    tail = "User-Agent: hello\r\nConnection: close\r\n\r\n"
    body = f'{{"address":"{one.address}","weight":1,"ttl":"9s"}}'
    assert registry.came == [
        f"PUT /registry/app/one HTTP/1.1\r\nX-Weir: 1\r\n{head}Content-Type: application/json\r\n"
        f"Content-Length: {len(body)}\r\n{tail}{body}",
        f"DELETE /registry/app/one HTTP/1.1\r\nX-Weir: 1\r\n{head}{tail}",
    ]


@pytest.mark.parametrize(
    "answer, said",
    [
        (b"HTTP/1.1 500 No\r\nContent-Length: 9\r\n\r\nnot today", "500 not today"),
        (b"SSH-2.0-x\r\n", "the answer is no HTTP"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhal", "the answer is cut short"),
        (b"", "the answer is cut short"),
        (b"HTTP/1.1 404 No\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nno\r\n0\r\n\r\n", "404 no"),
        (b"HTTP/1.1 500 No\r\nContent-Length: 99999\r\n\r\n" + 99999 * b"x", "500 xxx"),
    ],
    ids=["500", "no HTTP", "cut", "nothing", "chunked", "long"],
)
def test_whatever_is_answered_it_is_tried_again(hello, closing, answer, said):
    registry = closing(Registry(answer, answer, OK))
    one = hello("one", f"http://127.0.0.1:{registry.port}/registry/app")
    wait_for(lambda: "registered at" in one.said.read_text(), "it")
    lines = [line for line in one.said.read_text().splitlines() if "not registered" in line]
    assert len(lines) == 1 and f"not registered: {said}" in lines[0]
    assert len(registry.came) == 3
    one.stop()


def test_who_could_not_say_so_again_leaves_all_the_same(hello, closing):
    registry = closing(Registry(OK, b"HTTP/1.1 500 No\r\nContent-Length: 2\r\n\r\nno", OK))
    one = hello("one", f"http://127.0.0.1:{registry.port}/registry/app", ttl=3)
    wait_for(lambda: "not registered: 500 no" in one.said.read_text(), "the heartbeat that fails")
    one.stop()
    assert [came.split()[0] for came in registry.came][-1] == "DELETE"


@pytest.mark.parametrize(
    "args",
    [
        ["--register", "localhost:9900/registry/app"],
        ["--register", "http://localhost/registry/app"],
        ["--register", "http://localhost:9900/"],
        ["--register", "http://localhost:9900/registry/"],
        ["--register", "https://localhost:9900/registry/app"],
        ["--register", "etcd://localhost:2379"],
        ["--register", "http://[::1:9900/registry/app"],
        ["--register", "http://localhost:9900/registry/a b"],
        ["--register-ttl", "2"],
        ["--register-weight", "1001"],
        ["--register-id", "a/b"],
        ["--register-id", ""],
        ["--register-id", ".."],
        ["--register-zone", 'a"b'],
        ["--register-address", "a b:1"],
        ["--register-token-file", "/nonexistent"],
        [arg for _ in range(9) for arg in ("--register", "http://localhost:9900/registry/app")],
    ],
)
def test_options_that_are_wrong(args):
    done = subprocess.run([HELLO, *args], capture_output=True, text=True, timeout=DEADLINE)
    assert done.returncode == 2 and done.stderr.startswith(f"hello: {args[0]} '"), done.stderr


# ---- etcd ----


class Etcd:
    def __init__(self, tmp):
        self.port = port()
        self.url = f"etcd://127.0.0.1:{self.port}"
        self.data = tmp / "etcd"
        self.start()

    def start(self):
        http = f"http://127.0.0.1:{self.port}"
        self.proc = subprocess.Popen(
            ["etcd", "--data-dir", str(self.data), "--listen-client-urls", http]
            + ["--advertise-client-urls", http, "--listen-peer-urls", "http://127.0.0.1:0"]
            + ["--unsafe-no-fsync", "--log-level", "error"],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        wait_for(self.answers, "etcd")

    def answers(self):
        try:
            self.ask("/v3/kv/range", {"key": self.coded("x")})
        except OSError:
            return False
        return True

    def ask(self, path, body):
        url = f"http://127.0.0.1:{self.port}{path}"
        request = urllib.request.Request(url, json.dumps(body).encode(), method="POST")
        with urllib.request.urlopen(request, timeout=DEADLINE) as response:
            return json.loads(response.read())

    @staticmethod
    def coded(text):
        return base64.b64encode(text.encode()).decode()

    def below(self, prefix):
        end = prefix[:-1] + chr(ord(prefix[-1]) + 1)
        got = self.ask("/v3/kv/range", {"key": self.coded(prefix), "range_end": self.coded(end)})
        return {
            base64.b64decode(kv["key"]).decode(): json.loads(base64.b64decode(kv["value"]))
            for kv in got.get("kvs", [])
        }

    def leases(self):
        return self.ask("/v3/lease/leases", {}).get("leases", [])

    def kill(self):
        self.proc.kill()
        self.proc.wait(DEADLINE)

    close = kill


@pytest.fixture
def etcd(tmp, closing):
    return closing(Etcd(tmp))


@needs_etcd
def test_etcd_has_it_as_long_as_it_is_there(etcd, hello):
    more = ["--register-weight", "2", "--register-zone", "z"]
    one = hello("one", etcd.url + "/weir/app/", ttl=3)
    two = hello("two", etcd.url + "/weir/app/", ttl=3, more=more)
    key = "/weir/app/"
    wait_for(lambda: len(etcd.below(key)) == 2, "two keys")
    assert etcd.below(key) == {
        key + "one": {"address": one.address, "weight": 1},
        key + "two": {"address": two.address, "weight": 2, "zone": "z"},
    }
    one.stop()
    assert list(etcd.below(key)) == [key + "two"] and len(etcd.leases()) == 1
    two.kill()
    wait_for(lambda: etcd.below(key) == {}, "that its lease has expired")


@needs_etcd
def test_a_prefix_ends_with_a_slash_whether_it_is_written_or_not(etcd, hello):
    hello("one", etcd.url + "/weir/app", ttl=3)
    wait_for(lambda: etcd.below("/weir/"), "a key")
    assert list(etcd.below("/weir/")) == ["/weir/app/one"]


@needs_etcd
def test_a_lease_that_etcd_does_not_know_any_more_is_another_one(etcd, hello):
    hello("one", etcd.url + "/weir/app/", ttl=3)
    wait_for(lambda: etcd.below("/weir/"), "a key")
    lease = etcd.leases()[0]["ID"]
    etcd.ask("/v3/lease/revoke", {"ID": lease})
    assert etcd.below("/weir/") == {}
    wait_for(lambda: etcd.below("/weir/"), "the key again")
    assert etcd.leases()[0]["ID"] != lease


@needs_etcd
def test_an_etcd_that_begins_anew_is_told_again(etcd, hello):
    hello("one", etcd.url + "/weir/app/", ttl=3)
    wait_for(lambda: etcd.below("/weir/"), "a key")
    etcd.kill()
    shutil.rmtree(etcd.data)
    etcd.start()
    wait_for(lambda: etcd.below("/weir/"), "the key again")
