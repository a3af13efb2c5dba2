from __future__ import annotations

import errno
import os

import h5py
import numpy as np
import pytest

from avloc.core.timeline import TimeGrid
from avloc.errors import StoreError
from avloc.feature_extraction.extractors.base import Features
from avloc.feature_extraction.store.shards import (
    NO_FILE,
    ShardWriter,
    checksum,
    fingerprint,
    read_attribute,
    read_tables,
    shard_name,
    to_half,
)


def test_shard_names_depend_on_the_clips():
    assert shard_name(0, ["a"])[:6] == "00000-"
    assert len({shard_name(0, ["a", "b"]), shard_name(0, ["b", "a"]), shard_name(0, ["a"]), shard_name(1, ["a"])}) == 4


def test_fingerprints_do_not_depend_on_the_order_of_keys():
    assert fingerprint({"a": 1, "b": 2}) == fingerprint({"b": 2, "a": 1}) != fingerprint({"a": 1, "b": 2.5})
    assert fingerprint({}) == "44136fa355b3678a"  # printf '{}' | sha256sum


def test_to_half_clips_outliers():
    assert to_half(np.array([1e9, -1e9, 0.5])).tolist() == [65504, -65504, 0.5]
    assert np.isnan(to_half(np.array([np.nan]))[0])


def test_tables_of_a_shard(tmp_path):
    path = tmp_path / shard_name(0, ["a", "é", "c"])
    with ShardWriter(path, 3, "0123456789abcdef") as shard:
        shard.append(np.ones((2, 3), np.float32))
        shard.append(np.zeros((0, 3), np.float32))
        shard.append(np.full((1, 3), 2, np.float32))
        shard.end("a", 0.25, size_bytes=7)
        shard.append(np.ones((5, 3), np.float32))
        shard.fail("é", "no\n  picture", size_bytes=9)
        shard.add("c", Features(np.full((1, 3), 4, np.float32), TimeGrid(1.5, 0.5, 1)))
    tables = read_tables(path)
    assert (tables.files, tables.status) == (["a", "é", "c"], ["ok", "no picture", "ok"])
    assert tables.offsets.tolist() == [0, 3, 3, 4]
    assert tables.starts.tolist() == [0.25, 0.0, 1.5]
    assert tables.bytes.tolist() == [7, 9, NO_FILE]
    assert tables.failures == {"é": "no picture"}
    with h5py.File(path, "r") as file:
        assert file["values"][:, 0].tolist() == [1, 1, 2, 4]
        assert read_attribute(file, "extractor") == "0123456789abcdef"
        assert read_attribute(file, "sha256") == checksum(file)
        assert read_attribute(file, "none") is None


def test_dropped_rows_leave_no_trace(tmp_path):
    rows = np.arange(6, dtype=np.float32).reshape(2, 3)
    for name, drops in (("0.h5", 0), ("1.h5", 2)):
        with ShardWriter(tmp_path / name, 3) as shard:
            for _ in range(drops):
                shard.append(rows + 9)
                shard.drop()
            shard.append(rows)
            shard.end("a", 0.0)
    sums = []
    for name in ("0.h5", "1.h5"):
        with h5py.File(tmp_path / name, "r") as file:
            sums.append(read_attribute(file, "sha256"))
            assert file["values"][()].tolist() == rows.tolist()
    assert sums[0] == sums[1]


def test_an_empty_shard(tmp_path):
    ShardWriter(tmp_path / "0.h5", 3).close()
    tables = read_tables(tmp_path / "0.h5")
    assert (tables.files, tables.status, tables.offsets.tolist()) == ([], [], [0])


def test_an_interrupted_shard_leaves_nothing(tmp_path):
    with pytest.raises(KeyboardInterrupt), ShardWriter(tmp_path / "0.h5", 3) as shard:
        shard.append(np.ones((2, 3), np.float32))
        raise KeyboardInterrupt
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_is_an_error_of_the_writer_and_leaves_nothing(tmp_path, monkeypatch):
    """HDF5 itself would abort the process, here or when its file is closed."""

    def refuse(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(OSError, match="No space left"), ShardWriter(tmp_path / "0.h5", 3) as shard:
        shard.append(np.ones((2, 3), np.float32))
        monkeypatch.setattr(os, "pwrite", refuse)
        for _ in range(1000):
            shard.append(np.ones((256, 3), np.float32))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["files", "status", "offsets", "start", "bytes"])
def test_a_missing_table_is_damage(tmp_path, name):
    with ShardWriter(tmp_path / "0.h5", 3) as shard:
        shard.end("a", 0.0)
    with h5py.File(tmp_path / "0.h5", "a") as file:
        del file[name]
    with pytest.raises(StoreError, match=r"0.h5: a damaged shard .*remove it and extract again"):
        read_tables(tmp_path / "0.h5")


def test_texts_of_format_version_2(tmp_path):
    """It kept them as strings of HDF5."""
    with ShardWriter(tmp_path / "0.h5", 3) as shard:
        shard.end("é", 0.0)
    with h5py.File(tmp_path / "0.h5", "a") as file:
        for name, text in (("files", "é"), ("status", "ok")):
            del file[name]
            file.create_dataset(name, data=[text], dtype=h5py.string_dtype())
    assert read_tables(tmp_path / "0.h5").files == ["é"]
