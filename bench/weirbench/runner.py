# SPDX-License-Identifier: Apache-2.0
"""A whole run: cell by cell, round by round, proxy by proxy, each freshly started.

What can't be measured is named and left out; a proxy that fails in a cell is out of that cell only.
"""
import contextlib
import dataclasses
import itertools
import subprocess
from pathlib import Path

from . import load, measure
from .process import BenchError
from .proxies import Hello, HelloEverywhere, HelloTls, find_program
from .setup import Setup

# About what it takes to start, check and end a proxy, and to open an idle connection; for the plan.
START_SECONDS = 0.6
IDLE_SECONDS, TLS_IDLE_SECONDS = 0.0002, 0.0015


@dataclasses.dataclass
class Options:
    """What the command line says about every scenario; None leaves it to the scenario."""

    proxy_cpu: str
    load_cpus: str
    files: int                 # the limit on open files
    rounds: int = None
    seconds: float = None
    connections: int = None
    quick: bool = False
    access_log: bool = False
    backend: str = None


@dataclasses.dataclass
class Plan:
    """A cell and the proxies that are measured in it."""

    cell: object
    proxies: list              # [(label, factory)]
    rounds: int
    seconds: float
    warmup: float
    latency: dict = None

    def peak_seconds(self):
        each = TLS_IDLE_SECONDS if "tls" in self.cell.needs else IDLE_SECONDS
        return START_SECONDS + self.cell.idle * each + self.warmup + self.seconds

    def paced_seconds(self):
        return START_SECONDS + self.warmup + self.latency["seconds"] if self.latency else 0.0

    def total(self):
        rounds = self.latency["rounds"] if self.latency else 0
        return (len(self.proxies) * self.rounds * self.peak_seconds() +
                len(self.paced_proxies()) * rounds * self.paced_seconds())

    def paced_proxies(self):
        """Those that the open loop is for; the slowest of them sets its rate."""
        return [(label, make) for label, make in self.proxies
                if self.latency and make.cls.name in self.latency["proxies"]]


def plan_run(scenarios, proxies, options, missing_tool=load.missing_tool, has=find_program):
    """([plans], [what is left out, and why])."""
    plans, left_out = [], []
    for scenario in scenarios:
        for cell in some_cells(scenario, options):
            cell, limited = fit(cell, options)
            left_out += limited
            if reason := unable(cell, missing_tool, has):
                left_out.append(f"{cell.key}: {reason}")
                continue
            able = []
            for label, make in proxies:
                if make.cls.name not in scenario.proxies:
                    continue
                if lacking := sorted(cell.needs - make.cls.can):
                    left_out.append(f"{label} in {scenario.name}: has no {', '.join(lacking)}")
                else:
                    able.append((label, make))
            if not able:
                left_out.append(f"{cell.key}: no proxy here can do it")
                continue
            plans.append(plan(cell, able, options))
            if plans[-1].latency and (reason := missing_tool("load")):
                plans[-1].latency = None
                left_out.append(f"{cell.key}: no latencies: {reason}")
    return plans, list(dict.fromkeys(left_out))


def plan(cell, proxies, options):
    s, quick = cell.scenario, options.quick
    latency = s.latency and dict(s.latency)
    if latency and options.rounds:
        latency["rounds"] = options.rounds
    if latency and options.seconds:
        latency["seconds"] = options.seconds
    if latency and quick:
        latency.update(rounds=1, seconds=1.0)
    return Plan(cell, proxies, options.rounds or (1 if quick else s.rounds),
                options.seconds or (1.0 if quick else s.seconds),
                min(s.warmup, 0.3) if quick else s.warmup, latency)


def some_cells(scenario, options):
    cells = scenario.cells()
    return [cells[0], cells[-1]] if options.quick and len(cells) > 2 else cells


def fit(cell, options):
    """The cell as far as this machine's limits allow, and what had to be made smaller."""
    said = []
    if options.connections:
        cell = dataclasses.replace(cell, connections=options.connections)
    most = measure.idle_limit(options.files, cell.connections)
    if cell.idle > most:
        said.append(f"{cell.key}: {most:,} idle connections, because a process may have "
                    f"{options.files:,} open files and the floor needs two for each")
        cell = dataclasses.replace(cell, idle=most)
    return cell, said


def unable(cell, missing_tool, has):
    """Why a cell can't be measured here at all, or None."""
    reasons = [r for r in map(missing_tool, sorted(load.tools_of(cell))) if r]
    if cell.needs & {"tls", "tls-upstream"} and not has("openssl"):
        reasons.append("openssl is not installed")
    return ", ".join(reasons) or None


def upstream_of(cell):
    if cell.scenario.workload == "grpc":
        return "grpc"
    return cell.params.get("upstream", "h1")


