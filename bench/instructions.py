#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""User-space instructions a request, counted by callgrind: the same on a quiet and a busy machine.

Runs the proxy under valgrind twice, with N1 and with N2 requests, and divides the difference, so
that start-up and shutdown cancel. The kernel's part is not in it.
"""
import argparse
import collections
import re
import socket
import sys
import tempfile
from pathlib import Path

import servers
from idle import REQUEST, read_response
from servers import BenchError

STOP_SECONDS = 60.0  # under valgrind


NAME = re.compile(r"c?fn=(?:\((\d+)\))?\s*(.*)")


def read_costs(path):
    """function -> instructions spent in it itself, from one callgrind.out file.

    The line after `calls=` holds what a callee spent, and belongs to the callee. A name is spelled
    out where its number first appears.
    """
    costs = collections.Counter()
    names, function, inclusive, totals = {}, "", False, 0
    for line in path.read_text(errors="replace").splitlines():
        if line.startswith(("fn=", "cfn=")):
            number, name = NAME.match(line).groups()
            if name:
                names[number] = name
            if line.startswith("fn="):
                function = names[number]
        elif line.startswith("calls="):
            inclusive = True
        elif line.startswith("totals:"):
            totals = int(line.split()[1])
        elif line[:1] in "0123456789+-*" and line:
            if not inclusive:
                costs[function] += int(line.split()[1])
            inclusive = False
    if sum(costs.values()) != totals:
        raise BenchError(f"{path.name}: the functions' sum is {sum(costs.values())}, not {totals}")
    return costs


def send(address, requests, connections):
    """Takes turns over the connections, one request at a time: the order is the same each time."""
    host, port = address.rsplit(":", 1)
    conns = [socket.create_connection((host, int(port)), 30) for _ in range(connections)]
    try:
        for i in range(requests):
            conns[i % connections].sendall(REQUEST)
            read_response(conns[i % connections])
    finally:
        for conn in conns:
            conn.close()


def count(make, folder, backend, requests, connections):
    """function -> instructions, of a whole run with this many requests."""
    valgrind = ["valgrind", "--tool=callgrind", "--trace-children=yes",
                f"--callgrind-out-file={folder}/callgrind.out.%p"]
    with make(folder, wrap=valgrind) as server:
        send(server.start(backend).address, requests, connections)
        server.stop(STOP_SECONDS)
    costs = collections.Counter()
    for path in folder.glob("callgrind.out.*"):
        costs.update(read_costs(path))
    if not costs:
        raise BenchError(f"{server.name} left no counts; valgrind must see it end by itself")
    return costs


def report(label, per_request, top):
    total = sum(per_request.values())
    print(f"{label}: {total:,.0f} instructions a request\n\n| instructions | share | function |\n"
          "|--:|--:|---|")
    for function, cost in per_request.most_common(top):
        print(f"| {cost:,.1f} | {cost / total:.1%} | `{function}` |")
    print(flush=True)


def main():
    p = argparse.ArgumentParser(description=__doc__.split("\n\n", maxsplit=1)[0])
    p.add_argument("--only", type=lambda s: s.split(","), metavar="NAMES", default=["weir"],
                   help="comma-separated: " + ", ".join(servers.PROXIES) + " (default: weir)")
    p.add_argument("--requests", type=int, nargs=2, default=[500, 2500], metavar=("N1", "N2"))
    p.add_argument("--connections", type=int, default=1,
                   help="keep-alive client connections that take turns (default 1)")
    p.add_argument("--top", type=int, default=25, help="functions to list (default 25)")
    p.add_argument("--backend", metavar="HOST:PORT", help="default: build/hello, started here")
    args = p.parse_args()
    few, many = args.requests
    if not 1 <= args.connections <= few < many:
        p.error("1 <= connections <= N1 < N2 must hold")
    servers.exit_on_signals()
    proxies, _ = servers.choose_proxies(args.only)
    with tempfile.TemporaryDirectory(prefix="weir-instructions-") as folder, \
            servers.backend_address(args.backend, folder) as backend:
        for label, make in proxies:
            less, more = (count(make, Path(folder) / f"{label}-{n}", backend, n, args.connections)
                          for n in (few, many))
            more.subtract(less)
            report(label, collections.Counter({f: c / (many - few) for f, c in more.items()}),
                   args.top)


if __name__ == "__main__":
    try:
        sys.exit(main())
    except (BenchError, OSError) as e:
        sys.exit(f"{Path(sys.argv[0]).name}: {e}")
    except KeyboardInterrupt:
        sys.exit(130)
