# SPDX-License-Identifier: Apache-2.0
"""A real kube-apiserver (scripts/kube-apiserver.sh) over a real etcd, both of the test's own, on
ports of the kernel's choice. EndpointSlices of v1 are a custom resource there, for that server knows
v1beta1 only; roles, accounts, tokens, lists and watches are its own.

    server = ApiServer(folder, authority)
    shop = server.namespace("shop")              # with an account "weir" that may list and watch
    shop.put(slice_of("app-1", ["10.0.0.1"]))
    for event in shop.watch(version): ...
    server.kill(); server.forget(); server.start()
"""
import base64
import http.client
import json
import shutil
import signal
import socket
import subprocess
import time

from peers import DEADLINE, deadline

GROUP = "/apis/discovery.k8s.io/v1"
CRDS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
RBAC = "/apis/rbac.authorization.k8s.io/v1"
OPEN = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
SLICES = {
    "apiVersion": "apiextensions.k8s.io/v1",
    "kind": "CustomResourceDefinition",
    "metadata": {
        "name": "endpointslices.discovery.k8s.io",
        "annotations": {"api-approved.kubernetes.io": "unapproved, for tests"},
    },
    "spec": {
        "group": "discovery.k8s.io",
        "scope": "Namespaced",
        "names": {
            "kind": "EndpointSlice",
            "listKind": "EndpointSliceList",
            "plural": "endpointslices",
            "singular": "endpointslice",
        },
        "versions": [
            {
                "name": "v1",
                "served": True,
                "storage": True,
                "schema": {
                    "openAPIV3Schema": {
                        "type": "object",
                        "required": ["addressType", "endpoints"],
                        "properties": {
                            "addressType": {"type": "string"},
                            "endpoints": {"type": "array", "items": OPEN},
                            "ports": {"type": "array", "items": OPEN},
                        },
                    }
                },
            }
        ],
    },
}
RULE = {
    "apiGroups": ["discovery.k8s.io"],
    "resources": ["endpointslices"],
    "verbs": ["list", "watch"],
}
ADMIN = "the-admin-of-the-tests"


class Refused(Exception):
    """An answer that is no success, and the Status in it."""

    def __init__(self, code, status):
        super().__init__(f"{code}: {status}")
        self.code, self.status = code, status


def free_port():
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return sock.getsockname()[1]


class Process:
    """A program that is ended whatever happens; what it says is in a file."""

    def __init__(self, log, *args):
        self.log = log
        with open(log, "ab") as out:
            self.proc = subprocess.Popen(
                args, stdin=subprocess.DEVNULL, stdout=out, stderr=out, cwd=log.parent
            )

    def ready(self, test):
        """Waits until test() is true. False: it ended instead, as when somebody else has its port."""
        until = deadline(2 * DEADLINE)
        while not test():
            if self.proc.poll() is not None:
                return False
            if time.monotonic() > until:
                self.end(signal.SIGKILL)
                raise AssertionError(f"not ready in time; see {self.log}")
            time.sleep(0.05)
        return True

    def end(self, with_signal=signal.SIGTERM):
        if self.proc.poll() is None:
            self.proc.send_signal(with_signal)
        try:
            self.proc.wait(DEADLINE)
        except subprocess.TimeoutExpired:
            self.proc.kill()
            self.proc.wait()


def started(launch, tries=5):
    """What launch() returns, once it is not None: each time it chooses ports of its own."""
    for _ in range(tries):
        if (process := launch()) is not None:
            return process
    raise AssertionError("it has ended each time that it was started")


