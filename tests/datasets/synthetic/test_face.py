from __future__ import annotations

import numpy as np
import pytest

from avloc.datasets.synthetic.face import (
    PAD,
    FaceGeometry,
    Identity,
    Performance,
    _ellipse,
    _shift,
    add_camera_noise,
    perform,
    render,
)

SIZE = 64


def still(count, opening=0.0):
    zeros = np.zeros(count)
    return Performance(np.zeros((count, 2)), np.full(count, opening), zeros, zeros)


def test_layers_are_a_function_of_the_seed():
    layers = Identity(7, SIZE).layers()
    assert layers.background.shape == (SIZE, SIZE, 3)
    assert layers.head.shape == (SIZE + 2 * PAD, SIZE + 2 * PAD, 3)
    assert layers.alpha.shape == (SIZE + 2 * PAD, SIZE + 2 * PAD, 1)
    assert 0 <= layers.alpha.min() < layers.alpha.max() == 1
    again = Identity(7, SIZE).layers()
    np.testing.assert_array_equal(layers.head, again.head)
    assert layers.geometry == again.geometry != Identity(8, SIZE).layers().geometry


def test_geometry_stays_in_the_picture():
    for seed in range(20):
        geometry = FaceGeometry.draw(np.random.default_rng(seed))
        assert geometry.rx < geometry.x < 1 - geometry.rx
        assert geometry.ry < geometry.y < 1 - geometry.ry
        assert geometry.eye < geometry.rx


def test_mouth_opens_around_its_middle_only():
    identity = Identity(3, SIZE)
    closed, mouths = render(identity, still(2))
    opened, _ = render(identity, still(2, opening=1.0))
    assert closed.dtype == np.uint8
    np.testing.assert_array_equal(closed[0], closed[1])
    rows, columns = np.nonzero((closed[0] != opened[0]).any(axis=-1))
    assert abs(rows.mean() - mouths[0, 1]) < 3
    assert abs(columns.mean() - mouths[0, 0]) < 3
    assert np.ptp(rows) < 0.3 * SIZE


def test_mouth_follows_the_head():
    offset = np.array([[0.0, 0], [3, -2]])
    zeros = np.zeros(2)
    _, mouths = render(Identity(3, SIZE), Performance(offset, zeros, zeros, zeros))
    np.testing.assert_allclose(mouths[1] - mouths[0], [3, -2])


@pytest.mark.parametrize("count", [1, 7, 300])
def test_performance_keeps_the_head_in_the_padding(count):
    opening = np.linspace(0, 1, count)
    performance = perform(np.random.default_rng(1), opening, opening, 25)
    assert performance.offset.shape == (count, 2)
    assert np.abs(performance.offset).max() <= PAD - 3
    assert ((performance.closure >= 0) & (performance.closure <= 1)).all()
    np.testing.assert_array_equal(performance.opening, opening)


def test_blinks_come_about_every_three_seconds():
    performance = perform(np.random.default_rng(0), np.zeros(7500), np.zeros(7500), 25)  # 5 minutes
    assert 60 < np.count_nonzero(performance.closure == 1.0) < 140


def test_camera_noise_has_the_given_size_and_changes_with_the_frame():
    frames = np.full((3, 40, 50, 3), 128, dtype=np.uint8)
    noisy = add_camera_noise(np.random.default_rng(0), frames, sigma=4.0)
    assert noisy.shape == frames.shape
    assert (frames == 128).all()
    assert noisy.std() == pytest.approx(4 * np.hypot(0.75, 0.25), rel=0.15)
    assert (noisy[0] != noisy[1]).any()


def test_shift_by_whole_and_half_pixels():
    layer = np.zeros((8 + 2 * PAD, 8 + 2 * PAD, 1), dtype=np.float32)
    layer[PAD + 4, PAD + 4] = 1
    np.testing.assert_array_equal(np.argwhere(_shift(layer, np.array([0.0, 0]), 8))[:, :2], [[4, 4]])
    np.testing.assert_array_equal(np.argwhere(_shift(layer, np.array([2.0, -1]), 8))[:, :2], [[3, 6]])
    half = _shift(layer, np.array([0.5, 0]), 8)[..., 0]
    assert half[4, 4:6].tolist() == [0.5, 0.5]


def test_ellipse_covers_its_area():
    y, x = np.mgrid[0:101, 0:101].astype(np.float32) - 50
    coverage = _ellipse(x, y, 30, 20, 1)
    assert coverage[50, 50] == 1
    assert coverage[0, 0] == 0
    assert coverage.sum() == pytest.approx(np.pi * 30 * 20, rel=0.02)
