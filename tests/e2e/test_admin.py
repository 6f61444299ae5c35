# SPDX-License-Identifier: Apache-2.0
"""Who may ask the admin listener for what, and that its description is true."""
import json
import re
import socket
import subprocess
import urllib.parse
from base64 import b64encode

import jsonschema
import pytest

from harness import ROOT, WEIR
from peers import Client, keep, wait_for

MINE = "X-Weir: 1\r\n"
TOKEN = "0123456789abcdef0123456789abcdef"
OWN = "'], own: { registry: {} }, other: ['127.0.0.1:1"
APP = "routes: [ { to: app } ]\npools: { app: ['$UPSTREAM'] }\n"


def ask(weir, path, method="GET", extra="", host="localhost", at=None, body=""):
    with Client(at or weir.admin) as c:
        length = f"Content-Length: {len(body)}\r\n" if body else ""
        c.send(f"{method} {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n{length}{extra}\r\n{body}")
        return c.response(method)


@pytest.fixture
def one(start_weir, auto):
    """one(admin's keys): a weir over an upstream."""

    def make(keys="", top="", pools=""):
        up = auto()
        admin = f'admin: {{ listen: "127.0.0.1:0"{keys} }}\n' if "listen" not in keys else keys
        weir = start_weir(top + admin + APP.replace("$UPSTREAM", up.address + pools))
        weir.upstream = up
        return weir

    return make


@pytest.fixture
def token(tmp):
    path = tmp / "token"
    path.write_text(TOKEN + "\n")
    return path


# ---- names, and pages of other sites ----


@pytest.mark.parametrize(
    "host", ["localhost", "localhost:9900", "a.localhost", "127.0.0.1:9900", "[::1]:9900", "weir"]
)
def test_by_a_name_that_is_this_machines_pages_are_read(one, host):
    assert ask(one(), "/pools", host=host).status == 200


@pytest.mark.parametrize("host", ["evil.example", "evil.example:9900", "localhost.evil.example"])
def test_by_another_name_only_the_probes_are(one, host):
    """DNS rebinding: a page's own name has come to mean our address, so that its origin is ours."""
    weir = one()
    for path in ("/", "/pools", "/metrics", "/status", "/explain?url=/", "/nothing"):
        got = ask(weir, path, host=host)
        assert got.status == 403 and b"localhost" in got.body, path
    own = f"{MINE}Origin: http://{host}\r\n"
    assert ask(weir, "/reload", "POST", own, host=host).status == 403
    for path in ("/livez", "/readyz"):
        assert ask(weir, path, host=host).status == 200


def writes(weir):
    at = f"/pools/app/endpoints/{weir.upstream.address}"
    return [f"{at}/drain", f"{at}/undrain", f"{at}/weight/2", "/reload"]


@pytest.mark.parametrize(
    "extra",
    [
        "",
        "Content-Type: text/plain\r\n",
        "Origin: http://localhost\r\n",
        f"{MINE}Origin: http://evil.example\r\n",
        f"{MINE}Origin: null\r\n",
        f"{MINE}Origin: http://localhost:1\r\n",
        f"{MINE}Origin: https://localhost\r\n",
        "Content-Type: application/json\r\nOrigin: http://evil.example\r\n",
    ],
)
def test_what_changes_something_is_not_for_other_sites(one, extra):
    weir = one()
    for path in writes(weir):
        assert ask(weir, path, "POST", extra).status == 403, path
    assert json.loads(ask(weir, "/pools").body)[0]["endpoints"][0]["healthy"]
    weir.wait_metric("weir_generation", 1)


@pytest.mark.parametrize("extra", [MINE, f"{MINE}Origin: http://LOCALHOST\r\n"])
def test_what_changes_something_is_for_programs_and_for_the_dashboard(one, extra):
    weir = one()
    for path in writes(weir):
        assert ask(weir, path, "POST", extra).status == 200, path


def test_other_verbs_are_405_and_say_which_there_are(one):
    weir = one()
    for path, allow in (("/", "GET, HEAD"), ("/livez", "GET, HEAD"), ("/reload", "POST")):
        for method in {"PUT", "DELETE", "PATCH", "OPTIONS", "POST", "GET"} - set(allow.split(", ")):
            got = ask(weir, path, method, MINE)
            assert (got.status, got.get("allow")) == (405, allow), (method, path)


