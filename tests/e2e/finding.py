# SPDX-License-Identifier: Apache-2.0
"""What pools find their endpoints with: servers on many addresses of the loopback, a DNS server that
says whatever a test wants, and dnsmasq."""
import os
import selectors
import shutil
import signal
import socket
import struct
import subprocess
import threading
import time

from peers import DEADLINE, deadline, wait_for

A, CNAME, SOA, AAAA, SRV = 1, 5, 6, 28, 33


class Backends(threading.Thread):
    """Servers on 127.0.0.1, .2, ... that have one port, and answer with their own address."""

    def __init__(self, count, body=b""):
        super().__init__(daemon=True)
        self.listening = []
        self.sel = selectors.DefaultSelector()
        self.over, self.unread, self.body = False, {}, body
        while len(self.listening) < count:
            self._listen(count)
        self.port = self.listening[0].getsockname()[1]
        self.hosts = [sock.getsockname()[0] for sock in self.listening]
        self.addresses = [f"{host}:{self.port}" for host in self.hosts]
        self.served = dict.fromkeys(self.hosts, 0)
        for sock in self.listening:
            self.sel.register(sock, selectors.EVENT_READ)
        self.start()

    def _listen(self, count):
        """A port that all of them can have."""
        port = 0
        try:
            for i in range(count):
                sock = socket.create_server((f"127.0.0.{i + 1}", port), backlog=1024)
                self.listening.append(sock)
                port = sock.getsockname()[1]
        except OSError:
            for sock in self.listening:
                sock.close()
            self.listening = []

    def run(self):
        while not self.over:
            for key, _ in self.sel.select(0.1):
                if key.fileobj in self.listening:
                    sock, _ = key.fileobj.accept()
                    self.unread[sock] = b""
                    self.sel.register(sock, selectors.EVENT_READ)
                else:
                    self._serve(key.fileobj)

    def _serve(self, sock):
        try:
            got = sock.recv(65536)
            self.unread[sock] += got
            host = sock.getsockname()[0]
            while got and b"\r\n\r\n" in self.unread[sock]:
                _, _, self.unread[sock] = self.unread[sock].partition(b"\r\n\r\n")
                self.served[host] += 1
                body = self.body or host.encode()
                sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body))
        except OSError:
            got = b""
        if not got:
            self.sel.unregister(sock)
            del self.unread[sock]
            sock.close()

    def that_serve(self, load):
        """The hosts that some more of the load gets to."""
        before = dict(self.served)
        load.some()
        return [host for host in self.hosts if self.served[host] > before[host]]

    def close(self):
        self.over = True
        self.join(DEADLINE)
        for sock in [*self.listening, *self.unread]:
            sock.close()
        self.sel.close()


# ---- a DNS server of the test's own --------------------------------------------------------------


def name(text):
    labels = [label for label in text.rstrip(".").split(".") if label]
    return b"".join(bytes([len(label)]) + label.encode() for label in labels) + b"\0"


def record(owner, kind, data, ttl=1):
    return name(owner) + struct.pack("!HHIH", kind, 1, ttl, len(data)) + data


def a(owner, address, ttl=1):
    return record(owner, A, socket.inet_pton(socket.AF_INET, address), ttl)


def aaaa(owner, address, ttl=1):
    return record(owner, AAAA, socket.inet_pton(socket.AF_INET6, address), ttl)


def srv(owner, target, port, priority=0, weight=0, ttl=1):
    return record(owner, SRV, struct.pack("!HHH", priority, weight, port) + name(target), ttl)


def soa(owner, ttl=1):
    return record(owner, SOA, name("ns") + name("mail") + struct.pack("!5I", 1, 1, 1, 1, ttl), ttl)


class Answer:
    def __init__(self, answers=(), authority=(), additional=(), rcode=0, truncated=False):
        self.sections = (answers, authority, additional)
        self.rcode, self.truncated = rcode, truncated

    def message(self, query, question):
        flags = 0x8180 | self.rcode | (0x0200 if self.truncated else 0)
        counts = [len(section) for section in self.sections]
        head = query[:2] + struct.pack("!HHHHH", flags, 1, *counts)
        return head + question + b"".join(b"".join(section) for section in self.sections)


NOTHING = Answer()  # the name is there, and has no such records
NO_NAME = Answer(rcode=3)
SERVFAIL, REFUSED = Answer(rcode=2), Answer(rcode=5)
SILENCE = None


