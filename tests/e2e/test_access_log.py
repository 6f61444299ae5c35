# SPDX-License-Identifier: Apache-2.0
"""The access log: one line a request, in each format, true to what happened."""
import json
import re
import time

import pytest

from matrix import Matrix
from peers import wait_for

MATRIX = Matrix()

FIELDS = [
    "time",
    "id",
    "client",
    "listener",
    "method",
    "host",
    "path",
    "protocol",
    "route",
    "pool",
    "endpoint",
    "attempts",
    "status",
    "bytes_in",
    "bytes_out",
    "queue_ms",
    "connect_ms",
    "first_byte_ms",
    "total_ms",
    "reason",
    "trail",
]


def test_a_json_entry_has_all_its_fields_in_order(weir, upstream, side):
    before = time.monotonic()
    with weir.client() as c:
        with weir.logged() as log:
            c.send(
                "POST /x?y=1 HTTP/1.1\r\nHost: Shop.example:80\r\nContent-Length: 5\r\n\r\nhello"
            )
            u = upstream.accept()
            request_id = u.request().get("X-Request-Id")
            u.answer("hello, world!", "201 Created")
            c.response()
        entry = log[0]
        assert list(entry) == FIELDS
        assert re.fullmatch(r"20\d\d-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", entry["time"])
        assert entry["id"] == request_id
        assert entry["client"] == "%s:%d" % c.address
        assert (entry["listener"], entry["method"], entry["path"], entry["protocol"]) == (
            "web",
            "POST",
            "/x?y=1",
            side.version,
        )
        assert entry["host"].lower() in ("shop.example:80", "shop.example")
        assert (entry["route"], entry["pool"], entry["endpoint"]) == (
            "route-1",
            "app",
            upstream.address,
        )
        assert (entry["attempts"], entry["status"], entry["bytes_in"], entry["bytes_out"]) == (
            1,
            201,
            5,
            13,
        )
        assert (entry["reason"], entry["trail"]) == ("", [])
        assert 0 <= entry["queue_ms"] and 0 <= entry["connect_ms"] <= entry["total_ms"]
        assert 0 < entry["first_byte_ms"] <= entry["total_ms"]
        assert entry["total_ms"] <= (time.monotonic() - before) * 1000


def test_times_tell_where_the_time_went(weir, upstream):
    with weir.logged() as log, weir.client() as c:
        c.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        u = upstream.accept()
        u.request()
        c.quiet_for(0.1)  # the upstream thinks
        u.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n")
        c.recv_until(b"\r\n\r\n")
        c.quiet_for(0.1)  # and writes slowly
        u.send("ok")
        c.expect("ok")
    assert 90 <= log[0]["first_byte_ms"] <= log[0]["total_ms"] - 90
    assert log[0]["connect_ms"] <= log[0]["first_byte_ms"] - 90


def test_bytes_are_those_of_bodies_without_chunk_framing(weir, upstream):
    with weir.logged() as log, weir.client() as c:
        c.send(
            "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n"
        )
        u = upstream.accept()
        u.request()
        u.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n7\r\n1234567\r\n0\r\n\r\n")
        c.response()
    assert (log[0]["bytes_in"], log[0]["bytes_out"]) == (5, 7)


def test_a_response_to_head_has_no_bytes(weir, upstream):
    with weir.logged() as log, weir.client() as c:
        c.send("HEAD / HTTP/1.1\r\nHost: a\r\n\r\n")
        u = upstream.accept()
        u.request()
        u.send("HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")
        c.response("HEAD")
    assert (log[0]["method"], log[0]["status"], log[0]["bytes_out"]) == ("HEAD", 200, 0)


def test_pipelined_requests_are_logged_one_by_one(weir, upstream):
    with weir.logged(3) as log, weir.client() as c:
        c.send("".join(f"GET /{i} HTTP/1.1\r\nHost: a\r\n\r\n" for i in range(3)))
        for _ in range(3):
            u = upstream.accept()
            u.request()
            u.answer()
            c.response()
    assert [e["path"] for e in log] == ["/0", "/1", "/2"]
    assert len({e["id"] for e in log}) == 3


def test_what_a_client_sends_can_not_break_a_line(weir, upstream):
    with weir.logged() as log, weir.client() as c:
        c.send('GET /x HTTP/1.1\r\nHost: a\r\nX-Request-Id: "},{\\\r\n\r\n')
        u = upstream.accept()
        got = u.request().get("X-Request-Id")
        u.answer()
        c.response()
    assert log[0]["id"] == got


@pytest.fixture
def formatted(start_weir, auto, tmp):
    """formatted(format): (weir, lines()) with an access log in that format."""

    def make(text):
        path = tmp / "formatted.log"
        weir = start_weir(
            f"access_log: {{ path: {path}, format: {json.dumps(text)} }}\n"
            f"routes: [ {{ to: app }} ]\npools: {{ app: [ '{auto().address}' ] }}\n"
        )

        def line():
            wait_for(lambda: path.exists() and path.read_bytes().endswith(b"\n"), "a log line")
            return path.read_text().splitlines()[0]

        return weir, line

    return make


def test_clf_is_apaches_combined_format(formatted, side):
    weir, line = formatted("clf")
    with weir.client() as c:
        assert c.get("/x?y", extra='User-Agent: me "x"\r\nReferer: http://r/\r\n').status == 200
    assert re.fullmatch(
        r"127\.0\.0\.1 - - \[\d\d/[A-Z][a-z]{2}/20\d\d:\d\d:\d\d:\d\d \+0000\] "
        rf'"GET /x\?y {side.version}" 200 2 "http://r/" "me \\(?:"|x22)x\\(?:"|x22)"',
        line(),
    ), line()


def test_a_template_writes_the_fields_it_names(formatted):
    weir, line = formatted("{method} {path} -> {status} {pool}@{endpoint} {bytes_out}b {{x}")
    with weir.client() as c:
        assert c.get("/t?q").status == 200
    assert re.fullmatch(r"GET /t\?q -> 200 app@127\.0\.0\.1:\d+ 2b \{x\}", line()), line()


def test_the_log_goes_to_stdout_when_told(start_weir, auto):
    weir = start_weir(
        f"access_log: /dev/stdout\nroutes: [ {{ to: app }} ]\npools: {{ app: [ '{auto().address}' ] }}\n"
    )
    with weir.client() as c:
        assert c.get("/out").status == 200
    weir.stop()
    lines = (weir.tmp / "stdout").read_text().splitlines()
    assert [json.loads(x)["path"] for x in lines] == ["/out"]


def test_everything_that_was_logged_is_written_before_the_end(start_weir, auto):
    weir = start_weir(f"routes: [ {{ to: app }} ]\npools: {{ app: [ '{auto().address}' ] }}\n")
    with weir.client() as c:
        for i in range(500):
            c.send(f"GET /{i} HTTP/1.1\r\nHost: a\r\n\r\n")
            c.response()
    weir.stop()
    assert [e["path"] for e in weir.access_log(500)] == [f"/{i}" for i in range(500)]
