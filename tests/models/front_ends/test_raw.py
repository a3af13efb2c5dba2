from __future__ import annotations

import pytest
import torch

from avloc.errors import AvlocError
from avloc.models.front_ends.raw import HOP, BandFilters, RawFrontEnd, mel_cutoffs

RATE = 16000


def test_a_tone_is_loudest_in_the_filter_of_its_band():
    cutoffs = mel_cutoffs(16)
    filters = BandFilters(filters=16, kernel=400, kind="sinc")
    for band in (3, 8, 13):
        hertz = float(cutoffs[band : band + 2].mean())
        samples = 0.1 * torch.sin(2 * torch.pi * hertz * torch.arange(4000) / RATE)
        with torch.no_grad():
            energy = filters(samples[None])[0, 100]
        assert int(energy.argmax()) == band


def test_energies_do_not_depend_on_the_phase_of_a_tone():
    filters = BandFilters(filters=8, kernel=400, kind="sinc")
    n = torch.arange(4000) / RATE
    with torch.no_grad():
        energies = torch.stack([filters(torch.sin(2 * torch.pi * 1500 * n + p)[None])[0, 50:150] for p in (0, 1, 2)])
    band = int(energies[0, 0].argmax())
    assert energies[:, :, band].std() < 0.01


@pytest.mark.parametrize("quieter_db", [30, 50])
def test_quiet_sound_keeps_its_contrast(quieter_db):
    """Energies of 16-bit sound vary over time as much as those of the same sound at full level: no floor hides them."""
    generator = torch.Generator().manual_seed(0)
    envelope = torch.logspace(0, -1.5, 8).repeat_interleave(1600)  # 30 dB in steps of 0.1 s
    loud = 0.2 * envelope * torch.randn(len(envelope), generator=generator)
    quiet = (loud * 10 ** (-quieter_db / 20) * 32768).round() / 32768
    filters = BandFilters(filters=64, kernel=400, kind="sinc")
    with torch.no_grad():
        loud_spread, quiet_spread = (filters(x[None])[0, 20:-20].std(0) for x in (loud, quiet))
    assert (quiet_spread / loud_spread).min() > {30: 0.9, 50: 0.5}[quieter_db]


@pytest.mark.parametrize("kind", ["sinc", "learned"])
def test_mixed_precision_does_not_round_the_samples(kind):
    """A quiet band beside a loud one, whose rounding in bfloat16 would be louder than the quiet band."""
    n = torch.arange(4000) / RATE
    samples = (0.5 * torch.sin(2 * torch.pi * 300 * n) + 2e-4 * torch.sin(2 * torch.pi * 5000 * n))[None]
    filters = BandFilters(filters=16, kernel=400, kind=kind)
    with torch.no_grad():
        expected = filters(samples)
        with torch.autocast("cpu", torch.bfloat16):
            torch.testing.assert_close(filters(samples), expected)


def test_learned_filters_begin_as_the_sinc_ones():
    sinc, learned = (BandFilters(filters=6, kernel=100, kind=kind) for kind in ("sinc", "learned"))
    torch.testing.assert_close(learned.current_kernels(), sinc.current_kernels(), atol=1e-6, rtol=1e-4)
    assert [name for name, _ in sinc.named_parameters()] == ["low_khz", "band_khz"]
    assert [tuple(p.shape) for p in learned.parameters()] == [(12, 1, 100)]


def test_filters_are_centred_on_their_hop():
    """A click in the middle of hop 7 gives energies that are symmetrical around it."""
    samples = torch.zeros(1, 20 * HOP)
    samples[0, 7 * HOP + HOP // 2 - 1 : 7 * HOP + HOP // 2 + 1] = 0.5
    with torch.no_grad():
        energy = BandFilters(filters=5, kernel=200, kind="sinc")(samples)[0]
    torch.testing.assert_close(energy[3:7], energy[8:12].flip(0), atol=1e-3, rtol=1e-3)


def test_cutoffs_stay_in_the_band():
    filters = BandFilters(filters=4, kernel=100, kind="sinc")
    with torch.no_grad():
        filters.low_khz.copy_(torch.tensor([-0.5, 7.99, 0.0, 40.0]))
    kernels = filters.current_kernels()
    assert kernels.isfinite().all()
    assert (kernels.abs().amax((1, 2))[:4] > 0).all()  # the cosines of a filter pushed past the band are still a filter


def test_cutoffs_move_at_usual_learning_rates():
    """Filters a little too low for a tone move towards it."""
    filters = BandFilters(filters=1, kernel=400, kind="sinc")
    with torch.no_grad():
        filters.low_khz.copy_(torch.tensor([0.9]))
        filters.band_khz.copy_(torch.tensor([0.05]))
    samples = 0.1 * torch.sin(2 * torch.pi * 1020 * torch.arange(1600) / RATE)[None]
    optimizer = torch.optim.Adam(filters.parameters(), 1e-3)
    before = filters(samples)[0, 30:50].mean().item()
    for _ in range(20):
        loss = -filters(samples)[0, 30:50].mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert filters.low_khz.item() > 0.91
    assert -loss.item() > before + 0.1


def test_wrong_options():
    with pytest.raises(AvlocError, match="want an even kernel, and kind of sinc, learned, got 401, 'sinc'"):
        RawFrontEnd(rows_per_step=4.0, width=8, kernel=401)
    with pytest.raises(AvlocError, match="got 400, 'gabor'"):
        RawFrontEnd(rows_per_step=4.0, width=8, kind="gabor")
    with pytest.raises(AvlocError, match="filters must be 1 to 1024, got 0"):
        RawFrontEnd(rows_per_step=4.0, width=8, filters=0)
