# SPDX-License-Identifier: Apache-2.0
"""Who is believed about the client, and what is added about it. The plain cases are message
vectors."""
import re
import stat
import os
import time

import pytest

import peers
import wire
from harness import needs_v6
from matrix import Matrix
from peers import DEADLINE

MATRIX = Matrix()

V6_LISTENERS = """
  v6: "[::1]:0"
  trusting_v6: { bind: "[::1]:0", trusted_proxies: [ "::1" ] }
  opted_v6: { bind: "[::1]:0", forwarded: true }
"""
LISTENERS = """
listeners:
  web: "127.0.0.1:0"
  local: "unix:$TMP/plain.sock"
  trusting: { bind: "127.0.0.1:0", trusted_proxies: [ 10.0.0.0/8, 127.0.0.0/8 ] }
  trusting_other: { bind: "127.0.0.1:0", trusted_proxies: [ 10.0.0.0/8, "::1" ] }
  trusting_unix: { bind: "unix:$TMP/trusting.sock", trusted_proxies: [ unix ], mode: "0600" }
  opted: { bind: "127.0.0.1:0", via: true, forwarded: true }
  opted_trusting: { bind: "127.0.0.1:0", via: true, forwarded: true, trusted_proxies: [ 127.0.0.1 ] }
"""
CONFIG = LISTENERS + (V6_LISTENERS if peers.has_v6() else "") + """
routes: [ { to: app } ]
pools: { app: { endpoints: [ "$UPSTREAM" ], upstream: { max_idle: 0 } } }
"""


def forwarded(weir, upstream, listener, fields="", version="1.1", host="Host: a\r\n"):
    """What the upstream gets for a GET with these fields."""
    with weir.client(listener) as c:
        c.send(f"GET / HTTP/{version}\r\n{host}{fields}\r\n")
        u = upstream.accept()
        request = u.request()
        u.answer()
        assert c.response().status == 200
    return request


def elements(request, name):
    return [e.strip() for v in request.all(name) for e in v.split(",")]


CLAIMS = (
    "X-Forwarded-For: 1.2.3.4, 5.6.7.8\r\nX-Forwarded-Proto: https\r\n"
    "X-Forwarded-Host: public.example\r\n"
)


def test_a_trusted_peers_claims_are_kept_and_its_address_appended(weir, upstream):
    request = forwarded(weir, upstream, "trusting", CLAIMS)
    assert elements(request, "X-Forwarded-For") == ["1.2.3.4", "5.6.7.8", "127.0.0.1"]
    assert request.get("X-Forwarded-Proto") == "https"
    assert request.get("X-Forwarded-Host") == "public.example"


def test_several_x_forwarded_for_fields_of_a_trusted_peer_keep_their_order(weir, upstream):
    request = forwarded(
        weir,
        upstream,
        "trusting",
        "X-Forwarded-For: 1.1.1.1\r\nA: b\r\nx-forwarded-for: 2.2.2.2\r\n",
    )
    assert elements(request, "X-Forwarded-For") == ["1.1.1.1", "2.2.2.2", "127.0.0.1"]


def test_a_trusted_peer_that_claims_nothing_gets_the_same_fields_as_others(weir, upstream):
    request = forwarded(weir, upstream, "trusting")
    wire.assert_bytes("GET / HTTP/1.1\r\nHost: a\r\n{fwd:a}\r\n\r\n", request.wire)


def test_a_peer_outside_trusted_proxies_is_not_believed(weir, upstream):
    request = forwarded(weir, upstream, "trusting_other", CLAIMS + "Forwarded: for=1.2.3.4\r\n")
    wire.assert_bytes("GET / HTTP/1.1\r\nHost: a\r\n{fwd:a}\r\n\r\n", request.wire)


@needs_v6
def test_trusted_proxies_holds_v6_addresses(weir, upstream):
    assert elements(forwarded(weir, upstream, "trusting_v6", CLAIMS), "X-Forwarded-For") == [
        "1.2.3.4",
        "5.6.7.8",
        "::1",
    ]


def test_trusted_proxies_unix_believes_the_peers_of_a_unix_listener(weir, upstream):
    request = forwarded(weir, upstream, "trusting_unix", CLAIMS)
    assert elements(request, "X-Forwarded-For")[:2] == ["1.2.3.4", "5.6.7.8"]
    assert request.get("X-Forwarded-Proto") == "https"


@needs_v6
def test_a_v6_client_is_named_without_brackets_in_x_forwarded_for(weir, upstream):
    assert forwarded(weir, upstream, "v6").get("X-Forwarded-For") == "::1"


