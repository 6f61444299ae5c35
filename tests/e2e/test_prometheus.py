# SPDX-License-Identifier: Apache-2.0
"""What is made of /metrics: promtool's opinion of it, the alert rules, the dashboard of Grafana.
Every metric, label and value that those name is one that a running weir has."""
import json
import re
import subprocess

import pytest
import yaml

from etcd import Gateway, kv, line, page
from harness import ROOT
from test_config_centre import config, start  # noqa: F401 (a fixture)
from tools import find, needs

RULES = ROOT / "packaging/prometheus/weir.rules.yaml"
BOARD = json.loads((ROOT / "packaging/grafana/weir.json").read_text())
LIMIT = 60                          # seconds for promtool
GIVEN = {"job", "instance", "le"}   # labels that Prometheus adds, or that a histogram has


def promtool(*words, text=""):
    done = subprocess.run([find("promtool"), *map(str, words)], input=text, capture_output=True,
                          text=True, timeout=LIMIT, check=False)
    return done.returncode, done.stdout + done.stderr


def rules():
    return [rule for group in yaml.safe_load(RULES.read_text())["groups"] for rule in group["rules"]]


def panels():
    return [panel for panel in BOARD["panels"] if panel["type"] != "row"]


def filled(expr):
    """An expression of the dashboard as Prometheus gets it from Grafana."""
    return re.sub(r"\$(\w+)", ".*", expr.replace("$__rate_interval", "5m"))


def expressions():
    """-> [(who says it, expression)]"""
    said = [(rule["alert"], rule["expr"]) for rule in rules()]
    said += [(panel["title"], filled(target["expr"])) for panel in panels()
             for target in panel["targets"]]
    return said + [("annotation", filled(note["expr"])) for note in BOARD["annotations"]["list"]]


# ---- what a weir has that has seen something of everything ---------------------------------------

@pytest.fixture
def seen(start_weir, auto, authority, tmp_path):
    app = auto()
    (tmp_path / "found.yaml").write_text(f"- '{app.address}'\n")
    weir = start_weir(f"""
listeners:
  web: 127.0.0.1:0
  safe: {{ bind: 127.0.0.1:0, tls: {authority.server().cert} }}
routes:
  - {{ name: dead, match: {{ path: /dead }}, to: dead }}
  - {{ name: found, match: {{ path: /found }}, to: found }}
  - {{ name: app, to: app }}
pools:
  app: {{ endpoints: ['{app.address}'], max_requests: 8, queue: 8 }}
  dead: {{ endpoints: ['127.0.0.1:9'], health: {{ tcp: true, every: 1s, down_after: 1 }} }}
  found: {{ file: {tmp_path}/found.yaml }}
  far: {{ endpoints: ['127.0.0.1:9'], upstream: {{ tls: {{ ca: {authority.cert} }} }} }}
""")
    with weir.client() as c:
        for path, status in (("/", 200), ("/found", 200), ("/dead", None)):
            got = c.get(path).status
            assert got == status or status is None and got in (502, 503)
    weir.wait_metric("weir_listener_requests_total", 3, listener="web")
    weir.wait_metric("weir_endpoint_state", 1, pool="dead", state="down")
    return weir


@pytest.fixture
def centred(start, closing, auto):  # noqa: F811
    """One whose configuration is a key of etcd."""

    def watches(_):
        yield line(5, created=True)
        gateway.silence()

    gateway = closing(Gateway(lambda _: page([kv("/weir", config(auto()), 5)], 5), watches))
    return start(gateway, "/weir")


@pytest.fixture
def known(seen, centred):
    """-> (samples, families) of both"""
    got = {**centred.metrics(), **seen.metrics()}
    return got, {**centred.families, **seen.families}


@needs("promtool")
def test_promtool_has_nothing_against_the_metrics(seen):
    assert promtool("check", "metrics", text=seen.admin_get("/metrics").body.decode()) == (0, "")


