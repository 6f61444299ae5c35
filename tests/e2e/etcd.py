# SPDX-License-Identifier: Apache-2.0
"""etcd for the tests: a real one, and one that says whatever a test wants.

    etcd = Etcd(folder)              # serves at etcd.address, once this returns
    etcd.put("/a/1", "10.0.0.1:80", lease=etcd.lease(1))
    etcd.kill(); etcd.start()        # at the same address, with the same data
"""
import base64
import http.client
import http.server
import json
import os
import shutil
import socket
import ssl
import subprocess
import threading
import time

from peers import DEADLINE, deadline, hold, keep, kept

ETCD = shutil.which("etcd", path=os.environ.get("PATH", "") + ":/usr/sbin:/sbin")
ETCDCTL = shutil.which("etcdctl")


def b64(text):
    return base64.b64encode(text.encode() if isinstance(text, str) else text).decode()


def end_of(prefix):
    """The first key behind those with the prefix."""
    return prefix[:-1] + chr(ord(prefix[-1]) + 1)


class Etcd:
    def __init__(self, folder, tls=None, client_ca=None):
        """tls: a Pair that is shown. client_ca: who vouches for clients, if they have to show one."""
        self.folder, self.tls, self.client_ca = folder, tls, client_ca
        self.folder.mkdir(exist_ok=True)
        self.token, self.proc, self.secure = None, None, None
        if tls:
            self.secure = ssl._create_unverified_context()
            if client_ca:
                self.secure.load_cert_chain(tls.cert, tls.key)
        self.guards = [hold(("127.0.0.1", 0)) for _ in range(2)]
        self.port, self.peer_port = (guard.getsockname()[1] for guard in self.guards)
        self.address = f"127.0.0.1:{self.port}"
        assert self.start(), (self.folder / "log").read_text()[-2000:]

    def start(self):
        """False: it has ended, as when somebody else has the port."""
        scheme = "https" if self.tls else "http"
        client, peer = f"{scheme}://{self.address}", f"http://127.0.0.1:{self.peer_port}"
        secure = []
        if self.tls:
            secure = [f"--cert-file={self.tls.cert}", f"--key-file={self.tls.key}"]
        if self.client_ca:
            secure += ["--client-cert-auth", f"--trusted-ca-file={self.client_ca}"]
        with open(self.folder / "log", "ab") as log:
            self.proc = subprocess.Popen(
                [
                    ETCD,
                    f"--data-dir={self.folder / 'data'}",
                    f"--listen-client-urls={client}",
                    f"--advertise-client-urls={client}",
                    f"--listen-peer-urls={peer}",
                    f"--initial-advertise-peer-urls={peer}",
                    f"--initial-cluster=default={peer}",
                    "--unsafe-no-fsync",
                    "--heartbeat-interval=50",
                    "--election-timeout=500",
                    "--logger=zap",
                    "--log-level=warn",
                    *secure,
                ],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env={k: v for k, v in os.environ.items() if not k.startswith("ETCD")},
            )
        self.token, until = None, deadline()
        while self.proc.poll() is None:
            try:
                self.become_root()
                return True
            except (OSError, http.client.HTTPException, AssertionError) as e:
                if "authentication is not enabled" in str(e):
                    return True
                if time.monotonic() > until:
                    self.close()
                    raise
                time.sleep(0.02)
        return False

    def ask(self, path, what, token=None):
        """What it answers; a status other than 200 is an AssertionError."""
        if self.secure:
            conn = http.client.HTTPSConnection(self.address, timeout=DEADLINE, context=self.secure)
        else:
            conn = http.client.HTTPConnection(self.address, timeout=DEADLINE)
        token = token or self.token
        try:
            conn.request(
                "POST", path, json.dumps(what), {"Authorization": token} if token else {}
            )
            answer = conn.getresponse()
            body = answer.read()
        finally:
            conn.close()
        assert answer.status == 200, body
        return json.loads(body)

    def put(self, key, value, lease=None):
        what = {"key": b64(key), "value": b64(value)}
        if lease:
            what["lease"] = lease
        return int(self.ask("/v3/kv/put", what)["header"]["revision"])

    def delete(self, key, end=None):
        what = {"key": b64(key), **({"range_end": b64(end)} if end else {})}
        return int(self.ask("/v3/kv/deleterange", what)["header"]["revision"])

    def lease(self, seconds):
        return self.ask("/v3/lease/grant", {"TTL": str(seconds)})["ID"]

    def compact(self, revision):
        self.ask("/v3/kv/compaction", {"revision": str(revision), "physical": True})

    def say(self, prefix, values):
        """Exactly these: {name: value}."""
        keys = self.ask("/v3/kv/range", {"key": b64(prefix), "range_end": b64(end_of(prefix))})
        for kv in keys.get("kvs", []):
            key = base64.b64decode(kv["key"]).decode()
            if key[len(prefix) :] not in values:
                self.delete(key)
        for name, value in values.items():
            self.put(prefix + name, value)

    def demand_users(self, user, password, prefix):
        """From now on everybody has to be somebody; this user may read what begins with prefix."""
        self.ask("/v3/auth/user/add", {"name": "root", "password": "root"})
        self.ask("/v3/auth/role/add", {"name": "root"})
        self.ask("/v3/auth/user/grant", {"user": "root", "role": "root"})
        self.ask("/v3/auth/user/add", {"name": user, "password": password})
        self.ask("/v3/auth/role/add", {"name": "reader"})
        self.ask("/v3/auth/user/grant", {"user": user, "role": "reader"})
        self.allow(prefix)
        self.ask("/v3/auth/enable", {})
        self.become_root()

    def become_root(self):
        said = self.ask("/v3/auth/authenticate", {"name": "root", "password": "root"})
        self.token = said["token"]

    def allow(self, prefix):
        key, end = b64(prefix), b64(end_of(prefix))
        self.ask(
            "/v3/auth/role/grant",
            {"name": "reader", "perm": {"permType": "READ", "key": key, "range_end": end}},
        )

    def environment(self):
        """Of etcdctl, which is to ask this one."""
        known = {"ETCDCTL_API": "3", "ETCDCTL_ENDPOINTS": self.address}
        return {**os.environ, **known}

    def kill(self):
        self.proc.kill()
        self.proc.wait(DEADLINE)

    def restart(self):
        """The port is its own again as soon as whoever took it meanwhile, as a client's, is gone."""
        self.kill()
        until = deadline()
        while not self.start():
            assert time.monotonic() < until, (self.folder / "log").read_text()[-2000:]

    def close(self):
        if self.proc.poll() is None:
            self.proc.terminate()
            self.proc.wait(DEADLINE)
        kept.extend(self.guards)


