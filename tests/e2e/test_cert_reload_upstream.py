# SPDX-License-Identifier: Apache-2.0
"""Certificates and authorities towards endpoints that change on disk: new connections are made with
the new ones, those of before serve whom they serve and nobody else, and what is bad leaves the old."""
import os
import shutil
import ssl
import threading

import pytest

from authority import Authority
from h2peer import H2Server
from h2wire import Setting
from test_backends import start  # noqa: F401 (a fixture)
from test_discovery_file import put, wait_endpoints
from tlspeer import secured

CHANGED = "upstream_tls_changed"
ONE_STREAM = {Setting.MAX_CONCURRENT_STREAMS: 1}


@pytest.fixture(scope="module")
def other(tmp_path_factory):
    return Authority(tmp_path_factory.mktemp("other") / "ca", "somebody else")


@pytest.fixture
def mount(authority, tmp):
    """A directory of weir's own files."""
    folder = tmp / "mount"
    authority.issue(subject="/CN=weir", ends=5).into(folder, "tls")
    shutil.copy(authority.cert, folder / "ca.crt")
    return folder


def starts(start_weir, address, mount, protocol="auto", workers=1):
    return start_weir(
        "routes: [ { to: app } ]\n"
        f"pools: {{ app: {{ endpoints: [ '{address}' ], upstream: {{ protocol: {protocol}, tls: {{\n"
        f"  sni: a.example, ca: {mount}/ca.crt, cert: {mount}/tls.crt, key: {mount}/tls.key\n"
        "} } } }\n",
        workers=workers,
    )


def wait_reload(weir, count=1):
    weir.wait_metric("weir_tls_cert_reloads_total", count, pool="app")
    weir.wait_metric("weir_tls_cert_reload_failed", 0, pool="app")


def wait_error(weir, said):
    weir.wait_metric("weir_tls_cert_reload_failed", 1, pool="app")
    assert weir.metric("weir_tls_cert_reload_errors_total", pool="app") >= 1
    weir.said(f'pool "app": the certificates have changed, but the old ones stay: {said}')


def wait_retired(weir, count):
    """So many conns of before have ended for it. The first says that its worker has changed, too."""
    weir.wait_metric("weir_upstream_idle_ended_total", count, reason=CHANGED)


def replace(source, target):
    """As tools do that want nobody to see half a file."""
    shutil.copy(source, f"{target}.new")
    os.rename(f"{target}.new", target)


def expiry(weir):
    """Of the certificate that weir shows, which is the only one."""
    return weir.metric("weir_tls_cert_expiry_seconds", pool="app")


def ask(weir, client=None):
    client = client or weir.client()
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n")
    return client


def shown(conn):
    """The serial of the certificate that weir showed."""
    return conn.tls.getpeercert()["serialNumber"].lstrip("0")


def answered(conn, client):
    conn.request()
    conn.answer()
    assert client.response().status == 200


# ---- files --------------------------------------------------------------------------------------


def test_a_certificate_that_is_replaced(start_weir, new_upstream, authority, mount):
    up, context = new_upstream(), authority.server_context(ask=True)
    new = authority.issue(subject="/CN=weir", ends=9)
    weir = starts(start_weir, up.address, mount)
    before, client = expiry(weir), ask(weir)
    old = secured(up.accept(), context)
    answered(old, client)
    replace(new.key, mount / "tls.key")
    replace(new.cert, mount / "tls.crt")
    wait_reload(weir)
    assert abs(expiry(weir) - before - 4 * 86400) < 600
    old.expect_closed()
    ask(weir, client)
    conn = secured(up.accept(), context)
    answered(conn, client)
    assert shown(conn) == new.serial.lstrip("0") != shown(old)
    wait_retired(weir, 1)


def test_a_symlink_that_is_swapped_as_kubernetes_does(start_weir, new_upstream, authority, other, tmp):
    mount, up = tmp / "mount", new_upstream()
    mount.mkdir()
    pairs = [authority.issue(subject="/CN=weir", ends=5), other.issue(subject="/CN=weir", ends=9)]
    for version, ca, pair in (("..1", authority, pairs[0]), ("..2", other, pairs[1])):
        pair.into(mount / version, "tls")
        shutil.copy(ca.cert, mount / version / "ca.crt")
    os.symlink("..1", mount / "..data")
    for name in ("ca.crt", "tls.crt", "tls.key"):
        os.symlink(f"..data/{name}", mount / name)
    weir = starts(start_weir, up.address, mount)
    client = ask(weir)
    old = secured(up.accept(), authority.server_context(ask=True))
    answered(old, client)
    os.symlink("..2", mount / "..data_tmp")
    os.rename(mount / "..data_tmp", mount / "..data")
    wait_reload(weir)
    old.expect_closed()
    ask(weir, client)
    conn = secured(up.accept(), other.server_context(ask=True))
    answered(conn, client)
    assert shown(conn) == pairs[1].serial.lstrip("0")


