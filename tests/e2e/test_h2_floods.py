# SPDX-License-Identifier: Apache-2.0
"""What is cheap to send and dear to answer: each flood ends its conn with ENHANCE_YOUR_CALM, is
counted by its reason, costs bounded memory and CPU time, and hurts nobody else."""
import pytest

import h2peer
import h2wire as w
from counting import costs
from h2wire import Code, Setting
from peers import DEADLINE, SLOW, deadline, ready

GET = w.block(w.request_fields())
POST = w.block(w.request_fields("POST"))
MOST = 200_000  # of frames: no flood has to be longer
CPU_PER_FRAME = 25e-6  # seconds of CPU time that each of many may cost: ten times what it does
CPU_PER_ANSWER = 1e-3  # of which 160 KiB are read: five times


def rapid_reset(i):
    return w.headers(2 * i + 1, GET) + w.rst_stream(2 * i + 1)


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
    """Sends frames until weir ends the conn: its GOAWAY, and how many there were. After each fifty weir has its turn, so that
    little is on the way when it closes, and no reset takes the GOAWAY away."""
    for at in range(0, MOST, 50):
        try:
            c.peer.send(b"".join(frames(i) for i in range(at, at + 50)) + barrier_behind(c))
        except (BrokenPipeError, ConnectionResetError):
            pass  # what came before is still to be read
        for frame in frames_until_answer(c):
            if frame.type == w.Type.GOAWAY:
                return frame, at + 50
        assert not c.peer.eof, "closed without GOAWAY"
    raise AssertionError(f"{MOST} frames, and weir bears it")


def barrier_behind(c):
    """A PING, where the frames before it leave room for one."""
    return b"" if c.inside_a_block else w.ping(b"barrier!")


def frames_until_answer(c):
    """The frames up to the barrier's answer, GOAWAY or the end."""
    until = deadline(DEADLINE)
    while True:
        got = w.parse(c.peer.unread)
        if got:
            c.peer.used += got[1]
            yield got[0]
            if got[0].type == w.Type.GOAWAY or got[0].payload == b"barrier!":
                return
        elif c.peer.eof or c.inside_a_block and c.peer.quiet_for(0.01):
            return
        else:
            try:
                c.peer._fill(until, "an answer to the barrier")
            except ConnectionResetError:
                c.peer.eof = True


def head_or_end(u):
    """A request's head, or what came of it until weir gave it up."""
    until = deadline(DEADLINE)
    try:
        while b"\r\n\r\n" not in u.received and not u.eof:
            u._fill(until, "a head, or the end")
    except ConnectionResetError:
        pass
    return bytes(u.received)


def a_neighbour_is_served(other, upstream):
    s = other.request(path="/neighbour")
    while b"/neighbour" not in head_or_end(u := upstream.accept()):
        pass  # of the flood's own
    u.answer()
    assert other.response(s).body == b"ok"


@pytest.mark.parametrize("reason", FLOODS)
def test_a_flood_ends_the_conn_that_it_comes_from(weir, upstream, reason):
    other = h2peer.client(weir).hello()
    on_a_stream = [reason] if FLOODS[reason](0).startswith(w.headers(1, POST, False)) else []
    # The reason is the conn's, and that of the request that it ends.
    with costs(weir, 4096) as cpu, weir.counts(reason, *on_a_stream):
        c = h2peer.client(weir).hello()
        c.inside_a_block = reason == "h2_continuation_flood"
        goaway, frames = flood(c, FLOODS[reason])
        assert goaway.number(4) == Code.ENHANCE_YOUR_CALM
        cpu.append(frames * CPU_PER_FRAME)
        c.close()
    a_neighbour_is_served(other, upstream)
    other.close()


def test_rapid_resets_up_to_the_burst_are_borne(weir, upstream):
    """1000 at once, and 200 a second for ever (tests/unit/test_h2_flood.c): a browser may do that."""
    with h2peer.client(weir).hello() as c:
        for i in range(1000):
            c.streams[2 * i + 1] = c._new_stream(2 * i + 1)
            c.peer.send(rapid_reset(i))
        c.next = 2001
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
    with costs(weir, 2048), weir.counts("h2_hpack_bomb"), h2peer.client(weir).hello() as c:
        c.streams[1] = c._new_stream(1)
        entry = b"\x40" + w.number(6, 7) + b"x-bomb" + w.number(4000, 7) + b"b" * 4000
        c.peer.send(w.headers(1, GET + entry + b"\xbe" * 12000))
        c.expect_goaway(Code.ENHANCE_YOUR_CALM)
    upstream.assert_untouched()


def test_a_header_block_without_an_end_is_bounded(weir, upstream):
    with costs(weir, 2048), weir.counts("h2_continuation_flood"), h2peer.client(weir).hello() as c:
        filler = w.literal("x-filler", "f" * 16000)
        c.peer.send(w.headers(1, GET, flags=w.END_STREAM))
        c.inside_a_block = True
        for _ in range(9):  # no honest head takes so many
            c.peer.send(w.continuation(1, filler, False))
        c.expect_goaway(Code.ENHANCE_YOUR_CALM)
    upstream.assert_untouched()


def test_a_response_that_gets_no_window_is_given_up(start_weir, new_upstream):
    """As one that nobody reads, which is what it is: the same clock, and the same reason."""
    up = new_upstream()
    own = start_weir(
        "timeouts: { write_stall: 500ms }\n"
        f"routes: [ {{ to: app }} ]\npools: {{ app: [ '{up.address}' ] }}"
    )
    values = {Setting.INITIAL_WINDOW_SIZE: 0}
    stall = own.counts("client_write_stall")
    with costs(own, 2048), stall, h2peer.client(own, values=values).hello() as c:
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
    values = {Setting.INITIAL_WINDOW_SIZE: 0}
    with costs(weir, 100 * 160) as cpu, h2peer.client(weir, values=values).hello() as c:
        cpu.append(100 * CPU_PER_ANSWER)
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


def test_the_answers_to_pings_that_nobody_reads_are_bounded(weir):
    with costs(weir, 2048) as cpu, h2peer.client(weir).hello() as c:
        sent = 0
        try:
            while sent < 8 << 20 and ready(c.peer.sock, 4, 0.5 * SLOW):
                sent += c.peer.send_some(w.ping() * 500)
        except (BrokenPipeError, ConnectionResetError):
            pass
        assert sent < 8 << 20
        cpu.append(sent / len(w.ping()) * CPU_PER_FRAME)
