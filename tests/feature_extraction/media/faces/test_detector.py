from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
import torch
from torchvision.transforms.functional import rotate

from avloc.feature_extraction.media.cropping import ArrayPicture, Reformatters
from avloc.feature_extraction.media.faces.detector import FaceDetector, stretch

BOX_MIDDLE, BOX_SIDE, MOUTH = (0.49, 0.461), 0.444, (0.492, 0.55)  # of the face, relative to the portrait's side


def pictures(*frames):
    reformatters = Reformatters()
    return [ArrayPicture(np.ascontiguousarray(frame), reformatters) for frame in frames]


@pytest.mark.parametrize("scale", [1, 5])
def test_face_and_mouth_in_the_pictures_own_pixels(portrait_frames, scale):
    frame = portrait_frames([(130, 30)])[0].repeat(scale, axis=0).repeat(scale, axis=1)
    ((face,),) = FaceDetector()(pictures(frame))
    left_top, side = np.array([130, 30]), 120

    def place(relative):
        return pytest.approx(scale * (left_top + side * np.array(relative)), abs=4 * scale)

    assert (face.x, face.y) == place(BOX_MIDDLE)
    assert (face.mouth_x, face.mouth_y) == place(MOUTH)
    assert face.side == pytest.approx(scale * side * BOX_SIDE, rel=0.1)


def test_pictures_of_several_sizes(portrait, portrait_frames):
    wide, empty = portrait_frames([(10, 20), None])
    one, other, nobody, same = FaceDetector()(pictures(portrait, wide, empty, portrait))
    assert len(one) == len(other) == 1
    assert nobody == []
    assert same == one
    assert FaceDetector()([]) == []


@pytest.mark.parametrize("shape", [(8, 30), (1, 1), (4, 2000), (23, 23)])
def test_pictures_without_room_for_a_face(shape):
    assert FaceDetector()(pictures(np.zeros((*shape, 3), np.uint8))) == [[]]


def test_faces_in_the_dark(portrait):
    """At 5 % of the light the networks detect nothing; the contrast of such pictures alone is stretched."""
    dark, black = portrait // 20, np.zeros_like(portrait)
    assert stretch(dark).max() == 255
    assert stretch(portrait) is stretch(black) is None
    (bright,), (face,), nobody = FaceDetector()(pictures(portrait, dark, black))
    assert face == pytest.approx(bright, abs=4)
    assert nobody == []


def test_turned_head_has_its_mouth_where_it_is(portrait):
    """In a portrait rolled by 30° the mouth is not below the middle of the box."""
    rolled = rotate(torch.from_numpy(portrait).permute(2, 0, 1), -30).permute(1, 2, 0).numpy()
    ((face,),) = FaceDetector()(pictures(rolled))
    turn = np.deg2rad(30)
    x, y = np.array(MOUTH) * 192 - 96
    expected = 96 + x * np.cos(turn) - y * np.sin(turn), 96 + x * np.sin(turn) + y * np.cos(turn)
    assert (face.mouth_x, face.mouth_y) == pytest.approx(expected, abs=4)


def test_torch_is_imported_with_the_first_picture_only():
    code = "import sys; from avloc.feature_extraction.media.decode import decode; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
