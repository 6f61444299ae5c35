#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""User-space instructions a request, counted by callgrind: the same on a quiet and a busy machine.

A module for budget.py, and a command: it runs a proxy under valgrind twice, with N1 and with N2
requests, and divides the difference, so that start-up and shutdown cancel. The kernel's part is
not in it.
"""
import argparse
import collections
import http.client
import re
import ssl
import subprocess
import sys
import tempfile
from pathlib import Path

STOP_SECONDS = 60.0  # under valgrind
VERSIONS = {"1.2": ssl.TLSVersion.TLSv1_2, "1.3": ssl.TLSVersion.TLSv1_3}

NAME = re.compile(r"(c?(?:fn|ob))=(?:\((\d+)\))?\s*(.*)")


class Names:
    """A name is spelled out where its number first appears, and a function that has no symbol is
    told by its library."""

    def __init__(self):
        self.names = {}
        self.object = self.callee_object = ""

    def read(self, line):
        """-> the function, if the line is one's beginning."""
        kind, number, name = NAME.match(line).groups()
        if kind.endswith("fn") and name.startswith("0x"):
            where = self.callee_object if kind == "cfn" else self.object
            name = f"{where.rpartition('/')[2]}+0x{name[2:].lstrip('0')}"
        if name:
            self.names[kind[-2:], number] = name
        name = self.names[kind[-2:], number]
        if kind == "ob":
            self.object = self.callee_object = name
        elif kind == "cob":
            self.callee_object = name
        elif kind == "cfn":
            self.callee_object = self.object
        return name if kind == "fn" else None


def read_costs(path):
    """function -> instructions spent in it itself, from one callgrind.out file.

    The line after `calls=` holds what a callee spent, and belongs to the callee.
    """
    costs = collections.Counter()
    names, function, inclusive, totals = Names(), "", False, 0
    for line in path.read_text(errors="replace").splitlines():
        if line.startswith(("fn=", "cfn=", "ob=", "cob=")):
            function = names.read(line) or function
        elif line.startswith("calls="):
            inclusive = True
        elif line.startswith("totals:"):
            totals = int(line.split()[1])
        elif line[:1] in "0123456789+-*" and line:
            if not inclusive:
                costs[function] += int(line.split()[1])
            inclusive = False
    if sum(costs.values()) != totals:
        raise ValueError(f"{path.name}: the functions' sum is {sum(costs.values())}, not {totals}")
    return costs


def valgrind(folder):
    """What to put before a command so that `collect(folder)` knows its counts when it has ended."""
    return ["valgrind", "--tool=callgrind", "--separate-threads=no", "--trace-children=yes",
            f"--callgrind-out-file={folder}/callgrind.out.%p", f"--vgdb-prefix={folder}/vgdb"]


def order(folder, pid, what):
    """Tells a program that runs under `valgrind(folder)` to `zero` its counts, or to `dump` those
    since then into callgrind.out.PID.1, .2 and so on."""
    done = subprocess.run(["vgdb", f"--vgdb-prefix={folder}/vgdb", f"--pid={pid}", what],
                          stdin=subprocess.DEVNULL, capture_output=True, text=True,
                          timeout=STOP_SECONDS)
    if done.returncode != 0:
        raise ValueError(f"vgdb could not {what}: {done.stderr}")


def collect(folder):
    """function -> instructions, of all the processes that ran and ended by themselves."""
    costs = collections.Counter()
    for path in Path(folder).glob("callgrind.out.*"):
        costs.update(read_costs(path))
    if not costs:
        raise ValueError("callgrind left no counts; valgrind must see the program end by itself")
    return costs


def per_request(less, more, requests):
    """function -> instructions a request, of two runs that differ by so many requests."""
    functions = {f: (more[f] - less[f]) / requests for f in {*less, *more}}
    return collections.Counter({f: cost for f, cost in functions.items() if cost})


# ---- the command: any proxy of the bench, keep-alive requests or handshakes ----------------------

