# SPDX-License-Identifier: Apache-2.0
"""Bugs that the torture rig found: each as it shows to a real client."""
import pytest

from harness import assert_authored


@pytest.mark.parametrize("size", [65_536, 69_000, 100_000])
def test_more_of_a_head_that_was_refused_is_thrown_away(start_weir, size):
    """The parser once moved a head to a larger block that it had given away with the 431: one
    client with a long field ended the process."""
    weir = start_weir("routes: [ { to: app } ]\npools: { app: [ '127.0.0.1:1' ] }\n")
    with weir.client() as c:
        c.send("GET / HTTP/1.1\r\nHost: a\r\nX: " + "a" * size)
        assert_authored(c.response(), 431, "head_too_large")
        c.send("b" * 20_000)
        c.half_close()
        c.expect_closed()
    with weir.client() as c:
        c.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        assert_authored(c.response(), 502, "connect_refused")
