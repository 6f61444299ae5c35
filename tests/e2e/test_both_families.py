# SPDX-License-Identifier: Apache-2.0
"""A host name that has an address of each family: weir's endpoints, and where hello registers."""
import json
import socket
import subprocess
from pathlib import Path

import pytest

from harness import environment, needs_faults, needs_v6
from peers import DEADLINE, UpstreamConn, hold, wait_for
from registering import POOL, Hello, ids, registered
from test_discovery_file import wait_endpoints

pytestmark = [needs_v6, needs_faults]


@pytest.fixture(scope="module")
def both(tmp_path_factory):
    """The preload to which both.localhost is ::1 and 127.0.0.1."""
    out = tmp_path_factory.mktemp("both") / "both_families.so"
    source = Path(__file__).parent / "both_families.c"
    flags = ["-O2", "-Wall", "-D_GNU_SOURCE", "-shared", "-fPIC"]
    subprocess.run(["cc", *flags, "-o", str(out), str(source), "-ldl"], check=True)
    return out


@pytest.fixture
def port(closing):
    """A port of ours at both addresses, where nobody listens yet."""
    while True:
        first = closing(socket.socket(socket.AF_INET6))
        first.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        first.bind(("::1", 0))
        number = first.getsockname()[1]
        try:
            closing(hold(("127.0.0.1", number)))
        except OSError:
            continue
        return number


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_an_endpoint_is_found_wherever_its_host_listens(start_weir, closing, both, port, host):
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    app = closing(socket.create_server((host, port), family=family))
    app.settimeout(DEADLINE)
    weir = start_weir(
        f"routes: [ {{ to: app }} ]\npools: {{ app: {{ endpoints: [ both.localhost:{port} ] }} }}\n",
        preload=both,
    )
    with weir.client() as c:
        c.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        u = closing(UpstreamConn(app.accept()[0], "the app"))
        assert u.request().start == b"GET / HTTP/1.1"
        u.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
        assert c.response().body == b"ok"
    weir.wait_metric("weir_upstream_connections_total", 1)
    weir.wait_metric("weir_retries_total", 0)
    [endpoint] = json.loads(weir.admin_get("/pools/app").body)["endpoints"]
    assert (endpoint["address"], endpoint["also"]) == (f"127.0.0.1:{port}", f"[::1]:{port}")


@pytest.mark.parametrize("host", ["127.0.0.1", "[::1]"])
def test_a_backend_registers_wherever_weir_listens(start_weir, tmp, closing, both, port, host):
    weir = start_weir(f'admin: {{ listen: "{host}:{port}" }}\n' + POOL)
    url = f"http://both.localhost:{port}/registry/app"
    one = closing(Hello(tmp, "one", url, env=environment(preload=both)))
    wait_for(lambda: ids(weir) == ["one"], "the registration")
    wait_endpoints(weir, [one.address])
    one.stop()
    assert ids(weir) == [] and registered(weir)["removed"] == 1
    assert "not registered" not in one.said.read_text()


def test_a_name_server_that_does_not_answer_keeps_no_backend_from_leaving(tmp, closing, both, start_weir):
    """It is registered elsewhere, and serves and ends as if there were no other registry."""
    weir = start_weir(POOL)
    urls = ["http://stuck.localhost:9900/registry/app", f"http://{weir.admin}/registry/app"]
    hello = closing(Hello(tmp, "one", *urls, env=environment(preload=both)))
    wait_for(lambda: ids(weir) == ["one"], "the one that can be found")
    assert registered(weir)["registrations"][0]["address"] == hello.address
    hello.stop()
    assert ids(weir) == []
