# SPDX-License-Identifier: Apache-2.0
"""Every message vector: whole, split at every byte position in both directions, and byte by
byte."""
from collections import Counter

import pytest

import drive
import wire
from vectors import bad_heads, bodies, ident, paths, requests, responses

# Thousands of messages, byte by byte: no clock of weir's runs in here.
CONFIG = """
timeouts: { request_head: 1h, client_idle: 1h, request_body: 1h }
limits: { header_bytes: 2KiB, headers: 24, target_bytes: 256B }
routes: [ { to: app } ]
pools: { app: [ "$UPSTREAM" ] }
"""

SETS = {
    m.__name__.rsplit(".", 1)[1]: m.VECTORS for m in (bad_heads, bodies, paths, requests, responses)
}
ALL = [v for vectors in SETS.values() for v in vectors]
SAMPLED = 40  # split positions of a message that is too long for all of them


def test_the_vectors_have_different_names():
    assert [n for n, count in Counter(v.name for v in ALL).items() if count > 1] == []


def run(weir, upstream, jobs):
    """Runs the jobs as one batch and checks the counters of their reasons."""
    upstream.forget()
    reasons = [j.vector.reason for j in jobs if j.vector.reason]
    with weir.counts(*reasons):
        problems = drive.Drive(weir, upstream).run(jobs)
        shown = "\n\n".join(problems[:3])
        assert not problems, f"{len(problems)} problems\n{shown}"


def positions(data, vector):
    step = 1 if vector.split else max(1, len(data) // SAMPLED)
    return range(1, len(data), step)


@pytest.mark.parametrize("vector", ALL, ids=ident)
def test_whole(weir, upstream, vector):
    run(weir, upstream, [drive.Job(vector)])


@pytest.mark.parametrize("vector", [v for v in ALL if v not in responses.VECTORS], ids=ident)
def test_request_split_at_every_byte(weir, upstream, vector):
    sent = wire.expand(vector.send)
    run(
        weir,
        upstream,
        [
            drive.Job(vector, request_cut=drive.cut_at(i), label=f"request split at {i}")
            for i in positions(sent, vector)
        ],
    )


SPLIT_ANSWERS = [v for v in responses.VECTORS if v.exchanges[-1].answer]


@pytest.mark.parametrize("vector", SPLIT_ANSWERS, ids=ident)
def test_response_split_at_every_byte(weir, upstream, vector):
    answer = wire.expand(vector.exchanges[-1].answer)
    jobs = [
        drive.Job(vector, answer_cut=drive.cut_at(i), label=f"response split at {i}")
        for i in positions(answer, vector)
    ]
    run(weir, upstream, jobs)


@pytest.mark.parametrize("name", SETS)
def test_byte_by_byte_in_both_directions(weir, upstream, name):
    for batch in drive.batches([v for v in SETS[name] if v.split]):
        run(
            weir,
            upstream,
            [drive.Job(v, drive.bytewise, drive.bytewise, "byte by byte") for v in batch],
        )
