#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""The rules of the tree that no compiler checks: tree.py [ROOT]

includes  Which layer may include which (HACKING.md, "Layers"). Quoted includes are written from the
          root; system headers in angle brackets; headers include one another in no circle.
heads     Every C file begins with the licence and then says what it is for.
foreign   No path of somebody's machine and no host of a package mirror stands in the repository.

Prints one line per finding, as file:line: rule: words, and exits 1 if there is any.
"""
import os
import re
import sys
from pathlib import Path

# ---- include arrows ----------------------------------------------------------------------------

# A layer, and the layers that its files may include besides their own. A file belongs to the
# longest folder that it is under.
LAYERS = {
    "proxy/base": (),
    "balancer": ("proxy/base",),
    "config": ("proxy/base", "balancer"),
    "proxy/watch": ("proxy/base",),
    "proxy/net": ("proxy/base",),
    "proxy/http": ("proxy/base", "proxy/net"),
    "proxy/upstream": ("proxy/base", "balancer", "proxy/net", "proxy/http"),
    "proxy/discovery": ("proxy/base", "balancer", "config", "proxy/watch", "proxy/net", "proxy/http",
                        "proxy/upstream"),
    "proxy/trace": ("proxy/base", "balancer", "proxy/net", "proxy/http", "proxy/upstream",
                    "proxy/discovery"),
    "proxy": ("proxy/base", "balancer", "proxy/watch", "proxy/net", "proxy/http", "proxy/upstream",
              "proxy/discovery", "proxy/trace", "proxy/metrics"),
    "proxy/metrics": ("proxy/base", "balancer", "proxy/net", "proxy/http", "proxy/upstream",
                      "proxy/discovery", "proxy/trace", "proxy"),
    "backends": ("proxy/base",),
    "bench": ("proxy/base", "balancer"),
}
# Files with an arrow more than their layer has.
EXTRA = {
    "proxy/runtime.c": ("config",),
    "proxy/runtime_admin.c": ("config",),
    "proxy/runtime_build.c": ("config",),
    "proxy/runtime_balance.c": ("config",),
    "proxy/runtime_centre.c": ("config",),
    "proxy/runtime_explain.c": ("config",),
    "proxy/runtime_health.c": ("config",),
    "proxy/runtime_plan.c": ("config",),
    "proxy/runtime_retry.c": ("config",),
    "proxy/runtime_sandbox.c": ("config",),
    "proxy/runtime_sticky.c": ("config",),
    "proxy/runtime_sockets.c": ("config",),
    "proxy/runtime_tell.c": ("config",),
    "proxy/runtime_tls.c": ("config",),
    "proxy/runtime_trace.c": ("config",),
    "proxy/main.c": ("config",),
    "proxy/trace/otlp.c": ("proxy",),       # records of requests are the flight recorder's
    "proxy/trace/record.h": ("proxy",),
    "proxy/verb.c": ("config",),
    "proxy/verb_explain.c": ("config",),
    "proxy/verb_reload.c": ("config",),
}
TESTS = "tests"                     # may include everything

# System headers that a layer must not see, by what their names start with. Policies and
# configuration are also run by the simulator and the tests, with no loop and no network.
IO = ("uv.h", "uv/", "llhttp", "openssl/", "nghttp2/", "ares", "sys/epoll.h")
FORBIDDEN = {
    "proxy/base": IO,
    "balancer": IO + ("sys/socket.h", "netinet/", "netdb.h", "arpa/", "time.h"),
    "config": IO,
}

INCLUDE = re.compile(r'\s*#\s*include\s*(?:"([^"]*)"|<([^>]*)>|(.*))')


def layer_of(path):
    folder = path.rpartition("/")[0]
    while folder and folder not in LAYERS and folder != TESTS:
        folder = folder.rpartition("/")[0]
    return folder or None


def includes_of(text):
    """-> [(line number, quoted name or None, system name or None)]"""
    found = []
    for number, line in enumerate(text.splitlines(), 1):
        match = INCLUDE.match(line)
        if match:
            found.append((number, match[1], match[2]))
    return found


def check_include(root, path, layer, quoted, system):
    """-> what is wrong with one include, or None"""
    if quoted is None and system is None:
        return "an include is a name in quotes or angle brackets"
    if system is not None:
        if (root / system).is_file():
            return f"<{system}> is weir's own: write it in quotes"
        if any(system.startswith(name) for name in FORBIDDEN.get(layer, ())):
            return f"{layer} must not see <{system}>"
        return None
    if not (root / quoted).is_file() or ".." in quoted.split("/"):
        return f'"{quoted}" is not the path of a file from the root'
    other = layer_of(quoted)
    if layer == TESTS or other == layer:
        return None
    if other not in LAYERS[layer] + EXTRA.get(path, ()):
        return f"{layer} must not include {other or 'a file outside the layers'} ({quoted})"
    return None


def rule_includes(root, files):
    graph = {}
    for path, text in files.items():
        if not path.endswith((".c", ".h")):
            continue
        layer = layer_of(path)
        if layer is None:
            yield path, 1, "this folder belongs to no layer: give it one in tests/lint/tree.py"
            continue
        for number, quoted, system in includes_of(text):
            wrong = check_include(root, path, layer, quoted, system)
            if wrong:
                yield path, number, wrong
            elif quoted and path.endswith(".h"):
                graph.setdefault(path, []).append(quoted)
    for circle in circles(graph):
        yield circle[0], 1, "includes itself: " + " -> ".join(circle)


def circles(graph):
    """-> one circle for every header at which a walk of the graph comes back to itself"""
    done, found = set(), []

    def walk(node, trail):
        if node in trail:
            found.append(trail[trail.index(node):] + [node])
        elif node not in done:
            for other in graph.get(node, ()):
                walk(other, trail + [node])
            done.add(node)

    for node in sorted(graph):
        walk(node, [])
    return found


# ---- heads -------------------------------------------------------------------------------------

HEAD = re.compile(r"/\* SPDX-License-Identifier: Apache-2\.0 \*/\n/\*(?:\n \*)? \S")


def rule_heads(root, files):
    for path, text in files.items():
        if path.endswith((".c", ".h")) and not HEAD.match(text):
            yield path, 1, ("begins with '/* SPDX-License-Identifier: Apache-2.0 */' and, below it, "
                            "a comment that says what the file is for")


# ---- foreign words -----------------------------------------------------------------------------

FOREIGN = (
    # not $HOME, nor the tail of a longer path or of an address
    (re.compile(r"(?<![\w.}$%/-])/(?:home|Users|root|work|workspace)/[\w.-]+"), "a machine's own path"),
    # what mirrors and registries are called, at any domain
    (re.compile(r"\b(?:deb|ftp\d*|archive|security|snapshot|mirrors?|packages|registry|proxy)"
                r"(?:\.[a-z0-9-]+)+\.(?:org|com|net|io|dev|cloud)\b", re.I), "a mirror's host"),
    (re.compile(r"\b[a-z0-9.-]*\b(?:mirror|artifact|pkg)[a-z0-9-]*(?:\.[a-z0-9-]+)*"
                r"\.(?:org|com|net|io|dev|cloud)/", re.I), "a mirror's host"),
)
# Names for examples and tests (RFC 2606), and what labels of Kubernetes begin with.
RESERVED = re.compile(r"(?:^|\.)(?:example\.(?:com|net|org)|kubernetes\.io)/?$", re.I)


def rule_foreign(root, files):
    for path, text in files.items():
        for number, line in enumerate(text.splitlines(), 1):
            for pattern, what in FOREIGN:
                for match in pattern.finditer(line):
                    if not RESERVED.search(match[0]):
                        yield path, number, f"{what}: {match[0]}"


# ---- the tree ----------------------------------------------------------------------------------

RULES = {"includes": rule_includes, "heads": rule_heads, "foreign": rule_foreign}
LEFT_OUT = {".git", "build", "__pycache__", ".pytest_cache", "compile_commands.json"}


def read_tree(root):
    """-> {path from the root: text} of every text file"""
    files = {}
    for folder, folders, names in os.walk(root):
        folders[:] = sorted(f for f in folders if f not in LEFT_OUT)
        for name in sorted(set(names) - LEFT_OUT):
            path = Path(folder, name)
            data = path.read_bytes() if path.is_file() else b""
            if b"\0" not in data:
                files[path.relative_to(root).as_posix()] = data.decode(errors="replace")
    return files


def check(root):
    """-> ["file:line: rule: words"]"""
    root = Path(root)
    files = read_tree(root)
    return [f"{path}:{line}: {name}: {words}"
            for name, rule in RULES.items() for path, line, words in rule(root, files)]


if __name__ == "__main__":
    findings = check(sys.argv[1] if len(sys.argv) > 1 else ".")
    for finding in findings:
        print(finding)
    sys.exit(1 if findings else 0)
