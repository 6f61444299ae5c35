# SPDX-License-Identifier: Apache-2.0
"""What a running weir does, counted from outside: its system calls with strace, its calls of the
allocator with a preload. For the tests, and for bench/budget.py."""
import mmap
import re
import signal
import struct
import subprocess
from collections import Counter
from contextlib import contextmanager
from pathlib import Path

import harness
from peers import wait_for

READS = ("read", "readv", "recvfrom", "recvmsg")
WRITES = ("write", "writev", "sendto", "sendmsg")
WAITS = ("epoll_wait", "epoll_pwait", "epoll_pwait2")
CPU_BASE = 0.02  # seconds of CPU time that a few frames and their conn may cost


@contextmanager
def costs(weir, kib):
    """What happens inside costs weir at most so much memory, and of CPU time the seconds in the list
    that this gives, to which a test adds. Sanitizers and faults have prices of their own."""
    rss, cpu, bound = weir.rss(), weir.cpu(), [CPU_BASE]
    yield bound
    if harness.sanitizer() or harness.FAULTS:
        return
    more, spent = weir.rss() - rss, weir.cpu() - cpu
    assert more < kib, f"{more} KiB"
    assert spent < sum(bound), f"{spent:.3f} s of CPU time, not {sum(bound):.3f}"


def threads(pid):
    return sorted(int(p.name) for p in Path(f"/proc/{pid}/task").iterdir())


class Strace:
    """strace attached to every thread of a running weir."""

    def __init__(self, pid, out):
        self.out, self.log = Path(out), Path(str(out) + ".log")
        with open(self.log, "wb") as log:
            self.proc = subprocess.Popen(
                ["strace", "-f", "-qqq", "-o", str(out), "-p", str(pid)],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=log,
            )
        running = threads(pid)
        try:
            wait_for(
                lambda: self.proc.poll() is not None or all(self._traced(pid, t) for t in running),
                "strace to attach",
            )
            assert self.proc.poll() is None, f"strace can't attach: {self.log.read_text()}"
        except BaseException:
            self.proc.kill()
            self.proc.wait()
            raise

    def _traced(self, pid, thread):
        status = Path(f"/proc/{pid}/task/{thread}/status").read_text()
        return f"TracerPid:\t{self.proc.pid}\n" in status

    def stop(self):
        """Detaches: the names of the system calls that the worker began, and their raw text. The
        worker is the thread that read the most; the log's own thread is not on a request's path."""
        self.proc.send_signal(signal.SIGINT)
        self.proc.wait(10)
        text = self.out.read_text(errors="replace")
        began = re.findall(r"^(\d+) +([a-z_0-9]+)\(", text, re.M)
        worker = Counter(t for t, n in began if n in READS + ("splice",)).most_common(1)[0][0]
        lines = [line for line in text.splitlines() if line.startswith(worker)]
        return Counter(name for t, name in began if t == worker), "\n".join(lines)


def build_preload(folder):
    """malloc_count.c as a library to preload."""
    out = Path(folder) / "malloc_count.so"
    source = Path(__file__).parent / "malloc_count.c"
    flags = ["-O2", "-Wall", "-shared", "-fPIC", "-fno-builtin"]
    subprocess.run(["cc", *flags, "-o", str(out), str(source)], check=True)
    return out


class Allocations:
    """The counters that the preload maps: (allocations, frees) so far."""

    def __init__(self, path):
        path.write_bytes(bytes(16))
        self.env = {"MALLOC_COUNT_FILE": str(path)}
        with open(path, "r+b") as f:
            self.map = mmap.mmap(f.fileno(), 16)

    def read(self):
        return struct.unpack("QQ", self.map[:16])
