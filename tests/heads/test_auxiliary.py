from __future__ import annotations

import pytest
import torch

from avloc.heads.auxiliary import PARTS, coarse_labels, part_labels


def test_frames_have_the_largest_label_of_their_steps():
    labels = torch.tensor([[[0.0, 0.3], [0.2, 0.0], [0.0, 0.0], [0.0, 0.0], [0.0, 0.0], [0.0, 0.7], [1.0, 0.0]]])
    assert coarse_labels(labels, 4)[0, :, 0].tolist() == pytest.approx([0.2, 0.2, 0.2, 0.2, 1, 1, 1])  # 7 = 4 + 3 steps
    assert coarse_labels(labels, 4)[0, :, 1].tolist() == pytest.approx([0.3, 0.3, 0.3, 0.3, 0.7, 0.7, 0.7])
    assert torch.equal(coarse_labels(labels, 1), labels)
    assert coarse_labels(labels, 16)[0, :, 0].tolist() == [1.0] * 7


def test_parts_of_segments_at_the_ends_of_a_clip():
    forged = torch.tensor([[[1.0, 0.0], [0.5, 0.0], [0.49, 1.0], [0.0, 0.0], [0.6, 0.9], [1.0, 0.8], [1.0, 0.7]]])
    parts = part_labels(forged)
    names = [[PARTS[k] for k in column] for column in parts[0].T.tolist()]
    assert names[0] == ["start", "end", "genuine", "genuine", "start", "middle", "end"]
    assert names[1] == ["genuine", "genuine", "unit", "genuine", "start", "middle", "end"]
    assert parts.dtype == torch.int64


@pytest.mark.parametrize("steps", [0, 1])
def test_short_clips(steps):
    labels = torch.ones(2, steps, 2)
    assert coarse_labels(labels, 4).shape == part_labels(labels).shape == (2, steps, 2)
    assert (part_labels(labels) == PARTS.index("unit")).all()
