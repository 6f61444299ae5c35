# SPDX-License-Identifier: Apache-2.0
"""A headless Chromium, driven by its DevTools protocol: opens a page, looks, clicks."""
import base64
import fcntl
import json
import os
import select
import shutil
import signal
import subprocess
import time
from contextlib import suppress
from pathlib import Path

import pytest

from peers import SLOW

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
needs_chromium = pytest.mark.skipif(
    CHROMIUM is None, reason="the dashboard is looked at with chromium, which is not installed"
)
WITHIN = 30 * SLOW


class Browser:
    """One page. Whatever its console or its policy complains about is in self.complaints."""

    def __init__(self, tmp, size=(1280, 900)):
        self.complaints, self.last, self.session, self.rest = [], 0, None, b""
        theirs, self.to = os.pipe()
        self.answers, mine = os.pipe()
        fds = [fcntl.fcntl(fd, fcntl.F_DUPFD, 10) for fd in (theirs, mine)]

        def hand_over():  # the protocol's two pipes are descriptors 3 and 4
            os.dup2(fds[0], 3)
            os.dup2(fds[1], 4)

        self.proc = subprocess.Popen(
            [
                CHROMIUM,
                "--headless",
                "--no-sandbox",
                "--disable-gpu",
                "--disable-dev-shm-usage",
                "--no-first-run",
                "--disable-background-networking",
                "--disable-component-update",
                "--hide-scrollbars",
                f"--user-data-dir={Path(tmp) / 'chromium'}",
                f"--window-size={size[0]},{size[1]}",
                "--remote-debugging-pipe",
                "about:blank",
            ],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            preexec_fn=hand_over,
            pass_fds=(3, 4),
            start_new_session=True,
        )
        for fd in (theirs, mine, *fds):
            os.close(fd)
        try:
            self._attach()
        except BaseException:
            self.close()
            raise

    def _attach(self):
        targets = self.ask("Target.getTargets")["targetInfos"]
        page = next(t["targetId"] for t in targets if t["type"] == "page")
        self.session = self.ask("Target.attachToTarget", targetId=page, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log"):
            self.ask(domain + ".enable")

    def _receive(self):
        end = time.monotonic() + WITHIN
        while b"\0" not in self.rest:
            ready, _, _ = select.select([self.answers], [], [], max(0, end - time.monotonic()))
            assert ready, "chromium does not answer"
            more = os.read(self.answers, 1 << 16)
            assert more, "chromium has ended"
            self.rest += more
        message, _, self.rest = self.rest.partition(b"\0")
        return json.loads(message)

    def ask(self, method, **params):
        self.last += 1
        message = {"id": self.last, "method": method, "params": params}
        if self.session:
            message["sessionId"] = self.session
        os.write(self.to, json.dumps(message).encode() + b"\0")
        while True:
            got = self._receive()
            self._note(got)
            if got.get("id") == self.last:
                assert "error" not in got, got
                return got["result"]

    def _note(self, got):
        if got.get("method") == "Log.entryAdded":
            self.complaints.append(got["params"]["entry"]["text"])
        if got.get("method") == "Runtime.exceptionThrown":
            self.complaints.append(json.dumps(got["params"]["exceptionDetails"]))

    def open(self, url, dark=False):
        features = [{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}]
        self.ask("Emulation.setEmulatedMedia", features=features)
        self.ask("Page.navigate", url=url)

    def run(self, expression):
        """The value of an expression of JavaScript."""
        got = self.ask("Runtime.evaluate", expression=expression, returnByValue=True)
        assert "exceptionDetails" not in got, got
        return got["result"].get("value")

    def wait(self, expression, what=None):
        """Waits until it is true, and returns its value."""
        end = time.monotonic() + WITHIN
        while not (value := self.run(expression)):
            assert time.monotonic() < end, f"waited for {what or expression}"
            time.sleep(0.05)
        return value

    def screenshot(self, path):
        shot = self.ask("Page.captureScreenshot", format="png")
        Path(path).write_bytes(base64.b64decode(shot["data"]))

    def size(self, width, height):
        self.ask(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=False,
        )

    def close(self):
        """With all the processes that it has started."""
        os.close(self.to)
        os.close(self.answers)
        with suppress(ProcessLookupError):
            os.killpg(self.proc.pid, signal.SIGKILL)
        self.proc.wait()
