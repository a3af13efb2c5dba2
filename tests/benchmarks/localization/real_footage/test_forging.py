from __future__ import annotations

import itertools

import numpy as np
import pytest


@pytest.fixture
def clip(footage):
    from real_footage.clips import read_clip
    from real_footage.words import quiet_points

    return read_clip(footage / "people" / "a.mp4", quiet_points)


def negative(samples):
    return -samples


def gray(frames, mouths, forged, side, strength):
    """Paint a gray dot on the mouths to be forged."""
    for t in np.flatnonzero(forged):
        x, y = mouths[t].round().astype(int)
        frames[t, y - 2 : y + 3, x - 2 : x + 3] = round(100 + 10 * strength)


def test_words_are_drawn_apart_and_at_any_sample():
    from real_footage.clips import BOUNDARY_JITTER
    from real_footage.forging import choose_words
    from real_footage.words import Word

    words = [Word(4000 * k, 4000 * k + 3200) for k in range(1, 60)]
    rng = np.random.default_rng(0)
    for seconds, count in ((3, 1), (9.9, 1), (10, 2), (15.1, 3)):
        chosen = choose_words(words, round(16000 * seconds), rng)
        assert len(chosen) == count
        near = [min(range(len(words)), key=lambda k, w=word: abs(words[k].start - w.start)) for word in chosen]
        assert all(b - a > 1 for a, b in itertools.pairwise(near))
        shifts = np.array([[c.start - words[k].start, c.end - words[k].end] for c, k in zip(chosen, near, strict=True)])
        assert (np.abs(shifts) <= BOUNDARY_JITTER).all()
    starts = {choose_words(words, 16000, rng)[0].start % 160 for _ in range(60)}
    assert len(starts) > 20
    assert len(choose_words(words[:2], 16000 * 60, rng)) == 1


def test_sound_changes_within_the_word_only(clip):
    from real_footage.forging import forge_sound
    from real_footage.words import Word

    heard = []

    def forger(samples):
        heard.append(samples.copy())
        return negative(samples)

    samples, word = clip.samples.copy(), Word(8123, 12_456)
    forge_sound(samples, word, forger, np.random.default_rng(0))
    assert heard[0].tolist() == clip.samples[8123 - 1600 : 12_456 + 1600].tolist()
    changed = np.flatnonzero(samples != clip.samples)
    assert changed[0] >= word.start
    assert changed[-1] < word.end
    inner = slice(word.start + 160, word.end - 160)
    assert samples[inner] == pytest.approx(-clip.samples[inner], abs=0.02)


def test_quiet_words_are_filled_with_the_noise_of_the_recording():
    from real_footage.forging import fill_noise, noise_power

    rng = np.random.default_rng(0)
    recording = rng.normal(0, 0.01, 48_000).astype(np.float32)
    recording[::2] = recording[1::2]  # low frequencies mostly
    recording[8000:24_000] += rng.normal(0, 0.3, 16_000).astype(np.float32)  # speech
    quiet = recording[30_000:]
    noise = noise_power(recording)
    filled = fill_noise(np.zeros(8000, np.float32), noise, rng)
    assert filled.std() == pytest.approx(quiet.std(), rel=0.15)
    assert np.diff(filled).std() / filled.std() == pytest.approx(np.diff(quiet).std() / quiet.std(), rel=0.1)
    loud = rng.normal(0, 0.3, 8000).astype(np.float32)
    assert fill_noise(loud, noise, rng) == pytest.approx(loud, abs=0.01)
    same = fill_noise(quiet, noise, rng)
    assert same.std() < 1.1 * quiet.std()


def test_a_span_gets_the_mouth_of_other_frames(clip):
    from real_footage.forging import forge_mouth
    from real_footage.words import Word

    frames = clip.frames.copy()
    marked = clip.frames.copy()
    for t in range(len(marked)):  # each frame's mouth gets a level of its own
        x, y = clip.mouths[t].round().astype(int)
        marked[t, y - 8 : y + 8, x - 8 : x + 8] = 3 * t + 20
    clip, frames = clip._replace(frames=marked), marked.copy()
    first, last = 12, 20
    seen = []

    def forger(frames, mouths, forged, side, strength):
        seen.append((np.flatnonzero(forged).tolist(), mouths is clip.mouths, side, 1.8 <= strength <= 3))
        gray(frames, mouths, forged, side, strength)

    plain = frames.copy()
    forge_mouth(clip, plain, Word(first * 640, last * 640), lambda *arguments: None, np.random.default_rng(1))
    forge_mouth(clip, frames, Word(first * 640, last * 640), forger, np.random.default_rng(1))
    assert seen == [([*range(first, last)], True, clip.side, True)]
    changed = (frames != marked).any(axis=3)
    assert np.flatnonzero(changed.any(axis=(1, 2))).tolist() == [*range(first, last)]
    levels = []
    for t in range(first, last):
        rows, columns = np.nonzero(changed[t])
        x, y = clip.mouths[t]
        assert np.abs(rows - y).max() <= clip.side / 2 + 1
        assert np.abs(columns - x).max() <= clip.side / 2 + 1
        levels.append(plain[t, round(y), round(x)].mean())
    donors = (np.array(levels) - 20) / 3
    assert np.diff(donors) == pytest.approx(1, abs=1.4)  # consecutive frames, in the colour around the mouth
    assert (np.abs(donors - np.arange(first, last)) > last - first - 3).all()
    assert (frames[first:last] != plain[first:last]).any()


def test_labels_of_each_kind(clip):
    from real_footage.forging import Methods, forge_clip

    forgers = Methods({"negative": negative}, {"gray": gray})
    audio = forge_clip(clip, {"audio": "negative"}, forgers, np.random.default_rng(2))
    visual = forge_clip(clip, {"visual": "gray"}, forgers, np.random.default_rng(2))
    both = forge_clip(clip, {"audio": "negative", "visual": "gray"}, forgers, np.random.default_rng(2))
    real = forge_clip(clip, {}, forgers, np.random.default_rng(2))
    assert (real.audio, real.visual, audio.visual, visual.audio) == ([], [], [], [])
    assert (audio.frames == clip.frames).all()
    assert (visual.samples == clip.samples).all()
    assert (real.frames == clip.frames).all()
    assert both.audio == both.visual == visual.visual
    [word], [span] = audio.audio, both.visual
    assert span.start % 640 == span.end % 640 == 0
    assert 0 <= word.start - span.start < 640
    assert 0 <= span.end - word.end < 640
    for forged, ends in ((audio, word), (both, span)):
        changed = np.flatnonzero(forged.samples != clip.samples)
        assert ends.start <= changed[0] < ends.start + 200  # a fade begins at 0
        assert ends.end - 200 < changed[-1] < ends.end
