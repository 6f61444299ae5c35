# SPDX-License-Identifier: Apache-2.0
"""Active health checks: what they ask, what they make of the answer, and what follows for traffic."""
import os
import re
import shutil
import signal
import socket
import ssl
import threading
import time
from concurrent import futures

import pytest

import peers
from authority import Authority
from harness import assert_authored
from peers import RefusedEndpoint, SilentEndpoint, Upstream, wait_for
from test_backends import HELLO, Server
from test_reload import reload

# A busy machine may make an endpoint that is well late: a check has as long as it can.
SOON = "every: 3s, timeout: 3s, jitter: 0%"
AT_ONCE = f"{SOON}, down_after: 1, up_after: 1"
# The first check of the first endpoint, and no other: it may take as long as the test does.
ONCE = "every: 1h, timeout: 1h, down_after: 1, up_after: 1"


def pool(health, *endpoints, more=""):
    listed = ", ".join(e if e.startswith("{") else f"'{e}'" for e in endpoints)
    return (
        "routes: [ { to: app } ]\n"
        f"pools: {{ app: {{ health: {{ {health} }}, endpoints: [ {listed} ], {more} }} }}\n"
    )


def wait_up(weir, endpoint, up):
    weir.wait_metric("weir_endpoint_up", int(up), pool="app", endpoint=endpoint)


def wait_checks(weir, count, **labels):
    wait_for(
        lambda: weir.metric("weir_health_checks_total", **labels) >= count,
        f"{count} checks {labels}",
    )


def wait_said(weir, pattern):
    return wait_for(lambda: re.search(pattern, weir.stderr()), f"{pattern!r} in the log")


def draw(weir, count=20):
    """The bodies of so many answers."""
    with weir.client() as c:
        return {c.get().body for _ in range(count)}


class Patient:
    """Answers checks as it is told, and everything else with its name."""

    def __init__(self, auto, name):
        self.answer = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
        self.checks = []
        self.upstream = auto(self.reply, body=name)
        self.address = self.upstream.address

    def reply(self, request):
        if request.target != "/healthz":
            return self.upstream.ok()
        self.checks.append(request)
        return self.answer


BAD = b"HTTP/1.1 500 Internal Server Error\r\nContent-Length: 0\r\n\r\n"
GOOD = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


@pytest.fixture
def hello(tmp_path):
    """hello(*flags): a process of its own; killed at the end, if need be."""
    started = []

    def start(*flags):
        tmp = tmp_path / str(len(started))
        tmp.mkdir()
        server = Server(tmp, *flags, program=HELLO)
        server.text = "%s:%d" % server.address
        started.append(server)
        return server

    yield start
    for server in started:
        server.kill()
        server.process.communicate()


# ---- from what is seen to where traffic goes ----------------------------------------------------


def test_traffic_avoids_one_that_answers_500_until_it_is_well_again(start_weir, auto):
    a, b = Patient(auto, b"a"), Patient(auto, b"b")
    start = time.monotonic()
    weir = start_weir(pool(f"http: /healthz, {AT_ONCE}", a.address, b.address))
    wait_for(lambda: len(b.checks) >= 2, "the first check of b to have passed")
    began = time.monotonic()
    assert draw(weir, 100) == {b"a", b"b"}
    up = time.monotonic() - began
    b.answer = BAD
    wait_up(weir, b.address, False)
    assert draw(weir) == {b"a"}
    assert weir.metric("weir_health_checks_total", result="failed", reason="bad_status") >= 1
    said = wait_said(
        weir,
        rf"info +pool app: {b.address} is down after (\d+\.\d) s: it failed one check, "
        "at last because the status was 500",
    )
    most = time.monotonic() - start
    assert up - 0.1 <= float(said[1]) <= most + 0.1, "how long it was up, to a tenth"
    b.answer = GOOD
    wait_up(weir, b.address, True)
    assert draw(weir, 100) == {b"a", b"b"}
    wait_said(weir, rf"info +pool app: {b.address} is up after \d+\.\d s: it passed one check")
    wait_up(weir, a.address, True)


