from __future__ import annotations

import numpy as np
import pytest

from avloc.core.descriptions import ExtractorDescription
from avloc.core.timeline import TimeGrid
from avloc.feature_extraction.extractors.base import Features
from avloc.feature_extraction.store.feature_store import FeatureStore
from avloc.feature_extraction.store.plan_file import PlanFile
from avloc.feature_extraction.store.shard_tables import shard_name
from avloc.feature_extraction.store.shards import ShardWriter
from avloc.feature_extraction.store.summary import iter_failures, iter_problems, summarize

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


def test_problems_count_once(tmp_path):
    store = FeatureStore(tmp_path / "s")
    for index, files in enumerate((["a", "b"], ["a", "c", "d"])):
        path = store.prepare(TOY) / shard_name(index, files)
        with ShardWriter(path, 3, store.fingerprint("toy")) as shard:
            for file in files:
                shard.append(np.ones((4, 3), np.float32))
                shard.end(
                    file, 1.0, problems=["cut off"] if file in "ac" else [], gaps=[(1, 3)] if file in "cd" else []
                )
    assert summarize(store, "toy").problems == 3
    assert list(iter_problems(store, "toy")) == [
        ("a", ("cut off",)),
        ("c", ("cut off", "no data from 1.50 to 2.50 s")),
        ("d", ("no data from 1.50 to 2.50 s",)),
    ]


def test_a_gap_that_the_decoder_told_is_not_told_again(tmp_path):
    """The problems are the clip's; the gaps are those of `toy`, which are of the sound."""
    store, told = FeatureStore(tmp_path / "s"), "no audio could be decoded from 1.52 to 2.48 s"
    path = store.prepare(TOY) / shard_name(0, ["a", "b"])
    with ShardWriter(path, 3, store.fingerprint("toy")) as shard:
        for file, problems in (("a", [told]), ("b", ["no frame could be decoded from 0.04 to 0.08 s"])):
            shard.append(np.ones((4, 3), np.float32))
            shard.end(file, 1.0, problems=problems, gaps=[(1, 3)])
    assert list(iter_problems(store, "toy")) == [
        ("a", (told,)),
        ("b", ("no frame could be decoded from 0.04 to 0.08 s", "no data from 1.50 to 2.50 s")),
    ]


def test_many_spans_without_data_are_counted_only(tmp_path):
    store = FeatureStore(tmp_path / "s")
    path = store.prepare(TOY) / shard_name(0, ["a"])
    with ShardWriter(path, 3, store.fingerprint("toy")) as shard:
        shard.append(np.ones((20, 3), np.float32))
        shard.end("a", 0.0, gaps=[(k, k + 1) for k in range(0, 20, 4)])
    assert list(iter_problems(store, "toy")) == [("a", ("no data in 5 spans, 2.50 s in all",))]


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
