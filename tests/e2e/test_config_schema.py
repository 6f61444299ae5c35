# SPDX-License-Identifier: Apache-2.0
"""`weir schema` is a JSON Schema that agrees with `weir check` about examples and mistakes.

WEIR names the program; build/weir if it is not set.
"""
import copy
import json
import os
import pathlib
import subprocess

import jsonschema
import pytest
import yaml

ROOT = pathlib.Path(__file__).resolve().parents[2]
WEIR = os.environ.get("WEIR", str(ROOT / "build" / "weir"))
EXAMPLES = sorted((ROOT / "config").glob("*.yaml"))

GOOD = {
    "version": 1,
    "listeners": {"web": ":8000"},
    "routes": [{"to": "app"}],
    "pools": {"app": ["127.0.0.1:8080"]},
}


def weir(*args, **kwargs):
    return subprocess.run([WEIR, *args], capture_output=True, text=True, timeout=30, **kwargs)


@pytest.fixture(scope="module")
def schema():
    result = weir("schema")
    assert result.returncode == 0, result.stderr
    return json.loads(result.stdout)


@pytest.fixture(scope="module")
def validator(schema):
    return jsonschema.Draft202012Validator(schema)


def check(tmp_path, document):
    """The exit code and the messages of `weir check` for a document."""
    path = tmp_path / "weir.yaml"
    path.write_text(json.dumps(document))  # JSON is YAML, and leaves no doubt about types
    result = weir("check", "--no-files", str(path))
    return result.returncode, result.stdout + result.stderr


def changed(path, value):
    """GOOD with one value changed; a dot in the path goes down, a number is an index."""
    document = copy.deepcopy(GOOD)
    at = document
    *way, last = path.split(".")
    for step in way:
        at = at[int(step)] if isinstance(at, list) else at.setdefault(step, {})
    at[int(last) if isinstance(at, list) else last] = value
    return document


def test_it_is_a_schema(schema):
    assert schema["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    jsonschema.Draft202012Validator.check_schema(schema)


def test_there_are_examples():
    assert {"full.yaml", "minimal.yaml", "sidecar.yaml", "weir.yaml"} <= {p.name for p in EXAMPLES}


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda p: p.name)
def test_it_accepts_the_examples(validator, path):
    validator.validate(yaml.safe_load(path.read_text()))


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda p: p.name)
def test_it_accepts_their_dumps_which_are_loaded_to_the_same(validator, tmp_path, path):
    first = weir("check", str(path), "--dump", "--no-files")
    assert first.returncode == 0, first.stderr
    validator.validate(yaml.safe_load(first.stdout))
    dump = tmp_path / "dump.yaml"
    dump.write_text(first.stdout)
    second = weir("check", str(dump), "--dump", "--no-files")
    assert second.returncode == 0, second.stderr
    assert second.stdout == first.stdout


def test_full_example_has_every_key(schema):
    """So that the example can't fall behind the schema."""

    def keys(node, path=""):
        for name, below in node.get("properties", {}).items():
            yield from [f"{path}{name}"]
            yield from keys(below, f"{path}{name}.")
        for below in node.get("anyOf", [])[:1]:  # the long form comes first
            yield from keys(below, path)
        if isinstance(node.get("additionalProperties"), dict):
            yield from keys(node["additionalProperties"], path + "*.")
        if "items" in node:
            yield from keys(node["items"], path + "*.")

    def used(value, path=""):
        if isinstance(value, dict):
            for name, below in value.items():
                for step in (name, "*"):
                    yield f"{path}{step}"
                    yield from used(below, f"{path}{step}.")
        if isinstance(value, list):
            for below in value:
                yield from used(below, path + "*.")

    example = yaml.safe_load((ROOT / "config" / "full.yaml").read_text())
    known, shown = set(keys(schema)), set(used(example))
    assert len(known) > 50
    # These have a short form that the example shows instead.
    known -= {
        "routes.*.match.path.prefix",
        "listeners.*.redirect_https.enabled",
        "pools.*.upstream.tls.enabled",
        "pools.*.balance.key.part",
        "pools.*.queue.key.part",
        "pools.*.health.grpc.enabled",
    }
    # It has a path, and so no syslog; TLS to etcd is as to upstreams; it runs in a cluster.
    known = {key for key in known if not key.startswith("access_log.syslog")}
    known -= {f"pools.*.etcd.tls.{key}" for key in ("enabled", "sni", "verify")}
    known -= {"pools.*.kubernetes.kubeconfig"}
    assert known - shown == set()


