# SPDX-License-Identifier: Apache-2.0
"""The Makefile rebuilds what changed and nothing else, and says what is missing: in a small tree."""
import os
import shutil
import subprocess
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
OBJECT = "build/obj/proxy/base/a.o"


class Tree:
    def __init__(self, path):
        self.path = path
        shutil.copy(ROOT / "Makefile", path)
        shutil.copytree(ROOT / "scripts", path / "scripts")
        (path / "proxy" / "base").mkdir(parents=True)
        self.write("proxy/base/a.h", "int a(void);\n")
        self.write("proxy/base/a.c", '#include "proxy/base/a.h"\nint a(void)\n{\n    return 1;\n}\n')
        self.write("proxy/base/b.c", "int b(void);\nint b(void)\n{\n    return 2;\n}\n")

    def write(self, name, text):
        """Later than what was built before, however coarse the file system's clock is."""
        file = self.path / name
        before = max((p.stat().st_mtime_ns for p in self.path.rglob("*") if p != file), default=0)
        file.write_text(text)
        while file.stat().st_mtime_ns <= before:
            time.sleep(0.001)
            file.touch()

    def make(self, *arguments, ci="", status=0):
        """-> what it ran and said"""
        env = {k: v for k, v in os.environ.items()
               if k not in ("MAKEFLAGS", "MFLAGS", "MAKELEVEL", "BUILD", "CC", "CFLAGS")}
        done = subprocess.run(["make", "-j2", *arguments], cwd=self.path, env=dict(env, CI=ci),
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=300)
        assert done.returncode == status, done.stdout
        return done.stdout


@pytest.fixture
def tree(tmp_path):
    return Tree(tmp_path)


def test_nothing_changed_nothing_is_built(tree):
    assert "-c -o" in tree.make("build/libweir.a")
    second = tree.make("build/libweir.a")
    assert "-c -o" not in second and "rcs" not in second


def test_a_header_rebuilds_only_what_includes_it(tree):
    tree.make("build/libweir.a")
    tree.write("proxy/base/a.h", "int a(void); /* new */\n")
    said = tree.make("build/libweir.a")
    assert "proxy/base/a.c" in said and "proxy/base/b.c" not in said


@pytest.mark.parametrize("change", ["CFLAGS=-O1", "CPPFLAGS=-DX=1", "CC=cc -pipe"])
def test_other_flags_rebuild_everything(tree, change):
    tree.make("build/libweir.a")
    said = tree.make("build/libweir.a", change)
    assert "proxy/base/a.c" in said and "proxy/base/b.c" in said
    assert "-c -o" not in tree.make("build/libweir.a", change)


def test_the_caller_s_flags_come_after_ours(tree):
    assert "-O2" in tree.make("build/libweir.a").split("-O0")[0]
    said = tree.make("build/libweir.a", "CFLAGS=-O0")
    assert said.index("-O2") < said.index("-O0")


def test_a_deleted_source_leaves_the_archive(tree):
    tree.make("build/libweir.a")
    (tree.path / "proxy/base/b.c").unlink()
    tree.make("build/libweir.a")
    members = subprocess.run(["ar", "t", tree.path / "build/libweir.a"], capture_output=True, text=True)
    assert members.stdout.split() == ["a.o"]


def test_variants_do_not_share_objects(tree):
    for mode in ("debug", "asan", "tsan"):
        tree.make("MODE=" + mode, f"build/{mode}/libweir.a")
        assert (tree.path / "build" / mode / "obj/proxy/base/a.o").exists()
    assert not (tree.path / OBJECT).exists()


def test_a_mode_that_is_none_is_named(tree):
    assert "MODE is 'fast', expected one of: release debug asan tsan" in tree.make("MODE=fast", status=2)


def test_warnings_are_errors_in_ci_only(tree):
    tree.write("proxy/base/b.c", "int b(void);\nint b(void)\n{\n    int unused = 2;\n    return 2;\n}\n")
    assert "warning: unused variable" in tree.make("build/libweir.a")
    assert "error: unused variable" in tree.make("build/libweir.a", ci="true", status=2)


def test_a_missing_compiler_is_named_with_the_command_that_installs_it(tree):
    said = tree.make("CC=no-such-cc", "build/libweir.a", status=2)
    assert "weir: missing: a C compiler (no-such-cc)" in said
    assert 'run "make deps"' in said


def test_missing_libraries_are_all_named_before_anything_is_compiled(tree):
    said = tree.make("CPPFLAGS=-nostdinc", "build/libweir.a", status=2)
    assert (
        "weir: missing: libuv (1.44 or newer), libyaml, OpenSSL (3.0 or newer), libnghttp2, "
        "c-ares (1.18 or newer), jansson (2.13 or newer), "
        "xxHash (0.8 or newer), llhttp (9 or newer)" in said
    )
    assert "-c -o" not in said


def test_a_unit_test_is_linked_with_the_helpers_beside_it(tree):
    (tree.path / "tests" / "unit").mkdir(parents=True)
    tree.write("tests/unit/helper.c", "int helper(void);\nint helper(void)\n{\n    return 0;\n}\n")
    tree.write("tests/unit/test_it.c", '#include "proxy/base/a.h"\nint helper(void);\n'
               "int main(void)\n{\n    return a() - 1 + helper();\n}\n")
    tree.make("tests")
    assert subprocess.run([tree.path / "build/tests/test_it"]).returncode == 0


def test_two_makes_at_once_do_not_disturb_one_another(tree):
    tree.make("build/libweir.a")
    flags = (tree.path / "build/flags").stat().st_mtime_ns
    env = dict(os.environ, CI="")
    many = [subprocess.Popen(["make", "build/libweir.a"], cwd=tree.path, env=env,
                             stdout=subprocess.PIPE, stderr=subprocess.STDOUT) for _ in range(8)]
    for one in many:
        said, _ = one.communicate(timeout=300)
        assert one.returncode == 0, said
    assert (tree.path / "build/flags").stat().st_mtime_ns == flags
    assert sorted(p.name for p in (tree.path / "build").iterdir()) == [
        "flags", "libraries", "libweir.a", "members", "obj"]


def test_help_names_every_documented_target(tree):
    said = tree.make("help")
    for target in ("all", "debug", "asan", "tsan", "deps", "deps-test", "run", "test", "unit", "e2e",
                   "lint", "format", "format-check", "install", "uninstall", "clean", "help"):
        assert any(target in line[:28].split() for line in said.splitlines()), target


@pytest.mark.parametrize("target", ["test", "lint", "clean", "deps", "deps-test", "format"])
def test_a_target_has_a_recipe(tree, target):
    assert tree.make("-n", target).strip()


def test_clean_leaves_the_tree_as_it_was(tree):
    before = sorted(p for p in tree.path.rglob("*"))
    tree.make("build/libweir.a", "compile_commands.json")
    tree.make("clean")
    assert sorted(p for p in tree.path.rglob("*")) == before
