# SPDX-License-Identifier: Apache-2.0
"""Endpoints from DNS: a real server whose names change, and one that says what no server should."""
import json
import os
import re
import shutil
import socket
import subprocess
import threading
import time
from pathlib import Path

import pytest

import harness

from finding import (
    A,
    AAAA,
    DNSMASQ,
    NOTHING,
    NO_NAME,
    REFUSED,
    SERVFAIL,
    SILENCE,
    SRV,
    Answer,
    Backends,
    Dns,
    Dnsmasq,
    a,
    aaaa,
    record,
    soa,
    srv,
)
from faultpage import FaultPage
from harness import needs_faults, needs_v6, sanitizer
from peers import DEADLINE, wait_for
from test_discovery_file import endpoints, hosts_that_answer, source, wait_endpoints
from test_reload import reload

ROUTES = "routes: [ { to: app } ]\n"


def pool(dns, port=80, name="app.test.", more=""):
    port = f"port: {port}, " if port else ""
    return (
        ROUTES
        + f'pools: {{ app: {{ dns: {{ name: {name}, {port}server: "{dns.address}"{more} }} }} }}\n'
    )


SRV_POOL = dict(port=None, name="_http._tcp.app.test.", more=", type: srv")
SERVICE = "_http._tcp.app.test"


@pytest.fixture
def backends(closing):
    return closing(Backends(4))


@pytest.fixture
def dns(closing):
    return closing(Dns())


@pytest.fixture
def real(closing, tmp):
    """real({name: [addresses]}, options): dnsmasq."""
    if DNSMASQ is None:
        pytest.skip("no dnsmasq")
    return lambda hosts, options=(): closing(Dnsmasq(tmp, hosts, options))


# ---- a real server ------------------------------------------------------------------------------


def test_a_name_of_a_real_server_and_its_changes(start_weir, real, backends):
    server = real({"app.test": backends.hosts[:2]})
    weir = start_weir(pool(server, backends.port))
    assert endpoints(weir) == backends.addresses[:2]
    assert hosts_that_answer(weir) == set(backends.hosts[:2])
    server.say({"app.test": backends.hosts[1:4]})
    wait_endpoints(weir, backends.addresses[1:4])
    assert hosts_that_answer(weir) == set(backends.hosts[1:4])
    server.say({})
    weir.wait_metric("weir_discovery_endpoints", 0, pool="app")
    assert source(weir)["note"].startswith("there is no such name (NXDOMAIN); see whether")
    said = [line for line in weir.stderr().splitlines() if "NXDOMAIN" in line]
    assert len(said) == 1 and said[0].endswith("/etc/hosts is not looked at; it has no endpoints")
    server.say({"app.test": backends.hosts[:1]})
    wait_endpoints(weir, backends.addresses[:1])
    weir.wait_metric("weir_reloads_total", 0)


def test_services_of_a_real_server(start_weir, real, backends):
    options = [
        f"--srv-host=_http._tcp.app.test,one.test,{backends.port},0,3",
        f"--srv-host=_http._tcp.app.test,two.test,{backends.port},1,1",
    ]
    hosts = {"one.test": backends.hosts[:1], "two.test": backends.hosts[1:2]}
    server = real(hosts, options)
    weir = start_weir(pool(server, **SRV_POOL))
    assert endpoints(weir) == backends.addresses[:2]
    assert hosts_that_answer(weir) == {backends.hosts[0]}
    server.say({**hosts, "one.test": backends.hosts[2:3]})
    wait_endpoints(weir, backends.addresses[1:3])


def test_a_real_server_that_is_gone_for_a_while(start_weir, real, closing, backends, tmp):
    server = real({"app.test": backends.hosts[:2]})
    weir = start_weir(pool(server, backends.port))
    server.proc.kill()
    server.proc.wait()
    weir.wait_metric("weir_discovery_failing", 1, pool="app")
    assert "no DNS server gives an answer" in source(weir)["error"]
    assert hosts_that_answer(weir) == set(backends.hosts[:2])
    server.say({"app.test": backends.hosts[2:3]}, tell=False)
    server.start()
    wait_endpoints(weir, backends.addresses[2:3])
    assert source(weir)["error"] is None


