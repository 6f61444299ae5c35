# SPDX-License-Identifier: Apache-2.0
"""Both ends of a conversation through weir: raw sockets, exact bytes, every wait bounded.

A test plays the client and the upstream itself, in one thread and in the order in which the story
goes: client.send(), upstream.accept(), conn.expect(), conn.send(), client.response(). Nothing
happens behind its back, so what it asserts is the order in which things happened.
"""
import errno
import os
import select
import selectors
import socket
import struct
import threading
import time

import wire

SLOW = float(os.environ.get("WEIR_TEST_SLOW", "1"))  # stretches every bound
# Of a wait for what has to happen. Longer than a busy machine holds anybody up, and shorter than
# weir's own clocks where a test leaves them alone (30 s for a drain, 60 s and more for bodies,
# answers and idle connections), so that what they do is not taken for what is waited for.
DEADLINE = 25.0


def deadline(seconds=DEADLINE):
    return time.monotonic() + seconds * SLOW


def ready(sock, events, seconds):
    """Waits until the socket is ready for POLLIN or POLLOUT; any number of descriptors may be open."""
    if own := getattr(sock, "ready", None):  # what counts there is not what poll() sees
        return own(events, seconds)
    if events & select.POLLIN and pending(sock):
        return True
    poll = select.poll()
    poll.register(sock, events)
    return bool(poll.poll(max(0, seconds) * 1000))


def pending(sock):
    """Whether a layer above the descriptor may hold bytes to read."""
    held = getattr(sock, "pending", None)
    return held() if held else False


def connect(address, timeout=DEADLINE, rcvbuf=None):
    """A connected socket to 'host:port', '[v6]:port' or 'unix:/path'."""
    if address.startswith("unix:"):
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        where = address[5:]
    else:
        host, port = address.rsplit(":", 1)
        sock = socket.socket(socket.AF_INET6 if host.startswith("[") else socket.AF_INET)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        where = (host.strip("[]"), int(port))
    if rcvbuf:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, rcvbuf)
    sock.settimeout(timeout * SLOW)
    sock.connect(where)
    return sock


