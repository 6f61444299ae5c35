# SPDX-License-Identifier: Apache-2.0
"""As much of `kustomize build` as k8s/ uses, for machines that have none: resources, namespace, images,
configMapGenerator, and strategic merge patches with the merge keys of the API. What it does not know it
refuses. Where there is a kubectl, a test compares the two."""
import copy
import hashlib
from pathlib import Path

import yaml

KNOWN = {"apiVersion", "kind", "resources", "namespace", "images", "configMapGenerator", "patches"}
CLUSTER_WIDE = {"Namespace"}
# Lists of which the items are told apart by a field; all others are replaced as a whole.
MERGE_KEYS = {
    "containers": "name",
    "initContainers": "name",
    "volumes": "name",
    "env": "name",
    "volumeMounts": "mountPath",
    "topologySpreadConstraints": "topologyKey",
}


def build(folder):
    """-> the objects of a kustomization."""
    folder = Path(folder)
    top = yaml.safe_load((folder / "kustomization.yaml").read_text())
    assert set(top) <= KNOWN, f"{folder}: {set(top) - KNOWN}"
    objects = []
    for name in top.get("resources", []):
        path = folder / name
        objects += build(path) if path.is_dir() else read(path)
    objects += [config_map(folder, row) for row in top.get("configMapGenerator", [])]
    for patch in top.get("patches", []):
        objects = patched(folder, objects, patch)
    for found in objects:
        set_namespace(found, top.get("namespace"))
        set_images(found, top.get("images", []))
        refer_to_maps(found, objects)
    return objects


def read(path):
    # anchors would make one object of two
    return [copy.deepcopy(doc) for doc in yaml.safe_load_all(path.read_text()) if doc]


def config_map(folder, row):
    assert set(row) == {"name", "files"}
    pairs = (entry.split("=") for entry in row["files"])
    data = {key: (folder / file).read_text() for key, file in pairs}
    digest = hashlib.sha256(repr(sorted(data.items())).encode()).hexdigest()[:10]
    return {"apiVersion": "v1", "kind": "ConfigMap", "data": data,
            "metadata": {"name": f"{row['name']}-{digest}"}}


def name_of(found):
    """As it is written: all ConfigMaps are generated."""
    name = found["metadata"]["name"]
    return name.rsplit("-", 1)[0] if found["kind"] == "ConfigMap" else name


def refer_to_maps(found, objects):
    names = {name_of(o): o["metadata"]["name"] for o in objects if o["kind"] == "ConfigMap"}
    for volume in pod_spec(found).get("volumes", []):
        if "configMap" in volume:
            name = volume["configMap"]["name"]
            volume["configMap"]["name"] = names.get(name, name)


def pod_spec(found):
    return found.get("spec", {}).get("template", {}).get("spec", {})


def containers(found):
    spec = found.get("spec", {}) if found["kind"] == "Pod" else pod_spec(found)
    return [*spec.get("initContainers", []), *spec.get("containers", [])]


def set_namespace(found, namespace):
    if namespace is None:
        return
    if found["kind"] == "Namespace":
        found["metadata"]["name"] = namespace
    elif found["kind"] not in CLUSTER_WIDE:
        found["metadata"]["namespace"] = namespace
    for subject in found.get("subjects", []):
        subject["namespace"] = namespace


def set_images(found, rows):
    for container in containers(found):
        name, _, tag = container["image"].partition(":")
        for row in rows:
            if row["name"] == name:
                tag = row.get("newTag", tag)
                container["image"] = row.get("newName", name) + (f":{tag}" if tag else "")


# ---- patches -----------------------------------------------------------------------------------


def patched(folder, objects, row):
    if "path" in row:
        docs = read(folder / row["path"])
    else:
        docs = [yaml.safe_load(row["patch"])]
    for patch in docs:
        target = row.get("target") or {"kind": patch["kind"], "name": patch["metadata"]["name"]}
        hit = [o for o in objects if matches(o, target)]
        assert hit, f"{folder}: nothing for the patch of {target}"
        if patch.get("$patch") == "delete":
            objects = [o for o in objects if not matches(o, target)]
        else:
            for found in hit:
                merge(found, {k: v for k, v in patch.items() if k != "metadata"}, found["kind"])
    return objects


def matches(found, target):
    return found["kind"] == target["kind"] and target.get("name") in (None, name_of(found))


def merge(to, patch, kind):
    if patch.pop("$patch", None) == "replace":
        to.clear()
    for key, value in patch.items():
        if value is None:
            to.pop(key, None)
        elif isinstance(value, dict) and isinstance(to.get(key), dict):
            merge(to[key], value, kind)
        elif isinstance(value, list) and merge_key(key, kind):
            to[key] = merge_list(to.get(key, []), value, merge_key(key, kind), kind)
        else:
            to[key] = {k: v for k, v in value.items()} if isinstance(value, dict) else value


def merge_key(key, kind):
    if key == "ports":
        return {"Service": "port", "NetworkPolicy": None}.get(kind, "containerPort")
    return MERGE_KEYS.get(key)


def merge_list(to, patch, key, kind):
    made = list(to)
    for item in patch:
        same = [old for old in made if old[key] == item[key]]
        if item.get("$patch") == "delete":
            made = [old for old in made if old[key] != item[key]]
        elif same:
            merge(same[0], item, kind)
        else:
            made.insert(0, {k: v for k, v in item.items() if v is not None})
    return made
