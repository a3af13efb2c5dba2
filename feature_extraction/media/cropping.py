"""A decoded frame and a square > the crop that an extractor asks for, upright, in the extractor's size.

Squares are in pixels of the upright picture at its decoded size, so that a small face keeps its detail.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, get_args

import numpy as np
import numpy.typing as npt

from avloc.errors import AvlocError
from avloc.feature_extraction.media.resize import resize_frame
from avloc.feature_extraction.media.types import Crop

if TYPE_CHECKING:
    from avloc.feature_extraction.media.types import ImageArray, VideoFormat

Pixels = npt.NDArray[np.uint8]
"""(H, W, 3) RGB, or (H, W) grey."""


FACE_MARGIN = 1.2  # side of a face's square, relative to the face's own side
MOUTH_SIDE = 0.55  # side of a mouth's square, relative to the face's side; the corners of the lips are about 0.26 apart


class Square(NamedTuple):
    """A square, by the pixel coordinates of its middle and the length of its side."""

    x: float
    y: float
    side: float

    def inside(self, height: int, width: int) -> tuple[int, int, int]:
        """Left, top and side in whole pixels, shrunk and then moved until the square lies in the picture.

        >>> Square(5, 50, 20).inside(height=60, width=80)
        (0, 40, 20)
        >>> Square(5, 50, 200).inside(height=60, width=80)
        (0, 0, 60)
        """
        side = max(1, min(round(self.side), height, width))
        left, top = (round(middle - side / 2) for middle in (self.x, self.y))
        return min(max(left, 0), width - side), min(max(top, 0), height - side), side


class Face(NamedTuple):
    """A detected face, in pixels.

    Attributes:
        x: the middle of its box from forehead to chin.
        y: the same.
        side: the longer side of the box.
        mouth_x: the point between the corners of the mouth.
        mouth_y: the same.
    """

    x: float
    y: float
    side: float
    mouth_x: float
    mouth_y: float


def parse_crop(crop: str) -> Crop:
    """Look up a crop by its name.

    Raises:
        AvlocError: if no crop has this name.
    """
    for name in get_args(Crop):
        if crop == name:
            return name
    raise AvlocError(f"crop must be one of {', '.join(get_args(Crop))}, got {crop!r}")


def needs_face(crop: Crop) -> bool:
    """Tell if a crop is cut out around a detected face."""
    return crop in ("face", "mouth")


def crop_square(crop: Crop, face: Face | None, height: int, width: int) -> Square:
    """The square to cut out for a crop: around the face or its mouth, or the central square without a face."""
    if face is None or not needs_face(crop):
        return Square(width / 2, height / 2, min(height, width))
    if crop == "face":
        return Square(face.x, face.y, face.side * FACE_MARGIN)
    return Square(face.mouth_x, face.mouth_y, face.side * MOUTH_SIDE)


class Picture(Protocol):
    """A decoded frame, upright.

    Attributes:
        height: pixels.
        width: pixels.
    """

    height: int
    width: int

    def pixels(self, pixel_format: str) -> Pixels:
        """The whole picture in its own size: (H, W) for `gray`, (H, W, 3) for `rgb24`."""
        ...

    def small(self, height: int, width: int) -> Pixels:
        """The whole picture in RGB, in another size: (height, width, 3)."""
        ...


class AvPicture:
    """A frame of PyAV's, rotated as its metadata say.

    Args:
        frame: the frame.
        reformatters: shared by the frames of a file: several times faster than new ones per frame.
    """

    def __init__(self, frame: Any, reformatters: Reformatters) -> None:
        self.frame, self.reformatters = frame, reformatters
        self.turn = round(-(frame.rotation or 0) / 90) % 4
        self.height, self.width = (frame.width, frame.height) if self.turn % 2 else (frame.height, frame.width)

    def scaled(self, height: int, width: int, pixel_format: str) -> Pixels:
        """The whole picture, scaled by FFmpeg's swscale: (height, width[, 3])."""
        if self.turn % 2:
            height, width = width, height
        out = self.reformatters.scaled(self.frame, height, width, pixel_format)
        return np.ascontiguousarray(np.rot90(out, -self.turn)) if self.turn else out

    def pixels(self, pixel_format: str) -> Pixels:
        return self.scaled(self.height, self.width, pixel_format)

    def small(self, height: int, width: int) -> Pixels:
        return self.scaled(height, width, "rgb24")

    def image(self, f: VideoFormat) -> ImageArray:
        """The picture, or its central square, in a format that needs no face."""
        if f.resize != "swscale":
            return crop_frame(self, None, f, self.reformatters)
        if f.crop != "center":
            return self.scaled(f.height, f.width, f.pixel_format)
        side = min(self.height, self.width)
        height, width = round(self.height * f.height / side), round(self.width * f.width / side)
        top, left = (height - f.height) // 2, (width - f.width) // 2
        whole = self.scaled(height, width, f.pixel_format)
        return np.ascontiguousarray(whole[top : top + f.height, left : left + f.width])


class ArrayPicture:
    """A frame that was decoded to an array (H, W, 3) RGB."""

    def __init__(self, rgb: Pixels, reformatters: Reformatters) -> None:
        self.rgb, self.reformatters = rgb, reformatters
        self.height, self.width = rgb.shape[:2]

    def pixels(self, pixel_format: str) -> Pixels:
        return to_gray(self.rgb) if pixel_format == "gray" else self.rgb

    def small(self, height: int, width: int) -> Pixels:
        return self.reformatters.scaled_array(self.rgb, height, width, "rgb24")


class Reformatters:
    """FFmpeg's scalers for one file, one per result size and format: each reuses its setup while sizes stay."""

    def __init__(self) -> None:
        self._reformatters: dict[tuple[int, int, str], Any] = {}

    def scaled(self, frame: Any, height: int, width: int, pixel_format: str) -> Pixels:
        """Scale a frame of PyAV's to an array (height, width[, 3])."""
        import av

        key = height, width, pixel_format
        if key not in self._reformatters:
            self._reformatters[key] = av.video.reformatter.VideoReformatter()
        out = self._reformatters[key].reformat(frame, width=width, height=height, format=pixel_format)
        return out.to_ndarray()

    def scaled_array(self, image: Pixels, height: int, width: int, pixel_format: str) -> Pixels:
        """Scale pixels (H, W[, 3]) to an array (height, width[, 3])."""
        import av

        image = np.ascontiguousarray(image)
        frame = av.VideoFrame.from_ndarray(image, format="rgb24" if image.ndim == 3 else "gray")
        return self.scaled(frame, height, width, pixel_format)


def crop_frame(picture: Picture, face: Face | None, f: VideoFormat, reformatters: Reformatters) -> ImageArray:
    """Bring a frame to a format: crop it in its own size, then resize it: (f.height, f.width[, 3])."""
    image = picture.pixels(f.pixel_format)
    if f.crop != "none":
        square = crop_square(f.crop, face, picture.height, picture.width)
        left, top, side = square.inside(picture.height, picture.width)
        image = np.ascontiguousarray(image[top : top + side, left : left + side])
    if f.resize == "swscale":
        return reformatters.scaled_array(image, f.height, f.width, f.pixel_format)
    return resize_frame(image, f.height, f.width, f.resize)


def to_gray(image: Pixels) -> Pixels:
    """Compute the luma of an RGB image (..., 3) by ITU-R BT.601: (...).

    >>> to_gray(np.uint8([[255, 0, 0], [255, 255, 255]])).tolist()
    [76, 255]
    """
    return np.rint(image @ np.array([0.299, 0.587, 0.114])).astype(np.uint8)