def test_ipv6_of_a_real_server(start_weir, real):
    server = real({"app.test": ["::1"], "both.test": ["::1", "127.0.0.1"]})
    weir = start_weir(pool(server, 81))
    assert endpoints(weir) == ["[::1]:81"]
    reload(weir, pool(server, 81, "both.test."))
    wait_endpoints(weir, ["127.0.0.1:81"])
    reload(weir, pool(server, 81, "both.test.", ", type: aaaa"))
    wait_endpoints(weir, ["[::1]:81"])


# ---- what no server should do, and what weir asks -----------------------------------------------


def test_it_is_asked_again_when_the_answer_expires(start_weir, dns):
    dns.zone["app.test", A] = Answer([a("app.test", "127.0.0.1", ttl=1)])
    before = time.monotonic()
    start_weir(pool(dns))
    wait_for(lambda: dns.count("app.test", A) > 1, "the second question")
    assert time.monotonic() - before >= 1
    dns.zone["app.test", A] = Answer([a("app.test", "127.0.0.1", ttl=3600)])
    dns.wait_asked("app.test", A)
    asked = dns.count("app.test", A)
    time.sleep(1.5)  # nothing is to happen
    assert dns.count("app.test", A) == asked


def test_the_ttl_has_a_floor_and_a_ceiling(start_weir, dns):
    dns.zone["app.test", A] = Answer([a("app.test", "127.0.0.1", ttl=0)])
    weir = start_weir(pool(dns, more=", min_ttl: 500ms, max_ttl: 700ms"))
    dns.wait_asked("app.test", A)
    before = time.monotonic()
    dns.wait_asked("app.test", A, 2)
    assert time.monotonic() - before >= 0.5
    dns.zone["app.test", A] = Answer([a("app.test", "127.0.0.1", ttl=3600)])
    dns.wait_asked("app.test", A, 3)
    weir.wait_metric("weir_discovery_errors_total", 0)


@pytest.mark.parametrize(
    "said, told",
    [
        (b"\x81", "no DNS server answers in time"),
        (SERVFAIL, "SERVFAIL"),
        (REFUSED, "REFUSED"),
        (b"\x81\x80\0\1\0\1\0\0\0\0\3app\4test\0\0\1\0\1\xc0\x0c\0\1\0\1\0\0\0\1\0\4\x7f", "malformed"),
        (b"\x81\x80\0\1\0\1\0\0\0\0\3app\4test\0\0\1\0\1\xc0\x1a\0\1\0\1\0\0\0\1\0\0", "malformed"),
    ],
)
def test_an_answer_that_is_none_changes_nothing(start_weir, dns, backends, said, told):
    dns.zone["app.test", A] = Answer([a("app.test", host) for host in backends.hosts[:2]])
    weir = start_weir(pool(dns, backends.port))
    dns.zone["app.test", A] = said
    weir.wait_metric("weir_discovery_failing", 1, pool="app")
    assert told in source(weir)["error"]
    assert endpoints(weir) == backends.addresses[:2]
    assert hosts_that_answer(weir) == set(backends.hosts[:2])
    dns.zone["app.test", A] = Answer([a("app.test", backends.hosts[2])])
    wait_endpoints(weir, backends.addresses[2:3])


def test_silence_changes_nothing(start_weir, dns, backends):
    dns.zone["app.test", A] = Answer([a("app.test", backends.hosts[0])])
    weir = start_weir(pool(dns, backends.port))
    dns.zone["app.test", A] = SILENCE
    weir.wait_metric("weir_discovery_failing", 1, pool="app")
    assert "no DNS server answers in time" in source(weir)["error"]
    assert hosts_that_answer(weir, 3) == {backends.hosts[0]}


