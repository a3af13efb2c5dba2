from __future__ import annotations

from dataclasses import replace

from avloc.core.descriptions import NetworkDescription
from avloc.localization.options import EMBEDS, THRESHOLD, OutputOptions


def test_defaults():
    assert OutputOptions() == OutputOptions(threshold=None, embed="auto")
    assert OutputOptions().embed in EMBEDS


def test_the_threshold_is_the_one_asked_for_or_the_networks(localization):
    chosen = replace(localization, network=NetworkDescription("net", threshold=0.7))
    assert OutputOptions().threshold_for(chosen) == 0.7
    assert OutputOptions(threshold=0.0).threshold_for(chosen) == 0.0
    assert OutputOptions().threshold_for(localization) == THRESHOLD
    assert OutputOptions().threshold_for(replace(localization, network=NetworkDescription("net"))) == THRESHOLD
