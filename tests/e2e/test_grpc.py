# SPDX-License-Identifier: Apache-2.0
"""gRPC through weir, with grpcio on both sides and with frames by hand."""
import threading
import time

import pytest

import h2peer
import tools
from h2peer import H2Server

POOL = "routes: [ { to: app } ]\npools: { app: { endpoints: [ '$UPSTREAM' ], upstream: { protocol: h2 } } }\n"
CALL = [("content-type", "application/grpc"), ("te", "trailers")]
MESSAGE = b"\0\0\0\0\x02hi"


@pytest.fixture(params=["plain", "tls"])
def calls(request, start_weir, authority, closing):
    """(client, server, weir): in clear text, or TLS on both sides."""
    if request.param == "plain":
        server = closing(tools.GrpcServer())
        own = start_weir(POOL.replace("$UPSTREAM", server.address))
        client = tools.GrpcClient(own.listeners["web"])
    else:
        pair = authority.server()
        server = closing(tools.GrpcServer(pair))
        own = start_weir(
            f'listeners: {{ web: {{ bind: "127.0.0.1:0", tls: {{ certs: [ {pair.cert} ] }} }} }}\n'
            + POOL.replace("$UPSTREAM", server.address).replace(
                "protocol: h2", f"protocol: h2, tls: {{ ca: {authority.cert} }}"
            )
        )
        client = tools.GrpcClient(own.listeners["web"], ca=authority.cert)
    return closing(client), server, own


def test_a_unary_call(calls):
    client, server, own = calls
    answer, call = client.unary(b"hello", metadata=(("x-meta", "1"), ("x-data-bin", b"\0\xfe")))
    assert answer == b"hello"
    assert ("x-trailer", "t") in call.trailing_metadata()
    assert ("x-bin", b"\0\xff") in call.trailing_metadata()
    assert server.metadata[0]["x-meta"] == "1" and server.metadata[0]["x-data-bin"] == b"\0\xfe"
    entry = own.access_log(1)[0]
    assert (entry["status"], entry["protocol"], entry["path"]) == (200, "HTTP/2.0", "/test.Echo/Unary")


def test_an_empty_and_a_large_message(calls):
    client, _, _ = calls
    for message in (b"", bytes(range(256)) * 12000):
        assert client.unary(message)[0] == message


def test_streams_of_each_kind(calls):
    client, _, _ = calls
    assert client.client_stream([b"%d" % i for i in range(100)]) == b"".join(
        b"%d" % i for i in range(100)
    )
    assert list(client.server_stream(b"abcdef")) == [b"a", b"b", b"c", b"d", b"e", b"f"]


def test_a_conversation_goes_back_and_forth(calls):
    """Each message is sent when the answer to the one before has come: nothing waits for an end."""
    client, _, _ = calls
    turn = threading.Semaphore(1)

    def say():
        for i in range(20):
            turn.acquire()
            yield b"%d" % i

    got = []
    for answer in client.both(say()):
        got.append(answer)
        turn.release()
    assert got == [b"%d" % i for i in range(20)]


def test_a_watch_outlives_its_clients_silence(start_weir, closing):
    """As in etcd and xDS: one message asks, and then the client only listens."""
    server = closing(tools.GrpcServer())
    # It counts until the server's answer begins.
    own = start_weir("timeouts: { request_body: 3s }\n" + POOL.replace("$UPSTREAM", server.address))
    client, over = closing(tools.GrpcClient(own.listeners["web"])), threading.Event()

    def ask_once():
        yield b"watch"
        over.wait()

    events = client._call("stream_stream", "Watch", ask_once())
    try:
        for i in range(5):
            server.events.put(b"%d" % i)
            assert next(events) == b"%d" % i
            over.wait(0.8)
        server.events.put(None)
        assert list(events) == []
    finally:
        over.set()


