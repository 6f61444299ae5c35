# SPDX-License-Identifier: Apache-2.0
"""The flight recorder: each fault leaves one record with its cause, the same as in the access log,
and `GET /requests` finds it."""
import json
import os
import re
import ssl
import time
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import pytest

import h2peer
import h2wire
import tools
from h2peer import H2Server
from h2wire import Setting
from harness import ROOT, run_weir
from peers import HANG_UP, AutoUpstream, Client, RefusedEndpoint, SilentEndpoint, deadline
from tlspeer import secured

GET = "GET /x?y=z HTTP/1.1\r\nHost: shop.example\r\nX-Request-Id: {id}\r\n\r\n"
POST = (
    "POST /x?y=z HTTP/1.1\r\nHost: shop.example\r\nX-Request-Id: {id}\r\n"
    "Content-Length: 2\r\n\r\nhi"
)
ONCE = "retry: { attempts: 0 }"


def records(weir, query=""):
    got = weir.admin_get(f"/requests{query}")
    assert got.status == 200 and got.get("Content-Type") == "application/json", got.body
    return json.loads(got.body)


def record(weir, request_id):
    got = weir.admin_get(f"/requests/{request_id}")
    assert got.status == 200, got.body
    return json.loads(got.body)


# ---- every fault ---------------------------------------------------------------------------------


@dataclass
class Fault:
    """What happens to one request, and what has to be told of it."""

    reason: str
    status: int
    ended_by: str
    happens: object  # (scene) -> None: asks with scene.client, and plays the upstream
    kind: str = "failed"
    legs: list = field(default_factory=list)  # the reasons of its attempts
    top: str = ""  # configuration
    to: str = "app"
    route: str = ONCE
    pool: str = ""
    upstream: str = ""  # below `upstream:`
    marks: str = "h1"
    endpoint: object = None  # (scene) -> address


class Scene:
    """One weir, one client, one upstream."""

    ID = "fault-1"

    def __init__(self, start_weir, new_upstream, closing, authority, fault):
        self.authority = authority
        self.closing = closing
        self.up = new_upstream()
        address = fault.endpoint(self) if fault.endpoint else self.up.address
        up = f", upstream: {{ {fault.upstream} }}" if fault.upstream else ""
        pair = str(authority.server().cert) if "$PAIR" in fault.top else ""
        self.weir = start_weir(
            f"{fault.top}\nroutes: [ {{ match: {{ path: /x }}, to: {fault.to}, {fault.route} }} ]\n"
            f"pools: {{ app: {{ endpoints: [ {address} ]{fault.pool}{up} }} }}\n".replace(
                "$CA", str(authority.cert)
            ).replace("$PAIR", pair),
            workers=1,
        )
        self.client = self.weir.client()

    def ask(self, text=GET):
        self.client.send(text.format(id=self.ID))

    def get(self, text=GET):
        """The request, as it arrives at the upstream."""
        self.ask(text)
        u = self.up.accept()
        u.request()
        return u

    def h2(self, text=GET):
        self.ask(text)
        u = H2Server(self.up.accept())
        n, _ = u.accept()
        return u, n

    def told(self, status):
        got = self.client.response()
        assert got.status == status
        assert f"request id: {self.ID}".encode() in got.body and got.get("X-Request-Id") == self.ID


def refused(s):
    s.ask()
    s.told(502)


def connect_timeout(s):
    s.ask()
    s.told(504)


def reset_before_head(s):
    s.get(POST).reset()
    s.told(502)


def closed_before_head(s):
    s.get(POST).close()
    s.told(502)


def half_a_head(s):
    u = s.get(POST)
    u.send("HTTP/1.1 200 OK\r\nContent-")
    u.close()
    s.told(502)


def half_a_body(s):
    u = s.get()
    u.send("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc")
    s.client.recv_until(b"abc")
    u.close()
    s.client.expect_ended()


def reset_in_the_body(s):
    u = s.get()
    u.send("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc")
    s.client.recv_until(b"abc")
    u.reset()
    s.client.expect_ended()


def no_answer(s):
    s.get()
    s.told(504)


def stalled_answer(s):
    u = s.get()
    u.send("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc")
    s.client.expect_ended()


def nonsense(s):
    s.get().send("HTTP/1.1 2x0 What\r\n\r\n")
    s.told(502)


def huge_head(s):
    s.get().send("HTTP/1.1 200 OK\r\nX: " + "x" * 40000 + "\r\n\r\n")
    s.told(502)


def own_503(s):
    s.get().answer("no", "503 No")
    assert s.client.response().status == 503


def client_leaves(s):
    u = s.get()
    s.client.close()
    u.expect_ended()


def client_resets(s):
    u = s.get()
    s.client.reset()
    u.expect_ended()


def client_leaves_in_the_answer(s):
    u = s.get()
    u.send("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc")
    s.client.recv_until(b"abc")
    s.client.close()
    u.expect_ended()


def client_stalls(s):
    s.ask(POST[: POST.index("hi")])
    s.told(408)


def no_route(s):
    s.client.send(f"GET /y HTTP/1.1\r\nHost: shop.example\r\nX-Request-Id: {s.ID}\r\n\r\n")
    s.told(404)


def bad_host(s):
    s.client.send(f"GET /x HTTP/1.1\r\nHost: a b\r\nX-Request-Id: {s.ID}\r\n\r\n")
    assert s.client.response().status == 400


