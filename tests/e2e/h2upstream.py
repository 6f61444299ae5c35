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
import re
import select
import threading
import time
from collections import deque
from contextlib import suppress

import h2peer
import peers
import wire
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

OF_CONN = (b"connection", b"keep-alive", b"proxy-connection", b"transfer-encoding", b"upgrade")
SPELT = {b"Te": b"TE", b"Www-Authenticate": b"WWW-Authenticate", b"Etag": b"ETag"}
STATUS_LINE = re.compile(rb"HTTP/1\.([01]) ([1-9][0-9][0-9])(?: [^\r\n]*)?")


class NotHttp2(AssertionError):
    """The story sends what only HTTP/1 has: it wants to be marked h1_upstream."""


def spelt(name):
    """A field's name as HTTP/1 writes it."""
    out = b"-".join(part.capitalize() for part in name.split(b"-"))
    return SPELT.get(out, out.replace(b"Sec-Websocket", b"Sec-WebSocket"))


class Stream(h2peer.Stream):
    """A request as HTTP/1, as it comes, and a response from HTTP/1."""

    def __init__(self, link, number, window):
        super().__init__(number, window)
        self.link = link
        self.inbox = bytearray()  # the request, what of it nobody has read
        self.owed = 0  # bytes of DATA in it, for which no credit was given
        self.chunked = self.tunnel = self.said_end = False
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
        lines = [b"%b %b HTTP/1.1" % (start, named[b":path"])]
        lines.append(b"Host: " + named.get(b":authority", b""))
        lines += [b"%b: %b" % (spelt(n), v) for n, v in regular]
        self.chunked = not ended and not self.protocol and b"content-length" not in dict(regular)
        if self.chunked:
            lines.append(b"Transfer-Encoding: chunked")
        if self.protocol:
            lines += [b"Connection: upgrade", b"Upgrade: " + self.protocol]
        self.inbox += b"\r\n".join(lines) + b"\r\n\r\n"

    def on_data(self, body):
        self.owed += len(body)
        if not self.chunked:
            self.inbox += body
        elif body:
            self.inbox += b"%x\r\n%b\r\n" % (len(body), body)

    def on_end(self, trailers=()):
        assert self.chunked or not trailers, f"trailers behind a length: {trailers}"
        if self.chunked:
            lines = b"".join(b"%b: %b\r\n" % (spelt(n), v) for n, v in trailers)
            self.inbox += b"0\r\n" + lines + b"\r\n"

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
            self.said_end = True
            self.link.put(data(self.number, b"", True))

    def leave(self, code):
        if self.live():
            self.link.put(rst_stream(self.number, code))
        self.left = True


