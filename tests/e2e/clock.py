# SPDX-License-Identifier: Apache-2.0
"""A clock that a test moves on: what weir waits for for minutes happens at once.

    weir = start_weir(config, **clock.options)
    clock.on(31)                        # 31 s later
"""
import mmap
import struct
import subprocess
from pathlib import Path


def build(folder):
    """clock.c as a library to preload."""
    out = folder / "clock.so"
    flags = ["-O2", "-Wall", "-D_GNU_SOURCE", "-shared", "-fPIC"]
    source = Path(__file__).parent / "clock.c"
    subprocess.run(["cc", *flags, "-o", str(out), str(source), "-ldl"], check=True)
    return out


class Clock:
    def __init__(self, folder, preload):
        self.path = folder / "clock"
        self.path.write_bytes(bytes(8))
        self.file = open(self.path, "r+b")
        self.page = mmap.mmap(self.file.fileno(), 8)
        self.ms = 0
        self.options = {"preload": preload, "env": {"WEIR_CLOCK": str(self.path)}}

    def on(self, seconds):
        self.ms += int(seconds * 1000)
        self.page[:] = struct.pack("=q", self.ms)

    def close(self):
        self.page.close()
        self.file.close()
