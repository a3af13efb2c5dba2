"""Pseudo-forgeries: real clips > a window is changed > exactly that window is labelled, so that real footage can train.

The self-blending idea (Shiohara and Yamasaki, "Detecting deepfakes with self-blended images", CVPR 2022), carried over to
time. On waveforms and frames (`forge_sound`, `forge_mouth`) as on cached features (`forge_features`). Outside of the window
every sample, frame and feature is bit-identical.

Legend: N samples, F frames, T steps of a model's clock, D feature width.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from avloc.core.records import MODALITIES, VideoRecord
from avloc.core.timeline import DEFAULT_FPS, DEFAULT_SAMPLE_RATE, Segment
from avloc.datasets.loading.example import FeatureExample
from avloc.datasets.synthetic import forge
from avloc.errors import AvlocError

Samples = npt.NDArray[np.float32]
Random = np.random.Generator
SHORTEST_S, LONGEST_S = 0.1, 0.8
FADE_S = 0.005
MU_LAW_LEVELS = 64


def _gain(samples: Samples, random: Random) -> Samples:
    decibels = random.uniform(3, 9) * random.choice([-1, 1])
    return (samples * 10 ** (decibels / 20)).astype(np.float32)


def _pitch(samples: Samples, random: Random) -> Samples:
    """Another speed, and the old length by repeating or cutting: the pitch moves, the time does not."""
    rate = random.uniform(0.8, 0.93) if random.random() < 0.5 else random.uniform(1.07, 1.25)
    position = np.arange(len(samples)) * rate
    # Past the end it runs back, which stays continuous.
    position = np.where(position > len(samples) - 1, 2 * (len(samples) - 1) - position, position)
    return np.interp(position, np.arange(len(samples)), samples).astype(np.float32)


def _codec(samples: Samples, random: Random) -> Samples:
    """Coarse μ-law steps at half the sampling rate, as telephones have them."""
    half = np.interp(np.arange(len(samples)) // 2 * 2, np.arange(len(samples)), samples)
    mu = MU_LAW_LEVELS - 1
    coded = np.round((np.sign(half) * np.log1p(mu * np.abs(half)) / np.log1p(mu) + 1) / 2 * mu)
    back = 2 * coded / mu - 1
    return (np.sign(back) * np.expm1(np.abs(back) * np.log1p(mu)) / mu).astype(np.float32)


SOUND_KINDS: dict[str, Callable[[Samples, Random], Samples]] = {
    "vocoder": lambda samples, _: forge.revoice(samples), "gain": _gain, "pitch": _pitch, "codec": _codec,
}  # fmt: skip


def draw_window(duration_s: float, random: Random, *, step_s: float = 0.02) -> Segment:
    """A window of .1 to .8 s within a clip, its ends on a grid.

    Raises:
        AvlocError: if the clip is shorter than the shortest window.
    """
    steps = int(duration_s / step_s + 1e-9)
    shortest, longest = round(SHORTEST_S / step_s), round(LONGEST_S / step_s)
    if steps < shortest:
        raise AvlocError(f"a clip of {duration_s:g} s has no room for a window of {SHORTEST_S:g} s")
    length = int(random.integers(shortest, min(longest, steps) + 1))
    first = int(random.integers(0, steps - length + 1))
    return Segment(round(first * step_s, 6), round((first + length) * step_s, 6))


def forge_sound(
    samples: Samples, window: Segment, kind: str, random: Random, *, sample_rate: int = DEFAULT_SAMPLE_RATE
) -> Samples:
    """Change the sound within a window; short cross-fades lie inside of it.

    Args:
        samples: (N,) in [−1, 1].
        window: seconds.
        kind: a name of `SOUND_KINDS`.
        random: for what is left to chance.
        sample_rate: samples per second.

    Raises:
        AvlocError: if there is no such kind, or the window is not within the clip.
    """
    if kind not in SOUND_KINDS:
        raise AvlocError(f"unknown kind of sound forgery {kind!r}, there are: {', '.join(SOUND_KINDS)}")
    begin, end = (round(t * sample_rate) for t in window)
    if not 0 <= begin < end <= len(samples):
        raise AvlocError(
            f"the window {window.start_s:g}–{window.end_s:g} s is not within {len(samples) / sample_rate:g} s"
        )
    old = samples[begin:end]
    new = np.clip(SOUND_KINDS[kind](old, random), -1, 1)
    fade = min(round(FADE_S * sample_rate), (end - begin) // 2)
    weight = np.ones(end - begin, dtype=np.float32)
    weight[:fade] = np.linspace(0, 1, fade, endpoint=False)
    weight[len(weight) - fade :] = weight[:fade][::-1]
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
    """Repaint the mouth within a window by a low-resolution generator, from the clip's own frames.

    Args:
        frames: (F, H, W, 3).
        window: seconds; its ends are taken to whole frames.
        mouths: (F, 2), x and y of the mouth's middle in pixels.
        side: of the square region, in pixels.
        random: for what is left to chance.
        fps: frames per second.
    """
    begin, end = round(window.start_s * fps), round(window.end_s * fps)
    if not 0 <= begin < end <= len(frames):
        raise AvlocError(f"the window {window.start_s:g}–{window.end_s:g} s is not within {len(frames) / fps:g} s")
    where = np.zeros(len(frames), dtype=bool)
    where[begin:end] = True
    changed = frames.copy()
    forge.repaint_mouths(changed, frames, mouths, where, side, random.uniform(1.8, 3.0))
    return changed


FEATURE_KINDS = ("splice", "mix", "mask")


def forge_features(
    example: FeatureExample, other: FeatureExample, random: Random, *, kind: str | None = None
) -> FeatureExample:
    """A pseudo-forgery of a real clip's features: a window of one or both modalities comes from another clip.

    `splice` replaces it, `mix` blends it with equal shares, `mask` sets it to the clip's mean. The window lies on steps and
    becomes a fake segment of the modalities that were changed.

    Args:
        example: a real clip.
        other: another clip, at least as long as the longest window.
        random: for what is left to chance.
        kind: one of `FEATURE_KINDS`; None: by chance.

    Raises:
        AvlocError: if the clip is a forgery already, or there is no such kind.
    """
    if example.record.segments:
        raise AvlocError(f"{example.record.file}: is a forgery already, want a real clip")
    kind = FEATURE_KINDS[random.integers(len(FEATURE_KINDS))] if kind is None else kind
    if kind not in FEATURE_KINDS:
        raise AvlocError(f"unknown kind of feature forgery {kind!r}, there are: {', '.join(FEATURE_KINDS)}")
    grid = example.grid
    room = min(grid.length, other.grid.length) * grid.hop_s
    window = draw_window(room, random, step_s=grid.hop_s)
    length = round(window.duration_s / grid.hop_s)
    first = int(random.integers(0, grid.length - length + 1))
    source = int(random.integers(0, other.grid.length - length + 1))
    chosen = _modalities(example, other, random)
    streams = [stream.copy() for stream in example.streams]
    for k in chosen:
        old, new = streams[k][first : first + length], other.streams[k][source : source + length]
        if kind == "splice":
            old[...] = new
        elif kind == "mix":
            old[...] = (old + new) / 2
        else:
            old[...] = example.streams[k].mean(axis=0)
    begin, end = grid.to_seconds(np.array([first, first + length])).tolist()
    return FeatureExample(_labelled(example.record, Segment(begin, end), chosen), grid, tuple(streams), example.masks)


def _modalities(example: FeatureExample, other: FeatureExample, random: Random) -> list[int]:
    """One or both of the modalities that both clips have."""
    there = [k for k in range(len(MODALITIES)) if example.masks[k].any() and other.masks[k].any()]
    if not there:
        raise AvlocError(f"{example.record.file} and {other.record.file} have no modality in common")
    return there if len(there) > 1 and random.random() < 1 / 3 else [int(random.choice(there))]


def _labelled(record: VideoRecord, window: Segment, chosen: list[int]) -> VideoRecord:
    audio, visual = ((window,) if k in chosen else () for k in range(len(MODALITIES)))
    return replace(record, audio_segments=audio, visual_segments=visual)


def drop_modality(example: FeatureExample, modality: str) -> FeatureExample:
    """The clip without one modality's stream, as one without sound or picture is; its segments go with it.

    Raises:
        AvlocError: if that was the only one.
    """
    gone = MODALITIES.index(modality)
    if not any(mask.any() for k, mask in enumerate(example.masks) if k != gone):
        raise AvlocError(f"{example.record.file}: has nothing but {modality}")
    streams = tuple(np.zeros_like(s) if k == gone else s for k, s in enumerate(example.streams))
    masks = tuple(np.zeros_like(m) if k == gone else m for k, m in enumerate(example.masks))
    record = example.record
    audio, visual = (() if k == gone else record.modality_segments(m) for k, m in enumerate(MODALITIES))
    record = replace(record, audio_segments=audio, visual_segments=visual)
    return FeatureExample(record, example.grid, streams, masks)
