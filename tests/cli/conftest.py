"""The demo that the tests of the command line share."""

from __future__ import annotations

from pathlib import Path

import pytest

from avloc.cli.main import main

# Lightning's own hints, and the deprecations of the libraries under it.
IGNORED = ("DeprecationWarning", "FutureWarning", "UserWarning", "pytest.PytestUnraisableExceptionWarning")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    folder = Path(__file__).parent
    for item in items:
        if item.path.is_relative_to(folder):
            for category in IGNORED:
                item.add_marker(pytest.mark.filterwarnings(f"ignore::{category}"))


@pytest.fixture(scope="session")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("demo") / "out"
    assert main(["demo", "--out", str(out), "--clips", "18", "--epochs", "1", "--workers", "2"]) == 0
    return out
