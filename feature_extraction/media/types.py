"""The types of decoded media: formats, spans, clips."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from avloc.core.records import MODALITIES
from avloc.core.timeline import Segment, TimeGrid
from avloc.feature_extraction.media.resize import Resize

Crop = Literal["none", "center", "face", "mouth"]
"""The part of a frame to keep: all of it, its central square, or a square around the face or the mouth."""


class VideoFormat(NamedTuple):
    """The frames that an extractor asks for: (height, width) for `gray`, (height, width, 3) for `rgb24`.

    They are uint8, except `bicubic` ones, which are float32 in about [0, 1].

    Attributes:
        height: pixels.
        width: pixels.
        pixel_format: `gray` or `rgb24`.
        resize: the method: FFmpeg's `swscale`, or torch's `bicubic` or `nearest` (`resize.resize_frame`; `rgb24` only), which
            runs frame by frame, so that large frames are never all in memory.
        crop: the square to cut out before resizing; with `none`, the whole frame is squeezed to the size.

    >>> VideoFormat(96, 96).frame_bytes
    27648
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


NO_STREAM = {"audio": "no audio stream", "visual": "no video stream"}
"""The problem of a clip that does not have a requested stream, by modality."""


NO_DECODER = {"audio": "no decoder for its audio codec", "visual": "no decoder for its video codec"}
"""The problem of a clip whose stream has no decoder, by modality."""


UNDECODED = {"audio": "no audio could be decoded", "visual": "no frame could be decoded"}
"""The beginning of a clip's problems about spans of a stream without data, by modality."""


LONGEST_S = 6 * 3600.0
"""The default limit of a clip's length, in seconds."""


class Span(NamedTuple):
    """The part of a file to read.

    Attributes:
        start_s: its start in seconds.
        end_s: its end in seconds; infinity: the end of the file.
        audio_track: the number of the audio track, from 0; None: the track marked as default, or else the first.
        longest_s: the limit of the part's length in seconds; a longer one is refused.

    >>> Span(60.0, 90.0)
    Span(start_s=60.0, end_s=90.0, audio_track=None, longest_s=21600.0)
    """

    start_s: float = 0.0
    end_s: float = math.inf
    audio_track: int | None = None
    longest_s: float = LONGEST_S

    def overlap_s(self, start_s: float, end_s: float) -> float:
        """Return the seconds of a time that lie in the span; 0 if none do."""
        return max(0.0, min(self.end_s, end_s) - max(self.start_s, start_s))


WHOLE = Span()
"""A whole file, with its default audio track."""


ImageArray = npt.NDArray[Any]
"""A frame (H, W[, 3]), or frames (T, H, W[, 3]): uint8, or float32 if resized by `bicubic`."""


@dataclass(frozen=True, slots=True)
class MediaInfo:
    """The content of a file's header; the attributes of a missing stream are None.

    Attributes:
        path: the file.
        duration_s: the end of the longer stream on the clip's clock (`clock.ClipClock`), in seconds; 0 if unknown.
        fps: frames per second.
        frames: the number of frames, if the header has it.
        width: pixels.
        height: pixels.
        sample_rate: samples per second of the default audio track.
        channels: channels of the default audio track.
        audio_tracks: the number of audio tracks.
        problems: a line for each stream that exists and cannot be decoded; its attributes are None too.
        start_s: the start of the earlier stream on the clip's clock, in seconds.
    """

    path: Path
    duration_s: float
    fps: float | None
    frames: int | None
    width: int | None
    height: int | None
    sample_rate: int | None
    channels: int | None
    audio_tracks: int
    problems: tuple[str, ...] = ()
    start_s: float = 0.0

    def seconds_in(self, span: Span) -> float:
        """Return the seconds of the file that lie in a span, by its header; 0 if they are unknown, or none do."""
        return span.overlap_s(self.start_s, self.duration_s)


@dataclass(slots=True, repr=False)
class Clip:
    """A decoded clip, or a part of one.

    Attributes:
        path: the file.
        fps: frames per second of `frames`.
        sample_rate: samples per second of `samples`.
        frames: by format (T, H, W[, 3]); empty if the picture is missing or unreadable.
        video_start_s: start of the first frame.
        samples: (N,) float32 in [-1, 1], one channel (`sound.downmix`); None if the sound is missing or unreadable.
        audio_start_s: start of the first sample.
        problems: a line for each missing or damaged stream.
        faceless_frames: for formats that are cut out around a face, the number of frames with no face detected around that
            time; these show the face's last place, or the central square.
        claimed_s: the length by the file's header, in seconds; 0 if unknown.
        gaps: by modality, spans in which nothing was decoded: their frames repeat the last one, their samples are 0. Between
            parts of a clip this is shared; a span is added at the latest with the part that it begins in.
        failures: by modality, the error of a stream that exists but gave nothing.

    >>> Clip(Path("clip.mp4"), fps=25, sample_rate=16_000, samples=np.zeros(8_000, np.float32)).duration_s
    0.5
    """

    path: Path
    fps: float
    sample_rate: int
    frames: dict[VideoFormat, ImageArray] = field(default_factory=dict)
    video_start_s: float = 0.0
    samples: npt.NDArray[np.float32] | None = None
    audio_start_s: float = 0.0
    problems: list[str] = field(default_factory=list)
    faceless_frames: int = 0
    claimed_s: float = 0.0
    gaps: dict[str, list[Segment]] = field(default_factory=lambda: {modality: [] for modality in MODALITIES})
    failures: dict[str, str] = field(default_factory=dict)

    def __repr__(self) -> str:
        samples = "no samples" if self.samples is None else f"{len(self.samples)} samples"
        return f"Clip({str(self.path)!r}: {self.video_grid.length} frames, {samples})"

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
"""The input frames of BA-TFD and BA-TFD+."""
