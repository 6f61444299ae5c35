# SPDX-License-Identifier: Apache-2.0
"""Endpoints from etcd: a real one whose keys come and go, and one that says what none should."""
import json
import os
import re
import signal
import subprocess
import threading
import time

import pytest

import etcd as etcds
import harness

from etcd import Door, Etcd, Gateway, b64, kv, line, page
from finding import Backends
from peers import DEADLINE, wait_for
from test_discovery_file import endpoints, hosts_that_answer, source, wait_endpoints
from test_discovery_load import Load
from test_reload import reload, settled

needs_etcd = pytest.mark.skipif(etcds.ETCD is None, reason="no etcd")
P = "/services/app/"


def pool(*servers, prefix=P, more=""):
    servers = ", ".join(f'"{getattr(s, "address", s)}"' for s in servers)
    return (
        "routes: [ { to: app } ]\n"
        f"pools: {{ app: {{ etcd: {{ servers: [{servers}], prefix: {prefix}{more} }} }} }}\n"
    )


@pytest.fixture
def backends(closing):
    return closing(Backends(4))


@pytest.fixture(scope="session")
def shared(tmp_path_factory):
    """One etcd for all tests of this process that leave it as it is."""
    if etcds.ETCD is None:
        pytest.skip("no etcd")
    one = Etcd(tmp_path_factory.mktemp("etcd"))
    yield one
    one.close()


@pytest.fixture
def real(shared, request):
    """The shared one, and a prefix of the test's own."""
    shared.prefix = f"/{request.node.name}/"
    return shared


@pytest.fixture
def own(closing, tmp):
    """own(**options): an etcd of the test's own."""
    if etcds.ETCD is None:
        pytest.skip("no etcd")
    return lambda **options: closing(Etcd(tmp / "etcd", **options))


def registered(real, addresses):
    real.say(real.prefix, {str(i): address for i, address in enumerate(addresses)})


# ---- a real one ---------------------------------------------------------------------------------


def test_keys_come_and_go(start_weir, real, backends):
    registered(real, backends.addresses[:2])
    weir = start_weir(pool(real, prefix=real.prefix))
    assert endpoints(weir) == backends.addresses[:2]
    assert hosts_that_answer(weir) == set(backends.hosts[:2])
    real.put(real.prefix + "2", backends.addresses[2])
    wait_endpoints(weir, backends.addresses[:3])
    real.delete(real.prefix + "0")
    wait_endpoints(weir, backends.addresses[1:3])
    assert hosts_that_answer(weir) == set(backends.hosts[1:3])
    assert source(weir)["from"] == f"etcd {real.prefix}"
    weir.wait_metric("weir_reloads_total", 0)
    weir.wait_metric("weir_discovery_errors_total", 0, pool="app")
    settled(weir)


def test_values_say_what_rows_of_a_pool_say(start_weir, real, backends):
    one, two, three = backends.addresses[:3]
    real.put(real.prefix + "1", json.dumps({"address": one, "weight": 3}))
    real.put(real.prefix + "2", f"{{ address: {two}, drain: true }}")
    real.put(real.prefix + "3", json.dumps({"address": three, "backup": True, "zone": "b"}))
    weir = start_weir(pool(real, prefix=real.prefix))
    assert hosts_that_answer(weir) == {backends.hosts[0]}
    said = json.loads(weir.admin_get("/pools/app").body)["endpoints"]
    assert [e["weight"] for e in said] == [3, 1, 1]
    assert [e["excluded"] and e["excluded"]["why"] for e in said] == [None, "drained", "backup"]
    real.put(real.prefix + "2", two)
    wait_for(lambda: backends.hosts[1] in hosts_that_answer(weir), "what is drained no more")


def test_a_lease_that_ends_takes_its_endpoint_with_it(start_weir, real, backends):
    real.put(real.prefix + "0", backends.addresses[0])
    real.put(real.prefix + "1", backends.addresses[1], lease=real.lease(1))
    weir = start_weir(pool(real, prefix=real.prefix))
    wait_endpoints(weir, backends.addresses[:1])
    assert hosts_that_answer(weir) == {backends.hosts[0]}


