from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from avloc.core.records import VideoRecord
from avloc.core.timeline import Segment, TimeGrid
from avloc.datasets.examples.example import make_example
from avloc.datasets.examples.pseudo_forgeries import (
    AUDIO_KINDS,
    FEATURE_KINDS,
    draw_window,
    drop_modality,
    forge_audio,
    forge_features,
    forge_mouth,
)
from avloc.errors import AvlocError
from avloc.feature_extraction.extractors.base import Features


def example(seed, steps=50, sound=True, **segments):
    random = np.random.default_rng(seed)
    audio_steps = steps if sound else 0
    audio = Features(random.normal(size=(audio_steps, 3)).astype(np.float32), TimeGrid(0, 0.04, audio_steps))
    visual = Features(random.normal(size=(steps, 5)).astype(np.float32), TimeGrid(0, 0.04, steps))
    return make_example(VideoRecord(f"{seed}", "t", **segments), {"audio": [audio], "visual": [visual]}, 0.04)


def native_example(seed, start_s=0.013, rows=200):
    """An example at the rate of its streams."""
    random = np.random.default_rng(seed)
    audio = Features(random.normal(size=(rows, 3)).astype(np.float32), TimeGrid(start_s, 0.01, rows))
    visual = Features(random.normal(size=(50, 5)).astype(np.float32), TimeGrid(0, 0.04, 50))
    return make_example(VideoRecord(f"{seed}", "t"), {"audio": [audio], "visual": [visual]}, 0.04, native_rate=True)


@pytest.mark.parametrize("kind", AUDIO_KINDS)
def test_audio_changes_within_the_window_only(kind):
    random = np.random.default_rng(0)
    samples = (0.3 * np.sin(np.arange(32000) * 0.1) * random.uniform(0.5, 1, 32000)).astype(np.float32)
    window = Segment(0.5, 0.82)
    changed = forge_audio(samples, window, kind, random)
    np.testing.assert_array_equal(changed[:8000], samples[:8000])
    np.testing.assert_array_equal(changed[13120:], samples[13120:])
    inner = np.abs(changed[8100:13000] - samples[8100:13000])
    assert np.median(inner) > 1e-3
    assert np.abs(changed).max() <= 1
    assert abs(float(changed[8000] - samples[8000])) < 1e-6  # the cross-fade begins inside


def test_windows_lie_within_the_clip_on_the_grid():
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


def test_windows_are_no_shorter_than_a_tenth_of_a_second_on_any_grid():
    """0.1 s are 2.5 steps of 40 ms, so the shortest window has 3."""
    random = np.random.default_rng(3)
    lengths = {round(draw_window(0.2, random, step_s=0.04).duration_s, 6) for _ in range(100)}
    assert lengths == {0.12, 0.16, 0.2}
    with pytest.raises(AvlocError, match="a clip of 0.11 s has no room for a window of 0.1 s"):
        draw_window(0.11, random, step_s=0.04)


def test_mouths_change_within_the_window_only():
    random = np.random.default_rng(2)
    frames = random.integers(0, 255, (30, 48, 64, 3)).astype(np.uint8)
    mouths = np.tile([32.0, 30.0], (30, 1))
    changed = forge_mouth(frames, Segment(0.4, 0.8), mouths, 16, random)
    np.testing.assert_array_equal(changed[:10], frames[:10])
    np.testing.assert_array_equal(changed[20:], frames[20:])
    is_changed = (changed[10:20] != frames[10:20]).any(axis=(0, 3))
    assert is_changed[22:38, 24:40].any()
    is_changed[22:38, 24:40] = False
    assert not is_changed.any()


