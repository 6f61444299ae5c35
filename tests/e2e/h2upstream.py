# SPDX-License-Identifier: Apache-2.0
"""An upstream that speaks HTTP/2, for stories that are told in HTTP/1.

    u = upstream.accept()             # a stream that weir has opened, on whichever of its conns
    u.request()                       # as HTTP/1: what came of it so far is in u.received
    u.send("HTTP/1.1 200 OK\\r\\n...")  # becomes frames at once, at any split
    u.request()                       # the next stream of the same TCP conn

A stream belongs to whoever asks first: upstream.accept() makes a new UpstreamConn of it, and a read
from an UpstreamConn whose request and response are over takes the next stream of its TCP conn. So a
story's second request on one conn is one on the same TCP conn, and streams beside each other look
like conns beside each other.

What weir sends, as HTTP/1:
  HEADERS        a head: Host first, field names capitalised, Transfer-Encoding where a body follows
                 that has no length; of extended CONNECT a GET with Upgrade
  DATA           body bytes, each frame a chunk where the body is chunked; bytes in a tunnel
  END_STREAM     the last chunk, with the trailers; of a tunnel, a FIN
  RST_STREAM     an RST
  the end of TCP the same

What a story sends, as HTTP/2:
  a head         HEADERS, without what is the conn's; 101 is the 200 of an extended CONNECT
  a body         DATA as the windows allow; END_STREAM with its last byte
  Connection: close, and HTTP/1.0      a GOAWAY behind the response
  half_close()   END_STREAM, of a tunnel and of a body that ends with the conn
  close()        the same there. Else it ends the TCP conn, or with RST_STREAM(INTERNAL_ERROR) only
                 the stream if others are on their way on the conn
  reset()        the same with an RST
What has no meaning in HTTP/2 (a malformed head, bytes behind a response) is an error of the story's:
it wants to be marked h1_upstream.

Windows: the conn's is given back as DATA comes, a stream's as the story reads. Frames are read
strictly (h2peer.py)."""
import os
import re
import select
import threading
import time
from collections import deque
from contextlib import suppress

import h2peer
import peers
import wire
from h1text import MOST, Parser, end_to_end, lines
from h2wire import (
    END_HEADERS,
    END_STREAM,
    PREFACE,
    Code,
    Setting,
    block,
    continuation,
    data,
    goaway,
    headers,
    pairs,
    parse,
    rst_stream,
    settings,
    window_update,
)
from peers import DEADLINE, deadline

STATUS_LINE = re.compile(rb"HTTP/1\.[01] [1-9][0-9][0-9](?: [^\r\n]*)?")
OF_CONN = (b"connection", b"keep-alive", b"transfer-encoding", b"sec-websocket-key")


class NotHttp2(AssertionError):
    """The story sends what only HTTP/1 has: it wants to be marked h1_upstream."""


