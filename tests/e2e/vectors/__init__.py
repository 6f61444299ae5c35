# SPDX-License-Identifier: Apache-2.0
"""Message vectors: what goes in at one end of weir and must come out at the other, as data.

tests/e2e/test_vectors.py sends each one whole, split at every byte position, and byte by byte, in
both directions. Line ends are written out (\\r\\n); the placeholders are those of wire.py.
"""
import re
import zlib
from dataclasses import dataclass


@dataclass(frozen=True)
class Exchange:
    """One request that reaches the upstream, its answer, and what the client must get for it."""

    upstream: str  # the exact request at the upstream
    answer: str  # the bytes that the upstream answers
    client: str = None  # the exact response at the client; None: see V.fails and V.cut
    then: str = ""  # "close": the upstream closes after its answer


@dataclass(frozen=True)
class V:
    name: str  # a sentence of the specification
    send: str  # all the client's bytes
    exchanges: tuple = ()
    rejects: tuple = None  # (status, reason): weir's own answer to the (last) request
    fails: tuple = None  # (status, reason): weir's own answer to the upstream's last answer
    cut: str = None  # the reason: the client's stream ends without its message's end
    closes: bool = False  # the client's connection is closed after the last response
    starts: str = None  # the head that may reach the upstream before the rejection
    split: bool = True  # False: too long for one connection for every byte position
    gone: bool = False  # the client half-closes after its bytes

    @property
    def methods(self):
        """The method of each request, as the client knows it for reading the responses."""
        return [e.upstream.split(" ", 1)[0] for e in self.exchanges]

    @property
    def reason(self):
        own = self.rejects or self.fails
        return own[1] if own else self.cut

    @property
    def ends(self):
        return bool(self.closes or self.rejects or self.cut)


OK = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
OK_CLIENT = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n{date}\r\n\r\nok"
OK_CLOSED = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n{date}\r\nConnection: close\r\n\r\nok"


def passes(name, send, upstream, answer=OK, client=OK_CLIENT, then="", **kw):
    """One request, forwarded, and its response."""
    return V(name, send, (Exchange(upstream, answer, client, then),), **kw)


def rejected(name, send, status, reason, **kw):
    """One request that weir answers by itself; nothing reaches the upstream."""
    return V(name, send, rejects=(status, reason), **kw)


def get(name, upstream_fields="", fields="", target="/", to=None, host="a", **kw):
    """A GET whose fields and target change on the way as given."""
    return passes(
        name,
        f"GET {target} HTTP/1.1\r\nHost: {host}\r\n{fields}\r\n",
        f"GET {to or target} HTTP/1.1\r\nHost: {host}\r\n{upstream_fields}{{fwd:{host}}}\r\n\r\n",
        **kw,
    )


def answered(name, answer, client=None, then="", method="GET", **kw):
    """What becomes of an upstream's answer. Each has a target of its own, so that all fit into one
    batch."""
    target = f"/{zlib.crc32(name.encode()):08x}"
    return V(
        name,
        f"{method} {target} HTTP/1.1\r\nHost: a\r\n\r\n",
        (
            Exchange(
                f"{method} {target} HTTP/1.1\r\nHost: a\r\n{{fwd:a}}\r\n\r\n", answer, client, then
            ),
        ),
        **kw,
    )


def ident(vector):
    return re.sub(r"[^0-9A-Za-z]+", "-", vector.name).strip("-")[:90]
