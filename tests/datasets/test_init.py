from __future__ import annotations

import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_folders_beside_avloc_are_not_top_level_packages():
    for name in ("datasets", "evaluation", "feature_extraction"):
        __import__(f"avloc.{name}")
    spec = find_spec("datasets")
    assert spec is None or not Path(spec.origin or "/").is_relative_to(ROOT)
    code = "import datasets"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert "take the repository's root off the import path" in done.stderr
