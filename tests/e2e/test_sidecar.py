# SPDX-License-Identifier: Apache-2.0
"""`weir sidecar`: the inbound and outbound proxy of a pod, and what it costs to have one."""
import signal
from contextlib import contextmanager

import pytest
import yaml

import etcd as etcds

from finding import A, SRV, Answer, Backends, Dns, a, srv
from harness import ROOT, Weir, run_weir, sanitizer
from kubeapi import KubeApi, slice_of
from peers import Client, wait_for
from test_discovery_kubernetes import pod

OWN = ["--in", "127.0.0.1:0", "--out", "127.0.0.1:0", "--admin", "127.0.0.1:0"]


@contextmanager
def sidecar(tmp, *args):
    whole = ["sidecar", *OWN, "--ready-file", str(tmp / "ready.json"), *args]
    with Weir("", tmp, args=whole) as weir:
        yield weir
        weir.signal(signal.SIGINT)  # nobody has to learn of its end first
        weir.wait()


def ask(weir, listener, host, target="/"):
    with Client(weir.listeners[listener]) as c:
        return c.get(target, host=host)


def test_what_comes_in_is_for_the_application_whatever_its_host(tmp, auto):
    """Nobody from outside gets to the services that the application may ask for."""
    app, orders = auto(body=b"app"), auto(body=b"orders")
    with sidecar(tmp, "--app", app.address, "--to", f"orders={orders.address}") as weir:
        assert set(weir.listeners) == {"app", "out"}
        for host in ("pod.example", "orders"):
            assert ask(weir, "app", host).body == b"app"


def test_the_application_asks_for_services_by_name(tmp, auto):
    app, first, second, carts = (auto(body=b) for b in (b"app", b"1", b"2", b"carts"))
    both = f"orders={first.address},{second.address}"
    with sidecar(tmp, "--app", app.address, "--to", both, "--to", f"carts={carts.address}") as weir:
        assert {ask(weir, "out", "orders").body for _ in range(32)} == {b"1", b"2"}
        assert ask(weir, "out", "carts").body == b"carts"
        assert ask(weir, "out", "app").status == 404
        # with http_proxy in its environment an application asks like this
        assert ask(weir, "out", "carts", "http://carts/x").body == b"carts"


def test_a_service_that_has_lost_an_endpoint_is_asked_at_another(tmp, auto):
    app, gone, there = auto(), auto(), auto(body=b"there")
    gone.die()
    with sidecar(tmp, "--app", app.address, "--to", f"s={gone.address},{there.address}") as weir:
        assert {ask(weir, "out", "s").body for _ in range(16)} == {b"there"}


def test_several_applications_have_a_listener_each(tmp, auto):
    hello, world = auto(body=b"hello"), auto(body=b"world")
    path = f"unix:{tmp}/world"
    with sidecar(tmp, "--app", hello.address, "--app", f"{path}={world.address}") as weir:
        assert ask(weir, "app", "a").body == b"hello"
        assert ask(weir, "app-2", "a").body == b"world"


def test_what_it_prints_is_the_configuration_that_it_serves(tmp):
    args = ["--app", "127.0.0.1:8080", "--to", "orders=orders.default.svc:80,[::1]:8080"]
    got = run_weir("sidecar", *args, "--print")
    assert (got.returncode, got.stderr) == (0, "")
    path = tmp / "weir.yaml"
    path.write_text(got.stdout)
    assert run_weir("check", "--no-files", path).returncode == 0
    whole = yaml.safe_load(got.stdout)
    assert whole["listeners"] == {"app": ":8000", "out": "127.0.0.1:8001"}
    assert whole["admin"] == {"listen": "127.0.0.1:9900"}
    assert whole["pools"]["orders"] == ["orders.default.svc:80", "[::1]:8080"]


# ---- a service whose endpoints stand elsewhere --------------------------------------------------


