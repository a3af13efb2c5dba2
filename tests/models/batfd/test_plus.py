from __future__ import annotations

import pytest
import torch

from avloc.core.records import VideoRecord
from avloc.core.timeline import Segment, TimeGrid
from avloc.errors import AvlocError
from avloc.heads.maps import MapTargets
from avloc.models.batfd.plus import BATFDPlus
from avloc.models.batfd.proposal_relation import ChannelAttention, PositionAttention, ProposalRelation

CONVOLUTIONS = {
    "video_encoder": "c3d", "audio_encoder": "cnn", "video_widths": (3, 4, 5, 4), "audio_widths": (3, 4, 2), "width": 8,
    "map_widths": (7, 6), "samples": 4,
}  # fmt: skip
CACHED = {
    "video_encoder": "projection", "audio_encoder": "projection", "visual_dim": 5, "audio_dim": 7, "width": 6,
    "map_widths": (7, 5), "samples": 4, "frames": 40, "durations": 5,
}  # fmt: skip


@pytest.mark.parametrize("name", ["batfd_plus", "batfd_plus_cbg"])
def test_losses_equal_the_published_ones(assert_published_losses, name):
    terms = {
        "loss": "loss", "fused_map": "fusion_bm_loss", "video_map": "v_bm_loss", "audio_map": "a_bm_loss",
        "video_frame": "v_frame_loss", "audio_frame": "a_frame_loss", "contrast": "contrast_loss",
    }  # fmt: skip
    if name == "batfd_plus_cbg":
        terms |= {"fused_boundary": "fusion_cbg_loss", "video_boundary": "v_cbg_loss", "audio_boundary": "a_cbg_loss"}
    assert_published_losses(name, terms)


def test_position_attention_is_the_written_out_one():
    torch.manual_seed(0)
    attention = PositionAttention(width=6).eval()
    x = torch.randn(2, 6, 5, 9)
    pooled = [torch.nn.functional.max_pool2d(part(x), 2).flatten(2) for part in (attention.key, attention.value)]
    weights = (attention.query(x).flatten(2).transpose(1, 2) @ pooled[0]).softmax(-1)  # B, 45, 8
    expected = x + attention.out((weights @ pooled[1].transpose(1, 2)).transpose(1, 2).reshape(x.shape))
    torch.testing.assert_close(attention(x), expected, atol=1e-5, rtol=1e-5)


def test_channel_layouts_differ_as_described():
    torch.manual_seed(0)
    x = torch.randn(1, 3, 2, 5)
    right = ChannelAttention(width=3, layout="channels").eval()
    quirk = ChannelAttention(width=3, layout="published").eval()
    quirk.load_state_dict(right.state_dict())
    q, k, v = (part(x).flatten(2) for part in (right.query, right.key, right.value))
    y = (q @ k.transpose(1, 2)).softmax(-1) @ v  # 1, 3, 10
    torch.testing.assert_close(right(x), x + right.out(y.reshape(1, 3, 2, 5)))
    torch.testing.assert_close(quirk(x), x + quirk.out(y.transpose(1, 2).reshape(1, 3, 2, 5)))
    with pytest.raises(AvlocError, match="want channel_layout of channels, published, got 'odd'"):
        ProposalRelation(width=3, channel_layout="odd")


def test_shapes_and_means(cached):
    network = BATFDPlus(**CACHED).eval()
    with torch.inference_mode():
        output = network(**cached((11, 23), 23))
    assert output.fused_maps.shape == output.audio_maps.shape == (2, 3, 5, 23)
    torch.testing.assert_close(output.video_map, output.video_maps.mean(1))
    assert output.combined() is output
    with pytest.raises(AttributeError, match="no 'start' in the output without a boundary generator"):
        _ = output.start


