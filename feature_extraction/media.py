"""Decoding: a media file > frames and samples on a clock that starts with the file.

Frames come at a fixed rate (25 per second unless asked otherwise) whatever the file's own: frame k is the one shown at
the middle of step k. Decoding goes packet by packet, so a damaged file gives what can be read of it.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from avloc.errors import MediaError
from avloc.feature_extraction.resize import Resize, resize_frame
from avloc.timeline import DEFAULT_FPS, DEFAULT_SAMPLE_RATE, TimeGrid

# A pts gap longer than this is filled with silence; shorter ones are rounding and encoder jitter.
AUDIO_GAP_S = 0.05
# Raw frames of one clip are kept in memory, so their size is bounded before any is taken.
MAX_DECODED_BYTES = 8 << 30


class VideoFormat(NamedTuple):
    """The frames an extractor asks for: uint8, (height, width) for `gray`, (height, width, 3) for `rgb24`.

    `resize` says who brings them to that size: FFmpeg's `swscale`, or torch (`resize.resize_frame`; `rgb24` only), frame by
    frame, so that large frames are never all in memory. `bicubic` frames are float32 in about [0, 1].
    """

    height: int
    width: int
    pixel_format: str = "rgb24"
    resize: Resize = "swscale"

    @property
    def frame_bytes(self) -> int:
        """Bytes of a frame."""
        channels = 1 if self.pixel_format == "gray" else 3
        return self.height * self.width * channels * (4 if self.resize == "bicubic" else 1)


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


@dataclass(slots=True)
class Clip:
    """A decoded clip: `frames[format]` is (T, H, W[, 3]) uint8, or as the format says.

    `samples` (N,) float32 in [-1, 1] is the mean of the channels. A stream that is missing or unreadable is None, and
    `problems` says why.
    """

    path: Path
    fps: float
    sample_rate: int
    frames: dict[VideoFormat, Image] = field(default_factory=dict)
    video_start_s: float = 0.0
    samples: npt.NDArray[np.float32] | None = None
    audio_start_s: float = 0.0
    problems: list[str] = field(default_factory=list)

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
        )


def decode(
    path: str | Path,
    formats: Iterable[VideoFormat] = (),
    *,
    audio: bool = True,
    fps: float = DEFAULT_FPS,
    sample_rate: int = DEFAULT_SAMPLE_RATE,
    backend: str = "pyav",
) -> Clip:
    """Decode a clip in one pass: every asked-for picture format, and the sound.

    Args:
        path: the file.
        formats: the picture formats; none means that the picture is not decoded.
        audio: whether to decode the sound.
        fps: frames per second of the result.
        sample_rate: samples per second of the result.
        backend: who reads the picture, `pyav` or `decord`. The sound is always PyAV's (decord's audio reader leaks).

    Raises:
        MediaError: if what was asked for could not be decoded. That a stream is not there while the file has another one
            is no error but a problem of the clip: sound may be asked for alone.
    """
    path, wanted = Path(path), tuple(dict.fromkeys(formats))
    if backend not in ("pyav", "decord"):
        raise MediaError(f"the decoding backend must be pyav or decord, got {backend!r}")
    clip = Clip(path=path, fps=fps, sample_rate=sample_rate)
    with _open(path) as container:
        picture = next(iter(container.streams.video), None) if wanted else None
        sound = next(iter(container.streams.audio), None) if audio else None
        if wanted and picture is None:
            clip.problems.append("no video stream")
        if audio and sound is None:
            clip.problems.append("no audio stream")
        if picture is not None:
            _check_size(path, container, wanted, fps)
        frames = _FrameSampler(wanted, fps)
        samples = _SampleCollector(sample_rate)
        others = [s for s in (*container.streams.video, *container.streams.audio) if s not in (picture, sound)]
        use_pyav = backend == "pyav"
        streams = [s for s in (picture if use_pyav else None, sound) if s is not None]
        if streams:
            _demux(container, streams, frames, samples, clip.problems)
    if picture is not None and not use_pyav:
        _decode_with_decord(path, frames, clip.problems)
    clip.frames, clip.video_start_s = frames.result()
    clip.samples, clip.audio_start_s = samples.result()
    if picture is not None and not clip.frames:
        clip.problems.append("no frame could be decoded")
    if sound is not None and clip.samples is None:
        clip.problems.append("no sound could be decoded")
    if not clip.frames and clip.samples is None and not (picture is None and sound is None and others):
        raise MediaError(f"{path}: nothing could be decoded ({'; '.join(clip.problems) or 'nothing was asked for'})")
    return clip


def _check_size(path: Path, container: Any, formats: Sequence[VideoFormat], fps: float) -> None:
    seconds = (container.duration or 0) / 1_000_000
    size = sum(f.frame_bytes for f in formats) * seconds * fps
    if size > MAX_DECODED_BYTES:
        raise MediaError(f"{path}: {seconds:.0f} s of frames would take {size / 2**30:.0f} GiB, cut it into parts")


def _demux(
    container: Any, streams: list[Any], frames: _FrameSampler, samples: _SampleCollector, problems: list[str]
) -> None:
    import av

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
    if damaged:
        problems.append(f"{damaged} damaged packets were left out")


class _FrameSampler:
    """Frames with times > frames on a fixed clock: each step takes the frame shown at its middle."""

    def __init__(self, formats: Sequence[VideoFormat], fps: float) -> None:
        self.formats, self.fps = formats, fps
        self.images: dict[VideoFormat, list[Image]] = {f: [] for f in formats}
        self.start_s: float | None = None
        self.last_s, self.last_duration_s = 0.0, 1 / fps
        self.held: dict[VideoFormat, Image] = {}
        self._reformatter: Any = None

    def push_av(self, frame: Any) -> None:
        import av

        # One shared reformatter is several times faster than frame.to_ndarray(format=...).
        if self._reformatter is None:
            self._reformatter = av.video.reformatter.VideoReformatter()
        time = None if frame.pts is None else float(frame.pts * frame.time_base)
        turn = round(-(frame.rotation or 0) / 90) % 4
        images = {}
        for f in self.formats:
            height, width = (f.width, f.height) if turn % 2 else (f.height, f.width)
            if f.resize != "swscale":
                height, width = frame.height, frame.width
            out = self._reformatter.reformat(frame, width=width, height=height, format=f.pixel_format)
            image = np.ascontiguousarray(np.rot90(out.to_ndarray(), -turn)) if turn else out.to_ndarray()
            images[f] = image if f.resize == "swscale" else resize_frame(image, f.height, f.width, f.resize)
        duration = getattr(frame, "duration", 0)
        self.push(time, images, float(duration * frame.time_base) if duration else None)

    def push(self, time_s: float | None, images: dict[VideoFormat, Image], duration_s: float | None) -> None:
        if time_s is None:
            time_s = self.last_s + self.last_duration_s
        if self.start_s is None:
            self.start_s = max(0.0, time_s)
        elif time_s > self.last_s and not duration_s:
            self.last_duration_s = time_s - self.last_s
        self._fill(time_s)
        self.held, self.last_s = images, time_s
        self.last_duration_s = duration_s or self.last_duration_s

    def _fill(self, until_s: float) -> None:
        if not self.held or self.start_s is None:
            return
        steps = math.ceil((until_s - self.start_s) * self.fps - 0.5 - 1e-6)
        for f, image in self.held.items():
            self.images[f].extend([image] * (steps - len(self.images[f])))

    def result(self) -> tuple[dict[VideoFormat, Image], float]:
        if self.start_s is None:
            return {}, 0.0
        self._fill(self.last_s + self.last_duration_s)
        for f, image in self.held.items():  # a single frame shorter than half a step is still a frame
            if not self.images[f]:
                self.images[f].append(image)
        return {f: np.stack(images) for f, images in self.images.items()}, self.start_s


class _SampleCollector:
    """Audio frames with times > one mono signal; gaps become silence, overlaps are cut."""

    def __init__(self, sample_rate: int) -> None:
        self.sample_rate = sample_rate
        self.parts: list[npt.NDArray[np.float32]] = []
        self.count = 0
        self.start_s: float | None = None
        self._resampler: Any = None
        self._last_pts: int | None = None
        self._surplus = 0  # samples to cut, because they lie before the end of what is there
        self._gap_allowed = round(AUDIO_GAP_S * sample_rate)

    def push(self, frame: Any) -> None:
        import av

        if self._resampler is None:
            # Channels stay apart and are averaged below: FFmpeg's downmix would weight them by layout.
            self._resampler = av.AudioResampler(format="fltp", rate=self.sample_rate)
        if self.start_s is None:
            self.start_s = float(frame.pts * frame.time_base) if frame.pts is not None else 0.0
        elif frame.pts is not None and frame.pts != self._last_pts:  # times that stand still say nothing
            position = round((float(frame.pts * frame.time_base) - self.start_s) * self.sample_rate)
            gap = position - self.count
            # The resampler holds back a few samples, far fewer than the gap that counts.
            if self._gap_allowed < gap <= 3600 * self.sample_rate:
                self._append(np.zeros(gap, dtype=np.float32))
            self._surplus = -gap if gap < -self._gap_allowed else 0
        self._last_pts = frame.pts
        for out in self._resampler.resample(frame):
            part = out.to_ndarray().mean(axis=0, dtype=np.float32)
            cut = min(self._surplus, len(part))
            self._surplus -= cut
            self._append(part[cut:])

    def _append(self, part: npt.NDArray[np.float32]) -> None:
        self.parts.append(part)
        self.count += len(part)

    def result(self) -> tuple[npt.NDArray[np.float32] | None, float]:
        if self._resampler is not None:
            for out in self._resampler.resample(None):
                self._append(out.to_ndarray().mean(axis=0, dtype=np.float32))
        if not self.count or self.start_s is None:
            return None, 0.0
        samples = np.concatenate(self.parts)
        if self.start_s < 0:  # encoder priming that the container did not cut
            samples = samples[round(-self.start_s * self.sample_rate) :]
        return np.nan_to_num(np.clip(samples, -1, 1)), max(0.0, self.start_s)


def _decode_with_decord(path: Path, frames: _FrameSampler, problems: list[str]) -> None:
    for time_s, images, duration_s in _decord_frames(path, frames.formats, problems):
        frames.push(time_s, images, duration_s)


def _decord_frames(
    path: Path, formats: Sequence[VideoFormat], problems: list[str]
) -> Iterator[tuple[float, dict[VideoFormat, Image], float]]:
    import decord

    try:
        sizes = {f: (f.width, f.height) if f.resize == "swscale" else (-1, -1) for f in formats}  # -1: as they are
        readers = {f: decord.VideoReader(str(path), width=w, height=h, num_threads=1) for f, (w, h) in sizes.items()}
    except (decord.DECORDError, RuntimeError) as error:
        problems.append(f"decord cannot open it ({str(error).splitlines()[0]})")
        return
    length = min(len(reader) for reader in readers.values())
    # One frame at a time: decord's batch read of a truncated file loses every frame.
    for index in range(length):
        images = {}
        try:
            for f, reader in readers.items():
                image = reader[index].asnumpy()
                if f.resize != "swscale":
                    image = resize_frame(image, f.height, f.width, f.resize)
                images[f] = to_gray(image) if f.pixel_format == "gray" else image
        except (decord.DECORDError, RuntimeError) as error:
            problems.append(f"decord stopped at frame {index} ({str(error).splitlines()[0]})")
            return
        begin, end = next(iter(readers.values())).get_frame_timestamp(index)
        yield float(begin), images, float(end - begin)


def to_gray(image: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """Luma of an RGB image (..., 3) by ITU-R BT.601: (...)."""
    return np.rint(image @ np.array([0.299, 0.587, 0.114])).astype(np.uint8)