class Peer:
    """One connection to weir, from either side. Keeps every byte it ever got in `received`."""

    def __init__(self, sock, name):
        self.sock, self.name = sock, name
        self.received = bytearray()
        self.used = 0  # how much of `received` the test has looked at
        self.eof = False
        sock.setblocking(False)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        self.sock.close()

    def reset(self):
        """Close with an RST."""
        raw = getattr(self.sock, "raw", self.sock)
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        raw.close()

    def half_close(self):
        """Says the end; it is no matter that weir may have cut the conn off already."""
        try:
            self.sock.shutdown(socket.SHUT_WR)
        except OSError as e:
            if e.errno != errno.ENOTCONN:
                raise

    def send(self, data, within=DEADLINE):
        """All of it, as one write where the socket takes it. The deadline is that of each step."""
        data = memoryview(wire.expand(data))
        until = deadline(within)
        while data:
            try:
                data = data[self.sock.send(data) :]
                until = deadline(within)
            except BlockingIOError:
                left = until - time.monotonic()
                if left <= 0 or not ready(self.sock, select.POLLOUT, left):
                    raise AssertionError(
                        f"{self.name}: {len(data)} bytes could not be sent"
                    ) from None
        if hasattr(self.sock, "flush"):
            self.sock.flush(within)

    def send_until_blocked(self, data, limit):
        """Sends copies of data until the socket takes no more for a while: the bytes sent."""
        sent = 0
        while sent < limit and ready(self.sock, select.POLLOUT, 0.5 * SLOW):
            sent += self.send_some(data[: limit - sent])
        return sent

    def send_some(self, data):
        """What the socket takes now: the bytes sent."""
        try:
            return self.sock.send(data)
        except BlockingIOError:
            return 0

    # ---- receiving ------------------------------------------------------------------------------

    @property
    def unread(self):
        return bytes(self.received[self.used :])

    def _fill(self, until, what):
        """Waits for more bytes or the end. Fails at the deadline."""
        left = until - time.monotonic()
        if left <= 0 or not ready(self.sock, select.POLLIN, left):
            raise AssertionError(
                f"{self.name}: nothing came in time while waiting for {what}; "
                f"unread so far: {self.unread[:2000]!r}"
            )
        try:
            data = self.sock.recv(262144)
        except BlockingIOError:
            return  # a part of a record
        if not data:
            self.eof = True
        self.received += data

    def poll(self):
        """Takes what is there now, without waiting."""
        try:
            while not self.eof and ready(self.sock, select.POLLIN, 0):
                data = self.sock.recv(262144)
                self.eof = not data
                self.received += data
        except BlockingIOError:
            pass
        except ConnectionResetError:
            self.eof = True
        return self.unread

    def recv_until(self, mark, within=DEADLINE):
        """Bytes up to and with mark, now taken."""
        until = deadline(within)
        while (at := self.received.find(mark, self.used)) < 0:
            if self.eof:
                raise AssertionError(f"{self.name}: closed before {mark!r}: {self.unread[:2000]!r}")
            self._fill(until, repr(mark))
        return self._take(at + len(mark) - self.used)

    def recv_exact(self, count, within=DEADLINE):
        """The next bytes, so many. The deadline is that of each step."""
        while len(self.received) - self.used < count:
            if self.eof:
                raise AssertionError(
                    f"{self.name}: closed {count} bytes short: {self.unread[:2000]!r}"
                )
            self._fill(deadline(within), f"{count} bytes")
        return self._take(count)

    def _take(self, count):
        data = bytes(self.received[self.used : self.used + count])
        self.used += count
        return data

    def expect(self, expected, within=DEADLINE):
        """The next bytes are exactly these (placeholders of wire.py allowed)."""
        pattern, until = wire.pattern(expected), deadline(within)
        want = len(wire._concrete(wire.neutral(expected)))
        try:
            while len(self.received) - self.used < want and not self.eof:
                self._fill(until, "the expected bytes")
        except (AssertionError, ConnectionResetError):
            wire.assert_bytes(expected, self.unread, self.name)
            raise
        got = pattern.match(self.unread)
        if not got:
            wire.assert_bytes(expected, self.unread, self.name)
        return self._take(got.end())

    def expect_closed(self, within=DEADLINE):
        """A FIN, with no byte before it that the test has not looked at; a reset is not a close."""
        until = deadline(within)
        while not self.eof:
            try:
                self._fill(until, "the connection to be closed")
            except ConnectionResetError:
                raise AssertionError(f"{self.name}: reset instead of closed") from None
        assert not self.unread, f"{self.name}: bytes before the close: {self.unread[:2000]!r}"

    def expect_reset(self, within=DEADLINE):
        """An RST."""
        until = deadline(within)
        try:
            while not self.eof:
                self._fill(until, "a reset")
        except ConnectionResetError:
            return
        raise AssertionError(f"{self.name}: closed instead of reset")

    def expect_ended(self, within=DEADLINE):
        """Closed or reset, whichever; the bytes that came before it are returned."""
        until = deadline(within)
        try:
            while not self.eof:
                self._fill(until, "the end of the connection")
        except ConnectionResetError:
            self.eof = True
        return self._take(len(self.received) - self.used)

    def wait_readable(self):
        """Waits until there is something to read, and does not read it."""
        left = deadline() - time.monotonic()
        assert ready(self.sock, select.POLLIN, left), f"{self.name}: nothing came to read"

    def quiet_for(self, seconds):
        """Nothing comes, and it is not closed, for this long."""
        until = time.monotonic() + seconds
        while ready(self.sock, select.POLLIN, until - time.monotonic()):
            had = len(self.received)
            if not hasattr(self.sock, "pending") or self.poll() and len(self.received) > had:
                return False
            if self.eof:
                return False  # and what was no byte of the peer's (a ticket) is no noise
        return True

    def assert_open(self):
        """Not closed, and nothing unread; say a barrier first when weir has to have had its
        turn."""
        assert (
            self.poll() == b"" and not self.eof
        ), f"{self.name}: closed, or bytes: {self.unread!r}"


class Client(Peer):
    """The client's end."""

    def __init__(self, address, rcvbuf=None, sock=None):
        super().__init__(sock or connect(address, rcvbuf=rcvbuf), "client")
        self.address = self.sock.getsockname()

    def response(self, method="GET", within=DEADLINE):
        """The next response as a strict parser reads it. 1xx ones are kept in .interim of the final
        one."""
        until, interim = deadline(within), []
        while True:
            got = wire.parse_response(self.unread, method, self.eof)
            if got is None:
                if self.eof:
                    raise AssertionError(
                        f"client: closed before a whole response: {self.unread[:2000]!r}"
                    )
                self._fill(until, "a response")
                continue
            self.used += got[1]
            if got[0].status < 200 and got[0].status != 101:
                interim.append(got[0])
                continue
            got[0].interim = interim
            return got[0]

    def interim(self, within=DEADLINE):
        """The next head, which must be a 1xx."""
        until = deadline(within)
        while (got := wire.parse_response(self.unread, "GET", False)) is None:
            self._fill(until, "an interim response")
        assert got[0].status < 200, f"client: not interim: {got[0].head!r}"
        self.used += got[1]
        return got[0]

    def get(self, path="/", host="a", extra="", method="GET", within=DEADLINE):
        """One request with no body, and its response."""
        self.send(f"{method} {path} HTTP/1.1\r\nHost: {host}\r\n{extra}\r\n")
        return self.response(method, within)

    def expect_last(self, response):
        """The conn ends behind this response, which says so. A client of HTTP/2 has lost no more
        than the stream: the conn is there, in step, and nothing is said about it."""
        if hasattr(self.sock, "barrier"):
            assert response.get("Connection") is None
            self.sock.barrier()
            self.assert_open()
        else:
            assert response.get("Connection") == "close"
            self.expect_closed()

    def expect_response(self, expected, method="GET", within=DEADLINE):
        """The next response is exactly this one."""
        msg = self.response(method, within)
        closes = msg.framing == "close"
        wire.assert_message(
            expected, msg, "response to the client", wire.parse_response, method=method, eof=closes
        )
        return msg


