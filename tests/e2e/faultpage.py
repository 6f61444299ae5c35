# SPDX-License-Identifier: Apache-2.0
"""The page that tests/faults/faults.c maps: what struck how often, and the words that steer it."""
import mmap
import struct

PAGE_BYTES, NAMES_AT = 4096, 2048


class FaultPage:
    """page["mallocs"], page["off"] = 1: live, in a process that was started with page.env."""

    def __init__(self, path):
        self.env = {"WEIR_FAULTS_REPORT": str(path)}
        path.write_bytes(bytes(PAGE_BYTES))
        with open(path, "r+b") as f:
            self.map = mmap.mmap(f.fileno(), PAGE_BYTES)

    def _names(self):
        text = self.map[NAMES_AT:].split(b"\0")[0].decode()
        assert text, "no process has mapped the page: is the preload loaded?"
        return text.split(",")

    def __getitem__(self, name):
        return struct.unpack_from("Q", self.map, 8 * self._names().index(name))[0]

    def __setitem__(self, name, value):
        struct.pack_into("Q", self.map, 8 * self._names().index(name), value)
