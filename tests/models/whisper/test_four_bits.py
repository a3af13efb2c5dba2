from __future__ import annotations

import numpy as np
import pytest

from avloc.errors import AvlocError
from avloc.models.whisper import four_bits
from avloc.models.whisper.four_bits import dequantize, pack, quantize, unpack


def test_sixteen_steps_come_back_exactly():
    """A row per sign of the scale: −8 is further from 0 than 7."""
    steps = np.tile(np.arange(-8, 8, dtype=np.float32), 4)
    matrix = np.stack([steps * 0.25, steps * -0.25])
    codes, scales = quantize(matrix)
    assert scales.tolist() == [[0.25], [-0.25]]
    assert (codes[0, :4].tolist(), codes.dtype) == ([0x10, 0x32, 0x54, 0x76], np.uint8)
    assert np.array_equal(dequantize(codes, scales), matrix)


def test_each_group_has_a_scale_of_its_own():
    matrix = np.zeros((3, 192), np.float32)
    matrix[1, 64:128], matrix[2, 130] = 1e-3, -700
    codes, scales = quantize(matrix)
    assert (codes.shape, scales.shape, scales.dtype) == ((3, 96), (3, 3), np.float16)
    np.testing.assert_allclose(dequantize(codes, scales), matrix, rtol=1e-3, atol=0)


def test_the_scale_is_the_best_of_those_tried():
    """Checked by brute force. Cutting the largest number may cost less than coarse steps for all the others."""
    values = np.random.default_rng(0).normal(size=(50, 64)).astype(np.float32)
    rounded = dequantize(*quantize(values))
    errors = np.square(rounded - values).sum(1)
    for row, error in zip(values, errors, strict=True):
        top = row[np.abs(row).argmax()]
        tried = [
            np.square(np.clip(np.rint(row / scale), -8, 7) * scale - row).sum()
            for part in four_bits.SCALES_TRIED
            for scale in (np.float32(np.float16(top * part / -8)), np.float32(np.float16(top * part / 7)))
        ]
        assert error == pytest.approx(min(tried), rel=1e-5)
    assert (np.abs(rounded).max(1) < 0.97 * np.abs(values).max(1)).any()


def test_weights_of_a_network_are_packed_by_shape():
    rng = np.random.default_rng(1)
    weights = {
        "conv.weight": rng.normal(size=(3, 64, 2)),  # a matrix of (3, 128)
        "odd.weight": rng.normal(size=(3, 65)),
        "conv.bias": rng.normal(size=64),
    }
    packed = pack(weights)
    assert {name: values.dtype.name for name, values in packed.items()} == {
        "conv.weight/codes": "uint8",
        "conv.weight/scales": "float16",
        "odd.weight": "float16",
        "conv.bias": "float16",
    }
    back = unpack(packed)
    assert [*back] == [*weights]
    assert {values.dtype.name for values in back.values()} == {"float32"}
    np.testing.assert_allclose(back["odd.weight"], weights["odd.weight"], atol=2e-3)
    error = np.linalg.norm(back["conv.weight"] - weights["conv.weight"].reshape(3, -1))
    assert 0 < error < 0.12 * np.linalg.norm(weights["conv.weight"])


@pytest.mark.parametrize("shape", [(3, 65), (64,), (1, 2, 64)])
def test_other_shapes_are_refused(shape):
    with pytest.raises(AvlocError, match=r"want a matrix whose rows are a multiple of 64 long, got \("):
        quantize(np.zeros(shape))


@pytest.mark.parametrize("value", [np.nan, np.inf, 7e4])
def test_numbers_without_a_scale_are_refused(value):
    matrix = np.ones((2, 64), np.float32)
    matrix[1, 3] = value
    with pytest.raises(AvlocError, match="want numbers of a magnitude under 65504, got"):
        quantize(matrix)


def test_scales_of_other_groups_are_refused():
    codes, scales = quantize(np.ones((2, 128)))
    with pytest.raises(ValueError, match=r"want a scale per group, \(2, 2\), got \(2, 1\)"):
        dequantize(codes, scales[:, :1])
