# SPDX-License-Identifier: Apache-2.0
"""Certificates on disk: what is wrong with them is said by name, and new ones take effect without a
restart and without touching live conns."""
import os
import ssl

import pytest

from harness import run_weir
from peers import DEADLINE, wait_for
from tlspeer import TlsClient


def config(certs, more=""):
    return (
        "version: 1\n"
        f"listeners: {{ web: {{ bind: '127.0.0.1:0', tls: {{ certs: [ {certs} ]{more} }} }} }}\n"
        "routes: [ { to: app } ]\npools: { app: [ 127.0.0.1:1 ] }\n"
    )


def check(tmp_path, text):
    """weir check's exit status and words."""
    path = tmp_path / "weir.yaml"
    path.write_text(text)
    done = run_weir("check", path)
    return done.returncode, done.stdout + done.stderr


def folder(tmp_path, pair, name="web"):
    (tmp_path / "certs").mkdir(exist_ok=True)
    return pair.into(tmp_path / "certs", name)


def test_good_ones_pass(tmp_path, authority):
    pair = folder(tmp_path, authority.server())
    for certs in (pair.cert, pair.cert.parent):
        status, said = check(tmp_path, config(certs))
        assert status == 0, said


def test_a_relative_path_begins_in_the_folder_of_the_configuration(tmp_path, authority):
    folder(tmp_path, authority.server())
    for certs in ("certs", "certs/web.crt", "./certs/"):
        status, said = check(tmp_path, config(certs))  # the tests run elsewhere
        assert status == 0, said
    status, said = check(tmp_path, config("certs/none.crt"))
    assert status != 0 and f"{tmp_path}/certs/none.crt: No such file" in said
    text = config("certs") + "access_log: { path: access.json }\n"
    (tmp_path / "weir.yaml").write_text(text)
    said = run_weir("check", "--dump", tmp_path / "weir.yaml").stdout
    assert f"{tmp_path}/access.json" in said and f"{tmp_path}/certs" in said


def test_one_of_a_pipe_begins_where_weir_does(tmp_path, authority):
    folder(tmp_path, authority.server())
    out, into = os.pipe()
    with os.fdopen(out) as pipe:
        with os.fdopen(into, "w") as writer:
            writer.write(config("certs"))
        said = run_weir("check", "/dev/stdin", stdin=pipe, cwd=tmp_path)
    assert said.returncode == 0, said.stderr


def missing(pair, _):
    pair.cert.unlink()


def no_key(pair, _):
    pair.key.unlink()


def garbage(pair, _):
    pair.cert.write_text("what is this?")


def cut(pair, _):
    pair.cert.write_text(pair.cert.read_text()[:300])


def other_key(pair, authority):
    pair.key.write_text(authority.issue("other.example").key.read_text())


def expired(pair, authority):
    old = authority.issue("old.example", starts=-10, ends=-1)
    pair.cert.write_text(old.cert.read_text())
    pair.key.write_text(old.key.read_text())


FLAWS = {
    missing: "No such file",
    no_key: "key",
    garbage: "certificate",
    cut: "certificate",
    other_key: "key",
    expired: "expired",
}


@pytest.mark.parametrize("flaw", FLAWS, ids=lambda f: f.__name__)
def test_a_bad_one_is_an_error_that_names_the_file_and_says_why(tmp_path, authority, flaw):
    pair = folder(tmp_path, authority.issue("web.example"))
    flaw(pair, authority)
    status, said = check(tmp_path, config(pair.cert))
    assert status == 1 and str(pair.cert.parent) in said and FLAWS[flaw].lower() in said.lower(), said
    assert f"{tmp_path / 'weir.yaml'}:2:" in said, said
    done = run_weir("run", "-c", tmp_path / "weir.yaml")
    assert done.returncode == 1 and str(pair.cert.parent) in done.stderr


def test_a_bad_authority_is_an_error_that_names_the_file(tmp_path, authority):
    pair = folder(tmp_path, authority.server())
    bad = tmp_path / "ca.pem"
    bad.write_text("nothing")
    status, said = check(tmp_path, config(pair.cert, f", client_ca: {bad}"))
    assert status == 1 and str(bad) in said, said
    text = config(pair.cert).replace(
        "[ 127.0.0.1:1 ]", f"{{ endpoints: [ 127.0.0.1:1 ], upstream: {{ tls: {{ ca: {bad} }} }} }}"
    )
    status, said = check(tmp_path, text)
    assert status == 1 and str(bad) in said, said


# ---- while weir runs ----------------------------------------------------------------------------


@pytest.fixture
def served(start_weir, tmp_path, authority):
    """A weir with a directory of certificates: (weir, the pair in it)."""
    pair = folder(tmp_path, authority.issue("first.example", "a.example"))
    own = start_weir(
        f"listeners: {{ web: {{ bind: '127.0.0.1:0', tls: {{ certs: [ {pair.cert.parent} ] }} }} }}\n"
        "routes: [ { to: app } ]\npools: { app: [ 127.0.0.1:1 ] }\n"
    )
    return own, pair


def shown(own, authority):
    """The serial number of what a new client is shown."""
    with TlsClient(own.listeners["web"], authority.client_context()) as c:
        return c.tls.getpeercert()["serialNumber"]


def same(serial, pair):
    return int(serial, 16) == int(pair.serial, 16)