# ---- one that says what no etcd should -----------------------------------------------------------


def header(revision):
    return {"cluster_id": "7", "member_id": "1", "revision": str(revision), "raft_term": "2"}


def kv(key, value, revision=1):
    return {"key": b64(key), "value": b64(value), "mod_revision": str(revision)}


def page(kvs, revision=1, more=False):
    return json.dumps({"header": header(revision), "kvs": kvs, "more": more}).encode()


def line(revision=1, **result):
    return json.dumps({"result": {"header": header(revision), **result}}).encode() + b"\n"


class Gateway:
    """Says to each list what lists() returns, and to each watch what watches() yields, until that
    returns; then the connection is closed. Both get the request; the answer is bytes, or a pair of
    a status and bytes. A str among the pieces of a watch is what is to happen: "cut" closes the
    connection without an end."""

    def __init__(self, lists, watches):
        gateway = self
        self.lists, self.watches = lists, watches
        self.asked = []  # [(path, request, headers)]
        self.over = threading.Event()

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self):
                request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                gateway.asked.append((self.path, request, self.headers))
                if self.path == "/v3/watch":
                    self.watch(request["create_request"])
                else:
                    self.say(gateway.lists(request))

            def say(self, answer):
                status, body = answer if isinstance(answer, tuple) else (200, answer)
                self.send_response(status)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def watch(self, request):
                self.close_connection = True
                self.send_response(200)
                self.send_header("Transfer-Encoding", "chunked")
                self.end_headers()
                try:
                    for piece in gateway.watches(request):
                        if piece == "cut":
                            return
                        self.wfile.write(b"%x\r\n%b\r\n" % (len(piece), piece))
                        self.wfile.flush()
                    self.wfile.write(b"0\r\n\r\n")
                except OSError:
                    pass  # weir has had enough

            def log_message(self, *_):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.server.handle_error = lambda *_: None
        self.address = "127.0.0.1:%d" % self.server.server_address[1]
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True)
        self.thread.start()

    def count(self, path):
        return sum(asked[0] == path for asked in self.asked)

    def silence(self):
        """For watches: says nothing more, as long as the test runs."""
        self.over.wait(2 * DEADLINE)

    def close(self):
        self.over.set()
        self.server.shutdown()
        self.thread.join(DEADLINE)
        self.server.server_close()
        keep(self.server.server_address)


class Door(threading.Thread):
    """Passes connections on to somewhere else, as long as it is open."""

    def __init__(self, to):
        super().__init__(daemon=True)
        host, port = to.split(":")
        self.to, self.over = (host, int(port)), False
        self.sock = socket.create_server(("127.0.0.1", 0))
        self.address = "127.0.0.1:%d" % self.sock.getsockname()[1]
        self.is_open, self.conns, self.lock = True, [], threading.Lock()
        self.start()

    def run(self):
        while True:
            client, _ = self.sock.accept()
            with self.lock:
                if self.over:
                    client.close()
                    return
                if not self.is_open:
                    client.close()
                    continue
                server = socket.create_connection(self.to)
                self.conns += [client, server]
            for a, b in ((client, server), (server, client)):
                threading.Thread(target=self._pass, args=(a, b), daemon=True).start()

    def _pass(self, a, b):
        try:
            while got := a.recv(65536):
                b.sendall(got)
        except OSError:
            pass
        for sock in (a, b):
            try:
                sock.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass

    def shut(self):
        """Who is inside is cut off."""
        with self.lock:
            self.is_open = False
            for sock in self.conns:
                try:
                    sock.shutdown(socket.SHUT_RDWR)
                except OSError:
                    pass
            self.conns = []

    def open(self):
        self.is_open = True

    def close(self):
        self.shut()
        with self.lock:
            self.over = True
        socket.create_connection(self.sock.getsockname()).close()
        self.join(DEADLINE)
        where = self.sock.getsockname()
        self.sock.close()
        keep(where)
