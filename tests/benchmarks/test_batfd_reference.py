from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from avloc.core.timeline import TimeGrid
from avloc.heads.map_nms import SoftNMS, soft_nms_map
from avloc.heads.maps import boundary_map
from avloc.models.batfd.boundary_module import BoundaryModule
from avloc.models.batfd.boundary_sampling import cell_sampling
from avloc.models.batfd.plus import RelationModule


@pytest.fixture
def size():
    from batfd_reference import MapSize

    return MapSize(frames=12, durations=6, samples=4)


def test_dense_weights_by_hand():
    from batfd_reference import MapSize, dense_weights

    weights = dense_weights(MapSize(frames=3, durations=1, samples=3)).reshape(3, 3, 1, 3)
    # Cell (0, 0) is the segment [0, 1): its points lie at -0.5, 0.5 and 1.5.
    assert weights[:, :, 0, 0].T.tolist() == [[0, 0, 0], [0.5, 0.5, 0], [0, 0.5, 0.5]]
    # As published, cell (0, 1) has the length 0 and three points on frame 1, each counted twice.
    assert weights[:, :, 0, 1].T.tolist() == [[0, 2, 0]] * 3


def test_dense_trunk_equals_the_sparse_one(size):
    from batfd_reference import dense_trunk, dense_weights

    torch.manual_seed(0)
    module = BoundaryModule(features=5, samples=size.samples, widths=(7, 3)).eval()
    features = torch.randn(2, 5, size.frames)
    cells = cell_sampling(size.frames, size.durations, size.samples, "published")
    with torch.inference_mode():
        dense = dense_trunk(module, features, dense_weights(size), size)
        torch.testing.assert_close(dense, module.trunk(features, cells), atol=1e-5, rtol=1e-5)


def test_dense_relation_equals_the_fused_one(size):
    from batfd_reference import dense_relation, dense_weights

    torch.manual_seed(0)
    module = RelationModule(features=5, samples=size.samples, widths=(8, 6)).eval()
    features = torch.randn(1, 5, size.frames)
    cells = cell_sampling(size.frames, size.durations, size.samples, "published")
    with torch.inference_mode():
        dense = dense_relation(module, features, dense_weights(size), size)
        torch.testing.assert_close(dense, module(features, cells), atol=1e-5, rtol=1e-5)


def test_list_nms_by_hand():
    from batfd_reference import list_nms

    # [0, 1) and [0, 2) s overlap by half; the last one is never picked, as published.
    scores = np.array([[0.9, 0.8], [-math.inf, 0.1]])
    rows = list_nms(scores, 1.0, 5, SoftNMS(alpha=0.5, low=0.2, high=0.3))
    assert rows == [[0.9, 0.0, 1.0], [pytest.approx(0.8 * math.exp(-0.5)), 0.0, 2.0]]
    assert list_nms(np.full((2, 2), -math.inf), 1.0, 5, SoftNMS()) == []


def test_list_nms_equals_the_map_one():
    from batfd_reference import list_nms

    scores = np.random.default_rng(0).random((9, 5))
    cells, kept = soft_nms_map(scores, first_width=1, hop_s=0.04, keep=20)
    expected = np.column_stack([kept, cells[:, 0] * 0.04, (cells.sum(axis=1) + 1) * 0.04])
    np.testing.assert_allclose(list_nms(scores, 0.04, 20, SoftNMS()), expected, atol=1e-12)


def test_loop_label_equals_the_boundary_map():
    from batfd_reference import loop_label

    segments = np.array([[0.1, 0.31], [0.5, 0.9]])
    label = loop_label(segments, frames=25, steps=25, durations=12)
    np.testing.assert_allclose(label, boundary_map(segments, TimeGrid(0, 0.04, 25), 12, 25), atol=1e-6)
    assert not loop_label(np.zeros((0, 2)), frames=5, steps=5, durations=3).any()
