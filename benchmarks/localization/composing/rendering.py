"""A timeline > forged words and mouths > a recording > an mp4 file with exact labels per modality.

Sound is forged from sample to sample. The picture is forged in whole frames, whose times are those of the file's clock. Where
both are forged, the mouth begins and ends up to some tens of milliseconds before or after the word.

Legend: N samples, T frames, S side of the picture in pixels.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from composing.acoustics import Recording
from composing.utterances import Timeline, seconds

from avloc.core.timeline import DEFAULT_SAMPLE_RATE
from avloc.datasets.synthetic import face, forge
from avloc.datasets.synthetic.encode import write_mp4
from avloc.datasets.synthetic.speech_pieces import FADE_SAMPLES, MARGIN_SAMPLES, WORD_RMS

Samples = npt.NDArray[np.float32]
Frames = npt.NDArray[np.uint8]
Positions = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]
Random = np.random.Generator
Spans = list[tuple[float, float]]

SIZE = 192  # S
MOUTH_SIDE = (0.27, 0.36)  # of a forged mouth region, as a share of S
STRENGTH = (1.8, 3.0)
MOUTH_LAG_S = 0.03  # standard deviation between the ends of a forged mouth and of its word
LONGEST_LAG_S = 0.08
FEWEST_FRAMES = 3  # of a forged mouth
EDGE_HZ = 200.0
BLENDED_SHARE = 0.15  # of the genuine words, whose mouth is blended in from another take


@dataclass(frozen=True, slots=True)
class Forgers:
    """The methods of a clip.

    Attributes:
        revoice: samples (N,) with margins of `MARGIN_SAMPLES` → (N,) of the same level.
        repaint: see `avloc.datasets.synthetic.generate.Style.repaint`.
        longest_s: a longer phrase is re-voiced in equal parts.
        bandwidth_hz: of the speaker's recordings; a method adds nothing above it.
    """

    revoice: Callable[[Samples], Samples]
    repaint: Callable[[Frames, Positions, Mask, int, float], None]
    longest_s: float
    bandwidth_hz: float


class Labels(NamedTuple):
    """Labels of a clip, in seconds on the file's clock.

    Attributes:
        audio: forged spans of the sound.
        visual: forged spans of the picture.
        splices: genuine edits.
        words: all words.
        frames: number of frames.
        samples: number of samples.
    """

    audio: Spans
    visual: Spans
    splices: Spans
    words: Spans
    frames: int
    samples: int


class Cut(NamedTuple):
    """The picture's frames in time.

    Attributes:
        edges_s: (T + 1,) the begin of each frame, and the end of the last one.
        forged: (E, 2) first frame and one past the last of each forged mouth.
    """

    edges_s: npt.NDArray[np.float64]
    forged: npt.NDArray[np.int64]


def cut_frames(rng: Random, timeline: Timeline, recording: Recording) -> Cut:
    """Find the frames of a clip and of each forged mouth; the same `rng` gives the same result."""
    length_s = len(timeline.samples) / DEFAULT_SAMPLE_RATE
    count = int((length_s - recording.video_start_s) * recording.fps)
    edges_s = np.array([recording.video_start_s + float(k / recording.fps) for k in range(count + 1)])
    forged: list[tuple[int, int]] = []
    in_order = sorted(zip(timeline.spans, timeline.edits, strict=True), key=lambda pair: pair[0])
    for (begin, end), edit in in_order:
        if not edit.visual:
            continue
        ends_s = np.array([begin, end]) / DEFAULT_SAMPLE_RATE
        if edit.audio:
            ends_s += np.clip(rng.normal(0, MOUTH_LAG_S, 2), -LONGEST_LAG_S, LONGEST_LAG_S)
        first, last = (np.abs(edges_s[:, None] - ends_s).argmin(axis=0)).tolist()
        earliest = forged[-1][1] + 1 if forged else 0
        first = max(earliest, min(first, count - FEWEST_FRAMES))
        forged.append((first, max(last, first + FEWEST_FRAMES)))
    return Cut(edges_s, np.array(forged, dtype=np.int64).reshape(-1, 2))


def label(timeline: Timeline, cut: Cut) -> Labels:
    """The labels of a clip."""
    pairs = list(zip(timeline.edits, timeline.spans, strict=True))
    frames_s = cut.edges_s[cut.forged].tolist()
    return Labels(
        audio=seconds(sorted(span for edit, span in pairs if edit.audio)),
        visual=sorted((round(begin, 6), round(end, 6)) for begin, end in frames_s),
        splices=seconds(sorted(span for edit, span in pairs if not (edit.audio or edit.visual))),
        words=seconds(timeline.words),
        frames=len(cut.edges_s) - 1,
        samples=len(timeline.samples),
    )


def render(
    rng: Random,
    timeline: Timeline,
    recording: Recording,
    forgers: Forgers,
    film_clip: Callable[[Random], Frames],
    path: Path,
) -> None:
    """Write a clip.

    Args:
        rng: of noise, motion, and where mouths are blended.
        timeline: the words.
        recording: the source's conditions.
        forgers: the clip's methods.
        film_clip: draws the picture, as `film` does.
        path: the file.
    """
    samples = revoice(timeline, forgers)
    frames = film_clip(rng)
    write_mp4(
        path,
        frames,
        recording.record(rng, samples),
        fps=recording.fps,
        video_start_s=recording.video_start_s,
        crf=recording.crf,
        audio_bit_rate=recording.audio_bit_rate,
    )


def revoice(timeline: Timeline, forgers: Forgers) -> Samples:
    """The samples with their forged words (N,)."""
    padded = np.pad(timeline.samples, MARGIN_SAMPLES)
    forged = padded.copy()
    for edit, (begin, end) in zip(timeline.edits, timeline.spans, strict=True):
        if edit.audio:
            parts = max(1, round((end - begin) / DEFAULT_SAMPLE_RATE / forgers.longest_s))
            edges = np.linspace(begin, end, parts + 1).astype(int).tolist()
            for first, last in itertools.pairwise(edges):
                voiced = low_pass(forgers.revoice(padded[first : last + 2 * MARGIN_SAMPLES]), forgers.bandwidth_hz)
                _cross_fade(forged[first : last + 2 * MARGIN_SAMPLES], voiced)
    return forged[MARGIN_SAMPLES : len(forged) - MARGIN_SAMPLES]


def low_pass(samples: Samples, highest_hz: float) -> Samples:
    """Remove frequencies above a limit, with an edge of `EDGE_HZ`: (N,) → (N,)."""
    if highest_hz >= DEFAULT_SAMPLE_RATE / 2:
        return samples
    frequencies = np.fft.rfftfreq(len(samples), 1 / DEFAULT_SAMPLE_RATE)
    gain = np.clip((highest_hz + EDGE_HZ - frequencies) / EDGE_HZ, 0, 1)
    return np.fft.irfft(np.fft.rfft(samples) * gain, len(samples)).astype(np.float32)


def _cross_fade(line: Samples, voiced: Samples) -> None:
    """Put the inner part of `voiced`, without its margins, into the line, with fades centred on the ends."""
    half = FADE_SAMPLES // 2
    inner = slice(MARGIN_SAMPLES - half, len(voiced) - MARGIN_SAMPLES + half)
    weight = np.ones(len(line[inner]), dtype=np.float32)
    ramp = (np.arange(FADE_SAMPLES, dtype=np.float32) + 0.5) / FADE_SAMPLES
    weight[:FADE_SAMPLES] = ramp
    weight[-FADE_SAMPLES:] *= ramp[::-1]
    line[inner] += weight * (voiced[inner] - line[inner])


def film(rng: Random, timeline: Timeline, cut: Cut, recording: Recording, person: int, forgers: Forgers) -> Frames:
    """The picture with its forged mouths (T, S, S, 3)."""
    opening, width = mouth_shapes(timeline.mouth, cut.edges_s)
    performance = face.perform(rng, opening, width, float(recording.fps))
    clean, mouths = face.render(face.Identity(seed=person, size=SIZE), performance)
    frames = face.add_camera_noise(rng, clean, recording.grain)
    side = int(rng.integers(round(MOUTH_SIDE[0] * SIZE), round(MOUTH_SIDE[1] * SIZE)))
    strength = float(rng.uniform(*STRENGTH))
    forged, blended = forged_frames(cut), blended_frames(rng, timeline, cut)
    take = np.zeros_like(frames)
    take[blended] = face.add_camera_noise(rng, clean[blended], recording.grain)
    forge.repaint_mouths(frames, take, mouths, blended, side, shrink=1)
    if forged.any():
        forgers.repaint(frames, mouths, forged, side, strength)
    return frames


def forged_frames(cut: Cut) -> Mask:
    """The frames with a forged mouth (T,)."""
    forged = np.zeros(len(cut.edges_s) - 1, dtype=bool)
    for first, last in cut.forged:
        forged[first:last] = True
    return forged


def blended_frames(rng: Random, timeline: Timeline, cut: Cut) -> Mask:
    """Draw genuine words whose mouth is blended in from another take without a generator, in every clip, real or not: (T,)."""
    blended = np.zeros(len(cut.edges_s) - 1, dtype=bool)
    for begin, end in np.searchsorted(cut.edges_s, seconds(timeline.words)):
        blended[begin:end] |= rng.random() < BLENDED_SHARE
    return blended & ~forged_frames(cut)


def mouth_shapes(samples: Samples, edges_s: npt.NDArray[np.float64]) -> tuple[Positions, Positions]:
    """Opening (loudness) and width (share of high frequencies) of the mouth per frame, both (T,) in [0, 1]."""
    edges = np.clip(np.rint(edges_s * DEFAULT_SAMPLE_RATE).astype(int), 0, len(samples) - 1)
    counts = np.maximum(np.diff(edges), 1)
    wave = samples.astype(np.float64)
    loud, change = (
        np.sqrt(np.diff(np.concatenate([[0.0], np.cumsum(x**2)])[edges]) / counts)
        for x in (wave, np.diff(wave, append=0.0))
    )
    bright = change / (loud + 1e-3)
    smooth = np.array([0.2, 0.6, 0.2])
    opening = np.convolve(np.clip(loud / (2 * WORD_RMS), 0, 1) ** 0.7, smooth, mode="same")
    return opening, np.convolve(np.clip(bright / 0.8, 0, 1), smooth, mode="same")