@pytest.mark.parametrize("generator", [False, True])
def test_cached_features_do_not_depend_on_the_batch(cached, generator):
    torch.manual_seed(0)
    network = BATFDPlus(**CACHED, boundary_generator=generator).eval()
    given = cached((11, 23), 23)
    with torch.inference_mode():
        together, single = network(**given), network(**{k: x[:1, :11] for k, x in given.items()})
    torch.testing.assert_close(together.fused_map[:1, ..., :11], single.fused_map, atol=1e-5, rtol=0)
    if generator:
        for name in ("start", "audio_end"):
            torch.testing.assert_close(getattr(together, name)[:1, :11], getattr(single, name), atol=1e-5, rtol=0)
            one, other = getattr(together.combined(), name)[:1, :11], getattr(single.combined(), name)
            torch.testing.assert_close(one, other, atol=1e-5, rtol=0)


def test_boundaries_weight_the_decoded_cells(cached):
    torch.manual_seed(0)
    network = BATFDPlus(**CACHED, boundary_generator=True).eval()
    output = network.predict(**cached((11,), 11))
    best = network.decode(output, [TimeGrid(0, 0.04, 11)], keep=1)[0]
    weighted = [
        (output.fused_map[0, d, t] * output.start[0, t] * output.end[0, min(t + d, 10)]).item()
        for t in range(11) for d in range(5) if t + d + 1 <= 11
    ]  # fmt: skip
    assert best.scores[0] == pytest.approx(max(weighted), rel=1e-5)


@pytest.mark.parametrize("size", ["t", "s", "b"])
def test_transformer_encoders_of_all_sizes(size):
    network = BATFDPlus(
        video_encoder=f"mvit_{size}", audio_encoder=f"vit_{size}", width=8, map_widths=(4, 3), frames=4, durations=2
    ).eval()
    with torch.inference_mode():
        output = network(torch.rand(1, 3, 4, 96, 96), torch.randn(1, 64, 16))
        assert output.fused_map.shape == (1, 2, 4)
        with pytest.raises(AvlocError, match="want video of 4 frames"):
            network(torch.rand(1, 3, 5, 96, 96), torch.randn(1, 64, 16))


def targets_of(network, lengths):
    records = [VideoRecord("x", "t", None, (Segment(0.08, 0.2),), ()), VideoRecord("y", "t")]
    made = [
        network.target_maker(r, TimeGrid(0, 0.04, n), network.frames)[0] for r, n in zip(records, lengths, strict=True)
    ]
    return MapTargets(*(torch.stack([torch.as_tensor(t) for t in column]) for column in zip(*made, strict=True)))


@pytest.mark.parametrize("constant", [False, True])
def test_training_in_half_precision_gives_no_nan(clips, constant):
    """Published: NaN after some epochs. Constant clips are the worst case: no variance, and features that are equal."""
    torch.manual_seed(0)
    network = BATFDPlus(**CONVOLUTIONS, frames=12, durations=4, boundary_generator=True)
    optimizer = torch.optim.Adam(network.parameters(), 1e-3, betas=(0.5, 0.9))
    targets = targets_of(network, (12, 9))
    for step in range(4):
        video, audio = clips(network, (12, 9), seed=step)
        if constant:
            video, audio = torch.full_like(video, 0.5), torch.full_like(audio, -4.6)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            terms = network.loss(network(video, audio), targets)
        optimizer.zero_grad()
        terms["loss"].backward()
        assert all(torch.isfinite(p.grad).all() for p in network.parameters() if p.grad is not None)
        optimizer.step()
        assert all(torch.isfinite(v) for v in terms.values())
    assert all(torch.isfinite(p).all() for p in network.parameters())
    network.eval()
    assert torch.isfinite(network.predict(video, audio).start).all()


def test_transformers_train_in_half_precision():
    torch.manual_seed(0)
    network = BATFDPlus(
        video_encoder="mvit_t",
        audio_encoder="vit_t",
        width=8,
        map_widths=(4, 3),
        frames=8,
        durations=3,
        checkpointed=True,
    )
    for value in (torch.rand(2, 3, 8, 96, 96), torch.full((2, 3, 8, 96, 96), 0.25)):
        with torch.autocast("cpu", dtype=torch.bfloat16):
            terms = network.loss(network(value, torch.full((2, 64, 32), -4.6)), targets_of(network, (8, 6)))
        network.zero_grad()
        terms["loss"].backward()
        assert all(torch.isfinite(p.grad).all() for p in network.parameters() if p.grad is not None)
