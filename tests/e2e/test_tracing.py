# SPDX-License-Identifier: Apache-2.0
"""W3C Trace Context: what endpoints are told, and the ids in the access log."""
import json
import re

import pytest

from matrix import Matrix
from peers import RefusedEndpoint, wait_for

MATRIX = Matrix()

TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
GOOD = f"00-{TRACE}-{SPAN}-01"
FORM = re.compile(r"00-([0-9a-f]{32})-([0-9a-f]{16})-(0[01])")
FIELDS = "fields: [ id, trace_id, span_id, parent_id, attempts ]"


@pytest.fixture
def traced(start_weir, auto, tmp_path):
    """traced(tracing): (ask, entries): ask(fields) is what the endpoint was told."""

    def make(tracing="tracing: { sample: 100% }", more=""):
        up, path = auto(), tmp_path / "log"
        weir = start_weir(
            f"{tracing}\naccess_log: {{ path: {path}, {FIELDS} }}\n"
            "routes: [ { to: app, retry: { attempts: 1, backoff: 1ms } } ]\n"
            f"pools: {{ app: {{ balance: round_robin, endpoints: [ {more}'{up.address}' ] }} }}\n"
        )

        def ask(extra=""):
            with weir.client() as c:
                assert c.get(extra=extra).status == 200
            got = up.requests[-1]
            return got.get("traceparent"), got.get("tracestate")

        def entries(count):
            wait_for(lambda: path.exists() and path.read_text().count("\n") >= count, "the lines")
            return [json.loads(line) for line in path.read_text().splitlines()]

        return ask, entries

    return make


def test_a_client_s_trace_goes_on(traced):
    ask, entries = traced("tracing: { sample: 0% }")
    parent, state = ask(f"traceparent: {GOOD}\r\ntracestate: a=1,b=2\r\n")
    trace, span, flags = FORM.fullmatch(parent).groups()
    assert (trace, flags, state) == (TRACE, "01", "a=1,b=2") and span != SPAN
    (entry,) = entries(1)
    assert (entry["trace_id"], entry["span_id"], entry["parent_id"]) == (TRACE, span, SPAN)


def test_a_trace_begins_here(traced):
    ask, entries = traced()
    told = [ask("tracestate: a=1\r\n") for _ in range(3)]
    assert {state for _, state in told} == {None}  # of whose trace nothing is known
    told = [FORM.fullmatch(parent).groups() for parent, _ in told]
    assert len({t for t, _, _ in told}) == 3 and {f for _, _, f in told} == {"01"}
    logged = {(e["trace_id"], e["span_id"], e["parent_id"]) for e in entries(3)}
    assert logged == {(t, s, "") for t, s, _ in told}


@pytest.mark.parametrize(
    "bad", [f"{GOOD}-x", GOOD.upper(), f"ff{GOOD[2:]}", "x", f"00-{'0' * 32}-{SPAN}-01"]
)
def test_what_is_no_traceparent_is_replaced(traced, bad):
    ask, _ = traced("tracing: { sample: 0% }")
    parent, state = ask(f"traceparent: {bad}\r\ntracestate: a=1\r\n")
    trace, _, flags = FORM.fullmatch(parent).groups()
    assert trace != TRACE and flags == "00" and state is None


def test_without_tracing_it_passes_as_it_is(traced):
    ask, entries = traced("")
    assert ask(f"traceparent: {GOOD}\r\ntracestate: a=1\r\n") == (GOOD, "a=1")
    assert ask() == (None, None)
    assert [e["trace_id"] for e in entries(2)] == ["", ""]


def test_all_attempts_are_of_one_span(traced, closing):
    refused = closing(RefusedEndpoint()).address
    ask, entries = traced(more=f"'{refused}', ")
    told = [FORM.fullmatch(ask()[0]).groups() for _ in range(4)]
    logged = entries(4)
    assert {(e["trace_id"], e["span_id"]) for e in logged} == {(t, s) for t, s, _ in told}
    assert 2 in {e["attempts"] for e in logged}
