# SPDX-License-Identifier: Apache-2.0
"""What bench/budget.yaml has rows for, measured: counts, never seconds.

Both ends of every conversation are played here, one thing at a time, so weir meets the same events
in the same order on a quiet machine and on a busy one. A measurement is one function; its names are
the rows that it fills.
"""
import contextlib
import ctypes
import dataclasses
import os
import re
import resource
import shutil
import socket
import struct
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from signal import SIGCONT, SIGSTOP

import instructions

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tests" / "e2e"))

import harness  # noqa: E402
import peers  # noqa: E402
from counting import READS, WAITS, WRITES, Allocations, Strace, build_preload, threads  # noqa: E402
from peers import Client, Upstream, wait_for  # noqa: E402

AF_NETLINK, NETLINK_SOCK_DIAG, SOCK_DIAG_BY_FAMILY, NLM_F_REQUEST = 16, 4, 20, 1
libc = ctypes.CDLL(None, use_errno=True)


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


# ---- conversations ------------------------------------------------------------------------------

GET = b"GET / HTTP/1.1\r\nHost: budget.example\r\nUser-Agent: budget\r\nAccept: */*\r\n\r\n"
ROUTED = b"GET /path-%d/page HTTP/1.1\r\nHost: host-%d.example\r\nUser-Agent: budget\r\n\r\n"
CLOSE = GET[:-2] + b"Connection: close\r\n\r\n"
MARK = b"Hello, World!"
HELLO = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 13\r\n\r\n" + MARK
POST = (b"POST /form HTTP/1.1\r\nHost: budget.example\r\nUser-Agent: budget\r\n"
        b"Content-Type: text/plain\r\nContent-Length: 1024\r\n\r\n" + MARK.rjust(1024, b"."))
UPGRADE = (b"GET /ws HTTP/1.1\r\nHost: budget.example\r\n"
           b"Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
           b"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n")
UPGRADED = (b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
            b"Sec-WebSocket-Accept: ICX+Yqv66kxgM0FcWaLWlFLwTAI=\r\n\r\n")
MESSAGE = b"\x81\x7d" + MARK.rjust(125, b".")  # an unmasked text frame; weir looks at none
END = b"\r\n\r\n"

MIB = 1 << 20
UPLOAD = b"POST / HTTP/1.1\r\nHost: budget.example\r\nContent-Length: %d\r\n\r\n" % MIB
PIECE = 48 << 10  # of a body: fits into the window that a fresh conn has, and is one packet


class EveryUpstream(Upstream):
    """Is reached by every address of the loopback."""

    def __init__(self):
        super().__init__()
        self.sock.close()
        self.sock = socket.create_server(("", 0), backlog=4096)
        self.sock.setblocking(False)
        self.port = self.sock.getsockname()[1]


class Scene:
    """A weir, a client of it and its upstream."""

    def __init__(self, stack, folder, config, **options):
        self.folder = folder
        self.upstream = stack.enter_context(contextlib.closing(EveryUpstream()))
        config = config.replace("$PORT", str(self.upstream.port))
        config = "workers: 1\n" + PATIENT + config
        self.weir = stack.enter_context(harness.Weir(config, folder, **options))
        self.stack = stack
        self.conn = None  # of weir to the upstream, kept alive
        self.client = self.connect()

    def connect(self):
        return self.stack.enter_context(Client(self.weir.listeners["web"]))

    def at_upstream(self, end):
        """The request, up to `end`, has arrived at the upstream."""
        if self.conn is None:
            self.conn = self.upstream.accept()
        self.conn.recv_until(end)

    def get(self, request=GET, end=END, client=None):
        client = client or self.client
        client.send(request)
        self.at_upstream(end)
        self.conn.send(HELLO)
        client.recv_until(MARK)

    def post(self):
        self.get(POST, MARK)

    def new_conn(self):
        """A request on a client conn of its own; afterwards weir has nothing left of it."""
        files = self.weir.fds()
        with Client(self.weir.listeners["web"]) as client:
            self.get(CLOSE, END, client)
            client.expect_closed()
        wait_for(lambda: self.weir.fds() == files, "weir to close the connection")

    def new_upstream_conn(self):
        """A request for which weir connects to an endpoint, and does not keep the connection."""
        self.client.send(GET)
        with self.upstream.accept() as conn:
            conn.recv_until(END)
            conn.send(HELLO)
            self.client.recv_until(MARK)
            conn.expect_closed()
        self.upstream.conns.clear()

    def upgrade(self):
        self.client.send(UPGRADE)
        self.at_upstream(END)
        self.conn.send(UPGRADED)
        self.client.recv_until(END)

    def message(self):
        """One from the client, and one back."""
        self.client.send(MESSAGE)
        self.conn.recv_until(MESSAGE)
        self.conn.send(MESSAGE)
        self.client.recv_until(MESSAGE)

    def body_down(self):
        self.client.send(GET)
        self.at_upstream(END)
        self.conn.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % MIB)
        self.client.recv_until(END)
        self._stream(self.conn, self.client)

    def body_up(self):
        self.client.send(UPLOAD)
        self.at_upstream(END)
        self._stream(self.client, self.conn)
        self.conn.send(HELLO)
        self.client.recv_until(MARK)

    def _stream(self, source, sink):
        """How much weir reads at a time depends on how much is there. So it is stopped while a
        piece is sent, and finds all of it: as when the sender is the faster one."""
        piece = bytes(PIECE)
        for at in range(0, MIB, PIECE):
            part = piece[: MIB - at]
            with self._stopped():
                source.send(part)
                wait_for(lambda: unread_by_peer(source) == len(part), "the piece to arrive")
            sink.recv_exact(len(part))

    @contextlib.contextmanager
    def _stopped(self):
        """The worker is told by itself: a signal to the process would first stop some thread, and
        the others a little later."""
        pid = self.weir.pid
        worker = worker_thread(pid)
        libc.tgkill(pid, worker, SIGSTOP)
        try:
            wait_for(lambda: is_stopped(pid, worker), "weir to stop")
            yield
        finally:
            self.weir.signal(SIGCONT)


