from __future__ import annotations

import shutil

import pytest

from avloc.errors import StoreError


def test_a_store_its_folders_and_its_shards(describe, tiny_store):
    description, facts = describe(tiny_store, "store")
    assert description.title == "feature store of logspec, residual_grid"
    assert facts["logspec"].startswith("audio, 513 values, 100 rows/s; 9 clips, 0.0")
    assert {row["extractor"]: row["clips"] for row in description.values["extractors"]} == {
        "logspec": 9,
        "residual_grid": 9,
    }
    for part in (tiny_store / "logspec", next((tiny_store / "logspec").glob("*.h5"))):
        assert describe(part, "store")[0].title == f"{description.title}, in {tiny_store}"


def test_an_unfinished_and_a_damaged_store(describe, tiny_store, tmp_path):
    shutil.copytree(tiny_store / "logspec", tmp_path / "s" / "logspec")
    shards = sorted((tmp_path / "s" / "logspec").glob("*.h5"))
    shards[0].unlink()
    shards[1].write_bytes(b"no shard")
    _, facts = describe(tmp_path / "s", "store")
    assert facts["logspec"].endswith(", unfinished: 2 of 3 shards")
    assert facts["Damaged"] == shards[1].name
    (tmp_path / "s" / "logspec" / "store.json").write_text("{}")
    with pytest.raises(StoreError, match="want a store of format version"):
        describe(tmp_path / "s", "store")
