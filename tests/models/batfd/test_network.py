from __future__ import annotations

import pytest
import torch

from avloc.core.timeline import Segment, TimeGrid
from avloc.errors import AvlocError
from avloc.models.batfd.network import BATFD

SMALL = {"video_widths": (3, 4, 5, 4), "audio_widths": (3, 4, 2), "width": 8, "map_widths": (7, 5), "samples": 4}
CACHED = {"video_encoder": "projection", "audio_encoder": "projection", "visual_dim": 5, "audio_dim": 7}


def test_losses_equal_the_published_ones(assert_published_losses):
    assert_published_losses(
        "batfd",
        {
            "loss": "loss",
            "fused_map": "fusion_bm_loss",
            "video_map": "v_bm_loss",
            "audio_map": "a_bm_loss",
            "video_frame": "v_frame_loss",
            "audio_frame": "a_frame_loss",
            "contrast": "contrast_loss",
        },
    )


@pytest.mark.parametrize(("sampling", "lengths"), [("published", (19, 31)), ("proposal", (5,)), ("proposal", (70, 64))])
def test_frame_numbers_save_work_and_change_nothing(sampling, lengths, make_clips):
    torch.manual_seed(1)
    network = BATFD(**SMALL, frames=90, durations=6, sampling=sampling).eval()
    inputs = make_clips(network, lengths)
    with torch.inference_mode():
        whole = network(*inputs)
        part = network(*inputs, torch.tensor(lengths))
    for name in ("fused_map", "video_map", "audio_map", "video_logits", "audio_logits"):
        a, b = getattr(whole, name), getattr(part, name)
        assert a.shape == b.shape
        for clip, n in enumerate(lengths):
            torch.testing.assert_close(b[clip, ..., :n], a[clip, ..., :n], atol=1e-5, rtol=0)
    torch.testing.assert_close(part.video_features, whole.video_features, atol=1e-5, rtol=0)
    assert not part.fused_map[..., max(lengths) + 1 :].any()


def test_gradients_with_and_without_frame_numbers_are_equal(make_clips):
    torch.manual_seed(0)
    network = BATFD(**SMALL, frames=60, durations=4)
    inputs = make_clips(network, (9,))
    gradients = []
    for n_frames in (None, torch.tensor([9])):
        network.zero_grad()
        output = network(*inputs, n_frames)
        (output.fused_map[..., :9].sum() + output.video_features.square().sum()).backward()
        gradients.append([p.grad.clone() for p in network.parameters() if p.grad is not None])
    for a, b in zip(*gradients, strict=True):
        torch.testing.assert_close(a, b, atol=1e-4, rtol=1e-3)


def test_checkpointing_changes_no_gradient(make_clips):
    gradients = []
    for checkpointed in (False, True):
        torch.manual_seed(0)
        network = BATFD(**SMALL, frames=12, durations=3, checkpointed=checkpointed)
        network(*make_clips(network, (12,))).fused_map.sum().backward()
        gradients.append([p.grad.clone() for p in network.parameters() if p.grad is not None])
    for a, b in zip(*gradients, strict=True):
        torch.testing.assert_close(a, b, atol=1e-6, rtol=1e-4)


def test_results_do_not_depend_on_the_batch(make_features):
    torch.manual_seed(0)
    network = BATFD(**CACHED, width=6, map_widths=(7, 5), samples=4, frames=40, durations=5).eval()
    inputs = make_features((11, 23), 23)
    alone = {k: x[:1, :11] for k, x in inputs.items()}
    padded = {k: torch.nn.functional.pad(x, (0, 0, 0, 17) if x.dim() == 3 else (0, 17)) for k, x in inputs.items()}
    with torch.inference_mode():
        together, single, full = network(**inputs), network(**alone), network(**padded)
    assert single.fused_map.shape == (1, 5, 11)
    for name in ("fused_map", "audio_map", "video_logits"):
        torch.testing.assert_close(getattr(together, name)[:1, ..., :11], getattr(single, name), atol=1e-6, rtol=0)
        torch.testing.assert_close(getattr(full, name)[..., :23], getattr(together, name), atol=1e-6, rtol=0)


