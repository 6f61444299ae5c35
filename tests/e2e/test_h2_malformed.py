# SPDX-License-Identifier: Apache-2.0
"""What RFC 9113 forbids ends the stream or the conn, with the right code, and is counted; nothing
of it reaches an upstream."""
import select

import pytest

import h2peer
import h2wire
import peers
import wire
from h2wire import Code, Setting
from peers import wait_for
from vectors.h2_malformed import CONN, EARLY, STREAM



def errors(weir):
    return weir.metric("weir_errors_total")


def a_request_works(c, upstream):
    s = c.request(path="/good")
    u = upstream.accept()
    assert u.request().target == "/good"
    u.answer()
    assert c.response(s).body == b"ok"


@pytest.mark.parametrize("case", STREAM, ids=str)
def test_a_malformed_message_is_an_error_of_its_stream(weir, upstream, case):
    before = errors(weir)
    with h2peer.client(weir).hello() as c:
        s = c.next
        c.next += 2
        c.streams[s] = c._new_stream(s)
        c.peer.send(case.send(s))
        c.expect_rst(s, case.code)
        assert c.streams[s].message is None
        wait_for(lambda: errors(weir) == before + 1, "the error to be counted, once")
        nothing_whole(weir, upstream)
        a_request_works(c, upstream)
        assert c.gone is None


def complete(data):
    return bool(wire.parse_request(data))


def nothing_whole(weir, upstream):
    """At most the beginning of a request came to the upstream: the body was what is malformed."""
    weir.wait_metric("weir_requests_in_flight", 0)
    while peers.ready(upstream.sock, select.POLLIN, 0):
        u = upstream.accept()
        assert not complete(u.expect_ended())


@pytest.mark.parametrize("case", CONN, ids=str)
def test_a_broken_rule_of_framing_ends_the_conn(weir, upstream, case):
    before = errors(weir)
    with h2peer.client(weir).hello() as c:
        for s in range(1, 9, 2):
            c.streams[s] = c._new_stream(s)
        c.peer.send(case.send(1))
        c.expect_goaway(case.code)
        assert not c.gone[2] or len(c.gone[2]) < 200
    wait_for(lambda: errors(weir) > before, "the error to be counted")


@pytest.mark.parametrize("case", EARLY, ids=str)
def test_a_conn_that_does_not_begin_as_it_has_to_is_ended(weir, upstream, case):
    before = errors(weir)
    with h2peer.client(weir, start=False) as c:
        c.peer.send(case.send)
        c.expect_goaway(case.code)
    wait_for(lambda: errors(weir) > before, "the error to be counted")
    upstream.assert_untouched()


@pytest.mark.parametrize("case", STREAM, ids=str)
def test_what_is_malformed_is_so_however_it_is_cut(weir, upstream, case):
    """A byte at a time, with a barrier through weir now and then."""
    with h2peer.client(weir).hello() as c:
        s = c.next
        c.streams[s] = c._new_stream(s)
        for i, byte in enumerate(case.send(s)):
            if c.streams[s].code is not None:
                break
            c.peer.send(bytes([byte]))
            if i % 8 == 0:
                weir.metric("weir_requests_in_flight")
                c.poll()
        c.expect_rst(s, case.code)


def test_a_preface_that_is_none_is_a_request_of_HTTP_1(weir, upstream):
    with weir.counts("bad_version"), weir.client() as c:
        c.send("PRI * HTTP/2.0\r\n\r\nXX\r\n\r\n")
        assert c.response().status == 505
        c.expect_ended()
    upstream.assert_untouched()


def test_a_priority_update_of_stream_0_ends_the_conn(weir):
    with h2peer.client(weir).hello() as c:
        c.peer.send(h2wire.priority_update(0, b"u=1"))
        c.expect_goaway(Code.PROTOCOL_ERROR)


def test_settings_that_take_a_window_beyond_its_limit_end_the_conn(weir, upstream):
    with h2peer.client(weir).hello() as c:
        s = c.request("POST", end=False)
        c.peer.send(
            h2wire.window_update(s, 0x7FFFFFFF - 65535)
            + h2wire.settings({Setting.INITIAL_WINDOW_SIZE: 65536})
        )
        c.until(lambda: c.gone or c.streams[s].code is not None, "an error")
        assert c.gone and c.gone[1] == Code.FLOW_CONTROL_ERROR


def test_settings_that_take_a_window_to_its_limit_are_obeyed(weir, upstream):
    with h2peer.client(weir).hello() as c:
        s = c.request("POST", end=False)
        c.peer.send(
            h2wire.window_update(s, 0x7FFFFFFF - 65536)
            + h2wire.settings({Setting.INITIAL_WINDOW_SIZE: 65536})
        )
        c.barrier()
        assert not c.gone and c.streams[s].code is None


def test_a_number_below_the_last_ends_the_conn(weir, upstream):
    with h2peer.client(weir).hello() as c:
        c.next = 5
        c.request("POST", end=False)
        c.peer.send(h2wire.headers(3, h2wire.block(h2wire.request_fields())))
        c.expect_goaway(Code.PROTOCOL_ERROR)


# ---- what has to be borne -----------------------------------------------------------------------


def test_what_is_unknown_is_ignored(weir, upstream):
    with h2peer.client(weir, values={0xF0F0: 7}).hello() as c:
        c.peer.send(h2wire.frame(0xBE, 0xFF, 0, b"greasy") + h2wire.frame(0xBE, 0xFF, 77, b""))
        c.barrier()
        a_request_works(c, upstream)


def test_fields_in_padded_frames_of_any_size_are_one_request(weir, upstream):
    block = h2wire.block(h2wire.request_fields("GET", "/padded", more=[("x-a", "b")]))
    with h2peer.client(weir).hello() as c:
        c.streams[1] = c._new_stream(1)
        flags = h2wire.END_STREAM | h2wire.PADDED | h2wire.PRIORITY
        payload = b"\x05" + b"\0\0\0\0\x0f" + block[:7] + bytes(5)
        c.peer.send(
            h2wire.frame(h2wire.Type.HEADERS, flags, 1, payload)
            + h2wire.continuation(1, block[7:20], False)
            + h2wire.continuation(1, b"", False)
            + h2wire.continuation(1, block[20:])
        )
        u = upstream.accept()
        u.expect_request("GET /padded HTTP/1.1\r\nHost: a\r\nx-a: b\r\n{fwd:a}\r\n\r\n")
        u.answer()
        assert c.response(1).status == 200


def test_frames_for_streams_that_are_over_are_ignored(weir, upstream):
    with h2peer.client(weir).hello() as c:
        s = c.request("POST", end=False)
        u = upstream.accept()
        u.head()
        c.reset(s)
        c.peer.send(h2wire.window_update(s, 1) + h2wire.priority(s) + h2wire.rst_stream(s))
        c.peer.send(h2wire.headers(s, h2wire.block([("x-trailer", "1")])))
        c.barrier()
        u.expect_ended()
        a_request_works(c, upstream)


def test_a_stream_above_the_bound_is_refused(weir, upstream):
    with h2peer.client(weir).hello() as c:
        most = c.theirs[Setting.MAX_CONCURRENT_STREAMS]
        assert most == 100
        streams = [c.request("POST", f"/{i}", end=False) for i in range(most)]
        c.barrier()
        one_more = c.request(path="/more")
        c.expect_rst(one_more, Code.REFUSED_STREAM)
        for s in streams:
            c.reset(s)
        c.barrier()
        weir.wait_metric("weir_requests_in_flight", 0)
        upstream.forget()
        a_request_works(c, upstream)