def test_down_after_3_and_up_after_2(start_weir, auto):
    """BEHAVIOUR 8: down after 3, up after 2."""
    story = [GOOD, BAD, BAD, GOOD, BAD, BAD, BAD, GOOD, BAD, GOOD, GOOD]
    seen = []

    def reply(_request):
        # The upstream's thread: what weir made of the answers so far.
        seen.append(len(re.findall(r" is (down|up) ", weir.stderr())))
        return story[len(seen) - 1] if len(seen) <= len(story) else GOOD

    started = threading.Event()
    one = auto(lambda request: started.wait(peers.DEADLINE) and reply(request))
    weir = start_weir(
        pool("http: /healthz, every: 1500ms, timeout: 1500ms, jitter: 0%", one.address)
    )
    started.set()
    wait_for(lambda: len(seen) > len(story), "the whole story")
    #   what had been said when each check came
    assert seen[: len(story) + 1] == [0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 2]


def test_a_killed_process_and_its_return(start_weir, hello):
    a, b = hello("--body", "a"), hello("--body", "b")
    weir = start_weir(pool(f"http: /healthz, {AT_ONCE}", a.text, b.text))
    wait_checks(weir, 2, result="passed")
    b.kill()
    wait_up(weir, b.text, False)
    wait_checks(weir, 1, reason="connect_refused")  # the first may have been cut by its end
    before = weir.metric("weir_attempts_failed_total")
    assert draw(weir) == {b"a"}
    weir.wait_metric("weir_attempts_failed_total", before)  # nothing is tried there any more
    hello("--body", "b", "--listen", b.text)
    wait_up(weir, b.text, True)
    assert draw(weir, 100) == {b"a", b"b"}


def test_a_stopped_process_and_its_return(start_weir, hello):
    a, b = hello("--body", "a"), hello("--body", "b")
    weir = start_weir(pool(f"http: /healthz, {AT_ONCE}", a.text, b.text))
    wait_checks(weir, 2, result="passed")
    b.process.send_signal(signal.SIGSTOP)
    wait_up(weir, b.text, False)
    assert weir.metric("weir_health_checks_total", reason="timeout") >= 1
    wait_said(weir, "no whole answer within 3000 ms")
    assert draw(weir) == {b"a"}
    b.process.send_signal(signal.SIGCONT)
    wait_up(weir, b.text, True)


def test_all_down_is_503(start_weir, closing):
    ends = [closing(RefusedEndpoint()) for _ in range(2)]
    weir = start_weir(pool(f"http: /healthz, {AT_ONCE}", *[e.address for e in ends]))
    for e in ends:
        wait_up(weir, e.address, False)
    with weir.client() as c:
        assert_authored(c.get(), 503, "no_endpoint")


def test_one_that_must_pass_gets_nothing_before(start_weir, closing):
    one = closing(Upstream())
    weir = start_weir(pool(f"http: /healthz, {ONCE}, must_pass: true", one.address))
    with one.accept() as check:
        check.request()
        wait_up(weir, one.address, False)
        with weir.client() as c:
            assert_authored(c.get(), 503, "no_endpoint")
        check.answer()
    wait_up(weir, one.address, True)
    with weir.client() as c:
        c.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        conn = one.accept()
        assert conn.request().target == "/"
        conn.answer()
        assert c.response().status == 200


def test_one_that_is_added_must_pass_once_first(start_weir, auto, closing):
    """BEHAVIOUR 8: an endpoint added at run time must pass once first. Those of the start need not."""
    old, added = Patient(auto, b"old"), closing(Upstream())
    text = f"http: /healthz, {ONCE}"
    weir = start_weir(pool(text, old.address))
    wait_checks(weir, 1, result="passed")
    reload(weir, pool(text, old.address, added.address))
    with added.accept() as check:
        assert check.request().target == "/healthz"
        wait_up(weir, added.address, False)
        assert draw(weir) == {b"old"}
        check.answer()
    wait_up(weir, added.address, True)
    assert old.checks, "its verdict is the one that it had"


def test_one_without_a_verdict_gets_requests(start_weir, auto, closing):
    """Its first check is on its way for as long as it may take."""
    one, side = auto(body=b"a"), closing(Upstream())
    endpoint = f"{{ address: '{one.address}', health: '{side.address}' }}"
    weir = start_weir(pool("http: /, every: 1h, timeout: 1h", endpoint))
    with side.accept() as check:
        check.request()
        wait_up(weir, one.address, True)
        assert draw(weir, 5) == {b"a"}
        weir.wait_metric("weir_health_checks_total", 0)


