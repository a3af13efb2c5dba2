from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from avloc.core.timeline import TimeGrid
from avloc.errors import AvlocError
from avloc.models.blocks import ChannelDropout
from avloc.models.stems import GridEncoder, LayerMix, SpectralEncoder, Stem, difference_planes
from avloc.models.stream_clock import StreamClock


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


def test_difference_planes_are_sizes_of_steps_between_present_rows():
    x = torch.tensor([[[1.0, 4.0, 2.0], [0.0, 0.0, 0.0], [5.0, 5.0, -1.0], [2.0, 6.0, -1.0]]])
    values, in_time, in_frequency = difference_planes(x, torch.tensor([[True, False, True, True]]))[0]
    torch.testing.assert_close(values, x[0])
    assert in_time.tolist() == [[0, 0, 0], [0, 0, 0], [1.5, 0.5, 0], [1.5, 0.5, 0]]  # no step from or to an absent row
    assert in_frequency.tolist() == [[0, 3, 2], [0, 0, 0], [0, 0, 6], [0, 4, 7]]


def test_differences_show_a_roughness_that_no_smooth_filter_sees():
    """Signs that alternate in time leave every mean over a step as it was; the size of the steps tells them."""
    torch.manual_seed(0)
    alternating = torch.tensor([1.0, -1.0]).repeat(20)[:, None] * torch.ones(40, 16)
    mask = torch.ones(1, 40, dtype=torch.bool)
    planes = difference_planes(torch.stack([alternating, torch.zeros(40, 16)]), mask.expand(2, -1))
    means = planes.unflatten(2, (10, 4)).mean((3, 4))  # over each step and all bins: clip, plane, step
    torch.testing.assert_close(means[0, 0], means[1, 0])
    assert (means[0, 1] > means[1, 1] + 1).all()


def test_planes_lose_the_same_channels():
    torch.manual_seed(0)
    dropped = ChannelDropout(0.5)(torch.ones(3, 2, 7, 50))
    assert torch.equal(dropped[:, 0], dropped[:, 1])
    assert set(dropped.unique().tolist()) == {0.0, 2.0}
    assert not torch.equal(dropped[0], dropped[1])  # each clip loses its own


def test_differences_without_their_encoder_are_refused():
    with pytest.raises(AvlocError, match="spectral differences need spectral channels and rows at their own rate"):
        Stem(
            features=40,
            width=4,
            layers=0,
            dropout=0.0,
            input_dropout=0.0,
            spectral_channels=2,
            spectral_differences=True,
        )


def test_spectrum_and_other_features_have_embeddings_of_their_own():
    """Each part of a row changes the steps, and both at once as the embeddings of each, added."""
    torch.manual_seed(0)
    stem = native_stem("differences of a spectrum, and others", 0.01)
    x, mask, clock, _, _ = stem_inputs(0.01, 0.0, 9, 47)
    x[..., 40:] = 0
    with torch.no_grad():
        for module in stem.beside.modules():
            if isinstance(module, nn.Linear | nn.Conv1d):
                module.bias.zero_()
        spectrum = stem(x, mask, clock)
        others = torch.cat([x[..., :40], torch.randn(1, 36, 7)], -1)
        both = stem(others, mask, clock)
        alone = stem.beside(others[..., 40:], mask)
    assert not torch.allclose(both, spectrum, atol=1e-3)
    torch.testing.assert_close(both - spectrum, clock.to_steps(alone, mask[:, ::4], 4))


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"spectral_channels": 2}, "need spectral channels, rows at their own rate, and one layer"),
        ({"rows_per_step": 4.0}, "need spectral channels, rows at their own rate, and one layer"),
        ({"spectral_channels": 2, "rows_per_step": 4.0, "cached_layers": 2}, "and one layer of features"),
        ({"spectral_channels": 2, "rows_per_step": 4.0, "spectral_bins": 40}, "within 1 and 39, .* got 40"),
        ({"spectral_channels": 2, "rows_per_step": 4.0, "spectral_bins": 0}, "within 1 and 39, .* got 0"),
    ],
)
def test_bins_without_their_encoder_or_without_other_features_are_refused(options, problem):
    sizes = {"features": 40, "width": 4, "layers": 0, "dropout": 0.0, "input_dropout": 0.0}
    with pytest.raises(AvlocError, match=problem):
        Stem(**sizes, **{"spectral_bins": 30, **options})


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


STEP_S = 0.04
STEMS = {
    "linear": (5, {}),
    "layers": (15, {"cached_layers": 3}),
    "spectrum": (40, {"spectral_channels": 4}),
    "wide spectrum": (300, {"spectral_channels": 2}),
    "differences of a spectrum": (40, {"spectral_channels": 4, "spectral_differences": True}),
    "differences of a spectrum, and others": (
        47,
        {"spectral_channels": 4, "spectral_differences": True, "spectral_bins": 40},
    ),
    "cells": (128, {"grid_channels": 3}),
}


class _Identity(nn.Module):
    def forward(self, x, mask):
        return x


def native_stem(name, hop_s, layers=0):
    """A stem of a stream of rows of `hop_s`, without the norm, which spans the clip."""
    features, options = STEMS[name]
    stem = Stem(
        features=features,
        width=6,
        layers=layers,
        dropout=0.0,
        input_dropout=0.0,
        rows_per_step=STEP_S / hop_s,
        **options,
    ).eval()
    stem.norm = _Identity()
    return stem