def named(expr):
    """-> [(metric, its matchers)], and the labels that the expression groups by"""
    plain = re.sub(r'"[^"]*"', lambda m: m[0].replace("{", "").replace("}", ""), expr)
    metrics = re.findall(r"\b((?:weir|process)_\w+)(?:\{([^}]*)\})?", plain)
    by = re.findall(r"\bby \(([^)]*)\)", plain)
    return ([(name, re.findall(r'(\w+)(=~?)"([^"]*)"', matchers)) for name, matchers in metrics],
            {label.strip() for group in by for label in group.split(",")})


def wrong(expr, samples, families, used=()):
    """-> what in the expression no sample has. used: labels that words about it name"""
    metrics, labels = named(expr)
    assert metrics or "up{" in expr, expr
    known = set()
    for name, matchers in metrics:
        family = re.sub(r"_(bucket|sum|count)$", "", name) if name not in families else name
        if family not in families:
            yield f"there is no metric {name}"
            continue
        sets = [dict(pairs) for (n, pairs) in samples if n == name]
        if not sets:
            yield f"{name} has no sample: the test's weir should have seen one"
        here = {label for one in sets for label in one}
        known |= here
        for label, how, value in matchers:
            if label in GIVEN or value == ".*":
                if label not in GIVEN | here:
                    yield f"{name} has no label {label}"
                continue
            for word in value.split("|") if how == "=~" else [value]:
                if not any(one.get(label) == word for one in sets):
                    yield f'{name} is nowhere {label}="{word}"'
    for label in labels | set(used):
        if label not in known | GIVEN:
            yield f"nothing of it has the label {label}"


def test_alerts_and_dashboard_name_what_weir_has(known):
    got, families = known
    for who, expr in expressions():
        assert not list(wrong(expr, got, families)), (who, expr)
    for rule in rules():
        words = " ".join(rule["annotations"].values())
        used = set(re.findall(r"\$labels\.(\w+)", words)) - {"listener", "pool"}
        assert not list(wrong(rule["expr"], got, families, used)), rule["alert"]
    for panel in panels():
        for target in panel["targets"]:
            used = set(re.findall(r"\{\{(\w+)\}\}", target["legendFormat"]))
            assert not list(wrong(filled(target["expr"]), got, families, used)), panel["title"]


def test_a_name_that_weir_does_not_have_is_found(seen):
    got = seen.metrics()
    for expr, what in (
        ("rate(weir_request_total[5m])", "there is no metric weir_request_total"),
        ('weir_endpoint_state{status="down"}', 'weir_endpoint_state is nowhere status="down"'),
        ('weir_errors_total{reason=~"queue_full|queue_empty"}',
         'weir_errors_total is nowhere reason="queue_empty"'),
        ("sum by (route, host) (weir_requests_total)", "nothing of it has the label host"),
    ):
        assert list(wrong(expr, got, seen.families)) == [what]


# ---- alerts --------------------------------------------------------------------------------------

@needs("promtool")
def test_promtool_takes_the_rules():
    status, said = promtool("check", "rules", RULES)
    assert status == 0 and f"SUCCESS: {len(rules())} rules found" in said, said


def test_each_alert_says_what_happened_and_what_to_do():
    assert len({rule["alert"] for rule in rules()}) == len(rules())
    for rule in rules():
        assert set(rule["annotations"]) == {"summary", "action"}, rule["alert"]
        assert rule["labels"] in ({"severity": "critical"}, {"severity": "warning"}), rule["alert"]
        assert "$labels" in rule["annotations"]["summary"] and rule["annotations"]["action"].strip()


AT = {"job": "weir", "instance": "a:9900"}
EP = {"pool": "app", "endpoint": "10.0.0.1:80"}
TEN = 10 * 60                       # seconds; each case looks at this time
DAY = 86400