def test_absurdly_many_addresses_are_bounded(start_weir, dns):
    """65,535 bytes are all that an answer has. One that is cut short even so is none."""
    records = [a("app.test", f"127.{i >> 8}.{i & 255}.1") for i in range(2000)]
    dns.zone["app.test", A] = Answer(truncated=True)
    dns.zone_tcp["app.test", A] = Answer(records + records[:50])
    weir = start_weir(pool(dns))
    weir.wait_metric("weir_discovery_endpoints", 2000)
    dns.zone_tcp["app.test", A] = Answer(records[:10], truncated=True)
    weir.wait_metric("weir_discovery_failing", 1, pool="app")
    assert "is cut short, over TCP as well" in source(weir)["error"]
    assert len(endpoints(weir)) == 2000


def test_what_does_not_fit_is_asked_for_over_tcp(start_weir, dns):
    hosts = [f"127.0.{i // 250}.{i % 250 + 1}" for i in range(2000)]
    dns.zone["app.test", A] = Answer(truncated=True)
    dns.zone_tcp["app.test", A] = Answer([a("app.test", host) for host in hosts])
    weir = start_weir(pool(dns))
    assert ("app.test", A, "tcp") in dns.asked
    weir.wait_metric("weir_discovery_endpoints", 2000)


@needs_faults
@pytest.mark.exact_calls
def test_a_server_is_not_given_up_for_a_call_that_is_interrupted(start_weir, dns, tmp):
    page = FaultPage(tmp / "page")
    dns.zone["app.test", A] = Answer(truncated=True)
    dns.zone_tcp["app.test", A] = Answer([a("app.test", "127.0.0.2", ttl=1)])
    faults = "seed=1,only=connected,eintr=90%,short=50%"
    weir = start_weir(pool(dns), env=page.env, faults=faults)
    wait_for(lambda: dns.asked.count(("app.test", A, "tcp")) > 2, "questions")
    assert page["eintr"] > 0 and endpoints(weir) == ["127.0.0.2:80"]
    assert "no DNS server gives an answer" not in weir.stderr()


@pytest.mark.parametrize("nothing", [NO_NAME, NOTHING])
def test_nothing_is_believed_when_it_is_confirmed(start_weir, dns, backends, nothing):
    dns.zone["app.test", A] = Answer([a("app.test", backends.hosts[0])])
    weir = start_weir(pool(dns, backends.port))
    before = time.monotonic()
    dns.zone["app.test", A] = dns.zone["app.test", AAAA] = nothing
    weir.wait_metric("weir_discovery_endpoints", 0, pool="app")
    assert time.monotonic() - before >= 2
    with weir.client() as c:
        said = wait_for(lambda: (r := c.get("/")).status == 503 and r, "503").body.decode()
    assert f"dns app.test.: {source(weir)['note']}" in said


def test_one_slip_of_the_server_is_none_of_ours(start_weir, dns, backends):
    dns.zone["app.test", A] = Answer([a("app.test", backends.hosts[0])])
    weir = start_weir(pool(dns, backends.port))
    dns.zone["app.test", A] = NO_NAME
    wait_for(lambda: source(weir)["note"] is not None, "the slip")
    dns.zone["app.test", A] = Answer([a("app.test", backends.hosts[0])])
    wait_for(lambda: source(weir)["note"] is None, "the answer after it")
    weir.wait_metric("weir_discovery_changes_total", 1)


def test_what_is_not_there_is_asked_for_again_as_its_soa_says(start_weir, dns):
    dns.zone["app.test", A] = Answer(authority=[soa("test", ttl=3600)], rcode=3)
    weir = start_weir(pool(dns, more=", min_ttl: 300ms, max_ttl: 300ms"))
    dns.wait_asked("app.test", A, 3)
    assert source(weir)["known"] and source(weir)["errors"] == 0


