# SPDX-License-Identifier: Apache-2.0
"""Both ends of an HTTP/2 conversation through weir, in the order in which the story goes.

    c = h2peer.client(weir)             # preface and SETTINGS are sent
    s = c.request("POST", "/", body=b"x")
    u = upstream.accept(); ...
    c.response(s).status
    c.goaway(Code.PROTOCOL_ERROR)       # weir's GOAWAY with this code, and then the end

Housekeeping happens while a test waits: SETTINGS and PING are answered, windows counted and, unless
auto=False, given back. Every frame of weir's is checked as it comes and kept in .frames; what the
test sends with .peer.send() goes out as it is.
"""
import struct
from dataclasses import dataclass, field

import peers
import wire
from h2wire import (
    ACK,
    END_HEADERS,
    END_STREAM,
    PADDED,
    PREFACE,
    PRIORITY,
    Code,
    Decoder,
    Setting,
    Type,
    block,
    continuation,
    data,
    headers,
    pairs,
    parse,
    ping,
    request_fields,
    rst_stream,
    settings,
    settings_ack,
    to_bytes,
    window_update,
)
from peers import DEADLINE, deadline

WINDOW = 65535


@dataclass
class Message:
    fields: list
    body: bytearray = field(default_factory=bytearray)
    trailers: list = None
    interim: list = field(default_factory=list)

    def all(self, name):
        return [v.decode("latin-1") for n, v in self.fields if n == name.encode()]

    def get(self, name, default=None):
        found = self.all(name)
        assert len(found) < 2, f"{name} is there {len(found)} times: {self.fields}"
        return found[0] if found else default

    @property
    def status(self):
        return int(self.get(":status"))

    def names(self):
        return [n.decode() for n, _ in self.fields]


class Stream:
    def __init__(self, number, window):
        self.number = number
        self.message = None  # of the peer
        self.interim = []
        self.ended = False  # the peer has
        self.code = None  # of the peer's RST_STREAM
        self.window = window  # what we may send

    def over(self):
        return self.ended or self.code is not None


