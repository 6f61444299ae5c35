# SPDX-License-Identifier: Apache-2.0
"""Endpoints from an API server of Kubernetes: what is asked, what becomes of its answers, and that no
fault of it reaches traffic."""
import base64
import contextlib
import datetime
import json
import re
import socket
import statistics
import time
from pathlib import Path

import pytest
import yaml

import clock as clocks

from authority import Authority
from finding import Backends
from harness import needs_faults, one_thread, sanitizer
from kubeapi import SILENCE, Answer, KubeApi, endpoint, gone_event, line, slice_of, status
from peers import DEADLINE, wait_for
from test_binary_upgrade import ended, upgrade
from test_discovery_file import endpoints, hosts_that_answer, source, wait_endpoints
from test_discovery_load import Load
from test_reload import reload, settled

LIST = "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices?labelSelector=kubernetes.io%2Fservice-name%3Dapp&limit=20"
WATCH = re.compile(
    r"/apis/discovery\.k8s\.io/v1/namespaces/default/endpointslices\?allowWatchBookmarks=true&"
    r"labelSelector=kubernetes\.io%2Fservice-name%3Dapp&timeoutSeconds=(\d+)&watch=true&"
    r"resourceVersion=(\d+)"
)

README = Path(__file__).resolve().parent.parent.parent / "README.md"

POOL = """
routes: [ {{ to: app }} ]
pools:
  app:
    kubernetes: {{ service: app, credentials: {folder}{more} }}
"""


@pytest.fixture
def backends(closing):
    return closing(Backends(4))


@pytest.fixture
def api(closing, authority):
    return closing(KubeApi(authority, token="one"))


@pytest.fixture(scope="module")
def preload(tmp_path_factory):
    return clocks.build(tmp_path_factory.mktemp("clock"))


@pytest.fixture
def clock(closing, tmp, preload):
    return closing(clocks.Clock(tmp, preload))


def pod(api, tmp, authority):
    """What a pod is given: its folder, and its environment."""
    folder = tmp / "serviceaccount"
    folder.mkdir()
    (folder / "token").write_text(api.token + "\n")
    (folder / "ca.crt").write_text(authority.cert.read_text())
    (folder / "namespace").write_text(api.namespace)
    env = {"KUBERNETES_SERVICE_HOST": api.host, "KUBERNETES_SERVICE_PORT": str(api.port)}
    return folder, env


@pytest.fixture
def start(start_weir, api, tmp, authority):
    def begin(more="", config="", api=api, ca=authority, clock=None, **options):
        folder, env = pod(api, tmp, ca)
        if clock:
            env.update(clock.options["env"])
            options["preload"] = clock.options["preload"]
        return start_weir(POOL.format(folder=folder, more=more) + config, env=env, **options)

    return begin


def watches(api):
    """(seconds, version) of each watch that was asked for."""
    found = [WATCH.fullmatch(path) for path in api.paths() if "watch=true" in path]
    assert all(found), api.paths()
    return [(int(m[1]), m[2]) for m in found]


def fails(weir, words, within=DEADLINE):
    wait_for(lambda: words in (source(weir)["error"] or ""), f"{words} in {source(weir)}", within)


def works(weir):
    wait_for(lambda: source(weir)["error"] is None, f"an end of {source(weir)}")


# ---- asking --------------------------------------------------------------------------------------


def test_a_list_then_a_watch_from_there(start, api, backends):
    api.put(slice_of("app-1", backends.hosts[:2], backends.port))
    weir = start()
    assert endpoints(weir) == backends.addresses[:2]
    assert hosts_that_answer(weir) == set(backends.hosts[:2])
    api.watched()
    assert api.paths()[0] == LIST
    (seconds, version), = watches(api)
    assert 300 <= seconds <= 600 and version == "101"
    assert {bearer for _, bearer in api.requests} == {"Bearer one"}
    api.put(slice_of("app-2", backends.hosts[2:3], backends.port))
    wait_endpoints(weir, backends.addresses[:3])
    api.put(slice_of("app-1", backends.hosts[:1], backends.port))
    wait_endpoints(weir, [backends.addresses[0], backends.addresses[2]])
    api.drop("app-2")
    wait_endpoints(weir, backends.addresses[:1])
    assert len(api.requests) == 2
    weir.wait_metric("weir_discovery_errors_total", 0, pool="app")
    weir.wait_metric("weir_reloads_total", 0)
    settled(weir)


def test_pages_of_a_list(start, api):
    api.put(*(slice_of(f"app-{i:03}", [f"127.9.0.{i + 1}"]) for i in range(50)))
    weir = start()
    assert len(endpoints(weir)) == 50
    api.watched()
    assert api.paths()[:3] == [LIST, LIST + "&continue=app-020", LIST + "&continue=app-040"]
    assert watches(api)[0][1] == "150"


def test_a_watch_goes_on_where_it_ended(start, api, backends):
    """At its time, and when it is cut in the middle of a line."""
    api.put(slice_of("app-1", backends.hosts[:1], backends.port))
    weir = start()
    api.watched()
    api.bookmark()
    time.sleep(1.1)  # one that ends sooner is not followed at once
    api.end()
    api.wait_requests(3)
    api.watched()
    assert [version for _, version in watches(api)] == ["101", "151"]
    whole = line({"type": "DELETED", "object": slice_of("app-1", [])})
    api.send(whole[:40])
    time.sleep(1.1)
    api.cut()
    api.wait_requests(4)
    api.watched()
    assert watches(api)[2][1] == "151"
    api.put(slice_of("app-1", backends.hosts[:2], backends.port))
    wait_endpoints(weir, backends.addresses[:2])
    weir.wait_metric("weir_discovery_errors_total", 0, pool="app")


