from __future__ import annotations

import pytest
import torch

from avloc.core.timeline import TimeGrid
from avloc.models.batfd.plus import BATFDPlus, GeneratorOutput

CONVOLUTIONS = {
    "video_encoder": "c3d",
    "audio_encoder": "cnn",
    "video_widths": (3, 4, 5, 4),
    "audio_widths": (3, 4, 2),
    "width": 8,
    "map_widths": (7, 6),
    "samples": 4,
}
CACHED = {
    "video_encoder": "projection",
    "audio_encoder": "projection",
    "visual_dim": 5,
    "audio_dim": 7,
    "width": 6,
    "map_widths": (7, 5),
    "samples": 4,
    "frames": 40,
    "durations": 5,
}


@pytest.mark.parametrize("name", ["batfd_plus", "batfd_plus_cbg"])
def test_losses_equal_the_published_ones(assert_published_losses, name):
    terms = {
        "loss": "loss",
        "fused_map": "fusion_bm_loss",
        "video_map": "v_bm_loss",
        "audio_map": "a_bm_loss",
        "video_frame": "v_frame_loss",
        "audio_frame": "a_frame_loss",
        "contrast": "contrast_loss",
    }
    if name == "batfd_plus_cbg":
        terms |= {"fused_boundary": "fusion_cbg_loss", "video_boundary": "v_cbg_loss", "audio_boundary": "a_cbg_loss"}
    assert_published_losses(name, terms)


def test_shapes_and_means(make_features):
    network = BATFDPlus(**CACHED).eval()
    with torch.inference_mode():
        output = network(**make_features((11, 23), 23))
    assert output.fused_maps.shape == output.audio_maps.shape == (2, 3, 5, 23)
    torch.testing.assert_close(output.video_map, output.video_maps.mean(1))
    assert output.combined() is output
    with pytest.raises(AttributeError, match="no 'start' in the output without a boundary generator"):
        _ = output.start
    with pytest.raises(AttributeError, match="no 'odd' in the output$"):
        _ = output.odd


def test_reversed_output_by_hand():
    start, end = torch.tensor([[1.0, 2.0, 3.0]]), torch.tensor([[4.0, 5.0, 6.0]])
    output = GeneratorOutput(start, end, start + 10, end + 10, start + 20, end + 20, start[:, None], end[:, None])
    back = output.reversed()
    assert (back.start.tolist(), back.end.tolist()) == ([[6, 5, 4]], [[3, 2, 1]])
    assert (back.audio_start.tolist(), back.video_end.tolist()) == ([[26, 25, 24]], [[13, 12, 11]])
    assert back.video_generated.tolist() == [[[3, 2, 1]]]
    assert output.first(2).audio_generated.tolist() == [[[4, 5]]]
    assert output.start_and_end("audio_").tolist() == [[[21, 22, 23], [24, 25, 26]]]


def test_combined_boundaries_are_geometric_means(make_features):
    torch.manual_seed(0)
    network = BATFDPlus(**CACHED, boundary_generator=True).eval()
    inputs = make_features((11,), 11)
    with torch.inference_mode():
        output = network(**inputs)
    expected = (output.generator.video_start * output.reverse_generator.video_start).sqrt()
    torch.testing.assert_close(output.combined().video_start, expected)
    torch.testing.assert_close(network.predict(**inputs).video_start, expected)
    assert output.combined().reverse_generator is None


@pytest.mark.parametrize("generator", [False, True])
def test_results_do_not_depend_on_the_batch(make_features, generator):
    torch.manual_seed(0)
    network = BATFDPlus(**CACHED, boundary_generator=generator).eval()
    inputs = make_features((11, 23), 23)
    with torch.inference_mode():
        together, single = network(**inputs), network(**{k: x[:1, :11] for k, x in inputs.items()})
    torch.testing.assert_close(together.fused_map[:1, ..., :11], single.fused_map, atol=1e-5, rtol=0)
    if generator:
        for name in ("start", "audio_end"):
            torch.testing.assert_close(getattr(together, name)[:1, :11], getattr(single, name), atol=1e-5, rtol=0)
            a, b = getattr(together.combined(), name)[:1, :11], getattr(single.combined(), name)
            torch.testing.assert_close(a, b, atol=1e-5, rtol=0)


def test_boundaries_weight_the_decoded_cells(make_features):
    torch.manual_seed(0)
    network = BATFDPlus(**CACHED, boundary_generator=True).eval()
    output = network.predict(**make_features((11,), 11))
    best = network.decode(output, [TimeGrid(0, 0.04, 11)], keep=1)[0]
    cells = [(d, t) for t in range(11) for d in range(5) if t + d + 1 <= 11]
    scores = [(output.fused_map[0, d, t] * output.start[0, t] * output.end[0, min(t + d, 10)]).item() for d, t in cells]
    assert best.scores[0] == pytest.approx(max(scores), rel=1e-5)


@pytest.mark.parametrize("constant", [False, True])
def test_training_in_half_precision_stays_finite(make_clips, map_targets, constant):
    """The published code reaches NaN after some epochs. Constant clips are the worst case: no variance, equal features."""
    torch.manual_seed(0)
    network = BATFDPlus(**CONVOLUTIONS, frames=12, durations=4, boundary_generator=True)
    optimizer = torch.optim.Adam(network.parameters(), 1e-3, betas=(0.5, 0.9))
    targets = map_targets(network, (12, 9), 12)
    for step in range(4):
        video, audio = make_clips(network, (12, 9), seed=step)
        if constant:
            video, audio = torch.full_like(video, 0.5), torch.full_like(audio, -4.6)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            terms = network.loss(network(video, audio), targets)
        optimizer.zero_grad()
        terms["loss"].backward()
        assert all(torch.isfinite(p.grad).all() for p in network.parameters() if p.grad is not None)
        optimizer.step()
        assert all(torch.isfinite(term).all() for term in terms.values())
    assert all(torch.isfinite(p).all() for p in network.parameters())
    network.eval()
    assert torch.isfinite(network.predict(video, audio).start).all()


def test_transformers_train_in_half_precision(map_targets):
    torch.manual_seed(0)
    encoders = {"video_encoder": "mvit_t", "audio_encoder": "vit_t", "checkpointed": True}
    network = BATFDPlus(**encoders, width=8, map_widths=(4, 3), frames=8, durations=3)
    targets = map_targets(network, (8, 6), 8)
    for video in (torch.rand(2, 3, 8, 96, 96), torch.full((2, 3, 8, 96, 96), 0.25)):
        with torch.autocast("cpu", dtype=torch.bfloat16):
            terms = network.loss(network(video, torch.full((2, 64, 32), -4.6)), targets)
        network.zero_grad()
        terms["loss"].backward()
        assert all(torch.isfinite(p.grad).all() for p in network.parameters() if p.grad is not None)


def test_features_at_their_own_rate(assert_rows_are_padded_well):
    assert_rows_are_padded_well(BATFDPlus, boundary_generator=True)
