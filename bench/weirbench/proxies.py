# SPDX-License-Identifier: Apache-2.0
"""The programs that are measured and the backend behind them: how each is started, what each can.

A class is one program. `can` is the one place that says which workloads it is able to do; a
scenario that needs more leaves it out by name.
"""
import contextlib
import ctypes
import errno
import json
import os
import pwd
import re
import resource
import shutil
import subprocess
from pathlib import Path

from .process import BUILD, HERE, BenchError, Server
from .setup import render

WORKERS = 1  # of every proxy: one worker against one worker
IO_URING_SETUP = 425  # the same number on every architecture
# Mozilla's intermediate list in its own order, as weir has it: what is chosen is the same for all.
CIPHERS = ("ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-RSA-AES128-GCM-SHA256:"
           "ECDHE-ECDSA-AES256-GCM-SHA384:ECDHE-RSA-AES256-GCM-SHA384:"
           "ECDHE-ECDSA-CHACHA20-POLY1305:ECDHE-RSA-CHACHA20-POLY1305")
SUITES = "TLS_AES_128_GCM_SHA256:TLS_AES_256_GCM_SHA384:TLS_CHACHA20_POLY1305_SHA256"
KEEPALIVE = 1024  # idle upstream conns that a proxy may keep, where it wants to be told

# What a scenario may need of a proxy.
NEEDS = ("routes", "endpoints", "websocket", "tls", "tls-upstream", "h2", "h2-upstream", "grpc")


def find_program(path):
    """An absolute path, or a name to look for on PATH and in the folders of daemons."""
    if os.sep in str(path):
        return Path(path) if Path(path).exists() else None
    found = shutil.which(path, path=os.environ.get("PATH", "") + ":/usr/local/sbin:/usr/sbin")
    return Path(found) if found else None


def shown(path):
    """A path as it is called from the root of the tree."""
    path = Path(path)
    return str(path.relative_to(HERE.parent) if path.is_relative_to(HERE.parent) else path)


class Proxy(Server):
    """What forwards. `why` stands under the results, for what a reader must know about it."""

    program = ""
    can = frozenset()
    why = ""
    version_args = ("-v",)

    @classmethod
    def path(cls):
        return find_program(cls.program)

    @classmethod
    def missing(cls):
        """Why it can't run here, or None."""
        if cls.path():
            return None
        if os.sep in str(cls.program):
            return f"{shown(cls.program)} does not exist"
        return "not installed"

    @classmethod
    def version(cls):
        done = subprocess.run([cls.path(), *cls.version_args], stdout=subprocess.PIPE, text=True,
                              stderr=subprocess.STDOUT, timeout=30, errors="replace", check=False)
        found = re.search(r"\d+\.\d+(\.\d+)?\S*", done.stdout)
        return found[0] if found else "unknown"


class Floor(Proxy):
    name = "floor"
    program = BUILD / "floor"
    can = frozenset({"websocket"})  # it forwards whatever bytes come, to one backend
    why = "forwards bytes on epoll and parses nothing; one upstream connection a client connection"

    def command(self, setup):
        return [self.path(), "--listen", self.reserve_port(), "--to", setup.backend]

    @classmethod
    def version(cls):
        return "of this tree"


class FloorUring(Floor):
    name = "floor-uring"
    program = BUILD / "floor-uring"
    why = "the same on io_uring"

    @classmethod
    def missing(cls):
        """Its kernel interface may be switched off even where the program was built."""
        return super().missing() or io_uring_missing()


def io_uring_missing():
    """Asks the kernel for a ring of no entries: a kernel that has rings finds that invalid."""
    libc = ctypes.CDLL(None, use_errno=True)
    libc.syscall(ctypes.c_long(IO_URING_SETUP), ctypes.c_long(0), None)
    error = ctypes.get_errno()
    if error in (errno.ENOSYS, errno.EPERM, errno.EACCES):
        return f"no io_uring here: {os.strerror(error)}"
    return None


class Templated(Proxy):
    """A proxy that is run from a template in rivals/ (or one of the caller's)."""

    template = ""

    def __init__(self, folder, cpus=None, wrap=(), template=None):
        super().__init__(folder, cpus, wrap)
        self.template = Path(template) if template else HERE / "rivals" / self.template

    def values(self, setup):
        files = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
        listen = self.address or "127.0.0.1:0"
        values = {"LISTEN": listen, "PORT": listen.rsplit(":", 1)[1], "DIR": self.folder,
                  "BACKEND": setup.backend, "WORKERS": WORKERS, "FILES": files,
                  "CONNECTIONS": files // 2 - 64, "ALL_CONNECTIONS": files - 64,
                  "KEEPALIVE": KEEPALIVE, "USER": pwd.getpwuid(os.getuid()).pw_name,
                  "CIPHERS": CIPHERS, "SUITES": SUITES}
        values["HOST"], _, values["BACKEND_PORT"] = setup.backend.rpartition(":")
        values.update(zip(("CERT", "KEY", "BOTH"), setup.pair))
        return values

    def write_config(self, setup, template=None):
        template = template or self.template
        config = self.folder / template.name
        config.write_text(render(template.read_text(), setup, self.values(setup)))
        return config


class Weir(Templated):
    name = "weir"
    program = BUILD / "weir"
    template = "weir.yaml"
    can = frozenset(NEEDS)
    version_args = ("--version",)

    def command(self, setup):
        return [self.path(), "run", "-c", self.write_config(setup), "--ready-file",
                self.ready_file()]

    def find_address(self):
        with contextlib.suppress(FileNotFoundError):
            self.address = json.loads(self.ready_file().read_text())["listeners"]["web"]


