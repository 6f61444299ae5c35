# SPDX-License-Identifier: Apache-2.0
"""What is cheap to send and dear to answer: each flood ends its conn with ENHANCE_YOUR_CALM, is
counted by its reason, costs bounded memory, and hurts nobody else."""
import pytest

import h2peer
import h2wire as w
import harness
from h2wire import Code, Setting
from peers import DEADLINE, SLOW, deadline, ready

GET = w.block(w.request_fields())
POST = w.block(w.request_fields("POST"))
MOST = 200_000  # of frames: no flood has to be longer


def rapid_reset(i):
    return w.headers(2 * i + 1, GET) + w.rst_stream(2 * i + 1)


def unanswered(i):
    """Made to be reset by weir: a stream that begins and breaks a rule."""
    return w.headers(2 * i + 1, GET[:-3] + b"", False)


FLOODS = {
    "h2_reset_flood": rapid_reset,
    "h2_settings_flood": lambda i: w.settings({Setting.HEADER_TABLE_SIZE: i % 4096}),
    "h2_ping_flood": lambda i: w.ping(i.to_bytes(8, "big")),
    "h2_empty_data_flood": lambda i: (w.headers(1, POST, False) if i == 0 else b"") + w.data(1),
    "h2_priority_flood": lambda i: w.priority(2 * i + 1),
    "h2_window_flood": lambda i: (w.headers(1, POST, False) if i == 0 else b"")
    + w.window_update(1, 1),
    "h2_continuation_flood": lambda i: (
        w.headers(1, GET, flags=w.END_STREAM) if i == 0 else w.continuation(1, b"", False)
    ),
}


def flood(c, frames):
    """Sends frames until weir ends the conn: how many. What weir writes is not read before that, as
    an attacker would."""
    for at in range(0, MOST, 50):
        part = b"".join(frames(i) for i in range(at, at + 50))
        until = deadline(DEADLINE)
        while part:
            try:
                part = part[c.peer.sock.send(part) :]
            except BlockingIOError:
                assert ready(c.peer.sock, 5, until - deadline(0)), "weir neither reads nor ends it"
                c.peer.poll()
            except (BrokenPipeError, ConnectionResetError):
                return at
        c.peer.poll()
        if c.peer.eof:
            return at
    raise AssertionError(f"{MOST} frames, and weir bears it")


def a_neighbour_is_served(other, upstream):
    s = other.request(path="/neighbour")
    while True:
        u = upstream.accept()
        request = u.poll() or u.recv_until(b"\r\n\r\n")
        if b"/neighbour" in request:
            break
    u.answer()
    assert other.response(s).body == b"ok"


@pytest.mark.parametrize("reason", FLOODS)
def test_a_flood_ends_the_conn_that_it_comes_from(weir, upstream, reason):
    other = h2peer.client(weir).hello()
    before = weir.rss()
    on_a_stream = [reason] if FLOODS[reason](0).startswith(w.headers(1, POST, False)) else []
    with weir.counts(reason, *on_a_stream):  # of the conn, and of the request that it ends
        c = h2peer.client(weir).hello()
        for s in range(1, 2 * MOST, 2):  # whatever comes about them is no surprise
            if s > 5000:
                break
            c.streams[s] = c._new_stream(s)
        flood(c, FLOODS[reason])
        goaways = [f for f in frames_of(c) if f.type == w.Type.GOAWAY]
        assert goaways and goaways[-1].number(4) == Code.ENHANCE_YOUR_CALM, goaways
        c.close()
    assert harness.sanitizer() or weir.rss() - before < 4096
    a_neighbour_is_served(other, upstream)
    other.close()


def frames_of(c):
    """Every frame that came, as far as the end did not cut it off."""
    data, out = c.peer.unread, []
    while got := w.parse(data):
        out.append(got[0])
        data = data[got[1] :]
    return out


