#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""What an idle keep-alive client connection costs in a proxy's own memory.

Opens N connections, sends one request on each and reads its answer, then leaves all of them open
and divides the growth of the proxy's memory by N.
"""
import argparse
import contextlib
import socket
import sys
import tempfile
from pathlib import Path

import servers
from servers import BenchError

REQUEST = b"GET / HTTP/1.1\r\nHost: idle.example\r\n\r\n"
RECEIVE_SECONDS = 10.0


def read_response(conn):
    """Reads one response with a Content-Length, to its last byte."""
    data = b""
    while b"\r\n\r\n" not in data:
        data += receive(conn)
    head, _, body = data.partition(b"\r\n\r\n")
    status, *fields = head.decode("latin-1").split("\r\n")
    if status.split()[1] != "200":
        raise BenchError(f"an answer is {status!r}, not 200")
    values = dict(f.lower().split(":", 1) for f in fields)
    if "content-length" not in values or values.get("connection", "").strip() == "close":
        raise BenchError(f"an answer has no length, or ends the connection: {head!r}")
    left = int(values["content-length"]) - len(body)
    while left > 0:
        left -= len(receive(conn))


def receive(conn):
    data = conn.recv(65536)
    if not data:
        raise BenchError("the proxy closed a connection inside an answer")
    return data


def open_conns(address, count, stack):
    host, port = address.rsplit(":", 1)
    conns = []
    for _ in range(count):
        conn = stack.enter_context(socket.create_connection((host, int(port)), RECEIVE_SECONDS))
        conn.sendall(REQUEST)
        read_response(conn)
        conns.append(conn)
    return conns


def check_still_open(conns):
    """A closed conn would read as the end of the stream, and would make the figure too good."""
    for number, conn in enumerate(conns):
        conn.setblocking(False)
        with contextlib.suppress(BlockingIOError):
            if not conn.recv(1):
                raise BenchError(f"the proxy closed idle connection {number} of {len(conns)}")


def measure(server, count):
    """Bytes before, and bytes with `count` idle conns; each is (RSS, PSS)."""
    with contextlib.ExitStack() as warm:
        open_conns(server.address, 16, warm)  # first use of code pages and of the upstream conn
        before = server.memory()
        with contextlib.ExitStack() as stack:
            conns = open_conns(server.address, count, stack)
            full = server.memory()
            check_still_open(conns)
    return before, full


def main():
    p = argparse.ArgumentParser(description=__doc__.split("\n\n", maxsplit=1)[0])
    p.add_argument("--connections", type=int, default=5000)
    p.add_argument("--only", type=lambda s: s.split(","), metavar="NAMES",
                   help="comma-separated: " + ", ".join(servers.PROXIES))
    p.add_argument("--backend", metavar="HOST:PORT", help="default: build/hello, started here")
    args = p.parse_args()
    servers.exit_on_signals()
    files = servers.raise_file_limit()
    if not 1 <= args.connections <= files // 2 - 256:
        p.error(f"--connections must be 1 to {files // 2 - 256}: the open-file limit is {files}, "
                "and the floor has two for each")
    proxies, missing = servers.choose_proxies(args.only)
    print(f"{args.connections} idle keep-alive client connections, one request each.\n")
    for name in missing:
        print(f"Not measured: {name}.\n")
    print("| proxy | before, KiB (PSS) | with them, KiB (PSS) | PSS a connection, bytes | "
          "RSS a connection, bytes |\n|---|--:|--:|--:|--:|")
    with tempfile.TemporaryDirectory(prefix="weir-idle-") as folder, \
            servers.backend_address(args.backend, folder) as backend:
        for label, make in proxies:
            with make(Path(folder) / label) as server:
                before, full = measure(server.start(backend), args.connections)
            rss, pss = ((full[i] - before[i]) / args.connections for i in (0, 1))
            print(f"| {label} | {before[1] // 1024:,} | {full[1] // 1024:,} | {pss:,.0f} | "
                  f"{rss:,.0f} |", flush=True)


if __name__ == "__main__":
    try:
        sys.exit(main())
    except (BenchError, OSError) as e:
        sys.exit(f"{Path(sys.argv[0]).name}: {e}")
    except KeyboardInterrupt:
        sys.exit(130)
