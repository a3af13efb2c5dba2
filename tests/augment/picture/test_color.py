from __future__ import annotations

import numpy as np
import pytest

from avloc.augment.picture.color import Brightness, Contrast, Grey, PixelNoise, Saturation, luma


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("factor", [0.0, 0.4, 1.0, 1.7])
def test_colours_equal_torchvisions(factor, frames):
    torch = pytest.importorskip("torch")
    from torchvision.transforms.v2 import functional

    image = frames[4]
    pixels = torch.from_numpy(image).permute(2, 0, 1)
    for augmentation, reference in (
        (Brightness, functional.adjust_brightness),
        (Contrast, functional.adjust_contrast),
        (Saturation, functional.adjust_saturation),
    ):
        changed = augmentation(factor=factor)(np.random.default_rng(1), image[None])[0].astype(int)
        expected = reference(pixels, factor).permute(1, 2, 0).numpy()
        assert np.abs(changed - expected).max() <= 2, augmentation  # torchvision cuts off fractions, of the luma too


@pytest.mark.parametrize("augmentation", [Brightness, Contrast, Saturation])
def test_factor_1_changes_nothing(augmentation, frames):
    for images in (frames, frames[..., 0]):
        assert np.array_equal(augmentation(factor=1)(np.random.default_rng(1), images), images)


def test_contrast_has_one_mean_for_all_frames():
    frames = np.array([[[0]], [[100]]], np.uint8)
    assert Contrast(factor=0.5)(np.random.default_rng(1), frames).ravel().tolist() == [25, 75]


def test_grey_has_equal_channels_and_the_same_luma(frames):
    grey = Grey()(np.random.default_rng(1), frames)
    assert (grey == grey[..., :1]).all()
    assert np.abs(grey[..., :1] - luma(frames)).max() <= 0.5
    assert np.array_equal(Grey()(np.random.default_rng(1), frames[..., 1]), frames[..., 1])


@pytest.mark.parametrize("sigma", [1, 6, 20])
def test_noise_has_its_deviation_and_no_mean(sigma):
    frames = np.full((12, 40, 40, 3), 128, np.uint8)
    noise = PixelNoise(sigma=sigma)(np.random.default_rng(1), frames).astype(float) - 128
    assert noise.std() == pytest.approx(np.hypot(sigma, 12**-0.5), rel=0.02)
    assert abs(noise.mean()) < 4 * sigma / np.sqrt(noise.size)
    assert abs(np.corrcoef(noise[0].ravel(), noise[1].ravel())[0, 1]) < 0.05
