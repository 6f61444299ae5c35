# SPDX-License-Identifier: Apache-2.0
"""The PROXY protocol, version 1 and 2: in from listed peers, and out to upstreams."""
import select
import socket
import struct

import pytest

import h2peer
from peers import DEADLINE, Client, ready
from tlspeer import TlsClient, secured

SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"
GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
V1 = b"PROXY TCP4 192.0.2.7 198.51.100.1 56324 443\r\n"

CONFIG = """
listeners: { web: { bind: "127.0.0.1:0", proxy_protocol: { from: [ 127.0.0.0/8 ] } } }
timeouts: { tls_handshake: 1h }
routes: [ { to: app } ]
pools: { app: { endpoints: [ "$UPSTREAM" ], upstream: { max_idle: 0 } } }
"""


def v2(command=1, family=0x11, address=b"", tlvs=b"", version=2, length=None):
    length = len(address) + len(tlvs) if length is None else length
    head = struct.pack(">BBH", version << 4 | command, family, length)
    return SIGNATURE + head + address + tlvs


def inet(source, destination, sport=56324, dport=443):
    kind = socket.AF_INET6 if ":" in source else socket.AF_INET
    both = socket.inet_pton(kind, source) + socket.inet_pton(kind, destination)
    return both + struct.pack(">HH", sport, dport)


GOOD = {
    "v1 IPv4": (V1, "192.0.2.7"),
    "v1 IPv6": (b"PROXY TCP6 2001:db8::7 2001:db8::1 56324 443\r\n", "2001:db8::7"),
    "v1 UNKNOWN": (b"PROXY UNKNOWN\r\n", "127.0.0.1"),
    "v1 UNKNOWN with more": (b"PROXY UNKNOWN ffff::1 ffff::2 65535 65535\r\n", "127.0.0.1"),
    "v2 IPv4": (v2(address=inet("192.0.2.7", "198.51.100.1")), "192.0.2.7"),
    "v2 IPv6": (v2(family=0x21, address=inet("2001:db8::7", "2001:db8::1")), "2001:db8::7"),
    "v2 with TLVs": (
        v2(address=inet("192.0.2.7", "198.51.100.1"), tlvs=b"\x04\0\x03abc\x05\0\x01x"),
        "192.0.2.7",
    ),
    "v2 LOCAL": (v2(command=0, family=0), "127.0.0.1"),
    "v2 LOCAL with an address": (
        v2(command=0, address=inet("192.0.2.7", "198.51.100.1")),
        "127.0.0.1",
    ),
    "v2 UNSPEC": (v2(family=0), "127.0.0.1"),
    "v2 of a unix socket": (v2(family=0x31, address=bytes(216)), "127.0.0.1"),
}


@pytest.mark.parametrize("name", GOOD)
def test_the_header_says_who_the_client_is(weir, upstream, name):
    header, who = GOOD[name]
    with weir.logged() as log, weir.client() as c:
        c.send(header + GET)
        u = upstream.accept()
        assert u.request().get("X-Forwarded-For") == who
        u.answer()
        assert c.response().body == b"ok"
    client = log[0]["client"]
    assert client.startswith(f"[{who}]:" if ":" in who else f"{who}:")
    if who != "127.0.0.1":
        assert client.endswith(":56324")


@pytest.mark.parametrize("name", ["v1 IPv4", "v2 IPv6"])
def test_a_header_may_be_cut_anywhere(weir, upstream, name):
    header, who = GOOD[name]
    for at in range(1, len(header) + 1):
        with weir.client() as c:
            c.send((header + GET)[:at])
            weir.metric("weir_requests_in_flight")  # a round trip
            c.send((header + GET)[at:])
            u = upstream.accept()
            assert u.request().get("X-Forwarded-For") == who
            u.answer()
            assert c.response().body == b"ok"


BAD = {
    "none": GET,
    "TLS instead": b"\x16\x03\x01\x02\x00",
    "HTTP/2 instead": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "an unknown family": b"PROXY TCP5 192.0.2.7 198.51.100.1 1 2\r\n",
    "an address that is none": b"PROXY TCP4 192.0.2.777 198.51.100.1 1 2\r\n",
    "IPv6 as TCP4": b"PROXY TCP4 ::1 ::1 1 2\r\n",
    "a port that is none": b"PROXY TCP4 192.0.2.7 198.51.100.1 65536 2\r\n",
    "a port with a sign": b"PROXY TCP4 192.0.2.7 198.51.100.1 +1 2\r\n",
    "a bare LF": b"PROXY TCP4 192.0.2.7 198.51.100.1 1 2\n" + GET,
    "two spaces": b"PROXY  TCP4 192.0.2.7 198.51.100.1 1 2\r\n",
    "something behind": b"PROXY TCP4 192.0.2.7 198.51.100.1 1 2 3\r\n",
    "too long": b"PROXY UNKNOWN " + b"x" * 100 + b"\r\n",
    "v2 of another version": v2(version=1, address=inet("192.0.2.7", "198.51.100.1")),
    "v2 of another command": v2(command=2, address=inet("192.0.2.7", "198.51.100.1")),
    "v2 too short for its family": v2(address=b"\0" * 11),
    "a signature that goes wrong": SIGNATURE[:-1] + b"X" + b"\x21\x11\0\0",
}


