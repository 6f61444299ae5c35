# SPDX-License-Identifier: Apache-2.0
"""Fixtures of the tests with a real kube-apiserver: one of it for all of them, a namespace for each."""
import itertools
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
sys.path[:0] = [str(HERE), str(HERE.parent / "e2e")]

import harness  # noqa: E402
from apiserver import ApiServer  # noqa: E402
from authority import Authority  # noqa: E402
from finding import Backends  # noqa: E402

PROGRAM = Path(os.environ.get("KUBE", ROOT / "build" / "kube")) / "bin" / "kube-apiserver"
POOL = """
routes: [ {{ to: app }} ]
pools:
  app:
    kubernetes: {{ service: app, credentials: {folder} }}
"""


@pytest.fixture(scope="session")
def server(tmp_path_factory):
    why = subprocess.run(
        [ROOT / "scripts" / "kube-apiserver.sh", "--why"], stdout=subprocess.PIPE, text=True, check=True
    ).stdout.strip()
    if not why and not PROGRAM.exists():
        why = "it has not been built: make test-k8s does"
    if why:
        pytest.skip(f"no kube-apiserver: {why}")
    folder = tmp_path_factory.mktemp("kubernetes")
    running = ApiServer(PROGRAM, folder, Authority(folder / "ca"))
    yield running
    running.close()


@pytest.fixture
def namespace(server, request, count=itertools.count(1)):
    name = re.sub("[^a-z0-9]+", "-", request.node.name)[:50].strip("-")
    yield server.namespace(f"{name}-{next(count)}")
    if not server.runs():  # a test that failed killed it; the others want it
        server.start()


@pytest.fixture
def backends():
    made = Backends(4)
    yield made
    made.close()


class Pod:
    """What a pod is given: its folder, and its environment; and the weir in it."""

    def __init__(self, namespace, tmp):
        self.namespace, self.tmp = namespace, tmp
        self.folder = tmp / "serviceaccount"
        self.folder.mkdir()
        server = namespace.server
        (self.folder / "ca.crt").write_text(server.authority.cert.read_text())
        (self.folder / "namespace").write_text(namespace.name)
        self.env = {
            "KUBERNETES_SERVICE_HOST": server.host,
            "KUBERNETES_SERVICE_PORT": str(server.port),
        }
        self.weir = None
        self.new_token()

    def new_token(self, token=None):
        (self.folder / "token").write_text(token or self.namespace.token())

    def start(self):
        self.weir = harness.Weir(POOL.format(folder=self.folder), self.tmp, env=self.env)
        return self.weir


@pytest.fixture
def pod(namespace, tmp_path):
    made = Pod(namespace, tmp_path)
    yield made
    if made.weir:
        made.weir.stop()