def test_a_value_that_is_none_leaves_what_was_there(start_weir, real, backends):
    registered(real, backends.addresses[:2])
    weir = start_weir(pool(real, prefix=real.prefix))
    real.put(real.prefix + "1", json.dumps({"address": backends.addresses[3], "wieght": 1}))
    real.put(real.prefix + "2", backends.addresses[2])
    wait_endpoints(weir, backends.addresses[:3])
    error = wait_for(lambda: source(weir)["error"], "an error")
    assert error == f'{real.prefix}1:1:32: wieght: unknown key; did you mean "weight"?'.replace(
        ":1:32:", re.search(r":1:\d+:", error)[0]
    )
    weir.wait_metric("weir_discovery_failing", 1, pool="app")
    real.put(real.prefix + "3", "app.internal:80")
    wait_for(lambda: "(and 1 more keys)" in source(weir)["error"], "both")
    real.delete(real.prefix + "3")
    real.put(real.prefix + "1", backends.addresses[1])
    wait_for(lambda: source(weir)["error"] is None, "no error")
    assert endpoints(weir) == backends.addresses[:3]


def test_no_keys_are_believed_when_that_is_confirmed(start_weir, real, backends):
    registered(real, backends.addresses[:2])
    weir = start_weir(pool(real, prefix=real.prefix))
    before = time.monotonic()
    registered(real, [])
    weir.wait_metric("weir_discovery_endpoints", 0, pool="app")
    assert time.monotonic() - before >= 2
    assert source(weir)["note"] == "no key begins with the prefix"
    with weir.client() as c:
        said = wait_for(lambda: (r := c.get("/")).status == 503 and r, "503").body.decode()
    assert f"etcd {real.prefix}: no key begins with the prefix" in said
    registered(real, backends.addresses[2:3])
    wait_endpoints(weir, backends.addresses[2:3])


def test_thousands_of_keys(start_weir, real):
    """More than a page of them."""
    addresses = [f"127.1.{i // 250}.{i % 250 + 1}:80" for i in range(2500)]
    for i in range(0, 2500, 100):  # in transactions of 100 keys
        puts = [
            {"requestPut": {"key": b64(f"{real.prefix}{j:05}"), "value": b64(addresses[j])}}
            for j in range(i, i + 100)
        ]
        real.ask("/v3/kv/txn", {"success": puts})
    weir = start_weir(pool(real, prefix=real.prefix))
    weir.wait_metric("weir_discovery_endpoints", 2500, pool="app")
    assert endpoints(weir) == addresses
    real.delete(real.prefix + "00100", real.prefix + "00200")
    wait_endpoints(weir, addresses[:100] + addresses[200:])
    weir.wait_metric("weir_discovery_errors_total", 0)


def test_a_restart_changes_nothing_and_loses_nothing(start_weir, own, backends):
    etcd = own()
    etcd.say(P, {"0": backends.addresses[0], "1": backends.addresses[1]})
    weir = start_weir(pool(etcd))
    etcd.kill()
    weir.wait_metric("weir_discovery_failing", 1, pool="app")
    assert f"{etcd.address}: nobody listens there" in wait_for(
        lambda: (e := source(weir)["error"]) and "nobody" in e and e, "the reason"
    )
    assert hosts_that_answer(weir) == set(backends.hosts[:2])
    etcd.restart()
    weir.wait_metric("weir_discovery_failing", 0, pool="app")
    etcd.put(P + "2", backends.addresses[2])
    wait_endpoints(weir, backends.addresses[:3])
    assert source(weir)["error"] is None


def test_what_is_compacted_meanwhile_is_listed_anew(start_weir, own, closing, backends):
    """weir is cut off while a key goes and etcd forgets that it was there."""
    etcd = own()
    etcd.say(P, {"0": backends.addresses[0], "1": backends.addresses[1]})
    door = closing(Door(etcd.address))
    weir = start_weir(pool(door))
    assert endpoints(weir) == backends.addresses[:2]
    door.shut()
    weir.wait_metric("weir_discovery_failing", 1, pool="app")
    etcd.delete(P + "0")
    etcd.compact(etcd.put(P + "2", backends.addresses[2]))
    assert endpoints(weir) == backends.addresses[:2]
    door.open()
    wait_endpoints(weir, backends.addresses[1:3])
    weir.said("etcd has compacted what had yet to be read")
    etcd.put(P + "3", backends.addresses[3])
    wait_endpoints(weir, backends.addresses[1:4])


