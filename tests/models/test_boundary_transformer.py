from __future__ import annotations

import pytest
import torch

from avloc.errors import AvlocError, CheckpointError
from avloc.models import build_model
from avloc.models.boundary_transformer import BoundaryTransformer
from avloc.records import VideoRecord
from avloc.targets import Targets
from avloc.timeline import Segment, TimeGrid

B, T, AUDIO, VISUAL = 2, 19, 7, 5


@pytest.fixture
def model():
    torch.manual_seed(0)
    return BoundaryTransformer(audio_dim=AUDIO, visual_dim=VISUAL, width=12, heads=3, levels=3, radius=4).eval()


def inputs(length=T, seed=1):
    torch.manual_seed(seed)
    mask = torch.ones(B, length, dtype=torch.bool)
    return [torch.randn(B, length, AUDIO), torch.randn(B, length, VISUAL), mask, mask.clone()]


def targets_of(model, record, length=T):
    one, _ = model.target_maker(record, TimeGrid(0, 0.04, length), length)
    return Targets(
        *(torch.stack([torch.as_tensor(t), torch.zeros(t.shape, dtype=torch.as_tensor(t).dtype)]) for t in one)
    )


def test_shapes(model):
    output = model(*inputs())
    points = T + 10 + 5
    assert output.point_logits.shape == output.distances.shape == (B, points, 2)
    assert output.step_logits.shape == output.boundary_logits.shape == (B, T, 2)
    assert output.point_mask.shape == (B, points)
    assert (output.distances >= 0).all()


@pytest.mark.parametrize("channels", [0, 6])
def test_padding_changes_nothing(channels):
    torch.manual_seed(0)
    model = BoundaryTransformer(
        audio_dim=40, visual_dim=VISUAL, width=12, heads=3, levels=3, audio_spectral_channels=channels
    ).eval()
    audio, visual = torch.randn(1, 13, 40), torch.randn(1, 13, VISUAL)
    mask = torch.ones(1, 13, dtype=torch.bool)
    alone = model(audio, visual, mask, mask)

    def pad(x, value):
        return torch.cat([x, torch.full((1, 11, *x.shape[2:]), value, dtype=x.dtype)], 1)

    padded = model(pad(audio, 9.0), pad(visual, -9.0), pad(mask, False), pad(mask, False))
    torch.testing.assert_close(padded.step_logits[:, :13], alone.step_logits, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(
        padded.point_logits[padded.point_mask], alone.point_logits[alone.point_mask], atol=1e-5, rtol=1e-4
    )
    torch.testing.assert_close(
        padded.distances[padded.point_mask], alone.distances[alone.point_mask], atol=1e-5, rtol=1e-4
    )


@pytest.mark.parametrize("absent", [0, 1])
def test_either_modality_may_be_absent(model, absent):
    given = inputs()
    given[2 + absent] = torch.zeros_like(given[2])
    output = model(*given)
    given[absent] = torch.full_like(given[absent], 1e3)  # what is masked is not looked at
    again = model(*given)
    torch.testing.assert_close(output.point_logits, again.point_logits)
    assert torch.isfinite(output.point_logits).all()
    assert output.point_mask.all()


def test_learns_one_clip_by_heart(model):
    record = VideoRecord("x", "train", None, (Segment(0.12, 0.36),), ())
    targets, given = targets_of(model, record), inputs()
    model.train()
    model.modality_dropout = 0
    optimizer = torch.optim.Adam(model.parameters(), 1e-2)
    for _ in range(80):
        terms = model.loss(model(*given), targets)
        optimizer.zero_grad()
        terms["loss"].backward()
        optimizer.step()
    assert set(terms) == {"point", "distance", "step", "boundary", "loss"}
    model.eval()
    fake, real = model.decode(model(*given), [TimeGrid(0, 0.04, T)] * 2)
    assert fake.segments[0] == pytest.approx([0.12, 0.36], abs=0.03)
    assert fake.scores[0] > 0.3
    assert fake.modality_scores[0, 0] > 0.5 > fake.modality_scores[0, 1]
    assert real.scores.max(initial=0) < 0.1


def test_a_batch_of_real_clips_has_a_finite_loss(model):
    terms = model.loss(model(*inputs()), targets_of(model, VideoRecord("x", "train")))
    assert terms["distance"] == 0
    assert torch.isfinite(terms["loss"])


def test_wrong_arguments(model):
    with pytest.raises(AvlocError, match="heads must divide the width, got 5 heads and a width of 12"):
        BoundaryTransformer(audio_dim=1, visual_dim=1, width=12, heads=5)
    given = inputs()
    with pytest.raises(AvlocError, match="equal"):
        model(given[0][:, :-1], *given[1:])
    with pytest.raises(CheckpointError, match="unknown network 'X'"):
        build_model("X", {})
    with pytest.raises(CheckpointError, match="cannot be made from"):
        build_model("BoundaryTransformer", {"odd": 1})
    same = build_model("BoundaryTransformer", model.arguments)
    same.load_state_dict(model.state_dict())
