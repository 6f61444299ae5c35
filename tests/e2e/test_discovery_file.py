# SPDX-License-Identifier: Apache-2.0
"""Endpoints from a file: it is read again when it changes, and what is no good changes nothing."""
import json
import os
import shutil
import time

import pytest

from finding import Backends
from harness import run_weir
from peers import wait_for
from test_reload import reload, settled

POOL = """
routes: [ { to: app } ]
pools: { app: { file: %s/endpoints.yaml } }
"""


@pytest.fixture
def backends(closing):
    return closing(Backends(4))


def put(folder, text):
    """Written beside it and renamed, as one should."""
    temp = folder / "next"
    temp.write_text(text if isinstance(text, str) else json.dumps(text))
    os.replace(temp, folder / "endpoints.yaml")


def started(start_weir, folder, text, config=POOL, **options):
    put(folder, text)
    return start_weir(config % folder, **options)


def source(weir, pool="app"):
    return json.loads(weir.admin_get(f"/pools/{pool}").body)["source"]


def endpoints(weir, pool="app"):
    return [e["address"] for e in json.loads(weir.admin_get(f"/pools/{pool}").body)["endpoints"]]


def workers_with_the_latest(weir):
    """How many workers serve what the admin listener knows: it does so before they do."""
    got = weir.admin_get("/explain?url=http://a/")
    return len(json.loads(got.body)["next"]) if got.status == 200 else 0


def wait_endpoints(weir, expected, pool="app"):
    """Waits until the pool has these endpoints, and each worker has it."""
    wait_for(lambda: endpoints(weir, pool) == expected, f"endpoints {expected}")
    workers = weir.metric("weir_workers")
    wait_for(lambda: workers_with_the_latest(weir) == workers, "every worker to use them")


def hosts_that_answer(weir, requests=150):
    """So many that chance leaves out nobody who has a tenth of them. A weir that an upgrade has just
    told to leave may have accepted the connection, and says so."""
    c, hosts = weir.client(), set()
    for _ in range(requests):
        answer = c.get("/")
        hosts.add(answer.body.decode())
        if answer.get("connection") == "close":
            c.close()
            c = weir.client()
    c.close()
    return hosts


def test_endpoints_are_there_when_weir_is_ready(start_weir, tmp, backends):
    weir = started(start_weir, tmp, backends.addresses[:2])
    assert endpoints(weir) == backends.addresses[:2]
    assert hosts_that_answer(weir) == set(backends.hosts[:2])
    assert weir.admin_get("/readyz").status == 200
    weir.wait_metric("weir_discovery_endpoints", 2, pool="app")
    weir.wait_metric("weir_discovery_errors_total", 0, pool="app")


def test_a_change_is_used_without_a_reload(start_weir, tmp, backends):
    weir = started(start_weir, tmp, backends.addresses[:1])
    put(tmp, {"endpoints": backends.addresses[1:3]})
    wait_endpoints(weir, backends.addresses[1:3])
    assert hosts_that_answer(weir) == set(backends.hosts[1:3])
    weir.wait_metric("weir_reloads_total", 0)
    weir.wait_metric("weir_discovery_changes_total", 2, pool="app")
    settled(weir)


def test_rows_of_a_file_say_what_those_of_a_pool_say(start_weir, tmp, backends):
    weir = started(
        start_weir,
        tmp,
        [
            {"address": backends.addresses[0], "weight": 3},
            {"address": backends.addresses[1], "drain": True},
            {"address": backends.addresses[2], "backup": True},
        ],
    )
    assert hosts_that_answer(weir) == {backends.hosts[0]}
    pool = json.loads(weir.admin_get("/pools/app").body)
    assert [e["weight"] for e in pool["endpoints"]] == [3, 1, 1]
    assert [e["excluded"] and e["excluded"]["why"] for e in pool["endpoints"]] == [
        None,
        "drained",
        "backup",
    ]


