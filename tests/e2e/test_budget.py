# SPDX-License-Identifier: Apache-2.0
"""bench/budget.py as a judge: what it fails, and with which words. Nothing is measured here."""
import subprocess
import sys
from pathlib import Path

import pytest

BENCH = Path(__file__).resolve().parents[2] / "bench"
sys.path.insert(0, str(BENCH))

import budget  # noqa: E402
import budget_figures  # noqa: E402
from budget_figures import Figure  # noqa: E402

ROWS = """\
built_with: gcc 12 -O2 x86_64
figures:
  # why
  calls.reads: { measured: 2, limit: 2 }

  instructions.get: { measured: 1000, tolerance: 3% } # a word
  bytes.conn: { measured: 224, tolerance: 8 }
"""
KNOWN = {"calls.reads", "instructions.get", "bytes.conn"}
GOOD = {
    "calls.reads": Figure(2, {"read": 2}),
    "instructions.get": Figure(1000, {"parse": 600, "write": 400}),
    "bytes.conn": Figure(224, {}),
}
PROFILE = {"instructions.get": {"parse": 600, "write": 400}}


def judged(same_build=True, rows=ROWS, wanted=None, **changed):
    """The verdicts on GOOD with some figures changed, by name; '__' stands for a dot."""
    figures = {**GOOD, **{name.replace("__", "."): f for name, f in changed.items()}}
    figures = {name: f for name, f in figures.items() if f}
    read = budget.read_rows(rows, "budget.yaml", KNOWN | set(wanted or ()))[1]
    verdicts = budget.judge(read, figures, PROFILE, same_build, sorted(wanted or KNOWN))
    return {v.name: v for v in verdicts}


def failed(verdicts):
    return [v.name for v in verdicts.values() if v.failed]


def test_what_is_within_its_limit_passes():
    verdicts = judged()
    assert not failed(verdicts) and not any(v.words for v in verdicts.values())


def test_one_more_than_a_promise_fails():
    assert failed(judged(calls__reads=Figure(2.01, {"read": 2.01}))) == ["calls.reads"]


def test_the_tolerance_is_in_per_cent_or_absolute():
    assert not failed(judged(instructions__get=Figure(1030, {}), bytes__conn=Figure(232, {})))
    assert failed(judged(instructions__get=Figure(1031, {}))) == ["instructions.get"]
    assert failed(judged(bytes__conn=Figure(233, {}))) == ["bytes.conn"]


def test_what_is_over_is_said_with_what_moved_and_the_most_first():
    parts = {"parse": 610, "write": 400, "sneaky": 90}
    verdict = judged(instructions__get=Figure(1100, parts))["instructions.get"]
    assert "instructions.get is 1,100, over its limit of 1,030 by 70" in verdict.words
    assert "budget.yaml:6" in verdict.words
    lines = [line.split() for line in verdict.words.splitlines()[1:]]
    assert lines == [["+90", "0", "->", "90", "sneaky"], ["+10", "600", "->", "610", "parse"]]


def test_what_moved_has_ten_parts_at_most():
    parts = {f"f{i}": 10 + i for i in range(30)}
    lines = budget.what_moved(Figure(735, parts), {}).splitlines()
    assert lines[0].endswith("f29") and len(lines) == 11 and "20 smaller" in lines[10]


def test_a_figure_that_was_not_measured_fails():
    assert failed(judged(bytes__conn=None)) == ["bytes.conn"]


def test_a_figure_without_a_row_fails():
    verdicts = judged(wanted=KNOWN | {"bytes.new"}, bytes__new=Figure(1, {}))
    assert failed(verdicts) == ["bytes.new"] and "has no row" in verdicts["bytes.new"].words


def test_far_below_is_an_invitation_and_no_failure():
    verdict = judged(instructions__get=Figure(960, {}))["instructions.get"]
    assert not verdict.failed and "Tighten: make budget-update" in verdict.words
    assert not judged(instructions__get=Figure(975, {}))["instructions.get"].words


def test_another_compiler_s_instructions_are_not_judged_and_all_else_is():
    worse = {"instructions__get": Figure(5000, {}), "calls__reads": Figure(3, {})}
    verdicts = judged(same_build=False, **worse)
    assert failed(verdicts) == ["calls.reads"]
    assert verdicts["instructions.get"].state == budget.REPORTED