# Of each alert: the series, each minute's value as promtool writes it; the labels that it fires
# with; what it says; and series of which it says nothing.
CASES = {
    "WeirDown": (
        [("up", {}, "1 1 0x20")], {}, "a:9900 does not answer Prometheus",
        [("up", {}, "1 0 1x20")]),
    "WeirPoolUnusable": (
        [("weir_endpoint_state", {**EP, "state": "healthy"}, "1 0x20"),
         ("weir_endpoint_state", {"pool": "app", "endpoint": "b", "state": "healthy"}, "1 0x20")],
        {"pool": "app"}, "no endpoint of pool app is usable at a:9900",
        [("weir_endpoint_state", {**EP, "state": "healthy"}, "0x20"),
         ("weir_endpoint_state", {"pool": "app", "endpoint": "b", "state": "healthy"}, "1x20"),
         ("weir_discovery_endpoints", {"pool": "b", "source": "dns b"}, "2x20")]),
    "WeirPoolPanic": (
        [("weir_pool_panic", {"pool": "app"}, "1x20")], {"pool": "app"},
        "pool app at a:9900 has so few usable endpoints that ejections are ignored",
        [("weir_pool_panic", {"pool": "app"}, "0x20")]),
    "WeirEndpointDown": (
        [("weir_endpoint_state", {**EP, "state": "ejected"}, "0 1x20")], {**EP, "state": "ejected"},
        "10.0.0.1:80 of pool app has been ejected for 5 minutes (a:9900)",
        [("weir_endpoint_state", {**EP, "state": "down"}, "1 1 1 1 1 1 0 1x20"),
         ("weir_endpoint_state", {**EP, "state": "drained"}, "1x20")]),
    "WeirErrors": (
        [("weir_requests_total", {"route": "r", "pool": "app", "status": "5xx"}, "0+60x20"),
         ("weir_requests_total", {"route": "r", "pool": "app", "status": "2xx"}, "0+540x20")],
        {"route": "r"}, "10% of the requests of route r fail at a:9900",
        [("weir_requests_total", {"route": "r", "pool": "app", "status": "5xx"}, "0+6x20"),
         ("weir_requests_total", {"route": "r", "pool": "app", "status": "2xx"}, "0+594x20"),
         ("weir_requests_total", {"route": "few", "pool": "app", "status": "5xx"}, "0+10x20")]),
    "WeirSlow": (
        [("weir_request_duration_seconds_bucket", {"route": "r", "le": "1"}, "0+540x20"),
         ("weir_request_duration_seconds_bucket", {"route": "r", "le": "5"}, "0+600x20"),
         ("weir_request_duration_seconds_bucket", {"route": "r", "le": "+Inf"}, "0+600x20"),
         ("weir_request_duration_seconds_count", {"route": "r"}, "0+600x20")],
        {"route": "r"}, "1% of the requests of route r take longer than 4.6s at a:9900",
        [("weir_request_duration_seconds_bucket", {"route": "r", "le": "1"}, "0+600x20"),
         ("weir_request_duration_seconds_bucket", {"route": "r", "le": "5"}, "0+600x20"),
         ("weir_request_duration_seconds_bucket", {"route": "r", "le": "+Inf"}, "0+600x20"),
         ("weir_request_duration_seconds_count", {"route": "r"}, "0+600x20")]),
    "WeirQueueRejects": (
        [("weir_errors_total", {"reason": "queue_full"}, "0+120x20")], {"reason": "queue_full"},
        "a:9900 refuses 2 requests a second: queue_full",
        [("weir_errors_total", {"reason": "client_closed"}, "0+120x20"),
         ("weir_errors_total", {"reason": "queue_timeout"}, "7x20")]),
    "WeirRetriesDenied": (
        [("weir_retries_denied_total", {"pool": "app"}, "0+6x20")], {"pool": "app"},
        "pool app at a:9900 fails more often than may be tried again",
        [("weir_retries_denied_total", {"pool": "app"}, "6x20")]),
    "WeirCertificateExpires": (
        [("weir_tls_cert_expiry_seconds", {"listener": "web", "file": "a.pem"},
          f"{13 * DAY + TEN}x20")],
        {"listener": "web", "file": "a.pem"}, "a.pem at a:9900 expires in 13d 0h 0m 0s",
        [("weir_tls_cert_expiry_seconds", {"listener": "web", "file": "a.pem"}, f"{15 * DAY}x20")]),
    "WeirCertificateExpiresSoon": (
        [("weir_tls_cert_expiry_seconds", {"listener": "web", "file": "a.pem"}, f"{DAY + TEN}x20")],
        {"listener": "web", "file": "a.pem"},
        "a.pem at a:9900 expires in 1d 0h 0m 0s: clients will refuse it",
        [("weir_tls_cert_expiry_seconds", {"listener": "web", "file": "a.pem"}, f"{3 * DAY}x20")]),
    "WeirCertificateRefused": (
        [("weir_tls_cert_reload_failed", {"pool": "app"}, "1x20")], {"pool": "app"},
        "a:9900 does not take changed certificates of app",
        [("weir_tls_cert_reload_failed", {"pool": "app"}, "0x20")]),
    "WeirReloadFailed": (
        [("weir_reload_failed", {}, "0 1x20")], {},
        "a:9900 serves an old configuration: its last reload failed",
        [("weir_reload_failed", {}, "1 0x20")]),
    "WeirConfigSourceFailing": (
        [("weir_config_failing", {}, "0 1x20")], {},
        "a:9900 has not been able to read the key of its configuration for 5 minutes",
        [("weir_config_failing", {}, "0 1 1 1 1 0 1x20")]),
    "WeirTraceSpansLost": (
        [("weir_trace_spans_total", {"result": "failed"}, "0+10x20"),
         ("weir_trace_spans_total", {"result": "dropped"}, "7x20"),
         ("weir_trace_spans_total", {"result": "exported"}, "0+100x20")],
        {"result": "failed"},
        "a:9900 has lost 50 spans of traces in 5 minutes: failed",
        [("weir_trace_spans_total", {"result": "exported"}, "0+100x20"),
         ("weir_trace_spans_total", {"result": "failed"}, "7x20"),
         ("weir_trace_spans_total", {"result": "rejected"}, "7x20"),
         ("weir_trace_spans_total", {"result": "dropped"}, "7x20")]),
    "WeirDiscoveryStale": (
        [("weir_discovery_failing", {"pool": "app", "source": "dns app"}, "1x20"),
         ("weir_discovery_age_seconds", {"pool": "app", "source": "dns app"}, "0+60x20")],
        {"pool": "app", "source": "dns app"},
        "the endpoints of pool app at a:9900 are as dns app told 10m 0s ago",
        [("weir_discovery_failing", {"pool": "app", "source": "dns app"}, "0x20"),
         ("weir_discovery_age_seconds", {"pool": "app", "source": "dns app"}, "0+60x20"),
         ("weir_discovery_failing", {"pool": "b", "source": "dns b"}, "1x20"),
         ("weir_discovery_age_seconds", {"pool": "b", "source": "dns b"}, "9x20")]),
    "WeirConnectionsNearLimit": (
        [("weir_client_connections", {}, "900x20"), ("weir_client_connections_limit", {}, "1000x20")],
        {}, "90% of the client connections that a:9900 serves at once are there",
        [("weir_client_connections", {}, "700x20"),
         ("weir_client_connections_limit", {}, "1000x20")]),
    "WeirFilesNearLimit": (
        [("process_open_fds", {}, "900x20"), ("process_max_fds", {}, "1000x20")], {},
        "90% of the files that a:9900 may open are open",
        [("process_open_fds", {}, "700x20"), ("process_max_fds", {}, "1000x20"),
         ("process_open_fds", {"job": "other"}, "1000x20"),
         ("process_max_fds", {"job": "other"}, "1000x20")]),
    "WeirAcceptPaused": (
        [("weir_accept_paused_total", {}, "0x8 1x20")], {},
        "a:9900 has stopped accepting connections for a while",
        [("weir_accept_paused_total", {}, "0 1x20")]),
    "WeirWorkerStuck": (
        [("weir_worker_turn_seconds", {"worker": "1"}, "0x7 0+60x20")], {"worker": "1"},
        "worker 1 of a:9900 has not looked at its sockets for 1m 0s",
        [("weir_worker_turn_seconds", {"worker": "1"}, "0 9 0 9 0 9 0 9 0 9 0 9 0 9")]),
    "WeirAccessLogDrops": (
        [("weir_access_log_dropped_total", {}, "0+10x20")], {},
        "a:9900 has lost 50 lines of its access log in 5 minutes",
        [("weir_access_log_dropped_total", {}, "10x20")]),
}


