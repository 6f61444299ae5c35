# SPDX-License-Identifier: Apache-2.0
"""docs/tour.md is true: every command of it is run, and prints what it says; the dashboard shows what
its pictures are there for; README's part of it is the same."""
import re

import pytest

import tour
from browser import CHROMIUM, Browser
from harness import ROOT


@pytest.fixture
def eye(tmp):
    if CHROMIUM is None:
        yield None  # the pictures are not looked at
        return
    b = Browser(tmp)
    yield b
    b.close()


def test_the_tour_goes_as_it_says(tmp, closing, eye):
    tour.go(closing(tour.Walk(tmp, tour.programs())), eye)


def test_readme_shows_parts_of_it():
    text = (ROOT / "README.md").read_text().split("\n## A tour\n")[1].split("\n## ")[0]
    whole = list(tour.steps(tour.PAGE.read_text()))
    rest = iter(whole)
    asked = [step for step in tour.steps(text) if step[0] == "ask"]
    assert asked and all(step in rest for step in asked)  # in their order
    shown = re.findall(r"\(docs/([^)]*\.png)\)", text)
    assert shown and set(shown) <= {step[2] for step in whole if step[0] == "see"}


def test_its_pictures_are_there_and_small():
    for kind, *what in tour.steps(tour.PAGE.read_text()):
        if kind == "see":
            picture = (tour.PAGE.parent / what[1]).read_bytes()
            assert picture.startswith(b"\x89PNG") and len(picture) < 150_000
