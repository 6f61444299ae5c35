# SPDX-License-Identifier: Apache-2.0
"""An API server of Kubernetes as far as EndpointSlices go: lists in pages, watches in chunked lines,
and whatever a test wants to go wrong.

    api = KubeApi(authority)
    api.put(slice_of("app-1", ["10.0.0.1"]))     # kept, and told to all who watch
    api.next(status(410))                        # what the next request is answered, whatever it is
    api.next(SILENCE)                            # ... nothing
    api.send(b'{"type": ...')                    # bytes to all who watch
    api.cut()                                    # ends their connections in the middle of a chunk
"""
import copy
import json
import queue
import socket
import ssl
import threading
import time
import urllib.parse
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from peers import DEADLINE, keep, wait_for

PATH = "/apis/discovery.k8s.io/v1/namespaces/{}/endpointslices"


def endpoint(address, **more):
    """conditions as keywords: ready, serving, terminating; zone and zones (hints) as well."""
    conditions = {k: more[k] for k in ("ready", "serving", "terminating") if k in more}
    made = {"addresses": [address], "conditions": conditions}
    if "zone" in more:
        made["zone"] = more["zone"]
    if "zones" in more:
        made["hints"] = {"forZones": [{"name": zone} for zone in more["zones"]]}
    return made


def slice_of(name, endpoints, port=80, ports=None, family="IPv4", service="app"):
    if ports is None:
        ports = {"http": port}
    return {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {"name": name, "labels": {"kubernetes.io/service-name": service}},
        "addressType": family,
        "ports": [{"name": n, "port": p, "protocol": "TCP"} for n, p in ports.items()],
        "endpoints": [e if isinstance(e, dict) else endpoint(e, ready=True) for e in endpoints],
    }


SILENCE = object()


class Answer:
    """before(): is called when it is asked for."""

    def __init__(self, code, body=b"", before=lambda: None, **fields):
        self.code, self.body, self.before, self.fields = code, body, before, fields


def status(code, message="no", **fields):
    """An error, as the API server says it."""
    body = {"kind": "Status", "status": "Failure", "code": code, "message": message}
    return Answer(code, json.dumps(body).encode(), **fields)


def gone_event():
    said = {"kind": "Status", "code": 410, "reason": "Expired", "message": "too old resource version"}
    return {"type": "ERROR", "object": said}


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *args):
        pass

    def do_GET(self):
        api = self.server.api
        path, _, query = self.path.partition("?")
        params = dict(urllib.parse.parse_qsl(query, strict_parsing=True))
        bearer = self.headers.get("Authorization")
        with api.lock:
            api.requests.append((self.path, bearer))
            answer = api.scripted.pop(0) if api.scripted else None
        if answer is None and params.get("watch") and api.forbids_watches:
            answer = status(403, "cannot watch")
        if answer is None and api.token and bearer != f"Bearer {api.token}":
            answer = status(401, "Unauthorized")
        if answer is None and path != PATH.format(api.namespace):
            answer = status(404, "no such path")
        try:
            if answer is SILENCE:
                self.rfile.read(1)  # until they leave
            elif answer is not None:
                answer.before()
                self.answer(answer)
            elif params.get("watch"):
                self.watch(params)
            else:
                self.answer(Answer(200, json.dumps(api.page(params)).encode()))
        except (OSError, ssl.SSLError):
            pass
        self.close_connection = True

    def answer(self, answer):
        self.send_response(answer.code)
        for name, value in answer.fields.items():
            self.send_header(name.replace("_", "-"), str(value))
        self.send_header("Content-Length", str(len(answer.body)))
        self.end_headers()
        self.wfile.write(answer.body)

    def watch(self, params):
        api, said = self.server.api, queue.Queue()
        with api.lock:
            missed = [e for v, e in api.events if v > int(params["resourceVersion"])]
            api.watches.append(said)
        try:
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()
            for event in missed:
                self.chunk(line(event))
            while (part := said.get()) is not None:
                if part == "cut":
                    return
                self.chunk(part)
            self.wfile.write(b"0\r\n\r\n")
        finally:
            with api.lock:
                if said in api.watches:
                    api.watches.remove(said)

    def chunk(self, data):
        before = time.time()
        self.wfile.write(b"%x\r\n%b\r\n" % (len(data), data))
        self.wfile.flush()
        self.server.api.told.append((before, time.time()))


