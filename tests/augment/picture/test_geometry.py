from __future__ import annotations

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from avloc.augment.picture.geometry import Blur, Crop, Downscale, gaussian, linear, resample


@pytest.mark.parametrize(("source", "target"), [(5, 9), (9, 5), (7, 7), (1, 4), (4, 1)])
def test_linear_interpolation_equals_torch(source, target):
    torch = pytest.importorskip("torch")
    values = np.random.default_rng(1).uniform(0, 255, source)
    expected = torch.nn.functional.interpolate(
        torch.tensor(np.tile(values[:, None], 3))[None, None], (target, 3), mode="bilinear", antialias=True
    )
    assert linear(source, target) @ values == pytest.approx(expected[0, 0, :, 1].numpy(), rel=1e-5)


def test_resampling_equals_plain_loops():
    rng = np.random.default_rng(1)
    frames = rng.integers(0, 256, (2, 5, 4, 3)).astype(np.uint8)
    rows, columns = linear(5, 7), linear(4, 3)
    expected = np.rint(np.einsum("ab,tbcd,ec->taed", rows.toarray(), frames.astype(np.float64), columns.toarray()))
    assert np.abs(resample(frames, rows, columns).astype(int) - expected).max() <= 1


def test_the_whole_scale_changes_nothing(frames):
    assert np.array_equal(Downscale(scale=1.0)(np.random.default_rng(1), frames), frames)
    assert np.array_equal(Blur(sigma=0.0)(np.random.default_rng(1), frames), frames)
    assert np.array_equal(Crop(share=0.0)(np.random.default_rng(1), frames), frames)


@pytest.mark.parametrize("augmentation", [Downscale(scale=0.4), Blur(sigma=0.05)], ids=repr)
def test_the_middle_of_a_spot_stays(augmentation):
    rows, columns = np.mgrid[:40, :52]
    spot = 250 * np.exp(-((rows - 17) ** 2 + (columns - 30) ** 2) / 30)
    changed = augmentation(np.random.default_rng(1), spot[None].astype(np.uint8))[0].astype(float)
    assert (changed * rows).sum() / changed.sum() == pytest.approx(17, abs=0.3)
    assert (changed * columns).sum() / changed.sum() == pytest.approx(30, abs=0.3)


def test_a_blur_equals_scipys(frames):
    image = frames[3, ..., 0]
    blurred = Blur(sigma=2 / 46)(np.random.default_rng(1), image[None])[0].astype(float)
    expected = gaussian_filter(image.astype(float), np.hypot(2, 12**-0.5), truncate=3)  # a pixel is a box
    assert np.abs(blurred - expected)[8:-8, 8:-8].max() <= 1


def test_weights_sum_to_1():
    for matrix in (linear(9, 4), linear(4, 9), linear(9, 9, 1.5, 7), gaussian(9, 1.3), gaussian(9, 40)):
        assert matrix.sum(axis=1) == pytest.approx(1)


def test_a_smaller_scale_loses_more(frames):
    errors = [
        np.abs(Downscale(scale=s)(np.random.default_rng(1), frames).astype(float) - frames).mean()
        for s in (0.7, 0.4, 0.1)
    ]
    assert errors[0] < errors[1] < errors[2]


@pytest.mark.parametrize("seed", range(4))
def test_a_crop_is_a_part_of_the_picture_scaled_up(seed):
    """A ramp stays a ramp: its slope tells the size of the part, its begin the place."""
    ramp = np.repeat((5 * np.arange(50, dtype=np.uint8))[None, :, None], 30, axis=2)
    cropped = Crop(share=0.2)(np.random.default_rng(seed), ramp)[0, 3:-3, 4].astype(float)
    assert np.polyfit(np.arange(len(cropped)), cropped, 1)[0] == pytest.approx(5 * 0.8, rel=0.02)
    halved = Crop(share=0.2, level=0.5)(np.random.default_rng(seed), ramp)[0, 3:-3, 4].astype(float)
    assert np.polyfit(np.arange(len(halved)), halved, 1)[0] == pytest.approx(5 * 0.9, rel=0.02)


def test_a_crop_is_the_same_in_all_frames(frames):
    still = np.repeat(frames[:1], 5, axis=0)
    cropped = Crop(share=0.3)(np.random.default_rng(1), still)
    assert (cropped == cropped[0]).all()
