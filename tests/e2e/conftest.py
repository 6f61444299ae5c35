# SPDX-License-Identifier: Apache-2.0
"""Fixtures of the end-to-end tests. A module says what it needs:

    CONFIG = '''...YAML with $UPSTREAM...'''

    def test_a_story(weir, upstream): ...

A module whose stories are the same over HTTP/2 and TLS says MATRIX = Matrix() (matrix.py): then
each of its tests runs over all of it, as it is.

One weir and one scripted upstream serve all the tests of a module (start-up is slow under
sanitizers); a weir that died is reported by the test in which it died and replaced for the next
one. A test that needs a weir of its own calls start_weir(yaml).
"""
import itertools
import shutil
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

import harness  # noqa: E402
import matrix  # noqa: E402
import peers  # noqa: E402
import wire  # noqa: E402

# Fresh upstream connections for every request: what one test leaves behind can't reach the next
# one.
DEFAULT = """
routes: [ { to: app } ]
pools: { app: { endpoints: [ "$UPSTREAM" ], upstream: { max_idle: 0 } } }
"""


def pytest_configure(config):
    config.addinivalue_line("markers", "exact_calls: counts weir's calls; not under faults")
    config.addinivalue_line("markers", "h1_client(why): not where clients speak HTTP/2")
    config.addinivalue_line("markers", "h1_upstream(why): not where upstreams speak HTTP/2")
    config.addinivalue_line("markers", "plain(why): not over TLS")


@pytest.hookimpl(trylast=True)  # pytest's own order is by the place in a test's list of cells
def pytest_collection_modifyitems(items):
    items[:] = by_cell(item for item in items if means_something(item))
    if not harness.FAULTS:
        return
    skip = pytest.mark.skip(reason="counts weir's calls, and under faults they are others")
    for item in items:
        if item.get_closest_marker("exact_calls"):
            item.add_marker(skip)


def by_cell(items):
    """Within each module those of one cell together: they share a weir."""
    for _, module in itertools.groupby(items, key=lambda item: item.path):
        yield from sorted(module, key=lambda item: str(side_of(item) or ""))


def side_of(item):
    """The cell of the matrix that it runs in, if it has one."""
    return getattr(item, "callspec", None) and item.callspec.params.get("side")


def means_something(item):
    """One row of a story's table may be about HTTP/1 where the others are not."""
    side = side_of(item)
    return not side or not (
        side.client == "h2"
        and item.get_closest_marker("h1_client")
        or side.upstream == "h2"
        and item.get_closest_marker("h1_upstream")
    )


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    """What weir had to say is a part of a failure's report."""
    outcome = yield
    report = outcome.get_result()
    if report.failed:
        for weir in [w for w in harness.started if not w.ended]:
            report.sections += weir.last_words()


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_teardown(item):
    """A port is nobody else's before the weirs of the test have ended, which may still try it; and
    whoever gets it then is not what was there."""
    place = item.funcargs.get("place")
    yield
    ports = peers.let_go()
    if isinstance(place, matrix.Place):  # and no parameter of that name
        place.forget(ports)


def pytest_sessionstart(session):
    if not harness.WEIR.exists():
        pytest.exit(f"no weir at {harness.WEIR}: build it, or say where it is with WEIR=", 4)


def pytest_generate_tests(metafunc):
    whole = getattr(metafunc.module, "MATRIX", None)
    if not whole or "side" not in metafunc.fixturenames:
        return
    name = metafunc.definition.nodeid
    whole = whole.narrowed(metafunc.definition)
    if matrix.WHOLE:
        cells = whole.cells()
    elif matrix.SAMPLED:
        cells = whole.sample(name)
    elif "_shared" in metafunc.fixturenames:
        cells = whole.cells()
    else:  # a start of weir each: with all cells that would be most of the run
        cells = whole.spread(name)
    metafunc.parametrize("side", cells, ids=str, indirect=True, scope="module")


class Shared:
    """The weir and the upstream of one module, in one cell of its matrix."""

    def __init__(self, config, place):
        self.place = place
        self.upstream = place.upstream()
        self.config = config.replace("$UPSTREAM", self.upstream.address)
        self.weir = self.tmp = None

    def ensure(self):
        if self.weir is None:
            self.tmp = harness.new_tmp()
            self.weir = self.place.weir(self.config, self.tmp)
        return self.weir

    def drop(self):
        weir, self.weir = self.weir, None
        try:
            if weir:
                weir.stop()
        finally:
            if self.tmp:
                shutil.rmtree(self.tmp, ignore_errors=True)


@pytest.fixture(scope="session")
def tls(authority):
    return matrix.Tls(authority)


@pytest.fixture(scope="module")
def side(request):
    """The cell of the matrix that a test runs in."""
    cell = getattr(request, "param", None) or matrix.Side()
    wire.scheme = b"https" if cell.secure else b"http"
    wire.h2 = "h2" in (cell.client, cell.upstream)
    wire.h2_client = cell.client == "h2"
    yield cell
    wire.scheme, wire.h2, wire.h2_client = b"http", False, False


@pytest.fixture(scope="module")
def place(request, side):
    return matrix.Place(side, request.getfixturevalue("tls") if side.secure else None)


@pytest.fixture(scope="module")
def _shared(request, place):
    shared = Shared(getattr(request.module, "CONFIG", DEFAULT), place)
    yield shared
    try:
        shared.drop()
    finally:
        shared.upstream.close()


@pytest.fixture
def weir(_shared):
    """The module's weir."""
    running = _shared.ensure()
    yield running
    _shared.upstream.forget()
    if running.alive():
        running.settle()
        _shared.upstream.forget()  # what came while weir was still at it
    if not running.alive():
        _shared.drop()  # fails here, in the test that ended it
        pytest.fail("weir ended during the test")


@pytest.fixture
def upstream(_shared):
    """The module's scripted upstream: $UPSTREAM in its CONFIG."""
    return _shared.upstream


@pytest.fixture
def start_weir(place):
    """start_weir(yaml, **options): a weir of the test's own, stopped and checked at its end."""
    started, dirs = [], []

    def start(config, **options):
        dirs.append(harness.new_tmp())
        started.append(place.weir(config, dirs[-1], **options))
        return started[-1]

    yield start
    errors = []
    for one in started:
        try:
            one.stop()
        except AssertionError as e:
            errors.append(e)
    for path in dirs:
        shutil.rmtree(path, ignore_errors=True)
    if errors:
        raise errors[0]


@pytest.fixture
def closing():
    """closing(x): x is closed at the end of the test."""
    things = []

    def register(thing):
        things.append(thing)
        return thing

    yield register
    for thing in reversed(things):
        thing.close()


@pytest.fixture
def new_upstream(closing, place):
    """new_upstream(): one more scripted upstream."""
    return lambda **kw: closing(place.upstream(**kw))


@pytest.fixture
def auto(closing, place):
    """auto(reply): an upstream that answers by itself."""
    return lambda *a, **kw: closing(place.auto(*a, **kw))


@pytest.fixture
def tmp(tmp_path):
    return tmp_path


@pytest.fixture(scope="session")
def authority(tmp_path_factory):
    """The certificate authority of this run of pytest."""
    from authority import Authority

    return Authority(tmp_path_factory.mktemp("ca") / "ca")
