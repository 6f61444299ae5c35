#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""What a request costs in weir, beside the floor and beside its rivals, in one interleaved run.

The figure that matters is CPU time per request of the proxy's own processes. See README.md for the
method and for what the figures can and can't say.
"""
import argparse
import contextlib
import datetime
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

import servers
from servers import BenchError

WARM_UP_SECONDS = 1
BASES = ("floor", "nginx")  # what the others are divided by, pair by pair

# name -> (path, length of the body, request fields, what it is)
WORKLOADS = {
    "keepalive": ("/", 13, [], "keep-alive, a body of 13 bytes"),
    "close": ("/", 13, ["Connection: close"], "a new connection for every request, 13 bytes"),
    "1m": ("/bytes/1048576", 1 << 20, [], "keep-alive, a body of 1 MiB"),
}


def wrk(address, workload, args, seconds, halfway=None):
    """What wrk counted. `halfway` is called in the middle of the load."""
    path, _, fields, _ = WORKLOADS[workload]
    argv = [*servers.DIE_WITH_US, "taskset", "-c", args.load_cpus,
            "wrk", f"-t{args.threads}", f"-c{args.connections}", f"-d{seconds}s",
            "-s", str(servers.HERE / "wrk.lua")]
    for field in fields:
        argv += ["-H", field]
    load = subprocess.Popen([*argv, f"http://{address}{path}"], stdout=subprocess.PIPE,
                            stderr=subprocess.STDOUT, text=True)
    try:
        if halfway:
            with contextlib.suppress(subprocess.TimeoutExpired):
                load.wait(seconds / 2)
            halfway()
        output, _ = load.communicate(timeout=seconds + 30)
    except subprocess.TimeoutExpired:
        raise BenchError(f"wrk did not end within {seconds + 30} s") from None
    finally:
        load.kill()
        load.wait()
    if load.returncode:
        raise BenchError(f"wrk failed:\n{output}")
    return json.loads(output.splitlines()[-1])


def busy_ticks(cpus):
    """Ticks that these CPUs were not idle: everything but idle and iowait."""
    total = 0
    for line in Path("/proc/stat").read_text().splitlines():
        name, *values = line.split()
        if name.startswith("cpu") and name[3:].isdigit() and int(name[3:]) in cpus:
            v = list(map(int, values[:8]))
            total += sum(v) - v[3] - v[4]
    return total


def parse_cpus(text):
    """A list as taskset takes it: "1" or "0,2-3"."""
    cpus = set()
    for part in text.split(","):
        first, _, last = part.partition("-")
        cpus |= set(range(int(first), int(last or first) + 1))
    return cpus


def cpu_list(text):
    """Checks an argument, which stays text: taskset gets it too."""
    if parse_cpus(text) - os.sched_getaffinity(0):
        raise argparse.ArgumentTypeError(f"{text}: not all of these CPUs may be used here")
    return text


def measure(server, workload, args):
    """One sample: warm-up, then CPU time and requests over the same stretch of load."""
    path, length, _, _ = WORKLOADS[workload]
    status, body = server.get(path)
    if status != 200 or len(body) != length:
        raise BenchError(f"{server.name}: {path} gave {status} with {len(body)} bytes, not "
                         f"200 with {length}")
    wrk(server.address, workload, args, WARM_UP_SECONDS)

    memory = []
    cpus = parse_cpus(args.proxy_cpu)
    busy, before = busy_ticks(cpus), server.cpu()
    counted = wrk(server.address, workload, args, args.seconds,
                  lambda: memory.extend(server.memory()))
    user, system = server.cpu().since(before)
    busy = (busy_ticks(cpus) - busy) / os.sysconf("SC_CLK_TCK")

    requests = counted["requests"]
    if not requests:
        raise BenchError(f"{server.name}: no request was served in {args.seconds} s")
    return {
        "requests": requests,
        "requests_per_second": requests / counted["seconds"],
        "cpu_us": (user + system) / requests * 1e6,
        "user_us": user / requests * 1e6,
        "system_us": system / requests * 1e6,
        "busy": (user + system) / counted["seconds"],
        "others": max(0.0, busy - user - system) / counted["seconds"],
        "rss": memory[0],
        "pss": memory[1],
        "errors": counted["errors"],
    }


def run(args, proxies, backend, folder, say):
    """Samples in the order taken: workload by workload, round by round, proxy by proxy."""
    samples = []
    for workload in args.workload:
        for number in range(1, args.rounds + 1):
            for label, make in proxies:
                with make(folder / f"{workload}-{number}-{label}", args.proxy_cpu) as server:
                    sample = measure(server.start(backend), workload, args)
                samples.append({"workload": workload, "round": number, "proxy": label, **sample})
                say(f"{workload} {number}/{args.rounds} {label}: "
                    f"{sample['requests_per_second']:.0f} requests/s, "
                    f"{sample['cpu_us']:.2f} us/request, errors {sum(sample['errors'].values())}")
    return samples


def spread(values):
    return {"median": statistics.median(values), "min": min(values), "max": max(values)}


def summarise(samples, workload):
    """proxy -> figures. A ratio is taken within each round, so drift of the machine cancels."""
    of = {}
    for s in samples:
        if s["workload"] == workload:
            of.setdefault(s["proxy"], []).append(s)
    summary = {}
    for proxy, mine in of.items():
        row = {key: spread([s[key] for s in mine]) for key in
               ("requests_per_second", "cpu_us", "user_us", "system_us", "busy", "others", "rss",
                "pss")}
        row["errors"] = sum(sum(s["errors"].values()) for s in mine)
        for base in BASES:
            if base in of:
                row[f"to_{base}"] = spread([a["cpu_us"] / b["cpu_us"]
                                            for a, b in zip(mine, of[base])])
        summary[proxy] = row
    return summary


def cell(values, digits, scale=1):
    low, middle, high = (f"{values[k] * scale:,.{digits}f}" for k in ("min", "median", "max"))
    return f"{middle} ({low} to {high})"


def table(workload, summary, args):
    bases = [b for b in BASES if b in summary]
    head = ["proxy", "requests/s", "CPU us/request", "user", "system",
            *(f"/ {b}" for b in bases), "core busy", "memory MiB", "errors"]
    lines = [f"### {workload}: {WORKLOADS[workload][3]}", "",
             f"{args.connections} connections, {args.rounds} rounds of {args.seconds} s, "
             "median (min to max).", "",
             "| " + " | ".join(head) + " |", "|---|" + "--:|" * (len(head) - 1)]
    for proxy, row in summary.items():
        cells = [proxy, cell(row["requests_per_second"], 0), cell(row["cpu_us"], 2),
                 f"{row['user_us']['median']:.2f}", f"{row['system_us']['median']:.2f}",
                 *(cell(row[f"to_{b}"], 2) for b in bases),
                 f"{row['busy']['median']:.0%}", f"{row['pss']['median'] / (1 << 20):.1f}",
                 str(row["errors"])]
        lines.append("| " + " | ".join(cells) + " |")
    worst = max(row["others"]["max"] for row in summary.values())
    middle = statistics.median(row["others"]["median"] for row in summary.values())
    lines += ["", f"Others on the proxy's core: {middle:.0%} of the time in the middle, "
                  f"{worst:.0%} at worst."]
    return "\n".join(lines)


def machine():
    model = next((line.split(":", 1)[1].strip()
                  for line in Path("/proc/cpuinfo").read_text().splitlines()
                  if line.startswith("model name")), platform.machine())
    return {"date": datetime.date.today().isoformat(), "cpu": model, "cpus": os.cpu_count(),
            "kernel": platform.release(), "load_average": os.getloadavg()[0]}


def describe(m):
    return (f"{m['date']}, {m['cpus']} CPUs ({m['cpu']}), Linux {m['kernel']}, "
            f"load average before: {m['load_average']:.2f}")


def parse_args():
    cpus = sorted(os.sched_getaffinity(0))
    p = argparse.ArgumentParser(description=__doc__.split("\n\n", maxsplit=1)[0])
    p.add_argument("--only", type=lambda s: s.split(","), metavar="NAMES",
                   help="comma-separated: " + ", ".join(servers.PROXIES) +
                   "; nginx:FILE or haproxy:FILE runs it with another template")
    p.add_argument("--workload", type=lambda s: s.split(","), default=list(WORKLOADS),
                   help="comma-separated: " + ", ".join(WORKLOADS) + " (default: all)")
    p.add_argument("--rounds", type=int, default=5)
    p.add_argument("--seconds", type=int, default=4, help="of load a sample (default 4)")
    p.add_argument("--connections", type=int, default=64)
    p.add_argument("--threads", type=int, default=1, help="of wrk (default 1)")
    p.add_argument("--backend", metavar="HOST:PORT", help="default: build/hello, started here")
    p.add_argument("--proxy-cpu", type=cpu_list, default=str(cpus[-1]),
                   help="default: the last one")
    p.add_argument("--load-cpus", type=cpu_list, default=",".join(map(str, cpus[:-1] or cpus)),
                   help="for wrk and the backend; default: the others")
    p.add_argument("--json", type=Path, metavar="FILE", help="write every sample there")
    args = p.parse_args()
    for name in args.workload:
        if name not in WORKLOADS:
            p.error(f"{name}: no such workload")
    for name in ("rounds", "seconds", "connections", "threads"):
        if getattr(args, name) < 1:
            p.error(f"--{name} must be at least 1")
    if args.connections < args.threads:
        p.error("wrk needs a connection for every thread")
    return args


def main():
    args = parse_args()
    servers.exit_on_signals()
    servers.raise_file_limit()
    os.sched_setaffinity(0, parse_cpus(args.load_cpus))
    proxies, missing = servers.choose_proxies(args.only)
    about = machine()
    with tempfile.TemporaryDirectory(prefix="weir-bench-") as folder, \
            servers.backend_address(args.backend, folder, args.load_cpus) as backend:
        samples = run(args, proxies, backend, Path(folder),
                      lambda text: print(text, file=sys.stderr, flush=True))
    summaries = {w: summarise(samples, w) for w in args.workload}
    print(describe(about))
    for name in missing:
        print(f"Not measured: {name}.")
    for workload, summary in summaries.items():
        print("\n" + table(workload, summary, args))
    if args.json:
        args.json.parent.mkdir(parents=True, exist_ok=True)
        args.json.write_text(json.dumps({"machine": about, "samples": samples,
                                         "summary": summaries}, indent=1) + "\n")
    return 1 if any(row["errors"] for s in summaries.values() for row in s.values()) else 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except (BenchError, OSError) as e:
        sys.exit(f"{Path(sys.argv[0]).name}: {e}")
    except KeyboardInterrupt:
        sys.exit(130)
