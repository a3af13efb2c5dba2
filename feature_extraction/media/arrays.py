"""A clip in memory > parts on the same clock, sizes and rates as a file's."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import numpy as np
import numpy.typing as npt

from avloc.core.timeline import DEFAULT_FPS, DEFAULT_SAMPLE_RATE
from avloc.errors import MediaError
from avloc.feature_extraction.media.sampling import PART_S, FrameSampler, SampleCollector, clip_parts
from avloc.feature_extraction.media.types import Clip, VideoFormat


@dataclass(frozen=True, slots=True)
class ClipArrays:
    """A clip that is in memory.

    Attributes:
        frames: (T, H, W, 3) uint8 RGB; None: no picture.
        samples: (N,), or (channels, N), float in [-1, 1]; None: no sound.
        fps: frames per second.
        sample_rate: samples per second.
        name: what it is called in results.

    Raises:
        MediaError: if they are of other shapes or kinds, or there is nothing.
    """

    frames: npt.NDArray[np.uint8] | None = None
    samples: npt.NDArray[np.floating] | None = None
    fps: float = DEFAULT_FPS
    sample_rate: int = DEFAULT_SAMPLE_RATE
    name: str = "arrays"

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
    """The same of a clip that is in memory: brought to the same clock, sizes and rates as a file is."""
    import av

    wanted = tuple(dict.fromkeys(formats))
    whole = Clip(path=Path(clip.name), fps=DEFAULT_FPS, sample_rate=DEFAULT_SAMPLE_RATE)
    missing = (("video", bool(wanted), clip.frames), ("audio", audio, clip.samples))
    whole.problems += [f"no {kind} stream" for kind, asked_for, found in missing if asked_for and found is None]
    frames, samples = FrameSampler(wanted, DEFAULT_FPS), SampleCollector(DEFAULT_SAMPLE_RATE)
    per_part = (max(1, round(part_s * DEFAULT_FPS)), max(1, round(part_s * DEFAULT_SAMPLE_RATE)))
    for k, image in enumerate(clip.frames if wanted and clip.frames is not None else ()):
        frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(image), format="rgb24")
        frame.pts, frame.time_base = k, Fraction(1 / clip.fps).limit_denominator(1_000_000)
        frames.push_av(frame)
        yield from clip_parts(whole, frames.take(per_part[0]), ())
    sound = np.atleast_2d(clip.samples).mean(axis=0) if audio and clip.samples is not None else np.zeros(0)
    for begin in range(0, len(sound), clip.sample_rate):
        values = np.ascontiguousarray(sound[None, begin : begin + clip.sample_rate], dtype=np.float32)
        heard = av.AudioFrame.from_ndarray(values, format="fltp", layout="mono")
        heard.sample_rate, heard.pts, heard.time_base = clip.sample_rate, begin, Fraction(1, clip.sample_rate)
        samples.push(heard)
        yield from clip_parts(whole, (), samples.take(per_part[1]))
    frames.finish()
    samples.finish()
    yield from clip_parts(whole, frames.take_rest(per_part[0]), samples.take_rest(per_part[1]))
    yield whole