def test_rapid_resets_up_to_the_burst_are_borne(weir, upstream):
    """200 a second and bursts of 1000 are what a browser may do."""
    with h2peer.client(weir).hello() as c:
        for i in range(500):
            c.streams[2 * i + 1] = c._new_stream(2 * i + 1)
            c.peer.send(rapid_reset(i))
        c.next = 1001
        c.barrier()
        weir.wait_metric("weir_requests_in_flight", 0)
        upstream.forget()
        a_neighbour_is_served(c, upstream)


def test_a_header_list_a_little_too_large_is_answered_431(weir, upstream):
    with weir.counts("head_too_large"), h2peer.client(weir).hello() as c:
        assert c.get("/", more=[("x-a", "v" * 40000)]).status == 431
        a_neighbour_is_served(c, upstream)


def test_an_hpack_bomb_ends_the_conn(weir, upstream):
    """One field of 4 KB in the table, and a byte for each time it is named."""
    before = weir.rss()
    with weir.counts("h2_hpack_bomb"), h2peer.client(weir).hello() as c:
        c.streams[1] = c._new_stream(1)
        entry = b"\x40" + w.number(6, 7) + b"x-bomb" + w.number(4000, 7) + b"b" * 4000
        c.peer.send(w.headers(1, GET + entry + b"\xbe" * 12000))
        c.expect_goaway(Code.ENHANCE_YOUR_CALM)
    assert harness.sanitizer() or weir.rss() - before < 2048
    upstream.assert_untouched()


def test_a_header_block_without_an_end_is_bounded(weir, upstream):
    before = weir.rss()
    with weir.counts("h2_continuation_flood"), h2peer.client(weir).hello() as c:
        filler = w.literal("x-filler", "f" * 16000)
        c.peer.send(w.headers(1, GET, flags=w.END_STREAM))
        flood(c, lambda i: w.continuation(1, filler, False))
        goaways = [f for f in frames_of(c) if f.type == w.Type.GOAWAY]
        assert not goaways or goaways[-1].number(4) == Code.ENHANCE_YOUR_CALM
    assert harness.sanitizer() or weir.rss() - before < 2048
    upstream.assert_untouched()


def test_a_response_that_gets_no_window_is_given_up(start_weir, new_upstream):
    up = new_upstream()
    own = start_weir(
        "timeouts: { write_stall: 500ms }\n"
        f"routes: [ {{ to: app }} ]\npools: {{ app: [ '{up.address}' ] }}"
    )
    values = {Setting.INITIAL_WINDOW_SIZE: 0}
    with h2peer.client(own, values=values).hello() as c:
        s = c.request()
        u = up.accept()
        u.request()
        u.answer(b"x" * 100000)
        assert c.head(s).status == 200
        c.until(c.streams[s].over, "the stream's end")
        assert c.streams[s].code in (Code.CANCEL, Code.ENHANCE_YOUR_CALM, Code.INTERNAL_ERROR)
        own.wait_metric("weir_requests_in_flight", 0)
        c.barrier()


def test_streams_that_nobody_reads_hold_bounded_memory(weir, upstream):
    """A hundred responses, no window: what waits in weir is bounded for each."""
    before = weir.rss()
    with h2peer.client(weir, values={Setting.INITIAL_WINDOW_SIZE: 0}).hello() as c:
        streams = []
        for i in range(100):
            s = c.request(path=f"/{i}")
            u = upstream.accept()
            u.request()
            u.send("HTTP/1.1 200 OK\r\nContent-Length: 10000000\r\n\r\n")
            u.send_some(bytes(1 << 20))
            streams.append(s)
        for s in streams:
            assert c.head(s).status == 200
        weir.wait_quiet()
        assert harness.sanitizer() or weir.rss() - before < 100 * 160


def test_the_answers_to_pings_that_nobody_reads_are_bounded(weir):
    before = weir.rss()
    with h2peer.client(weir).hello() as c:
        sent = 0
        try:
            while sent < 8 << 20 and ready(c.peer.sock, 4, 0.5 * SLOW):
                sent += c.peer.send_some(w.ping() * 500)
        except (BrokenPipeError, ConnectionResetError):
            pass
        assert sent < 8 << 20
        assert harness.sanitizer() or weir.rss() - before < 2048
