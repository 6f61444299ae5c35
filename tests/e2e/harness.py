# SPDX-License-Identifier: Apache-2.0
"""weir under test: started from a YAML text, watched from outside, and checked when it ends."""
import json
import os
import re
import resource
import signal
import socket
import subprocess
import tempfile
import time
from collections import Counter
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

import h2client
import peers
import tlspeer
import wire
from peers import DEADLINE, Client, deadline, wait_for

ROOT = Path(__file__).resolve().parents[2]
WEIR = Path(os.environ.get("WEIR", ROOT / "build" / "weir")).resolve()
WORKERS = int(os.environ.get("WEIR_WORKERS", "1"))
# The preload of tests/faults/, and what it does to every weir (scripts/test.py --faults), or "".
FAULTS_SO = Path(os.environ.get("FAULTS_SO", ROOT / "build" / "tests" / "faults.so")).resolve()
FAULTS = os.environ.get("WEIR_FAULTS", "")

COMPLAINTS = re.compile(
    r"AddressSanitizer|LeakSanitizer|ThreadSanitizer|UndefinedBehaviorSanitizer"
    r"|runtime error:|weir: internal error|Assertion|CHECK failed",
    re.I,
)


def sanitizer():
    """The sanitizer that weir was built with, or ''."""
    if "san" not in _sanitizer:
        data = WEIR.read_bytes() if WEIR.exists() else b""
        _sanitizer["san"] = next(
            (n for n in ("asan", "tsan") if f"__{n}_init".encode() in data), ""
        )
    return _sanitizer["san"]


def knows(name):
    """Whether this machine's resolver knows a host name; without /etc/hosts not even localhost."""
    try:
        return bool(socket.getaddrinfo(name, None))
    except OSError:
        return False


needs_v6 = pytest.mark.skipif(not peers.has_v6(), reason="this machine has no ::1")
needs_localhost = pytest.mark.skipif(not knows("localhost"), reason="localhost does not resolve")

_sanitizer = {}
needs_faults = pytest.mark.skipif(
    sanitizer() == "tsan", reason="tsan's library bears no other before it"
)
one_thread = pytest.mark.skipif(
    sanitizer() == "tsan", reason="much work of one thread, where tsan looks at what two do"
)


def environment(env=None, preload=None, faults=None):
    """What weir runs in: our own environment and the test's; before its libraries, the test's
    preload; and the test's faults, or else those of the whole run."""
    full = {**os.environ, **(env or {})}
    if faults is not None:
        full["WEIR_FAULTS"] = faults
    loaded = [str(p) for p in (preload, full.get("WEIR_FAULTS") and FAULTS_SO) if p]
    if loaded:
        full["LD_PRELOAD"] = ":".join(loaded)
        # The sanitizer's library wants to be first, which it need not be.
        full["ASAN_OPTIONS"] = full.get("ASAN_OPTIONS", "") + ":verify_asan_link_order=0"
    return full


