"""Decoding: a media file > frames and samples on a clock that starts with the file.

Frames come at a fixed rate (by default 25 per second) whatever the file's own: frame k is the one shown at the middle of step k.
Decoding goes packet by packet, so everything readable is recovered from a damaged file. `stream` yields a clip in parts, in flat
memory for any length; `decode` returns it whole.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from avloc.core.timeline import DEFAULT_FPS, DEFAULT_SAMPLE_RATE
from avloc.errors import MediaError
from avloc.feature_extraction.media.decord_backend import decord_frames
from avloc.feature_extraction.media.probe import container_duration_s, error_reason, open_container, probe
from avloc.feature_extraction.media.sampling import PART_S, FrameSampler, SampleCollector, clip_parts
from avloc.feature_extraction.media.types import WHOLE, Clip, ImageArray, MediaInfo, Span, VideoFormat

# `decode` keeps all raw frames of a clip in memory, so their size is bounded before memory is taken.
MAX_DECODED_BYTES = 8 << 30
BACKENDS = ("pyav", "decord")


SEEK_BACK_S = 1.0  # decoders of sound need a little run-up


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
    """Decode a clip in one pass, in consecutive parts without gaps, each of frames or of sound.

    Args:
        path: the file.
        formats: the picture formats; without any, the picture is not decoded.
        audio: decode the sound.
        fps: frames per second of the result.
        sample_rate: samples per second of the result.
        backend: the decoder of the picture, `pyav` or `decord`. The sound is always PyAV's (decord's audio reader leaks).
        part_s: seconds per part; only the last part of each stream is shorter.
        span: the part of the file to decode; times stay those of the file.

    Yields:
        Parts, and an empty one at the end. All share one list of `problems`, which is complete with the last part.

    Raises:
        MediaError: if nothing at all could be decoded. A missing stream is a problem of the clip and no error as long as the
            file has another stream, because sound may be requested alone.
    """
    if backend not in BACKENDS:
        raise MediaError(f"the decoding backend must be {' or '.join(BACKENDS)}, got {backend!r}")
    path = Path(path)
    whole = Clip(path=path, fps=fps, sample_rate=sample_rate)
    with open_container(path) as container:
        decoding = _Decoding(container, whole, tuple(dict.fromkeys(formats)), audio=audio, part_s=part_s, span=span)
        yield from decoding.decode_packets(picture=backend == "pyav")
    if backend == "decord":
        yield from decoding.decode_with_decord()
    yield from decoding.finish()
    yield whole


class _Decoding:
    """The state of one `stream`: the file's selected streams, and the frames and samples on their way to parts.

    Args:
        container: the open file.
        whole: the clip without its content; a requested stream that is missing is added to its problems.
        formats: the picture formats.
        audio: decode the sound.
        part_s: seconds per part.
        span: the part of the file to decode.
    """

    def __init__(
        self, container: Any, whole: Clip, formats: tuple[VideoFormat, ...], *, audio: bool, part_s: float, span: Span
    ) -> None:
        self.container, self.whole, self.span = container, whole, span
        streams = container.streams
        self.picture = next(iter(streams.video), None) if formats else None
        self.sound = next(iter(streams.audio[span.audio_track :]), None) if audio else None
        requests = (("video", bool(formats), self.picture), ("audio", audio, self.sound))
        whole.problems += [
            f"no {kind} stream" for kind, requested, selected in requests if requested and selected is None
        ]
        selected_count = (self.picture is not None) + (self.sound is not None)
        self.has_other_streams = len(streams.video) + len(streams.audio) > selected_count
        self.frames = FrameSampler(formats, whole.fps, container_duration_s(container), span.start_s, span.end_s)
        self.samples = SampleCollector(whole.sample_rate, span.start_s, span.end_s)
        self.frames_per_part = max(1, round(part_s * whole.fps))
        self.samples_per_part = max(1, round(part_s * whole.sample_rate))

    def decode_packets(self, *, picture: bool) -> Iterator[Clip]:
        """Decode the sound and, with `picture`, the frames by PyAV, up to the span's end; yield the completed parts."""
        streams = [s for s in (self.picture if picture else None, self.sound) if s is not None]
        _seek(self.container, self.span.start_s)
        for _ in _demux(self.container, streams, self.frames, self.samples, self.whole.problems):
            frames, samples = self.frames.take(self.frames_per_part), self.samples.take(self.samples_per_part)
            yield from clip_parts(self.whole, frames, samples)
            if (self.picture not in streams or self.frames.ended) and (self.sound is None or self.samples.ended):
                break

    def decode_with_decord(self) -> Iterator[Clip]:
        """Decode the frames by decord, up to the span's end; yield the completed parts."""
        if self.picture is None:
            return
        frames = self.frames
        for frame in decord_frames(self.whole.path, frames.formats, self.whole.problems, frames.reformatters):
            frames.push(frame.time_s, frame.images, frame.duration_s, frame.picture)
            if frames.ended:
                break
            yield from clip_parts(self.whole, frames.take(self.frames_per_part), ())

    def finish(self) -> Iterator[Clip]:
        """Yield the last parts.

        Raises:
            MediaError: if nothing could be decoded.
        """
        frames, samples, problems = self.frames, self.samples, self.whole.problems
        frames.finish()
        samples.finish()
        last_frames, last_samples = frames.take_rest(self.frames_per_part), samples.take_rest(self.samples_per_part)
        yield from clip_parts(self.whole, last_frames, last_samples)
        results = (("frame", self.picture, frames.steps), ("sound", self.sound, samples.count))
        problems += [
            f"no {kind} could be decoded" for kind, selected, count in results if selected is not None and not count
        ]
        nothing_selected = self.picture is None and self.sound is None
        if not frames.steps and not samples.count and not (nothing_selected and self.has_other_streams):
            reason = "; ".join(problems) or "neither picture nor sound was requested"
            raise MediaError(f"{self.whole.path}: nothing could be decoded ({reason})")


