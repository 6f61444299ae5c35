# SPDX-License-Identifier: Apache-2.0
"""A collector of traces: takes OTLP over HTTP, as JSON, and believes nothing. Every request is held
against the specification (opentelemetry-proto 1.x, the JSON mapping of protobuf): what is unknown,
missing, of another type or out of order is a fault, and a test that closes its collector with
faults fails."""
import json
import re
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from peers import keep, wait_for

SERVER, CLIENT = 2, 3
ERROR = 2
SAMPLED, REMOTE_KNOWN, REMOTE = 0x1, 0x100, 0x200

TRACE_ID, SPAN_ID = re.compile(r"[0-9a-f]{32}"), re.compile(r"[0-9a-f]{16}")
NUMBER = re.compile(r"0|[1-9][0-9]*")
KNOWN = "GET HEAD POST PUT DELETE CONNECT OPTIONS TRACE PATCH _OTHER".split()

# The semantic conventions of HTTP spans, and weir's own.
ATTRIBUTES = {
    "http.request.method": str,
    "http.request.method_original": str,
    "http.request.resend_count": int,
    "http.response.status_code": int,
    "http.route": str,
    "url.scheme": str,
    "url.path": str,
    "url.query": str,
    "url.full": str,
    "server.address": str,
    "server.port": int,
    "client.address": str,
    "client.port": int,
    "network.peer.address": str,
    "network.peer.port": int,
    "network.protocol.version": str,
    "network.transport": str,
    "user_agent.original": str,
    "error.type": str,
    "weir.request_id": str,
    "weir.listener": str,
    "weir.pool": str,
    "weir.endpoint": str,
    "weir.attempts": int,
    "weir.attempts_left_out": int,
    "weir.queue_us": int,
    "weir.connect_us": int,
    "weir.first_byte_us": int,
    "weir.reason": str,
    "weir.cause": str,
    "weir.hedge": bool,
    "weir.reused": bool,
    "weir.texts_cut": bool,
}
REQUIRED = {
    SERVER: {"http.request.method", "url.scheme", "url.path", "weir.request_id", "weir.listener"},
    CLIENT: {"http.request.method", "url.full", "server.address", "weir.endpoint", "weir.pool"},
}


class Fault(Exception):
    pass


def need(what, message):
    if not what:
        raise Fault(message)


def fields(obj, required, optional=()):
    """An object with these members and no others."""
    need(isinstance(obj, dict), f"{obj!r} is no object")
    missing, unknown = set(required) - set(obj), set(obj) - set(required) - set(optional)
    need(not missing, f"without {missing}: {obj!r}")
    need(not unknown, f"with the unknown {unknown}")
    return obj


def once(pairs):
    names = [name for name, _ in pairs]
    need(len(names) == len(set(names)), f"a member is there twice: {names}")
    return dict(pairs)


def value_of(value):
    need(isinstance(value, dict) and len(value) == 1, f"{value!r} is no AnyValue")
    (kind, of), = value.items()
    if kind == "intValue":
        need(isinstance(of, str) and NUMBER.fullmatch(of), f"{of!r} is no int64")
        return int(of)
    need(
        kind in ("stringValue", "boolValue")
        and isinstance(of, str if kind == "stringValue" else bool),
        f"{kind} {of!r}",
    )
    return of


def attributes_of(listed):
    found = {}
    need(isinstance(listed, list), "attributes are a list")
    for one in listed:
        fields(one, ["key", "value"])
        need(one["key"] not in found, f"{one['key']} is there twice")
        found[one["key"]] = value_of(one["value"])
    return found


def time_of(text):
    need(isinstance(text, str) and NUMBER.fullmatch(text), f"{text!r} is no fixed64")
    return int(text)


@dataclass
class Span:
    trace: str
    id: str
    parent: str
    state: str
    flags: int
    name: str
    kind: int
    start: int
    end: int
    attributes: dict
    error: bool
    message: str
    resource: dict = field(repr=False)

    def __getitem__(self, key):
        return self.attributes.get(key)


def span_of(obj, resource):
    fields(
        obj,
        "traceId spanId flags name kind startTimeUnixNano endTimeUnixNano attributes".split(),
        "parentSpanId traceState status".split(),
    )
    status = fields(obj.get("status", {}), [], ["code", "message"])
    need(status.get("code", 0) in (0, ERROR), f"status {status}")
    need("code" in status or "message" not in status, "a message is for errors")
    span = Span(
        obj["traceId"],
        obj["spanId"],
        obj.get("parentSpanId", ""),
        obj.get("traceState", ""),
        obj["flags"],
        obj["name"],
        obj["kind"],
        time_of(obj["startTimeUnixNano"]),
        time_of(obj["endTimeUnixNano"]),
        attributes_of(obj["attributes"]),
        status.get("code") == ERROR,
        status.get("message", ""),
        resource,
    )
    check(span)
    return span


