"""Pseudo-forgeries: real clip > change within a window > exactly that window labelled, so that real footage can train.

The self-blending idea (Shiohara and Yamasaki, "Detecting deepfakes with self-blended images", CVPR 2022), carried over to
time. It works on waveforms and frames (`forge_audio`, `forge_mouth`) and on cached features (`forge_features`). Outside of
the window every sample, frame and feature is bit-identical.

Legend: N samples, F frames, R rows of a stream, T steps of a model's clock, D feature width.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from avloc.core.clip_records import video_record
from avloc.core.records import MODALITIES
from avloc.core.timeline import DEFAULT_FPS, DEFAULT_SAMPLE_RATE, Segment
from avloc.datasets.examples.example import FeatureExample
from avloc.datasets.examples.mixing import (
    LONGEST_S,
    SHORTEST_S,
    fade_weights,
    holds_sound,
    read_samples,
    step_rows,
    write_samples,
)
from avloc.datasets.synthetic import forge
from avloc.errors import AvlocError

Samples = npt.NDArray[np.float32]
Random = np.random.Generator
MU_LAW_LEVELS = 64


def _gain(samples: Samples, random: Random) -> Samples:
    """Change the volume by 3 to 9 dB, up or down."""
    decibels = random.uniform(3, 9) * random.choice([-1, 1])
    return (samples * 10 ** (decibels / 20)).astype(np.float32)


def _pitch(samples: Samples, random: Random) -> Samples:
    """Resample to another speed and keep the length, by reflecting or cutting: the pitch changes, the duration does not."""
    rate = random.uniform(0.8, 0.93) if random.random() < 0.5 else random.uniform(1.07, 1.25)
    position = np.arange(len(samples)) * rate
    # Past the end the signal runs backwards, which keeps it continuous.
    position = np.where(position > len(samples) - 1, 2 * (len(samples) - 1) - position, position)
    return np.interp(position, np.arange(len(samples)), samples).astype(np.float32)


def _codec(samples: Samples, random: Random) -> Samples:
    """Quantize to coarse μ-law steps at half the sampling rate, as a telephone does."""
    half = np.interp(np.arange(len(samples)) // 2 * 2, np.arange(len(samples)), samples)
    mu = MU_LAW_LEVELS - 1
    coded = np.round((np.sign(half) * np.log1p(mu * np.abs(half)) / np.log1p(mu) + 1) / 2 * mu)
    back = 2 * coded / mu - 1
    return (np.sign(back) * np.expm1(np.abs(back) * np.log1p(mu)) / mu).astype(np.float32)


AUDIO_KINDS: dict[str, Callable[[Samples, Random], Samples]] = {
    "vocoder": lambda samples, _: forge.revoice(samples),
    "gain": _gain,
    "pitch": _pitch,
    "codec": _codec,
}


def draw_window(duration_s: float, random: Random, *, step_s: float = 0.02) -> Segment:
    """Draw a window of 0.1 to 0.8 s within a clip, with its ends on a grid.

    Args:
        duration_s: length of the clip in seconds.
        random: source of the draw.
        step_s: hop of the grid in seconds.

    Raises:
        AvlocError: if the clip is shorter than the shortest window.
    """
    steps = int(duration_s / step_s + 1e-9)
    shortest, longest = _shortest_steps(step_s), round(LONGEST_S / step_s)
    if steps < shortest:
        raise AvlocError(f"a clip of {duration_s:g} s has no room for a window of {SHORTEST_S:g} s")
    length = int(random.integers(shortest, min(longest, steps) + 1))
    first = int(random.integers(0, steps - length + 1))
    return Segment(round(first * step_s, 6), round((first + length) * step_s, 6))


def _shortest_steps(step_s: float) -> int:
    return math.ceil(SHORTEST_S / step_s - 1e-6)


def forge_audio(
    samples: Samples, window: Segment, kind: str, random: Random, *, sample_rate: int = DEFAULT_SAMPLE_RATE
) -> Samples:
    """Change the sound within a window, with short cross-fades at its ends.

    Args:
        samples: (N,) in [−1, 1].
        window: seconds.
        kind: a name of `AUDIO_KINDS`.
        random: source of the change's parameters.
        sample_rate: samples per second.

    Returns:
        (N,) a changed copy.

    Raises:
        AvlocError: if the kind is unknown, or the window is not within the clip.
    """
    if kind not in AUDIO_KINDS:
        raise AvlocError(f"unknown kind of audio forgery {kind!r}, there are: {', '.join(AUDIO_KINDS)}")
    begin, end = (round(t * sample_rate) for t in window)
    if not 0 <= begin < end <= len(samples):
        raise AvlocError(
            f"the window {window.start_s:g}–{window.end_s:g} s is not within {len(samples) / sample_rate:g} s"
        )
    old = samples[begin:end]
    new = np.clip(AUDIO_KINDS[kind](old, random), -1, 1)
    weight = fade_weights(end - begin, sample_rate)
    changed = samples.copy()
    changed[begin:end] = (1 - weight) * old + weight * new
    return changed


def forge_mouth(
    frames: npt.NDArray[np.uint8],
    window: Segment,
    mouths: npt.NDArray[np.float64],
    side: int,
    random: Random,
    *,
    fps: float = DEFAULT_FPS,
) -> npt.NDArray[np.uint8]:
    """Repaint the mouth within a window with a low-resolution generator, from the clip's own frames.

    Args:
        frames: (F, H, W, 3).
        window: seconds; its ends are rounded to whole frames.
        mouths: (F, 2) x and y of the mouth's middle in pixels.
        side: of the square region, in pixels.
        random: source of the generator's strength.
        fps: frames per second.

    Returns:
        (F, H, W, 3) a changed copy.

    Raises:
        AvlocError: if the window is not within the clip.
    """
    begin, end = round(window.start_s * fps), round(window.end_s * fps)
    if not 0 <= begin < end <= len(frames):
        raise AvlocError(f"the window {window.start_s:g}–{window.end_s:g} s is not within {len(frames) / fps:g} s")
    in_window = np.zeros(len(frames), dtype=bool)
    in_window[begin:end] = True
    changed = frames.copy()
    forge.repaint_mouths(changed, frames, mouths, in_window, side, random.uniform(1.8, 3.0))
    return changed


FEATURE_KINDS = ("splice", "mix", "mask")


def forge_features(
    example: FeatureExample,
    other: FeatureExample,
    random: Random,
    *,
    kind: str | None = None,
    kinds: Sequence[str] = FEATURE_KINDS,
) -> FeatureExample | None:
    """Change a window of a real clip's features, in one or both modalities.

    `splice` replaces the window by another clip's, `mix` averages the two, `mask` sets it to the clip's mean. A stream of
    samples is cross-faded at the window's ends, and half of the time it gets a kind of `AUDIO_KINDS` instead. The window lies
    on whole steps and becomes a fake segment of the changed modalities.

    Args:
        example: a real clip.
        other: another clip.
        random: source of the window, the modalities and the kind.
        kind: one of `FEATURE_KINDS` for all streams; None: a random one.
        kinds: those of `FEATURE_KINDS` that are drawn.

    Returns:
        A changed copy with its label; None if the clips share no modality, or one has no room for the shortest window.

    Raises:
        AvlocError: if the clip is already a forgery, or the kind is unknown.
    """
    if video_record(example.record).segments:
        raise AvlocError(f"{example.record.file}: is already a forgery, want a real clip")
    drawn = kinds[int(random.integers(len(kinds)))] if kind is None else kind
    if drawn not in FEATURE_KINDS:
        raise AvlocError(f"unknown kind of feature forgery {drawn!r}, there are: {', '.join(FEATURE_KINDS)}")
    grid = example.grid
    steps = min(grid.length, other.grid.length)
    shared = [k for k in range(len(MODALITIES)) if example.masks[k].any() and other.masks[k].any()]
    if not shared or steps < _shortest_steps(grid.hop_s):
        return None
    window = draw_window(steps * grid.hop_s, random, step_s=grid.hop_s)
    length = round(window.duration_s / grid.hop_s)
    first = int(random.integers(0, grid.length - length + 1))
    source = int(random.integers(0, other.grid.length - length + 1))
    forged = shared if len(shared) > 1 and random.random() < 1 / 3 else [int(random.choice(shared))]
    streams = [stream.copy() for stream in example.streams]
    for k in forged:
        if holds_sound(example, k):
            old, new = read_samples(example, k, first, length), read_samples(other, k, source, length)
            sound_kind = drawn if kind is not None or random.random() < 0.5 else str(random.choice([*AUDIO_KINDS]))
            streams[k] = write_samples(example, k, first, _forge_samples(old, new, sound_kind, random))
        else:
            _forge_rows(example, other, k, (first, source, length), drawn, streams[k])
    begin, end = grid.to_seconds(np.array([first, first + length])).tolist()
    audio, visual = ((Segment(begin, end),) if k in forged else () for k in range(len(MODALITIES)))
    record = replace(video_record(example.record), audio_segments=audio, visual_segments=visual)
    return replace(example, record=record, streams=tuple(streams))


def _forge_samples(old: Samples, new: Samples, kind: str, random: Random) -> Samples:
    """Make the samples of a window (N,) from the clip's own and another clip's."""
    if kind in AUDIO_KINDS:
        return np.clip(AUDIO_KINDS[kind](old, random), -1, 1)
    if kind == "splice":
        return new
    return (old + new) * np.float32(0.5) if kind == "mix" else np.full_like(old, old.mean())


def _forge_rows(
    example: FeatureExample, other: FeatureExample, k: int, steps: tuple[int, int, int], kind: str, stream: Any
) -> None:
    """Change rows of stream k (R, D) in place; `steps` are the first one, the other clip's first one, and their number."""
    first, source, length = steps
    old, new = stream[step_rows(example, k, first, length)], other.streams[k][step_rows(other, k, source, length)]
    if example.rows:
        old, new = old[: len(new)], new[: len(old)]  # streams differ in phase
    if kind == "splice":
        old[...] = new
    elif kind == "mix":
        old[...] = (old.astype(np.float32) + new) / 2  # whole numbers would overflow
    else:
        old[...] = example.streams[k].mean(axis=0)
    if example.rows:
        stream[~example.rows[k].present] = 0


def drop_modality(example: FeatureExample, modality: str) -> FeatureExample:
    """Remove one modality's stream and segments, as if the clip had been recorded without it.

    Args:
        example: a clip.
        modality: `audio` or `visual`.

    Raises:
        AvlocError: if the clip has no other modality.
    """
    dropped = MODALITIES.index(modality)
    if not any(mask.any() for k, mask in enumerate(example.masks) if k != dropped):
        raise AvlocError(f"{example.record.file}: has nothing but {modality}")
    streams = tuple(np.zeros_like(s) if k == dropped else s for k, s in enumerate(example.streams))
    masks = tuple(np.zeros_like(m) if k == dropped else m for k, m in enumerate(example.masks))
    record = video_record(example.record)
    audio, visual = (() if k == dropped else record.modality_segments(m) for k, m in enumerate(MODALITIES))
    record = replace(record, audio_segments=audio, visual_segments=visual)
    rows = tuple(
        r._replace(present=np.zeros_like(r.present)) if k == dropped else r for k, r in enumerate(example.rows)
    )
    return replace(example, record=record, streams=streams, masks=masks, rows=rows)
