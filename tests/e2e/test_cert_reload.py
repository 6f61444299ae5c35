# SPDX-License-Identifier: Apache-2.0
"""Certificates that change on disk: what is good is put to use, of what is bad the error is told and
the old stays; seen through the metrics. And what `weir check` says of files that are no good."""
import os
import shutil
import ssl
import threading

import pytest

from harness import run_weir
from peers import wait_for
from tlspeer import TlsClient

REST = """
routes: [ { to: app } ]
pools: { app: [ '127.0.0.1:1' ] }
"""


def expiry_of(weir):
    """By the names of the files."""
    return {
        os.path.basename(dict(labels)["file"]): int(value)
        for (name, labels), value in weir.metrics().items()
        if name == "weir_tls_cert_expiry_seconds"
    }


def starts(start_weir, certs, more=""):
    return start_weir(
        f"listeners: {{ web: {{ bind: '127.0.0.1:0', tls: {{ certs: {certs}{more} }} }} }}" + REST
    )


def wait_reload(weir, count=1):
    weir.wait_metric("weir_tls_cert_reloads_total", count, listener="web")
    weir.wait_metric("weir_tls_cert_reload_failed", 0, listener="web")


def wait_error(weir, said):
    weir.wait_metric("weir_tls_cert_reload_failed", 1, listener="web")
    assert weir.metric("weir_tls_cert_reload_errors_total", listener="web") >= 1
    weir.said(said)
    weir.said("the old ones stay")


def replace(pair, folder, name):
    """As tools do that want nobody to see half a file."""
    for path, suffix in ((pair.key, "key"), (pair.cert, "crt")):
        shutil.copy(path, folder / "new")
        os.rename(folder / "new", folder / f"{name}.{suffix}")


def test_a_file_that_is_replaced(start_weir, authority, tmp):
    short, long = authority.issue("a.example", ends=5), authority.issue("a.example", ends=9)
    short.into(tmp / "certs", "a")
    weir = starts(start_weir, tmp / "certs" / "a.crt")
    before = expiry_of(weir)["a.crt"]
    replace(long, tmp / "certs", "a")
    wait_reload(weir)
    assert abs(expiry_of(weir)["a.crt"] - before - 4 * 86400) < 600


def test_a_file_that_is_written_in_place(start_weir, authority, tmp):
    authority.issue("a.example", ends=5).into(tmp / "certs", "a")
    weir = starts(start_weir, tmp / "certs" / "a.crt")
    authority.issue("a.example", ends=9).into(tmp / "certs", "a")
    wait_reload(weir)


def test_a_certificate_that_comes_into_a_directory_and_goes(start_weir, authority, tmp):
    authority.issue("a.example").into(tmp / "certs", "a")
    weir = starts(start_weir, tmp / "certs")
    assert set(expiry_of(weir)) == {"a.crt"}
    authority.issue("b.example").into(tmp / "certs", "b")
    wait_for(lambda: set(expiry_of(weir)) == {"a.crt", "b.crt"}, "the second certificate")
    for suffix in ("crt", "key"):
        os.unlink(tmp / "certs" / f"b.{suffix}")
    wait_for(lambda: set(expiry_of(weir)) == {"a.crt"}, "its end")


def test_a_symlink_that_is_swapped_as_kubernetes_does(start_weir, authority, tmp):
    mount = tmp / "mount"
    mount.mkdir()
    for version, days in (("..1", 5), ("..2", 9)):
        authority.issue("a.example", ends=days).into(mount / version, "tls")
    os.symlink("..1", mount / "..data")
    for name in ("tls.crt", "tls.key"):
        os.symlink(f"..data/{name}", mount / name)
    weir = starts(start_weir, mount)
    before = expiry_of(weir)["tls.crt"]
    os.symlink("..2", mount / "..data_tmp")
    os.rename(mount / "..data_tmp", mount / "..data")
    wait_reload(weir)
    assert expiry_of(weir)["tls.crt"] > before


def test_a_file_somewhere_else_behind_a_symlink(start_weir, authority, tmp):
    """No event tells of it where the link is: it is looked at every now and then."""
    authority.issue("a.example", ends=5).into(tmp / "archive", "a")
    (tmp / "live").mkdir()
    for name in ("a.crt", "a.key"):
        os.symlink(tmp / "archive" / name, tmp / "live" / name)
    weir = starts(start_weir, tmp / "live" / "a.crt")
    replace(authority.issue("a.example", ends=9), tmp / "archive", "a")
    wait_reload(weir)


