from __future__ import annotations

import pytest
import torch

from avloc.core.timeline import rows_in
from avloc.errors import AvlocError


@pytest.fixture
def assert_rows_are_padded_well():
    """A check of a class of networks on streams at their own rate: padding changes nothing, and a row counts at its time."""

    def check(build, **options):
        torch.manual_seed(0)
        rates = {"audio_rows_per_step": 4.0, "visual_rows_per_step": 29.97 / 25}
        encoders = {"video_encoder": "projection", "audio_encoder": "projection", "visual_dim": 5, "audio_dim": 7}
        sizes = {"width": 4, "map_widths": (6, 3), "samples": 3, "frames": 32, "durations": 6}
        network = build(**encoders, **sizes, **rates, **options).eval()

        def inputs(steps):
            rows = [rows_in(steps, rate) for rate in rates.values()]
            full = [rows_in(19, rate) for rate in rates.values()]
            masks = [torch.arange(n) < m for n, m in zip((*rows, steps), (*full, 19), strict=True)]
            random = torch.Generator().manual_seed(1)
            streams = [torch.randn(1, m, d, generator=random) for m, d in zip(full, (7, 5), strict=True)]
            streams = [
                torch.nn.functional.pad(x, (0, 0, 0, n - x.shape[1]), value=9.0)
                for x, n in zip(streams, rows, strict=True)
            ]
            names = ("audio", "video", "audio_mask", "video_mask", "step_mask")
            values = [*streams, *(mask[None] for mask in masks)]
            phases = {"audio_phase": torch.tensor([0.3]), "video_phase": torch.tensor([-0.5])}
            return {**dict(zip(names, values, strict=True)), **phases}

        with torch.no_grad():
            alone, padded = network(**inputs(19)), network(**inputs(27))
        assert alone.fused_map.shape == (1, 6, 19)
        torch.testing.assert_close(padded.fused_map[..., :19], alone.fused_map, atol=1e-5, rtol=1e-4)
        torch.testing.assert_close(padded.audio_logits[:, :19], alone.audio_logits, atol=1e-5, rtol=1e-4)
        with pytest.raises(AvlocError, match="at most 32 steps, got 33"):
            network(**inputs(33))

    return check
