# SPDX-License-Identifier: Apache-2.0
"""The PROXY protocol, version 1 and 2: in from listed peers, and out to upstreams."""
import socket
import struct

import pytest

import h2peer
from tlspeer import TlsClient

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


PENDING = pytest.mark.xfail(strict=True, reason="upstream conns do not begin with a header yet")


def outwards(start_weir, up, version):
    return start_weir(
        "routes: [ { to: app } ]\npools:\n"
        f"  app: {{ endpoints: [ '{up.address}' ], upstream: {{ proxy_protocol: {version} }} }}\n"
    )


def expect_header(u, version, c, own):
    host, port = c.address
    here = int(own.listeners["web"].rsplit(":", 1)[1])
    if version == "v1":
        u.expect(f"PROXY TCP4 {host} 127.0.0.1 {port} {here}\r\n")
    else:
        u.expect(v2(address=inet(host, "127.0.0.1", port, here)))


@PENDING
@pytest.mark.parametrize("version", ["v1", "v2"])
def test_an_upstream_conn_begins_with_the_clients_address(start_weir, new_upstream, version):
    up = new_upstream()
    own = outwards(start_weir, up, version)
    with own.client() as c:
        c.send(GET)
        u = up.accept()
        expect_header(u, version, c, own)
        u.request()
        u.answer()
        assert c.response().body == b"ok"


@PENDING
@pytest.mark.parametrize("version", ["v1", "v2"])
def test_no_conn_serves_two_clients(start_weir, new_upstream, version):
    up = new_upstream()
    own = outwards(start_weir, up, version)
    for _ in range(2):
        with own.client() as c:
            c.send(GET)
            u = up.accept()
            expect_header(u, version, c, own)
            u.request()
            u.answer()
            assert c.response().body == b"ok"
