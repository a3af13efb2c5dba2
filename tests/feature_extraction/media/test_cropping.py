from __future__ import annotations

from fractions import Fraction

import av
import numpy as np
import pytest

from avloc.errors import AvlocError
from avloc.feature_extraction.media.cropping import (
    ArrayPicture,
    AvPicture,
    Face,
    Reformatters,
    Square,
    crop_frame,
    crop_square,
    needs_face,
    parse_crop,
    to_gray,
)
from avloc.feature_extraction.media.types import VideoFormat


def test_squares_of_crops():
    face = Face(100, 90, 50, 104, 115)
    assert crop_square("face", face, 240, 320) == pytest.approx((100, 90, 60))
    assert crop_square("mouth", face, 240, 320) == pytest.approx((104, 115, 27.5))
    assert crop_square("face", None, 240, 320) == Square(160, 120, 240)
    assert crop_square("center", face, 240, 320) == Square(160, 120, 240)


def test_squares_are_moved_into_the_picture():
    assert Square(40, 30, 20).inside(60, 80) == (30, 20, 20)
    assert Square(-9, 75, 20).inside(60, 80) == (0, 40, 20)
    assert Square(40, 30, 0.2).inside(60, 80) == (40, 30, 1)
    assert Square(500, 500, 500).inside(60, 80) == (20, 0, 60)


def test_crops_by_name():
    assert [crop for crop in ("none", "center", "face", "mouth") if needs_face(parse_crop(crop))] == ["face", "mouth"]
    with pytest.raises(AvlocError, match="crop must be one of none, center, face, mouth, got 'nose'"):
        parse_crop("nose")


def test_luma():
    rgb = np.array([[[255, 0, 0], [0, 255, 0]], [[0, 0, 255], [10, 10, 10]]], np.uint8)
    assert to_gray(rgb).tolist() == [[76, 150], [29, 10]]


@pytest.fixture
def quadrants():
    """60 × 80 RGB: left and right halves of 40 and 200, with a white square of 20 around (30, 20)."""
    rgb = np.full((60, 80, 3), 40, np.uint8)
    rgb[:, 40:] = 200
    rgb[10:30, 20:40] = 255
    return rgb


@pytest.mark.parametrize("resize", ["swscale", "nearest", "bicubic"])
def test_crop_is_cut_in_the_frames_own_size(quadrants, resize):
    reformatters = Reformatters()
    picture = ArrayPicture(quadrants, reformatters)
    mouth = VideoFormat(10, 10, resize=resize, crop="mouth")
    face = Face(28, 11, 32, 30, 20)  # the side of its mouth's square is 18
    image = crop_frame(picture, face, mouth, reformatters)
    assert image.shape == (10, 10, 3)
    assert image == pytest.approx(1.0 if resize == "bicubic" else 255, abs=0.01 if resize == "bicubic" else 2)
    central = crop_frame(picture, None, mouth, reformatters)  # without a face: columns 10 to 70
    scale = 255 if resize == "bicubic" else 1
    assert scale * central[8:, :4] == pytest.approx(40, abs=6)
    assert scale * central[8:, 6:] == pytest.approx(200, abs=6)


def test_array_picture(quadrants):
    picture = ArrayPicture(quadrants, Reformatters())
    assert (picture.height, picture.width) == (60, 80)
    assert picture.pixels("rgb24") is quadrants
    assert picture.pixels("gray")[:, 45:] == pytest.approx(200, abs=1)
    assert picture.small(6, 8).shape == (6, 8, 3)
    assert picture.small(6, 8)[:, 5:] == pytest.approx(200, abs=2)


class Rotated:
    """A frame of PyAV's whose file says that it is rotated."""

    pts, time_base, duration = 0, Fraction(1, 25), 1

    def __init__(self, rgb, rotation):
        self.frame, self.rotation = av.VideoFrame.from_ndarray(rgb, format="rgb24"), rotation
        self.height, self.width = rgb.shape[:2]


@pytest.mark.parametrize(("rotation", "turns"), [(0, 0), (-90, 1), (180, 2), (90, 3)])
def test_rotated_frames_are_upright(quadrants, monkeypatch, rotation, turns):
    reformatters = Reformatters()
    scaled = reformatters.scaled
    monkeypatch.setattr(reformatters, "scaled", lambda frame, *rest: scaled(getattr(frame, "frame", frame), *rest))
    picture = AvPicture(Rotated(quadrants, rotation), reformatters)
    upright = np.rot90(quadrants, -turns)  # clockwise
    assert (picture.height, picture.width) == upright.shape[:2]
    np.testing.assert_array_equal(picture.pixels("rgb24"), upright)
    center = picture.image(VideoFormat(60, 60, crop="center"))
    top, left = (picture.height - 60) // 2, (picture.width - 60) // 2
    np.testing.assert_array_equal(center, upright[top : top + 60, left : left + 60])


def test_scaler_is_reused_per_size_and_format(quadrants):
    reformatters = Reformatters()
    for _ in range(3):
        assert reformatters.scaled_array(quadrants, 6, 8, "gray").shape == (6, 8)
        assert reformatters.scaled_array(quadrants, 6, 8, "rgb24").shape == (6, 8, 3)
    assert len(reformatters._reformatters) == 2
