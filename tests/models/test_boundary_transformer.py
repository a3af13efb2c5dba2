from __future__ import annotations

from importlib import resources

import pytest
import torch
import yaml

from avloc.core.records import VideoRecord
from avloc.core.timeline import Segment, TimeGrid
from avloc.errors import AvlocError, CheckpointError
from avloc.heads.points import Targets
from avloc.models import build_model
from avloc.models.boundary_transformer import BoundaryTransformer

B, T, AUDIO, VISUAL = 2, 19, 7, 5


PIECES = {"distance_bins": 9, "quality": True, "voting_iou": 0.8, "clip_gate": True, "reconstruction": 0.2}


@pytest.fixture(params=[{}, PIECES], ids=["plain", "all"])
def model(request):
    torch.manual_seed(0)
    return BoundaryTransformer(
        audio_dim=AUDIO, visual_dim=VISUAL, width=12, heads=3, levels=3, radius=4, **request.param
    ).eval()


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
@pytest.mark.parametrize("pieces", [{}, PIECES], ids=["plain", "all"])
def test_padding_changes_nothing(channels, pieces):
    torch.manual_seed(0)
    model = BoundaryTransformer(
        audio_dim=40, visual_dim=128, width=12, heads=3, levels=3, audio_spectral_channels=channels,
        visual_grid_channels=channels, **pieces,
    ).eval()  # fmt: skip
    audio, visual = torch.randn(1, 13, 40), torch.randn(1, 13, 128)
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


@pytest.mark.parametrize("absent", [0, 1])
def test_learns_without_a_modality(model, absent):
    """No clip has it: the rest learns, what is absent is not looked at, and gradients are numbers."""
    record = VideoRecord("x", "train", None, (Segment(0.12, 0.36),), ())
    targets, given = targets_of(model, record), inputs()
    given[2 + absent] = torch.zeros_like(given[2])
    given[absent] = torch.full_like(given[absent], torch.nan)
    model.train()
    optimizer = torch.optim.Adam(model.parameters(), 1e-2)
    losses = []
    for _ in range(30):
        losses.append(model.loss(model(*given), targets)["loss"])
        optimizer.zero_grad()
        losses[-1].backward()
        assert all(torch.isfinite(p.grad).all() for p in model.parameters() if p.grad is not None)
        optimizer.step()
    assert losses[-1].item() < 0.5 * losses[0].item()


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
    assert {"point", "distance", "step", "boundary", "loss"} <= set(terms)
    assert ("distribution" in terms) == bool(model.distance_bins)
    model.eval()
    fake, real = model.decode(model(*given), [TimeGrid(0, 0.04, T)] * 2)
    assert fake.segments[0] == pytest.approx([0.12, 0.36], abs=0.03)
    assert fake.scores[0] > 0.3
    assert fake.modality_scores[0, 0] > 0.45 > fake.modality_scores[0, 1]
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


