# SPDX-License-Identifier: Apache-2.0
"""A short run of the chaos load. A failure prints its seed: chaos.py --seed N runs it again."""
import os
import random
import re
import subprocess
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))

import chaos  # noqa: E402
import harness  # noqa: E402

SEED = int(os.environ.get("CHAOS_SEED", random.SystemRandom().randrange(1 << 32)))
PHASES = 4  # usual, usual, usual, a long stop
REQUESTS = 5000 if not harness.sanitizer() else 600  # a phase


def test_no_idempotent_request_is_lost_and_every_error_is_explained():
    print(f"seed {SEED}")

    def weir_of(text, tmp):
        return harness.Weir(text, tmp, workers=2)

    with chaos.Chaos(weir_of, SEED, phases=PHASES, phase_requests=REQUESTS) as run:
        story = run.run()
        findings = chaos.judge(run, story)
        run.weir.stop()
    assert chaos.verdict("chaos", SEED, findings) == 0, f"seed {SEED}, the first: {findings[0]}"
    # It was no idle run: requests met faults, and were saved.
    assert sum(1 for e in story.log if e["trail"] and e["status"] == 200) > 0
    assert story.metric("weir_attempts_failed_total", reason="response_head_timeout") > 0


def test_make_chaos_starts_and_judges():
    """The program around it, which nothing else here runs."""
    program = Path(__file__).parent / "chaos.py"
    done = subprocess.run([sys.executable, program, "--seconds", "1", "--seed", "1"], text=True,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=120)
    assert done.returncode == 0 and "chaos: ok" in done.stdout, done.stdout


IMPATIENT = """
import sys, chaos, play

def at_rest(self, what, *more, usual=play.Play.at_rest, patience=play.REST_S):
    play.REST_S = 0.1 if what == "open files" else patience
    usual(self, what, *more)

play.Play.at_rest = at_rest
chaos.Chaos.quiet_fds = lambda self: 5
sys.exit(chaos.main())
"""


def test_what_is_not_back_at_rest_is_a_finding_in_words():
    """Not a traceback: who runs it for hours wants to know what, not where in chaos.py."""
    done = subprocess.run([sys.executable, "-c", IMPATIENT, "--seconds", "1", "--seed", "1"],
                          cwd=Path(__file__).parent, text=True, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, timeout=120)
    assert done.returncode == 1 and "Traceback" not in done.stdout, done.stdout
    words = re.search(r"FINDING at rest weir has (\d+) open files, not 5\n", done.stdout)
    assert words and int(words[1]) > 5, done.stdout
    assert done.stdout.endswith("chaos: FAILED, 1 finding; again: --seed 1\n"), done.stdout


def test_a_ledger_has_what_was_read(tmp_path):
    """The witness itself: hello's --ledger, across a SIGKILL."""
    from backend import Backend
    from peers import Client, wait_for

    b = Backend("b0", tmp_path)
    try:
        for turn in range(2):
            b.start("--fault-reset", "before-head")
            wait_for(b.up, "hello to listen")
            with Client(b.address) as c:
                c.send(f"POST /sink?{turn} HTTP/1.1\r\nHost: a\r\nX-Request-Id: r{turn}\r\n")
                c.send("Content-Length: 3\r\n\r\nabc")
                c.expect_ended()
            b.kill()
        assert b.ledger() == [("POST", "/sink?0", "r0"), ("POST", "/sink?1", "r1")]
    finally:
        b.close()
