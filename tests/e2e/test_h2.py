# SPDX-License-Identifier: Apache-2.0
"""HTTP/2 with clients, to an HTTP/1 upstream: what each message becomes, streams beside each other,
flow control from end to end, and how conns end."""
import signal

import pytest

import h2peer
import h2wire
import harness
import tools
import wire
from h2wire import Code, Setting
from peers import SilentEndpoint, wait_for

FIRST_WINDOW = 16384  # of a stream, until its body turns out to be large

@pytest.fixture
def c(weir):
    with h2peer.client(weir).hello() as client:
        yield client


def ask(c, upstream, **kw):
    """A request: (its stream, the upstream conn that it came to, the request)."""
    s = c.request(**kw)
    u = upstream.accept()
    return s, u, u.request()


# ---- messages -----------------------------------------------------------------------------------


def test_the_first_frames_say_what_is_offered(c):
    assert c.frames[0].type == h2wire.Type.SETTINGS
    assert c.theirs[Setting.MAX_CONCURRENT_STREAMS] == 100
    assert c.theirs[Setting.INITIAL_WINDOW_SIZE] == FIRST_WINDOW
    assert c.theirs[Setting.ENABLE_CONNECT_PROTOCOL] == 1
    assert c.theirs[Setting.NO_RFC7540_PRIORITIES] == 1
    c.barrier()
    assert c.window in (1 << 20, (1 << 20) - 1)


def test_a_request_and_its_response(weir, upstream, c):
    with weir.logged() as log:
        s = c.request(path="/a?b=c", more=[("x-a", "1"), ("user-agent", "me")])
        u = upstream.accept()
        u.expect_request(
            "GET /a?b=c HTTP/1.1\r\nHost: a\r\nx-a: 1\r\nuser-agent: me\r\n{fwd:a}\r\n\r\n"
        )
        u.send("HTTP/1.1 200 Fine\r\nX-B: 2\r\nConnection: x-c\r\nX-C: 3\r\nContent-Length: 2\r\n\r\nok")
        answer = c.response(s)
    assert answer.names() == [":status", "x-b", "content-length", "date"]
    assert (answer.status, answer.get("x-b"), answer.body) == (200, "2", b"ok")
    assert (log[0]["protocol"], log[0]["status"], log[0]["host"]) == ("HTTP/2.0", 200, "a")


def test_a_body_of_known_length(upstream, c):
    _, _, got = ask(c, upstream, method="POST", body=b"hello", more=[("content-length", "5")])
    assert got.framing == "length" and got.body == b"hello"


def test_a_body_of_unknown_length_is_chunked_and_streamed(upstream, c):
    s = c.request("POST", body=b"ab", end=False)
    u = upstream.accept()
    assert u.head().get("Transfer-Encoding") == "chunked"
    u.expect("2\r\nab\r\n")
    c.data(s, b"cde")
    u.expect("3\r\ncde\r\n")
    c.data(s, end=True)
    u.expect("0\r\n\r\n")
    u.answer()
    assert c.response(s).status == 200


def test_a_responses_body_is_streamed(upstream, c):
    s, u, _ = ask(c, upstream)
    u.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n")
    assert c.body(s, 2) == b"ab"
    u.send("1\r\nc\r\n")
    assert c.body(s, 3) == b"abc"
    u.send("0\r\n\r\n")
    answer = c.response(s)
    assert answer.trailers is None and "transfer-encoding" not in answer.names()


def test_trailers_pass_both_ways(upstream, c):
    s, u, got = ask(c, upstream, method="POST", body=b"x", trailers=[("x-sum", "1")])
    assert got.trailers == [(b"x-sum", b"1")]
    u.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\ny\r\n0\r\nX-Sum: 2\r\n\r\n")
    assert c.response(s).trailers == [(b"x-sum", b"2")]


def test_interim_responses_pass(upstream, c):
    s, u, _ = ask(c, upstream)
    u.send("HTTP/1.1 103 Early Hints\r\nLink: </a.css>\r\n\r\n")
    hints = c.interim(s)
    assert (hints.status, hints.get("link")) == (103, "</a.css>")
    u.answer()
    assert c.response(s).status == 200


