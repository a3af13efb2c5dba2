from __future__ import annotations

import pytest
import torch

from avloc.models.stems import GridEncoder, LayerMix, SpectralEncoder, Stem


def test_layer_mix_is_a_weighted_mean():
    mix = LayerMix(3)
    x = torch.tensor([[[1.0, 10.0, 2.0, 20.0, 6.0, 60.0]]])
    torch.testing.assert_close(mix(x), torch.tensor([[[3.0, 30.0]]]))
    with torch.no_grad():
        mix.weights.copy_(torch.tensor([0.5, 0.25, 0.25]).log())
    torch.testing.assert_close(mix(x), torch.tensor([[[2.5, 25.0]]]))


@pytest.mark.parametrize(
    ("features", "options"),
    [(5, {}), (40, {"spectral_channels": 6}), (128, {"grid_channels": 6}), (15, {"cached_layers": 3})],
)
def test_values_outside_of_the_mask_have_no_effect(features, options):
    torch.manual_seed(0)
    stem = Stem(features=features, width=4, layers=2, dropout=0.1, input_dropout=0.1, **options).eval()
    x = torch.randn(2, 19, features)
    mask = torch.arange(19) < torch.tensor([19, 11])[:, None]
    padded = x.masked_fill(~mask[..., None], torch.nan)
    y = stem(padded, mask)
    torch.testing.assert_close(y, stem(x, mask))
    torch.testing.assert_close(y[1:, :11], stem(x[1:, :11], mask[1:, :11]), atol=1e-5, rtol=1e-5)
    assert not y[1, 11:].any()


@pytest.mark.parametrize("features", [1, 18, 40, 201])
def test_spectral_encoder_takes_any_number_of_bins(features):
    encoder = SpectralEncoder(features=features, width=5, channels=2)
    assert encoder(torch.randn(2, 19, features), torch.ones(2, 19, dtype=torch.bool)).shape == (2, 19, 5)


def test_grid_encoder_shares_its_filters_over_the_grid():
    """The same pattern in another place of the grid gives the same values in another place, before the projection."""
    torch.manual_seed(0)
    encoder = GridEncoder(features=3 * 64, width=5, channels=4)
    grids = []
    encoder.norm.register_forward_pre_hook(lambda _, inputs: grids.append(inputs[0].unflatten(-1, (4, 4, 4))))
    x = torch.zeros(1, 2, 3, 8, 8)
    x[0, 0, :, 2, 2] = x[0, 1, :, 4, 4] = torch.tensor([1.0, -2.0, 3.0])
    assert encoder(x.flatten(2), torch.ones(1, 2, dtype=torch.bool)).shape == (1, 2, 5)
    torch.testing.assert_close(grids[0][0, :, 1:3, 1:3], grids[0][1, :, 2:4, 2:4])
