from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from functools import partial

import numpy as np
import pytest

from avloc.feature_extraction.media.decode import decode
from avloc.feature_extraction.media.probe import probe
from avloc.feature_extraction.media.types import VideoFormat

FPS = (Fraction(25), Fraction(30000, 1001), Fraction(30))


@pytest.fixture
def recording():
    """Conditions without room and codec, nearly without noise."""
    from composing.acoustics import Recording

    drawn = Recording.draw(np.random.default_rng(0))
    return replace(drawn, fps=FPS[1], video_start_s=0.017, reverberation_s=0.0, snr_db=60.0, codec="", gain_db=0.0)


@pytest.fixture
def timeline():
    """Four seconds of noise with three edits: sound, both, and a genuine one."""
    from composing.utterances import Edit, Timeline

    samples = np.random.default_rng(0).normal(0, 0.08, 64007).astype(np.float32)
    edits = [Edit("replace", True, False), Edit("replace", True, True), Edit("insert", False, False)]
    spans = [(8001, 12345), (30011, 36013), (20003, 22222)]
    return Timeline(samples, samples.copy(), [(1000, 4000), *spans], edits, spans)


def forgers(**changes):
    from composing.rendering import Forgers

    def paint(frames, mouths, forged, side, strength):
        frames[forged] = 0

    return Forgers(**{"revoice": np.negative, "repaint": paint, "longest_s": 1.5, "bandwidth_hz": 8000.0} | changes)


def test_sound_is_forged_from_sample_to_sample(timeline):
    from composing.rendering import label, revoice

    forged = revoice(timeline, forgers())
    expected = timeline.samples.copy()
    for begin, end in timeline.spans[:2]:
        expected[begin:end] *= -1
    is_edge = np.zeros(len(expected), dtype=bool)
    for edge in np.ravel(timeline.spans[:2]):
        is_edge[edge - 80 : edge + 80] = True
    np.testing.assert_array_equal(forged[~is_edge], expected[~is_edge])
    audio = label(timeline, _cut(timeline)).audio
    np.testing.assert_allclose(np.array(audio) * 16000, timeline.spans[:2], atol=0.01)


def _cut(timeline, seed=0, **changes):
    from composing.acoustics import Recording
    from composing.rendering import cut_frames

    recording = Recording.draw(np.random.default_rng(0))
    return cut_frames(np.random.default_rng(seed), timeline, replace(recording, **changes))


def test_long_phrases_are_forged_in_parts_and_bands_are_kept(timeline):
    from composing.rendering import MARGIN_SAMPLES, low_pass, revoice

    lengths = []

    def count(samples):
        lengths.append(len(samples) - 2 * MARGIN_SAMPLES)
        return samples

    np.testing.assert_allclose(revoice(timeline, forgers(revoice=count, longest_s=0.1)), timeline.samples, atol=1e-7)
    assert lengths == [1448] * 3 + [1500, 1501, 1500, 1501]
    noise = np.random.default_rng(0).normal(0, 0.1, 8000).astype(np.float32)
    power = np.abs(np.fft.rfft(low_pass(noise, 3000.0))) ** 2
    assert power[1605:].max() < 1e-6 * power[:1500].mean()


@pytest.mark.parametrize("fps", FPS)
def test_mouths_are_forged_in_whole_frames_near_the_word(timeline, fps):
    from composing.rendering import LONGEST_LAG_S, label

    lags = []
    for seed in range(20):
        cut = _cut(timeline, seed, fps=fps, video_start_s=0.023)
        np.testing.assert_allclose(np.diff(cut.edges_s), float(1 / fps))
        assert cut.edges_s[0] == 0.023
        assert 0 <= 64007 / 16000 - cut.edges_s[-1] < float(1 / fps)
        [visual] = label(timeline, cut).visual
        frames = (np.array(visual) - 0.023) * float(fps)
        np.testing.assert_allclose(frames, np.rint(frames), atol=1e-3)
        lags += (np.array(visual) - np.array(timeline.spans[1]) / 16000).tolist()
    assert max(map(abs, lags)) <= LONGEST_LAG_S + 0.5 / float(fps)
    assert np.std(lags) > 0.02


def test_forged_mouths_never_touch(timeline):
    from composing.utterances import Edit

    close = replace(
        timeline, edits=[Edit("replace", True, True)] * 3, spans=[(8000, 9700), (9800, 11500), (11600, 13300)]
    )
    for seed in range(20):
        forged = _cut(close, seed).forged
        assert (forged[1:, 0] > forged[:-1, 1]).all()
        assert (forged[:, 1] - forged[:, 0] >= 3).all()


def test_labels_fit_the_decoded_file(tmp_path, timeline, recording):
    """Blackened frames and inverted samples are found in the file where the labels say, on its own clock."""
    from composing.rendering import cut_frames, film, label, render

    path = tmp_path / "a.mp4"
    cut = cut_frames(np.random.default_rng(1), timeline, recording)
    quiet = replace(recording, audio_bit_rate=96_000)
    words = {"timeline": timeline, "cut": cut, "recording": quiet, "forgers": forgers()}
    render(np.random.default_rng(2), timeline, quiet, forgers(), partial(film, person=5, **words), path)
    labels = label(timeline, cut)
    info = probe(path)
    assert (info.frames, round(info.fps, 2)) == (labels.frames, 29.97)
    clip = decode(path, [VideoFormat(32, 32, "gray")], fps=float(recording.fps))
    assert clip.video_start_s == pytest.approx(0.017, abs=1e-3)
    [visual] = labels.visual
    dark = next(iter(clip.frames.values())).mean(axis=(1, 2)).ravel() < 20
    times = clip.video_start_s + np.arange(len(dark)) / float(recording.fps)
    np.testing.assert_array_equal(dark, (times > visual[0] - 0.01) & (times < visual[1] - 0.01))
    for begin, end in labels.audio:
        inside = slice(round(begin * 16000) + 80, round(end * 16000) - 80)
        assert np.vdot(clip.samples[inside], timeline.samples[inside]) < 0
        outside = slice(round(end * 16000) + 80, round(end * 16000) + 1080)
        assert np.vdot(clip.samples[outside], timeline.samples[outside]) > 0


def test_mouth_opens_where_it_is_loud():
    from composing.rendering import mouth_shapes

    loud = np.where(np.arange(16000) < 8000, 0.15, 0.001) * np.sin(np.arange(16000) * 0.1)
    opening, width = mouth_shapes(loud.astype(np.float32), 0.013 + np.arange(30) / 29.97)
    assert opening.shape == width.shape == (29,)
    assert opening[2:13].min() > 0.5
    assert opening[17:].max() < 0.1
    assert 0 <= min(opening.min(), width.min()) <= max(opening.max(), width.max()) <= 1
