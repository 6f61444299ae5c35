# SPDX-License-Identifier: Apache-2.0
"""What HTTP/1 looks like on the wire: a strict parser and patterns for expected bytes.

The parser is deliberately independent of weir and stricter than any peer has to be: everything that
weir writes goes through it, so whatever is sloppy in weir's output is an error here, never
tolerated.
"""
import difflib
import http
import re
from dataclasses import dataclass, field

TOKEN = rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+"
REQUEST_LINE = re.compile(rb"(" + TOKEN + rb") ([^\x00-\x20\x7f]+) HTTP/1\.1")
STATUS_LINE = re.compile(rb"HTTP/1\.1 ([1-9][0-9][0-9]) ([\t\x20-\x7e\x80-\xff]*)")
FIELD_LINE = re.compile(
    rb"(" + TOKEN + rb"):[ \t]*((?:[!-~\x80-\xff](?:[\t -~\x80-\xff]*[!-~\x80-\xff])?)?)[ \t]*"
)
START = re.compile(rb"HTTP/1\.1 [1-9][0-9][0-9] |" + REQUEST_LINE.pattern + rb"\r\n")
# Where http.HTTPStatus of an older Python has other words than RFC 9110.
PHRASES = {413: "Content Too Large", 414: "URI Too Long", 416: "Range Not Satisfiable"}
CHUNK_SIZE = re.compile(rb"[0-9A-Fa-f]{1,16}")
BODYLESS = (204, 304)

# Placeholders in expected bytes: what differs from run to run, as an exact pattern of what is
# allowed.
PLACEHOLDERS = {
    b"{uuid7}": rb"[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}",
    b"{date}": rb"Date: (?:Mon|Tue|Wed|Thu|Fri|Sat|Sun), [0-3][0-9] (?:Jan|Feb|Mar|Apr|May|Jun|Jul|Aug"
    rb"|Sep|Oct|Nov|Dec) 20[0-9][0-9] [0-2][0-9]:[0-5][0-9]:[0-6][0-9] GMT",
}
# {fwd:HOST} stands for the four lines that weir appends to every forwarded request.
FORWARDING = (
    b"X-Forwarded-For: 127.0.0.1\r\nX-Forwarded-Proto: %b\r\n"
    b"X-Forwarded-Host: %b\r\nX-Request-Id: {uuid7}"
)
# What clients and upstreams speak: conftest.py's, while tests run in a cell of the matrix.
scheme = b"http"
h2 = h2_client = False  # on any side; on the client's


class WireError(AssertionError):
    """Bytes that a strict peer would refuse."""


@dataclass
class Message:
    start: bytes
    fields: list
    head: bytes  # the raw head, with its empty line
    framing: str = "none"  # none | length | chunked | close | tunnel
    body: bytes = b""
    trailers: list = field(default_factory=list)
    wire: bytes = b""  # every byte of it

    def get(self, name, default=None):
        """The field's value; fails if it is there more than once."""
        found = self.all(name)
        if len(found) > 1:
            raise WireError(f"{name} is there {len(found)} times: {self.head!r}")
        return found[0] if found else default

    def all(self, name):
        name = name.encode() if isinstance(name, str) else name
        return [v.decode("latin-1") for n, v in self.fields if n.lower() == name.lower()]

    def names(self):
        return [n.decode() for n, _ in self.fields]

    @property
    def status(self):
        return int(self.start.split(b" ")[1])

    @property
    def phrase(self):
        return self.start.split(b" ", 2)[2].decode("latin-1")

    @property
    def method(self):
        return self.start.split(b" ")[0].decode()

    @property
    def target(self):
        return self.start.split(b" ")[1].decode("latin-1")


def parse_fields(lines, where):
    out = []
    for line in lines:
        m = FIELD_LINE.fullmatch(line)
        if not m:
            raise WireError(f"invalid field line {line!r} in {where}")
        out.append((m.group(1), m.group(2)))
    return out


def parse_head(buf, start_line):
    """(message, length of the head), or None while the head is incomplete."""
    if buf[:1] in (b"\r", b"\n"):
        raise WireError(f"a line end where a start line was expected: {buf[:80]!r}")
    end = buf.find(b"\r\n\r\n")
    if end < 0:
        if re.search(rb"(?<!\r)\n|\r(?!\n)(?!$)", buf):
            raise WireError(f"a bare CR or LF in the head: {buf[:400]!r}")
        return None
    head = bytes(buf[: end + 4])
    lines = head[:-4].split(b"\r\n")
    if not start_line.fullmatch(lines[0]):
        raise WireError(f"invalid start line {lines[0]!r}")
    return Message(lines[0], parse_fields(lines[1:], repr(head)), head), end + 4


