# SPDX-License-Identifier: Apache-2.0
"""One sample: a proxy freshly started, an answer checked, a warm-up, and then what a stretch of
load cost it."""
import contextlib
import http.client
import os
import re
import socket
import ssl
import statistics
import time
from pathlib import Path

from . import load
from .process import START_SECONDS, BenchError
from .scenario import parse_cpus

CHECK_UPLOAD = 1 << 20  # as much of a large upload is enough to see that it arrives
WARM_CONNECTIONS = 16


def busy_ticks(cpus):
    """Ticks that these CPUs were not idle: everything but idle and iowait."""
    total = 0
    for line in Path("/proc/stat").read_text().splitlines():
        name, *values = line.split()
        if name.startswith("cpu") and name[3:].isdigit() and int(name[3:]) in cpus:
            v = list(map(int, values[:8]))
            total += sum(v) - v[3] - v[4]
    return total


def connect(server):
    if server.setup.tls:
        return http.client.HTTPSConnection(server.address, timeout=START_SECONDS,
                                           context=ssl._create_unverified_context())
    return http.client.HTTPConnection(server.address, timeout=START_SECONDS)


def exchange(server, method, path, body=None):
    """(status, length of the answer's body, its first bytes); the body is not kept."""
    with contextlib.closing(connect(server)) as conn:
        conn.request(method, path, body)
        response = conn.getresponse()
        first = response.read(64)
        length = len(first)
        while piece := response.read(1 << 20):
            length += len(piece)
        return response.status, length, first


def check_cipher(server):
    """AES-256 costs more than AES-128, and SHA-384 more than SHA-256."""
    for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
        context = ssl._create_unverified_context()
        context.minimum_version = context.maximum_version = version
        host, port = server.address.rsplit(":", 1)
        with socket.create_connection((host, int(port)), START_SECONDS) as raw:
            with context.wrap_socket(raw) as tls:
                name = tls.cipher()[0]
        if "AES128GCM" not in re.sub("[_-]", "", name):
            raise BenchError(f"{server.name} chose {name}, not AES-128-GCM as the others")


def check(server, cell):
    """Answering wrongly in no time wins nothing."""
    if server.setup.tls:
        check_cipher(server)
    workload = cell.scenario.workload
    if workload == "grpc":
        return  # h2load's run is checked instead: what was sent has to come back
    if workload in ("upload", "mixed"):
        size = min(cell.size, CHECK_UPLOAD)
        status, _, body = exchange(server, "POST", cell.path, bytes(size))
        if status != 200 or body.strip() != str(size).encode():
            raise BenchError(f"{server.name}: of an upload of {size} bytes came {status} "
                             f"{body!r}, not 200 and their number")
        return
    status, length, _ = exchange(server, "GET", cell.path)
    wanted = cell.size if workload in ("get", "close") else 13
    if status != 200 or length != wanted:
        raise BenchError(f"{server.name}: {cell.path} gave {status} with {length} bytes, not "
                         f"200 with {wanted}")


def amount(cell, counted):
    """How many of the cell's unit were done."""
    if cell.unit == "MiB":
        return (counted["bytes_in"] + counted["bytes_out"]) / (1 << 20)
    return counted["requests"]


def figures(cell, counted, cpu, memory, busy):
    """The figures of a sample, from what the load counted and what the proxy used meanwhile."""
    user, system = cpu
    done = amount(cell, counted)
    if not done:
        raise BenchError(f"nothing was served in {counted['seconds']:.1f} s")
    return {"requests": counted["requests"], "amount": done, "seconds": counted["seconds"],
            "rate": done / counted["seconds"],
            "cpu_us": (user + system) / done * 1e6, "user_us": user / done * 1e6,
            "system_us": system / done * 1e6, "busy": (user + system) / counted["seconds"],
            "others": max(0.0, busy - user - system) / counted["seconds"],
            "rss": memory[0], "pss": memory[1], "errors": counted["errors"],
            "latency_us": counted["latency_us"]}