def test_a_long_clip_is_as_the_short_one_in_its_middle(model):
    """Attention is local, so that cost is linear, and a window's inside does not know how long the clip is."""
    audio, visual = torch.randn(1, 400, AUDIO), torch.randn(1, 400, VISUAL)
    model.stems[0].norm = model.stems[1].norm = _Plain()  # which is over the clip
    mask = torch.ones(1, 400, dtype=torch.bool)
    whole = model(audio, visual, mask, mask)
    part = model(audio[:, 80:320], visual[:, 80:320], mask[:, 80:320], mask[:, 80:320])
    torch.testing.assert_close(part.step_logits[:, 60:180], whole.step_logits[:, 140:260], atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(part.distances[:, 100:140], whole.distances[:, 180:220], atol=1e-5, rtol=1e-4)


class _Says(torch.nn.Module):
    def __init__(self, value):
        super().__init__()
        self.value = value

    def forward(self, x, mask):
        return self.value


class _Plain(torch.nn.Module):
    def forward(self, x, mask):
        return x


def test_bins_by_hand():
    """A clear start two steps back and a clear end one step on, at level 0."""
    model = BoundaryTransformer(audio_dim=1, visual_dim=1, width=4, heads=1, levels=1, distance_bins=5)
    response = torch.full((1, 7, 2), -30.0)
    response[0, 2, 0] = response[0, 5, 1] = 30.0
    model.response_head, model.distance_head = _Says(response), _Says(torch.zeros(1, 7, 10))
    found, shares = model._distances(torch.zeros(1, 7, 4), torch.ones(1, 7, dtype=torch.bool), 0)
    # A point lies in the middle of its step, a start at the left edge of the step that says so, an end at the right one.
    assert found[0, 4].tolist() == pytest.approx([2.5, 1.5])
    assert found[0, 2].tolist() == pytest.approx([0.5, 3.5])
    assert found[0, 0, 0].item() == pytest.approx(0.5)  # nothing lies before the clip
    assert shares.exp()[0, 4, 0].tolist() == pytest.approx([0, 0, 1, 0, 0], abs=1e-6)


def test_quality_wants_the_iou_that_is_reached():
    torch.manual_seed(0)
    model = BoundaryTransformer(audio_dim=1, visual_dim=1, width=4, heads=1, levels=1, quality=True)
    record = VideoRecord("x", "train", None, (Segment(0.04, 0.16),), ())
    targets, _ = model.target_maker(record, TimeGrid(0, 0.04, 5), 5)
    targets = Targets(*(torch.as_tensor(t)[None] for t in targets))
    mask = torch.ones(1, 5, dtype=torch.bool)
    output = model(torch.zeros(1, 5, 1), torch.zeros(1, 5, 1), mask, mask)
    exact = output._replace(distances=targets.distances)
    half = output._replace(distances=targets.distances / 2)
    for given, iou in ((exact, 1.0), (half, 0.5)):
        logits = torch.full_like(output.point_logits, -40.0)
        best = torch.logit(torch.tensor(iou * 0.999999))
        logits[0][targets.point_classes[0] > 0] = best
        at_best = model.loss(given._replace(point_logits=logits), targets)["point"]
        for other in (-0.5, 0.5):
            logits[0][targets.point_classes[0] > 0] = best.clamp(-3, 3) + other
            assert model.loss(given._replace(point_logits=logits), targets)["point"] > at_best


def test_the_gate_takes_its_most_suspicious_steps():
    model = BoundaryTransformer(audio_dim=1, visual_dim=1, width=4, heads=1, levels=1, clip_gate=True)
    model.gate_head = torch.nn.Identity()
    x = torch.tensor([[9.0, 1.0, 3.0, 5.0, 7.0, 99.0], [0.0, 2.0, 99.0, 99.0, 99.0, 99.0]])[..., None]
    mask = torch.tensor([[True] * 5 + [False], [True] * 2 + [False] * 4])
    found = model._clip_logits(x, mask)
    assert found[0].item() == (9 + 7 + 5 + 3) / 4
    assert found[1].item() == (2 + 0 - 20 - 20) / 4  # two steps cannot be as sure as four


def test_layers_are_mixed():
    torch.manual_seed(0)
    three = BoundaryTransformer(audio_dim=3 * AUDIO, visual_dim=VISUAL, width=12, heads=3, audio_layers=3).eval()
    audio, visual, *masks = inputs()
    with torch.no_grad():
        three.stems[0].mix.weights[1] = 50.0  # only the second counts
        wide = torch.cat([torch.randn_like(audio), audio, torch.randn_like(audio)], -1)
        again = torch.cat([torch.randn_like(audio), audio, torch.randn_like(audio)], -1)
        torch.testing.assert_close(three(wide, visual, *masks).step_logits, three(again, visual, *masks).step_logits)
    with pytest.raises(AvlocError, match="layers must divide the features' width, got 2 of 7 and 1 of 5"):
        BoundaryTransformer(audio_dim=AUDIO, visual_dim=VISUAL, audio_layers=2)


def test_only_the_teller_learns_from_what_it_tells():
    torch.manual_seed(0)
    model = BoundaryTransformer(audio_dim=AUDIO, visual_dim=VISUAL, width=12, heads=3, reconstruction=1.0)
    output = model(*inputs())
    output.reconstruction_error.mean().backward()
    assert all(p.grad is None or not p.grad.any() for p in model.stems.parameters())
    assert all(p.grad.any() for p in model.predictors[0].out.parameters())


@pytest.mark.parametrize("name", ["demo", "lavdf/boundary_transformer", "avdeepfake1m/boundary_transformer"])
def test_the_configurations_networks_can_be_made(name):
    path = resources.files("avloc") / "configs" / f"{name}.yaml"
    model = yaml.safe_load(path.read_text())["model"]["model"]
    network = build_model(model["class_path"].rpartition(".")[2], model["init_args"]).eval()
    length, given = 13, network.arguments
    mask = torch.ones(1, length, dtype=torch.bool)
    output = network(
        torch.randn(1, length, given["audio_dim"]), torch.randn(1, length, given["visual_dim"]), mask, mask
    )
    assert len(network.decode(output, [TimeGrid(0, 0.02, length)])[0]) > 0