class Dns(threading.Thread):
    """Answers as zone says: {(name, type): Answer, SILENCE, or bytes that stand behind the id}; over
    TCP as zone_tcp does, if that has more to say. What it does not know is NO_NAME. asked: all
    questions so far, as (name, type, "udp" or "tcp")."""

    def __init__(self, host="127.0.0.1", port=0):
        """port: or one that is free. PermissionError, OSError: the one that is meant cannot be had."""
        super().__init__(daemon=True)
        self.zone, self.zone_tcp, self.asked, self.over = {}, {}, [], False
        while True:
            self.tcp = socket.create_server((host, port))
            self.port = self.tcp.getsockname()[1]
            self.udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            try:
                self.udp.bind((host, self.port))
                break
            except OSError:
                self.tcp.close()
                self.udp.close()
                if port:
                    raise
        self.host, self.address = host, f"{host}:{self.port}"
        self.sel = selectors.DefaultSelector()
        self.sel.register(self.tcp, selectors.EVENT_READ)
        self.sel.register(self.udp, selectors.EVENT_READ)
        self.conns = {}  # what is there of the next question
        self.start()

    def _reply(self, query, over):
        at, labels = 12, []
        while query[at]:
            labels.append(query[at + 1 : at + 1 + query[at]].decode().lower())
            at += 1 + query[at]
        kind = struct.unpack_from("!H", query, at + 1)[0]
        key = (".".join(labels), kind)
        self.asked.append((*key, over))
        said = self.zone.get(key, NO_NAME)
        if over == "tcp":
            said = self.zone_tcp.get(key, said)
        if isinstance(said, Answer):
            return said.message(query, query[12 : at + 5])
        return query[:2] + said if said else None

    def run(self):
        while not self.over:
            for key, _ in self.sel.select(0.1):
                if key.fileobj is self.tcp:
                    sock, _ = self.tcp.accept()
                    self.conns[sock] = b""
                    self.sel.register(sock, selectors.EVENT_READ)
                elif key.fileobj is self.udp:
                    query, peer = self.udp.recvfrom(4096)
                    if reply := self._reply(query, "udp"):
                        self.udp.sendto(reply, peer)
                else:
                    self._serve(key.fileobj)

    def _serve(self, sock):
        try:
            got = sock.recv(4096)
            self.conns[sock] += got
            said = self.conns[sock]
            if len(said) >= 2 and len(said) >= (end := 2 + int.from_bytes(said[:2], "big")):
                self.conns[sock] = said[end:]
                if reply := self._reply(said[2:end], "tcp"):
                    sock.sendall(struct.pack("!H", len(reply)) + reply)
        except OSError:
            got = b""
        if not got:
            self.sel.unregister(sock)
            del self.conns[sock]
            sock.close()

    def count(self, owner, kind):
        return sum(asked[:2] == (owner, kind) for asked in self.asked)

    def wait_asked(self, owner, kind, times=1):
        """... so many times more."""
        before = self.count(owner, kind)
        wait_for(lambda: self.count(owner, kind) >= before + times, f"questions for {owner}")

    def close(self):
        self.over = True
        self.join(DEADLINE)
        for sock in [self.tcp, self.udp, *self.conns]:
            sock.close()
        self.sel.close()


# ---- dnsmasq -------------------------------------------------------------------------------------

DNSMASQ = shutil.which("dnsmasq", path=os.environ.get("PATH", "") + ":/usr/sbin:/sbin")


class Dnsmasq:
    """Serves names from a file of hosts, which it reads again, with a TTL of 1 s."""

    def __init__(self, folder, hosts, options=()):
        self.hosts = folder / "hosts"
        self.say(hosts, tell=False)
        self.log = folder / "dnsmasq.log"
        self.options = options
        until = deadline()
        while True:
            self.port = self._free_port()
            self.address = f"127.0.0.1:{self.port}"
            self.start()
            if self._answers(until):
                return
            self.close()

    def _free_port(self):
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            sock.bind(("127.0.0.1", 0))
            return sock.getsockname()[1]

    def start(self):
        with open(self.log, "ab") as log:
            self.proc = self._run(log)

    def _run(self, log):
        return subprocess.Popen(
            [
                DNSMASQ,
                "--keep-in-foreground",
                "--conf-file=/dev/null",
                "--no-resolv",
                "--no-hosts",
                "--user=",
                "--pid-file=",
                f"--addn-hosts={self.hosts}",
                f"--port={self.port}",
                "--listen-address=127.0.0.1",
                "--bind-interfaces",
                "--local=/test/",
                "--local-ttl=1",
                "--neg-ttl=1",
                *self.options,
            ],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
        )

    def _answers(self, until):
        """Whether it is up; false once it has ended, as when somebody else took the port."""
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            sock.settimeout(0.05)
            sock.connect(("127.0.0.1", self.port))
            while self.proc.poll() is None:
                try:
                    sock.send(b"\0\1\1\0\0\1\0\0\0\0\0\0\1x\4test\0\0\1\0\1")
                    sock.recv(512)
                    return True
                except OSError:
                    assert time.monotonic() < until, "dnsmasq does not answer"
        return False

    def say(self, hosts, tell=True):
        """hosts: {name: [addresses]}"""
        lines = [f"{address} {host}\n" for host, all in hosts.items() for address in all]
        self.hosts.write_text("".join(lines))
        self.hosts.chmod(0o644)
        if tell:
            self.proc.send_signal(signal.SIGHUP)

    def close(self):
        self.proc.terminate()
        self.proc.wait(DEADLINE)
