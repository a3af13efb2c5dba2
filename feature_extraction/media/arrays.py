"""A clip in memory > parts on the same clock, sizes and rates as a file's."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from avloc.core.timeline import DEFAULT_FPS, DEFAULT_SAMPLE_RATE
from avloc.errors import MediaError
from avloc.feature_extraction.media.sampling import PART_S, FrameSampler, SampleCollector, clip_parts
from avloc.feature_extraction.media.types import Clip, VideoFormat


@dataclass(frozen=True, slots=True, repr=False)
class ClipArrays:
    """A clip in memory.

    Attributes:
        frames: (T, H, W, 3) uint8 RGB; None: no picture.
        samples: (N,), or (channels, N), float in [-1, 1], whose channels are averaged; None: no sound.
        fps: frames per second.
        sample_rate: samples per second.
        name: the clip's name in results and messages.

    Raises:
        MediaError: if an array has another shape or type, a rate is not positive, or both arrays are missing.

    >>> ClipArrays(samples=np.zeros(16_000, np.float32)).name
    'arrays'
    """

    frames: npt.NDArray[np.uint8] | None = None
    samples: npt.NDArray[np.floating] | None = None
    fps: float = DEFAULT_FPS
    sample_rate: int = DEFAULT_SAMPLE_RATE
    name: str = "arrays"

    def __repr__(self) -> str:
        frames = "no frames" if self.frames is None else f"{len(self.frames)} frames at {self.fps:g} fps"
        samples = "no samples" if self.samples is None else f"{self.samples.shape[-1]} samples at {self.sample_rate} Hz"
        return f"ClipArrays({self.name!r}: {frames}, {samples})"

    def __post_init__(self) -> None:
        if not (self.fps > 0 and self.sample_rate > 0):
            raise MediaError(f"{self.name}: want fps and sample_rate > 0, got {self.fps:g} and {self.sample_rate:g}")
        if self.frames is None and self.samples is None:
            raise MediaError(f"{self.name}: has neither frames nor samples")
        frames, samples = self.frames, self.samples
        if frames is not None and (frames.ndim != 4 or frames.shape[3] != 3 or frames.dtype != np.uint8):
            raise MediaError(f"{self.name}: frames must be (T, H, W, 3) uint8, got {frames.shape} {frames.dtype}")
        if samples is not None and (samples.ndim not in (1, 2) or samples.dtype.kind != "f"):
            raise MediaError(
                f"{self.name}: samples must be (N,) or (channels, N) of floats, got {samples.shape} {samples.dtype}"
            )


def stream_arrays(
    clip: ClipArrays, formats: Iterable[VideoFormat] = (), *, audio: bool = True, part_s: float = PART_S
) -> Iterator[Clip]:
    """Yield a clip in memory in parts, as `decode.stream` does a file: brought to the same clock, sizes and rates."""
    formats = tuple(dict.fromkeys(formats))
    images = clip.frames if formats else None
    sound = np.atleast_2d(clip.samples).mean(axis=0) if audio and clip.samples is not None else None
    whole = Clip(path=Path(clip.name), fps=DEFAULT_FPS, sample_rate=DEFAULT_SAMPLE_RATE)
    requests = (("video", bool(formats), images), ("audio", audio, sound))
    whole.problems += [f"no {kind} stream" for kind, requested, values in requests if requested and values is None]
    frames, samples = FrameSampler(formats, DEFAULT_FPS), SampleCollector(DEFAULT_SAMPLE_RATE)
    frames_per_part = max(1, round(part_s * DEFAULT_FPS))
    samples_per_part = max(1, round(part_s * DEFAULT_SAMPLE_RATE))
    for frame in _video_frames(images, clip.fps) if images is not None else ():
        frames.push_av(frame)
        yield from clip_parts(whole, frames.take(frames_per_part), ())
    for frame in _audio_frames(sound, clip.sample_rate) if sound is not None else ():
        samples.push_av(frame)
        yield from clip_parts(whole, (), samples.take(samples_per_part))
    frames.finish()
    samples.finish()
    yield from clip_parts(whole, frames.take_rest(frames_per_part), samples.take_rest(samples_per_part))
    yield whole


def _video_frames(images: npt.NDArray[np.uint8], fps: float) -> Iterator[Any]:
    """Frames of PyAV's with their time stamps."""
    import av

    for k, image in enumerate(images):
        frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(image), format="rgb24")
        frame.pts, frame.time_base = k, Fraction(1 / fps).limit_denominator(1_000_000)
        yield frame


def _audio_frames(samples: npt.NDArray[np.floating], sample_rate: int) -> Iterator[Any]:
    """Audio frames of PyAV's of a second each, with their time stamps."""
    import av

    for begin in range(0, len(samples), sample_rate):
        values = np.ascontiguousarray(samples[None, begin : begin + sample_rate], dtype=np.float32)
        frame = av.AudioFrame.from_ndarray(values, format="fltp", layout="mono")
        frame.sample_rate, frame.pts, frame.time_base = sample_rate, begin, Fraction(1, sample_rate)
        yield frame