def framing_fields(msg):
    te, cl = msg.all("transfer-encoding"), msg.all("content-length")
    if te and cl:
        raise WireError(f"Content-Length together with Transfer-Encoding: {msg.head!r}")
    if te and te != ["chunked"]:
        raise WireError(f"Transfer-Encoding {te!r}")
    if len(cl) > 1 or (cl and not re.fullmatch(r"[0-9]+", cl[0])):
        raise WireError(f"Content-Length {cl!r}")
    return bool(te), int(cl[0]) if cl else None


def parse_chunked(buf, at):
    """(body, trailers, end), or None while it is incomplete. No extensions: weir has none to
    write."""
    body = []
    while True:
        eol = buf.find(b"\r\n", at)
        if eol < 0:
            if len(buf) - at > 17 or not re.fullmatch(rb"[0-9A-Fa-f]*\r?", bytes(buf[at:])):
                raise WireError(f"invalid chunk size {bytes(buf[at:at + 40])!r}")
            return None
        size_text = bytes(buf[at:eol])
        if not CHUNK_SIZE.fullmatch(size_text):
            raise WireError(f"invalid chunk size {size_text!r}")
        size, at = int(size_text, 16), eol + 2
        if size == 0:
            break
        if len(buf) < at + size + 2:
            return None
        body.append(bytes(buf[at : at + size]))
        if buf[at + size : at + size + 2] != b"\r\n":
            raise WireError(f"no CRLF after a chunk: {bytes(buf[at + size:at + size + 10])!r}")
        at += size + 2
    if buf[at : at + 2] == b"\r\n":
        return b"".join(body), [], at + 2
    end = buf.find(b"\r\n\r\n", at)
    if end < 0:
        return None
    return b"".join(body), parse_fields(bytes(buf[at:end]).split(b"\r\n"), "trailers"), end + 4


def _finish(msg, buf, head_len, chunked, length):
    if chunked:
        done = parse_chunked(buf, head_len)
        if done is None:
            return None
        msg.framing, (msg.body, msg.trailers, end) = "chunked", done
    else:
        end = head_len + (length or 0)
        if len(buf) < end:
            return None
        msg.framing = "none" if length is None else "length"
        msg.body = bytes(buf[head_len:end])
    msg.wire = bytes(buf[:end])
    return msg, end


def parse_request(buf):
    """The first request in buf: (message, length), or None while it is incomplete."""
    got = parse_head(buf, REQUEST_LINE)
    if got is None:
        return None
    msg, head_len = got
    return _finish(msg, buf, head_len, *framing_fields(msg))


def parse_response(buf, method="GET", eof=False):
    """The first response in buf, 1xx ones included: (message, length), or None while it is
    incomplete."""
    got = parse_head(buf, STATUS_LINE)
    if got is None:
        if eof and buf:
            raise WireError(f"closed inside a head: {bytes(buf[:400])!r}")
        return None
    msg, head_len = got
    chunked, length = framing_fields(msg)
    if msg.status < 200 or msg.status == 204:
        if chunked or length is not None:
            raise WireError(f"a {msg.status} with a length or coding: {msg.head!r}")
    if msg.status == 101:
        msg.framing, msg.wire = "tunnel", msg.head
        return msg, head_len
    if msg.status < 200 or msg.status in BODYLESS or method == "HEAD":
        msg.wire = msg.head
        return msg, head_len
    if not chunked and length is None:
        if not eof:
            return None
        msg.framing, msg.body, msg.wire = "close", bytes(buf[head_len:]), bytes(buf)
        return msg, len(buf)
    done = _finish(msg, buf, head_len, chunked, length)
    if done is None and eof:
        raise WireError(f"closed inside a body: {bytes(buf[:400])!r}")
    return done


def parse_responses(buf, methods, eof=False):
    """All the responses in buf to requests of these methods: (list, the rest)."""
    out, methods = [], list(methods)
    while buf:
        method = methods[0] if methods else "GET"
        got = parse_response(buf, method, eof)
        if got is None:
            break
        out.append(got[0])
        buf = buf[got[1] :]
        if got[0].status >= 200 and methods:
            methods.pop(0)
        if got[0].framing == "tunnel":
            break
    return out, bytes(buf)


