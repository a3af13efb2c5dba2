from __future__ import annotations

import numpy as np
import pytest

from avloc.core.descriptions import ExtractorDescription
from avloc.core.timeline import TimeGrid
from avloc.feature_extraction.extractors.base import Features
from avloc.feature_extraction.store.feature_store import FeatureStore
from avloc.feature_extraction.store.plan_file import PlanFile
from avloc.feature_extraction.store.shards import ShardWriter, shard_name
from avloc.feature_extraction.store.summary import format_bytes, iter_failures, summarize

TOY = ExtractorDescription("toy", "audio", hop_s=0.5, dim=3)


def write(store, index, clips):
    """Write a shard of clips (name → number of rows, or the reason of a failure)."""
    path = store.prepare(TOY) / shard_name(index, list(clips))
    with ShardWriter(path, 3, store.fingerprint("toy")) as shard:
        for file, rows in clips.items():
            if isinstance(rows, str):
                shard.fail(file, rows)
            else:
                shard.add(file, Features(np.ones((rows, 3), np.float32), TimeGrid(0.0, 0.5, rows)))
    return path.name


def test_clips_count_once_and_as_failed_only_if_no_shard_has_them(tmp_path):
    store = FeatureStore(tmp_path / "s")
    names = [
        write(store, 0, {"a": 5, "b": "no sound", "c": 0}),
        write(store, 1, {"b": 7, "a": 5, "d": "gone"}),
        write(store, 2, {"d": "gone too"}),
    ]
    store.save_plan("toy", PlanFile([*names, "00003-12345678.h5"]))
    summary = summarize(store, "toy")
    assert (summary.clips, summary.seconds, summary.failures) == (3, 6.0, 1)
    assert (summary.shards, summary.planned, summary.damaged) == (3, 4, ())
    assert summary.size_bytes == sum(p.stat().st_size for p in store.shards("toy"))
    assert list(iter_failures(store, "toy")) == [("d", "gone"), ("d", "gone too")]
    assert summary.to_dict()["hours"] == pytest.approx(6 / 3600)


def test_a_damaged_shard_is_named_and_not_counted(tmp_path):
    store = FeatureStore(tmp_path / "s")
    write(store, 0, {"a": 5, "x": "no"})
    write(store, 1, {"b": 7, "y": "none"})
    store.shards("toy")[0].write_bytes(b"no")
    summary = summarize(store, "toy")
    assert (summary.clips, summary.shards, summary.planned, summary.damaged) == (1, 2, None, (store.shards("toy")[0],))
    assert list(iter_failures(store, "toy")) == [("y", "none")]


def test_an_extractor_without_shards(tmp_path):
    store = FeatureStore(tmp_path / "s")
    store.prepare(TOY)
    summary = summarize(store, "toy")
    assert (summary.clips, summary.seconds, summary.failures, summary.shards, summary.size_bytes) == (0, 0.0, 0, 0, 0)
    assert list(iter_failures(store, "toy")) == []


def test_plain_values(tmp_path):
    store = FeatureStore(tmp_path / "s")
    name = write(store, 0, {"a": 5})
    store.shards("toy")[0].write_bytes(b"no")
    values = summarize(store, "toy").to_dict()
    assert values["extractor"] == "toy"
    assert values["description"] == {"format_version": 3, **TOY.to_dict()}
    assert (values["clips"], values["damaged"], values["bytes"]) == (0, [name], 2)


@pytest.mark.parametrize(
    ("size", "text"),
    [(0, "0 B"), (999, "999 B"), (1000, "1.0 kB"), (999_400, "999.4 kB"), (999_999, "1.0 MB"), (3e15, "3000.0 TB")],
)
def test_format_bytes(size, text):
    assert format_bytes(size) == text
