from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from avloc.core.records import VideoRecord
from avloc.core.timeline import Segment, TimeGrid
from avloc.datasets.loading.example import make_example, random_window
from avloc.datasets.loading.features import FeatureDataset, collate
from avloc.datasets.loading.samplers import BucketSampler
from avloc.datasets.readers.catalog import read_records
from avloc.errors import AvlocError, StoreError
from avloc.feature_extraction.extractors.base import Features
from avloc.feature_extraction.store.feature_store import FeatureStore
from avloc.heads.points import PointTargetMaker, Pyramid


def stream(steps, hop, dim, start=0.0):
    values = np.arange(steps, dtype=np.float32)[:, None].repeat(dim, 1)
    return Features(values, TimeGrid(start, hop, steps))


def test_streams_meet_by_time():
    record = VideoRecord("x", "train")
    features = {"audio": [stream(40, 0.01, 2)], "visual": [stream(5, 0.04, 3, start=0.2)]}
    example = make_example(record, features, 0.04)
    assert example.grid == TimeGrid(0, 0.04, 10)
    audio, visual = example.streams
    np.testing.assert_allclose(audio[:, 0], np.arange(10) * 4 + 1.5, rtol=1e-6)
    assert example.masks[1].tolist() == [False] * 5 + [True] * 5
    np.testing.assert_allclose(visual[5:, 0], np.arange(5), atol=1e-6)


def test_a_clip_without_sound_has_a_mask_not_zeros():
    features = {"audio": [stream(0, 0.01, 2)], "visual": [stream(5, 0.04, 3)]}
    example = make_example(VideoRecord("x", "train"), features, 0.04)
    assert not example.masks[0].any()
    assert example.masks[1].all()
    with pytest.raises(AvlocError, match="needs audio features"):
        make_example(VideoRecord("x", "train"), {"visual": [stream(5, 0.04, 3)]}, 0.04)


def test_several_extractors_of_a_modality_stand_side_by_side():
    features = {"audio": [stream(8, 0.02, 2), stream(4, 0.04, 3)], "visual": [stream(4, 0.04, 1)]}
    assert make_example(VideoRecord("x", "train"), features, 0.04).streams[0].shape == (4, 5)


def test_targets_tell_the_modality():
    record = VideoRecord("x", "train", None, (Segment(0.0, 0.4),), (Segment(0.0, 0.4), Segment(1.0, 1.4)))
    targets, unassigned_segments = PointTargetMaker(Pyramid())(record, TimeGrid(0, 0.04, 50), 50)
    assert unassigned_segments == 0
    kinds = {tuple(row.tolist()) for row in targets.point_classes[targets.positive]}
    assert kinds == {(1.0, 1.0), (0.0, 1.0)}
    assert targets.step_labels.sum(0).tolist() == pytest.approx([10, 20])


def test_padding_is_masked():
    examples = [
        make_example(VideoRecord(f"{n}", "t"), {"audio": [stream(n, 0.04, 2)], "visual": [stream(n, 0.04, 3)]}, 0.04)
        for n in (7, 19)
    ]
    batch = collate(examples, PointTargetMaker(Pyramid(levels=3)))
    assert batch.inputs.audio.shape == (2, 19, 2)
    assert batch.inputs.audio_mask.sum(1).tolist() == [7, 19]
    assert batch.targets.distances.shape == (2, 19 + 10 + 5, 2)
    assert not batch.targets.positive.any()
    hidden = [
        make_example(
            VideoRecord("h", "test", labelled=False),
            {"audio": [stream(3, 0.04, 2)], "visual": [stream(3, 0.04, 3)]},
            0.04,
        )
    ]
    assert collate(hidden, PointTargetMaker(Pyramid())).targets is None


def test_records_join_the_store(tiny_set, tiny_store):
    records = read_records("lavdf", tiny_set)
    store = FeatureStore(tiny_store)
    dataset = FeatureDataset(records, store, ["logspec", "residual_grid"], hop_s=0.04)
    assert len(dataset) == 9
    example = dataset[4]
    assert example.record == records[4]
    assert abs(example.grid.length * 0.04 - records[4].duration_s) < 0.1
    assert [s.shape[1] for s in example.streams] == [513, 320]
    unknown = [*records, VideoRecord("test/none.mp4", "test")]
    with pytest.raises(StoreError, match=r"1 of 10 clips have no features of logspec, residual_grid .* test/none\.mp4"):
        FeatureDataset(unknown, store, ["logspec", "residual_grid"], hop_s=0.04)
    allowed = FeatureDataset(unknown, store, ["logspec"], hop_s=0.04, allow_missing=True)
    assert (len(allowed), allowed.missing) == (9, ["test/none.mp4"])
    with pytest.raises(StoreError, match="none of the 1 clips"):
        FeatureDataset(unknown[-1:], store, ["logspec"], hop_s=0.04, allow_missing=True)


