# SPDX-License-Identifier: Apache-2.0
"""The order in which things happen between client and upstream: streaming, Expect, early answers,
aborts."""
import pytest

import wire
from harness import assert_authored
from matrix import Matrix

MATRIX = Matrix()


def post(length=None, fields="", path="/"):
    framing = "Transfer-Encoding: chunked" if length is None else f"Content-Length: {length}"
    return f"POST {path} HTTP/1.1\r\nHost: a\r\n{framing}\r\n{fields}\r\n"


def test_a_requests_body_is_streamed_as_it_comes(weir, upstream):
    with weir.client() as c:
        c.send(post(6))
        u = upstream.accept()
        assert u.head().get("Content-Length") == "6"
        for part in (b"ab", b"cd", b"ef"):
            c.send(part)
            u.expect(part)
        u.answer()
        assert c.response().body == b"ok"


def test_a_responses_body_is_streamed_as_it_comes(weir, upstream):
    with weir.client() as c:
        c.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        u = upstream.accept()
        u.request()
        u.send("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\n")
        c.expect("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n{date}\r\n\r\n")
        for part in (b"ab", b"cd"):
            u.send(part)
            c.expect(part)


def test_each_chunk_of_a_response_is_passed_on_as_it_comes(weir, upstream):
    with weir.client() as c:
        c.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        u = upstream.accept()
        u.request()
        u.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        c.expect("HTTP/1.1 200 OK\r\n{date}\r\nTransfer-Encoding: chunked\r\n\r\n")
        u.send("2\r\nab\r\n")
        c.expect("2\r\nab\r\n")
        u.send("0\r\n\r\n")
        c.expect("0\r\n\r\n")


@pytest.mark.h1_client("an HTTP/2 client's requests do not wait for each other")
def test_a_pipelined_request_waits_for_the_slow_one_before_it(weir, upstream):
    with weir.client() as c:
        c.send("GET /slow HTTP/1.1\r\nHost: a\r\n\r\nGET /fast HTTP/1.1\r\nHost: a\r\n\r\n")
        first = upstream.accept()
        assert first.request().target == "/slow"
        weir.wait_metric("weir_requests_in_flight", 1)
        assert c.poll() == b""
        upstream.assert_untouched()
        first.answer("slow")
        assert c.response().body == b"slow"
        second = upstream.accept()
        assert second.request().target == "/fast"
        second.answer("fast")
        assert c.response().body == b"fast"


def test_responses_come_in_the_order_of_the_requests_through_errors_too(weir, upstream):
    with weir.counts("unknown_method"), weir.client() as c:
        c.send("GET /1 HTTP/1.1\r\nHost: a\r\n\r\nFROB /2 HTTP/1.1\r\nHost: a\r\n\r\n")
        u = upstream.accept()
        u.request()
        assert c.poll() == b""
        u.answer("one")
        assert c.response().body == b"one"
        response = c.response()
        assert response.status == 501
        c.expect_last(response)


def test_100_continue_is_asked_of_the_upstream_and_its_answer_passed_on(weir, upstream):
    with weir.client() as c:
        c.send(post(5, "Expect: 100-continue\r\n"))
        u = upstream.accept()
        u.expect(
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nExpect: 100-continue\r\n{fwd:a}\r\n\r\n"
        )
        u.send("HTTP/1.1 100 Continue\r\n\r\n")
        assert c.interim().status == 100
        c.send("hello")
        u.expect("hello")
        u.answer()
        assert c.response().body == b"ok"


def test_a_client_that_does_not_wait_for_100_is_served_too(weir, upstream):
    with weir.client() as c:
        c.send(post(5, "Expect: 100-continue\r\n") + "hello")
        u = upstream.accept()
        assert u.request().body == b"hello"
        u.send("HTTP/1.1 100 Continue\r\n\r\n")
        u.answer()
        response = c.response()
        assert response.body == b"ok" and [i.status for i in response.interim] in ([], [100])


