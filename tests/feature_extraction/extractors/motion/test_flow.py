from __future__ import annotations

import sys

import numpy as np
import pytest

from avloc.errors import AvlocError
from avloc.feature_extraction.extractors.motion.flow import Flow

SIDE = 128


@pytest.fixture(scope="module")
def texture():
    """A picture with detail everywhere, larger than a frame."""
    noise = np.random.default_rng(0).normal(size=(SIDE + 40, SIDE + 40))
    smooth = np.fft.ifft2(
        np.fft.fft2(noise) * np.exp(-(np.hypot(*np.meshgrid(*[np.fft.fftfreq(SIDE + 40)] * 2)) ** 2) * 80)
    )
    return np.interp(smooth.real, (smooth.real.min(), smooth.real.max()), (20, 235)).astype(np.uint8)


def test_a_known_motion_is_measured(texture):
    """The picture moves 1 pixel to the left and 2 down per frame."""
    pytest.importorskip("cv2")
    frames = np.stack([texture[20 - 2 * k : 20 - 2 * k + SIDE, 10 + k : 10 + k + SIDE] for k in range(5)])
    (rows,) = Flow(size=SIDE, cells=4).rows([frames])
    right, down, spread = (rows.reshape(5, 3, 4, 4)[:, plane] * SIDE / 100 for plane in range(3))
    assert not rows[0].any()  # nothing is before the first frame
    np.testing.assert_allclose(right[1:, 1:3, 1:3], -1, atol=0.25)
    np.testing.assert_allclose(down[1:, 1:3, 1:3], 2, atol=0.25)
    assert spread[1:, 1:3, 1:3].max() < 0.5


def test_a_part_that_moves_against_the_rest_shows_in_its_cell(texture):
    pytest.importorskip("cv2")
    frames = np.stack([texture[:SIDE, :SIDE]] * 3)
    frames[2, 32:64, 64:96] = texture[29:61, 62:94]
    (rows,) = Flow(size=SIDE, cells=4).rows([frames])
    motion = np.abs(rows.reshape(3, 3, 16)[:, :2]).sum(axis=1)
    assert motion[2].argmax() == 4 + 2
    assert motion[1].max() < 0.01


def test_the_crop_and_the_preset_are_remembered():
    extractor = Flow(preset="medium", crop="mouth")
    assert extractor.video_format.crop == "mouth"
    assert extractor.parameters() == {"size": 192, "cells": 8, "preset": "medium", "crop": "mouth"}
    assert (extractor.version, Flow().version) == (2, 1)
    with pytest.raises(AvlocError, match="extractor flow: preset must be one of ultrafast, fast, medium, got 'slow'"):
        Flow(preset="slow")


def test_missing_opencv_is_named_with_the_cure(monkeypatch):
    monkeypatch.setitem(sys.modules, "cv2", None)
    with pytest.raises(AvlocError, match=r"needs OpenCV, which is missing or broken; .* pip install 'avloc\[flow\]'"):
        Flow().load()
