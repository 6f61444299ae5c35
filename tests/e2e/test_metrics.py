# SPDX-License-Identifier: Apache-2.0
"""/metrics: names, labels and values."""
import time

from harness import sum_of
from matrix import Matrix
from peers import Client

MATRIX = Matrix()

FAMILIES = """weir_build_info weir_workers weir_requests_total weir_request_duration_seconds weir_requests_in_flight
weir_client_connections weir_client_connections_total weir_upstream_connections
weir_upstream_connections_total weir_upstream_reused_total weir_retries_total weir_errors_total
weir_access_log_dropped_total weir_accept_paused_total""".split()


def config(address):
    return f"routes: [ {{ name: only, to: app }} ]\npools: {{ app: [ '{address}' ] }}\n"


def test_the_metrics_are_prometheus_text_with_every_documented_name(start_weir, auto):
    weir = start_weir(config(auto().address))
    with weir.client() as c:
        assert c.get().status == 200
    response = weir.admin_get("/metrics")
    assert response.get("Content-Type").startswith("text/plain; version=0.0.4")
    samples = weir.metrics()
    assert set(FAMILIES) <= set(weir.families), set(FAMILIES) - set(weir.families)
    info = next(dict(labels) for n, labels in samples if n == "weir_build_info")
    assert info["version"] and sum_of(samples, "weir_build_info", {}) == 1
    assert sum_of(samples, "weir_access_log_dropped_total", {}) == 0


def test_requests_are_counted_by_status_class_and_timed(start_weir, auto):
    up = auto(reply=lambda r: b"HTTP/1.1 %b X\r\nContent-Length: 0\r\n\r\n" % r.target[1:].encode())
    weir = start_weir(config(up.address))
    before = time.monotonic()
    with weir.client() as c:
        for status in (200, 201, 301, 404, 500, 503, 200):
            assert c.get(f"/{status}").status == status
    weir.wait_metric("weir_requests_in_flight", 0)  # each is told before it is over
    most = 7 * (time.monotonic() - before)
    got = {
        s: weir.metric("weir_requests_total", route="only", pool="app", status=s)
        for s in ("2xx", "3xx", "4xx", "5xx")
    }
    assert got == {"2xx": 3, "3xx": 1, "4xx": 1, "5xx": 2}
    samples = weir.metrics()
    assert sum_of(samples, "weir_request_duration_seconds_count", {"route": "only"}) == 7
    buckets = sorted(
        (float(dict(k)["le"]), v)
        for (n, k), v in samples.items()
        if n == "weir_request_duration_seconds_bucket" and ("route", "only") in k
    )
    assert buckets[-1] == (float("inf"), 7) and [v for _, v in buckets] == sorted(
        v for _, v in buckets
    )
    assert 0 < sum_of(samples, "weir_request_duration_seconds_sum", {"route": "only"}) < most


def test_connections_and_requests_in_flight_are_gauges(start_weir, new_upstream):
    up = new_upstream()
    weir = start_weir(config(up.address))
    c, other = weir.client(), weir.client()
    weir.wait_metric("weir_client_connections", 2)
    c.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n")
    u = up.accept()
    u.request()
    weir.wait_metric("weir_requests_in_flight", 1)
    weir.wait_metric("weir_upstream_connections", 1)
    u.answer()
    c.response()
    weir.wait_metric("weir_requests_in_flight", 0)
    weir.wait_metric("weir_upstream_connections", 1)  # idle, and kept
    c.close()
    other.close()
    weir.wait_metric("weir_client_connections", 0)
    assert weir.metric("weir_client_connections_total") == 2, "the admin listener's are not clients"
    assert weir.metric("weir_upstream_connections_total", pool="app") == 1


def test_the_number_of_workers_is_shown(start_weir, auto):
    weir = start_weir(config(auto().address), workers=3)
    assert weir.metric("weir_workers") == 3


def test_series_do_not_grow_with_what_clients_send(start_weir, auto):
    weir = start_weir(config(auto().address))
    with weir.client() as c:
        assert c.get("/warm").status == 200
        weir.wait_metric("weir_requests_total", 1)
        weir.wait_metric("weir_requests_in_flight", 0)
        before = len(weir.metrics())
        for i in range(50):
            assert c.get(f"/{i}", host=f"host{i}.test", extra=f"X-{i}: {i}\r\n").status == 200
    assert len(weir.metrics()) == before


def test_head_and_other_methods_of_the_admin_listener(start_weir, auto):
    weir = start_weir(config(auto().address))
    with Client(weir.admin) as c:
        get = c.get("/livez", host="x")
        head = c.get("/livez", host="x", method="HEAD")
        assert (get.status, head.status, head.body) == (200, 200, b"")
        assert c.get("/metrics", host="x", method="DELETE").status == 405


def test_at_rest_the_workers_hold_no_object(auto, start_weir, side):
    up = auto()
    one = start_weir(f"routes: [ {{ to: app }} ]\npools: {{ app: [ '{up.address}' ] }}\n")
    with one.client() as c:
        assert c.get().status == 200
        one.wait_metric("weir_objects", 1, kind=f"{side.client}_server")
        one.wait_metric("weir_objects", 1, kind=f"{side.upstream}_client")  # idle, and kept
        one.wait_metric("weir_objects", 0, kind="exchange")
        one.wait_metric("weir_objects", 0, kind="block")  # an idle conn owns no buffer
    up.close()
    one.wait_metric("weir_objects", 0)