def series(rows):
    return [{"series": name + json_labels({**AT, **labels}), "values": values}
            for name, labels, values in rows]


def json_labels(labels):
    return "{" + ", ".join(f'{k}="{v}"' for k, v in labels.items()) + "}"


def fires(rule, labels, summary):
    job = {"job": "weir", "instance": "a:9900"}
    action = re.sub(r"\{\{ \$labels\.(\w+) \}\}", lambda m: labels[m[1]], rule["annotations"]["action"])
    return {"exp_labels": {**job, **labels, **rule["labels"]},
            "exp_annotations": {"summary": summary, "action": action}}


@needs("promtool")
def test_alerts_fire_when_they_should_and_at_no_other_time(tmp_path):
    by_name = {rule["alert"]: rule for rule in rules()}
    assert set(CASES) == set(by_name)
    tests = []
    for name, (rows, labels, summary, quiet) in CASES.items():
        for given, wanted in ((rows, [fires(by_name[name], labels, summary)]), (quiet, [])):
            tests.append({"interval": "1m", "input_series": series(given), "alert_rule_test": [
                {"eval_time": "10m", "alertname": name, "exp_alerts": wanted}]})
    file = tmp_path / "tests.yaml"
    file.write_text(yaml.safe_dump({"rule_files": [str(RULES)], "tests": tests}))
    status, said = promtool("test", "rules", file)
    assert status == 0, said


