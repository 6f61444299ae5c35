# SPDX-License-Identifier: Apache-2.0
"""As much of `helm template` as k8s/chart uses, for machines that have none: if, with, range, define,
pipelines, and the functions below. What it does not know it refuses, and a value that is not there is not
printed. Where there is a helm, a test compares the two."""
import hashlib
import re

import yaml

RELEASE = {"Name": "edge", "Namespace": "shop", "Service": "Helm"}
ACTION = re.compile(r"(\s*\{\{-|\{\{)\s(.*?)\s(-\}\}\s*|\}\})", re.S)
TOKEN = re.compile(r'\s*(?:"([^"\\]*)"|(\d+)|(\$\w*)?((?:\.\w+)+|\.)?|([a-zA-Z]\w*))(?=\s|$)')


def template(chart, values):
    """-> the objects that the chart is with these values, which are all of them."""
    about = yaml.safe_load((chart / "Chart.yaml").read_text())
    data = {"Values": values, "Release": RELEASE,
            "Chart": {"Name": about["name"], "Version": about["version"],
                      "AppVersion": about["appVersion"]}}
    files = {path: parse(path.read_text()) for path in sorted((chart / "templates").iterdir())}
    defined = {name: body for nodes in files.values() for kind, name, body, _ in nodes
               if kind == "define"}
    text = "\n---\n".join(Scope(defined, data).render(nodes) for path, nodes in files.items()
                          if not path.name.startswith("_"))
    return [doc for doc in yaml.safe_load_all(text) if doc]


# ---- what is written: nodes (kind, words, body, otherwise) ---------------------------------------


def parse(text):
    at, flat = 0, []
    for action in ACTION.finditer(text):  # with the space that a "-" takes away
        flat += [("text", text[at : action.start()]), ("action", action[2])]
        at = action.end()
    flat.append(("text", text[at:]))
    assert "{{" not in "".join(words for kind, words in flat if kind == "text"), "no action"
    nodes, end = block(flat)
    assert end is None, end
    return nodes


def block(flat):
    """Consumes what is up to an end or else: (nodes, that word)"""
    nodes = []
    while flat:
        kind, words = flat.pop(0)
        first, _, rest = words.partition(" ")
        if kind == "text":
            nodes.append(("text", words, None, None))
        elif words in ("end", "else"):
            return nodes, words
        elif first in ("if", "with", "range", "define"):
            body, word = block(flat)
            otherwise, word = block(flat) if word == "else" else ([], word)
            assert word == "end", words
            nodes.append((first, rest.strip('"') if first == "define" else rest, body, otherwise))
        else:
            nodes.append(("print", words, None, None))
    return nodes, None


# ---- what it means -------------------------------------------------------------------------------


class Scope:
    """One run of a template: $ is what it was given."""

    def __init__(self, defined, data):
        self.defined, self.names = defined, {"$": data}

    def render(self, nodes, dot=None):
        dot = self.names["$"] if dot is None else dot
        return "".join(getattr(self, "do_" + kind)(words, body, otherwise, dot)
                       for kind, words, body, otherwise in nodes)

    def do_text(self, words, body, otherwise, dot):
        return words

    def do_define(self, words, body, otherwise, dot):
        return ""

    def do_print(self, words, body, otherwise, dot):
        value = self.pipeline(words, dot)
        assert value is not None, f"{words}: there is no such value"
        return printed(value)

    def do_if(self, words, body, otherwise, dot):
        return self.render(body if self.pipeline(words, dot) else otherwise, dot)

    def do_with(self, words, body, otherwise, dot):
        value = self.pipeline(words, dot)
        return self.render(body, value) if value else self.render(otherwise, dot)

    def do_range(self, words, body, otherwise, dot):
        name, _, rest = words.rpartition(":=")
        out = []
        for item in self.pipeline(rest, dot) or []:
            self.names[name.strip() or "$_"] = item
            out.append(self.render(body, item))
        return "".join(out) or self.render(otherwise, dot)

    def pipeline(self, words, dot):
        piped = []
        for command in words.split("|"):
            piped = [self.command(command, dot, piped)]
        return piped[0]

    def command(self, words, dot, piped):
        operands, at = [], 0
        words = words.strip()
        while at < len(words):
            found = TOKEN.match(words, at)
            assert found and found.end() > at, words
            operands.append(self.operand(found, dot))
            at = found.end()
        if callable(operands[0]):
            return operands[0](*operands[1:], *piped)
        assert len(operands) == 1 and not piped, words
        return operands[0]

    def operand(self, found, dot):
        text, number, name, fields, function = found.groups()
        if function:
            return self.include if function == "include" else FUNCTIONS[function]
        if text is not None:
            return text
        if number:
            return int(number)
        value = self.names[name] if name else dot
        for field in (fields or "").split("."):
            value = value.get(field) if field else value
        return value

    def include(self, name, data):
        return Scope(self.defined, data).render(self.defined[name])


def printed(value):
    return str(value).lower() if isinstance(value, bool) else str(value)


def to_yaml(value):
    return yaml.safe_dump(value, default_flow_style=False).rstrip("\n")


def indented(n, text):
    return "\n" + "\n".join(" " * n + line for line in text.split("\n"))


FUNCTIONS = {
    "add": lambda *numbers: sum(numbers),
    "default": lambda other, value: value or other,
    "list": lambda *items: list(items),
    "nindent": indented,
    "not": lambda value: not value,
    "quote": lambda value: f'"{printed(value)}"',
    "sha256sum": lambda text: hashlib.sha256(text.encode()).hexdigest(),
    "toYaml": to_yaml,
    "trimSuffix": lambda end, text: text.removesuffix(end),
    "trunc": lambda n, text: text[:n],
}
