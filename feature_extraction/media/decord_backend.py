"""Frames by decord, an alternative to PyAV that users can select."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from avloc.feature_extraction.media.cropping import (
    ArrayPicture,
    Picture,
    Pixels,
    Reformatters,
    crop_frame,
    needs_face,
    to_gray,
)

if TYPE_CHECKING:
    from avloc.feature_extraction.media.types import ImageArray, VideoFormat

ORIGINAL_SIZE = (-1, -1)  # decord's value for frames in the file's own size


class DecordFrame(NamedTuple):
    """A decoded frame.

    Attributes:
        time_s: the time when it appears.
        images: by format, without those that are cut out around a face.
        picture: the frame itself, for those; None if no format needs it.
        duration_s: the time for which it is shown.
    """

    time_s: float
    images: dict[VideoFormat, ImageArray]
    picture: Picture | None
    duration_s: float


def decord_frames(
    path: Path, formats: Sequence[VideoFormat], problems: list[str], reformatters: Reformatters
) -> Iterator[DecordFrame]:
    """Yield the frames of a file; an error stops the reading and is added to `problems`."""
    import decord

    try:
        readers = {
            (w, h): decord.VideoReader(str(path), width=w, height=h, num_threads=1) for w, h in map(_size, formats)
        }
    except (decord.DECORDError, RuntimeError) as error:
        problems.append(f"decord cannot open it ({str(error).splitlines()[0]})")
        return
    length = min(len(reader) for reader in readers.values())
    # One frame at a time: decord's batch read of a truncated file loses every frame.
    for index in range(length):
        try:
            frames = {size: _rgb(reader[index].asnumpy()) for size, reader in readers.items()}
        except (decord.DECORDError, RuntimeError) as error:
            problems.append(f"decord stopped at frame {index} ({str(error).splitlines()[0]})")
            return
        original = frames.get(ORIGINAL_SIZE)
        picture = None if original is None else ArrayPicture(original, reformatters)
        images: dict[VideoFormat, ImageArray] = {}
        for f in formats:
            if _size(f) != ORIGINAL_SIZE:
                images[f] = to_gray(frames[_size(f)]) if f.pixel_format == "gray" else frames[_size(f)]
            elif picture is not None and not needs_face(f.crop):
                images[f] = crop_frame(picture, None, f, reformatters)
        begin, end = next(iter(readers.values())).get_frame_timestamp(index)
        yield DecordFrame(float(begin), images, picture, float(end - begin))


def _rgb(image: Pixels) -> Pixels:
    """Fix the shape of a frame, (H, W, 3): decord takes row padding as large as the width for a fourth channel."""
    height, width, channels = image.shape
    return image if channels == 3 else image.reshape(height, -1)[:, : width * 3].reshape(height, width, 3)


def _size(f: VideoFormat) -> tuple[int, int]:
    """The width and height to request from decord."""
    return (f.width, f.height) if f.resize == "swscale" and f.crop == "none" else ORIGINAL_SIZE
