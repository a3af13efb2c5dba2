from __future__ import annotations

import numpy as np
import pytest

from avloc.errors import AvlocError
from avloc.feature_extraction.extractors.motion.flow_grid import PLANES, check_grid, pool_flow


def test_cells_have_their_mean_and_the_distance_from_it():
    flow = np.zeros((2, 8, 8, 2))
    flow[1, :4, 4:] = [4.0, -2.0]  # the upper right cell of four moves as one
    flow[1, 4:, :4, 0] = np.where(
        np.arange(4) % 2, 3.0, 1.0
    )  # the lower left one in two parts, 1 pixel from their mean
    rows = pool_flow(flow, cells=2).reshape(2, PLANES, 4) * 8 / 100  # back to pixels
    assert not rows[0].any()
    np.testing.assert_allclose(rows[1], [[0, 4, 2, 0], [0, -2, 0, 0], [0, 0, 1, 0]], atol=1e-6)


def test_motion_is_relative_to_the_size_of_the_picture():
    small, large = np.full((1, 8, 8, 2), 1.0), np.full((1, 32, 32, 2), 4.0)
    np.testing.assert_allclose(pool_flow(small, 2), pool_flow(large, 2), rtol=1e-6)


@pytest.mark.parametrize(("size", "cells"), [(100, 4), (56, 4), (2048, 4), (128, 0), (128, 5)])
def test_sizes_that_do_not_fit(size, cells):
    check_grid("x", 128, 4, fewest=64, most=1024)
    with pytest.raises(AvlocError, match=f"extractor x: size must be a multiple of cells .* got size {size}, cells"):
        check_grid("x", size, cells, fewest=64, most=1024)
