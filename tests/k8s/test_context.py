# SPDX-License-Identifier: Apache-2.0
"""What the images are built of, wherever they cannot be built."""
import os
import shutil
import subprocess

from places import ROOT


def copy_context(to):
    """What k8s/Containerfile.ignore lets through."""
    lines = (ROOT / "k8s" / "Containerfile.ignore").read_text().split()
    assert lines[0] == "*"
    for name in (line.removeprefix("!") for line in lines[1:]):
        (to / name).parent.mkdir(parents=True, exist_ok=True)
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, to / name)
        else:
            shutil.copy(ROOT / name, to / name)


def test_all_that_is_built_from_is_copied_into_the_build_stage(tmp_path):
    copy_context(tmp_path)
    env = {k: v for k, v in os.environ.items() if k not in ("MAKEFLAGS", "MFLAGS", "MAKELEVEL")}
    done = subprocess.run(["make", "-n", "BUILD=out", "out/weir", "out/hello", "out/world"],
                          cwd=tmp_path, env=env, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert "-o out/weir " in done.stdout
