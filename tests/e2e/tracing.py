# SPDX-License-Identifier: Apache-2.0
"""What the tests of exported traces have in common: weir in front of an upstream, and a collector."""
import re

import pytest

from collector import Collector
from peers import wait_for

TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
GOOD = f"00-{TRACE}-{SPAN}-01"
FORM = re.compile(r"00-([0-9a-f]{32})-([0-9a-f]{16})-(0[01])")
SOON = "every: 20ms"
LOG = "access_log: { path: $TMP/access.log, fields: [id, client, trace_id, span_id, parent_id] }"


def config(export, endpoints, *, tracing="sample: 100%", route="", pool="", top=""):
    return (
        f"{LOG}\n{top}\ntracing: {{ {tracing}, export: {{ {export} }} }}\n"
        f"routes: [ {{ name: shop, match: {{ path: /shop }}, to: app{route} }} ]\n"
        f"pools: {{ app: {{ balance: round_robin, outlier: none, endpoints: "
        f"[ {', '.join(repr(e) for e in endpoints)} ]{pool} }} }}\n"
    )


@pytest.fixture
def collector(closing):
    return lambda *a, **kw: closing(Collector(*a, **kw))


@pytest.fixture
def traced(start_weir, collector, auto):
    """traced(...): (weir, collector, upstream)"""

    def make(answer=None, endpoints=(), reply=None, export=SOON, options=None, **more):
        to, up = collector(answer), auto(reply=reply)
        listed = [e() if callable(e) else e for e in endpoints] + [up.address]
        weir = start_weir(config(f"to: {to.url}, {export}", listed, **more), **(options or {}))
        return weir, to, up

    return make


def told(upstream, n=-1):
    return FORM.fullmatch(upstream.requests[n].get("traceparent")).groups()


def results(weir):
    return {
        result: weir.metric("weir_trace_spans_total", result=result)
        for result in ("exported", "rejected", "failed", "dropped")
    }


def wait_results(weir, **want):
    want = {**dict.fromkeys(("exported", "rejected", "failed", "dropped"), 0), **want}
    wait_for(lambda: results(weir) == want, f"the spans to be {want}")