def check(span):
    need(TRACE_ID.fullmatch(span.trace) and int(span.trace, 16), f"trace {span.trace!r}")
    need(SPAN_ID.fullmatch(span.id) and int(span.id, 16), f"span {span.id!r}")
    need(not span.parent or SPAN_ID.fullmatch(span.parent), f"parent {span.parent!r}")
    need(span.kind in (SERVER, CLIENT), f"kind {span.kind!r}")
    need(isinstance(span.flags, int) and span.flags & SAMPLED, f"flags {span.flags!r}")
    need(span.flags & REMOTE_KNOWN, "whether the parent is remote is known")
    need(bool(span.flags & REMOTE) == (span.kind == SERVER and bool(span.parent)), "remote")
    need(span.kind == SERVER or span.parent, "an attempt is a part of a request")
    need(isinstance(span.name, str) and span.name, "a name")
    need(10**18 < span.start <= span.end < 10**19, f"{span.start} to {span.end}")
    for key, value in span.attributes.items():
        need(key in ATTRIBUTES, f"the attribute {key} is unknown")
        need(type(value) is ATTRIBUTES[key], f"{key}: {value!r}")
    missing = REQUIRED[span.kind] - set(span.attributes)
    need(not missing, f"without {missing}")
    need(span["http.request.method"] in KNOWN, f"method {span['http.request.method']}")
    need(("error.type" in span.attributes) == span.error, "error.type is there if, and only if")
    check_status(span)


def check_status(span):
    """HTTP spans, "Status"."""
    code = span["http.response.status_code"]
    need(code is None or 100 <= code <= 599, f"status {code}")
    if code and code >= 500:
        need(span.error, f"{code} is an error")
    elif code and code >= 400:
        need(span.error == (span.kind == CLIENT), f"{code} is an error of its client's alone")


def spans_of(body):
    """The spans of an ExportTraceServiceRequest. Raises Fault."""
    try:
        root = json.loads(body.decode(), object_pairs_hook=once)
    except ValueError as e:
        raise Fault(f"no JSON: {e}") from None
    found = []
    for resources in fields(root, ["resourceSpans"])["resourceSpans"]:
        fields(resources, ["resource", "scopeSpans", "schemaUrl"])
        need(resources["schemaUrl"].startswith("https://opentelemetry.io/schemas/1."), "schema")
        resource = attributes_of(fields(resources["resource"], ["attributes"])["attributes"])
        need(
            set(resource) == {"service.name", "service.instance.id", "service.version"},
            f"resource {resource}",
        )
        for scope in resources["scopeSpans"]:
            fields(scope, ["scope", "spans"])
            need(fields(scope["scope"], ["name", "version"])["name"] == "weir", "scope")
            found += [span_of(obj, resource) for obj in scope["spans"]]
    need(found, "an empty request")
    return found


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        self.server.owner.take(self)

    def log_message(self, *_):
        pass


class Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 64

    def handle_error(self, request, client_address):
        pass  # weir has gone, which is what some tests are about


OK = (200, {}, b"{}")


class Collector:
    """answer(n): (status, fields, body) of the n-th request, from 0; None: the answer that every
    later one gets, too, is OK. hold: an Event that answers wait for."""

    def __init__(self, answer=None, context=None, port=0):
        self.answer = answer or (lambda n: OK)
        self.hold = None
        self.lock = threading.Lock()
        self.requests, self.spans, self.faults, self.headers = 0, [], [], []
        self.batches = []  # how many spans of each request that was taken
        self.server = Server(("127.0.0.1", port), Handler)
        self.server.owner = self
        self.port = self.server.server_address[1]
        self.url = f"{'https' if context else 'http'}://127.0.0.1:{self.port}"
        if context:
            self.server.socket = context.wrap_socket(
                self.server.socket, server_side=True, do_handshake_on_connect=False
            )
        self.thread = threading.Thread(target=self.server.serve_forever, args=[0.05], daemon=True)
        self.thread.start()

    def take(self, http):
        body = http.rfile.read(int(http.headers["Content-Length"]))
        with self.lock:
            number, self.requests = self.requests, self.requests + 1
            self.headers.append(dict(http.headers.items()))
        hold = self.hold
        if hold:
            hold.wait(60)
        status, extra, answer = self.answer(number) or OK
        with self.lock:
            self._judge(http, body, status)
        http.send_response(status)
        for name, value in {"Content-Length": str(len(answer)), **extra}.items():
            http.send_header(name, value)
        http.end_headers()
        http.wfile.write(answer)

    def _judge(self, http, body, status):
        try:
            need(http.path == "/v1/traces", http.path)
            need(http.headers["Content-Type"] == "application/json", "content type")
            spans = spans_of(body)
            if 200 <= status < 300:
                self.batches.append(len(spans))
                self.spans += spans
        except Fault as e:
            self.faults.append(str(e))

    def wait(self, count):
        """All spans, once there are so many."""

        def there():
            assert not self.faults, self.faults[:3]
            return len(self.spans) >= count

        wait_for(there, f"{count} spans")
        with self.lock:
            assert len(self.spans) == count, f"{len(self.spans)} spans instead of {count}"
            check_links(self.spans)
            return list(self.spans)

    def close(self):
        if self.hold:
            self.hold.set()
        self.server.shutdown()
        self.server.server_close()
        keep(self.server.server_address)
        self.thread.join()
        assert not self.faults, self.faults[:3]


def check_links(spans):
    """No span is there twice; attempts are within their request, in time and by name."""
    ids = {(s.trace, s.id): s for s in spans}
    assert len(ids) == len(spans), "a span is there twice"
    for s in spans:
        if s.kind == CLIENT:
            whole = ids[s.trace, s.parent]
            assert whole.kind == SERVER
            assert whole.start <= s.start <= s.end <= whole.end, (whole, s)


def request_of(spans):
    """The one of a request, and those of its attempts in the order in which they began."""
    (whole,) = [s for s in spans if s.kind == SERVER]
    return whole, sorted((s for s in spans if s.kind == CLIENT), key=lambda s: s.start)