def test_100_continue_is_the_upstreams(upstream, c):
    s = c.request("POST", more=[("expect", "100-continue"), ("content-length", "2")], end=False)
    u = upstream.accept()
    assert u.head().get("Expect") == "100-continue"
    u.send("HTTP/1.1 100 Continue\r\n\r\n")
    assert c.interim(s).status == 100
    c.data(s, b"ok", end=True)
    u.expect("ok")
    u.answer()
    assert c.response(s).status == 200


@pytest.mark.parametrize("crumbs", [["a=b"], ["a=b", "c=d"], ["a=b; c=d", "e=f", "g"]], ids=len)
def test_cookie_crumbs_are_joined(upstream, c, crumbs):
    _, _, got = ask(c, upstream, more=[("cookie", x) for x in crumbs])
    assert got.get("Cookie") == "; ".join(crumbs)


def test_te_trailers_is_hop_by_hop_for_http_1(upstream, c):
    _, _, got = ask(c, upstream, more=[("te", "trailers")])
    assert got.get("TE") is None


@pytest.mark.parametrize(
    "method,head",
    [
        ("HEAD", "200 OK\r\nContent-Length: 10"),
        ("GET", "204 No Content"),
        ("GET", "304 Not Modified\r\nContent-Length: 10"),
    ],
)
def test_responses_without_a_body_end_with_their_head(upstream, c, method, head):
    s, u, _ = ask(c, upstream, method=method)
    u.send(f"HTTP/1.1 {head}\r\n\r\n")
    answer = c.response(s)
    assert (answer.status, answer.body) == (int(head[:3]), b"")
    assert [f.type for f in c.frames if f.stream == s] == [h2wire.Type.HEADERS]


def test_the_path_is_normalised_as_for_http_1(upstream, c):
    _, _, got = ask(c, upstream, path="/a/../%7eb//%2fc")
    assert got.target == "/~b//%2Fc"


def test_host_stands_in_for_authority(upstream, c):
    fields = [f for f in h2wire.request_fields() if f[0] != b":authority"]
    c.open([*fields, ("host", "b.example")])
    assert upstream.accept().request().all("Host") == ["b.example"]


def test_asterisk_options(upstream, c):
    _, _, got = ask(c, upstream, method="OPTIONS", path="*")
    assert got.start == b"OPTIONS * HTTP/1.1"


def test_connect_is_not_allowed(weir, upstream, c):
    s = c.open([(":method", "CONNECT"), (":authority", "a:443")], end=False)
    assert c.head(s).status == 405
    upstream.assert_untouched()


def test_errors_of_weirs_own_are_responses(weir, upstream, c):
    with weir.counts("upstream_closed"):
        s, u, _ = ask(c, upstream, method="POST", body=b"x")
        u.close()
        answer = c.response(s)
    assert answer.status == 502
    assert answer.get("proxy-status").startswith("weir; error=connection_terminated")
    assert int(answer.get("content-length")) == len(answer.body) > 0
    assert answer.get("connection") is None
    c.barrier()


def test_a_path_and_fields_that_are_too_large(weir, upstream, c):
    with weir.counts("target_too_long"):
        assert c.get("/" + "x" * 20000).status == 414
    with weir.counts("head_too_large"):
        assert c.get("/", more=[(f"x-{i}", "y" * 4000) for i in range(9)]).status == 431
    upstream.assert_untouched()
    s, u, _ = ask(c, upstream)
    u.answer()
    assert c.response(s).status == 200


def test_huffman_and_the_dynamic_table_are_understood(upstream, weir):
    import hpack

    with h2peer.client(weir).hello() as c:
        encoder = hpack.Encoder()
        for s in (1, 3, 5):
            c.streams[s] = c._new_stream(s)
            fields = h2wire.request_fields(path="/same", more=[("x-long", "value" * 20)])
            c.peer.send(h2wire.headers(s, encoder.encode(fields)))
            u = upstream.accept()
            assert u.request().get("x-long") == "value" * 20
            u.answer()
            assert c.response(s).status == 200


