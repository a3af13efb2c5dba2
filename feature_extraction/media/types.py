"""The types of decoded media: formats, spans, clips."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from avloc.core.timeline import TimeGrid
from avloc.feature_extraction.media.resize import Resize

if TYPE_CHECKING:
    pass


Crop = Literal["none", "center", "face", "mouth"]


class VideoFormat(NamedTuple):
    """The frames an extractor asks for: uint8, (height, width) for `gray`, (height, width, 3) for `rgb24`.

    `resize` says who brings them to that size: FFmpeg's `swscale`, or torch (`resize.resize_frame`; `rgb24` only), frame by
    frame, so that large frames are never all in memory. `bicubic` frames are float32 in about [0, 1]. `crop` says which
    square is cut out of the frame before: the central one (`center`), one around the `face`, or the `mouth`; with `none`,
    the whole frame is squeezed to that size.
    """

    height: int
    width: int
    pixel_format: str = "rgb24"
    resize: Resize = "swscale"
    crop: Crop = "none"

    @property
    def frame_bytes(self) -> int:
        """Bytes of a frame."""
        channels = 1 if self.pixel_format == "gray" else 3
        return self.height * self.width * channels * (4 if self.resize == "bicubic" else 1)


class Span(NamedTuple):
    """What of a file is wanted: from `start_s` to `end_s`, and which of its audio tracks (from 0)."""

    start_s: float = 0.0
    end_s: float = math.inf
    audio_track: int = 0


WHOLE = Span()


Image = npt.NDArray[Any]
"""A frame or frames: uint8, or float32 where they were resized so."""


@dataclass(frozen=True, slots=True)
class MediaInfo:
    """What a file's header says of it; a stream that is not there has None."""

    path: Path
    duration_s: float
    fps: float | None
    frames: int | None
    width: int | None
    height: int | None
    sample_rate: int | None
    channels: int | None
    audio_tracks: int


@dataclass(slots=True)
class Clip:
    """A decoded clip, or a part of one: `frames[format]` is (T, H, W[, 3]) uint8, or as the format says.

    `samples` (N,) float32 in [-1, 1] is the mean of the channels. A stream that is missing or unreadable is None, and
    `problems` says why. `faceless_frames` says, where a format is cut out around a face, in how many of the frames none
    was seen around then: those show where one was last, or the central square.
    """

    path: Path
    fps: float
    sample_rate: int
    frames: dict[VideoFormat, Image] = field(default_factory=dict)
    video_start_s: float = 0.0
    samples: npt.NDArray[np.float32] | None = None
    audio_start_s: float = 0.0
    problems: list[str] = field(default_factory=list)
    faceless_frames: int = 0

    @property
    def video_grid(self) -> TimeGrid:
        """The frames' clock; of length 0 without a picture."""
        length = len(next(iter(self.frames.values()))) if self.frames else 0
        return TimeGrid(self.video_start_s, 1 / self.fps, length)

    @property
    def duration_s(self) -> float:
        """The end of the last frame or sample, whichever is later."""
        audio_end = 0.0 if self.samples is None else self.audio_start_s + len(self.samples) / self.sample_rate
        return max(self.video_grid.end_s if self.frames else 0.0, audio_end)


BATFD_SIDE = 96


BATFD_FORMAT = VideoFormat(BATFD_SIDE, BATFD_SIDE, resize="bicubic")
"""The frames that BA-TFD and BA-TFD+ are run on."""
