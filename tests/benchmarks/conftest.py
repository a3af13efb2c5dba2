from __future__ import annotations

import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
FOLDERS = (BENCHMARKS, BENCHMARKS / "localization")


@pytest.fixture(scope="module", autouse=True)
def _importable_benchmarks():
    """A benchmark's modules import each other by bare names, as scripts do; other tests must not see these names."""
    roots = {
        path.relative_to(folder).parts[0].removesuffix(".py") for folder in FOLDERS for path in folder.rglob("*.py")
    }

    def benchmark_modules():
        return [name for name in sys.modules if name.partition(".")[0] in roots]

    hidden = {name: sys.modules.pop(name) for name in benchmark_modules()}
    paths = [str(folder) for folder in FOLDERS]
    sys.path[:0] = paths
    yield
    for path in paths:
        sys.path.remove(path)
    for name in benchmark_modules():
        del sys.modules[name]
    sys.modules.update(hidden)


@pytest.fixture(scope="session")
def benchmarks():
    """The folder of the benchmarks."""
    return BENCHMARKS
