# SPDX-License-Identifier: Apache-2.0
"""The speed contract: what one keep-alive request costs in system calls and in allocations.

One worker, one client connection, one upstream connection, after a warm-up. Everything is counted,
and one call more than the contract's fails.
"""
import re
import shutil
import time

import pytest

import harness
from counting import READS, WAITS, WRITES, Allocations, Strace, build_preload
from peers import DEADLINE, Client
from transfer import pump

REQUESTS = 1000
BELL = re.compile(r'^\d+ +write\(\d+, "\\1(?:\\0){7}", 8', re.M)

pytestmark = [
    pytest.mark.exact_calls,
    pytest.mark.skipif(
        bool(harness.sanitizer()),
        reason="a sanitizer makes system calls and allocations of its own",
    ),
]

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
        client.sock.settimeout(DEADLINE)
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
        start = time.monotonic()
        strace = Strace(weir.pid, tmp / "strace")
        requests(c, GET, REQUESTS)
        calls, text = strace.stop()
        took = time.monotonic() - start
    # A log that was idle for 50 ms is woken: the slower the machine, the more often.
    bells = len(BELL.findall(text))
    assert bells <= (0 if log else took / 0.05 + 10), f"{bells} in {took} s"
    reads, writes = sum(calls[n] for n in READS), sum(calls[n] for n in WRITES) - bells
    others = {
        n: k for n, k in calls.items() if n not in READS + WRITES + WAITS + ("restart_syscall",)
    }
    assert reads == 2 * REQUESTS, f"reads:\n{table(calls)}\n{text[-2000:]}"
    assert writes == 2 * REQUESTS, f"writes:\n{table(calls)}\n{text[-2000:]}"
    assert calls["epoll_ctl"] == 0, table(calls)
    assert sum(calls[n] for n in WAITS) <= 2 * REQUESTS + REQUESTS // 50, table(calls)
    assert not others, table(calls)


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


MIB = 1 << 20
BODY_MIB = 32


def moved(text, names):
    """Bytes that these calls returned, and how many of them moved any."""
    sizes = [
        int(m.group(2))
        for m in re.finditer(r"^\d+ +([a-z_0-9]+)\(.*\) += (\d+)$", text, re.M)
        if m.group(1) in names and int(m.group(2)) > 0
    ]
    return sum(sizes), len(sizes)


@pytest.mark.parametrize("way", ["down", "up"])
def test_a_large_body_costs_few_calls_and_goes_past_user_space(start_weir, upstream, tmp, way):
    """Both ends are slow under strace, so that there is always much to move at once."""
    weir = start_weir(CONFIG.format(address=upstream.address, log=NO_LOG))
    size = BODY_MIB * MIB
    with Client(weir.listeners["web"]) as c:
        head = f"Content-Length: {size}\r\n\r\n"
        c.send("GET / HTTP/1.1\r\nHost: a\r\n" + ("\r\n" if way == "down" else head))
        u = upstream.accept()
        u.recv_until(b"\r\n\r\n")
        if way == "down":
            u.send("HTTP/1.1 200 OK\r\n" + head)
            c.recv_until(b"\r\n\r\n")
        source, sink = (u, c) if way == "down" else (c, u)
        pump([(source, sink, MIB)])  # the kernel's buffers have grown, the windows are open
        strace = Strace(weir.pid, tmp / "strace")
        pump([(source, sink, size - MIB)])
        calls, text = strace.stop()
    (copied, _), (spliced, splices) = moved(text, READS), moved(text, ("splice",))
    others = sum(k for n, k in calls.items() if n not in WAITS)
    assert copied <= size / 16, f"{copied} bytes through user space:\n{table(calls)}"
    assert spliced >= 2 * (size - MIB - copied) - MIB, table(calls)  # in and out of the pipe
    assert spliced / splices >= 24 * 1024, f"{spliced // splices} bytes a call:\n{table(calls)}"
    assert others <= BODY_MIB * 128, table(calls)
