# SPDX-License-Identifier: Apache-2.0
"""Scenario files: what is in one, checked with the place of every mistake, and the cells it makes.

A cell is one workload in one variant; every proxy is measured in it, in turns.
"""
import dataclasses
import math
import os
from fnmatch import fnmatch
from pathlib import Path

import yaml

from .process import HERE, BenchError
from .proxies import NEEDS, PROXIES

FOLDER = HERE / "scenarios"
CPUS_MAX = 8192  # what the kernel can be built for
BIG = 16 << 20  # bodies from here on are counted by the MiB: too few end within a sample

# Workload -> parameter -> (what it must be, default). What a reader calls one of it, and what a
# proxy must be able to do for it, stand in UNIT and NEED.
WORKLOADS = {
    "get": {"bytes": (int, 13), "tls": (bool, False), "upstream": (("h1", "tls"), "h1")},
    "close": {"bytes": (int, 13)},
    "upload": {"bytes": (int, None), "tls": (bool, False)},
    "mixed": {"get": (int, 9), "post": (int, 1), "bytes": (int, 1024)},
    "websocket": {"bytes": (int, 64)},
    "handshake": {"resumed": (bool, False), "version": (("1.2", "1.3"), "1.3")},
    "h2": {"streams": (int, 16), "upstream": (("h1", "h2"), "h1")},
    "grpc": {"streams": (int, 16)},
}
UNIT = {"websocket": "message", "handshake": "handshake", "grpc": "call"}
NEED = {"websocket": {"websocket"}, "handshake": {"tls"}, "h2": {"tls", "h2"},
        "grpc": {"tls", "h2", "grpc"}}
SWEEPS = ("routes", "endpoints", "idle", "connections", "bytes")
SLOW_KINDS = ("head", "body", "read")
SHARE = 0.7  # of the slowest proxy's peak is what the open loop sends
PACED = ("get", "close", "upload", "mixed")  # workloads that the open-loop generator can send


@dataclasses.dataclass(frozen=True)
class Cell:
    """One workload in one variant."""

    scenario: "Scenario"
    variant: str               # "" or "routes=100"
    routes: int = 1
    endpoints: int = 1
    idle: int = 0
    connections: int = 64
    params: dict = dataclasses.field(default_factory=dict)

    @property
    def key(self):
        return self.scenario.name + (f" {self.variant}" if self.variant else "")

    @property
    def needs(self):
        return self.scenario.needs

    @property
    def size(self):
        return self.params.get("bytes", 13)

    @property
    def unit(self):
        if self.size >= BIG:
            return "MiB"
        return UNIT.get(self.scenario.workload, "request")

    @property
    def path(self):
        if self.scenario.sweep_key == "routes":
            return f"/r{self.routes - 1}/"  # of the last route: where a list is walked, its end
        if self.scenario.workload in ("get", "close") and self.size != 13:
            return f"/bytes/{self.size}"
        return "/sink" if self.scenario.workload in ("upload", "mixed") else "/"


@dataclasses.dataclass(frozen=True)
class Scenario:
    name: str
    about: str
    workload: str
    params: dict
    proxies: tuple
    needs: frozenset
    order: int = 1000          # where it stands among the others
    default: bool = True
    quick: bool = False
    connections: int = 64
    rounds: int = 3
    seconds: float = 2.0
    warmup: float = 0.7
    latency: dict = None       # {"rounds", "seconds", "share", "proxies"}, or None
    slow: dict = None          # {"connections", "kind", "interval"}, or None
    idle: int = 0
    proxy_cpu: str = ""        # "" leaves it to the program
    load_cpus: str = ""
    sweep_key: str = ""
    sweep: tuple = ()

    def cells(self):
        base = Cell(self, "", idle=self.idle, connections=self.connections, params=self.params)
        return [self.vary(base, value) for value in self.sweep] or [base]

    def vary(self, base, value):
        if self.sweep_key == "bytes":
            return dataclasses.replace(base, variant=size_text(value),
                                       params={**self.params, "bytes": value})
        variant = f"{value:,}" + (f" {self.sweep_key}" if self.sweep_key != self.name else "")
        return dataclasses.replace(base, variant=variant, **{self.sweep_key: value})