@pytest.mark.parametrize("name", BAD)
def test_a_bad_header_ends_the_conn_without_a_word(weir, upstream, name):
    with weir.counts("bad_proxy_header"), weir.client() as c:
        c.send(BAD[name])
        assert c.expect_ended() == b""
    upstream.assert_untouched()


def test_a_header_that_does_not_come_times_out(start_weir, new_upstream):
    up = new_upstream()
    own = start_weir(
        CONFIG.replace("$UPSTREAM", up.address).replace("tls_handshake: 1h", "tls_handshake: 300ms")
    )
    with own.counts("proxy_header_timeout"), own.client() as c:
        c.send(V1[:20])
        assert c.expect_ended() == b""


def test_a_header_from_somebody_else_is_no_header(start_weir, new_upstream):
    up = new_upstream()
    own = start_weir(CONFIG.replace("$UPSTREAM", up.address).replace("127.0.0.0/8", "192.0.2.0/24"))
    with own.client() as c:
        c.send(GET)
        u = up.accept()
        assert u.request().get("X-Forwarded-For") == "127.0.0.1"
        u.answer()
        assert c.response().status == 200
    with own.client() as c:
        c.send(V1 + GET)
        assert c.response().status == 400
    up.assert_untouched()


def test_it_stands_for_every_request_of_its_conn(weir, upstream):
    with weir.client() as c:
        c.send(V1)
        for _ in range(3):
            c.send(GET)
            u = upstream.accept()
            assert u.request().get("X-Forwarded-For") == "192.0.2.7"
            u.answer()
            assert c.response().body == b"ok"
        c.send(V1 + GET)  # a second one is no request
        assert c.response().status == 400


def test_http_2_behind_it(weir, upstream):
    peer = weir.client()
    peer.send(V1)
    with h2peer.H2Client(peer).hello() as c:
        s = c.request()
        u = upstream.accept()
        assert u.request().get("X-Forwarded-For") == "192.0.2.7"
        u.answer()
        assert c.response(s).body == b"ok"


def test_tls_behind_it(start_weir, new_upstream, authority):
    up = new_upstream()
    own = start_weir(
        CONFIG.replace("$UPSTREAM", up.address).replace(
            "] } }", f"] }}, tls: {{ certs: [ {authority.server().cert} ] }} }}", 1
        )
    )
    with TlsClient(own.listeners["web"], authority.client_context(), before=V1) as c:
        c.send(GET)
        u = up.accept()
        got = u.request()
        assert (got.get("X-Forwarded-For"), got.get("X-Forwarded-Proto")) == ("192.0.2.7", "https")
        u.answer()
        assert c.response().body == b"ok"


# ---- to upstreams -------------------------------------------------------------------------------

VERSIONS = pytest.mark.parametrize("version", ["v1", "v2"])


def outwards(start_weir, upstreams, version, listener="127.0.0.1:0", upstream=""):
    endpoints = ", ".join(f"'{up.address}'" for up in upstreams)
    return start_weir(
        f"listeners: {{ web: {listener} }}\n"
        "routes: [ { to: app } ]\npools:\n"
        f"  app: {{ endpoints: [ {endpoints} ], "
        f"upstream: {{ proxy_protocol: {version}{upstream} }} }}\n"
    )


def header(version, source, destination, sport, dport):
    if version == "v1":
        kind = "TCP6" if ":" in source else "TCP4"
        return f"PROXY {kind} {source} {destination} {sport} {dport}\r\n".encode()
    family = 0x21 if ":" in source else 0x11
    return v2(family=family, address=inet(source, destination, sport, dport))


def port_of(own):
    return int(own.listeners["web"].rsplit(":", 1)[1])


def header_of(version, c, own):
    host, port = c.address[:2]
    return header(version, host, host, port, port_of(own))


def take(u, n):
    """The first n bytes of a conn, and not one more: what follows them is for others to read."""
    got = b""
    while len(got) < n:
        assert ready(u.sock, select.POLLIN, DEADLINE), f"{n - len(got)} bytes are missing"
        more = u.sock.recv(n - len(got))
        assert more, f"closed after {got!r}"
        got += more
    return got


def serve(u, c, first):
    """One exchange: the conn to the upstream begins with these bytes, the next are a request, which
    is the only one."""
    assert take(u, len(first)) == first
    assert u.request().get("Connection") == "close"
    u.answer()
    assert c.response().body == b"ok"


