# SPDX-License-Identifier: Apache-2.0
"""What a story runs over: HTTP/1 or HTTP/2 on either side, plain or TLS, one worker or two.

A module whose stories are the same over all of it says so, and each of its tests runs over each of
these cells (conftest.py); what only makes sense over some, it says too, and why:

    MATRIX = Matrix()
    MATRIX = Matrix(workers=(1,))  # idle conns are kept for each worker

    @pytest.mark.h1_client("pipelining is HTTP/1's")
    @pytest.mark.h1_upstream("...")

A test tells its peers everything as HTTP/1; where the cell says h2, h2client.py and h2upstream.py
stand between it and the socket.
"""
import functools
import itertools
import os
import re
import zlib
from dataclasses import dataclass, field, replace

import yaml

import h2upstream
import harness
import peers

BOTH = ("h1", "h2")
# Every test in every cell, if somebody asks for it. Else in a release build all tests that share a
# weir, and some cells for the others; where weir is slow, and under faults, some cells for all.
WHOLE = os.environ.get("WEIR_MATRIX") == "all"
SAMPLED = bool(harness.sanitizer() or harness.FAULTS)
SAMPLE = 3

# What rules a side out: its marker, and what is left.
MARKERS = (
    ("h1_client", "clients", "h1"),
    ("h1_upstream", "upstreams", "h1"),
    ("plain", "secure", False),
)


@dataclass(frozen=True)
class Side:
    """One cell: what both sides of weir are like."""

    client: str = "h1"
    upstream: str = "h1"
    secure: bool = False
    workers: int = harness.WORKERS

    @property
    def version(self):
        """Of the client's requests, as the access log has it."""
        return "HTTP/2.0" if self.client == "h2" else "HTTP/1.1"

    def __str__(self):
        return f"{self.client}-{self.upstream}-{'tls' if self.secure else 'plain'}-{self.workers}w"


# The same object for the same cell: pytest goes by identity when it asks itself whether the weir of
# the test before is that of the next one.
cell = functools.cache(Side)


@dataclass(frozen=True)
class Matrix:
    clients: tuple = BOTH
    upstreams: tuple = BOTH
    secure: tuple = (False, True)
    workers: tuple = (1, 2) if "WEIR_WORKERS" not in os.environ else (harness.WORKERS,)

    def cells(self):
        return [
            cell(*c)
            for c in itertools.product(self.clients, self.upstreams, self.secure, self.workers)
        ]

    def narrowed(self, test):
        """Without what a test's markers rule out."""
        less = {
            name: (value,)
            for marker, name, value in MARKERS
            if test.get_closest_marker(marker)
        }
        return replace(self, **less)

    def spread(self, name):
        """Each pair of protocols once, over TLS and with two workers by turns: all cells are met
        over a few tests."""
        turn = zlib.crc32(name.encode())
        ways = list(itertools.product(self.secure, self.workers))
        pairs = itertools.product(self.clients, self.upstreams)
        return [cell(*pair, *ways[(turn + i) % len(ways)]) for i, pair in enumerate(pairs)]

    def sample(self, name):
        """A few cells, others for other names."""
        cells = self.cells()
        turn = zlib.crc32(name.encode())
        picked = {(turn + i * len(cells) // SAMPLE) % len(cells) for i in range(SAMPLE)}
        return [cells[i] for i in sorted(picked)]


@dataclass
class Tls:
    """What all the tests of a run show and trust, made once."""

    authority: object
    made: dict = field(default_factory=dict)

    def _once(self, what, make):
        if what not in self.made:
            self.made[what] = make()
        return self.made[what]

    def pair(self):
        return self._once("pair", self.authority.server)

    def client_context(self, protocol):
        alpn = ["h2"] if protocol == "h2" else []
        return self._once(
            f"client {protocol}", lambda: self.authority.client_context(alpn=alpn)
        )

    def server_context(self, protocol):
        alpn = ["h2"] if protocol == "h2" else []
        return self._once(
            f"server {protocol}", lambda: self.authority.server_context(self.pair(), alpn=alpn)
        )


def over(config, side, tls, upstreams):
    """The same configuration in this cell; the pools of those upstreams' addresses speak what the
    upstreams do."""
    if not side.secure and side.upstream == "h1":
        return config
    tree = yaml.safe_load(config)
    if side.secure:
        listeners = tree.setdefault("listeners", {"web": "127.0.0.1:0"})
        for name, one in listeners.items():
            one = one if isinstance(one, dict) else {"bind": one}
            listeners[name] = {"tls": {"certs": [str(tls.pair().cert)]}, **one}
    for name, pool in tree["pools"].items():
        pool = {"endpoints": pool} if isinstance(pool, list) else pool
        if any(address_of(e) in upstreams for e in pool["endpoints"]):
            more = pool.setdefault("upstream", {})
            if side.secure:
                ca = str(tls.authority.cert)
                more.setdefault("tls", {"ca": ca, "sni": "a.example"})
                more.setdefault("connect", harness.PATIENT)
            if side.upstream == "h2":
                more.setdefault("protocol", "h2")
        tree["pools"][name] = pool
    asides = re.findall(r"^# .*$", config, re.M)  # which harness.py reads
    return "\n".join([*asides, yaml.safe_dump(tree)])


def address_of(endpoint):
    address = endpoint["address"] if isinstance(endpoint, dict) else endpoint
    return address.replace("localhost:", "127.0.0.1:")


class Place:
    """Makes weirs and upstreams that are as a cell says."""

    def __init__(self, side, tls):
        self.side, self.tls = side, tls
        self.addresses = set()  # of the upstreams that are so

    def weir(self, config, tmp, workers=None, **options):
        config = over(config, self.side, self.tls, self.addresses)
        weir = harness.Weir(config, tmp, workers or self.side.workers, **options)
        weir.client_protocol = self.side.client
        if self.side.secure:
            weir.secure = self.tls.client_context(self.side.client)
        return weir

    def upstream(self, **kw):
        make = h2upstream.H2Upstream if self.side.upstream == "h2" else peers.Upstream
        made = make(**kw)
        if self.side.secure:
            made.secure = self.tls.server_context(self.side.upstream)
        self.addresses.add(made.address)
        return made

    def forget(self, ports):
        """Who was there is gone, and somebody else may come who is otherwise."""
        self.addresses = {a for a in self.addresses if a.rpartition(":")[2] not in map(str, ports)}

    def auto(self, *args, **kw):
        if self.side.upstream == "h1":
            return peers.AutoUpstream(*args, **kw)
        secure = self.tls.server_context("h2") if self.side.secure else None
        made = h2upstream.H2AutoUpstream(*args, secure=secure, **kw)
        self.addresses.add(made.address)
        return made