class UpstreamConn(Peer):
    """One connection that weir opened."""

    def request(self, within=DEADLINE):
        """The next whole request as a strict parser reads it."""
        until = deadline(within)
        while (got := wire.parse_request(self.unread)) is None:
            if self.eof:
                raise AssertionError(
                    f"{self.name}: closed inside a request: {self.unread[:2000]!r}"
                )
            self._fill(until, "a whole request")
        self.used += got[1]
        return got[0]

    def expect_request(self, expected, within=DEADLINE):
        """The next request is exactly this one."""
        msg = self.request(within)
        wire.assert_message(expected, msg, "request to the upstream", wire.parse_request)
        return msg

    def head(self, within=DEADLINE):
        """The next request's head only; its body stays unread."""
        raw = self.recv_until(b"\r\n\r\n", within)
        return wire.parse_head(raw, wire.REQUEST_LINE)[0]

    def answer(self, body=b"ok", status="200 OK", extra=""):
        body = body.encode() if isinstance(body, str) else body
        self.send(
            f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\n{extra}\r\n".encode() + body
        )


class Upstream:
    """A listening socket whose connections the test takes one by one."""

    secure = None  # an ssl.SSLContext

    def __init__(self, path=None, family=socket.AF_INET):
        self.guard = None
        if path:
            self.sock = socket.socket(socket.AF_UNIX)
            self.sock.bind(path)
            self.address = f"unix:{path}"
        else:
            self.sock = socket.socket(family)
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            self.sock.bind(("::1" if family == socket.AF_INET6 else "127.0.0.1", 0))
            self.port = self.sock.getsockname()[1]
            self.guard = hold(self.sock.getsockname(), family)
            self.address = (
                f"[::1]:{self.port}" if family == socket.AF_INET6 else f"127.0.0.1:{self.port}"
            )
        self.sock.listen(4096)
        self.sock.setblocking(False)
        self.conns = []

    def accept(self, within=DEADLINE):
        left = deadline(within) - time.monotonic()
        assert ready(self.sock, select.POLLIN, left), "weir opened no upstream connection in time"
        sock, _ = self.sock.accept()
        if sock.family != socket.AF_UNIX:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        conn = UpstreamConn(sock, f"upstream connection {len(self.conns)}")
        self.conns.append(conn)
        return self.secured(conn)

    def secured(self, conn):
        """With TLS and HTTP/2 beneath it, where the cell of the matrix says so (matrix.py)."""
        if self.secure:
            import tlspeer  # which needs this module

            conn = tlspeer.secured(conn, self.secure)
        return conn

    def assert_untouched(self):
        """No connection is waiting to be accepted."""
        if ready(self.sock, select.POLLIN, 0):
            conn = self.accept()
            raise AssertionError(f"weir opened an upstream connection and sent {conn.poll()!r}")

    def forget(self):
        """Closes every connection, accepted or waiting: a fresh start for the next test."""
        while ready(self.sock, select.POLLIN, 0):
            self.accept()
        for conn in self.conns:
            conn.close()
        self.conns.clear()

    def close(self):
        self.hang_up()
        if self.guard:
            kept.append(self.guard)

    def hang_up(self):
        """Nobody listens any more. The port stays ours: no other test's upstream may get it while
        weir still knows it."""
        if self.sock.fileno() >= 0:
            self.forget()
            self.sock.close()


kept = []  # sockets of upstreams that are closed, while weirs may run that know their ports


def let_go():
    """The weirs of the test have ended. Returns the ports that may be anybody's now."""
    ports = [one.getsockname()[1] for one in kept if one.family != socket.AF_UNIX]
    while kept:
        kept.pop().close()
    return ports


def port():
    """A port that is ours until then, for a server of this test, or for nobody."""
    kept.append(hold(("127.0.0.1", 0)))
    return kept[-1].getsockname()[1]