def connection(address, context):
    if context:
        return http.client.HTTPSConnection(address, timeout=60, context=context)
    return http.client.HTTPConnection(address, timeout=60)


def send(address, requests, connections, context):
    """Takes turns over the connections, one request at a time: the order is the same each time."""
    conns = [connection(address, context) for _ in range(connections)]
    try:
        for i in range(requests):
            conn = conns[i % connections]
            conn.putrequest("GET", "/", skip_host=True, skip_accept_encoding=True)
            conn.putheader("Host", "idle.example")
            conn.endheaders()
            response = conn.getresponse()
            response.read()
            if response.status != 200 or response.will_close:
                raise ValueError(f"an answer is {response.status}, or ends its connection")
    finally:
        for conn in conns:
            conn.close()


def shake(address, times, context):
    """One full handshake after another, each with a request, which the client ends."""
    for _ in range(times):
        send(address, 1, 1, context)


def context_of(version):
    """A client's, which trusts whatever it is shown; None: no TLS."""
    if not version:
        return None
    context = ssl._create_unverified_context()
    context.minimum_version = context.maximum_version = VERSIONS[version]
    return context


def count(make, folder, setup, requests, args):
    """function -> instructions, of a whole run with this many requests."""
    context = context_of(args.tls)
    with make(folder, wrap=valgrind(folder)) as server:
        address = server.start(setup).address
        if args.handshakes:
            shake(address, requests, context)
        else:
            send(address, requests, args.connections, context)
        server.stop(STOP_SECONDS)
    return collect(folder)


def report(label, per_request, top):
    total = sum(per_request.values())
    print(f"{label}: {total:,.0f} instructions a request\n\n| instructions | share | function |\n"
          "|--:|--:|---|")
    for function, cost in per_request.most_common(top):
        print(f"| {cost:,.1f} | {cost / total:.1%} | `{function}` |")
    print(flush=True)


def main(servers):
    p = argparse.ArgumentParser(description=__doc__.split("\n\n", maxsplit=1)[0])
    p.add_argument("--only", type=lambda s: s.split(","), metavar="NAMES", default=["weir"],
                   help="comma-separated: " + ", ".join(servers.PROXIES) + " (default: weir)")
    p.add_argument("--requests", type=int, nargs=2, default=[500, 2500], metavar=("N1", "N2"))
    p.add_argument("--connections", type=int, default=1,
                   help="keep-alive client connections that take turns (default 1)")
    p.add_argument("--tls", choices=VERSIONS, help="clients speak TLS, of this version")
    p.add_argument("--handshakes", action="store_true",
                   help="each request on a connection of its own, with a full handshake")
    p.add_argument("--top", type=int, default=25, help="functions to list (default 25)")
    p.add_argument("--backend", metavar="HOST:PORT", help="default: build/hello, started here")
    args = p.parse_args()
    few, many = args.requests
    if not 1 <= args.connections <= few < many:
        p.error("1 <= connections <= N1 < N2 must hold")
    if args.handshakes and not args.tls:
        p.error("--handshakes needs --tls")
    servers.exit_on_signals()
    proxies, _ = servers.choose_proxies(args.only)
    with tempfile.TemporaryDirectory(prefix="weir-instructions-") as folder, \
            servers.backend_address(args.backend, folder) as backend:
        pair = servers.make_certificate(Path(folder)) if args.tls else ()
        setup = servers.Setup(backend=backend, pair=pair, tls=bool(args.tls))
        for label, make in proxies:
            less, more = (count(make, Path(folder) / f"{label}-{n}", setup, n, args)
                          for n in (few, many))
            report(label, per_request(less, more, many - few), args.top)


if __name__ == "__main__":
    import servers  # budget.py needs only what is above, and starts weir in its own way

    try:
        sys.exit(main(servers))
    except (servers.BenchError, ValueError, OSError) as e:
        sys.exit(f"{Path(sys.argv[0]).name}: {e}")
    except KeyboardInterrupt:
        sys.exit(130)
