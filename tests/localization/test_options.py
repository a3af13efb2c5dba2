from __future__ import annotations

from dataclasses import replace

import pytest

from avloc.core.descriptions import NetworkDescription
from avloc.errors import AvlocError
from avloc.localization.options import EMBEDS, LIKELY_FORGED, THRESHOLD, OutputOptions


def test_defaults():
    assert OutputOptions() == OutputOptions(threshold=None, embed="auto")
    assert OutputOptions().embed in EMBEDS


def test_the_threshold_is_the_one_asked_for_or_the_networks(localization):
    chosen = replace(localization, network=NetworkDescription("net", threshold=0.7))
    assert OutputOptions().threshold_for(chosen) == 0.7
    assert OutputOptions(threshold=0.0).threshold_for(chosen) == 0.0
    assert OutputOptions().threshold_for(localization) == LIKELY_FORGED
    assert (
        OutputOptions().threshold_for(replace(localization, network=NetworkDescription("net"), calibration={}))
        == THRESHOLD
    )


@pytest.mark.parametrize("threshold", [-0.1, 1.1, float("nan"), float("inf")])
def test_a_threshold_lies_within_0_and_1(threshold):
    with pytest.raises(AvlocError, match=f"want a threshold within 0 and 1, got {threshold:g}"):
        OutputOptions(threshold=threshold)
    assert OutputOptions(0.0).threshold == 0
    assert OutputOptions(1.0).threshold == 1