def test_segments_past_the_end_are_cut_and_counted(tiny_set, tiny_store):
    records = list(read_records("lavdf", tiny_set, "train"))
    end = records[0].duration_s
    odd = replace(records[0], audio_segments=(Segment(1, 1.4), Segment(end - 0.2, end + 9), Segment(end + 1, end + 2)))
    dataset = FeatureDataset([odd, *records[1:]], FeatureStore(tiny_store), ["logspec"], hop_s=0.04)
    assert dataset.clamped == 2
    kept = dataset.records[0].audio_segments
    assert kept[0] == Segment(1, 1.4)
    assert len(kept) == 2
    assert kept[1].end_s == pytest.approx(end, abs=0.03)


def test_long_clips_give_a_window_with_whole_segments():
    record = VideoRecord("x", "t", None, (Segment(3.0, 3.4),), (Segment(9.0, 9.2),))
    example = make_example(record, {"audio": [stream(1000, 0.01, 2)], "visual": [stream(250, 0.04, 3)]}, 0.04)
    seen = set()
    for seed in range(40):
        window = random_window(example, 4.0, np.random.default_rng(seed))
        assert window.grid.length == 100
        assert window.streams[0].shape == (100, 2)
        first = round(window.grid.start_s / 0.04)
        np.testing.assert_array_equal(window.streams[1], example.streams[1][first : first + 100])
        for segment in window.record.segments:
            seen.add(segment)
            assert window.grid.start_s <= segment.start_s < segment.end_s <= window.grid.end_s + 1e-9
    assert seen == {Segment(3.0, 3.4), Segment(9.0, 9.2)}  # never a part of one
    assert random_window(example, 40.0, np.random.default_rng(0)) is example


def test_the_warnings_of_a_split(tiny_set, tiny_store, tmp_path):
    from avloc.datasets.loading.data_modules import DatasetWarning, FeatureData

    root = tmp_path / "set"
    root.mkdir()
    entries = json.loads((tiny_set / "metadata.min.json").read_text())
    fake = next(e for e in entries if e["split"] == "train" and e["fake_periods"])
    fake["fake_periods"][-1][1] += 50
    (root / "metadata.json").write_text(json.dumps(entries))
    data = FeatureData(
        dataset="lavdf",
        root=str(root),
        store=str(tiny_store),
        extractors=["logspec", "residual_grid"],
        balance="modality",
    )
    with pytest.warns(
        DatasetWarning, match="train: [12] segments reached past the end of what was decoded and were cut"
    ):
        data.split("train", training=True)
    with pytest.raises(AvlocError, match="want balance of none, real, modality"):
        FeatureData(dataset="lavdf", root=".", store=".", extractors=[], balance="x")


def clips(batches):
    return [draw.clip for batch in batches for draw in batch]


def test_batches_are_of_similar_length_and_cover_an_epoch():
    lengths = np.random.default_rng(0).integers(50, 500, 101).tolist()
    sampler = BucketSampler(lengths, 8, seed=3)
    first, second = list(sampler), list(sampler)
    assert sorted(clips(first)) == list(range(101))
    assert first != second
    assert len(first) == len(sampler)
    again = BucketSampler(lengths, 8, seed=3)
    assert list(again) == first
    again.set_epoch(1)
    assert list(again) == second
    padded = sum(len(b) * max(lengths[d.clip] for d in b) for b in first)
    assert padded < 1.25 * sum(lengths)


@pytest.mark.parametrize(("count", "size", "ranks"), [(101, 8, 2), (101, 4, 3), (17, 8, 2), (33, 4, 4), (5, 2, 5)])
def test_ranks_see_disjoint_clips_that_are_the_epoch(count, size, ranks):
    lengths = np.random.default_rng(1).integers(50, 500, count)
    parts = [BucketSampler(lengths, size, seed=1, rank=r, ranks=ranks) for r in range(ranks)]
    batches = [list(part) for part in parts]
    assert len({len(b) for b in batches}) == 1  # as many batches each, or a rank would wait for ever
    assert all(len(b) == len(part) for b, part in zip(batches, parts, strict=True))
    assert all(batch for rank in batches for batch in rank)
    assert sorted(k for b in batches for k in clips(b)) == list(range(count))


def test_a_resumed_epoch_goes_on_where_it_stopped():
    lengths = np.random.default_rng(2).integers(50, 500, 77)
    whole = BucketSampler(lengths, 8, seed=5)
    whole.set_epoch(3)
    expected = list(whole)
    resumed = BucketSampler(lengths, 8, seed=5)
    resumed.resume(3, 4)
    resumed.set_epoch(3)
    assert list(resumed) == expected[4:]
    following = list(resumed)
    assert sorted(clips(following)) == list(range(77))  # the next epoch is whole


def test_classes_are_drawn_equally_often():
    classes = np.array([0] * 90 + [1] * 9 + [3] * 3)
    sampler = BucketSampler(np.full(102, 7), 8, seed=0, classes=classes)
    drawn = classes[clips(sampler)]
    assert [int((drawn == k).sum()) for k in (0, 1, 3)] == [34, 34, 34]
    assert len(set(clips(sampler)) & set(range(99, 102))) == 3


def test_sampler_errors():
    with pytest.raises(AvlocError, match="want 0 ≤ rank < ranks, got 2 of 2"):
        BucketSampler([1, 2], 1, rank=2, ranks=2)
    with pytest.raises(AvlocError, match="3 processes cannot share 2 clips"):
        BucketSampler([1, 2], 1, ranks=3)