def watching(api, weir, backends):
    """weir knows that it watches."""
    api.watched()
    api.put(slice_of("app-1", backends.hosts[:2], backends.port))
    wait_endpoints(weir, backends.addresses[:2])


def bookmark(api, weir):
    """It is the first that is heard for a while."""
    assert source(weir)["age_ms"] >= 100_000
    api.bookmark()
    wait_for(lambda: source(weir)["age_ms"] < 100_000, "the bookmark")


@needs_faults
def test_a_watch_that_falls_silent_is_left(start, api, backends, clock):
    """Bookmarks come every minute, unless the way to the server is gone, which nobody says."""
    api.put(slice_of("app-1", backends.hosts[:1], backends.port))
    weir = start(clock=clock)
    watching(api, weir, backends)
    clock.on(100)
    bookmark(api, weir)
    clock.on(151)
    api.wait_requests(3)
    assert [version for _, version in watches(api)] == ["101", "152"]
    left(api, 1)
    api.put(slice_of("app-1", backends.hosts[:3], backends.port))
    wait_endpoints(weir, backends.addresses[:3])
    weir.wait_metric("weir_discovery_errors_total", 0, pool="app")


@needs_faults
def test_a_watch_that_does_not_end_is_ended(start, api, backends, clock):
    api.put(slice_of("app-1", backends.hosts[:1], backends.port))
    weir = start(clock=clock)
    watching(api, weir, backends)
    (seconds, _), = watches(api)
    for i in range(0, seconds + 30 - 100, 100):
        clock.on(100)
        bookmark(api, weir)
    clock.on(100)
    api.wait_requests(3)
    assert watches(api)[1][1] == str(api.version)
    weir.wait_metric("weir_discovery_errors_total", 0, pool="app")


@needs_faults
def test_a_watch_that_is_not_answered_is_told(start, api, backends, clock):
    """The server takes the connection and the request, and that is all."""
    api.put(slice_of("app-1", backends.hosts[:1], backends.port))
    api.next(Answer(200, json.dumps(api.page({"limit": "20"})).encode()), *[SILENCE] * 10)
    weir = start(clock=clock)
    api.wait_requests(2)
    clock.on(31)
    fails(weir, "the server takes the request and does not answer; see what it logs")
    assert endpoints(weir) == backends.addresses[:1]
    api.scripted.clear()
    clock.on(31)
    works(weir)


def test_events_in_any_pieces(start, api, backends):
    api.put(slice_of("app-1", backends.hosts[:1], backends.port))
    weir = start()
    api.watched()
    event = slice_of("app-1", backends.hosts[:3], backends.port)
    event["metadata"]["resourceVersion"] = "200"
    for byte in line({"type": "MODIFIED", "object": event}):
        api.send(bytes([byte]))
    wait_endpoints(weir, backends.addresses[:3])


@pytest.mark.parametrize("how", ["status", "event"])
def test_410_lists_anew(start, api, backends, how):
    api.put(slice_of("app-1", backends.hosts[:1], backends.port))
    weir = start()
    api.watched()
    api.slices["app-1"] = slice_of("app-1", backends.hosts[:2], backends.port)
    if how == "event":
        api.send(line(gone_event()))
        api.end()
    else:
        api.next(status(410))
        api.cut()
    wait_endpoints(weir, backends.addresses[:2])
    api.watched()
    assert api.paths().count(LIST) == 2
    weir.wait_metric("weir_discovery_errors_total", 0, pool="app")
    settled(weir)


def test_410_in_the_middle_of_a_list(start, api):
    api.put(*(slice_of(f"app-{i:03}", [f"127.9.0.{i + 1}"]) for i in range(30)))
    api.next(Answer(200, json.dumps(api.page({"limit": "20"})).encode()), status(410))
    weir = start()
    assert len(endpoints(weir)) == 30
    assert api.paths()[:4] == [LIST, LIST + "&continue=app-020", LIST, LIST + "&continue=app-020"]


@pytest.mark.parametrize("first", [status(410), Answer(200, b"nonsense\n")], ids=["410", "nonsense"])
def test_410_again_and_again_is_told(start, api, backends, first):
    """Once is no failure, but no watch was of use since."""
    api.put(slice_of("app-1", backends.hosts[:1], backends.port))
    weir = start()
    api.watched()
    api.next(first, *[status(410)] * 100)
    api.cut()
    fails(weir, "the API server forgets at once what it has listed (410); see what it logs")
    assert endpoints(weir) == backends.addresses[:1]
    api.scripted.clear()
    works(weir)
    api.watched()


def test_a_watch_that_is_refused_is_followed_by_a_list(start, api, backends):
    """What is wrong may be the place to watch from: behind the same address is another server now."""
    api.put(slice_of("app-1", backends.hosts[:1], backends.port))
    weir = start()
    api.watched()
    api.slices["app-1"] = slice_of("app-1", backends.hosts[:2], backends.port)
    api.next(status(400, "invalid resource version"))
    api.cut()
    wait_endpoints(weir, backends.addresses[:2])
    api.watched()
    assert api.paths().count(LIST) == 2
    weir.said("the API server answers 400: invalid resource version")
    works(weir)


