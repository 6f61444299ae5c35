# SPDX-License-Identifier: Apache-2.0
"""Runs the load generators, and turns what each says into one form:

    {"requests", "seconds", "rate", "bytes_in", "bytes_out", "errors": {...}, "latency_us": {...}}

wrk and h2load for closed loops, openssl s_time for handshakes, build/load for everything else.
"""
import contextlib
import json
import math
import re
import select
import shutil
import subprocess
import time

from .process import BUILD, DIE_WITH_US, HERE, BenchError
from .proxies import shown

OWN = BUILD / "load"
PATIENCE = 30.0  # seconds more than a load should take
READY_SECONDS = 120.0  # to open ten thousand connections on a busy machine

TOOL = {"get": "wrk", "close": "wrk", "upload": "load", "mixed": "load", "websocket": "load",
        "handshake": "openssl", "h2": "h2load", "grpc": "h2load"}


def tool_of(cell):
    """Uploads over TLS are wrk's: build/load would be the slower part."""
    if cell.scenario.workload == "upload" and cell.params["tls"]:
        return "wrk"
    return TOOL[cell.scenario.workload]


def missing_tool(name):
    """Why a generator can't run here, or None."""
    if name == "load":
        return None if OWN.exists() else f"{shown(OWN)} does not exist"
    return None if shutil.which(name) else f"{name} is not installed"


def tools_of(cell):
    """The generators that a cell can't do without; latency it can."""
    tools = {tool_of(cell)}
    if cell.idle or cell.scenario.slow:
        tools.add("load")
    return tools


class Tool:
    """One running generator, on the load's CPUs. It never outlives its `with`."""

    def __init__(self, argv, cpus, **pipes):
        self.name = str(argv[0]).rsplit("/", maxsplit=1)[-1]
        argv = [*DIE_WITH_US, "taskset", "-c", cpus, *map(str, argv)]
        self.process = subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                                        text=True, errors="replace",
                                        **{"stdin": subprocess.DEVNULL, **pipes})

    def finish(self, seconds, halfway=None):
        """Its output. `halfway` is called in the middle of the load."""
        if halfway:
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(seconds / 2)
            halfway()
        try:
            output, _ = self.process.communicate(timeout=seconds + PATIENCE)
        except subprocess.TimeoutExpired:
            raise BenchError(f"{self.name} did not end within "
                             f"{seconds + PATIENCE:.0f} s") from None
        if self.process.returncode:
            raise BenchError(f"{self.name} failed:\n{output[-2000:]}")
        return output

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()
        for stream in (self.process.stdin, self.process.stdout):
            if stream:
                with contextlib.suppress(OSError):
                    stream.close()


def run_tool(argv, cpus, seconds, halfway=None):
    with Tool(argv, cpus) as tool:
        return tool.finish(seconds, halfway)


def last_json(name, output):
    lines = output.strip().splitlines()
    try:
        return json.loads(lines[-1])
    except (IndexError, ValueError):
        raise BenchError(f"{name} ended without a result:\n{output[-2000:]}") from None


# ---- closed loops: as fast as answers come ------------------------------------------------------

def wrk(address, cell, cpus, seconds, halfway=None):
    scheme = "https" if cell.params.get("tls") else "http"
    # wrk takes whole seconds.
    argv = ["wrk", "-t1", f"-c{cell.connections}", f"-d{whole(seconds)}s", "-s", HERE / "wrk.lua"]
    if cell.scenario.workload == "close":
        argv += ["-H", "Connection: close"]
    argv.append(f"{scheme}://{address}{cell.path}")
    sent = cell.params["bytes"] if cell.scenario.workload == "upload" else 0
    if sent:
        argv += ["--", sent]
    counted = last_json("wrk", run_tool(argv, cpus, seconds, halfway))
    return {"requests": counted["requests"], "seconds": counted["seconds"],
            "rate": counted["requests"] / counted["seconds"], "bytes_in": counted["bytes"],
            "bytes_out": sent * counted["requests"], "errors": counted["errors"],
            "latency_us": None}


def whole(seconds):
    return max(1, math.ceil(seconds))


def own(mode, address, cpus, seconds, arguments=(), halfway=None):
    """build/load, whose result has our form already."""
    argv = [OWN, mode, "--to", address, "--seconds", f"{seconds:g}", *arguments]
    return last_json("load", run_tool(argv, cpus, seconds, halfway))


def closed(address, cell, cpus, seconds, halfway=None):
    arguments = ["--connections", cell.connections]
    if cell.scenario.workload == "websocket":
        return own("websocket", address, cpus, seconds,
                   [*arguments, "--size", cell.params["bytes"]], halfway)
    return own("closed", address, cpus, seconds, [*arguments, "--path", cell.path, *mix(cell)],
               halfway)


def mix(cell):
    """Which methods, and how large their bodies are."""
    params = cell.params
    if cell.scenario.workload == "upload":
        return ["--mix", "post=1", "--body", params["bytes"]]
    return ["--mix", f"get={params['get']},post={params['post']}", "--body", params["bytes"]]