ACCEPTED = [
    ("workers", "auto"),
    ("workers", 256),
    ("workers", "${WEIR_TEST_UNSET:-4}"),
    ("shutdown", "0s"),
    ("admin", {}),
    ("log", "debug"),
    ("access_log", "/dev/stdout"),
    ("access_log", {"path": "x", "format": "{status}"}),
    ("access_log", {"path": "x", "fields": ["id", "status"], "sample": "10%", "rotate": "1MiB"}),
    ("access_log", {"path": "x", "rotate": {"size": "none", "keep": 0}}),
    ("access_log", {"syslog": "unix:/dev/log"}),
    ("access_log", {"syslog": {"to": "10.0.0.5:514", "facility": "daemon", "tag": "edge"}}),
    ("flight", {"size": 0, "slow": "never"}),
    ("limits.body_bytes", "none"),
    ("limits.buffer", "1MB"),
    ("timeouts.request", "none"),
    ("timeouts.upgraded", "${WEIR_TEST_UNSET:-1h}"),
    ("listeners.web", {"bind": "unix:/run/x", "mode": "0600", "trusted_proxies": "unix"}),
    ("listeners.web", {"bind": "[::1]:0", "via": True, "trusted_proxies": ["10.0.0.0/8", "::1"]}),
    ("listeners.web", {"bind": ":443", "tls": "a.pem", "proxy_protocol": "10.0.0.0/8"}),
    ("listeners.web", {"bind": ":443", "tls": ["a.pem", "certs/"]}),
    ("listeners.web", {"bind": ":443", "tls": {"certs": "a", "min_version": "1.3"}}),
    ("listeners.web", {"bind": ":443", "tls": {"certs": "a", "min_version": 1.2}}),
    ("listeners.web", {"bind": ":443", "tls": {"certs": "a", "alpn": ["h2", "http/1.1"]}}),
    ("listeners.web", {"bind": ":80", "redirect_https": True}),
    ("listeners.web", {"bind": ":80", "redirect_https": False}),
    ("listeners.web", {"bind": ":80", "redirect_https": {"port": 8443}}),
    ("routes.0.to", {"app": 0}),
    ("routes.0.match", {}),
    ("routes.0.match.host", "*.example.com"),
    ("routes.0.match.host", ["a.example", "[::1]"]),
    ("routes.0.match.path", "/x"),
    ("routes.0.match.path", {"exact": "/x"}),
    ("routes.0.match.method", "M-SEARCH"),
    ("routes.0.match.headers", {"x-tier": "gold"}),
    ("routes.0.timeout", {"request": "none", "try": "1ms"}),
    ("routes.0.retry.attempts", 0),
    ("pools.app", {"endpoints": [{"address": "a:1", "weight": 1}], "balance": "random"}),
    ("pools.app", {"endpoints": ["a:1"], "balance": "peak_ewma", "slow_start": "30s"}),
    ("pools.app", {"endpoints": ["a:1"], "sticky": "weir"}),
    ("pools.app", {"endpoints": ["a:1"], "sticky": {"cookie": "__Host-w", "ttl": "1h", "path": "/a",
                                                    "secret": "0123456789abcdef"}}),
    ("pools.app", {"endpoints": ["a:1"], "outlier": "none"}),
    ("pools.app", {"endpoints": ["a:1"], "outlier": {"errors": 5, "eject": "30s", "max": "50%"}}),
    ("pools.app", {"endpoints": ["a:1"], "outlier": {"errors": "none", "success_rate": "observe",
                                                     "latency": {"factor": "200%"}}}),
    ("pools.app", {"endpoints": ["a:1"], "balance": {"policy": "maglev", "key": "client_ip"}}),
    ("pools.app", {"endpoints": ["a:1"],
                   "balance": {"policy": "ring_hash", "key": {"header": "x-user"}, "bound": "125%"}}),
    ("pools.app", {"endpoints": [{"address": "a:1", "zone": "eu-1a", "priority": 1},
                                 {"address": "b:1", "backup": True}]}),
    ("pools.app", {"endpoints": ["a:1"], "health": {"http": "/healthz"}}),
    ("pools.app", {"endpoints": ["a:1"], "health": {"tcp": True, "port": 81, "every_down": "same"}}),
    ("pools.app", {"endpoints": ["a:1"], "health": {"grpc": True}}),
    ("pools.app", {"endpoints": ["a:1"], "health": {"grpc": {"service": "a.B"}, "jitter": "0%"}}),
    ("pools.app", {"endpoints": [{"address": "a:1", "health": "b:1"}],
                   "health": {"http": {"path": "/x?y", "status": [200, {"from": 300, "to": 302}]}}}),
    ("pools.app", {"endpoints": ["a:1"],
                   "health": {"http": {"path": "/", "status": {"from": 200}, "headers": {"a": "b"}}}}),
    ("zone", "eu-1a"),
    ("instance", 0),
    ("pools.app", {"endpoints": ["a:1"], "balance": {"subset": 20}}),
    ("pools.app", ["unix:/run/x", "[fd00::1]:80", "a.b:80"]),
    ("pools.app", {"endpoints": ["a:1"], "upstream": {"tls": True, "protocol": "h2"}}),
    ("pools.app", {"endpoints": ["a:1"], "upstream": {"tls": {"sni": "x", "verify": False}}}),
    ("pools.app", {"endpoints": ["a:1"], "upstream": {"proxy_protocol": "v1"}}),
]