def heed_interrupts():
    """For a child to run first: what was started in the background of a script ignores SIGINT, and
    so would all that it starts."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


FLIGHTS = 1024  # records of each kind that each worker keeps
PATIENT = "20s"  # in the place of weir's default for a connect with its TLS handshake
started = []  # those that run now, and perhaps some that have ended


class Weir:
    """One running weir. Use as a context manager: leaving it stops it and checks how it ended."""

    def __init__(
        self,
        config,
        tmp,
        workers=None,
        nofile=None,
        env=None,
        args=None,
        preload=None,
        faults=None,
        wrap=(),
    ):
        self.tmp = Path(tmp)
        self.ready_file = self.tmp / "ready.json"
        self.log_path = self.tmp / "access.log"
        self.stderr_path = self.tmp / "stderr"
        self.ended = False
        self.flights = False
        self.clients = []
        if args is None:
            path = self.tmp / "weir.yaml"
            path.write_text(self._complete(config, workers))
            args = ["run", "-c", str(path), "--ready-file", str(self.ready_file)]
        full_env = environment(env, preload, faults)
        self.proc = subprocess.Popen(
            [*wrap, str(WEIR), *args],
            stdin=subprocess.DEVNULL,
            stdout=open(self.tmp / "stdout", "wb"),
            stderr=open(self.stderr_path, "wb"),
            env=full_env,
            cwd=self.tmp,
            preexec_fn=(lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (nofile, nofile)))
            if nofile
            else None,
        )
        self.pid = self.proc.pid
        try:
            self.ready = self._wait_ready()
        except BaseException:
            self.kill()
            raise
        self.pid = self.ready["pid"]
        self.listeners = self.ready["listeners"]
        self.admin = self.ready.get("admin")
        started[:] = [w for w in started if not w.ended] + [self]

    def _complete(self, config, workers):
        """The test's YAML, with what every test needs and it does not say."""
        config = self._patient(config.replace("$TMP", str(self.tmp)))
        head = []
        if not re.search(r"^version:", config, re.M):
            head.append("version: 1")
        if not re.search(r"^workers:", config, re.M):
            head.append(f"workers: {workers or WORKERS}")
        # "# admin: none" and "# access_log: none" start one without.
        if not re.search(r"^(# )?admin:", config, re.M):
            head.append('admin: { listen: "127.0.0.1:0" }')
        if not re.search(r"^(# )?access_log:", config, re.M):
            head.append(f"access_log: {{ path: {self.log_path}, format: json }}")
        self.flights = not re.search(r"^flight:", config, re.M)
        if self.flights:
            head.append(f"flight: {{ size: {FLIGHTS} }}")
        if not re.search(r"^shutdown:", config, re.M):
            head.append("shutdown: 100ms")  # no test waits longer than it has to for the end
        if not re.search(r"^listeners:", config, re.M):
            head.append('listeners: { web: "127.0.0.1:0" }')
        return "\n".join(head) + "\n" + config

    def _patient(self, config):
        """Upstreams of a test's own shake hands when it is their turn."""
        flow = r"upstream: \{(?=[^\n]*\btls: )(?![^\n]*\bconnect: )"
        return re.sub(flow, f"upstream: {{ connect: {PATIENT},", config)

    def _wait_ready(self):
        until = deadline()
        while not self.ready_file.exists():
            code = self.proc.poll()
            assert code is None, f"weir ended with {code} instead of starting:\n{self.stderr()}"
            assert time.monotonic() < until, f"weir was not ready in time:\n{self.stderr()}"
            time.sleep(0.002)
        return json.loads(self.ready_file.read_text())

    # ---- talking to it --------------------------------------------------------------------------

    secure = None  # the ssl.SSLContext of clients, if the listener speaks TLS
    client_protocol = "h1"

    def client(self, listener="web", rcvbuf=None):
        if self.secure:
            client = tlspeer.TlsClient(self.listeners[listener], self.secure, rcvbuf=rcvbuf)
        else:
            client = Client(self.listeners[listener], rcvbuf)
        if self.client_protocol == "h2":
            client = h2client.over(client)
        self.clients.append(client)
        return client

    def admin_get(self, path):
        with Client(self.admin) as c:
            return c.get(path, host="admin", extra="Connection: close\r\n")

    def metrics(self):
        """Every sample: {(name, frozenset of label pairs): value}."""
        response = self.admin_get("/metrics")
        assert response.status == 200
        self.families, samples = parse_metrics(response.body.decode())
        return samples

    def metric(self, name, **labels):
        """The sum of the samples of this name that have these labels."""
        return sum_of(self.metrics(), name, labels)

    def wait_metric(self, name, value, **labels):
        """Waits until the metric has this value; of a counter (no gauge) that must not have moved
        this is the check, too, for it is so at once and stays wrong if it is not."""
        last = []

        def there():
            last[:] = [self.metric(name, **labels)]
            return last[0] == value

        try:
            wait_for(there, f"{name}{labels} to be {value}")
        except AssertionError:
            raise AssertionError(f"{name}{labels} is {last[0]}, expected {value}") from None

    @contextmanager
    def counts(self, *reasons, **metrics):
        """What happens inside adds exactly one to each reason's weir_errors_total (again for each
        time it is named), and the given amounts to other counters."""
        before = self.metrics()
        yield
        for reason in set(reasons):
            now = sum_of(before, "weir_errors_total", {"reason": reason}) + reasons.count(reason)
            self.wait_metric("weir_errors_total", now, reason=reason)
        for name, amount in metrics.items():
            self.wait_metric(name, sum_of(before, name, {}) + amount)

    @contextmanager
    def logged(self, count=1):
        """Inside, `count` requests end; afterwards the list holds their access-log entries."""
        self.settle_log()
        mark = len(self._log_lines())
        entries = []
        yield entries
        wait_for(lambda: len(self._log_lines()) >= mark + count, f"{count} access-log lines")
        entries.extend(json.loads(line) for line in self._log_lines()[mark:])
        assert len(entries) == count, f"{len(entries)} lines instead of {count}: {entries[:3]}"

    def settle_log(self):
        """Waits until each request that has ended so far has its line: lines are written behind."""
        ended = self.metric("weir_requests_total")
        wait_for(lambda: len(self._log_lines()) >= ended, f"{ended} access-log lines")

    def settle(self):
        """Closes the clients of the test that is over, and waits until every worker is done with
        them and with the connections that the upstream has closed: what they still did would fall
        into the next test."""
        for client in self.clients:
            client.close()
        self.clients.clear()
        for what in ("requests_in_flight", "client_connections", "upstream_connections"):
            self.wait_metric(f"weir_{what}", 0)

    def _log_lines(self):
        text = self.log_path.read_text() if self.log_path.exists() else ""
        return text[: text.rfind("\n") + 1].splitlines()

    def access_log(self, count):
        """The first `count` entries, waited for."""
        wait_for(lambda: len(self._log_lines()) >= count, f"{count} access-log lines")
        return [json.loads(line) for line in self._log_lines()]

    def stderr(self):
        return self.stderr_path.read_text(errors="replace")

    def said(self, text, count=None):
        """Waits until its log has this text, as often as `count` says: what is visible elsewhere
        may be so before the line is written."""

        def there():
            return text in self.stderr() if count is None else self.stderr().count(text) >= count

        try:
            wait_for(there, f"{text!r} to be said")
        except AssertionError:
            raise AssertionError(f"weir did not say {text!r}, but:\n{self.stderr()[-3000:]}") from None
        assert count is None or self.stderr().count(text) == count, text

    def last_words(self):
        """[(title, text)]: the ends of its logs, and the reasons that it has counted."""
        with suppress(OSError, AssertionError):
            reasons = [
                f"{name} {dict(labels)} {value:g}"
                for (name, labels), value in self.metrics().items()
                if value and re.search(r"errors|failed|ended|retries|reset", name)
            ]
            yield f"weir {self.pid}: reasons", "\n".join(reasons)
        with suppress(OSError):
            yield f"weir {self.pid}: access log", "\n".join(self._log_lines()[-20:])
        yield f"weir {self.pid}: stderr", self.stderr()[-4000:]

    def rss(self):
        """Resident memory, in KiB."""
        return int(
            re.search(r"VmRSS:\s+(\d+) kB", Path(f"/proc/{self.pid}/status").read_text()).group(1)
        )

    def fds(self):
        return len(os.listdir(f"/proc/{self.pid}/fd"))

    def open_files(self):
        """Descriptors that come and go with connections and files: neither the pipes that are kept
        for bodies (a bounded number) nor the spare one that libuv opens on its first stream."""
        count = 0
        for name in os.listdir(f"/proc/{self.pid}/fd"):
            with suppress(FileNotFoundError):  # closed since
                target = os.readlink(f"/proc/{self.pid}/fd/{name}")
                count += target != "/dev/null" and not target.startswith("pipe:")
        return count

    def cpu(self):
        """User and system time of all its threads so far, in seconds."""
        tasks = Path(f"/proc/{self.pid}/task").glob("*/schedstat")
        return sum(int(task.read_text().split()[0]) for task in tasks) / 1e9

    def wait_quiet(self):
        """Waits for a stretch of 0.2 s in which it does next to nothing. What is still to be done
        at first may take its time, on a busy machine; a loop that spins never gets there."""

        def quiet():
            before = self.cpu()
            time.sleep(0.2)
            return self.cpu() - before < 0.01

        wait_for(quiet, "weir to come to rest")

    # ---- its end --------------------------------------------------------------------------------

    def __enter__(self):
        return self

    def __exit__(self, kind, *_):
        if kind is None:
            self.stop()
        else:
            self.kill()

    def alive(self):
        return self.proc.poll() is None

    def signal(self, number):
        os.kill(self.pid, number)

    def wait(self, within=DEADLINE):
        """Waits for the process to end: its exit code."""
        try:
            return self.proc.wait(deadline(within) - time.monotonic())
        except subprocess.TimeoutExpired:
            raise AssertionError(f"weir did not end in time:\n{self.stderr()[-3000:]}") from None

    def stop(self, code=0):
        """SIGTERM, and the end has to be clean and in time."""
        if self.ended:
            return
        self.ended = True
        try:
            if self.alive():
                self.assert_recorded()
                self.signal(signal.SIGTERM)
            got = self.wait()
        except BaseException:
            self.kill()
            raise
        self.assert_clean()
        assert got == code, f"weir ended with {got}, expected {code}:\n{self.stderr()[-3000:]}"

    def assert_recorded(self):
        """Whatever failed, by the access log, is told by the flight recorder in the same way."""
        if not self.admin or not self.flights or not self.log_path.exists():
            return
        what = ("id", "reason", "status", "attempts", "endpoint", "pool", "path")
        entries = (json.loads(line) for line in self._log_lines() if line.startswith("{"))
        failed = Counter(
            tuple(e[key][:200] if key == "path" else e[key] for key in what)
            for e in entries
            if e.keys() >= set(what) and (e["reason"] or e["status"] >= 500)
        )
        if not failed or failed.total() > FLIGHTS / 2:
            return
        with suppress(OSError):  # a test may have left it no descriptor
            if self.metric("weir_upgrades") > 0:
                return  # the log goes on in the new process, the recorder begins anew
            got = self.admin_get("/requests?limit=10000")
            assert got.status == 200, got.body
            told = Counter(
                tuple(f[key][:200] if key == "path" else f[key] for key in what)
                for f in json.loads(got.body)
            )
            assert failed <= told, f"in the access log alone: {failed - told}"

    def assert_clean(self):
        found = COMPLAINTS.search(self.stderr())
        assert not found, f"weir complained:\n{self.stderr()[max(0, found.start() - 500):][:6000]}"

    def kill(self):
        self.ended = True
        if self.proc.poll() is None:
            self.proc.kill()
            self.proc.wait()