class Writer:
    """Takes a response's bytes and makes frames of them."""

    def __init__(self, stream):
        self.stream = stream
        self.state = self.head
        self.held = b""  # a part of a line or a head
        self.left = 0
        self.last = False  # no other request is wanted on the conn
        self.done = False

    def take(self, text):
        """As many of the bytes as can be sent now: their number."""
        text, at = bytes(text[:262144]), 0
        while at < len(text):
            used = self.state(text, at)
            if not used:
                break
            at += used
        return at

    def put(self, frame, end):
        self.stream.said_end |= end
        self.stream.link.put(frame)
        if end:
            self.done = True
            self.state = self.behind
            if self.last:
                self.stream.link.put(goaway(self.stream.link.latest))

    def until(self, mark, text, at):
        """(what ends with the mark or None, how many bytes were used)."""
        had = len(self.held)
        whole = self.held + text[at:]
        end = whole.find(mark)
        self.held = b"" if end >= 0 else whole
        used = (end + len(mark) if end >= 0 else len(whole)) - had
        return (whole[:end] if end >= 0 else None), used

    def head(self, text, at):
        head, used = self.until(b"\r\n\r\n", text, at)
        if head is not None:
            self.say_head(head)
        return used

    def say_head(self, head):
        line, *lines = head.split(b"\r\n")
        start = STATUS_LINE.fullmatch(line)
        if not start:
            raise NotHttp2(f"a status line: {line!r}")
        version, status = start.group(1), int(start.group(2))
        try:
            fields = wire.parse_fields(lines, repr(head))
        except wire.WireError as e:
            raise NotHttp2(str(e)) from None
        fields = [(n.lower(), v) for n, v in fields]
        options = b",".join(v.lower() for n, v in fields if n == b"connection")
        options = [o.strip() for o in options.split(b",")]
        coding = [v.lower() for n, v in fields if n == b"transfer-encoding"]
        length = [v for n, v in fields if n == b"content-length"]
        if coding not in ([], [b"chunked"]) or coding and length:
            raise NotHttp2(f"a framing of HTTP/1's: {head!r}")
        fields = [(n, v) for n, v in fields if n not in OF_CONN and n not in options]
        if status == 101:
            if not self.stream.protocol:
                raise NotHttp2("101 for a request that is no extended CONNECT")
            self.stream.tunnel, status, self.state = True, 200, self.body_open
        elif status >= 200:
            self.last = b"close" in options or version == b"0" and b"keep-alive" not in options
            self.frame_body(status, coding, int(length[0]) if length else None)
        end = status >= 200 and self.state == self.head
        self.say([(b":status", b"%d" % status), *fields], end)

    def frame_body(self, status, coding, length):
        if status in wire.BODYLESS or self.stream.method == b"HEAD" or length == 0:
            return
        self.left = length or 0
        self.state = self.chunk_size if coding else self.body_open
        if length is not None:
            self.state = self.body_length

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

    def send(self, text, at, most, last=None):
        """As much body as there is room for; the `last` byte ends the stream."""
        part = text[at : at + min(most, self.room())]
        if not part:
            return 0
        self.stream.window -= len(part)
        self.stream.link.window -= len(part)
        end = len(part) == last
        self.put(data(self.stream.number, part, end), end)
        return len(part)

    def body_length(self, text, at):
        used = self.send(text, at, self.left, self.left)
        self.left -= used
        return used

    def body_open(self, text, at):
        return self.send(text, at, len(text))

    def chunk_size(self, text, at):
        line, used = self.until(b"\r\n", text, at)
        if line is not None:
            size = line.partition(b";")[0].strip()
            if not wire.CHUNK_SIZE.fullmatch(size):
                raise NotHttp2(f"a chunk size: {line!r}")
            self.left = int(size, 16)
            self.state = self.chunk_data if self.left else self.trailers
        return used

    def chunk_data(self, text, at):
        used = self.send(text, at, self.left)
        self.left -= used
        if used and not self.left:
            self.state = self.chunk_end
        return used

    def chunk_end(self, text, at):
        line, used = self.until(b"\r\n", text, at)
        if line is not None:
            self.state = self.chunk_size
        if line or not b"\r\n".startswith(self.held):
            raise NotHttp2(f"what ends a chunk: {line or self.held!r}")
        return used

    def trailers(self, text, at):
        """Lines up to an empty one."""
        line, used = self.until(b"\r\n", text, at)
        if line is None:
            return used
        if line:
            self.lines = [*getattr(self, "lines", []), line]
            return used
        fields = wire.parse_fields(getattr(self, "lines", []), "trailers")
        if fields:
            self.say([(n.lower(), v) for n, v in fields], True)
        else:
            self.put(data(self.stream.number, b"", True), True)
        return used

    def behind(self, text, at):
        raise NotHttp2(f"bytes behind a response: {text[at:at + 80]!r}")


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

    def writable(self):
        s = self.stream
        body = s.writer.state in (s.writer.body_length, s.writer.body_open, s.writer.chunk_data)
        return not body or s.writer.room() > 0 or not s.live() or bool(self.link.over)

    def wait(self, events, seconds):
        """Whether it is ready, in time, to be read or written."""
        until = time.monotonic() + seconds
        while True:
            readable = self.more
            if events & select.POLLIN and readable or events & select.POLLOUT and self.writable():
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
        if s.writer.state == s.writer.body_open:
            s.end()
            s.writer.done = True
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
        if cut is Link.close and s.writer.state == s.writer.body_open:
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
    """A message without what HTTP/2 has no place for, its names in lower case."""
    head, end, body = message.partition(b"\r\n\r\n")
    start, *lines = head.split(b"\r\n")
    fields = [line.partition(b":") for line in lines]
    leave = (*OF_CONN[:4], b"sec-websocket-key")
    kept = [n.lower() + c + v for n, c, v in fields if n.lower() not in leave]
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

    make = H2Upstream

    def __init__(self, *args, **kw):
        self.lock = threading.RLock()
        self.serving = {}  # what is still to be sent on each conn; None before its request is there
        super().__init__(*args, **kw)

    def run(self):
        while True:
            poll = select.poll()
            poll.register(self.wake_r, select.POLLIN)
            self.upstream.watch(poll)
            if self.wake_r in [fd for fd, _ in poll.poll()]:
                break
            with self.lock:
                self._turn()
        for link in self.upstream.links:
            link.close()

    def _turn(self):
        try:
            self.connections += self.upstream.look()
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
        with suppress(BlockingIOError, ConnectionResetError):
            while left:
                left = left[conn.sock.send(left) :]
        self.serving[conn] = left
        if conn.sock.stream.over() and not left and conn not in self.held or conn.sock.link.over:
            del self.serving[conn]

    def release(self, answer=None):
        with self.lock:
            held, self.held = self.held, []
            for conn in held:
                self.serving[conn] = answer or self.ok()
                self._advance(conn)