def test_a_key_that_does_not_match_leaves_the_old_and_what_is_mended_is_taken(
    start_weir, authority, tmp
):
    authority.issue("a.example", ends=5).into(tmp / "certs", "a")
    weir = starts(start_weir, tmp / "certs" / "a.crt")
    before = expiry_of(weir)
    new = authority.issue("a.example", ends=9)
    shutil.copy(new.cert, tmp / "certs" / "a.crt")
    wait_error(weir, "a.key: the key does not belong to the certificate")
    assert expiry_of(weir) == before
    shutil.copy(new.key, tmp / "certs" / "a.key")
    wait_reload(weir)
    assert expiry_of(weir) != before


@pytest.mark.parametrize("what", ["gone", "empty", "garbage", "expired"])
def test_what_is_bad_leaves_the_old(start_weir, authority, tmp, what):
    authority.issue("a.example").into(tmp / "certs", "a")
    weir = starts(start_weir, tmp / "certs" / "a.crt")
    before = expiry_of(weir)
    path = tmp / "certs" / "a.crt"
    if what == "gone":
        path.unlink()
    elif what == "expired":
        authority.issue("a.example", starts=-3, ends=-1).into(tmp / "certs", "a")
    else:
        path.write_text("" if what == "empty" else "-----BEGIN CERTIFICATE-----\n!\n")
    wait_error(weir, str(path))
    assert expiry_of(weir) == before


def test_clients_authorities_change_too(start_weir, authority, tmp):
    authority.issue("a.example").into(tmp / "certs", "a")
    ca = shutil.copy(authority.cert, tmp / "ca.pem")
    weir = starts(start_weir, tmp / "certs" / "a.crt", f", client_ca: {ca}")
    (tmp / "ca.pem").write_text("")
    wait_error(weir, "ca.pem")
    shutil.copy(authority.cert, ca)
    wait_reload(weir)


# ---- clients ------------------------------------------------------------------------------------


def serves(start_weir, auto, certs, more="", workers=None):
    return start_weir(
        f"listeners: {{ web: {{ bind: '127.0.0.1:0', tls: {{ certs: {certs}{more} }} }} }}\n"
        f"routes: [ {{ to: app }} ]\npools: {{ app: [ '{auto().address}' ] }}\n",
        workers=workers,
    )


def taken(clients):
    """Those of before are served, each by a worker that has changed by now: it finds the word of
    that together with the request, if not before. Many clients meet every worker."""
    for client in clients:
        assert client.get().body == b"ok"


def serial(client):
    return client.tls.getpeercert()["serialNumber"].lstrip("0")


def test_new_connections_see_the_new_certificate_and_old_ones_live_on(
    start_weir, auto, authority, tmp
):
    old, new = authority.issue("a.example", ends=5), authority.issue("a.example", ends=9)
    old.into(tmp / "certs", "a")
    weir = serves(start_weir, auto, tmp / "certs", workers=2)
    context = authority.client_context()
    clients = [TlsClient(weir.listeners["web"], context) for _ in range(8)]
    assert {serial(c) for c in clients} == {old.serial.lstrip("0")}
    new.into(tmp / "certs", "a")
    wait_reload(weir)
    taken(clients)
    later = [TlsClient(weir.listeners["web"], context) for _ in range(8)]
    assert {serial(c) for c in later} == {new.serial.lstrip("0")}
    for client in clients + later:
        assert client.get().body == b"ok"
        client.close()


def test_no_handshake_fails_while_certificates_change(start_weir, auto, authority, tmp):
    pairs = [authority.issue("a.example", ends=n) for n in (5, 6, 7, 8)]
    pairs[0].into(tmp / "certs", "a")
    weir = serves(start_weir, auto, tmp / "certs", workers=2)
    context, stop, failed = authority.client_context(), threading.Event(), []

    def clients():
        while not stop.is_set():
            try:
                with TlsClient(weir.listeners["web"], context) as c:
                    assert c.get().body == b"ok"
            except Exception as e:  # told by the test, not by the thread
                failed.append(e)

    thread = threading.Thread(target=clients)
    thread.start()
    try:
        for n, pair in enumerate(pairs[1:], 1):
            replace(pair, tmp / "certs", "a")
            wait_reload(weir, n)
    finally:
        stop.set()
        thread.join()
    assert not failed


def session_of(weir, context):
    """A session that can be resumed: TLS 1.3 brings its ticket with the first answer."""
    with TlsClient(weir.listeners["web"], context) as c:
        assert c.get().status == 200
        return c.tls.session


def resumes(weir, context, session):
    with TlsClient(weir.listeners["web"], context, session=session) as c:
        assert c.get().status == 200
        return c.tls.session_reused