def run_weir(*args, env=None, cwd=None, stdin=None, within=DEADLINE):
    """A run of weir that ends by itself: its CompletedProcess, text."""
    return subprocess.run(
        [str(WEIR), *map(str, args)],
        capture_output=True,
        text=True,
        cwd=cwd,
        stdin=stdin or subprocess.DEVNULL,
        env=environment(env),
        timeout=within * peers.SLOW,
    )


SAMPLE = re.compile(r"([a-zA-Z_:][a-zA-Z0-9_:]*)(?:\{(.*)\})? ([-+]?(?:[0-9.eE+-]+|Inf|NaN))")
LABEL = re.compile(r'([a-zA-Z_][a-zA-Z0-9_]*)="((?:[^"\\\n]|\\[\\"n])*)"(?:,|$)')


def parse_metrics(text):
    """Prometheus' text format, strictly: each family has HELP and TYPE before its samples, none
    twice."""
    samples, types = {}, {}
    assert text.endswith("\n"), "the last line has no end"
    for line in text.splitlines():
        if line.startswith("# TYPE "):
            _, _, name, kind = line.split(" ")
            assert name not in types, f"two TYPE lines for {name}"
            types[name] = kind
            continue
        if line.startswith("#") or not line:
            continue
        m = SAMPLE.fullmatch(line)
        assert m, f"not a Prometheus sample: {line!r}"
        name, labels = m.group(1), m.group(2) or ""
        found = LABEL.findall(labels)
        assert len(LABEL.sub("", labels)) == 0, f"bad labels: {line!r}"
        family = name if name in types else re.sub(r"_(bucket|sum|count)$", "", name)
        assert family in types, f"no TYPE line for {name}"
        key = (name, frozenset(found))
        assert key not in samples, f"twice: {line!r}"
        samples[key] = float(m.group(3))
    return types, samples


