# SPDX-License-Identifier: Apache-2.0
"""What README.md shows under "TLS, HTTP/2 and gRPC", as it stands there: its commands are run, its
configuration is weir's but for the ports, and each kind of client that it names is served: curl,
gRPC, WebSocket, a browser."""
import asyncio
import base64
import contextlib
import hashlib
import http
import os
import re
import shlex
import signal
import ssl
import subprocess
import threading
from concurrent import futures
from urllib.parse import parse_qs, urlsplit

import pytest

import harness
import peers
import tools
from authority import openssl
from peers import DEADLINE, wait_for

HELLO = os.environ.get("HELLO", str(harness.ROOT / "build" / "hello"))
PAGE = """<!doctype html><title>weir</title><script>
const socket = new WebSocket(`wss://${location.host}/socket`);
socket.onopen = () => socket.send('from a page');
socket.onmessage = (e) => fetch('/done?said=' + encodeURIComponent(e.data));
</script>"""


def section(title):
    """-> the shell blocks beneath a heading of README.md"""
    text = (harness.ROOT / "README.md").read_text().split(f"\n## {title}\n")[1]
    return re.findall(r"^```sh\n(.*?)^```", text.split("\n## ")[0], re.M | re.S)


def put(text, old, new):
    assert text.count(old) == 1, f"README.md: {old} is there {text.count(old)} times"
    return text.replace(old, new)


class Example:
    """Its folder, with what its commands have made there, and weir once it is started."""

    def __init__(self, folder, start_weir):
        self.folder, self.start_weir = folder, start_weir
        commands, self.curl = section("TLS, HTTP/2 and gRPC")
        commands, last = commands.rstrip().rsplit("\n", 1)
        assert last == "build/weir run -c tls.yaml"
        subprocess.run(["sh", "-ec", commands], cwd=folder, check=True, capture_output=True)
        self.cert = folder / "localhost.crt"

    def start(self, hello="127.0.0.1:1", greeter="127.0.0.1:1"):
        text = put((self.folder / "tls.yaml").read_text(), '":8443"', '"127.0.0.1:0"')
        text = put(text, "[127.0.0.1:8000]", f"['{hello}']")
        text = put(text, "[127.0.0.1:50051]", f"['{greeter}']")
        self.weir = self.start_weir(put(text, "localhost.crt", str(self.cert)))
        self.port = self.weir.listeners["web"].rpartition(":")[2]

    def seen(self):
        """(path, protocol, status) of each request in the access log."""
        log = self.weir.access_log(1)
        return {(e["path"].partition("?")[0], e["protocol"], e["status"]) for e in log}

    def context(self):
        return ssl.create_default_context(cafile=self.cert)


@pytest.fixture
def example(tmp_path, start_weir):
    return Example(tmp_path, start_weir)


@pytest.fixture
def hello(closing):
    """What `make run` has behind its port."""
    return closing(tools.Program(lambda port: [HELLO, "--listen", f"127.0.0.1:{port}"])).address


@pytest.mark.parametrize("how,version", [("--http2", "2"), ("--http1.1", "1.1")])
def test_curl(example, hello, how, version):
    example.start(hello=hello)
    name, *words = shlex.split(put(example.curl, ":8443/", f":{example.port}/"), comments=True)
    assert name == "curl" and words.count("--http2") == 1
    assert example.curl.endswith("# or --http1.1\n")
    words = [how if w == "--http2" else w for w in words]
    words = [str(example.cert) if w == "localhost.crt" else w for w in words]
    more = ["-sS", "--noproxy", "*", "-w", "\n%{http_version} %{http_code}"]
    out = tools.run("curl", *more, *words)
    assert out.endswith(f"\n{version} 200".encode()) and b"hello" in out.lower()


def test_each_curl_of_the_admin_listener(start_weir, auto):
    """What the page of registrations shows is tried by test_registry.py."""
    text = (harness.ROOT / "README.md").read_text()
    head, rest = text.split("### Endpoints that register themselves\n")
    shown = re.findall(r"curl [^`#,]*:9900/[^`#,\n]*", head + rest[rest.index("\n## ") :])
    assert [re.search(r":9900(/[a-z]+)", line)[1] for line in shown] == [
        "/pools", "/reload", "/drain", "/requests"]
    up = auto()
    weir = start_weir(f"routes: [ {{ match: {{ path: /shop }}, to: shop }} ]\n"
                      f"pools: {{ shop: {{ endpoints: ['{up.address}', '127.0.0.1:9'] }} }}\n"
                      "flight: { slow: 1ms }\n")
    with weir.logged() as logged, weir.client() as c:
        c.get("/nowhere")
    for line in shown:
        line = re.sub(r"(127\.0\.0\.1|localhost):9900", weir.admin, line)
        line = line.replace("10.0.0.2:8080", "127.0.0.1:9").replace("01a20770-...", logged[0]["id"])
        name, *words = shlex.split(line)
        out = tools.run(name, "-sS", "--noproxy", "*", "-w", "\n%{http_code}", *words)
        assert out.decode().splitlines()[-1] in ("200", "202"), (line, out)


