from __future__ import annotations

import errno
import os

import h5py
import numpy as np
import pytest

from avloc.core.timeline import TimeGrid
from avloc.feature_extraction.extractors.base import Features
from avloc.feature_extraction.store.shard_tables import (
    NO_FILE,
    checksum,
    read_attribute,
    read_tables,
    shard_name,
)
from avloc.feature_extraction.store.shards import ShardWriter


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

    with (
        pytest.raises(OSError, match="no room on the disk: the file needs more than .*0.h5"),
        ShardWriter(tmp_path / "0.h5", 3) as shard,
    ):
        shard.append(np.ones((2, 3), np.float32))
        monkeypatch.setattr(os, "pwrite", refuse)
        for _ in range(1000):
            shard.append(np.ones((256, 3), np.float32))
    assert list(tmp_path.iterdir()) == []


def test_problems_and_gaps_of_clips(tmp_path):
    with ShardWriter(tmp_path / "0.h5", 3) as shard:
        shard.end("a", 0.0, problems=["ignored"], gaps=[(0, 1)])
        shard.append(np.ones((4, 3), np.float32))
        shard.end("b", 0.0, problems=["2 damaged\n packets", " ", "cut off"], gaps=[(-2, 1), (3, 9), (7, 9)])
        shard.append(np.ones((2, 3), np.float32))
        shard.fail("c", "no picture")
        shard.add("d", Features(np.ones((3, 3), np.float32), TimeGrid(0, 0.5, 3), gaps=((1, 3),)))
    tables = read_tables(tmp_path / "0.h5")
    assert tables.problems == [("ignored",), ("2 damaged packets", "cut off"), (), ()]
    assert tables.gaps.tolist() == [[1, 0, 1], [1, 3, 4], [3, 1, 3]]
    assert [tables.gaps_of(k) for k in range(4)] == [(), ((0, 1), (3, 4)), (), ((1, 3),)]


def test_names_that_are_not_utf8(tmp_path):
    names = ["a\udcff.mp4", "\ud800", "a\nb"]
    with ShardWriter(tmp_path / shard_name(0, names), 3) as shard:
        for name in names:
            shard.fail(name, f"{name}: no such file")
    tables = read_tables(tmp_path / shard_name(0, names))
    assert tables.files == names
    assert tables.status[0] == "a\udcff.mp4: no such file"