@contextlib.contextmanager
def scene(config=None, prepare=None, **options):
    """One that has had a request already, and then prepare(it)."""
    with tempfile.TemporaryDirectory(prefix="weir-budget-") as folder, \
            contextlib.ExitStack() as stack:
        s = Scene(stack, Path(folder), config or PLAIN, **options)
        if config is None or "max_idle: 0" not in config:
            s.get()
        if prepare:
            prepare(s)
        yield s


def repeat(act, s, times):
    for _ in range(times):
        act(s)


def worker_thread(pid):
    """The one that is neither the first nor has a name of its own."""
    tasks = Path(f"/proc/{pid}/task")
    name = (tasks / str(pid) / "comm").read_text()
    others = [t for t in threads(pid) if t != pid and (tasks / str(t) / "comm").read_text() == name]
    assert len(others) == 1, f"weir has {len(others)} threads that could be its worker"
    return others[0]


def is_stopped(pid, thread):
    """Not merely by strace, before or after a system call: the signal is no longer pending."""
    status = Path(f"/proc/{pid}/task/{thread}/status").read_text()
    pending = int(re.search(r"^SigPnd:\s*(\w+)", status, re.M)[1], 16)
    return bool(re.search(r"^State:\s*[tT]", status, re.M)) and not pending >> (SIGSTOP - 1) & 1


def unread_by_peer(peer):
    """Bytes that wait in the kernel at the other end of a peer's TCP conn: sock_diag(7), about that
    one socket (/proc/net/tcp lists all of the machine's)."""
    (host, port), (far_host, far_port) = peer.sock.getpeername(), peer.sock.getsockname()
    ends = struct.pack(">HH4s12x4s12x", port, far_port, socket.inet_aton(host),
                       socket.inet_aton(far_host))
    cookie = struct.pack("=III", 0, 0xFFFFFFFF, 0xFFFFFFFF)  # any interface, any socket
    request = struct.pack("=BBBxI", socket.AF_INET, socket.IPPROTO_TCP, 0, 0xFFFFFFFF)
    request += ends + cookie
    head = struct.pack("=IHHII", 16 + len(request), SOCK_DIAG_BY_FAMILY, NLM_F_REQUEST, 1, 0)
    with socket.socket(AF_NETLINK, socket.SOCK_RAW, NETLINK_SOCK_DIAG) as s:
        s.settimeout(peers.SLOW)
        s.sendall(head + request)
        answer = s.recv(4096)
    kind = struct.unpack_from("=H", answer, 4)[0]
    assert kind == SOCK_DIAG_BY_FAMILY, f"sock_diag: {struct.unpack_from('=i', answer, 16)}"
    return struct.unpack_from("=I", answer, 16 + 56)[0]


# ---- configurations -----------------------------------------------------------------------------

# Nothing is ever late: a stopped weir, or one under valgrind on a busy machine, takes its time.
PATIENT = ("timeouts: { request_head: 10m, client_idle: 10m, request_body: 10m, "
           "response_head: 10m, response_idle: 10m, write_stall: 10m }\n")
UPSTREAM = "upstream: { connect: 5m, idle: 10m"
NO_LOG = "# access_log: none\n"
POOL = 'pools: { app: { endpoints: [ "127.0.0.1:$PORT" ], ' + UPSTREAM + " } } }\n"
PLAIN = NO_LOG + 'routes: [ { to: app } ]\n' + POOL
# The harness adds a log.
LOGGED = 'routes: [ { to: app } ]\n' + POOL