def large_body(s):
    s.ask(POST.replace("Content-Length: 2", "Content-Length: 100000"))
    s.told(413)


def no_endpoint(s):
    s.ask()
    s.told(503)


def fills(s, status):
    """Another request holds the only place of the pool."""
    other = s.weir.client()
    other.send("GET /x HTTP/1.1\r\nHost: other\r\n\r\n")
    u = s.up.accept()
    u.request()
    s.ask()
    s.told(status)
    u.answer()
    assert other.response().status == 200


def full(s):
    fills(s, 503)


def whole_time_is_over(s):
    s.get()
    s.told(504)


def certificate(s):
    s.ask()
    with pytest.raises((ssl.SSLError, ConnectionResetError)):
        u = secured(s.up.accept(), s.authority.server_context(s.authority.issue("b.example")))
        u.recv_exact(1)
    s.up.forget()
    s.told(502)


def h2_reset(s):
    u, n = s.h2(POST)
    u.reset(n, h2wire.Code.INTERNAL_ERROR)
    s.told(502)


def h2_cancel(s):
    u, n = s.h2(POST)
    u.reset(n, h2wire.Code.CANCEL)
    s.told(502)


def h2_refused(s):
    u, n = s.h2(POST)
    u.reset(n, h2wire.Code.REFUSED_STREAM)
    s.told(502)


def h2_goaway(s):
    u, n = s.h2(POST)
    u.peer.send(h2wire.goaway(0))
    s.told(502)


def h2_malformed(s):
    u, n = s.h2()
    u.headers(n, [(":status", "2x0")])
    s.told(502)


def h2_reset_in_the_answer(s):
    u, n = s.h2()
    u.headers(n, [(":status", "200")])
    u.data(n, b"abc")
    s.client.recv_until(b"3\r\nabc\r\n")
    u.reset(n, h2wire.Code.INTERNAL_ERROR)
    s.client.expect_ended()


def not_h2(s):
    s.ask()
    u = s.up.accept()
    u.recv_until(h2wire.PREFACE)
    u.send("HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")
    s.told(502)
    u.expect_ended()


def tunnel_idles(s):
    s.client.send(
        f"GET /x HTTP/1.1\r\nHost: a\r\nX-Request-Id: {s.ID}\r\nConnection: Upgrade\r\n"
        "Upgrade: thing\r\n\r\n"
    )
    u = s.up.accept()
    u.request()
    u.send("HTTP/1.1 101 Yes\r\nConnection: Upgrade\r\nUpgrade: thing\r\n\r\n")
    s.client.expect_ended()


def says(request, status, **how):
    """A request that is wrong by itself; what is left of it is never read."""
    reason = how.pop("reason")

    def happens(s):
        s.client.send(request)
        assert s.client.response().status == status

    return Fault(reason, status, "weir", happens, kind="client", **how)


def asks(line="GET /x HTTP/1.1", *fields, host="Host: shop.example", body=""):
    return "\r\n".join([line, *([host] if host else []), *fields, "", body])


def queue_overflows(s):
    """One holds the only place, another waits for it, and there is room for no third."""
    others = [s.weir.client(), s.weir.client()]
    ask = "GET /x HTTP/1.1\r\nHost: other\r\n\r\n"
    others[0].send(ask)
    u = s.up.accept()
    u.request()
    others[1].send(ask)
    s.weir.wait_metric("weir_pool_queued", 1)
    s.ask()
    s.told(503)
    for other in others:
        u.answer()
        assert other.response().status == 200
        if other is others[0]:
            u.request()


def client_resets_in_the_answer(s):
    u = s.get()
    u.send("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc")
    s.client.recv_until(b"abc")
    s.client.reset()
    u.expect_ended()


def client_leaves_in_its_body(s):
    s.ask(POST[: POST.index("hi")] + "h")
    s.client.close()


def client_leaves_while_it_waits(s):
    other = s.weir.client()
    other.send("GET /x HTTP/1.1\r\nHost: other\r\n\r\n")
    u = s.up.accept()
    u.request()
    s.ask()
    s.weir.wait_metric("weir_pool_queued", 1)
    s.client.close()
    s.weir.wait_metric("weir_pool_queued", 0)
    u.answer()
    assert other.response().status == 200


def bad_chunk(s):
    s.ask(POST.replace("Content-Length: 2\r\n\r\nhi", "Transfer-Encoding: chunked\r\n\r\nx\r\n"))
    s.told(400)


def half_a_request(s):
    s.client.send("GET /x HTTP/1.1\r\nHost: shop.example\r\n")
    assert s.client.response().status == 408


def client_does_not_read(s):
    with s.weir.client(rcvbuf=4096) as slow:
        slow.send(GET.format(id=s.ID))
        u = s.up.accept()
        u.request()
        u.send("HTTP/1.1 200 OK\r\nContent-Length: 100000000\r\n\r\n")
        with suppress(ConnectionResetError, BrokenPipeError):  # given up while this still sends
            u.send_until_blocked(bytes(1 << 20), 100_000_000)
        u.expect_ended()


def endpoint_does_not_read(s):
    s.ask(POST.replace("Content-Length: 2\r\n\r\nhi", "Content-Length: 100000000\r\n\r\n"))
    u = s.up.accept()
    with suppress(ConnectionResetError, BrokenPipeError):
        s.client.send_until_blocked(bytes(1 << 20), 100_000_000)
    s.told(504)
    u.close()


