"""The picture through decord, the user's choice beside PyAV."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from avloc.feature_extraction.resize import resize_frame

if TYPE_CHECKING:
    from avloc.feature_extraction.media import Image, VideoFormat


def decord_frames(
    path: Path, formats: Sequence[VideoFormat], problems: list[str]
) -> Iterator[tuple[float, dict[VideoFormat, Image], float]]:
    """The frames of a file: when each is shown, its pictures, and for how long; what stops the reading is a problem."""
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
