from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from avloc.errors import AvlocError

NAMES = ["nearest-generator", "transposed-generator"]


class Inverter(nn.Module):
    """A generator that returns the negative."""

    def forward(self, pictures, random=None):
        return -pictures


class Copier(nn.Module):
    def forward(self, pictures, random=None):
        return pictures


def scene():
    frames = np.random.default_rng(0).integers(0, 256, (7, 45, 64, 3), dtype=np.uint8)
    mouths = np.full((7, 2), [30.0, 20.0])
    mouths[5] = 0, 44  # the corner
    return frames, mouths, np.array([0, 0, 1, 1, 0, 1, 0], dtype=bool)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("side", [4, 20, 48])
def test_pictures_keep_their_shape(name, side):
    from forging.mouth_generators import GENERATORS

    generator = GENERATORS[name].build()
    assert generator(torch.zeros(3, 3, side, side)).shape == (3, 3, side, side)


@pytest.mark.parametrize("name", NAMES)
def test_latent_picture_is_narrow_and_bounded(name):
    from forging.mouth_generators import GENERATORS, LATENT_CHANNELS

    latent = GENERATORS[name].build().encoder(10 * torch.randn(2, 3, 48, 48))
    assert latent.shape == (2, LATENT_CHANNELS, 12, 12)
    assert latent[0].numel() * 6 == 3 * 48 * 48
    assert latent.abs().max() <= 1


@pytest.mark.parametrize("name", NAMES)
def test_noise_comes_from_the_given_source(name):
    from forging.mouth_generators import GENERATORS

    generator, pictures = GENERATORS[name].build(), torch.randn(2, 3, 16, 16)

    def painted(seed):
        with torch.no_grad():
            return generator(pictures, torch.Generator().manual_seed(seed))

    assert torch.equal(painted(1), painted(1))
    assert not torch.equal(painted(1), painted(2))


@pytest.mark.parametrize("name", NAMES)
def test_weights_are_small_and_come_back(name, tmp_path):
    from forging.mouth_generators import GENERATORS, load_generator, save_generator

    torch.manual_seed(0)
    generator, pictures = GENERATORS[name].build().eval(), torch.rand(2, 3, 48, 48) * 2 - 1
    save_generator(generator, name, tmp_path)
    assert (tmp_path / GENERATORS[name].file).stat().st_size <= 3_000_000
    forger = load_generator(name, tmp_path)
    assert not forger.generator.training
    random = [torch.Generator().manual_seed(3) for _ in range(2)]
    torch.testing.assert_close(forger.generator(pictures, random[0]), generator(pictures, random[1]), atol=1e-2, rtol=0)


def test_missing_weights_name_the_script(tmp_path):
    from forging.mouth_generators import load_generator

    with pytest.raises(AvlocError, match="no weights of the transposed-generator; train it by train_mouths.py"):
        load_generator("transposed-generator", tmp_path)


@pytest.mark.parametrize("side", [13, 16, 45])
def test_mouths_of_forged_frames_are_inverted_and_nothing_else(side):
    from forging.mouth_generators import MouthForger

    frames, mouths, forged = scene()
    original = frames.copy()
    MouthForger(Inverter(), side=side if side % 4 == 0 else 12)(frames, mouths, forged, side, 2.2)
    np.testing.assert_array_equal(frames[~forged], original[~forged])
    if side == 16:  # the generator's own size: nothing is resized
        np.testing.assert_allclose(frames[2, 20, 30].astype(int), 255 - original[2, 20, 30].astype(int), atol=1)
        np.testing.assert_allclose(frames[5, 37, 8].astype(int), 255 - original[5, 37, 8].astype(int), atol=1)
    changed = (frames != original).any(axis=3)
    for t, (left, top) in {2: (30 - side / 2, 20 - side / 2), 5: (0, 45 - side)}.items():
        top, left = max(0, int(top)), int(left)
        assert changed[t, top : top + side, left : left + side].mean() > 0.5
        changed[t, top : top + side, left : left + side] = False
        assert not changed[t].any()


def test_copied_mouths_change_by_resizing_alone():
    from forging.mouth_generators import MouthForger

    y, x = np.mgrid[0:60, 0:80]
    smooth = np.stack([2 * x, 3 * y, 128 + 0 * x], axis=-1).astype(np.uint8)
    frames = np.repeat(smooth[None], 3, axis=0)
    MouthForger(Copier())(frames, np.full((3, 2), [40.0, 30.0]), np.ones(3, bool), 37, 1.8)
    assert np.abs(frames.astype(int) - smooth).max() <= 3


def test_more_frames_than_a_batch_and_none():
    from forging import mouth_generators

    count = mouth_generators.BATCH + 3
    frames = np.full((count, 24, 24, 3), 50, dtype=np.uint8)
    forger = mouth_generators.MouthForger(Inverter(), side=12)
    forger(frames, np.full((count, 2), 12.0), np.zeros(count, dtype=bool), 12, 2.0)
    assert (frames == 50).all()
    forger(frames, np.full((count, 2), 12.0), np.ones(count, dtype=bool), 12, 2.0)
    assert (frames[:, 12, 12] == 205).all()


@pytest.mark.parametrize("name", NAMES)
def test_trained_generators_change_little_and_keep_colours(name):
    """Trained weights on people that nobody trained on: visible changes are small, yet nearly every pixel changes."""
    from forging.mouth_generators import load_generator
    from forging.sound_forgers import WEIGHTS

    from avloc.datasets.synthetic import face

    rng = np.random.default_rng(17)
    performance = face.perform(rng, np.linspace(0, 1, 6), np.linspace(1, 0, 6), 25)
    frames, mouths = face.render(face.Identity(seed=17, size=192), performance)
    frames = face.add_camera_noise(rng, frames, 4)
    original, forged = frames.copy(), np.array([0, 1, 1, 1, 1, 0], dtype=bool)
    load_generator(name, WEIGHTS)(frames, mouths, forged, 60, 2.2)
    np.testing.assert_array_equal(frames[~forged], original[~forged])
    top, left = (int(c) for c in mouths[2][::-1] - 15)
    inner = np.s_[2, top : top + 30, left : left + 30]
    difference = frames[inner].astype(float) - original[inner]
    assert 1 < np.abs(difference).mean() < 12
    assert np.abs(difference.mean(axis=(0, 1))).max() < 6
    assert (difference != 0).any(axis=2).mean() > 0.8
    again = original.copy()
    load_generator(name, WEIGHTS)(again, mouths, forged, 60, 3.0)
    np.testing.assert_array_equal(again, frames)
