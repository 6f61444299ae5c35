# SPDX-License-Identifier: Apache-2.0
"""Endpoints from a real kube-apiserver: what it tells and refuses reaches weir as it is meant, and what
tests/e2e/kubeapi.py says in its place elsewhere is what it says."""
import json
import shutil
import subprocess
import threading

import pytest

import kubeapi
from apiserver import ADMIN, Refused
from finding import Backends
from kubeapi import endpoint, slice_of
from peers import wait_for
from test_discovery_file import endpoints, hosts_that_answer, source, wait_endpoints
from test_discovery_load import Load

MINUTES = 180  # seconds: bookmarks come about once a minute


def works(weir):
    """It may be about to wait for 30 s until it asks again."""
    wait_for(lambda: not source(weir)["error"], f"an end of {source(weir)}", within=60)


def fails(weir, words=""):
    wait_for(lambda: (error := source(weir)["error"]) and words in error, f"{words} in {source(weir)}")


def errors(weir):
    return weir.metric("weir_discovery_errors_total", pool="app")


def refused(ask):
    with pytest.raises(Refused) as caught:
        ask()
    return caught.value


# ---- what the server says, and what the tests' double says --------------------------------------


def shape(said):
    """The keys and the kinds of what is in them, of those that the double has too."""
    if isinstance(said, dict):
        return {key: shape(value) for key, value in said.items()}
    if isinstance(said, list):
        return [shape(value) for value in said[:1]]
    return type(said).__name__


def assert_has(real, double, where=""):
    """All that the double says, the server does, and in the same kind."""
    if isinstance(double, dict):
        assert isinstance(real, dict), where
        for key, value in double.items():
            assert key in real, f"the server does not say {where}.{key}"
            assert_has(real[key], value, f"{where}.{key}")
    elif isinstance(double, list):
        assert isinstance(real, list), where
        if double and real:
            assert_has(real[0], double[0], f"{where}[0]")
    else:
        assert real == double, f"{where} is a {real} of the server"


def double_of(answer):
    return json.loads(answer.body)


def test_lists_and_events_are_those_of_the_double(namespace):
    double = kubeapi.KubeApi()
    try:
        one, two = slice_of("app-1", ["10.0.0.1"]), slice_of("app-1", ["10.0.0.1", "10.0.0.2"])
        version = namespace.list()["metadata"]["resourceVersion"]
        for api in (double, namespace):
            api.put(one)
            api.put(two)
            api.drop("app-1")
        told = list(namespace.watch(version, seconds=3))
        assert [event["type"] for event in told][:3] == ["ADDED", "MODIFIED", "DELETED"]
        for event, (_, said) in zip(told, double.events):
            assert_has(shape(event), shape(said))
            event["object"]["metadata"] = said["object"]["metadata"]
            assert event["object"] == said["object"]
        namespace.put(*(slice_of(f"app-{i}", ["10.0.0.1"]) for i in range(3)))
        double.put(*(slice_of(f"app-{i}", ["10.0.0.1"]) for i in range(3)))
        page, said = namespace.list("limit=2"), double.page({"limit": "2"})
        assert_has(shape(page), shape(said))
        assert len(page["items"]) == len(said["items"]) == 2
        rest = namespace.list("limit=2&continue=" + page["metadata"]["continue"])
        assert [item["metadata"]["name"] for item in rest["items"]] == ["app-2"]
        assert not rest["metadata"].get("continue")
    finally:
        double.close()


def test_a_bookmark_is_that_of_the_double(namespace):
    """One comes before a watch ends, if anything has happened meanwhile."""
    version = namespace.list()["metadata"]["resourceVersion"]
    later = threading.Timer(1, namespace.put, [slice_of("app-1", ["10.0.0.1"])])
    later.start()
    told = {event["type"]: event["object"] for event in namespace.watch(version, seconds=12)}
    later.join()
    assert set(told) == {"ADDED", "BOOKMARK"}
    assert_has(shape(told["BOOKMARK"]), {"metadata": {"resourceVersion": "str"}})
    last = told["ADDED"]["metadata"]["resourceVersion"]
    assert int(told["BOOKMARK"]["metadata"]["resourceVersion"]) >= int(last)