def test_a_huge_body_is_413(one):
    weir = one()
    got = ask(weir, "/reload", "POST", f"{MINE}Content-Length: 99999999999\r\n")
    assert got.status == 413
    assert ask(weir, "/livez").status == 200


def test_every_answer_says_what_a_browser_may_do_with_it(one):
    weir = one()
    for path in ("/", "/pools", "/status", "/nothing", "/explain?url=/"):
        got = ask(weir, path)
        assert got.get("x-content-type-options") == "nosniff", path
        assert got.get("cache-control") == "no-store", path
        assert "default-src 'none'" in got.get("content-security-policy"), path


# ---- the token ----


def basic(text):
    return f"Authorization: Basic {b64encode(text.encode()).decode()}\r\n"


def test_with_a_token_nothing_but_the_probes_is_answered_without(one, token):
    weir = one(f", token_file: {token}")
    for path in ("/", "/pools", "/metrics", "/status", "/openapi.json", "/nothing"):
        got = ask(weir, path)
        assert (got.status, got.get("www-authenticate")) == (401, 'Basic realm="weir"'), path
    assert ask(weir, "/reload", "POST", MINE).status == 401
    for path in ("/livez", "/readyz"):
        assert ask(weir, path).status == 200


@pytest.mark.parametrize(
    "extra, status",
    [
        (f"Authorization: Bearer {TOKEN}\r\n", 200),
        (f"authorization: bearer  {TOKEN}\r\n", 200),
        (basic("admin:" + TOKEN), 200),
        (basic(":" + TOKEN), 200),
        (f"Authorization: Bearer {TOKEN}0\r\n", 401),
        (f"Authorization: Bearer {TOKEN[:-1]}\r\n", 401),
        (f"Authorization: Bearer {TOKEN * 2}\r\n", 401),
        (f"Authorization: Bearer {TOKEN[:-1]}x\r\n", 401),
        ("Authorization: Bearer\r\n", 401),
        ("Authorization: Bearer \r\n", 401),
        (f"Authorization: {TOKEN}\r\n", 401),
        (basic(TOKEN), 401),
        (basic(TOKEN + ":"), 401),
        ("Authorization: Basic ====\r\n", 401),
        ("Authorization: Basic " + "A" * 8000 + "\r\n", 401),
        ("Authorization: Basic a-b_c\r\n", 401),
    ],
)
def test_tokens(one, token, extra, status):
    weir = one(f", token_file: {token}")
    assert ask(weir, "/pools", extra=extra).status == status
    # Who has it may use any name.
    assert ask(weir, "/pools", extra=extra, host="admin.example").status == status


def test_verbs_show_the_token(one, token):
    weir = one(f", token_file: {token}")
    args = [WEIR, "explain", "--admin", weir.admin, "http://a/"]
    done = subprocess.run(args, env={"WEIR_ADMIN_TOKEN": TOKEN}, capture_output=True, timeout=30)
    assert done.returncode == 0 and b"next" in done.stdout
    done = subprocess.run(args, env={}, capture_output=True, timeout=30)
    assert done.returncode == 1 and b"token" in done.stderr


# ---- other machines ----


def checked(tmp, admin):
    path = tmp / "weir.yaml"
    path.write_text(
        f"version: 1\nadmin: {admin}\nlisteners: {{ web: ':8000' }}\n"
        "routes: [ { to: app } ]\npools: { app: ['127.0.0.1:1'] }\n"
    )
    done = subprocess.run([WEIR, "check", path], capture_output=True, timeout=30)
    return done.returncode, (done.stdout + done.stderr).decode()


@pytest.mark.parametrize("listen", ["0.0.0.0:9900", "[::]:9900", "10.0.0.1:9900"])
def test_elsewhere_than_on_the_loopback_it_takes_a_token(tmp, token, listen):
    code, said = checked(tmp, f"{{ listen: '{listen}' }}")
    assert code == 1 and "weir.yaml:2:" in said and "token_file" in said
    assert checked(tmp, f"{{ listen: '{listen}', token_file: {token} }}")[0] == 0
    assert checked(tmp, f"{{ listen: '{listen}', remote: probes }}")[0] == 0


@pytest.mark.parametrize("listen", [":9900", "127.0.0.5:1", "[::1]:1", "unix:/run/weir/admin.sock"])
def test_here_it_does_not(tmp, listen):
    assert checked(tmp, f"{{ listen: '{listen}' }}")[0] == 0