# ---- expected bytes -----------------------------------------------------------------------------


def expand(text):
    """Expected bytes as the test wrote them, with {fwd:HOST} spelled out; \\n in text means
    CRLF."""
    data = text.encode("latin-1") if isinstance(text, str) else text
    return re.sub(rb"\{fwd:([^}]*)\}", lambda m: FORWARDING % (scheme, m.group(1)), data)


def neutral(expected):
    """The same as it comes where HTTP/2 is spoken too: without reason phrases of its own, and to a
    client of HTTP/2 without word of the conn."""
    data = expand(expected)
    start = STATUS_LINE.match(data)
    if not h2 or not start:
        return data
    head, end, body = data.partition(b"\r\n\r\n")
    _, *fields = head.split(b"\r\n")
    status = int(start.group(1))
    if status != 101 and h2_client:
        fields = [f for f in fields if not f.lower().startswith((b"connection:", b"keep-alive:"))]
    first = b"HTTP/1.1 %d %b" % (status, phrase(status).encode())
    return b"\r\n".join([first, *fields]) + end + body


def phrase(status):
    """As HTTP/1 writes it where nobody gave another."""
    known = [s.phrase for s in http.HTTPStatus if s == status]
    return PHRASES.get(status) or (known[0] if known else "")


def _any_case(lines):
    """Of field lines in a regex, the names."""
    return re.sub(rb"(?<=\n)[^:\n]+(?=:)", rb"(?i:\g<0>)", lines)


def pattern(expected):
    """A regex that matches exactly these bytes, with the placeholders open; names in any case where
    HTTP/2 is spoken."""
    parts = re.split(rb"(\{uuid7\}|\{date\})", neutral(expected))
    regex = b"".join(PLACEHOLDERS.get(p) or re.escape(p) for p in parts)
    if h2 and START.match(parts[0]):
        head, end, body = regex.partition(re.escape(b"\r\n\r\n"))
        body, mark, trailers = body.partition(re.escape(END_OF_CHUNKS))
        regex = _any_case(head) + end + body + mark + _any_case(b"\n" + trailers)[1:]
    # An empty field value may stand after "name:" or after "name: "; both say the same.
    return re.compile(re.sub(rb":(\\ )?\\\r\\\n", lambda _: b": ?\r\n", regex), re.S)


def show(data):
    """Bytes as readable lines, for diffs."""
    text = data.decode("latin-1").replace("\r\n", "\\r\\n\n")
    return [
        re.sub(r"[^\x20-\x7e]", lambda c: f"\\x{ord(c.group()):02x}", line)
        for line in text.split("\n")
    ]


def diff(expected, got):
    return "\n".join(
        difflib.unified_diff(show(neutral(expected)), show(got), "expected", "got", "", "", 99, "")
    )


def assert_bytes(expected, got, what="bytes"):
    """got is exactly expected, placeholders apart."""
    if not pattern(expected).fullmatch(got):
        raise AssertionError(f"{what} differ:\n{diff(expected, got)}")


END_OF_CHUNKS = b"\r\n<end of chunks>\r\n"


def normal_form(msg, head=None):
    """A message with its body free of how it was cut into chunks: comparable bytes."""
    out = (msg.head if head is None else head) + msg.body
    if msg.framing == "chunked":
        out += END_OF_CHUNKS + b"".join(
            n + b": " + v + b"\r\n" for n, v in msg.trailers
        )
    return out


def expected_normal_form(expected, parse, **kw):
    """The same of expected bytes. Chunk sizes are weir's own business; everything else must be
    equal."""
    data = expand(expected)
    got = parse(_concrete(data), **kw)
    assert got and got[1] == len(
        _concrete(data)
    ), f"the test's own expectation is no message: {data!r}"
    end = data.index(b"\r\n\r\n") + 4
    return normal_form(got[0], data[:end])


def _concrete(data):
    """Placeholders replaced by an example, so that the strict parser can read the expectation."""
    return data.replace(b"{uuid7}", b"01900000-0000-7000-8000-000000000000").replace(
        b"{date}", b"Date: Sun, 22 Nov 2026 10:00:00 GMT"
    )


def assert_message(expected, msg, what, parse, **kw):
    """One parsed message is exactly the expected one; a chunked body may be cut into other
    chunks."""
    assert_bytes(expected_normal_form(expected, parse, **kw), normal_form(msg), what)
