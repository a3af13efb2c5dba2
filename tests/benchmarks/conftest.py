from __future__ import annotations

import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
FOLDERS = (BENCHMARKS, BENCHMARKS / "localization")


@pytest.fixture(scope="module", autouse=True)
def _importable_benchmarks():
    """A benchmark's modules import each other by bare names, as scripts do; other tests must not see these names."""
    names = {path.stem for folder in FOLDERS for path in folder.glob("*.py")}
    hidden = {name: sys.modules.pop(name) for name in names if name in sys.modules}
    paths = [str(folder) for folder in FOLDERS]
    sys.path[:0] = paths
    yield
    for path in paths:
        sys.path.remove(path)
    for name in names:
        sys.modules.pop(name, None)
    sys.modules.update(hidden)


@pytest.fixture(scope="session")
def benchmarks():
    """The folder of the benchmarks."""
    return BENCHMARKS
