from __future__ import annotations

import pytest
import torch

from avloc.core.records import VideoRecord
from avloc.core.timeline import Segment, TimeGrid
from avloc.errors import AvlocError, CheckpointError
from avloc.heads.maps import MapTargets
from avloc.models import build_model
from avloc.models.batfd.network import BATFD

SMALL = {"video_widths": (3, 4, 5, 4), "audio_widths": (3, 4, 2), "width": 8, "map_widths": (7, 5), "samples": 4}
CACHED = {"video_encoder": "projection", "audio_encoder": "projection", "visual_dim": 5, "audio_dim": 7}


def test_losses_equal_the_published_ones(assert_published_losses):
    assert_published_losses(
        "batfd",
        {
            "loss": "loss", "fused_map": "fusion_bm_loss", "video_map": "v_bm_loss", "audio_map": "a_bm_loss",
            "video_frame": "v_frame_loss", "audio_frame": "a_frame_loss", "contrast": "contrast_loss",
        },
    )  # fmt: skip


@pytest.mark.parametrize(("sampling", "lengths"), [("published", (19, 31)), ("proposal", (5,)), ("proposal", (70, 64))])
def test_only_the_real_frames_are_computed_and_nothing_changes(sampling, lengths, clips):
    torch.manual_seed(1)
    network = BATFD(**SMALL, frames=90, durations=6, sampling=sampling).eval()
    given = clips(network, lengths)
    with torch.inference_mode():
        whole = network(*given)
        part = network(*given, torch.tensor(lengths))
    for name in ("fused_map", "video_map", "audio_map", "video_logits", "audio_logits"):
        a, b = getattr(whole, name), getattr(part, name)
        assert a.shape == b.shape
        for clip, n in enumerate(lengths):
            torch.testing.assert_close(b[clip, ..., :n], a[clip, ..., :n], atol=1e-5, rtol=0)
    torch.testing.assert_close(part.video_features, whole.video_features, atol=1e-5, rtol=0)
    assert not part.fused_map[..., max(lengths) + 1 :].any()


def test_padding_follows_the_weights(clips):
    network = BATFD(**SMALL, frames=60, durations=4).eval()
    given = clips(network, (9,))
    n_frames = torch.tensor([9])
    with torch.inference_mode():
        network(*given, n_frames)
        for change in (lambda p: p.add_(0.05), lambda p: p.data.mul_(1.1)):
            for p in network.video_encoder.parameters():
                change(p)
            torch.testing.assert_close(
                network(*given, n_frames).video_features, network(*given).video_features, atol=1e-4, rtol=1e-4
            )
    network.double()
    assert network(*(x.double() for x in given), n_frames).video_features.dtype == torch.float64


def test_gradients_through_the_left_out_padding(clips):
    torch.manual_seed(0)
    network = BATFD(**SMALL, frames=60, durations=4)
    given = clips(network, (9,))
    gradients = []
    for n_frames in (None, torch.tensor([9])):
        network.zero_grad()
        output = network(*given, n_frames)
        (output.fused_map[..., :9].sum() + output.video_features.square().sum()).backward()
        gradients.append([p.grad.clone() for p in network.parameters() if p.grad is not None])
    for a, b in zip(*gradients, strict=True):
        torch.testing.assert_close(a, b, atol=1e-4, rtol=1e-3)


def test_checkpointing_changes_no_gradient(clips):
    gradients = []
    for checkpointed in (False, True):
        torch.manual_seed(0)
        network = BATFD(**SMALL, frames=12, durations=3, checkpointed=checkpointed)
        network(*clips(network, (12,))).fused_map.sum().backward()
        gradients.append([p.grad.clone() for p in network.parameters() if p.grad is not None])
    for a, b in zip(*gradients, strict=True):
        torch.testing.assert_close(a, b, atol=1e-6, rtol=1e-4)


