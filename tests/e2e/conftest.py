# SPDX-License-Identifier: Apache-2.0
"""Fixtures of the end-to-end tests. A module says what it needs:

    CONFIG = '''...YAML with $UPSTREAM...'''

    def test_a_story(weir, upstream): ...

A module whose stories are the same over TLS says TRANSPORTS = ("plain", "tls"): then each of its
tests runs with TLS on both sides too, as it is.

One weir and one scripted upstream serve all the tests of a module (start-up is slow under
sanitizers); a weir that died is reported by the test in which it died and replaced for the next
one. A test that needs a weir of its own calls start_weir(yaml).
"""
import shutil
import sys
from pathlib import Path

import pytest
import yaml

sys.path.insert(0, str(Path(__file__).parent))

import harness  # noqa: E402
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


def pytest_collection_modifyitems(items):
    if not harness.FAULTS:
        return
    skip = pytest.mark.skip(reason="counts weir's calls, and under faults they are others")
    for item in items:
        if item.get_closest_marker("exact_calls"):
            item.add_marker(skip)


def pytest_sessionstart(session):
    if not harness.WEIR.exists():
        pytest.exit(f"no weir at {harness.WEIR}: build it, or say where it is with WEIR=", 4)


class Shared:
    """The weir and the upstream of one module."""

    def __init__(self, config, authority=None):
        self.upstream = peers.Upstream()
        self.config = config.replace("$UPSTREAM", self.upstream.address)
        self.authority = authority
        if authority:
            self.config = over_tls(self.config, authority)
            self.upstream.secure = authority.server_context()
        self.weir = self.tmp = None

    def ensure(self):
        if self.weir is None:
            self.tmp = harness.new_tmp()
            self.weir = harness.Weir(self.config, self.tmp)
            if self.authority:
                self.weir.secure = self.authority.client_context()
        return self.weir

    def drop(self):
        weir, self.weir = self.weir, None
        try:
            if weir:
                weir.stop()
        finally:
            if self.tmp:
                shutil.rmtree(self.tmp, ignore_errors=True)


def over_tls(config, authority):
    """The same with TLS to clients and to endpoints."""
    tree = yaml.safe_load(config)
    tls = {"certs": [str(authority.server().cert)]}
    listeners = tree.setdefault("listeners", {"web": "127.0.0.1:0"})
    for name, one in listeners.items():
        one = one if isinstance(one, dict) else {"bind": one}
        listeners[name] = {**one, "tls": tls}
    for name, pool in tree["pools"].items():
        pool = {"endpoints": pool} if isinstance(pool, list) else pool
        pool.setdefault("upstream", {})["tls"] = {"ca": str(authority.cert), "sni": "a.example"}
        tree["pools"][name] = pool
    return yaml.safe_dump(tree)


def pytest_generate_tests(metafunc):
    transports = getattr(metafunc.module, "TRANSPORTS", None)
    if transports and "_shared" in metafunc.fixturenames:
        metafunc.parametrize("_shared", transports, indirect=True, scope="module")


@pytest.fixture(scope="module")
def _shared(request):
    secure = getattr(request, "param", "plain") == "tls"
    authority = request.getfixturevalue("authority") if secure else None
    shared = Shared(getattr(request.module, "CONFIG", DEFAULT), authority)
    wire.scheme = b"https" if secure else b"http"
    yield shared
    wire.scheme = b"http"
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
def start_weir():
    """start_weir(yaml, **options): a weir of the test's own, stopped and checked at its end."""
    started, dirs = [], []

    def start(config, **options):
        dirs.append(harness.new_tmp())
        started.append(harness.Weir(config, dirs[-1], **options))
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
def new_upstream(closing):
    """new_upstream(): one more scripted upstream."""
    return lambda **kw: closing(peers.Upstream(**kw))


@pytest.fixture
def auto(closing):
    """auto(reply): an upstream that answers by itself."""
    return lambda *a, **kw: closing(peers.AutoUpstream(*a, **kw))


@pytest.fixture
def tmp(tmp_path):
    return tmp_path


@pytest.fixture(scope="session")
def authority(tmp_path_factory):
    """The certificate authority of this run of pytest."""
    from authority import Authority

    return Authority(tmp_path_factory.mktemp("ca") / "ca")