def test_a_name_that_is_another_ones_alias(start_weir, dns):
    alias = record("app.test", 5, b"\3two\4test\0")
    dns.zone["app.test", A] = Answer([alias, a("two.test", "127.0.0.2")])
    weir = start_weir(pool(dns))
    assert endpoints(weir) == ["127.0.0.2:80"]


def test_search_domains_are_tried(start_weir, dns):
    dns.zone["app.sub.test", A] = Answer([a("app.sub.test", "127.0.0.2")])
    weir = start_weir(pool(dns, name="app"), env={"LOCALDOMAIN": "none.test sub.test"})
    assert endpoints(weir) == ["127.0.0.2:80"]
    assert dns.count("app.none.test", A) >= 1


def test_services_and_their_targets(start_weir, dns, backends):
    dns.zone[SERVICE, SRV] = Answer(
        [
            srv(SERVICE, "one.test", backends.port, 5, 3),
            srv(SERVICE, "two.test", backends.port, 5, 1),
            srv(SERVICE, "three.test", backends.port, 9, 1),
        ],
        additional=[a("one.test", backends.hosts[0])],
    )
    dns.zone["two.test", A] = Answer([a("two.test", backends.hosts[1])])
    dns.zone["three.test", A] = Answer([a("three.test", backends.hosts[2])])
    weir = start_weir(pool(dns, **SRV_POOL))
    assert endpoints(weir) == backends.addresses[:3]
    assert dns.count("one.test", A) == 0  # it was said already
    assert hosts_that_answer(weir) == set(backends.hosts[:2])  # the third is a level behind


def test_a_target_of_which_nobody_knows_keeps_what_it_had(start_weir, dns, backends):
    dns.zone[SERVICE, SRV] = Answer(
        [srv(SERVICE, f"{n}.test", backends.port, 0, 1) for n in ("one", "two")]
    )
    dns.zone["one.test", A] = Answer([a("one.test", backends.hosts[0])])
    dns.zone["two.test", A] = Answer([a("two.test", backends.hosts[1])])
    weir = start_weir(pool(dns, **SRV_POOL))
    assert endpoints(weir) == backends.addresses[:2]
    dns.zone["two.test", A] = SERVFAIL
    dns.zone["one.test", A] = Answer([a("one.test", backends.hosts[2])])
    wait_endpoints(weir, backends.addresses[1:3])
    wait_for(lambda: "two.test: no DNS server gives" in (source(weir)["error"] or ""), "error")
    wait_for(lambda: weir.metric("weir_discovery_errors_total", pool="app") >= 3, "three rounds")
    assert "answers again" not in weir.stderr() and weir.stderr().count("two.test: no DNS") == 1


def test_a_service_that_is_said_not_to_be_there(start_weir, dns):
    dns.zone[SERVICE, SRV] = Answer([srv(SERVICE, ".", 0)])
    weir = start_weir(pool(dns, **SRV_POOL))
    assert source(weir)["known"] and endpoints(weir) == []


def test_many_targets_are_asked_for_a_few_at_a_time(start_weir, dns):
    count = 200
    dns.zone_tcp[SERVICE, SRV] = Answer(
        [srv(SERVICE, f"t{i}.test", 80, 0, 1, ttl=60) for i in range(count)]
    )
    dns.zone[SERVICE, SRV] = Answer(truncated=True)
    for i in range(count):
        dns.zone[f"t{i}.test", A] = Answer([a(f"t{i}.test", f"127.0.1.{i + 1}", ttl=60)])
    weir = start_weir(pool(dns, **SRV_POOL))
    weir.wait_metric("weir_discovery_endpoints", count)


def test_readiness_waits_for_the_first_answer(start_weir, dns, backends):
    """The first question is lost; the second, 1.5 s later, is answered."""
    dns.zone["app.test", A] = SILENCE

    def late(owner=("app.test", A, "udp")):
        wait_for(lambda: owner in dns.asked, "the question")
        dns.zone["app.test", A] = Answer([a("app.test", backends.hosts[0])])

    other = threading.Thread(target=late)
    other.start()
    weir = start_weir(pool(dns, backends.port))
    other.join()
    assert endpoints(weir) == backends.addresses[:1]
    assert "have been found yet" not in weir.stderr()


