"""The picture through decord, the user's choice beside PyAV."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from avloc.feature_extraction.media.cropping import (
    ArrayPicture,
    Picture,
    Pixels,
    Reformatters,
    cut,
    needs_face,
    to_gray,
)

if TYPE_CHECKING:
    from avloc.feature_extraction.media.types import Image, VideoFormat

OWN_SIZE = (-1, -1)  # decord's word for frames as they are


class DecordFrame(NamedTuple):
    """When a frame is shown, its pictures but for those that need a face, the frame for these, and for how long it is shown."""

    time_s: float
    images: dict[VideoFormat, Image]
    picture: Picture | None
    duration_s: float


def decord_frames(
    path: Path, formats: Sequence[VideoFormat], problems: list[str], reformatters: Reformatters
) -> Iterator[DecordFrame]:
    """The frames of a file; what stops the reading is a problem."""
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
        own = frames.get(OWN_SIZE)
        picture = None if own is None else ArrayPicture(own, reformatters)
        images: dict[VideoFormat, Image] = {}
        for f in formats:
            if _size(f) != OWN_SIZE:
                images[f] = to_gray(frames[_size(f)]) if f.pixel_format == "gray" else frames[_size(f)]
            elif picture is not None and not needs_face(f.crop):
                images[f] = cut(picture, None, f, reformatters)
        begin, end = next(iter(readers.values())).get_frame_timestamp(index)
        yield DecordFrame(float(begin), images, picture, float(end - begin))


def _rgb(image: Pixels) -> Pixels:
    """(H, W, 3): where rows are padded by as much as their width, decord takes the padding for a fourth channel."""
    height, width, channels = image.shape
    return image if channels == 3 else image.reshape(height, -1)[:, : width * 3].reshape(height, width, 3)


def _size(f: VideoFormat) -> tuple[int, int]:
    """Width and height of the frames to ask decord for."""
    return (f.width, f.height) if f.resize == "swscale" and f.crop == "none" else OWN_SIZE
