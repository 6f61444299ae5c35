# SPDX-License-Identifier: Apache-2.0
"""Bugs that the torture rig found (tests/chaos, tests/faults, tests/fuzz), each told as a story."""
from select import POLLIN

import pytest

from harness import assert_authored
from peers import ready, wait_for

CONFIG = """
routes: [ { to: app } ]
pools: { app: { endpoints: [ "$UPSTREAM" ], upstream: { max_idle: 0 } } }
"""


# ---- chaos --------------------------------------------------------------------------------------


@pytest.mark.parametrize("length,kept", [(60_000, True), (200_000, False)])
def test_an_error_says_whether_the_connection_outlives_the_unread_body(
    weir, upstream, length, kept
):
    """weir reads on for 64 KiB and then closes; it once let the client think otherwise, whose next
    request was lost without a word."""
    body = b"x" * length
    with weir.counts("upstream_closed"), weir.client() as c:
        c.send(f"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: {length}\r\n\r\n".encode())
        c.send(body[:1000])
        u = upstream.accept()
        u.head()
        u.recv_exact(1000)  # unread, they would make a reset of the close
        u.close()
        response = c.response()
        assert_authored(response, 502, "upstream_closed")
        assert response.get("Connection") == (None if kept else "close")
        if kept:
            c.send(body[1000:] + b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
            u = upstream.accept()
            u.request()
            u.answer()
            assert c.response().body == b"ok"


def two_tries(weir, failing, well, method, fail):
    """Two requests, of which one goes to the failing endpoint first: its response and log entry."""
    for _ in range(2):
        with weir.logged() as log, weir.client() as c:
            n = len(well.requests)
            c.send(f"{method} / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n")
            wait_for(lambda: ready(failing.sock, POLLIN, 0) or len(well.requests) > n, "an attempt")
            failed = len(well.requests) == n
            if failed:
                u = failing.accept()
                u.request()
                fail(u)
            response = c.response()
        if failed:
            return response, log[0]
    raise AssertionError("round robin never came to it")


TWO = """
timeouts: {{ response_head: 3s }}
routes: [ {{ to: app }} ]
pools: {{ app: {{ balance: round_robin, endpoints: [ "{}", "{}" ], upstream: {{ max_idle: 0 }} }} }}
"""


def die_within_the_head(u):
    u.send("HTTP/1.1 200 OK\r\nContent-Le")
    u.close()


def say_nothing(u):
    u.expect_ended()


@pytest.mark.parametrize(
    "fail,status,reason",
    [(die_within_the_head, 502, "upstream_closed"), (say_nothing, 504, "response_head_timeout")],
    ids=["dies within the head", "says nothing in time"],
)
def test_what_may_be_sent_again_is_not_lost(
    start_weir, new_upstream, auto, fail, status, reason
):
    """The client has seen nothing of an answer, and another endpoint would have given one."""
    failing, well = new_upstream(), auto()
    weir = start_weir(TWO.format(failing.address, well.address), workers=1)
    response, log = two_tries(weir, failing, well, "GET", fail)
    assert (response.status, response.body, log["reason"], log["attempts"]) == (200, b"ok", "", 2)
    assert log["trail"] == [f"{reason} {failing.address}"]
    response, log = two_tries(weir, failing, well, "POST", fail)
    assert_authored(response, status, reason)
    assert log["attempts"] == 1


def test_a_silent_endpoint_is_not_asked_again_on_a_fresh_connection(start_weir, new_upstream):
    """It took the request on a connection that had served before, which says that the endpoint is
    slow and not that the connection was stale."""
    up = new_upstream()
    weir = start_weir(
        f"timeouts: {{ response_head: 3s }}\nroutes: [ {{ to: app }} ]\n"
        f"pools: {{ app: [ '{up.address}' ] }}\n",
        workers=1,
    )
    with weir.client() as c:
        c.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        u = up.accept()
        u.request()
        u.answer()
        assert c.response().status == 200
        c.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        u.request()
        assert_authored(c.response(), 504, "response_head_timeout")
    up.assert_untouched()


def test_a_cut_answer_takes_none_before_it_away(weir, upstream):
    """Closing with unread bytes resets, and a reset throws away what the client has not got yet:
    of the whole answer before, to a client that pipelines."""
    whole, unread = b"a" * 30_000, b"x" * 100_000
    with weir.counts("response_incomplete"), weir.client(rcvbuf=4096) as c:
        c.send("GET /whole HTTP/1.1\r\nHost: a\r\n\r\nGET /cut HTTP/1.1\r\nHost: a\r\n\r\n")
        c.send(f"PUT /later HTTP/1.1\r\nHost: a\r\nContent-Length: {len(unread)}\r\n\r\n")
        c.send_some(unread)
        u = upstream.accept()
        assert u.request().target == "/whole"
        u.answer(whole)
        u = upstream.accept()
        assert u.request().target == "/cut"
        with weir.logged() as log:
            u.send("HTTP/1.1 200 OK\r\nContent-Length: 13\r\n\r\nHe")
            u.close()
        assert log[0]["reason"] == "response_incomplete"
        weir.wait_quiet()  # all it has to say to the client is with the kernel
        assert c.response().body == whole
        assert c.expect_ended().endswith(b"\r\n\r\nHe")
    upstream.assert_untouched()


# ---- fuzzing ------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [65_536, 69_000, 100_000])
def test_more_of_a_head_that_was_refused_is_thrown_away(start_weir, size):
    """The parser once moved a head to a larger block that it had given away with the 431: one
    client with a long field ended the process."""
    weir = start_weir("routes: [ { to: app } ]\npools: { app: [ '127.0.0.1:1' ] }\n")
    with weir.client() as c:
        c.send("GET / HTTP/1.1\r\nHost: a\r\nX: " + "a" * size)
        assert_authored(c.response(), 431, "head_too_large")
        c.send("b" * 20_000)
        c.half_close()
        c.expect_closed()
    with weir.client() as c:
        c.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        assert_authored(c.response(), 502, "connect_refused")
