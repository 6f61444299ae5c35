# SPDX-License-Identifier: Apache-2.0
"""A pool that grows and shrinks under load: no request fails. And a large one, which costs the control
thread some milliseconds and the workers nearly nothing."""
import selectors
import threading

import pytest

import registering
import wire

from finding import A, Answer, Backends, Dns, a
from peers import DEADLINE, connect, wait_for
from test_discovery_file import POOL, endpoints, hosts_that_answer, put, wait_endpoints
from test_reload import reload, settled

CONNS = 64
REQUEST = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"


class Load(threading.Thread):
    """So many connections, on each of which a request follows the other."""

    def __init__(self, address):
        super().__init__(daemon=True)
        self.sel = selectors.DefaultSelector()
        self.over, self.answered, self.wrong = False, 0, []
        for _ in range(CONNS):
            sock = connect(address)
            sock.sendall(REQUEST)
            self.sel.register(sock, selectors.EVENT_READ, bytearray())
        self.start()

    def run(self):
        while not self.over:
            for key, _ in self.sel.select(0.1):
                try:
                    got = key.fileobj.recv(65536)
                except OSError as e:
                    got, self.wrong = b"", [*self.wrong, repr(e)]
                key.data.extend(got)
                if not got:
                    self.wrong.append(f"closed after {bytes(key.data)!r}")
                    self.sel.unregister(key.fileobj)
                elif answer := wire.parse_response(bytes(key.data)):
                    if answer[0].status != 200:
                        self.wrong.append(bytes(key.data))
                    key.data.clear()
                    self.answered += 1
                    key.fileobj.sendall(REQUEST)

    def some(self, count=500):
        """Waits until so many more were answered."""
        goal = self.answered + count
        wait_for(lambda: self.answered >= goal or self.wrong, f"{count} answers")
        assert self.wrong == []

    def close(self):
        self.over = True
        self.join(DEADLINE)
        for key in list(self.sel.get_map().values()):
            key.fileobj.close()
        self.sel.close()


@pytest.mark.parametrize("by", ["file", "dns", "registry"])
def test_a_pool_grows_and_shrinks_while_requests_run(start_weir, closing, tmp, by):
    backends = closing(Backends(10))
    dns = closing(Dns())

    def say(count):
        dns.zone["app.test", A] = Answer([a("app.test", host) for host in backends.hosts[:count]])
        put(tmp, backends.addresses[:count])
        if weir and by == "registry":
            there = registering.ids(weir)
            for i in range(len(there), count):
                registering.register(weir, f"a{i}", backends.addresses[i])
            for id in there[count:]:
                registering.leave(weir, id)

    weir = None

    config = POOL % tmp
    if by == "dns":
        found = f'dns: {{ name: app.test., port: {backends.port}, server: "{dns.address}" }}'
        config = config.replace(f"file: {tmp}/endpoints.yaml", found)
    if by == "registry":
        config = registering.POOL
    say(2)
    weir = start_weir(config)
    if by == "registry":
        say(2)
        wait_endpoints(weir, backends.addresses[:2])
    load = closing(Load(weir.listeners["web"]))
    for count in (10, 3, 10, 2, 7, 3):
        load.some()
        say(count)
        wait_endpoints(weir, sorted(backends.addresses[:count], key=backends.addresses.index))
        load.some()
    assert load.wrong == []
    assert all(backends.served.values()), backends.served
    assert backends.that_serve(load) == backends.hosts[:3]
    weir.wait_metric("weir_errors_total", 0)
    settled(weir)


# Sources that nobody answers.
SILENT = {
    "file": "file: $TMP/nothing.yaml",
    "dns": 'dns: { name: app.test., port: 80, server: "127.0.0.1:1" }',
    "etcd": 'etcd: { servers: ["127.0.0.1:1"], prefix: /app/ }',
    "kubernetes": "kubernetes: { service: app, kubeconfig: $TMP/nothing }",
}


@pytest.mark.parametrize("by", SILENT)
def test_a_pool_that_is_to_find_its_endpoints_has_those_it_had_until_then(
    start_weir, closing, tmp, by
):
    """Also while those of another pool change."""
    backends = closing(Backends(2))
    other = f"  other: {{ file: {tmp}/endpoints.yaml }}\n"
    put(tmp, backends.addresses[:1])
    mine = "routes: [ { to: app } ]\npools:\n  app: { %s }\n" + other
    own = f"endpoints: [ {{ address: localhost:{backends.port}, weight: 3 }} ]"
    weir = start_weir(mine % own)
    load = closing(Load(weir.listeners["web"]))
    load.some()
    reload(weir, mine % SILENT[by])
    weir.wait_metric("weir_discovery_failing", 1, pool="app")
    put(tmp, backends.addresses)
    wait_endpoints(weir, backends.addresses, pool="other")
    assert endpoints(weir) == backends.addresses[:1]
    assert hosts_that_answer(weir, 4) == {backends.hosts[0]}
    load.some()
    assert load.wrong == []
    settled(weir)


def test_a_pool_that_finds_others_than_it_had_changes_over_at_once(start_weir, closing, tmp):
    backends = closing(Backends(2))
    put(tmp, backends.addresses[1:])
    both = "routes: [ { to: app } ]\npools: { app: { %s }, other: { %s } }\n"
    own, found = f"endpoints: [ {backends.addresses[0]} ]", f"file: {tmp}/endpoints.yaml"
    weir = start_weir(both % (own, found))  # the sandbox is of what weir is started with
    load = closing(Load(weir.listeners["web"]))
    load.some()
    reload(weir, both % (found, own))
    wait_endpoints(weir, backends.addresses[1:])
    load.some()
    assert load.wrong == [] and weir.metric("weir_errors_total") == 0
    settled(weir)


def test_ten_thousand_endpoints(start_weir, closing, tmp):
    """One in front that answers, so that it is seen when they are in use."""
    backends = closing(Backends(1))
    rows = [f"127.1.{i // 250}.{i % 250 + 1}:1" for i in range(10000)]
    put(tmp, backends.addresses)
    weir = start_weir(POOL % tmp)
    load = closing(Load(weir.listeners["web"]))
    load.some(2000)
    large = [{"address": backends.addresses[0]}] + [{"address": r, "backup": True} for r in rows]
    put(tmp, large)
    weir.wait_metric("weir_discovery_endpoints", 10001, pool="app")
    wait_for(lambda: len(endpoints(weir)) == 10001, "ten thousand endpoints")
    load.some(2000)
    large[5000]["weight"] = 2
    put(tmp, large)
    weir.wait_metric("weir_discovery_changes_total", 3, pool="app")
    load.some(2000)
    put(tmp, backends.addresses)
    wait_endpoints(weir, backends.addresses)
    load.some(500)
    weir.wait_metric("weir_errors_total", 0)
    settled(weir)
