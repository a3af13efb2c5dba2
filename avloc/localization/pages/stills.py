"""A clip's file and its segments > still pictures of each segment: its start, its middle and its end."""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from avloc.errors import MediaError
from avloc.feature_extraction.media.backends.pyav import can_seek
from avloc.feature_extraction.media.decode import stream
from avloc.feature_extraction.media.limits import bound_decoder, check_picture
from avloc.feature_extraction.media.probe import media_errors, open_container, select_tracks
from avloc.feature_extraction.media.types import Span, VideoFormat
from avloc.localization.preview import Still
from avloc.localization.segment import LocalizedSegment

HEIGHT = 180  # pixels of a still
WIDEST = 3  # times the height
MAX_SEGMENTS = 40
FRAME_S = 0.04
DENSE_S = 4.0  # a segment of at most this length is decoded in one go


class _Picture(NamedTuple):
    """The picture of a file: the format of its stills, and whether a place in it can be sought."""

    still_format: VideoFormat
    is_seekable: bool


def segment_stills(
    clip: Path, segments: Sequence[LocalizedSegment], pulse: Callable[[], object] | None = None
) -> list[list[Still]]:
    """Decode up to three frames per segment: the first, the middle one and the last.

    A file in which no place can be sought is decoded once, up to the end of the last segment.

    Args:
        clip: the file.
        segments: the segments; only the first `MAX_SEGMENTS` get stills.
        pulse: called during the decoding, to show that this process is alive.

    Returns:
        For each segment its stills by time; empty for a file that is missing or has no picture there.
    """
    if not segments or not clip.is_file():
        return [[] for _ in segments]
    try:
        picture = _read_picture(clip)
    except MediaError:
        picture = None
    if picture is None:
        return [[] for _ in segments]
    times_s = [_still_times_s(segment) for segment in segments[:MAX_SEGMENTS]]
    spans = [span for each in times_s for span in _spans(each)]
    if not picture.is_seekable:
        spans = [Span(min(span.start_s for span in spans), max(span.end_s for span in spans), longest_s=math.inf)]
    nearest = _nearest(
        (still for span in spans for still in _frames(clip, span, picture.still_format, pulse)),
        sorted({time_s for each in times_s for time_s in each}),
    )
    stills = [{nearest[t].time_s: nearest[t] for t in each if t in nearest} for each in times_s]
    return [*(list(each.values()) for each in stills), *([] for _ in segments[MAX_SEGMENTS:])]


def _read_picture(clip: Path) -> _Picture | None:
    """Return the picture, whose stills have the shape in which players show the clip; None without one."""
    with media_errors(clip), open_container(clip) as container:
        picture = select_tracks(container).picture
        if picture is None:
            return None
        check_picture(clip, picture.width or 0, picture.height or 0)
        bound_decoder(picture)
        frame = next(container.decode(picture), None)
        if frame is None:
            return None
        aspect = frame.width / frame.height * float(picture.sample_aspect_ratio or 1)
        if round((frame.rotation or 0) / 90) % 2:
            aspect = 1 / aspect
        is_seekable = can_seek(container)
    return _Picture(VideoFormat(HEIGHT, 2 * round(HEIGHT * min(max(aspect, 1 / WIDEST), WIDEST) / 2)), is_seekable)


def _still_times_s(segment: LocalizedSegment) -> tuple[float, float, float]:
    """Return the middles of the first, the middle and the last frame of a segment."""
    start_s, end_s = segment.start_s, max(segment.end_s, segment.start_s + FRAME_S)
    return (start_s + FRAME_S / 2, (start_s + end_s) / 2, end_s - FRAME_S / 2)


def _spans(times_s: tuple[float, float, float]) -> list[Span]:
    """Return the parts of a file that hold a segment's stills."""
    first_s, _, last_s = times_s
    if last_s - first_s + FRAME_S <= DENSE_S:
        return [Span(max(0.0, first_s - 1.5 * FRAME_S), last_s + 1.5 * FRAME_S)]
    return [Span(max(0.0, time_s - 1.5 * FRAME_S), time_s + 1.5 * FRAME_S) for time_s in times_s]


def _nearest(stills: Iterable[Still], times_s: Sequence[float]) -> dict[float, Still]:
    """Return the still that is nearest to each of the ascending times, by time; times without one within a frame are left out."""
    nearest: dict[float, Still] = {}
    for still in stills:
        low, high = bisect_left(times_s, still.time_s - FRAME_S), bisect_right(times_s, still.time_s + FRAME_S)
        for time_s in times_s[low:high]:
            if time_s not in nearest or abs(still.time_s - time_s) < abs(nearest[time_s].time_s - time_s):
                nearest[time_s] = still._replace(image=still.image.copy())  # of its own: the frames of its second go
    return nearest


def _frames(clip: Path, span: Span, still_format: VideoFormat, pulse: Callable[[], object] | None) -> Iterator[Still]:
    """Yield the frames of a span; none where nothing can be decoded."""
    try:
        for part in stream(clip, [still_format], audio=False, part_s=1.0, span=span, pulse=pulse):
            if still_format in part.frames:
                for time_s, image in zip(part.video_grid.centers_s().tolist(), part.frames[still_format], strict=True):
                    yield Still(round(time_s, 3), image)
    except MediaError:
        return
