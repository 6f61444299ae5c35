# SPDX-License-Identifier: Apache-2.0
"""Where things are, for the tests of images and manifests."""
import os
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
WEIR = Path(os.environ.get("WEIR", ROOT / "build" / "weir")).resolve()