class Rival(Templated):
    """A packaged proxy."""


class Nginx(Rival):
    name = "nginx"
    program = "nginx"
    template = "nginx.conf"
    can = frozenset(NEEDS) - {"h2-upstream"}  # only for gRPC

    def command(self, setup):
        self.reserve_port()
        return [self.path(), "-e", "stderr", "-p", self.folder, "-c", self.write_config(setup)]


class Haproxy(Rival):
    name = "haproxy"
    program = "haproxy"
    template = "haproxy.cfg"
    can = frozenset(NEEDS)

    def command(self, setup):
        self.reserve_port()
        (self.folder / "routes.map").write_text(
            "".join(f"{path}/ app\n" for path in setup.route_list()))
        return [self.path(), "-db", "-f", self.write_config(setup)]


class Caddy(Rival):
    name = "caddy"
    program = "caddy"
    template = "Caddyfile"
    can = frozenset(NEEDS)
    version_args = ("version",)

    def environment(self):
        home = str(self.folder)
        return {"GOMAXPROCS": str(WORKERS), "HOME": home, "XDG_DATA_HOME": home,
                "XDG_CONFIG_HOME": home}

    def command(self, setup):
        self.reserve_port()
        return [self.path(), "run", "--adapter", "caddyfile", "--config",
                self.write_config(setup)]


class Lighttpd(Rival):
    name = "lighttpd"
    program = "lighttpd"
    template = "lighttpd.conf"
    can = frozenset({"websocket", "tls", "h2"})
    why = "opens an upstream connection for every request: it keeps none"

    def command(self, setup):
        self.reserve_port()
        return [self.path(), "-D", "-f", self.write_config(setup)]


class Envoy(Rival):
    name = "envoy"
    program = "envoy"
    template = "envoy.yaml"
    can = frozenset({"routes", "endpoints", "websocket", "tls", "h2"})
    why = "its configuration was written from documentation and is not tried"
    version_args = ("--version",)

    def command(self, setup):
        self.reserve_port()
        return [self.path(), "--concurrency", WORKERS, "--disable-hot-restart", "--log-level",
                "error", "-c", self.write_config(setup)]


class Traefik(Rival):
    name = "traefik"
    program = "traefik"
    template = "traefik.yaml"
    can = frozenset({"routes", "endpoints", "websocket", "tls", "h2"})
    why = "its configuration was written from documentation and is not tried"
    version_args = ("version",)

    def environment(self):
        return {"GOMAXPROCS": str(WORKERS)}

    def values(self, setup):
        return {**super().values(setup), "TLS_ROUTER": ", tls: {}" if setup.tls else ""}

    def command(self, setup):
        self.reserve_port()
        self.write_config(setup, HERE / "rivals" / "traefik-routes.yaml")
        return [self.path(), f"--configFile={self.write_config(setup)}"]


PROXIES = {c.name: c for c in
           (Floor, FloorUring, Weir, Nginx, Haproxy, Caddy, Lighttpd, Envoy, Traefik)}


def choose_proxies(only):
    """[(label, factory)] and [what is missing]. NAME:FILE runs NAME with another template.

    A factory has its class as `cls`.
    """
    chosen, missing = [], []
    for entry in only or PROXIES:
        name, _, template = entry.partition(":")
        if name not in PROXIES:
            raise BenchError(f"{name}: no such proxy; known are {', '.join(PROXIES)}")
        cls = PROXIES[name]
        if template and not issubclass(cls, Templated):
            raise BenchError(f"{entry}: only what has a template takes another")
        if reason := cls.missing():
            if only:
                raise BenchError(f"{name}: {reason}")
            missing.append(f"{name} ({reason})")
            continue
        extra = {"template": Path(template).resolve()} if template else {}
        label = f"{name}:{Path(template).stem}" if template else name
        chosen.append((label, factory(cls, extra)))
    return chosen, missing


def factory(cls, extra):
    def make(*args, **kwargs):
        return cls(*args, **kwargs, **extra)
    make.cls = cls
    return make


class Hello(Server):
    """The backend: must be faster than every proxy, or it is what is measured."""

    name = "hello"
    program = BUILD / "hello"
    listen = "127.0.0.1:0"

    def command(self, setup):
        return [self.program, "--listen", self.listen, "--ready-file", self.ready_file()]

    def find_address(self):
        with contextlib.suppress(FileNotFoundError):
            self.address = json.loads(self.ready_file().read_text())["listen"]


class HelloEverywhere(Hello):
    """hello on every address, for scenarios with many endpoints: all of 127.0.0.0/8 is one host,
    but a socket can't be bound to all of it alone. It can be reached from outside meanwhile."""

    listen = "0.0.0.0:0"

    def find_address(self):
        super().find_address()
        if self.address:
            self.address = "127.0.0.1:" + self.address.rsplit(":", 1)[1]


class HelloTls(Hello):
    """hello with the run's certificate."""

    def command(self, setup):
        cert, key, _ = setup.pair
        return [*super().command(setup), "--tls-cert", cert, "--tls-key", key]


@contextlib.contextmanager
def backend_address(given, folder, cpus=None):
    """host:port of the backend: the one that is given, or a hello of our own."""
    if given:
        yield given
        return
    if not Hello.program.exists():
        raise BenchError(f"{Hello.program} does not exist; run make, or say --backend HOST:PORT")
    with Hello(Path(folder) / "hello", cpus) as hello:
        yield hello.start().address