class Stream(h2peer.Stream):
    """A request as HTTP/1, as it comes, and a response from HTTP/1."""

    def __init__(self, link, number, window):
        super().__init__(number, window)
        self.link = link
        self.inbox = bytearray()  # the request, what of it nobody has read
        self.owed = 0  # bytes of DATA in it, for which no credit was given
        self.chunked = self.said_end = False
        self.taken = self.left = False  # by an UpstreamConn, which may have closed it since
        self.writer = Writer(self)

    # ---- the request ----------------------------------------------------------------------------

    def on_head(self, fields, ended):
        fields = list(fields)
        named = {n: v for n, v in fields if n.startswith(b":")}
        regular = [(n, v) for n, v in fields if not n.startswith(b":")]
        self.method = named[b":method"]
        self.protocol = named.get(b":protocol")
        start = b"GET" if self.protocol else self.method
        self.chunked = not ended and not self.protocol and b"content-length" not in dict(regular)
        more = [(b"transfer-encoding", b"chunked")] if self.chunked else []
        if self.protocol:
            more = [(b"connection", b"upgrade"), (b"upgrade", self.protocol)]
        host = (b"host", named.get(b":authority", b""))
        self.inbox += b"%b %b HTTP/1.1\r\n" % (start, named[b":path"])
        self.inbox += lines([host, *regular, *more]) + b"\r\n"

    def on_data(self, body):
        self.owed += len(body)
        if not self.chunked:
            self.inbox += body
        elif body:
            self.inbox += b"%x\r\n%b\r\n" % (len(body), body)

    def on_end(self, trailers=()):
        assert self.chunked or not trailers, f"trailers behind a length: {trailers}"
        if self.chunked:
            self.inbox += b"0\r\n" + lines(trailers) + b"\r\n"

    def take(self, most):
        """Bytes of the request, and credit for them."""
        out = bytes(self.inbox[:most])
        del self.inbox[:most]
        credit = min(len(out), self.owed)
        if credit and not self.over():
            self.link.put(window_update(self.number, credit))
        self.owed -= credit
        return out

    # ---- both -----------------------------------------------------------------------------------

    def live(self):
        """Something of it is still to come, from either side."""
        return self.code is None and not self.left and not (self.ended and self.said_end)

    def done(self):
        """Its conn may go on to the next request."""
        return self.writer.done and self.ended and not self.inbox

    def end(self):
        """END_STREAM of its own."""
        if self.live() and not self.said_end:
            self.writer.end()

    def leave(self, code):
        if self.live():
            self.link.put(rst_stream(self.number, code))
        self.left = True


class Writer:
    """Makes frames of a response: what its parser finds."""

    def __init__(self, stream):
        self.stream = stream
        self.parser = Parser(self, STATUS_LINE)
        self.open = False  # the body ends with the conn, or it is a tunnel
        self.last = False  # no other request is wanted on the conn
        self.done = False

    def take(self, text):
        """As many of the bytes as can be sent now: their number."""
        try:
            used = self.parser.feed(bytes(text[:MOST]))
        except wire.WireError as e:
            raise NotHttp2(str(e)) from None
        if self.done and self.parser.buf:
            raise NotHttp2(f"bytes behind a response: {bytes(self.parser.buf[:80])!r}")
        return used

    def blocked(self):
        """In a body, without credit."""
        return self.parser.in_body() and not self.room()

    def put(self, frames, end):
        self.stream.said_end |= end
        self.stream.link.put(frames)
        if end:
            self.done = True
            if self.last:
                self.stream.link.put(goaway(self.stream.link.latest))

    # ---- what the parser finds ------------------------------------------------------------------

    def head(self, message, length):
        start = message.start.split(b" ")
        status, options = int(start[1]), message.get("connection", "").lower()
        if self.done or status == 101 and not self.stream.protocol:
            raise NotHttp2(f"not expected: {message.head!r}")
        known = length is None or bool(message.all("content-length"))
        bodyless = status in wire.BODYLESS or self.stream.method == b"HEAD" or known and length == 0
        if status == 101:
            status, self.open = 200, True
        elif status >= 200:
            old = start[0] == b"HTTP/1.0" and "keep-alive" not in options
            self.last = "close" in options or old
            self.open = not bodyless and not known
        if self.open:
            self.parser.until_close()
        elif bodyless:
            self.parser.next_head()
        self.say([(b":status", b"%d" % status), *end_to_end(message)], status >= 200 and bodyless)

    def say(self, fields, end):
        whole = block(pairs(fields))
        first, rest = whole[:16384], whole[16384:]
        flags = (END_STREAM if end else 0) | (0 if rest else END_HEADERS)
        out = headers(self.stream.number, first, flags=flags)
        while rest:
            part, rest = rest[:16384], rest[16384:]
            out += continuation(self.stream.number, part, not rest)
        self.put(out, end)

    def room(self):
        return max(0, min(self.stream.window, self.stream.link.window, 16384))

    def data(self, body, last):
        """As much of it as there is room for."""
        sent = 0
        while part := body[sent : sent + self.room()]:
            self.stream.window -= len(part)
            self.stream.link.window -= len(part)
            sent += len(part)
            end = last and sent == len(body)
            self.put(data(self.stream.number, part, end), end)
        return sent

    def end(self, trailers=()):
        if trailers:
            self.say([(n.lower(), v) for n, v in trailers], True)
        else:
            self.put(data(self.stream.number, b"", True), True)


