# SPDX-License-Identifier: Apache-2.0
"""Other people's programs, and gRPC's library, as peers: curl, nghttp, nghttpd, h2load, openssl."""
import contextlib
import os
import pty
import queue
import select
import shutil
import socket
import subprocess
import termios
from concurrent import futures

import pytest

import peers
from peers import DEADLINE, wait_for


def needs(*names):
    """Skips where one of these programs is missing."""
    missing = [n for n in names if not find(n)]
    return pytest.mark.skipif(bool(missing), reason=f"not installed: {' '.join(missing)}")


def find(name):
    return shutil.which(name, path="/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin")


def run(name, *args, stdin=b"", status=0, within=DEADLINE):
    """Runs one to its end: its stdout, bytes; with status None the whole result."""
    done = subprocess.run(
        [find(name), *map(str, args)],
        input=stdin,
        capture_output=True,
        timeout=within * peers.SLOW,
        check=False,
    )
    if status is None:
        return done
    assert done.returncode == status, f"{name}: {done.returncode}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def curl(address, path="/", *args, name="a.example", ca=None, status=0):
    """What curl gets from this address, asked as http(s)://NAME: (body, its -w words)."""
    host, port = address.rsplit(":", 1)
    scheme = "https" if ca else "http"
    words = "\n%{http_version} %{response_code} %{ssl_verify_result} %{num_connects}"
    out = run(
        "curl",
        *("-sS", "--noproxy", "*", "--resolve", f"{name}:{port}:{host}", "-w", words),
        *(("--cacert", ca) if ca else ()),
        *args,
        f"{scheme}://{name}:{port}{path}",
        status=status,
    )
    body, _, said = out.rpartition(b"\n")
    return body, said.decode().split()


class Program:
    """A server that runs until close(); it listens on .port."""

    def __init__(self, command):
        self.guard = peers.hold(("127.0.0.1", 0))
        self.port = self.guard.getsockname()[1]
        self.address = f"127.0.0.1:{self.port}"
        self.proc = subprocess.Popen(
            command(self.port),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        try:
            wait_for(self._answers, f"{self.proc.args[0]} to listen")
        except BaseException:
            self.close()
            raise

    def _answers(self):
        assert self.proc.poll() is None, self.proc.stdout.read().decode()
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port)):
            return True

    def close(self):
        self.proc.kill()
        self.proc.wait()
        self.proc.stdout.close()
        self.guard.close()


def nghttpd(root, *options, pair=None):
    """nghttpd over the files of a directory; in clear text without a pair."""
    tls = [str(pair.key), str(pair.cert)] if pair else ["--no-tls"]
    return Program(
        lambda port: [find("nghttpd"), "-a", "127.0.0.1", "-d", str(root)]
        + [*options, *tls[: len(tls) if not pair else 0], str(port), *(tls if pair else [])]
    )


# ---- gRPC ---------------------------------------------------------------------------------------


@contextlib.contextmanager
def typist(name, *args):
    """Runs one that takes commands from a terminal, a line a read: typist(line) types one. False:
    the program is gone."""
    master, slave = pty.openpty()
    attributes = termios.tcgetattr(slave)
    attributes[3] &= ~termios.ECHO
    termios.tcsetattr(slave, termios.TCSANOW, attributes)
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    program = subprocess.Popen([find(name), *map(str, args)], stdin=slave, **quiet)
    os.close(slave)

    os.set_blocking(master, False)

    def type_line(line):
        try:
            os.write(master, line + b"\n")
        except BlockingIOError:  # it does not read, and may never again
            select.select([], [master], [], 0.01)
        except OSError:
            pass  # it is gone
        return program.poll() is None

    try:
        yield type_line
    finally:
        program.kill()
        program.wait()
        os.close(master)


class GrpcServer:
    """A grpcio server whose messages are plain bytes. Methods of /test.Echo:
    Unary (the same back), Client (all joined), Server (each byte by itself), Both (one by one),
    Fail (status 5 and trailers), Slow (waits for the deadline), Watch (takes one message and sends
    what is put into .events, until that is None)."""

    def __init__(self, pair=None):
        import grpc

        def fail(_request, context):
            context.set_trailing_metadata((("x-why", "it said so"),))
            context.abort(grpc.StatusCode.NOT_FOUND, "nothing here")

        def slow(_request, context):
            self.remaining.append(context.time_remaining())
            gone = futures.Future()
            context.add_callback(lambda: gone.set_result(None))
            gone.result(DEADLINE * peers.SLOW)
            self.cancelled.append(True)
            return b""

        def unary(request, context):
            self.metadata.append(dict(context.invocation_metadata()))
            context.set_trailing_metadata((("x-trailer", "t"), ("x-bin", b"\0\xff")))
            return request

        def watch(requests, _context):
            next(requests)
            yield from iter(self.events.get, None)

        make = grpc.unary_unary_rpc_method_handler
        rpc = {
            "Unary": make(unary),
            "Fail": make(fail),
            "Slow": make(slow),
            "Client": grpc.stream_unary_rpc_method_handler(lambda it, _: b"".join(it)),
            "Server": grpc.unary_stream_rpc_method_handler(
                lambda request, _: (request[i : i + 1] for i in range(len(request)))
            ),
            "Both": grpc.stream_stream_rpc_method_handler(lambda it, _: iter(it)),
            "Watch": grpc.stream_stream_rpc_method_handler(watch),
        }
        self.events = queue.SimpleQueue()
        self.remaining, self.cancelled, self.metadata = [], [], []
        self.server = grpc.server(futures.ThreadPoolExecutor(8))
        self.server.add_generic_rpc_handlers(
            (grpc.method_handlers_generic_handler("test.Echo", rpc),)
        )
        if pair:
            keys = [(pair.key.read_bytes(), pair.cert.read_bytes())]
            self.port = self.server.add_secure_port("127.0.0.1:0", grpc.ssl_server_credentials(keys))
        else:
            self.port = self.server.add_insecure_port("127.0.0.1:0")
        self.address = f"127.0.0.1:{self.port}"
        self.server.start()

    def close(self):
        self.events.put(None)
        self.server.stop(0).wait(DEADLINE * peers.SLOW)


class GrpcClient:
    """Calls /test.Echo through an address."""

    def __init__(self, address, ca=None, name="a.example"):
        import grpc

        options = [("grpc.enable_http_proxy", 0), ("grpc.use_local_subchannel_pool", 1)]
        if ca:
            trust = grpc.ssl_channel_credentials(ca.read_bytes())
            options.append(("grpc.ssl_target_name_override", name))
            self.channel = grpc.secure_channel(address, trust, options)
        else:
            self.channel = grpc.insecure_channel(address, options)
        self.close = self.channel.close

    def _call(self, kind, method, argument, **kw):
        kw.setdefault("timeout", DEADLINE * peers.SLOW)
        return getattr(self.channel, kind)(f"/test.Echo/{method}")(argument, **kw)

    def unary(self, message, method="Unary", **kw):
        """(answer, grpc.Call)"""
        kw.setdefault("timeout", DEADLINE * peers.SLOW)
        return self.channel.unary_unary(f"/test.Echo/{method}").with_call(message, **kw)

    def client_stream(self, messages, **kw):
        return self._call("stream_unary", "Client", iter(messages), **kw)

    def server_stream(self, message, **kw):
        return self._call("unary_stream", "Server", message, **kw)

    def both(self, messages, **kw):
        return self._call("stream_stream", "Both", messages, **kw)