class Run:
    """Takes the samples. `samples` and `failures` are complete at any moment, so that a run that is
    ended early still has its results."""

    def __init__(self, options, folder, progress):
        self.options, self.folder, self.progress = options, Path(folder), progress
        self.samples, self.failures = [], []
        self.rates = {}        # cell's key -> requests a second of the open loop
        self.stack = contextlib.ExitStack()
        self.backends, self.certificate, self.counter = {}, (), itertools.count(1)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stack.close()

    def run(self, plans):
        for one in plans:
            self.cell(one)

    def cell(self, plan):
        key, out = plan.cell.key, set()
        for number in range(1, plan.rounds + 1):
            for label, make in plan.proxies:
                self.sample(plan, label, make, number, out, plan.peak_seconds(),
                            lambda s: s.peak(plan.seconds, plan.warmup))
        if not plan.latency:
            return
        labels = [label for label, _ in plan.paced_proxies()]
        rate = measure.choose_rate({k: v for k, v in self.peaks(key).items() if k in labels},
                                   plan.latency["share"])
        self.rates[key] = rate
        if rate is None:
            out.update(labels)
        for number in range(1, plan.latency["rounds"] + 1):
            for label, make in plan.paced_proxies():
                self.sample(plan, label, make, number, out, plan.paced_seconds(),
                            lambda s: s.paced(plan.latency["seconds"], plan.warmup, rate))

    def peaks(self, key):
        peaks = {}
        for s in self.samples:
            if s["cell"] == key and s["kind"] == "peak":
                peaks.setdefault(s["proxy"], []).append(s["requests"] / s["seconds"])
        return peaks

    def sample(self, plan, label, make, number, out, seconds, take):
        cell = plan.cell
        if label in out:
            self.progress.skip(seconds)
            return
        self.progress.now(f"{cell.key} {number}/{plan.rounds} {label}")
        folder = self.folder / f"{next(self.counter)}-{label.replace('/', '-')}"
        scenario = cell.scenario
        proxy_cpu = scenario.proxy_cpu or self.options.proxy_cpu
        load_cpus = scenario.load_cpus or self.options.load_cpus
        try:
            with make(folder, proxy_cpu) as server:
                server.start(self.setup(cell))
                measure.check(server, cell)
                taken = take(measure.Sampler(server, cell, proxy_cpu, load_cpus, folder))
        except (BenchError, OSError, subprocess.SubprocessError) as e:
            out.add(label)
            self.failures.append({"cell": cell.key, "proxy": label, "why": str(e)})
            self.progress.say(f"{cell.key} {label}: FAILED: {e}")
            self.progress.skip(seconds)
            return
        self.samples.append({"cell": cell.key, "scenario": scenario.name, "round": number,
                             "proxy": label, **taken})
        self.progress.step(seconds, f"{cell.key} {number} {label}: {one_line(cell, taken)}")

    # What a sample stands on ---------------------------------------------------------------------

    def setup(self, cell):
        needs = cell.needs
        pair = self.pair() if needs & {"tls", "tls-upstream"} else ()
        return Setup(self.backend(cell), cell.routes, cell.endpoints, pair, "tls" in needs,
                     "h2" in needs, "websocket" in needs, upstream_of(cell),
                     self.options.access_log)

    def backend(self, cell):
        if self.options.backend:
            return self.options.backend
        if upstream_of(cell) == "tls":
            kind, setup = HelloTls, Setup(pair=self.pair(), tls=True)
        else:
            kind, setup = (HelloEverywhere if cell.endpoints > 1 else Hello), None
        if kind not in self.backends:
            folder = self.folder / f"backend-{kind.__name__}"
            server = self.stack.enter_context(kind(folder, self.options.load_cpus))
            self.backends[kind] = server.start(setup).address
        return self.backends[kind]

    def pair(self):
        """(certificate, key, both in one file), made once a run."""
        if not self.certificate:
            self.certificate = make_certificate(self.folder)
        return self.certificate


def make_certificate(folder):
    """ECDSA P-256, as most public servers have today; signed by itself: clients here don't look."""
    cert, key, both = (folder / name for name in ("cert.pem", "key.pem", "both.pem"))
    done = subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1",
         "-nodes", "-keyout", key, "-out", cert, "-days", "2", "-subj", "/CN=localhost",
         "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    if done.returncode:
        raise BenchError(f"openssl made no certificate:\n{done.stdout}")
    both.write_text(cert.read_text() + key.read_text())
    return cert, key, both


def one_line(cell, taken):
    errors = sum(taken["errors"].values())
    bad = f", {errors} errors" if errors else ""
    if taken["kind"] == "paced":
        found = taken["latency_us"]
        return f"p50 {found['p50']:.0f} µs, p99 {found['p99']:.0f} µs{bad}"
    return f"{taken['rate']:,.0f} {cell.unit}/s, {taken['cpu_us']:.2f} µs/{cell.unit}{bad}"
