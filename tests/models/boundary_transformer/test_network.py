from __future__ import annotations

import math

import pytest
import torch

from avloc.core.clip_records import ClipRecord
from avloc.core.records import VideoRecord
from avloc.core.timeline import Segment, TimeGrid, rows_in
from avloc.errors import AvlocError
from avloc.heads.clip_labels import ClipTargets
from avloc.heads.modality_points import ModalityPointTargets
from avloc.models.boundary_transformer.network import BoundaryTransformer

B, T, AUDIO, VISUAL = 2, 19, 7, 5
PLAIN = {"evidence_channels": 0, "voting_iou": 0.0}
MODALITY_POINTS = {"modality_points": True}
ALL_OPTIONS = {"refine": True, "share_branch": False, "coarse_levels": 2, "part_weight": 0.5, **MODALITY_POINTS}
KINDS = {"plain": PLAIN, "default": {}, "modality": MODALITY_POINTS, "all": ALL_OPTIONS}
OPTIONS = pytest.mark.parametrize("options", KINDS.values(), ids=KINDS)
TINY = {"audio_dim": 1, "visual_dim": 1, "width": 4, "heads": 1, "levels": 1, "distance_bins": 9}


def build(options=(), **arguments):
    torch.manual_seed(0)
    sizes = {"audio_dim": AUDIO, "visual_dim": VISUAL, "width": 12, "heads": 3, "levels": 3, "distance_bins": 9}
    return BoundaryTransformer(**{**sizes, **dict(options), **arguments}).eval()


@pytest.fixture(params=KINDS.values(), ids=KINDS)
def model(request):
    return build(request.param, radius=4)


def make_inputs(length=T, seed=1):
    torch.manual_seed(seed)
    mask = torch.ones(B, length, dtype=torch.bool)
    return [torch.randn(B, length, AUDIO), torch.randn(B, length, VISUAL), mask, mask.clone()]


def make_targets(model, record, length=T):
    """Targets of a batch of the record and a real clip."""
    arrays, _ = model.target_maker(record, TimeGrid(0, 0.04, length), length)
    tensors = [torch.as_tensor(array) for array in arrays]
    return ModalityPointTargets(*(torch.stack([x, torch.zeros_like(x)]) for x in tensors))


def test_shapes(model):
    output = model(*make_inputs())
    points, branches = T + 10 + 5, len(model.fuse)
    assert output.point_logits.shape == (B, points, 2)
    assert output.distances.shape == (B, points, branches, 2)
    assert output.step_logits.shape == (B, T, 2)
    assert output.boundary_logits.shape == (B, T, branches, 2)
    assert output.point_mask.shape == (B, points, branches)
    assert output.step_mask.shape == (B, T, branches)
    assert output.distance_log_probs.shape == (B, points, branches, 2, 9)
    assert (output.distances >= 0).all()


def test_one_step(model):
    output = model(*make_inputs(1))
    assert output.point_logits.shape == (B, 3, 2)
    assert all(torch.isfinite(x).all() for x in output)
    assert len(model.decode(output, [TimeGrid(0, 0.04, 1)] * B)) == B


