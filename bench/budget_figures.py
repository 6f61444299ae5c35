# SPDX-License-Identifier: Apache-2.0
"""What bench/budget.yaml has rows for, measured: counts, never seconds.

A measurement is one function over a conversation of budget_scenes.py; its names are the rows that
it fills.
"""
import dataclasses
import os
import re
import resource
import shutil
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path

import instructions
from budget_scenes import (EXPORTED, LIMITED, LOGGED, ROUTED, STICKY, TLS_TO_H2, TLS_TO_PLAIN,
                           TLS_TO_TLS, TRACED, TRACED_1, UNWATCHED, WATCHED, H2BothScene, H2Scene,
                           PoolScene, Scene, TlsScene, TracedScene, endpoints_config, libc, repeat,
                           routes_config, scene)

import harness  # whose folder budget_scenes has put into the path
import peers
from counting import READS, WAITS, WRITES, Allocations, Strace, build_preload


@dataclasses.dataclass
class Figure:
    value: float
    parts: dict  # what it is made of, name -> amount: tells what moved


@dataclasses.dataclass
class Measurement:
    names: list
    run: Callable  # -> {name: Figure}


@dataclasses.dataclass
class Derived:
    name: str
    sources: tuple  # names of figures
    derive: Callable  # {name: Figure} -> Figure


# ---- system calls -------------------------------------------------------------------------------

KINDS = {"reads": READS, "writes": WRITES, "waits": WAITS}


def kind_of(call):
    return next((kind for kind, calls in KINDS.items() if call in calls), call)


def by_kind(prefix, kinds, calls, times):
    """A figure for each kind, and one for the others, whose parts say which they are."""
    figures = {f"{prefix}.{kind}": Figure(0, {}) for kind in kinds}
    for call, count in calls.items():
        kind = kind_of(call) if kind_of(call) in kinds else "others"
        if call in WAITS and kind == "others":
            continue  # how much comes at once is not always in our hands
        figure = figures[f"{prefix}.{kind}"]
        figure.value += count / times
        figure.parts[call] = count / times
    return figures


def count_calls(name, kinds, act, times, **options):
    prefix, kinds = f"calls.{name}", [*kinds.split(), "others"]

    def run():
        with scene(**options) as s:
            repeat(act, s, WARM_UP if times > WARM_UP else 2)
            strace = Strace(s.weir.pid, s.folder / "strace")
            repeat(act, s, times)
            calls, _ = strace.stop()
        calls.pop("restart_syscall", None)  # the wait in which strace found it
        return by_kind(prefix, kinds, calls, times)

    return Measurement([f"{prefix}.{kind}" for kind in kinds], run)


# ---- allocations --------------------------------------------------------------------------------

def count_allocations(name, act, times, **more):
    """What the acts cost, they cost in both of two stretches; what is left over from weir's start,
    which on a busy machine other threads come late to, is in one."""
    names = [f"allocations.{name}.{kind}" for kind in ("mallocs", "frees")]

    def run():
        with tempfile.TemporaryDirectory(prefix="weir-budget-") as folder:
            counts = Allocations(Path(folder) / "counts")
            options = {"preload": build_preload(folder), "env": counts.env, **more}
            with scene(**options) as s:
                repeat(act, s, WARM_UP)
                read = [counts.read()]
                for _ in range(2):
                    repeat(act, s, times)
                    read.append(counts.read())
        assert read[-1][0] > 0, "the preload counts nothing"
        costs = [min(b - a for a, b in zip(seen, seen[1:])) / times for seen in zip(*read)]
        return {n: Figure(cost, {}) for n, cost in zip(names, costs)}

    return Measurement(names, run)


# ---- instructions -------------------------------------------------------------------------------

def count_instructions(name, act, times, settle=None, **options):
    """Of one act, between two orders to the running callgrind, so that neither weir's start nor its
    end is in it. settle(scene, requests) waits until other threads have caught up."""
    warm = WARM_UP if times > WARM_UP else 1

    def run():
        with tempfile.TemporaryDirectory(prefix="weir-budget-") as folder:
            with scene(wrap=instructions.valgrind(folder), **options) as s:
                repeat(act, s, warm)
                if settle:
                    settle(s, 1 + warm)
                instructions.order(folder, s.weir.pid, "zero")
                repeat(act, s, times)
                if settle:
                    settle(s, 1 + warm + times)
                instructions.order(folder, s.weir.pid, "dump")
                costs = instructions.read_costs(Path(folder) / f"callgrind.out.{s.weir.pid}.1")
        parts = {f: cost / times for f, cost in costs.items() if cost}
        return {name: Figure(sum(parts.values()), parts)}

    return Measurement([name], run)