def test_a_final_answer_instead_of_100_is_passed_on_and_no_body_is_asked_for(weir, upstream):
    with weir.client() as c:
        c.send(post(5, "Expect: 100-continue\r\n"))
        u = upstream.accept()
        u.head()
        u.answer("no", "417 Expectation Failed")
        response = c.response()
        assert response.status == 417 and response.interim == []
        assert u.expect_ended() == b""  # half a request was sent on it: it can't be used again


def test_103_is_passed_on_at_once(weir, upstream):
    with weir.client() as c:
        c.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        u = upstream.accept()
        u.request()
        u.send("HTTP/1.1 103 Early Hints\r\nLink: </a.css>\r\n\r\n")
        wire.assert_bytes("HTTP/1.1 103 Early Hints\r\nLink: </a.css>\r\n\r\n", c.interim().head)
        u.answer()
        assert c.response().status == 200


def test_a_response_before_the_requests_end_is_passed_on_at_once(weir, upstream):
    with weir.client() as c:
        c.send(post(10) + "12345")
        u = upstream.accept()
        u.head()
        u.expect("12345")
        u.answer("too big", "413 Content Too Large")
        response = c.response()
        assert (response.status, response.body) == (413, b"too big")


def test_after_an_early_response_the_connection_is_in_step_or_closed(weir, upstream):
    with weir.client() as c:
        c.send(post(5))
        early = upstream.accept()
        early.head()
        early.answer("early")
        response = c.response()
        assert response.body == b"early"
        if response.get("Connection") == "close":
            c.expect_closed()
            return
        c.send("hello" + "GET /next HTTP/1.1\r\nHost: a\r\n\r\n")
        u = upstream.accept()
        assert u.request().target == "/next"
        u.answer("next")
        assert c.response().body == b"next"


TOO_BIG = (
    "HTTP/1.1 413 Content Too Large\r\nContent-Length: 7\r\n{date}\r\n%s\r\ntoo big"
)


@pytest.mark.h1_client("an HTTP/2 conn goes on")
@pytest.mark.parametrize("sent", ["", "5\r\nhello\r\n", "5\r\nhello\r\n0\r\n"])
def test_an_error_inside_a_chunked_upload_says_that_the_connection_ends(weir, upstream, sent):
    with weir.client() as c:
        c.send(post() + sent)
        u = upstream.accept()
        u.head()
        u.answer("too big", "413 Content Too Large")
        c.expect(TOO_BIG % "Connection: close\r\n")
        # What was on the way meanwhile takes nothing of the answer away, and nobody obeys it.
        c.send("5\r\nworld\r\n0\r\n\r\nGET /next HTTP/1.1\r\nHost: a\r\n\r\n")
        c.expect_closed()
    upstream.assert_untouched()


def test_an_error_behind_a_whole_chunked_upload_keeps_the_connection(weir, upstream):
    with weir.client() as c:
        c.send(post() + "5\r\nhello\r\n0\r\n\r\n")
        u = upstream.accept()
        u.request()
        u.answer("too big", "413 Content Too Large")
        c.expect(TOO_BIG % "")
        c.send("GET /next HTTP/1.1\r\nHost: a\r\n\r\n")
        u = upstream.accept()
        assert u.request().target == "/next"
        u.answer()
        assert c.response().status == 200


@pytest.mark.parametrize("how", ["close", "reset"])
def test_a_client_that_leaves_before_the_response_ends_the_upstreams_request(weir, upstream, how):
    with weir.logged() as log, weir.counts("client_closed" if how == "close" else "client_reset"):
        c = weir.client()
        c.send("GET /left HTTP/1.1\r\nHost: a\r\n\r\n")
        u = upstream.accept()
        u.request()
        getattr(c, how)()
        assert u.expect_ended() == b""
    assert log[0]["status"] == 499 and log[0]["path"] == "/left"
    assert log[0]["reason"] == ("client_closed" if how == "close" else "client_reset")


def test_a_client_that_leaves_inside_the_response_ends_the_upstreams_response(weir, upstream):
    with weir.logged() as log:
        c = weir.client()
        c.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        u = upstream.accept()
        u.request()
        u.send("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc")
        c.recv_until(b"abc")
        c.reset()
        assert u.expect_ended() == b""
    assert log[0]["status"] == 200 and log[0]["reason"] in ("client_closed", "client_reset")