@pytest.mark.parametrize("at", range(1, len(h2wire.PREFACE) + 9))
def test_the_preface_may_be_cut_anywhere(weir, upstream, at):
    with h2peer.client(weir, start=False) as c:
        hello = h2wire.PREFACE + h2wire.settings()
        c.peer.send(hello[:at])
        weir.metric("weir_requests_in_flight")  # a round trip
        c.peer.send(hello[at:])
        s, u, _ = ask(c.hello(), upstream)
        u.answer()
        assert c.response(s).body == b"ok"


# ---- streams beside each other ------------------------------------------------------------------


def test_streams_are_answered_in_the_upstreams_order(upstream, c):
    first = ask(c, upstream, path="/1")
    second = ask(c, upstream, path="/2")
    second[1].answer("two")
    assert c.response(second[0]).body == b"two"
    assert not c.streams[first[0]].over()
    first[1].answer("one")
    assert c.response(first[0]).body == b"one"


def test_a_hundred_streams_at_once(auto, start_weir):
    echo = auto(
        lambda r: b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b"
        % (len(r.target), r.target.encode())
    )
    own = start_weir(f"routes: [ {{ to: app }} ]\npools: {{ app: [ '{echo.address}' ] }}")
    with h2peer.client(own).hello() as c:
        for _ in range(3):
            streams = {c.request(path=f"/{i}"): f"/{i}".encode() for i in range(100)}
            for s, path in streams.items():
                assert c.response(s).body == path
    own.wait_metric("weir_client_connections", 0)
    own.wait_metric("weir_requests_total", 300, status="2xx")


def test_a_reset_stream_ends_the_upstreams_request_and_no_other(weir, upstream, c):
    with weir.logged(2) as log:
        left = ask(c, upstream, path="/left")
        stays = ask(c, upstream, path="/stays")
        c.reset(left[0])
        assert left[1].expect_ended() == b""
        stays[1].answer()
        assert c.response(stays[0]).body == b"ok"
    assert [(e["path"], e["status"]) for e in log] == [("/left", 499), ("/stays", 200)]


def test_a_response_that_is_cut_resets_its_stream(weir, upstream, c):
    with weir.counts("upstream_reset"):
        s, u, _ = ask(c, upstream)
        u.send("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc")
        assert c.body(s, 3) == b"abc"
        u.reset()
        c.expect_rst(s, Code.INTERNAL_ERROR)
    s, u, _ = ask(c, upstream)
    u.answer()
    assert c.response(s).status == 200


def test_an_early_answer_ends_the_stream_with_no_error(upstream, c):
    s = c.request("POST", body=b"x", end=False)
    u = upstream.accept()
    u.head()
    u.answer("too big", "413 Content Too Large")
    answer = c.response(s)
    assert (answer.status, answer.body) == (413, b"too big")
    c.until(lambda: c.streams[s].code is not None, "RST_STREAM(NO_ERROR)")
    assert c.streams[s].code == Code.NO_ERROR
    c.barrier()


# ---- flow control -------------------------------------------------------------------------------


def test_large_bodies_arrive_whole_both_ways(upstream, c):
    body = bytes(range(251)) * 4000
    s = c.request("POST", end=False)
    u = upstream.accept()
    u.head()
    import threading

    got = []
    reader = threading.Thread(target=lambda: got.append(u.recv_until(b"\r\n0\r\n\r\n")))
    reader.start()
    c.data(s, body, end=True)
    reader.join()
    chunks = wire.parse_chunked(got[0], 0)
    assert chunks[0] == body
    sender = threading.Thread(target=u.answer, args=(body,))
    sender.start()
    assert c.response(s).body == body
    sender.join()


def test_an_upstream_that_does_not_read_holds_one_stream_back_and_no_other(weir, upstream, c):
    before = weir.rss()
    stuck = c.request("POST", "/stuck", end=False)
    u = upstream.accept()
    u.head()
    sent = 0
    while part := c.spend(stuck, bytes(65536)):
        sent += part
        weir.wait_quiet()  # whoever can take them has
        c.poll()
    assert c.streams[stuck].window <= 0 < c.window and sent < 32 << 20
    assert harness.sanitizer() or weir.rss() - before < 2048
    s, other, _ = ask(c, upstream, path="/other")
    other.answer()
    assert c.response(s).body == b"ok"
    c.reset(stuck)