def left(api, count):
    """Waits until only so many watch: who has gone is known once something was said to them."""

    def look():
        with api.lock:
            api.send(b"\n")
            return len(api.watches) == count

    wait_for(look, f"{count} watches to be left, not {len(api.watches)}")


def change(weir, folder, port):
    reload(weir, POOL.format(folder=folder, more=f", port: {port}"))


def several_ports(backends):
    return slice_of("app-1", backends.hosts[:1], ports={"http": backends.port, "metrics": 1})


def test_a_watch_goes_on_through_a_reload_that_says_the_same_of_it(start, closing, api, tmp, backends):
    api.put(several_ports(backends))
    weir = start(more=", port: http")
    api.watched()
    load = closing(Load(weir.listeners["web"]))
    load.some()
    change(weir, tmp / "serviceaccount", "http")
    left(api, 1)
    assert len(api.requests) == 2
    for _ in range(5):  # some have to end while they connect, list or begin to watch
        change(weir, tmp / "serviceaccount", f'"{backends.port}"')
        change(weir, tmp / "serviceaccount", "http")
    left(api, 1)
    load.some(200)
    assert load.wrong == []
    settled(weir)


def test_a_watch_ends_with_its_pool_and_with_weir(start, api, tmp, backends):
    api.put(several_ports(backends))
    weir = start(more=", port: http")
    api.watched()
    ended(upgrade(weir))
    left(api, 1)
    assert hosts_that_answer(weir, 4) == {backends.hosts[0]}
    static = f"routes: [ {{ to: app }} ]\npools: {{ app: {{ endpoints: [ {backends.addresses[0]} ] }} }}\n"
    reload(weir, static)
    left(api, 0)
    change(weir, tmp / "serviceaccount", "http")
    api.watched()
    weir.stop()
    left(api, 0)


# ---- refusals ------------------------------------------------------------------------------------


def test_401_reads_the_token_again(start, api, tmp, backends):
    api.put(slice_of("app-1", backends.hosts[:1], backends.port))
    weir = start()
    api.watched()
    api.token = "two"
    api.cut()
    fails(weir, f"the API server does not know who weir is (401): the token of {tmp}/serviceaccount/token")
    assert endpoints(weir) == backends.addresses[:1]
    (tmp / "serviceaccount" / "token").write_text("two")
    api.put(slice_of("app-1", backends.hosts[:2], backends.port))
    wait_endpoints(weir, backends.addresses[:2])
    works(weir)
    assert api.requests[-1][1] == "Bearer two"


def test_a_token_that_was_replaced_is_no_failure(start, api, tmp, backends):
    api.put(slice_of("app-1", backends.hosts[:1], backends.port))
    weir = start()
    api.watched()
    (tmp / "serviceaccount" / "token").write_text("two")
    api.token = "two"
    api.cut()
    api.wait_requests(3)
    api.watched()
    weir.wait_metric("weir_discovery_errors_total", 0, pool="app")


def test_each_page_is_asked_for_with_the_token_as_it_is_then(start, api, tmp):
    api.put(*(slice_of(f"app-{i:03}", [f"127.9.0.{i + 1}"]) for i in range(30)))

    def rotate():
        (tmp / "serviceaccount" / "token").write_text("two")
        api.token = "two"

    page = json.dumps(api.page({"limit": "20"})).encode()
    api.next(Answer(200, page, before=rotate))
    weir = start()
    assert len(endpoints(weir)) == 30
    assert [bearer for _, bearer in api.requests[:2]] == ["Bearer one", "Bearer two"]
    weir.wait_metric("weir_discovery_errors_total", 0, pool="app")


PROOF = LIST.replace("limit=20", "limit=1")


def test_a_ca_that_was_replaced_is_used_by_the_watch_that_goes_on(start, api, tmp, backends, authority):
    api.put(slice_of("app-1", backends.hosts[:1], backends.port))
    weir = start()
    api.watched()
    api.bookmark()
    old = authority.cert.read_text()
    (tmp / "serviceaccount" / "ca.crt").write_text(old + old)
    api.wait_requests(4)
    left(api, 1)
    assert api.paths()[2] == PROOF
    assert [version for _, version in watches(api)] == ["101", "151"]
    api.put(slice_of("app-1", backends.hosts[:2], backends.port))
    wait_endpoints(weir, backends.addresses[:2])
    weir.wait_metric("weir_discovery_errors_total", 0, pool="app")


@needs_faults
@pytest.mark.parametrize("what", ["another", "nonsense"])
def test_a_ca_that_is_no_good_is_told_and_ends_no_watch(
    start, api, tmp, backends, authority, tmp_path_factory, clock, what
):
    other = Authority(tmp_path_factory.mktemp("other") / "ca", name="other")
    ca = tmp / "serviceaccount" / "ca.crt"
    api.put(slice_of("app-1", backends.hosts[:1], backends.port))
    weir = start(clock=clock)
    api.watched()
    ca.write_text(other.cert.read_text() if what == "another" else "nonsense")
    fails(weir, "certificate")
    api.put(slice_of("app-1", backends.hosts[:2], backends.port))
    wait_endpoints(weir, backends.addresses[:2])
    fails(weir, "certificate")
    clock.on(61)
    weir.wait_metric("weir_discovery_errors_total", 3, pool="app")
    assert "answers again" not in weir.stderr()
    ca.write_text(authority.cert.read_text() * 2)
    api.wait_requests(4)
    works(weir)
    left(api, 1)
    assert api.paths()[2] == PROOF


