# SPDX-License-Identifier: Apache-2.0
"""TLS with clients and with upstreams: what is offered, what is refused, whose certificate is shown,
and how a conn ends."""
import contextlib
import ssl
import time

import pytest

import h2peer
import harness
import peers
import tools
import wire
from counting import costs
from h2peer import H2Server
from h2wire import Code
from peers import connect, deadline
from tlspeer import TlsClient, TlsSocket, secured

ROUTE = "routes: [ { to: app } ]\n"
SLOW_CONNS, SLOW_BYTES = 100, 40
KIB_PER_CONN = 80  # 55, nearly all OpenSSL's: a record that is not whole, and room for messages
CPU_PER_CONN, CPU_PER_BYTE = 1e-3, 50e-6  # seconds; several times what they cost


def listener(*pairs, more=""):
    certs = ", ".join(str(p.cert) for p in pairs)
    return f'listeners: {{ web: {{ bind: "127.0.0.1:0", tls: {{ certs: [ {certs} ] {more} }} }} }}\n'


def pool(address, more=""):
    """Fresh conns for each request."""
    return (
        f"{ROUTE}pools: {{ app: {{ endpoints: [ '{address}' ], upstream: {{ max_idle: 0 {more} }} }} }}\n"
    )


@pytest.fixture
def pair(authority):
    return authority.server()


@pytest.fixture
def secure(start_weir, new_upstream, pair):
    """secure(more, ...): a weir with TLS and its upstream."""

    def start(more="", pairs=(pair,), upstream="", **kw):
        up = new_upstream()
        return start_weir(kw.pop("head", "") + listener(*pairs, more=more) + pool(up.address, upstream), **kw), up

    return start


def tls(weir, context, **kw):
    client = TlsClient(weir.listeners["web"], context, **kw)
    weir.clients.append(client)
    return client


def https(head):
    return head.replace("Proto: http\r\n", "Proto: https\r\n")


# ---- with clients -------------------------------------------------------------------------------


@pytest.mark.parametrize("key", ["ec", "rsa"])
@pytest.mark.parametrize("version", ["TLSv1.2", "TLSv1.3"])
def test_a_request_over_tls(secure, authority, version, key):
    own, up = secure(pairs=[authority.server(key=key)])
    only = {"TLSv1.2": ssl.TLSVersion.TLSv1_2, "TLSv1.3": ssl.TLSVersion.TLSv1_3}[version]
    with tls(own, authority.client_context(most=only, least=only)) as c:
        assert c.tls.version() == version and c.tls.selected_alpn_protocol() is None
        c.send("POST /p HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello")
        u = up.accept()
        u.expect(
            wire.expand(
                "POST /p HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n{fwd:a}\r\n\r\nhello"
            ).replace(b"Proto: http\r\n", b"Proto: https\r\n")
        )
        u.answer("over tls")
        assert c.response().body == b"over tls"
        c.assert_open()


@pytest.mark.parametrize("offered,chosen", [
    (["h2", "http/1.1"], "h2"),
    (["http/1.1", "h2"], "h2"),
    (["http/1.1"], "http/1.1"),
    (["x", "http/1.1"], "http/1.1"),
    ([], None),
])  # fmt: skip
def test_alpn_prefers_h2(secure, authority, offered, chosen):
    own, _ = secure()
    with tls(own, authority.client_context(offered)) as c:
        assert c.tls.selected_alpn_protocol() == chosen


def test_h2_may_be_left_out(secure, authority):
    own, _ = secure(more=", alpn: [ http/1.1 ]")
    with tls(own, authority.client_context(["h2", "http/1.1"])) as c:
        assert c.tls.selected_alpn_protocol() == "http/1.1"