def test_refusals_are_those_of_the_double(server, namespace):
    token = namespace.token()
    namespace.put(*(slice_of(f"app-{i}", ["10.0.0.1"]) for i in range(3)))
    page = namespace.list("limit=2", token=token)["metadata"]["continue"]
    assert server.forget() > 0
    late = refused(lambda: namespace.list(f"limit=2&continue={page}", token=token))
    assert (late.code, late.status["reason"]) == (410, "Expired")
    assert_has(shape(late.status), shape(double_of(kubeapi.status(410))))
    (gone,) = namespace.watch(1, token=token)
    assert_has(shape(gone), shape(kubeapi.gone_event()))
    said = kubeapi.gone_event()["object"]
    assert {key: gone["object"][key] for key in ("kind", "code", "reason")} == {
        key: said[key] for key in ("kind", "code", "reason")
    }
    assert gone["object"]["message"].startswith(said["message"])
    namespace.forbid()
    for ask in (lambda: namespace.list(token=token), lambda: list(namespace.watch(1, token=token))):
        wait_for(lambda: forbidden(ask), "the binding's end")
        no = refused(ask)
        assert no.status["message"].startswith("endpointslices.discovery.k8s.io is forbidden: User ")
        assert_has(shape(no.status), shape(double_of(kubeapi.status(403))))
    unknown = refused(lambda: namespace.list(token=token + "x"))
    assert (unknown.code, unknown.status["message"]) == (401, "Unauthorized")
    assert_has(shape(unknown.status), shape(double_of(kubeapi.status(401))))


def forbidden(ask):
    try:
        ask()
    except Refused as no:
        return no.code == 403
    return False


# ---- what weir makes of it -----------------------------------------------------------------------


def test_weir_follows_what_changes(namespace, pod, backends):
    namespace.put(slice_of("app-1", backends.hosts[:2], backends.port))
    namespace.put(slice_of("other-1", backends.hosts[3:], backends.port, service="other"))
    weir = pod.start()
    assert endpoints(weir) == backends.addresses[:2]
    assert hosts_that_answer(weir) == set(backends.hosts[:2])
    namespace.put(slice_of("app-2", backends.hosts[2:3], backends.port))
    wait_endpoints(weir, backends.addresses[:3])
    namespace.put(slice_of("app-1", backends.hosts[:1], backends.port))
    wait_endpoints(weir, [backends.addresses[0], backends.addresses[2]])
    namespace.drop("app-2")
    wait_endpoints(weir, backends.addresses[:1])
    assert errors(weir) == 0


def test_weir_reads_all_pages(namespace, pod):
    namespace.put(*(slice_of(f"app-{i:03}", [f"127.9.0.{i + 1}"]) for i in range(120)))
    weir = pod.start()
    assert sorted(endpoints(weir)) == sorted(f"127.9.0.{i + 1}:80" for i in range(120))
    assert errors(weir) == 0


def test_weir_says_which_rule_is_missing(namespace, pod, backends):
    namespace.put(slice_of("app-1", backends.hosts[:1], backends.port))
    namespace.forbid()
    wait_for(lambda: forbidden(lambda: namespace.list(token=namespace.token())), "the binding's end")
    weir = pod.start()
    fails(weir, "the API server forbids it (403): weir's role in the namespace " + namespace.name)
    assert "apiGroups: [discovery.k8s.io], resources: [endpointslices]" in source(weir)["error"]
    assert f"system:serviceaccount:{namespace.name}:weir" in source(weir)["error"]
    namespace.allow()
    wait_endpoints(weir, backends.addresses[:1])
    works(weir)


def test_weir_takes_the_token_that_is_there_now(namespace, pod, backends):
    namespace.put(slice_of("app-1", backends.hosts[:1], backends.port))
    pod.new_token("of-somebody-else")
    weir = pod.start()
    fails(weir, "the API server does not know who weir is (401): the token of ")
    pod.new_token()
    wait_endpoints(weir, backends.addresses[:1])
    works(weir)