@pytest.mark.parametrize("kind", FEATURE_KINDS)
@pytest.mark.parametrize("seed", range(6))
def test_features_change_where_the_label_says(kind, seed):
    real, other = example(0), example(1, steps=37)
    forged = forge_features(real, other, np.random.default_rng(seed), kind=kind)
    labels = (forged.record.audio_segments, forged.record.visual_segments)
    assert any(labels)
    for segments, real_stream, forged_stream in zip(labels, real.streams, forged.streams, strict=True):
        changed = np.flatnonzero((real_stream != forged_stream).any(axis=1))
        if not segments:
            assert not len(changed)
            continue
        (window,) = segments
        assert changed.tolist() == list(range(round(window.start_s / 0.04), round(window.end_s / 0.04)))
    if kind == "splice" and labels[0]:
        rows = forged.streams[0][round(labels[0][0].start_s / 0.04)]
        assert (other.streams[0] == rows).all(axis=1).any()
    assert forged.grid == real.grid


def test_a_missing_modality_is_not_forged():
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


def test_clips_that_do_not_fit_give_no_forgery():
    """Real sets have a clip without sound, and one of a frame; the loader then tries another."""
    random = np.random.default_rng(0)
    assert forge_features(example(0, sound=False), drop_modality(example(1), "visual"), random) is None
    assert forge_features(example(0), example(1, steps=1), random) is None
    assert forge_features(example(0, steps=1), example(1), random) is None
    assert forge_features(example(0, steps=2), example(1), random) is None
    assert forge_features(example(0, steps=3), example(1), random).record.segments[0].duration_s == pytest.approx(0.12)


def test_errors():
    samples, random = np.zeros(1600, np.float32), np.random.default_rng(0)
    with pytest.raises(AvlocError, match="unknown kind of audio forgery 'x', there are: vocoder"):
        forge_audio(samples, Segment(0, 0.1), "x", random)
    with pytest.raises(AvlocError, match="the window 0–0.2 s is not within 0.1 s"):
        forge_audio(samples, Segment(0, 0.2), "gain", random)
    with pytest.raises(AvlocError, match="is already a forgery"):
        forge_features(example(0, audio_segments=(Segment(0, 1),)), example(1), random)
    with pytest.raises(AvlocError, match="unknown kind of feature forgery 'x'"):
        forge_features(example(0), example(1), random, kind="x")
    with pytest.raises(AvlocError, match="is not within"):
        forge_mouth(np.zeros((5, 8, 8, 3), np.uint8), Segment(0, 1), np.zeros((5, 2)), 4, random)


@pytest.mark.parametrize("kind", FEATURE_KINDS)
@pytest.mark.parametrize("seed", range(4))
def test_rows_change_where_the_label_says(kind, seed):
    real, other = native_example(0), native_example(1, start_s=0.006)
    forged = forge_features(real, other, np.random.default_rng(seed), kind=kind)
    labels = (forged.record.audio_segments, forged.record.visual_segments)
    for k, segments in enumerate(labels):
        changed = np.flatnonzero((real.streams[k] != forged.streams[k]).any(axis=1))
        assert bool(len(changed)) == bool(segments)
        if segments:
            times_s, hop_s = real.rows[k].grid.centers_s()[changed], real.rows[k].grid.hop_s
            assert times_s.min() - segments[0].start_s == pytest.approx(0, abs=1.5 * hop_s)
            assert segments[0].end_s - times_s.max() == pytest.approx(0, abs=1.5 * hop_s)
    silent = drop_modality(real, "audio")
    assert not silent.rows[0].present.any()
    assert silent.rows[1].present.sum() == 50


def sounding(value, pixels=250):
    """Two seconds of constant samples and pixels."""
    audio = Features(np.full((200, 160), value, np.int16), TimeGrid(0, 0.01, 200))
    visual = Features(np.full((50, 9), pixels, np.uint8), TimeGrid(0, 0.04, 50))
    return make_example(VideoRecord("x", "t"), {"audio": [audio], "visual": [visual]}, 0.04, native_rate=True)


@pytest.mark.parametrize("kind", FEATURE_KINDS)
def test_forged_samples_do_not_overflow(kind):
    """Loud samples: their sum does not fit into 16 bits."""
    for seed in range(6):
        forged = forge_features(sounding(30000), sounding(20000), np.random.default_rng(seed), kind=kind)
        target = {"splice": 20000, "mix": 25000, "mask": 30000}[kind]
        assert forged.streams[0].dtype == np.int16
        assert forged.streams[0].min() == (target if forged.record.audio_segments else 30000)
        assert forged.streams[0].max() == 30000
        assert set(np.unique(forged.streams[1])) == {250}


