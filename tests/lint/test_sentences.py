# SPDX-License-Identifier: Apache-2.0
"""Each sentence of tests/sentences.yaml has tests that are there and are run."""
import re
from functools import cache
from pathlib import Path

import pytest
import yaml

TESTS = Path(__file__).parent.parent
TABLE = yaml.safe_load((TESTS / "sentences.yaml").read_text())
SENTENCES = [(part, row) for part, rows in TABLE.items() for row in rows]


@cache
def run_of(path):
    """The names of the tests in that file that a run of it runs."""
    text = (TESTS / path).read_text()
    if path.endswith(".py"):
        return set(re.findall(r"^\s*def (test_\w+)\(", text, re.M))
    table = text[text.index("const struct CMUnitTest") :]
    return set(re.findall(r"\b(?:cmocka_unit_test\w*|TEST)\((\w+)", table))


def test_every_file_is_one_that_a_stage_runs():
    files = {path for _, row in SENTENCES for by_file in row["tests"] for path in by_file}
    for path in files:
        folder, name = path.split("/")
        assert folder in ("unit", "e2e", "chaos") and name.startswith("test_"), path


def test_no_sentence_is_there_twice():
    said = [row["says"] for _, row in SENTENCES]
    assert len(said) == len(set(said))


@pytest.mark.parametrize("part, row", SENTENCES, ids=[row["says"] for _, row in SENTENCES])
def test_a_sentence_has_tests_that_are_run(part, row):
    assert set(row) == {"says", "tests"}
    named = [(path, name) for by_file in row["tests"] for path, names in by_file.items() for name in names]
    assert named and len(named) == len(set(named))
    for path, name in named:
        assert name in run_of(path), f"{path} runs no {name}"


def test_a_test_that_is_not_there_is_noticed():
    assert "test_the_documented_order" in run_of("unit/test_balancer_round_robin.c")
    assert "test_the_documented_disorder" not in run_of("unit/test_balancer_round_robin.c")
