# SPDX-License-Identifier: Apache-2.0
"""Runs message vectors through weir: many connections at once, both ends in one event loop.

The bytes of a vector go out in pieces. Between two pieces stands a barrier: a full round trip
through the same weir on another connection, so that weir has really read the first piece before the
second is sent.
"""
import selectors
import socket
import time
from dataclasses import dataclass, field

import harness
import wire
from harness import assert_authored
from peers import connect, deadline

BARRIER = b"GET /barrier HTTP/1.1\r\nHost: barrier\r\n\r\n"
BARRIER_ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"


def whole(data):
    return [data]


def bytewise(data):
    return [data[i : i + 1] for i in range(len(data))]


def cut_at(position):
    return lambda data: [data[:position], data[position:]] if 0 < position < len(data) else [data]


@dataclass
class Job:
    """One vector on one client connection."""

    vector: object
    request_cut: object = whole
    answer_cut: object = whole
    label: str = ""
    got: bytearray = field(default_factory=bytearray)
    end: str = ""  # "" while open, then "closed" or "reset"
    done: bool = False

    def __post_init__(self):
        self.pieces = self.request_cut(wire.expand(self.vector.send))

    def parsed(self):
        """(responses, rest): interim ones included."""
        return wire.parse_responses(bytes(self.got), self.vector.methods, bool(self.end))

    def satisfied(self):
        """Everything that is expected has come (and may still be wrong)."""
        if self.vector.ends:
            return bool(self.end)
        try:
            finals = [m for m in self.parsed()[0] if m.status >= 200 or m.status == 101]
        except wire.WireError:
            return True
        return bool(self.end) or len(finals) >= len(self.vector.exchanges)


class UpstreamSide:
    """A connection of weir at the upstream."""

    def __init__(self, sock):
        self.sock, self.buf, self.queue, self.close_after = sock, bytearray(), [], False


