from __future__ import annotations

from dataclasses import replace

import pytest

from avloc.core.descriptions import ClipInputFormat, ExtractorDescription, TrainingContext
from avloc.errors import AvlocError
from avloc.inference.sources.checkpoint import build_source
from avloc.inference.sources.clip import ClipSource
from avloc.inference.sources.feature import FeatureSource
from avloc.models.checkpoint import Checkpoint


def test_sources_by_the_context_of_a_checkpoint(tmp_path):
    pixels = Checkpoint(
        tmp_path, "BATFD", {"frames": 24}, TrainingContext(0.04, clips=ClipInputFormat(24, "squeeze")), {}
    )
    source = build_source(pixels)
    assert isinstance(source, ClipSource)
    assert (source.frames, source.fit) == (24, "squeeze")
    assert isinstance(build_source(Checkpoint(tmp_path, "X", {}, TrainingContext(0.5), {})), FeatureSource)


class OwnSound:
    """Stands for the class of an extractor."""

    name = "own_sound"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"weights": {"r3d": "x.pth"}}, "trained on logspec, r3d_18, which do not use --weights r3d=…; leave it out"),
        (
            {"own_extractors": [OwnSound]},
            r"which do not use --extractor .*\.OwnSound; leave it out, or correct the name",
        ),
    ],
)
def test_an_option_without_effect_is_an_error(tmp_path, options, message):
    extractors = (
        ExtractorDescription("logspec", "audio", hop_s=0.02, dim=3),
        ExtractorDescription("r3d_18", "visual", hop_s=0.04, dim=4, weights_sha256="0" * 64),
    )
    checkpoint = Checkpoint(tmp_path / "a.ckpt", "X", {}, TrainingContext(hop_s=0.04, extractors=extractors), {})
    with pytest.raises(AvlocError, match=message):
        build_source(checkpoint, **options)
    build_source(checkpoint, {"r3d_18": "x.pth"})
    of_sound = replace(checkpoint, context=replace(checkpoint.context, modality="audio"))
    with pytest.raises(AvlocError, match="was trained on logspec, which do not use --weights r3d_18=…"):
        build_source(of_sound, {"r3d_18": "x.pth"})
    assert [extractor.name for extractor in build_source(of_sound).descriptions] == ["logspec"]
    with pytest.raises(
        AvlocError, match=r"a\.ckpt: the network was trained on the clips themselves, which do not use --weights"
    ):
        build_source(Checkpoint(tmp_path / "a.ckpt", "X", {}, TrainingContext(0.04), {}), {"r3d_18": "x.pth"})