@pytest.mark.parametrize(
    "before,after,where",
    [
        ("bytes.conn", "bytes.com", "budget.yaml:7: nothing measures 'bytes.com'"),
        ("bytes.conn", "calls.reads", "budget.yaml:7: calls.reads stands here twice"),
        ("limit: 2", "limits: 2", "budget.yaml:4: unknown key 'limits'"),
        ("measured: 224, ", "", "budget.yaml:7: has no 'measured'"),
        (", limit: 2", "", "budget.yaml:4: calls.reads needs one of"),
        ("limit: 2", "limit: 2, tolerance: 1", "budget.yaml:4: calls.reads needs one of"),
        ("tolerance: 3%", "tolerance: three", "budget.yaml:6: 'three' is not a number"),
        ("built_with:", "builtwith:", "budget.yaml:1: unknown key 'builtwith'"),
        ("calls.reads: { measured: 2, limit: 2 }", "calls.reads: 2", "budget.yaml:4: a mapping"),
    ],
)
def test_a_mistake_in_a_row_is_told_with_its_line(before, after, where):
    assert before in ROWS
    with pytest.raises(budget.BudgetError) as e:
        budget.read_rows(ROWS.replace(before, after), "budget.yaml", KNOWN)
    assert str(e.value).startswith(where)


def test_an_update_changes_the_measured_numbers_and_not_another_byte():
    rows = budget.read_rows(ROWS, "budget.yaml", KNOWN)[1]
    figures = {"instructions.get": Figure(987.6, {}), "bytes.conn": Figure(12345.6, {})}
    expected = ROWS.replace("measured: 1000,", "measured: 987.6,").replace(": 224,", ": 12346,")
    assert budget.rewrite(ROWS, rows, figures) == expected


def test_the_results_file_tells_what_failed(tmp_path):
    verdicts = judged(calls__reads=Figure(3, {"read": 3}))
    budget.write_results(tmp_path / "out.xml", verdicts.values())
    text = (tmp_path / "out.xml").read_text()
    assert text.count("<testcase") == 3 and text.count("<failure") == 1
    assert "calls.reads is 3, over its limit of 2 by 1" in text


def test_the_rows_of_the_repository_are_those_of_the_figures():
    every, derived = budget_figures.measurements(), budget_figures.derived()
    names = [n for m in every for n in m.names] + [d.name for d in derived]
    rows = budget.read_rows(budget.ROWS.read_text(), "budget.yaml", set(names))[1]
    assert sorted(rows) == sorted(names)
    assert not [r.name for r in rows.values() if r.measured > r.limit]


def test_a_growth_is_in_per_cent_and_its_parts_say_what_grew():
    figures = {"a": Figure(110, {"f": 60, "g": 50}), "b": Figure(100, {"f": 50, "g": 50})}
    growth = budget_figures.difference("growth", "a", "b", "b").derive(figures)
    assert growth.value == pytest.approx(10) and growth.parts == {"f": 10, "g": 0}


STRUCTS = """\
struct inner { char c[24]; };
struct outer { char tag; long number; struct inner in; unsigned bit : 1; } outer;
"""


def test_a_structure_s_size_and_members_are_read_from_debugging_information(tmp_path):
    (tmp_path / "s.c").write_text(STRUCTS)
    subprocess.run(["cc", "-g", "-c", "-o", tmp_path / "s.o", tmp_path / "s.c"], check=True)
    dump = subprocess.run(
        ["readelf", "-W", "--debug-dump=info", tmp_path / "s.o"], check=True, capture_output=True
    )
    found = budget_figures.read_structs(dump.stdout.decode(), {"outer"})
    assert set(found) == {"outer"} and found["outer"].value == 48
    parts = found["outer"].parts
    assert (parts["tag"], parts["number"], parts["in"]) == (8, 8, 24)
    assert sum(parts.values()) == 48


CALLGRIND = """\
events: Ir
ob=(1) /usr/lib/libfirst.so
fl=(1) a.c
fn=(1) main
1 10
cob=(2) /usr/lib/libother.so.1
cfn=(2) 0x0000000000003af0
calls=2 7
2 300
fn=(2)
7 300
fn=(3) 0x0000000000000010'2
8 5
totals: 315
"""


def test_callgrind_s_counts_are_summed_by_function_and_checked(tmp_path):
    out = tmp_path / "callgrind.out.1"
    out.write_text(CALLGRIND)
    costs = budget_figures.instructions.read_costs(out)
    assert costs == {"main": 10, "libother.so.1+0x3af0": 300, "libfirst.so+0x10'2": 5}
    out.write_text(CALLGRIND.replace("totals: 315", "totals: 316"))
    with pytest.raises(ValueError, match="sum is 315, not 316"):
        budget_figures.instructions.read_costs(out)
