# SPDX-License-Identifier: Apache-2.0
"""Which pool a request goes to: Gateway API's precedence, end to end."""
import re
import tempfile

import pytest

from harness import assert_authored
from matrix import Matrix

MATRIX = Matrix()

ROUTES = """
routes:
  - { name: every-host, match: { path: /h }, to: p1 }
  - { name: wild, match: { host: "*.example.com", path: /h }, to: p2 }
  - { name: longer-wild, match: { host: "*.deep.example.com", path: /h }, to: p3 }
  - { name: exact-host, match: { host: shop.example.com, path: /h }, to: p4 }
  - { name: two-hosts, match: { host: [ one.test, two.test ] }, to: p5 }
  - { name: short, match: { path: /a }, to: p1 }
  - { name: long, match: { path: /a/b }, to: p2 }
  - { name: exact, match: { path: { exact: /a/b } }, to: p3 }
  - { name: slash, match: { path: { prefix: /s/ } }, to: p4 }
  - { name: by-method, match: { path: /m, method: [ PUT, DELETE ] }, to: p2 }
  - { name: any-method, match: { path: /m }, to: p1 }
  - { name: one-header, match: { path: /x, headers: { x-tier: gold } }, to: p1 }
  - { name: two-headers, match: { path: /x, headers: { x-tier: gold, x-zone: eu } }, to: p2 }
  - { name: first-in-file, match: { path: /x, headers: { x-other: "1" } }, to: p3 }
  - { name: method-over-headers, match: { path: /x, method: POST }, to: p4 }
  - { name: no-header, match: { path: /x }, to: p5 }
  - { match: { path: /unnamed }, to: p1 }
pools:
"""


@pytest.fixture(scope="module")
def routed(place):
    """A weir with those routes over five pools of one endpoint each, whose answers name the
    pool."""
    ups = [place.auto(body=f"p{i}".encode()) for i in range(1, 6)]
    pools = "".join(f"  p{i}: [ '{up.address}' ]\n" for i, up in enumerate(ups, 1))
    with tempfile.TemporaryDirectory(prefix="weir-") as tmp:
        with place.weir(ROUTES + pools, tmp) as weir:
            yield weir
    for up in ups:
        up.close()


CASES = [
    ("no host matches best: any host", "GET /h", "", "every-host", "p1"),
    ("a wildcard host matches one label", "GET /h", "Host: www.example.com", "wild", "p2"),
    ("a wildcard host matches several labels", "GET /h", "Host: a.b.example.com", "wild", "p2"),
    (
        "a wildcard does not match its bare domain",
        "GET /h",
        "Host: example.com",
        "every-host",
        "p1",
    ),
    ("a wildcard matches whole labels", "GET /h", "Host: badexample.com", "every-host", "p1"),
    ("the longest wildcard wins", "GET /h", "Host: a.deep.example.com", "longer-wild", "p3"),
    (
        "the longer wildcard's own domain is the shorter one's",
        "GET /h",
        "Host: deep.example.com",
        "wild",
        "p2",
    ),
    ("an exact host wins over a wildcard", "GET /h", "Host: shop.example.com", "exact-host", "p4"),
    ("hosts are case-insensitive", "GET /h", "Host: SHOP.Example.COM", "exact-host", "p4"),
    ("the port in Host is ignored", "GET /h", "Host: shop.example.com:8443", "exact-host", "p4"),
    ("a route may have several hosts", "GET /any", "Host: two.test", "two-hosts", "p5"),
    (
        "a host in absolute-form counts",
        "GET http://one.test/any",
        "Host: shop.example.com",
        "two-hosts",
        "p5",
    ),
    ("a prefix matches itself", "GET /a", "", "short", "p1"),
    ("a prefix matches with a slash", "GET /a/", "", "short", "p1"),
    ("a prefix matches an element below", "GET /a/c", "", "short", "p1"),
    ("the longest prefix wins", "GET /a/b/c", "", "long", "p2"),
    ("a prefix matches whole elements", "GET /a/bc", "", "short", "p1"),
    ("an exact path wins over a prefix", "GET /a/b", "", "exact", "p3"),
    ("an exact path is exact", "GET /a/b/", "", "long", "p2"),
    ("the query is no part of the path", "GET /a/b?c", "", "exact", "p3"),
    ("paths are matched normalised: dot segments", "GET /z/../a/./b", "", "exact", "p3"),
    ("paths are matched normalised: escapes", "GET /%61/%62", "", "exact", "p3"),
    ("%2F is no slash for routing", "GET /a%2Fb", "", None, None),
    ("a trailing slash of a prefix does not matter", "GET /s", "", "slash", "p4"),
    ("a trailing slash of a prefix matches below", "GET /s/x", "", "slash", "p4"),
    ("paths are case-sensitive", "GET /A", "", None, None),
    ("a prefix is no substring", "GET /ab", "", None, None),
    ("a method that is listed wins", "DELETE /m", "", "by-method", "p2"),
    ("a method that is not listed", "GET /m", "", "any-method", "p1"),
    ("without the header", "GET /x", "", "no-header", "p5"),
    ("with the header", "GET /x", "X-Tier: gold", "one-header", "p1"),
    ("a header's value is exact", "GET /x", "X-Tier: golden", "no-header", "p5"),
    ("a header's value is case-sensitive", "GET /x", "X-Tier: Gold", "no-header", "p5"),
    ("more headers win over fewer", "GET /x", "x-zone: eu\r\nX-TIER: gold", "two-headers", "p2"),
    ("all headers must match", "GET /x", "x-zone: eu", "no-header", "p5"),
    (
        "equal routes: the first in the file wins",
        "GET /x",
        "X-Other: 1\r\nX-Tier: gold",
        "one-header",
        "p1",
    ),
    (
        "a method wins over headers",
        "POST /x",
        "X-Tier: gold\r\nX-Zone: eu",
        "method-over-headers",
        "p4",
    ),
    ("a route without a name is named by its place", "GET /unnamed", "", "route-17", "p1"),
    ("nothing matches", "GET /", "", None, None),
]


@pytest.mark.parametrize(
    "why,request_line,fields,route,pool",
    CASES,
    ids=[re.sub(r"[^0-9A-Za-z]+", "-", c[0]) for c in CASES],
)
def test_route(routed, why, request_line, fields, route, pool):
    host = "" if "Host:" in fields else "Host: other.test\r\n"
    fields = fields + "\r\n" if fields else ""
    with routed.logged() as log, routed.client() as c:
        c.send(f"{request_line} HTTP/1.1\r\n{host}{fields}\r\n")
        response = c.response()
    assert (log[0]["route"], log[0]["pool"]) == (route or "", pool or ""), why
    if pool:
        assert (response.status, response.body.decode()) == (200, pool), why
    else:
        assert_authored(response, 404, "no_route")


def test_requests_are_counted_by_route_and_pool(routed):
    before = routed.metric("weir_requests_total", route="exact", pool="p3", status="2xx")
    unrouted = routed.metric("weir_requests_total", route="", pool="", status="4xx")
    with routed.client() as c:
        for _ in range(3):
            assert c.get("/a/b", host="other.test").status == 200
        assert c.get("/nope", host="other.test").status == 404
    routed.wait_metric("weir_requests_total", before + 3, route="exact", pool="p3", status="2xx")
    routed.wait_metric("weir_requests_total", unrouted + 1, route="", pool="", status="4xx")