def replace(old, new):
    """As certbot does: each file at once, by rename."""
    for a, b in ((old.key, new.key), (old.cert, new.cert)):
        temporary = a.with_suffix(".tmp")
        temporary.write_bytes(b.read_bytes())
        os.rename(temporary, a)


def test_a_new_certificate_is_shown_and_live_conns_stay(served, authority):
    own, pair = served
    assert same(shown(own, authority), pair)
    with TlsClient(own.listeners["web"], authority.client_context()) as old:
        new = authority.issue("second.example", "a.example")
        replace(pair, new)
        wait_for(lambda: same(shown(own, authority), new), "the new certificate")
        assert old.get("/").status == 502
    own.wait_metric("weir_tls_cert_reload_errors_total", 0)


def test_a_certificate_is_replaced_by_a_swapped_symlink(start_weir, tmp_path, authority):
    """As Kubernetes mounts a secret: ..data points to a directory, the names point through it."""
    mount = tmp_path / "mount"
    mount.mkdir()
    pairs = [authority.issue("first.example", "a.example"), authority.issue("next.example", "a.example")]
    for i, pair in enumerate(pairs):
        pair.into(mount / f"..{i}", "tls")
    (mount / "..data").symlink_to("..0")
    for name in ("tls.crt", "tls.key"):
        (mount / name).symlink_to(f"..data/{name}")
    own = start_weir(
        f"listeners: {{ web: {{ bind: '127.0.0.1:0', tls: {{ certs: [ {mount} ] }} }} }}\n"
        "routes: [ { to: app } ]\npools: { app: [ 127.0.0.1:1 ] }\n"
    )
    assert same(shown(own, authority), pairs[0])
    (mount / "..new").symlink_to("..1")
    os.rename(mount / "..new", mount / "..data")
    wait_for(lambda: same(shown(own, authority), pairs[1]), "the new certificate")


@pytest.mark.parametrize("flaw", [garbage, cut, other_key, expired], ids=lambda f: f.__name__)
def test_a_bad_one_leaves_the_old_one_and_is_counted(served, authority, flaw):
    own, pair = served
    flaw(pair, authority)
    wait_for(lambda: own.metric("weir_tls_cert_reload_errors_total") >= 1, "the error")
    assert same(shown(own, authority), pair)
    own.said(str(pair.cert.parent))
    new = authority.issue("third.example", "a.example")
    replace(pair, new)
    wait_for(lambda: same(shown(own, authority), new), "the new certificate")


def test_the_expiry_is_a_metric(served, authority):
    own, pair = served
    with TlsClient(own.listeners["web"], authority.client_context()) as c:
        want = ssl.cert_time_to_seconds(c.tls.getpeercert()["notAfter"])
    own.metrics()
    samples = {
        labels: value
        for (name, labels), value in own.metrics().items()
        if name.startswith("weir_tls_cert_expiry")
    }
    assert len(samples) == 1
    (labels, value), = samples.items()
    assert dict(labels)["listener"] == "web" and value == want


def test_a_certificate_for_another_name_appears(served, authority):
    own, pair = served
    added = authority.issue("added.example")
    added.into(pair.cert.parent, "added")

    def there():
        with TlsClient(own.listeners["web"], context, name="added.example") as c:
            return same(c.tls.getpeercert()["serialNumber"], added)

    context = authority.client_context()
    context.check_hostname = False
    wait_for(there, "the added certificate", DEADLINE)
    assert same(shown(own, authority), pair)


# ---- the log of keys ----------------------------------------------------------------------------


def keylog_of(path, mode):
    """A file with a line in it, as others have made it."""
    path.write_text("# mine\n")
    path.chmod(mode)
    return path


def a_pipe(path):
    os.mkfifo(path, 0o600)


@pytest.mark.parametrize("make,why", [
    (lambda path: keylog_of(path, 0o644), "others may open it"),
    (lambda path: keylog_of(path, 0o620), "others may open it"),
    (lambda path: path.symlink_to(keylog_of(path.with_suffix(".other"), 0o600)), "symbolic link"),
    (a_pipe, "No such device"),
], ids=["0644", "0620", "a link", "a pipe"])  # fmt: skip
def test_keys_are_not_written_where_others_may_read_them(tmp_path, authority, make, why):
    path = tmp_path / "keys"
    make(path)
    (tmp_path / "weir.yaml").write_text(config(authority.server().cert, f", keylog: {path}"))
    done = run_weir("run", "-c", tmp_path / "weir.yaml")
    assert done.returncode == 1 and f"{path}: " in done.stderr and why in done.stderr
    for file in (path, path.with_suffix(".other")):
        assert not file.is_file() or file.read_text() == "# mine\n"


@pytest.mark.parametrize("there", [False, True])
def test_keys_are_written_to_a_file_of_ones_own(tmp_path, authority, start_weir, there):
    path = tmp_path / "keys"
    if there:
        keylog_of(path, 0o600)
    own = start_weir(config(authority.server().cert, f", keylog: {path}").replace("version: 1\n", ""))
    TlsClient(own.listeners["web"], authority.client_context()).close()
    wait_for(lambda: "CLIENT_TRAFFIC_SECRET_0 " in path.read_text(), "the keys")
    assert path.read_text().startswith("# mine\n") == there
    assert path.stat().st_mode & 0o777 == 0o600