def test_a_hundred_bodies_that_nobody_takes_cost_two_mebibytes(start_weir, closing):
    silent = closing(SilentEndpoint())
    own = start_weir(
        "workers: 1\nroutes: [ { to: app } ]\npools:\n"
        f"  app: {{ endpoints: [ '{silent.address}' ], upstream: {{ connect: 1h }} }}"
    )
    with h2peer.client(own).hello() as c:
        c.barrier()
        before, sent = own.rss(), 0
        streams = [c.request("POST", end=False) for _ in range(100)]
        for s in streams * 3:  # the second time with what it got for having sent much
            while part := c.spend(s, bytes(65536)):
                sent += part
                c.barrier()
        assert sent == 100 * FIRST_WINDOW + 8 * (65536 - FIRST_WINDOW) < 2 << 20
        assert harness.sanitizer() or own.rss() - before < 4096
        for s in streams:
            c.reset(s)


def test_data_beyond_the_window_is_an_error(start_weir, closing):
    """Nobody takes the body, so that no credit can come in between."""
    silent = closing(SilentEndpoint())
    own = start_weir(
        "routes: [ { to: app } ]\npools:\n"
        f"  app: {{ endpoints: [ '{silent.address}' ], upstream: {{ connect: 1h }} }}"
    )
    with h2peer.client(own).hello() as c:
        s = c.request("POST", end=False)
        c.peer.send(h2wire.data(s, bytes(16384)) * 5)
        c.until(lambda: c.gone or c.streams[s].code is not None, "FLOW_CONTROL_ERROR")
        assert (c.gone and c.gone[1] or c.streams[s].code) == Code.FLOW_CONTROL_ERROR


def test_a_client_that_gives_no_credit_holds_one_stream_back_and_no_other(weir, upstream):
    with h2peer.client(weir, auto=False, window=1 << 20).hello() as c:
        s, u, _ = ask(c, upstream, path="/large")
        before = weir.rss()
        u.send("HTTP/1.1 200 OK\r\nContent-Length: 100000000\r\n\r\n")
        sent = u.send_until_blocked(bytes(1 << 20), 64 << 20)
        assert sent < 64 << 20
        assert len(c.body(s, 65535)) == 65535
        assert harness.sanitizer() or weir.rss() - before < 2048
        other, u2, _ = ask(c, upstream, path="/small")
        u2.answer()
        assert c.response(other).body == b"ok"
        assert len(c.streams[s].message.body) == 65535
        c.peer.send(h2wire.window_update(s, 1000))
        assert len(c.body(s, 66535)) == 66535
        c.peer.send(h2wire.settings({Setting.INITIAL_WINDOW_SIZE: 65535 + 500}))
        assert len(c.body(s, 67035)) == 67035


def test_no_byte_is_sent_beyond_the_conns_window(weir, upstream):
    with h2peer.client(weir, auto=False, values={Setting.INITIAL_WINDOW_SIZE: 1 << 20}).hello() as c:
        streams = [ask(c, upstream, path=f"/{i}") for i in range(3)]
        for _, u, _ in streams:
            u.answer(bytes(50000))
        heads = [c.head(s) for s, _, _ in streams]
        total = lambda: sum(len(h.body) for h in heads)  # noqa: E731
        c.until(lambda: total() >= 65535, "the whole window")
        c.barrier()
        assert total() == 65535
        c.peer.send(h2wire.window_update(0, 150000 - 65535))
        for s, _, _ in streams:
            assert c.response(s).body == bytes(50000)


# ---- priorities (RFC 9218) ----------------------------------------------------------------------