def keep(where, family=socket.AF_INET):
    """Takes the port of a server of this test that has gone, until then."""
    kept.append(hold(where, family))


def hold(where, family=socket.AF_INET):
    """A socket that is bound there beside the one that listens, or listened."""
    guard = socket.socket(family)
    guard.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    guard.bind(where)
    return guard


class RefusedEndpoint:
    """A port that is ours and refuses: bound, never listening."""

    def __init__(self):
        self.sock = socket.socket()
        self.sock.bind(("127.0.0.1", 0))
        self.address = f"127.0.0.1:{self.sock.getsockname()[1]}"

    def close(self):
        kept.append(self.sock)


class SilentEndpoint:
    """A port whose accept queue is full, so that a connect neither succeeds nor fails."""

    def __init__(self):
        self.sock = socket.socket()
        self.sock.bind(("127.0.0.1", 0))
        self.sock.listen(0)
        self.address = f"127.0.0.1:{self.sock.getsockname()[1]}"
        self.fill = []
        for _ in range(4):
            s = socket.socket()
            s.setblocking(False)
            err = s.connect_ex(self.sock.getsockname())
            assert err in (0, errno.EINPROGRESS), errno.errorcode[err]
            self.fill.append(s)

    def close(self):
        for s in self.fill:
            s.close()
        kept.append(self.sock)


HANG_UP = object()  # instead of an answer: the request is taken, and the connection closed


class AutoUpstream(threading.Thread):
    """Answers every request by itself, from a thread: for tests about many requests.

    reply(request) -> bytes, or None to stay silent until release() answers what is held back, or
    HANG_UP.
    """

    def make(self, path):
        return Upstream(path)

    def __init__(self, reply=None, body=b"ok", path=None):
        super().__init__(daemon=True)
        self.body = body
        self.reply = reply or (lambda _: self.ok())
        self.upstream = self.make(path)
        self.address = self.upstream.address
        self.requests, self.connections, self.held = [], 0, []
        self.errors = []
        self.wake_r, self.wake_w = os.pipe()
        self.start()

    def ok(self):
        return b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(self.body), self.body)

    def run(self):
        sel = selectors.DefaultSelector()
        sel.register(self.upstream.sock, selectors.EVENT_READ, None)
        sel.register(self.wake_r, selectors.EVENT_READ, "stop")
        bufs = {}
        while True:
            for key, _ in sel.select():
                if key.data == "stop":
                    for sock in bufs:
                        sock.close()
                    return
                if key.data is None:
                    sock, _ = self.upstream.sock.accept()
                    self.connections += 1
                    bufs[sock] = b""
                    sel.register(sock, selectors.EVENT_READ, "conn")
                    continue
                self._serve(sel, key.fileobj, bufs)

    def _serve(self, sel, sock, bufs):
        try:
            data = sock.recv(65536)
            bufs[sock] += data
            while data and (got := wire.parse_request(bufs[sock])):
                bufs[sock] = bufs[sock][got[1] :]
                self.requests.append(got[0])
                answer = self.reply(got[0])
                if answer is HANG_UP:
                    data = b""
                elif answer is None:
                    self.held.append(sock)
                else:
                    sock.sendall(answer)
        except wire.WireError as e:
            self.errors.append(e)
            data = b""
        except OSError:
            data = b""
        if not data:
            sel.unregister(sock)
            del bufs[sock]
            sock.close()

    def wait_held(self, count, within=DEADLINE):
        """Waits until this many requests are held back."""
        wait_for(lambda: len(self.held) >= count, f"{count} requests held at the upstream", within)

    def release(self, answer=None, count=None):
        """Answers all that are held back, or so many that came first."""
        count = len(self.held) if count is None else count  # more may come meanwhile
        held, self.held[:count] = self.held[:count], []
        for sock in held:
            sock.sendall(answer or self.ok())

    def die(self):
        """As a server that was killed: its connections close, and new ones are refused."""
        if not self.is_alive():
            return
        os.write(self.wake_w, b"x")
        self.join(DEADLINE * SLOW)
        assert not self.is_alive(), "the upstream's thread did not end"
        os.close(self.wake_r)
        os.close(self.wake_w)
        self.upstream.hang_up()

    def close(self):
        self.die()
        self.upstream.close()
        if self.errors:
            raise self.errors[0]


def has_v6():
    """Whether this machine has ::1: a container often has not."""
    try:
        with socket.socket(socket.AF_INET6) as s:
            s.bind(("::1", 0))
        return True
    except OSError:
        return False


def wait_for(condition, what, within=DEADLINE):
    """Polls until condition() is true (its value is returned); fails at the deadline."""
    until = deadline(within)
    while not (value := condition()):
        assert time.monotonic() < until, f"waited in vain for {what}"
        time.sleep(0.002)
    return value
