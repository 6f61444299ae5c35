# SPDX-License-Identifier: Apache-2.0
"""The manifests of k8s/: what the API takes, what "restricted" allows, and what belongs together."""
import json
import re
import shutil
import subprocess
from pathlib import Path

import jsonschema
import pytest
import yaml

import kustomize
from places import ROOT, WEIR

K8S = ROOT / "k8s"
OVERLAYS = ["base", *(f"overlays/{name}" for name in ("dev", "etcd", "sidecar", "sidecar-classic"))]
SCHEMAS = json.loads((Path(__file__).parent / "schemas.json").read_text())


@pytest.fixture(params=OVERLAYS)
def objects(request):
    return kustomize.build(K8S / request.param)


def check_object(found):
    """By the API's own schema; what it does not know is an error."""
    kind = f"{found['apiVersion']}/{found['kind']}"
    schema = {"$ref": f"#/definitions/{SCHEMAS['kinds'][kind]}",
              "definitions": SCHEMAS["definitions"]}
    errors = sorted(jsonschema.Draft7Validator(schema).iter_errors(found), key=str)
    name = found["metadata"]["name"]
    assert not errors, f"{kind} {name}: {list(errors[0].absolute_path)}: {errors[0].message}"


def of_kind(objects, kind):
    return {o["metadata"]["name"]: o for o in objects if o["kind"] == kind}


def pods(objects):
    rows = {**of_kind(objects, "Deployment"), **of_kind(objects, "StatefulSet")}
    return {name: (o["spec"]["template"]["metadata"]["labels"], o["spec"]["template"]["spec"])
            for name, o in rows.items()}


# ---- what the API takes --------------------------------------------------------------------------


def test_the_api_takes_every_object(objects):
    assert len(objects) > 5
    for found in objects:
        check_object(found)


@pytest.mark.parametrize(
    "change,says",
    [
        (lambda o: o["spec"].update(replicaz=1), "replicaz"),
        (lambda o: o["spec"].update(replicas="two"), "two"),
        (lambda o: o["spec"].pop("selector"), "selector"),
        (lambda o: o["spec"]["template"]["spec"]["containers"][0]["lifecycle"]["preStop"].update(
            nap={}), "nap"),
    ],
    ids=["unknown", "type", "required", "deep"],
)
def test_the_schema_sees_what_is_wrong(change, says):
    (found,) = (o for o in kustomize.build(K8S / "base") if o["metadata"]["name"].startswith("hello")
                and o["kind"] == "Deployment")
    check_object(found)
    change(found)
    with pytest.raises(AssertionError, match=says):
        check_object(found)


def normal(objects):
    """Without what kustomize is free to choose: hashes of names, and orders that mean nothing."""
    text = re.sub(r"\bweir-[0-9a-z]{10}\b", "weir-HASH", json.dumps(objects))

    def order(value):
        if isinstance(value, dict):
            return {k: order(v) for k, v in value.items()}
        if isinstance(value, list):
            return sorted(map(order, value), key=lambda v: json.dumps(v, sort_keys=True))
        return value

    return order(json.loads(text))


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_kustomize_itself_builds_the_same(overlay):
    if not shutil.which("kubectl"):
        pytest.skip("no kubectl here")
    got = subprocess.run(["kubectl", "kustomize", K8S / overlay], capture_output=True, text=True,
                         timeout=60)
    if "unknown field" in got.stderr or "patches" in got.stderr:
        pytest.skip("this kubectl is older than the patches of kustomization.yaml")
    assert got.returncode == 0, got.stderr
    theirs, ours = list(yaml.safe_load_all(got.stdout)), kustomize.build(K8S / overlay)
    assert normal(theirs) == normal(ours)


# ---- pod security: restricted ----------------------------------------------------------------------


