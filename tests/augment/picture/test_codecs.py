from __future__ import annotations

import numpy as np
import pytest

from avloc.augment.picture.codecs import H264, Jpeg


def error(augmentation, frames):
    return np.abs(augmentation(np.random.default_rng(1), frames).astype(float) - frames).mean()


@pytest.mark.parametrize("shape", [(1, 1, 1), (3, 17, 33, 3), (2, 46, 38, 1), (30, 20, 20)])
@pytest.mark.parametrize("augmentation", [H264(), Jpeg()], ids=repr)
def test_odd_sizes_and_grey_frames_keep_their_shape(augmentation, shape):
    frames = np.full(shape, 90, np.uint8)
    coded = augmentation(np.random.default_rng(1), frames)
    assert coded.shape == shape
    assert np.abs(coded.astype(int) - 90).max() <= 3


@pytest.mark.parametrize("gray", [False, True])
def test_a_better_quality_is_a_smaller_error(frames, gray):
    images = frames[..., 0] if gray else frames
    for augmentations in ([H264(crf=crf) for crf in (10, 30, 50)], [Jpeg(quantizer=q) for q in (2, 12, 31)]):
        errors = [error(augmentation, images) for augmentation in augmentations]
        assert errors[0] < errors[1] < errors[2]
        assert errors[0] < (2 if gray else 6)  # 4:2:0 smears the bar's colours


def test_many_frames_come_back_in_order():
    """More than x264's look-ahead, with frames that refer to later ones."""
    frames = np.repeat(np.arange(20, 220, 2, dtype=np.uint8), 32 * 32).reshape(100, 32, 32)
    coded = H264(crf=20)(np.random.default_rng(1), frames)
    assert np.abs(coded.mean(axis=(1, 2)) - np.arange(20, 220, 2)).max() < 1.5


def test_levels_are_full_range():
    frames = np.zeros((2, 32, 32, 3), np.uint8)
    frames[1] = 255
    for augmentation in (H264(crf=10), Jpeg(quantizer=2)):
        coded = augmentation(np.random.default_rng(1), frames)
        assert coded[0].mean() < 3
        assert coded[1].mean() > 252
