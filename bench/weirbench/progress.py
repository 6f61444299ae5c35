# SPDX-License-Identifier: Apache-2.0
"""How far a run is: a bar on a terminal, a line a sample elsewhere. Writes to standard error."""
import shutil
import sys
import time

BAR = 24


class Progress:
    """Counts in seconds of planned work, so that a long sample moves the bar further."""

    def __init__(self, planned, stream=None, clock=time.monotonic):
        self.planned, self.done = max(planned, 0.001), 0.0
        self.stream = stream or sys.stderr
        self.bar = self.stream.isatty()
        self.clock, self.began = clock, clock()

    def left(self):
        """Seconds to go, as far as what is done tells."""
        elapsed = self.clock() - self.began
        rest = max(0.0, self.planned - self.done)
        return rest * (elapsed / self.done if self.done else 1.0)

    def line(self, text):
        share = min(1.0, self.done / self.planned)
        minutes, seconds = divmod(int(self.left()), 60)
        if not self.bar:
            return f"[{share:4.0%}, {minutes}:{seconds:02} left] {text}"
        full = int(share * BAR)
        bar = "#" * full + "." * (BAR - full)
        return f"[{bar}] {share:4.0%} {minutes}:{seconds:02} left  {text}"

    def now(self, text):
        """What is being measured; seen on a terminal only."""
        if self.bar:
            self.write("\r\x1b[K" + self.line(text)[:shutil.get_terminal_size().columns - 1])

    def step(self, seconds, text):
        """A sample is done."""
        self.done += seconds
        if self.bar:
            self.now(text)
        else:
            self.write(self.line(text) + "\n")

    def skip(self, seconds):
        """A sample that won't be taken."""
        self.planned = max(0.001, self.planned - seconds)

    def say(self, text):
        """A line that stays."""
        self.write(("\r\x1b[K" if self.bar else "") + text + "\n")

    def end(self):
        if self.bar:
            self.write("\r\x1b[K")

    def write(self, text):
        self.stream.write(text)
        self.stream.flush()