def sum_of(samples, name, labels):
    want = set((k, str(v)) for k, v in labels.items())
    return sum(v for (n, have), v in samples.items() if n == name and want <= have)


# ---- replies that weir authors ------------------------------------------------------------------

PHRASES = {
    400: "Bad Request",
    404: "Not Found",
    405: "Method Not Allowed",
    408: "Request Timeout",
    413: "Content Too Large",
    414: "URI Too Long",
    431: "Request Header Fields Too Large",
    500: "Internal Server Error",
    501: "Not Implemented",
    502: "Bad Gateway",
    503: "Service Unavailable",
    504: "Gateway Timeout",
    505: "HTTP Version Not Supported",
}
# RFC 9209 section 2.3, all of them
PROXY_ERRORS = """dns_timeout dns_error destination_not_found destination_unavailable
destination_ip_prohibited destination_ip_unroutable connection_refused connection_terminated
connection_timeout connection_read_timeout connection_write_timeout connection_limit_reached
tls_protocol_error tls_certificate_error tls_alert_received http_request_error http_request_denied
http_response_incomplete http_response_header_section_size http_response_header_size
http_response_body_size http_response_trailer_section_size http_response_trailer_size
http_response_transfer_coding http_response_content_coding http_response_timeout http_upgrade_failed
http_protocol_error proxy_internal_response proxy_internal_error proxy_configuration_error
proxy_loop_detected""".split()