class H2:
    """One end of an HTTP/2 conn, over a Peer."""

    def __init__(self, peer, values=None, auto=True):
        self.peer, self.auto = peer, auto
        self.mine = {Setting.ENABLE_PUSH: 0} if self.first_stream else {}
        self.mine.update(values or {})
        self.theirs, self.decoder = {}, Decoder()
        self.frames, self.streams = [], {}
        self.window = WINDOW
        self.acked = self.pongs = 0
        self.next = self.first_stream
        self.gone = None  # (last stream, code, debug) of GOAWAY
        self.goaways = []
        self.open_block = None  # (stream, flags, bytes) before END_HEADERS

    first_stream = 1

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        self.peer.close()

    # ---- receiving ------------------------------------------------------------------------------

    def step(self, within=DEADLINE):
        """Takes one more frame and does what it asks for; None at the end of the conn."""
        until = deadline(within)
        while (got := parse(self.peer.received[self.peer.used :])) is None:
            if self.peer.eof:
                assert not self.peer.unread, f"the end inside a frame: {self.peer.unread!r}"
                return None
            self.peer._fill(until, f"a frame; the last were {self.frames[-5:]}")
        self.peer.used += got[1]
        frame = got[0].check(self.mine.get(Setting.MAX_FRAME_SIZE, 16384))
        assert self.frames or frame.type == Type.SETTINGS, f"the first frame is {frame}"
        self.frames.append(frame)
        self._obey(frame)
        return frame

    def poll(self):
        """Takes what is there now, without waiting."""
        while True:
            if parse(self.peer.received[self.peer.used :]) is not None:
                self.step()
                continue
            before = len(self.peer.received)
            self.peer.poll()
            if len(self.peer.received) == before:
                return

    def until(self, condition, what, within=DEADLINE):
        """Takes frames until condition() holds."""
        while not condition():
            try:
                ended = self.step(within) is None
            except ConnectionResetError:
                raise AssertionError(f"reset while waiting for {what}: {self.frames[-5:]}") from None
            assert not ended or condition(), f"the end before {what}: {self.frames[-5:]}"

    def _obey(self, f):
        if self.open_block:
            assert (f.type, f.stream) == (Type.CONTINUATION, self.open_block[0]), f"inside a block: {f}"
        if f.type == Type.SETTINGS:
            self._settings(f)
        elif f.type == Type.PING:
            if f.flags & ACK:
                self.pongs += 1
            else:
                self.put(ping(f.payload, ack=True))
        elif f.type == Type.GOAWAY:
            self.gone = (f.number() & 0x7FFFFFFF, Code(f.number(4)), f.payload[8:])
            self.goaways.append(self.gone)
        elif f.type == Type.WINDOW_UPDATE:
            self._credit(f.stream, f.number())
        elif f.type in (Type.HEADERS, Type.CONTINUATION):
            self._block(f)
        elif f.type == Type.DATA:
            self._data(f)
        elif f.type == Type.RST_STREAM:
            self.streams[f.stream].code = Code(f.number())
        else:
            assert f.type == Type.PRIORITY_UPDATE, f"not expected: {f}"

    def _settings(self, f):
        if f.flags & ACK:
            assert not f.payload
            self.acked += 1
            return
        for at in range(0, len(f.payload), 6):
            key, value = struct.unpack_from(">HI", f.payload, at)
            if key == Setting.INITIAL_WINDOW_SIZE:
                old = self.theirs.get(key, WINDOW)
                for s in self.streams.values():
                    s.window += value - old
            self.theirs[key] = value
        self.put(settings_ack())

    def _credit(self, stream, amount):
        if not stream:
            self.window += amount
        elif stream in self.streams:
            self.streams[stream].window += amount

    def _stream(self, number):
        if number not in self.streams:
            assert not self.first_stream, f"a stream that nobody opened: {number}"
            self.streams[number] = self._new_stream(number)
        return self.streams[number]

    def _new_stream(self, number):
        return Stream(number, self.theirs.get(Setting.INITIAL_WINDOW_SIZE, WINDOW))

    def _block(self, f):
        if f.type == Type.HEADERS:
            body = f.payload
            if f.flags & PADDED:
                body = body[1 : len(body) - body[0]]
            if f.flags & PRIORITY:
                body = body[5:]
            self.open_block = [f.stream, f.flags, body]
        else:
            self.open_block[2] += f.payload
        if f.flags & END_HEADERS:
            number, flags, body = self.open_block
            self.open_block = None
            self._head(self._stream(number), self.decoder.decode(body), bool(flags & END_STREAM))

    def _head(self, s, fields, ended):
        assert not s.over(), f"HEADERS on stream {s.number}, which is over"
        for name, _ in fields:
            assert name == name.lower(), f"upper case: {name}"
        regular = [n for n, _ in fields if not n.startswith(b":")]
        assert [n for n, _ in fields][len(fields) - len(regular) :] == regular, fields
        for bad in (b"connection", b"keep-alive", b"transfer-encoding", b"upgrade"):
            assert bad not in regular, fields
        if s.message is not None:
            assert ended, "trailers that do not end the stream"
            assert len(regular) == len(fields), f"pseudo-fields in trailers: {fields}"
            s.message.trailers = fields
        else:
            message = Message(fields)
            if self.first_stream and message.status < 200:
                assert not ended and message.status != 101, fields
                s.interim.append(message)
                return
            s.message = message
            message.interim = s.interim
        s.ended = ended

    def _data(self, f):
        s = self.streams[f.stream]
        assert s.message is not None and not s.over(), f"DATA on stream {f.stream}"
        body = f.payload[1 : len(f.payload) - f.payload[0]] if f.flags & PADDED else f.payload
        s.message.body += body
        s.ended = f.ended()
        if self.auto and f.payload:
            self.put(window_update(0, len(f.payload)))
            if not s.ended:
                self.put(window_update(f.stream, len(f.payload)))

    # ---- sending --------------------------------------------------------------------------------

    def put(self, frames):
        """Frames that go out by themselves."""
        self.peer.send(frames)

    def headers(self, stream, fields, end=False):
        """The fields as one block, cut into frames that fit."""
        whole = block(pairs(fields))
        first, rest = whole[:16384], whole[16384:]
        flags = (END_STREAM if end else 0) | (0 if rest else END_HEADERS)
        out = headers(stream, first, flags=flags)
        while rest:
            part, rest = rest[:16384], rest[16384:]
            out += continuation(stream, part, not rest)
        self.peer.send(out)

    def data(self, stream, payload=b"", end=False):
        """All of it, as fast as weir's windows allow."""
        s, payload = self.streams[stream], to_bytes(payload)
        while True:
            self.until(
                lambda: not payload or min(s.window, self.window) > 0 or s.code is not None,
                "credit",
            )
            assert s.code is None, f"stream {stream} was reset with {s.code!r}"
            part = payload[: max(0, min(s.window, self.window, 16384))]
            payload = payload[len(part) :]
            s.window -= len(part)
            self.window -= len(part)
            self.peer.send(data(stream, part, end and not payload))
            if not payload:
                return

    def spend(self, stream, payload):
        """Sends as much as the windows allow now: the bytes sent."""
        s, sent = self.streams[stream], 0
        while part := payload[sent : sent + max(0, min(s.window, self.window, 16384))]:
            s.window -= len(part)
            self.window -= len(part)
            sent += len(part)
            self.peer.send(data(stream, part))
        return sent

    def reset(self, stream, code=Code.CANCEL):
        self.peer.send(rst_stream(stream, code))

    def barrier(self):
        """A PING and its answer: weir has read whatever was sent before."""
        want = self.pongs + 1
        self.peer.send(ping())
        self.until(lambda: self.pongs >= want, "a PING's answer")

    # ---- what came ------------------------------------------------------------------------------

    def body(self, stream, count):
        """Waits for so many bytes of the peer's body in all, and returns what is there."""
        s = self.streams[stream]
        self.until(
            lambda: s.over() or s.message and len(s.message.body) >= count, f"{count} bytes of body"
        )
        return bytes(s.message.body)

    def ended(self, stream):
        """Waits for the peer's END_STREAM: its message."""
        s = self.streams[stream]
        self.until(s.over, f"the end of stream {stream}")
        assert s.code is None, f"stream {stream} was reset with {s.code!r}: {s.message}"
        return s.message

    def expect_rst(self, stream, code):
        """The stream is reset with exactly this code, and the conn lives."""
        s = self.streams[stream]
        self.until(s.over, f"RST_STREAM({code!r})")
        assert s.code == code, f"{s.code!r}, ended {s.ended}: {s.message}"
        assert self.gone is None, self.gone

    def expect_goaway(self, code, last=None):
        """GOAWAY with this code, and the end of the conn."""
        self.until(lambda: self.gone is not None, f"GOAWAY({code!r})")
        while self.gone[1] == Code.NO_ERROR != code:
            before = len(self.goaways)
            self.until(lambda: len(self.goaways) > before, f"GOAWAY({code!r})")
        assert self.gone[1] == code, self.gone
        assert last is None or self.gone[0] == last, self.gone
        self.expect_end()

    def expect_end(self):
        """Closed, or reset."""
        try:
            while self.step() is not None:
                pass
        except ConnectionResetError:
            pass


