# SPDX-License-Identifier: Apache-2.0
"""A client of HTTP/2 that is told everything as HTTP/1, so that stories run over both as they are.

H2Socket has a socket's methods. What is sent into it is read as HTTP/1 requests, however it is cut,
and leaves as frames at once; each request is a stream. What weir answers is read as strictly as
h2peer.py does, and comes out as HTTP/1 responses in the order of the requests: names with capitals,
a body without Content-Length as one chunk for each DATA, an extended CONNECT's 2xx as 101, a reset
of the stream as a reset of the conn. Credit for a body is given when the test takes it: a test that
does not read holds weir back.
"""
import re
import select
import time
from contextlib import suppress

import h2peer
import peers
import wire
from h1text import Parser, accept_of, end_to_end, lines
from h2wire import Code, data, goaway, parse, window_update
from peers import deadline


def over(client):
    """The same Client, speaking HTTP/2 from now on."""
    client.sock = H2Socket(client.sock)
    return client


class Exchange:
    """A request, and how much of its response is out."""

    def __init__(self, stream, request, protocol):
        self.stream, self.method, self.protocol = stream, request.method, protocol
        self.key = (request.all("sec-websocket-key") or [None])[0]
        self.framing = None  # of the response, once its head is out

    def output(self):
        """What is new, as HTTP/1, and how many bytes of body that is."""
        s, out = self.stream, b""
        while s.interim:
            out += self._head(s.interim.pop(0).fields)
        if s.message is None:
            return out, 0
        if self.framing is None:
            out += self._final(s.message)
        fresh = bytes(s.message.body)
        s.message.body.clear()
        if self.framing != "chunked":
            return out + fresh, len(fresh)
        if fresh:
            out += b"%x\r\n%b\r\n" % (len(fresh), fresh)
        if s.ended:
            out += b"0\r\n" + lines(s.message.trailers or []) + b"\r\n"
        return out, len(fresh)

    def switched(self):
        """Whether it is a tunnel."""
        message = self.stream.message
        return bool(self.protocol and message and message.status // 100 == 2)

    def _head(self, fields, more=(), status=None):
        status = status or int(dict(fields)[b":status"])
        start = f"HTTP/1.1 {status} {wire.phrase(status)}\r\n".encode()
        return start + lines([*fields, *more]) + b"\r\n"

    def _final(self, message):
        if self.switched():
            self.framing = "tunnel"
            more = [(b"sec-websocket-accept", accept_of(self.key).encode())] if self.key else []
            more += [(b"connection", b"upgrade"), (b"upgrade", self.protocol)]
            return self._head(message.fields, more, 101)
        bodyless = self.method == "HEAD" or message.status in wire.BODYLESS
        if bodyless or message.get("content-length") is not None:
            assert not bodyless or not message.body, f"a body where none may be: {message}"
            self.framing = "known"
            return self._head(message.fields)
        self.framing = "chunked"
        return self._head(message.fields, [(b"transfer-encoding", b"chunked")])


class H2Socket:
    """See above. Whether it is ready only ready() knows: the descriptor is that of what is below."""

    def __init__(self, below):
        self.below, self.raw = below, getattr(below, "raw", below)
        peer = peers.Peer(below, "client")
        if hasattr(below, "tls"):
            peer.tls = below.tls
        self.h2 = h2peer.H2Client(peer, auto=False)
        self.parser = Parser(self, wire.REQUEST_LINE)
        self.sending = None  # the exchange whose request is on its way
        self.waiting = []  # exchanges whose responses are not all out
        self.out, self.owed = bytearray(), []  # what the test may take, and credit for it
        # What recv() comes to, b"" or an error: below, and for the test.
        self.gone = self.over = None
        until = deadline()
        while not (self.h2.theirs and self.h2.acked) and self.gone is None:
            assert peers.ready(below, select.POLLIN, until - time.monotonic()), "no SETTINGS"
            self._take()

    def __getattr__(self, name):
        return getattr(self.below, name)

    # ---- requests, as the parser finds them -----------------------------------------------------

    def head(self, request, length):
        asked = "upgrade" in request.get("connection", "").lower()
        protocol = request.get("upgrade", "").encode("latin-1") if asked else None
        number = self.h2.open(self._fields(request, protocol), length == 0 and not protocol)
        self.sending = Exchange(self.h2.streams[number], request, protocol)
        self.waiting.append(self.sending)
        if protocol:
            assert length == 0, "of HTTP/1 only: an upgrade with a body"
            self.parser.hold()

    def _fields(self, request, protocol):
        hosts, path, scheme = request.all("host"), request.target, self.h2.scheme
        assert len(hosts) < 2, "of HTTP/1 only: two Hosts"
        if absolute := re.fullmatch(r"(?i)(https?)://([^/?]*)(.*)", path):
            scheme, host, path = absolute.groups()
            hosts, path = [host], path if path.startswith("/") else "/" + path
        if request.method == "CONNECT":
            head = [(":method", "CONNECT"), (":authority", path)]
        else:
            head = [(":method", "CONNECT" if protocol else request.method)]
            head += [(":protocol", protocol)] if protocol else []
            head += [(":scheme", scheme), (":authority", (hosts or [""])[0]), (":path", path)]
        gone = {b"host"} | ({b"sec-websocket-key"} if protocol else set())
        return [*head, *(f for f in end_to_end(request) if f[0] not in gone)]

    def data(self, payload, last):
        """As much of a body as weir's windows allow."""
        s, sent = self.sending.stream, 0
        if s.code is not None:
            return len(payload)  # which nobody wants any more
        while part := payload[sent : sent + max(0, min(s.window, self.h2.window, 16384))]:
            s.window -= len(part)
            self.h2.window -= len(part)
            sent += len(part)
            self.h2.peer.send(data(s.number, part, last and sent == len(payload)))
        return sent

    def end(self, trailers=()):
        """Of a request's body, or of our half of a tunnel."""
        s = self.sending.stream
        if s.code is None and trailers:
            self.h2.headers(s.number, [(n.lower(), v) for n, v in trailers], True)
        elif s.code is None:
            self.h2.peer.send(data(s.number, end=True))

    # ---- a socket's -----------------------------------------------------------------------------

    def send(self, text):
        self._take()
        if self.gone:
            raise self.gone
        taken = self.parser.feed(bytes(text[:262144]))
        if not taken and len(text):
            raise BlockingIOError if self.gone is None else BrokenPipeError
        return taken

    def sendable(self):
        """Whether what is to be sent next has credit, or will never have any."""
        self._take()
        s = self.sending and self.sending.stream
        if self.gone is not None or not self.parser.in_body() or s.code is not None:
            return True
        return min(s.window, self.h2.window) > 0

    def recv(self, most):
        self._collect()
        if self.out:
            got = bytes(self.out[:most])
            del self.out[:most]
            if not self.out:
                self._repay()
            return got
        if self.over is None:
            raise BlockingIOError
        if self.over:
            raise self.over
        return b""

    @property
    def more(self):
        """Whether there is something for recv()."""
        self._collect()
        return bool(self.out) or self.over is not None

    def pending(self):
        return self.more

    def ready(self, events, seconds):
        """What poll() says of a socket of HTTP/1's."""
        until = time.monotonic() + max(0, seconds)
        while True:
            if events & select.POLLIN and self.more:
                return True
            if events & select.POLLOUT and self.sendable():
                return peers.ready(self.below, select.POLLOUT, until - time.monotonic())
            left = until - time.monotonic()
            if left <= 0 or not peers.ready(self.below, select.POLLIN, left):
                return False

    def shutdown(self, how):
        """Of a tunnel, our half; of anything else, the conn's."""
        if self._tunnel():
            self.end()
        else:
            self.below.shutdown(how)

    def close(self):
        if self.below.fileno() < 0:
            return
        with suppress(OSError):
            self._take()  # what nobody has read would make it a reset
            if self._tunnel():
                self.end()
            self.h2.peer.send(goaway())
        self.below.close()

    def barrier(self):
        """weir has read what was sent so far, and answers."""
        self.h2.barrier()

    def _tunnel(self):
        return self.sending is not None and self.sending.switched()

    # ---- what comes -----------------------------------------------------------------------------

    def _take(self):
        """All the frames that are there."""
        while self.gone is None:
            self._frames()
            try:
                got = self.below.recv(65536)
            except BlockingIOError:
                break
            except OSError as e:
                self.gone = e
                break
            self.h2.peer.received += got
            if not got:
                self.gone = b""
        assert not self.h2.gone or self.h2.gone[1] == Code.NO_ERROR, f"GOAWAY: {self.h2.gone}"
        self._decide()

    def _frames(self):
        peer = self.h2.peer
        while parse(peer.received[peer.used :]):
            with suppress(OSError):  # of its answer, where weir reads no more
                self.h2.step()
        del peer.received[: peer.used]
        peer.used = 0
        del self.h2.frames[:-20]

    def _decide(self):
        """What follows an upgrade: bytes of a tunnel, or the next request."""
        x = self.sending
        if x is None or not self.parser.held():
            return
        if x.switched():
            self.parser.tunnel()
        elif x.stream.over() or x.stream.message:
            self.end()
            self.parser.proceed()

    def _collect(self):
        """Fills `out` with what the test has not seen."""
        self._take()
        while self.waiting and not self.out:
            x = self.waiting[0]
            text, body = x.output()
            self.out += text
            if body:
                self.owed.append((x.stream, body))
            if x.stream.ended:
                self.waiting.pop(0)
                self.over = b"" if x.framing == "tunnel" else None
            elif x.stream.code is not None:
                self.over = ConnectionResetError(f"{x.stream.code!r}")
                self.waiting.clear()
            elif not text:
                break
        if not self.out and self.over is None:
            self.over = self.gone

    def _repay(self):
        with suppress(OSError):
            for stream, amount in self.owed:
                self.h2.peer.send(window_update(0, amount))
                if not stream.over():
                    self.h2.peer.send(window_update(stream.number, amount))
        self.owed.clear()
