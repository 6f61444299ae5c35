# SPDX-License-Identifier: Apache-2.0
"""The scenes of resilience.py. A failure prints its seed: CHAOS_SEED=N runs it again."""
import os
import random
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent / "e2e")]

import harness  # noqa: E402
import resilience  # noqa: E402
from stage import verdict  # noqa: E402

SEED = int(os.environ.get("CHAOS_SEED", random.SystemRandom().randrange(1 << 32)))


@pytest.mark.parametrize("scene", resilience.SCENES)
def test_nothing_is_lost_that_can_be_saved(scene):
    print(f"seed {SEED}")

    def weir_of(text, tmp):
        return harness.Weir(text, tmp, workers=2)

    with resilience.Resilience(scene, weir_of, SEED) as run:
        findings = resilience.judge(scene, run.run())
        run.weir.stop()
    assert verdict(scene, SEED, findings) == 0, f"seed {SEED}, the first: {findings[0]}"