@needs_faults
def test_who_may_not_watch_lists_again_and_says_so(start, api, backends, clock):
    api.put(slice_of("app-1", backends.hosts[:1], backends.port))
    api.forbids_watches = True
    weir = start(clock=clock)
    words = (
        "the API server forbids to watch (403): weir's role in the namespace default needs the rule "
        "{apiGroups: [discovery.k8s.io], resources: [endpointslices], verbs: [list, watch]}; until "
        "then it lists them every half a minute or so: cannot watch"
    )
    fails(weir, words)
    api.put(slice_of("app-1", backends.hosts[:2], backends.port))
    before = weir.metric("weir_discovery_errors_total", pool="app")
    clock.on(30)
    weir.wait_metric("weir_discovery_errors_total", before + 2, pool="app")
    wait_endpoints(weir, backends.addresses[:2])
    for _ in range(3):
        before = weir.metric("weir_discovery_errors_total", pool="app")
        clock.on(30)
        weir.wait_metric("weir_discovery_errors_total", before + 2, pool="app")
    assert source(weir)["error"] == words
    assert weir.stderr().count("error") == 1 and "answers again" not in weir.stderr()
    api.forbids_watches = False
    clock.on(30)
    api.watched()
    works(weir)


def test_403_says_which_rule_is_missing(start, api):
    api.next(*[status(403, 'User "system:serviceaccount:default:weir" cannot list')] * 100)
    weir = start()
    fails(
        weir,
        "the API server forbids it (403): weir's role in the namespace default needs the rule "
        "{apiGroups: [discovery.k8s.io], resources: [endpointslices], verbs: [list, watch]}: User "
        '\\"system'.replace("\\", ""),
    )
    with weir.client() as c:
        assert b"403" in c.get("/").body


def test_429_waits_as_it_is_told(start, api, backends):
    api.put(slice_of("app-1", backends.hosts[:1], backends.port))
    api.next(status(429, "slow down", Retry_After=3))
    begun = time.monotonic()
    weir = start()
    wait_endpoints(weir, backends.addresses[:1])
    assert time.monotonic() - begun >= 3
    weir.wait_metric("weir_discovery_errors_total", 1, pool="app")
    works(weir)


@pytest.mark.parametrize(
    "answer, words",
    [
        (status(500, "etcd is\nill"), "the API server answers 500: etcd is?ill"),
        (status(404), "the API server has no discovery.k8s.io/v1 (404)"),
        (Answer(200, b"{"), "the API server's list of EndpointSlices: malformed JSON at line 1"),
        (Answer(200, b"<html>"), "near '<'; see what it is that answers at 127.0.0.1:"),
        (Answer(302), "the API server answers 302; see whether the URL is the API server's"),
        (Answer(200, b"[" * 1000), "the JSON is more than 64 levels deep"),
        (Answer(200, b'{"items":[]}'), "metadata.resourceVersion is missing"),
        (
            Answer(200, b'{"metadata":{"resourceVersion":"1"},"items":[{"metadata":{"name":7}}]}'),
            "metadata.name is not a string",
        ),
        (Answer(200, b"x" * (17 << 20)), "the answer has more than 16777216 bytes"),
        (Answer(200, b"[%b{}]" % (b"{}," * 1_000_000)), "the JSON has 2000002 parts, more than 1048576"),
        pytest.param(
            Answer(200, b'{"metadata":{"resourceVersion":"1","continue":"x"},"":"%b"}' % (b"x" * (15 << 20))),
            "the API server's list of EndpointSlices: it has no end: after 18 pages (270 MiB) there is "
            "one more; see whether it is the API server that answers",
            marks=one_thread,
        ),
    ],
    ids=["500", "404", "json", "html", "302", "depth", "version", "name", "size", "parts", "endless"],
)
def test_what_is_no_list_changes_nothing(start, api, backends, answer, words):
    api.put(slice_of("app-1", backends.hosts[:1], backends.port))
    weir = start()
    api.watched()
    api.next(status(410), *[answer] * 100)
    api.cut()
    fails(weir, words, 4 * DEADLINE)  # the endless one is 270 MiB
    assert endpoints(weir) == backends.addresses[:1]
    assert hosts_that_answer(weir, 4) == {backends.hosts[0]}
    api.scripted.clear()
    works(weir)
    settled(weir)


@pytest.mark.parametrize(
    "bytes_, words",
    [
        (b"nonsense\n", "the API server's watch: malformed JSON at line 1"),
        (b'{"type":"WHAT","object":{}}\n', "the API server's watch: type is none that a watch has"),
        (b'{"type":"ADDED"}\n', "the API server's watch: object is missing"),
        (b"x" * ((8 << 20) + 1), "the API server's watch: a line of the watch has more than 8 MiB"),
        (
            line({"type": "ERROR", "object": {"code": 500, "message": "no\nmore"}}),
            "the API server ends the watch (500): no?more",
        ),
    ],
    ids=["json", "type", "object", "size", "error"],
)
def test_what_is_no_event_changes_nothing(start, api, backends, bytes_, words):
    api.put(slice_of("app-1", backends.hosts[:1], backends.port))
    weir = start()
    api.watched()
    api.next(*[status(503)] * 100)
    api.send(bytes_)
    weir.said(words)
    assert endpoints(weir) == backends.addresses[:1]
    api.scripted.clear()
    api.slices["app-1"] = slice_of("app-1", backends.hosts[:2], backends.port)
    wait_endpoints(weir, backends.addresses[:2])
    works(weir)
    settled(weir)


