from __future__ import annotations

import pytest
import torch

from avloc.errors import AvlocError
from avloc.models.batfd.encoders.projection import ProjectionEncoder


def test_output_is_zero_outside_of_the_mask():
    torch.manual_seed(0)
    encoder = ProjectionEncoder(features=5, width=4, layers=1).eval()
    features, mask = torch.randn(2, 19, 5), torch.arange(19) < torch.tensor([19, 7])[:, None]
    y = encoder(features, mask)
    assert y.shape == (2, 4, 19)
    assert not y[1, :, 7:].any()
    torch.testing.assert_close(y[1:, :, :7], encoder(features[1:, :7], mask[1:, :7]), atol=1e-6, rtol=1e-5)


def test_width_of_the_features_is_needed():
    with pytest.raises(AvlocError, match=r"needs the width of its cached features \(audio_dim, visual_dim\)"):
        ProjectionEncoder(features=0, width=4)