def no_h2_over_tls(s):
    s.ask()
    context = s.authority.server_context(s.authority.issue("a.example"))
    context.set_alpn_protocols(["http/1.1"])
    with suppress(ssl.SSLError, ConnectionResetError):
        secured(s.up.accept(), context).expect_ended()
    s.up.forget()
    s.told(502)


def breaks_h2(frames, more=dict(end=True)):
    """A client of HTTP/2 with one request in progress, which sends such frames until it is cut off."""

    def happens(s):
        with h2peer.client(s.weir).hello() as c:
            fields = [("x-request-id", s.ID)]
            c.request(path="/x?y=z", host="shop.example", more=fields, **more)
            u = s.up.accept()
            u.recv_until(b"\r\n\r\n")
            for at in range(0, 200_000, 50):
                try:
                    c.peer.send(b"".join(frames(i) for i in range(at, at + 50)))
                except (BrokenPipeError, ConnectionResetError):
                    break
            u.expect_ended()

    return happens


def its_body_is_too_long(s):
    """An error of one stream, and the conn goes on."""
    with h2peer.client(s.weir).hello() as c:
        length = [("x-request-id", s.ID), ("content-length", "2")]
        n = c.request("POST", "/x?y=z", host="shop.example", more=length, end=False)
        u = s.up.accept()
        u.recv_until(b"\r\n\r\n")
        c.data(n, b"three")
        c.expect_rst(n, h2wire.Code.PROTOCOL_ERROR)
        u.expect_ended()


def other_head(stream, more=b"", **how):
    fields = h2wire.request_fields(path="/y", host="other")
    return h2wire.headers(stream, h2wire.block(fields) + more, **how)


def bomb(i):
    """One field of 4 KB in the table, and a byte for each time it is named."""
    entry = b"\x40" + h2wire.number(6, 7) + b"x-bomb" + h2wire.number(4000, 7) + b"b" * 4000
    return other_head(3, entry + b"\xbe" * 12000) if i == 0 else h2wire.ping()


def endless_head(i):
    return other_head(3, flags=h2wire.END_STREAM) if i == 0 else h2wire.continuation(3, b"", False)


def asks_and_resets(i):
    return other_head(2 * i + 3) + h2wire.rst_stream(2 * i + 3)


def keys_change(s):
    """A client with one request in progress that changes its keys until it is cut off."""
    ask = [line.encode() for line in GET.format(id=s.ID).split("\r\n")[:-1]]
    with tools.typist(
        "openssl", "s_client", "-crlf", "-connect", s.weir.listeners["web"], "-tls1_3"
    ) as type_line:
        for line in ask:
            type_line(line)
        u = s.up.accept()
        u.request()
        until = deadline()
        while type_line(b"k"):
            assert time.monotonic() < until, "weir bears it"
        u.expect_ended()


def one_connection_too_many(s):
    with s.weir.client() as over:
        over.send(GET.format(id=s.ID))
        assert over.response().status == 503


def h2_silence(s):
    """It takes the request, and says nothing more, not to a PING either."""
    s.ask()
    s.up.accept().recv_until(h2wire.PREFACE)
    s.told(504)


def of_h2(reason, frames, **more):
    happens = breaks_h2(frames, more or {"end": True})
    return Fault(reason, 499, "weir", happens, kind="client", legs=[reason])


def closes_each(s):
    """Endpoints that take each request and close."""
    ups = [s.closing(AutoUpstream(reply=lambda _: HANG_UP)) for _ in range(2)]
    return ", ".join(u.address for u in ups)


def silent(s):
    return s.closing(SilentEndpoint()).address


def refusing(s):
    return s.closing(RefusedEndpoint()).address


def drained(s):
    return f"{{ address: {s.up.address}, drain: true }}"