@pytest.mark.parametrize(
    "text, said",
    [("", "holds no token"), ("short\n", "holds no token"), ("x" * 300, "holds no token")]
    + [("a token with spaces\n", "holds no token"), (None, "cannot read")],
)
def test_what_is_no_token(tmp, text, said):
    path = tmp / "bad"
    if text is not None:
        path.write_text(text)
    code, told = checked(tmp, f"{{ listen: '0.0.0.0:1', token_file: {path} }}")
    assert code == 1 and said in told and "admin.token_file" in told


def own_address():
    """One of this machine that is not the loopback's; None: it has none."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
        try:
            s.connect(("192.0.2.1", 9))  # sends nothing
        except OSError:
            return None
        found = s.getsockname()[0]
    return None if found.startswith("127.") else found


@pytest.mark.skipif(own_address() is None, reason="this machine has no address but the loopback")
def test_other_machines_may_ask_for_probes(start_weir, auto):
    weir = start_weir(
        "admin: { listen: '0.0.0.0:0', remote: probes }\n"
        + APP.replace("$UPSTREAM", auto().address)
    )
    at = f"{own_address()}:{weir.admin.rpartition(':')[2]}"
    for path in ("/livez", "/readyz", "/metrics"):
        assert ask(weir, path, at=at, host="weir.default.svc").status == 200
    for path in ("/", "/pools", "/status"):
        assert ask(weir, path, at=at).status == 403
    assert ask(weir, "/reload", "POST", MINE, at=at).status == 403
    here = f"127.0.0.1:{weir.admin.rpartition(':')[2]}"
    assert ask(weir, "/pools", at=here).status == 200


# ---- the description ----

API = json.loads((ROOT / "docs" / "openapi.json").read_text())


def schema(media):
    return {**media["schema"], "components": API["components"]}


def test_the_description_is_served_as_it_stands(one):
    got = ask(one(), "/openapi.json")
    assert json.loads(got.body) == API and got.get("content-type") == "application/json"


def operations():
    return [
        (path, method.upper(), operation)
        for path, item in API["paths"].items()
        for method, operation in item.items()
    ]


def filled(path, weir):
    address = urllib.parse.quote(weir.upstream.address, safe="")
    return path.format(pool="app", endpoint=address, weight="3", id="none", registry="own")


def body_of(operation, weir):
    """Of a request: the example, or a configuration."""
    media = operation.get("requestBody", {}).get("content", {})
    if example := media.get("application/json", {}).get("example"):
        return json.dumps(example)
    return (weir.tmp / "weir.yaml").read_text() if media else ""


@pytest.mark.parametrize("path, method, operation", operations(), ids=lambda x: str(x)[:60])
def test_every_path_answers_as_it_is_described(one, token, path, method, operation):
    weir = one(pools=OWN)
    with weir.client() as c:
        c.get()
    query = "?url=http://shop.example/x&header=a:b&header=c:d" if path == "/explain" else ""
    body, writes = body_of(operation, weir), method != "GET"
    query = "?as=json" if path == "/plan" else query
    got = ask(weir, filled(path, weir) + query, method, MINE if writes else "", body=body)
    described = operation["responses"].get(str(got.status))
    assert described is not None, (got.status, got.body)
    assert got.status == (201 if method == "PUT" else 404 if "{id}" in path else 200)
    media = described["content"][got.get("content-type")]
    if "json" in got.get("content-type"):
        jsonschema.Draft202012Validator(schema(media)).validate(json.loads(got.body))
    else:
        assert media["schema"] == {"type": "string"}
    if writes:
        assert ask(weir, filled(path, weir), method).status == 403 and "403" in operation["responses"]
    locked = one(f", token_file: {token}", pools=OWN)
    is_open = operation.get("security") == [{}]
    status = ask(locked, filled(path, locked) + query, method, MINE).status
    assert status == (200 if is_open else 401) and (is_open or "401" in operation["responses"])


def test_every_page_is_described(one):
    """The list at / is made of the server's own table."""
    listed = re.findall(r"^(?:POST )?(/\S*)$", ask(one(), "/").body.decode(), re.M)
    assert {"/livez", "/pools", "/explain", "/status"} <= set(listed)
    for page in listed:
        assert any(p == page or p.startswith(page + "/") for p in API["paths"]), page