def test_what_is_malformed_is_told_in_one_line_and_changes_nothing(start_weir, tmp, backends):
    weir = started(start_weir, tmp, backends.addresses[:2])
    put(tmp, "- 127.0.0.1:80\n- { address: 127.0.0.2:80, wieght: 1 }\n- no\n")
    weir.wait_metric("weir_discovery_failing", 1, pool="app")
    said = source(weir)
    assert said["error"] == (
        f'{tmp}/endpoints.yaml:2:28: [1].wieght: unknown key; did you mean "weight"? (and 1 more)'
    )
    assert said["errors"] == 1 and said["endpoints"] == 2
    lines = [line for line in weir.stderr().splitlines() if "wieght" in line]
    assert len(lines) == 1 and lines[0].endswith("; its 2 endpoints stay"), lines
    assert hosts_that_answer(weir) == set(backends.hosts[:2])
    put(tmp, backends.addresses[:3])
    wait_endpoints(weir, backends.addresses[:3])
    assert source(weir)["error"] is None


def test_an_endpoint_may_have_two_addresses(start_weir, tmp, backends):
    """Nobody listens at the first, which it is called by. The second has to be an address as well."""
    first, also = "127.0.0.77:1", backends.addresses[0]
    weir = started(start_weir, tmp, [{"address": first, "also": also}])
    assert hosts_that_answer(weir, 3) == {backends.hosts[0]}
    weir.wait_metric("weir_retries_total", 0)
    assert endpoints(weir) == [first]
    put(tmp, [{"address": first, "also": backends.addresses[1]}])
    wait_for(lambda: hosts_that_answer(weir, 1) == {backends.hosts[1]}, "the other one")
    put(tmp, [{"address": first, "also": "app.internal:80"}])
    weir.wait_metric("weir_discovery_failing", 1, pool="app")
    assert '"app.internal:80": endpoints that are found have addresses' in source(weir)["error"]


def test_what_failed_at_the_second_address_says_so(start_weir, tmp, new_upstream):
    """By its first address it is called everywhere; where its connection led is told beside it."""
    first, other = "127.0.0.77:1", new_upstream()
    put(tmp, [{"address": first, "also": other.address}])
    weir = start_weir((POOL % tmp).replace("to: app", "to: app, retry: { attempts: 0 }"))
    with weir.client() as c:
        c.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        conn = other.accept()
        conn.request()
        conn.close()
        assert c.response().status == 502
    [line] = weir.access_log(1)
    assert line["endpoint"] == first and len(line["trail"]) <= 1, line
    assert all(entry.endswith(f" {first} by {other.address}") for entry in line["trail"]), line
    flight = json.loads(weir.admin_get(f"/requests/{line['id']}").body)
    [leg] = flight["timeline"]
    assert (leg["endpoint"], leg["address"]) == (first, other.address)
    assert flight["endpoint"] == first
    why = run_weir("why", line["id"], "--admin", weir.admin)
    assert f"attempt 1 at {first}, by {other.address}\n" in why.stdout


def test_a_file_that_is_removed_leaves_what_was_in_it(start_weir, tmp, backends):
    weir = started(start_weir, tmp, backends.addresses[:2])
    os.unlink(tmp / "endpoints.yaml")
    weir.wait_metric("weir_discovery_failing", 1, pool="app")
    assert source(weir)["error"].startswith(f"{tmp}/endpoints.yaml: No such file or directory; put")
    assert hosts_that_answer(weir) == set(backends.hosts[:2])


@pytest.mark.parametrize("kind", ["directory", "pipe", "endless"])
def test_what_is_no_file_changes_nothing(start_weir, tmp, backends, kind):
    path = tmp / "endpoints.yaml"
    weir = started(start_weir, tmp, backends.addresses[:1])
    os.unlink(path)
    if kind == "directory":
        path.mkdir()
    elif kind == "pipe":
        os.mkfifo(path)
    else:
        path.symlink_to("/dev/zero")
    wait_for(lambda: source(weir)["errors"] >= 1, "an error")
    assert hosts_that_answer(weir, 3) == {backends.hosts[0]}


def test_symlinks_are_swapped_as_in_a_mount_of_kubernetes(start_weir, tmp, backends):
    for i, name in enumerate(["..1", "..2"]):
        (tmp / name).mkdir()
        (tmp / name / "endpoints.yaml").write_text(json.dumps([backends.addresses[i]]))
    (tmp / "..data").symlink_to("..1")
    (tmp / "endpoints.yaml").symlink_to("..data/endpoints.yaml")
    weir = start_weir(POOL % tmp)
    assert endpoints(weir) == backends.addresses[:1]
    (tmp / "..next").symlink_to("..2")
    os.replace(tmp / "..next", tmp / "..data")
    wait_endpoints(weir, backends.addresses[1:2])