class Link(h2peer.H2):
    """One TCP conn of weir's."""

    first_stream = 0

    def __init__(self, peer, values=None):
        values = {Setting.ENABLE_CONNECT_PROTOCOL: 1, **(values or {})}
        super().__init__(peer, values, auto=False)
        self.prefaced, self.waiting = False, deque()
        self.latest = 0
        self.over = None  # "closed" or "reset"
        self.put(settings(self.mine))

    def put(self, frames):
        """Frames go out, if there is still somebody to take them."""
        try:
            self.peer.send(frames)
        except (BrokenPipeError, ConnectionResetError):
            if not self.over:
                self.over = "reset"

    def _new_stream(self, number):
        self.latest = max(self.latest, number)
        stream = Stream(self, number, self.theirs.get(Setting.INITIAL_WINDOW_SIZE, h2peer.WINDOW))
        self.waiting.append(stream)
        return stream

    def _head(self, s, fields, ended):
        trailers = s.message is not None
        super()._head(s, fields, ended)
        if not trailers:
            s.on_head(fields, ended)
        elif ended:
            s.on_end(fields)

    def _data(self, f):
        super()._data(f)
        s = self.streams[f.stream]
        s.on_data(f.payload)
        del s.message.body[:], self.frames[:-20]  # large ones pass here
        if f.payload:
            self.put(window_update(0, len(f.payload)))
        if f.ended():
            s.on_end()
        elif s.left:
            s.left = False
            s.leave(Code.CANCEL)

    def pump(self):
        """Takes what is there now, without waiting."""
        while not self.over:
            self._frames()
            try:
                got = self.peer.sock.recv(65536)
            except BlockingIOError:
                return
            except OSError:
                self.over = "reset"
                return
            self.peer.received += got
            if not got:
                self._frames()
                self.over = "closed"

    def _frames(self):
        peer = self.peer
        if not self.prefaced:
            if len(peer.unread) < len(PREFACE):
                assert PREFACE.startswith(peer.unread), f"no preface: {peer.unread!r}"
                return
            peer.expect(PREFACE)
            self.prefaced = True
        while parse(peer.received[peer.used : peer.used + 16393]) is not None:
            self.step()
        del peer.received[: peer.used]
        peer.used = 0

    def fresh(self):
        """The first stream that nobody has taken."""
        while self.waiting and self.waiting[0].taken:
            self.waiting.popleft()
        return self.waiting[0] if self.waiting else None

    def alone(self, stream):
        """Whether no other stream is on its way."""
        return not any(s.live() for s in self.streams.values() if s is not stream)

    def close(self):
        if not self.over:
            self.over = "closed"
        self.peer.close()

    def reset(self):
        self.over = "reset"
        self.peer.reset()