def routes_config(hosts, paths):
    """Routes by host and path; a request for the last of them matches it alone."""
    rows = [f"  - {{ match: {{ host: host-{h}.example, path: /path-{p} }}, to: app }}"
            for h in range(10000, 10000 + hosts) for p in range(10000, 10000 + paths)]
    rows.append("  - { to: app }")
    return NO_LOG + POOL + "routes:\n" + "\n".join(rows) + "\n"


def endpoints_config(count):
    """Endpoints that all are the one upstream, by other addresses of the loopback. What comes next
    differs from pick to pick, so the conn is new each time, with two of them as with many."""
    rows = [f'"127.0.{1 + i // 200}.{1 + i % 200}:$PORT"' for i in range(count)]
    return (NO_LOG + "routes: [ { to: app } ]\n"
            "pools: { app: { " + UPSTREAM + ", max_idle: 0 }, "
            "endpoints: [" + ", ".join(rows) + "] } }\n")


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

def count_allocations(name, act, times):
    names = [f"allocations.{name}.{kind}" for kind in ("mallocs", "frees")]

    def run():
        with tempfile.TemporaryDirectory(prefix="weir-budget-") as folder:
            counts = Allocations(Path(folder) / "counts")
            options = {"preload": build_preload(folder), "env": counts.env}
            with scene(**options) as s:
                repeat(act, s, WARM_UP)
                before = counts.read()
                repeat(act, s, times)
                after = counts.read()
        assert after[0] > 0, "the preload counts nothing"
        return {n: Figure((after[i] - before[i]) / times, {}) for i, n in enumerate(names)}

    return Measurement(names, run)


# ---- instructions -------------------------------------------------------------------------------

def count_instructions(name, act, times, logged=False, **options):
    """Of one act, between two orders to the running callgrind, so that neither weir's start nor its
    end is in it."""
    warm = WARM_UP if times > WARM_UP else 1

    def run():
        with tempfile.TemporaryDirectory(prefix="weir-budget-") as folder:
            with scene(wrap=instructions.valgrind(folder), **options) as s:
                repeat(act, s, warm)
                if logged:
                    s.weir.access_log(1 + warm)  # the log's thread has caught up
                instructions.order(folder, s.weir.pid, "zero")
                repeat(act, s, times)
                if logged:
                    s.weir.access_log(1 + warm + times)
                instructions.order(folder, s.weir.pid, "dump")
                costs = instructions.read_costs(Path(folder) / f"callgrind.out.{s.weir.pid}.1")
        parts = {f: cost / times for f, cost in costs.items() if cost}
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


# ---- memory -------------------------------------------------------------------------------------

IDLE_FEW, IDLE_MANY = 256, 2304
PR_SET_THP_DISABLE = 41


def anonymous_bytes(pid):
    """Of the process's own. Not PSS: what a page of libc counts in that depends on how many other
    processes have it at the moment."""
    text = Path(f"/proc/{pid}/smaps_rollup").read_text()
    return int(re.search(r"^Anonymous: +(\d+) kB", text, re.M)[1]) * 1024


def measure_idle():
    """The slope between a few hundred idle keep-alive conns and a few thousand, so that the first
    slabs are in neither; without huge pages, which come when they please."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, min(hard, 2 * IDLE_MANY)), hard))
    libc.prctl(PR_SET_THP_DISABLE, 1, 0, 0, 0)
    with scene() as s:
        conns = []
        while len(conns) < IDLE_MANY:
            conns.append(s.connect())
            s.get(client=conns[-1])
            if len(conns) == IDLE_FEW:
                before = anonymous_bytes(s.weir.pid)
        after = anonymous_bytes(s.weir.pid)
        for conn in conns:
            conn.assert_open()
    return {"memory.idle_conn": Figure((after - before) / (IDLE_MANY - IDLE_FEW), {})}


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
        ins("instructions.logged", Scene.get, 300, logged=True, config=LOGGED),
        ins("instructions.route_1", routed(1, 1), 300, config=routes_config(1, 1)),
        ins("instructions.route_100", routed(10, 10), 300, config=routes_config(10, 10)),
        ins("instructions.endpoint_2", Scene.new_upstream_conn, 120, config=ends(2)),
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
        count_allocations("body_down", Scene.body_down, 4),
        Measurement(["memory.idle_conn"], measure_idle),
        measure_structs([f"bytes.{name}" for name in STRUCTS.split()]),
    ]


def derived():
    return [
        difference("instructions.access_log", "instructions.logged", "instructions.keepalive"),
        difference("growth.routes_100", "instructions.route_100", "instructions.route_1",
                   "instructions.route_1"),
        difference("growth.routes_10k", "instructions.route_10k", "instructions.route_1",
                   "instructions.route_1"),
        difference("growth.endpoints_10k", "instructions.endpoint_10k", "instructions.endpoint_2",
                   "instructions.keepalive"),
    ]