def test_one_that_is_down_is_asked_in_an_interval_of_its_own(start_weir, auto):
    """With the other one a second check would come after an hour."""
    one = Patient(auto, b"a")
    one.answer = BAD
    often = "every: 1h, every_down: 100ms, timeout: 100ms, jitter: 0%, must_pass: true, up_after: 1"
    weir = start_weir(pool(f"http: /healthz, {often}", one.address))
    wait_checks(weir, 5, result="failed")
    wait_up(weir, one.address, False)
    one.answer = GOOD
    wait_up(weir, one.address, True)
    # Of those that weir has made: it may have given up some that come here only now.
    count = weir.metric("weir_health_checks_total")
    assert draw(weir, 20) == {b"a"}
    assert weir.metric("weir_health_checks_total") == count, "up it is asked every hour"


# ---- what is asked ------------------------------------------------------------------------------


def test_a_check_is_this_request(start_weir, closing):
    one = closing(Upstream())
    start_weir(pool(f"http: /healthz, {ONCE}", one.address))
    with one.accept() as check:
        got = check.recv_until(b"\r\n\r\n")
        assert re.fullmatch(
            rb"GET /healthz HTTP/1\.1\r\nHost: %b\r\nUser-Agent: weir-health/[0-9.]+\r\n"
            rb"Connection: close\r\n\r\n" % re.escape(one.address.encode()),
            got,
        ), got


def test_method_host_fields_and_query_of_ones_own(start_weir, closing):
    one = closing(Upstream())
    http = "path: '/up?deep=1', method: POST, host: app.example, headers: { x-a: b, user-agent: me }"
    start_weir(pool(f"http: {{ {http} }}, {ONCE}", one.address))
    with one.accept() as check:
        assert check.recv_until(b"\r\n\r\n") == (
            b"POST /up?deep=1 HTTP/1.1\r\nHost: app.example\r\nx-a: b\r\nuser-agent: me\r\n"
            b"Content-Length: 0\r\nConnection: close\r\n\r\n"
        )


def test_checks_go_to_an_address_of_their_own(start_weir, auto, closing):
    a, side = auto(body=b"a"), closing(Upstream())
    weir = start_weir(
        pool(f"tcp: true, {AT_ONCE}", f"{{ address: '{a.address}', health: '{side.address}' }}")
    )
    wait_checks(weir, 1, result="passed")
    assert a.connections == 0
    side.hang_up()
    wait_up(weir, a.address, False)


def test_checks_go_to_a_port_of_their_own(start_weir, auto, closing):
    a, side = auto(body=b"a"), closing(Upstream())
    weir = start_weir(pool(f"tcp: true, port: {side.port}, {AT_ONCE}", a.address))
    wait_checks(weir, 1, result="passed")
    assert a.connections == 0


def test_a_check_with_a_proxy_header_is_no_clients(start_weir, closing):
    one = closing(Upstream())
    start_weir(
        pool(f"http: /healthz, {ONCE}", one.address, more="upstream: { proxy_protocol: v2 }")
    )
    with one.accept() as check:
        got = check.recv_until(b"GET /healthz")
        assert got[:12] == b"\r\n\r\n\0\r\nQUIT\n" and got[13:16] == b"\0\0\0", got


# ---- what is made of it -------------------------------------------------------------------------

ANSWERS = {
    "a status that is listed": ("status: 503", b"503 X", b"", "passed", ""),
    "another status": ("status: [200, { from: 300, to: 302 }]", b"204 X", b"", "failed", "bad_status"),
    "a status of a range": ("status: [200, { from: 300, to: 302 }]", b"301 X", b"", "passed", ""),
    "404 is not well": ("", b"404 X", b"", "failed", "bad_status"),
    "399 is well": ("", b"399 X", b"", "passed", ""),
    "the text is there": ("body: 'ready: yes'", b"200 X", b"a" * 9000 + b"ready: yes", "passed", ""),
    "the text is not": ("body: 'ready: yes'", b"200 X", b"ready: no", "failed", "bad_body"),
    "nor behind 64 KiB": ("body: 'yes'", b"200 X", b"a" * 65536 + b"yes", "failed", "bad_body"),
    "across its end": ("body: 'yes'", b"200 X", b"a" * 65534 + b"yes", "failed", "bad_body"),
    "just before it": ("body: 'yes'", b"200 X", b"a" * 65533 + b"yes", "passed", ""),
    "a long answer": ("", b"200 X", b"a" * 300000, "passed", ""),
}