@pytest.mark.parametrize("channels", [0, 6])
@OPTIONS
def test_padding_changes_nothing(channels, options):
    encoders = {"audio_spectral_channels": channels, "visual_grid_channels": channels}
    model = build(options, audio_dim=40, visual_dim=128, **encoders)
    audio, visual = torch.randn(1, 13, 40), torch.randn(1, 13, 128)
    mask = torch.ones(1, 13, dtype=torch.bool)
    alone = model(audio, visual, mask, mask)

    def pad(x, value):
        return torch.cat([x, torch.full((1, 11, *x.shape[2:]), value, dtype=x.dtype)], 1)

    padded = model(pad(audio, 9.0), pad(visual, -9.0), pad(mask, False), pad(mask, False))
    torch.testing.assert_close(padded.step_logits[:, :13], alone.step_logits, atol=1e-5, rtol=1e-4)
    real, real_alone = padded.point_mask.any(2), alone.point_mask.any(2)
    torch.testing.assert_close(padded.point_logits[real], alone.point_logits[real_alone], atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(padded.distances[real], alone.distances[real_alone], atol=1e-5, rtol=1e-4)
    for one, other in zip(
        model.decode(padded, [TimeGrid(0, 0.04, 13)]), model.decode(alone, [TimeGrid(0, 0.04, 13)]), strict=True
    ):
        assert one.segments == pytest.approx(other.segments, abs=1e-4)


@pytest.mark.parametrize("missing", [0, 1])
def test_missing_modality_has_no_effect(model, missing):
    inputs = make_inputs()
    inputs[2 + missing] = torch.zeros_like(inputs[2])
    output = model(*inputs)
    inputs[missing] = torch.full_like(inputs[missing], 1e3)
    again = model(*inputs)
    torch.testing.assert_close(output.point_logits, again.point_logits)
    assert torch.isfinite(output.point_logits).all()
    assert output.point_mask.any(2).all()
    rows = model.decode(output, [TimeGrid(0, 0.04, T)] * B)[0]
    assert len(rows)
    if len(model.fuse) == 2:  # a missing modality has no proposals
        assert not output.point_mask[..., missing].any()


@pytest.mark.parametrize("missing", [0, 1])
def test_a_missing_modality_is_never_scored(model, missing):
    """Its head scores 0.9 everywhere; the rows, their order and the gate are those of the other head alone."""
    inputs, certain = make_inputs(), torch.tensor(9.0).log()
    inputs[2 + missing][0] = False  # of the first clip of two
    output = model(*inputs)
    assert output.modality_mask.tolist() == [[missing == 1, missing == 0], [True, True]]
    step_logits, point_logits = output.step_logits.clone(), output.point_logits.clone()
    step_logits[..., missing] = point_logits[..., missing] = certain
    output = output._replace(step_logits=step_logits, point_logits=point_logits)
    absent, both = model.candidates(output, [TimeGrid(0, 0.04, T)] * B)
    expected = output.step_logits[0, :, 1 - missing].sigmoid().max().item()
    assert (absent.step_score, both.step_score) == (pytest.approx(expected), pytest.approx(0.9))
    rows, whole = (model.decoding.decode(each) for each in (absent, both))
    assert len(rows)
    assert not rows.modality_scores[:, missing].any()
    assert (rows.scores <= rows.modality_scores[:, 1 - missing]).all()
    assert whole.modality_scores[:, missing].max() == pytest.approx(0.9)
    assert (rows.scores[:-1] >= rows.scores[1:]).all()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_high_logits_of_half_precision_stay_apart(dtype):
    """In half precision, the sigmoids of 6.25 and 8.5 are 1 (bfloat16), those of 8.5 and 9.5 equal (float16)."""
    model = build(PLAIN, boundary_power=0.0)
    output = model(*make_inputs())
    logits = torch.full_like(output.point_logits, -9.5)
    logits[0, :3, 0] = torch.tensor([6.25, 9.5, 8.5])
    halves = {name: getattr(output, name).to(dtype) for name in ("distances", "boundary_logits", "step_logits")}
    clip, _ = model.candidates(output._replace(point_logits=logits.to(dtype), **halves), [TimeGrid(0, 0.04, T)] * B)
    strong = clip.branches[0].modality_scores[:, 0]
    expected = [1 / (1 + math.exp(-logit)) for logit in (6.25, 9.5, 8.5)]
    assert strong[strong > 0.5] == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("missing", [0, 1])
def test_learns_without_a_modality(model, missing):
    """No clip has the modality, and its features are NaN: the network learns from the other, with finite gradients."""
    segments = (Segment(0.12, 0.36),)
    record = VideoRecord("x", "train", None, *([(), segments] if missing == 0 else [segments, ()]))
    targets, inputs = make_targets(model, record), make_inputs()
    inputs[2 + missing] = torch.zeros_like(inputs[2])
    inputs[missing] = torch.full_like(inputs[missing], torch.nan)
    model.train()
    optimizer = torch.optim.Adam(model.parameters(), 1e-2)
    losses = []
    for _ in range(40):
        losses.append(model.loss(model(*inputs), targets)["loss"])
        optimizer.zero_grad()
        losses[-1].backward()
        assert all(torch.isfinite(p.grad).all() for p in model.parameters() if p.grad is not None)
        optimizer.step()
    assert losses[-1].item() < 0.5 * losses[0].item()


def test_modality_dropout_leaves_one_stream():
    torch.manual_seed(0)
    model = BoundaryTransformer(**TINY, modality_dropout=0.5).train()
    audio_mask, visual_mask = torch.ones(4000, 1, dtype=torch.bool), torch.ones(4000, 1, dtype=torch.bool)
    visual_mask[:1000] = False
    audio, visual = model._drop_modality(audio_mask, visual_mask)
    assert (audio | visual).all()
    assert audio[:1000].all()
    assert (~audio[1000:]).float().mean().item() == pytest.approx(0.25, abs=0.03)
    assert (~visual[1000:]).float().mean().item() == pytest.approx(0.25, abs=0.03)
    assert model.eval()._drop_modality(audio_mask, visual_mask)[0] is audio_mask


def test_learns_one_clip_by_heart(model):
    record = VideoRecord("x", "train", None, (Segment(0.12, 0.36),), ())
    targets, inputs = make_targets(model, record), make_inputs()
    model.train()
    model.modality_dropout = 0
    optimizer = torch.optim.Adam(model.parameters(), 1e-2)
    for _ in range(80):
        terms = model.loss(model(*inputs), targets)
        optimizer.zero_grad()
        terms["loss"].backward()
        optimizer.step()
    assert set(terms) - {"coarse", "part"} == {"point", "distance", "step", "boundary", "distribution", "loss"}
    model.eval()
    fake, real = model.decode(model(*inputs), [TimeGrid(0, 0.04, T)] * 2)
    assert fake.segments[0] == pytest.approx([0.12, 0.36], abs=0.03)
    assert fake.scores[0] > 0.3
    assert fake.modality_scores[0, 0] > 0.45 > fake.modality_scores[0, 1]
    assert real.scores.max(initial=0) < 0.1


def test_a_batch_of_real_clips_has_a_finite_loss(model):
    terms = model.loss(model(*make_inputs()), make_targets(model, VideoRecord("x", "train")))
    assert terms["distance"] == 0
    assert torch.isfinite(terms["loss"])


def test_streams_of_unequal_length_are_refused(model):
    audio, *others = make_inputs()
    with pytest.raises(AvlocError, match=r"audio and video must have equal \(B, T\)"):
        model(audio[:, :-1], *others)


@pytest.mark.parametrize(
    ("options", "names"), [({}, set()), ({"coarse_levels": 3}, {"coarse"}), ({"part_weight": 0.5}, {"part"})]
)
def test_auxiliary_losses_are_added_on_demand(options, names):
    plain, model = build(), build(options)
    record = VideoRecord("x", "t", None, (Segment(0.12, 0.36),), (Segment(0.2, 0.4),))
    targets = make_targets(model, record)
    output = model(*make_inputs())
    terms, usual = model.loss(output, targets), plain.loss(plain(*make_inputs()), targets)
    assert terms.keys() - usual.keys() == names
    weights = {"coarse": 1.0, "part": 0.5, "boundary": 0.5, "distribution": 0.25}
    expected = sum(weights.get(name, 1.0) * term.item() for name, term in terms.items() if name != "loss")
    assert terms["loss"].item() == pytest.approx(expected, rel=1e-5)
    assert output.auxiliary_logits.shape == (B, T, 2, 3 * ("coarse" in names) + 5 * ("part" in names))


@pytest.mark.parametrize("options", [{"merge_iou": 0.5}, {"merge_hull": True}])
def test_one_set_of_points_has_nothing_to_merge(options):
    """Ablations keep these options; they change nothing."""
    targets = make_targets(build(), VideoRecord("x", "t", None, (Segment(0.12, 0.36),), (Segment(0.2, 0.4),)))
    grids = [TimeGrid(0, 0.04, T)] * B
    rows, expected = (m.decode(perfect_output(m, targets), grids)[0] for m in (build(options), build()))
    assert rows.segments == pytest.approx(expected.segments)
    assert rows.modality_scores == pytest.approx(expected.modality_scores)


class _Identity(torch.nn.Module):
    def forward(self, x, mask):
        return x


def test_output_depends_on_nearby_steps_only(model):
    """Attention is local: the middle of a window does not depend on the length of the clip."""
    audio, visual = torch.randn(1, 400, AUDIO), torch.randn(1, 400, VISUAL)
    model.stems[0].norm = model.stems[1].norm = _Identity()  # the instance norm spans the clip
    mask = torch.ones(1, 400, dtype=torch.bool)
    whole = model(audio, visual, mask, mask)
    part = model(audio[:, 80:320], visual[:, 80:320], mask[:, 80:320], mask[:, 80:320])
    torch.testing.assert_close(part.step_logits[:, 60:180], whole.step_logits[:, 140:260], atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(part.distances[:, 100:140], whole.distances[:, 180:220], atol=1e-5, rtol=1e-4)


def perfect_output(model, targets):
    """The output of a network that knows the labels."""
    output = model(*make_inputs(targets.frame_labels.shape[1]))
    certain = 40 * (2 * targets.point_classes - 1)
    boundaries = torch.full_like(output.boundary_logits, 40)
    return output._replace(point_logits=certain, distances=targets.distances, boundary_logits=boundaries)


@pytest.mark.parametrize("merge_iou", [0.5, 0.9, 1.01])
def test_perfect_outputs_decode_to_the_segments(merge_iou):
    """Sound and mouth end at times of their own, between steps; a pair that overlaps by less than `merge_iou` stays apart."""
    model = build(MODALITY_POINTS, merge_iou=merge_iou)
    audio, visual = (Segment(0.117, 0.3583), Segment(0.5, 0.71)), (Segment(0.1333, 0.3667),)
    targets = make_targets(model, VideoRecord("x", "t", None, audio, visual))
    fake, real = model.decode(perfect_output(model, targets), [TimeGrid(0, 0.04, T)] * B)
    strong = fake.take(fake.scores > 0.9)
    shared = (0.3583 - 0.1333) / (0.3667 - 0.117)  # IoU
    expected = [(audio[0], (1.0, shared)), (visual[0], (shared, 1.0)), (audio[1], (1.0, 0.0))]
    if merge_iou < shared:
        expected = [(audio[0], (1.0, 1.0)), (audio[1], (1.0, 0.0))]
    assert len(strong) == len(expected)
    for segment, scores in expected:
        k = abs(strong.segments - segment).max(1).argmin()
        assert strong.segments[k] == pytest.approx(segment, abs=1e-4)
        assert strong.modality_scores[k] == pytest.approx(scores, abs=1e-4)
    assert real.scores.max(initial=0) < 1e-6


def test_perfect_outputs_of_one_set_of_points_decode_to_the_union():
    """A row reaches over all the time in which either modality is forged, and names both."""
    model = build()
    audio, visual = (Segment(0.117, 0.3583), Segment(0.5, 0.71)), (Segment(0.1333, 0.3667),)
    targets = make_targets(model, VideoRecord("x", "t", None, audio, visual))
    fake, real = model.decode(perfect_output(model, targets), [TimeGrid(0, 0.04, T)] * B)
    strong = fake.take(fake.scores > 0.9)
    order = strong.segments[:, 0].argsort()
    assert strong.segments[order] == pytest.approx(torch.tensor([[0.117, 0.3667], [0.5, 0.71]]).numpy(), abs=1e-4)
    assert strong.modality_scores[order] == pytest.approx(torch.tensor([[1.0, 1.0], [1.0, 0.0]]).numpy(), abs=1e-4)
    assert real.scores.max(initial=0) < 1e-6


def test_a_missing_modality_is_not_blamed():
    """Its labels exist, but there is nothing to see: no loss and no gradient from its points."""
    model = build(MODALITY_POINTS, naming_weight=0.0).train()
    model.modality_dropout = 0
    inputs = make_inputs()
    inputs[2] = torch.zeros_like(inputs[2])
    output = model(*inputs)
    record = VideoRecord("x", "t", None, (Segment(0.12, 0.36),), ())
    losses = [model.loss(output, make_targets(model, each))["loss"] for each in (record, VideoRecord("x", "t"))]
    assert losses[0].item() == losses[1].item()


def test_evidence_is_pooled_of_the_modality_of_the_points():
    """Without attention between the streams and without the other one in the pyramid, sound is judged by sound."""
    model = build(MODALITY_POINTS, cross_layers=0)
    torch.nn.init.normal_(model.branches[0].evidence.out.weight)
    audio, visual, *masks = make_inputs()
    with torch.no_grad():
        for fuse in model.fuse:
            fuse.weight[:, 12:] = 0
    first, second = model(audio, visual, *masks), model(audio, visual + torch.randn_like(visual), *masks)
    torch.testing.assert_close(first.point_logits[..., 0], second.point_logits[..., 0])
    assert not torch.allclose(first.point_logits[..., 1], second.point_logits[..., 1])
    assert not torch.allclose(first.distances[:, :, 1], second.distances[:, :, 1])


def test_training_is_deterministic():
    record = VideoRecord("x", "t", None, (Segment(0.12, 0.36),), (Segment(0.2, 0.36),))
    losses = []
    for _ in range(2):
        model = build(ALL_OPTIONS).train()
        optimizer = torch.optim.Adam(model.parameters(), 1e-2)
        targets, inputs = make_targets(model, record), make_inputs()
        torch.manual_seed(5)
        for _ in range(3):
            loss = model.loss(model(*inputs), targets)["loss"]
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        losses.append(loss.item())
    assert losses[0] == losses[1]


def test_cached_layers_are_mixed():
    torch.manual_seed(0)
    model = BoundaryTransformer(audio_dim=3 * AUDIO, visual_dim=VISUAL, width=12, heads=3, audio_layers=3).eval()
    audio, visual, *masks = make_inputs()
    with torch.no_grad():
        model.stems[0].mix.weights[1] = 50.0  # only the second layer counts
        first = torch.cat([torch.randn_like(audio), audio, torch.randn_like(audio)], -1)
        second = torch.cat([torch.randn_like(audio), audio, torch.randn_like(audio)], -1)
        torch.testing.assert_close(model(first, visual, *masks).step_logits, model(second, visual, *masks).step_logits)


def test_arguments_rebuild_the_network(model):
    again = BoundaryTransformer(**model.arguments).eval()
    again.load_state_dict(model.state_dict())
    torch.testing.assert_close(again(*make_inputs()).distances, model(*make_inputs()).distances)


RATES = {"audio_rows_per_step": 4.0, "visual_rows_per_step": 29.97 / 25}


def native_inputs(steps=T, padding=0, seed=1):
    """Noise on rows of 10 ms and of frames at 29.97 fps, with phases; after them, steps of padding."""
    torch.manual_seed(seed)
    rows = [rows_in(steps, rate) for rate in RATES.values()]
    audio, video = (torch.randn(B, n, d) for n, d in zip(rows, (AUDIO, VISUAL), strict=True))
    more = [rows_in(steps + padding, rate) - n for n, rate in zip(rows, RATES.values(), strict=True)]
    padded = [torch.cat([x, torch.full((B, n, x.shape[2]), 9.0)], 1) for x, n in zip((audio, video), more, strict=True)]
    counts = zip((*rows, steps), (*more, padding), strict=True)
    masks = [torch.cat([torch.ones(B, n), torch.zeros(B, m)], 1) > 0 for n, m in counts]
    phases = {"audio_phase": torch.tensor([0.3, 0.0]), "video_phase": torch.tensor([-0.5, 0.25])}
    names = ("audio", "video", "audio_mask", "video_mask", "step_mask")
    return {**dict(zip(names, (*padded, *masks), strict=True)), **phases}


@pytest.fixture(params=[None, AUDIO - 2], ids=["spectra", "spectra and others"])
def native_model(request):
    torch.manual_seed(0)
    return BoundaryTransformer(
        audio_dim=AUDIO,
        visual_dim=VISUAL,
        width=12,
        heads=3,
        levels=2,
        audio_spectral_channels=3,
        audio_spectral_bins=request.param,
        **RATES,
        **MODALITY_POINTS,
    ).eval()


def test_padding_of_streams_at_their_own_rate_changes_nothing(native_model):
    alone, padded = native_model(**native_inputs()), native_model(**native_inputs(padding=11))
    assert alone.step_logits.shape == (B, T, 2)
    assert padded.step_mask.any(2).sum(1).tolist() == [T] * B
    torch.testing.assert_close(padded.step_logits[:, :T], alone.step_logits, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(
        padded.distances[padded.point_mask], alone.distances[alone.point_mask], atol=1e-5, rtol=1e-4
    )


def test_absent_streams_at_their_own_rate(native_model):
    inputs = native_inputs()
    inputs["audio_mask"][0] = False
    inputs["audio_mask"][1, 8:24] = False
    output = native_model(**inputs)
    assert output.step_mask[..., 1].all()  # there is video
    assert not output.step_mask[0, :, 0].any()
    other = native_model(
        **{**inputs, "audio": inputs["audio"].masked_fill(~inputs["audio_mask"][..., None], torch.nan)}
    )
    torch.testing.assert_close(other.step_logits, output.step_logits)
    inputs["video_mask"][0] = False
    output = native_model(**inputs)
    assert output.step_mask.any(2).any(1).tolist() == [False, True]
    assert all(torch.isfinite(x).all() for x in output)


def test_streams_at_another_rate_are_refused(native_model, model):
    with pytest.raises(AvlocError, match="takes audio features at 4 rows per step"):
        native_model(*make_inputs())
    with pytest.raises(AvlocError, match="takes audio features averaged to its steps"):
        model(**native_inputs())


def test_rows_learn_a_forgery_that_averages_do_not_show():
    """Noise of 10 ms whose sign alternates in the forged stretch: the mean of a step is the same."""
    torch.manual_seed(0)
    model = BoundaryTransformer(
        audio_dim=AUDIO, visual_dim=VISUAL, width=16, heads=2, levels=1, dropout=0.0, input_dropout=0.0, **RATES
    )
    inputs, steps = native_inputs(), 4 * T
    inputs["audio"], inputs["audio_phase"] = torch.zeros(B, steps, AUDIO), torch.zeros(B)
    inputs["audio"][0, 12:36] = torch.tensor([1.0, -1.0] * 12)[:, None]
    inputs["video"] = torch.zeros_like(inputs["video"])
    assert not inputs["audio"].unflatten(1, (T, 4)).mean(2).any()
    targets = make_targets(model, VideoRecord("x", "t", None, (Segment(0.12, 0.36),), ()))
    optimizer = torch.optim.Adam(model.parameters(), 1e-2)
    for _ in range(60):
        loss = model.loss(model(**inputs), targets)["loss"]
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    fake, real = model.eval().decode(model(**inputs), [TimeGrid(0, 0.04, T)] * B)
    assert fake.segments[0] == pytest.approx([0.12, 0.36], abs=0.03)
    assert fake.scores[0] > 2 * real.scores.max(initial=0)


FRONT_ENDS = {
    "audio_dim": 160,
    "visual_dim": 1024,
    "audio_rows_per_step": 4.0,
    "visual_rows_per_step": 1.0,
    "audio_front_end": "spectrogram",
    "visual_front_end": "lips",
    "audio_front_end_options": {"n_fft": 320, "channels": 4},
    "visual_front_end_options": {"side": 32, "channels": 4},
}


def front_end_model(**options):
    torch.manual_seed(0)
    sizes = {"width": 12, "heads": 3, "levels": 2, "distance_bins": 9, "dropout": 0.0, "modality_dropout": 0.0}
    return BoundaryTransformer(**{**FRONT_ENDS, **sizes, **options})


def raw_inputs(steps=T, padding=0):
    """Noise: samples, pixels."""
    torch.manual_seed(1)
    counts, lengths = (4, 1), (4 * steps, steps)
    x = [torch.randint(-99, 99, (B, lengths[0], 160)).short(), torch.randint(0, 255, (B, steps, 1024)).byte()]
    padded = [
        torch.cat([v, torch.full((B, n * padding, v.shape[2]), 7).to(v.dtype)], 1)
        for v, n in zip(x, counts, strict=True)
    ]
    masks = [torch.arange(v.shape[1]).expand(B, -1) < n for v, n in zip(padded, lengths, strict=True)]
    step_mask = torch.arange(steps + padding).expand(B, -1) < steps
    phases = {"audio_phase": torch.tensor([0.3, 0.0]), "video_phase": torch.tensor([-0.5, 0.25])}
    names = ("audio", "video", "audio_mask", "video_mask")
    return {**dict(zip(names, (*padded, *masks), strict=True)), "step_mask": step_mask, **phases}


def test_padding_of_samples_and_pixels_changes_nothing():
    model = front_end_model().eval()
    alone, padded = model(**raw_inputs()), model(**raw_inputs(padding=5))
    torch.testing.assert_close(padded.step_logits[:, :T], alone.step_logits, atol=1e-5, rtol=1e-4)


def test_front_ends_learn_with_the_network_and_are_made_again(tmp_path):
    """From its arguments alone, which have no path of weights."""
    from avloc.models.front_ends.speech_encoder import random_encoder

    small = {"model_type": "wavlm", "hidden_size": 8, "num_hidden_layers": 2, "num_attention_heads": 2}
    small |= {
        "intermediate_size": 8,
        "conv_dim": [4] * 7,
        "num_conv_pos_embeddings": 4,
        "num_conv_pos_embedding_groups": 2,
    }
    random_encoder(small).network.save_pretrained(tmp_path / "w")
    options = {"weights": str(tmp_path / "w"), "tuning": "lora", "rank": 2}
    model = front_end_model(audio_front_end="speech", audio_front_end_options=options).train()
    targets = make_targets(model, VideoRecord("x", "t", None, (Segment(0.12, 0.36),), ()))
    model.loss(model(**raw_inputs()), targets)["loss"].backward()
    without = [n for n, p in model.named_parameters() if p.requires_grad and n.startswith("stems.") and p.grad is None]
    assert without == []
    assert str(tmp_path) not in str(model.arguments)
    again = BoundaryTransformer(**model.arguments)
    again.load_state_dict(model.state_dict())
    torch.testing.assert_close(again.eval()(**raw_inputs()).step_logits, model.eval()(**raw_inputs()).step_logits)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"audio_spectral_channels": 8}, "audio_spectral_channels=8 is for cached features, and has no effect"),
        ({"visual_grid_channels": 8}, "visual_grid_channels=8 is for cached features, and has no effect"),
        ({"audio_front_end": "lips", "audio_front_end_options": None}, "front end lips takes the visual stream"),
        ({"audio_dim": 513}, r"takes rows of 160 numbers \(extractor waveform\), the stream has 513"),
        ({"audio_front_end": ""}, "audio_front_end_options have no effect without audio_front_end;"),
        ({"audio_rows_per_step": None}, "takes its stream at its own rate"),
    ],
)
def test_front_ends_that_do_not_fit_are_refused(options, message):
    with pytest.raises(AvlocError, match=message):
        front_end_model(**options)


