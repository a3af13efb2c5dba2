"""Folders of stores, as the actions of `avloc store` take them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from avloc.errors import StoreError

if TYPE_CHECKING:
    from avloc.feature_extraction.store.feature_store import FeatureStore

MAX_LISTED = 10  # failed clips, damaged shards


def open_store(root: Path) -> FeatureStore:
    """Open an existing store.

    Raises:
        StoreError: if the folder is missing, is a file, or has no features.
    """
    from avloc.feature_extraction.store.feature_store import FeatureStore

    store = FeatureStore(root)
    if root.is_file():
        raise StoreError(f"{root}: is a file, want the folder of a store")
    if not root.is_dir():
        raise StoreError(f"{root}: no such store; avloc extract and avloc store import write one")
    if not store.extractors():
        raise StoreError(f"{root}: no store, it has no features of any extractor")
    return store
