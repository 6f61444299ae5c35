# SPDX-License-Identifier: Apache-2.0
"""The conversations of bench/budget.py: a weir with a client and an upstream of its own.

Both ends of every conversation are played here, one thing at a time, so weir meets the same events
in the same order on a quiet machine and on a busy one.
"""
import contextlib
import ctypes
import os
import re
import select
import socket
import struct
import sys
import tempfile
import threading
from pathlib import Path
from signal import SIGCONT, SIGSTOP

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tests" / "e2e"))

import h2wire  # noqa: E402
import harness  # noqa: E402
import peers  # noqa: E402
from authority import Authority  # noqa: E402
from collector import Collector  # noqa: E402
from counting import threads  # noqa: E402
from h2peer import H2Client, H2Server  # noqa: E402
from peers import Client, Upstream, wait_for  # noqa: E402
from tlspeer import TlsClient  # noqa: E402

AF_NETLINK, NETLINK_SOCK_DIAG, SOCK_DIAG_BY_FAMILY, NLM_F_REQUEST = 16, 4, 20, 1
libc = ctypes.CDLL(None, use_errno=True)

# ---- conversations ------------------------------------------------------------------------------

GET = b"GET / HTTP/1.1\r\nHost: budget.example\r\nUser-Agent: budget\r\nAccept: */*\r\n\r\n"
ROUTED = b"GET /path-%d/page HTTP/1.1\r\nHost: host-%d.example\r\nUser-Agent: budget\r\n\r\n"
RECORDED = GET[:-2] + (b"traceparent: 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
                       b"\r\n\r\n")
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


made = threading.Lock()
authorities = []  # one, once somebody asks


def authority():
    """Whose certificates weir, its clients and its upstreams have."""
    with made:
        if not authorities:
            folder = tempfile.TemporaryDirectory(prefix="weir-budget-")
            authorities.append((Authority(Path(folder.name) / "ca"), folder))
            authorities[0][0].server()
    return authorities[0][0]


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
        if "$CERT" in config or "$CA" in config:
            config = config.replace("$CERT", str(authority().server().cert))
            config = config.replace("$CA", str(authority().cert))
        if "ca: " in config:
            self.upstream.secure = authority().server_context()
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

    def logged(self, requests):
        """The log's thread has caught up."""
        self.weir.access_log(requests)

    def begin_session(self):
        """From now on `session` is a request with the cookie that weir gives for one."""
        self.client.send(GET)
        self.at_upstream(END)
        self.conn.send(HELLO)
        cookie = re.search(rb"Set-Cookie: ([^;]+)", self.client.recv_until(MARK))[1]
        self.session = GET[:-2] + b"Cookie: " + cookie + END

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


class TracedScene(Scene):
    """With a collector of traces."""

    def __init__(self, stack, folder, config, **options):
        self.collector = stack.enter_context(contextlib.closing(Collector()))
        self.asked = 0
        super().__init__(stack, folder, config.replace("$COLLECTOR", self.collector.url), **options)

    def get_1(self):
        """Of every hundred one is of a trace that is recorded."""
        self.asked += 1
        self.get(RECORDED if self.asked % 100 == 0 else GET)

    def exported(self, requests):
        self.collector.wait(2 * requests)


class PoolScene(Scene):
    """Weir has several endpoints, all of them the one upstream, and a conn to each."""

    def at_upstream(self, end):
        upstream, poll = self.upstream, select.poll()
        by_fd = {c.sock.fileno(): c for c in upstream.conns}
        for fd in [upstream.sock.fileno(), *by_fd]:
            poll.register(fd, select.POLLIN)
        [(fd, _), *more] = poll.poll(1000 * peers.DEADLINE) or [(None, None)]
        if fd is None or more:
            raise AssertionError(f"{len(more)} things happened at once, or nothing")
        self.conn = by_fd.get(fd) or upstream.accept()
        self.conn.recv_until(end)


class TlsScene(Scene):
    """The client's side is over TLS, HTTP/1."""

    alpn = ("http/1.1",)

    def connect(self):
        context = authority().client_context(alpn=self.alpn)
        return self.stack.enter_context(TlsClient(self.weir.listeners["web"], context))


