# SPDX-License-Identifier: Apache-2.0
"""TLS beneath a Peer: a socket's methods over a socket, with every record in our hands."""
import select
import ssl
import time
from contextlib import suppress

import peers
from peers import DEADLINE, Client, UpstreamConn, deadline, ready


class TlsSocket:
    """Looks like a socket that does not block. An end without close_notify is a reset: for whoever
    reads, that is what it means."""

    def __init__(self, raw, context, server_side=False, name=None, session=None):
        raw.setblocking(False)
        self.raw, self.more = raw, False
        self.incoming, self.outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.unsent = b""  # ciphertext
        self.done = False
        self.tls = context.wrap_bio(
            self.incoming, self.outgoing, server_side, name, **({"session": session} if session else {})
        )

    def __getattr__(self, name):
        return getattr(self.raw, name)

    def pending(self):
        """There may be bytes to read that poll() does not see."""
        return self.more

    def handshake(self, within=DEADLINE):
        """To its end; an ssl.SSLError says why not."""
        until = deadline(within)
        while True:
            try:
                self.tls.do_handshake()
                self.done = self.more = True  # the peer's first bytes may have come with its last
                break
            except ssl.SSLWantReadError:
                self.flush(within)
                assert ready(self.raw, select.POLLIN, until - time.monotonic()), "no handshake"
                self._take()
            except ssl.SSLError:
                self.flush(within)  # the alert
                raise
        self.flush(within)
        return self

    def _take(self):
        data = self.raw.recv(65536)
        if not data:
            raise ConnectionResetError("the end came without close_notify")
        self.incoming.write(data)

    def _push(self):
        self.unsent += self.outgoing.read()
        try:
            while self.unsent:
                self.unsent = self.unsent[self.raw.send(self.unsent) :]
        except BlockingIOError:
            pass

    def flush(self, within=DEADLINE):
        """Waits until all ciphertext is gone."""
        until = deadline(within)
        self._push()
        while self.unsent:
            left = until - time.monotonic()
            assert left > 0 and ready(self.raw, select.POLLOUT, left), "ciphertext can't be sent"
            self._push()

    def send(self, data):
        self._push()
        if self.unsent:
            raise BlockingIOError
        if not data:
            return 0
        sent = self.tls.write(memoryview(data)[:262144])
        self._push()
        return sent

    def recv(self, most):
        out = bytearray()
        while len(out) < most:
            try:
                try:
                    data = self.tls.read(most - len(out))
                except ssl.SSLZeroReturnError:  # what an end is after one of ours
                    data = b""
                if not data:
                    self.more = bool(out)
                    return bytes(out)
                out += data
            except ssl.SSLWantReadError:
                self.more = False
                with suppress(BrokenPipeError):  # what the peer says of its end is still to be read
                    self._push()
                try:
                    self._take()
                except (BlockingIOError, ConnectionResetError):
                    if not out:
                        raise
                    return bytes(out)
        self.more = True
        return bytes(out)

    def shutdown(self, _how):
        """close_notify, and a FIN behind it."""
        self._notify()
        self.flush()
        self.raw.shutdown(1)

    def _notify(self):
        try:
            self.tls.unwrap()
        except (ssl.SSLError, OSError, ValueError):
            pass

    def close(self):
        if self.done and self.raw.fileno() >= 0:
            self._notify()
            try:
                self._push()
            except OSError:
                pass
        self.raw.close()

    def cut(self):
        """A FIN without close_notify."""
        self.raw.close()


class TlsClient(Client):
    """A Client over TLS; .tls is Python's ssl.SSLObject (version(), cipher(), ...)."""

    def __init__(self, address, context, name="a.example", session=None, rcvbuf=None, before=b""):
        self.plain = peers.connect(address, rcvbuf=rcvbuf)
        if before:
            self.plain.sendall(before)
        address = self.plain.getsockname()
        sock = TlsSocket(self.plain, context, name=name, session=session)
        try:
            sock.handshake()
        except BaseException:
            self.plain.close()
            raise
        super().__init__(None, sock=sock)
        self.address, self.tls = address, sock.tls


def secured(conn, context):
    """An accepted UpstreamConn, now with TLS on it: its handshake is done here."""
    sock = TlsSocket(conn.sock, context, server_side=True)
    sock.handshake()
    conn.sock, conn.tls = sock, sock.tls
    return conn


def accept_tls(upstream, context):
    return secured(upstream.accept(), context)


__all__ = ["TlsSocket", "TlsClient", "UpstreamConn", "accept_tls", "secured"]
