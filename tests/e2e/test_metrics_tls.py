# SPDX-License-Identifier: Apache-2.0
"""What /metrics tells of TLS and of protocols."""
import ssl

import pytest

from peers import Upstream
from tlspeer import TlsClient, accept_tls


def handshakes(weir, name="weir_tls_handshakes_total"):
    """Those that there were, by result and version."""
    return {
        (dict(labels)["result"], dict(labels)["version"]): value
        for (metric, labels), value in weir.metrics().items()
        if metric == name and value > 0
    }


@pytest.fixture
def weir(start_weir, auto, authority):
    pair = authority.server()
    return start_weir(
        f"listeners: {{ web: {{ bind: '127.0.0.1:0', tls: {pair.cert} }} }}\n"
        f"routes: [ {{ to: app }} ]\npools: {{ app: [ '{auto().address}' ] }}\n"
    )


def test_handshakes_by_version_and_result(weir, authority):
    new = authority.client_context()
    old = authority.client_context(most=ssl.TLSVersion.TLSv1_2)
    for context in (new, old):
        with TlsClient(weir.listeners["web"], context) as c:
            assert c.get().status == 200
            session = c.tls.session
        with TlsClient(weir.listeners["web"], context, session=session) as c:
            assert c.get().status == 200
    with weir.client() as c:
        c.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        c.expect_ended()
    weir.wait_metric("weir_tls_handshakes_total", 5)
    assert handshakes(weir) == {
        ("full", "1.2"): 1,
        ("resumed", "1.2"): 1,
        ("full", "1.3"): 1,
        ("resumed", "1.3"): 1,
        ("failed", ""): 1,
    }


def test_requests_by_protocol(weir, authority):
    with TlsClient(weir.listeners["web"], authority.client_context()) as c:
        c.get()
        c.get()
        c.send("GET / HTTP/1.0\r\nHost: a\r\n\r\n")
        c.response()
    weir.wait_metric("weir_requests_by_protocol_total", 2, protocol="HTTP/1.1")
    weir.wait_metric("weir_requests_by_protocol_total", 1, protocol="HTTP/1.0")
    weir.wait_metric("weir_requests_by_protocol_total", 0, protocol="HTTP/2.0")


@pytest.fixture
def secure_upstream():
    upstream = Upstream()
    yield upstream
    upstream.close()


def starts(start_weir, upstream, tls):
    return start_weir(
        "routes: [ { to: app } ]\n"
        f"pools: {{ app: {{ endpoints: [ '{upstream.address}' ], "
        f"upstream: {{ protocol: h1, connect: 20s, tls: {{ {tls} }} }} }} }}\n"
    )


def test_handshakes_with_endpoints(start_weir, authority, secure_upstream):
    weir = starts(start_weir, secure_upstream, f"ca: {authority.cert}")
    with weir.client() as c:
        c.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        u = accept_tls(secure_upstream, authority.server_context())
        u.request()
        u.answer()
        assert c.response().status == 200
    assert handshakes(weir, "weir_upstream_tls_handshakes_total") == {("full", "1.3"): 1}


def test_an_endpoint_that_nobody_vouches_for(start_weir, authority, secure_upstream):
    weir = starts(start_weir, secure_upstream, f"ca: {authority.cert}, sni: other.example")
    with weir.client() as c, weir.counts("upstream_tls_failed"):
        c.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        with pytest.raises((ssl.SSLError, ConnectionError)):
            accept_tls(secure_upstream, authority.server_context()).request()
        assert c.response().status == 502
    assert handshakes(weir, "weir_upstream_tls_handshakes_total") == {("failed", ""): 1}
    weir.said(f"pool app: TLS handshake with {secure_upstream.address}: ")
    weir.said("hostname mismatch")
