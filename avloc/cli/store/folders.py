"""Folders of stores, as the actions of `avloc store` take them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from avloc.errors import AvlocError, StoreError

if TYPE_CHECKING:
    from avloc.feature_extraction.store.feature_store import FeatureStore

MAX_LISTED = 10  # failed clips, damaged shards


def open_store(root: Path) -> FeatureStore:
    """Open an existing store.

    Raises:
        StoreError: if the folder is missing, or has no features.
    """
    from avloc.feature_extraction.store.feature_store import FeatureStore

    store = FeatureStore(root)
    if not root.is_dir():
        raise StoreError(f"{root}: no such store")
    if not store.extractors():
        raise StoreError(f"{root}: no store, it has no features of any extractor")
    return store


def check_folder(root: Path) -> None:
    """Check that a store can be written to a path.

    Raises:
        AvlocError: if it is a file.
    """
    if root.is_file():
        raise AvlocError(f"{root}: is a file, want the folder of a store")