class StreamSocket:
    """Looks like a socket that does not block: streams of a Link, one after another."""

    unsent = b""

    def __init__(self, stream):
        self.link, self.stream = stream.link, stream
        self.closed = False
        stream.taken = True

    def __getattr__(self, name):
        return getattr(self.link.peer.sock, name)

    def setblocking(self, _):
        pass

    def look(self):
        """Takes what is there, and the next stream if the last is done with."""
        self.link.pump()
        if self.stream.done() and not self.stream.left:
            fresh = self.link.fresh()
            if fresh:
                self.stream, fresh.taken = fresh, True

    def _ended(self):
        """What a read says behind the last byte: None while more may come."""
        s = self.stream
        if s.code is not None and not (s.ended and s.writer.done):
            return "reset"
        if s.protocol and s.ended:
            return "closed"
        return self.link.over

    @property
    def more(self):
        """There may be something to read that poll() does not see."""
        self.look()
        return bool(self.stream.inbox) or self._ended() is not None

    def pending(self):
        return self.more

    def sendable(self):
        """Whether there is credit, or nobody left to give any."""
        self.look()
        s = self.stream
        return not s.writer.blocked() or not s.live() or bool(self.link.over)

    def ready(self, events, seconds):
        """Whether it is ready, in time, to be read or written."""
        until = time.monotonic() + seconds
        while True:
            readable = self.more
            if events & select.POLLIN and readable or events & select.POLLOUT and self.sendable():
                return True
            left = until - time.monotonic()
            if left <= 0 or self.closed:
                return False
            poll = select.poll()
            poll.register(self.link.peer.sock, select.POLLIN)
            poll.poll(left * 1000)

    def recv(self, most):
        self.look()
        if self.stream.inbox:
            return self.stream.take(most)
        ended = self._ended()
        if ended == "reset":
            raise ConnectionResetError("weir has reset the stream, or its conn")
        if ended:
            return b""
        raise BlockingIOError

    def send(self, text):
        self.look()
        if self.link.over or self.stream.code is not None or self.stream.left:
            raise ConnectionResetError("the stream is over")
        used = self.stream.writer.take(text)
        if len(text) and not used:
            raise BlockingIOError
        return used

    def shutdown(self, _how):
        """END_STREAM where that is how a body ends; else a FIN."""
        s = self.stream
        if s.writer.open:
            s.end()
        else:
            self.link.peer.half_close()

    def close(self, cut=Link.close):
        """The end of the stream where that is how a body ends; else that of the conn, if it is the
        stream's own."""
        if self.closed:
            return
        self.closed = True
        s = self.stream
        self.link.pump()
        if cut is Link.close and s.writer.open:
            s.end()
            s.left = True
        elif self.link.alone(s):
            cut(self.link)
        else:
            s.leave(Code.INTERNAL_ERROR)


class H2UpstreamConn(peers.UpstreamConn):
    """A conn of an HTTP/1 story."""

    def __init__(self, stream, name):
        super().__init__(StreamSocket(stream), name)

    def reset(self):
        self.sock.close(Link.reset)

    def expect(self, expected, within=DEADLINE):
        """A request's head is compared with what HTTP/2 has of it; all else is exact."""
        expected = wire.expand(expected)
        head, end, rest = expected.partition(b"\r\n\r\n")
        if not end or not wire.REQUEST_LINE.fullmatch(head.partition(b"\r\n")[0]):
            return super().expect(expected, within)
        got = self.recv_until(b"\r\n\r\n", within)
        wire.assert_bytes(neutral(head + end), neutral(got), self.name)
        return got + super().expect(rest, within)

    def expect_request(self, expected, within=DEADLINE):
        msg = self.request(within)
        want = wire.expected_normal_form(expected, wire.parse_request)
        wire.assert_bytes(neutral(want), neutral(wire.normal_form(msg)), "request to the upstream")
        return msg


def neutral(message):
    """A message without what HTTP/2 has no place for."""
    head, end, body = message.partition(b"\r\n\r\n")
    start, *fields = head.split(b"\r\n")
    kept = [f for f in fields if f.partition(b":")[0].lower() not in OF_CONN]
    return b"\r\n".join([start, *kept]) + end + body


