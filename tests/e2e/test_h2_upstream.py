# SPDX-License-Identifier: Apache-2.0
"""HTTP/2 to upstreams: what each message becomes, how many conns there are, and which requests are
sent again."""
import signal
import threading

import pytest

import h2peer
import h2wire
import harness
import tools
from h2peer import H2Server
from h2wire import Code, Setting
from peers import wait_for

GET = "GET / HTTP/1.1\r\nHost: a\r\n\r\n"


@pytest.fixture
def start(start_weir, new_upstream):
    """start(upstream={...}, head=...): (weir, its upstream)."""

    def run(more="", head="", policy=""):
        up = new_upstream()
        own = start_weir(
            f"{head}routes: [ {{ to: app {policy} }} ]\npools:\n"
            f"  app: {{ endpoints: [ '{up.address}' ], upstream: {{ protocol: h2 {more} }} }}\n",
            workers=1,  # each has conns of its own, and these are about what shares one
        )
        return own, up

    return run


def ask(own, text=GET):
    c = own.client()
    c.send(text)
    return c


def test_what_nobody_may_index_is_not_indexed_behind_weir_either(start):
    """Its table is shared by all clients (RFC 7541 section 7.1.3)."""
    own, up = start()
    line = h2wire.block(h2wire.request_fields("POST")[:3]) + h2wire.literal(":path", "/", never=True)
    plain = h2wire.block(h2wire.pairs([("x-plain", "1"), ("cookie", "a=b")]))
    secret = [("x-secret", "abc"), ("authorization", "Basic abc"), ("cookie", "c=d")]
    secret = plain + b"".join(h2wire.literal(n, v, never=True) for n, v in secret)
    trailers = h2wire.literal("x-sum", "1", never=True)
    with h2peer.client(own).hello() as c:
        for s in (1, 3):
            c.streams[s] = c._new_stream(s)
            c.peer.send(h2wire.headers(s, line + secret, False) + h2wire.headers(s, trailers))
        c.barrier()
        u = H2Server(up.accept())
        for s in (1, 3):
            u.decoder.never.clear()
            n, got = u.accept()
            assert got.trailers == [(b"x-sum", b"1")] and got.get("cookie") == "a=b; c=d"
            marked = {b":path", b"x-secret", b"authorization", b"cookie", b"x-sum"}
            marked |= {b":authority", b"x-forwarded-host"}
            assert marked <= set(u.decoder.never) and b"x-plain" not in u.decoder.never
            u.peer.send(h2wire.headers(n, h2wire.block([(":status", "200")]) + secret, False))
            u.peer.send(h2wire.headers(n, trailers))
            assert c.response(s).trailers == [(b"x-sum", b"1")]
            assert {b"x-secret", b"cookie", b"x-sum"} <= set(c.decoder.never)
            assert b":status" not in c.decoder.never and b"x-plain" not in c.decoder.never


def test_a_request_and_its_response(start):
    own, up = start()
    c = ask(
        own,
        "POST /a?b HTTP/1.1\r\nHost: A.example:80\r\nX-Upper: Value\r\nConnection: x-hop\r\n"
        "X-Hop: 1\r\nTE: gzip\r\nKeep-Alive: 5\r\nCookie: a=b\r\nContent-Length: 2\r\n\r\nhi",
    )
    u = H2Server(up.accept())
    n, got = u.accept()
    assert [f for f in got.fields if not f[0].startswith((b"x-forwarded", b"x-request-id"))] == [
        (b":method", b"POST"),
        (b":scheme", b"http"),
        (b":authority", b"A.example:80"),
        (b":path", b"/a?b"),
        (b"x-upper", b"Value"),
        (b"cookie", b"a=b"),
        (b"content-length", b"2"),
    ]
    assert got.body == b"hi"
    assert u.theirs[Setting.ENABLE_PUSH] == 0
    u.respond(n, 201, b"made", [("x-a", "1"), ("content-length", "4")])
    c.expect("HTTP/1.1 201 Created\r\nx-a: 1\r\ncontent-length: 4\r\n{date}\r\n\r\nmade")


def test_chunks_and_trailers_pass_both_ways(start):
    own, up = start()
    c = ask(own, "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n")
    u = H2Server(up.accept())
    n, got = u.accept(end=False)
    assert u.body(n, 2) == b"ab" and got.get("transfer-encoding") is None
    c.send("0\r\nX-T: 1\r\n\r\n")
    assert u.ended(n).trailers == [(b"x-t", b"1")]
    u.respond(n, 200, b"cd", trailers=[("x-u", "2")])
    answer = c.response()
    assert (answer.framing, answer.body) == ("chunked", b"cd")
    assert [(a.lower(), b) for a, b in answer.trailers] == [(b"x-u", b"2")]


