# SPDX-License-Identifier: Apache-2.0
"""Large bodies go from socket to socket through a pipe of the kernel's: what goes that way is the
body, all of it, and nothing but it, whatever happens in its middle."""
import os
import socket

import pytest

from matrix import Matrix
from peers import wait_for
from transfer import BLOCK, Receiver, Sender, pump, run, send_until_stuck, widen

# Whatever does not go through a pipe has to be as whole.
MATRIX = Matrix(workers=(1,))  # pipes are kept for each worker
CONFIG = """
workers: 1
timeouts: { write_stall: 300s, response_idle: 300s, request_body: 300s }
routes: [ { to: app } ]
pools: { app: { endpoints: [ "$UPSTREAM" ], upstream: { connect: 60s } } }
"""
MIB = 1 << 20
PIPES = 2 * 4 + 8  # ends of pipes that are kept for the next body, and libuv's own
SIZES = [8191, 16384, 65536, 65537, 100_000, 300_000, MIB, 3 * MIB + 1]


def body(size):
    """What a Sender sends."""
    return (BLOCK * (size // len(BLOCK) + 1))[:size]


def pipes(weir):
    """Descriptors of pipes; some are libuv's own."""
    count = 0
    for name in os.listdir(f"/proc/{weir.pid}/fd"):
        try:
            count += os.readlink(f"/proc/{weir.pid}/fd/{name}").startswith("pipe:")
        except FileNotFoundError:
            pass
    return count


def ask(weir, upstream, head, rcvbuf=None):
    c = weir.client(rcvbuf=rcvbuf)
    c.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n")
    u = upstream.accept()
    u.request()
    u.send(head)
    c.recv_until(b"\r\n\r\n")
    return c, u


def download(weir, upstream, size, rcvbuf=None):
    return ask(weir, upstream, f"HTTP/1.1 200 OK\r\nContent-Length: {size}\r\n\r\n", rcvbuf)


def upload(weir, upstream, size):
    c = weir.client()
    c.send(f"PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: {size}\r\n\r\n")
    u = upstream.accept()
    u.head()
    return c, u


def next_request(c, u):
    """The same connections serve another request."""
    c.send("GET /next HTTP/1.1\r\nHost: a\r\n\r\n")
    assert u.request().target == "/next"
    u.answer("the next")
    assert c.response().body == b"the next"


@pytest.mark.h1_client("what is in frames goes through memory")
@pytest.mark.h1_upstream("what is in frames goes through memory")
@pytest.mark.plain("what is encrypted goes through memory")
def test_a_body_goes_through_a_pipe_which_is_kept(start_weir, upstream):
    weir = start_weir(CONFIG.replace("$UPSTREAM", upstream.address))
    own = pipes(weir)
    c, u = download(weir, upstream, 8 * MIB)
    pump([(u, c, 8 * MIB)])
    next_request(c, u)
    assert own + 2 <= pipes(weir) <= own + 8
    upstream.forget()


@pytest.mark.parametrize("size", SIZES)
def test_a_download_is_whole_and_the_connections_go_on(weir, upstream, size):
    c, u = download(weir, upstream, size)
    pump([(u, c, size)])
    next_request(c, u)


@pytest.mark.parametrize("size", SIZES)
def test_an_upload_is_whole_and_the_connections_go_on(weir, upstream, size):
    c, u = upload(weir, upstream, size)
    pump([(c, u, size)])
    u.answer()
    assert c.response().body == b"ok"
    next_request(c, u)


@pytest.mark.h1_client("streams do not stand behind each other")
@pytest.mark.parametrize("size", SIZES)
def test_a_request_behind_a_body_is_no_part_of_it(weir, upstream, size):
    put = f"PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: {size}\r\n\r\n".encode() + body(size)
    sent = put + b"GET /behind HTTP/1.1\r\nHost: a\r\n\r\n" + put
    c = weir.client()
    c.send(sent[:1])
    sender = Sender(c, len(sent) - 1)
    sender.step = lambda: step(sender, sent)
    run_one(sender, u := accept_put(upstream, sender), size)
    u.answer("1")
    assert u.request().target == "/behind"
    u.answer("2")
    run_one(sender, u, size, head=True)
    u.answer("3")
    assert sender.done
    assert [c.response().body for _ in range(3)] == [b"1", b"2", b"3"]


def step(sender, data):
    try:
        sender.sent += sender.peer.sock.send(data[sender.sent + 1 :])
    except BlockingIOError:
        pass


def accept_put(upstream, sender):
    sender.step()
    return upstream.accept()


def run_one(sender, u, size, head=True):
    """Receives one PUT while the sender goes on."""

    def there():
        if not sender.done:
            sender.step()
        u.poll()
        return b"\r\n\r\n" in u.unread

    if head:
        wait_for(there, "the head of the PUT")
        u.head()
    receiver = Receiver(u, size)

    def whole():
        if not sender.done:
            sender.step()
        if not receiver.done:
            try:
                receiver.step()
            except BlockingIOError:
                pass
        return receiver.done

    wait_for(whole, "the body of the PUT")


@pytest.mark.h1_upstream("frames say what they are of")
@pytest.mark.parametrize("size", [300_000, MIB])
def test_bytes_behind_a_response_do_not_reach_the_client(weir, upstream, size):
    c, u = download(weir, upstream, size)
    more = b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil"
    data = body(size) + more
    sender = Sender(u, len(data))
    sender.step = lambda: sender_step(sender, data)
    receiver = Receiver(c, size)
    run([sender], [receiver])
    u.expect_ended()  # not fit for another request
    c.send("GET /next HTTP/1.1\r\nHost: a\r\n\r\n")
    u = upstream.accept()
    assert u.request().target == "/next"
    u.answer("good")
    assert c.response().body == b"good"


def sender_step(sender, data):
    try:
        sender.sent += sender.peer.sock.send(data[sender.sent :])
    except BlockingIOError:
        pass


@pytest.mark.parametrize(
    "how",
    [
        pytest.param("close", marks=pytest.mark.h1_upstream("with credit unread it is a reset")),
        "reset",
    ],
)
def test_an_upstream_that_ends_in_mid_body_cuts_the_response(weir, upstream, how):
    reason = {"close": "response_incomplete", "reset": "upstream_reset"}[how]
    before = weir.open_files()
    with weir.counts(reason):
        c, u = download(weir, upstream, 4 * MIB)
        pump([(u, c, MIB)])
        u.send_until_blocked(bytes(300_000), 300_000)
        getattr(u, how)()
        assert len(c.expect_ended()) <= 300_000
        c.close()
    wait_for(lambda: weir.open_files() <= before, "sockets to be closed")
    assert pipes(weir) <= PIPES


@pytest.mark.h1_upstream("its conn outlives a stream")
@pytest.mark.parametrize("way", ["download", "upload"])
def test_a_client_that_resets_in_mid_body_ends_the_upstream_connection(weir, upstream, way):
    before = weir.open_files()
    c, u = {"download": download, "upload": upload}[way](weir, upstream, 64 * MIB)
    if way == "download":
        send_until_stuck(Sender(u, 64 * MIB))
    else:
        pump([(c, u, MIB)])
        send_until_stuck(Sender(c, 63 * MIB))
    c.reset()
    u.expect_ended()
    weir.wait_metric("weir_requests_in_flight", 0)
    wait_for(lambda: weir.open_files() <= before, "sockets to be closed")
    assert pipes(weir) <= PIPES


def test_an_upstream_that_resets_in_mid_upload_is_told(weir, upstream):
    with weir.counts("upstream_reset"):
        c, u = upload(weir, upstream, 64 * MIB)
        pump([(c, u, MIB)])
        send_until_stuck(Sender(c, 63 * MIB))
        u.reset()
        assert c.response().status == 502
        c.close()


@pytest.mark.parametrize("minor", [pytest.param(0, marks=pytest.mark.h1_client("1.0 is HTTP/1")), 1])
def test_a_body_that_ends_with_the_connection_is_whole(weir, upstream, minor):
    size = 3 * MIB
    c = weir.client()
    c.send(f"GET / HTTP/1.{minor}\r\nHost: a\r\n\r\n")
    u = upstream.accept()
    u.request()
    u.send("HTTP/1.1 200 OK\r\n\r\n")
    if minor == 0:
        c.recv_until(b"\r\n\r\n")
        pump([(u, c, size)])
        u.close()
        c.expect_closed()
        return
    sender = Sender(u, size)

    def sent():
        sender.step()
        c.poll()
        return sender.done

    wait_for(sent, "the body to be sent")
    u.close()
    response = c.response()
    assert response.framing == "chunked" and response.body == body(size)


def test_a_body_that_ends_with_a_reset_is_not_whole(weir, upstream):
    with weir.counts("upstream_reset"):
        c, u = ask(weir, upstream, "HTTP/1.1 200 OK\r\n\r\n")
        sender = Sender(u, MIB)
        while not sender.done:
            sender.step()
            c.poll()
        u.reset()
        assert not c.expect_ended().endswith(b"\r\n0\r\n\r\n")
        c.close()


@pytest.mark.h1_upstream("a window holds less than that")
def test_a_reader_that_stops_and_goes_on_gets_all_of_it(weir, upstream):
    c, u = download(weir, upstream, 8 * MIB, rcvbuf=4096)
    sender, receiver = Sender(u, 8 * MIB), Receiver(c, 8 * MIB)
    for _ in range(4):
        send_until_stuck(sender)
        until = receiver.got + MIB
        wait_for(lambda: take(receiver, until), "a mebibyte")
    run([sender], [receiver])
    next_request(c, u)


def take(receiver, until):
    try:
        receiver.step(65536)
    except BlockingIOError:
        pass
    return receiver.got >= until


def test_many_stuck_bodies_share_a_few_pipes(weir, upstream):
    size, count = 8 * MIB, 100
    ways = [download(weir, upstream, size, rcvbuf=4096) for _ in range(count)]
    senders = [Sender(u, size) for _, u in ways]
    for sender in senders:
        sender.peer.sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 65536)
    before = pipes(weir)
    for _ in range(200):
        for sender in senders:
            sender.step()
    assert pipes(weir) <= before + 2 * 36
    weir.wait_quiet()
    c, u = download(weir, upstream, MIB)  # nor does it harm others
    pump([(u, c, MIB)])
    for c, _ in ways[:10]:
        widen(c)
    run(senders[:10], [Receiver(c, size) for c, _ in ways[:10]])
    for c, u in ways[10:]:
        c.reset()
    weir.wait_metric("weir_requests_in_flight", 0)
    wait_for(lambda: pipes(weir) <= PIPES, "the pipes to be closed")


def urgent(peer):
    try:
        return peer.sock.send(b"!", socket.MSG_OOB)
    except BlockingIOError:
        return 0


@pytest.mark.h1_upstream("urgent bytes are beneath frames")
@pytest.mark.plain("urgent bytes are beneath records")
def test_urgent_data_in_a_body_is_not_waited_for_in_a_loop(weir, upstream):
    c, u = download(weir, upstream, 2 * MIB)
    sender, receiver = Sender(u, 2 * MIB), Receiver(c, 2 * MIB)
    while sender.sent < MIB:
        sender.step()
        take(receiver, 0)
    wait_for(lambda: take(receiver, 0) and urgent(u), "room for a byte")
    weir.wait_quiet()
    run([sender], [receiver])
    next_request(c, u)


def test_bodies_between_unix_sockets_are_whole(start_weir, new_upstream, tmp):
    u_path, w_path = f"{tmp}/u", f"{tmp}/w"
    up = new_upstream(path=u_path)
    config = CONFIG.replace("$UPSTREAM", up.address)
    weir = start_weir(config + f'listeners: {{ web: "unix:{w_path}" }}\n')
    c, u = upload(weir, up, MIB)
    pump([(c, u, MIB)])
    u.answer()
    assert c.response().body == b"ok"
    c.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n")
    u.request()
    u.send(f"HTTP/1.1 200 OK\r\nContent-Length: {MIB}\r\n\r\n")
    c.recv_until(b"\r\n\r\n")
    pump([(u, c, MIB)])
    next_request(c, u)