class Sampler:
    """Measures one started server in one cell."""

    def __init__(self, server, cell, proxy_cpu, load_cpus, folder):
        self.server, self.cell, self.folder = server, cell, folder
        self.cpus, self.load_cpus = parse_cpus(proxy_cpu), load_cpus
        self.rate = None  # of the warm-up

    def run(self, run):
        """`run` is a load: run(halfway) -> what it counted."""
        memory = []
        busy, before = busy_ticks(self.cpus), self.server.cpu()
        started = time.monotonic()
        counted = run(lambda: memory.extend(self.server.memory()))
        user, system = self.server.cpu().since(before)
        elapsed = time.monotonic() - started
        # Over the time between the two readings; the load's own is a little shorter.
        busy = (busy_ticks(self.cpus) - busy) / os.sysconf("SC_CLK_TCK")
        busy *= counted["seconds"] / max(elapsed, counted["seconds"])
        memory = memory or self.server.memory()
        if self.server.process.poll() is not None:
            raise BenchError(f"{self.server.name} ended under load. Its output:\n"
                             f"{self.server.read_log()}")
        return figures(self.cell, counted, (user, system), memory, busy)

    def closed(self, seconds, halfway=None):
        tool = load.tool_of(self.cell)
        extra = {"rate": self.rate, "folder": self.folder} if tool == "h2load" else {}
        return load.PEAK[tool](self.server.address, self.cell, self.load_cpus, seconds,
                               halfway=halfway, **extra)

    def peak(self, seconds, warmup):
        """A closed loop, with whatever the cell wants beside it."""
        if warmup:
            self.rate = self.closed(warmup)["rate"]
        with self.beside() as held:
            sample = self.run(lambda halfway: self.closed(seconds, halfway))
        return {"kind": "peak", **sample, **held}

    def paced(self, seconds, warmup, rate):
        """An open loop at a rate; its latencies count from when a request was due."""
        if warmup:
            load.paced(self.server.address, self.cell, self.load_cpus, warmup, rate)
        with self.beside() as held:
            sample = self.run(lambda _: load.paced(self.server.address, self.cell, self.load_cpus,
                                                   seconds, rate))
        return {"kind": "paced", "asked": rate, **sample, **held}

    @contextlib.contextmanager
    def beside(self):
        """Idle or slow connections. Fills the dict that it gives when they have ended."""
        held, holder = {}, None
        slow = self.cell.scenario.slow
        if self.cell.idle:
            # First use of code pages and of the upstream's conns is not what a conn costs.
            how = ["--tls"] if self.server.setup.tls else []
            with load.Holder("idle", self.server.address, self.load_cpus, WARM_CONNECTIONS,
                             how) as few:
                few.finish()
            before = self.server.memory()
            holder = load.Holder("idle", self.server.address, self.load_cpus, self.cell.idle, how)
            after = self.server.memory()
            held["idle_pss"] = (after[1] - before[1]) / self.cell.idle
        elif slow:
            holder = load.Holder("slow", self.server.address, self.load_cpus,
                                 slow["connections"],
                                 ["--kind", slow["kind"], "--interval", slow["interval"]])
        if holder is None:
            yield held
            return
        with holder:
            yield held
            held["held"] = holder.finish()
        if self.cell.idle and (left := held["held"].get("open")) != self.cell.idle:
            raise BenchError(f"{self.server.name} closed idle connections: {left} of "
                             f"{self.cell.idle} are left")


def choose_rate(peaks, share):
    """What the open loop sends a second: a share of the slowest proxy's peak, in whole requests.
    `peaks` is {proxy: [rates]}."""
    middle = [statistics.median(rates) for rates in peaks.values() if rates]
    return max(1, int(min(middle) * share)) if middle else None


def idle_limit(files, connections):
    """How many idle client conns a proxy can hold beside the active ones: it has one process's
    descriptors, and the floor needs two for each."""
    return max(0, files // 2 - connections - 256)
