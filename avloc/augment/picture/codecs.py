"""Frames > a video codec of PyAV's, in memory > the same frames in the same order."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, ClassVar

import numpy as np

from avloc.augment.augmentation import Frames, PictureAugmentation, Random
from avloc.core.timeline import DEFAULT_FPS

SMALLEST = 16  # pixels of a macroblock
SUBSAMPLED = 2  # sides of 4:2:0 pictures are even


@dataclass(frozen=True, slots=True, kw_only=True)
class H264(PictureAugmentation):
    """A round trip through x264, 4:2:0.

    Attributes:
        crf: x264's quality, from 1, the best, to 51. Video portals use 18 to 28.

    >>> H264(crf=40)(np.random.default_rng(1), np.zeros((3, 33, 17, 3), np.uint8)).shape
    (3, 33, 17, 3)
    """

    LIMITS: ClassVar[Mapping[str, tuple[float, float]]] = {"crf": (1, 51)}

    crf: int = 30

    def change(self, rng: Random, frames: Frames) -> Frames:
        # As in avloc.datasets.synthetic.encode: the same frames give the same bytes.
        options = {"crf": str(self.crf), "preset": "veryfast", "threads": "1", "x264-params": "cpu-independent=1"}
        return _round_trip(frames, "libx264", "h264", "yuv420p", options)


@dataclass(frozen=True, slots=True, kw_only=True)
class Jpeg(PictureAugmentation):
    """A round trip of each frame through JPEG, 4:2:0.

    Attributes:
        quantizer: FFmpeg's scale of the quantization, from 2, the best, to 31.

    >>> Jpeg(quantizer=20)(np.random.default_rng(1), np.zeros((2, 33, 17), np.uint8)).shape
    (2, 33, 17)
    """

    LIMITS: ClassVar[Mapping[str, tuple[float, float]]] = {"quantizer": (2, 31)}

    quantizer: int = 8

    def change(self, rng: Random, frames: Frames) -> Frames:
        options = {"qmin": str(self.quantizer), "qmax": str(self.quantizer), "threads": "1"}
        return _round_trip(frames, "mjpeg", "mjpeg", "yuvj420p", options)


def _round_trip(frames: Frames, encoder: str, decoder: str, pixels: str, options: dict[str, str]) -> Frames:
    """Encode and decode frames: (T, H, W, C) → (T, H, W, C).

    Args:
        frames: the frames.
        encoder: FFmpeg's name.
        decoder: FFmpeg's name.
        pixels: pixel format of the encoder's input.
        options: of the encoder.
    """
    import av
    from av.video.reformatter import VideoReformatter

    _, height, width, channels = frames.shape
    image_format = "gray" if channels == 1 else "rgb24"
    bottom, right = (max(SMALLEST, -(-side // SUBSAMPLED) * SUBSAMPLED) - side for side in (height, width))
    writer: Any = av.CodecContext.create(encoder, "w")
    reader: Any = av.CodecContext.create(decoder, "r")
    writer.height, writer.width, writer.pix_fmt = height + bottom, width + right, pixels
    writer.time_base = Fraction(1, round(DEFAULT_FPS))
    writer.options = options
    reader.thread_count = 1
    to_codec, from_codec = VideoReformatter(), VideoReformatter()  # one each is many times faster than one per frame

    def decode(packets: list[Any]) -> Iterator[Frames]:
        for packet in packets:
            for frame in reader.decode(packet):
                image: Frames = np.asarray(from_codec.reformat(frame, format=image_format).to_ndarray(), np.uint8)
                yield image.reshape(height + bottom, width + right, channels)[:height, :width]

    decoded: list[Frames] = []
    for k, image in enumerate(frames):
        padded = np.ascontiguousarray(np.pad(image, ((0, bottom), (0, right), (0, 0)), mode="edge"))
        source = av.VideoFrame.from_ndarray(padded[..., 0] if channels == 1 else padded, format=image_format)
        source = to_codec.reformat(source, format=pixels)
        source.pts, source.time_base = k, writer.time_base
        decoded += decode(writer.encode(source))
    decoded += decode([*writer.encode(None), None])
    assert len(decoded) == len(frames), f"{encoder} made {len(decoded)} frames of {len(frames)}"
    return np.stack(decoded)