LINE = "GET /x HTTP/1.1"
QUEUE = ", max_requests: 1, queue: "
LEARNT = ", max_requests: 50, limit: { mode: adaptive, min: 1, start: 1 }, queue: none"
CLOSED = "upstream_closed"
FAULTS = {
    "connect refused": Fault(
        "connect_refused", 502, "endpoint", refused, legs=["connect_refused"], endpoint=refusing
    ),
    "both refuse": Fault(
        "connect_refused",
        502,
        "endpoint",
        refused,
        legs=["connect_refused"] * 2,
        route="retry: 1",
        endpoint=lambda s: f"{refusing(s)}, {refusing(s)}",
    ),
    "connect timeout": Fault(
        "connect_timeout",
        504,
        "weir",
        connect_timeout,
        legs=["connect_timeout"],
        upstream="connect: 100ms",
        endpoint=silent,
    ),
    "reset before the head": Fault(
        "upstream_reset", 502, "endpoint", reset_before_head, legs=["upstream_reset"]
    ),
    "closed before the head": Fault(CLOSED, 502, "endpoint", closed_before_head, legs=[CLOSED]),
    "half a head": Fault(CLOSED, 502, "endpoint", half_a_head, legs=[CLOSED]),
    "half a body": Fault(
        "response_incomplete", 200, "endpoint", half_a_body, legs=["response_incomplete"]
    ),
    "a reset in the body": Fault(
        "upstream_reset", 200, "endpoint", reset_in_the_body, legs=["upstream_reset"]
    ),
    "no answer, per try": Fault(
        "response_head_timeout",
        504,
        "weir",
        no_answer,
        legs=["response_head_timeout"],
        route=ONCE + ", timeout: { try: 500ms }",
    ),
    "no answer, whole": Fault(
        "request_timeout",
        504,
        "weir",
        whole_time_is_over,
        legs=["request_timeout"],
        route=ONCE + ", timeout: { request: 500ms }",
    ),
    "a stalled answer": Fault(
        "response_idle_timeout",
        200,
        "weir",
        stalled_answer,
        legs=["response_idle_timeout"],
        top="timeouts: { response_idle: 500ms }",
    ),
    "nonsense": Fault("bad_response", 502, "weir", nonsense, legs=["bad_response"]),
    "a huge head": Fault(
        "response_head_too_large", 502, "weir", huge_head, legs=["response_head_too_large"]
    ),
    "an error of the endpoint": Fault("", 503, "nobody", own_503, legs=[""]),
    "the client leaves": Fault(
        "client_closed", 499, "client", client_leaves, kind="client", legs=["client_closed"]
    ),
    "the client resets": Fault(
        "client_reset", 499, "client", client_resets, kind="client", legs=["client_reset"]
    ),
    "the client leaves in the answer": Fault(
        "client_closed",
        200,
        "client",
        client_leaves_in_the_answer,
        kind="client",
        legs=["client_closed"],
    ),
    "the client stalls": Fault(
        "body_timeout",
        408,
        "weir",
        client_stalls,
        kind="client",
        legs=["body_timeout"],
        top="timeouts: { request_body: 500ms }",
    ),
    "no request line": says("GET\r\n\r\n", 400, reason="bad_request_line"),
    "a bad target": says(asks("GET x HTTP/1.1"), 400, reason="bad_target"),
    "another version": says(asks("GET /x HTTP/3.0"), 505, reason="bad_version"),
    "another method": says(asks("MAKE /x HTTP/1.1"), 501, reason="unknown_method"),
    "CONNECT": says(asks("CONNECT a:1 HTTP/1.1"), 405, reason="connect_method"),
    "a bad field": says(asks(LINE, "a b: c"), 400, reason="bad_field"),
    "a bare newline": says("GET /x HTTP/1.1\nHost: a\r\n\r\n", 400, reason="bad_line_ending"),
    "no host": says(asks(host=None), 400, reason="missing_host"),
    "a bad length": says(
        asks("POST /x HTTP/1.1", "Content-Length: 1x"), 400, reason="bad_content_length"
    ),
    "two lengths": says(
        asks("POST /x HTTP/1.1", "Content-Length: 1", "Transfer-Encoding: chunked"),
        400,
        reason="length_conflict",
    ),
    "chunked is not the last": says(
        asks("POST /x HTTP/1.1", "Transfer-Encoding: chunked, chunked"),
        400,
        reason="bad_transfer_encoding",
    ),
    "another coding": says(
        asks("POST /x HTTP/1.1", "Transfer-Encoding: gzip, chunked"), 501, reason="unknown_coding"
    ),
    "a long target": says(asks(f"GET /{'x' * 9000} HTTP/1.1"), 414, reason="target_too_long"),
    "a large head": says(
        asks(LINE, *[f"a{n}: {'x' * 4000}" for n in range(20)]), 431, reason="head_too_large"
    ),
    "many fields": says(
        asks(LINE, *[f"a{n}: x" for n in range(300)]), 431, reason="too_many_fields"
    ),
    "a bad chunk": Fault("bad_chunk", 400, "weir", bad_chunk, kind="client"),
    "a full queue": Fault(
        "queue_full", 503, "weir", queue_overflows, pool=QUEUE + "{ max: 1, wait: 20s }"
    ),
    "the client resets in the answer": Fault(
        "client_reset",
        200,
        "client",
        client_resets_in_the_answer,
        kind="client",
        legs=["client_reset"],
    ),
    "the client leaves in its body": Fault(
        "client_closed",
        499,
        "client",
        client_leaves_in_its_body,
        kind="client",
        legs=["client_closed"],
    ),
    "the client leaves while it waits": Fault(
        "client_closed",
        499,
        "client",
        client_leaves_while_it_waits,
        kind="client",
        pool=QUEUE + "{ wait: 20s }",
    ),
    "half a request": Fault(
        "head_timeout",
        408,
        "weir",
        half_a_request,
        kind="client",
        top="timeouts: { request_head: 100ms }",
    ),
    "the client does not read": Fault(
        "client_write_stall",
        200,
        "weir",
        client_does_not_read,
        kind="client",
        legs=["client_write_stall"],
        top="timeouts: { write_stall: 300ms }",
    ),
    "the endpoint does not read": Fault(
        "upstream_write_stall",
        504,
        "weir",
        endpoint_does_not_read,
        legs=["upstream_write_stall"],
        top="timeouts: { write_stall: 300ms }",
    ),
    "no HTTP/2 over TLS": Fault(
        "upstream_wrong_protocol",
        502,
        "weir",
        no_h2_over_tls,
        legs=["upstream_wrong_protocol"],
        upstream="protocol: h2, tls: { ca: $CA, sni: a.example }",
    ),
    "no pool": Fault("no_pool", 500, "weir", lambda s: (s.ask(), s.told(500)), to="{ app: 0 }"),
    "no such path": Fault(
        "connect_failed",
        502,
        "weir",
        refused,
        legs=["connect_failed"],
        endpoint=lambda s: "'unix:/nowhere/none.sock'",
    ),
    "too many PINGs": of_h2("h2_ping_flood", lambda i: h2wire.ping(i.to_bytes(8, "big"))),
    "too many SETTINGS": of_h2(
        "h2_settings_flood", lambda i: h2wire.settings({Setting.HEADER_TABLE_SIZE: i % 4096})
    ),
    "too many PRIORITYs": of_h2("h2_priority_flood", lambda i: h2wire.priority(2 * i + 3)),
    "too many WINDOW_UPDATEs": of_h2(
        "h2_window_flood", lambda i: h2wire.window_update(1, 1), method="POST", end=False
    ),
    "too many empty DATA frames": of_h2(
        "h2_empty_data_flood", lambda i: h2wire.data(1), method="POST", end=False
    ),
    "too many RST_STREAMs": of_h2("h2_reset_flood", asks_and_resets),
    "too many CONTINUATIONs": of_h2("h2_continuation_flood", endless_head),
    "a bomb in a head": of_h2("h2_hpack_bomb", bomb),
    "its body is longer than it says": Fault(
        "h2_stream_error",
        499,
        "weir",
        its_body_is_too_long,
        kind="client",
        legs=["h2_stream_error"],
    ),
    "too many new keys": Fault(
        "tls_rekey_flood",
        499,
        "weir",
        keys_change,
        kind="client",
        legs=["tls_rekey_flood"],
        top="listeners: { web: { bind: '127.0.0.1:0', tls: $PAIR } }",
    ),
    "DATA of no stream": of_h2("h2_protocol_error", lambda i: h2wire.data(0, b"x")),
    "no route": Fault("no_route", 404, "weir", no_route, kind="client"),
    "a bad host": Fault("bad_host", 400, "weir", bad_host, kind="client"),
    "a body too large": Fault(
        "body_too_large", 413, "weir", large_body, kind="client", top="limits: { body_bytes: 1KiB }"
    ),
    "no endpoint": Fault("no_endpoint", 503, "weir", no_endpoint, endpoint=drained),
    "a limit": Fault("request_limit", 503, "weir", full, pool=QUEUE + "none"),
    "a limit that was learnt": Fault("request_limit", 503, "weir", full, pool=LEARNT),
    "a connection too many": Fault(
        "connection_limit",
        503,
        "weir",
        one_connection_too_many,
        top="limits: { connections: 1 }",
    ),
    "a wait too long": Fault("queue_timeout", 503, "weir", full, pool=QUEUE + "{ wait: 50ms }"),
    "the retry budget": Fault(
        "retry_budget",
        503,
        "weir",
        lambda s: (s.ask(), s.told(503)),
        legs=[CLOSED],
        route="retry: 1",
        pool=", retry_budget: { ratio: 1%, min: 0/s }",
        endpoint=closes_each,
    ),
    "a certificate of another": Fault(
        "upstream_tls_failed",
        502,
        "weir",
        certificate,
        legs=["upstream_tls_failed"],
        upstream="tls: { ca: $CA, sni: a.example }",
    ),
    "RST_STREAM": Fault(
        "upstream_stream_reset",
        502,
        "endpoint",
        h2_reset,
        legs=["upstream_stream_reset"],
        upstream="protocol: h2",
    ),
    "RST_STREAM, cancelled": Fault(
        "upstream_cancelled",
        502,
        "endpoint",
        h2_cancel,
        legs=["upstream_cancelled"],
        upstream="protocol: h2",
    ),
    "RST_STREAM, refused": Fault(
        "upstream_refused",
        502,
        "endpoint",
        h2_refused,
        legs=["upstream_refused"],
        upstream="protocol: h2",
    ),
    "GOAWAY": Fault(
        "upstream_goaway",
        502,
        "endpoint",
        h2_goaway,
        legs=["upstream_goaway"],
        upstream="protocol: h2",
    ),
    "a malformed answer of HTTP/2": Fault(
        "bad_response", 502, "weir", h2_malformed, legs=["bad_response"], upstream="protocol: h2"
    ),
    "RST_STREAM in the answer": Fault(
        "upstream_stream_reset",
        200,
        "endpoint",
        h2_reset_in_the_answer,
        legs=["upstream_stream_reset"],
        upstream="protocol: h2",
    ),
    "no HTTP/2": Fault(
        "bad_response",
        502,
        "weir",
        not_h2,
        legs=["bad_response"],
        upstream="protocol: h2",
    ),
    "no answer to a PING": Fault(
        "upstream_silent",
        504,
        "weir",
        h2_silence,
        legs=["upstream_silent"],
        upstream="protocol: h2, ping: 1s",
    ),
    "an idle tunnel": Fault(
        "tunnel_idle",
        101,
        "weir",
        tunnel_idles,
        legs=["tunnel_idle"],
        top="timeouts: { upgraded: 100ms }",
    ),
}


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_leaves_one_cause(start_weir, new_upstream, closing, authority, name):
    """"Each kind of fault that the tests can inject leaves exactly one correct cause in the flight
    recorder and the access log." """
    fault = FAULTS[name]
    s = Scene(start_weir, new_upstream, closing, authority, fault)
    fault.happens(s)
    s.weir.wait_metric("weir_requests_in_flight", 0)
    s.weir.settle_log()
    # "bad_host" is found before weir would believe any field.
    logged = [e for e in s.weir.access_log(1) if e["host"] not in ("other",)]
    assert [(e["reason"], e["status"]) for e in logged] == [(fault.reason, fault.status)]
    found = [f for f in records(s.weir) if f["host"] != "other"]
    assert [(f["id"], f["kind"], f["reason"], f["status"]) for f in found] == [
        (logged[0]["id"], fault.kind, fault.reason, fault.status)
    ]
    f = record(s.weir, logged[0]["id"])
    for same in ("id", "client", "listener", "method", "host", "path", "route", "pool", "attempts"):
        assert f[same] == logged[0][same], same
    assert [leg["reason"] for leg in f["timeline"]] == fault.legs
    assert f["endpoint"] == logged[0]["endpoint"]
    assert f["ended_by"] == fault.ended_by
    assert f["cause"] and f["advice"].endswith(".")
    assert f["total_us"] // 1000 == int(logged[0]["total_ms"])
    for leg in f["timeline"]:
        times = [leg[k] for k in ("started_us", "connected_us", "head_us", "ended_us")]
        times = [t for t in times if t is not None]
        assert times == sorted(times) and times[-1] <= f["total_us"]
        if leg["connected_us"] is not None:
            assert leg["connect_us"] + leg["tls_us"] == leg["connected_us"] - leg["started_us"]
        if leg["reason"] == "upstream_tls_failed":
            assert leg["connect_us"] >= 0 and leg["tls_us"] is None