def assert_authored(response, status, reason, json_body=False, head=False, request_id=None):
    """A reply of weir's own, whole: status line, fields and body as documented."""
    assert (response.status, response.phrase) == (status, PHRASES[status]), response.wire
    m = re.fullmatch(
        r'weir; error=([a-z_]+); details="([a-z_]+)"', response.get("Proxy-Status") or ""
    )
    assert m and m.group(1) in PROXY_ERRORS, response.head
    assert m.group(2) == reason, f"expected reason {reason}: {response.wire!r}"
    rid = response.get("X-Request-Id")
    assert rid and response.get("Date") and response.get("Content-Length"), response.head
    if request_id:
        assert rid == request_id
    else:
        assert re.fullmatch(wire.PLACEHOLDERS[b"{uuid7}"].decode(), rid), rid
    assert response.get("Retry-After") == ("1" if status == 503 else None), response.head
    if head:
        assert response.body == b""
    elif json_body:
        assert response.get("Content-Type") == "application/json"
        body = json.loads(response.body)
        assert set(body) == {"status", "error", "message", "request_id"}
        assert (body["status"], body["error"], body["request_id"]) == (status, reason, rid)
        assert body["message"]
    else:
        assert response.get("Content-Type") == "text/plain; charset=utf-8"
        text = response.body.decode("latin-1")
        want = rf"{status} {PHRASES[status]}: [^\n]+\nrequest id: {re.escape(rid)}\n"
        assert re.fullmatch(want, text), text
    return m.group(1)


def new_tmp():
    """A short directory of its own (a unix socket's path has to fit into 108 bytes)."""
    return tempfile.mkdtemp(prefix="weir-")
