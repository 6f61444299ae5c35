# SPDX-License-Identifier: Apache-2.0
"""Bugs that the torture rig found (tests/chaos, tests/faults, tests/fuzz), each told as a story."""
import pytest

from harness import assert_authored

CONFIG = """
routes: [ { to: app } ]
pools: { app: { endpoints: [ "$UPSTREAM" ], upstream: { max_idle: 0 } } }
"""


# ---- chaos --------------------------------------------------------------------------------------


@pytest.mark.parametrize("length,kept", [(60_000, True), (200_000, False)])
def test_an_error_says_whether_the_connection_outlives_the_unread_body(
    weir, upstream, length, kept
):
    """weir reads on for 64 KiB and then closes; it once let the client think otherwise, whose next
    request was lost without a word."""
    body = b"x" * length
    with weir.counts("upstream_closed"), weir.client() as c:
        c.send(f"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: {length}\r\n\r\n".encode())
        c.send(body[:1000])
        u = upstream.accept()
        u.head()
        u.recv_exact(1000)  # unread, they would make a reset of the close
        u.close()
        response = c.response()
        assert_authored(response, 502, "upstream_closed")
        assert response.get("Connection") == (None if kept else "close")
        if kept:
            c.send(body[1000:] + b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
            u = upstream.accept()
            u.request()
            u.answer()
            assert c.response().body == b"ok"