class H2Upstream(peers.Upstream):
    """A listening socket; the test takes streams one by one, as if they were conns."""

    def __init__(self, *args, values=None, **kw):
        super().__init__(*args, **kw)
        self.links, self.values = [], values

    def look(self):
        """Takes the TCP conns that wait, and whatever has come on any: the number of new ones."""
        had = len(self.links)
        while peers.ready(self.sock, select.POLLIN, 0):
            conn = super().accept()
            self.conns.remove(conn)
            self.links.append(Link(conn, self.values))
        for link in self.links:
            link.pump()
        return len(self.links) - had

    def watch(self, poll):
        """Registers everything on which something may come."""
        poll.register(self.sock, select.POLLIN)
        for link in self.links:
            if not link.over:
                poll.register(link.peer.sock, select.POLLIN)

    def fresh(self):
        """The first stream that nobody has taken."""
        return next((s for link in self.links if (s := link.fresh())), None)

    def accept(self, within=DEADLINE):
        until = deadline(within)
        while True:
            self.look()
            if stream := self.fresh():
                break
            left = until - time.monotonic()
            assert left > 0, "weir opened no stream in time"
            poll = select.poll()
            self.watch(poll)
            poll.poll(left * 1000)
        conn = H2UpstreamConn(stream, f"upstream stream {len(self.conns)}")
        self.conns.append(conn)
        return conn

    def assert_untouched(self):
        opened, stream = self.look(), self.fresh()
        assert not stream, f"weir opened a stream and sent {bytes(stream.inbox)!r}"
        assert not opened, "weir opened an upstream connection"

    def forget(self):
        while peers.ready(self.sock, select.POLLIN, 0):
            self.sock.accept()[0].close()
        for link in self.links:
            with suppress(OSError):
                link.close()
        self.links.clear()
        self.conns.clear()


class H2AutoUpstream(peers.AutoUpstream):
    """Answers every request by itself, from a thread."""

    def make(self, path):
        upstream = H2Upstream(path)
        upstream.secure = self.secure
        return upstream

    def __init__(self, *args, secure=None, **kw):
        self.secure = secure
        self.lock = threading.RLock()
        self.serving = {}  # what is still to be sent on each conn; None before its request is there
        super().__init__(*args, **kw)

    def run(self):
        while True:
            poll = select.poll()
            poll.register(self.wake_r, select.POLLIN)
            self.upstream.watch(poll)
            if self.wake_r in [fd for fd, _ in poll.poll()] and b"x" in os.read(self.wake_r, 4096):
                break
            with self.lock:
                self._turn()
        for link in self.upstream.links:
            link.close()

    def _turn(self):
        try:
            self.connections += self.upstream.look()
            while self._more():
                while stream := self.upstream.fresh():
                    self.serving[H2UpstreamConn(stream, "an upstream's stream")] = None
                for conn in list(self.serving):
                    self._advance(conn)
        except AssertionError as e:
            self.errors.append(e)
            for link in self.upstream.links:
                link.close()
        for link in [x for x in self.upstream.links if x.over]:
            link.close()
            self.upstream.links.remove(link)

    def _more(self):
        """Reading from one stream takes in what has come for all the others of its conn; so does
        asking for credit, which comes first."""
        sendable = [left and conn.sock.sendable() for conn, left in self.serving.items()]
        read = [conn.sock.stream.inbox for conn in self.serving]
        return any(sendable) or any(read) or self.upstream.fresh()

    def _advance(self, conn):
        """Takes and sends what can be now."""
        conn.poll()
        if self.serving[conn] is None and (got := wire.parse_request(conn.unread)):
            self.requests.append(got[0])
            self.serving[conn] = self.reply(got[0])
            if self.serving[conn] is None:
                self.held.append(conn)
                self.serving[conn] = b""
                return
        left = self.serving[conn]
        try:
            while left:
                left = left[conn.sock.send(left) :]
        except BlockingIOError:
            pass
        except ConnectionResetError:
            left = b""
        self.serving[conn] = left
        if conn.sock.stream.over() and not left and conn not in self.held or conn.sock.link.over:
            del self.serving[conn]

    def release(self, answer=None, count=None):
        with self.lock:
            held, self.held[:count] = self.held[:count], []
            for conn in held:
                self.serving[conn] = answer or self.ok()
                self._advance(conn)
        if self.is_alive():
            os.write(self.wake_w, b"r")  # another request may have been read, which poll() won't see
