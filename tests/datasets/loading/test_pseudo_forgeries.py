from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from avloc.core.records import VideoRecord
from avloc.core.timeline import Segment, TimeGrid
from avloc.datasets.loading.example import make_example
from avloc.datasets.loading.features import FeatureDataset
from avloc.datasets.loading.pseudo_forgeries import (
    FEATURE_KINDS,
    SOUND_KINDS,
    draw_window,
    drop_modality,
    forge_features,
    forge_mouth,
    forge_sound,
)
from avloc.datasets.loading.samplers import SampleIndex
from avloc.datasets.readers.catalog import read_records
from avloc.errors import AvlocError
from avloc.feature_extraction.extractors.base import Features
from avloc.feature_extraction.store.feature_store import FeatureStore


def example(seed, steps=50, sound=True, **segments):
    random = np.random.default_rng(seed)
    audio = Features(
        random.normal(size=(steps if sound else 0, 3)).astype(np.float32), TimeGrid(0, 0.04, steps if sound else 0)
    )
    visual = Features(random.normal(size=(steps, 5)).astype(np.float32), TimeGrid(0, 0.04, steps))
    return make_example(VideoRecord(f"{seed}", "t", **segments), {"audio": [audio], "visual": [visual]}, 0.04)


@pytest.mark.parametrize("kind", SOUND_KINDS)
def test_sound_is_changed_within_the_window_only(kind):
    random = np.random.default_rng(0)
    samples = (0.3 * np.sin(np.arange(32000) * 0.1) * random.uniform(0.5, 1, 32000)).astype(np.float32)
    window = Segment(0.5, 0.82)
    changed = forge_sound(samples, window, kind, random)
    np.testing.assert_array_equal(changed[:8000], samples[:8000])
    np.testing.assert_array_equal(changed[13120:], samples[13120:])
    inner = np.abs(changed[8100:13000] - samples[8100:13000])
    assert np.median(inner) > 1e-3
    assert np.abs(changed).max() <= 1
    assert abs(float(changed[8000] - samples[8000])) < 1e-6  # the cross-fade begins inside


def test_windows_lie_in_the_clip_and_on_the_grid():
    random = np.random.default_rng(1)
    windows = [draw_window(1.0, random) for _ in range(300)]
    assert min(w.start_s for w in windows) == 0
    assert max(w.end_s for w in windows) == 1
    assert min(w.duration_s for w in windows) == pytest.approx(0.1)
    assert max(w.duration_s for w in windows) == pytest.approx(0.8)
    assert all(abs(w.start_s * 50 - round(w.start_s * 50)) < 1e-6 for w in windows)
    assert draw_window(0.1, random) == Segment(0, 0.1)
    with pytest.raises(AvlocError, match="a clip of 0.05 s has no room"):
        draw_window(0.05, random)


def test_mouths_are_repainted_within_the_window_only():
    random = np.random.default_rng(2)
    frames = random.integers(0, 255, (30, 48, 64, 3)).astype(np.uint8)
    mouths = np.tile([32.0, 30.0], (30, 1))
    changed = forge_mouth(frames, Segment(0.4, 0.8), mouths, 16, random)
    np.testing.assert_array_equal(changed[:10], frames[:10])
    np.testing.assert_array_equal(changed[20:], frames[20:])
    where = (changed[10:20] != frames[10:20]).any(axis=(0, 3))
    assert where[22:38, 24:40].any()
    where[22:38, 24:40] = False
    assert not where.any()


@pytest.mark.parametrize("kind", FEATURE_KINDS)
@pytest.mark.parametrize("seed", range(6))
def test_features_are_changed_where_the_label_says(kind, seed):
    real, other = example(0), example(1, steps=37)
    forged = forge_features(real, other, np.random.default_rng(seed), kind=kind)
    lists = (forged.record.audio_segments, forged.record.visual_segments)
    assert any(lists)
    for segments, before, after in zip(lists, real.streams, forged.streams, strict=True):
        changed = np.flatnonzero((before != after).any(axis=1))
        if not segments:
            assert not len(changed)
            continue
        (window,) = segments
        assert changed.tolist() == list(range(round(window.start_s / 0.04), round(window.end_s / 0.04)))
    if kind == "splice" and lists[0]:
        rows = forged.streams[0][round(lists[0][0].start_s / 0.04)]
        assert (other.streams[0] == rows).all(axis=1).any()
    assert forged.grid == real.grid


def test_only_modalities_that_are_there_are_forged():
    for seed in range(9):
        forged = forge_features(example(0, sound=False), example(1), np.random.default_rng(seed))
        assert forged.record.modality == "visual"


def test_dropping_a_modality():
    both = example(0, audio_segments=(Segment(0, 1),), visual_segments=(Segment(0, 1),))
    silent = drop_modality(both, "audio")
    assert not silent.masks[0].any()
    assert not silent.streams[0].any()
    assert silent.record.modality == "visual"
    np.testing.assert_array_equal(silent.streams[1], both.streams[1])
    with pytest.raises(AvlocError, match="has nothing but visual"):
        drop_modality(silent, "visual")


def test_errors():
    samples, random = np.zeros(1600, np.float32), np.random.default_rng(0)
    with pytest.raises(AvlocError, match="unknown kind of sound forgery 'x', there are: vocoder"):
        forge_sound(samples, Segment(0, 0.1), "x", random)
    with pytest.raises(AvlocError, match="the window 0–0.2 s is not within 0.1 s"):
        forge_sound(samples, Segment(0, 0.2), "gain", random)
    with pytest.raises(AvlocError, match="is a forgery already"):
        forge_features(example(0, audio_segments=(Segment(0, 1),)), example(1), random)
    with pytest.raises(AvlocError, match="unknown kind of feature forgery 'x'"):
        forge_features(example(0), example(1), random, kind="x")
    with pytest.raises(AvlocError, match="have no modality in common"):
        forge_features(example(0, sound=False), drop_modality(example(1), "visual"), random)
    with pytest.raises(AvlocError, match="is not within"):
        forge_mouth(np.zeros((5, 8, 8, 3), np.uint8), Segment(0, 1), np.zeros((5, 2)), 4, random)


def test_a_dataset_of_real_clips_can_train(tiny_set, tiny_store):
    records = [replace(r, audio_segments=(), visual_segments=()) for r in read_records("lavdf", tiny_set)]
    store = FeatureStore(tiny_store)
    dataset = FeatureDataset(records, store, ["logspec", "residual_grid"], hop_s=0.04, pseudo_forgeries=0.7)
    kinds = [dataset[SampleIndex(k, 10 * seed + k)].record.modality for k in range(9) for seed in range(5)]
    assert set(kinds) == {"real", "audio", "visual", "both"}
    assert 0.4 < np.mean([kind != "real" for kind in kinds]) < 0.95
    first, again = dataset[SampleIndex(3, 1)], dataset[SampleIndex(3, 1)]
    assert first.record == again.record  # the same for a seed
    np.testing.assert_array_equal(first.streams[0], again.streams[0])