def test_another_store_at_the_same_address(start_weir, own, tmp, closing, backends):
    """As one that was restored from a backup: what weir stands on has not happened there."""
    etcd = own()
    for _ in range(20):
        etcd.put(P + "0", backends.addresses[0])
    weir = start_weir(pool(etcd))
    etcd.kill()
    etcds.shutil.rmtree(etcd.folder / "data")
    etcd.start()
    etcd.put(P + "1", backends.addresses[1])
    wait_endpoints(weir, backends.addresses[1:2])
    etcd.put(P + "2", backends.addresses[2])
    wait_endpoints(weir, backends.addresses[1:3])


def test_the_next_member_is_asked(start_weir, own, closing, backends):
    etcd = own()
    etcd.put(P + "0", backends.addresses[0])
    dead = closing(Door(etcd.address))
    dead.shut()
    door = closing(Door(etcd.address))
    weir = start_weir(pool(dead, door))
    assert endpoints(weir) == backends.addresses[:1]
    weir.wait_metric("weir_discovery_errors_total", 0)
    dead.open()
    door.shut()
    etcd.put(P + "1", backends.addresses[1])
    wait_endpoints(weir, backends.addresses[:2])


def test_users(start_weir, own, backends, tmp):
    etcd = own()
    etcd.put(P + "0", backends.addresses[0])
    (tmp / "password").write_text('s"cret\n')
    known = f", user: weir, password_file: {tmp}/password"
    weir = start_weir(pool(etcd, more=known))  # nobody asks yet
    assert endpoints(weir) == backends.addresses[:1]
    etcd.demand_users("weir", 's"cret', P)
    etcd.restart()  # which forgets its tokens
    etcd.put(P + "1", backends.addresses[1])
    wait_endpoints(weir, backends.addresses[:2])
    etcd.restart()
    etcd.put(P + "2", backends.addresses[2])
    wait_endpoints(weir, backends.addresses[:3])
    assert 's"cret' not in weir.stderr()


@pytest.mark.parametrize(
    "more, prefix, told",
    [
        ("", P, "etcd wants to know who asks: give it a user and a password_file"),
        (
            ", user: weir, password_file: $TMP/wrong",
            P,
            'etcd does not know the user "weir" with the password in ',
        ),
        (
            ", user: weir, password_file: $TMP/password",
            "/other/",
            'the user "weir" may not read "/other/"; `etcdctl role grant-permission ROLE read '
            "--prefix=true /other/` allows it",
        ),
        (", user: weir, password_file: $TMP/none", P, "none: No such file or directory"),
    ],
)
def test_users_that_may_not(start_weir, own, tmp, more, prefix, told):
    etcd = own()
    etcd.demand_users("weir", "secret", P)
    (tmp / "password").write_text("secret")
    (tmp / "wrong").write_text("guess")
    weir = start_weir(pool(etcd, prefix=prefix, more=more.replace("$TMP", str(tmp))))
    wait_for(lambda: told in (source(weir)["error"] or ""), f"{told}")
    if prefix == "/other/":
        etcd.put("/other/1", "127.0.0.1:1")
        etcd.allow("/other/")
        wait_endpoints(weir, ["127.0.0.1:1"])


def test_tls_with_certificates_on_both_sides(start_weir, own, authority, backends):
    mine, its = authority.issue("weir"), authority.issue("localhost", "127.0.0.1")
    etcd = own(tls=its, client_ca=authority.cert)
    etcd.put(P + "0", backends.addresses[0])
    tls = f", tls: {{ ca: {authority.cert}, cert: {mine.cert}, key: {mine.key} }}"
    weir = start_weir(pool(etcd, more=tls))
    assert endpoints(weir) == backends.addresses[:1]
    etcd.put(P + "1", backends.addresses[1])
    wait_endpoints(weir, backends.addresses[:2])