class H2Scene(TlsScene):
    """The client talks HTTP/2 over TLS. Windows are not given back: nothing here uses one up, and
    each frame more would be a read of its own."""

    alpn = ("h2",)

    def connect(self):
        return self.stack.enter_context(H2Client(super().connect(), auto=False)).hello()

    def get(self, request=None, end=END, client=None):
        client = client or self.client
        stream = client.request()
        self.serve()
        assert client.response(stream).body == MARK
        del client.frames[1:]

    def serve(self):
        self.at_upstream(END)
        self.conn.send(HELLO)


class H2BothScene(H2Scene):
    """... and so does weir to the upstream, with prior knowledge."""

    def serve(self):
        if self.conn is None:
            self.conn = H2Server(self.upstream.accept(), auto=False)
        stream, _ = self.conn.accept()
        head = h2wire.block(h2wire.pairs([(":status", "200")]))
        self.conn.peer.send(h2wire.headers(stream, head, end=False) +
                            h2wire.data(stream, MARK, end=True))  # one write, or weir may read two
        del self.conn.frames[1:]
        self.conn.taken.clear()
        self.conn.streams.clear()


@contextlib.contextmanager
def scene(config=None, prepare=None, of=Scene, **options):
    """One that has had a request already, and then prepare(it)."""
    with tempfile.TemporaryDirectory(prefix="weir-budget-") as folder, \
            contextlib.ExitStack() as stack:
        s = of(stack, Path(folder), config or PLAIN, **options)
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
STICKY = PLAIN.replace(UPSTREAM, "sticky: weir, " + UPSTREAM)
LIMITED = PLAIN.replace(UPSTREAM, "max_requests: 100, limit: adaptive, " + UPSTREAM)
TLS = 'listeners: { web: { bind: "127.0.0.1:0", tls: { certs: [ $CERT ] } } }\n'
TLS_TO_PLAIN = TLS + PLAIN
TLS_TO_TLS = TLS + PLAIN.replace(UPSTREAM, UPSTREAM + ", tls: { ca: $CA, sni: a.example }")
TLS_TO_H2 = TLS + PLAIN.replace(UPSTREAM, UPSTREAM + ", protocol: h2")
# What a worker tells is left in its ring: a request to the collector is another thread's work.
TRACED = "tracing: { sample: 100%, export: { to: 'http://127.0.0.1:9', every: 1h } }\n" + PLAIN
TRACED_1 = TRACED.replace("100%", "0%")
# A batch of 600 spans, and one before it.
EXPORTED = TRACED.replace("'http://127.0.0.1:9', every: 1h", "'$COLLECTOR', every: 1s, batch: 8000")
# The harness adds a log.
LOGGED = 'routes: [ { to: app } ]\n' + POOL


def routes_config(hosts, paths):
    """Routes by host and path; a request for the last of them matches it alone."""
    rows = [f"  - {{ match: {{ host: host-{h}.example, path: /path-{p} }}, to: app }}"
            for h in range(10000, 10000 + hosts) for p in range(10000, 10000 + paths)]
    rows.append("  - { to: app }")
    return NO_LOG + POOL + "routes:\n" + "\n".join(rows) + "\n"


def watched_config(pool):
    """Four endpoints, and what the pool does with them."""
    rows = ", ".join(f'"127.0.1.{i}:$PORT"' for i in range(1, 5))
    return (NO_LOG + "routes: [ { to: app } ]\n"
            "pools: { app: { " + UPSTREAM + " }, " + f"{pool}, endpoints: [ {rows} ] }} }}\n")


UNWATCHED = watched_config("balance: round_robin, outlier: none")
# Of the checks one falls into the run, at its beginning, and finds nobody, which is no verdict yet:
# they are the control thread's, and no part of a request's cost.
WATCHED = watched_config("balance: p2c, outlier: { latency: enforce }, slow_start: 10s, "
                         "health: { tcp: true, port: 1, every: 1h }")


def endpoints_config(count):
    """Endpoints that all are the one upstream, by other addresses of the loopback. What comes next
    differs from pick to pick, so the conn is new each time, with two of them as with many."""
    rows = [f'"127.0.{1 + i // 200}.{1 + i % 200}:$PORT"' for i in range(count)]
    return (NO_LOG + "routes: [ { to: app } ]\n"
            "pools: { app: { " + UPSTREAM + ", max_idle: 0 }, "
            "endpoints: [" + ", ".join(rows) + "] } }\n")
