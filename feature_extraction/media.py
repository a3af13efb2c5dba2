"""Decoding: a media file > frames and samples on a clock that starts with the file.

Frames come at a fixed rate (25 per second unless asked otherwise) whatever the file's own: frame k is the one shown at
the middle of step k. Decoding goes packet by packet, so a damaged file gives what can be read of it. `stream` gives a clip
in parts, in flat memory however long it is; `decode` gives it whole.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from fractions import Fraction
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from avloc.errors import MediaError
from avloc.feature_extraction.cropping import Crop
from avloc.feature_extraction.decord_reader import decord_frames
from avloc.feature_extraction.resize import Resize
from avloc.feature_extraction.sampling import FramePart, FrameSampler, SampleCollector
from avloc.timeline import DEFAULT_FPS, DEFAULT_SAMPLE_RATE, TimeGrid

# `decode` keeps all raw frames of a clip in memory, so their size is bounded before any is taken.
MAX_DECODED_BYTES = 8 << 30
PART_S = 4.0  # seconds of a clip at a time
BACKENDS = ("pyav", "decord")


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
SEEK_BACK_S = 1.0  # decoders of sound need a little run-up
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


def _open(path: Path) -> Any:
    import av

    # FFmpeg reports each damaged packet on stderr; the caller hears of them through `problems` instead.
    logging.getLogger("libav").setLevel(logging.CRITICAL)
    if not path.is_file():
        raise MediaError(f"{path}: no such file")
    try:
        return av.open(str(path))
    except (av.error.FFmpegError, OSError, ValueError) as error:
        raise MediaError(f"{path}: cannot be opened as media ({_reason(error)})") from error


def _reason(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error) or type(error).__name__


def probe(path: str | Path) -> MediaInfo:
    """Read a file's header, without decoding.

    Raises:
        MediaError: if the file is missing, is no media file, or has neither picture nor sound.
    """
    path = Path(path)
    with _open(path) as container:
        video = next(iter(container.streams.video), None)
        audio = next(iter(container.streams.audio), None)
        if video is None and audio is None:
            raise MediaError(f"{path}: has neither a video nor an audio stream")
        duration = (container.duration or 0) / 1_000_000
        for stream in (video, audio):
            if not duration and stream is not None and stream.duration and stream.time_base:
                duration = float(stream.duration * stream.time_base)
        return MediaInfo(
            path=path,
            duration_s=duration,
            fps=float(video.average_rate) if video is not None and video.average_rate else None,
            frames=(video.frames or None) if video is not None else None,
            width=video.width if video is not None else None,
            height=video.height if video is not None else None,
            sample_rate=audio.sample_rate if audio is not None else None,
            channels=audio.channels if audio is not None else None,
            audio_tracks=len(container.streams.audio),
        )


def stream(
    path: str | Path,
    formats: Iterable[VideoFormat] = (),
    *,
    audio: bool = True,
    fps: float = DEFAULT_FPS,
    sample_rate: int = DEFAULT_SAMPLE_RATE,
    backend: str = "pyav",
    part_s: float = PART_S,
    span: Span = WHOLE,
) -> Iterator[Clip]:
    """Decode a clip in one pass, in parts that follow one another without a gap, each of frames or of sound.

    Args:
        path: the file.
        formats: the picture formats; none means that the picture is not decoded.
        audio: whether to decode the sound.
        fps: frames per second of the result.
        sample_rate: samples per second of the result.
        backend: who reads the picture, `pyav` or `decord`. The sound is always PyAV's (decord's audio reader leaks).
        part_s: seconds of a part; only the last of each stream is shorter.
        span: what of the file; times stay those of the file.

    Yields:
        Parts, and at last an empty one; all share one list of `problems`, which is complete with the last.

    Raises:
        MediaError: if nothing of what was asked for could be decoded. That a stream is not there while the file has another
            one is no error but a problem of the clip: sound may be asked for alone.
    """
    path, wanted = Path(path), tuple(dict.fromkeys(formats))
    if backend not in BACKENDS:
        raise MediaError(f"the decoding backend must be {' or '.join(BACKENDS)}, got {backend!r}")
    whole = Clip(path=path, fps=fps, sample_rate=sample_rate)
    per_part = (max(1, round(part_s * fps)), max(1, round(part_s * sample_rate)))
    with _open(path) as container:
        picture = next(iter(container.streams.video), None) if wanted else None
        sound = next(iter(container.streams.audio[span.audio_track :]), None) if audio else None
        asked = (("video", bool(wanted), picture), ("audio", audio, sound))
        whole.problems += [f"no {kind} stream" for kind, asked_for, found in asked if asked_for and found is None]
        frames = FrameSampler(wanted, fps, (container.duration or 0) / 1_000_000, span.start_s, span.end_s)
        samples = SampleCollector(sample_rate, span.start_s, span.end_s)
        count = len(container.streams.video) + len(container.streams.audio)
        others = count - (picture is not None) - (sound is not None)
        streams = [s for s in (picture if backend == "pyav" else None, sound) if s is not None]
        _seek(container, span.start_s)
        for _ in _demux(container, streams, frames, samples, whole.problems):
            yield from _parts(whole, frames.take(per_part[0]), samples.take(per_part[1]))
            if (picture not in streams or frames.ended) and (sound is None or samples.ended):
                break
    if picture is not None and backend == "decord":
        for frame in decord_frames(path, frames.formats, whole.problems, frames.reformatters):
            frames.push(frame.time_s, frame.images, frame.duration_s, frame.picture)
            if frames.ended:
                break
            yield from _parts(whole, frames.take(per_part[0]), ())
    frames.finish()
    samples.finish()
    yield from _parts(whole, frames.take_rest(per_part[0]), samples.take_rest(per_part[1]))
    made = (("frame", picture, frames.steps), ("sound", sound, samples.count))
    whole.problems += [f"no {kind} could be decoded" for kind, found, n in made if found is not None and not n]
    if not frames.steps and not samples.count and not (picture is None and sound is None and others):
        raise MediaError(f"{path}: nothing could be decoded ({'; '.join(whole.problems) or 'nothing was asked for'})")
    yield whole


@dataclass(frozen=True, slots=True)
class Arrays:
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
    clip: Arrays, formats: Iterable[VideoFormat] = (), *, audio: bool = True, part_s: float = PART_S
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
        yield from _parts(whole, frames.take(per_part[0]), ())
    sound = np.atleast_2d(clip.samples).mean(axis=0) if audio and clip.samples is not None else np.zeros(0)
    for begin in range(0, len(sound), clip.sample_rate):
        values = np.ascontiguousarray(sound[None, begin : begin + clip.sample_rate], dtype=np.float32)
        heard = av.AudioFrame.from_ndarray(values, format="fltp", layout="mono")
        heard.sample_rate, heard.pts, heard.time_base = clip.sample_rate, begin, Fraction(1, clip.sample_rate)
        samples.push(heard)
        yield from _parts(whole, (), samples.take(per_part[1]))
    frames.finish()
    samples.finish()
    yield from _parts(whole, frames.take_rest(per_part[0]), samples.take_rest(per_part[1]))
    yield whole


def check_span(info: MediaInfo, span: Span) -> None:
    """Raise a MediaError unless a file has what is wanted of it."""
    if not 0 <= span.start_s < span.end_s:
        raise MediaError(f"{info.path}: want 0 ≤ start < end, got {span.start_s:g} and {span.end_s:g} s")
    if span.audio_track and not 0 <= span.audio_track < info.audio_tracks:
        raise MediaError(
            f"{info.path}: has no audio track {span.audio_track}, it has {info.audio_tracks} (numbered from 0)"
        )


def _seek(container: Any, start_s: float) -> None:
    """Go to the last key frame before; what lies between is decoded and left out."""
    import av

    # In a transport stream FFmpeg goes to a packet, not to a key frame, and the picture would start much later.
    if start_s > SEEK_BACK_S and not {"mpegts", "mpeg"} & set(container.format.name.split(",")):
        try:
            container.seek(int((start_s - SEEK_BACK_S) * 1_000_000))
        except (av.error.FFmpegError, OSError):
            return  # a file without an index is read from its beginning


def _parts(
    whole: Clip,
    frames: Iterable[FramePart],
    samples: Iterable[tuple[float, npt.NDArray[np.float32]]],
) -> Iterator[Clip]:
    for start_s, images, faceless in frames:
        yield replace(whole, frames=images, video_start_s=start_s, faceless_frames=faceless)
    for start_s, sound in samples:
        yield replace(whole, samples=sound, audio_start_s=start_s)


def decode(
    path: str | Path,
    formats: Iterable[VideoFormat] = (),
    *,
    audio: bool = True,
    fps: float = DEFAULT_FPS,
    sample_rate: int = DEFAULT_SAMPLE_RATE,
    backend: str = "pyav",
    span: Span = WHOLE,
) -> Clip:
    """Decode a clip as a whole: as `stream`, its parts put together.

    Raises:
        MediaError: as `stream`, and if the frames would take more than `MAX_DECODED_BYTES`.
    """
    wanted = tuple(dict.fromkeys(formats))
    clip = Clip(path=Path(path), fps=fps, sample_rate=sample_rate)
    frames: dict[VideoFormat, list[Image]] = {f: [] for f in wanted}
    samples: list[npt.NDArray[np.float32]] = []
    step_bytes, steps = sum(f.frame_bytes for f in wanted), 0
    if wanted:
        check_fits(path, wanted, span, fps=fps)
    options: dict[str, Any] = {"audio": audio, "fps": fps, "sample_rate": sample_rate, "backend": backend, "span": span}
    for part in stream(path, wanted, **options):
        clip.problems = part.problems
        if part.frames:
            clip.video_start_s = clip.video_start_s if steps else part.video_start_s
            clip.faceless_frames += part.faceless_frames
            steps += part.video_grid.length
            _check_size(clip.path, steps * step_bytes)  # a header may say less than there is
            for f, images in part.frames.items():
                frames[f].append(images)
        if part.samples is not None:
            clip.audio_start_s = clip.audio_start_s if samples else part.audio_start_s
            samples.append(part.samples)
    clip.frames = {f: np.concatenate(images) for f, images in frames.items()} if steps else {}
    clip.samples = np.concatenate(samples) if samples else None
    return clip


def check_fits(
    path: str | Path, formats: Iterable[VideoFormat], span: Span = WHOLE, *, fps: float = DEFAULT_FPS
) -> None:
    """Raise a MediaError if a clip's frames cannot be in memory at once, as far as its header says."""
    seconds = max(0.0, min(span.end_s, probe(path).duration_s) - span.start_s)
    _check_size(Path(path), seconds * fps * sum(f.frame_bytes for f in formats))


def _check_size(path: Path, size: float) -> None:
    if size > MAX_DECODED_BYTES:
        raise MediaError(f"{path}: its frames would take {size / 2**30:.0f} GiB at once, cut it into parts")


def _demux(
    container: Any, streams: list[Any], frames: FrameSampler, samples: SampleCollector, problems: list[str]
) -> Iterator[None]:
    """Decode packet by packet; yields after each."""
    import av

    if not streams:  # FFmpeg would take all of them
        return
    for stream in streams:
        stream.thread_type = "NONE"  # jobs run one process per core; threads would only fight over them
    damaged = 0
    packets = container.demux(streams)
    while True:
        try:
            packet = next(packets)
        except StopIteration:
            break
        except av.error.FFmpegError as error:
            problems.append(f"reading stopped early ({_reason(error)})")
            break
        try:
            for frame in packet.decode():
                if isinstance(frame, av.VideoFrame):
                    frames.push_av(frame)
                else:
                    samples.push(frame)
        except (av.error.FFmpegError, ValueError):
            damaged += 1
        yield
    if damaged:
        problems.append(f"{damaged} damaged packets were left out")
