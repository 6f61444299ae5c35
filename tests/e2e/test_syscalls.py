# SPDX-License-Identifier: Apache-2.0
"""The speed contract: what one keep-alive request costs in system calls and in allocations.

One worker, one client connection, one upstream connection, after a warm-up. Everything is counted,
and one call more than the contract's fails.
"""
import shutil

import pytest

import harness
from counting import READS, WAITS, WRITES, Allocations, Strace, build_preload
from peers import Client

REQUESTS = 1000

pytestmark = pytest.mark.skipif(
    bool(harness.sanitizer()), reason="a sanitizer makes system calls and allocations of its own"
)

CONFIG = """
workers: 1
{log}
routes: [ {{ to: app }} ]
pools: {{ app: [ "{address}" ] }}
"""
NO_LOG = "# access_log: none"
GET = b"GET / HTTP/1.1\r\nHost: a\r\nUser-Agent: test\r\nAccept: */*\r\n\r\n"
POST = b"POST /form HTTP/1.1\r\nHost: a\r\nContent-Length: 11\r\n\r\nhello world"
CHUNKED = b"POST /form HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nb\r\nhello world\r\n0\r\n\r\n"
HELLO = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 13\r\n\r\nHello, World!"
HELLO_CHUNKED = (
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nd\r\nHello, World!\r\n0\r\n\r\n"
)


def requests(client, request, count):
    for _ in range(count):
        client.sock.settimeout(10)
        client.sock.sendall(request)
        got = b""
        while b"Hello, World!" not in got or (b"chunked" in got and not got.endswith(b"0\r\n\r\n")):
            part = client.sock.recv(65536)
            assert part, "weir closed the connection"
            got += part


def table(calls):
    return "\n".join(
        f"{calls[n]:8} {calls[n] / REQUESTS:8.3f} a request  {n}" for n in sorted(calls)
    )


@pytest.mark.skipif(not shutil.which("strace"), reason="strace is not installed")
@pytest.mark.parametrize("log", [NO_LOG, ""], ids=["without a log", "with the access log"])
def test_a_keep_alive_request_costs_two_reads_and_two_writes(start_weir, auto, tmp, log):
    weir = start_weir(CONFIG.format(address=auto(lambda _: HELLO).address, log=log))
    with Client(weir.listeners["web"]) as c:
        requests(c, GET, 100)
        strace = Strace(weir.pid, tmp / "strace")
        requests(c, GET, REQUESTS)
        calls, text = strace.stop()
    reads, writes = sum(calls[n] for n in READS), sum(calls[n] for n in WRITES)
    others = {
        n: k for n, k in calls.items() if n not in READS + WRITES + WAITS + ("restart_syscall",)
    }
    slack = 0 if log else REQUESTS // 50  # a log that was idle is woken
    assert 2 * REQUESTS <= reads <= 2 * REQUESTS + slack, f"reads:\n{table(calls)}\n{text[-2000:]}"
    assert (
        2 * REQUESTS <= writes <= 2 * REQUESTS + slack
    ), f"writes:\n{table(calls)}\n{text[-2000:]}"
    assert calls["epoll_ctl"] == 0, table(calls)
    assert sum(calls[n] for n in WAITS) <= 2 * REQUESTS + REQUESTS // 50, table(calls)
    assert sum(others.values()) <= slack, table(calls)


@pytest.fixture(scope="module")
def preload(tmp_path_factory):
    return build_preload(tmp_path_factory.mktemp("preload"))


@pytest.mark.parametrize(
    "request_,answer",
    [(GET, HELLO), (POST, HELLO), (CHUNKED, HELLO_CHUNKED)],
    ids=["GET", "POST with a length", "chunked both ways"],
)
def test_a_keep_alive_request_allocates_and_frees_nothing(
    start_weir, auto, tmp, preload, request_, answer
):
    counts = Allocations(tmp / "counts")
    weir = start_weir(
        CONFIG.format(address=auto(lambda _: answer).address, log=""),
        preload=preload,
        env=counts.env,
    )
    assert counts.read()[0] > 0, "the preload counts"
    with Client(weir.listeners["web"]) as c:
        requests(c, request_, 100)
        weir.access_log(100)  # the log's thread has caught up as well
        before = counts.read()
        requests(c, request_, REQUESTS)
        after = counts.read()
    assert (after[0] - before[0], after[1] - before[1]) == (
        0,
        0,
    ), "(allocations, frees) in 1,000 requests"