def test_an_error_of_the_server_arrives_as_it_was_said(calls):
    import grpc

    client, _, _ = calls
    with pytest.raises(grpc.RpcError) as e:
        client.unary(b"", method="Fail")
    assert e.value.code() == grpc.StatusCode.NOT_FOUND and e.value.details() == "nothing here"
    assert ("x-why", "it said so") in e.value.trailing_metadata()


def test_a_hundred_calls_share_conns(calls):
    client, _, own = calls
    futures = [
        client.channel.unary_unary("/test.Echo/Unary").future(b"%d" % i, timeout=60) for i in range(100)
    ]
    assert [f.result() for f in futures] == [b"%d" % i for i in range(100)]
    own.wait_metric("weir_client_connections", 1)


def test_a_call_that_is_cancelled_is_cancelled_at_the_server(calls):
    client, server, _ = calls
    call = client.channel.unary_unary("/test.Echo/Slow").future(b"", timeout=60)
    tools.wait_for(lambda: server.remaining, "the call to arrive")
    call.cancel()
    tools.wait_for(lambda: server.cancelled, "the cancellation to arrive")


# ---- frames by hand -----------------------------------------------------------------------------


@pytest.fixture
def pair(start_weir, new_upstream):
    up = new_upstream()
    own = start_weir(POOL.replace("$UPSTREAM", up.address))
    with h2peer.client(own).hello() as c:
        yield own, c, up


def test_trailers_and_te_arrive_at_the_upstream(pair):
    _, c, up = pair
    s = c.request("POST", "/s/m", more=CALL, body=MESSAGE)
    u = H2Server(up.accept())
    n, got = u.accept()
    assert (got.get(":path"), got.get("te"), got.get("content-type")) == (
        "/s/m",
        "trailers",
        "application/grpc",
    )
    assert got.body == MESSAGE
    u.respond(n, 200, MESSAGE, [("content-type", "application/grpc")], [("grpc-status", "0")])
    answer = c.response(s)
    assert answer.body == MESSAGE and answer.trailers == [(b"grpc-status", b"0")]


def test_a_trailers_only_error(pair):
    _, c, up = pair
    s = c.request("POST", "/s/m", more=CALL, body=MESSAGE)
    u = H2Server(up.accept())
    n, _ = u.accept()
    u.respond(n, 200, b"", [("content-type", "application/grpc"), ("grpc-status", "5")])
    answer = c.response(s)
    assert answer.get("grpc-status") == "5" and answer.body == b"" and answer.trailers is None


def grpc_error(answer):
    assert (answer.status, answer.body, answer.trailers) == (200, b"", None)
    assert answer.get("content-length") is None
    assert answer.get("content-type") == "application/grpc"
    assert answer.get("grpc-message")
    return int(answer.get("grpc-status"))


def test_errors_of_weirs_own_are_grpcs(pair, start_weir):
    _, c, up = pair
    up.hang_up()
    s = c.request("POST", "/s/m", more=CALL, body=MESSAGE)
    assert grpc_error(c.response(s)) == 14
    own = start_weir(
        "routes: [ { match: { path: /never }, to: app } ]\npools: { app: [ 127.0.0.1:1 ] }\n"
    )
    with h2peer.client(own).hello() as other:
        s = other.request("POST", "/s/m", more=[("content-type", "application/grpc+proto"), CALL[1]])
        assert grpc_error(other.response(s)) == 12


def test_an_error_for_a_call_over_http_1_has_one_length(start_weir):
    own = start_weir("routes: [ { match: { path: /never }, to: app } ]\npools: { app: [ 127.0.0.1:1 ] }\n")
    with own.client() as c:
        c.send("POST /s/m HTTP/1.1\r\nHost: a\r\nContent-Type: application/grpc\r\nContent-Length: 0\r\n\r\n")
        answer = c.response()
        assert (answer.status, answer.get("grpc-status")) == (200, "12")
        assert [v for k, v in answer.fields if k.lower() == b"content-length"] == [b"0"]


