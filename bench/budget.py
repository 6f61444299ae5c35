#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""`make budget`: measures what budget.yaml has rows for, and fails if any of it got worse.

A figure is a count (system calls, allocations, instructions, bytes), so a busy machine changes
nothing. What is over its limit is said with what moved since `make budget-update` last wrote the
rows and budget-profile.json.
"""
import argparse
import concurrent.futures
import dataclasses
import json
import re
import signal
import sys
import traceback
import xml.etree.ElementTree as ET
from pathlib import Path

import yaml

HERE = Path(__file__).resolve().parent
ROWS, PROFILE = HERE / "budget.yaml", HERE / "budget-profile.json"
TIGHTEN = 0.97  # of what was measured: below this the row has become too generous
TOP = 10  # parts that moved the most
COMPILED = "instructions."  # figures that depend on the compiler
PROFILE_LEAST = 0.0005  # of a figure: smaller parts are not kept


class BudgetError(Exception):
    """Something is wrong with the rows; the text says where."""


# ---- rows ---------------------------------------------------------------------------------------

@dataclasses.dataclass
class Row:
    name: str
    where: str  # file:line
    measured: float
    limit: float  # the most that is allowed
    promised: bool  # the limit is written in the row; else it follows from measured
    span: tuple = ()  # where in the text the number after `measured:` stands


def number(node, where):
    try:
        return float(node.value)
    except (ValueError, TypeError):
        raise BudgetError(f"{where}: '{node.value}' is not a number") from None


def tolerated(node, measured, where):
    if m := re.fullmatch(r"(\d+(?:\.\d+)?)%", str(node.value)):
        return measured * (1 + float(m[1]) / 100)
    return measured + number(node, where)


def place(node, name):
    return f"{name}:{node.start_mark.line + 1}"


def mapping(node, name):
    """The pairs of a mapping; each key once."""
    if not isinstance(node, yaml.MappingNode):
        raise BudgetError(f"{place(node, name)}: a mapping is expected")
    pairs = {}
    for key, value in node.value:
        if key.value in pairs:
            raise BudgetError(f"{place(key, name)}: {key.value} stands here twice")
        pairs[key.value] = (key, value)
    return pairs


def check_keys(pairs, known, where, name):
    for key, (node, _) in pairs.items():
        if key not in known:
            raise BudgetError(f"{place(node, name)}: unknown key '{key}'; known are "
                              + ", ".join(known))
    missing = [k for k in known[:1] if k not in pairs]
    if missing:
        raise BudgetError(f"{where}: has no '{missing[0]}'")


def read_row(key, node, name):
    where = place(key, name)
    pairs = mapping(node, name)
    check_keys(pairs, ("measured", "tolerance", "limit"), where, name)
    measured_node = pairs["measured"][1]
    measured = number(measured_node, where)
    if ("limit" in pairs) == ("tolerance" in pairs):
        raise BudgetError(f"{where}: {key.value} needs one of 'tolerance' and 'limit'")
    promised = "limit" in pairs
    limit = (number(pairs["limit"][1], where) if promised
             else tolerated(pairs["tolerance"][1], measured, where))
    span = (measured_node.start_mark.index, measured_node.end_mark.index)
    return Row(key.value, where, measured, limit, promised, span)


def read_rows(text, name, known):
    """-> (what the figures of COMPILED were measured with, {name: Row}). known: the figures that
    there are; a row of any other name is an error."""
    try:
        root = yaml.compose(text)
    except yaml.YAMLError as e:
        raise BudgetError(f"{name}: {e}") from None
    if root is None:
        raise BudgetError(f"{name}: is empty")
    pairs = mapping(root, name)
    check_keys(pairs, ("built_with", "figures"), name, name)
    if "figures" not in pairs:
        raise BudgetError(f"{name}: has no 'figures'")
    rows = {}
    for figure, (key, node) in mapping(pairs["figures"][1], name).items():
        if figure not in known:
            raise BudgetError(f"{place(key, name)}: nothing measures '{figure}'")
        rows[figure] = read_row(key, node, name)
    return pairs["built_with"][1].value, rows


# ---- the judge ----------------------------------------------------------------------------------

OK, OVER, TIGHT, REPORTED = "ok", "OVER", "better", "not judged"


@dataclasses.dataclass
class Verdict:
    name: str
    state: str
    failed: bool
    words: str  # what to say below the table; '' if nothing


def show(value):
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:,.4g}"


def what_moved(figure, before, least=0.0):
    """The parts that changed the most. before: {part: amount}, as of the last update. Functions
    that were too small to be kept then count as nothing."""
    moved = {p: figure.parts.get(p, 0) - before.get(p, 0) for p in {*figure.parts, *before}}
    ranked = [p for p, d in moved.items() if abs(d) > max(least, 1e-9)]
    ranked.sort(key=lambda p: (-abs(moved[p]), p))
    lines = [f"  {moved[p]:>+12,.6g}   {show(before.get(p, 0))} -> {show(figure.parts.get(p, 0))}"
             f"   {p}" for p in ranked[:TOP]]
    if not lines:
        return "  nothing finer is known about it"
    left = len(ranked) - len(lines)
    return "\n".join(lines + ([f"  and {left} smaller ones"] if left > 0 else []))


def judge_one(row, figure, before, same_build):
    over = figure.value > row.limit * (1 + 1e-9)
    if row.name.startswith(COMPILED) and not row.promised and not same_build:
        return Verdict(row.name, REPORTED, False, "")
    if over:
        words = (f"{row.name} is {show(figure.value)}, over its limit of {show(row.limit)} by "
                 f"{show(figure.value - row.limit)} (it was {show(row.measured)}; {row.where}). "
                 f"What moved:\n{what_moved(figure, before, abs(figure.value) * PROFILE_LEAST)}")
        return Verdict(row.name, OVER, True, words)
    if figure.value < row.measured * TIGHTEN and not row.promised:
        return Verdict(row.name, TIGHT, False, f"{row.name} is {show(figure.value)}, it was "
                       f"{show(row.measured)}. Tighten: make budget-update")
    return Verdict(row.name, OK, False, "")


def judge(rows, figures, profile, same_build, wanted, name=ROWS.name):
    """-> a Verdict for each name that is wanted. A row without a figure has failed, and so has a
    figure without a row."""
    verdicts = []
    for figure in wanted:
        if figure not in rows:
            words = (f"{figure} has no row in {name}: give it one, "
                     "{ measured: 0, tolerance: 3% }, and make budget-update")
            verdicts.append(Verdict(figure, OVER, True, words))
        elif figure not in figures:
            verdicts.append(Verdict(figure, OVER, True, f"{figure} was not measured "
                                    f"({rows[figure].where})"))
        else:
            verdicts.append(judge_one(rows[figure], figures[figure], profile.get(figure, {}),
                                      same_build))
    return verdicts


# ---- measuring ----------------------------------------------------------------------------------

def measure(chosen, jobs):
    """-> ({name: Figure}, [what went wrong])"""
    figures, errors = {}, []
    pool = concurrent.futures.ThreadPoolExecutor(jobs)
    try:
        running = {pool.submit(m.run): m for m in chosen}
        for done in concurrent.futures.as_completed(running):
            if done.exception():
                text = "".join(traceback.format_exception(done.exception()))
                errors.append(f"{', '.join(running[done].names)}:\n{text}")
            else:
                figures.update(done.result())
    finally:
        pool.shutdown(cancel_futures=True)  # what runs ends its weir
    return figures, errors


def derive(derived, figures):
    for d in derived:
        if all(source in figures for source in d.sources):
            figures[d.name] = d.derive(figures)


def choose(measurements, derived, prefixes):
    """The measurements that the names which begin so need, and these names."""
    def picked(name):
        return not prefixes or name.startswith(tuple(prefixes))

    wanted = [n for m in measurements for n in m.names if picked(n)]
    wanted += [d.name for d in derived if picked(d.name)]
    sources = {s for d in derived if d.name in wanted for s in d.sources}
    if not wanted:
        raise BudgetError(f"nothing begins with {' or '.join(prefixes)}")
    return [m for m in measurements if any(n in wanted or n in sources for n in m.names)], wanted


# ---- saying and writing -------------------------------------------------------------------------

def table(rows, figures, verdicts):
    lines = [f"{'figure':<34}{'now':>12}{'measured':>12}{'limit':>12}"]
    for v in verdicts:
        row, figure = rows.get(v.name), figures.get(v.name)
        cells = [show(x) if x is not None else "-" for x in
                 (figure and figure.value, row and row.measured, row and row.limit)]
        lines.append(f"{v.name:<34}" + "".join(f"{c:>12}" for c in cells)
                     + ("" if v.state == OK else f"  {v.state}"))
    return "\n".join(lines)


def write_results(path, verdicts):
    """As pytest writes them, for scripts/test.py."""
    suite = ET.Element("testsuite", name="budget")
    for v in verdicts:
        case = ET.SubElement(suite, "testcase", classname="budget", name=v.name)
        if v.failed:
            ET.SubElement(case, "failure").text = v.words
        elif v.state == REPORTED:
            ET.SubElement(case, "skipped", message="other compiler: reported, not judged")
    ET.ElementTree(suite).write(path)


def rewrite(text, rows, figures):
    """The text of budget.yaml with the numbers after `measured:` of these figures replaced; every
    other byte stays."""
    for row in sorted(rows.values(), key=lambda r: r.span, reverse=True):
        if row.name in figures:
            text = text[:row.span[0]] + short(figures[row.name].value) + text[row.span[1]:]
    return text


def short(value):
    return f"{value:.0f}" if abs(value) >= 1000 else f"{round(value, 2):g}"


def compact(figure):
    least = abs(figure.value) * PROFILE_LEAST
    return {p: round(a, 1 if abs(a) >= 10 else 3)
            for p, a in sorted(figure.parts.items(), key=lambda x: (-abs(x[1]), x[0]))
            if abs(a) >= least and a}


def write_profile(path, profile):
    lines = [f"{json.dumps(name)}: {json.dumps(parts)}" for name, parts in sorted(profile.items())]
    path.write_text("{\n" + ",\n".join(lines) + "\n}\n")


def update(rows, figures, derived, profile, builds):
    old_build, build = builds
    kept = {n: f for n, f in figures.items() if n in rows}
    text = rewrite(ROWS.read_text(), rows, kept)
    ROWS.write_text(text.replace(f"built_with: {old_build}\n", f"built_with: {build}\n", 1))
    # What is derived moves as its sources do.
    profile.update({n: compact(f) for n, f in kept.items()
                    if f.parts and n not in {d.name for d in derived}})
    write_profile(PROFILE, {n: p for n, p in profile.items() if n in rows})
    for name, figure in kept.items():
        if short(figure.value) != short(rows[name].measured):
            print(f"budget: {name}: {show(rows[name].measured)} -> {show(figure.value)}")
    print(f"budget: wrote {ROWS.name} and {PROFILE.name}; look at the difference before you commit")


def main():
    p = argparse.ArgumentParser(description=__doc__.split("\n\n", maxsplit=1)[0])
    p.add_argument("names", nargs="*", metavar="BEGINNING", help="only figures that begin so")
    p.add_argument("--update", action="store_true", help="write what is measured into the rows")
    p.add_argument("--results", type=Path, metavar="FILE", help="write JUnit-like XML there")
    p.add_argument("--jobs", type=int, default=4, help="measurements at a time (default 4)")
    args = p.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))

    import budget_figures  # needs a built weir and the tools of the tests; the judge does not
    every, derived = budget_figures.measurements(), budget_figures.derived()
    known = {n for m in every for n in m.names} | {d.name for d in derived}
    old_build, rows = read_rows(ROWS.read_text(), ROWS.name, known)
    chosen, wanted = choose(every, derived, args.names)
    budget_figures.prepare()
    build = budget_figures.built_with()
    profile = json.loads(PROFILE.read_text()) if PROFILE.exists() else {}

    figures, errors = measure(chosen, args.jobs)
    for error in errors:
        print(f"budget: could not be measured: {error}", file=sys.stderr)
    derive(derived, figures)
    if args.update:
        if errors:
            return 1
        update(rows, figures, derived, profile, (old_build, build))
        old_build, rows = read_rows(ROWS.read_text(), ROWS.name, known)
        profile = json.loads(PROFILE.read_text())
    complete_profile(derived, profile, rows)
    verdicts = judge(rows, figures, profile, build == old_build, wanted)
    print(table(rows, figures, verdicts), flush=True)
    if any(v.state == REPORTED for v in verdicts):
        print(f"budget: {COMPILED}* were measured with {old_build}, this weir was built with "
              f"{build}: other compiler: reported, not judged")
    for v in verdicts:
        if v.words:
            print(f"budget: {v.words}")
    if args.results:
        write_results(args.results, verdicts)
    failed = sum(v.failed for v in verdicts)
    print(f"budget: {len(verdicts)} figures, {failed} over" if failed else
          f"budget: {len(verdicts)} figures, none over its limit")
    return 1 if failed or errors else 0


def complete_profile(derived, profile, rows):
    """What is derived was made of what its sources were made of."""
    from budget_figures import Figure
    before = {n: Figure(rows[n].measured, p) for n, p in profile.items() if n in rows}
    for d in derived:
        if all(s in before for s in d.sources):
            profile[d.name] = d.derive(before).parts


if __name__ == "__main__":
    try:
        sys.exit(main())
    except (BudgetError, ValueError, OSError) as e:
        sys.exit(f"budget: {e}")
    except KeyboardInterrupt:
        sys.exit(130)