class Reader:
    """Reads one file. Every mistake in it is kept with its line, and all are told at once."""

    def __init__(self, path):
        self.path = path
        self.mistakes = []
        self.paced = {}  # latency.proxies, if it is there

    def wrong(self, node, text):
        self.mistakes.append(f"{self.path}:{node.start_mark.line + 1}: {text}")

    def mapping(self, node, where, allowed):
        """key -> node of its value."""
        if not isinstance(node, yaml.MappingNode):
            self.wrong(node, f"{where} must be a map with {', '.join(allowed)}")
            return {}
        found = {}
        for key, value in node.value:
            if key.value not in allowed:
                self.wrong(key, f"{where} has no key {self.shown(key)}; it may have "
                                f"{', '.join(allowed)}")
            elif key.value in found:
                self.wrong(key, f"{where}: {key.value!r} stands here for the second time")
            else:
                found[key.value] = value
        return found

    def scalar(self, node, key, kind, least=None):
        """A checked value; None if it is not what it must be, which is then told."""
        value = self.plain(node)
        if isinstance(kind, tuple):
            if value in kind:
                return value
            self.wrong(node, f"{key} is {self.shown(node)}; it may be {', '.join(kind)}")
            return None
        names = {int: "a whole number", float: "a number", bool: "true or false", str: "text"}
        good = isinstance(value, (int, float) if kind is float else kind)
        if good and kind in (int, float):
            good = not isinstance(value, bool) and math.isfinite(value)
        if not good:
            self.wrong(node, f"{key} is {self.shown(node)}; it must be {names[kind]}")
            return None
        if least is not None and value < least:
            self.wrong(node, f"{key} is {value}; it must be at least {least}")
            return None
        return value

    @staticmethod
    def plain(node):
        """The value of a scalar node: its text if it is none that YAML can make (a !tag, a date
        that there never was). None for a map and a list."""
        if not isinstance(node, yaml.ScalarNode):
            return None
        try:
            return yaml.safe_load(yaml.serialize(node))
        except (yaml.YAMLError, ValueError):
            return node.value

    def shown(self, node):
        """What stands there, for a sentence."""
        if not isinstance(node, yaml.ScalarNode):
            return "a map" if isinstance(node, yaml.MappingNode) else "a list"
        return repr(self.plain(node))

    def items(self, node, key):
        if not isinstance(node, yaml.SequenceNode) or not node.value:
            self.wrong(node, f"{key} must be a list with at least one entry, as [a, b]")
            return []
        return node.value

    def some_of(self, node, key, allowed):
        """A list of words that are allowed: word -> node."""
        found = {}
        for item in self.items(node, key):
            word = self.plain(item)
            if word in allowed:
                found[word] = item
            else:
                self.wrong(item, f"{key} has {self.shown(item)}; it may have {', '.join(allowed)}")
        return found

    # The parts of a scenario ---------------------------------------------------------------------

    KEYS = ("about", "order", "default", "quick", "proxies", "needs", "workload", "connections",
            "rounds", "seconds", "warmup", "latency", "beside", "pinning", "sweep")

    def root(self):
        """The topmost node."""
        try:
            content = self.path.read_bytes()
            text = content.decode()
            return yaml.compose(text)
        except OSError as e:
            raise BenchError(f"{self.path}: {e.strerror}") from None
        except UnicodeDecodeError as e:
            line = content.count(b"\n", 0, e.start) + 1
            raise BenchError(f"{self.path}:{line}: the byte 0x{content[e.start]:02x} is not UTF-8; "
                             "save the file as UTF-8") from None
        except yaml.reader.ReaderError as e:
            line = text.count("\n", 0, e.position) + 1
            raise BenchError(f"{self.path}:{line}: a character that YAML does not allow, "
                             f"U+{e.character:04X}; take it out") from None
        except yaml.MarkedYAMLError as e:
            raise BenchError(f"{self.path}:{e.problem_mark.line + 1}: {e.problem}") from None

    def scenario(self):
        root = self.root()
        if root is None:
            raise BenchError(f"{self.path}:1: the file is empty")
        nodes = self.mapping(root, "a scenario", self.KEYS)
        values = {"name": self.path.stem, "proxies": tuple(PROXIES), "needs": set()}
        for key in ("about", "workload"):
            if key not in nodes and isinstance(root, yaml.MappingNode):
                self.wrong(root, f"{key!r} is missing")
        simple = {"about": (str, None), "order": (int, 0), "default": (bool, None),
                  "quick": (bool, None), "connections": (int, 1), "rounds": (int, 1),
                  "seconds": (float, 0.1), "warmup": (float, 0)}
        for key, node in nodes.items():
            if key in simple:
                values[key] = self.scalar(node, key, *simple[key])
            else:
                values.update(getattr(self, f"read_{key}")(node))
        self.check(nodes, values)
        if self.mistakes:
            raise BenchError("\n".join(self.mistakes))
        values["needs"] = frozenset(values["needs"] | NEED.get(values["workload"], set()))
        return Scenario(**values)

    def check(self, nodes, values):
        """What no part can see by itself."""
        workload = values.get("workload")
        for name, node in self.paced.items():
            if values["proxies"] and name not in values["proxies"]:
                self.wrong(node, f"latency.proxies has {name!r}, which is not measured at all: add "
                                 "it to proxies or take it out")
        if values.get("latency") and workload not in PACED:
            self.wrong(nodes["latency"], f"latency can't be had for the workload {workload!r}: the "
                                         f"open-loop generator sends only {', '.join(PACED)}")
        if values.get("params", {}).get("tls"):
            values["needs"] = values["needs"] | {"tls"}
            if values.get("slow"):
                self.wrong(nodes["beside"], "slow connections can't be had with tls: build/load "
                                            "sends theirs over plain TCP")
        upstream = values.get("params", {}).get("upstream", "h1")
        if upstream != "h1":
            values["needs"] = values["needs"] | {f"{upstream}-upstream"}
        key = values.get("sweep_key")
        if key == "bytes" and workload and "bytes" not in WORKLOADS[workload]:
            self.wrong(nodes["sweep"], f"the workload {workload!r} has no bytes to sweep")
        if key in ("routes", "endpoints"):
            values["needs"] = values["needs"] | {key}
        if key == "routes" and values.get("params", {}).get("bytes", 13) != 13:
            self.wrong(nodes["sweep"], "routes are swept with a body of 13 bytes: the path is "
                                       "the route's")
        if values.get("params", {}).get("bytes", 0) is None and key != "bytes":
            self.wrong(nodes["workload"], f"the workload {workload!r} needs bytes")

    def read_proxies(self, node):
        return {"proxies": tuple(self.some_of(node, "proxies", tuple(PROXIES)))}

    def read_needs(self, node):
        return {"needs": set(self.some_of(node, "needs", NEEDS))}

    def read_workload(self, node):
        if isinstance(node, yaml.ScalarNode):
            name, parts = self.scalar(node, "workload", tuple(WORKLOADS)), {}
        else:
            everything = ["name", *dict.fromkeys(k for w in WORKLOADS.values() for k in w)]
            parts = self.mapping(node, "workload", everything)
            if "name" not in parts:
                self.wrong(node, "workload: 'name' is missing")
                return {}
            name = self.scalar(parts.pop("name"), "workload", tuple(WORKLOADS))
        if not name:
            return {}
        params = {key: default for key, (_, default) in WORKLOADS[name].items()}
        for key, value in parts.items():
            if key not in params:
                self.wrong(value, f"the workload {name!r} has no {key!r}; it may have "
                                  f"{', '.join(params) or 'nothing'}")
            else:
                kind = WORKLOADS[name][key][0]
                params[key] = self.scalar(value, key, kind, 1 if kind is int else None)
        return {"workload": name, "params": params}

    def read_latency(self, node):
        if isinstance(node, yaml.ScalarNode) and self.plain(node) is False:
            return {"latency": None}
        parts = self.mapping(node, "latency", ("rounds", "seconds", "share", "proxies"))
        latency = {"rounds": 2, "seconds": 3.0, "share": SHARE, "proxies": tuple(PROXIES)}
        if "proxies" in parts:
            self.paced = self.some_of(parts.pop("proxies"), "latency.proxies", tuple(PROXIES))
            latency["proxies"] = tuple(self.paced)
        for key, value in parts.items():
            latency[key] = self.scalar(value, f"latency.{key}", type(latency[key]),
                                       1 if key == "rounds" else 0.1)
        return {"latency": latency}

    def read_beside(self, node):
        parts = self.mapping(node, "beside", ("idle", "slow"))
        values = {}
        if "idle" in parts:
            values["idle"] = self.scalar(parts["idle"], "beside.idle", int, 0)
        if "slow" in parts:
            slow = {"connections": 500, "kind": "head", "interval": 100}
            for key, value in self.mapping(parts["slow"], "beside.slow", tuple(slow)).items():
                slow[key] = self.scalar(value, f"beside.slow.{key}",
                                        SLOW_KINDS if key == "kind" else int,
                                        None if key == "kind" else 1)
            values["slow"] = slow
        return values

    def read_pinning(self, node):
        values = {}
        usable = os.sched_getaffinity(0)
        parts = self.mapping(node, "pinning", ("proxy", "load"))
        for key, value in parts.items():
            cpus = str(self.plain(value))
            try:
                strange = parse_cpus(cpus) - usable
            except ValueError:
                self.wrong(value, f"pinning.{key} is {self.shown(value)}; it must be a list of "
                                  "CPUs, as \"0\" or \"0,2-3\"")
                continue
            if strange:
                otherwise = {"proxy": "the proxy gets the last CPU",
                             "load": "the load gets all but the last CPU"}[key]
                self.wrong(value, f"pinning.{key} is {cpus!r}, but CPU {numbers(strange)} can't be "
                                  f"used here; name some of CPU {numbers(usable)}, or leave it "
                                  f"out: {otherwise} then")
            values["proxy_cpu" if key == "proxy" else "load_cpus"] = cpus
        return values

    def read_sweep(self, node):
        parts = self.mapping(node, "sweep", SWEEPS)
        if len(parts) != 1:
            self.wrong(node, f"sweep must have exactly one of {', '.join(SWEEPS)}")
            return {}
        (key, value), = parts.items()
        least = 0 if key == "idle" else 1
        values = [self.scalar(n, f"sweep.{key}", int, least)
                  for n in self.items(value, f"sweep.{key}")]
        return {"sweep_key": key, "sweep": tuple(values)}