@pytest.mark.parametrize("value", ["1000m", "1000000u", "99999999n"])
def test_a_deadline_is_weirs_too(pair, value):
    own, c, up = pair
    s, u, n = begun(c, up)  # the shortest is over before another conn may be there
    u.headers(n, [("grpc-status", "0")], end=True)
    c.response(s)
    with own.counts("request_timeout"):
        # All in one frame: what follows may come too late.
        s = c.request("POST", "/s/m", more=[*CALL, ("grpc-timeout", value)])
        n, got = u.accept()
        assert got.get("grpc-timeout") == value
        assert grpc_error(c.response(s)) == 4
        u.until(u.streams[n].over, "the stream's end")
        u.until(lambda: u.streams[n].code is not None, "RST_STREAM")
        assert u.streams[n].code == h2peer.Code.CANCEL


def begun(c, up, more=()):
    """A call whose answer has begun: (stream, upstream's side, its stream)."""
    s = c.request("POST", "/s/m", more=[*CALL, *more], body=MESSAGE)
    u = H2Server(up.accept())
    n, _ = u.accept()
    u.headers(n, [(":status", "200"), CALL[0]])
    u.data(n, MESSAGE)
    assert c.body(s, len(MESSAGE)) == MESSAGE
    return s, u, n


def test_a_deadline_within_the_answer_is_a_cancellation(pair):
    """Which clients take for DEADLINE_EXCEEDED when theirs has passed; INTERNAL_ERROR never is."""
    own, c, up = pair
    with own.counts("request_timeout"):
        s, u, n = begun(c, up, [("grpc-timeout", "3000m")])  # it has to begin before
        c.expect_rst(s, h2peer.Code.CANCEL)
        u.until(lambda: u.streams[n].code is not None, "RST_STREAM")
        assert u.streams[n].code == h2peer.Code.CANCEL


@pytest.mark.parametrize(
    ("code", "reason"), [("CANCEL", "upstream_cancelled"), ("INTERNAL_ERROR", "upstream_stream_reset")]
)
def test_a_cancellation_by_the_server_arrives_as_one(pair, code, reason):
    own, c, up = pair
    with own.counts(reason):
        s, u, n = begun(c, up)
        u.reset(n, h2peer.Code[code])
        c.expect_rst(s, h2peer.Code[code])


def test_a_call_that_the_server_cancels_at_once_was_cancelled(pair):
    _, c, up = pair
    s = c.request("POST", "/s/m", more=CALL, body=MESSAGE)
    u = H2Server(up.accept())
    u.reset(u.accept()[0], h2peer.Code.CANCEL)
    assert grpc_error(c.response(s)) == 1


@pytest.mark.parametrize("value", ["", "1", "S", "-1S", "123456789m", "1x", "1 S"])
def test_a_deadline_that_is_none_is_nobodys(pair, value):
    _, c, up = pair
    s = c.request("POST", "/s/m", more=[*CALL, ("grpc-timeout", value)], body=MESSAGE)
    u = H2Server(up.accept())
    n, _ = u.accept()
    u.respond(n, 200, b"", [("grpc-status", "0")])
    assert c.response(s).get("grpc-status") == "0"


# ---- what a call's status says of the endpoint --------------------------------------------------

TYPE = ("content-type", "application/grpc")


@pytest.mark.parametrize("status", ["2", "4", "12", "13", "14", "15", "", "x"])
@pytest.mark.parametrize("where", ["head", "trailers"])
def test_a_status_of_the_servers_fault_is_held_against_the_endpoint(
    start_weir, new_upstream, where, status
):
    """BEHAVIOUR 8: 5 consecutive 5xx. A gRPC status counts as the HTTP status that it comes to."""
    up = new_upstream()
    own = start_weir(POOL.replace("$UPSTREAM", up.address))
    with h2peer.client(own).hello() as c:
        for turn in range(10):
            s = c.request("POST", "/s/m", more=CALL, body=MESSAGE)
            if turn == 0:
                u = H2Server(up.accept())
            n, _ = u.accept()
            said = status if turn != 5 else "5"  # NOT_FOUND is an answer: the row begins again
            if where == "head":
                u.respond(n, 200, b"", [TYPE, ("grpc-status", said)])
            else:
                u.respond(n, 200, MESSAGE, [TYPE], [("grpc-status", said)])
            c.response(s)
            own.wait_metric("weir_requests_total", turn + 1)
            held = own.metric("weir_ejections_total", cause="errors", result="held")
            assert held == (turn >= 4), f"after {turn + 1} answers"