def test_sessions_are_resumed_after_a_new_certificate(start_weir, auto, authority, tmp):
    authority.issue("a.example", ends=5).into(tmp / "certs", "a")
    weir = serves(start_weir, auto, tmp / "certs")
    context = authority.client_context()
    session = session_of(weir, context)
    assert resumes(weir, context, session)
    session = session_of(weir, context)
    authority.issue("a.example", ends=9).into(tmp / "certs", "a")
    wait_reload(weir)
    assert resumes(weir, context, session)


def test_whom_another_authority_vouched_for_is_verified_anew(
    start_weir, auto, authority, tmp, tmp_path_factory
):
    from authority import Authority

    other = Authority(tmp_path_factory.mktemp("other") / "ca", "others")
    authority.issue("a.example").into(tmp / "certs", "a")
    ca = shutil.copy(authority.cert, tmp / "ca.pem")
    weir = serves(start_weir, auto, tmp / "certs", f", client_ca: {ca}")
    context = authority.client_context(pair=authority.issue())
    session = session_of(weir, context)
    assert resumes(weir, context, session)
    session = session_of(weir, context)
    clients = [TlsClient(weir.listeners["web"], context) for _ in range(8)]
    shutil.copy(other.cert, ca)
    wait_reload(weir)
    taken(clients)
    with pytest.raises((ssl.SSLError, ConnectionError, AssertionError)):
        resumes(weir, context, session)
    weir.wait_metric("weir_errors_total", 1, reason="tls_handshake_failed")
    for client in clients:
        client.close()


def test_a_weir_without_tls_has_no_such_metrics(start_weir):
    weir = start_weir(REST)
    assert not [name for name, _ in weir.metrics() if name.startswith("weir_tls")]


# ---- weir check ---------------------------------------------------------------------------------


def check(tmp, listener="", pool="", *args):
    path = tmp / "weir.yaml"
    path.write_text(
        "version: 1\n"
        "listeners:\n"
        f"  web: {{ bind: '127.0.0.1:0'{listener} }}\n"
        "routes: [ { to: app } ]\n"
        "pools:\n"
        f"  app: {{ endpoints: [ '127.0.0.1:1' ]{pool} }}\n"
    )
    return run_weir("check", path, *args)


def test_good_files_are_fine(authority, tmp):
    pair = authority.server()
    got = check(
        tmp,
        f", tls: {{ certs: {pair.cert}, client_ca: {authority.cert} }}",
        f", upstream: {{ tls: {{ ca: {authority.cert}, cert: {pair.cert}, key: {pair.key} }} }}",
    )
    assert got.returncode == 0, got.stderr


def test_a_bad_file_is_named_with_its_place_and_why(authority, tmp):
    good, other = authority.server(), authority.issue("b.example")
    old = authority.issue("old.example", starts=-3, ends=-1)
    empty = tmp / "empty.pem"
    empty.write_text("")
    for listener, pool, path, bad, said in [
        (f", tls: {tmp}/no.pem", "", "tls", f"{tmp}/no.pem", "No such file"),
        (f", tls: [{good.cert}, {old.cert}]", "", "tls", old.cert, "the certificate expired on"),
        (f", tls: {{ certs: {good.cert}, client_ca: {empty} }}", "", "tls", empty, "no certificate"),
        ("", f", upstream: {{ tls: {{ ca: {empty} }} }}", "upstream.tls", empty, "no certificate"),
        (
            "",
            f", upstream: {{ tls: {{ cert: {good.cert}, key: {other.key} }} }}",
            "upstream.tls",
            good.cert,
            f"{other.key}: the key does not belong to the certificate",
        ),
    ]:
        got = check(tmp, listener, pool)
        lines = (tmp / "weir.yaml").read_text().split("\n")
        line = next(i for i, text in enumerate(lines) if str(bad) in text)
        place = f"weir.yaml:{line + 1}:{lines[line].index(str(bad)) + 1}: error: "
        assert got.returncode == 1
        first = got.stderr.split("\n")[0]
        assert f"{place}{'pools.app' if pool else 'listeners.web'}.{path}: " in first, first
        assert said in first and str(bad) in first
        assert check(tmp, listener, pool, "--no-files").returncode == 0


def test_a_weir_does_not_start_with_a_bad_file(authority, tmp):
    check(tmp, f", tls: {tmp}/no.pem")
    got = run_weir("run", "-c", tmp / "weir.yaml")
    assert got.returncode == 1
    assert "listeners.web.tls: " in got.stderr and "no.pem" in got.stderr