class Drive:
    """One batch of jobs. All of them may be in the batch only if no two vectors expect the same
    request at the upstream with different answers."""

    def __init__(self, weir, upstream):
        self.weir, self.upstream = weir, upstream
        self.sel = selectors.DefaultSelector()
        self.sel.register(upstream.sock, selectors.EVENT_READ, self._accept)
        self.sides, self.problems, self.waiting = [], [], []
        self.probe = connect(weir.listeners["web"])
        self.probe.setblocking(False)
        self.probe_got = bytearray()
        self.sel.register(self.probe, selectors.EVENT_READ, self._probe_ready)

    def run(self, jobs):
        """Runs the batch: a list of what went wrong, as texts."""
        self.exchanges = {}
        for job in jobs:
            for ex in job.vector.exchanges:
                want = wire.expected_normal_form(ex.upstream, wire.parse_request)
                known = self.exchanges.setdefault(
                    ex.upstream, (wire.pattern(want), want, ex, [], [])
                )
                assert known[2] == ex, f"same request, other answer in one batch: {job.vector.name}"
                known[3].append(job)
        try:
            self._open(jobs)
            self._send(jobs)
            self._finish(jobs)
            return (
                self.problems
                + [p for job in jobs for p in self._check(job)]
                + self._leftovers(jobs)
            )
        finally:
            for sock in [j.sock for j in jobs] + [s.sock for s in self.sides] + [self.probe]:
                sock.close()
            self.sel.close()

    # ---- the run --------------------------------------------------------------------------------

    def _open(self, jobs):
        for job in jobs:
            job.sock = connect(self.weir.listeners["web"])
            job.sock.setblocking(False)
            self.sel.register(job.sock, selectors.EVENT_READ, lambda j=job: self._client_ready(j))
        self._barrier()
        self._barrier()

    def _send(self, jobs):
        for step in range(max(len(j.pieces) for j in jobs)):
            for job in jobs:
                if step < len(job.pieces) and not job.end:
                    try:
                        sent = job.sock.send(job.pieces[step])
                        assert sent == len(job.pieces[step])
                    except (BrokenPipeError, ConnectionResetError):
                        pass  # it has been answered and closed already
            if step + 1 < max(len(j.pieces) for j in jobs):
                self._barrier()
        for job in jobs:
            if job.vector.gone:
                job.sock.shutdown(1)

    def _finish(self, jobs):
        until = deadline()
        open_jobs = list(jobs)
        while open_jobs and time.monotonic() < until:
            if self.waiting:
                self._barrier()
                waiting, self.waiting = self.waiting, []
                for side in waiting:
                    self._answer(side)
                until = deadline()
            self._pump(0 if self.waiting else 0.05)
            still_open = [j for j in open_jobs if not j.satisfied()]
            if len(still_open) < len(open_jobs):
                until = deadline()
            open_jobs = still_open
        self._barrier()
        self._pump(0)

    def _barrier(self):
        self.probe_got.clear()
        self.probe.send(BARRIER)
        until = deadline()
        while b"\r\n\r\n" not in self.probe_got:
            assert time.monotonic() < until, "weir did not answer the barrier's request in time"
            self._pump(0.05)

    def _pump(self, timeout):
        for key, _ in self.sel.select(timeout):
            key.data()

    # ---- events ---------------------------------------------------------------------------------

    def _probe_ready(self):
        data = self.probe.recv(65536)
        assert data, "weir closed the barrier's connection"
        self.probe_got += data

    def _client_ready(self, job):
        try:
            data = job.sock.recv(65536)
            job.got += data
            if not data:
                job.end = "closed"
        except ConnectionResetError:
            job.end = "reset"
        if job.end:
            self.sel.unregister(job.sock)

    def _accept(self):
        try:
            while True:
                sock, _ = self.upstream.sock.accept()
                sock.setblocking(False)
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                side = UpstreamSide(sock)
                self.sides.append(side)
                self.sel.register(
                    sock, selectors.EVENT_READ, lambda s=side: self._upstream_ready(s)
                )
        except BlockingIOError:
            pass

    def _upstream_ready(self, side):
        try:
            data = side.sock.recv(65536)
        except ConnectionResetError:
            data = b""
        side.buf += data
        if not data:
            self.sel.unregister(side.sock)
            return
        try:
            got = wire.parse_request(side.buf)
        except wire.WireError as e:
            self.problems.append(f"the upstream got a malformed request: {e}")
            side.buf.clear()
            return
        if got:
            del side.buf[: got[1]]
            self._match(side, got[0])

    def _match(self, side, msg):
        if msg.target == "/barrier":
            side.sock.send(BARRIER_ANSWER)
            return
        form = wire.normal_form(msg)
        for pattern, _, ex, jobs, seen in self.exchanges.values():
            if pattern.fullmatch(form):
                job = jobs[len(seen) % len(jobs)]
                seen.append(side)
                side.queue = job.answer_cut(wire.expand(ex.answer))
                side.close_after = ex.then == "close"
                self._answer(side)
                return
        near = min(self.exchanges.values(), default=None, key=lambda e: abs(len(e[1]) - len(form)))
        self.problems.append(
            "the upstream got an unexpected request:\n"
            + (wire.diff(near[1], form) if near else repr(form))
        )
        side.sock.send(b"HTTP/1.1 500 Unexpected\r\nContent-Length: 0\r\n\r\n")

    def _answer(self, side):
        try:
            if side.queue:
                side.sock.send(side.queue.pop(0))
            if side.queue:
                self.waiting.append(side)
            elif side.close_after:
                side.sock.shutdown(1)
        except (BrokenPipeError, ConnectionResetError, OSError):
            side.queue = []  # weir has given up on this answer

    # ---- the verdict ----------------------------------------------------------------------------

    def _check(self, job):
        try:
            self._check_client(job)
            return []
        except AssertionError as e:
            return [f"[{job.vector.name}] {job.label}: {e}"]

    def _check_client(self, job):
        v = job.vector
        if v.cut:
            assert job.end, f"not cut: {bytes(job.got)!r}"
            self._check_cut(job)
            return
        responses, rest = job.parsed()
        assert not rest, f"incomplete or left over at the client: {rest!r}"
        wanted = [e.client for e in v.exchanges if e.client is not None]
        want = b"".join(_forms(w, m) for w, m in zip(wanted, v.methods))
        own = 1 if v.rejects or v.fails else 0
        proxied = responses[:-1] if own else responses
        wire.assert_bytes(want, b"".join(map(wire.normal_form, proxied)), "responses at the client")
        if own:
            assert responses, "no response from weir"
            last = responses[-1]
            assert_authored(
                last, *(v.rejects or v.fails), head=v.methods[-1:] == ["HEAD"] and not v.rejects
            )
            if v.rejects:
                assert last.get("Connection") == "close", last.head
        if v.ends:
            clean = ("closed",) if len(job.pieces) == 1 else ("closed", "reset")
            assert (
                job.end in clean
            ), f"the connection is {job.end or 'open'} after the last response"
        else:
            assert not job.end, f"the connection was {job.end} after the last response"

    def _check_cut(self, job):
        """The client can tell: no complete message came out of it."""
        try:
            responses, _ = wire.parse_responses(
                bytes(job.got), job.vector.methods, job.end == "closed"
            )
        except wire.WireError as e:
            if "closed inside" not in str(e):
                raise
            return
        finals = [m for m in responses if m.status >= 200]
        assert job.end == "reset" or not finals, f"looks whole: {bytes(job.got)!r}"

    def _leftovers(self, jobs):
        """Bytes at the upstream that belong to no whole request."""
        allowed = [wire.pattern(j.vector.starts) for j in jobs if j.vector.starts]

        def fine(begun):
            # A request given up while short writes sent it has got there in part: not its whole
            # head, or it is one of those that may begin.
            part = harness.FAULTS and b"\r\n\r\n" not in begun
            return not begun or part or any(p.match(begun) for p in allowed)

        bad = [
            f"an incomplete request at the upstream: {bytes(s.buf)!r}"
            for s in self.sides
            if not fine(bytes(s.buf))
        ]
        return bad + [
            f"{len(seen)} instead of {len(of)} of this request reached the upstream: {want!r}"
            for _, want, _, of, seen in self.exchanges.values()
            if len(seen) != len(of)
        ]


def _forms(expected, method):
    """The comparable form of the response(s) in an expectation: interim ones may precede the final
    one."""
    data = wire.expand(expected)
    out = b""
    while data:
        concrete = wire._concrete(data)
        got = wire.parse_response(concrete, method, True)
        assert got, f"the test's own expectation is no response: {data!r}"
        end = data.index(b"\r\n\r\n") + 4
        out += wire.normal_form(got[0], data[:end])
        consumed_body = got[1] - len(got[0].head)
        data = data[end + consumed_body :]
    return out


def batches(vectors):
    """The vectors in as few batches as possible such that a request has one answer in each."""
    out = []
    for v in vectors:
        for batch, known in out:
            if all(known.get(e.upstream, e) == e for e in v.exchanges):
                break
        else:
            batch, known = [], {}
            out.append((batch, known))
        batch.append(v)
        known.update((e.upstream, e) for e in v.exchanges)
    return [batch for batch, _ in out]
