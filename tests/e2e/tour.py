#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""docs/tour.md, walked: its commands typed into one shell, what they print compared with what stands
there, its pictures looked at, or taken:

    tests/e2e/tour.py       walks it on the ports that it names, and writes docs/tour-*.png
"""
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import suppress
from pathlib import Path

import browser
from harness import ROOT, WEIR
from peers import DEADLINE, SLOW, hold

PAGE = ROOT / "docs" / "tour.md"
PORTS = ("8000", "8081", "8082", "8083", "8093", "9900")
SIZE = (1280, 1000)
REST = 45  # seconds of load before a picture is taken, so that its plots show something
MARK = "---- done ----"
ID = r"\b[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[0-9a-f]{4}-[0-9a-f]{12}\b"
# What differs from one walk to the next; what stands for all of it is compared.
VARIES = (
    (ID, "ID"),
    (r"\d{4}-\d\d-\d\dT[\d:.]+Z", "TIME"),
    (r"Date: .*", "Date: THEN"),
    (r"\+\d+\.\d+ ms", "+N ms"),
    (r"(?<=\S) {2,}", "  "),
    (r"^ +\+N ms", "+N ms"),
    (r"from 127\.0\.0\.1:\d+", "from CLIENT"),
    (r"worker \d+", "worker N"),
    (r"after \d+\.\d+ s", "after N s"),
    (r"^ +\d+ 200$", "N 200"),
)


def steps(text):
    """-> ("sh", script), ("ask", command, what it prints) or ("see", phrases, file) in their order."""
    found = re.compile(r"^```(sh|console)\n(.*?)^```|^!\[([^\]]*)\]\(([^)]*)\)", re.M | re.S)
    for kind, block, alt, picture in found.findall(text):
        if kind == "sh":
            yield "sh", block
        elif kind == "console":
            for part in re.split(r"^\$ ", block, flags=re.M)[1:]:
                yield ("ask", *part.split("\n", 1))
        else:
            yield "see", re.findall("“([^”]*)”", alt), picture


def usual(text):
    for pattern, name in VARIES:
        text = re.sub(pattern, name, text, flags=re.M)
    return text


def alike(said, want):
    """Whether it is what stands there, in which `...` is for whatever is not shown."""
    lines = usual(want).splitlines()
    shown = ("(?:.*\n)*?" if s == "..." else re.escape(s).replace(r"\.\.\.", ".*") + "\n" for s in lines)
    return re.fullmatch("".join(shown), usual(said)) is not None


class Walk:
    """A shell in a folder, with the programs in its PATH, and other ports for those of the page."""

    def __init__(self, folder, programs, ports=None):
        self.folder, self.last_id = Path(folder), None
        self.guards = [hold(("127.0.0.1", 0)) for _ in PORTS] if ports is None else []
        ports = ports or [str(g.getsockname()[1]) for g in self.guards]
        self.ports = dict(zip(PORTS, ports))
        bin_ = self.folder / "bin"
        bin_.mkdir()
        for name, path in programs.items():
            (bin_ / name).symlink_to(Path(path).resolve())
        self.shell = subprocess.Popen(
            ["bash"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            cwd=self.folder,
            start_new_session=True,  # with all that is started in it
            env={
                **os.environ,
                "PATH": f"{bin_}:{os.environ['PATH']}",
                "WEIR_ADMIN": f"127.0.0.1:{self.ports['9900']}",
                "NO_PROXY": "*",
            },
        )

    def _here(self, text):
        """With this walk's ports, and its own request instead of that of the page."""
        text = re.sub(r"\b(%s)\b" % "|".join(PORTS), lambda m: self.ports[m[0]], text)
        return re.sub(ID, self.last_id, text) if self.last_id else text

    def type(self, command):
        """-> what it printed"""
        print(self._here(command), f"echo '{MARK}'", sep="\n", file=self.shell.stdin, flush=True)
        alarm = threading.Timer(2 * DEADLINE * SLOW, self.kill)
        alarm.start()
        lines = []
        for line in self.shell.stdout:
            if line == MARK + "\n":
                break
            lines.append(line)
        else:
            raise AssertionError(f"{command}: its shell has ended, or was; it said {lines}")
        alarm.cancel()
        return "".join(lines)

    def script(self, text):
        assert self.type(text) == ""
        for port in re.findall(r"(?:--listen|web:|admin: { listen:) 127\.0\.0\.1:(\d+)", text):
            self._await(int(self.ports[port]))

    def _await(self, port):
        end = time.monotonic() + DEADLINE * SLOW
        while True:
            with suppress(OSError), socket.create_connection(("127.0.0.1", port)):
                return
            assert time.monotonic() < end, f"nobody listens on port {port}"
            time.sleep(0.02)

    def ask(self, command, want):
        """A log, and the recorder, is read again until it says so: what it tells of is written behind
        the answer. Everything else has to be right at once."""
        end = time.monotonic() + 2 * DEADLINE * SLOW
        while not alike(said := self.type(command), self._here(want)):
            late = not command.startswith(("grep ", "weir why ")) or time.monotonic() > end
            assert not late, f"$ {command}\n{said}instead of\n{self._here(want)}"
            time.sleep(0.05)
        if ids := re.findall(ID, said):
            self.last_id = ids[-1]

    def look(self, eye, phrases):
        eye.size(*SIZE)
        eye.open(f"http://127.0.0.1:{self.ports['9900']}/")
        for phrase in map(self._here, phrases):
            eye.wait(f"document.body?.innerText.includes({phrase!r})", phrase)
        assert eye.complaints == []

    def kill(self):
        with suppress(ProcessLookupError):
            os.killpg(self.shell.pid, signal.SIGKILL)

    def close(self):
        self.kill()
        self.shell.communicate()
        for guard in self.guards:
            guard.close()


def go(walk, eye=None, seen=lambda picture: None):
    """All of it; with an eye (a browser) the pictures too, each shown to `seen`."""
    for kind, *what in steps(PAGE.read_text()):
        if kind == "sh":
            walk.script(*what)
        elif kind == "ask":
            walk.ask(*what)
        elif eye:
            walk.look(eye, what[0])
            seen(what[1])


def programs():
    folder = WEIR.parent
    return {
        "weir": WEIR,
        "hello": os.environ.get("HELLO", folder / "hello"),
        "world": os.environ.get("WORLD", folder / "world"),
    }


def main():
    with tempfile.TemporaryDirectory() as folder:
        walk, eye = Walk(folder, programs(), PORTS), browser.Browser(folder, SIZE)

        def take(picture):
            time.sleep(REST)
            eye.screenshot(PAGE.parent / picture)

        try:
            go(walk, eye, take)
        finally:
            eye.close()
            walk.close()


if __name__ == "__main__":
    sys.exit(main())