def test_a_websocket_client(example, hello):
    import websockets

    example.start(hello=hello)

    async def talk():
        address = f"wss://localhost:{example.port}/hello"
        async with websockets.connect(address, ssl=example.context()) as c:
            for message in ("hello", b"\0" * 100000):
                await c.send(message)
                assert await c.recv() == message

    asyncio.run(asyncio.wait_for(talk(), DEADLINE * peers.SLOW))


@pytest.fixture
def greeter():
    """gRPC's helloworld.Greeter: its messages are one string, field 1 of either."""
    import grpc

    def greet(request, _context):
        text = b"Hello, " + request[2:]
        return b"\x0a%c" % len(text) + text

    server = grpc.server(futures.ThreadPoolExecutor(2))
    handlers = {"SayHello": grpc.unary_unary_rpc_method_handler(greet)}
    server.add_generic_rpc_handlers(
        (grpc.method_handlers_generic_handler("helloworld.Greeter", handlers),)
    )
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    yield f"127.0.0.1:{port}"
    server.stop(0).wait(DEADLINE * peers.SLOW)


def test_a_grpc_client(example, greeter):
    import grpc

    example.start(greeter=greeter)
    trust = grpc.ssl_channel_credentials(example.cert.read_bytes())
    options = [("grpc.enable_http_proxy", 0)]
    with grpc.secure_channel(f"localhost:{example.port}", trust, options) as channel:
        call = channel.unary_unary("/helloworld.Greeter/SayHello")
        assert call(b"\x0a\x04weir", timeout=DEADLINE * peers.SLOW) == b"\x0a\x0bHello, weir"
    assert example.seen() == {("/helloworld.Greeter/SayHello", "HTTP/2.0", 200)}


# ---- a browser ----------------------------------------------------------------------------------


class Site:
    """A page that opens a WebSocket and reports to /done what came back on it."""

    def __init__(self):
        self.said = []
        self.loop = asyncio.new_event_loop()
        self.thread = threading.Thread(target=self.loop.run_forever)
        self.thread.start()
        self.server = self._do(self._serve())
        self.address = "127.0.0.1:%d" % self.server.sockets[0].getsockname()[1]

    def _do(self, work):
        return asyncio.run_coroutine_threadsafe(work, self.loop).result(DEADLINE * peers.SLOW)

    async def _serve(self):
        import websockets

        async def echo(socket, _path=None):
            with contextlib.suppress(websockets.ConnectionClosed):
                async for message in socket:
                    await socket.send(message)

        async def answer(target, _fields):
            if target == "/socket":
                return None
            if target.startswith("/done"):
                self.said += parse_qs(urlsplit(target).query)["said"]
            return http.HTTPStatus.OK, [("Content-Type", "text/html")], PAGE.encode()

        return await websockets.serve(echo, "127.0.0.1", 0, process_request=answer)

    async def _end(self):
        self.server.close()
        await self.server.wait_closed()

    def close(self):
        self._do(self._end())
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join()
        self.loop.close()


class Browser:
    """Chromium without a window, which believes one certificate more: that with this key."""

    def __init__(self, folder, cert, url):
        public = openssl("x509", "-in", cert, "-noout", "-pubkey").decode()
        der = base64.b64decode("".join(public.splitlines()[1:-1]))
        pin = base64.b64encode(hashlib.sha256(der).digest()).decode()
        self.said = open(folder / "chromium.stderr", "wb")
        self.process = subprocess.Popen(
            [tools.find("chromium"), "--headless=new", "--no-sandbox", "--disable-gpu"]
            + ["--no-first-run", "--disable-dev-shm-usage", "--disable-background-networking"]
            + [f"--user-data-dir={folder / 'chromium'}", "--no-proxy-server"]
            + [f"--ignore-certificate-errors-spki-list={pin}", url],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=self.said,
            env={**os.environ, "HOME": str(folder)},
            start_new_session=True,  # it has many processes
        )

    def close(self):
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        self.said.close()


@tools.needs("chromium")
def test_a_browser(example, closing, tmp_path):
    """A page, its WebSocket and its fetch, all by HTTP/2."""
    site = closing(Site())
    example.start(hello=site.address)
    browser = Browser(tmp_path, example.cert, f"https://localhost:{example.port}/page")
    answered = {("/page", "HTTP/2.0", 200), ("/done", "HTTP/2.0", 200)}
    try:
        wait_for(lambda: site.said, "the page to report", 6 * DEADLINE)
        wait_for(lambda: answered <= example.seen(), f"{answered} in the log")
    finally:
        browser.close()
    assert site.said == ["from a page"]
    wait_for(lambda: ("/socket", "HTTP/2.0", 101) in example.seen(), "the WebSocket in the log")
