from __future__ import annotations

from avloc.localization.options import EMBEDS, THRESHOLD, OutputOptions


def test_defaults():
    assert OutputOptions() == OutputOptions(threshold=THRESHOLD, embed="auto")
    assert OutputOptions().embed in EMBEDS
