# SPDX-License-Identifier: Apache-2.0
"""Many clients in one thread, each request with an id of its own and its outcome written down.

A client takes a plan (some requests, alone or pipelined, perhaps one that it gives up), carries it
out on one connection and takes the next. What a response says is read by the strict parser of the
end-to-end tests. Nothing here judges: the outcomes are compared with what weir and the backends
wrote down, in verdict.py.
"""
import random
import select
import socket
import struct
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass

import wire
from peers import connect

PATTERN = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz012345678"  # of hello's /bytes/N
REPLAY = 65536  # of a request's body that weir keeps for another attempt

# outcomes
ANSWERED = "answered"  # a whole response
CUT = "cut"  # the connection ended before the response was whole, or before it began
BEHIND = "behind"  # pipelined behind what ended the connection: never looked at
GIVEN_UP = "given up"  # by the client


def pattern(n):
    return (PATTERN * (n // len(PATTERN) + 1))[:n]


@dataclass
class Request:
    id: str
    method: str
    target: str
    data: bytes  # what is sent: the whole request, or what is sent of it before it is given up
    want: bytes = b""  # the body of its 200
    give_up: str = ""  # "" | reset | close | half-close: and when, see Client
    patience: int = 0  # bytes of the answer that are awaited before it is given up
    replayable: bool = True
    outcome: str = ""
    status: int = 0  # as soon as a head was there
    reason: str = ""  # that weir gave in its own reply
    backend: str = ""  # that answered
    wrong: str = ""  # what is wrong with the answer itself

    @property
    def idempotent(self):
        return self.method not in ("POST", "PATCH")


class Plans:
    """What clients ask for: drawn from a seed."""

    def __init__(self, seed, prefix="c"):
        self.rng = random.Random(seed)
        self.prefix, self.count = prefix, 0

    def request(self, method, target, body=None, fields="", chunked=False, **more):
        self.count += 1
        rid = f"{self.prefix}{self.count}"
        head = f"{method} {target} HTTP/1.1\r\nHost: chaos\r\nX-Request-Id: {rid}\r\n{fields}"
        data = b""
        if chunked:
            head += "Transfer-Encoding: chunked\r\n"
            step = self.rng.choice((1, 7, 100, 5000)) if len(body) < 3000 else 20000
            for at in range(0, len(body), step):
                part = body[at : at + step]
                data += b"%x\r\n%b\r\n" % (len(part), part)
            data += b"0\r\n\r\n"
        elif body is not None:
            head += f"Content-Length: {len(body)}\r\n"
            data = body
        return Request(rid, method, target, (head + "\r\n").encode() + data, **more)

    def one(self):
        """A request that is carried out."""
        r = self.rng
        kind = r.choices(
            ["text", "bytes", "large", "head", "put", "echo", "chunked", "upload", "delete", "post"],
            [30, 10, 3, 5, 8, 8, 6, 2, 4, 14],
        )[0]
        if kind == "text":
            return self.request("GET", "/hello", want=b"Hello, World!")
        if kind == "bytes":
            n = r.randrange(20000)
            return self.request("GET", f"/bytes/{n}", want=pattern(n))
        if kind == "large":
            n = r.randrange(100_000, 400_000)
            return self.request("GET", f"/bytes/{n}", want=pattern(n))
        if kind == "head":
            return self.request("HEAD", "/hello")
        if kind == "delete":
            return self.request("DELETE", "/thing", want=b"Hello, World!")
        if kind == "post":
            body = pattern(r.randrange(1, 3000))
            return self.request("POST", "/sink", body, want=str(len(body)).encode())
        n = r.randrange(100_000, 300_000) if kind == "upload" else r.randrange(1, 3000)
        body = pattern(n)
        return self.request(
            "POST" if kind == "echo" or r.random() < 0.3 else "PUT",
            "/echo",
            body,
            chunked=kind == "chunked",
            want=body,
            replayable=n <= REPLAY,
        )

    def doomed(self):
        """A request that its client gives up in the middle."""
        r = self.rng
        how = r.choice(("reset", "close", "half-close"))
        kind = r.choice(("head", "waiting", "answer", "body"))
        if kind == "answer":
            return self.request(
                "GET", "/bytes/300000", give_up=how, patience=r.choice((1, 1000, 100_000))
            )
        if kind == "waiting":
            return self.request("GET", "/hello?fault-delay=20", give_up=how)
        request = self.request("POST", "/echo", pattern(5000), give_up=how)
        end = request.data.index(b"\r\n\r\n")
        # A head without its end is no request yet.
        keep = r.randrange(1, end) if kind == "head" else end + 4 + r.randrange(4000)
        request.data = request.data[:keep]
        return request

    def plan(self):
        """(requests of one connection, how many may wait for their answers at a time)"""
        r = self.rng
        requests = [self.one() for _ in range(r.choice((1, 1, 2, 5, 20)))]
        if r.random() < 0.1:
            requests.append(self.doomed())
        elif r.random() < 0.5:
            last = requests[-1]
            last.data = last.data.replace(b"\r\n", b"\r\nConnection: close\r\n", 1)
        return requests, r.choice((1, 1, 1, 4))


class Client:
    """One connection and its plan."""

    def __init__(self, crowd):
        self.crowd = crowd
        self.sock = None
        self.renew()

    def renew(self):
        """The next plan, on a new connection."""
        self.todo, self.depth = self.crowd.plans.plan()
        if not self.crowd.told:
            self.crowd.requests += self.todo
        self.crowd.open += len(self.todo)
        self.todo.reverse()  # the next is the last
        self.waiting = []  # sent, the first is answered next
        self.buf, self.need = bytearray(), 0
        self.out = b""
        self.over = False  # nothing more is sent
        self.sock = connect(self.crowd.address)
        self.sock.setblocking(False)
        self.crowd.add(self)
        self.pump()

    def end(self):
        self.crowd.remove(self)
        self.sock.close()
        self.sock = None

    def settle(self, request, outcome):
        request.outcome = outcome
        self.crowd.open -= 1
        self.crowd.done += 1
        self.crowd.served[request.backend] += 1
        if self.crowd.told:
            self.crowd.told(request)

    def finish(self, ended):
        """The connection is over; `ended`: by weir."""
        for request in self.waiting[:1] if ended else []:
            self.settle(request, GIVEN_UP if request.give_up else CUT)
        for request in self.waiting:
            if not request.outcome:
                self.settle(request, BEHIND)
        for request in self.todo:
            self.settle(request, BEHIND)
            request.data = b""  # not even sent
        self.end()
        self.crowd.idle.append(self)

    def give_up(self, request):
        if request.give_up == "half-close" and not self.over:
            self.over = True
            with suppress(OSError):  # weir may have cut it off meanwhile
                self.sock.shutdown(socket.SHUT_WR)
            return
        if request.give_up == "reset":
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.settle(request, GIVEN_UP)
        self.finish(False)

    def pump(self):
        """Sends what may be sent."""
        while self.todo and not self.out and len(self.waiting) < self.depth:
            if self.todo[-1].give_up and self.waiting:
                break  # alone, so that it is clear what it was about
            if len(self.todo[-1].data) > REPLAY and self.waiting:
                break  # weir lingers over so many bytes and no more, then what is before it is lost
            self.waiting.append(self.todo.pop())
            self.out += self.waiting[-1].data
        try:
            while self.out:
                self.out = self.out[self.sock.send(self.out) :]
        except BlockingIOError:
            pass
        except OSError:  # closed while we wrote; its answer may be there
            self.out = b""
            self.over = True
        if not self.out and self.waiting:
            first = self.waiting[0]
            if first.give_up and not first.patience and not self.over:
                self.give_up(first)
                return
        self.crowd.watch(self)

    def readable(self):
        ended = False
        try:
            data = self.sock.recv(262144)
            ended = not data
            self.buf += data
        except BlockingIOError:
            return
        except OSError:
            ended = True
        while self.waiting and self.sock and (self.buf or ended):
            if not self.answer(ended):
                break
        if self.sock is None:
            return
        if ended or (not self.waiting and not self.todo):
            self.finish(ended)
        elif self.buf and not self.waiting:
            raise wire.WireError(f"bytes that nobody asked for: {bytes(self.buf[:300])!r}")
        else:
            self.pump()

    def answer(self, ended):
        """Takes one response off, if it is there. False: more has to come."""
        request = self.waiting[0]
        if request.give_up:
            if len(self.buf) >= request.patience > 0 and not self.over:
                self.give_up(request)
                return False
            if not request.patience or self.over or b" 200 " in self.buf[:16]:
                return False
            # an error is shorter than what was to be awaited: it is an answer as any other
        if len(self.buf) < self.need and not ended:
            return False
        try:
            got = wire.parse_response(self.buf, request.method, ended)
        except wire.WireError as e:
            if not ended or "closed inside" not in str(e):
                raise
            got = None
        if got is None:
            head = wire.parse_head(self.buf, wire.STATUS_LINE)
            if head:
                request.status = head[0].status
                length = head[0].get("Content-Length")
                self.need = head[1] + int(length) if length else 0
            return False
        response, length = got
        del self.buf[:length]
        self.need = 0
        self.waiting.pop(0)
        self.judge(request, response)
        self.settle(request, ANSWERED)
        if response.get("Connection") == "close" or response.framing == "close":
            self.finish(False)
        return True

    def judge(self, request, response):
        request.status = response.status
        request.backend = response.get("X-Backend") or ""
        authored = response.get("Proxy-Status")
        if authored:
            request.reason = authored.partition('details="')[2].rstrip('"')
        if response.get("X-Request-Id", request.id) != request.id:
            request.wrong = f"the answer to {response.get('X-Request-Id')}"
        if response.status == 200 and response.body != request.want:
            request.wrong = f"{len(response.body)} bytes instead of {len(request.want)}"
            if len(response.body) == len(request.want):
                request.wrong = "other bytes"


class Crowd:
    """All clients, and the loop that runs them. Not thread-safe."""

    def __init__(self, address, seed, count, prefix="c", told=None):
        """told(request): called with each that has ended, instead of keeping them all."""
        self.address, self.plans, self.told = address, Plans(seed, prefix), told
        self.requests, self.open, self.done = [], 0, 0
        self.served = Counter()  # by backend
        self.poll, self.by_fd = select.epoll(), {}
        self.idle = []  # clients whose plan is over
        self.taking = True
        self.count = count

    def start(self):
        for _ in range(self.count):
            Client(self)

    def add(self, client):
        self.by_fd[client.sock.fileno()] = client
        client.events = select.EPOLLIN
        self.poll.register(client.sock, select.EPOLLIN)

    def remove(self, client):
        del self.by_fd[client.sock.fileno()]
        self.poll.unregister(client.sock)

    def watch(self, client):
        events = select.EPOLLIN | (select.EPOLLOUT if client.out else 0)
        if events != client.events:
            client.events = events
            self.poll.modify(client.sock, events)

    def turn(self, seconds=0.005):
        """Waits so long for something to happen, and does what is to be done about it."""
        for fd, events in self.poll.poll(seconds):
            client = self.by_fd.get(fd)
            if client is None:
                continue
            if events & (select.EPOLLIN | select.EPOLLHUP | select.EPOLLERR):
                client.readable()
            elif events & select.EPOLLOUT:
                client.pump()
        idle, self.idle = self.idle, []
        for client in idle:
            if self.taking:
                client.renew()

    def over(self):
        """No plan is left; say taking = False first."""
        return not self.by_fd

    def close(self):
        for client in list(self.by_fd.values()):
            client.sock.close()
        self.poll.close()
