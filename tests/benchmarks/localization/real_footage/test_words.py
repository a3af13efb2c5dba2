from __future__ import annotations

import sys
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest


def bursts(spans_s, seconds, level=1e-4):
    samples = np.random.default_rng(0).normal(0, 1, round(16000 * seconds)).astype(np.float32)
    gain = np.full(len(samples), level, np.float32)
    for start_s, end_s in spans_s:
        gain[round(16000 * start_s) : round(16000 * end_s)] = 0.1
    return samples * gain


def test_words_lie_between_quiet_points():
    from real_footage.words import quiet_points

    spans_s = [(0.3, 0.6), (0.75, 1.2), (1.23, 1.5)]
    found = quiet_points(bursts(spans_s, 2.0))
    assert [(word.start / 16000, word.end / 16000) for word in found] == [
        pytest.approx(span, abs=0.011) for span in spans_s
    ]
    assert found[0].duration_s == pytest.approx(0.3, abs=0.011)


@pytest.mark.parametrize("seconds", [0, 0.005, 0.1, 2.0])
def test_silence_and_short_recordings_hold_no_word(seconds):
    from real_footage.words import quiet_points

    assert quiet_points(np.zeros(round(16000 * seconds), np.float32)) == []


class Decoder:
    """A decoder that hears two words and a breath."""

    segments = (("<s>", 0, 9), ("blue(2)", 10, 39), ("[BREATH]", 40, 44), ("<sil>", 45, 49), ("now", 50, 99))

    def __init__(self, samprate, loglevel):
        self.samprate, self.calls = samprate, []

    def start_utt(self):
        self.calls.append("start")

    def process_raw(self, pcm, full_utt):
        self.calls.append(np.frombuffer(pcm, "<i2"))

    def end_utt(self):
        self.calls.append("end")

    def seg(self):
        return [SimpleNamespace(word=w, start_frame=a, end_frame=b) for w, a, b in self.segments]


def test_words_of_the_recognizer(monkeypatch):
    from real_footage.words import PocketSphinx, finder_name, load_word_finder

    module = ModuleType("pocketsphinx")
    module.Decoder = Decoder
    monkeypatch.setitem(sys.modules, "pocketsphinx", module)
    finder = load_word_finder("en")
    assert isinstance(finder, PocketSphinx)
    assert finder_name(finder) == "PocketSphinx"
    samples = np.full(15_900, 2.0, np.float32)
    assert finder(samples) == [(1600, 6400), (8000, 15_900)]  # the last word ends with the recording
    start, pcm, end = finder.decoder.calls
    assert (start, end, finder.decoder.samprate) == ("start", "end", 16000)
    assert set(pcm) == {32767}
    finder.decoder.segments = (("oh", 2000, 2009),)
    assert finder(samples) == []


def test_quiet_points_stand_in_for_the_recognizer(monkeypatch):
    from real_footage.words import load_word_finder, quiet_points

    monkeypatch.setitem(sys.modules, "pocketsphinx", None)
    lines = []
    assert load_word_finder("de", lines.append) is quiet_points
    assert lines == []
    assert load_word_finder("en", lines.append) is quiet_points
    assert lines == ["pocketsphinx is not installed: words are cut at quiet points"]