@pytest.mark.parametrize(
    "to, pool",
    [
        ("shop.svc:8080", {"dns": {"name": "shop.svc", "port": 8080}}),
        ("shop.svc.:8080", {"dns": {"name": "shop.svc.", "port": 8080}}),
        ("dns://shop:8080", {"dns": {"name": "shop", "port": 8080}}),
        ("_http._tcp.shop.svc", {"dns": {"name": "_http._tcp.shop.svc", "type": "srv"}}),
        ("dns://_http._tcp.shop", {"dns": {"name": "_http._tcp.shop", "type": "srv"}}),
        ("kubernetes://orders", {"kubernetes": {"service": "orders"}}),
        (
            "kubernetes://shop/orders:http",
            {"kubernetes": {"service": "orders", "namespace": "shop", "port": "http"}},
        ),
        ("kubernetes://orders:80", {"kubernetes": {"service": "orders", "port": "80"}}),
        ("etcd://h/orders/", {"etcd": {"servers": ["h:2379"], "prefix": "/orders/"}}),
        (
            "etcds://h,[::1]:99/o/?user=me&password_file=/x&ca=/c",
            {
                "etcd": {
                    "servers": ["h:2379", "[::1]:99"],
                    "prefix": "/o/",
                    "tls": {"ca": "/c"},
                    "user": "me",
                    "password_file": "/x",
                }
            },
        ),
        ("etcds://h/o/", {"etcd": {"servers": ["h:2379"], "prefix": "/o/", "tls": True}}),
        ("file:/run/a b$.yaml", {"file": "/run/a b$$.yaml"}),
        ("file:///run/orders.yaml", {"file": "/run/orders.yaml"}),
        # this machine, whatever DNS says; and what is no single name
        ("localhost:80", ["localhost:80"]),
        ("shop.localhost:80", ["shop.localhost:80"]),
        ("127.0.0.1:80", ["127.0.0.1:80"]),
        ("[::1]:80", ["[::1]:80"]),
        ("unix:/run/a", ["unix:/run/a"]),
        ("one:80,two:80", ["one:80", "two:80"]),
    ],
    ids=lambda v: v if isinstance(v, str) else "",
)
def test_what_a_service_stands_for(tmp, to, pool):
    got = run_weir("sidecar", "--app", "127.0.0.1:1", "--to", f"orders={to}", "--print")
    assert (got.returncode, got.stderr) == (0, "")
    assert yaml.safe_load(got.stdout)["pools"]["orders"] == pool
    path = tmp / "weir.yaml"
    path.write_text(got.stdout)
    assert run_weir("check", "--no-files", path).returncode == 0


def test_a_service_that_is_a_file_is_followed(tmp, closing):
    backends = closing(Backends(2))
    path = tmp / "orders.yaml"
    path.write_text(f"- {backends.addresses[0]}\n")
    with sidecar(tmp, "--app", "127.0.0.1:1", "--to", f"orders=file:{path}") as weir:
        assert ask(weir, "out", "orders").body.decode() == backends.hosts[0]
        other = tmp / "other.yaml"
        other.write_text(f"- {backends.addresses[1]}\n")
        other.rename(path)
        wait_for(
            lambda: ask(weir, "out", "orders").body.decode() == backends.hosts[1], "the other one"
        )


@pytest.mark.skipif(etcds.ETCD is None, reason="no etcd")
def test_a_service_that_is_in_etcd_is_followed(tmp, closing):
    backends = closing(Backends(1))
    etcd = closing(etcds.Etcd(tmp / "etcd"))
    etcd.put("/orders/one", backends.addresses[0])
    to = f"orders=etcd://{etcd.address}/orders/"
    with sidecar(tmp, "--app", "127.0.0.1:1", "--to", to) as weir:
        assert ask(weir, "out", "orders").body.decode() == backends.hosts[0]


def served(tmp, start_weir, args, more, env=None):
    """What is printed, with ports of ours, and with what a test has to say besides."""
    got = run_weir("sidecar", *OWN, "--app", "127.0.0.1:1", *args, "--print")
    whole = yaml.safe_load(got.stdout)
    for pool, source in more.items():
        for kind in whole["pools"][pool]:
            whole["pools"][pool][kind] |= source
    return start_weir(yaml.safe_dump(whole), env=env)


def test_a_service_that_is_a_name_has_the_addresses_of_the_name(tmp, closing, start_weir):
    """Also a headless one, and one that says its ports."""
    backends, dns = closing(Backends(3)), closing(Dns())
    dns.zone["orders.shop.svc", A] = Answer([a("orders.shop.svc", h) for h in backends.hosts[:2]])
    name = "_http._tcp.carts.shop.svc"
    dns.zone[name, SRV] = Answer(
        [srv(name, "one.carts", backends.port)], additional=[a("one.carts", backends.hosts[2])]
    )
    args = ["--to", f"orders=orders.shop.svc:{backends.port}", "--to", f"carts={name}"]
    server = {"server": dns.address}
    weir = served(tmp, start_weir, args, {"orders": server, "carts": server})
    assert {ask(weir, "out", "orders").body.decode() for _ in range(60)} == set(backends.hosts[:2])
    assert ask(weir, "out", "carts").body.decode() == backends.hosts[2]


def test_a_service_of_kubernetes_is_its_pods(tmp, closing, start_weir, authority):
    backends, api = closing(Backends(2)), closing(KubeApi(authority, token="one"))
    api.put(slice_of("app-1", backends.hosts, backends.port))
    folder, env = pod(api, tmp, authority)
    args = ["--to", f"orders=kubernetes://{api.namespace}/app:{backends.port}"]
    weir = served(tmp, start_weir, args, {"orders": {"credentials": str(folder)}}, env)
    assert {ask(weir, "out", "orders").body.decode() for _ in range(60)} == set(backends.hosts)