def test_missing_modality_has_no_effect(make_features):
    network = BATFD(**CACHED, width=6, map_widths=(7, 5), samples=4, frames=40, durations=5).eval()
    inputs = make_features((11,), 11)
    inputs["audio_mask"][:] = False
    with torch.inference_mode():
        output = network(**inputs)
        inputs["audio"] += 1e3
        again = network(**inputs)
    torch.testing.assert_close(output.fused_map, again.fused_map)
    assert torch.isfinite(output.fused_map).all()


def test_learns_one_clip_by_heart(make_features, map_targets):
    torch.manual_seed(0)
    network = BATFD(**CACHED, width=16, map_widths=(32, 16), frames=32, durations=8, dropout=0.0)
    inputs = make_features((29, 25), 29)
    targets = map_targets(network, (29, 25), 29, Segment(0.24, 0.48))
    optimizer = torch.optim.Adam(network.parameters(), 1e-3)
    for _ in range(300):
        terms = network.loss(network(**inputs), targets)
        optimizer.zero_grad()
        terms["loss"].backward()
        optimizer.step()
    network.eval()
    grids = [TimeGrid(0, 0.04, 29), TimeGrid(0, 0.04, 25)]
    fake, real = network.decode(network.predict(**inputs), grids)
    assert fake.segments[0] == pytest.approx([0.24, 0.48], abs=0.05)
    assert fake.scores[0] > 0.7 > 0.3 > real.scores.max()
    assert fake.modality_scores[0, 0] > 0.5 > fake.modality_scores[0, 1]
    assert network.predict(**inputs).step_logits.shape == (2, 29, 2)


def test_features_at_their_own_rate(assert_rows_are_padded_well):
    assert_rows_are_padded_well(BATFD)


def test_front_ends_take_the_place_of_projections():
    """From samples and pixels to maps and back to every parameter; the arguments make the same network again."""
    torch.manual_seed(0)
    arguments = {
        "video_encoder": "projection",
        "audio_encoder": "projection",
        "visual_dim": 1024,
        "audio_dim": 160,
        "visual_rows_per_step": 1.0,
        "audio_rows_per_step": 4.0,
        "audio_front_end": "raw",
        "audio_front_end_options": {"filters": 6, "kernel": 100},
        "visual_front_end": "lips",
        "visual_front_end_options": {"side": 32},
    }
    sizes = {"width": 4, "map_widths": (6, 3), "samples": 3, "frames": 32, "durations": 6}
    network = BATFD(**arguments, **sizes)
    inputs = {
        "audio": torch.randint(-999, 999, (2, 28, 160)).short(),
        "video": torch.randint(0, 255, (2, 7, 1024)).byte(),
        "audio_mask": torch.ones(2, 28, dtype=torch.bool),
        "video_mask": torch.ones(2, 7, dtype=torch.bool),
        "step_mask": torch.ones(2, 7, dtype=torch.bool),
        "audio_phase": torch.zeros(2),
        "video_phase": torch.zeros(2),
    }
    output = network(**inputs)
    (output.fused_map.sum() + output.audio_logits.sum() + output.video_logits.sum()).backward()
    for encoder in (network.audio_encoder, network.video_encoder):
        assert all(p.grad is not None for p in encoder.parameters())
    assert network.arguments["visual_front_end_options"] == {"side": 32, "channels": 16}
    again = BATFD(**network.arguments)
    again.load_state_dict(network.state_dict())
    with torch.no_grad():
        torch.testing.assert_close(again.eval()(**inputs).fused_map, network.eval()(**inputs).fused_map)
    with pytest.raises(AvlocError, match="audio_front_end_options have no effect without audio_front_end"):
        BATFD(**arguments | {"audio_front_end": ""}, **sizes)
    with pytest.raises(AvlocError, match="audio_spectral_channels=4 is for cached features"):
        BATFD(**arguments, audio_spectral_channels=4, **sizes)
    with pytest.raises(AvlocError, match="audio_front_end=raw needs the encoders projection, got c3d"):
        BATFD(audio_front_end="raw", width=8, audio_widths=(3, 4, 2), video_widths=(3, 4, 5, 4), frames=32, durations=3)