def test_tls_that_nobody_vouches_for(start_weir, own, authority, tmp, backends):
    from authority import Authority

    other = Authority(tmp / "other", "others")
    etcd = own(tls=authority.issue("localhost", "127.0.0.1"))
    etcd.put(P + "0", backends.addresses[0])
    weir = start_weir("sandbox: false\n" + pool(etcd, more=f", tls: {{ ca: {other.cert} }}"))
    error = wait_for(lambda: source(weir)["error"], "an error")
    assert error.startswith(f"{etcd.address}: ") and "certificate" in error, error
    reload(weir, "sandbox: false\n" + pool(etcd, more=f", tls: {{ ca: {authority.cert} }}"))
    wait_endpoints(weir, backends.addresses[:1])


def test_tls_where_there_is_none(start_weir, real):
    weir = start_weir(pool(real, prefix=real.prefix, more=", tls: {}"))
    error = wait_for(lambda: source(weir)["error"], "an error")
    ended = ("the peer closed the connection", "connection reset by peer")  # as etcd happens to
    assert error in [
        f"{real.address}: TLS: {how}; the server has to speak TLS there, with a certificate for "
        "127.0.0.1 by this system's authorities"
        for how in ended
    ]


def test_a_pool_grows_and_shrinks_while_requests_run(start_weir, real, closing):
    backends = closing(Backends(10))
    registered(real, backends.addresses[:2])
    weir = start_weir(pool(real, prefix=real.prefix))
    load = closing(Load(weir.listeners["web"]))
    for count in (10, 3):
        load.some()
        registered(real, backends.addresses[:count])
        wait_endpoints(weir, backends.addresses[:count])
        load.some()
    assert load.wrong == []
    assert all(backends.served.values()), backends.served
    weir.wait_metric("weir_errors_total", 0)
    settled(weir)


