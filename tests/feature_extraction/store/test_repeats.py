from __future__ import annotations

import h5py
import numpy as np
import pytest

from avloc.core.timeline import TimeGrid
from avloc.feature_extraction.extractors.base import Features
from avloc.feature_extraction.store import repeats as module
from avloc.feature_extraction.store.repeats import Difference, RepeatedClips
from avloc.feature_extraction.store.shard_file import open_shard
from avloc.feature_extraction.store.shard_tables import read_tables
from avloc.feature_extraction.store.shards import ShardWriter


@pytest.fixture
def add(tmp_path):
    """A function that writes a shard of clips (name → rows, value, start; or the reason of a failure) and adds it."""

    def add(repeated, name, clips):
        path = tmp_path / name
        with ShardWriter(path, 2) as shard:
            for file, clip in clips.items():
                if isinstance(clip, str):
                    shard.fail(file, clip)
                else:
                    rows, value, start_s = clip
                    shard.add(file, Features(np.full((rows, 2), value, np.float32), TimeGrid(start_s, 0.5, rows)))
        repeated.add(path, read_tables(path))
        return path

    return add


def test_equal_clips_do_not_differ(add):
    repeated = RepeatedClips()
    add(repeated, "0.h5", {"a": (3, 1.0, 0.0), "b": (0, 0.0, 0.0)})
    add(repeated, "1.h5", {"b": (0, 0.0, 0.0), "a": (3, 1.0, 0.0), "c": (1, 1.0, 0.0)})
    assert list(repeated.differing()) == []


@pytest.mark.parametrize(
    ("clip", "without_values"), [((3, 2.0, 0.0), False), ((4, 1.0, 0.0), True), ((3, 1.0, 0.25), True)]
)
def test_other_values_length_or_start_differ(add, clip, without_values):
    repeated = RepeatedClips()
    first = add(repeated, "0.h5", {"a": (3, 1.0, 0.0)})
    second = add(repeated, "1.h5", {"x": (1, 1.0, 0.0), "a": clip})
    assert list(repeated.differing()) == [Difference("a", first, second)]
    assert bool(list(repeated.differing(values=False))) == without_values


def test_failed_clips_are_left_out(add):
    repeated = RepeatedClips()
    add(repeated, "0.h5", {"a": "no sound"})
    add(repeated, "1.h5", {"a": (3, 1.0, 0.0)})
    assert list(repeated.differing()) == []


def test_a_shard_that_is_written_again_is_compared_at_its_new_positions(add, monkeypatch):
    repeated = RepeatedClips()
    add(repeated, "0.h5", {"x": "no sound", "a": (3, 1.0, 0.0)})
    add(repeated, "1.h5", {"a": (3, 1.0, 0.0)})

    def rewrite_and_open(path):
        if path.name == "0.h5":
            add(RepeatedClips(), "0.h5", {"x": (7, 2.0, 0.0), "a": (3, 1.0, 0.0)})
        return open_shard(path)

    monkeypatch.setattr(module, "open_shard", rewrite_and_open)
    assert list(repeated.differing()) == []


def test_nan_equals_itself(add):
    repeated = RepeatedClips()
    paths = [add(repeated, f"{k}.h5", {"a": (3, 1.0, 0.0)}) for k in range(2)]
    for path in paths:
        with h5py.File(path, "a") as file:
            file["values"][1, 1] = np.nan
    assert list(repeated.differing()) == []


def test_more_shards_than_may_be_open(add, monkeypatch):
    monkeypatch.setattr(module, "MAX_COMPARED_SHARDS", 2)
    repeated = RepeatedClips()
    for k in range(6):
        add(repeated, f"{k}.h5", {"a": (3, 1.0, 0.0), "b": (2, float(k == 5), 0.0)})
    assert [(d.file, d.first.name, d.second.name) for d in repeated.differing()] == [("b", "4.h5", "5.h5")]


def test_no_shards():
    assert list(RepeatedClips().differing()) == []
