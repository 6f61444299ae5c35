# SPDX-License-Identifier: Apache-2.0
"""What a proxy is set up for in one sample, and the little language of the templates in rivals/.

    @NAME@             a value
    @if WORD@ text     the line stands only if the setup has this word; @if !WORD@: only if not
    @each route@ text  once for every route but the last, which takes everything else; @ROUTE@ is
                       its path
    @each endpoint@ text   once for every endpoint: @ENDPOINT@, or @ENDPOINT_HOST@ and
                       @ENDPOINT_PORT@, and @NUMBER@

Lines in a row with the same `@each` are repeated together. Prefixes are read from the left, so
`@if tls@ @if h2@ text` wants both.
"""
import dataclasses
import itertools
import re

# What `@if` may ask for.
WORDS = ("tls", "h2", "websocket", "log", "routes", "endpoints", "h1-upstream", "h2-upstream",
         "tls-upstream", "grpc")
PREFIX = re.compile(r"@(if|each) ([!a-z0-9-]+)@ ?")


@dataclasses.dataclass(frozen=True)
class Setup:
    backend: str = ""          # host:port
    routes: int = 1
    endpoints: int = 1         # more than one: as many loopback addresses with the backend's port
    pair: tuple = ()           # (certificate, key, both in one file) of whoever speaks TLS here
    tls: bool = False          # clients speak TLS
    h2: bool = False           # clients may speak HTTP/2
    websocket: bool = False    # upgrades are let through
    upstream: str = "h1"       # what the backend speaks: h1, tls (h1 over it), h2 or grpc
    access_log: bool = False

    def words(self):
        """The words of this setup that a template can ask for."""
        found = {"tls": self.tls, "h2": self.h2, "websocket": self.websocket,
                 "log": self.access_log, "routes": self.routes > 1,
                 "endpoints": self.endpoints > 1,
                 "h1-upstream": self.upstream in ("h1", "tls"),
                 "tls-upstream": self.upstream == "tls", "h2-upstream": self.upstream == "h2",
                 "grpc": self.upstream == "grpc"}
        return {word for word, holds in found.items() if holds}

    def endpoint_list(self):
        """All of 127.0.0.0/8 is the loopback, so one backend has as many addresses as wanted."""
        if self.endpoints == 1:
            return [self.backend]
        port = self.backend.rsplit(":", 1)[1]
        return [f"127.{1 + n // 62500}.{n // 250 % 250}.{1 + n % 250}:{port}"
                for n in range(self.endpoints)]

    def route_list(self):
        """The paths of all routes but the one that takes everything else."""
        return [f"/r{n}" for n in range(1, self.routes)]

    def path(self):
        """A path of the last route: where a list is searched in order, it is the far end."""
        return f"/r{self.routes - 1}/"


def render(text, setup, values):
    """A template's text with the setup's lines and values in it."""
    lines = expand(text.splitlines(), setup, setup.words())
    return re.sub("@([A-Z_]+)@", lambda m: str(values[m[1]]), "\n".join(lines)) + "\n"


def expand(lines, setup, words):
    """The lines with their prefixes done, from the left: every group that shares one is taken
    together."""
    done = []
    for prefix, group in itertools.groupby(lines, lambda line: PREFIX.match(line) and
                                           PREFIX.match(line).groups()):
        group = list(group)
        if not prefix:
            done += group
            continue
        kind, word = prefix
        rest = [PREFIX.sub("", line, count=1) for line in group]
        if kind == "if":
            if word.lstrip("!") not in WORDS:
                raise ValueError(f"@if {word}@: no such word; there are {', '.join(WORDS)}")
            if (word.lstrip("!") in words) != (word[0] == "!"):
                done += expand(rest, setup, words)
        elif word in ("route", "endpoint"):
            rest = "\n".join(expand(rest, setup, words))
            items = setup.route_list() if word == "route" else setup.endpoint_list()
            fill = fill_route if word == "route" else fill_endpoint
            done += [fill(rest, number, item) for number, item in enumerate(items, 1)]
        else:
            raise ValueError(f"@each {word}@: there are route and endpoint")
    return done


def fill_route(text, _number, path):
    return text.replace("@ROUTE@", path)


def fill_endpoint(text, number, address):
    host, port = address.rsplit(":", 1)
    for name, value in (("ENDPOINT_HOST", host), ("ENDPOINT_PORT", port), ("ENDPOINT", address),
                        ("NUMBER", str(number))):
        text = text.replace(f"@{name}@", value)
    return text
