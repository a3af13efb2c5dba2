from __future__ import annotations

import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[2] / "benchmarks" / "localization"
MODULES = ("baselines", "corpus", "forgers", "run", "speech", "systems")


@pytest.fixture(scope="session", autouse=True)
def importable():
    """The benchmark's modules, as its script sees them."""
    sys.path.insert(0, str(FOLDER))
    yield
    sys.path.remove(str(FOLDER))
    for name in MODULES:
        sys.modules.pop(name, None)