@VERSIONS
def test_an_upstream_conn_begins_with_the_clients_address(start_weir, new_upstream, version):
    up = new_upstream()
    own = outwards(start_weir, [up], version)
    with own.client() as c:
        c.send(GET)
        serve(up.accept(), c, header_of(version, c, own))


@VERSIONS
def test_a_client_of_ipv6(start_weir, new_upstream, version):
    up = new_upstream()
    own = outwards(start_weir, [up], version, "'[::1]:0'")
    with own.client() as c:
        c.send(GET)
        serve(up.accept(), c, header_of(version, c, own))


@VERSIONS
def test_a_client_of_ipv4_at_a_socket_of_ipv6_is_of_ipv4(start_weir, new_upstream, version):
    up = new_upstream()
    own = outwards(start_weir, [up], version, "':0'")
    with Client(f"127.0.0.1:{port_of(own)}") as c:
        c.send(GET)
        serve(up.accept(), c, header_of(version, c, own))


@VERSIONS
def test_of_a_client_on_a_unix_socket_nothing_is_told(start_weir, new_upstream, tmp, version):
    up = new_upstream()
    own = outwards(start_weir, [up], version, f"'unix:{tmp}/w.sock'")
    unknown = {"v1": b"PROXY UNKNOWN\r\n", "v2": v2(command=0, family=0)}[version]
    with own.client() as c:
        c.send(GET)
        serve(up.accept(), c, unknown)


@VERSIONS
@pytest.mark.parametrize("name", ["v1 IPv4", "v1 IPv6", "v2 IPv4", "v2 IPv6"])
def test_what_a_header_told_is_told_on(start_weir, new_upstream, name, version):
    up = new_upstream()
    came, who = GOOD[name]
    to = "2001:db8::1" if ":" in who else "198.51.100.1"
    listener = '{ bind: "127.0.0.1:0", proxy_protocol: { from: [ 127.0.0.0/8 ] } }'
    own = outwards(start_weir, [up], version, listener)
    with own.client() as c:
        c.send(came + GET)
        serve(up.accept(), c, header(version, who, to, 56324, 443))


@VERSIONS
@pytest.mark.parametrize("name", ["v1 UNKNOWN", "v2 LOCAL", "v2 UNSPEC"])
def test_where_a_header_told_nothing_the_conn_counts(start_weir, new_upstream, name, version):
    up = new_upstream()
    listener = '{ bind: "127.0.0.1:0", proxy_protocol: { from: [ 127.0.0.0/8 ] } }'
    own = outwards(start_weir, [up], version, listener)
    with own.client() as c:
        c.send(GOOD[name][0] + GET)
        serve(up.accept(), c, header_of(version, c, own))


@VERSIONS
def test_tls_to_the_upstream_begins_behind_it(start_weir, new_upstream, authority, version):
    up = new_upstream()
    tls = f", tls: {{ sni: a.example, ca: {authority.cert} }}"
    own = outwards(start_weir, [up], version, upstream=tls)
    for _ in range(2):  # the second handshake resumes
        with own.client() as c:
            c.send(GET)
            u, first = up.accept(), header_of(version, c, own)
            assert take(u, len(first)) == first
            serve(secured(u, authority.server_context()), c, b"")


@VERSIONS
def test_no_conn_serves_two_clients(start_weir, new_upstream, version):
    up = new_upstream()
    own = outwards(start_weir, [up], version)
    for _ in range(2):
        with own.client() as c:
            c.send(GET)
            u = up.accept()
            serve(u, c, header_of(version, c, own))
            u.expect_closed()


def test_each_request_of_a_client_has_a_conn_of_its_own(start_weir, new_upstream):
    up = new_upstream()
    own = outwards(start_weir, [up], "v1")
    with own.client() as c:
        for _ in range(3):
            c.send(GET)
            u = up.accept()
            serve(u, c, header_of("v1", c, own))
            u.expect_closed()


def test_so_has_each_stream_of_http_2(start_weir, new_upstream):
    up = new_upstream()
    own = outwards(start_weir, [up], "v1")
    with h2peer.H2Client(own.client()).hello() as c:
        streams = [c.request() for _ in range(3)]
        conns = [up.accept() for _ in streams]
        first = header_of("v1", c.peer, own)
        for u in conns:
            assert take(u, len(first)) == first
            u.request()
            u.answer()
        for s in streams:
            assert c.response(s).body == b"ok"


def test_each_try_begins_with_it(start_weir, new_upstream):
    ups = [new_upstream(), new_upstream()]
    own = outwards(start_weir, ups, "v1")
    with own.client() as c:
        c.send(GET)
        poll = select.poll()
        for up in ups:
            poll.register(up.sock, select.POLLIN)
        fd = poll.poll(DEADLINE * 1000)[0][0]
        one, other = ups if ups[0].sock.fileno() == fd else reversed(ups)
        u, first = one.accept(), header_of("v1", c, own)
        assert take(u, len(first)) == first
        u.request()
        u.close()
        serve(other.accept(), c, first)