def test_a_front_end_learns_a_click_by_heart():
    """Clicks every 10 ms in the forged stretch, in noise that is as loud on the whole."""
    model = front_end_model(audio_front_end_options={"n_fft": 320, "channels": 4}, levels=1)
    inputs = raw_inputs()
    inputs["audio"][0, 12:36, ::80] = 3000
    targets = make_targets(model, VideoRecord("x", "t", None, (Segment(0.12, 0.36),), ()))
    optimizer = torch.optim.Adam(model.parameters(), 1e-2)
    for _ in range(30):
        loss = model.loss(model(**inputs), targets)["loss"]
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    scores = model.eval()(**inputs).step_logits[..., 0].sigmoid()
    assert scores[0, 3:9].min() > 0.5
    assert max(scores[0, :3].max(), scores[0, 9:].max(), scores[1].max()) < 0.5


CLIP_LABELS = {"clip_pooling": "top_k"}


@pytest.mark.parametrize("pooling", ["noisy_or", "top_k", "attention"])
@pytest.mark.parametrize("modality_points", [False, True])
def test_clip_labels_train_every_weight_that_decoding_reads(pooling, modality_points):
    model = build(clip_pooling=pooling, modality_points=modality_points).train()
    terms = model.loss(model(*make_inputs()), ClipTargets(torch.tensor([[1.0, 0.0], [0.0, 0.0]])))
    assert sorted(terms) == ["boundary", "clip", "distance", "distribution", "loss", "point", "step"]
    assert all(term.isfinite() and term.dim() == 0 for term in terms.values())
    terms["loss"].backward()
    without = {name for name, weight in model.named_parameters() if weight.grad is None}
    assert without == set()