def test_a_client_that_leaves_inside_its_body_leaves_no_whole_request_behind(weir, upstream):
    with weir.logged() as log:
        c = weir.client()
        c.send(post() + "3\r\nabc\r\n")
        u = upstream.accept()
        u.head()
        u.expect("3\r\nabc\r\n")
        c.close()
        assert u.expect_ended() == b""
    assert log[0]["status"] == 499


def test_an_upstream_reset_inside_the_body_cuts_the_clients_stream(weir, upstream):
    with weir.counts("upstream_reset"), weir.logged() as log, weir.client() as c:
        c.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        u = upstream.accept()
        u.request()
        u.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n")
        c.recv_until(b"3\r\nabc\r\n")
        u.reset()
        assert c.expect_ended() == b""
    assert (log[0]["status"], log[0]["reason"]) == (200, "upstream_reset")


@pytest.mark.h1_upstream("HTTP/2 has no chunks")
@pytest.mark.parametrize(
    "bytes_",
    ["zz\r\n", "3\r\nabcX", "3\nabc\r\n", "0\r\nX(: 1\r\n\r\n", "0\r\n\n"],
    ids=["size", "end", "LF", "trailer", "terminator"],
)
def test_a_bad_chunk_inside_an_answer_cuts_the_clients_stream(weir, upstream, bytes_):
    with weir.counts("bad_response"), weir.client() as c:
        c.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        u = upstream.accept()
        u.request()
        u.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n")
        c.recv_until(b"2\r\nok\r\n")
        u.send(bytes_)
        assert b"0\r\n\r\n" not in c.expect_ended()
        u.expect_ended()


@pytest.mark.h1_client("an HTTP/2 stream has no HTTP/1.0")
def test_an_http_1_0_clients_stream_of_unknown_length_is_cut_with_a_reset(weir, upstream):
    """Close is how such a body ends, so that only a reset tells that it did not."""
    with weir.client() as c:
        c.send("GET / HTTP/1.0\r\nHost: a\r\n\r\n")
        u = upstream.accept()
        u.request()
        u.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n")
        c.recv_until(b"abc")
        u.close()
        c.expect_reset()


@pytest.mark.h1_client("an HTTP/2 client's requests do not wait for each other")
def test_two_hundred_pipelined_requests_are_answered_in_order(start_weir, auto):
    echo = auto(
        lambda r: b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b"
        % (len(r.target), r.target.encode())
    )
    own = start_weir(f"routes: [ {{ to: app }} ]\npools: {{ app: [ '{echo.address}' ] }}")
    with own.client() as c:
        c.send("".join(f"GET /{i} HTTP/1.1\r\nHost: a\r\n\r\n" for i in range(200)))
        assert [c.response().body.decode() for _ in range(200)] == [f"/{i}" for i in range(200)]


def test_many_clients_at_once_each_get_their_own_answer(auto, start_weir):
    echo = auto(
        lambda r: b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b"
        % (len(r.target), r.target.encode())
    )
    own = start_weir(f"routes: [ {{ to: app }} ]\npools: {{ app: [ '{echo.address}' ] }}")
    clients = [own.client() for _ in range(60)]
    for turn in range(5):
        for i, c in enumerate(clients):
            c.send(f"GET /{i}/{turn} HTTP/1.1\r\nHost: a\r\n\r\n")
        for i, c in enumerate(clients):
            assert c.response().body.decode() == f"/{i}/{turn}"
    for c in clients:
        c.close()
    own.wait_metric("weir_client_connections", 0)
    own.wait_metric("weir_requests_total", 300, status="2xx")


def test_an_upstream_that_never_stops_saying_1xx_is_a_bad_response(weir, upstream):
    with weir.counts("bad_response"), weir.client() as c:
        c.send("GET /app HTTP/1.1\r\nHost: a\r\n\r\n")
        u = upstream.accept()
        u.request()
        u.send("HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n" * 33)
        u.expect_ended()
        assert_authored(c.response(), 502, "bad_response")