def h2load(address, cell, cpus, seconds, halfway=None, rate=None, folder=None):
    """A first run, the warm-up, is by time and tells the rate. What is measured is then a number
    of requests: run by time, h2load ends with requests in flight, which it counts as failed."""
    argv = ["h2load", "-t1", f"-c{cell.connections}", f"-m{cell.params['streams']}"]
    sent = 0
    if cell.scenario.workload == "grpc":
        call = b"\0" + (13).to_bytes(4, "big") + b"Hello, World!"
        (folder / "call.bin").write_bytes(call)
        sent = len(call)
        argv += ["-d", folder / "call.bin", "-H", "content-type: application/grpc",
                 "-H", "te: trailers"]
    if rate:
        argv += ["-n", max(cell.connections, int(rate * seconds))]
    else:
        argv += ["-D", whole(seconds)]
    output = run_tool([*argv, f"https://{address}{cell.path}"], cpus, seconds, halfway)
    return parse_h2load(output, sent, by_time=not rate)


def parse_h2load(output, sent, by_time):
    try:
        seconds = in_seconds(*re.search(r"finished in ([\d.]+)(us|ms|s)\b", output).groups())
        done, failed, timeout = (int(re.search(rf"(\d+) {word}", output)[1])
                                 for word in ("succeeded", "failed", "timeout"))
        bad = sum(int(n) for n in re.search(r"(\d+) 3xx, (\d+) 4xx, (\d+) 5xx", output).groups())
        total, data = (int(re.search(rf"\((\d+)\) {word}", output)[1])
                       for word in ("total", "data"))
        proto = re.search(r"Application protocol: (\S+)", output)
    except (TypeError, AttributeError):
        raise BenchError(f"h2load ended without a result:\n{output[-2000:]}") from None
    if not proto or proto[1] != "h2":
        raise BenchError("h2load was not given HTTP/2")
    if not by_time and not bad and not failed and sent and data != sent * done:
        raise BenchError(f"h2load sent {sent} bytes a call, and got {data} for {done} calls")
    return {"requests": done, "seconds": seconds, "rate": done / seconds, "bytes_in": total,
            "bytes_out": sent * done, "latency_us": None,
            "errors": {"failed": 0 if by_time else failed, "status": bad, "timeout": timeout}}


def in_seconds(number, unit):
    return float(number) / {"s": 1, "ms": 1e3, "us": 1e6}[unit]


def handshakes(address, cell, cpus, seconds, halfway=None):
    """New connections with TLS, each with one request. Each s_time has one connection at a time; in
    TLS 1.3 a session comes with the answer, which it reads, so that it can resume it."""
    argv = ["openssl", "s_time", "-connect", address, "-www", "/", "-time", whole(seconds),
            "-tls" + cell.params["version"].replace(".", "_"),
            "-reuse" if cell.params["resumed"] else "-new"]
    start = time.monotonic()
    with contextlib.ExitStack() as stack:
        tools = [stack.enter_context(Tool(argv, cpus)) for _ in range(cell.connections)]
        outputs = [tool.finish(whole(seconds), halfway if tool is tools[0] else None)
                   for tool in tools]
    elapsed = time.monotonic() - start
    return parse_s_time(outputs, cell.params["resumed"], elapsed)


def parse_s_time(outputs, resumed, elapsed):
    made = full = 0
    for output in outputs:
        found = re.search(r"(\d+) connections in \d+ real seconds", output)
        if not found:
            raise BenchError(f"openssl s_time ended without a result:\n{output[-2000:]}")
        made += int(found[1])
        marks = max(output.splitlines(), key=len)  # one letter a connection
        full += marks.count("*")
    if resumed and full > made // 10:
        raise BenchError(f"{full} of {made} handshakes were full ones: sessions are not resumed")
    return {"requests": made, "seconds": elapsed, "rate": made / elapsed, "bytes_in": 0,
            "bytes_out": 0, "errors": {}, "latency_us": None}


PEAK = {"wrk": wrk, "load": closed, "h2load": h2load, "openssl": handshakes}


# ---- open loop: at a rate that does not wait for answers ----------------------------------------

def paced(address, cell, cpus, seconds, rate):
    arguments = ["--connections", cell.connections, "--rate", rate, "--path", cell.path]
    if cell.params.get("tls"):
        arguments.append("--tls")
    workload = cell.scenario.workload
    if workload in ("upload", "mixed"):
        arguments += mix(cell)
    elif workload == "close":
        arguments.append("--close")
    return own("open", address, cpus, seconds, arguments)


# ---- what stands beside the load ---------------------------------------------------------------

class Holder:
    """Connections that are open beside the load: idle ones or slow ones. Ready once it exists."""

    def __init__(self, mode, address, cpus, connections, arguments=()):
        self.wanted = connections
        argv = [OWN, mode, "--to", address, "--connections", connections, *arguments]
        self.tool = Tool(argv, cpus, stdin=subprocess.PIPE)
        try:
            ready = self.read_line()
            if not ready.get("ready") or ready.get("open") != connections:
                raise BenchError(f"load {mode}: {ready.get('open')} of {connections} connections "
                                 "could be opened")
        except BaseException:
            self.tool.__exit__()
            raise

    def read_line(self):
        """The first line of JSON."""
        stdout = self.tool.process.stdout
        if not select.select([stdout], [], [], READY_SECONDS)[0]:
            raise BenchError(f"load was not ready within {READY_SECONDS:.0f} s")
        line = stdout.readline()
        try:
            return json.loads(line)
        except ValueError:
            rest = line + stdout.read()
            raise BenchError(f"load could not open its connections:\n{rest[-2000:]}") from None

    def finish(self):
        """What it counted, when its input ended."""
        output, _ = self.tool.process.communicate(timeout=PATIENCE)
        return last_json("load", output)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.tool.__exit__()