def contended(weir, upstream, priorities):
    """Responses of 40000 bytes on a stream for each priority, all of them waiting in weir for the
    conn's window: (client, streams)."""
    c = h2peer.client(weir, auto=False, values={Setting.INITIAL_WINDOW_SIZE: 1 << 20}).hello()
    # First one stream takes the conn's whole window.
    s, u, _ = ask(c, upstream, path="/fill")
    u.answer(bytes(65535))
    assert len(c.response(s).body) == 65535
    streams = []
    for value in priorities:
        more = [("priority", value)] if value else []
        s, u, _ = ask(c, upstream, path=f"/{value or 'none'}", more=more)
        u.answer(bytes(40000))
        c.head(s)
        streams.append(s)
    c.barrier()
    return c, streams


def order(c, streams, step=8000):
    """Gives the conn credit in steps: the streams whose DATA came, in order, repetitions joined."""
    seen = len(c.frames)
    for _ in range(40000 * len(streams) // step):
        c.peer.send(h2wire.window_update(0, step))
        c.barrier()
    for s in streams:
        c.response(s)
    came = [f.stream for f in c.frames[seen:] if f.type == h2wire.Type.DATA and f.payload]
    return [s for i, s in enumerate(came) if i == 0 or came[i - 1] != s]


def test_the_more_urgent_stream_goes_first(weir, upstream):
    c, (low, high, middle) = contended(weir, upstream, ["u=5", "u=1", ""])
    with c:
        assert order(c, [low, high, middle]) == [high, middle, low]


def test_equal_streams_go_one_after_the_other(weir, upstream):
    c, streams = contended(weir, upstream, ["", "u=3", ""])
    with c:
        assert order(c, streams) == streams


def test_incremental_streams_take_turns(weir, upstream):
    c, streams = contended(weir, upstream, ["i", "i"])
    with c:
        assert len(order(c, streams)) > 4


def test_a_priority_update_changes_the_order(weir, upstream):
    c, (first, second) = contended(weir, upstream, ["u=2", "u=4"])
    with c:
        c.peer.send(h2wire.priority_update(second, b"u=0"))
        assert order(c, [first, second]) == [second, first]


# ---- how conns end ------------------------------------------------------------------------------


def test_a_drain_says_goaway_twice_and_finishes_what_is_there(start_weir, new_upstream):
    up = new_upstream()
    own = start_weir(
        f"shutdown: 10s\nroutes: [ {{ to: app }} ]\npools: {{ app: [ '{up.address}' ] }}"
    )
    with h2peer.client(own).hello() as c:
        s, u, _ = ask(c, up)
        own.signal(signal.SIGTERM)
        c.until(lambda: c.gone, "the first GOAWAY")
        assert c.gone == (0x7FFFFFFF, Code.NO_ERROR, b"")
        c.until(lambda: len(c.goaways) == 2, "the second GOAWAY")
        assert c.gone[:2] == (s, Code.NO_ERROR)
        u.answer()
        assert c.response(s).body == b"ok"
        assert c.step() is None  # closed, not reset
    assert own.wait() == 0


def test_a_client_that_says_goaway_is_served_to_the_end(weir, upstream, c):
    s, u, _ = ask(c, upstream)
    c.peer.send(h2wire.goaway())
    c.barrier()
    u.answer()
    assert c.response(s).body == b"ok"
    c.expect_end()


def test_an_idle_conn_is_closed_with_goaway(start_weir, new_upstream):
    up = new_upstream()
    own = start_weir(
        "timeouts: { client_idle: 1s }\n"
        f"routes: [ {{ to: app }} ]\npools: {{ app: [ '{up.address}' ] }}"
    )
    with h2peer.client(own).hello() as c:
        s, u, _ = ask(c, up)
        u.answer()
        assert c.response(s).status == 200
        c.expect_goaway(Code.NO_ERROR, last=s)


def test_a_header_block_that_does_not_end_times_out(start_weir, new_upstream):
    up = new_upstream()
    own = start_weir(
        "timeouts: { request_head: 3s }\n"  # it counts from the accept to the first request
        f"routes: [ {{ to: app }} ]\npools: {{ app: [ '{up.address}' ] }}"
    )
    with own.counts("head_timeout"), h2peer.client(own).hello() as c:
        c.peer.send(h2wire.headers(1, b"", flags=h2wire.END_STREAM))
        c.expect_end()
    up.assert_untouched()


def test_a_body_that_stalls_is_answered_408_on_its_stream(start_weir, new_upstream):
    up = new_upstream()
    own = start_weir(
        "timeouts: { request_body: 300ms }\n"
        f"routes: [ {{ to: app }} ]\npools: {{ app: [ '{up.address}' ] }}"
    )
    with h2peer.client(own).hello() as c:
        with own.counts("body_timeout"):
            s = c.request("POST", body=b"x", end=False)
            assert c.head(s).status == 408
        c.barrier()


def test_an_end_inside_a_frame_or_a_stream_is_the_clients(weir, upstream):
    with weir.logged() as log:
        c = h2peer.client(weir).hello()
        _, u, _ = ask(c, upstream)
        c.peer.send(h2wire.data(1, b"xyz")[:10])
        c.close()
        assert u.expect_ended() == b""
    assert log[0]["status"] == 499
    wait_for(lambda: weir.metric("weir_client_connections") == 0, "the conn's end")


# ---- real clients -------------------------------------------------------------------------------


@tools.needs("curl")
def test_curl_with_prior_knowledge(weir, upstream, auto, start_weir):
    app = auto()
    own = start_weir(f"routes: [ {{ to: app }} ]\npools: {{ app: [ '{app.address}' ] }}")
    got = tools.curl(own.listeners["web"], "/x", "--http2-prior-knowledge", "-d", "y" * 70000)
    assert got == (b"ok", ["2", "200", "0", "1"])
    assert app.requests[0].body == b"y" * 70000


@tools.needs("nghttp")
def test_nghttp_with_trailers_and_continuation(auto, start_weir, tmp_path):
    app = auto()
    own = start_weir(f"routes: [ {{ to: app }} ]\npools: {{ app: [ '{app.address}' ] }}")
    (tmp_path / "data").write_bytes(b"d" * 1000)
    out = tools.run(
        *("nghttp", "-v", "--continuation", "--no-content-length", "--trailer", "x-t: 1", "-d", tmp_path / "data"),
        *("-m", "3", f"http://{own.listeners['web']}/n"),
    )
    assert out.count(b":status: 200") == 3 and b"GOAWAY" in out
    assert [r.trailers for r in app.requests] == [[(b"x-t", b"1")]] * 3


@tools.needs("h2load")
def test_h2load_gets_every_answer(auto, start_weir):
    app = auto()
    own = start_weir(f"routes: [ {{ to: app }} ]\npools: {{ app: [ '{app.address}' ] }}")
    out = tools.run("h2load", "-n", 2000, "-c", 8, "-m", 16, f"http://{own.listeners['web']}/l")
    assert b"2000 succeeded, 0 failed, 0 errored, 0 timeout" in out, out
    own.wait_metric("weir_requests_total", 2000, status="2xx")


def test_python_h2_is_content_with_every_frame(auto, start_weir):
    """Its state machine is strict about what a server may send."""
    import h2.config
    import h2.connection
    import h2.events

    import peers

    app = auto(body=bytes(100000))
    own = start_weir(f"routes: [ {{ to: app }} ]\npools: {{ app: [ '{app.address}' ] }}")
    with peers.Client(own.listeners["web"]) as peer:
        conn = h2.connection.H2Connection(h2.config.H2Configuration(client_side=True))
        conn.initiate_connection()
        streams = []
        for i in range(10):
            streams.append(conn.get_next_available_stream_id())
            conn.send_headers(streams[-1], h2wire.request_fields(path=f"/{i}"), end_stream=True)
        got, ended = dict.fromkeys(streams, 0), set()
        while len(ended) < len(streams):
            peer.send(conn.data_to_send())
            peer.wait_readable()
            had = len(peer.received)
            peer.poll()
            for e in conn.receive_data(bytes(peer.received[had:])):
                if isinstance(e, h2.events.DataReceived):
                    got[e.stream_id] += len(e.data)
                    conn.acknowledge_received_data(e.flow_controlled_length, e.stream_id)
                elif isinstance(e, h2.events.StreamEnded):
                    ended.add(e.stream_id)
        assert set(got.values()) == {100000}