def test_readiness_waits_for_so_long_only(start_weir, dns):
    dns.zone["app.test", A] = SILENCE
    before = time.monotonic()
    weir = start_weir(pool(dns))
    assert 4.9 < time.monotonic() - before
    weir.said("for 1 pool no endpoints have been found yet")
    with weir.client() as c:
        assert "dns app.test.: it has not answered yet" in c.get("/").body.decode()


def test_a_reload_neither_asks_again_nor_forgets(start_weir, dns):
    dns.zone["app.test", A] = Answer([a("app.test", "127.0.0.2", ttl=3600)])
    config = pool(dns)
    weir = start_weir(config)
    reload(weir, config.replace("routes:", "timeouts: { request: 7s }\nroutes:"))
    assert endpoints(weir) == ["127.0.0.2:80"]
    assert dns.count("app.test", A) == 1


def test_an_ipv6_answer(start_weir, dns):
    dns.zone["app.test", A] = NOTHING
    dns.zone["app.test", AAAA] = Answer([aaaa("app.test", "2001:db8::1")])
    weir = start_weir(pool(dns))
    assert endpoints(weir) == ["[2001:db8::1]:80"]


# ---- hosts with addresses of both families -------------------------------------------------------


def pairs(weir):
    """The addresses of each endpoint."""
    found = json.loads(weir.admin_get("/pools/app").body)["endpoints"]
    return [(e["address"], e.get("also")) for e in found]


def both(dns, owner="app.test", v4="127.0.0.1", v6="::1", ttl=1):
    dns.zone[owner, A] = Answer([a(owner, v4, ttl)])
    dns.zone[owner, AAAA] = Answer([aaaa(owner, v6, ttl)])


@needs_v6
def test_a_host_is_reached_at_its_other_address(start_weir, dns, closing):
    """Nobody listens at the first."""
    app = closing(socket.create_server(("::1", 0), family=socket.AF_INET6))
    app.settimeout(DEADLINE)
    port = app.getsockname()[1]
    both(dns, v4="127.0.0.77")
    weir = start_weir(pool(dns, port))
    assert pairs(weir) == [(f"127.0.0.77:{port}", f"[::1]:{port}")]
    with weir.client() as c:
        c.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        conn = closing(app.accept()[0])
        conn.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
        assert c.response().body == b"ok"
    weir.wait_metric("weir_retries_total", 0)


def test_addresses_of_several_hosts_are_not_joined(start_weir, dns):
    dns.zone["app.test", A] = Answer([a("app.test", f"127.0.0.{i}") for i in (1, 2)])
    dns.zone["app.test", AAAA] = Answer([aaaa("app.test", f"2001:db8::{i}") for i in (1, 2)])
    weir = start_weir(pool(dns))
    assert pairs(weir) == [("127.0.0.1:80", None), ("127.0.0.2:80", None)]
    both(dns, v6="2001:db8::1")
    wait_for(lambda: pairs(weir) == [("127.0.0.1:80", "[2001:db8::1]:80")], "one host")
    dns.zone["app.test", AAAA] = NOTHING
    wait_for(lambda: pairs(weir) == [("127.0.0.1:80", None)], "one address")


@pytest.mark.parametrize("kind, expected", [("a", "127.0.0.1:80"), ("aaaa", "[2001:db8::1]:80")])
def test_one_family_alone(start_weir, dns, kind, expected):
    both(dns, v6="2001:db8::1")
    weir = start_weir(pool(dns, more=f", type: {kind}"))
    assert pairs(weir) == [(expected, None)]
    assert dns.count("app.test", AAAA if kind == "a" else A) == 0