PICK_ROUNDS, PICKS = 7, 100000  # of bench/micro/picks.c
PICK_SECONDS = 300
POLICIES = ("p2c", "round_robin", "least_conn", "random", "peak_ewma", "ring_hash", "maglev")


def count_pick(policy, endpoints):
    """Of one pick by lb_pick, requests being in flight."""
    name = f"instructions.pick_{policy}"

    def run():
        with tempfile.TemporaryDirectory(prefix="weir-budget-") as folder:
            subprocess.run([*instructions.valgrind(folder), "--collect-atstart=no",
                            "--toggle-collect=time_picks*", harness.WEIR.with_name("micro-picks"),
                            policy, str(endpoints)], check=True, stdin=subprocess.DEVNULL,
                           capture_output=True, timeout=PICK_SECONDS)
            (counted,) = Path(folder).glob("callgrind.out.*")
            costs = instructions.read_costs(counted)
        parts = {f: cost / (PICK_ROUNDS * PICKS) for f, cost in costs.items() if cost}
        return {name: Figure(sum(parts.values()), parts)}

    return Measurement([name], run)


def difference(name, of, minus, over=None):
    """Derived: what one figure costs more than another; in per cent of a third, if there is one."""

    def derive(figures):
        more, less = figures[of], figures[minus]
        scale = 100 / figures[over].value if over else 1
        parts = {f: (more.parts.get(f, 0) - less.parts.get(f, 0)) * scale
                 for f in {*more.parts, *less.parts}}
        return Figure((more.value - less.value) * scale, parts)

    return Derived(name, (of, minus, over or of), derive)


# What tells of a request besides its line in the log: counters, the recorder, the id.
OBSERVERS = ("exchange_tell", "exchange_fly", "uuid7_format", "uuid7_next", "uuid7_make")


def observing(name, logged, plain):
    """Derived: what all that tells of a request costs over none of it, in per cent. There is no
    weir without counters and ids, so theirs are taken by function."""

    def derive(figures):
        more, less = figures[logged], figures[plain]
        parts = {f: more.parts.get(f, 0) - (0 if f in OBSERVERS else less.parts.get(f, 0))
                 for f in {*more.parts, *less.parts}}
        scale = 100 / (more.value - sum(parts.values()))
        return Figure(sum(parts.values()) * scale, {f: n * scale for f, n in parts.items()})

    return Derived(name, (logged, plain), derive)


# ---- memory -------------------------------------------------------------------------------------

IDLE_FEW, IDLE_MANY = 256, 2304
PR_SET_THP_DISABLE = 41


def anonymous_bytes(pid):
    """Of the process's own. Not PSS: what a page of libc counts in that depends on how many other
    processes have it at the moment."""
    text = Path(f"/proc/{pid}/smaps_rollup").read_text()
    return int(re.search(r"^Anonymous: +(\d+) kB", text, re.M)[1]) * 1024


def measure_idle(name, **options):
    def run():
        return {name: Figure(idle_slope(**options), {})}

    return Measurement([name], run)


