from __future__ import annotations

import numpy as np

from avloc.feature_extraction.extractors import residual_grid
from avloc.feature_extraction.extractors.catalog import build_extractor
from avloc.feature_extraction.extractors.residual_grid import LOG_FLOOR, MAPS, ResidualGrid


def test_chunks_do_not_show(monkeypatch, make_clip):
    extractor = build_extractor("residual_grid")
    clip = make_clip(extractor)
    whole = extractor.extract(clip).values
    monkeypatch.setattr(residual_grid, "CHUNK_FRAMES", 5)
    np.testing.assert_array_equal(extractor.extract(clip).values, whole)


def test_constant_picture_has_no_residual():
    (rows,) = ResidualGrid(size=16, cells=2).rows([np.full((3, 16, 16), 90, np.uint8)])
    assert rows.shape == (3, MAPS * 4)
    np.testing.assert_allclose(rows, np.log(LOG_FLOOR), atol=1e-4)


def test_flash_changes_motion_of_its_cell_only():
    frames = np.full((3, 16, 16), 90, np.uint8)
    frames[1, :8, 8:] += 10  # the upper right cell of four
    (rows,) = ResidualGrid(size=16, cells=2).rows([frames])
    motion = rows.reshape(3, MAPS, 4)[:, 3]
    np.testing.assert_allclose(motion[1:, 1], np.log(100 + LOG_FLOOR), atol=1e-4)
    np.testing.assert_allclose(motion[:, [0, 2, 3]], np.log(LOG_FLOOR), atol=1e-4)
