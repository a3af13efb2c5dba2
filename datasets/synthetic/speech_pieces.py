"""Recorded speech > word-like pieces > new utterances.

Recordings are cut at their quiet points into pieces of 0.16 to 0.6 s; an utterance is a row of pieces of one voice, each
joined to the next by a short cross-fade, with or without a pause. Every utterance is made this way, forged or not, so
that a splice says nothing. Pieces keep a margin of the recording on both sides, which the cross-fades use up.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import numpy as np
import numpy.typing as npt

from avloc.core.timeline import DEFAULT_SAMPLE_RATE
from avloc.errors import AvlocError, MediaError
from avloc.feature_extraction.media.decode import decode

Samples = npt.NDArray[np.float32]

BUNDLED_SPEECH = Path(__file__).parent / "speech"
GRID_S = 0.02
"""Labels lie on this grid, as AV-Deepfake1M's do, so pieces and pauses are whole multiples of it."""
GRID_SAMPLES = round(GRID_S * DEFAULT_SAMPLE_RATE)
MARGIN_SAMPLES = DEFAULT_SAMPLE_RATE // 10
FADE_SAMPLES = DEFAULT_SAMPLE_RATE // 100
SHORTEST_S, LONGEST_S = 0.16, 0.6
# A piece whose loudest moment lies this far under the recording's is a pause, not a word.
SILENCE_DB = 24.0
WORD_RMS = 0.08
AUDIO_SUFFIXES = {".g722", ".wav", ".flac", ".mp3", ".ogg", ".opus", ".m4a", ".aac", ".mp4", ".webm", ".sln16"}


@dataclass(frozen=True, slots=True)
class Piece:
    """A word-like piece: `samples` with `MARGIN_SAMPLES` of context at each end; the piece is what lies between."""

    speaker: str
    samples: Samples

    @property
    def length(self) -> int:
        """Samples of the piece itself, a multiple of the label grid."""
        return len(self.samples) - 2 * MARGIN_SAMPLES


def load_speakers(folder: str | Path | None = None) -> dict[str, list[Samples]]:
    """Recordings by speaker, each (N,) float32 at 16 kHz.

    `folder` holds one sub-folder per speaker, or files only (then each file is a speaker of its own); None takes the
    bundled speech (see `speech/CREDITS.md`).

    Raises:
        AvlocError: if the folder is missing or holds no readable recording.
    """
    root = BUNDLED_SPEECH if folder is None else Path(folder)
    if not root.is_dir():
        raise AvlocError(f"{root}: no such folder of speech recordings")
    speakers: dict[str, list[Samples]] = {}
    for path in sorted(p for p in root.rglob("*") if p.suffix.lower() in AUDIO_SUFFIXES):
        speaker = path.relative_to(root).parts[0] if path.parent != root else path.stem
        try:
            samples = decode(path).samples
        except MediaError as error:
            raise AvlocError(f"a speech recording cannot be read: {error}") from error
        if samples is not None:
            speakers.setdefault(speaker, []).append(samples)
    if not speakers:
        raise AvlocError(f"{root}: no speech recordings ({', '.join(sorted(AUDIO_SUFFIXES))}) in it")
    return speakers


def cut(samples: Samples, speaker: str, *, shortest_s: float = SHORTEST_S, longest_s: float = LONGEST_S) -> list[Piece]:
    """Cut a recording at its quiet points; pauses are left out.

    Every cut lies at the quietest 10 ms between `shortest_s` and `longest_s` after the one before it.
    """
    step = GRID_SAMPLES // 2
    if len(samples) < 2 * MARGIN_SAMPLES + GRID_SAMPLES:
        return []
    level = _level_db(samples, step)
    pieces: list[Piece] = []
    begin = MARGIN_SAMPLES // step
    while True:
        window = level[begin + round(shortest_s * 100) : begin + round(longest_s * 100)]
        if len(window) < 2:
            return pieces
        end = begin + round(shortest_s * 100) + int(np.argmin(window))
        first, last = _trim(level[begin:end], float(level.max()) - SILENCE_DB - 12)
        length = (last - first) * step // GRID_SAMPLES * GRID_SAMPLES
        start = (begin + first) * step
        stop = start + length + MARGIN_SAMPLES
        loud = level[begin:end].max() > level.max() - SILENCE_DB
        if loud and length >= shortest_s * DEFAULT_SAMPLE_RATE and stop <= len(samples):
            pieces.append(Piece(speaker, samples[start - MARGIN_SAMPLES : stop]))
        begin = end


def _level_db(samples: Samples, step: int) -> npt.NDArray[np.float64]:
    blocks = samples[: len(samples) // step * step].reshape(-1, step).astype(np.float64)
    power = np.convolve((blocks**2).mean(axis=1), np.ones(3) / 3, mode="same")
    return 10 * np.log10(power + 1e-10)


def _trim(level: npt.NDArray[np.float64], floor: float) -> tuple[int, int]:
    loud = np.flatnonzero(level > floor)
    return (int(loud[0]), int(loud[-1]) + 1) if len(loud) else (0, 0)


def change_rate(piece: Piece, rate: Fraction) -> Piece:
    """The piece spoken `rate` times as fast and as high: a further voice from one speaker."""
    from scipy.signal import resample_poly

    samples = resample_poly(piece.samples, rate.denominator, rate.numerator).astype(np.float32)
    length = (len(samples) - 2 * MARGIN_SAMPLES) // GRID_SAMPLES * GRID_SAMPLES
    first = (len(samples) - length) // 2 - MARGIN_SAMPLES
    return Piece(piece.speaker, samples[first : first + length + 2 * MARGIN_SAMPLES])


def to_level(samples: Samples, rms: float = WORD_RMS) -> Samples:
    """Scale a piece (margins included) so that its middle has the given root mean square."""
    inner = samples[MARGIN_SAMPLES:-MARGIN_SAMPLES] if len(samples) > 2 * MARGIN_SAMPLES else samples
    return (samples * (rms / max(1e-4, float(np.sqrt(np.mean(inner**2)))))).astype(np.float32)


def join(parts: Sequence[tuple[int, Samples]], length: int) -> Samples:
    """Lay pieces (start of the piece proper, samples with margins) on a line of `length` samples.

    Each fades in and out over `FADE_SAMPLES` centred on its boundary, so touching pieces cross-fade.
    """
    line = np.zeros(length + 2 * MARGIN_SAMPLES, dtype=np.float32)
    half = FADE_SAMPLES // 2
    ramp = np.linspace(0, 1, FADE_SAMPLES, dtype=np.float32)
    for start, samples in parts:
        body = samples[MARGIN_SAMPLES - half : len(samples) - MARGIN_SAMPLES + half].copy()
        body[:FADE_SAMPLES] *= ramp
        body[-FADE_SAMPLES:] *= ramp[::-1]
        first = start + MARGIN_SAMPLES - half
        line[first : first + len(body)] += body
    return line[MARGIN_SAMPLES:-MARGIN_SAMPLES]