def idle_slope(**options):
    """The slope between a few hundred idle keep-alive conns and a few thousand, so that the first
    slabs are in neither; without huge pages, which come when they please."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, min(hard, 2 * IDLE_MANY)), hard))
    libc.prctl(PR_SET_THP_DISABLE, 1, 0, 0, 0)
    with scene(**options) as s:
        conns = []
        while len(conns) < IDLE_MANY:
            conns.append(s.connect())
            s.get(client=conns[-1])
            if len(conns) == IDLE_FEW:
                before = anonymous_bytes(s.weir.pid)
        after = anonymous_bytes(s.weir.pid)
        for conn in conns:
            getattr(conn, "peer", conn).assert_open()
    return (after - before) / (IDLE_MANY - IDLE_FEW)


# ---- sizes of structures, from the debugging information --------------------------------------

DWARF_ENTRY = re.compile(r" <(\d+)><\w+>: Abbrev Number: \d+ \(DW_TAG_(\w+)\)")
DWARF_VALUE = re.compile(r"DW_AT_(name|byte_size|data_member_location|data_bit_offset)\s*:"
                         r".*?([\w.]+)\s*$")


def read_structs(text, wanted):
    """name -> Figure of its size; the parts are the members with what lies up to the next one, so
    that they add up, holes and all. text: of readelf --debug-dump=info."""
    found = {}
    struct_entry = entry = None
    for line in text.splitlines():
        if head := DWARF_ENTRY.match(line):
            level, tag = int(head[1]), head[2]
            entry = {"tag": tag, "level": level, "members": []}
            if tag == "structure_type":
                struct_entry = entry
            elif tag == "member" and struct_entry and level == struct_entry["level"] + 1:
                struct_entry["members"].append(entry)
        elif entry and (value := DWARF_VALUE.search(line)):
            entry.setdefault(value[1], value[2])
            if entry["tag"] == "structure_type" and entry.get("name") in wanted \
                    and "byte_size" in entry:
                found.setdefault(entry["name"], entry)
    return {name: struct_figure(entry) for name, entry in found.items()}


def offset(member):
    bits = int(member.get("data_bit_offset", "0"), 0)  # instead, for a bit-field
    return int(member.get("data_member_location", "0"), 0) + bits // 8


def struct_figure(entry):
    size = int(entry["byte_size"], 0)
    places = [(offset(member), member.get("name", "?")) for member in entry["members"]]
    ends = [place for place, _ in places[1:]] + [size]
    return Figure(size, {name: end - place for (place, name), end in zip(places, ends)})


def measure_structs(names):
    def run():
        done = subprocess.run(["readelf", "-W", "--debug-dump=info", str(harness.WEIR)], check=True,
                              capture_output=True, text=True, errors="replace")
        found = read_structs(done.stdout, {n.partition(".")[2] for n in names})
        return {f"bytes.{name}": figure for name, figure in found.items()}

    return Measurement(names, run)


def prepare():
    """Before anything is run."""
    peers.SLOW = 24.0  # stretches every bound: valgrind is slow, and so is a busy machine
    if not harness.WEIR.exists():
        raise ValueError(f"{harness.WEIR} does not exist: make")
    if harness.sanitizer():
        raise ValueError(f"{harness.WEIR} has a sanitizer in it: budgets are for MODE=release")
    for tool in ("valgrind", "vgdb", "strace", "readelf"):
        if not shutil.which(tool):
            raise ValueError(f"{tool} is not installed: make deps-test")


def built_with():
    """'gcc 12 -O2 x86_64': what instructions depend on, as weir's debugging information says."""
    done = subprocess.run(["readelf", "-W", "--debug-dump=info", "--dwarf-depth=1",
                           str(harness.WEIR)], check=True, capture_output=True, text=True)
    producers = re.findall(r"DW_AT_producer *:.*?: (.*C\d\d .*|.*clang.*)", done.stdout)
    if not producers:
        raise ValueError(f"{harness.WEIR} has no debugging information; -g is among our own flags")
    producer = producers[-1]
    clang = re.search(r"clang version (\d+)", producer)
    gcc = re.search(r"C\d+ (\d+)", producer)
    compiler = f"clang {clang[1]}" if clang else f"gcc {gcc[1]}"
    level = (re.findall(r" (-O\w*)", producer) or [""])[-1]
    return " ".join(filter(None, (compiler, level, os.uname().machine)))


# ---- all of them --------------------------------------------------------------------------------

WARM_UP = 50
CONN = "accept4 epoll_ctl close reads writes waits"
DIAL = CONN.replace("accept4", "socket setsockopt connect getsockopt")
# Who talks what: TLS at the client, and at the upstream too; HTTP/2 over TLS to HTTP/1, and to h2c.
SECURE = {
    "tls": {"of": TlsScene, "config": TLS_TO_PLAIN},
    "tls_tls": {"of": TlsScene, "config": TLS_TO_TLS},
    "h2_h1": {"of": H2Scene, "config": TLS_TO_PLAIN},
    "h2_h2": {"of": H2BothScene, "config": TLS_TO_H2},
}
STRUCTS = ("conn tcp h1_server h1_client h1_stream h1_parser http_head stream exchange block slice "
           "buf_pool wheel_timer lb_endpoint pool_endpoint access_record worker")


