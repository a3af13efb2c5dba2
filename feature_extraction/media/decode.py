"""Decoding: a media file > frames and samples on a clock that starts with the file.

Frames come at a fixed rate (25 per second unless asked otherwise) whatever the file's own: frame k is the one shown at
the middle of step k. Decoding goes packet by packet, so a damaged file gives what can be read of it. `stream` gives a clip
in parts, in flat memory however long it is; `decode` gives it whole.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from avloc.core.timeline import DEFAULT_FPS, DEFAULT_SAMPLE_RATE
from avloc.errors import MediaError
from avloc.feature_extraction.media.decord_backend import decord_frames
from avloc.feature_extraction.media.sampling import PART_S, FrameSampler, SampleCollector, clip_parts
from avloc.feature_extraction.media.types import WHOLE, Clip, Image, MediaInfo, Span, VideoFormat

# `decode` keeps all raw frames of a clip in memory, so their size is bounded before any is taken.
MAX_DECODED_BYTES = 8 << 30
BACKENDS = ("pyav", "decord")


SEEK_BACK_S = 1.0  # decoders of sound need a little run-up


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
            yield from clip_parts(whole, frames.take(per_part[0]), samples.take(per_part[1]))
            if (picture not in streams or frames.ended) and (sound is None or samples.ended):
                break
    if picture is not None and backend == "decord":
        for frame in decord_frames(path, frames.formats, whole.problems, frames.reformatters):
            frames.push(frame.time_s, frame.images, frame.duration_s, frame.picture)
            if frames.ended:
                break
            yield from clip_parts(whole, frames.take(per_part[0]), ())
    frames.finish()
    samples.finish()
    yield from clip_parts(whole, frames.take_rest(per_part[0]), samples.take_rest(per_part[1]))
    made = (("frame", picture, frames.steps), ("sound", sound, samples.count))
    whole.problems += [f"no {kind} could be decoded" for kind, found, n in made if found is not None and not n]
    if not frames.steps and not samples.count and not (picture is None and sound is None and others):
        raise MediaError(f"{path}: nothing could be decoded ({'; '.join(whole.problems) or 'nothing was asked for'})")
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