def test_a_failure_is_not_over_by_what_was_said_before(start, api, backends):
    """What changed right before it is told, and the failure stays one."""
    api.put(slice_of("app-1", backends.hosts[:1], backends.port))
    weir = start()
    api.watched()
    api.next(*[status(503)] * 100)
    more = slice_of("app-1", backends.hosts[:2], backends.port)
    several = slice_of("app-2", backends.hosts[:1], ports={"http": 1, "metrics": 2})
    for version, one in enumerate((more, several)):
        one["metadata"]["resourceVersion"] = str(200 + version)
    api.send(b"".join(line({"type": "ADDED", "object": one}) for one in (more, several)))
    fails(weir, "the API server answers 503")
    assert endpoints(weir) == backends.addresses[:2]
    weir.said("the API server's watch: the Service has several ports")
    assert "answers again" not in weir.stderr()


def test_a_certificate_of_somebody_else(start, api, tmp, backends, authority, tmp_path_factory):
    other = Authority(tmp_path_factory.mktemp("other") / "ca", name="other")
    api.put(slice_of("app-1", backends.hosts[:1], backends.port))
    weir = start(ca=other)
    fails(
        weir,
        "TLS: unable to get local issuer certificate; the server has to speak TLS there, with a "
        f"certificate for 127.0.0.1 by {tmp}/serviceaccount/ca.crt",
    )
    assert api.requests == []
    (tmp / "serviceaccount" / "ca.crt").write_text(authority.cert.read_text())
    wait_endpoints(weir, backends.addresses[:1])
    works(weir)


def test_the_example_of_the_readme(start_weir, closing, tmp, authority, backends):
    blocks = re.findall(r"```yaml\n(.*?)```", README.read_text(), re.S)
    (example,) = (yaml.safe_load(block) for block in blocks if "kubernetes:" in block)
    api = closing(KubeApi(authority, namespace="shops", token="one"))
    here, there = (
        endpoint(host, ready=True, zone=zone, zones=[zone])
        for host, zone in zip(backends.hosts, ["eu-1b", "eu-1a"])
    )
    ports = {"http": backends.port, "metrics": 1}
    api.put(slice_of("shop-1", [here, there], ports=ports, service="shop"))
    folder, env = pod(api, tmp, authority)
    example["pools"]["shop"]["kubernetes"]["credentials"] = str(folder)
    config = {key: example[key] for key in ("zone", "routes", "pools")}
    weir = start_weir(yaml.safe_dump(config), env=env)
    assert endpoints(weir, "shop") == backends.addresses[:1]


# ---- how it is reached ---------------------------------------------------------------------------


def test_an_api_server_of_ipv6(start, closing, authority, backends):
    api = closing(KubeApi(authority, token="one", host="::1"))
    api.put(slice_of("app-1", backends.hosts[:1], backends.port))
    weir = start(api=api)
    assert endpoints(weir) == backends.addresses[:1]


def test_outside_of_a_cluster_without_a_kubeconfig(start_weir, tmp):
    env = {"KUBERNETES_SERVICE_HOST": "", "KUBERNETES_SERVICE_PORT": ""}
    weir = start_weir(POOL.format(folder=tmp, more=""), env=env)
    fails(weir, "outside of a cluster the key kubeconfig is needed")


def test_a_pod_without_a_service_accounts_token(start_weir, tmp):
    env = {"KUBERNETES_SERVICE_HOST": "127.0.0.1", "KUBERNETES_SERVICE_PORT": "1"}
    weir = start_weir(POOL.format(folder=tmp, more=""), env=env)
    fails(weir, f"{tmp}/token: the pod has been given no token; remove automountServiceAccount")


def test_a_kubeconfig_that_is_not_there(start_weir, tmp):
    weir = start_weir(
        f"routes: [ {{ to: app }} ]\n"
        f"pools: {{ app: {{ kubernetes: {{ service: app, kubeconfig: {tmp}/none }} }} }}\n"
    )
    fails(weir, f"{tmp}/none: the kubeconfig cannot be read: No such file or directory")


@pytest.mark.parametrize(
    "server, words",
    [
        ("6443", '$PATH: the API server\'s URL "6443" is none: it begins with neither http'),
        (
            "https://no.such.host.invalid",
            "no.such.host.invalid: $NO; see whether it is the right host, and what /etc/resolv.conf asks",
        ),
        ("https://$PLAIN", "TLS: wrong version number; the server has to speak TLS there"),
        ("http://$TLS", "see what it logs, and whether it speaks TLS there (https)"),
    ],
    ids=["url", "name", "plain", "tls"],
)
def test_a_server_that_is_none(start_weir, closing, api, tmp, server, words):
    plain = closing(KubeApi())
    url = server.replace("$PLAIN", f"127.0.0.1:{plain.port}").replace("$TLS", f"127.0.0.1:{api.port}")
    path = kubeconfig(tmp, url, "insecure-skip-tls-verify: true")
    weir = start_weir(
        f"routes: [ {{ to: app }} ]\n"
        f"pools: {{ app: {{ kubernetes: {{ service: app, kubeconfig: {path} }} }} }}\n"
    )
    begin, _, end = words.replace("$PATH", str(path)).rpartition("$NO")
    fails(weir, end)
    assert source(weir)["error"].startswith(begin)