def test_every_container_is_restricted(objects):
    for name, (_, spec) in pods(objects).items():
        pod = spec["securityContext"]
        assert pod["runAsNonRoot"] and pod["runAsUser"] > 0, name
        assert pod["seccompProfile"] == {"type": "RuntimeDefault"}, name
        assert not {"hostNetwork", "hostPID", "hostIPC"} & set(spec), name
        assert all(set(v) <= {"name", "configMap", "emptyDir"} for v in spec.get("volumes", [])), name
        for c in [*spec.get("initContainers", []), *spec["containers"]]:
            own = c["securityContext"]
            assert own["capabilities"] == {"drop": ["ALL"]}, (name, c["name"])
            assert own["allowPrivilegeEscalation"] is False, (name, c["name"])
            assert own["readOnlyRootFilesystem"] is True, (name, c["name"])
            assert "hostPort" not in json.dumps(c.get("ports", [])), (name, c["name"])
            assert c["resources"]["requests"] and c["resources"]["limits"]["memory"]


def test_who_asks_the_api_server_may_ask_for_endpointslices_alone(objects):
    roles = of_kind(objects, "Role")
    for role in roles.values():
        assert role["rules"] == [{"apiGroups": ["discovery.k8s.io"], "resources": ["endpointslices"],
                                  "verbs": ["list", "watch"]}]
    assert not of_kind(objects, "ClusterRole")
    tokens = {name for name, (_, spec) in pods(objects).items()
              if spec.get("automountServiceAccountToken") is not False}
    assert tokens == set(roles) == set(of_kind(objects, "RoleBinding"))
    assert roles or "etcd" in pods(objects)


# ---- what belongs together -----------------------------------------------------------------------


def test_every_selector_finds_pods(objects):
    labels = [labels for labels, _ in pods(objects).values()]
    rows = [o["spec"]["selector"] for o in of_kind(objects, "Service").values()]
    rows += [o["spec"]["selector"]["matchLabels"] for o in
             [*of_kind(objects, "PodDisruptionBudget").values(),
              *of_kind(objects, "Deployment").values(),
              *of_kind(objects, "StatefulSet").values()]]
    rows += [o["spec"]["podSelector"]["matchLabels"]
             for o in of_kind(objects, "NetworkPolicy").values()]
    assert rows and all(any(row.items() <= l.items() for l in labels) for row in rows)
    for hpa in of_kind(objects, "HorizontalPodAutoscaler").values():
        assert hpa["spec"]["scaleTargetRef"]["name"] in of_kind(objects, "Deployment")


def test_the_picture_of_the_service(objects):
    deployment = of_kind(objects, "Deployment")["hello-world-deployment"]
    labels, spec = pods(objects)["hello-world-deployment"]
    names = {c["name"] for c in spec["containers"]}
    assert {"hello-service", "world-service"} <= names and labels == {"app": "hello-world"}
    assert deployment["spec"]["replicas"] in (1, 2)
    ports = of_kind(objects, "Service")["hello-world-service"]["spec"]["ports"]
    listened = {p["containerPort"] for c in kustomize.containers(deployment) for p in c["ports"]}
    assert [p["port"] for p in ports] == [80, 81]
    assert {p["targetPort"] for p in ports} <= listened
    policy = of_kind(objects, "NetworkPolicy")["hello-world"]["spec"]
    allowed = {p["port"] for p in policy["ingress"][0]["ports"]}
    assert allowed == {p["targetPort"] for p in ports}


def seconds(text):
    return int(text.removesuffix("s"))


def lingers(container):
    words = " ".join(container.get("args", []))
    return int((re.search(r"--linger=(\d+)", words) or [0, 0])[1])


def test_no_pod_is_killed_before_it_has_drained(objects):
    """What preStop may take, and then weir's own shutdown, is less than what the pod has."""
    for name, (_, spec) in pods(objects).items():
        for c in spec["containers"] if name != "etcd" else []:
            hook = c.get("lifecycle", {}).get("preStop", {})
            took = hook.get("sleep", {}).get("seconds", 0)
            if "exec" in hook:
                command = hook["exec"]["command"]
                took = seconds(command[command.index("--within") + 1]) + 25
            took += lingers(c)
            assert took > 0, (name, c["name"])
            assert took < spec["terminationGracePeriodSeconds"], (name, c["name"])


def test_an_application_outlives_its_classic_sidecar():
    spec = pods(kustomize.build(K8S / "overlays/sidecar-classic"))["hello-world-deployment"][1]
    by_name = {c["name"]: c for c in spec["containers"]}
    command = by_name["weir"]["lifecycle"]["preStop"]["exec"]["command"]
    drained = seconds(command[command.index("--within") + 1])
    for name in ("hello-service", "world-service"):
        assert lingers(by_name[name]) > drained
    assert not spec["initContainers"]