def test_no_endpoints_are_believed_when_they_are_confirmed(start_weir, tmp, backends):
    weir = started(start_weir, tmp, backends.addresses[:2])
    before = time.monotonic()
    put(tmp, [])
    weir.wait_metric("weir_discovery_endpoints", 0, pool="app")
    assert time.monotonic() - before >= 2
    with weir.client() as c:
        response = wait_for(lambda: (r := c.get("/")).status == 503 and r, "no endpoints")
        assert f"file {tmp}/endpoints.yaml: the file lists none" in response.body.decode()
    put(tmp, backends.addresses[:1])
    wait_endpoints(weir, backends.addresses[:1])
    assert hosts_that_answer(weir, 3) == {backends.hosts[0]}


def test_an_empty_file_that_is_filled_again_is_no_change(start_weir, tmp, backends):
    weir = started(start_weir, tmp, backends.addresses[:2])
    put(tmp, [])
    wait_for(lambda: source(weir)["note"] == "the file lists none", "that it was read")
    put(tmp, backends.addresses[:2])
    wait_for(lambda: source(weir)["note"] is None, "that it was read again")
    weir.wait_metric("weir_discovery_changes_total", 1, pool="app")
    weir.wait_metric("weir_generation", 2)


def test_without_endpoints_the_answer_says_why(start_weir, tmp):
    weir = start_weir(POOL % tmp)
    with weir.client() as c:
        response = c.get("/")
        assert response.status == 503
        assert response.body.decode().startswith(
            "503 Service Unavailable: the pool has no usable endpoint: file "
            f"{tmp}/endpoints.yaml: {tmp}/endpoints.yaml: No such file or directory; put"
        )
    weir.said("for 1 pool no endpoints have been found yet")
    assert "pool app: 0 endpoints, before" not in weir.stderr()  # nobody has said so
    assert not source(weir)["known"]


def test_a_reload_keeps_what_was_found(start_weir, tmp, backends):
    weir = started(start_weir, tmp, backends.addresses[:2])
    os.unlink(tmp / "endpoints.yaml")
    weir.wait_metric("weir_discovery_failing", 1, pool="app")
    reload(weir, (POOL % tmp).replace("routes:", "timeouts: { request: 7s }\nroutes:"))
    assert endpoints(weir) == backends.addresses[:2]
    assert hosts_that_answer(weir) == set(backends.hosts[:2])
    reload(weir, (POOL % tmp).replace("endpoints.yaml", "endpoints.yaml, slow_start: 1s"))
    assert endpoints(weir) == backends.addresses[:2]


def test_a_reload_to_another_source_and_back(start_weir, tmp, backends):
    weir = started(start_weir, tmp, backends.addresses[:2])
    (tmp / "other.yaml").write_text(json.dumps(backends.addresses[2:3]))
    reload(weir, (POOL % tmp).replace("endpoints.yaml", "other.yaml"))
    wait_endpoints(weir, backends.addresses[2:3])
    reload(weir, "routes: [ { to: app } ]\npools: { app: [ '%s' ] }" % backends.addresses[3])
    assert endpoints(weir) == backends.addresses[3:]
    weir.wait_metric("weir_discovery_endpoints", 0)
    put(tmp, backends.addresses[:1])
    reload(weir, POOL % tmp)
    wait_endpoints(weir, backends.addresses[:1])


def test_until_another_source_has_answered_what_was_known_serves(start_weir, tmp, backends):
    weir = started(start_weir, tmp, backends.addresses[:2])
    reload(weir, (POOL % tmp).replace("endpoints.yaml", "other.yaml"))
    weir.wait_metric("weir_discovery_failing", 1, pool="app")
    assert endpoints(weir) == backends.addresses[:2]
    assert hosts_that_answer(weir) == set(backends.hosts[:2])
    (tmp / "other.yaml").write_text(json.dumps(backends.addresses[2:3]))
    wait_endpoints(weir, backends.addresses[2:3])


