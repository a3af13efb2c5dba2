from __future__ import annotations

import pytest
import torch

SMALL = {"audio_dim": 7, "visual_dim": 5, "width": 16, "heads": 2, "levels": 2, "stem_layers": 0}


@pytest.mark.parametrize(("name", "deaf_to"), [("AudioAlone", "video"), ("VisualAlone", "audio")])
def test_the_other_stream_has_no_effect(name, deaf_to):
    from peers import single_stream

    torch.manual_seed(0)
    network = getattr(single_stream, name)(**SMALL).eval()
    mask = torch.ones(1, 19, dtype=torch.bool)
    inputs = {"audio": torch.randn(1, 19, 7), "video": torch.randn(1, 19, 5), "audio_mask": mask, "video_mask": mask}
    before = network(**inputs)
    other = network(**{**inputs, deaf_to: torch.randn_like(inputs[deaf_to])})
    assert (before.point_logits == other.point_logits).all()
    kept = "audio" if deaf_to == "video" else "video"
    changed = network(**{**inputs, kept: torch.randn_like(inputs[kept])})
    assert not torch.allclose(before.point_logits, changed.point_logits)