def test_the_loss_of_clip_labels_knows_no_time():
    """Wherever a record's segment lies, the targets, and so the loss, are the same; the plain network needs the segments."""
    model = build(CLIP_LABELS)
    early, late = (VideoRecord("a", "t", None, (Segment(*ends),)) for ends in ((0.0, 0.1), (0.5, 0.7)))
    records = (early, late, ClipRecord("a", "t", None, ("audio",)))
    labels = [model.target_maker(record, TimeGrid(0, 0.04, T), T)[0].labels.tolist() for record in records]
    assert labels == [[1.0, 0.0]] * 3
    output, targets = model(*make_inputs()), make_targets(build(), early)
    with pytest.raises(AvlocError, match="want ClipTargets with clip_pooling, got ModalityPointTargets"):
        model.loss(output, targets)
    with pytest.raises(AvlocError, match="want ModalityPointTargets, got ClipTargets"):
        build().loss(output, ClipTargets(torch.zeros(B, 2)))


def test_without_clip_pooling_the_network_is_the_same():
    plain, pooled = build(), build(clip_pooling="top_k")
    assert [*plain.state_dict()] == [*pooled.state_dict()]
    more = {*build(clip_pooling="attention").state_dict()} - {*plain.state_dict()}
    assert more == {f"auxiliary_heads.{m}.attention.{name}" for m in range(2) for name in ("weight", "bias")}