def test_a_native_sidecar_is_ready_before_the_services_start():
    spec = pods(kustomize.build(K8S / "overlays/sidecar"))["hello-world-deployment"][1]
    (weir,) = spec["initContainers"]
    assert weir["restartPolicy"] == "Always" and weir["startupProbe"]
    assert {c["name"] for c in spec["containers"]} == {"hello-service", "world-service"}


def of_etcd():
    """The overlay's containers by name, and those of the pod for podman."""
    (pod,) = yaml.safe_load_all((K8S / "podman-etcd.yaml").read_text())
    overlay = [c for _, spec in pods(kustomize.build(K8S / "overlays/etcd")).values()
               for c in spec["containers"]]
    return {c["name"]: c for c in overlay}, {c["name"]: c for c in pod["spec"]["containers"]}


def test_what_registers_and_weir_are_told_the_same_on_a_cluster_as_on_one_machine():
    cluster, machine = of_etcd()
    assert machine["weir"]["args"] == cluster["weir"]["args"]
    for ours, name in (("hello-1", "hello-service"), ("world", "world-service")):
        assert set(machine[ours]["args"]) > set(cluster[name]["args"]) > {"--linger=5"}


@pytest.mark.skipif(not shutil.which("etcd"), reason="there is no etcd: make deps-test")
def test_etcd_takes_the_words_that_it_is_given():
    for name, containers in zip(("cluster", "machine"), of_etcd()):
        args = [a.replace("$(NAME)", "etcd-0") for a in containers["etcd"]["args"]]
        assert not any("$(" in a for a in args), name
        got = subprocess.run(["etcd", *args, "--version"], capture_output=True, text=True, timeout=60)
        assert got.returncode == 0, got.stderr
    assert subprocess.run(["etcd", "--datadir=x", "--version"], capture_output=True,
                          timeout=60).returncode != 0


# ---- what weir takes -----------------------------------------------------------------------------


def check_yaml(text, tmp_path):
    path = tmp_path / "weir.yaml"
    path.write_text(text)
    got = subprocess.run([WEIR, "check", "--no-files", path], capture_output=True, text=True,
                         timeout=60)
    assert got.returncode == 0 and not got.stderr, got.stderr


def test_weir_takes_the_configuration_that_it_is_given(objects, tmp_path):
    for found in of_kind(objects, "ConfigMap").values():
        check_yaml(found["data"]["weir.yaml"], tmp_path)


def test_weir_takes_the_configuration_that_etcd_is_given(tmp_path):
    check_yaml((K8S / "overlays/etcd/edge.yaml").read_text(), tmp_path)


def test_weir_takes_the_configuration_of_the_pod_for_podman(tmp_path):
    found = list(yaml.safe_load_all((K8S / "podman.yaml").read_text()))
    (configuration,) = of_kind(found, "ConfigMap").values()
    check_yaml(configuration["data"]["weir.yaml"], tmp_path)


def test_weir_takes_the_words_that_it_is_given(objects):
    verbs = set()
    for name, (_, spec) in pods(objects).items():
        for c in [*spec.get("initContainers", []), *spec["containers"]]:
            hooks = [c.get(p, {}).get("exec") for p in
                     ("startupProbe", "readinessProbe", "livenessProbe")]
            hooks.append(c.get("lifecycle", {}).get("preStop", {}).get("exec"))
            for hook in filter(None, hooks):
                assert hook["command"][0] == "/usr/bin/weir", (name, c["name"])
                verbs.add(tuple(hook["command"][1:]))
            if c.get("args", [""])[0] == "sidecar":
                got = subprocess.run([WEIR, *c["args"], "--print"], capture_output=True, text=True,
                                     timeout=60)
                assert got.returncode == 0, got.stderr
    for verb in verbs:
        got = subprocess.run([WEIR, *verb, "--admin", "127.0.0.1:1"], capture_output=True, text=True,
                             timeout=60)
        assert got.returncode == 1, (verb, got.stderr)  # nobody there, but the words are right
