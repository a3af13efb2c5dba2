"""A clip's file and its segments > still pictures of each segment: its start, its middle and its end."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from avloc.errors import MediaError
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


def segment_stills(clip: Path, segments: Sequence[LocalizedSegment]) -> list[list[Still]]:
    """Decode up to three frames per segment: the first, the middle one and the last.

    Args:
        clip: the file.
        segments: the segments; only the first `MAX_SEGMENTS` get stills.

    Returns:
        For each segment its stills by time; empty for a file that is missing or has no picture there.
    """
    if not segments or not clip.is_file():
        return [[] for _ in segments]
    try:
        still_format = _display_format(clip)
    except MediaError:
        still_format = None
    if still_format is None:
        return [[] for _ in segments]
    return [_stills(clip, each, still_format) if k < MAX_SEGMENTS else [] for k, each in enumerate(segments)]


def _display_format(clip: Path) -> VideoFormat | None:
    """Return the format of stills in the shape in which players show the clip; None without a picture."""
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
    return VideoFormat(HEIGHT, 2 * round(HEIGHT * min(max(aspect, 1 / WIDEST), WIDEST) / 2))


def _stills(clip: Path, segment: LocalizedSegment, still_format: VideoFormat) -> list[Still]:
    start_s, end_s = segment.start_s, max(segment.end_s, segment.start_s + FRAME_S)
    times_s = (start_s + FRAME_S / 2, (start_s + end_s) / 2, end_s - FRAME_S / 2)
    if end_s - start_s <= DENSE_S:
        spans = [(start_s - FRAME_S, end_s + FRAME_S)]
    else:
        spans = [(time_s - 1.5 * FRAME_S, time_s + 1.5 * FRAME_S) for time_s in times_s]
    nearest: dict[float, Still] = {}
    for first_s, last_s in spans:
        for still in _frames(clip, Span(max(0.0, first_s), last_s), still_format):
            for time_s in times_s:
                distance_s = abs(still.time_s - time_s)
                if distance_s <= FRAME_S and (
                    time_s not in nearest or distance_s < abs(nearest[time_s].time_s - time_s)
                ):
                    nearest[time_s] = still
    return list({still.time_s: still for still in nearest.values()}.values())


def _frames(clip: Path, span: Span, still_format: VideoFormat) -> Iterator[Still]:
    """Yield the frames of a span; none where nothing can be decoded."""
    try:
        for part in stream(clip, [still_format], audio=False, part_s=1.0, span=span):
            if still_format in part.frames:
                for time_s, image in zip(part.video_grid.centers_s().tolist(), part.frames[still_format], strict=True):
                    yield Still(round(time_s, 3), image)
    except MediaError:
        return