def routed(hosts, paths):
    request = ROUTED % (9999 + paths, 9999 + hosts)
    return lambda s: s.get(request)


def measurements():
    ends, ins = endpoints_config, count_instructions
    return [
        ins("instructions.route_10k", routed(100, 100), 300, config=routes_config(100, 100)),
        ins("instructions.endpoint_10k", Scene.new_upstream_conn, 120, config=ends(10000)),
        ins("instructions.keepalive", Scene.get, 300),
        ins("instructions.post_1k", Scene.post, 300),
        ins("instructions.new_conn", Scene.new_conn, 120),
        ins("instructions.websocket", Scene.message, 300, prepare=Scene.upgrade),
        ins("instructions.body_down", Scene.body_down, 3),
        ins("instructions.body_up", Scene.body_up, 3),
        ins("instructions.sticky", lambda s: s.get(s.session), 300, config=STICKY,
            prepare=Scene.begin_session),
        ins("instructions.limited", Scene.get, 300, config=LIMITED),
        ins("instructions.logged", Scene.get, 300, settle=Scene.logged, config=LOGGED),
        ins("instructions.traced_1", TracedScene.get_1, 300, of=TracedScene, config=TRACED_1),
        ins("instructions.traced_100", Scene.get, 300, config=TRACED),
        ins("instructions.exported", TracedScene.get, 300, settle=TracedScene.exported,
            of=TracedScene, config=EXPORTED),
        ins("instructions.route_1", routed(1, 1), 300, config=routes_config(1, 1)),
        ins("instructions.route_100", routed(10, 10), 300, config=routes_config(10, 10)),
        ins("instructions.unwatched", PoolScene.get, 300, of=PoolScene, config=UNWATCHED),
        ins("instructions.watched", PoolScene.get, 300, of=PoolScene, config=WATCHED),
        ins("instructions.endpoint_2", Scene.new_upstream_conn, 120, config=ends(2)),
        *[count_pick(policy, 10000) for policy in POLICIES],
        count_calls("keepalive", "reads writes waits", Scene.get, 200),
        count_calls("post_1k", "reads writes waits", Scene.post, 200),
        count_calls("new_conn", CONN, Scene.new_conn, 200),
        count_calls("new_upstream_conn", DIAL, Scene.new_upstream_conn, 200, config=ends(2)),
        count_calls("websocket", "reads writes waits", Scene.message, 200, prepare=Scene.upgrade),
        count_calls("body_down", "reads writes", Scene.body_down, 4),
        count_calls("body_up", "reads writes", Scene.body_up, 4),
        count_allocations("keepalive", Scene.get, 200),
        count_allocations("post_1k", Scene.post, 200),
        count_allocations("new_conn", Scene.new_conn, 200),
        count_allocations("logged", Scene.get, 200, config=LOGGED),
        count_allocations("traced_100", Scene.get, 200, config=TRACED),
        count_allocations("body_down", Scene.body_down, 4),
        measure_idle("memory.idle_conn"),
        measure_idle("memory.idle_tls_conn", **SECURE["tls"]),
        measure_idle("memory.idle_h2_conn", **SECURE["h2_h1"]),
        *[m for name, talk in SECURE.items() for m in (
            ins(f"instructions.{name}", talk["of"].get, 300, **talk),
            count_calls(name, "reads writes waits", talk["of"].get, 200, **talk),
            count_allocations(name, talk["of"].get, 200, **talk))],
        measure_structs([f"bytes.{name}" for name in STRUCTS.split()]),
    ]


def derived():
    return [
        difference("instructions.access_log", "instructions.logged", "instructions.keepalive"),
        observing("growth.observing", "instructions.logged", "instructions.keepalive"),
        difference("instructions.trace", "instructions.traced_100", "instructions.keepalive"),
        difference("instructions.export", "instructions.exported", "instructions.traced_100"),
        difference("growth.watching", "instructions.watched", "instructions.unwatched",
                   "instructions.unwatched"),
        difference("growth.routes_100", "instructions.route_100", "instructions.route_1",
                   "instructions.route_1"),
        difference("growth.routes_10k", "instructions.route_10k", "instructions.route_1",
                   "instructions.route_1"),
        difference("growth.endpoints_10k", "instructions.endpoint_10k", "instructions.endpoint_2",
                   "instructions.keepalive"),
    ]
