# SPDX-License-Identifier: Apache-2.0
"""HTTP/1 as stories write and read it, for peers that speak HTTP/2 in its place (h2client.py,
h2upstream.py): a parser of pieces, and names and phrases as HTTP/1 has them."""
import base64
import hashlib
import re

import wire

HOP_BY_HOP = {b"connection", b"keep-alive", b"proxy-connection", b"transfer-encoding", b"upgrade"}
CAPITALS = {b"te": b"TE", b"etag": b"ETag", b"www-authenticate": b"WWW-Authenticate"}
MOST = 1 << 18


def capitals(name):
    return CAPITALS.get(name) or b"-".join(part.capitalize() for part in name.split(b"-"))


def lines(fields):
    """Field lines, without pseudo-fields."""
    return b"".join(
        capitals(n) + b": " + v + b"\r\n" for n, v in fields if not n.startswith(b":")
    )


def end_to_end(message):
    """A message's fields as HTTP/2 has them: lower case, and without those of the conn."""
    named = {n.strip().lower() for v in message.all("connection") for n in v.split(",")}
    gone = HOP_BY_HOP | {n.encode("latin-1") for n in named}
    fields = [(n.lower(), v) for n, v in message.fields]
    return [(n, v) for n, v in fields if n not in gone]


def accept_of(key):
    """Sec-WebSocket-Accept for a Sec-WebSocket-Key."""
    magic = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
    return base64.b64encode(hashlib.sha1((key + magic).encode()).digest()).decode()


class Parser:
    """Reads messages from pieces of any size, and hands on what it can at once:

    sink.head(message, length)   length: 0, a number, or None for chunked
    sink.data(bytes, last)       -> how many of them it took
    sink.end(trailers)           of a chunked body
    """

    def __init__(self, sink, start_line):
        self.sink, self.start_line = sink, start_line
        self.buf, self.state, self.left = bytearray(), self._head, 0

    def feed(self, data):
        """-> how many bytes of data were taken: none of those that the sink has no room for."""
        self.buf += data
        while self.state():
            pass
        if not self.blocked():
            return len(data)
        taken = len(data) - len(self.buf)
        self.buf.clear()
        return taken

    def blocked(self):
        """The sink takes no more of a body."""
        return bool(self.buf) and self.in_body()

    def in_body(self):
        return self.state in (self._sized, self._chunk, self._tunnel)

    def hold(self):
        """Until tunnel() or proceed(): what comes now may be either."""
        self.state = self._held

    def held(self):
        return self.state == self._held

    def tunnel(self):
        self._go_on(self._tunnel)

    def proceed(self):
        self._go_on(self._head)

    def until_close(self):
        """From the sink's head(): the body ends with the conn."""
        self.state = self._tunnel

    def next_head(self):
        """From the sink's head(): there is no body, whatever the fields say."""
        self.state = self._head

    def _go_on(self, state):
        self.state = state
        while self.state():
            pass
        assert not self.blocked(), "more than there is credit for, before the answer"

    def _held(self):
        return False

    def _tunnel(self):
        taken = self.sink.data(bytes(self.buf[:MOST]), False) if self.buf else 0
        del self.buf[:taken]
        return bool(taken)

    def _head(self):
        got = wire.parse_head(self.buf, self.start_line) if self.buf else None
        if not got:
            return False
        message, used = got
        del self.buf[:used]
        chunked, length = wire.framing_fields(message)
        self.left = length or 0
        self.state = self._chunk_size if chunked else self._sized if length else self._head
        self.sink.head(message, None if chunked else self.left)
        return True

    def _take(self, sized):
        part = bytes(self.buf[: min(self.left, MOST)])
        taken = self.sink.data(part, sized and len(part) == self.left) if part else 0
        del self.buf[:taken]
        self.left -= taken
        return taken

    def _sized(self):
        taken = self._take(True)
        if not self.left:
            self.state = self._head
        return bool(taken)

    def _line(self):
        at = self.buf.find(b"\r\n")
        if at < 0:
            return None
        line = bytes(self.buf[:at])
        del self.buf[: at + 2]
        return line

    def _chunk_size(self):
        line = self._line()
        if line is None:
            return False
        assert wire.CHUNK_SIZE.fullmatch(line), f"of HTTP/1 only: chunk size {line!r}"
        self.left = int(line, 16)
        self.state = self._chunk if self.left else self._trailers
        return True

    def _chunk(self):
        taken = self._take(False)
        if not self.left:
            self.state = self._chunk_end
        return bool(taken)

    def _chunk_end(self):
        line = self._line()
        assert not line, f"of HTTP/1 only: {line!r} behind a chunk"
        if line is not None:
            self.state = self._chunk_size
        return line is not None

    def _trailers(self):
        end = re.match(rb"\r\n|(?s:.*?)\r\n\r\n", self.buf)
        if not end:
            return False
        text = end.group().removesuffix(b"\r\n").removesuffix(b"\r\n")
        del self.buf[: end.end()]
        self.state = self._head
        self.sink.end(wire.parse_fields(text.split(b"\r\n"), "trailers") if text else [])
        return True
