from __future__ import annotations

import pytest
import torch

from avloc.models.boundary_transformer.point_branch import PointBranch, point_positions

TINY = {
    "width": 4,
    "heads": 1,
    "levels": 2,
    "outputs": 1,
    "distance_bins": 5,
    "evidence_channels": 3,
    "refine": True,
    "radius": 4,
    "dropout": 0.0,
}


class _Constant(torch.nn.Module):
    def __init__(self, value):
        super().__init__()
        self.value = value

    def forward(self, x, mask):
        return self.value


def full(length):
    return torch.ones(1, length, dtype=torch.bool)


def run(branch, x):
    """The output of a branch that looks twice at the same stream."""
    return branch(x, x, full(x.shape[1]), full(x.shape[1]))


def test_evidence_is_of_the_branch_s_own_stream():
    """What both streams show moves the points, but the second look at a segment sees one of them."""
    torch.manual_seed(0)
    branch, x = PointBranch(**TINY), torch.randn(1, 6, 4)
    torch.nn.init.normal_(branch.evidence.out.weight)
    branch.refine = False
    first, second = (branch(x, stream, full(6), full(6)) for stream in (x, torch.randn(1, 6, 4)))
    torch.testing.assert_close(first.distances, second.distances)
    assert not torch.allclose(first.logits, second.logits)


def test_distances_are_of_single_precision_under_autocast():
    """The mean of three bins is 65.5 / 3 strides; in bfloat16 it would be 21.875."""
    branch = PointBranch(**{**TINY, "distance_bins": 24})
    logits = torch.full((1, 47, 48), -50.0)
    logits[..., [20, 21, 23]] = logits[..., [24 + 20, 24 + 21, 24 + 23]] = 50.0
    branch.distance_head = _Constant(logits.bfloat16())
    branch.response_head = _Constant(torch.zeros(1, 47, 2, dtype=torch.bfloat16))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        distances, _ = branch.point_distances(torch.zeros(1, 47, 4), full(47))
    assert distances[0, 23].tolist() == pytest.approx([65.5 / 3, 65.5 / 3], abs=1e-4)


@pytest.mark.parametrize("length", [1, 2, 19])
def test_shapes(length):
    points = length + (length + 1) // 2
    output = run(PointBranch(**TINY), torch.randn(1, length, 4))
    assert output.logits.shape == (1, points, 1)
    assert output.distances.shape == (1, points, 2)
    assert output.distance_log_probs.shape == (1, points, 2, 5)
    assert output.boundary_logits.shape == (1, length, 2)
    assert output.mask.shape == (1, points)
    assert (output.distances >= 0).all()


def test_distance_bins_by_hand():
    """A clear start two steps back and a clear end one step on, at level 0."""
    branch = PointBranch(**{**TINY, "levels": 1})
    response = torch.full((1, 7, 2), -30.0)
    response[0, 2, 0] = response[0, 5, 1] = 30.0
    branch.response_head, branch.distance_head = _Constant(response), _Constant(torch.zeros(1, 7, 10))
    distances, log_probs = branch.point_distances(torch.zeros(1, 7, 4), full(7))
    # A point lies in the middle of its step, a start at the left edge of the responding step, an end at the right edge.
    assert distances[0, 4].tolist() == pytest.approx([2.5, 1.5])
    assert distances[0, 2].tolist() == pytest.approx([0.5, 3.5])
    assert distances[0, 0, 0].item() == pytest.approx(0.5)  # nothing lies before the clip
    assert log_probs.exp()[0, 4, 0].tolist() == pytest.approx([0, 0, 1, 0, 0], abs=1e-6)


def test_points_count_where_the_modality_exists():
    mask = full(19)
    mask[0, 7:] = False
    x = torch.randn(1, 19, 4)
    output = PointBranch(**TINY)(x, x, full(19), mask)
    assert output.mask[0, :19].sum() == 7
    assert output.mask[0, 19:].tolist() == [True] * 4 + [False] * 6


def test_refinement_moves_boundaries_in_steps():
    """Offsets of the pooled evidence are in steps, at every level, and move the ends and not the point."""
    torch.manual_seed(0)
    branch, x = PointBranch(**TINY), torch.randn(1, 8, 4)
    before = run(branch, x).distances
    with torch.no_grad():
        branch.evidence.out.bias[1:] = torch.tensor([-0.25, 0.5])
    moved = run(branch, x).distances - before
    offsets = torch.tensor([-0.25, 0.5]).tanh()
    torch.testing.assert_close(moved[0, :8], (offsets * torch.tensor([-1.0, 1.0])).expand(8, 2))
    torch.testing.assert_close(moved[0, 8:], (offsets * torch.tensor([-0.5, 0.5])).expand(4, 2))


def test_evidence_sees_the_segment_of_its_point():
    branch = PointBranch(**{**TINY, "levels": 1})
    seen = []
    branch.evidence.forward = lambda x, mask, segments: (
        seen.append(segments) or type("E", (), {"logits": 0.0, "offsets": 0.0})
    )
    branch.refine = False
    output = run(branch, torch.randn(1, 6, 4))
    centers, strides = point_positions([6], torch.device("cpu"))
    torch.testing.assert_close(seen[0][0, :, 0], centers - output.distances[0, :, 0])
    torch.testing.assert_close(seen[0][0, :, 1], centers + output.distances[0, :, 1])
    assert strides.tolist() == [1.0] * 6


def test_without_evidence():
    branch = PointBranch(**{**TINY, "evidence_channels": 0, "refine": False})
    assert branch.evidence is None
    assert run(branch, torch.randn(1, 6, 4)).logits.shape == (1, 9, 1)
