from __future__ import annotations

import pytest

from avloc.cli.store.folders import open_store
from avloc.errors import StoreError


def test_an_existing_store_is_opened(store):
    assert open_store(store.root).extractors() == ["wave"]


def test_a_folder_without_features_is_no_store(tmp_path):
    with pytest.raises(StoreError, match="no store, it has no features of any extractor"):
        open_store(tmp_path)
    with pytest.raises(StoreError, match="none: no such store"):
        open_store(tmp_path / "none")


def test_a_store_is_no_file(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(StoreError, match="file: is a file, want the folder of a store"):
        open_store(tmp_path / "file")
