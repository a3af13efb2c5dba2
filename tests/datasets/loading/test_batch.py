from __future__ import annotations

import pickle
from typing import NamedTuple

import numpy as np
import torch

from avloc.core.records import VideoRecord
from avloc.core.timeline import TimeGrid
from avloc.datasets.loading.batch import Batch, ClipInputs, FeatureInputs, stack_targets
from avloc.heads.maps import MapTargetMaker
from avloc.heads.points import PointTargetMaker, Pyramid

RECORDS = [VideoRecord("a", "t"), VideoRecord("b", "t")]
GRIDS = [TimeGrid(0, 0.04, 3), TimeGrid(0.5, 0.04, 5)]


class Targets(NamedTuple):
    length: np.ndarray
    mask: np.ndarray


def make_targets(record, grid, length):
    """The clip's own length, its steps, and one unassigned segment per step."""
    return Targets(np.float32(grid.length), np.arange(length) < grid.length), grid.length


def test_targets_are_stacked_and_counts_added():
    targets, unassigned_segments = stack_targets(RECORDS, GRIDS, 5, make_targets)
    assert isinstance(targets, Targets)
    assert targets.length.tolist() == [3, 5]
    assert targets.mask.tolist() == [[True] * 3 + [False] * 2, [True] * 5]
    assert unassigned_segments == 8


def test_no_targets_without_maker_or_labels():
    assert stack_targets(RECORDS, GRIDS, 5, None) == (None, 0)
    hidden = [RECORDS[0], VideoRecord("b", "t", labelled=False)]
    assert stack_targets(hidden, GRIDS, 5, make_targets) == (None, 0)


def test_makers_of_both_heads_are_picklable():
    for maker in (PointTargetMaker(Pyramid(levels=2)), MapTargetMaker(3)):
        copy = pickle.loads(pickle.dumps(maker))
        targets, _ = stack_targets(RECORDS, GRIDS, 5, copy)
        assert all(len(tensor) == 2 for tensor in targets)


def test_a_batch_moves_with_its_tensors():
    inputs = ClipInputs(torch.zeros(2, 3, 5, 96, 96), torch.zeros(2, 64, 20), torch.tensor([3, 5]))
    batch = Batch(inputs, GRIDS, RECORDS, *stack_targets(RECORDS, GRIDS, 5, make_targets))
    moved = batch.to("meta")
    assert {tensor.device.type for tensor in (*moved.inputs, *moved.targets)} == {"meta"}
    assert isinstance(moved.inputs, ClipInputs)
    assert (moved.grids, moved.records, moved.unassigned_segments) == (GRIDS, RECORDS, 8)
    assert batch.inputs.video.device.type == "cpu"


def test_a_batch_without_targets_moves():
    inputs = FeatureInputs(*(torch.zeros(1, 5, 2) for _ in range(2)), *(torch.ones(1, 5) > 0 for _ in range(2)))
    moved = Batch(inputs, GRIDS[:1], RECORDS[:1], None, 0).to(torch.device("meta"))
    assert moved.targets is None
    assert moved.inputs.audio_mask.device.type == "meta"
