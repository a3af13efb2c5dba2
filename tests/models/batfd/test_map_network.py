from __future__ import annotations

import pytest
import torch

from avloc.core.timeline import TimeGrid
from avloc.errors import AvlocError
from avloc.models.batfd.map_network import MapNetwork, MapOutput, Streams

SMALL = {"video_widths": (3, 4, 5, 4), "audio_widths": (3, 4, 2), "width": 8, "map_widths": (7, 5), "samples": 4}
CACHED = {"video_encoder": "projection", "audio_encoder": "projection", "visual_dim": 5, "audio_dim": 7}


def make_output(fused_map):
    _, _, steps = fused_map.shape
    logits, features = torch.zeros(1, steps), torch.zeros(1, 4, steps)
    return MapOutput(fused_map, 0.5 * fused_map, fused_map, logits, logits + 1, features, features)


def test_step_logits_are_audio_then_visual():
    output = make_output(torch.zeros(1, 3, 5))
    assert output.step_logits[0].tolist() == [[1.0, 0.0]] * 5


def test_logits_become_another_channel():
    features, logits = torch.ones(1, 2, 3), torch.tensor([[4.0, 5.0, 6.0]])
    video, audio = Streams(features, features, logits, -logits, starts=3).with_logits(5)
    assert video[0].tolist() == [[1, 1, 1, 0, 0], [1, 1, 1, 0, 0], [4, 5, 6, 0, 0]]
    assert audio[0, 2].tolist() == [-4, -5, -6, 0, 0]


def test_contract_of_a_network():
    on_features = MapNetwork(**CACHED, width=4, frames=31, durations=6)
    assert (on_features.longest_steps, on_features.longest_segment_steps, on_features.cached_features) == (31, 6, True)
    assert on_features.arguments["width"] == 4
    assert not MapNetwork(**SMALL, frames=12, durations=3).cached_features


def test_decode_returns_the_best_cell_as_a_segment():
    network = MapNetwork(**CACHED, width=4, frames=9, durations=3)
    fused_map = torch.full((1, 3, 9), 0.01)
    fused_map[0, 2, 4] = 0.75  # 3 steps from step 4 on
    (proposals,) = network.decode(make_output(fused_map), [TimeGrid(0.5, 0.04, 9)], keep=5)
    assert len(proposals) == 5
    assert proposals.segments[0].tolist() == pytest.approx([0.66, 0.78])
    assert proposals.scores[0] == pytest.approx(0.75)
    assert proposals.modality_scores[0].tolist() == pytest.approx([0.75, 0.375])


def test_total_is_the_weighted_sum():
    network = MapNetwork(
        **CACHED, width=4, frames=5, frame_loss_weight=3.0, modal_loss_weight=0.5, contrast_loss_weight=20.0
    )
    names = ("fused_map", "video_map", "audio_map", "video_frame", "audio_frame", "contrast")
    terms = network.total(dict(zip(names, map(torch.tensor, (1.0, 2.0, 4.0, 0.5, 1.5, 0.25)), strict=True)))
    assert terms["loss"].item() == pytest.approx(1.0 + 0.5 * 3.0 + 3.0 * 1.0 + 20.0 / 20 * 0.25)


def test_wrong_arguments():
    with pytest.raises(AvlocError, match="want cached features for both encoders or none, got projection, cnn"):
        MapNetwork(video_encoder="projection", visual_dim=3)
    with pytest.raises(AvlocError, match="got 'odd' and 'aligned'"):
        MapNetwork(**SMALL, sampling="odd")
    with pytest.raises(AvlocError, match="got 'proposal' and 'odd'"):
        MapNetwork(**SMALL, decoding="odd")
    with pytest.raises(AvlocError, match="want 2 map_widths, got 3"):
        MapNetwork(**SMALL | {"map_widths": (1, 2, 3)})


def test_wrong_lengths():
    network = MapNetwork(**SMALL, frames=12, durations=3)
    with pytest.raises(AvlocError, match="want video of 12 frames and audio of 48 steps, got 11 and 48"):
        network.encode(torch.zeros(1, 3, 11, 96, 96), torch.zeros(1, 64, 48), None, None, None, local_maps=True)
    network = MapNetwork(**CACHED, width=4, map_widths=(3, 2), frames=12, durations=3)
    for video_steps, audio_steps, message in (
        (13, 13, "at most 12 steps, got 13"),
        (11, 12, r"must have equal \(B, T\)"),
    ):
        with pytest.raises(AvlocError, match=message):
            network.encode(
                torch.zeros(1, video_steps, 5), torch.zeros(1, audio_steps, 7), None, None, None, local_maps=True
            )
