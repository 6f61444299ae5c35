# SPDX-License-Identifier: Apache-2.0
"""/metrics: names, labels and values."""
import time
from pathlib import Path

import pytest

import harness
from harness import sum_of
from matrix import Matrix
from peers import Client, wait_for

MATRIX = Matrix()

FAMILIES = """weir_build_info weir_workers weir_requests_total weir_request_duration_seconds weir_requests_in_flight
weir_client_connections weir_client_connections_total weir_upstream_connections
weir_upstream_connections_total weir_upstream_reused_total weir_retries_total weir_errors_total
weir_access_log_dropped_total weir_accept_paused_total weir_trace_spans_total""".split()


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
    weir.access_log(7)  # each is counted before it has its line
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
    weir.wait_metric("weir_client_connections_total", 2)  # the admin listener's are not clients
    weir.wait_metric("weir_upstream_connections_total", 1, pool="app")


def test_requests_and_connections_by_listener(start_weir, auto):
    weir = start_weir("listeners: { web: '127.0.0.1:0', back: '127.0.0.1:0' }\n"
                      + config(auto().address))
    with weir.client() as c, weir.client("back") as other:
        weir.wait_metric("weir_listener_connections", 1, listener="web")
        weir.wait_metric("weir_listener_connections", 1, listener="back")
        assert c.get().status == 200
        assert other.get().status == other.get().status == 200
        weir.wait_metric("weir_listener_requests_total", 1, listener="web", status="2xx")
        weir.wait_metric("weir_listener_requests_total", 2, listener="back", status="2xx")
    weir.wait_metric("weir_listener_connections", 0)
    assert weir.metric("weir_client_connections_limit") > 0


def test_what_the_kernel_says_of_the_process(start_weir, auto):
    before = time.time()
    weir = start_weir(config(auto().address))
    samples = weir.metrics()
    assert before - 1 <= sum_of(samples, "process_start_time_seconds", {}) <= time.time()
    assert 0 < sum_of(samples, "process_cpu_seconds_total", {}) <= time.time() - before + 1
    assert 2**20 < sum_of(samples, "process_resident_memory_bytes", {})
    assert (sum_of(samples, "process_virtual_memory_bytes", {})
            >= sum_of(samples, "process_resident_memory_bytes", {}))
    opened = sum_of(samples, "process_open_fds", {})
    with weir.client(), weir.client(), weir.client():
        weir.wait_metric("weir_client_connections", 3)
        weir.wait_metric("process_open_fds", opened + 3)
    assert weir.metric("process_max_fds") >= opened + 3


def test_memory_by_kind_is_there_once_it_was_needed(start_weir, auto, side):
    weir = start_weir(config(auto().address))
    weir.wait_metric("weir_memory_bytes", 0, kind="exchange")
    with weir.client() as c:
        assert c.get().status == 200
        kept = () if harness.sanitizer() else ("exchange", "head", "block")  # it keeps nothing
        for kind in ("tcp", f"{side.client}_server", "flight", *kept):
            wait_for(lambda kind=kind: weir.metric("weir_memory_bytes", kind=kind) > 0, kind)


def test_the_retry_budget_that_is_left(start_weir, auto):
    weir = start_weir(config(auto().address))
    assert weir.metric("weir_retry_budget_left", pool="app") == 100     # 10 a second, over 10 s


def test_each_worker_says_how_long_it_has_been_at_it(start_weir, auto):
    weir = start_weir(config(auto().address), workers=2)
    seen = [v for (name, _), v in weir.metrics().items() if name == "weir_worker_turn_seconds"]
    assert len(seen) == 2 and max(seen) < 60


def runs_of_others(weir):
    """How often each thread but the control thread was put on a core."""
    tasks = [t for t in Path(f"/proc/{weir.pid}/task").iterdir() if t.name != str(weir.pid)]
    return {t.name: int((t / "schedstat").read_text().split()[2]) for t in tasks}


@pytest.mark.skipif(not Path("/proc/self/schedstat").exists(), reason="the kernel does not count")
def test_a_scrape_wakes_no_worker(start_weir, auto):
    """So none waits for it, for a lock of its or for its memory either."""
    weir = start_weir(config(auto().address), workers=2)
    with weir.client() as c:
        assert c.get().status == 200
    weir.wait_metric("weir_client_connections", 0)
    weir.wait_quiet()

    def nobody_woke():
        """A timer of a worker's own may be due once; what a scrape wakes, each one wakes."""
        before = runs_of_others(weir)
        for _ in range(30):
            assert weir.admin_get("/metrics").status == 200
        return len(before) >= 2 and runs_of_others(weir) == before

    wait_for(nobody_woke, "30 scrapes without another thread being run")


def test_the_number_of_workers_is_shown(start_weir, auto):
    weir = start_weir(config(auto().address), workers=3)
    weir.wait_metric("weir_workers", 3)


def test_series_do_not_grow_with_what_clients_send(start_weir, auto):
    weir = start_weir(config(auto().address))
    with weir.client() as c:
        assert c.get("/warm").status == 200
        weir.access_log(1)  # it is counted, everywhere
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
