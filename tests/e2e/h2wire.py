# SPDX-License-Identifier: Apache-2.0
"""HTTP/2 frames as bytes, by hand: what no library would send has to be sent, and what weir sends
is read strictly."""
import enum
import struct
from dataclasses import dataclass

import hpack

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"


class Type(enum.IntEnum):
    DATA = 0
    HEADERS = 1
    PRIORITY = 2
    RST_STREAM = 3
    SETTINGS = 4
    PUSH_PROMISE = 5
    PING = 6
    GOAWAY = 7
    WINDOW_UPDATE = 8
    CONTINUATION = 9
    PRIORITY_UPDATE = 16


class Code(enum.IntEnum):
    NO_ERROR = 0
    PROTOCOL_ERROR = 1
    INTERNAL_ERROR = 2
    FLOW_CONTROL_ERROR = 3
    SETTINGS_TIMEOUT = 4
    STREAM_CLOSED = 5
    FRAME_SIZE_ERROR = 6
    REFUSED_STREAM = 7
    CANCEL = 8
    COMPRESSION_ERROR = 9
    CONNECT_ERROR = 10
    ENHANCE_YOUR_CALM = 11
    INADEQUATE_SECURITY = 12
    HTTP_1_1_REQUIRED = 13


class Setting(enum.IntEnum):
    HEADER_TABLE_SIZE = 1
    ENABLE_PUSH = 2
    MAX_CONCURRENT_STREAMS = 3
    INITIAL_WINDOW_SIZE = 4
    MAX_FRAME_SIZE = 5
    MAX_HEADER_LIST_SIZE = 6
    ENABLE_CONNECT_PROTOCOL = 8
    NO_RFC7540_PRIORITIES = 9


END_STREAM, END_HEADERS, PADDED, PRIORITY, ACK = 1, 4, 8, 32, 1
KNOWN_FLAGS = {
    Type.DATA: END_STREAM | PADDED,
    Type.HEADERS: END_STREAM | END_HEADERS | PADDED | PRIORITY,
    Type.SETTINGS: ACK,
    Type.PING: ACK,
    Type.PUSH_PROMISE: END_HEADERS | PADDED,
    Type.CONTINUATION: END_HEADERS,
}
ON_STREAM = (Type.DATA, Type.HEADERS, Type.RST_STREAM, Type.CONTINUATION, Type.PUSH_PROMISE)
ON_CONN = (Type.SETTINGS, Type.PING, Type.GOAWAY, Type.PRIORITY_UPDATE)
SIZES = {Type.RST_STREAM: 4, Type.PING: 8, Type.WINDOW_UPDATE: 4, Type.PRIORITY: 5}


@dataclass
class Frame:
    type: int
    flags: int = 0
    stream: int = 0
    payload: bytes = b""

    def encode(self):
        return frame(self.type, self.flags, self.stream, self.payload)

    def ended(self):
        return bool(self.flags & END_STREAM) and self.type in (Type.DATA, Type.HEADERS)

    def number(self, at=0):
        return struct.unpack_from(">I", self.payload, at)[0]

    def check(self, most=16384):
        """What weir writes keeps to the letter of RFC 9113 section 6."""
        assert self.type in iter(Type), f"a frame of type {self.type}: {self}"
        self.type = Type(self.type)
        assert len(self.payload) <= most, f"{self.type.name} of {len(self.payload)} bytes"
        assert not self.flags & ~KNOWN_FLAGS.get(self.type, 0), f"undefined flags: {self}"
        assert self.stream or self.type not in ON_STREAM, f"on stream 0: {self}"
        assert not self.stream or self.type not in ON_CONN, f"on a stream: {self}"
        assert len(self.payload) == SIZES.get(self.type, len(self.payload)), f"size: {self}"
        if self.type == Type.WINDOW_UPDATE:
            assert 0 < self.number() < 1 << 31, f"increment: {self}"
        if self.type in (Type.RST_STREAM, Type.GOAWAY):
            code = self.number(4 if self.type == Type.GOAWAY else 0)
            assert code in iter(Code), f"error code {code}"
        return self


