from __future__ import annotations

import itertools

import numpy as np
import pytest

from avloc.errors import AvlocError


def test_words_lie_where_it_is_loud_and_on_no_grid(babble):
    from composing.phrases import STEP, find_words

    samples, spans = babble(seed=1)
    words = find_words(samples, np.random.default_rng(0))
    assert len(words) > len(spans) / 3  # short pauses do not always part words
    for word, edges in zip(np.transpose(words), np.transpose(spans), strict=True):
        assert np.abs(word[:, None] - edges).min(axis=1).max() <= 2.5 * STEP
    assert all(a[1] <= b[0] for a, b in itertools.pairwise(words))
    assert len({begin % STEP for begin, _ in words}) > len(words) / 3
    assert find_words(np.zeros(200, np.float32), np.random.default_rng(0)) == []


def test_phrases_are_rows_of_words_of_one_recording(speech):
    from composing.phrases import LONGEST_PHRASE_S, MARGIN_SAMPLES

    words = {word for spans in speech.words for word in spans}
    assert words <= set(speech.phrases)
    assert max(phrase.length for phrase in speech.phrases) <= LONGEST_PHRASE_S * 16000
    phrase = next(p for p in speech.phrases if p not in words)
    assert {phrase.begin, phrase.end} <= {end for w in speech.words[phrase.recording] for end in (w.begin, w.end)}
    samples = speech.samples(phrase, MARGIN_SAMPLES)
    assert len(samples) == phrase.length + 2 * MARGIN_SAMPLES
    np.testing.assert_array_equal(samples[MARGIN_SAMPLES:-MARGIN_SAMPLES], speech.samples(phrase))


def test_recordings_are_equally_loud(speech):
    from composing.phrases import WORD_RMS

    for spans in speech.words:
        loud = np.concatenate([speech.samples(word) for word in spans])
        assert np.sqrt(np.mean(loud**2)) == pytest.approx(WORD_RMS, rel=0.05)


def test_a_phrase_of_about_a_length_from_other_recordings(speech):
    rng = np.random.default_rng(0)
    for seconds in (0.15, 0.5, 1.4):
        phrases = [speech.choose_phrase(rng, seconds, without=(0, 2)) for _ in range(20)]
        assert not {phrase.recording for phrase in phrases} & {0, 2}
        assert np.median([phrase.length / 16000 for phrase in phrases]) == pytest.approx(seconds, rel=0.25)


@pytest.mark.parametrize("highest_hz", [3400, 6000])
def test_bandwidth(highest_hz):
    from composing.phrases import find_bandwidth_hz
    from scipy.signal import firwin, lfilter

    noise = np.random.default_rng(0).normal(0, 0.1, 64000)
    filtered = lfilter(firwin(801, highest_hz, fs=16000, window=("kaiser", 9.0)), 1, noise).astype(np.float32)
    assert find_bandwidth_hz([filtered]) == pytest.approx(highest_hz, abs=350)
    assert find_bandwidth_hz([noise.astype(np.float32)]) >= 8000


def test_too_few_words(babble):
    from composing.phrases import find_speech

    with pytest.raises(AvlocError, match=r"anna: want at least 30 words, got \d"):
        find_speech("anna", [babble(seed=1)[0][:40000]])


def test_speech_is_read_from_materials(tmp_path, babble):
    import materials
    from composing.phrases import load_speech

    recordings = [babble(seed=k)[0] for k in range(6)]
    materials._save(tmp_path / "anna.npz", recordings)
    speech = load_speech(tmp_path, "anna")
    assert (speech.speaker, len(speech.recordings)) == ("anna", 6)
    load_speech.cache_clear()