def stem_inputs(hop_s, start_s, steps, features):
    """Noise on rows that start at `start_s`, with their mask and clocks."""
    grid = TimeGrid(0.0, STEP_S, steps)
    rows = TimeGrid(start_s, hop_s, 1).over(grid)
    phase = torch.tensor([rows.start_s / hop_s], dtype=torch.float32)
    clock = StreamClock(STEP_S / hop_s, phase, torch.ones(1, steps, dtype=torch.bool))
    x, mask = torch.randn(1, rows.length, features), torch.ones(1, rows.length, dtype=torch.bool)
    return x, mask, clock, grid, rows


@pytest.mark.parametrize("hop_s", [0.01, 0.02, 0.04, 0.16, 1 / 29.97])
@pytest.mark.parametrize("start_s", [0.0, 0.013])
@pytest.mark.parametrize("name", STEMS)
def test_an_impulse_appears_at_its_time(name, start_s, hop_s):
    """The mean over random filters of the time of the response is the impulse's, and its step responds."""
    torch.manual_seed(0)
    x, mask, clock, grid, rows = stem_inputs(hop_s, start_s, 40, STEMS[name][0])
    row = rows.length // 2
    time_s = rows.centers_s()[row]
    step = int(grid.to_steps(time_s))
    times_s = []
    for _ in range(30 if hop_s <= STEP_S else 150):  # responses to long rows lie apart
        stem = native_stem(name, hop_s)
        changed = x.clone()
        changed[0, row] += torch.randn(x.shape[-1])
        with torch.no_grad():
            response = (stem(changed, mask, clock) - stem(x, mask, clock)).square().sum(-1)[0].double().numpy()
        assert response[step] > 0
        times_s.append((response * grid.centers_s()).sum() / response.sum())
        x = torch.randn_like(x)
    # Symmetric in the mean: a layer that were half a row late would shift all of them.
    assert np.mean(times_s) == pytest.approx(time_s, abs=STEP_S / 2)
    reach_s = grid.centers_s()[np.flatnonzero(response)]
    rows_around = (
        5 if "differences" in name else 4
    )  # three convolutions, the neighbour of a difference, the interpolation
    assert np.abs(reach_s - time_s).max() < rows_around * max(hop_s, STEP_S) + STEP_S


@pytest.mark.parametrize(
    "name", ["linear", "spectrum", "differences of a spectrum", "differences of a spectrum, and others"]
)
def test_strides_are_centred(name):
    """With even filters, a clip played backwards gives the steps backwards: no layer shifts the time."""
    torch.manual_seed(0)
    stem = native_stem(name, 0.01, layers=1)
    with torch.no_grad():
        for module in stem.modules():
            if isinstance(module, nn.Conv1d):
                module.weight.copy_((module.weight + module.weight.flip(-1)) / 2)
            if isinstance(module, nn.Conv2d):
                module.weight.copy_((module.weight + module.weight.flip(-2)) / 2)
    x, mask, clock, _, _ = stem_inputs(0.01, 0.0, 19, STEMS[name][0])
    torch.testing.assert_close(stem(x.flip(1), mask, clock).flip(1), stem(x, mask, clock), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("hop_s", [0.01, 0.16, 1 / 29.97])
@pytest.mark.parametrize("name", STEMS)
def test_absent_rows_and_padding_have_no_effect(name, hop_s):
    torch.manual_seed(0)
    stem = native_stem(name, hop_s, layers=1)
    x, mask, clock, _, rows = stem_inputs(hop_s, 0.013, 40, STEMS[name][0])
    mask[:, rows.length // 3 : rows.length // 2] = False
    y = stem(x, mask, clock)
    torch.testing.assert_close(stem(x.masked_fill(~mask[..., None], torch.nan), mask, clock), y)
    steps = clock.step_mask(mask)
    assert 0 < steps.sum() < 40
    assert not y[~steps].any()
    assert (y[steps] != 0).any(-1).all()
    # The same clip in a longer batch.
    extra = round(12 * STEP_S / hop_s)
    longer = StreamClock(clock.rows_per_step, clock.phase, torch.cat([clock.inside, torch.zeros(1, 12) > 0], 1))
    padded = torch.cat([x, torch.full((1, extra, x.shape[-1]), 7.0)], 1)
    again = stem(padded, torch.cat([mask, torch.zeros(1, extra) > 0], 1), longer)
    torch.testing.assert_close(again[:, :40], y, atol=1e-5, rtol=1e-5)
    assert not again[:, 40:].any()


def test_rows_within_a_step_are_told_apart():
    """Two spectra of equal mean over a step, which a stream that is averaged to steps cannot tell apart."""
    torch.manual_seed(0)
    stem = native_stem("spectrum", 0.01)
    x, mask, clock, _, _ = stem_inputs(0.01, 0.0, 9, 40)
    other = x.unflatten(1, (9, 4)).flip(2).flatten(1, 2)
    assert not torch.allclose(stem(x, mask, clock), stem(other, mask, clock), atol=1e-3)


def test_gradients_reach_every_row():
    for hop_s in (0.01, 0.02, 1 / 29.97, 0.16):
        stem = native_stem("linear", hop_s)
        x, mask, clock, _, rows = stem_inputs(hop_s, 0.013, 40, 5)
        x.requires_grad_()
        stem(x, mask, clock).square().sum().backward()
        inner = x.grad[0, 2 : rows.length - 2].abs().sum(-1)
        assert (inner > 0).all()