NO_REQUEST = "ends a connection on which no request has begun"
ATTEMPTS = "is why an attempt was not the last, and never why a request ends: test_retries"
IDLE = "ends an idle connection to an endpoint, of no request"
NOT_HERE = {
    "idle_timeout": NO_REQUEST,
    "bad_proxy_header": NO_REQUEST,
    "proxy_header_timeout": NO_REQUEST,
    "tls_handshake_failed": NO_REQUEST,
    "tls_handshake_timeout": NO_REQUEST,
    "h2_settings_timeout": NO_REQUEST,
    "draining": NO_REQUEST,
    "no_descriptors": "a machine without descriptors: test_lifecycle",
    "no_memory": "a machine without memory: test_alloc_sweep",
    "upstream_unsent": "of a connection that dies before it is written to: test_faults",
    "upstream_full": ATTEMPTS,
    "upstream_status": ATTEMPTS,
    "upstream_unavailable": ATTEMPTS,
    "outrun": ATTEMPTS,
    "upstream_idle_closed": IDLE,
    "upstream_idle_timeout": IDLE,
    "upstream_tls_changed": IDLE,
    "upstream_unsolicited": IDLE,
    "shutdown": "ends weir, and its recorder: test_lifecycle",
    "internal": "nothing leads there",
    "done": "is no fault",
}


