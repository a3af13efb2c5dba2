from __future__ import annotations

import re

import pytest
import torch
from torch import nn

from avloc.core.descriptions import ExtractorDescription, TrainingContext
from avloc.errors import AvlocError
from avloc.models.batfd.network import BATFD
from avloc.models.boundary_transformer.network import BoundaryTransformer
from avloc.models.network import MEMBERS, Network, as_module, candidate_network, check_inputs, check_network


class Minimal(nn.Module, Network):
    """The least that a class needs: the other members have defaults."""

    def __init__(self):
        super().__init__()
        self.arguments = {}
        self.target_maker = lambda record, grid, length: (None, 0)

    def forward(self, audio):
        return audio

    def loss(self, output, targets):
        return {"loss": output.sum()}

    def decode(self, output, grids, *, keep=100):
        return []


def test_minimal_class_inherits_the_defaults():
    network = Minimal()
    assert check_network(network) is network
    assert (network.longest_steps, network.longest_segment_steps, network.cached_features) == (None, 0, True)
    assert network(audio=torch.ones(2)).tolist() == [1.0, 1.0]
    assert as_module(network) is network


def test_networks_of_the_package_fulfil_the_contract():
    point_head = check_network(BoundaryTransformer(audio_dim=5, visual_dim=7, width=8, heads=2))
    assert (point_head.longest_steps, point_head.longest_segment_steps, point_head.cached_features) == (None, 0, True)
    small = {"width": 4, "map_widths": (3, 2), "frames": 31, "durations": 6}
    features = {"video_encoder": "projection", "audio_encoder": "projection", "visual_dim": 5, "audio_dim": 7}
    on_features = check_network(BATFD(**features, **small))
    assert (on_features.longest_steps, on_features.longest_segment_steps, on_features.cached_features) == (31, 6, True)
    on_clips = check_network(BATFD(video_widths=(1, 1, 1, 1), audio_widths=(1, 1, 1), **small))
    assert not on_clips.cached_features


def test_missing_members_are_listed():
    with pytest.raises(AvlocError, match="int is no network of avloc: want a torch.nn.Module"):
        check_network(3)
    with pytest.raises(AvlocError) as error:
        check_network(nn.Identity())
    for member in set(MEMBERS) - {"forward"}:
        assert f"`{member}` ({MEMBERS[member]})" in str(error.value)
    assert "`forward`" not in str(error.value)
    with pytest.raises(AvlocError, match=re.escape("`forward` (runs a padded batch)")):
        check_network(nn.Module())


def test_arguments_must_be_a_mapping():
    network = Minimal()
    network.arguments = [("width", 8)]
    with pytest.raises(AvlocError, match=r"Minimal.arguments must be a mapping .*, got \[\('width', 8\)\]"):
        check_network(network)


WAVEFORM = ExtractorDescription("waveform", "audio", hop_s=0.01, dim=160, dtype="int16")
WIDE = ExtractorDescription("wide", "audio", hop_s=0.01, dim=160)
GRID = ExtractorDescription("residual_grid", "visual", hop_s=0.04, dim=7)
MOUTH = ExtractorDescription("mouth", "visual", hop_s=0.04, dim=9216, dtype="uint8")
RATES = {"audio_rows_per_step": 4.0, "visual_rows_per_step": 1.0}


@pytest.mark.parametrize(
    ("extractors", "front_ends", "message"),
    [
        (
            (WAVEFORM, GRID),
            ("", ""),
            "waveform gives rows of int16, which are no features: give the network an audio_front",
        ),
        (
            (WAVEFORM, MOUTH),
            ("raw", ""),
            "mouth gives rows of uint8, which are no features: give the network an visual_",
        ),
        (
            (WIDE, GRID),
            ("raw", ""),
            "audio_front_end raw takes rows of int16, wide gives float16 .* extractor waveform$",
        ),
        (
            (WAVEFORM, GRID),
            ("raw", "lips"),
            "front_end lips takes rows of uint8, residual_grid gives .* extractor mouth$",
        ),
    ],
)
def test_samples_and_features_are_not_taken_for_each_other(extractors, front_ends, message):
    arguments = RATES | dict(zip(("audio_front_end", "visual_front_end"), front_ends, strict=True))
    with pytest.raises(AvlocError, match=message):
        check_inputs(arguments, TrainingContext(0.04, extractors, native_rate=True))


def test_streams_that_fit():
    context = TrainingContext(0.04, (WAVEFORM, GRID), native_rate=True)
    check_inputs(RATES | {"audio_front_end": "raw", "visual_front_end": ""}, context)
    check_inputs(RATES, context)  # a network of the user's own
    alone = TrainingContext(0.04, (WAVEFORM, MOUTH), native_rate=True, modality="audio")
    check_inputs(RATES | {"audio_front_end": "raw", "visual_front_end": ""}, alone)


def test_a_network_with_candidates():
    network = BoundaryTransformer(audio_dim=5, visual_dim=7, width=8, heads=2)
    assert candidate_network(network) is network
    with pytest.raises(AvlocError, match="a Minimal gives no candidates that could be decoded with other settings"):
        candidate_network(Minimal())
