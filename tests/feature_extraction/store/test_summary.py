from __future__ import annotations

import numpy as np
import pytest

from avloc.core.timeline import TimeGrid
from avloc.feature_extraction.extractors.base import Features
from avloc.feature_extraction.store.feature_store import FeatureStore
from avloc.feature_extraction.store.plan_file import PlanFile
from avloc.feature_extraction.store.shards import ShardWriter, shard_name
from avloc.feature_extraction.store.summary import failures, format_bytes, summarize

ABOUT = {"name": "toy", "modality": "audio", "hop_s": 0.5, "dim": 3}


def write(store, index, clips):
    """Clip → its number of rows, or why it failed."""
    path = store.prepare(ABOUT) / shard_name(index, list(clips))
    with ShardWriter(path, 3, store.fingerprint("toy")) as shard:
        for file, rows in clips.items():
            if isinstance(rows, str):
                shard.fail(file, rows)
            else:
                shard.add(file, Features(np.ones((rows, 3), np.float32), TimeGrid(0.0, 0.5, rows)))
    return path.name


def test_clips_count_once_and_are_failed_only_if_nowhere_there(tmp_path):
    store = FeatureStore(tmp_path / "s")
    names = [
        write(store, 0, {"a": 5, "b": "no sound", "c": 0}),
        write(store, 1, {"b": 7, "a": 5, "d": "gone"}),
        write(store, 2, {"d": "gone too"}),
    ]
    store.save_plan("toy", PlanFile([*names, "00003-12345678.h5"]))
    found = summarize(store, "toy")
    assert (found.clips, found.seconds, found.failures) == (3, 6.0, 1)
    assert (found.shards, found.planned, found.damaged) == (3, 4, ())
    assert found.size_bytes == sum(p.stat().st_size for p in store.shards("toy"))
    assert list(failures(store, "toy")) == [("d", "gone"), ("d", "gone too")]
    assert found.as_json()["hours"] == pytest.approx(6 / 3600)


def test_a_damaged_shard_is_named_and_not_counted(tmp_path):
    store = FeatureStore(tmp_path / "s")
    write(store, 0, {"a": 5, "x": "no"})
    write(store, 1, {"b": 7, "y": "none"})
    store.shards("toy")[0].write_bytes(b"no")
    found = summarize(store, "toy")
    assert (found.clips, found.shards, found.planned, found.damaged) == (1, 2, None, (store.shards("toy")[0],))
    assert list(failures(store, "toy")) == [("y", "none")]


def test_an_extractor_without_shards(tmp_path):
    store = FeatureStore(tmp_path / "s")
    store.prepare(ABOUT)
    found = summarize(store, "toy")
    assert (found.clips, found.seconds, found.failures, found.shards, found.size_bytes) == (0, 0.0, 0, 0, 0)
    assert list(failures(store, "toy")) == []


@pytest.mark.parametrize(
    ("size", "text"),
    [(0, "0 B"), (999, "999 B"), (1000, "1.0 kB"), (999_400, "999.4 kB"), (999_999, "1.0 MB"), (3e15, "3000.0 TB")],
)
def test_sizes_for_people(size, text):
    assert format_bytes(size) == text
