# SPDX-License-Identifier: Apache-2.0
"""The Helm chart: its values, and what it renders to."""
import copy
import json
import re
import shutil
import subprocess

import jsonschema
import pytest
import yaml

import helm
from places import ROOT
from test_manifests import check_object, check_yaml, of_kind, pods

CHART = ROOT / "k8s" / "chart"
SCHEMA = json.loads((CHART / "values.schema.json").read_text())


def defaults():
    return yaml.safe_load((CHART / "values.yaml").read_text())


def merged(to, changes):
    made = copy.deepcopy(to)
    for key, value in changes.items():
        deep = isinstance(value, dict) and isinstance(made.get(key), dict)
        made[key] = merged(made[key], value) if deep else value
    return made


def test_the_defaults_are_right():
    jsonschema.Draft7Validator.check_schema(SCHEMA)
    jsonschema.validate(defaults(), SCHEMA)
    assert set(SCHEMA["properties"]) - {"global"} == set(defaults())


def test_a_pool_that_stays_beside_ones_own_is_no_name_to_look_up():
    """Helm merges maps. A name that nobody knows would keep weir from starting."""
    assert list(defaults()["config"]["pools"].values()) == [{"kubernetes": {"service": "app"}}]


@pytest.mark.parametrize(
    "changes",
    [
        {"replica": 3},
        {"replicas": 0},
        {"image": {"repo": "x"}},
        {"service": {"type": "External"}},
        {"service": {"ports": []}},
        {"service": {"ports": [{"name": "web", "port": 80}]}},
        {"config": {"admin": {"listen": ":9900"}}},
        {"config": {"version": 1}},
        {"drain": {"settle": "10s"}},
        {"autoscaling": {"enabled": "yes"}},
    ],
    ids=json.dumps,
)
def test_wrong_values_are_refused(changes):
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(merged(defaults(), changes), SCHEMA)


def render(**changes):
    """The objects, with changed values."""
    values = merged(defaults(), changes)
    jsonschema.validate(values, SCHEMA)
    return helm.template(CHART, values)


CHANGES = {
    "defaults": {},
    "fixed": {"autoscaling": {"enabled": False}, "disruptionBudget": {"enabled": False}},
    "no-rights": {"endpointSlices": False},
    "pools": {"config": {"routes": [{"match": {"path": "/shop"}, "to": "shop"}, {"to": "app"}],
                         "pools": {"shop": ["10.0.0.1:80"]}}},
    "all": {
        "podAnnotations": {"team": "shop"},
        "nodeSelector": {"disk": "ssd"},
        "tolerations": [{"key": "edge", "operator": "Exists"}],
        "imagePullSecrets": [{"name": "regcred"}],
        "service": {"type": "NodePort", "annotations": {"a": "b"},
                    "ports": [{"name": "web", "port": 80, "targetPort": 8000, "nodePort": 30080},
                              {"name": "tls", "port": 443, "targetPort": 8443}]},
    },
}
each_change = pytest.mark.parametrize("changes", CHANGES.values(), ids=CHANGES.keys())


@each_change
def test_the_api_and_weir_take_what_is_rendered(changes, tmp_path):
    objects = render(**changes)
    for found in objects:
        check_object(found)
    (config,) = of_kind(objects, "ConfigMap").values()
    check_yaml(config["data"]["weir.yaml"], tmp_path)
    (labels, spec), = pods(objects).values()
    (service,) = of_kind(objects, "Service").values()
    assert service["spec"]["selector"].items() <= labels.items()
    assert spec["automountServiceAccountToken"] is changes.get("endpointSlices", True)
    assert bool(of_kind(objects, "Role")) is changes.get("endpointSlices", True)


def run_helm(*args):
    return subprocess.run(["helm", *args], capture_output=True, text=True, timeout=60)


needs_helm = pytest.mark.skipif(not shutil.which("helm"), reason="no helm here, which Debian has not")


def digests_apart(objects):
    """In the order of their names; the digest is of text, whose form is the renderer's to choose."""
    text = re.sub(r"\b[0-9a-f]{64}\b", "DIGEST", json.dumps(objects))
    for found in (made := json.loads(text)):
        if found["kind"] == "ConfigMap":
            found["data"] = {name: yaml.safe_load(file) for name, file in found["data"].items()}
    return sorted(made, key=lambda o: (o["kind"], o["metadata"]["name"]))


@needs_helm
@each_change
def test_helm_itself_renders_the_same(changes, tmp_path):
    (tmp_path / "values.yaml").write_text(yaml.safe_dump(changes))
    got = run_helm("template", "edge", CHART, "--namespace", "shop", "--kube-version", "1.29.0",
                   "--values", tmp_path / "values.yaml")
    assert got.returncode == 0, got.stderr
    theirs = [doc for doc in yaml.safe_load_all(got.stdout) if doc]
    assert digests_apart(theirs) == digests_apart(render(**changes))


@needs_helm
def test_helm_itself_finds_nothing_wrong():
    got = run_helm("lint", "--strict", CHART)
    assert got.returncode == 0 and "0 chart(s) failed" in got.stdout, got.stdout


def test_a_change_of_the_configuration_rolls_the_pods():
    def digest(**changes):
        (deployment,) = of_kind(render(**changes), "Deployment").values()
        return deployment["spec"]["template"]["metadata"]["annotations"]["checksum/config"]

    assert digest() == digest() != digest(shutdown=20)


def test_the_pod_has_time_to_drain():
    (_, spec), = pods(render(drain={"settle": 5, "within": 40}, shutdown=30)).values()
    assert spec["terminationGracePeriodSeconds"] == 75
    command = spec["containers"][0]["lifecycle"]["preStop"]["exec"]["command"]
    assert command[1:] == ["drain", "--settle", "5s", "--within", "40s"]