def test_cached_features_do_not_depend_on_the_batch(cached):
    torch.manual_seed(0)
    network = BATFD(**CACHED, width=6, map_widths=(7, 5), samples=4, frames=40, durations=5).eval()
    given = cached((11, 23), 23)
    alone = {k: x[:1, :11] for k, x in given.items()}
    with torch.inference_mode():
        together, single = network(**given), network(**alone)
        full = network(
            **{k: torch.nn.functional.pad(x, (0, 0, 0, 17) if x.dim() == 3 else (0, 17)) for k, x in given.items()}
        )
    assert single.fused_map.shape == (1, 5, 11)
    for name in ("fused_map", "audio_map", "video_logits"):
        torch.testing.assert_close(getattr(together, name)[:1, ..., :11], getattr(single, name), atol=1e-6, rtol=0)
        torch.testing.assert_close(getattr(full, name)[..., :23], getattr(together, name), atol=1e-6, rtol=0)


def test_either_modality_may_be_absent(cached):
    network = BATFD(**CACHED, width=6, map_widths=(7, 5), samples=4, frames=40, durations=5).eval()
    given = cached((11,), 11)
    given["audio_mask"][:] = False
    with torch.inference_mode():
        output = network(**given)
        given["audio"] += 1e3
        again = network(**given)
    torch.testing.assert_close(output.fused_map, again.fused_map)
    assert torch.isfinite(output.fused_map).all()


def test_learns_one_clip_by_heart(cached):
    torch.manual_seed(0)
    network = BATFD(**CACHED, width=16, map_widths=(32, 16), frames=32, durations=8, dropout=0.0)
    given = cached((29, 25), 29)
    records = [VideoRecord("x", "t", None, (Segment(0.24, 0.48),), ()), VideoRecord("y", "t")]
    grids = [TimeGrid(0, 0.04, 29), TimeGrid(0, 0.04, 25)]
    made = [network.target_maker(r, g, 29)[0] for r, g in zip(records, grids, strict=True)]
    targets = MapTargets(*(torch.stack([torch.as_tensor(t) for t in column]) for column in zip(*made, strict=True)))
    optimizer = torch.optim.Adam(network.parameters(), 1e-3)
    for _ in range(300):
        terms = network.loss(network(**given), targets)
        optimizer.zero_grad()
        terms["loss"].backward()
        optimizer.step()
    network.eval()
    fake, real = network.decode(network.predict(**given), grids)
    assert fake.segments[0] == pytest.approx([0.24, 0.48], abs=0.05)
    assert fake.scores[0] > 0.7 > 0.3 > real.scores.max()
    assert fake.modality_scores[0, 0] > 0.5 > fake.modality_scores[0, 1]
    assert network.predict(**given).step_logits.shape == (2, 29, 2)


def test_wrong_arguments():
    with pytest.raises(AvlocError, match="want cached features for both encoders or none, got projection, cnn"):
        BATFD(video_encoder="projection", visual_dim=3)
    with pytest.raises(AvlocError, match=r"needs the width of its cached features"):
        BATFD(**CACHED | {"audio_dim": 0})
    with pytest.raises(AvlocError, match=r"gives 4 · 64 features, the network wants a width of 8"):
        BATFD(**SMALL | {"audio_widths": (3, 4, 64)})
    with pytest.raises(AvlocError, match="unknown audio encoder 'x'"):
        BATFD(audio_encoder="x")
    with pytest.raises(AvlocError, match="C3D has 4 stages, got 2 widths"):
        BATFD(**SMALL | {"video_widths": (1, 2)})
    with pytest.raises(AvlocError, match="got 'odd' and 'aligned'"):
        BATFD(**SMALL, sampling="odd")
    with pytest.raises(AvlocError, match="want 2 map_widths, got 3"):
        BATFD(**SMALL | {"map_widths": (1, 2, 3)})
    with pytest.raises(CheckpointError, match="cannot be made from"):
        build_model("BATFD", {"odd": 1})
    network = BATFD(**SMALL, frames=12, durations=3)
    with pytest.raises(AvlocError, match="want video of 12 frames and audio of 48 steps, got 11 and 48"):
        network(torch.zeros(1, 3, 11, 96, 96), torch.zeros(1, 64, 48))
    network = BATFD(**CACHED, width=4, map_widths=(3, 2), frames=12, durations=3)
    with pytest.raises(AvlocError, match="at most 12 steps, got 13 and 13"):
        network(torch.zeros(1, 13, 5), torch.zeros(1, 13, 7))