def test_other_endpoints_are_no_reason_to_read_the_files(start_weir, new_upstream, authority, mount, tmp):
    """Who finds them may do so while the files are changed, and what is known of those goes on."""
    one, two, context = new_upstream(), new_upstream(), authority.server_context(ask=True)
    put(tmp, [one.address])
    weir = start_weir(
        "routes: [ { to: app } ]\n"
        f"pools: {{ app: {{ file: {tmp}/endpoints.yaml, upstream: {{ tls: {{\n"
        f"  sni: a.example, ca: {mount}/ca.crt, cert: {mount}/tls.crt, key: {mount}/tls.key }} }} }} }}\n",
        workers=1,
    )
    client = ask(weir)
    answered(secured(one.accept(), context), client)
    new = authority.issue(subject="/CN=weir", ends=9)
    replace(new.key, mount / "tls.key")
    replace(new.cert, mount / "tls.crt")
    wait_reload(weir)
    (mount / "ca.crt").write_text("nobody\n")
    wait_error(weir, "")
    put(tmp, [two.address])
    wait_endpoints(weir, [two.address])
    ask(weir, client)
    conn = secured(two.accept(), context)
    answered(conn, client)
    assert shown(conn) == new.serial.lstrip("0")
    weir.wait_metric("weir_tls_cert_reloads_total", 1, pool="app")
    weir.wait_metric("weir_tls_cert_reload_failed", 1, pool="app")
    replace(authority.cert, mount / "ca.crt")
    wait_reload(weir, 2)


def test_authorities_alone(start_weir, new_upstream, authority, other, tmp):
    """Without a certificate of weir's own, and so without an expiry."""
    up, ca = new_upstream(), shutil.copy(authority.cert, tmp / "ca.pem")
    weir = start_weir(
        "routes: [ { to: app } ]\n"
        f"pools: {{ app: {{ endpoints: [ '{up.address}' ],"
        f" upstream: {{ tls: {{ sni: a.example, ca: {ca} }} }} }} }}\n",
        workers=1,
    )
    client = ask(weir)
    answered(secured(up.accept(), authority.server_context()), client)
    replace(other.cert, ca)
    wait_reload(weir)
    wait_retired(weir, 1)
    assert not [name for name, _ in weir.metrics() if name == "weir_tls_cert_expiry_seconds"]
    with weir.counts("upstream_tls_failed"):
        ask(weir, client)
        with pytest.raises((ssl.SSLError, ConnectionResetError)):
            conn = secured(up.accept(), authority.server_context())
            conn.recv_exact(1)
        up.hang_up()
        assert client.response().status == 502


def test_a_key_that_does_not_match_leaves_the_old_and_what_is_mended_is_taken(
    start_weir, new_upstream, authority, mount
):
    up, context = new_upstream(), authority.server_context(ask=True)
    new = authority.issue(subject="/CN=weir", ends=9)
    weir = starts(start_weir, up.address, mount)
    before, client = expiry(weir), ask(weir)
    conn = secured(up.accept(), context)
    answered(conn, client)
    replace(new.cert, mount / "tls.crt")
    wait_error(weir, f"{mount}/tls.key: the key does not belong to the certificate")
    assert expiry(weir) == before
    answered(conn, ask(weir, client))  # on the same conn
    replace(new.key, mount / "tls.key")
    wait_reload(weir)
    assert expiry(weir) != before
    conn.expect_closed()
    ask(weir, client)
    conn = secured(up.accept(), context)
    answered(conn, client)
    assert shown(conn) == new.serial.lstrip("0")


@pytest.mark.parametrize("what", ["gone", "empty", "expired"])
def test_what_is_bad_leaves_the_old(start_weir, new_upstream, authority, mount, what):
    up = new_upstream()
    weir = starts(start_weir, up.address, mount)
    before, client = expiry(weir), ask(weir)
    conn = secured(up.accept(), authority.server_context(ask=True))
    answered(conn, client)
    path = mount / ("tls.crt" if what == "expired" else "ca.crt")
    if what == "gone":
        path.unlink()
    elif what == "empty":
        path.write_text("")
    else:
        authority.issue(subject="/CN=weir", starts=-3, ends=-1).into(mount, "tls")
    wait_error(weir, str(path))
    assert expiry(weir) == before
    answered(conn, ask(weir, client))


# ---- connections of before ----------------------------------------------------------------------


