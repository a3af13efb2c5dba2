from __future__ import annotations

import numpy as np
import pytest

from avloc.core.records import VideoRecord
from avloc.core.timeline import Segment, TimeGrid
from avloc.datasets.examples import revoicing
from avloc.datasets.examples.example import make_example
from avloc.datasets.examples.revoicing import Sound, Span, background_power, find_word, missing_background
from avloc.feature_extraction.extractors.base import Features

START_S = 0.0132  # of the sound on the clock


def speech(seed, count=48_000):
    """Noise in syllables of 0.3 s, each louder in its middle, over a quiet background."""
    random = np.random.default_rng(seed)
    syllables = np.sin(np.pi * (np.arange(count) % 4800) / 4800) ** 4
    return (random.normal(0, 0.1, count) * syllables + random.normal(0, 0.002, count)).astype(np.float32)


def clip(samples, *, whole=True, gaps=(), **segments):
    """A clip of samples and of pixels, or of features."""
    rows = np.rint(np.asarray(samples) * 32768).astype(np.int16).reshape(-1, 160)
    rows = rows if whole else rows.astype(np.float32)
    audio = Features(rows, TimeGrid(START_S, 0.01, len(rows)), gaps)
    visual = Features(np.full((len(rows) // 4, 25), 9, np.uint8), TimeGrid(0.0, 0.04, len(rows) // 4))
    record = VideoRecord("a.mp4", "train", **segments)
    return make_example(record, {"audio": [audio], "visual": [visual]}, 0.04, native_rate=True)


def revoice_words(example, other, random, **options):
    return revoicing.revoice_words(example, lambda: other, random, **options)


def sample_times(example):
    return example.rows[0].grid.start_s + np.arange(example.streams[0].size) / 16_000


def test_only_the_labelled_words_change():
    forged = {"audio_segments": (Segment(0.5, 0.7),), "visual_segments": (Segment(1.9, 2.3),)}
    example, other = clip(speech(1), **forged), clip(speech(2))
    counts = set()
    made = [revoice_words(example, other, np.random.default_rng(seed)) for seed in range(40)]
    assert sum(each is None for each in made) < 8  # no place was found
    for changed in filter(None, made):
        assert changed.record.visual_segments == example.record.visual_segments
        words = [segment for segment in changed.record.audio_segments if segment not in example.record.audio_segments]
        counts.add(len(words))
        assert changed.record.audio_segments == tuple(sorted([*words, Segment(0.5, 0.7)]))
        times, inside = sample_times(example), np.zeros(example.streams[0].size, bool)
        for start_s, end_s in words:
            assert 0.1 - 1e-6 <= end_s - start_s < 1.7
            assert not any(start_s < b + 0.05 and a - 0.05 < end_s for a, b in example.record.segments)
            inside |= (times >= start_s - 1e-6) & (times < end_s - 1e-6)
        differs = (changed.streams[0] != example.streams[0]).reshape(-1)
        assert not differs[~inside].any()
        assert differs[inside].mean() > 0.5
        np.testing.assert_array_equal(changed.streams[1], example.streams[1])
    assert counts == {1, 2, 3}


def test_words_lie_anywhere_between_steps_and_samples_of_features():
    example, other = clip(speech(1)), clip(speech(2))
    starts = [
        revoice_words(example, other, np.random.default_rng(seed)).record.audio_segments[0].start_s
        for seed in range(30)
    ]
    phases = np.array(starts) / 0.04 % 1
    assert np.histogram(phases, 4, (0, 1))[0].min() > 2


def test_the_same_source_gives_the_same_words():
    example, other = clip(speech(1)), clip(speech(2))
    first, again = (revoice_words(example, other, np.random.default_rng(3)) for _ in range(2))
    assert first.record == again.record
    np.testing.assert_array_equal(first.streams[0], again.streams[0])


def test_words_lie_beside_gaps():
    example, other = clip(speech(1), gaps=((100, 130),)), clip(speech(2))
    gap = Segment(START_S + 1.0, START_S + 1.3)
    inner = next(span for span in Sound.of(example).gaps if span.begin > 8000)
    assert inner == pytest.approx([round((t - sample_times(example)[0]) * 16_000) for t in gap], abs=160)
    words = []
    for seed in range(40):
        changed = revoice_words(example, other, np.random.default_rng(seed))
        if changed is not None:
            words += changed.record.audio_segments
            assert not changed.streams[0][~changed.rows[0].present].any()
    assert len(words) > 20
    assert not any(start_s < gap.end_s + 0.02 and gap.start_s - 0.02 < end_s for start_s, end_s in words)


def test_a_silent_end_changes_neither_the_background_nor_the_loudness():
    whole = clip(speech(1))
    longer = clip(np.concatenate([speech(1), np.zeros(16_000)]), gaps=((300, 400),))
    a, b = Sound.of(whole), Sound.of(longer)
    assert b.power == pytest.approx(a.power, rel=0.03)
    np.testing.assert_allclose(b.background, a.background, rtol=0.5)
    assert np.sqrt(b.background.mean()) == pytest.approx(np.sqrt(a.background.mean()), rel=0.05)


def test_clips_without_words_stay_as_they_are():
    other = clip(speech(2))
    for example in (
        clip(np.zeros(16_000)),
        clip(speech(1), whole=False),
        clip(speech(1, 1280)),
        clip(speech(1), audio_segments=(Segment(0.0, 3.1),)),
    ):
        assert revoice_words(example, other, np.random.default_rng(0)) is None


def test_another_voice_is_genuine_speech_of_the_other_clip(monkeypatch):
    monkeypatch.setattr(revoicing, "available_methods", tuple)
    example, other = clip(speech(1)), clip(speech(2), audio_segments=(Segment(0.0, 1.5),))
    genuine = np.rint(speech(2) * 32768)[round((1.5 - START_S) * 16_000) :]
    for seed in range(5):
        changed = revoice_words(example, other, np.random.default_rng(seed))
        start_s, end_s = changed.record.audio_segments[0]
        first = round((start_s - sample_times(example)[0]) * 16_000) + 80  # past the cross-fade
        part = changed.streams[0].reshape(-1)[first : first + round((end_s - start_s) * 16_000) - 160].astype(float)
        found = np.correlate(genuine, part, "valid") / np.sqrt(
            (part**2).sum() * np.convolve(genuine**2, np.ones(len(part)), "valid")
        )
        assert found.max() > 0.9
    silent = clip(np.zeros(48_000))
    assert revoice_words(example, silent, np.random.default_rng(0)) is None
    assert revoice_words(example, clip(speech(2), whole=False), np.random.default_rng(0)) is None
    assert revoice_words(example, None, np.random.default_rng(0)) is None


def test_other_voices_are_not_drawn_beside_hard_negatives(monkeypatch):
    example = clip(speech(1))
    monkeypatch.setattr(revoicing, "available_methods", lambda: ("source-filter",))
    for seed in range(10):
        revoicing.revoice_words(
            example, lambda: pytest.fail("another clip is read"), np.random.default_rng(seed), other_voices=False
        )


def test_a_word_is_cut_at_quiet_places():
    sound = Sound.of(clip(speech(5)))
    first = round(START_S * 16_000 - 160)  # sample of the first syllable's beginning, whose rows begin with the clock
    for seed in range(20):
        word = find_word(sound, [], np.random.default_rng(seed))
        assert word.end - word.begin >= 1600
        for cut in word:
            # Cuts move by up to 60 ms of the 150 from a syllable's middle to its end.
            assert abs((cut - first) % 4800 - 2400) > 2400 * 0.35
    taken = [Span(0, 24_000), Span(24_800, 49_000)]
    assert find_word(sound, taken, np.random.default_rng(0)) is None
    assert find_word(sound._replace(forged=taken), [], np.random.default_rng(0)) is None
    assert find_word(sound._replace(gaps=taken), [], np.random.default_rng(0)) is None
    assert find_word(sound._replace(samples=sound.samples[:100]), [], np.random.default_rng(0)) is None


def test_spans_overlap_with_a_margin():
    assert Span(3, 7).overlaps(Span(6, 9))
    assert not Span(3, 7).overlaps(Span(7, 9))
    assert Span(3, 7).overlaps(Span(8, 9), margin=2)
    assert not Span(8, 9).overlaps(Span(3, 7), margin=1)


def test_a_word_gets_the_background_that_it_lacks():
    random = np.random.default_rng(4)
    background = random.normal(0, 0.02, 64_000).astype(np.float32)
    power = background_power(background)
    clean = missing_background(np.zeros(8000, np.float32), power, random)
    assert np.sqrt((clean**2).mean()) == pytest.approx(0.02, rel=0.05)
    has = missing_background(background[:8000], power, random)
    assert np.sqrt((has**2).mean()) < 0.01
    assert not missing_background(background[:8000], np.zeros(257), random).any()
    assert background_power(np.zeros(0, np.float32)).tolist() == [0.0] * 257