@pytest.mark.parametrize("case", ANSWERS)
def test_verdicts(start_weir, auto, case):
    """BEHAVIOUR 8: http (status 200-399 or given)."""
    http, status, body, result, reason = ANSWERS[case]
    head = b"HTTP/1.1 %b\r\nContent-Length: %d\r\n\r\n" % (status, len(body) if status[:3] != b"204" else 0)
    one = auto(lambda _: head + body)
    weir = start_weir(pool(f"http: {{ path: /, {http} }}, {AT_ONCE}", one.address))
    wait_checks(weir, 1)
    wait_checks(weir, 1, result=result, reason=reason)
    wait_up(weir, one.address, result == "passed")


@pytest.mark.parametrize(
    "answer, reason",
    [
        (b"SSH-2.0-OpenSSH_9.2\r\n", "bad_response"),
        (b"", "upstream_closed"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhel", "response_incomplete"),
    ],
    ids=["something else", "nothing", "half"],
)
def test_what_is_no_answer(start_weir, closing, answer, reason):
    one = closing(Upstream())
    weir = start_weir(pool(f"http: /, {ONCE}", one.address))
    with one.accept() as check:
        check.request()
        check.send(answer)
        check.half_close()
        wait_checks(weir, 1, result="failed", reason=reason)
    wait_up(weir, one.address, False)


def test_interim_answers_are_none(start_weir, closing):
    one = closing(Upstream())
    weir = start_weir(pool(f"http: /, {ONCE}, must_pass: true", one.address))
    with one.accept() as check:
        check.request()
        check.send("HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n")
        check.answer()
        wait_up(weir, one.address, True)


def test_tcp_is_about_the_connection_alone(start_weir, closing):
    """BEHAVIOUR 8: tcp."""
    well, refuses, silent = closing(Upstream()), closing(RefusedEndpoint()), closing(SilentEndpoint())
    weir = start_weir(
        pool(f"tcp: true, {AT_ONCE}", well.address, refuses.address, silent.address)
    )
    wait_up(weir, refuses.address, False)
    wait_up(weir, silent.address, False)
    assert weir.metric("weir_health_checks_total", reason="connect_refused") >= 1
    assert weir.metric("weir_health_checks_total", reason="connect_timeout") >= 1
    wait_up(weir, well.address, True)
    with well.accept() as check:
        check.expect_ended()


# ---- TLS, HTTP/2, gRPC --------------------------------------------------------------------------


@pytest.mark.parametrize("health", ["http: /healthz", "tcp: true"])
@pytest.mark.parametrize("protocol", ["auto", "h1", "h2"])
def test_over_tls(start_weir, hello, authority, health, protocol):
    pair = authority.server()
    flags = ["--no-h2"] if protocol == "h1" else []
    one = hello("--tls-cert", str(pair.cert), "--tls-key", str(pair.key), *flags)
    tls = f"upstream: {{ protocol: {protocol}, tls: {{ ca: {authority.cert} }} }}"
    weir = start_weir(pool(f"{health}, {ONCE}, must_pass: true", one.text, more=tls))
    wait_up(weir, one.text, True)
    weir.wait_metric("weir_health_checks_total", 0, result="failed")
    with weir.client() as c:
        assert c.get().status == 200


@pytest.mark.parametrize("health", ["http: /healthz", "tcp: true"])
def test_a_certificate_that_is_not_trusted(start_weir, hello, authority, health):
    pair = authority.issue("other.example")
    one = hello("--tls-cert", str(pair.cert), "--tls-key", str(pair.key))
    tls = f"upstream: {{ tls: {{ ca: {authority.cert} }} }}"
    weir = start_weir(pool(f"{health}, {ONCE}", one.text, more=tls))
    wait_up(weir, one.text, False)
    assert weir.metric("weir_health_checks_total", reason="upstream_tls_failed") == 1


def test_checks_are_made_with_the_authorities_that_are_on_disk_now(
    start_weir, hello, authority, tmp_path
):
    pair, ca = authority.server(), tmp_path / "ca.crt"
    other = Authority(tmp_path / "other", "somebody else")

    def trust(whom):
        shutil.copy(whom.cert, tmp_path / "new.crt")
        os.replace(tmp_path / "new.crt", ca)

    trust(authority)
    one = hello("--tls-cert", str(pair.cert), "--tls-key", str(pair.key))
    weir = start_weir(
        pool(f"http: /healthz, {AT_ONCE}", one.text, more=f"upstream: {{ tls: {{ ca: {ca} }} }}")
    )
    wait_checks(weir, 1, result="passed")
    trust(other)
    weir.wait_metric("weir_tls_cert_reloads_total", 1, pool="app")
    wait_checks(weir, 1, reason="upstream_tls_failed")
    wait_up(weir, one.text, False)
    trust(authority)
    wait_up(weir, one.text, True)


class Callers:
    """Asks whoever connects for a certificate, and writes down the name in it."""

    def __init__(self, authority):
        self.names = []
        self.context = authority.server_context(ask=True)
        self.sock = socket.create_server(("127.0.0.1", 0))
        self.address = "127.0.0.1:%d" % self.sock.getsockname()[1]
        self.thread = threading.Thread(target=self.run)
        self.thread.start()

    def run(self):
        while True:
            try:
                conn, _ = self.sock.accept()
            except OSError:
                return
            conn.settimeout(peers.DEADLINE)
            try:
                with self.context.wrap_socket(conn, server_side=True) as tls:
                    tls.recv(1)  # in TLS 1.3 the certificate comes with what follows
                    self.names.append(dict(x[0] for x in tls.getpeercert()["subject"])["commonName"])
            except (OSError, ssl.SSLError):
                conn.close()

    def close(self):
        where = self.sock.getsockname()
        self.sock.shutdown(socket.SHUT_RDWR)
        self.sock.close()
        peers.keep(where)
        self.thread.join()


def test_checks_show_the_certificate_that_is_on_disk_now(start_weir, closing, authority, tmp_path):
    """Each is a handshake of its own: none is resumed with what an old certificate was good for."""
    side = closing(Callers(authority))
    names = side.names
    first, second = authority.issue(subject="/CN=one"), authority.issue(subject="/CN=two")
    first.into(tmp_path, "own")
    tls = f"ca: {authority.cert}, cert: {tmp_path}/own.crt, key: {tmp_path}/own.key"
    weir = start_weir(
        pool(f"tcp: true, {AT_ONCE}", side.address, more=f"upstream: {{ tls: {{ {tls} }} }}")
    )
    wait_for(lambda: "one" in names, "a check with the first")
    second.into(tmp_path, "own")
    weir.wait_metric("weir_tls_cert_reloads_total", 1, pool="app")
    wait_for(lambda: "two" in names, "a check with the second")
    seen = len(names)
    wait_for(lambda: len(names) > seen, "the next one")
    assert set(names[seen:]) == {"two"}


def test_in_clear_text_beside_tls(start_weir, hello, auto, authority):
    pair, side = authority.server(), auto()
    one = hello("--tls-cert", str(pair.cert), "--tls-key", str(pair.key))
    tls = f"upstream: {{ tls: {{ ca: {authority.cert} }} }}"
    endpoint = f"{{ address: '{one.text}', health: '{side.address}' }}"
    weir = start_weir(pool(f"http: /, tls: false, {AT_ONCE}, must_pass: true", endpoint, more=tls))
    wait_up(weir, one.text, True)
    assert side.requests[0].target == "/"


def test_over_http2_in_clear_text(start_weir, hello):
    one = hello()
    h2 = "upstream: { protocol: h2 }"
    weir = start_weir(pool(f"http: /healthz, {AT_ONCE}, must_pass: true", one.text, more=h2))
    wait_up(weir, one.text, True)


class GrpcHealth:
    """grpcio's server with grpc.health.v1 by hand: which service has which status."""

    def __init__(self, pair=None):
        import grpc

        def check(request, context):
            name = request[2:].decode()
            self.asked.append(request)
            if name not in self.services:
                context.abort(grpc.StatusCode.NOT_FOUND, "unknown service")
            return bytes([8, self.services[name]])

        self.services, self.asked = {"": 1, "shop.Cart": 1}, []
        self.server = grpc.server(futures.ThreadPoolExecutor(2))
        rpc = {"Check": grpc.unary_unary_rpc_method_handler(check)}
        self.server.add_generic_rpc_handlers(
            (grpc.method_handlers_generic_handler("grpc.health.v1.Health", rpc),)
        )
        if pair:
            keys = [(pair.key.read_bytes(), pair.cert.read_bytes())]
            port = self.server.add_secure_port("127.0.0.1:0", grpc.ssl_server_credentials(keys))
        else:
            port = self.server.add_insecure_port("127.0.0.1:0")
        self.address = f"127.0.0.1:{port}"
        self.server.start()

    def close(self):
        self.server.stop(0).wait(peers.DEADLINE * peers.SLOW)


@pytest.mark.parametrize("secure", [False, True], ids=["plain", "tls"])
def test_grpc_health(start_weir, closing, authority, secure):
    """BEHAVIOUR 8: grpc (grpc.health.v1)."""
    server = closing(GrpcHealth(authority.server() if secure else None))
    tls = f"tls: {{ ca: {authority.cert} }}" if secure else ""
    weir = start_weir(
        pool(
            f"grpc: {{ service: shop.Cart }}, {AT_ONCE}, must_pass: true",
            server.address,
            more=f"upstream: {{ protocol: h2, {tls} }}",
        )
    )
    wait_up(weir, server.address, True)
    assert server.asked[0] == b"\n\x09shop.Cart"
    server.services["shop.Cart"] = 2
    wait_checks(weir, 1, reason="not_serving")
    wait_up(weir, server.address, False)
    server.services["shop.Cart"] = 1
    wait_up(weir, server.address, True)
    failed = weir.metric("weir_health_checks_total", reason="not_serving")
    del server.services["shop.Cart"]
    wait_checks(weir, failed + 1, reason="not_serving")
    wait_up(weir, server.address, False)


def test_grpc_health_of_the_whole_server(start_weir, closing):
    server = closing(GrpcHealth())
    h2 = "upstream: { protocol: h2 }"
    weir = start_weir(pool(f"grpc: true, {AT_ONCE}, must_pass: true", server.address, more=h2))
    wait_up(weir, server.address, True)
    assert server.asked[0] == b""


# ---- how often, where, and how it ends ----------------------------------------------------------


def test_no_check_runs_on_a_worker_and_none_is_asked_too_often(start_weir, auto):
    """20 endpoints, a check a second each: so many, in their turns, by the control thread."""
    ups = [auto() for _ in range(20)]
    began = time.monotonic()
    weir = start_weir(
        pool("http: /, every: 1s, timeout: 1s", *[u.address for u in ups]), workers=2
    )
    wait_for(lambda: all(len(u.requests) >= 3 for u in ups), "3 checks of each")
    counts = [len(u.requests) for u in ups]
    most = time.monotonic() - began + 1
    assert max(counts) <= most, f"{counts} in {most - 1:.1f} s"
    samples = weir.metrics()
    assert sum(v for (n, _), v in samples.items() if n == "weir_upstream_connections_total") == 0
    assert weir.metric("weir_objects", kind="h1_client") == 0, "of the workers"
    assert sum(u.connections for u in ups) >= 60, "each on a connection of its own"


def test_so_many_run_at_once_and_the_others_wait(start_weir, closing):
    one = closing(Upstream())  # which answers none of them
    listed = [one.address] * 600
    weir = start_weir(pool("http: /, every: 500ms, timeout: 500ms", *listed))
    before, most = weir.open_files(), 0
    while weir.metric("weir_health_checks_total", result="failed", reason="timeout") < 1200:
        most = max(most, weir.open_files())
    assert 200 < most - before + 1 <= 256 + 8, "and the ones of this test's questions"


def test_an_address_that_is_listed_twice_has_the_names_that_other_metrics_give_it(start_weir, auto):
    one = auto()
    weir = start_weir(pool(f"http: /, {AT_ONCE}", one.address, one.address))
    wait_checks(weir, 2, result="passed")
    names = {dict(k)["endpoint"]: v for (n, k), v in weir.metrics().items() if n == "weir_endpoint_up"}
    assert names == {one.address: 1, f"{one.address}#2": 1}


@pytest.mark.parametrize("health", ["http: /", "tcp: true"])
@pytest.mark.parametrize("secure", [False, True], ids=["plain", "tls"])
def test_a_check_on_its_way_does_not_hold_up_the_end(start_weir, closing, authority, health, secure):
    one = closing(Upstream())  # which never says a word
    silent = closing(SilentEndpoint())
    tls = f"upstream: {{ tls: {{ ca: {authority.cert} }} }}" if secure else ""
    weir = start_weir(pool(f"{health}, every: 1h, timeout: 1h", silent.address, one.address, more=tls))
    weir.stop()
    assert "would not end" not in weir.stderr()