class ApiServer:
    def __init__(self, program, folder, authority):
        self.program, self.folder, self.authority = program, folder, authority
        self.etcd = self.server = None
        self.host, self.port = "127.0.0.1", 0
        self.pair = authority.issue("127.0.0.1", "localhost")
        self.tls = authority.client_context()
        (folder / "tokens").write_text(f"{ADMIN},admin,admin,system:masters\n")
        try:
            self.etcd = started(self._launch_etcd)
            self.start()
            self.call("POST", CRDS, SLICES)
            self._until(lambda: self.call("GET", GROUP))
        except BaseException:
            self.close()
            raise

    # ---- life ----------------------------------------------------------------------------------

    def _launch_etcd(self):
        data = self.folder / "etcd"
        shutil.rmtree(data, ignore_errors=True)
        client, peer = (f"http://127.0.0.1:{free_port()}" for _ in range(2))
        etcd = Process(
            self.folder / "etcd.log", "/usr/bin/etcd", f"--data-dir={data}", "--unsafe-no-fsync",
            f"--listen-client-urls={client}", f"--advertise-client-urls={client}",
            f"--listen-peer-urls={peer}", f"--initial-advertise-peer-urls={peer}",
            f"--initial-cluster=default={peer}", "--log-level=warn", "--logger=zap",
        )  # fmt: skip
        self.etcd_address = client.removeprefix("http://")
        return etcd if etcd.ready(self._etcd_serves) else None

    def _etcd_serves(self):
        try:
            return self.etcd_call("maintenance/status", {})
        except (OSError, http.client.HTTPException):
            return False

    def _launch_server(self, port):
        server = Process(
            self.folder / "kube-apiserver.log", str(self.program),
            f"--etcd-servers=http://{self.etcd_address}", f"--cert-dir={self.folder}",
            f"--bind-address={self.host}", f"--secure-port={port}", "--insecure-port=0",
            f"--tls-cert-file={self.pair.cert}", f"--tls-private-key-file={self.pair.key}",
            f"--token-auth-file={self.folder / 'tokens'}", "--authorization-mode=RBAC",
            "--service-account-issuer=https://kubernetes.default.svc",
            f"--service-account-key-file={self.pair.cert}",
            f"--service-account-signing-key-file={self.pair.key}",
            "--service-cluster-ip-range=10.96.0.0/16", "--endpoint-reconciler-type=none",
            "--runtime-config=discovery.k8s.io/v1beta1=false", "--anonymous-auth=false",
            "--profiling=false", "--v=1",
        )  # fmt: skip
        self.port = port
        return server if server.ready(self._serves) else None

    def _serves(self):
        try:
            return self.call("GET", "/readyz?exclude=informer-sync") == "ok"
        except (OSError, http.client.HTTPException, Refused):
            return False

    def start(self):
        """At the port that it had."""
        if self.port:
            self.server = started(lambda: self._launch_server(self.port))
        else:
            self.server = started(lambda: self._launch_server(free_port()))
        self._until(lambda: self.call("GET", f"{RBAC}/clusterroles/cluster-admin"))

    def kill(self):
        self.server.end(signal.SIGKILL)

    def runs(self):
        return self.server.proc.poll() is None

    def close(self):
        for process in (self.server, self.etcd):
            if process is not None:
                process.end(signal.SIGKILL)

    def _until(self, ask):
        until = deadline(DEADLINE)
        while True:
            try:
                return ask()
            except Refused:
                assert time.monotonic() < until, "it refuses still"
                time.sleep(0.05)

    # ---- asking --------------------------------------------------------------------------------

    def open(self, method, path, body=None, token=ADMIN, kind="application/json"):
        """The conn and the response, of which nothing but the head was read."""
        conn = http.client.HTTPSConnection(self.host, self.port, context=self.tls, timeout=DEADLINE)
        fields = {"Authorization": f"Bearer {token}", "Accept": "application/json"}
        if body is not None:
            fields["Content-Type"] = kind
        try:
            conn.request(method, path, body and json.dumps(body), fields)
            return conn, conn.getresponse()
        except BaseException:
            conn.close()
            raise

    def call(self, method, path, body=None, **options):
        conn, response = self.open(method, path, body, **options)
        try:
            said = response.read()
        finally:
            conn.close()
        if response.getheader("Content-Type", "").startswith("application/json"):
            said = json.loads(said)
        else:
            said = said.decode()
        if response.status >= 300:
            raise Refused(response.status, said)
        return said

    def etcd_call(self, path, body):
        conn = http.client.HTTPConnection(self.etcd_address, timeout=DEADLINE)
        try:
            conn.request("POST", f"/v3/{path}", json.dumps(body))
            return json.loads(conn.getresponse().read())
        finally:
            conn.close()

    def forget(self, *keys):
        """As etcd's compaction: no version before this is known any more. Keys go before that."""
        for key in keys:
            self.etcd_call("kv/deleterange", {"key": base64.b64encode(key.encode()).decode()})
        put = {"key": base64.b64encode(b"/junk").decode(), "value": ""}
        for _ in range(3):
            revision = self.etcd_call("kv/put", put)["header"]["revision"]
        self.etcd_call("kv/compaction", {"revision": revision, "physical": True})
        return int(revision)

    def namespace(self, name):
        return Namespace(self, name)


class Namespace:
    """With an account, weir, which may do what weir's documentation says that it has to."""

    def __init__(self, server, name):
        self.server, self.name = server, name
        self.slices = f"{GROUP}/namespaces/{name}/endpointslices"
        server.call("POST", "/api/v1/namespaces", {"metadata": {"name": name}})
        self.new_account()
        server.call("POST", self._rbac("roles"), {"metadata": {"name": "weir"}, "rules": [RULE]})
        self.allow()

    def _rbac(self, what):
        return f"{RBAC}/namespaces/{self.name}/{what}"

    def new_account(self):
        self.server.call("POST", self._account(""), {"metadata": {"name": "weir"}})

    def _account(self, rest="/weir"):
        return f"/api/v1/namespaces/{self.name}/serviceaccounts{rest}"

    def drop_account(self):
        self.server.call("DELETE", self._account())

    def token(self):
        """A new one, bound to the account."""
        ask = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {}}
        return self.server.call("POST", self._account("/weir/token"), ask)["status"]["token"]

    def allow(self):
        subject = {"kind": "ServiceAccount", "name": "weir", "namespace": self.name}
        role = {"kind": "Role", "name": "weir", "apiGroup": "rbac.authorization.k8s.io"}
        binding = {"metadata": {"name": "weir"}, "subjects": [subject], "roleRef": role}
        self.server.call("POST", self._rbac("rolebindings"), binding)

    def forbid(self):
        self.server.call("DELETE", self._rbac("rolebindings") + "/weir")

    def key(self, name):
        """Where etcd has a slice."""
        return f"/registry/discovery.k8s.io/endpointslices/{self.name}/{name}"

    # ---- slices --------------------------------------------------------------------------------

    def put(self, *slices):
        for one in slices:
            try:
                self.server.call("POST", self.slices, one)
            except Refused as refused:
                if refused.code != 409:
                    raise
                path = f"{self.slices}/{one['metadata']['name']}"
                self.server.call("PATCH", path, one, kind="application/merge-patch+json")

    def drop(self, name):
        self.server.call("DELETE", f"{self.slices}/{name}")

    def list(self, query="", **options):
        return self.server.call("GET", f"{self.slices}?{query}", **options)

    def watch(self, version, seconds=10, **options):
        """The events of a watch, until it ends."""
        query = f"watch=true&allowWatchBookmarks=true&timeoutSeconds={seconds}"
        conn, response = self.server.open(
            "GET", f"{self.slices}?{query}&resourceVersion={version}", **options
        )
        try:
            if response.status != 200:
                raise Refused(response.status, json.loads(response.read()))
            for line in response:
                yield json.loads(line)
        finally:
            conn.close()