@pytest.mark.parametrize("trailers", [None, [("x", "14")]])
@pytest.mark.parametrize("body", [b"", MESSAGE])
def test_a_call_that_ends_without_a_status_is_held_against_the_endpoint(
    start_weir, new_upstream, body, trailers
):
    """To its caller it is UNKNOWN (status codes of gRPC), which comes to 500."""
    up = new_upstream()
    own = start_weir(POOL.replace("$UPSTREAM", up.address))
    with h2peer.client(own).hello() as c:
        for turn in range(5):
            s = c.request("POST", "/s/m", more=CALL, body=MESSAGE)
            if turn == 0:
                u = H2Server(up.accept())
            u.respond(u.accept()[0], 200, body, [TYPE], trailers)
            c.response(s)
    own.wait_metric("weir_ejections_total", 1, cause="errors", result="held")


def test_a_grpc_status_of_no_call_says_nothing(start_weir, new_upstream):
    up = new_upstream()
    own = start_weir(POOL.replace("$UPSTREAM", up.address))
    with h2peer.client(own).hello() as c:
        for turn in range(5):
            s = c.request("POST", "/s/m", body=MESSAGE)
            if turn == 0:
                u = H2Server(up.accept())
            n, _ = u.accept()
            u.respond(n, 200, b"hi", [], [("grpc-status", "14")])
            c.response(s)
    own.wait_metric("weir_requests_total", 5)
    own.wait_metric("weir_ejections_total", 0)


@pytest.mark.parametrize("where", ["head", "trailers"])
def test_a_call_that_is_let_through_is_judged_by_its_status(start_weir, new_upstream, where):
    """BEHAVIOUR 8: comes back with a single probe request. Its head alone says nothing, but one
    message does."""
    up, other = new_upstream(), new_upstream()
    own = start_weir(
        "routes: [ { to: app } ]\n"
        f"pools: {{ app: {{ endpoints: [ '{up.address}', {{ address: '{other.address}', backup: true }} ],"
        " upstream: { protocol: h2 }, outlier: { errors: 1, eject: 10ms, max_eject: 10ms } } }\n"
    )

    def ejected():
        return own.metric("weir_endpoint_state", state="ejected") == 1

    with h2peer.client(own).hello() as c:
        s = c.request("POST", "/s/m", more=CALL, body=MESSAGE)
        u = H2Server(up.accept())
        u.respond(u.accept()[0], 200, b"", [TYPE, ("grpc-status", "14")])
        c.response(s)
        own.wait_metric("weir_ejections_total", 1, cause="errors", result="ejected")
        time.sleep(0.02)  # its time is over
        s = c.request("POST", "/s/m", more=CALL, body=MESSAGE)
        n, _ = u.accept()
        if where == "head":
            u.respond(n, 200, b"", [TYPE, ("grpc-status", "14")])
        else:
            u.headers(n, [(":status", "200"), TYPE])
            c.head(s)
            assert ejected(), "a head alone"
            u.headers(n, [("grpc-status", "14")], end=True)
        c.response(s)
        own.wait_metric("weir_ejections_total", 1, cause="probe", result="ejected")
        time.sleep(0.02)
        s = c.request("POST", "/s/m", more=CALL, body=MESSAGE)
        n, _ = u.accept()
        u.headers(n, [(":status", "200"), TYPE])
        u.data(n, MESSAGE)
        tools.wait_for(lambda: not ejected(), "it to be back")
        u.headers(n, [("grpc-status", "0")], end=True)
        c.response(s)