def test_a_namespace_that_is_none_is_not_asked_for(start, api, tmp):
    api.namespace = "a/../../b"
    weir = start()
    fails(
        weir,
        f"{tmp}/serviceaccount/namespace: the namespace \"a/../../b\" is not a name as Kubernetes has "
        "them: up to 63 of a-z, 0-9 and -; a namespace in the pool goes before it",
    )
    assert api.requests == []


def test_a_list_that_has_no_end(start_weir, closing, tmp):
    """Pages without anything, each with one behind it."""
    api = closing(KubeApi())
    page = Answer(200, b'{"metadata":{"resourceVersion":"1","continue":"x"},"items":[]}')
    api.next(*[page] * 5001)
    weir = start_weir(
        f"routes: [ {{ to: app }} ]\n"
        f"pools: {{ app: {{ kubernetes: {{ service: app, kubeconfig: {kubeconfig(tmp, api.url)} }} }} }}\n"
    )
    words = "it has no end: after 5000 pages (0 MiB) there is one more"
    weir.said(words)


def kubeconfig(tmp, server, cluster="", user="", namespace="default"):
    path = tmp / "kubeconfig"
    path.write_text(
        f"""
apiVersion: v1
kind: Config
current-context: here
contexts:
  - {{ name: there, context: {{ cluster: no, user: no }} }}
  - {{ name: here, context: {{ cluster: c, user: u, namespace: {namespace} }} }}
clusters: [ {{ name: c, cluster: {{ server: "{server}", {cluster} }} }} ]
users: [ {{ name: u, user: {{ {user} }} }} ]
"""
    )
    return path


def encoded(path):
    return base64.b64encode(path.read_bytes()).decode()


def in_lines(path):
    return base64.encodebytes(path.read_bytes()).decode().replace("\n", "\\n")


@pytest.mark.parametrize("how", ["files", "data", "lines", "token", "insecure", "nobody"])
def test_a_kubeconfig(start_weir, closing, tmp, authority, backends, how):
    api = closing(KubeApi(authority, namespace="shop", ask=how in ("files", "data")))
    api.put(slice_of("app-1", backends.hosts[:1], backends.port))
    mine = authority.issue()
    (tmp / "ca.crt").write_text(authority.cert.read_text())
    (tmp / "token").write_text("secret")
    cluster, user = {
        "files": (
            "certificate-authority: ca.crt",
            f'client-certificate: "{mine.cert}", client-key: "{mine.key}"',
        ),
        "data": (
            f'certificate-authority-data: "{encoded(authority.cert)}", tls-server-name: localhost',
            f'client-certificate-data: "{encoded(mine.cert)}", client-key-data: "{encoded(mine.key)}"',
        ),
        "lines": (f'certificate-authority-data: "{in_lines(authority.cert)}"', ""),
        "token": ("certificate-authority: ca.crt", "tokenFile: token"),
        "insecure": ("insecure-skip-tls-verify: true", "token: secret"),
        "nobody": ("certificate-authority: ca.crt", ""),
    }[how]
    path = kubeconfig(tmp, api.url, cluster, user, namespace="shop")
    if how == "nobody":
        path.write_text(path.read_text().replace(", user: u,", ","))
    weir = start_weir(
        f"routes: [ {{ to: app }} ]\n"
        f"pools: {{ app: {{ kubernetes: {{ service: app, kubeconfig: {path} }} }} }}\n"
    )
    assert endpoints(weir) == backends.addresses[:1]
    bearer = "Bearer secret" if how in ("token", "insecure") else None
    assert {said for _, said in api.requests} == {bearer}


@pytest.mark.parametrize(
    "cluster, user, words",
    [
        ("", "exec: { command: aws }", "the kubeconfig's user has exec, which weir does not do"),
        ("", "password: x", "the kubeconfig's user has password"),
        ("proxy-url: http://a", "token: x", "the kubeconfig has a proxy-url"),
        ('certificate-authority-data: "*"', "token: x", "certificate-authority-data is not base64"),
        ("certificate-authority-data: aGVsbG8=", "token: x", "no certificate in PEM"),
        ("certificate-authority: none.crt", "token: x", "none.crt: No such file or directory"),
        ("", "tokenFile: none", "none: the token cannot be read: No such file or directory"),
    ],
)
def test_a_kubeconfig_that_will_not_do(start_weir, tmp, authority, cluster, user, words):
    if "certificate" not in cluster:
        cluster += f"{',' if cluster else ''} certificate-authority: {authority.cert}"
    path = kubeconfig(tmp, "https://127.0.0.1:1", cluster, user)
    weir = start_weir(
        f"routes: [ {{ to: app }} ]\n"
        f"pools: {{ app: {{ kubernetes: {{ service: app, kubeconfig: {path} }} }} }}\n"
    )
    fails(weir, words)


