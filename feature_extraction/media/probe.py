"""A file's header: opening it, its streams, its content, and checks before anything is decoded."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from avloc.errors import AvlocError, MediaError, one_line
from avloc.feature_extraction.media.clock import has_reliable_header, header_end_s, header_start_s, scan_end_s
from avloc.feature_extraction.media.containers import OPENING_OPTIONS
from avloc.feature_extraction.media.types import NO_DECODER, MediaInfo, Span

NO_CLIP = "invalid, or not a format of clips: playlists, pictures and scripts are not opened"


@contextmanager
def media_errors(path: Path, doing: str = "cannot be read as media") -> Iterator[None]:
    """Raise every exception of a media library as a `MediaError` that names the file: each library raises dozens of kinds."""
    try:
        yield
    except AvlocError:
        raise
    except Exception as error:
        raise MediaError(f"{path}: {doing} ({error_reason(error)})") from error


def open_container(path: Path) -> Any:
    """Open a file with PyAV; use it as a context manager. Only formats that hold audio and video themselves are opened.

    Raises:
        MediaError: if the file is missing, or no media file.
    """
    import av

    # FFmpeg reports each damaged packet on stderr; callers get them as `problems` instead.
    logging.getLogger("libav").setLevel(logging.CRITICAL)
    with media_errors(path, "cannot be opened as media"):
        if path.is_dir():
            raise MediaError(f"{path}: is a folder, want a media file")
        if not path.exists():
            raise MediaError(f"{path}: no such file")
        if not path.is_file():  # it could be waited for without end
            raise MediaError(f"{path}: is a device or a pipe, want a media file")
        # FFmpeg takes the a: of a relative a:b.mp4 for a protocol. Titles in an old encoding are no reason to refuse a file.
        try:
            return av.open(str(path.absolute()), options=dict(OPENING_OPTIONS), metadata_errors="replace")
        except av.error.ArgumentError as error:  # FFmpeg's answer to formats that are not among the options
            raise MediaError(f"{path}: cannot be opened as media ({NO_CLIP})") from error


def error_reason(error: Exception) -> str:
    """The reason that an exception of a media library gives, in one line, without the file's name."""
    strerror = getattr(error, "strerror", None)
    if strerror:
        return one_line(strerror)
    return one_line(f"{type(error).__name__}: {error}" if str(error) else type(error).__name__)


class Tracks(NamedTuple):
    """The streams of an open file to decode.

    Attributes:
        picture: PyAV's video stream; None: the file has none, or none that can be decoded.
        sound: PyAV's audio stream, or None.
        failures: by modality, the error of a stream that cannot be decoded.
    """

    picture: Any
    sound: Any
    failures: dict[str, str]

    @property
    def selected(self) -> list[Any]:
        """Both streams, without a missing one."""
        return [stream for stream in (self.picture, self.sound) if stream is not None]


def select_tracks(container: Any, audio_track: int | None = None) -> Tracks:
    """Select the streams of an open file: those marked as default, or else the first.

    The cover of an album is no picture. A stream whose codec has no decoder is not replaced by another one.

    Args:
        container: the open file.
        audio_track: the number of the audio stream, from 0; None: the default one.
    """
    failures: dict[str, str] = {}
    pictures = [stream for stream in container.streams.video if not _is_cover(stream)]
    sounds = list(container.streams.audio)
    picture = _default(pictures)
    sound = _default(sounds if audio_track is None else sounds[audio_track : audio_track + 1])
    for modality, stream in (("visual", picture), ("audio", sound)):
        if stream is not None and stream.codec_context is None:
            failures[modality] = NO_DECODER[modality]
    return Tracks(
        None if "visual" in failures else picture,
        None if "audio" in failures else sound,
        failures,
    )


def count_pictures(container: Any) -> int:
    """Count the video streams of an open file, without covers."""
    return sum(not _is_cover(stream) for stream in container.streams.video)


def _default(streams: list[Any]) -> Any:
    """The first stream marked as default, or else the first; None without streams."""
    from av.stream import Disposition

    return next((s for s in streams if s.disposition & Disposition.default), next(iter(streams), None))


def _is_cover(stream: Any) -> bool:
    from av.stream import Disposition

    return bool(stream.disposition & (Disposition.attached_pic | Disposition.timed_thumbnails))


def probe(path: str | Path, pulse: Callable[[], object] | None = None) -> MediaInfo:
    """Read a file's header, without decoding. Of a format whose header has no length, all packets are read.

    Args:
        path: the file.
        pulse: called with each packet where all are read, to show that this process is alive.

    Raises:
        MediaError: if the file is missing, is no media file, or has neither picture nor sound that can be decoded.
    """
    path = Path(path)
    with open_container(path) as container, media_errors(path):
        tracks = select_tracks(container)
        if not tracks.selected:
            reason = "; ".join(tracks.failures.values()) or "has neither a video nor an audio stream"
            raise MediaError(f"{path}: {reason}")
        video, audio = tracks.picture, tracks.sound
        return MediaInfo(
            path=path,
            fps=float(video.average_rate) if video is not None and video.average_rate else None,
            frames=(video.frames or None) if video is not None else None,
            width=video.width if video is not None else None,
            height=video.height if video is not None else None,
            sample_rate=audio.sample_rate if audio is not None else None,
            channels=audio.channels if audio is not None else None,
            audio_tracks=len(container.streams.audio),
            start_s=header_start_s(container),
            duration_s=_end_s(container, tracks, pulse),  # the last: it may read the whole file
            problems=tuple(tracks.failures.values()),
        )


def _end_s(container: Any, tracks: Tracks, pulse: Callable[[], object] | None) -> float:
    """The end of a file on the clip's clock: its header's, unless that may be an estimate, or lie on another clock."""
    duration_s = header_end_s(container)
    if has_reliable_header(container):
        return duration_s
    lengths_s = [float(s.duration * s.time_base) for s in tracks.selected if s.duration and s.time_base]
    return scan_end_s(container, tracks.selected, pulse) or duration_s or max(lengths_s, default=0.0)


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