class H2Client(H2):
    def __init__(self, peer, values=None, auto=True, window=None, start=True):
        super().__init__(peer, values, auto)
        self.scheme = "https" if hasattr(peer, "tls") else "http"
        if start:
            more = window_update(0, window - WINDOW) if window else b""
            self.peer.send(PREFACE + settings(self.mine) + more)

    def hello(self):
        """Waits until both sides have each other's SETTINGS."""
        self.until(lambda: self.theirs and self.acked, "SETTINGS and their ACK")
        return self

    def open(self, fields, end=True):
        """HEADERS of a new stream: its number."""
        stream = self.next
        self.next += 2
        self.streams[stream] = self._new_stream(stream)
        self.headers(stream, fields, end)
        return stream

    def request(self, method="GET", path="/", host="a", more=(), body=None, end=True, trailers=None):
        """A request: its stream. With a body or end=False, the stream stays open after HEADERS."""
        fields = request_fields(method, path, host, self.scheme, more)
        stream = self.open(fields, end and body is None and trailers is None)
        if body is not None:
            self.data(stream, body, end and trailers is None)
        if trailers is not None:
            self.headers(stream, trailers, True)
        return stream

    def connect(self, path="/ws", host="a", protocol="websocket", more=()):
        """RFC 8441's extended CONNECT."""
        return self.open(request_fields("CONNECT", path, host, self.scheme, more, protocol), False)

    def head(self, stream):
        """The response's head; its body may still be to come."""
        s = self.streams[stream]
        self.until(lambda: s.message is not None or s.code is not None, "a response's head")
        assert s.message is not None, f"stream {stream} was reset with {s.code!r}"
        return s.message

    def interim(self, stream):
        """The next 1xx."""
        s = self.streams[stream]
        self.until(lambda: s.interim, "an interim response")
        return s.interim.pop(0)

    def response(self, stream):
        """The whole response."""
        return self.ended(stream)

    def get(self, path="/", **kw):
        return self.response(self.request(path=path, **kw))


class H2Server(H2):
    """The upstream's end."""

    first_stream = 0

    def __init__(self, peer, values=None, auto=True, window=None):
        super().__init__(peer, values, auto)
        self.taken = []
        peer.expect(PREFACE)
        more = window_update(0, window - WINDOW) if window else b""
        peer.send(settings(self.mine) + more)

    def accept(self, end=True):
        """The next request: (stream, message); with end, a whole one."""
        fresh = lambda: [n for n in self.streams if n not in self.taken]  # noqa: E731
        self.until(fresh, "a request")
        number = min(fresh())
        self.taken.append(number)
        return number, (self.ended(number) if end else self.streams[number].message)

    def respond(self, stream, status=200, body=b"", more=(), trailers=None, end=True):
        fields = [(":status", str(status)), *more]
        self.headers(stream, fields, end and not body and trailers is None)
        if body:
            self.data(stream, body, end and trailers is None)
        if trailers is not None:
            self.headers(stream, trailers, True)


def client(weir, listener="web", context=None, **options):
    """An HTTP/2 client of weir's: with prior knowledge, or by ALPN with a context."""
    if context:
        import tlspeer

        peer = tlspeer.TlsClient(weir.listeners[listener], context)
        assert peer.tls.selected_alpn_protocol() == "h2", peer.tls.selected_alpn_protocol()
        weir.clients.append(peer)
    else:
        peer = weir.client(listener)
    return H2Client(peer, **options)


def fields_of(head):
    """An HTTP/1 head's fields, as HTTP/2 names them."""
    return [(n.lower(), v) for n, v in wire.parse_head(head, wire.REQUEST_LINE)[0].fields]


__all__ = ["H2", "H2Client", "H2Server", "Message", "client", "fields_of", "peers"]