def line(event):
    return json.dumps(event).encode() + b"\n"


class Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 64

    def handle_error(self, request, client_address):
        """A client that leaves, or that does not like the certificate, is none."""

    def get_request(self):
        sock, address = super().get_request()
        sock.settimeout(DEADLINE)
        self.api.conns.append(sock)
        return sock, address

    def finish_request(self, request, client_address):
        if self.api.context:
            request = self.api.context.wrap_socket(request, server_side=True)
            self.api.conns.append(request)
        try:
            super().finish_request(request, client_address)
        finally:
            request.close()


class KubeApi:
    def __init__(self, authority=None, namespace="default", token="", host="127.0.0.1", ask=False):
        pair = authority.issue("127.0.0.1", "::1", "localhost") if authority else None
        self.context = authority.server_context(pair=pair, ask=ask) if authority else None
        self.namespace, self.token, self.host = namespace, token, host
        self.lock = threading.Lock()
        self.slices, self.version, self.events = {}, 100, []
        self.requests, self.scripted, self.watches, self.conns = [], [], [], []
        self.forbids_watches = False
        self.told = []  # when a watch was told something: before and after it was sent, by time.time()
        self.port = 0
        self.back()

    @property
    def url(self):
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{'https' if self.context else 'http'}://{host}:{self.port}"

    # ---- what there is ---------------------------------------------------------------------------

    def page(self, params):
        with self.lock:
            names = sorted(self.slices)
            first = names.index(params["continue"]) if "continue" in params else 0
            last = first + int(params["limit"])
            said = {"resourceVersion": str(self.version)}
            if last < len(names):
                said["continue"] = names[last]
            items = [self.slices[n] for n in names[first:last]]
        return {"kind": "EndpointSliceList", "metadata": said, "items": items}

    def _tell(self, kind, what):
        """With the lock."""
        self.version += 1
        what = copy.deepcopy(what)
        what["metadata"]["resourceVersion"] = str(self.version)
        event = {"type": kind, "object": what}
        self.events.append((self.version, event))
        for watch in self.watches:
            watch.put(line(event))
        return what

    def put(self, *slices):
        with self.lock:
            for one in slices:
                name = one["metadata"]["name"]
                kind = "MODIFIED" if name in self.slices else "ADDED"
                self.slices[name] = self._tell(kind, one)

    def drop(self, name):
        with self.lock:
            self._tell("DELETED", self.slices.pop(name))

    def bookmark(self):
        with self.lock:
            self.version += 50
            said = {"resourceVersion": str(self.version), "name": ""}
            self.send(line({"type": "BOOKMARK", "object": {"metadata": said}}))

    # ---- what goes wrong -------------------------------------------------------------------------

    def next(self, *answers):
        with self.lock:
            self.scripted.extend(answers)

    def send(self, data):
        for watch in self.watches:
            watch.put(data)

    def end(self):
        self.send(None)

    def cut(self):
        self.send("cut")

    def away(self):
        """Nobody listens any more, and the conns are reset."""
        self.server.shutdown()
        self.server.server_close()
        keep(self.server.server_address, self.server.address_family)
        self.send("cut")
        for sock in self.conns:
            try:
                sock.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
            sock.close()
        self.conns.clear()
        self.thread.join(DEADLINE)

    def back(self):
        server = type("Any", (Server,), {})
        server.address_family = socket.AF_INET6 if ":" in self.host else socket.AF_INET
        server.api = self
        self.server = server((self.host, self.port), Handler)
        self.port = self.server.server_address[1]
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True)
        self.thread.start()

    def close(self):
        if self.thread.is_alive():
            self.away()

    # ---- who asks --------------------------------------------------------------------------------

    def paths(self):
        with self.lock:
            return [path for path, _ in self.requests]

    def watched(self, count=1):
        """Waits until so many watch."""
        wait_for(lambda: len(self.watches) == count, f"{count} watches, not {len(self.watches)}")

    def wait_requests(self, count):
        wait_for(lambda: len(self.requests) >= count, f"{count} requests: {self.paths()}")