def test_a_busy_connection_serves_its_request_and_ends(start_weir, new_upstream, authority, mount):
    up, context = new_upstream(), authority.server_context(ask=True)
    weir = starts(start_weir, up.address, mount)
    first, second = ask(weir), weir.client()
    old = secured(up.accept(), context)
    old.request()
    old.send("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello")
    first.recv_until(b"hello")
    ask(weir, second)
    answered(secured(up.accept(), context), second)
    authority.issue(subject="/CN=weir", ends=9).into(mount, "tls")
    wait_retired(weir, 1)
    ask(weir, second)
    new = secured(up.accept(), context)
    answered(new, second)
    assert shown(new) != shown(old)
    old.send("world")
    first.expect("world")
    old.expect_closed()
    wait_retired(weir, 2)
    answered(new, ask(weir, first))


def test_a_busy_connection_of_http2_serves_its_streams_and_ends(
    start_weir, new_upstream, authority, mount
):
    up, context = new_upstream(), authority.server_context(ask=True, alpn=["h2"])
    weir = starts(start_weir, up.address, mount)
    first, second = ask(weir), weir.client()
    conn = secured(up.accept(), context)
    old = H2Server(conn, ONE_STREAM)
    stream, _ = old.accept()
    old.respond(stream, 200, b"hello", end=False)
    first.recv_until(b"hello")
    ask(weir, second)
    idle = H2Server(secured(up.accept(), context), ONE_STREAM)
    idle.respond(idle.accept()[0], 200, b"idle")
    assert second.response().body == b"idle"
    authority.issue(subject="/CN=weir", ends=9).into(mount, "tls")
    idle.expect_goaway(0)
    wait_retired(weir, 1)
    ask(weir, second)
    later = secured(up.accept(), context)
    new = H2Server(later)
    new.respond(new.accept()[0], 200, b"new")
    assert second.response().body == b"new"
    assert shown(later) != shown(conn)
    old.data(stream, b"world", True)
    first.expect("\r\n5\r\nworld\r\n0\r\n\r\n")
    old.expect_goaway(0)
    wait_retired(weir, 2)


def test_an_idle_connection_of_http2_ends(start_weir, new_upstream, authority, mount):
    up, context = new_upstream(), authority.server_context(ask=True, alpn=["h2"])
    weir = starts(start_weir, up.address, mount)
    client = ask(weir)
    old = H2Server(secured(up.accept(), context))
    old.respond(old.accept()[0], 200, b"ok")
    assert client.response().status == 200
    authority.issue(subject="/CN=weir", ends=9).into(mount, "tls")
    wait_reload(weir)
    old.expect_goaway(0)
    wait_retired(weir, 1)


def test_every_worker_changes(start_weir, new_upstream, authority, mount):
    """Which of them serves a client is the kernel's choice: many clients meet both."""
    up, context = new_upstream(), authority.server_context(ask=True)
    new = authority.issue(subject="/CN=weir", ends=9)
    weir = starts(start_weir, up.address, mount, workers=2)
    serials = []
    for _ in range(2):
        clients = [ask(weir) for _ in range(12)]
        conns = [secured(up.accept(), context) for _ in clients]
        serials.append({shown(c) for c in conns})
        for conn in conns:
            conn.request()
            conn.answer()
        for client in clients:
            assert client.response().status == 200
        if len(serials) == 1:
            new.into(mount, "tls")
            wait_reload(weir)
            wait_retired(weir, len(clients))
    assert len(serials[0]) == 1 and serials[0] != serials[1]
    assert serials[1] == {new.serial.lstrip("0")}


@pytest.mark.parametrize("protocol", ["h1", "h2"])
def test_no_request_is_lost_while_authorities_change(
    start_weir, start, authority, other, mount, tmp, protocol  # noqa: F811
):
    """Requests that must not be repeated, which no second attempt would save."""
    pair = authority.server()
    hello = start("--tls-cert", str(pair.cert), "--tls-key", str(pair.key))
    weir = starts(start_weir, "%s:%d" % hello.address, mount, protocol, workers=2)
    stop, failed, served = threading.Event(), [], []

    def client():
        try:
            with weir.client() as c:
                while not stop.is_set():
                    c.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello")
                    assert c.response().status == 200
                    served.append(1)
        except Exception as e:  # told by the test, not by the thread
            failed.append(e)

    threads = [threading.Thread(target=client) for _ in range(6)]
    for thread in threads:
        thread.start()
    both = tmp / "both.pem"
    both.write_text(authority.cert.read_text() + other.cert.read_text())
    try:
        for n, ca in enumerate((both, authority.cert, both, authority.cert), 1):
            replace(ca, mount / "ca.crt")
            wait_reload(weir, n)
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    assert not failed and len(served) > 6
    assert weir.metric("weir_upstream_idle_ended_total", reason=CHANGED) > 0
    weir.wait_metric("weir_retries_total", 0)