def test_the_preface_of_http_2_is_a_bad_request_where_it_was_left_out(secure, authority):
    own, _ = secure(more=", alpn: [ http/1.1 ]")
    with tls(own, authority.client_context()) as c:
        c.send(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
        assert c.response().status == 505


def test_http_1_is_not_spoken_where_it_was_left_out(secure, authority):
    """Nor with a client that negotiates nothing."""
    own, up = secure(more=", alpn: [ h2 ]")
    with own.counts("h2_protocol_error"), tls(own, authority.client_context()) as c:
        c.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        assert b"HTTP/1" not in c.expect_ended()
    with pytest.raises(ssl.SSLError, match="no application protocol"):
        tls(own, authority.client_context(["http/1.1"]))
    up.assert_untouched()


def test_http_2_is_spoken_without_alpn_where_nothing_else_is(secure, authority):
    own, up = secure(more=", alpn: [ h2 ]")
    with h2peer.H2Client(tls(own, authority.client_context())).hello() as c:
        s = c.request(path="/x")
        u = up.accept()
        u.request()
        u.answer("both")
        assert c.response(s).body == b"both"


def test_a_client_of_http_2(secure, authority):
    own, up = secure()
    with h2peer.client(own, context=authority.client_context(["h2"])).hello() as c:
        s = c.request(path="/x")
        u = up.accept()
        assert u.request().get("X-Forwarded-Proto") == "https"
        u.answer("both")
        assert c.response(s).body == b"both"


def test_sni_picks_the_certificate_exact_over_wildcard_the_first_by_default(secure, authority):
    first = authority.issue("first.example")
    wild = authority.issue("*.wild.example")
    exact = authority.issue("one.wild.example")
    own, _ = secure(pairs=[first, wild, exact])
    context = authority.client_context()
    context.check_hostname = False
    for name, pair in {
        "first.example": first,
        "one.wild.example": exact,
        "ONE.wild.example": exact,
        "two.wild.example": wild,
        "a.two.wild.example": first,
        "wild.example": first,
        "else.example": first,
        None: first,
    }.items():
        with tls(own, context, name=name) as c:
            assert c.tls.getpeercert()["serialNumber"].lstrip("0") == pair.serial.lstrip("0"), name


def test_an_rsa_and_an_ecdsa_certificate_for_one_name(secure, authority):
    """Each client gets what it can verify."""
    pairs = [authority.issue("both.example", key=k) for k in ("rsa", "ec")]
    own, _ = secure(pairs=pairs)
    for cipher, pair in zip(["ECDHE-RSA-AES128-GCM-SHA256", "ECDHE-ECDSA-AES128-GCM-SHA256"], pairs):
        context = authority.client_context(most=ssl.TLSVersion.TLSv1_2)
        context.set_ciphers(cipher)
        with tls(own, context, name="both.example") as c:
            assert c.tls.cipher()[0] == cipher
            assert c.tls.getpeercert()["serialNumber"].lstrip("0") == pair.serial.lstrip("0")


@pytest.mark.parametrize("most", [ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1])
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_versions_before_1_2_are_refused(secure, authority, most):
    own, _ = secure()
    context = authority.client_context(least=ssl.TLSVersion.TLSv1, most=most)
    context.set_ciphers("DEFAULT:@SECLEVEL=0")
    with own.counts("tls_handshake_failed"):
        with pytest.raises(ssl.SSLError, match="ALERT_PROTOCOL_VERSION"):
            tls(own, context)


def test_a_listener_may_want_1_3(secure, authority):
    own, _ = secure(more=", min_version: 1.3")
    with own.counts("tls_handshake_failed"):
        with pytest.raises(ssl.SSLError, match="ALERT_PROTOCOL_VERSION"):
            tls(own, authority.client_context(most=ssl.TLSVersion.TLSv1_2))
    tls(own, authority.client_context()).close()


@pytest.mark.parametrize("cipher", ["AES128-SHA", "ECDHE-ECDSA-AES128-SHA", "AES128-GCM-SHA256"])
def test_ciphers_outside_mozillas_list_are_refused(secure, authority, cipher):
    own, _ = secure()
    context = authority.client_context(most=ssl.TLSVersion.TLSv1_2)
    context.set_ciphers(cipher)
    with own.counts("tls_handshake_failed"):
        with pytest.raises(ssl.SSLError, match="HANDSHAKE_FAILURE"):
            tls(own, context)


@pytest.mark.parametrize("version", ["TLSv1_2", "TLSv1_3"])
def test_sessions_are_resumed_across_workers(secure, authority, version):
    only = ssl.TLSVersion[version]
    own, up = secure(workers=2)
    context = authority.client_context(most=only, least=only)
    with tls(own, context) as c:
        assert not c.tls.session_reused
        c.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        up.accept().answer()
        c.response()  # and the tickets
        session = c.tls.session
    for _ in range(8):
        with tls(own, context, session=session) as c:
            assert c.tls.session_reused


def test_a_client_that_takes_no_tickets_resumes_from_the_session_cache(secure, authority):
    only = ssl.TLSVersion.TLSv1_2  # 1.3 has nothing but tickets
    own, up = secure(workers=1)  # each has a cache of its own
    context = authority.client_context(most=only, least=only)
    context.options |= ssl.OP_NO_TICKET
    with tls(own, context) as c:
        session = c.tls.session
        assert session.id and not session.has_ticket
    for _ in range(2):
        with tls(own, context, session=session) as c:
            assert c.tls.session_reused
            c.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n")
            up.accept().answer()
            assert c.response().status == 200


def test_a_hello_may_come_a_byte_at_a_time(secure, authority):
    own, up = secure()
    raw = connect(own.listeners["web"])
    sock = TlsSocket(raw, authority.client_context(), name="a.example")
    with pytest.raises(ssl.SSLWantReadError):
        sock.tls.do_handshake()
    hello = sock.outgoing.read()
    for i in range(len(hello)):
        raw.sendall(hello[i : i + 1])
        if i % 16 == 0:
            own.metric("weir_requests_in_flight")  # a round trip
    sock.handshake()
    c = peers.Client(None, sock=sock)
    c.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n")
    u = up.accept()
    u.request()
    u.answer()
    assert c.response().body == b"ok"
    c.close()


@pytest.mark.parametrize(
    "first", [b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", b"\x16\x03\x01\xff\xff"]
)
def test_what_is_no_handshake_ends_the_conn(secure, first):
    own, up = secure()
    with own.counts("tls_handshake_failed"), own.client() as c:
        c.send(first)
        c.half_close()
        c.expect_ended()
    up.assert_untouched()


@pytest.mark.parametrize("said", [b"", b"\x16\x03\x01"], ids=["nothing", "a beginning"])
def test_a_handshake_that_does_not_end_times_out(secure, said):
    own, up = secure(head="timeouts: { tls_handshake: 300ms }\n")
    with own.counts("tls_handshake_timeout"), own.client() as c:
        c.send(said)
        c.expect_ended()
    up.assert_untouched()


def hello_of(authority):
    """The first bytes that a client says."""
    ours = ssl.MemoryBIO()
    half = authority.client_context(["h2"]).wrap_bio(ssl.MemoryBIO(), ours, server_hostname="a.example")
    with pytest.raises(ssl.SSLWantReadError):
        half.do_handshake()
    return ours.read()


def test_many_slow_handshakes_cost_little_and_hurt_nobody(secure, authority):
    """Each byte of a hello by itself, the last one never: none is more than its clock allows."""
    own, up = secure(head="timeouts: { tls_handshake: 4s }\n")  # in which the good one ends
    hello = hello_of(authority)[:SLOW_BYTES]
    with costs(own, SLOW_CONNS * KIB_PER_CONN) as cpu, own.counts(*["tls_handshake_timeout"] * SLOW_CONNS):
        cpu.append(SLOW_CONNS * (CPU_PER_CONN + SLOW_BYTES * CPU_PER_BYTE))
        slow = [own.client() for _ in range(SLOW_CONNS)]
        for i in range(SLOW_BYTES):
            for c in slow:
                with contextlib.suppress(BrokenPipeError, ConnectionResetError):  # its time is up
                    c.send_some(hello[i : i + 1])
        with tls(own, authority.client_context()) as c:
            c.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n")
            u = up.accept()
            u.request()
            u.answer()
            assert c.response().status == 200
        for c in slow:
            c.expect_ended()


@pytest.mark.parametrize("alpn", ["http/1.1", "h2"])
def test_weir_ends_a_conn_with_close_notify(secure, authority, alpn):
    own, up = secure(head="timeouts: { client_idle: 1s }\n")
    with tls(own, authority.client_context([alpn])) as c:
        if alpn == "h2":
            c2 = h2peer.H2Client(c).hello()
            s = c2.request()
            u = up.accept()
            u.request()
            u.answer()
            assert c2.response(s).status == 200
            c2.expect_goaway(Code.NO_ERROR)
            assert c.eof
        else:
            c.send("GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
            u = up.accept()
            u.request()
            u.send("HTTP/1.1 200 OK\r\n\r\nto the end")
            u.close()
            assert c.response().body == b"to the end"
            c.expect_closed()


def test_a_response_that_is_cut_ends_without_close_notify(secure, authority):
    own, up = secure()
    with tls(own, authority.client_context()) as c:
        c.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        u = up.accept()
        u.request()
        u.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n")
        c.recv_until(b"abc\r\n")
        u.reset()
        c.expect_ended()


def test_a_client_that_vanishes_is_gone(secure, authority):
    own, up = secure()
    with own.logged() as log:
        c = tls(own, authority.client_context())
        c.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        u = up.accept()
        u.request()
        c.sock.cut()
        assert u.expect_ended() == b""
    assert log[0]["status"] == 499


def test_large_bodies_arrive_whole_both_ways(secure, authority):
    from concurrent import futures

    body = bytes(range(251)) * 8000
    own, up = secure()
    with futures.ThreadPoolExecutor(1) as pool_, tls(own, authority.client_context()) as c:
        asked = pool_.submit(
            c.send, b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)
        )
        u = up.accept()
        assert u.request().body == body
        asked.result()
        answered = pool_.submit(u.answer, body)
        assert c.response().body == body
        answered.result()


def test_a_reader_that_does_not_read_holds_bounded_memory(secure, authority):
    own, up = secure()
    with tls(own, authority.client_context()) as c:
        c.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        u = up.accept()
        u.request()
        before = own.rss()
        u.send("HTTP/1.1 200 OK\r\nContent-Length: 100000000\r\n\r\n")
        assert u.send_until_blocked(bytes(1 << 20), 64 << 20) < 64 << 20
        assert own.rss() - before < 4096


def test_what_was_negotiated_is_counted(secure, authority):
    own, _ = secure()
    tls(own, authority.client_context()).close()
    own.wait_metric("weir_tls_handshakes_total", 1, version="1.3")


# ---- certificates of clients --------------------------------------------------------------------


def subject_fields(request):
    return [request.all("X-Client-Cert-Subject"), request.all("X-Client-Cert-San")]


FORGED = "X-Client-Cert-Subject: CN=root\r\nX-Client-Cert-San: DNS:root\r\n"


def test_a_verified_client_is_named_to_the_upstream_and_none_can_forge_it(secure, authority):
    own, up = secure(more=f", client_ca: {authority.cert}")
    who = authority.issue("me.example", subject="/O=us/CN=me")
    with tls(own, authority.client_context(pair=who)) as c:
        c.send(f"GET / HTTP/1.1\r\nHost: a\r\n{FORGED}\r\n")
        subject, san = subject_fields(up.accept().request())
    assert len(subject) == len(san) == 1
    assert "me" in subject[0] and "us" in subject[0] and "root" not in subject[0]
    assert san == ["DNS:me.example"]


def test_a_client_without_a_certificate_is_refused(secure, authority):
    own, up = secure(more=f", client_ca: {authority.cert}")
    with own.counts("tls_handshake_failed"):
        with tls(own, authority.client_context()) as c:  # TLS 1.3: told after the handshake
            c.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n")
            with pytest.raises(ssl.SSLError, match="CERTIFICATE_REQUIRED"):
                c.recv_exact(1)
    up.assert_untouched()


@pytest.mark.parametrize("auth", ["required", "optional"])
@pytest.mark.parametrize("flaw", ["unknown", "expired"])
def test_a_certificate_that_does_not_verify_is_refused(secure, authority, tmp_path, flaw, auth):
    from authority import Authority

    if flaw == "unknown":
        pair = Authority(tmp_path / "other", "somebody else").issue()
    else:
        pair = authority.issue(starts=-10, ends=-1)
    own, up = secure(more=f", client_ca: {authority.cert}, client_auth: {auth}")
    with own.counts("tls_handshake_failed"):
        with tls(own, authority.client_context(pair=pair)) as c:
            with pytest.raises(ssl.SSLError, match="ALERT"):
                c.recv_exact(1)
    up.assert_untouched()


def test_optional_means_that_nobody_is_named(secure, authority):
    own, up = secure(more=f", client_ca: {authority.cert}, client_auth: optional")
    with tls(own, authority.client_context()) as c:
        c.send(f"GET / HTTP/1.1\r\nHost: a\r\n{FORGED}\r\n")
        assert subject_fields(up.accept().request()) == [[], []]


def test_nobody_can_forge_a_name_in_plain_text_either(weir, upstream):
    with weir.client() as c:
        c.send(f"GET / HTTP/1.1\r\nHost: a\r\n{FORGED}\r\n")
        assert subject_fields(upstream.accept().request()) == [[], []]


# ---- to upstreams -------------------------------------------------------------------------------


def to_upstream(start_weir, up, more):
    # One worker: each has conns and sessions of its own.
    return start_weir(pool(up.address, f", tls: {{ {more} }}"), workers=1)


def ask(own):
    c = own.client()
    c.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n")
    return c


def test_a_request_to_an_upstream_over_tls(start_weir, new_upstream, authority):
    up = new_upstream()
    own = to_upstream(start_weir, up, f"ca: {authority.cert}, sni: a.example")
    names = []
    context = authority.server_context()
    context.sni_callback = lambda _sock, name, _ctx: names.append(name)
    c = ask(own)
    u = secured(up.accept(), context)
    u.expect_request("GET / HTTP/1.1\r\nHost: a\r\n{fwd:a}\r\n\r\n")
    u.answer("secret")
    assert c.response().body == b"secret"
    assert names == ["a.example"] and u.tls.version() == "TLSv1.3"
    u.expect_closed()  # close_notify


@pytest.mark.parametrize("flaw", ["unknown", "expired", "name", "subject"])
def test_an_upstream_that_does_not_verify_is_502(start_weir, new_upstream, authority, flaw, tmp_path):
    from authority import Authority

    other = Authority(tmp_path / "other", "somebody else")
    pair = {
        "unknown": lambda: other.server(),
        "expired": lambda: authority.server(starts=-10, ends=-1),
        "name": lambda: authority.issue("b.example"),
        "subject": lambda: authority.issue(subject="/CN=a.example"),  # no subjectAltName
    }[flaw]()
    up = new_upstream()
    own = to_upstream(start_weir, up, f"ca: {authority.cert}, sni: a.example")
    with own.logged() as log:
        c = ask(own)
        with pytest.raises((ssl.SSLError, ConnectionResetError)):
            u = secured(up.accept(), authority.server_context(pair))
            u.recv_exact(1)
        up.forget()
        answer = c.response()
    assert answer.status == 502
    assert "error=tls_" in answer.get("Proxy-Status")
    assert log[0]["reason"].startswith("upstream_tls")


def test_verification_may_be_switched_off(start_weir, new_upstream, authority):
    up = new_upstream()
    own = to_upstream(start_weir, up, "verify: false")
    c = ask(own)
    u = secured(up.accept(), authority.server_context(authority.issue("b.example", ends=-0.5)))
    u.request()
    u.answer()
    assert c.response().status == 200


def test_an_upstream_may_ask_for_a_certificate(start_weir, new_upstream, authority):
    me = authority.issue(subject="/CN=weir")
    up = new_upstream()
    own = to_upstream(
        start_weir, up, f"ca: {authority.cert}, sni: a.example, cert: {me.cert}, key: {me.key}"
    )
    c = ask(own)
    u = secured(up.accept(), authority.server_context(ask=True))
    assert u.tls.getpeercert()["serialNumber"].lstrip("0") == me.serial.lstrip("0")
    u.request()
    u.answer()
    assert c.response().status == 200


def test_sessions_with_an_upstream_are_resumed(start_weir, new_upstream, authority):
    up = new_upstream()
    own = to_upstream(start_weir, up, f"ca: {authority.cert}, sni: a.example")
    context = authority.server_context()
    reused = []
    for _ in range(3):
        c = ask(own)
        u = secured(up.accept(), context)
        reused.append(u.tls.session_reused)
        u.request()
        u.answer()
        assert c.response().status == 200
        u.expect_closed()
        u.close()
    assert reused == [False, True, True]


def test_a_body_that_ends_without_close_notify_is_cut(start_weir, new_upstream, authority):
    up = new_upstream()
    own = to_upstream(start_weir, up, f"ca: {authority.cert}, sni: a.example")
    for ending in ("close", "cut"):
        c = ask(own)
        u = secured(up.accept(), authority.server_context())
        u.request()
        u.send("HTTP/1.1 200 OK\r\n\r\nabc")
        c.recv_until(b"3\r\nabc\r\n")
        getattr(u.sock, ending)()
        if ending == "close":
            c.expect("0\r\n\r\n")
        else:
            assert b"0\r\n" not in c.expect_ended()


@pytest.mark.parametrize(
    "offered,http2",
    [
        (["h2", "http/1.1"], True),
        (["http/1.1"], False),
        ([], False),
    ],
)
def test_auto_is_what_alpn_says(start_weir, new_upstream, authority, offered, http2):
    up = new_upstream()
    own = to_upstream(start_weir, up, f"ca: {authority.cert}, sni: a.example")
    c = ask(own)
    u = secured(up.accept(), authority.server_context(alpn=offered))
    if http2:
        u = H2Server(u)
        s, request = u.accept()
        assert request.get(":scheme") == "https" and request.get(":authority") == "a"
        u.respond(s, 200, b"ok")
    else:
        u.request()
        u.answer()
    assert c.response().body == b"ok"


# ---- other people's programs --------------------------------------------------------------------


@tools.needs("curl")
@pytest.mark.parametrize("how,version", [("--http2", "2"), ("--http1.1", "1.1")])
def test_curl(secure, authority, auto, start_weir, pair, how, version):
    app = auto()
    own = start_weir(listener(pair) + f"{ROUTE}pools: {{ app: [ '{app.address}' ] }}")
    got = tools.curl(own.listeners["web"], "/x", how, ca=authority.cert)
    assert got == (b"ok", [version, "200", "0", "1"])


@tools.needs("h2load")
def test_h2load(auto, start_weir, pair):
    app = auto()
    own = start_weir(listener(pair) + f"{ROUTE}pools: {{ app: [ '{app.address}' ] }}")
    out = tools.run("h2load", "-n", 1000, "-c", 8, "-m", 16, f"https://{own.listeners['web']}/l")
    assert b"1000 succeeded, 0 failed, 0 errored, 0 timeout" in out, out


def test_openssl_is_not_allowed_to_renegotiate(secure, authority):
    own, _ = secure()
    out = tools.run(
        *("openssl", "s_client", "-connect", own.listeners["web"], "-tls1_2", "-CAfile", authority.cert),
        stdin=b"R\n",
        status=None,
    )
    assert b"RENEGOTIATING" in out.stdout + out.stderr
    assert b"no renegotiation" in out.stderr


@pytest.mark.parametrize("alpn", ["h2", "http/1.1"])
def test_keys_that_change_all_the_time_end_the_conn_and_are_counted(secure, authority, alpn):
    own, _ = secure(more=", alpn: [ h2, http/1.1 ]")
    before = own.cpu()
    with own.counts("tls_rekey_flood"), tools.typist(
        *("openssl", "s_client", "-connect", own.listeners["web"], "-tls1_3", "-alpn", alpn),
        *("-CAfile", authority.cert),
    ) as type_line:
        typed, until = 0, deadline()
        while type_line(b"k"):
            typed += 1
            assert time.monotonic() < until, "weir bears it"
        assert typed >= 1000  # of which so many are borne
    spent = own.cpu() - before
    assert harness.sanitizer() or harness.FAULTS or spent < 1000 * 200e-6, f"{spent:.3f} s of CPU"


def test_a_staple_is_shown(secure, authority, pair, tmp_path):
    own, _ = secure(more=f", ocsp: {authority.staple(pair, tmp_path / 'ocsp.der')}")
    out = tools.run(
        *("openssl", "s_client", "-connect", own.listeners["web"], "-status", "-CAfile", authority.cert),
    )
    assert b"OCSP Response Status: successful" in out and b"Cert Status: good" in out
