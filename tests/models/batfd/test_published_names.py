from __future__ import annotations

import json
from pathlib import Path

import pytest

from avloc.models.batfd.published_names import parameter_name

DATA = Path(__file__).parents[2] / "data" / "batfd"


@pytest.mark.parametrize("name", ["batfd", "batfd_plus", "batfd_plus_cbg"])
def test_every_published_tensor_has_its_own_name(name):
    keys = json.loads((DATA / f"{name}.json").read_text())["state_dict"]
    names = [parameter_name(key) for key in keys]
    assert None not in names
    assert len(set(names)) == len(names)


@pytest.mark.parametrize(
    ("published", "name"),
    [
        ("video_encoder.block3.5.conv.weight", "video_encoder.project.weight"),
        ("audio_encoder.block.pos_embedding", "audio_encoder.encoder.pos_embedding"),
        ("audio_frame_classifier.lr_layer.conv.bias", "audio_classifier.bias"),
        ("video_comp_boundary_generator.conv1_0.conv.weight", "generators.video.node_10.weight"),
        ("audio_boundary_module.proposal_block.p_net.W.0.weight", "audio_boundaries.relation.position.out.0.weight"),
        ("cbg_fusion_end.v_attn_block.attn_from_self_features.conv.bias", "boundary_fusions.end.video.from_own.bias"),
        ("odd.weight", None),
        ("x.video_encoder.mvit.weight", None),
    ],
)
def test_names_by_hand(published, name):
    assert parameter_name(published) == name


def test_only_whole_names_of_parts_are_replaced():
    assert parameter_name("video_encoder.block0.0.conv.momentum.x") == "video_encoder.convs.0.momentum.x"
