# SPDX-License-Identifier: Apache-2.0
"""The admin listener over TLS: a client's certificate is as good as a token, and verbs show theirs."""
import json
import os
import ssl
import subprocess

import pytest

from authority import Authority, Pair
from harness import WEIR
from peers import wait_for
from test_admin import ask, checked, own_address
from tlspeer import TlsClient

MINE = "X-Weir: 1\r\n"
TOKEN = "0123456789abcdef0123456789abcdef"
LIMIT = 30


@pytest.fixture(scope="module")
def stranger(tmp_path_factory):
    """Another authority, of whom weir has never heard."""
    return Authority(tmp_path_factory.mktemp("stranger") / "ca", name="stranger")


@pytest.fixture
def token(tmp):
    path = tmp / "token"
    path.write_text(TOKEN + "\n")
    return path


@pytest.fixture
def one(start_weir, auto, authority):
    """one(more keys of admin's tls, of admin): a weir whose admin listener has TLS."""

    def make(tls="", admin="", ca=True, pair=None, listen="127.0.0.1:0"):
        pair = pair or authority.server()
        asks = f", client_ca: {authority.cert}" if ca else ""
        weir = start_weir(
            f"admin: {{ listen: '{listen}', tls: {{ certs: {pair.cert}{asks}{tls} }}{admin} }}\n"
            f"listeners: {{ web: 127.0.0.1:0 }}\nroutes: [ {{ to: app }} ]\n"
            f"pools: {{ app: ['{auto().address}'] }}\n")
        weir.pair = pair
        return weir

    return make


@pytest.fixture(autouse=True)
def secure_watch(monkeypatch, authority):
    """What the harness itself asks for is asked with a certificate that is good."""
    import harness

    def get(self, path):
        with TlsClient(self.admin, authority.client_context(pair=authority.issue())) as c:
            return c.get(path, host="admin", extra="Connection: close\r\n")

    monkeypatch.setattr(harness.Weir, "admin_get", get)


def asked(weir, authority, path, pair=None, method="GET", extra="", address=None):
    """None: the conn is refused."""
    context = authority.client_context(pair=pair)
    try:
        with TlsClient(address or weir.admin, context) as c:
            return c.get(path, host="admin.example", method=method,
                         extra="Connection: close\r\n" + extra).status
    except (ssl.SSLError, ConnectionError, AssertionError):
        return None


# ---- who is let in -------------------------------------------------------------------------------

def test_only_who_has_a_certificate_of_the_authority_gets_an_answer(one, authority, stranger):
    weir = one()
    assert asked(weir, authority, "/pools", pair=authority.issue()) == 200
    assert asked(weir, authority, "/reload", authority.issue(), "POST") == 403  # another site's page
    for pair in (None, stranger.issue(), authority.issue(ends=-0.5), authority.issue(starts=1)):
        assert asked(weir, authority, "/pools", pair=pair) is None
        assert asked(weir, authority, "/livez", pair=pair) is None
    assert asked(weir, authority, "/pools", pair=authority.issue()) == 200


def test_where_it_is_optional_probes_need_none_and_pages_do(one, authority, stranger):
    weir = one(", client_auth: optional")
    assert asked(weir, authority, "/livez") == asked(weir, authority, "/readyz") == 200
    for path in ("/", "/pools", "/metrics", "/status", "/nothing"):
        assert asked(weir, authority, path) == 403, path
    assert asked(weir, authority, "/drain", method="POST", extra=MINE) == 403
    assert asked(weir, authority, "/pools", pair=authority.issue()) == 200
    # One that is shown has to be good.
    assert asked(weir, authority, "/livez", pair=stranger.issue()) is None


def test_a_token_or_a_certificate(one, authority, token):
    weir = one(", client_auth: optional", f", token_file: {token}")
    bearer = f"Authorization: Bearer {TOKEN}\r\n"
    assert asked(weir, authority, "/pools") == 401
    assert asked(weir, authority, "/pools", extra=bearer) == 200
    assert asked(weir, authority, "/pools", extra=bearer.replace("0", "1")) == 401
    assert asked(weir, authority, "/pools", pair=authority.issue()) == 200


def test_tls_alone_lets_in_who_is_here(one, authority):
    weir = one(ca=False)
    assert asked(weir, authority, "/pools") == 403     # by a name that is not this machine's
    with TlsClient(weir.admin, authority.client_context()) as c:
        assert c.get("/pools", host="localhost").status == 200


def test_in_clear_text_there_is_no_answer(one):
    weir = one()
    with pytest.raises((ConnectionError, AssertionError)):
        ask(weir, "/livez")


def test_http_2_is_not_offered(one, authority):
    weir = one(ca=False)
    with TlsClient(weir.admin, authority.client_context(alpn=["h2", "http/1.1"])) as c:
        assert c.tls.selected_alpn_protocol() == "http/1.1"
        assert c.get("/livez", host="localhost").status == 200


@pytest.mark.skipif(own_address() is None, reason="this machine has no address but the loopback")
def test_from_elsewhere_a_certificate_opens_what_probes_do_not(one, authority):
    weir = one(", client_auth: optional", ", remote: probes", listen="0.0.0.0:0")
    there = f"{own_address()}:{weir.admin.rsplit(':', 1)[1]}"
    assert asked(weir, authority, "/metrics", address=there) == 200
    assert asked(weir, authority, "/pools", address=there) == 403
    assert asked(weir, authority, "/pools", pair=authority.issue(), address=there) == 200


# ---- files ---------------------------------------------------------------------------------------