def tls_web(how):
    return f"listeners: {{ web: {{ bind: '127.0.0.1:0', tls: $PAIR }} }}\n{how}"


def proxied_web(how=""):
    from_here = "proxy_protocol: { from: [ 127.0.0.0/8 ] }"
    return f"listeners: {{ web: {{ bind: '127.0.0.1:0', {from_here} }} }}\n{how}"


SHORT = "timeouts: { tls_handshake: 200ms }"
ASKED_NOTHING = {  # configuration, what the client says
    "tls_handshake_failed": (tls_web(""), b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"),
    "tls_handshake_timeout": (tls_web(SHORT), b"\x16\x03\x01"),
    "bad_proxy_header": (proxied_web(), b"PROXY TCP9 1\r\n"),
    "proxy_header_timeout": (proxied_web(SHORT), b"PROXY "),
    "idle_timeout": ("timeouts: { client_idle: 200ms }", b""),
}


@pytest.mark.parametrize("reason", ASKED_NOTHING)
def test_a_connection_without_a_request_is_counted_and_leaves_none(
    start_weir, auto, authority, reason
):
    top, said = ASKED_NOTHING[reason]
    assert NOT_HERE[reason] is NO_REQUEST
    pair = str(authority.server().cert) if "$PAIR" in top else ""
    weir = start_weir(
        f"{top.replace('$PAIR', pair)}\nroutes: [ {{ to: app }} ]\n"
        f"pools: {{ app: [ {auto().address} ] }}\n"
    )
    with weir.counts(reason), weir.client() as c:
        if said:
            c.send(said)
        c.expect_ended()
    counted = {k: n for k, n in weir.metrics().items() if k[0] == "weir_errors_total" and n}
    assert sum(counted.values()) == 1, counted
    weir.wait_metric("weir_requests_total", 0)
    assert records(weir) == [] and weir.access_log(0) == []


def test_every_reason_is_a_fault_above_or_why_not_is_said():
    text = (ROOT / "proxy" / "base" / "reason.h").read_text()
    table = text[text.index("#define REASONS(X)") : text.index("\nenum reason {")]
    rows = set(re.findall(r'^ +X\([A-Z0-9_]+, "([a-z0-9_]+)"', table, re.M))
    shown = {fault.reason for fault in FAULTS.values()} - {""}
    assert len(rows) > 80 and shown <= rows and set(NOT_HERE) <= rows
    assert sorted(rows - shown) == sorted(NOT_HERE)


# ---- what went well in the end -------------------------------------------------------------------


def test_a_retried_request_is_kept_with_both_attempts(start_weir, closing, auto):
    bad, good = closing(RefusedEndpoint()).address, auto().address
    weir = start_weir(
        f"routes: [ {{ to: app, retry: {{ attempts: 1, backoff: 1ms }} }} ]\n"
        f"pools: {{ app: {{ balance: round_robin, endpoints: [ {bad}, {good} ] }} }}\n",
        workers=1,
    )
    with weir.client() as c:
        assert {c.get(extra=f"X-Request-Id: r{n}\r\n").status for n in range(2)} == {200}
    f = record(weir, records(weir, "?kind=retried")[0]["id"])
    assert [(leg["endpoint"], leg["reason"], leg["status"]) for leg in f["timeline"]] == [
        (bad, "connect_refused", None),
        (good, "", 200),
    ]
    assert (f["status"], f["reason"], f["attempts"]) == (200, "", 2)
    assert bad in f["cause"] and good in f["cause"]
    assert f["timeline"][1]["started_us"] >= f["timeline"][0]["ended_us"]


def test_a_hedged_request_is_kept_with_the_attempt_that_lost(start_weir, auto):
    from test_retries_hedging import LEARNT, Pool

    p = Pool(start_weir, auto)
    p.learn(LEARNT)
    with p.weir.client() as c:
        first, second = p.ask_both(c)
        second.release()
        assert c.response().body == second.body
        p.wait_idle()
    (f,) = (record(p.weir, f["id"]) for f in records(p.weir, "?kind=retried"))
    assert [(leg["endpoint"], leg["reason"], leg["hedge"]) for leg in f["timeline"]] == [
        (first.address, "outrun", False),
        (second.address, "", True),
    ]


def test_a_slow_request_is_kept_and_tells_where_the_time_went(start_weir, new_upstream):
    up = new_upstream()
    weir = start_weir(
        "flight: { slow: 50ms }\nroutes: [ { to: app } ]\n" f"pools: {{ app: [ {up.address} ] }}\n"
    )
    with weir.client() as c:
        for fast in (False, True):
            c.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n")
            u = u if fast else up.accept()
            u.request()
            fast or u.quiet_for(0.06)
            u.answer()
            assert c.response().status == 200
            if not fast:
                weir.wait_metric("weir_flight_recorded_total", 1, kind="slow")
    f = record(weir, records(weir, "?kind=slow")[-1]["id"])
    assert f["head_us"] >= 50000 and f["timeline"][0]["connected_us"] < f["head_us"]
    assert f"went into waiting for the answer of {up.address}" in f["cause"]


@pytest.mark.parametrize("protocol", ["auto", "h1"])
def test_the_time_of_the_handshake_is_told_apart_from_that_of_the_connection(
    start_weir, new_upstream, authority, protocol
):
    up = new_upstream()
    weir = start_weir(
        "flight: { slow: 20ms }\nroutes: [ { to: app } ]\n"
        f"pools: {{ app: {{ endpoints: [ {up.address} ], upstream: {{ protocol: {protocol},"
        f" tls: {{ ca: {authority.cert}, sni: a.example }} }} }} }}\n",
        workers=1,
    )
    context = authority.server_context(authority.issue("a.example"))
    with weir.client() as c:
        for reused in (False, True):
            c.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n")
            if not reused:
                u = up.accept()
                time.sleep(0.1)  # the endpoint is slow to shake hands
                secured(u, context)
            u.request()
            if reused:
                time.sleep(0.03)  # or to answer
            u.answer()
            assert c.response().status == 200
            weir.wait_metric("weir_flight_recorded_total", 1 + reused, kind="slow")
    again, first = (record(weir, f["id"])["timeline"][0] for f in records(weir, "?kind=slow"))
    assert not first["reused"] and first["connect_us"] < first["tls_us"] >= 30000
    assert first["connect_us"] + first["tls_us"] == first["connected_us"] - first["started_us"]
    assert again["reused"] and (again["connect_us"], again["tls_us"]) == (0, 0)


def test_what_the_access_log_tells_is_in_the_recorder_already(start_weir, closing, tmp_path):
    os.mkfifo(tmp_path / "log")
    fd = os.open(tmp_path / "log", os.O_RDONLY | os.O_NONBLOCK)
    with open(fd, "rb") as log:
        weir = start_weir(
            f"access_log: {tmp_path}/log\nroutes: [ {{ to: app }} ]\n"
            f"pools: {{ app: [ {closing(RefusedEndpoint()).address} ] }}\n",
            workers=1,
        )
        os.set_blocking(fd, True)
        with weir.client() as c, Client(weir.admin) as admin, one_processor(weir):
            c.send(GET.format(id="told"))
            assert b'"id":"told"' in log.readline()
            assert admin.get("/requests/told", host="admin").status == 200


@contextmanager
def one_processor(weir):
    """For weir and this test; its workers run when nobody else does: whoever they wake goes first."""
    before = os.sched_getaffinity(0)
    pid = weir.proc.pid
    mine = {min(before)}
    for task in (int(t) for t in os.listdir(f"/proc/{pid}/task")):
        name = Path(f"/proc/{pid}/task/{task}/comm").read_text().strip()
        os.sched_setaffinity(task, mine)
        if task != pid and name != "weir-access-log":
            os.sched_setscheduler(task, os.SCHED_IDLE, os.sched_param(0))
    os.sched_setaffinity(0, mine)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


# ---- the pages -----------------------------------------------------------------------------------


@pytest.fixture
def three(start_weir, closing):
    """A weir that has failed for three reasons, the last of them twice."""
    weir = start_weir(
        "routes: [ { match: { path: /a }, to: a }, { match: { path: /b }, to: b } ]\n"
        f"pools: {{ a: [ {closing(RefusedEndpoint()).address} ],\n"
        "  b: { endpoints: [ { address: '127.0.0.1:1', drain: true } ] } }\n"
    )
    with weir.client() as c:
        for n, path in enumerate(("/a", "/b", "/c", "/c")):
            c.get(path, extra=f"X-Request-Id: n{n}/x\r\n")
    return weir


@pytest.mark.parametrize(
    "query,ids",
    [
        ("", "3210"),
        ("?limit=2", "32"),
        ("?limit=0", ""),
        ("?limit=1", "3"),
        ("?pool=a", "0"),
        ("?pool=" + "a" * 100, ""),
        ("?pool=b", "1"),
        ("?pool=nobody", ""),
        ("?reason=no_route", "32"),
        ("?status=502", "0"),
        ("?status=5xx", "10"),
        ("?status=4XX&limit=1", "3"),
        ("?kind=client", "32"),
        ("?kind=failed&reason=no_endpoint&pool=b", "1"),
        ("?kind=slow", ""),
    ],
)
def test_the_list_is_newest_first_and_chosen_from(three, query, ids):
    assert [f["id"][1] for f in records(three, query)] == list(ids)


@pytest.mark.parametrize("query", ["?status=x", "?status=5x", "?limit=-1", "?limit=10001", "?limit="])
def test_a_choice_that_is_none_is_400(three, query):
    assert three.admin_get(f"/requests{query}").status == 400


def test_an_id_is_found_percent_encoded_and_as_it_is(three):
    for path in ("n0/x", "n0%2Fx", "n0%2fx"):
        assert record(three, path)["reason"] == "connect_refused"


def test_what_is_not_kept_is_404_and_says_what_is(three):
    got = three.admin_get("/requests/nobody")
    assert got.status == 404 and b"GET /requests lists them" in got.body


def test_without_a_recorder_the_page_says_so(start_weir, auto):
    weir = start_weir(
        "flight: { size: 0 }\nroutes: [ { match: { path: /a }, to: a } ]\n"
        f"pools: {{ a: [ {auto().address} ] }}\n"
    )
    with weir.client() as c:
        assert c.get("/b").status == 404
    assert records(weir) == []
    got = weir.admin_get("/requests/x")
    assert got.status == 404 and b"flight.size is 0" in got.body
    weir.wait_metric("weir_flight_bytes", 0)


def test_the_oldest_goes_first_and_memory_stays_as_it_is(start_weir, auto):
    weir = start_weir(
        "flight: { size: 3 }\nroutes: [ { match: { path: /a }, to: a } ]\n"
        f"pools: {{ a: [ {auto().address} ] }}\n",
        workers=1,
    )
    before = weir.metric("weir_flight_bytes")
    with weir.client() as c:
        for n in range(20):
            assert c.get("/b", extra=f"X-Request-Id: {n}\r\n").status == 404
    assert [f["id"] for f in records(weir)] == ["19", "18", "17"]
    assert weir.admin_get("/requests/16").status == 404
    weir.wait_metric("weir_flight_recorded_total", 20, kind="client")
    assert weir.metric("weir_flight_bytes") == before > 0


def test_text_is_for_people(three):
    got = three.admin_get("/requests/n0/x?as=text")
    text = got.body.decode()
    assert got.get("Content-Type").startswith("text/plain")
    assert text.startswith("request n0/x: 502 connect_refused (failed)\n")
    assert "cause: the upstream refused the connection" in text and "to do: " in text


def test_reading_disturbs_nobody(start_weir, auto):
    """Records are read while workers write them (a race is for the sanitizer to tell)."""
    weir = start_weir(
        "flight: { size: 2 }\nroutes: [ { match: { path: /a }, to: a } ]\n"
        f"pools: {{ a: [ {auto().address} ] }}\n",
        workers=2,
    )
    clients = [weir.client() for _ in range(4)]
    for _ in range(50):
        for c in clients:
            c.send("GET /b HTTP/1.1\r\nHost: a\r\n\r\n" * 5)
        assert all(f["reason"] == "no_route" for f in records(weir))
        for c in clients:
            assert [c.response().status for _ in range(5)] == [404] * 5
    weir.wait_metric("weir_flight_recorded_total", 1000, kind="client")


# ---- weir why ------------------------------------------------------------------------------------


def test_why_prints_the_timeline_with_cause_and_advice(three):
    got = run_weir("why", "n0/x", "--admin", three.admin)
    assert (got.returncode, got.stderr) == (0, "")
    assert got.stdout.encode() == three.admin_get("/requests/n0/x?as=text").body
    as_json = run_weir("why", "n0/x", "--json", "--admin", three.admin)
    assert json.loads(as_json.stdout) == record(three, "n0/x")


def test_why_says_that_nothing_is_kept_and_exits_1(three):
    got = run_weir("why", "no such?&%", "--admin", three.admin)
    assert (got.returncode, got.stdout) == (1, "") and "GET /requests lists them" in got.stderr


@pytest.mark.parametrize("args", [[], [""], ["a", "b"], ["a", "--frobnicate"]])
def test_why_wants_one_id(args):
    got = run_weir("why", *args)
    assert got.returncode == 2 and "usage: weir why ID" in got.stderr


def test_an_error_names_the_id_that_why_takes(three):
    """What a client is shown is enough to ask with."""
    with three.client() as c:
        body = c.get("/a").body.decode()
    got = run_weir("why", body.split("request id: ")[1].strip(), "--admin", three.admin)
    assert got.returncode == 0 and "502 connect_refused" in got.stdout