def test_a_splice_of_samples_fades_within_its_label():
    for seed in range(12):
        forged = forge_features(sounding(30000), sounding(-20000), np.random.default_rng(seed), kind="splice")
        samples = forged.streams[0].reshape(-1).astype(int)
        if not forged.record.audio_segments:
            assert (samples == 30000).all()
            continue
        (window,) = forged.record.audio_segments
        begin, end = (round(t * 16000) for t in window)
        assert (samples[:begin] == 30000).all()
        assert (samples[end:] == 30000).all()
        assert (samples[begin + 80 : end - 80] == -20000).all()
        np.testing.assert_allclose(samples[begin : begin + 80], 30000 - 50000 * np.arange(80) / 80, atol=1)
        assert np.abs(np.diff(samples)).max() <= 50000 / 80 + 1  # no click


def test_samples_get_kinds_of_their_own_too():
    random = np.random.default_rng(1)
    real, other = sounding(0), sounding(0)
    noise = (3000 * random.normal(size=(200, 160))).clip(-32768, 32767).astype(np.int16)
    real = replace(real, streams=(noise, real.streams[1]))
    inner = []
    for seed in range(60):
        forged = forge_features(real, other, np.random.default_rng(seed), kinds=("mask",))
        segments = forged.record.audio_segments
        if segments:
            begin, end = (round(t * 16000) for t in segments[0])
            changed = np.flatnonzero(forged.streams[0].reshape(-1) != noise.reshape(-1))
            assert begin <= changed.min() <= changed.max() < end
            inner.append(float(np.abs(forged.streams[0].reshape(-1)[begin + 100 : end - 100].astype(float)).mean()))
    assert min(inner) < 40  # masked
    assert np.mean(np.array(inner) > 500) > 0.3  # a gain, a codec, another pitch, a vocoder


def test_kinds_are_those_of_the_list():
    for seed in range(9):
        forged = forge_features(example(0), example(1), np.random.default_rng(seed), kinds=("mask",))
        for stream, real in zip(forged.streams, example(0).streams, strict=True):
            changed = stream[(stream != real).any(axis=1)]
            np.testing.assert_allclose(changed, np.broadcast_to(real.mean(axis=0), changed.shape), rtol=1e-5)


@pytest.mark.parametrize("kind", FEATURE_KINDS)
def test_forged_sound_has_neither_clicks_nor_a_tone_of_its_rows(kind):
    """Two slow tones: no step between neighbouring samples is larger than theirs and a fade's, and a masked window is silent."""

    def tone(hertz, seed):
        samples = 8000 * np.sin(2 * np.pi * hertz * np.arange(200 * 160) / 16000 + seed)
        audio = Features(samples.astype(np.int16).reshape(-1, 160), TimeGrid(0, 0.01, 200))
        visual = Features(np.zeros((0, 9), np.uint8), TimeGrid(0, 0.04, 0))
        record = VideoRecord("x", "t")
        return make_example(record, {"audio": [audio], "visual": [visual]}, 0.04, native_rate=True)

    for seed in range(4):
        real, other = tone(110, 0.5), tone(170, 2.0)
        forged = forge_features(real, other, np.random.default_rng(seed), kind=kind)
        before, after = (x.streams[0].ravel().astype(int) for x in (real, forged))
        assert np.abs(np.diff(after)).max() < 8000 * 2 * np.pi * 170 / 16000 + 2 * 8000 / 80 + 2
        (segment,) = forged.record.audio_segments
        first, end = round(segment.start_s * 16000), round(segment.end_s * 16000)
        changed = np.flatnonzero(before != after)
        assert first <= changed[0] < first + 20
        assert end - 20 <= changed[-1] < end
        if kind == "mask":
            assert np.ptp(after[first + 80 : end - 80]) == 0