def _seek(container: Any, start_s: float) -> None:
    """Go to the last key frame before the start; frames between the two are decoded and left out."""
    import av

    # In a transport stream FFmpeg goes to a packet, not to a key frame, and the picture would start much later.
    if start_s > SEEK_BACK_S and not {"mpegts", "mpeg"} & set(container.format.name.split(",")):
        try:
            container.seek(int((start_s - SEEK_BACK_S) * 1_000_000))
        except (av.error.FFmpegError, OSError):
            return  # a file without an index is read from its beginning


def decode(
    path: str | Path,
    formats: Iterable[VideoFormat] = (),
    *,
    audio: bool = True,
    fps: float = DEFAULT_FPS,
    sample_rate: int = DEFAULT_SAMPLE_RATE,
    backend: str = "pyav",
    span: Span = WHOLE,
    info: MediaInfo | None = None,
) -> Clip:
    """Decode a clip as a whole: the parts of `stream`, joined.

    Args:
        path: the file.
        formats: see `stream`.
        audio: see `stream`.
        fps: see `stream`.
        sample_rate: see `stream`.
        backend: see `stream`.
        span: see `stream`.
        info: the file's header, if it has been probed; otherwise it is read to check the size of the frames.

    Raises:
        MediaError: as `stream`, and if the frames would take more than `MAX_DECODED_BYTES`.
    """
    formats = tuple(dict.fromkeys(formats))
    clip = Clip(path=Path(path), fps=fps, sample_rate=sample_rate)
    frames: dict[VideoFormat, list[ImageArray]] = {f: [] for f in formats}
    samples: list[npt.NDArray[np.float32]] = []
    step_bytes, steps = sum(f.frame_bytes for f in formats), 0
    if formats:
        check_fits(path, formats, span, fps=fps, info=info)
    for part in stream(path, formats, audio=audio, fps=fps, sample_rate=sample_rate, backend=backend, span=span):
        clip.problems = part.problems
        if part.frames:
            clip.video_start_s = clip.video_start_s if steps else part.video_start_s
            clip.faceless_frames += part.faceless_frames
            steps += part.video_grid.length
            _check_size(clip.path, steps * step_bytes)  # the header may understate the duration
            for f, images in part.frames.items():
                frames[f].append(images)
        if part.samples is not None:
            clip.audio_start_s = clip.audio_start_s if samples else part.audio_start_s
            samples.append(part.samples)
    clip.frames = {f: np.concatenate(images) for f, images in frames.items()} if steps else {}
    clip.samples = np.concatenate(samples) if samples else None
    return clip


def check_fits(
    path: str | Path,
    formats: Iterable[VideoFormat],
    span: Span = WHOLE,
    *,
    fps: float = DEFAULT_FPS,
    info: MediaInfo | None = None,
) -> None:
    """Check that a clip's frames fit into memory at once, as far as its header tells.

    Args:
        path: the file.
        formats: the picture formats.
        span: the part of the file.
        fps: frames per second.
        info: the file's header, if it has been probed; otherwise the file is opened to read it.

    Raises:
        MediaError: if they would take more than `MAX_DECODED_BYTES`.
    """
    info = probe(path) if info is None else info
    seconds = max(0.0, min(span.end_s, info.duration_s) - span.start_s)
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
        stream.thread_type = "NONE"  # jobs run one process per core; threads would only compete for them
    damaged = 0
    packets = container.demux(streams)
    while True:
        try:
            packet = next(packets)
        except StopIteration:
            break
        except av.error.FFmpegError as error:
            problems.append(f"reading stopped early ({error_reason(error)})")
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