def test_targets_of_services_have_both_addresses(start_weir, dns):
    dns.zone[SERVICE, SRV] = Answer(
        [srv(SERVICE, "one.test", 80), srv(SERVICE, "two.test", 81)],
        additional=[a("one.test", "127.0.0.1"), aaaa("one.test", "2001:db8::1")],
    )
    both(dns, "two.test", "127.0.0.2", "2001:db8::2")
    weir = start_weir(pool(dns, **SRV_POOL))
    assert pairs(weir) == [
        ("127.0.0.1:80", "[2001:db8::1]:80"),
        ("127.0.0.2:81", "[2001:db8::2]:81"),
    ]
    assert dns.count("one.test", AAAA) == 0


@pytest.mark.parametrize("said", [SERVFAIL, SILENCE])
def test_where_there_is_ipv4_nobody_waits_for_ipv6(start_weir, dns, said):
    """What was known of it is known on; that of another host is not."""
    dns.zone["app.test", A] = Answer([a("app.test", "127.0.0.1")])
    dns.zone["app.test", AAAA] = said
    before = time.monotonic()
    weir = start_weir(pool(dns))
    assert pairs(weir) == [("127.0.0.1:80", None)]
    assert time.monotonic() - before < 5 or sanitizer(), "it waited for all repetitions"
    both(dns)
    wait_for(lambda: pairs(weir) == [("127.0.0.1:80", "[::1]:80")], "both")
    dns.zone["app.test", AAAA] = said
    dns.wait_asked("app.test", AAAA, 3)
    assert pairs(weir) == [("127.0.0.1:80", "[::1]:80")]
    dns.zone["app.test", A] = Answer([a("app.test", "127.0.0.2")])
    wait_for(lambda: pairs(weir) == [("127.0.0.2:80", None)], "the other host")
    assert source(weir)["errors"] == 0 and source(weir)["error"] is None


def test_without_an_answer_about_ipv4_nothing_is_known(start_weir, dns):
    both(dns)
    weir = start_weir(pool(dns))
    dns.zone["app.test", A] = SERVFAIL
    weir.wait_metric("weir_discovery_failing", 1, pool="app")
    assert pairs(weir) == [("127.0.0.1:80", "[::1]:80")]


def test_that_there_is_no_ipv6_is_no_reason_to_ask_again(start_weir, dns):
    dns.zone["app.test", A] = Answer([a("app.test", "127.0.0.1", ttl=3600)])
    dns.zone["app.test", AAAA] = Answer(authority=[soa("test", ttl=1)])
    weir = start_weir(pool(dns, more=", min_ttl: 100ms, max_ttl: 1h"))
    time.sleep(1.5)  # nothing is to happen
    assert dns.count("app.test", A) == 1 and source(weir)["errors"] == 0


# ---- resolv.conf ---------------------------------------------------------------------------------

MOUNTS = ["unshare", "--mount", "sh", "-ec"]


def can_mount():
    return not subprocess.run([*MOUNTS, "mount --bind /tmp /mnt"], capture_output=True).returncode


@pytest.fixture
def name_servers(closing):
    """Two that a resolv.conf can name, which has no ports. The one says 127.0.0.1, the other .2."""
    found = []
    for i in (1, 2):
        host = f"127.{70 + i}.{os.getpid() >> 8 & 255}.{os.getpid() & 255}"
        try:
            found.append(closing(Dns(host, 53)))
        except OSError as e:
            pytest.skip(f"no port 53 at {host}: {e}")
        found[-1].zone["app.test", A] = Answer([a("app.test", f"127.0.0.{i}")])
    return found


@pytest.fixture
def etc(tmp):
    """What weir has as /etc, where resolv.conf is still missing."""
    folder = tmp / "etc"
    folder.mkdir()
    for name in ("passwd", "group", "nsswitch.conf", "hosts", "ld.so.cache"):
        if Path("/etc", name).exists():
            shutil.copy(Path("/etc", name), folder)
    folder.chmod(0o755)
    return folder