def frame(type_, flags=0, stream=0, payload=b"", length=None):
    length = len(payload) if length is None else length
    return struct.pack(">BHBBI", length >> 16, length & 0xFFFF, type_, flags, stream) + payload


def parse(buf):
    """(frame, its length), or None while it is incomplete."""
    if len(buf) < 9:
        return None
    high, low, type_, flags, stream = struct.unpack_from(">BHBBI", buf)
    end = 9 + (high << 16 | low)
    return (Frame(type_, flags, stream, bytes(buf[9:end])), end) if len(buf) >= end else None


# ---- one frame each -----------------------------------------------------------------------------


def settings(values=()):
    pairs = values.items() if isinstance(values, dict) else values
    return frame(Type.SETTINGS, 0, 0, b"".join(struct.pack(">HI", k, v) for k, v in pairs))


def settings_ack():
    return frame(Type.SETTINGS, ACK)


def headers(stream, block, end=True, flags=None):
    """One HEADERS frame with a whole block."""
    flags = END_HEADERS | (END_STREAM if end else 0) if flags is None else flags
    return frame(Type.HEADERS, flags, stream, block)


def continuation(stream, block, end=True):
    return frame(Type.CONTINUATION, END_HEADERS if end else 0, stream, block)


def data(stream, payload=b"", end=False):
    return frame(Type.DATA, END_STREAM if end else 0, stream, payload)


def rst_stream(stream, code=Code.CANCEL):
    return frame(Type.RST_STREAM, 0, stream, struct.pack(">I", code))


def ping(payload=b"weirweir", ack=False):
    return frame(Type.PING, ACK if ack else 0, 0, payload)


def goaway(last=0, code=Code.NO_ERROR, debug=b""):
    return frame(Type.GOAWAY, 0, 0, struct.pack(">II", last, code) + debug)


def window_update(stream, increment):
    return frame(Type.WINDOW_UPDATE, 0, stream, struct.pack(">I", increment))


def priority(stream, depends=0, weight=16):
    return frame(Type.PRIORITY, 0, stream, struct.pack(">IB", depends, weight - 1))


def priority_update(stream, value):
    return frame(Type.PRIORITY_UPDATE, 0, 0, struct.pack(">I", stream) + value)


# ---- header blocks ------------------------------------------------------------------------------


def number(value, prefix, first=0):
    """HPACK's integer."""
    most = (1 << prefix) - 1
    if value < most:
        return bytes([first | value])
    out, value = bytearray([first | most]), value - most
    while value >= 128:
        out.append(value & 127 | 128)
        value >>= 7
    return bytes(out) + bytes([value])


def literal(name, value, never=False):
    """One field, neither indexed nor compressed: no table of either side changes, and any byte may
    be in it. never: nor may it be indexed by anybody (RFC 7541 section 6.2.3)."""
    return (b"\x10" if never else b"\0") + b"".join(number(len(x), 7) + x for x in map(to_bytes, (name, value)))


def block(fields):
    """A header block without state: it may be sent on any connection and any number of times."""
    return b"".join(literal(n, v) for n, v in fields)


def to_bytes(text):
    return text.encode("latin-1") if isinstance(text, str) else bytes(text)


def pairs(fields):
    return [(to_bytes(n), to_bytes(v)) for n, v in fields]


def request_fields(method="GET", path="/", host="a", scheme="http", more=(), protocol=None):
    head = [(":method", method), (":scheme", scheme), (":authority", host), (":path", path)]
    if protocol:
        head.insert(1, (":protocol", protocol))
    return pairs([*head, *more])


class Decoder:
    """HPACK's state of one direction; fields as bytes."""

    def __init__(self):
        self.hpack = hpack.Decoder(max_header_list_size=1 << 20)
        self.never = []  # names of the fields that were never to be indexed

    def decode(self, data):
        fields = self.hpack.decode(data, raw=True)
        self.never += [bytes(f[0]) for f in fields if not f.indexable]
        return [(bytes(n), bytes(v)) for n, v in fields]
