# SPDX-License-Identifier: Apache-2.0
"""What chaos.py and soak.py begin and end with: some backends with weir before them, and a verdict."""
import shutil
from contextlib import contextmanager
from pathlib import Path

import harness
from backend import Backend
from peers import wait_for


class Stage:
    """Backends and weir in a folder of their own, a crowd of clients if there is one. A context
    manager that ends them all."""

    def __init__(self, backends, weir_of, **how):
        """So many backends, each made with **how; weir_of(stage) is weir. If any of it fails,
        nothing stays behind."""
        self.crowd = self.weir = None
        self.tmp = Path(harness.new_tmp())
        self.backends = [Backend(f"b{i}", self.tmp, **how) for i in range(backends)]
        try:
            self.start_backends()
            self.weir = weir_of(self)
        except BaseException:
            Stage.close(self)
            raise

    def start_backends(self):
        for b in self.backends:
            b.start()
        for b in self.backends:
            wait_for(b.up, f"{b.name} to listen", 20)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        if self.crowd:
            self.crowd.close()
        for b in self.backends:
            b.close()
        if self.weir:
            self.weir.kill()
        shutil.rmtree(self.tmp, ignore_errors=True)


@contextmanager
def told(findings):
    """What does not hold inside is a finding, in the words of the assertion. One without words is a
    mistake of these programs, and stays what it is."""
    try:
        yield
    except AssertionError as e:
        if not str(e):
            raise
        findings.append(str(e))


def verdict(program, seed, findings):
    """Prints the last lines; returns the exit status."""
    for text in findings[:20]:
        print("FINDING", text)
    if len(findings) > 20:
        print(f"... and {len(findings) - 20} more")
    n = f"{len(findings)} finding{'s' if len(findings) > 1 else ''}"
    print(f"{program}: " + (f"FAILED, {n}; again: --seed {seed}" if findings else "ok"))
    return 1 if findings else 0