# ---- what endpoints are --------------------------------------------------------------------------


def marks(weir):
    found = json.loads(weir.admin_get("/pools/app").body)["endpoints"]
    return {e["address"].split(":")[0]: (e["excluded"] or {}).get("why", "in") for e in found}


def test_conditions(start, api, backends):
    """Who ends gets nothing new while others are ready, and all of it when nobody else is."""
    a, b, c, d = backends.hosts
    api.put(
        slice_of(
            "app-1",
            [
                endpoint(a),
                endpoint(b, ready=False, serving=True, terminating=True),
                endpoint(c, ready=False, serving=False, terminating=True),
                endpoint(d, ready=False),
            ],
            backends.port,
        )
    )
    weir = start()
    assert marks(weir) == {a: "in", b: "drained"}
    assert hosts_that_answer(weir) == {a}
    ends = {"ready": False, "serving": True, "terminating": True}
    api.put(slice_of("app-1", [endpoint(a, **ends), endpoint(b, **ends)], backends.port))
    wait_for(lambda: marks(weir) == {a: "in", b: "in"}, "both as a last resort")
    assert hosts_that_answer(weir) == {a, b}
    settled(weir)


def test_slices_are_merged(start, api, backends):
    a, b, c, _ = backends.hosts
    ends = {"ready": False, "serving": True, "terminating": True}
    api.put(
        slice_of("app-1", [a, endpoint(b, **ends)], backends.port),
        slice_of("app-2", [b, c, a], backends.port),
        slice_of("app-v6", ["fd00::1"], backends.port, family="IPv6"),
        slice_of("app-names", ["a.example"], backends.port, family="FQDN"),
    )
    weir = start()
    assert endpoints(weir) == backends.addresses[:3]
    assert set(marks(weir).values()) == {"in"}


def test_ipv6_if_there_is_nothing_else(start, api):
    api.put(slice_of("app-1", ["fd00::1", "fd00::2"], 80, family="IPv6"))
    assert endpoints(start()) == ["[fd00::1]:80", "[fd00::2]:80"]


@pytest.mark.parametrize("port", ["http", '"8081"'])
def test_a_port_is_named(start, api, port):
    ports = {"metrics": 9000, "http": 8081}
    api.put(slice_of("app-1", ["10.0.0.1"], ports=ports))
    api.put(slice_of("app-2", ["10.0.0.2"], ports={"metrics": 9000}))
    assert endpoints(start(more=f", port: {port}")) == ["10.0.0.1:8081"]


def test_several_ports_and_none_is_named(start, api):
    api.put(slice_of("app-1", ["10.0.0.1"], ports={"metrics": 9000, "http": 8081}))
    fails(start(), "the Service has several ports; the pool's kubernetes.port has to say which")


def test_nothing_is_there(start, api):
    weir = start()
    with weir.client() as c:
        assert b"kubernetes app: there is no EndpointSlice of that Service" in c.get("/").body


def test_hints_hold_for_all_or_for_none(start, api, backends):
    a, b, c, _ = backends.hosts

    def say(*zones):
        hosts = [endpoint(h, ready=True, **({"zones": z} if z else {})) for h, z in zip((a, b, c), zones)]
        api.put(slice_of("app-1", hosts, backends.port))

    say(["here"], ["there"], ["there", "here"])
    weir = start(config="zone: here\n")
    assert endpoints(weir) == [backends.addresses[0], backends.addresses[2]]
    say(["here"], ["there"], None)
    wait_endpoints(weir, backends.addresses[:3])
    say(["there"], ["here"], ["there"])
    wait_endpoints(weir, backends.addresses[1:2])
    say(["there"], ["there"], ["there"])
    wait_endpoints(weir, backends.addresses[:3])


# ---- under load ----------------------------------------------------------------------------------


def test_a_pool_grows_and_shrinks_while_requests_run(start, closing, api):
    backends = closing(Backends(10))
    api.put(slice_of("app-1", backends.hosts[:2], backends.port))
    weir = start()
    load = closing(Load(weir.listeners["web"]))
    for count in (10, 3, 10, 2, 3):
        load.some()
        api.put(slice_of("app-1", backends.hosts[:count], backends.port))
        wait_endpoints(weir, sorted(backends.addresses[:count], key=backends.addresses.index))
        load.some()
    assert load.wrong == [] and weir.metric("weir_errors_total") == 0
    settled(weir)


def kept_waiting_s(weir):
    """For how long its control thread could have run so far, and the machine had others to run."""
    return int(Path(f"/proc/{weir.pid}/task/{weir.pid}/schedstat").read_text().split()[1]) / 1e9


