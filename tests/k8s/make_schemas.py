#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Writes schemas.json, by which the manifests of k8s/ are judged, from the declarations of the npm
package kubernetes-models, which are made from the API server's own OpenAPI:

    cd /tmp && npm pack kubernetes-models@4.5.1 @kubernetes-models/apimachinery@2.2.0
    tar xzf kubernetes-models-4.5.1.tgz && mv package models
    tar xzf kubernetes-models-apimachinery-2.2.0.tgz && mv package apimachinery
    make_schemas.py /tmp >tests/k8s/schemas.json

Only what the kinds below need of it, without what a server writes (status), and strict: what the API
does not know is an error.
"""
import json
import re
import sys
from pathlib import Path

KINDS = {
    "v1": ("ConfigMap", "Namespace", "Pod", "Service", "ServiceAccount"),
    "apps/v1": ("Deployment", "StatefulSet"),
    "autoscaling/v2": ("HorizontalPodAutoscaler",),
    "networking.k8s.io/v1": ("NetworkPolicy",),
    "policy/v1": ("PodDisruptionBudget",),
    "rbac.authorization.k8s.io/v1": ("Role", "RoleBinding"),
}
# A field, of an interface or of an object that has no name of its own.
FIELD = r'^{0}"([^"]+)"(\??): ((?:Array<)?\{{\n.*?^{0}\}}>?|[^\n]*);$'
MAP = re.compile(r"\{\s*\[key: string\]: (.*?);?\s*\}$", re.S)
PLAIN = {"string": "string", "number": "number", "boolean": "boolean"}


class Reader:
    def __init__(self, root):
        self.root = root
        self.definitions = {}

    def read(self, path):
        """-> the name of the definition that a declaration file has become."""
        text = re.sub(r"/\*\*.*?\*/\s*", "", path.read_text(), flags=re.S)
        name = re.search(r"export \{ \w+ as I(IoK8s\w+),", text)[1].removeprefix("IoK8s")
        if name in self.definitions:
            return name
        self.definitions[name] = {}
        imports = {}
        for names, where in re.findall(r'import \{ (.*?) \} from "(.*?)";', text):
            for imported in names.split(", "):
                imports[imported] = where
        alias = re.search(r"export declare type \w+ = (.*?);\nexport declare type", text)
        body = re.search(r"export interface \w+(?: extends TypeMeta)? \{\n(.*?)^\}", text, re.M | re.S)
        self.definitions[name] = (
            self.type(alias[1], path, imports) if alias
            else self.object(body[1] if body else "", path, imports)
        )
        return name

    def object(self, body, path, imports, indent=4):
        rows = re.findall(FIELD.format(" " * indent), body, re.M | re.S)
        fields = {
            name: (optional == "", self.type(kind, path, imports))
            for name, optional, kind in rows
            if name not in ("status", "managedFields")
        }
        made = {"type": "object", "additionalProperties": False,
                "properties": {name: schema for name, (_, schema) in fields.items()}}
        required = [name for name, (needed, _) in fields.items() if needed]
        return {**made, "required": required} if required else made

    def type(self, text, path, imports):
        text = text.strip()
        if text in PLAIN:
            return {"type": PLAIN[text]}
        if text.startswith("Array<"):
            return {"type": "array", "items": self.type(text[6:-1], path, imports)}
        if found := MAP.match(text):
            return {"type": "object", "additionalProperties": self.type(found[1], path, imports)}
        if text.startswith("{\n"):
            return self.object(text, path, imports, indent=8)
        if text.startswith('"'):
            return {"enum": re.findall(r'"(.*?)"', text)}
        if " | " in text:
            return {"type": [PLAIN[word] for word in text.split(" | ")]}
        if re.match(r'I\w+\["(apiVersion|kind)"\]$', text):
            return {"type": "string"}
        return {"$ref": "#/definitions/" + self.read(self.find(path, imports[text]))}

    def find(self, path, where):
        if where.startswith("@kubernetes-models/"):
            return self.root / (where.removeprefix("@kubernetes-models/") + ".d.ts")
        return path.parent / (where + ".d.ts")


def main():
    reader = Reader(Path(sys.argv[1]))
    kinds = {
        f"{version}/{kind}": reader.read(reader.root / "models" / version / f"{kind}.d.ts")
        for version, names in KINDS.items()
        for kind in names
    }
    licence = (
        "From the npm packages kubernetes-models 4.5.1 and @kubernetes-models/apimachinery 2.2.0,"
        " MIT, Copyright (c) 2018 Tommy Chen; they are made from the OpenAPI of Kubernetes, Apache-2.0,"
        " Copyright The Kubernetes Authors."
    )
    lines = [f'{{"licence": {json.dumps(licence)},', f'"kinds": {json.dumps(kinds, sort_keys=True)},']
    rows = (f"{json.dumps(k)}: {json.dumps(v, sort_keys=True)}"
            for k, v in sorted(reader.definitions.items()))
    print("\n".join([*lines, '"definitions": {', ",\n".join(rows), "}}"]))


main()