def test_interim_responses_pass(start):
    own, up = start()
    c = ask(own)
    u = H2Server(up.accept())
    n, _ = u.accept()
    u.headers(n, [(":status", "103"), ("link", "</a.css>")])
    assert c.interim().get("link") == "</a.css>"
    u.respond(n, 204)
    assert c.response().status == 204


def test_requests_share_a_conn(start):
    own, up = start()
    clients = [ask(own, f"GET /{i} HTTP/1.1\r\nHost: a\r\n\r\n") for i in range(20)]
    u = H2Server(up.accept())
    asked = dict(u.accept() for _ in range(20))
    up.assert_untouched()
    assert sorted(asked) == list(range(1, 41, 2))
    for n in sorted(asked, reverse=True):
        u.respond(n, 200, asked[n].get(":path").encode())
    for i, c in enumerate(clients):
        assert c.response().body == f"/{i}".encode()


def test_a_full_conn_gets_another_beside_it(start):
    own, up = start()
    c = ask(own)
    u = H2Server(up.accept(), {Setting.MAX_CONCURRENT_STREAMS: 2})
    n, _ = u.accept()
    u.until(lambda: u.acked, "the ACK of SETTINGS")
    others = [ask(own) for _ in range(2)]
    second, _ = u.accept()
    v = H2Server(up.accept(), {Setting.MAX_CONCURRENT_STREAMS: 2})
    third, _ = v.accept()
    for peer, stream in ((u, n), (u, second), (v, third)):
        peer.respond(stream, 200, b"ok")
    for client in [c, *others]:
        assert client.response().body == b"ok"


def test_more_than_the_upstream_takes_at_once_go_elsewhere_at_once(start):
    """Sent before its settings were known, one would be left to the mercy of the upstream, which
    may well say nothing of it."""
    own, up = start()
    clients = [ask(own, f"POST /{i} HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\nx") for i in range(4)]
    own.wait_metric("weir_requests_in_flight", 4)
    first = H2Server(up.accept(), {Setting.MAX_CONCURRENT_STREAMS: 1})
    conns = [first] + [up.accept() for _ in range(3)]  # before any of them has said a word
    servers = [first] + [H2Server(peer, {Setting.MAX_CONCURRENT_STREAMS: 1}) for peer in conns[1:]]
    got = {}
    for u in servers:
        n, message = u.accept()
        assert len(u.streams) == 1 and message.body == b"x"
        got[message.get(":path")] = (u, n)
    assert sorted(got) == ["/0", "/1", "/2", "/3"]
    for i, c in enumerate(clients):
        u, n = got[f"/{i}"]
        u.respond(n, 200, b"%d" % i)
        assert c.response().body == b"%d" % i


def serve_one(own, up):
    """A conn that has served a request."""
    c = ask(own)
    u = H2Server(up.accept())
    n, _ = u.accept()
    u.respond(n, 200, b"ok")
    assert c.response().body == b"ok"
    return u