@pytest.mark.skipif(etcds.ETCDCTL is None, reason="no etcdctl")
def test_the_registry_of_the_readme(start_weir, own):
    """As it stands there, but for ports and the time of the lease."""
    text = (harness.ROOT / "README.md").read_text().split("\n### A service registry in etcd\n")[1]
    [config] = re.findall(r"^```yaml\nversion: 1\n(.*?)^```", text.split("\n## ")[0], re.M | re.S)
    commands = re.search(r"^```sh\n(.*?)^```", text, re.M | re.S)[1]
    assert "grant 10 " in commands
    etcd = own()
    for said, meant in (("2379", str(etcd.port)), ('":8000"', "127.0.0.1:0"), ("9900", "0")):
        assert said in config
        config = config.replace(said, meant)
    weir = start_weir(config)
    backend = subprocess.Popen(
        ["sh", "-ec", commands.replace("grant 10 ", "grant 2 ")],
        env=etcd.environment(),
        stdout=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        wait_endpoints(weir, ["127.0.0.1:8080", "127.0.0.1:8081"])
        assert json.loads(weir.admin_get("/pools/app").body)["endpoints"][1]["weight"] == 2
    finally:
        os.killpg(backend.pid, signal.SIGKILL)
        backend.wait()
    wait_endpoints(weir, ["127.0.0.1:8080"])


# ---- what no etcd should say --------------------------------------------------------------------


def listed(*addresses, revision=5):
    """A Gateway's lists."""
    return lambda _: page([kv(f"{P}{i}", a, 2) for i, a in enumerate(addresses)], revision)


def put(i, address, revision):
    return line(revision, events=[{"kv": kv(f"{P}{i}", address, revision)}])


def gone(i, revision):
    return line(revision, events=[{"type": "DELETE", "kv": {"key": b64(f"{P}{i}")}}])


CREATED = line(5, created=True)


def test_a_line_that_comes_in_pieces_and_is_cut(start_weir, closing, backends):
    """What comes of a line that is no whole one is nothing; the next watch begins where that one
    stood."""
    one = put(1, backends.addresses[1], 6)
    two = put(2, backends.addresses[2], 7)
    asked = []

    def watches(request):
        asked.append(int(request["start_revision"]))
        if len(asked) == 1:
            yield from [CREATED[:7], CREATED[7:] + one[:20], one[20:] + two[:-20], "cut"]
        elif len(asked) == 2:
            yield from [line(7, created=True), two]
            gateway.silence()

    gateway = closing(Gateway(listed(backends.addresses[0]), watches))
    weir = start_weir(pool(gateway))
    wait_endpoints(weir, backends.addresses[:3])
    assert asked[:2] == [6, 7]
    assert gateway.count("/v3/kv/range") == 1


def known(tmp):
    """A pool's user, whose tokens a Gateway gives."""
    (tmp / "password").write_text("secret")
    return f", silence: 1s, user: weir, password_file: {tmp}/password"


REFUSED = "rpc error: code = PermissionDenied desc = etcdserver: permission denied"


def watch_that_is_refused_once(gateway, watched, found):
    """The second is; the third tells of one endpoint more."""
    watched.append(gateway.asked[-1][2]["Authorization"])
    if len(watched) == 2:
        yield line(5, created=True, canceled=True, cancel_reason=REFUSED)
        return
    yield CREATED
    if len(watched) == 3:
        yield put(1, found, 6)
    gateway.silence()


def test_a_token_that_is_over_when_a_watch_is_begun(start_weir, closing, backends, tmp):
    """Older ones say then that the user may not read: only of a new token is it true."""
    tokens, watched = [], []

    def says(request):
        if "password" in request:
            tokens.append(f"token{len(tokens)}")
            return json.dumps({"header": etcds.header(5), "token": tokens[-1]}).encode()
        return listed(backends.addresses[0])(request)

    watches = lambda _: watch_that_is_refused_once(gateway, watched, backends.addresses[1])
    gateway = closing(Gateway(says, watches))
    weir = start_weir(pool(gateway, more=known(tmp)))
    wait_endpoints(weir, backends.addresses[:2])
    assert watched[:3] == ["token0", "token0", "token1"]
    weir.wait_metric("weir_discovery_errors_total", 0, pool="app")


def test_users_that_count_from_now_on(start_weir, closing, backends, tmp):
    """When the first watch was begun, nobody asked for a token."""
    watched = []

    def says(request):
        if "password" in request and not watched:
            return 400, b'{"error":"etcdserver: authentication is not enabled","code":9}'
        if "password" in request:
            return json.dumps({"header": etcds.header(5), "token": "token"}).encode()
        return listed(backends.addresses[0])(request)

    watches = lambda _: watch_that_is_refused_once(gateway, watched, backends.addresses[1])
    gateway = closing(Gateway(says, watches))
    weir = start_weir(pool(gateway, more=known(tmp)))
    wait_endpoints(weir, backends.addresses[:2])
    assert watched[:3] == [None, None, "token"]
    weir.wait_metric("weir_discovery_errors_total", 0, pool="app")


def test_users_that_count_from_now_on_and_nobody_is_named(start_weir, closing, backends):
    watched = []

    def watches(_):
        watched.append(1)
        if len(watched) == 1:
            yield line(5, created=True, canceled=True, cancel_reason=REFUSED)
        else:
            yield CREATED
            gateway.silence()

    gateway = closing(Gateway(listed(backends.addresses[0]), watches))
    weir = start_weir(pool(gateway))
    wait_for(lambda: len(watched) == 2, "another watch")
    weir.said("wants to know who asks: give it a user and a password_file")


NONSENSE = [
    (b'{"result":\n', "malformed JSON"),
    (b"[]\n", "no JSON object"),
    (b'{"result":{"events":[{"kv":{"key":"*"}}]}}\n', "a key that is none"),
    (b'{"result":{"header":{"revision":"x"}}}\n', "a number that is none"),
    (b"<html>\n", "malformed JSON"),
    (b'{"error":{"grpc_code":14,"message":"etcdserver: no leader"}}\n', "etcdserver: no leader"),
    (line(5, canceled=True, cancel_reason="for no reason"), "for no reason"),
    (b'{"error":"etcdserver: no leader","code":14}', "etcdserver: no leader"),  # and no line's end
]


@pytest.mark.parametrize("said, told", NONSENSE, ids=range(len(NONSENSE)))
def test_nonsense_in_a_watch_changes_nothing(start_weir, closing, backends, said, told):
    watched = []

    def watches(_):
        watched.append(1)
        yield CREATED
        if len(watched) == 1:
            yield said
        else:
            yield put(1, backends.addresses[1], 6)
            gateway.silence()

    gateway = closing(Gateway(listed(backends.addresses[0]), watches))
    weir = start_weir(pool(gateway))
    wait_endpoints(weir, backends.addresses[:2])
    weir.wait_metric("weir_discovery_errors_total", 1, pool="app")
    [error] = [text for text in weir.stderr().splitlines() if "its 1 endpoint stays" in text]
    assert f"etcd {P}: {gateway.address}: " in error and told in error, error


@pytest.mark.parametrize(
    "said, told",
    [
        (b"", "malformed JSON"),
        (b'{"kvs":7}', "kvs is not a list"),
        ((404, b"404 page not found\n"), "(status 404)"),
        ((503, b'{"error":"etcdserver: request timed out","code":14}'), "request timed out"),
        (b'{"header":{"revision":"5"},"more":true}', "none of etcd's"),
        (b'{"header":{"revision":"5"},"x":"' + b"x" * (8 << 20) + b'"}', "bytes"),
        (b"[" * 100000, "levels deep"),
    ],
    ids=range(7),
)
def test_a_list_that_is_none(start_weir, closing, backends, said, told):
    lists = [said, listed(backends.addresses[0])(None)]

    def watches(_):
        yield CREATED
        gateway.silence()

    gateway = closing(Gateway(lambda _: lists.pop(0), watches))
    weir = start_weir(pool(gateway))
    wait_endpoints(weir, backends.addresses[:1])
    [error] = [text for text in weir.stderr().splitlines() if "it has no endpoints yet" in text]
    assert told in error, error


def test_a_message_without_end_is_not_kept(start_weir, closing, backends):
    watched = []

    def watches(_):
        watched.append(1)
        yield CREATED
        for _ in range(200 if len(watched) == 1 else 0):
            yield b" " * 65536
        gateway.silence()

    gateway = closing(Gateway(listed(backends.addresses[0]), watches))
    weir = start_weir(pool(gateway))
    wait_for(lambda: len(watched) > 1, "another watch")
    weir.said("a message of more than 8388608 bytes")
    assert endpoints(weir) == backends.addresses[:1]


def test_a_watch_that_falls_silent_is_begun_anew(start_weir, closing, backends):
    """As behind a firewall that has forgotten the connection: it is no failure."""
    asked = []

    def watches(request):
        asked.append(int(request["start_revision"]))
        yield line(9, created=True)
        if len(asked) == 1:
            yield line(8)  # a sign of life, by which all up to 8 has been told
        if len(asked) == 3:
            yield put(1, backends.addresses[1], 10)
        gateway.silence()

    gateway = closing(Gateway(listed(backends.addresses[0]), watches))
    weir = start_weir(pool(gateway, more=", silence: 1s"))
    wait_endpoints(weir, backends.addresses[:2])
    assert asked[:3] == [6, 9, 9]
    weir.wait_metric("weir_discovery_errors_total", 0, pool="app")


def test_a_change_in_parts_counts_when_it_is_whole(start_weir, closing, backends):
    """A large transaction comes in fragments; what is cut between them comes once more."""
    asked = []

    def watches(request):
        asked.append(int(request["start_revision"]))
        yield CREATED
        events = [{"kv": kv(f"{P}1", backends.addresses[1], 6)}]
        yield line(6, events=events, fragment=True)
        if len(asked) == 1:
            yield "cut"
        else:
            yield put(2, backends.addresses[2], 6)
            gateway.silence()

    gateway = closing(Gateway(listed(backends.addresses[0]), watches))
    weir = start_weir(pool(gateway))
    wait_endpoints(weir, backends.addresses[:3])
    assert asked[:2] == [6, 6]


def test_members_that_take_connections_and_say_nothing(start_weir, closing, backends):
    """The next one is asked after 5 s."""
    silent = closing(Gateway(lambda _: silent.silence() or b"", lambda _: []))

    def watches(_):
        yield CREATED
        gateway.silence()

    gateway = closing(Gateway(listed(backends.addresses[0]), watches))
    weir = start_weir(pool(silent, gateway))
    wait_endpoints(weir, backends.addresses[:1])
    weir.wait_metric("weir_discovery_errors_total", 0, pool="app")


def test_what_is_asked(start_weir, closing, backends):
    def watches(_):
        yield CREATED
        gateway.silence()

    gateway = closing(Gateway(listed(backends.addresses[0]), watches))
    start_weir(pool(gateway))
    wait_for(lambda: gateway.count("/v3/watch"), "a watch")
    (path, request, headers), (_, watch, watch_headers) = gateway.asked[:2]
    assert path == "/v3/kv/range"
    key, end = b64(P), b64("/services/app0")
    assert request == {"key": key, "range_end": end, "revision": "0", "limit": "1000"}
    create = watch["create_request"]
    assert (create["key"], create["range_end"]) == (key, end)
    assert create["start_revision"] == "6" and create["progress_notify"] and create["fragment"]
    assert watch_headers["Grpc-Metadata-Hasleader"] == "true"
    assert headers["Authorization"] is None


@harness.one_thread
def test_too_many_keys(start_weir, closing, backends):
    """More than a source may have: the first answer is none. Once one of them goes it is looked
    how many there are."""
    rows = [f"127.{i >> 16}.{i >> 8 & 255}.{i & 255}:80" for i in range(65537)]
    enough = threading.Event()

    def lists(request):
        if enough.is_set():
            return listed(backends.addresses[0], revision=6)(request)
        at = 1 + int(etcds.base64.b64decode(request["key"])[len(P) :].rstrip(b"\0") or -1)
        page_of = range(at, min(at + 1000, len(rows)))
        kvs = [kv(f"{P}{i:08}", rows[i]) for i in page_of]
        return page(kvs, 5, more=page_of.stop < len(rows))

    def watches(request):
        yield line(6, created=True)
        if int(request["start_revision"]) <= 6:  # also when it asks after it was enough
            enough.wait(2 * DEADLINE)
            yield gone("00000000", 6)
        gateway.silence()

    gateway = closing(Gateway(lists, watches))
    weir = start_weir(pool(gateway))
    weir.wait_metric("weir_discovery_failing", 1, pool="app")
    weir.said("more than 65536 keys begin with the prefix: give it one that fewer have")
    enough.set()
    wait_endpoints(weir, backends.addresses[:1])
    weir.wait_metric("weir_discovery_failing", 0, pool="app")


def test_keys_are_bytes(start_weir, closing, backends):
    """A NUL is one of them: what differs behind it is another key."""
    keys = [P + "a", P + "a\0b", P + "a\0c", P + "a\0d"]
    values = [*backends.addresses[:3], "no address"]
    asked = []

    def lists(_):
        return page([kv(k, v, 2) for k, v in zip(keys, values)], 5)

    def watches(_):
        asked.append(1)
        if len(asked) == 1:
            yield CREATED
            yield line(6, events=[{"type": "DELETE", "kv": {"key": b64(keys[1])}}])
        gateway.silence()

    gateway = closing(Gateway(lists, watches))
    weir = start_weir(pool(gateway))
    wait_endpoints(weir, [backends.addresses[0], backends.addresses[2]])
    assert wait_for(lambda: source(weir)["error"], "an error").startswith(f"{P}a?d:1:1: ")


def test_what_no_watch_has_told_is_found_all_the_same(start_weir, closing, backends):
    """A store that was wiped and filled again looks like the one before, a few changes on: from time
    to time, after 10 times `silence` or so, all is listed anew."""
    now = [backends.addresses[0]]

    def watches(_):
        yield line(6, created=True)  # as far as the lines: a watch may be asked for again
        now[:] = backends.addresses[1:2]
        while not gateway.over.wait(0.2):
            yield line(6)  # it is not silent

    gateway = closing(Gateway(lambda _: listed(*now)(_), watches))
    weir = start_weir(pool(gateway, more=", silence: 1s"))
    wait_endpoints(weir, backends.addresses[1:2])
    assert gateway.count("/v3/kv/range") >= 2
    weir.wait_metric("weir_discovery_errors_total", 0, pool="app")
