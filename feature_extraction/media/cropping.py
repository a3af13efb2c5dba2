"""A decoded frame and a square > the piece of it that an extractor asks for, upright, in the extractor's size.

Squares are in pixels of the upright picture as it was decoded, so that a small face keeps what detail it has.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, get_args

import numpy as np
import numpy.typing as npt

from avloc.errors import AvlocError
from avloc.feature_extraction.media.resize import resize_frame
from avloc.feature_extraction.media.types import Crop

if TYPE_CHECKING:
    from avloc.feature_extraction.media.types import Image, VideoFormat

Pixels = npt.NDArray[np.uint8]
"""(H, W, 3), or (H, W) where they are grey."""


FACE_MARGIN = 1.3  # the side of a face's square, in sides of the box that the detector draws from brow to chin
MOUTH_SIDE = 0.6  # of the box's side; lips take about 0.4
MOUTH_HEIGHT = 0.8  # the mouth's middle, down from the box's top


class Square(NamedTuple):
    """A square by its middle and side."""

    x: float
    y: float
    side: float

    def inside(self, height: int, width: int) -> tuple[int, int, int]:
        """Left, top and side in whole pixels, made smaller and then moved until they lie in the picture.

        >>> Square(5, 50, 20).inside(height=60, width=80)
        (0, 40, 20)
        >>> Square(5, 50, 200).inside(height=60, width=80)
        (0, 0, 60)
        """
        side = max(1, min(round(self.side), height, width))
        left, top = (round(middle - side / 2) for middle in (self.x, self.y))
        return min(max(left, 0), width - side), min(max(top, 0), height - side), side


def checked_crop(crop: str) -> Crop:
    """A crop by its name.

    Raises:
        AvlocError: if there is none of that name.
    """
    for name in get_args(Crop):
        if crop == name:
            return name
    raise AvlocError(f"crop must be one of {', '.join(get_args(Crop))}, got {crop!r}")


def needs_face(crop: Crop) -> bool:
    """Whether a crop is made around a face."""
    return crop in ("face", "mouth")


def crop_square(crop: Crop, face: Square | None, height: int, width: int) -> Square:
    """What to cut out for a crop, given the box that the detector drew; without one, the central square."""
    if face is None or not needs_face(crop):
        return Square(width / 2, height / 2, min(height, width))
    if crop == "face":
        return face._replace(side=face.side * FACE_MARGIN)
    return Square(face.x, face.y + (MOUTH_HEIGHT - 0.5) * face.side, face.side * MOUTH_SIDE)


class Picture(Protocol):
    """A decoded frame, upright."""

    height: int
    width: int

    def pixels(self, pixel_format: str) -> Pixels:
        """All of it in its own size: (H, W) for `gray`, (H, W, 3) for `rgb24`."""
        ...

    def small(self, height: int, width: int) -> Pixels:
        """All of it in another size, in grey: (height, width)."""
        ...


class AvPicture:
    """A frame of PyAV's, turned as its metadata say.

    Args:
        frame: the frame.
        reformatters: of the frames of one file; one that is shared is several times faster than a new one per frame.
    """

    def __init__(self, frame: Any, reformatters: Reformatters) -> None:
        self.frame, self.reformatters = frame, reformatters
        self.turn = round(-(frame.rotation or 0) / 90) % 4
        self.height, self.width = (frame.width, frame.height) if self.turn % 2 else (frame.height, frame.width)

    def scaled(self, height: int, width: int, pixel_format: str) -> Pixels:
        """All of it, by FFmpeg's swscale: (height, width[, 3])."""
        if self.turn % 2:
            height, width = width, height
        out = self.reformatters.scaled(self.frame, height, width, pixel_format)
        return np.ascontiguousarray(np.rot90(out, -self.turn)) if self.turn else out

    def pixels(self, pixel_format: str) -> Pixels:
        return self.scaled(self.height, self.width, pixel_format)

    def small(self, height: int, width: int) -> Pixels:
        return self.scaled(height, width, "gray")

    def image(self, f: VideoFormat) -> Image:
        """All of it, or its central square, as a format asks for."""
        if f.resize != "swscale":
            return cut(self, None, f, self.reformatters)
        if f.crop != "center":
            return self.scaled(f.height, f.width, f.pixel_format)
        side = min(self.height, self.width)
        height, width = round(self.height * f.height / side), round(self.width * f.width / side)
        top, left = (height - f.height) // 2, (width - f.width) // 2
        whole = self.scaled(height, width, f.pixel_format)
        return np.ascontiguousarray(whole[top : top + f.height, left : left + f.width])


class ArrayPicture:
    """A frame that is there as pixels: (H, W, 3) RGB."""

    def __init__(self, rgb: Pixels, reformatters: Reformatters) -> None:
        self.rgb, self.reformatters = rgb, reformatters
        self.height, self.width = rgb.shape[:2]

    def pixels(self, pixel_format: str) -> Pixels:
        return to_gray(self.rgb) if pixel_format == "gray" else self.rgb

    def small(self, height: int, width: int) -> Pixels:
        return self.reformatters.scaled_array(self.rgb, height, width, "gray")


class Reformatters:
    """FFmpeg's scalers of one file, one per result: each keeps what it has set up while sizes stay."""

    def __init__(self) -> None:
        self._made: dict[tuple[int, int, str], Any] = {}

    def scaled(self, frame: Any, height: int, width: int, pixel_format: str) -> Pixels:
        """A frame of PyAV's as an array (height, width[, 3])."""
        import av

        key = height, width, pixel_format
        if key not in self._made:
            self._made[key] = av.video.reformatter.VideoReformatter()
        out = self._made[key].reformat(frame, width=width, height=height, format=pixel_format)
        return out.to_ndarray()

    def scaled_array(self, image: Pixels, height: int, width: int, pixel_format: str) -> Pixels:
        """The same of pixels (H, W[, 3])."""
        import av

        image = np.ascontiguousarray(image)
        given = av.VideoFrame.from_ndarray(image, format="rgb24" if image.ndim == 3 else "gray")
        return self.scaled(given, height, width, pixel_format)


def cut(picture: Picture, face: Square | None, f: VideoFormat, reformatters: Reformatters) -> Image:
    """What a format asks for of a frame, cut out in the frame's own size and then resized: (f.height, f.width[, 3])."""
    image = picture.pixels(f.pixel_format)
    if f.crop != "none":
        square = crop_square(f.crop, face, picture.height, picture.width)
        left, top, side = square.inside(picture.height, picture.width)
        image = np.ascontiguousarray(image[top : top + side, left : left + side])
    if f.resize == "swscale":
        return reformatters.scaled_array(image, f.height, f.width, f.pixel_format)
    return resize_frame(image, f.height, f.width, f.resize)


def to_gray(image: Pixels) -> Pixels:
    """Luma of an RGB image (..., 3) by ITU-R BT.601: (...)."""
    return np.rint(image @ np.array([0.299, 0.587, 0.114])).astype(np.uint8)