@pytest.mark.parametrize("fresh", [False, True])
def test_a_refused_stream_is_sent_again_though_it_is_a_post(start, fresh):
    own, up = start()
    u = None if fresh else serve_one(own, up)
    c = ask(own, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nhi")
    u = u or H2Server(up.accept())
    n, _ = u.accept()
    u.reset(n, Code.REFUSED_STREAM)
    again, got = next_request(u, up)
    assert got.body == b"hi"
    again[0].respond(again[1], 200, b"ok")
    assert c.response().body == b"ok"


def next_request(u, up):
    """The next request, on this conn or on a new one: ((conn, stream), message)."""

    def there():
        u.poll()
        return [n for n in u.streams if n not in u.taken] or h2peer.peers.ready(up.sock, 1, 0)

    wait_for(there, "another try")
    if h2peer.peers.ready(up.sock, 1, 0):
        u = H2Server(up.accept())
    n, got = u.accept()
    return (u, n), got


@pytest.mark.parametrize("fresh", [False, True])
def test_what_goaway_leaves_out_is_sent_again_and_the_rest_goes_on(start, fresh):
    own, up = start()
    u = None if fresh else serve_one(own, up)
    first = ask(own, "GET /first HTTP/1.1\r\nHost: a\r\n\r\n")
    u = u or H2Server(up.accept())
    n, _ = u.accept()
    second = ask(own, "POST /second HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nhi")
    u.accept()
    u.peer.send(h2wire.goaway(n))
    v = H2Server(up.accept())
    m, got = v.accept()
    assert got.get(":path") == "/second" and got.body == b"hi"
    v.respond(m, 200, b"two")
    assert second.response().body == b"two"
    u.respond(n, 200, b"one")
    assert first.response().body == b"one"
    u.expect_end()  # idle now, and it may take nothing more
    third = ask(own)
    k, _ = v.accept()
    v.respond(k, 200, b"three")
    assert third.response().body == b"three"


@pytest.mark.parametrize("code", [Code.INTERNAL_ERROR, Code.CANCEL, Code.PROTOCOL_ERROR], ids=str)
def test_a_reset_before_the_response_is_502_for_what_may_not_be_repeated(start, code):
    own, up = start()
    with own.logged() as log:
        c = ask(own, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nhi")
        u = H2Server(up.accept())
        n, _ = u.accept()
        u.reset(n, code)
        assert c.response().status == 502
    assert log[0]["status"] == 502 and log[0]["reason"]
    c = ask(own)  # the conn is as good as before
    n, _ = u.accept()
    u.respond(n, 200, b"ok")
    assert c.response().body == b"ok"


def test_a_reset_inside_the_response_cuts_the_clients_stream(start):
    own, up = start()
    c = ask(own)
    u = H2Server(up.accept())
    n, _ = u.accept()
    u.headers(n, [(":status", "200")])
    u.data(n, b"abc")
    c.recv_until(b"3\r\nabc\r\n")
    u.reset(n, Code.INTERNAL_ERROR)
    assert b"0\r\n\r\n" not in c.expect_ended()


def test_reset_with_no_error_after_the_response_is_a_good_end(start):
    """An upstream that wants no more of the body."""
    own, up = start()
    c = ask(own, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nhi")
    u = H2Server(up.accept())
    n, _ = u.accept(end=False)
    u.respond(n, 413, b"enough", [("content-length", "6")])
    u.reset(n, Code.NO_ERROR)
    answer = c.response()
    assert (answer.status, answer.body) == (413, b"enough")


def test_a_client_that_leaves_cancels_its_stream_only(start):
    own, up = start()
    left = ask(own)
    u = H2Server(up.accept())
    a, _ = u.accept()
    stays = ask(own)
    b, _ = u.accept()
    left.close()
    u.until(lambda: u.streams[a].code is not None, "RST_STREAM")
    assert u.streams[a].code == Code.CANCEL
    u.respond(b, 200, b"ok")
    assert stays.response().body == b"ok"


BAD = {
    "no status": [("x-a", "b")],
    "two status": [(":status", "200"), (":status", "200")],
    "a status that is none": [(":status", "2x0")],
    "a status of two digits": [(":status", "99")],
    "101": [(":status", "101")],
    "a pseudo-field of requests": [(":status", "200"), (":path", "/")],
    "upper case": [(":status", "200"), ("X-A", "b")],
    "connection": [(":status", "200"), ("connection", "close")],
    "transfer-encoding": [(":status", "200"), ("transfer-encoding", "chunked")],
    "a CRLF": [(":status", "200"), ("x-a", "b\r\nx-c: d")],
    "a NUL": [(":status", "200"), ("x-a", "\0")],
    "a content-length that is none": [(":status", "200"), ("content-length", "x")],
    "two content-lengths": [
        (":status", "200"),
        ("content-length", "1"),
        ("content-length", "2"),
    ],
}


@pytest.mark.parametrize("name", BAD)
def test_a_malformed_response_is_502_and_resets_its_stream(start, name):
    own, up = start()
    with own.counts("bad_response"):
        c = ask(own)
        u = H2Server(up.accept())
        n, _ = u.accept()
        u.headers(n, BAD[name])
        assert c.response().status == 502
    u.until(lambda: u.streams[n].code is not None, "RST_STREAM")
    assert u.streams[n].code == Code.PROTOCOL_ERROR
    c = ask(own)
    n, _ = u.accept()
    u.respond(n, 200, b"ok")
    assert c.response().body == b"ok"


@pytest.mark.parametrize("length", [1, 5])
def test_a_body_of_another_length_than_said_is_cut(start, length):
    own, up = start()
    c = ask(own)
    u = H2Server(up.accept())
    n, _ = u.accept()
    u.respond(n, 200, b"abc", [("content-length", str(length))])
    got = c.expect_ended()
    assert len(got.partition(b"\r\n\r\n")[2]) < length or b" 502 " in got


def test_no_response_is_more_than_the_conns_end(start):
    own, up = start()
    clients = [ask(own, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n") for _ in range(3)]
    u = H2Server(up.accept())
    for _ in range(3):
        u.accept()
    u.close()
    for c in clients:
        assert c.response().status == 502


def test_an_upstream_that_speaks_http_1_is_502(start):
    own, up = start()
    c = ask(own)
    u = up.accept()
    u.recv_until(h2wire.PREFACE)
    u.send("HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")
    assert c.response().status == 502
    u.expect_ended()


# ---- flow control -------------------------------------------------------------------------------


def test_large_bodies_pass_small_windows(start):
    own, up = start()
    body = bytes(range(251)) * 4000
    c = own.client()
    sender = threading.Thread(
        target=c.send,
        args=(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body),),
    )
    sender.start()
    u = H2Server(up.accept(), {Setting.INITIAL_WINDOW_SIZE: 1000})
    n, got = u.accept()
    sender.join()
    assert got.body == body
    answer = threading.Thread(target=u.respond, args=(n, 200, body))
    answer.start()
    assert c.response().body == body
    answer.join()


def test_a_client_that_does_not_read_holds_its_stream_back_and_no_other(start):
    own, up = start()
    stuck = own.client(rcvbuf=4096)
    stuck.send(GET)
    u = H2Server(up.accept())
    n, _ = u.accept()
    before = own.rss()
    u.headers(n, [(":status", "200")])
    sent = 0
    while part := u.spend(n, bytes(65536)):
        sent += part
        own.wait_quiet()
        u.poll()
    assert u.streams[n].window <= 0 < u.window and sent < 32 << 20
    assert harness.sanitizer() or own.rss() - before < 2048
    c = ask(own)
    m, _ = u.accept()
    u.respond(m, 200, b"ok")
    assert c.response().body == b"ok"


def test_clients_that_take_nothing_leave_the_conns_window_to_others(start):
    own, up = start()
    stuck = h2peer.client(own, auto=False, values={Setting.INITIAL_WINDOW_SIZE: 0}).hello()
    for i in range(20):
        stuck.request(path=f"/{i}")
    u = H2Server(up.accept())
    taken = [u.accept()[0] for _ in range(20)]
    for n in taken:
        u.headers(n, [(":status", "200")])
    u.barrier()

    def full():
        u.poll()
        for n in taken:
            u.spend(n, bytes(65536))
        return all(u.streams[n].window <= 0 for n in taken)

    wait_for(full, "the windows of all streams to be used up")
    c = ask(own)
    m, _ = u.accept()
    u.respond(m, 200, b"ok")
    assert c.response().body == b"ok"
    up.assert_untouched()


def test_a_conn_without_window_takes_no_more_bodies(start):
    """The endpoint never gives the conn's window back. What has no body needs none; a conn for whose
    window somebody has waited in vain ends with its last stream."""
    own, up = start(head="timeouts: { write_stall: 3s }\n")  # the GET has to come before
    c = own.client()
    c.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 65536\r\n\r\n" + bytes(65536))
    u = H2Server(up.accept(), auto=False)
    n, _ = u.accept(end=False)
    assert len(u.body(n, 65535)) == 65535
    get = ask(own)
    u.accept()
    post = ask(own, "POST /other HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc")
    v = H2Server(up.accept())
    m, got = v.accept()
    assert got.body == b"abc"
    v.respond(m, 200, b"ok")
    assert post.response().body == b"ok"
    assert c.response().status == 504
    u.respond(n + 2, 200, b"still")
    assert get.response().body == b"still"
    u.expect_end()


def test_a_silent_conn_is_asked_once_in_a_while(start):
    own, up = start(", ping: 1s")
    c = ask(own)
    u = H2Server(up.accept())
    n, _ = u.accept()
    u.until(lambda: pings(u) == 1, "PING")
    u.respond(n, 200, b"ok")
    assert c.response().body == b"ok"
    assert pings(u) == 1


def served(own, up):
    """A conn that has served a request, and has nothing to say any more."""
    c = ask(own)
    u = H2Server(up.accept())
    n, _ = u.accept()
    u.respond(n, 200, b"ok")
    assert c.response().body == b"ok"
    u.barrier()
    return u


def test_an_endpoint_that_is_gone_is_noticed_when_a_request_times_out(start):
    """As one whose host is off: TCP would wait a quarter of an hour, and with it every request."""
    own, up = start(head="timeouts: { response_head: 3s }\n")  # in which the others are answered
    u = served(own, up)
    late = ask(own)  # from now on nobody reads what comes to u
    assert late.response().status == 504
    other = ask(own)  # and nobody else waits for it
    v = H2Server(up.accept())
    n, _ = v.accept()
    v.respond(n, 200, b"ok")
    assert other.response().body == b"ok"
    u.until(lambda: pings(u) == 1, "PING")


def test_an_endpoint_that_is_slow_keeps_its_conn(start):
    own, up = start(head="timeouts: { response_head: 3s }\n")  # in which the others are answered
    u = served(own, up)
    late = ask(own)
    u.accept()
    assert late.response().status == 504
    u.until(lambda: pings(u) == 1, "PING")
    u.barrier()
    c = ask(own)
    n, _ = u.accept()
    u.respond(n, 200, b"ok")
    assert c.response().body == b"ok"


def pings(u):
    return sum(f.type == h2wire.Type.PING and not f.flags & h2wire.ACK for f in u.frames)


def test_a_drain_does_not_wait_for_an_idle_conn_that_takes_no_requests(start):
    own, up = start(head="shutdown: 10m\n")
    c = ask(own)
    u = H2Server(up.accept())
    n, _ = u.accept()
    u.respond(n, 200, b"ok")
    c.response()
    c.close()
    u.peer.send(h2wire.settings({Setting.MAX_CONCURRENT_STREAMS: 0}))
    u.until(lambda: u.acked == 2, "the ACK of SETTINGS")
    own.signal(signal.SIGINT)
    u.expect_end()
    assert own.wait() == 0


def test_a_request_head_above_what_nghttp2_sends_is_431(start):
    own, up = start(head="listeners: { web: { bind: '127.0.0.1:0', forwarded: true } }\n")
    with own.logged() as log:
        c = ask(own, "GET / HTTP/1.1\r\nHost: " + "h" * 31000 + "\r\n\r\n")
        H2Server(up.accept())
        assert c.response().status == 431
    assert log[0]["reason"] == "head_too_large" and len(log[0]["trail"]) == 1


def test_an_upstream_that_gives_no_credit_holds_the_client_back(start):
    own, up = start()
    c = own.client()
    c.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100000000\r\n\r\n")
    u = H2Server(up.accept(), auto=False)
    n, _ = u.accept(end=False)
    before = own.rss()
    assert c.send_until_blocked(bytes(1 << 20), 64 << 20) < 64 << 20
    assert len(u.body(n, 65535)) == 65535
    assert harness.sanitizer() or own.rss() - before < 2048
    u.peer.send(h2wire.window_update(n, 10) + h2wire.window_update(0, 10))
    assert len(u.body(n, 65545)) == 65545


# ---- from HTTP/2 to HTTP/2 ----------------------------------------------------------------------


def test_http_2_on_both_sides(start):
    own, up = start()
    with h2peer.client(own).hello() as c:
        s = c.request("POST", "/both", more=[("te", "trailers")], body=b"x", trailers=[("x-t", "1")])
        u = H2Server(up.accept())
        n, got = u.accept()
        assert got.get("te") == "trailers" and got.trailers == [(b"x-t", b"1")]
        u.respond(n, 200, b"y", trailers=[("x-u", "2")])
        answer = c.response(s)
        assert (answer.body, answer.trailers) == (b"y", [(b"x-u", b"2")])


def test_an_answer_that_ends_with_its_head_gets_a_length_for_http_1_only(start):
    own, up = start()
    with h2peer.client(own).hello() as c:
        s = c.request(path="/")
        u = H2Server(up.accept())
        u.respond(u.accept()[0], 404)
        assert c.response(s).get("content-length") is None
    old = ask(own)
    u.respond(u.accept()[0], 404)
    old.expect("HTTP/1.1 404 Not Found\r\n{date}\r\nContent-Length: 0\r\n\r\n")


@tools.needs("nghttpd", "h2load")
def test_h2load_to_nghttpd(closing, start_weir, tmp_path):
    (tmp_path / "file").write_bytes(b"f" * 3000)
    server = closing(tools.nghttpd(tmp_path))
    own = start_weir(
        "routes: [ { to: app } ]\npools:\n"
        f"  app: {{ endpoints: [ '{server.address}' ], upstream: {{ protocol: h2 }} }}\n"
    )
    out = tools.run("h2load", "-n", 2000, "-c", 8, "-m", 16, f"http://{own.listeners['web']}/file")
    assert b"2000 succeeded, 0 failed, 0 errored, 0 timeout" in out, out
    assert b"2000 2xx" in out, out