def test_a_client_on_a_unix_listener_is_named_unix(weir, upstream):
    assert forwarded(weir, upstream, "local").get("X-Forwarded-For") == "unix:"


def test_the_unix_sockets_mode_is_as_configured(weir):
    def mode(name):
        return stat.S_IMODE(os.stat(weir.listeners[name].removeprefix("unix:")).st_mode)

    assert (mode("local"), mode("trusting_unix")) == (0o660, 0o600)


def pairs(value):
    return dict(
        re.fullmatch(r'([a-z]+)=(?:"([^"]*)"|([^";,]*))', p.strip()).group(1, 2)
        if '"' in p
        else p.strip().split("=")
        for p in value.split(";")
    )


def test_forwarded_is_emitted_when_opted_in(weir, upstream):
    request = forwarded(weir, upstream, "opted")
    assert pairs(request.get("Forwarded")) == {"for": "127.0.0.1", "host": "a", "proto": wire.scheme.decode()}


@needs_v6
def test_forwarded_quotes_what_is_no_token(weir, upstream):
    request = forwarded(weir, upstream, "opted_v6", host="Host: a:80\r\n")
    assert 'for="[::1]"' in request.get("Forwarded") and 'host="a:80"' in request.get("Forwarded")


def test_forwarded_of_an_untrusted_peer_is_replaced(weir, upstream):
    request = forwarded(weir, upstream, "opted", "Forwarded: for=6.6.6.6\r\n")
    assert pairs(request.get("Forwarded")) == {"for": "127.0.0.1", "host": "a", "proto": wire.scheme.decode()}


def test_forwarded_is_appended_to_a_trusted_peers(weir, upstream):
    got = elements(
        forwarded(weir, upstream, "opted_trusting", "Forwarded: for=6.6.6.6;proto=https\r\n"),
        "Forwarded",
    )
    assert (
        got[0] == "for=6.6.6.6;proto=https"
        and pairs(got[1])["for"] == "127.0.0.1"
        and len(got) == 2
    )


def test_via_is_emitted_when_opted_in_with_the_received_version(weir, upstream, side):
    version = side.version.removeprefix("HTTP/")
    assert forwarded(weir, upstream, "opted").get("Via") == f"{version} weir"


@pytest.mark.h1_client("HTTP/1.0")
def test_via_has_the_version_of_an_http_1_0_client(weir, upstream):
    assert forwarded(weir, upstream, "opted", version="1.0").get("Via") == "1.0 weir"


def test_via_is_appended_after_the_clients(weir, upstream, side):
    got = elements(forwarded(weir, upstream, "opted", "Via: 1.0 fred\r\n"), "Via")
    assert got == ["1.0 fred", side.version.removeprefix("HTTP/") + " weir"]


@pytest.mark.h1_client("HTTP/1.0")
def test_http_1_0_without_host_is_forwarded_with_an_empty_host(weir, upstream):
    request = forwarded(weir, upstream, "web", host="", version="1.0")
    assert request.fields[0] == (b"Host", b"")


def test_the_logged_request_id_is_the_one_that_the_upstream_got(weir, upstream):
    with weir.logged() as log:
        made = forwarded(weir, upstream, "web").get("X-Request-Id")
    assert log[0]["id"] == made
    with weir.logged() as log:
        assert (
            forwarded(weir, upstream, "web", "X-Request-Id: mine-1\r\n").get("X-Request-Id")
            == "mine-1"
        )
    assert log[0]["id"] == "mine-1"


def test_request_ids_are_never_the_same_and_rise_with_time(weir, upstream, side):
    """Each worker's rise: it reads the clock once a turn, so that two of them may be a turn apart."""
    ids = [forwarded(weir, upstream, "web").get("X-Request-Id") for _ in range(20)]
    assert len(set(ids)) == 20
    stamps = [int(i.replace("-", "")[:12], 16) for i in ids]  # UUIDv7: milliseconds first
    assert side.workers > 1 or stamps == sorted(stamps)
    now = time.time() * 1000
    assert all(now - DEADLINE * 1000 * peers.SLOW <= stamp <= now + 1 for stamp in stamps)


def test_an_over_long_x_request_id_is_replaced(weir, upstream):
    got = forwarded(weir, upstream, "web", f"X-Request-Id: {'x' * 2000}\r\n").get("X-Request-Id")
    assert re.fullmatch(wire.PLACEHOLDERS[b"{uuid7}"].decode(), got)


def test_the_same_request_through_every_listener_is_the_same(weir, upstream):
    got = {name: forwarded(weir, upstream, name).start for name in weir.listeners}
    assert set(got.values()) == {b"GET / HTTP/1.1"}
