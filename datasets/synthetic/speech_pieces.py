"""Recorded speech > word-like pieces > new utterances.

Recordings are cut at their quiet points into pieces of 0.16 to 0.6 s; an utterance is a row of pieces of one voice, each
joined to the next by a short cross-fade, with or without a pause. Every utterance, forged or not, is composed this way, so
a splice gives nothing away. Pieces keep a margin of the recording on both sides, for the cross-fades.
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
STEP_SAMPLES = GRID_SAMPLES // 2
"""The resolution of the loudness curve, 10 ms."""
MARGIN_SAMPLES = DEFAULT_SAMPLE_RATE // 10
FADE_SAMPLES = DEFAULT_SAMPLE_RATE // 100
SHORTEST_S, LONGEST_S = 0.16, 0.6
# A piece whose loudest moment lies this far under the recording's is a pause, not a word.
SILENCE_DB = 24.0
TRIM_DB = 12.0  # pieces are trimmed to the moments above this far under silence
WORD_RMS = 0.08
AUDIO_SUFFIXES = {".g722", ".wav", ".flac", ".mp3", ".ogg", ".opus", ".m4a", ".aac", ".mp4", ".webm", ".sln16"}


@dataclass(frozen=True, slots=True)
class SpeechPiece:
    """A word-like piece of a recording.

    Attributes:
        speaker: the speaker's name.
        samples: (N,) float32 at 16 kHz: the piece between two margins of `MARGIN_SAMPLES` of the recording.

    >>> SpeechPiece("en", np.zeros(2 * MARGIN_SAMPLES + 8 * GRID_SAMPLES, dtype=np.float32)).length
    2560
    """

    speaker: str
    samples: Samples

    @property
    def length(self) -> int:
        """Samples without the margins, a multiple of the label grid."""
        return len(self.samples) - 2 * MARGIN_SAMPLES


def load_speakers(folder: str | Path | None = None) -> dict[str, list[Samples]]:
    """Decode recordings, grouped by speaker, each (N,) float32 at 16 kHz.

    Args:
        folder: one sub-folder per speaker, or files only: then each file is a speaker of its own. None takes the bundled
            speech (see `speech/CREDITS.md`).

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


def cut_pieces(
    samples: Samples, speaker: str, *, shortest_s: float = SHORTEST_S, longest_s: float = LONGEST_S
) -> list[SpeechPiece]:
    """Cut a recording at its quiet points; pauses are left out.

    Every cut lies at the quietest 10 ms between `shortest_s` and `longest_s` after the previous cut.

    Args:
        samples: (N,) at 16 kHz.
        speaker: the speaker's name.
        shortest_s: shortest piece in seconds.
        longest_s: longest piece in seconds.
    """
    if len(samples) < 2 * MARGIN_SAMPLES + GRID_SAMPLES:
        return []
    level = _level_db(samples)
    peak = level.max()
    pieces: list[SpeechPiece] = []
    begin = MARGIN_SAMPLES // STEP_SAMPLES
    while True:
        window = level[begin + round(shortest_s * 100) : begin + round(longest_s * 100)]
        if len(window) < 2:
            return pieces
        end = begin + round(shortest_s * 100) + int(np.argmin(window))
        first, last = _loud_range(level[begin:end], float(peak) - SILENCE_DB - TRIM_DB)
        length = (last - first) * STEP_SAMPLES // GRID_SAMPLES * GRID_SAMPLES
        start = (begin + first) * STEP_SAMPLES
        stop = start + length + MARGIN_SAMPLES
        is_word = level[begin:end].max() > peak - SILENCE_DB
        if is_word and length >= shortest_s * DEFAULT_SAMPLE_RATE and stop <= len(samples):
            pieces.append(SpeechPiece(speaker, samples[start - MARGIN_SAMPLES : stop]))
        begin = end


def _level_db(samples: Samples) -> npt.NDArray[np.float64]:
    """Return the loudness of every 10 ms in dB, smoothed over three."""
    blocks = samples[: len(samples) // STEP_SAMPLES * STEP_SAMPLES].reshape(-1, STEP_SAMPLES).astype(np.float64)
    power = np.convolve((blocks**2).mean(axis=1), np.ones(3) / 3, mode="same")
    return 10 * np.log10(power + 1e-10)


def _loud_range(level: npt.NDArray[np.float64], floor: float) -> tuple[int, int]:
    """Return the first and one past the last step above the floor; zeros if none is."""
    loud = np.flatnonzero(level > floor)
    return (int(loud[0]), int(loud[-1]) + 1) if len(loud) else (0, 0)


def change_rate(piece: SpeechPiece, rate: Fraction) -> SpeechPiece:
    """Return the piece spoken `rate` times as fast and as high: a further voice from one speaker."""
    from scipy.signal import resample_poly

    samples = resample_poly(piece.samples, rate.denominator, rate.numerator).astype(np.float32)
    length = (len(samples) - 2 * MARGIN_SAMPLES) // GRID_SAMPLES * GRID_SAMPLES
    first = (len(samples) - length) // 2 - MARGIN_SAMPLES
    return SpeechPiece(piece.speaker, samples[first : first + length + 2 * MARGIN_SAMPLES])


def scale_to_rms(samples: Samples, rms: float = WORD_RMS) -> Samples:
    """Scale a piece (margins included) so that its middle has the given root mean square."""
    inner = samples[MARGIN_SAMPLES:-MARGIN_SAMPLES] if len(samples) > 2 * MARGIN_SAMPLES else samples
    return (samples * (rms / max(1e-4, float(np.sqrt(np.mean(inner**2)))))).astype(np.float32)


def join_pieces(pieces: Sequence[tuple[int, Samples]], length: int) -> Samples:
    """Lay pieces on a line of `length` samples.

    Each piece fades in and out over `FADE_SAMPLES` centred on its boundary, so touching pieces cross-fade.

    Args:
        pieces: start without the margin, in samples; samples with margins.
        length: samples of the line.

    Returns:
        (length,) float32.
    """
    line = np.zeros(length + 2 * MARGIN_SAMPLES, dtype=np.float32)
    half = FADE_SAMPLES // 2
    ramp = np.linspace(0, 1, FADE_SAMPLES, dtype=np.float32)
    for start, samples in pieces:
        body = samples[MARGIN_SAMPLES - half : len(samples) - MARGIN_SAMPLES + half].copy()
        body[:FADE_SAMPLES] *= ramp
        body[-FADE_SAMPLES:] *= ramp[::-1]
        first = start + MARGIN_SAMPLES - half
        line[first : first + len(body)] += body
    return line[MARGIN_SAMPLES:-MARGIN_SAMPLES]