def test_the_server_starts_again(server, namespace, pod, backends):
    """Traffic does not notice, and what changed since is known without being told."""
    namespace.put(slice_of("app-1", backends.hosts[:2], backends.port))
    namespace.put(slice_of("app-2", backends.hosts[2:3], backends.port))
    weir = pod.start()
    wait_endpoints(weir, backends.addresses[:3])
    server.kill()
    fails(weir)
    assert hosts_that_answer(weir) == set(backends.hosts[:3])
    server.start()
    works(weir)
    namespace.drop("app-2")
    wait_endpoints(weir, backends.addresses[:2])


def test_what_was_compacted_is_listed_anew(server, namespace, pod, backends):
    """A slice goes, and etcd forgets that it did, while nobody is told: only a list shows it."""
    namespace.put(slice_of("app-1", backends.hosts[:2], backends.port))
    namespace.put(slice_of("app-2", backends.hosts[2:3], backends.port))
    weir = pod.start()
    wait_endpoints(weir, backends.addresses[:3])
    server.kill()
    fails(weir)
    server.forget(namespace.key("app-2"))
    server.start()
    wait_endpoints(weir, backends.addresses[:2])
    works(weir)
    assert hosts_that_answer(weir) == set(backends.hosts[:2])


def test_a_deployment_is_scaled_while_requests_run(server, namespace, pod):
    """As the controller does it: who goes is terminating first. The server goes, and comes back."""
    backends = Backends(10)

    def say(count, going=0):
        """The first count of them, and some that end."""
        ending = [
            endpoint(host, ready=False, serving=True, terminating=True)
            for host in backends.hosts[count : count + going]
        ]
        namespace.put(slice_of("app-1", [*backends.hosts[:count], *ending], backends.port))

    say(2)
    load = Load(pod.start().listeners["web"])
    try:
        load.some()
        say(10)
        wait_endpoints(pod.weir, backends.addresses)
        load.some(2000)
        assert all(backends.served.values()), backends.served
        say(3, going=7)
        wait_for(lambda: ready(pod.weir) == backends.addresses[:3], "seven that end")
        load.some()
        server.kill()
        load.some()
        server.start()
        load.some()
        say(3)
        wait_for(lambda: endpoints(pod.weir) == backends.addresses[:3], "three", within=60)
        load.some()
        assert load.wrong == []
    finally:
        load.close()
        backends.close()


def ready(weir):
    """Who gets new requests."""
    told = json.loads(weir.admin_get("/pools/app").body)["endpoints"]
    return [e["address"] for e in told if e["share_percent"] > 0]


@pytest.mark.timeout(2 * MINUTES)
def test_bookmarks_tell_weir_that_the_server_is_there(namespace, pod, backends):
    namespace.put(slice_of("app-1", backends.hosts[:1], backends.port))
    weir = pod.start()
    namespace.put(slice_of("app-1", backends.hosts[:2], backends.port))
    wait_endpoints(weir, backends.addresses[:2])
    ages = [0]

    def told_again():
        ages.append(source(weir)["age_ms"])
        return ages[-1] < ages[-2] and ages[-2] > 5000  # ms; not what the change itself led to

    wait_for(told_again, "a bookmark", within=MINUTES)
    assert errors(weir) == 0


@pytest.mark.skipif(not shutil.which("kubectl"), reason="there is no kubectl (kubernetes-client)")
def test_what_kubectl_changes(server, namespace, pod, backends, tmp_path):
    namespace.put(slice_of("app-1", backends.hosts[:1], backends.port))
    weir = pod.start()
    wait_endpoints(weir, backends.addresses[:1])

    def kubectl(*words):
        done = subprocess.run(
            [
                "kubectl", f"--server=https://{server.host}:{server.port}", f"--token={ADMIN}",
                f"--certificate-authority={server.authority.cert}", f"--cache-dir={tmp_path}/cache",
                f"--namespace={namespace.name}", *words,
            ],
            env={"PATH": "/usr/bin:/bin", "HOME": str(tmp_path)}, capture_output=True, text=True,
            timeout=60, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        return done.stdout

    listed = kubectl("get", "endpointslices.discovery.k8s.io", "-o", "name")
    assert listed == "endpointslice.discovery.k8s.io/app-1\n"
    patch = json.dumps(slice_of("app-1", backends.hosts[1:3], backends.port))
    kubectl("patch", "endpointslices.discovery.k8s.io", "app-1", "--type=merge", "-p", patch)
    wait_endpoints(weir, backends.addresses[1:3])