def test_what_is_told_in_trouble_is_described_too(start_weir, auto):
    """Nulls, marks, errors, a split, a limit: what a quiet weir does not show."""
    ups = [auto(), auto(reply=lambda _: b"HTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n")]
    listed = f"[ '{ups[0].address}', {{ address: '{ups[1].address}', drain: true }} ]"
    weir = start_weir(
        "routes:\n  - { match: { host: b, headers: { x: y } }, to: { app: 1, bad: 2 } }\n"
        "  - { match: { host: bad }, to: bad }\n"
        f"pools:\n  app: {{ endpoints: {listed}, max_requests: 3, queue: {{ max: 1 }} }}\n"
        f"  bad: {{ endpoints: ['{ups[1].address}'], balance: {{ policy: maglev, key: path }} }}\n"
    )
    with weir.client() as c:
        for _ in range(8):
            assert c.get(host="bad").status in (500, 503)
        assert c.get(host="nobody").status == 404
    weir.access_log(9)  # all that is told below was told before the line
    kept = json.loads(ask(weir, "/requests").body)
    assert kept and kept[0]["status"] in (404, 500, 503)
    for path, query in (
        ("/status", ""),
        ("/requests", ""),
        ("/pools", ""),
        ("/history", ""),
        ("/explain", "?url=http://b/&header=x:y"),
        ("/explain", "?url=http://bad/"),
        ("/explain", "?url=http://nobody/"),
        ("/explain", "?url=http://a/a b".replace(" ", "%20")),
    ):
        got = ask(weir, path + query)
        media = API["paths"][path]["get"]["responses"]["200"]["content"]["application/json"]
        jsonschema.Draft202012Validator(schema(media)).validate(json.loads(got.body))
    one = json.loads(ask(weir, f"/requests/{kept[0]['id']}").body)
    described = API["paths"]["/requests/{id}"]["get"]["responses"]["200"]["content"]
    jsonschema.Draft202012Validator(schema(described["application/json"])).validate(one)
    status = json.loads(ask(weir, "/status").body)
    assert {e["reason"] for e in status["errors"]} >= {"no_route"}
    assert status["requests"]["classes"][3:] == [1, 8]
    assert sum(status["requests"]["latency"]) == 9
    assert [r["match"] for r in status["routes"]] == ["b x: y", "bad"]


def test_history_has_a_sample_each_few_seconds(one):
    weir = one()
    with weir.client() as c:
        c.get()
    weir.access_log(1)  # counted; a sample may have been taken before, on a slow machine
    before = len(json.loads(ask(weir, "/history").body))

    def samples():
        return json.loads(ask(weir, "/history").body)[before:]

    sample = wait_for(samples, "a sample")[0]
    assert sum(sample["classes"]) == sum(sample["latency"]) == 1


def test_top_shows_it_in_a_terminal(start_weir, auto):
    ups = [auto(), auto()]
    weir = start_weir(
        "routes: [ { name: all, to: app } ]\n"
        f"pools: {{ app: {{ endpoints: ['{ups[0].address}', {{ address: '{ups[1].address}', "
        "drain: true }] } }\n"
    )
    with weir.client() as c:
        for _ in range(5):
            assert c.get().status == 200
    weir.access_log(5)  # they are over, and counted
    args = [WEIR, "top", "--admin", weir.admin]
    done = subprocess.run(args, stdin=subprocess.DEVNULL, capture_output=True, timeout=30)
    out = done.stdout.decode()
    assert done.returncode == 0 and out == re.sub("\\x1b", "", out)
    assert out.startswith("weir ") and "serving, up 0 min" in out
    assert re.search(rf"{re.escape(ups[0].address)} +serving +100.0% +0 ", out)
    assert re.search(rf"{re.escape(ups[1].address)} +drained +0.0% +0 +- +it is drained", out)
    assert re.search(r"^all +5 +0 +0 +[0-9.]+ ms +[0-9.]+ ms$", out, re.M)
    assert subprocess.run([*args, "--every", "x"], capture_output=True).returncode == 2
    weir.stop()
    keep(("127.0.0.1", int(weir.admin.rpartition(":")[2])))  # it is no other weir's meanwhile
    done = subprocess.run(args, capture_output=True, timeout=30)
    assert done.returncode == 1 and b"weir top: " in done.stderr