def test_certificates_that_cannot_be_read_keep_no_endpoints_back(start_weir, tmp, backends, authority):
    """Those that were read before are used on."""
    ca = shutil.copy(authority.cert, tmp / "ca.crt")
    tls = f"endpoints.yaml, upstream: {{ tls: {{ ca: {ca} }} }}"
    weir = started(start_weir, tmp, backends.addresses[:2], POOL.replace("endpoints.yaml", tls))
    ca.write_text("neither here nor there")
    weir.wait_metric("weir_tls_cert_reload_failed", 1, pool="app")
    put(tmp, backends.addresses[:3])
    wait_endpoints(weir, backends.addresses[:3])
    assert "cannot be used" not in weir.stderr()


def test_what_is_in_flight_at_a_removed_endpoint_ends(start_weir, tmp, upstream, backends):
    weir = started(start_weir, tmp, [upstream.address])
    with weir.client() as c:
        c.send("GET /a HTTP/1.1\r\nHost: a\r\n\r\n")
        u = upstream.accept()
        u.request()
        put(tmp, backends.addresses[:1])
        wait_endpoints(weir, backends.addresses[:1])
        assert hosts_that_answer(weir, 3) == {backends.hosts[0]}
        u.answer(b"old")
        assert c.response().body == b"old"
    settled(weir)


def test_an_endpoint_that_is_added_has_to_pass_a_check_first(start_weir, tmp, backends):
    config = POOL.replace("endpoints.yaml", "endpoints.yaml, health: { http: /, every: 1s }")
    weir = started(start_weir, tmp, backends.addresses[:1], config)
    assert hosts_that_answer(weir, 3) == {backends.hosts[0]}
    put(tmp, [backends.addresses[0], "127.0.0.1:1"])  # where nobody listens
    wait_endpoints(weir, [backends.addresses[0], "127.0.0.1:1"])
    pool = json.loads(weir.admin_get("/pools/app").body)
    assert pool["endpoints"][1]["excluded"]["why"] in ("unproven", "down")
    assert hosts_that_answer(weir) == {backends.hosts[0]}
    put(tmp, backends.addresses[:2])
    wait_endpoints(weir, backends.addresses[:2])
    wait_for(lambda: hosts_that_answer(weir) == set(backends.hosts[:2]), "the second one")


def test_a_limit_that_comes_with_an_endpoint_holds(start_weir, tmp, auto):
    held = auto(reply=lambda _: None, body=b"a")
    weir = started(start_weir, tmp, [{"address": held.address, "max_requests": 1}])
    with weir.client() as one, weir.client() as two:
        one.send("GET /a HTTP/1.1\r\nHost: a\r\n\r\n")
        held.wait_held(1)
        two.send("GET /b HTTP/1.1\r\nHost: a\r\n\r\n")
        weir.wait_metric("weir_pool_queued", 1, pool="app")
        for client in one, two:
            held.wait_held(1)
            held.release(count=1)
            assert client.response().body == b"a"
    assert [r.target for r in held.requests] == ["/a", "/b"]


@pytest.mark.parametrize("policy", ["p2c", "round_robin", "least_conn", "random", "peak_ewma"])
def test_all_policies_bear_a_pool_without_endpoints(start_weir, tmp, backends, policy):
    config = POOL.replace("endpoints.yaml", "endpoints.yaml, sticky: s, balance: %s" % policy)
    weir = started(start_weir, tmp, [], config)
    with weir.client() as c:
        assert c.get("/").status == 503
    put(tmp, backends.addresses[:2])
    wait_endpoints(weir, backends.addresses[:2])
    assert hosts_that_answer(weir, 3) <= set(backends.hosts[:2])


@pytest.mark.parametrize("policy", ["ring_hash", "maglev"])
def test_policies_with_tables_bear_it_too(start_weir, tmp, backends, policy):
    config = POOL.replace(
        "endpoints.yaml", "endpoints.yaml, balance: { policy: %s, key: path }" % policy
    )
    weir = started(start_weir, tmp, [], config)
    with weir.client() as c:
        assert c.get("/").status == 503
    put(tmp, backends.addresses[:2])
    wait_endpoints(weir, backends.addresses[:2])
    assert len(hosts_that_answer(weir, 3)) == 1
