from __future__ import annotations

import numpy as np
import pytest
import torch

from avloc.datasets.catalog import read_records
from avloc.datasets.features import FeatureDataset, SimilarLengthSampler, collate, make_example, make_targets
from avloc.errors import AvlocError, StoreError
from avloc.feature_extraction.extractors.base import Features
from avloc.feature_extraction.store import FeatureStore
from avloc.records import VideoRecord
from avloc.targets import Pyramid
from avloc.timeline import Segment, TimeGrid


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
    targets, uncarried = make_targets(record, TimeGrid(0, 0.04, 50), Pyramid())
    assert uncarried == 0
    kinds = {tuple(row.tolist()) for row in targets.point_classes[targets.positive]}
    assert kinds == {(1.0, 1.0), (0.0, 1.0)}
    assert targets.step_labels.sum(0).tolist() == pytest.approx([10, 20])


def test_padding_is_masked():
    examples = [
        make_example(VideoRecord(f"{n}", "t"), {"audio": [stream(n, 0.04, 2)], "visual": [stream(n, 0.04, 3)]}, 0.04)
        for n in (7, 19)
    ]
    batch = collate(examples, Pyramid(levels=3))
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
    assert collate(hidden, Pyramid()).targets is None


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


def test_batches_are_of_similar_length_and_cover_an_epoch():
    lengths = np.random.default_rng(0).integers(50, 500, 101).tolist()
    sampler = SimilarLengthSampler(lengths, 8, seed=3)
    first, second = list(sampler), list(sampler)
    assert sorted(k for batch in first for k in batch) == list(range(101))
    assert first != second
    assert len(first) == len(sampler)
    again = SimilarLengthSampler(lengths, 8, seed=3)
    assert list(again) == first
    padded = sum(len(b) * max(lengths[k] for k in b) for b in first)
    assert padded < 1.25 * sum(lengths)
    assert torch.utils.data.get_worker_info() is None