class Ending:
    """The host b ends, and is ready again, while requests run: when that was said, and what weir says
    of when requests began."""

    def __init__(self, api, weir, load, a, b, port):
        self.api, self.weir, self.load, self.port = api, weir, load, port
        self.a, self.b = a, b
        self.ends = []  # (before and after it was said, when it was ready again, kept waiting)

    def say(self, **conditions):
        there = len(self.api.told)
        self.api.put(slice_of("app-1", [self.a, endpoint(self.b, **conditions)], self.port))
        wait_for(lambda: len(self.api.told) > there, "that it was said")
        return self.api.told[there]

    def once(self):
        waited = kept_waiting_s(self.weir)
        before, after = self.say(ready=False, serving=True, terminating=True)
        wait_for(lambda: marks(self.weir)[self.b] == "drained", "that it is to get nothing new")
        waited = kept_waiting_s(self.weir) - waited
        self.load.some(1000)
        self.ends.append((before, after, time.time(), waited))
        self.say(ready=True)
        wait_for(lambda: marks(self.weir)[self.b] == "in", "that it is ready again")
        self.load.some(1000)

    def latest_s(self):
        """How long after it was said the last request began that went there, each time, but for the
        time in which weir could not look at what was said; and in all."""
        self.weir.settle_log()
        log = [json.loads(one) for one in self.weir.log_path.read_text().splitlines()]
        began = [
            datetime.datetime.fromisoformat(one["time"].replace("Z", "+00:00")).timestamp()
            for one in log
            if one["endpoint"].startswith(self.b + ":")
        ]
        assert began
        for before, after, until, waited in self.ends:
            if after - before < 0.005:  # else nobody knows when it really was
                last = max((at + 0.001 - before for at in began if before < at < until), default=0)
                yield last - waited, last


def test_who_ends_gets_nothing_new_within_a_tenth_of_a_second(start, closing, api, backends):
    """By weir's own clock, from when it was said; but for the time in which others had the machine,
    from which its workers suffer as well: most times will do."""
    a, b = backends.hosts[:2]
    api.put(slice_of("app-1", [a, b], backends.port))
    weir = start()
    with contextlib.closing(Load(weir.listeners["web"])) as load:
        load.some()
        api.watched()
        ending = Ending(api, weir, load, a, b, backends.port)
        for _ in range(10):
            ending.once()
        assert load.wrong == []
    latest = list(ending.latest_s())
    assert len(latest) >= 3
    print("the last requests began", *(f"{all * 1000:.0f} ms ({own * 1000:.0f})" for own, all in latest))
    assert sanitizer() or statistics.median(own for own, _ in latest) < 0.1
    assert statistics.median(own for own, _ in latest) < 0.3  # whatever the build
    assert max(all for _, all in latest) > 0.01  # else nothing was seen


def test_the_api_server_is_away(start, closing, api, backends):
    api.put(slice_of("app-1", backends.hosts[:2], backends.port))
    weir = start()
    load = closing(Load(weir.listeners["web"]))
    load.some()
    api.watched()
    api.away()
    fails(weir, "nobody listens there; see whether the server runs, and whether the port is right")
    load.some(2000)
    assert endpoints(weir) == backends.addresses[:2]
    api.back()
    api.put(slice_of("app-1", backends.hosts[:3], backends.port))
    wait_endpoints(weir, backends.addresses[:3])
    works(weir)
    assert load.wrong == [] and weir.metric("weir_errors_total") == 0
    assert [version for _, version in watches(api)][-1] == "101"
    settled(weir)


class Everywhere(Backends):
    """Answers at each address of the loopback."""

    def _listen(self, count):
        self.listening = [socket.create_server(("0.0.0.0", 0), backlog=1024)]

    def _serve(self, sock):
        self.served.setdefault(sock.getsockname()[0], 0)
        super()._serve(sock)


def control_ms(weir):
    """What its control thread has run so far."""
    return int(Path(f"/proc/{weir.pid}/task/{weir.pid}/schedstat").read_text().split()[0]) / 1e6


def is_idle(weir):
    before = control_ms(weir)
    time.sleep(0.1)
    return control_ms(weir) - before < 1


def list_anew_ms(weir, api, slices):
    """What it takes the control thread, from what comes to what the workers are given. Nobody asks
    weir meanwhile, which would be time of that thread, too."""
    api.watched()
    api.slices.update((one["metadata"]["name"], one) for one in slices)
    words = f"pool app: {100 * len(slices) + 1} endpoints, before"
    count, before = weir.stderr().count(words), control_ms(weir)
    api.bookmark()  # the watch was of use
    api.send(line(gone_event()))
    api.end()
    wait_for(lambda: weir.stderr().count(words) > count and is_idle(weir), words)
    return control_ms(weir) - before


def test_ten_thousand_endpoints_in_a_hundred_slices(start, closing, api):
    """Event by event, and as a list. The control thread's alone is the time that this takes."""
    backends = closing(Everywhere(1))
    many = [
        slice_of(f"app-{i:03}", [f"127.{i}.0.{k + 1}" for k in range(100)], backends.port)
        for i in range(100)
    ]
    api.put(slice_of("app-1", ["127.0.1.1"], backends.port))
    weir = start()
    load = closing(Load(weir.listeners["web"]))
    load.some()
    api.watched()
    api.put(*many)
    weir.wait_metric("weir_discovery_endpoints", 10001, pool="app")
    wait_for(lambda: len(endpoints(weir)) == 10001, "ten thousand endpoints")
    load.some(2000)
    for one in many:
        api.drop(one["metadata"]["name"])
    wait_for(lambda: len(endpoints(weir)) == 1, "one endpoint")
    load.some(500)
    spent = [list_anew_ms(weir, api, many[i:]) for i in (1, 0)]
    print("lists of 10,000 endpoints took", *(f"{ms:.0f} ms" for ms in spent), "of the control thread")
    assert sanitizer() or min(spent) < 100
    assert len(endpoints(weir)) == 10001
    load.some(500)
    assert load.wrong == [] and weir.metric("weir_errors_total") == 0
    settled(weir)
