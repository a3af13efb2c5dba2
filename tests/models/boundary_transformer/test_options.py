from __future__ import annotations

import pytest

from avloc.errors import AvlocError
from avloc.models.boundary_transformer.network import BoundaryTransformer


def build(**options):
    return BoundaryTransformer(**{"audio_dim": 7, "visual_dim": 5, "width": 12, "heads": 3, **options})


def test_sizes_that_do_not_fit():
    with pytest.raises(AvlocError, match="heads must divide the width, got 5 heads and a width of 12"):
        build(heads=5)
    with pytest.raises(AvlocError, match="layers must divide the features' width, got 2 of 7 and 1 of 5"):
        build(audio_layers=2)
    with pytest.raises(AvlocError, match="want at least one of distance_bins, got 0"):
        build(distance_bins=0)


@pytest.mark.parametrize(
    ("argument", "value"),
    [
        ("width", 8199),
        ("levels", 65),
        ("stem_layers", 10**6),
        ("cross_layers", 10**6),
        ("evidence_channels", 10**6),
        ("distance_bins", 10**6),
    ],
)
def test_sizes_that_no_network_has_are_refused(argument, value):
    with pytest.raises(AvlocError, match=f"want .*{argument} of at most .*, got {value}"):
        build(**{argument: value})


@pytest.mark.parametrize(
    ("option", "condition"), [({"refine": True}, "evidence_channels"), ({"share_branch": False}, "modality_points")]
)
def test_an_option_without_effect_is_refused(option, condition):
    (name, value), off = *option.items(), {condition: 0 if condition == "evidence_channels" else False}
    message = f"{name}={value} has no effect with {condition}={off[condition]}; leave {name} out, or change {condition}"
    with pytest.raises(AvlocError, match=message):
        build(**option, **off)
    build(**off)
    build(**option, **{condition: 32 if condition == "evidence_channels" else True})


@pytest.mark.parametrize("options", [{"coarse_levels": -1}, {"coarse_levels": 9}, {"part_weight": -0.5}])
def test_auxiliary_losses_out_of_range(options):
    with pytest.raises(AvlocError, match=r"want coarse_levels of 0 to 8 and part_weight ≥ 0, got"):
        build(**options)


def test_clip_labels_exclude_losses_on_segments():
    for option in ({"coarse_levels": 2}, {"part_weight": 0.5}):
        with pytest.raises(AvlocError, match="trains on segments, and clip_pooling on clip labels alone"):
            build(clip_pooling="top_k", **option)
    with pytest.raises(AvlocError, match="pooled_share has no effect without clip_pooling=top_k"):
        build(pooled_share=0.3)
    with pytest.raises(AvlocError, match="want clip_pooling of noisy_or, top_k, attention"):
        build(clip_pooling="mean")