def test_a_certificate_that_is_renewed_is_shown(one, authority, tmp):
    pair = authority.server().into(tmp / "certs", "admin")
    weir = one(pair=pair)
    before = asked_serial(weir, authority)
    renewed = authority.server(ends=9).into(tmp / "certs", "admin")
    wait_for(lambda: asked_serial(weir, authority) == renewed.serial, "the new certificate")
    assert before != renewed.serial
    pair.cert.write_text("nonsense")
    weir.said("stay in use")
    assert asked_serial(weir, authority) == renewed.serial


def test_what_becomes_of_its_own_certificate_is_told(one, authority, tmp):
    authority.server(ends=3).into(tmp / "certs", "admin")
    weir = one(pair=Pair(tmp / "certs" / "admin.crt", tmp / "certs" / "admin.key"))

    def told():
        return json.loads(weir.admin_get("/status").body)["certificates"]

    def expiry():
        return weir.metric("weir_tls_cert_expiry_seconds", admin="listener")

    (shown,), before = told(), expiry()
    assert (shown["of"], shown["name"], shown["not_after"]) == ("admin", "listener", before)
    assert not shown["reload_failed"]
    authority.server(ends=9).into(tmp / "certs", "admin")
    wait_for(lambda: abs(expiry() - before - 6 * 86400) < 600, "the new certificate")
    weir.wait_metric("weir_tls_cert_reload_failed", 0, admin="listener")
    (tmp / "certs" / "admin.crt").write_text("nonsense")
    weir.wait_metric("weir_tls_cert_reload_failed", 1, admin="listener")
    assert weir.metric("weir_tls_cert_reload_errors_total", admin="listener") >= 1
    assert told()[0]["reload_failed"]


def asked_serial(weir, authority):
    with TlsClient(weir.admin, authority.client_context(pair=authority.issue())) as c:
        return c.tls.getpeercert()["serialNumber"]


def test_elsewhere_than_on_the_loopback_a_client_ca_is_enough(tmp, authority):
    pair = authority.server()
    code, said = checked(tmp, f"{{ listen: '0.0.0.0:9', tls: {pair.cert} }}")
    assert code == 1 and "client_ca" in said
    code, said = checked(tmp, f"{{ listen: '0.0.0.0:9', tls: {{ certs: {pair.cert}, "
                              f"client_ca: {authority.cert} }} }}")
    assert code == 0, said


def test_files_that_are_no_good_are_named(tmp, authority):
    bad = tmp / "bad.crt"
    bad.write_text("nonsense")
    code, said = checked(tmp, f"{{ tls: {bad} }}")
    assert code == 1 and "weir.yaml:2:" in said and "admin.tls" in said and str(bad) in said
    code, said = checked(tmp, f"{{ tls: {{ certs: {authority.server().cert}, client_ca: {bad} }} }}")
    assert code == 1 and "admin.tls" in said and str(bad) in said


# ---- verbs ---------------------------------------------------------------------------------------

def top(*args, **env):
    kept = {k: v for k, v in os.environ.items() if not k.startswith("WEIR_ADMIN")}
    done = subprocess.run([WEIR, "explain", *map(str, args), "http://a/"], capture_output=True,
                          text=True, timeout=LIMIT, env={**kept, **{k: str(v) for k, v in env.items()}})
    return done.returncode, done.stdout + done.stderr


def test_a_verb_shows_its_certificate_and_looks_at_weirs(one, authority, stranger):
    weir = one()
    mine = authority.issue()
    at = f"https://{weir.admin}"
    shows = {"WEIR_ADMIN_CERT": mine.cert, "WEIR_ADMIN_KEY": mine.key}
    code, said = top("--admin", at, WEIR_ADMIN_CA=authority.cert, **shows)
    assert code == 0 and "next" in said, said
    code, said = top("--admin", at, WEIR_ADMIN_CA=authority.cert)
    assert code == 1 and "certificate required" in said, said
    code, said = top("--admin", at, WEIR_ADMIN_CA=stranger.cert, **shows)
    assert code == 1 and "unable to get local issuer certificate" in said, said
    port = weir.admin.rsplit(":", 1)[1]
    code, said = top("--admin", f"https://127.0.0.2:{port}", WEIR_ADMIN_CA=authority.cert, **shows)
    assert code == 1 and ("IP address mismatch" in said or "refused" in said), said
    code, said = top("--admin", at, WEIR_ADMIN_CA="/nowhere", **shows)
    assert code == 1 and "/nowhere" in said, said
    code, said = top("--admin", weir.admin)
    assert code == 1 and "does not speak HTTP" in said or "without an answer" in said, said


def test_a_verb_finds_in_the_file_all_that_it_takes(one, authority, tmp, token):
    weir = one(", client_auth: optional", f", token_file: {token}")
    file = tmp / "file.yaml"
    file.write_text(
        f"version: 1\nadmin: {{ listen: '{weir.admin}', token_file: {token}, "
        f"tls: {{ certs: {weir.pair.cert} }} }}\nlisteners: {{ web: 127.0.0.1:1 }}\n"
        "routes: [ { to: app } ]\npools: { app: ['127.0.0.1:1'] }\n")
    code, said = top("-c", file)
    assert code == 0 and "next" in said, said
    code, said = top("-c", file, WEIR_ADMIN_TOKEN="another one, which counts")
    assert code == 1 and "token" in said, said
    token.write_text("0" * 32)
    code, said = top("-c", file)
    assert code == 1 and "token" in said, said