# ---- the dashboard of Grafana --------------------------------------------------------------------

def test_the_dashboard_is_one_that_can_be_imported():
    assert BOARD["title"] == "weir" and BOARD["uid"] and "id" not in BOARD and "__inputs" not in BOARD
    ids = [panel["id"] for panel in BOARD["panels"]]
    assert len(set(ids)) == len(ids) and all(isinstance(i, int) and i > 0 for i in ids)
    assert {panel["type"] for panel in BOARD["panels"]} == {"row", "stat", "timeseries"}
    titles = [panel["title"] for panel in BOARD["panels"]]
    assert len(set(titles)) == len(titles)


def test_no_panel_lies_on_another_or_beside_the_grid():
    taken = set()
    for panel in BOARD["panels"]:
        at = panel["gridPos"]
        assert at["w"] > 0 and at["h"] > 0 and 0 <= at["x"] and at["x"] + at["w"] <= 24
        cells = {(x, y) for x in range(at["x"], at["x"] + at["w"])
                 for y in range(at["y"], at["y"] + at["h"])}
        assert not cells & taken, panel["title"]
        taken |= cells


def test_each_panel_says_what_it_shows_and_asks_the_chosen_prometheus():
    source = {"type": "prometheus", "uid": "${datasource}"}
    variables = {v["name"] for v in BOARD["templating"]["list"]}
    assert {"datasource", "job", "instance"} <= variables
    for panel in panels():
        assert panel["description"] and panel["datasource"] == source
        assert panel["fieldConfig"]["defaults"]["unit"]
        refs = [target["refId"] for target in panel["targets"]]
        assert refs and len(set(refs)) == len(refs), panel["title"]
        for target in panel["targets"]:
            assert target["datasource"] == source
            assert 'job=~"$job"' in target["expr"] and 'instance=~"$instance"' in target["expr"]
            used = set(re.findall(r"\$\{?(\w+)", target["expr"])) - {"__rate_interval"}
            assert used <= variables, panel["title"]


@needs("promtool")
def test_promtool_can_parse_what_the_dashboard_asks(tmp_path):
    asked = [expr for _, expr in expressions()]
    file = tmp_path / "rules.yaml"
    file.write_text(yaml.safe_dump({"groups": [{"name": "board", "rules": [
        {"record": f"expr:{i}", "expr": expr} for i, expr in enumerate(asked)]}]}))
    status, said = promtool("check", "rules", file)
    assert status == 0 and f"SUCCESS: {len(asked)} rules found" in said, said