@pytest.mark.parametrize(
    "args,says",
    [
        (["--app", "8080"], "--app: "),
        (["--app", "127.0.0.1:1", "--app", "127.0.0.1:2"], "LISTEN=ADDRESS"),
        (["--app", "127.0.0.1:1", "--to", "127.0.0.1:2"], "NAME=ADDRESS"),
        (["--app", "127.0.0.1:1", "--to", "a b=127.0.0.1:2"], "--to: "),
        (["--app", "127.0.0.1:1", "--to", "a=127.0.0.1:2,"], "--to: "),
        (["--app", "127.0.0.1:1", "--to", "a=http://b:80"], "--to: a=http://b:80: expected ADDR"),
        (["--app", "127.0.0.1:1", "--to", "a=dns://b"], "such as dns://orders.shop.svc:8080"),
        (["--app", "127.0.0.1:1", "--to", "a=dns://1.2.3.4:80"], "expected a name and a port"),
        (["--app", "127.0.0.1:1", "--to", "a=orders:99999"], "--to: 99999 is out of range"),
        (["--app", "127.0.0.1:1", "--to", "a=orders"], "--to: expected an address"),
        (["--app", "127.0.0.1:1", "--to", "a=file:"], "such as file:/run/orders.yaml"),
        (["--app", "127.0.0.1:1", "--to", "a=etcd://b"], "expected etcd://HOST:PORT/PREFIX/"),
        (["--app", "127.0.0.1:1", "--to", "a=etcd://b/c/?x=y"], "behind '?' there may be"),
        (["--app", "127.0.0.1:1", "--to", "a=kubernetes://"], "kubernetes://shop/orders:http"),
        (["--app", "127.0.0.1:1", "--to", "a=kubernetes://b/"], "kubernetes://shop/orders:http"),
        (["--app", "127.0.0.1:1", "--to", "a=kubernetes://a/b/c"], "as Kubernetes has them"),
        (["--app", "127.0.0.1:1", "--to", "a=b:1", "--out", "nowhere"], "--out: "),
        (["--app", "127.0.0.1:1", "--admin", "x"], "--admin: "),
        (["--app", "127.0.0.1:1", "--in", "8000"], "error: --in, or LISTEN of --app: "),
        (["--app", "127.0.0.1:1", "--app", "x=127.0.0.1:1"], "error: --app: "),
        (["--app", "127.0.0.1:1", "--to", "a=b:1", "--to", "A=c:1"], "--to: A=c:1: this name has"),
        (["--app", "127.0.0.1:1", "--to", "app=b:1"], "--to: app=b:1: this is what the app"),
        (["--app", "127.0.0.1:1", "--app", ":2=a:1", "--to", "app-2=b:1"], "--to: app-2=b:1: this"),
        (["--app", "127.0.0.1:1", "--to", "a=kubernetes:/b/c"], "kubernetes://[NAMESPACE/]SERVICE"),
        (["--app", "127.0.0.1:1", "--to", "a=etcd:/b/c/"], "etcd://HOST:PORT/PREFIX/"),
        (["--app", "127.0.0.1:1\n  x: 1"], "not a line"),
        (["--app", "127.0.0.1:1", "--to", "a=" + "b" * 2000 + ":1"], "longer"),
    ],
    ids=lambda v: " ".join(v)[:40] if isinstance(v, list) else "",
)
def test_what_is_wrong_is_named_by_its_option(args, says):
    got = run_weir("sidecar", *args, "--print")
    assert got.returncode == 1 and got.stdout == "" and says in got.stderr, got.stderr


@pytest.mark.parametrize("args", [[], ["--app"], ["--app", "x", "y"], ["--app", "a:1"] * 65])
def test_wrong_usage_exits_2(args):
    got = run_weir("sidecar", *args)
    assert got.returncode == 2 and "usage: weir sidecar" in got.stderr


def test_the_example_of_a_sidecar_keeps_strangers_from_the_services(tmp):
    """config/sidecar.yaml says by which listener each route is reached."""
    example = yaml.safe_load((ROOT / "config" / "sidecar.yaml").read_text())
    assert all(route["match"]["listener"] in example["listeners"] for route in example["routes"])


@pytest.mark.skipif(bool(sanitizer()), reason="a sanitizer's memory and time are its own")
def test_a_sidecar_is_small_and_starts_at_once(tmp):
    """10 routes, 100 endpoints: ready within 50 ms, of which it needs a tenth; 10 MB resident."""
    services = [
        f"s{i}=" + ",".join(f"127.0.{i}.{k}:8080" for k in range(1, 12)) for i in range(1, 10)
    ]
    args = [word for service in services for word in ("--to", service)]
    with sidecar(tmp, "--app", "127.0.0.1:8080", *args) as weir:
        cpu, rss = weir.cpu(), weir.rss()
    assert cpu < 0.05, f"{cpu * 1000:.0f} ms of CPU time to start"
    assert rss < 10_000_000 / 1024, f"{rss} KiB"


def test_a_route_of_another_listener_hides_nothing(tmp):
    path = tmp / "weir.yaml"
    text = (
        "version: 1\nlisteners: { one: ':8000', two: ':8001' }\npools: { app: ['127.0.0.1:1'] }\n"
        "routes: [ { to: app, match: { listener: one } }, { to: app, match: { listener: %s } } ]\n"
    )
    path.write_text(text % "two")
    got = run_weir("check", path)
    assert (got.returncode, got.stderr) == (0, "")
    path.write_text(text % "one")
    assert "never wins" in run_weir("check", path).stderr
    path.write_text(text % "tow")
    got = run_weir("check", path)
    assert got.returncode == 1 and 'no listener named "tow"; did you mean "two"?' in got.stderr