def size_text(size):
    """1 MiB for 1048576."""
    for power, unit in ((30, "GiB"), (20, "MiB"), (10, "KiB")):
        if size >= 1 << power and size % (1 << power) == 0:
            return f"{size >> power} {unit}"
    return f"{size:,} bytes"


def parse_cpus(text):
    """A list as taskset takes it: "1" or "0,2-3". Anything else is a ValueError."""
    cpus = set()
    for part in text.split(","):
        first, _, last = part.partition("-")
        first, last = int(first), int(last or first)
        if not first <= last < CPUS_MAX:
            raise ValueError(f"{part}: no list of CPUs")
        cpus |= set(range(first, last + 1))
    return cpus


def numbers(cpus):
    return ", ".join(map(str, sorted(cpus)))


def load(path):
    return Reader(Path(path)).scenario()


def load_all():
    """Every scenario of bench/scenarios, in their order."""
    found = [load(path) for path in FOLDER.glob("*.yaml")]
    return sorted(found, key=lambda s: (s.order, s.name))


def choose(wanted, quick=False):
    """The scenarios to run: by name, by a pattern such as tls-*, by FILE.yaml, or the default
    ones."""
    if not wanted:
        return [s for s in load_all() if (s.quick if quick else s.default)]
    chosen = []
    for entry in wanted:
        if matching := [s for s in load_all() if "*" in entry and fnmatch(s.name, entry)]:
            chosen += matching
            continue
        path = Path(entry) if entry.endswith((".yaml", ".yml")) else FOLDER / f"{entry}.yaml"
        if not path.exists():
            known = ", ".join(p.stem for p in sorted(FOLDER.glob("*.yaml")))
            raise BenchError(f"{entry}: no such scenario; there are {known}, or any FILE.yaml")
        chosen.append(load(path))
    return chosen
