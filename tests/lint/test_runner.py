# SPDX-License-Identifier: Apache-2.0
"""scripts/test.py counts what happened, whatever a test program says about itself: in a tree whose
test programs are shell scripts."""
import shutil
import subprocess
import time
from pathlib import Path

import pytest

RUNNER = Path(__file__).resolve().parents[2] / "scripts" / "test.py"

# "Compiles" a script by copying it.
MAKEFILE = """
OUT := $(BUILD)$(if $(filter release,$(MODE)),,/$(MODE))
$(OUT)/tests/%: tests/unit/%.c
\t@mkdir -p $(@D) && ! grep -q SYNTAX $< && install -m 755 $< $@
"""

RESULTS = """#!/bin/sh
cat >"$(echo "$CMOCKA_XML_FILE" | sed s/%g/group/)" <<X
<testsuites><testsuite name="group">{cases}</testsuite></testsuites>
X
exit {status}
"""
OK = '<testcase name="a"/>'
BAD = '<testcase name="b"><failure>1 != 2</failure></testcase>'
SKIPPED = '<testcase name="c"><skipped/></testcase>'


def results(*cases, status=0):
    return RESULTS.format(cases="".join(cases), status=status)


@pytest.fixture
def run(tmp_path):
    """run(name=script...): the runner over these unit tests. -> (status, closing line, output)"""
    def go(*arguments, **programs):
        (tmp_path / "scripts").mkdir()
        (tmp_path / "tests" / "unit").mkdir(parents=True)
        shutil.copy(RUNNER, tmp_path / "scripts")
        (tmp_path / "Makefile").write_text(MAKEFILE)
        for name, text in programs.items():
            (tmp_path / "tests" / "unit" / f"test_{name}.c").write_text(text)
        done = subprocess.run(
            ["/usr/bin/python3", str(tmp_path / "scripts" / "test.py"), "--only", "unit", "--modes",
             "release", *arguments], capture_output=True, text=True, timeout=300)
        return done.returncode, done.stdout.splitlines()[-1], done.stdout
    return go


def test_results_of_all_programs_are_added_up(run):
    status, closing, _ = run(one=results(OK, OK), two=results(OK))
    assert (status, closing) == (0, "3 passed, 0 failed")


def test_skipped_tests_are_counted_apart(run):
    status, closing, output = run(one=results(OK, SKIPPED))
    assert (status, closing) == (0, "1 passed, 0 failed")
    assert "test: 1 skipped" in output


def test_a_failure_is_named_with_its_words(run):
    status, closing, output = run(one=results(OK, BAD, status=1))
    assert (status, closing) == (1, "1 passed, 1 failed")
    assert "1 != 2" in output and "FAILED release unit one: b" in output


def test_every_mode_is_counted(run):
    status, closing, _ = run("--modes", "release,asan,tsan", one=results(OK))
    assert (status, closing) == (0, "3 passed, 0 failed")


@pytest.mark.parametrize("script, words", [
    ("#!/bin/sh\nkill -SEGV $$\n", "killed by SIGSEGV"),
    (results(OK, OK).replace("exit 0", "kill -ABRT $$"), "killed by SIGABRT"),
    (results(OK, status=77), "exit status 77"),
    (results(), "ran no test"),
    ("#!/bin/sh\nexit 0\n", "ran no test"),
    (results("<testcase"), "unreadable results"),
    ("SYNTAX", "exit status 2"),
], ids=["crash", "crash after its results", "unexplained status", "empty results", "no results",
        "broken results", "does not build"])
def test_a_program_that_ends_oddly_has_failed(run, script, words):
    status, closing, output = run(one=script)
    assert status == 1
    assert closing.endswith(" passed, 1 failed")
    assert words in output


def test_a_tree_without_tests_has_failed(run):
    status, closing, _ = run()
    assert (status, closing) == (1, "0 passed, 1 failed")


def test_a_name_that_is_no_test_has_failed(run):
    status, closing, output = run("two", one=results(OK))
    assert (status, closing) == (1, "0 passed, 1 failed")
    assert "no test two" in output


def test_what_a_program_leaves_running_is_ended(run, tmp_path):
    left = tmp_path / "left"
    script = results(OK).replace("exit 0", f"sleep 300 </dev/null >/dev/null 2>&1 &\necho $! >{left}\nexit 0")
    status, _, _ = run(one=script)
    assert status == 0
    stat = Path("/proc", left.read_text().strip(), "stat")

    def ended():
        try:
            return stat.read_text().rpartition(")")[2].split()[0] == "Z"  # nobody has collected it
        except (FileNotFoundError, ProcessLookupError):
            return True

    until = time.monotonic() + 60   # it was killed, and dies when it gets a processor
    while not ended():
        assert time.monotonic() < until
        time.sleep(0.01)
