"""Warnings of the libraries that tests of the command line let pass."""

from __future__ import annotations

from pathlib import Path

import pytest

# Lightning's own hints, and the deprecations of the libraries under it.
IGNORED = ("DeprecationWarning", "FutureWarning", "UserWarning", "pytest.PytestUnraisableExceptionWarning")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    folder = Path(__file__).parent
    for item in items:
        if item.path.is_relative_to(folder):
            for category in IGNORED:
                item.add_marker(pytest.mark.filterwarnings(f"ignore::{category}"))
