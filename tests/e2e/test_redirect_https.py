# SPDX-License-Identifier: Apache-2.0
"""A listener with redirect_https sends every request to where TLS is spoken."""
import pytest

from harness import assert_authored

CONFIG = """
listeners: { web: { bind: "127.0.0.1:0", redirect_https: true } }
routes: [ { to: app } ]
pools: { app: [ '127.0.0.1:1' ] }
"""


@pytest.fixture
def weir(start_weir):
    return start_weir(CONFIG)


@pytest.mark.parametrize(
    "host, target, location",
    [
        ("shop.example", "/", "https://shop.example/"),
        ("shop.example:8080", "/a/b?c=d&e", "https://shop.example/a/b?c=d&e"),
        ("[::1]:80", "/a?", "https://[::1]/a?"),
        ("[::1]", "/%2F%20", "https://[::1]/%2F%20"),
        ("shop.example", "http://other.example:80/x", "https://other.example/x"),
        ("shop.example", "//evil.example/x", "https://shop.example//evil.example/x"),
        ("shop.example", "/" + "x" * 8000, "https://shop.example/" + "x" * 8000),
    ],
    ids="path port-and-query v6-port v6-escapes absolute-form two-slashes long".split(),
)
def test_where_it_leads(weir, host, target, location):
    with weir.client() as c:
        response = c.get(target, host=host)
        assert response.status == 308
        assert response.get("Location") == location
        assert response.body == b""


def test_the_port_may_be_another(start_weir):
    with start_weir(CONFIG.replace("true", "{ port: 8443 }")).client() as c:
        assert c.get("/a?b", host="shop.example:80").get("Location") == "https://shop.example:8443/a?b"
        assert c.get("/", host="[::1]:8080").get("Location") == "https://[::1]:8443/"


def test_it_may_be_off(start_weir):
    with start_weir(CONFIG.replace("true", "false")).client() as c:
        assert c.get("/").status == 502


def test_it_keeps_the_connection_and_is_logged(weir):
    with weir.logged(2) as log, weir.client() as c:
        c.get("/1")
        c.get("/2")
    assert [(e["status"], e["path"]) for e in log] == [(308, "/1"), (308, "/2")]
    assert "reason" not in log[0] or not log[0]["reason"]


def test_a_request_without_a_host_is_refused(weir):
    with weir.counts("missing_host"), weir.client() as c:
        c.send("GET / HTTP/1.0\r\n\r\n")
        assert_authored(c.response(), 400, "missing_host")


def test_a_body_is_not_waited_for(weir):
    with weir.client() as c:
        c.send("POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\n\r\n")
        assert c.response().status == 308
