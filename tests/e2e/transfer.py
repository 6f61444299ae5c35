# SPDX-License-Identifier: Apache-2.0
"""Large bodies: generated and checked as they flow, never held whole."""
import hashlib
import select
import socket
import time

from peers import deadline, ready

BLOCK = hashlib.shake_128(b"weir").digest(
    (1 << 18) - 1
)  # an odd period: a lost or repeated part shows


class Sender:
    """Sends `size` bytes of the pattern."""

    def __init__(self, peer, size):
        self.peer, self.size, self.sent = peer, size, 0

    def step(self):
        at = self.sent % len(BLOCK)
        try:
            self.sent += self.peer.sock.send(BLOCK[at : at + self.size - self.sent])
        except BlockingIOError:
            pass

    @property
    def done(self):
        """All is with the kernel; TLS may hold some of it."""
        return self.sent == self.size and not getattr(self.peer.sock, "unsent", b"")


class Receiver:
    """Checks that exactly the pattern comes. Bytes that the peer has already taken in count
    first."""

    def __init__(self, peer, size):
        self.peer, self.size, self.got = peer, size, 0
        self._check(peer.unread[:size])
        peer.used += self.got

    def step(self, most=1 << 20):
        try:
            data = self.peer.sock.recv(min(most, self.size - self.got))
        except BlockingIOError:  # a part of a TLS record
            return
        assert data, f"{self.peer.name}: closed after {self.got} of {self.size} bytes"
        self._check(data)

    def _check(self, data):
        while data:
            at = self.got % len(BLOCK)
            part = data[: len(BLOCK) - at]
            assert (
                part == BLOCK[at : at + len(part)]
            ), f"{self.peer.name}: other bytes at {self.got}"
            self.got += len(part)
            data = data[len(part) :]

    @property
    def done(self):
        return self.got == self.size


def send_until_stuck(sender):
    """Sends until the other side takes no more."""
    while not sender.done and ready(sender.peer.sock, select.POLLOUT, 0.3):
        sender.step()


def has_credit(sock):
    """Whether a peer of HTTP/2 may send; for others only poll() knows."""
    return not hasattr(sock, "sendable") or sock.sendable()


def widen(peer):
    """It has read nothing so far, with little room for it, and reads from now on: after probes of a
    window that was closed, what is left could take the kernel minutes through so small a one."""
    peer.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)


def run(senders, receivers, each=None, most=1 << 20):
    """Runs all flows to their ends, however long that takes while they move; receivers read at most
    `most` bytes at a time. `each` is called now and then."""
    until, turn = deadline(), 0
    while not all(r.done for r in receivers):
        assert (
            time.monotonic() < until
        ), f"stuck: {[s.sent for s in senders]} {[r.got for r in receivers]}"
        reads = {r.peer.sock: r for r in receivers if not r.done}
        writes = {s.peer.sock: s for s in senders if not s.done and has_credit(s.peer.sock)}
        waiting = [sock for sock in reads if getattr(sock, "more", False)]  # decrypted already
        readable, writable, _ = select.select(
            list(reads), list(writes), [], 0 if waiting else 0.1
        )
        for sock in {*readable, *waiting}:
            reads[sock].step(most)
        for sock in writable:
            writes[sock].step()
        if readable or writable:
            until = deadline()
        turn += 1
        if each and turn % 50 == 0:
            each()
    assert all(s.done for s in senders)


def pump(ways, each=None):
    """ways: (from, to, size) of each flow, all at once."""
    run([Sender(a, size) for a, _, size in ways], [Receiver(b, size) for _, b, size in ways], each)