@pytest.fixture
def apart():
    """A folder that everybody may look into."""
    folder = Path(harness.new_tmp())
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


@pytest.mark.skipif(os.geteuid() != 0 or not can_mount(), reason="only root can have another /etc")
@pytest.mark.parametrize(
    "kind, user, follows",
    [
        ("file", "nobody", True),
        ("file", "root", False),
        ("symlink", "root", True),
        ("symlink", "nobody", True),
        ("mount", "root", True),
        ("mount", "nobody", True),
    ],
)
def test_resolv_conf_changes(start_weir, apart, etc, name_servers, kind, user, follows):
    """By renaming another one over it; of a mounted one, as in pods, the bytes."""
    old, new = name_servers
    path, link, mount = etc / "resolv.conf", etc / "resolv.conf", ""
    if kind == "symlink":
        path = apart / "resolv.conf"
        link.symlink_to(path)
    elif kind == "mount":
        path = apart / "resolv.conf"
        link.touch()
        mount = f"mount --bind {path} /etc/resolv.conf;"
    path.write_text(f"nameserver {old.host}\n")
    config = ROUTES + "pools: { app: { dns: { name: app.test., port: 80, max_ttl: 1s } } }\n"
    config += f"user: {user}\n" if user != "root" else ""
    script = f"mount --bind {etc} /etc; {mount} chmod 777 .; exec \"$@\""
    weir = start_weir(config, wrap=[*MOUNTS, script, "sh"])
    assert endpoints(weir) == ["127.0.0.1:80"]
    if kind == "mount":
        path.write_text(f"nameserver {new.host}\n")
    else:
        other = path.with_suffix(".new")
        other.write_text(f"nameserver {new.host}\n")
        other.rename(path)
    walls = "no_new_privs, landlock" in weir.stderr()
    if follows or not walls:
        wait_endpoints(weir, ["127.0.0.2:80"])
        return
    old.zone["app.test", A] = Answer([a("app.test", "127.0.0.3")])
    wait_endpoints(weir, ["127.0.0.3:80"])
    said = [line for line in weir.stderr().splitlines() if "resolv.conf" in line]
    assert len(said) == 1 and "restart weir" in said[0], said
    assert new.asked == [] and source(weir)["errors"] == 0


def test_the_example_of_the_readme(start_weir, dns, backends, tmp):
    """As it stands there, but for ports and addresses."""
    text = (harness.ROOT / "README.md").read_text().split("\n## Discovery\n")[1].split("\n## ")[0]
    config, file, *_ = re.findall(r"^```yaml\n(.*?)^```", text, re.M | re.S)

    def put(text, old, new):
        assert old in text, old
        return text.replace(old, new)

    dns.zone["shop.internal", A] = Answer([a("shop.internal", backends.hosts[1])])
    service = "_http._tcp.mail.internal"
    dns.zone[service, SRV] = Answer(
        [srv(service, "one.internal", backends.port)],
        additional=[a("one.internal", backends.hosts[2])],
    )
    config = put(config, "10.0.0.53:53", dns.address)
    config = put(config, '":8000"', '"127.0.0.1:0"')
    config = put(config, "127.0.0.1:9900", "127.0.0.1:0")
    config = put(config, "port: 8080", f"port: {backends.port}")
    file = put(file, "10.0.0.1:8080", backends.addresses[0])
    (tmp / "endpoints.yaml").write_text(file)
    weir = start_weir(put(config, "endpoints.yaml", f"{tmp}/endpoints.yaml"))
    with weir.client() as c:
        assert c.get("/mail").body.decode() == backends.hosts[2]
        wait_for(lambda: c.get("/shop").body.decode() == backends.hosts[1], "a check that passes")
    assert pairs(weir) == [
        (backends.addresses[0], None),
        ("10.0.0.2:8080", None),
        ("10.0.0.3:8080", "[2001:db8::3]:8080"),
    ]
