"""Frames by decord, an alternative to PyAV that users can select.

Decord's own times leave out late starts, edit lists and clocks that start elsewhere. So frames get the times of their packets, on
the same clock as PyAV's frames; a file whose frames cannot be assigned to packets is refused.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from avloc.errors import MediaError, one_line
from avloc.feature_extraction.media.clock import FrameTime, format_names, frame_times
from avloc.feature_extraction.media.cropping import (
    ArrayPicture,
    Picture,
    Pixels,
    Reformatters,
    crop_frame,
    needs_face,
    to_gray,
)
from avloc.feature_extraction.media.probe import count_pictures, open_container, select_tracks

if TYPE_CHECKING:
    from avloc.feature_extraction.media.types import ImageArray, VideoFormat

PLACED_FORMATS = frozenset({"mp4", "matroska", "webm", "avi", "flv"})
"""FFmpeg's names of the formats in which decord finds every frame: in a transport stream it starts at a later key frame."""
ORIGINAL_SIZE = (-1, -1)  # decord's value for frames in the file's own size


class DecordFrame(NamedTuple):
    """A decoded frame.

    Attributes:
        time_s: the time when it appears.
        images: by format, without those that are cut out around a face.
        picture: the frame itself, for those; None if no format needs it.
        duration_s: its display time; None if unknown.
    """

    time_s: float
    images: dict[VideoFormat, ImageArray]
    picture: Picture | None
    duration_s: float | None


def decord_frames(
    path: Path, formats: Sequence[VideoFormat], problems: list[str], reformatters: Reformatters
) -> Iterator[DecordFrame]:
    """Yield the frames of a file; an error stops the reading and is added to `problems`.

    Raises:
        MediaError: if decord's frames cannot be timed, or it cannot take the file's name.
    """
    import decord

    if any("\ud800" <= c <= "\udfff" for c in str(path)):
        raise MediaError(f"{path}: decord takes names in UTF-8 only; use the decoder pyav, or rename the file")
    try:
        readers = {
            (w, h): decord.VideoReader(str(path.absolute()), width=w, height=h, num_threads=1)
            for w, h in map(_size, formats)
        }
        lengths = {len(reader) for reader in readers.values()}
    except Exception as error:  # decord's own errors, and those of its libraries
        problems.append(f"decord cannot open it ({_reason(error)})")
        return
    # One frame at a time: decord's batch read of a truncated file loses every frame.
    for index, (time_s, duration_s, _) in enumerate(_times(path, lengths)):
        try:
            frames = {size: _rgb(reader[index].asnumpy()) for size, reader in readers.items()}
        except Exception as error:
            problems.append(f"decord stopped at frame {index} ({_reason(error)})")
            return
        original = frames.get(ORIGINAL_SIZE)
        picture = None if original is None else ArrayPicture(original, reformatters)
        images: dict[VideoFormat, ImageArray] = {}
        for f in formats:
            if _size(f) != ORIGINAL_SIZE:
                images[f] = to_gray(frames[_size(f)]) if f.pixel_format == "gray" else frames[_size(f)]
            elif picture is not None and not needs_face(f.crop):
                images[f] = crop_frame(picture, None, f, reformatters)
        yield DecordFrame(time_s, images, picture, duration_s)


def _times(path: Path, lengths: set[int]) -> list[FrameTime]:
    """Read the times of the frames.

    Args:
        path: the file.
        lengths: the numbers of frames that decord finds.

    Raises:
        MediaError: if the frames are not those of the picture that avloc selects, or have no times.
    """
    with open_container(path) as container:
        if not format_names(container) & PLACED_FORMATS:
            raise MediaError(f"{path}: decord misplaces frames of {container.format.name}; use the decoder pyav")
        tracks = select_tracks(container)
        times = frame_times(container, tracks.selected, tracks.picture)
        if count_pictures(container) > 1:
            raise MediaError(f"{path}: has several pictures, of which decord takes any; use the decoder pyav")
    if times is None:
        raise MediaError(f"{path}: has frames without a time, which decord cannot place; use the decoder pyav")
    if any(is_discarded for *_, is_discarded in times):
        raise MediaError(f"{path}: decord misplaces frames where an edit list cuts some off; use the decoder pyav")
    if lengths != {len(times)}:
        raise MediaError(
            f"{path}: decord finds {', '.join(map(str, sorted(lengths)))} frames where the file has {len(times)}, so that it "
            "cannot time them; use the decoder pyav"
        )
    return times


def _reason(error: Exception) -> str:
    """The first line of an error: decord's are followed by a stack trace."""
    return one_line((str(error).splitlines() or [type(error).__name__])[0])


def _rgb(image: Pixels) -> Pixels:
    """Fix the shape of a frame, (H, W, 3): decord takes row padding as large as the width for a fourth channel."""
    height, width, channels = image.shape
    return image if channels == 3 else image.reshape(height, -1)[:, : width * 3].reshape(height, width, 3)


def _size(f: VideoFormat) -> tuple[int, int]:
    """The width and height to request from decord."""
    return (f.width, f.height) if f.resize == "swscale" and f.crop == "none" else ORIGINAL_SIZE
