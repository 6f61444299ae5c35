# SPDX-License-Identifier: Apache-2.0
"""The rules of the tree find what they are for, and nothing in a good tree."""
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

import tree  # noqa: E402

HEAD = "/* SPDX-License-Identifier: Apache-2.0 */\n/*\n * For the test.\n */\n"

GOOD = {
    "proxy/base/span.h": HEAD + "#include <stddef.h>\n",
    "proxy/base/span.c": "/* SPDX-License-Identifier: Apache-2.0 */\n/* Short. */\n" + '#include "proxy/base/span.h"\n',
    "balancer/policy.h": HEAD + '#include "proxy/base/span.h"\n',
    "config/config.h": HEAD + '#include "balancer/policy.h"\n',
    "proxy/net/conn.h": HEAD + '#include <uv.h>\n#include "proxy/base/span.h"\n',
    "proxy/http/h1.h": HEAD + '#include <llhttp.h>\n#include "proxy/net/conn.h"\n',
    "proxy/upstream/pool.h": HEAD + '#include "proxy/http/h1.h"\n#include "balancer/policy.h"\n',
    "proxy/worker.h": HEAD + '#include "proxy/upstream/pool.h"\n',
    "proxy/runtime.c": HEAD + '#include "config/config.h"\n#include "proxy/worker.h"\n',
    "proxy/main.c": HEAD + '#include "config/config.h"\n',
    "backends/hello.c": HEAD + '#include <uv.h>\n#include "proxy/base/span.h"\n',
    "bench/simulate.c": HEAD + '#include "balancer/policy.h"\n',
    "tests/unit/test_all.c": HEAD + '#include "config/config.h"\n#include "proxy/worker.h"\n',
    "README.md": "curl http://localhost:8000/ or http://shop.example/, see /etc/weir and $HOME/x\n",
}


@pytest.fixture
def grow(tmp_path):
    """grow(files): a tree of GOOD and these files. -> its findings"""
    def plant(files=()):
        for path, text in {**GOOD, **dict(files)}.items():
            (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / path).write_text(text)
        return tree.check(tmp_path)
    return plant


def test_a_good_tree_has_no_findings(grow):
    assert grow() == []


@pytest.mark.parametrize("path, include, words", [
    ("proxy/base/buf.c", '"proxy/net/conn.h"', "proxy/base must not include proxy/net"),
    ("proxy/base/buf.c", '"balancer/policy.h"', "proxy/base must not include balancer"),
    ("proxy/base/buf.c", "<uv.h>", "proxy/base must not see <uv.h>"),
    ("balancer/p2c.c", '"config/config.h"', "balancer must not include config"),
    ("balancer/p2c.c", '"proxy/upstream/pool.h"', "balancer must not include proxy/upstream"),
    ("balancer/p2c.c", "<uv.h>", "balancer must not see <uv.h>"),
    ("balancer/p2c.c", "<time.h>", "balancer must not see <time.h>"),
    ("config/bind.c", "<openssl/ssl.h>", "config must not see <openssl/ssl.h>"),
    ("config/bind.c", "<uv.h>", "config must not see <uv.h>"),
    ("config/bind.c", '"proxy/net/conn.h"', "config must not include proxy/net"),
    ("config/bind.c", '"proxy/http/h1.h"', "config must not include proxy/http"),
    ("proxy/net/tcp.c", '"proxy/http/h1.h"', "proxy/net must not include proxy/http"),
    ("proxy/net/tcp.c", '"balancer/policy.h"', "proxy/net must not include balancer"),
    ("proxy/http/h1.c", '"proxy/upstream/pool.h"', "proxy/http must not include proxy/upstream"),
    ("proxy/http/h1.c", '"balancer/policy.h"', "proxy/http must not include balancer"),
    ("proxy/upstream/pool.c", '"proxy/worker.h"', "proxy/upstream must not include proxy "),
    ("proxy/upstream/pool.c", '"config/config.h"', "proxy/upstream must not include config"),
    ("proxy/worker.c", '"config/config.h"', "proxy must not include config"),
    ("backends/world.c", '"proxy/net/conn.h"', "backends must not include proxy/net"),
    ("backends/world.c", '"balancer/policy.h"', "backends must not include balancer"),
    ("proxy/net/tcp.c", '"conn.h"', "not the path of a file from the root"),
    ("proxy/net/tcp.c", '"proxy/net/../base/span.h"', "not the path of a file from the root"),
    ("proxy/net/tcp.c", "<proxy/base/span.h>", "write it in quotes"),
    ("proxy/net/tcp.c", "WHICH_HEADER", "a name in quotes or angle brackets"),
    ("elsewhere/x.c", "<stdio.h>", "belongs to no layer"),
])
def test_a_wrong_arrow_is_one_finding(grow, path, include, words):
    findings = grow({path: f"{HEAD}#include {include}\n"})
    assert len(findings) == 1
    assert findings[0].startswith(f"{path}:") and " includes: " in findings[0]
    assert words in findings[0]


def test_headers_that_include_one_another_are_a_finding(grow):
    findings = grow({"proxy/net/a.h": f'{HEAD}#include "proxy/net/b.h"\n',
                     "proxy/net/b.h": f'{HEAD}#include "proxy/net/a.h"\n'})
    assert findings == ["proxy/net/a.h:1: includes: includes itself: "
                        "proxy/net/a.h -> proxy/net/b.h -> proxy/net/a.h"]


@pytest.mark.parametrize("text", [
    "",
    "#include <stddef.h>\n",
    "/* SPDX-License-Identifier: MIT */\n/*\n * For the test.\n */\n",
    "/* SPDX-License-Identifier: Apache-2.0 */\n#include <stddef.h>\n",
    "\n" + HEAD,
])
def test_a_c_file_without_its_head_is_one_finding(grow, text):
    findings = grow({"proxy/base/list.h": text})
    assert len(findings) == 1
    assert findings[0].startswith("proxy/base/list.h:1: heads: ")


# Put together here, so that this file has none of them.
@pytest.mark.parametrize("word, what", [
    ("/".join(["", "home", "joe", "weir"]), "a machine's own path"),
    ("/".join(["", "root", ".cache"]), "a machine's own path"),
    (".".join(["deb", "distribution", "org"]), "a mirror's host"),
    ("http://" + ".".join(["ftp", "de", "distribution", "org"]) + "/dists", "a mirror's host"),
    (".".join(["eu", "artifacts", "company", "com"]) + "/apt", "a mirror's host"),
])
def test_a_foreign_word_is_found_in_any_file(grow, word, what):
    findings = grow({"docs/notes.md": f"first\nsee {word} for more\n"})
    assert findings and all(f.startswith("docs/notes.md:2: foreign: " + what) for f in findings)