def planted(clips, steps, seed):
    """Noise, in every second clip with a louder piece of the sound: features, labels, and (start, end) of the pieces in steps."""
    random = torch.Generator().manual_seed(seed)
    audio, visual = (0.5 * torch.randn(clips, steps, 2, generator=random) for _ in range(2))
    labels, pieces = torch.zeros(clips, 2), {}
    for clip in range(0, clips, 2):
        length = int(torch.randint(5, 9, (), generator=random))
        start = int(torch.randint(0, steps - length + 1, (), generator=random))
        audio[clip, start : start + length, 0] += 2.5
        labels[clip, 0], pieces[clip] = 1.0, (start, start + length)
    return audio, visual, labels, pieces


@pytest.fixture(scope="module")
def trained_on_clip_labels():
    torch.manual_seed(0)
    sizes = {
        "audio_dim": 2,
        "visual_dim": 2,
        "width": 12,
        "heads": 1,
        "levels": 2,
        "first_steps": 12.0,
        "distance_bins": 12,
    }
    options = {"clip_pooling": "top_k", "pooled_share": 0.15, "radius": 1, "dropout": 0.0, "modality_dropout": 0.0}
    model = BoundaryTransformer(**sizes, **options)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 1e-2, total_steps=70)
    mask = torch.ones(12, 32, dtype=torch.bool)
    for step in range(70):
        audio, visual, labels, _ = planted(12, 32, seed=step)
        optimizer.zero_grad()
        model.loss(model(audio, visual, mask, mask), ClipTargets(labels))["loss"].backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
    return model.eval()


def test_clip_labels_teach_clips_and_places(trained_on_clip_labels):
    audio, visual, _, pieces = planted(20, 32, seed=1000)
    mask = torch.ones(20, 32, dtype=torch.bool)
    with torch.inference_mode():
        output = trained_on_clip_labels(audio, visual, mask, mask)
    proposals = trained_on_clip_labels.decode(output, [TimeGrid(0.0, 1.0, 32)] * 20)
    best = [float(each.scores[0]) for each in proposals]
    pairs = [best[fake] > best[real] for fake in pieces for real in range(1, 20, 2)]
    assert sum(pairs) / len(pairs) > 0.9  # the AUC of unseen clips
    ious = []
    for clip, (start, end) in pieces.items():
        low, high = proposals[clip].segments[0]
        ious.append(max(0.0, min(high, end) - max(low, start)) / (max(high, end) - min(low, start)))
    assert sum(iou > 0.5 for iou in ious) >= 8  # of 10
    assert all(proposals[clip].modality_scores[0].argmax() == 0 for clip in pieces)