REFUSED = [
    ("version", 2),
    ("version", "1"),
    ("worker", 1),
    ("workers", 0),
    ("workers", 257),
    ("workers", "four"),
    ("workers", True),
    ("workers", 1.5),
    ("shutdown", 30),
    ("shutdown", "30"),
    ("shutdown", "1.5s"),
    ("shutdown", "30S"),
    ("shutdown", None),
    ("admin", None),
    ("admin", {"listen": 9900}),
    ("log", "loud"),
    ("log", {"level": "info", "file": "x"}),
    ("access_log", {"path": ""}),
    ("access_log", {"path": "x", "fields": []}),
    ("access_log", {"path": "x", "fields": ["size"]}),
    ("access_log", {"path": "x", "sample": 50}),
    ("access_log", {"path": "x", "rotate": {"size": "1GB", "every": "1h"}}),
    ("access_log", {"syslog": {"facility": "local0"}}),
    ("access_log", {"syslog": {"to": "unix:/dev/log", "facility": "local8"}}),
    ("flight", {"size": -1}),
    ("flight", {"slow": "none"}),
    ("access_log", {"path": "x", "format": "common"}),
    ("limits.buffer", 65536),
    ("limits.buffer", "64K"),
    ("limits.buffer", "none"),
    ("limits.headers", 0),
    ("timeouts.client_idle", "none"),
    ("listeners", {}),
    ("listeners", [":80"]),
    ("listeners", {"a b": ":80"}),
    ("listeners.web", {}),
    ("listeners.web", "8000"),
    ("listeners.web", {"bind": ":80", "via": "yes"}),
    ("listeners.web", {"bind": "unix:/x", "mode": 660}),
    ("listeners.web", {"bind": ":80", "tls": {}}),
    ("listeners.web", {"bind": ":80", "trusted_proxies": ["somebody"]}),
    ("listeners.web", {"bind": ":80", "tls": []}),
    ("listeners.web", {"bind": ":80", "tls": True}),
    ("listeners.web", {"bind": ":80", "tls": {"certs": "a", "min_version": "1.1"}}),
    ("listeners.web", {"bind": ":80", "tls": {"certs": "a", "alpn": "h3"}}),
    ("listeners.web", {"bind": ":80", "proxy_protocol": True}),
    ("listeners.web", {"bind": ":80", "proxy_protocol": {}}),
    ("listeners.web", {"bind": ":80", "redirect_https": 308}),
    ("listeners.web", {"bind": ":80", "redirect_https": {"port": 0}}),
    ("routes", []),
    ("routes", {"to": "app"}),
    ("routes.0", "app"),
    ("routes.0", {}),
    ("routes.0.to", []),
    ("routes.0.to", {}),
    ("routes.0.to", {"app": -1}),
    ("routes.0.to", {"app": 1000001}),
    ("routes.0.name", "a/b"),
    ("routes.0.match.host", []),
    ("routes.0.match.host", "a:80"),
    ("routes.0.match.path", "x"),
    ("routes.0.match.path", {}),
    ("routes.0.match.path", {"exact": "/a", "prefix": "/b"}),
    ("routes.0.match.path", {"regex": "/a"}),
    ("routes.0.match.method", "get"),
    ("routes.0.match.headers", {}),
    ("routes.0.match.headers", {"x": 5}),
    ("routes.0.match.headers", {"a b": "x"}),
    ("routes.0.timeout.try", "none"),
    ("routes.0.retry.attempts", 11),
    ("pools", {}),
    ("pools.app", []),
    ("pools.app", "127.0.0.1:80"),
    ("pools.app", ["localhost"]),
    ("pools.app", {"endpoints": ["a:1"], "balance": "rendezvous"}),
    ("pools.app", {"endpoints": ["a:1"], "balance": {"policy": "maglev", "key": "method"}}),
    ("pools.app", {"endpoints": ["a:1"], "balance": {"policy": "maglev", "key": {}}}),
    ("pools.app", {"endpoints": ["a:1"], "balance": {"policy": "maglev", "key": {"cookie": "a b"}}}),
    ("pools.app", {"endpoints": ["a:1"],
                   "balance": {"policy": "maglev", "key": "path", "bound": "125"}}),
    ("pools.app", {"endpoints": [{"address": "a:1", "priority": 8}]}),
    ("pools.app", {"endpoints": [{"address": "a:1", "backup": "yes"}]}),
    ("pools.app", {"endpoints": ["a:1"], "slow_start": 30}),
    ("pools.app", {"endpoints": ["a:1"], "balance": {"subset": 0}}),
    ("pools.app", {"endpoints": ["a:1"], "sticky": "a b"}),
    ("pools.app", {"endpoints": ["a:1"], "sticky": {"ttl": "1h"}}),
    ("pools.app", {"endpoints": ["a:1"], "sticky": {"cookie": "w", "path": "a"}}),
    ("pools.app", {"endpoints": ["a:1"], "sticky": {"cookie": "w", "secret": "short"}}),
    ("pools.app", {"endpoints": ["a:1"], "outlier": False}),
    ("pools.app", {"endpoints": ["a:1"], "outlier": {"max": 50}}),
    ("pools.app", {"endpoints": ["a:1"], "outlier": {"latency": {"hosts": 3}}}),
    ("pools.app", {"endpoints": ["a:1"], "health": "/healthz"}),
    ("pools.app", {"endpoints": ["a:1"], "health": {"http": "healthz"}}),
    ("pools.app", {"endpoints": ["a:1"], "health": {"http": {"path": "/", "status": 99}}}),
    ("pools.app", {"endpoints": ["a:1"], "health": {"http": {"path": "/", "method": "PUT"}}}),
    ("pools.app", {"endpoints": ["a:1"], "health": {"tcp": "yes"}}),
    ("pools.app", {"endpoints": ["a:1"], "health": {"tcp": True, "jitter": 10}}),
    ("pools.app", {"endpoints": [{"address": "a:1", "weight": 1001}]}),
    ("pools.app", {"balance": "p2c"}),
    ("pools.app", {"endpoints": ["a:1"], "upstream": {"protocol": "h3"}}),
    ("pools.app", {"endpoints": ["a:1"], "upstream": {"tls": "a.pem"}}),
    ("pools.app", {"endpoints": ["a:1"], "upstream": {"tls": {"sni": "a b"}}}),
]


def case_id(case):
    return case if isinstance(case, str) else json.dumps(case)


@pytest.mark.parametrize("path, value", ACCEPTED, ids=case_id)
def test_both_accept(validator, tmp_path, path, value):
    document = changed(path, value)
    validator.validate(document)
    code, said = check(tmp_path, document)
    assert code == 0, said


@pytest.mark.parametrize("path, value", REFUSED, ids=case_id)
def test_both_refuse(validator, tmp_path, path, value):
    document = changed(path, value)
    assert not validator.is_valid(document)
    code, said = check(tmp_path, document)
    assert code == 1
    assert "error: " in said


@pytest.mark.parametrize("key", sorted(GOOD))
def test_both_miss_a_required_key(validator, tmp_path, key):
    document = {k: v for k, v in GOOD.items() if k != key}
    assert not validator.is_valid(document)
    code, said = check(tmp_path, document)
    assert code == 1
    assert f'the key "{key}" is missing' in said
