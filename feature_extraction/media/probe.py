"""A file's header: opening it, its content, and checks before anything is decoded."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

from avloc.errors import MediaError
from avloc.feature_extraction.media.types import MediaInfo, Span


def open_container(path: Path) -> Any:
    """Open a file with PyAV; use it as a context manager.

    Raises:
        MediaError: if the file is missing, or no media file.
    """
    import av

    # FFmpeg reports each damaged packet on stderr; callers get them as `problems` instead.
    logging.getLogger("libav").setLevel(logging.CRITICAL)
    if not path.is_file():
        raise MediaError(f"{path}: no such file")
    try:
        return av.open(str(path))
    except (av.error.FFmpegError, OSError, ValueError) as error:
        raise MediaError(f"{path}: cannot be opened as media ({error_reason(error)})") from error


def error_reason(error: Exception) -> str:
    """The reason that an exception of PyAV's gives, without the file's name."""
    return getattr(error, "strerror", None) or str(error) or type(error).__name__


def container_duration_s(container: Any) -> float:
    """The duration in a container's header, in seconds; 0 if unknown."""
    return (container.duration or 0) / 1_000_000


def probe(path: str | Path) -> MediaInfo:
    """Read a file's header, without decoding.

    Raises:
        MediaError: if the file is missing, is no media file, or has neither picture nor sound.
    """
    path = Path(path)
    with open_container(path) as container:
        video = next(iter(container.streams.video), None)
        audio = next(iter(container.streams.audio), None)
        if video is None and audio is None:
            raise MediaError(f"{path}: has neither a video nor an audio stream")
        duration = container_duration_s(container)
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


def check_span(info: MediaInfo, span: Span) -> None:
    """Check that a file has the span, as far as its header tells.

    Raises:
        MediaError: if the span is empty or starts before 0, or the audio track is missing.
    """
    if not 0 <= span.start_s < span.end_s:
        raise MediaError(f"{info.path}: want 0 ≤ start < end, got {span.start_s:g} and {span.end_s:g} s")
    if span.audio_track and not 0 <= span.audio_track < info.audio_tracks:
        raise MediaError(
            f"{info.path}: has no audio track {span.audio_track}, it has {info.audio_tracks} (numbered from 0)"
        )
